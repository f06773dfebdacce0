//! Which delivery goes next.
//!
//! Every endpoint has a lane: its own queue on disk, of which a bounded window
//! is in memory, its own cap on what is in flight, its own rate limit and
//! circuit breaker. Lanes take turns. So a dead endpoint with a million waiting
//! deliveries costs its lane's window, and nobody else anything.
//!
//! Everything here is memory and decisions; time is handed in. What is in
//! flight stays due on disk until it is recorded: after a crash it is found and
//! sent again.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::send::Prepared;
use crate::domain::breaker::{Signal, Throttle};
use crate::domain::delivery::Trigger;
use crate::domain::ids::{EndpointKey, Key as _, MessageKey};
use crate::domain::message::Message;
use crate::domain::time::Timestamp;
use crate::seams::mutant::{self, Mutant};
use crate::store::DueRow;

/// Rows of one lane in memory at most.
const WINDOW: usize = 256;
/// A lane with fewer rows in memory reads more.
const WINDOW_LOW: usize = 64;
/// Lanes kept although nothing waits in them, for what they have learnt.
const IDLE_LANES_MAX: usize = 20_000;
/// Payload bytes that all lanes keep in memory, to spare a read; beyond it
/// only keys are kept.
const CONTENT_BYTES_MAX: usize = 16 << 20;

/// A message and its payload.
pub(super) type Content = Arc<(Message, Bytes)>;

/// One attempt to make.
pub(super) struct Dispatch {
    pub endpoint: Arc<Prepared>,
    pub message: MessageKey,
    pub due: Timestamp,
    pub trigger: Trigger,
    /// `None`: read it.
    pub content: Option<Content>,
}

/// Rows that a lane wants from the disk.
pub(super) struct Wanted {
    pub endpoint: EndpointKey,
    pub take: usize,
}

struct Ready {
    message: MessageKey,
    due: Timestamp,
    trigger: Trigger,
    content: Option<Content>,
}

#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each marks membership or knowledge of its own"
)]
struct Lane {
    ready: VecDeque<Ready>,
    /// Messages that are ready, in flight, or waiting to be recorded.
    held: HashSet<MessageKey>,
    flying: HashSet<MessageKey>,
    throttle: Throttle,
    /// What sending needs; `None` until it is asked for, or after a change.
    prepared: Option<Arc<Prepared>>,
    /// Those that were made due again while they were held: to be read anew.
    again: HashSet<MessageKey>,
    /// When the rate limit lets the next one go, in microseconds.
    rate_next_us: u64,
    /// There may be due rows on disk that are not in memory.
    unread: bool,
    /// A row was committed since the last read began.
    missed: bool,
    /// The endpoint was deleted: the lane goes when nothing flies any more.
    gone: bool,
    /// The lane is in `turns`.
    in_turn: bool,
    /// The lane is in `reads`.
    in_reads: bool,
    /// When the lane is looked at again, if nothing else happens.
    timer: Option<Timestamp>,
}

/// How far a lane may fall behind its rate limit and catch up, in microseconds.
const RATE_BURST_US: u64 = 50_000;

impl Lane {
    /// Counts one more against the rate limit, or says when the next may go.
    fn over_rate(&mut self, per_second: u32, now: Timestamp) -> Option<Timestamp> {
        let now_us = now.0 * 1000;
        let interval_us = 1_000_000 / u64::from(per_second.max(1));
        self.rate_next_us = self
            .rate_next_us
            .clamp(now_us.saturating_sub(RATE_BURST_US), now_us + interval_us);
        if self.rate_next_us > now_us {
            return Some(Timestamp(self.rate_next_us.div_ceil(1000)));
        }
        self.rate_next_us += interval_us;
        None
    }
}

/// What a lane's endpoint is at the moment.
pub(super) enum Destination {
    /// It can be sent to.
    Open(Arc<Prepared>),
    /// It is paused or disabled.
    Held,
    /// It was deleted.
    Gone,
    /// The store could not say: ask again later.
    Unknown { ask_again: Timestamp },
}

/// All lanes.
pub(super) struct Scheduler {
    lanes: HashMap<EndpointKey, Lane>,
    turns: VecDeque<EndpointKey>,
    reads: VecDeque<EndpointKey>,
    unprepared: VecDeque<EndpointKey>,
    timers: BTreeSet<(Timestamp, EndpointKey)>,
    in_flight: usize,
    in_flight_max: usize,
    content_bytes: usize,
    /// A timer was set that is earlier than all before.
    new_timer: bool,
    /// What the wall clock showed last.
    now: Timestamp,
}

impl Scheduler {
    pub(super) fn new(in_flight_max: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            reads: VecDeque::new(),
            unprepared: VecDeque::new(),
            timers: BTreeSet::new(),
            in_flight: 0,
            in_flight_max,
            content_bytes: 0,
            new_timer: false,
            now: Timestamp(0),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn is_in_flight(&self, endpoint: EndpointKey, message: MessageKey) -> bool {
        self.lanes
            .get(&endpoint)
            .is_some_and(|lane| lane.flying.contains(&message))
    }

    /// Whether this delivery is in memory already.
    pub(super) fn holds(&self, endpoint: EndpointKey, message: MessageKey) -> bool {
        self.lanes
            .get(&endpoint)
            .is_some_and(|lane| lane.held.contains(&message))
    }

    /// A due row was committed.
    pub(super) fn waiting(
        &mut self,
        endpoint: EndpointKey,
        message: MessageKey,
        due: Timestamp,
        trigger: Trigger,
        content: Option<Content>,
        now: Timestamp,
    ) {
        self.lane(endpoint);
        if due > now {
            return self.set_timer(endpoint, due);
        }
        self.forget_ready(endpoint, message);
        let room_for_content = self.content_bytes < CONTENT_BYTES_MAX;
        let lane = self.lanes.get_mut(&endpoint).expect("made above");
        if lane.held.contains(&message) {
            lane.again.insert(message);
            return;
        }
        let complete = !lane.unread && lane.ready.len() < WINDOW;
        let jumps = trigger == Trigger::Manual && lane.ready.len() < WINDOW;
        if !(complete || jumps) {
            lane.unread = true;
            lane.missed = true;
            return self.want_rows(endpoint);
        }
        let content = content.filter(|_| room_for_content);
        self.content_bytes += content.as_ref().map_or(0, |content| content.1.len());
        lane.held.insert(message);
        let ready = Ready {
            message,
            due,
            trigger,
            content,
        };
        match trigger {
            Trigger::Manual => lane.ready.push_front(ready),
            Trigger::Scheduled => lane.ready.push_back(ready),
        }
        self.enter_turns(endpoint);
    }

    /// A job made deliveries due. They are read from the disk, in the order of
    /// the queue: behind what was due before, and in front of nothing.
    pub(super) fn fed(&mut self, endpoint: EndpointKey, messages: &[MessageKey]) {
        self.lane(endpoint);
        for &message in messages {
            self.forget_ready(endpoint, message);
            if let Some(lane) = self.lanes.get_mut(&endpoint)
                && lane.held.contains(&message)
            {
                lane.again.insert(message);
            }
        }
        let lane = self.lanes.get_mut(&endpoint).expect("made above");
        lane.unread = true;
        lane.missed = true;
        self.want_rows(endpoint);
    }

    /// A delivery is not to be made any more.
    pub(super) fn cancelled(&mut self, endpoint: EndpointKey, message: MessageKey) {
        self.forget_ready(endpoint, message);
    }

    /// How many deliveries it makes sense to add to an endpoint's queue, as its
    /// circuit breaker sees it: none while the circuit is open, then a probe.
    pub(super) fn appetite(&self, endpoint: EndpointKey, now: Timestamp) -> usize {
        let Some(lane) = self.lanes.get(&endpoint) else {
            return usize::MAX;
        };
        match lane.throttle.opens_again() {
            None => usize::MAX,
            Some(_) => usize::from(lane.throttle.allowed(now)),
        }
    }

    /// Takes a delivery out of the queue whose row has been replaced: it is not
    /// to be sent for both.
    fn forget_ready(&mut self, endpoint: EndpointKey, message: MessageKey) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else {
            return;
        };
        if !lane.held.contains(&message) || lane.flying.contains(&message) {
            return;
        }
        if let Some(at) = lane.ready.iter().position(|row| row.message == message)
            && let Some(row) = lane.ready.remove(at)
        {
            lane.held.remove(&message);
            self.content_bytes -= row.content.as_ref().map_or(0, |content| content.1.len());
        }
    }

    /// At start: an endpoint has rows on disk, the first of them due then.
    pub(super) fn on_disk(&mut self, endpoint: EndpointKey, due: Timestamp) {
        self.lane(endpoint);
        self.set_timer(endpoint, due);
    }

    /// An endpoint's settings or state changed.
    pub(super) fn reconsider(&mut self, endpoint: EndpointKey) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else {
            return;
        };
        lane.prepared = None;
        lane.unread = true;
        self.unprepared.push_back(endpoint);
    }

    /// Any endpoint may have changed, and any row may be there or not, without
    /// a word: the store was opened anew, or an environment is gone.
    pub(super) fn reconsider_all(&mut self) {
        let mut endpoints: Vec<EndpointKey> = self.lanes.keys().copied().collect();
        endpoints.sort_unstable();
        for endpoint in endpoints {
            self.reconsider(endpoint);
        }
    }

    /// A lane that needs to know its endpoint before it can send.
    pub(super) fn unprepared(&mut self) -> Option<EndpointKey> {
        self.unprepared.pop_front()
    }

    /// What that lane's endpoint is.
    pub(super) fn prepared(&mut self, endpoint: EndpointKey, destination: Destination) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else {
            return;
        };
        lane.unread = true;
        lane.missed = true;
        match destination {
            Destination::Open(prepared) => {
                lane.prepared = Some(prepared);
                self.enter_turns(endpoint);
                return self.want_rows(endpoint);
            }
            Destination::Unknown { ask_again } => return self.set_timer(endpoint, ask_again),
            Destination::Held | Destination::Gone => {}
        }
        // What was ready stays on disk; the lane comes back with the endpoint's
        // next change, or not at all.
        lane.gone = matches!(destination, Destination::Gone);
        let ready = std::mem::take(&mut lane.ready);
        for row in &ready {
            lane.held.remove(&row.message);
            self.content_bytes -= row.content.as_ref().map_or(0, |content| content.1.len());
        }
        if let Some(due) = lane.timer.take() {
            self.timers.remove(&(due, endpoint));
        }
        self.forget_if_gone(endpoint);
    }

    fn forget_if_gone(&mut self, endpoint: EndpointKey) {
        if self
            .lanes
            .get(&endpoint)
            .is_some_and(|lane| lane.gone && lane.flying.is_empty())
        {
            self.lanes.remove(&endpoint);
        }
    }

    /// The next attempt to make, if one may start now.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<Dispatch> {
        if self.in_flight >= self.in_flight_max {
            return None;
        }
        for _ in 0..self.turns.len() {
            let endpoint = self.turns.pop_front()?;
            if let Some(lane) = self.lanes.get_mut(&endpoint) {
                lane.in_turn = false;
            }
            if let Some(dispatch) = self.take_from(endpoint, now) {
                return Some(dispatch);
            }
        }
        None
    }

    fn take_from(&mut self, endpoint: EndpointKey, now: Timestamp) -> Option<Dispatch> {
        let lane = self.lanes.get_mut(&endpoint)?;
        let prepared = lane.prepared.clone()?;
        let manual = lane.ready.front()?.trigger == Trigger::Manual;
        let allowed = usize::from(lane.throttle.allowed(now)).max(usize::from(manual));
        if lane.flying.len() >= allowed && !mutant::active(Mutant::NoLaneCap) {
            if let Some(until) = lane.throttle.opens_again().filter(|until| *until > now) {
                self.set_timer(endpoint, until);
            }
            return None;
        }
        if let Some(rate) = prepared.rate_limit
            && let Some(next) = lane.over_rate(rate, now)
        {
            self.set_timer(endpoint, next);
            return None;
        }
        let ready = lane.ready.pop_front()?;
        lane.flying.insert(ready.message);
        let more = !lane.ready.is_empty();
        self.in_flight += 1;
        self.content_bytes -= ready.content.as_ref().map_or(0, |content| content.1.len());
        if more {
            self.enter_turns(endpoint);
        }
        self.want_rows(endpoint);
        Some(Dispatch {
            endpoint: prepared,
            message: ready.message,
            due: ready.due,
            trigger: ready.trigger,
            content: ready.content,
        })
    }

    /// An attempt ended: its slot is free, though it is not recorded yet.
    /// `hold` is how long the response asked to wait.
    pub(super) fn finished(
        &mut self,
        endpoint: EndpointKey,
        message: MessageKey,
        signal: Signal,
        hold: Option<Duration>,
        now: Timestamp,
    ) {
        self.leave_flight(endpoint, message);
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.throttle.learn(signal, now);
            if let Some(hold) = hold {
                lane.throttle.hold_until(now.plus(hold));
            }
        }
        self.enter_turns(endpoint);
    }

    /// An attempt was not made, because the endpoint does not send now. Its
    /// row is read again when the endpoint does.
    pub(super) fn postponed(&mut self, endpoint: EndpointKey, message: MessageKey) {
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.again.insert(message);
        }
        self.dropped(endpoint, message);
    }

    /// An attempt was not made after all: its row was out of date.
    pub(super) fn dropped(&mut self, endpoint: EndpointKey, message: MessageKey) {
        self.leave_flight(endpoint, message);
        self.recorded(endpoint, message);
        self.enter_turns(endpoint);
    }

    fn leave_flight(&mut self, endpoint: EndpointKey, message: MessageKey) {
        if let Some(lane) = self.lanes.get_mut(&endpoint)
            && lane.flying.remove(&message)
        {
            self.in_flight -= 1;
            self.forget_if_gone(endpoint);
        }
    }

    /// An attempt was recorded: what the disk says about this delivery now counts.
    pub(super) fn recorded(&mut self, endpoint: EndpointKey, message: MessageKey) {
        let many = self.lanes.len() > IDLE_LANES_MAX;
        let Some(lane) = self.lanes.get_mut(&endpoint) else {
            return;
        };
        lane.held.remove(&message);
        if lane.again.remove(&message) {
            lane.unread = true;
            lane.missed = true;
        }
        if lane.unread {
            self.want_rows(endpoint);
        } else if many && lane.held.is_empty() && lane.timer.is_none() {
            self.lanes.remove(&endpoint);
        }
    }

    /// Lets the lanes whose time has come look at their queues: all of them when
    /// the clock was set back, for what they waited for has another time now.
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.new_timer = false;
        let set_back = now < self.now;
        self.now = now;
        let mut timers = std::mem::take(&mut self.timers);
        if !set_back {
            let after = (Timestamp(now.0.saturating_add(1)), EndpointKey::from_u64(0));
            self.timers = timers.split_off(&after);
        }
        for (_, endpoint) in timers {
            self.look_again(endpoint);
        }
    }

    fn look_again(&mut self, endpoint: EndpointKey) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else {
            return;
        };
        lane.timer = None;
        lane.unread = true;
        lane.missed = true;
        if lane.prepared.is_none() {
            self.unprepared.push_back(endpoint);
        }
        self.want_rows(endpoint);
        self.enter_turns(endpoint);
    }

    /// The next lane that wants rows from the disk.
    pub(super) fn wants_rows(&mut self) -> Option<Wanted> {
        while let Some(endpoint) = self.reads.pop_front() {
            let Some(lane) = self.lanes.get_mut(&endpoint) else {
                continue;
            };
            lane.in_reads = false;
            if lane.unread && lane.prepared.is_some() && lane.ready.len() <= WINDOW_LOW {
                lane.missed = false;
                return Some(Wanted {
                    endpoint,
                    take: WINDOW - lane.ready.len(),
                });
            }
        }
        None
    }

    /// What was read for a lane, and when the row after that is due.
    pub(super) fn loaded(
        &mut self,
        endpoint: EndpointKey,
        rows: &[DueRow],
        next: Option<Timestamp>,
    ) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else {
            return;
        };
        lane.unread = lane.missed;
        for row in rows {
            if lane.held.insert(row.message) {
                lane.ready.push_back(Ready {
                    message: row.message,
                    due: row.due,
                    trigger: row.trigger,
                    content: None,
                });
            }
        }
        if let Some(due) = next {
            let full = lane.ready.len() >= WINDOW;
            if full {
                lane.unread = true;
            } else {
                self.set_timer(endpoint, due);
            }
        }
        self.want_rows(endpoint);
        self.enter_turns(endpoint);
    }

    /// Reading failed: look again then.
    pub(super) fn read_failed(&mut self, endpoint: EndpointKey, again: Timestamp) {
        self.set_timer(endpoint, again);
    }

    /// Whether [`take`](Self::take), or whoever prepares lanes and reads rows
    /// for it, has something to look at.
    pub(super) fn has_work(&self) -> bool {
        !self.turns.is_empty() || !self.unprepared.is_empty() || self.wants_attention()
    }

    /// Whether the task that reads and waits has something new to do.
    pub(super) fn wants_attention(&self) -> bool {
        self.new_timer || !self.reads.is_empty()
    }

    /// When the next lane is to be looked at.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _)| *due)
    }

    fn lane(&mut self, endpoint: EndpointKey) {
        if let std::collections::hash_map::Entry::Vacant(e) = self.lanes.entry(endpoint) {
            e.insert(Lane::default());
            self.unprepared.push_back(endpoint);
        }
    }

    fn enter_turns(&mut self, endpoint: EndpointKey) {
        if let Some(lane) = self.lanes.get_mut(&endpoint)
            && !lane.in_turn
            && !lane.ready.is_empty()
        {
            lane.in_turn = true;
            self.turns.push_back(endpoint);
        }
    }

    fn want_rows(&mut self, endpoint: EndpointKey) {
        if let Some(lane) = self.lanes.get_mut(&endpoint)
            && lane.unread
            && !lane.in_reads
            && lane.ready.len() <= WINDOW_LOW
        {
            lane.in_reads = true;
            self.reads.push_back(endpoint);
        }
    }

    fn set_timer(&mut self, endpoint: EndpointKey, due: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else {
            return;
        };
        match lane.timer {
            Some(earlier) if earlier <= due => return,
            Some(later) => {
                self.timers.remove(&(later, endpoint));
            }
            None => {}
        }
        lane.timer = Some(due);
        self.timers.insert((due, endpoint));
        self.new_timer |= self.timers.first() == Some(&(due, endpoint));
    }
}
