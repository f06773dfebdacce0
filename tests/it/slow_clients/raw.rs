//! A server with short limits, and clients that write bytes instead of requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use hookpost::http::server::{DrainReport, PeerAddr, ServerLimits, is_body_timeout, serve};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, timeout};

/// How long a test waits for what must happen.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Far beyond [`PATIENCE`]: a limit that must not be the one that acts.
const NEVER: Duration = Duration::from_hours(1);

/// How fast the slow clients dribble.
const DRIP: Duration = Duration::from_millis(20);

/// Limits none of which acts within a test.
pub(super) fn no_limits() -> ServerLimits {
    ServerLimits {
        header_time: NEVER,
        idle_time: NEVER,
        write_idle: NEVER,
        body_idle: NEVER,
        body_total: NEVER,
        body_bytes_per_second_min: 0,
        ..ServerLimits::default()
    }
}

/// What handlers and tests tell each other.
#[derive(Default)]
pub(super) struct Signals {
    /// A request has come to `/gate`.
    pub(super) arrived: Notify,
    /// It may be answered.
    pub(super) open: Notify,
    /// The endless response is no longer wanted.
    pub(super) dropped: Notify,
}

pub(super) struct Server {
    pub(super) addr: SocketAddr,
    pub(super) signals: Arc<Signals>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<DrainReport>,
}

impl Server {
    pub(super) async fn start(limits: ServerLimits) -> Self {
        Self::start_with_drain(limits, PATIENCE).await
    }

    pub(super) async fn start_with_drain(limits: ServerLimits, drain: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = listener.local_addr().expect("is bound");
        let signals = Arc::new(Signals::default());
        let app = app(Arc::clone(&signals));
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let serving = tokio::spawn(serve(listener, app, limits, shutdown, drain));
        Self {
            addr,
            signals,
            stop,
            serving,
        }
    }

    pub(super) async fn connect(&self) -> Client {
        Client(self.try_connect().await.expect("connects"))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the other side")]
    pub(super) async fn try_connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.addr).await
    }

    /// Drops the future that serves.
    pub(super) fn abandon(self) {
        self.serving.abort();
    }

    /// Begins to stop; the rest of the server is then its report.
    pub(super) fn stop(self) -> JoinHandle<DrainReport> {
        self.stop.send(()).expect("still serves");
        self.serving
    }
}

pub(super) fn app(signals: Arc<Signals>) -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/peer", get(peer))
        .route(
            "/target",
            get(|uri: http::Uri| async move { uri.to_string() }),
        )
        .route("/echo", post(echo))
        .route("/deaf", post(|| async { "did not listen" }))
        .route("/panic", get(panics))
        .route("/gate", get(gate))
        .route("/endless", get(endless))
        .layer(Extension(signals))
}

async fn peer(Extension(PeerAddr(peer)): Extension<PeerAddr>) -> String {
    peer.to_string()
}

async fn echo(body: Body) -> Response {
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes.into_response(),
        Err(err) if is_body_timeout(&err) => {
            (StatusCode::REQUEST_TIMEOUT, err.to_string()).into_response()
        }
        Err(err) => (StatusCode::BAD_REQUEST, err.to_string()).into_response(),
    }
}

async fn panics() {
    panic!("a handler panics, as this test wants")
}

async fn gate(Extension(signals): Extension<Arc<Signals>>) -> &'static str {
    signals.arrived.notify_one();
    signals.open.notified().await;
    "passed"
}

struct TellsWhenDropped(Arc<Signals>);

impl Drop for TellsWhenDropped {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

async fn endless(Extension(signals): Extension<Arc<Signals>>) -> Body {
    static BLOCK: [u8; 16 * 1024] = [b'x'; 16 * 1024];
    let guard = TellsWhenDropped(signals);
    Body::from_stream(stream::repeat_with(move || {
        let _ = &guard;
        Ok::<_, std::io::Error>(Bytes::from_static(&BLOCK))
    }))
}

/// The other end of one connection.
pub(super) struct Client(TcpStream);

impl Client {
    /// The server may have closed already; then the next read tells.
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes).await;
    }

    pub(super) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.0.write_all(bytes.as_ref()).await
    }

    pub(super) async fn get(&mut self, path: &str) -> String {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n"))
            .await;
        self.answer().await
    }

    /// The next whole response, which must have a content length.
    pub(super) async fn answer(&mut self) -> String {
        timeout(PATIENCE, self.read_answer())
            .await
            .expect("an answer in time")
    }

    /// Everything until the connection is closed.
    pub(super) async fn until_closed(&mut self) -> String {
        timeout(PATIENCE, self.read_to_end())
            .await
            .expect("closed in time")
    }

    /// Keeps sending `drop`, slowly, until the connection is closed; then the same.
    pub(super) async fn drip_until_closed(&mut self, drop: &[u8]) -> String {
        let (read, mut write) = self.0.split();
        let dripping = async {
            let mut drips = interval(DRIP);
            while write.write_all(drop).await.is_ok() {
                drips.tick().await;
            }
            std::future::pending::<()>().await;
        };
        let mut read = read;
        tokio::select! {
            got = timeout(PATIENCE, read_all(&mut read)) => got.expect("closed in time"),
            () = dripping => unreachable!("it drips on"),
        }
    }

    /// How long it takes until the connection is closed, with nothing said meanwhile.
    pub(super) async fn time_until_closed(&mut self) -> Duration {
        let start = Instant::now();
        assert_eq!(self.until_closed().await, "");
        start.elapsed()
    }

    async fn read_to_end(&mut self) -> String {
        read_all(&mut self.0).await
    }

    async fn read_answer(&mut self) -> String {
        let mut got = Vec::new();
        while !is_whole(&got) {
            let byte = self.0.read_u8().await;
            got.push(
                byte.unwrap_or_else(|err| {
                    panic!("{err} after {:?}", String::from_utf8_lossy(&got))
                }),
            );
        }
        String::from_utf8(got).expect("text")
    }
}

/// A reset is an end too: it is what a closed connection answers to bytes it did not want.
async fn read_all(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    String::from_utf8(got).expect("text")
}

fn is_whole(got: &[u8]) -> bool {
    let text = String::from_utf8_lossy(got);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().expect("a number"));
    body.len() >= length
}
