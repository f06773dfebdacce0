//! `/environments`: separate worlds of keys, data and settings.

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{absent, idempotent_for, written};
use crate::domain::environment::{ENVIRONMENT_NAME_CHARS_MAX, Environment};
use crate::domain::time::Timestamp;
use crate::http::answer::{json, to_json};
use crate::http::auth::Caller;
use crate::http::body::{self, Fields, SETTINGS_BYTES_MAX};
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::store::Store;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Environment)]
pub(super) struct Shape<'a> {
    id: String,
    /// Takes the id's place in paths.
    name: &'a str,
    /// Whether it is the one that every server has.
    is_default: bool,
    created: Timestamp,
    updated: Timestamp,
}

fn shape<'a>(environment: &'a Environment, store: &Store) -> Shape<'a> {
    Shape {
        id: store.ids().text(environment.key),
        name: &environment.name,
        is_default: environment.key == store.default_environment(),
        created: environment.created,
        updated: environment.updated,
    }
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
) -> Result<Response, Problem> {
    let environments = state.control().list_environments(principal)?;
    let shapes: Vec<_> = environments
        .iter()
        .map(|environment| shape(environment, &state.store))
        .collect();
    Ok(json(StatusCode::OK, &shapes))
}

pub(super) async fn create(
    State(state): State<AppState>,
    Caller(principal): Caller,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let store = state.store.clone();
    let render = move |environment: &Environment| -> (StatusCode, Bytes) {
        (StatusCode::CREATED, to_json(&shape(environment, &store)))
    };
    let idempotent = idempotent_for(&headers, principal, uri.path(), render.clone())?;
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let mut fields = Fields::parse(&body)?;
    let name = fields.required_text("name", ENVIRONMENT_NAME_CHARS_MAX);
    fields.finish()?;
    let made = state
        .control()
        .create_environment(principal, name, idempotent)
        .await?;
    Ok(written(made, render))
}

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(env): Path<String>,
) -> Result<Response, Problem> {
    let found = state.control().environment(principal, &env).ok();
    Ok(found.map_or_else(absent, |environment| {
        json(StatusCode::OK, &shape(&environment, &state.store))
    }))
}

pub(super) async fn update(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(env): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let mut fields = Fields::parse(&body)?;
    let name = fields.text("name", ENVIRONMENT_NAME_CHARS_MAX);
    fields.finish()?;
    let control = state.control();
    let known = control.environment(principal, &env)?;
    let changed = match name {
        Some(name) => control.rename_environment(principal, &env, name).await?,
        None => Environment::clone(&known),
    };
    Ok(json(StatusCode::OK, &shape(&changed, &state.store)))
}

pub(super) async fn delete(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(env): Path<String>,
) -> Result<Response, Problem> {
    let deleted = state.control().delete_environment(principal, &env).await?;
    Ok(json(StatusCode::OK, &shape(&deleted, &state.store)))
}
