//! `/applications/{app}/content` and `/applications/{app}/messages/{msg}/content`:
//! what can be erased.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::{jobs, messages, required_application};
use crate::http::answer::json;
use crate::http::auth::Caller;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// Erases the content of a message.
pub(super) async fn erase_message(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, msg)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let entry = required_application(&state, principal, &app)?;
    let application = entry.application.key;
    let stored = state
        .store
        .find_message(application, &msg)?
        .ok_or_else(|| Problem::not_found("message"))?;
    let control = state.control();
    let erased = control
        .erase_message(principal, application, stored.message.key)
        .await?;
    let shape = messages::stored_shape(&erased, state.store.ids());
    Ok(json(StatusCode::OK, &shape))
}

/// Starts a job that erases the content of every message there is now.
pub(super) async fn erase_application(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
) -> Result<Response, Problem> {
    let entry = required_application(&state, principal, &app)?;
    let control = state.control();
    let job = control
        .erase_application(principal, entry.application.key)
        .await?;
    Ok(jobs::answer(StatusCode::ACCEPTED, &job, state.store.ids()))
}
