//! A machine, a store and an engine on it, and the hands that move them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hookpost::domain::attempt::RESPONSE_BODY_KEPT_BYTES;
use hookpost::domain::ids::EndpointKey;
use hookpost::domain::time::Timestamp;
use hookpost::engine::{Engine, EngineSettings};
use hookpost::seams::clock::Clock as _;
use hookpost::store::{AttemptFilter, Durability, Retention, Store};

use super::oracle::{Ledger, SharedLedger, lock};
use super::transport::ScriptedTransport;
use crate::support::disk::Fault;
use crate::support::entropy::Rng;
use crate::support::store::Machine;

/// A message waits for this long in the end at most.
const END_MAX: Duration = Duration::from_hours(40 * 24);
/// How far time is moved in the end, over and over: so that answers arrive,
/// breakers let probes through, and retries become due.
const END_STEPS: [Duration; 6] = [
    Duration::from_millis(130),
    Duration::from_secs(1),
    Duration::from_secs(20),
    Duration::from_mins(6),
    Duration::from_millis(130),
    Duration::from_hours(5),
];
/// Commits and rounds of tasks that one settling takes at most.
const SETTLE_ROUNDS_MAX: usize = 10_000;
/// Rounds of tasks before somebody has to wait for something.
const TASK_ROUNDS_MAX: usize = 20_000;
/// After a fault of the disk the engine tries to record again within this.
const RECORDED_AGAIN: Duration = Duration::from_millis(1500);

/// What differs from world to world.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub(super) seed: u64,
    pub(super) sockets_max: usize,
    durability: Durability,
    retention: Duration,
    pub(super) schedule: Vec<Duration>,
    /// Tasks that run before anything else may happen.
    tasks_at_once: u32,
    /// Percent of steps at which power is lost.
    pub(super) crash_percent: u64,
    pub(super) steps: usize,
    /// Its disk says that all is safe when it is not.
    pub(super) lies: bool,
}

impl Profile {
    /// A world without crashes, in which nothing happens by itself.
    pub(super) fn quiet(sockets_max: usize) -> Self {
        Self {
            sockets_max,
            durability: Durability::Fast,
            crash_percent: 0,
            schedule: vec![Duration::from_mins(5); 3],
            ..Self::of(0)
        }
    }

    pub(super) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x70_72_6f_66);
        let pick = |rng: &mut Rng, from: &[u64]| *rng.pick(from).expect("a choice");
        let schedules: [&[u64]; 4] = [&[5, 300, 1800], &[1], &[2, 2, 2, 2], &[60, 3600, 18_000]];
        let schedule = rng.pick(&schedules).expect("a choice");
        Self {
            seed,
            sockets_max: usize::try_from(pick(&mut rng, &[3, 40, 300])).expect("small"),
            durability: if rng.chance(70) {
                Durability::Safe
            } else {
                Durability::Fast
            },
            retention: Duration::from_hours(24 * pick(&mut rng, &[2, 90, 90, 90])),
            schedule: schedule.iter().map(|s| Duration::from_secs(*s)).collect(),
            tasks_at_once: u32::try_from(pick(&mut rng, &[1, 3, 61])).expect("small"),
            crash_percent: pick(&mut rng, &[0, 3, 3, 8]),
            steps: 250,
            lies: false,
        }
    }
}

/// A process on the machine: what a crash ends.
pub(super) struct Running {
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) store: Store,
    pub(super) engine: Engine,
}

pub(super) struct World {
    pub(super) profile: Profile,
    pub(super) machine: Machine,
    pub(super) ledger: SharedLedger,
    pub(super) rng: Rng,
    pub(super) running: Option<Running>,
    /// A fault of the disk was planned, or came at that time.
    fault_planned: bool,
    well_from: Duration,
    pub(super) crashes: u32,
}

impl World {
    pub(super) fn new(profile: Profile) -> Self {
        let machine = Machine::new(profile.seed, profile.durability);
        let ledger = Ledger::new(profile.retention, profile.sockets_max);
        let mut world = Self {
            rng: Rng::new(profile.seed),
            machine,
            ledger: Arc::new(Mutex::new(ledger)),
            running: None,
            fault_planned: false,
            well_from: Duration::ZERO,
            crashes: 0,
            profile,
        };
        world.start();
        world
    }

    pub(super) fn store(&self) -> Store {
        self.running().store.clone()
    }

    pub(super) fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs between crashes")
    }

    pub(super) fn violated(&self, what: std::fmt::Arguments<'_>) {
        lock(&self.ledger).violated(what);
    }

    /// Starts the process; power may be lost meanwhile.
    fn start(&mut self) {
        if self.crashes > 0 && self.rng.chance(20) {
            let at = self.machine.disk.operations() + 1 + self.rng.below(12);
            self.machine.disk.crash_at(at);
        }
        let store = loop {
            match self.machine.open() {
                Ok(store) => break store,
                Err(_) if self.machine.disk.is_dead() => self.machine.disk.reboot(),
                Err(error) => {
                    self.violated(format_args!("the store cannot be opened: {error}"));
                    panic!("{}", lock(&self.ledger).verdict().expect("just violated"));
                }
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .event_interval(self.profile.tasks_at_once)
            .build()
            .expect("a runtime without drivers");
        let transport = ScriptedTransport {
            ledger: Arc::clone(&self.ledger),
            clock: self.machine.clock.clone(),
            rng: Mutex::new(Rng::new(self.rng.next())),
        };
        let settings = EngineSettings {
            retry_schedule: self.profile.schedule.clone(),
            attempt_timeout: Duration::from_secs(15),
            sockets_max: self.profile.sockets_max,
            public_url: "http://hookpost.test".to_owned(),
            trust_anchors: Arc::new([]),
        };
        let retention = Retention {
            payloads: self.profile.retention,
            attempts: self.profile.retention,
            bytes_max: None,
        };
        {
            let mut ledger = lock(&self.ledger);
            ledger.ids = Some(store.ids().clone());
            ledger.store = Some(store.clone());
            ledger.wall_max = ledger.wall_max.max(self.machine.clock.now());
            if self.crashes > 0 {
                ledger.observe(&store);
                ledger.compare(&store, true, false);
            }
        }
        let engine = {
            let _inside = runtime.enter();
            Engine::new(
                store.clone(),
                Arc::new(transport),
                Arc::new(self.machine.clock.clone()),
                self.machine.entropy.clone(),
                settings,
            )
        };
        runtime.spawn(engine.run());
        runtime.spawn(engine.clone().prune(retention));
        runtime.spawn(engine.clone().run_jobs());
        if self.profile.lies {
            let lying = Fault::SyncLies { every: 2 };
            self.machine.disk.set_fault(Some(lying));
        }
        self.running = Some(Running {
            runtime,
            store,
            engine,
        });
        if self.crashes > 0 {
            self.check_tables();
        }
    }

    /// Loses power, and starts again.
    pub(super) fn crash(&mut self) {
        self.crashes += 1;
        lock(&self.ledger).crashed();
        self.machine.disk.set_fault(None);
        self.machine.disk.reboot();
        self.fault_planned = false;
        self.running = None;
        self.start();
    }

    /// Restarts when the disk has died under the process.
    pub(super) fn mind_the_disk(&mut self) {
        if self.machine.disk.is_dead() {
            if self.rng.chance(50) {
                self.run_tasks();
            }
            self.crash();
        }
        if self.fault_planned && !self.machine.disk.has_fault() {
            self.fault_planned = false;
            let mut ledger = lock(&self.ledger);
            ledger.note(format_args!("the disk failed"));
            self.well_from = ledger.passed + RECORDED_AGAIN;
        }
    }

    pub(super) fn plan_fault(&mut self) {
        let at = self.machine.disk.operations() + 1 + self.rng.below(40);
        if self.rng.chance(70) {
            lock(&self.ledger).note(format_args!("planned: a crash at {at}"));
            self.machine.disk.crash_at(at);
            return;
        }
        let fault = if self.rng.chance(60) {
            Fault::SyncFails { at }
        } else {
            Fault::Full { at }
        };
        lock(&self.ledger).note(format_args!("planned: {fault:?}"));
        self.machine.disk.set_fault(Some(fault));
        self.fault_planned = true;
    }

    /// Lets some tasks run.
    pub(super) fn run_tasks(&self) {
        self.running().runtime.block_on(tokio::task::yield_now());
    }

    /// Lets the writer write what waits.
    pub(super) fn pump(&mut self) -> bool {
        let some = self.running().store.pump();
        self.mind_the_disk();
        some
    }

    /// Runs every task until none has anything to do.
    fn run_all_tasks(&self) {
        let running = self.running();
        let mut quiet = 0;
        for _ in 0..TASK_ROUNDS_MAX {
            if quiet == 2 {
                return;
            }
            let before = self.activity();
            running.runtime.block_on(async {
                // What was ready before this one has run when it has.
                tokio::spawn(async {}).await.expect("it does nothing");
                tokio::task::yield_now().await;
            });
            // Tasks woken from outside wait in a queue of their own.
            let queued = running.runtime.metrics().global_queue_depth();
            let idle = queued == 0 && self.activity() == before;
            quiet = if idle { quiet + 1 } else { 0 };
        }
        self.violated(format_args!("its tasks never come to rest"));
    }

    fn activity(&self) -> (u64, usize, usize) {
        let running = self.running();
        let tasks = running.runtime.metrics().num_alive_tasks();
        (
            lock(&self.ledger).events(),
            running.engine.in_flight(),
            tasks,
        )
    }

    /// Lets everything happen that can happen now.
    pub(super) fn settle(&mut self) {
        for _ in 0..SETTLE_ROUNDS_MAX {
            self.run_all_tasks();
            if !self.pump() {
                self.all_is_written();
                return;
            }
        }
        self.violated(format_args!("it never comes to rest"));
    }

    fn all_is_written(&mut self) {
        let store = self.store();
        if !store.is_available() {
            return;
        }
        let settled = {
            let mut ledger = lock(&self.ledger);
            ledger.observe(&store);
            let settled = ledger.passed >= self.well_from && !self.profile.lies;
            if settled {
                ledger.note(format_args!("all is written"));
                ledger.settled();
            }
            settled
        };
        if self.rng.chance(8) {
            lock(&self.ledger).compare(&store, false, settled);
        }
    }

    /// Lets time pass, after what can happen before has happened.
    pub(super) fn advance(&mut self, wait: Duration) {
        if self.rng.chance(80) {
            self.settle();
        } else {
            self.run_all_tasks();
        }
        self.pass(wait);
    }

    pub(super) fn pass(&self, wait: Duration) {
        let mut ledger = lock(&self.ledger);
        ledger.passed += wait;
        self.machine.clock.advance(wait);
        ledger.wall_max = ledger.wall_max.max(self.machine.clock.now());
    }

    /// Sets the wall clock.
    pub(super) fn step_wall(&mut self, forth: bool, by: Duration) {
        self.settle();
        let now = self.machine.clock.now();
        let by_ms = u64::try_from(by.as_millis()).expect("a small step");
        let wall = if forth {
            now.plus(by)
        } else {
            Timestamp(now.0 - by_ms)
        };
        self.machine.clock.set_wall(wall);
        let mut ledger = lock(&self.ledger);
        ledger.note(format_args!("the wall clock is set to {wall}"));
        ledger.wall_stepped(now);
        ledger.wall_max = ledger.wall_max.max(wall);
    }

    /// Ends all faults and lets time pass until nothing is left to do.
    pub(super) fn finish(&mut self) {
        self.machine.disk.set_fault(None);
        if self.rng.chance(50) {
            self.crash();
        }
        let start = lock(&self.ledger).passed;
        let passed = |world: &Self| lock(&world.ledger).passed.saturating_sub(start);
        let mut idle = 0;
        for step in END_STEPS.iter().cycle() {
            self.settle();
            idle = if self.has_live_rows() { 0 } else { idle + 1 };
            if idle > END_STEPS.len() || passed(self) > END_MAX || self.is_wrong() {
                break;
            }
            self.pass(*step);
        }
        self.pass(Duration::from_hours(8 * 24));
        self.settle();
        self.pass(Duration::from_secs(1));
        self.settle();
        self.compare_in_the_end();
    }

    pub(super) fn is_wrong(&self) -> bool {
        lock(&self.ledger).verdict().is_some()
    }

    /// Whether something waits for an endpoint that can be sent to, or is to be swept.
    fn has_live_rows(&self) -> bool {
        let running = self.running();
        let lanes = running.store.due_endpoints(None, 10_000);
        let lanes = lanes.unwrap_or_default();
        let lives = |key: EndpointKey| {
            let live = running.store.live_endpoint(key).ok().flatten();
            live.is_some_and(|live| live.sends())
        };
        running.engine.in_flight() > 0
            || running.store.has_tombstones().unwrap_or(true)
            || lanes.into_iter().any(|(key, _)| lives(key))
    }

    fn compare_in_the_end(&self) {
        let running = self.running();
        let store = &running.store;
        lock(&self.ledger).compare(store, false, true);
        if self.has_live_rows() {
            let lanes = store.due_endpoints(None, 10_000).unwrap_or_default();
            self.violated(format_args!("something waits for ever: {lanes:?}"));
        }
        let in_flight = running.engine.in_flight();
        if in_flight != 0 {
            self.violated(format_args!("{in_flight} are in flight for ever"));
        }
        self.check_tables();
        self.check_attempts(store);
    }

    /// Totals, due rows and all other tables agree with each other.
    fn check_tables(&self) {
        match self.running().store.check() {
            Ok(report) if report.problem_count == 0 => {}
            Ok(report) => self.violated(format_args!("the tables differ: {:?}", report.problems)),
            Err(error) => self.violated(format_args!("the store cannot be checked: {error}")),
        }
    }

    /// What an attempt keeps of an answer is bounded.
    fn check_attempts(&self, store: &Store) {
        let keys: Vec<_> = lock(&self.ledger)
            .endpoints
            .iter()
            .filter_map(|endpoint| endpoint.key)
            .collect();
        for key in keys {
            let page = store.endpoint_attempts(key, &AttemptFilter::default(), None, 1000);
            for attempt in page.map(|page| page.attempts).unwrap_or_default() {
                let kept = attempt.of.exchange.response.map_or(0, |r| r.body.len());
                if kept > RESPONSE_BODY_KEPT_BYTES {
                    self.violated(format_args!("an attempt keeps {kept} bytes of a body"));
                }
            }
        }
    }
}
