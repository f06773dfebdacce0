//! Inboxes: URLs that take anything and show it.

mod listeners;
mod received;

use askama::Template;
use http::StatusCode;
use serde_json::json;

use super::endpoints::{answer, back, written};
use super::failure::{Answered, Failure};
use super::form::{Form, header_lines};
use super::frame::{Can, Frame, Tab};
use super::parts::{ApiCall, Moment, Well};
use super::place::Place;
use crate::control::FieldError;
use crate::domain::answer::FixedAnswer;
use crate::domain::ids::ReceivedKey;
use crate::domain::inbox::{Inbox, InboxChange};
use crate::http::inbox_input;
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::store::Written;

pub(super) use self::listeners::end as end_listener;
pub(super) use self::received::{body, live, received, replay};

/// Requests on a page.
const PAGE: usize = 50;

struct Row {
    name: String,
    href: String,
    url: String,
    answers: u16,
    created: Moment,
}

#[derive(Template)]
#[template(path = "dashboard/inboxes/index.html")]
struct IndexPage {
    frame: Frame,
    can: Can,
    rows: Vec<Row>,
    listeners: Vec<listeners::Row>,
    action: String,
    api: ApiCall,
}

/// `GET /inboxes`
pub(super) async fn index(place: Place) -> Answered {
    let control = place.state.control();
    let inboxes = control.list_inboxes(place.principal)?;
    let rows = inboxes.iter().rev().map(|inbox| Row {
        name: name_of(inbox),
        href: place.link(&format!("/inboxes/{}", inbox.token)),
        url: control.inbox_url(inbox),
        answers: inbox.answer.status,
        created: Moment::new(inbox.created, place.now),
    });
    let page = IndexPage {
        frame: Frame::new(&place, Tab::Inboxes, &[], "Inboxes"),
        can: place.can(),
        rows: rows.collect(),
        listeners: listeners::all(&place),
        action: place.link("/inboxes"),
        api: ApiCall::new(
            "api-inboxes",
            "POST",
            &place.api("/inboxes"),
            Some(r#"{"name": "trial"}"#),
        ),
    };
    answer(&page)
}

fn name_of(inbox: &Inbox) -> String {
    if !inbox.name.is_empty() {
        inbox.name.clone()
    } else if inbox.made_by_listener {
        "The inbox of a listener".to_owned()
    } else {
        "An inbox without a name".to_owned()
    }
}

/// The fields of a form, by the rules of the API.
fn read(form: &Form) -> Result<InboxChange, Problem> {
    let mut body = json!({"name": form.get("name").trim()});
    for field in ["answerStatus", "answerDelayMilliseconds", "failNext"] {
        // Requests count it down meanwhile: what was not changed here stays.
        let unchanged = field == "failNext" && form.get("failedBefore") == form.get(field);
        if let Some(number) = form.number(field).filter(|_| !unchanged) {
            body[field] = number;
        }
    }
    if form.has("answerBody") {
        body["answerBody"] = json!(form.get("answerBody"));
        body["answerHeaders"] = form.headers("answerHeaders");
        body["listenWithoutKey"] = json!(form.has("listenWithoutKey"));
    }
    if let Some(kind) = form.text("answerContentType") {
        body["answerContentType"] = json!(kind);
    }
    inbox_input::read(body.to_string().as_bytes())
}

/// `POST /inboxes`
pub(super) async fn create(place: Place, form: Form) -> Answered {
    let change = read(&form)?;
    let control = place.state.control();
    let made = control.create_inbox(place.principal, change, None);
    let Written::Fresh(inbox) = made.await? else {
        unreachable!("without an idempotency key nothing is repeated");
    };
    Ok(back(
        &place.link(&format!("/inboxes/{}", inbox.token)),
        "created",
    ))
}

/// The inbox in the path, if the viewer sees it.
fn found(place: &Place) -> Result<Inbox, Failure> {
    let control = place.state.control();
    let inbox = control.inbox(place.principal, place.name("token"))?;
    inbox.ok_or_else(|| Failure::not_found("inbox"))
}

/// The page of an inbox, or below it.
fn link(place: &Place, inbox: &Inbox, path: &str) -> String {
    place.link(&format!("/inboxes/{}{path}", inbox.token))
}

/// What the fields hold.
struct Texts {
    name: String,
    status: String,
    fail_next: String,
    delay_ms: String,
    content_type: String,
    body: String,
    headers: String,
}

impl Texts {
    fn of(inbox: &Inbox) -> Self {
        Self {
            name: inbox.name.clone(),
            status: inbox.answer.status.to_string(),
            fail_next: inbox.fail_next.to_string(),
            delay_ms: inbox.delay_ms.to_string(),
            content_type: inbox.answer.content_type.clone(),
            body: inbox.answer.body.clone(),
            headers: header_lines(&inbox.answer.headers),
        }
    }

    fn typed(form: &Form) -> Self {
        let text = |name| form.get(name).to_owned();
        Self {
            name: text("name"),
            status: text("answerStatus"),
            fail_next: text("failNext"),
            delay_ms: text("answerDelayMilliseconds"),
            content_type: text("answerContentType"),
            body: text("answerBody"),
            headers: text("answerHeaders"),
        }
    }

    /// Whether more than the status is another than an inbox has at first.
    fn is_special(&self) -> bool {
        let usual = FixedAnswer::ok("OK");
        let own = (&self.content_type, &self.body, self.headers.as_str());
        own != (&usual.content_type, &usual.body, "")
    }
}

#[derive(Template)]
#[template(path = "dashboard/inboxes/show.html")]
struct ShowPage {
    frame: Frame,
    can: Can,
    name: String,
    url: Well,
    relay: listeners::Relay,
    /// Whether listeners need no API key, as stored or typed.
    open: bool,
    texts: Texts,
    /// As it is stored, whatever was typed.
    fail_next: u32,
    errors: Vec<FieldError>,
    rows: Vec<received::Row>,
    older: Option<String>,
    live: String,
    itself: String,
    api: ApiCall,
}

fn show_page(place: &Place, inbox: &Inbox, params: &Params) -> Result<ShowPage, Failure> {
    let ids = place.state.store.ids();
    let before: Option<ReceivedKey> =
        params.parsed("before", "the id of a request", |text| ids.parse(text))?;
    let store = &place.state.store;
    let (received, next) = store.received(inbox.key, before, PAGE, 0)?;
    let itself = link(place, inbox, "");
    let trail = [("Inboxes", "/inboxes".to_owned())];
    let api = place.api(&format!("/inboxes/{}/received", inbox.token));
    let rows = received.iter();
    Ok(ShowPage {
        frame: Frame::new(place, Tab::Inboxes, &trail, &name_of(inbox)),
        can: place.can(),
        name: name_of(inbox),
        url: Well::new("inbox-url", place.state.control().inbox_url(inbox)),
        relay: listeners::Relay::new(place, inbox),
        open: inbox.open,
        texts: Texts::of(inbox),
        fail_next: inbox.fail_next,
        errors: Vec::new(),
        older: next.map(|next| format!("{itself}?before={}", place.id(next))),
        rows: rows
            .map(|one| received::Row::new(place, inbox, one))
            .collect(),
        live: format!("{itself}/live"),
        itself,
        api: ApiCall::new("api-received", "GET", &api, None),
    })
}

/// `GET /inboxes/{token}`
pub(super) async fn show(place: Place, params: Params) -> Answered {
    let inbox = found(&place)?;
    answer(&show_page(&place, &inbox, &params)?)
}

/// `POST /inboxes/{token}`
pub(super) async fn update(place: Place, form: Form) -> Answered {
    let inbox = found(&place)?;
    let problem = match read(&form) {
        Err(problem) => problem,
        Ok(change) => {
            let control = place.state.control();
            let token = place.name("token");
            match control.update_inbox(place.principal, token, change).await {
                Ok(inbox) => return Ok(back(&link(&place, &inbox, ""), "saved")),
                Err(error) => error.into(),
            }
        }
    };
    if problem.errors.is_empty() {
        return Err(problem.into());
    }
    let page = ShowPage {
        texts: Texts::typed(&form),
        open: form.has("listenWithoutKey"),
        errors: problem.errors,
        ..show_page(&place, &inbox, &Params::none())?
    };
    Ok(written(StatusCode::UNPROCESSABLE_ENTITY, &page))
}

/// `POST /inboxes/{token}/clearings`
pub(super) async fn clear(place: Place, _: Form) -> Answered {
    let control = place.state.control();
    let token = place.name("token");
    let inbox = control.clear_inbox(place.principal, token).await?;
    Ok(back(&link(&place, &inbox, ""), "cleared"))
}

/// `POST /inboxes/{token}/deletions`
pub(super) async fn delete(place: Place, _: Form) -> Answered {
    let control = place.state.control();
    let token = place.name("token");
    control.delete_inbox(place.principal, token).await?;
    Ok(back(&place.link("/inboxes"), "deleted"))
}
