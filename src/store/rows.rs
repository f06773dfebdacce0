//! What the values of the tables hold. A struct here is frozen once released:
//! a change of shape is a new struct with the next version, and a conversion.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::codec::{Row, Versioned};
use crate::domain::answer::FixedAnswer;
use crate::domain::api_key::ApiKey;
use crate::domain::application::Application;
use crate::domain::attempt::{
    Attempt, CapturedResponse, Exchange, NewAttempt, Outcome, SentRequest, Timing,
};
use crate::domain::audit::AuditEntry;
use crate::domain::branding::Branding;
use crate::domain::delivery::{AttemptMark, Delivery, DeliveryState, Told, Trigger, Verdict};
use crate::domain::endpoint::{
    CustomHeader, Disabled, DisabledReason, Endpoint, EndpointSecret, EndpointState, SuccessRule,
};
use crate::domain::environment::Environment;
use crate::domain::event_type::{Audience, Content, EventType};
use crate::domain::fanout::EventFilter;
use crate::domain::ids::{
    ApiKeyKey, ApplicationKey, AttemptKey, AuditKey, EndpointKey, EnvironmentKey, InboxKey, JobKey,
    MessageKey, ReceivedKey, RequestKey, SourceKey, UserKey,
};
use crate::domain::inbox::{Inbox, Received, Replay};
use crate::domain::job::{Job, JobFilter, JobKind, JobState, Progress, Selection, Standing};
use crate::domain::message::{JSON, Message, Origin};
use crate::domain::principal::Capabilities;
use crate::domain::record::{Fields, Record};
use crate::domain::relay::Relayed;
use crate::domain::request::{RefusedAnswer, Request, RequestState, Try};
use crate::domain::secret::Secret;
use crate::domain::session::Token;
use crate::domain::signing::{Scheme, SigningSecret};
use crate::domain::source::{
    AnswerRule, Counts, Dedupe, EventTypeRule, Limits, Receipt, RecordRule, Source,
    Verdict as Judged,
};
use crate::domain::statistics::{Counter, Histogram};
use crate::domain::time::Timestamp;
use crate::domain::user::{Roles, User};
use crate::domain::verification::{Recipe, Verification};

macro_rules! row {
    ($name:ident, $version:literal) => {
        impl Versioned for $name {
            const VERSION: u8 = $version;
        }
        impl Row for $name {}
    };
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct EnvironmentV1 {
    name: String,
    operational: ApplicationKey,
    created: Timestamp,
    updated: Timestamp,
}
row!(EnvironmentV1, 1);

impl From<&Environment> for EnvironmentV1 {
    fn from(environment: &Environment) -> Self {
        Self {
            name: environment.name.clone(),
            operational: environment.operational,
            created: environment.created,
            updated: environment.updated,
        }
    }
}

impl EnvironmentV1 {
    pub(super) fn into_domain(self, key: EnvironmentKey) -> Environment {
        Environment {
            key,
            name: self.name,
            operational: self.operational,
            created: self.created,
            updated: self.updated,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct ApiKeyV1 {
    environment: EnvironmentKey,
    application: Option<ApplicationKey>,
    name: String,
    shown: String,
    hash: [u8; 32],
    capabilities: Capabilities,
    created: Timestamp,
    expires: Option<Timestamp>,
    last_used: Option<Timestamp>,
}
row!(ApiKeyV1, 1);

impl From<&ApiKey> for ApiKeyV1 {
    fn from(key: &ApiKey) -> Self {
        Self {
            environment: key.environment,
            application: key.application,
            name: key.name.clone(),
            shown: key.shown.clone(),
            hash: key.hash,
            capabilities: key.capabilities,
            created: key.created,
            expires: key.expires,
            last_used: key.last_used,
        }
    }
}

impl ApiKeyV1 {
    pub(super) fn into_domain(self, key: ApiKeyKey) -> ApiKey {
        ApiKey {
            key,
            environment: self.environment,
            application: self.application,
            name: self.name,
            shown: self.shown,
            hash: self.hash,
            capabilities: self.capabilities,
            created: self.created,
            expires: self.expires,
            last_used: self.last_used,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct UserV1 {
    email: String,
    password: Option<String>,
    roles: Roles,
    created: Timestamp,
    last_sign_in: Option<Timestamp>,
}
row!(UserV1, 1);

impl From<&User> for UserV1 {
    fn from(user: &User) -> Self {
        Self {
            email: user.email.clone(),
            password: user.password.as_ref().map(|hash| hash.expose().to_owned()),
            roles: user.roles.clone(),
            created: user.created,
            last_sign_in: user.last_sign_in,
        }
    }
}

impl UserV1 {
    pub(super) fn into_domain(self, key: UserKey) -> User {
        User {
            key,
            email: self.email,
            password: self.password.map(Secret::new),
            roles: self.roles,
            created: self.created,
            last_sign_in: self.last_sign_in,
        }
    }
}

/// How an environment's portals look.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[serde(transparent)]
pub(super) struct BrandingV1(pub(super) Branding);
row!(BrandingV1, 1);

/// What a token opens.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[serde(transparent)]
pub(super) struct TokenV1(pub(super) Token);
row!(TokenV1, 1);

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct AuditV1 {
    application: Option<ApplicationKey>,
    actor: String,
    action: String,
    subject: String,
    detail: String,
}
row!(AuditV1, 1);

impl From<&AuditEntry> for AuditV1 {
    fn from(entry: &AuditEntry) -> Self {
        Self {
            application: entry.application,
            actor: entry.actor.clone(),
            action: entry.action.clone(),
            subject: entry.subject.clone(),
            detail: entry.detail.clone(),
        }
    }
}

impl AuditV1 {
    pub(super) fn into_domain(self, environment: EnvironmentKey, key: AuditKey) -> AuditEntry {
        AuditEntry {
            key,
            environment,
            application: self.application,
            actor: self.actor,
            action: self.action,
            subject: self.subject,
            detail: self.detail,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct ApplicationV1 {
    environment: EnvironmentKey,
    name: String,
    uid: Option<String>,
    updated: Timestamp,
    created: Timestamp,
}
row!(ApplicationV1, 1);

impl From<&Application> for ApplicationV1 {
    fn from(application: &Application) -> Self {
        Self {
            environment: application.environment,
            name: application.name.clone(),
            uid: application.uid.clone(),
            updated: application.updated,
            created: application.created,
        }
    }
}

impl ApplicationV1 {
    pub(super) fn into_domain(self, key: ApplicationKey) -> Application {
        Application {
            key,
            environment: self.environment,
            name: self.name,
            uid: self.uid,
            created: self.created,
            updated: self.updated,
        }
    }
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that have nothing to do with one another"
)]
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct EndpointV1 {
    environment: EnvironmentKey,
    pub(super) application: ApplicationKey,
    name: String,
    pub(super) uid: Option<String>,
    description: String,
    url: String,
    enabled: bool,
    paused: bool,
    event_types: Vec<String>,
    channels: Vec<String>,
    signatures: Vec<Scheme>,
    payload_in_headers: bool,
    ascii_body: bool,
    retry_schedule_ms: Option<Vec<u64>>,
    timeout_ms: Option<u64>,
    rate_limit: Option<u32>,
    success_status: Option<u16>,
    success_body: Option<String>,
    success_content_type: Option<String>,
    metadata: BTreeMap<String, String>,
    pub(super) client_id: Option<String>,
    created: Timestamp,
    updated: Timestamp,
    pub(super) deleted: Option<Timestamp>,
    /// [`EndpointSecretsV1`], encrypted.
    pub(super) sealed: Vec<u8>,
}
row!(EndpointV1, 1);

/// The part of an endpoint that is encrypted: signing secrets and headers.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct EndpointSecretsV1 {
    /// Each with the moment from which it does not sign.
    secrets: Vec<(String, Option<Timestamp>)>,
    headers: Vec<(String, String)>,
}
row!(EndpointSecretsV1, 1);

impl From<&Endpoint> for EndpointSecretsV1 {
    fn from(endpoint: &Endpoint) -> Self {
        let header =
            |header: &CustomHeader| (header.name.clone(), header.value.expose().to_owned());
        let secret = |of: &EndpointSecret| (of.secret.text().expose().to_owned(), of.expires);
        Self {
            secrets: endpoint.secrets.iter().map(secret).collect(),
            headers: endpoint.headers.iter().map(header).collect(),
        }
    }
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

impl EndpointV1 {
    pub(super) fn new(endpoint: &Endpoint, sealed: Vec<u8>) -> Self {
        Self {
            environment: endpoint.environment,
            application: endpoint.application,
            name: endpoint.name.clone(),
            uid: endpoint.uid.clone(),
            description: endpoint.description.clone(),
            url: endpoint.url.clone(),
            enabled: endpoint.enabled,
            paused: endpoint.paused,
            event_types: endpoint
                .event_types
                .iter()
                .map(|filter| filter.as_str().to_owned())
                .collect(),
            channels: endpoint.channels.clone(),
            signatures: endpoint.signatures.clone(),
            payload_in_headers: endpoint.payload_in_headers,
            ascii_body: endpoint.ascii_body,
            retry_schedule_ms: endpoint
                .retry_schedule
                .as_ref()
                .map(|waits| waits.iter().copied().map(millis).collect()),
            timeout_ms: endpoint.timeout.map(millis),
            rate_limit: endpoint.rate_limit,
            success_status: endpoint.success.status,
            success_body: endpoint.success.body.clone(),
            success_content_type: endpoint.success.content_type.clone(),
            metadata: endpoint.metadata.clone(),
            client_id: endpoint.client_id.clone(),
            created: endpoint.created,
            updated: endpoint.updated,
            deleted: endpoint.deleted,
            sealed,
        }
    }

    pub(super) fn into_domain(
        self,
        key: EndpointKey,
        secrets: EndpointSecretsV1,
    ) -> Result<Endpoint, StoreError> {
        const BAD_FILTER: StoreError =
            StoreError::Corrupt("an endpoint with an event type that is none");
        const BAD_SECRET: StoreError =
            StoreError::Corrupt("an endpoint with a secret that is none");
        let event_types = self
            .event_types
            .iter()
            .map(|text| EventFilter::parse(text).map_err(|_| BAD_FILTER));
        let signing = secrets.secrets.iter().map(|(text, expires)| {
            let secret = SigningSecret::parse(text).map_err(|_| BAD_SECRET)?;
            Ok(EndpointSecret {
                secret,
                expires: *expires,
            })
        });
        let header = |(name, value)| CustomHeader {
            name,
            value: Secret::new(value),
        };
        Ok(Endpoint {
            key,
            environment: self.environment,
            application: self.application,
            name: self.name,
            uid: self.uid,
            description: self.description,
            url: self.url,
            enabled: self.enabled,
            paused: self.paused,
            event_types: event_types.collect::<Result<_, _>>()?,
            channels: self.channels,
            headers: secrets.headers.into_iter().map(header).collect(),
            secrets: signing.collect::<Result<_, StoreError>>()?,
            signatures: self.signatures,
            payload_in_headers: self.payload_in_headers,
            ascii_body: self.ascii_body,
            retry_schedule: self
                .retry_schedule_ms
                .map(|waits| waits.into_iter().map(Duration::from_millis).collect()),
            timeout: self.timeout_ms.map(Duration::from_millis),
            rate_limit: self.rate_limit,
            success: SuccessRule {
                status: self.success_status,
                body: self.success_body,
                content_type: self.success_content_type,
            },
            metadata: self.metadata,
            client_id: self.client_id,
            created: self.created,
            updated: self.updated,
            deleted: self.deleted,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct EndpointStateV1 {
    /// When, and whether it was a 410 (else: it only failed).
    disabled: Option<(Timestamp, bool)>,
    failing_since: Option<Timestamp>,
    failures: u32,
    told_failing: bool,
}
row!(EndpointStateV1, 1);

impl From<&EndpointState> for EndpointStateV1 {
    fn from(state: &EndpointState) -> Self {
        Self {
            disabled: state
                .disabled
                .map(|disabled| (disabled.at, disabled.reason == DisabledReason::Gone)),
            failing_since: state.failing_since,
            failures: state.failures,
            told_failing: state.told_failing,
        }
    }
}

impl From<EndpointStateV1> for EndpointState {
    fn from(row: EndpointStateV1) -> Self {
        let reason = |gone| {
            if gone {
                DisabledReason::Gone
            } else {
                DisabledReason::Failing
            }
        };
        Self {
            disabled: row.disabled.map(|(at, gone)| Disabled {
                at,
                reason: reason(gone),
            }),
            failing_since: row.failing_since,
            failures: row.failures,
            told_failing: row.told_failing,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct MessageV1 {
    application: ApplicationKey,
    event_type: String,
    channels: Vec<String>,
    uid: Option<String>,
    /// `None`: JSON.
    content_type: Option<String>,
    /// Headers that came with it and go on with it.
    headers: Vec<(String, Vec<u8>)>,
    origin: Origin,
    /// Key in `idempotency` of the answer that tells of it.
    pub(super) answer: Option<[u8; 32]>,
}
row!(MessageV1, 1);

impl From<&Message> for MessageV1 {
    fn from(message: &Message) -> Self {
        Self {
            application: message.application,
            event_type: message.event_type.clone(),
            channels: message.channels.clone(),
            uid: message.uid.clone(),
            content_type: (message.content_type != JSON).then(|| message.content_type.clone()),
            headers: message.headers.clone(),
            origin: message.origin,
            answer: None,
        }
    }
}

impl MessageV1 {
    pub(super) fn into_domain(self, key: MessageKey) -> Message {
        Message {
            key,
            application: self.application,
            event_type: self.event_type,
            channels: self.channels,
            uid: self.uid,
            content_type: self.content_type.unwrap_or_else(|| JSON.to_owned()),
            headers: self.headers,
            origin: self.origin,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct DeliveryV1 {
    state: DeliveryState,
    attempts: Vec<AttemptMark>,
    attempt_count: u32,
    retries_used: u16,
    succeeded: bool,
    told: Told,
    created: Timestamp,
}
row!(DeliveryV1, 1);

impl From<&Delivery> for DeliveryV1 {
    fn from(delivery: &Delivery) -> Self {
        Self {
            state: delivery.state,
            attempts: delivery.attempts.clone(),
            attempt_count: delivery.attempt_count,
            retries_used: delivery.retries_used,
            succeeded: delivery.succeeded,
            told: delivery.told,
            created: delivery.created,
        }
    }
}

impl From<DeliveryV1> for Delivery {
    fn from(row: DeliveryV1) -> Self {
        Self {
            state: row.state,
            attempts: row.attempts,
            attempt_count: row.attempt_count,
            retries_used: row.retries_used,
            succeeded: row.succeeded,
            told: row.told,
            created: row.created,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct AttemptV1 {
    application: ApplicationKey,
    endpoint: EndpointKey,
    message: MessageKey,
    number: u32,
    started: Timestamp,
    trigger: Trigger,
    verdict: Verdict,
    request: SentRequest,
    outcome: Outcome,
    response: Option<CapturedResponse>,
    timing: Timing,
    peer: Option<SocketAddr>,
    next: Option<Timestamp>,
}
row!(AttemptV1, 1);

/// An attempt about to be written, without copying it: its bytes are those of
/// an [`AttemptV1`].
pub(super) struct AttemptV1Ref<'a> {
    pub of: &'a NewAttempt,
    pub number: u32,
    pub next: Option<Timestamp>,
}

impl Serialize for AttemptV1Ref<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple as _;
        let of = self.of;
        let exchange = &of.exchange;
        // postcard writes a struct as the sequence of its fields.
        let mut row = serializer.serialize_tuple(13)?;
        row.serialize_element(&of.application)?;
        row.serialize_element(&of.endpoint)?;
        row.serialize_element(&of.message)?;
        row.serialize_element(&self.number)?;
        row.serialize_element(&of.started)?;
        row.serialize_element(&of.trigger)?;
        row.serialize_element(&of.verdict)?;
        row.serialize_element(&of.request)?;
        row.serialize_element(&exchange.outcome)?;
        row.serialize_element(&exchange.response)?;
        row.serialize_element(&exchange.timing)?;
        row.serialize_element(&exchange.peer)?;
        row.serialize_element(&self.next)?;
        row.end()
    }
}

impl Versioned for AttemptV1Ref<'_> {
    const VERSION: u8 = AttemptV1::VERSION;
}

impl AttemptV1 {
    pub(super) fn into_domain(self, key: AttemptKey) -> Attempt {
        Attempt {
            key,
            number: self.number,
            next: self.next,
            of: NewAttempt {
                application: self.application,
                endpoint: self.endpoint,
                message: self.message,
                started: self.started,
                trigger: self.trigger,
                verdict: self.verdict,
                request: self.request,
                exchange: Exchange {
                    outcome: self.outcome,
                    response: self.response,
                    timing: self.timing,
                    peer: self.peer,
                },
            },
        }
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct JobV1 {
    pub(super) application: ApplicationKey,
    endpoint: Option<EndpointKey>,
    kind: JobKind,
    event_types: Vec<String>,
    channels: Vec<String>,
    standing: Option<Standing>,
    status_class: Option<u16>,
    since: Timestamp,
    until: Timestamp,
    next: MessageKey,
    end: MessageKey,
    rate_per_second: Option<u32>,
    total: Option<u64>,
    progress: Progress,
    state: JobState,
    created: Timestamp,
    updated: Timestamp,
}
row!(JobV1, 1);

impl From<&Job> for JobV1 {
    fn from(job: &Job) -> Self {
        let filter = &job.selection.filter;
        let event_types = filter.event_types.iter();
        Self {
            application: job.application,
            endpoint: job.endpoint,
            kind: job.selection.kind,
            event_types: event_types.map(|one| one.as_str().to_owned()).collect(),
            channels: filter.channels.clone(),
            standing: filter.standing,
            status_class: filter.status_class,
            since: job.since,
            until: job.until,
            next: job.next,
            end: job.end,
            rate_per_second: job.rate_per_second,
            total: job.total,
            progress: job.progress,
            state: job.state,
            created: job.created,
            updated: job.updated,
        }
    }
}

impl JobV1 {
    pub(super) fn into_domain(
        self,
        environment: EnvironmentKey,
        key: JobKey,
    ) -> Result<Job, StoreError> {
        const BAD_FILTER: StoreError = StoreError::Corrupt("a job with an event type that is none");
        let event_types = self
            .event_types
            .iter()
            .map(|text| EventFilter::parse(text).map_err(|_| BAD_FILTER));
        let filter = JobFilter {
            event_types: event_types.collect::<Result<_, _>>()?,
            channels: self.channels,
            standing: self.standing,
            status_class: self.status_class,
        };
        Ok(Job {
            key,
            environment,
            application: self.application,
            endpoint: self.endpoint,
            selection: Selection {
                kind: self.kind,
                filter,
            },
            since: self.since,
            until: self.until,
            next: self.next,
            end: self.end,
            rate_per_second: self.rate_per_second,
            total: self.total,
            progress: self.progress,
            state: self.state,
            created: self.created,
            updated: self.updated,
        })
    }
}

/// The answer that an idempotency key repeats.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct AnswerV1 {
    pub status: u16,
    pub body: Vec<u8>,
    pub created: Timestamp,
}
row!(AnswerV1, 1);

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct InboxV1 {
    environment: EnvironmentKey,
    token: String,
    name: String,
    answer: FixedAnswer,
    delay_ms: u32,
    fail_next: u32,
    created: Timestamp,
    open: bool,
    made_by_listener: bool,
    listened: Option<Timestamp>,
    waiting: u32,
}
row!(InboxV1, 1);

impl From<&Inbox> for InboxV1 {
    fn from(inbox: &Inbox) -> Self {
        Self {
            environment: inbox.environment,
            token: inbox.token.clone(),
            name: inbox.name.clone(),
            answer: inbox.answer.clone(),
            delay_ms: inbox.delay_ms,
            fail_next: inbox.fail_next,
            created: inbox.created,
            open: inbox.open,
            made_by_listener: inbox.made_by_listener,
            listened: inbox.listened,
            waiting: inbox.waiting,
        }
    }
}

impl InboxV1 {
    pub(super) fn into_domain(self, key: InboxKey) -> Inbox {
        Inbox {
            key,
            environment: self.environment,
            token: self.token,
            name: self.name,
            answer: self.answer,
            delay_ms: self.delay_ms,
            fail_next: self.fail_next,
            created: self.created,
            open: self.open,
            made_by_listener: self.made_by_listener,
            listened: self.listened,
            waiting: self.waiting,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct ReceivedV1 {
    pub(super) at: Timestamp,
    method: String,
    path: String,
    /// Without the values of those that are secret.
    headers: Vec<(String, Vec<u8>)>,
    /// [`SecretHeadersV1`], encrypted; empty when there are none.
    pub(super) sealed: Vec<u8>,
    body_bytes: u64,
    pub(super) answered: u16,
    peer: Option<IpAddr>,
    event_type: Option<String>,
    pub(super) replays: Vec<Replay>,
    pub(super) relayed: Relayed,
}
row!(ReceivedV1, 1);

impl ReceivedV1 {
    /// Without the values of secret headers, which are in `sealed`.
    pub(super) fn new(received: Received, sealed: Vec<u8>) -> Self {
        Self {
            at: received.at,
            method: received.method,
            path: received.path,
            headers: received.headers,
            sealed,
            body_bytes: received.body_bytes,
            answered: received.answered,
            peer: received.peer,
            event_type: received.event_type,
            replays: received.replays,
            relayed: received.relayed,
        }
    }

    pub(super) fn into_domain(self, key: ReceivedKey) -> Received {
        Received {
            key,
            at: self.at,
            method: self.method,
            path: self.path,
            headers: self.headers,
            body: None,
            body_bytes: self.body_bytes,
            answered: self.answered,
            peer: self.peer,
            event_type: self.event_type,
            replays: self.replays,
            relayed: self.relayed,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct EventTypeV1 {
    description: String,
    schema: Option<String>,
    examples: Vec<String>,
    /// `None`: it is for everyone.
    pub(super) applications: Option<Vec<ApplicationKey>>,
    archived: bool,
    created: Timestamp,
    updated: Timestamp,
}
row!(EventTypeV1, 1);

impl From<&EventType> for EventTypeV1 {
    fn from(event_type: &EventType) -> Self {
        Self {
            description: event_type.description.clone(),
            schema: event_type.content.schema.clone(),
            examples: event_type.content.examples.clone(),
            applications: match &event_type.audience {
                Audience::Everyone => None,
                Audience::Only(applications) => Some(applications.clone()),
            },
            archived: event_type.archived,
            created: event_type.created,
            updated: event_type.updated,
        }
    }
}

impl EventTypeV1 {
    pub(super) fn into_domain(self, environment: EnvironmentKey, name: String) -> EventType {
        EventType {
            environment,
            name,
            description: self.description,
            content: Content {
                schema: self.schema,
                examples: self.examples,
            },
            audience: self.applications.map_or(Audience::Everyone, Audience::Only),
            archived: self.archived,
            created: self.created,
            updated: self.updated,
        }
    }
}

/// What an environment's event types come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventTypeTotalsV1 {
    pub types: u64,
    /// Of their texts.
    pub bytes: u64,
}
row!(EventTypeTotalsV1, 1);

/// What was counted for one subject in one slot of time.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct CounterV1 {
    messages: u64,
    payload_bytes: u64,
    delivered: u64,
    failed: u64,
    /// Numbers of outcomes and how often each was, none left out but zeros.
    outcomes: Vec<(u8, u64)>,
    duration_ms: u64,
    duration_max_ms: u32,
    /// Buckets of durations, as outcomes.
    durations: Vec<(u8, u64)>,
    sent_bytes: u64,
}
row!(CounterV1, 1);

impl From<Counter> for CounterV1 {
    fn from(counter: Counter) -> Self {
        let outcomes = (0..).zip(counter.outcomes).filter(|(_, count)| *count > 0);
        Self {
            messages: counter.messages,
            payload_bytes: counter.payload_bytes,
            delivered: counter.delivered,
            failed: counter.failed,
            outcomes: outcomes.collect(),
            duration_ms: counter.duration_ms,
            duration_max_ms: counter.duration_max_ms,
            durations: counter.durations.into_buckets(),
            sent_bytes: counter.sent_bytes,
        }
    }
}

impl CounterV1 {
    pub(super) fn into_domain(self) -> Result<Counter, StoreError> {
        let mut counter = Counter {
            messages: self.messages,
            payload_bytes: self.payload_bytes,
            delivered: self.delivered,
            failed: self.failed,
            duration_ms: self.duration_ms,
            duration_max_ms: self.duration_max_ms,
            durations: Histogram::from_buckets(self.durations)
                .ok_or(StoreError::Corrupt("a counter with buckets out of order"))?,
            sent_bytes: self.sent_bytes,
            ..Counter::default()
        };
        for (outcome, count) in self.outcomes {
            let known = counter.outcomes.get_mut(usize::from(outcome));
            *known.ok_or(StoreError::Corrupt("a counter of an unknown outcome"))? = count;
        }
        Ok(counter)
    }
}

/// How many rows there are, so that nothing has to count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalsV1 {
    pub messages: u64,
    pub attempts: u64,
    pub waiting: u64,
    pub payload_bytes: u64,
}
row!(TotalsV1, 1);

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct SourceV1 {
    pub(super) environment: EnvironmentKey,
    pub(super) application: ApplicationKey,
    name: String,
    pub(super) slug: String,
    enabled: bool,
    preset: String,
    recipe: Option<Recipe<String>>,
    tolerance_s: Option<u32>,
    /// Each as a network.
    ip_ranges: Vec<String>,
    event_type: EventTypeRule,
    dedupe: Dedupe,
    record: Option<RecordRule>,
    answer: AnswerRule,
    limits: Limits,
    created: Timestamp,
    updated: Timestamp,
    /// [`SourceSecretsV1`], encrypted.
    pub(super) sealed: Vec<u8>,
}
row!(SourceV1, 1);

/// The part of a source that is encrypted: its secrets, and what its preset
/// asks for besides.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct SourceSecretsV1 {
    secrets: Vec<String>,
    settings: BTreeMap<String, String>,
}
row!(SourceSecretsV1, 1);

impl From<&Source> for SourceSecretsV1 {
    fn from(source: &Source) -> Self {
        let secrets = source.verification.secrets.iter();
        Self {
            secrets: secrets.map(|secret| secret.expose().to_owned()).collect(),
            settings: source.verification.settings.clone(),
        }
    }
}

impl SourceV1 {
    pub(super) fn new(source: &Source, sealed: Vec<u8>) -> Self {
        let verification = &source.verification;
        Self {
            environment: source.environment,
            application: source.application,
            name: source.name.clone(),
            slug: source.slug.clone(),
            enabled: source.enabled,
            preset: verification.preset.clone(),
            recipe: verification.recipe.clone(),
            tolerance_s: verification.tolerance_s,
            ip_ranges: verification
                .ip_ranges
                .iter()
                .map(ToString::to_string)
                .collect(),
            event_type: source.event_type.clone(),
            dedupe: source.dedupe.clone(),
            record: source.record.clone(),
            answer: source.answer.clone(),
            limits: source.limits.clone(),
            created: source.created,
            updated: source.updated,
            sealed,
        }
    }

    pub(super) fn into_domain(
        self,
        key: SourceKey,
        secrets: SourceSecretsV1,
    ) -> Result<Source, StoreError> {
        let ranges = self.ip_ranges.iter().map(|text| text.parse());
        let ip_ranges = ranges
            .collect::<Result<_, _>>()
            .map_err(|_| StoreError::Corrupt("a source has a range of addresses that is none"))?;
        Ok(Source {
            key,
            environment: self.environment,
            application: self.application,
            name: self.name,
            slug: self.slug,
            enabled: self.enabled,
            verification: Verification {
                preset: self.preset,
                secrets: secrets.secrets.into_iter().map(Secret::new).collect(),
                settings: secrets.settings,
                recipe: self.recipe,
                tolerance_s: self.tolerance_s,
                ip_ranges,
            },
            event_type: self.event_type,
            dedupe: self.dedupe,
            record: self.record,
            answer: self.answer,
            limits: self.limits,
            created: self.created,
            updated: self.updated,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct ReceiptV1 {
    at: Timestamp,
    verdict: Judged,
    reason: String,
    method: String,
    path: String,
    /// Values that are secret are empty here.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    /// [`SecretHeadersV1`], encrypted; empty when there are none.
    pub(super) sealed: Vec<u8>,
    body_bytes: u64,
    pub(super) message: Option<MessageKey>,
    pub(super) record: Option<String>,
    pub(super) answered: u16,
    pub(super) took_us: u32,
    peer: Option<IpAddr>,
    unkept: u32,
}
row!(ReceiptV1, 1);

/// Places in the list of headers, and the values that belong there.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[serde(transparent)]
pub(super) struct SecretHeadersV1(pub(super) Vec<(u32, Vec<u8>)>);
row!(SecretHeadersV1, 1);

impl ReceiptV1 {
    pub(super) fn verdict(&self) -> Judged {
        self.verdict
    }

    /// Without the values of secret headers, which are in `sealed`.
    pub(super) fn new(receipt: Receipt, sealed: Vec<u8>) -> Self {
        Self {
            at: receipt.at,
            verdict: receipt.verdict,
            reason: receipt.reason,
            method: receipt.method,
            path: receipt.path,
            headers: receipt.headers,
            sealed,
            body_bytes: receipt.body_bytes,
            message: receipt.message,
            record: receipt.record,
            answered: receipt.answered,
            took_us: receipt.took_us,
            peer: receipt.peer,
            unkept: receipt.unkept,
        }
    }

    pub(super) fn into_domain(self, source: SourceKey, key: ReceivedKey) -> Receipt {
        Receipt {
            key,
            source,
            at: self.at,
            verdict: self.verdict,
            reason: self.reason,
            method: self.method,
            path: self.path,
            headers: self.headers,
            body: None,
            body_bytes: self.body_bytes,
            message: self.message,
            record: self.record,
            answered: self.answered,
            took_us: self.took_us,
            peer: self.peer,
            unkept: self.unkept,
        }
    }
}

/// How many requests came in an hour.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[serde(transparent)]
pub(super) struct CountsV1(pub(super) Counts);
row!(CountsV1, 1);

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct RecordV1 {
    fields: Fields,
    first_seen: Timestamp,
    count: u64,
    last: ReceivedKey,
    last_message: Option<MessageKey>,
}
row!(RecordV1, 1);

impl From<&Record> for RecordV1 {
    fn from(record: &Record) -> Self {
        Self {
            fields: record.fields.clone(),
            first_seen: record.first_seen,
            count: record.count,
            last: record.last,
            last_message: record.last_message,
        }
    }
}

impl RecordV1 {
    pub(super) fn into_domain(self, key: String) -> Record {
        Record {
            key,
            fields: self.fields,
            first_seen: self.first_seen,
            last_seen: crate::domain::ids::Key::made_at(self.last),
            count: self.count,
            last: self.last,
            last_message: self.last_message,
        }
    }
}

/// What one event carried.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[serde(transparent)]
pub(super) struct RecordFieldsV1(pub(super) Fields);
row!(RecordFieldsV1, 1);

/// What happened to a request, but for the answer's data.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct RequestV1 {
    pub(super) application: ApplicationKey,
    pub(super) endpoint: EndpointKey,
    question: String,
    inputs: String,
    created: Timestamp,
    deadline: Timestamp,
    state: RequestState,
    tries: Vec<Try>,
    refused: Vec<RefusedAnswer>,
}
row!(RequestV1, 1);

impl From<&Request> for RequestV1 {
    fn from(request: &Request) -> Self {
        Self {
            application: request.application,
            endpoint: request.endpoint,
            question: request.question.clone(),
            inputs: request.inputs.clone(),
            created: request.created,
            deadline: request.deadline,
            state: request.state.clone(),
            tries: request.tries.clone(),
            refused: request.refused.clone(),
        }
    }
}

impl RequestV1 {
    pub(super) fn into_domain(self, key: RequestKey) -> Request {
        Request {
            key,
            application: self.application,
            endpoint: self.endpoint,
            question: self.question,
            inputs: self.inputs,
            created: self.created,
            deadline: self.deadline,
            state: self.state,
            tries: self.tries,
            refused: self.refused,
        }
    }
}
