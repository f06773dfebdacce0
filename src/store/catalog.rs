//! What every request needs, in memory: environments, API keys, applications,
//! endpoints with their decrypted secrets.
//!
//! Only a commit changes it, before the commit's callers are answered: who was
//! answered sees what they did. It is bounded: applications are loaded when
//! they are asked for, and forgotten when there are too many.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{ReadTransaction, ReadableTable};

use super::cipher::Cipher;
use super::codec::decode;
use super::rows::{ApplicationV1, EndpointSecretsV1, EndpointStateV1, EndpointV1};
use super::tables::{
    self, APPLICATION_ENDPOINTS, APPLICATIONS, ENDPOINT_STATES, ENDPOINTS, Tables, pair, second,
};
use super::{Store, StoreError};
use crate::domain::api_key::{self, ApiKey};
use crate::domain::application::Application;
use crate::domain::endpoint::{Endpoint, EndpointState, LiveEndpoint};
use crate::domain::environment::Environment;
use crate::domain::ids::{ApiKeyKey, ApplicationKey, EndpointKey, EnvironmentKey, Key, SourceKey};
use crate::domain::source::{LiveSource, Source};
use crate::domain::time::Timestamp;

/// Endpoints kept in memory at most; beyond that some applications are forgotten.
const ENDPOINTS_MAX: usize = 200_000;

/// An application and all its endpoints, oldest first.
#[derive(Clone, Debug)]
pub struct ApplicationEntry {
    pub application: Application,
    pub endpoints: Vec<Arc<LiveEndpoint>>,
}

impl ApplicationEntry {
    #[must_use]
    pub fn endpoint(&self, key: EndpointKey) -> Option<&Arc<LiveEndpoint>> {
        let at = self
            .endpoints
            .binary_search_by_key(&key, |endpoint| endpoint.settings.key)
            .ok()?;
        self.endpoints.get(at)
    }

    /// This entry with `endpoint` in place of what had its key, or added.
    #[must_use]
    pub(super) fn with(&self, endpoint: Arc<LiveEndpoint>) -> Self {
        let mut entry = self.clone();
        match entry
            .endpoints
            .binary_search_by_key(&endpoint.settings.key, |known| known.settings.key)
        {
            Ok(at) => entry.endpoints[at] = endpoint,
            Err(at) => entry.endpoints.insert(at, endpoint),
        }
        entry
    }

    /// This entry without the endpoint.
    #[must_use]
    pub(super) fn without(&self, key: EndpointKey) -> Self {
        let mut entry = self.clone();
        entry
            .endpoints
            .retain(|endpoint| endpoint.settings.key != key);
        entry
    }
}

/// An API key, and when it was last used: the one thing in the catalog that a
/// request changes, without a lock.
#[derive(Debug)]
pub struct KnownApiKey {
    key: Arc<ApiKey>,
    /// Unix ms; 0: never.
    used_ms: Arc<AtomicU64>,
}

impl Deref for KnownApiKey {
    type Target = ApiKey;

    fn deref(&self) -> &ApiKey {
        &self.key
    }
}

impl KnownApiKey {
    /// As a commit leaves it; what `before` learnt of its uses stays.
    fn new(key: Arc<ApiKey>, before: Option<&Self>) -> Self {
        let stored = key.last_used.map_or(0, |used| used.0);
        let before = before.filter(|before| before.key.key == key.key);
        let used_ms = before.map_or_else(Arc::default, |before| Arc::clone(&before.used_ms));
        used_ms.fetch_max(stored, Ordering::Relaxed);
        Self { key, used_ms }
    }

    /// Notes a use. Writes to memory once in a minute, to disk never.
    pub fn note_use(&self, now: Timestamp) {
        let used_ms = api_key::use_kept_as(now).0;
        if self.used_ms.load(Ordering::Relaxed) < used_ms {
            self.used_ms.fetch_max(used_ms, Ordering::Relaxed);
        }
    }

    /// The key with its last use, whether that is on disk or not.
    #[must_use]
    pub fn with_last_use(&self) -> ApiKey {
        let used_ms = self.used_ms.load(Ordering::Relaxed);
        ApiKey {
            last_used: (used_ms > 0).then_some(Timestamp(used_ms)),
            ..ApiKey::clone(&self.key)
        }
    }
}

/// See the module's text.
#[derive(Default)]
pub struct Catalog {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    applications: HashMap<ApplicationKey, Arc<ApplicationEntry>>,
    owners: HashMap<EndpointKey, ApplicationKey>,
    api_keys: HashMap<[u8; 32], Arc<KnownApiKey>>,
    environments: HashMap<EnvironmentKey, Arc<Environment>>,
    sources: HashMap<SourceKey, Arc<LiveSource>>,
    source_slugs: HashMap<String, SourceKey>,
    /// Counts changes, so that what was read before one is not kept after it.
    changes: u64,
}

impl State {
    fn put(&mut self, entry: Arc<ApplicationEntry>) {
        if self.owners.len() > ENDPOINTS_MAX {
            self.applications.clear();
            self.owners.clear();
        }
        let key = entry.application.key;
        self.forget(key);
        for endpoint in &entry.endpoints {
            self.owners.insert(endpoint.settings.key, key);
        }
        self.applications.insert(key, entry);
    }

    fn forget(&mut self, key: ApplicationKey) {
        for endpoint in self
            .applications
            .remove(&key)
            .iter()
            .flat_map(|entry| &entry.endpoints)
        {
            self.owners.remove(&endpoint.settings.key);
        }
    }

    fn put_api_key(&mut self, key: &Arc<ApiKey>) {
        let before = self.api_keys.get(&key.hash);
        let known = KnownApiKey::new(Arc::clone(key), before.map(AsRef::as_ref));
        self.api_keys.insert(key.hash, Arc::new(known));
    }

    fn put_source(&mut self, source: Arc<LiveSource>) {
        self.forget_source(source.settings.key);
        let slug = source.settings.slug.clone();
        self.source_slugs.insert(slug, source.settings.key);
        self.sources.insert(source.settings.key, source);
    }

    fn forget_source(&mut self, key: SourceKey) {
        if let Some(source) = self.sources.remove(&key) {
            self.source_slugs.remove(&source.settings.slug);
        }
    }

    /// Forgets an environment, and the applications and sources that nobody can
    /// see any more.
    fn forget_environment(&mut self, environment: EnvironmentKey) {
        self.environments.remove(&environment);
        let of_it = |source: &&Arc<LiveSource>| source.settings.environment == environment;
        let sources = self.sources.values().filter(of_it);
        let keys: Vec<_> = sources.map(|source| source.settings.key).collect();
        for key in keys {
            self.forget_source(key);
        }
        let of_it = |entry: &&Arc<ApplicationEntry>| entry.application.environment == environment;
        let applications: Vec<_> = self.applications.values().filter(of_it).collect();
        let keys: Vec<_> = applications
            .iter()
            .map(|entry| entry.application.key)
            .collect();
        for key in keys {
            self.forget(key);
        }
    }
}

impl Catalog {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cached(&self, key: ApplicationKey) -> Option<Arc<ApplicationEntry>> {
        self.read().applications.get(&key).cloned()
    }

    fn cached_endpoint(&self, key: EndpointKey) -> Option<Arc<LiveEndpoint>> {
        let state = self.read();
        let entry = state.applications.get(state.owners.get(&key)?)?;
        entry.endpoint(key).cloned()
    }

    /// The API key whose text has this hash.
    #[must_use]
    pub fn api_key(&self, hash: &[u8; 32]) -> Option<Arc<KnownApiKey>> {
        self.read().api_keys.get(hash).cloned()
    }

    /// Every API key, oldest first.
    #[must_use]
    pub fn api_keys(&self) -> Vec<ApiKey> {
        let mut keys = self.api_keys_where(|_| true);
        keys.sort_by_key(|key| key.key);
        keys
    }

    /// The API keys that `wanted` picks, in no order.
    pub(super) fn api_keys_where(&self, wanted: impl Fn(&ApiKey) -> bool) -> Vec<ApiKey> {
        let state = self.read();
        let picked = state.api_keys.values().filter(|known| wanted(known));
        picked.map(|known| known.with_last_use()).collect()
    }

    /// The API key itself, whatever its text.
    #[must_use]
    pub fn api_key_of(&self, key: ApiKeyKey) -> Option<ApiKey> {
        self.api_keys_where(|known| known.key == key).pop()
    }

    pub(super) fn api_key_count(&self) -> usize {
        self.read().api_keys.len()
    }

    /// Uses of API keys that are not on disk yet, at most `max` of them.
    pub(super) fn unwritten_uses(&self, max: usize) -> Vec<(ApiKeyKey, Timestamp)> {
        let state = self.read();
        let uses = state.api_keys.values().filter_map(|known| {
            let used = Timestamp(known.used_ms.load(Ordering::Relaxed));
            let stored = known.last_used.unwrap_or_default();
            (used > stored).then_some((known.key.key, used))
        });
        uses.take(max).collect()
    }

    /// The environment, unless it is deleted.
    #[must_use]
    pub fn environment(&self, key: EnvironmentKey) -> Option<Arc<Environment>> {
        self.read().environments.get(&key).cloned()
    }

    /// Every environment, oldest first.
    #[must_use]
    pub fn environments(&self) -> Vec<Arc<Environment>> {
        let mut all: Vec<_> = self.read().environments.values().cloned().collect();
        all.sort_by_key(|environment| environment.key);
        all
    }

    /// The source whose URL ends in this.
    #[must_use]
    pub fn source_by_slug(&self, slug: &str) -> Option<Arc<LiveSource>> {
        let state = self.read();
        state.sources.get(state.source_slugs.get(slug)?).cloned()
    }

    /// The source itself.
    #[must_use]
    pub fn source(&self, key: SourceKey) -> Option<Arc<LiveSource>> {
        self.read().sources.get(&key).cloned()
    }

    /// The sources that `wanted` picks, oldest first.
    #[must_use]
    pub fn sources_where(&self, wanted: impl Fn(&Source) -> bool) -> Vec<Arc<LiveSource>> {
        let state = self.read();
        let all = state.sources.values();
        let mut picked: Vec<_> = all
            .filter(|source| wanted(&source.settings))
            .cloned()
            .collect();
        picked.sort_by_key(|source| source.settings.key);
        picked
    }

    /// Makes what a commit changed visible.
    pub(super) fn commit(&self, overlay: Overlay) {
        if overlay.is_empty() {
            return;
        }
        let mut state = self.write();
        state.changes += 1;
        for (key, changed) in overlay.applications {
            match changed {
                Some(entry) => state.put(entry),
                None => state.forget(key),
            }
        }
        for (hash, changed) in overlay.api_keys {
            match changed {
                Some(key) => state.put_api_key(&key),
                None => drop(state.api_keys.remove(&hash)),
            }
        }
        for (key, changed) in overlay.environments {
            match changed {
                Some(environment) => drop(state.environments.insert(key, environment)),
                None => state.forget_environment(key),
            }
        }
        // Those that go first: one that comes may have the slug of one that went.
        let (come, go): (Vec<_>, Vec<_>) = overlay
            .sources
            .into_iter()
            .partition(|(_, changed)| changed.is_some());
        for (key, _) in go {
            state.forget_source(key);
        }
        for (_, source) in come {
            state.put_source(source.expect("parted so"));
        }
    }

    pub(super) fn forget_applications(&self) {
        let mut state = self.write();
        state.changes += 1;
        state.applications.clear();
        state.owners.clear();
    }

    /// Holds these API keys and no others.
    pub(super) fn set_api_keys(&self, keys: Vec<ApiKey>) {
        let mut state = self.write();
        let before = std::mem::take(&mut state.api_keys);
        for key in keys {
            let known = before.get(&key.hash).map(AsRef::as_ref);
            let known = KnownApiKey::new(Arc::new(key), known);
            state.api_keys.insert(known.hash, Arc::new(known));
        }
    }

    /// Holds these sources and no others.
    pub(super) fn set_sources(&self, sources: Vec<LiveSource>) {
        let mut state = self.write();
        state.sources.clear();
        state.source_slugs.clear();
        for source in sources {
            state.put_source(Arc::new(source));
        }
    }

    /// Holds these environments and no others.
    pub(super) fn set_environments(&self, environments: Vec<Environment>) {
        let by_key = environments
            .into_iter()
            .map(|environment| (environment.key, Arc::new(environment)));
        self.write().environments = by_key.collect();
    }
}

/// What a transaction has changed so far of what the catalog holds.
#[derive(Default)]
pub(super) struct Overlay {
    applications: HashMap<ApplicationKey, Option<Arc<ApplicationEntry>>>,
    /// By hash, as the catalog has them: a text that was given up in this
    /// transaction stays given up, whatever follows. `None`: no longer a key.
    api_keys: HashMap<[u8; 32], Option<Arc<ApiKey>>>,
    environments: HashMap<EnvironmentKey, Option<Arc<Environment>>>,
    sources: HashMap<SourceKey, Option<Arc<LiveSource>>>,
}

impl Overlay {
    fn is_empty(&self) -> bool {
        self.applications.is_empty()
            && self.api_keys.is_empty()
            && self.environments.is_empty()
            && self.sources.is_empty()
    }

    /// `None`: not changed; `Some(None)`: deleted.
    #[expect(
        clippy::option_option,
        reason = "two different absences, as the text says"
    )]
    pub(super) fn source(&self, key: SourceKey) -> Option<Option<Arc<LiveSource>>> {
        self.sources.get(&key).cloned()
    }

    pub(super) fn put_source(&mut self, source: Arc<LiveSource>) {
        self.sources.insert(source.settings.key, Some(source));
    }

    pub(super) fn remove_source(&mut self, key: SourceKey) {
        self.sources.insert(key, None);
    }

    /// `None`: not changed; `Some(None)`: deleted.
    #[expect(
        clippy::option_option,
        reason = "two different absences, as the text says"
    )]
    pub(super) fn application(&self, key: ApplicationKey) -> Option<Option<Arc<ApplicationEntry>>> {
        self.applications.get(&key).cloned()
    }

    pub(super) fn put(&mut self, entry: Arc<ApplicationEntry>) {
        self.applications.insert(entry.application.key, Some(entry));
    }

    pub(super) fn remove(&mut self, key: ApplicationKey) {
        self.applications.insert(key, None);
    }

    /// `None`: not changed; `Some(None)`: no longer a key.
    #[expect(
        clippy::option_option,
        reason = "two different absences, as the text says"
    )]
    pub(super) fn api_key(&self, hash: &[u8; 32]) -> Option<Option<Arc<ApiKey>>> {
        self.api_keys.get(hash).cloned()
    }

    /// `None`: not changed; `Some(None)`: deleted.
    #[expect(
        clippy::option_option,
        reason = "two different absences, as the text says"
    )]
    pub(super) fn environment(&self, key: EnvironmentKey) -> Option<Option<Arc<Environment>>> {
        self.environments.get(&key).cloned()
    }

    /// The API keys that this transaction has made or changed.
    pub(super) fn changed_api_keys(&self) -> impl Iterator<Item = &Arc<ApiKey>> {
        self.api_keys.values().flatten()
    }

    /// The environments that this transaction has made, changed or deleted.
    pub(super) fn changed_environments(
        &self,
    ) -> &HashMap<EnvironmentKey, Option<Arc<Environment>>> {
        &self.environments
    }

    pub(super) fn put_environment(&mut self, environment: Arc<Environment>) {
        self.environments.insert(environment.key, Some(environment));
    }

    pub(super) fn remove_environment(&mut self, key: EnvironmentKey) {
        self.environments.insert(key, None);
    }

    pub(super) fn put_api_key(&mut self, key: Arc<ApiKey>) {
        self.api_keys.insert(key.hash, Some(key));
    }

    pub(super) fn replace_api_key(&mut self, old: &ApiKey, new: Arc<ApiKey>) {
        self.remove_api_key(old);
        self.put_api_key(new);
    }

    pub(super) fn remove_api_key(&mut self, key: &ApiKey) {
        self.api_keys.insert(key.hash, None);
    }
}

impl Store {
    /// An application and its endpoints, or `None` when there is none, or no
    /// more, or its environment is deleted.
    pub fn application(
        &self,
        key: ApplicationKey,
    ) -> Result<Option<Arc<ApplicationEntry>>, StoreError> {
        let catalog = &self.inner.catalog;
        if let Some(known) = catalog.cached(key) {
            return Ok(Some(known));
        }
        let before = catalog.read().changes;
        let loaded = self
            .read(|txn| load(key, txn, &self.inner.cipher))?
            .filter(|entry| catalog.environment(entry.application.environment).is_some())
            .map(Arc::new);
        if let Some(entry) = &loaded {
            let mut state = catalog.write();
            if state.changes == before {
                state.put(Arc::clone(entry));
            }
        }
        Ok(loaded)
    }

    /// A live endpoint, or `None` when there is none (or no more).
    pub fn live_endpoint(&self, key: EndpointKey) -> Result<Option<Arc<LiveEndpoint>>, StoreError> {
        if let Some(known) = self.inner.catalog.cached_endpoint(key) {
            return Ok(Some(known));
        }
        let owner = self.read(|txn| {
            let endpoints = txn.open_table(ENDPOINTS)?;
            let states = txn.open_table(ENDPOINT_STATES)?;
            read_endpoint(key, &endpoints, &states, &self.inner.cipher)
        })?;
        let Some(endpoint) = owner.filter(|endpoint| endpoint.settings.deleted.is_none()) else {
            return Ok(None);
        };
        let entry = self.application(endpoint.settings.application)?;
        Ok(entry.and_then(|entry| entry.endpoint(key).cloned()))
    }

    /// An endpoint as it is or, once deleted, as it last was.
    pub fn endpoint_even_deleted(
        &self,
        key: EndpointKey,
    ) -> Result<Option<LiveEndpoint>, StoreError> {
        self.read(|txn| {
            let endpoints = txn.open_table(ENDPOINTS)?;
            let states = txn.open_table(ENDPOINT_STATES)?;
            read_endpoint(key, &endpoints, &states, &self.inner.cipher)
        })
    }
}

/// Where an application is loaded from: a snapshot, or the writer's transaction.
pub(super) trait Tabled {
    fn load(
        &self,
        key: ApplicationKey,
        cipher: &Cipher,
    ) -> Result<Option<ApplicationEntry>, StoreError>;
}

impl Tabled for ReadTransaction {
    fn load(
        &self,
        key: ApplicationKey,
        cipher: &Cipher,
    ) -> Result<Option<ApplicationEntry>, StoreError> {
        load_from(
            key,
            &self.open_table(APPLICATIONS)?,
            &self.open_table(APPLICATION_ENDPOINTS)?,
            &self.open_table(ENDPOINTS)?,
            &self.open_table(ENDPOINT_STATES)?,
            cipher,
        )
    }
}

impl Tabled for Tables<'_> {
    fn load(
        &self,
        key: ApplicationKey,
        cipher: &Cipher,
    ) -> Result<Option<ApplicationEntry>, StoreError> {
        load_from(
            key,
            &self.applications,
            &self.application_endpoints,
            &self.endpoints,
            &self.endpoint_states,
            cipher,
        )
    }
}

pub(super) fn load(
    key: ApplicationKey,
    source: &impl Tabled,
    cipher: &Cipher,
) -> Result<Option<ApplicationEntry>, StoreError> {
    source.load(key, cipher)
}

fn load_from(
    key: ApplicationKey,
    applications: &impl ReadableTable<&'static [u8; 8], &'static [u8]>,
    owned: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
    endpoints: &impl ReadableTable<&'static [u8; 8], &'static [u8]>,
    states: &impl ReadableTable<&'static [u8; 8], &'static [u8]>,
    cipher: &Cipher,
) -> Result<Option<ApplicationEntry>, StoreError> {
    let Some(row) = applications.get(&key.as_u64().to_be_bytes())? else {
        return Ok(None);
    };
    let application = decode::<ApplicationV1>(row.value())?.into_domain(key);
    let mut found = Vec::new();
    for row in owned.range::<&[u8; 16]>(&pair(key.as_u64(), 0)..=&pair(key.as_u64(), u64::MAX))? {
        let (owned_key, deleted) = row?;
        if !deleted.value().is_empty() {
            continue;
        }
        let endpoint = EndpointKey::from_u64(second(owned_key.value()));
        let live = read_endpoint(endpoint, endpoints, states, cipher)?;
        found.push(Arc::new(live.ok_or(StoreError::Corrupt(
            "an application lists an endpoint that is not there",
        ))?));
    }
    Ok(Some(ApplicationEntry {
        application,
        endpoints: found,
    }))
}

pub(super) fn read_endpoint(
    key: EndpointKey,
    endpoints: &impl ReadableTable<&'static [u8; 8], &'static [u8]>,
    states: &impl ReadableTable<&'static [u8; 8], &'static [u8]>,
    cipher: &Cipher,
) -> Result<Option<LiveEndpoint>, StoreError> {
    let bytes = key.as_u64().to_be_bytes();
    let Some(row) = endpoints.get(&bytes)? else {
        return Ok(None);
    };
    let row: EndpointV1 = decode(row.value())?;
    let secrets = decode::<EndpointSecretsV1>(&cipher.open("endpoints", &bytes, &row.sealed)?)?;
    let settings = row.into_domain(key, secrets)?;
    let state = match states.get(&bytes)? {
        Some(row) => decode::<EndpointStateV1>(row.value())?.into(),
        None => EndpointState::default(),
    };
    Ok(Some(LiveEndpoint { settings, state }))
}

/// Writes an endpoint's settings.
pub(super) fn write_endpoint(
    endpoint: &Endpoint,
    tables: &mut Tables<'_>,
    cipher: &Cipher,
) -> Result<(), StoreError> {
    let key = endpoint.key.as_u64().to_be_bytes();
    let sealed = cipher.seal(
        "endpoints",
        &key,
        &super::codec::encode(&EndpointSecretsV1::from(endpoint)),
    );
    let row = super::codec::encode(&EndpointV1::new(endpoint, sealed));
    tables.endpoints.insert(&key, row.as_slice())?;
    Ok(())
}

/// Writes an endpoint's state; none is written while all is well.
pub(super) fn write_state(
    key: EndpointKey,
    state: &EndpointState,
    tables: &mut Tables<'_>,
) -> Result<(), StoreError> {
    let bytes = key.as_u64().to_be_bytes();
    if *state == EndpointState::default() {
        tables.endpoint_states.remove(&bytes)?;
    } else {
        let row = super::codec::encode(&EndpointStateV1::from(state));
        tables.endpoint_states.insert(&bytes, row.as_slice())?;
    }
    Ok(())
}

/// The key of an endpoint's uid.
pub(super) fn endpoint_uid(application: ApplicationKey, uid: &str) -> Vec<u8> {
    tables::number_text(application.as_u64(), uid)
}
