//! The rows of a log in order, from a place on, back or forth: what lists and
//! whoever follows them go through.

use std::collections::BinaryHeap;
use std::ops::Range;

use redb::{ReadOnlyTable, ReadTransaction};

use super::StoreError;
use super::tables::{APPLICATION_MESSAGES, ENDPOINT_ATTEMPTS, pair, second};
use crate::domain::ids::{ApplicationKey, AttemptKey, EndpointKey, Key, MessageKey, first_key_at};
use crate::domain::time::Timestamp;

/// From where a log is read, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<K> {
    /// What is older than this, or all there is: newest first.
    Back(Option<K>),
    /// What is newer than this: oldest first. Keys are given in the order of
    /// commits, so whoever goes on after the last one misses nothing.
    Forth(K),
}

impl<K: Key> Way<K> {
    /// The keys that lie on the way, as far as these times go.
    pub(super) fn span(self, after: Option<Timestamp>, before: Option<Timestamp>) -> Range<K> {
        let start = after.map_or(K::from_u64(0), first_key_at);
        let end = before.map_or(K::from_u64(u64::MAX), first_key_at);
        match self {
            Self::Back(None) => start..end,
            Self::Back(Some(before)) => start..end.min(before),
            Self::Forth(after) => start.max(next_to(after, 1))..end,
        }
    }

    /// The place from which `key` is the next on this way. It is beside the
    /// row, and so not the id of one: the row may be somebody else's.
    pub(super) fn place_before(self, key: K) -> K {
        match self {
            Self::Back(_) => next_to(key, 1),
            Self::Forth(_) => next_to(key, -1),
        }
    }

    fn is_forth(self) -> bool {
        matches!(self, Self::Forth(_))
    }
}

fn next_to<K: Key>(key: K, step: i64) -> K {
    K::from_u64(key.as_u64().saturating_add_signed(step))
}

/// Keys in the order in which they are gone through.
pub(super) type Keys<'a, K> = Box<dyn Iterator<Item = Result<K, StoreError>> + 'a>;

fn along<'a, K: Key + 'a>(
    rising: impl DoubleEndedIterator<Item = Result<K, StoreError>> + 'a,
    way: Way<K>,
) -> Keys<'a, K> {
    if way.is_forth() {
        Box::new(rising)
    } else {
        Box::new(rising.rev())
    }
}

/// Those of a table whose rows lie by key alone.
pub(super) fn keys_of_all<K: Key + 'static>(
    table: &ReadOnlyTable<&'static [u8; 8], &'static [u8]>,
    span: &Range<K>,
    way: Way<K>,
) -> Result<Keys<'static, K>, StoreError> {
    let (low, high) = (
        span.start.as_u64().to_be_bytes(),
        span.end.as_u64().to_be_bytes(),
    );
    let rows = table.range::<&[u8; 8]>(&low..&high)?;
    let keys = rows.map(|row| {
        let key = u64::from_be_bytes(*row?.0.value());
        Ok(K::from_u64(key))
    });
    Ok(along(keys, way))
}

/// Those of a table whose rows lie by an owner first.
fn keys_of<V: redb::Value + 'static, K: Key + 'static>(
    table: &ReadOnlyTable<&'static [u8; 16], V>,
    owner: u64,
    span: &Range<K>,
    way: Way<K>,
) -> Result<Keys<'static, K>, StoreError> {
    let (low, high) = (
        pair(owner, span.start.as_u64()),
        pair(owner, span.end.as_u64()),
    );
    let rows = table.range::<&[u8; 16]>(&low..&high)?;
    let keys = rows.map(|row| Ok(K::from_u64(second(row?.0.value()))));
    Ok(along(keys, way))
}

/// The messages of one application.
pub(super) fn messages_of(
    txn: &ReadTransaction,
    application: ApplicationKey,
    span: &Range<MessageKey>,
    way: Way<MessageKey>,
) -> Result<Keys<'static, MessageKey>, StoreError> {
    let table = txn.open_table(APPLICATION_MESSAGES)?;
    keys_of(&table, application.as_u64(), span, way)
}

/// The attempts of several endpoints as one log.
pub(super) struct Merged {
    logs: Vec<Keys<'static, AttemptKey>>,
    /// The next of each log, by how soon it comes: the greatest first.
    heads: BinaryHeap<(u64, AttemptKey, usize)>,
    way: Way<AttemptKey>,
    failure: Option<StoreError>,
}

impl Merged {
    pub(super) fn new(
        txn: &ReadTransaction,
        endpoints: &[EndpointKey],
        span: &Range<AttemptKey>,
        way: Way<AttemptKey>,
    ) -> Result<Self, StoreError> {
        let table = txn.open_table(ENDPOINT_ATTEMPTS)?;
        let mut merged = Self {
            logs: Vec::with_capacity(endpoints.len()),
            heads: BinaryHeap::with_capacity(endpoints.len()),
            way,
            failure: None,
        };
        for endpoint in endpoints {
            let keys = keys_of(&table, endpoint.as_u64(), span, way)?;
            merged.logs.push(keys);
            merged.advance(merged.logs.len() - 1);
        }
        Ok(merged)
    }

    /// Takes up the next of a log.
    fn advance(&mut self, log: usize) {
        match self.logs[log].next() {
            Some(Ok(key)) => self.heads.push((self.rank(key), key, log)),
            Some(Err(error)) => self.failure = Some(error),
            None => {}
        }
    }

    fn rank(&self, key: AttemptKey) -> u64 {
        if self.way.is_forth() {
            !key.as_u64()
        } else {
            key.as_u64()
        }
    }
}

impl Iterator for Merged {
    type Item = Result<AttemptKey, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failure.take() {
            return Some(Err(error));
        }
        let (_, key, log) = self.heads.pop()?;
        self.advance(log);
        Some(Ok(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> MessageKey {
        MessageKey::from_u64(number)
    }

    #[test]
    fn a_way_covers_what_lies_on_it() {
        let most = u64::MAX;
        for (way, start, end) in [
            (Way::Back(None), 0, most),
            (Way::Back(Some(key(7))), 0, 7),
            (Way::Forth(key(0)), 1, most),
            (Way::Forth(key(7)), 8, most),
            (Way::Forth(key(most)), most, most),
        ] {
            assert_eq!(way.span(None, None), key(start)..key(end), "{way:?}");
        }
    }

    #[test]
    fn the_place_before_a_row_leads_to_it_and_not_past_it() {
        let here = key(7);
        for way in [Way::Back(None), Way::Forth(key(0))] {
            let place = way.place_before(here);
            let on = match way {
                Way::Back(_) => Way::Back(Some(place)),
                Way::Forth(_) => Way::Forth(place),
            };
            assert!(on.span(None, None).contains(&here), "{way:?}");
            assert_ne!(place, here, "{way:?}");
        }
    }
}
