//! A URL registered to receive messages: what its owner set, and how it fares.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fanout::EventFilter;
use super::ids::{ApplicationKey, EndpointKey, EnvironmentKey};
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
    /// Newest first; each valid one signs.
    pub secrets: Vec<SigningSecret>,
    pub signatures: Vec<Scheme>,
    /// `None`: the deployment's schedule.
    pub retry_schedule: Option<Vec<Duration>>,
    /// `None`: the deployment's time for one attempt.
    pub timeout: Option<Duration>,
    /// Deliveries a second at most.
    pub rate_limit: Option<u32>,
    pub success: SuccessRule,
    pub metadata: BTreeMap<String, String>,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// Set when it was deleted: kept so that old deliveries can still show it.
    pub deleted: Option<Timestamp>,
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
    /// Whether new messages go to it.
    #[must_use]
    pub fn takes_messages(&self) -> bool {
        self.settings.enabled && self.state.disabled.is_none() && self.settings.deleted.is_none()
    }

    /// Whether what is due may be sent now.
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
    pub retry_schedule: Option<Vec<Duration>>,
    pub timeout: Option<Duration>,
    pub rate_limit: Option<u32>,
    pub success: Option<SuccessRule>,
    pub metadata: Option<BTreeMap<String, String>>,
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
