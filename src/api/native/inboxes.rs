//! `/inboxes`: URLs that take anything and show it.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::received::{BODIES_BYTES_MAX, BodyShape, shown};
use super::{absent, idempotent, written};
use crate::control::Control;
use crate::domain::ids::ReceivedKey;
use crate::domain::inbox::{Inbox, Received, Replay};
use crate::domain::principal::Principal;
use crate::domain::relay::Relayed;
use crate::domain::time::Timestamp;
use crate::http::answer::{json, to_json};
use crate::http::auth::Caller;
use crate::http::body::{self, SETTINGS_BYTES_MAX};
use crate::http::inbox_input;
use crate::http::paging::Params;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::store::Written;

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
    /// Content type of the answer.
    answer_content_type: &'a str,
    /// Its further headers.
    answer_headers: BTreeMap<&'a str, &'a str>,
    /// Its body.
    answer_body: &'a str,
    /// How long the answer is held back.
    answer_delay_milliseconds: u32,
    /// How many requests from now on are answered 503.
    fail_next: u32,
    /// Whether a listener needs no API key.
    listen_without_key: bool,
    /// When somebody was last known to listen; null: never.
    listened: Option<Timestamp>,
    /// Requests that are kept for a listener.
    waiting: u32,
    created: Timestamp,
}

fn shape<'a>(inbox: &'a Inbox, control: &Control) -> Shape<'a> {
    Shape {
        id: control.store.ids().text(inbox.key),
        token: &inbox.token,
        name: &inbox.name,
        url: control.inbox_url(inbox),
        answer_status: inbox.answer.status,
        answer_content_type: &inbox.answer.content_type,
        answer_headers: inbox
            .answer
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        answer_body: &inbox.answer.body,
        answer_delay_milliseconds: inbox.delay_ms,
        fail_next: inbox.fail_next,
        listen_without_key: inbox.open,
        listened: inbox.listened,
        waiting: inbox.waiting,
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
    /// The address of whoever connected; null for a delivery of this server.
    peer: Option<String>,
    /// The type of the message; null for what is no delivery of this server.
    event_type: Option<String>,
    /// Where it was sent again, newest first; the last 10.
    replays: Vec<ReplayShape>,
    /// What a listener made of it; null when nobody listened.
    relayed: Option<RelayedShape>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Relayed)]
pub(super) struct RelayedShape {
    /// `waiting`, `answered`, or `never` when there will be no answer.
    state: &'static str,
    /// When it was answered, or given up.
    timestamp: Option<Timestamp>,
    /// The status of the listener's answer.
    status: Option<u16>,
    /// Its headers, each a name and a value; secret ones masked.
    #[schema(value_type = Vec<Vec<String>>)]
    headers: Vec<(String, String)>,
    /// How its body begins.
    body: String,
    /// `utf-8`, or `base64` when the bytes are not UTF-8.
    body_encoding: &'static str,
    /// Bytes that the body had.
    body_bytes: u64,
    /// Why there was no answer; else empty.
    detail: String,
    /// How long the listener took.
    duration_milliseconds: Option<f64>,
}

fn relayed_shape(relayed: &Relayed) -> Option<RelayedShape> {
    let none = RelayedShape {
        state: "waiting",
        timestamp: None,
        status: None,
        headers: Vec::new(),
        body: String::new(),
        body_encoding: "utf-8",
        body_bytes: 0,
        detail: String::new(),
        duration_milliseconds: None,
    };
    match relayed {
        Relayed::No => None,
        Relayed::Waiting => Some(none),
        Relayed::Never { at, detail } => Some(RelayedShape {
            state: "never",
            timestamp: Some(*at),
            detail: detail.clone(),
            ..none
        }),
        Relayed::Answered(answered) => {
            let body = BodyShape::new(&answered.body);
            let header = |(name, value): &(String, Vec<u8>)| {
                (name.clone(), String::from_utf8_lossy(value).into_owned())
            };
            Some(RelayedShape {
                state: "answered",
                timestamp: Some(answered.at),
                status: Some(answered.status),
                headers: answered.headers.iter().map(header).collect(),
                body: body.text,
                body_encoding: body.encoding,
                body_bytes: answered.body_bytes,
                detail: answered.error.clone(),
                duration_milliseconds: Some(f64::from(answered.took_us) / 1000.0),
            })
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReceivedReplay)]
pub(super) struct ReplayShape {
    /// When it was sent.
    timestamp: Timestamp,
    /// Where to.
    url: String,
    /// The status of the answer; 0 when there was none.
    status: u16,
    /// Why there was no answer; else empty.
    detail: String,
    /// How the answer's body begins, as text.
    body: String,
    /// How long it took.
    duration_milliseconds: f64,
}

fn replay_shape(replay: &Replay) -> ReplayShape {
    ReplayShape {
        timestamp: replay.at,
        url: replay.url.clone(),
        status: replay.status,
        detail: replay.detail.clone(),
        body: replay.body.clone(),
        duration_milliseconds: f64::from(replay.took_us) / 1000.0,
    }
}

fn received_shape(received: &Received, state: &AppState) -> ReceivedShape {
    let body = BodyShape::new(received.body.as_deref().unwrap_or_default());
    let header = |(name, value): &(String, Vec<u8>)| (name.clone(), shown(name, value, None));
    ReceivedShape {
        id: state.store.ids().text(received.key),
        timestamp: received.at,
        method: received.method.clone(),
        path: received.path.clone(),
        headers: received.headers.iter().map(header).collect(),
        body: body.text,
        body_encoding: body.encoding,
        answer_status: received.answered,
        peer: received.peer.map(|peer| peer.to_string()),
        event_type: received.event_type.clone(),
        replays: received.replays.iter().map(replay_shape).collect(),
        relayed: relayed_shape(&received.relayed),
    }
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
    let change = inbox_input::read(if empty { b"{}" } else { &body })?;
    let made = control.create_inbox(principal, change, idempotent).await?;
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
    let change = inbox_input::read(&body)?;
    let changed = control.update_inbox(principal, &token, change).await?;
    Ok(json(StatusCode::OK, &shape(&changed, &control)))
}

pub(super) async fn delete(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let control = state.control();
    let deleted = control.delete_inbox(principal, &token).await?;
    Ok(json(StatusCode::OK, &shape(&deleted, &control)))
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InboxSender)]
pub(super) struct SenderShape {
    id: String,
    /// The application that it belongs to.
    application_id: String,
    /// The inbox's, or below it.
    url: String,
}

/// Endpoints that send to an inbox.
pub(super) async fn senders(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let control = state.control();
    let inbox = control.inbox(principal, &token)?;
    let inbox = inbox.ok_or_else(|| Problem::not_found("inbox"))?;
    let ids = state.store.ids();
    let senders = control.senders(principal, &inbox)?;
    let shapes = senders.iter().map(|live| SenderShape {
        id: ids.text(live.settings.key),
        application_id: ids.text(live.settings.application),
        url: live.settings.url.as_str().to_owned(),
    });
    Ok(json(StatusCode::OK, &shapes.collect::<Vec<_>>()))
}

/// Drops what an inbox took in.
pub(super) async fn clear(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let control = state.control();
    let cleared = control.clear_inbox(principal, &token).await?;
    Ok(json(StatusCode::OK, &shape(&cleared, &control)))
}

/// An inbox, and something that it took in, if both are there.
fn found(
    state: &AppState,
    principal: Principal,
    (token, received): &(String, String),
) -> Result<Option<(Inbox, Received)>, Problem> {
    let inbox = state.control().inbox(principal, token)?;
    let (Some(inbox), Some(key)) = (inbox, state.store.ids().parse(received)) else {
        return Ok(None);
    };
    let received = state.store.one_received(inbox.key, key)?;
    Ok(received.map(|received| (inbox, received)))
}

pub(super) async fn show_received(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(path): Path<(String, String)>,
) -> Result<Response, Problem> {
    let found = found(&state, principal, &path)?;
    Ok(found.map_or_else(absent, |(_, received)| {
        json(StatusCode::OK, &received_shape(&received, &state))
    }))
}

/// Sends something received to another URL, and answers what came of it.
pub(super) async fn replay(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(path): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let render = |replay: &Replay| (StatusCode::OK, to_json(&replay_shape(replay)));
    let idempotent = idempotent(&headers, principal, uri.path(), render)?;
    if let Some(before) = state.store.repeated(idempotent.as_ref())? {
        return Ok(written(Written::Repeated(before), render));
    }
    let (inbox, received) =
        found(&state, principal, &path)?.ok_or_else(|| Problem::not_found("request"))?;
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let url = inbox_input::read_replay(&body)?;
    state.control().check_destination(&url).await?;
    let replayed = state
        .engine
        .replay_received(principal, inbox.key, received, url, idempotent);
    Ok(written(replayed.await?, render))
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
    let (page, next) = state
        .store
        .received(inbox.key, before, take, BODIES_BYTES_MAX)?;
    let shapes: Vec<_> = page
        .iter()
        .map(|received| received_shape(received, &state))
        .collect();
    let mut response = json(StatusCode::OK, &shapes);
    if let Some(next) = next {
        response
            .headers_mut()
            .insert(LINK, params.next_link(&ids.text(next)));
    }
    Ok(response)
}
