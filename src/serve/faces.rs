//! Everything that the server answers.

use axum::Router;
use axum::extract::DefaultBodyLimit;

use crate::http::fallback::{no_method, no_route};
use crate::http::state::AppState;
use crate::{api, receiver};

/// All faces side by side.
pub fn router(state: &AppState) -> Router {
    Router::new()
        .merge(api::router(state))
        .merge(receiver::router(state))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        // Every handler reads its body within a limit of its own.
        .layer(DefaultBodyLimit::disable())
}
