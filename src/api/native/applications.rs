//! `/applications`

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{absent, application, idempotent, required_application, uid, written};
use crate::control::applications::NAME_CHARS_MAX;
use crate::domain::application::{Application, ApplicationChange};
use crate::domain::ids::Ids;
use crate::domain::time::Timestamp;
use crate::http::answer::{json, to_json};
use crate::http::auth::Caller;
use crate::http::body::{self, Fields, SETTINGS_BYTES_MAX};
use crate::http::paging::{PAGE_MAX, Params};
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;

#[derive(Serialize, ToSchema)]
#[schema(as = Application)]
pub(super) struct Shape<'a> {
    /// What people call it.
    name: &'a str,
    /// Yours: wherever a path takes the id it takes this too.
    uid: Option<&'a str>,
    id: String,
    created: Timestamp,
    updated: Timestamp,
}

fn shape<'a>(application: &'a Application, ids: &Ids) -> Shape<'a> {
    Shape {
        name: &application.name,
        uid: application.uid.as_deref(),
        id: ids.text(application.key),
        created: application.created,
        updated: application.updated,
    }
}

/// Which part of a list of everything is asked for: all, unless a page is.
pub(super) fn skip_and_take(params: &Params) -> Result<(usize, usize), Problem> {
    let page = params.number("page", 1, 1_000_000_000)?;
    let size = params.number("pageSize", 1, PAGE_MAX)?;
    if page.is_none() && size.is_none() {
        return Ok((0, usize::MAX));
    }
    let size = size.unwrap_or(crate::http::paging::PAGE_DEFAULT);
    Ok(((page.unwrap_or(1) - 1) * size, size))
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
    params: Params,
) -> Result<Response, Problem> {
    let (skip, take) = skip_and_take(&params)?;
    let applications = state.store.list_applications(principal.scope, skip, take)?;
    let shapes: Vec<_> = applications
        .iter()
        .map(|application| shape(application, state.store.ids()))
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
    let ids = state.store.ids().clone();
    let render = move |application: &Application| -> (StatusCode, Bytes) {
        (StatusCode::CREATED, to_json(&shape(application, &ids)))
    };
    let idempotent = idempotent(&headers, principal, uri.path(), render.clone())?;
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let mut fields = Fields::parse(&body)?;
    let name = fields.required_text("name", NAME_CHARS_MAX);
    let uid = uid(&mut fields);
    fields.finish()?;
    let made = state
        .control()
        .create_application(principal, name, uid, idempotent)
        .await?;
    Ok(written(made, render))
}

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
) -> Result<Response, Problem> {
    let found = application(&state, principal, &app)?;
    Ok(found.map_or_else(absent, |entry| {
        json(
            StatusCode::OK,
            &shape(&entry.application, state.store.ids()),
        )
    }))
}

pub(super) async fn update(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let entry = required_application(&state, principal, &app)?;
    let mut fields = Fields::parse(&body)?;
    let change = ApplicationChange {
        name: fields.text("name", NAME_CHARS_MAX),
        uid: uid(&mut fields),
    };
    fields.finish()?;
    let changed = state
        .control()
        .update_application(principal, entry.application.key, change)
        .await?;
    Ok(json(StatusCode::OK, &shape(&changed, state.store.ids())))
}

pub(super) async fn delete(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
) -> Result<Response, Problem> {
    let entry = required_application(&state, principal, &app)?;
    let deleted = state
        .control()
        .delete_application(principal, entry.application.key)
        .await?;
    Ok(json(StatusCode::OK, &shape(&deleted, state.store.ids())))
}
