//! The second of the two transactions that carry every promise: an attempt,
//! what follows from it, and the counters, on disk together.

use std::sync::Arc;
use std::time::Duration;

use redb::ReadableTable as _;

use super::catalog::write_state;
use super::codec::{decode, encode};
use super::erase::bare_attempt;
use super::rows::{AttemptV1, AttemptV1Ref, DeliveryV1};
use super::tables::{Tables, pair};
use super::writer::{
    Batch, Change, Operation, Refusal, WriteError, Written, insert_due, remove_due,
};
use super::{Store, StoreError};
use crate::domain::attempt::NewAttempt;
use crate::domain::delivery::{ATTEMPTS_LISTED_MAX, AttemptMark, Delivery, Trigger, Verdict};
use crate::domain::endpoint::{
    Disabled, DisabledReason, EndpointState, FAILING_FOR_MAX, FAILING_TOLD_AFTER, LiveEndpoint,
};
use crate::domain::ids::{AttemptKey, EndpointKey, Key, MessageKey};
use crate::domain::operational;
use crate::domain::retry::{Attempted, after_attempt};
use crate::domain::time::Timestamp;
use crate::seams::mutant::{self, Mutant};

/// What a recorded attempt led to.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    /// When and why the delivery is tried again, if it is.
    pub next: Option<(Timestamp, Trigger)>,
}

impl Store {
    /// Records an attempt and what follows from it. `took` is the due row that
    /// led to it, `retry_at` what the schedule says about trying again.
    ///
    /// Does not wait: `done` is called on the writer's thread after the commit,
    /// or with an error after which it must be [recorded again](Self::record_again).
    pub fn record(
        &self,
        attempt: impl Into<Arc<NewAttempt>>,
        took: (Timestamp, Trigger),
        retry_at: Option<Timestamp>,
        payload_bytes: usize,
        done: impl FnOnce(Result<Recorded, WriteError>) + Send + 'static,
    ) {
        let operation = Record {
            attempt: attempt.into(),
            took,
            retry_at,
            payload_bytes,
            again: false,
        };
        self.hand_in(operation, done);
    }

    /// As [`record`](Self::record), for an attempt whose record had an unknown
    /// end: when it is on disk already, it is not counted twice.
    pub fn record_again(
        &self,
        attempt: impl Into<Arc<NewAttempt>>,
        took: (Timestamp, Trigger),
        retry_at: Option<Timestamp>,
        payload_bytes: usize,
        done: impl FnOnce(Result<Recorded, WriteError>) + Send + 'static,
    ) {
        let operation = Record {
            attempt: attempt.into(),
            took,
            retry_at,
            payload_bytes,
            again: true,
        };
        self.hand_in(operation, done);
    }

    fn hand_in(
        &self,
        operation: Record,
        done: impl FnOnce(Result<Recorded, WriteError>) + Send + 'static,
    ) {
        let reply = move |result: Result<Written<Recorded>, WriteError>| {
            done(result.map(|written| match written {
                Written::Fresh(recorded) => recorded,
                Written::Repeated(_) => {
                    unreachable!("without an idempotency key nothing is repeated")
                }
            }));
        };
        self.inner.queue.submit_lazy(operation, Box::new(reply));
    }
}

struct Record {
    attempt: Arc<NewAttempt>,
    took: (Timestamp, Trigger),
    retry_at: Option<Timestamp>,
    payload_bytes: usize,
    again: bool,
}

/// What there is to record.
enum Plan {
    /// Nothing: the application was swept meanwhile.
    Gone,
    /// Nothing: an earlier try did, though it failed.
    Recorded(Delivery),
    /// The attempt; here is the delivery before it.
    Attempt(Delivery),
}

impl Record {
    /// Whether one of the newest attempts of `delivery` is this one.
    fn is_recorded(&self, delivery: &Delivery, tables: &Tables<'_>) -> Result<bool, StoreError> {
        for mark in delivery.attempts.iter().rev().take(LOOKED_AT_AGAIN) {
            let Some(row) = tables.attempts.get(&mark.key.as_u64().to_be_bytes())? else {
                continue;
            };
            let recorded = decode::<AttemptV1>(row.value())?.into_domain(mark.key);
            if recorded.of == *self.attempt || recorded.of == self.attempt.without_content() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Record {
    /// Whether the message's content was erased during the attempt: that took
    /// away what the delivery waited for.
    fn was_erased(&self, before: &Delivery, tables: &Tables<'_>) -> Result<bool, StoreError> {
        let message = self.attempt.message.as_u64().to_be_bytes();
        Ok(before.waiting() != Some(self.took) && tables.payloads.get(&message)?.is_none())
    }
}

/// Attempts among which one that is recorded again is looked for: nothing is
/// sent for its delivery meanwhile.
const LOOKED_AT_AGAIN: usize = 2;

impl Operation for Record {
    type Plan = Plan;
    type Answer = Recorded;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let row = pair(
            self.attempt.message.as_u64(),
            self.attempt.endpoint.as_u64(),
        );
        let found = tables.deliveries.get(&row)?;
        let delivery = found
            .map(|bytes| decode::<DeliveryV1>(bytes.value()))
            .transpose()?
            .map(Delivery::from);
        Ok(Ok(match delivery {
            None => Plan::Gone,
            Some(delivery) if self.again && self.is_recorded(&delivery, tables)? => {
                Plan::Recorded(delivery)
            }
            Some(delivery) => Plan::Attempt(delivery),
        }))
    }

    fn apply(
        self,
        plan: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Recorded, StoreError> {
        let (message, endpoint) = (self.attempt.message, self.attempt.endpoint);
        let before = match plan {
            Plan::Gone => return Ok(Recorded { next: None }),
            Plan::Recorded(delivery) => {
                tell_waiting(&delivery, endpoint, message, batch);
                let next = delivery.waiting();
                return Ok(Recorded { next });
            }
            Plan::Attempt(before) => before,
        };
        let key: AttemptKey = batch.key();
        let attempted = Attempted {
            mark: AttemptMark {
                key,
                status: self.attempt.exchange.outcome.status_code(),
            },
            verdict: self.attempt.verdict,
            took: self.took,
            retry_at: self.retry_at,
        };
        let mut after = after_attempt(&before, &attempted);
        let (told, news) = operational::of_delivery(&after, self.attempt.verdict);
        after.told = told;
        if after.waiting() != before.waiting() {
            if let Some((due, _)) = before.waiting() {
                remove_due(tables, batch, endpoint, due, message)?;
            }
            let forgotten =
                mutant::active(Mutant::ForgottenRetry) && key.as_u64().is_multiple_of(4);
            if let Some((due, trigger)) = after.waiting()
                && !forgotten
            {
                insert_due(tables, batch, endpoint, due, message, trigger)?;
            }
        }
        tell_waiting(&after, endpoint, message, batch);
        let row = encode(&DeliveryV1::from(&after));
        tables
            .deliveries
            .insert(&pair(message.as_u64(), endpoint.as_u64()), row.as_slice())?;
        if let Some(event_type) = news {
            batch.emit_attempt(tables, event_type, (key, &self.attempt), &after)?;
        }
        update_state(&self.attempt, tables, batch)?;
        batch.count_attempt(&self.attempt, self.payload_bytes, tables)?;
        // What a delivery does not list any more cannot be found to be erased.
        if before.attempts.len() == ATTEMPTS_LISTED_MAX {
            bare_attempt(before.attempts[0].key, tables)?;
        }
        let erased = self.was_erased(&before, tables)?;
        let bare = erased.then(|| self.attempt.without_content());
        let next = after.waiting().map(|(due, _)| due);
        let row = AttemptV1Ref {
            of: bare.as_ref().unwrap_or(&self.attempt),
            number: after.attempt_count,
            next,
        };
        write_attempt(key, &row, tables, batch)?;
        Ok(Recorded {
            next: after.waiting(),
        })
    }
}

/// Says that a delivery waits, also when it did before: whoever held it during
/// the attempt has not looked.
fn tell_waiting(
    delivery: &Delivery,
    endpoint: EndpointKey,
    message: MessageKey,
    batch: &mut Batch<'_>,
) {
    if let Some((due, trigger)) = delivery.waiting() {
        batch.tell(Change::Waiting {
            endpoint,
            message,
            due,
            trigger,
            content: None,
        });
    }
}

fn write_attempt(
    key: AttemptKey,
    row: &AttemptV1Ref<'_>,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let (key, endpoint) = (key.as_u64(), row.of.endpoint.as_u64());
    tables
        .attempts
        .insert(&key.to_be_bytes(), encode(row).as_slice())?;
    tables
        .endpoint_attempts
        .insert(&pair(endpoint, key), &[] as &[u8])?;
    batch.totals.attempts += 1;
    Ok(())
}

/// What the attempt says about the endpoint, written only when it changes.
fn update_state(
    attempt: &NewAttempt,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let Some(entry) = batch.application(tables, attempt.application)? else {
        return Ok(());
    };
    let Some(live) = entry.endpoint(attempt.endpoint) else {
        return Ok(());
    };
    let after = state_after(&live.state, attempt.verdict, attempt.started);
    if after == live.state {
        return Ok(());
    }
    write_state(attempt.endpoint, &after, tables)?;
    let was_disabled = live.state.disabled.is_some();
    let changed = Arc::new(LiveEndpoint {
        settings: live.settings.clone(),
        state: after,
    });
    if let Some(event_type) = operational::of_state(&live.state, &changed.state) {
        batch.emit_endpoint(tables, &entry, &changed, &[event_type])?;
    }
    batch
        .overlay
        .put(Arc::new(entry.with(Arc::clone(&changed))));
    if changed.state.disabled.is_some() != was_disabled {
        batch.tell(Change::Endpoint {
            endpoint: attempt.endpoint,
            live: Some(changed),
        });
    }
    Ok(())
}

/// An endpoint's state after an attempt.
fn state_after(before: &EndpointState, verdict: Verdict, at: Timestamp) -> EndpointState {
    if verdict == Verdict::Delivered {
        return EndpointState {
            disabled: before.disabled,
            ..EndpointState::default()
        };
    }
    let failing_since = before.failing_since.unwrap_or(at);
    let failures = before.failures.saturating_add(1);
    let failing_for: Duration = at.since(failing_since);
    let reason = match verdict {
        Verdict::Gone => Some(DisabledReason::Gone),
        _ if failing_for >= FAILING_FOR_MAX => Some(DisabledReason::Failing),
        _ => None,
    };
    let disabled = before
        .disabled
        .or(reason.map(|reason| Disabled { at, reason }));
    EndpointState {
        disabled,
        failing_since: Some(failing_since),
        failures,
        told_failing: before.told_failing || failing_for >= FAILING_TOLD_AFTER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_disabled_by_410_or_by_failing_for_five_days() {
        let day = 24 * 3600 * 1000;
        let failing = |since: u64, failures| EndpointState {
            disabled: None,
            failing_since: Some(Timestamp(since)),
            failures,
            told_failing: false,
        };
        for (before, verdict, at, want) in [
            (EndpointState::default(), Verdict::Failed, 5, None),
            (
                EndpointState::default(),
                Verdict::Gone,
                5,
                Some(DisabledReason::Gone),
            ),
            (failing(0, 100), Verdict::Failed, 5 * day - 1, None),
            (
                failing(0, 100),
                Verdict::Failed,
                5 * day,
                Some(DisabledReason::Failing),
            ),
            (
                failing(0, 3),
                Verdict::Failed,
                6 * day,
                Some(DisabledReason::Failing),
            ),
            (failing(0, 100), Verdict::Delivered, 6 * day, None),
        ] {
            let after = state_after(&before, verdict, Timestamp(at));
            assert_eq!(
                after.disabled.map(|disabled| disabled.reason),
                want,
                "{before:?} {verdict:?} {at}"
            );
        }
        let after = state_after(&failing(0, 100), Verdict::Delivered, Timestamp(9));
        assert_eq!(after, EndpointState::default(), "a success clears what was");
    }
}
