//! Inboxes as listeners see them: taken up, kept requests, what became of them.

use redb::{ReadableTable, ReadableTableMetadata as _};

use super::codec::{decode, encode};
use super::inboxes::{read, read_received, remove, write};
use super::rows::{InboxV1, ReceivedV1};
use super::tables::{RECEIVED, Tables, pair, second};
use super::writer::{Batch, Operation, Refusal, WriteError};
use super::{Store, StoreError};
use crate::domain::answer::FixedAnswer;
use crate::domain::endpoint::{MASKED, is_secret_header};
use crate::domain::ids::{EnvironmentKey, InboxKey, Key as _, ReceivedKey};
use crate::domain::inbox::{INBOXES_MAX, Inbox};
use crate::domain::relay::{
    ANSWER_KEPT_BYTES_MAX, KEPT_FOR, OPEN_INBOXES_MAX, Relayed, UNUSED_FOR, is_token,
};

/// Why a request that waited for too long is not delivered.
const TOO_LATE: &str = "no listener came back within 24 hours";
/// Inboxes that are forgotten in one step.
const FORGET_STEP: usize = 50;

/// Who wants to listen.
#[derive(Clone, Debug)]
pub struct Taking {
    pub token: String,
    /// The environment of the listener's API key; `None` without one.
    pub environment: Option<EnvironmentKey>,
    /// Where an inbox is made when there is none of this token; `None`: nowhere.
    pub make_in: Option<EnvironmentKey>,
}

impl Store {
    /// The inbox for a listener; made, if it may be. From now on it keeps what
    /// comes.
    ///
    /// # Errors
    /// [`Refusal::NoInbox`] when there is none that this listener may have and
    /// none may be made; [`Refusal::KeyNeeded`] when one with an API key may.
    pub async fn take_up(&self, taking: Taking) -> Result<Inbox, WriteError> {
        self.write_once(TakeUp(taking)).await
    }

    /// Notes that somebody listens at this moment.
    pub async fn note_listened(&self, inbox: InboxKey) -> Result<(), WriteError> {
        self.write_once(NoteListened(inbox)).await
    }

    /// Writes what became of a request, and what its sender was `told`, unless
    /// that stays. False when the request is no longer kept.
    pub async fn note_relayed(
        &self,
        received: (InboxKey, ReceivedKey),
        relayed: Relayed,
        told: Option<u16>,
    ) -> Result<bool, WriteError> {
        let note = NoteRelayed {
            received,
            relayed,
            told,
        };
        self.write_once(note).await
    }

    /// The requests that are kept for an inbox's listener, oldest first.
    pub fn waiting(&self, inbox: InboxKey) -> Result<Vec<ReceivedKey>, StoreError> {
        self.read(|txn| waiting(inbox, &txn.open_table(RECEIVED)?))
    }

    /// Forgets some inboxes that listeners made and nobody listens at; how many.
    pub async fn forget_unused_inboxes(&self) -> Result<usize, WriteError> {
        self.write_once(Forget).await
    }
}

fn waiting(
    inbox: InboxKey,
    received: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
) -> Result<Vec<ReceivedKey>, StoreError> {
    let mut found = Vec::new();
    let all = pair(inbox.as_u64(), 0)..=pair(inbox.as_u64(), u64::MAX);
    for row in received.range::<&[u8; 16]>(&all.start()..=&all.end())? {
        let (place, row) = row?;
        if decode::<ReceivedV1>(row.value())?.relayed == Relayed::Waiting {
            found.push(ReceivedKey::from_u64(second(place.value())));
        }
    }
    Ok(found)
}

struct TakeUp(Taking);

/// What is to be done to take an inbox up.
enum Found {
    There(Inbox),
    MadeIn(EnvironmentKey),
}

impl Operation for TakeUp {
    type Plan = Found;
    type Answer = Inbox;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Found, Refusal>, StoreError> {
        let Taking {
            token,
            environment,
            make_in,
        } = &self.0;
        let holder = tables.inbox_tokens.get(token.as_bytes())?;
        let holder = holder.map(|key| InboxKey::from_u64(u64::from_be_bytes(*key.value())));
        let Some(holder) = holder else {
            let Some(made_in) = make_in.filter(|_| is_token(token)) else {
                return Ok(Err(Refusal::NoInbox));
            };
            return may_make(made_in, environment.is_none(), tables, batch);
        };
        Ok(
            read(holder, tables, batch)?.and_then(|inbox| match environment {
                Some(own) if *own == inbox.environment => Ok(Found::There(inbox)),
                Some(_) => Err(Refusal::NoInbox),
                None if inbox.open => Ok(Found::There(inbox)),
                None => Err(Refusal::KeyNeeded),
            }),
        )
    }

    fn apply(
        self,
        found: Found,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Inbox, StoreError> {
        let mut inbox = match found {
            Found::There(inbox) => inbox,
            Found::MadeIn(environment) => {
                let open = self.0.environment.is_none();
                let inbox = new_inbox(environment, self.0.token, open, batch);
                let key = inbox.key.as_u64().to_be_bytes();
                tables.inbox_tokens.insert(inbox.token.as_bytes(), &key)?;
                inbox
            }
        };
        give_up_on_old(&mut inbox, tables, batch)?;
        inbox.listened = Some(batch.now);
        write(&inbox, tables)?;
        Ok(inbox)
    }
}

fn may_make(
    environment: EnvironmentKey,
    open: bool,
    tables: &Tables<'_>,
    batch: &Batch<'_>,
) -> Result<Result<Found, Refusal>, StoreError> {
    let too_many = |max: u64| Refusal::TooMany {
        of: "inboxes",
        max: usize::try_from(max).unwrap_or(usize::MAX),
    };
    if tables.inboxes.len()? >= INBOXES_MAX {
        return Ok(Err(too_many(INBOXES_MAX)));
    }
    if open && count_open(tables)? >= OPEN_INBOXES_MAX {
        return Ok(Err(too_many(OPEN_INBOXES_MAX)));
    }
    let there = batch.environment(environment).is_some();
    Ok(there
        .then_some(Found::MadeIn(environment))
        .ok_or(Refusal::NoEnvironment))
}

/// Inboxes that listeners without an API key made.
fn count_open(tables: &Tables<'_>) -> Result<u64, StoreError> {
    let mut count = 0;
    for row in tables.inboxes.iter()? {
        let inbox = decode::<InboxV1>(row?.1.value())?.into_domain(InboxKey::from_u64(0));
        count += u64::from(inbox.open && inbox.made_by_listener);
    }
    Ok(count)
}

fn new_inbox(
    environment: EnvironmentKey,
    token: String,
    open: bool,
    batch: &mut Batch<'_>,
) -> Inbox {
    Inbox {
        key: batch.key(),
        environment,
        token,
        name: String::new(),
        answer: FixedAnswer::ok("OK"),
        delay_ms: 0,
        fail_next: 0,
        created: batch.now,
        open,
        made_by_listener: true,
        listened: None,
        waiting: 0,
    }
}

/// Requests that waited for too long are not delivered any more.
fn give_up_on_old(
    inbox: &mut Inbox,
    tables: &mut Tables<'_>,
    batch: &Batch<'_>,
) -> Result<(), StoreError> {
    if inbox.waiting == 0 {
        return Ok(());
    }
    for key in waiting(inbox.key, &tables.received)? {
        let place = pair(inbox.key.as_u64(), key.as_u64());
        let mut row = match tables.received.get(&place)? {
            Some(bytes) => decode::<ReceivedV1>(bytes.value())?,
            None => continue,
        };
        if batch.now < row.at.plus(KEPT_FOR) {
            // The others are younger.
            return Ok(());
        }
        row.relayed = Relayed::Never {
            at: batch.now,
            detail: TOO_LATE.to_owned(),
        };
        tables.received.insert(&place, encode(&row).as_slice())?;
        inbox.waiting = inbox.waiting.saturating_sub(1);
    }
    Ok(())
}

struct NoteListened(InboxKey);

impl Operation for NoteListened {
    type Plan = Inbox;
    type Answer = ();

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Inbox, Refusal>, StoreError> {
        read(self.0, tables, batch)
    }

    fn apply(
        self,
        mut inbox: Inbox,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<(), StoreError> {
        inbox.listened = Some(batch.now);
        write(&inbox, tables)
    }
}

struct NoteRelayed {
    received: (InboxKey, ReceivedKey),
    relayed: Relayed,
    told: Option<u16>,
}

impl Operation for NoteRelayed {
    type Plan = Option<(Inbox, ReceivedV1)>;
    type Answer = bool;

    fn writes(plan: &Self::Plan) -> bool {
        plan.is_some()
    }

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        Ok(Ok(read_received(self.received, tables, batch)?.ok()))
    }

    fn apply(
        self,
        plan: Self::Plan,
        tables: &mut Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<bool, StoreError> {
        let Some((mut inbox, mut row)) = plan else {
            return Ok(false);
        };
        if row.relayed == Relayed::Waiting {
            inbox.waiting = inbox.waiting.saturating_sub(1);
            write(&inbox, tables)?;
        }
        row.relayed = remembered(self.relayed);
        row.answered = self.told.unwrap_or(row.answered);
        let place = pair(inbox.key.as_u64(), self.received.1.as_u64());
        tables.received.insert(&place, encode(&row).as_slice())?;
        Ok(true)
    }
}

/// What is kept of an answer: the beginning of its body, and no secrets.
fn remembered(mut relayed: Relayed) -> Relayed {
    if let Relayed::Answered(answered) = &mut relayed {
        answered.body.truncate(ANSWER_KEPT_BYTES_MAX);
        for (name, value) in &mut answered.headers {
            if is_secret_header(name, None) || name.eq_ignore_ascii_case("set-cookie") {
                *value = MASKED.as_bytes().to_vec();
            }
        }
    }
    relayed
}

struct Forget;

impl Operation for Forget {
    type Plan = Vec<Inbox>;
    type Answer = usize;

    fn writes(plan: &Self::Plan) -> bool {
        !plan.is_empty()
    }

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let mut unused = Vec::new();
        for row in tables.inboxes.iter()? {
            let (key, value) = row?;
            let key = InboxKey::from_u64(u64::from_be_bytes(*key.value()));
            let inbox = decode::<InboxV1>(value.value())?.into_domain(key);
            let last = inbox.listened.unwrap_or(inbox.created);
            if inbox.made_by_listener && batch.now >= last.plus(UNUSED_FOR) {
                unused.push(inbox);
            }
            if unused.len() == FORGET_STEP {
                break;
            }
        }
        Ok(Ok(unused))
    }

    fn apply(
        self,
        unused: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<usize, StoreError> {
        for inbox in &unused {
            remove(inbox, tables, batch)?;
        }
        Ok(unused.len())
    }
}
