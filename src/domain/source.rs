//! A configured origin of inbound webhooks, and what came from it.

use std::net::IpAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::answer::FixedAnswer;
use super::endpoint::is_secret_header;
use super::header;
use super::ids::{ApplicationKey, EndpointKey, EnvironmentKey, MessageKey, ReceivedKey, SourceKey};
use super::message::{EVENT_TYPE_CHARS_MAX, is_event_type};
use super::time::Timestamp;
use super::verification::presets::{EventAnswer, TypeIn};
use super::verification::{Place, Verification, Verifier, View};

/// Characters of a slug.
pub const SLUG_CHARS: std::ops::RangeInclusive<usize> = 3..=64;
/// Beginnings of slugs that belong to relays.
pub const SLUGS_RESERVED: [&str; 2] = ["c_", "e_"];
/// Sources of one environment.
pub const SOURCES_MAX: usize = 1000;
/// Methods that a source may take.
pub const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// Requests that a source may take in a second.
pub const RATE_LIMIT_MAX: u32 = 100_000;
/// Seconds that a sender may be made to wait for an endpoint's answer.
pub const WAIT_SECONDS: std::ops::RangeInclusive<u64> = 1..=60;
/// Requests other than accepted ones that a source keeps; the oldest make room.
pub const RING_MAX: u64 = 500;
/// Bytes of a refused request's body that are kept. One that is longer is cut,
/// and cannot be verified again.
pub const RING_BODY_BYTES_MAX: usize = 256 * 1024;
/// Headers that go on with a message, and their bytes in all.
pub const FORWARDED_MAX: usize = 50;
pub const FORWARDED_BYTES_MAX: usize = 8 * 1024;
/// Sources of this server that an event may have come through before.
pub const VIA_MAX: usize = 4;
/// Goes with every delivery of an event: the ids of the sources that it came
/// through. What a sender puts there can only have its own event refused.
pub const VIA_HEADER: &str = "hookpost-via";

/// The ids in [`VIA_HEADER`]s, as far as they count.
#[must_use]
pub fn via(headers: &[(String, Vec<u8>)]) -> Vec<String> {
    let values = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(VIA_HEADER));
    let texts = values.filter_map(|(_, value)| str::from_utf8(value).ok());
    let ids = texts.flat_map(|text| text.split([' ', ',']));
    ids.filter(|id| !id.is_empty())
        .take(VIA_MAX + 1)
        .map(str::to_owned)
        .collect()
}

/// A configured origin of inbound webhooks.
#[derive(Clone, Debug)]
pub struct Source {
    pub key: SourceKey,
    pub environment: EnvironmentKey,
    /// Owns the messages that come of it.
    pub application: ApplicationKey,
    pub name: String,
    /// The part of its URL after `/in/`: chosen, or a token.
    pub slug: String,
    /// Whether it takes anything.
    pub enabled: bool,
    pub verification: Verification,
    pub event_type: EventTypeRule,
    pub dedupe: Dedupe,
    pub record: Option<RecordRule>,
    pub answer: AnswerRule,
    pub limits: Limits,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What a source may take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `None`: as for messages.
    pub body_bytes_max: Option<u32>,
    /// A second; `None`: no limit of its own.
    pub rate: Option<u32>,
    /// `None`: POST, and what a handshake of the preset needs.
    pub methods: Option<Vec<String>>,
}

/// How an event is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventTypeRule {
    /// As the preset finds it, else by the preset's name.
    #[default]
    Preset,
    Fixed(String),
    /// What stands there; else the fallback, and without one it is refused.
    At {
        place: Place<String>,
        fallback: Option<String>,
    },
}

/// What tells that a request came before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dedupe {
    /// The preset's event id; else, where it is signed, signature and body.
    #[default]
    Preset,
    /// Nothing: everything is taken.
    Off,
    /// The whole body.
    Body,
    At(Place<String>),
}

/// How records are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRule {
    /// Name of the field that identifies one, or a JSON pointer.
    pub key: String,
    /// Headers that are fields too.
    pub headers: Vec<String>,
}

/// What is answered to an event that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnswerRule {
    /// As the preset says.
    #[default]
    Preset,
    Fixed(FixedAnswer),
    /// What this endpoint answers to the message, if it does in time.
    Endpoint {
        endpoint: EndpointKey,
        seconds: u8,
    },
}

impl From<EventAnswer> for FixedAnswer {
    fn from(answer: EventAnswer) -> Self {
        Self {
            status: answer.status,
            content_type: answer.content_type.to_owned(),
            headers: Vec::new(),
            body: answer.body.to_owned(),
        }
    }
}

/// Whether `text` can be a slug: lower-case letters, digits, `-` and `_`.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn check_slug(text: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if !SLUG_CHARS.contains(&text.len()) || !text.bytes().all(fits) {
        return Err(format!(
            "must have {} to {} characters: lower-case letters, digits, - and _",
            SLUG_CHARS.start(),
            SLUG_CHARS.end()
        ));
    }
    if SLUGS_RESERVED
        .iter()
        .any(|reserved| text.starts_with(reserved))
    {
        return Err("must not begin with c_ or e_: those are relays".to_owned());
    }
    Ok(())
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    Accepted,
    Rejected,
    Duplicate,
    Handshake,
}

impl Verdict {
    pub const ALL: [Self; 4] = [
        Self::Accepted,
        Self::Rejected,
        Self::Duplicate,
        Self::Handshake,
    ];

    /// What API and pages call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Duplicate => "duplicate",
            Self::Handshake => "handshake",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// A request that came to a source, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub key: ReceivedKey,
    pub source: SourceKey,
    /// When it came: keys only grow, clocks step back.
    pub at: Timestamp,
    pub verdict: Verdict,
    /// Why, in words; what kind of handshake; which it repeats. Empty when
    /// there is nothing to say.
    pub reason: String,
    pub method: String,
    /// Path after the slug, and query.
    pub path: String,
    /// Names and values in order, repeats included.
    pub headers: Vec<(String, Vec<u8>)>,
    /// As it came, maybe cut; `None`: no longer kept, or read without it.
    pub body: Option<Bytes>,
    /// Bytes that came.
    pub body_bytes: u64,
    /// The message that came of it.
    pub message: Option<MessageKey>,
    /// The key of the record that it changed.
    pub record: Option<String>,
    /// The status of the answer.
    pub answered: u16,
    pub took_us: u32,
    pub peer: Option<IpAddr>,
    /// Requests refused since the one before that were counted, not kept.
    pub unkept: u32,
}

impl Receipt {
    /// Whether all of its body is kept.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let kept = self.body.as_ref().map(|body| body.len() as u64);
        kept == Some(self.body_bytes)
    }
}

/// How many requests of each kind came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub accepted: u64,
    pub rejected: u64,
    pub duplicate: u64,
    pub handshake: u64,
}

impl Counts {
    /// Counts `number` more.
    pub fn add(&mut self, verdict: Verdict, number: u64) {
        *self.of(verdict) += number;
    }

    fn of(&mut self, verdict: Verdict) -> &mut u64 {
        match verdict {
            Verdict::Accepted => &mut self.accepted,
            Verdict::Rejected => &mut self.rejected,
            Verdict::Duplicate => &mut self.duplicate,
            Verdict::Handshake => &mut self.handshake,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            rejected: self.rejected + other.rejected,
            duplicate: self.duplicate + other.duplicate,
            handshake: self.handshake + other.handshake,
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.accepted + self.rejected + self.duplicate + self.handshake
    }

    /// Percent of the events that were verified; `None` without any.
    #[must_use]
    pub fn verified_percent(self) -> Option<u64> {
        let good = self.accepted + self.duplicate;
        let all = good + self.rejected;
        (all > 0).then(|| good * 100 / all)
    }
}

/// What is to become of a source. `None`: stays.
#[derive(Clone, Debug, Default)]
pub struct SourceChange {
    pub name: Option<String>,
    pub slug: Option<String>,
    pub enabled: Option<bool>,
    /// All of it: whoever makes the change puts in what stays.
    pub verification: Option<Verification>,
    pub event_type: Option<EventTypeRule>,
    pub dedupe: Option<Dedupe>,
    /// `Some(None)`: keeps records no longer.
    pub record: Option<Option<RecordRule>>,
    pub answer: Option<AnswerRule>,
    pub limits: Option<Limits>,
}

impl SourceChange {
    /// Changes what it names.
    pub fn apply(self, source: &mut Source) {
        fn set<T>(place: &mut T, new: Option<T>) {
            if let Some(new) = new {
                *place = new;
            }
        }
        set(&mut source.name, self.name);
        set(&mut source.slug, self.slug);
        set(&mut source.enabled, self.enabled);
        set(&mut source.verification, self.verification);
        set(&mut source.event_type, self.event_type);
        set(&mut source.dedupe, self.dedupe);
        set(&mut source.record, self.record);
        set(&mut source.answer, self.answer);
        set(&mut source.limits, self.limits);
    }
}

/// A source with its verifier ready.
pub struct LiveSource {
    pub settings: Source,
    pub verifier: Verifier,
}

impl std::fmt::Debug for LiveSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.settings.fmt(f)
    }
}

/// Why an event that is genuine cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the event type is missing: {place} is not there")]
    NoEventType { place: String },
    #[error(
        "the event type in {place} has other characters than letters, digits, '-', '_' and '.', \
         or too many"
    )]
    BadEventType { place: String },
    #[error("what tells repeats is missing: {place} is not there")]
    NoEventId { place: String },
}

impl LiveSource {
    /// Whether requests of this method are taken, before any handshake.
    #[must_use]
    pub fn takes_method(&self, method: &str) -> bool {
        match &self.settings.limits.methods {
            None => method == "POST",
            Some(methods) => methods.iter().any(|taken| taken == method),
        }
    }

    /// How the event is called.
    ///
    /// # Errors
    /// It is not said where it should be.
    pub fn event_type(&self, view: &View<'_>) -> Result<String, Unfit> {
        let preset = self.verifier.preset;
        match &self.settings.event_type {
            EventTypeRule::Fixed(name) => Ok(name.clone()),
            EventTypeRule::Preset => Ok(match preset.event_type {
                TypeIn::Nowhere => None,
                TypeIn::At(place) => view.text(&place).map(|text| tidy(&text)),
            }
            .filter(|name| is_event_type(name))
            .unwrap_or_else(|| preset.name.to_owned())),
            EventTypeRule::At { place, fallback } => {
                let found = view.text(place);
                let name = found.or_else(|| fallback.clone());
                let name = name.ok_or_else(|| Unfit::NoEventType {
                    place: place.to_string(),
                })?;
                let name = tidy(&name);
                if is_event_type(&name) {
                    Ok(name)
                } else {
                    Err(Unfit::BadEventType {
                        place: place.to_string(),
                    })
                }
            }
        }
    }

    /// The bytes that tell this event from others; `None` when nothing does.
    ///
    /// # Errors
    /// What the source chose for it is not there.
    pub fn event_id(&self, view: &View<'_>) -> Result<Option<Vec<u8>>, Unfit> {
        let preset = self.verifier.preset;
        let body = view.inbound.body;
        Ok(match &self.settings.dedupe {
            Dedupe::Off => None,
            Dedupe::Body => Some(body.to_vec()),
            Dedupe::At(place) => {
                let found = view.text(place).ok_or_else(|| Unfit::NoEventId {
                    place: place.to_string(),
                })?;
                Some(found.into_bytes())
            }
            Dedupe::Preset => {
                let found = preset.event_id.and_then(|place| view.text(&place));
                let found = found.map(String::into_bytes);
                found.or_else(|| preset.is_signed().then(|| signature_and_body(view)))
            }
        })
    }

    /// The headers that go on with the message, the sender's signature with them:
    /// not those of the connection or of the way here, and none that says who
    /// asks.
    #[must_use]
    pub fn forwarded(&self, headers: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
        let token = self.verifier.token_header();
        let mut bytes_left = FORWARDED_BYTES_MAX;
        let mut kept = Vec::new();
        for (name, value) in headers {
            let own = header::is_reserved(name)
                || header::is_authenticating(name)
                || is_secret_header(name, token)
                || name.eq_ignore_ascii_case("accept");
            let bytes = name.len() + value.len();
            if own || kept.len() == FORWARDED_MAX || bytes > bytes_left {
                continue;
            }
            bytes_left -= bytes;
            kept.push((name.clone(), value.clone()));
        }
        kept
    }
}

/// Every header that signs, and the body.
fn signature_and_body(view: &View<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(view.inbound.body.len() + 256);
    for (name, value) in view.inbound.headers.0 {
        let lower = name.to_ascii_lowercase();
        if lower.contains("signature") || lower.contains("hmac") || lower.contains("jwt") {
            bytes.extend_from_slice(value);
            bytes.push(0);
        }
    }
    bytes.extend_from_slice(view.inbound.body);
    bytes
}

/// An event's name as providers write it, in the characters of ours: Shopify
/// and others write `orders/create`, Bitbucket `repo:push`.
fn tidy(name: &str) -> String {
    let tidy = |c| if matches!(c, '/' | ':' | ' ') { '.' } else { c };
    name.chars()
        .take(EVENT_TYPE_CHARS_MAX + 1)
        .map(tidy)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_short_and_plain() {
        for (text, want) in [
            ("github", true),
            ("a-b_9", true),
            ("ab", false),
            ("GitHub", false),
            ("c_relay", false),
            ("e_x", false),
            ("a/b", false),
            ("a.b", false),
            ("", false),
            ("é12", false),
        ] {
            assert_eq!(check_slug(text).is_ok(), want, "{text}");
        }
        assert!(check_slug(&"a".repeat(64)).is_ok());
        assert!(check_slug(&"a".repeat(65)).is_err());
    }

    #[test]
    fn shares_are_of_events() {
        let mut counts = Counts::default();
        assert_eq!(counts.verified_percent(), None);
        counts.add(Verdict::Handshake, 5);
        assert_eq!(counts.verified_percent(), None);
        counts.add(Verdict::Accepted, 2);
        counts.add(Verdict::Rejected, 1);
        assert_eq!(counts.verified_percent(), Some(66));
        assert_eq!(counts.total(), 8);
    }
}
