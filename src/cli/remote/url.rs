//! The URL of a server, and the paths below it.

use std::fmt::{self, Write as _};

use url::{Host, Url};

use super::RemoteError;

const DEFAULT: &str = "http://127.0.0.1:8071";
/// Below what a server's URL says.
pub(super) const API: &str = "/api/v1";

/// Where a server is: scheme, host, port, and what comes before its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct ServerUrl(Url);

impl Default for ServerUrl {
    fn default() -> Self {
        Self(Url::parse(DEFAULT).expect("it is one"))
    }
}

impl ServerUrl {
    /// What `given_by`, a flag or a variable, says.
    pub(super) fn parse(given_by: &'static str, text: &str) -> Result<Self, RemoteError> {
        let wrong = |why: &str| RemoteError::ServerUrl {
            given_by,
            text: text.to_owned(),
            why: why.to_owned(),
        };
        let mut url = Url::parse(text.trim())
            .ok()
            .filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
            .ok_or_else(|| wrong("is not an http or https URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "has a user name; the API key goes into HOOKPOST_API_KEY",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("has more than scheme, host, port and path"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        let path = path.strip_suffix(API).unwrap_or(&path);
        url.set_path(path);
        Ok(Self(url))
    }

    pub(super) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    pub(super) fn host(&self) -> Host<&str> {
        self.0.host().expect("it was looked for")
    }

    pub(super) fn port(&self) -> u16 {
        self.0
            .port_or_known_default()
            .expect("http and https have one")
    }

    /// Host, and port where it is not the usual one: for the header `Host`.
    pub(in crate::cli) fn authority(&self) -> &str {
        &self.0[url::Position::BeforeHost..url::Position::AfterPort]
    }

    /// What a request to `path`, below the API's base, asks for.
    pub(in crate::cli) fn target(&self, path: &str) -> String {
        format!("{}{API}{path}", self.0.path().trim_end_matches('/'))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// An id or uid as one part of a path, whatever is in it.
pub(in crate::cli) fn segment(text: &str) -> String {
    // Proxies take dots alone for a way up.
    let is_dots = text.bytes().all(|byte| byte == b'.');
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'.' if is_dots => encoded.push_str("%2E"),
            b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            _ => write!(encoded, "%{byte:02X}").expect("writing to a text cannot fail"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_its_url() {
        for (text, shown, authority, target) in [
            (
                "http://a.example",
                "http://a.example",
                "a.example",
                "/api/v1/x",
            ),
            (
                "http://a.example:80/",
                "http://a.example",
                "a.example",
                "/api/v1/x",
            ),
            (
                " https://a.example:8443/in/here// ",
                "https://a.example:8443/in/here",
                "a.example:8443",
                "/in/here/api/v1/x",
            ),
            (
                "http://[::1]:9/api/v1",
                "http://[::1]:9",
                "[::1]:9",
                "/api/v1/x",
            ),
        ] {
            let url = ServerUrl::parse("--server", text).unwrap_or_else(|error| panic!("{error}"));
            let target_of = url.target("/x");
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
            ("http://key@a.example", "has a user name"),
            ("http://a.example/?x=1", "has more than"),
            ("http://a.example/#x", "has more than"),
        ] {
            let refused = ServerUrl::parse("--server", text);
            let error = refused.expect_err(text).to_string();
            assert!(error.contains(why), "{text:?}: {error}");
            assert!(error.contains("--server"), "{text:?}: {error}");
        }
    }

    #[test]
    fn any_uid_is_one_part_of_a_path() {
        for (text, want) in [
            ("app_3k0", "app_3k0"),
            ("a/b?c#d", "a%2Fb%3Fc%23d"),
            ("ä %", "%C3%A4%20%25"),
            ("..", "%2E%2E"),
            ("a..", "a.."),
        ] {
            assert_eq!(segment(text), want);
        }
    }
}
