//! What a listener made of a request, as an answer to its sender.

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};

use super::sources::POLICY;
use crate::domain::answer::{OF_THE_SERVER, takes_body};
use crate::domain::header;
use crate::domain::relay::KEPT_STATUS;
use crate::engine::receive::{DROPPED_TEXT, KEPT_TEXT, LATE_TEXT};
use crate::engine::relay::{Answer, Told};

/// What a sender is told when the listener's program gave no answer. The reason
/// is for the owner's eyes: it is in the log.
const NO_ANSWER_TEXT: &str = "The listener's program gave no answer.";

pub(super) fn answer(told: Told) -> Response {
    match told {
        Told::Answer(answer) => passed_on(&answer),
        Told::Kept => text(KEPT_STATUS, KEPT_TEXT),
        Told::Late => text(504, LATE_TEXT),
        Told::Dropped => text(503, DROPPED_TEXT),
    }
}

/// The answer as the listener gave it, but for what a browser would apply to
/// all of this server.
fn passed_on(answer: &Answer) -> Response {
    let status = answer.told_status();
    if !answer.error.is_empty() {
        return text(status, NO_ANSWER_TEXT);
    }
    let body = if takes_body(status) {
        answer.body.clone()
    } else {
        Bytes::new()
    };
    let mut response = respond(status, body);
    let mut headers = answer.headers.clone();
    header::drop_hop_by_hop(&mut headers);
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) else {
            continue;
        };
        if !OF_THE_SERVER.contains(&name.as_str()) && name != CONTENT_SECURITY_POLICY {
            response.headers_mut().append(name, value);
        }
    }
    guard(response)
}

fn text(status: u16, text: &'static str) -> Response {
    let mut response = respond(status, Bytes::from_static(text.as_bytes()));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    guard(response)
}

fn respond(status: u16, body: Bytes) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = (status, body).into_response();
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// Nothing that a listener says becomes a page of this server.
fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}
