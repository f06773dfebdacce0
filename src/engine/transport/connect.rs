//! New connections: resolve, judge, dial, check the peer, encrypt.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::resolve::Resolver;
use super::tls;
use crate::domain::address::{DestinationPolicy, EndpointUrl, UrlRefusal};
use crate::domain::attempt::{Outcome, Timing};

/// Time that dialling one address may take.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Time that dialling all addresses of one endpoint may take.
pub const CONNECT_ALL_LIMIT: Duration = Duration::from_secs(15);

/// Opens TCP connections. The system's in production, a counting one in tests.
pub trait Dialler: Send + Sync + 'static {
    /// One try at `addr`, which the policy has judged.
    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// Dials through the operating system: [`CONNECT_LIMIT`] a try, no Nagle delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDialler;

impl Dialler for SystemDialler {
    #[expect(clippy::disallowed_methods, reason = "this is the dialling seam")]
    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            let stream = timeout(CONNECT_LIMIT, TcpStream::connect(addr))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }
}

/// The way out: everything that a new connection passes.
pub(super) struct Egress {
    pub(super) policy: DestinationPolicy,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) dialler: Arc<dyn Dialler>,
    pub(super) tls: TlsConnector,
}

impl Egress {
    /// What `host` resolves to; nothing for a literal, which needs no resolving.
    pub(super) async fn resolve(&self, url: &EndpointUrl) -> io::Result<Vec<IpAddr>> {
        match url.literal_ip() {
            Some(_) => Ok(Vec::new()),
            None => self.resolver.resolve(url.host_text()).await,
        }
    }

    async fn open(&self, target: &Uri) -> Result<Wire, ConnectError> {
        let mut trace = Trace::start();
        match self.open_traced(target, &mut trace).await {
            Ok(stream) => Ok(Wire::new(stream, trace)),
            Err(outcome) => Err(ConnectError { outcome, trace }),
        }
    }

    /// Reads the destination from `target` anew: what is dialled is what was
    /// judged, whatever the caller judged before.
    async fn open_traced(&self, target: &Uri, trace: &mut Trace) -> Result<Stream, Outcome> {
        let url = EndpointUrl::parse(&target.to_string()).map_err(blocked)?;
        let addresses = self.judged_addresses(&url, trace).await?;
        let stream = self.dial_in_order(&addresses, url.port(), trace).await?;
        if !url.is_https() {
            return Ok(Stream::Plain(stream));
        }
        let started = Instant::now();
        let encrypted = tls::encrypt(&self.tls, &url.host(), stream).await;
        trace.tls_us = micros_since(started);
        Ok(Stream::Tls(Box::new(encrypted?)))
    }

    async fn judged_addresses(
        &self,
        url: &EndpointUrl,
        trace: &mut Trace,
    ) -> Result<Vec<IpAddr>, Outcome> {
        let started = Instant::now();
        let resolved = self.resolve(url).await;
        trace.dns_us = micros_since(started);
        let addresses = self
            .policy
            .judge(url, &resolved.map_err(|error| unresolved(&error))?)
            .map_err(blocked)?;
        if addresses.is_empty() {
            let detail = "the host name has no address".to_owned();
            return Err(Outcome::DnsFailed { detail });
        }
        Ok(addresses)
    }

    async fn dial_in_order(
        &self,
        addresses: &[IpAddr],
        port: u16,
        trace: &mut Trace,
    ) -> Result<TcpStream, Outcome> {
        let started = Instant::now();
        let dialled = timeout(CONNECT_ALL_LIMIT, self.dial_each(addresses, port, trace)).await;
        trace.connect_us = micros_since(started);
        dialled.unwrap_or_else(|_| Err(unreachable(&io::ErrorKind::TimedOut.into())))
    }

    async fn dial_each(
        &self,
        addresses: &[IpAddr],
        port: u16,
        trace: &mut Trace,
    ) -> Result<TcpStream, Outcome> {
        let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            let address = SocketAddr::new(*address, port);
            trace.peer = Some(address);
            match self.dialler.dial(address).await {
                Ok(stream) => return check_peer(stream, address),
                Err(error) => last_error = error,
            }
        }
        Err(unreachable(&last_error))
    }
}

/// Guards against anything between us and the socket that redirects the dial.
fn check_peer(stream: TcpStream, judged: SocketAddr) -> Result<TcpStream, Outcome> {
    let peer = stream.peer_addr().map_err(|error| unreachable(&error))?;
    if (peer.ip(), peer.port()) != (judged.ip(), judged.port()) {
        let detail = "the connection led to another address than the one allowed".to_owned();
        return Err(Outcome::BlockedAddress { detail });
    }
    Ok(stream)
}

pub(super) fn blocked(refusal: UrlRefusal) -> Outcome {
    Outcome::BlockedAddress {
        detail: refusal.detail,
    }
}

fn unresolved(error: &io::Error) -> Outcome {
    let detail = match error.kind() {
        io::ErrorKind::TimedOut => "resolving the host name took longer than 5 s".to_owned(),
        _ => "the host name could not be resolved".to_owned(),
    };
    Outcome::DnsFailed { detail }
}

fn unreachable(error: &io::Error) -> Outcome {
    let refused = |words: &str| Outcome::Refused {
        detail: words.to_owned(),
    };
    match error.kind() {
        io::ErrorKind::TimedOut => Outcome::TimedOut {
            detail: "connecting took longer than 5 s".to_owned(),
        },
        io::ErrorKind::ConnectionRefused => refused("the host refuses connections on this port"),
        io::ErrorKind::HostUnreachable => refused("the host cannot be reached"),
        io::ErrorKind::NetworkUnreachable => refused("the host's network cannot be reached"),
        kind => refused(&format!("the connection could not be opened: {kind}")),
    }
}

/// How opening a connection went so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace {
    started: Instant,
    pub(super) peer: Option<SocketAddr>,
    dns_us: u32,
    connect_us: u32,
    tls_us: u32,
}

impl Trace {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            peer: None,
            dns_us: 0,
            connect_us: 0,
            tls_us: 0,
        }
    }

    /// The opening's share of an attempt's timing; the rest is zero.
    pub(super) fn timing(&self) -> Timing {
        Timing {
            dns_us: self.dns_us,
            connect_us: self.connect_us,
            tls_us: self.tls_us,
            ..Timing::default()
        }
    }
}

/// Microseconds since `started`, at most an hour and eleven minutes.
pub(super) fn micros_since(started: Instant) -> u32 {
    u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX)
}

/// Why no connection came about, how far it got, and what it cost.
#[derive(Debug)]
pub(super) struct ConnectError {
    pub(super) outcome: Outcome,
    pub(super) trace: Trace,
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.outcome.detail().unwrap_or_default())
    }
}

impl std::error::Error for ConnectError {}

/// What the requests on one connection need to know about it.
#[derive(Debug)]
pub(super) struct ConnectInfo {
    pub(super) trace: Trace,
    /// No request has reported this connection's opening yet.
    fresh: AtomicBool,
    read_bytes: AtomicU64,
    /// `read_bytes` when the last response had come in whole.
    settled_bytes: AtomicU64,
}

impl ConnectInfo {
    /// Whether the attempt that began at `started` had this connection opened.
    ///
    /// A connection that was begun for another request and then pooled unused
    /// is older than `started`, and not this attempt's.
    pub(super) fn was_opened_for(&self, started: Instant) -> bool {
        self.fresh.load(Ordering::Relaxed) && started <= self.trace.started
    }

    /// As [`was_opened_for`](Self::was_opened_for), but true once at most.
    pub(super) fn claim(&self, started: Instant) -> bool {
        self.fresh.swap(false, Ordering::Relaxed) && started <= self.trace.started
    }

    /// Notes that a response ended here: what is read from now on answers the next request.
    pub(super) fn settle(&self) {
        let read_bytes = self.read_bytes.load(Ordering::Acquire);
        self.settled_bytes.store(read_bytes, Ordering::Release);
    }

    /// Whether anything was read since the last response ended.
    pub(super) fn was_answered(&self) -> bool {
        self.read_bytes.load(Ordering::Acquire) != self.settled_bytes.load(Ordering::Acquire)
    }
}

/// Opens connections for the client's pool.
#[derive(Clone)]
pub(super) struct Connector(pub(super) Arc<Egress>);

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<TokioIo<Wire>, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let egress = Arc::clone(&self.0);
        Box::pin(async move { egress.open(&target).await.map(TokioIo::new) })
    }
}

/// One connection, which counts what it reads.
pub(super) struct Wire {
    stream: Stream,
    info: Arc<ConnectInfo>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    fn new(stream: Stream, trace: Trace) -> Self {
        let info = ConnectInfo {
            trace,
            fresh: AtomicBool::new(true),
            read_bytes: AtomicU64::new(0),
            settled_bytes: AtomicU64::new(0),
        };
        Self {
            stream,
            info: Arc::new(info),
        }
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new().extra(Arc::clone(&self.info))
    }
}

/// Calls the same method on whichever stream it is.
macro_rules! on_stream {
    ($wire:ident, $stream:ident => $call:expr) => {
        match &mut $wire.stream {
            Stream::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Tls(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        let filled = buf.filled().len();
        let polled = on_stream!(wire, stream => stream.poll_read(cx, buf));
        let read_bytes = buf.filled().len() - filled;
        wire.info
            .read_bytes
            .fetch_add(read_bytes as u64, Ordering::AcqRel);
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        on_stream!(wire, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        on_stream!(wire, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        on_stream!(wire, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        on_stream!(wire, stream => stream.poll_shutdown(cx))
    }
}
