//! Attempts, by endpoint and by message.

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::LINK;
use serde::Serialize;
use utoipa::ToSchema;

use super::{absent, application, required_application};
use crate::domain::attempt::{Attempt, CapturedResponse};
use crate::domain::delivery::Verdict;
use crate::domain::fanout::EventFilter;
use crate::domain::ids::{AttemptKey, Ids, Key};
use crate::domain::time::Timestamp;
use crate::http::answer::json;
use crate::http::auth::Caller;
use crate::http::paging::Params;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::store::{AttemptFilter, AttemptPage, OutcomeFilter};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attempt)]
pub(super) struct Shape {
    id: String,
    /// Of the message that was sent.
    message_id: String,
    /// Of the endpoint that it was sent to.
    endpoint_id: String,
    /// Counts from 1 within the delivery.
    number: u32,
    /// What led to it: `scheduled` (the message or a retry) or `manual` (a replay).
    trigger: &'static str,
    /// `delivered` or `failed`.
    outcome: &'static str,
    /// `response`, or why there was none.
    result: &'static str,
    /// What went wrong when there was no response.
    detail: Option<String>,
    /// Of the response; 0 when there was none.
    status_code: u16,
    /// When it began.
    timestamp: Timestamp,
    /// How long it took, in milliseconds.
    duration_ms: u32,
    /// Where it was sent.
    url: String,
    /// The address that was dialled.
    peer: Option<String>,
    /// How long each part took.
    timing: TimingShape,
    /// When the next attempt is due; null when there is none.
    next_attempt_timestamp: Option<Timestamp>,
    /// What was sent.
    request: RequestShape,
    /// What came back.
    response: Option<ResponseShape>,
}

/// Microseconds.
#[expect(
    clippy::struct_field_names,
    reason = "the unit is part of each name in the answer"
)]
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttemptTiming)]
struct TimingShape {
    /// Finding the address; 0 on a kept connection.
    dns_us: u32,
    /// Connecting; 0 on a kept connection.
    connect_us: u32,
    /// The TLS handshake; 0 on a kept connection.
    tls_us: u32,
    /// From the request to the first byte of the response.
    first_byte_us: u32,
    /// All of it.
    total_us: u32,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttemptRequest)]
struct RequestShape {
    /// Always POST.
    method: &'static str,
    /// As sent, the values of secret headers masked.
    headers: Vec<HeaderShape>,
    /// Fields of the payload that were to be headers, and could not be.
    left_out: Vec<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttemptResponse)]
struct ResponseShape {
    /// As they came.
    headers: Vec<HeaderShape>,
    /// The first 16 KB.
    body: String,
    /// `utf-8`, or `base64` when the bytes are not UTF-8.
    body_encoding: &'static str,
    /// Whether more came than is shown.
    truncated: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Header)]
struct HeaderShape {
    /// Its name.
    name: String,
    /// Its value.
    value: String,
}

fn response(response: &CapturedResponse) -> ResponseShape {
    let header = |(name, value): &(String, Vec<u8>)| HeaderShape {
        name: name.clone(),
        value: String::from_utf8_lossy(value).into_owned(),
    };
    let (body, body_encoding) = match std::str::from_utf8(&response.body) {
        Ok(text) => (text.to_owned(), "utf-8"),
        Err(_) => (STANDARD.encode(&response.body), "base64"),
    };
    ResponseShape {
        headers: response.headers.iter().map(header).collect(),
        body,
        body_encoding,
        truncated: response.truncated,
    }
}

pub(super) fn shape(attempt: &Attempt, ids: &Ids) -> Shape {
    let of = &attempt.of;
    let message_id = ids.text(of.message);
    let headers = of.request.headers(&message_id);
    let timing = of.exchange.timing;
    Shape {
        id: ids.text(attempt.key),
        endpoint_id: ids.text(of.endpoint),
        number: attempt.number,
        trigger: of.trigger.name(),
        outcome: if of.verdict == Verdict::Delivered {
            "delivered"
        } else {
            "failed"
        },
        result: of.exchange.outcome.name(),
        detail: of.exchange.outcome.detail().map(str::to_owned),
        status_code: of.exchange.outcome.status_code(),
        timestamp: of.started,
        duration_ms: timing.total_us / 1000,
        url: of.request.url.clone(),
        peer: of.exchange.peer.map(|peer| peer.to_string()),
        timing: TimingShape {
            dns_us: timing.dns_us,
            connect_us: timing.connect_us,
            tls_us: timing.tls_us,
            first_byte_us: timing.first_byte_us,
            total_us: timing.total_us,
        },
        next_attempt_timestamp: attempt.next,
        request: RequestShape {
            method: "POST",
            headers: headers
                .into_iter()
                .map(|(name, value)| HeaderShape { name, value })
                .collect(),
            left_out: of.request.left_out.clone(),
        },
        response: of.exchange.response.as_ref().map(response),
        message_id,
    }
}

/// Classes of statuses, by what filters call them; 0: no HTTP answer.
pub(super) const STATUS_CLASSES: [(&str, u16); 6] = [
    ("none", 0),
    ("1xx", 100),
    ("2xx", 200),
    ("3xx", 300),
    ("4xx", 400),
    ("5xx", 500),
];
pub(super) const CLASS_WORDS: &str = "none, 1xx, 2xx, 3xx, 4xx or 5xx";

/// The class of that name.
pub(super) fn status_class(name: &str) -> Option<u16> {
    let mut classes = STATUS_CLASSES.into_iter();
    classes.find(|known| known.0 == name).map(|known| known.1)
}

/// What the query asks for.
struct Query {
    filter: AttemptFilter,
    before: Option<AttemptKey>,
    take: usize,
}

fn query(params: &Params, ids: &Ids) -> Result<Query, Problem> {
    let mut filter = filter(params)?;
    filter.after = params.parsed("after", "a time in Unix milliseconds", time)?;
    let before = match bound(params, "before", ids, "an attempt")? {
        Some(Bound::Row(key)) => Some(key),
        Some(Bound::Time(at)) => {
            filter.before = Some(at);
            None
        }
        None => None,
    };
    let take = params.page_size()?;
    Ok(Query {
        filter,
        before,
        take,
    })
}

/// What every list of attempts can be narrowed by, times aside.
pub(super) fn filter(params: &Params) -> Result<AttemptFilter, Problem> {
    let outcome = params.parsed("outcome", "delivered or failed", |text| match text {
        "delivered" => Some(OutcomeFilter::Delivered),
        "failed" => Some(OutcomeFilter::Failed),
        _ => None,
    })?;
    Ok(AttemptFilter {
        outcome,
        status_class: params.parsed("statusClass", CLASS_WORDS, status_class)?,
        event_type: event_type(params)?,
        ..AttemptFilter::default()
    })
}

/// The event types that the query asks for.
pub(super) fn event_type(params: &Params) -> Result<Option<EventFilter>, Problem> {
    params.parsed("eventType", "an event type", |text| {
        EventFilter::parse(text).ok()
    })
}

/// Where a list begins or ends: at a row, or at a time.
pub(super) enum Bound<K> {
    Row(K),
    Time(Timestamp),
}

/// A bound of a list of `what`.
pub(super) fn bound<K: Key>(
    params: &Params,
    name: &str,
    ids: &Ids,
    what: &str,
) -> Result<Option<Bound<K>>, Problem> {
    let expected = format!("the id of {what} or a time in Unix milliseconds");
    params.parsed(name, &expected, |text| {
        let row = ids.parse(text).map(Bound::Row);
        row.or_else(|| time(text).map(Bound::Time))
    })
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().map(Timestamp)
}

fn answer(page: &AttemptPage, params: &Params, ids: &Ids) -> Response {
    let shapes: Vec<_> = page
        .attempts
        .iter()
        .map(|attempt| shape(attempt, ids))
        .collect();
    let mut response = json(StatusCode::OK, &shapes);
    if let Some(next) = page.next {
        response
            .headers_mut()
            .insert(LINK, params.next_link(&ids.text(next)));
    }
    response
}

pub(super) async fn of_endpoint(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, ep)): Path<(String, String)>,
    params: Params,
) -> Result<Response, Problem> {
    let ids = state.store.ids();
    let query = query(&params, ids)?;
    let entry = required_application(&state, principal, &app)?;
    let endpoint = state
        .store
        .find_endpoint(&entry, &ep)?
        .ok_or_else(|| Problem::not_found("endpoint"))?;
    let page = state.store.endpoint_attempts(
        endpoint.settings.key,
        &query.filter,
        query.before,
        query.take,
    )?;
    Ok(answer(&page, &params, ids))
}

pub(super) async fn of_message(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, msg)): Path<(String, String)>,
    params: Params,
) -> Result<Response, Problem> {
    let ids = state.store.ids();
    let query = query(&params, ids)?;
    let entry = required_application(&state, principal, &app)?;
    let stored = state
        .store
        .find_message(entry.application.key, &msg)?
        .ok_or_else(|| Problem::not_found("message"))?;
    let page = state.store.message_attempts(
        stored.message.key,
        &query.filter,
        query.before,
        query.take,
    )?;
    Ok(answer(&page, &params, ids))
}

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, msg, atmpt)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let ids = state.store.ids();
    let Some(entry) = application(&state, principal, &app)? else {
        return Ok(absent());
    };
    let Some(stored) = state.store.find_message(entry.application.key, &msg)? else {
        return Ok(absent());
    };
    let Some(key) = ids.parse::<AttemptKey>(&atmpt) else {
        return Ok(absent());
    };
    let found = state
        .store
        .attempt(key)?
        .filter(|attempt| attempt.of.message == stored.message.key);
    Ok(found.map_or_else(absent, |attempt| {
        json(StatusCode::OK, &shape(&attempt, ids))
    }))
}
