//! The local program: where it is, whether it may be asked, and under which
//! path an event reaches it.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

/// Bytes of a target or a path that was given.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// A local program's URL, and how events reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: Url,
    /// The one path for every event, with its query, where there is one.
    fixed: Option<String>,
    /// Whether it may be on another machine.
    pub external: bool,
    /// Whether its certificate is not looked at.
    pub insecure: bool,
}

/// Why a text is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("is not a URL, a port or host:port")]
    NoUrl,
    #[error("must begin with http:// or https://")]
    Scheme,
    #[error("has a name or a password in it; give it as --header 'Authorization: ...'")]
    Userinfo,
    #[error("has a fragment (#), which no server is ever sent")]
    Fragment,
}

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("must begin with /")]
    NotAbsolute,
    #[error("has a fragment (#), a space or a character that is not ASCII in it")]
    Characters,
}

/// Why an event has no place at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    #[error("the event's path leads out of the target's with '..'")]
    Climbs,
    #[error("the event's path has characters that no request can have")]
    Characters,
}

impl Target {
    /// Reads a URL, a port of this machine, or a host with its port.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TargetError::NoUrl);
        }
        let url = Url::parse(&spelled_out(text)).map_err(|_| TargetError::NoUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Userinfo);
        }
        if url.fragment().is_some() {
            return Err(TargetError::Fragment);
        }
        if url.host().is_none() || url.port_or_known_default() == Some(0) {
            return Err(TargetError::NoUrl);
        }
        Ok(Self {
            url,
            fixed: None,
            external: false,
            insecure: false,
        })
    }

    /// Sends every event to this path instead.
    pub fn at_path(mut self, path: &str) -> Result<Self, PathError> {
        if !path.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        if path.len() > TEXT_BYTES_MAX || !path.bytes().all(is_of_path) {
            return Err(PathError::Characters);
        }
        self.fixed = Some(path.to_owned());
        Ok(self)
    }

    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    #[must_use]
    pub fn host(&self) -> Host<&str> {
        self.url.host().expect("checked when it was read")
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        let port = self.url.port_or_known_default();
        port.expect("http and https have one")
    }

    /// Scheme, host and port, without a slash at the end.
    #[must_use]
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Host and port, for people.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    /// Path and query of the request for an event that came to `below`, the
    /// path and query below its inbox.
    ///
    /// A path that climbs is refused: who knows the public URL should reach
    /// what lies below the target, and nothing else of the program.
    pub fn place(&self, below: &str) -> Result<String, PlaceError> {
        let (path, query) = split_query(below);
        if !below.bytes().all(is_of_path) {
            return Err(PlaceError::Characters);
        }
        if self.fixed.is_none() && climbs(path) {
            return Err(PlaceError::Climbs);
        }
        let (mut local, fixed_query) = match &self.fixed {
            Some(fixed) => {
                let (path, query) = split_query(fixed);
                (path.to_owned(), query)
            }
            None => (self.joined(path), None),
        };
        let queries = [self.url.query(), fixed_query, query];
        let queries: Vec<&str> = queries.into_iter().flatten().collect();
        if !queries.is_empty() {
            local.push('?');
            local.push_str(&queries.join("&"));
        }
        Ok(local)
    }

    fn joined(&self, path: &str) -> String {
        let own = self.url.path();
        if matches!(path, "" | "/") {
            return own.to_owned();
        }
        let between = if path.starts_with('/') { "" } else { "/" };
        let own = own.strip_suffix('/').unwrap_or(own);
        format!("{own}{between}{path}")
    }
}

/// The target for people: without its query, which may hold a secret.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.fixed.as_deref().unwrap_or(self.url.path());
        write!(f, "{}{}", self.origin(), split_query(path).0)
    }
}

/// `5000`, `:5000` and `host:5000` as URLs.
fn spelled_out(text: &str) -> String {
    let port = text.strip_prefix(':').unwrap_or(text);
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("http://127.0.0.1:{port}/")
    } else if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    }
}

fn split_query(text: &str) -> (&str, Option<&str>) {
    match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    }
}

/// Whether a part of a path is `..`, however it is written. Some programs take
/// `%2F`, `\` and `%5C` for a slash, and do not count what follows a `;`.
fn climbs(path: &str) -> bool {
    let mut written_out = path.to_ascii_lowercase();
    for (written, means) in [("%2e", "."), ("%2f", "/"), ("%5c", "/"), ("\\", "/")] {
        written_out = written_out.replace(written, means);
    }
    let names = written_out.split('/').map(|part| part.split(';').next());
    names.flatten().any(|name| name == "..")
}

/// Visible ASCII but `#`, with which a fragment would begin.
fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

/// Whether every address is of this machine alone. No address is none of it.
#[must_use]
pub fn all_loopback(addresses: &[IpAddr]) -> bool {
    let mut each = addresses.iter();
    !addresses.is_empty() && each.all(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_url_a_port_or_host_and_port() {
        for (text, want) in [
            (
                "http://127.0.0.1:5000/webhook",
                "http://127.0.0.1:5000/webhook",
            ),
            ("5000", "http://127.0.0.1:5000/"),
            (":5000", "http://127.0.0.1:5000/"),
            ("80", "http://127.0.0.1/"),
            ("localhost:5000", "http://localhost:5000/"),
            ("localhost:5000/a", "http://localhost:5000/a"),
            ("localhost", "http://localhost/"),
            ("[::1]:5000", "http://[::1]:5000/"),
            ("https://localhost/a?key=b", "https://localhost/a"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(target.to_string(), want, "{text}");
        }
        for (text, want) in [
            ("", TargetError::NoUrl),
            ("70000", TargetError::NoUrl),
            ("0", TargetError::NoUrl),
            ("http://", TargetError::NoUrl),
            ("local host:1", TargetError::NoUrl),
            ("ftp://localhost/", TargetError::Scheme),
            ("file:///etc/passwd", TargetError::Scheme),
            ("http://a:b@localhost/", TargetError::Userinfo),
            ("http://localhost/#a", TargetError::Fragment),
        ] {
            assert_eq!(Target::parse(text), Err(want), "{text}");
        }
    }

    #[test]
    fn an_event_goes_below_the_target() {
        for (target, fixed, below, want) in [
            ("http://l:1/webhook", None, "", "/webhook"),
            ("http://l:1/webhook", None, "/", "/webhook"),
            ("http://l:1/webhook/", None, "/", "/webhook/"),
            ("http://l:1/webhook", None, "/a?b", "/webhook/a?b"),
            ("http://l:1/webhook/", None, "/a/", "/webhook/a/"),
            ("http://l:1/webhook", None, "/?x=1", "/webhook?x=1"),
            ("http://l:1/webhook", None, "?x=1", "/webhook?x=1"),
            ("http://l:1/webhook", None, "/a?", "/webhook/a?"),
            ("http://l:1/", None, "/a//b", "/a//b"),
            ("http://l:1", None, "", "/"),
            ("http://l:1/w?k=v", None, "/a?b=c&b=d", "/w/a?k=v&b=c&b=d"),
            ("http://l:1/w?k=v", None, "", "/w?k=v"),
            ("http://l:1/w", Some("/p"), "/a?b", "/p?b"),
            ("http://l:1/w?k", Some("/p?q"), "/a?b", "/p?k&q&b"),
            ("http://l:1/w", Some("/p/"), "/..", "/p/"),
            ("http://l:1/", None, "/%2F%zz?a=%22?", "/%2F%zz?a=%22?"),
            ("http://l:1/", None, "/a..b/.../.", "/a..b/.../."),
            (
                "http://l:1/",
                None,
                "/a%2Fb;c=../d?x=..",
                "/a%2Fb;c=../d?x=..",
            ),
        ] {
            let mut target = Target::parse(target).unwrap();
            if let Some(path) = fixed {
                target = target.at_path(path).unwrap();
            }
            let got = target.place(below);
            assert_eq!(got.as_deref(), Ok(want), "{target} {fixed:?} {below}");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_target() {
        let target = Target::parse("http://l:1/webhook").unwrap();
        for (below, want) in [
            ("/../admin", PlaceError::Climbs),
            ("/a/..", PlaceError::Climbs),
            ("/.%2E/admin", PlaceError::Climbs),
            ("/%2e%2e?x", PlaceError::Climbs),
            ("/..%2fadmin", PlaceError::Climbs),
            ("/a%2F..%2F..%2Fadmin", PlaceError::Climbs),
            ("/a%5c%2e.%5cadmin", PlaceError::Climbs),
            ("/..\\admin", PlaceError::Climbs),
            ("/..;/admin", PlaceError::Climbs),
            ("/a/..;x=1%2fadmin", PlaceError::Climbs),
            ("/a b", PlaceError::Characters),
            ("/a\r\nx: y", PlaceError::Characters),
            ("/a#b", PlaceError::Characters),
            ("/\u{e4}", PlaceError::Characters),
        ] {
            assert_eq!(target.place(below), Err(want), "{below:?}");
        }
        for (path, want) in [
            ("a", PathError::NotAbsolute),
            ("", PathError::NotAbsolute),
            ("/a b", PathError::Characters),
            ("/a#b", PathError::Characters),
        ] {
            assert_eq!(target.clone().at_path(path), Err(want), "{path:?}");
        }
    }

    #[test]
    fn loopback_is_this_machine_alone() {
        for (addresses, want) in [
            (&["127.0.0.1"][..], true),
            (&["127.9.9.9", "::1"], true),
            (&["::ffff:127.0.0.1"], true),
            (&["127.0.0.1", "10.0.0.1"], false),
            (&["::ffff:10.0.0.1"], false),
            (&["0.0.0.0"], false),
            (&["::"], false),
            (&["169.254.169.254"], false),
            (&[], false),
        ] {
            let parsed: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            assert_eq!(all_loopback(&parsed), want, "{addresses:?}");
        }
    }
}
