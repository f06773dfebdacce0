//! Sources: made, changed, deleted. All of them are in memory, with their
//! verifiers ready.

use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable as _};

use super::applications::covered;
use super::cipher::Cipher;
use super::codec::{decode, encode};
use super::rows::{SourceSecretsV1, SourceV1};
use super::tables::{SOURCES, Tables};
use super::writer::{Batch, Idempotent, Operation, Refusal, WriteError, Written};
use super::{Store, StoreError, sweep};
use crate::domain::audit::AuditAction;
use crate::domain::ids::{ApplicationKey, EnvironmentKey, Key, SourceKey};
use crate::domain::principal::{Principal, Scope};
use crate::domain::secret::Secret;
use crate::domain::source::{LiveSource, SOURCES_MAX, Source, SourceChange};
use crate::domain::verification::{Verification, Verifier};

impl Store {
    /// Makes a source. `change` has a slug and a verification.
    pub async fn create_source(
        &self,
        principal: Principal,
        application: ApplicationKey,
        change: SourceChange,
        idempotent: Option<Idempotent<Arc<LiveSource>>>,
    ) -> Result<Written<Arc<LiveSource>>, WriteError> {
        let create = Create {
            principal,
            application,
            change,
        };
        self.write(create, idempotent).await
    }

    /// Changes what `change` names, and answers with all of it.
    pub async fn update_source(
        &self,
        principal: Principal,
        key: SourceKey,
        change: SourceChange,
    ) -> Result<Arc<LiveSource>, WriteError> {
        self.write_once(Update {
            principal,
            key,
            change,
        })
        .await
    }

    /// Keeps the secret that a handshake told, if the source has none.
    pub async fn learn_secret(&self, key: SourceKey, secret: Secret) -> Result<(), WriteError> {
        self.write_once(Learn { key, secret }).await
    }

    /// Notes that somebody reads a source's secrets, then gives them.
    pub async fn read_source_secrets(
        &self,
        principal: Principal,
        key: SourceKey,
    ) -> Result<Arc<LiveSource>, WriteError> {
        self.write_once(ReadSecrets { principal, key }).await
    }

    /// Deletes a source. It takes nothing more at once; what it kept is swept
    /// from the disk afterwards. Its messages stay.
    pub async fn delete_source(
        &self,
        principal: Principal,
        key: SourceKey,
    ) -> Result<Arc<LiveSource>, WriteError> {
        self.write_once(Delete { principal, key }).await
    }

    /// The source with this id or slug, if `scope` covers it.
    #[must_use]
    pub fn find_source(&self, scope: Scope, id_or_slug: &str) -> Option<Arc<LiveSource>> {
        let catalog = self.catalog();
        let found = match self.ids().parse::<SourceKey>(id_or_slug) {
            Some(key) => catalog.source(key),
            None => catalog.source_by_slug(id_or_slug),
        };
        found.filter(|source| covers(scope, &source.settings))
    }

    /// The sources that `scope` covers, oldest first; of one application, if one
    /// is named.
    #[must_use]
    pub fn list_sources(
        &self,
        scope: Scope,
        application: Option<ApplicationKey>,
    ) -> Vec<Arc<LiveSource>> {
        self.catalog().sources_where(|source| {
            covers(scope, source) && application.is_none_or(|only| only == source.application)
        })
    }
}

fn covers(scope: Scope, source: &Source) -> bool {
    scope.covers(source.environment, source.application)
}

/// All sources, for the catalog. Those of environments or applications that are
/// deleted are left to the sweeper.
pub(super) fn load(txn: &ReadTransaction, cipher: &Cipher) -> Result<Vec<LiveSource>, StoreError> {
    let applications = txn.open_table(super::tables::APPLICATIONS)?;
    let environments = txn.open_table(super::tables::ENVIRONMENTS)?;
    let mut sources = Vec::new();
    for row in txn.open_table(SOURCES)?.iter()? {
        let (key, value) = row?;
        let source = read_row(*key.value(), value.value(), cipher)?;
        let owner = source.application.as_u64().to_be_bytes();
        let world = source.environment.as_u64().to_be_bytes();
        if applications.get(&owner)?.is_some() && environments.get(&world)?.is_some() {
            sources.push(live(source)?);
        }
    }
    Ok(sources)
}

pub(super) fn read_row(key: [u8; 8], value: &[u8], cipher: &Cipher) -> Result<Source, StoreError> {
    let row: SourceV1 = decode(value)?;
    let secrets = decode::<SourceSecretsV1>(&cipher.open("sources", &key, &row.sealed)?)?;
    row.into_domain(SourceKey::from_u64(u64::from_be_bytes(key)), secrets)
}

fn live(settings: Source) -> Result<LiveSource, StoreError> {
    let verifier = Verifier::new(&settings.verification)
        .map_err(|_| StoreError::Corrupt("a source whose verification cannot be read"))?;
    Ok(LiveSource { settings, verifier })
}

/// Writes a source, and makes it known.
fn write(
    settings: Source,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<Arc<LiveSource>, StoreError> {
    let key = settings.key.as_u64().to_be_bytes();
    let sealed =
        batch
            .inner
            .cipher
            .seal("sources", &key, &encode(&SourceSecretsV1::from(&settings)));
    let row = encode(&SourceV1::new(&settings, sealed));
    tables.sources.insert(&key, row.as_slice())?;
    tables.source_slugs.insert(settings.slug.as_bytes(), &key)?;
    let source = Arc::new(live(settings)?);
    batch.overlay.put_source(Arc::clone(&source));
    Ok(source)
}

/// A source, as this transaction sees it.
pub(super) fn known(key: SourceKey, batch: &Batch<'_>) -> Option<Arc<LiveSource>> {
    let source = match batch.overlay.source(key) {
        Some(changed) => changed,
        None => batch.inner.catalog.source(key),
    };
    source.filter(|source| batch.environment(source.settings.environment).is_some())
}

/// As [`known`], if `scope` covers it.
fn covered_source(
    scope: Scope,
    key: SourceKey,
    batch: &Batch<'_>,
) -> Result<Arc<LiveSource>, Refusal> {
    let found = known(key, batch).filter(|source| covers(scope, &source.settings));
    found.ok_or(Refusal::NoSource)
}

/// Whether a source of the environment may have the slug. One that a source of
/// another had is not free: its senders still send there.
fn slug_is_free(
    slug: &str,
    own: Option<SourceKey>,
    environment: EnvironmentKey,
    tables: &Tables<'_>,
) -> Result<Result<(), Refusal>, StoreError> {
    let holder = tables.source_slugs.get(slug.as_bytes())?;
    let other = holder
        .is_some_and(|key| own.is_none_or(|own| own.as_u64() != u64::from_be_bytes(*key.value())));
    let former = tables.former_slugs.get(slug.as_bytes())?;
    let elsewhere =
        former.is_some_and(|of| u64::from_be_bytes(*of.value()) != environment.as_u64());
    let inbox = tables.inbox_tokens.get(slug.as_bytes())?.is_some();
    Ok(if other || elsewhere || inbox {
        Err(Refusal::SlugTaken)
    } else {
        Ok(())
    })
}

/// Frees a slug, for sources of its environment.
fn free_slug(
    slug: &str,
    environment: EnvironmentKey,
    tables: &mut Tables<'_>,
) -> Result<(), StoreError> {
    tables.source_slugs.remove(slug.as_bytes())?;
    let environment = environment.as_u64().to_be_bytes();
    tables.former_slugs.insert(slug.as_bytes(), &environment)?;
    Ok(())
}

fn audit(
    action: AuditAction,
    source: &Source,
    principal: Principal,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let place = (source.environment, Some(source.application));
    let subject = batch.inner.ids.text(source.key);
    let what = (action, subject, source.name.clone());
    batch.audit(tables, principal.actor, place, what)
}

struct Create {
    principal: Principal,
    application: ApplicationKey,
    change: SourceChange,
}

impl Operation for Create {
    type Plan = ();
    type Answer = Arc<LiveSource>;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let scope = self.principal.scope;
        let entry = match covered(scope, self.application, tables, batch)? {
            Ok(entry) => entry,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let environment = entry.application.environment;
        let built_in = batch
            .environment(environment)
            .is_some_and(|one| one.operational == self.application);
        if built_in {
            return Ok(Err(Refusal::BuiltIn));
        }
        let there = batch
            .inner
            .catalog
            .sources_where(|one| one.environment == environment);
        if there.len() >= SOURCES_MAX {
            return Ok(Err(Refusal::TooMany {
                of: "sources",
                max: SOURCES_MAX,
            }));
        }
        slug_is_free(
            self.change.slug.as_deref().unwrap_or_default(),
            None,
            environment,
            tables,
        )
    }

    fn apply(
        self,
        (): (),
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Arc<LiveSource>, StoreError> {
        let mut source = Source {
            key: batch.key(),
            environment: self.principal.scope.environment,
            application: self.application,
            name: String::new(),
            slug: String::new(),
            enabled: true,
            verification: Verification::default(),
            event_type: crate::domain::source::EventTypeRule::default(),
            dedupe: crate::domain::source::Dedupe::default(),
            record: None,
            answer: crate::domain::source::AnswerRule::default(),
            limits: crate::domain::source::Limits::default(),
            created: batch.now,
            updated: batch.now,
        };
        self.change.apply(&mut source);
        write(source, tables, batch)
    }
}

struct Update {
    principal: Principal,
    key: SourceKey,
    change: SourceChange,
}

impl Operation for Update {
    type Plan = Arc<LiveSource>;
    type Answer = Arc<LiveSource>;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let source = match covered_source(self.principal.scope, self.key, batch) {
            Ok(source) => source,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Some(slug) = &self.change.slug
            && let Err(refusal) =
                slug_is_free(slug, Some(self.key), source.settings.environment, tables)?
        {
            return Ok(Err(refusal));
        }
        Ok(Ok(source))
    }

    fn apply(
        self,
        before: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Arc<LiveSource>, StoreError> {
        let mut source = before.settings.clone();
        let rotates = self.change.verification.as_ref().is_some_and(|new| {
            let old = &before.settings.verification;
            new.secrets != old.secrets
        });
        self.change.apply(&mut source);
        source.updated = batch.now;
        if source.slug != before.settings.slug {
            free_slug(&before.settings.slug, source.environment, tables)?;
        }
        if rotates {
            let done = AuditAction::SecretRotated;
            audit(done, &source, self.principal, tables, batch)?;
        }
        write(source, tables, batch)
    }
}

struct Learn {
    key: SourceKey,
    secret: Secret,
}

impl Operation for Learn {
    type Plan = Arc<LiveSource>;
    type Answer = ();

    fn check(
        &mut self,
        _: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let source = known(self.key, batch);
        let source = source.filter(|source| !source.verifier.has_secrets());
        Ok(source.ok_or(Refusal::NoSource))
    }

    fn apply(
        self,
        before: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<(), StoreError> {
        let mut source = before.settings.clone();
        source.verification.secrets = vec![self.secret];
        // What does not fit the preset would make a source that cannot be read.
        if Verifier::new(&source.verification).is_ok() {
            source.updated = batch.now;
            write(source, tables, batch)?;
        }
        Ok(())
    }
}

struct ReadSecrets {
    principal: Principal,
    key: SourceKey,
}

impl Operation for ReadSecrets {
    type Plan = Arc<LiveSource>;
    type Answer = Arc<LiveSource>;

    fn check(
        &mut self,
        _: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        Ok(covered_source(self.principal.scope, self.key, batch))
    }

    fn apply(
        self,
        source: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Arc<LiveSource>, StoreError> {
        let read = AuditAction::SecretRead;
        audit(read, &source.settings, self.principal, tables, batch)?;
        Ok(source)
    }
}

struct Delete {
    principal: Principal,
    key: SourceKey,
}

impl Operation for Delete {
    type Plan = Arc<LiveSource>;
    type Answer = Arc<LiveSource>;

    fn check(
        &mut self,
        _: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        Ok(covered_source(self.principal.scope, self.key, batch))
    }

    fn apply(
        self,
        source: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Arc<LiveSource>, StoreError> {
        let deleted = AuditAction::SourceDeleted;
        audit(deleted, &source.settings, self.principal, tables, batch)?;
        remove(&source.settings, tables, batch)?;
        Ok(source)
    }
}

/// Takes a source out of the store, and leaves what it kept to the sweeper.
pub(super) fn remove(
    source: &Source,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let key = source.key.as_u64();
    tables.sources.remove(&key.to_be_bytes())?;
    free_slug(&source.slug, source.environment, tables)?;
    sweep::mark(key, sweep::Kind::Source, tables)?;
    batch.overlay.remove_source(source.key);
    Ok(())
}

/// Removes the sources of an application, by the table: its environment may be
/// gone from memory.
pub(super) fn remove_all_of(
    application: ApplicationKey,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let mut owned = Vec::new();
    for row in tables.sources.iter()? {
        let (key, value) = row?;
        let row: SourceV1 = decode(value.value())?;
        if row.application == application {
            let key = u64::from_be_bytes(*key.value());
            owned.push((key, row.slug, row.environment));
        }
    }
    for (key, slug, environment) in owned {
        tables.sources.remove(&key.to_be_bytes())?;
        free_slug(&slug, environment, tables)?;
        sweep::mark(key, sweep::Kind::Source, tables)?;
        batch.overlay.remove_source(SourceKey::from_u64(key));
    }
    Ok(())
}
