//! `/inboxes/{token}/listeners`: who listens at an inbox.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::inbox::Inbox;
use crate::domain::principal::Principal;
use crate::domain::time::Timestamp;
use crate::engine::relay::Listener;
use crate::http::answer::json;
use crate::http::auth::Caller;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Listener)]
pub(super) struct Shape {
    /// Names it as long as the server runs.
    id: u64,
    /// What it says of itself; not verified.
    client: String,
    /// The address that it connected from.
    peer: Option<String>,
    /// Whether it showed an API key.
    has_key: bool,
    /// Whether it shares what comes with others that do.
    shares: bool,
    /// When it connected.
    since: Timestamp,
    /// When it was last heard of.
    heard: Timestamp,
    /// Requests that it was sent.
    forwarded: u64,
    /// Requests that it has not answered yet.
    in_flight: u64,
}

fn shape(listener: &Listener) -> Shape {
    Shape {
        id: listener.id,
        client: listener.who.client.clone(),
        peer: listener.who.peer.map(|peer| peer.to_string()),
        has_key: listener.who.keyed,
        shares: listener.who.shares,
        since: listener.since,
        heard: listener.heard,
        forwarded: listener.forwarded,
        in_flight: listener.in_flight as u64,
    }
}

fn inbox(state: &AppState, principal: Principal, token: &str) -> Result<Inbox, Problem> {
    let found = state.control().inbox(principal, token)?;
    found.ok_or_else(|| Problem::not_found("inbox"))
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let inbox = inbox(&state, principal, &token)?;
    let listeners = state.engine.listeners(inbox.environment, Some(inbox.key));
    let shapes: Vec<_> = listeners.iter().map(shape).collect();
    Ok(json(StatusCode::OK, &shapes))
}

/// Ends the connections of all who listen at an inbox.
pub(super) async fn close(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let inbox = inbox(&state, principal, &token)?;
    let engine = &state.engine;
    let mut shapes = Vec::new();
    for listener in engine.listeners(inbox.environment, Some(inbox.key)) {
        if engine.close_listener(inbox.key, listener.id).await {
            shapes.push(shape(&listener));
        }
    }
    Ok(json(StatusCode::OK, &shapes))
}
