//! `/sources`: where other people's webhooks come in.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{absent, idempotent, written};
use crate::control::Control;
use crate::domain::endpoint::MASKED;
use crate::domain::ids::Ids;
use crate::domain::source::{AnswerRule, Counts, Dedupe, EventTypeRule, LiveSource, RecordRule};
use crate::domain::time::Timestamp;
use crate::domain::verification::presets::{self, Preset};
use crate::domain::verification::{Form, Place, Recipe, SettingKind};
use crate::http::answer::{json, to_json};
use crate::http::auth::Caller;
use crate::http::body::{self, SETTINGS_BYTES_MAX};
use crate::http::paging::Params;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::source_input;
use crate::http::state::AppState;
use crate::store::{Refusal, Store};

/// What counts are shown of: a day.
pub(super) const COUNTED_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Source)]
pub(super) struct Shape {
    id: String,
    /// What people call it.
    name: String,
    /// The id of the application that gets the messages.
    application: String,
    /// The end of its URL.
    slug: String,
    /// What the sender has to be given.
    url: String,
    /// Whether it takes anything.
    enabled: bool,
    /// How its requests are verified.
    verification: VerificationShape,
    /// How the message is called.
    event_type: NamingShape,
    /// What tells that an event came before.
    dedupe: NamingShape,
    /// How records are kept; without a `key` none are.
    record: RecordRuleShape,
    /// What is answered to an event that was taken.
    answer: AnswerShape,
    /// What it takes.
    limits: LimitsShape,
    /// What came in the last 24 hours.
    counts: CountsShape,
    created: Timestamp,
    updated: Timestamp,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Verification)]
pub(super) struct VerificationShape {
    /// One of `/source-presets`.
    preset: &'static str,
    /// Always empty; reading them is a call of its own.
    secrets: [String; 0],
    /// How many there are.
    secret_count: usize,
    /// Seconds that a timestamp may be away, where that is chosen.
    tolerance_seconds: Option<u32>,
    /// If there are any, a request must come from one of these.
    ip_ranges: Vec<String>,
    /// For the preset `custom`; otherwise without fields.
    signature: SignatureShape,
    /// What the preset asks for besides; secret ones are masked.
    #[serde(flatten)]
    settings: BTreeMap<String, String>,
}

/// A place, by one of its names.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = Place)]
pub(super) struct PlaceShape {
    /// The name of a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    /// A JSON pointer into the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// A parameter of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    /// An item of the signature's header.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<String>,
}

impl From<&Place<String>> for PlaceShape {
    fn from(place: &Place<String>) -> Self {
        let mut shape = Self::default();
        match place {
            Place::Header(name) => shape.header = Some(name.clone()),
            Place::Field(pointer) => shape.field = Some(pointer.clone()),
            Place::Query(name) => shape.query = Some(name.clone()),
            Place::Item(name) => shape.item = Some(name.clone()),
        }
        shape
    }
}

/// How a sender signs, by its parts.
#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SourceSignature)]
pub(super) struct SignatureShape {
    #[serde(flatten)]
    place: PlaceShape,
    /// What stands before each signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    /// What parts several.
    #[serde(skip_serializing_if = "Option::is_none")]
    separator: Option<char>,
    /// How it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'static str>,
    /// How it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    /// How a secret's text becomes a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'static str>,
    /// The text that is signed, with its places.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed: Option<String>,
    /// Where the time of sending stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<StampShape>,
    /// Where the id stands that is signed with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<PlaceShape>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SourceTimestamp)]
pub(super) struct StampShape {
    #[serde(flatten)]
    place: PlaceShape,
    /// What it is counted in.
    unit: &'static str,
}

fn signature(recipe: &Recipe<String>) -> SignatureShape {
    let mut place = PlaceShape::from(&recipe.place);
    let (prefix, separator) = match &recipe.form {
        Form::Whole { prefix } => (Some(prefix.clone()), None),
        Form::List { separator, prefix } => (Some(prefix.clone()), Some(*separator)),
        Form::Items { separator, name } => {
            place.item = Some(name.clone());
            (None, Some(*separator))
        }
    };
    SignatureShape {
        place,
        prefix,
        separator,
        algorithm: Some(recipe.algorithm.name()),
        encoding: Some(recipe.encoding.name()),
        key: Some(recipe.key.name()),
        signed: Some(recipe.signed.clone()),
        timestamp: recipe.timestamp.as_ref().map(|stamp| StampShape {
            place: (&stamp.place).into(),
            unit: stamp.unit.name(),
        }),
        id: recipe.id.as_ref().map(PlaceShape::from),
    }
}

/// Where something is told, or what it is.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = Naming)]
pub(super) struct NamingShape {
    /// Always this.
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed: Option<String>,
    #[serde(flatten)]
    place: PlaceShape,
    /// Where nothing stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
    /// `preset`, `body` or `nothing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
}

fn by(what: &'static str) -> NamingShape {
    NamingShape {
        by: Some(what),
        ..NamingShape::default()
    }
}

fn event_type(rule: &EventTypeRule) -> NamingShape {
    match rule {
        EventTypeRule::Preset => by("preset"),
        EventTypeRule::Fixed(name) => NamingShape {
            fixed: Some(name.clone()),
            ..NamingShape::default()
        },
        EventTypeRule::At { place, fallback } => NamingShape {
            place: place.into(),
            fallback: fallback.clone(),
            ..NamingShape::default()
        },
    }
}

fn dedupe(rule: &Dedupe) -> NamingShape {
    match rule {
        Dedupe::Preset => by("preset"),
        Dedupe::Off => by("nothing"),
        Dedupe::Body => by("body"),
        Dedupe::At(place) => NamingShape {
            place: place.into(),
            ..NamingShape::default()
        },
    }
}

#[derive(Default, Serialize, ToSchema)]
#[schema(as = RecordRule)]
pub(super) struct RecordRuleShape {
    /// The field that names a record, or a JSON pointer.
    key: String,
    /// Headers that are fields too.
    headers: Vec<String>,
}

impl From<&RecordRule> for RecordRuleShape {
    fn from(rule: &RecordRule) -> Self {
        Self {
            key: rule.key.clone(),
            headers: rule.headers.clone(),
        }
    }
}

/// What is answered to an event that was taken: fixed, or an endpoint's.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SourceAnswer)]
pub(super) struct AnswerShape {
    /// The status; null when an endpoint answers.
    status: Option<u16>,
    /// The content type; null when an endpoint answers.
    content_type: Option<String>,
    /// Further headers.
    headers: BTreeMap<String, String>,
    /// The body; null when an endpoint answers.
    body: Option<String>,
    /// The id of the endpoint whose answer is passed on.
    endpoint: Option<String>,
    /// How long its answer is waited for.
    timeout_seconds: Option<u8>,
}

fn answer(source: &LiveSource, ids: &Ids) -> AnswerShape {
    let fixed = match &source.settings.answer {
        AnswerRule::Endpoint { endpoint, seconds } => {
            return AnswerShape {
                status: None,
                content_type: None,
                headers: BTreeMap::new(),
                body: None,
                endpoint: Some(ids.text(*endpoint)),
                timeout_seconds: Some(*seconds),
            };
        }
        AnswerRule::Preset => source.verifier.preset.answer.into(),
        AnswerRule::Fixed(fixed) => fixed.clone(),
    };
    AnswerShape {
        status: Some(fixed.status),
        content_type: Some(fixed.content_type),
        headers: fixed.headers.into_iter().collect(),
        body: Some(fixed.body),
        endpoint: None,
        timeout_seconds: None,
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SourceLimits)]
pub(super) struct LimitsShape {
    /// Bytes of a request's body; null: as for messages.
    body_bytes: Option<u32>,
    /// Requests a second; null: no limit of its own.
    per_second: Option<u32>,
    /// Methods that are taken, besides those of handshakes.
    methods: Vec<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SourceCounts)]
pub(super) struct CountsShape {
    /// Events that became messages.
    accepted: u64,
    /// Requests that were turned away.
    rejected: u64,
    /// Events that had come before.
    duplicate: u64,
    /// Questions of the provider that were answered.
    handshake: u64,
}

impl From<Counts> for CountsShape {
    fn from(counts: Counts) -> Self {
        Self {
            accepted: counts.accepted,
            rejected: counts.rejected,
            duplicate: counts.duplicate,
            handshake: counts.handshake,
        }
    }
}

fn shape(source: &LiveSource, control: &Control, counts: Counts) -> Shape {
    let ids = control.store.ids();
    let settings = &source.settings;
    let verification = &settings.verification;
    let kind = |name: &str| {
        let mut all = source.verifier.preset.settings.iter();
        all.find(|setting| setting.name == name)
            .map(|setting| setting.kind)
    };
    let shown = |(name, value): (&String, &String)| {
        let secret = kind(name) == Some(SettingKind::Secret);
        let value = if secret { MASKED } else { value };
        (name.clone(), value.to_owned())
    };
    Shape {
        id: ids.text(settings.key),
        name: settings.name.clone(),
        application: ids.text(settings.application),
        slug: settings.slug.clone(),
        url: control.source_url(source),
        enabled: settings.enabled,
        verification: VerificationShape {
            preset: source.verifier.preset.name,
            secrets: [],
            secret_count: verification.secrets.len(),
            tolerance_seconds: verification.tolerance_s,
            ip_ranges: verification
                .ip_ranges
                .iter()
                .map(ToString::to_string)
                .collect(),
            signature: verification
                .recipe
                .as_ref()
                .map(signature)
                .unwrap_or_default(),
            settings: verification.settings.iter().map(shown).collect(),
        },
        event_type: event_type(&settings.event_type),
        dedupe: dedupe(&settings.dedupe),
        record: settings
            .record
            .as_ref()
            .map(RecordRuleShape::from)
            .unwrap_or_default(),
        answer: answer(source, ids),
        limits: LimitsShape {
            body_bytes: settings.limits.body_bytes_max,
            per_second: settings.limits.rate,
            methods: settings
                .limits
                .methods
                .clone()
                .unwrap_or_else(|| vec!["POST".to_owned()]),
        },
        counts: counts.into(),
        created: settings.created,
        updated: settings.updated,
    }
}

/// What a source counted in the last day.
pub(super) fn counted(
    source: &LiveSource,
    store: &Store,
    now: Timestamp,
) -> Result<Counts, Problem> {
    let since = Timestamp(now.0.saturating_sub(COUNTED_MS));
    Ok(store.source_counts(source.settings.key, since)?)
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
    params: Params,
) -> Result<Response, Problem> {
    let control = state.control();
    let found = match params.get("application") {
        None => None,
        Some(app) => super::application(&state, principal, app)?,
    };
    let expected = "the id or uid of an application";
    let application = params.parsed("application", expected, |_| {
        found.map(|one| one.application.key)
    })?;
    let sources = state.store.list_sources(principal.scope, application);
    let now = state.clock.now();
    let mut shapes = Vec::with_capacity(sources.len());
    for source in &sources {
        let counts = counted(source, &state.store, now)?;
        shapes.push(shape(source, &control, counts));
    }
    Ok(json(StatusCode::OK, &shapes))
}

pub(super) async fn create(
    State(state): State<AppState>,
    Caller(principal): Caller,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let control = state.control();
    let rendering = control.clone();
    let render = move |source: &Arc<LiveSource>| -> (StatusCode, Bytes) {
        let shape = shape(source, &rendering, Counts::default());
        (StatusCode::CREATED, to_json(&shape))
    };
    let idempotent = idempotent(&headers, principal, uri.path(), render.clone())?;
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    if let Some(repeated) = state.store.repeated(idempotent.as_ref())? {
        let repeated = crate::store::Written::<Arc<LiveSource>>::Repeated(repeated);
        return Ok(written(repeated, render));
    }
    let input = source_input::read(&body)?;
    let made = control.create_source(principal, input, idempotent).await?;
    Ok(written(made, render))
}

/// The source in a path.
pub(super) fn required(
    state: &AppState,
    principal: crate::domain::principal::Principal,
    id_or_slug: &str,
) -> Result<Arc<LiveSource>, Problem> {
    let found = state.control().source(principal, id_or_slug);
    found.ok_or_else(|| Refusal::NoSource.into())
}

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(src): Path<String>,
) -> Result<Response, Problem> {
    let control = state.control();
    let Some(source) = control.source(principal, &src) else {
        return Ok(absent());
    };
    let counts = counted(&source, &state.store, state.clock.now())?;
    Ok(json(StatusCode::OK, &shape(&source, &control, counts)))
}

pub(super) async fn update(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(src): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let control = state.control();
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let source = required(&state, principal, &src)?;
    let input = source_input::read(&body)?;
    let changed = control.update_source(principal, &source, input).await?;
    let counts = counted(&changed, &state.store, state.clock.now())?;
    Ok(json(StatusCode::OK, &shape(&changed, &control, counts)))
}

pub(super) async fn delete(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(src): Path<String>,
) -> Result<Response, Problem> {
    let control = state.control();
    let source = required(&state, principal, &src)?;
    let counts = counted(&source, &state.store, state.clock.now())?;
    let deleted = state
        .store
        .delete_source(principal, source.settings.key)
        .await?;
    Ok(json(StatusCode::OK, &shape(&deleted, &control, counts)))
}

#[derive(Serialize, ToSchema)]
#[schema(as = SourceSecrets)]
pub(super) struct SecretsShape {
    /// Newest first.
    secrets: Vec<String>,
    /// The settings that are masked elsewhere.
    settings: BTreeMap<String, String>,
}

/// The secrets of a source. That they were read is in the audit log.
pub(super) async fn secrets(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(src): Path<String>,
) -> Result<Response, Problem> {
    let Some(source) = state.control().source(principal, &src) else {
        return Ok(absent());
    };
    let source = state
        .store
        .read_source_secrets(principal, source.settings.key)
        .await?;
    let verification = &source.settings.verification;
    let secrets = verification.secrets.iter();
    let mut settings = verification.settings.clone();
    settings.retain(|name, _| {
        let mut all = source.verifier.preset.settings.iter();
        all.any(|setting| setting.name == name && setting.kind == SettingKind::Secret)
    });
    let shape = SecretsShape {
        secrets: secrets.map(|secret| secret.expose().to_owned()).collect(),
        settings,
    };
    Ok(json(StatusCode::OK, &shape))
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SourcePreset)]
pub(super) struct PresetShape {
    /// For `verification.preset`.
    name: &'static str,
    /// For people.
    label: &'static str,
    /// What the secret is; empty when there is none.
    secret: &'static str,
    /// Whether a secret has to be given.
    secret_required: bool,
    /// What it asks for besides.
    settings: Vec<SettingShape>,
    /// What to do over there, in order.
    steps: &'static [&'static str],
    /// The provider's own page about it; may be empty.
    page: &'static str,
    /// Handshakes that are answered.
    handshakes: Vec<&'static str>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SourcePresetSetting)]
pub(super) struct SettingShape {
    /// As it stands in `verification`.
    name: &'static str,
    /// For people.
    label: &'static str,
    /// Whether it has to be given.
    required: bool,
}

fn preset(preset: &'static Preset) -> PresetShape {
    let setting = |setting: &'static presets::Setting| SettingShape {
        name: setting.name,
        label: setting.label,
        required: setting.required,
    };
    PresetShape {
        name: preset.name,
        label: preset.label,
        secret: preset.secret.label(),
        secret_required: preset.secret.is_required(),
        settings: preset.settings.iter().map(setting).collect(),
        steps: preset.steps,
        page: preset.page,
        handshakes: preset.handshakes.iter().map(|one| one.name).collect(),
    }
}

/// Every way to verify that is known here.
pub(super) async fn presets(Caller(_): Caller) -> Response {
    let all: Vec<_> = presets::ALL.iter().map(preset).collect();
    json(StatusCode::OK, &all)
}
