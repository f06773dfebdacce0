//! Signing secrets and verification keys, read from their text.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{KEYPAIR_LENGTH, PUBLIC_KEY_LENGTH, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::domain::secret::Secret;

/// Bytes of a secret's text at most: room for the 512-byte keys, in base64,
/// that Standard Webhooks allows.
pub const SECRET_TEXT_BYTES_MAX: usize = 1024;
/// Raw bytes of a `whsec_` key where Svix's rules apply. Source: Svix server.
pub const PREFIXED_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=75;

const HMAC_PREFIX: &str = "whsec_";
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";

/// Why a text cannot be a secret. No message repeats any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretRefusal {
    #[error("the secret is empty")]
    Empty,
    #[error("the secret has {bytes} bytes, at most {SECRET_TEXT_BYTES_MAX} are allowed")]
    TooLong { bytes: usize },
    #[error("the secret contains a control character, such as a line break")]
    ControlCharacter,
    #[error("after `{prefix}` the secret is not base64 in the standard alphabet with padding")]
    NotBase64 { prefix: &'static str },
    #[error("the key after `{prefix}` has {bytes} bytes, {wanted} are needed")]
    WrongKeyLength {
        prefix: &'static str,
        bytes: usize,
        wanted: &'static str,
    },
    #[error("the public half of the `whsk_` key does not belong to its private half")]
    HalvesDisagree,
    #[error("`whpk_` marks a public key, which can check signatures but not make them")]
    PublicKey,
    #[error("the `whpk_` key is not a point fit for ed25519 signatures")]
    UnfitPublicKey,
    #[error("the secret must start with `whsec_` or `whsk_`")]
    NoPrefix,
}

/// One signing secret of an endpoint: any non-empty text as it stands,
/// `whsec_<base64>`, or the ed25519 key pair `whsk_<base64 of 64 bytes>`.
#[derive(Clone)]
pub struct SigningSecret {
    text: Secret,
    key: Key,
}

#[derive(Clone)]
enum Key {
    /// The key is the text.
    Plain,
    /// The bytes after `whsec_`.
    Decoded(Zeroizing<Vec<u8>>),
    /// Boxed because it is several times as large as the other keys.
    Ed25519(Box<SigningKey>),
}

/// What a secret signs the standard scheme with.
pub(super) enum StandardKey<'a> {
    Hmac(&'a [u8]),
    Ed25519(&'a SigningKey),
}

impl SigningSecret {
    /// Reads a secret: up to [`SECRET_TEXT_BYTES_MAX`] bytes, no controls.
    ///
    /// Text without a known prefix is a key as it stands, however short. Keys
    /// after `whsec_` may be of any length from one byte.
    pub fn parse(text: &str) -> Result<Self, SecretRefusal> {
        check_text(text)?;
        let key = if let Some(base64) = text.strip_prefix(HMAC_PREFIX) {
            Key::Decoded(hmac_key(base64)?)
        } else if let Some(base64) = text.strip_prefix(PRIVATE_PREFIX) {
            Key::Ed25519(Box::new(key_pair(base64)?))
        } else if text.starts_with(PUBLIC_PREFIX) {
            return Err(SecretRefusal::PublicKey);
        } else {
            Key::Plain
        };
        Ok(Self {
            text: Secret::new(text),
            key,
        })
    }

    /// Reads a secret by Svix's rules: `whsk_`, or `whsec_` with a key of
    /// [`PREFIXED_KEY_BYTES`].
    pub fn parse_prefixed(text: &str) -> Result<Self, SecretRefusal> {
        let secret = Self::parse(text)?;
        match &secret.key {
            Key::Plain => Err(SecretRefusal::NoPrefix),
            Key::Decoded(key) if !PREFIXED_KEY_BYTES.contains(&key.len()) => {
                Err(SecretRefusal::WrongKeyLength {
                    prefix: HMAC_PREFIX,
                    bytes: key.len(),
                    wanted: "24 to 75",
                })
            }
            Key::Decoded(_) | Key::Ed25519(_) => Ok(secret),
        }
    }

    /// A new `whsec_` secret. `random` must come from a source fit for keys.
    #[must_use]
    pub fn generate(random: [u8; 32]) -> Self {
        let key = Zeroizing::new(random);
        Self {
            text: Secret::new(prefixed(HMAC_PREFIX, &*key)),
            key: Key::Decoded(Zeroizing::new(key.to_vec())),
        }
    }

    /// The text as it was given.
    #[must_use]
    pub fn text(&self) -> &Secret {
        &self.text
    }

    /// The text that a receiver hands to a Standard Webhooks library.
    ///
    /// That is `whpk_...`, safe to show, for an ed25519 key; for the others it
    /// is as secret as the key: `whsec_...` as given, or made from plain text.
    #[must_use]
    pub fn public_form(&self) -> String {
        match &self.key {
            Key::Plain => prefixed(HMAC_PREFIX, self.text.expose().as_bytes()),
            Key::Decoded(_) => self.text.expose().to_owned(),
            Key::Ed25519(key) => prefixed(PUBLIC_PREFIX, key.verifying_key().as_bytes()),
        }
    }

    /// Whether the key is the text itself, without a prefix.
    #[must_use]
    pub fn is_plain_text(&self) -> bool {
        matches!(self.key, Key::Plain)
    }

    pub(super) fn standard_key(&self) -> StandardKey<'_> {
        match &self.key {
            Key::Plain => StandardKey::Hmac(self.text.expose().as_bytes()),
            Key::Decoded(key) => StandardKey::Hmac(key),
            Key::Ed25519(key) => StandardKey::Ed25519(key),
        }
    }

    /// The whole text, prefix included; `None` for a key pair.
    pub(super) fn octohooks_key(&self) -> Option<&[u8]> {
        match self.key {
            Key::Plain | Key::Decoded(_) => Some(self.text.expose().as_bytes()),
            Key::Ed25519(_) => None,
        }
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret([redacted])")
    }
}

/// What checks signatures: a shared secret, or the public half of a key pair.
#[derive(Clone, Debug)]
pub enum VerifyKey {
    Secret(SigningSecret),
    /// Not a weak key: [`VerifyKey::parse`] refuses those.
    Public(Box<VerifyingKey>),
}

impl VerifyKey {
    /// Reads `whpk_<base64 of 32 bytes>`, or anything [`SigningSecret::parse`] takes.
    pub fn parse(text: &str) -> Result<Self, SecretRefusal> {
        check_text(text)?;
        match text.strip_prefix(PUBLIC_PREFIX) {
            Some(base64) => Ok(Self::Public(Box::new(public_key(base64)?))),
            None => SigningSecret::parse(text).map(Self::Secret),
        }
    }

    pub(super) fn hmac_key(&self) -> Option<&[u8]> {
        match self {
            Self::Secret(secret) => match secret.standard_key() {
                StandardKey::Hmac(key) => Some(key),
                StandardKey::Ed25519(_) => None,
            },
            Self::Public(_) => None,
        }
    }

    pub(super) fn ed25519_key(&self) -> Option<VerifyingKey> {
        match self {
            Self::Secret(secret) => match secret.standard_key() {
                StandardKey::Hmac(_) => None,
                StandardKey::Ed25519(key) => Some(key.verifying_key()),
            },
            Self::Public(key) => Some(**key),
        }
    }

    pub(super) fn octohooks_key(&self) -> Option<&[u8]> {
        match self {
            Self::Secret(secret) => secret.octohooks_key(),
            Self::Public(_) => None,
        }
    }
}

impl From<SigningSecret> for VerifyKey {
    fn from(secret: SigningSecret) -> Self {
        Self::Secret(secret)
    }
}

fn check_text(text: &str) -> Result<(), SecretRefusal> {
    if text.is_empty() {
        return Err(SecretRefusal::Empty);
    }
    if text.len() > SECRET_TEXT_BYTES_MAX {
        return Err(SecretRefusal::TooLong { bytes: text.len() });
    }
    if text.chars().any(char::is_control) {
        return Err(SecretRefusal::ControlCharacter);
    }
    Ok(())
}

fn hmac_key(base64: &str) -> Result<Zeroizing<Vec<u8>>, SecretRefusal> {
    let key = decode(HMAC_PREFIX, base64)?;
    if key.is_empty() {
        return Err(SecretRefusal::WrongKeyLength {
            prefix: HMAC_PREFIX,
            bytes: 0,
            wanted: "1 or more",
        });
    }
    Ok(key)
}

fn key_pair(base64: &str) -> Result<SigningKey, SecretRefusal> {
    let bytes = decode(PRIVATE_PREFIX, base64)?;
    let bytes: &[u8; KEYPAIR_LENGTH] =
        bytes[..]
            .try_into()
            .map_err(|_| SecretRefusal::WrongKeyLength {
                prefix: PRIVATE_PREFIX,
                bytes: bytes.len(),
                wanted: "64",
            })?;
    SigningKey::from_keypair_bytes(bytes).map_err(|_| SecretRefusal::HalvesDisagree)
}

fn public_key(base64: &str) -> Result<VerifyingKey, SecretRefusal> {
    let bytes = decode(PUBLIC_PREFIX, base64)?;
    let bytes: &[u8; PUBLIC_KEY_LENGTH] =
        bytes[..]
            .try_into()
            .map_err(|_| SecretRefusal::WrongKeyLength {
                prefix: PUBLIC_PREFIX,
                bytes: bytes.len(),
                wanted: "32",
            })?;
    match VerifyingKey::from_bytes(bytes) {
        Ok(key) if !key.is_weak() => Ok(key),
        Ok(_) | Err(_) => Err(SecretRefusal::UnfitPublicKey),
    }
}

/// The libraries of receivers are strict about padding, so this is as well.
fn decode(prefix: &'static str, base64: &str) -> Result<Zeroizing<Vec<u8>>, SecretRefusal> {
    STANDARD
        .decode(base64)
        .map(Zeroizing::new)
        .map_err(|_| SecretRefusal::NotBase64 { prefix })
}

fn prefixed(prefix: &str, key: &[u8]) -> String {
    // Sized up front: growing would leave copies of the key in freed memory.
    let mut text = String::with_capacity(prefix.len() + key.len().div_ceil(3) * 4);
    text.push_str(prefix);
    STANDARD.encode_string(key, &mut text);
    text
}
