//! `/applications/{app}/messages`

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{absent, application, idempotent, required_application, uid, written};
use crate::domain::ids::{ApplicationKey, Ids, MessageKey};
use crate::domain::message::{
    CHANNEL_CHARS_MAX, CHANNELS_MAX, EVENT_TYPE_CHARS_MAX, JSON, Message, NewMessage, Origin,
    StoredMessage, Target, is_event_type,
};
use crate::domain::time::Timestamp;
use crate::http::answer::{json, to_json};
use crate::http::auth::Caller;
use crate::http::body::{self, Fields};
use crate::http::paging::Params;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::store::Accepted;

/// Bytes of a message's body beside its payload.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;
/// Messages of one batch, and bytes of its body.
pub(super) const BATCH_MESSAGES_MAX: usize = 1000;
const BATCH_BYTES_MAX: usize = 16_000_000;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Message)]
pub(super) struct Shape<'a> {
    /// Labels that narrow which endpoints get it.
    channels: &'a [String],
    /// What happened, as a dotted name.
    event_type: &'a str,
    /// The bytes that came in; null once retention took them. What is no JSON,
    /// as it may come from a source, is a text, or base64 in a text.
    #[schema(value_type = serde_json::Value)]
    payload: Option<Cow<'a, RawValue>>,
    /// What `payload` is.
    content_type: &'a str,
    /// Yours. It need not be unique: in a path it means the newest message that has it.
    uid: Option<&'a str>,
    id: String,
    created: Timestamp,
    updated: Timestamp,
}

pub(super) fn shape<'a>(message: &'a Message, payload: Option<&'a Bytes>, ids: &Ids) -> Shape<'a> {
    Shape {
        channels: &message.channels,
        event_type: &message.event_type,
        payload: payload.map(|bytes| as_json(bytes)),
        content_type: &message.content_type,
        uid: message.uid.as_deref(),
        id: ids.text(message.key),
        created: message.created(),
        updated: message.created(),
    }
}

/// A payload as a value of JSON: itself, or a text.
fn as_json(payload: &[u8]) -> Cow<'_, RawValue> {
    if let Ok(value) = serde_json::from_slice::<&RawValue>(payload) {
        return Cow::Borrowed(value);
    }
    let text = match std::str::from_utf8(payload) {
        Ok(text) => text.to_owned(),
        Err(_) => STANDARD.encode(payload),
    };
    let text = serde_json::value::to_raw_value(&text).expect("a text is JSON");
    Cow::Owned(text)
}

pub(super) fn stored_shape<'a>(stored: &'a StoredMessage, ids: &Ids) -> Shape<'a> {
    shape(&stored.message, stored.payload.as_ref(), ids)
}

pub(super) async fn create(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let ids = state.store.ids().clone();
    let render = move |accepted: &Accepted| {
        let (message, payload) = &*accepted.content;
        (
            StatusCode::ACCEPTED,
            to_json(&shape(message, Some(payload), &ids)),
        )
    };
    let idempotent = idempotent(&headers, principal, uri.path(), render.clone())?;
    let payload_bytes_max = state.limits.payload_bytes_max;
    let body = body::read(
        &headers,
        body,
        payload_bytes_max.saturating_add(ENVELOPE_BYTES_MAX),
    )
    .await?;
    let entry = required_application(&state, principal, &app)?;
    let message = new_message(&body, entry.application.key, payload_bytes_max)?;
    let accepted = state
        .store
        .accept(principal.scope, message, idempotent)
        .await?;
    Ok(written(accepted, render))
}

fn new_message(
    body: &Bytes,
    application: ApplicationKey,
    payload_bytes_max: usize,
) -> Result<NewMessage, Problem> {
    let mut fields = Fields::parse(body)?;
    let message = message_of(&mut fields, body, application);
    fields.finish()?;
    check_size(&message, payload_bytes_max)?;
    Ok(message)
}

/// The message that `fields`, of `body`, describe; what is wrong with it is
/// noted in them.
fn message_of(fields: &mut Fields<'_>, body: &Bytes, application: ApplicationKey) -> NewMessage {
    let event_type = fields.required_text("eventType", EVENT_TYPE_CHARS_MAX);
    if !event_type.is_empty() && !is_event_type(&event_type) {
        fields.wrong(
            "eventType",
            "must have only letters, digits, '-', '_' and '.'",
        );
    }
    let channels = fields.texts("channels", CHANNELS_MAX, CHANNEL_CHARS_MAX);
    let uid = uid(fields);
    let payload = fields.raw("payload");
    if payload.is_none() {
        fields.wrong("payload", "is missing");
    }
    let payload = payload.map_or("", RawValue::get);
    NewMessage {
        application,
        event_type,
        channels: channels.unwrap_or_default(),
        uid,
        content_type: JSON.to_owned(),
        headers: Vec::new(),
        origin: Origin::Api,
        payload: body.slice_ref(payload.as_bytes()),
        target: Target::FanOut,
    }
}

fn check_size(message: &NewMessage, payload_bytes_max: usize) -> Result<(), Problem> {
    if message.payload.len() <= payload_bytes_max {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("A payload is larger than {payload_bytes_max} bytes. Nothing was kept."),
    ))
}

/// What a batch answers for each message: all but the payload, which would be
/// sent back by the megabyte.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageReceipt)]
pub(super) struct Receipt<'a> {
    id: String,
    /// Yours.
    uid: Option<&'a str>,
    /// What happened.
    event_type: &'a str,
    created: Timestamp,
}

/// Takes in many messages at once: all or none.
pub(super) async fn create_batch(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let ids = state.store.ids().clone();
    let render = move |accepted: &Vec<Accepted>| -> (StatusCode, Bytes) {
        let messages = accepted.iter().map(|accepted| &accepted.content.0);
        let receipts = messages.map(|message| Receipt {
            id: ids.text(message.key),
            uid: message.uid.as_deref(),
            event_type: &message.event_type,
            created: message.created(),
        });
        let receipts: Vec<_> = receipts.collect();
        (StatusCode::ACCEPTED, to_json(&receipts))
    };
    let idempotent = idempotent(&headers, principal, uri.path(), render.clone())?;
    let body = body::read(&headers, body, BATCH_BYTES_MAX).await?;
    let application = required_application(&state, principal, &app)?
        .application
        .key;
    let messages = new_messages(&body, application, state.limits.payload_bytes_max)?;
    let accepted = state
        .store
        .accept_batch(principal.scope, application, messages, idempotent)
        .await?;
    Ok(written(accepted, render))
}

fn new_messages(
    body: &Bytes,
    application: ApplicationKey,
    payload_bytes_max: usize,
) -> Result<Vec<NewMessage>, Problem> {
    let mut fields = Fields::parse(body)?;
    let items = fields.objects("messages", BATCH_MESSAGES_MAX);
    if fields.raw("messages").is_none() {
        fields.wrong("messages", "is missing");
    }
    let mut messages = Vec::new();
    for mut item in items.unwrap_or_default() {
        messages.push(message_of(&mut item, body, application));
        fields.absorb(item);
    }
    fields.finish()?;
    for message in &messages {
        check_size(message, payload_bytes_max)?;
    }
    Ok(messages)
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let take = params.page_size()?;
    let ids = state.store.ids();
    let before = params.parsed("before", "the id of a message", |text| {
        ids.parse::<MessageKey>(text)
    })?;
    let entry = required_application(&state, principal, &app)?;
    let page = state
        .store
        .list_messages(entry.application.key, before, take)?;
    let shapes: Vec<_> = page
        .messages
        .iter()
        .map(|stored| stored_shape(stored, ids))
        .collect();
    let mut response = json(StatusCode::OK, &shapes);
    if page.more
        && let Some(last) = page.messages.last()
    {
        response
            .headers_mut()
            .insert(LINK, params.next_link(&ids.text(last.message.key)));
    }
    Ok(response)
}

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, msg)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let Some(entry) = application(&state, principal, &app)? else {
        return Ok(absent());
    };
    let found = state.store.find_message(entry.application.key, &msg)?;
    Ok(found.map_or_else(absent, |stored| {
        json(StatusCode::OK, &stored_shape(&stored, state.store.ids()))
    }))
}
