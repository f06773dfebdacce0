//! Making, changing and deleting endpoints: every rule about their fields.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::signatures::{SchemeError, SchemeInput};
use super::{Control, ControlError, FieldError};
use crate::domain::address::EndpointUrl;
use crate::domain::duration;
use crate::domain::endpoint::{
    CustomHeader, EndpointChange, GRACE_DEFAULT, GRACE_MAX, HEADER_VALUE_BYTES_MAX,
    HEADERS_BYTES_MAX, HEADERS_MAX, LiveEndpoint, MASKED, METADATA_BYTES_MAX, Rotation,
    SuccessRule, header_clash,
};
use crate::domain::fanout::EventFilter;
use crate::domain::header;
use crate::domain::ids::{ApplicationKey, EndpointKey};
use crate::domain::principal::Principal;
use crate::domain::request::CLIENT_ID_CHARS;
use crate::domain::retry::WAIT_MAX;
use crate::domain::secret::Secret;
use crate::domain::signing::{Scheme, SigningSecret};
use crate::engine::receive;
use crate::store::{Idempotent, Refusal, Written};

/// Time for one attempt that an endpoint may have.
pub const TIMEOUT_SECONDS_MAX: u64 = 60;

/// What a caller gives for an endpoint, as texts. `None`: left out.
#[derive(Clone, Debug, Default)]
pub struct EndpointInput {
    pub name: Option<String>,
    pub uid: Option<String>,
    pub description: Option<String>,
    pub url: Option<String>,
    pub enabled: Option<bool>,
    pub paused: Option<bool>,
    pub event_types: Option<Vec<String>>,
    pub channels: Option<Vec<String>>,
    pub headers: Option<BTreeMap<String, String>>,
    pub secrets: Option<Vec<String>>,
    pub signatures: Option<Vec<SchemeInput>>,
    pub payload_in_headers: Option<bool>,
    pub ascii_body: Option<bool>,
    /// Durations such as `5m`.
    pub retry_schedule: Option<Vec<String>>,
    /// 0 takes the limit away.
    pub rate_limit: Option<u32>,
    /// 0 goes back to the deployment's.
    pub timeout_seconds: Option<u64>,
    pub success: Option<SuccessRule>,
    pub metadata: Option<BTreeMap<String, String>>,
    pub client_id: Option<String>,
}

/// What a caller gives for a rotation. `None`: left out.
#[derive(Clone, Debug, Default)]
pub struct RotationInput {
    pub grace_period_seconds: Option<u64>,
    pub secret: Option<String>,
}

impl Control {
    /// Makes an endpoint, after judging its URL.
    pub async fn create_endpoint(
        &self,
        principal: Principal,
        application: ApplicationKey,
        input: EndpointInput,
        idempotent: Option<Idempotent<LiveEndpoint>>,
    ) -> Result<Written<LiveEndpoint>, ControlError> {
        let missing = input
            .url
            .is_none()
            .then(|| FieldError::new("url", "is missing"));
        let change = checked(input, None, missing)?;
        self.judge(change.url.as_deref()).await?;
        Ok(self
            .store
            .create_endpoint(principal.scope, application, change, idempotent)
            .await?)
    }

    /// Changes what `input` names; what it leaves out stays.
    pub async fn update_endpoint(
        &self,
        principal: Principal,
        application: ApplicationKey,
        endpoint: EndpointKey,
        input: EndpointInput,
    ) -> Result<LiveEndpoint, ControlError> {
        let entry = self
            .store
            .application(application)?
            .filter(|entry| {
                let environment = entry.application.environment;
                principal.scope.covers(environment, application)
            })
            .ok_or(Refusal::NoApplication)?;
        let before = entry.endpoint(endpoint).ok_or(Refusal::NoEndpoint)?;
        let change = checked(input, Some(before), None)?;
        let moved = change
            .url
            .as_deref()
            .filter(|url| *url != before.settings.url);
        self.judge(moved).await?;
        Ok(self
            .store
            .update_endpoint(principal, application, endpoint, change)
            .await?)
    }

    /// Gives an endpoint a new secret; older ones go on signing for a while.
    pub async fn rotate_secret(
        &self,
        principal: Principal,
        application: ApplicationKey,
        endpoint: EndpointKey,
        input: RotationInput,
        idempotent: Option<Idempotent<LiveEndpoint>>,
    ) -> Result<Written<LiveEndpoint>, ControlError> {
        let rotation = rotation(input)?;
        Ok(self
            .store
            .rotate_secret(principal, application, endpoint, rotation, idempotent)
            .await?)
    }

    /// An endpoint with its secrets, for who may see them. That they were
    /// asked for is in the audit log before they are answered.
    pub async fn read_secrets(
        &self,
        principal: Principal,
        application: ApplicationKey,
        endpoint: EndpointKey,
    ) -> Result<Arc<LiveEndpoint>, ControlError> {
        Ok(self
            .store
            .read_secrets(principal, application, endpoint)
            .await?)
    }

    /// Deletes an endpoint; what waits for it is cancelled.
    pub async fn delete_endpoint(
        &self,
        principal: Principal,
        application: ApplicationKey,
        endpoint: EndpointKey,
    ) -> Result<LiveEndpoint, ControlError> {
        Ok(self
            .store
            .delete_endpoint(principal, application, endpoint)
            .await?)
    }

    async fn judge(&self, url: Option<&str>) -> Result<(), ControlError> {
        match url {
            Some(url) => self.check_destination(url).await,
            None => Ok(()),
        }
    }

    /// Whether this URL may be delivered to: an inbox or source of ours, or one
    /// that the guard lets through as its name resolves now.
    pub async fn check_destination(&self, url: &str) -> Result<(), ControlError> {
        let blocked = |refusal: crate::domain::address::UrlRefusal| ControlError::UrlBlocked {
            reason: refusal.reason.as_str(),
            detail: refusal.detail,
        };
        let parsed = EndpointUrl::parse(url).map_err(blocked)?;
        if receive::own_inbox(parsed.as_str(), &self.public_url).is_some() {
            return Ok(());
        }
        self.transport.judge_now(&parsed).await.map_err(blocked)
    }
}

fn rotation(input: RotationInput) -> Result<Rotation, ControlError> {
    let mut errors = Vec::new();
    let grace = input
        .grace_period_seconds
        .map_or(GRACE_DEFAULT, Duration::from_secs);
    if grace > GRACE_MAX {
        let most = GRACE_MAX.as_secs();
        errors.push(FieldError::new(
            "gracePeriodSeconds",
            format!("must be at most {most}"),
        ));
    }
    let secret = input.secret.and_then(|text| match signing_secret(&text) {
        Ok(secret) => Some(secret),
        Err(detail) => {
            errors.push(FieldError::new("secret", detail));
            None
        }
    });
    if errors.is_empty() {
        Ok(Rotation { secret, grace })
    } else {
        Err(ControlError::Invalid(errors))
    }
}

fn signing_secret(text: &str) -> Result<SigningSecret, String> {
    SigningSecret::parse(text).map_err(|refusal| refusal.to_string())
}

/// `input` as a change, or everything that is wrong with it.
fn checked(
    input: EndpointInput,
    before: Option<&LiveEndpoint>,
    missing: Option<FieldError>,
) -> Result<EndpointChange, ControlError> {
    let mut errors: Vec<FieldError> = missing.into_iter().collect();
    let change = EndpointChange {
        name: input.name,
        uid: input.uid,
        description: input.description,
        url: input.url,
        enabled: input.enabled,
        paused: input.paused,
        event_types: input.event_types.map(|texts| {
            each(&texts, "eventTypes", &mut errors, |text| {
                EventFilter::parse(text)
            })
        }),
        channels: input.channels,
        headers: input
            .headers
            .map(|headers| custom_headers(headers, before, &mut errors)),
        secrets: input
            .secrets
            .filter(|secrets| !secrets.is_empty())
            .map(|texts| each(&texts, "secrets", &mut errors, signing_secret)),
        signatures: input.signatures.map(|inputs| schemes(inputs, &mut errors)),
        payload_in_headers: input.payload_in_headers,
        ascii_body: input.ascii_body,
        retry_schedule: input
            .retry_schedule
            .map(|texts| each(&texts, "retrySchedule", &mut errors, wait)),
        timeout: input.timeout_seconds.map(Duration::from_secs),
        rate_limit: input.rate_limit,
        success: input.success,
        metadata: input
            .metadata
            .map(|metadata| checked_metadata(metadata, &mut errors)),
        client_id: input
            .client_id
            .and_then(|text| client_id(text, &mut errors)),
    };
    if errors.is_empty() {
        check_clashes(&change, before, &mut errors);
    }
    if errors.is_empty() {
        Ok(change)
    } else {
        Err(ControlError::Invalid(errors))
    }
}

/// Every text read by `parse`; what cannot be read is an error with its place.
fn each<T>(
    texts: &[String],
    name: &str,
    errors: &mut Vec<FieldError>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let mut values = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        match parse(text) {
            Ok(value) => values.push(value),
            Err(detail) => errors.push(FieldError::new(format!("{name}[{at}]"), detail)),
        }
    }
    values
}

fn schemes(inputs: Vec<SchemeInput>, errors: &mut Vec<FieldError>) -> Vec<Scheme> {
    let mut schemes = Vec::with_capacity(inputs.len());
    for (at, input) in inputs.into_iter().enumerate() {
        match input.parse() {
            Ok(scheme) => schemes.push(scheme),
            Err(SchemeError { field, detail }) => {
                let place = field.map(|field| format!(".{field}")).unwrap_or_default();
                errors.push(FieldError::new(format!("signatures[{at}]{place}"), detail));
            }
        }
    }
    schemes
}

/// That no two things that are sent have one name, as the endpoint will be.
fn check_clashes(
    change: &EndpointChange,
    before: Option<&LiveEndpoint>,
    errors: &mut Vec<FieldError>,
) {
    let before = before.map(|before| &before.settings);
    let stored_schemes = before.map_or(&[][..], |before| &before.signatures);
    let stored_headers = before.map_or(&[][..], |before| &before.headers);
    let schemes = change.signatures.as_deref().unwrap_or(stored_schemes);
    let headers = change.headers.as_deref().unwrap_or(stored_headers);
    if let Some(at) = header_clash(schemes, headers) {
        let name = schemes[at].header().unwrap_or_default();
        errors.push(FieldError::new(
            format!("signatures[{at}].header"),
            format!(
                "is `{name}`, which a custom header or another scheme has already; choose another name"
            ),
        ));
    }
}

/// Visible ASCII without a colon, which parts a user from a password.
fn client_id(text: String, errors: &mut Vec<FieldError>) -> Option<String> {
    let fits = CLIENT_ID_CHARS.contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    if fits {
        return Some(text);
    }
    let detail = "must have 1 to 128 visible ASCII characters, none of them a colon";
    errors.push(FieldError::new("clientId", detail));
    None
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = duration::parse(text).map_err(|error| error.to_string())?;
    if wait > WAIT_MAX {
        return Err(format!("is longer than {}", duration::format(WAIT_MAX)));
    }
    Ok(wait)
}

fn custom_headers(
    headers: BTreeMap<String, String>,
    before: Option<&LiveEndpoint>,
    errors: &mut Vec<FieldError>,
) -> Vec<CustomHeader> {
    let mut wrong = |path: String, detail: String| errors.push(FieldError::new(path, detail));
    let too_many = headers.len() > HEADERS_MAX;
    let mut seen = std::collections::BTreeSet::new();
    let mut kept = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let path = format!("headers.{name}");
        if !seen.insert(name.to_ascii_lowercase()) {
            wrong(
                path,
                "is given twice; case does not tell header names apart".to_owned(),
            );
        } else if let Err(detail) = header::check_name(&name).and_then(|()| check_value(&value)) {
            wrong(path, detail);
        } else if value != MASKED {
            kept.push(CustomHeader {
                name,
                value: Secret::new(value),
            });
        } else if let Some(stored) = stored_header(before, &name) {
            kept.push(CustomHeader {
                name,
                value: stored,
            });
        } else {
            wrong(
                path,
                "is masked, but there is no stored value to keep; give the value".to_owned(),
            );
        }
    }
    // A mask counts as what it stands for.
    let bytes = |header: &CustomHeader| header.name.len() + header.value.expose().len();
    if too_many || kept.iter().map(bytes).sum::<usize>() > HEADERS_BYTES_MAX {
        wrong(
            "headers".to_owned(),
            format!("must be at most {HEADERS_MAX} headers of {HEADERS_BYTES_MAX} bytes in all"),
        );
    }
    kept
}

fn stored_header(before: Option<&LiveEndpoint>, name: &str) -> Option<Secret> {
    let headers = &before?.settings.headers;
    let stored = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name));
    stored.map(|header| header.value.clone())
}

fn check_value(value: &str) -> Result<(), String> {
    if value == MASKED {
        return Ok(());
    }
    if value.len() > HEADER_VALUE_BYTES_MAX {
        return Err(format!("must have at most {HEADER_VALUE_BYTES_MAX} bytes"));
    }
    if !header::is_plain_value(value) {
        return Err("must be visible ASCII without spaces at its ends".to_owned());
    }
    Ok(())
}

fn checked_metadata(
    metadata: BTreeMap<String, String>,
    errors: &mut Vec<FieldError>,
) -> BTreeMap<String, String> {
    let bytes: usize = metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > METADATA_BYTES_MAX {
        errors.push(FieldError::new(
            "metadata",
            format!("must have at most {METADATA_BYTES_MAX} bytes in all"),
        ));
    }
    metadata
}
