//! Inbound: `/in/{token}/`, any method.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use tower_http::catch_panic::CatchPanicLayer;

use crate::engine::receive::{self, ANSWER_BODY, ANSWER_TYPE, ReceiveError};
use crate::http::body;
use crate::http::fallback::panicked;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::store::NewReceived;

/// The routes under `/in/`.
pub fn router(state: &AppState) -> Router {
    let inbox = any(take_in);
    Router::new()
        .route("/in/{token}", inbox.clone())
        .route("/in/{token}/", inbox)
        .route("/in/{token}/{*rest}", any(take_in_below))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(state.clone())
}

async fn take_in(
    state: State<AppState>,
    Path(token): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    keep(&state, &token, &method, &uri, &headers, body).await
}

async fn take_in_below(
    state: State<AppState>,
    Path((token, _)): Path<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    keep(&state, &token, &method, &uri, &headers, body).await
}

/// Keeps what came, then answers.
async fn keep(
    state: &AppState,
    token: &str,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if matches!(*method, Method::TRACE | Method::CONNECT) {
        return Err(Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "no_method",
            "An inbox does not take this method.",
        ));
    }
    let no_inbox = || Problem::not_found("inbox");
    if state.store.inbox(token)?.is_none() {
        return Err(no_inbox());
    }
    let body = body::read_raw(headers, body, state.limits.payload_bytes_max).await?;
    let received = NewReceived {
        method: method.as_str().to_owned(),
        path: path_below(uri, token),
        headers: receive::list(headers),
        body,
    };
    match state.engine.take_in(token, received).await {
        Ok(received) => Ok(answer(received.answered)),
        Err(ReceiveError::NoInbox) => Err(no_inbox()),
        Err(ReceiveError::Store(error)) => Err(error.into()),
    }
}

/// Path and query after the token.
fn path_below(uri: &Uri, token: &str) -> String {
    let all = uri
        .path_and_query()
        .map_or("", http::uri::PathAndQuery::as_str);
    let below = all
        .strip_prefix("/in/")
        .and_then(|rest| rest.strip_prefix(token));
    below.unwrap_or(all).to_owned()
}

/// Fixed and tiny: nothing that came is echoed.
fn answer(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(ANSWER_TYPE)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, ANSWER_BODY).into_response()
}
