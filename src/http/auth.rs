//! Authentication: an API key becomes a [`Principal`].

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::problem::Problem;
use super::state::AppState;
use crate::domain::api_key;
use crate::domain::principal::Principal;

/// Lets a request through whose `Authorization` is an API key: `Bearer KEY`,
/// or the bare key.
pub async fn require_key(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    match principal(&state, request.headers()) {
        Some(principal) => {
            request.extensions_mut().insert(Caller(principal));
            next.run(request).await
        }
        None => refusal().into_response(),
    }
}

fn principal(state: &AppState, headers: &HeaderMap) -> Option<Principal> {
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
    let found = state.store.catalog().api_key(&api_key::hash(key))?;
    Some(found.principal())
}

fn refusal() -> Problem {
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "Send an API key of this server: `Authorization: Bearer KEY`. `hookpost keys create` makes one.",
    );
    problem.with_header(WWW_AUTHENTICATE, "Bearer")
}

/// Who sent the request: an extractor for handlers behind [`require_key`].
#[derive(Clone, Copy, Debug)]
pub struct Caller(pub Principal);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().copied().ok_or_else(refusal)
    }
}
