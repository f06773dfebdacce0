//! Environments: made, renamed, deleted with all that is in them.

use askama::Template;
use axum::response::{IntoResponse as _, Redirect};

use super::super::endpoints::{answer, back};
use super::super::failure::{Answered, Failure};
use super::super::form::Form;
use super::super::frame::{Frame, Tab};
use super::super::parts::{ApiCall, Id, Moment};
use super::super::place::{Place, environment_base};
use super::Tabs;
use crate::control::FieldError;
use crate::domain::environment::ENVIRONMENT_NAME_CHARS_MAX;
use crate::http::problem::Problem;
use crate::store::Written;

struct EnvironmentRow {
    name: String,
    href: String,
    id: Id,
    created: Moment,
    current: bool,
    first: bool,
    action: String,
}

#[derive(Template)]
#[template(path = "dashboard/settings/environments.html")]
struct EnvironmentsPage {
    frame: Frame,
    tabs: Tabs,
    rows: Vec<EnvironmentRow>,
    action: String,
    api: ApiCall,
}

/// `GET /settings/environments`
pub(in super::super) async fn index(place: Place) -> Answered {
    let control = place.state.control();
    let all = control.list_environments(place.principal)?;
    let first = place.state.store.default_environment();
    let rows = all.iter().map(|environment| {
        let id = place.id(environment.key);
        EnvironmentRow {
            name: environment.name.clone(),
            href: environment_base(&place.state, environment),
            created: Moment::new(environment.created, place.now),
            current: environment.key == place.environment.key,
            first: environment.key == first,
            action: place.link(&format!("/settings/environments/{id}")),
            id: Id::new(id),
        }
    });
    let page = EnvironmentsPage {
        frame: Frame::new(&place, Tab::Settings, &[], "Environments"),
        tabs: Tabs::new(&place, "Environments"),
        rows: rows.collect(),
        action: place.link("/settings/environments"),
        api: ApiCall::new(
            "api-environments",
            "POST",
            &place.api("/environments"),
            Some(r#"{"name": "staging"}"#),
        ),
    };
    answer(&page)
}

fn environment_name(form: &Form) -> Result<String, Problem> {
    let name = form.get("name").trim();
    let count = name.chars().count();
    if count == 0 || count > ENVIRONMENT_NAME_CHARS_MAX || name.chars().any(char::is_control) {
        let detail = format!("must have 1 to {ENVIRONMENT_NAME_CHARS_MAX} characters");
        return Err(Problem::invalid(vec![FieldError::new("name", detail)]));
    }
    Ok(name.to_owned())
}

/// `POST /settings/environments`
pub(in super::super) async fn create(place: Place, form: Form) -> Answered {
    let name = environment_name(&form)?;
    let control = place.state.control();
    let made = control.create_environment(place.principal, name, None);
    let Written::Fresh(made) = made.await? else {
        unreachable!("without an idempotency key nothing is repeated");
    };
    let to = environment_base(&place.state, &made);
    Ok(Redirect::to(&format!("{to}?notice=created")).into_response())
}

/// `POST /settings/environments/{other}`
pub(in super::super) async fn rename(place: Place, form: Form) -> Answered {
    let name = environment_name(&form)?;
    let control = place.state.control();
    control
        .rename_environment(place.principal, place.name("other"), name)
        .await?;
    Ok(back(&place.link("/settings/environments"), "saved"))
}

/// `POST /settings/environments/{other}/deletions`
pub(in super::super) async fn delete(place: Place, form: Form) -> Answered {
    let control = place.state.control();
    let other = control.environment(place.principal, place.name("other"))?;
    if form.get("name") != other.name {
        return Err(Failure(Problem::invalid(vec![FieldError::new(
            "name",
            "is not the environment's; nothing was deleted",
        )])));
    }
    let id = place.id(other.key);
    control.delete_environment(place.principal, &id).await?;
    // The one that is looked at may be gone.
    Ok(Redirect::to("/").into_response())
}
