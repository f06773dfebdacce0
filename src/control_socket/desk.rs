//! What can be done with API keys, whoever asks.

use std::time::Duration;

use super::{IssuedKey, KeyLine, NewKey};
use crate::domain::api_key::{
    self, API_KEY_NAME_CHARS_MAX, ApiKey, LIFETIME_SECONDS_MAX, NewApiKey,
};
use crate::domain::ids::{ApplicationKey, EnvironmentKey};
use crate::domain::principal::{Actor, Capabilities, Principal, Scope};
use crate::domain::secret::Secret;
use crate::seams::entropy::SharedEntropy;
use crate::store::{Refusal, Store, StoreError, WriteError, Written};

/// Why nothing was done, or perhaps nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeskError {
    #[error("there is no environment {name:?}; there are {there}")]
    NoEnvironment { name: String, there: String },
    #[error("there is no application {0:?} in this environment; give its id or uid")]
    NoApplication(String),
    #[error("the scope {name:?} {reason}")]
    Scope { name: String, reason: String },
    #[error("a key expires within ten years, or not at all; this is {0} s")]
    Lifetime(u64),
    #[error("there is no API key {0:?}; `hookpost keys list` shows those there are")]
    NoKey(String),
    #[error("there is no job {0:?}; `hookpost jobs list` shows those there are")]
    NoJob(String),
    #[error(
        "a key's name has at most {API_KEY_NAME_CHARS_MAX} characters and no control characters"
    )]
    Name,
    #[error("{email:?} {why}")]
    Email { email: String, why: &'static str },
    #[error("there is no role {0:?}; there are viewer, operator and admin")]
    NoRole(String),
    #[error("there is no account {0:?}; `hookpost users list` shows those there are")]
    NoUser(String),
    #[error(transparent)]
    Store(#[from] WriteError),
}

impl From<StoreError> for DeskError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

/// Environments that a sentence lists.
const LISTED_MAX: usize = 10;

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
        let new = self.checked(new)?;
        let text = self.new_text();
        let made = self
            .store
            .issue_api_key(Actor::Operator, new, &text, None)
            .await?;
        Ok(self.issued(&fresh(made), &text))
    }

    /// Every key, oldest first.
    pub(crate) fn list(&self) -> Vec<KeyLine> {
        let keys = self.store.catalog().api_keys();
        keys.iter().map(|key| self.line(key)).collect()
    }

    pub(crate) async fn rotate(&self, id: &str) -> Result<IssuedKey, DeskError> {
        let text = self.new_text();
        let (operator, key) = self.key(id)?;
        let rotated = self
            .store
            .rotate_api_key(operator, key.key, &text, None)
            .await;
        let key = rotated.map_err(|error| refused(error, id))?;
        Ok(self.issued(&fresh(key), &text))
    }

    pub(crate) async fn revoke(&self, id: &str) -> Result<KeyLine, DeskError> {
        let (operator, key) = self.key(id)?;
        let line = self.line(&key);
        let revoked = self.store.revoke_api_key(operator, key.key).await;
        revoked.map_err(|error| refused(error, id))?;
        Ok(line)
    }

    fn checked(&self, new: NewKey) -> Result<NewApiKey, DeskError> {
        let environment = self.environment(new.environment.as_deref())?;
        if new.name.chars().count() > API_KEY_NAME_CHARS_MAX
            || new.name.chars().any(char::is_control)
        {
            return Err(DeskError::Name);
        }
        if let Some(seconds) = new.lifetime_seconds
            && !(1..=LIFETIME_SECONDS_MAX).contains(&seconds)
        {
            return Err(DeskError::Lifetime(seconds));
        }
        let capabilities = scopes(&new.scopes, new.application.is_some())?;
        let application = new
            .application
            .map(|one| self.application(environment, one));
        Ok(NewApiKey {
            environment,
            application: application.transpose()?,
            name: new.name,
            capabilities,
            lifetime: new.lifetime_seconds.map(Duration::from_secs),
        })
    }

    fn environment(&self, wanted: Option<&str>) -> Result<EnvironmentKey, DeskError> {
        let Some(wanted) = wanted else {
            return Ok(self.store.default_environment());
        };
        match self.store.find_environment(wanted) {
            Some(found) => Ok(found.key),
            None => Err(DeskError::NoEnvironment {
                name: wanted.to_owned(),
                there: environments_there(&self.store),
            }),
        }
    }

    fn application(
        &self,
        environment: EnvironmentKey,
        wanted: String,
    ) -> Result<ApplicationKey, DeskError> {
        let scope = Scope::of_environment(environment);
        let found = self.store.find_application(scope, &wanted)?;
        match found {
            Some(entry) => Ok(entry.application.key),
            None => Err(DeskError::NoApplication(wanted)),
        }
    }

    /// The key with this id, and who may do all to it.
    fn key(&self, id: &str) -> Result<(Principal, ApiKey), DeskError> {
        let key = self.store.ids().parse(id);
        let key = key.and_then(|key| self.store.catalog().api_key_of(key));
        let key = key.ok_or_else(|| DeskError::NoKey(id.to_owned()))?;
        let scope = Scope::of_environment(key.environment);
        Ok((Principal::operator(scope), key))
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
        let ids = self.store.ids();
        let environment = self.store.catalog().environment(key.environment);
        KeyLine {
            id: ids.text(key.key),
            name: key.name.clone(),
            environment: environment.map_or_else(String::new, |known| known.name.clone()),
            scopes: key
                .capabilities
                .named()
                .map(|one| one.name().to_owned())
                .collect(),
            application: key.application.map(|key| ids.text(key)),
            shown: key.shown.clone(),
            created: key.created,
            expires: key.expires,
            last_used: key.last_used,
        }
    }
}

fn fresh(written: Written<ApiKey>) -> ApiKey {
    match written {
        Written::Fresh(key) => key,
        Written::Repeated(_) => unreachable!("without an idempotency key nothing is repeated"),
    }
}

/// What the scopes of these names allow; everything in the environment when
/// there are none.
fn scopes(names: &[String], one_application: bool) -> Result<Capabilities, DeskError> {
    if names.is_empty() {
        return Ok(Capabilities::ADMIN);
    }
    api_key::capabilities(names, one_application).map_err(|wrong| {
        let first = wrong.into_iter().next();
        let (at, reason) = first.expect("what is refused has a reason");
        DeskError::Scope {
            name: names[at].clone(),
            reason,
        }
    })
}

fn refused(error: WriteError, id: &str) -> DeskError {
    match error {
        WriteError::Refused(Refusal::NoApiKey) => DeskError::NoKey(id.to_owned()),
        other => DeskError::Store(other),
    }
}

/// The names of the environments, for a sentence.
pub(super) fn environments_there(store: &Store) -> String {
    let all = store.catalog().environments();
    let names = all.iter().take(LISTED_MAX);
    let mut names: Vec<_> = names.map(|one| format!("{:?}", one.name)).collect();
    if all.len() > LISTED_MAX {
        names.push(format!("{} more", all.len() - LISTED_MAX));
    }
    names.join(", ")
}
