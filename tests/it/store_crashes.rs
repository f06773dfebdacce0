//! What the store promises when the power goes, or the disk fails: what was
//! acknowledged is there, with the right bytes; what was not is there wholly or
//! not at all; and the tables agree with each other.
//!
//! A store on a [`Disk`](crate::support::disk::Disk) that fails is compared,
//! row by row, with a twin on one that does not. The twin is given only what
//! was acknowledged. After each crash the rows must be the twin's, or what the
//! twin's become when it is given the commit that was in flight.
//!
//! `HOOKPOST_CRASH_CYCLES` sets how many cycles each test runs;
//! `HOOKPOST_CRASH_SEED` runs the one cycle that a failure names.

#![expect(clippy::unwrap_used, reason = "a test may panic: that is how it fails")]

mod workload;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hookpost::domain::ids::{ApplicationKey, Key as _, MessageKey};
use hookpost::domain::principal::Scope;
use hookpost::store::{Durability, Store, WriteError};
use redb::Builder;

use self::workload::{Done, Op, generate, submit};
use crate::support::disk::{Disk, Fault};
use crate::support::entropy::Rng;
use crate::support::store::{Machine, now_or_pump, together};

/// Cycles of each test when nothing else is asked for.
const CYCLES: u64 = 40;
/// Commits of one cycle between two crashes, at most.
const STEPS_MAX: u64 = 20;
/// Commits that every cycle of one seed begins with.
const STEPS_BEFORE: u64 = 12;
/// Commits of the script that is crashed at every operation.
const SCRIPT_STEPS: u64 = 16;
/// Times that a store is opened before it is given up: crashes during
/// recovery, and a fault that shows at opening.
const OPENINGS_MAX: usize = 8;

type Rows = Vec<(&'static str, Vec<u8>, Vec<u8>)>;

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs `cycle` for each seed. Panics with the first violation and its seed.
fn cycles(name: &str, durability: Durability, cycle: impl Fn(Cycle, u64) -> Result<(), String>) {
    let base = Base::new(durability);
    let run = |seed| {
        if let Err(violation) = cycle(base.cycle(seed), seed) {
            panic!("{name}, {durability:?}, HOOKPOST_CRASH_SEED={seed}: {violation}");
        }
    };
    if let Some(seed) = number_from_environment("HOOKPOST_CRASH_SEED") {
        return run(seed);
    }
    let count = number_from_environment("HOOKPOST_CRASH_CYCLES").unwrap_or(CYCLES);
    (0..count).for_each(run);
}

/// A store with some history, from which every cycle starts.
struct Base {
    machine: Machine,
}

impl Base {
    fn new(durability: Durability) -> Self {
        let machine = Machine::new(1, durability);
        let store = machine.open().unwrap();
        let mut rng = Rng::new(1);
        for seed in 0..STEPS_BEFORE {
            let ops = generate(&store, &machine.clock, &mut rng);
            machine.entropy.reseed(seed);
            let env = store.default_environment();
            together(&store, ops.iter().map(|op| submit(&store, env, op)));
        }
        store.close();
        Self { machine }
    }

    fn cycle(&self, seed: u64) -> Cycle {
        let machine = self.machine.fork(seed);
        let mut twin_machine = self.machine.fork(seed);
        twin_machine.clock = machine.clock.clone();
        let store = machine.open().expect("the base was closed in order");
        let twin = twin_machine.open().expect("the base was closed in order");
        Cycle {
            rng: Rng::new(seed),
            ledger: Ledger::default(),
            machine,
            store: Some(store),
            twin_machine,
            twin,
        }
    }
}

/// A store, its twin, and what was promised.
struct Cycle {
    machine: Machine,
    store: Option<Store>,
    twin_machine: Machine,
    twin: Store,
    rng: Rng,
    ledger: Ledger,
}

/// What was acknowledged, kept apart from any store.
#[derive(Default)]
struct Ledger {
    messages: BTreeMap<MessageKey, (ApplicationKey, Bytes)>,
    /// Applications that were, or may have been, deleted.
    deleted: BTreeSet<ApplicationKey>,
    /// Whether anything may have been forgotten by age.
    retired: bool,
    greatest_key: u64,
}

impl Ledger {
    /// Notes what may happen from now on.
    fn expect(&mut self, ops: &[Op]) {
        for op in ops {
            match op {
                Op::DeleteApplication { application } => {
                    self.deleted.insert(*application);
                }
                Op::Retire { .. } => self.retired = true,
                _ => {}
            }
        }
    }

    fn acknowledge(&mut self, op: &Op, done: &Done) -> Result<(), String> {
        let (Op::Accept { message, .. }, Some(key)) = (op, done.message) else {
            return Ok(());
        };
        if key.as_u64() <= self.greatest_key {
            return Err(format!("{key:?} is not greater than the keys before it"));
        }
        self.greatest_key = key.as_u64();
        let content = (message.application, message.payload.clone());
        self.messages.insert(key, content);
        Ok(())
    }

    fn verify(&self, store: &Store) -> Result<(), String> {
        for (&key, (application, payload)) in &self.messages {
            if self.retired || self.deleted.contains(application) {
                continue;
            }
            let found = store.find_message(*application, &store.ids().text(key));
            let found = found.map_err(|error| error.to_string())?;
            let kept = found.and_then(|found| found.payload);
            if kept.as_ref() != Some(payload) {
                return Err(format!("{key:?} was acknowledged, its payload is {kept:?}"));
            }
        }
        Ok(())
    }
}

fn is_unknown(outcome: &Result<Done, WriteError>) -> bool {
    matches!(outcome, Err(WriteError::Store(_)))
}

impl Cycle {
    fn store(&self) -> &Store {
        self.store.as_ref().expect("open between steps")
    }

    /// One commit of a few operations. Answers whether it was acknowledged.
    fn step(&mut self) -> Result<bool, String> {
        let seed = self.rng.next();
        let ops = generate(&self.twin, &self.machine.clock, &mut self.rng);
        self.ledger.expect(&ops);
        self.machine.entropy.reseed(seed);
        let store = self.store();
        let env = store.default_environment();
        let outcomes = together(store, ops.iter().map(|op| submit(store, env, op)));
        if outcomes.iter().any(is_unknown) {
            self.recover(&ops, seed)?;
            return Ok(false);
        }
        let twins = self.give_twin(&ops, seed);
        if format!("{outcomes:?}") != format!("{twins:?}") {
            return Err(format!(
                "the twin answers {twins:?}, the store {outcomes:?}"
            ));
        }
        for (op, outcome) in ops.iter().zip(&outcomes) {
            if let Ok(done) = outcome {
                self.ledger.acknowledge(op, done)?;
            }
        }
        Ok(true)
    }

    fn give_twin(&self, ops: &[Op], seed: u64) -> Vec<Result<Done, WriteError>> {
        self.twin_machine.entropy.reseed(seed);
        let env = self.twin.default_environment();
        together(&self.twin, ops.iter().map(|op| submit(&self.twin, env, op)))
    }

    /// After a commit of unknown outcome: opens the store again and settles
    /// with the twin what became of it.
    fn recover(&mut self, in_flight: &[Op], seed: u64) -> Result<(), String> {
        self.open_again()?;
        let got = self.store().dump();
        if got != self.twin.dump() {
            let acknowledged = self.twin.dump();
            self.give_twin(in_flight, seed);
            let whole = self.twin.dump();
            if got != whole {
                return Err(format!(
                    "the rows are neither those before the commit nor those after it\n\
                     against before: {}\nagainst after: {}",
                    difference(&acknowledged, &got),
                    difference(&whole, &got),
                ));
            }
        }
        self.verify()
    }

    /// Reboots if the power is gone, and opens the store, again and again
    /// while crashes planned for the recovery hit it.
    fn open_again(&mut self) -> Result<(), String> {
        if !self.machine.disk.is_dead() && self.store().is_available() {
            return Ok(());
        }
        self.store = None;
        let mut last = String::new();
        for _ in 0..OPENINGS_MAX {
            if self.machine.disk.is_dead() {
                self.machine.disk.reboot();
                if self.rng.chance(40) {
                    let soon = 1 + self.rng.below(12);
                    self.machine
                        .disk
                        .crash_at(self.machine.disk.operations() + soon);
                }
            }
            let had_fault = self.machine.disk.has_fault();
            match self.machine.open() {
                Ok(store) => {
                    self.store = Some(store);
                    return Ok(());
                }
                Err(error) => last = error.to_string(),
            }
            let excused = self.machine.disk.is_dead() || had_fault;
            if !excused {
                break;
            }
        }
        Err(format!("the store does not open: {last}"))
    }

    fn verify(&self) -> Result<(), String> {
        let report = self.store().check().map_err(|error| error.to_string());
        // A crash planned for later cannot hit here: checking writes nothing.
        let report = report?;
        if !report.is_sound() {
            return Err(format!("the tables do not agree: {:#?}", report.problems));
        }
        self.ledger.verify(self.store())
    }

    /// Ends with a loss of power, and looks at what is left, to the last page.
    fn end(mut self) -> Result<(), String> {
        let disk = self.machine.disk.clone();
        disk.set_fault(None);
        disk.reboot();
        self.store = None;
        self.store = Some(self.machine.open().map_err(|error| error.to_string())?);
        if self.store().dump() != self.twin.dump() {
            let difference = difference(&self.twin.dump(), &self.store().dump());
            return Err(format!("after the last crash: {difference}"));
        }
        self.verify()?;
        while now_or_pump(self.store(), self.store().sweep()).map_err(|e| e.to_string())? {}
        self.store().close();
        verify_pages(&disk)
    }
}

/// Whether redb finds its own pages sound.
fn verify_pages(disk: &Disk) -> Result<(), String> {
    let backend = disk.fork(0).handle();
    let mut database = Builder::new()
        .create_with_backend(backend)
        .map_err(|error| error.to_string())?;
    match database.check_integrity() {
        Ok(true) => Ok(()),
        other => Err(format!("the pages are not sound: {other:?}")),
    }
}

fn difference(want: &Rows, got: &Rows) -> String {
    let keys = |rows: &Rows| -> BTreeSet<(&'static str, Vec<u8>, Vec<u8>)> {
        rows.iter().cloned().collect()
    };
    let (want, got) = (keys(want), keys(got));
    let tables = |rows: Vec<&(&'static str, Vec<u8>, Vec<u8>)>| {
        rows.iter().map(|row| row.0).collect::<Vec<_>>()
    };
    format!(
        "missing {:?}, unexpected {:?}",
        tables(want.difference(&got).collect()),
        tables(got.difference(&want).collect()),
    )
}

/// Up to three crashes at random moments; those after the first can hit the
/// recovery from the one before.
fn crash_now_and_then(mut cycle: Cycle) -> Result<(), String> {
    for _ in 0..=cycle.rng.below(3) {
        let disk = cycle.machine.disk.clone();
        let ahead = 1 + cycle.rng.below(160);
        disk.crash_at(disk.operations() + ahead);
        for _ in 0..STEPS_MAX {
            if !cycle.step()? {
                break;
            }
        }
    }
    cycle.end()
}

/// A fault at a random moment; then work goes on, and the power goes.
fn fail_once(mut cycle: Cycle, fault: fn(u64) -> Fault) -> Result<(), String> {
    let disk = cycle.machine.disk.clone();
    let at = disk.operations() + 1 + cycle.rng.below(120);
    disk.set_fault(Some(fault(at)));
    for _ in 0..STEPS_MAX {
        cycle.step()?;
    }
    cycle.end()
}

#[test]
fn what_was_acknowledged_survives_crashes() {
    cycles("crashes", Durability::Safe, |cycle, _| {
        crash_now_and_then(cycle)
    });
}

#[test]
fn what_was_acknowledged_survives_crashes_with_fast_commits() {
    cycles("crashes", Durability::Fast, |cycle, _| {
        crash_now_and_then(cycle)
    });
}

#[test]
fn what_was_acknowledged_survives_a_sync_that_fails() {
    for durability in [Durability::Safe, Durability::Fast] {
        cycles("a failed sync", durability, |cycle, _| {
            fail_once(cycle, |at| Fault::SyncFails { at })
        });
    }
}

/// Safe commits alone: with fast ones the store takes what the cache shows for
/// what is on disk, builds on it, and may not open after the power has gone.
#[test]
fn what_was_acknowledged_survives_a_sync_that_fails_unseen() {
    cycles("a failed sync, unseen", Durability::Safe, |cycle, _| {
        fail_once(cycle, |at| Fault::SyncFailsUnseen { at })
    });
}

#[test]
fn what_was_acknowledged_survives_a_full_disk() {
    for durability in [Durability::Safe, Durability::Fast] {
        cycles("a full disk", durability, |cycle, _| {
            fail_once(cycle, |at| Fault::Full { at })
        });
    }
}

/// The control: on a disk that only claims to sync, no store can keep its
/// promise. If nothing is found here, nothing found elsewhere means anything.
#[test]
fn a_disk_that_lies_is_caught() {
    let mut caught = 0;
    let base = Base::new(Durability::Safe);
    for seed in 0..CYCLES {
        let cycle = base.cycle(seed);
        let lies = Fault::SyncLies { every: 3 };
        cycle.machine.disk.set_fault(Some(lies));
        // What redb makes of such a file may be a panic, which counts as well.
        let run = std::panic::AssertUnwindSafe(|| crash_now_and_then(cycle));
        caught += u64::from(!matches!(std::panic::catch_unwind(run), Ok(Ok(()))));
    }
    assert!(
        caught > CYCLES / 10,
        "only {caught} of {CYCLES} were caught"
    );
}

/// A script of commits, and the rows after each of them.
struct Script {
    start: Machine,
    commits: Vec<(Vec<Op>, u64)>,
    rows: Vec<Rows>,
    operations: u64,
}

impl Script {
    fn new(durability: Durability) -> Self {
        let base = Base::new(durability);
        let machine = base.machine.fork(2);
        let mut script = Self {
            start: base.machine,
            commits: Vec::new(),
            rows: Vec::new(),
            operations: 0,
        };
        let store = machine.open().unwrap();
        let mut rng = Rng::new(2);
        script.rows.push(store.dump());
        for seed in 0..SCRIPT_STEPS {
            let ops = generate(&store, &machine.clock, &mut rng);
            script.commits.push((ops, seed));
            let outcomes = script.commit(&machine, &store, script.commits.len() - 1);
            assert!(!outcomes.iter().any(is_unknown), "{outcomes:?}");
            script.rows.push(store.dump());
        }
        script.operations = machine.disk.operations() - script.start.disk.operations();
        script
    }

    /// Runs the commit numbered `number`.
    fn commit(
        &self,
        machine: &Machine,
        store: &Store,
        number: usize,
    ) -> Vec<Result<Done, WriteError>> {
        let (ops, seed) = &self.commits[number];
        machine.clock.set_wall(workload::moment(*seed));
        machine.entropy.reseed(*seed);
        let env = store.default_environment();
        together(store, ops.iter().map(|op| submit(store, env, op)))
    }

    /// Crashes at operation `at` and looks at what is left.
    fn crash_at(&self, at: u64) -> Result<(), String> {
        let machine = self.start.fork(at);
        machine.disk.crash_at(machine.disk.operations() + at);
        let mut acknowledged = 0;
        if let Ok(store) = machine.open() {
            while acknowledged < self.commits.len()
                && !self
                    .commit(&machine, &store, acknowledged)
                    .iter()
                    .any(is_unknown)
            {
                acknowledged += 1;
            }
        }
        machine.disk.reboot();
        let store = machine.open().map_err(|error| error.to_string())?;
        let rows = store.dump();
        let before = rows == self.rows[acknowledged];
        if !before && self.rows.get(acknowledged + 1) != Some(&rows) {
            let difference = difference(&self.rows[acknowledged], &rows);
            return Err(format!("after commit {acknowledged}: {difference}"));
        }
        let report = store.check().map_err(|error| error.to_string())?;
        if !report.is_sound() {
            return Err(format!("the tables do not agree: {:#?}", report.problems));
        }
        let next = acknowledged + usize::from(!before);
        if next < self.commits.len() {
            self.commit(&machine, &store, next);
            if store.dump() != self.rows[next + 1] {
                return Err(format!("after commit {next}, which followed the crash"));
            }
        }
        Ok(())
    }
}

fn crash_everywhere(durability: Durability) {
    let script = Script::new(durability);
    for at in 1..=script.operations {
        if let Err(violation) = script.crash_at(at) {
            panic!("{durability:?}, crash at operation {at}: {violation}");
        }
    }
}

#[test]
fn a_crash_at_every_operation_of_a_script_loses_nothing() {
    crash_everywhere(Durability::Safe);
}

#[test]
fn a_crash_at_every_operation_of_a_script_loses_nothing_with_fast_commits() {
    crash_everywhere(Durability::Fast);
}

#[test]
fn the_scope_of_the_environment_covers_what_the_workload_makes() {
    let base = Base::new(Durability::Safe);
    let store = base.machine.open().unwrap();
    let scope = Scope::of_environment(store.default_environment());
    assert!(!store.list_applications(scope, 0, 100).unwrap().is_empty());
    let report = store.check().unwrap();
    assert!(report.is_sound(), "{:#?}", report.problems);
    assert!(report.messages > 0 && report.deliveries > 0);
}
