//! Asking an endpoint: every rule about a question.

use std::time::Duration;

use super::{Control, ControlError, FieldError};
use crate::domain::endpoint::LiveEndpoint;
use crate::domain::principal::Principal;
use crate::domain::request::{
    INPUTS_BYTES_MAX, QUESTION_CHARS_MAX, Request, TIMEOUT_SECONDS_DEFAULT, takes_requests,
};
use crate::store::{ApplicationEntry, Idempotent, NewRequest, Written};

/// What a caller wants to know.
#[derive(Clone, Debug, Default)]
pub struct RequestInput {
    pub key: String,
    /// A JSON object, as it came.
    pub inputs: Option<String>,
    /// Id or uid; `None`: the application's only endpoint that takes requests.
    pub endpoint: Option<String>,
    pub timeout_seconds: Option<u64>,
}

impl Control {
    /// Makes a request. It is on disk, and not yet sent.
    pub async fn create_request(
        &self,
        principal: Principal,
        entry: &ApplicationEntry,
        input: RequestInput,
        idempotent: Option<Idempotent<Request>>,
    ) -> Result<Written<Request>, ControlError> {
        let mut errors = Vec::new();
        let chars = input.key.chars().count();
        if chars > QUESTION_CHARS_MAX {
            errors.push(FieldError::new("key", "must have at most 256 characters"));
        }
        let inputs = input.inputs.unwrap_or_else(|| "{}".to_owned());
        if inputs.len() > INPUTS_BYTES_MAX {
            let detail = format!("must have at most {INPUTS_BYTES_MAX} bytes");
            errors.push(FieldError::new("inputs", detail));
        }
        let endpoint = self.asked(entry, input.endpoint.as_deref(), &mut errors)?;
        let Some(endpoint) = endpoint.filter(|_| errors.is_empty()) else {
            return Err(ControlError::Invalid(errors));
        };
        let timeout = input.timeout_seconds.unwrap_or(TIMEOUT_SECONDS_DEFAULT);
        let new = NewRequest {
            application: entry.application.key,
            endpoint,
            question: input.key,
            inputs,
            timeout: Duration::from_secs(timeout),
        };
        let store = &self.store;
        Ok(store
            .create_request(principal.scope, new, idempotent)
            .await?)
    }

    fn asked(
        &self,
        entry: &ApplicationEntry,
        named: Option<&str>,
        errors: &mut Vec<FieldError>,
    ) -> Result<Option<crate::domain::ids::EndpointKey>, ControlError> {
        if let Some(named) = named {
            let found = self.store.find_endpoint(entry, named)?;
            if found.is_none() {
                errors.push(FieldError::new(
                    "endpoint",
                    "is no endpoint of the application",
                ));
            }
            return Ok(found.map(|live| live.settings.key));
        }
        let takes = |live: &&std::sync::Arc<LiveEndpoint>| takes_requests(&live.settings);
        let mut all = entry.endpoints.iter().filter(takes);
        match (all.next(), all.next()) {
            (Some(only), None) => Ok(Some(only.settings.key)),
            (None, _) => {
                let detail = "is missing: no endpoint of the application takes requests, which is \
                              one that signs by optech alone";
                errors.push(FieldError::new("endpoint", detail));
                Ok(None)
            }
            (Some(_), Some(_)) => {
                let detail = "is missing: several endpoints of the application take requests";
                errors.push(FieldError::new("endpoint", detail));
                Ok(None)
            }
        }
    }
}
