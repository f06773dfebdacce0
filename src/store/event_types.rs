//! Event types: made, changed, deleted, imported, found.
//!
//! Their key is their name in their environment. A second table leads from an
//! application to the types that name it, so that a deleted application can be
//! taken out of them in bounded steps; until then reading leaves it out.

use std::collections::BTreeSet;

use redb::{ReadableTable, Table};

use super::codec::{decode, encode};
use super::rows::{ApplicationV1, EventTypeTotalsV1, EventTypeV1};
use super::sweep::STEP_ROWS;
use super::tables::{
    APPLICATIONS, EVENT_TYPE_TOTALS, EVENT_TYPES, Tables, number_text, text_of, texts_of,
};
use super::writer::{Batch, Idempotent, Operation, Refusal, WriteError, Written};
use super::{Store, StoreError};
use crate::domain::event_type::{
    Audience, EventType, EventTypeChange, ImportedType, NewEventType, TYPES_BYTES_MAX, TYPES_MAX,
};
use crate::domain::ids::{ApplicationKey, EnvironmentKey, Key};
use crate::domain::principal::Scope;
use crate::domain::time::Timestamp;

/// What an import did, or would do: names, in the order of the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOutcome {
    pub created: Vec<String>,
    pub updated: Vec<String>,
    pub unchanged: Vec<String>,
    /// By name.
    pub archived: Vec<String>,
}

impl Store {
    /// Makes an event type. Like every change of one, this needs a scope of the
    /// whole environment.
    pub async fn create_event_type(
        &self,
        scope: Scope,
        new: NewEventType,
        idempotent: Option<Idempotent<EventType>>,
    ) -> Result<Written<EventType>, WriteError> {
        self.write(Create { scope, new }, idempotent).await
    }

    /// Changes what `change` names, and answers with all of it.
    pub async fn update_event_type(
        &self,
        scope: Scope,
        name: String,
        change: EventTypeChange,
    ) -> Result<EventType, WriteError> {
        let update = Update {
            scope,
            name,
            change,
        };
        self.write_once(update).await
    }

    /// Deletes a type's description; messages of it stay, and can be sent.
    pub async fn delete_event_type(
        &self,
        scope: Scope,
        name: String,
    ) -> Result<EventType, WriteError> {
        self.write_once(Delete { scope, name }).await
    }

    /// Makes and changes types as `imported` says, all or nothing. With
    /// `replace_all`, those that it does not name are archived.
    pub async fn import_event_types(
        &self,
        scope: Scope,
        imported: Vec<ImportedType>,
        replace_all: bool,
        idempotent: Option<Idempotent<ImportOutcome>>,
    ) -> Result<Written<ImportOutcome>, WriteError> {
        let import = Import {
            scope,
            imported,
            replace_all,
        };
        self.write(import, idempotent).await
    }

    /// What an import would do now.
    pub fn preview_import(
        &self,
        scope: Scope,
        imported: &[ImportedType],
        replace_all: bool,
    ) -> Result<ImportOutcome, WriteError> {
        if !scope.covers_environment() {
            return Err(Refusal::NoEventType.into());
        }
        let environment = scope.environment;
        let planned = self.read(|txn| {
            let totals = txn.open_table(EVENT_TYPE_TOTALS)?;
            let totals = read_totals(environment, &totals)?;
            let types = txn.open_table(EVENT_TYPES)?;
            planned_import(environment, imported, replace_all, &types, totals)
        })?;
        Ok(planned?.outcome)
    }

    /// The type of this name as somebody within `scope` sees it, if they do.
    pub fn find_event_type(
        &self,
        scope: Scope,
        name: &str,
    ) -> Result<Option<EventType>, StoreError> {
        self.read(|txn| {
            let types = txn.open_table(EVENT_TYPES)?;
            let found = read_one(scope.environment, name, &types)?;
            let Some(seen) = found.and_then(|found| found.seen_by(scope)) else {
                return Ok(None);
            };
            Ok(Some(without_deleted(seen, &txn.open_table(APPLICATIONS)?)?))
        })
    }

    /// The types that somebody within `scope` sees, by name: `take` of those
    /// that are `archived`, or not, after `skip`.
    pub fn list_event_types(
        &self,
        scope: Scope,
        archived: bool,
        skip: usize,
        take: usize,
    ) -> Result<Vec<EventType>, StoreError> {
        self.read(|txn| {
            let types = txn.open_table(EVENT_TYPES)?;
            let applications = txn.open_table(APPLICATIONS)?;
            let seen = all_of(scope.environment, &types)?.filter_map(|found| match found {
                Ok(found) if found.archived != archived => None,
                Ok(found) => found.seen_by(scope).map(Ok),
                Err(error) => Some(Err(error)),
            });
            seen.skip(skip)
                .take(take)
                .map(|seen| without_deleted(seen?, &applications))
                .collect()
        })
    }
}

/// The type, naming only applications that are there.
fn without_deleted(
    event_type: EventType,
    applications: &impl ReadableTable<&'static [u8; 8], &'static [u8]>,
) -> Result<EventType, StoreError> {
    let Audience::Only(named) = event_type.audience else {
        return Ok(event_type);
    };
    let mut there = Vec::with_capacity(named.len());
    for application in named {
        if applications
            .get(&application.as_u64().to_be_bytes())?
            .is_some()
        {
            there.push(application);
        }
    }
    Ok(EventType {
        audience: Audience::Only(there),
        ..event_type
    })
}

fn read_one(
    environment: EnvironmentKey,
    name: &str,
    types: &impl ReadableTable<&'static [u8], &'static [u8]>,
) -> Result<Option<EventType>, StoreError> {
    let row = types.get(number_text(environment.as_u64(), name).as_slice())?;
    let row = row.map(|bytes| decode::<EventTypeV1>(bytes.value()));
    Ok(row
        .transpose()?
        .map(|row| row.into_domain(environment, name.to_owned())))
}

/// Every type of an environment, by name.
fn all_of(
    environment: EnvironmentKey,
    types: &impl ReadableTable<&'static [u8], &'static [u8]>,
) -> Result<impl Iterator<Item = Result<EventType, StoreError>>, StoreError> {
    let keys = texts_of(environment.as_u64());
    let rows = types.range::<&[u8]>(keys.start.as_slice()..keys.end.as_slice())?;
    Ok(rows.map(move |row| {
        let (key, value) = row?;
        let name = text_of(key.value());
        Ok(decode::<EventTypeV1>(value.value())?.into_domain(environment, name))
    }))
}

fn read_totals(
    environment: EnvironmentKey,
    totals: &impl ReadableTable<&'static [u8; 8], &'static [u8]>,
) -> Result<EventTypeTotalsV1, StoreError> {
    let row = totals.get(&environment.as_u64().to_be_bytes())?;
    let row = row.map(|bytes| decode::<EventTypeTotalsV1>(bytes.value()));
    Ok(row.transpose()?.unwrap_or_default())
}

/// `totals` with `after` in place of `before`.
fn changed_totals(
    totals: EventTypeTotalsV1,
    before: Option<&EventType>,
    after: Option<&EventType>,
) -> EventTypeTotalsV1 {
    let bytes = |of: Option<&EventType>| of.map_or(0, EventType::text_bytes);
    EventTypeTotalsV1 {
        types: totals.types + u64::from(after.is_some()) - u64::from(before.is_some()),
        bytes: totals.bytes + bytes(after) - bytes(before),
    }
}

/// Refused when there would be more than may be, and more than there are.
fn check_totals(before: EventTypeTotalsV1, after: EventTypeTotalsV1) -> Result<(), Refusal> {
    let over = |max: u64, before: u64, after: u64| after > max && after > before;
    if over(TYPES_MAX, before.types, after.types)
        || over(TYPES_BYTES_MAX, before.bytes, after.bytes)
    {
        return Err(Refusal::EventTypesFull);
    }
    Ok(())
}

/// Writes `after` in place of `before`, here and wherever it is counted or
/// listed. One of them at least is there.
fn replace(
    before: Option<&EventType>,
    after: Option<&EventType>,
    tables: &mut Tables<'_>,
) -> Result<(), StoreError> {
    let Some(one) = after.or(before) else {
        return Ok(());
    };
    let environment = one.environment.as_u64().to_be_bytes();
    let key = number_text(one.environment.as_u64(), &one.name);
    match after {
        Some(after) => {
            let row = encode(&EventTypeV1::from(after));
            tables.event_types.insert(key.as_slice(), row.as_slice())?;
        }
        None => {
            tables.event_types.remove(key.as_slice())?;
        }
    }
    let named = |of: Option<&EventType>| of.map_or(&[][..], |of| of.audience.named()).to_vec();
    let (old, new) = (named(before), named(after));
    for gone in old.iter().filter(|one| !new.contains(one)) {
        let listed = number_text(gone.as_u64(), &one.name);
        tables.application_event_types.remove(listed.as_slice())?;
    }
    for application in new {
        let listed = number_text(application.as_u64(), &one.name);
        tables
            .application_event_types
            .insert(listed.as_slice(), &environment)?;
    }
    let totals = read_totals(one.environment, &tables.event_type_totals)?;
    let totals = changed_totals(totals, before, after);
    if totals == EventTypeTotalsV1::default() {
        tables.event_type_totals.remove(&environment)?;
    } else {
        tables
            .event_type_totals
            .insert(&environment, encode(&totals).as_slice())?;
    }
    Ok(())
}

/// Whether all that `audience` names are applications of the environment.
fn check_audience(
    environment: EnvironmentKey,
    audience: &Audience,
    tables: &Tables<'_>,
) -> Result<Result<(), Refusal>, StoreError> {
    for &application in audience.named() {
        let row = tables
            .applications
            .get(&application.as_u64().to_be_bytes())?;
        let row = row.map(|bytes| decode::<ApplicationV1>(bytes.value()));
        let found = row.transpose()?.map(|row| row.into_domain(application));
        if found.is_none_or(|found| found.environment != environment) {
            return Ok(Err(Refusal::NoApplication));
        }
    }
    Ok(Ok(()))
}

/// The type that is to be changed, if `scope` may.
fn changeable(
    scope: Scope,
    name: &str,
    tables: &Tables<'_>,
) -> Result<Result<EventType, Refusal>, StoreError> {
    if !scope.covers_environment() {
        return Ok(Err(Refusal::NoEventType));
    }
    let found = read_one(scope.environment, name, &tables.event_types)?;
    Ok(found.ok_or(Refusal::NoEventType))
}

struct Create {
    scope: Scope,
    new: NewEventType,
}

impl Create {
    fn made(&self, now: Timestamp) -> EventType {
        EventType {
            environment: self.scope.environment,
            name: self.new.name.clone(),
            description: self.new.description.clone(),
            content: self.new.content.clone(),
            audience: self.new.audience.clone(),
            archived: false,
            created: now,
            updated: now,
        }
    }
}

impl Operation for Create {
    type Plan = EventType;
    type Answer = EventType;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<EventType, Refusal>, StoreError> {
        let environment = self.scope.environment;
        if batch.environment(environment).is_none() {
            return Ok(Err(Refusal::NoEnvironment));
        }
        match changeable(self.scope, &self.new.name, tables)? {
            Ok(_) => return Ok(Err(Refusal::EventTypeTaken)),
            Err(_) if self.scope.covers_environment() => {}
            Err(refusal) => return Ok(Err(refusal)),
        }
        if let Err(refusal) = check_audience(environment, &self.new.audience, tables)? {
            return Ok(Err(refusal));
        }
        let made = self.made(batch.now);
        let before = read_totals(environment, &tables.event_type_totals)?;
        let after = changed_totals(before, None, Some(&made));
        Ok(check_totals(before, after).map(|()| made))
    }

    fn apply(
        self,
        made: EventType,
        tables: &mut Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<EventType, StoreError> {
        replace(None, Some(&made), tables)?;
        Ok(made)
    }
}

struct Update {
    scope: Scope,
    name: String,
    change: EventTypeChange,
}

impl Operation for Update {
    /// Before and after.
    type Plan = (EventType, EventType);
    type Answer = EventType;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let before = match changeable(self.scope, &self.name, tables)? {
            Ok(before) => before,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let environment = before.environment;
        if let Some(audience) = &self.change.audience
            && let Err(refusal) = check_audience(environment, audience, tables)?
        {
            return Ok(Err(refusal));
        }
        let change = std::mem::take(&mut self.change);
        let after = change.applied_to(before.clone(), batch.now);
        let totals = read_totals(environment, &tables.event_type_totals)?;
        let changed = changed_totals(totals, Some(&before), Some(&after));
        Ok(check_totals(totals, changed).map(|()| (before, after)))
    }

    fn apply(
        self,
        (before, after): Self::Plan,
        tables: &mut Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<EventType, StoreError> {
        replace(Some(&before), Some(&after), tables)?;
        without_deleted(after, &tables.applications)
    }
}

struct Delete {
    scope: Scope,
    name: String,
}

impl Operation for Delete {
    type Plan = EventType;
    type Answer = EventType;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<EventType, Refusal>, StoreError> {
        changeable(self.scope, &self.name, tables)
    }

    fn apply(
        self,
        deleted: EventType,
        tables: &mut Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<EventType, StoreError> {
        replace(Some(&deleted), None, tables)?;
        without_deleted(deleted, &tables.applications)
    }
}

struct Import {
    scope: Scope,
    imported: Vec<ImportedType>,
    replace_all: bool,
}

/// What an import has to write.
struct PlannedImport {
    outcome: ImportOutcome,
    /// For each imported type that is new or other than before: its place among
    /// them, and the one before.
    changed: Vec<(usize, Option<EventType>)>,
    archived: Vec<EventType>,
}

/// `imported` as a change of the type of its name.
fn as_change(imported: &ImportedType) -> EventTypeChange {
    EventTypeChange {
        description: Some(imported.description.clone()),
        content: Some(imported.content.clone()),
        audience: None,
        archived: Some(false),
    }
}

/// A new type for everyone.
fn as_new(imported: &ImportedType, environment: EnvironmentKey, now: Timestamp) -> EventType {
    EventType {
        environment,
        name: imported.name.clone(),
        description: imported.description.clone(),
        content: imported.content.clone(),
        audience: Audience::Everyone,
        archived: false,
        created: now,
        updated: now,
    }
}

/// The type that `imported` makes of `before`.
fn imported_type(
    imported: &ImportedType,
    before: Option<&EventType>,
    environment: EnvironmentKey,
    now: Timestamp,
) -> EventType {
    match before {
        Some(before) => as_change(imported).applied_to(before.clone(), now),
        None => as_new(imported, environment, now),
    }
}

fn planned_import(
    environment: EnvironmentKey,
    imported: &[ImportedType],
    replace_all: bool,
    types: &impl ReadableTable<&'static [u8], &'static [u8]>,
    totals: EventTypeTotalsV1,
) -> Result<Result<PlannedImport, Refusal>, StoreError> {
    let mut plan = PlannedImport {
        outcome: ImportOutcome::default(),
        changed: Vec::new(),
        archived: Vec::new(),
    };
    let mut changed_to = totals;
    for (at, one) in imported.iter().enumerate() {
        let before = read_one(environment, &one.name, types)?;
        let outcome = &mut plan.outcome;
        let names = match &before {
            None => &mut outcome.created,
            Some(before) if one.is_like(before) => {
                outcome.unchanged.push(one.name.clone());
                continue;
            }
            Some(_) => &mut outcome.updated,
        };
        names.push(one.name.clone());
        let after = imported_type(one, before.as_ref(), environment, Timestamp(0));
        changed_to = changed_totals(changed_to, before.as_ref(), Some(&after));
        plan.changed.push((at, before));
    }
    if replace_all {
        let kept: BTreeSet<&str> = imported.iter().map(|one| one.name.as_str()).collect();
        for found in all_of(environment, types)? {
            let found = found?;
            if !found.archived && !kept.contains(found.name.as_str()) {
                plan.outcome.archived.push(found.name.clone());
                plan.archived.push(found);
            }
        }
    }
    Ok(check_totals(totals, changed_to).map(|()| plan))
}

impl Operation for Import {
    type Plan = PlannedImport;
    type Answer = ImportOutcome;

    fn weight(&self) -> usize {
        let bytes = |one: &ImportedType| {
            let examples: usize = one.content.examples.iter().map(String::len).sum();
            one.description.len() + one.content.schema.as_ref().map_or(0, String::len) + examples
        };
        self.imported.iter().map(bytes).sum()
    }

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<PlannedImport, Refusal>, StoreError> {
        if !self.scope.covers_environment() {
            return Ok(Err(Refusal::NoEventType));
        }
        let environment = self.scope.environment;
        if batch.environment(environment).is_none() {
            return Ok(Err(Refusal::NoEnvironment));
        }
        let totals = read_totals(environment, &tables.event_type_totals)?;
        planned_import(
            environment,
            &self.imported,
            self.replace_all,
            &tables.event_types,
            totals,
        )
    }

    fn apply(
        self,
        plan: PlannedImport,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<ImportOutcome, StoreError> {
        let environment = self.scope.environment;
        for (at, before) in plan.changed {
            let before = before.as_ref();
            let after = imported_type(&self.imported[at], before, environment, batch.now);
            replace(before, Some(&after), tables)?;
        }
        for before in plan.archived {
            let after = EventType {
                archived: true,
                updated: batch.now,
                ..before.clone()
            };
            replace(Some(&before), Some(&after), tables)?;
        }
        Ok(plan.outcome)
    }
}

type Listed<'txn> = Table<'txn, &'static [u8], &'static [u8; 8]>;

/// The first [`STEP_ROWS`] types that name an application, with their
/// environments.
fn first_naming(
    application: u64,
    listed: &Listed<'_>,
) -> Result<Vec<(EnvironmentKey, String)>, StoreError> {
    let keys = texts_of(application);
    let rows = listed.range::<&[u8]>(keys.start.as_slice()..keys.end.as_slice())?;
    rows.take(STEP_ROWS)
        .map(|row| {
            let (key, environment) = row?;
            let environment = u64::from_be_bytes(*environment.value());
            let name = text_of(key.value());
            Ok((EnvironmentKey::from_u64(environment), name))
        })
        .collect()
}

/// Takes a deleted application out of one step of the types that name it; true
/// when none are left. A type that was for it alone is then for none.
pub(super) fn forget_application(
    application: u64,
    tables: &mut Tables<'_>,
) -> Result<bool, StoreError> {
    let naming = first_naming(application, &tables.application_event_types)?;
    for (environment, name) in &naming {
        let Some(before) = read_one(*environment, name, &tables.event_types)? else {
            return Err(StoreError::Corrupt(
                "an application lists a type that is not there",
            ));
        };
        let mut left: Vec<ApplicationKey> = before.audience.named().to_vec();
        left.retain(|one| one.as_u64() != application);
        let after = EventType {
            audience: Audience::Only(left),
            ..before.clone()
        };
        replace(Some(&before), Some(&after), tables)?;
    }
    Ok(naming.len() < STEP_ROWS)
}

/// Removes one step of an environment's types; true when none are left.
pub(super) fn remove_all_of(
    environment: EnvironmentKey,
    tables: &mut Tables<'_>,
) -> Result<bool, StoreError> {
    let first: Vec<EventType> = all_of(environment, &tables.event_types)?
        .take(STEP_ROWS)
        .collect::<Result<_, _>>()?;
    for event_type in &first {
        replace(Some(event_type), None, tables)?;
    }
    Ok(first.len() < STEP_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event_type::Content;

    fn event_type(environment: u64, name: &str, audience: Audience) -> EventType {
        EventType {
            environment: EnvironmentKey::from_u64(environment),
            name: name.to_owned(),
            description: "four".to_owned(),
            content: Content::default(),
            audience,
            archived: false,
            created: Timestamp(1),
            updated: Timestamp(1),
        }
    }

    fn totals(environment: u64, tables: &Tables<'_>) -> (u64, u64) {
        let environment = EnvironmentKey::from_u64(environment);
        let totals = read_totals(environment, &tables.event_type_totals).unwrap();
        (totals.types, totals.bytes)
    }

    /// More than one step takes, in two environments.
    fn fill(tables: &mut Tables<'_>) {
        let only = |key| Audience::only(vec![ApplicationKey::from_u64(key)]);
        for n in 0..=STEP_ROWS {
            let one = event_type(1, &format!("a{n}"), only(7));
            replace(None, Some(&one), tables).unwrap();
        }
        for name in ["a0", "b"] {
            replace(None, Some(&event_type(2, name, only(8))), tables).unwrap();
        }
    }

    #[test]
    fn the_types_of_an_environment_or_an_application_go_step_by_step() {
        let backend = redb::backends::InMemoryBackend::new();
        let database = redb::Database::builder()
            .create_with_backend(backend)
            .unwrap();
        let txn = database.begin_write().unwrap();
        let mut tables = Tables::open(&txn).unwrap();
        fill(&mut tables);
        let all = STEP_ROWS as u64 + 1;
        assert_eq!(totals(1, &tables), (all, 4 * all));

        assert!(!forget_application(7, &mut tables).unwrap());
        assert!(forget_application(7, &mut tables).unwrap());
        assert!(
            first_naming(7, &tables.application_event_types)
                .unwrap()
                .is_empty()
        );
        let environment = EnvironmentKey::from_u64(1);
        let one = read_one(environment, "a0", &tables.event_types).unwrap();
        assert_eq!(one.unwrap().audience, Audience::Only(Vec::new()));
        assert_eq!(totals(1, &tables), (all, 4 * all));

        assert!(!remove_all_of(environment, &mut tables).unwrap());
        assert_eq!(totals(1, &tables), (1, 4));
        assert!(remove_all_of(environment, &mut tables).unwrap());
        assert!(remove_all_of(environment, &mut tables).unwrap());
        assert!(
            all_of(environment, &tables.event_types)
                .unwrap()
                .next()
                .is_none()
        );
        let key = 1_u64.to_be_bytes();
        assert!(tables.event_type_totals.get(&key).unwrap().is_none());
        assert_eq!(totals(2, &tables), (2, 8));
        let other = EnvironmentKey::from_u64(2);
        assert!(remove_all_of(other, &mut tables).unwrap());
        assert!(
            first_naming(8, &tables.application_event_types)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn nothing_may_be_made_beyond_a_limit_but_less_may() {
        let totals = |types, bytes| EventTypeTotalsV1 { types, bytes };
        for (before, after, fits) in [
            (totals(0, 0), totals(1, 10), true),
            (totals(TYPES_MAX - 1, 0), totals(TYPES_MAX, 0), true),
            (totals(TYPES_MAX, 0), totals(TYPES_MAX + 1, 0), false),
            (totals(TYPES_MAX, 0), totals(TYPES_MAX, 9), true),
            (
                totals(1, TYPES_BYTES_MAX),
                totals(2, TYPES_BYTES_MAX + 1),
                false,
            ),
            (
                totals(1, TYPES_BYTES_MAX + 9),
                totals(1, TYPES_BYTES_MAX + 8),
                true,
            ),
            (totals(TYPES_MAX + 9, 9), totals(TYPES_MAX + 8, 9), true),
        ] {
            let checked = check_totals(before, after);
            assert_eq!(checked.is_ok(), fits, "{before:?} {after:?}");
        }
    }
}
