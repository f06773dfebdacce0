//! HTML pages, and what they may do in a browser.

use axum::response::{IntoResponse as _, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::fixed::Fixed;

const HTML: &str = "text/html; charset=utf-8";
/// Nothing that is not a file of ours: no script, nothing inline, no frame.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// As that, with our own script, which may talk to us.
const PRIVATE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
    object-src 'none'; frame-ancestors ";

/// A page that is the same for everybody.
#[must_use]
pub fn html(text: String) -> Fixed {
    Fixed::new(HTML, text)
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

/// A page for one viewer, which nobody keeps.
#[must_use]
pub fn private(status: StatusCode, text: String) -> Response {
    let mut response = (status, text).into_response();
    let html = HeaderValue::from_static(HTML);
    response.headers_mut().insert(CONTENT_TYPE, html);
    response
}

/// Says what a private answer may do in a browser. `framed_by`: origins whose
/// pages may show it inside them; none is the rule.
pub fn guard(headers: &mut HeaderMap, framed_by: &[String]) {
    let alone = framed_by.is_empty();
    let ancestors = if alone {
        "'none'".to_owned()
    } else {
        framed_by.join(" ")
    };
    let policy = HeaderValue::from_str(&format!("{PRIVATE_POLICY}{ancestors}"));
    let policy = policy.expect("origins are ASCII");
    // A file that is downloaded has a narrower one already.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(policy);
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        // With `no-referrer` forms would say that they come from nowhere.
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if alone {
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        );
    } else {
        headers.remove(X_FRAME_OPTIONS);
        headers.remove("cross-origin-resource-policy");
    }
}
