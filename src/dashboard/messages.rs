//! Messages: the log of them, and replaying; one of them, and sending one, in
//! files of their own.

mod send;
mod show;

use std::fmt::Write as _;

use askama::Template;
use serde_json::json;

use super::endpoints::{answer, back};
use super::failure::{Answered, Failure};
use super::form::Form;
use super::frame::{Can, Frame, Kind, Tab};
use super::logs::{self, Fresh, LIVE_ROWS_MAX, LogTabs, Older, endpoint_asked};
use super::parts::{ApiCall, Id, Moment, Tag, Well, field_time, parse_field_time};
use super::place::Place;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::fanout::EventFilter;
use crate::domain::ids::{ApplicationKey, EndpointKey, MessageKey};
use crate::domain::message::StoredMessage;
use crate::http::paging::Params;
use crate::store::{MessageFilter, MessageRow, Standing};

pub(super) use send::{checked, create, new};
pub(super) use show::{download, show};

/// Messages on a page.
const PAGE: usize = 50;

/// One message in a list.
struct Row {
    id: Id,
    anchor: String,
    href: String,
    event_type: String,
    application: Option<String>,
    channels: Vec<String>,
    at: Moment,
    /// How it stands with each endpoint, worst first, at most three of them.
    tags: Vec<Tag>,
    more: usize,
    failed: bool,
    replay: String,
    pair: String,
}

impl Row {
    fn new(place: &Place, row: &MessageRow) -> Result<Self, Failure> {
        let message = &row.message;
        let base = place.application_base(&place.id(message.application));
        let id = place.id(message.key);
        let href = format!("{base}/messages/{id}");
        let entry = place.state.store.application(message.application)?;
        let held = |key: EndpointKey| {
            let live = entry.as_ref().and_then(|entry| entry.endpoint(key));
            live.is_some_and(|live| !live.sends())
        };
        let mut tags: Vec<Tag> = row
            .deliveries
            .iter()
            .map(|(endpoint, delivery)| tag_of(delivery, held(*endpoint)))
            .collect();
        tags.sort_by_key(|tag| match tag.kind {
            Kind::Bad => 0,
            Kind::Idle => 1,
            Kind::Wait => 2,
            Kind::Good => 3,
        });
        let more = tags.len().saturating_sub(3);
        tags.truncate(3);
        Ok(Self {
            anchor: id.clone(),
            replay: format!("{href}/replays"),
            failed: row
                .deliveries
                .iter()
                .any(|(_, delivery)| is_failed(delivery)),
            id: Id::linked(id.clone(), href.clone()),
            pair: id,
            href,
            event_type: message.event_type.clone(),
            application: entry
                .filter(|_| place.application.is_none())
                .map(|entry| entry.application.name.clone()),
            channels: message.channels.clone(),
            at: Moment::new(message.created(), place.now),
            tags,
            more,
        })
    }
}

/// A delivery in a word: the status of its last attempt says most.
fn tag_of(delivery: &Delivery, held: bool) -> Tag {
    let failed = delivery.attempt_count > 0;
    let tag = Tag::of_delivery(delivery.state, held, failed);
    match (delivery.attempts.last(), delivery.state) {
        (Some(mark), DeliveryState::Waiting { .. }) if mark.status > 0 && !held => Tag {
            text: mark.status.to_string(),
            ..tag
        },
        _ => tag,
    }
}

fn is_failed(delivery: &Delivery) -> bool {
    match delivery.state {
        DeliveryState::Exhausted => true,
        DeliveryState::Waiting { .. } => delivery.attempt_count > 0,
        DeliveryState::Delivered | DeliveryState::Cancelled => false,
    }
}

#[derive(Template)]
#[template(path = "dashboard/messages/index.html")]
struct IndexPage {
    frame: Frame,
    can: Can,
    tabs: LogTabs,
    rows: Vec<Row>,
    older: Option<Older>,
    is_filtered: bool,
    states: Vec<&'static str>,
    state: String,
    code: String,
    event_type: String,
    channel: String,
    endpoint: String,
    from: String,
    to: String,
    text: String,
    itself: String,
    replay_chosen: String,
    export: String,
    live: String,
    api: ApiCall,
    curl: Well,
}

fn asked(place: &Place, params: &Params) -> Result<(MessageFilter, Option<MessageKey>), Failure> {
    let event_type = params.parsed("type", "an event type, such as order.*", |text| {
        EventFilter::parse(text).ok()
    })?;
    let standing = params.parsed(
        "state",
        "delivered, failed, waiting, exhausted or cancelled",
        Standing::from_name,
    )?;
    let status_class = params.parsed("code", "none, 1xx ... 5xx", |text| {
        if text == "none" {
            Some(0)
        } else {
            let class = text.strip_suffix("xx")?.parse::<u16>().ok()?;
            (1..=5).contains(&class).then_some(class * 100)
        }
    })?;
    let endpoint = params.get("endpoint");
    let ids = place.state.store.ids();
    let before = params.parsed("before", "the id of a message", |text| ids.parse(text))?;
    let filter = MessageFilter {
        event_type,
        channel: params.get("channel").map(str::to_owned),
        standing,
        status_class,
        endpoint: endpoint.map(|id| endpoint_asked(place, id)).transpose()?,
        after: params.parsed("from", "a time", parse_field_time)?,
        before: params.parsed("to", "a time", parse_field_time)?,
        text: params.get("text").map(str::to_owned),
    };
    Ok((filter, before))
}

/// `GET /messages`
pub(super) async fn index(place: Place, params: Params) -> Answered {
    let (filter, before) = asked(&place, &params)?;
    let found = place
        .state
        .store
        .browse_messages(place.scope(), &filter, before, PAGE)?;
    let rows = found.rows.iter().map(|row| Row::new(&place, row));
    let rows = rows.collect::<Result<_, _>>()?;
    let next = found.next.map(|next| place.id(next));
    let text = |name: &str| params.get(name).unwrap_or_default().to_owned();
    let time = |moment: Option<crate::domain::time::Timestamp>| {
        moment.map_or_else(String::new, field_time)
    };
    let path = messages_path(&place);
    let body = r#"{"eventType": "invoice.paid", "payload": {"total": 42}}"#;
    let curl = ApiCall::new("curl-send", "POST", &place.api(&path), Some(body));
    let page = IndexPage {
        frame: Frame::new(&place, Tab::Logs, &[], "Logs"),
        can: place.can(),
        tabs: LogTabs::new(&place, "messages"),
        rows,
        older: next.map(|next| Older {
            href: params.with("before", &next),
            reached: found.reached.map(|at| Moment::new(at, place.now)),
        }),
        is_filtered: params.is_any(),
        states: Standing::ALL.map(Standing::name).into(),
        state: text("state"),
        code: text("code"),
        event_type: text("type"),
        channel: text("channel"),
        endpoint: text("endpoint"),
        from: time(filter.after),
        to: time(filter.before),
        text: text("text"),
        itself: place.link("/messages"),
        replay_chosen: place.link("/replays"),
        export: format!("{}{}", place.link("/messages/export"), params.query()),
        live: format!("{}{}", place.link("/messages/live"), params.query()),
        api: ApiCall::new("api-messages", "GET", &place.api(&path), None),
        curl: curl.into_well(),
    };
    answer(&page)
}

fn messages_path(place: &Place) -> String {
    let entry = place.application.as_ref();
    let id = entry.map_or_else(|| "APP".to_owned(), |entry| place.id(entry.application.key));
    format!("/applications/{id}/messages")
}

#[derive(Template)]
#[template(path = "dashboard/messages/_fresh.html")]
struct RowsPart {
    rows: Vec<Row>,
    can: Can,
    form_token: String,
    /// Whether more came than is told.
    gap: bool,
    reload: String,
}

/// Rows that came after `after`, oldest first, and the newest there is.
pub(super) fn fresh_rows(
    place: &Place,
    params: &Params,
    after: MessageKey,
) -> Result<Fresh<MessageKey>, Failure> {
    let (filter, _) = asked(place, params)?;
    let store = &place.state.store;
    let found = store.browse_messages(place.scope(), &filter, None, LIVE_ROWS_MAX)?;
    let newest = found.rows.first().map_or(after, |row| row.message.key);
    let newer = found.rows.iter().filter(|row| row.message.key > after);
    let mut rows = newer
        .map(|row| Row::new(place, row))
        .collect::<Result<Vec<_>, _>>()?;
    if rows.is_empty() {
        return Ok(Fresh {
            html: String::new(),
            newest: newest.max(after),
        });
    }
    // As many as a look gives: there may be more between them and the last.
    let gap = rows.len() == LIVE_ROWS_MAX;
    rows.reverse();
    let part = RowsPart {
        rows,
        can: place.can(),
        form_token: place.form_token.clone(),
        gap,
        reload: place.link("/messages"),
    };
    let html = part.render().expect("a string takes it all");
    Ok(Fresh {
        html,
        newest: newest.max(after),
    })
}

/// `GET /messages/export`
pub(super) async fn export(place: Place, params: Params) -> Answered {
    // What is asked for is judged before anything is answered.
    asked(&place, &params)?;
    let next = move |place: &Place, before: Option<MessageKey>| {
        let (filter, _) = asked(place, &params)?;
        let store = &place.state.store;
        let found = store.browse_messages(place.scope(), &filter, before, 250)?;
        let mut text = String::new();
        for row in &found.rows {
            let id = place.id(row.message.key);
            let stored = store.find_message(row.message.application, &id)?;
            let payload = stored.and_then(|stored| stored.payload);
            let payload = payload.as_deref().map(String::from_utf8_lossy);
            let deliveries = row.deliveries.iter().map(|(endpoint, delivery)| {
                json!({
                    "endpointId": place.id(*endpoint),
                    "state": super::parts::state_name(delivery.state),
                    "attempts": delivery.attempt_count,
                    "lastStatusCode": delivery.attempts.last().map(|mark| mark.status),
                })
            });
            let line = json!({
                "id": id,
                "applicationId": place.id(row.message.application),
                "uid": row.message.uid,
                "eventType": row.message.event_type,
                "channels": row.message.channels,
                "created": row.message.created(),
                // As a text: numbers in it stay as they are.
                "payload": payload,
                "deliveries": deliveries.collect::<Vec<_>>(),
            });
            writeln!(text, "{line}").expect("a string takes all");
        }
        Ok((text, found.rows.len(), found.next))
    };
    Ok(super::logs::export(place, "messages", next))
}

/// The message that the path names.
fn found(place: &Place) -> Result<StoredMessage, Failure> {
    let application = place.application().application.key;
    let found = place
        .state
        .store
        .find_message(application, place.name("msg"))?;
    found.ok_or_else(|| Failure::not_found("message"))
}

/// Whose a message is, if the viewer sees it.
pub(super) fn application_of(place: &Place, key: MessageKey) -> Result<ApplicationKey, Failure> {
    let id = place.id(key);
    let store = &place.state.store;
    let missing = || Failure::not_found("message");
    if let Some(entry) = &place.application {
        let application = entry.application.key;
        let found = store.find_message(application, &id)?;
        return found.map(|_| application).ok_or_else(missing);
    }
    let application = store.message_application(key)?.ok_or_else(missing)?;
    let entry = store.application(application)?.ok_or_else(missing)?;
    let covered = place
        .scope()
        .covers(entry.application.environment, application);
    covered.then_some(application).ok_or_else(missing)
}

/// The endpoints that a message has not reached.
pub(super) fn undelivered(place: &Place, key: MessageKey) -> Result<Vec<EndpointKey>, Failure> {
    let deliveries = place.state.store.deliveries(key)?;
    let failed = deliveries
        .into_iter()
        .filter(|(_, delivery)| is_failed(delivery));
    Ok(failed.map(|(endpoint, _)| endpoint).collect())
}

/// `POST /messages/{msg}/endpoints/{ep}/replays`
pub(super) async fn replay(place: Place, _: Form) -> Answered {
    replay_to(&place, place.name("ep")).await
}

/// `POST /messages/{msg}/replays`: to an endpoint that the form names, or
/// whatever failed.
pub(super) async fn replay_all(place: Place, form: Form) -> Answered {
    replay_to(&place, form.get("endpoint")).await
}

async fn replay_to(place: &Place, endpoint: &str) -> Answered {
    let deliveries = logs::named(place, place.name("msg"), endpoint)?;
    let replayed = logs::replay(place, deliveries).await?;
    let to = place.link(&format!("/messages/{}", place.name("msg")));
    Ok(back(&to, replayed.notice("replayed")))
}
