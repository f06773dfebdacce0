//! Inboxes, and what they took in.

use redb::ReadableTable as _;

use super::codec::{decode, encode};
use super::rows::{InboxV1, ReceivedV1};
use super::tables::{INBOX_TOKENS, INBOXES, RECEIVED, Tables, pair, second};
use super::writer::{Batch, Idempotent, Operation, Refusal, WriteError, Written};
use super::{Store, StoreError};
use crate::domain::answer::FixedAnswer;
use crate::domain::audit::AuditAction;
use crate::domain::ids::{EnvironmentKey, InboxKey, Key, ReceivedKey};
use crate::domain::inbox::{Inbox, InboxChange, RECEIVED_MAX, REPLAYS_MAX, Received, Replay};
use crate::domain::principal::Principal;

/// What an inbox answers when nothing else is said.
const ANSWER_BODY: &str = "OK";

/// What came to an inbox, before it has a key.
#[derive(Clone, Debug)]
pub struct NewReceived {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: bytes::Bytes,
}

/// A request that was kept, and the inbox as it was answered by.
#[derive(Clone, Debug)]
pub struct Kept {
    pub received: Received,
    pub inbox: Inbox,
}

impl Store {
    /// Makes an inbox with this token, which must be unguessable.
    pub async fn create_inbox(
        &self,
        environment: EnvironmentKey,
        token: String,
        change: InboxChange,
        idempotent: Option<Idempotent<Inbox>>,
    ) -> Result<Written<Inbox>, WriteError> {
        let create = Create {
            environment,
            token,
            change,
        };
        self.write(create, idempotent).await
    }

    /// Changes what an inbox is called, or answers.
    pub async fn update_inbox(
        &self,
        key: InboxKey,
        change: InboxChange,
    ) -> Result<Inbox, WriteError> {
        self.write_once(Update { key, change }).await
    }

    /// Deletes an inbox with all that it took in.
    pub async fn delete_inbox(
        &self,
        principal: Principal,
        key: InboxKey,
    ) -> Result<Inbox, WriteError> {
        let action = AuditAction::InboxDeleted;
        self.write_once(Empty {
            principal,
            key,
            action,
        })
        .await
    }

    /// Drops all that an inbox took in.
    pub async fn clear_inbox(
        &self,
        principal: Principal,
        key: InboxKey,
    ) -> Result<Inbox, WriteError> {
        let action = AuditAction::InboxCleared;
        self.write_once(Empty {
            principal,
            key,
            action,
        })
        .await
    }

    /// Keeps a request. When this returns, it is on disk.
    pub async fn receive(
        &self,
        inbox: InboxKey,
        received: NewReceived,
    ) -> Result<Kept, WriteError> {
        self.write_once(Receive { inbox, received }).await
    }

    /// Remembers a replay of something received, `to` this place, which is for
    /// the audit log.
    pub async fn note_replay(
        &self,
        principal: Principal,
        received: (InboxKey, ReceivedKey),
        to: String,
        replay: Replay,
        idempotent: Option<Idempotent<Replay>>,
    ) -> Result<Written<Replay>, WriteError> {
        let note = Note {
            principal,
            received,
            to,
            replay,
        };
        self.write(note, idempotent).await
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

    /// One request that an inbox took in.
    pub fn one_received(
        &self,
        inbox: InboxKey,
        key: ReceivedKey,
    ) -> Result<Option<Received>, StoreError> {
        self.read(|txn| {
            let row = txn
                .open_table(RECEIVED)?
                .get(&pair(inbox.as_u64(), key.as_u64()))?
                .map(|bytes| decode::<ReceivedV1>(bytes.value()))
                .transpose()?;
            Ok(row.map(|row| row.into_domain(key)))
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
    token: String,
    change: InboxChange,
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
        let mut inbox = Inbox {
            key: batch.key(),
            environment: self.environment,
            token: self.token,
            name: String::new(),
            answer: FixedAnswer::ok(ANSWER_BODY),
            delay_ms: 0,
            fail_next: 0,
            created: batch.now,
        };
        self.change.apply(&mut inbox);
        write(&inbox, tables)?;
        tables
            .inbox_tokens
            .insert(inbox.token.as_bytes(), &inbox.key.as_u64().to_be_bytes())?;
        Ok(inbox)
    }
}

struct Update {
    key: InboxKey,
    change: InboxChange,
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
        mut inbox: Inbox,
        tables: &mut Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Inbox, StoreError> {
        self.change.apply(&mut inbox);
        write(&inbox, tables)?;
        Ok(inbox)
    }
}

/// Drops what an inbox took in, and the inbox if it is to be deleted: never
/// more than [`RECEIVED_MAX`] rows.
struct Empty {
    principal: Principal,
    key: InboxKey,
    action: AuditAction,
}

impl Operation for Empty {
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
        inbox: Inbox,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Inbox, StoreError> {
        let all = pair(inbox.key.as_u64(), 0)..=pair(inbox.key.as_u64(), u64::MAX);
        tables
            .received
            .retain_in::<&[u8; 16], _>(&all.start()..=&all.end(), |_, _| false)?;
        if self.action == AuditAction::InboxDeleted {
            tables.inbox_tokens.remove(inbox.token.as_bytes())?;
            tables.inboxes.remove(&inbox.key.as_u64().to_be_bytes())?;
        }
        audit(
            self.principal,
            self.action,
            &inbox,
            inbox.name.clone(),
            tables,
            batch,
        )?;
        Ok(inbox)
    }
}

fn audit(
    principal: Principal,
    action: AuditAction,
    inbox: &Inbox,
    detail: String,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let subject = batch.inner.ids.text(inbox.key);
    let place = (inbox.environment, None);
    batch.audit(tables, principal.actor, place, (action, subject, detail))
}

struct Receive {
    inbox: InboxKey,
    received: NewReceived,
}

impl Operation for Receive {
    type Plan = Inbox;
    type Answer = Kept;

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
        mut inbox: Inbox,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Kept, StoreError> {
        let counted = inbox.fail_next > 0;
        let answered = inbox.next_status();
        if counted {
            write(&inbox, tables)?;
        }
        let received = Received {
            key: batch.key(),
            at: batch.now,
            method: self.received.method,
            path: self.received.path,
            headers: self.received.headers,
            body: self.received.body,
            answered,
            replays: Vec::new(),
        };
        let row = encode(&ReceivedV1::from(&received));
        tables.received.insert(
            &pair(inbox.key.as_u64(), received.key.as_u64()),
            row.as_slice(),
        )?;
        make_room(inbox.key, tables)?;
        Ok(Kept { received, inbox })
    }
}

struct Note {
    principal: Principal,
    received: (InboxKey, ReceivedKey),
    to: String,
    replay: Replay,
}

impl Operation for Note {
    type Plan = (Inbox, Received);
    type Answer = Replay;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let (inbox, key) = self.received;
        let inbox = match read(inbox, tables, batch)? {
            Ok(inbox) => inbox,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let row = tables
            .received
            .get(&pair(inbox.key.as_u64(), key.as_u64()))?
            .map(|bytes| decode::<ReceivedV1>(bytes.value()))
            .transpose()?;
        Ok(row
            .map(|row| (inbox, row.into_domain(key)))
            .ok_or(Refusal::NoReceived))
    }

    fn apply(
        self,
        (inbox, mut received): Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Replay, StoreError> {
        received.replays.insert(0, self.replay.clone());
        received.replays.truncate(REPLAYS_MAX);
        let row = encode(&ReceivedV1::from(&received));
        let key = pair(inbox.key.as_u64(), received.key.as_u64());
        tables.received.insert(&key, row.as_slice())?;
        let action = AuditAction::ReceivedReplayed;
        let detail = format!("{} to {}", batch.inner.ids.text(received.key), self.to);
        audit(self.principal, action, &inbox, detail, tables, batch)?;
        Ok(self.replay)
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
