//! The form of an endpoint: for a new one, and for all settings of one.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::super::failure::Answered;
use super::super::form::Form;
use super::super::frame::{Frame, Tab};
use super::super::parts::{ApiCall, spoken};
use super::super::place::Place;
use super::{answer, found, link, written};
use crate::control::FieldError;
use crate::control::endpoints::EndpointInput;
use crate::domain::endpoint::LiveEndpoint;
use crate::domain::signing::Scheme;
use crate::engine::receive::own_inbox;
use crate::http::endpoint_input;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::store::StoreError;

/// Event types that the form lists.
const TYPES_LISTED: usize = 500;

/// What the fields hold, as texts.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    pub(super) url: String,
    name: String,
    uid: String,
    client_id: String,
    description: String,
    /// One or more boxes that are checked.
    checked: BTreeSet<String>,
    /// Types and wildcards that are typed.
    others: String,
    channels: String,
    headers: String,
    rate_limit: String,
    timeout: String,
    retry_schedule: String,
    success_status: String,
    success_body: String,
    success_content_type: String,
    /// `keep`, or names of schemes with a comma.
    signatures: String,
    payload_in_headers: bool,
    ascii_body: bool,
}

/// A group of event types, by the first part of their names.
struct Group {
    name: String,
    /// What stands for all of it, such as `invoice.**`.
    wildcard: String,
    checked: bool,
    types: Vec<Type>,
    /// In lower case, for the search.
    words: String,
}

struct Type {
    name: String,
    description: String,
    checked: bool,
    words: String,
}

#[derive(Template)]
#[template(path = "dashboard/endpoints/form.html")]
struct FormPage {
    frame: Frame,
    texts: Texts,
    groups: Vec<Group>,
    errors: Errors,
    is_new: bool,
    action: String,
    cancel: String,
    catalog: String,
    /// Where a ready URL to try with is made, for those who may.
    inbox: Option<String>,
    /// Links between an endpoint's pages.
    tabs: Option<Tabs>,
    signatures: Vec<(&'static str, &'static str)>,
    default_timeout: String,
    default_schedule: String,
    api: ApiCall,
}

pub(super) struct Tabs {
    pub(super) overview: String,
    pub(super) advanced: String,
    pub(super) testing: String,
    pub(super) current: &'static str,
}

impl Tabs {
    pub(super) fn new(place: &Place, live: &LiveEndpoint, current: &'static str) -> Self {
        let key = live.settings.key;
        Self {
            overview: link(place, key, ""),
            advanced: link(place, key, "/advanced"),
            testing: link(place, key, "/testing"),
            current,
        }
    }
}

/// What is wrong, by the first part of the field's path.
#[derive(Clone, Debug, Default)]
pub(super) struct Errors {
    by_field: BTreeMap<String, Vec<String>>,
}

impl Errors {
    pub(super) fn new(errors: &[FieldError]) -> Self {
        let mut by_field: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for error in errors {
            let end = error.path.find(['[', '.']).unwrap_or(error.path.len());
            let (field, rest) = error.path.split_at(end);
            let rest = rest.trim_matches(['[', ']', '.']);
            // Some details are sentences, most are the end of one.
            let is_sentence = error.detail.starts_with(char::is_uppercase);
            let text = match rest.parse::<usize>() {
                _ if is_sentence => error.detail.clone(),
                Ok(at) => format!("Number {} {}.", at + 1, error.detail),
                Err(_) if rest.is_empty() => format!("This {}.", error.detail),
                Err(_) => format!("{rest} {}.", error.detail),
            };
            by_field.entry(field.to_owned()).or_default().push(text);
        }
        Self { by_field }
    }

    fn is_any(&self) -> bool {
        !self.by_field.is_empty()
    }

    fn has(&self, field: &str) -> bool {
        self.by_field.contains_key(field)
    }

    fn of(&self, field: &str) -> String {
        self.by_field
            .get(field)
            .map_or_else(String::new, |texts| texts.join(" "))
    }
}

/// `GET /endpoints/new`
pub(in super::super) async fn new(place: Place, params: crate::http::paging::Params) -> Answered {
    let checked = params.get("event").map(str::to_owned);
    let texts = Texts {
        url: params.get("url").unwrap_or_default().to_owned(),
        checked: checked.into_iter().collect(),
        signatures: KEEP.to_owned(),
        ..Texts::default()
    };
    answer(&new_page(&place, texts, Errors::default())?)
}

fn new_page(place: &Place, texts: Texts, errors: Errors) -> Result<FormPage, StoreError> {
    let trail = [("Endpoints", "/endpoints".to_owned())];
    let path = format!(
        "/applications/{}/endpoints",
        place.id(place.application().application.key)
    );
    let body = r#"{"url": "https://example.com/webhooks", "eventTypes": ["invoice.paid"]}"#;
    let may_inbox = !place.is_customer() && place.can().manage;
    Ok(FormPage {
        frame: Frame::new(place, Tab::Endpoints, &trail, "Add endpoint"),
        groups: groups(place, &texts)?,
        texts,
        errors,
        is_new: true,
        action: place.link("/endpoints"),
        cancel: place.link("/endpoints"),
        catalog: place.link("/event-types"),
        inbox: may_inbox.then(|| place.link("/endpoints/inboxes")),
        tabs: None,
        signatures: signature_choices(None),
        default_timeout: spoken(place.state.engine.settings().attempt_timeout),
        default_schedule: default_schedule(&place.state),
        api: ApiCall::new("api-create", "POST", &place.api(&path), Some(body)),
    })
}

/// `GET /endpoints/{ep}/advanced`
pub(in super::super) async fn advanced(place: Place) -> Answered {
    let live = found(&place)?;
    answer(&edit_page(
        &place,
        &live,
        texts_of(&place, &live),
        Errors::default(),
    )?)
}

fn edit_page(
    place: &Place,
    live: &LiveEndpoint,
    texts: Texts,
    errors: Errors,
) -> Result<FormPage, StoreError> {
    let key = live.settings.key;
    let trail = [
        ("Endpoints", "/endpoints".to_owned()),
        (
            live.settings.url.as_str(),
            format!("/endpoints/{}", place.id(key)),
        ),
    ];
    let path = format!(
        "/applications/{}/endpoints/{}",
        place.id(live.settings.application),
        place.id(key)
    );
    Ok(FormPage {
        frame: Frame::new(place, Tab::Endpoints, &trail, "Advanced"),
        groups: groups(place, &texts)?,
        texts,
        errors,
        is_new: false,
        action: link(place, key, "/advanced"),
        cancel: link(place, key, ""),
        catalog: place.link("/event-types"),
        inbox: None,
        tabs: Some(Tabs::new(place, live, "advanced")),
        signatures: signature_choices(Some(&live.settings.signatures)),
        default_timeout: spoken(place.state.engine.settings().attempt_timeout),
        default_schedule: default_schedule(&place.state),
        api: ApiCall::new(
            "api-update",
            "PUT",
            &place.api(&path),
            Some(r#"{"description": "billing", "rateLimit": 10}"#),
        ),
    })
}

/// The form once more, with what was typed and what is wrong with it; or the
/// failure, when it is about no field.
pub(super) fn again(
    place: &Place,
    live: Option<&LiveEndpoint>,
    texts: Texts,
    problem: Problem,
) -> Answered {
    if problem.errors.is_empty() {
        return Err(problem.into());
    }
    let errors = Errors::new(&problem.errors);
    let page = match live {
        None => new_page(place, texts, errors)?,
        Some(live) => edit_page(place, live, texts, errors)?,
    };
    Ok(written(StatusCode::UNPROCESSABLE_ENTITY, &page))
}

fn groups(place: &Place, texts: &Texts) -> Result<Vec<Group>, StoreError> {
    let store = &place.state.store;
    let types = store.list_event_types(place.scope(), false, 0, TYPES_LISTED)?;
    let mut groups: Vec<Group> = Vec::new();
    for one in types {
        let first = one.name.split('.').next().unwrap_or_default();
        if groups.last().is_none_or(|group| group.name != first) {
            let wildcard = format!("{first}.**");
            groups.push(Group {
                name: first.to_owned(),
                checked: texts.checked.contains(&wildcard),
                wildcard,
                types: Vec::new(),
                words: first.to_lowercase(),
            });
        }
        let group = groups.last_mut().expect("one was just put there");
        let words = format!("{} {}", one.name, one.description).to_lowercase();
        group.words.push(' ');
        group.words.push_str(&words);
        group.types.push(Type {
            checked: texts.checked.contains(&one.name),
            name: one.name,
            description: one.description,
            words,
        });
    }
    Ok(groups)
}

const KEEP: &str = "keep";

fn signature_choices(current: Option<&[Scheme]>) -> Vec<(&'static str, &'static str)> {
    let keep = match current {
        None => "As usual: Standard Webhooks and Octohooks",
        Some(_) => "As they are",
    };
    vec![
        (KEEP, keep),
        ("standard", "Standard Webhooks only (webhook-signature)"),
        ("octohooks", "Octohooks only (x-signature)"),
        ("standard,octohooks", "Standard Webhooks and Octohooks"),
        ("optech", "OpTech (x-optech-signature)"),
    ]
}

fn default_schedule(state: &AppState) -> String {
    schedule_text(&state.engine.settings().retry_schedule)
}

fn schedule_text(schedule: &[std::time::Duration]) -> String {
    let waits: Vec<String> = schedule
        .iter()
        .map(|wait| crate::domain::duration::format(*wait))
        .collect();
    waits.join(", ")
}

/// The fields of an endpoint as it is.
fn texts_of(place: &Place, live: &LiveEndpoint) -> Texts {
    let settings = &live.settings;
    let store = &place.state.store;
    let listed = store.list_event_types(place.scope(), false, 0, TYPES_LISTED);
    let mut known: BTreeSet<String> = BTreeSet::new();
    for one in listed.unwrap_or_default() {
        let first = one.name.split('.').next().unwrap_or_default();
        known.insert(format!("{first}.**"));
        known.insert(one.name);
    }
    let types = settings
        .event_types
        .iter()
        .map(|one| one.as_str().to_owned());
    let (checked, others): (Vec<_>, Vec<_>) = types.partition(|name| known.contains(name));
    let headers = settings.headers.iter();
    let headers: Vec<String> = headers
        .map(|header| format!("{}: {}", header.name, header.shown()))
        .collect();
    let number = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    Texts {
        url: settings.url.clone(),
        name: settings.name.clone(),
        uid: settings.uid.clone().unwrap_or_default(),
        client_id: settings.client_id.clone().unwrap_or_default(),
        description: settings.description.clone(),
        checked: checked.into_iter().collect(),
        others: others.join("\n"),
        channels: settings.channels.join(", "),
        headers: headers.join("\n"),
        rate_limit: number(settings.rate_limit.map(u64::from)),
        timeout: number(settings.timeout.map(|timeout| timeout.as_secs())),
        retry_schedule: settings
            .retry_schedule
            .as_deref()
            .map_or_else(String::new, schedule_text),
        success_status: number(settings.success.status.map(u64::from)),
        success_body: settings.success.body.clone().unwrap_or_default(),
        success_content_type: settings.success.content_type.clone().unwrap_or_default(),
        signatures: KEEP.to_owned(),
        payload_in_headers: settings.payload_in_headers,
        ascii_body: settings.ascii_body,
    }
}

impl Texts {
    /// What a form holds.
    pub(super) fn read(form: &Form) -> Self {
        let text = |name: &str| form.get(name).trim().to_owned();
        Self {
            url: text("url"),
            name: text("name"),
            uid: text("uid"),
            client_id: text("clientId"),
            description: text("description"),
            checked: form.all("event").map(str::to_owned).collect(),
            others: text("others"),
            channels: text("channels"),
            headers: form.get("headers").to_owned(),
            rate_limit: text("rateLimit"),
            timeout: text("timeoutSeconds"),
            retry_schedule: text("retrySchedule"),
            success_status: text("successStatus"),
            success_body: text("successBody"),
            success_content_type: text("successContentType"),
            signatures: text("signatures"),
            payload_in_headers: form.has("payloadInHeaders"),
            ascii_body: form.has("asciiBody"),
        }
    }

    /// What they ask for, as the API would be told: the same body, the same
    /// rules.
    pub(super) fn input(&self, is_new: bool) -> Result<EndpointInput, Problem> {
        let mut errors = Vec::new();
        let headers = headers(&self.headers, &mut errors);
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        if !is_new || !self.url.is_empty() {
            put("url", json!(self.url));
        }
        if !self.uid.is_empty() {
            put("uid", json!(self.uid));
        }
        if !self.client_id.is_empty() {
            put("clientId", json!(self.client_id));
        }
        put("name", json!(self.name));
        put("description", json!(self.description));
        let checked = self.checked.iter().map(String::as_str);
        let types: Vec<_> = checked.chain(list(&self.others)).collect();
        put("eventTypes", json!(types));
        put("channels", json!(list(&self.channels).collect::<Vec<_>>()));
        put("headers", json!(headers));
        put("payloadInHeaders", json!(self.payload_in_headers));
        put("asciiBody", json!(self.ascii_body));
        // An empty schedule goes back to the deployment's.
        let waits: Vec<_> = list(&self.retry_schedule).collect();
        put("retrySchedule", json!(waits));
        // So does a 0.
        put("rateLimit", number(&self.rate_limit).unwrap_or(json!(0)));
        put("timeoutSeconds", number(&self.timeout).unwrap_or(json!(0)));
        put("success", self.success());
        if self.signatures != KEEP && !self.signatures.is_empty() {
            let names = self.signatures.split(',');
            let schemes: Vec<_> = names.map(|name| json!({"scheme": name})).collect();
            put("signatures", json!(schemes));
        }
        match endpoint_input::read(Value::Object(body).to_string().as_bytes()) {
            Ok(input) if errors.is_empty() => Ok(input),
            Ok(_) => Err(Problem::invalid(errors)),
            Err(problem) => {
                errors.extend(problem.errors);
                Err(Problem::invalid(errors))
            }
        }
    }

    fn success(&self) -> Value {
        let mut rule = Map::new();
        if let Some(status) = number(&self.success_status) {
            rule.insert("status".to_owned(), status);
        }
        for (name, text) in [
            ("body", &self.success_body),
            ("contentType", &self.success_content_type),
        ] {
            if !text.is_empty() {
                rule.insert(name.to_owned(), json!(text));
            }
        }
        Value::Object(rule)
    }
}

/// A number, or the text that is none, which the API's rules refuse.
fn number(text: &str) -> Option<Value> {
    let read = || {
        text.parse::<u64>()
            .map_or_else(|_| json!(text), Value::from)
    };
    (!text.is_empty()).then(read)
}

/// What stands between commas and ends of lines.
fn list(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split([',', '\n']).map(str::trim);
    parts.filter(|part| !part.is_empty())
}

/// `Name: value`, one in a line.
fn headers(text: &str, errors: &mut Vec<FieldError>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match line.split_once(':') {
            Some((name, value)) => {
                let twice = headers.insert(name.trim().to_owned(), value.trim().to_owned());
                if twice.is_some() {
                    let path = format!("headers[{at}]");
                    errors.push(FieldError::new(path, "has a name that is there twice"));
                }
            }
            None => errors.push(FieldError::new(
                format!("headers[{at}]"),
                "must be a name, a colon and a value",
            )),
        }
    }
    headers
}

/// Whether the URL leads to an inbox of this server: its token.
pub(super) fn inbox_token(state: &AppState, url: &str) -> Option<String> {
    own_inbox(url, &state.public_url).map(|(token, _)| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines() {
        let mut errors = Vec::new();
        let read = headers(
            "X-A: 1\n\n x-b :two: three \r\nnothing\nX-A: 2",
            &mut errors,
        );
        assert_eq!(read["x-b"], "two: three");
        let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["headers[3]", "headers[4]"]);
    }

    #[test]
    fn errors_stand_at_their_fields() {
        let errors = Errors::new(&[
            FieldError::new("url", "is missing"),
            FieldError::new("eventTypes[1]", "is not an event type"),
            FieldError::new("headers.Host", "cannot be set"),
        ]);
        assert_eq!(errors.of("url"), "This is missing.");
        assert_eq!(errors.of("eventTypes"), "Number 2 is not an event type.");
        assert_eq!(errors.of("headers"), "Host cannot be set.");
        assert!(errors.is_any() && !errors.has("name"));
    }

    #[test]
    fn texts_become_what_the_api_takes() {
        let texts = Texts {
            url: "https://a.example/".to_owned(),
            checked: ["a.b".to_owned()].into(),
            others: "c.*\nd".to_owned(),
            channels: "x, y".to_owned(),
            rate_limit: "5".to_owned(),
            signatures: "standard".to_owned(),
            ..Texts::default()
        };
        let input = texts.input(true).expect("all is well");
        assert_eq!(input.event_types.expect("given"), ["a.b", "c.*", "d"]);
        assert_eq!(input.channels.expect("given"), ["x", "y"]);
        assert_eq!(input.rate_limit, Some(5));
        assert_eq!(input.signatures.expect("given").len(), 1);
        let wrong = Texts {
            rate_limit: "many".to_owned(),
            name: "x".repeat(1000),
            headers: "nothing".to_owned(),
            ..Texts::default()
        };
        let problem = wrong.input(true).expect_err("three are wrong");
        let mut paths: Vec<_> = problem.errors.iter().map(|error| &*error.path).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["headers[0]", "name", "rateLimit"]);
    }
}
