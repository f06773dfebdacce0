//! Everything that the server answers.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;

use crate::http::assets;
use crate::http::fallback::{no_method, no_route};
use crate::http::state::AppState;
use crate::{api, dashboard, docs, receiver, relay};

/// All faces side by side.
pub fn router(state: &AppState) -> Router {
    Router::new()
        .merge(api::router(state))
        .merge(receiver::router(state))
        .merge(relay::router(state))
        .merge(dashboard::router(state))
        .merge(docs::router(document_of(state)))
        .merge(assets::router())
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        // Every handler reads its body within a limit of its own.
        .layer(DefaultBodyLimit::disable())
}

/// The API's document as JSON: faces know nothing of one another.
fn document_of(state: &AppState) -> impl FnOnce() -> String + Send + 'static {
    let public_url = Arc::clone(&state.public_url);
    move || {
        let document = api::document(&public_url);
        document.to_json().expect("it has only texts and numbers")
    }
}
