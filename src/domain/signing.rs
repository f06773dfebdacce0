//! Signatures, made and checked.
//!
//! [`Scheme`] is what an endpoint wants, [`SignedParts`] what an attempt
//! carries, [`verify_standard`], [`verify_octohooks`] and [`verify_header`] are
//! what a receiver asks, [`SigningSecret`] and [`VerifyKey`] are the keys that
//! both use. Bodies are never copied to be signed: the parts of the signed text
//! go into the hash one after the other.

mod keys;
mod scheme;
mod verify;

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ed25519_dalek::ed25519::signature::MultipartSigner as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

pub use self::keys::{
    PREFIXED_KEY_BYTES, SECRET_TEXT_BYTES_MAX, SecretRefusal, SigningSecret, VerifyKey,
};
pub use self::scheme::{
    CustomScheme, Encoding, OPTECH_HEADER, PREFIX_BYTES_MAX, SCHEMES_MAX,
    SIGNATURE_HEADER_BYTES_MAX, Scheme, TEMPLATE_BYTES_MAX, Template, TemplateRefusal,
};
pub use self::verify::{
    Headers, SIGNATURES_READ_MAX, Verified, VerifyError, verify_header, verify_octohooks,
    verify_standard,
};

use self::keys::StandardKey;
use self::scheme::Piece;

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
    /// One for each optech and custom scheme that signed.
    pub named: Vec<NamedSignatures>,
    /// Whether the id and the time go out although the standard scheme did not
    /// sign: a custom scheme signed them and does not show them itself.
    pub shows_id_and_time: bool,
}

/// The signatures of one scheme whose header the owner named: a line for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedSignatures {
    pub header: String,
    /// As it was sent.
    pub prefix: String,
    pub encoding: Encoding,
    /// In the order of the secrets.
    pub macs: Vec<[u8; MAC_BYTES]>,
}

impl SignedParts {
    /// Signs `body` once for every scheme and secret that go together.
    ///
    /// `secrets` come newest first: verifiers try signatures in that order.
    /// ed25519 secrets sign `v1a` under the standard scheme and are left out of
    /// the others, which would make an HMAC key of a private key's text.
    /// `message_id` has to pass [`message_id_fits`]: ids made here do.
    ///
    /// Source: Standard Webhooks, signature scheme.
    #[must_use]
    pub fn sign<'a>(
        schemes: &[Scheme],
        secrets: impl IntoIterator<Item = &'a SigningSecret, IntoIter: Clone>,
        message_id: &str,
        timestamp_s: u64,
        body: &[u8],
    ) -> Self {
        let secrets = secrets.into_iter();
        let mut digits = [0; U64_DIGITS];
        let known = Known {
            id: message_id.as_bytes(),
            time: decimal(timestamp_s, &mut digits),
            body,
        };
        let mut parts = Self {
            timestamp_s,
            ..Self::default()
        };
        if schemes.contains(&Scheme::Standard) {
            let text = standard_text(known.id, known.time, body);
            parts.standard = secrets.clone().map(|s| sign_standard(s, &text)).collect();
        }
        if schemes.contains(&Scheme::Octohooks) {
            parts.octohooks = macs(secrets.clone(), &octohooks_text(known.time, body));
        }
        for scheme in schemes {
            let Some(parts_of) = HeaderScheme::of(scheme) else {
                continue;
            };
            let signatures = parts_of.sign(secrets.clone(), known);
            if !signatures.macs.is_empty() {
                parts.named.push(signatures);
                parts.shows_id_and_time |= parts_of.hides_what_it_signs;
            }
        }
        parts.shows_id_and_time &= parts.standard.is_empty();
        parts
    }

    /// The headers that carry these signatures, one line each; a name may come
    /// several times, in a row. Our own names are in lower case.
    ///
    /// The standard scheme gives three `webhook-*` headers and the same three
    /// as `svix-*`, Octohooks one, the others a line for each secret that
    /// signed; nothing was signed, no headers.
    #[must_use]
    pub fn headers(&self, message_id: &str) -> Vec<(&str, String)> {
        let mut headers = Vec::with_capacity(7);
        if self.shows_id_and_time {
            if !message_id.is_empty() {
                headers.push(("webhook-id", message_id.to_owned()));
            }
            headers.push(("webhook-timestamp", self.timestamp_s.to_string()));
        }
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
        for named in &self.named {
            let lines = named.macs.iter().map(|mac| named.line(mac));
            headers.extend(lines.map(|line| (named.header.as_str(), line)));
        }
        headers
    }
}

impl NamedSignatures {
    fn line(&self, mac: &[u8; MAC_BYTES]) -> String {
        let mut line = self.prefix.clone();
        match self.encoding {
            Encoding::Hex => push_hex(mac, &mut line),
            Encoding::Base64 => STANDARD.encode_string(mac, &mut line),
            Encoding::Base64Url => URL_SAFE.encode_string(mac, &mut line),
        }
        line
    }
}

/// What a template's places stand for.
#[derive(Clone, Copy)]
struct Known<'a> {
    id: &'a [u8],
    /// Seconds, in decimal.
    time: &'a [u8],
    body: &'a [u8],
}

impl Template {
    /// The text, in parts: nothing is copied.
    fn filled<'a>(&'a self, known: Known<'a>) -> Vec<&'a [u8]> {
        let part = |piece: &'a Piece| match piece {
            Piece::Text(text) => text.as_bytes(),
            Piece::Id => known.id,
            Piece::Timestamp => known.time,
            Piece::Body => known.body,
        };
        self.0.iter().map(part).collect()
    }
}

/// A scheme that signs a text into a header of its own, whatever its name.
struct HeaderScheme<'a> {
    header: &'a str,
    template: Template,
    encoding: Encoding,
    prefix: Template,
    newest_only: bool,
    hides_what_it_signs: bool,
}

impl<'a> HeaderScheme<'a> {
    /// `None` for the schemes that have headers of ours.
    fn of(scheme: &'a Scheme) -> Option<Self> {
        match scheme {
            Scheme::Standard | Scheme::Octohooks => None,
            Scheme::Optech { header } => Some(Self {
                header,
                template: Template::body(),
                encoding: Encoding::Base64Url,
                prefix: Template::default(),
                newest_only: true,
                hides_what_it_signs: false,
            }),
            Scheme::Custom(custom) => Some(Self {
                header: &custom.header,
                template: custom.template.clone(),
                encoding: custom.encoding,
                prefix: custom.prefix.clone(),
                newest_only: false,
                hides_what_it_signs: custom.hides_what_it_signs(),
            }),
        }
    }

    fn sign<'s>(
        &self,
        secrets: impl Iterator<Item = &'s SigningSecret>,
        known: Known<'_>,
    ) -> NamedSignatures {
        let shared = secrets.filter(|secret| secret.octohooks_key().is_some());
        let most = if self.newest_only { 1 } else { usize::MAX };
        let prefix = self.prefix.filled(Known { body: b"", ..known }).concat();
        NamedSignatures {
            header: self.header.to_owned(),
            prefix: String::from_utf8(prefix).expect("a prefix, an id and a time are text"),
            encoding: self.encoding,
            macs: macs(shared.take(most), &self.template.filled(known)),
        }
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

/// A MAC by each secret that is a shared one, under its text.
fn macs<'a>(
    secrets: impl IntoIterator<Item = &'a SigningSecret>,
    text: &[&[u8]],
) -> Vec<[u8; MAC_BYTES]> {
    let keys = secrets.into_iter().filter_map(SigningSecret::octohooks_key);
    keys.map(|key| mac(key, text)).collect()
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
