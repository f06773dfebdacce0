//! Forgetting, by age and by total size, in bounded batches. Never anything
//! that still waits.

use std::time::Duration;

use redb::ReadableTable as _;

use super::codec::decode;
use super::rows::{AttemptV1, TotalsV1};
use super::sweep::{deliveries_of, remove_attempt, remove_message, remove_payload};
use super::tables::{Tables, pair};
use super::writer::{Batch, Operation, Refusal, WriteError};
use super::{Store, StoreError};
use crate::domain::delivery::Delivery;
use crate::domain::ids::{AttemptKey, AuditKey, EndpointKey, Key, MessageKey, first_key_at};
use crate::domain::time::Timestamp;

/// Rows of a kind that one step looks at.
const STEP_ROWS: usize = 500;
/// How long an entry of the audit log is kept.
const AUDIT_KEPT: Duration = Duration::from_hours(365 * 24);
/// What a message costs on disk beside its payload, and an attempt: measured
/// with the default headers, by the benchmark's row "disk".
const MESSAGE_BYTES: u64 = 300;
const ATTEMPT_BYTES: u64 = 400;

/// How long, and how much, is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub payloads: Duration,
    pub attempts: Duration,
    /// Beyond this the oldest finished messages go, with all that is theirs.
    pub bytes_max: Option<u64>,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    pub payloads: usize,
    pub attempts: usize,
    pub messages: usize,
    pub answers: usize,
    /// Entries of the audit log.
    pub audit: usize,
    /// Where the next step goes on; `None` when this pass is through.
    pub next: Option<MessageKey>,
}

impl Store {
    /// Forgets one step of what `retention` does not keep. Begin with
    /// `from: None`, go on with the answer's `next`.
    pub async fn retire(
        &self,
        retention: Retention,
        from: Option<MessageKey>,
    ) -> Result<Retired, WriteError> {
        self.write_once(Retire { retention, from }).await
    }
}

/// An estimate of what the content takes on disk.
pub(super) fn content_bytes(totals: &TotalsV1) -> u64 {
    totals.payload_bytes + totals.messages * MESSAGE_BYTES + totals.attempts * ATTEMPT_BYTES
}

struct Retire {
    retention: Retention,
    from: Option<MessageKey>,
}

#[derive(Default)]
struct Plan {
    attempts: Vec<(u64, u64)>,
    payloads: Vec<MessageKey>,
    messages: Vec<MessageKey>,
    answers: Vec<[u8; 40]>,
    audit: Vec<[u8; 16]>,
    next: Option<MessageKey>,
}

impl Operation for Retire {
    type Plan = Plan;
    type Answer = Retired;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Plan, Refusal>, StoreError> {
        let before = |age: Duration| {
            Timestamp(
                batch
                    .now
                    .0
                    .saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            )
        };
        let attempts_before: AttemptKey = first_key_at(before(self.retention.attempts));
        let payloads_before: MessageKey = first_key_at(before(self.retention.payloads));
        let messages_before: MessageKey =
            first_key_at(before(self.retention.payloads.max(self.retention.attempts)));
        let mut plan = Plan::default();
        let attempts_end = attempts_before.as_u64().to_be_bytes();
        for row in tables
            .attempts
            .range::<&[u8; 8]>(..&attempts_end)?
            .take(STEP_ROWS)
        {
            let (key, value) = row?;
            let endpoint = decode::<AttemptV1>(value.value())?
                .into_domain(AttemptKey::from_u64(0))
                .of
                .endpoint;
            plan.attempts
                .push((endpoint.as_u64(), u64::from_be_bytes(*key.value())));
        }
        self.plan_messages(&mut plan, payloads_before, messages_before, tables, batch)?;
        for row in tables.idempotency_ends.iter()?.take(STEP_ROWS) {
            let (key, _) = row?;
            let end = u64::from_be_bytes(key.value()[..8].try_into().expect("eight bytes"));
            if end > batch.now.0 {
                break;
            }
            plan.answers.push(*key.value());
        }
        let audit_before: AuditKey = first_key_at(before(AUDIT_KEPT));
        for environment in batch.inner.catalog.environments() {
            let key = environment.key.as_u64();
            let old = pair(key, 0)..pair(key, audit_before.as_u64());
            let left = STEP_ROWS - plan.audit.len();
            for row in tables
                .audit
                .range::<&[u8; 16]>(&old.start..&old.end)?
                .take(left)
            {
                plan.audit.push(*row?.0.value());
            }
        }
        if [plan.attempts.len(), plan.answers.len(), plan.audit.len()].contains(&STEP_ROWS) {
            // There is more of these than of messages: not through yet.
            plan.next = plan.next.or(Some(payloads_before.max(messages_before)));
        }
        Ok(Ok(plan))
    }

    fn apply(
        self,
        plan: Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Retired, StoreError> {
        for &(endpoint, attempt) in &plan.attempts {
            remove_attempt(endpoint, attempt, tables, batch)?;
        }
        for &message in &plan.payloads {
            remove_payload(message, tables, batch)?;
        }
        for &message in &plan.messages {
            remove_message(message, tables, batch)?;
        }
        for end in &plan.answers {
            let hash: [u8; 32] = end[8..].try_into().expect("a key of forty bytes");
            tables.idempotency_ends.remove(end)?;
            tables.idempotency.remove(&hash)?;
        }
        for entry in &plan.audit {
            tables.audit.remove(entry)?;
        }
        Ok(Retired {
            payloads: plan.payloads.len(),
            attempts: plan.attempts.len(),
            messages: plan.messages.len(),
            answers: plan.answers.len(),
            audit: plan.audit.len(),
            next: plan.next,
        })
    }
}

impl Retire {
    /// Plans one step through the messages, oldest first: those that go whole,
    /// and after them those of which only the payload goes.
    fn plan_messages(
        &self,
        plan: &mut Plan,
        payloads_before: MessageKey,
        messages_before: MessageKey,
        tables: &Tables<'_>,
        batch: &Batch<'_>,
    ) -> Result<(), StoreError> {
        let mut from = self.from.unwrap_or(MessageKey::from_u64(0));
        let mut over = self
            .retention
            .bytes_max
            .map_or(0, |max| content_bytes(&batch.totals).saturating_sub(max));
        let mut looked = 0;
        let start = from.as_u64().to_be_bytes();
        for row in tables.messages.range::<&[u8; 8]>(&start..)? {
            from = message_key(*row?.0.value());
            if from >= messages_before && over == 0 {
                break;
            }
            if looked == STEP_ROWS {
                plan.next = Some(from);
                return Ok(());
            }
            looked += 1;
            let deliveries = deliveries_of(from, tables)?;
            if waits(&deliveries) {
                continue;
            }
            over = over.saturating_sub(bytes_of(from, &deliveries, tables)?);
            plan.messages.push(from);
        }
        let (start, end) = (from.as_u64(), payloads_before.as_u64());
        if start >= end {
            return Ok(());
        }
        let rows = tables
            .payloads
            .range::<&[u8; 8]>(&start.to_be_bytes()..&end.to_be_bytes())?;
        for row in rows {
            let message = message_key(*row?.0.value());
            if looked == STEP_ROWS {
                plan.next = Some(message);
                return Ok(());
            }
            looked += 1;
            if !plan.messages.contains(&message) && !waits(&deliveries_of(message, tables)?) {
                plan.payloads.push(message);
            }
        }
        Ok(())
    }
}

fn message_key(key: [u8; 8]) -> MessageKey {
    MessageKey::from_u64(u64::from_be_bytes(key))
}

fn waits(deliveries: &[(EndpointKey, Delivery)]) -> bool {
    deliveries
        .iter()
        .any(|(_, delivery)| delivery.waiting().is_some())
}

/// What a message takes on disk with all that is its, roughly.
fn bytes_of(
    message: MessageKey,
    deliveries: &[(EndpointKey, Delivery)],
    tables: &Tables<'_>,
) -> Result<u64, StoreError> {
    let payload = tables.payloads.get(&message.as_u64().to_be_bytes())?;
    let payload_bytes = payload.map_or(0, |bytes| bytes.value().len() as u64);
    let attempts: usize = deliveries
        .iter()
        .map(|(_, delivery)| delivery.attempts.len())
        .sum();
    Ok(payload_bytes + MESSAGE_BYTES + attempts as u64 * ATTEMPT_BYTES)
}
