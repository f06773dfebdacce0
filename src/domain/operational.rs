//! Operational events: what Hookpost tells an operator's own programs about
//! endpoints, deliveries and jobs.
//!
//! Each is a message of the environment's built-in application, written in the
//! transaction that caused it.

use bytes::Bytes;
use serde_json::{Value, json};

use super::delivery::{Delivery, DeliveryState, Told, Verdict};
use super::endpoint::{EndpointState, LiveEndpoint};
use super::ids::ApplicationKey;
use super::time::Timestamp;

/// Failed attempts after which a delivery is said to be failing. Source: Svix.
pub const FAILING_ATTEMPTS: u32 = 4;

macro_rules! types {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal;)*) => {
        $($(#[doc = $doc])* pub const $name: &str = $text;)*

        /// Every operational event type, with when it is sent.
        pub const TYPES: &[(&str, &str)] = &[$(($text, concat!($($doc),*))),*];
    };
}

types! {
    /// An endpoint was made.
    ENDPOINT_CREATED = "endpoint.created";
    /// An endpoint's settings or signing secrets were changed.
    ENDPOINT_UPDATED = "endpoint.updated";
    /// An endpoint was deleted.
    ENDPOINT_DELETED = "endpoint.deleted";
    /// Nothing is sent to an endpoint any more: it was switched off, it answered 410, or it only failed for five days.
    ENDPOINT_DISABLED = "endpoint.disabled";
    /// An endpoint that was disabled gets messages again.
    ENDPOINT_ENABLED = "endpoint.enabled";
    /// An endpoint has only failed for an hour; after five days it is disabled.
    ENDPOINT_FAILING = "endpoint.failing";
    /// A delivery has failed four times, and is tried again.
    MESSAGE_ATTEMPT_FAILING = "message.attempt.failing";
    /// The last attempt of a delivery failed: it is given up, kept, and can be replayed.
    MESSAGE_ATTEMPT_EXHAUSTED = "message.attempt.exhausted";
    /// A delivery that was reported as failing or exhausted succeeded.
    MESSAGE_ATTEMPT_RECOVERED = "message.attempt.recovered";
    /// A job ended: it is through, was cancelled, or could not go on.
    JOB_FINISHED = "job.finished";
}

/// One operational event, before it is a message.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationalEvent {
    /// One of [`TYPES`].
    pub event_type: &'static str,
    /// The application that it is about.
    pub about: ApplicationKey,
    pub data: Value,
}

impl OperationalEvent {
    /// The payload of its message: `{"type", "timestamp", "data"}`, the
    /// timestamp in Unix milliseconds.
    #[must_use]
    pub fn payload(&self, at: Timestamp) -> Bytes {
        let payload = json!({"type": self.event_type, "timestamp": at.0, "data": self.data});
        payload.to_string().into()
    }
}

/// What to say about an endpoint whose settings went from `before` (`None`: it
/// was just made) to `after`.
#[must_use]
pub fn of_endpoint(before: Option<&LiveEndpoint>, after: &LiveEndpoint) -> Vec<&'static str> {
    let Some(before) = before else {
        return vec![ENDPOINT_CREATED];
    };
    match (before.is_enabled(), after.is_enabled()) {
        (true, false) => vec![ENDPOINT_UPDATED, ENDPOINT_DISABLED],
        (false, true) => vec![ENDPOINT_UPDATED, ENDPOINT_ENABLED],
        _ => vec![ENDPOINT_UPDATED],
    }
}

/// What to say about an endpoint whose state an attempt took from `before` to
/// `after`.
#[must_use]
pub fn of_state(before: &EndpointState, after: &EndpointState) -> Option<&'static str> {
    if after.disabled.is_some() && before.disabled.is_none() {
        return Some(ENDPOINT_DISABLED);
    }
    (after.told_failing && !before.told_failing).then_some(ENDPOINT_FAILING)
}

/// What to say about a delivery as an attempt left it, and what has been told
/// once that is said.
#[must_use]
pub fn of_delivery(after: &Delivery, verdict: Verdict) -> (Told, Option<&'static str>) {
    let waits = after.waiting().is_some();
    match (verdict, after.told) {
        (Verdict::Delivered, Told::Nothing) => (Told::Nothing, None),
        (Verdict::Delivered, _) => (Told::Nothing, Some(MESSAGE_ATTEMPT_RECOVERED)),
        (_, told) if after.succeeded => (told, None),
        (_, Told::Nothing | Told::Failing) if after.state == DeliveryState::Exhausted => {
            (Told::Exhausted, Some(MESSAGE_ATTEMPT_EXHAUSTED))
        }
        (_, Told::Nothing) if waits && after.attempt_count >= FAILING_ATTEMPTS => {
            (Told::Failing, Some(MESSAGE_ATTEMPT_FAILING))
        }
        (_, told) => (told, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::Trigger;
    use crate::domain::endpoint::{Disabled, DisabledReason};
    use crate::domain::ids::Key as _;
    use crate::domain::message::is_event_type;

    #[test]
    fn every_type_is_an_event_type_with_a_sentence() {
        for (name, sentence) in TYPES {
            assert!(is_event_type(name), "{name}");
            assert!(sentence.trim().ends_with('.'), "{name}: {sentence}");
        }
    }

    #[test]
    fn a_delivery_is_reported_once_for_each_turn_it_takes() {
        use Told::{Exhausted, Failing, Nothing};
        let delivery = |attempt_count, waits: bool, succeeded, told| {
            let new = Delivery::new(Timestamp(9), Trigger::Scheduled);
            let state = match (waits, succeeded) {
                (true, _) => new.state,
                (false, true) => DeliveryState::Delivered,
                (false, false) => DeliveryState::Exhausted,
            };
            Delivery {
                state,
                attempt_count,
                succeeded,
                told,
                ..new
            }
        };
        let (failed, delivered) = (Verdict::Failed, Verdict::Delivered);
        for (after, verdict, want) in [
            (delivery(3, true, false, Nothing), failed, (Nothing, None)),
            (
                delivery(4, true, false, Nothing),
                failed,
                (Failing, Some(MESSAGE_ATTEMPT_FAILING)),
            ),
            (delivery(5, true, false, Failing), failed, (Failing, None)),
            (
                delivery(1, false, false, Nothing),
                failed,
                (Exhausted, Some(MESSAGE_ATTEMPT_EXHAUSTED)),
            ),
            (
                delivery(8, false, false, Failing),
                Verdict::Gone,
                (Exhausted, Some(MESSAGE_ATTEMPT_EXHAUSTED)),
            ),
            (
                delivery(9, false, false, Exhausted),
                failed,
                (Exhausted, None),
            ),
            (
                delivery(9, false, true, Exhausted),
                delivered,
                (Nothing, Some(MESSAGE_ATTEMPT_RECOVERED)),
            ),
            (
                delivery(6, false, true, Failing),
                delivered,
                (Nothing, Some(MESSAGE_ATTEMPT_RECOVERED)),
            ),
            (
                delivery(1, false, true, Nothing),
                delivered,
                (Nothing, None),
            ),
            (delivery(2, false, true, Nothing), failed, (Nothing, None)),
        ] {
            assert_eq!(of_delivery(&after, verdict), want, "{after:?} {verdict:?}");
        }
    }

    #[test]
    fn a_state_is_reported_when_it_turns() {
        let well = EndpointState::default();
        let told = EndpointState {
            told_failing: true,
            ..EndpointState::default()
        };
        let disabled = EndpointState {
            disabled: Some(Disabled {
                at: Timestamp(1),
                reason: DisabledReason::Gone,
            }),
            ..told.clone()
        };
        for (before, after, want) in [
            (&well, &well, None),
            (&well, &told, Some(ENDPOINT_FAILING)),
            (&told, &told, None),
            (&told, &well, None),
            (&told, &disabled, Some(ENDPOINT_DISABLED)),
            (&well, &disabled, Some(ENDPOINT_DISABLED)),
            (&disabled, &disabled, None),
        ] {
            assert_eq!(of_state(before, after), want, "{before:?} {after:?}");
        }
    }

    #[test]
    fn the_payload_says_what_and_when() {
        let event = OperationalEvent {
            event_type: ENDPOINT_CREATED,
            about: ApplicationKey::from_u64(1),
            data: json!({"endpointId": "ep_1"}),
        };
        let payload: Value = serde_json::from_slice(&event.payload(Timestamp(5))).unwrap();
        let want =
            json!({"type": "endpoint.created", "timestamp": 5, "data": {"endpointId": "ep_1"}});
        assert_eq!(payload, want);
    }
}
