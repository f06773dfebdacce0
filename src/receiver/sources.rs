//! Requests to sources, over HTTP.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use crate::domain::answer::takes_body;
use crate::domain::source::LiveSource;
use crate::engine::intake::Reply;
use crate::engine::receive;
use crate::http::body;
use crate::http::problem::Problem;
use crate::http::server::PeerAddr;
use crate::http::state::AppState;
use crate::store::Arrival;

/// What no answer to a sender may do, if a browser shows it.
pub(super) const POLICY: &str = "sandbox; default-src 'none'";

/// Takes in a request to a source.
///
/// # Errors
/// A body that is too large, too slow or broke off; the store, when it cannot
/// be written to.
pub(super) async fn take_in(
    state: &AppState,
    source: Arc<LiveSource>,
    peer: Option<PeerAddr>,
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
    body: Body,
) -> Result<Response, Problem> {
    let own = source.settings.limits.body_bytes_max;
    let own = own.and_then(|bytes| usize::try_from(bytes).ok());
    let most = state.limits.payload_bytes_max;
    let bytes_max = own.map_or(most, |own| own.min(most));
    let arrival = |body| Arrival {
        method: method.as_str().to_owned(),
        path: super::path_below(uri, &source.settings.slug),
        headers: receive::list(headers),
        body,
        peer: peer.map(|peer| peer.0.ip()),
    };
    let body = match body::read_raw(headers, body, bytes_max).await {
        Ok(body) => body,
        Err(problem) => {
            let (status, reason) = (problem.status.as_u16(), problem.detail.clone());
            let arrival = arrival(Bytes::new());
            state
                .engine
                .turned_away(&source, arrival, status, reason)
                .await;
            return Err(problem);
        }
    };
    let reply = state.engine.take_in_from(&source, arrival(body)).await?;
    Ok(answer(reply))
}

/// What is said to a sender: what the owner chose, never as a page of ours.
pub(super) fn answer(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    let body = if takes_body(reply.status) {
        reply.body
    } else {
        Bytes::new()
    };
    let has_body = !body.is_empty();
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    for (name, value) in &reply.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    if has_body && let Ok(value) = HeaderValue::from_str(&reply.content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
