//! Applications: the tenants of an environment.

use askama::Template;
use axum::response::{IntoResponse as _, Redirect};
use http::StatusCode;
use serde_json::json;

use super::endpoints::{answer, back, written};
use super::failure::{Answered, Failure};
use super::form::Form;
use super::frame::{Can, Frame, Tab};
use super::parts::{ApiCall, Id, Moment};
use super::place::Place;
use crate::control::FieldError;
use crate::control::applications::NAME_CHARS_MAX;
use crate::domain::message::UID_CHARS_MAX;
use crate::http::body::Fields;
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::store::{StoreError, Written};

/// Applications on a page.
const PAGE: usize = 50;

struct Row {
    name: String,
    href: String,
    id: Id,
    uid: Option<Id>,
    endpoints: usize,
    failing: usize,
    created: Moment,
}

#[derive(Template)]
#[template(path = "dashboard/applications/index.html")]
struct IndexPage {
    frame: Frame,
    can: Can,
    rows: Vec<Row>,
    name: String,
    uid: String,
    errors: Vec<FieldError>,
    action: String,
    older: Option<String>,
    newer: Option<String>,
    operational: String,
    api: ApiCall,
}

impl IndexPage {
    fn error(&self, field: &str) -> Option<&str> {
        let found = self.errors.iter().find(|error| error.path == field);
        found.map(|error| error.detail.as_str())
    }
}

fn page_of(place: &Place, number: usize) -> Result<IndexPage, StoreError> {
    let store = &place.state.store;
    let skip = (number - 1) * PAGE;
    let mut applications = store.list_applications(place.scope(), skip, PAGE + 1)?;
    let more = applications.len() > PAGE;
    applications.truncate(PAGE);
    let mut rows = Vec::with_capacity(applications.len());
    for application in applications {
        let entry = store.application(application.key)?;
        let live = entry.iter().flat_map(|entry| &entry.endpoints);
        let live: Vec<_> = live
            .filter(|live| live.settings.deleted.is_none())
            .collect();
        let id = place.id(application.key);
        rows.push(Row {
            href: place.application_base(&id),
            endpoints: live.len(),
            failing: live.iter().filter(|live| live.state.failures > 0).count(),
            name: application.name,
            uid: application.uid.map(Id::new),
            created: Moment::new(application.created, place.now),
            id: Id::new(id),
        });
    }
    let at = |number: usize| place.link(&format!("/applications?page={number}"));
    let body = r#"{"name": "Acme", "uid": "customer-42"}"#;
    Ok(IndexPage {
        frame: Frame::new(place, Tab::Applications, &[], "Applications"),
        can: place.can(),
        rows,
        name: String::new(),
        uid: String::new(),
        errors: Vec::new(),
        action: place.link("/applications"),
        older: more.then(|| at(number + 1)),
        newer: (number > 1).then(|| at(number - 1)),
        operational: place.application_base(&place.id(place.environment.operational)),
        api: ApiCall::new(
            "api-applications",
            "POST",
            &place.api("/applications"),
            Some(body),
        ),
    })
}

/// `GET /applications`
pub(super) async fn index(place: Place, params: Params) -> Answered {
    let number = params.number("page", 1, 100_000)?.unwrap_or(1);
    answer(&page_of(&place, number)?)
}

/// `POST /applications`
pub(super) async fn create(place: Place, form: Form) -> Answered {
    let body = body_of(&form);
    let made = match read(&body) {
        Ok((name, uid)) => {
            let control = place.state.control();
            let made = control.create_application(place.principal, name, uid, None);
            made.await.map_err(Problem::from)
        }
        Err(problem) => Err(problem),
    };
    match made {
        Ok(Written::Fresh(application)) => {
            let to = place.application_base(&place.id(application.key));
            Ok(Redirect::to(&format!("{to}?notice=created")).into_response())
        }
        Ok(Written::Repeated(_)) => {
            unreachable!("without an idempotency key nothing is repeated")
        }
        Err(problem) if !problem.errors.is_empty() => {
            let page = IndexPage {
                name: form.get("name").to_owned(),
                uid: form.get("uid").to_owned(),
                errors: problem.errors,
                ..page_of(&place, 1)?
            };
            Ok(written(StatusCode::UNPROCESSABLE_ENTITY, &page))
        }
        Err(problem) => Err(Failure(problem)),
    }
}

fn body_of(form: &Form) -> String {
    let mut body = json!({"name": form.get("name").trim()});
    if let Some(uid) = form.text("uid") {
        body["uid"] = json!(uid);
    }
    body.to_string()
}

/// Name and uid, by the rules of the API.
fn read(body: &str) -> Result<(String, Option<String>), Problem> {
    let mut fields = Fields::parse(body.as_bytes())?;
    let name = fields.required_text("name", NAME_CHARS_MAX);
    let uid = fields.text("uid", UID_CHARS_MAX);
    fields.finish()?;
    Ok((name, uid))
}

/// `POST /deletions`, of an application
pub(super) async fn delete(place: Place, form: Form) -> Answered {
    let application = &place.application().application;
    if form.get("name") != application.name {
        return Err(Failure(Problem::invalid(vec![FieldError::new(
            "name",
            "is not the application's; nothing was deleted",
        )])));
    }
    // Only who sees all of the environment may.
    let mut principal = place.principal;
    principal.scope.application = None;
    let control = place.state.control();
    control
        .delete_application(principal, application.key)
        .await?;
    let to = format!("{}/applications", place.environment_base());
    Ok(back(&to, "deleted"))
}
