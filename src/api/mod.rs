//! The JSON API. `native` is the Octohooks contract and what extends it.

mod health;
pub mod native;

use axum::Router;

use crate::http::state::AppState;

pub use native::openapi::document;

/// `/api/v1/...`, `/healthz`, `/readyz`.
pub fn router(state: &AppState) -> Router {
    native::router(state)
        .merge(native::openapi::router(&state.public_url))
        .merge(health::router(state))
}
