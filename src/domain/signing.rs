//! Signatures, made and checked.
//!
//! [`SignedParts`] is what an attempt carries, [`verify_standard`] and
//! [`verify_octohooks`] are what a receiver asks, [`SigningSecret`] and
//! [`VerifyKey`] are the keys that both use. Bodies are never copied to be
//! signed: the parts of the signed text go into the hash one after the other.

mod keys;
mod verify;

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::ed25519::signature::MultipartSigner as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

pub use self::keys::{
    PREFIXED_KEY_BYTES, SECRET_TEXT_BYTES_MAX, SecretRefusal, SigningSecret, VerifyKey,
};
pub use self::verify::{
    Headers, SIGNATURES_READ_MAX, Verified, VerifyError, verify_octohooks, verify_standard,
};

use self::keys::StandardKey;

/// The header of the Octohooks scheme, in the lower case that `http` wants.
pub const OCTOHOOKS_HEADER: &str = "x-signature";
/// Bytes of a message id at most, as it stands in a header.
pub const MESSAGE_ID_BYTES_MAX: usize = 256;

/// Bytes of an HMAC-SHA256.
const MAC_BYTES: usize = 32;
/// Bytes of an ed25519 signature.
const ED25519_BYTES: usize = 64;
/// Decimal digits of the largest `u64`.
const U64_DIGITS: usize = 20;

/// How an endpoint's deliveries are signed.
///
/// It is stored as it stands, so new schemes go at the end; JSON uses
/// [`name`](Self::name) and [`from_name`](Self::from_name).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scheme {
    /// `webhook-*` and `svix-*` headers. Source: Standard Webhooks, Svix.
    Standard,
    /// One `X-Signature: t=..,v1=..` header.
    Octohooks,
}

impl Scheme {
    /// Every scheme, in the order of their names in documents.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Octohooks];

    /// The name that the API, the settings and the command line use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Octohooks => "octohooks",
        }
    }

    /// The scheme of that exact name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == name)
    }
}

/// One signature of the standard scheme.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StandardSignature {
    /// HMAC-SHA256.
    V1([u8; MAC_BYTES]),
    /// ed25519, always 64 bytes: a `Vec` because serde has no arrays this long.
    V1a(Vec<u8>),
}

/// All signatures of one attempt: compact, and enough to show its headers again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedParts {
    /// Seconds since the epoch: the time of the attempt, not of the message.
    pub timestamp_s: u64,
    /// In the order of the secrets. Empty: no standard headers.
    pub standard: Vec<StandardSignature>,
    /// In the order of the secrets. Empty: no Octohooks header.
    pub octohooks: Vec<[u8; MAC_BYTES]>,
}

impl SignedParts {
    /// Signs `body` once for every scheme and secret that go together.
    ///
    /// `secrets` come newest first: verifiers try signatures in that order.
    /// ed25519 secrets sign `v1a` under the standard scheme and are left out of
    /// Octohooks, which would make an HMAC key of a private key's text.
    /// `message_id` has to pass [`message_id_fits`]: ids made here do.
    ///
    /// Source: Standard Webhooks, signature scheme.
    #[must_use]
    pub fn sign(
        schemes: &[Scheme],
        secrets: &[SigningSecret],
        message_id: &str,
        timestamp_s: u64,
        body: &[u8],
    ) -> Self {
        let mut digits = [0; U64_DIGITS];
        let time = decimal(timestamp_s, &mut digits);
        let mut parts = Self {
            timestamp_s,
            ..Self::default()
        };
        if schemes.contains(&Scheme::Standard) {
            let text = standard_text(message_id.as_bytes(), time, body);
            parts.standard = secrets.iter().map(|s| sign_standard(s, &text)).collect();
        }
        if schemes.contains(&Scheme::Octohooks) {
            let text = octohooks_text(time, body);
            parts.octohooks = secrets
                .iter()
                .filter_map(|secret| Some(mac(secret.octohooks_key()?, &text)))
                .collect();
        }
        parts
    }

    /// The headers that carry these signatures, names in lower case.
    ///
    /// The standard scheme gives three `webhook-*` headers and the same three
    /// as `svix-*`, Octohooks one; nothing was signed, no headers.
    #[must_use]
    pub fn headers(&self, message_id: &str) -> Vec<(&'static str, String)> {
        let mut headers = Vec::with_capacity(7);
        if !self.standard.is_empty() {
            let time = self.timestamp_s.to_string();
            let signatures = render_standard(&self.standard);
            headers.push(("webhook-id", message_id.to_owned()));
            headers.push(("webhook-timestamp", time.clone()));
            headers.push(("webhook-signature", signatures.clone()));
            headers.push(("svix-id", message_id.to_owned()));
            headers.push(("svix-timestamp", time));
            headers.push(("svix-signature", signatures));
        }
        if !self.octohooks.is_empty() {
            let value = render_octohooks(self.timestamp_s, &self.octohooks);
            headers.push((OCTOHOOKS_HEADER, value));
        }
        headers
    }
}

/// Whether an id can be signed without doubt about what was signed.
///
/// A full stop would let the end of an id and the start of a timestamp be
/// read in two ways; anything but visible ASCII does not survive in a header.
/// Source: Standard Webhooks, signature scheme.
#[must_use]
pub fn message_id_fits(id: &[u8]) -> bool {
    (1..=MESSAGE_ID_BYTES_MAX).contains(&id.len())
        && id.iter().all(|b| b.is_ascii_graphic() && *b != b'.')
}

fn sign_standard(secret: &SigningSecret, text: &[&[u8]]) -> StandardSignature {
    match secret.standard_key() {
        StandardKey::Hmac(key) => StandardSignature::V1(mac(key, text)),
        StandardKey::Ed25519(key) => {
            StandardSignature::V1a(key.multipart_sign(text).to_bytes().to_vec())
        }
    }
}

fn standard_text<'a>(id: &'a [u8], time: &'a [u8], body: &'a [u8]) -> [&'a [u8]; 5] {
    [id, b".", time, b".", body]
}

fn octohooks_text<'a>(time: &'a [u8], body: &'a [u8]) -> [&'a [u8]; 3] {
    [time, b".", body]
}

fn mac(key: &[u8], text: &[&[u8]]) -> [u8; MAC_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in text {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// `number` in decimal, written into `digits` to spare an allocation.
fn decimal(number: u64, digits: &mut [u8; U64_DIGITS]) -> &[u8] {
    let mut rest = &mut digits[..];
    write!(rest, "{number}").expect("twenty digits hold any u64");
    let used = U64_DIGITS - rest.len();
    &digits[..used]
}

fn render_standard(signatures: &[StandardSignature]) -> String {
    const LONGEST: usize = " v1a,".len() + ED25519_BYTES.div_ceil(3) * 4;
    let mut value = String::with_capacity(signatures.len() * LONGEST);
    for signature in signatures {
        if !value.is_empty() {
            value.push(' ');
        }
        let (version, bytes) = match signature {
            StandardSignature::V1(bytes) => ("v1,", &bytes[..]),
            StandardSignature::V1a(bytes) => ("v1a,", &bytes[..]),
        };
        value.push_str(version);
        STANDARD.encode_string(bytes, &mut value);
    }
    value
}

fn render_octohooks(timestamp_s: u64, signatures: &[[u8; MAC_BYTES]]) -> String {
    const EACH: usize = ",v1=".len() + 2 * MAC_BYTES;
    let mut value = String::with_capacity("t=".len() + U64_DIGITS + signatures.len() * EACH);
    write!(value, "t={timestamp_s}").expect("a String takes any text");
    for signature in signatures {
        value.push_str(",v1=");
        push_hex(signature, &mut value);
    }
    value
}

fn push_hex(bytes: &[u8], text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests;
