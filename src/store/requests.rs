//! Requests: made before they are sent, and answered once.

use redb::ReadableTable as _;

use super::codec::{decode, encode};
use super::endpoints::found;
use super::rows::RequestV1;
use super::tables::{
    APPLICATION_REQUESTS, CLIENT_IDS, REQUEST_ANSWERS, REQUESTS, Tables, pair, second,
};
use super::writer::{Batch, Change, Idempotent, Operation, Refusal, WriteError, Written};
use super::{Store, StoreError};
use crate::domain::ids::{
    ApplicationKey, EndpointKey, EnvironmentKey, JobKey, Key, RequestKey, first_key_at,
};
use crate::domain::principal::Scope;
use crate::domain::request::{
    LINK_LIFE, NOTED_MAX, RefusedAnswer, Request, RequestState, Try, takes_requests,
};
use crate::domain::time::Timestamp;

/// Rows that a list of all applications looks at before it answers with what it
/// has.
const ROWS_LOOKED_MAX: usize = 500;

/// Rows that one step forgets.
const STEP_ROWS: usize = 500;

/// A question that has no key yet.
#[derive(Clone, Debug)]
pub struct NewRequest {
    pub application: ApplicationKey,
    pub endpoint: EndpointKey,
    pub question: String,
    /// A JSON object.
    pub inputs: String,
    pub timeout: std::time::Duration,
}

/// What became of the POST of a question.
#[derive(Clone, Debug)]
pub enum Step {
    /// The answer: JSON, and the hash of the body it came in.
    Answered {
        data: String,
        body_hash: [u8; 32],
    },
    /// It will come to the link.
    HandedOver,
    Failed(String),
    /// It is tried again.
    Again,
}

impl Store {
    /// Makes a request. When this returns, it is on disk.
    pub async fn create_request(
        &self,
        scope: Scope,
        new: NewRequest,
        idempotent: Option<Idempotent<Request>>,
    ) -> Result<Written<Request>, WriteError> {
        self.write(Create { scope, new }, idempotent).await
    }

    /// Notes a try, and what came of it. An answered request stays as it is.
    pub async fn note_try(
        &self,
        key: RequestKey,
        tried: Try,
        step: Step,
    ) -> Result<Request, WriteError> {
        self.write_once(Note { key, tried, step }).await
    }

    /// Takes an answer that came to the link.
    ///
    /// # Errors
    /// [`Refusal::AnsweredOtherwise`], [`Refusal::LinkEnded`],
    /// [`Refusal::NoRequest`].
    pub async fn answer_request(
        &self,
        key: RequestKey,
        data: String,
        body_hash: [u8; 32],
    ) -> Result<Request, WriteError> {
        self.write_once(Answer {
            key,
            data,
            body_hash,
        })
        .await
    }

    /// Notes what came to the link and was no answer.
    pub async fn note_refused(
        &self,
        key: RequestKey,
        refused: RefusedAnswer,
    ) -> Result<(), WriteError> {
        self.write_once(NoteRefused { key, refused }).await
    }

    /// Forgets requests made before `before`, a step at a time. Answers how
    /// many it took.
    pub async fn forget_requests(&self, before: Timestamp) -> Result<usize, WriteError> {
        self.write_once(Forget { before }).await
    }

    /// A request of any application.
    pub fn request(&self, key: RequestKey) -> Result<Option<Request>, StoreError> {
        self.read(|txn| {
            let row = txn.open_table(REQUESTS)?.get(&key.as_u64().to_be_bytes())?;
            let row = row.map(|row| decode::<RequestV1>(row.value()));
            Ok(row.transpose()?.map(|row| row.into_domain(key)))
        })
    }

    /// A request of this application.
    pub fn request_of(
        &self,
        application: ApplicationKey,
        key: RequestKey,
    ) -> Result<Option<Request>, StoreError> {
        let request = self.request(key)?;
        Ok(request.filter(|request| request.application == application))
    }

    /// The data of an answered request.
    pub fn request_answer(&self, key: RequestKey) -> Result<Option<String>, StoreError> {
        self.read(|txn| {
            let row = txn
                .open_table(REQUEST_ANSWERS)?
                .get(&key.as_u64().to_be_bytes())?;
            Ok(row.map(|row| String::from_utf8_lossy(row.value()).into_owned()))
        })
    }

    /// Requests of an application, newest first, older than `before`.
    pub fn list_requests(
        &self,
        application: ApplicationKey,
        before: Option<RequestKey>,
        take: usize,
    ) -> Result<Vec<Request>, StoreError> {
        let start = pair(application.as_u64(), 0);
        let end = pair(application.as_u64(), before.map_or(u64::MAX, Key::as_u64));
        self.read(|txn| {
            let listed = txn.open_table(APPLICATION_REQUESTS)?;
            let requests = txn.open_table(REQUESTS)?;
            let rows = listed.range::<&[u8; 16]>(&start..&end)?.rev().take(take);
            rows.map(|row| {
                let key = RequestKey::from_u64(second(row?.0.value()));
                let row = requests.get(&key.as_u64().to_be_bytes())?;
                let row =
                    row.ok_or(StoreError::Corrupt("a request is listed that is not there"))?;
                Ok(decode::<RequestV1>(row.value())?.into_domain(key))
            })
            .collect()
        })
    }

    /// Requests to any application of an environment, newest first, older than
    /// `before`. With where the next page begins, when there may be one.
    pub fn list_all_requests(
        &self,
        environment: EnvironmentKey,
        before: Option<RequestKey>,
        take: usize,
    ) -> Result<(Vec<Request>, Option<RequestKey>), StoreError> {
        let end = before.map_or(u64::MAX, Key::as_u64).to_be_bytes();
        self.read(|txn| {
            let table = txn.open_table(REQUESTS)?;
            let (mut page, mut last) = (Vec::new(), None);
            for (looked, row) in table.range::<&[u8; 8]>(..&end)?.rev().enumerate() {
                if page.len() == take || looked == ROWS_LOOKED_MAX {
                    return Ok((page, last));
                }
                let (key, value) = row?;
                let key = RequestKey::from_u64(u64::from_be_bytes(*key.value()));
                let request = decode::<RequestV1>(value.value())?.into_domain(key);
                last = Some(key);
                let entry = self.application(request.application)?;
                if entry.is_some_and(|entry| entry.application.environment == environment) {
                    page.push(request);
                }
            }
            Ok((page, None))
        })
    }

    /// Requests whose question is to be sent: after a start.
    pub fn requests_to_ask(&self, now: Timestamp) -> Result<Vec<Request>, StoreError> {
        let since = Timestamp(
            now.0
                .saturating_sub(u64::try_from(LINK_LIFE.as_millis()).unwrap_or(u64::MAX)),
        );
        let first: RequestKey = first_key_at(since);
        self.read(|txn| {
            let table = txn.open_table(REQUESTS)?;
            let mut wanted = Vec::new();
            for row in table.range::<&[u8; 8]>(&first.as_u64().to_be_bytes()..)? {
                let (key, value) = row?;
                let key = RequestKey::from_u64(u64::from_be_bytes(*key.value()));
                let request = decode::<RequestV1>(value.value())?.into_domain(key);
                if request.is_to_be_asked(now) {
                    wanted.push(request);
                }
            }
            Ok(wanted)
        })
    }

    /// The endpoint of this client id.
    pub fn endpoint_of_client(&self, client_id: &str) -> Result<Option<EndpointKey>, StoreError> {
        self.read(|txn| {
            let table = txn.open_table(CLIENT_IDS)?;
            let row = table.get(client_id.as_bytes())?;
            Ok(row.map(|key| EndpointKey::from_u64(u64::from_be_bytes(*key.value()))))
        })
    }
}

fn read(key: RequestKey, tables: &Tables<'_>) -> Result<Result<Request, Refusal>, StoreError> {
    let row = tables.requests.get(&key.as_u64().to_be_bytes())?;
    let row = row
        .map(|row| decode::<RequestV1>(row.value()))
        .transpose()?;
    Ok(row
        .map(|row| row.into_domain(key))
        .ok_or(Refusal::NoRequest))
}

fn write(request: &Request, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let row = encode(&RequestV1::from(request));
    let key = request.key.as_u64().to_be_bytes();
    tables.requests.insert(&key, row.as_slice())?;
    Ok(())
}

fn keep_answer(
    request: &mut Request,
    (data, body_hash, by_link): (&str, [u8; 32], bool),
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    request.state = RequestState::Answered {
        at: batch.now,
        by_link,
        body_hash,
    };
    let key = request.key.as_u64().to_be_bytes();
    tables.request_answers.insert(&key, data.as_bytes())?;
    Ok(())
}

struct Create {
    scope: Scope,
    new: NewRequest,
}

impl Operation for Create {
    type Plan = ();
    type Answer = Request;

    fn weight(&self) -> usize {
        self.new.inputs.len()
    }

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let (application, endpoint) = (self.new.application, self.new.endpoint);
        let live = match found(self.scope, application, endpoint, tables, batch)? {
            Ok((_, live)) => live,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(if !takes_requests(&live.settings) {
            Err(Refusal::NoRequestEndpoint)
        } else if !live.is_open() {
            Err(Refusal::EndpointDisabled)
        } else {
            Ok(())
        })
    }

    fn apply(
        self,
        (): (),
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Request, StoreError> {
        let request = Request {
            key: batch.key(),
            application: self.new.application,
            endpoint: self.new.endpoint,
            question: self.new.question,
            inputs: self.new.inputs,
            created: batch.now,
            deadline: batch.now.plus(self.new.timeout),
            state: RequestState::Pending { handed_over: false },
            tries: Vec::new(),
            refused: Vec::new(),
        };
        write(&request, tables)?;
        let listed = pair(request.application.as_u64(), request.key.as_u64());
        tables.application_requests.insert(&listed, &[] as &[u8])?;
        batch.tell(Change::Asked(Box::new(request.clone())));
        Ok(request)
    }
}

struct Note {
    key: RequestKey,
    tried: Try,
    step: Step,
}

impl Operation for Note {
    type Plan = Request;
    type Answer = Request;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<Request, Refusal>, StoreError> {
        read(self.key, tables)
    }

    fn apply(
        self,
        mut request: Request,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Request, StoreError> {
        if request.tries.len() == NOTED_MAX {
            request.tries.remove(NOTED_MAX / 2);
        }
        request.tries.push(self.tried);
        // What came to the link meanwhile stays.
        if matches!(request.state, RequestState::Pending { .. }) {
            match self.step {
                Step::Answered { data, body_hash } => {
                    keep_answer(&mut request, (&data, body_hash, false), tables, batch)?;
                }
                Step::HandedOver => request.state = RequestState::Pending { handed_over: true },
                Step::Failed(reason) => {
                    request.state = RequestState::Failed {
                        at: batch.now,
                        reason,
                    };
                }
                Step::Again => {}
            }
        }
        write(&request, tables)?;
        batch.tell(Change::Request(self.key));
        Ok(request)
    }
}

struct Answer {
    key: RequestKey,
    data: String,
    body_hash: [u8; 32],
}

impl Operation for Answer {
    /// `None`: the same answer came before.
    type Plan = (Request, bool);
    type Answer = Request;

    fn weight(&self) -> usize {
        self.data.len()
    }

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let request = match read(self.key, tables)? {
            Ok(request) => request,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if batch.now >= request.link_ends() {
            return Ok(Err(Refusal::LinkEnded));
        }
        Ok(match &request.state {
            RequestState::Answered { body_hash, .. } if *body_hash == self.body_hash => {
                Ok((request, true))
            }
            RequestState::Answered { .. } => Err(Refusal::AnsweredOtherwise),
            RequestState::Pending { .. } | RequestState::Failed { .. } => Ok((request, false)),
        })
    }

    fn apply(
        self,
        (mut request, same): Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Request, StoreError> {
        if !same {
            let answer = (self.data.as_str(), self.body_hash, true);
            keep_answer(&mut request, answer, tables, batch)?;
            write(&request, tables)?;
            batch.tell(Change::Request(self.key));
        }
        Ok(request)
    }
}

struct NoteRefused {
    key: RequestKey,
    refused: RefusedAnswer,
}

impl Operation for NoteRefused {
    type Plan = Request;
    type Answer = ();

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<Request, Refusal>, StoreError> {
        Ok(match read(self.key, tables)? {
            Ok(request) if request.refused.len() >= NOTED_MAX => Err(Refusal::NoRequest),
            other => other,
        })
    }

    fn apply(
        self,
        mut request: Request,
        tables: &mut Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<(), StoreError> {
        request.refused.push(self.refused);
        write(&request, tables)
    }
}

struct Forget {
    before: Timestamp,
}

impl Operation for Forget {
    type Plan = Vec<(u64, u64)>;
    type Answer = usize;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let end: RequestKey = first_key_at(self.before);
        let rows = tables
            .requests
            .range::<&[u8; 8]>(..&end.as_u64().to_be_bytes())?;
        let old: Result<Vec<(u64, u64)>, StoreError> = rows
            .take(STEP_ROWS)
            .map(|row| {
                let (key, value) = row?;
                let key = u64::from_be_bytes(*key.value());
                let row = decode::<RequestV1>(value.value())?;
                Ok((row.application.as_u64(), key))
            })
            .collect();
        Ok(Ok(old?))
    }

    fn apply(
        self,
        old: Self::Plan,
        tables: &mut Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<usize, StoreError> {
        for &(application, key) in &old {
            remove(application, key, tables)?;
        }
        Ok(old.len())
    }
}

fn remove(application: u64, key: u64, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    tables.requests.remove(&key.to_be_bytes())?;
    tables.request_answers.remove(&key.to_be_bytes())?;
    tables
        .application_requests
        .remove(&pair(application, key))?;
    Ok(())
}

/// One step of the requests of a deleted application; true when none are left.
pub(super) fn sweep(application: u64, tables: &mut Tables<'_>) -> Result<bool, StoreError> {
    Ok(remove_before(application, u64::MAX, tables)?.len() < STEP_ROWS)
}

/// One step of erasing an application's requests, with inputs and answers, made
/// before `job`; true when none are left. Whoever waits for one is told.
pub(super) fn erase(
    application: ApplicationKey,
    job: JobKey,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<bool, StoreError> {
    let removed = remove_before(application.as_u64(), job.as_u64(), tables)?;
    for &key in &removed {
        batch.tell(Change::Request(RequestKey::from_u64(key)));
    }
    Ok(removed.len() < STEP_ROWS)
}

/// Removes the first requests of an application that have a smaller key.
fn remove_before(
    application: u64,
    before: u64,
    tables: &mut Tables<'_>,
) -> Result<Vec<u64>, StoreError> {
    let all = pair(application, 0)..pair(application, before);
    let keys: Result<Vec<u64>, StoreError> = tables
        .application_requests
        .range::<&[u8; 16]>(&all.start..&all.end)?
        .take(STEP_ROWS)
        .map(|row| Ok(second(row?.0.value())))
        .collect();
    let keys = keys?;
    for &key in &keys {
        remove(application, key, tables)?;
    }
    Ok(keys)
}
