//! Settings of an environment: keys, people, environments, the audit log, the
//! store.

use std::time::Duration;

use askama::Template;
use axum::response::{IntoResponse as _, Redirect};
use http::StatusCode;

use super::endpoints::{answer, back, written};
use super::failure::{Answered, Failure};
use super::form::Form;
use super::frame::{Can, Frame, Kind, Tab};
use super::parts::{ApiCall, Id, Moment, Tag, Well, bytes, number, spoken};
use super::place::{Place, Viewer, environment_base};
use crate::control::FieldError;
use crate::control::api_keys::ApiKeyInput;
use crate::domain::api_key::API_KEY_NAME_CHARS_MAX;
use crate::domain::environment::ENVIRONMENT_NAME_CHARS_MAX;
use crate::domain::ids::{AuditKey, Key as _, UserKey};
use crate::domain::principal::Capability;
use crate::domain::session::{self, INVITATION_LIFETIME, Link, RESET_LINK_LIFETIME};
use crate::domain::user::{Role, Roles, User, email};
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::store::{NewUser, Refusal, WriteError, Written};

/// Entries of the audit log on a page.
const AUDIT_PAGE: usize = 50;

/// The tabs of settings, and which is shown.
pub(super) struct Tabs {
    pub(super) items: Vec<(&'static str, String, bool)>,
}

impl Tabs {
    pub(super) fn new(place: &Place, current: &str) -> Self {
        let all = [
            ("General", "", true),
            ("API Keys", "/keys", place.can().admin),
            ("Users", "/users", place.can().admin),
            ("Audit log", "/audit", place.can().admin),
            ("Portal", "/portal", place.can().admin),
            ("Environments", "/environments", place.can().everywhere),
        ];
        let shown = all.into_iter().filter(|(_, _, allowed)| *allowed);
        let items = shown.map(|(label, path, _)| {
            let href = format!("{}/settings{path}", place.environment_base());
            (label, href, label == current)
        });
        Self {
            items: items.collect(),
        }
    }
}

#[derive(Template)]
#[template(path = "dashboard/settings/general.html")]
struct GeneralPage {
    frame: Frame,
    tabs: Tabs,
    name: String,
    id: Id,
    payloads: String,
    attempts: String,
    bytes_max: Option<String>,
    available: Tag,
    figures: Option<Figures>,
    operational: String,
    jobs: String,
    api: ApiCall,
}

struct Figures {
    messages: String,
    attempts: String,
    waiting: String,
    in_flight: String,
    content: String,
    file: String,
}

/// `GET /settings`
pub(super) async fn general(place: Place) -> Answered {
    let state = &place.state;
    let retention = state.retention;
    let figures = if place.can().everywhere {
        let figures = state.store.figures()?;
        Some(Figures {
            messages: number(figures.totals.messages),
            attempts: number(figures.totals.attempts),
            waiting: number(figures.totals.waiting),
            in_flight: number(state.engine.in_flight() as u64),
            content: bytes(figures.content_bytes),
            file: bytes(figures.file_bytes),
        })
    } else {
        None
    };
    let page = GeneralPage {
        frame: Frame::new(&place, Tab::Settings, &[], "Settings"),
        tabs: Tabs::new(&place, "General"),
        name: place.environment.name.clone(),
        id: Id::new(place.id(place.environment.key)).whole(),
        payloads: spoken(retention.payloads),
        attempts: spoken(retention.attempts),
        bytes_max: retention.bytes_max.map(bytes),
        available: if state.store.is_available() {
            Tag::new(Kind::Good, "Well")
        } else {
            Tag::new(Kind::Bad, "Being reopened")
        },
        figures,
        operational: format!(
            "{}/endpoints",
            place.application_base(&place.id(place.environment.operational))
        ),
        jobs: place.link("/jobs"),
        api: ApiCall::new("api-store", "GET", &place.api("/store"), None),
    };
    answer(&page)
}

struct KeyRow {
    name: String,
    shown: String,
    id: Id,
    scopes: String,
    application: Option<String>,
    created: Moment,
    expires: Option<Moment>,
    expired: bool,
    last_used: Option<Moment>,
    revoke: String,
    rotate: String,
}

#[derive(Template)]
#[template(path = "dashboard/settings/keys.html")]
struct KeysPage {
    frame: Frame,
    tabs: Tabs,
    rows: Vec<KeyRow>,
    /// The text of a key that was just made: shown this once.
    made: Option<Well>,
    scopes: Vec<(&'static str, &'static str)>,
    errors: Vec<FieldError>,
    name: String,
    application: String,
    action: String,
    api: ApiCall,
}

impl KeysPage {
    fn error(&self, field: &str) -> Option<&str> {
        let mut errors = self.errors.iter();
        let found = errors.find(|error| error.path.starts_with(field));
        found.map(|error| error.detail.as_str())
    }
}

fn keys_page(place: &Place) -> Result<KeysPage, Failure> {
    let control = place.state.control();
    let keys = control.list_api_keys(place.principal)?;
    let mut rows = Vec::with_capacity(keys.len());
    for key in keys.iter().rev() {
        let id = place.id(key.key);
        let application = match key.application {
            Some(bound) => place.state.store.application(bound)?,
            None => None,
        };
        let scopes: Vec<&str> = key.capabilities.named().map(Capability::name).collect();
        let at = |end: &str| place.link(&format!("/settings/keys/{id}{end}"));
        rows.push(KeyRow {
            name: key.name.clone(),
            shown: key.shown.clone(),
            scopes: scopes.join(", "),
            application: application.map(|entry| entry.application.name.clone()),
            created: Moment::new(key.created, place.now),
            expires: key.expires.map(|end| Moment::new(end, place.now)),
            expired: key.has_expired(place.now),
            last_used: key.last_used.map(|used| Moment::new(used, place.now)),
            revoke: at("/revocations"),
            rotate: at("/rotations"),
            id: Id::new(id),
        });
    }
    let body = r#"{"name": "ci", "scopes": ["messages:write"]}"#;
    let all = [
        ("admin", "Everything in this environment"),
        ("read", "See everything but secrets"),
        ("messages:write", "Send and replay messages"),
        ("endpoints:write", "Make, change and delete"),
        ("secrets", "Read and rotate signing secrets"),
    ];
    Ok(KeysPage {
        frame: Frame::new(place, Tab::Settings, &[], "API Keys"),
        tabs: Tabs::new(place, "API Keys"),
        rows,
        made: None,
        scopes: all.into(),
        errors: Vec::new(),
        name: String::new(),
        application: String::new(),
        action: place.link("/settings/keys"),
        api: ApiCall::new("api-keys", "POST", &place.api("/keys"), Some(body)),
    })
}

/// `GET /settings/keys`
pub(super) async fn keys(place: Place) -> Answered {
    answer(&keys_page(&place)?)
}

/// `POST /settings/keys`: the page with the key's text in it, once.
pub(super) async fn create_key(place: Place, form: Form) -> Answered {
    let mut errors = Vec::new();
    let name = form.get("name").trim().to_owned();
    if name.chars().count() > API_KEY_NAME_CHARS_MAX || name.chars().any(char::is_control) {
        let detail = format!("must have at most {API_KEY_NAME_CHARS_MAX} characters");
        errors.push(FieldError::new("name", detail));
    }
    let days = form.text("days").map(str::parse::<u64>);
    let lifetime = match days {
        None => None,
        Some(Ok(days @ 1..=3650)) => Some(Duration::from_hours(24 * days)),
        Some(_) => {
            errors.push(FieldError::new("days", "must be 1 to 3650, or empty"));
            None
        }
    };
    let input = ApiKeyInput {
        name: name.clone(),
        scopes: Some(form.all("scope").map(str::to_owned).collect()),
        application: form.text("application").map(str::to_owned),
        environment: None,
        lifetime,
    };
    let control = place.state.control();
    let text = control.new_api_key_text();
    let made = if errors.is_empty() {
        let made = control.create_api_key(place.principal, input, &text, None);
        made.await.map_err(Problem::from)
    } else {
        Err(Problem::invalid(errors))
    };
    match made {
        Ok(_) => {
            let page = KeysPage {
                made: Some(Well::new("made", text.expose())),
                ..keys_page(&place)?
            };
            answer(&page)
        }
        Err(problem) if !problem.errors.is_empty() => {
            let page = KeysPage {
                errors: problem.errors,
                name,
                application: form.get("application").to_owned(),
                ..keys_page(&place)?
            };
            Ok(written(StatusCode::UNPROCESSABLE_ENTITY, &page))
        }
        Err(problem) => Err(Failure(problem)),
    }
}

/// `POST /settings/keys/{key}/rotations`
pub(super) async fn rotate_key(place: Place, _: Form) -> Answered {
    let control = place.state.control();
    let text = control.new_api_key_text();
    control
        .rotate_api_key(place.principal, place.name("key"), &text, None)
        .await?;
    let page = KeysPage {
        made: Some(Well::new("made", text.expose())),
        ..keys_page(&place)?
    };
    answer(&page)
}

/// `POST /settings/keys/{key}/revocations`
pub(super) async fn revoke_key(place: Place, _: Form) -> Answered {
    let control = place.state.control();
    control
        .revoke_api_key(place.principal, place.name("key"))
        .await?;
    Ok(back(&place.link("/settings/keys"), "revoked"))
}

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
pub(super) async fn environments(place: Place) -> Answered {
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
pub(super) async fn create_environment(place: Place, form: Form) -> Answered {
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
pub(super) async fn rename_environment(place: Place, form: Form) -> Answered {
    let name = environment_name(&form)?;
    let control = place.state.control();
    control
        .rename_environment(place.principal, place.name("other"), name)
        .await?;
    Ok(back(&place.link("/settings/environments"), "saved"))
}

/// `POST /settings/environments/{other}/deletions`
pub(super) async fn delete_environment(place: Place, form: Form) -> Answered {
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
pub(super) async fn users(place: Place) -> Answered {
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
pub(super) async fn invite(place: Place, form: Form) -> Answered {
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
pub(super) async fn set_role(place: Place, form: Form) -> Answered {
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
pub(super) async fn reset_user(place: Place, _: Form) -> Answered {
    let user = user_named(&place)?;
    expect_reach(&place, &user)?;
    link_page(&place, &user, RESET_LINK_LIFETIME, "one hour").await
}

/// `POST /settings/users/{user}/removals`
pub(super) async fn remove_user(place: Place, _: Form) -> Answered {
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

struct AuditRow {
    at: Moment,
    actor: String,
    action: String,
    subject: Id,
    detail: String,
}

#[derive(Template)]
#[template(path = "dashboard/settings/audit.html")]
struct AuditPage {
    frame: Frame,
    tabs: Tabs,
    rows: Vec<AuditRow>,
    older: Option<String>,
    api: ApiCall,
}

/// `GET /settings/audit`
pub(super) async fn audit(place: Place, params: Params) -> Answered {
    let store = &place.state.store;
    let before: Option<AuditKey> = params.parsed("before", "the id of an entry", |text| {
        store.ids().parse(text)
    })?;
    let (entries, next) = store.list_audit(place.scope(), before, AUDIT_PAGE)?;
    let rows = entries.into_iter().map(|entry| AuditRow {
        at: Moment::new(entry.key.made_at(), place.now),
        actor: entry.actor,
        action: entry.action,
        subject: Id::new(entry.subject),
        detail: entry.detail,
    });
    let page = AuditPage {
        frame: Frame::new(&place, Tab::Settings, &[], "Audit log"),
        tabs: Tabs::new(&place, "Audit log"),
        rows: rows.collect(),
        older: next.map(|next| place.link(&format!("/settings/audit?before={}", place.id(next)))),
        api: ApiCall::new("api-audit", "GET", &place.api("/audit"), None),
    };
    answer(&page)
}

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
        chars_min: crate::domain::user::PASSWORD_CHARS_MIN,
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
pub(super) async fn account(place: Place) -> Answered {
    answer(&account_page(&place, None)?)
}

/// `POST /account/passwords`: who knows the old one chooses another.
pub(super) async fn change_password(place: Place, form: Form) -> Answered {
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
        let old = crate::domain::secret::Secret::new(form.get("old"));
        let compared = place.state.passwords().compare(old, Some(stored.clone()));
        let compared = compared.await.map_err(super::access::crowded)?;
        if compared == crate::control::passwords::Compared::Wrong {
            return again("was not changed: the old one is another");
        }
    }
    let password = match super::access::new_password(&form, &user.email) {
        Ok(password) => password,
        Err(error) => return again(&error),
    };
    let hashed = place.state.passwords().hash(password).await;
    let hashed = hashed.map_err(super::access::crowded)?;
    let kept = Some(place.session);
    place
        .state
        .store
        .set_password(user.key, hashed, kept)
        .await?;
    Ok(back(&place.link("/account"), "password"))
}

/// `POST /account/endings`: out, everywhere else.
pub(super) async fn end_others(place: Place, _: Form) -> Answered {
    let user = own(&place)?;
    let kept = Some(place.session);
    place
        .state
        .store
        .sign_out_everywhere(user.key, kept)
        .await?;
    Ok(back(&place.link("/account"), "ended"))
}
