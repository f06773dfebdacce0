//! `/keys`: API keys, each shown in full once.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{absent, idempotent_for, written};
use crate::control::api_keys::ApiKeyInput;
use crate::domain::api_key::{API_KEY_NAME_CHARS_MAX, ApiKey, LIFETIME_SECONDS_MAX};
use crate::domain::environment::ENVIRONMENT_NAME_CHARS_MAX;
use crate::domain::message::UID_CHARS_MAX;
use crate::domain::principal::Capability;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::http::answer::{json, to_json};
use crate::http::auth::Caller;
use crate::http::body::{self, Fields, SETTINGS_BYTES_MAX};
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// Scopes that a body names at most, and characters of each.
pub(super) const SCOPES_MAX: usize = 32;
const SCOPE_CHARS_MAX: usize = 64;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKey)]
pub(super) struct Shape<'a> {
    id: String,
    /// What it is called in lists.
    name: &'a str,
    /// What it may do.
    scopes: Vec<&'static str>,
    /// The only application that it sees; null when it opens every application of the environment.
    application_id: Option<String>,
    /// Enough of its text to tell keys apart by.
    begins_with: &'a str,
    /// The environment's name.
    environment: String,
    created: Timestamp,
    /// When it stops working; null: when it is revoked.
    expires: Option<Timestamp>,
    /// Exact to the minute; null: never yet.
    last_used: Option<Timestamp>,
}

fn shape<'a>(key: &'a ApiKey, state: &AppState) -> Shape<'a> {
    let ids = state.store.ids();
    let environment = state.store.catalog().environment(key.environment);
    Shape {
        id: ids.text(key.key),
        name: &key.name,
        scopes: key.capabilities.named().map(Capability::name).collect(),
        application_id: key.application.map(|key| ids.text(key)),
        begins_with: &key.shown,
        environment: environment.map_or_else(String::new, |known| known.name.clone()),
        created: key.created,
        expires: key.expires,
        last_used: key.last_used,
    }
}

/// A key with its text, which is shown this once.
#[derive(Serialize)]
pub(super) struct Issued<'a> {
    #[serde(flatten)]
    shape: Shape<'a>,
    key: &'a str,
}

/// Renders the answer that shows `text`.
fn issued(state: &AppState, text: &Secret) -> impl Fn(&ApiKey) -> (StatusCode, Bytes) + use<> {
    let (state, text) = (state.clone(), text.clone());
    move |key| {
        let shape = shape(key, &state);
        let key = text.expose();
        (StatusCode::CREATED, to_json(&Issued { shape, key }))
    }
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
) -> Result<Response, Problem> {
    let keys = state.control().list_api_keys(principal)?;
    let shapes: Vec<_> = keys.iter().map(|key| shape(key, &state)).collect();
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
    let text = control.new_api_key_text();
    let render = issued(&state, &text);
    let idempotent = idempotent_for(&headers, principal, uri.path(), issued(&state, &text))?;
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let empty = body.trim_ascii().is_empty();
    let mut fields = Fields::parse(if empty { b"{}" } else { &body })?;
    let input = input(&mut fields);
    fields.finish()?;
    let made = control
        .create_api_key(principal, input, &text, idempotent)
        .await?;
    Ok(written(made, render))
}

fn input(fields: &mut Fields<'_>) -> ApiKeyInput {
    let seconds = fields.integer("expiresInSeconds", 1..=LIFETIME_SECONDS_MAX);
    ApiKeyInput {
        name: name(fields).unwrap_or_default(),
        scopes: fields.texts("scopes", SCOPES_MAX, SCOPE_CHARS_MAX),
        application: fields.text("application", UID_CHARS_MAX),
        environment: fields.text("environment", ENVIRONMENT_NAME_CHARS_MAX),
        lifetime: seconds.map(Duration::from_secs),
    }
}

fn name(fields: &mut Fields<'_>) -> Option<String> {
    fields.text_or_empty("name", API_KEY_NAME_CHARS_MAX)
}

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let found = state.store.find_api_key(principal.scope, &id);
    Ok(found.map_or_else(absent, |key| json(StatusCode::OK, &shape(&key, &state))))
}

pub(super) async fn update(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let mut fields = Fields::parse(&body)?;
    let name = name(&mut fields);
    fields.finish()?;
    let control = state.control();
    let known = state.store.find_api_key(principal.scope, &id);
    let known = known.ok_or_else(|| Problem::not_found("API key"))?;
    let changed = match name {
        Some(name) => control.rename_api_key(principal, &id, name).await?,
        None => known,
    };
    Ok(json(StatusCode::OK, &shape(&changed, &state)))
}

pub(super) async fn rotate(
    State(state): State<AppState>,
    Caller(principal): Caller,
    OriginalUri(uri): OriginalUri,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let control = state.control();
    let text = control.new_api_key_text();
    let render = issued(&state, &text);
    let idempotent = idempotent_for(&headers, principal, uri.path(), issued(&state, &text))?;
    let rotated = control
        .rotate_api_key(principal, &id, &text, idempotent)
        .await?;
    Ok(written(rotated, render))
}

pub(super) async fn revoke(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let revoked = state.control().revoke_api_key(principal, &id).await?;
    Ok(json(StatusCode::OK, &shape(&revoked, &state)))
}
