//! The server's end: listeners come here, `GET /api/v1/listen/`.
//!
//! A listener with an API key of an environment may listen at each of its
//! inboxes and make others by naming a new token. One without may listen at
//! inboxes that say so, and make some where the operator allows it.

mod openings;
mod session;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use http::header::{AUTHORIZATION, RETRY_AFTER, UPGRADE};
use http::{HeaderMap, StatusCode};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tower_http::catch_panic::CatchPanicLayer;

use self::openings::Openings;
use self::session::Session;
use super::frame::PATH;
use crate::domain::principal::Capability;
use crate::http::fallback::{no_method, panicked};
use crate::http::problem::Problem;
use crate::http::server::{PeerAddr, Takeover};
use crate::http::state::AppState;
use crate::http::{auth, origin};
use crate::store::KnownApiKey;

/// What the socket's handlers share.
#[derive(Clone)]
struct Hub {
    state: AppState,
    openings: Arc<Openings>,
}

/// Where listeners connect to.
pub fn router(state: &AppState) -> Router {
    let hub = Hub {
        state: state.clone(),
        openings: Arc::default(),
    };
    Router::new()
        .route(PATH, get(open))
        .route(PATH.trim_end_matches('/'), get(open))
        .method_not_allowed_fallback(no_method)
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(hub)
}

async fn open(
    State(hub): State<Hub>,
    peer: Option<Extension<PeerAddr>>,
    takeover: Option<Extension<Takeover>>,
    request: Request,
) -> Result<Response, Problem> {
    if origin::is_foreign(request.headers()) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            "A page of another site may not listen here.",
        ));
    }
    let peer = peer.map(|Extension(peer)| peer.0.ip());
    let key = admit(&hub, request.headers(), peer)?;
    let answer = create_response_with_body(&request, axum::body::Body::empty);
    let (Ok(answer), Some(Extension(takeover))) = (answer, takeover) else {
        return Err(Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "no_websocket",
            "Listeners connect here by a websocket, version 13: use `hookpost listen` or `svix listen`.",
        )
        .with_header(UPGRADE, "websocket"));
    };
    let session = Session::new(hub.state, peer, key);
    takeover.by(|taken| session.run(taken));
    Ok(answer)
}

/// The API key of who wants to listen, if one is shown.
fn admit(
    hub: &Hub,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<Option<Arc<KnownApiKey>>, Problem> {
    if !headers.contains_key(AUTHORIZATION) {
        hub.openings
            .note(peer, hub.state.clock.now())
            .map_err(|()| {
                let problem = Problem::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too_many_listeners",
                    "This address connects too often without an API key. Try again in a minute.",
                );
                problem.with_header(RETRY_AFTER, "60")
            })?;
        return Ok(None);
    }
    let key = auth::known(&hub.state, headers)?;
    let principal = key.principal();
    auth::expect(principal, Capability::Manage)?;
    if !principal.scope.covers_environment() {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "This API key is bound to one application, and inboxes belong to the environment. Use \
             a key of the environment.",
        ));
    }
    Ok(Some(key))
}
