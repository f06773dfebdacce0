//! Outbound HTTP: one request, one [`Exchange`], whatever the endpoint does.
//!
//! Nothing else in the product dials or resolves. Every new connection goes
//! through resolve, judge, dial, check the peer, encrypt (`connect`), and dials
//! only addresses that the [`DestinationPolicy`] returned. Proxies from the
//! environment are not looked at, redirects are not followed, bodies are not
//! decompressed.

mod connect;
mod failure;
mod resolve;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use self::connect::{ConnectInfo, Connector, Egress, blocked, micros_since};
use self::failure::{HEAD_TOO_LARGE, connect_error, outcome_of, protocol};
use crate::domain::address::{DestinationPolicy, EndpointUrl, UrlRefusal};
use crate::domain::attempt::{
    CapturedResponse, Exchange, Outcome, RESPONSE_BODY_READ_BYTES, Timing,
};

pub use self::connect::{CONNECT_ALL_LIMIT, CONNECT_LIMIT, Dialler, SystemDialler};
pub use self::resolve::{
    RESOLVE_LIMIT, RESOLVED_KEPT, RESOLVED_NAMES_MAX, RESOLVES_AT_ONCE_MAX, Resolver,
    SystemResolver,
};
pub(crate) use self::tls::why_handshake_failed;
pub use self::tls::{TLS_HANDSHAKE_LIMIT, client_tls, encrypt, trust_anchors};

/// How long an unused connection stays open.
///
/// A connection in use stays with the address it was opened to, also when its
/// name has moved on.
pub const POOL_IDLE_LIMIT: Duration = Duration::from_secs(30);
/// Unused connections kept for one scheme, host and port.
pub const POOL_IDLE_PER_HOST_MAX: usize = 256;
/// Bytes of headers that a response may have, as it writes them.
///
/// It may have 100 headers. That limit is the parser's own default, which it
/// keeps on the stack; naming it here would move it to the heap.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Informational (1xx) responses that may come before the real one.
pub const INFORMATIONAL_MAX: u32 = 16;

/// One request, ready to go out.
#[derive(Clone, Debug)]
pub struct OutboundRequest {
    pub method: Method,
    pub url: Arc<EndpointUrl>,
    /// All headers but `Host` and `Content-Length`, which are derived here.
    /// `Connection` and `Transfer-Encoding` must not be among them.
    pub headers: HeaderMap,
    pub body: Bytes,
    /// For everything from resolving to the last byte of the response's body.
    pub timeout: Duration,
    /// Bytes of the response's body that are kept.
    pub keep_bytes: usize,
}

/// Sends requests: over the network in production, from a script in simulations.
pub trait Transport: Send + Sync + 'static {
    /// Makes one request. Never fails: what went wrong is an [`Outcome`].
    ///
    /// Dropping the future closes the connection.
    fn send(&self, request: OutboundRequest) -> BoxFuture<'_, Exchange>;
}

/// Why a transport could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("an extra root certificate cannot be used: {0}")]
    Root(#[source] rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
}

type HttpClient = Client<Connector, Full<Bytes>>;

/// HTTP/1.1 over a pool of judged connections.
///
/// One per policy: connections outlive the request that opened them, so a new
/// policy needs a new transport. Make it inside a tokio runtime.
pub struct HttpTransport {
    egress: Arc<Egress>,
    pooled: HttpClient,
    /// Opens a connection for every request; for replays only.
    unpooled: HttpClient,
}

impl HttpTransport {
    /// A transport that resolves and dials through the given parts.
    ///
    /// `tls` is usually from [`client_tls`]; it must not offer HTTP/2.
    #[must_use]
    pub fn new(
        policy: DestinationPolicy,
        resolver: Arc<dyn Resolver>,
        dialler: Arc<dyn Dialler>,
        tls: Arc<ClientConfig>,
    ) -> Self {
        let egress = Arc::new(Egress {
            policy,
            resolver,
            dialler,
            tls: TlsConnector::from(tls),
        });
        Self {
            pooled: client(&egress, POOL_IDLE_PER_HOST_MAX),
            unpooled: client(&egress, 0),
            egress,
        }
    }

    /// A transport over the operating system's resolver and sockets, which
    /// trusts the web's certificate authorities and `extra_roots`.
    pub fn system(
        policy: DestinationPolicy,
        extra_roots: &[CertificateDer<'static>],
    ) -> Result<Self, TransportError> {
        Ok(Self::new(
            policy,
            Arc::new(SystemResolver::new()),
            Arc::new(SystemDialler),
            client_tls(extra_roots)?,
        ))
    }

    /// Whether `url` may be delivered to, as its name resolves now.
    ///
    /// A name that does not resolve is judged by its spelling alone: it may
    /// come to exist, and every connection is judged again.
    pub async fn judge_now(&self, url: &EndpointUrl) -> Result<(), UrlRefusal> {
        let resolved = self.egress.resolve(url).await.unwrap_or_default();
        self.egress.policy.judge(url, &resolved).map(|_| ())
    }

    async fn exchange(&self, request: OutboundRequest) -> Exchange {
        let mut attempt = Attempt::start(request.timeout, request.keep_bytes);
        let call = match self.judged_call(request) {
            Ok(call) => call,
            Err(outcome) => return attempt.failed(outcome),
        };
        match timeout_at(attempt.deadline, self.answer(&call, &mut attempt)).await {
            Ok(Ok(response)) => attempt.answered(response).await,
            Ok(Err(outcome)) => attempt.failed(outcome),
            Err(_) => attempt.timed_out(),
        }
    }

    /// Judges literals once more, which a pooled connection would not.
    ///
    /// Names wait for the connector: an allowed network opens names and ports
    /// that are refused elsewhere, and only the answer tells which it is. A
    /// pooled connection is of the same scheme, name, port and policy.
    fn judged_call(&self, request: OutboundRequest) -> Result<Call, Outcome> {
        if request.url.literal_ip().is_some() {
            let judged = self.egress.policy.judge(&request.url, &[]);
            judged.map_err(blocked)?;
        }
        let target = Uri::try_from(request.url.as_str()).map_err(|_| Outcome::BlockedAddress {
            detail: "the URL cannot be written as an HTTP request".to_owned(),
        })?;
        Ok(Call {
            method: request.method,
            target,
            headers: request.headers,
            body: request.body,
        })
    }

    /// The response's head, after one replay at most.
    async fn answer(
        &self,
        call: &Call,
        attempt: &mut Attempt,
    ) -> Result<Response<Incoming>, Outcome> {
        let answer = attempt.ask(&self.pooled, call).await;
        match answer {
            Err(Outcome::Reset { .. }) if attempt.met_a_dead_connection() => {
                attempt.ask(&self.unpooled, call).await
            }
            answer => answer,
        }
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: OutboundRequest) -> BoxFuture<'_, Exchange> {
        Box::pin(self.exchange(request))
    }
}

fn client(egress: &Arc<Egress>, idle_per_host_max: usize) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_LIMIT)
        .pool_max_idle_per_host(idle_per_host_max)
        .http1_max_buf_size(RESPONSE_HEAD_BYTES_MAX)
        .build(Connector(Arc::clone(egress)))
}

/// A judged request, kept so that it can be made a second time.
struct Call {
    method: Method,
    target: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        request.headers_mut().clone_from(&self.headers);
        request
    }
}

/// One attempt under way: its clock, and the connection it is on.
struct Attempt {
    started: Instant,
    deadline: Instant,
    keep_bytes: usize,
    connection: Option<CaptureConnection>,
    /// Filled in as far as the attempt gets.
    timing: Timing,
    peer: Option<SocketAddr>,
}

impl Attempt {
    fn start(timeout: Duration, keep_bytes: usize) -> Self {
        let started = Instant::now();
        Self {
            started,
            deadline: started + timeout,
            keep_bytes,
            connection: None,
            timing: Timing::default(),
            peer: None,
        }
    }

    /// Makes the request through `client` and waits for the response's head.
    async fn ask(
        &mut self,
        client: &HttpClient,
        call: &Call,
    ) -> Result<Response<Incoming>, Outcome> {
        let mut request = call.request();
        let flood = Arc::new(Flood::default());
        Flood::watch(&flood, &mut request);
        self.connection = Some(capture_connection(&mut request));
        let answer = tokio::select! {
            biased;
            answer = client.request(request) => Some(answer),
            () = flood.rose.notified() => None,
        };
        match answer {
            Some(answer) if !flood.is_over() => answer.map_err(|error| self.explain(&error)),
            _ => Err(protocol(
                "more than 16 informational responses came before the real one",
            )),
        }
    }

    fn explain(&mut self, error: &ClientError) -> Outcome {
        if let Some(error) = connect_error(error) {
            // The client may have met a dead pooled connection before.
            self.connection = None;
            self.peer = error.trace.peer;
            self.timing = error.trace.timing();
        }
        outcome_of(error)
    }

    /// Whether the request was lost to a pooled connection that the server
    /// closed at the same moment: one that an earlier request had used, and
    /// on which not a byte of an answer came.
    fn met_a_dead_connection(&self) -> bool {
        self.connection_info()
            .is_some_and(|info| !info.was_opened_for(self.started) && !info.was_answered())
    }

    fn connection_info(&self) -> Option<Arc<ConnectInfo>> {
        let metadata = self.connection.as_ref()?.connection_metadata();
        let mut extras = Extensions::new();
        metadata.as_ref()?.get_extras(&mut extras);
        extras.remove()
    }

    /// Takes the opening's cost over, when it was this attempt that had it.
    fn note_connection(&mut self, info: &ConnectInfo) {
        self.peer = info.trace.peer;
        if info.claim(self.started) {
            self.timing = Timing {
                first_byte_us: self.timing.first_byte_us,
                ..info.trace.timing()
            };
        }
    }

    fn timed_out(self) -> Exchange {
        let waited_ms = (self.deadline - self.started).as_millis();
        let detail = match self.connection_info() {
            Some(_) => format!("no answer came within {waited_ms} ms"),
            None => format!("no connection came about within {waited_ms} ms"),
        };
        self.failed(Outcome::TimedOut { detail })
    }

    fn failed(mut self, outcome: Outcome) -> Exchange {
        if let Some(info) = self.connection_info() {
            self.note_connection(&info);
        }
        self.finished(outcome, None)
    }

    /// Once the head is fine the status decides: the body is kept as far as it
    /// comes, and nothing about it can fail the attempt.
    async fn answered(mut self, response: Response<Incoming>) -> Exchange {
        self.timing.first_byte_us = micros_since(self.started);
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return self.failed(protocol("the server switched to another protocol (101)"));
        }
        if head_bytes(response.headers()) > RESPONSE_HEAD_BYTES_MAX {
            return self.failed(protocol(HEAD_TOO_LARGE));
        }
        let (head, mut body) = response.into_parts();
        if is_ambiguous(&head.headers) {
            self.never_reuse_connection();
        }
        let mut captured = captured_head(&head.headers);
        let reading = keep_body(&mut body, &mut captured, self.keep_bytes);
        let ended = timeout_at(self.deadline, reading).await;
        if let Some(info) = head.extensions.get::<Arc<ConnectInfo>>() {
            if matches!(ended, Ok(BodyEnd::Reached)) {
                info.settle();
            }
            self.note_connection(info);
        }
        let status = status.as_u16();
        self.finished(Outcome::Response { status }, Some(captured))
    }

    fn never_reuse_connection(&self) {
        if let Some(connection) = &self.connection
            && let Some(metadata) = connection.connection_metadata().as_ref()
        {
            metadata.poison();
        }
    }

    fn finished(mut self, outcome: Outcome, response: Option<CapturedResponse>) -> Exchange {
        self.timing.total_us = micros_since(self.started);
        Exchange {
            outcome,
            response,
            timing: self.timing,
            peer: self.peer,
        }
    }
}

/// A length and chunks at once: two readers could disagree on where the
/// response ends (RFC 9112, 6.3), so its connection carries no other.
fn is_ambiguous(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH)
}

/// The parser checks its buffer before it reads on, so that a head of up to
/// twice the limit can get past it.
fn head_bytes(headers: &HeaderMap) -> usize {
    let line_bytes = |name: &HeaderName, value: &HeaderValue| name.as_str().len() + value.len() + 4;
    headers
        .iter()
        .map(|(name, value)| line_bytes(name, value))
        .sum()
}

fn captured_head(headers: &HeaderMap) -> CapturedResponse {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    CapturedResponse {
        headers,
        ..CapturedResponse::default()
    }
}

enum BodyEnd {
    /// The body ended within the limit; its connection can serve again.
    Reached,
    /// The body broke off or went on too long; its connection is of no use.
    NotReached,
}

/// Reads the body up to the limit and keeps its beginning in `captured`,
/// which is right about what it holds whenever this is dropped.
async fn keep_body(
    body: &mut Incoming,
    captured: &mut CapturedResponse,
    keep_bytes: usize,
) -> BodyEnd {
    let read_bytes_max = keep_bytes.max(RESPONSE_BODY_READ_BYTES);
    let mut read_bytes = 0;
    while !body.is_end_stream() {
        captured.truncated = true;
        if read_bytes >= read_bytes_max {
            return BodyEnd::NotReached;
        }
        match body.frame().await {
            None => break,
            Some(Err(_)) => return BodyEnd::NotReached,
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                read_bytes += data.len();
                let room = keep_bytes - captured.body.len();
                captured
                    .body
                    .extend_from_slice(&data[..data.len().min(room)]);
            }
        }
    }
    captured.truncated = read_bytes > keep_bytes;
    BodyEnd::Reached
}

/// Counts informational responses, which the HTTP client itself takes without end.
#[derive(Default)]
struct Flood {
    seen: AtomicU32,
    rose: Notify,
}

impl Flood {
    fn is_over(&self) -> bool {
        self.seen.load(Ordering::Relaxed) > INFORMATIONAL_MAX
    }

    fn watch(flood: &Arc<Self>, request: &mut Request<Full<Bytes>>) {
        let flood = Arc::clone(flood);
        hyper::ext::on_informational(request, move |_| {
            if flood.seen.fetch_add(1, Ordering::Relaxed) == INFORMATIONAL_MAX {
                flood.rose.notify_one();
            }
        });
    }
}
