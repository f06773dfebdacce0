//! The JSON API. `native` is the Octohooks contract and what extends it.

mod health;
pub mod native;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::any;

use crate::http::cors::open_to_browsers;
use crate::http::fallback::no_route;
use crate::http::state::AppState;

/// `/api/v1/...`, `/healthz`, `/readyz`.
pub fn router(state: &AppState) -> Router {
    Router::new()
        .nest("/api/v1", native::router(state))
        // The only path below it that nesting leaves out.
        .route("/api/v1/", any(no_route).layer(from_fn(open_to_browsers)))
        .merge(health::router(state))
}
