//! What the text of a URL must look like, before anyone asks where it leads.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Position, Url};

use super::{BlockReason, UrlRefusal, refusal};

/// Bytes of a URL at most, as given and as normalised.
pub const URL_BYTES_MAX: usize = 2048;
/// Bytes of a host name at most, without a trailing dot. Source: RFC 1035, 2.3.4.
pub const HOST_BYTES_MAX: usize = 253;
/// Bytes of one label of a host name at most. Source: RFC 1035, 2.3.4.
pub const LABEL_BYTES_MAX: usize = 63;

/// A URL whose text passed the syntax rules; whether it may be dialled is for
/// [`DestinationPolicy::judge`](super::DestinationPolicy::judge).
///
/// Normalised: lower-case scheme and host, punycode, percent-encoded path.
/// Give other parsers this text, never the raw one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointUrl {
    url: Url,
}

impl EndpointUrl {
    /// Reads a URL as its owner typed it; nothing is trimmed or repaired.
    ///
    /// Refused: more than [`URL_BYTES_MAX`], control characters, white space,
    /// backslashes, a scheme other than http and https, user names, fragments,
    /// port 0, an IP address in an unusual spelling, and host names that are
    /// not letters, digits and hyphens once they are punycode.
    /// Source: WHATWG URL, whose parser would mend most of these silently.
    pub fn parse(raw: &str) -> Result<Self, UrlRefusal> {
        check_length(raw)?;
        check_characters(raw)?;
        let authority = authority_after_scheme(raw)?;
        if authority.contains('@') {
            let detail = "The URL holds a user name or password; send credentials in a header.";
            return Err(refusal(BlockReason::Userinfo, detail));
        }
        if raw.contains('#') {
            let detail = "The URL holds a fragment (`#`), which is never sent; remove it.";
            return Err(refusal(BlockReason::Fragment, detail));
        }
        let url = Url::parse(raw).map_err(|error| invalid(format!("{error}")))?;
        check_length(url.as_str())?;
        check_host(&url, host_in(authority))?;
        if url.port() == Some(0) {
            let detail = "Port 0 cannot be connected to; use another one, such as 443.";
            return Err(refusal(BlockReason::Port, detail));
        }
        Ok(Self { url })
    }

    /// The whole URL, normalised.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The host as a name or an address.
    ///
    /// # Panics
    /// Never: an http URL without a host does not parse.
    #[must_use]
    pub fn host(&self) -> Host<&str> {
        self.url.host().expect("an http URL has a host")
    }

    /// The host as it stands in the URL, an IPv6 address in its brackets.
    ///
    /// # Panics
    /// Never: an http URL without a host does not parse.
    #[must_use]
    pub fn host_text(&self) -> &str {
        self.url.host_str().expect("an http URL has a host")
    }

    /// The port, 80 or 443 when the URL names none.
    ///
    /// # Panics
    /// Never: http and https have a default port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url
            .port_or_known_default()
            .expect("http and https have a default port")
    }

    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The request target: `/x?y=1`, at least `/`.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.url[Position::BeforePath..Position::AfterQuery]
    }

    /// The address, when the host is one and needs no resolver.
    #[must_use]
    pub fn literal_ip(&self) -> Option<IpAddr> {
        match self.host() {
            Host::Domain(_) => None,
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
        }
    }
}

fn invalid(cause: impl fmt::Display) -> UrlRefusal {
    let detail = format!("This is not a URL that can be delivered to: {cause}.");
    refusal(BlockReason::InvalidUrl, detail)
}

fn check_length(text: &str) -> Result<(), UrlRefusal> {
    if text.len() <= URL_BYTES_MAX {
        return Ok(());
    }
    let detail = format!("The URL is longer than {URL_BYTES_MAX} bytes; shorten it.");
    Err(refusal(BlockReason::TooLong, detail))
}

fn check_characters(raw: &str) -> Result<(), UrlRefusal> {
    if raw.contains(char::is_control) {
        let detail = "The URL holds a control character, such as a tab or a line end; remove it.";
        return Err(refusal(BlockReason::ControlCharacter, detail));
    }
    if raw.contains('\\') {
        let detail = "The URL holds a backslash; use `/`, or `%5C` for the character itself.";
        return Err(refusal(BlockReason::Backslash, detail));
    }
    if raw.contains(char::is_whitespace) {
        return Err(invalid("it holds white space; write `%20` if it belongs"));
    }
    Ok(())
}

/// What stands between `://` and the path. The parser would accept any number
/// of slashes there, other parsers would not.
fn authority_after_scheme(raw: &str) -> Result<&str, UrlRefusal> {
    const HOW: &str = "begin it with `https://` and a host";
    let (scheme, rest) = raw.split_once(':').ok_or_else(|| invalid(HOW))?;
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        if !is_scheme(scheme) {
            return Err(invalid(HOW));
        }
        let detail = "Only https and http are delivered to; begin the URL with `https://`.";
        return Err(refusal(BlockReason::Scheme, detail));
    }
    let rest = rest.strip_prefix("//").ok_or_else(|| invalid(HOW))?;
    match rest.split(['/', '?', '#']).next() {
        Some(authority) if !authority.is_empty() => Ok(authority),
        _ => Err(invalid(HOW)),
    }
}

/// Source: RFC 3986, 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn host_in(authority: &str) -> &str {
    if authority.starts_with('[') {
        authority
            .rfind(']')
            .map_or(authority, |end| &authority[..=end])
    } else {
        authority.split(':').next().unwrap_or(authority)
    }
}

/// Compares the parser's host with the raw one, so that no other parser or
/// resolver finds another host in the same text.
fn check_host(url: &Url, raw_host: &str) -> Result<(), UrlRefusal> {
    match url.host() {
        Some(Host::Domain(name)) => check_domain(name, raw_host),
        Some(Host::Ipv4(ip)) if ip.to_string() != raw_host => Err(noncanonical(ip.into())),
        Some(Host::Ipv6(ip)) if raw_host.trim_matches(['[', ']']).parse() != Ok(ip) => {
            Err(noncanonical(ip.into()))
        }
        Some(_) => Ok(()),
        None => Err(invalid("it has no host")),
    }
}

fn noncanonical(ip: IpAddr) -> UrlRefusal {
    let detail = format!("The host is an unusual spelling of {ip}; write the address plainly.");
    refusal(BlockReason::NoncanonicalIp, detail)
}

fn check_domain(name: &str, raw_host: &str) -> Result<(), UrlRefusal> {
    if raw_host.contains('%') {
        return Err(invalid(
            "its host is percent-encoded; write the name plainly",
        ));
    }
    let name = without_trailing_dot(name);
    if name.len() > HOST_BYTES_MAX {
        let detail = format!("The host name is longer than {HOST_BYTES_MAX} bytes.");
        return Err(refusal(BlockReason::TooLong, detail));
    }
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !name.split('.').all(is_label) {
        let how = "each part of its host name must be 1 to 63 letters, digits and hyphens";
        return Err(invalid(how));
    }
    Ok(())
}

pub(super) fn without_trailing_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_parts_are_those_of_the_normalised_url() {
        for (raw, text, host, port, target) in [
            (
                "https://EXAMPLE.com:8443/x?y=1",
                "https://example.com:8443/x?y=1",
                "example.com",
                8443,
                "/x?y=1",
            ),
            (
                "HTTP://münchen.example",
                "http://xn--mnchen-3ya.example/",
                "xn--mnchen-3ya.example",
                80,
                "/",
            ),
            (
                "https://[2606:4700:4700:0::1111]:443?q",
                "https://[2606:4700:4700::1111]/?q",
                "[2606:4700:4700::1111]",
                443,
                "/?q",
            ),
            (
                "https://example.com/%0d%0aX:1",
                "https://example.com/%0d%0aX:1",
                "example.com",
                443,
                "/%0d%0aX:1",
            ),
        ] {
            let url = EndpointUrl::parse(raw).unwrap();
            let got = (
                url.as_str(),
                url.host_text(),
                url.port(),
                url.path_and_query(),
            );
            assert_eq!(got, (text, host, port, target), "{raw}");
            assert_eq!(url.is_https(), text.starts_with("https:"), "{raw}");
        }
    }

    #[test]
    fn lengths_are_bounded_as_given_and_as_normalised() {
        let label = |len: usize| "a".repeat(len);
        let name = |last: usize| [label(63), label(63), label(63), label(last)].join(".");
        let path = |len: usize| format!("https://a.example/{}", label(len));
        for (raw, want) in [
            (path(URL_BYTES_MAX - 18), None),
            (path(URL_BYTES_MAX - 17), Some(BlockReason::TooLong)),
            // "é" is 2 bytes, and 6 once percent-encoded
            (path(0) + &"é".repeat(400), Some(BlockReason::TooLong)),
            (format!("http://{}/", name(61)), None),
            (format!("http://{}./", name(61)), None),
            (format!("http://{}/", name(62)), Some(BlockReason::TooLong)),
            (
                format!("http://{}.example/", label(64)),
                Some(BlockReason::InvalidUrl),
            ),
        ] {
            let got = EndpointUrl::parse(&raw).err().map(|refusal| refusal.reason);
            assert_eq!(got, want, "{raw}");
        }
    }

    /// Whatever is accepted means the same to us, to a second reading and to
    /// the HTTP client's own parser.
    fn check_reading(raw: &str) -> Result<(), TestCaseError> {
        let Ok(url) = EndpointUrl::parse(raw) else {
            return Ok(());
        };
        prop_assert_eq!(EndpointUrl::parse(url.as_str()), Ok(url.clone()));
        let uri: http::Uri = url.as_str().parse().expect("the client reads it");
        prop_assert_eq!(uri.host(), Some(url.host_text()));
        let default_port = if url.is_https() { 443 } else { 80 };
        prop_assert_eq!(uri.port_u16().unwrap_or(default_port), url.port());
        let target = uri.path_and_query().map(http::uri::PathAndQuery::as_str);
        prop_assert_eq!(target, Some(url.path_and_query()));
        let plain = url.host_text().trim_matches(['[', ']']);
        prop_assert_eq!(plain.parse::<IpAddr>().ok(), url.literal_ip());
        Ok(())
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(raw in any::<String>()) {
            check_reading(&raw)?;
        }

        #[test]
        fn text_like_a_url_is_read_the_same_way_by_all(
            raw in r"(?i)https?://[a-z0-9.:\[\]@%#?/\\_é。-]{1,40}(/\PC{0,20})?(\?\PC{0,20})?",
        ) {
            check_reading(&raw)?;
        }

        #[test]
        fn numbers_are_an_address_only_when_plain(
            raw in r"https?://(0x|0)?[0-9a-f]{1,4}(\.(0x|0)?[0-9a-f]{1,3}){0,4}\.?(:[0-9]{1,5})?/",
        ) {
            check_reading(&raw)?;
        }
    }
}
