//! The URL of a Hookpost server, as whoever asks it names it.

use std::fmt;

use url::{Host, Url};

const DEFAULT: &str = "http://127.0.0.1:8071";
/// What may be named with it, and goes without saying.
const API: &str = "/api/v1";

/// Why a text names no server, as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerUrlError {
    #[error("is not an http or https URL")]
    NoUrl,
    #[error("has a user name; the API key goes into HOOKPOST_API_KEY")]
    UserName,
    #[error("has more than scheme, host, port and path")]
    More,
}

/// Where a server is: scheme, host, port, and what comes before its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(Url);

impl Default for ServerUrl {
    fn default() -> Self {
        Self(Url::parse(DEFAULT).expect("it is one"))
    }
}

impl ServerUrl {
    /// Reads an http or https URL; a path is what a proxy puts before the server's.
    pub fn parse(text: &str) -> Result<Self, ServerUrlError> {
        let url = Url::parse(text.trim()).map_err(|_| ServerUrlError::NoUrl)?;
        let known = ["http", "https"].contains(&url.scheme()) && url.has_host();
        if !known || url.port() == Some(0) {
            return Err(ServerUrlError::NoUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ServerUrlError::UserName);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ServerUrlError::More);
        }
        let mut url = url;
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(path.strip_suffix(API).unwrap_or(&path));
        Ok(Self(url))
    }

    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    #[must_use]
    pub fn host(&self) -> Host<&str> {
        self.0.host().expect("it was looked for")
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.0
            .port_or_known_default()
            .expect("http and https have one")
    }

    /// Host, and port where it is not the usual one: for the header `Host`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.0[url::Position::BeforeHost..url::Position::AfterPort]
    }

    /// What a request to this path of the server asks for.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0.path().trim_end_matches('/'))
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
    fn a_server_is_named_by_its_url() {
        for (text, shown, authority, target) in [
            ("http://a.example", "http://a.example", "a.example", "/x"),
            (
                "http://a.example:80/",
                "http://a.example",
                "a.example",
                "/x",
            ),
            (
                " https://a.example:8443/in/here// ",
                "https://a.example:8443/in/here",
                "a.example:8443",
                "/in/here/x",
            ),
            ("http://[::1]:9/api/v1", "http://[::1]:9", "[::1]:9", "/x"),
        ] {
            let url = ServerUrl::parse(text).unwrap_or_else(|error| panic!("{error}"));
            let target_of = url.at("/x");
            assert_eq!(
                (
                    url.to_string().as_str(),
                    url.authority(),
                    target_of.as_str()
                ),
                (shown, authority, target)
            );
        }
    }

    #[test]
    fn what_names_no_server_is_refused() {
        for (text, why) in [
            ("", "is not an http"),
            ("localhost:8071", "is not an http"),
            ("127.0.0.1:8071", "is not an http"),
            ("ftp://a.example", "is not an http"),
            ("http://", "is not an http"),
            ("http://a.example:0", "is not an http"),
            ("http://key@a.example", "has a user name"),
            ("http://a.example/?x=1", "has more than"),
            ("http://a.example/#x", "has more than"),
        ] {
            let error = ServerUrl::parse(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
