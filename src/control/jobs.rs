//! Starting, pacing and cancelling jobs, and erasing content.

use tokio::sync::Semaphore;

use super::{Control, ControlError, FieldError};
use crate::domain::fanout::EventFilter;
use crate::domain::ids::{ApplicationKey, EndpointKey, JobKey, MessageKey};
use crate::domain::job::{Job, JobFilter, JobKind, NewJob, Selection, Standing};
use crate::domain::message::StoredMessage;
use crate::domain::principal::{Principal, Scope};
use crate::domain::time::Timestamp;
use crate::store::{Idempotent, JobCount, Refusal, Written};

/// Counts that run at once; others wait. They walk through much, on threads
/// that deliveries need too.
const COUNTS_MAX: usize = 2;

/// What a caller gives for a job. `None`: left out.
#[derive(Clone, Debug, Default)]
pub struct JobInput {
    pub since: Timestamp,
    pub until: Option<Timestamp>,
    /// 0: no limit.
    pub rate_per_second: Option<u32>,
    pub event_types: Option<Vec<String>>,
    pub channels: Option<Vec<String>>,
    pub standing: Option<Standing>,
    pub status_class: Option<u16>,
}

impl Control {
    /// Counts what such a job would take now.
    pub async fn count_job(
        &self,
        principal: Principal,
        of: (ApplicationKey, EndpointKey),
        kind: JobKind,
        input: JobInput,
    ) -> Result<JobCount, ControlError> {
        let new = new_job(of, kind, input)?;
        self.count(principal.scope, new).await
    }

    /// Starts a job for an endpoint, after counting what it will take.
    pub async fn start_job(
        &self,
        principal: Principal,
        of: (ApplicationKey, EndpointKey),
        kind: JobKind,
        input: JobInput,
        idempotent: Option<Idempotent<Job>>,
    ) -> Result<Written<Job>, ControlError> {
        let new = new_job(of, kind, input)?;
        self.start(principal, new, idempotent).await
    }

    /// Starts erasing the content of every message that an application has.
    pub async fn erase_application(
        &self,
        principal: Principal,
        application: ApplicationKey,
    ) -> Result<Job, ControlError> {
        let new = NewJob {
            application,
            endpoint: None,
            selection: Selection {
                kind: JobKind::Erasure,
                filter: JobFilter::default(),
            },
            since: Timestamp(0),
            until: None,
            rate_per_second: None,
        };
        match self.start(principal, new, None).await? {
            Written::Fresh(job) => Ok(job),
            Written::Repeated(_) => unreachable!("without an idempotency key nothing is repeated"),
        }
    }

    /// Erases the content of one message, and answers with what is left.
    pub async fn erase_message(
        &self,
        principal: Principal,
        application: ApplicationKey,
        message: MessageKey,
    ) -> Result<StoredMessage, ControlError> {
        let erased = self.store.erase_message(principal, application, message);
        Ok(erased.await?)
    }

    /// Sets how much a job takes in a second; 0 takes the limit away, `None`
    /// leaves the job as it is.
    pub async fn set_job_rate(
        &self,
        principal: Principal,
        key: JobKey,
        rate_per_second: Option<u32>,
    ) -> Result<Job, ControlError> {
        let scope = principal.scope;
        let Some(rate) = rate_per_second.map(limit) else {
            return Ok(self.store.find_job(scope, key)?.ok_or(Refusal::NoJob)?);
        };
        Ok(self.store.set_job_rate(scope, key, rate).await?)
    }

    /// Cancels a job. One that has ended stays as it is.
    pub async fn cancel_job(
        &self,
        principal: Principal,
        key: JobKey,
        idempotent: Option<Idempotent<Job>>,
    ) -> Result<Written<Job>, ControlError> {
        Ok(self.store.cancel_job(principal, key, idempotent).await?)
    }

    async fn start(
        &self,
        principal: Principal,
        new: NewJob,
        idempotent: Option<Idempotent<Job>>,
    ) -> Result<Written<Job>, ControlError> {
        if let Some(answer) = self.store.repeated(idempotent.as_ref())? {
            return Ok(Written::Repeated(answer));
        }
        let counted = self.count(principal.scope, new.clone()).await?;
        let total = counted.complete.then_some(counted.count);
        let started = self.store.start_job(principal, new, total, idempotent);
        Ok(started.await?)
    }

    /// Counts on a thread where that holds up nobody.
    async fn count(&self, scope: Scope, new: NewJob) -> Result<JobCount, ControlError> {
        static TURNS: Semaphore = Semaphore::const_new(COUNTS_MAX);
        let turn = TURNS.acquire().await.expect("it is never closed");
        let store = self.store.clone();
        let counting = tokio::task::spawn_blocking(move || {
            // Whoever asked may be gone; the turn ends with the work all the same.
            let _turn = turn;
            store.count_job(scope, &new)
        });
        let counted = counting
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        Ok(counted?)
    }
}

fn limit(rate_per_second: u32) -> Option<u32> {
    (rate_per_second > 0).then_some(rate_per_second)
}

fn new_job(
    (application, endpoint): (ApplicationKey, EndpointKey),
    kind: JobKind,
    input: JobInput,
) -> Result<NewJob, ControlError> {
    let mut errors = Vec::new();
    if input.until.is_some_and(|until| until <= input.since) {
        errors.push(FieldError::new("until", "must be later than since"));
    }
    let mut event_types = Vec::new();
    for (at, text) in input.event_types.iter().flatten().enumerate() {
        match EventFilter::parse(text) {
            Ok(filter) => event_types.push(filter),
            Err(detail) => errors.push(FieldError::new(format!("eventTypes[{at}]"), detail)),
        }
    }
    if !errors.is_empty() {
        return Err(ControlError::Invalid(errors));
    }
    let filter = JobFilter {
        event_types,
        channels: input.channels.unwrap_or_default(),
        standing: input.standing,
        status_class: input.status_class,
    };
    Ok(NewJob {
        application,
        endpoint: Some(endpoint),
        selection: Selection { kind, filter },
        since: input.since,
        until: input.until,
        rate_per_second: input.rate_per_second.and_then(limit),
    })
}
