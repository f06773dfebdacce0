//! A separate world of keys, data and settings.

use super::ids::{ApplicationKey, EnvironmentKey};
use super::time::Timestamp;

/// The environment that a new store has.
pub const DEFAULT_ENVIRONMENT: &str = "default";

/// Characters of an environment's name.
pub const ENVIRONMENT_NAME_CHARS_MAX: usize = 256;

/// Name and uid of the built-in application that every environment has.
pub const OPERATIONAL_NAME: &str = "Operational events";
pub const OPERATIONAL_UID: &str = "operational-events";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    pub key: EnvironmentKey,
    /// Unique in the store.
    pub name: String,
    /// The built-in application whose messages are the environment's
    /// operational events. It is in no list, and cannot be changed or deleted.
    pub operational: ApplicationKey,
    pub created: Timestamp,
    pub updated: Timestamp,
}
