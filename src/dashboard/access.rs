//! Ways in and out: signing in, the first account, links that work once.

use std::net::IpAddr;

use askama::Template;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::header::{RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::failure::{Answered, Failure};
use super::form::Form;
use super::frame::Bare;
use super::gate::{self, shown};
use super::place::{PORTAL, environment_base};
use crate::control::passwords::{Compared, Crowded};
use crate::domain::secret::Secret;
use crate::domain::session::{self, Holder, Link, is_local_path};
use crate::domain::user::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, User, check_password, email};
use crate::http::cookies::{Jar, Shown};
use crate::http::problem::Problem;
use crate::http::server::PeerAddr;
use crate::http::state::AppState;
use crate::http::{origin, page};
use crate::store::{NewSession, Opened, Refusal, WriteError};

/// Bytes of a form that anybody can send.
const OPEN_FORM_BYTES_MAX: usize = 16 * 1024;

#[derive(Template)]
#[template(path = "dashboard/sign_in.html")]
struct SignInPage {
    bare: Bare,
    email: String,
    next: String,
    error: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "dashboard/password.html")]
struct PasswordPage {
    bare: Bare,
    heading: &'static str,
    lead: String,
    action: String,
    button: &'static str,
    /// The address, when it is still to be given.
    email: Option<String>,
    email_error: Option<String>,
    password_error: Option<String>,
    chars_min: usize,
}

/// `GET /`: where a viewer begins.
pub(super) async fn home(State(state): State<AppState>, headers: HeaderMap) -> Answered {
    let known = gate::session(&state, Jar::User, &headers)?;
    let Some(Opened::User(user)) = known.map(|known| known.opened) else {
        return Ok(Redirect::to("/sign-in").into_response());
    };
    match first_page(&state, &user) {
        Some(path) => Ok(Redirect::to(&path).into_response()),
        None => Err(Failure(Problem::new(
            StatusCode::FORBIDDEN,
            "no_environment",
            "Your account may not see any environment. Ask an admin for a role in one.",
        ))),
    }
}

/// The first environment that the user may see.
fn first_page(state: &AppState, user: &User) -> Option<String> {
    let environments = state.store.catalog().environments();
    let mut seen = environments
        .iter()
        .filter(|environment| user.roles.in_environment(environment.key).is_some());
    let first = seen.next()?;
    Some(environment_base(state, first))
}

/// `GET /sign-in`
pub(super) async fn sign_in_page(State(state): State<AppState>, request: Request) -> Answered {
    if state.store.list_users()?.is_empty() {
        return Err(Failure(Problem::new(
            StatusCode::FORBIDDEN,
            "no_account",
            "There is no account yet. The server printed a link to make the first one when it \
             started, and wrote it to the file first-account-link in its data directory; \
             `hookpost users invite EMAIL` makes another.",
        )));
    }
    let next = next_in(request.uri().query().unwrap_or_default());
    Ok(sign_in_again(StatusCode::OK, String::new(), next, None))
}

fn next_in(query: &str) -> String {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let next = pairs.find(|(name, _)| name == "next");
    next.map_or_else(String::new, |(_, next)| next.into_owned())
}

fn sign_in_again(
    status: StatusCode,
    email: String,
    next: String,
    error: Option<&'static str>,
) -> Response {
    let page = SignInPage {
        bare: Bare::new("Sign in"),
        email,
        next,
        error,
    };
    page::private(status, page.render().expect("a string takes it all"))
}

/// `POST /sign-in`
pub(super) async fn sign_in(State(state): State<AppState>, request: Request) -> Answered {
    origin::expect_same(request.method(), request.headers())?;
    let headers = request.headers().clone();
    let peer = request.extensions().get::<PeerAddr>().copied();
    let form = Form::read(request, OPEN_FORM_BYTES_MAX).await?;
    let next = form.get("next").to_owned();
    let typed = form.get("email").to_owned();
    let password = Secret::new(form.get("password"));
    let refused = |error| {
        let status = StatusCode::UNAUTHORIZED;
        Ok(sign_in_again(
            status,
            typed.clone(),
            next.clone(),
            Some(error),
        ))
    };
    if password.expose().len() > PASSWORD_BYTES_MAX {
        return refused(WRONG);
    }
    // What is no address has no account; it counts all the same.
    let address = email(&typed).unwrap_or_default();
    note_try(&state, &address, peer.map(|peer| peer.0.ip()))?;
    let user = state.store.find_user(&address)?;
    let stored = user.as_ref().and_then(|user| user.password.clone());
    let compared = state.passwords().compare(password, stored.clone()).await;
    let rehashed = match compared.map_err(crowded)? {
        Compared::Wrong => {
            if let Some(user) = user {
                state.store.note_refused_sign_in(user.key).await?;
            }
            return refused(WRONG);
        }
        Compared::Right => None,
        Compared::RightButOld(new) => Some(new),
    };
    let (Some(user), Some(seen)) = (user, stored) else {
        return refused(WRONG);
    };
    let token = state.new_token();
    let hash = session::hash(token.expose());
    match state.store.sign_in(user.key, seen, rehashed, hash).await {
        Ok(_) => {}
        // The password was changed meanwhile.
        Err(WriteError::Refused(_)) => return refused(WRONG),
        Err(error) => return Err(error.into()),
    }
    end_session_before(&state, Jar::User, &headers).await;
    let to = if is_page(&next) { &next } else { "/" };
    Ok(enter(&state, Jar::User, &token, Shown::Alone, to))
}

const WRONG: &str = "This address and this password do not belong together. Try again, or ask an \
                     admin for a link to choose another password.";

/// Pages that a sign-in may lead back to: those of environments.
fn is_page(next: &str) -> bool {
    let path = next.split('?').next().unwrap_or_default();
    is_local_path(path) && path.starts_with("/env/") && !next.contains(char::is_control)
}

fn note_try(state: &AppState, account: &str, peer: Option<IpAddr>) -> Result<(), Failure> {
    let now = state.clock.now();
    let noted = state.sign_in_limits().note(account, peer, now);
    noted.map_err(|wait_s| {
        Failure(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_tries",
            format!("Too many tries. Wait {wait_s} s, then try again."),
        ))
    })
}

pub(super) fn crowded(_: Crowded) -> Failure {
    let problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "crowded",
        "Many sign in at this moment. Try again in a few seconds.",
    );
    Failure(problem.with_header(RETRY_AFTER, "5"))
}

/// A browser that had a session of the same kind gives it up.
async fn end_session_before(state: &AppState, jar: Jar, headers: &HeaderMap) {
    let Some(token) = jar.token(headers, state.is_secure()) else {
        return;
    };
    let hash = session::hash(token.expose());
    if matches!(state.store.session(&hash), Ok(Some(_)))
        && let Err(error) = state.store.sign_out(hash).await
    {
        tracing::warn!(%error, "cannot end the session before");
    }
}

fn enter(state: &AppState, jar: Jar, token: &Secret, shown: Shown, to: &str) -> Response {
    let mut response = Redirect::to(to).into_response();
    let cookie = jar.keep(token, state.is_secure(), shown);
    response.headers_mut().insert(SET_COOKIE, cookie);
    page::guard(response.headers_mut(), &[]);
    response
}

/// `GET /links/{token}`: a page, or for links that ask nothing the session.
pub(super) async fn follow(
    State(state): State<AppState>,
    Path(token): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Answered {
    // Whoever only looks ahead does not use it up.
    if method == Method::HEAD || headers.contains_key("sec-purpose") {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let hash = session::hash(&token);
    let link = state.store.link(&hash)?.ok_or(Refusal::LinkUsed)?;
    match link {
        Link::FirstAccount => Ok(first_account_page(&token, Wrong::default())),
        Link::ChoosePassword(key) => {
            let user = state.store.user(key)?.ok_or(Refusal::LinkUsed)?;
            Ok(choose_page(&token, &user, None))
        }
        Link::SignIn(_) | Link::Portal(_) => {
            let new = state.new_token();
            let opened = state
                .store
                .follow_link(hash, session::hash(new.expose()))
                .await?;
            let jar = jar_of(opened.holder);
            end_session_before(&state, jar, &headers).await;
            let shown = match jar {
                Jar::User => Shown::Alone,
                Jar::Customer => shown(&headers),
            };
            Ok(enter(&state, jar, &new, shown, &first_path(&opened)))
        }
    }
}

fn jar_of(holder: Holder) -> Jar {
    match holder {
        Holder::User(_) => Jar::User,
        Holder::Customer(_) => Jar::Customer,
    }
}

fn first_path(opened: &NewSession) -> String {
    match opened.holder {
        Holder::User(_) => "/".to_owned(),
        Holder::Customer(_) => format!("{PORTAL}{}", opened.next.trim_end_matches('/')),
    }
}

/// What is wrong with a form about an account.
#[derive(Default)]
struct Wrong {
    email: String,
    email_error: Option<String>,
    password_error: Option<String>,
}

impl Wrong {
    fn is_any(&self) -> bool {
        self.email_error.is_some() || self.password_error.is_some()
    }
}

fn first_account_page(token: &str, wrong: Wrong) -> Response {
    let status = status_of(wrong.is_any());
    let page = PasswordPage {
        bare: Bare::new("The first account"),
        heading: "Welcome to Hookpost",
        lead: "Make the first account. It may do everything: invite others, make environments, \
               read every log."
            .to_owned(),
        action: format!("/links/{token}"),
        button: "Create account",
        email: Some(wrong.email),
        email_error: wrong.email_error,
        password_error: wrong.password_error,
        chars_min: PASSWORD_CHARS_MIN,
    };
    page::private(status, page.render().expect("a string takes it all"))
}

fn choose_page(token: &str, user: &User, password_error: Option<String>) -> Response {
    let status = status_of(password_error.is_some());
    let page = PasswordPage {
        bare: Bare::new("Choose a password"),
        heading: "Choose a password",
        lead: format!("For {}. Sessions that are open elsewhere end.", user.email),
        action: format!("/links/{token}"),
        button: "Save and sign in",
        email: None,
        email_error: None,
        password_error,
        chars_min: PASSWORD_CHARS_MIN,
    };
    page::private(status, page.render().expect("a string takes it all"))
}

fn status_of(wrong: bool) -> StatusCode {
    if wrong {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    }
}

/// `POST /links/{token}`: an account or a password, from the link's page.
pub(super) async fn redeem(
    State(state): State<AppState>,
    Path(token): Path<String>,
    request: Request,
) -> Answered {
    origin::expect_same(request.method(), request.headers())?;
    let headers = request.headers().clone();
    let form = Form::read(request, OPEN_FORM_BYTES_MAX).await?;
    let hash = session::hash(&token);
    let link = state.store.link(&hash)?.ok_or(Refusal::LinkUsed)?;
    let new = state.new_token();
    let new_hash = session::hash(new.expose());
    match link {
        Link::FirstAccount => {
            let (address, password) = match account_of(&form) {
                Ok(account) => account,
                Err(wrong) => return Ok(first_account_page(&token, wrong)),
            };
            let password = state.passwords().hash(password).await.map_err(crowded)?;
            let made = state
                .store
                .make_first_account(hash, address, password, new_hash);
            made.await?;
        }
        Link::ChoosePassword(key) => {
            let user = state.store.user(key)?.ok_or(Refusal::LinkUsed)?;
            let password = match new_password(&form, &user.email) {
                Ok(password) => password,
                Err(error) => return Ok(choose_page(&token, &user, Some(error))),
            };
            let password = state.passwords().hash(password).await.map_err(crowded)?;
            let chosen = state.store.choose_password(hash, password, new_hash);
            chosen.await?;
        }
        Link::SignIn(_) | Link::Portal(_) => return Err(Refusal::LinkUsed.into()),
    }
    end_session_before(&state, Jar::User, &headers).await;
    Ok(enter(&state, Jar::User, &new, Shown::Alone, "/"))
}

fn account_of(form: &Form) -> Result<(String, Secret), Wrong> {
    let typed = form.get("email");
    let address = email(typed);
    let password = new_password(form, address.as_deref().unwrap_or_default());
    match (address, password) {
        (Ok(address), Ok(password)) => Ok((address, password)),
        (address, password) => Err(Wrong {
            email: typed.to_owned(),
            email_error: address.err().map(str::to_owned),
            password_error: password.err(),
        }),
    }
}

/// The password of a form that asks for it twice.
pub(super) fn new_password(form: &Form, email: &str) -> Result<Secret, String> {
    let password = form.get("password");
    check_password(password, email)?;
    if password != form.get("again") {
        return Err("is not the same both times".to_owned());
    }
    Ok(Secret::new(password))
}

/// `POST /sign-out`: ends the user's session, or with the portal's path the
/// customer's.
pub(super) async fn sign_out(State(state): State<AppState>, request: Request) -> Answered {
    origin::expect_same(request.method(), request.headers())?;
    let jar = gate::jar_of(request.uri().path());
    let headers = request.headers().clone();
    if let Some(token) = jar.token(&headers, state.is_secure()) {
        let hash = session::hash(token.expose());
        state.store.sign_out(hash).await?;
    }
    let mut response = match jar {
        Jar::User => Redirect::to("/sign-in").into_response(),
        Jar::Customer => Failure::portal_left().page(""),
    };
    for shown in [Shown::Alone, Shown::Framed] {
        let cleared: HeaderValue = jar.clear(state.is_secure(), shown);
        response.headers_mut().append(SET_COOKIE, cleared);
    }
    page::guard(response.headers_mut(), &[]);
    Ok(response)
}
