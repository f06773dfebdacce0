//! Users: who may be in this environment, and as what.

use std::time::Duration;

use askama::Template;
use http::StatusCode;

use super::super::endpoints::{answer, back, written};
use super::super::failure::{Answered, Failure};
use super::super::form::Form;
use super::super::frame::{Can, Frame, Tab};
use super::super::parts::{Id, Moment, Well};
use super::super::place::{Place, Viewer};
use super::Tabs;
use crate::control::FieldError;
use crate::domain::ids::UserKey;
use crate::domain::principal::Capability;
use crate::domain::session::{self, INVITATION_LIFETIME, Link, RESET_LINK_LIFETIME};
use crate::domain::user::{Role, Roles, User, email};
use crate::http::problem::Problem;
use crate::store::{NewUser, Refusal, WriteError};

struct UserRow {
    email: String,
    role: &'static str,
    everywhere: bool,
    joined: bool,
    last: Option<Moment>,
    is_viewer: bool,
    action: String,
    id: Id,
}

#[derive(Template)]
#[template(path = "dashboard/settings/users.html")]
struct UsersPage {
    frame: Frame,
    tabs: Tabs,
    can: Can,
    rows: Vec<UserRow>,
    roles: [&'static str; 3],
    environment: String,
    /// A link that was just made, and whom it is for.
    link: Option<(String, Well, String)>,
    email: String,
    error: Option<String>,
    action: String,
}

fn users_page(place: &Place) -> Result<UsersPage, Failure> {
    let users = place.state.store.list_users()?;
    let own = match &place.viewer {
        Viewer::User(user) => Some(user.key),
        Viewer::Customer(_) => None,
    };
    let rows = users.into_iter().filter_map(|user| {
        let role = user.roles.in_environment(place.environment.key)?;
        let id = place.id(user.key);
        Some(UserRow {
            role: role.name(),
            everywhere: user.roles.everywhere.is_some(),
            joined: user.password.is_some() || user.last_sign_in.is_some(),
            last: user.last_sign_in.map(|at| Moment::new(at, place.now)),
            is_viewer: own == Some(user.key),
            action: place.link(&format!("/settings/users/{id}")),
            email: user.email,
            id: Id::new(id),
        })
    });
    Ok(UsersPage {
        frame: Frame::new(place, Tab::Settings, &[], "Users"),
        tabs: Tabs::new(place, "Users"),
        can: place.can(),
        rows: rows.collect(),
        roles: Role::ALL.map(Role::name),
        environment: place.environment.name.clone(),
        link: None,
        email: String::new(),
        error: None,
        action: place.link("/settings/users"),
    })
}

/// `GET /settings/users`
pub(in super::super) async fn index(place: Place) -> Answered {
    answer(&users_page(&place)?)
}

/// The roles that a form asks for, within what the viewer may hand out.
fn roles_asked(place: &Place, form: &Form, before: &Roles) -> Result<Roles, Failure> {
    let role = Role::from_name(form.get("role"));
    let role = role.ok_or_else(|| {
        Problem::invalid(vec![FieldError::new(
            "role",
            "must be viewer, operator or admin",
        )])
    })?;
    let everywhere = form.has("everywhere");
    let touches_everywhere = everywhere || before.everywhere.is_some();
    if touches_everywhere && !place.allows(Capability::Environments) {
        return Err(Failure(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "Only an admin of every environment changes what somebody may do in all of them. \
             Nothing was done.",
        )));
    }
    Ok(if everywhere {
        Roles::everywhere(role)
    } else {
        let before = Roles {
            everywhere: None,
            ..before.clone()
        };
        before.with(place.environment.key, Some(role))
    })
}

/// `POST /settings/users`: an invitation.
pub(in super::super) async fn invite(place: Place, form: Form) -> Answered {
    let roles = roles_asked(&place, &form, &Roles::default())?;
    let typed = form.get("email").to_owned();
    let again = |error: String| -> Answered {
        let page = UsersPage {
            email: typed.clone(),
            error: Some(error),
            ..users_page(&place)?
        };
        Ok(written(StatusCode::UNPROCESSABLE_ENTITY, &page))
    };
    let address = match email(&typed) {
        Ok(address) => address,
        Err(detail) => return again(format!("This {detail}.")),
    };
    let new = NewUser {
        email: address,
        password: None,
        roles,
    };
    let by = place.principal.actor;
    let made = place
        .state
        .store
        .create_user(by, place.environment.key, new)
        .await;
    let user = match made {
        Ok(user) => user,
        Err(WriteError::Refused(Refusal::EmailTaken)) => {
            // Whether another environment knows the address is not told.
            return again(
                "This cannot be invited: it has an account. Who rules every environment can give \
                 it a role here."
                    .to_owned(),
            );
        }
        Err(error) => return Err(error.into()),
    };
    link_page(&place, &user, INVITATION_LIFETIME, "7 days").await
}

/// The page with a link that lets `user` choose a password.
async fn link_page(place: &Place, user: &User, lifetime: Duration, words: &str) -> Answered {
    let token = place.state.new_token();
    let hash = session::hash(token.expose());
    let link = Link::ChoosePassword(user.key);
    let ends = place.now.plus(lifetime);
    place.state.store.issue_link(hash, link, ends).await?;
    let url = format!("{}/links/{}", place.state.public_url, token.expose());
    let page = UsersPage {
        link: Some((user.email.clone(), Well::new("link", url), words.to_owned())),
        ..users_page(place)?
    };
    answer(&page)
}

/// The user that the path names, if the viewer may do something with them:
/// who may only be elsewhere is not found.
fn user_named(place: &Place) -> Result<User, Failure> {
    let missing = || Failure::not_found("user");
    let store = &place.state.store;
    let key: UserKey = store.ids().parse(place.name("user")).ok_or_else(missing)?;
    let user = store.user(key)?.ok_or_else(missing)?;
    let here = user.roles.in_environment(place.environment.key).is_some();
    here.then_some(user).ok_or_else(missing)
}

/// Whether the viewer may do to `user` what reaches beyond this environment.
fn expect_reach(place: &Place, user: &User) -> Result<(), Failure> {
    let only_here = user.roles.everywhere.is_none()
        && user
            .roles
            .single
            .iter()
            .all(|(key, _)| *key == place.environment.key);
    if only_here || place.allows(Capability::Environments) {
        return Ok(());
    }
    Err(Failure(Problem::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        "This account has a role in other environments too, so only an admin of every environment \
         may do this. Nothing was done.",
    )))
}

/// `POST /settings/users/{user}`: another role.
pub(in super::super) async fn set_role(place: Place, form: Form) -> Answered {
    let user = user_named(&place)?;
    let roles = roles_asked(&place, &form, &user.roles)?;
    let by = place.principal.actor;
    place
        .state
        .store
        .set_user_roles(by, place.environment.key, user.key, roles)
        .await?;
    Ok(back(&place.link("/settings/users"), "saved"))
}

/// `POST /settings/users/{user}/password-links`
pub(in super::super) async fn reset(place: Place, _: Form) -> Answered {
    let user = user_named(&place)?;
    expect_reach(&place, &user)?;
    link_page(&place, &user, RESET_LINK_LIFETIME, "one hour").await
}

/// `POST /settings/users/{user}/removals`
pub(in super::super) async fn remove(place: Place, _: Form) -> Answered {
    let user = user_named(&place)?;
    let by = place.principal.actor;
    let store = &place.state.store;
    let environment = place.environment.key;
    let rest = user.roles.with(environment, None);
    if user.roles.everywhere.is_none() && !rest.single.is_empty() {
        // There are others that they may be in: only this one is taken away.
        store
            .set_user_roles(by, environment, user.key, rest)
            .await?;
    } else {
        expect_reach(&place, &user)?;
        store.remove_user(by, environment, user.key).await?;
    }
    Ok(back(&place.link("/settings/users"), "removed"))
}
