//! A job: a long action with a plan, progress, pace and cancel.

use serde::{Deserialize, Serialize};

use super::delivery::{Delivery, DeliveryState, Trigger};
use super::endpoint::Endpoint;
use super::fanout::{EventFilter, selects};
use super::ids::{
    ApplicationKey, AttemptKey, EndpointKey, EnvironmentKey, JobKey, Key, MessageKey,
};
use super::message::{Message, Origin};
use super::time::Timestamp;

/// Jobs of one environment that run at once.
pub const RUNNING_MAX: usize = 1000;
/// What a job may take in one go, as a share of what it may take in a second.
const BURSTS_PER_SECOND: u64 = 4;

/// What a job does with the messages it goes through. Stored as it stands: new
/// kinds go at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobKind {
    /// Replays what failed.
    Recovery,
    /// Sends what was never owed to the endpoint.
    Backfill,
    /// Replays what a filter selects, delivered or not.
    Replay,
    /// Erases payloads, and what attempts tell of them.
    Erasure,
}

impl JobKind {
    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recovery => "recovery",
            Self::Backfill => "backfill",
            Self::Replay => "replay",
            Self::Erasure => "erasure",
        }
    }
}

/// How a delivery stands, for a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    Delivered,
    Failed,
}

impl Standing {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Delivered, Self::Failed];

    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// Which deliveries a replay takes. The default: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    pub event_types: Vec<EventFilter>,
    /// The message has one of these.
    pub channels: Vec<String>,
    pub standing: Option<Standing>,
    /// Of the last attempt: 0 (no HTTP answer), 100, 200, 300, 400 or 500.
    pub status_class: Option<u16>,
}

/// What a job takes, of the messages it goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    pub kind: JobKind,
    pub filter: JobFilter,
}

impl Selection {
    /// Whether [`takes_message`](Self::takes_message) depends on the message.
    #[must_use]
    pub fn asks_for_message(&self) -> bool {
        let filter = &self.filter;
        match self.kind {
            JobKind::Recovery | JobKind::Erasure => false,
            JobKind::Backfill => true,
            JobKind::Replay => !filter.event_types.is_empty() || !filter.channels.is_empty(),
        }
    }

    /// Whether a message is taken, by what it is.
    #[must_use]
    pub fn takes_message(&self, message: &Message, endpoint: Option<&Endpoint>) -> bool {
        let (types, channels) = match (self.kind, endpoint) {
            (JobKind::Backfill, Some(endpoint)) if was_for_all(message) => {
                (&endpoint.event_types, &endpoint.channels)
            }
            (JobKind::Backfill, _) => return false,
            _ => (&self.filter.event_types, &self.filter.channels),
        };
        selects(types, channels, &message.event_type, &message.channels)
    }

    /// Whether a message is taken, by how its delivery to the endpoint stands.
    ///
    /// What was attempted after `before`, the job's own key, is left alone:
    /// so two jobs never send one failure twice. Nor is what is due at `now`
    /// or waits for a replay: that is on its way.
    #[must_use]
    pub fn takes_delivery(
        &self,
        delivery: Option<&Delivery>,
        before: AttemptKey,
        now: Timestamp,
    ) -> bool {
        match self.kind {
            JobKind::Erasure => true,
            JobKind::Backfill => delivery.is_none(),
            JobKind::Recovery => {
                delivery.is_some_and(|delivery| rests(delivery, before, now) && !delivery.succeeded)
            }
            JobKind::Replay => delivery.is_some_and(|delivery| {
                rests(delivery, before, now) && self.filter.accepts(delivery)
            }),
        }
    }
}

/// Whether a message was for whoever subscribes to it.
fn was_for_all(message: &Message) -> bool {
    match message.origin {
        Origin::Api | Origin::Operational | Origin::Source { .. } => true,
        Origin::Example => false,
    }
}

/// Whether a delivery was attempted before that, and nothing is about to happen.
fn rests(delivery: &Delivery, before: AttemptKey, now: Timestamp) -> bool {
    let still = match delivery.state {
        DeliveryState::Waiting { due, trigger } => trigger == Trigger::Scheduled && due > now,
        DeliveryState::Delivered | DeliveryState::Exhausted => true,
        DeliveryState::Cancelled => false,
    };
    still
        && delivery
            .attempts
            .last()
            .is_some_and(|last| last.key < before)
}

impl JobFilter {
    fn accepts(&self, delivery: &Delivery) -> bool {
        let standing = if delivery.succeeded {
            Standing::Delivered
        } else {
            Standing::Failed
        };
        let status = delivery.attempts.last().map_or(0, |last| last.status);
        self.standing.is_none_or(|wanted| wanted == standing)
            && self
                .status_class
                .is_none_or(|class| status / 100 * 100 == class)
    }
}

/// A job that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    pub application: ApplicationKey,
    /// `None` for an erasure.
    pub endpoint: Option<EndpointKey>,
    pub selection: Selection,
    /// Of the messages: from then on,
    pub since: Timestamp,
    /// and before then. `None`: all that there are now.
    pub until: Option<Timestamp>,
    pub rate_per_second: Option<u32>,
}

/// How far a job has come, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Looked at.
    pub examined: u64,
    /// Made due, or erased.
    pub done: u64,
    /// Selected, but their payload is no longer kept.
    pub skipped: u64,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It went through all.
    Finished,
    Cancelled,
    /// It could not go on.
    Failed(JobFailure),
}

/// Why a job could not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobFailure {
    EndpointDisabled,
    EndpointDeleted,
    ApplicationDeleted,
}

impl JobFailure {
    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EndpointDisabled => "endpoint_disabled",
            Self::EndpointDeleted => "endpoint_deleted",
            Self::ApplicationDeleted => "application_deleted",
        }
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    Running,
    Ended { at: Timestamp, how: Ending },
}

impl JobState {
    /// What [`name`](Self::name) can be.
    pub const NAMES: [&'static str; 4] = ["running", "finished", "cancelled", "failed"];

    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ended { how, .. } => match how {
                Ending::Finished => "finished",
                Ending::Cancelled => "cancelled",
                Ending::Failed(_) => "failed",
            },
        }
    }

    /// When it ended.
    #[must_use]
    pub fn ended(self) -> Option<Timestamp> {
        match self {
            Self::Running => None,
            Self::Ended { at, .. } => Some(at),
        }
    }

    /// Why it could not go on.
    #[must_use]
    pub fn failure(self) -> Option<JobFailure> {
        match self {
            Self::Ended {
                how: Ending::Failed(failure),
                ..
            } => Some(failure),
            _ => None,
        }
    }
}

/// A job: what it was asked for, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub key: JobKey,
    pub environment: EnvironmentKey,
    pub application: ApplicationKey,
    /// `None` for an erasure.
    pub endpoint: Option<EndpointKey>,
    pub selection: Selection,
    pub since: Timestamp,
    pub until: Timestamp,
    /// The first message that it has not looked at,
    pub next: MessageKey,
    /// and the first that is none of its.
    pub end: MessageKey,
    /// Deliveries in a second, for an erasure messages; `None`: as many as go.
    pub rate_per_second: Option<u32>,
    /// What was counted before it began; `None` when that was too much to count.
    pub total: Option<u64>,
    pub progress: Progress,
    pub state: JobState,
    pub created: Timestamp,
    pub updated: Timestamp,
}

impl Job {
    /// Whether it has not ended.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.state == JobState::Running
    }

    /// What was attempted before the job was made has an earlier key.
    #[must_use]
    pub fn before(&self) -> AttemptKey {
        AttemptKey::from_u64(self.key.as_u64())
    }
}

/// A job's pace: how much it may take now. In memory only.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    looked: Timestamp,
    /// In thousandths.
    saved: u64,
}

impl Pace {
    /// A pace that may begin at once.
    #[must_use]
    pub fn begin(now: Timestamp) -> Self {
        Self {
            looked: now,
            saved: u64::MAX,
        }
    }

    /// How much may be taken now, at this rate: what was not taken is saved, up
    /// to a quarter of a second's worth.
    pub fn allowed(&mut self, per_second: Option<u32>, now: Timestamp) -> usize {
        let Some(per_second) = per_second.map(u64::from) else {
            *self = Self::begin(now);
            return usize::MAX;
        };
        let passed_ms = u64::try_from(now.since(self.looked).as_millis()).unwrap_or(u64::MAX);
        let most = (per_second / BURSTS_PER_SECOND).max(1).saturating_mul(1000);
        self.looked = now;
        self.saved = passed_ms
            .saturating_mul(per_second)
            .saturating_add(self.saved)
            .min(most);
        usize::try_from(self.saved / 1000).unwrap_or(usize::MAX)
    }

    /// So many were taken.
    pub fn took(&mut self, count: u64) {
        self.saved = self.saved.saturating_sub(count.saturating_mul(1000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::AttemptMark;

    const NOW: Timestamp = Timestamp(1000);

    fn delivery(state: DeliveryState, succeeded: bool, last: Option<(u64, u16)>) -> Delivery {
        let mark = last.map(|(key, status)| AttemptMark {
            key: AttemptKey::from_u64(key),
            status,
        });
        Delivery {
            state,
            attempt_count: mark.iter().len().try_into().unwrap(),
            attempts: mark.into_iter().collect(),
            succeeded,
            ..Delivery::new(NOW, Trigger::Scheduled)
        }
    }

    fn selection(kind: JobKind) -> Selection {
        Selection {
            kind,
            filter: JobFilter::default(),
        }
    }

    #[test]
    fn each_kind_takes_what_it_is_for() {
        use DeliveryState::{Cancelled, Delivered, Exhausted, Waiting};
        use JobKind::{Backfill, Erasure, Recovery, Replay};
        let retry = |due| Waiting {
            due: Timestamp(due),
            trigger: Trigger::Scheduled,
        };
        let replay = Waiting {
            due: Timestamp(5000),
            trigger: Trigger::Manual,
        };
        let failed = Some((7, 500));
        for (what, delivery, want) in [
            ("none", None, &[Backfill, Erasure][..]),
            (
                "exhausted",
                Some(delivery(Exhausted, false, failed)),
                &[Recovery, Replay, Erasure],
            ),
            (
                "exhausted after the job was made",
                Some(delivery(Exhausted, false, Some((8, 500)))),
                &[Erasure],
            ),
            (
                "a retry later",
                Some(delivery(retry(1001), false, failed)),
                &[Recovery, Replay, Erasure],
            ),
            (
                "a retry now",
                Some(delivery(retry(1000), false, failed)),
                &[Erasure],
            ),
            (
                "never attempted",
                Some(delivery(retry(1001), false, None)),
                &[Erasure],
            ),
            (
                "a replay",
                Some(delivery(replay, false, failed)),
                &[Erasure],
            ),
            (
                "delivered",
                Some(delivery(Delivered, true, Some((7, 200)))),
                &[Replay, Erasure],
            ),
            (
                "cancelled",
                Some(delivery(Cancelled, false, failed)),
                &[Erasure],
            ),
        ] {
            let before = AttemptKey::from_u64(8);
            let takes: Vec<_> = [Recovery, Backfill, Replay, Erasure]
                .into_iter()
                .filter(|kind| selection(*kind).takes_delivery(delivery.as_ref(), before, NOW))
                .collect();
            assert_eq!(takes, want, "{what}");
        }
    }

    #[test]
    fn a_replay_takes_what_its_filter_accepts() {
        let failed = delivery(DeliveryState::Exhausted, false, Some((7, 503)));
        let unanswered = delivery(DeliveryState::Exhausted, false, Some((7, 0)));
        let delivered = delivery(DeliveryState::Delivered, true, Some((7, 204)));
        for (standing, class, want) in [
            (None, None, [true, true, true]),
            (Some(Standing::Failed), None, [true, true, false]),
            (Some(Standing::Delivered), None, [false, false, true]),
            (None, Some(500), [true, false, false]),
            (None, Some(0), [false, true, false]),
            (Some(Standing::Failed), Some(200), [false, false, false]),
        ] {
            let filter = JobFilter {
                standing,
                status_class: class,
                ..JobFilter::default()
            };
            let took = [&failed, &unanswered, &delivered].map(|one| filter.accepts(one));
            assert_eq!(took, want, "{standing:?} {class:?}");
        }
    }

    #[test]
    fn only_what_depends_on_the_message_asks_for_it() {
        let typed = |kind| Selection {
            kind,
            filter: JobFilter {
                event_types: vec![EventFilter::parse("a.*").unwrap()],
                ..JobFilter::default()
            },
        };
        for (selection, want) in [
            (selection(JobKind::Recovery), false),
            (selection(JobKind::Erasure), false),
            (selection(JobKind::Backfill), true),
            (selection(JobKind::Replay), false),
            (typed(JobKind::Replay), true),
        ] {
            assert_eq!(selection.asks_for_message(), want, "{selection:?}");
        }
        let message = Message {
            key: MessageKey::from_u64(1),
            application: ApplicationKey::from_u64(1),
            event_type: "a.b".to_owned(),
            channels: Vec::new(),
            uid: None,
            content_type: String::new(),
            headers: Vec::new(),
            origin: Origin::Api,
        };
        assert!(typed(JobKind::Replay).takes_message(&message, None));
        let other = Message {
            event_type: "b.b".to_owned(),
            ..message
        };
        assert!(!typed(JobKind::Replay).takes_message(&other, None));
        let example = Message {
            origin: Origin::Example,
            ..other
        };
        assert!(!was_for_all(&example));
    }

    #[test]
    fn a_pace_saves_a_quarter_of_a_second_at_most() {
        for (rate, waited_ms, want) in [
            (Some(100), 0, 0),
            (Some(100), 9, 0),
            (Some(100), 10, 1),
            (Some(100), 200, 20),
            (Some(100), 60_000, 25),
            (Some(1), 999, 0),
            (Some(1), 1000, 1),
            (Some(1), 60_000, 1),
            (None, 0, usize::MAX),
        ] {
            let mut pace = Pace::begin(NOW);
            let first = pace.allowed(rate, NOW);
            pace.took(first.try_into().unwrap());
            let later = pace.allowed(rate, Timestamp(NOW.0 + waited_ms));
            assert_eq!(later, want, "{rate:?} after {waited_ms} ms");
        }
    }

    #[test]
    fn every_state_has_a_name() {
        let ended = |how| JobState::Ended { at: NOW, how };
        let states = [
            JobState::Running,
            ended(Ending::Finished),
            ended(Ending::Cancelled),
            ended(Ending::Failed(JobFailure::EndpointDeleted)),
        ];
        assert_eq!(states.map(JobState::name), JobState::NAMES);
        assert_eq!(states[3].failure(), Some(JobFailure::EndpointDeleted));
    }
}
