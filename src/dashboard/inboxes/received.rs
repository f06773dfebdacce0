//! What came to an inbox: rows of its log, and one request with all it had.

use askama::Template;
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use super::super::arrived::{self, Header};
use super::super::endpoints::{answer, back, written};
use super::super::failure::{Answered, Failure};
use super::super::form::Form;
use super::super::frame::{Can, Frame, Kind, Tab};
use super::super::logs::{self, Fresh, LIVE_ROWS_MAX};
use super::super::parts::{ApiCall, Id, Moment, Tag, Well, bytes, milliseconds};
use super::super::place::Place;
use super::listeners::Half;
use super::{found, link, name_of};
use crate::control::FieldError;
use crate::domain::ids::ReceivedKey;
use crate::domain::inbox::{Inbox, Received, Replay};
use crate::domain::relay::Relayed;
use crate::http::paging::Params;
use crate::http::problem::Problem;

/// A row of the log.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) href: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) event_type: Option<String>,
    pub(super) at: Moment,
    pub(super) answered: Tag,
    pub(super) size: String,
    pub(super) replays: usize,
    /// What there is to say of the listener, if anything.
    pub(super) relayed: &'static str,
}

impl Row {
    pub(super) fn new(place: &Place, inbox: &Inbox, received: &Received) -> Self {
        let id = place.id(received.key);
        Self {
            href: link(place, inbox, &format!("/received/{id}")),
            id,
            method: received.method.clone(),
            path: received.path.clone(),
            event_type: received.event_type.clone(),
            at: Moment::new(received.at, place.now),
            answered: status_tag(received.answered),
            size: bytes(received.body_bytes),
            replays: received.replays.len(),
            relayed: match &received.relayed {
                Relayed::No => "",
                Relayed::Waiting => "waits for the listener",
                Relayed::Never { .. } => "the listener gave no answer",
                Relayed::Answered(reply) if !reply.error.is_empty() => {
                    "the listener's program gave no answer"
                }
                Relayed::Answered(_) => "answered by the listener",
            },
        }
    }
}

pub(super) fn status_tag(status: u16) -> Tag {
    let kind = if status < 300 { Kind::Good } else { Kind::Bad };
    Tag::new(kind, status.to_string())
}

#[derive(Template)]
#[template(path = "dashboard/inboxes/_fresh.html")]
struct FreshRows {
    rows: Vec<Row>,
    /// Whether more may have come than is told.
    gap: bool,
    reload: String,
}

/// `GET /inboxes/{token}/live`: rows as they come.
pub(in super::super) async fn live(place: Place, params: Params, headers: HeaderMap) -> Answered {
    found(&place)?;
    Ok(logs::live(place, params, &headers, fresh_rows))
}

fn fresh_rows(
    place: &Place,
    _: &Params,
    after: ReceivedKey,
) -> Result<Fresh<ReceivedKey>, Failure> {
    let inbox = found(place)?;
    let store = &place.state.store;
    let (mut received, _) = store.received(inbox.key, None, LIVE_ROWS_MAX, 0)?;
    received.retain(|one| one.key > after);
    let newest = received.first().map_or(after, |one| one.key);
    if received.is_empty() {
        let html = String::new();
        return Ok(Fresh { html, newest });
    }
    let rows = received.iter().rev();
    let page = FreshRows {
        rows: rows.map(|one| Row::new(place, &inbox, one)).collect(),
        gap: received.len() == LIVE_ROWS_MAX,
        reload: link(place, &inbox, ""),
    };
    let html = page.render().expect("a template that only writes texts");
    Ok(Fresh { html, newest })
}

struct Again {
    tag: Tag,
    url: String,
    detail: String,
    at: Moment,
    took: String,
    body: Option<Well>,
}

impl Again {
    fn new(place: &Place, number: usize, replay: &Replay) -> Self {
        let tag = if replay.status == 0 {
            Tag::new(Kind::Bad, "No answer")
        } else {
            status_tag(replay.status)
        };
        let body = Some(&replay.body).filter(|body| !body.is_empty());
        Self {
            tag,
            url: replay.url.clone(),
            detail: replay.detail.clone(),
            at: Moment::new(replay.at, place.now),
            took: milliseconds(u64::from(replay.took_us) / 1000),
            body: body.map(|body| Well::new(format!("replay-{number}"), body.clone())),
        }
    }
}

#[derive(Template)]
#[template(path = "dashboard/inboxes/received.html")]
struct ReceivedPage {
    frame: Frame,
    can: Can,
    id: Id,
    method: String,
    path: String,
    at: Moment,
    answered: Tag,
    size: String,
    peer: Option<String>,
    event_type: Option<String>,
    headers: Vec<Header>,
    body: Option<Well>,
    cut: bool,
    download: String,
    half: Option<Half>,
    replays: Vec<Again>,
    replay: String,
    /// The URL that was typed, or used before, to use once more.
    url: String,
    errors: Vec<FieldError>,
    api: ApiCall,
}

fn received_asked(place: &Place, inbox: &Inbox) -> Result<Received, Failure> {
    let missing = || Failure::not_found("request");
    let key = place.state.store.ids().parse(place.name("rcv"));
    let received = place
        .state
        .store
        .one_received(inbox.key, key.ok_or_else(missing)?)?;
    received.ok_or_else(missing)
}

fn page_of(place: &Place, inbox: &Inbox, received: &Received) -> ReceivedPage {
    let id = place.id(received.key);
    let itself = link(place, inbox, &format!("/received/{id}"));
    let trail = [
        ("Inboxes", "/inboxes".to_owned()),
        (&name_of(inbox), format!("/inboxes/{}", inbox.token)),
    ];
    let headers = received.headers.iter();
    let body = received.body.as_deref().unwrap_or_default();
    let replays = received.replays.iter().enumerate();
    let path = format!("/inboxes/{}/received/{id}/replays", inbox.token);
    ReceivedPage {
        frame: Frame::new(place, Tab::Inboxes, &trail, "Request"),
        can: place.can(),
        id: Id::new(id),
        method: received.method.clone(),
        path: received.path.clone(),
        at: Moment::new(received.at, place.now),
        answered: status_tag(received.answered),
        size: bytes(received.body_bytes),
        peer: received.peer.map(|peer| peer.to_string()),
        event_type: received.event_type.clone(),
        headers: headers
            .map(|(name, value)| Header::new(name, value, None))
            .collect(),
        body: arrived::body(body),
        cut: arrived::is_long(body),
        download: format!("{itself}/body"),
        half: Half::new(place, &received.relayed),
        replays: replays
            .map(|(number, replay)| Again::new(place, number, replay))
            .collect(),
        replay: format!("{itself}/replays"),
        url: received.replays.first().map_or_else(
            || own_url(place, inbox, received),
            |replay| replay.url.clone(),
        ),
        errors: Vec::new(),
        api: ApiCall::new(
            "api-replay",
            "POST",
            &place.api(&path),
            Some(r#"{"url": "https://example.com/webhooks"}"#),
        ),
    }
}

/// Where a listener gets it once more; nothing when there is none.
fn own_url(place: &Place, inbox: &Inbox, received: &Received) -> String {
    if !inbox.relays(place.now) {
        return String::new();
    }
    let url = place.state.control().inbox_url(inbox);
    format!("{}{}", url.trim_end_matches('/'), received.path)
}

/// `GET /inboxes/{token}/received/{rcv}`
pub(in super::super) async fn received(place: Place) -> Answered {
    let inbox = found(&place)?;
    let received = received_asked(&place, &inbox)?;
    answer(&page_of(&place, &inbox, &received))
}

/// `GET /inboxes/{token}/received/{rcv}/body`: the bytes as they came, as a file.
pub(in super::super) async fn body(place: Place) -> Result<Response, Failure> {
    let inbox = found(&place)?;
    let body = received_asked(&place, &inbox)?.body;
    Ok(arrived::download(body.unwrap_or_default()))
}

/// `POST /inboxes/{token}/received/{rcv}/replays`
pub(in super::super) async fn replay(place: Place, form: Form) -> Answered {
    let inbox = found(&place)?;
    let received = received_asked(&place, &inbox)?;
    let url = form.get("url").trim();
    let path = format!("/received/{}", place.id(received.key));
    let checked = place.state.control().check_destination(url).await;
    if let Err(problem) = checked.map_err(Problem::from) {
        if problem.errors.is_empty() {
            return Err(problem.into());
        }
        let page = ReceivedPage {
            url: url.to_owned(),
            errors: problem.errors,
            ..page_of(&place, &inbox, &received)
        };
        return Ok(written(StatusCode::UNPROCESSABLE_ENTITY, &page));
    }
    let replayed = place.state.engine.replay_received(
        place.principal,
        inbox.key,
        received,
        url.to_owned(),
        None,
    );
    replayed.await?;
    Ok(back(&link(&place, &inbox, &path), "sent-again"))
}
