//! Whether the process lives, and whether it is ready.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::StatusCode;
use serde::Serialize;

use crate::http::answer::json;
use crate::http::problem::Problem;
use crate::http::state::AppState;

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

pub(super) fn router(state: &AppState) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(state.clone())
}

/// The process answers: nothing more.
async fn alive() -> Response {
    json(StatusCode::OK, &Health { status: "ok" })
}

/// The store can be written to.
async fn ready(State(state): State<AppState>) -> Response {
    if state.store.is_available() {
        json(StatusCode::OK, &Health { status: "ready" })
    } else {
        Problem::unavailable("The store is not available; it is being reopened.").into_response()
    }
}
