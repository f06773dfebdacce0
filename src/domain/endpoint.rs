//! A URL registered to receive messages: what its owner set, and how it fares.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fanout::EventFilter;
use super::ids::{ApplicationKey, EndpointKey, EnvironmentKey};
use super::request::takes_requests;
use super::secret::Secret;
use super::signing::{Scheme, SigningSecret};
use super::time::Timestamp;

/// Custom headers of one endpoint, and their sizes.
pub const HEADERS_MAX: usize = 20;
pub const HEADER_VALUE_BYTES_MAX: usize = 4096;
pub const HEADERS_BYTES_MAX: usize = 8192;
pub const EVENT_FILTERS_MAX: usize = 1000;
pub const SECRETS_MAX: usize = 10;
pub const RATE_LIMIT_MAX: u32 = 10_000;
pub const METADATA_BYTES_MAX: usize = 4096;

/// What a secret header's value looks like in answers. Given back unchanged,
/// it keeps the stored value.
pub const MASKED: &str = "••••";

/// An endpoint's settings. Its owner changes them; the engine never does.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that have nothing to do with one another"
)]
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub key: EndpointKey,
    pub environment: EnvironmentKey,
    pub application: ApplicationKey,
    pub name: String,
    pub uid: Option<String>,
    pub description: String,
    pub url: String,
    /// Off: nothing new is sent to it, and what waits stops.
    pub enabled: bool,
    /// On: what is due waits until it is off again.
    pub paused: bool,
    pub event_types: Vec<EventFilter>,
    pub channels: Vec<String>,
    pub headers: Vec<CustomHeader>,
    /// Newest first; each valid one signs. The newest never expires.
    pub secrets: Vec<EndpointSecret>,
    pub signatures: Vec<Scheme>,
    /// Whether the payload's fields are also sent as headers.
    pub payload_in_headers: bool,
    /// Whether the payload is sent in ASCII alone.
    pub ascii_body: bool,
    /// `None`: the deployment's schedule.
    pub retry_schedule: Option<Vec<Duration>>,
    /// `None`: the deployment's time for one attempt.
    pub timeout: Option<Duration>,
    /// Deliveries a second at most.
    pub rate_limit: Option<u32>,
    pub success: SuccessRule,
    pub metadata: BTreeMap<String, String>,
    /// What its owner calls himself when he answers requests; unique in the
    /// store. Every endpoint that takes requests has one.
    pub client_id: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// Set when it was deleted: kept so that old deliveries can still show it.
    pub deleted: Option<Timestamp>,
}

impl Endpoint {
    /// The secrets that sign at `now`, newest first.
    pub fn valid_secrets(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = &EndpointSecret> + Clone + use<'_> {
        let secrets = self.secrets.iter();
        secrets.filter(move |secret| secret.is_valid(now))
    }
}

/// Puts `new` before the secrets there are. Each of those stops after `grace`,
/// or when it was to stop anyway; what has stopped is forgotten, and so is an
/// older `new` itself.
pub fn rotate(
    secrets: &mut Vec<EndpointSecret>,
    new: SigningSecret,
    now: Timestamp,
    grace: Duration,
) {
    let end = now.plus(grace);
    for old in secrets.iter_mut() {
        old.expires = Some(old.expires.map_or(end, |own| own.min(end)));
    }
    secrets.retain(|old| old.is_valid(now) && old.secret.text() != new.text());
    secrets.insert(0, new.into());
}

/// A signing secret, and how long it signs.
#[derive(Clone, Debug)]
pub struct EndpointSecret {
    pub secret: SigningSecret,
    /// From this moment on it does not sign. `None`: it does until it is replaced.
    pub expires: Option<Timestamp>,
}

impl EndpointSecret {
    /// Whether it signs at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl From<SigningSecret> for EndpointSecret {
    fn from(secret: SigningSecret) -> Self {
        Self {
            secret,
            expires: None,
        }
    }
}

/// What is to become of an endpoint's secrets.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// `None`: one is made.
    pub secret: Option<SigningSecret>,
    /// How long those there are go on signing.
    pub grace: Duration,
}

/// How long older secrets go on signing when a rotation does not say, and at most.
pub const GRACE_DEFAULT: Duration = Duration::from_hours(24);
pub const GRACE_MAX: Duration = Duration::from_hours(30 * 24);

/// What two things that are sent would both be called: a header of a scheme
/// and a custom header, or the headers of two schemes. Its place in `signatures`.
#[must_use]
pub fn header_clash(signatures: &[Scheme], headers: &[CustomHeader]) -> Option<usize> {
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    signatures.iter().enumerate().position(|(at, scheme)| {
        let Some(name) = scheme.header() else {
            return false;
        };
        let mut before = signatures[..at].iter().filter_map(Scheme::header);
        before.any(|other| same(other, name))
            || headers.iter().any(|header| same(&header.name, name))
    })
}

/// A header that is sent with every delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomHeader {
    /// As the owner wrote it.
    pub name: String,
    pub value: Secret,
}

impl CustomHeader {
    /// The value as answers show it: masked when the name says it is a secret.
    #[must_use]
    pub fn shown(&self) -> &str {
        if is_secret_name(&self.name) {
            MASKED
        } else {
            self.value.expose()
        }
    }
}

/// Whether a header of this name usually carries a secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    const MARKS: [&str; 9] = [
        "auth",
        "secret",
        "token",
        "password",
        "api-key",
        "apikey",
        "cookie",
        "credential",
        "signature",
    ];
    /// Marks only as whole words: there are keyboards and passengers.
    const WORDS: [&str; 10] = [
        "key", "keys", "pass", "passwd", "pwd", "pin", "jwt", "sig", "hmac", "session",
    ];
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    MARKS.iter().any(|mark| name.contains(mark)) || words.any(|word| WORDS.contains(&word))
}

/// Whether the value of a header that came in is a secret: a signature proves
/// something once, and opens nothing. `token` names the header that the sender
/// proves itself by.
#[must_use]
pub fn is_secret_header(name: &str, token: Option<&str>) -> bool {
    let is_token = token.is_some_and(|token| token.eq_ignore_ascii_case(name));
    let signature = name.to_ascii_lowercase().contains("signature");
    is_token || (is_secret_name(name) && !signature)
}

/// Which answers count as delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuccessRule {
    /// This status alone; `None`: any 2xx.
    pub status: Option<u16>,
    /// The body, compared after trimming.
    pub body: Option<String>,
    /// The content type, compared without parameters and case.
    pub content_type: Option<String>,
}

impl SuccessRule {
    /// Whether this answer means that the message was handled.
    #[must_use]
    pub fn accepts(&self, status: u16, content_type: Option<&str>, body: &[u8]) -> bool {
        let status_fits = match self.status {
            Some(wanted) => status == wanted,
            None => (200..300).contains(&status),
        };
        let body_fits = self
            .body
            .as_ref()
            .is_none_or(|wanted| body.trim_ascii() == wanted.trim().as_bytes());
        let type_fits = self.content_type.as_ref().is_none_or(|wanted| {
            content_type.is_some_and(|got| essence(got).eq_ignore_ascii_case(essence(wanted)))
        });
        status_fits && body_fits && type_fits
    }
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// How an endpoint fares. The engine changes it; a form never does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointState {
    /// Set when the engine stopped sending to it.
    pub disabled: Option<Disabled>,
    /// The first failure since the last success.
    pub failing_since: Option<Timestamp>,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// An operational event has said that it is failing.
    pub told_failing: bool,
}

/// That the engine disabled an endpoint, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disabled {
    pub at: Timestamp,
    pub reason: DisabledReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisabledReason {
    /// It answered 410.
    Gone,
    /// It only failed for longer than [`FAILING_FOR_MAX`].
    Failing,
}

impl DisabledReason {
    /// What the API calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

/// How long an endpoint may only fail before an operational event says so.
pub const FAILING_TOLD_AFTER: Duration = Duration::from_hours(1);

/// How long an endpoint may only fail before it is disabled.
pub const FAILING_FOR_MAX: Duration = Duration::from_hours(120);

/// An endpoint with its state: all that delivering to it needs.
#[derive(Clone, Debug)]
pub struct LiveEndpoint {
    pub settings: Endpoint,
    pub state: EndpointState,
}

impl LiveEndpoint {
    /// Whether neither its owner nor the engine has disabled it.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.settings.enabled && self.state.disabled.is_none() && self.settings.deleted.is_none()
    }

    /// Whether anything may be sent to it now, a question or a message.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_enabled() && !self.settings.paused
    }

    /// Whether new messages go to it.
    #[must_use]
    pub fn takes_messages(&self) -> bool {
        self.is_enabled() && !takes_requests(&self.settings)
    }

    /// Whether what is due may be sent now. What waits for an endpoint that has
    /// come to take requests is held until it takes messages again.
    #[must_use]
    pub fn sends(&self) -> bool {
        self.takes_messages() && !self.settings.paused
    }
}

/// What a caller may set. `None` keeps what there is, an empty list clears.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    pub name: Option<String>,
    pub uid: Option<String>,
    pub description: Option<String>,
    pub url: Option<String>,
    pub enabled: Option<bool>,
    pub paused: Option<bool>,
    pub event_types: Option<Vec<EventFilter>>,
    pub channels: Option<Vec<String>>,
    pub headers: Option<Vec<CustomHeader>>,
    pub secrets: Option<Vec<SigningSecret>>,
    pub signatures: Option<Vec<Scheme>>,
    pub payload_in_headers: Option<bool>,
    pub ascii_body: Option<bool>,
    pub retry_schedule: Option<Vec<Duration>>,
    pub timeout: Option<Duration>,
    pub rate_limit: Option<u32>,
    pub success: Option<SuccessRule>,
    pub metadata: Option<BTreeMap<String, String>>,
    pub client_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_success_rule_decides_what_counts_as_delivered() {
        let ovcode = SuccessRule {
            status: Some(200),
            body: Some("OK".into()),
            content_type: Some("text/plain".into()),
        };
        let plain = Some("text/plain; charset=utf-8");
        for (rule, status, content_type, body, want) in [
            (&SuccessRule::default(), 200, None, "", true),
            (&SuccessRule::default(), 299, None, "x", true),
            (&SuccessRule::default(), 199, None, "", false),
            (&SuccessRule::default(), 301, None, "", false),
            (&SuccessRule::default(), 500, None, "", false),
            (&ovcode, 200, plain, " OK\n", true),
            (&ovcode, 201, plain, "OK", false),
            (&ovcode, 200, plain, "ok", false),
            (&ovcode, 200, Some("text/html"), "OK", false),
            (&ovcode, 200, None, "OK", false),
        ] {
            assert_eq!(
                rule.accepts(status, content_type, body.as_bytes()),
                want,
                "{rule:?} {status} {body:?}"
            );
        }
    }

    const NOW: Timestamp = Timestamp(1_000_000);

    /// `rotate`, on secrets of these texts and ends; the texts and ends after it.
    fn rotated(
        before: &[(&str, Option<u64>)],
        new: &str,
        grace_s: u64,
    ) -> Vec<(String, Option<u64>)> {
        let secret = |text: &str| SigningSecret::parse(text).unwrap();
        let mut secrets: Vec<_> = before
            .iter()
            .map(|(text, expires)| EndpointSecret {
                secret: secret(text),
                expires: expires.map(Timestamp),
            })
            .collect();
        rotate(&mut secrets, secret(new), NOW, Duration::from_secs(grace_s));
        let shown = |of: &EndpointSecret| (of.secret.text().expose().to_owned(), of.expires);
        let shown = secrets.iter().map(shown);
        shown.map(|(text, at)| (text, at.map(|at| at.0))).collect()
    }

    #[test]
    fn a_rotation_gives_older_secrets_an_end() {
        for (before, new, grace_s, want) in [
            (
                &[("a", None)][..],
                "b",
                10,
                &[("b", None), ("a", Some(1_010_000))][..],
            ),
            (&[("a", None)], "b", 0, &[("b", None)]),
            // Its own end, if that is sooner; one that has come is forgotten.
            (
                &[
                    ("a", None),
                    ("c", Some(1_000_001)),
                    ("d", Some(9_000_000)),
                    ("e", Some(1_000_000)),
                ],
                "b",
                10,
                &[
                    ("b", None),
                    ("a", Some(1_010_000)),
                    ("c", Some(1_000_001)),
                    ("d", Some(1_010_000)),
                ],
            ),
            // What is there already becomes the newest.
            (
                &[("a", None), ("b", Some(1_000_001))],
                "b",
                10,
                &[("b", None), ("a", Some(1_010_000))],
            ),
            (&[("a", None)], "a", 10, &[("a", None)]),
            (
                &[("a", None)],
                "b",
                u64::MAX,
                &[("b", None), ("a", Some(u64::MAX))],
            ),
        ] {
            let want: Vec<_> = want.iter().map(|(t, at)| ((*t).to_owned(), *at)).collect();
            assert_eq!(
                rotated(before, new, grace_s),
                want,
                "{before:?} {new} {grace_s}"
            );
        }
    }

    #[test]
    fn a_secret_signs_until_its_end() {
        let secret = SigningSecret::parse("a").unwrap();
        for (expires, want) in [
            (None, true),
            (Some(NOW.0 - 1), false),
            (Some(NOW.0), false),
            (Some(NOW.0 + 1), true),
        ] {
            let of = EndpointSecret {
                secret: secret.clone(),
                expires: expires.map(Timestamp),
            };
            assert_eq!(of.is_valid(NOW), want, "{expires:?}");
        }
    }

    #[test]
    fn two_things_never_have_one_header() {
        let optech = |header: &str| Scheme::Optech {
            header: header.to_owned(),
        };
        let header = |name: &str| CustomHeader {
            name: name.to_owned(),
            value: Secret::new("v"),
        };
        for (signatures, headers, want) in [
            (vec![], vec![], None),
            (vec![Scheme::Standard, Scheme::Standard], vec![], None),
            (
                vec![optech("x-a"), optech("x-b")],
                vec![header("x-c")],
                None,
            ),
            (vec![optech("x-a"), optech("X-A")], vec![], Some(1)),
            (
                vec![Scheme::Standard, optech("x-a")],
                vec![header("x-b"), header("X-A")],
                Some(1),
            ),
        ] {
            assert_eq!(header_clash(&signatures, &headers), want, "{signatures:?}");
        }
    }

    #[test]
    fn header_names_that_carry_secrets_are_masked() {
        for (name, want) in [
            ("Authorization", true),
            ("x-api-secret", true),
            ("X-Api-Key", true),
            ("Ocp-Apim-Subscription-Key", true),
            ("Cookie", true),
            ("key", true),
            ("x_key", true),
            ("X-Key-Id", true),
            ("X-Pass", true),
            ("X-Sig", true),
            ("X-Session-Id", true),
            ("X-Passenger", false),
            ("X-Design", false),
            ("X-Tenant", false),
            ("X-Keyboard", false),
        ] {
            assert_eq!(is_secret_name(name), want, "{name}");
        }
    }
}
