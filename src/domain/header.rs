//! Names and values of HTTP headers that may be set from outside.

/// Header names that are ours or the protocol's.
const RESERVED: [&str; 20] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-signature",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];
const PREFIXES_RESERVED: [&str; 5] = ["webhook-", "svix-", "hookpost-", "proxy-", "x-forwarded-"];
/// Names that say who is asking: an owner may set them, a payload may not.
const AUTHENTICATING: [&str; 2] = ["authorization", "cookie"];

/// Whether `name` has the form of a header's name.
///
/// Source: RFC 9110, token.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(token)
}

/// Whether a header of this name is ours or the protocol's to set.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let by_prefix = PREFIXES_RESERVED.iter().any(|p| lower.starts_with(p));
    RESERVED.contains(&lower.as_str()) || by_prefix
}

/// Headers of the way that a request came by, not of the request.
const OF_CONNECTION: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
];
const PREFIXES_OF_CONNECTION: [&str; 3] = ["hookpost-", "proxy-", "x-forwarded-"];

/// Headers that say how a message goes over one connection, and no further.
const HOP_BY_HOP: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Takes out what says how a message goes over one connection, and no further:
/// what HTTP names, what `Connection` names, and what is derived on the next.
///
/// Source: RFC 9110, 7.6.1.
pub fn drop_hop_by_hop(headers: &mut Vec<(String, Vec<u8>)>) {
    let named: Vec<String> = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase())
        .collect();
    headers.retain(|(name, _)| {
        let lower = name.to_ascii_lowercase();
        !HOP_BY_HOP.contains(&lower.as_str()) && !named.contains(&lower)
    });
}

/// Whether a header of this name belongs to the connection that a request came
/// by: sent on, it would be wrong.
#[must_use]
pub fn is_of_connection(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let mut prefixes = PREFIXES_OF_CONNECTION.iter();
    OF_CONNECTION.contains(&lower.as_str()) || prefixes.any(|prefix| lower.starts_with(prefix))
}

/// Whether a header of this name says who is asking.
#[must_use]
pub fn is_authenticating(name: &str) -> bool {
    let mut known = AUTHENTICATING.iter();
    known.any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether `value` arrives as it is: visible ASCII without spaces at its ends.
#[must_use]
pub fn is_plain_value(value: &str) -> bool {
    value.bytes().all(|b| (b' '..=b'~').contains(&b)) && value.trim() == value
}

/// Whether an owner may choose this name for a header.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn check_name(name: &str) -> Result<(), String> {
    if !is_name(name) {
        return Err("is not a header name: letters, digits and !#$%&'*+-.^_`|~".to_owned());
    }
    if is_reserved(name) {
        return Err(
            "is a header that Hookpost or HTTP itself sets; choose another name".to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_and_some_are_taken() {
        for (name, is_a_name, reserved, authenticating) in [
            ("x-tenant", true, false, false),
            ("!#$%&'*+-.^_`|~09AZaz", true, false, false),
            ("", false, false, false),
            ("x y", false, false, false),
            ("x:", false, false, false),
            ("\"x\"", false, false, false),
            ("x\n", false, false, false),
            ("é", false, false, false),
            ("Host", true, true, false),
            ("X-Signature", true, true, false),
            ("Webhook-Anything", true, true, false),
            ("webhook", true, false, false),
            ("Authorization", true, false, true),
            ("COOKIE", true, false, true),
        ] {
            assert_eq!(is_name(name), is_a_name, "{name:?}");
            assert_eq!(is_reserved(name), reserved, "{name:?}");
            assert_eq!(is_authenticating(name), authenticating, "{name:?}");
            assert_eq!(check_name(name).is_ok(), is_a_name && !reserved, "{name:?}");
        }
    }

    #[test]
    fn headers_of_one_hop_go_no_further() {
        let mut headers: Vec<(String, Vec<u8>)> = [
            ("Host", "a"),
            ("x-a", "1"),
            ("Connection", "close, X-B"),
            ("x-b", "2"),
            ("x-a", "3"),
            ("content-length", "4"),
            ("accept-encoding", "gzip"),
            ("via", "1.1 a"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .collect();
        drop_hop_by_hop(&mut headers);
        let left: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["x-a", "x-a", "accept-encoding", "via"]);
    }

    #[test]
    fn values_are_visible_ascii() {
        for (value, want) in [
            ("", true),
            ("a b", true),
            ("~", true),
            (" a", false),
            ("a ", false),
            ("a\tb", false),
            ("a\r\nb: c", false),
            ("\u{7f}", false),
            ("é", false),
        ] {
            assert_eq!(is_plain_value(value), want, "{value:?}");
        }
    }
}
