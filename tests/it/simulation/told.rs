//! Operational events: one for every change that must cause one, whatever was
//! interrupted, and none without its cause.

use std::collections::BTreeMap;

use hookpost::domain::delivery::{Delivery, DeliveryState};
use hookpost::domain::ids::{EndpointKey, MessageKey};
use hookpost::store::Store;
use serde_json::Value;

use super::oracle::Ledger;
use crate::support::clock::START;

/// How often each type was told of an endpoint, or of a delivery.
#[derive(Default)]
struct Told {
    endpoints: BTreeMap<(EndpointKey, String), u32>,
    deliveries: BTreeMap<(MessageKey, EndpointKey, String), u32>,
}

impl Told {
    fn read(store: &Store) -> Option<Self> {
        let environment = store.catalog().environments().first()?.clone();
        let page = store.list_messages(environment.operational, None, 100_000);
        let mut told = Self::default();
        for event in page.ok()?.messages {
            told.add(store, &serde_json::from_slice(&event.payload?).ok()?);
        }
        Some(told)
    }

    fn add(&mut self, store: &Store, event: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, data) = (text(&event["type"]), &event["data"]);
        let Some(endpoint) = store.ids().parse(&text(&data["endpointId"])) else {
            return;
        };
        let count = match store.ids().parse(&text(&data["messageId"])) {
            Some(message) => self
                .deliveries
                .entry((message, endpoint, kind))
                .or_default(),
            None => self.endpoints.entry((endpoint, kind)).or_default(),
        };
        *count += 1;
    }

    fn of_endpoint(&self, endpoint: EndpointKey, kind: &str) -> u32 {
        let told = self.endpoints.get(&(endpoint, kind.to_owned()));
        told.copied().unwrap_or_default()
    }

    fn of_delivery(&self, (message, endpoint): (MessageKey, EndpointKey), kind: &str) -> u32 {
        let told = self.deliveries.get(&(message, endpoint, kind.to_owned()));
        told.copied().unwrap_or_default()
    }
}

impl Ledger {
    /// Compares the events on disk with what is on disk, and with what was
    /// asked for and answered.
    pub(super) fn compare_told(&mut self, store: &Store) {
        if START.plus(self.retention) <= self.wall_max {
            // Some may be forgotten by now.
            return;
        }
        let Some(told) = Told::read(store) else {
            return self.violated(format_args!("an operational event cannot be read"));
        };
        let mut wrong = Vec::new();
        for number in 0..self.endpoints.len() {
            if let Some(what) = self.wrongly_told(number, &told, store) {
                wrong.push(format!("e{number} {what}"));
            }
        }
        for (message, endpoint) in self.deliveries_known() {
            let of = (message, endpoint);
            let found = store.deliveries(message).unwrap_or_default();
            let found = found.into_iter().find(|(key, _)| *key == endpoint);
            if let Some(what) = found.and_then(|(_, delivery)| missing(&delivery, of, &told)) {
                wrong.push(format!("{of:?} {what}"));
            }
        }
        for what in wrong {
            self.violated(format_args!("{what}"));
        }
    }

    fn wrongly_told(&self, number: usize, told: &Told, store: &Store) -> Option<String> {
        let facts = &self.endpoints[number];
        let key = facts.key?;
        let count = |kind| told.of_endpoint(key, kind);
        let live = store.endpoint_even_deleted(key).ok()??;
        if count("endpoint.created") != 1 {
            return Some(format!(
                "was told to be made {} times",
                count("endpoint.created")
            ));
        }
        let deletions = u32::from(live.settings.deleted.is_some());
        if count("endpoint.deleted") != deletions {
            return Some(format!(
                "was told to be deleted {} times",
                count("endpoint.deleted")
            ));
        }
        let updates = count("endpoint.updated");
        if updates < facts.changes_made || updates > facts.changes_asked {
            let (made, asked) = (facts.changes_made, facts.changes_asked);
            return Some(format!(
                "was told to change {updates} times: {made} made, {asked} asked"
            ));
        }
        if live.state.disabled.is_some() && count("endpoint.disabled") == 0 {
            return Some("is disabled, and nobody was told".to_owned());
        }
        // One that is disabled by the same attempt is told of as that.
        let told_of = count("endpoint.failing") + count("endpoint.disabled");
        if live.state.told_failing && told_of == 0 {
            return Some("has failed for long, and nobody was told".to_owned());
        }
        None
    }
}

/// What should have been told about a delivery, or should not.
fn missing(
    delivery: &Delivery,
    of: (MessageKey, EndpointKey),
    told: &Told,
) -> Option<&'static str> {
    let exhausted = told.of_delivery(of, "message.attempt.exhausted");
    let failing = told.of_delivery(of, "message.attempt.failing");
    let recovered = told.of_delivery(of, "message.attempt.recovered");
    if delivery.state == DeliveryState::Exhausted && exhausted != 1 {
        return Some("was given up, which was not told once");
    }
    let often = delivery.attempt_count >= 4 && delivery.waiting().is_some();
    if often && !delivery.succeeded && exhausted + failing == 0 {
        return Some("fails, and nobody was told");
    }
    let recovers = delivery.succeeded && exhausted + failing > 0;
    if recovered != u32::from(recovers) {
        return Some("recovered, or not, and the opposite was told");
    }
    (failing > 1 || exhausted > 1).then_some("was told of twice")
}
