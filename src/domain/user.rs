//! People with an account: who they are, and what they may do where.

use serde::{Deserialize, Serialize};

use super::ids::{EnvironmentKey, UserKey};
use super::principal::{Actor, Capabilities, Capability, Principal, Scope};
use super::secret::Secret;
use super::time::Timestamp;

/// Accounts in a store at most.
pub const USERS_MAX: usize = 1_000;
/// Characters of an e-mail address (RFC 5321).
pub const EMAIL_CHARS_MAX: usize = 254;
/// Shortest and longest password. Long ones cost the server work.
pub const PASSWORD_CHARS_MIN: usize = 10;
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// What somebody may do in an environment. Each role has what those before it
/// have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Sees everything but secrets.
    Viewer,
    /// Also sends, replays, manages endpoints, reveals signing secrets.
    Operator,
    /// Also keys, users, the audit log, erasing.
    Admin,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// What forms and the command line call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that exact name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// What it allows inside an environment.
    #[must_use]
    pub fn capabilities(self) -> Capabilities {
        use Capability::{Manage, Read, Secrets, Send};
        match self {
            Self::Viewer => Capabilities::of(&[Read]),
            Self::Operator => Capabilities::of(&[Read, Send, Manage, Secrets]),
            Self::Admin => Capabilities::ADMIN,
        }
    }
}

/// The roles of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// In every environment, those that come later included.
    pub everywhere: Option<Role>,
    /// In single environments.
    pub single: Vec<(EnvironmentKey, Role)>,
}

impl Roles {
    /// `role` in every environment.
    #[must_use]
    pub fn everywhere(role: Role) -> Self {
        Self {
            everywhere: Some(role),
            single: Vec::new(),
        }
    }

    /// `role` in one environment.
    #[must_use]
    pub fn of_environment(environment: EnvironmentKey, role: Role) -> Self {
        Self {
            everywhere: None,
            single: vec![(environment, role)],
        }
    }

    /// The greatest role in `environment`, if any.
    #[must_use]
    pub fn in_environment(&self, environment: EnvironmentKey) -> Option<Role> {
        let single = self.single.iter().find(|(key, _)| *key == environment);
        self.everywhere.max(single.map(|(_, role)| *role))
    }

    /// These roles with `role` in `environment` in place of what was there for
    /// it alone; `None` takes that away.
    #[must_use]
    pub fn with(&self, environment: EnvironmentKey, role: Option<Role>) -> Self {
        let mut roles = self.clone();
        roles.single.retain(|(key, _)| *key != environment);
        roles.single.extend(role.map(|role| (environment, role)));
        roles
    }
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub key: UserKey,
    /// In lower case; unique in the store.
    pub email: String,
    /// The password's hash in PHC form; `None` until one is chosen.
    pub password: Option<Secret>,
    pub roles: Roles,
    pub created: Timestamp,
    pub last_sign_in: Option<Timestamp>,
}

impl User {
    /// What this account may do in `environment`; `None`: it may not be there.
    #[must_use]
    pub fn principal(&self, environment: EnvironmentKey) -> Option<Principal> {
        let role = self.roles.in_environment(environment)?;
        let rules_everywhere = self.roles.everywhere == Some(Role::Admin);
        let capabilities = if rules_everywhere {
            Capabilities::ALL
        } else {
            role.capabilities()
        };
        Some(Principal {
            scope: Scope::of_environment(environment),
            capabilities,
            actor: Actor::User(self.key),
        })
    }

    /// Whether it is an admin everywhere, with a way in.
    #[must_use]
    pub fn rules(&self) -> bool {
        self.roles.everywhere == Some(Role::Admin)
    }
}

/// The address in the form that is stored and compared.
///
/// # Errors
/// A sentence's end about what is wrong with it.
pub fn email(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    let (name, host) = text
        .rsplit_once('@')
        .ok_or("must be an e-mail address, such as ada@example.com")?;
    let odd = |c: char| c.is_control() || c.is_whitespace() || "<>\"(),;:\\[]".contains(c);
    if name.is_empty() || host.is_empty() || text.contains(odd) {
        return Err("must be an e-mail address, such as ada@example.com");
    }
    if text.chars().count() > EMAIL_CHARS_MAX {
        return Err("is longer than an e-mail address can be");
    }
    Ok(text.to_lowercase())
}

/// Whether `password` will do.
///
/// # Errors
/// A sentence's end about what is wrong with it.
pub fn check_password(password: &str, email: &str) -> Result<(), String> {
    let lower = password.to_lowercase();
    let mut characters = lower.chars();
    let first = characters.next();
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(format!(
            "must have at least {PASSWORD_CHARS_MIN} characters; a few words will do"
        ));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(format!("must have at most {PASSWORD_BYTES_MAX} bytes"));
    }
    if characters.all(|c| Some(c) == first) || COMMON.contains(&lower.as_str()) {
        return Err("is among the first that are guessed; take another".to_owned());
    }
    let name = email.split('@').next().unwrap_or_default();
    if lower == email || (name.len() > 3 && lower.contains(name)) {
        return Err("must not contain the name of the account".to_owned());
    }
    Ok(())
}

/// Common passwords that are long enough otherwise.
const COMMON: [&str; 28] = [
    "1234567890",
    "12345678910",
    "0123456789",
    "0987654321",
    "9876543210",
    "123123123123",
    "123456789a",
    "123456789q",
    "1q2w3e4r5t",
    "1q2w3e4r5t6y",
    "1qaz2wsx3edc",
    "abcdefghij",
    "asdfghjkl;",
    "changeme123",
    "iloveyou123",
    "letmein123",
    "password10",
    "password11",
    "password12",
    "password123",
    "password1234",
    "passw0rd123",
    "q1w2e3r4t5",
    "qwertyuiop",
    "qwerty12345",
    "qwerty123456",
    "welcome123",
    "correct horse battery staple",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Key as _;

    #[test]
    fn a_role_has_what_those_before_it_have() {
        for pair in Role::ALL.windows(2) {
            assert!(pair[1].capabilities().cover(pair[0].capabilities()));
            assert!(!pair[0].capabilities().cover(pair[1].capabilities()));
        }
        for role in Role::ALL {
            assert_eq!(Role::from_name(role.name()), Some(role));
        }
    }

    #[test]
    fn the_greater_role_counts() {
        let (one, other) = (EnvironmentKey::from_u64(1), EnvironmentKey::from_u64(2));
        for (everywhere, single, want) in [
            (None, None, None),
            (Some(Role::Viewer), None, Some(Role::Viewer)),
            (None, Some(Role::Operator), Some(Role::Operator)),
            (Some(Role::Viewer), Some(Role::Admin), Some(Role::Admin)),
            (Some(Role::Admin), Some(Role::Viewer), Some(Role::Admin)),
        ] {
            let roles = Roles {
                everywhere,
                single: Vec::new(),
            };
            let roles = roles.with(one, single);
            assert_eq!(roles.in_environment(one), want, "{roles:?}");
            assert_eq!(roles.in_environment(other), everywhere, "{roles:?}");
            assert_eq!(roles.with(one, None).in_environment(one), everywhere);
        }
    }

    #[test]
    fn addresses_are_kept_in_lower_case() {
        for (text, want) in [
            (" Ada@Example.COM ", Ok("ada@example.com")),
            ("dev@localhost", Ok("dev@localhost")),
            ("ada", Err(())),
            ("@example.com", Err(())),
            ("ada@", Err(())),
            ("a da@example.com", Err(())),
            ("<ada@example.com>", Err(())),
            ("ada@example.com\r\nbcc: x@y", Err(())),
        ] {
            let got = email(text);
            assert_eq!(got.as_deref().map_err(|_| ()), want, "{text:?}");
        }
    }

    #[test]
    fn short_common_and_named_passwords_are_refused() {
        for (password, want) in [
            ("correct-horse-battery", true),
            ("zehn zeichen und mehr", true),
            ("short", false),
            ("Password123", false),
            ("aaaaaaaaaaaa", false),
            ("lovelace is me", false),
            ("lovelace@example.com", false),
            (&"x7".repeat(600), false),
        ] {
            let got = check_password(password, "lovelace@example.com");
            assert_eq!(got.is_ok(), want, "{password:?}: {got:?}");
        }
    }
}
