//! The store as it should be: maps, and nothing that can fail.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hookpost::domain::application::Application;
use hookpost::domain::delivery::{AttemptMark, Delivery, DeliveryState, Told, Trigger, Verdict};
use hookpost::domain::endpoint::{
    Disabled, DisabledReason, EndpointChange, EndpointState, SECRETS_MAX,
};
use hookpost::domain::fanout::selects;
use hookpost::domain::ids::{ApplicationKey, AttemptKey, EndpointKey, MessageKey};
use hookpost::domain::retry::{Attempted, after_attempt};
use hookpost::domain::time::Timestamp;
use hookpost::store::{StoredAnswer, Totals};

#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) application: ApplicationKey,
    /// Every change so far, applied over each other.
    pub(super) settings: EndpointChange,
    pub(super) state: EndpointState,
    /// Newest first: the text, `None` for one that was made, and its end.
    pub(super) secrets: Vec<(Option<String>, Option<Timestamp>)>,
}

impl Endpoint {
    pub(super) fn takes_messages(&self) -> bool {
        self.settings.enabled != Some(false) && self.state.disabled.is_none()
    }

    fn wants(&self, event_type: &str, channels: &[String]) -> bool {
        let filters = self.settings.event_types.as_deref().unwrap_or_default();
        let wanted = self.settings.channels.as_deref().unwrap_or_default();
        self.takes_messages() && selects(filters, wanted, event_type, channels)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) application: ApplicationKey,
    pub(super) uid: Option<String>,
    pub(super) payload: Bytes,
}

#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) endpoint: EndpointKey,
    pub(super) message: MessageKey,
    pub(super) status: u16,
    pub(super) delivered: bool,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) applications: BTreeMap<ApplicationKey, Application>,
    pub(super) endpoints: BTreeMap<EndpointKey, Endpoint>,
    pub(super) messages: BTreeMap<MessageKey, Message>,
    pub(super) deliveries: BTreeMap<(MessageKey, EndpointKey), Delivery>,
    pub(super) attempts: BTreeMap<AttemptKey, Attempt>,
    pub(super) answers: BTreeMap<u8, StoredAnswer>,
    /// The operational events that all this must have caused, in order.
    pub(super) told: Vec<&'static str>,
}

/// `over`, and `under` where `over` says nothing.
fn merged(over: EndpointChange, under: EndpointChange) -> EndpointChange {
    EndpointChange {
        client_id: None,
        name: over.name.or(under.name),
        uid: over.uid.or(under.uid),
        description: over.description.or(under.description),
        url: over.url.or(under.url),
        enabled: over.enabled.or(under.enabled),
        paused: over.paused.or(under.paused),
        event_types: over.event_types.or(under.event_types),
        channels: over.channels.or(under.channels),
        headers: over.headers.or(under.headers),
        secrets: over.secrets.or(under.secrets),
        signatures: over.signatures.or(under.signatures),
        payload_in_headers: over.payload_in_headers.or(under.payload_in_headers),
        ascii_body: over.ascii_body.or(under.ascii_body),
        retry_schedule: over.retry_schedule.or(under.retry_schedule),
        timeout: over.timeout.or(under.timeout),
        rate_limit: over.rate_limit.or(under.rate_limit),
        success: over.success.or(under.success),
        metadata: over.metadata.or(under.metadata),
    }
}

impl Model {
    pub(super) fn application_uid_is_taken(
        &self,
        uid: Option<&str>,
        own: Option<ApplicationKey>,
    ) -> bool {
        let mut others = self
            .applications
            .values()
            .filter(|app| Some(app.key) != own);
        uid.is_some() && others.any(|app| app.uid.as_deref() == uid)
    }

    pub(super) fn endpoint_uid_is_taken(
        &self,
        application: ApplicationKey,
        uid: Option<&str>,
        own: Option<EndpointKey>,
    ) -> bool {
        let mut others = self
            .endpoints
            .iter()
            .filter(|(key, endpoint)| endpoint.application == application && Some(**key) != own);
        uid.is_some() && others.any(|(_, endpoint)| endpoint.settings.uid.as_deref() == uid)
    }

    /// Whether there was room for one more secret.
    pub(super) fn rotate_secret(
        &mut self,
        key: EndpointKey,
        text: Option<&String>,
        now: Timestamp,
        grace: Duration,
    ) -> bool {
        let endpoint = self.endpoints.get_mut(&key).expect("it was found");
        let end = now.plus(grace);
        let mut secrets = vec![(text.cloned(), None)];
        for (old, expires) in &endpoint.secrets {
            let expires = expires.map_or(end, |own| own.min(end));
            if now < expires && (text.is_none() || old.as_ref() != text) {
                secrets.push((old.clone(), Some(expires)));
            }
        }
        let fits = secrets.len() <= SECRETS_MAX;
        if fits {
            endpoint.secrets = secrets;
            self.told.push("endpoint.updated");
        }
        fits
    }

    pub(super) fn change_endpoint(
        &mut self,
        key: EndpointKey,
        change: EndpointChange,
        now: Timestamp,
    ) {
        let endpoint = self.endpoints.get_mut(&key).expect("it was found");
        let valid = |expires: Option<Timestamp>| expires.is_none_or(|expires| now < expires);
        endpoint.secrets.retain(|(_, expires)| valid(*expires));
        let was_taking = endpoint.takes_messages();
        if change.enabled == Some(true) && endpoint.state.disabled.is_some() {
            endpoint.state = EndpointState::default();
        }
        endpoint.settings = merged(change, endpoint.settings.clone());
        self.told.push("endpoint.updated");
        match (was_taking, endpoint.takes_messages()) {
            (true, false) => self.told.push("endpoint.disabled"),
            (false, true) => self.told.push("endpoint.enabled"),
            _ => {}
        }
    }

    /// The endpoints that get a message.
    pub(super) fn wanting(
        &self,
        application: ApplicationKey,
        event_type: &str,
        channels: &[String],
    ) -> Vec<EndpointKey> {
        self.endpoints
            .iter()
            .filter(|(_, endpoint)| endpoint.application == application)
            .filter(|(_, endpoint)| endpoint.wants(event_type, channels))
            .map(|(key, _)| *key)
            .collect()
    }

    /// An attempt that its row led to, at its time.
    pub(super) fn attempted(
        &mut self,
        key: AttemptKey,
        attempt: Attempt,
        took: (Timestamp, Trigger),
        retry_at: Option<Timestamp>,
    ) {
        let verdict = match (attempt.delivered, attempt.status) {
            (true, _) => Verdict::Delivered,
            (false, 410) => Verdict::Gone,
            (false, _) => Verdict::Failed,
        };
        let delivery = self
            .deliveries
            .get_mut(&(attempt.message, attempt.endpoint))
            .expect("it waited");
        let mark = AttemptMark {
            key,
            status: attempt.status,
        };
        let attempted = Attempted {
            mark,
            verdict,
            took,
            retry_at,
        };
        *delivery = after_attempt(delivery, &attempted);
        let failed_often = delivery.attempt_count >= 4 && delivery.waiting().is_some();
        let given_up = delivery.state == DeliveryState::Exhausted;
        if attempt.delivered && delivery.told != Told::Nothing {
            delivery.told = Told::Nothing;
            self.told.push("message.attempt.recovered");
        } else if given_up && !delivery.succeeded && delivery.told != Told::Exhausted {
            delivery.told = Told::Exhausted;
            self.told.push("message.attempt.exhausted");
        } else if failed_often && !delivery.succeeded && delivery.told == Told::Nothing {
            delivery.told = Told::Failing;
            self.told.push("message.attempt.failing");
        }
        if let Some(endpoint) = self.endpoints.get_mut(&attempt.endpoint) {
            let state = &mut endpoint.state;
            if attempt.delivered {
                let disabled = state.disabled;
                *state = EndpointState {
                    disabled,
                    ..EndpointState::default()
                };
            } else {
                let since = *state.failing_since.get_or_insert(took.0);
                state.failures += 1;
                let an_hour = took.0.since(since) >= Duration::from_hours(1);
                let newly_failing = an_hour && !state.told_failing;
                state.told_failing |= an_hour;
                if verdict == Verdict::Gone && state.disabled.is_none() {
                    state.disabled = Some(Disabled {
                        at: took.0,
                        reason: DisabledReason::Gone,
                    });
                    self.told.push("endpoint.disabled");
                } else if newly_failing {
                    self.told.push("endpoint.failing");
                }
            }
        }
        self.attempts.insert(key, attempt);
    }

    pub(super) fn delete_endpoint(&mut self, key: EndpointKey) {
        self.endpoints.remove(&key);
        self.told.push("endpoint.deleted");
        for ((_, endpoint), delivery) in &mut self.deliveries {
            if *endpoint == key && delivery.waiting().is_some() {
                delivery.state = if delivery.succeeded {
                    DeliveryState::Delivered
                } else {
                    DeliveryState::Cancelled
                };
            }
        }
    }

    pub(super) fn delete_application(&mut self, key: ApplicationKey) {
        self.applications.remove(&key);
        self.endpoints
            .retain(|_, endpoint| endpoint.application != key);
        self.messages
            .retain(|_, message| message.application != key);
        let messages = &self.messages;
        self.deliveries
            .retain(|(message, _), _| messages.contains_key(message));
        self.attempts
            .retain(|_, attempt| messages.contains_key(&attempt.message));
    }

    /// What waits for an endpoint, in order.
    pub(super) fn due(&self, endpoint: EndpointKey) -> Vec<(Timestamp, MessageKey, Trigger)> {
        let mut due: Vec<_> = self
            .deliveries
            .iter()
            .filter(|((_, key), _)| *key == endpoint)
            .filter_map(|((message, _), delivery)| {
                let (due, trigger) = delivery.waiting()?;
                Some((due, *message, trigger))
            })
            .collect();
        due.sort_by_key(|(due, message, _)| (*due, *message));
        due
    }

    pub(super) fn totals(&self) -> Totals {
        let waiting = self
            .deliveries
            .values()
            .filter(|one| one.waiting().is_some());
        Totals {
            messages: self.messages.len() as u64,
            attempts: self.attempts.len() as u64,
            waiting: waiting.count() as u64,
            payload_bytes: self
                .messages
                .values()
                .map(|one| one.payload.len() as u64)
                .sum(),
        }
    }
}
