//! Signatures described by their parts: where one stands, what it is of, by
//! which algorithm. One engine for nearly every provider, and for a source's
//! own scheme.

use std::borrow::Cow;

use base64::Engine as _;
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq as _};

use super::Refusal;
use super::keys::{BASE64, BASE64_URL, Key, KeyForm, Signing, decode_hex, encode_hex};
use super::reason::Reason;
use super::request::{Place, View};
use crate::domain::header;
use crate::domain::signing::SIGNATURES_READ_MAX;
use crate::domain::time::Timestamp;

/// Bytes of the text that tells what is signed, places as written.
pub const SIGNED_BYTES_MAX: usize = 512;

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    HmacSha1,
    HmacSha256,
    HmacSha384,
    HmacSha512,
    Ed25519,
    /// P-256 and SHA-256, the signature in DER.
    EcdsaP256,
    /// PKCS#1 v1.5 and SHA-256.
    RsaSha256,
}

impl Algorithm {
    pub const NAMES: [&'static str; 7] = [
        "hmac-sha1",
        "hmac-sha256",
        "hmac-sha384",
        "hmac-sha512",
        "ed25519",
        "ecdsa-p256",
        "rsa-sha256",
    ];
    const ALL: [Self; 7] = [
        Self::HmacSha1,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
        Self::Ed25519,
        Self::EcdsaP256,
        Self::RsaSha256,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        let at = Self::ALL.iter().position(|known| *known == self);
        Self::NAMES[at.expect("all are listed")]
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let at = Self::NAMES.iter().position(|known| *known == name)?;
        Some(Self::ALL[at])
    }

    pub(super) fn mac(self) -> Option<hmac::Algorithm> {
        match self {
            Self::HmacSha1 => Some(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            Self::HmacSha256 => Some(hmac::HMAC_SHA256),
            Self::HmacSha384 => Some(hmac::HMAC_SHA384),
            Self::HmacSha512 => Some(hmac::HMAC_SHA512),
            Self::Ed25519 | Self::EcdsaP256 | Self::RsaSha256 => None,
        }
    }

    fn signing(self) -> Option<Signing> {
        match self {
            Self::Ed25519 => Some(Signing::Ed25519),
            Self::EcdsaP256 => Some(Signing::EcdsaDer),
            Self::RsaSha256 => Some(Signing::RsaSha256),
            _ => None,
        }
    }

    /// Bytes that every one of its signatures has.
    fn signature_bytes(self) -> Option<usize> {
        match self {
            Self::HmacSha1 => Some(20),
            Self::HmacSha256 => Some(32),
            Self::HmacSha384 => Some(48),
            Self::HmacSha512 | Self::Ed25519 => Some(64),
            Self::EcdsaP256 | Self::RsaSha256 => None,
        }
    }
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encoding {
    Hex,
    Base64,
    Base64Url,
}

impl Encoding {
    pub const NAMES: [&'static str; 3] = ["hex", "base64", "base64url"];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "hex" => Some(Self::Hex),
            "base64" => Some(Self::Base64),
            "base64url" => Some(Self::Base64Url),
            _ => None,
        }
    }

    fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hex => decode_hex(text),
            Self::Base64 => BASE64.decode(text).ok(),
            Self::Base64Url => BASE64_URL.decode(text).ok(),
        }
    }
}

/// How the signatures stand in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Form<S> {
    /// One, after a prefix that may be empty: `sha256=..`.
    Whole { prefix: S },
    /// Several, each after the prefix: `v1=..,v1=..`.
    List { separator: char, prefix: S },
    /// Among named items: `t=..,v1=..`.
    Items { separator: char, name: S },
}

/// What a timestamp is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unit {
    Seconds,
    Milliseconds,
    Rfc3339,
}

impl Unit {
    pub const NAMES: [&'static str; 3] = ["seconds", "milliseconds", "rfc3339"];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Rfc3339 => "rfc3339",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "seconds" => Some(Self::Seconds),
            "milliseconds" => Some(Self::Milliseconds),
            "rfc3339" => Some(Self::Rfc3339),
            _ => None,
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::Seconds => "a whole number of seconds",
            Self::Milliseconds => "a whole number of milliseconds",
            Self::Rfc3339 => "a time as in RFC 3339",
        }
    }

    fn read(self, text: &[u8]) -> Option<Timestamp> {
        let text = str::from_utf8(text).ok()?;
        let number = || {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<u64>().ok()).flatten()
        };
        match self {
            Self::Seconds => number().map(|s| Timestamp(s.saturating_mul(1000))),
            Self::Milliseconds => number().map(Timestamp),
            Self::Rfc3339 => Timestamp::parse_rfc3339(text),
        }
    }
}

/// Where a request says when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp<S> {
    pub place: Place<S>,
    pub unit: Unit,
    /// Seconds that it may be away from now, either way; 0 lets any pass.
    pub tolerance_s: u32,
}

/// How the body is under the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cover<S> {
    /// By the text that is signed, or, as the provider has it, not at all.
    Signed,
    /// A form by its fields; anything else by its SHA-256 in this parameter of
    /// the URL, which is signed.
    FormOrHashInQuery(S),
}

/// A signature by parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recipe<S> {
    pub place: Place<S>,
    /// Where a second one stands, of which either will do.
    pub also: Option<Place<S>>,
    pub form: Form<S>,
    pub algorithm: Algorithm,
    pub encoding: Encoding,
    pub key: KeyForm,
    /// A text with places: `{body}`, `{timestamp}`, `{id}`, `{method}`,
    /// `{url}`, `{fields}` (a form's, sorted), `{/json/pointer}`, `{header:name}`.
    pub signed: S,
    pub timestamp: Option<Stamp<S>>,
    pub id: Option<Place<S>>,
    pub cover: Cover<S>,
}

/// A part of what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Body,
    Timestamp,
    Id,
    Method,
    Url,
    Fields,
    Field(&'a str),
    Header(&'a str),
}

/// Why a recipe cannot be used.
pub type RecipeRefusal = Refusal;

fn pieces(signed: &str) -> Result<Vec<Piece<'_>>, &'static str> {
    let mut found = Vec::new();
    let mut rest = signed;
    while !rest.is_empty() {
        let Some(inside) = rest.strip_prefix('{') else {
            let end = rest.find(['{', '}']).unwrap_or(rest.len());
            if end == 0 {
                return Err("has a closing brace without an opening one");
            }
            found.push(Piece::Text(&rest[..end]));
            rest = &rest[end..];
            continue;
        };
        let end = inside.find('}').ok_or("has a brace that is not closed")?;
        let place = &inside[..end];
        found.push(match place {
            "body" => Piece::Body,
            "timestamp" => Piece::Timestamp,
            "id" => Piece::Id,
            "method" => Piece::Method,
            "url" => Piece::Url,
            "fields" => Piece::Fields,
            _ if place.starts_with('/') => Piece::Field(place),
            _ => match place.strip_prefix("header:") {
                Some(name) if header::is_name(name) => Piece::Header(name),
                _ => {
                    return Err(
                        "has a place that is none of {body}, {timestamp}, {id}, {method}, \
                                {url}, {fields}, {/a/pointer} and {header:name}",
                    );
                }
            },
        });
        rest = &inside[end + 1..];
    }
    Ok(found)
}

impl<S: AsRef<str>> Recipe<S> {
    /// Whether an owner may use it.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub fn check(&self) -> Result<(), RecipeRefusal> {
        let signed = self.signed.as_ref();
        let refuse = |field: &str, detail: &str| Err(Refusal::new(field, detail));
        if signed.len() > SIGNED_BYTES_MAX {
            let detail = format!("must have at most {SIGNED_BYTES_MAX} bytes");
            return Err(Refusal::new("signed", detail));
        }
        let pieces = match pieces(signed) {
            Ok(pieces) => pieces,
            Err(detail) => return refuse("signed", detail),
        };
        if !pieces.contains(&Piece::Body) {
            return refuse(
                "signed",
                "must have {body}, so that the whole body is signed",
            );
        }
        if pieces.contains(&Piece::Timestamp) && self.timestamp.is_none() {
            return refuse(
                "timestamp",
                "is missing: the text that is signed has {timestamp}",
            );
        }
        if !pieces.contains(&Piece::Timestamp) && self.timestamp.is_some() {
            return refuse(
                "signed",
                "must have {timestamp}: one that is not signed proves nothing",
            );
        }
        if pieces.contains(&Piece::Id) && self.id.is_none() {
            return refuse("id", "is missing: the text that is signed has {id}");
        }
        match (self.algorithm.mac(), self.key) {
            (None, KeyForm::Public) | (Some(_), KeyForm::Text | KeyForm::Hex | KeyForm::Base64) => {
                Ok(())
            }
            (None, _) => refuse("key", "must be public for this algorithm"),
            (Some(_), KeyForm::Public) => refuse("key", "must be text, hex or base64"),
        }
    }

    pub(super) fn verify(
        &self,
        keys: &[Key],
        view: &View<'_>,
        tolerance_s: Option<u32>,
    ) -> Result<(), Reason> {
        if keys.is_empty() {
            return Err(Reason::NoSecret);
        }
        let places = [Some(&self.place), self.also.as_ref()];
        let mut values = Vec::with_capacity(2);
        for place in places.into_iter().flatten() {
            values.extend(view.read(place)?);
        }
        if values.is_empty() {
            return Err(Reason::Missing {
                what: self.place.to_string(),
            });
        }
        let encoded = self.encoded(&values)?;
        let timestamp = self.timestamp(&values, view, tolerance_s)?;
        let id = self.id.as_ref().map(|id| view.required(id)).transpose()?;
        let candidates = self.decoded(&encoded)?;
        self.check_cover(view)?;
        let known = Known {
            timestamp: timestamp.as_deref(),
            id: id.as_deref(),
        };
        let pieces = pieces(self.signed.as_ref()).expect("checked, or ours");
        let by_url = pieces.contains(&Piece::Url);
        let mut matches = false;
        for url in urls(view.inbound.url, by_url) {
            let parts = parts(&pieces, view, &known, &url)?;
            matches |= self.matches(keys, &candidates, &parts);
        }
        matches.then_some(()).ok_or(Reason::NoSecretMatches)
    }

    fn encoded<'v>(&self, values: &'v [Cow<'_, [u8]>]) -> Result<Vec<&'v [u8]>, Reason> {
        let what = || self.place.to_string();
        let found: Vec<&[u8]> = match &self.form {
            Form::Whole { prefix } => {
                let prefix = prefix.as_ref();
                let rest = |value: &'v Cow<'_, [u8]>| {
                    value
                        .strip_prefix(prefix.as_bytes())
                        .map(<[u8]>::trim_ascii)
                };
                let found: Vec<_> = values.iter().filter_map(rest).collect();
                if found.is_empty() {
                    return Err(Reason::PrefixMissing {
                        what: what(),
                        prefix: prefix.to_owned(),
                    });
                }
                found
            }
            Form::List { separator, prefix } => {
                let items = values.iter().flat_map(|value| items(value, *separator));
                items
                    .filter_map(|item| item.strip_prefix(prefix.as_ref().as_bytes()))
                    .take(SIGNATURES_READ_MAX)
                    .collect()
            }
            Form::Items { separator, name } => {
                let items = values.iter().flat_map(|value| items(value, *separator));
                items
                    .filter_map(|item| named(item, name.as_ref()))
                    .take(SIGNATURES_READ_MAX)
                    .collect()
            }
        };
        if found.is_empty() {
            return Err(Reason::NoKnownVersion { what: what() });
        }
        Ok(found)
    }

    fn timestamp<'v>(
        &self,
        values: &'v [Cow<'v, [u8]>],
        view: &View<'v>,
        tolerance_s: Option<u32>,
    ) -> Result<Option<Cow<'v, [u8]>>, Reason> {
        let Some(stamp) = &self.timestamp else {
            return Ok(None);
        };
        let text = match (&stamp.place, &self.form) {
            (Place::Item(item), Form::Items { separator, .. }) => {
                let mut found =
                    items(&values[0], *separator).filter_map(|part| named(part, item.as_ref()));
                let what = || stamp.place.to_string();
                let text = found
                    .next()
                    .ok_or_else(|| Reason::Missing { what: what() })?;
                if found.next().is_some() {
                    return Err(Reason::Repeated { what: what() });
                }
                Cow::Borrowed(text)
            }
            _ => view.required(&stamp.place)?,
        };
        let sent = stamp.unit.read(&text).ok_or(Reason::TimestampMalformed {
            unit: stamp.unit.described(),
        })?;
        let tolerance_s = u64::from(tolerance_s.unwrap_or(stamp.tolerance_s));
        check_time(sent, view.inbound.now, tolerance_s)?;
        Ok(Some(text))
    }

    fn decoded(&self, encoded: &[&[u8]]) -> Result<Vec<Vec<u8>>, Reason> {
        let decoded = encoded.iter().filter_map(|text| self.encoding.decode(text));
        let decoded: Vec<_> = decoded.collect();
        if decoded.is_empty() {
            return Err(Reason::NotEncoded {
                encoding: self.encoding.name(),
            });
        }
        let Some(wanted) = self.algorithm.signature_bytes() else {
            return Ok(decoded);
        };
        let bytes = decoded[0].len();
        let fitting: Vec<_> = decoded
            .into_iter()
            .filter(|one| one.len() == wanted)
            .collect();
        if fitting.is_empty() {
            return Err(Reason::WrongLength { bytes, wanted });
        }
        Ok(fitting)
    }

    fn check_cover(&self, view: &View<'_>) -> Result<(), Reason> {
        let Cover::FormOrHashInQuery(name) = &self.cover else {
            return Ok(());
        };
        let place = Place::Query(name.as_ref());
        let body = view.inbound.body;
        match view.read(&place)? {
            Some(given) => {
                let hash = encode_hex(digest::digest(&digest::SHA256, body).as_ref());
                let same = hash.as_bytes().ct_eq(&given.to_ascii_lowercase());
                bool::from(same).then_some(()).ok_or(Reason::BodyHashWrong)
            }
            None if body.is_empty() || view.is_form() => Ok(()),
            None => Err(Reason::BodyNotCovered {
                detail: "it is no form, and the URL does not have its hash",
            }),
        }
    }

    /// Tries every candidate with every key, so that the time taken says
    /// nothing about which came close.
    fn matches(&self, keys: &[Key], candidates: &[Vec<u8>], parts: &[Cow<'_, [u8]>]) -> bool {
        let mut matches = Choice::from(0);
        let mut whole = None;
        for key in keys {
            match key {
                Key::Hmac(key) => {
                    let mut context = hmac::Context::with_key(key);
                    for part in parts {
                        context.update(part);
                    }
                    let tag = context.sign();
                    for candidate in candidates {
                        matches |= tag.as_ref().ct_eq(candidate);
                    }
                }
                Key::Public { key, .. } => {
                    let whole = whole.get_or_insert_with(|| parts.concat());
                    let signing = self.algorithm.signing();
                    let good = |signed: &Vec<u8>| {
                        signing.is_some_and(|signing| key.verifies(signing, whole, signed))
                    };
                    matches |= Choice::from(u8::from(candidates.iter().any(good)));
                }
            }
        }
        bool::from(matches)
    }
}

impl<S: AsRef<str>> Recipe<S> {
    /// The same recipe, for an owner.
    #[must_use]
    pub fn owned(&self) -> Recipe<String> {
        let text = |text: &S| text.as_ref().to_owned();
        Recipe {
            place: self.place.owned(),
            also: self.also.as_ref().map(Place::owned),
            form: match &self.form {
                Form::Whole { prefix } => Form::Whole {
                    prefix: text(prefix),
                },
                Form::List { separator, prefix } => Form::List {
                    separator: *separator,
                    prefix: text(prefix),
                },
                Form::Items { separator, name } => Form::Items {
                    separator: *separator,
                    name: text(name),
                },
            },
            algorithm: self.algorithm,
            encoding: self.encoding,
            key: self.key,
            signed: text(&self.signed),
            timestamp: self.timestamp.as_ref().map(|stamp| Stamp {
                place: stamp.place.owned(),
                unit: stamp.unit,
                tolerance_s: stamp.tolerance_s,
            }),
            id: self.id.as_ref().map(Place::owned),
            cover: match &self.cover {
                Cover::Signed => Cover::Signed,
                Cover::FormOrHashInQuery(name) => Cover::FormOrHashInQuery(text(name)),
            },
        }
    }
}

/// Whether `sent` is near enough to now; a tolerance of 0 lets any pass.
pub(super) fn check_time(sent: Timestamp, now: Timestamp, tolerance_s: u64) -> Result<(), Reason> {
    let age_s = now.0.saturating_sub(sent.0) / 1000;
    let ahead_s = sent.0.saturating_sub(now.0) / 1000;
    if tolerance_s == 0 {
        return Ok(());
    }
    if age_s > tolerance_s {
        return Err(Reason::TooOld { age_s, tolerance_s });
    }
    if ahead_s > tolerance_s {
        return Err(Reason::InFuture {
            ahead_s,
            tolerance_s,
        });
    }
    Ok(())
}

fn items(value: &[u8], separator: char) -> impl Iterator<Item = &[u8]> {
    let separator = u8::try_from(separator).unwrap_or(b',');
    value
        .split(move |byte| *byte == separator)
        .map(<[u8]>::trim_ascii)
}

fn named<'a>(item: &'a [u8], name: &str) -> Option<&'a [u8]> {
    item.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// What was read of the request for the text that is signed.
struct Known<'a> {
    timestamp: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
}

/// The parts that are signed, one after the other.
fn parts<'p>(
    pieces: &[Piece<'p>],
    view: &'p View<'_>,
    known: &Known<'p>,
    url: &'p str,
) -> Result<Vec<Cow<'p, [u8]>>, Reason> {
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        parts.push(match *piece {
            Piece::Text(text) => Cow::Borrowed(text.as_bytes()),
            Piece::Body => Cow::Borrowed(view.inbound.body),
            Piece::Timestamp => Cow::Borrowed(known.timestamp.unwrap_or_default()),
            Piece::Id => Cow::Borrowed(known.id.unwrap_or_default()),
            Piece::Method => Cow::Borrowed(view.inbound.method.as_bytes()),
            Piece::Url => Cow::Borrowed(url.as_bytes()),
            Piece::Fields => Cow::Owned(fields(view)),
            Piece::Field(pointer) => view.required(&Place::Field(pointer))?,
            Piece::Header(name) => view.required(&Place::Header(name))?,
        });
    }
    Ok(parts)
}

/// A form's names and values, sorted by name, each pair once.
/// Source: Twilio, validating requests.
fn fields(view: &View<'_>) -> Vec<u8> {
    if !view.is_form() {
        return Vec::new();
    }
    let mut pairs: Vec<_> = view.form().iter().collect();
    pairs.sort();
    pairs.dedup();
    let mut text = Vec::new();
    for (name, value) in pairs {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(value.as_bytes());
    }
    text
}

/// The URL as the sender may have written it: as we know it, with the usual
/// port, and with those characters decoded that some decode before they sign.
fn urls(url: &str, is_signed: bool) -> Vec<Cow<'_, str>> {
    let mut all = vec![Cow::Borrowed(url)];
    if !is_signed {
        return all;
    }
    if let Some((scheme, rest)) = url.split_once("://") {
        let end = rest.find('/').unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        let port = if scheme == "https" { "443" } else { "80" };
        match host.rsplit_once(':') {
            None => all.push(format!("{scheme}://{host}:{port}{path}").into()),
            Some((bare, given)) if !given.contains(']') => {
                all.push(format!("{scheme}://{bare}{path}").into());
            }
            Some(_) => {}
        }
    }
    let decoded = decoded(url);
    if decoded != url {
        all.push(decoded.into());
    }
    all
}

/// Source: HubSpot, validating version 3 of its signature.
const DECODED: [(&str, &str); 14] = [
    ("%3A", ":"),
    ("%2F", "/"),
    ("%3F", "?"),
    ("%40", "@"),
    ("%21", "!"),
    ("%24", "$"),
    ("%27", "'"),
    ("%28", "("),
    ("%29", ")"),
    ("%2A", "*"),
    ("%2C", ","),
    ("%3B", ";"),
    ("%20", " "),
    ("%7E", "~"),
];

fn decoded(url: &str) -> String {
    let mut text = url.to_owned();
    for (escaped, plain) in DECODED {
        text = text.replace(escaped, plain);
        text = text.replace(&escaped.to_ascii_lowercase(), plain);
    }
    text
}
