//! What a secret token opens: a session, or once a way into one.
//!
//! A token is 32 random bytes in base64url. Only its SHA-256 is stored.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ids::{ApplicationKey, EnvironmentKey, UserKey};
use super::principal::{Actor, Capabilities, Capability, Principal, Scope};
use super::secret::Secret;
use super::time::Timestamp;

/// A session ends when nothing came for so long.
pub const IDLE_MAX: Duration = Duration::from_mins(30);
/// A user's session ends after so long, whatever came.
pub const USER_SESSION_MAX: Duration = Duration::from_hours(12);
/// Sessions of one user, and of one application's customers; the oldest end first.
pub const USER_SESSIONS_MAX: usize = 10;
pub const CUSTOMER_SESSIONS_MAX: usize = 1_000;
/// How long a link to the first account, and one after a forgotten password, works.
pub const SETUP_LINK_LIFETIME: Duration = Duration::from_mins(30);
pub const RESET_LINK_LIFETIME: Duration = Duration::from_hours(1);
/// How long an invitation works.
pub const INVITATION_LIFETIME: Duration = Duration::from_hours(7 * 24);
/// How long a link of `serve --dev` works.
pub const DEV_LINK_LIFETIME: Duration = Duration::from_hours(12);
/// How long the first use of a portal link may take, and the session behind it
/// lasts unless something else is asked for, and at most.
pub const PORTAL_LINK_LIFETIME: Duration = Duration::from_mins(10);
pub const PORTAL_SESSION_DEFAULT: Duration = Duration::from_hours(4);
pub const PORTAL_SESSION_MAX: Duration = Duration::from_hours(7 * 24);

/// A new token, from random bytes.
#[must_use]
pub fn new_token(random: [u8; 32]) -> Secret {
    Secret::new(URL_SAFE_NO_PAD.encode(random))
}

/// What is stored of a token.
#[must_use]
pub fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// What one token opens, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub opens: Opens,
    pub created: Timestamp,
    /// From then on it opens nothing.
    pub ends: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opens {
    /// Pages, again and again.
    Session(Session),
    /// A session, once.
    Link(Link),
}

/// Somebody who is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub holder: Holder,
    /// When it was last used, exact to the minute.
    pub seen: Timestamp,
}

/// Who has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holder {
    User(UserKey),
    Customer(Customer),
}

/// Whoever followed a link to an application's portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    pub environment: EnvironmentKey,
    pub application: ApplicationKey,
    /// Sees, and changes nothing.
    pub read_only: bool,
}

impl Customer {
    /// What the customer may do: everything with the application's endpoints
    /// and messages, unless it is to read only.
    #[must_use]
    pub fn principal(&self) -> Principal {
        use Capability::{Manage, Read, Secrets, Send};
        let all = &[Read, Send, Manage, Secrets];
        Principal {
            scope: Scope {
                environment: self.environment,
                application: Some(self.application),
            },
            capabilities: Capabilities::of(if self.read_only { &[Read] } else { all }),
            actor: Actor::Customer(self.application),
        }
    }
}

/// A link that works once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// Makes the first account. Works while there is none.
    FirstAccount,
    /// Lets the user choose a password: an invitation, or a forgotten password.
    ChoosePassword(UserKey),
    /// Signs the user in.
    SignIn(UserKey),
    /// Opens an application's portal.
    Portal(PortalLink),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortalLink {
    pub customer: Customer,
    /// How long the session lasts.
    pub session_seconds: u64,
    /// The page to begin with: a path inside the portal, such as `/endpoints`.
    pub next: String,
}

impl Token {
    /// Whether it opens something at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        let idle_end = match &self.opens {
            Opens::Session(session) => session.seen.plus(IDLE_MAX),
            Opens::Link(_) => self.ends,
        };
        now < self.ends && now < idle_end
    }
}

/// Whether `path` stays inside the portal: a path of plain characters, so that
/// no browser reads another host in it.
#[must_use]
pub fn is_local_path(path: &str) -> bool {
    let mut bytes = path.bytes();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./?=&".contains(&b);
    match (bytes.next(), bytes.next()) {
        (Some(b'/'), None) => true,
        (Some(b'/'), Some(second)) => {
            second.is_ascii_alphanumeric() && bytes.all(plain) && !path.contains("..")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Key as _;

    #[test]
    fn a_session_ends_when_idle_and_when_its_time_is_over() {
        let minute = 60_000;
        let start = Timestamp(1_700_000_000_000);
        let token = |seen_after: u64| Token {
            opens: Opens::Session(Session {
                holder: Holder::User(UserKey::from_u64(1)),
                seen: Timestamp(start.0 + seen_after * minute),
            }),
            created: start,
            ends: start.plus(USER_SESSION_MAX),
        };
        for (seen_after, now_after, want) in [
            (0, 29, true),
            (0, 30, false),
            (29, 58, true),
            (719, 719, true),
            (719, 720, false),
        ] {
            let now = Timestamp(start.0 + now_after * minute);
            assert_eq!(
                token(seen_after).is_valid(now),
                want,
                "{seen_after} {now_after}"
            );
        }
    }

    #[test]
    fn only_plain_local_paths_are_followed() {
        for (path, want) in [
            ("/", true),
            ("/endpoints", true),
            ("/endpoints/new?event=a.b&x=1", true),
            ("", false),
            ("endpoints", false),
            ("//evil.example", false),
            ("/\\evil.example", false),
            ("/\tevil.example", false),
            ("/%09/evil.example", false),
            ("https:evil", false),
            ("/a/../../sign-out", false),
            ("/a\r\nset-cookie: x", false),
        ] {
            assert_eq!(is_local_path(path), want, "{path:?}");
        }
    }

    #[test]
    fn a_customer_has_one_application_and_no_keys() {
        let customer = Customer {
            environment: EnvironmentKey::from_u64(1),
            application: ApplicationKey::from_u64(2),
            read_only: false,
        };
        let full = customer.principal();
        assert_eq!(full.scope.application, Some(customer.application));
        assert!(full.capabilities.allow(Capability::Secrets));
        assert!(!full.capabilities.allow(Capability::Admin));
        let read_only = Customer {
            read_only: true,
            ..customer
        };
        let allowed = read_only.principal().capabilities;
        assert!(allowed.allow(Capability::Read) && !allowed.allow(Capability::Send));
    }
}
