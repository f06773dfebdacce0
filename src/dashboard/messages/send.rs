//! Sending a message from the dashboard.

use askama::Template;
use axum::response::{IntoResponse as _, Redirect};
use bytes::Bytes;
use http::StatusCode;

use super::super::endpoints::{answer, written};
use super::super::failure::{Answered, Failure};
use super::super::form::Form;
use super::super::frame::{Frame, Tab};
use super::super::parts::{ApiCall, Id};
use super::super::place::Place;
use super::super::pretty::pretty;
use super::messages_path;
use crate::control::FieldError;
use crate::domain::message::{
    CHANNEL_CHARS_MAX, CHANNELS_MAX, JSON, NewMessage, Origin, Target, UID_CHARS_MAX, is_event_type,
};
use crate::http::json::check as check_json;
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::store::Written;

#[derive(Template)]
#[template(path = "dashboard/messages/new.html")]
struct NewPage {
    frame: Frame,
    types: Vec<String>,
    event_type: String,
    channels: String,
    uid: String,
    payload: String,
    errors: Vec<FieldError>,
    action: String,
    cancel: String,
    from: Option<Id>,
    api: ApiCall,
}

impl NewPage {
    fn error(&self, field: &str) -> Option<&str> {
        let mut errors = self.errors.iter();
        let found = errors.find(|error| error.path.starts_with(field));
        found.map(|error| error.detail.as_str())
    }
}

fn new_page(place: &Place) -> Result<NewPage, Failure> {
    let types = place
        .state
        .store
        .list_event_types(place.scope(), false, 0, 500)?;
    let trail = [("Logs", "/messages".to_owned())];
    let body = r#"{"eventType": "invoice.paid", "payload": {"total": 42}}"#;
    let api = place.api(&messages_path(place));
    Ok(NewPage {
        frame: Frame::new(place, Tab::Logs, &trail, "Send a message"),
        types: types.into_iter().map(|one| one.name).collect(),
        event_type: String::new(),
        channels: String::new(),
        uid: String::new(),
        payload: "{\n  \"hello\": \"world\"\n}".to_owned(),
        errors: Vec::new(),
        action: place.link("/messages"),
        cancel: place.link("/messages"),
        from: None,
        api: ApiCall::new("api-send", "POST", &api, Some(body)),
    })
}

/// `GET /messages/new`, with `?from=` another message to change and send.
pub(in super::super) async fn new(place: Place, params: Params) -> Answered {
    let mut page = new_page(&place)?;
    if let Some(event_type) = params.get("type") {
        event_type.clone_into(&mut page.event_type);
    }
    if let Some(id) = params.get("from") {
        let application = place.application().application.key;
        let stored = place.state.store.find_message(application, id)?;
        let stored = stored.ok_or_else(|| Failure::not_found("message"))?;
        page.event_type = stored.message.event_type;
        page.channels = stored.message.channels.join(", ");
        page.payload = stored
            .payload
            .as_deref()
            .map_or_else(String::new, |payload| {
                let text = String::from_utf8_lossy(payload);
                pretty(&text).unwrap_or_else(|| text.into_owned())
            });
        page.from = Some(Id::new(id));
    }
    answer(&page)
}

/// `POST /messages`
pub(in super::super) async fn create(place: Place, form: Form) -> Answered {
    let application = place.application().application.key;
    let channels = form.get("channels").split(',').map(str::trim);
    let channels: Vec<String> = channels
        .filter(|channel| !channel.is_empty())
        .map(str::to_owned)
        .collect();
    let message = NewMessage {
        application,
        event_type: form.get("eventType").trim().to_owned(),
        channels,
        uid: form.text("uid").map(str::to_owned),
        content_type: JSON.to_owned(),
        headers: Vec::new(),
        origin: Origin::Api,
        payload: Bytes::from(form.get("payload").trim().to_owned()),
        target: Target::FanOut,
    };
    let message = match checked(&place, message) {
        Ok(message) => message,
        Err(Failure(problem)) if !problem.errors.is_empty() => {
            let page = NewPage {
                event_type: form.get("eventType").to_owned(),
                channels: form.get("channels").to_owned(),
                uid: form.get("uid").to_owned(),
                payload: form.get("payload").to_owned(),
                errors: problem.errors,
                ..new_page(&place)?
            };
            return Ok(written(StatusCode::UNPROCESSABLE_ENTITY, &page));
        }
        Err(failure) => return Err(failure),
    };
    let store = &place.state.store;
    let accepted = store.accept(place.scope(), message, None).await?;
    let Written::Fresh(accepted) = accepted else {
        unreachable!("without an idempotency key nothing is repeated");
    };
    let id = place.id(accepted.content.0.key);
    Ok(Redirect::to(&place.link(&format!("/messages/{id}?notice=sent"))).into_response())
}

/// The message, if it keeps the API's rules.
///
/// # Errors
/// 422 with each field that does not.
pub(in super::super) fn checked(place: &Place, message: NewMessage) -> Result<NewMessage, Failure> {
    let mut errors = Vec::new();
    let mut wrong = |field: &str, detail: String| errors.push(FieldError::new(field, detail));
    if !is_event_type(&message.event_type) {
        wrong(
            "eventType",
            "must have letters, digits, '-', '_' and '.' only, and not be empty".to_owned(),
        );
    }
    if message.channels.len() > CHANNELS_MAX {
        wrong("channels", format!("must be at most {CHANNELS_MAX}"));
    }
    let odd = |text: &String, most: usize| {
        text.chars().count() > most || text.chars().any(char::is_control)
    };
    if message
        .channels
        .iter()
        .any(|one| odd(one, CHANNEL_CHARS_MAX))
    {
        wrong(
            "channels",
            format!("must have at most {CHANNEL_CHARS_MAX} characters each"),
        );
    }
    if message
        .uid
        .as_ref()
        .is_some_and(|uid| odd(uid, UID_CHARS_MAX))
    {
        wrong(
            "uid",
            format!("must have at most {UID_CHARS_MAX} characters"),
        );
    }
    if let Err(error) = check_json(&message.payload) {
        wrong("payload", format!("is not JSON: {error}"));
    }
    let most = place.state.limits.payload_bytes_max;
    if message.payload.len() > most {
        wrong("payload", format!("is larger than {most} bytes"));
    }
    if errors.is_empty() {
        Ok(message)
    } else {
        Err(Failure(Problem::invalid(errors)))
    }
}
