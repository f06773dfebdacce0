//! Inbound: `/in/{slug}` of a source, `/in/{token}/` of an inbox.

mod ingest;
mod relayed;
mod sources;

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use http::header::ALLOW;
use http::{HeaderMap, Method, StatusCode, Uri};
use tower_http::catch_panic::CatchPanicLayer;

use crate::engine::intake::Reply;
use crate::engine::receive::{self, INBOX_PATH, InboxAnswer, ReceiveError};
use crate::http::body;
use crate::http::cookies;
use crate::http::fallback::panicked;
use crate::http::problem::Problem;
use crate::http::server::PeerAddr;
use crate::http::state::AppState;
use crate::store::NewReceived;

/// What an inbox takes, of the methods that have a name; others it takes too.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The routes under `/in/`.
pub fn router(state: &AppState) -> Router {
    let inbox = any(take_in);
    Router::new()
        .route("/in/{token}", inbox.clone())
        .route("/in/{token}/", inbox.clone())
        .route("/in/{token}/{*rest}", inbox)
        .merge(ingest::routes())
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(state.clone())
}

/// Takes the token from the path as it came: what is below it may be anything,
/// also what does not decode.
async fn take_in(
    state: State<AppState>,
    peer: Option<Extension<PeerAddr>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let headers = cookies::without_sessions(headers);
    let below = uri.path().strip_prefix(INBOX_PATH).unwrap_or_default();
    let token = below.split('/').next().unwrap_or_default();
    let peer = peer.map(|Extension(peer)| peer);
    if let Some(source) = state.engine.source(token) {
        return sources::take_in(&state, source, peer, (&method, &uri, &headers), body).await;
    }
    keep(&state, token, peer, (&method, &uri, &headers), body).await
}

/// Keeps what came, then answers.
async fn keep(
    state: &AppState,
    token: &str,
    peer: Option<PeerAddr>,
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
    body: Body,
) -> Result<Response, Problem> {
    if matches!(*method, Method::TRACE | Method::CONNECT) {
        return Err(Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "no_method",
            "An inbox does not take this method.",
        )
        .with_header(ALLOW, METHODS));
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
        peer: peer.map(|peer| peer.0.ip()),
        event_type: None,
    };
    match state.engine.take_in(token, received).await {
        Ok(InboxAnswer::Own { status, inbox }) => {
            hold_back(state, inbox.delay()).await;
            Ok(sources::answer(Reply {
                status,
                ..inbox.answer.into()
            }))
        }
        Ok(InboxAnswer::Told(told)) => Ok(relayed::answer(told)),
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
        .strip_prefix(INBOX_PATH)
        .and_then(|rest| rest.strip_prefix(token));
    below.unwrap_or(all).to_owned()
}

/// Waits as the inbox was told to; not longer than the server runs.
async fn hold_back(state: &AppState, delay: Duration) {
    if delay.is_zero() {
        return;
    }
    let mut stopping = state.stopping.clone();
    tokio::select! {
        () = state.clock.sleep(delay) => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}
