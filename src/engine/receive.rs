//! An inbound request: kept before it is answered, and sent again elsewhere
//! when somebody asks for it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::place::{self, Outgoing, Place};
use super::relay::{ANSWER_LIMIT, Answer, Told};
use super::turns::Turns;
use super::{Engine, Inner};
use crate::domain::answer::{FixedAnswer, takes_body};
use crate::domain::attempt::{CapturedResponse, Exchange, Outcome, Timing};
use crate::domain::header;
use crate::domain::ids::{EnvironmentKey, InboxKey};
use crate::domain::inbox::{Inbox, REPLAY_BODY_BYTES_MAX, Received, Replay};
use crate::domain::principal::Principal;
use crate::domain::relay::KEPT_STATUS;
use crate::domain::time::Timestamp;
use crate::store::{Idempotent, NewReceived, Refusal, StoreError, WriteError, Written};

/// Where inboxes are, below the public URL.
pub const INBOX_PATH: &str = "/in/";

/// For a replay, from resolving to the last byte of the answer.
const REPLAY_LIMIT: Duration = Duration::from_secs(20);
/// Replays of received requests that are on their way at once, of one
/// environment and in all.
const REPLAYS_OF_ONE_MAX: usize = 8;
const REPLAYS_MAX: usize = 32;

/// Whose received request may be on its way again.
pub(super) fn turns() -> Turns<EnvironmentKey> {
    Turns::new(REPLAYS_OF_ONE_MAX, REPLAYS_MAX)
}

/// How much of an attempt's time its inbox may wait for a listener.
const SHARE_OF_TIME: f64 = 0.8;

/// What senders are told of requests that are kept for a listener, and of those
/// that a listener has and does not answer.
pub const KEPT_TEXT: &str = "Kept for the listener, who is away.";
pub const LATE_TEXT: &str = "The listener gave no answer in time.";

/// Why a request was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("there is no such inbox")]
    NoInbox,
    #[error(transparent)]
    Store(#[from] WriteError),
}

/// Why a received request was not sent again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// As many are on their way as may be.
    #[error("too many replays are on their way")]
    TooMany,
    #[error(transparent)]
    Store(#[from] WriteError),
}

/// What an inbox answers.
#[derive(Clone, Debug)]
pub enum InboxAnswer {
    /// This status, and else what the inbox was told to.
    Own { status: u16, inbox: Inbox },
    /// What its listener makes of it.
    Told(Told),
}

impl Engine {
    /// Takes in what came to the inbox with this token, and waits for its
    /// listener, if it has one. When this returns, it is on disk.
    pub async fn take_in(
        &self,
        token: &str,
        received: NewReceived,
    ) -> Result<InboxAnswer, ReceiveError> {
        take_in(&self.inner, token, received, ANSWER_LIMIT).await
    }

    /// Sends a received request to `url`, which may be delivered to: method,
    /// headers and body as they came. That it is sent is in the audit log first;
    /// what came of it is remembered, unless the request is gone by then. Goes on
    /// when whoever asked for it has gone.
    ///
    /// # Errors
    /// Too many are on their way; or the store's: nothing was sent, or what came
    /// of it could not be written.
    pub async fn replay_received(
        &self,
        principal: Principal,
        inbox: InboxKey,
        received: Received,
        url: String,
        idempotent: Option<Idempotent<Replay>>,
    ) -> Result<Written<Replay>, ReplayError> {
        let turn = self.inner.replays.try_take(principal.scope.environment);
        let turn = turn.ok_or(ReplayError::TooMany)?;
        let inner = Arc::clone(&self.inner);
        let replaying = self.inner.runtime.spawn(async move {
            let _turn = turn;
            replay(&inner, principal, inbox, received, &url, idempotent).await
        });
        let replayed = replaying.await.unwrap_or_else(|error| {
            let lost = StoreError::Unavailable(format!("the replay broke off: {error}"));
            Err(lost.into())
        });
        Ok(replayed?)
    }
}

async fn replay(
    inner: &Arc<Inner>,
    principal: Principal,
    inbox: InboxKey,
    received: Received,
    url: &str,
    idempotent: Option<Idempotent<Replay>>,
) -> Result<Written<Replay>, WriteError> {
    let store = &inner.store;
    let place = (inbox, received.key);
    store.begin_replay(principal, place, origin(url)).await?;
    let target = Place::of(url, &inner.settings.public_url);
    let outgoing = Outgoing {
        method: Method::from_bytes(received.method.as_bytes()).unwrap_or(Method::POST),
        headers: passed_on(&received.headers),
        body: received.body.unwrap_or_default(),
        timeout: REPLAY_LIMIT,
        keep_bytes: REPLAY_BODY_BYTES_MAX,
        event_type: received.event_type,
    };
    let at = inner.clock.now();
    let exchange = place::send(inner, &target, outgoing).await;
    let replay = outcome(at, url, &exchange);
    match store.note_replay(place, replay.clone(), idempotent).await {
        Err(WriteError::Refused(_)) => Ok(Written::Fresh(replay)),
        noted => noted,
    }
}

fn outcome(at: Timestamp, url: &str, exchange: &Exchange) -> Replay {
    let answered = matches!(exchange.outcome, Outcome::Response { .. });
    let body = exchange.response.as_ref();
    let body = body.map_or(&[] as &[u8], |response| &response.body);
    Replay {
        at,
        url: url.to_owned(),
        status: exchange.outcome.status_code(),
        detail: if answered {
            String::new()
        } else {
            let detail = exchange.outcome.detail().unwrap_or_default();
            format!("{}: {detail}", exchange.outcome.name())
        },
        body: String::from_utf8_lossy(body).into_owned(),
        took_us: exchange.timing.total_us,
    }
}

/// Scheme, host and port: what the audit log says of a URL.
fn origin(url: &str) -> String {
    let parsed = url::Url::parse(url).ok();
    parsed.map_or_else(String::new, |url| url.origin().ascii_serialization())
}

/// The headers that a request has wherever it goes: not those of the
/// connection that it came by.
fn passed_on(headers: &[(String, Vec<u8>)]) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if header::is_of_connection(name) {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            kept.append(name, value);
        }
    }
    kept
}

async fn take_in(
    inner: &Inner,
    token: &str,
    received: NewReceived,
    limit: Duration,
) -> Result<InboxAnswer, ReceiveError> {
    let inbox = inner
        .store
        .inbox(token)
        .map_err(WriteError::from)?
        .ok_or(ReceiveError::NoInbox)?;
    let (ticket, told) = inner.relay.ticket();
    let kept = match inner
        .store
        .receive(inbox.key, received, ticket.number)
        .await
    {
        Err(WriteError::Refused(Refusal::NoInbox)) => return Err(ReceiveError::NoInbox),
        other => other?,
    };
    if kept.relays {
        let told = inner.told(kept.inbox.key, kept.key, told, limit).await;
        // Not before: the writer may tell of a commit after it has answered.
        drop(ticket);
        return Ok(InboxAnswer::Told(told));
    }
    Ok(InboxAnswer::Own {
        status: kept.answered,
        inbox: kept.inbox,
    })
}

/// The token, and the path after it, when `url` is an inbox of ours.
///
/// Both are normalised: other spellings of the same are not recognised.
#[must_use]
pub fn own_inbox<'a>(url: &'a str, public_url: &str) -> Option<(&'a str, &'a str)> {
    let rest = url.strip_prefix(public_url)?.strip_prefix(INBOX_PATH)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (token, path) = rest.split_at(end);
    (!token.is_empty()).then_some((token, path))
}

/// Delivers to an inbox of our own without leaving the process.
pub(super) async fn deliver_to_inbox(
    inner: &Inner,
    token: &str,
    path: &str,
    outgoing: Outgoing,
) -> Exchange {
    let outgoing_limit = outgoing.timeout;
    let received = NewReceived {
        method: outgoing.method.as_str().to_owned(),
        path: path.to_owned(),
        headers: list(&outgoing.headers),
        body: outgoing.body,
        peer: None,
        event_type: outgoing.event_type,
    };
    let before = inner.clock.now();
    // A listener that is silent shall not make this attempt one without an answer.
    let limit = ANSWER_LIMIT.min(outgoing_limit.mul_f64(SHARE_OF_TIME));
    let outcome = take_in(inner, token, received, limit).await;
    let text = |status, body: &str| fixed(status, FixedAnswer::ok(body));
    let (status, response) = match outcome {
        Ok(InboxAnswer::Own { status, inbox }) => {
            if inbox.delay_ms > 0 {
                tokio::select! {
                    () = inner.clock.sleep(inbox.delay()) => {}
                    () = inner.rendezvous.closed(&inner.stopping) => {}
                }
            }
            fixed(status, inbox.answer)
        }
        Ok(InboxAnswer::Told(Told::Answer(answer))) => answered_by(&answer),
        Ok(InboxAnswer::Told(Told::Kept)) => text(KEPT_STATUS, KEPT_TEXT),
        Ok(InboxAnswer::Told(Told::Late)) => text(504, LATE_TEXT),
        Err(ReceiveError::NoInbox) => text(404, "There is no such inbox."),
        Err(ReceiveError::Store(WriteError::Refused(Refusal::TooManyWaiting))) => {
            text(503, "Too many requests wait for the listener.")
        }
        Err(ReceiveError::Store(error)) => {
            tracing::error!(%error, "an inbox could not take a delivery in");
            text(503, "The inbox cannot be written to now.")
        }
    };
    let total_us = u32::try_from(inner.clock.now().since(before).as_micros()).unwrap_or(u32::MAX);
    Exchange {
        outcome: Outcome::Response { status },
        response: Some(response),
        timing: Timing {
            first_byte_us: total_us,
            total_us,
            ..Timing::default()
        },
        peer: None,
    }
}

fn fixed(status: u16, answer: FixedAnswer) -> (u16, CapturedResponse) {
    let body = if takes_body(status) {
        answer.body.into_bytes()
    } else {
        Vec::new()
    };
    let response = CapturedResponse {
        headers: answered_headers(answer.content_type, answer.headers),
        body,
        truncated: false,
    };
    (status, response)
}

/// A listener's answer as a transport would have read it. Why there was none
/// goes into its body: the log of attempts shows that.
fn answered_by(answer: &Answer) -> (u16, CapturedResponse) {
    let body = if answer.body.is_empty() {
        answer.error.as_bytes()
    } else {
        &answer.body
    };
    let response = CapturedResponse {
        headers: answer.headers.clone(),
        body: body.to_vec(),
        truncated: false,
    };
    (answer.told_status(), response)
}

/// The headers of an answer as a transport would have read them.
pub(super) fn answered_headers(
    content_type: String,
    headers: Vec<(String, String)>,
) -> Vec<(String, Vec<u8>)> {
    let own = std::iter::once(("content-type".to_owned(), content_type));
    own.chain(headers)
        .map(|(name, value)| (name.to_ascii_lowercase(), value.into_bytes()))
        .collect()
}

/// Names and values of headers, repeats included.
#[must_use]
pub fn list(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_under_our_own_in_are_inboxes() {
        let own = "https://hooks.example.com";
        for (url, want) in [
            ("https://hooks.example.com/in/abc/", Some(("abc", "/"))),
            ("https://hooks.example.com/in/abc", Some(("abc", ""))),
            (
                "https://hooks.example.com/in/abc?x=1",
                Some(("abc", "?x=1")),
            ),
            (
                "https://hooks.example.com/in/abc/d/e",
                Some(("abc", "/d/e")),
            ),
            ("https://hooks.example.com/in/", None),
            ("https://hooks.example.com/inbox/abc", None),
            ("https://hooks.example.com.evil.com/in/abc", None),
            ("https://other.example.com/in/abc", None),
        ] {
            assert_eq!(own_inbox(url, own), want, "{url}");
        }
    }
}
