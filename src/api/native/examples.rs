//! `/applications/{app}/endpoints/{ep}/examples`

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use super::messages::shape;
use super::{idempotent, required_application, written};
use crate::domain::event_type::EXAMPLES_MAX;
use crate::domain::message::{EVENT_TYPE_CHARS_MAX, JSON, NewMessage, Origin, Target};
use crate::http::answer::to_json;
use crate::http::auth::Caller;
use crate::http::body::{self, Fields, SETTINGS_BYTES_MAX};
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::store::{Accepted, Written};

/// Sends an example of an event type to one endpoint, as a message.
pub(super) async fn create(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, ep)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let ids = state.store.ids().clone();
    let render = move |accepted: &Accepted| {
        let (message, payload) = &*accepted.content;
        let shape = shape(message, Some(payload), &ids);
        (StatusCode::ACCEPTED, to_json(&shape))
    };
    let idempotent = idempotent(&headers, principal, uri.path(), render.clone())?;
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let entry = required_application(&state, principal, &app)?;
    let application = entry.application.key;
    let endpoint = state
        .store
        .find_endpoint(&entry, &ep)?
        .ok_or_else(|| Problem::not_found("endpoint"))?;
    let mut fields = Fields::parse(&body)?;
    let event_type = fields.required_text("eventType", EVENT_TYPE_CHARS_MAX);
    let at = fields.integer("example", 0..=EXAMPLES_MAX as u64 - 1);
    fields.finish()?;
    let at = at.map_or(0, |at| usize::try_from(at).expect("a small range"));
    if let Some(answer) = state.store.repeated(idempotent.as_ref())? {
        return Ok(written(Written::Repeated(answer), render));
    }
    let example = state
        .control()
        .example_of(principal, application, &event_type, at)?;
    let message = NewMessage {
        application,
        event_type,
        channels: Vec::new(),
        uid: None,
        content_type: JSON.to_owned(),
        headers: Vec::new(),
        origin: Origin::Example,
        payload: example.into(),
        target: Target::Only(endpoint.settings.key),
    };
    let accepted = state
        .store
        .accept(principal.scope, message, idempotent)
        .await?;
    Ok(written(accepted, render))
}
