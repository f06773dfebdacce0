//! The HTTP/1.1 server loop: accepts, serves, and stops, all of it within limits.
//!
//! `axum::serve` sets no timer, so that hyper's own header timeout is off there, and where it is
//! on it also ends keep-alive connections that merely wait. Hence a loop of our own on hyper's
//! HTTP/1 connection: `stream` watches what has arrived, `connection` keeps the deadlines,
//! `framing` and `refusal` judge what hyper lets through, `body` times request bodies and
//! `registry` counts who is there.

mod body;
mod connection;
mod framing;
mod limits;
mod progress;
mod refusal;
mod registry;
mod service;
mod stream;
mod takeover;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::{self, Either};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

pub use body::{BodyTimeout, TimedBody, is_body_timeout};
pub use limits::ServerLimits;
pub(crate) use registry::counted_as;
use registry::{Admission, Order, Registry};
pub use takeover::{Stream, Taken, Takeover};

/// How long accepting rests after the system refused it, as when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long `serve` waits for connections it has cut to let go of what they hold.
const CUT_WAIT: Duration = Duration::from_secs(1);

/// The address at the other end of the connection, in every request's extensions.
///
/// Behind a proxy this is the proxy. Requests over a Unix socket have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// How serving ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct DrainReport {
    /// Connections that were still busy when the drain time was over.
    pub cut: usize,
}

/// Serves `app` until `shutdown` completes, then drains.
///
/// Draining closes the listener at once and every connection without a request, lets running
/// requests finish for at most `drain`, their responses marked `connection: close`, and cuts what
/// is left. Dropping the future cuts everything.
///
/// A handler is dropped when its client closes the connection, also for writing only.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) -> DrainReport {
    serve_on(listener, app, limits, shutdown, drain).await
}

/// The same for a Unix socket; requests carry no [`PeerAddr`] and no limit per address applies.
#[cfg(unix)]
pub async fn serve_unix(
    listener: tokio::net::UnixListener,
    app: Router,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) -> DrainReport {
    serve_on(listener, app, limits, shutdown, drain).await
}

async fn serve_on<L: Accept>(
    listener: L,
    app: Router,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) -> DrainReport {
    let permits = limits.connections_max.clamp(1, Semaphore::MAX_PERMITS);
    let house = House {
        slots: Arc::new(Semaphore::new(permits)),
        registry: Arc::new(Registry::default()),
    };
    // The listener goes with `accepting`, before the wait for what was accepted.
    {
        let accepting = pin!(accept_all(listener, &house, app, Arc::new(limits)));
        match future::select(pin!(shutdown), accepting).await {
            Either::Left(((), _)) => {}
            Either::Right((never, _)) => match never {},
        }
    }
    house.empty_within(drain).await
}

/// The connections of one listener. Dropping it cuts them.
struct House {
    slots: Arc<Semaphore>,
    registry: Arc<Registry>,
}

impl House {
    async fn empty_within(&self, drain: Duration) -> DrainReport {
        self.registry.order(Order::Drain);
        let emptied = self.registry.emptied();
        if timeout(drain, emptied).await.is_ok() {
            return DrainReport::default();
        }
        let cut = self.registry.order(Order::Cut);
        warn!(
            cut,
            "connections were still busy when the drain time was over"
        );
        let _ = timeout(CUT_WAIT, self.registry.emptied()).await;
        DrainReport { cut }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.registry.order(Order::Cut);
    }
}

async fn accept_all<L: Accept>(
    listener: L,
    house: &House,
    app: Router,
    limits: Arc<ServerLimits>,
) -> Infallible {
    let builder = connection::builder(&limits);
    let mut failing = false;
    loop {
        // At the cap nothing is accepted: new connections wait in the listener's backlog.
        let slot = Arc::clone(&house.slots)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let (stream, peer) = match listener.accept_one().await {
            Ok(accepted) => accepted,
            Err(err) if is_the_clients_fault(&err) => continue,
            Err(err) => {
                if !failing {
                    warn!(error = %err, "the system refuses new connections; trying again");
                }
                failing = true;
                sleep_until(Instant::now() + ACCEPT_PAUSE).await;
                continue;
            }
        };
        if failing {
            info!("the system accepts connections again");
            failing = false;
        }
        let ip = peer.map(|peer| peer.ip());
        let Some(admission) = Admission::ask(&house.registry, ip, &limits, slot) else {
            debug!(?peer, "closed a connection over the limit per address");
            continue;
        };
        let takeover = Takeover::default();
        let service = service::Answerer::new(app.clone(), peer, &limits, &admission, &takeover);
        tokio::spawn(connection::converse(
            builder.clone(),
            stream,
            service,
            takeover,
            Arc::clone(&limits),
            admission,
        ));
    }
}

/// Such errors concern the connection that was about to be accepted, not the listener.
fn is_the_clients_fault(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// What TCP and Unix listeners have in common here.
trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    async fn accept_one(&self) -> io::Result<(Self::Stream, Option<SocketAddr>)>;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept_one(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        let (stream, peer) = self.accept().await?;
        // Without it a small response waits for the client's delayed acknowledgement.
        stream.set_nodelay(true)?;
        Ok((stream, Some(peer)))
    }
}

#[cfg(unix)]
impl Accept for tokio::net::UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept_one(&self) -> io::Result<(Self::Stream, Option<SocketAddr>)> {
        let (stream, _) = self.accept().await?;
        Ok((stream, None))
    }
}
