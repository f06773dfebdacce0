//! A tenant: the owner of endpoints and messages.

use super::ids::{ApplicationKey, EnvironmentKey};
use super::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    pub key: ApplicationKey,
    pub environment: EnvironmentKey,
    pub name: String,
    /// The caller's own name for it, unique in the environment.
    pub uid: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What a caller may set. `None` keeps what there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplicationChange {
    pub name: Option<String>,
    pub uid: Option<String>,
}
