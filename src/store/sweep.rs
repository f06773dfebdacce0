//! Deleting what a deleted environment, application or endpoint leaves, a
//! little at a time.
//!
//! Deletion itself writes a tombstone and answers at once; the sweeper then
//! removes rows in bounded steps, so that nothing else waits for it.

use redb::ReadableTable as _;

use super::codec::{decode, encode};
use super::rows::{ApplicationV1, DeliveryV1, EndpointV1, InboxV1, MessageV1};
use super::tables::{self, Tables, message_uid, number_text, pair, part, second, triple};
use super::writer::{Batch, Operation, Refusal, WriteError, read_due, remove_due};
use super::{Store, StoreError, applications, event_types, jobs, receipts, requests};
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::environment::OPERATIONAL_UID;
use crate::domain::ids::{ApplicationKey, EndpointKey, EnvironmentKey, InboxKey, Key, MessageKey};
use crate::domain::inbox::Inbox;
use crate::domain::message::Origin;

/// Rows of a kind that one step removes, or looks at, at most.
pub(super) const STEP_ROWS: usize = 500;

/// What a tombstone stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Application,
    Endpoint,
    Source,
    /// Its inboxes have no list of their own: those before this one are swept.
    Environment {
        inboxes_from: u64,
    },
}

impl Kind {
    fn read(value: &[u8]) -> Result<Self, StoreError> {
        match *value {
            [1] => Ok(Self::Application),
            [2] => Ok(Self::Endpoint),
            [4] => Ok(Self::Source),
            [3, ref from @ ..] => match <[u8; 8]>::try_from(from) {
                Ok(from) => Ok(Self::Environment {
                    inboxes_from: u64::from_be_bytes(from),
                }),
                Err(_) => Err(BAD_TOMBSTONE),
            },
            _ => Err(BAD_TOMBSTONE),
        }
    }

    fn value(self) -> Vec<u8> {
        match self {
            Self::Application => vec![1],
            Self::Endpoint => vec![2],
            Self::Source => vec![4],
            Self::Environment { inboxes_from } => {
                let mut value = vec![3];
                value.extend(inboxes_from.to_be_bytes());
                value
            }
        }
    }
}

const BAD_TOMBSTONE: StoreError = StoreError::Corrupt("a tombstone of nothing");

/// Leaves a tombstone for the sweeper.
pub(super) fn mark(key: u64, kind: Kind, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let value = kind.value();
    tables
        .tombstones
        .insert(&key.to_be_bytes(), value.as_slice())?;
    Ok(())
}

impl Store {
    /// Sweeps one step. Answers whether there is more to sweep.
    pub async fn sweep(&self) -> Result<bool, WriteError> {
        self.write_once(Sweep).await
    }

    /// Whether anything is left to sweep.
    pub fn has_tombstones(&self) -> Result<bool, StoreError> {
        self.read(|txn| Ok(txn.open_table(tables::TOMBSTONES)?.first()?.is_some()))
    }
}

struct Sweep;

impl Operation for Sweep {
    /// `None`: there is nothing to sweep.
    type Plan = Option<(u64, Kind)>;
    type Answer = bool;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let Some((key, kind)) = tables.tombstones.first()? else {
            return Ok(Ok(None));
        };
        let kind = Kind::read(kind.value())?;
        Ok(Ok(Some((u64::from_be_bytes(*key.value()), kind))))
    }

    fn apply(
        self,
        oldest: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<bool, StoreError> {
        let Some((key, kind)) = oldest else {
            return Ok(false);
        };
        let finished = match kind {
            Kind::Application => sweep_application(key, tables, batch)?,
            Kind::Source => receipts::sweep(key, tables, batch)?,
            Kind::Endpoint => cancel_waiting(EndpointKey::from_u64(key), tables, batch)?,
            Kind::Environment { inboxes_from } => {
                sweep_environment(key, inboxes_from, tables, batch)?
            }
        };
        if finished {
            tables.tombstones.remove(&key.to_be_bytes())?;
        }
        Ok(tables.tombstones.first()?.is_some())
    }
}

/// One step of an environment's rows; true when none are left.
///
/// Its row and its API keys went when it was deleted. Its applications are
/// deleted as any other is, and swept after it.
fn sweep_environment(
    environment: u64,
    inboxes_from: u64,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<bool, StoreError> {
    Ok(delete_applications(environment, tables, batch)?
        && event_types::remove_all_of(EnvironmentKey::from_u64(environment), tables)?
        && sweep_inboxes(environment, inboxes_from, tables)?
        && sweep_audit(environment, tables)?)
}

/// Deletes some of an environment's applications, the built-in one last; true
/// when none are left. The engine was told when the environment was deleted.
fn delete_applications(
    environment: u64,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<bool, StoreError> {
    let owned = pair(environment, 0)..=pair(environment, u64::MAX);
    let mut keys = first_keys(
        tables
            .environment_applications
            .range::<&[u8; 16]>(&owned.start()..=&owned.end())?,
    )?;
    let more = keys.len() == STEP_ROWS;
    if !more {
        let uid = number_text(environment, OPERATIONAL_UID);
        let built_in = tables.application_uids.get(uid.as_slice())?;
        keys.extend(built_in.map(|key| u64::from_be_bytes(*key.value())));
    }
    for key in keys {
        let row = tables.applications.get(&key.to_be_bytes())?;
        let row = row.map(|bytes| decode::<ApplicationV1>(bytes.value()));
        if let Some(row) = row.transpose()? {
            let application = row.into_domain(ApplicationKey::from_u64(key));
            applications::remove(&application, tables, batch)?;
        }
    }
    Ok(!more)
}

/// One step of an environment's inboxes with what they took in; true when none
/// are left. Leaves a mark where the next step goes on.
fn sweep_inboxes(environment: u64, from: u64, tables: &mut Tables<'_>) -> Result<bool, StoreError> {
    let looked = inboxes_from(from, tables)?;
    let mut next = from;
    let mut rows_left = STEP_ROWS;
    for inbox in &looked {
        next = inbox.key.as_u64();
        if inbox.environment.as_u64() == environment {
            rows_left -= sweep_received(next, rows_left, tables)?;
            if rows_left == 0 {
                break;
            }
            tables.inbox_tokens.remove(inbox.token.as_bytes())?;
            tables.inboxes.remove(&next.to_be_bytes())?;
        }
        next += 1;
    }
    if looked.len() < STEP_ROWS && rows_left > 0 {
        return Ok(true);
    }
    let kind = Kind::Environment { inboxes_from: next };
    mark(environment, kind, tables)?;
    Ok(false)
}

/// The next inboxes of any environment.
fn inboxes_from(from: u64, tables: &Tables<'_>) -> Result<Vec<Inbox>, StoreError> {
    let rows = tables
        .inboxes
        .range::<&[u8; 8]>(&from.to_be_bytes()..)?
        .take(STEP_ROWS);
    rows.map(|row| {
        let (key, value) = row?;
        let key = InboxKey::from_u64(u64::from_be_bytes(*key.value()));
        Ok(decode::<InboxV1>(value.value())?.into_domain(key))
    })
    .collect()
}

/// Removes at most `max` of what an inbox took in; how many it were.
fn sweep_received(inbox: u64, max: usize, tables: &mut Tables<'_>) -> Result<usize, StoreError> {
    let all = pair(inbox, 0)..=pair(inbox, u64::MAX);
    let mut received = first_keys(
        tables
            .received
            .range::<&[u8; 16]>(&all.start()..=&all.end())?,
    )?;
    received.truncate(max);
    tables.kept_counts.remove(&inbox.to_be_bytes())?;
    for &request in &received {
        tables.received.remove(&pair(inbox, request))?;
        tables.kept_bodies.remove(&pair(inbox, request))?;
    }
    Ok(received.len())
}

/// One step of an environment's audit log; true when nothing of it is left.
fn sweep_audit(environment: u64, tables: &mut Tables<'_>) -> Result<bool, StoreError> {
    let all = pair(environment, 0)..=pair(environment, u64::MAX);
    let entries = first_keys(tables.audit.range::<&[u8; 16]>(&all.start()..=&all.end())?)?;
    for &entry in &entries {
        tables.audit.remove(&pair(environment, entry))?;
    }
    Ok(entries.len() < STEP_ROWS)
}

/// One step of an application's rows; true when none are left.
fn sweep_application(
    application: u64,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<bool, StoreError> {
    let owned = pair(application, 0)..=pair(application, u64::MAX);
    let messages = first_keys(
        tables
            .application_messages
            .range::<&[u8; 16]>(&owned.start()..=&owned.end())?,
    )?;
    for &message in &messages {
        remove_message(MessageKey::from_u64(message), tables, batch)?;
    }
    if messages.len() == STEP_ROWS {
        return Ok(false);
    }
    let endpoints = first_keys(
        tables
            .application_endpoints
            .range::<&[u8; 16]>(&owned.start()..=&owned.end())?,
    )?;
    let more_endpoints = endpoints.len() == STEP_ROWS;
    for endpoint in endpoints {
        if !sweep_endpoint(endpoint, tables, batch)? {
            return Ok(false);
        }
        tables
            .application_endpoints
            .remove(&pair(application, endpoint))?;
    }
    if !requests::sweep(application, tables)? {
        return Ok(false);
    }
    if more_endpoints || !event_types::forget_application(application, tables)? {
        return Ok(false);
    }
    if !jobs::sweep(application, STEP_ROWS, tables)? {
        return Ok(false);
    }
    let uids = application.to_be_bytes().to_vec()..(application + 1).to_be_bytes().to_vec();
    tables
        .endpoint_uids
        .retain_in(uids.start.as_slice()..uids.end.as_slice(), |_, _| false)?;
    Ok(true)
}

type PairRange<'a> = redb::Range<'a, &'static [u8; 16], &'static [u8]>;

/// The second parts of the first [`STEP_ROWS`] keys.
fn first_keys(range: PairRange<'_>) -> Result<Vec<u64>, StoreError> {
    range
        .take(STEP_ROWS)
        .map(|row| Ok(second(row?.0.value())))
        .collect()
}

/// One step of an endpoint's own rows; true when none are left.
fn sweep_endpoint(
    endpoint: u64,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<bool, StoreError> {
    if !cancel_waiting(EndpointKey::from_u64(endpoint), tables, batch)? {
        return Ok(false);
    }
    let attempts = first_keys(
        tables
            .endpoint_attempts
            .range::<&[u8; 16]>(&pair(endpoint, 0)..=&pair(endpoint, u64::MAX))?,
    )?;
    for &attempt in &attempts {
        remove_attempt(endpoint, attempt, tables, batch)?;
    }
    if attempts.len() == STEP_ROWS {
        return Ok(false);
    }
    tables.endpoint_states.remove(&endpoint.to_be_bytes())?;
    let row = tables.endpoints.remove(&endpoint.to_be_bytes())?;
    let row = row
        .map(|row| decode::<EndpointV1>(row.value()))
        .transpose()?;
    if let Some(client_id) = row.and_then(|row| row.client_id) {
        tables.client_ids.remove(client_id.as_bytes())?;
    }
    Ok(true)
}

/// Ends one step of an endpoint's waiting deliveries; true when none are left.
fn cancel_waiting(
    endpoint: EndpointKey,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<bool, StoreError> {
    let key = endpoint.as_u64();
    let waiting = tables
        .due
        .range::<&[u8; 24]>(&triple(key, 0, 0)..=&triple(key, u64::MAX, u64::MAX))?;
    let rows: Vec<_> = waiting
        .take(STEP_ROWS)
        .map(|row| {
            let (key, value) = row?;
            Ok(read_due(key.value(), value.value()))
        })
        .collect::<Result<_, StoreError>>()?;
    for &(endpoint, due, message, _) in &rows {
        remove_due(tables, batch, endpoint, due, message)?;
        let row = pair(message.as_u64(), endpoint.as_u64());
        let found = tables
            .deliveries
            .get(&row)?
            .map(|bytes| decode::<DeliveryV1>(bytes.value()))
            .transpose()?;
        if let Some(delivery) = found.map(Delivery::from) {
            // What a replay still waited for was delivered before.
            let state = if delivery.succeeded {
                DeliveryState::Delivered
            } else {
                DeliveryState::Cancelled
            };
            let cancelled = Delivery { state, ..delivery };
            tables
                .deliveries
                .insert(&row, encode(&DeliveryV1::from(&cancelled)).as_slice())?;
        }
    }
    Ok(rows.len() < STEP_ROWS)
}

/// Removes an attempt from the log.
pub(super) fn remove_attempt(
    endpoint: u64,
    attempt: u64,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    tables.endpoint_attempts.remove(&pair(endpoint, attempt))?;
    if tables.attempts.remove(&attempt.to_be_bytes())?.is_some() {
        batch.totals.attempts -= 1;
    }
    Ok(())
}

/// Removes a payload; the message itself stays.
pub(super) fn remove_payload(
    message: MessageKey,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    if let Some(payload) = tables.payloads.remove(&message.as_u64().to_be_bytes())? {
        batch.totals.payload_bytes -= payload.value().len() as u64;
    }
    Ok(())
}

/// Removes a message with its deliveries and the attempts they list.
pub(super) fn remove_message(
    message: MessageKey,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    for (endpoint, delivery) in deliveries_of(message, tables)? {
        if let Some((due, _)) = delivery.waiting() {
            remove_due(tables, batch, endpoint, due, message)?;
        }
        for mark in &delivery.attempts {
            remove_attempt(endpoint.as_u64(), mark.key.as_u64(), tables, batch)?;
        }
        tables
            .deliveries
            .remove(&pair(message.as_u64(), endpoint.as_u64()))?;
    }
    remove_payload(message, tables, batch)?;
    let key = message.as_u64();
    let removed = match tables.messages.remove(&key.to_be_bytes())? {
        Some(row) => Some(decode::<MessageV1>(row.value())?.into_domain(message)),
        None => None,
    };
    if let Some(removed) = removed {
        batch.totals.messages -= 1;
        if let Origin::Source { source, received } = removed.origin {
            receipts::forget(source, received, tables)?;
        }
        let application = removed.application.as_u64();
        tables
            .application_messages
            .remove(&pair(application, key))?;
        if let Some(uid) = &removed.uid {
            tables
                .message_uids
                .remove(message_uid(application, uid, key).as_slice())?;
        }
    }
    Ok(())
}

/// The deliveries of a message.
pub(super) fn deliveries_of(
    message: MessageKey,
    tables: &Tables<'_>,
) -> Result<Vec<(EndpointKey, Delivery)>, StoreError> {
    let key = message.as_u64();
    let rows = tables
        .deliveries
        .range::<&[u8; 16]>(&pair(key, 0)..=&pair(key, u64::MAX))?;
    rows.map(|row| {
        let (key, value) = row?;
        let endpoint = EndpointKey::from_u64(part(key.value(), 1));
        Ok((endpoint, decode::<DeliveryV1>(value.value())?.into()))
    })
    .collect()
}
