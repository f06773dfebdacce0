//! Authentication: an API key becomes a [`Principal`].

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::problem::Problem;
use super::state::AppState;
use crate::domain::api_key;
use crate::domain::principal::{Capability, Principal};
use crate::store::KnownApiKey;

/// Notes who sent `request`: its `Authorization` must be an API key, as
/// `Bearer KEY` or bare.
///
/// # Errors
/// 401 when it is none, or one whose time is over.
pub fn admit(state: &AppState, request: &mut Request) -> Result<(), Problem> {
    let key = known(state, request.headers())?;
    request.extensions_mut().insert(Caller(key.principal()));
    Ok(())
}

/// The API key that `headers` show, if it works now.
///
/// # Errors
/// As [`admit`].
pub fn known(state: &AppState, headers: &HeaderMap) -> Result<Arc<KnownApiKey>, Problem> {
    let key = shown_key(state, headers).ok_or_else(refusal)?;
    let now = state.clock.now();
    if key.has_expired(now) {
        return Err(expired());
    }
    key.note_use(now);
    Ok(key)
}

/// Whether a key that was [`known`] still is.
#[must_use]
pub fn is_still_known(state: &AppState, key: &KnownApiKey) -> bool {
    let there = state.store.catalog().api_key(&key.hash);
    there.is_some_and(|known| !known.has_expired(state.clock.now()))
}

/// The API key that is shown, if it is one of this server's.
fn shown_key(state: &AppState, headers: &HeaderMap) -> Option<Arc<KnownApiKey>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, more) = (values.next()?, values.next());
    if more.is_some() {
        return None;
    }
    let text = value.to_str().ok()?;
    let key = match text.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
        Some(_) => return None,
        None => text,
    };
    state.store.catalog().api_key(&api_key::hash(key))
}

fn expired() -> Problem {
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "key_expired",
        "This API key has expired. Use another; `hookpost keys create` makes one.",
    );
    problem.with_header(WWW_AUTHENTICATE, "Bearer")
}

fn refusal() -> Problem {
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "Send an API key of this server: `Authorization: Bearer KEY`. `hookpost keys create` makes one.",
    );
    problem.with_header(WWW_AUTHENTICATE, "Bearer")
}

/// Lets through who may do what a route is for; behind [`admit`].
///
/// # Errors
/// 403 for others.
pub async fn require(
    State(wanted): State<Capability>,
    Caller(principal): Caller,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    expect(principal, wanted)?;
    Ok(next.run(request).await)
}

/// Whether `principal` may do what asks for `wanted`.
///
/// # Errors
/// 403 when not.
pub fn expect(principal: Principal, wanted: Capability) -> Result<(), Problem> {
    if principal.capabilities.allow(wanted) {
        return Ok(());
    }
    let detail = format!(
        "This API key does not have the scope `{}`. Use one that has; nothing was done.",
        wanted.name()
    );
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
}

/// Who sent the request: an extractor for handlers behind [`admit`].
#[derive(Clone, Copy, Debug)]
pub struct Caller(pub Principal);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().copied().ok_or_else(refusal)
    }
}
