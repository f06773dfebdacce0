//! Counters against a model that only adds: whatever is counted, rolled up and
//! opened again in whatever order, each resolution gives the same sums.

#![expect(clippy::unwrap_used, reason = "a test may panic: that is how it fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use hookpost::domain::attempt::Timing;
use hookpost::domain::delivery::Trigger;
use hookpost::domain::endpoint::{EndpointChange, LiveEndpoint};
use hookpost::domain::ids::{ApplicationKey, EndpointKey, MessageKey};
use hookpost::domain::principal::Scope;
use hookpost::domain::statistics::{Counted, Counter, Period, Resolution};
use hookpost::domain::time::Timestamp;
use hookpost::seams::clock::Clock as _;
use hookpost::store::{Durability, Recorded, Store, Subject, WriteError, Written};
use proptest::prelude::*;

use crate::support::app::START;
use crate::support::store::{Machine, Verb, attempt, message, now_or_pump, record, together};

const MINUTE_MS: u64 = 60_000;
const PAYLOAD: &str = "payload";

#[derive(Clone, Debug)]
enum Op {
    Message {
        application: usize,
    },
    Attempt {
        endpoint: usize,
        started_ms_ago: u64,
        duration_ms: u32,
        status: u16,
    },
    Wait {
        ms: u64,
    },
    StepClock {
        by_ms: i64,
    },
    RollUp,
    OpenAgain,
}

fn op() -> impl Strategy<Value = Op> {
    let status = prop_oneof![3 => Just(200), 1 => Just(500), 1 => Just(0)];
    let ago = prop_oneof![3 => 0..MINUTE_MS, 1 => 0..10 * MINUTE_MS, 1 => 0..120 * MINUTE_MS];
    let duration = prop_oneof![0_u32..20, 0_u32..60_000];
    prop_oneof![
        3 => (0_usize..2).prop_map(|application| Op::Message { application }),
        8 => (0_usize..3, ago, duration, status).prop_map(
            |(endpoint, started_ms_ago, duration_ms, status)| Op::Attempt {
                endpoint,
                started_ms_ago,
                duration_ms,
                status,
            },
        ),
        4 => prop_oneof![0..2 * MINUTE_MS, 0..40 * MINUTE_MS].prop_map(|ms| Op::Wait { ms }),
        1 => (-3_600_000_i64..3_600_000).prop_map(|by_ms| Op::StepClock { by_ms }),
        4 => Just(Op::RollUp),
        1 => Just(Op::OpenAgain),
    ]
}

/// An endpoint and a message that is sent to it again and again.
struct Lane {
    application: ApplicationKey,
    endpoint: EndpointKey,
    message: MessageKey,
    next: (Timestamp, Trigger),
}

struct World {
    machine: Machine,
    store: Store,
    applications: Vec<ApplicationKey>,
    lanes: Vec<Lane>,
    /// By name of subject and minute.
    model: BTreeMap<(String, u32), Counter>,
}

type Made = Result<Written<LiveEndpoint>, WriteError>;

fn fresh<A>(written: Written<A>) -> A {
    match written {
        Written::Fresh(answer) => answer,
        Written::Repeated(answer) => panic!("repeated {answer:?}"),
    }
}

impl World {
    /// So many endpoints for each application.
    fn new(endpoints: &[usize]) -> Self {
        let machine = Machine::new(1, Durability::Safe);
        let store = machine.open().unwrap();
        let mut world = Self {
            machine,
            store,
            applications: Vec::new(),
            lanes: Vec::new(),
            model: BTreeMap::new(),
        };
        for &endpoints in endpoints {
            world.application(endpoints);
        }
        world
    }

    fn scope(&self) -> Scope {
        Scope::of_environment(self.store.default_environment())
    }

    fn now(&self) -> Timestamp {
        self.machine.clock.now()
    }

    fn application(&mut self, endpoints: usize) {
        let (store, scope) = (&self.store, self.scope());
        let made = store.create_application(scope.environment, "new".to_owned(), None, None);
        let application = fresh(now_or_pump(store, made).unwrap()).key;
        let creates = (0..endpoints).map(|_| {
            let made = store.create_endpoint(scope, application, EndpointChange::default(), None);
            Box::pin(made) as Verb<'_, Made>
        });
        let made = together(store, creates.collect::<Vec<_>>());
        let keys: Vec<_> = made
            .into_iter()
            .map(|made| fresh(made.unwrap()).settings.key)
            .collect();
        self.applications.push(application);
        let message = self.accept(application);
        let next = (self.now(), Trigger::Scheduled);
        self.lanes.extend(keys.into_iter().map(|endpoint| Lane {
            application,
            endpoint,
            message,
            next,
        }));
    }

    fn accept(&mut self, application: ApplicationKey) -> MessageKey {
        let new = message(application, "a.b", None, PAYLOAD);
        let accepted = self.store.accept(self.scope(), new, None);
        let accepted = fresh(now_or_pump(&self.store, accepted).unwrap());
        let counted = Counted::Message {
            payload_bytes: PAYLOAD.len() as u64,
        };
        let subjects = [Subject::Environment, Subject::Application(application)];
        self.count(&subjects, self.now(), counted);
        accepted.content.0.key
    }

    fn count(&mut self, subjects: &[Subject], at: Timestamp, counted: Counted) {
        let minute = Resolution::Minute.slot(at);
        for subject in subjects {
            let name = format!("{subject:?}");
            self.model.entry((name, minute)).or_default().count(counted);
        }
    }

    /// Attempts for these lanes, in one commit.
    fn attempt(&mut self, lanes: &[usize], started: Timestamp, duration_ms: u32, status: u16) {
        let retry_at = self.now().plus(Duration::from_secs(5));
        let records = lanes.iter().map(|&at| {
            let lane = &self.lanes[at];
            let (of, to) = (lane.application, lane.endpoint);
            let mut made = attempt(of, to, lane.message, started, lane.next.1, status);
            made.exchange.timing = Timing {
                total_us: duration_ms * 1000 + 999,
                ..Timing::default()
            };
            let recorded = record(&self.store, made, lane.next, Some(retry_at), 10);
            Box::pin(recorded) as Verb<'_, Result<Recorded, WriteError>>
        });
        let recorded = together(&self.store, records.collect::<Vec<_>>());
        for (&at, recorded) in lanes.iter().zip(recorded) {
            let lane = &mut self.lanes[at];
            lane.next = recorded.unwrap().next.unwrap_or(lane.next);
            let subjects = [
                Subject::Environment,
                Subject::Application(lane.application),
                Subject::Endpoint(lane.application, lane.endpoint),
            ];
            let counted = Counted::Attempt {
                delivered: status == 200,
                outcome: u8::from(status == 0),
                duration_ms,
                sent_bytes: 10,
            };
            self.count(&subjects, started, counted);
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Message { application } => {
                self.accept(self.applications[application]);
            }
            Op::Attempt {
                endpoint,
                started_ms_ago,
                duration_ms,
                status,
            } => {
                let started = Timestamp(self.now().0 - started_ms_ago);
                self.attempt(&[endpoint], started, duration_ms, status);
            }
            Op::Wait { ms } => self.machine.clock.advance(Duration::from_millis(ms)),
            Op::StepClock { by_ms } => {
                let stepped = self.now().0.saturating_add_signed(by_ms);
                self.machine.clock.set_wall(Timestamp(stepped));
            }
            Op::RollUp => {
                self.roll_up();
            }
            Op::OpenAgain => self.open_again(),
        }
    }

    fn roll_up(&self) -> bool {
        now_or_pump(&self.store, self.store.roll_up()).unwrap()
    }

    fn open_again(&mut self) {
        self.store.close();
        self.store = self.machine.open().unwrap();
    }

    /// All that the store shows of a subject, from two days before the start
    /// to four days after it.
    fn shown(&self, subject: Subject, resolution: Resolution) -> BTreeMap<u32, Counter> {
        let day_ms = 24 * 60 * MINUTE_MS;
        let (mut from, end) = (START.0 - 2 * day_ms, START.0 + 4 * day_ms);
        let mut shown = BTreeMap::new();
        while from < end {
            let to = end.min(from + day_ms);
            let period = Period::new(
                resolution,
                Some(Timestamp(from)),
                Some(Timestamp(to)),
                self.now(),
            );
            let period = period.unwrap();
            let read = self.store.statistics(self.scope(), subject, &period);
            let points = period.slots().zip(read.unwrap().unwrap());
            shown.extend(points.filter(|(_, counter)| *counter != Counter::default()));
            from = to;
        }
        shown
    }

    fn expected(&self, subject: Subject, resolution: Resolution) -> BTreeMap<u32, Counter> {
        let mut expected: BTreeMap<u32, Counter> = BTreeMap::new();
        let name = format!("{subject:?}");
        for ((of, minute), counter) in &self.model {
            if *of == name {
                let slot = resolution.slot_of_minute(*minute);
                expected.entry(slot).or_default().add(counter);
            }
        }
        expected
    }

    fn compare(&self, subject: Subject) {
        for resolution in Resolution::ALL {
            let shown = self.shown(subject, resolution);
            assert_eq!(
                shown,
                self.expected(subject, resolution),
                "{subject:?} by {resolution:?}"
            );
        }
    }

    fn compare_all(&self) {
        self.compare(Subject::Environment);
        for &application in &self.applications {
            self.compare(Subject::Application(application));
        }
        for lane in &self.lanes {
            self.compare(Subject::Endpoint(lane.application, lane.endpoint));
        }
        self.check();
    }

    fn check(&self) {
        let report = self.store.check().unwrap();
        assert!(report.is_sound(), "{:#?}", report.problems);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn every_resolution_gives_the_same_sums_whatever_the_order_of_steps(
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        let mut world = World::new(&[2, 1]);
        for (at, op) in ops.iter().enumerate() {
            world.apply(op);
            if at % 20 == 10 {
                world.compare_all();
            }
        }
        world.compare_all();
        world.machine.clock.advance(Duration::from_mins(3));
        world.roll_up();
        world.compare_all();
    }
}

#[test]
fn a_restart_between_two_steps_counts_nothing_twice_and_nothing_less() {
    let mut world = World::new(&[700]);
    let all: Vec<usize> = (0..700).collect();
    let started = world.now();
    world.attempt(&all, started, 30, 200);
    assert!(!world.roll_up(), "the minute is not over");
    world.machine.clock.advance(Duration::from_mins(3));
    // One step is not enough for so many rows.
    assert!(world.roll_up());
    world.open_again();
    // Late for the same minute: before the mark, and after it.
    let subjects = [0, 350, 699].map(|at| {
        let lane = &world.lanes[at];
        Subject::Endpoint(lane.application, lane.endpoint)
    });
    world.attempt(&[0, 350, 699], started, 2_000, 500);
    for subject in subjects {
        world.compare(subject);
    }
    world.check();
    world.open_again();
    while world.roll_up() {}
    world.attempt(&[0, 350, 699], started, 7, 0);
    world.open_again();
    for subject in subjects.into_iter().chain([Subject::Environment]) {
        world.compare(subject);
    }
    world.compare(Subject::Application(world.applications[0]));
    world.check();
}

#[test]
fn no_minute_is_forgotten_before_it_is_rolled_up() {
    let mut world = World::new(&[700]);
    let all: Vec<usize> = (0..700).collect();
    let started = world.now();
    world.attempt(&all, started, 30, 200);
    // Nobody rolled up for a week.
    world.machine.clock.advance(Duration::from_hours(7 * 24));
    world.open_again();
    let application = world.applications[0];
    let subjects = [0, 499, 500, 699]
        .map(|at| Subject::Endpoint(application, world.lanes[at].endpoint))
        .into_iter()
        .chain([Subject::Environment, Subject::Application(application)]);
    let compare = |world: &World| {
        for subject in subjects.clone() {
            for resolution in [Resolution::Hour, Resolution::Day] {
                let shown = world.shown(subject, resolution);
                assert_eq!(shown, world.expected(subject, resolution), "{subject:?}");
            }
        }
        world.check();
    };
    assert!(world.roll_up());
    compare(&world);
    while world.roll_up() {
        compare(&world);
    }
    let minutes = world.shown(Subject::Environment, Resolution::Minute);
    assert!(minutes.is_empty(), "{minutes:?}");
    // What comes a week late is in its hour and day all the same.
    world.attempt(&[0, 699], started, 40, 500);
    world.roll_up();
    compare(&world);
}

#[test]
fn old_rows_are_forgotten_in_steps() {
    let mut world = World::new(&[700]);
    let all: Vec<usize> = (0..700).collect();
    world.attempt(&all, world.now(), 30, 200);
    world.machine.clock.advance(Duration::from_mins(3));
    while world.roll_up() {}
    let rows = |world: &World| {
        let all = world.store.dump();
        all.iter()
            .filter(|(table, ..)| *table == "counters")
            .count()
    };
    // 700 endpoints, one application, the environment, and the built-in
    // application that was told of the endpoints.
    assert_eq!(rows(&world), 703 * 3);
    world
        .machine
        .clock
        .advance(Duration::from_hours(3 * 365 * 24));
    let mut left = vec![];
    while world.roll_up() {
        left.push(rows(&world));
        world.check();
    }
    let all = 703 * 3;
    assert_eq!(left, [all - 500, all - 1_000, all - 1_500, all - 2_000]);
    assert_eq!(rows(&world), 0);
}
