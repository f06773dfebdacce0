//! The request to the local program.

use std::error::Error;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::dial::{DialError, Reach, Ways, Wire, encrypt};
use super::notice::{Answer, Head};
use super::target::{PlaceError, Target};
use crate::domain::header::is_name;

/// How long an unused connection is kept: shorter than any server does, so
/// that no request meets a connection that is just being closed.
const POOL_IDLE_LIMIT: Duration = Duration::from_secs(1);
/// Bytes that the head of an answer may have.
const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;

/// Headers of one connection, which say nothing about the request itself.
const OF_CONNECTION: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Why there is no answer, in words.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("{0}")]
    Place(#[from] PlaceError),
    #[error("{0} is no method that can be sent on")]
    Method(String),
    #[error("the header {0:?} cannot be sent on")]
    Header(String),
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("{0}; --insecure takes any certificate of the program")]
    Certificate(DialError),
    #[error("no answer from {address} within {} s", limit.as_secs_f32())]
    TimedOut { address: String, limit: Duration },
    #[error("{address} ended the connection without an answer")]
    Closed { address: String },
    #[error("connection reset by {address}")]
    Reset { address: String },
    #[error("{address} does not answer in HTTP")]
    NotHttp { address: String },
    #[error("the head of the answer of {address} is larger than {ANSWER_HEAD_BYTES_MAX} bytes")]
    HeadTooLarge { address: String },
    #[error(
        "the answer of {address} is larger than {bytes_max} bytes, which is all that the server takes"
    )]
    TooLarge { address: String, bytes_max: usize },
    #[error("{address} answered {status}, which is no answer to a webhook")]
    Informational { address: String, status: u16 },
    #[error("the exchange with {address} failed: {reason}")]
    Other { address: String, reason: String },
}

/// The local program.
pub struct Local {
    target: Target,
    client: Client<Connector, Full<Bytes>>,
    /// Set on each request, in the place of what came.
    headers: Vec<(HeaderName, HeaderValue)>,
    limit: Duration,
}

impl Local {
    #[must_use]
    pub fn new(
        target: Target,
        headers: Vec<(HeaderName, HeaderValue)>,
        limit: Duration,
        ways: Ways,
        tls: Arc<ClientConfig>,
    ) -> Self {
        let connector = Connector(Arc::new(Way {
            target: target.clone(),
            ways,
            tls,
        }));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_LIMIT)
            .http1_max_buf_size(ANSWER_HEAD_BYTES_MAX)
            .build(connector);
        Self {
            target,
            client,
            headers,
            limit,
        }
    }

    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Asks the program, and reads its answer, of which the body has `bytes_max`
    /// at most.
    pub async fn ask(
        &self,
        head: &Head,
        body: Bytes,
        bytes_max: usize,
    ) -> Result<Answer, NoAnswer> {
        let request = self.request(head, body)?;
        let exchange = timeout(self.limit, self.exchange(request, bytes_max));
        exchange.await.unwrap_or_else(|_| {
            Err(NoAnswer::TimedOut {
                address: self.target.address(),
                limit: self.limit,
            })
        })
    }

    fn request(&self, head: &Head, body: Bytes) -> Result<Request<Full<Bytes>>, NoAnswer> {
        let method = Method::from_bytes(head.method.as_bytes())
            .ok()
            .filter(|method| *method != Method::CONNECT)
            .ok_or_else(|| NoAnswer::Method(head.method.clone()))?;
        let path = self.target.place(&head.below)?;
        let uri = Uri::try_from(format!("{}{path}", self.target.origin()))
            .map_err(|_| PlaceError::Characters)?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = header_map(&head.headers)?;
        for (name, _) in &self.headers {
            request.headers_mut().remove(name);
        }
        for (name, value) in &self.headers {
            request.headers_mut().append(name, value.clone());
        }
        Ok(request)
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Answer, NoAnswer> {
        let response = self.client.request(request).await;
        let response = response.map_err(|error| self.why(&error))?;
        if response.status().is_informational() {
            return Err(NoAnswer::Informational {
                address: self.target.address(),
                status: response.status().as_u16(),
            });
        }
        self.read(response, bytes_max).await
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        bytes_max: usize,
    ) -> Result<Answer, NoAnswer> {
        let (head, body) = response.into_parts();
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        let body = Limited::new(body, bytes_max).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => NoAnswer::TooLarge {
                address: self.target.address(),
                bytes_max,
            },
            None => self.why(error.as_ref()),
        })?;
        Ok(Answer {
            status: head.status.as_u16(),
            headers: end_to_end(headers),
            body: body.to_bytes(),
        })
    }

    fn why(&self, error: &(dyn Error + 'static)) -> NoAnswer {
        let address = self.target.address();
        if let Some(failed) = cause::<DialError>(error) {
            return match failed {
                DialError::Tls { .. } if !self.target.insecure => {
                    NoAnswer::Certificate(failed.clone())
                }
                _ => failed.clone().into(),
            };
        }
        if let Some(failed) = cause::<std::io::Error>(error) {
            return match failed.kind() {
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => {
                    NoAnswer::Reset { address }
                }
                std::io::ErrorKind::UnexpectedEof => NoAnswer::Closed { address },
                kind => NoAnswer::Other {
                    address,
                    reason: kind.to_string(),
                },
            };
        }
        match cause::<hyper::Error>(error) {
            Some(failed) if failed.is_parse_too_large() => NoAnswer::HeadTooLarge { address },
            Some(failed) if failed.is_parse() => NoAnswer::NotHttp { address },
            Some(failed) if failed.is_incomplete_message() || failed.is_canceled() => {
                NoAnswer::Closed { address }
            }
            _ => NoAnswer::Other {
                address,
                reason: error.to_string(),
            },
        }
    }
}

/// The first error of this type in the chain that `error` begins.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Headers as a request has them, without those of the connection.
fn header_map(headers: &[(String, Vec<u8>)]) -> Result<HeaderMap, NoAnswer> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in end_to_end(headers.to_vec()) {
        let refused = || NoAnswer::Header(name.clone());
        let value = HeaderValue::from_bytes(&value).map_err(|_| refused())?;
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
        map.try_append(header, value).map_err(|_| refused())?;
    }
    Ok(map)
}

/// Headers without those of the connection that they came by.
#[must_use]
pub fn end_to_end(headers: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let named = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase());
    let named: Vec<String> = named.collect();
    let mut headers = headers;
    headers.retain(|(name, _)| {
        let name = name.to_ascii_lowercase();
        !is_of_connection(&name) && !named.contains(&name)
    });
    headers
}

/// Whether a header of this name, in lower case, belongs to one connection.
#[must_use]
pub fn is_of_connection(name: &str) -> bool {
    OF_CONNECTION.contains(&name) || name.starts_with("proxy-")
}

/// Why a text is no header to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("is not written as 'Name: value'")]
    Form,
    #[error("has a value that no header can have")]
    Value,
    #[error("names a header that HTTP sets itself")]
    OfConnection,
}

/// Reads a header that is to be set on each request. `Host` may be.
pub fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), HeaderError> {
    let (name, value) = text.split_once(':').ok_or(HeaderError::Form)?;
    let name = name.trim();
    if !is_name(name) {
        return Err(HeaderError::Form);
    }
    let lower = name.to_ascii_lowercase();
    if is_of_connection(&lower) && lower != "host" {
        return Err(HeaderError::OfConnection);
    }
    let header = HeaderName::from_bytes(lower.as_bytes()).map_err(|_| HeaderError::Form)?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| HeaderError::Value)?;
    Ok((header, value))
}

/// Opens connections to the local program. Each time anew it asks where that
/// is, and judges the answer.
#[derive(Clone)]
struct Connector(Arc<Way>);

struct Way {
    target: Target,
    ways: Ways,
    tls: Arc<ClientConfig>,
}

impl Way {
    async fn open(&self) -> Result<Wire, DialError> {
        let (host, port) = (self.target.host(), self.target.port());
        let stream = self.ways.dial(&host, port, self.target.reach()).await?;
        if self.target.is_https() {
            encrypt(&self.tls, &host, stream).await
        } else {
            Ok(stream.into())
        }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<TokioIo<Wire>, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let way = Arc::clone(&self.0);
        Box::pin(async move { way.open().await.map(TokioIo::new) })
    }
}

impl Target {
    /// Where the target may be.
    #[must_use]
    pub fn reach(&self) -> Reach {
        if self.external {
            Reach::Anywhere
        } else {
            Reach::Loopback
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_headers_of_the_connection_stay_behind() {
        let names = |names: &[&str]| -> Vec<(String, Vec<u8>)> {
            let pair = |name: &&str| match name.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.as_bytes().to_vec()),
                None => ((*name).to_owned(), b"v".to_vec()),
            };
            names.iter().map(pair).collect()
        };
        for (came, want) in [
            (&["a", "b", "a"][..], &["a", "b", "a"][..]),
            (&["Host", "Content-Length", "expect", "TE", "trailer"], &[]),
            (&["transfer-encoding", "upgrade", "keep-alive"], &[]),
            (&["proxy-authorization", "Proxy-Connection"], &[]),
            (
                &["connection=close, X-Hop", "x-hop", "x-other"],
                &["x-other"],
            ),
            (
                &["accept-encoding", "via", "forwarded", "x-forwarded-for"],
                &["accept-encoding", "via", "forwarded", "x-forwarded-for"],
            ),
            (
                &["x-real-ip", "hookpost-via", "user-agent", "set-cookie"],
                &["x-real-ip", "hookpost-via", "user-agent", "set-cookie"],
            ),
        ] {
            assert_eq!(end_to_end(names(came)), names(want), "{came:?}");
        }
    }

    #[test]
    fn a_header_to_set_has_a_name_and_a_value() {
        for (text, want) in [
            ("X-A: b", Ok(("x-a", "b"))),
            ("x-a:", Ok(("x-a", ""))),
            ("Host: my.test", Ok(("host", "my.test"))),
            ("x-a: b: c", Ok(("x-a", "b: c"))),
            ("x-a", Err(HeaderError::Form)),
            (": b", Err(HeaderError::Form)),
            ("x a: b", Err(HeaderError::Form)),
            ("x-a: b\r\nc: d", Err(HeaderError::Value)),
            ("Content-Length: 1", Err(HeaderError::OfConnection)),
            ("connection: close", Err(HeaderError::OfConnection)),
        ] {
            let got = parse_header(text);
            let got = got
                .as_ref()
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
                .map_err(|error| *error);
            assert_eq!(got, want, "{text:?}");
        }
    }
}
