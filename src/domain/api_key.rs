//! Keys that programs show to be let in.

use sha2::{Digest, Sha256};

use super::ids::{ApiKeyKey, ApplicationKey, EnvironmentKey};
use super::principal::{Actor, Capabilities, Principal, Scope};
use super::secret::Secret;
use super::time::Timestamp;

/// What every key that we make begins with, so that scanners recognise one.
pub const API_KEY_PREFIX: &str = "hookpost_";
/// Characters of a key that lists show.
const SHOWN_CHARS: usize = 14;
/// Shortest text taken as a key that the operator brings.
pub const API_KEY_CHARS_MIN: usize = 32;

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
