//! API keys: made, shown once, rotated, revoked.

use std::time::Duration;

use askama::Template;
use http::StatusCode;

use super::super::endpoints::{answer, back, written};
use super::super::failure::{Answered, Failure};
use super::super::form::Form;
use super::super::frame::{Frame, Tab};
use super::super::parts::{ApiCall, Id, Moment, Well};
use super::super::place::Place;
use super::Tabs;
use crate::control::FieldError;
use crate::control::api_keys::ApiKeyInput;
use crate::domain::api_key::API_KEY_NAME_CHARS_MAX;
use crate::domain::principal::Capability;
use crate::http::problem::Problem;

struct KeyRow {
    name: String,
    shown: String,
    id: Id,
    scopes: String,
    application: Option<String>,
    created: Moment,
    expires: Option<Moment>,
    expired: bool,
    last_used: Option<Moment>,
    revoke: String,
    rotate: String,
}

#[derive(Template)]
#[template(path = "dashboard/settings/keys.html")]
struct KeysPage {
    frame: Frame,
    tabs: Tabs,
    rows: Vec<KeyRow>,
    /// The text of a key that was just made: shown this once.
    made: Option<Well>,
    scopes: Vec<(&'static str, &'static str)>,
    errors: Vec<FieldError>,
    name: String,
    application: String,
    action: String,
    api: ApiCall,
}

impl KeysPage {
    fn error(&self, field: &str) -> Option<&str> {
        let mut errors = self.errors.iter();
        let found = errors.find(|error| error.path.starts_with(field));
        found.map(|error| error.detail.as_str())
    }
}

fn keys_page(place: &Place) -> Result<KeysPage, Failure> {
    let control = place.state.control();
    let keys = control.list_api_keys(place.principal)?;
    let mut rows = Vec::with_capacity(keys.len());
    for key in keys.iter().rev() {
        let id = place.id(key.key);
        let application = match key.application {
            Some(bound) => place.state.store.application(bound)?,
            None => None,
        };
        let scopes: Vec<&str> = key.capabilities.named().map(Capability::name).collect();
        let at = |end: &str| place.link(&format!("/settings/keys/{id}{end}"));
        rows.push(KeyRow {
            name: key.name.clone(),
            shown: key.shown.clone(),
            scopes: scopes.join(", "),
            application: application.map(|entry| entry.application.name.clone()),
            created: Moment::new(key.created, place.now),
            expires: key.expires.map(|end| Moment::new(end, place.now)),
            expired: key.has_expired(place.now),
            last_used: key.last_used.map(|used| Moment::new(used, place.now)),
            revoke: at("/revocations"),
            rotate: at("/rotations"),
            id: Id::new(id),
        });
    }
    let body = r#"{"name": "ci", "scopes": ["messages:write"]}"#;
    let all = [
        ("admin", "Everything in this environment"),
        ("read", "See everything but secrets"),
        ("messages:write", "Send and replay messages"),
        ("endpoints:write", "Make, change and delete"),
        ("secrets", "Read and rotate signing secrets"),
    ];
    Ok(KeysPage {
        frame: Frame::new(place, Tab::Settings, &[], "API Keys"),
        tabs: Tabs::new(place, "API Keys"),
        rows,
        made: None,
        scopes: all.into(),
        errors: Vec::new(),
        name: String::new(),
        application: String::new(),
        action: place.link("/settings/keys"),
        api: ApiCall::new("api-keys", "POST", &place.api("/keys"), Some(body)),
    })
}

/// `GET /settings/keys`
pub(in super::super) async fn index(place: Place) -> Answered {
    answer(&keys_page(&place)?)
}

/// `POST /settings/keys`: the page with the key's text in it, once.
pub(in super::super) async fn create(place: Place, form: Form) -> Answered {
    let mut errors = Vec::new();
    let name = form.get("name").trim().to_owned();
    if name.chars().count() > API_KEY_NAME_CHARS_MAX || name.chars().any(char::is_control) {
        let detail = format!("must have at most {API_KEY_NAME_CHARS_MAX} characters");
        errors.push(FieldError::new("name", detail));
    }
    let days = form.text("days").map(str::parse::<u64>);
    let lifetime = match days {
        None => None,
        Some(Ok(days @ 1..=3650)) => Some(Duration::from_hours(24 * days)),
        Some(_) => {
            errors.push(FieldError::new("days", "must be 1 to 3650, or empty"));
            None
        }
    };
    let input = ApiKeyInput {
        name: name.clone(),
        scopes: Some(form.all("scope").map(str::to_owned).collect()),
        application: form.text("application").map(str::to_owned),
        environment: None,
        lifetime,
    };
    let control = place.state.control();
    let text = control.new_api_key_text();
    let made = if errors.is_empty() {
        let made = control.create_api_key(place.principal, input, &text, None);
        made.await.map_err(Problem::from)
    } else {
        Err(Problem::invalid(errors))
    };
    match made {
        Ok(_) => {
            let page = KeysPage {
                made: Some(Well::new("made", text.expose())),
                ..keys_page(&place)?
            };
            answer(&page)
        }
        Err(problem) if !problem.errors.is_empty() => {
            let page = KeysPage {
                errors: problem.errors,
                name,
                application: form.get("application").to_owned(),
                ..keys_page(&place)?
            };
            Ok(written(StatusCode::UNPROCESSABLE_ENTITY, &page))
        }
        Err(problem) => Err(Failure(problem)),
    }
}

/// `POST /settings/keys/{key}/rotations`
pub(in super::super) async fn rotate(place: Place, _: Form) -> Answered {
    let control = place.state.control();
    let text = control.new_api_key_text();
    control
        .rotate_api_key(place.principal, place.name("key"), &text, None)
        .await?;
    let page = KeysPage {
        made: Some(Well::new("made", text.expose())),
        ..keys_page(&place)?
    };
    answer(&page)
}

/// `POST /settings/keys/{key}/revocations`
pub(in super::super) async fn revoke(place: Place, _: Form) -> Answered {
    let control = place.state.control();
    control
        .revoke_api_key(place.principal, place.name("key"))
        .await?;
    Ok(back(&place.link("/settings/keys"), "revoked"))
}
