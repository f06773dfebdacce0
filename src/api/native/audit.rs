//! `/audit`: who did what that somebody may ask about later.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header::LINK;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::audit::AuditEntry;
use crate::domain::ids::{AuditKey, Ids, Key as _};
use crate::domain::time::Timestamp;
use crate::http::answer::json;
use crate::http::auth::Caller;
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::http::state::AppState;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEntry)]
pub(super) struct Shape<'a> {
    id: String,
    /// When it was done.
    timestamp: Timestamp,
    /// Who did it, in words.
    actor: &'a str,
    /// What was done.
    action: &'a str,
    /// The id of what it was done to.
    subject: &'a str,
    /// More, in words; may be empty.
    detail: &'a str,
    /// Null when it is about the environment itself.
    application_id: Option<String>,
}

fn shape<'a>(entry: &'a AuditEntry, ids: &Ids) -> Shape<'a> {
    Shape {
        id: ids.text(entry.key),
        timestamp: entry.key.made_at(),
        actor: &entry.actor,
        action: &entry.action,
        subject: &entry.subject,
        detail: &entry.detail,
        application_id: entry.application.map(|key| ids.text(key)),
    }
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
    params: Params,
) -> Result<Response, Problem> {
    let take = params.page_size()?;
    let ids = state.store.ids();
    let before = params.parsed("before", "the id of an entry", |text| {
        ids.parse::<AuditKey>(text)
    })?;
    let (entries, next) = state.store.list_audit(principal.scope, before, take)?;
    let shapes: Vec<_> = entries.iter().map(|entry| shape(entry, ids)).collect();
    let mut response = json(StatusCode::OK, &shapes);
    if let Some(next) = next {
        let link = params.next_link(&ids.text(next));
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}
