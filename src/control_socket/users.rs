//! What can be done with accounts from the shell, whoever has the store.

#[cfg(unix)]
use axum::Router;
#[cfg(unix)]
use axum::body;
#[cfg(unix)]
use axum::extract::{Request, State};
#[cfg(unix)]
use axum::response::Response;
#[cfg(unix)]
use axum::routing::post;
#[cfg(unix)]
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::DeskError;
#[cfg(unix)]
use super::client::Client;
#[cfg(unix)]
use super::server::{BODY_BYTES_MAX, Failure, json};
use crate::domain::principal::Actor;
use crate::domain::session::{self, INVITATION_LIFETIME, Link, RESET_LINK_LIFETIME};
use crate::domain::time::Timestamp;
use crate::domain::user::{Role, Roles, User, email};
use crate::seams::clock::SharedClock;
use crate::seams::entropy::SharedEntropy;
use crate::store::{NewUser, Store};

/// What is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum UserQuestion {
    Invite {
        email: String,
        role: String,
        /// Id or name; `None`: every environment.
        environment: Option<String>,
    },
    ResetPassword {
        email: String,
    },
    List,
    Remove {
        email: String,
    },
}

/// What came of it. No `Debug`: a link is a secret.
#[derive(Serialize, Deserialize)]
pub(crate) enum UserAnswer {
    /// A link that lets the account choose a password.
    Link {
        email: String,
        url: String,
    },
    List(Vec<UserLine>),
    Removed {
        email: String,
    },
}

/// An account as lists show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct UserLine {
    pub(crate) email: String,
    /// Such as `admin everywhere`.
    pub(crate) roles: String,
    pub(crate) has_password: bool,
    pub(crate) created: Timestamp,
    pub(crate) last_sign_in: Option<Timestamp>,
}

/// Invites, lists and removes accounts, and lets them choose a password.
#[derive(Clone)]
pub(crate) struct UserDesk {
    pub(crate) store: Store,
    pub(crate) entropy: SharedEntropy,
    pub(crate) clock: SharedClock,
    /// Without a slash at the end.
    pub(crate) public_url: String,
}

impl UserDesk {
    pub(crate) async fn answer(&self, question: UserQuestion) -> Result<UserAnswer, DeskError> {
        match question {
            UserQuestion::Invite {
                email,
                role,
                environment,
            } => self.invite(&email, &role, environment.as_deref()).await,
            UserQuestion::ResetPassword { email } => {
                let user = self.user(&email)?;
                self.link(user, RESET_LINK_LIFETIME).await
            }
            UserQuestion::List => Ok(UserAnswer::List(self.list()?)),
            UserQuestion::Remove { email } => {
                let user = self.user(&email)?;
                let place = self.store.default_environment();
                let removed = self.store.remove_user(Actor::Operator, place, user.key);
                let email = removed.await?.email;
                Ok(UserAnswer::Removed { email })
            }
        }
    }

    async fn invite(
        &self,
        typed: &str,
        role: &str,
        environment: Option<&str>,
    ) -> Result<UserAnswer, DeskError> {
        let address = email(typed).map_err(|why| DeskError::Email {
            email: typed.to_owned(),
            why,
        })?;
        let role = Role::from_name(role).ok_or_else(|| DeskError::NoRole(role.to_owned()))?;
        let roles = match environment {
            None => Roles::everywhere(role),
            Some(name) => {
                let found = self.store.find_environment(name);
                let found = found.ok_or_else(|| DeskError::NoEnvironment {
                    name: name.to_owned(),
                    there: super::desk::environments_there(&self.store),
                })?;
                Roles::of_environment(found.key, role)
            }
        };
        let new = NewUser {
            email: address,
            password: None,
            roles,
        };
        let place = self.store.default_environment();
        let user = self.store.create_user(Actor::Operator, place, new).await?;
        self.link(user, INVITATION_LIFETIME).await
    }

    async fn link(
        &self,
        user: User,
        lifetime: std::time::Duration,
    ) -> Result<UserAnswer, DeskError> {
        let mut random = [0; 32];
        self.entropy.fill(&mut random);
        let token = session::new_token(random);
        let hash = session::hash(token.expose());
        let ends = self.clock.now().plus(lifetime);
        let link = Link::ChoosePassword(user.key);
        self.store.issue_link(hash, link, ends).await?;
        Ok(UserAnswer::Link {
            email: user.email,
            url: format!("{}/links/{}", self.public_url, token.expose()),
        })
    }

    fn list(&self) -> Result<Vec<UserLine>, DeskError> {
        let users = self.store.list_users()?;
        Ok(users.iter().map(|user| self.line(user)).collect())
    }

    fn line(&self, user: &User) -> UserLine {
        let everywhere = user.roles.everywhere;
        let everywhere = everywhere.map(|role| format!("{} everywhere", role.name()));
        let single = user.roles.single.iter().filter_map(|(key, role)| {
            let environment = self.store.catalog().environment(*key)?;
            Some(format!("{} in {}", role.name(), environment.name))
        });
        let roles: Vec<String> = everywhere.into_iter().chain(single).collect();
        UserLine {
            email: user.email.clone(),
            roles: roles.join(", "),
            has_password: user.password.is_some(),
            created: user.created,
            last_sign_in: user.last_sign_in,
        }
    }

    fn user(&self, typed: &str) -> Result<User, DeskError> {
        let address = email(typed).unwrap_or_default();
        let found = self.store.find_user(&address)?;
        found.ok_or_else(|| DeskError::NoUser(typed.to_owned()))
    }
}

/// The server's end.
#[cfg(unix)]
pub(super) fn router(desk: UserDesk) -> Router {
    Router::new().route("/users", post(answer)).with_state(desk)
}

#[cfg(unix)]
async fn answer(State(desk): State<UserDesk>, request: Request) -> Result<Response, Failure> {
    let bytes = body::to_bytes(request.into_body(), BODY_BYTES_MAX)
        .await
        .map_err(|_| Failure::Malformed)?;
    let question = serde_json::from_slice(&bytes).map_err(|_| Failure::Malformed)?;
    Ok(json(StatusCode::OK, &desk.answer(question).await?))
}

/// The command's end.
#[cfg(unix)]
impl Client {
    pub(crate) async fn ask_about_users(
        &mut self,
        question: &UserQuestion,
    ) -> anyhow::Result<UserAnswer> {
        let body = serde_json::to_vec(question)?;
        self.ask(Method::POST, "/users", body).await
    }
}
