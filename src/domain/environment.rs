//! A separate world of keys, data and settings.

use super::ids::EnvironmentKey;

/// The environment that a new store has.
pub const DEFAULT_ENVIRONMENT: &str = "default";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    pub key: EnvironmentKey,
    pub name: String,
}
