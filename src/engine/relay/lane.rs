//! One inbox that is listened to: who listens, what waits, what is where.
//!
//! The disk has what waits; this is what a running server knows besides. What
//! it forgets is read again when somebody comes to listen.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::domain::ids::{EnvironmentKey, ReceivedKey};
use crate::domain::time::Timestamp;
use crate::seams::clock::Stopwatch;

/// How long senders whose requests are on their way go on waiting for a
/// listener that has gone to come back.
pub(super) const RETURN_WAIT: Duration = Duration::from_secs(5);

/// Who listens, as it is shown to people.
#[derive(Clone, Debug)]
pub struct Who {
    /// What it says of itself.
    pub client: String,
    pub peer: Option<IpAddr>,
    /// Whether it showed an API key.
    pub keyed: bool,
    /// Its own secret: with it, it takes its place over.
    pub session: Option<String>,
    /// Whether it shares what comes with others that do.
    pub shares: bool,
    /// Events that it takes before it has answered the first of them.
    pub in_flight_max: usize,
}

/// Why a listener's connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The same client came again by another connection.
    Replaced,
    /// It was not heard of, and another wants its place.
    Silent,
    /// Somebody closed it in the dashboard or through the API.
    Closed,
    /// The inbox was deleted.
    Gone,
}

/// A listener's place.
pub(super) struct Seat {
    pub id: u64,
    pub who: Who,
    pub since: Timestamp,
    pub heard: Timestamp,
    /// How often it was heard of.
    pub heard_times: u64,
    pub forwarded: u64,
    /// What waited when it came is read, so that it may be given something.
    ready: bool,
    /// There may be something to take.
    pub wake: Arc<Notify>,
    /// It is to show that it is there.
    pub probe: Arc<Notify>,
}

/// A request that a listener has.
struct Sent {
    seat: u64,
    at: Timestamp,
    took: Stopwatch,
    /// Its sender was told that no answer came.
    settled: bool,
}

/// What an answer belongs to.
pub(super) struct Match<W> {
    pub took: Duration,
    /// Who waits for it, if anybody still does.
    pub waiter: Option<W>,
}

/// What became of a request whose sender waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// It is kept for later.
    Kept,
    /// A listener has it and did not answer in time.
    Late,
    /// What became of it is being written, and is told then.
    Soon,
}

/// `W` waits for an answer.
pub(super) struct Lane<W> {
    pub environment: EnvironmentKey,
    pub token: String,
    pub seats: Vec<Seat>,
    queue: BTreeSet<ReceivedKey>,
    sent: HashMap<ReceivedKey, Sent>,
    /// What became of these is being written.
    noting: HashSet<ReceivedKey>,
    waiters: HashMap<ReceivedKey, W>,
    /// The last request that was read from the disk.
    mark: Option<ReceivedKey>,
    /// Up to this one they go one after the other: they waited.
    serial_until: Option<ReceivedKey>,
    away_since: Option<Timestamp>,
    /// What waits is being read: nobody gets anything before.
    reading: Option<Reading>,
    /// The disk may know of more than was told.
    unread: bool,
}

/// What waits is being read from the disk.
struct Reading {
    /// For this place.
    seat: u64,
    /// What was with a listener, or being noted, when it began: whatever the disk
    /// says of these is old by the time it is heard.
    busy: HashSet<ReceivedKey>,
}

impl<W> Lane<W> {
    pub(super) fn new(environment: EnvironmentKey, token: String) -> Self {
        Self {
            environment,
            token,
            seats: Vec::new(),
            queue: BTreeSet::new(),
            sent: HashMap::new(),
            noting: HashSet::new(),
            waiters: HashMap::new(),
            mark: None,
            serial_until: None,
            away_since: None,
            reading: None,
            unread: false,
        }
    }

    /// Whether nothing is lost when this is forgotten.
    pub(super) fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.waiters.is_empty() && self.noting.is_empty()
    }

    /// Gives a place. It is given nothing before [`ready`](Self::ready). True
    /// when it is the only one, so that what waits is to be read.
    pub(super) fn sit(&mut self, id: u64, who: Who, now: Timestamp) -> bool {
        let first = self.seats.is_empty();
        if first {
            self.queue.clear();
            self.mark = None;
            self.unread = false;
            self.read_for(id);
        }
        self.seats.push(Seat {
            id,
            who,
            since: now,
            heard: now,
            heard_times: 0,
            forwarded: 0,
            ready: false,
            wake: Arc::default(),
            probe: Arc::default(),
        });
        self.away_since = None;
        first
    }

    fn read_for(&mut self, id: u64) {
        let busy = self.sent.keys().chain(&self.noting).copied().collect();
        self.reading = Some(Reading { seat: id, busy });
    }

    /// The disk may know of more than was told.
    pub(super) fn doubt(&mut self) {
        self.unread = true;
    }

    /// The place for which what waits is to be read again, if there is reason to.
    pub(super) fn read_again(&mut self) -> Option<u64> {
        if !self.unread || self.reading.is_some() {
            return None;
        }
        let id = self.seats.iter().find(|seat| seat.ready)?.id;
        self.unread = false;
        self.read_for(id);
        Some(id)
    }

    /// What waits on the disk was read, if it was to be: from now on the place
    /// is given events. One that was left meanwhile says nothing any more: who
    /// sits there now may have answered some of what it read.
    pub(super) fn ready(&mut self, id: u64, waiting: &[ReceivedKey]) {
        let Some(seat) = self.seat(id) else {
            return;
        };
        seat.ready = true;
        let read = self.reading.take_if(|reading| reading.seat == id);
        let Some(Reading { busy, .. }) = read else {
            self.wake();
            return;
        };
        if let Some(last) = waiting.last() {
            self.mark = Some(*last);
            self.serial_until = Some(*last);
        }
        let known = |key: &ReceivedKey| self.noting.contains(key) || self.sent.contains_key(key);
        let on_disk = waiting.iter().copied();
        let more: Vec<_> = on_disk
            .filter(|key| !busy.contains(key) && !known(key))
            .collect();
        self.queue.extend(more);
        self.wake();
    }

    /// Takes a place away. What its listener had and did not answer waits again.
    pub(super) fn leave(&mut self, id: u64, now: Timestamp) -> bool {
        let before = self.seats.len();
        self.seats.retain(|seat| seat.id != id);
        if self.seats.len() == before {
            return false;
        }
        let returned = self.sent.extract_if(|_, sent| sent.seat == id);
        let unanswered = returned.filter(|(_, sent)| !sent.settled);
        self.queue.extend(unanswered.map(|(key, _)| key));
        let abandoned = self.reading.take_if(|reading| reading.seat == id);
        self.unread |= abandoned.is_some();
        if self.seats.is_empty() {
            self.queue.clear();
            self.away_since = Some(now);
        }
        self.wake();
        true
    }

    /// A request is on disk, and `waiter` waits for its answer.
    pub(super) fn kept(&mut self, key: ReceivedKey, waiter: Option<W>, now: Timestamp) {
        if self.seats.is_empty() {
            // Whoever comes to listen reads it from the disk.
            let expected = self
                .away_since
                .is_some_and(|away| now < away.plus(RETURN_WAIT));
            if expected && let Some(waiter) = waiter {
                self.waiters.insert(key, waiter);
            }
            return;
        }
        let was_read = self.mark.is_some_and(|mark| key <= mark);
        let is_here = self.queue.contains(&key) || self.sent.contains_key(&key);
        if self.noting.contains(&key) || (was_read && !is_here) {
            // It was answered before we heard that it came.
            return;
        }
        if !was_read {
            self.queue.insert(key);
        }
        if let Some(waiter) = waiter {
            self.waiters.insert(key, waiter);
        }
        self.wake();
    }

    /// The next request for this listener, if there is one that it may have now.
    pub(super) fn take(&mut self, id: u64, now: Timestamp) -> Option<ReceivedKey> {
        if self.reading.is_some() {
            return None;
        }
        let head = *self.queue.first()?;
        if let Some(until) = self.serial_until {
            let earlier = |key: &ReceivedKey| *key <= until;
            if earlier(&head) || self.sent.keys().any(earlier) {
                if !self.sent.is_empty() {
                    return None;
                }
            } else {
                self.serial_until = None;
            }
        }
        let mine = self.in_flight(id);
        let has_room = |seat: &Seat| seat.ready && mine < seat.who.in_flight_max;
        if !self
            .seats
            .iter()
            .any(|seat| seat.id == id && has_room(seat))
        {
            return None;
        }
        if let Some(freer) = self.freer(id, mine) {
            // It may have looked when it was not yet its turn.
            freer.wake.notify_one();
            return None;
        }
        self.queue.pop_first();
        let asked = Sent {
            seat: id,
            at: now,
            took: Stopwatch::default(),
            settled: false,
        };
        self.sent.insert(head, asked);
        if let Some(seat) = self.seat(id) {
            seat.forwarded += 1;
        }
        Some(head)
    }

    /// Another that has room, and fewer requests than `mine`.
    fn freer(&self, id: u64, mine: usize) -> Option<&Seat> {
        self.seats.iter().find(|other| {
            let theirs = self.in_flight(other.id);
            let has_room = other.ready && theirs < other.who.in_flight_max;
            other.id != id && has_room && theirs < mine
        })
    }

    /// It could not be given to its listener now: it is the next again.
    pub(super) fn give_back(&mut self, key: ReceivedKey) {
        if self.sent.remove(&key).is_some() {
            self.queue.insert(key);
        }
    }

    /// It is no longer kept: nobody can have it.
    pub(super) fn drop_request(&mut self, key: ReceivedKey) -> Option<W> {
        self.sent.remove(&key);
        self.queue.remove(&key);
        self.waiters.remove(&key)
    }

    /// A listener answered. `None` when it was not asked, or has answered.
    ///
    /// Until [`noted`](Self::noted), nobody is sent the request again.
    pub(super) fn answered(&mut self, id: u64, key: ReceivedKey) -> Option<Match<W>> {
        if self.sent.get(&key)?.seat != id {
            return None;
        }
        let sent = self.sent.remove(&key)?;
        self.noting.insert(key);
        self.wake();
        Some(Match {
            took: sent.took.elapsed(),
            waiter: self.waiters.remove(&key),
        })
    }

    /// Its sender waits no longer.
    pub(super) fn give_up(&mut self, key: ReceivedKey) -> GivenUp {
        self.waiters.remove(&key);
        let is_noting = self.is_noting(key);
        let seats = &self.seats;
        let Some(sent) = self.sent.get_mut(&key) else {
            return if is_noting {
                GivenUp::Soon
            } else {
                GivenUp::Kept
            };
        };
        let heard_since = seats
            .iter()
            .any(|seat| seat.id == sent.seat && seat.heard > sent.at);
        if !heard_since || sent.settled {
            // It may be away already, without our knowing.
            return GivenUp::Kept;
        }
        sent.settled = true;
        self.noting.insert(key);
        GivenUp::Late
    }

    /// What this listener has had for longer than `limit`, which will not be
    /// answered any more. Each is to be noted but those that are already.
    ///
    /// What it was sent and was not heard of since is not among it: it may be
    /// away already, and then this waits again.
    pub(super) fn overdue(
        &mut self,
        id: u64,
        limit: Duration,
        now: Timestamp,
    ) -> Vec<(ReceivedKey, Option<W>)> {
        let Some(heard) = self.seat(id).map(|seat| seat.heard) else {
            return Vec::new();
        };
        let over = |_: &ReceivedKey, sent: &mut Sent| {
            sent.seat == id && heard > sent.at && now.since(sent.at) > limit
        };
        let over: Vec<_> = self.sent.extract_if(over).collect();
        let mut unanswered = Vec::new();
        for (key, sent) in over {
            if !sent.settled {
                self.noting.insert(key);
                unanswered.push((key, self.waiters.remove(&key)));
            }
        }
        self.wake();
        unanswered
    }

    /// Whether what became of a request is being written.
    pub(super) fn is_noting(&self, key: ReceivedKey) -> bool {
        self.noting.contains(&key)
    }

    /// What became of a request is on disk, or cannot be written.
    pub(super) fn noted(&mut self, key: ReceivedKey) {
        self.noting.remove(&key);
    }

    /// Everybody who waits: the inbox is gone.
    pub(super) fn take_waiters(&mut self) -> impl Iterator<Item = W> {
        self.waiters.drain().map(|(_, waiter)| waiter)
    }

    /// Sends everybody who waits away, unless somebody listens again.
    pub(super) fn stop_waiting(&mut self) {
        if self.seats.is_empty() {
            self.waiters.clear();
        }
    }

    pub(super) fn seat(&mut self, id: u64) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.id == id)
    }

    /// Requests that this listener has.
    pub(super) fn in_flight(&self, id: u64) -> usize {
        self.sent.values().filter(|sent| sent.seat == id).count()
    }

    /// Requests that wait to be sent.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    fn wake(&self) {
        for seat in &self.seats {
            seat.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::domain::ids::Key;

    const T: Timestamp = Timestamp(1_000_000);

    fn lane() -> Lane<u32> {
        Lane::new(EnvironmentKey::from_u64(1), "c_0123456789".to_owned())
    }

    fn who(in_flight_max: usize) -> Who {
        Who {
            client: String::new(),
            peer: None,
            keyed: true,
            session: None,
            shares: true,
            in_flight_max,
        }
    }

    fn key(number: u64) -> ReceivedKey {
        ReceivedKey::from_u64(number)
    }

    fn take(lane: &mut Lane<u32>, seat: u64) -> Option<u64> {
        lane.take(seat, T).map(Key::as_u64)
    }

    #[test]
    fn what_waited_goes_one_by_one_and_then_many_at_once() {
        let mut lane = lane();
        assert!(lane.sit(1, who(9), T));
        lane.kept(key(7), Some(7), T);
        assert_eq!(take(&mut lane, 1), None, "it is not ready");
        lane.ready(1, &[key(4), key(5)]);
        assert_eq!(take(&mut lane, 1), Some(4));
        assert_eq!(take(&mut lane, 1), None);
        assert!(lane.answered(1, key(4)).is_some());
        assert_eq!(take(&mut lane, 1), Some(5));
        assert_eq!(take(&mut lane, 1), None, "7 comes after 5 is answered");
        lane.kept(key(8), None, T);
        assert_eq!(take(&mut lane, 1), None);
        assert!(lane.answered(1, key(5)).is_some());
        assert_eq!(take(&mut lane, 1), Some(7));
        assert_eq!(take(&mut lane, 1), Some(8));
        assert_eq!(take(&mut lane, 1), None);
        assert_eq!(lane.answered(1, key(7)).unwrap().waiter, Some(7));
    }

    #[test]
    fn an_answer_counts_once_and_only_from_who_was_asked() {
        let mut lane = lane();
        lane.sit(1, who(9), T);
        lane.ready(1, &[]);
        lane.sit(2, who(9), T);
        lane.ready(2, &[]);
        lane.kept(key(1), Some(1), T);
        assert_eq!(take(&mut lane, 1), Some(1));
        assert!(lane.answered(2, key(1)).is_none());
        assert!(lane.answered(1, key(2)).is_none());
        assert!(lane.answered(1, key(1)).is_some());
        assert!(lane.answered(1, key(1)).is_none());
    }

    #[test]
    fn who_leaves_gives_back_what_it_had() {
        let mut lane = lane();
        lane.sit(1, who(9), T);
        lane.ready(1, &[]);
        lane.kept(key(1), Some(1), T);
        lane.kept(key(2), Some(2), T);
        assert_eq!(take(&mut lane, 1), Some(1));
        assert!(lane.leave(1, T));
        assert!(!lane.leave(1, T));
        assert!(!lane.is_empty(), "two wait");
        assert!(lane.sit(2, who(9), T));
        lane.ready(2, &[key(1), key(2)]);
        assert_eq!(take(&mut lane, 2), Some(1));
        assert_eq!(lane.answered(2, key(1)).unwrap().waiter, Some(1));
    }

    #[test]
    fn what_was_answered_is_not_sent_again_though_the_disk_does_not_know_yet() {
        let mut lane = lane();
        lane.sit(1, who(9), T);
        lane.ready(1, &[]);
        lane.kept(key(1), Some(1), T);
        assert_eq!(take(&mut lane, 1), Some(1));
        assert!(lane.answered(1, key(1)).is_some());
        lane.leave(1, T);
        assert!(!lane.is_empty(), "it is being noted");
        lane.sit(2, who(9), T);
        lane.ready(2, &[key(1)]);
        assert_eq!(take(&mut lane, 2), None);
        lane.noted(key(1));
        // The commit is told late, of something that was read and answered.
        lane.kept(key(1), Some(9), T);
        assert_eq!(take(&mut lane, 2), None);
    }

    #[test]
    fn nobody_gets_anything_new_before_what_waits_is_read() {
        let mut lane = lane();
        assert!(lane.sit(1, who(9), T));
        assert!(!lane.sit(2, who(9), T));
        lane.ready(2, &[]);
        lane.kept(key(7), None, T);
        assert_eq!(take(&mut lane, 2), None);
        assert_eq!(lane.read_again(), None, "it is being read");
        // Who was reading goes: somebody else has to.
        lane.leave(1, T);
        assert_eq!(lane.read_again(), Some(2));
        assert_eq!(lane.read_again(), None);
        assert_eq!(take(&mut lane, 2), None);
        lane.ready(2, &[key(4), key(7)]);
        assert_eq!(take(&mut lane, 2), Some(4));
    }

    #[test]
    fn what_is_read_again_is_not_sent_again() {
        let mut lane = lane();
        lane.sit(1, who(9), T);
        lane.ready(1, &[]);
        for number in [1, 2, 3] {
            lane.kept(key(number), None, T);
        }
        assert_eq!(take(&mut lane, 1), Some(1));
        assert_eq!(take(&mut lane, 1), Some(2));
        assert!(lane.answered(1, key(1)).is_some());
        assert_eq!(lane.read_again(), None, "nothing is in doubt");
        lane.doubt();
        assert_eq!(lane.read_again(), Some(1));
        // Both are settled after the disk was read, and before that is heard.
        lane.noted(key(1));
        assert!(lane.answered(1, key(2)).is_some());
        lane.noted(key(2));
        lane.ready(1, &[key(1), key(2), key(3), key(5)]);
        assert_eq!(take(&mut lane, 1), Some(3));
        assert!(lane.answered(1, key(3)).is_some());
        assert_eq!(take(&mut lane, 1), Some(5));
        assert_eq!(take(&mut lane, 1), None);
    }

    #[test]
    fn listeners_that_share_take_turns() {
        let mut lane = lane();
        lane.sit(1, who(9), T);
        lane.ready(1, &[]);
        lane.sit(2, who(2), T);
        lane.ready(2, &[]);
        for number in 1..=6 {
            lane.kept(key(number), None, T);
        }
        assert_eq!(take(&mut lane, 1), Some(1));
        assert_eq!(take(&mut lane, 1), None, "the other is freer");
        assert_eq!(take(&mut lane, 2), Some(2));
        assert_eq!(take(&mut lane, 2), Some(3));
        assert_eq!(take(&mut lane, 2), None, "it has two");
        assert_eq!(take(&mut lane, 1), Some(4));
        assert_eq!(take(&mut lane, 1), Some(5));
        assert_eq!(take(&mut lane, 1), Some(6), "the other has no room");
    }

    #[test]
    fn who_lets_another_go_first_wakes_it() {
        let mut lane = lane();
        for seat in [1, 2] {
            lane.sit(seat, who(9), T);
            lane.ready(seat, &[]);
        }
        for number in 1..=4 {
            lane.kept(key(number), None, T);
        }
        let woken = |lane: &mut Lane<u32>, seat| {
            let wake = Arc::clone(&lane.seat(seat).unwrap().wake);
            wake.notified().now_or_never().is_some()
        };
        assert!(woken(&mut lane, 1) && woken(&mut lane, 2));
        assert_eq!(take(&mut lane, 1), Some(1));
        assert_eq!(take(&mut lane, 1), None, "the other is freer");
        assert_eq!(take(&mut lane, 2), Some(2));
        assert_eq!(take(&mut lane, 2), Some(3));
        assert_eq!(take(&mut lane, 2), None, "the other is freer");
        assert!(woken(&mut lane, 1), "or nobody takes what is left");
        assert_eq!(take(&mut lane, 1), Some(4));
    }

    #[test]
    fn senders_are_told_the_truth_when_their_time_is_over() {
        let mut lane = lane();
        lane.sit(1, who(1), T);
        lane.ready(1, &[]);
        lane.kept(key(1), Some(1), T);
        lane.kept(key(2), Some(2), T);
        assert_eq!(take(&mut lane, 1), Some(1));
        assert_eq!(lane.give_up(key(2)), GivenUp::Kept, "it was not sent");
        assert_eq!(
            lane.give_up(key(1)),
            GivenUp::Kept,
            "nothing was heard since"
        );
        lane.seat(1).unwrap().heard = T.plus(Duration::from_secs(1));
        assert_eq!(lane.give_up(key(1)), GivenUp::Late);
        lane.noted(key(1));
        let matched = lane.answered(1, key(1)).unwrap();
        assert_eq!(matched.waiter, None);
        lane.noted(key(1));
        assert_eq!(take(&mut lane, 1), Some(2));
        let limit = Duration::from_secs(3);
        let now = T.plus(Duration::from_secs(4));
        assert!(lane.overdue(1, limit, T).is_empty());
        assert_eq!(lane.overdue(1, limit, now), [(key(2), None)]);
        assert!(lane.answered(1, key(2)).is_none());
    }

    #[test]
    fn what_was_promised_to_be_kept_is_not_given_up_on() {
        let mut lane = lane();
        lane.sit(1, who(1), T);
        lane.ready(1, &[]);
        lane.kept(key(1), Some(1), T);
        assert_eq!(take(&mut lane, 1), Some(1));
        assert_eq!(lane.give_up(key(1)), GivenUp::Kept);
        let limit = Duration::from_secs(3);
        let now = T.plus(Duration::from_secs(4));
        assert!(
            lane.overdue(1, limit, now).is_empty(),
            "it may be away already"
        );
        lane.leave(1, now);
        lane.sit(2, who(1), now);
        lane.ready(2, &[key(1)]);
        assert_eq!(take(&mut lane, 2), Some(1));
    }

    #[test]
    fn an_answer_that_is_being_noted_is_waited_for() {
        let mut lane = lane();
        lane.sit(1, who(1), T);
        lane.ready(1, &[]);
        lane.kept(key(1), Some(1), T);
        assert_eq!(take(&mut lane, 1), Some(1));
        assert!(lane.answered(1, key(1)).is_some());
        assert_eq!(lane.give_up(key(1)), GivenUp::Soon);
        lane.noted(key(1));
        assert_eq!(lane.give_up(key(1)), GivenUp::Kept);
    }

    #[test]
    fn what_is_being_noted_is_not_sent_again_though_it_is_told_late() {
        let mut lane = lane();
        lane.sit(1, who(1), T);
        lane.ready(1, &[key(1)]);
        assert_eq!(take(&mut lane, 1), Some(1));
        assert!(lane.answered(1, key(1)).is_some());
        lane.leave(1, T);
        lane.sit(2, who(1), T);
        // Told before this one has read what waits.
        lane.kept(key(1), Some(1), T);
        lane.ready(2, &[key(1)]);
        assert_eq!(take(&mut lane, 2), None);
    }

    #[test]
    fn who_left_before_it_was_ready_brings_nothing_back() {
        let mut lane = lane();
        lane.sit(1, who(9), T);
        lane.leave(1, T);
        lane.sit(2, who(9), T);
        lane.ready(2, &[key(1)]);
        assert_eq!(take(&mut lane, 2), Some(1));
        assert!(lane.answered(2, key(1)).is_some());
        lane.noted(key(1));
        lane.ready(1, &[key(1)]);
        assert_eq!(take(&mut lane, 2), None);
    }

    #[test]
    fn nobody_waits_for_a_listener_that_is_long_away() {
        let mut lane = lane();
        lane.sit(1, who(1), T);
        lane.ready(1, &[]);
        lane.leave(1, T);
        lane.kept(key(1), Some(1), T.plus(RETURN_WAIT));
        assert!(lane.is_empty());
        lane.kept(key(2), Some(2), T);
        assert!(!lane.is_empty());
        lane.stop_waiting();
        assert!(lane.is_empty());
    }
}
