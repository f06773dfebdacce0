//! Forgetting what retention does not keep, sweeping up after deletions, and
//! rolling up counters, writing down when API keys were last used.

use std::time::Duration;

use super::Engine;
use crate::domain::time::Timestamp;
use crate::store::{Retention, WriteError};

/// Between two passes of retention.
const RETENTION_EVERY: Duration = Duration::from_mins(1);
/// Between two writes of when API keys were last used. What a stop in between
/// forgets is less than that.
const USES_EVERY: Duration = Duration::from_mins(1);
/// Between two looks for something deleted.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// Between two passes of the roll-up.
const ROLL_UP_EVERY: Duration = Duration::from_mins(1);
/// Between two steps, so that requests come first.
const STEP_PAUSE: Duration = Duration::from_millis(2);

impl Engine {
    /// Sweeps, forgets and rolls up, a bounded step at a time, for ever.
    pub async fn prune(self, retention: Retention) {
        tokio::join!(
            self.sweep_for_ever(),
            self.retire_for_ever(retention),
            self.roll_up_for_ever(),
            self.keep_uses_for_ever(),
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
        let kept_ms = u64::try_from(retention.attempts.as_millis()).unwrap_or(u64::MAX);
        let kept_since = Timestamp(self.inner.clock.now().0.saturating_sub(kept_ms));
        while self.inner.store.forget_jobs(kept_since).await? > 0 {
            self.inner.clock.sleep(STEP_PAUSE).await;
        }
        while self.inner.store.forget_tokens().await? > 0 {
            self.inner.clock.sleep(STEP_PAUSE).await;
        }
        while self.inner.store.forget_requests(kept_since).await? > 0 {
            self.inner.clock.sleep(STEP_PAUSE).await;
        }
        while self.inner.store.forget_seen().await? > 0 {
            self.inner.clock.sleep(STEP_PAUSE).await;
        }
        while self.inner.store.forget_unused_inboxes().await? > 0 {
            self.inner.clock.sleep(STEP_PAUSE).await;
        }
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

    async fn roll_up_for_ever(&self) {
        loop {
            self.inner.clock.sleep(ROLL_UP_EVERY).await;
            if let Err(error) = self.roll_up_once().await {
                tracing::error!(%error, "rolling up counters failed; trying again");
            }
        }
    }

    async fn roll_up_once(&self) -> Result<(), WriteError> {
        while self.inner.store.roll_up().await? {
            self.inner.clock.sleep(STEP_PAUSE).await;
        }
        Ok(())
    }
}
