//! `/statistics`: what messages and attempts came to over time, for an
//! endpoint, an application, or the environment.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::required_application;
use crate::control::FieldError;
use crate::domain::attempt::OUTCOMES;
use crate::domain::principal::Scope;
use crate::domain::statistics::{Counter, Period, PeriodError, Resolution};
use crate::domain::time::Timestamp;
use crate::http::answer::json;
use crate::http::auth::Caller;
use crate::http::paging::Params;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::store::{StoreError, Subject};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Statistics)]
pub(super) struct Shape {
    /// How long a slot is.
    resolution: &'static str,
    /// When the first slot begins.
    from: Timestamp,
    /// When the last slot ends.
    to: Timestamp,
    /// All slots together.
    total: Figures,
    /// Every slot, oldest first.
    points: Vec<Point>,
}

#[derive(Serialize)]
pub(super) struct Point {
    /// When the slot begins.
    timestamp: Timestamp,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    /// Messages that were accepted; null for an endpoint.
    messages: Option<u64>,
    /// Of their payloads; null for an endpoint.
    payload_bytes: Option<u64>,
    /// Attempts that delivered.
    delivered: u64,
    /// Attempts that failed.
    failed: u64,
    /// Attempts among `failed` without any HTTP answer.
    unanswered: u64,
    /// Attempts by what an attempt's `result` says.
    results: Outcomes,
    /// How long attempts took, in milliseconds.
    latency_ms: Latency,
    /// Of payloads that were sent.
    sent_bytes: u64,
}

/// Attempts by the name of their outcome: every name, zeros too.
pub(super) struct Outcomes([u64; OUTCOMES.len()]);

impl Serialize for Outcomes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(OUTCOMES.iter().zip(self.0))
    }
}

/// Of all attempts, those without an answer too; `None` when there were none.
#[derive(Serialize, ToSchema)]
struct Latency {
    /// Half of the attempts took no longer.
    p50: Option<u32>,
    /// Of 100 attempts 95 took no longer.
    p95: Option<u32>,
    /// Of 100 attempts 99 took no longer.
    p99: Option<u32>,
    /// The longest.
    max: Option<u32>,
    /// The average.
    mean: Option<u64>,
}

fn figures(counter: &Counter, subject: Subject) -> Figures {
    let takes_messages = !matches!(subject, Subject::Endpoint(..));
    Figures {
        messages: takes_messages.then_some(counter.messages),
        payload_bytes: takes_messages.then_some(counter.payload_bytes),
        delivered: counter.delivered,
        failed: counter.failed,
        unanswered: counter.unanswered(),
        results: Outcomes(counter.outcomes),
        latency_ms: Latency {
            p50: counter.duration_quantile_ms(50),
            p95: counter.duration_quantile_ms(95),
            p99: counter.duration_quantile_ms(99),
            max: counter.duration_max_ms(),
            mean: counter.duration_mean_ms(),
        },
        sent_bytes: counter.sent_bytes,
    }
}

fn shape(counters: &[Counter], period: &Period, subject: Subject) -> Shape {
    let resolution = period.resolution();
    let mut total = Counter::default();
    for counter in counters {
        total.add(counter);
    }
    let point = |(slot, counter): (u32, &Counter)| Point {
        timestamp: resolution.start(slot),
        figures: figures(counter, subject),
    };
    Shape {
        resolution: resolution.name(),
        from: period.from(),
        to: period.to(),
        total: figures(&total, subject),
        points: period.slots().zip(counters).map(point).collect(),
    }
}

/// What the query asks for.
fn period(params: &Params, now: Timestamp) -> Result<Period, Problem> {
    let resolution = params.parsed("resolution", "minute, hour or day", Resolution::parse)?;
    let resolution = resolution.unwrap_or(Resolution::Hour);
    let time = |text: &str| text.parse().ok().map(Timestamp);
    let from = params.parsed("from", "a time in Unix milliseconds", time)?;
    let to = params.parsed("to", "a time in Unix milliseconds", time)?;
    Period::new(resolution, from, to, now).map_err(|error| refused(error, resolution))
}

fn refused(error: PeriodError, resolution: Resolution) -> Problem {
    let (path, detail) = match error {
        PeriodError::Empty => (
            "?to",
            "must be later than `from`; not given, it is now".to_owned(),
        ),
        PeriodError::TooLate => ("?to", "lies too far in the future".to_owned()),
        PeriodError::TooLong(slots) => ("?from", too_long(slots, resolution)),
    };
    Problem::invalid(vec![FieldError::new(path, detail)])
}

fn too_long(slots: u64, resolution: Resolution) -> String {
    let (name, max) = (resolution.name(), resolution.points_max());
    let instead = match resolution {
        Resolution::Minute => "a shorter time, or for `resolution=hour` or `day`",
        Resolution::Hour => "a shorter time, or for `resolution=day`",
        Resolution::Day => "a shorter time",
    };
    format!("lies {slots} {name}s before `to`, and one answer has at most {max}; ask for {instead}")
}

async fn answer(
    state: &AppState,
    scope: Scope,
    subject: Subject,
    period: Period,
) -> Result<Response, Problem> {
    // Many rows, perhaps from the disk: on a thread where that holds up nobody.
    let store = state.store.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let counters = store.statistics(scope, subject, &period)?;
        Ok::<_, StoreError>(counters.map(|counters| shape(&counters, &period, subject)))
    });
    let found = reading
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    let shape = found.ok_or_else(|| Problem::not_found(name(subject)))?;
    Ok(json(StatusCode::OK, &shape))
}

fn name(subject: Subject) -> &'static str {
    match subject {
        Subject::Environment => "environment",
        Subject::Application(_) => "application",
        Subject::Endpoint(..) => "endpoint",
    }
}

pub(super) async fn of_endpoint(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path((app, ep)): Path<(String, String)>,
    params: Params,
) -> Result<Response, Problem> {
    let period = period(&params, state.clock.now())?;
    let entry = required_application(&state, principal, &app)?;
    let endpoint = state
        .store
        .find_endpoint(&entry, &ep)?
        .ok_or_else(|| Problem::not_found("endpoint"))?;
    let subject = Subject::Endpoint(entry.application.key, endpoint.settings.key);
    answer(&state, principal.scope, subject, period).await
}

pub(super) async fn of_application(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(app): Path<String>,
    params: Params,
) -> Result<Response, Problem> {
    let period = period(&params, state.clock.now())?;
    let entry = required_application(&state, principal, &app)?;
    let subject = Subject::Application(entry.application.key);
    answer(&state, principal.scope, subject, period).await
}

/// For who sees all of the environment.
pub(super) async fn of_environment(
    State(state): State<AppState>,
    Caller(principal): Caller,
    params: Params,
) -> Result<Response, Problem> {
    let period = period(&params, state.clock.now())?;
    answer(&state, principal.scope, Subject::Environment, period).await
}
