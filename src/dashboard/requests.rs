//! Requests: questions to an endpoint of an application, and their answers.

use askama::Template;

use super::endpoints::{answer, back};
use super::failure::{Answered, Failure};
use super::form::Form;
use super::frame::{Can, Frame, Kind, Tab};
use super::logs::Older;
use super::parts::{ApiCall, Id, Moment, Tag, Well, milliseconds};
use super::place::Place;
use crate::control::FieldError;
use crate::control::requests::RequestInput;
use crate::domain::ids::{Key as _, RequestKey};
use crate::domain::request::{Request, RequestState, VALIDATION, link_path, takes_requests};
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::store::Written;

/// Requests on a page.
const PAGE: usize = 50;

fn tag(request: &Request, place: &Place) -> Tag {
    match request.state_name(place.now) {
        "answered" => Tag::new(Kind::Good, "Answered"),
        "failed" => Tag::new(Kind::Bad, "Failed"),
        "expired" => Tag::new(Kind::Idle, "Expired"),
        _ => Tag::new(Kind::Wait, "Pending"),
    }
}

struct Row {
    href: String,
    question: String,
    tag: Tag,
    detail: String,
    at: Moment,
}

struct Choice {
    id: String,
    url: String,
}

#[derive(Template)]
#[template(path = "dashboard/requests/index.html")]
struct IndexPage {
    frame: Frame,
    can: Can,
    rows: Vec<Row>,
    endpoints: Vec<Choice>,
    older: Option<String>,
    itself: String,
    again: bool,
    question: String,
    inputs: String,
    errors: Vec<FieldError>,
    api: ApiCall,
}

struct OfOne {
    row: Row,
    application: String,
    application_href: String,
}

#[derive(Template)]
#[template(path = "dashboard/requests/all.html")]
struct AllPage {
    frame: Frame,
    rows: Vec<OfOne>,
    older: Option<Older>,
}

/// `GET /requests` of an environment: those to all its applications.
pub(super) async fn all(place: Place, params: Params) -> Answered {
    let store = &place.state.store;
    let before = before_asked(&place, &params)?;
    let environment = place.environment.key;
    let (page, next) = store.list_all_requests(environment, before, PAGE)?;
    let mut rows = Vec::with_capacity(page.len());
    for request in &page {
        let entry = store.application(request.application)?;
        let base = place.application_base(&place.id(request.application));
        rows.push(OfOne {
            row: Row::new(&place, request, format!("{base}/requests")),
            application: entry.map_or_else(String::new, |entry| entry.application.name.clone()),
            application_href: base,
        });
    }
    let page = AllPage {
        frame: Frame::new(&place, Tab::AllRequests, &[], "Requests"),
        rows,
        older: next.map(|next| Older {
            href: format!("{}?before={}", place.link("/requests"), place.id(next)),
            reached: Some(Moment::new(next.made_at(), place.now)),
        }),
    };
    answer(&page)
}

fn before_asked(place: &Place, params: &Params) -> Result<Option<RequestKey>, Problem> {
    let ids = place.state.store.ids();
    params.parsed("before", "the id of a request", |text| ids.parse(text))
}

impl Row {
    /// `base`: the path that its id comes after.
    fn new(place: &Place, request: &Request, base: String) -> Self {
        Self {
            href: base + "/" + &place.id(request.key),
            question: request.question.clone(),
            tag: tag(request, place),
            detail: detail(request),
            at: Moment::new(request.created, place.now),
        }
    }
}

fn detail(request: &Request) -> String {
    match &request.state {
        RequestState::Failed { reason, .. } => reason.clone(),
        RequestState::Answered { by_link: true, .. } => "The answer came to the link".to_owned(),
        RequestState::Answered { by_link: false, .. } => "It was answered at once".to_owned(),
        RequestState::Pending { handed_over: true } => {
            "The answer is to come to the link".to_owned()
        }
        RequestState::Pending { handed_over: false } => "It is under way".to_owned(),
    }
}

fn index_page(place: &Place, params: &Params) -> Result<IndexPage, Failure> {
    let entry = place.application();
    let store = &place.state.store;
    let before = before_asked(place, params)?;
    let mut page = store.list_requests(entry.application.key, before, PAGE + 1)?;
    let more = page.len() > PAGE;
    page.truncate(PAGE);
    let itself = place.link("/requests");
    let rows = page
        .iter()
        .map(|request| Row::new(place, request, itself.clone()));
    let takes = entry
        .endpoints
        .iter()
        .filter(|live| takes_requests(&live.settings));
    let endpoints = takes.map(|live| Choice {
        id: place.id(live.settings.key),
        url: live.settings.url.clone(),
    });
    let last = page.last().filter(|_| more);
    let path = format!("/applications/{}/requests", place.id(entry.application.key));
    let body = r#"{"key": "getOrders", "inputs": {"userId": "42"}}"#;
    Ok(IndexPage {
        frame: Frame::new(place, Tab::Requests, &[], "Requests"),
        can: place.can(),
        again: page.iter().any(|one| !one.is_settled(place.now)),
        older: last.map(|last| format!("{itself}?before={}", place.id(last.key))),
        rows: rows.collect(),
        endpoints: endpoints.collect(),
        question: String::new(),
        inputs: "{}".to_owned(),
        errors: Vec::new(),
        itself,
        api: ApiCall::new("api-requests", "POST", &place.api(&path), Some(body)),
    })
}

/// `GET /requests`
pub(super) async fn index(place: Place, params: Params) -> Answered {
    answer(&index_page(&place, &params)?)
}

/// `POST /requests`: asks.
pub(super) async fn create(place: Place, form: Form) -> Answered {
    let input = RequestInput {
        key: form.get("key").trim().to_owned(),
        inputs: form.text("inputs").map(str::to_owned),
        endpoint: form.text("endpoint").map(str::to_owned),
        timeout_seconds: None,
    };
    match ask(&place, input).await {
        Ok(request) => Ok(back(&link(&place, request.key), "asked")),
        Err(problem) if problem.errors.is_empty() => Err(Failure(problem)),
        Err(problem) => {
            let page = IndexPage {
                question: form.get("key").to_owned(),
                inputs: form.get("inputs").to_owned(),
                errors: problem.errors,
                ..index_page(&place, &Params::none())?
            };
            let status = http::StatusCode::UNPROCESSABLE_ENTITY;
            Ok(super::endpoints::written(status, &page))
        }
    }
}

/// `POST /endpoints/{ep}/validations`: asks for nothing, to see whether it
/// answers.
pub(super) async fn validate(place: Place, _: Form) -> Answered {
    let endpoint = place
        .state
        .store
        .find_endpoint(place.application(), place.name("ep"))?;
    if endpoint.is_none() {
        return Err(Failure::not_found("endpoint"));
    }
    let input = RequestInput {
        key: VALIDATION.to_owned(),
        inputs: None,
        endpoint: Some(place.name("ep").to_owned()),
        timeout_seconds: None,
    };
    let request = ask(&place, input).await?;
    Ok(back(&link(&place, request.key), "asked"))
}

fn link(place: &Place, key: RequestKey) -> String {
    place.link(&format!("/requests/{}", place.id(key)))
}

/// Makes a request from what was typed, and sends it.
async fn ask(place: &Place, input: RequestInput) -> Result<Request, Problem> {
    let mut errors = Vec::new();
    if input.key.is_empty() || input.key.chars().any(char::is_control) {
        errors.push(FieldError::new(
            "key",
            "must not be empty, nor have control characters",
        ));
    }
    let object = input.inputs.as_deref().unwrap_or("{}").trim();
    match crate::http::json::check(object.as_bytes()) {
        Err(error) => errors.push(FieldError::new("inputs", format!("is not JSON: {error}"))),
        Ok(()) if !object.starts_with('{') => {
            errors.push(FieldError::new("inputs", "must be a JSON object"));
        }
        Ok(()) => {}
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let control = place.state.control();
    let made = control.create_request(place.principal, place.application(), input, None);
    let Written::Fresh(request) = made.await? else {
        unreachable!("without an idempotency key nothing is repeated");
    };
    Ok(request)
}

struct Leg {
    tag: Tag,
    detail: String,
    body: Option<Well>,
    took: String,
    at: Moment,
}

struct Refused {
    status: u16,
    reason: String,
    body: Option<Well>,
    at: Moment,
}

#[derive(Template)]
#[template(path = "dashboard/requests/show.html")]
struct ShowPage {
    frame: Frame,
    question: String,
    tag: Tag,
    detail: String,
    again: bool,
    inputs: Well,
    data: Option<Well>,
    tries: Vec<Leg>,
    refused: Vec<Refused>,
    link: Well,
    ends: Moment,
    endpoint: Id,
    created: Moment,
    settled: Option<Moment>,
    id: Id,
    api: ApiCall,
}

/// `GET /requests/{req}`
pub(super) async fn show(place: Place) -> Answered {
    let entry = place.application();
    let store = &place.state.store;
    let missing = || Failure::not_found("request");
    let key: RequestKey = store.ids().parse(place.name("req")).ok_or_else(missing)?;
    let request = store.request_of(entry.application.key, key)?;
    let request = request.ok_or_else(missing)?;
    let data = store.request_answer(key)?;
    let pretty = |text: &str| super::pretty::pretty(text).unwrap_or_else(|| text.to_owned());
    let id = place.id(key);
    let well = |of: &str, number: usize, body: &str| {
        (!body.is_empty()).then(|| Well::new(format!("{of}-{number}"), pretty(body)))
    };
    let tries = request.tries.iter().enumerate().map(|(number, one)| Leg {
        body: well("try", number, &one.body),
        tag: match one.status {
            200 | 202 => Tag::new(Kind::Good, one.status.to_string()),
            0 => Tag::new(Kind::Bad, "No answer"),
            status => Tag::new(Kind::Bad, status.to_string()),
        },
        detail: one.detail.clone(),
        took: milliseconds(u64::from(one.took_us / 1000)),
        at: Moment::new(one.at, place.now),
    });
    let refused = request.refused.iter().enumerate();
    let refused = refused.map(|(number, one)| Refused {
        body: well("refused", number, &one.body),
        status: one.status,
        reason: one.reason.clone(),
        at: Moment::new(one.at, place.now),
    });
    let settled = match &request.state {
        RequestState::Answered { at, .. } | RequestState::Failed { at, .. } => Some(*at),
        RequestState::Pending { .. } => None,
    };
    let endpoint = place.id(request.endpoint);
    let trail = [("Requests", "/requests".to_owned())];
    let path = format!(
        "/applications/{}/requests/{id}",
        place.id(entry.application.key)
    );
    let page = ShowPage {
        frame: Frame::new(&place, Tab::Requests, &trail, &request.question),
        question: request.question.clone(),
        tag: tag(&request, &place),
        detail: detail(&request),
        again: !request.is_settled(place.now),
        inputs: Well::new("inputs-sent", pretty(&request.inputs)),
        data: data.map(|data| Well::new("data", pretty(&data))),
        tries: tries.collect(),
        refused: refused.collect(),
        link: Well::new(
            "link",
            format!("{}{}", place.state.public_url, link_path(&id)),
        ),
        ends: Moment::new(request.link_ends(), place.now),
        endpoint: Id::linked(
            endpoint.clone(),
            place.link(&format!("/endpoints/{endpoint}")),
        ),
        created: Moment::new(request.created, place.now),
        settled: settled.map(|at| Moment::new(at, place.now)),
        id: Id::new(id),
        api: ApiCall::new("api-request", "GET", &place.api(&path), None),
    };
    answer(&page)
}
