//! No event is taken twice, wherever the store has it at the moment: in memory,
//! on its way into the table, in the table, or none of it read yet.

use std::time::Duration;

use hookpost::domain::ids::SourceKey;
use hookpost::domain::principal::{Principal, Scope};
use hookpost::domain::source::{SourceChange, Verdict};
use hookpost::domain::verification::Verification;
use hookpost::store::{Arrival, Durability, Judgement, NewEvent, Store, Taken, Written};
use sha2::{Digest as _, Sha256};

use crate::support::store::{Machine, Verb, now_or_pump, together};

/// Events that one commit brings.
const TOGETHER: usize = 200;
/// More than memory holds before it merges, twice.
const MANY: u64 = 20_000;

fn source(store: &Store) -> SourceKey {
    let environment = store.default_environment();
    let made = store.create_application(environment, "a".to_owned(), None, None);
    let Written::Fresh(application) = now_or_pump(store, made).expect("it is made") else {
        unreachable!("without an idempotency key nothing is repeated");
    };
    let change = SourceChange {
        slug: Some("events".to_owned()),
        verification: Some(Verification {
            preset: "none".to_owned(),
            ..Verification::default()
        }),
        ..SourceChange::default()
    };
    let operator = Principal::operator(Scope::of_environment(environment));
    let made = store.create_source(operator, application.key, change, None);
    let Written::Fresh(source) = now_or_pump(store, made).expect("it is made") else {
        unreachable!("without an idempotency key nothing is repeated");
    };
    source.settings.key
}

fn event(id: u64) -> NewEvent {
    let hash = Sha256::digest(id.to_be_bytes());
    NewEvent {
        event_type: "a.b".to_owned(),
        content_type: "text/plain".to_owned(),
        forwarded: Vec::new(),
        id_hash: Some(*hash.first_chunk().expect("thirty-two bytes")),
        record: None,
        announce: None,
    }
}

fn arrival() -> Arrival {
    Arrival {
        method: "POST".to_owned(),
        path: String::new(),
        headers: Vec::new(),
        body: "x".into(),
        peer: None,
    }
}

fn judgement(verdict: Verdict) -> Judgement {
    Judgement {
        verdict,
        reason: String::new(),
        answered: 200,
        took_us: 1,
    }
}

/// Takes these events, some hundred in each commit; how many were new.
fn take(store: &Store, source: SourceKey, ids: impl IntoIterator<Item = u64>) -> usize {
    let ids: Vec<u64> = ids.into_iter().collect();
    let mut accepted = 0;
    for some in ids.chunks(TOGETHER) {
        let verbs = some.iter().map(|id| -> Verb<'_, bool> {
            let judgement = judgement(Verdict::Accepted);
            let taken = store.take_event(source, arrival(), judgement, event(*id));
            Box::pin(async {
                let taken = taken.await.expect("the store works");
                matches!(taken, Taken::Accepted { .. })
            })
        });
        let taken = together(store, verbs);
        accepted += taken.into_iter().filter(|accepted| *accepted).count();
    }
    accepted
}

fn is_sound(store: &Store) {
    let report = store.check().expect("it can be read");
    assert!(report.is_sound(), "{:?}", report.problems);
}

fn forget_all(store: &Store) -> usize {
    let mut forgotten = 0;
    loop {
        match now_or_pump(store, store.forget_seen()).expect("the store works") {
            0 => return forgotten,
            some => forgotten += some,
        }
    }
}

#[test]
fn an_event_is_taken_once_through_merges_and_crashes() {
    let machine = Machine::new(1, Durability::Safe);
    let store = machine.open().expect("it opens");
    let source = source(&store);
    for from in (0..MANY).step_by(2_000) {
        assert_eq!(take(&store, source, from..from + 2_000), 2_000, "{from}");
        // A third of what came, from all times.
        let again = (0..from + 2_000).step_by(37);
        assert_eq!(take(&store, source, again.clone()), 0, "after {from}");
        // What a machine has that lost its power now.
        let crashed = machine.fork(from);
        let other = crashed.open().expect("it opens");
        is_sound(&other);
        assert_eq!(take(&other, source, again), 0, "after a crash at {from}");
        let more = take(&other, source, from + 2_000..from + 2_400);
        assert_eq!(more, 400, "after a crash at {from}");
        is_sound(&other);
    }
    is_sound(&store);
    assert_eq!(take(&store, source, 0..MANY), 0);
    // A day later nothing of it is known, and nothing of it is kept.
    machine.clock.advance(Duration::from_hours(25));
    assert_eq!(take(&store, source, 0..500), 500);
    assert_eq!(forget_all(&store), 20_000);
    assert_eq!(take(&store, source, 0..500), 0);
    is_sound(&store);
    let crashed = machine.fork(7).open().expect("it opens");
    is_sound(&crashed);
    assert_eq!(take(&crashed, source, 0..500), 0);
    assert_eq!(take(&crashed, source, 500..1000), 500);
}

#[test]
fn what_is_forgotten_on_its_way_into_the_table_does_not_come_back() {
    let machine = Machine::new(2, Durability::Safe);
    let store = machine.open().expect("it opens");
    let source = source(&store);
    // Enough that a merge has begun, and is not done.
    assert_eq!(take(&store, source, 0..8_600), 8_600);
    machine.clock.advance(Duration::from_hours(25));
    assert_eq!(forget_all(&store), 8_600);
    is_sound(&store);
    assert_eq!(take(&store, source, 0..8_600), 8_600);
    assert_eq!(take(&store, source, 0..8_600), 0);
    is_sound(&store);
    machine.clock.advance(Duration::from_hours(25));
    assert_eq!(forget_all(&store), 8_600);
    is_sound(&store);
}

#[test]
fn the_later_of_two_with_one_id_is_the_one_that_counts() {
    let machine = Machine::new(3, Durability::Safe);
    let store = machine.open().expect("it opens");
    let source = source(&store);
    assert_eq!(take(&store, source, 0..9_000), 9_000);
    machine.clock.advance(Duration::from_hours(25));
    // Once more, until the table has the later ones; the first are not forgotten yet.
    assert_eq!(take(&store, source, 0..9_000), 9_000);
    assert_eq!(take(&store, source, 10_000..30_000), 20_000);
    assert_eq!(forget_all(&store), 9_000);
    assert_eq!(take(&store, source, 0..9_000), 0);
    is_sound(&store);
}

#[test]
fn an_event_that_is_accepted_after_all_is_not_taken_again() {
    let machine = Machine::new(4, Durability::Safe);
    let store = machine.open().expect("it opens");
    let source = source(&store);
    assert_eq!(take(&store, source, 0..10), 10);
    machine.clock.advance(Duration::from_hours(25));
    // The same id comes a day later, is refused, and accepted after all: in the
    // table at once, while memory has the first.
    let kept = store.keep_refused(source, arrival(), judgement(Verdict::Rejected), 0);
    let kept = now_or_pump(&store, kept).expect("the store works");
    let receipt = store.receipt(source, kept).expect("it reads");
    let receipt = receipt.expect("it was kept");
    let judged = judgement(Verdict::Accepted);
    let taken = store.take_after_all(receipt, arrival(), judged, event(7), None);
    let taken = now_or_pump(&store, taken).expect("the store works");
    assert!(matches!(taken, Written::Fresh(Taken::Accepted { .. })));
    assert_eq!(take(&store, source, [7]), 0);
    // Memory goes into the table meanwhile.
    assert_eq!(take(&store, source, 1_000..18_000), 17_000);
    assert_eq!(take(&store, source, [7]), 0);
    is_sound(&store);
    let crashed = machine.fork(1).open().expect("it opens");
    assert_eq!(take(&crashed, source, [7]), 0);
}
