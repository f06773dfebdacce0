//! Who asks, and whose things they may touch.

use super::ids::{ApplicationKey, EnvironmentKey};

/// The part of the store that a caller can see: one environment, or one
/// application of it. What lies outside is not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    pub environment: EnvironmentKey,
    /// `None`: every application of the environment.
    pub application: Option<ApplicationKey>,
}

impl Scope {
    /// Everything in `environment`.
    #[must_use]
    pub fn of_environment(environment: EnvironmentKey) -> Self {
        Self {
            environment,
            application: None,
        }
    }

    /// Whether an application of `environment` lies inside.
    #[must_use]
    pub fn covers(&self, environment: EnvironmentKey, application: ApplicationKey) -> bool {
        self.environment == environment && self.application.is_none_or(|only| only == application)
    }

    /// Whether all of the environment lies inside.
    #[must_use]
    pub fn covers_environment(&self) -> bool {
        self.application.is_none()
    }
}

/// An authenticated caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Principal {
    pub scope: Scope,
}
