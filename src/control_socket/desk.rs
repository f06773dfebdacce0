//! What can be done with API keys, whoever asks.

use super::{IssuedKey, KeyLine, NewKey};
use crate::domain::api_key::{self, ApiKey};
use crate::domain::environment::DEFAULT_ENVIRONMENT;
use crate::domain::ids::{ApiKeyKey, EnvironmentKey};
use crate::domain::secret::Secret;
use crate::seams::entropy::SharedEntropy;
use crate::store::{Refusal, Store, WriteError};

const NAME_CHARS_MAX: usize = 256;

/// Why nothing was done, or perhaps nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeskError {
    #[error("there is no environment {0:?}; this version has only {DEFAULT_ENVIRONMENT:?}")]
    NoEnvironment(String),
    #[error("there is no API key {0:?}; `hookpost keys list` shows those there are")]
    NoKey(String),
    #[error("there is no job {0:?}; `hookpost jobs list` shows those there are")]
    NoJob(String),
    #[error("a key's name has at most {NAME_CHARS_MAX} characters and no control characters")]
    Name,
    #[error(transparent)]
    Store(WriteError),
}

/// Makes, lists, rotates and revokes API keys.
#[derive(Clone)]
pub(crate) struct KeyDesk {
    store: Store,
    entropy: SharedEntropy,
}

impl KeyDesk {
    pub(crate) fn new(store: Store, entropy: SharedEntropy) -> Self {
        Self { store, entropy }
    }

    /// The store, for whoever has to close it.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) async fn create(&self, new: NewKey) -> Result<IssuedKey, DeskError> {
        let environment = self.environment(&new.environment)?;
        if new.name.chars().count() > NAME_CHARS_MAX || new.name.chars().any(char::is_control) {
            return Err(DeskError::Name);
        }
        let text = self.new_text();
        let made = self.store.create_api_key(environment, new.name, &text);
        let key = made.await.map_err(DeskError::Store)?;
        Ok(self.issued(&key, &text))
    }

    /// Every key, oldest first.
    pub(crate) fn list(&self) -> Vec<KeyLine> {
        let keys = self.store.catalog().api_keys();
        keys.iter().map(|key| self.line(key)).collect()
    }

    pub(crate) async fn rotate(&self, id: &str) -> Result<IssuedKey, DeskError> {
        let text = self.new_text();
        let rotated = self.store.rotate_api_key(self.key(id)?, &text).await;
        let key = rotated.map_err(|error| refused(error, id))?;
        Ok(self.issued(&key, &text))
    }

    pub(crate) async fn revoke(&self, id: &str) -> Result<KeyLine, DeskError> {
        let revoked = self.store.revoke_api_key(self.key(id)?).await;
        let key = revoked.map_err(|error| refused(error, id))?;
        Ok(self.line(&key))
    }

    fn environment(&self, name: &str) -> Result<EnvironmentKey, DeskError> {
        match name {
            DEFAULT_ENVIRONMENT => Ok(self.store.default_environment()),
            other => Err(DeskError::NoEnvironment(other.to_owned())),
        }
    }

    fn key(&self, id: &str) -> Result<ApiKeyKey, DeskError> {
        let key = self.store.ids().parse(id);
        key.ok_or_else(|| DeskError::NoKey(id.to_owned()))
    }

    fn new_text(&self) -> Secret {
        let mut random = [0; 32];
        self.entropy.fill(&mut random);
        api_key::new_text(random)
    }

    fn issued(&self, key: &ApiKey, text: &Secret) -> IssuedKey {
        IssuedKey {
            key: self.line(key),
            text: text.expose().to_owned(),
        }
    }

    fn line(&self, key: &ApiKey) -> KeyLine {
        KeyLine {
            id: self.store.ids().text(key.key),
            name: key.name.clone(),
            // The only one there is.
            environment: DEFAULT_ENVIRONMENT.to_owned(),
            shown: key.shown.clone(),
            created: key.created,
        }
    }
}

fn refused(error: WriteError, id: &str) -> DeskError {
    match error {
        WriteError::Refused(Refusal::NoApiKey) => DeskError::NoKey(id.to_owned()),
        other => DeskError::Store(other),
    }
}
