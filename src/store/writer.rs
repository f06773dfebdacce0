//! The one writer thread: group commit.
//!
//! Callers hand in operations; the thread takes what is waiting, applies all of
//! it in one write transaction, commits with an fsync, then answers each. An
//! operation is a `check` that only reads, and an `apply` that cannot refuse,
//! so that a refused one has written nothing into the shared transaction.
//! Keys are given here, so commit order is key order and no cursor skips.
//!
//! Requests never linger. Results of attempts ("lazy") may wait
//! [`LAZY_LINGER`] and ride along with the next request.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redb::ReadableTable;
use serde_json::Value;

use super::catalog::{ApplicationEntry, Overlay};
use super::cipher::Cipher;
use super::codec::{decode, encode};
use super::open::{Inner, META_LAST_KEY, META_TOTALS};
use super::receipts::SourceTally;
use super::rows::{AnswerV1, AuditV1, TotalsV1};
use super::seen::SeenChange;
use super::statistics::{RolledUp, Tally};
use super::tables::{Tables, part};
use super::{Store, StoreError, tables, users};
use crate::domain::api_key::ApiKey;
use crate::domain::audit::{AuditAction, AuditEntry};
use crate::domain::delivery::Trigger;
use crate::domain::endpoint::LiveEndpoint;
use crate::domain::environment::Environment;
use crate::domain::ids::{
    ApiKeyKey, ApplicationKey, EndpointKey, EnvironmentKey, InboxKey, Key, KeySequence, MessageKey,
    ReceivedKey, RequestKey,
};
use crate::domain::message::Message;
use crate::domain::principal::Actor;
use crate::domain::request::Request;
use crate::domain::time::Timestamp;
use crate::seams::clock::Stopwatch;
use crate::seams::mutant::{self, Mutant};

/// Records in one commit at most.
const BATCH_JOBS_MAX: usize = 1000;
/// Bytes of payload in one commit, beyond which no further record is taken.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Requests that may wait to be written; more are turned away.
const QUEUE_JOBS_MAX: usize = 10_000;
/// Bytes of payload that may wait to be written.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// How long the result of an attempt may wait for company.
const LAZY_LINGER: Duration = Duration::from_millis(5);
/// Results of attempts that are enough company by themselves.
const LAZY_ENOUGH: usize = 256;
/// How long an idempotency key keeps its answer.
pub(super) const IDEMPOTENCY_KEPT: Duration = Duration::from_hours(24);

/// Why an operation was refused. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such application")]
    NoApplication,
    #[error("there is no such endpoint")]
    NoEndpoint,
    #[error("there is no such message")]
    NoMessage,
    #[error("there is no such API key")]
    NoApiKey,
    #[error("there is no such inbox")]
    NoInbox,
    /// Its listeners need an API key.
    #[error("a listener needs an API key")]
    KeyNeeded,
    /// As many requests are kept for its listener as may be.
    #[error("too many requests wait for the listener")]
    TooManyWaiting,
    #[error("there is no such source")]
    NoSource,
    /// Another source or inbox has it.
    #[error("the slug is taken")]
    SlugTaken,
    /// Nothing of that id came to the source, or it is no longer kept.
    #[error("there is no such request")]
    NoReceived,
    #[error("there is no such record")]
    NoRecord,
    #[error("there is no such request to an endpoint")]
    NoRequest,
    /// It does not sign by optech alone.
    #[error("the endpoint takes messages, not requests")]
    NoRequestEndpoint,
    /// It does.
    #[error("the endpoint takes requests, not messages")]
    RequestsOnly,
    /// Its time is over.
    #[error("the link works no more")]
    LinkEnded,
    /// With other data than this.
    #[error("the request was answered otherwise")]
    AnsweredOtherwise,
    /// Another endpoint has it.
    #[error("the client id is taken")]
    ClientIdTaken,
    #[error("there is no such event type")]
    NoEventType,
    /// The environment has one of this name.
    #[error("the event type is there already")]
    EventTypeTaken,
    /// The environment has as many as it may.
    #[error("there are too many event types")]
    EventTypesFull,
    #[error("there is no such job")]
    NoJob,
    #[error("the job has ended")]
    JobEnded,
    /// As many jobs run as an environment may have.
    #[error("too many jobs run")]
    TooManyJobs,
    #[error("there is no such environment")]
    NoEnvironment,
    /// Another environment has it.
    #[error("the name is taken")]
    NameTaken,
    /// It is the one that every store has.
    #[error("the first environment stays")]
    FirstEnvironment,
    /// There are as many as there may be: of what, and how many.
    #[error("there are {max} {of} already")]
    TooMany { of: &'static str, max: usize },
    /// It belongs to Hookpost.
    #[error("the application is built in")]
    BuiltIn,
    /// Another one has this uid; here is its name.
    #[error("the uid is taken")]
    UidTaken,
    /// Retention took the payload, or it was erased.
    #[error("the payload is no longer kept")]
    PayloadGone,
    /// One more secret would sign than an endpoint may have.
    #[error("the endpoint has too many valid secrets")]
    TooManySecrets,
    /// The endpoint is disabled.
    #[error("the endpoint is disabled")]
    EndpointDisabled,
    #[error("there is no such user")]
    NoUser,
    /// Another account has it.
    #[error("the e-mail address has an account")]
    EmailTaken,
    /// Without it nobody could make another.
    #[error("it is the last admin of everything")]
    LastAdmin,
    /// It was used, or its time is over.
    #[error("the link works no more")]
    LinkUsed,
}

/// Why nothing, or perhaps nothing, was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an operation gave: now, or when its idempotency key was first used.
#[derive(Clone, Debug)]
pub enum Written<A> {
    Fresh(A),
    Repeated(StoredAnswer),
}

/// An answer kept for an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    pub status: u16,
    pub body: Bytes,
}

/// Makes an operation idempotent: the answer is stored with its effect.
pub struct Idempotent<A> {
    /// SHA-256 of environment, path and key.
    pub hash: [u8; 32],
    /// Status and body of the answer.
    pub render: Box<dyn FnOnce(&A) -> StoredAnswer + Send>,
}

/// What a commit changed, for those who listen. May be dropped by a listener:
/// the tables have it all.
#[derive(Clone, Debug)]
pub enum Change {
    /// A delivery waits. `message` spares a read when it was just accepted.
    Waiting {
        endpoint: EndpointKey,
        message: MessageKey,
        due: Timestamp,
        trigger: Trigger,
        content: Option<Arc<(Message, Bytes)>>,
    },
    /// A job made these due: they are to be read, in their order.
    Fed {
        endpoint: EndpointKey,
        messages: Vec<MessageKey>,
    },
    /// A delivery waits no more, and is not to be sent.
    Cancelled {
        endpoint: EndpointKey,
        message: MessageKey,
    },
    /// A job was made.
    Job,
    /// A request was made: its question is to be sent.
    Asked(Box<Request>),
    /// Something came of a request.
    Request(RequestKey),
    /// The store was opened anew after a failure: what became of the writes
    /// before it is only on disk.
    Reopened,
    /// An endpoint's settings or state; `None` when it is gone.
    Endpoint {
        endpoint: EndpointKey,
        live: Option<Arc<LiveEndpoint>>,
    },
    /// An environment is gone, and with it every endpoint in it.
    EnvironmentGone,
    /// An inbox keeps a request for its listener.
    Kept {
        inbox: InboxKey,
        received: ReceivedKey,
        ticket: u64,
    },
    InboxGone(InboxKey),
}

/// An operation of the writer.
pub(super) trait Operation: Send + 'static {
    type Plan;
    type Answer: Send + 'static;

    /// Reads, and decides. Must not write.
    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError>;

    /// Writes. Fails only when the disk does.
    fn apply(
        self,
        plan: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Self::Answer, StoreError>;

    /// Whether there is anything to write, as planned.
    fn writes(_: &Self::Plan) -> bool {
        true
    }

    /// Bytes that it brings, for the limits.
    fn weight(&self) -> usize {
        0
    }
}

/// What the operations of one commit share.
pub(super) struct Batch<'a> {
    pub inner: &'a Inner,
    pub now: Timestamp,
    pub totals: TotalsV1,
    /// Endpoints and applications as this transaction leaves them.
    pub overlay: Overlay,
    /// What the operations have counted.
    pub tally: Tally,
    /// What sources have counted.
    pub sources: SourceTally,
    /// What it changes of the ids that sources have seen.
    pub seen: SeenChange,
    /// Key in `idempotency` of the answer to the operation that is applied,
    /// until a message has noted it.
    pub answer: Option<[u8; 32]>,
    sequence: KeySequence,
    changes: Vec<Change>,
    wrote: bool,
}

impl Batch<'_> {
    /// The next key. Only grows.
    pub(super) fn key<K: Key>(&mut self) -> K {
        self.sequence.next(self.now, self.inner.entropy.next_u64())
    }

    /// Tells listeners after the commit.
    pub(super) fn tell(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// An application and its endpoints, as this transaction sees them. There
    /// is none in an environment that is deleted, though its row is there yet:
    /// nor may the catalog get it back from here.
    pub(super) fn application(
        &mut self,
        tables: &Tables<'_>,
        key: ApplicationKey,
    ) -> Result<Option<Arc<ApplicationEntry>>, StoreError> {
        if let Some(changed) = self.overlay.application(key) {
            return Ok(changed.filter(|entry| self.is_visible(entry)));
        }
        if let Some(known) = self.inner.catalog.cached(key) {
            return Ok(Some(known).filter(|entry| self.is_visible(entry)));
        }
        let loaded = super::catalog::load(key, tables, &self.inner.cipher)?;
        let loaded = loaded.filter(|entry| self.is_visible(entry)).map(Arc::new);
        if let Some(entry) = &loaded {
            self.overlay.put(Arc::clone(entry));
        }
        Ok(loaded)
    }

    fn is_visible(&self, entry: &ApplicationEntry) -> bool {
        self.environment(entry.application.environment).is_some()
    }

    /// An environment, as this transaction sees it.
    pub(super) fn environment(&self, key: EnvironmentKey) -> Option<Arc<Environment>> {
        match self.overlay.environment(key) {
            Some(changed) => changed,
            None => self.inner.catalog.environment(key),
        }
    }

    /// The API keys that `wanted` picks, as this transaction sees them.
    pub(super) fn api_keys_where(&self, wanted: impl Fn(&ApiKey) -> bool) -> Vec<ApiKey> {
        let touched = |key: &ApiKey| self.overlay.api_key(&key.hash).is_some();
        let catalog = &self.inner.catalog;
        let mut keys = catalog.api_keys_where(|key| wanted(key) && !touched(key));
        let changed = self.overlay.changed_api_keys();
        keys.extend(
            changed
                .filter(|key| wanted(key))
                .map(|key| ApiKey::clone(key)),
        );
        keys.sort_by_key(|key| key.key);
        keys
    }

    /// Every environment, as this transaction sees them, in no order.
    pub(super) fn environments(&self) -> Vec<Arc<Environment>> {
        let known = self.inner.catalog.environments();
        let mut all: BTreeMap<_, _> = known.into_iter().map(|one| (one.key, one)).collect();
        for (key, changed) in self.overlay.changed_environments() {
            match changed {
                Some(environment) => all.insert(*key, Arc::clone(environment)),
                None => all.remove(key),
            };
        }
        all.into_values().collect()
    }

    /// Notes in the audit log what `by` did to `subject`, an id. The log of an
    /// environment that is deleted takes nothing more.
    pub(super) fn audit(
        &mut self,
        tables: &mut Tables<'_>,
        by: Actor,
        place: (EnvironmentKey, Option<ApplicationKey>),
        what: (AuditAction, String, String),
    ) -> Result<(), StoreError> {
        let (environment, application) = place;
        let (action, subject, detail) = what;
        if self.environment(environment).is_none() {
            return Ok(());
        }
        let entry = AuditEntry {
            key: self.key(),
            environment,
            application,
            actor: self.actor_text(by, tables)?,
            action: action.name().to_owned(),
            subject,
            detail,
        };
        let row = encode(&AuditV1::from(&entry));
        let key = tables::pair(environment.as_u64(), entry.key.as_u64());
        tables.audit.insert(&key, row.as_slice())?;
        Ok(())
    }

    fn actor_text(&self, by: Actor, tables: &Tables<'_>) -> Result<String, StoreError> {
        Ok(match by {
            Actor::Operator => "operator".to_owned(),
            Actor::ApiKey(key) => self.api_key_text(key),
            Actor::User(key) => match users::read(key, tables)? {
                Some(user) => user.email,
                None => self.inner.ids.text(key),
            },
            Actor::Customer(_) => "customer, in the portal".to_owned(),
            Actor::Stranger => "somebody".to_owned(),
        })
    }

    fn api_key_text(&self, key: ApiKeyKey) -> String {
        match self.inner.catalog.api_key_of(key) {
            Some(known) if known.name.is_empty() => format!("API key {}", known.shown),
            Some(known) => format!("API key {} ({})", known.shown, known.name),
            None => format!("API key {}", self.inner.ids.text(key)),
        }
    }

    fn flush(&mut self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        self.tally.flush(tables)?;
        self.sources.flush(self.now, tables)?;
        self.seen.flush(&mut self.inner.seen(), tables)?;
        tables
            .meta
            .insert(META_LAST_KEY, self.sequence.last().to_be_bytes().as_slice())?;
        tables
            .meta
            .insert(META_TOTALS, encode(&self.totals).as_slice())?;
        Ok(())
    }
}

/// An operation on its way, with whoever waits for it.
trait Job: Send {
    fn weight(&self) -> usize;
    fn run(&mut self, tables: &mut Tables<'_>, batch: &mut Batch<'_>) -> Result<(), StoreError>;
    fn finish(self: Box<Self>, failure: Option<&StoreError>);
}

type Reply<A> = Box<dyn FnOnce(Result<Written<A>, WriteError>) + Send>;

struct Queued<O: Operation> {
    operation: Option<O>,
    idempotent: Option<Idempotent<O::Answer>>,
    result: Option<Result<Written<O::Answer>, Refusal>>,
    reply: Reply<O::Answer>,
}

impl<O: Operation> Queued<O> {
    fn decide(
        &mut self,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Written<O::Answer>, Refusal>, StoreError> {
        if let Some(idempotent) = &self.idempotent
            && let Some(answer) = stored_answer(&idempotent.hash, tables, batch)?
        {
            return Ok(Ok(Written::Repeated(answer)));
        }
        let mut operation = self.operation.take().expect("an operation runs once");
        let plan = match operation.check(tables, batch)? {
            Ok(plan) => plan,
            Err(refusal) => return Ok(Err(refusal)),
        };
        batch.wrote |= O::writes(&plan) || self.idempotent.is_some();
        batch.answer = self.idempotent.as_ref().map(|idempotent| idempotent.hash);
        let answer = operation.apply(plan, tables, batch)?;
        if let Some(idempotent) = self.idempotent.take() {
            let stored = (idempotent.render)(&answer);
            keep_answer(&idempotent.hash, &stored, tables, batch)?;
        }
        Ok(Ok(Written::Fresh(answer)))
    }
}

impl<O: Operation> Job for Queued<O> {
    fn weight(&self) -> usize {
        self.operation.as_ref().map_or(0, Operation::weight)
    }

    fn run(&mut self, tables: &mut Tables<'_>, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        self.result = Some(self.decide(tables, batch)?);
        Ok(())
    }

    fn finish(self: Box<Self>, failure: Option<&StoreError>) {
        let result = match (failure, self.result) {
            (None, Some(result)) => result.map_err(WriteError::Refused),
            (Some(error), _) => Err(WriteError::Store(error.clone())),
            (None, None) => unreachable!("a committed job has run"),
        };
        (self.reply)(result);
    }
}

fn stored_answer(
    hash: &[u8; 32],
    tables: &Tables<'_>,
    batch: &Batch<'_>,
) -> Result<Option<StoredAnswer>, StoreError> {
    answer_in(hash, &tables.idempotency, &batch.inner.cipher, batch.now)
}

fn answer_in(
    hash: &[u8; 32],
    answers: &impl ReadableTable<&'static [u8; 32], &'static [u8]>,
    cipher: &Cipher,
    now: Timestamp,
) -> Result<Option<StoredAnswer>, StoreError> {
    let Some(sealed) = answers.get(hash)? else {
        return Ok(None);
    };
    let plain = cipher.open("idempotency", hash, sealed.value())?;
    let row: AnswerV1 = decode(&plain)?;
    let fresh = now.since(row.created) < IDEMPOTENCY_KEPT;
    Ok(fresh.then(|| StoredAnswer {
        status: row.status,
        body: row.body.into(),
    }))
}

impl Store {
    /// The answer that an idempotency key has had already. For callers that
    /// look at something before they write: what they would find now does not
    /// change an answer. The operation itself looks again.
    pub fn repeated<A>(
        &self,
        idempotent: Option<&Idempotent<A>>,
    ) -> Result<Option<StoredAnswer>, StoreError> {
        let Some(idempotent) = idempotent else {
            return Ok(None);
        };
        let inner = &self.inner;
        self.read(|txn| {
            let answers = txn.open_table(tables::IDEMPOTENCY)?;
            answer_in(&idempotent.hash, &answers, &inner.cipher, inner.clock.now())
        })
    }
}

/// Takes the payload of a message out of the answer that told of it.
///
/// What is kept there is what the API said: an object with an `id` and a
/// `payload`. An answer about something else stays as it is.
pub(super) fn bare_answer(
    hash: &[u8; 32],
    message: MessageKey,
    tables: &mut Tables<'_>,
    batch: &Batch<'_>,
) -> Result<(), StoreError> {
    let cipher = &batch.inner.cipher;
    let Some(plain) = tables
        .idempotency
        .get(hash)?
        .map(|sealed| cipher.open("idempotency", hash, sealed.value()))
    else {
        return Ok(());
    };
    let mut row: AnswerV1 = decode(&plain?)?;
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(&row.body) else {
        return Ok(());
    };
    if fields.get("id") != Some(&Value::String(batch.inner.ids.text(message))) {
        return Ok(());
    }
    fields.insert("payload".to_owned(), Value::Null);
    row.body = Value::Object(fields).to_string().into_bytes();
    let sealed = cipher.seal("idempotency", hash, &encode(&row));
    tables.idempotency.insert(hash, sealed.as_slice())?;
    Ok(())
}

fn keep_answer(
    hash: &[u8; 32],
    answer: &StoredAnswer,
    tables: &mut Tables<'_>,
    batch: &Batch<'_>,
) -> Result<(), StoreError> {
    let row = AnswerV1 {
        status: answer.status,
        body: answer.body.to_vec(),
        created: batch.now,
    };
    let cipher = &batch.inner.cipher;
    let sealed = cipher.seal("idempotency", hash, &encode(&row));
    let old = match tables.idempotency.insert(hash, sealed.as_slice())? {
        Some(old) => Some(decode::<AnswerV1>(&cipher.open(
            "idempotency",
            hash,
            old.value(),
        )?)?),
        None => None,
    };
    // An answer that had had its time: its end must not end the new one.
    if let Some(old) = old {
        tables
            .idempotency_ends
            .remove(&answer_end(old.created, hash))?;
    }
    tables
        .idempotency_ends
        .insert(&answer_end(batch.now, hash), &[] as &[u8])?;
    Ok(())
}

/// The key of `idempotency_ends` for an answer of `created`.
pub(super) fn answer_end(created: Timestamp, hash: &[u8; 32]) -> [u8; 40] {
    let mut end = [0; 40];
    end[..8].copy_from_slice(&created.plus(IDEMPOTENCY_KEPT).0.to_be_bytes());
    end[8..].copy_from_slice(hash);
    end
}

/// What waits to be written.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    wake: Condvar,
    stopwatch: Stopwatch,
}

#[derive(Default)]
struct QueueState {
    urgent: VecDeque<Box<dyn Job>>,
    urgent_bytes: usize,
    lazy: VecDeque<Box<dyn Job>>,
    /// Since when the oldest of `lazy` waits, on a clock that never steps.
    lazy_since: Option<Duration>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands in a request's operation.
    pub(super) fn submit<O: Operation>(
        &self,
        operation: O,
        idempotent: Option<Idempotent<O::Answer>>,
        reply: Reply<O::Answer>,
    ) {
        let weight = operation.weight();
        let mut state = self.lock();
        let full =
            state.urgent.len() >= QUEUE_JOBS_MAX || state.urgent_bytes + weight > QUEUE_BYTES_MAX;
        if full || state.closed {
            drop(state);
            let error = if full { StoreError::Busy } else { closed() };
            return reply(Err(error.into()));
        }
        state.urgent_bytes += weight;
        state.urgent.push_back(Box::new(Queued {
            operation: Some(operation),
            idempotent,
            result: None,
            reply,
        }));
        drop(state);
        self.wake.notify_one();
    }

    /// Hands in what may wait a little for company. Its number is bounded by
    /// whoever calls: there are only so many attempts in flight.
    pub(super) fn submit_lazy<O: Operation>(&self, operation: O, reply: Reply<O::Answer>) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return reply(Err(closed().into()));
        }
        state.lazy.push_back(Box::new(Queued {
            operation: Some(operation),
            idempotent: None,
            result: None,
            reply,
        }));
        let first = state.lazy.len() == 1 || state.lazy.len() == LAZY_ENOUGH;
        state
            .lazy_since
            .get_or_insert_with(|| self.stopwatch.elapsed());
        drop(state);
        if first {
            self.wake.notify_one();
        }
    }

    /// Takes nothing more; what waits is still written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }

    /// Waits for work. `None` when closed and empty.
    ///
    /// Results of attempts ride along only when one of them has waited its
    /// time, or there are enough: so what they touch is written once for many.
    fn take(&self) -> Option<Vec<Box<dyn Job>>> {
        let mut state = self.lock();
        loop {
            let ripe = state.lazy_is_ripe(self.stopwatch.elapsed());
            if !state.urgent.is_empty() || ripe {
                return Some(state.drain(ripe));
            }
            state = match state.lazy_since {
                None if state.closed => return None,
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(since) => {
                    let left = (since + LAZY_LINGER).saturating_sub(self.stopwatch.elapsed());
                    let waited = self.wake.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// What waits now, without waiting.
    fn take_now(&self) -> Vec<Box<dyn Job>> {
        self.lock().drain(true)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

impl QueueState {
    fn lazy_is_ripe(&self, now: Duration) -> bool {
        let waited = |since: Duration| now.saturating_sub(since) >= LAZY_LINGER;
        self.lazy.len() >= LAZY_ENOUGH
            || self
                .lazy_since
                .is_some_and(|since| waited(since) || self.closed)
    }

    fn drain(&mut self, lazy_too: bool) -> Vec<Box<dyn Job>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_JOBS_MAX && bytes < BATCH_BYTES_MAX {
            let Some(job) = self.urgent.pop_front() else {
                break;
            };
            bytes += job.weight();
            batch.push(job);
        }
        self.urgent_bytes -= bytes;
        while lazy_too && batch.len() < BATCH_JOBS_MAX {
            let Some(job) = self.lazy.pop_front() else {
                break;
            };
            batch.push(job);
        }
        if self.lazy.is_empty() {
            self.lazy_since = None;
        }
        batch
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is being closed".to_owned())
}

/// The writer's own memory: what the last commit left.
#[derive(Clone, Copy)]
pub(super) struct WriterState {
    pub sequence: KeySequence,
    pub totals: TotalsV1,
    pub rolled_up: RolledUp,
}

/// Runs until the queue is closed and empty. Ends the process on a panic:
/// what a half-applied transaction would leave cannot be trusted.
pub(super) fn run(inner: &Arc<Inner>) {
    let work = std::panic::AssertUnwindSafe(|| {
        while let Some(jobs) = inner.queue.take() {
            process(inner, jobs);
        }
    });
    if std::panic::catch_unwind(work).is_err() {
        tracing::error!(
            "the writer panicked; ending the process so that nothing half-done is built upon"
        );
        std::process::abort();
    }
}

/// Writes what waits, if anything does. For a store without a writer thread.
pub(super) fn pump(inner: &Arc<Inner>) -> bool {
    let jobs = inner.queue.take_now();
    let some = !jobs.is_empty();
    if some {
        process(inner, jobs);
    }
    some
}

/// Answers everybody who waits with `error`: nothing is written now.
pub(super) fn turn_away(inner: &Inner, error: &StoreError) {
    loop {
        let jobs = inner.queue.take_now();
        if jobs.is_empty() {
            return;
        }
        for job in jobs {
            job.finish(Some(error));
        }
    }
}

fn process(inner: &Arc<Inner>, mut jobs: Vec<Box<dyn Job>>) {
    match commit(inner, &mut jobs) {
        Ok(changes) => {
            // Whoever erased something is answered when nothing in memory can
            // send it any more; all others as soon as it is on disk.
            let tells_first = changes
                .iter()
                .any(|change| matches!(change, Change::Cancelled { .. }));
            if tells_first {
                inner.tell(&changes);
            }
            for job in jobs {
                job.finish(None);
            }
            if !tells_first {
                inner.tell(&changes);
            }
        }
        Err(error) => {
            tracing::error!(%error, jobs = jobs.len(), "a commit failed; its operations are answered as unknown");
            for job in jobs {
                job.finish(Some(&error));
            }
            inner.reopen();
            inner.tell(&[Change::Reopened]);
        }
    }
}

fn commit(inner: &Inner, jobs: &mut Vec<Box<dyn Job>>) -> Result<Vec<Change>, StoreError> {
    let database = inner.database()?;
    let before = inner.writer_state();
    let txn = inner.begin_write(&database)?;
    let (changes, overlay, seen, after) = {
        let mut tables = Tables::open(&txn)?;
        let mut batch = Batch {
            inner,
            now: inner.clock.now(),
            totals: before.totals,
            overlay: Overlay::default(),
            tally: Tally::new(before.rolled_up),
            sources: SourceTally::default(),
            seen: SeenChange::default(),
            answer: None,
            sequence: before.sequence,
            changes: Vec::new(),
            wrote: false,
        };
        for job in jobs.iter_mut() {
            job.run(&mut tables, &mut batch)?;
        }
        if !batch.wrote {
            drop(tables);
            drop(txn);
            return Ok(Vec::new());
        }
        batch.flush(&mut tables)?;
        let after = WriterState {
            sequence: batch.sequence,
            totals: batch.totals,
            rolled_up: batch.tally.rolled_up,
        };
        (batch.changes, batch.overlay, batch.seen, after)
    };
    if mutant::active(Mutant::AnswerBeforeCommit) {
        for job in jobs.drain(..) {
            job.finish(None);
        }
    }
    txn.commit()?;
    inner.set_writer_state(after);
    seen.settle(&mut inner.seen());
    inner.catalog.commit(overlay);
    Ok(changes)
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::Unavailable(error.to_string())
            }
        }
    )*};
}
from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::SetDurabilityError,
    redb::Error
);

/// Removes a waiting delivery's row, if it is there.
pub(super) fn remove_due(
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
    endpoint: EndpointKey,
    due: Timestamp,
    message: MessageKey,
) -> Result<(), StoreError> {
    let key = tables::triple(endpoint.as_u64(), due.0, message.as_u64());
    if tables.due.remove(&key)?.is_some() {
        batch.totals.waiting -= 1;
    }
    Ok(())
}

/// Adds a waiting delivery's row.
pub(super) fn insert_due(
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
    endpoint: EndpointKey,
    due: Timestamp,
    message: MessageKey,
    trigger: Trigger,
) -> Result<(), StoreError> {
    let key = tables::triple(endpoint.as_u64(), due.0, message.as_u64());
    let value: &[u8] = match trigger {
        Trigger::Scheduled => &[0],
        Trigger::Manual => &[1],
    };
    if tables.due.insert(&key, value)?.is_none() {
        batch.totals.waiting += 1;
    }
    Ok(())
}

/// What a row of the due table says.
pub(super) fn read_due(
    key: &[u8; 24],
    value: &[u8],
) -> (EndpointKey, Timestamp, MessageKey, Trigger) {
    let trigger = if value == [1] {
        Trigger::Manual
    } else {
        Trigger::Scheduled
    };
    (
        EndpointKey::from_u64(part(key, 0)),
        Timestamp(part(key, 1)),
        MessageKey::from_u64(part(key, 2)),
        trigger,
    )
}

/// Listeners, told after each commit.
pub(super) type Listeners = Mutex<Vec<Box<dyn Fn(&[Change]) + Send>>>;

/// Waiting for a reply, from async code.
pub(super) fn reply_channel<A: Send + 'static>() -> (
    Reply<A>,
    tokio::sync::oneshot::Receiver<Result<Written<A>, WriteError>>,
) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let reply = Box::new(move |result| {
        // The caller may have gone away; the write stands all the same.
        let _ = sender.send(result);
    });
    (reply, receiver)
}
