//! The small things that pages show: outcomes, moments, ids, numbers, API calls.
//!
//! Those that are templates of their own print themselves escaped, so that a
//! page only names them.

use std::fmt::Write as _;
use std::time::Duration;

use askama::Template;
use askama::filters::HtmlSafe;

use super::frame::Kind;
use crate::domain::attempt::Outcome;
use crate::domain::delivery::{DeliveryState, Verdict};
use crate::domain::time::Timestamp;

/// An outcome in the shortest true word, told by shape and colour.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    source = r#"<span class="tag {{ kind.class() }}">{{ text }}</span>"#,
    ext = "html"
)]
pub(super) struct Tag {
    pub(super) kind: Kind,
    pub(super) text: String,
}
impl HtmlSafe for Tag {}
impl PartialEq<&str> for Tag {
    fn eq(&self, other: &&str) -> bool {
        self.text == *other
    }
}

impl Tag {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    pub(super) fn of_attempt(outcome: &Outcome, verdict: Verdict) -> Self {
        let kind = match (verdict, outcome) {
            (Verdict::Delivered, _) => Kind::Good,
            (_, Outcome::TimedOut { .. }) => Kind::Wait,
            _ => Kind::Bad,
        };
        Self::new(kind, outcome_words(outcome))
    }

    /// `held`: the endpoint is paused or disabled, so that what waits waits on.
    pub(super) fn of_delivery(state: DeliveryState, held: bool, failed: bool) -> Self {
        match state {
            DeliveryState::Delivered => Self::new(Kind::Good, "Delivered"),
            DeliveryState::Exhausted => Self::new(Kind::Idle, "Exhausted"),
            DeliveryState::Cancelled => Self::new(Kind::Idle, "Cancelled"),
            DeliveryState::Waiting { .. } if held => Self::new(Kind::Idle, "Held"),
            DeliveryState::Waiting { .. } if failed => Self::new(Kind::Bad, "Failing"),
            DeliveryState::Waiting { .. } => Self::new(Kind::Wait, "Waiting"),
        }
    }
}

/// What an outcome is called on pages.
pub(super) fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Response { status } => status.to_string(),
        other => outcome_name_words(other.name()).to_owned(),
    }
}

/// What one of [`OUTCOMES`](crate::domain::attempt::OUTCOMES) is called on pages.
pub(super) fn outcome_name_words(name: &str) -> &'static str {
    match name {
        "timedOut" => "Timed out",
        "dnsFailed" => "DNS failed",
        "refused" => "Refused",
        "reset" => "Reset",
        "tlsFailed" => "TLS failed",
        "blockedAddress" => "Blocked address",
        "protocol" => "Not HTTP",
        _ => "Answered",
    }
}

/// Why it may have come to this, and what to do: one sentence each.
pub(super) fn advice(outcome: &Outcome) -> Option<&'static str> {
    Some(match outcome {
        Outcome::Response { status } => match status {
            200..=299 => return None,
            301 | 302 | 303 | 307 | 308 => {
                "The receiver sends on to another URL, and redirects are not followed. Change the endpoint's URL to the new one."
            }
            401 | 403 => {
                "The receiver does not accept who sends. Check its secret, its headers, and what stands in front of it."
            }
            404 | 405 => {
                "Nothing takes a POST at this path. Check the URL, and that the receiver's route is deployed."
            }
            410 => "The receiver says that it wants nothing more, so the endpoint was disabled.",
            413 => "The payload is larger than the receiver takes. Raise its limit.",
            429 => "The receiver is asked too often. Set a rate limit for the endpoint.",
            502..=504 => {
                "What stands in front of the receiver could not reach it, or it says that it is not ready. It may be restarting."
            }
            500..=599 => "The receiver failed. Its own log says why.",
            _ => "The receiver did not say 2xx, so this does not count as delivered.",
        },
        Outcome::TimedOut { .. } => {
            "No answer came in time. Answer 2xx at once and do the work afterwards, or raise the endpoint's timeout."
        }
        Outcome::DnsFailed { .. } => {
            "The host's name was not found. Check its spelling and its DNS records."
        }
        Outcome::Refused { .. } => {
            "Nobody listens at this host and port. Start the receiver, or correct the port."
        }
        Outcome::Reset { .. } => {
            "The connection broke before an answer came. The receiver may have crashed, or something in between closed it."
        }
        Outcome::TlsFailed { .. } => {
            "The certificate was not accepted. Check that it has not expired, names this host, and comes with its whole chain."
        }
        Outcome::BlockedAddress { .. } => {
            "The host leads to an address that must not be called from here, such as one of an internal network. An operator can allow it with --allow-destinations."
        }
        Outcome::Protocol { .. } => {
            "What answered does not speak HTTP, or too much of it. Check the scheme and the port."
        }
    })
}

/// A moment, relative for the eye and exact for who needs it.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    source = r#"<time datetime="{{ iso }}" title="{{ exact }}" data-relative>{{ relative }}</time>"#,
    ext = "html"
)]
pub(super) struct Moment {
    iso: String,
    exact: String,
    relative: String,
}
impl HtmlSafe for Moment {}

impl Moment {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        let iso = at.rfc3339();
        Self {
            exact: iso.replace('T', " ").replace('Z', " UTC"),
            relative: relative(at, now),
            iso,
        }
    }
}

fn relative(at: Timestamp, now: Timestamp) -> String {
    let size_s = at.0.abs_diff(now.0) / 1000;
    let text = match size_s {
        0 => return "now".to_owned(),
        1..60 => format!("{size_s} s"),
        60..3600 => format!("{} min", size_s / 60),
        3600..86_400 => format!("{} h", size_s / 3600),
        _ => format!("{} d", size_s / 86_400),
    };
    if at < now {
        format!("{text} ago")
    } else {
        format!("in {text}")
    }
}

/// A moment as a field of a form takes it: `2026-11-26T12:30`, in UTC.
pub(super) fn field_time(at: Timestamp) -> String {
    at.rfc3339().chars().take(16).collect()
}

/// The moment of such a field, with seconds or without, or Unix milliseconds.
pub(super) fn parse_field_time(text: &str) -> Option<Timestamp> {
    if let Ok(ms) = text.parse() {
        return Some(Timestamp(ms));
    }
    let full = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        _ if text.ends_with('Z') => text.to_owned(),
        _ => format!("{text}Z"),
    };
    Timestamp::parse_rfc3339(&full)
}

/// An id: shortened in the middle for the eye, whole when it is copied.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    source = r#"<span class="id">{% match href %}{% when Some with (href) %}<a href="{{ href }}" title="{{ text }}">{{ short }}</a>{% when None %}<span title="{{ text }}">{{ short }}</span>{% endmatch %}<button type="button" class="copy" data-copy="{{ text }}" aria-label="Copy {{ text }}" title="Copy">{% include "dashboard/parts/copy.svg" %}</button></span>"#,
    ext = "html"
)]
pub(super) struct Id {
    text: String,
    short: String,
    href: Option<String>,
}
impl HtmlSafe for Id {}

impl Id {
    pub(super) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            short: shortened(&text),
            text,
            href: None,
        }
    }

    pub(super) fn linked(text: impl Into<String>, href: impl Into<String>) -> Self {
        Self {
            href: Some(href.into()),
            ..Self::new(text)
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// With all of its characters.
    pub(super) fn whole(self) -> Self {
        Self {
            short: self.text.clone(),
            ..self
        }
    }
}

/// Characters of an id that are shown, and of those at its end.
const ID_CHARS_SHOWN: usize = 18;
const ID_CHARS_END: usize = 5;

fn shortened(text: &str) -> String {
    let count = text.chars().count();
    if count <= ID_CHARS_SHOWN {
        return text.to_owned();
    }
    let begin = text.chars().take(ID_CHARS_SHOWN - ID_CHARS_END - 1);
    let end = text.chars().skip(count - ID_CHARS_END);
    begin.chain(['…']).chain(end).collect()
}

/// Text in a well, with a button that copies it.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    source = r#"<div class="well"><pre class="{{ class }}" tabindex="0"><code id="{{ id }}">{{ text }}</code></pre><button type="button" class="copy" data-from="{{ id }}" aria-label="Copy" title="Copy">{% include "dashboard/parts/copy.svg" %}</button></div>"#,
    ext = "html"
)]
pub(super) struct Well {
    /// Unique in its page.
    pub(super) id: String,
    pub(super) class: &'static str,
    pub(super) text: String,
}
impl HtmlSafe for Well {}

impl Well {
    pub(super) fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            class: "answer",
            text: text.into(),
        }
    }
}

/// The API call that does what a page or a form does.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    source = r#"<details class="fold section"><summary><span class="quiet">The same by API</span></summary>{{ well }}</details>"#,
    ext = "html"
)]
pub(super) struct ApiCall {
    well: Well,
}
impl HtmlSafe for ApiCall {}

/// One call of the API: what it does, method, URL, body.
pub(super) type Call<'a> = (&'a str, &'a str, String, Option<&'a str>);

impl ApiCall {
    /// `id` is unique in its page.
    pub(super) fn new(id: &str, method: &str, url: &str, body: Option<&str>) -> Self {
        Self::of(id, curl(method, url, body))
    }

    /// Several calls, each below what it does.
    pub(super) fn several(id: &str, calls: &[Call<'_>]) -> Self {
        let lines = calls.iter().map(|(does, method, url, body)| {
            let line = curl(method, url, *body);
            format!("# {does}\n{line}")
        });
        let lines: Vec<String> = lines.collect();
        Self::of(id, lines.join("\n\n"))
    }

    fn of(id: &str, text: String) -> Self {
        let well = Well {
            id: id.to_owned(),
            class: "shell",
            text,
        };
        Self { well }
    }
}

fn curl(method: &str, url: &str, body: Option<&str>) -> String {
    let mut text = String::from("curl");
    if method != "GET" {
        write!(text, " -X {method}").expect("a string takes all");
    }
    let quoted = shell_quoted(url);
    write!(text, " {quoted} -H \"Authorization: Bearer $HOOKPOST_KEY\"")
        .expect("a string takes all");
    if let Some(body) = body {
        let body = shell_quoted(body);
        write!(text, " -H 'Content-Type: application/json' -d {body}").expect("a string takes all");
    }
    text
}

impl ApiCall {
    /// The line itself, without the fold around it.
    pub(super) fn into_well(self) -> Well {
        self.well
    }
}

/// What exports call a delivery's state.
pub(super) fn state_name(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Waiting { .. } => "waiting",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Exhausted => "exhausted",
        DeliveryState::Cancelled => "cancelled",
    }
}

/// `text` as one word of a shell.
pub(super) fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A whole number, its thousands apart.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Bytes, to three digits.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut whole, mut rest, mut unit) = (count, 0, 0);
    while whole >= 1000 && unit + 1 < UNITS.len() {
        rest = whole % 1000 / 100;
        whole /= 1000;
        unit += 1;
    }
    let name = UNITS[unit];
    if unit == 0 || whole >= 100 {
        format!("{whole} {name}")
    } else {
        format!("{whole}.{rest} {name}")
    }
}

/// Milliseconds, in the unit that reads best.
pub(super) fn milliseconds(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        10_000..60_000 => format!("{} s", ms / 1000),
        _ => spoken(Duration::from_millis(ms)),
    }
}

/// A span of time in its largest unit, or two of them.
pub(super) fn spoken(span: Duration) -> String {
    let seconds = span.as_secs();
    let two = |big: u64, big_name: &str, small: u64, small_name: &str| {
        if small == 0 {
            format!("{big} {big_name}")
        } else {
            format!("{big} {big_name} {small} {small_name}")
        }
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// A share in percent: exact enough that something that failed is never 100 %.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let tenths = part.saturating_mul(1000) / whole;
    match (tenths, part) {
        (1000, _) => "100 %".to_owned(),
        (0, 0) => "0 %".to_owned(),
        (0, _) => "<0.1 %".to_owned(),
        _ if tenths.is_multiple_of(10) => format!("{} %", tenths / 10),
        _ => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

/// `1 endpoint`, `2 endpoints`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    let word = if count == 1 { one } else { many };
    format!("{} {word}", number(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_305_600_000);

    #[test]
    fn moments_are_relative_for_the_eye() {
        for (offset_ms, want) in [
            (0, "now"),
            (999, "now"),
            (-999, "now"),
            (-1000, "1 s ago"),
            (-59_999, "59 s ago"),
            (-60_000, "1 min ago"),
            (240_000, "in 4 min"),
            (-3_600_000, "1 h ago"),
            (-172_800_000, "2 d ago"),
        ] {
            let at = Timestamp(NOW.0.checked_add_signed(offset_ms).expect("a time"));
            assert_eq!(relative(at, NOW), want, "{offset_ms}");
        }
        let moment = Moment::new(NOW, NOW).to_string();
        assert!(
            moment.contains(r#"datetime="2026-11-22T00:00:00.000Z""#),
            "{moment}"
        );
        assert!(
            moment.contains(r#"title="2026-11-22 00:00:00.000 UTC""#),
            "{moment}"
        );
    }

    #[test]
    fn field_times_come_back() {
        for (text, want) in [
            ("2026-11-22T00:00", Some(NOW)),
            ("2026-11-22", Some(NOW)),
            ("2026-11-22T00:00:00", Some(NOW)),
            ("2026-11-22T00:00:00Z", Some(NOW)),
            ("1795305600000", Some(NOW)),
            ("yesterday", None),
            ("2026-13-01", None),
        ] {
            assert_eq!(parse_field_time(text), want, "{text}");
        }
        assert_eq!(parse_field_time(&field_time(NOW)), Some(NOW));
    }

    #[test]
    fn what_is_shown_is_escaped() {
        let evil = "<script>\"'&";
        for html in [
            Tag::new(Kind::Bad, evil).to_string(),
            Id::new(evil).to_string(),
            Id::linked("x", evil).to_string(),
            Well::new("w", evil).to_string(),
            ApiCall::new("a", "POST", evil, Some(evil)).to_string(),
        ] {
            assert!(!html.contains("<script>"), "{html}");
            assert!(!html.contains("=\"<"), "{html}");
        }
    }

    #[test]
    fn ids_keep_their_ends() {
        for (text, want) in [
            ("msg_1", "msg_1"),
            ("123456789012345678", "123456789012345678"),
            ("msg_3k0QzTDeQg3iMlBpW9tCw6SkH1f", "msg_3k0QzTDe…SkH1f"),
            ("ääääääääääääääääääääb", "ääääääääääää…ääääb"),
        ] {
            assert_eq!(shortened(text), want);
        }
    }

    #[test]
    fn quantities_read_well() {
        for (value, want) in [
            (0, "0"),
            (999, "999"),
            (1000, "1 000"),
            (1_234_567, "1 234 567"),
        ] {
            assert_eq!(number(value), want.replace(' ', "\u{202f}"));
        }
        for (value, want) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_550_000, "1.5 MB"),
            (250_000_000, "250 MB"),
        ] {
            assert_eq!(bytes(value), want);
        }
        for (part, whole, want) in [
            (0, 0, "–"),
            (0, 5, "0 %"),
            (1, 100_000, "<0.1 %"),
            (1, 3, "33.3 %"),
            (99_999, 100_000, "99.9 %"),
            (5, 5, "100 %"),
            (1, 2, "50 %"),
        ] {
            assert_eq!(percent(part, whole), want, "{part} of {whole}");
        }
        for (seconds, want) in [
            (5, "5 s"),
            (60, "1 min"),
            (90, "1 min 30 s"),
            (3660, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(spoken(Duration::from_secs(seconds)), want);
        }
        for (ms, want) in [
            (9, "9 ms"),
            (1540, "1.5 s"),
            (15_000, "15 s"),
            (61_000, "1 min 1 s"),
        ] {
            assert_eq!(milliseconds(ms), want);
        }
    }

    #[test]
    fn api_calls_are_one_word_each_in_a_shell() {
        let call = ApiCall::new("a", "POST", "http://h/x", Some(r#"{"a":"it's"}"#));
        let want = r#"curl -X POST 'http://h/x' -H "Authorization: Bearer $HOOKPOST_KEY" -H 'Content-Type: application/json' -d '{"a":"it'\''s"}'"#;
        assert_eq!(call.well.text, want);
    }
}
