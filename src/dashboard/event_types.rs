//! The Event Catalog: which kinds of events there are, and what they hold.

use std::collections::BTreeMap;

use askama::Template;
use http::StatusCode;

use super::endpoints::{answer, back, written};
use super::failure::{Answered, Failure};
use super::form::Form;
use super::frame::{Frame, Tab};
use super::parts::{ApiCall, Moment, Well};
use super::place::Place;
use crate::control::FieldError;
use crate::control::event_types::EventTypeInput;
use crate::domain::event_type::{Audience, EventType};
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::store::StoreError;

/// Types that the catalog lists on a page.
const PAGE: usize = 200;

struct Row {
    name: String,
    href: String,
    description: String,
    has_schema: bool,
    has_example: bool,
}

struct Group {
    name: String,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "dashboard/event_types/index.html")]
struct IndexPage {
    frame: Frame,
    can_change: bool,
    groups: Vec<Group>,
    archived: bool,
    shown: String,
    other: String,
    add: String,
    older: Option<String>,
    count: usize,
    api: ApiCall,
}

/// Whether the viewer may change the catalog: it belongs to the environment.
fn may_change(place: &Place) -> bool {
    !place.is_customer() && place.can().manage
}

/// Where the catalog is changed: always the environment's.
fn environment_link(place: &Place, path: &str) -> String {
    format!("{}/event-types{path}", place.environment_base())
}

/// `GET /event-types`
pub(super) async fn index(place: Place, params: Params) -> Answered {
    let archived = params.get("archived").is_some() && may_change(&place);
    let number = params.number("page", 1, 1000)?.unwrap_or(1);
    let skip = (number - 1) * PAGE;
    let store = &place.state.store;
    let mut types = store.list_event_types(place.scope(), archived, skip, PAGE + 1)?;
    let more = types.len() > PAGE;
    types.truncate(PAGE);
    let count = types.len();
    let mut groups: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for one in types {
        let group = one.name.split('.').next().unwrap_or_default().to_owned();
        groups.entry(group).or_default().push(Row {
            href: place.link(&format!("/event-types/{}", one.name)),
            has_schema: one.content.schema.is_some(),
            has_example: !one.content.examples.is_empty(),
            description: one.description,
            name: one.name,
        });
    }
    let page = IndexPage {
        frame: Frame::new(&place, Tab::EventTypes, &[], "Event Catalog"),
        can_change: may_change(&place),
        groups: groups
            .into_iter()
            .map(|(name, rows)| Group { name, rows })
            .collect(),
        archived,
        shown: place.link("/event-types"),
        other: place.link("/event-types?archived=1"),
        add: environment_link(&place, "/new"),
        older: more.then(|| place.link(&format!("/event-types?page={}", number + 1))),
        count,
        api: ApiCall::new("api-types", "GET", &place.api("/event-types"), None),
    };
    answer(&page)
}

#[derive(Template)]
#[template(path = "dashboard/event_types/show.html")]
struct ShowPage {
    frame: Frame,
    can_change: bool,
    name: String,
    description: String,
    archived: bool,
    audience: String,
    schema: Option<Well>,
    examples: Vec<Well>,
    updated: Moment,
    edit: String,
    archive: String,
    restore: String,
    delete: String,
    subscribe: Option<String>,
    send: Option<String>,
    messages: String,
    api: ApiCall,
}

fn found(place: &Place) -> Result<EventType, Failure> {
    let store = &place.state.store;
    let found = store.find_event_type(place.scope(), place.name("name"))?;
    found.ok_or_else(|| Failure::not_found("event type"))
}

/// `GET /event-types/{name}`
pub(super) async fn show(place: Place) -> Answered {
    let one = found(&place)?;
    let trail = [("Event Catalog", "/event-types".to_owned())];
    let pretty = |text: &str| super::pretty::pretty(text).unwrap_or_else(|| text.to_owned());
    let examples = one.content.examples.iter().enumerate();
    let path = |end: &str| environment_link(&place, &format!("/{}{end}", one.name));
    let in_application = place.application.is_some();
    let page = ShowPage {
        frame: Frame::new(&place, Tab::EventTypes, &trail, &one.name),
        can_change: may_change(&place),
        description: one.description.clone(),
        archived: one.archived,
        audience: audience_words(&place, &one)?,
        schema: one
            .content
            .schema
            .as_deref()
            .map(|schema| Well::new("schema", pretty(schema))),
        examples: examples
            .map(|(at, text)| Well::new(format!("example-{at}"), pretty(text)))
            .collect(),
        updated: Moment::new(one.updated, place.now),
        edit: path("/edit"),
        archive: path("/archivings"),
        restore: path("/restorations"),
        delete: path("/deletions"),
        subscribe: (in_application && place.can().manage)
            .then(|| place.link(&format!("/endpoints/new?event={}", one.name))),
        send: place
            .sends_messages()
            .then(|| place.link(&format!("/messages/new?type={}", one.name))),
        messages: place.link(&format!("/messages?type={}", one.name)),
        api: ApiCall::new(
            "api-type",
            "GET",
            &place.api(&format!("/event-types/{}", one.name)),
            None,
        ),
        name: one.name,
    };
    answer(&page)
}

fn audience_words(place: &Place, one: &EventType) -> Result<String, StoreError> {
    let named = match &one.audience {
        Audience::Everyone => return Ok("Everyone".to_owned()),
        Audience::Only(_) if place.is_customer() => return Ok("You".to_owned()),
        Audience::Only(named) => named,
    };
    let mut shown = Vec::new();
    for key in named.iter().take(20) {
        if let Some(entry) = place.state.store.application(*key)? {
            shown.push(entry.application.name.clone());
        }
    }
    Ok(match shown.len() {
        0 => "Nobody".to_owned(),
        _ if named.len() > shown.len() => format!("{} and more", shown.join(", ")),
        _ => shown.join(", "),
    })
}

#[derive(Template)]
#[template(path = "dashboard/event_types/form.html")]
struct FormPage {
    frame: Frame,
    is_new: bool,
    name: String,
    description: String,
    schema: String,
    example: String,
    /// Ids or uids, with commas.
    applications: String,
    errors: Vec<FieldError>,
    action: String,
    cancel: String,
    api: ApiCall,
}

impl FormPage {
    fn error(&self, field: &str) -> Option<String> {
        let errors = self.errors.iter();
        let of_it = errors.filter(|error| error.path.starts_with(field));
        let texts: Vec<String> = of_it
            .map(|error| format!("{} {}", error.path, error.detail))
            .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

fn form_page(place: &Place, before: Option<&EventType>) -> FormPage {
    let pretty = |text: &str| super::pretty::pretty(text).unwrap_or_else(|| text.to_owned());
    let trail = [("Event Catalog", "/event-types".to_owned())];
    let title = before.map_or("Add an event type", |one| &one.name);
    let end = before.map_or_else(String::new, |one| format!("/{}", one.name));
    let content = before.map(|one| &one.content);
    let named = before.map_or(&[][..], |one| one.audience.named());
    let named: Vec<String> = named.iter().map(|key| place.id(*key)).collect();
    let body = r#"{"name": "invoice.paid", "description": "An invoice was paid."}"#;
    FormPage {
        frame: Frame::new(place, Tab::EventTypes, &trail, title),
        is_new: before.is_none(),
        name: before.map_or_else(String::new, |one| one.name.clone()),
        description: before.map_or_else(String::new, |one| one.description.clone()),
        schema: content
            .and_then(|content| content.schema.as_deref())
            .map_or_else(String::new, pretty),
        example: content
            .and_then(|content| content.examples.first())
            .map_or_else(String::new, |text| pretty(text)),
        applications: named.join(", "),
        errors: Vec::new(),
        action: environment_link(place, &end),
        cancel: environment_link(place, &end),
        api: ApiCall::new(
            "api-type",
            if before.is_some() { "PUT" } else { "POST" },
            &place.api(&format!("/event-types{end}")),
            Some(body),
        ),
    }
}

/// `GET /event-types/new`
pub(super) async fn new(place: Place) -> Answered {
    answer(&form_page(&place, None))
}

/// `GET /event-types/{name}/edit`
pub(super) async fn edit(place: Place) -> Answered {
    let one = found(&place)?;
    answer(&form_page(&place, Some(&one)))
}

/// What the form says; examples beyond the first stay as they are.
fn read(form: &Form, before: Option<&EventType>) -> Result<EventTypeInput, Problem> {
    let mut errors = Vec::new();
    for (field, text) in [
        ("schema", form.get("schema")),
        ("example", form.get("example")),
    ] {
        if !text.trim().is_empty()
            && let Err(error) = crate::http::json::check(text.trim().as_bytes())
        {
            errors.push(FieldError::new(field, format!("is not JSON: {error}")));
        }
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let others = before.map_or(&[][..], |one| one.content.examples.get(1..).unwrap_or(&[]));
    let example = form.text("example").map(str::to_owned);
    let applications: Vec<String> = form
        .get("applications")
        .split(',')
        .map(|one| one.trim().to_owned())
        .filter(|one| !one.is_empty())
        .collect();
    Ok(EventTypeInput {
        description: Some(form.get("description").trim().to_owned()),
        schema: Some(form.text("schema").unwrap_or("{}").to_owned()),
        examples: Some(example.into_iter().chain(others.iter().cloned()).collect()),
        for_everyone: applications.is_empty().then_some(true),
        applications: (!applications.is_empty()).then_some(applications),
        archived: None,
    })
}

fn again(page: FormPage, form: &Form, problem: Problem) -> Answered {
    if problem.errors.is_empty() {
        return Err(Failure(problem));
    }
    let page = FormPage {
        name: form.get("name").to_owned(),
        description: form.get("description").to_owned(),
        schema: form.get("schema").to_owned(),
        example: form.get("example").to_owned(),
        applications: form.get("applications").to_owned(),
        errors: problem.errors,
        ..page
    };
    Ok(written(StatusCode::UNPROCESSABLE_ENTITY, &page))
}

/// `POST /event-types`
pub(super) async fn create(place: Place, form: Form) -> Answered {
    let name = form.get("name").trim().to_owned();
    let input = match read(&form, None) {
        Ok(input) => input,
        Err(problem) => return again(form_page(&place, None), &form, problem),
    };
    let control = place.state.control();
    let made = control.create_event_type(place.principal, name.clone(), input, None);
    match made.await {
        Ok(_) => Ok(back(
            &environment_link(&place, &format!("/{name}")),
            "created",
        )),
        Err(error) => again(form_page(&place, None), &form, error.into()),
    }
}

/// `POST /event-types/{name}`
pub(super) async fn update(place: Place, form: Form) -> Answered {
    let before = found(&place)?;
    let input = match read(&form, Some(&before)) {
        Ok(input) => input,
        Err(problem) => return again(form_page(&place, Some(&before)), &form, problem),
    };
    let control = place.state.control();
    let changed = control.update_event_type(place.principal, &before.name, input);
    match changed.await {
        Ok(_) => Ok(back(
            &environment_link(&place, &format!("/{}", before.name)),
            "saved",
        )),
        Err(error) => again(form_page(&place, Some(&before)), &form, error.into()),
    }
}

async fn set_archived(place: &Place, archived: bool) -> Result<(), Failure> {
    let before = found(place)?;
    let input = EventTypeInput {
        archived: Some(archived),
        ..EventTypeInput::default()
    };
    let control = place.state.control();
    control
        .update_event_type(place.principal, &before.name, input)
        .await?;
    Ok(())
}

/// `POST /event-types/{name}/archivings`
pub(super) async fn archive(place: Place, _: Form) -> Answered {
    set_archived(&place, true).await?;
    Ok(back(&environment_link(&place, ""), "archived"))
}

/// `POST /event-types/{name}/restorations`
pub(super) async fn restore(place: Place, _: Form) -> Answered {
    set_archived(&place, false).await?;
    Ok(back(&environment_link(&place, ""), "saved"))
}

/// `POST /event-types/{name}/deletions`
pub(super) async fn delete(place: Place, _: Form) -> Answered {
    let control = place.state.control();
    control
        .delete_event_type(place.principal, place.name("name"))
        .await?;
    Ok(back(&environment_link(&place, ""), "deleted"))
}
