//! The viewer's own account: password, sessions, roles.

use askama::Template;
use http::StatusCode;

use super::super::access;
use super::super::endpoints::{answer, back, written};
use super::super::failure::{Answered, Failure};
use super::super::form::Form;
use super::super::frame::{Frame, Tab};
use super::super::place::{Place, Viewer};
use crate::control::passwords::Compared;
use crate::domain::secret::Secret;
use crate::domain::user::{PASSWORD_CHARS_MIN, User};

#[derive(Template)]
#[template(path = "dashboard/settings/account.html")]
struct AccountPage {
    frame: Frame,
    email: String,
    roles: Vec<(String, &'static str)>,
    has_password: bool,
    error: Option<String>,
    chars_min: usize,
    password: String,
    everywhere: String,
}

fn account_page(place: &Place, error: Option<String>) -> Result<AccountPage, Failure> {
    let user = own(place)?;
    let environments = place.state.store.catalog().environments();
    let roles = environments.iter().filter_map(|environment| {
        let role = user.roles.in_environment(environment.key)?;
        Some((environment.name.clone(), role.name()))
    });
    Ok(AccountPage {
        frame: Frame::new(place, Tab::Elsewhere, &[], "Your account"),
        email: user.email.clone(),
        roles: roles.collect(),
        has_password: user.password.is_some(),
        error,
        chars_min: PASSWORD_CHARS_MIN,
        password: place.link("/account/passwords"),
        everywhere: place.link("/account/endings"),
    })
}

fn own(place: &Place) -> Result<&User, Failure> {
    match &place.viewer {
        Viewer::User(user) => Ok(user),
        Viewer::Customer(_) => Err(Failure::not_found("page")),
    }
}

/// `GET /account`
pub(in super::super) async fn show(place: Place) -> Answered {
    answer(&account_page(&place, None)?)
}

/// `POST /account/passwords`: who knows the old one chooses another.
pub(in super::super) async fn change_password(place: Place, form: Form) -> Answered {
    let user = own(&place)?;
    let again = |error: &str| -> Answered {
        let page = account_page(&place, Some(error.to_owned()))?;
        Ok(written(StatusCode::UNPROCESSABLE_ENTITY, &page))
    };
    let now = place.now;
    let limited = place.state.sign_in_limits().note(&user.email, None, now);
    if let Err(wait_s) = limited {
        return again(&format!("was tried too often; wait {wait_s} s"));
    }
    if let Some(stored) = &user.password {
        let old = Secret::new(form.get("old"));
        let compared = place.state.passwords().compare(old, Some(stored.clone()));
        let compared = compared.await.map_err(access::crowded)?;
        if compared == Compared::Wrong {
            return again("was not changed: the old one is another");
        }
    }
    let password = match access::new_password(&form, &user.email) {
        Ok(password) => password,
        Err(error) => return again(&error),
    };
    let hashed = place.state.passwords().hash(password).await;
    let hashed = hashed.map_err(access::crowded)?;
    let kept = Some(place.session);
    place
        .state
        .store
        .set_password(user.key, hashed, kept)
        .await?;
    Ok(back(&place.link("/account"), "password"))
}

/// `POST /account/endings`: out, everywhere else.
pub(in super::super) async fn end_others(place: Place, _: Form) -> Answered {
    let user = own(&place)?;
    let kept = Some(place.session);
    place
        .state
        .store
        .sign_out_everywhere(user.key, kept)
        .await?;
    Ok(back(&place.link("/account"), "ended"))
}
