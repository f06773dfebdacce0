//! `/jobs`, and what starts one for an endpoint: `recoveries`, `backfills`,
//! `replays`.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts as _, OriginalUri, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::attempts::{CLASS_WORDS, STATUS_CLASSES, status_class};
use super::{absent, idempotent, required_application, written};
use crate::control::jobs::JobInput;
use crate::domain::endpoint::{EVENT_FILTERS_MAX, RATE_LIMIT_MAX};
use crate::domain::fanout::EventFilter;
use crate::domain::ids::{Ids, JobKey};
use crate::domain::job::{Job, JobFailure, JobKind, JobState, Standing};
use crate::domain::message::{CHANNEL_CHARS_MAX, CHANNELS_MAX, EVENT_TYPE_CHARS_MAX};
use crate::domain::principal::{Capability, Principal};
use crate::domain::time::Timestamp;
use crate::http::answer::{json, to_json};
use crate::http::auth::{self, Caller};
use crate::http::body::{self, Fields, SETTINGS_BYTES_MAX};
use crate::http::paging::Params;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// The latest time that every JSON reader can tell from the next.
pub(super) const TIME_MAX_MS: u64 = (1 << 53) - 1;
/// Characters of a word from a closed list.
const WORD_CHARS_MAX: usize = 32;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Job)]
pub(super) struct Shape<'a> {
    id: String,
    /// What it does.
    kind: &'static str,
    /// Where it stands; `finished`: all is in the endpoint's queue.
    state: &'static str,
    /// Why it failed.
    reason: Option<&'static str>,
    /// Whose messages it goes through.
    application_id: String,
    /// Where it sends; null for an erasure.
    endpoint_id: Option<String>,
    /// Of messages that were made from then on.
    since: Timestamp,
    /// Of messages that were made before.
    until: Timestamp,
    /// Of these types only; empty: any.
    event_types: Vec<&'a str>,
    /// Of messages that have one of these only; empty: any.
    channels: &'a [String],
    /// Of deliveries that ended so only.
    outcome: Option<&'static str>,
    /// Of deliveries whose last attempt was answered so only.
    status_class: Option<&'static str>,
    /// How many a second at most; null: no limit.
    rate_per_second: Option<u32>,
    /// How many there were when it began; null when counting gave up.
    total: Option<u64>,
    /// Messages that it looked at.
    examined: u64,
    /// Deliveries that it made due.
    done: u64,
    /// Those whose payload is no longer kept.
    skipped: u64,
    created: Timestamp,
    updated: Timestamp,
    /// When it ended, however it did.
    ended: Option<Timestamp>,
}

fn shape<'a>(job: &'a Job, ids: &Ids) -> Shape<'a> {
    let filter = &job.selection.filter;
    let class_name = |class| {
        let mut classes = STATUS_CLASSES.iter();
        classes.find(|known| known.1 == class).map(|known| known.0)
    };
    Shape {
        id: ids.text(job.key),
        kind: job.selection.kind.name(),
        state: job.state.name(),
        reason: job.state.failure().map(JobFailure::name),
        application_id: ids.text(job.application),
        endpoint_id: job.endpoint.map(|endpoint| ids.text(endpoint)),
        since: job.since,
        until: job.until,
        event_types: filter.event_types.iter().map(EventFilter::as_str).collect(),
        channels: &filter.channels,
        outcome: filter.standing.map(Standing::name),
        status_class: filter.status_class.and_then(class_name),
        rate_per_second: job.rate_per_second,
        total: job.total,
        examined: job.progress.examined,
        done: job.progress.done,
        skipped: job.progress.skipped,
        created: job.created,
        updated: job.updated,
        ended: job.state.ended(),
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = JobCount)]
pub(super) struct CountShape {
    /// What the job would take now.
    count: u64,
    /// Whether all was looked at: false when counting gave up after 1,000,000 messages.
    complete: bool,
}

/// What asks for a job for an endpoint.
pub(super) struct Ask {
    principal: Principal,
    app: String,
    ep: String,
    params: Params,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
}

impl FromRequest<AppState> for Ask {
    type Rejection = Response;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Response> {
        type Parts = (Caller, Path<(String, String)>, Params, OriginalUri);
        let (mut parts, body) = request.into_parts();
        let (Caller(principal), Path((app, ep)), params, OriginalUri(uri)) =
            Parts::from_request_parts(&mut parts, state).await?;
        Ok(Self {
            principal,
            app,
            ep,
            params,
            uri,
            headers: parts.headers,
            body,
        })
    }
}

pub(super) async fn recover(State(state): State<AppState>, ask: Ask) -> Result<Response, Problem> {
    start(&state, JobKind::Recovery, ask).await
}

pub(super) async fn backfill(State(state): State<AppState>, ask: Ask) -> Result<Response, Problem> {
    start(&state, JobKind::Backfill, ask).await
}

pub(super) async fn replay(State(state): State<AppState>, ask: Ask) -> Result<Response, Problem> {
    start(&state, JobKind::Replay, ask).await
}

/// Counts what the job would take, with `?dryRun=true`; else starts it.
async fn start(state: &AppState, kind: JobKind, ask: Ask) -> Result<Response, Problem> {
    let principal = ask.principal;
    let dry_run = ask.params.parsed("dryRun", "true or false", |text| {
        ["true", "false"].contains(&text).then_some(text == "true")
    })?;
    let ids = state.store.ids().clone();
    let render = move |job: &Job| (StatusCode::ACCEPTED, to_json(&shape(job, &ids)));
    let idempotent = idempotent(&ask.headers, principal, ask.uri.path(), render.clone())?;
    let body = body::read(&ask.headers, ask.body, SETTINGS_BYTES_MAX).await?;
    let entry = required_application(state, principal, &ask.app)?;
    let endpoint = state
        .store
        .find_endpoint(&entry, &ask.ep)?
        .ok_or_else(|| Problem::not_found("endpoint"))?;
    let of = (entry.application.key, endpoint.settings.key);
    let input = input(&body, kind)?;
    let control = state.control();
    if dry_run == Some(true) {
        let counted = control.count_job(principal, of, kind, input).await?;
        let shape = CountShape {
            count: counted.count,
            complete: counted.complete,
        };
        return Ok(json(StatusCode::OK, &shape));
    }
    let started = control
        .start_job(principal, of, kind, input, idempotent)
        .await?;
    Ok(written(started, render))
}

fn input(body: &[u8], kind: JobKind) -> Result<JobInput, Problem> {
    let mut fields = Fields::parse(body)?;
    if fields.raw("since").is_none() {
        fields.wrong("since", "is missing");
    }
    let mut input = JobInput {
        since: time(&mut fields, "since").unwrap_or_default(),
        until: time(&mut fields, "until"),
        rate_per_second: rate(&mut fields),
        ..JobInput::default()
    };
    if kind == JobKind::Replay {
        input.event_types = fields.texts("eventTypes", EVENT_FILTERS_MAX, EVENT_TYPE_CHARS_MAX);
        input.channels = fields.texts("channels", CHANNELS_MAX, CHANNEL_CHARS_MAX);
        input.standing = word(&mut fields, "outcome", "delivered or failed", standing);
        input.status_class = word(&mut fields, "statusClass", CLASS_WORDS, status_class);
    }
    fields.finish()?;
    Ok(input)
}

fn time(fields: &mut Fields<'_>, name: &str) -> Option<Timestamp> {
    fields.integer(name, 0..=TIME_MAX_MS).map(Timestamp)
}

fn rate(fields: &mut Fields<'_>) -> Option<u32> {
    fields
        .integer("ratePerSecond", 0..=u64::from(RATE_LIMIT_MAX))
        .map(|rate| u32::try_from(rate).expect("within a limit that fits"))
}

fn standing(text: &str) -> Option<Standing> {
    let mut all = Standing::ALL.into_iter();
    all.find(|known| known.name() == text)
}

/// A word from a closed list.
fn word<T>(
    fields: &mut Fields<'_>,
    name: &str,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let text = fields.text(name, WORD_CHARS_MAX)?;
    let value = parse(&text);
    if value.is_none() {
        fields.wrong(name, format!("must be {expected}"));
    }
    value
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
    params: Params,
) -> Result<Response, Problem> {
    let take = params.page_size()?;
    let ids = state.store.ids();
    let before = params.parsed("before", "the id of a job", |text| {
        ids.parse::<JobKey>(text)
    })?;
    let state_name = params.parsed("state", &JobState::NAMES.join(", "), |text| {
        JobState::NAMES.into_iter().find(|name| *name == text)
    })?;
    let (jobs, next) = state
        .store
        .list_jobs(principal.scope, state_name, before, take)?;
    let shapes: Vec<_> = jobs.iter().map(|job| shape(job, ids)).collect();
    let mut response = json(StatusCode::OK, &shapes);
    if let Some(next) = next {
        let link = params.next_link(&ids.text(next));
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(job): Path<String>,
) -> Result<Response, Problem> {
    let ids = state.store.ids();
    let Some(key) = ids.parse::<JobKey>(&job) else {
        return Ok(absent());
    };
    let found = state.store.find_job(principal.scope, key)?;
    Ok(found.map_or_else(absent, |job| answer(StatusCode::OK, &job, ids)))
}

pub(super) async fn update(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(job): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = body::read(&headers, body, SETTINGS_BYTES_MAX).await?;
    let key = changeable(&state, principal, &job)?;
    let mut fields = Fields::parse(&body)?;
    let rate = rate(&mut fields);
    fields.finish()?;
    let control = state.control();
    let changed = control.set_job_rate(principal, key, rate).await?;
    Ok(answer(StatusCode::OK, &changed, state.store.ids()))
}

pub(super) async fn cancel(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(job): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let ids = state.store.ids().clone();
    let render =
        move |job: &Job| -> (StatusCode, Bytes) { (StatusCode::OK, to_json(&shape(job, &ids))) };
    let idempotent = idempotent(&headers, principal, uri.path(), render.clone())?;
    let key = changeable(&state, principal, &job)?;
    let control = state.control();
    let cancelled = control.cancel_job(principal, key, idempotent).await?;
    Ok(written(cancelled, render))
}

/// A job that the caller may change: an erasure asks for as much as starting it.
fn changeable(state: &AppState, principal: Principal, id: &str) -> Result<JobKey, Problem> {
    let key = state.store.ids().parse(id);
    let found = match key {
        Some(key) => state.store.find_job(principal.scope, key)?,
        None => None,
    };
    let job = found.ok_or_else(|| Problem::not_found("job"))?;
    if job.selection.kind == JobKind::Erasure {
        auth::expect(principal, Capability::Admin)?;
    }
    Ok(job.key)
}

pub(super) fn answer(status: StatusCode, job: &Job, ids: &Ids) -> Response {
    json(status, &shape(job, ids))
}
