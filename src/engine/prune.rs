//! Forgetting what retention does not keep, sweeping up after deletions, and
//! writing down when API keys were last used.

use std::time::Duration;

use super::Engine;
use crate::store::{Retention, WriteError};

/// Between two passes of retention.
const RETENTION_EVERY: Duration = Duration::from_mins(1);
/// Between two writes of when API keys were last used. What a stop in between
/// forgets is less than that.
const USES_EVERY: Duration = Duration::from_mins(1);
/// Between two looks for something deleted.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Between two steps, so that requests come first.
const STEP_PAUSE: Duration = Duration::from_millis(2);

impl Engine {
    /// Sweeps and forgets, a bounded step at a time, for ever.
    pub async fn prune(self, retention: Retention) {
        tokio::join!(
            self.sweep_for_ever(),
            self.retire_for_ever(retention),
            self.keep_uses_for_ever()
        );
    }

    async fn sweep_for_ever(&self) {
        let inner = &self.inner;
        loop {
            inner.clock.sleep(SWEEP_EVERY).await;
            while inner.store.has_tombstones().unwrap_or(false) {
                if let Err(error) = inner.store.sweep().await {
                    tracing::error!(%error, "sweeping failed; trying again");
                    break;
                }
                inner.clock.sleep(STEP_PAUSE).await;
            }
        }
    }

    async fn keep_uses_for_ever(&self) {
        loop {
            self.inner.clock.sleep(USES_EVERY).await;
            while self.keep_some_uses().await {
                self.inner.clock.sleep(STEP_PAUSE).await;
            }
        }
    }

    /// Whether there may be more to write at once.
    async fn keep_some_uses(&self) -> bool {
        match self.inner.store.keep_api_key_uses().await {
            Ok(more) => more,
            Err(error) => {
                tracing::error!(%error, "cannot write when API keys were used; trying again");
                false
            }
        }
    }

    async fn retire_for_ever(&self, retention: Retention) {
        loop {
            self.inner.clock.sleep(RETENTION_EVERY).await;
            if let Err(error) = self.retire_once(retention).await {
                tracing::error!(%error, "retention failed; trying again");
            }
        }
    }

    /// One pass over everything that retention may take.
    pub async fn retire_once(&self, retention: Retention) -> Result<(), WriteError> {
        let mut from = None;
        loop {
            let retired = self.inner.store.retire(retention, from).await?;
            let idle = retired.attempts == 0
                && retired.messages == 0
                && retired.payloads == 0
                && retired.answers == 0
                && retired.audit == 0;
            if retired.next.is_none() && idle {
                return Ok(());
            }
            from = retired.next;
            self.inner.clock.sleep(STEP_PAUSE).await;
        }
    }
}
