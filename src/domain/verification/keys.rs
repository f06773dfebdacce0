//! Keys to verify with, read from their text.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use ring::{hmac, signature};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use spki::SubjectPublicKeyInfoRef;
use spki::der::Decode as _;

use super::recipe::Algorithm;

/// Base64 of the standard alphabet, padded or not.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// The same of the URL-safe alphabet.
pub(super) const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How the text of a secret becomes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyForm {
    /// Its UTF-8, as it stands.
    Text,
    Hex,
    Base64,
    /// A public key: PEM, or the base64 of its DER, or for ed25519 its hex.
    Public,
}

impl KeyForm {
    pub const NAMES: [&'static str; 4] = ["text", "hex", "base64", "public"];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Public => "public",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "hex" => Some(Self::Hex),
            "base64" => Some(Self::Base64),
            "public" => Some(Self::Public),
            _ => None,
        }
    }
}

/// Why a text is no key: the end of a sentence. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    #[error("must not be empty")]
    Empty,
    #[error("must be hex")]
    NotHex,
    #[error("must be base64")]
    NotBase64,
    #[error("must be a public key: PEM, or the base64 of its DER")]
    NotPublic,
    #[error("must be an ed25519 public key: 64 hex digits, or PEM")]
    NotEd25519,
    #[error("must be a JSON Web Key of a kind that is known here")]
    NotJwk,
}

/// A key that verifies.
pub(super) enum Key {
    Hmac(hmac::Key),
    Public {
        /// The JWK's `kid`.
        id: Option<String>,
        key: Public,
    },
}

/// A public key: the bytes that `ring` wants of each kind.
pub(super) enum Public {
    Ed25519(Vec<u8>),
    /// An uncompressed point.
    P256(Vec<u8>),
    /// PKCS#1.
    Rsa(Vec<u8>),
    RsaParts {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

const OID_ED25519: &str = "1.3.101.112";
const OID_EC: &str = "1.2.840.10045.2.1";
const OID_RSA: &str = "1.2.840.113549.1.1.1";
const ED25519_KEY_BYTES: usize = 32;
const P256_POINT_BYTES: usize = 65;

impl Key {
    pub(super) fn read(
        algorithm: Algorithm,
        form: KeyForm,
        text: &str,
    ) -> Result<Self, KeyRefusal> {
        if text.is_empty() {
            return Err(KeyRefusal::Empty);
        }
        if let Some(mac) = algorithm.mac() {
            let bytes = match form {
                KeyForm::Text | KeyForm::Public => text.as_bytes().to_vec(),
                KeyForm::Hex => decode_hex(text.as_bytes()).ok_or(KeyRefusal::NotHex)?,
                KeyForm::Base64 => BASE64.decode(text).map_err(|_| KeyRefusal::NotBase64)?,
            };
            if bytes.is_empty() {
                return Err(KeyRefusal::Empty);
            }
            return Ok(Self::Hmac(hmac::Key::new(mac, &bytes)));
        }
        let key = if algorithm == Algorithm::Ed25519 {
            Public::ed25519(text)?
        } else {
            Public::read(text)?
        };
        Ok(Self::Public { id: None, key })
    }
}

impl Public {
    fn ed25519(text: &str) -> Result<Self, KeyRefusal> {
        if let Some(bytes) = decode_hex(text.trim().as_bytes())
            && bytes.len() == ED25519_KEY_BYTES
        {
            return Ok(Self::Ed25519(bytes));
        }
        match Self::read(text) {
            Ok(key @ Self::Ed25519(_)) => Ok(key),
            _ => Err(KeyRefusal::NotEd25519),
        }
    }

    /// PEM, or base64 of a `SubjectPublicKeyInfo`.
    pub(super) fn read(text: &str) -> Result<Self, KeyRefusal> {
        let der = if text.contains("-----BEGIN") {
            let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes());
            der.map_err(|_| KeyRefusal::NotPublic)?.to_vec()
        } else {
            let text: String = text.split_ascii_whitespace().collect();
            BASE64.decode(text).map_err(|_| KeyRefusal::NotPublic)?
        };
        Self::from_der(&der).ok_or(KeyRefusal::NotPublic)
    }

    /// The key in a `SubjectPublicKeyInfo`.
    pub(super) fn from_der(der: &[u8]) -> Option<Self> {
        let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
        let bytes = info.subject_public_key.as_bytes()?.to_vec();
        match info.algorithm.oid.to_string().as_str() {
            OID_ED25519 if bytes.len() == ED25519_KEY_BYTES => Some(Self::Ed25519(bytes)),
            OID_EC if bytes.len() == P256_POINT_BYTES => Some(Self::P256(bytes)),
            OID_RSA => Some(Self::Rsa(bytes)),
            _ => None,
        }
    }

    /// Whether `signature` is of `message`, by this key and `algorithm`.
    pub(super) fn verifies(&self, algorithm: Signing, message: &[u8], signed: &[u8]) -> bool {
        let verified = match (self, algorithm) {
            (Self::Ed25519(key), Signing::Ed25519) => {
                signature::UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signed)
            }
            (Self::P256(key), Signing::EcdsaDer) => {
                signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, key)
                    .verify(message, signed)
            }
            (Self::P256(key), Signing::EcdsaFixed) => {
                signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key)
                    .verify(message, signed)
            }
            (Self::Rsa(key), Signing::RsaSha256) => {
                signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key)
                    .verify(message, signed)
            }
            (Self::Rsa(key), Signing::RsaSha1) => signature::UnparsedPublicKey::new(
                &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
                key,
            )
            .verify(message, signed),
            (Self::RsaParts { n, e }, Signing::RsaSha256) => {
                signature::RsaPublicKeyComponents { n, e }.verify(
                    &signature::RSA_PKCS1_2048_8192_SHA256,
                    message,
                    signed,
                )
            }
            _ => return false,
        };
        verified.is_ok()
    }
}

/// How a public key signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signing {
    Ed25519,
    EcdsaDer,
    EcdsaFixed,
    RsaSha256,
    RsaSha1,
}

/// Bytes of hex in either case.
pub(super) fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.chunks_exact(2).map(|pair| {
        let byte = digit(pair[0])? << 4 | digit(pair[1])?;
        u8::try_from(byte).ok()
    });
    pairs.collect()
}

/// Bytes as lower-case hex.
pub(super) fn encode_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
