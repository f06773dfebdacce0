//! What must hold, judged from a ledger that no crash can touch.
//!
//! The ledger is told of every verb that was asked for and answered, and of
//! every request that an endpoint saw. It knows nothing of the store's layout
//! and nothing of the engine's decisions: only what was promised to whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hookpost::domain::breaker::IN_FLIGHT_MAX;
use hookpost::domain::delivery::{Delivery, DeliveryState};
use hookpost::domain::endpoint::LiveEndpoint;
use hookpost::domain::ids::{ApplicationKey, EndpointKey, Ids, Key as _, MessageKey};
use hookpost::domain::signing::{Headers, VerifyKey, verify_standard};
use hookpost::domain::time::Timestamp;
use hookpost::engine::transport::OutboundRequest;
use hookpost::seams::clock::Clock as _;
use hookpost::store::Store;

use super::transport::{Script, endpoint_url, number_in};
use crate::support::clock::SimClock;

/// Lines of the trace that a failure shows.
const TRACE_SHOWN: usize = 400;
/// How much a lane may be ahead of its rate limit: half a tenth of a second.
const RATE_BURST_US: u64 = 50_000;

/// An application, as the ledger knows it.
#[derive(Debug, Default)]
pub(super) struct AppFacts {
    pub(super) key: Option<ApplicationKey>,
    pub(super) deleted: bool,
    /// Its deletion was asked for, and no clear answer has come (yet).
    pub(super) deletion_asked: bool,
    pub(super) is_busy: bool,
}

/// An endpoint, as the ledger knows it.
#[derive(Debug)]
pub(super) struct EndpointFacts {
    pub(super) app: usize,
    pub(super) key: Option<EndpointKey>,
    verify: Vec<VerifyKey>,
    pub(super) script: Script,
    /// Requests that it got.
    pub(super) gets: u64,
    /// Changes of its settings that were asked for, and that were answered.
    pub(super) changes_asked: u32,
    pub(super) changes_made: u32,
    pub(super) deleted: bool,
    pub(super) deletion_asked: bool,
    /// A verb about it has not been answered.
    pub(super) is_busy: bool,
    /// As the last answer said; `None` after an answer that nobody got.
    pub(super) enabled: Option<bool>,
    pub(super) paused: Option<bool>,
    /// Since when nothing new may be sent to it.
    held_since: Option<Duration>,
    /// Attempts that any schedule it ever had allows, at most and at least.
    attempts_max: usize,
    attempts_min: usize,
    schedules: usize,
    wait_min: Duration,
    rate: Rate,
}

/// What is known of a rate limit, and how it was kept.
#[derive(Debug, Default)]
#[expect(
    clippy::option_option,
    reason = "not to know a limit is something else than to have none"
)]
struct Rate {
    /// `None`: not known for certain.
    limit: Option<Option<u32>>,
    /// When the next one may come, by time passed, in microseconds.
    next_us: u64,
}

/// A message that a producer posted.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) app: usize,
    pub(super) payload: Bytes,
    /// With an idempotency key: asked again until answered.
    pub(super) is_idempotent: bool,
    pub(super) asked_at: Timestamp,
    pub(super) is_busy: bool,
    /// The message that it became, once that was answered.
    pub(super) accepted: Option<MessageKey>,
    owed: BTreeSet<EndpointKey>,
}

impl Post {
    pub(super) fn new(
        app: usize,
        payload: Bytes,
        is_idempotent: bool,
        asked_at: Timestamp,
    ) -> Self {
        Self {
            app,
            payload,
            is_idempotent,
            asked_at,
            is_busy: false,
            accepted: None,
            owed: BTreeSet::new(),
        }
    }
}

/// A delivery, as endpoints and producers saw it.
#[derive(Debug, Default)]
struct DeliveryFacts {
    sends: u32,
    successes: u32,
    in_flight: bool,
    /// Sends that must be on disk: they ended, and then all was written.
    settled: u32,
    /// Attempts on disk when it was last looked at.
    recorded: u32,
    /// Sends whose record a crash took.
    lost: u32,
    last_start: u64,
    last_end: Duration,
    /// When the last failure ended by the wall clock, and for how long it asked to be left alone.
    failed_at: Option<(Timestamp, Duration)>,
    /// The send after which only a replay allows another.
    done_at: Option<(u64, Duration)>,
    replays: Vec<Replay>,
}

#[derive(Debug, Default)]
struct Replay {
    answered: Option<(u64, Duration)>,
    refused: bool,
}

impl Replay {
    /// Whether it may still lead to a send after the one that began at `seq`.
    fn is_since(&self, seq: u64, passed: Duration) -> bool {
        let after = |(answered, at)| answered > seq || at >= passed;
        !self.refused && self.answered.is_none_or(after)
    }
}

impl DeliveryFacts {
    /// Whether a replay may still lead to a send after the one that began at
    /// `seq`: one that was asked for by hand, or by a job of its endpoint.
    fn has_replay_since(&self, jobs: &[Replay], seq: u64, passed: Duration) -> bool {
        let mut all = self.replays.iter().chain(jobs);
        all.any(|replay| replay.is_since(seq, passed))
    }

    fn replays_granted(&self) -> usize {
        self.replays.iter().filter(|replay| !replay.refused).count()
    }
}

/// The jobs of one endpoint.
#[derive(Debug, Default)]
struct JobFacts {
    /// Each may send every delivery once more, until it was seen to have ended.
    replays: Vec<Replay>,
    /// Asked for and not answered.
    asked: usize,
}

/// See the module's text.
pub(super) struct Ledger {
    /// Time passed, whatever the wall clock says.
    pub(super) passed: Duration,
    pub(super) boot: u32,
    pub(super) wall_max: Timestamp,
    /// When the wall clock was set back, and from what.
    wall_peaks: Vec<(Duration, Timestamp)>,
    pub(super) retention: Duration,
    pub(super) sockets_max: usize,
    pub(super) store: Option<Store>,
    pub(super) ids: Option<Ids>,
    pub(super) apps: Vec<AppFacts>,
    pub(super) endpoints: Vec<EndpointFacts>,
    pub(super) posts: Vec<Post>,
    deliveries: BTreeMap<(MessageKey, EndpointKey), DeliveryFacts>,
    jobs: BTreeMap<EndpointKey, JobFacts>,
    became: BTreeMap<MessageKey, usize>,
    in_flight: BTreeMap<usize, usize>,
    violations: Vec<String>,
    seq: u64,
    trace_hash: u64,
    trace: VecDeque<String>,
}

pub(super) type SharedLedger = Arc<Mutex<Ledger>>;

/// The ledger, locked.
pub(super) fn lock(ledger: &SharedLedger) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub(super) fn new(retention: Duration, sockets_max: usize) -> Self {
        Self {
            passed: Duration::ZERO,
            boot: 0,
            wall_max: Timestamp(0),
            wall_peaks: Vec::new(),
            retention,
            sockets_max,
            store: None,
            ids: None,
            apps: Vec::new(),
            endpoints: Vec::new(),
            posts: Vec::new(),
            deliveries: BTreeMap::new(),
            jobs: BTreeMap::new(),
            became: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            violations: Vec::new(),
            seq: 0,
            trace_hash: 0xcbf2_9ce4_8422_2325,
            trace: VecDeque::new(),
        }
    }

    /// Adds a line to the trace.
    pub(super) fn note(&mut self, line: fmt::Arguments<'_>) {
        self.seq += 1;
        let line = format!("{:?} {line}", self.passed);
        for byte in line.bytes() {
            self.trace_hash = (self.trace_hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.trace.len() == TRACE_SHOWN {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    /// Lines of the trace so far: whether anything happens.
    pub(super) fn events(&self) -> u64 {
        self.seq
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.trace_hash
    }

    /// What must hold does not.
    pub(super) fn violated(&mut self, what: fmt::Arguments<'_>) {
        self.note(format_args!("VIOLATED: {what}"));
        self.violations.push(what.to_string());
    }

    /// What was violated, with what led to it; `None` while all is well.
    pub(super) fn verdict(&self) -> Option<String> {
        let first = self.violations.first()?;
        let trace: Vec<_> = self.trace.iter().map(String::as_str).collect();
        Some(format!("{first}\n{}", trace.join("\n")))
    }

    /// Loses power: what was in flight is gone, and unanswered verbs stay so.
    pub(super) fn crashed(&mut self) {
        self.note(format_args!("crash"));
        self.boot += 1;
        self.store = None;
        self.in_flight.clear();
        for delivery in self.deliveries.values_mut() {
            delivery.in_flight = false;
        }
        for jobs in self.jobs.values_mut() {
            jobs.asked = 0;
        }
        for post in &mut self.posts {
            post.is_busy = false;
        }
        for app in &mut self.apps {
            app.is_busy = false;
        }
        for endpoint in &mut self.endpoints {
            endpoint.is_busy = false;
            endpoint.rate.next_us = 0;
        }
    }

    /// The wall clock was set, which showed `before`: rate limits go by it.
    pub(super) fn wall_stepped(&mut self, before: Timestamp) {
        self.wall_peaks.push((self.passed, before));
        for endpoint in &mut self.endpoints {
            endpoint.rate.next_us = 0;
        }
    }

    /// The latest time that the wall clock, now `wall`, has shown since then:
    /// what was due once stays due when the clock is set back.
    fn wall_since(&self, since: Duration, wall: Timestamp) -> Timestamp {
        let peaks = self.wall_peaks.iter().filter(|(at, _)| *at >= since);
        peaks.map(|(_, peak)| *peak).fold(wall, Timestamp::max)
    }

    /// Adds an endpoint that is being made.
    pub(super) fn new_endpoint(&mut self, app: usize, script: Script) -> usize {
        self.endpoints.push(EndpointFacts {
            app,
            key: None,
            verify: Vec::new(),
            script,
            gets: 0,
            changes_asked: 0,
            changes_made: 0,
            deleted: false,
            deletion_asked: false,
            is_busy: true,
            enabled: None,
            paused: None,
            held_since: None,
            attempts_max: 0,
            schedules: 0,
            attempts_min: usize::MAX,
            wait_min: Duration::MAX,
            rate: Rate::default(),
        });
        self.endpoints.len() - 1
    }

    /// A schedule was asked for: from now on it may be in force.
    pub(super) fn schedule_asked(&mut self, endpoint: usize, schedule: &[Duration]) {
        let facts = &mut self.endpoints[endpoint];
        let attempts = schedule.len() + 1;
        facts.schedules += 1;
        facts.attempts_max = facts.attempts_max.max(attempts);
        facts.attempts_min = facts.attempts_min.min(attempts);
        let shortest = schedule.iter().copied().min().unwrap_or(Duration::MAX);
        facts.wait_min = facts.wait_min.min(shortest);
    }

    /// A change of settings was asked for: what it touches is not known until answered.
    pub(super) fn change_asked(&mut self, endpoint: usize, change: Asked) {
        self.note(format_args!("e{endpoint}: asked for {change:?}"));
        let facts = &mut self.endpoints[endpoint];
        facts.is_busy = true;
        facts.changes_asked += u32::from(!matches!(change, Asked::Deletion));
        match change {
            Asked::Enabled(on) => {
                facts.enabled = None;
                facts.held_since = facts.held_since.filter(|_| !on);
            }
            Asked::Paused(on) => {
                facts.paused = None;
                facts.held_since = facts.held_since.filter(|_| on);
            }
            Asked::Rate(_) => facts.rate.limit = None,
            Asked::Schedule => {}
            Asked::Deletion => facts.deletion_asked = true,
        }
    }

    /// That change was made.
    pub(super) fn change_made(&mut self, endpoint: usize, change: Asked) {
        self.note(format_args!("e{endpoint}: has {change:?}"));
        let passed = self.passed;
        let facts = &mut self.endpoints[endpoint];
        facts.changes_made += u32::from(!matches!(change, Asked::Deletion));
        match change {
            Asked::Enabled(on) => facts.enabled = Some(on),
            Asked::Paused(on) => facts.paused = Some(on),
            Asked::Rate(limit) => {
                facts.rate = Rate {
                    limit: Some(limit),
                    next_us: 0,
                }
            }
            Asked::Schedule => {}
            Asked::Deletion => facts.deleted = true,
        }
        let holds = matches!(change, Asked::Enabled(false) | Asked::Paused(true)) || facts.deleted;
        if holds {
            facts.held_since.get_or_insert(passed);
        }
    }

    /// An application was deleted, with its endpoints.
    pub(super) fn app_deleted(&mut self, app: usize) {
        self.note(format_args!("a{app}: deleted"));
        self.apps[app].deleted = true;
        let passed = self.passed;
        for endpoint in self.endpoints.iter_mut().filter(|e| e.app == app) {
            endpoint.deleted = true;
            endpoint.held_since.get_or_insert(passed);
        }
    }

    /// A post was answered with the message that it is.
    pub(super) fn accepted(&mut self, post: usize, message: MessageKey, count: Option<usize>) {
        self.note(format_args!("p{post}: accepted as {}", message.as_u64()));
        self.bind(message, post);
        if let Some(before) = self.posts[post].accepted.replace(message)
            && before != message
        {
            self.violated(format_args!("p{post} was answered with two messages"));
        }
        let Some(count) = count else { return };
        let Some(Ok(deliveries)) = self.store.as_ref().map(|store| store.deliveries(message))
        else {
            return;
        };
        let gone = self.apps[self.posts[post].app].deletion_asked;
        if deliveries.len() != count && !gone {
            self.violated(format_args!(
                "p{post} was said to be owed to {count}, but is to {}",
                deliveries.len()
            ));
        }
        self.posts[post].owed = deliveries.iter().map(|(endpoint, _)| *endpoint).collect();
        self.check_owed(post);
    }

    fn check_owed(&mut self, post: usize) {
        let (app, owed) = (self.posts[post].app, self.posts[post].owed.clone());
        let mut wrong = Vec::new();
        for (number, facts) in self.endpoints.iter().enumerate() {
            let Some(key) = facts.key.filter(|_| facts.app == app && !facts.is_busy) else {
                continue;
            };
            // Those that the engine may have disabled meanwhile are left out.
            let stable = facts.script != Script::Gone && !facts.deletion_asked;
            if stable && facts.enabled == Some(true) && !owed.contains(&key) {
                let live = self.store.as_ref().map(|store| store.live_endpoint(key));
                if let Some(Ok(Some(live))) = live
                    && live.takes_messages()
                {
                    wrong.push(format!("p{post} is not owed to e{number}"));
                }
            }
        }
        for what in wrong {
            self.violated(format_args!("{what}"));
        }
    }

    fn bind(&mut self, message: MessageKey, post: usize) {
        match self.became.insert(message, post) {
            Some(other) if other != post => {
                self.violated(format_args!("p{post} and p{other} are one message"));
            }
            None if self.became.values().filter(|p| **p == post).count() > 1 => {
                self.violated(format_args!("p{post} became two messages"));
            }
            _ => {}
        }
    }

    /// A replay was asked for; answers its number.
    pub(super) fn replay_asked(&mut self, of: (MessageKey, EndpointKey)) -> usize {
        self.note(format_args!("replay of {} asked", of.0.as_u64()));
        let replays = &mut self.deliveries.entry(of).or_default().replays;
        replays.push(Replay::default());
        replays.len() - 1
    }

    pub(super) fn replay_answered(
        &mut self,
        of: (MessageKey, EndpointKey),
        replay: usize,
        refused: bool,
    ) {
        self.note(format_args!(
            "replay of {} answered, {refused}",
            of.0.as_u64()
        ));
        let now = (self.seq, self.passed);
        let replay = &mut self.deliveries.entry(of).or_default().replays[replay];
        replay.answered = Some(now);
        replay.refused = refused;
    }

    /// A job was asked for; answers its number.
    pub(super) fn job_asked(&mut self, of: EndpointKey, what: &str) -> usize {
        self.note(format_args!("{what} to {} asked", of.as_u64()));
        let jobs = self.jobs.entry(of).or_default();
        jobs.asked += 1;
        jobs.replays.push(Replay::default());
        jobs.replays.len() - 1
    }

    pub(super) fn job_answered(&mut self, of: EndpointKey, job: usize, refused: bool) {
        self.note(format_args!("job to {} answered, {refused}", of.as_u64()));
        let jobs = self.jobs.entry(of).or_default();
        jobs.asked = jobs.asked.saturating_sub(1);
        jobs.replays[job].refused = refused;
    }

    /// Sees which jobs have ended: what they made due is on disk.
    fn observe_jobs(&mut self, store: &Store) {
        let Ok(running) = store.running_jobs() else {
            return;
        };
        let now = (self.seq, self.passed);
        for (endpoint, jobs) in &mut self.jobs {
            let runs = running.iter().any(|job| job.endpoint == Some(*endpoint));
            if jobs.asked > 0 || runs {
                continue;
            }
            for replay in &mut jobs.replays {
                replay.answered.get_or_insert(now);
            }
        }
    }

    /// Deliveries that were seen, which can be asked for again.
    pub(super) fn deliveries_known(&self) -> Vec<(MessageKey, EndpointKey)> {
        self.deliveries.keys().copied().collect()
    }
}

/// What an operator asks of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Enabled(bool),
    Paused(bool),
    Rate(Option<u32>),
    Schedule,
    Deletion,
}

/// One request on its way, as its endpoint sees it.
pub(super) struct Flight {
    ledger: SharedLedger,
    boot: u32,
    number: usize,
    of: Option<(MessageKey, EndpointKey)>,
    ended: bool,
}

impl Flight {
    /// A request arrives at endpoint `number`.
    pub(super) fn begin(
        ledger: &SharedLedger,
        number: usize,
        request: &OutboundRequest,
        clock: &SimClock,
    ) -> (Self, Script, Duration) {
        let mut locked = lock(ledger);
        let of = locked.sent(number, request, clock.now());
        let flight = Self {
            ledger: Arc::clone(ledger),
            boot: locked.boot,
            number,
            of,
            ended: false,
        };
        (flight, locked.endpoints[number].script, locked.passed)
    }

    /// It was answered.
    pub(super) fn end(mut self, success: bool, retry_after_s: Option<u64>, clock: &SimClock) {
        self.ended = true;
        let mut ledger = lock(&self.ledger);
        ledger.landed(self.number, self.of, success, retry_after_s, clock.now());
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut ledger = lock(&self.ledger);
        if !self.ended && ledger.boot == self.boot {
            ledger.violated(format_args!("an attempt was given up"));
        }
    }
}

/// A send.
impl Ledger {
    fn sent(
        &mut self,
        number: usize,
        request: &OutboundRequest,
        wall: Timestamp,
    ) -> Option<(MessageKey, EndpointKey)> {
        self.endpoints[number].gets += 1;
        let id = request.headers.get("webhook-id")?.to_str().ok()?;
        let message: MessageKey = self.ids.as_ref()?.parse(id)?;
        self.note(format_args!(
            "e{number}: gets {} at {wall}",
            message.as_u64()
        ));
        self.learn_endpoint(number);
        self.check_content(number, message, request, wall);
        self.check_caps(number);
        self.check_held(number);
        self.check_rate(number);
        let Some(endpoint) = self.endpoints[number].key else {
            self.violated(format_args!("e{number} got something before it was there"));
            return None;
        };
        let of = (message, endpoint);
        let last_end = self.deliveries.entry(of).or_default().last_end;
        let wall = self.wall_since(last_end, wall);
        self.check_due(number, of, wall);
        self.check_history(number, of, wall);
        let (seq, passed) = (self.seq, self.passed);
        let facts = self.deliveries.entry(of).or_default();
        facts.sends += 1;
        facts.in_flight = true;
        facts.last_start = seq;
        if facts.done_at.is_some() {
            facts.done_at = Some((seq, passed));
        }
        Some(of)
    }

    /// An endpoint may get something before whoever made it is answered.
    fn learn_endpoint(&mut self, number: usize) {
        if self.endpoints[number].key.is_some() {
            return;
        }
        let app = self.apps[self.endpoints[number].app].key;
        let store = self.store.clone();
        let entry = app.zip(store).map(|(app, store)| store.application(app));
        if let Some(Ok(Some(entry))) = entry {
            let url = endpoint_url(number);
            let mut live = entry.endpoints.iter();
            if let Some(live) = live.find(|live| live.settings.url == url) {
                self.observe_endpoint(number, live);
            }
        }
    }

    fn landed(
        &mut self,
        number: usize,
        of: Option<(MessageKey, EndpointKey)>,
        success: bool,
        retry_after_s: Option<u64>,
        wall: Timestamp,
    ) {
        self.note(format_args!("e{number}: answered, {success}"));
        if let Some(count) = self.in_flight.get_mut(&number) {
            *count -= 1;
        }
        let Some(of) = of else {
            return self.violated(format_args!("e{number} got a message without a name"));
        };
        let passed = self.passed;
        let facts = self.deliveries.entry(of).or_default();
        facts.in_flight = false;
        facts.failed_at = None;
        facts.last_end = passed;
        if success {
            facts.successes += 1;
            facts.done_at = Some((facts.last_start, passed));
        } else {
            let wish = Duration::from_secs(retry_after_s.unwrap_or(0).min(24 * 3600));
            facts.failed_at = Some((wall, wish));
        }
    }

    fn check_content(
        &mut self,
        number: usize,
        message: MessageKey,
        request: &OutboundRequest,
        wall: Timestamp,
    ) {
        let Some(post) = post_number(&request.body) else {
            return self.violated(format_args!("e{number} got what nobody posted"));
        };
        self.bind(message, post);
        if self.posts[post].payload != request.body {
            self.violated(format_args!("e{number} got p{post} with other bytes"));
        }
        if self.posts[post].app != self.endpoints[number].app {
            self.violated(format_args!("e{number} got p{post} of another application"));
        }
        let headers: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let keys = &self.endpoints[number].verify;
        let verified =
            verify_standard(keys, Headers(&headers), &request.body, wall.as_secs(), 0).map(drop);
        if let Err(error) = verified {
            self.violated(format_args!("e{number} cannot verify p{post}: {error}"));
        }
    }

    fn check_caps(&mut self, number: usize) {
        let count = self.in_flight.entry(number).or_default();
        *count += 1;
        let count = *count;
        if count > usize::from(IN_FLIGHT_MAX) {
            self.violated(format_args!("e{number} has {count} in flight"));
        }
        let all: usize = self.in_flight.values().sum();
        if all > self.sockets_max {
            self.violated(format_args!("{all} are in flight"));
        }
    }

    fn check_held(&mut self, number: usize) {
        let facts = &self.endpoints[number];
        if let Some(since) = facts.held_since
            && self.passed > since
        {
            self.violated(format_args!("e{number} is held since {since:?}"));
        }
    }

    fn check_rate(&mut self, number: usize) {
        let now_us = u64::try_from(self.passed.as_micros()).expect("a simulated time");
        let now_us = now_us + RATE_BURST_US;
        let rate = &mut self.endpoints[number].rate;
        let Some(Some(limit)) = rate.limit else {
            return;
        };
        let early = now_us + 1000 < rate.next_us;
        let interval_us = 1_000_000 / u64::from(limit);
        rate.next_us = rate.next_us.max(now_us.saturating_sub(RATE_BURST_US)) + interval_us;
        if early {
            self.violated(format_args!("e{number} gets more than {limit} a second"));
        }
    }

    /// What the store says is due is what was sent.
    fn check_due(&mut self, number: usize, of: (MessageKey, EndpointKey), wall: Timestamp) {
        let Some(Ok(rows)) = self.store.as_ref().map(|store| store.deliveries(of.0)) else {
            return;
        };
        let found = rows.iter().find(|(endpoint, _)| *endpoint == of.1);
        let waiting = found.and_then(|(_, delivery)| delivery.waiting());
        match waiting {
            Some((due, _)) if due > wall => self.violated(format_args!(
                "e{number} got {} at {wall}, due {due}",
                of.0.as_u64()
            )),
            None if !self.endpoints[number].deletion_asked
                && !self.apps[self.endpoints[number].app].deletion_asked =>
            {
                let state = found.map(|(_, delivery)| delivery.state);
                self.violated(format_args!(
                    "e{number} got {}, which is {state:?}",
                    of.0.as_u64()
                ));
            }
            _ => {}
        }
    }

    /// What was sent before allows this one.
    fn check_history(&mut self, number: usize, of: (MessageKey, EndpointKey), wall: Timestamp) {
        let endpoint = &self.endpoints[number];
        let (attempts_max, wait_min) = (endpoint.attempts_max, endpoint.wait_min);
        // A replay of what was given up, under a schedule that has grown since,
        // has its first step besides.
        let by_replay = if endpoint.schedules > 1 { 2 } else { 1 };
        let jobs = self.jobs.get(&of.1).map_or(&[][..], |jobs| &jobs.replays);
        let by_jobs = jobs.iter().filter(|job| !job.refused).count();
        let facts = self.deliveries.entry(of).or_default();
        let replays = facts.replays_granted() + by_jobs;
        let allowed = attempts_max + by_replay * replays + facts.lost as usize;
        let what = if facts.in_flight {
            Some("is in flight already".to_owned())
        } else if facts.sends as usize + 1 > allowed {
            Some(format!("may be sent {allowed} times: {facts:?}"))
        } else if let Some((start, at)) = facts.done_at
            && !facts.has_replay_since(jobs, start, at)
        {
            Some(format!("was delivered before: {facts:?}"))
        } else if let Some((failed_at, wish)) = facts.failed_at
            && wall < failed_at.plus(wait_min.max(wish))
            && !facts.has_replay_since(jobs, facts.last_start, self.passed)
        {
            Some(format!(
                "failed at {failed_at} and asked for {wish:?}; it is {wall}"
            ))
        } else {
            None
        };
        if let Some(what) = what {
            self.violated(format_args!(
                "e{number} got {}, which {what}",
                of.0.as_u64()
            ));
        }
    }
}

/// What the store says.
impl Ledger {
    /// All that was handed in is written, and the disk is well: what ended is recorded.
    pub(super) fn settled(&mut self) {
        for facts in self.deliveries.values_mut() {
            facts.settled = facts.sends - u32::from(facts.in_flight);
        }
    }

    /// Compares settings with the answers, and learns what no answer told.
    pub(super) fn observe(&mut self, store: &Store) {
        self.observe_jobs(store);
        for app in 0..self.apps.len() {
            let facts = &self.apps[app];
            let Some(key) = facts.key else { continue };
            let Ok(entry) = store.application(key) else {
                return;
            };
            match entry {
                None if !facts.deletion_asked => {
                    self.violated(format_args!("a{app} is not there any more"));
                }
                None => self.app_seen_deleted(app),
                Some(_) if facts.deleted => self.violated(format_args!("a{app} is there again")),
                Some(entry) => {
                    self.apps[app].deletion_asked &= self.apps[app].is_busy;
                    self.observe_endpoints(app, &entry.endpoints);
                }
            }
        }
    }

    fn app_seen_deleted(&mut self, app: usize) {
        if !self.apps[app].deleted {
            self.app_deleted(app);
        }
    }

    fn observe_endpoints(&mut self, app: usize, live: &[Arc<LiveEndpoint>]) {
        let found: BTreeMap<usize, &Arc<LiveEndpoint>> = live
            .iter()
            .map(|live| (number_in(&live.settings.url), live))
            .collect();
        for number in 0..self.endpoints.len() {
            let facts = &mut self.endpoints[number];
            if facts.app != app || facts.is_busy {
                continue;
            }
            match found.get(&number) {
                None if facts.key.is_some() && !facts.deletion_asked => {
                    self.violated(format_args!("e{number} is not there any more"));
                }
                None => {
                    facts.deleted |= facts.key.is_some();
                    facts.held_since.get_or_insert(self.passed);
                }
                Some(_) if facts.deleted => {
                    self.violated(format_args!("e{number} is there again"));
                }
                Some(live) => {
                    facts.deletion_asked = false;
                    self.observe_endpoint(number, live);
                }
            }
        }
    }

    /// Takes in what the store says of an endpoint.
    pub(super) fn observe_endpoint(&mut self, number: usize, live: &LiveEndpoint) {
        let passed = self.passed;
        let facts = &mut self.endpoints[number];
        let settings = &live.settings;
        facts.key = Some(settings.key);
        facts.verify = settings
            .secrets
            .iter()
            .map(|of| VerifyKey::parse(of.secret.text().expose()).expect("an own secret"))
            .collect();
        let known = (facts.enabled, facts.paused, facts.rate.limit);
        facts.enabled = Some(settings.enabled);
        facts.paused = Some(settings.paused);
        facts.rate.limit = Some(settings.rate_limit);
        if live.sends() {
            facts.held_since = None;
        } else {
            facts.held_since.get_or_insert(passed);
        }
        if known.2.is_none() {
            facts.rate.next_us = 0;
        }
        let differs = known.0.is_some_and(|on| on != settings.enabled)
            || known.1.is_some_and(|on| on != settings.paused)
            || known.2.is_some_and(|limit| limit != settings.rate_limit);
        if differs {
            self.violated(format_args!("e{number} has forgotten a change: {known:?}"));
        }
    }

    /// Whether retention may have taken a message by now.
    fn may_be_forgotten(&self, message: MessageKey) -> bool {
        message.made_at().plus(self.retention) <= self.wall_max
    }

    /// Compares every message and delivery with what was answered and seen.
    pub(super) fn compare(&mut self, store: &Store, after_crash: bool, settled: bool) {
        let mut on_disk = BTreeSet::new();
        for app in 0..self.apps.len() {
            if self.apps[app].deleted || self.apps[app].deletion_asked {
                continue;
            }
            let Some(key) = self.apps[app].key else {
                continue;
            };
            let Ok(page) = store.list_messages(key, None, 100_000) else {
                return;
            };
            for stored in page.messages {
                let message = stored.message.key;
                on_disk.insert(message);
                match stored.payload {
                    Some(payload) => self.compare_payload(message, &payload),
                    None if !self.may_be_forgotten(message) => {
                        self.violated(format_args!("the payload of {} is gone", message.as_u64()));
                    }
                    None => {}
                }
                let Ok(deliveries) = store.deliveries(message) else {
                    return;
                };
                self.compare_deliveries(message, &deliveries, after_crash, settled);
            }
        }
        self.compare_accepted(&on_disk);
        self.compare_told(store);
    }

    fn compare_payload(&mut self, message: MessageKey, payload: &Bytes) {
        let Some(post) = post_number(payload).filter(|post| *post < self.posts.len()) else {
            return self.violated(format_args!("the store has what nobody posted"));
        };
        if self.posts[post].payload != payload {
            self.violated(format_args!("p{post} is stored with other bytes"));
        }
        self.bind(message, post);
    }

    fn compare_accepted(&mut self, on_disk: &BTreeSet<MessageKey>) {
        let mut lost = Vec::new();
        for (number, post) in self.posts.iter().enumerate() {
            let app = &self.apps[post.app];
            if let Some(message) = post.accepted
                && !on_disk.contains(&message)
                && !(app.deleted || app.deletion_asked)
                && !self.may_be_forgotten(message)
            {
                lost.push(number);
            }
        }
        for number in lost {
            self.violated(format_args!("p{number} was accepted and is lost"));
        }
    }

    fn compare_deliveries(
        &mut self,
        message: MessageKey,
        deliveries: &[(EndpointKey, Delivery)],
        after_crash: bool,
        settled: bool,
    ) {
        let post = self.became.get(&message).copied();
        let owed = post.map(|post| self.posts[post].owed.clone());
        for endpoint in owed.unwrap_or_default() {
            if !deliveries.iter().any(|(found, _)| *found == endpoint) {
                self.violated(format_args!("a delivery of {} is lost", message.as_u64()));
            }
        }
        for (endpoint, delivery) in deliveries {
            let of = (message, *endpoint);
            if let Some(what) = self.compare_delivery(of, delivery, after_crash, settled) {
                let seen = format!("{:?}", self.deliveries.get(&of));
                let message = message.as_u64();
                self.violated(format_args!("{message} {what}: {delivery:?}, {seen}"));
            }
        }
    }

    fn compare_delivery(
        &mut self,
        of: (MessageKey, EndpointKey),
        delivery: &Delivery,
        after_crash: bool,
        settled: bool,
    ) -> Option<&'static str> {
        let endpoint = self
            .endpoints
            .iter()
            .find(|facts| facts.key == Some(of.1))?;
        let may_cancel = endpoint.deletion_asked || endpoint.deleted;
        let attempts_min = endpoint.attempts_min;
        let post = self.became.get(&of.0).copied();
        let was_owed = post.is_some_and(|post| self.posts[post].owed.contains(&of.1));
        let jobs = self.jobs.get(&of.1).map_or(&[][..], |jobs| &jobs.replays);
        let facts = self.deliveries.entry(of).or_default();
        let ended = facts.sends - u32::from(facts.in_flight);
        if delivery.attempt_count > facts.sends {
            return Some("has more attempts than were made");
        }
        if delivery.attempt_count < facts.recorded {
            return Some("has forgotten an attempt");
        }
        facts.recorded = delivery.attempt_count;
        let missing = facts.sends - u32::from(facts.in_flight && !after_crash);
        let missing = missing.saturating_sub(delivery.attempt_count);
        if after_crash {
            if missing.saturating_sub(facts.lost) > facts.sends - facts.settled {
                return Some("has lost an attempt that was written");
            }
            facts.lost = missing;
            facts.settled = facts.sends;
            if delivery.waiting().is_some() {
                facts.done_at = None;
                facts.failed_at = None;
            }
        } else if settled && missing != facts.lost {
            return Some("lacks an attempt");
        }
        if delivery.succeeded && facts.successes == 0 {
            return Some("succeeded without a success");
        }
        match delivery.state {
            DeliveryState::Waiting { .. } if settled && !facts.in_flight => {
                let (start, at) = facts.done_at?;
                (!facts.has_replay_since(jobs, start, at))
                    .then_some("waits though it was delivered")
            }
            DeliveryState::Delivered if facts.successes == 0 => {
                Some("is delivered without a success")
            }
            DeliveryState::Exhausted if was_owed && (ended as usize) < attempts_min => {
                Some("was given up too early")
            }
            DeliveryState::Cancelled if !may_cancel => Some("was cancelled"),
            _ => None,
        }
    }
}

/// The number of the post with this payload.
fn post_number(payload: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(payload).ok()?;
    let rest = text.strip_prefix("{\"post\":")?;
    rest.split([',', '}']).next()?.parse().ok()
}
