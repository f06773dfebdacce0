//! Inboxes, and what they took in.

use std::net::IpAddr;

use redb::{ReadableTable as _, ReadableTableMetadata as _};

use super::cipher::Cipher;
use super::codec::{decode, encode};
use super::ring;
use super::rows::{InboxV1, ReceivedV1};
use super::tables::{INBOX_TOKENS, INBOXES, KEPT_BODIES, RECEIVED, Tables, pair, second};
use super::writer::{Batch, Change, Idempotent, Operation, Refusal, WriteError, Written};
use super::{Store, StoreError};
use crate::domain::answer::FixedAnswer;
use crate::domain::audit::AuditAction;
use crate::domain::ids::{EnvironmentKey, InboxKey, Key, ReceivedKey};
use crate::domain::inbox::{
    INBOXES_MAX, Inbox, InboxChange, RECEIVED_MAX, REPLAYS_MAX, Received, Replay,
};
use crate::domain::principal::Principal;
use crate::domain::relay::{KEPT_STATUS, Relayed, WAITING_MAX};

/// What an inbox answers when nothing else is said.
const ANSWER_BODY: &str = "OK";

/// What came to an inbox, before it has a key.
#[derive(Clone, Debug)]
pub struct NewReceived {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: bytes::Bytes,
    pub peer: Option<IpAddr>,
    /// Of the message, when it is a delivery of this server.
    pub event_type: Option<String>,
}

/// A request that was kept, and the inbox that answers it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub key: ReceivedKey,
    /// The status that it is answered with.
    pub answered: u16,
    pub inbox: Inbox,
    /// Whether it is for a listener to answer.
    pub relays: bool,
}

/// The row of a request.
fn row_of(mut received: Received, place: &[u8; 16], cipher: &Cipher) -> Vec<u8> {
    let sealed = ring::part_headers(&mut received.headers, None, place, cipher);
    encode(&ReceivedV1::new(received, sealed))
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

    /// Keeps a request. When this returns, it is on disk. `ticket` is told to
    /// listeners with it, so that they know whose it is.
    pub async fn receive(
        &self,
        inbox: InboxKey,
        received: NewReceived,
        ticket: u64,
    ) -> Result<Kept, WriteError> {
        let receive = Receive {
            inbox,
            received,
            ticket,
        };
        self.write_once(receive).await
    }

    /// Notes in the audit log that something received is about to be sent `to`
    /// this place.
    pub async fn begin_replay(
        &self,
        principal: Principal,
        received: (InboxKey, ReceivedKey),
        to: String,
    ) -> Result<(), WriteError> {
        self.write_once(Begin {
            principal,
            received,
            to,
        })
        .await
    }

    /// Remembers what came of a replay.
    pub async fn note_replay(
        &self,
        received: (InboxKey, ReceivedKey),
        replay: Replay,
        idempotent: Option<Idempotent<Replay>>,
    ) -> Result<Written<Replay>, WriteError> {
        self.write(Note { received, replay }, idempotent).await
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

    /// One request that an inbox took in, with its body.
    pub fn one_received(
        &self,
        inbox: InboxKey,
        key: ReceivedKey,
    ) -> Result<Option<Received>, StoreError> {
        let place = pair(inbox.as_u64(), key.as_u64());
        self.read(|txn| {
            let Some(row) = txn.open_table(RECEIVED)?.get(&place)? else {
                return Ok(None);
            };
            let mut received = open(decode(row.value())?, &place, &self.inner.cipher)?;
            received.body = Some(ring::body(&place, &txn.open_table(KEPT_BODIES)?)?);
            Ok(Some(received))
        })
    }

    /// What an inbox took in, newest first, older than `before`. With where the
    /// next page begins, when there is one. Bodies are read as far as
    /// `bodies_max` bytes of them go, which ends the page; none, when that is 0.
    pub fn received(
        &self,
        inbox: InboxKey,
        before: Option<ReceivedKey>,
        take: usize,
        bodies_max: usize,
    ) -> Result<(Vec<Received>, Option<ReceivedKey>), StoreError> {
        let end = pair(inbox.as_u64(), before.map_or(u64::MAX, Key::as_u64));
        self.read(|txn| {
            let table = txn.open_table(RECEIVED)?;
            let bodies = txn.open_table(KEPT_BODIES)?;
            let (mut page, mut bytes) = (Vec::<Received>::new(), 0);
            let all = pair(inbox.as_u64(), 0)..end;
            for row in table.range::<&[u8; 16]>(&all.start..&all.end)?.rev() {
                if page.len() == take || (bodies_max > 0 && bytes >= bodies_max) {
                    let last = page.last().map(|last| last.key);
                    return Ok((page, last));
                }
                let (place, row) = row?;
                let place = place.value();
                let mut received = open(decode(row.value())?, place, &self.inner.cipher)?;
                if bodies_max > 0 {
                    let body = ring::body(place, &bodies)?;
                    bytes += body.len();
                    received.body = Some(body);
                }
                page.push(received);
            }
            Ok((page, None))
        })
    }
}

/// A request with its secret headers.
fn open(row: ReceivedV1, place: &[u8; 16], cipher: &Cipher) -> Result<Received, StoreError> {
    let sealed = row.sealed.clone();
    let mut received = row.into_domain(ReceivedKey::from_u64(second(place)));
    ring::join_headers(&mut received.headers, &sealed, place, cipher)?;
    Ok(received)
}

pub(super) fn write(inbox: &Inbox, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    tables.inboxes.insert(
        &inbox.key.as_u64().to_be_bytes(),
        encode(&InboxV1::from(inbox)).as_slice(),
    )?;
    Ok(())
}

pub(super) fn read(
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
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        if tables.inboxes.len()? >= INBOXES_MAX {
            let max = usize::try_from(INBOXES_MAX).unwrap_or(usize::MAX);
            return Ok(Err(Refusal::TooMany { of: "inboxes", max }));
        }
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
            open: false,
            made_by_listener: false,
            listened: None,
            waiting: 0,
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

/// Takes an inbox out with all that it took in: never more than
/// [`RECEIVED_MAX`] rows.
pub(super) fn remove(
    inbox: &Inbox,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    ring::clear_inbox(inbox.key.as_u64(), tables)?;
    tables.inbox_tokens.remove(inbox.token.as_bytes())?;
    tables.inboxes.remove(&inbox.key.as_u64().to_be_bytes())?;
    batch.tell(Change::InboxGone(inbox.key));
    Ok(())
}

/// Drops what an inbox took in, and the inbox if it is to be deleted.
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
        mut inbox: Inbox,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Inbox, StoreError> {
        if self.action == AuditAction::InboxDeleted {
            remove(&inbox, tables, batch)?;
        } else {
            ring::clear_inbox(inbox.key.as_u64(), tables)?;
            inbox.waiting = 0;
            write(&inbox, tables)?;
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
    ticket: u64,
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
        let found = read(self.inbox, tables, batch)?;
        Ok(found.and_then(|inbox| {
            let full = inbox.relays(batch.now) && inbox.waiting >= WAITING_MAX;
            if full {
                Err(Refusal::TooManyWaiting)
            } else {
                Ok(inbox)
            }
        }))
    }

    fn apply(
        self,
        mut inbox: Inbox,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Kept, StoreError> {
        let before = inbox.clone();
        let relays = inbox.relays(batch.now);
        let (answered, relayed) = if relays {
            inbox.waiting += 1;
            (KEPT_STATUS, Relayed::Waiting)
        } else {
            (inbox.next_status(), Relayed::No)
        };
        let received = Received {
            key: batch.key(),
            at: batch.now,
            method: self.received.method,
            path: self.received.path,
            headers: self.received.headers,
            body_bytes: self.received.body.len() as u64,
            body: None,
            answered,
            peer: self.received.peer,
            event_type: self.received.event_type,
            replays: Vec::new(),
            relayed,
        };
        let key = received.key;
        let place = pair(inbox.key.as_u64(), key.as_u64());
        let gone = ring::put(
            (
                &mut tables.received,
                &mut tables.kept_bodies,
                &mut tables.kept_counts,
            ),
            &place,
            &row_of(received, &place, &batch.inner.cipher),
            &self.received.body,
            RECEIVED_MAX,
        )?;
        if let Some(gone) = gone
            && decode::<ReceivedV1>(&gone)?.relayed == Relayed::Waiting
        {
            // It is with a listener, while hundreds after it were answered.
            inbox.waiting = inbox.waiting.saturating_sub(1);
        }
        if inbox != before {
            write(&inbox, tables)?;
        }
        if relays {
            batch.tell(Change::Kept {
                inbox: inbox.key,
                received: key,
                ticket: self.ticket,
            });
        }
        Ok(Kept {
            key,
            answered,
            inbox,
            relays,
        })
    }
}

/// What was received, if it is there yet.
pub(super) fn read_received(
    (inbox, key): (InboxKey, ReceivedKey),
    tables: &Tables<'_>,
    batch: &Batch<'_>,
) -> Result<Result<(Inbox, ReceivedV1), Refusal>, StoreError> {
    let inbox = match read(inbox, tables, batch)? {
        Ok(inbox) => inbox,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let row = tables
        .received
        .get(&pair(inbox.key.as_u64(), key.as_u64()))?
        .map(|bytes| decode::<ReceivedV1>(bytes.value()))
        .transpose()?;
    Ok(row.map(|row| (inbox, row)).ok_or(Refusal::NoReceived))
}

struct Begin {
    principal: Principal,
    received: (InboxKey, ReceivedKey),
    to: String,
}

impl Operation for Begin {
    type Plan = Inbox;
    type Answer = ();

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Inbox, Refusal>, StoreError> {
        let found = read_received(self.received, tables, batch)?;
        Ok(found.map(|(inbox, _)| inbox))
    }

    fn apply(
        self,
        inbox: Inbox,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<(), StoreError> {
        let action = AuditAction::ReceivedReplayed;
        let received = batch.inner.ids.text(self.received.1);
        let detail = format!("{received} to {}", self.to);
        audit(self.principal, action, &inbox, detail, tables, batch)
    }
}

struct Note {
    received: (InboxKey, ReceivedKey),
    replay: Replay,
}

impl Operation for Note {
    type Plan = ReceivedV1;
    type Answer = Replay;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<ReceivedV1, Refusal>, StoreError> {
        let found = read_received(self.received, tables, batch)?;
        Ok(found.map(|(_, row)| row))
    }

    fn apply(
        self,
        mut row: ReceivedV1,
        tables: &mut Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Replay, StoreError> {
        row.replays.insert(0, self.replay.clone());
        row.replays.truncate(REPLAYS_MAX);
        let (inbox, received) = self.received;
        let place = pair(inbox.as_u64(), received.as_u64());
        tables.received.insert(&place, encode(&row).as_slice())?;
        Ok(self.replay)
    }
}
