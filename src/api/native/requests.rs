//! `/applications/{app}/requests`: questions to an endpoint, and their answers.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{absent, application, idempotent, required_application};
use crate::control::requests::RequestInput;
use crate::domain::ids::{Ids, RequestKey};
use crate::domain::message::UID_CHARS_MAX;
use crate::domain::request::{
    INPUTS_BYTES_MAX, QUESTION_CHARS_MAX, Request, RequestState, TIMEOUT_SECONDS,
    TIMEOUT_SECONDS_DEFAULT, link_path,
};
use crate::domain::time::Timestamp;
use crate::http::answer::{json, to_json};
use crate::http::auth::Caller;
use crate::http::body::{self, Fields, SETTINGS_BYTES_MAX};
use crate::http::paging::Params;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::store::Written;

/// Seconds that a GET may wait.
const WAIT_SECONDS_MAX: usize = 600;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Request)]
pub(super) struct Shape {
    id: String,
    /// `pending`, `answered`, `failed` or `expired`.
    status: &'static str,
    /// What was asked for.
    key: String,
    /// As they were sent.
    #[schema(value_type = serde_json::Value)]
    inputs: Box<RawValue>,
    /// The answer; null without one.
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<Box<RawValue>>,
    /// Why it failed; empty unless it did.
    reason: String,
    /// The id of the endpoint that was asked.
    endpoint: String,
    /// Where the answer may be posted to.
    link: String,
    /// Until when.
    link_ends: Timestamp,
    /// Each time that the question was sent.
    tries: Vec<TryShape>,
    /// What came to the link and was no answer.
    refused: Vec<RefusedShape>,
    created: Timestamp,
    /// When it was answered, or failed; null before.
    settled: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RequestTry)]
pub(super) struct TryShape {
    /// When it was sent.
    timestamp: Timestamp,
    /// What it was answered; 0 without an answer.
    status_code: u16,
    /// What came of it.
    detail: String,
    /// How the answer's body began, when it was not taken: the first 2 KB, as text.
    body: String,
    /// How long that took.
    duration_ms: u32,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RefusedAnswer)]
pub(super) struct RefusedShape {
    /// When it came.
    timestamp: Timestamp,
    /// What it was answered.
    status_code: u16,
    /// What was wrong with it.
    reason: String,
    /// How its body began, as text: the first 2 KB.
    body: String,
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("only JSON texts are stored")
}

/// Makes the shape of a request.
#[derive(Clone)]
struct Shaper {
    ids: Ids,
    public_url: std::sync::Arc<str>,
}

impl Shaper {
    fn of(state: &AppState) -> Self {
        Self {
            ids: state.store.ids().clone(),
            public_url: std::sync::Arc::clone(&state.public_url),
        }
    }

    fn shape(&self, request: &Request, data: Option<&str>, now: Timestamp) -> Shape {
        let id = self.ids.text(request.key);
        let (reason, settled) = match &request.state {
            RequestState::Failed { at, reason } => (reason.clone(), Some(*at)),
            RequestState::Answered { at, .. } => (String::new(), Some(*at)),
            RequestState::Pending { .. } => (String::new(), None),
        };
        let tries = request.tries.iter().map(|one| TryShape {
            timestamp: one.at,
            status_code: one.status,
            detail: one.detail.clone(),
            body: one.body.clone(),
            duration_ms: one.took_us / 1000,
        });
        let refused = request.refused.iter().map(|one| RefusedShape {
            timestamp: one.at,
            status_code: one.status,
            reason: one.reason.clone(),
            body: one.body.clone(),
        });
        Shape {
            status: request.state_name(now),
            key: request.question.clone(),
            inputs: raw(&request.inputs),
            data: data.map(raw),
            reason,
            endpoint: self.ids.text(request.endpoint),
            link: format!("{}{}", self.public_url, link_path(&id)),
            link_ends: request.link_ends(),
            tries: tries.collect(),
            refused: refused.collect(),
            created: request.created,
            settled,
            id,
        }
    }
}

fn shown(state: &AppState, request: &Request) -> Result<Shape, Problem> {
    let data = state.store.request_answer(request.key)?;
    Ok(Shaper::of(state).shape(request, data.as_deref(), state.clock.now()))
}

/// The id in an answer that was given before.
#[derive(Serialize, Deserialize)]
struct Known {
    id: String,
}

pub(super) async fn create(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let ids = state.store.ids().clone();
    // What a repeated call needs, and nothing that erasing would have to find.
    let render = move |request: &Request| -> (StatusCode, Bytes) {
        let id = ids.text(request.key);
        (StatusCode::ACCEPTED, to_json(&Known { id }))
    };
    let idempotent = idempotent(&headers, principal, uri.path(), render)?;
    let bytes_max = INPUTS_BYTES_MAX + SETTINGS_BYTES_MAX;
    let body = body::read(&headers, body, bytes_max).await?;
    let entry = required_application(&state, principal, &app)?;
    let mut fields = Fields::parse(&body)?;
    let key = fields.required_text("key", QUESTION_CHARS_MAX);
    let inputs = fields.raw("inputs").map(RawValue::get);
    if inputs.is_some_and(|inputs| !inputs.starts_with('{')) {
        fields.wrong("inputs", "must be an object");
    }
    let input = RequestInput {
        key,
        inputs: inputs.map(str::to_owned),
        endpoint: fields.text("endpoint", UID_CHARS_MAX),
        timeout_seconds: fields.integer("timeoutSeconds", TIMEOUT_SECONDS),
    };
    let wait = fields.boolean("wait").unwrap_or(true);
    fields.finish()?;
    let timeout = Duration::from_secs(input.timeout_seconds.unwrap_or(TIMEOUT_SECONDS_DEFAULT));
    let control = state.control();
    let made = control.create_request(principal, &entry, input, idempotent);
    let key = match made.await? {
        Written::Fresh(request) => request.key,
        // It is under way: with the same key the same question is waited for.
        Written::Repeated(stored) => {
            let known: Known =
                serde_json::from_slice(&stored.body).map_err(|_| Problem::not_found("request"))?;
            let key = state.store.ids().parse(&known.id);
            key.ok_or_else(|| Problem::not_found("request"))?
        }
    };
    let limit = if wait { timeout } else { Duration::ZERO };
    let request = if wait {
        state.engine.wait_for(key, limit).await?
    } else {
        state.store.request(key)?
    };
    let request = request.ok_or_else(|| Problem::not_found("request"))?;
    let shape = shown(&state, &request)?;
    match (shape.status, wait) {
        ("answered", _) => Ok(json(StatusCode::OK, &shape)),
        ("failed", true) => Err(Problem::new(
            StatusCode::BAD_GATEWAY,
            "request_failed",
            format!("Request {} failed: {}.", shape.id, shape.reason),
        )),
        (_, true) => Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "no_answer_yet",
            format!(
                "No answer came in time. One that comes to the link within ten minutes is kept: GET request {}.",
                shape.id
            ),
        )),
        (_, false) => Ok(json(StatusCode::ACCEPTED, &shape)),
    }
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let take = params.page_size()?;
    let ids = state.store.ids();
    let before = params.parsed("before", "the id of a request", |text| {
        ids.parse::<RequestKey>(text)
    })?;
    let entry = required_application(&state, principal, &app)?;
    let key = entry.application.key;
    let mut page = state.store.list_requests(key, before, take + 1)?;
    let more = page.len() > take;
    page.truncate(take);
    let shapes: Result<Vec<_>, _> = page.iter().map(|one| shown(&state, one)).collect();
    let mut response = json(StatusCode::OK, &shapes?);
    if more && let Some(last) = page.last() {
        let link = params.next_link(&ids.text(last.key));
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, id)): Path<(String, String)>,
    params: Params,
) -> Result<Response, Problem> {
    let wait = params.number("wait", 0, WAIT_SECONDS_MAX)?.unwrap_or(0);
    let Some(entry) = application(&state, principal, &app)? else {
        return Ok(absent());
    };
    let Some(key) = state.store.ids().parse::<RequestKey>(&id) else {
        return Ok(absent());
    };
    if state
        .store
        .request_of(entry.application.key, key)?
        .is_none()
    {
        return Ok(absent());
    }
    let limit = Duration::from_secs(wait as u64);
    let request = match wait {
        0 => state.store.request(key)?,
        _ => state.engine.wait_for(key, limit).await?,
    };
    Ok(match request {
        None => absent(),
        Some(request) => json(StatusCode::OK, &shown(&state, &request)?),
    })
}
