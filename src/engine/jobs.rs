//! Jobs, taken further a step at a time.
//!
//! A job feeds the queue of its endpoint only while little waits there: so it
//! goes as fast as the endpoint takes, a cancelled one stops soon, and an
//! endpoint that takes nothing gets no more.

use std::collections::HashMap;
use std::time::Duration;

use super::Engine;
use crate::domain::ids::{EndpointKey, JobKey};
use crate::domain::job::{Job, Pace};
use crate::domain::time::Timestamp;
use crate::store::{StoreError, WriteError};

/// Deliveries that may be due at an endpoint while a job adds to them.
const QUEUE_MAX: usize = 500;
/// A step is not made for less room than this.
const ROOM_MIN: usize = QUEUE_MAX / 2;
/// Messages that one step of an erasure is given; the store does fewer.
const ERASE_STEP: usize = 500;
/// Between two steps, so that requests come first.
const STEP_PAUSE: Duration = Duration::from_millis(2);
/// Until a queue is looked at again that was full, or a pace that was used up.
const QUEUE_LOOK: Duration = Duration::from_millis(20);
/// Until an endpoint is looked at again that is paused or left alone.
const HELD_LOOK: Duration = Duration::from_millis(500);
/// Until the store is looked at again, when no job runs.
const IDLE_LOOK: Duration = Duration::from_secs(5);

/// What can be done for a job now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// A step with so many deliveries.
    Take(usize),
    /// Nothing: its endpoint has enough to do, or its pace is kept.
    Soon,
    /// Nothing: its endpoint is paused, or left alone.
    Held,
}

impl Engine {
    /// Takes every running job further, by turns, for ever.
    pub async fn run_jobs(self) {
        let inner = &self.inner;
        let mut paces = HashMap::new();
        loop {
            let pause = match self.take_turns(&mut paces).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(%error, "jobs cannot go on; trying again");
                    HELD_LOOK
                }
            };
            tokio::select! {
                biased;
                () = inner.new_job.notified() => {}
                () = inner.clock.sleep(pause) => {}
            }
        }
    }

    /// One turn for each job; when to come again.
    async fn take_turns(&self, paces: &mut HashMap<JobKey, Pace>) -> Result<Duration, StoreError> {
        let running = self.inner.store.running_jobs()?;
        paces.retain(|key, _| running.iter().any(|job| job.key == *key));
        let mut pause = IDLE_LOOK;
        for job in &running {
            let now = self.inner.clock.now();
            let pace = paces.entry(job.key).or_insert_with(|| Pace::begin(now));
            let again = match self.turn(job, pace, now)? {
                Turn::Take(take) => {
                    self.step(job, pace, take).await?;
                    STEP_PAUSE
                }
                Turn::Soon => QUEUE_LOOK,
                Turn::Held => HELD_LOOK,
            };
            pause = pause.min(again);
        }
        Ok(pause)
    }

    fn turn(&self, job: &Job, pace: &mut Pace, now: Timestamp) -> Result<Turn, StoreError> {
        let room = match job.endpoint {
            Some(endpoint) => self.room(endpoint, now)?,
            None => Turn::Take(ERASE_STEP),
        };
        let Turn::Take(room) = room else {
            return Ok(room);
        };
        Ok(match room.min(pace.allowed(job.rate_per_second, now)) {
            0 => Turn::Soon,
            take => Turn::Take(take),
        })
    }

    /// What an endpoint's queue has room for.
    fn room(&self, endpoint: EndpointKey, now: Timestamp) -> Result<Turn, StoreError> {
        let store = &self.inner.store;
        match store.live_endpoint(endpoint)? {
            Some(live) if live.sends() => {}
            Some(live) if live.is_enabled() => return Ok(Turn::Held),
            // The step is told so too, and ends the job.
            _ => return Ok(Turn::Take(1)),
        }
        let appetite = self.inner.lock().appetite(endpoint, now);
        if appetite == 0 {
            return Ok(Turn::Held);
        }
        let room = QUEUE_MAX - store.queue_length(endpoint, now, QUEUE_MAX)?;
        // A probe goes alone.
        let least = if appetite < QUEUE_MAX {
            QUEUE_MAX
        } else {
            ROOM_MIN
        };
        Ok(if room < least {
            Turn::Soon
        } else {
            Turn::Take(room.min(appetite))
        })
    }

    async fn step(&self, job: &Job, pace: &mut Pace, take: usize) -> Result<(), StoreError> {
        match self
            .inner
            .store
            .step_job(job.environment, job.key, take)
            .await
        {
            Ok(after) => {
                pace.took(after.progress.done - job.progress.done);
                Ok(())
            }
            // Somebody ended it meanwhile.
            Err(WriteError::Refused(_)) => Ok(()),
            Err(WriteError::Store(error)) => Err(error),
        }
    }
}
