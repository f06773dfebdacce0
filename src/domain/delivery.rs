//! One message owed to one endpoint.

use serde::{Deserialize, Serialize};

use super::ids::AttemptKey;
use super::time::Timestamp;

/// Attempts that a delivery lists; older ones are still in the endpoint's log.
pub const ATTEMPTS_LISTED_MAX: usize = 64;

/// What made an attempt happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Trigger {
    /// The schedule: the first attempt, or a retry.
    Scheduled,
    /// Somebody asked for it: a replay.
    Manual,
}

impl Trigger {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Manual => "manual",
        }
    }
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryState {
    /// An attempt is to be made at `due`. (Held while its endpoint is paused or
    /// disabled.)
    Waiting { due: Timestamp, trigger: Trigger },
    /// The endpoint took it.
    Delivered,
    /// All attempts failed. Kept, and can be replayed.
    Exhausted,
    /// Its endpoint was deleted before it could be delivered.
    Cancelled,
}

/// What operational events have said about a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// Nothing that still holds.
    #[default]
    Nothing,
    /// That it fails.
    Failing,
    /// That it was given up.
    Exhausted,
}

/// One attempt, as its delivery remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptMark {
    pub key: AttemptKey,
    /// The HTTP status, 0 without an HTTP answer.
    pub status: u16,
}

/// A delivery: its state and its past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub state: DeliveryState,
    /// The newest [`ATTEMPTS_LISTED_MAX`] attempts, oldest first.
    pub attempts: Vec<AttemptMark>,
    /// All attempts ever made.
    pub attempt_count: u32,
    /// Steps of the retry schedule that have been used.
    pub retries_used: u16,
    /// Whether an attempt has ever succeeded: a failed replay does not undo it.
    pub succeeded: bool,
    pub told: Told,
    pub created: Timestamp,
}

impl Delivery {
    /// A delivery whose first attempt is to be made at `due`.
    #[must_use]
    pub fn new(due: Timestamp, trigger: Trigger) -> Self {
        Self {
            state: DeliveryState::Waiting { due, trigger },
            attempts: Vec::new(),
            attempt_count: 0,
            retries_used: 0,
            succeeded: false,
            told: Told::Nothing,
            created: due,
        }
    }

    /// When and why the next attempt happens.
    #[must_use]
    pub fn waiting(&self) -> Option<(Timestamp, Trigger)> {
        match self.state {
            DeliveryState::Waiting { due, trigger } => Some((due, trigger)),
            _ => None,
        }
    }
}

/// What the engine concluded from one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The endpoint's success rule was met.
    Delivered,
    /// It was not.
    Failed,
    /// 410: the endpoint wants nothing more.
    Gone,
}
