//! Messages, deliveries, attempts and what is due, read in short snapshots.

use bytes::Bytes;
use redb::ReadTransaction;

use super::codec::decode;
use super::retention::content_bytes;
use super::rows::{AttemptV1, DeliveryV1, MessageV1, TotalsV1};
use super::tables::{
    APPLICATION_MESSAGES, ATTEMPTS, DELIVERIES, DUE, ENDPOINT_ATTEMPTS, MESSAGE_UIDS, MESSAGES,
    PAYLOADS, message_uid, number_text, pair, part, second, triple,
};
use super::writer::read_due;
use super::{Store, StoreError, tables};
use crate::domain::attempt::Attempt;
use crate::domain::delivery::{Delivery, Trigger, Verdict};
use crate::domain::ids::{ApplicationKey, AttemptKey, EndpointKey, Key, MessageKey};
use crate::domain::message::{Message, StoredMessage};
use crate::domain::time::Timestamp;

/// Rows that a filtered list looks at before it answers with what it has.
const FILTER_ROWS_MAX: usize = 5_000;

/// A page of messages, newest first.
#[derive(Clone, Debug)]
pub struct MessagePage {
    pub messages: Vec<StoredMessage>,
    pub more: bool,
}

/// Which attempts a list shows. `None` everywhere: all.
#[derive(Clone, Debug, Default)]
pub struct AttemptFilter {
    pub outcome: Option<OutcomeFilter>,
    /// 0 (no HTTP answer), 100, 200, 300, 400 or 500.
    pub status_class: Option<u16>,
    /// One of [`OUTCOMES`](crate::domain::attempt::OUTCOMES).
    pub result: Option<&'static str>,
    pub trigger: Option<Trigger>,
    pub event_type: Option<crate::domain::fanout::EventFilter>,
    pub after: Option<Timestamp>,
    pub before: Option<Timestamp>,
}

/// How an attempt ended, for a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeFilter {
    Delivered,
    Failed,
}

impl AttemptFilter {
    fn needs_message(&self) -> bool {
        self.event_type.is_some()
    }

    pub(super) fn accepts(&self, attempt: &Attempt) -> bool {
        let delivered = attempt.of.verdict == Verdict::Delivered;
        let status = attempt.of.exchange.outcome.status_code();
        self.outcome
            .is_none_or(|wanted| (wanted == OutcomeFilter::Delivered) == delivered)
            && self
                .status_class
                .is_none_or(|class| status / 100 * 100 == class)
            && self
                .result
                .is_none_or(|wanted| attempt.of.exchange.outcome.name() == wanted)
            && self
                .trigger
                .is_none_or(|wanted| attempt.of.trigger == wanted)
            && self.after.is_none_or(|after| attempt.of.started > after)
            && self.before.is_none_or(|before| attempt.of.started < before)
    }
}

/// A page of attempts, newest first.
#[derive(Clone, Debug)]
pub struct AttemptPage {
    pub attempts: Vec<Attempt>,
    /// Where the next page begins, when there may be one.
    pub next: Option<AttemptKey>,
}

/// A delivery that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueRow {
    pub message: MessageKey,
    pub due: Timestamp,
    pub trigger: Trigger,
}

/// How big the store is.
#[derive(Clone, Copy, Debug)]
pub struct StoreFigures {
    pub totals: TotalsV1,
    /// An estimate of what the content takes on disk.
    pub content_bytes: u64,
    /// The file, free pages included; 0 when it is not a file.
    pub file_bytes: u64,
}

fn message(txn: &ReadTransaction, key: MessageKey) -> Result<Option<Message>, StoreError> {
    let row = txn.open_table(MESSAGES)?.get(&key.as_u64().to_be_bytes())?;
    let row = row
        .map(|bytes| decode::<MessageV1>(bytes.value()))
        .transpose()?;
    Ok(row.map(|row| row.into_domain(key)))
}

fn stored(txn: &ReadTransaction, key: MessageKey) -> Result<Option<StoredMessage>, StoreError> {
    let Some(message) = message(txn, key)? else {
        return Ok(None);
    };
    let payload = txn.open_table(PAYLOADS)?.get(&key.as_u64().to_be_bytes())?;
    let payload = payload.map(|bytes| Bytes::copy_from_slice(bytes.value()));
    Ok(Some(StoredMessage { message, payload }))
}

impl Store {
    /// The message of `application` with this id, or the newest with this uid.
    pub fn find_message(
        &self,
        application: ApplicationKey,
        id_or_uid: &str,
    ) -> Result<Option<StoredMessage>, StoreError> {
        self.read(|txn| {
            let key = match self.inner.ids.parse::<MessageKey>(id_or_uid) {
                Some(key) => Some(key),
                None => newest_with_uid(txn, application, id_or_uid)?,
            };
            let Some(key) = key else { return Ok(None) };
            Ok(stored(txn, key)?.filter(|found| found.message.application == application))
        })
    }

    /// Messages of an application, newest first, before (older than) a key.
    pub fn list_messages(
        &self,
        application: ApplicationKey,
        before: Option<MessageKey>,
        take: usize,
    ) -> Result<MessagePage, StoreError> {
        let end = pair(application.as_u64(), before.map_or(u64::MAX, Key::as_u64));
        self.read(|txn| {
            let table = txn.open_table(APPLICATION_MESSAGES)?;
            let rows = table
                .range::<&[u8; 16]>(&pair(application.as_u64(), 0)..&end)?
                .rev();
            let keys: Vec<_> = rows
                .take(take + 1)
                .map(|row| Ok(MessageKey::from_u64(second(row?.0.value()))))
                .collect::<Result<_, StoreError>>()?;
            let found = keys.iter().take(take).map(|&key| stored(txn, key));
            let messages = found
                .filter_map(Result::transpose)
                .collect::<Result<_, StoreError>>()?;
            Ok(MessagePage {
                messages,
                more: keys.len() > take,
            })
        })
    }

    /// The deliveries of a message, by endpoint.
    pub fn deliveries(
        &self,
        message: MessageKey,
    ) -> Result<Vec<(EndpointKey, Delivery)>, StoreError> {
        let key = message.as_u64();
        self.read(|txn| {
            let table = txn.open_table(DELIVERIES)?;
            let rows = table.range::<&[u8; 16]>(&pair(key, 0)..=&pair(key, u64::MAX))?;
            rows.map(|row| {
                let (key, value) = row?;
                let endpoint = EndpointKey::from_u64(part(key.value(), 1));
                Ok((endpoint, decode::<DeliveryV1>(value.value())?.into()))
            })
            .collect()
        })
    }

    /// One attempt.
    pub fn attempt(&self, key: AttemptKey) -> Result<Option<Attempt>, StoreError> {
        self.read(|txn| {
            let row = txn.open_table(ATTEMPTS)?.get(&key.as_u64().to_be_bytes())?;
            let row = row
                .map(|bytes| decode::<AttemptV1>(bytes.value()))
                .transpose()?;
            Ok(row.map(|row| row.into_domain(key)))
        })
    }

    /// Attempts for an endpoint that `filter` accepts, newest first, older
    /// than `before`. Looks at a bounded number of rows.
    pub fn endpoint_attempts(
        &self,
        endpoint: EndpointKey,
        filter: &AttemptFilter,
        before: Option<AttemptKey>,
        take: usize,
    ) -> Result<AttemptPage, StoreError> {
        let end = pair(endpoint.as_u64(), before.map_or(u64::MAX, Key::as_u64));
        self.read(|txn| {
            let table = txn.open_table(ENDPOINT_ATTEMPTS)?;
            let rows = table
                .range::<&[u8; 16]>(&pair(endpoint.as_u64(), 0)..&end)?
                .rev();
            let keys = rows.map(|row| Ok(AttemptKey::from_u64(second(row?.0.value()))));
            page(txn, keys, filter, take)
        })
    }

    /// Attempts for a message that `filter` accepts, newest first, older than
    /// `before`. Those that its deliveries list.
    pub fn message_attempts(
        &self,
        message: MessageKey,
        filter: &AttemptFilter,
        before: Option<AttemptKey>,
        take: usize,
    ) -> Result<AttemptPage, StoreError> {
        let deliveries = self.deliveries(message)?;
        let marks = deliveries
            .iter()
            .flat_map(|(_, delivery)| &delivery.attempts);
        let mut keys: Vec<AttemptKey> = marks.map(|mark| mark.key).collect();
        keys.retain(|key| before.is_none_or(|before| *key < before));
        keys.sort_unstable_by(|a, b| b.cmp(a));
        self.read(|txn| page(txn, keys.into_iter().map(Ok), filter, take))
    }

    /// The first rows of an endpoint's queue that are due at `now`, oldest due
    /// first, without those that `skip` names; and when the first row after
    /// them is due.
    pub fn due_rows(
        &self,
        endpoint: EndpointKey,
        now: Timestamp,
        take: usize,
        skip: impl Fn(MessageKey) -> bool,
    ) -> Result<(Vec<DueRow>, Option<Timestamp>), StoreError> {
        let key = endpoint.as_u64();
        self.read(|txn| {
            let table = txn.open_table(DUE)?;
            let mut found = Vec::new();
            for row in
                table.range::<&[u8; 24]>(&triple(key, 0, 0)..=&triple(key, u64::MAX, u64::MAX))?
            {
                let (key, value) = row?;
                let (_, due, message, trigger) = read_due(key.value(), value.value());
                if due <= now && skip(message) {
                    continue;
                }
                if due > now || found.len() == take {
                    return Ok((found, Some(due)));
                }
                found.push(DueRow {
                    message,
                    due,
                    trigger,
                });
            }
            Ok((found, None))
        })
    }

    /// Endpoints for which something waits, with when the first of it is due:
    /// at most `take`, in order of key, after `after`.
    pub fn due_endpoints(
        &self,
        after: Option<EndpointKey>,
        take: usize,
    ) -> Result<Vec<(EndpointKey, Timestamp)>, StoreError> {
        self.read(|txn| {
            let table = txn.open_table(DUE)?;
            let mut found = Vec::new();
            let mut from = after.map_or(0, |key| key.as_u64() + 1);
            while found.len() < take {
                let Some(row) = table.range::<&[u8; 24]>(&triple(from, 0, 0)..)?.next() else {
                    break;
                };
                let (key, value) = row?;
                let (endpoint, due, _, _) = read_due(key.value(), value.value());
                found.push((endpoint, due));
                from = endpoint.as_u64() + 1;
            }
            Ok(found)
        })
    }

    /// What sending a delivery needs: its state, the message, the payload.
    /// `None` when it is gone.
    pub fn load_delivery(
        &self,
        message: MessageKey,
        endpoint: EndpointKey,
    ) -> Result<Option<(Delivery, StoredMessage)>, StoreError> {
        self.read(|txn| {
            let row = txn
                .open_table(DELIVERIES)?
                .get(&pair(message.as_u64(), endpoint.as_u64()))?;
            let Some(delivery) = row
                .map(|bytes| decode::<DeliveryV1>(bytes.value()))
                .transpose()?
            else {
                return Ok(None);
            };
            Ok(stored(txn, message)?.map(|stored| (delivery.into(), stored)))
        })
    }

    /// Bytes of the pages that hold rows. Walks every table, so it takes long
    /// where there is much: not for a page that is looked at often.
    pub fn live_bytes(&self) -> Result<u64, StoreError> {
        self.read(|txn| Ok(tables::live_bytes(txn)?))
    }

    /// How big the store is.
    pub fn figures(&self) -> Result<StoreFigures, StoreError> {
        let totals = self.inner.writer_state().totals;
        Ok(StoreFigures {
            totals,
            content_bytes: content_bytes(&totals),
            file_bytes: self.inner.file_bytes(),
        })
    }
}

fn newest_with_uid(
    txn: &ReadTransaction,
    application: ApplicationKey,
    uid: &str,
) -> Result<Option<MessageKey>, StoreError> {
    // A NUL ends the uid in a row's key, so none has one.
    if uid.contains('\0') {
        return Ok(None);
    }
    let table = txn.open_table(MESSAGE_UIDS)?;
    let application = application.as_u64();
    let mut end = number_text(application, uid);
    end.push(1);
    let start = message_uid(application, uid, 0);
    let newest = table
        .range::<&[u8]>(start.as_slice()..end.as_slice())?
        .next_back()
        .transpose()?;
    Ok(newest.map(|(key, _)| {
        let key = key.value();
        MessageKey::from_u64(u64::from_be_bytes(
            key[key.len() - 8..].try_into().expect("eight bytes"),
        ))
    }))
}

/// The first attempts among `keys` that `filter` accepts.
fn page(
    txn: &ReadTransaction,
    keys: impl Iterator<Item = Result<AttemptKey, StoreError>>,
    filter: &AttemptFilter,
    take: usize,
) -> Result<AttemptPage, StoreError> {
    let table = txn.open_table(ATTEMPTS)?;
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut last = None;
    for (looked, key) in keys.enumerate() {
        let key = key?;
        if attempts.len() == take || looked == FILTER_ROWS_MAX {
            return Ok(AttemptPage {
                attempts,
                next: last,
            });
        }
        last = Some(key);
        let Some(row) = table.get(&key.as_u64().to_be_bytes())? else {
            continue;
        };
        let attempt = decode::<AttemptV1>(row.value())?.into_domain(key);
        if filter.accepts(&attempt) && accepts_type(txn, filter, &attempt)? {
            attempts.push(attempt);
        }
    }
    Ok(AttemptPage {
        attempts,
        next: None,
    })
}

fn accepts_type(
    txn: &ReadTransaction,
    filter: &AttemptFilter,
    attempt: &Attempt,
) -> Result<bool, StoreError> {
    if !filter.needs_message() {
        return Ok(true);
    }
    let message = message(txn, attempt.of.message)?;
    let wanted = filter.event_type.as_ref();
    Ok(message
        .is_some_and(|message| wanted.is_none_or(|wanted| wanted.matches(&message.event_type))))
}
