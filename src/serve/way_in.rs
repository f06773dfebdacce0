//! The link that a start prints, for who comes to the dashboard first.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::demo::write_private;
use super::{Mode, Seams};
use crate::config::{PublicUrl, Settings};
use crate::control::passwords::Passwords;
use crate::domain::principal::Actor;
use crate::domain::secret::Secret;
use crate::domain::session::{self, DEV_LINK_LIFETIME, Link, SETUP_LINK_LIFETIME};
use crate::domain::user::{Role, Roles, User};
use crate::seams::entropy::SharedEntropy;
use crate::store::{NewUser, Store};

/// Where the link to the first account is kept, for who does not see what the
/// server prints.
const FILE: &str = "first-account-link";
/// Whose account a trial signs in to.
const DEV_EMAIL: &str = "dev@localhost";

/// A link to print.
#[derive(Clone)]
pub(super) enum WayIn {
    FirstAccount(Secret),
    /// Into the trial's own account.
    Dev(Secret),
}

impl WayIn {
    /// What is printed, with `url` before the link's path.
    pub(super) fn introduction(&self, url: &PublicUrl) -> String {
        match self {
            Self::FirstAccount(token) => format!(
                "open {url}/links/{} to make the first account (works once, for 30 minutes)",
                token.expose()
            ),
            Self::Dev(token) => format!(
                "open {url}/links/{} to sign in to the dashboard (works once, for 12 hours)",
                token.expose()
            ),
        }
    }
}

/// Makes the account that the settings ask for, and a link when somebody needs
/// one.
pub(super) async fn prepare(
    settings: &Settings,
    mode: Mode,
    store: &Store,
    seams: &Seams,
    url: &PublicUrl,
) -> anyhow::Result<Option<WayIn>> {
    keep_given_admin(settings, store, &seams.entropy).await?;
    let file = settings.data_dir.join(FILE);
    let mut random = [0; 32];
    seams.entropy.fill(&mut random);
    let token = session::new_token(random);
    let hash = session::hash(token.expose());
    let now = seams.clock.now();
    if mode == Mode::Dev {
        let user = dev_user(store).await?;
        let ends = now.plus(DEV_LINK_LIFETIME);
        store.issue_link(hash, Link::SignIn(user.key), ends).await?;
        return Ok(Some(WayIn::Dev(token)));
    }
    if !store.list_users()?.is_empty() {
        remove(&file)?;
        return Ok(None);
    }
    let ends = now.plus(SETUP_LINK_LIFETIME);
    store.issue_link(hash, Link::FirstAccount, ends).await?;
    let text = format!("{url}/links/{}", token.expose());
    write_private(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(Some(WayIn::FirstAccount(token)))
}

fn remove(file: &Path) -> anyhow::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

async fn dev_user(store: &Store) -> anyhow::Result<User> {
    if let Some(known) = store.find_user(DEV_EMAIL)? {
        return Ok(known);
    }
    let new = NewUser {
        email: DEV_EMAIL.to_owned(),
        password: None,
        roles: Roles::everywhere(Role::Admin),
    };
    let place = store.default_environment();
    Ok(store.create_user(Actor::Operator, place, new).await?)
}

/// The account of `--admin-email`; one that is there stays as it is.
async fn keep_given_admin(
    settings: &Settings,
    store: &Store,
    entropy: &SharedEntropy,
) -> anyhow::Result<()> {
    let (email, password) = match (&settings.admin_email, &settings.admin_password) {
        (Some(email), Some(password)) => (email, password),
        (None, None) => return Ok(()),
        (Some(_), None) => bail!(
            "admin_email needs admin_password too: HOOKPOST_ADMIN_PASSWORD_FILE names a file with it"
        ),
        (None, Some(_)) => bail!("admin_password needs admin_email too: --admin-email EMAIL"),
    };
    if store.find_user(email)?.is_some() {
        return Ok(());
    }
    let passwords = Passwords::new(Arc::clone(entropy));
    let password = passwords.hash(password.clone()).await?;
    let new = NewUser {
        email: email.clone(),
        password: Some(password),
        roles: Roles::everywhere(Role::Admin),
    };
    let place = store.default_environment();
    let made = store.create_user(Actor::Operator, place, new).await;
    made.context("cannot make the account from --admin-email")?;
    Ok(())
}
