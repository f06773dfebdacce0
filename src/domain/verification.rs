//! Whether an inbound request comes from whom it says: decided from data.
//!
//! A [`Preset`] names a provider and says, as data, how that
//! provider signs, which handshakes it makes and what it wants for an answer.
//! Most sign by a [`Recipe`]; the same form serves a source's own scheme. All
//! of it is pure: what has to be fetched (a certificate, a set of keys) is
//! asked for by [`Unsettled::Needs`] and handed in with the next try.

mod adyen;
mod certificate;
pub mod handshake;
mod jwt;
mod keys;
pub mod presets;
mod reason;
mod recipe;
mod request;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use rustls_pki_types::TrustAnchor;
use serde::{Deserialize, Serialize};

use self::keys::Key;
use self::presets::Preset;
use super::secret::Secret;
use super::signing::{self, Scheme as OurScheme, VerifyKey};

pub use self::jwt::JwtRule;
pub use self::keys::{KeyForm, KeyRefusal};
pub use self::reason::Reason;
pub use self::recipe::{
    Algorithm, Cover, Encoding, Form, Recipe, RecipeRefusal, SIGNED_BYTES_MAX, Stamp, Unit,
};
pub use self::request::{DocumentIn, Inbound, Place, View};

/// Secrets of one source: enough to rotate, few enough to try all of them.
pub const SECRETS_MAX: usize = 8;
/// Bytes of one secret: a public key of 4096 bits in PEM fits.
pub const SECRET_BYTES_MAX: usize = 4096;
/// Ranges of addresses that a source may be limited to.
pub const IP_RANGES_MAX: usize = 64;
/// Characters of one further setting, such as a verify token.
pub const SETTING_CHARS_MAX: usize = 1024;
/// Tolerances that may be chosen, in seconds; 0 lets any timestamp pass.
pub const TOLERANCES_S: std::ops::RangeInclusive<u32> = 0..=86_400;

/// How a provider proves that a request is its own.
#[derive(Clone, Copy, Debug)]
pub enum Scheme<S> {
    /// It does not.
    Nothing,
    /// A shared text that stands somewhere as it is, after a prefix.
    Shared {
        place: Place<S>,
        prefix: S,
    },
    /// The same, in a header that the source names.
    SharedInOwnHeader,
    /// The same, in each item of a list in the body: the list, and the name.
    SharedInEach {
        list: S,
        name: S,
    },
    /// `Authorization: Basic`; a secret is `user:password`.
    Basic,
    /// A signature by parts.
    Recipe(Recipe<S>),
    /// A recipe of the source's own.
    OwnRecipe,
    /// `webhook-*` or `svix-*` headers.
    Standard,
    /// `X-Signature: t=..,v1=..`.
    Octohooks,
    /// The body alone in URL-safe base64, in a header that the source may name.
    Optech,
    /// Each item of a notification has a signature of some of its fields.
    Adyen,
    /// A signed token that may tell the body's hash.
    Jwt(JwtRule<S>),
    /// A signature by the certificate that the request names.
    PayPal,
    Sns,
}

/// What a source says about how its requests are verified.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// Name of a [`Preset`].
    pub preset: String,
    /// Newest first; any of them will do.
    pub secrets: Vec<Secret>,
    /// What the preset asks for besides, by name: a verify token, an audience.
    pub settings: BTreeMap<String, String>,
    /// For the preset `custom`.
    pub recipe: Option<Recipe<String>>,
    /// Seconds that a timestamp may be away, instead of the preset's.
    pub tolerance_s: Option<u32>,
    /// If there are any, a request must come from one of these.
    pub ip_ranges: Vec<IpNet>,
}

/// Why a [`Verification`] cannot be used: the field, and the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Below `verification`, such as `secrets[0]`.
    pub field: String,
    pub detail: String,
}

impl Refusal {
    fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            detail: detail.into(),
        }
    }
}

/// What has to be fetched before a request can be judged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyWanted {
    /// A certificate chain in PEM.
    Certificate { url: String },
    /// A JSON Web Key Set.
    KeySet { url: String },
    /// One of Plaid's keys, which its API at this host gives for these
    /// credentials: by their SHA-256, so that no source has what another fetched.
    PlaidKey {
        host: String,
        credentials: [u8; 32],
        kid: String,
    },
}

/// What can be known beside the request.
pub struct Surroundings<'a> {
    /// What was fetched before.
    pub fetched: &'a dyn Fn(&KeyWanted) -> Option<Arc<[u8]>>,
    /// Whom a certificate chain may end in.
    pub anchors: &'a [TrustAnchor<'static>],
}

/// Why a request is not good, or not yet known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsettled {
    Rejected(Reason),
    Needs(KeyWanted),
}

impl From<Reason> for Unsettled {
    fn from(reason: Reason) -> Self {
        Self::Rejected(reason)
    }
}

/// A [`Verification`] made ready to judge requests.
pub struct Verifier {
    pub preset: &'static Preset,
    recipe: Option<Recipe<String>>,
    secrets: Vec<Secret>,
    keys: Vec<Key>,
    own_keys: Vec<VerifyKey>,
    settings: BTreeMap<String, String>,
    tolerance_s: Option<u32>,
    ip_ranges: Vec<IpNet>,
}

impl Verifier {
    /// Makes ready, or says what is wrong.
    ///
    /// # Errors
    /// All that is wrong, each with its field.
    pub fn new(verification: &Verification) -> Result<Self, Vec<Refusal>> {
        let Some(preset) = presets::find(&verification.preset) else {
            return Err(vec![Refusal::new(
                "preset",
                format!("must be one of {}", presets::names()),
            )]);
        };
        let mut refusals = Vec::new();
        check_settings(preset, verification, &mut refusals);
        let recipe = own_recipe(preset, verification, &mut refusals);
        let mut verifier = Self {
            preset,
            recipe,
            secrets: verification.secrets.clone(),
            keys: Vec::new(),
            own_keys: Vec::new(),
            settings: verification.settings.clone(),
            tolerance_s: verification.tolerance_s,
            ip_ranges: verification.ip_ranges.clone(),
        };
        verifier.read_secrets(&mut refusals);
        if refusals.is_empty() {
            Ok(verifier)
        } else {
            Err(refusals)
        }
    }

    fn read_secrets(&mut self, refusals: &mut Vec<Refusal>) {
        if self.secrets.is_empty() && self.preset.secret.is_required() {
            let detail = format!("is missing: {}", self.preset.secret.label());
            refusals.push(Refusal::new("secrets", detail));
        }
        for (at, secret) in self.secrets.clone().iter().enumerate() {
            let read = match self.preset.scheme {
                Scheme::Nothing | Scheme::PayPal | Scheme::Sns => {
                    Err("is not used by this preset; leave it out".to_owned())
                }
                Scheme::Standard | Scheme::Octohooks | Scheme::Optech => {
                    VerifyKey::parse(secret.expose())
                        .map(|key| self.own_keys.push(key))
                        .map_err(|refusal| refusal.to_string())
                }
                Scheme::Shared { .. } | Scheme::SharedInOwnHeader | Scheme::SharedInEach { .. } => {
                    shared::check_token(secret.expose())
                }
                Scheme::Basic => shared::check_basic(secret.expose()),
                Scheme::Recipe(ref recipe) => self.keys_of(recipe.algorithm, recipe.key, secret),
                Scheme::OwnRecipe => match &self.recipe.clone() {
                    Some(Recipe { algorithm, key, .. }) => self.keys_of(*algorithm, *key, secret),
                    None => Ok(()),
                },
                Scheme::Adyen => self.keys_of(Algorithm::HmacSha256, KeyForm::Hex, secret),
                Scheme::Jwt(ref rule) => rule
                    .read_key(secret.expose())
                    .map(|key| self.keys.extend(key))
                    .map_err(|refusal| refusal.to_string()),
            };
            if let Err(detail) = read {
                refusals.push(Refusal::new(format!("secrets[{at}]"), detail));
            }
        }
    }

    fn keys_of(
        &mut self,
        algorithm: Algorithm,
        form: KeyForm,
        secret: &Secret,
    ) -> Result<(), String> {
        let key = Key::read(algorithm, form, secret.expose()).map_err(|error| error.to_string())?;
        self.keys.push(key);
        Ok(())
    }

    /// A further setting.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// Whether it has a secret to check with.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// The newest secret.
    #[must_use]
    pub fn newest_secret(&self) -> Option<&Secret> {
        self.secrets.first()
    }

    /// Where the provider writes JSON.
    #[must_use]
    pub fn document_in(&self) -> DocumentIn {
        self.preset.document
    }

    /// The header that holds a shared text as it stands: not to be shown.
    #[must_use]
    pub fn token_header(&self) -> Option<&str> {
        match self.preset.scheme {
            Scheme::Shared {
                place: Place::Header(name),
                ..
            } => Some(name),
            Scheme::SharedInOwnHeader => self.setting("header"),
            Scheme::Basic => Some("authorization"),
            _ => None,
        }
    }

    /// Judges a request.
    ///
    /// # Errors
    /// Why it is not good, or what has to be fetched to tell.
    pub fn verify(&self, view: &View<'_>, around: &Surroundings<'_>) -> Result<(), Unsettled> {
        self.check_peer(view)?;
        match self.preset.scheme {
            Scheme::Nothing => Ok(()),
            Scheme::Shared { place, prefix } => {
                Ok(shared::verify(&self.secrets, view, &place, prefix)?)
            }
            Scheme::SharedInOwnHeader => {
                let name = self.setting("header").unwrap_or_default();
                let place = Place::Header(name);
                Ok(shared::verify(&self.secrets, view, &place, "")?)
            }
            Scheme::SharedInEach { list, name } => {
                Ok(shared::verify_each(&self.secrets, view, list, name)?)
            }
            Scheme::Basic => Ok(shared::verify_basic(&self.secrets, view)?),
            Scheme::Recipe(ref recipe) => Ok(recipe.verify(&self.keys, view, self.tolerance_s)?),
            Scheme::OwnRecipe => match &self.recipe {
                Some(recipe) => Ok(recipe.verify(&self.keys, view, self.tolerance_s)?),
                None => Err(Reason::NoSecret.into()),
            },
            Scheme::Standard | Scheme::Octohooks | Scheme::Optech => Ok(self.verify_own(view)?),
            Scheme::Adyen => Ok(adyen::verify(&self.keys, view)?),
            Scheme::Jwt(ref rule) => rule.verify(self, view, around),
            Scheme::PayPal => certificate::verify_paypal(self, view, around),
            Scheme::Sns => certificate::verify_sns(self, view, around),
        }
    }

    fn check_peer(&self, view: &View<'_>) -> Result<(), Reason> {
        if self.ip_ranges.is_empty() {
            return Ok(());
        }
        let peer = view.inbound.peer.ok_or(Reason::PeerUnknown)?;
        let inside = self.ip_ranges.iter().any(|range| range.contains(&peer));
        inside.then_some(()).ok_or(Reason::PeerNotAllowed)
    }

    /// The schemes that Hookpost signs with itself.
    fn verify_own(&self, view: &View<'_>) -> Result<(), Reason> {
        if self.own_keys.is_empty() {
            return Err(Reason::NoSecret);
        }
        let inbound = view.inbound;
        let now_s = inbound.now.as_secs();
        let tolerance = |usual_s: u32| match self.tolerance_s {
            Some(0) => u64::MAX,
            Some(chosen_s) => u64::from(chosen_s),
            None => u64::from(usual_s),
        };
        match self.preset.scheme {
            Scheme::Octohooks => {
                let value = inbound.headers.one("x-signature")?;
                signing::verify_octohooks(
                    &self.own_keys,
                    value,
                    inbound.body,
                    now_s,
                    tolerance(300),
                )?;
            }
            Scheme::Optech => {
                let header = self.setting("header").unwrap_or(signing::OPTECH_HEADER);
                let scheme = OurScheme::Optech {
                    header: header.to_owned(),
                };
                let headers = inbound.headers;
                signing::verify_header(
                    &self.own_keys,
                    &scheme,
                    headers,
                    inbound.body,
                    now_s,
                    u64::MAX,
                )?;
            }
            _ => {
                signing::verify_standard(
                    &self.own_keys,
                    inbound.headers,
                    inbound.body,
                    now_s,
                    tolerance(300),
                )?;
            }
        }
        Ok(())
    }
}

fn check_settings(preset: &Preset, given: &Verification, refusals: &mut Vec<Refusal>) {
    for setting in preset.settings {
        let value = given.settings.get(setting.name).map(String::as_str);
        match value {
            None | Some("") if setting.required => {
                let detail = format!("is missing: {}", setting.label);
                refusals.push(Refusal::new(setting.name, detail));
            }
            Some(value) if !value.is_empty() => {
                if let Err(detail) = setting.kind.check(value) {
                    refusals.push(Refusal::new(setting.name, detail));
                }
            }
            _ => {}
        }
    }
    for name in given.settings.keys() {
        if !preset.settings.iter().any(|setting| setting.name == name) {
            let detail = "is not a setting of this preset; leave it out";
            refusals.push(Refusal::new(name, detail));
        }
    }
}

fn own_recipe(
    preset: &Preset,
    given: &Verification,
    refusals: &mut Vec<Refusal>,
) -> Option<Recipe<String>> {
    if !matches!(preset.scheme, Scheme::OwnRecipe) {
        if given.recipe.is_some() {
            let detail = "is only for the preset custom; leave it out";
            refusals.push(Refusal::new("signature", detail));
        }
        return None;
    }
    let Some(recipe) = given.recipe.clone() else {
        refusals.push(Refusal::new("signature", "is missing: how it is signed"));
        return None;
    };
    if let Err(refusal) = recipe.check() {
        refusals.push(Refusal::new(refusal.field, refusal.detail));
    }
    Some(recipe)
}

/// What kind of text a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SettingKind {
    Text,
    /// Not shown until it is revealed.
    Secret,
    HeaderName,
    /// An `https` URL.
    HttpsUrl,
}

impl SettingKind {
    fn check(self, value: &str) -> Result<(), String> {
        if value.chars().count() > SETTING_CHARS_MAX {
            return Err(format!("must have at most {SETTING_CHARS_MAX} characters"));
        }
        if value.chars().any(char::is_control) {
            return Err("must not have control characters".to_owned());
        }
        match self {
            Self::Text | Self::Secret => Ok(()),
            Self::HeaderName if super::header::is_name(value) => Ok(()),
            Self::HeaderName => Err("must be a header name, such as x-api-secret".to_owned()),
            Self::HttpsUrl => match url::Url::parse(value) {
                Ok(url) if url.scheme() == "https" && url.host_str().is_some() => Ok(()),
                _ => Err("must be an https URL".to_owned()),
            },
        }
    }
}
