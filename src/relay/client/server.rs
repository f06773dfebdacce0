//! The server's URL.

use std::fmt;

use http::{HeaderValue, Uri};
use url::{Host, Url};

use crate::relay::frame;

/// Where a server is, with the path that a proxy may have put before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(Url);

/// Why a text is no server's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerUrlError {
    #[error("is not a URL such as https://hooks.example.com")]
    NoUrl,
    #[error("must begin with http:// or https://")]
    Scheme,
    #[error("may have a host, a port and a path, but no name, password, query or fragment")]
    More,
}

impl ServerUrl {
    /// Reads an http or https URL; ws and wss mean the same.
    pub fn parse(text: &str) -> Result<Self, ServerUrlError> {
        let plain = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("ws") => format!("http://{rest}"),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("wss") => format!("https://{rest}"),
            Some(_) => text.to_owned(),
            None => return Err(ServerUrlError::NoUrl),
        };
        let mut url = Url::parse(&plain).map_err(|_| ServerUrlError::NoUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ServerUrlError::Scheme);
        }
        if url.host().is_none() || url.port_or_known_default() == Some(0) {
            return Err(ServerUrlError::NoUrl);
        }
        let named = !url.username().is_empty() || url.password().is_some();
        if named || url.query().is_some() || url.fragment().is_some() {
            return Err(ServerUrlError::More);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        let server = Self(url);
        Uri::try_from(server.path_of(frame::PATH)).map_err(|_| ServerUrlError::NoUrl)?;
        Ok(server)
    }

    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    #[must_use]
    pub fn host(&self) -> Host<&str> {
        self.0.host().expect("checked when it was read")
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        let port = self.0.port_or_known_default();
        port.expect("http and https have one")
    }

    /// The `Host` header.
    pub(super) fn authority(&self) -> HeaderValue {
        let host = self.host();
        let authority = match self.0.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        HeaderValue::from_str(&authority).expect("hosts are visible ASCII")
    }

    /// Where listeners connect to.
    pub(super) fn listen_path(&self) -> Uri {
        let path = self.path_of(frame::PATH);
        Uri::try_from(path).expect("checked when it was read")
    }

    fn path_of(&self, path: &str) -> String {
        format!("{}{path}", self.0.path().trim_end_matches('/'))
    }

    /// What senders send to, when the server does not say.
    #[must_use]
    pub fn inbox(&self, token: &str) -> String {
        format!("{self}/in/{token}/")
    }
}

/// Without a slash at the end.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_lie_below_a_path() {
        for (text, shown, authority, listen) in [
            (
                "http://127.0.0.1:8071",
                "http://127.0.0.1:8071",
                "127.0.0.1:8071",
                "/api/v1/listen/",
            ),
            (
                "https://h.example/",
                "https://h.example",
                "h.example",
                "/api/v1/listen/",
            ),
            (
                "https://h.example/a/b/",
                "https://h.example/a/b",
                "h.example",
                "/a/b/api/v1/listen/",
            ),
            (
                "wss://h.example:443",
                "https://h.example",
                "h.example",
                "/api/v1/listen/",
            ),
            ("WS://[::1]:80", "http://[::1]", "[::1]", "/api/v1/listen/"),
        ] {
            let url = ServerUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown, "{text}");
            assert_eq!(url.authority(), authority, "{text}");
            assert_eq!(url.listen_path().path(), listen, "{text}");
            assert_eq!(url.inbox("c_1"), format!("{shown}/in/c_1/"), "{text}");
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for (text, want) in [
            ("", ServerUrlError::NoUrl),
            ("h.example", ServerUrlError::NoUrl),
            ("h.example:8071", ServerUrlError::NoUrl),
            ("http://", ServerUrlError::NoUrl),
            ("http://h:0", ServerUrlError::NoUrl),
            ("http://a b/", ServerUrlError::NoUrl),
            ("ftp://h.example", ServerUrlError::Scheme),
            ("http://a@h.example", ServerUrlError::More),
            ("http://h.example/?a", ServerUrlError::More),
            ("http://h.example/#a", ServerUrlError::More),
        ] {
            assert_eq!(ServerUrl::parse(text), Err(want), "{text}");
        }
    }
}
