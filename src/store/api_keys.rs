//! API keys: made, listed, rotated, revoked. Only their hashes are stored.

use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable as _};

use super::codec::{decode, encode};
use super::rows::ApiKeyV1;
use super::tables::{API_KEYS, Tables};
use super::writer::{Batch, Idempotent, Operation, Refusal, WriteError, Written};
use super::{Store, StoreError};
use crate::domain::api_key::{self, ApiKey, NewApiKey};
use crate::domain::audit::AuditAction;
use crate::domain::ids::{ApiKeyKey, EnvironmentKey, Key};
use crate::domain::principal::{Actor, Capabilities, Capability, Principal, Scope};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

/// API keys in a store at most: all of them are in memory.
const API_KEYS_MAX: usize = 10_000;
/// Last uses that one commit writes at most.
const USES_MAX: usize = 1_000;

/// Every API key in the store.
pub(super) fn load(txn: &ReadTransaction) -> Result<Vec<ApiKey>, StoreError> {
    let table = txn.open_table(API_KEYS)?;
    let all = table.iter()?.map(|row| {
        let (key, value) = row?;
        let key = ApiKeyKey::from_u64(u64::from_be_bytes(*key.value()));
        Ok(decode::<ApiKeyV1>(value.value())?.into_domain(key))
    });
    all.collect()
}

/// Whether `scope` sees this key: who sees the whole environment does.
fn covers(scope: Scope, key: &ApiKey) -> bool {
    scope.covers_environment() && key.environment == scope.environment
}

impl Store {
    /// Keeps a key that the operator brings, for an environment: it may do
    /// everything. A key with this text that is there already stays as it is.
    pub async fn create_api_key(
        &self,
        environment: EnvironmentKey,
        name: String,
        text: &Secret,
    ) -> Result<ApiKey, WriteError> {
        let new = NewApiKey {
            environment,
            application: None,
            name,
            capabilities: Capabilities::ALL,
            lifetime: None,
        };
        let by = Actor::Operator;
        let text = Text::of(text);
        self.write_once(Create { by, new, text }).await
    }

    /// Makes an API key whose holder shows `text`, which is new.
    pub async fn issue_api_key(
        &self,
        by: Actor,
        new: NewApiKey,
        text: &Secret,
        idempotent: Option<Idempotent<ApiKey>>,
    ) -> Result<Written<ApiKey>, WriteError> {
        let text = Text::of(text);
        self.write(Create { by, new, text }, idempotent).await
    }

    /// The API keys that `scope` covers, oldest first.
    #[must_use]
    pub fn list_api_keys(&self, scope: Scope) -> Vec<ApiKey> {
        let mut keys = self.catalog().api_keys();
        keys.retain(|key| covers(scope, key));
        keys
    }

    /// The API key with this id, if `scope` covers it.
    #[must_use]
    pub fn find_api_key(&self, scope: Scope, id: &str) -> Option<ApiKey> {
        let found = self.catalog().api_key_of(self.ids().parse(id)?);
        found.filter(|key| covers(scope, key))
    }

    /// Changes what a key is called.
    pub async fn rename_api_key(
        &self,
        scope: Scope,
        key: ApiKeyKey,
        name: String,
    ) -> Result<ApiKey, WriteError> {
        self.write_once(Rename { scope, key, name }).await
    }

    /// Gives a key another text; the old one stops at once.
    pub async fn rotate_api_key(
        &self,
        principal: Principal,
        key: ApiKeyKey,
        text: &Secret,
        idempotent: Option<Idempotent<ApiKey>>,
    ) -> Result<Written<ApiKey>, WriteError> {
        let rotate = Rotate {
            principal,
            key,
            text: Text::of(text),
        };
        self.write(rotate, idempotent).await
    }

    /// Revokes a key, at once.
    pub async fn revoke_api_key(
        &self,
        principal: Principal,
        key: ApiKeyKey,
    ) -> Result<ApiKey, WriteError> {
        self.write_once(Revoke { principal, key }).await
    }

    /// Writes when keys were last used, as far as that is not on disk: a
    /// bounded number of them. Answers whether there may be more.
    pub async fn keep_api_key_uses(&self) -> Result<bool, WriteError> {
        let uses = self.catalog().unwritten_uses(USES_MAX);
        let more = uses.len() == USES_MAX;
        if !uses.is_empty() {
            self.write_once(KeepUses { uses }).await?;
        }
        Ok(more)
    }
}

/// What is kept of a key's text.
struct Text {
    hash: [u8; 32],
    shown: String,
}

impl Text {
    fn of(text: &Secret) -> Self {
        Self {
            hash: api_key::hash(text.expose()),
            shown: api_key::shown(text),
        }
    }
}

fn write(key: &ApiKey, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    tables.api_keys.insert(
        &key.key.as_u64().to_be_bytes(),
        encode(&ApiKeyV1::from(key)).as_slice(),
    )?;
    Ok(())
}

fn read(key: ApiKeyKey, tables: &Tables<'_>) -> Result<Option<ApiKey>, StoreError> {
    let row = tables.api_keys.get(&key.as_u64().to_be_bytes())?;
    let row = row.map(|bytes| decode::<ApiKeyV1>(bytes.value()));
    Ok(row.transpose()?.map(|row| row.into_domain(key)))
}

fn covered(
    scope: Scope,
    key: ApiKeyKey,
    tables: &Tables<'_>,
) -> Result<Result<ApiKey, Refusal>, StoreError> {
    let found = read(key, tables)?.filter(|key| covers(scope, key));
    Ok(found.ok_or(Refusal::NoApiKey))
}

/// Takes a key out of the store; from the commit on it opens nothing.
pub(super) fn remove(
    key: &ApiKey,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    tables.api_keys.remove(&key.key.as_u64().to_be_bytes())?;
    batch.overlay.remove_api_key(key);
    Ok(())
}

/// As [`remove`], noted in the audit log.
pub(super) fn revoke(
    key: &ApiKey,
    by: Actor,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    remove(key, tables, batch)?;
    audit(AuditAction::ApiKeyRevoked, key, by, tables, batch)
}

fn audit(
    action: AuditAction,
    key: &ApiKey,
    by: Actor,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let scopes: Vec<&str> = key.capabilities.named().map(Capability::name).collect();
    let name = match key.name.as_str() {
        "" => String::new(),
        name => format!(" ({name})"),
    };
    let detail = format!("{}{name}: {}", key.shown, scopes.join(", "));
    let subject = batch.inner.ids.text(key.key);
    let place = (key.environment, key.application);
    batch.audit(tables, by, place, (action, subject, detail))
}

struct Create {
    by: Actor,
    new: NewApiKey,
    text: Text,
}

/// The key that has this text, as the transaction sees it.
fn known(text: &Text, batch: &Batch<'_>) -> Option<ApiKey> {
    if let Some(changed) = batch.overlay.api_key(&text.hash) {
        return changed.map(|key| ApiKey::clone(&key));
    }
    let known = batch.inner.catalog.api_key(&text.hash)?;
    Some(known.with_last_use())
}

impl Operation for Create {
    /// The key that has this text already.
    type Plan = Option<ApiKey>;
    type Answer = ApiKey;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        if let Some(known) = known(&self.text, batch) {
            return Ok(Ok(Some(known)));
        }
        // A key that was revoked while its request came in makes no other.
        if let Actor::ApiKey(by) = self.by
            && batch.api_keys_where(|key| key.key == by).is_empty()
        {
            return Ok(Err(Refusal::NoApiKey));
        }
        let environment = self.new.environment;
        if batch.environment(environment).is_none() {
            return Ok(Err(Refusal::NoEnvironment));
        }
        if let Some(application) = self.new.application {
            let entry = batch.application(tables, application)?;
            let inside = entry.is_some_and(|entry| entry.application.environment == environment);
            if !inside {
                return Ok(Err(Refusal::NoApplication));
            }
        }
        if batch.inner.catalog.api_key_count() >= API_KEYS_MAX {
            return Ok(Err(Refusal::TooMany {
                of: "API keys",
                max: API_KEYS_MAX,
            }));
        }
        Ok(Ok(None))
    }

    fn apply(
        self,
        known: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<ApiKey, StoreError> {
        if let Some(known) = known {
            return Ok(known);
        }
        let key = ApiKey {
            key: batch.key(),
            environment: self.new.environment,
            application: self.new.application,
            name: self.new.name,
            shown: self.text.shown,
            hash: self.text.hash,
            capabilities: self.new.capabilities,
            created: batch.now,
            expires: self.new.lifetime.map(|lifetime| batch.now.plus(lifetime)),
            last_used: None,
        };
        write(&key, tables)?;
        batch.overlay.put_api_key(Arc::new(key.clone()));
        audit(AuditAction::ApiKeyCreated, &key, self.by, tables, batch)?;
        Ok(key)
    }
}

struct Rename {
    scope: Scope,
    key: ApiKeyKey,
    name: String,
}

impl Operation for Rename {
    type Plan = ApiKey;
    type Answer = ApiKey;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<ApiKey, Refusal>, StoreError> {
        covered(self.scope, self.key, tables)
    }

    fn apply(
        self,
        old: ApiKey,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<ApiKey, StoreError> {
        let new = ApiKey {
            name: self.name,
            last_used: last_use(&old, batch),
            ..old
        };
        write(&new, tables)?;
        batch.overlay.put_api_key(Arc::new(new.clone()));
        Ok(new)
    }
}

/// When a key was last used, by what is in memory too.
fn last_use(key: &ApiKey, batch: &Batch<'_>) -> Option<Timestamp> {
    let known = batch.inner.catalog.api_key_of(key.key);
    key.last_used.max(known.and_then(|known| known.last_used))
}

struct Rotate {
    principal: Principal,
    key: ApiKeyKey,
    text: Text,
}

impl Operation for Rotate {
    type Plan = ApiKey;
    type Answer = ApiKey;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<ApiKey, Refusal>, StoreError> {
        covered(self.principal.scope, self.key, tables)
    }

    fn apply(
        self,
        old: ApiKey,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<ApiKey, StoreError> {
        let new = ApiKey {
            hash: self.text.hash,
            shown: self.text.shown,
            last_used: last_use(&old, batch),
            ..old.clone()
        };
        write(&new, tables)?;
        batch.overlay.replace_api_key(&old, Arc::new(new.clone()));
        let by = self.principal.actor;
        audit(AuditAction::ApiKeyRotated, &new, by, tables, batch)?;
        Ok(new)
    }
}

struct Revoke {
    principal: Principal,
    key: ApiKeyKey,
}

impl Operation for Revoke {
    type Plan = ApiKey;
    type Answer = ApiKey;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<ApiKey, Refusal>, StoreError> {
        covered(self.principal.scope, self.key, tables)
    }

    fn apply(
        self,
        key: ApiKey,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<ApiKey, StoreError> {
        let last_used = last_use(&key, batch);
        revoke(&key, self.principal.actor, tables, batch)?;
        Ok(ApiKey { last_used, ..key })
    }
}

struct KeepUses {
    uses: Vec<(ApiKeyKey, Timestamp)>,
}

impl Operation for KeepUses {
    /// The keys that are still there, as they are to be.
    type Plan = Vec<ApiKey>;
    type Answer = ();

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let mut used = Vec::with_capacity(self.uses.len());
        for &(key, at) in &self.uses {
            if let Some(key) = read(key, tables)? {
                let last_used = key.last_used.max(Some(at));
                used.push(ApiKey { last_used, ..key });
            }
        }
        Ok(Ok(used))
    }

    fn apply(
        self,
        used: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<(), StoreError> {
        for key in used {
            write(&key, tables)?;
            batch.overlay.put_api_key(Arc::new(key));
        }
        Ok(())
    }
}
