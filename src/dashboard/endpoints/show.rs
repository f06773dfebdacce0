//! One endpoint: how it fares, what was attempted, and trying it out.

use askama::Template;

use super::super::attempts::{AttemptList, Row as AttemptLine, list_of};
use super::super::chart::{Chart, Zoom};
use super::super::failure::{Answered, Failure};
use super::super::frame::{Can, Frame, Tab};
use super::super::parts::{ApiCall, Id, Moment, Tag, Well, counted, milliseconds, number, percent};
use super::super::place::Place;
use super::super::standing::{self, State};
use super::form::{Tabs, inbox_token};
use super::{answer, first_due, found, link};
use crate::domain::audit::AuditAction;
use crate::domain::endpoint::LiveEndpoint;
use crate::domain::ids::{EndpointKey, Key as _, MessageKey};
use crate::domain::request::takes_requests;
use crate::domain::statistics::{Counter, Period, Resolution};
use crate::domain::time::Timestamp;
use crate::http::paging::Params;
use crate::store::Subject;

/// Days of the statistics.
const DAYS: u64 = 28;
const DAY_MS: u64 = 86_400_000;
/// Deliveries that are counted as waiting at most.
const WAITING_COUNTED_MAX: usize = 10_000;
/// Entries of the audit log that are looked at for who saw the secret last.
const AUDIT_LOOKED_MAX: usize = 100;
/// Attempts below the overview.
const ATTEMPTS: usize = 25;

/// The secrets, for one page.
pub(in super::super) struct Revealed {
    pub(super) secrets: Vec<Secret>,
}

pub(in super::super) struct Secret {
    /// When it stops signing; `None`: it is the newest.
    ends: Option<Moment>,
    well: Well,
}

impl Revealed {
    pub(super) fn of(live: &LiveEndpoint, now: Timestamp) -> Self {
        let valid = live.settings.valid_secrets(now).enumerate();
        let secrets = valid.map(|(at, secret)| {
            let text = secret.secret.text().expose().to_owned();
            Secret {
                ends: secret.expires.map(|ends| Moment::new(ends, now)),
                well: Well::new(format!("secret-{at}"), text),
            }
        });
        Self {
            secrets: secrets.collect(),
        }
    }
}

#[derive(Template)]
#[template(path = "dashboard/endpoints/show.html")]
pub(super) struct ShowPage {
    frame: Frame,
    can: Can,
    tabs: Tabs,
    url: String,
    name: String,
    description: String,
    id: Id,
    uid: Option<Id>,
    state: State,
    paused: bool,
    disabled: bool,
    chart: Chart,
    /// The part of the time that is shown, in words.
    zoomed: Option<String>,
    failed: String,
    success: String,
    p50: String,
    p95: String,
    waiting: String,
    created: Moment,
    updated: Moment,
    types: Vec<String>,
    channels: Vec<String>,
    metadata: Vec<(String, String)>,
    attempts: AttemptList,
    links: Links,
    revealed: Option<Revealed>,
    /// How many secrets sign, and until when the older ones do.
    secrets_words: String,
    /// The inbox that it leads to.
    inbox: Option<String>,
    /// Who saw the secret last, and when.
    revealed_last: Option<(String, Moment)>,
    api: ApiCall,
}

/// Where the page's forms go.
struct Links {
    itself: String,
    advanced: String,
    pause: String,
    resume: String,
    enable: String,
    disable: String,
    delete: String,
    recover: String,
    backfill: String,
    reveal: String,
    rotate: String,
    ping: String,
    failed: String,
    waiting: String,
}

/// `GET /endpoints/{ep}`
pub(in super::super) async fn show(place: Place, params: Params) -> Answered {
    let live = found(&place)?;
    answer(&page_of(&place, &live, &params, None)?)
}

pub(super) fn page_of(
    place: &Place,
    live: &LiveEndpoint,
    params: &Params,
    revealed: Option<Revealed>,
) -> Result<ShowPage, Failure> {
    let settings = &live.settings;
    let key = settings.key;
    let store = &place.state.store;
    let subject = Subject::Endpoint(settings.application, key);
    let zoomed = Zoom::of(params, place.now)?;
    let period = period_of(zoomed.as_ref(), place.now);
    let counters = store.statistics(place.scope(), subject, &period)?;
    let counters = counters.unwrap_or_default();
    let mut all = Counter::default();
    for counter in &counters {
        all.add(counter);
    }
    let logs = |from: Timestamp, to: Timestamp| {
        place.link(&format!(
            "/attempts?endpoint={}&from={from}&to={to}",
            place.id(key)
        ))
    };
    let last = store.last_attempt(key)?;
    let due = first_due(place, key)?;
    let waiting = store.queue_length(key, place.now, WAITING_COUNTED_MAX)?;
    let at = |path: &str| link(place, key, path);
    let id = place.id(key);
    let api = place.api(&format!(
        "/applications/{}/endpoints/{id}",
        place.id(settings.application)
    ));
    let trail = [("Endpoints", "/endpoints".to_owned())];
    let latency = |percent| {
        all.duration_quantile_ms(percent)
            .map_or_else(|| "–".to_owned(), |ms| milliseconds(ms.into()))
    };
    Ok(ShowPage {
        frame: Frame::new(place, Tab::Endpoints, &trail, &settings.url),
        can: place.can(),
        tabs: Tabs::new(place, live, "overview"),
        url: settings.url.clone(),
        name: settings.name.clone(),
        description: settings.description.clone(),
        uid: settings.uid.as_ref().map(Id::new),
        state: standing::state(live, last.as_ref(), due, place.now),
        paused: settings.paused,
        disabled: !settings.enabled || live.state.disabled.is_some(),
        chart: Chart::new("Attempts by outcome", &period, &counters, at(""), logs),
        zoomed: zoomed.as_ref().map(Zoom::words),
        failed: number(all.failed),
        success: percent(all.delivered, all.attempts()),
        p50: latency(50),
        p95: latency(95),
        waiting: if waiting == WAITING_COUNTED_MAX {
            format!("{}+", number(WAITING_COUNTED_MAX as u64))
        } else {
            number(waiting as u64)
        },
        created: Moment::new(settings.created, place.now),
        updated: Moment::new(settings.updated, place.now),
        types: settings
            .event_types
            .iter()
            .map(|one| one.as_str().to_owned())
            .collect(),
        channels: settings.channels.clone(),
        metadata: settings.metadata.clone().into_iter().collect(),
        attempts: list_of(place, Some(live), params, ATTEMPTS)?,
        links: Links {
            itself: at(""),
            advanced: at("/advanced"),
            pause: at("/pauses"),
            resume: at("/resumptions"),
            enable: at("/enablings"),
            disable: at("/disablings"),
            delete: at("/deletions"),
            recover: at("/recoveries/new"),
            backfill: at("/recoveries/new?backfill=1"),
            reveal: at("/secret-reveals"),
            rotate: at("/secret-rotations"),
            ping: at("/testing"),
            failed: place.link(&format!("/attempts?endpoint={id}&outcome=failed")),
            waiting: place.link(&format!("/messages?endpoint={id}&state=waiting")),
        },
        revealed,
        secrets_words: secrets_words(live, place.now),
        inbox: inbox_link(place, &settings.url),
        id: Id::new(id).whole(),
        api: calls(&api),
        revealed_last: revealed_last(place, key),
    })
}

/// What is drawn: the part of the time that is asked for, or the last days.
fn period_of(zoomed: Option<&Zoom>, now: Timestamp) -> Period {
    let from = Timestamp(now.0.saturating_sub((DAYS - 1) * DAY_MS));
    let usual = || Period::new(Resolution::Day, Some(from), None, now).expect("28 days");
    zoomed.map_or_else(usual, |zoom| zoom.period.clone())
}

/// What the page's buttons do, by API.
fn calls(endpoint: &str) -> ApiCall {
    let at = |path: &str| format!("{endpoint}{path}");
    let since = Some(r#"{"since": 1795305600000}"#);
    ApiCall::several(
        "api-show",
        &[
            ("this endpoint", "GET", at(""), None),
            ("its attempts", "GET", at("/attempts"), None),
            ("pause", "PUT", at(""), Some(r#"{"paused": true}"#)),
            ("disable", "PUT", at(""), Some(r#"{"enabled": false}"#)),
            ("reveal the secret", "GET", at("/secret"), None),
            (
                "rotate the secret",
                "POST",
                at("/secret/rotations"),
                Some("{}"),
            ),
            ("recover what failed", "POST", at("/recoveries"), since),
            ("send what is missing", "POST", at("/backfills"), since),
            ("delete", "DELETE", at(""), None),
        ],
    )
}

/// Who saw the endpoint's secret last, as far as the newest entries of the
/// audit log tell. Customers are not told who works here.
fn revealed_last(place: &Place, endpoint: EndpointKey) -> Option<(String, Moment)> {
    if place.is_customer() {
        return None;
    }
    let log = place
        .state
        .store
        .list_audit(place.scope(), None, AUDIT_LOOKED_MAX);
    let subject = place.id(endpoint);
    let read = AuditAction::SecretRead.name();
    let (entries, _) = log.ok()?;
    let mut entries = entries.into_iter();
    let last = entries.find(|entry| entry.subject == subject && entry.action == read)?;
    Some((last.actor, Moment::new(last.key.made_at(), place.now)))
}

fn secrets_words(live: &LiveEndpoint, now: Timestamp) -> String {
    let valid: Vec<_> = live.settings.valid_secrets(now).collect();
    let ends = valid.iter().filter_map(|secret| secret.expires).max();
    match ends {
        Some(ends) => format!(
            "{} sign now; the old ones stop by {}.",
            counted(valid.len() as u64, "secret", "secrets"),
            ends.rfc3339().replace('T', " ").replace('Z', " UTC")
        ),
        None => "Every delivery is signed with it.".to_owned(),
    }
}

/// The page of the inbox that a URL leads to, for those who may see it.
fn inbox_link(place: &Place, url: &str) -> Option<String> {
    if place.is_customer() {
        return None;
    }
    let token = inbox_token(&place.state, url)?;
    let inbox = place.state.store.inbox(&token).ok()??;
    let ours = inbox.environment == place.environment.key;
    ours.then(|| format!("{}/inboxes/{token}", place.environment_base()))
}

struct Sent {
    message: Id,
    href: String,
    line: Option<AttemptLine>,
    advice: Option<String>,
    body: Option<Well>,
    state: Tag,
    next: Option<Moment>,
    /// Milliseconds after which the page looks again; 0: it is over.
    again_ms: u32,
}

#[derive(Template)]
#[template(path = "dashboard/endpoints/testing.html")]
struct TestingPage {
    frame: Frame,
    can: Can,
    tabs: Tabs,
    url: String,
    disabled: bool,
    /// Where it is validated, if it takes requests.
    validate: Option<String>,
    types: Vec<TypeChoice>,
    chosen: String,
    payload: String,
    action: String,
    itself: String,
    sent: Option<Sent>,
    inbox: Option<String>,
    api: ApiCall,
}

struct TypeChoice {
    name: String,
    has_example: bool,
}

/// `GET /endpoints/{ep}/testing`
pub(in super::super) async fn testing(place: Place, params: Params) -> Answered {
    let live = found(&place)?;
    let settings = &live.settings;
    let store = &place.state.store;
    let listed = store.list_event_types(place.scope(), false, 0, 500)?;
    let chosen = params.get("eventType").unwrap_or_default().to_owned();
    let example = listed
        .iter()
        .find(|one| one.name == chosen)
        .and_then(|one| one.content.examples.first().cloned());
    let sent = match params.get("sent") {
        Some(id) => sent(&place, &live, id)?,
        None => None,
    };
    let id = place.id(settings.key);
    let trail = [
        ("Endpoints", "/endpoints".to_owned()),
        (settings.url.as_str(), format!("/endpoints/{id}")),
    ];
    let api = place.api(&format!(
        "/applications/{}/endpoints/{id}/examples",
        place.id(settings.application)
    ));
    let page = TestingPage {
        frame: Frame::new(&place, Tab::Endpoints, &trail, "Testing"),
        can: place.can(),
        tabs: Tabs::new(&place, &live, "testing"),
        url: settings.url.clone(),
        disabled: !live.is_enabled(),
        validate: takes_requests(settings).then(|| link(&place, settings.key, "/validations")),
        types: listed
            .into_iter()
            .map(|one| TypeChoice {
                has_example: !one.content.examples.is_empty(),
                name: one.name,
            })
            .collect(),
        payload: example.unwrap_or_default(),
        chosen,
        action: link(&place, settings.key, "/examples"),
        itself: link(&place, settings.key, "/testing"),
        sent,
        inbox: inbox_link(&place, &settings.url),
        api: ApiCall::new(
            "api-test",
            "POST",
            &api,
            Some(r#"{"eventType": "invoice.paid"}"#),
        ),
    };
    answer(&page)
}

/// How a message that was just sent fares with this endpoint.
fn sent(place: &Place, live: &LiveEndpoint, id: &str) -> Result<Option<Sent>, Failure> {
    let store = &place.state.store;
    let application = live.settings.application;
    let Some(key) = store.ids().parse::<MessageKey>(id) else {
        return Ok(None);
    };
    let Some(found) = store.find_message(application, id)? else {
        return Ok(None);
    };
    let deliveries = store.deliveries(key)?;
    let mut deliveries = deliveries.into_iter();
    let Some((_, delivery)) = deliveries.find(|(endpoint, _)| *endpoint == live.settings.key)
    else {
        return Ok(None);
    };
    let last = delivery.attempts.last();
    let attempt = match last {
        Some(mark) => store.attempt(mark.key)?,
        None => None,
    };
    let waiting = delivery.waiting().map(|(due, _)| due);
    let is_soon = waiting.is_some_and(|due| due.0 <= place.now.0 + 1000) && live.sends();
    let response = attempt
        .as_ref()
        .and_then(|attempt| attempt.of.exchange.response.as_ref());
    let body = response.filter(|response| !response.body.is_empty());
    Ok(Some(Sent {
        message: Id::new(id),
        href: place.link(&format!("/messages/{id}")),
        advice: attempt
            .as_ref()
            .and_then(|attempt| super::super::parts::advice(&attempt.of.exchange.outcome))
            .map(str::to_owned),
        body: body.map(|response| {
            let text = String::from_utf8_lossy(&response.body).into_owned();
            Well::new("answer-body", text)
        }),
        line: attempt
            .as_ref()
            .map(|attempt| AttemptLine::new(place, attempt, Some(&found.message.event_type))),
        state: Tag::of_delivery(delivery.state, !live.sends(), delivery.attempt_count > 0),
        next: waiting.map(|due| Moment::new(due.max(place.now), place.now)),
        again_ms: if is_soon { 700 } else { 0 },
    }))
}
