//! Erasing a message's content: its payload, and what attempts tell of it.

use redb::ReadableTable as _;

use super::applications::covered;
use super::codec::{decode, encode};
use super::rows::{AttemptV1, AttemptV1Ref, DeliveryV1, MessageV1};
use super::sweep::{deliveries_of, remove_payload};
use super::tables::{Tables, pair};
use super::writer::{Batch, Change, Operation, Refusal, WriteError, bare_answer, remove_due};
use super::{Store, StoreError, receipts};
use crate::domain::audit::AuditAction;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::ids::{ApplicationKey, AttemptKey, EndpointKey, Key, MessageKey};
use crate::domain::message::{Message, Origin, StoredMessage};
use crate::domain::principal::Principal;

impl Store {
    /// Erases the content of a message: its payload, the answers and the
    /// signatures of its attempts. What still waits for it is cancelled.
    pub async fn erase_message(
        &self,
        principal: Principal,
        application: ApplicationKey,
        message: MessageKey,
    ) -> Result<StoredMessage, WriteError> {
        let message = self
            .write_once(Erase {
                principal,
                application,
                message,
            })
            .await?;
        let payload = None;
        Ok(StoredMessage { message, payload })
    }
}

struct Erase {
    principal: Principal,
    application: ApplicationKey,
    message: MessageKey,
}

impl Operation for Erase {
    type Plan = Message;
    type Answer = Message;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Message, Refusal>, StoreError> {
        if let Err(refusal) = covered(self.principal.scope, self.application, tables, batch)? {
            return Ok(Err(refusal));
        }
        let row = tables.messages.get(&self.message.as_u64().to_be_bytes())?;
        let found = row
            .map(|bytes| decode::<MessageV1>(bytes.value()))
            .transpose()?
            .map(|row| row.into_domain(self.message))
            .filter(|message| message.application == self.application);
        Ok(found.ok_or(Refusal::NoMessage))
    }

    fn apply(
        self,
        message: Message,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Message, StoreError> {
        erase(self.message, tables, batch)?;
        let subject = batch.inner.ids.text(self.message);
        batch.audit(
            tables,
            self.principal.actor,
            (self.principal.scope.environment, Some(self.application)),
            (AuditAction::ContentErased, subject, String::new()),
        )?;
        Ok(message)
    }
}

/// Erases the content of one message.
pub(super) fn erase(
    message: MessageKey,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    remove_payload(message, tables, batch)?;
    let row = tables.messages.get(&message.as_u64().to_be_bytes())?;
    let row = row.map(|bytes| decode::<MessageV1>(bytes.value()));
    if let Some(mut row) = row.transpose()? {
        if let Some(hash) = row.answer {
            bare_answer(&hash, message, tables, batch)?;
        }
        let hash = row.answer;
        let mut known = row.into_domain(message);
        if let Origin::Source { source, received } = known.origin {
            receipts::erase(source, received, tables)?;
            known.headers.clear();
            row = MessageV1::from(&known);
            row.answer = hash;
            tables
                .messages
                .insert(&message.as_u64().to_be_bytes(), encode(&row).as_slice())?;
        }
    }
    for (endpoint, delivery) in deliveries_of(message, tables)? {
        for mark in &delivery.attempts {
            bare_attempt(mark.key, tables)?;
        }
        cancel(delivery, (endpoint, message), tables, batch)?;
    }
    Ok(())
}

/// Takes from a recorded attempt what tells of its message's payload.
pub(super) fn bare_attempt(key: AttemptKey, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let row = key.as_u64().to_be_bytes();
    let found = tables.attempts.get(&row)?;
    let Some(found) = found.map(|bytes| decode::<AttemptV1>(bytes.value())) else {
        return Ok(());
    };
    let attempt = found?.into_domain(key);
    let bare = AttemptV1Ref {
        of: &attempt.of.without_content(),
        number: attempt.number,
        next: attempt.next,
    };
    tables.attempts.insert(&row, encode(&bare).as_slice())?;
    Ok(())
}

/// Ends the waiting of a delivery that cannot be made any more.
fn cancel(
    delivery: Delivery,
    (endpoint, message): (EndpointKey, MessageKey),
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let Some((due, _)) = delivery.waiting() else {
        return Ok(());
    };
    remove_due(tables, batch, endpoint, due, message)?;
    // What a replay still waited for was delivered before.
    let state = if delivery.succeeded {
        DeliveryState::Delivered
    } else {
        DeliveryState::Cancelled
    };
    let row = encode(&DeliveryV1::from(&Delivery { state, ..delivery }));
    tables
        .deliveries
        .insert(&pair(message.as_u64(), endpoint.as_u64()), row.as_slice())?;
    batch.tell(Change::Cancelled { endpoint, message });
    Ok(())
}
