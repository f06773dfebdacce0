//! Inboxes, and what they took in.

use redb::ReadableTable as _;

use super::codec::{decode, encode};
use super::rows::{InboxV1, ReceivedV1};
use super::tables::{INBOX_TOKENS, INBOXES, RECEIVED, Tables, pair, second};
use super::writer::{Batch, Idempotent, Operation, Refusal, WriteError, Written};
use super::{Store, StoreError};
use crate::domain::ids::{EnvironmentKey, InboxKey, Key, ReceivedKey};
use crate::domain::inbox::{Inbox, RECEIVED_MAX, Received};

/// What came to an inbox, before it has a key.
#[derive(Clone, Debug)]
pub struct NewReceived {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: bytes::Bytes,
}

impl Store {
    /// Makes an inbox with this token, which must be unguessable.
    pub async fn create_inbox(
        &self,
        environment: EnvironmentKey,
        name: String,
        token: String,
        answer_status: u16,
        idempotent: Option<Idempotent<Inbox>>,
    ) -> Result<Written<Inbox>, WriteError> {
        self.write(
            Create {
                environment,
                name,
                token,
                answer_status,
            },
            idempotent,
        )
        .await
    }

    /// Changes what an inbox is called, or answers.
    pub async fn update_inbox(
        &self,
        key: InboxKey,
        name: Option<String>,
        answer_status: Option<u16>,
    ) -> Result<Inbox, WriteError> {
        self.write_once(Update {
            key,
            name,
            answer_status,
        })
        .await
    }

    /// Keeps a request. When this returns, it is on disk.
    pub async fn receive(
        &self,
        inbox: InboxKey,
        received: NewReceived,
    ) -> Result<Received, WriteError> {
        self.write_once(Receive { inbox, received }).await
    }

    /// The inbox with this token, unless its environment is deleted.
    pub fn inbox(&self, token: &str) -> Result<Option<Inbox>, StoreError> {
        let there = |inbox: &Inbox| self.catalog().environment(inbox.environment).is_some();
        Ok(self.inbox_anywhere(token)?.filter(there))
    }

    fn inbox_anywhere(&self, token: &str) -> Result<Option<Inbox>, StoreError> {
        self.read(|txn| {
            let tokens = txn.open_table(INBOX_TOKENS)?;
            let Some(key) = tokens.get(token.as_bytes())? else {
                return Ok(None);
            };
            let key = *key.value();
            let row = txn
                .open_table(INBOXES)?
                .get(&key)?
                .map(|bytes| decode::<InboxV1>(bytes.value()))
                .transpose()?;
            Ok(row.map(|row| row.into_domain(InboxKey::from_u64(u64::from_be_bytes(key)))))
        })
    }

    /// Every inbox of an environment, oldest first.
    pub fn list_inboxes(&self, environment: EnvironmentKey) -> Result<Vec<Inbox>, StoreError> {
        self.read(|txn| {
            let table = txn.open_table(INBOXES)?;
            let all = table.iter()?.map(|row| {
                let (key, value) = row?;
                let key = InboxKey::from_u64(u64::from_be_bytes(*key.value()));
                Ok(decode::<InboxV1>(value.value())?.into_domain(key))
            });
            let of_it = |inbox: &Result<Inbox, StoreError>| {
                inbox
                    .as_ref()
                    .map_or(true, |inbox| inbox.environment == environment)
            };
            all.filter(of_it).collect()
        })
    }

    /// What an inbox took in, newest first.
    pub fn received(
        &self,
        inbox: InboxKey,
        before: Option<ReceivedKey>,
        take: usize,
    ) -> Result<Vec<Received>, StoreError> {
        let end = pair(inbox.as_u64(), before.map_or(u64::MAX, Key::as_u64));
        self.read(|txn| {
            let table = txn.open_table(RECEIVED)?;
            let rows = table
                .range::<&[u8; 16]>(&pair(inbox.as_u64(), 0)..&end)?
                .rev()
                .take(take);
            rows.map(|row| {
                let (key, value) = row?;
                let key = ReceivedKey::from_u64(second(key.value()));
                Ok(decode::<ReceivedV1>(value.value())?.into_domain(key))
            })
            .collect()
        })
    }
}

fn write(inbox: &Inbox, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    tables.inboxes.insert(
        &inbox.key.as_u64().to_be_bytes(),
        encode(&InboxV1::from(inbox)).as_slice(),
    )?;
    Ok(())
}

fn read(
    key: InboxKey,
    tables: &Tables<'_>,
    batch: &Batch<'_>,
) -> Result<Result<Inbox, Refusal>, StoreError> {
    let row = tables.inboxes.get(&key.as_u64().to_be_bytes())?;
    let found = row
        .map(|bytes| decode::<InboxV1>(bytes.value()))
        .transpose()?;
    Ok(found
        .map(|row| row.into_domain(key))
        .filter(|inbox| batch.environment(inbox.environment).is_some())
        .ok_or(Refusal::NoInbox))
}

struct Create {
    environment: EnvironmentKey,
    name: String,
    token: String,
    answer_status: u16,
}

impl Operation for Create {
    type Plan = ();
    type Answer = Inbox;

    fn check(
        &mut self,
        _: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let there = batch.environment(self.environment).is_some();
        Ok(there.then_some(()).ok_or(Refusal::NoEnvironment))
    }

    fn apply(
        self,
        (): (),
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Inbox, StoreError> {
        let inbox = Inbox {
            key: batch.key(),
            environment: self.environment,
            token: self.token,
            name: self.name,
            answer_status: self.answer_status,
            created: batch.now,
        };
        write(&inbox, tables)?;
        tables
            .inbox_tokens
            .insert(inbox.token.as_bytes(), &inbox.key.as_u64().to_be_bytes())?;
        Ok(inbox)
    }
}

struct Update {
    key: InboxKey,
    name: Option<String>,
    answer_status: Option<u16>,
}

impl Operation for Update {
    type Plan = Inbox;
    type Answer = Inbox;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Inbox, Refusal>, StoreError> {
        read(self.key, tables, batch)
    }

    fn apply(
        self,
        before: Inbox,
        tables: &mut Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Inbox, StoreError> {
        let inbox = Inbox {
            name: self.name.unwrap_or(before.name),
            answer_status: self.answer_status.unwrap_or(before.answer_status),
            ..before
        };
        write(&inbox, tables)?;
        Ok(inbox)
    }
}

struct Receive {
    inbox: InboxKey,
    received: NewReceived,
}

impl Operation for Receive {
    type Plan = Inbox;
    type Answer = Received;

    fn weight(&self) -> usize {
        self.received.body.len()
    }

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Inbox, Refusal>, StoreError> {
        read(self.inbox, tables, batch)
    }

    fn apply(
        self,
        inbox: Inbox,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Received, StoreError> {
        let received = Received {
            key: batch.key(),
            at: batch.now,
            method: self.received.method,
            path: self.received.path,
            headers: self.received.headers,
            body: self.received.body,
            answered: inbox.answer_status,
        };
        let row = encode(&ReceivedV1::from(&received));
        tables.received.insert(
            &pair(inbox.key.as_u64(), received.key.as_u64()),
            row.as_slice(),
        )?;
        make_room(inbox.key, tables)?;
        Ok(received)
    }
}

/// Drops the oldest requests of an inbox that has too many.
fn make_room(inbox: InboxKey, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let all = pair(inbox.as_u64(), 0)..=pair(inbox.as_u64(), u64::MAX);
    let oldest = {
        let rows = tables
            .received
            .range::<&[u8; 16]>(&all.start()..=&all.end())?;
        let mut newest_first = rows.rev().skip(RECEIVED_MAX);
        newest_first.next().transpose()?.map(|row| *row.0.value())
    };
    if let Some(oldest) = oldest {
        tables.received.remove(&oldest)?;
    }
    Ok(())
}
