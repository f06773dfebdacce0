//! Making and changing inboxes.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Control, ControlError, FieldError, answer_errors};
use crate::domain::endpoint::LiveEndpoint;
use crate::domain::inbox::{Inbox, InboxChange};
use crate::domain::principal::Principal;
use crate::engine::receive::own_inbox;
use crate::store::{Idempotent, Refusal, Written};

/// Endpoints that send to an inbox and are listed.
pub const SENDERS_MAX: usize = 100;
/// How many endpoints are looked at for that: so many, so many times.
const SENDER_PAGE: usize = 250;
const SENDER_PAGES_MAX: usize = 40;
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

    /// Endpoints of the environment that send to an inbox: at most
    /// [`SENDERS_MAX`], of a bounded number that is looked at.
    pub fn senders(
        &self,
        principal: Principal,
        inbox: &Inbox,
    ) -> Result<Vec<Arc<LiveEndpoint>>, ControlError> {
        let mut senders = Vec::new();
        let mut after = None;
        for _ in 0..SENDER_PAGES_MAX {
            let page = self
                .store
                .browse_endpoints(principal.scope, after, SENDER_PAGE)?;
            let to_it = page.rows.into_iter().filter(|live| {
                let url = live.settings.url.as_str();
                own_inbox(url, &self.public_url).is_some_and(|(token, _)| token == inbox.token)
            });
            senders.extend(to_it);
            after = page.next;
            if after.is_none() || senders.len() >= SENDERS_MAX {
                break;
            }
        }
        senders.truncate(SENDERS_MAX);
        Ok(senders)
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
