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
use crate::domain::relay::{Answered, Relayed};
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
/// Listeners of this server, and at one inbox.
pub const LISTENERS_MAX: usize = 1_000;
pub const LISTENERS_OF_ONE_MAX: usize = 16;

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

    /// A request is on disk: called by the writer, in the order of commits.
    pub(super) fn kept(&self, inbox: InboxKey, key: ReceivedKey, ticket: u64, now: Timestamp) {
        let waiter = lock(&self.tickets).remove(&ticket);
        if let Some(lane) = lock(&self.lanes).get_mut(&inbox) {
            lane.kept(key, waiter, now);
        }
    }

    /// An inbox is gone: nobody listens there, or waits.
    pub(super) fn close(&self, inbox: InboxKey) {
        let gone = lock(&self.lanes).remove(&inbox);
        for seat in gone.iter().flat_map(|lane| &lane.seats) {
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
        told: oneshot::Receiver<Told>,
        limit: Duration,
    ) -> Told {
        tokio::select! {
            biased;
            // Whoever drops it says that nobody is there.
            told = told => told.unwrap_or(Told::Kept),
            () = self.rendezvous.closed(&self.stopping) => Told::Kept,
            () = self.clock.sleep(limit) => self.give_up(inbox, key, limit).await,
        }
    }

    async fn give_up(&self, inbox: InboxKey, key: ReceivedKey, limit: Duration) -> Told {
        let given_up = self.relay.with(inbox, |lane| lane.give_up(key));
        match given_up {
            None | Some(GivenUp::Kept) => Told::Kept,
            Some(GivenUp::Late) => {
                let detail = format!("no answer within {} s", limit.as_secs_f64());
                self.note(inbox, key, self.never(detail), Some(504)).await;
                Told::Late
            }
        }
    }

    fn never(&self, detail: String) -> Relayed {
        Relayed::Never {
            at: self.clock.now(),
            detail,
        }
    }

    /// Writes what became of a request. One that cannot be written is sent once
    /// more when the listener comes back: it knows it by its id.
    async fn note(&self, inbox: InboxKey, key: ReceivedKey, relayed: Relayed, told: Option<u16>) {
        if let Err(error) = self.store.note_relayed((inbox, key), relayed, told).await {
            tracing::error!(%error, "cannot write what a listener answered");
        }
        self.relay.with(inbox, |lane| lane.noted(key));
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
        let all: usize = lanes.values().map(|lane| lane.seats.len()).sum();
        let lane = lanes
            .entry(inbox.key)
            .or_insert_with(|| Lane::new(inbox.environment, inbox.token.clone()));
        if !lane.seats.iter().all(|seat| seat.who.shares && who.shares) {
            return Err(ListenError::InUse);
        }
        if all >= LISTENERS_MAX || lane.seats.len() >= LISTENERS_OF_ONE_MAX {
            if lane.is_empty() {
                lanes.remove(&inbox.key);
            }
            return Err(ListenError::TooMany);
        }
        let id = relay.number();
        let first = lane.sit(id, who, now);
        let seat = lane.seat(id).expect("it just sat down");
        let (wake, probe) = (Arc::clone(&seat.wake), Arc::clone(&seat.probe));
        drop(lanes);
        let ended = Arc::new(Notify::new());
        lock(&relay.endings).insert(id, (Ending::Closed, Arc::clone(&ended)));
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
    #[must_use]
    pub fn close_listener(&self, inbox: InboxKey, id: u64) -> bool {
        let now = self.inner.clock.now();
        let relay = &self.inner.relay;
        if relay.with(inbox, |lane| lane.leave(id, now)) != Some(true) {
            return false;
        }
        relay.end(id, Ending::Closed);
        self.inner.left(inbox);
        true
    }
}

impl Relay {
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
            inner.note_listened(inbox).await;
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
                // The inbox was cleared: whoever waits is told that it was kept.
                Ok(None) => {
                    relay.with(self.inbox, |lane| lane.drop_request(key));
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
                body: answer.body.to_vec(),
                body_bytes: answer.body.len() as u64,
                error: answer.error.clone(),
                took_us: u32::try_from(matched.took.as_micros()).unwrap_or(u32::MAX),
            });
            let told = matched.waiter.as_ref().map(|_| answer.told_status());
            inner.note(inbox, key, relayed, told).await;
            if let Some(waiter) = matched.waiter {
                // Who waited may have gone.
                let _ = waiter.send(Told::Answer(Arc::new(answer)));
            }
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
                let told = waiter.as_ref().map(|_| 504);
                inner.note(inbox, key, inner.never(detail), told).await;
                if let Some(waiter) = waiter {
                    let _ = waiter.send(Told::Late);
                }
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
