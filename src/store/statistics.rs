//! Counters over time: written with what they count, rolled up from minutes
//! into hours and days, forgotten by age, read for a period.
//!
//! *record* and *accept* count into rows of minutes. A pass each minute adds
//! the minutes that are over to their hours and days, in order of their keys,
//! and moves a mark in the same transaction: what lies up to the mark is in
//! its hour and day, what lies after it is not. What is counted late, for a
//! minute before the mark, goes into all three rows at once.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use redb::{ReadTransaction, ReadableTable};

use super::codec::{decode, encode};
use super::open::META_ROLLED_UP;
use super::rows::CounterV1;
use super::tables::{COUNTERS, META, Tables, counter, counter_parts};
use super::writer::{Batch, Operation, Refusal, WriteError};
use super::{Store, StoreError};
use crate::domain::attempt::NewAttempt;
use crate::domain::delivery::Verdict;
use crate::domain::ids::{ApplicationKey, EndpointKey, Key};
use crate::domain::principal::Scope;
use crate::domain::statistics::{Counted, Counter, Period, Resolution};
use crate::domain::time::Timestamp;

/// Rows that one step rolls up at most, and that it forgets.
const STEP_ROWS: usize = 500;
/// Whole minutes that must have passed since a minute before it is rolled up:
/// most of what is counted late for it is there by then.
const SETTLE_MINUTES: u32 = 2;

/// What things are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The environment of the caller's scope.
    Environment,
    Application(ApplicationKey),
    Endpoint(ApplicationKey, EndpointKey),
}

impl Store {
    /// What was counted for `subject`, slot by slot of `period`. `None` when
    /// there is no such thing, or `scope` does not cover it.
    pub fn statistics(
        &self,
        scope: Scope,
        subject: Subject,
        period: &Period,
    ) -> Result<Option<Vec<Counter>>, StoreError> {
        let Some(subject) = self.covered_subject(scope, subject)? else {
            return Ok(None);
        };
        self.read(|txn| read_period(subject, period, txn)).map(Some)
    }

    fn covered_subject(&self, scope: Scope, subject: Subject) -> Result<Option<u64>, StoreError> {
        let (application, endpoint) = match subject {
            Subject::Environment => {
                let key = scope.environment.as_u64();
                return Ok(scope.covers_environment().then_some(key));
            }
            Subject::Application(application) => (application, None),
            Subject::Endpoint(application, endpoint) => (application, Some(endpoint)),
        };
        let entry = self.application(application)?;
        let covered =
            entry.filter(|entry| scope.covers(entry.application.environment, application));
        Ok(covered.and_then(|entry| match endpoint {
            None => Some(application.as_u64()),
            Some(key) => entry.endpoint(key).map(|_| key.as_u64()),
        }))
    }

    /// Adds one step of the minutes that are over to their hours and days, and
    /// forgets one step of what is too old. Answers whether there may be more.
    pub async fn roll_up(&self) -> Result<bool, WriteError> {
        // Looked at first, so that nothing is committed when there is nothing.
        let rolled_up = self.inner.writer_state().rolled_up;
        let now = self.inner.clock.now();
        let idle = self.read(|txn| {
            let step = Step::plan(&txn.open_table(COUNTERS)?, rolled_up, now, 1)?;
            Ok(step.is_empty())
        })?;
        if idle {
            return Ok(false);
        }
        self.write_once(RollUp).await
    }
}

/// The last row of a minute, by minute and subject, that is in its hour's row
/// and its day's row. So are all before it, and none after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RolledUp {
    minute: u32,
    subject: u64,
}

impl RolledUp {
    pub(super) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.minute.to_be_bytes());
        bytes[4..].copy_from_slice(&self.subject.to_be_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        let bytes: &[u8; 12] = bytes
            .try_into()
            .map_err(|_| StoreError::Corrupt("a mark of the roll-up that is none"))?;
        let (minute, subject) = bytes.split_at(4);
        Ok(Self {
            minute: u32::from_be_bytes(minute.try_into().expect("four bytes")),
            subject: u64::from_be_bytes(subject.try_into().expect("eight bytes")),
        })
    }

    /// Whether the row of this minute is in its hour and its day.
    pub(super) fn has(self, minute: u32, subject: u64) -> bool {
        Self { minute, subject } <= self
    }

    /// The first minute whose row, for this subject, is not.
    fn next_minute(self, subject: u64) -> u32 {
        if self.has(self.minute, subject) {
            self.minute.saturating_add(1)
        } else {
            self.minute
        }
    }
}

/// What the operations of one commit have counted. Kept as it came: one list,
/// and each row is read and written once at the end.
pub(super) struct Tally {
    counted: Vec<(u32, u64, Counted)>,
    pub(super) rolled_up: RolledUp,
}

impl Tally {
    pub(super) fn new(rolled_up: RolledUp) -> Self {
        Self {
            counted: Vec::new(),
            rolled_up,
        }
    }

    fn count(&mut self, subject: u64, at: Timestamp, counted: Counted) {
        let minute = Resolution::Minute.slot(at);
        self.counted.push((minute, subject, counted));
    }

    /// Writes what was counted.
    pub(super) fn flush(&mut self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        self.counted
            .sort_unstable_by_key(|&(minute, subject, _)| (minute, subject));
        let rows = self
            .counted
            .chunk_by(|one, other| (one.0, one.1) == (other.0, other.1));
        for row in rows {
            let (minute, subject, _) = row[0];
            for level in levels(self.rolled_up.has(minute, subject)) {
                let key = counter(*level as u8, level.slot_of_minute(minute), subject);
                change(&key, tables, |counter| {
                    for &(_, _, counted) in row {
                        counter.count(counted);
                    }
                })?;
            }
        }
        self.counted.clear();
        Ok(())
    }
}

/// Where something is counted: in its minute, and when that was rolled up, in
/// all that it was rolled up into.
fn levels(rolled_up: bool) -> &'static [Resolution] {
    if rolled_up {
        &Resolution::ALL
    } else {
        &[Resolution::Minute]
    }
}

impl Batch<'_> {
    /// Counts a message for its application and environment.
    pub(super) fn count_message(
        &mut self,
        application: ApplicationKey,
        payload_bytes: usize,
        tables: &Tables<'_>,
    ) -> Result<(), StoreError> {
        let counted = Counted::Message {
            payload_bytes: payload_bytes as u64,
        };
        self.count((application, None), self.now, counted, tables)
    }

    /// Counts an attempt for its endpoint, application and environment.
    pub(super) fn count_attempt(
        &mut self,
        attempt: &NewAttempt,
        payload_bytes: usize,
        tables: &Tables<'_>,
    ) -> Result<(), StoreError> {
        let exchange = &attempt.exchange;
        let sent = exchange.outcome.was_sent();
        let counted = Counted::Attempt {
            delivered: attempt.verdict == Verdict::Delivered,
            outcome: exchange.outcome.number(),
            duration_ms: exchange.timing.total_us / 1000,
            sent_bytes: if sent { payload_bytes as u64 } else { 0 },
        };
        let subjects = (attempt.application, Some(attempt.endpoint));
        self.count(subjects, attempt.started, counted, tables)
    }

    /// For nothing, once the application is deleted. And not for the
    /// environment, when it is the built-in application's: what Hookpost says
    /// would blur what the others do.
    fn count(
        &mut self,
        (application, endpoint): (ApplicationKey, Option<EndpointKey>),
        at: Timestamp,
        counted: Counted,
        tables: &Tables<'_>,
    ) -> Result<(), StoreError> {
        let Some(entry) = self.application(tables, application)? else {
            return Ok(());
        };
        let environment = self.environment(entry.application.environment);
        let environment = environment.filter(|found| found.operational != application);
        let subjects = [
            Some(application.as_u64()),
            endpoint.map(Key::as_u64),
            environment.map(|found| found.key.as_u64()),
        ];
        for subject in subjects.into_iter().flatten() {
            self.tally.count(subject, at, counted);
        }
        Ok(())
    }
}

/// Writes a row anew, as `change` leaves it.
fn change(
    key: &[u8; 13],
    tables: &mut Tables<'_>,
    change: impl FnOnce(&mut Counter),
) -> Result<(), StoreError> {
    let found = tables.counters.get(key)?;
    let mut counter = found.map_or_else(|| Ok(Counter::default()), |row| read(row.value()))?;
    change(&mut counter);
    let row = encode(&CounterV1::from(counter));
    tables.counters.insert(key, row.as_slice())?;
    Ok(())
}

/// The counter in a row.
pub(super) fn read(row: &[u8]) -> Result<Counter, StoreError> {
    decode::<CounterV1>(row)?.into_domain()
}

struct RollUp;

/// What one step changes.
#[derive(Default)]
struct Step {
    /// What is added to rows of hours and days.
    sums: BTreeMap<[u8; 13], Counter>,
    rows: usize,
    /// Where the mark is afterwards.
    rolled_up: RolledUp,
    forgotten: Vec<[u8; 13]>,
}

impl Operation for RollUp {
    type Plan = Step;
    type Answer = bool;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Step, Refusal>, StoreError> {
        Step::plan(
            &tables.counters,
            batch.tally.rolled_up,
            batch.now,
            STEP_ROWS,
        )
        .map(Ok)
    }

    fn apply(
        self,
        step: Step,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<bool, StoreError> {
        for (key, sum) in &step.sums {
            change(key, tables, |counter| counter.add(sum))?;
        }
        for key in &step.forgotten {
            tables.counters.remove(key)?;
        }
        batch.tally.rolled_up = step.rolled_up;
        let mark = step.rolled_up.to_bytes();
        tables.meta.insert(META_ROLLED_UP, mark.as_slice())?;
        Ok(step.rows == STEP_ROWS || step.forgotten.len() == STEP_ROWS)
    }
}

type Rows<'a> = redb::Range<'a, &'static [u8; 13], &'static [u8]>;

impl Step {
    fn plan(
        counters: &impl ReadableTable<&'static [u8; 13], &'static [u8]>,
        rolled_up: RolledUp,
        now: Timestamp,
        rows_max: usize,
    ) -> Result<Self, StoreError> {
        let mut step = Self {
            rolled_up,
            ..Self::default()
        };
        let settled = Resolution::Minute.slot(now).saturating_sub(SETTLE_MINUTES);
        if rolled_up.minute < settled {
            let from = counter(0, rolled_up.minute, rolled_up.subject);
            let to = counter(0, settled, 0);
            let range = (Bound::Excluded(&from), Bound::Excluded(&to));
            step.sum(counters.range::<&[u8; 13]>(range)?, rows_max)?;
        }
        for level in Resolution::ALL {
            let oldest = level.slot(now).saturating_sub(level.slots_kept());
            let [from, to] = [0, oldest].map(|slot| counter(level as u8, slot, 0));
            let range = counters.range::<&[u8; 13]>(&from..&to)?;
            step.forget(range, rows_max)?;
        }
        Ok(step)
    }

    fn is_empty(&self) -> bool {
        self.rows == 0 && self.forgotten.is_empty()
    }

    fn sum(&mut self, rows: Rows<'_>, rows_max: usize) -> Result<(), StoreError> {
        for row in rows.take(rows_max) {
            let (key, value) = row?;
            let (_, minute, subject) = counter_parts(key.value());
            let counted = read(value.value())?;
            for level in [Resolution::Hour, Resolution::Day] {
                let key = counter(level as u8, level.slot_of_minute(minute), subject);
                self.sums.entry(key).or_default().add(&counted);
            }
            self.rolled_up = RolledUp { minute, subject };
            self.rows += 1;
        }
        Ok(())
    }

    /// Takes the first of what is too old. No minute goes before it is in its
    /// hour: so many, from the same end, are rolled up in this step.
    fn forget(&mut self, rows: Rows<'_>, rows_max: usize) -> Result<(), StoreError> {
        for row in rows.take(rows_max - self.forgotten.len()) {
            self.forgotten.push(*row?.0.value());
        }
        Ok(())
    }
}

type CounterRows = redb::ReadOnlyTable<&'static [u8; 13], &'static [u8]>;

/// The rows of a period; where those are of hours or days, with the minutes
/// that are not in them yet: a few, as long as the engine rolls up.
fn read_period(
    subject: u64,
    period: &Period,
    txn: &ReadTransaction,
) -> Result<Vec<Counter>, StoreError> {
    let (resolution, slots) = (period.resolution(), period.slots());
    let mut counters = vec![Counter::default(); slots.len()];
    let mut add = |slot: u32, counter: &Counter| {
        let at = usize::try_from(slot - slots.start).expect("within the period");
        counters[at].add(counter);
    };
    let table = txn.open_table(COUNTERS)?;
    each_row(&table, resolution, slots.clone(), subject, &mut add)?;
    if resolution != Resolution::Minute {
        let mut minutes = period.minutes();
        minutes.start = minutes.start.max(mark(txn)?.next_minute(subject));
        each_row(
            &table,
            Resolution::Minute,
            minutes,
            subject,
            |minute, counter| {
                add(resolution.slot_of_minute(minute), counter);
            },
        )?;
    }
    Ok(counters)
}

/// Where the roll-up is.
pub(super) fn mark(txn: &ReadTransaction) -> Result<RolledUp, StoreError> {
    let row = txn.open_table(META)?.get(META_ROLLED_UP)?;
    let row = row.ok_or(StoreError::Corrupt("there is no mark of the roll-up"))?;
    RolledUp::from_bytes(row.value())
}

/// Calls `found` with each counter of a subject in these slots. Goes from one
/// slot that has rows to the next, with a seek or two for each.
fn each_row(
    table: &CounterRows,
    level: Resolution,
    slots: Range<u32>,
    subject: u64,
    mut found: impl FnMut(u32, &Counter),
) -> Result<(), StoreError> {
    let mut slot = slots.start;
    while slot < slots.end {
        let [from, to] = [(slot, subject), (slots.end, 0)]
            .map(|(slot, subject)| counter(level as u8, slot, subject));
        let Some(row) = table.range::<&[u8; 13]>(&from..&to)?.next() else {
            break;
        };
        let (key, value) = row?;
        let (_, next, whose) = counter_parts(key.value());
        slot = match whose.cmp(&subject) {
            Ordering::Less => next,
            Ordering::Equal => {
                found(next, &read(value.value())?);
                next + 1
            }
            Ordering::Greater => next + 1,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use redb::backends::InMemoryBackend;

    use super::super::writer::reply_channel;
    use super::super::{Durability, MasterKey, StoreOptions};
    use super::*;
    use crate::seams::clock::SystemClock;
    use crate::seams::entropy::SystemEntropy;

    #[test]
    fn the_mark_says_which_minutes_of_whom_are_rolled_up() {
        let mark = RolledUp {
            minute: 7,
            subject: 40,
        };
        for (minute, subject, has, next) in [
            (6, 99, true, 7),
            (7, 39, true, 8),
            (7, 40, true, 8),
            (7, 41, false, 7),
            (8, 1, false, 8),
        ] {
            assert_eq!(mark.has(minute, subject), has, "{minute} {subject}");
            if minute == mark.minute {
                assert_eq!(mark.next_minute(subject), next, "{minute} {subject}");
            }
        }
        assert_eq!(RolledUp::default().next_minute(1), 0);
        let bytes = [0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 40];
        assert_eq!(mark.to_bytes(), bytes);
        assert_eq!(RolledUp::from_bytes(&bytes).unwrap(), mark);
        assert!(RolledUp::from_bytes(&bytes[1..]).is_err());
    }

    /// Writes what no verb writes.
    struct Damage(fn(&mut Tables<'_>) -> Result<(), StoreError>);

    impl Operation for Damage {
        type Plan = ();
        type Answer = ();

        fn check(
            &mut self,
            _: &Tables<'_>,
            _: &mut Batch<'_>,
        ) -> Result<Result<(), Refusal>, StoreError> {
            Ok(Ok(()))
        }

        fn apply(
            self,
            (): (),
            tables: &mut Tables<'_>,
            _: &mut Batch<'_>,
        ) -> Result<(), StoreError> {
            (self.0)(tables)
        }
    }

    fn store() -> Store {
        let options = StoreOptions {
            data_dir: PathBuf::new(),
            cache_bytes: 1 << 20,
            durability: Durability::Fast,
            master_key: MasterKey::Given([7; 32]),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            backend: Some(Box::new(|| Box::new(InMemoryBackend::new()))),
        };
        Store::open(options).unwrap()
    }

    /// The counter of a message.
    fn insert(tables: &mut Tables<'_>, level: u8, slot: u32) -> Result<(), StoreError> {
        change(&counter(level, slot, 9), tables, |counter| {
            counter.count(Counted::Message { payload_bytes: 1 });
        })
    }

    fn set_mark(tables: &mut Tables<'_>, minute: u32) -> Result<(), StoreError> {
        let mark = RolledUp { minute, subject: 9 }.to_bytes();
        tables.meta.insert(META_ROLLED_UP, mark.as_slice())?;
        Ok(())
    }

    #[test]
    fn the_check_finds_counters_that_do_not_agree() {
        type Write = fn(&mut Tables<'_>) -> Result<(), StoreError>;
        let cases: [(Write, &[&str]); 7] = [
            (|tables| insert(tables, 0, 61), &[]),
            (
                |tables| {
                    insert(tables, 0, 61)?;
                    set_mark(tables, 61)
                },
                &[
                    "a counter of minutes is not in that of hour 1",
                    "a counter of minutes is not in that of day 0",
                ],
            ),
            (
                |tables| insert(tables, 1, 25),
                &["a counter of hours is not in that of day 1"],
            ),
            (
                |tables| insert(tables, 3, 1),
                &["a counter cannot be read: the store is damaged: its level is none"],
            ),
            (
                |tables| {
                    let row: &[u8] = &[1];
                    tables.counters.insert(&counter(2, 1, 9), row)?;
                    Ok(())
                },
                &["a counter cannot be read: the store is damaged: a row that does not decode"],
            ),
            (
                |tables| change(&counter(2, 1, 9), tables, |counter| counter.failed = 1),
                &["a counter of day 1 does not agree with itself"],
            ),
            (
                |tables| {
                    tables.meta.remove(META_ROLLED_UP)?;
                    Ok(())
                },
                &["the mark of the roll-up cannot be read: the store is damaged: it is not there"],
            ),
        ];
        for (write, want) in cases {
            let store = store();
            let (reply, _) = reply_channel();
            store.inner.queue.submit(Damage(write), None, reply);
            assert!(store.pump());
            assert_eq!(store.check().unwrap().problems, want);
        }
    }
}
