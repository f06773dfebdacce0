//! Making, rotating and revoking API keys: nobody hands out more than they hold.

use std::sync::Arc;
use std::time::Duration;

use super::{Control, ControlError, FieldError};
use crate::domain::api_key::{self, ApiKey, NewApiKey};
use crate::domain::environment::Environment;
use crate::domain::ids::ApplicationKey;
use crate::domain::principal::{Capabilities, Capability, Principal, Scope};
use crate::domain::secret::Secret;
use crate::store::{Idempotent, Refusal, Written};

/// What a caller gives for a key, as texts. `None`: left out.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyInput {
    pub name: String,
    /// Names of scopes.
    pub scopes: Option<Vec<String>>,
    /// Id or uid of the application that it is bound to.
    pub application: Option<String>,
    /// Id or name of an environment other than the caller's.
    pub environment: Option<String>,
    pub lifetime: Option<Duration>,
}

impl Control {
    /// The text of a new key.
    #[must_use]
    pub fn new_api_key_text(&self) -> Secret {
        let mut random = [0; 32];
        self.entropy.fill(&mut random);
        api_key::new_text(random)
    }

    /// Makes an API key with this text.
    pub async fn create_api_key(
        &self,
        principal: Principal,
        input: ApiKeyInput,
        text: &Secret,
        idempotent: Option<Idempotent<ApiKey>>,
    ) -> Result<Written<ApiKey>, ControlError> {
        whole_environment(principal)?;
        let environment = self.environment_for(principal, input.environment.as_deref())?;
        let bound = input.application.as_deref();
        let (application, application_error) = match self.bound_to(&environment, bound)? {
            Ok(application) => (application, None),
            Err(error) => (None, Some(error)),
        };
        let scopes = checked_scopes(input.scopes.as_deref(), bound.is_some());
        let capabilities = match (scopes, application_error) {
            (Ok(capabilities), None) => capabilities,
            (scopes, error) => {
                let errors = error.into_iter().chain(scopes.err().into_iter().flatten());
                return Err(ControlError::Invalid(errors.collect()));
            }
        };
        held(principal, capabilities)?;
        let new = NewApiKey {
            environment: environment.key,
            application,
            name: input.name,
            capabilities,
            lifetime: input.lifetime,
        };
        let by = principal.actor;
        Ok(self.store.issue_api_key(by, new, text, idempotent).await?)
    }

    /// Every key of the caller's environment, oldest first.
    pub fn list_api_keys(&self, principal: Principal) -> Result<Vec<ApiKey>, ControlError> {
        whole_environment(principal)?;
        Ok(self.store.list_api_keys(principal.scope))
    }

    /// Changes what a key is called.
    pub async fn rename_api_key(
        &self,
        principal: Principal,
        id: &str,
        name: String,
    ) -> Result<ApiKey, ControlError> {
        let key = self.api_key(principal, id)?;
        Ok(self
            .store
            .rename_api_key(principal.scope, key.key, name)
            .await?)
    }

    /// Gives a key this text; the old one stops at once. The caller must hold
    /// what the key does, for they see its text.
    pub async fn rotate_api_key(
        &self,
        principal: Principal,
        id: &str,
        text: &Secret,
        idempotent: Option<Idempotent<ApiKey>>,
    ) -> Result<Written<ApiKey>, ControlError> {
        let key = self.api_key(principal, id)?;
        held(principal, key.capabilities)?;
        Ok(self
            .store
            .rotate_api_key(principal, key.key, text, idempotent)
            .await?)
    }

    /// Revokes a key, at once.
    pub async fn revoke_api_key(
        &self,
        principal: Principal,
        id: &str,
    ) -> Result<ApiKey, ControlError> {
        let key = self.api_key(principal, id)?;
        Ok(self.store.revoke_api_key(principal, key.key).await?)
    }

    fn api_key(&self, principal: Principal, id: &str) -> Result<ApiKey, ControlError> {
        let found = self.store.find_api_key(principal.scope, id);
        Ok(found.ok_or(Refusal::NoApiKey)?)
    }

    /// The environment that a new key is for.
    fn environment_for(
        &self,
        principal: Principal,
        wanted: Option<&str>,
    ) -> Result<Arc<Environment>, ControlError> {
        let Some(wanted) = wanted else {
            let own = self
                .store
                .catalog()
                .environment(principal.scope.environment);
            return Ok(own.ok_or(Refusal::NoEnvironment)?);
        };
        held(principal, Capabilities::of(&[Capability::Environments]))?;
        self.store.find_environment(wanted).ok_or_else(|| {
            let detail = "is not the id or name of an environment; GET /environments lists them";
            ControlError::Invalid(vec![FieldError::new("environment", detail)])
        })
    }

    fn bound_to(
        &self,
        environment: &Environment,
        wanted: Option<&str>,
    ) -> Result<Result<Option<ApplicationKey>, FieldError>, ControlError> {
        let Some(wanted) = wanted else {
            return Ok(Ok(None));
        };
        let scope = Scope::of_environment(environment.key);
        let found = self.store.find_application(scope, wanted)?;
        let key = found.map(|entry| entry.application.key);
        let detail = "is not the id or uid of an application in the key's environment";
        Ok(key
            .map(Some)
            .ok_or_else(|| FieldError::new("application", detail)))
    }
}

/// What the scopes of these names allow; everything in the environment when
/// none are given.
fn checked_scopes(
    names: Option<&[String]>,
    one_application: bool,
) -> Result<Capabilities, Vec<FieldError>> {
    let Some(names) = names else {
        return Ok(Capabilities::ADMIN);
    };
    if names.is_empty() {
        let detail = format!("must name at least one of {}", api_key::scope_names());
        return Err(vec![FieldError::new("scopes", detail)]);
    }
    let error = |(at, detail)| FieldError::new(format!("scopes[{at}]"), detail);
    api_key::capabilities(names, one_application)
        .map_err(|wrong| wrong.into_iter().map(error).collect())
}

fn held(principal: Principal, wanted: Capabilities) -> Result<(), ControlError> {
    match principal.capabilities.missing(wanted) {
        Some(missing) => Err(ControlError::NotHeld(missing)),
        None => Ok(()),
    }
}

fn whole_environment(principal: Principal) -> Result<(), ControlError> {
    if principal.scope.covers_environment() {
        Ok(())
    } else {
        Err(Refusal::NoApiKey.into())
    }
}
