//! How much an endpoint can take: a cap on what is in flight that adapts, and
//! a circuit breaker for one that takes nothing.

use std::time::Duration;

use super::attempt::Outcome;
use super::time::Timestamp;

/// In flight to one endpoint: at first, and at most.
pub const IN_FLIGHT_START: u16 = 16;
pub const IN_FLIGHT_MAX: u16 = 64;
/// An answer faster than this lets the cap grow.
const QUICK: Duration = Duration::from_secs(1);
/// Answers in a row that say "not now" before the circuit opens.
const OPEN_AFTER: u32 = 10;
const OPEN_FIRST: Duration = Duration::from_secs(30);
/// How long nothing is sent to an endpoint, whatever it answered.
pub const OPEN_MAX: Duration = Duration::from_mins(5);

/// What one attempt says about the endpoint, whatever it says about the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It answered. (An error status such as 500 or 404 is about the message.)
    Answered { quick: bool },
    /// It cannot take more now: 429, 502, 503, 504, or no HTTP answer at all.
    Overloaded,
}

impl Signal {
    #[must_use]
    pub fn of(outcome: &Outcome, took: Duration) -> Self {
        match outcome {
            Outcome::Response {
                status: 429 | 502 | 503 | 504,
            } => Self::Overloaded,
            Outcome::Response { .. } => Self::Answered {
                quick: took <= QUICK,
            },
            _ => Self::Overloaded,
        }
    }
}

/// The cap and the breaker of one endpoint. In memory only: after a restart an
/// endpoint gets the benefit of the doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    cap: u16,
    overloaded_in_a_row: u32,
    open_until: Option<Timestamp>,
    open_for: Duration,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            cap: IN_FLIGHT_START,
            overloaded_in_a_row: 0,
            open_until: None,
            open_for: OPEN_FIRST,
        }
    }
}

impl Throttle {
    /// How many may be in flight now. Zero while the circuit is open; one, the
    /// probe, when its time is over.
    #[must_use]
    pub fn allowed(&self, now: Timestamp) -> u16 {
        match self.open_until {
            Some(until) if holds(until, now) => 0,
            Some(_) => 1,
            None => self.cap,
        }
    }

    /// When an open circuit lets a probe through.
    #[must_use]
    pub fn opens_again(&self) -> Option<Timestamp> {
        self.open_until
    }

    /// Learns from one attempt.
    pub fn learn(&mut self, signal: Signal, now: Timestamp) {
        match signal {
            Signal::Answered { quick } => {
                self.overloaded_in_a_row = 0;
                if self.open_until.take().is_some() {
                    self.cap = 1;
                    self.open_for = OPEN_FIRST;
                }
                if quick {
                    self.cap = (self.cap + 1).min(IN_FLIGHT_MAX);
                } else {
                    self.cap = self.cap.saturating_sub(1).max(1);
                }
            }
            Signal::Overloaded => {
                self.cap = 1;
                self.overloaded_in_a_row += 1;
                let probe_failed = self.open_until.is_some_and(|until| !holds(until, now));
                if probe_failed {
                    self.open_for = (self.open_for * 2).min(OPEN_MAX);
                    self.open_until = Some(now.plus(self.open_for));
                } else if self.overloaded_in_a_row >= OPEN_AFTER && self.open_until.is_none() {
                    self.open_until = Some(now.plus(self.open_for));
                }
            }
        }
    }

    /// Holds everything back until `until`, as a response asked for.
    pub fn hold_until(&mut self, until: Timestamp) {
        self.open_until = Some(self.open_until.map_or(until, |earlier| earlier.max(until)));
    }
}

/// Whether what is held back until then is held back now. Nothing is held back
/// longer than [`OPEN_MAX`]: a later `until` is from before the clock was set back.
fn holds(until: Timestamp, now: Timestamp) -> bool {
    now < until && until.since(now) <= OPEN_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_000_000);

    fn at(seconds: u64) -> Timestamp {
        Timestamp(T0.0 + seconds * 1000)
    }

    #[test]
    fn the_cap_grows_while_answers_are_quick_and_falls_to_one_on_overload() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.allowed(T0), IN_FLIGHT_START);
        for _ in 0..100 {
            throttle.learn(Signal::Answered { quick: true }, T0);
        }
        assert_eq!(throttle.allowed(T0), IN_FLIGHT_MAX);
        throttle.learn(Signal::Answered { quick: false }, T0);
        assert_eq!(throttle.allowed(T0), IN_FLIGHT_MAX - 1);
        throttle.learn(Signal::Overloaded, T0);
        assert_eq!(throttle.allowed(T0), 1);
    }

    #[test]
    fn the_circuit_opens_after_ten_refusals_in_a_row_and_closes_after_a_good_probe() {
        let mut throttle = Throttle::default();
        for _ in 0..9 {
            throttle.learn(Signal::Overloaded, T0);
        }
        throttle.learn(Signal::Answered { quick: true }, T0);
        for _ in 0..9 {
            throttle.learn(Signal::Overloaded, T0);
        }
        assert_eq!(throttle.allowed(T0), 1, "nine are not enough");
        throttle.learn(Signal::Overloaded, T0);
        assert_eq!(throttle.allowed(at(29)), 0);
        assert_eq!(throttle.allowed(at(30)), 1, "one probe");
        throttle.learn(Signal::Overloaded, at(30));
        assert_eq!(throttle.allowed(at(89)), 0, "twice as long");
        assert_eq!(throttle.allowed(at(90)), 1);
        throttle.learn(Signal::Answered { quick: true }, at(90));
        assert_eq!(throttle.allowed(at(90)), 2, "and slowly up again");
    }

    #[test]
    fn a_late_failure_of_before_does_not_count_as_a_failed_probe() {
        let mut throttle = Throttle::default();
        for _ in 0..12 {
            throttle.learn(Signal::Overloaded, T0);
        }
        assert_eq!(throttle.opens_again(), Some(at(30)));
    }

    #[test]
    fn a_circuit_is_not_open_for_a_day_because_the_clock_was_set_back() {
        let mut throttle = Throttle::default();
        throttle.hold_until(at(24 * 3600));
        assert_eq!(throttle.allowed(T0), 1, "a probe");
        assert_eq!(throttle.allowed(at(24 * 3600 - 300)), 0);
    }

    #[test]
    fn statuses_are_about_the_message_or_about_the_endpoint() {
        for (status, want) in [
            (200, Signal::Answered { quick: true }),
            (404, Signal::Answered { quick: true }),
            (500, Signal::Answered { quick: true }),
            (429, Signal::Overloaded),
            (502, Signal::Overloaded),
            (503, Signal::Overloaded),
            (504, Signal::Overloaded),
        ] {
            assert_eq!(
                Signal::of(&Outcome::Response { status }, Duration::ZERO),
                want,
                "{status}"
            );
        }
        let timed_out = Outcome::TimedOut {
            detail: String::new(),
        };
        assert_eq!(Signal::of(&timed_out, Duration::ZERO), Signal::Overloaded);
        assert_eq!(
            Signal::of(&Outcome::Response { status: 200 }, Duration::from_secs(8)),
            Signal::Answered { quick: false }
        );
    }
}
