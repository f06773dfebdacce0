//! `/applications/{app}/endpoints`

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::applications::skip_and_take;
use super::{absent, application, idempotent, idempotent_for, required_application, written};
use crate::control::endpoints::RotationInput;
use crate::domain::duration;
use crate::domain::endpoint::{GRACE_MAX, LiveEndpoint};
use crate::domain::ids::Ids;
use crate::domain::principal::Capability;
use crate::domain::signing::Scheme;
use crate::domain::time::Timestamp;
use crate::http::answer::{json, raw_json, to_json};
use crate::http::auth::{Caller, expect};
use crate::http::body::{self, Fields, SETTINGS_BYTES_MAX};
use crate::http::endpoint_input::{self, SECRET_CHARS_MAX};
use crate::http::paging::Params;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;

#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that have nothing to do with one another"
)]
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Endpoint)]
pub(super) struct Shape<'a> {
    /// A message must have one of them; empty: every message.
    channels: &'a [String],
    /// Whether it takes messages: false as well when Hookpost disabled it.
    enabled: bool,
    /// What it subscribes to; empty: everything.
    event_types: Vec<&'a str>,
    /// Sent with every delivery; values whose names say secret are shown as `••••`.
    headers: BTreeMap<&'a str, &'a str>,
    /// What people call it.
    name: &'a str,
    /// Always empty: `GET .../secret` shows one.
    #[schema(value_type = Vec<String>)]
    secrets: [&'a str; 0],
    /// Yours: wherever a path takes the id it takes this too.
    uid: Option<&'a str>,
    /// Where deliveries go.
    url: &'a str,
    id: String,
    created: Timestamp,
    updated: Timestamp,
    /// Yours.
    description: &'a str,
    /// Whether deliveries to it wait.
    paused: bool,
    /// How deliveries are signed; empty: not at all.
    signatures: Vec<SchemeShape<'a>>,
    /// Whether the payload's top-level texts and numbers are sent as headers too.
    payload_in_headers: bool,
    /// Whether what is beyond ASCII is sent as `\uXXXX`.
    ascii_body: bool,
    /// Waits after each failure; the server's when it has none of its own.
    retry_schedule: Vec<String>,
    /// For one attempt; null: the server's.
    timeout_seconds: Option<u64>,
    /// Deliveries a second; null: no limit.
    rate_limit: Option<u32>,
    /// What counts as delivered.
    success: SuccessShape<'a>,
    /// Yours.
    metadata: &'a BTreeMap<String, String>,
    /// What its owner calls himself when he answers requests; null while it takes none.
    client_id: Option<&'a str>,
    /// That Hookpost disabled it, when and why; null when it has not.
    disabled: Option<DisabledShape>,
}

/// A scheme with the parts that it has.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum SchemeShape<'a> {
    Named {
        scheme: &'static str,
    },
    Optech {
        scheme: &'static str,
        header: &'a str,
    },
    Custom {
        scheme: &'static str,
        header: &'a str,
        template: String,
        encoding: &'static str,
        prefix: String,
    },
}

impl<'a> From<&'a Scheme> for SchemeShape<'a> {
    fn from(of: &'a Scheme) -> Self {
        let scheme = of.name();
        match of {
            Scheme::Standard | Scheme::Octohooks => Self::Named { scheme },
            Scheme::Optech { header } => Self::Optech { scheme, header },
            Scheme::Custom(custom) => Self::Custom {
                scheme,
                header: &custom.header,
                template: custom.template.to_string(),
                encoding: custom.encoding.name(),
                prefix: custom.prefix.to_string(),
            },
        }
    }
}

/// What counts as delivered: all that is not null must hold.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SuccessRule)]
struct SuccessShape<'a> {
    /// Exactly this status; null: any 2xx.
    status: Option<u16>,
    /// What the body has to be, white space around it aside.
    body: Option<&'a str>,
    /// What the content type has to be, its parameters aside.
    content_type: Option<&'a str>,
}

/// That Hookpost disabled the endpoint, when and why.
#[derive(Serialize, ToSchema)]
#[schema(as = Disabled)]
struct DisabledShape {
    /// When.
    at: Timestamp,
    /// `gone`: it answered 410. `failing`: only failures for five days.
    reason: &'static str,
}

pub(super) fn shape<'a>(
    endpoint: &'a LiveEndpoint,
    ids: &Ids,
    default_schedule: &[Duration],
) -> Shape<'a> {
    let settings = &endpoint.settings;
    let schedule = settings
        .retry_schedule
        .as_deref()
        .unwrap_or(default_schedule);
    let disabled = |disabled: crate::domain::endpoint::Disabled| DisabledShape {
        at: disabled.at,
        reason: disabled.reason.name(),
    };
    Shape {
        channels: &settings.channels,
        enabled: endpoint.is_enabled(),
        event_types: settings
            .event_types
            .iter()
            .map(crate::domain::fanout::EventFilter::as_str)
            .collect(),
        headers: settings
            .headers
            .iter()
            .map(|header| (header.name.as_str(), header.shown()))
            .collect(),
        name: &settings.name,
        secrets: [],
        uid: settings.uid.as_deref(),
        url: &settings.url,
        id: ids.text(settings.key),
        created: settings.created,
        updated: settings.updated,
        description: &settings.description,
        paused: settings.paused,
        signatures: settings.signatures.iter().map(SchemeShape::from).collect(),
        payload_in_headers: settings.payload_in_headers,
        ascii_body: settings.ascii_body,
        retry_schedule: schedule
            .iter()
            .map(|wait| duration::format(*wait))
            .collect(),
        timeout_seconds: settings.timeout.map(|timeout| timeout.as_secs()),
        rate_limit: settings.rate_limit,
        success: SuccessShape {
            status: settings.success.status,
            body: settings.success.body.as_deref(),
            content_type: settings.success.content_type.as_deref(),
        },
        metadata: &settings.metadata,
        client_id: settings.client_id.as_deref(),
        disabled: endpoint.state.disabled.map(disabled),
    }
}

fn show_shape(state: &AppState, endpoint: &LiveEndpoint) -> Bytes {
    to_json(&shape(
        endpoint,
        state.store.ids(),
        state.engine.retry_schedule(),
    ))
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let (skip, take) = skip_and_take(&params)?;
    let entry = required_application(&state, principal, &app)?;
    let page = entry.endpoints.iter().skip(skip).take(take);
    let shapes: Vec<_> = page
        .map(|endpoint| shape(endpoint, state.store.ids(), state.engine.retry_schedule()))
        .collect();
    Ok(json(StatusCode::OK, &shapes))
}

pub(super) async fn create(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let rendering = state.clone();
    let render =
        move |endpoint: &LiveEndpoint| (StatusCode::CREATED, show_shape(&rendering, endpoint));
    let idempotent = idempotent(&headers, principal, uri.path(), render.clone())?;
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let entry = required_application(&state, principal, &app)?;
    let input = endpoint_input::read(&body)?;
    let made = state
        .control()
        .create_endpoint(principal, entry.application.key, input, idempotent)
        .await?;
    Ok(written(made, render))
}

/// Path of an endpoint: application and endpoint, each by id or uid.
type EndpointPath = Path<(String, String)>;

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, ep)): EndpointPath,
) -> Result<Response, Problem> {
    let Some(entry) = application(&state, principal, &app)? else {
        return Ok(absent());
    };
    let found = state.store.find_endpoint(&entry, &ep)?;
    Ok(found.map_or_else(absent, |endpoint| {
        raw_json(StatusCode::OK, show_shape(&state, &endpoint))
    }))
}

pub(super) async fn update(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, ep)): EndpointPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let entry = required_application(&state, principal, &app)?;
    let endpoint = state
        .store
        .find_endpoint(&entry, &ep)?
        .ok_or_else(|| Problem::not_found("endpoint"))?;
    let input = endpoint_input::read(&body)?;
    if input
        .secrets
        .as_ref()
        .is_some_and(|secrets| !secrets.is_empty())
    {
        expect(principal, Capability::Secrets)?;
    }
    let control = state.control();
    let changed = control
        .update_endpoint(
            principal,
            entry.application.key,
            endpoint.settings.key,
            input,
        )
        .await?;
    Ok(raw_json(StatusCode::OK, show_shape(&state, &changed)))
}

pub(super) async fn delete(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, ep)): EndpointPath,
) -> Result<Response, Problem> {
    let entry = required_application(&state, principal, &app)?;
    let endpoint = state
        .store
        .find_endpoint(&entry, &ep)?
        .ok_or_else(|| Problem::not_found("endpoint"))?;
    let control = state.control();
    let deleted = control
        .delete_endpoint(principal, entry.application.key, endpoint.settings.key)
        .await?;
    Ok(raw_json(StatusCode::OK, show_shape(&state, &deleted)))
}

#[derive(Serialize, ToSchema)]
#[schema(as = SigningSecret)]
pub(super) struct SecretShape<'a> {
    /// What the libraries take.
    key: String,
    /// The text as it was given, when it was plain text.
    text: Option<&'a str>,
    /// The older ones that still sign, newest first.
    previous: Vec<PreviousShape>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PreviousSecret)]
struct PreviousShape {
    /// When it stops signing; null: never.
    expires: Option<Timestamp>,
}

/// The secrets of `endpoint` at `now`: the newest to be used, the others to be
/// known of.
fn secret_shape(endpoint: &LiveEndpoint, now: Timestamp) -> SecretShape<'_> {
    let mut secrets = endpoint.settings.valid_secrets(now);
    let newest = secrets.next().expect("the newest secret never expires");
    let newest = &newest.secret;
    SecretShape {
        key: newest.public_form(),
        text: newest.is_plain_text().then(|| newest.text().expose()),
        previous: secrets
            .map(|older| PreviousShape {
                expires: older.expires,
            })
            .collect(),
    }
}

pub(super) async fn secret(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, ep)): EndpointPath,
) -> Result<Response, Problem> {
    let Some(entry) = application(&state, principal, &app)? else {
        return Ok(absent());
    };
    let Some(endpoint) = state.store.find_endpoint(&entry, &ep)? else {
        return Ok(absent());
    };
    let control = state.control();
    let read = control
        .read_secrets(principal, entry.application.key, endpoint.settings.key)
        .await?;
    let now = state.clock.now();
    Ok(json(StatusCode::OK, &secret_shape(&read, now)))
}

pub(super) async fn rotate(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, ep)): EndpointPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let render = |rotated: &LiveEndpoint| {
        let now = rotated.settings.updated;
        (StatusCode::CREATED, to_json(&secret_shape(rotated, now)))
    };
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let entry = required_application(&state, principal, &app)?;
    let endpoint = state
        .store
        .find_endpoint(&entry, &ep)?
        .ok_or_else(|| Problem::not_found("endpoint"))?;
    let (application, endpoint) = (entry.application.key, endpoint.settings.key);
    // The answer has a secret: it is for this caller, and about this endpoint,
    // whatever has its uid later.
    let place = format!("secret rotations {}", state.store.ids().text(endpoint));
    let idempotent = idempotent_for(&headers, principal, &place, render)?;
    let empty = body.trim_ascii().is_empty();
    let input = rotation(if empty { b"{}" } else { &body })?;
    let control = state.control();
    let rotated = control
        .rotate_secret(principal, application, endpoint, input, idempotent)
        .await?;
    Ok(written(rotated, render))
}

fn rotation(body: &[u8]) -> Result<RotationInput, Problem> {
    let mut fields = Fields::parse(body)?;
    let input = RotationInput {
        grace_period_seconds: fields.integer("gracePeriodSeconds", 0..=GRACE_MAX.as_secs()),
        secret: fields.text("secret", SECRET_CHARS_MAX),
    };
    fields.finish()?;
    Ok(input)
}
