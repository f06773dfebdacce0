//! Endpoints: made, changed, deleted, found.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::ReadableTable as _;

use super::applications::covered;
use super::catalog::{ApplicationEntry, endpoint_uid, write_endpoint, write_state};
use super::tables::{ENDPOINT_UIDS, Tables, pair};
use super::writer::{Batch, Change, Idempotent, Operation, Refusal, WriteError, Written};
use super::{Store, StoreError, jobs, sweep};
use crate::domain::audit::AuditAction;
use crate::domain::endpoint::{
    Endpoint, EndpointChange, EndpointSecret, EndpointState, LiveEndpoint, Rotation, SECRETS_MAX,
    SuccessRule, rotate,
};
use crate::domain::ids::{ApplicationKey, EndpointKey, Key};
use crate::domain::job::JobFailure;
use crate::domain::operational;
use crate::domain::principal::{Principal, Scope};
use crate::domain::request::takes_requests;
use crate::domain::signing::{Scheme, SigningSecret};

/// The value of `application_endpoints` for one that is deleted, but kept so
/// that old deliveries can show it.
const DELETED: &[u8] = &[1];
/// Random bytes in a client id that is made.
const CLIENT_ID_BYTES: usize = 16;

impl Store {
    /// Makes an endpoint. What `settings` leaves out gets its default; without
    /// secrets one is made.
    pub async fn create_endpoint(
        &self,
        scope: Scope,
        application: ApplicationKey,
        settings: EndpointChange,
        idempotent: Option<Idempotent<LiveEndpoint>>,
    ) -> Result<Written<LiveEndpoint>, WriteError> {
        self.write(
            Create {
                scope,
                application,
                settings,
            },
            idempotent,
        )
        .await
    }

    /// Changes what `change` names. Enabling one that the engine disabled
    /// clears that too; nothing else does.
    pub async fn update_endpoint(
        &self,
        principal: Principal,
        application: ApplicationKey,
        key: EndpointKey,
        change: EndpointChange,
    ) -> Result<LiveEndpoint, WriteError> {
        self.write_once(Update {
            principal,
            application,
            key,
            change,
        })
        .await
    }

    /// Gives an endpoint a new secret; older ones go on signing for a while.
    pub async fn rotate_secret(
        &self,
        principal: Principal,
        application: ApplicationKey,
        key: EndpointKey,
        rotation: Rotation,
        idempotent: Option<Idempotent<LiveEndpoint>>,
    ) -> Result<Written<LiveEndpoint>, WriteError> {
        let operation = Rotate {
            principal,
            application,
            key,
            rotation,
        };
        self.write(operation, idempotent).await
    }

    /// An endpoint with its secrets, once it is on disk who asked for them.
    pub async fn read_secrets(
        &self,
        principal: Principal,
        application: ApplicationKey,
        key: EndpointKey,
    ) -> Result<Arc<LiveEndpoint>, WriteError> {
        self.write_once(ReadSecrets {
            principal,
            application,
            key,
        })
        .await
    }

    /// Deletes an endpoint. What waits for it is cancelled.
    pub async fn delete_endpoint(
        &self,
        principal: Principal,
        application: ApplicationKey,
        key: EndpointKey,
    ) -> Result<LiveEndpoint, WriteError> {
        self.write_once(Delete {
            principal,
            application,
            key,
        })
        .await
    }

    /// The endpoint of `application` with this id or uid.
    pub fn find_endpoint(
        &self,
        application: &ApplicationEntry,
        id_or_uid: &str,
    ) -> Result<Option<Arc<LiveEndpoint>>, StoreError> {
        let key = match self.inner.ids.parse::<EndpointKey>(id_or_uid) {
            Some(key) => Some(key),
            None => self.read(|txn| {
                let uids = txn.open_table(ENDPOINT_UIDS)?;
                let found =
                    uids.get(endpoint_uid(application.application.key, id_or_uid).as_slice())?;
                Ok(found.map(|key| EndpointKey::from_u64(u64::from_be_bytes(*key.value()))))
            })?,
        };
        Ok(key.and_then(|key| application.endpoint(key).cloned()))
    }
}

fn uid_taken(
    application: ApplicationKey,
    uid: Option<&str>,
    own: Option<EndpointKey>,
    tables: &Tables<'_>,
) -> Result<bool, StoreError> {
    let Some(uid) = uid else { return Ok(false) };
    let holder = tables
        .endpoint_uids
        .get(endpoint_uid(application, uid).as_slice())?;
    Ok(holder
        .is_some_and(|key| own.is_none_or(|own| own.as_u64() != u64::from_be_bytes(*key.value()))))
}

fn client_id_taken(
    client_id: Option<&str>,
    own: Option<EndpointKey>,
    tables: &Tables<'_>,
) -> Result<bool, StoreError> {
    let Some(client_id) = client_id else {
        return Ok(false);
    };
    let holder = tables.client_ids.get(client_id.as_bytes())?;
    Ok(holder
        .is_some_and(|key| own.is_none_or(|own| own.as_u64() != u64::from_be_bytes(*key.value()))))
}

/// Gives an endpoint that takes requests a client id if it has none, and makes
/// it findable by the one it has.
fn name_client(
    settings: &mut Endpoint,
    before: Option<&Endpoint>,
    tables: &mut Tables<'_>,
    batch: &Batch<'_>,
) -> Result<(), StoreError> {
    if settings.client_id.is_none() && takes_requests(settings) {
        let mut random = [0; CLIENT_ID_BYTES];
        batch.inner.entropy.fill(&mut random);
        settings.client_id = Some(format!("opt_{:032x}", u128::from_be_bytes(random)));
    }
    let old = before.and_then(|before| before.client_id.as_deref());
    if let Some(old) = old
        && settings.client_id.as_deref() != Some(old)
    {
        tables.client_ids.remove(old.as_bytes())?;
    }
    if let Some(client_id) = &settings.client_id {
        let key = settings.key.as_u64().to_be_bytes();
        tables.client_ids.insert(client_id.as_bytes(), &key)?;
    }
    Ok(())
}

/// `endpoint` with what `change` names.
fn changed(mut endpoint: Endpoint, change: EndpointChange) -> Endpoint {
    fn set<T>(field: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *field = value;
        }
    }
    set(&mut endpoint.name, change.name);
    set(&mut endpoint.description, change.description);
    set(&mut endpoint.url, change.url);
    set(&mut endpoint.enabled, change.enabled);
    set(&mut endpoint.paused, change.paused);
    set(&mut endpoint.event_types, change.event_types);
    set(&mut endpoint.channels, change.channels);
    set(&mut endpoint.headers, change.headers);
    let secrets = change.secrets;
    set(
        &mut endpoint.secrets,
        secrets.map(|secrets| secrets.into_iter().map(EndpointSecret::from).collect()),
    );
    set(&mut endpoint.signatures, change.signatures);
    set(&mut endpoint.payload_in_headers, change.payload_in_headers);
    set(&mut endpoint.ascii_body, change.ascii_body);
    set(&mut endpoint.success, change.success);
    set(&mut endpoint.metadata, change.metadata);
    endpoint.client_id = change.client_id.or(endpoint.client_id);
    endpoint.uid = change.uid.or(endpoint.uid);
    endpoint.retry_schedule = change.retry_schedule.or(endpoint.retry_schedule);
    // Zero takes a limit of its own away.
    endpoint.timeout = change
        .timeout
        .or(endpoint.timeout)
        .filter(|timeout| !timeout.is_zero());
    endpoint.rate_limit = change
        .rate_limit
        .or(endpoint.rate_limit)
        .filter(|limit| *limit > 0);
    endpoint
}

fn put(
    live: LiveEndpoint,
    entry: &ApplicationEntry,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<LiveEndpoint, StoreError> {
    write_endpoint(&live.settings, tables, &batch.inner.cipher)?;
    let shared = Arc::new(live.clone());
    batch.overlay.put(Arc::new(entry.with(Arc::clone(&shared))));
    batch.tell(Change::Endpoint {
        endpoint: live.settings.key,
        live: Some(shared),
    });
    Ok(live)
}

struct Create {
    scope: Scope,
    application: ApplicationKey,
    settings: EndpointChange,
}

impl Operation for Create {
    type Plan = Arc<ApplicationEntry>;
    type Answer = LiveEndpoint;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let entry = match covered(self.scope, self.application, tables, batch)? {
            Ok(entry) => entry,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let taken = uid_taken(self.application, self.settings.uid.as_deref(), None, tables)?;
        let client = client_id_taken(self.settings.client_id.as_deref(), None, tables)?;
        Ok(if taken {
            Err(Refusal::UidTaken)
        } else if client {
            Err(Refusal::ClientIdTaken)
        } else {
            Ok(entry)
        })
    }

    fn apply(
        self,
        entry: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<LiveEndpoint, StoreError> {
        let secret = new_secret(batch);
        let key: EndpointKey = batch.key();
        let blank = Endpoint {
            key,
            environment: entry.application.environment,
            application: self.application,
            name: String::new(),
            uid: None,
            description: String::new(),
            url: String::new(),
            enabled: true,
            paused: false,
            event_types: Vec::new(),
            channels: Vec::new(),
            headers: Vec::new(),
            secrets: vec![secret.into()],
            signatures: Scheme::DEFAULT.to_vec(),
            payload_in_headers: false,
            ascii_body: false,
            retry_schedule: None,
            timeout: None,
            rate_limit: None,
            success: SuccessRule::default(),
            metadata: BTreeMap::new(),
            client_id: None,
            created: batch.now,
            updated: batch.now,
            deleted: None,
        };
        let mut settings = changed(blank, self.settings);
        name_client(&mut settings, None, tables, batch)?;
        tables
            .application_endpoints
            .insert(&pair(self.application.as_u64(), key.as_u64()), &[] as &[u8])?;
        if let Some(uid) = &settings.uid {
            let uid_key = endpoint_uid(self.application, uid);
            tables
                .endpoint_uids
                .insert(uid_key.as_slice(), &key.as_u64().to_be_bytes())?;
        }
        let live = LiveEndpoint {
            settings,
            state: EndpointState::default(),
        };
        batch.emit_endpoint(
            tables,
            &entry,
            &live,
            &operational::of_endpoint(None, &live),
        )?;
        put(live, &entry, tables, batch)
    }
}

/// An application's entry and one endpoint of it.
type Found = (Arc<ApplicationEntry>, Arc<LiveEndpoint>);

pub(super) fn found(
    scope: Scope,
    application: ApplicationKey,
    key: EndpointKey,
    tables: &Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<Result<Found, Refusal>, StoreError> {
    let entry = match covered(scope, application, tables, batch)? {
        Ok(entry) => entry,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let endpoint = entry.endpoint(key).cloned();
    Ok(endpoint
        .map(|endpoint| (entry, endpoint))
        .ok_or(Refusal::NoEndpoint))
}

/// Whether a message that is meant for this endpoint can go to it.
pub(super) fn may_get_messages(endpoint: &LiveEndpoint) -> Result<(), Refusal> {
    if takes_requests(&endpoint.settings) {
        return Err(Refusal::RequestsOnly);
    }
    let enabled = endpoint.is_enabled();
    enabled.then_some(()).ok_or(Refusal::EndpointDisabled)
}

struct Update {
    principal: Principal,
    application: ApplicationKey,
    key: EndpointKey,
    change: EndpointChange,
}

impl Operation for Update {
    type Plan = Found;
    type Answer = LiveEndpoint;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Found, Refusal>, StoreError> {
        let scope = self.principal.scope;
        let found = match found(scope, self.application, self.key, tables, batch)? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let taken = uid_taken(
            self.application,
            self.change.uid.as_deref(),
            Some(self.key),
            tables,
        )?;
        let client_id = self.change.client_id.as_deref();
        let client = client_id_taken(client_id, Some(self.key), tables)?;
        Ok(if taken {
            Err(Refusal::UidTaken)
        } else if client {
            Err(Refusal::ClientIdTaken)
        } else {
            Ok(found)
        })
    }

    fn apply(
        self,
        (entry, before): Found,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<LiveEndpoint, StoreError> {
        if self.change.secrets.is_some() {
            let detail = "all secrets were replaced".to_owned();
            let what = (AuditAction::SecretRotated, detail);
            audit(what, self.principal, &before, tables, batch)?;
        }
        if let Some(uid) = &self.change.uid {
            if let Some(old) = &before.settings.uid {
                tables
                    .endpoint_uids
                    .remove(endpoint_uid(self.application, old).as_slice())?;
            }
            let uid_key = endpoint_uid(self.application, uid);
            tables
                .endpoint_uids
                .insert(uid_key.as_slice(), &self.key.as_u64().to_be_bytes())?;
        }
        let mut state = before.state.clone();
        if self.change.enabled == Some(true) && state.disabled.is_some() {
            state = EndpointState::default();
            write_state(self.key, &state, tables)?;
        }
        let mut settings = changed(before.settings.clone(), self.change);
        settings.secrets.retain(|secret| secret.is_valid(batch.now));
        settings.updated = batch.now;
        name_client(&mut settings, Some(&before.settings), tables, batch)?;
        let live = LiveEndpoint { settings, state };
        let told = operational::of_endpoint(Some(&before), &live);
        batch.emit_endpoint(tables, &entry, &live, &told)?;
        put(live, &entry, tables, batch)
    }
}

struct Rotate {
    principal: Principal,
    application: ApplicationKey,
    key: EndpointKey,
    rotation: Rotation,
}

impl Operation for Rotate {
    /// The endpoint with its new secrets.
    type Plan = (Arc<ApplicationEntry>, LiveEndpoint);
    type Answer = LiveEndpoint;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let scope = self.principal.scope;
        let (entry, before) = match found(scope, self.application, self.key, tables, batch)? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let given = self.rotation.secret.take();
        let secret = given.unwrap_or_else(|| new_secret(batch));
        let mut rotated = LiveEndpoint::clone(&before);
        let settings = &mut rotated.settings;
        rotate(
            &mut settings.secrets,
            secret,
            batch.now,
            self.rotation.grace,
        );
        settings.updated = batch.now;
        Ok(if settings.secrets.len() > SECRETS_MAX {
            Err(Refusal::TooManySecrets)
        } else {
            Ok((entry, rotated))
        })
    }

    fn apply(
        self,
        (entry, rotated): Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<LiveEndpoint, StoreError> {
        let grace_s = self.rotation.grace.as_secs();
        let detail = format!("the older secrets go on signing for at most {grace_s} s");
        let what = (AuditAction::SecretRotated, detail);
        audit(what, self.principal, &rotated, tables, batch)?;
        let told = [operational::ENDPOINT_UPDATED];
        batch.emit_endpoint(tables, &entry, &rotated, &told)?;
        put(rotated, &entry, tables, batch)
    }
}

/// Shows an endpoint's secrets: written down before they are answered.
struct ReadSecrets {
    principal: Principal,
    application: ApplicationKey,
    key: EndpointKey,
}

impl Operation for ReadSecrets {
    type Plan = Found;
    type Answer = Arc<LiveEndpoint>;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Found, Refusal>, StoreError> {
        let scope = self.principal.scope;
        found(scope, self.application, self.key, tables, batch)
    }

    fn apply(
        self,
        (_, endpoint): Found,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Arc<LiveEndpoint>, StoreError> {
        let what = (AuditAction::SecretRead, endpoint.settings.name.clone());
        audit(what, self.principal, &endpoint, tables, batch)?;
        Ok(endpoint)
    }
}

/// Notes what was done to an endpoint.
fn audit(
    (action, detail): (AuditAction, String),
    by: Principal,
    endpoint: &LiveEndpoint,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let settings = &endpoint.settings;
    let place = (settings.environment, Some(settings.application));
    let subject = batch.inner.ids.text(settings.key);
    batch.audit(tables, by.actor, place, (action, subject, detail))
}

fn new_secret(batch: &Batch<'_>) -> SigningSecret {
    let mut random = [0; 32];
    batch.inner.entropy.fill(&mut random);
    SigningSecret::generate(random)
}

struct Delete {
    principal: Principal,
    application: ApplicationKey,
    key: EndpointKey,
}

impl Operation for Delete {
    type Plan = Found;
    type Answer = LiveEndpoint;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Found, Refusal>, StoreError> {
        found(
            self.principal.scope,
            self.application,
            self.key,
            tables,
            batch,
        )
    }

    fn apply(
        self,
        (entry, before): Found,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<LiveEndpoint, StoreError> {
        let deleted = LiveEndpoint::clone(&before);
        let mut last = deleted.settings.clone();
        last.deleted = Some(batch.now);
        last.secrets.clear();
        last.headers.clear();
        tables
            .application_endpoints
            .insert(&pair(self.application.as_u64(), self.key.as_u64()), DELETED)?;
        if let Some(uid) = &deleted.settings.uid {
            tables
                .endpoint_uids
                .remove(endpoint_uid(self.application, uid).as_slice())?;
        }
        if let Some(client_id) = last.client_id.take() {
            tables.client_ids.remove(client_id.as_bytes())?;
        }
        write_endpoint(&last, tables, &batch.inner.cipher)?;
        sweep::mark(self.key.as_u64(), sweep::Kind::Endpoint, tables)?;
        let what = (AuditAction::EndpointDeleted, deleted.settings.name.clone());
        audit(what, self.principal, &deleted, tables, batch)?;
        let place = (deleted.settings.environment, self.application);
        let failure = JobFailure::EndpointDeleted;
        jobs::end_all(place, Some(self.key), failure, tables, batch)?;
        let told = [operational::ENDPOINT_DELETED];
        batch.emit_endpoint(tables, &entry, &deleted, &told)?;
        batch.overlay.put(Arc::new(entry.without(self.key)));
        batch.tell(Change::Endpoint {
            endpoint: self.key,
            live: None,
        });
        Ok(deleted)
    }
}
