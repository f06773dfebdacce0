//! The whole of the data plane, in a world that is nothing but a seed.
//!
//! The real store and the real engine run on a disk that loses power, under a
//! clock that jumps, towards endpoints that misbehave, in one thread: the seed
//! decides what happens and in which order. What must hold is in `oracle.rs`.
//!
//! `HOOKPOST_SIM_SEED=n` runs one seed, `HOOKPOST_SIM_SEEDS=count` more of them.

mod operator;
mod oracle;
mod told;
mod transport;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use self::oracle::lock;
use self::transport::Script;
use self::world::{Profile, World};

/// Seeds of each of the tests below.
const SEEDS: u64 = 50;

/// Seeds whose worlds broke a promise before what they found was mended.
const ONCE_BROKEN: [(u64, &str); 4] = [
    (0, "a replay of what waits in memory led to two sends"),
    (2, "a replay during an attempt gave its delivery one more"),
    (
        143,
        "after a reopening, sending went on to a disabled endpoint",
    ),
    (
        224,
        "an attempt whose record had an unknown end counted twice",
    ),
];
/// Messages that wait for an endpoint that hangs, while another is to get its own.
const WAITING_FOR_NOTHING: usize = 2000;
/// Within this an endpoint gets a message, whatever others do.
const FAIR: Duration = Duration::from_millis(200);

/// What a world comes to.
#[derive(Debug)]
struct Report {
    trace_hash: u64,
    violation: Option<String>,
}

/// What is wrong in the world of this seed; a lying disk makes nothing certain.
#[cfg(feature = "mutants")]
pub(crate) fn violation(seed: u64, lies: bool) -> Option<String> {
    let mut profile = Profile::of(seed);
    profile.lies = lies;
    let report = catch_unwind(AssertUnwindSafe(|| live(profile)));
    report.map_or(Some("it panicked".to_owned()), |report| report.violation)
}

/// Lives through a world.
fn live(profile: Profile) -> Report {
    let mut world = World::new(profile);
    world.create_app();
    world.create_app();
    world.settle();
    for _ in 0..4 {
        let script = operator::script(&mut world);
        world.create_endpoint(script);
    }
    world.settle();
    for _ in 0..world.profile.steps {
        step(&mut world);
        if world.is_wrong() {
            break;
        }
    }
    if !world.is_wrong() {
        world.finish();
    }
    report(&world)
}

fn report(world: &World) -> Report {
    let ledger = lock(&world.ledger);
    Report {
        trace_hash: ledger.trace_hash(),
        violation: ledger.verdict(),
    }
}

/// Lives through a world in which thousands wait for an endpoint that hangs,
/// and another's messages come one by one.
pub(crate) fn live_beside_one_that_hangs() -> Option<String> {
    let mut world = World::new(Profile::quiet(100));
    world.create_app();
    world.create_app();
    world.settle();
    let well = Script::Answers {
        status: 200,
        after: Duration::from_millis(20),
    };
    world.create_endpoint_of(0, Script::Hangs, None, None);
    world.create_endpoint_of(1, well, None, None);
    world.settle();
    for _ in 0..WAITING_FOR_NOTHING {
        world.post_to(0);
    }
    for number in 1..=60 {
        world.post_to(1);
        world.settle();
        world.pass(FAIR);
        world.settle();
        let gets = lock(&world.ledger).endpoints[1].gets;
        if gets != number {
            world.violated(format_args!(
                "{number} were posted, {gets} sent after {FAIR:?}"
            ));
        }
        world.pass(Duration::from_millis(900));
    }
    report(&world).violation
}

/// Something happens.
fn step(world: &mut World) {
    match world.rng.below(100) {
        0..22 => world.run_tasks(),
        22..42 => {
            world.pump();
        }
        42..57 => world.post_new(),
        57..60 => world.post_again(),
        60..62 => {
            let burst = if world.rng.chance(10) { 150 } else { 15 };
            for _ in 0..world.rng.below(burst) {
                world.post_new();
            }
        }
        62..75 => world.operate(),
        75..95 => {
            let choices = [
                1, 20, 100, 500, 1000, 1000, 5000, 20_000, 300_000, 4_000_000,
            ];
            let wait_ms = *world.rng.pick(&choices).expect("a choice");
            world.advance(Duration::from_millis(wait_ms));
        }
        95..97 => {
            let by = *world.rng.pick(&[1, 3600, 86_400]).expect("a choice");
            let forth = world.rng.chance(50);
            world.step_wall(forth, Duration::from_secs(by));
        }
        _ if world.rng.chance(world.profile.crash_percent * 10) => {
            if world.rng.chance(40) {
                world.crash();
            } else {
                world.plan_fault();
            }
        }
        _ => {}
    }
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed, and says how to run it again when it fails.
fn run(seed: u64) -> Report {
    let report = catch_unwind(AssertUnwindSafe(|| live(Profile::of(seed))));
    let again = format!(
        "SIM_SEED={seed}; run it with HOOKPOST_SIM_SEED={seed} cargo test --test it simulation::one_seed"
    );
    match report {
        Ok(report) => {
            let violation = report.violation.as_deref();
            assert!(
                violation.is_none(),
                "{again}\n{}",
                violation.unwrap_or_default()
            );
            report
        }
        Err(panic) => {
            eprintln!("{again}");
            resume_unwind(panic);
        }
    }
}

/// Runs a share of the seeds.
fn run_share(share: u64) {
    let count = number_from_environment("HOOKPOST_SIM_SEEDS").map_or(SEEDS, |all| all.div_ceil(4));
    for seed in share * 1_000_000..share * 1_000_000 + count {
        run(seed);
    }
}

#[test]
fn one_seed() {
    if let Some(seed) = number_from_environment("HOOKPOST_SIM_SEED") {
        let report = run(seed);
        eprintln!("{report:?}");
    }
}

#[test]
fn nothing_promised_is_broken_in_the_first_worlds() {
    run_share(0);
}

#[test]
fn nothing_promised_is_broken_in_the_second_worlds() {
    run_share(1);
}

#[test]
fn nothing_promised_is_broken_in_the_third_worlds() {
    run_share(2);
}

#[test]
fn nothing_promised_is_broken_in_the_fourth_worlds() {
    run_share(3);
}

#[test]
fn worlds_that_were_broken_once_are_whole() {
    for (seed, what) in ONCE_BROKEN {
        eprintln!("{what}");
        run(seed);
    }
}

#[test]
fn an_endpoint_that_hangs_keeps_nobody_waiting() {
    let violation = live_beside_one_that_hangs();
    assert!(violation.is_none(), "{}", violation.unwrap_or_default());
}

#[test]
fn the_same_seed_lives_the_same_life() {
    for seed in 0..6 {
        assert_eq!(
            run(seed).trace_hash,
            run(seed).trace_hash,
            "SIM_SEED={seed}"
        );
    }
}
