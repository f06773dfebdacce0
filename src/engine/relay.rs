//! Listeners: what comes to an inbox is theirs to answer.
//!
//! A request is on disk before a listener has it, and what became of it is on
//! disk before its sender is answered. What a listener has not answered when it
//! goes is sent to it again when it is back; it knows what it had before by the
//! id.

mod lane;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use self::lane::{GivenUp, Lane, RETURN_WAIT};
use super::{Engine, Inner};
use crate::domain::ids::{EnvironmentKey, InboxKey, ReceivedKey};
use crate::domain::inbox::{Inbox, Received};
use crate::domain::relay::{ANSWER_KEPT_BYTES_MAX, Answered, Relayed};
use crate::domain::time::Timestamp;
use crate::store::{StoreError, Taking, WriteError};

pub use self::lane::{Ending, Who};

/// How long a sender waits for a listener's answer. In-process deliveries wait
/// no longer than their own time allows.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long a listener may keep a request, when nobody waits for it any more.
const KEEP_LIMIT: Duration = Duration::from_secs(35);
/// How long a listener has to show that it is there, when another wants its place.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// When what became of a request cannot be written: how often that is tried
/// again, and how long after.
const NOTE_TRIES: u32 = 30;
const NOTE_AGAIN: Duration = Duration::from_secs(1);
/// Listeners of this server, and at one inbox.
pub const LISTENERS_MAX: usize = 1_000;
pub const LISTENERS_OF_ONE_MAX: usize = 16;
/// Those of this server that showed no API key: the others have room beside
/// them.
pub const LISTENERS_WITHOUT_KEY_MAX: usize = 500;

/// A listener's answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names and values in order, repeats included.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
    /// Why the local program gave no answer, in words; else empty.
    pub error: String,
}

impl Answer {
    /// The status that a sender is told: one that ends an exchange.
    #[must_use]
    pub fn told_status(&self) -> u16 {
        if (200..=599).contains(&self.status) {
            self.status
        } else {
            502
        }
    }
}

/// What a sender is told of a request that is for a listener.
#[derive(Clone, Debug)]
pub enum Told {
    Answer(Arc<Answer>),
    /// It is kept for when the listener is back.
    Kept,
    /// A listener has it and did not answer in time.
    Late,
    /// It was deleted before a listener answered.
    Dropped,
}

/// Why somebody cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("somebody listens there already")]
    InUse,
    #[error("too many listen already")]
    TooMany,
    #[error(transparent)]
    Store(#[from] WriteError),
}

/// A listener, as others see it.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Names it as long as the server runs.
    pub id: u64,
    pub token: String,
    pub who: Who,
    pub since: Timestamp,
    /// When it last said anything.
    pub heard: Timestamp,
    /// How often it did, the answers to pings included.
    pub heard_times: u64,
    /// Requests that it was sent.
    pub forwarded: u64,
    /// Requests that it has and did not answer yet.
    pub in_flight: usize,
    /// Requests that wait to be sent.
    pub queued: usize,
}

type Waiter = oneshot::Sender<Told>;

/// Who listens where, in memory.
#[derive(Default)]
pub(super) struct Relay {
    last_number: AtomicU64,
    /// Who waits for requests that are not on disk yet.
    tickets: Mutex<HashMap<u64, Waiter>>,
    lanes: Mutex<HashMap<InboxKey, Lane<Waiter>>>,
    endings: Mutex<HashMap<u64, (Ending, Arc<Notify>)>>,
}

/// A place among those who wait, until the request is on disk.
pub(super) struct Ticket<'relay> {
    relay: &'relay Relay,
    pub number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        lock(&self.relay.tickets).remove(&self.number);
    }
}

/// What became of a request is being written; dropping it says that it is, or
/// that whoever wrote it has gone.
struct Noting<'relay> {
    relay: &'relay Relay,
    inbox: InboxKey,
    key: ReceivedKey,
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        let key = self.key;
        self.relay.with(self.inbox, |lane| lane.noted(key));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    fn number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A ticket for a request that is about to be written.
    pub(super) fn ticket(&self) -> (Ticket<'_>, oneshot::Receiver<Told>) {
        let (waiter, told) = oneshot::channel();
        let number = self.number();
        lock(&self.tickets).insert(number, waiter);
        (
            Ticket {
                relay: self,
                number,
            },
            told,
        )
    }

    fn noting(&self, inbox: InboxKey, key: ReceivedKey) -> Noting<'_> {
        Noting {
            relay: self,
            inbox,
            key,
        }
    }

    /// A request is on disk: called by the writer, in the order of commits.
    pub(super) fn kept(&self, inbox: InboxKey, key: ReceivedKey, ticket: u64, now: Timestamp) {
        let waiter = lock(&self.tickets).remove(&ticket);
        if let Some(lane) = lock(&self.lanes).get_mut(&inbox) {
            lane.kept(key, waiter, now);
        }
    }

    /// An inbox is gone: nobody listens there, or waits.
    pub(super) fn close(&self, inbox: InboxKey) {
        let Some(mut gone) = lock(&self.lanes).remove(&inbox) else {
            return;
        };
        for waiter in gone.take_waiters() {
            let _ = waiter.send(Told::Dropped);
        }
        for seat in &gone.seats {
            self.end(seat.id, Ending::Gone);
        }
    }

    /// Does something with the lane of an inbox, and forgets it when it is empty.
    fn with<R>(&self, inbox: InboxKey, act: impl FnOnce(&mut Lane<Waiter>) -> R) -> Option<R> {
        let mut lanes = lock(&self.lanes);
        let lane = lanes.get_mut(&inbox)?;
        let done = act(lane);
        if lane.is_empty() {
            lanes.remove(&inbox);
        }
        Some(done)
    }
}

impl Inner {
    /// What a sender is told of its request, within `limit`.
    pub(super) async fn told(
        &self,
        inbox: InboxKey,
        key: ReceivedKey,
        mut told: oneshot::Receiver<Told>,
        limit: Duration,
    ) -> Told {
        let given_up = tokio::select! {
            biased;
            // Whoever drops it says that nobody is there.
            told = &mut told => return told.unwrap_or(Told::Kept),
            () = self.rendezvous.closed(&self.stopping) => {
                let is_noting = self.relay.with(inbox, |lane| lane.is_noting(key));
                is_noting.filter(|noting| *noting).map(|_| GivenUp::Soon)
            }
            () = self.clock.sleep(limit) => self.relay.with(inbox, |lane| lane.give_up(key)),
        };
        match given_up {
            None | Some(GivenUp::Kept) => Told::Kept,
            Some(GivenUp::Soon) => told.await.unwrap_or(Told::Kept),
            Some(GivenUp::Late) => {
                let detail = format!("no answer within {} s", limit.as_secs_f64());
                let _noting = self.relay.noting(inbox, key);
                if self.note(inbox, key, self.never(detail), Some(504)).await {
                    Told::Late
                } else {
                    Told::Kept
                }
            }
        }
    }

    fn never(&self, detail: String) -> Relayed {
        Relayed::Never {
            at: self.clock.now(),
            detail,
        }
    }

    /// Writes what became of a request; false when that cannot be written. Then
    /// the request still waits on disk, and is sent once more when the listener
    /// comes back: it knows it by its id.
    async fn note(
        &self,
        inbox: InboxKey,
        key: ReceivedKey,
        relayed: Relayed,
        told: Option<u16>,
    ) -> bool {
        let noted = self.store.note_relayed((inbox, key), relayed, told).await;
        if let Err(error) = &noted {
            tracing::error!(%error, "cannot write what a listener answered");
        }
        noted.is_ok()
    }

    /// Writes what became of a request, and then tells whoever waits.
    async fn settle(
        &self,
        inbox: InboxKey,
        key: ReceivedKey,
        relayed: Relayed,
        waiter: Option<Waiter>,
        (status, told): (u16, Told),
    ) {
        // To the end: whose time is over meanwhile waits for what is told here.
        let _noting = self.relay.noting(inbox, key);
        let waiter = waiter.filter(|waiter| !waiter.is_closed());
        let status = waiter.as_ref().map(|_| status);
        if self.note(inbox, key, relayed.clone(), status).await {
            if let Some(waiter) = waiter {
                // Who waited may have gone.
                let _ = waiter.send(told);
            }
            return;
        }
        // It is kept, as far as the sender knows.
        drop(waiter);
        for _ in 0..NOTE_TRIES {
            self.clock.sleep(NOTE_AGAIN).await;
            let stopping = self.stopping.load(Ordering::Acquire);
            if stopping || self.note(inbox, key, relayed.clone(), None).await {
                return;
            }
        }
    }
}

impl Engine {
    /// The inbox for a listener, see [`Store::take_up`](crate::store::Store::take_up).
    pub async fn take_up(&self, taking: Taking) -> Result<Inbox, WriteError> {
        self.inner.store.take_up(taking).await
    }

    /// Gives `who` a place at an inbox: what comes there is its to answer until
    /// it drops what it gets here.
    ///
    /// # Errors
    /// [`ListenError::InUse`] when another listens who was heard of and shares
    /// not, or this one does not.
    pub async fn listen(&self, inbox: &Inbox, who: Who) -> Result<Listening, ListenError> {
        let inner = &self.inner;
        let others = self.in_the_way(inbox, &who);
        if !others.is_empty() {
            inner.clock.sleep(PROBE_LIMIT).await;
            self.remove_silent(inbox.key, &others);
        }
        let listening = self.sit(inbox, who)?;
        let waiting = if listening.first {
            inner.store.waiting(inbox.key).map_err(WriteError::from)?
        } else {
            Vec::new()
        };
        let id = listening.id;
        inner.relay.with(inbox.key, |lane| lane.ready(id, &waiting));
        inner.read_again(inbox.key);
        Ok(listening)
    }

    /// Those who would have to go for `who` to come, and how often they were heard
    /// of: they are asked whether they are there. Its own earlier connection goes
    /// at once.
    fn in_the_way(&self, inbox: &Inbox, who: &Who) -> Vec<(u64, u64)> {
        let relay = &self.inner.relay;
        let mut lanes = lock(&relay.lanes);
        let Some(lane) = lanes.get_mut(&inbox.key) else {
            return Vec::new();
        };
        let own = lane
            .seats
            .iter()
            .find(|seat| who.session.is_some() && seat.who.session == who.session);
        if let Some(own) = own.map(|seat| seat.id) {
            lane.leave(own, self.inner.clock.now());
            relay.end(own, Ending::Replaced);
        }
        let shared = |seat: &lane::Seat| who.shares && seat.who.shares;
        let others = lane.seats.iter().filter(|seat| !shared(seat));
        others
            .map(|seat| {
                seat.probe.notify_one();
                (seat.id, seat.heard_times)
            })
            .collect()
    }

    /// Those who were not heard of since.
    fn remove_silent(&self, inbox: InboxKey, asked: &[(u64, u64)]) {
        let relay = &self.inner.relay;
        let now = self.inner.clock.now();
        let mut lanes = lock(&relay.lanes);
        let Some(lane) = lanes.get_mut(&inbox) else {
            return;
        };
        for &(id, heard_times) in asked {
            let silent = lane
                .seat(id)
                .is_some_and(|seat| seat.heard_times == heard_times);
            if silent {
                lane.leave(id, now);
                relay.end(id, Ending::Silent);
            }
        }
    }

    fn sit(&self, inbox: &Inbox, who: Who) -> Result<Listening, ListenError> {
        let relay = &self.inner.relay;
        let now = self.inner.clock.now();
        let mut lanes = lock(&relay.lanes);
        let (mut all, mut without_key) = (0, 0);
        for seat in lanes.values().flat_map(|lane| &lane.seats) {
            all += 1;
            without_key += usize::from(!seat.who.keyed);
        }
        let is_full =
            all >= LISTENERS_MAX || (!who.keyed && without_key >= LISTENERS_WITHOUT_KEY_MAX);
        let lane = lanes
            .entry(inbox.key)
            .or_insert_with(|| Lane::new(inbox.environment, inbox.token.clone()));
        if !lane.seats.iter().all(|seat| seat.who.shares && who.shares) {
            return Err(ListenError::InUse);
        }
        if is_full || lane.seats.len() >= LISTENERS_OF_ONE_MAX {
            if lane.is_empty() {
                lanes.remove(&inbox.key);
            }
            return Err(ListenError::TooMany);
        }
        let id = relay.number();
        let first = lane.sit(id, who, now);
        let seat = lane.seat(id).expect("it just sat down");
        let (wake, probe) = (Arc::clone(&seat.wake), Arc::clone(&seat.probe));
        let ended = Arc::new(Notify::new());
        // While nobody can take the place away: or its end would go unheard.
        lock(&relay.endings).insert(id, (Ending::Closed, Arc::clone(&ended)));
        drop(lanes);
        Ok(Listening {
            inner: Arc::clone(&self.inner),
            inbox: inbox.key,
            id,
            first,
            wake,
            probe,
            ended,
        })
    }

    /// Who listens in an environment, or at one of its inboxes; oldest first.
    #[must_use]
    pub fn listeners(&self, environment: EnvironmentKey, inbox: Option<InboxKey>) -> Vec<Listener> {
        let lanes = lock(&self.inner.relay.lanes);
        let here = lanes.iter().filter(|(key, lane)| {
            lane.environment == environment && inbox.is_none_or(|inbox| inbox == **key)
        });
        let mut found: Vec<Listener> = here
            .flat_map(|(_, lane)| {
                lane.seats.iter().map(|seat| Listener {
                    id: seat.id,
                    token: lane.token.clone(),
                    who: seat.who.clone(),
                    since: seat.since,
                    heard: seat.heard,
                    heard_times: seat.heard_times,
                    forwarded: seat.forwarded,
                    in_flight: lane.in_flight(seat.id),
                    queued: lane.queued(),
                })
            })
            .collect();
        found.sort_by_key(|listener| listener.id);
        found
    }

    /// Ends a listener's connection; false when there is none of this id.
    pub async fn close_listener(&self, inbox: InboxKey, id: u64) -> bool {
        let now = self.inner.clock.now();
        let relay = &self.inner.relay;
        if relay.with(inbox, |lane| lane.leave(id, now)) != Some(true) {
            return false;
        }
        relay.end(id, Ending::Closed);
        self.inner.sent_away(inbox).await;
        true
    }
}

impl Relay {
    /// Every inbox that is listened to: what waits there is to be read again.
    fn doubt_all(&self) -> Vec<InboxKey> {
        let mut lanes = lock(&self.lanes);
        lanes.values_mut().for_each(Lane::doubt);
        lanes.keys().copied().collect()
    }

    /// Tells a listener that its connection is to end.
    fn end(&self, id: u64, ending: Ending) {
        if let Some((why, ended)) = lock(&self.endings).get_mut(&id) {
            *why = ending;
            ended.notify_one();
        }
    }
}

impl Inner {
    /// Nobody may listen there any more: notes when somebody last did, and in a
    /// while sends away who waits.
    fn left(self: &Arc<Self>, inbox: InboxKey) {
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            inner.read_again(inbox);
            inner.note_listened(inbox).await;
            inner.clock.sleep(RETURN_WAIT).await;
            inner.relay.with(inbox, Lane::stop_waiting);
        });
    }

    /// Reads what waits again where there is reason to.
    fn read_again(&self, inbox: InboxKey) {
        let Some(id) = self.relay.with(inbox, Lane::read_again).flatten() else {
            return;
        };
        let waiting = self.store.waiting(inbox).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read what waits for a listener");
            Vec::new()
        });
        self.relay.with(inbox, |lane| lane.ready(id, &waiting));
    }

    /// What became of the writes before this is only on disk.
    pub(super) fn reread_relays(self: &Arc<Self>) {
        for inbox in self.relay.doubt_all() {
            let inner = Arc::clone(self);
            self.runtime.spawn(async move { inner.read_again(inbox) });
        }
    }

    /// Somebody sent a listener away: if it was the last, the inbox answers for
    /// itself from now on.
    async fn sent_away(self: &Arc<Self>, inbox: InboxKey) {
        let somebody_is_there = self.relay.with(inbox, |lane| !lane.seats.is_empty());
        if somebody_is_there == Some(true) {
            self.read_again(inbox);
            return;
        }
        if let Err(WriteError::Store(error)) = self.store.stop_relaying(inbox).await {
            tracing::error!(%error, "cannot write that a listener was sent away");
        }
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            inner.clock.sleep(RETURN_WAIT).await;
            inner.relay.with(inbox, Lane::stop_waiting);
        });
    }

    async fn note_listened(&self, inbox: InboxKey) {
        match self.store.note_listened(inbox).await {
            Ok(()) | Err(WriteError::Refused(_)) => {}
            Err(WriteError::Store(error)) => {
                tracing::error!(%error, "cannot write that somebody listened");
            }
        }
    }
}

/// A place at an inbox. Dropping it leaves.
pub struct Listening {
    inner: Arc<Inner>,
    inbox: InboxKey,
    id: u64,
    first: bool,
    wake: Arc<Notify>,
    probe: Arc<Notify>,
    ended: Arc<Notify>,
}

impl Listening {
    /// Ends when there may be something to [`take`](Self::take).
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Ends when it is to be shown soon that the listener is there.
    pub async fn probed(&self) {
        self.probe.notified().await;
    }

    /// Ends when the connection is to end.
    pub async fn ended(&self) -> Ending {
        self.ended.notified().await;
        let endings = lock(&self.inner.relay.endings);
        endings
            .get(&self.id)
            .map_or(Ending::Closed, |ending| ending.0)
    }

    /// Requests that waited when it came, and still do.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let queued = self.inner.relay.with(self.inbox, |lane| lane.queued());
        queued.unwrap_or(0)
    }

    /// The next request, whole, if there is one now.
    ///
    /// # Errors
    /// The store could not be read: nothing was taken.
    pub fn take(&self) -> Result<Option<Received>, StoreError> {
        let relay = &self.inner.relay;
        let now = self.inner.clock.now();
        loop {
            let taken = relay.with(self.inbox, |lane| lane.take(self.id, now));
            let Some(key) = taken.flatten() else {
                return Ok(None);
            };
            match self.inner.store.one_received(self.inbox, key) {
                Ok(Some(received)) => return Ok(Some(received)),
                // The inbox was cleared, or hundreds came after it.
                Ok(None) => {
                    let waiter = relay.with(self.inbox, |lane| lane.drop_request(key));
                    if let Some(waiter) = waiter.flatten() {
                        let _ = waiter.send(Told::Dropped);
                    }
                }
                Err(error) => {
                    relay.with(self.inbox, |lane| lane.give_back(key));
                    return Err(error);
                }
            }
        }
    }

    /// The listener was heard of.
    pub fn heard(&self) {
        let now = self.inner.clock.now();
        self.inner.relay.with(self.inbox, |lane| {
            if let Some(seat) = lane.seat(self.id) {
                seat.heard = now;
                seat.heard_times += 1;
            }
        });
    }

    /// Takes an answer: it is on disk before the sender has it. False when it
    /// answers nothing that this listener was asked.
    pub fn answer(&self, key: ReceivedKey, answer: Answer) -> bool {
        let matched = self
            .inner
            .relay
            .with(self.inbox, |lane| lane.answered(self.id, key));
        let Some(matched) = matched.flatten() else {
            return false;
        };
        let inner = Arc::clone(&self.inner);
        let inbox = self.inbox;
        self.inner.runtime.spawn(async move {
            let relayed = Relayed::Answered(Answered {
                at: inner.clock.now(),
                status: answer.status,
                headers: answer.headers.clone(),
                body: answer.body[..answer.body.len().min(ANSWER_KEPT_BYTES_MAX)].to_vec(),
                body_bytes: answer.body.len() as u64,
                error: answer.error.clone(),
                took_us: u32::try_from(matched.took.as_micros()).unwrap_or(u32::MAX),
            });
            let told = (answer.told_status(), Told::Answer(Arc::new(answer)));
            let settling = inner.settle(inbox, key, relayed, matched.waiter, told);
            settling.await;
        });
        true
    }

    /// Gives up on what the listener has had for too long.
    pub fn give_up_on_overdue(&self) {
        let now = self.inner.clock.now();
        let overdue = self
            .inner
            .relay
            .with(self.inbox, |lane| lane.overdue(self.id, KEEP_LIMIT, now));
        for (key, waiter) in overdue.unwrap_or_default() {
            let inner = Arc::clone(&self.inner);
            let inbox = self.inbox;
            self.inner.runtime.spawn(async move {
                let detail = format!("no answer within {} s", KEEP_LIMIT.as_secs());
                let never = inner.never(detail);
                let settling = inner.settle(inbox, key, never, waiter, (504, Told::Late));
                settling.await;
            });
        }
    }

    /// Notes that it still listens.
    pub async fn note(&self) {
        self.inner.note_listened(self.inbox).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let relay = &self.inner.relay;
        lock(&relay.endings).remove(&self.id);
        let now = self.inner.clock.now();
        let left = relay.with(self.inbox, |lane| lane.leave(self.id, now));
        if left == Some(true) {
            self.inner.left(self.inbox);
        }
    }
}
