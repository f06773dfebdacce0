//! Which events are wanted, by their type.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// Characters of a pattern.
pub const PATTERN_CHARS_MAX: usize = 256;
/// Bytes of a type that is told: a longer one is no type.
const TYPE_BYTES_MAX: usize = 256;

/// Headers that name an event's type, the first of them wins.
const HEADERS: [&str; 15] = [
    "webhook-event-type",
    "svix-event-type",
    "x-github-event",
    "x-gitlab-event",
    "x-gitea-event",
    "x-gogs-event",
    "x-shopify-topic",
    "x-wc-webhook-topic",
    "x-event-key",
    "x-event-type",
    "x-event-name",
    "x-webhook-event",
    "x-webhook-topic",
    "linear-event",
    "aeg-event-type",
];

/// The fields of a JSON body that do so where no header does.
#[derive(Default, Deserialize)]
struct Fields {
    #[serde(default, rename = "type")]
    kind: Option<Value>,
    #[serde(default, rename = "eventType")]
    event_type_camel: Option<Value>,
    #[serde(default)]
    event_type: Option<Value>,
    #[serde(default)]
    event: Option<Value>,
}

/// The type of an event, if it says one: in a header, or in a field of its body.
#[must_use]
pub fn event_type(headers: &[(String, Vec<u8>)], body: &[u8]) -> Option<String> {
    let in_header = HEADERS.iter().find_map(|wanted| {
        let mut found = headers.iter();
        let (_, value) = found.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        named(str::from_utf8(value).ok()?)
    });
    in_header.or_else(|| in_body(body))
}

fn in_body(body: &[u8]) -> Option<String> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if *first != b'{' {
        return None;
    }
    let fields: Fields = serde_json::from_slice(body).ok()?;
    [
        fields.kind,
        fields.event_type_camel,
        fields.event_type,
        fields.event,
    ]
    .into_iter()
    .flatten()
    .find_map(|value| named(value.as_str()?))
}

fn named(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= TYPE_BYTES_MAX;
    fits.then(|| text.to_owned())
}

/// A pattern of event types: text in which each `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("is empty")]
    Empty,
    #[error("is longer than {PATTERN_CHARS_MAX} characters")]
    TooLong,
    #[error("has a space or a control character in it")]
    Blank,
}

impl Pattern {
    /// Reads a pattern such as `invoice.*`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            Err(PatternError::Empty)
        } else if text.chars().count() > PATTERN_CHARS_MAX {
            Err(PatternError::TooLong)
        } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            Err(PatternError::Blank)
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// Whether the type fits. An event without one fits only `*`.
    #[must_use]
    pub fn matches(&self, event_type: Option<&str>) -> bool {
        match event_type {
            Some(text) => fits(&self.0, text),
            None => self.0 == "*",
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes the text between the stars in turn, each at its earliest place, which
/// is enough: what lies before a later star only leaves less to match.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(tail)
}

/// The patterns of a listener; without any, every event is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(pub Vec<Pattern>);

impl Filter {
    /// Whether an event of this type is wanted.
    #[must_use]
    pub fn wants(&self, event_type: Option<&str>) -> bool {
        let mut patterns = self.0.iter();
        self.0.is_empty() || patterns.any(|pattern| pattern.matches(event_type))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, event_type, want) in [
            ("*", Some("a.b"), true),
            ("*", None, true),
            ("**", None, false),
            ("a", None, false),
            ("invoice.*", Some("invoice.paid"), true),
            ("invoice.*", Some("invoice.payment.failed"), true),
            ("invoice.*", Some("invoice."), true),
            ("invoice.*", Some("invoice"), false),
            ("invoice.*", Some("my.invoice.paid"), false),
            ("*.failed", Some("invoice.failed"), true),
            ("*.failed", Some("invoice.failed.twice"), false),
            ("invoice.*.failed", Some("invoice.payment.failed"), true),
            ("invoice.*.failed", Some("invoice.failed"), false),
            ("a*a", Some("a"), false),
            ("a*a", Some("aa"), true),
            ("*ab*ab*", Some("ab"), false),
            ("*ab*ab*", Some("xabyabz"), true),
            ("push", Some("push"), true),
            ("push", Some("Push"), false),
            ("\u{e4}*\u{20ac}", Some("\u{e4}x\u{20ac}"), true),
        ] {
            let got = Pattern::parse(pattern).unwrap().matches(event_type);
            assert_eq!(got, want, "{pattern} and {event_type:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let long = "x".repeat(PATTERN_CHARS_MAX + 1);
        for (text, want) in [
            ("", PatternError::Empty),
            ("a b", PatternError::Blank),
            ("a\u{1b}", PatternError::Blank),
            (&long, PatternError::TooLong),
        ] {
            assert_eq!(Pattern::parse(text), Err(want), "{text:?}");
        }
    }

    #[test]
    fn one_pattern_that_fits_is_enough() {
        let filter = |texts: &[&str]| {
            let patterns = texts.iter().map(|text| Pattern::parse(text).unwrap());
            Filter(patterns.collect())
        };
        assert!(filter(&[]).wants(None));
        assert!(filter(&[]).wants(Some("a")));
        assert!(filter(&["b", "a"]).wants(Some("a")));
        assert!(!filter(&["b", "c"]).wants(Some("a")));
        assert!(!filter(&["b", "c*"]).wants(None));
    }

    #[test]
    fn the_type_is_in_a_header_or_in_the_body() {
        let push = ("X-GitHub-Event", "push");
        for (headers, body, want) in [
            (&[push][..], r#"{"type":"b"}"#, Some("push")),
            (&[push, ("webhook-event-type", "a.b")], "", Some("a.b")),
            (&[("x-shopify-topic", "")], r#"{"type":"b"}"#, Some("b")),
            (&[], r#" {"type":"b","event":"c"}"#, Some("b")),
            (&[], r#"{"event":"c","type":{"of":1}}"#, Some("c")),
            (&[], r#"{"eventType":"c","event_type":"d"}"#, Some("c")),
            (&[], r#"{"event_type":"d","event":"e"}"#, Some("d")),
            (&[], r#"{"data":{"type":"b"}}"#, None),
            (&[], r#"[{"type":"b"}]"#, None),
            (&[], r#"{"type":"b""#, None),
            (&[], "type=b", None),
            (&[], "", None),
        ] {
            let headers: Vec<(String, Vec<u8>)> = headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect();
            let got = event_type(&headers, body.as_bytes());
            assert_eq!(got.as_deref(), want, "{headers:?} {body}");
        }
    }
}
