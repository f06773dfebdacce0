//! Answers with a JSON body.

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// An answer with `value` as its JSON body.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    raw_json(status, to_json(value))
}

/// `value` as JSON.
pub fn to_json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value)
        .expect("answers have only types that serialise")
        .into()
}

/// An answer whose body is JSON already.
#[must_use]
pub fn raw_json(status: StatusCode, body: Bytes) -> Response {
    let json = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, json)], body).into_response()
}
