//! Making and changing inboxes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Control, ControlError, FieldError, answer_errors};
use crate::domain::inbox::{Inbox, InboxChange};
use crate::domain::principal::Principal;
use crate::store::{Idempotent, Refusal, Written};

/// Random bytes in an inbox's token.
const TOKEN_BYTES: usize = 16;

/// The field that says this of an inbox's answer: `contentType` is
/// `answerContentType`.
#[must_use]
pub fn answer_field(part: &str) -> String {
    let (first, rest) = part.split_at(1);
    format!("answer{}{rest}", first.to_uppercase())
}

impl Control {
    /// Makes an inbox with a token that cannot be guessed. Inboxes belong to
    /// the environment: only who sees all of it sees them.
    pub async fn create_inbox(
        &self,
        principal: Principal,
        change: InboxChange,
        idempotent: Option<Idempotent<Inbox>>,
    ) -> Result<Written<Inbox>, ControlError> {
        if !principal.scope.covers_environment() {
            return Err(Refusal::NoInbox.into());
        }
        check(&change)?;
        let mut random = [0; TOKEN_BYTES];
        self.entropy.fill(&mut random);
        let token = URL_SAFE_NO_PAD.encode(random);
        let environment = principal.scope.environment;
        Ok(self
            .store
            .create_inbox(environment, token, change, idempotent)
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
        change: InboxChange,
    ) -> Result<Inbox, ControlError> {
        let inbox = self.inbox(principal, token)?.ok_or(Refusal::NoInbox)?;
        check(&change)?;
        Ok(self.store.update_inbox(inbox.key, change).await?)
    }

    /// Deletes an inbox with all that it took in.
    pub async fn delete_inbox(
        &self,
        principal: Principal,
        token: &str,
    ) -> Result<Inbox, ControlError> {
        let inbox = self.inbox(principal, token)?.ok_or(Refusal::NoInbox)?;
        Ok(self.store.delete_inbox(principal, inbox.key).await?)
    }

    /// Drops all that an inbox took in.
    pub async fn clear_inbox(
        &self,
        principal: Principal,
        token: &str,
    ) -> Result<Inbox, ControlError> {
        let inbox = self.inbox(principal, token)?.ok_or(Refusal::NoInbox)?;
        Ok(self.store.clear_inbox(principal, inbox.key).await?)
    }

    /// The URL of an inbox.
    #[must_use]
    pub fn inbox_url(&self, inbox: &Inbox) -> String {
        format!("{}/in/{}/", self.public_url, inbox.token)
    }
}

fn check(change: &InboxChange) -> Result<(), ControlError> {
    let errors: Vec<FieldError> = answer_errors(&change.answer, answer_field);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ControlError::Invalid(errors))
    }
}
