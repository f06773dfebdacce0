//! Waiting for what another process does, and giving up in the end.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// What `look` finds, looked for until it is there or `patience` has passed.
///
/// A look should be a question with an end: its own time counts too.
#[expect(
    clippy::disallowed_methods,
    reason = "the clock of another process cannot be moved"
)]
pub(crate) fn wait_for<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() >= patience {
            return None;
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}
