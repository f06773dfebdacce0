//! Answers where no handler has one.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use super::problem::Problem;

/// 404: nothing is at this path.
pub async fn no_route() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_route",
        "There is nothing at this path. The API is under /api/v1/, and described at /docs.",
    )
}

/// 405: something is at this path, but not for this method.
pub async fn no_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no_method",
        "This path does not take that method. The Allow header lists those it takes.",
    )
}

/// 500: a handler panicked.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
pub fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("no text"), "a handler panicked");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "A fault of ours; it is in the server's log. What became of this request is unknown.",
    )
    .into_response()
}
