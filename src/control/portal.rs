//! Links into an application's portal: nobody hands out more than they hold.

use std::time::Duration;

use super::{Control, ControlError, FieldError};
use crate::domain::ids::ApplicationKey;
use crate::domain::principal::Principal;
use crate::domain::secret::Secret;
use crate::domain::session::{
    self, Customer, PORTAL_SESSION_DEFAULT, PORTAL_SESSION_MAX, PortalLink, is_local_path,
};
use crate::domain::time::Timestamp;
use crate::store::{Idempotent, Refusal, Written};

/// Shortest session that can be asked for.
pub const PORTAL_SESSION_SECONDS_MIN: u64 = 60;

/// What a caller gives for a link. `None`: left out.
#[derive(Clone, Debug, Default)]
pub struct PortalLinkInput {
    pub expires_in_seconds: Option<u64>,
    pub read_only: Option<bool>,
    pub next: Option<String>,
}

impl Control {
    /// A secret for a new link, and the link's URL.
    #[must_use]
    pub fn new_portal_token(&self) -> (Secret, Secret) {
        let mut random = [0; 32];
        self.entropy.fill(&mut random);
        let token = session::new_token(random);
        let url = format!("{}/links/{}", self.public_url, token.expose());
        (token, Secret::new(url))
    }

    /// Keeps `token` as a link into a session that sees `application` alone,
    /// until `ends`.
    pub async fn create_portal_link(
        &self,
        principal: Principal,
        application: ApplicationKey,
        input: PortalLinkInput,
        token: &Secret,
        ends: Timestamp,
        idempotent: Option<Idempotent<()>>,
    ) -> Result<Written<()>, ControlError> {
        let entry = self.store.application(application)?;
        let entry = entry.ok_or(Refusal::NoApplication)?;
        let customer = Customer {
            environment: entry.application.environment,
            application,
            read_only: input.read_only.unwrap_or(false),
        };
        let handed_out = customer.principal().capabilities;
        if let Some(missing) = principal.capabilities.missing(handed_out) {
            return Err(ControlError::NotHeld(missing));
        }
        let next = input.next.unwrap_or_else(|| "/".to_owned());
        if !is_local_path(&next) {
            let detail = "must be a path inside the portal, such as /endpoints";
            return Err(ControlError::Invalid(vec![FieldError::new("next", detail)]));
        }
        let session = input
            .expires_in_seconds
            .map_or(PORTAL_SESSION_DEFAULT, Duration::from_secs);
        let link = PortalLink {
            customer,
            session_seconds: session.min(PORTAL_SESSION_MAX).as_secs(),
            next,
        };
        let hash = session::hash(token.expose());
        let issued = self
            .store
            .issue_portal_link(principal, hash, link, ends, idempotent);
        Ok(issued.await?)
    }
}
