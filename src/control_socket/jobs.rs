//! Jobs: what can be asked about them, and how it is asked.

#[cfg(unix)]
use axum::Router;
#[cfg(unix)]
use axum::extract::{Path as InPath, State};
#[cfg(unix)]
use axum::response::Response;
#[cfg(unix)]
use axum::routing::{get, post};
#[cfg(unix)]
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

#[cfg(unix)]
use super::client::{Client, is_id};
use super::desk::DeskError;
#[cfg(unix)]
use super::server::{Failure, json};
use crate::domain::environment::Environment;
use crate::domain::ids::JobKey;
use crate::domain::job::{Job, JobFailure};
use crate::domain::principal::{Principal, Scope};
use crate::domain::time::Timestamp;
use crate::store::{Refusal, Store, StoreError, WriteError, Written};

/// Jobs of each environment that a list shows at most, those that run besides.
const LISTED_MAX: usize = 250;

/// A job as the command line shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JobLine {
    pub(crate) id: String,
    pub(crate) environment: String,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) application: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) rate_per_second: Option<u32>,
    pub(crate) total: Option<u64>,
    pub(crate) examined: u64,
    pub(crate) done: u64,
    pub(crate) skipped: u64,
    pub(crate) created: Timestamp,
    pub(crate) ended: Option<Timestamp>,
}

/// Lists, shows and cancels jobs.
#[derive(Clone)]
pub(crate) struct JobDesk {
    store: Store,
}

impl JobDesk {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// The jobs that run and the newest of the others, newest first.
    pub(crate) fn list(&self) -> Result<Vec<JobLine>, DeskError> {
        let mut jobs = self.store.running_jobs().map_err(failed)?;
        for environment in self.store.catalog().environments() {
            let scope = Scope::of_environment(environment.key);
            let (newest, _) = self
                .store
                .list_jobs(scope, None, None, LISTED_MAX)
                .map_err(failed)?;
            jobs.extend(newest.into_iter().filter(|job| !job.runs()));
        }
        jobs.sort_by_key(|job| std::cmp::Reverse(job.key));
        Ok(jobs.iter().map(|job| self.line(job)).collect())
    }

    pub(crate) fn show(&self, id: &str) -> Result<JobLine, DeskError> {
        Ok(self.line(&self.job(id)?))
    }

    pub(crate) async fn cancel(&self, id: &str) -> Result<JobLine, DeskError> {
        let job = self.job(id)?;
        let operator = Principal::operator(Scope::of_environment(job.environment));
        match self.store.cancel_job(operator, job.key, None).await {
            Ok(Written::Fresh(cancelled)) => Ok(self.line(&cancelled)),
            Ok(Written::Repeated(_)) => {
                unreachable!("without an idempotency key nothing is repeated")
            }
            Err(WriteError::Refused(Refusal::NoJob)) => Err(DeskError::NoJob(id.to_owned())),
            Err(error) => Err(DeskError::Store(error)),
        }
    }

    fn job(&self, id: &str) -> Result<Job, DeskError> {
        let none = || DeskError::NoJob(id.to_owned());
        let key: JobKey = self.store.ids().parse(id).ok_or_else(none)?;
        for environment in self.store.catalog().environments() {
            let scope = Scope::of_environment(environment.key);
            if let Some(job) = self.store.find_job(scope, key).map_err(failed)? {
                return Ok(job);
            }
        }
        Err(none())
    }

    fn line(&self, job: &Job) -> JobLine {
        let ids = self.store.ids();
        let environment = self.store.catalog().environment(job.environment);
        let name = |environment: &Environment| environment.name.clone();
        let failure = job.state.failure().map(JobFailure::name);
        JobLine {
            id: ids.text(job.key),
            environment: environment.as_deref().map(name).unwrap_or_default(),
            kind: job.selection.kind.name().to_owned(),
            state: job.state.name().to_owned(),
            reason: failure.map(str::to_owned),
            application: ids.text(job.application),
            endpoint: job.endpoint.map(|endpoint| ids.text(endpoint)),
            rate_per_second: job.rate_per_second,
            total: job.total,
            examined: job.progress.examined,
            done: job.progress.done,
            skipped: job.progress.skipped,
            created: job.created,
            ended: job.state.ended(),
        }
    }
}

fn failed(error: StoreError) -> DeskError {
    DeskError::Store(error.into())
}

/// The server's end.
#[cfg(unix)]
pub(super) fn router(desk: JobDesk) -> Router {
    Router::new()
        .route("/jobs", get(list))
        .route("/jobs/{id}", get(show))
        .route("/jobs/{id}/cancellations", post(cancel))
        .with_state(desk)
}

#[cfg(unix)]
async fn list(State(desk): State<JobDesk>) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &desk.list()?))
}

#[cfg(unix)]
async fn show(
    State(desk): State<JobDesk>,
    InPath(id): InPath<String>,
) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &desk.show(&id)?))
}

#[cfg(unix)]
async fn cancel(
    State(desk): State<JobDesk>,
    InPath(id): InPath<String>,
) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &desk.cancel(&id).await?))
}

/// The command's end.
#[cfg(unix)]
impl Client {
    pub(crate) async fn list_jobs(&mut self) -> anyhow::Result<Vec<JobLine>> {
        self.ask(Method::GET, "/jobs", Vec::new()).await
    }

    pub(crate) async fn show_job(&mut self, id: &str) -> anyhow::Result<JobLine> {
        let path = format!("/jobs/{}", in_path(id)?);
        self.ask(Method::GET, &path, Vec::new()).await
    }

    pub(crate) async fn cancel_job(&mut self, id: &str) -> anyhow::Result<JobLine> {
        let path = format!("/jobs/{}/cancellations", in_path(id)?);
        self.ask(Method::POST, &path, Vec::new()).await
    }
}

#[cfg(unix)]
fn in_path(id: &str) -> Result<&str, DeskError> {
    if is_id(id) {
        Ok(id)
    } else {
        Err(DeskError::NoJob(id.to_owned()))
    }
}
