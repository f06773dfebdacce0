//! Making, changing and deleting sources: every rule about their fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Control, ControlError, FieldError, answer_errors};
use crate::domain::answer::{AnswerChange, FixedAnswer};
use crate::domain::endpoint::MASKED;
use crate::domain::header;
use crate::domain::ids::{ApplicationKey, EndpointKey};
use crate::domain::message::is_event_type;
use crate::domain::principal::Principal;
use crate::domain::record::RECORD_HEADERS_MAX;
use crate::domain::request::takes_requests;
use crate::domain::secret::Secret;
use crate::domain::source::{
    AnswerRule, Dedupe, EventTypeRule, Limits, LiveSource, METHODS, RecordRule, SourceChange,
    WAIT_SECONDS, check_slug,
};
use crate::domain::verification::{
    Algorithm, Cover, Encoding, Form, IP_RANGES_MAX, KeyForm, Place, Recipe, SECRET_BYTES_MAX,
    SECRETS_MAX, Stamp, TOLERANCES_S, Unit, Verification, Verifier, presets,
};
use crate::engine::receive::INBOX_PATH;
use crate::store::{Idempotent, Refusal, Written};

/// Random bytes in the slug of a source that none was chosen for.
const SLUG_BYTES: usize = 16;

/// What a caller gives for a source, as texts. `None`: left out.
#[derive(Clone, Debug, Default)]
pub struct SourceInput {
    pub name: Option<String>,
    /// Id or uid; only when one is made.
    pub application: Option<String>,
    pub slug: Option<String>,
    pub enabled: Option<bool>,
    pub verification: Option<VerificationInput>,
    pub event_type: Option<NamingInput>,
    pub dedupe: Option<NamingInput>,
    pub record: Option<RecordInput>,
    pub answer: Option<AnswerInput>,
    pub limits: Option<LimitsInput>,
}

#[derive(Clone, Debug, Default)]
pub struct VerificationInput {
    pub preset: Option<String>,
    pub secrets: Option<Vec<String>>,
    /// What is not one of the other fields, by name.
    pub settings: BTreeMap<String, String>,
    pub tolerance_s: Option<u32>,
    pub ip_ranges: Option<Vec<String>>,
    pub signature: Option<SignatureInput>,
}

/// A place, by one of its names.
#[derive(Clone, Debug, Default)]
pub struct PlaceInput {
    pub header: Option<String>,
    pub field: Option<String>,
    pub query: Option<String>,
    pub item: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct SignatureInput {
    pub place: PlaceInput,
    pub prefix: Option<String>,
    pub separator: Option<String>,
    pub algorithm: Option<String>,
    pub encoding: Option<String>,
    pub key: Option<String>,
    pub signed: Option<String>,
    pub timestamp: Option<(PlaceInput, Option<String>)>,
    pub id: Option<PlaceInput>,
}

impl SignatureInput {
    /// Whether nothing is said.
    fn is_empty(&self) -> bool {
        let PlaceInput {
            header,
            field,
            query,
            item,
        } = &self.place;
        let place = [header, field, query, item];
        let words = [
            &self.prefix,
            &self.separator,
            &self.algorithm,
            &self.encoding,
            &self.key,
            &self.signed,
        ];
        place.into_iter().chain(words).all(Option::is_none)
            && self.timestamp.is_none()
            && self.id.is_none()
    }
}

/// Where something is told, or what it is.
#[derive(Clone, Debug, Default)]
pub struct NamingInput {
    pub fixed: Option<String>,
    pub place: PlaceInput,
    pub fallback: Option<String>,
    pub by: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct RecordInput {
    pub key: Option<String>,
    pub headers: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default)]
pub struct AnswerInput {
    pub fixed: AnswerChange,
    pub endpoint: Option<String>,
    pub timeout_seconds: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct LimitsInput {
    pub body_bytes: Option<u32>,
    pub per_second: Option<u32>,
    pub methods: Option<Vec<String>>,
}

impl Control {
    /// Makes a source.
    pub async fn create_source(
        &self,
        principal: Principal,
        input: SourceInput,
        idempotent: Option<Idempotent<Arc<LiveSource>>>,
    ) -> Result<Written<Arc<LiveSource>>, ControlError> {
        let mut errors = Vec::new();
        let application = self.application_of(principal, input.application.as_deref())?;
        if application.is_none() {
            let detail = if input.application.is_none() {
                "is missing: the id or uid of the application that gets the messages"
            } else {
                "is no application that you can see"
            };
            errors.push(FieldError::new("application", detail));
        }
        if input.verification.is_none() {
            let detail = "is missing: how its requests are verified";
            errors.push(FieldError::new("verification", detail));
        }
        let mut change = self.checked(application, input, None, errors)?;
        if change.slug.is_none() {
            let mut random = [0; SLUG_BYTES];
            self.entropy.fill(&mut random);
            change.slug = Some(format!("{:032x}", u128::from_be_bytes(random)));
        }
        let application = application.ok_or(Refusal::NoApplication)?;
        Ok(self
            .store
            .create_source(principal, application, change, idempotent)
            .await?)
    }

    fn application_of(
        &self,
        principal: Principal,
        named: Option<&str>,
    ) -> Result<Option<ApplicationKey>, ControlError> {
        let Some(named) = named else {
            return Ok(principal.scope.application);
        };
        let found = self.store.find_application(principal.scope, named)?;
        Ok(found.map(|entry| entry.application.key))
    }

    /// The source with this id or slug, if the caller's scope covers it.
    #[must_use]
    pub fn source(&self, principal: Principal, id_or_slug: &str) -> Option<Arc<LiveSource>> {
        self.store.find_source(principal.scope, id_or_slug)
    }

    /// Changes what `input` names; what it leaves out stays.
    pub async fn update_source(
        &self,
        principal: Principal,
        source: &LiveSource,
        input: SourceInput,
    ) -> Result<Arc<LiveSource>, ControlError> {
        let mut errors = Vec::new();
        let application = source.settings.application;
        if input.application.is_some() {
            let named = self.application_of(principal, input.application.as_deref())?;
            if named != Some(application) {
                let detail = "cannot be changed: make another source for another application";
                errors.push(FieldError::new("application", detail));
            }
        }
        let change = self.checked(Some(application), input, Some(source), errors)?;
        Ok(self
            .store
            .update_source(principal, source.settings.key, change)
            .await?)
    }

    /// The URL of a source.
    #[must_use]
    pub fn source_url(&self, source: &LiveSource) -> String {
        format!("{}{INBOX_PATH}{}", self.public_url, source.settings.slug)
    }

    fn checked(
        &self,
        application: Option<ApplicationKey>,
        input: SourceInput,
        before: Option<&LiveSource>,
        mut errors: Vec<FieldError>,
    ) -> Result<SourceChange, ControlError> {
        if let Some(slug) = &input.slug
            && before.is_none_or(|before| before.settings.slug != *slug)
            && let Err(detail) = check_slug(slug)
        {
            errors.push(FieldError::new("slug", detail));
        }
        let verification = input
            .verification
            .and_then(|given| verification(given, before, &mut errors));
        let event_type = input
            .event_type
            .and_then(|given| event_type(given, &mut errors));
        let dedupe = input.dedupe.and_then(|given| dedupe(given, &mut errors));
        let record = input.record.map(|given| record(given, &mut errors));
        let answer = match (input.answer, application) {
            (Some(given), Some(application)) => self.answer(application, given, &mut errors)?,
            _ => None,
        };
        let limits = input.limits.map(|given| limits(given, &mut errors));
        if !errors.is_empty() {
            return Err(ControlError::Invalid(errors));
        }
        Ok(SourceChange {
            name: input.name,
            slug: input.slug,
            enabled: input.enabled,
            verification,
            event_type,
            dedupe,
            record,
            answer,
            limits,
        })
    }

    fn answer(
        &self,
        application: ApplicationKey,
        given: AnswerInput,
        errors: &mut Vec<FieldError>,
    ) -> Result<Option<AnswerRule>, ControlError> {
        let fixed = !given.fixed.is_empty();
        let Some(named) = given.endpoint.clone() else {
            if given.timeout_seconds.is_some() {
                let detail = "is only for an answer that an endpoint gives";
                errors.push(FieldError::new("answer.timeoutSeconds", detail));
            }
            return Ok(if fixed {
                fixed_answer(given.fixed, errors)
            } else {
                Some(AnswerRule::Preset)
            });
        };
        if fixed {
            let detail = "is either an endpoint's or a fixed one, not both";
            errors.push(FieldError::new("answer", detail));
        }
        let seconds = given.timeout_seconds.unwrap_or(10);
        if !WAIT_SECONDS.contains(&seconds) {
            let detail = format!("must be {} to {}", WAIT_SECONDS.start(), WAIT_SECONDS.end());
            errors.push(FieldError::new("answer.timeoutSeconds", detail));
        }
        let Some(endpoint) = self.endpoint_of(application, &named)? else {
            let detail = "is no endpoint of the application";
            errors.push(FieldError::new("answer.endpoint", detail));
            return Ok(None);
        };
        let live = self.store.live_endpoint(endpoint)?;
        if live.is_some_and(|live| takes_requests(&live.settings)) {
            let detail = "takes requests, and no messages: it signs by optech alone";
            errors.push(FieldError::new("answer.endpoint", detail));
            return Ok(None);
        }
        Ok(u8::try_from(seconds)
            .ok()
            .map(|seconds| AnswerRule::Endpoint { endpoint, seconds }))
    }

    fn endpoint_of(
        &self,
        application: ApplicationKey,
        id_or_uid: &str,
    ) -> Result<Option<EndpointKey>, ControlError> {
        let entry = self.store.application(application)?;
        let wanted = self.store.ids().parse::<EndpointKey>(id_or_uid);
        Ok(entry.and_then(|entry| {
            let fits = |settings: &crate::domain::endpoint::Endpoint| match wanted {
                Some(key) => settings.key == key,
                None => settings.uid.as_deref() == Some(id_or_uid),
            };
            let mut all = entry.endpoints.iter();
            all.find(|live| fits(&live.settings))
                .map(|live| live.settings.key)
        }))
    }
}

fn fixed_answer(given: AnswerChange, errors: &mut Vec<FieldError>) -> Option<AnswerRule> {
    let wrong = answer_errors(&given, |part| format!("answer.{part}"));
    if !wrong.is_empty() {
        errors.extend(wrong);
        return None;
    }
    let mut answer = FixedAnswer::ok("");
    given.apply(&mut answer);
    Some(AnswerRule::Fixed(answer))
}

fn verification(
    given: VerificationInput,
    before: Option<&LiveSource>,
    errors: &mut Vec<FieldError>,
) -> Option<Verification> {
    let at = |field: &str| format!("verification.{field}");
    let start = errors.len();
    let before = before.map(|before| &before.settings.verification);
    let same = |name: &String| before.filter(|before| before.preset == *name);
    let preset = given
        .preset
        .or_else(|| before.map(|before| before.preset.clone()));
    let Some(preset) = preset else {
        let detail = format!("is missing: one of {}", presets::names());
        errors.push(FieldError::new(at("preset"), detail));
        return None;
    };
    let kept = same(&preset);
    let mut settings: BTreeMap<String, String> =
        kept.map(|kept| kept.settings.clone()).unwrap_or_default();
    for (name, value) in given.settings {
        if value.is_empty() {
            settings.remove(&name);
        } else if value != MASKED || !settings.contains_key(&name) {
            settings.insert(name, value);
        }
    }
    let secrets = match given.secrets {
        Some(secrets) if !secrets.is_empty() => secrets_of(secrets, errors),
        _ => kept.map(|kept| kept.secrets.clone()).unwrap_or_default(),
    };
    if let Some(tolerance_s) = given.tolerance_s
        && !TOLERANCES_S.contains(&tolerance_s)
    {
        let detail = "must be 0 to 86400; 0 lets any timestamp pass";
        errors.push(FieldError::new(at("toleranceSeconds"), detail));
    }
    let ip_ranges = match given.ip_ranges {
        Some(ranges) => ranges_of(&ranges, errors),
        None => kept.map(|kept| kept.ip_ranges.clone()).unwrap_or_default(),
    };
    let recipe = match given.signature.filter(|given| !given.is_empty()) {
        Some(signature) => recipe(signature, errors),
        None => kept.and_then(|kept| kept.recipe.clone()),
    };
    if errors.len() > start {
        return None;
    }
    let verification = Verification {
        preset,
        secrets,
        settings,
        recipe,
        tolerance_s: given.tolerance_s.or(kept.and_then(|kept| kept.tolerance_s)),
        ip_ranges,
    };
    match Verifier::new(&verification) {
        Ok(_) => Some(verification),
        Err(refusals) => {
            let refusals = refusals.into_iter();
            errors.extend(refusals.map(|one| FieldError::new(at(&one.field), one.detail)));
            None
        }
    }
}

fn secrets_of(texts: Vec<String>, errors: &mut Vec<FieldError>) -> Vec<Secret> {
    if texts.len() > SECRETS_MAX {
        let detail = format!("must have at most {SECRETS_MAX} items");
        errors.push(FieldError::new("verification.secrets", detail));
    }
    for (at, text) in texts.iter().enumerate() {
        if text.is_empty() || text.len() > SECRET_BYTES_MAX {
            let path = format!("verification.secrets[{at}]");
            let detail = format!("must have 1 to {SECRET_BYTES_MAX} bytes");
            errors.push(FieldError::new(path, detail));
        }
    }
    texts.into_iter().map(Secret::new).collect()
}

fn ranges_of(texts: &[String], errors: &mut Vec<FieldError>) -> Vec<ipnet::IpNet> {
    if texts.len() > IP_RANGES_MAX {
        let detail = format!("must have at most {IP_RANGES_MAX} items");
        errors.push(FieldError::new("verification.ipRanges", detail));
    }
    let mut ranges = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let text = text.trim();
        let address = text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
        let Ok(range) = text.parse().or(address) else {
            let path = format!("verification.ipRanges[{at}]");
            let detail = "must be an address or a network, such as 192.0.2.0/24";
            errors.push(FieldError::new(path, detail));
            continue;
        };
        ranges.push(range);
    }
    ranges
}

/// A place that is named by exactly one of its fields.
fn place(
    given: PlaceInput,
    path: &str,
    with_item: bool,
    errors: &mut Vec<FieldError>,
) -> Option<Place<String>> {
    let PlaceInput {
        header,
        field,
        query,
        item,
    } = given;
    let item = item.filter(|_| with_item);
    let all = [
        header.is_some(),
        field.is_some(),
        query.is_some(),
        item.is_some(),
    ];
    if all.iter().filter(|given| **given).count() != 1 {
        let names = if with_item {
            "header, field, query and item"
        } else {
            "header, field and query"
        };
        errors.push(FieldError::new(
            path,
            format!("must have exactly one of {names}"),
        ));
        return None;
    }
    if let Some(name) = header {
        if !header::is_name(&name) {
            let detail = "must be a header name, such as x-signature";
            errors.push(FieldError::new(format!("{path}.header"), detail));
            return None;
        }
        return Some(Place::Header(name.to_ascii_lowercase()));
    }
    if let Some(field) = field {
        return Some(Place::Field(pointer(field)));
    }
    Some(match (query, item) {
        (Some(name), _) => Place::Query(name),
        (_, item) => Place::Item(item.unwrap_or_default()),
    })
}

/// A name at the top is a pointer to it.
fn pointer(field: String) -> String {
    if field.starts_with('/') {
        field
    } else {
        format!("/{}", field.replace('~', "~0").replace('/', "~1"))
    }
}

fn word<T>(
    given: Option<String>,
    (path, names): (&str, &[&str]),
    usual: T,
    read: impl Fn(&str) -> Option<T>,
    errors: &mut Vec<FieldError>,
) -> T {
    let Some(given) = given else {
        return usual;
    };
    read(&given).unwrap_or_else(|| {
        let detail = format!("must be one of {}", names.join(", "));
        errors.push(FieldError::new(path, detail));
        usual
    })
}

fn recipe(given: SignatureInput, errors: &mut Vec<FieldError>) -> Option<Recipe<String>> {
    const AT: &str = "verification.signature";
    let start = errors.len();
    let item = given.place.item.clone();
    let place_of = PlaceInput {
        item: None,
        ..given.place
    };
    let signature = place(place_of, AT, false, errors);
    let separator = given.separator.as_deref().map(|text| {
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(one), None) if one.is_ascii() && !one.is_ascii_alphanumeric() => one,
            _ => {
                let path = format!("{AT}.separator");
                errors.push(FieldError::new(
                    path,
                    "must be one character, such as a comma",
                ));
                ','
            }
        }
    });
    let prefix = given.prefix.unwrap_or_default();
    let form = match (item, separator) {
        (Some(name), separator) => Form::Items {
            separator: separator.unwrap_or(','),
            name,
        },
        (None, Some(separator)) => Form::List { separator, prefix },
        (None, None) => Form::Whole { prefix },
    };
    let path = |field: &str| format!("{AT}.{field}");
    let algorithm = word(
        given.algorithm,
        (&path("algorithm"), &Algorithm::NAMES),
        Algorithm::HmacSha256,
        Algorithm::from_name,
        errors,
    );
    let encoding = word(
        given.encoding,
        (&path("encoding"), &Encoding::NAMES),
        Encoding::Hex,
        Encoding::from_name,
        errors,
    );
    let usual = match algorithm {
        Algorithm::Ed25519 | Algorithm::EcdsaP256 | Algorithm::RsaSha256 => KeyForm::Public,
        _ => KeyForm::Text,
    };
    let names = (&*path("key"), &KeyForm::NAMES[..]);
    let key = word(given.key, names, usual, KeyForm::from_name, errors);
    let timestamp = given.timestamp.and_then(|(at, unit)| {
        let names = (&*path("timestamp.unit"), &Unit::NAMES[..]);
        let unit = word(unit, names, Unit::Seconds, Unit::from_name, errors);
        Some(Stamp {
            place: place(at, &path("timestamp"), true, errors)?,
            unit,
            tolerance_s: 300,
        })
    });
    let id = given
        .id
        .and_then(|at| place(at, &path("id"), false, errors));
    if errors.len() > start {
        return None;
    }
    let recipe = Recipe {
        place: signature?,
        also: None,
        form,
        algorithm,
        encoding,
        key,
        signed: given.signed.unwrap_or_else(|| "{body}".to_owned()),
        timestamp,
        id,
        cover: Cover::Signed,
    };
    match recipe.check() {
        Ok(()) => Some(recipe),
        Err(refusal) => {
            errors.push(FieldError::new(path(&refusal.field), refusal.detail));
            None
        }
    }
}

fn event_type(given: NamingInput, errors: &mut Vec<FieldError>) -> Option<EventTypeRule> {
    const FORM: &str = "must have only letters, digits, '-', '_' and '.'";
    if let Some(name) = given.fixed {
        if !is_event_type(&name) {
            errors.push(FieldError::new("eventType.fixed", FORM));
        }
        return Some(EventTypeRule::Fixed(name));
    }
    let PlaceInput {
        header,
        field,
        query,
        ..
    } = &given.place;
    if header.is_none() && field.is_none() && query.is_none() {
        return Some(EventTypeRule::Preset);
    }
    if let Some(fallback) = &given.fallback
        && !is_event_type(fallback)
    {
        errors.push(FieldError::new("eventType.fallback", FORM));
    }
    Some(EventTypeRule::At {
        place: place(given.place, "eventType", false, errors)?,
        fallback: given.fallback,
    })
}

fn dedupe(given: NamingInput, errors: &mut Vec<FieldError>) -> Option<Dedupe> {
    match given.by.as_deref() {
        None => place(given.place, "dedupe", false, errors).map(Dedupe::At),
        Some("preset") => Some(Dedupe::Preset),
        Some("body") => Some(Dedupe::Body),
        Some("nothing") => Some(Dedupe::Off),
        Some(_) => {
            let detail = "must be preset, body or nothing; or give header, field or query";
            errors.push(FieldError::new("dedupe.by", detail));
            None
        }
    }
}

fn record(given: RecordInput, errors: &mut Vec<FieldError>) -> Option<RecordRule> {
    let headers = given.headers.unwrap_or_default();
    let Some(key) = given.key.filter(|key| !key.is_empty()) else {
        if !headers.is_empty() {
            let detail = "is missing: the field that names a record";
            errors.push(FieldError::new("record.key", detail));
        }
        return None;
    };
    if headers.len() > RECORD_HEADERS_MAX {
        let detail = format!("must have at most {RECORD_HEADERS_MAX} items");
        errors.push(FieldError::new("record.headers", detail));
    }
    for (at, name) in headers.iter().enumerate() {
        if !header::is_name(name) || header::is_authenticating(name) {
            let detail = "must be a header name, and not one that says who asks";
            errors.push(FieldError::new(format!("record.headers[{at}]"), detail));
        }
    }
    Some(RecordRule { key, headers })
}

fn limits(given: LimitsInput, errors: &mut Vec<FieldError>) -> Limits {
    let methods = given.methods.filter(|methods| !methods.is_empty());
    for (at, method) in methods.iter().flatten().enumerate() {
        if !METHODS.contains(&method.as_str()) {
            let path = format!("limits.methods[{at}]");
            let detail = format!("must be one of {}", METHODS.join(", "));
            errors.push(FieldError::new(path, detail));
        }
    }
    Limits {
        body_bytes_max: given.body_bytes.filter(|bytes| *bytes > 0),
        rate: given.per_second.filter(|rate| *rate > 0),
        methods,
    }
}
