//! Requests that prove themselves by a JSON Web Token, which may tell the hash
//! of the body. Source: RFC 7515, RFC 7517, RFC 7519.

use std::sync::Arc;

use base64::Engine as _;
use ring::{digest, hmac};
use serde::Deserialize;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use super::keys::{BASE64, BASE64_URL, Key, KeyRefusal, Public, Signing, encode_hex};
use super::reason::Reason;
use super::recipe::{Encoding, check_time};
use super::request::{Place, View};
use super::{KeyWanted, Surroundings, Unsettled, Verifier};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

/// Where Plaid's keys are when a source does not say.
const PLAID_HOST: &str = "production.plaid.com";

/// Bytes of a token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Keys of a set that are tried.
const KEYS_MAX: usize = 100;
/// Seconds that clocks may be apart when a token's end is judged.
const LEEWAY_S: u64 = 60;

/// How a token is judged.
#[derive(Clone, Copy, Debug)]
pub struct JwtRule<S> {
    pub place: Place<S>,
    /// What stands before the token, such as `Bearer `.
    pub prefix: S,
    /// Names of the algorithms that are taken, as in the token's `alg`.
    pub algorithms: &'static [&'static str],
    /// The claim with the SHA-256 of the body, and how it is written.
    pub body_hash: Option<(&'static str, Encoding)>,
    /// Seconds since `iat` at most; 0: its age is not judged.
    pub age_max_s: u32,
    pub keys: KeySource,
    /// Claims that must be what a setting says: claim, and the setting's name.
    pub claims: &'static [(&'static str, &'static str)],
}

/// Where the keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The source's secrets, or the set at the URL of its setting `keysUrl`.
    SecretsOrSetting,
    /// The set at this URL.
    Url(&'static str),
    /// Plaid's API; the secrets are credentials for it, `client_id:secret`.
    Plaid,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
}

/// A token taken apart.
struct Token<'a> {
    header: Header,
    claims: Value,
    signed: &'a [u8],
    signature: Vec<u8>,
}

fn take_apart(token: &[u8]) -> Option<Token<'_>> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let end = token.iter().rposition(|byte| *byte == b'.')?;
    let (signed, signature) = (&token[..end], &token[end + 1..]);
    let dot = signed.iter().position(|byte| *byte == b'.')?;
    Some(Token {
        header: serde_json::from_slice(&BASE64_URL.decode(&signed[..dot]).ok()?).ok()?,
        claims: serde_json::from_slice(&BASE64_URL.decode(&signed[dot + 1..]).ok()?).ok()?,
        signed,
        signature: BASE64_URL.decode(signature).ok()?,
    })
}

impl<S: AsRef<str>> JwtRule<S> {
    /// The keys in the text of a secret; none when it is a credential.
    pub(super) fn read_key(&self, text: &str) -> Result<Vec<Key>, KeyRefusal> {
        if text.is_empty() {
            return Err(KeyRefusal::Empty);
        }
        if self.keys == KeySource::Plaid {
            return Ok(Vec::new());
        }
        if text.trim_start().starts_with('{') {
            let keys = keys_of(text.as_bytes());
            return if keys.is_empty() {
                Err(KeyRefusal::NotJwk)
            } else {
                Ok(keys)
            };
        }
        if text.contains("-----BEGIN") {
            let key = Public::read(text)?;
            return Ok(vec![Key::Public { id: None, key }]);
        }
        Ok(vec![Key::Hmac(hmac::Key::new(
            hmac::HMAC_SHA256,
            text.as_bytes(),
        ))])
    }

    pub(super) fn verify(
        &self,
        verifier: &Verifier,
        view: &View<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), Unsettled> {
        let given = view.required(&self.place)?;
        let what = || self.place.to_string();
        let prefix = self.prefix.as_ref();
        let split = given.split_at_checked(prefix.len());
        let token = split.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(prefix.as_bytes()));
        let (_, token) = token.ok_or_else(|| Reason::PrefixMissing {
            what: what(),
            prefix: prefix.trim_end().to_owned(),
        })?;
        let token = take_apart(token.trim_ascii()).ok_or(Reason::NotAToken)?;
        self.check_signature(&token, verifier, around)?;
        self.check_claims(&token.claims, verifier, view)?;
        Ok(())
    }

    fn check_signature(
        &self,
        token: &Token<'_>,
        verifier: &Verifier,
        around: &Surroundings<'_>,
    ) -> Result<(), Unsettled> {
        let known = self
            .algorithms
            .iter()
            .find(|known| **known == token.header.alg);
        let Some(algorithm) = known else {
            let known = ["none", "HS256", "RS256", "ES256", "EdDSA"];
            let named = known.iter().find(|known| **known == token.header.alg);
            return Err(Reason::AlgorithmNotTaken {
                algorithm: named.copied().unwrap_or("something else"),
            }
            .into());
        };
        let fetched;
        let keys = match self.wanted(token, verifier)? {
            None => &verifier.keys,
            Some(wanted) => {
                let bytes: Option<Arc<[u8]>> = (around.fetched)(&wanted);
                let Some(bytes) = bytes else {
                    return Err(Unsettled::Needs(wanted));
                };
                fetched = keys_of(&bytes);
                &fetched
            }
        };
        let kid = token.header.kid.as_deref();
        let mut fitting = keys.iter().filter(|key| match key {
            Key::Public { id: Some(id), .. } => kid.is_none_or(|kid| kid == id),
            Key::Public { id: None, .. } | Key::Hmac(_) => true,
        });
        let mut any = false;
        let good = fitting.any(|key| {
            any = true;
            signed_by(key, algorithm, token)
        });
        if good {
            Ok(())
        } else if any {
            Err(Reason::NoSecretMatches.into())
        } else {
            Err(Reason::UnknownKey.into())
        }
    }

    /// What has to be fetched; `None` when the secrets are the keys.
    fn wanted(&self, token: &Token<'_>, verifier: &Verifier) -> Result<Option<KeyWanted>, Reason> {
        match self.keys {
            KeySource::Url(url) => Ok(Some(KeyWanted::KeySet {
                url: url.to_owned(),
            })),
            KeySource::Plaid => {
                if verifier.secrets.is_empty() {
                    return Err(Reason::NoSecret);
                }
                let kid = token.header.kid.clone().ok_or(Reason::UnknownKey)?;
                let fits = kid.len() <= 128 && kid.bytes().all(|b| b.is_ascii_graphic());
                if !fits {
                    return Err(Reason::UnknownKey);
                }
                let host = verifier.setting("host").filter(|host| !host.is_empty());
                let credentials = verifier.newest_secret().map(Secret::expose);
                let credentials = credentials.unwrap_or_default().as_bytes();
                let credentials = digest::digest(&digest::SHA256, credentials);
                Ok(Some(KeyWanted::PlaidKey {
                    host: host.unwrap_or(PLAID_HOST).to_owned(),
                    credentials: *credentials
                        .as_ref()
                        .first_chunk()
                        .expect("thirty-two bytes"),
                    kid,
                }))
            }
            KeySource::SecretsOrSetting => match verifier.setting("keysUrl") {
                Some(url) if !url.is_empty() => Ok(Some(KeyWanted::KeySet {
                    url: url.to_owned(),
                })),
                _ if verifier.keys.is_empty() => Err(Reason::NoSecret),
                _ => Ok(None),
            },
        }
    }

    fn check_claims(
        &self,
        claims: &Value,
        verifier: &Verifier,
        view: &View<'_>,
    ) -> Result<(), Reason> {
        let now = view.inbound.now;
        let seconds = |claim: &str| claims.get(claim).and_then(Value::as_u64);
        if let Some(end_s) = seconds("exp")
            && end_s.saturating_add(LEEWAY_S) < now.as_secs()
        {
            return Err(Reason::TokenExpired);
        }
        if self.age_max_s > 0 {
            let issued = seconds("iat").ok_or(Reason::WrongClaim { claim: "iat" })?;
            let issued = Timestamp(issued.saturating_mul(1000));
            let age_max_s = verifier.tolerance_s.unwrap_or(self.age_max_s);
            check_time(issued, now, u64::from(age_max_s))?;
        }
        for (claim, setting) in self.claims {
            let wanted = verifier.setting(setting).unwrap_or_default();
            let is_it = |given: &Value| given.as_str() == Some(wanted);
            let given = claims.get(*claim);
            let good = given.is_some_and(|given| match given {
                Value::Array(all) => all.iter().any(is_it),
                one => is_it(one),
            });
            if !wanted.is_empty() && !good {
                return Err(Reason::WrongClaim { claim });
            }
        }
        let Some((claim, encoding)) = self.body_hash else {
            return Ok(());
        };
        let given = claims.get(claim).and_then(Value::as_str);
        let given = given.ok_or(Reason::WrongClaim { claim })?;
        let hash = digest::digest(&digest::SHA256, view.inbound.body);
        let hash = match encoding {
            Encoding::Hex => encode_hex(hash.as_ref()),
            Encoding::Base64 => BASE64.encode(hash.as_ref()),
            Encoding::Base64Url => BASE64_URL.encode(hash.as_ref()),
        };
        let same = hash.as_bytes().ct_eq(given.as_bytes());
        bool::from(same).then_some(()).ok_or(Reason::BodyHashWrong)
    }
}

fn signed_by(key: &Key, algorithm: &str, token: &Token<'_>) -> bool {
    let (message, signature) = (token.signed, token.signature.as_slice());
    match (key, algorithm) {
        (Key::Hmac(key), "HS256") => hmac::verify(key, message, signature).is_ok(),
        (Key::Public { key, .. }, "RS256") => key.verifies(Signing::RsaSha256, message, signature),
        (Key::Public { key, .. }, "ES256") => key.verifies(Signing::EcdsaFixed, message, signature),
        (Key::Public { key, .. }, "EdDSA") => key.verifies(Signing::Ed25519, message, signature),
        _ => false,
    }
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl Jwk {
    fn into_key(self) -> Option<Key> {
        let bytes = |text: Option<String>| BASE64_URL.decode(text?).ok();
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Public::RsaParts {
                n: bytes(self.n)?,
                e: bytes(self.e)?,
            },
            ("EC", Some("P-256")) => {
                let mut point = vec![4];
                point.extend(bytes(self.x)?);
                point.extend(bytes(self.y)?);
                Public::P256(point)
            }
            ("OKP", Some("Ed25519")) => Public::Ed25519(bytes(self.x)?),
            _ => return None,
        };
        Some(Key::Public { id: self.kid, key })
    }
}

/// The keys of a key set, of one key, or of a `{"key": {..}}`.
fn keys_of(text: &[u8]) -> Vec<Key> {
    let Ok(value) = serde_json::from_slice::<Value>(text) else {
        return Vec::new();
    };
    let all = match (value.get("keys"), value.get("key")) {
        (Some(Value::Array(keys)), _) => keys.iter().take(KEYS_MAX).cloned().collect(),
        (_, Some(key @ Value::Object(_))) => vec![key.clone()],
        _ => vec![value],
    };
    let read = |key: Value| serde_json::from_value::<Jwk>(key).ok()?.into_key();
    all.into_iter().filter_map(read).collect()
}
