//! Which events sources have seen, so that none is taken twice.
//!
//! Ids of events are random, so a table by id is written all over: a page for
//! each event. Therefore only `seen_order`, by time, is written with the event.
//! The newest ids are found in memory, and go into the table `seen` sorted,
//! many to a page, some with each commit. [`META_SEEN_UPTO`] says how far
//! `seen` has come; what is later is read from `seen_order` at a start.

use std::collections::HashMap;

use redb::{ReadTransaction, ReadableTable as _};

use super::StoreError;
use super::open::META_SEEN_UPTO;
use super::tables::{META, SEEN_ORDER, Tables};
use super::writer::Batch;
use crate::domain::ids::{Key as _, ReceivedKey};
use crate::domain::time::Timestamp;

/// Ids in memory before they begin to go into the table.
const MEMORY_MAX: usize = 8192;
/// Ids that go into the table with one commit at least; twice what the commit
/// brings when that is more.
const MERGED_MIN: usize = 256;
/// Old ids that are forgotten in one step.
const FORGOTTEN_MAX: usize = 2000;
/// How long a source remembers which events it took.
const KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// Source and hash of an event's id.
pub(super) type SeenKey = [u8; 24];

/// The ids that are not, or not surely, in the table.
#[derive(Default)]
pub(super) struct Seen {
    newest: HashMap<SeenKey, u64>,
    merging: Option<Merging>,
    /// Events up to this one are forgotten.
    forgotten: u64,
}

/// Ids on their way into the table.
struct Merging {
    by_key: HashMap<SeenKey, u64>,
    /// Those that are not there yet, in order; the next at the end.
    left: Vec<(SeenKey, u64)>,
    upto: u64,
}

impl Seen {
    /// What memory must know after a start.
    pub(super) fn load(txn: &ReadTransaction) -> Result<Self, StoreError> {
        let upto = match txn.open_table(META)?.get(META_SEEN_UPTO)? {
            Some(bytes) => upto_of(bytes.value())?,
            None => 0,
        };
        let mut seen = Self::default();
        let later = upto.saturating_add(1).to_be_bytes();
        for row in txn.open_table(SEEN_ORDER)?.range::<&[u8; 8]>(&later..)? {
            let (order, key) = row?;
            seen.newest
                .insert(*key.value(), u64::from_be_bytes(*order.value()));
        }
        Ok(seen)
    }

    fn get(&self, key: &SeenKey) -> Option<u64> {
        let in_merging = || self.merging.as_ref()?.by_key.get(key);
        self.newest.get(key).or_else(in_merging).copied()
    }

    /// Begins to merge when there is enough to do it for.
    fn prepare(&mut self) {
        if self.merging.is_some() || self.newest.len() < MEMORY_MAX {
            return;
        }
        let by_key = std::mem::take(&mut self.newest);
        let mut left: Vec<_> = by_key.iter().map(|(key, order)| (*key, *order)).collect();
        left.sort_unstable_by(|one, other| other.cmp(one));
        let upto = left.iter().map(|(_, order)| *order).max().unwrap_or(0);
        self.merging = Some(Merging { by_key, left, upto });
    }
}

/// How far the table has come, as `meta` has it.
pub(super) fn upto_of(bytes: &[u8]) -> Result<u64, StoreError> {
    let bytes = <[u8; 8]>::try_from(bytes);
    let bytes = bytes.map_err(|_| StoreError::Corrupt("how far seen events are merged"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// What one commit changes of it.
#[derive(Default)]
pub(super) struct SeenChange {
    new: HashMap<SeenKey, u64>,
    forgotten: u64,
    merged: usize,
}

impl SeenChange {
    /// Writes ids that wait for it into the table.
    pub(super) fn flush(
        &mut self,
        seen: &mut Seen,
        tables: &mut Tables<'_>,
    ) -> Result<(), StoreError> {
        seen.prepare();
        let Some(merging) = &seen.merging else {
            return Ok(());
        };
        let forgotten = self.forgotten.max(seen.forgotten);
        let waiting = merging.left.len();
        self.merged = waiting.min(MERGED_MIN.max(2 * self.new.len()));
        for (key, order) in merging.left[waiting - self.merged..].iter().rev() {
            if *order > forgotten {
                put(key, *order, tables)?;
            }
        }
        if self.merged == waiting {
            let upto = merging.upto.to_be_bytes();
            tables.meta.insert(META_SEEN_UPTO, upto.as_slice())?;
        }
        Ok(())
    }

    /// Makes memory agree with what was committed.
    pub(super) fn settle(self, seen: &mut Seen) {
        if let Some(merging) = &mut seen.merging {
            let left = merging.left.len() - self.merged;
            merging.left.truncate(left);
            if left == 0 {
                seen.merging = None;
            }
        }
        if self.forgotten > seen.forgotten {
            seen.forgotten = self.forgotten;
            seen.newest.retain(|_, order| *order > self.forgotten);
        }
        seen.newest.extend(self.new);
    }
}

/// Writes an id into the table, unless a later event has it there.
fn put(key: &SeenKey, order: u64, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let before = tables.seen.insert(key, &order.to_be_bytes())?;
    let before = before.map(|before| u64::from_be_bytes(*before.value()));
    if let Some(later) = before.filter(|before| *before > order) {
        tables.seen.insert(key, &later.to_be_bytes())?;
    }
    Ok(())
}

/// The event that had this id, unless it is too long ago.
pub(super) fn find(
    key: &SeenKey,
    tables: &Tables<'_>,
    batch: &Batch<'_>,
) -> Result<Option<ReceivedKey>, StoreError> {
    let fresh = |order: u64| {
        let key = ReceivedKey::from_u64(order);
        (key.made_at().0.saturating_add(KEPT_MS) > batch.now.0).then_some(key)
    };
    let in_memory = batch.seen.new.get(key).copied();
    let in_memory = in_memory.or_else(|| batch.inner.seen().get(key));
    if let Some(found) = in_memory.and_then(fresh) {
        return Ok(Some(found));
    }
    let row = tables.seen.get(key)?;
    Ok(row.and_then(|order| fresh(u64::from_be_bytes(*order.value()))))
}

/// Remembers an event of this moment.
pub(super) fn remember(
    key: SeenKey,
    order: ReceivedKey,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let order = order.as_u64();
    tables.seen_order.insert(&order.to_be_bytes(), &key)?;
    batch.seen.new.insert(key, order);
    Ok(())
}

/// Old events, in order of time.
pub(super) fn old(tables: &Tables<'_>, now: Timestamp) -> Result<Vec<(u64, SeenKey)>, StoreError> {
    let mut old = Vec::new();
    for row in tables.seen_order.iter()?.take(FORGOTTEN_MAX) {
        let (order, key) = row?;
        let order = u64::from_be_bytes(*order.value());
        if ReceivedKey::from_u64(order)
            .made_at()
            .0
            .saturating_add(KEPT_MS)
            > now.0
        {
            break;
        }
        old.push((order, *key.value()));
    }
    Ok(old)
}

/// Forgets events, given in order of time; later ones that have the same id stay.
pub(super) fn forget(
    mut old: Vec<(u64, SeenKey)>,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let Some((last, _)) = old.last() else {
        return Ok(());
    };
    batch.seen.forgotten = *last;
    // Neighbours in the table one after the other.
    old.sort_unstable_by_key(|(_, key)| *key);
    for (order, key) in old {
        tables.seen_order.remove(&order.to_be_bytes())?;
        let order = order.to_be_bytes();
        let is_it = tables
            .seen
            .get(&key)?
            .is_some_and(|had| *had.value() == order);
        if is_it {
            tables.seen.remove(&key)?;
        }
    }
    Ok(())
}
