//! Who asks, whose things they may touch, and what they may do with them.

use serde::{Deserialize, Serialize};

use super::ids::{ApiKeyKey, ApplicationKey, EnvironmentKey, UserKey};

/// The part of the store that a caller can see: one environment, or one
/// application of it. What lies outside is not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    pub environment: EnvironmentKey,
    /// `None`: every application of the environment.
    pub application: Option<ApplicationKey>,
}

impl Scope {
    /// Everything in `environment`.
    #[must_use]
    pub fn of_environment(environment: EnvironmentKey) -> Self {
        Self {
            environment,
            application: None,
        }
    }

    /// Whether an application of `environment` lies inside.
    #[must_use]
    pub fn covers(&self, environment: EnvironmentKey, application: ApplicationKey) -> bool {
        self.environment == environment && self.application.is_none_or(|only| only == application)
    }

    /// Whether all of the environment lies inside.
    #[must_use]
    pub fn covers_environment(&self) -> bool {
        self.application.is_none()
    }
}

/// One thing that a key may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// See everything but secrets.
    Read,
    /// Send messages, and send them again.
    Send,
    /// Make, change and delete applications, endpoints, event types, inboxes.
    Manage,
    /// Read and rotate signing secrets.
    Secrets,
    /// All of the above, and: API keys, the audit log, erasing content.
    Admin,
    /// Make, rename and delete environments, and see how big the store is; with
    /// `admin` too, make keys for every environment.
    Environments,
}

impl Capability {
    /// Every capability, in the order of documents.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Send,
        Self::Manage,
        Self::Secrets,
        Self::Admin,
        Self::Environments,
    ];

    /// What the API and the command line call it: the scope of a key.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Send => "messages:write",
            Self::Manage => "endpoints:write",
            Self::Secrets => "secrets",
            Self::Admin => "admin",
            Self::Environments => "environments",
        }
    }

    /// The capability of that exact name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Send => 2,
            Self::Manage => 4,
            Self::Secrets => 8,
            Self::Admin => 16,
            Self::Environments => 32,
        }
    }
}

/// What a caller may do. Stored as it stands: bits keep their meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capabilities(u8);

impl Capabilities {
    /// Everything inside one environment.
    pub const ADMIN: Self = Self(16);
    /// Everything there is.
    pub const ALL: Self = Self(16 | 32);

    /// Exactly these.
    #[must_use]
    pub fn of(list: &[Capability]) -> Self {
        Self(list.iter().fold(0, |bits, one| bits | one.bit()))
    }

    /// Whether `wanted` is among them: named, or part of `admin`.
    #[must_use]
    pub fn allow(self, wanted: Capability) -> bool {
        let admin = wanted != Capability::Environments && self.0 & Capability::Admin.bit() != 0;
        admin || self.0 & wanted.bit() != 0
    }

    /// Whether all that `other` allows is allowed here too: nobody hands out
    /// more than they have.
    #[must_use]
    pub fn cover(self, other: Self) -> bool {
        Capability::ALL
            .into_iter()
            .all(|one| self.allow(one) || !other.allow(one))
    }

    /// One that `other` names and that is not allowed here, if any is.
    #[must_use]
    pub fn missing(self, other: Self) -> Option<Capability> {
        other.named().find(|one| !self.allow(*one))
    }

    /// Those that are named, in the order of documents.
    pub fn named(self) -> impl Iterator<Item = Capability> {
        Capability::ALL
            .into_iter()
            .filter(move |one| self.0 & one.bit() != 0)
    }
}

/// Who did something, for the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    ApiKey(ApiKeyKey),
    /// Somebody with an account, in the dashboard.
    User(UserKey),
    /// Somebody in this application's portal.
    Customer(ApplicationKey),
    /// Somebody who has not shown who they are.
    Stranger,
    /// Somebody at the machine's own shell, or the server's settings.
    Operator,
}

/// An authenticated caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Principal {
    pub scope: Scope,
    pub capabilities: Capabilities,
    pub actor: Actor,
}

impl Principal {
    /// Somebody at the machine's own shell, limited to `scope`.
    #[must_use]
    pub fn operator(scope: Scope) -> Self {
        Self {
            scope,
            capabilities: Capabilities::ALL,
            actor: Actor::Operator,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_is_everything_in_an_environment_and_nothing_beyond() {
        use Capability::{Admin, Environments, Manage, Read, Secrets, Send};
        for (held, wanted, want) in [
            (&[Read][..], Read, true),
            (&[Read], Send, false),
            (&[Send], Read, false),
            (&[Manage], Secrets, false),
            (&[Admin], Read, true),
            (&[Admin], Secrets, true),
            (&[Admin], Environments, false),
            (&[Environments], Environments, true),
            (&[Environments], Read, false),
            (&[], Read, false),
        ] {
            let capabilities = Capabilities::of(held);
            assert_eq!(capabilities.allow(wanted), want, "{held:?} {wanted:?}");
        }
    }

    #[test]
    fn nobody_covers_more_than_they_hold() {
        use Capability::{Admin, Environments, Read, Send};
        for (held, other, want) in [
            (&[Admin][..], &[Read, Send][..], true),
            (&[Admin], &[Admin], true),
            (&[Admin], &[Environments], false),
            (&[Read], &[Admin], false),
            (&[Read, Send], &[Send], true),
            (&[Read], &[], true),
        ] {
            let (held, other) = (Capabilities::of(held), Capabilities::of(other));
            assert_eq!(held.cover(other), want, "{held:?} {other:?}");
            assert_eq!(held.missing(other).is_none(), want, "{held:?} {other:?}");
        }
        assert_eq!(Capabilities::ALL, Capabilities::of(&[Admin, Environments]));
        assert_eq!(Capabilities::ADMIN, Capabilities::of(&[Admin]));
    }

    #[test]
    fn names_come_back() {
        for one in Capability::ALL {
            assert_eq!(Capability::from_name(one.name()), Some(one));
            let named: Vec<_> = Capabilities::of(&[one]).named().collect();
            assert_eq!(named, [one]);
        }
        assert_eq!(Capability::from_name("write"), None);
    }
}
