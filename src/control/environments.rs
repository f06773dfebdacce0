//! Making, renaming and deleting environments.

use std::sync::Arc;

use super::{Control, ControlError};
use crate::domain::environment::Environment;
use crate::domain::principal::Principal;
use crate::store::{Idempotent, Refusal, Written};

impl Control {
    /// Makes an environment.
    pub async fn create_environment(
        &self,
        principal: Principal,
        name: String,
        idempotent: Option<Idempotent<Environment>>,
    ) -> Result<Written<Environment>, ControlError> {
        visible(principal)?;
        Ok(self
            .store
            .create_environment(principal, name, idempotent)
            .await?)
    }

    /// Every environment, oldest first.
    pub fn list_environments(
        &self,
        principal: Principal,
    ) -> Result<Vec<Arc<Environment>>, ControlError> {
        visible(principal)?;
        Ok(self.store.catalog().environments())
    }

    /// The environment with this id or name.
    pub fn environment(
        &self,
        principal: Principal,
        id_or_name: &str,
    ) -> Result<Arc<Environment>, ControlError> {
        visible(principal)?;
        let found = self.store.find_environment(id_or_name);
        Ok(found.ok_or(Refusal::NoEnvironment)?)
    }

    /// Gives an environment another name.
    pub async fn rename_environment(
        &self,
        principal: Principal,
        id_or_name: &str,
        name: String,
    ) -> Result<Environment, ControlError> {
        let key = self.environment(principal, id_or_name)?.key;
        Ok(self.store.rename_environment(principal, key, name).await?)
    }

    /// Deletes an environment and all that is in it.
    pub async fn delete_environment(
        &self,
        principal: Principal,
        id_or_name: &str,
    ) -> Result<Environment, ControlError> {
        let key = self.environment(principal, id_or_name)?.key;
        Ok(self.store.delete_environment(principal, key).await?)
    }
}

/// Who sees one application only sees no environment, not even their own.
fn visible(principal: Principal) -> Result<(), ControlError> {
    if principal.scope.covers_environment() {
        Ok(())
    } else {
        Err(Refusal::NoEnvironment.into())
    }
}
