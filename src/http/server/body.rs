//! Request bodies that may not be slow.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::limits::ServerLimits;

/// Why a request body was given up. The answer is 408; the connection closes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyTimeout {
    /// No byte came for [`ServerLimits::body_idle`].
    #[error("the request body stopped coming")]
    Idle,
    /// The mean rate was under [`ServerLimits::body_bytes_per_second_min`] after the grace.
    #[error("the request body came too slowly")]
    Rate,
    /// The body had not ended after [`ServerLimits::body_total`].
    #[error("the request body took too long")]
    Total,
}

/// Whether `err`, or any error it stems from, is a [`BodyTimeout`].
///
/// Works on whatever axum and its extractors have wrapped around it.
#[must_use]
pub fn is_body_timeout(err: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(err);
    while let Some(err) = cause {
        if err.is::<BodyTimeout>() {
            return true;
        }
        cause = err.source();
    }
    false
}

/// A body that ends in [`BodyTimeout`] when it comes too slowly.
///
/// The timer exists only once the body has kept its reader waiting: a body that came in one piece
/// with its head costs nothing more.
pub struct TimedBody<B> {
    inner: B,
    limits: Arc<ServerLimits>,
    received: u64,
    waiting: Option<Waiting>,
}

struct Waiting {
    /// When the body first kept its reader waiting.
    since: Instant,
    /// The timer runs for the wait that is on; between waits it means nothing.
    on: bool,
    timer: Pin<Box<Sleep>>,
    reason: BodyTimeout,
}

impl<B> TimedBody<B> {
    /// Puts the `body_` limits of `limits` on `inner`.
    pub fn new(inner: B, limits: Arc<ServerLimits>) -> Self {
        Self {
            inner,
            limits,
            received: 0,
            waiting: None,
        }
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<BodyTimeout> {
        if self.waiting.as_ref().is_none_or(|waiting| !waiting.on) {
            self.start_waiting(Instant::now());
        }
        let waiting = self.waiting.as_mut().expect("just started");
        ready!(waiting.timer.as_mut().poll(cx));
        Poll::Ready(waiting.reason)
    }

    fn start_waiting(&mut self, now: Instant) {
        let since = self.waiting.as_ref().map_or(now, |waiting| waiting.since);
        let spent = now.saturating_duration_since(since);
        let (wait, reason) = next_limit(&self.limits, spent, self.received);
        let deadline = now + wait;
        match &mut self.waiting {
            Some(waiting) => {
                waiting.timer.as_mut().reset(deadline);
                waiting.on = true;
                waiting.reason = reason;
            }
            None => {
                self.waiting = Some(Waiting {
                    since,
                    on: true,
                    timer: Box::pin(sleep_until(deadline)),
                    reason,
                });
            }
        }
    }
}

/// How long the next byte may take, and what it means when it does not come by then.
fn next_limit(limits: &ServerLimits, spent: Duration, received: u64) -> (Duration, BodyTimeout) {
    let earned = received
        .saturating_mul(1000)
        .checked_div(u64::from(limits.body_bytes_per_second_min))
        .map_or(Duration::MAX, Duration::from_millis);
    let rate = limits.body_rate_grace.max(earned).saturating_sub(spent);
    let total = limits.body_total.saturating_sub(spent);
    [
        (limits.body_idle, BodyTimeout::Idle),
        (rate, BodyTimeout::Rate),
        (total, BodyTimeout::Total),
    ]
    .into_iter()
    .min_by_key(|(wait, _)| *wait)
    .expect("three limits")
}

impl<B> Body for TimedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            return this.poll_wait(cx).map(|reason| Some(Err(reason.into())));
        };
        if let Some(waiting) = &mut this.waiting {
            waiting.on = false;
        }
        if let Some(Ok(frame)) = &frame {
            let data = frame.data_ref().map_or(0, Buf::remaining);
            this.received = this.received.saturating_add(data as u64);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::{FromRequest, Request};

    use super::*;

    const KIB: u64 = 1024;

    #[test]
    fn the_nearest_limit_is_the_one_that_ends_a_body() {
        let limits = ServerLimits::default();
        for (spent_s, received, want_s, want) in [
            (0, 0, 10, BodyTimeout::Rate),
            (0, 100 * KIB, 15, BodyTimeout::Idle),
            (9, 12 * KIB, 3, BodyTimeout::Rate),
            (12, 12 * KIB, 0, BodyTimeout::Rate),
            (14, 100 * KIB, 15, BodyTimeout::Idle),
            (20, 100 * KIB, 10, BodyTimeout::Total),
            (31, 100 * KIB, 0, BodyTimeout::Total),
        ] {
            let got = next_limit(&limits, Duration::from_secs(spent_s), received);
            assert_eq!(
                got,
                (Duration::from_secs(want_s), want),
                "{received} bytes in {spent_s} s"
            );
        }
    }

    #[test]
    fn a_lowest_rate_of_zero_is_no_rate_limit() {
        let limits = ServerLimits {
            body_bytes_per_second_min: 0,
            ..ServerLimits::default()
        };
        let (_, reason) = next_limit(&limits, Duration::from_secs(1), 0);
        assert_eq!(reason, BodyTimeout::Idle);
    }

    #[test]
    fn a_timeout_is_found_under_other_errors() {
        let wrapped = axum::Error::new(axum::Error::new(BodyTimeout::Idle));
        assert!(is_body_timeout(&wrapped));
        assert!(is_body_timeout(&BodyTimeout::Total));
        assert!(!is_body_timeout(&axum::Error::new("reset")));
    }

    #[tokio::test]
    async fn a_timeout_is_found_in_what_an_extractor_says() {
        let timed_out = futures_util::stream::iter([Err::<Bytes, _>(BodyTimeout::Idle)]);
        let request = Request::new(axum::body::Body::from_stream(timed_out));
        let rejection = Bytes::from_request(request, &()).await.unwrap_err();
        assert!(is_body_timeout(&rejection));
    }
}
