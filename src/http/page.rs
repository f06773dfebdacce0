//! HTML pages, and what they may do in a browser.

use axum::response::Response;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderValue};

use super::fixed::Fixed;

/// Nothing that is not a file of ours: no script, nothing inline, no frame.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page that is the same for everybody.
#[must_use]
pub fn html(text: String) -> Fixed {
    Fixed::new("text/html; charset=utf-8", text)
}

/// The page, within the policy.
#[must_use]
pub fn answer(page: &Fixed, headers: &HeaderMap) -> Response {
    let mut response = page.answer(headers);
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
