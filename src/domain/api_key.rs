//! Keys that programs show to be let in.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::ids::{ApiKeyKey, ApplicationKey, EnvironmentKey};
use super::principal::{Actor, Capabilities, Capability, Principal, Scope};
use super::secret::Secret;
use super::time::Timestamp;

/// What every key that we make begins with, so that scanners recognise one.
pub const API_KEY_PREFIX: &str = "hookpost_";
/// Characters of a key that lists show.
const SHOWN_CHARS: usize = 14;
/// Shortest text taken as a key that the operator brings.
pub const API_KEY_CHARS_MIN: usize = 32;
/// Characters of a key's name.
pub const API_KEY_NAME_CHARS_MAX: usize = 256;
/// A key that ends may work so long, some ten years; one that does not end has
/// no such time.
pub const LIFETIME_SECONDS_MAX: u64 = 10 * 366 * 24 * 60 * 60;
/// Last use is kept by the minute, so that using a key writes nothing.
const USE_PRECISION_MS: u64 = 60_000;

/// An API key as stored: its text is not kept, only its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub key: ApiKeyKey,
    pub environment: EnvironmentKey,
    /// `None`: every application of the environment.
    pub application: Option<ApplicationKey>,
    pub name: String,
    /// The first characters of the text, to tell keys apart by.
    pub shown: String,
    pub hash: [u8; 32],
    pub capabilities: Capabilities,
    pub created: Timestamp,
    /// From then on it opens nothing. `None`: it works until it is revoked.
    pub expires: Option<Timestamp>,
    /// The minute in which it last opened something.
    pub last_used: Option<Timestamp>,
}

impl ApiKey {
    /// What the holder of this key may touch.
    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal {
            scope: Scope {
                environment: self.environment,
                application: self.application,
            },
            capabilities: self.capabilities,
            actor: Actor::ApiKey(self.key),
        }
    }

    /// Whether its time is over.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }
}

/// What a new key is to be, beside its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApiKey {
    pub environment: EnvironmentKey,
    pub application: Option<ApplicationKey>,
    pub name: String,
    pub capabilities: Capabilities,
    pub lifetime: Option<Duration>,
}

/// The moment that a use at `now` is kept as.
#[must_use]
pub fn use_kept_as(now: Timestamp) -> Timestamp {
    Timestamp(now.0 - now.0 % USE_PRECISION_MS)
}

/// What the scopes of these names allow.
///
/// # Errors
/// The place of each name that is none, and a sentence's end about it. A key
/// of `one_application` cannot reach environments.
pub fn capabilities(
    names: &[String],
    one_application: bool,
) -> Result<Capabilities, Vec<(usize, String)>> {
    let mut found = Vec::with_capacity(names.len());
    let mut wrong = Vec::new();
    for (at, name) in names.iter().enumerate() {
        match Capability::from_name(name) {
            Some(Capability::Environments) if one_application => wrong.push((
                at,
                "cannot be given to a key that is bound to an application".to_owned(),
            )),
            Some(capability) => found.push(capability),
            None => wrong.push((at, format!("is not a scope; there are {}", scope_names()))),
        }
    }
    if wrong.is_empty() {
        Ok(Capabilities::of(&found))
    } else {
        Err(wrong)
    }
}

/// Every scope's name, for sentences.
#[must_use]
pub fn scope_names() -> String {
    Capability::ALL.map(Capability::name).join(", ")
}

/// The text of a new key, from 32 random bytes.
#[must_use]
pub fn new_text(random: [u8; 32]) -> Secret {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
    Secret::new(format!("{API_KEY_PREFIX}{body}"))
}

/// The hash by which a key is stored and found. Keys carry 256 random bits, so
/// a fast hash is enough.
#[must_use]
pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The part of a key that lists show.
#[must_use]
pub fn shown(text: &Secret) -> String {
    text.expose().chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Key as _;

    fn key(expires: Option<u64>) -> ApiKey {
        ApiKey {
            key: ApiKeyKey::from_u64(1),
            environment: EnvironmentKey::from_u64(2),
            application: None,
            name: String::new(),
            shown: String::new(),
            hash: [0; 32],
            capabilities: Capabilities::ADMIN,
            created: Timestamp(0),
            expires: expires.map(Timestamp),
            last_used: None,
        }
    }

    #[test]
    fn a_key_works_until_the_moment_it_expires() {
        for (expires, now, want) in [
            (None, u64::MAX, false),
            (Some(1_000), 999, false),
            (Some(1_000), 1_000, true),
            (Some(1_000), 1_001, true),
        ] {
            let expired = key(expires).has_expired(Timestamp(now));
            assert_eq!(expired, want, "{expires:?} at {now}");
        }
    }

    #[test]
    fn a_use_is_kept_by_the_minute() {
        for (now, want) in [(0, 0), (59_999, 0), (60_000, 60_000), (119_999, 60_000)] {
            assert_eq!(use_kept_as(Timestamp(now)), Timestamp(want), "{now}");
        }
    }

    #[test]
    fn scopes_are_read_or_named_as_wrong() {
        use Capability::{Admin, Environments, Read, Send};
        for (names, bound, want) in [
            (&["read"][..], true, Ok(&[Read][..])),
            (
                &["read", "messages:write", "read"],
                false,
                Ok(&[Read, Send]),
            ),
            (
                &["environments", "admin"],
                false,
                Ok(&[Admin, Environments]),
            ),
            (&["admin", "environments"], true, Err(&[1][..])),
            (&["Read", "admin", ""], false, Err(&[0, 2])),
            (&[], false, Ok(&[])),
        ] {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let found = capabilities(&names, bound);
            let places = found.map_err(|wrong| wrong.into_iter().map(|(at, _)| at).collect());
            let want = want.map(Capabilities::of).map_err(<[usize]>::to_vec);
            assert_eq!(places, want, "{names:?}");
        }
    }
}
