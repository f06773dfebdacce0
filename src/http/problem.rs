//! Errors as RFC 9457 `application/problem+json`.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

use crate::control::{ControlError, FieldError};
use crate::domain::endpoint::SECRETS_MAX;
use crate::domain::event_type::{TYPES_BYTES_MAX, TYPES_MAX};
use crate::domain::job::RUNNING_MAX;
use crate::engine::receive::ReplayError;
use crate::store::{Refusal, StoreError, WriteError};

/// Seconds after which a store that is busy or reopening may be asked again.
const TRY_AGAIN_S: &str = "1";

/// An error answer: what happened, and what to do about it.
#[derive(Clone, Debug)]
pub struct Problem {
    pub status: StatusCode,
    /// Stable; programs may tell errors apart by it.
    pub code: &'static str,
    pub detail: String,
    pub errors: Vec<FieldError>,
    header: Option<(HeaderName, &'static str)>,
}

#[derive(Serialize)]
struct Shape<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            header: None,
        }
    }

    /// 422: these fields are wrong.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        let detail = format!("Nothing was changed. Correct: {}.", paths.join(", "));
        Self {
            errors,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
        }
    }

    /// 404: it is not there, or belongs to somebody else.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("There is no such {what}."),
        )
    }

    /// 503: try again.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        problem.with_header(RETRY_AFTER, TRY_AGAIN_S)
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }
}

impl Problem {
    /// Adds the header that the problem has beside its text.
    pub fn put_header(&self, headers: &mut HeaderMap) {
        if let Some((name, value)) = &self.header {
            headers.insert(name.clone(), HeaderValue::from_static(value));
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let shape = Shape {
            r#type: format!("urn:hookpost:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            errors: &self.errors,
        };
        let body = serde_json::to_vec(&shape).expect("text and numbers always serialise");
        let mut response = (self.status, body).into_response();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        self.put_header(response.headers_mut());
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => {
                Self::unavailable("More is being written than the disk can take. Try again.")
            }
            other => {
                tracing::error!(error = %other, "a request failed in the store");
                Self::unavailable(
                    "The store cannot be written to or read now. What became of this request is unknown; \
                     try again with the same Idempotency-Key.",
                )
            }
        }
    }
}

impl From<Refusal> for Problem {
    #[expect(clippy::too_many_lines, reason = "one arm for each refusal")]
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoApplication => Self::not_found("application"),
            Refusal::NoEndpoint => Self::not_found("endpoint"),
            Refusal::NoMessage => Self::not_found("message"),
            Refusal::NoApiKey => Self::not_found("API key"),
            Refusal::NoInbox => Self::not_found("inbox"),
            Refusal::KeyNeeded => Self::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "Listeners at this inbox need an API key of its environment.",
            ),
            Refusal::TooManyWaiting => Self::unavailable(
                "The listener is away, and as many requests wait for it as are kept. Try again later; \
                 this one was not kept.",
            ),
            Refusal::NoEventType => Self::not_found("event type"),
            Refusal::EventTypeTaken => Self {
                errors: vec![FieldError::new("name", "is the name of another one")],
                ..Self::new(
                    StatusCode::CONFLICT,
                    "name_taken",
                    "There is an event type of this name. Change that one with PUT, or choose another name.",
                )
            },
            Refusal::EventTypesFull => Self::new(
                StatusCode::CONFLICT,
                "event_types_full",
                format!(
                    "An environment has at most {TYPES_MAX} event types, with {} MB of texts in all. Delete some that are not needed; nothing was changed.",
                    TYPES_BYTES_MAX >> 20
                ),
            ),
            Refusal::NoJob => Self::not_found("job"),
            Refusal::JobEnded => Self::new(
                StatusCode::CONFLICT,
                "job_ended",
                "The job has ended, so it stays as it is. Start a new one.",
            ),
            Refusal::TooManyJobs => Self::new(
                StatusCode::CONFLICT,
                "too_many_jobs",
                format!("{RUNNING_MAX} jobs run already. Wait until one has ended, or cancel one."),
            ),
            Refusal::NoEnvironment => Self::not_found("environment"),
            Refusal::NameTaken => Self {
                errors: vec![FieldError::new("name", "is the name of another one")],
                ..Self::new(
                    StatusCode::CONFLICT,
                    "name_taken",
                    "Another one has this name. Choose another, or use that one.",
                )
            },
            Refusal::FirstEnvironment => Self::new(
                StatusCode::CONFLICT,
                "first_environment",
                "This is the environment that every server has. It can be renamed, but not deleted; \
                 delete the applications in it instead.",
            ),
            Refusal::TooMany { of, max } => Self::new(
                StatusCode::CONFLICT,
                "too_many",
                format!("There are {max} {of}, as many as there may be. Delete some first."),
            ),
            Refusal::NoSource => Self::not_found("source"),
            Refusal::NoReceived | Refusal::NoRequest => Self::not_found("request"),
            Refusal::NoRequestEndpoint => Self::new(
                StatusCode::CONFLICT,
                "takes_no_requests",
                "This endpoint takes messages. Give it the one scheme optech, or ask another endpoint.",
            ),
            Refusal::RequestsOnly => Self::new(
                StatusCode::CONFLICT,
                "takes_requests",
                "This endpoint takes requests, and no messages: it signs by optech alone. Give it another scheme, or choose another endpoint.",
            ),
            Refusal::LinkEnded => Self::new(
                StatusCode::GONE,
                "link_ended",
                "This link has had its ten minutes. Nothing was kept.",
            ),
            Refusal::AnsweredOtherwise => Self::new(
                StatusCode::CONFLICT,
                "answered_otherwise",
                "This request has another answer already, which stays.",
            ),
            Refusal::ClientIdTaken => Self {
                errors: vec![FieldError::new(
                    "clientId",
                    "is the client id of another endpoint",
                )],
                ..Self::new(
                    StatusCode::CONFLICT,
                    "client_id_taken",
                    "Another endpoint has this client id. Choose another, or leave it out: one is made.",
                )
            },
            Refusal::NoRecord => Self::not_found("record"),
            Refusal::SlugTaken => Self {
                errors: vec![FieldError::new("slug", "is taken")],
                ..Self::new(
                    StatusCode::CONFLICT,
                    "slug_taken",
                    "Another source or inbox has this slug. Choose another, or leave it out: one is made.",
                )
            },
            Refusal::BuiltIn => Self::new(
                StatusCode::CONFLICT,
                "built_in",
                "This application belongs to Hookpost: it can have endpoints, but stays as it is.",
            ),
            Refusal::UidTaken => Self {
                errors: vec![FieldError::new("uid", "is the uid of another one")],
                ..Self::new(
                    StatusCode::CONFLICT,
                    "uid_taken",
                    "Another one has this uid. Choose another, or use that one.",
                )
            },
            Refusal::PayloadGone => Self::new(
                StatusCode::CONFLICT,
                "payload_gone",
                "The payload is no longer kept, so it cannot be sent again. Send a new message.",
            ),
            Refusal::TooManySecrets => Self::new(
                StatusCode::CONFLICT,
                "too_many_secrets",
                format!(
                    "The endpoint already has {SECRETS_MAX} secrets that sign. Wait until one expires, rotate \
                     with a gracePeriodSeconds of 0, or replace all of them with PUT and `secrets`."
                ),
            ),
            Refusal::NoUser => Self::not_found("user"),
            Refusal::EmailTaken => Self {
                errors: vec![FieldError::new("email", "has an account already")],
                ..Self::new(
                    StatusCode::CONFLICT,
                    "email_taken",
                    "This e-mail address has an account already. Change that one's role instead.",
                )
            },
            Refusal::LastAdmin => Self::new(
                StatusCode::CONFLICT,
                "last_admin",
                "Nobody else is an admin everywhere, so this account stays one. Make another first.",
            ),
            Refusal::LinkUsed => Self::new(
                StatusCode::GONE,
                "link_used",
                "This link was used already, or its time is over. Ask for another one.",
            ),
            Refusal::EndpointDisabled => Self::new(
                StatusCode::CONFLICT,
                "endpoint_disabled",
                "The endpoint is disabled, so nothing is sent to it. Enable it first.",
            ),
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(refusal) => refusal.into(),
            WriteError::Store(error) => error.into(),
        }
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Store(error) => error.into(),
            ReplayError::TooMany => Self::new(
                StatusCode::CONFLICT,
                "too_many_replays",
                "Many received requests are being sent again at the moment. Nothing was sent; try again shortly.",
            ),
        }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Invalid(errors) => Self::invalid(errors),
            ControlError::UrlBlocked { reason, detail } => Self {
                errors: vec![FieldError {
                    path: "url".to_owned(),
                    detail: detail.clone(),
                    reason: Some(reason),
                }],
                ..Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "endpoint_url_blocked",
                    detail,
                )
            },
            ControlError::NotHeld(capability) => Self::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                format!(
                    "You do not have the scope `{}`, so you cannot hand it out. Use a key, or an \
                     account, that has; nothing was done.",
                    capability.name()
                ),
            ),
            ControlError::Write(error) => error.into(),
        }
    }
}
