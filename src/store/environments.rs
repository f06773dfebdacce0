//! Environments, each with its built-in application.

use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable as _};

use super::codec::{decode, encode};
use super::rows::{ApplicationV1, EnvironmentV1};
use super::tables::{ENVIRONMENTS, Tables, number_text};
use super::writer::{Batch, Change, Idempotent, Operation, Refusal, WriteError, Written};
use super::{Store, StoreError, api_keys, sweep};
use crate::domain::application::Application;
use crate::domain::audit::AuditAction;
use crate::domain::environment::{Environment, OPERATIONAL_NAME, OPERATIONAL_UID};
use crate::domain::ids::{EnvironmentKey, Key};
use crate::domain::principal::Principal;

/// Environments in a store at most: all of them are in memory.
const ENVIRONMENTS_MAX: usize = 1_000;

/// Every environment in the store, oldest first.
pub(super) fn load(txn: &ReadTransaction) -> Result<Vec<Environment>, StoreError> {
    let table = txn.open_table(ENVIRONMENTS)?;
    let all = table.iter()?.map(|row| {
        let (key, value) = row?;
        let key = EnvironmentKey::from_u64(u64::from_be_bytes(*key.value()));
        Ok(decode::<EnvironmentV1>(value.value())?.into_domain(key))
    });
    all.collect()
}

pub(super) fn write(environment: &Environment, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let row = encode(&EnvironmentV1::from(environment));
    tables
        .environments
        .insert(&environment.key.as_u64().to_be_bytes(), row.as_slice())?;
    Ok(())
}

/// The built-in application of an environment.
pub(super) fn built_in(environment: &Environment) -> Application {
    Application {
        key: environment.operational,
        environment: environment.key,
        name: OPERATIONAL_NAME.to_owned(),
        uid: Some(OPERATIONAL_UID.to_owned()),
        created: environment.created,
        updated: environment.created,
    }
}

/// Writes a new environment and its built-in application. That one is found by
/// id and uid, but in no list.
pub(super) fn write_new(
    environment: &Environment,
    tables: &mut Tables<'_>,
) -> Result<(), StoreError> {
    write(environment, tables)?;
    let application = built_in(environment);
    let key = application.key.as_u64().to_be_bytes();
    let row = encode(&ApplicationV1::from(&application));
    tables.applications.insert(&key, row.as_slice())?;
    let uid = number_text(environment.key.as_u64(), OPERATIONAL_UID);
    tables.application_uids.insert(uid.as_slice(), &key)?;
    Ok(())
}

impl Store {
    /// Makes an environment, empty but for its built-in application.
    pub async fn create_environment(
        &self,
        principal: Principal,
        name: String,
        idempotent: Option<Idempotent<Environment>>,
    ) -> Result<Written<Environment>, WriteError> {
        self.write(Create { principal, name }, idempotent).await
    }

    /// Gives an environment another name.
    pub async fn rename_environment(
        &self,
        principal: Principal,
        key: EnvironmentKey,
        name: String,
    ) -> Result<Environment, WriteError> {
        let rename = Rename {
            principal,
            key,
            name,
        };
        self.write_once(rename).await
    }

    /// Deletes an environment. All that is in it is gone at once for everybody,
    /// and swept from the disk afterwards.
    pub async fn delete_environment(
        &self,
        principal: Principal,
        key: EnvironmentKey,
    ) -> Result<Environment, WriteError> {
        self.write_once(Delete { principal, key }).await
    }

    /// The environment with this id or name.
    #[must_use]
    pub fn find_environment(&self, id_or_name: &str) -> Option<Arc<Environment>> {
        let catalog = self.catalog();
        if let Some(key) = self.ids().parse(id_or_name) {
            return catalog.environment(key);
        }
        let mut all = catalog.environments().into_iter();
        all.find(|environment| environment.name == id_or_name)
    }
}

/// Refuses a name that another environment has.
fn free_name(
    name: &str,
    own: Option<EnvironmentKey>,
    all: &[Arc<Environment>],
) -> Result<(), Refusal> {
    let mut others = all.iter().filter(|other| Some(other.key) != own);
    if others.any(|other| other.name == name) {
        Err(Refusal::NameTaken)
    } else {
        Ok(())
    }
}

/// Notes what became of `environment` in the log of the environment that the
/// caller belongs to: its own goes with it.
fn audit(
    action: AuditAction,
    environment: &Environment,
    principal: Principal,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let gone =
        action == AuditAction::EnvironmentDeleted && principal.scope.environment == environment.key;
    let place = if gone {
        batch.inner.default_environment
    } else {
        principal.scope.environment
    };
    let subject = batch.inner.ids.text(environment.key);
    let what = (action, subject, environment.name.clone());
    batch.audit(tables, principal.actor, (place, None), what)
}

struct Create {
    principal: Principal,
    name: String,
}

impl Operation for Create {
    type Plan = ();
    type Answer = Environment;

    fn check(
        &mut self,
        _: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let all = batch.environments();
        if all.len() >= ENVIRONMENTS_MAX {
            return Ok(Err(Refusal::TooMany {
                of: "environments",
                max: ENVIRONMENTS_MAX,
            }));
        }
        Ok(free_name(&self.name, None, &all))
    }

    fn apply(
        self,
        (): (),
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Environment, StoreError> {
        let environment = Environment {
            key: batch.key(),
            name: self.name,
            operational: batch.key(),
            created: batch.now,
            updated: batch.now,
        };
        write_new(&environment, tables)?;
        batch.overlay.put_environment(Arc::new(environment.clone()));
        let made = AuditAction::EnvironmentCreated;
        audit(made, &environment, self.principal, tables, batch)?;
        Ok(environment)
    }
}

struct Rename {
    principal: Principal,
    key: EnvironmentKey,
    name: String,
}

impl Operation for Rename {
    type Plan = Arc<Environment>;
    type Answer = Environment;

    fn check(
        &mut self,
        _: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let Some(before) = batch.environment(self.key) else {
            return Ok(Err(Refusal::NoEnvironment));
        };
        let free = free_name(&self.name, Some(self.key), &batch.environments());
        Ok(free.map(|()| before))
    }

    fn apply(
        self,
        before: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Environment, StoreError> {
        let environment = Environment {
            name: self.name,
            updated: batch.now,
            ..Environment::clone(&before)
        };
        write(&environment, tables)?;
        batch.overlay.put_environment(Arc::new(environment.clone()));
        let renamed = AuditAction::EnvironmentRenamed;
        audit(renamed, &environment, self.principal, tables, batch)?;
        Ok(environment)
    }
}

struct Delete {
    principal: Principal,
    key: EnvironmentKey,
}

impl Operation for Delete {
    type Plan = Arc<Environment>;
    type Answer = Environment;

    fn check(
        &mut self,
        _: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        if self.key == batch.inner.default_environment {
            return Ok(Err(Refusal::FirstEnvironment));
        }
        Ok(batch.environment(self.key).ok_or(Refusal::NoEnvironment))
    }

    fn apply(
        self,
        environment: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Environment, StoreError> {
        // Before the keys go: one of them may be the caller's, and is named.
        let deleted = AuditAction::EnvironmentDeleted;
        audit(deleted, &environment, self.principal, tables, batch)?;
        tables
            .environments
            .remove(&self.key.as_u64().to_be_bytes())?;
        tables.brandings.remove(&self.key.as_u64().to_be_bytes())?;
        for key in batch.api_keys_where(|key| key.environment == self.key) {
            api_keys::remove(&key, tables, batch)?;
        }
        let kind = sweep::Kind::Environment { inboxes_from: 0 };
        sweep::mark(self.key.as_u64(), kind, tables)?;
        batch.overlay.remove_environment(self.key);
        batch.tell(Change::EnvironmentGone);
        Ok(Environment::clone(&environment))
    }
}
