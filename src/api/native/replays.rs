//! `/applications/{app}/messages/{msg}/endpoints/{ep}/replays`

use axum::extract::{OriginalUri, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{idempotent, required_application, written};
use crate::domain::delivery::Delivery;
use crate::domain::time::Timestamp;
use crate::http::answer::to_json;
use crate::http::auth::Caller;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Replay)]
pub(super) struct Shape {
    /// The delivery's id, as in `endpoint-messages`.
    id: String,
    /// Always `pending`: it is on its way.
    status: &'static str,
    /// Attempts so far.
    attempt_count: u32,
    /// When it is due: now.
    next_attempt_timestamp: Option<Timestamp>,
}

/// Makes a delivery due now, by hand.
pub(super) async fn create(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, msg, ep)): Path<(String, String, String)>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let entry = required_application(&state, principal, &app)?;
    let application = entry.application.key;
    let endpoint = state
        .store
        .find_endpoint(&entry, &ep)?
        .ok_or_else(|| Problem::not_found("endpoint"))?;
    let stored = state
        .store
        .find_message(application, &msg)?
        .ok_or_else(|| Problem::not_found("message"))?;
    let (message, endpoint) = (stored.message.key, endpoint.settings.key);
    let id = state.store.ids().delivery_text(message, endpoint);
    let render = move |delivery: &Delivery| -> (StatusCode, Bytes) {
        let shape = Shape {
            id: id.clone(),
            status: "pending",
            attempt_count: delivery.attempt_count,
            next_attempt_timestamp: delivery.waiting().map(|(due, _)| due),
        };
        (StatusCode::ACCEPTED, to_json(&shape))
    };
    let idempotent = idempotent(&headers, principal, uri.path(), render.clone())?;
    let replayed = state
        .store
        .replay(principal.scope, application, message, endpoint, idempotent)
        .await?;
    Ok(written(replayed, render))
}
