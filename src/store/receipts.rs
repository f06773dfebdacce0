//! What came to sources: the log, and the third transaction that carries a
//! promise, by which an event is accepted.
//!
//! An accepted event's receipt has the headers; its body is the message's
//! payload, and both are forgotten together. Everything else that came, refused
//! requests, repeats and handshakes, is in a ring of its own with the bytes, so
//! that whoever floods a source makes room only of what others like him left.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable as _};

use super::accept::{receivers, store_message};
use super::applications::covered;
use super::catalog::ApplicationEntry;
use super::cipher::Cipher;
use super::codec::{decode, encode};
use super::records;
use super::ring;
use super::rows::{CountsV1, ReceiptV1};
use super::seen::{self, SeenKey};
use super::sources::known;
use super::tables::{
    self, KEPT_BODIES, PAYLOADS, RECEIPTS, REFUSED, SOURCE_HOURS, Tables, pair, second,
};
use super::writer::{Batch, Idempotent, Operation, Refusal, WriteError, Written};
use super::{Accepted, Store, StoreError};
use crate::domain::ids::{EndpointKey, Key, MessageKey, ReceivedKey, SourceKey};
use crate::domain::message::{NewMessage, Origin, Target};
use crate::domain::principal::Scope;
use crate::domain::record::NewRecord;
use crate::domain::source::{Counts, LiveSource, RING_BODY_BYTES_MAX, RING_MAX, Receipt, Verdict};
use crate::domain::time::Timestamp;

/// Rows that one step forgets.
const STEP_ROWS: usize = 500;
/// Rows that a filtered page looks at.
const ROWS_LOOKED_MAX: usize = 2000;
const HOUR_MS: u64 = 60 * 60 * 1000;
/// How long hourly counts are kept.
const COUNTS_KEPT_HOURS: u64 = 90 * 24;

/// A request that came to a source, before it has a key.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
    pub peer: Option<IpAddr>,
}

/// What becomes of one.
#[derive(Clone, Debug)]
pub struct Judgement {
    pub verdict: Verdict,
    pub reason: String,
    pub answered: u16,
    pub took_us: u32,
}

/// An event that is to be accepted.
pub struct NewEvent {
    pub event_type: String,
    pub content_type: String,
    pub forwarded: Vec<(String, Vec<u8>)>,
    /// Tells repeats; `None`: nothing does.
    pub id_hash: Option<[u8; 16]>,
    pub record: Option<NewRecord>,
    /// Told the message's key before anything can be delivered.
    pub announce: Option<Box<dyn FnOnce(MessageKey) + Send>>,
}

/// What became of an event.
#[derive(Clone, Debug)]
pub enum Taken {
    Accepted {
        received: ReceivedKey,
        accepted: Accepted,
    },
    /// It came before, as this; here it is back.
    Duplicate {
        first: ReceivedKey,
        arrival: Box<Arrival>,
    },
}

impl Store {
    /// Takes an event: a message with its deliveries, the receipt, what tells
    /// repeats, the record and the counts become true together. When this
    /// returns, they are on disk.
    pub async fn take_event(
        &self,
        source: SourceKey,
        arrival: Arrival,
        judgement: Judgement,
        event: NewEvent,
    ) -> Result<Taken, WriteError> {
        let operation = Take {
            source,
            arrival,
            judgement,
            event,
            before: None,
            came: None,
        };
        self.write_once(operation).await
    }

    /// Takes an event that was refused before, and whose receipt stays under
    /// its key.
    pub async fn take_after_all(
        &self,
        receipt: Receipt,
        arrival: Arrival,
        judgement: Judgement,
        event: NewEvent,
        idempotent: Option<Idempotent<Taken>>,
    ) -> Result<Written<Taken>, WriteError> {
        let operation = Take {
            source: receipt.source,
            arrival,
            judgement,
            event,
            before: Some(receipt.key),
            came: Some(receipt.at),
        };
        self.write(operation, idempotent).await
    }

    /// Logs what was not accepted, `unkept` others counted with it. When this
    /// returns, it is on disk.
    pub async fn keep_refused(
        &self,
        source: SourceKey,
        arrival: Arrival,
        judgement: Judgement,
        unkept: u32,
    ) -> Result<ReceivedKey, WriteError> {
        self.write_once(Keep {
            source,
            arrival,
            judgement,
            unkept,
        })
        .await
    }

    /// Notes what the sender of an accepted event was answered in the end, and
    /// when.
    pub async fn note_answer(
        &self,
        source: SourceKey,
        received: ReceivedKey,
        answered: u16,
        took_us: u32,
    ) -> Result<(), WriteError> {
        self.write_once(NoteAnswer {
            place: pair(source.as_u64(), received.as_u64()),
            answered,
            took_us,
        })
        .await
    }

    /// Counts requests that are not kept.
    pub async fn count_unkept(&self, counts: Vec<(SourceKey, Counts)>) -> Result<(), WriteError> {
        self.write_once(Count { counts }).await
    }

    /// Forgets events that came too long ago to be repeats, and old counts, a
    /// step at a time. Answers how many rows it took.
    pub async fn forget_seen(&self) -> Result<usize, WriteError> {
        self.write_once(ForgetSeen).await
    }

    /// What came to a source, newest first, older than `before`: of one verdict,
    /// if one is named. With where the next page begins, when there may be one.
    /// Bodies are read as far as `bodies_max` bytes of them go, which ends the
    /// page; none, when that is 0.
    pub fn list_receipts(
        &self,
        source: SourceKey,
        verdict: Option<Verdict>,
        before: Option<ReceivedKey>,
        take: usize,
        bodies_max: usize,
    ) -> Result<(Vec<Receipt>, Option<ReceivedKey>), StoreError> {
        let start = pair(source.as_u64(), 0);
        let end = pair(source.as_u64(), before.map_or(u64::MAX, Key::as_u64));
        self.read(|txn| {
            let accepted = txn.open_table(RECEIPTS)?;
            let refused = txn.open_table(REFUSED)?;
            let mut accepted = accepted.range::<&[u8; 16]>(&start..&end)?.rev();
            let mut refused = refused.range::<&[u8; 16]>(&start..&end)?.rev();
            let wanted =
                |accepting: bool| verdict.is_none_or(|one| (one == Verdict::Accepted) == accepting);
            let (mut left, mut right) = (None, None);
            let mut page: Vec<Receipt> = Vec::new();
            let mut last = None;
            let mut bytes = 0;
            for looked in 0.. {
                if left.is_none() && wanted(true) {
                    left = accepted.next().transpose()?;
                }
                if right.is_none() && wanted(false) {
                    right = refused.next().transpose()?;
                }
                let key_of = |row: &Option<(redb::AccessGuard<'_, &[u8; 16]>, _)>| {
                    row.as_ref().map(|(key, _)| second(key.value()))
                };
                let newest = if key_of(&left) > key_of(&right) {
                    &mut left
                } else {
                    &mut right
                };
                let Some((key, value)) = newest.take() else {
                    return Ok((page, None));
                };
                let full = page.len() == take || (bodies_max > 0 && bytes >= bodies_max);
                if full || looked == ROWS_LOOKED_MAX {
                    return Ok((page, last));
                }
                let key = ReceivedKey::from_u64(second(key.value()));
                last = Some(key);
                let row = decode::<ReceiptV1>(value.value())?;
                if verdict.is_some_and(|one| one != row.verdict()) {
                    continue;
                }
                let mut receipt = self.open_receipt(row, source, key)?;
                if bodies_max > 0 {
                    receipt.body = body_of(&receipt, txn)?;
                    bytes += receipt.body.as_ref().map_or(0, Bytes::len);
                }
                page.push(receipt);
            }
            unreachable!("it ends with the rows, or with the page")
        })
    }

    /// One of them, with its body.
    pub fn receipt(
        &self,
        source: SourceKey,
        key: ReceivedKey,
    ) -> Result<Option<Receipt>, StoreError> {
        let place = pair(source.as_u64(), key.as_u64());
        self.read(|txn| {
            for table in [RECEIPTS, REFUSED] {
                if let Some(value) = txn.open_table(table)?.get(&place)? {
                    let row = decode::<ReceiptV1>(value.value())?;
                    let mut receipt = self.open_receipt(row, source, key)?;
                    receipt.body = body_of(&receipt, txn)?;
                    return Ok(Some(receipt));
                }
            }
            Ok(None)
        })
    }

    /// A receipt with its secret headers.
    fn open_receipt(
        &self,
        row: ReceiptV1,
        source: SourceKey,
        key: ReceivedKey,
    ) -> Result<Receipt, StoreError> {
        let place = pair(source.as_u64(), key.as_u64());
        let sealed = row.sealed.clone();
        let mut receipt = row.into_domain(source, key);
        ring::join_headers(&mut receipt.headers, &sealed, &place, &self.inner.cipher)?;
        Ok(receipt)
    }

    /// What a source counted since the hour of `since`.
    pub fn source_counts(&self, source: SourceKey, since: Timestamp) -> Result<Counts, StoreError> {
        let from = pair(source.as_u64(), since.0 / HOUR_MS);
        let end = pair(source.as_u64(), u64::MAX);
        self.read(|txn| {
            let mut all = Counts::default();
            for row in txn
                .open_table(SOURCE_HOURS)?
                .range::<&[u8; 16]>(&from..=&end)?
            {
                all = all.plus(decode::<CountsV1>(row?.1.value())?.0);
            }
            Ok(all)
        })
    }
}

/// The body: of an accepted one, its message's payload.
fn body_of(receipt: &Receipt, txn: &ReadTransaction) -> Result<Option<Bytes>, StoreError> {
    if let Some(message) = receipt.message {
        let payloads = txn.open_table(PAYLOADS)?;
        let payload = payloads.get(&message.as_u64().to_be_bytes())?;
        return Ok(payload.map(|bytes| Bytes::copy_from_slice(bytes.value())));
    }
    let place = pair(receipt.source.as_u64(), receipt.key.as_u64());
    ring::body(&place, &txn.open_table(KEPT_BODIES)?).map(Some)
}

/// The row of a receipt.
fn row_of(mut receipt: Receipt, source: &LiveSource, cipher: &Cipher) -> Vec<u8> {
    let place = pair(receipt.source.as_u64(), receipt.key.as_u64());
    let token = source.verifier.token_header();
    let sealed = ring::part_headers(&mut receipt.headers, token, &place, cipher);
    encode(&ReceiptV1::new(receipt, sealed))
}

/// What sources counted in one commit, by source.
#[derive(Default)]
pub(super) struct SourceTally(BTreeMap<u64, Counts>);

impl SourceTally {
    fn count(&mut self, source: SourceKey, counts: Counts) {
        let sum = self.0.entry(source.as_u64()).or_default();
        *sum = sum.plus(counts);
    }

    /// Adds it to the hour's counts.
    pub(super) fn flush(
        &mut self,
        now: Timestamp,
        tables: &mut Tables<'_>,
    ) -> Result<(), StoreError> {
        for (source, counts) in std::mem::take(&mut self.0) {
            let key = pair(source, now.0 / HOUR_MS);
            let before = match tables.source_hours.get(&key)? {
                Some(row) => decode::<CountsV1>(row.value())?.0,
                None => Counts::default(),
            };
            let row = encode(&CountsV1(before.plus(counts)));
            tables.source_hours.insert(&key, row.as_slice())?;
        }
        Ok(())
    }
}

fn one(verdict: Verdict) -> Counts {
    let mut counts = Counts::default();
    counts.add(verdict, 1);
    counts
}

/// Puts something that was not accepted into the ring.
fn keep(
    source: &LiveSource,
    arrival: Arrival,
    judgement: Judgement,
    unkept: u32,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<ReceivedKey, StoreError> {
    let body_bytes = arrival.body.len() as u64;
    let kept = arrival.body.len().min(RING_BODY_BYTES_MAX);
    let body = arrival.body.slice(..kept);
    let receipt = Receipt {
        key: batch.key(),
        source: source.settings.key,
        at: batch.now,
        verdict: judgement.verdict,
        reason: judgement.reason,
        method: arrival.method,
        path: arrival.path,
        headers: arrival.headers,
        body: None,
        body_bytes,
        message: None,
        record: None,
        answered: judgement.answered,
        took_us: judgement.took_us,
        peer: arrival.peer,
        unkept,
    };
    let (of, key) = (receipt.source.as_u64(), receipt.key);
    let row = row_of(receipt, source, &batch.inner.cipher);
    ring::put(
        (
            &mut tables.refused,
            &mut tables.kept_bodies,
            &mut tables.kept_counts,
        ),
        &pair(of, key.as_u64()),
        &row,
        &body,
        RING_MAX,
    )?;
    Ok(key)
}

struct Take {
    source: SourceKey,
    arrival: Arrival,
    judgement: Judgement,
    event: NewEvent,
    /// The receipt that it has already.
    before: Option<ReceivedKey>,
    /// When it came, if that is not now.
    came: Option<Timestamp>,
}

enum TakePlan {
    Accept(Arc<LiveSource>, Box<NewMessage>, Vec<EndpointKey>),
    Repeat(ReceivedKey),
}

impl Take {
    /// The message that it becomes. It is of no receipt yet.
    fn message(&mut self, source: &LiveSource) -> NewMessage {
        let event = &mut self.event;
        NewMessage {
            application: source.settings.application,
            event_type: std::mem::take(&mut event.event_type),
            channels: Vec::new(),
            uid: None,
            content_type: std::mem::take(&mut event.content_type),
            headers: std::mem::take(&mut event.forwarded),
            origin: Origin::Source {
                source: self.source,
                received: ReceivedKey::from_u64(0),
            },
            payload: self.arrival.body.clone(),
            target: Target::FanOut,
        }
    }
}

impl Operation for Take {
    type Plan = TakePlan;
    type Answer = Taken;

    fn writes(plan: &TakePlan) -> bool {
        matches!(plan, TakePlan::Accept(..))
    }

    fn weight(&self) -> usize {
        self.arrival.body.len()
    }

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<TakePlan, Refusal>, StoreError> {
        let Some(source) = known(self.source, batch) else {
            return Ok(Err(Refusal::NoSource));
        };
        let scope = Scope::of_environment(source.settings.environment);
        let entry: Arc<ApplicationEntry> =
            match covered(scope, source.settings.application, tables, batch)? {
                Ok(entry) => entry,
                Err(refusal) => return Ok(Err(refusal)),
            };
        if let Some(key) = self.before {
            let row = pair(self.source.as_u64(), key.as_u64());
            if tables.refused.get(&row)?.is_none() {
                return Ok(Err(Refusal::NoReceived));
            }
        }
        if let Some(hash) = &self.event.id_hash {
            let key = tables::seen(self.source.as_u64(), hash);
            if let Some(first) = seen::find(&key, tables, batch)? {
                return Ok(Ok(TakePlan::Repeat(first)));
            }
        }
        let message = self.message(&source);
        let endpoints = receivers(&entry, &message);
        Ok(Ok(TakePlan::Accept(source, Box::new(message), endpoints)))
    }

    fn apply(
        mut self,
        plan: TakePlan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Taken, StoreError> {
        let (source, mut message, endpoints) = match plan {
            TakePlan::Accept(source, message, endpoints) => (source, message, endpoints),
            TakePlan::Repeat(first) => {
                return Ok(Taken::Duplicate {
                    first,
                    arrival: Box::new(self.arrival),
                });
            }
        };
        let received = self.before.unwrap_or_else(|| batch.key());
        message.origin = Origin::Source {
            source: self.source,
            received,
        };
        let announce = self.event.announce.take();
        let accepted = store_message(*message, &endpoints, tables, batch)?;
        let message = accepted.content.0.key;
        if let Some(announce) = announce {
            announce(message);
        }
        if let Some(before) = self.before {
            let kept = (
                &mut tables.refused,
                &mut tables.kept_bodies,
                &mut tables.kept_counts,
            );
            ring::remove(kept, &pair(self.source.as_u64(), before.as_u64()))?;
        }
        let receipt = Receipt {
            key: received,
            source: self.source,
            at: self.came.unwrap_or(batch.now),
            verdict: Verdict::Accepted,
            reason: self.judgement.reason,
            method: self.arrival.method,
            path: self.arrival.path,
            headers: self.arrival.headers,
            body: None,
            body_bytes: self.arrival.body.len() as u64,
            message: Some(message),
            record: self.event.record.as_ref().map(|record| record.key.clone()),
            answered: self.judgement.answered,
            took_us: self.judgement.took_us,
            peer: self.arrival.peer,
            unkept: 0,
        };
        let row = row_of(receipt, &source, &batch.inner.cipher);
        let place = pair(self.source.as_u64(), received.as_u64());
        tables.receipts.insert(&place, row.as_slice())?;
        if let Some(hash) = &self.event.id_hash {
            let key = tables::seen(self.source.as_u64(), hash);
            // As if it came now: what was accepted after all is repeated from now on.
            let order = if self.before.is_some() {
                batch.key()
            } else {
                received
            };
            seen::remember(key, order, tables, batch)?;
        }
        if let Some(record) = self.event.record {
            records::update(self.source, record, received, message, tables)?;
        }
        batch.sources.count(self.source, one(Verdict::Accepted));
        Ok(Taken::Accepted { received, accepted })
    }
}

struct NoteAnswer {
    place: [u8; 16],
    answered: u16,
    took_us: u32,
}

impl Operation for NoteAnswer {
    type Plan = ReceiptV1;
    type Answer = ();

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<ReceiptV1, Refusal>, StoreError> {
        let row = tables.receipts.get(&self.place)?;
        let row = row.map(|row| decode(row.value())).transpose()?;
        Ok(row.ok_or(Refusal::NoReceived))
    }

    fn apply(
        self,
        mut row: ReceiptV1,
        tables: &mut Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<(), StoreError> {
        row.answered = self.answered;
        row.took_us = self.took_us;
        tables
            .receipts
            .insert(&self.place, encode(&row).as_slice())?;
        Ok(())
    }
}

struct Keep {
    source: SourceKey,
    arrival: Arrival,
    judgement: Judgement,
    unkept: u32,
}

impl Operation for Keep {
    type Plan = Arc<LiveSource>;
    type Answer = ReceivedKey;

    fn weight(&self) -> usize {
        self.arrival.body.len().min(RING_BODY_BYTES_MAX)
    }

    fn check(
        &mut self,
        _: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        Ok(known(self.source, batch).ok_or(Refusal::NoSource))
    }

    fn apply(
        self,
        source: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<ReceivedKey, StoreError> {
        batch
            .sources
            .count(self.source, one(self.judgement.verdict));
        keep(
            &source,
            self.arrival,
            self.judgement,
            self.unkept,
            tables,
            batch,
        )
    }
}

struct Count {
    counts: Vec<(SourceKey, Counts)>,
}

impl Operation for Count {
    type Plan = ();
    type Answer = ();

    fn check(
        &mut self,
        _: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        self.counts
            .retain(|(source, _)| known(*source, batch).is_some());
        Ok(Ok(()))
    }

    fn apply(self, (): (), _: &mut Tables<'_>, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        for (source, counts) in self.counts {
            batch.sources.count(source, counts);
        }
        Ok(())
    }
}

struct ForgetSeen;

impl Operation for ForgetSeen {
    type Plan = (Vec<(u64, SeenKey)>, Vec<[u8; 16]>);
    type Answer = usize;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let old = seen::old(tables, batch.now)?;
        let mut hours = Vec::new();
        let first_kept = (batch.now.0 / HOUR_MS).saturating_sub(COUNTS_KEPT_HOURS);
        for source in batch.inner.catalog.sources_where(|_| true) {
            let key = source.settings.key.as_u64();
            let past = pair(key, 0)..pair(key, first_kept);
            let left = STEP_ROWS - hours.len();
            let rows = tables
                .source_hours
                .range::<&[u8; 16]>(&past.start..&past.end)?;
            for row in rows.take(left) {
                hours.push(*row?.0.value());
            }
        }
        Ok(Ok((old, hours)))
    }

    fn apply(
        self,
        (old, hours): Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<usize, StoreError> {
        let forgotten = old.len() + hours.len();
        seen::forget(old, tables, batch)?;
        for hour in &hours {
            tables.source_hours.remove(hour)?;
        }
        Ok(forgotten)
    }
}

/// Takes from the receipt of a message what tells of its payload, and from its
/// record what only this event said.
pub(super) fn erase(
    source: SourceKey,
    received: ReceivedKey,
    tables: &mut Tables<'_>,
) -> Result<(), StoreError> {
    let place = pair(source.as_u64(), received.as_u64());
    let row = tables.receipts.get(&place)?;
    let Some(row) = row.map(|bytes| decode::<ReceiptV1>(bytes.value())) else {
        return Ok(());
    };
    let mut row = row?;
    row.headers.clear();
    row.sealed.clear();
    if let Some(record) = row.record.take() {
        records::erase_event(source, &record, received, tables)?;
    }
    tables.receipts.insert(&place, encode(&row).as_slice())?;
    Ok(())
}

/// Forgets the receipt of a message, with its message.
pub(super) fn forget(
    source: SourceKey,
    received: ReceivedKey,
    tables: &mut Tables<'_>,
) -> Result<(), StoreError> {
    let place = pair(source.as_u64(), received.as_u64());
    tables.receipts.remove(&place)?;
    Ok(())
}

/// One step of what a deleted source kept; true when nothing of it is left.
/// What it remembers to have seen goes with time.
pub(super) fn sweep(
    source: u64,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<bool, StoreError> {
    // It may have counted in this very commit, before it was deleted.
    batch.sources.0.remove(&source);
    tables.kept_counts.remove(&source.to_be_bytes())?;
    let all = pair(source, 0)..=pair(source, u64::MAX);
    let mut taken = 0;
    for table in [
        &mut tables.receipts,
        &mut tables.refused,
        &mut tables.kept_bodies,
        &mut tables.source_hours,
        &mut tables.record_order,
    ] {
        let rows = table.range::<&[u8; 16]>(&all.start()..=&all.end())?;
        let keys: Result<Vec<[u8; 16]>, StoreError> = rows
            .take(STEP_ROWS)
            .map(|row| Ok(*row?.0.value()))
            .collect();
        let keys = keys?;
        for key in &keys {
            table.remove(key)?;
        }
        taken = taken.max(keys.len());
    }
    Ok(taken < STEP_ROWS && records::sweep(source, tables)?)
}
