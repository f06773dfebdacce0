//! Jobs: made, found, changed, ended, and taken a step further.
//!
//! A step makes a bounded number of deliveries due (or erases a bounded number
//! of messages) and moves the job's place in the same transaction: whatever a
//! crash interrupts is done once.

use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable};
use serde_json::json;

use super::applications::covered;
use super::catalog::ApplicationEntry;
use super::codec::{decode, encode};
use super::endpoints::{found, may_get_messages};
use super::erase::erase;
use super::replay::make_due;
use super::rows::{DeliveryV1, JobV1, MessageV1};
use super::tables::{
    APPLICATION_JOBS, APPLICATION_MESSAGES, DELIVERIES, DUE, JOBS, MESSAGES, PAYLOADS,
    RUNNING_JOBS, Tables, pair, part, second, triple,
};
use super::writer::{Batch, Change, Idempotent, Operation, Refusal, WriteError, Written};
use super::{Store, StoreError, requests};
use crate::domain::audit::AuditAction;
use crate::domain::delivery::{Delivery, Trigger};
use crate::domain::endpoint::{Endpoint, LiveEndpoint};
use crate::domain::ids::{
    ApplicationKey, AttemptKey, EndpointKey, EnvironmentKey, JobKey, Key, MessageKey, first_key_at,
};
use crate::domain::job::{
    Ending, Job, JobFailure, JobKind, JobState, NewJob, Progress, RUNNING_MAX, Selection,
};
use crate::domain::operational::{JOB_FINISHED, OperationalEvent};
use crate::domain::principal::{Principal, Scope};
use crate::domain::time::Timestamp;

/// Messages that one step looks at.
const STEP_MESSAGES: usize = 500;
/// Messages that one step erases: each has deliveries and attempts of its own.
const STEP_ERASED: usize = 100;
/// Messages that one snapshot counts.
const COUNT_CHUNK: usize = 2_000;
/// Messages after which counting gives up.
pub const COUNT_MAX: u64 = 1_000_000;
/// Rows that a filtered list looks at before it answers with what it has.
const LIST_ROWS_MAX: usize = 5_000;
/// Ended jobs that are forgotten in one step.
const FORGET_STEP: usize = 500;

/// What a job would take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCount {
    pub count: u64,
    /// Whether all was looked at.
    pub complete: bool,
}

impl Store {
    /// Counts what `new` would take now, in short snapshots. May take a while.
    pub fn count_job(&self, scope: Scope, new: &NewJob) -> Result<JobCount, WriteError> {
        let entry = self
            .application(new.application)?
            .filter(|entry| scope.covers(entry.application.environment, new.application))
            .ok_or(Refusal::NoApplication)?;
        let endpoint = target(&entry, new.endpoint)?;
        let judge = Judge {
            selection: &new.selection,
            endpoint: endpoint.as_ref().map(|live| &live.settings),
            before: AttemptKey::from_u64(u64::MAX),
            now: self.inner.clock.now(),
            payloads_count: false,
        };
        let mut span = Span {
            application: new.application,
            next: first_key_at(new.since),
            end: new
                .until
                .map_or(MessageKey::from_u64(u64::MAX), first_key_at),
        };
        let (mut looked, mut count) = (0, 0);
        while looked < COUNT_MAX {
            let walked = self.read(|txn| walk_snapshot(txn, span, &judge))?;
            looked += walked.examined;
            count += walked.taken.len() as u64;
            let Some(next) = walked.next else {
                let complete = true;
                return Ok(JobCount { count, complete });
            };
            span.next = next;
        }
        let complete = false;
        Ok(JobCount { count, complete })
    }

    /// Makes a job, of which `total` was counted. It begins at once.
    pub async fn start_job(
        &self,
        principal: Principal,
        new: NewJob,
        total: Option<u64>,
        idempotent: Option<Idempotent<Job>>,
    ) -> Result<Written<Job>, WriteError> {
        let start = Start {
            principal,
            new,
            total,
        };
        self.write(start, idempotent).await
    }

    /// The job, if `scope` covers its application.
    pub fn find_job(&self, scope: Scope, key: JobKey) -> Result<Option<Job>, StoreError> {
        let place = pair(scope.environment.as_u64(), key.as_u64());
        self.read(|txn| {
            let row = txn.open_table(JOBS)?.get(&place)?;
            let job = row.map(|row| read_job(&place, row.value())).transpose()?;
            Ok(job.filter(|job| covers(scope, job)))
        })
    }

    /// Jobs that `scope` covers, newest first, older than `before`, those in
    /// `state` by its name; and where the next page begins when there may be one.
    pub fn list_jobs(
        &self,
        scope: Scope,
        state: Option<&str>,
        before: Option<JobKey>,
        take: usize,
    ) -> Result<(Vec<Job>, Option<JobKey>), StoreError> {
        let environment = scope.environment.as_u64();
        self.read(|txn| {
            let jobs = txn.open_table(JOBS)?;
            let end = before.map_or(u64::MAX, Key::as_u64);
            if let Some(application) = scope.application {
                let of_application = txn.open_table(APPLICATION_JOBS)?;
                let application = application.as_u64();
                let all = pair(application, 0)..pair(application, end);
                let rows = of_application.range::<&[u8; 16]>(&all.start..&all.end)?;
                let keys = rows.rev().map(|row| Ok(second(row?.0.value())));
                list(&jobs, environment, keys, state, take)
            } else {
                let all = pair(environment, 0)..pair(environment, end);
                let rows = jobs.range::<&[u8; 16]>(&all.start..&all.end)?;
                let keys = rows.rev().map(|row| Ok(second(row?.0.value())));
                list(&jobs, environment, keys, state, take)
            }
        })
    }

    /// Sets how much a job takes in a second; `None` takes the limit away.
    pub async fn set_job_rate(
        &self,
        scope: Scope,
        key: JobKey,
        rate_per_second: Option<u32>,
    ) -> Result<Job, WriteError> {
        self.write_once(SetRate {
            scope,
            key,
            rate_per_second,
        })
        .await
    }

    /// Cancels a job. One that has ended stays as it is.
    pub async fn cancel_job(
        &self,
        principal: Principal,
        key: JobKey,
        idempotent: Option<Idempotent<Job>>,
    ) -> Result<Written<Job>, WriteError> {
        self.write(Cancel { principal, key }, idempotent).await
    }

    /// Every job that runs, in order of environment and key.
    pub fn running_jobs(&self) -> Result<Vec<Job>, StoreError> {
        self.read(|txn| {
            let jobs = txn.open_table(JOBS)?;
            let mut found = Vec::new();
            for row in txn.open_table(RUNNING_JOBS)?.iter()? {
                let (place, _) = row?;
                if let Some(row) = jobs.get(place.value())? {
                    found.push(read_job(place.value(), row.value())?);
                }
            }
            Ok(found)
        })
    }

    /// How many deliveries of an endpoint are due at `now`; counts no further
    /// than `most`.
    pub fn queue_length(
        &self,
        endpoint: EndpointKey,
        now: Timestamp,
        most: usize,
    ) -> Result<usize, StoreError> {
        let key = endpoint.as_u64();
        let due = triple(key, 0, 0)..=triple(key, now.0, u64::MAX);
        self.read(|txn| {
            let table = txn.open_table(DUE)?;
            let rows = table.range::<&[u8; 24]>(&due.start()..=&due.end())?;
            rows.take(most)
                .try_fold(0, |count, row| row.map(|_| count + 1))
                .map_err(StoreError::from)
        })
    }

    /// Takes a job one step further: makes at most `take` deliveries due, or
    /// erases so many messages. Ends it when it is through or cannot go on.
    pub async fn step_job(
        &self,
        environment: EnvironmentKey,
        key: JobKey,
        take: usize,
    ) -> Result<Job, WriteError> {
        let step = Step {
            environment,
            key,
            take,
        };
        self.write_once(step).await
    }

    /// Forgets jobs that ended before then, a bounded number; how many.
    pub async fn forget_jobs(&self, before: Timestamp) -> Result<usize, WriteError> {
        let mut old = Vec::new();
        for environment in self.inner.catalog.environments() {
            let left = FORGET_STEP - old.len();
            old.extend(self.ended_jobs(environment.key, before, left)?);
        }
        if old.is_empty() {
            return Ok(0);
        }
        self.write_once(Forget { old }).await
    }

    /// The first jobs of an environment that ended before then. None was made
    /// later, so only so many rows are looked at as are of that age.
    fn ended_jobs(
        &self,
        environment: EnvironmentKey,
        before: Timestamp,
        take: usize,
    ) -> Result<Vec<Job>, StoreError> {
        let environment = environment.as_u64();
        let end = pair(environment, first_key_at::<JobKey>(before).as_u64());
        self.read(|txn| {
            let table = txn.open_table(JOBS)?;
            let rows = table.range::<&[u8; 16]>(&pair(environment, 0)..&end)?;
            let jobs = rows.map(|row| {
                let (place, row) = row?;
                read_job(place.value(), row.value())
            });
            let old = jobs.filter(|job| {
                job.as_ref()
                    .map_or(true, |job| job.state.ended().is_some_and(|at| at < before))
            });
            old.take(take).collect()
        })
    }
}

fn read_job(place: &[u8; 16], row: &[u8]) -> Result<Job, StoreError> {
    let (environment, key) = (part(place, 0), part(place, 1));
    decode::<JobV1>(row)?.into_domain(EnvironmentKey::from_u64(environment), JobKey::from_u64(key))
}

fn covers(scope: Scope, job: &Job) -> bool {
    scope.covers(job.environment, job.application)
}

/// The jobs of `keys` that are in `state`.
fn list(
    jobs: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
    environment: u64,
    keys: impl Iterator<Item = Result<u64, StoreError>>,
    state: Option<&str>,
    take: usize,
) -> Result<(Vec<Job>, Option<JobKey>), StoreError> {
    let (mut found, mut last) = (Vec::new(), None);
    for (looked, key) in keys.enumerate() {
        if found.len() == take || looked == LIST_ROWS_MAX {
            return Ok((found, last));
        }
        let place = pair(environment, key?);
        last = Some(JobKey::from_u64(second(&place)));
        let Some(row) = jobs.get(&place)? else {
            continue;
        };
        let job = read_job(&place, row.value())?;
        if state.is_none_or(|wanted| wanted == job.state.name()) {
            found.push(job);
        }
    }
    Ok((found, None))
}

/// The endpoint that a job is for, which has to take messages.
fn target(
    entry: &ApplicationEntry,
    endpoint: Option<EndpointKey>,
) -> Result<Option<Arc<LiveEndpoint>>, Refusal> {
    let Some(key) = endpoint else { return Ok(None) };
    let live = entry.endpoint(key).ok_or(Refusal::NoEndpoint)?;
    may_get_messages(live)?;
    Ok(Some(Arc::clone(live)))
}

/// Messages of an application, from `next` to before `end`.
#[derive(Clone, Copy)]
struct Span {
    application: ApplicationKey,
    next: MessageKey,
    end: MessageKey,
}

/// What decides about a message.
struct Judge<'a> {
    selection: &'a Selection,
    endpoint: Option<&'a Endpoint>,
    before: AttemptKey,
    now: Timestamp,
    /// Whether what has no payload is left out. Looking is not for free.
    payloads_count: bool,
}

/// A message that is taken, with its delivery to the job's endpoint.
type Taken = (MessageKey, Option<Delivery>);

#[derive(Default)]
struct Walked {
    taken: Vec<Taken>,
    examined: u64,
    /// Would have been taken, had they a payload.
    skipped: u64,
    /// Where to go on; `None`: that was all.
    next: Option<MessageKey>,
}

/// The tables that a walk reads: a snapshot's, or the writer's.
struct Rows<'a, Pairs, Singles> {
    listed: &'a Pairs,
    deliveries: &'a Pairs,
    messages: &'a Singles,
    payloads: &'a Singles,
}

fn walk_snapshot(
    txn: &ReadTransaction,
    span: Span,
    judge: &Judge<'_>,
) -> Result<Walked, StoreError> {
    let rows = Rows {
        listed: &txn.open_table(APPLICATION_MESSAGES)?,
        deliveries: &txn.open_table(DELIVERIES)?,
        messages: &txn.open_table(MESSAGES)?,
        payloads: &txn.open_table(PAYLOADS)?,
    };
    rows.walk(span, judge, COUNT_CHUNK, usize::MAX)
}

impl<Pairs, Singles> Rows<'_, Pairs, Singles>
where
    Pairs: ReadableTable<&'static [u8; 16], &'static [u8]>,
    Singles: ReadableTable<&'static [u8; 8], &'static [u8]>,
{
    /// Looks at `looks` messages, or until `take` are taken.
    fn walk(
        &self,
        span: Span,
        judge: &Judge<'_>,
        looks: usize,
        take: usize,
    ) -> Result<Walked, StoreError> {
        let application = span.application.as_u64();
        let start = pair(application, span.next.as_u64());
        let end = pair(application, span.end.as_u64());
        let mut walked = Walked::default();
        if start >= end {
            return Ok(walked);
        }
        for (looked, row) in self.listed.range::<&[u8; 16]>(&start..&end)?.enumerate() {
            let message = MessageKey::from_u64(second(row?.0.value()));
            if looked == looks || walked.taken.len() == take {
                walked.next = Some(message);
                break;
            }
            walked.examined += 1;
            match self.judge(message, judge)? {
                Some(taken) if self.can_be_sent(message, judge)? => walked.taken.push(taken),
                Some(_) => walked.skipped += 1,
                None => {}
            }
        }
        Ok(walked)
    }

    fn judge(&self, key: MessageKey, judge: &Judge<'_>) -> Result<Option<Taken>, StoreError> {
        let delivery = match judge.endpoint {
            Some(endpoint) => self.delivery(key, endpoint.key)?,
            None => None,
        };
        let selection = judge.selection;
        if !selection.takes_delivery(delivery.as_ref(), judge.before, judge.now) {
            return Ok(None);
        }
        if selection.asks_for_message() {
            let Some(row) = self.messages.get(&key.as_u64().to_be_bytes())? else {
                return Ok(None);
            };
            let message = decode::<MessageV1>(row.value())?.into_domain(key);
            if !selection.takes_message(&message, judge.endpoint) {
                return Ok(None);
            }
        }
        Ok(Some((key, delivery)))
    }

    fn delivery(
        &self,
        message: MessageKey,
        endpoint: EndpointKey,
    ) -> Result<Option<Delivery>, StoreError> {
        let row = self
            .deliveries
            .get(&pair(message.as_u64(), endpoint.as_u64()))?;
        let row = row.map(|bytes| decode::<DeliveryV1>(bytes.value()));
        Ok(row.transpose()?.map(Delivery::from))
    }

    fn can_be_sent(&self, message: MessageKey, judge: &Judge<'_>) -> Result<bool, StoreError> {
        Ok(!judge.payloads_count
            || self
                .payloads
                .get(&message.as_u64().to_be_bytes())?
                .is_some())
    }
}

/// The row of a job, as the transaction sees it.
fn job_row(
    environment: EnvironmentKey,
    key: JobKey,
    tables: &Tables<'_>,
) -> Result<Option<Job>, StoreError> {
    let place = pair(environment.as_u64(), key.as_u64());
    let row = tables.jobs.get(&place)?;
    row.map(|row| read_job(&place, row.value())).transpose()
}

/// The job, if `scope` covers its application.
fn covered_job(
    scope: Scope,
    key: JobKey,
    tables: &Tables<'_>,
) -> Result<Result<Job, Refusal>, StoreError> {
    let job = job_row(scope.environment, key, tables)?;
    Ok(job.filter(|job| covers(scope, job)).ok_or(Refusal::NoJob))
}

fn write_job(job: &Job, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let place = pair(job.environment.as_u64(), job.key.as_u64());
    let row = encode(&JobV1::from(job));
    tables.jobs.insert(&place, row.as_slice())?;
    Ok(())
}

struct Start {
    principal: Principal,
    new: NewJob,
    total: Option<u64>,
}

impl Operation for Start {
    type Plan = EnvironmentKey;
    type Answer = Job;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let (scope, application) = (self.principal.scope, self.new.application);
        let entry = match covered(scope, application, tables, batch)? {
            Ok(entry) => entry,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Err(refusal) = target(&entry, self.new.endpoint) {
            return Ok(Err(refusal));
        }
        let environment = entry.application.environment;
        if running_in(environment, tables)?.len() >= RUNNING_MAX {
            return Ok(Err(Refusal::TooManyJobs));
        }
        Ok(Ok(environment))
    }

    fn apply(
        self,
        environment: EnvironmentKey,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Job, StoreError> {
        let (key, new): (JobKey, NewJob) = (batch.key(), self.new);
        // All that is there already has a smaller key.
        let end = MessageKey::from_u64(key.as_u64());
        let job = Job {
            key,
            environment,
            application: new.application,
            endpoint: new.endpoint,
            selection: new.selection,
            since: new.since,
            until: new.until.map_or(batch.now, |until| until.min(batch.now)),
            next: first_key_at(new.since),
            end: new.until.map_or(end, |until| end.min(first_key_at(until))),
            rate_per_second: new.rate_per_second,
            total: self.total,
            progress: Progress::default(),
            state: JobState::Running,
            created: batch.now,
            updated: batch.now,
        };
        write_job(&job, tables)?;
        let place = pair(environment.as_u64(), key.as_u64());
        tables.running_jobs.insert(&place, &[] as &[u8])?;
        tables.application_jobs.insert(
            &pair(job.application.as_u64(), key.as_u64()),
            &environment.as_u64().to_be_bytes(),
        )?;
        audit(AuditAction::JobStarted, self.principal, &job, tables, batch)?;
        batch.tell(Change::Job);
        Ok(job)
    }
}

fn audit(
    action: AuditAction,
    by: Principal,
    job: &Job,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let subject = batch.inner.ids.text(job.key);
    let detail = job.selection.kind.name().to_owned();
    let place = (job.environment, Some(job.application));
    batch.audit(tables, by.actor, place, (action, subject, detail))
}

/// The jobs of an environment that run: no more than [`RUNNING_MAX`].
fn running_in(environment: EnvironmentKey, tables: &Tables<'_>) -> Result<Vec<JobKey>, StoreError> {
    let environment = environment.as_u64();
    let all = pair(environment, 0)..=pair(environment, u64::MAX);
    let rows = tables
        .running_jobs
        .range::<&[u8; 16]>(&all.start()..=&all.end())?;
    rows.map(|row| Ok(JobKey::from_u64(second(row?.0.value()))))
        .collect()
}

struct SetRate {
    scope: Scope,
    key: JobKey,
    rate_per_second: Option<u32>,
}

impl Operation for SetRate {
    type Plan = Job;
    type Answer = Job;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<Job, Refusal>, StoreError> {
        let found = covered_job(self.scope, self.key, tables)?;
        Ok(found.and_then(|job| {
            if job.runs() {
                Ok(job)
            } else {
                Err(Refusal::JobEnded)
            }
        }))
    }

    fn apply(
        self,
        job: Job,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Job, StoreError> {
        let job = Job {
            rate_per_second: self.rate_per_second,
            updated: batch.now,
            ..job
        };
        write_job(&job, tables)?;
        Ok(job)
    }
}

struct Cancel {
    principal: Principal,
    key: JobKey,
}

impl Operation for Cancel {
    type Plan = Job;
    type Answer = Job;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<Job, Refusal>, StoreError> {
        covered_job(self.principal.scope, self.key, tables)
    }

    fn apply(
        self,
        job: Job,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Job, StoreError> {
        if !job.runs() {
            return Ok(job);
        }
        let by = self.principal;
        audit(AuditAction::JobCancelled, by, &job, tables, batch)?;
        end(job, Ending::Cancelled, tables, batch)
    }
}

/// Ends a job, and says so.
fn end(
    job: Job,
    how: Ending,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<Job, StoreError> {
    let at = batch.now;
    let job = Job {
        state: JobState::Ended { at, how },
        updated: at,
        ..job
    };
    write_job(&job, tables)?;
    tables
        .running_jobs
        .remove(&pair(job.environment.as_u64(), job.key.as_u64()))?;
    let ids = &batch.inner.ids;
    let Progress {
        examined,
        done,
        skipped,
    } = job.progress;
    let data = json!({
        "jobId": ids.text(job.key),
        "kind": job.selection.kind.name(),
        "state": job.state.name(),
        "reason": job.state.failure().map(JobFailure::name),
        "applicationId": ids.text(job.application),
        "endpointId": job.endpoint.map(|endpoint| ids.text(endpoint)),
        "total": job.total,
        "examined": examined,
        "done": done,
        "skipped": skipped,
    });
    let event = OperationalEvent {
        event_type: JOB_FINISHED,
        about: job.application,
        data,
    };
    batch.emit(tables, job.environment, &event)?;
    Ok(job)
}

/// Ends the running jobs of an application, or of one endpoint of it, which is
/// being deleted.
pub(super) fn end_all(
    application: (EnvironmentKey, ApplicationKey),
    endpoint: Option<EndpointKey>,
    failure: JobFailure,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    for key in running_in(application.0, tables)? {
        let job = job_row(application.0, key, tables)?;
        let concerned = job.filter(|job| {
            job.application == application.1 && (endpoint.is_none() || job.endpoint == endpoint)
        });
        if let Some(job) = concerned {
            end(job, Ending::Failed(failure), tables, batch)?;
        }
    }
    Ok(())
}

/// Removes the jobs of a deleted application, at most `take`; true when none
/// are left.
pub(super) fn sweep(
    application: u64,
    take: usize,
    tables: &mut Tables<'_>,
) -> Result<bool, StoreError> {
    let all = pair(application, 0)..=pair(application, u64::MAX);
    let rows = tables
        .application_jobs
        .range::<&[u8; 16]>(&all.start()..=&all.end())?;
    let found: Vec<(u64, u64)> = rows
        .take(take)
        .map(|row| {
            let (key, environment) = row?;
            Ok((
                u64::from_be_bytes(*environment.value()),
                second(key.value()),
            ))
        })
        .collect::<Result<_, StoreError>>()?;
    for &(environment, key) in &found {
        remove(environment, application, key, tables)?;
    }
    Ok(found.len() < take)
}

fn remove(
    environment: u64,
    application: u64,
    key: u64,
    tables: &mut Tables<'_>,
) -> Result<(), StoreError> {
    tables.jobs.remove(&pair(environment, key))?;
    tables.running_jobs.remove(&pair(environment, key))?;
    tables.application_jobs.remove(&pair(application, key))?;
    Ok(())
}

struct Forget {
    old: Vec<Job>,
}

impl Operation for Forget {
    type Plan = ();
    type Answer = usize;

    /// What has ended stays as it is, so what was read before still holds.
    fn check(
        &mut self,
        _: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        Ok(Ok(()))
    }

    fn apply(
        self,
        (): (),
        tables: &mut Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<usize, StoreError> {
        for job in &self.old {
            let (environment, application) = (job.environment.as_u64(), job.application.as_u64());
            remove(environment, application, job.key.as_u64(), tables)?;
        }
        Ok(self.old.len())
    }
}

struct Step {
    environment: EnvironmentKey,
    key: JobKey,
    take: usize,
}

/// What a step does with a job.
enum StepPlan {
    Goes(Job, Walked),
    Ends(Job, JobFailure),
}

impl Operation for Step {
    type Plan = StepPlan;
    type Answer = Job;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<StepPlan, Refusal>, StoreError> {
        let Some(job) = job_row(self.environment, self.key, tables)? else {
            return Ok(Err(Refusal::NoJob));
        };
        if !job.runs() {
            return Ok(Err(Refusal::JobEnded));
        }
        let scope = Scope::of_environment(self.environment);
        let endpoint = match job.endpoint {
            None => covered(scope, job.application, tables, batch)?.map(|_| None),
            Some(key) => found(scope, job.application, key, tables, batch)?
                .map(|(_, endpoint)| Some(endpoint)),
        };
        let endpoint = match endpoint {
            Ok(Some(live)) if !live.is_enabled() => {
                return Ok(Ok(StepPlan::Ends(job, JobFailure::EndpointDisabled)));
            }
            Ok(endpoint) => endpoint,
            Err(Refusal::NoEndpoint) => {
                return Ok(Ok(StepPlan::Ends(job, JobFailure::EndpointDeleted)));
            }
            Err(_) => return Ok(Ok(StepPlan::Ends(job, JobFailure::ApplicationDeleted))),
        };
        let walked = self.walk(&job, endpoint.as_deref(), tables, batch.now)?;
        Ok(Ok(StepPlan::Goes(job, walked)))
    }

    fn apply(
        self,
        plan: StepPlan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Job, StoreError> {
        let (mut job, walked) = match plan {
            StepPlan::Ends(job, failure) => {
                return end(job, Ending::Failed(failure), tables, batch);
            }
            StepPlan::Goes(job, walked) => (job, walked),
        };
        job.progress.examined += walked.examined;
        job.progress.done += walked.taken.len() as u64;
        job.progress.skipped += walked.skipped;
        job.updated = batch.now;
        job.next = walked.next.unwrap_or(job.end);
        match job.endpoint {
            Some(endpoint) => feed(endpoint, &job, walked.taken, tables, batch)?,
            None => {
                for (message, _) in walked.taken {
                    erase(message, tables, batch)?;
                }
            }
        }
        let erases = job.selection.kind == JobKind::Erasure;
        if walked.next.is_none()
            && (!erases || requests::erase(job.application, job.key, tables, batch)?)
        {
            return end(job, Ending::Finished, tables, batch);
        }
        write_job(&job, tables)?;
        Ok(job)
    }
}

impl Step {
    fn walk(
        &self,
        job: &Job,
        endpoint: Option<&LiveEndpoint>,
        tables: &Tables<'_>,
        now: Timestamp,
    ) -> Result<Walked, StoreError> {
        let erases = job.selection.kind == JobKind::Erasure;
        let judge = Judge {
            selection: &job.selection,
            endpoint: endpoint.map(|live| &live.settings),
            before: job.before(),
            now,
            payloads_count: !erases,
        };
        let span = Span {
            application: job.application,
            next: job.next,
            end: job.end,
        };
        let rows = Rows {
            listed: &tables.application_messages,
            deliveries: &tables.deliveries,
            messages: &tables.messages,
            payloads: &tables.payloads,
        };
        let looks = if erases { STEP_ERASED } else { STEP_MESSAGES };
        rows.walk(span, &judge, looks, self.take)
    }
}

/// Makes what a step has taken due.
fn feed(
    endpoint: EndpointKey,
    job: &Job,
    taken: Vec<Taken>,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    // What was never owed gets its whole schedule.
    let trigger = match job.selection.kind {
        JobKind::Backfill => Trigger::Scheduled,
        JobKind::Recovery | JobKind::Replay | JobKind::Erasure => Trigger::Manual,
    };
    let mut messages = Vec::with_capacity(taken.len());
    for (message, delivery) in taken {
        let delivery = delivery.unwrap_or_else(|| Delivery::new(batch.now, trigger));
        make_due(delivery, trigger, (endpoint, message), tables, batch)?;
        messages.push(message);
    }
    batch.tell(Change::Fed { endpoint, messages });
    Ok(())
}
