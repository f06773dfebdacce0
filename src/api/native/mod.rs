//! The native dialect: the Octohooks contract and what extends it.
//!
//! Lists are bare arrays. Times are integers, Unix milliseconds. Wherever a
//! path takes an id it takes the caller's uid too. GET of one thing that is
//! not there answers 404 with an empty body: clients test that body for truth.

mod applications;
mod attempts;
mod audit;
mod content;
mod endpoint_messages;
mod endpoints;
mod environments;
mod event_types;
mod examples;
mod inboxes;
mod jobs;
mod keys;
mod listeners;
mod logs;
mod messages;
pub(in crate::api) mod openapi;
mod portal;
mod received;
mod records;
mod replays;
mod requests;
mod sources;
mod statistics;
mod store;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, any, on};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use sha2::{Digest as _, Sha256};
use tower_http::catch_panic::CatchPanicLayer;

use crate::domain::message::UID_CHARS_MAX;
use crate::domain::principal::{Actor, Capability, Principal};
use crate::http::answer::raw_json;
use crate::http::body::Fields;
use crate::http::fallback::{no_method, no_route, panicked};
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::http::{auth, cors};
use crate::store::{ApplicationEntry, Idempotent, StoreError, StoredAnswer, Written};

/// Every route of the native API: method, path, handler. The router is made
/// from this table, and tests go through it, so that none is left out.
macro_rules! routes {
    ($($method:ident $path:literal $capability:ident => $handler:path;)*) => {
        /// Methods and paths below `/api/v1`, and what a key must be allowed for them.
        pub const ROUTES: &[(&str, &str, Capability)] =
            &[$((stringify!($method), $path, Capability::$capability)),*];

        fn table() -> Vec<(&'static str, MethodRouter<AppState>)> {
            vec![$((
                $path,
                on(MethodFilter::$method, $handler)
                    .route_layer(from_fn_with_state(Capability::$capability, auth::require)),
            )),*]
        }
    };
}

routes! {
    GET "/applications" Read => applications::list;
    POST "/applications" Manage => applications::create;
    GET "/applications/{app}" Read => applications::show;
    PUT "/applications/{app}" Manage => applications::update;
    DELETE "/applications/{app}" Manage => applications::delete;
    GET "/applications/{app}/endpoints" Read => endpoints::list;
    POST "/applications/{app}/endpoints" Manage => endpoints::create;
    GET "/applications/{app}/endpoints/{ep}" Read => endpoints::show;
    PUT "/applications/{app}/endpoints/{ep}" Manage => endpoints::update;
    DELETE "/applications/{app}/endpoints/{ep}" Manage => endpoints::delete;
    GET "/applications/{app}/endpoints/{ep}/secret" Secrets => endpoints::secret;
    POST "/applications/{app}/endpoints/{ep}/secret/rotations" Secrets => endpoints::rotate;
    GET "/applications/{app}/endpoints/{ep}/attempts" Read => attempts::of_endpoint;
    POST "/applications/{app}/endpoints/{ep}/examples" Send => examples::create;
    POST "/applications/{app}/endpoints/{ep}/recoveries" Send => jobs::recover;
    POST "/applications/{app}/endpoints/{ep}/backfills" Send => jobs::backfill;
    POST "/applications/{app}/endpoints/{ep}/replays" Send => jobs::replay;
    GET "/applications/{app}/endpoints/{ep}/statistics" Read => statistics::of_endpoint;
    GET "/applications/{app}/messages" Read => messages::list;
    POST "/applications/{app}/messages" Send => messages::create;
    POST "/applications/{app}/messages/batch" Send => messages::create_batch;
    GET "/applications/{app}/messages/{msg}" Read => messages::show;
    GET "/applications/{app}/messages/{msg}/endpoint-messages" Read => endpoint_messages::list;
    GET "/applications/{app}/messages/{msg}/attempts" Read => attempts::of_message;
    GET "/applications/{app}/messages/{msg}/attempts/{atmpt}" Read => attempts::show;
    POST "/applications/{app}/messages/{msg}/endpoints/{ep}/replays" Send => replays::create;
    DELETE "/applications/{app}/messages/{msg}/content" Admin => content::erase_message;
    DELETE "/applications/{app}/content" Admin => content::erase_application;
    POST "/applications/{app}/portal-links" Read => portal::create_link;
    DELETE "/applications/{app}/portal-sessions" Manage => portal::end_sessions;
    GET "/applications/{app}/requests" Read => requests::list;
    POST "/applications/{app}/requests" Send => requests::create;
    GET "/applications/{app}/requests/{req}" Read => requests::show;
    GET "/applications/{app}/statistics" Read => statistics::of_application;
    GET "/attempts" Read => logs::attempts;
    GET "/audit" Admin => audit::list;
    GET "/event-types" Read => event_types::list;
    POST "/event-types" Manage => event_types::create;
    POST "/event-types/imports" Manage => event_types::import;
    GET "/event-types/{name}" Read => event_types::show;
    PUT "/event-types/{name}" Manage => event_types::update;
    DELETE "/event-types/{name}" Manage => event_types::delete;
    GET "/environments" Environments => environments::list;
    POST "/environments" Environments => environments::create;
    GET "/environments/{env}" Environments => environments::show;
    PUT "/environments/{env}" Environments => environments::update;
    DELETE "/environments/{env}" Environments => environments::delete;
    GET "/inboxes" Read => inboxes::list;
    POST "/inboxes" Manage => inboxes::create;
    GET "/inboxes/{token}" Read => inboxes::show;
    PUT "/inboxes/{token}" Manage => inboxes::update;
    DELETE "/inboxes/{token}" Manage => inboxes::delete;
    GET "/inboxes/{token}/endpoints" Read => inboxes::senders;
    GET "/inboxes/{token}/listeners" Read => listeners::list;
    DELETE "/inboxes/{token}/listeners" Manage => listeners::close;
    GET "/inboxes/{token}/received" Read => inboxes::received;
    DELETE "/inboxes/{token}/received" Manage => inboxes::clear;
    GET "/inboxes/{token}/received/{rcv}" Read => inboxes::show_received;
    POST "/inboxes/{token}/received/{rcv}/replays" Manage => inboxes::replay;
    GET "/jobs" Read => jobs::list;
    GET "/jobs/{job}" Read => jobs::show;
    PUT "/jobs/{job}" Send => jobs::update;
    POST "/jobs/{job}/cancellations" Send => jobs::cancel;
    GET "/messages" Read => logs::messages;
    GET "/source-presets" Read => sources::presets;
    GET "/sources" Read => sources::list;
    POST "/sources" Manage => sources::create;
    GET "/sources/{src}" Read => sources::show;
    PUT "/sources/{src}" Manage => sources::update;
    DELETE "/sources/{src}" Manage => sources::delete;
    GET "/sources/{src}/secrets" Secrets => sources::secrets;
    GET "/sources/{src}/received" Read => received::list;
    GET "/sources/{src}/received/{rcv}" Read => received::show;
    POST "/sources/{src}/received/{rcv}/verifications" Manage => received::verify;
    GET "/sources/{src}/records" Read => records::list;
    GET "/sources/{src}/records/{record}" Read => records::show;
    DELETE "/sources/{src}/records/{record}" Manage => records::delete;
    GET "/sources/{src}/records/{record}/history" Read => records::history;
    GET "/statistics" Read => statistics::of_environment;
    GET "/keys" Admin => keys::list;
    POST "/keys" Admin => keys::create;
    GET "/keys/{key}" Admin => keys::show;
    PUT "/keys/{key}" Admin => keys::update;
    DELETE "/keys/{key}" Admin => keys::revoke;
    POST "/keys/{key}/rotations" Admin => keys::rotate;
    GET "/store" Environments => store::show;
}

/// Where the native API is.
const BASE: &str = "/api/v1";

/// The native API. A slash at the end of a path is taken too.
pub(super) fn router(state: &AppState) -> Router {
    // What is below the base, and the base itself, is the API's to answer.
    let mut router = Router::new();
    for path in [BASE, &format!("{BASE}/"), &format!("{BASE}/{{*rest}}")] {
        router = router.route(path, any(no_route));
    }
    for (path, method) in table() {
        let path = format!("{BASE}{path}");
        router = router
            .route(&path, method.clone())
            .route(&format!("{path}/"), method);
    }
    router
        .method_not_allowed_fallback(no_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(state.clone(), gate))
        .with_state(state.clone())
}

/// What every request to the API goes through.
async fn gate(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    if let Some(preflight) = cors::preflight(&request) {
        return preflight;
    }
    let response = match auth::admit(&state, &mut request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    cors::open(response)
}

/// 404 with an empty body: how GET says that one thing is not there.
fn absent() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

/// The application in a path, or `None` when there is none that the caller sees.
fn application(
    state: &AppState,
    principal: Principal,
    id_or_uid: &str,
) -> Result<Option<Arc<ApplicationEntry>>, StoreError> {
    state.store.find_application(principal.scope, id_or_uid)
}

/// As [`application`], for everything but GET of one thing.
fn required_application(
    state: &AppState,
    principal: Principal,
    id_or_uid: &str,
) -> Result<Arc<ApplicationEntry>, Problem> {
    application(state, principal, id_or_uid)?.ok_or_else(|| Problem::not_found("application"))
}

/// A `uid` field.
fn uid(fields: &mut Fields<'_>) -> Option<String> {
    fields.text("uid", UID_CHARS_MAX)
}

/// Bytes of an idempotency key at most.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// What the header `Idempotency-Key` asks for, with `render` for the answer's
/// body. A key counts within an environment and a path.
fn idempotent<A>(
    headers: &HeaderMap,
    principal: Principal,
    path: &str,
    render: impl FnOnce(&A) -> (StatusCode, Bytes) + Send + 'static,
) -> Result<Option<Idempotent<A>>, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    let bytes = key.as_bytes();
    let visible = bytes.iter().all(|byte| (b'!'..=b'~').contains(byte));
    if keys.next().is_some()
        || bytes.is_empty()
        || bytes.len() > IDEMPOTENCY_KEY_BYTES_MAX
        || !visible
    {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_idempotency_key",
            format!(
                "Idempotency-Key must be one value of 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters."
            ),
        ));
    }
    let mut hash = Sha256::new();
    hash.update(crate::domain::ids::Key::as_u64(principal.scope.environment).to_be_bytes());
    hash.update(path.trim_end_matches('/').as_bytes());
    hash.update([0]);
    hash.update(bytes);
    Ok(Some(Idempotent {
        hash: hash.finalize().into(),
        render: Box::new(|answer| {
            let (status, body) = render(answer);
            StoredAnswer {
                status: status.as_u16(),
                body,
            }
        }),
    }))
}

/// As [`idempotent`], for an answer that is for the caller alone: another key's
/// idempotency key is another one.
fn idempotent_for<A>(
    headers: &HeaderMap,
    principal: Principal,
    path: &str,
    render: impl FnOnce(&A) -> (StatusCode, Bytes) + Send + 'static,
) -> Result<Option<Idempotent<A>>, Problem> {
    let caller = match principal.actor {
        Actor::ApiKey(key) => crate::domain::ids::Key::as_u64(key),
        Actor::User(key) => crate::domain::ids::Key::as_u64(key),
        Actor::Customer(key) => crate::domain::ids::Key::as_u64(key),
        Actor::Operator | Actor::Stranger => 0,
    };
    let place = format!("{} {caller}", path.trim_end_matches('/'));
    idempotent(headers, principal, &place, render)
}

/// The answer to a POST: made now, or the one that its key has had before.
fn written<A>(written: Written<A>, render: impl FnOnce(&A) -> (StatusCode, Bytes)) -> Response {
    match written {
        Written::Fresh(answer) => {
            let (status, body) = render(&answer);
            raw_json(status, body)
        }
        Written::Repeated(stored) => {
            let status = StatusCode::from_u16(stored.status).expect("only statuses are stored");
            raw_json(status, stored.body)
        }
    }
}
