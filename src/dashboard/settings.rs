//! Settings of an environment: what is general here; a file for each of the
//! other tabs.

pub(super) mod account;
pub(super) mod audit;
pub(super) mod environments;
pub(super) mod keys;
pub(super) mod users;

use askama::Template;

use super::endpoints::answer;
use super::failure::Answered;
use super::frame::{Frame, Kind, Tab};
use super::parts::{ApiCall, Id, Tag, bytes, number, spoken};
use super::place::Place;

/// The tabs of settings, and which is shown.
pub(super) struct Tabs {
    pub(super) items: Vec<(&'static str, String, bool)>,
}

impl Tabs {
    pub(super) fn new(place: &Place, current: &str) -> Self {
        let all = [
            ("General", "", true),
            ("API Keys", "/keys", place.can().admin),
            ("Users", "/users", place.can().admin),
            ("Audit log", "/audit", place.can().admin),
            ("Portal", "/portal", place.can().admin),
            ("Environments", "/environments", place.can().everywhere),
        ];
        let shown = all.into_iter().filter(|(_, _, allowed)| *allowed);
        let items = shown.map(|(label, path, _)| {
            let href = format!("{}/settings{path}", place.environment_base());
            (label, href, label == current)
        });
        Self {
            items: items.collect(),
        }
    }
}

#[derive(Template)]
#[template(path = "dashboard/settings/general.html")]
struct GeneralPage {
    frame: Frame,
    tabs: Tabs,
    name: String,
    id: Id,
    payloads: String,
    attempts: String,
    bytes_max: Option<String>,
    available: Tag,
    figures: Option<Figures>,
    operational: String,
    jobs: String,
    api: ApiCall,
}

struct Figures {
    messages: String,
    attempts: String,
    waiting: String,
    in_flight: String,
    content: String,
    file: String,
}

/// `GET /settings`
pub(super) async fn general(place: Place) -> Answered {
    let state = &place.state;
    let retention = state.retention;
    let figures = if place.can().everywhere {
        let figures = state.store.figures()?;
        Some(Figures {
            messages: number(figures.totals.messages),
            attempts: number(figures.totals.attempts),
            waiting: number(figures.totals.waiting),
            in_flight: number(state.engine.in_flight() as u64),
            content: bytes(figures.content_bytes),
            file: bytes(figures.file_bytes),
        })
    } else {
        None
    };
    let page = GeneralPage {
        frame: Frame::new(&place, Tab::Settings, &[], "Settings"),
        tabs: Tabs::new(&place, "General"),
        name: place.environment.name.clone(),
        id: Id::new(place.id(place.environment.key)).whole(),
        payloads: spoken(retention.payloads),
        attempts: spoken(retention.attempts),
        bytes_max: retention.bytes_max.map(bytes),
        available: if state.store.is_available() {
            Tag::new(Kind::Good, "Well")
        } else {
            Tag::new(Kind::Bad, "Being reopened")
        },
        figures,
        operational: format!(
            "{}/endpoints",
            place.application_base(&place.id(place.environment.operational))
        ),
        jobs: place.link("/jobs"),
        api: ApiCall::new("api-store", "GET", &place.api("/store"), None),
    };
    answer(&page)
}
