//! Operational events, written with what caused them.

use redb::ReadableTable as _;
use serde_json::{Value, json};

use super::StoreError;
use super::accept::{receivers, store_message};
use super::catalog::ApplicationEntry;
use super::codec::decode;
use super::rows::MessageV1;
use super::tables::Tables;
use super::writer::Batch;
use crate::domain::attempt::NewAttempt;
use crate::domain::delivery::Delivery;
use crate::domain::endpoint::LiveEndpoint;
use crate::domain::ids::{AttemptKey, EnvironmentKey, Ids, Key as _};
use crate::domain::message::{JSON, NewMessage, Origin, Target};
use crate::domain::operational::OperationalEvent;
use crate::seams::mutant::{self, Mutant};

impl Batch<'_> {
    /// Writes `event` as a message of the environment's built-in application.
    ///
    /// Nothing is said about that application itself: each event would cause
    /// the next. Nor in an environment that is being deleted.
    pub(super) fn emit(
        &mut self,
        tables: &mut Tables<'_>,
        environment: EnvironmentKey,
        event: &OperationalEvent,
    ) -> Result<(), StoreError> {
        let Some(environment) = self.environment(environment) else {
            return Ok(());
        };
        if event.about == environment.operational {
            return Ok(());
        }
        let Some(entry) = self.application(tables, environment.operational)? else {
            return Ok(());
        };
        let message = NewMessage {
            application: environment.operational,
            event_type: event.event_type.to_owned(),
            channels: Vec::new(),
            uid: None,
            content_type: JSON.to_owned(),
            headers: Vec::new(),
            origin: Origin::Operational,
            payload: event.payload(self.now),
            target: Target::FanOut,
        };
        if mutant::active(Mutant::ForgottenEvent) && self.now.0.is_multiple_of(3) {
            return Ok(());
        }
        let endpoints = receivers(&entry, &message);
        store_message(message, &endpoints, tables, self)?;
        Ok(())
    }
}

impl Batch<'_> {
    /// Says each of `event_types` about an endpoint of `entry`.
    pub(super) fn emit_endpoint(
        &mut self,
        tables: &mut Tables<'_>,
        entry: &ApplicationEntry,
        endpoint: &LiveEndpoint,
        event_types: &[&'static str],
    ) -> Result<(), StoreError> {
        let data = endpoint_data(&self.inner.ids, entry, endpoint);
        for event_type in event_types {
            let event = OperationalEvent {
                event_type,
                about: entry.application.key,
                data: data.clone(),
            };
            self.emit(tables, entry.application.environment, &event)?;
        }
        Ok(())
    }

    /// Says `event_type` about the delivery that `attempt` belongs to.
    pub(super) fn emit_attempt(
        &mut self,
        tables: &mut Tables<'_>,
        event_type: &'static str,
        (key, attempt): (AttemptKey, &NewAttempt),
        delivery: &Delivery,
    ) -> Result<(), StoreError> {
        let Some(entry) = self.application(tables, attempt.application)? else {
            return Ok(());
        };
        let row = tables
            .messages
            .get(&attempt.message.as_u64().to_be_bytes())?;
        let Some(row) = row.map(|bytes| decode::<MessageV1>(bytes.value())) else {
            return Ok(());
        };
        let message = row?.into_domain(attempt.message);
        let ids = &self.inner.ids;
        let mut data = json!({
            "applicationId": ids.text(attempt.application),
            "applicationUid": entry.application.uid,
            "endpointId": ids.text(attempt.endpoint),
            "messageId": ids.text(attempt.message),
            "messageUid": message.uid,
            "eventType": message.event_type,
            "attemptCount": delivery.attempt_count,
            "lastAttempt": {
                "id": ids.text(key),
                "statusCode": attempt.exchange.outcome.status_code(),
                "timestamp": attempt.started,
            },
        });
        let live = entry.endpoint(attempt.endpoint);
        data["endpointUid"] = json!(live.and_then(|live| live.settings.uid.as_deref()));
        let event = OperationalEvent {
            event_type,
            about: attempt.application,
            data,
        };
        self.emit(tables, entry.application.environment, &event)
    }
}

fn endpoint_data(ids: &Ids, entry: &ApplicationEntry, endpoint: &LiveEndpoint) -> Value {
    let disabled = endpoint.state.disabled;
    json!({
        "applicationId": ids.text(entry.application.key),
        "applicationUid": entry.application.uid,
        "endpointId": ids.text(endpoint.settings.key),
        "endpointUid": endpoint.settings.uid,
        "enabled": endpoint.is_enabled(),
        "reason": disabled.map(|disabled| disabled.reason.name()),
        "failingSince": endpoint.state.failing_since,
    })
}
