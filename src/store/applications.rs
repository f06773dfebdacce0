//! Applications: made, changed, deleted, found.

use std::sync::Arc;

use redb::ReadableTable as _;

use super::catalog::ApplicationEntry;
use super::codec::encode;
use super::rows::ApplicationV1;
use super::tables::{
    APPLICATION_UIDS, ENVIRONMENT_APPLICATIONS, Tables, number_text, pair, second,
};
use super::writer::{Batch, Change, Idempotent, Operation, Refusal, WriteError, Written};
use super::{Store, StoreError, api_keys, jobs, sources, sweep};
use crate::domain::application::{Application, ApplicationChange};
use crate::domain::audit::AuditAction;
use crate::domain::ids::{ApplicationKey, EnvironmentKey, Key};
use crate::domain::job::JobFailure;
use crate::domain::principal::{Principal, Scope};

impl Store {
    /// Makes an application.
    pub async fn create_application(
        &self,
        environment: EnvironmentKey,
        name: String,
        uid: Option<String>,
        idempotent: Option<Idempotent<Application>>,
    ) -> Result<Written<Application>, WriteError> {
        self.write(
            Create {
                environment,
                name,
                uid,
            },
            idempotent,
        )
        .await
    }

    /// Changes what `change` names, and answers with all of it.
    pub async fn update_application(
        &self,
        scope: Scope,
        key: ApplicationKey,
        change: ApplicationChange,
    ) -> Result<Application, WriteError> {
        self.write_once(Update { scope, key, change }).await
    }

    /// Deletes an application. Its endpoints, messages and deliveries are gone
    /// at once for everybody, and swept from the disk afterwards.
    pub async fn delete_application(
        &self,
        principal: Principal,
        key: ApplicationKey,
    ) -> Result<Application, WriteError> {
        self.write_once(Delete { principal, key }).await
    }

    /// The application with this id or uid, if `scope` covers it.
    pub fn find_application(
        &self,
        scope: Scope,
        id_or_uid: &str,
    ) -> Result<Option<Arc<ApplicationEntry>>, StoreError> {
        let key = match self.inner.ids.parse::<ApplicationKey>(id_or_uid) {
            Some(key) => Some(key),
            None => self.application_by_uid(scope.environment, id_or_uid)?,
        };
        let Some(key) = key else { return Ok(None) };
        let covered =
            |entry: &Arc<ApplicationEntry>| scope.covers(entry.application.environment, key);
        Ok(self.application(key)?.filter(covered))
    }

    fn application_by_uid(
        &self,
        environment: EnvironmentKey,
        uid: &str,
    ) -> Result<Option<ApplicationKey>, StoreError> {
        self.read(|txn| {
            let uids = txn.open_table(APPLICATION_UIDS)?;
            let found = uids.get(number_text(environment.as_u64(), uid).as_slice())?;
            Ok(found.map(|key| ApplicationKey::from_u64(u64::from_be_bytes(*key.value()))))
        })
    }

    /// Applications in `scope`, oldest first: `take` of them after `skip`.
    pub fn list_applications(
        &self,
        scope: Scope,
        skip: usize,
        take: usize,
    ) -> Result<Vec<Application>, StoreError> {
        let environment = scope.environment.as_u64();
        let keys: Vec<ApplicationKey> = self.read(|txn| {
            let table = txn.open_table(ENVIRONMENT_APPLICATIONS)?;
            let all =
                table.range::<&[u8; 16]>(&pair(environment, 0)..=&pair(environment, u64::MAX))?;
            let keys = all.map(|row| Ok(ApplicationKey::from_u64(second(row?.0.value()))));
            let covered = keys.filter(|key: &Result<_, StoreError>| {
                key.as_ref()
                    .map_or(true, |key| scope.covers(scope.environment, *key))
            });
            covered.skip(skip).take(take).collect()
        })?;
        let mut applications = Vec::with_capacity(keys.len());
        for key in keys {
            applications.extend(
                self.application(key)?
                    .map(|entry| entry.application.clone()),
            );
        }
        Ok(applications)
    }
}

fn write(application: &Application, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let row = encode(&ApplicationV1::from(application));
    tables
        .applications
        .insert(&application.key.as_u64().to_be_bytes(), row.as_slice())?;
    Ok(())
}

fn uid_taken(
    environment: EnvironmentKey,
    uid: Option<&str>,
    by_other_than: Option<ApplicationKey>,
    tables: &Tables<'_>,
) -> Result<bool, StoreError> {
    let Some(uid) = uid else { return Ok(false) };
    let holder = tables
        .application_uids
        .get(number_text(environment.as_u64(), uid).as_slice())?;
    Ok(holder.is_some_and(|key| {
        by_other_than.is_none_or(|own| own.as_u64() != u64::from_be_bytes(*key.value()))
    }))
}

struct Create {
    environment: EnvironmentKey,
    name: String,
    uid: Option<String>,
}

impl Operation for Create {
    type Plan = ();
    type Answer = Application;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        if batch.environment(self.environment).is_none() {
            return Ok(Err(Refusal::NoEnvironment));
        }
        let taken = uid_taken(self.environment, self.uid.as_deref(), None, tables)?;
        Ok(if taken {
            Err(Refusal::UidTaken)
        } else {
            Ok(())
        })
    }

    fn apply(
        self,
        (): (),
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Application, StoreError> {
        let key: ApplicationKey = batch.key();
        let application = Application {
            key,
            environment: self.environment,
            name: self.name,
            uid: self.uid,
            created: batch.now,
            updated: batch.now,
        };
        write(&application, tables)?;
        tables
            .environment_applications
            .insert(&pair(self.environment.as_u64(), key.as_u64()), &[] as &[u8])?;
        if let Some(uid) = &application.uid {
            let uid_key = number_text(self.environment.as_u64(), uid);
            tables
                .application_uids
                .insert(uid_key.as_slice(), &key.as_u64().to_be_bytes())?;
        }
        batch.overlay.put(Arc::new(ApplicationEntry {
            application: application.clone(),
            endpoints: Vec::new(),
        }));
        Ok(application)
    }
}

/// The entry of an application that `scope` covers, as the transaction sees it.
pub(super) fn covered(
    scope: Scope,
    key: ApplicationKey,
    tables: &Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<Result<Arc<ApplicationEntry>, Refusal>, StoreError> {
    let entry = batch.application(tables, key)?;
    let covered = entry.filter(|entry| scope.covers(entry.application.environment, key));
    Ok(covered.ok_or(Refusal::NoApplication))
}

/// As [`covered`], for what is done to the application itself: the built-in one
/// stays as it is.
fn changeable(
    scope: Scope,
    key: ApplicationKey,
    tables: &Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<Result<Arc<ApplicationEntry>, Refusal>, StoreError> {
    let found = covered(scope, key, tables, batch)?;
    let environment = batch.environment(scope.environment);
    let built_in = environment.is_some_and(|environment| environment.operational == key);
    Ok(found.and_then(|entry| {
        if built_in {
            Err(Refusal::BuiltIn)
        } else {
            Ok(entry)
        }
    }))
}

struct Update {
    scope: Scope,
    key: ApplicationKey,
    change: ApplicationChange,
}

impl Operation for Update {
    type Plan = Arc<ApplicationEntry>;
    type Answer = Application;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let entry = match changeable(self.scope, self.key, tables, batch)? {
            Ok(entry) => entry,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let taken = uid_taken(
            entry.application.environment,
            self.change.uid.as_deref(),
            Some(self.key),
            tables,
        )?;
        Ok(if taken {
            Err(Refusal::UidTaken)
        } else {
            Ok(entry)
        })
    }

    fn apply(
        self,
        entry: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Application, StoreError> {
        let mut application = entry.application.clone();
        let environment = application.environment.as_u64();
        if let Some(uid) = self.change.uid {
            if let Some(old) = application.uid.replace(uid.clone()) {
                tables
                    .application_uids
                    .remove(number_text(environment, &old).as_slice())?;
            }
            let uid_key = number_text(environment, &uid);
            tables
                .application_uids
                .insert(uid_key.as_slice(), &self.key.as_u64().to_be_bytes())?;
        }
        if let Some(name) = self.change.name {
            application.name = name;
        }
        application.updated = batch.now;
        write(&application, tables)?;
        let endpoints = entry.endpoints.clone();
        batch.overlay.put(Arc::new(ApplicationEntry {
            application: application.clone(),
            endpoints,
        }));
        Ok(application)
    }
}

struct Delete {
    principal: Principal,
    key: ApplicationKey,
}

impl Operation for Delete {
    type Plan = Arc<ApplicationEntry>;
    type Answer = Application;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        changeable(self.principal.scope, self.key, tables, batch)
    }

    fn apply(
        self,
        entry: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Application, StoreError> {
        let application = entry.application.clone();
        for key in batch.api_keys_where(|key| key.application == Some(self.key)) {
            api_keys::revoke(&key, self.principal.actor, tables, batch)?;
        }
        remove(&application, tables, batch)?;
        let subject = batch.inner.ids.text(self.key);
        batch.audit(
            tables,
            self.principal.actor,
            (application.environment, Some(self.key)),
            (
                AuditAction::ApplicationDeleted,
                subject,
                application.name.clone(),
            ),
        )?;
        for endpoint in &entry.endpoints {
            batch.tell(Change::Endpoint {
                endpoint: endpoint.settings.key,
                live: None,
            });
        }
        Ok(application)
    }
}

/// Takes an application out of the store, ends its jobs, and leaves what is its
/// to the sweeper.
pub(super) fn remove(
    application: &Application,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let (key, environment) = (application.key.as_u64(), application.environment.as_u64());
    tables.applications.remove(&key.to_be_bytes())?;
    tables
        .environment_applications
        .remove(&pair(environment, key))?;
    if let Some(uid) = &application.uid {
        tables
            .application_uids
            .remove(number_text(environment, uid).as_slice())?;
    }
    sources::remove_all_of(application.key, tables, batch)?;
    sweep::mark(key, sweep::Kind::Application, tables)?;
    let place = (application.environment, application.key);
    jobs::end_all(place, None, JobFailure::ApplicationDeleted, tables, batch)?;
    batch.overlay.remove(application.key);
    Ok(())
}
