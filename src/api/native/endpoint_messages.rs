//! `/applications/{app}/messages/{msg}/endpoint-messages`: the deliveries of a
//! message, each with its endpoint.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{endpoints, messages, required_application};
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::endpoint::LiveEndpoint;
use crate::domain::ids::Key as _;
use crate::domain::message::StoredMessage;
use crate::domain::time::Timestamp;
use crate::http::answer::json;
use crate::http::auth::Caller;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
pub(super) struct Shape<'a> {
    id: String,
    created: Timestamp,
    updated: Timestamp,
    /// The attempts so far, oldest first; the last few when there are many.
    attempts: Vec<AttemptShape>,
    /// How many there were.
    attempt_count: u32,
    /// Where it goes.
    endpoint: endpoints::Shape<'a>,
    /// What goes there.
    message: messages::Shape<'a>,
    /// When the next attempt is due; null when there is none, or it is held.
    next_attempt_timestamp: Option<Timestamp>,
    /// `pending`: an attempt is due, or held. `sending`. `success`. `failed`: exhausted.
    /// `disabled`: the endpoint is disabled or was removed.
    status: &'static str,
    /// Of the last attempt.
    timestamp: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttemptMark)]
struct AttemptShape {
    /// What came back; 0 when there was no response.
    status_code: u16,
    /// When.
    timestamp: Timestamp,
}

/// How a delivery stands, in the contract's words.
pub(super) fn status(
    delivery: &Delivery,
    endpoint: &LiveEndpoint,
    in_flight: bool,
) -> &'static str {
    match delivery.state {
        DeliveryState::Waiting { .. } if !endpoint.takes_messages() => "disabled",
        DeliveryState::Waiting { .. } if in_flight => "sending",
        DeliveryState::Waiting { .. } => "pending",
        DeliveryState::Delivered => "success",
        DeliveryState::Exhausted => "failed",
        DeliveryState::Cancelled => "disabled",
    }
}

fn shape<'a>(
    state: &AppState,
    stored: &'a StoredMessage,
    endpoint: &'a LiveEndpoint,
    delivery: &Delivery,
) -> Shape<'a> {
    let (message, endpoint_key) = (stored.message.key, endpoint.settings.key);
    let attempts: Vec<_> = delivery
        .attempts
        .iter()
        .map(|mark| AttemptShape {
            status_code: mark.status,
            timestamp: mark.key.made_at(),
        })
        .collect();
    let last = attempts.last().map(|attempt| attempt.timestamp);
    let next = delivery
        .waiting()
        .filter(|_| endpoint.sends())
        .map(|(due, _)| due);
    Shape {
        id: state.store.ids().delivery_text(message, endpoint_key),
        created: delivery.created,
        updated: last.unwrap_or(delivery.created),
        attempts,
        attempt_count: delivery.attempt_count,
        endpoint: endpoints::shape(endpoint, state.store.ids(), state.engine.retry_schedule()),
        message: messages::stored_shape(stored, state.store.ids()),
        next_attempt_timestamp: next,
        status: status(
            delivery,
            endpoint,
            state.engine.is_in_flight(endpoint_key, message),
        ),
        timestamp: last,
    }
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, msg)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let entry = required_application(&state, principal, &app)?;
    let stored = state
        .store
        .find_message(entry.application.key, &msg)?
        .ok_or_else(|| Problem::not_found("message"))?;
    let mut rows = Vec::new();
    for (key, delivery) in state.store.deliveries(stored.message.key)? {
        let endpoint = match entry.endpoint(key) {
            Some(live) => Some(LiveEndpoint::clone(live)),
            None => state.store.endpoint_even_deleted(key)?,
        };
        rows.extend(endpoint.map(|endpoint| (endpoint, delivery)));
    }
    let shapes: Vec<_> = rows
        .iter()
        .map(|(endpoint, delivery)| shape(&state, &stored, endpoint, delivery))
        .collect();
    Ok(json(StatusCode::OK, &shapes))
}
