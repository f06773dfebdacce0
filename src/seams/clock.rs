//! The only place that asks what time it is, or waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// Wall time and waiting. The system's in production, a test's in tests.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock. It may step, back as well as forth.
    fn now(&self) -> Timestamp;

    /// Completes after `wait`, whatever the wall clock does meanwhile.
    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A clock shared by everything in one server.
pub type SharedClock = Arc<dyn Clock>;

/// Real time since it was started, for a thread that paces itself. Nothing
/// that a test must repeat depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Default for Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "this is the clock seam")]
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Stopwatch {
    /// How long it has been running.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The operating system's clock and tokio's timer.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock seam")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock seam")]
    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(wait))
    }
}
