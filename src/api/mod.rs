//! The JSON API. `native` is the Octohooks contract and what extends it.

mod health;
pub mod native;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use tower_http::catch_panic::CatchPanicLayer;

use crate::http::problem::Problem;
use crate::http::state::AppState;

/// Everything that the server answers.
pub fn router(state: &AppState) -> Router {
    Router::new()
        .nest("/api/v1", native::router(state))
        .merge(crate::receiver::router(state))
        .merge(health::router(state))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(panicked))
}

pub(crate) async fn no_route() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_route",
        "There is nothing at this path. The API is under /api/v1/.",
    )
}

pub(crate) async fn no_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no_method",
        "This path does not take that method. The Allow header lists those it takes.",
    )
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("no text"), "a handler panicked");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "A fault of ours; it is in the server's log. What became of this request is unknown.",
    )
    .into_response()
}
