//! How long to wait before the next try at a connection.

use std::time::Duration;

/// Waits before the first tries; after them it is [`WAIT_MAX`] for ever.
const WAITS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// The longest wait, before its jitter.
pub const WAIT_MAX: Duration = Duration::from_secs(5);
/// The share of a wait by which it may be longer or shorter.
const JITTER: f64 = 0.2;

/// The wait before a try, when `failed` tries in a row came to nothing.
///
/// `jitter` is a fraction in `0.0..1.0`. The first wait is none: most
/// connections end because a server or a proxy was restarted. Later ones are
/// spread, so that the listeners of a server do not come back all at once.
#[must_use]
pub fn wait(failed: usize, jitter: f64) -> Duration {
    let wait = WAITS.get(failed).copied().unwrap_or(WAIT_MAX);
    wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_seconds_and_are_spread() {
        for (failed, jitter, want_ms) in [
            (0, 0.0, 0),
            (0, 0.9, 0),
            (1, 0.5, 100),
            (2, 0.5, 500),
            (3, 0.5, 1000),
            (4, 0.5, 2000),
            (5, 0.5, 5000),
            (5, 0.0, 4000),
            (6, 0.5, 5000),
            (usize::MAX, 0.5, 5000),
        ] {
            let got = wait(failed, jitter).as_millis();
            assert_eq!(got, want_ms, "{failed} failed, jitter {jitter}");
        }
        assert!(wait(9, 0.999) <= Duration::from_secs(6));
    }
}
