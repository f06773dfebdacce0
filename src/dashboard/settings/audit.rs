//! The audit log: what was done that somebody may ask about later.

use askama::Template;

use super::super::endpoints::answer;
use super::super::failure::Answered;
use super::super::frame::{Frame, Tab};
use super::super::parts::{ApiCall, Id, Moment};
use super::super::place::Place;
use super::Tabs;
use crate::domain::ids::{AuditKey, Key as _};
use crate::http::paging::Params;

/// Entries on a page.
const AUDIT_PAGE: usize = 50;

struct AuditRow {
    at: Moment,
    actor: String,
    action: String,
    subject: Id,
    detail: String,
}

#[derive(Template)]
#[template(path = "dashboard/settings/audit.html")]
struct AuditPage {
    frame: Frame,
    tabs: Tabs,
    rows: Vec<AuditRow>,
    older: Option<String>,
    api: ApiCall,
}

/// `GET /settings/audit`
pub(in super::super) async fn index(place: Place, params: Params) -> Answered {
    let store = &place.state.store;
    let before: Option<AuditKey> = params.parsed("before", "the id of an entry", |text| {
        store.ids().parse(text)
    })?;
    let (entries, next) = store.list_audit(place.scope(), before, AUDIT_PAGE)?;
    let rows = entries.into_iter().map(|entry| AuditRow {
        at: Moment::new(entry.key.made_at(), place.now),
        actor: entry.actor,
        action: entry.action,
        subject: Id::new(entry.subject),
        detail: entry.detail,
    });
    let page = AuditPage {
        frame: Frame::new(&place, Tab::Settings, &[], "Audit log"),
        tabs: Tabs::new(&place, "Audit log"),
        rows: rows.collect(),
        older: next.map(|next| place.link(&format!("/settings/audit?before={}", place.id(next)))),
        api: ApiCall::new("api-audit", "GET", &place.api("/audit"), None),
    };
    answer(&page)
}
