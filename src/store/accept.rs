//! The first of the two transactions that carry every promise: a message, what
//! it owes to whom, and the answer that repeats, on disk together.

use std::sync::Arc;

use bytes::Bytes;

use super::applications::covered;
use super::catalog::ApplicationEntry;
use super::codec::encode;
use super::endpoints::may_get_messages;
use super::rows::{DeliveryV1, MessageV1};
use super::tables::{Tables, message_uid, pair};
use super::writer::{
    Batch, Change, Idempotent, Operation, Refusal, WriteError, Written, insert_due,
};
use super::{Store, StoreError};
use crate::domain::delivery::{Delivery, Trigger};
use crate::domain::endpoint::LiveEndpoint;
use crate::domain::fanout::selects;
use crate::domain::ids::{ApplicationKey, EndpointKey, Key, MessageKey};
use crate::domain::message::{Message, NewMessage, Target};
use crate::domain::principal::Scope;

/// A message that is on disk.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The message and its payload.
    pub content: Arc<(Message, Bytes)>,
    /// How many endpoints it is owed to.
    pub deliveries: usize,
}

impl Store {
    /// Stores a message with its deliveries and their due rows. When this
    /// returns a message, it is on disk.
    pub async fn accept(
        &self,
        scope: Scope,
        message: NewMessage,
        idempotent: Option<Idempotent<Accepted>>,
    ) -> Result<Written<Accepted>, WriteError> {
        self.write(Accept { scope, message }, idempotent).await
    }

    /// Stores many messages of one application, all or none of them. When this
    /// returns them, they are on disk.
    pub async fn accept_batch(
        &self,
        scope: Scope,
        application: ApplicationKey,
        messages: Vec<NewMessage>,
        idempotent: Option<Idempotent<Vec<Accepted>>>,
    ) -> Result<Written<Vec<Accepted>>, WriteError> {
        let operation = AcceptBatch {
            scope,
            application,
            messages,
        };
        self.write(operation, idempotent).await
    }
}

struct Accept {
    scope: Scope,
    message: NewMessage,
}

/// The endpoints of `entry` that get `message`.
pub(super) fn receivers(entry: &ApplicationEntry, message: &NewMessage) -> Vec<EndpointKey> {
    let wanting = entry
        .endpoints
        .iter()
        .filter(|endpoint| wants(endpoint, message));
    wanting.map(|endpoint| endpoint.settings.key).collect()
}

/// Whether this endpoint gets a message, by target and subscription.
fn wants(endpoint: &LiveEndpoint, message: &NewMessage) -> bool {
    let settings = &endpoint.settings;
    match message.target {
        Target::Only(only) => settings.key == only,
        Target::FanOut => {
            endpoint.takes_messages()
                && selects(
                    &settings.event_types,
                    &settings.channels,
                    &message.event_type,
                    &message.channels,
                )
        }
    }
}

impl Operation for Accept {
    type Plan = Vec<EndpointKey>;
    type Answer = Accepted;

    fn weight(&self) -> usize {
        self.message.payload.len()
    }

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let entry: Arc<ApplicationEntry> =
            match covered(self.scope, self.message.application, tables, batch)? {
                Ok(entry) => entry,
                Err(refusal) => return Ok(Err(refusal)),
            };
        if let Target::Only(only) = self.message.target {
            let endpoint = entry.endpoint(only).ok_or(Refusal::NoEndpoint);
            if let Err(refusal) = endpoint.and_then(|live| may_get_messages(live)) {
                return Ok(Err(refusal));
            }
        }
        Ok(Ok(receivers(&entry, &self.message)))
    }

    fn apply(
        self,
        endpoints: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Accepted, StoreError> {
        store_message(self.message, &endpoints, tables, batch)
    }
}

struct AcceptBatch {
    scope: Scope,
    application: ApplicationKey,
    messages: Vec<NewMessage>,
}

impl Operation for AcceptBatch {
    /// Who gets each message.
    type Plan = Vec<Vec<EndpointKey>>;
    type Answer = Vec<Accepted>;

    fn weight(&self) -> usize {
        self.messages
            .iter()
            .map(|message| message.payload.len())
            .sum()
    }

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let found = covered(self.scope, self.application, tables, batch)?;
        Ok(found.map(|entry| {
            let messages = self.messages.iter();
            messages.map(|message| receivers(&entry, message)).collect()
        }))
    }

    fn apply(
        self,
        plan: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Vec<Accepted>, StoreError> {
        let messages = self.messages.into_iter().zip(plan);
        messages
            .map(|(message, endpoints)| store_message(message, &endpoints, tables, batch))
            .collect()
    }
}

/// Writes a message with a delivery, and its due row, for each endpoint.
pub(super) fn store_message(
    new: NewMessage,
    endpoints: &[EndpointKey],
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<Accepted, StoreError> {
    let key: MessageKey = batch.key();
    let message = Message {
        key,
        application: new.application,
        event_type: new.event_type,
        channels: new.channels,
        uid: new.uid,
        content_type: new.content_type,
        headers: new.headers,
        origin: new.origin,
    };
    write_message(&message, &new.payload, tables, batch)?;
    batch.count_message(message.application, new.payload.len(), tables)?;
    let content = Arc::new((message, new.payload));
    // Not when the key says: a key can be ahead of a clock that stepped back.
    let due = batch.now;
    let delivery = encode(&DeliveryV1::from(&Delivery::new(due, Trigger::Scheduled)));
    for &endpoint in endpoints {
        let row = pair(key.as_u64(), endpoint.as_u64());
        tables.deliveries.insert(&row, delivery.as_slice())?;
        insert_due(tables, batch, endpoint, due, key, Trigger::Scheduled)?;
        let content = Some(Arc::clone(&content));
        batch.tell(Change::Waiting {
            endpoint,
            message: key,
            due,
            trigger: Trigger::Scheduled,
            content,
        });
    }
    Ok(Accepted {
        content,
        deliveries: endpoints.len(),
    })
}

fn write_message(
    message: &Message,
    payload: &Bytes,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let key = message.key.as_u64();
    let application = message.application.as_u64();
    let mut row = MessageV1::from(message);
    row.answer = batch.answer.take();
    tables
        .messages
        .insert(&key.to_be_bytes(), encode(&row).as_slice())?;
    tables
        .payloads
        .insert(&key.to_be_bytes(), payload.as_ref())?;
    tables
        .application_messages
        .insert(&pair(application, key), &[] as &[u8])?;
    if let Some(uid) = &message.uid {
        tables
            .message_uids
            .insert(message_uid(application, uid, key).as_slice(), &[] as &[u8])?;
    }
    batch.totals.messages += 1;
    batch.totals.payload_bytes += payload.len() as u64;
    Ok(())
}
