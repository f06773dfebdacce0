//! The control plane: what an API caller or operator may change, checked once
//! for every face.

mod answers;
pub mod api_keys;
pub mod applications;
pub mod endpoints;
pub mod environments;
pub mod event_types;
pub mod inboxes;
pub mod jobs;
pub mod passwords;
pub mod portal;
pub mod requests;
mod schemas;
pub mod signatures;
pub mod sources;

use std::sync::Arc;

use serde::Serialize;

use self::answers::answer_errors;

use crate::domain::principal::Capability;
use crate::engine::transport::HttpTransport;
use crate::seams::entropy::SharedEntropy;
use crate::store::{Refusal, Store, StoreError, WriteError};

/// One field that is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Such as `eventTypes[2]`.
    pub path: String,
    pub detail: String,
    /// From a closed list, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

impl FieldError {
    #[must_use]
    pub fn new(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            detail: detail.into(),
            reason: None,
        }
    }
}

/// Why nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControlError {
    #[error("some fields are wrong")]
    Invalid(Vec<FieldError>),
    #[error("{detail}")]
    UrlBlocked {
        reason: &'static str,
        detail: String,
    },
    /// The caller would hand out more than they hold.
    #[error("the caller does not have the scope {}", .0.name())]
    NotHeld(Capability),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        Self::Write(error.into())
    }
}

impl From<Refusal> for ControlError {
    fn from(refusal: Refusal) -> Self {
        Self::Write(refusal.into())
    }
}

/// The control plane over one store.
#[derive(Clone)]
pub struct Control {
    pub store: Store,
    pub transport: Arc<HttpTransport>,
    pub entropy: SharedEntropy,
    /// Without a slash at the end.
    pub public_url: Arc<str>,
}
