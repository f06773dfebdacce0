//! `/inboxes`: URLs that take anything and show it.

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{absent, idempotent, written};
use crate::control::Control;
use crate::control::applications::NAME_CHARS_MAX;
use crate::domain::ids::ReceivedKey;
use crate::domain::inbox::{Inbox, Received};
use crate::domain::time::Timestamp;
use crate::http::answer::{json, to_json};
use crate::http::auth::Caller;
use crate::http::body::{self, Fields, SETTINGS_BYTES_MAX};
use crate::http::paging::Params;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Inbox)]
pub(super) struct Shape<'a> {
    id: String,
    /// Names it in paths; who has it can send to the inbox.
    token: &'a str,
    /// What people call it.
    name: &'a str,
    /// What it takes: any method, here or anywhere below.
    url: String,
    /// What it answers.
    answer_status: u16,
    created: Timestamp,
}

fn shape<'a>(inbox: &'a Inbox, control: &Control) -> Shape<'a> {
    Shape {
        id: control.store.ids().text(inbox.key),
        token: &inbox.token,
        name: &inbox.name,
        url: control.inbox_url(inbox),
        answer_status: inbox.answer_status,
        created: inbox.created,
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Received)]
pub(super) struct ReceivedShape {
    id: String,
    /// When it came.
    timestamp: Timestamp,
    /// Its method.
    method: String,
    /// Path and query below the inbox's URL.
    path: String,
    /// As they came, each a name and a value.
    #[schema(value_type = Vec<Vec<String>>)]
    headers: Vec<(String, String)>,
    /// What was in it.
    body: String,
    /// `utf-8`, or `base64` when the bytes are not UTF-8.
    body_encoding: &'static str,
    /// What it was answered.
    answer_status: u16,
}

fn received_shape(received: &Received, state: &AppState) -> ReceivedShape {
    let (body, body_encoding) = match std::str::from_utf8(&received.body) {
        Ok(text) => (text.to_owned(), "utf-8"),
        Err(_) => (STANDARD.encode(&received.body), "base64"),
    };
    let header = |(name, value): &(String, Vec<u8>)| {
        (name.clone(), String::from_utf8_lossy(value).into_owned())
    };
    ReceivedShape {
        id: state.store.ids().text(received.key),
        timestamp: received.at,
        method: received.method.clone(),
        path: received.path.clone(),
        headers: received.headers.iter().map(header).collect(),
        body,
        body_encoding,
        answer_status: received.answered,
    }
}

fn answer_status(fields: &mut Fields<'_>) -> Option<u16> {
    let status = fields.integer("answerStatus", 200..=599)?;
    Some(u16::try_from(status).expect("within a range that fits"))
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
) -> Result<Response, Problem> {
    let control = state.control();
    let inboxes = control.list_inboxes(principal)?;
    let shapes: Vec<_> = inboxes.iter().map(|inbox| shape(inbox, &control)).collect();
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
    let render = move |inbox: &Inbox| -> (StatusCode, Bytes) {
        (StatusCode::CREATED, to_json(&shape(inbox, &rendering)))
    };
    let idempotent = idempotent(&headers, principal, uri.path(), render.clone())?;
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let empty = body.trim_ascii().is_empty();
    let mut fields = Fields::parse(if empty { b"{}" } else { &body })?;
    let name = fields
        .text_or_empty("name", NAME_CHARS_MAX)
        .unwrap_or_default();
    let status = answer_status(&mut fields);
    fields.finish()?;
    let made = control
        .create_inbox(principal, name, status, idempotent)
        .await?;
    Ok(written(made, render))
}

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let control = state.control();
    let found = control.inbox(principal, &token)?;
    Ok(found.map_or_else(absent, |inbox| {
        json(StatusCode::OK, &shape(&inbox, &control))
    }))
}

pub(super) async fn update(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let control = state.control();
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let mut fields = Fields::parse(&body)?;
    let name = fields.text_or_empty("name", NAME_CHARS_MAX);
    let status = answer_status(&mut fields);
    fields.finish()?;
    let changed = control
        .update_inbox(principal, &token, name, status)
        .await?;
    Ok(json(StatusCode::OK, &shape(&changed, &control)))
}

/// What an inbox took in, newest first.
pub(super) async fn received(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(token): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let take = params.page_size()?;
    let ids = state.store.ids();
    let before = params.parsed("before", "the id of something received", |text| {
        ids.parse::<ReceivedKey>(text)
    })?;
    let inbox = state
        .control()
        .inbox(principal, &token)?
        .ok_or_else(|| Problem::not_found("inbox"))?;
    let mut page = state.store.received(inbox.key, before, take + 1)?;
    let more = page.len() > take;
    page.truncate(take);
    let shapes: Vec<_> = page
        .iter()
        .map(|received| received_shape(received, &state))
        .collect();
    let mut response = json(StatusCode::OK, &shapes);
    if more && let Some(last) = page.last() {
        response
            .headers_mut()
            .insert(LINK, params.next_link(&ids.text(last.key)));
    }
    Ok(response)
}
