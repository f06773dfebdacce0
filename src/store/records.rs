//! Records: the latest state per key, and the events that made it.

use redb::ReadableTable as _;

use super::codec::{decode, encode};
use super::rows::{RecordFieldsV1, RecordV1};
use super::tables::{
    RECORD_HISTORY, RECORD_ORDER, RECORDS, Tables, message_uid, number_text, pair, second, texts_of,
};
use super::writer::{Batch, Operation, Refusal, WriteError};
use super::{Store, StoreError};
use crate::domain::ids::{Key, MessageKey, ReceivedKey, SourceKey};
use crate::domain::record::{Change, HISTORY_MAX, NewRecord, Record};

/// Records that a search looks at before it answers with what it has.
const ROWS_LOOKED_MAX: usize = 5000;
/// Rows that one step sweeps.
const STEP_ROWS: usize = 500;

impl Store {
    /// Records of a source, by what came last, older than `before`; those that
    /// have `search` in key or fields, if it is given. With where the next page
    /// begins, when there may be one.
    pub fn list_records(
        &self,
        source: SourceKey,
        search: Option<&str>,
        before: Option<ReceivedKey>,
        take: usize,
    ) -> Result<(Vec<Record>, Option<ReceivedKey>), StoreError> {
        let start = pair(source.as_u64(), 0);
        let end = pair(source.as_u64(), before.map_or(u64::MAX, Key::as_u64));
        let search = search.map(str::to_lowercase);
        self.read(|txn| {
            let order = txn.open_table(RECORD_ORDER)?;
            let records = txn.open_table(RECORDS)?;
            let mut page = Vec::new();
            let mut last = None;
            for (looked, row) in order.range::<&[u8; 16]>(&start..&end)?.rev().enumerate() {
                if page.len() == take || looked == ROWS_LOOKED_MAX {
                    return Ok((page, last));
                }
                let (received, key) = row?;
                last = Some(ReceivedKey::from_u64(second(received.value())));
                let key = String::from_utf8_lossy(key.value()).into_owned();
                let row = records.get(number_text(source.as_u64(), &key).as_slice())?;
                let row = row.ok_or(StoreError::Corrupt("a record is listed that is not there"))?;
                let record = decode::<RecordV1>(row.value())?.into_domain(key);
                if search.as_deref().is_none_or(|text| has(&record, text)) {
                    page.push(record);
                }
            }
            Ok((page, None))
        })
    }

    /// The record of this key.
    pub fn record_of(&self, source: SourceKey, key: &str) -> Result<Option<Record>, StoreError> {
        self.read(|txn| {
            let table = txn.open_table(RECORDS)?;
            let row = table.get(number_text(source.as_u64(), key).as_slice())?;
            row.map(|row| Ok(decode::<RecordV1>(row.value())?.into_domain(key.to_owned())))
                .transpose()
        })
    }

    /// The events that made a record, newest first.
    pub fn record_history(
        &self,
        source: SourceKey,
        key: &str,
        before: Option<ReceivedKey>,
        take: usize,
    ) -> Result<Vec<Change>, StoreError> {
        let start = message_uid(source.as_u64(), key, 0);
        let end = message_uid(source.as_u64(), key, before.map_or(u64::MAX, Key::as_u64));
        self.read(|txn| {
            let table = txn.open_table(RECORD_HISTORY)?;
            let rows = table
                .range(start.as_slice()..end.as_slice())?
                .rev()
                .take(take);
            rows.map(|row| {
                let (key, value) = row?;
                Ok(Change {
                    received: received_of(key.value()),
                    fields: decode::<RecordFieldsV1>(value.value())?.0,
                })
            })
            .collect()
        })
    }

    /// Deletes a record and its history. The messages that made it stay.
    pub async fn delete_record(
        &self,
        source: SourceKey,
        key: String,
    ) -> Result<Record, WriteError> {
        self.write_once(Delete { source, key }).await
    }
}

fn has(record: &Record, text: &str) -> bool {
    record.key.to_lowercase().contains(text)
        || record.fields.iter().any(|(name, value)| {
            name.to_lowercase().contains(text) || value.to_lowercase().contains(text)
        })
}

fn received_of(key: &[u8]) -> ReceivedKey {
    let bytes = key.last_chunk().expect("it ends in eight bytes");
    ReceivedKey::from_u64(u64::from_be_bytes(*bytes))
}

fn read(source: SourceKey, key: &str, tables: &Tables<'_>) -> Result<Option<Record>, StoreError> {
    let row = tables
        .records
        .get(number_text(source.as_u64(), key).as_slice())?;
    row.map(|row| Ok(decode::<RecordV1>(row.value())?.into_domain(key.to_owned())))
        .transpose()
}

fn write(source: SourceKey, record: &Record, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let row = encode(&RecordV1::from(record));
    let key = number_text(source.as_u64(), &record.key);
    tables.records.insert(key.as_slice(), row.as_slice())?;
    Ok(())
}

/// Makes or updates the record that an event is about.
pub(super) fn update(
    source: SourceKey,
    new: NewRecord,
    received: ReceivedKey,
    message: MessageKey,
    tables: &mut Tables<'_>,
) -> Result<(), StoreError> {
    let before = read(source, &new.key, tables)?;
    let at = received.made_at();
    let history = message_uid(source.as_u64(), &new.key, received.as_u64());
    let entry = encode(&RecordFieldsV1(new.fields.clone()));
    tables
        .record_history
        .insert(history.as_slice(), entry.as_slice())?;
    let record = match before {
        // What was refused once and taken later is older than what came since.
        Some(newer) if newer.last > received => {
            let mut fields = new.fields;
            fields.extend(newer.fields);
            Record {
                fields,
                first_seen: newer.first_seen.min(at),
                count: newer.count + 1,
                ..newer
            }
        }
        Some(before) => {
            let order = pair(source.as_u64(), before.last.as_u64());
            tables.record_order.remove(&order)?;
            let mut fields = before.fields;
            fields.extend(new.fields);
            Record {
                key: new.key,
                fields,
                first_seen: before.first_seen.min(at),
                last_seen: at,
                count: before.count + 1,
                last: received,
                last_message: Some(message),
            }
        }
        None => Record {
            key: new.key,
            fields: new.fields,
            first_seen: at,
            last_seen: at,
            count: 1,
            last: received,
            last_message: Some(message),
        },
    };
    let order = pair(source.as_u64(), record.last.as_u64());
    tables.record_order.insert(&order, record.key.as_bytes())?;
    write(source, &record, tables)?;
    make_room(source, &record.key, tables)
}

/// Drops the oldest entry of a history that has too many.
fn make_room(source: SourceKey, key: &str, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let start = message_uid(source.as_u64(), key, 0);
    let end = message_uid(source.as_u64(), key, u64::MAX);
    let oldest = {
        let rows = tables
            .record_history
            .range(start.as_slice()..end.as_slice())?;
        let mut newest_first = rows.rev().skip(HISTORY_MAX);
        newest_first
            .next()
            .transpose()?
            .map(|row| row.0.value().to_vec())
    };
    if let Some(oldest) = oldest {
        tables.record_history.remove(oldest.as_slice())?;
    }
    Ok(())
}

/// Takes one event out of a record: its entry, and the fields that still say
/// what it said.
pub(super) fn erase_event(
    source: SourceKey,
    key: &str,
    received: ReceivedKey,
    tables: &mut Tables<'_>,
) -> Result<(), StoreError> {
    let history = message_uid(source.as_u64(), key, received.as_u64());
    let entry = tables.record_history.remove(history.as_slice())?;
    let Some(entry) = entry.map(|row| decode::<RecordFieldsV1>(row.value())) else {
        return Ok(());
    };
    let fields = entry?.0;
    if let Some(mut record) = read(source, key, tables)? {
        record
            .fields
            .retain(|name, value| fields.get(name) != Some(value));
        write(source, &record, tables)?;
    }
    Ok(())
}

struct Delete {
    source: SourceKey,
    key: String,
}

impl Operation for Delete {
    type Plan = Record;
    type Answer = Record;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<Record, Refusal>, StoreError> {
        Ok(read(self.source, &self.key, tables)?.ok_or(Refusal::NoRecord))
    }

    fn apply(
        self,
        record: Record,
        tables: &mut Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Record, StoreError> {
        let source = self.source.as_u64();
        tables
            .records
            .remove(number_text(source, &self.key).as_slice())?;
        tables
            .record_order
            .remove(&pair(source, record.last.as_u64()))?;
        let start = message_uid(source, &self.key, 0);
        let end = message_uid(source, &self.key, u64::MAX);
        let entries: Result<Vec<Vec<u8>>, StoreError> = tables
            .record_history
            .range(start.as_slice()..=end.as_slice())?
            .map(|row| Ok(row?.0.value().to_vec()))
            .collect();
        for entry in entries? {
            tables.record_history.remove(entry.as_slice())?;
        }
        Ok(record)
    }
}

/// One step of the records of a deleted source; true when none are left.
pub(super) fn sweep(source: u64, tables: &mut Tables<'_>) -> Result<bool, StoreError> {
    let all = texts_of(source);
    let mut taken = 0;
    for table in [&mut tables.records, &mut tables.record_history] {
        let rows = table.range(all.start.as_slice()..all.end.as_slice())?;
        let keys: Result<Vec<Vec<u8>>, StoreError> = rows
            .take(STEP_ROWS)
            .map(|row| Ok(row?.0.value().to_vec()))
            .collect();
        let keys = keys?;
        for key in &keys {
            table.remove(key.as_slice())?;
        }
        taken = taken.max(keys.len());
    }
    Ok(taken < STEP_ROWS)
}
