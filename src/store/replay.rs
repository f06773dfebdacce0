//! A manual new attempt, and the end of what cannot be delivered any more.

use redb::ReadableTable as _;

use super::codec::{decode, encode};
use super::endpoints::{found, may_get_messages};
use super::rows::{DeliveryV1, MessageV1};
use super::tables::{Tables, pair};
use super::writer::{
    Batch, Change, Idempotent, Operation, Refusal, WriteError, Written, insert_due, remove_due,
};
use super::{Store, StoreError};
use crate::domain::delivery::{Delivery, DeliveryState, Trigger};
use crate::domain::ids::{ApplicationKey, EndpointKey, Key, MessageKey};
use crate::domain::principal::Scope;
use crate::domain::retry::SCHEDULE_STEPS_MAX;

impl Store {
    /// Makes the delivery of `message` to `endpoint` due now, whatever became
    /// of it before. A message that was never owed to this endpoint gets a
    /// delivery of one attempt. A waiting retry is replaced.
    pub async fn replay(
        &self,
        scope: Scope,
        application: ApplicationKey,
        message: MessageKey,
        endpoint: EndpointKey,
        idempotent: Option<Idempotent<Delivery>>,
    ) -> Result<Written<Delivery>, WriteError> {
        self.write(
            Replay {
                scope,
                application,
                message,
                endpoint,
            },
            idempotent,
        )
        .await
    }
}

struct Replay {
    scope: Scope,
    application: ApplicationKey,
    message: MessageKey,
    endpoint: EndpointKey,
}

impl Operation for Replay {
    type Plan = Option<Delivery>;
    type Answer = Delivery;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let endpoint = match found(self.scope, self.application, self.endpoint, tables, batch)? {
            Ok((_, endpoint)) => endpoint,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Err(refusal) = may_get_messages(&endpoint) {
            return Ok(Err(refusal));
        }
        let key = self.message.as_u64().to_be_bytes();
        let Some(message) = tables.messages.get(&key)? else {
            return Ok(Err(Refusal::NoMessage));
        };
        let message = decode::<MessageV1>(message.value())?.into_domain(self.message);
        if message.application != self.application {
            return Ok(Err(Refusal::NoMessage));
        }
        if tables.payloads.get(&key)?.is_none() {
            return Ok(Err(Refusal::PayloadGone));
        }
        let row = tables
            .deliveries
            .get(&pair(self.message.as_u64(), self.endpoint.as_u64()))?;
        Ok(Ok(row
            .map(|bytes| decode::<DeliveryV1>(bytes.value()))
            .transpose()?
            .map(Delivery::from)))
    }

    fn apply(
        self,
        before: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Delivery, StoreError> {
        let delivery = before.unwrap_or_else(|| Delivery {
            // No retries for what was only ever asked for by hand.
            retries_used: u16::try_from(SCHEDULE_STEPS_MAX).expect("a small constant"),
            ..Delivery::new(batch.now, Trigger::Manual)
        });
        let of = (self.endpoint, self.message);
        let delivery = make_due(delivery, Trigger::Manual, of, tables, batch)?;
        batch.tell(Change::Waiting {
            endpoint: self.endpoint,
            message: self.message,
            due: batch.now,
            trigger: Trigger::Manual,
            content: None,
        });
        Ok(delivery)
    }
}

/// Lets a delivery wait for an attempt now, whatever it waited for.
pub(super) fn make_due(
    mut delivery: Delivery,
    trigger: Trigger,
    (endpoint, message): (EndpointKey, MessageKey),
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<Delivery, StoreError> {
    if let Some((old, _)) = delivery.waiting() {
        remove_due(tables, batch, endpoint, old, message)?;
    }
    let due = batch.now;
    delivery.state = DeliveryState::Waiting { due, trigger };
    insert_due(tables, batch, endpoint, due, message, trigger)?;
    let row = encode(&DeliveryV1::from(&delivery));
    tables
        .deliveries
        .insert(&pair(message.as_u64(), endpoint.as_u64()), row.as_slice())?;
    Ok(delivery)
}
