//! Messages: the log, one of them, replaying, sending.

use std::fmt::Write as _;
use std::sync::Arc;

use askama::Template;
use axum::response::{IntoResponse as _, Redirect};
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::endpoints::{answer, back, written};
use super::failure::{Answered, Failure};
use super::form::Form;
use super::frame::{Can, Frame, Tab};
use super::logs::{self, Fresh, LIVE_ROWS_MAX, LogTabs, Older, endpoint_asked};
use super::parts::{
    ApiCall, Id, Moment, Tag, Well, advice, bytes, counted, field_time, milliseconds,
    parse_field_time, shell_quoted,
};
use super::place::Place;
use crate::control::FieldError;
use crate::domain::attempt::{Attempt, CapturedResponse};
use crate::domain::delivery::{Delivery, DeliveryState, Trigger, Verdict};
use crate::domain::endpoint::{LiveEndpoint, is_secret_name};
use crate::domain::fanout::EventFilter;
use crate::domain::ids::{ApplicationKey, EndpointKey, MessageKey};
use crate::domain::message::{
    CHANNEL_CHARS_MAX, CHANNELS_MAX, JSON, Message, NewMessage, Origin, StoredMessage, Target,
    UID_CHARS_MAX, is_event_type,
};
use crate::domain::payload;
use crate::domain::signing::SignedParts;
use crate::http::json::check as check_json;
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::store::{MessageFilter, MessageRow, Standing, Written};

/// Messages on a page.
const PAGE: usize = 50;
/// Bytes of a payload that a page shows; the rest is in the download.
const SHOWN_BYTES_MAX: usize = 256 * 1024;
/// Deliveries that a message's page shows.
const DELIVERIES_MAX: usize = 50;
/// Endpoints that a message is offered to.
const ELSEWHERE_MAX: usize = 200;

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
            super::frame::Kind::Bad => 0,
            super::frame::Kind::Idle => 1,
            super::frame::Kind::Wait => 2,
            super::frame::Kind::Good => 3,
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

struct Header {
    name: String,
    value: String,
}

/// One attempt in a timeline.
struct Step {
    tag: Tag,
    number: u32,
    manual: bool,
    at: Moment,
    /// Since the attempt before.
    wait: Option<String>,
    duration: String,
    timing: Vec<(&'static str, String)>,
    peer: Option<String>,
    detail: Option<String>,
    advice: Option<&'static str>,
    request: Vec<Header>,
    left_out: String,
    response: Vec<Header>,
    body: Option<Well>,
    truncated: bool,
    /// Whether its details are open: the newest that failed.
    open: bool,
}

/// How the message fares with one endpoint.
struct DeliveryPart {
    url: String,
    href: String,
    tag: Tag,
    /// What happens next, and why then.
    words: String,
    next: Option<Moment>,
    steps: Vec<Step>,
    /// Attempts that are older than those shown.
    older: u32,
    replay: String,
    replay_is_main: bool,
    deleted: bool,
    disabled: bool,
    curl: Option<Well>,
}

#[derive(Template)]
#[template(path = "dashboard/messages/show.html")]
struct ShowPage {
    frame: Frame,
    can: Can,
    event_type: String,
    id: Id,
    uid: Option<Id>,
    channels: Vec<String>,
    created: Moment,
    origin: &'static str,
    size: String,
    payload: Option<Well>,
    raw: Option<Well>,
    cut: bool,
    download: String,
    deliveries: Vec<DeliveryPart>,
    /// Deliveries beyond those.
    not_shown: usize,
    elsewhere: Vec<(String, String)>,
    elsewhere_action: String,
    replay_all: Option<(String, String)>,
    edit: Option<String>,
    docs: Vec<Snippet>,
    /// Milliseconds after which the page looks again; 0: nothing is under way.
    again_ms: u32,
    api: ApiCall,
}

/// How a receiver verifies, in one language.
struct Snippet {
    language: &'static str,
    well: Well,
}

/// `GET /messages/{msg}`
pub(super) async fn show(place: Place) -> Answered {
    let stored = found(&place)?;
    let message = &stored.message;
    let store = &place.state.store;
    let entry = place.application();
    let deliveries = store.deliveries(message.key)?;
    // What needs somebody comes first, and is what is shown of very many.
    let mut shown: Vec<_> = deliveries.iter().collect();
    shown.sort_by_key(|(_, delivery)| !is_failed(delivery));
    let not_shown = shown.len().saturating_sub(DELIVERIES_MAX);
    shown.truncate(DELIVERIES_MAX);
    let mut parts = Vec::with_capacity(shown.len());
    for (endpoint, delivery) in shown {
        if let Some(live) = entry.endpoint(*endpoint) {
            parts.push(delivery_part(&place, &stored, live, delivery)?);
        }
    }
    let owed: Vec<EndpointKey> = deliveries.iter().map(|(endpoint, _)| *endpoint).collect();
    let elsewhere = entry
        .endpoints
        .iter()
        .filter(|live| live.settings.deleted.is_none() && !owed.contains(&live.settings.key));
    let elsewhere: Vec<_> = elsewhere
        .take(ELSEWHERE_MAX)
        .map(|live| (place.id(live.settings.key), live.settings.url.clone()))
        .collect();
    let id = place.id(message.key);
    let at = |path: &str| place.link(&format!("/messages/{id}{path}"));
    let failed = deliveries.iter().filter(|(_, one)| is_failed(one)).count() as u64;
    let soon = deliveries.iter().any(|(key, delivery)| {
        let sends = entry.endpoint(*key).is_some_and(|live| live.sends());
        let due = delivery.waiting().map(|(due, _)| due);
        sends && due.is_some_and(|due| due.0 <= place.now.0 + 1000)
    });
    let api = place.api(&format!(
        "/applications/{}/messages/{id}",
        place.id(message.application)
    ));
    let endpoint = owed
        .first()
        .map_or_else(|| "EP".to_owned(), |key| place.id(*key));
    let by_api = [
        ("this message", "GET", api.clone(), None),
        (
            "its deliveries",
            "GET",
            format!("{api}/endpoint-messages"),
            None,
        ),
        ("its attempts", "GET", format!("{api}/attempts"), None),
        (
            "replay",
            "POST",
            format!("{api}/endpoints/{endpoint}/replays"),
            None,
        ),
    ];
    let trail = [("Logs", "/messages".to_owned())];
    let (payload, raw, cut) = payload_wells(stored.payload.as_ref());
    let page = ShowPage {
        frame: Frame::new(&place, Tab::Logs, &trail, &message.event_type),
        can: place.can(),
        event_type: message.event_type.clone(),
        uid: message.uid.as_ref().map(Id::new),
        channels: message.channels.clone(),
        created: Moment::new(message.created(), place.now),
        origin: match message.origin {
            Origin::Api => "Posted to the API",
            Origin::Operational => "Written by Hookpost: an operational event",
            Origin::Example => "Sent to try an endpoint out",
        },
        size: stored
            .payload
            .as_ref()
            .map_or_else(String::new, |payload| bytes(payload.len() as u64)),
        payload,
        raw,
        cut,
        download: at("/payload"),
        deliveries: parts,
        not_shown,
        elsewhere,
        elsewhere_action: at("/replays"),
        replay_all: (failed > 1).then(|| {
            let label = format!("Replay {}", counted(failed, "delivery", "deliveries"));
            (at("/replays"), label)
        }),
        edit: place
            .sends_messages()
            .then(|| place.link(&format!("/messages/new?from={id}"))),
        docs: snippets(),
        again_ms: if soon { 900 } else { 0 },
        id: Id::new(id).whole(),
        api: ApiCall::several("api-message", &by_api),
    };
    answer(&page)
}

/// The payload for the eye, and as it came, where that is something else.
fn payload_wells(payload: Option<&Bytes>) -> (Option<Well>, Option<Well>, bool) {
    let Some(payload) = payload else {
        return (None, None, false);
    };
    let cut = payload.len() > SHOWN_BYTES_MAX;
    let shown = &payload[..payload.len().min(SHOWN_BYTES_MAX)];
    let text = String::from_utf8_lossy(shown).into_owned();
    if cut {
        return (Some(Well::new("payload", text)), None, true);
    }
    match super::pretty::pretty(&text) {
        Some(pretty) if pretty != text => (
            Some(Well::new("payload", pretty)),
            Some(Well::new("payload-raw", text)),
            false,
        ),
        _ => (Some(Well::new("payload", text)), None, false),
    }
}

fn delivery_part(
    place: &Place,
    stored: &StoredMessage,
    live: &Arc<LiveEndpoint>,
    delivery: &Delivery,
) -> Result<DeliveryPart, Failure> {
    let store = &place.state.store;
    let key = live.settings.key;
    let id = place.id(stored.message.key);
    let mut attempts = Vec::new();
    for mark in delivery.attempts.iter().rev() {
        attempts.extend(store.attempt(mark.key)?);
    }
    let shown = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
    let newest = attempts.first().map(|attempt| attempt.number);
    let mut steps = Vec::with_capacity(attempts.len());
    for (at, attempt) in attempts.iter().enumerate() {
        let before = attempts.get(at + 1);
        let step = step(place, attempt, before, Some(attempt.number) == newest, &id);
        steps.push(step);
    }
    let held = !live.sends();
    let (words, next) = what_is_next(place, live, delivery, attempts.first());
    let endpoint = place.id(key);
    let can_curl = place.can().send && live.settings.deleted.is_none();
    let curl = stored.payload.as_ref().filter(|_| can_curl);
    Ok(DeliveryPart {
        url: live.settings.url.clone(),
        href: place.link(&format!("/endpoints/{endpoint}")),
        tag: Tag::of_delivery(delivery.state, held, delivery.attempt_count > 0),
        words,
        next,
        steps,
        older: delivery.attempt_count.saturating_sub(shown),
        replay: place.link(&format!("/messages/{id}/endpoints/{endpoint}/replays")),
        replay_is_main: is_failed(delivery),
        deleted: live.settings.deleted.is_some(),
        disabled: !live.takes_messages(),
        curl: curl.map(|payload| {
            let text = curl_of(place, live, &stored.message, payload);
            Well {
                id: format!("curl-{endpoint}"),
                class: "shell",
                text,
            }
        }),
    })
}

/// What comes next for a delivery, when and why.
fn what_is_next(
    place: &Place,
    live: &LiveEndpoint,
    delivery: &Delivery,
    last: Option<&Attempt>,
) -> (String, Option<Moment>) {
    let attempts = counted(delivery.attempt_count.into(), "attempt", "attempts");
    let DeliveryState::Waiting { due, trigger } = delivery.state else {
        let words = match delivery.state {
            DeliveryState::Delivered => format!("Delivered after {attempts}."),
            DeliveryState::Exhausted => format!(
                "Given up after {attempts}: the schedule is used up. It is kept, and can be replayed."
            ),
            _ => "Cancelled: the endpoint was deleted before it could be delivered.".to_owned(),
        };
        return (words, None);
    };
    if live.settings.paused {
        let words = "Held: the endpoint is paused. It is sent when that is resumed.";
        return (words.to_owned(), None);
    }
    if !live.takes_messages() {
        let words = "Held: the endpoint is disabled. It is sent when that is enabled.";
        return (words.to_owned(), None);
    }
    let next = Moment::new(due.max(place.now), place.now);
    let why = match (trigger, last) {
        (Trigger::Manual, _) => "A replay is on its way".to_owned(),
        (_, None) => "Its first attempt is on its way".to_owned(),
        (_, Some(last)) if retry_after(last).is_some() => {
            format!("{attempts} so far; the receiver asked to wait, so the next is")
        }
        _ => format!("{attempts} so far; by the schedule the next is"),
    };
    (why, Some(next))
}

fn retry_after(attempt: &Attempt) -> Option<&[u8]> {
    let response = attempt.of.exchange.response.as_ref()?;
    let mut headers = response.headers.iter();
    let found = headers.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    found.map(|(_, value)| value.as_slice())
}

fn step(
    place: &Place,
    attempt: &Attempt,
    before: Option<&Attempt>,
    is_newest: bool,
    message_id: &str,
) -> Step {
    let of = &attempt.of;
    let timing = of.exchange.timing;
    let failed = of.verdict != Verdict::Delivered;
    let parts = [
        ("DNS", timing.dns_us),
        ("Connect", timing.connect_us),
        ("TLS", timing.tls_us),
        ("First byte", timing.first_byte_us),
    ];
    let parts = parts.into_iter().filter(|(_, us)| *us > 0);
    let microseconds = |us: u32| format!("{}.{} ms", us / 1000, us % 1000 / 100);
    let response = of.exchange.response.as_ref();
    Step {
        tag: Tag::of_attempt(&of.exchange.outcome, of.verdict),
        number: attempt.number,
        manual: of.trigger == Trigger::Manual,
        at: Moment::new(of.started, place.now),
        wait: before.map(|before| {
            let span = of.started.since(before.of.started);
            milliseconds(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
        }),
        duration: milliseconds(u64::from(timing.total_us / 1000)),
        timing: parts.map(|(name, us)| (name, microseconds(us))).collect(),
        peer: of.exchange.peer.map(|peer| peer.to_string()),
        detail: of.exchange.outcome.detail().map(str::to_owned),
        advice: advice(&of.exchange.outcome).filter(|_| failed),
        request: of
            .request
            .headers(message_id)
            .into_iter()
            .map(|(name, value)| Header { name, value })
            .collect(),
        left_out: of.request.left_out.join(", "),
        response: response.map_or_else(Vec::new, response_headers),
        body: response
            .filter(|response| !response.body.is_empty())
            .map(|response| body_well(place, attempt, response)),
        truncated: response.is_some_and(|response| response.truncated),
        open: is_newest && failed,
    }
}

/// The headers as they came; what usually carries a secret is masked.
fn response_headers(response: &CapturedResponse) -> Vec<Header> {
    let headers = response.headers.iter().map(|(name, value)| Header {
        name: name.clone(),
        value: if is_secret_name(name) {
            crate::domain::endpoint::MASKED.to_owned()
        } else {
            String::from_utf8_lossy(value).into_owned()
        },
    });
    headers.collect()
}

fn body_well(place: &Place, attempt: &Attempt, response: &CapturedResponse) -> Well {
    let id = format!("body-{}", place.id(attempt.key));
    let text = String::from_utf8(response.body.clone());
    Well::new(id, text.unwrap_or_else(|bytes| hex(bytes.as_bytes())))
}

/// Bytes that are no text, sixteen in a line.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (at, line) in bytes.chunks(16).enumerate() {
        write!(text, "{:08x} ", at * 16).expect("a string takes all");
        for byte in line {
            write!(text, " {byte:02x}").expect("a string takes all");
        }
        text.push('\n');
    }
    text
}

/// A request as a delivery would send it now: its signatures are valid for as
/// long as receivers take old ones.
fn curl_of(place: &Place, live: &LiveEndpoint, message: &Message, payload: &Bytes) -> String {
    let settings = &live.settings;
    let body = if settings.ascii_body {
        payload::ascii(payload)
    } else {
        std::borrow::Cow::Borrowed(payload.as_ref())
    };
    let id = place.id(message.key);
    let secrets = settings.valid_secrets(place.now).map(|valid| &valid.secret);
    let signed = SignedParts::sign(
        &settings.signatures,
        secrets,
        &id,
        place.now.as_secs(),
        &body,
    );
    let mut text = format!("curl -X POST {}", shell_quoted(&settings.url));
    let mut header = |name: &str, value: &str| {
        let word = shell_quoted(&format!("{name}: {value}"));
        write!(text, " \\\n  -H {word}").expect("a string takes all");
    };
    header("content-type", &message.content_type);
    for (name, value) in signed.headers(&id) {
        header(name, &value);
    }
    for custom in &settings.headers {
        header(&custom.name, custom.shown());
    }
    let data = shell_quoted(&String::from_utf8_lossy(&body));
    write!(text, " \\\n  --data-binary {data}").expect("a string takes all");
    text
}

/// `GET /messages/{msg}/payload`: the bytes as they came, as a file.
pub(super) async fn download(place: Place) -> Answered {
    let stored = found(&place)?;
    let gone = || Problem::from(crate::store::Refusal::PayloadGone);
    let payload = stored.payload.ok_or_else(gone)?;
    let mut response = payload.into_response();
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, plain);
    let file = HeaderValue::from_static("attachment; filename=\"payload.json\"");
    headers.insert(CONTENT_DISPOSITION, file);
    let sandbox = HeaderValue::from_static("sandbox; default-src 'none'");
    headers.insert(CONTENT_SECURITY_POLICY, sandbox);
    Ok(response)
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
pub(super) async fn new(place: Place, params: Params) -> Answered {
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
                super::pretty::pretty(&text).unwrap_or_else(|| text.into_owned())
            });
        page.from = Some(Id::new(id));
    }
    answer(&page)
}

/// `POST /messages`
pub(super) async fn create(place: Place, form: Form) -> Answered {
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
pub(super) fn checked(place: &Place, message: NewMessage) -> Result<NewMessage, Failure> {
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

/// How to verify a delivery, in six languages.
fn snippets() -> Vec<Snippet> {
    SNIPPETS
        .iter()
        .enumerate()
        .map(|(at, (language, text))| Snippet {
            language,
            well: Well::new(format!("verify-{at}"), (*text).trim_end()),
        })
        .collect()
}

const SNIPPETS: [(&str, &str); 6] = [
    (
        "Node.js",
        include_str!("../../templates/dashboard/verify/node.txt"),
    ),
    (
        "Python",
        include_str!("../../templates/dashboard/verify/python.txt"),
    ),
    (
        "Go",
        include_str!("../../templates/dashboard/verify/go.txt"),
    ),
    (
        "Ruby",
        include_str!("../../templates/dashboard/verify/ruby.txt"),
    ),
    (
        "PHP",
        include_str!("../../templates/dashboard/verify/php.txt"),
    ),
    (
        "Java",
        include_str!("../../templates/dashboard/verify/java.txt"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_shown_as_numbers() {
        assert_eq!(hex(&[0xff, 0x00]), "00000000  ff 00\n");
        assert_eq!(hex(&[1; 17]).lines().count(), 2);
    }

    #[test]
    fn a_payload_is_shown_pretty_and_as_it_came() {
        let payload = Bytes::from_static(br#"{"n":12345678901234567890.10}"#);
        let (pretty, raw, cut) = payload_wells(Some(&payload));
        assert!(!cut);
        assert_eq!(
            pretty.expect("shown").text,
            "{\n  \"n\": 12345678901234567890.10\n}"
        );
        assert_eq!(raw.expect("shown").text, r#"{"n":12345678901234567890.10}"#);
        let long = Bytes::from(vec![b' '; SHOWN_BYTES_MAX + 1]);
        assert!(payload_wells(Some(&long)).2);
        assert!(payload_wells(None).0.is_none());
    }
}
