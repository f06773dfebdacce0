//! Making and changing inboxes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Control, ControlError};
use crate::domain::inbox::Inbox;
use crate::domain::principal::Principal;
use crate::store::{Idempotent, Refusal, Written};

/// What an inbox answers when nothing else is said.
pub const ANSWER_STATUS: u16 = 200;
/// Random bytes in an inbox's token.
const TOKEN_BYTES: usize = 16;

impl Control {
    /// Makes an inbox with a token that cannot be guessed. Inboxes belong to
    /// the environment: only who sees all of it sees them.
    pub async fn create_inbox(
        &self,
        principal: Principal,
        name: String,
        answer_status: Option<u16>,
        idempotent: Option<Idempotent<Inbox>>,
    ) -> Result<Written<Inbox>, ControlError> {
        if !principal.scope.covers_environment() {
            return Err(Refusal::NoInbox.into());
        }
        let mut random = [0; TOKEN_BYTES];
        self.entropy.fill(&mut random);
        let token = URL_SAFE_NO_PAD.encode(random);
        let environment = principal.scope.environment;
        let status = answer_status.unwrap_or(ANSWER_STATUS);
        Ok(self
            .store
            .create_inbox(environment, name, token, status, idempotent)
            .await?)
    }

    /// The inbox with this token, if the caller's scope covers it.
    pub fn inbox(&self, principal: Principal, token: &str) -> Result<Option<Inbox>, ControlError> {
        let scope = principal.scope;
        let found = self.store.inbox(token)?;
        Ok(found
            .filter(|inbox| scope.covers_environment() && inbox.environment == scope.environment))
    }

    /// Every inbox that the caller's scope covers, oldest first.
    pub fn list_inboxes(&self, principal: Principal) -> Result<Vec<Inbox>, ControlError> {
        if !principal.scope.covers_environment() {
            return Ok(Vec::new());
        }
        Ok(self.store.list_inboxes(principal.scope.environment)?)
    }

    /// Changes what an inbox is called, or what it answers.
    pub async fn update_inbox(
        &self,
        principal: Principal,
        token: &str,
        name: Option<String>,
        answer_status: Option<u16>,
    ) -> Result<Inbox, ControlError> {
        let inbox = self.inbox(principal, token)?.ok_or(Refusal::NoInbox)?;
        Ok(self
            .store
            .update_inbox(inbox.key, name, answer_status)
            .await?)
    }

    /// The URL of an inbox.
    #[must_use]
    pub fn inbox_url(&self, inbox: &Inbox) -> String {
        format!("{}/in/{}/", self.public_url, inbox.token)
    }
}
