//! Time that moves only when told.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hookpost::domain::time::Timestamp;
use hookpost::seams::clock::Clock;

/// Where a simulated clock starts: 2026-11-22T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp(1_795_305_600_000);

/// The clock seam, moved by hand. Cheap to clone; clones are the same clock.
///
/// It has two hands, as a computer has. The wall clock is what
/// [`now`](Clock::now) shows; [`set_wall`](Self::set_wall) steps it, back or
/// forth, and wakes nobody. Waiting goes by the other hand, which only
/// [`advance`](Self::advance) moves (the wall with it): a sleep lasts what it
/// was asked to last, whatever the wall clock does meanwhile.
///
/// A loop that runs a simulation to its end looks like this:
///
/// ```text
/// run every task until all are idle;
/// match clock.next_wake() { Some(wait) => clock.advance(wait), None => done }
/// ```
#[derive(Clone)]
pub(crate) struct SimClock {
    state: Arc<Mutex<State>>,
}

struct State {
    wall: Timestamp,
    /// Time that has passed since the start.
    passed: Duration,
    /// Sleepers: their number, when they wake, and how they are told.
    sleepers: Vec<(u64, Duration, Option<Waker>)>,
    next_sleeper: u64,
}

impl SimClock {
    pub(crate) fn new(wall: Timestamp) -> Self {
        let state = State {
            wall,
            passed: Duration::ZERO,
            sleepers: Vec::new(),
            next_sleeper: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `wait` pass, and wakes who slept until then, the earliest first.
    pub(crate) fn advance(&self, wait: Duration) {
        let mut state = self.lock();
        state.passed += wait;
        state.wall = state.wall.plus(wait);
        let passed = state.passed;
        let mut due: Vec<_> = state
            .sleepers
            .iter_mut()
            .filter(|(_, wakes, _)| *wakes <= passed)
            .filter_map(|(number, wakes, waker)| Some((*wakes, *number, waker.take()?)))
            .collect();
        drop(state);
        due.sort_by_key(|(wakes, number, _)| (*wakes, *number));
        for (_, _, waker) in due {
            waker.wake();
        }
    }

    /// Steps the wall clock, as an operator or NTP does.
    pub(crate) fn set_wall(&self, wall: Timestamp) {
        self.lock().wall = wall;
    }

    /// How long until the next sleeper wakes; `None` when nobody sleeps.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        let state = self.lock();
        let wakes = state.sleepers.iter().map(|(_, wakes, _)| *wakes).min()?;
        Some(wakes.saturating_sub(state.passed))
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.lock().wall
    }

    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut state = self.lock();
        let number = state.next_sleeper;
        state.next_sleeper += 1;
        let wakes = state.passed + wait;
        state.sleepers.push((number, wakes, None));
        drop(state);
        Box::pin(Sleep {
            clock: self.clone(),
            number,
            wakes,
        })
    }
}

struct Sleep {
    clock: SimClock,
    number: u64,
    wakes: Duration,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.lock();
        if state.passed >= self.wakes {
            return Poll::Ready(());
        }
        for (number, _, waker) in &mut state.sleepers {
            if *number == self.number {
                *waker = Some(context.waker().clone());
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let mut state = self.clock.lock();
        state.sleepers.retain(|(number, ..)| *number != self.number);
    }
}

#[test]
fn a_sleep_lasts_as_long_as_it_was_asked_to_whatever_the_wall_clock_does() {
    let clock = SimClock::new(START);
    let mut context = Context::from_waker(Waker::noop());
    let mut short = clock.sleep(Duration::from_secs(2));
    let mut long = clock.sleep(Duration::from_secs(5));
    assert!(short.as_mut().poll(&mut context).is_pending());
    clock.set_wall(Timestamp(0));
    assert_eq!(clock.next_wake(), Some(Duration::from_secs(2)));
    clock.advance(Duration::from_secs(2));
    assert_eq!(clock.now(), Timestamp(2_000));
    assert!(short.as_mut().poll(&mut context).is_ready());
    assert!(long.as_mut().poll(&mut context).is_pending());
    drop((short, long));
    assert_eq!(clock.next_wake(), None);
}
