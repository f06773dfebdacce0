//! Whether the tables agree with each other.
//!
//! Every commit leaves them in agreement, whatever was interrupted: a problem
//! found here is a mistake of ours, or damage to the file. Reads every row, by
//! look-ups instead of from memory, so that a store of any size can be checked;
//! the snapshot it holds meanwhile makes the file of a busy store grow.

mod accounts;
mod requests;
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable as _};

use super::catalog::endpoint_uid;
use super::cipher::Cipher;
use super::codec::decode;
use super::open::{META_LAST_KEY, META_ROLLED_UP, META_TOTALS};
use super::rows::{
    AnswerV1, ApiKeyV1, ApplicationV1, AttemptV1, AuditV1, DeliveryV1, EndpointSecretsV1,
    EndpointStateV1, EndpointV1, EnvironmentV1, EventTypeTotalsV1, EventTypeV1, InboxV1, JobV1,
    MessageV1, ReceivedV1, SecretHeadersV1, TotalsV1,
};
use super::statistics::{self, RolledUp};
use super::tables::{
    API_KEYS, APPLICATION_ENDPOINTS, APPLICATION_EVENT_TYPES, APPLICATION_JOBS,
    APPLICATION_MESSAGES, APPLICATION_REQUESTS, APPLICATION_UIDS, APPLICATIONS, ATTEMPTS, AUDIT,
    BRANDINGS, CLIENT_IDS, COUNTERS, DELIVERIES, DUE, ENDPOINT_ATTEMPTS, ENDPOINT_STATES,
    ENDPOINT_UIDS, ENDPOINTS, ENVIRONMENT_APPLICATIONS, ENVIRONMENTS, EVENT_TYPE_TOTALS,
    EVENT_TYPES, IDEMPOTENCY, IDEMPOTENCY_ENDS, INBOX_TOKENS, INBOXES, JOBS, KEPT_BODIES,
    KEPT_COUNTS, MESSAGE_UIDS, MESSAGES, META, PAYLOADS, RECEIPTS, RECEIVED, RECORD_HISTORY,
    RECORD_ORDER, RECORDS, REFUSED, REQUEST_ANSWERS, REQUESTS, RUNNING_JOBS, SEEN, SEEN_ORDER,
    SOURCE_HOURS, SOURCE_SLUGS, SOURCES, TOKEN_ENDS, TOKEN_OWNERS, TOKENS, TOMBSTONES, USERS,
    counter, counter_parts, message_uid, number_text, pair, part, text_of, triple,
};
use super::writer::{answer_end, read_due};
use super::{Store, StoreError};
use crate::domain::api_key::ApiKey;
use crate::domain::application::Application;
use crate::domain::attempt::Attempt;
use crate::domain::delivery::{ATTEMPTS_LISTED_MAX, Delivery};
use crate::domain::endpoint::Endpoint;
use crate::domain::environment::Environment;
use crate::domain::event_type::EventType;
use crate::domain::ids::{
    ApplicationKey, AttemptKey, EndpointKey, EnvironmentKey, InboxKey, JobKey, Key, MessageKey,
};
use crate::domain::message::Message;
use crate::domain::principal::Capability;
use crate::domain::relay::Relayed;
use crate::domain::statistics::Resolution;

/// Problems that a report lists; more are only counted.
const PROBLEMS_LISTED_MAX: usize = 100;

/// What [`Store::check`] counted and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub applications: u64,
    /// Deleted ones that old deliveries still show included.
    pub endpoints: u64,
    pub messages: u64,
    pub payload_bytes: u64,
    pub deliveries: u64,
    /// Deliveries among them that wait for an attempt.
    pub waiting: u64,
    pub attempts: u64,
    /// Answers kept for idempotency keys.
    pub answers: u64,
    pub inboxes: u64,
    pub received: u64,
    pub sources: u64,
    /// Of all verdicts.
    pub receipts: u64,
    pub records: u64,
    pub requests: u64,
    pub event_types: u64,
    /// Those that have ended included.
    pub jobs: u64,
    /// What does not agree, in words; no more than a hundred.
    pub problems: Vec<String>,
    /// All problems, those that are not listed included.
    pub problem_count: u64,
}

impl CheckReport {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }
}

impl Store {
    /// Reads every row and compares what the tables say about each other.
    ///
    /// # Errors
    /// When the store is not available or the file cannot be read. What can be
    /// read and is wrong is in the report.
    pub fn check(&self) -> Result<CheckReport, StoreError> {
        self.read(|txn| {
            let tables = Opened::open(txn)?;
            let mut check = Check {
                tables: &tables,
                ids: self.ids(),
                cipher: &self.inner.cipher,
                report: CheckReport::default(),
                greatest_key: 0,
            };
            check.environments()?;
            check.applications()?;
            check.endpoints()?;
            check.messages()?;
            check.deliveries()?;
            check.attempts()?;
            check.answers()?;
            check.inboxes()?;
            check.sources()?;
            check.requests()?;
            check.event_types()?;
            check.jobs()?;
            check.rest()?;
            check.users()?;
            check.tokens()?;
            check.counters()?;
            check.totals()?;
            Ok(check.report)
        })
    }
}

type Rows8 = ReadOnlyTable<&'static [u8; 8], &'static [u8]>;
type Rows16 = ReadOnlyTable<&'static [u8; 16], &'static [u8]>;
type Uids = ReadOnlyTable<&'static [u8], &'static [u8; 8]>;

struct Opened {
    meta: ReadOnlyTable<&'static str, &'static [u8]>,
    environments: Rows8,
    audit: Rows16,
    api_keys: Rows8,
    applications: Rows8,
    environment_applications: Rows16,
    application_uids: Uids,
    endpoints: Rows8,
    application_endpoints: Rows16,
    endpoint_uids: Uids,
    endpoint_states: Rows8,
    messages: Rows8,
    payloads: Rows8,
    application_messages: Rows16,
    message_uids: ReadOnlyTable<&'static [u8], &'static [u8]>,
    deliveries: Rows16,
    due: ReadOnlyTable<&'static [u8; 24], &'static [u8]>,
    attempts: Rows8,
    endpoint_attempts: Rows16,
    idempotency: ReadOnlyTable<&'static [u8; 32], &'static [u8]>,
    idempotency_ends: ReadOnlyTable<&'static [u8; 40], &'static [u8]>,
    inboxes: Rows8,
    inbox_tokens: Uids,
    received: Rows16,
    kept_bodies: Rows16,
    kept_counts: ReadOnlyTable<&'static [u8; 8], &'static [u8; 8]>,
    requests: Rows8,
    request_answers: Rows8,
    application_requests: Rows16,
    client_ids: Uids,
    sources: Rows8,
    source_slugs: Uids,
    receipts: Rows16,
    refused: Rows16,
    seen: ReadOnlyTable<&'static [u8; 24], &'static [u8; 8]>,
    seen_order: ReadOnlyTable<&'static [u8; 8], &'static [u8; 24]>,
    source_hours: Rows16,
    records: ReadOnlyTable<&'static [u8], &'static [u8]>,
    record_order: Rows16,
    record_history: ReadOnlyTable<&'static [u8], &'static [u8]>,
    event_types: ReadOnlyTable<&'static [u8], &'static [u8]>,
    application_event_types: Uids,
    event_type_totals: Rows8,
    jobs: Rows16,
    running_jobs: Rows16,
    application_jobs: ReadOnlyTable<&'static [u8; 16], &'static [u8; 8]>,
    counters: ReadOnlyTable<&'static [u8; 13], &'static [u8]>,
    brandings: Rows8,
    users: Rows8,
    tokens: ReadOnlyTable<&'static [u8; 32], &'static [u8]>,
    token_ends: ReadOnlyTable<&'static [u8; 40], &'static [u8]>,
    token_owners: ReadOnlyTable<&'static [u8; 40], &'static [u8]>,
    tombstones: Rows8,
}

impl Opened {
    fn open(txn: &ReadTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            meta: txn.open_table(META)?,
            environments: txn.open_table(ENVIRONMENTS)?,
            audit: txn.open_table(AUDIT)?,
            api_keys: txn.open_table(API_KEYS)?,
            applications: txn.open_table(APPLICATIONS)?,
            environment_applications: txn.open_table(ENVIRONMENT_APPLICATIONS)?,
            application_uids: txn.open_table(APPLICATION_UIDS)?,
            endpoints: txn.open_table(ENDPOINTS)?,
            application_endpoints: txn.open_table(APPLICATION_ENDPOINTS)?,
            endpoint_uids: txn.open_table(ENDPOINT_UIDS)?,
            endpoint_states: txn.open_table(ENDPOINT_STATES)?,
            messages: txn.open_table(MESSAGES)?,
            payloads: txn.open_table(PAYLOADS)?,
            application_messages: txn.open_table(APPLICATION_MESSAGES)?,
            message_uids: txn.open_table(MESSAGE_UIDS)?,
            deliveries: txn.open_table(DELIVERIES)?,
            due: txn.open_table(DUE)?,
            attempts: txn.open_table(ATTEMPTS)?,
            endpoint_attempts: txn.open_table(ENDPOINT_ATTEMPTS)?,
            idempotency: txn.open_table(IDEMPOTENCY)?,
            idempotency_ends: txn.open_table(IDEMPOTENCY_ENDS)?,
            inboxes: txn.open_table(INBOXES)?,
            inbox_tokens: txn.open_table(INBOX_TOKENS)?,
            received: txn.open_table(RECEIVED)?,
            kept_bodies: txn.open_table(KEPT_BODIES)?,
            kept_counts: txn.open_table(KEPT_COUNTS)?,
            requests: txn.open_table(REQUESTS)?,
            request_answers: txn.open_table(REQUEST_ANSWERS)?,
            application_requests: txn.open_table(APPLICATION_REQUESTS)?,
            client_ids: txn.open_table(CLIENT_IDS)?,
            sources: txn.open_table(SOURCES)?,
            source_slugs: txn.open_table(SOURCE_SLUGS)?,
            receipts: txn.open_table(RECEIPTS)?,
            refused: txn.open_table(REFUSED)?,
            seen: txn.open_table(SEEN)?,
            seen_order: txn.open_table(SEEN_ORDER)?,
            source_hours: txn.open_table(SOURCE_HOURS)?,
            records: txn.open_table(RECORDS)?,
            record_order: txn.open_table(RECORD_ORDER)?,
            record_history: txn.open_table(RECORD_HISTORY)?,
            event_types: txn.open_table(EVENT_TYPES)?,
            application_event_types: txn.open_table(APPLICATION_EVENT_TYPES)?,
            event_type_totals: txn.open_table(EVENT_TYPE_TOTALS)?,
            counters: txn.open_table(COUNTERS)?,
            jobs: txn.open_table(JOBS)?,
            running_jobs: txn.open_table(RUNNING_JOBS)?,
            application_jobs: txn.open_table(APPLICATION_JOBS)?,
            brandings: txn.open_table(BRANDINGS)?,
            users: txn.open_table(USERS)?,
            tokens: txn.open_table(TOKENS)?,
            token_ends: txn.open_table(TOKEN_ENDS)?,
            token_owners: txn.open_table(TOKEN_OWNERS)?,
            tombstones: txn.open_table(TOMBSTONES)?,
        })
    }
}

struct Check<'a> {
    tables: &'a Opened,
    ids: &'a crate::domain::ids::Ids,
    cipher: &'a Cipher,
    report: CheckReport,
    greatest_key: u64,
}

fn number(key: [u8; 8]) -> u64 {
    u64::from_be_bytes(key)
}

impl Check<'_> {
    fn problem(&mut self, words: String) {
        self.report.problem_count += 1;
        if self.report.problems.len() < PROBLEMS_LISTED_MAX {
            self.report.problems.push(words);
        }
    }

    /// A problem, unless `holds`.
    fn expect(&mut self, holds: bool, words: impl FnOnce(&Self) -> String) {
        if !holds {
            let words = words(self);
            self.problem(words);
        }
    }

    fn saw(&mut self, key: u64) {
        self.greatest_key = self.greatest_key.max(key);
    }

    fn text<K: Key>(&self, key: u64) -> String {
        self.ids.text(K::from_u64(key))
    }

    /// A row that decodes; else a problem and `None`.
    fn readable<T>(&mut self, row: Result<T, StoreError>, what: &str) -> Option<T> {
        match row {
            Ok(row) => Some(row),
            Err(error) => {
                self.problem(format!("{what} cannot be read: {error}"));
                None
            }
        }
    }

    fn environment(&self, key: u64) -> Result<Option<Environment>, StoreError> {
        let row = self.tables.environments.get(&key.to_be_bytes())?;
        let row = row.and_then(|row| decode::<EnvironmentV1>(row.value()).ok());
        Ok(row.map(|row| row.into_domain(EnvironmentKey::from_u64(key))))
    }

    fn application(&self, key: u64) -> Result<Option<Application>, StoreError> {
        let row = self.tables.applications.get(&key.to_be_bytes())?;
        let row = row.and_then(|row| decode::<ApplicationV1>(row.value()).ok());
        Ok(row.map(|row| row.into_domain(ApplicationKey::from_u64(key))))
    }

    fn message(&self, key: u64) -> Result<Option<Message>, StoreError> {
        let row = self.tables.messages.get(&key.to_be_bytes())?;
        let row = row.and_then(|row| decode::<MessageV1>(row.value()).ok());
        Ok(row.map(|row| row.into_domain(MessageKey::from_u64(key))))
    }

    /// The row alone: opening the sealed part of each would take most of the time.
    fn endpoint(&self, key: u64) -> Result<Option<EndpointV1>, StoreError> {
        let row = self.tables.endpoints.get(&key.to_be_bytes())?;
        Ok(row.and_then(|row| decode(row.value()).ok()))
    }

    fn open_endpoint(&self, key: u64, bytes: &[u8]) -> Result<Endpoint, StoreError> {
        let row: EndpointV1 = decode(bytes)?;
        let sealed = self
            .cipher
            .open("endpoints", &key.to_be_bytes(), &row.sealed)?;
        row.into_domain(
            EndpointKey::from_u64(key),
            decode::<EndpointSecretsV1>(&sealed)?,
        )
    }

    fn is_swept(&self, key: u64) -> Result<bool, StoreError> {
        Ok(self.tables.tombstones.get(&key.to_be_bytes())?.is_some())
    }

    /// Whether an application is there, or what is left of it is being swept.
    fn is_known(&self, application: u64) -> Result<bool, StoreError> {
        let there = self
            .tables
            .applications
            .get(&application.to_be_bytes())?
            .is_some();
        Ok(there || self.is_swept(application)?)
    }

    /// Whether an environment is there, or what is left of it is being swept.
    fn is_known_environment(&self, environment: u64) -> Result<bool, StoreError> {
        let row = self.tables.environments.get(&environment.to_be_bytes())?;
        Ok(row.is_some() || self.is_swept(environment)?)
    }

    fn environments(&mut self) -> Result<(), StoreError> {
        let mut names = BTreeSet::new();
        for row in self.tables.environments.iter()? {
            let (key, value) = row?;
            let key = number(*key.value());
            self.saw(key);
            let id = self.text::<EnvironmentKey>(key);
            let row = decode::<EnvironmentV1>(value.value());
            let Some(row) = self.readable(row, &format!("environment {id}")) else {
                continue;
            };
            let environment = row.into_domain(EnvironmentKey::from_u64(key));
            let built_in = self.application(environment.operational.as_u64())?;
            self.expect(built_in.is_some(), |_| {
                format!("environment {id} has no built-in application")
            });
            let swept = self.is_swept(key)?;
            self.expect(!swept, |_| format!("environment {id} is there and deleted"));
            let new = names.insert(environment.name);
            self.expect(new, |_| format!("environment {id} has the name of another"));
        }
        for row in self.tables.audit.iter()? {
            let (key, value) = row?;
            self.saw(part(key.value(), 1));
            self.readable(
                decode::<AuditV1>(value.value()),
                "an entry of the audit log",
            );
            let known = self.is_known_environment(part(key.value(), 0))?;
            self.expect(known, |_| {
                "an entry of the audit log is of an unknown environment".to_owned()
            });
        }
        Ok(())
    }

    fn applications(&mut self) -> Result<(), StoreError> {
        for row in self.tables.applications.iter()? {
            let (key, value) = row?;
            let key = number(*key.value());
            self.report.applications += 1;
            self.saw(key);
            let id = self.text::<ApplicationKey>(key);
            let Some(row) = self.readable(
                decode::<ApplicationV1>(value.value()),
                &format!("application {id}"),
            ) else {
                continue;
            };
            let application = row.into_domain(ApplicationKey::from_u64(key));
            let environment = application.environment.as_u64();
            let listed = self
                .tables
                .environment_applications
                .get(&pair(environment, key))?
                .is_some();
            let owner = self.environment(environment)?;
            let built_in = owner
                .as_ref()
                .is_some_and(|of| of.operational == application.key);
            // Of a deleted environment nothing says which one was built in.
            self.expect(listed != built_in || owner.is_none(), |_| {
                format!("application {id} is not listed in its environment as it is")
            });
            let known = self.is_known_environment(environment)?;
            self.expect(known, |_| {
                format!("application {id} is of an unknown environment")
            });
            if let Some(uid) = &application.uid {
                let holder = self
                    .tables
                    .application_uids
                    .get(number_text(environment, uid).as_slice())?
                    .map(|row| number(*row.value()));
                self.expect(holder == Some(key), |_| {
                    format!("application {id} is not found by its uid")
                });
            }
            let swept = self.is_swept(key)?;
            self.expect(!swept, |_| format!("application {id} is there and deleted"));
        }
        for row in self.tables.environment_applications.iter()? {
            let (key, _) = row?;
            let (environment, key) = (part(key.value(), 0), part(key.value(), 1));
            let application = self.application(key)?;
            let agrees = application.is_some_and(|found| found.environment.as_u64() == environment);
            self.expect(agrees, |check| {
                let id = check.text::<ApplicationKey>(key);
                format!("an environment lists application {id}, which is not there")
            });
        }
        for row in self.tables.application_uids.iter()? {
            let (uid, holder) = row?;
            let holder = number(*holder.value());
            let application = self.application(holder)?;
            let agrees = application.is_some_and(|found| {
                found
                    .uid
                    .is_some_and(|own| number_text(found.environment.as_u64(), &own) == uid.value())
            });
            self.expect(agrees, |check| {
                let id = check.text::<ApplicationKey>(holder);
                format!("a uid leads to application {id}, which does not have it")
            });
        }
        Ok(())
    }

    fn endpoints(&mut self) -> Result<(), StoreError> {
        for row in self.tables.endpoints.iter()? {
            let (key, value) = row?;
            let key = number(*key.value());
            self.report.endpoints += 1;
            self.saw(key);
            let id = self.text::<EndpointKey>(key);
            let opened = self.open_endpoint(key, value.value());
            let Some(endpoint) = self.readable(opened, &format!("endpoint {id}")) else {
                continue;
            };
            self.one_endpoint(&id, &endpoint)?;
        }
        for row in self.tables.application_endpoints.iter()? {
            let (key, _) = row?;
            let (application, key) = (part(key.value(), 0), part(key.value(), 1));
            let endpoint = self.endpoint(key)?;
            let agrees = endpoint.is_some_and(|found| found.application.as_u64() == application);
            self.expect(agrees, |check| {
                let id = check.text::<EndpointKey>(key);
                format!("an application lists endpoint {id}, which is not there")
            });
        }
        for row in self.tables.endpoint_uids.iter()? {
            let (uid, holder) = row?;
            let holder = number(*holder.value());
            // These go last when an application is swept.
            if self.is_swept(part(uid.value(), 0))? {
                continue;
            }
            let endpoint = self.endpoint(holder)?;
            let agrees = endpoint.is_some_and(|found| {
                found.deleted.is_none()
                    && found
                        .uid
                        .is_some_and(|own| endpoint_uid(found.application, &own) == uid.value())
            });
            self.expect(agrees, |check| {
                let id = check.text::<EndpointKey>(holder);
                format!("a uid leads to endpoint {id}, which does not have it")
            });
        }
        for row in self.tables.endpoint_states.iter()? {
            let (key, value) = row?;
            let key = number(*key.value());
            let id = self.text::<EndpointKey>(key);
            self.readable(
                decode::<EndpointStateV1>(value.value()),
                &format!("the state of endpoint {id}"),
            );
            let there = self.tables.endpoints.get(&key.to_be_bytes())?.is_some();
            self.expect(there, |_| {
                format!("there is a state of endpoint {id}, which is not there")
            });
        }
        Ok(())
    }

    fn one_endpoint(&mut self, id: &str, endpoint: &Endpoint) -> Result<(), StoreError> {
        let (application, key) = (endpoint.application.as_u64(), endpoint.key.as_u64());
        let known = self.is_known(application)?;
        self.expect(known, |_| {
            format!("endpoint {id} is of an application that is not there")
        });
        let listed = self
            .tables
            .application_endpoints
            .get(&pair(application, key))?
            .map(|row| row.value().is_empty());
        self.expect(listed == Some(endpoint.deleted.is_none()), |_| {
            format!("endpoint {id} is not listed in its application as it is")
        });
        if endpoint.deleted.is_some() {
            let bare = endpoint.secrets.is_empty() && endpoint.headers.is_empty();
            self.expect(bare, |_| {
                format!("endpoint {id} is deleted and keeps its secrets")
            });
            return Ok(());
        }
        let newest = endpoint.secrets.first();
        let signs = newest.is_some_and(|newest| newest.expires.is_none());
        self.expect(signs, |_| {
            format!("endpoint {id} has no secret that goes on signing")
        });
        if let Some(uid) = &endpoint.uid {
            let holder = self
                .tables
                .endpoint_uids
                .get(endpoint_uid(endpoint.application, uid).as_slice())?
                .map(|row| number(*row.value()));
            self.expect(holder == Some(key), |_| {
                format!("endpoint {id} is not found by its uid")
            });
        }
        Ok(())
    }

    fn messages(&mut self) -> Result<(), StoreError> {
        for row in self.tables.messages.iter()? {
            let (key, value) = row?;
            let key = number(*key.value());
            self.report.messages += 1;
            self.saw(key);
            let id = self.text::<MessageKey>(key);
            let Some(row) =
                self.readable(decode::<MessageV1>(value.value()), &format!("message {id}"))
            else {
                continue;
            };
            let message = row.into_domain(MessageKey::from_u64(key));
            let application = message.application.as_u64();
            let known = self.is_known(application)?;
            self.expect(known, |_| {
                format!("message {id} is of an application that is not there")
            });
            let listed = self
                .tables
                .application_messages
                .get(&pair(application, key))?
                .is_some();
            self.expect(listed, |_| {
                format!("message {id} is not listed in its application")
            });
            if let Some(uid) = &message.uid {
                let found = self
                    .tables
                    .message_uids
                    .get(message_uid(application, uid, key).as_slice())?
                    .is_some();
                self.expect(found, |_| format!("message {id} is not found by its uid"));
            }
        }
        for row in self.tables.payloads.iter()? {
            let (key, value) = row?;
            self.report.payload_bytes += value.value().len() as u64;
            let there = self.tables.messages.get(key.value())?.is_some();
            let key = number(*key.value());
            self.expect(there, |check| {
                let id = check.text::<MessageKey>(key);
                format!("there is a payload of message {id}, which is not there")
            });
        }
        for row in self.tables.application_messages.iter()? {
            let (key, _) = row?;
            let (application, key) = (part(key.value(), 0), part(key.value(), 1));
            let message = self.message(key)?;
            let agrees = message.is_some_and(|found| found.application.as_u64() == application);
            self.expect(agrees, |check| {
                let id = check.text::<MessageKey>(key);
                format!("an application lists message {id}, which is not there")
            });
        }
        for row in self.tables.message_uids.iter()? {
            let (uid, _) = row?;
            let uid = uid.value();
            let key = uid.last_chunk().map_or(0, |key| number(*key));
            let message = self.message(key)?;
            let agrees = message.is_some_and(|found| {
                found
                    .uid
                    .is_some_and(|own| message_uid(found.application.as_u64(), &own, key) == uid)
            });
            self.expect(agrees, |check| {
                let id = check.text::<MessageKey>(key);
                format!("a uid leads to message {id}, which does not have it")
            });
        }
        Ok(())
    }

    fn deliveries(&mut self) -> Result<(), StoreError> {
        for row in self.tables.deliveries.iter()? {
            let (key, value) = row?;
            let (message, endpoint) = (part(key.value(), 0), part(key.value(), 1));
            self.report.deliveries += 1;
            let id = self.delivery_text(message, endpoint);
            let Some(row) = self.readable(
                decode::<DeliveryV1>(value.value()),
                &format!("delivery {id}"),
            ) else {
                continue;
            };
            self.one_delivery(&id, message, endpoint, &row.into())?;
        }
        for row in self.tables.due.iter()? {
            let (key, value) = row?;
            let (endpoint, due, message, trigger) = read_due(key.value(), value.value());
            let row = self
                .tables
                .deliveries
                .get(&pair(message.as_u64(), endpoint.as_u64()))?;
            let delivery = row.and_then(|row| decode::<DeliveryV1>(row.value()).ok());
            let agrees =
                delivery.is_some_and(|row| Delivery::from(row).waiting() == Some((due, trigger)));
            self.expect(agrees, |check| {
                let id = check.delivery_text(message.as_u64(), endpoint.as_u64());
                format!("delivery {id} is due at {due}, but does not wait for that")
            });
        }
        Ok(())
    }

    fn delivery_text(&self, message: u64, endpoint: u64) -> String {
        format!(
            "of {} to {}",
            self.text::<MessageKey>(message),
            self.text::<EndpointKey>(endpoint)
        )
    }

    fn one_delivery(
        &mut self,
        id: &str,
        message: u64,
        endpoint: u64,
        delivery: &Delivery,
    ) -> Result<(), StoreError> {
        let found = self.message(message)?;
        self.expect(found.is_some(), |_| {
            format!("delivery {id} is of a message that is not there")
        });
        if let Some(found) = found {
            let owner = self.endpoint(endpoint)?.map(|found| found.application);
            let swept = owner.is_none() && self.is_swept(found.application.as_u64())?;
            self.expect(owner == Some(found.application) || swept, |_| {
                format!("delivery {id} is to an endpoint that is not the application's")
            });
        }
        let counted = usize::try_from(delivery.attempt_count).unwrap_or(usize::MAX);
        let attempts_fit = delivery.attempts.len() == counted.min(ATTEMPTS_LISTED_MAX)
            && delivery.attempts.is_sorted_by_key(|mark| mark.key);
        self.expect(attempts_fit, |_| {
            format!("delivery {id} lists attempts that it did not count")
        });
        let Some((due, trigger)) = delivery.waiting() else {
            return Ok(());
        };
        self.report.waiting += 1;
        let row = self.tables.due.get(&triple(endpoint, due.0, message))?;
        let agrees = row.is_some_and(|row| {
            let key = triple(endpoint, due.0, message);
            read_due(&key, row.value()).3 == trigger
        });
        self.expect(agrees, |_| {
            format!("delivery {id} waits until {due}, but is not due then")
        });
        Ok(())
    }

    fn attempts(&mut self) -> Result<(), StoreError> {
        for row in self.tables.attempts.iter()? {
            let (key, value) = row?;
            let key = number(*key.value());
            self.report.attempts += 1;
            self.saw(key);
            let id = self.text::<AttemptKey>(key);
            let Some(row) =
                self.readable(decode::<AttemptV1>(value.value()), &format!("attempt {id}"))
            else {
                continue;
            };
            self.one_attempt(&id, &row.into_domain(AttemptKey::from_u64(key)))?;
        }
        for row in self.tables.endpoint_attempts.iter()? {
            let (key, _) = row?;
            let (endpoint, key) = (part(key.value(), 0), part(key.value(), 1));
            let row = self.tables.attempts.get(&key.to_be_bytes())?;
            let attempt = row.and_then(|row| decode::<AttemptV1>(row.value()).ok());
            let agrees = attempt.is_some_and(|row| {
                let attempt = row.into_domain(AttemptKey::from_u64(key));
                attempt.of.endpoint.as_u64() == endpoint
            });
            self.expect(agrees, |check| {
                let id = check.text::<AttemptKey>(key);
                format!("an endpoint lists attempt {id}, which is not there")
            });
        }
        Ok(())
    }

    fn one_attempt(&mut self, id: &str, attempt: &Attempt) -> Result<(), StoreError> {
        let (endpoint, message) = (attempt.of.endpoint.as_u64(), attempt.of.message.as_u64());
        let listed = self
            .tables
            .endpoint_attempts
            .get(&pair(endpoint, attempt.key.as_u64()))?
            .is_some();
        self.expect(listed, |_| {
            format!("attempt {id} is not listed at its endpoint")
        });
        let owner = self.endpoint(endpoint)?.map(|found| found.application);
        self.expect(owner == Some(attempt.of.application), |_| {
            format!("attempt {id} is of an endpoint that is not the application's")
        });
        let row = self.tables.deliveries.get(&pair(message, endpoint))?;
        let Some(row) = row.and_then(|row| decode::<DeliveryV1>(row.value()).ok()) else {
            // The delivery may be forgotten, and with it only what it listed.
            return Ok(());
        };
        let delivery = Delivery::from(row);
        let marked = delivery.attempts.iter().any(|mark| mark.key == attempt.key);
        let listed = u32::try_from(delivery.attempts.len()).unwrap_or(u32::MAX);
        let older = attempt.number <= delivery.attempt_count.saturating_sub(listed);
        self.expect(marked || older, |_| {
            format!("attempt {id} is not listed by its delivery")
        });
        Ok(())
    }

    fn answers(&mut self) -> Result<(), StoreError> {
        for row in self.tables.idempotency.iter()? {
            let (hash, value) = row?;
            let hash = hash.value();
            self.report.answers += 1;
            let opened = self.cipher.open("idempotency", hash, value.value());
            let row = opened.and_then(|plain| decode::<AnswerV1>(&plain));
            let Some(row) = self.readable(row, "the answer of an idempotency key") else {
                continue;
            };
            let end = self
                .tables
                .idempotency_ends
                .get(&answer_end(row.created, hash))?
                .is_some();
            self.expect(end, |_| "an idempotency key has no end".to_owned());
        }
        for row in self.tables.idempotency_ends.iter()? {
            let (end, _) = row?;
            let hash: &[u8; 32] = end.value().last_chunk().expect("a key of forty bytes");
            let there = self.tables.idempotency.get(hash)?.is_some();
            self.expect(there, |_| {
                "the end of an idempotency key that is not there".to_owned()
            });
        }
        Ok(())
    }

    fn inboxes(&mut self) -> Result<(), StoreError> {
        // How many requests each says that it keeps for a listener.
        let mut waiting: BTreeMap<u64, u32> = BTreeMap::new();
        for row in self.tables.inboxes.iter()? {
            let (key, value) = row?;
            let key = number(*key.value());
            self.report.inboxes += 1;
            self.saw(key);
            let id = self.text::<InboxKey>(key);
            let Some(row) = self.readable(decode::<InboxV1>(value.value()), &format!("inbox {id}"))
            else {
                continue;
            };
            let inbox = row.into_domain(InboxKey::from_u64(key));
            waiting.insert(key, inbox.waiting);
            let holder = self
                .tables
                .inbox_tokens
                .get(inbox.token.as_bytes())?
                .map(|row| number(*row.value()));
            self.expect(holder == Some(key), |_| {
                format!("inbox {id} is not found by its token")
            });
            let known = self.is_known_environment(inbox.environment.as_u64())?;
            self.expect(known, |_| {
                format!("inbox {id} is of an unknown environment")
            });
        }
        for row in self.tables.inbox_tokens.iter()? {
            let (_, holder) = row?;
            let there = self.tables.inboxes.get(holder.value())?.is_some();
            self.expect(there, |_| {
                "a token leads to an inbox that is not there".to_owned()
            });
        }
        for row in self.tables.received.iter()? {
            let (key, value) = row?;
            let inbox = part(key.value(), 0);
            self.report.received += 1;
            self.saw(part(key.value(), 1));
            let row = self.readable(decode::<ReceivedV1>(value.value()), "a received request");
            let kept = row.as_ref().filter(|row| row.relayed == Relayed::Waiting);
            if let (Some(_), Some(left)) = (kept, waiting.get_mut(&inbox)) {
                *left = left.wrapping_sub(1);
            }
            if let Some(row) = row.filter(|row| !row.sealed.is_empty()) {
                let plain = self.cipher.open("receipts", key.value(), &row.sealed);
                self.readable(
                    plain.and_then(|plain| decode::<SecretHeadersV1>(&plain)),
                    "a received request",
                );
            }
            let there = self.tables.inboxes.get(&inbox.to_be_bytes())?.is_some();
            self.expect(there, |_| {
                "a request was received by an inbox that is not there".to_owned()
            });
        }
        for (inbox, left) in waiting {
            let id = self.text::<InboxKey>(inbox);
            self.expect(left == 0, |_| {
                format!("inbox {id} does not count the requests that it keeps")
            });
        }
        self.kept()
    }

    /// Bodies have their rows, and rows are counted.
    fn kept(&mut self) -> Result<(), StoreError> {
        for row in self.tables.kept_bodies.iter()? {
            let (place, _) = row?;
            let there = self.tables.received.get(place.value())?.is_some()
                || self.tables.refused.get(place.value())?.is_some();
            self.expect(there, |_| {
                "a body of a request that is not there".to_owned()
            });
        }
        let mut rows: BTreeMap<u64, u64> = BTreeMap::new();
        for table in [&self.tables.received, &self.tables.refused] {
            for row in table.iter()? {
                *rows.entry(part(row?.0.value(), 0)).or_default() += 1;
            }
        }
        for row in self.tables.kept_counts.iter()? {
            let (owner, kept) = row?;
            let found = rows.remove(&number(*owner.value())).unwrap_or(0);
            let kept = number(*kept.value());
            self.expect(kept == found, |_| {
                format!("{kept} requests are counted where {found} are")
            });
        }
        // What is swept is not counted any more.
        let swept = self.tables.tombstones.iter()?.next().is_some();
        self.expect(rows.is_empty() || swept, |_| {
            "requests that are kept are not counted".to_owned()
        });
        Ok(())
    }

    fn event_type(&self, key: &[u8]) -> Result<Option<EventType>, StoreError> {
        let row = self.tables.event_types.get(key)?;
        let row = row.and_then(|row| decode::<EventTypeV1>(row.value()).ok());
        let environment = EnvironmentKey::from_u64(part(key, 0));
        Ok(row.map(|row| row.into_domain(environment, text_of(key))))
    }

    fn event_types(&mut self) -> Result<(), StoreError> {
        let mut counted: BTreeMap<u64, EventTypeTotalsV1> = BTreeMap::new();
        for row in self.tables.event_types.iter()? {
            let (key, value) = row?;
            let (key, name) = (key.value(), text_of(key.value()));
            self.report.event_types += 1;
            let row = decode::<EventTypeV1>(value.value());
            let Some(row) = self.readable(row, &format!("event type {name}")) else {
                continue;
            };
            let environment = part(key, 0);
            let found = row.into_domain(EnvironmentKey::from_u64(environment), name.clone());
            let totals = counted.entry(environment).or_default();
            totals.types += 1;
            totals.bytes += found.text_bytes();
            for application in found.audience.named() {
                let application = application.as_u64();
                let listed = number_text(application, &name);
                let listed = self.tables.application_event_types.get(listed.as_slice())?;
                let listed = listed.is_some_and(|row| number(*row.value()) == environment);
                let known = self.is_known(application)?;
                self.expect(listed && known, |_| {
                    format!("event type {name} is for an application that does not list it")
                });
            }
        }
        for row in self.tables.application_event_types.iter()? {
            let (key, environment) = row?;
            let (application, name) = (part(key.value(), 0), text_of(key.value()));
            let key = number_text(number(*environment.value()), &name);
            let agrees = self.event_type(&key)?.is_some_and(|found| {
                let mut named = found.audience.named().iter();
                named.any(|named| named.as_u64() == application)
            });
            self.expect(agrees, |_| {
                format!("an application lists event type {name}, which is not for it")
            });
        }
        self.event_type_totals(counted)
    }

    fn event_type_totals(
        &mut self,
        mut counted: BTreeMap<u64, EventTypeTotalsV1>,
    ) -> Result<(), StoreError> {
        for row in self.tables.event_type_totals.iter()? {
            let (key, value) = row?;
            let counted = counted.remove(&number(*key.value())).unwrap_or_default();
            let row = decode::<EventTypeTotalsV1>(value.value());
            if let Some(stored) = self.readable(row, "the totals of event types") {
                self.expect(stored == counted, |_| {
                    format!("the totals of event types say {stored:?}, counting gives {counted:?}")
                });
            }
        }
        self.expect(counted.is_empty(), |_| {
            "an environment has event types and no totals of them".to_owned()
        });
        Ok(())
    }

    fn one_api_key(&mut self, key: &ApiKey) -> Result<(), StoreError> {
        let environment = key.environment.as_u64().to_be_bytes();
        let known = self.tables.environments.get(&environment)?.is_some();
        self.expect(known, |_| {
            format!("API key {} is of an unknown environment", key.shown)
        });
        let Some(bound) = key.application else {
            return Ok(());
        };
        let application = self.application(bound.as_u64())?;
        let inside = application.is_some_and(|found| found.environment == key.environment);
        self.expect(inside, |_| {
            format!(
                "API key {} is bound to an application that is not there",
                key.shown
            )
        });
        let reach = key.capabilities.allow(Capability::Environments);
        self.expect(!reach, |_| {
            format!(
                "API key {} is bound to an application and reaches environments",
                key.shown
            )
        });
        Ok(())
    }

    fn jobs(&mut self) -> Result<(), StoreError> {
        for row in self.tables.jobs.iter()? {
            let (place, value) = row?;
            let (environment, key) = (part(place.value(), 0), part(place.value(), 1));
            self.report.jobs += 1;
            self.saw(key);
            let id = self.text::<JobKey>(key);
            let row = decode::<JobV1>(value.value()).and_then(|row| {
                row.into_domain(EnvironmentKey::from_u64(environment), JobKey::from_u64(key))
            });
            let Some(job) = self.readable(row, &format!("job {id}")) else {
                continue;
            };
            let application = job.application.as_u64();
            let known = self.is_known(application)?;
            self.expect(known, |_| {
                format!("job {id} is of an application that is not there")
            });
            let running = self.tables.running_jobs.get(place.value())?.is_some();
            self.expect(running == job.runs(), |_| {
                format!("job {id} is not among those that run as it is")
            });
            let listed = self.tables.application_jobs.get(&pair(application, key))?;
            let listed = listed.map(|row| number(*row.value()));
            self.expect(listed == Some(environment), |_| {
                format!("job {id} is not listed in its application")
            });
        }
        for row in self.tables.running_jobs.iter()? {
            let (place, _) = row?;
            let there = self.tables.jobs.get(place.value())?.is_some();
            self.expect(there, |_| "a job runs that is not there".to_owned());
        }
        for row in self.tables.application_jobs.iter()? {
            let (key, environment) = row?;
            let place = pair(number(*environment.value()), part(key.value(), 1));
            let row = self.tables.jobs.get(&place)?;
            let row = row.and_then(|row| decode::<JobV1>(row.value()).ok());
            let agrees = row.is_some_and(|job| job.application.as_u64() == part(key.value(), 0));
            self.expect(agrees, |_| {
                "an application lists a job that is not there".to_owned()
            });
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<(), StoreError> {
        let mut hashes = BTreeSet::new();
        for row in self.tables.api_keys.iter()? {
            let (key, value) = row?;
            self.saw(number(*key.value()));
            let key = Key::from_u64(number(*key.value()));
            let row = decode::<ApiKeyV1>(value.value()).map(|row| row.into_domain(key));
            let row: Option<ApiKey> = self.readable(row, "an API key");
            if let Some(row) = row {
                self.one_api_key(&row)?;
                let new = hashes.insert(row.hash);
                self.expect(new, |_| {
                    format!("API key {} has the text of another", row.shown)
                });
            }
        }
        Ok(())
    }

    fn counters(&mut self) -> Result<(), StoreError> {
        let mark = self.tables.meta.get(META_ROLLED_UP)?;
        let mark = mark.map_or(Err(StoreError::Corrupt("it is not there")), |row| {
            RolledUp::from_bytes(row.value())
        });
        let Some(mark) = self.readable(mark, "the mark of the roll-up") else {
            return Ok(());
        };
        for row in self.tables.counters.iter()? {
            let (key, value) = row?;
            let (level, slot, subject) = counter_parts(key.value());
            let resolution = Resolution::ALL.get(usize::from(level)).copied();
            let known = resolution.ok_or(StoreError::Corrupt("its level is none"));
            let counted = known.and_then(|_| statistics::read(value.value()));
            let (Some(resolution), Some(counted)) =
                (resolution, self.readable(counted, "a counter"))
            else {
                continue;
            };
            let name = resolution.name();
            self.expect(counted.is_sound(), |_| {
                format!("a counter of {name} {slot} does not agree with itself")
            });
            for (coarser, slot) in rolled_into(resolution, slot, subject, mark) {
                let key = counter(coarser as u8, slot, subject);
                let row = self.tables.counters.get(&key)?;
                let sum = row.and_then(|row| statistics::read(row.value()).ok());
                self.expect(sum.is_some_and(|sum| sum.covers(&counted)), |_| {
                    let coarser = coarser.name();
                    format!("a counter of {name}s is not in that of {coarser} {slot}")
                });
            }
        }
        Ok(())
    }

    fn totals(&mut self) -> Result<(), StoreError> {
        let counted = TotalsV1 {
            messages: self.report.messages,
            attempts: self.report.attempts,
            waiting: self.report.waiting,
            payload_bytes: self.report.payload_bytes,
        };
        let row = self.tables.meta.get(META_TOTALS)?;
        let stored = row.map_or(Err(StoreError::Corrupt("there are no totals")), |row| {
            decode::<TotalsV1>(row.value())
        });
        if let Some(stored) = self.readable(stored, "the totals") {
            self.expect(stored == counted, |_| {
                format!("the totals say {stored:?}, counting gives {counted:?}")
            });
        }
        let row = self.tables.meta.get(META_LAST_KEY)?;
        let last = row.and_then(|row| row.value().try_into().ok().map(u64::from_be_bytes));
        let greatest = self.greatest_key;
        self.expect(last.is_some_and(|last| last >= greatest), |_| {
            "keys were given beyond the greatest one on record: the next may be given twice"
                .to_owned()
        });
        Ok(())
    }
}

/// The coarser slots that a counter must be in.
fn rolled_into(
    resolution: Resolution,
    slot: u32,
    subject: u64,
    mark: RolledUp,
) -> Vec<(Resolution, u32)> {
    match resolution {
        Resolution::Minute if mark.has(slot, subject) => [Resolution::Hour, Resolution::Day]
            .map(|coarser| (coarser, coarser.slot_of_minute(slot)))
            .into(),
        Resolution::Hour => vec![(Resolution::Day, slot / 24)],
        _ => Vec::new(),
    }
}
