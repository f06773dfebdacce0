//! `/applications/{app}/portal-links`, `/applications/{app}/portal-sessions`

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{idempotent_for, required_application, written};
use crate::control::portal::{PORTAL_SESSION_SECONDS_MIN, PortalLinkInput};
use crate::domain::session::{PORTAL_LINK_LIFETIME, PORTAL_SESSION_MAX};
use crate::domain::time::Timestamp;
use crate::http::answer::{json, to_json};
use crate::http::auth::Caller;
use crate::http::body::{self, Fields, SETTINGS_BYTES_MAX};
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// Characters of the page to begin with.
pub(super) const NEXT_CHARS_MAX: usize = 512;

#[derive(Serialize, ToSchema)]
#[schema(as = PortalLink)]
pub(super) struct LinkShape<'a> {
    /// Where to send the customer's browser. A secret: who follows it first is in.
    url: &'a str,
    /// Until when it can be followed.
    expires: Timestamp,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PortalSessionsEnded)]
pub(super) struct EndedShape {
    /// Sessions that were ended, and links that nobody had followed.
    ended: usize,
}

pub(super) async fn create_link(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let control = state.control();
    let (token, url) = control.new_portal_token();
    let expires = state.clock.now().plus(PORTAL_LINK_LIFETIME);
    let render = move |(): &()| {
        let url = url.expose();
        (StatusCode::CREATED, to_json(&LinkShape { url, expires }))
    };
    let idempotent = idempotent_for(&headers, principal, uri.path(), render.clone())?;
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let entry = required_application(&state, principal, &app)?;
    let input = input(&body)?;
    let application = entry.application.key;
    let made =
        control.create_portal_link(principal, application, input, &token, expires, idempotent);
    Ok(written(made.await?, render))
}

fn input(body: &[u8]) -> Result<PortalLinkInput, Problem> {
    let seconds = PORTAL_SESSION_SECONDS_MIN..=PORTAL_SESSION_MAX.as_secs();
    let mut fields = Fields::parse(body)?;
    let input = PortalLinkInput {
        expires_in_seconds: fields.integer("expiresInSeconds", seconds),
        read_only: fields.boolean("readOnly"),
        next: fields.text("next", NEXT_CHARS_MAX),
    };
    fields.finish()?;
    Ok(input)
}

pub(super) async fn end_sessions(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
) -> Result<Response, Problem> {
    let entry = required_application(&state, principal, &app)?;
    let application = entry.application.key;
    let ended = state.store.close_portal(principal, application).await?;
    Ok(json(StatusCode::OK, &EndedShape { ended }))
}
