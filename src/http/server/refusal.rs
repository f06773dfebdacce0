//! Requests that hyper lets through and no handler should see.

use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, StatusCode, Version};

/// Why the server answers a request itself. The connection closes after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Two readers could disagree on where the request ends.
    Framing,
    /// A transfer encoding other than `chunked`, once.
    Encoding,
    /// No `Host`, or several.
    Host,
    /// The request line names another host than `Host` does.
    Target,
    /// `CONNECT`: this is no proxy.
    Tunnel,
}

impl Refusal {
    /// Looks at the head only. Source: RFC 9112 sections 3.2 and 6.1.
    pub(super) fn of<B>(request: &Request<B>, ambiguous: bool) -> Option<Self> {
        if ambiguous {
            return Some(Self::Framing);
        }
        if request.headers().contains_key(TRANSFER_ENCODING) && !is_only_chunked(request) {
            return Some(Self::Encoding);
        }
        if request.method() == Method::CONNECT {
            return Some(Self::Tunnel);
        }
        let mut hosts = request.headers().get_all(HOST).iter();
        let host = hosts.next();
        let missing = host.is_none() && request.version() == Version::HTTP_11;
        if missing || hosts.next().is_some() {
            return Some(Self::Host);
        }
        let authority = request.uri().authority()?;
        let same = host.is_some_and(|host| {
            authority
                .as_str()
                .as_bytes()
                .eq_ignore_ascii_case(host.as_bytes())
        });
        (!same).then_some(Self::Target)
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body()));
        *response.status_mut() = match self {
            Self::Tunnel => StatusCode::METHOD_NOT_ALLOWED,
            _ => StatusCode::BAD_REQUEST,
        };
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if self == Self::Tunnel {
            let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        response
    }

    fn body(self) -> &'static str {
        macro_rules! problem {
            ($status:literal, $title:literal, $code:literal, $detail:literal) => {
                concat!(
                    r#"{"type":"about:blank","title":""#,
                    $title,
                    r#"","status":"#,
                    $status,
                    r#","detail":""#,
                    $detail,
                    r#"","code":""#,
                    $code,
                    r#""}"#
                )
            };
        }
        match self {
            Self::Framing => problem!(
                400,
                "Bad Request",
                "ambiguous_length",
                "Send either Content-Length, once, or Transfer-Encoding, not both."
            ),
            Self::Encoding => problem!(
                400,
                "Bad Request",
                "unknown_transfer_encoding",
                "The only transfer encoding understood here is chunked, once."
            ),
            Self::Host => problem!(
                400,
                "Bad Request",
                "bad_host",
                "Send exactly one Host header."
            ),
            Self::Target => problem!(
                400,
                "Bad Request",
                "wrong_target_host",
                "The request line names another host than the Host header. This server is no proxy."
            ),
            Self::Tunnel => problem!(
                405,
                "Method Not Allowed",
                "method_not_allowed",
                "This server is no proxy and opens no tunnels."
            ),
        }
    }
}

fn is_only_chunked<B>(request: &Request<B>) -> bool {
    let mut encodings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let first = encodings.next();
    first.is_some_and(|value| {
        value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    }) && encodings.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, target: &str, headers: &[(&str, &str)], want: Option<Refusal>) {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        assert_eq!(
            Refusal::of(&request, false),
            want,
            "{method} {target} {headers:?}"
        );
    }

    #[test]
    fn heads_that_proxies_could_read_differently_are_refused() {
        const HOST: (&str, &str) = ("host", "a.example");
        const TE: &str = "transfer-encoding";
        for (method, target, headers, want) in [
            ("GET", "/", &[HOST][..], None),
            ("GET", "/", &[], Some(Refusal::Host)),
            ("GET", "/", &[HOST, HOST], Some(Refusal::Host)),
            ("GET", "http://A.example/x", &[HOST], None),
            ("GET", "http://b.example/", &[HOST], Some(Refusal::Target)),
            ("GET", "http://u@a.example/", &[HOST], Some(Refusal::Target)),
            ("CONNECT", "a.example:443", &[HOST], Some(Refusal::Tunnel)),
            ("POST", "/", &[HOST, (TE, "Chunked")], None),
            (
                "POST",
                "/",
                &[HOST, (TE, "gzip, chunked")],
                Some(Refusal::Encoding),
            ),
            (
                "POST",
                "/",
                &[HOST, (TE, "x"), (TE, "chunked")],
                Some(Refusal::Encoding),
            ),
        ] {
            check(method, target, headers, want);
        }
    }

    #[test]
    fn every_refusal_is_a_problem_with_its_own_status() {
        for refusal in [
            Refusal::Framing,
            Refusal::Encoding,
            Refusal::Host,
            Refusal::Target,
            Refusal::Tunnel,
        ] {
            let problem: serde_json::Value = serde_json::from_str(refusal.body()).unwrap();
            let status = refusal.into_response().status().as_u16();
            assert_eq!(problem["status"], status, "{refusal:?}");
        }
    }
}
