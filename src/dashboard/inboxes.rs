//! Inboxes: URLs that take anything and show it.

use askama::Template;
use serde_json::json;

use super::endpoints::{answer, back};
use super::failure::{Answered, Failure};
use super::form::Form;
use super::frame::{Can, Frame, Tab};
use super::parts::{ApiCall, Id, Moment, Well, bytes};
use super::place::Place;
use crate::control::applications::NAME_CHARS_MAX;
use crate::domain::endpoint::{MASKED, is_secret_name};
use crate::domain::ids::ReceivedKey;
use crate::domain::inbox::{Inbox, Received};
use crate::http::body::Fields;
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::store::Written;

/// Requests on a page.
const PAGE: usize = 25;
/// Bytes of a body that the page shows.
const SHOWN_BYTES_MAX: usize = 32 * 1024;

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
        answers: inbox.answer_status,
        created: Moment::new(inbox.created, place.now),
    });
    let page = IndexPage {
        frame: Frame::new(&place, Tab::Inboxes, &[], "Inboxes"),
        can: place.can(),
        rows: rows.collect(),
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
    if inbox.name.is_empty() {
        "An inbox without a name".to_owned()
    } else {
        inbox.name.clone()
    }
}

/// Name and status of a form, by the rules of the API.
fn read(form: &Form) -> Result<(Option<String>, Option<u16>), Problem> {
    let mut body = json!({"name": form.get("name").trim()});
    if let Some(status) = form.text("answerStatus") {
        body["answerStatus"] = status
            .parse::<u64>()
            .map_or_else(|_| json!(status), |n| json!(n));
    }
    let body = body.to_string();
    let mut fields = Fields::parse(body.as_bytes())?;
    let name = fields.text_or_empty("name", NAME_CHARS_MAX);
    let status = fields.integer("answerStatus", 200..=599);
    fields.finish()?;
    let status = status.map(|status| u16::try_from(status).expect("within a range that fits"));
    Ok((name, status))
}

/// `POST /inboxes`
pub(super) async fn create(place: Place, form: Form) -> Answered {
    let (name, status) = read(&form)?;
    let control = place.state.control();
    let made = control.create_inbox(place.principal, name.unwrap_or_default(), status, None);
    let Written::Fresh(inbox) = made.await? else {
        unreachable!("without an idempotency key nothing is repeated");
    };
    Ok(back(
        &place.link(&format!("/inboxes/{}", inbox.token)),
        "created",
    ))
}

struct Header {
    name: String,
    value: String,
}

struct Request {
    method: String,
    path: String,
    at: Moment,
    answered: u16,
    size: String,
    headers: Vec<Header>,
    body: Option<Well>,
    id: Id,
}

impl Request {
    fn new(place: &Place, received: &Received) -> Self {
        let id = place.id(received.key);
        let headers = received.headers.iter().map(|(name, value)| Header {
            name: name.clone(),
            value: if is_secret_name(name) && !name.contains("signature") {
                MASKED.to_owned()
            } else {
                String::from_utf8_lossy(value).into_owned()
            },
        });
        let shown = &received.body[..received.body.len().min(SHOWN_BYTES_MAX)];
        let text = String::from_utf8_lossy(shown).into_owned();
        let text = super::pretty::pretty(&text).unwrap_or(text);
        Self {
            method: received.method.clone(),
            path: received.path.clone(),
            at: Moment::new(received.at, place.now),
            answered: received.answered,
            size: bytes(received.body.len() as u64),
            headers: headers.collect(),
            body: (!received.body.is_empty()).then(|| Well::new(format!("body-{id}"), text)),
            id: Id::new(id),
        }
    }
}

#[derive(Template)]
#[template(path = "dashboard/inboxes/show.html")]
struct ShowPage {
    frame: Frame,
    can: Can,
    name: String,
    typed_name: String,
    url: Well,
    answers: u16,
    requests: Vec<Request>,
    older: Option<String>,
    itself: String,
    again: bool,
    api: ApiCall,
}

/// `GET /inboxes/{token}`
pub(super) async fn show(place: Place, params: Params) -> Answered {
    let control = place.state.control();
    let inbox = control.inbox(place.principal, place.name("token"))?;
    let inbox = inbox.ok_or_else(|| Failure::not_found("inbox"))?;
    let ids = place.state.store.ids();
    let before: Option<ReceivedKey> =
        params.parsed("before", "the id of a request", |text| ids.parse(text))?;
    let mut received = place.state.store.received(inbox.key, before, PAGE + 1)?;
    let more = received.len() > PAGE;
    received.truncate(PAGE);
    let itself = place.link(&format!("/inboxes/{}", inbox.token));
    let last = received.last().filter(|_| more);
    let trail = [("Inboxes", "/inboxes".to_owned())];
    let api = place.api(&format!("/inboxes/{}/received", inbox.token));
    let page = ShowPage {
        frame: Frame::new(&place, Tab::Inboxes, &trail, &name_of(&inbox)),
        can: place.can(),
        name: name_of(&inbox),
        typed_name: inbox.name.clone(),
        url: Well::new("inbox-url", control.inbox_url(&inbox)),
        answers: inbox.answer_status,
        older: last.map(|last| format!("{itself}?before={}", place.id(last.key))),
        requests: received
            .iter()
            .map(|received| Request::new(&place, received))
            .collect(),
        again: before.is_none(),
        itself,
        api: ApiCall::new("api-received", "GET", &api, None),
    };
    answer(&page)
}

/// `POST /inboxes/{token}`
pub(super) async fn update(place: Place, form: Form) -> Answered {
    let (name, status) = read(&form)?;
    let token = place.name("token").to_owned();
    let control = place.state.control();
    control
        .update_inbox(place.principal, &token, name, status)
        .await?;
    Ok(back(&place.link(&format!("/inboxes/{token}")), "saved"))
}
