//! Whether the simulation would notice: with a fault put in on purpose, some
//! promise has to be found broken within a few seeds.
//!
//! `cargo nextest run --features mutants simulation_mutants`

use hookpost::seams::mutant::{Mutant, with};

use crate::simulation::{live_beside_one_that_hangs, violation};

/// Seeds within which a fault has to be noticed.
const SEEDS_MAX: u64 = 60;

/// Finds the first seed that notices.
fn check(what: &str, mutant: Option<Mutant>, lies: bool) {
    let notices = |seed: &u64| match mutant {
        Some(mutant) => with(mutant, || violation(*seed, lies)).is_some(),
        None => violation(*seed, lies).is_some(),
    };
    let first = (0..SEEDS_MAX).find(notices);
    let seed = first.unwrap_or_else(|| panic!("{what}: not noticed in {SEEDS_MAX} seeds"));
    eprintln!("{what}: noticed at seed {seed}");
}

#[test]
fn an_answer_before_the_commit_is_noticed() {
    check(
        "answer before commit",
        Some(Mutant::AnswerBeforeCommit),
        false,
    );
}

#[test]
fn a_forgotten_due_row_is_noticed() {
    check("forgotten due row", Some(Mutant::ForgottenRetry), false);
}

#[test]
fn a_forgotten_operational_event_is_noticed() {
    let mutant = Some(Mutant::ForgottenEvent);
    check("forgotten operational event", mutant, false);
}

#[test]
fn an_unbounded_body_is_noticed() {
    check("unbounded body", Some(Mutant::WholeBody), false);
}

#[test]
fn a_lane_without_a_cap_is_noticed() {
    let violation = with(Mutant::NoLaneCap, live_beside_one_that_hangs);
    assert!(violation.is_some(), "no lane cap: not noticed");
}

#[test]
fn a_disk_that_lies_is_noticed() {
    check("lying disk", None, true);
}
