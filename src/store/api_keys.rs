//! API keys: made, listed, rotated, revoked. Only their hashes are stored.

use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable as _};

use super::codec::{decode, encode};
use super::rows::ApiKeyV1;
use super::tables::{API_KEYS, Tables};
use super::writer::{Batch, Operation, Refusal, WriteError};
use super::{Store, StoreError};
use crate::domain::api_key::{self, ApiKey};
use crate::domain::ids::{ApiKeyKey, EnvironmentKey, Key};
use crate::domain::principal::Capabilities;
use crate::domain::secret::Secret;

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

impl Store {
    /// Makes an API key for an environment. `text` is what its holder shows; a
    /// key with this text that is there already is kept as it is.
    pub async fn create_api_key(
        &self,
        environment: EnvironmentKey,
        name: String,
        text: &Secret,
    ) -> Result<ApiKey, WriteError> {
        let (hash, shown) = (api_key::hash(text.expose()), api_key::shown(text));
        self.write_once(Create {
            environment,
            name,
            hash,
            shown,
        })
        .await
    }

    /// Gives a key another text; the old one stops at once.
    pub async fn rotate_api_key(
        &self,
        key: ApiKeyKey,
        text: &Secret,
    ) -> Result<ApiKey, WriteError> {
        let (hash, shown) = (api_key::hash(text.expose()), api_key::shown(text));
        self.write_once(Rotate { key, hash, shown }).await
    }

    /// Revokes a key, at once.
    pub async fn revoke_api_key(&self, key: ApiKeyKey) -> Result<ApiKey, WriteError> {
        self.write_once(Revoke { key }).await
    }
}

fn write(key: &ApiKey, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    tables.api_keys.insert(
        &key.key.as_u64().to_be_bytes(),
        encode(&ApiKeyV1::from(key)).as_slice(),
    )?;
    Ok(())
}

fn read(key: ApiKeyKey, tables: &Tables<'_>) -> Result<Result<ApiKey, Refusal>, StoreError> {
    let row = tables.api_keys.get(&key.as_u64().to_be_bytes())?;
    let found = row
        .map(|bytes| decode::<ApiKeyV1>(bytes.value()))
        .transpose()?;
    Ok(found
        .map(|row| row.into_domain(key))
        .ok_or(Refusal::NoApiKey))
}

struct Create {
    environment: EnvironmentKey,
    name: String,
    hash: [u8; 32],
    shown: String,
}

impl Operation for Create {
    /// The key that has this text already.
    type Plan = Option<ApiKey>;
    type Answer = ApiKey;

    fn check(
        &mut self,
        _: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let known = match batch.overlay.api_key(&self.hash) {
            Some(changed) => changed,
            None => batch.inner.catalog.api_key(&self.hash),
        };
        Ok(Ok(known.map(|known| ApiKey::clone(&known))))
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
            environment: self.environment,
            application: None,
            name: self.name,
            shown: self.shown,
            hash: self.hash,
            capabilities: Capabilities::ADMIN,
            created: batch.now,
        };
        write(&key, tables)?;
        batch.overlay.put_api_key(Arc::new(key.clone()));
        Ok(key)
    }
}

struct Rotate {
    key: ApiKeyKey,
    hash: [u8; 32],
    shown: String,
}

impl Operation for Rotate {
    type Plan = ApiKey;
    type Answer = ApiKey;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<ApiKey, Refusal>, StoreError> {
        read(self.key, tables)
    }

    fn apply(
        self,
        old: ApiKey,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<ApiKey, StoreError> {
        let new = ApiKey {
            hash: self.hash,
            shown: self.shown,
            ..old.clone()
        };
        write(&new, tables)?;
        batch.overlay.replace_api_key(&old, Arc::new(new.clone()));
        Ok(new)
    }
}

struct Revoke {
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
        read(self.key, tables)
    }

    fn apply(
        self,
        key: ApiKey,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<ApiKey, StoreError> {
        tables.api_keys.remove(&self.key.as_u64().to_be_bytes())?;
        batch.overlay.remove_api_key(&key);
        Ok(key)
    }
}
