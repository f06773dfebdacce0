//! Making, changing and deleting applications.

use super::{Control, ControlError, FieldError};
use crate::domain::application::{Application, ApplicationChange};
use crate::domain::ids::ApplicationKey;
use crate::domain::principal::Principal;
use crate::store::{Idempotent, Refusal, Written};

/// Characters of an application's or endpoint's name.
pub const NAME_CHARS_MAX: usize = 256;

impl Control {
    /// Makes an application. Only who sees the whole environment may.
    pub async fn create_application(
        &self,
        principal: Principal,
        name: String,
        uid: Option<String>,
        idempotent: Option<Idempotent<Application>>,
    ) -> Result<Written<Application>, ControlError> {
        if !principal.scope.covers_environment() {
            return Err(Refusal::NoApplication.into());
        }
        let environment = principal.scope.environment;
        Ok(self
            .store
            .create_application(environment, name, uid, idempotent)
            .await?)
    }

    /// Changes what `change` names.
    ///
    /// A uid is taken or free among all applications of the environment: who
    /// sees only one of them must not learn which.
    pub async fn update_application(
        &self,
        principal: Principal,
        key: ApplicationKey,
        change: ApplicationChange,
    ) -> Result<Application, ControlError> {
        if change.uid.is_some() && !principal.scope.covers_environment() {
            let own = self.store.application(key)?;
            if own.is_some_and(|own| own.application.uid != change.uid) {
                let detail = "can only be changed with a key of the whole environment";
                return Err(ControlError::Invalid(vec![FieldError::new("uid", detail)]));
            }
        }
        Ok(self
            .store
            .update_application(principal.scope, key, change)
            .await?)
    }

    /// Deletes an application and all that is its.
    pub async fn delete_application(
        &self,
        principal: Principal,
        key: ApplicationKey,
    ) -> Result<Application, ControlError> {
        if !principal.scope.covers_environment() {
            return Err(Refusal::NoApplication.into());
        }
        Ok(self.store.delete_application(principal, key).await?)
    }
}
