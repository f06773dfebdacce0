//! One connection from its first byte to its last.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1::{Builder, Connection};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tracing::debug;

use super::limits::ServerLimits;
use super::progress::Wait;
use super::registry::{Admission, Order};
use super::service::Answerer;
use super::stream::Watched;
use super::takeover::{Taken, Takeover};

/// What hyper may hold of one connection, unless heads may be larger. It panics below 8 KB.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// hyper keeps this many headers on the stack, unless told a number.
const HYPER_HEADERS_MAX: usize = 100;

/// How long, and for how many bytes, a client may go on sending after our last answer.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// hyper's side of the limits.
pub(super) fn builder(limits: &ServerLimits) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        // Heads are timed by `Deadline`: hyper's timer would also end connections that wait.
        .header_read_timeout(None)
        .half_close(false)
        .keep_alive(true)
        // It would hold finished answers back behind a request that is not all there.
        .pipeline_flush(false)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max.max(BUFFER_BYTES_MAX));
    if limits.headers_max != HYPER_HEADERS_MAX {
        builder.max_headers(limits.headers_max);
    }
    builder
}

type Conversation<S> = Connection<TokioIo<Watched<S>>, Answerer>;

/// Serves the requests on `stream` until either side, a deadline or an order ends it.
///
/// `admission` is given back last, as arguments are: whoever waits for that wants the handler and
/// all it holds to be gone.
pub(super) async fn converse<S>(
    builder: Builder,
    stream: S,
    service: Answerer,
    takeover: Takeover,
    limits: Arc<ServerLimits>,
    admission: Admission,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = Watched::new(stream, Arc::clone(admission.progress()));
    let mut conversation = builder.serve_connection(TokioIo::new(stream), service);
    let ended = {
        let mut deadline = Deadline::new(&limits);
        let mut timer = pin!(sleep_until(deadline.at));
        let mut draining = false;
        poll_fn(|cx| {
            admission.progress().register(cx.waker());
            match admission.order() {
                Order::Serve => {}
                Order::Drain if draining => {}
                Order::Drain => {
                    draining = true;
                    Pin::new(&mut conversation).graceful_shutdown();
                }
                Order::Cut => return Poll::Ready(Ended::Cut),
            }
            if let Poll::Ready(done) = conversation.poll_without_shutdown(cx) {
                return Poll::Ready(Ended::Done(done));
            }
            let wait = admission.progress().wait();
            deadline
                .poll(wait, timer.as_mut(), cx)
                .map(|()| Ended::TimedOut(wait))
        })
        .await
    };
    match ended {
        Ended::Done(done) => {
            if let Err(err) = &done {
                debug!(error = %err, "a connection ended early");
            }
            match takeover.speaker() {
                Some(speaker) => unless_cut(&admission, speaker(taken(conversation))).await,
                None => unless_cut(&admission, linger(conversation)).await,
            }
        }
        Ended::TimedOut(wait) => debug!(?wait, "closed a connection that waited too long"),
        Ended::Cut => {}
    }
}

/// What is left of a connection on which no more HTTP is spoken.
fn taken<S>(conversation: Conversation<S>) -> Taken
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let parts = conversation.into_parts();
    let (stream, _) = parts.io.into_inner().into_stream();
    Taken {
        stream: Box::pin(stream),
        read: parts.read_buf,
    }
}

enum Ended {
    Done(hyper::Result<()>),
    TimedOut(Wait),
    Cut,
}

/// When the connection's present wait is over.
struct Deadline<'limits> {
    limits: &'limits ServerLimits,
    accepted: Instant,
    wait: Wait,
    at: Instant,
}

impl<'limits> Deadline<'limits> {
    fn new(limits: &'limits ServerLimits) -> Self {
        let accepted = Instant::now();
        Self {
            limits,
            accepted,
            wait: Wait::Request(0),
            at: accepted + limits.header_time,
        }
    }

    /// `timer` is set anew only when the wait is another one. Setting it later is cheap, and that
    /// is what happens between two quick requests.
    fn poll(&mut self, wait: Wait, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        if wait != self.wait {
            self.wait = wait;
            if let Some(at) = self.end_of(wait) {
                self.at = at;
                timer.as_mut().reset(at);
            }
        }
        match wait {
            Wait::App => Poll::Pending,
            Wait::Request(_) | Wait::Head(_) | Wait::Reader(_) => timer.poll(cx),
        }
    }

    fn end_of(&self, wait: Wait) -> Option<Instant> {
        match wait {
            Wait::App => None,
            // One deadline for the whole first head, however its bytes are spread.
            Wait::Request(0) | Wait::Head(0) => Some(self.accepted + self.limits.header_time),
            Wait::Request(_) => Some(Instant::now() + self.limits.idle_time),
            Wait::Head(_) => Some(Instant::now() + self.limits.header_time),
            Wait::Reader(_) => Some(Instant::now() + self.limits.write_idle),
        }
    }
}

/// Says that nothing more will come, then reads on for a moment if the client has not said all.
/// Closing with bytes unread would reset the connection, and a reset can overtake our last answer.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(conversation: Conversation<S>) {
    let parts = conversation.into_parts();
    let (mut stream, mid_request) = parts.io.into_inner().into_stream();
    let unread = mid_request || !parts.read_buf.is_empty();
    if stream.shutdown().await.is_err() || !unread {
        return;
    }
    let mut rest = stream.take(LINGER_BYTES_MAX);
    let _ = timeout(
        LINGER_TIME,
        tokio::io::copy(&mut rest, &mut tokio::io::sink()),
    )
    .await;
}

async fn unless_cut(admission: &Admission, work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    poll_fn(|cx| {
        admission.progress().register(cx.waker());
        match admission.order() {
            Order::Cut => Poll::Ready(()),
            Order::Serve | Order::Drain => work.as_mut().poll(cx),
        }
    })
    .await;
}
