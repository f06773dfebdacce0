//! The way into every page: who has the session, and what the path names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts as _, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Method, StatusCode};
use sha2::{Digest as _, Sha256};

use super::failure::Failure;
use super::place::{Inner, PORTAL, Place, Viewer};
use crate::domain::environment::Environment;
use crate::domain::ids::EnvironmentKey;
use crate::domain::principal::{Capability, Principal, Scope};
use crate::domain::session::{self, Session};
use crate::domain::time::Timestamp;
use crate::http::cookies::{Jar, Shown};
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::http::{origin, page};
use crate::store::Opened;

/// A session's last use is written so often at most.
const TOUCH_EVERY: Duration = Duration::from_mins(1);

/// What a route asks for.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) state: AppState,
    pub(super) jar: Jar,
    pub(super) wanted: Capability,
}

/// Lets a request through to its page, or answers it.
pub(super) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let mut response = match enter(&gate, request).await {
        Ok((place, request)) => {
            let framed_by = place.looks.as_ref().map(|looks| looks.framed_by.clone());
            let mut response = next.run(request).await;
            if let Some(problem) = response.extensions_mut().remove::<Problem>() {
                response = Failure(problem).page(&place.base());
            }
            page::guard(response.headers_mut(), &framed_by.unwrap_or_default());
            return response;
        }
        Err(Refused::SignIn(next)) => {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("next", &next)
                .finish();
            Redirect::to(&format!("/sign-in?{query}")).into_response()
        }
        Err(Refused::Because(failure)) => {
            let back = match gate.jar {
                Jar::User => "/",
                Jar::Customer if failure.0.status == StatusCode::UNAUTHORIZED => "",
                Jar::Customer => PORTAL,
            };
            failure.page(back)
        }
    };
    page::guard(response.headers_mut(), &[]);
    response
}

enum Refused {
    /// To be sent to sign in, and back to this path.
    SignIn(String),
    Because(Failure),
}

impl<E: Into<Failure>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Because(error.into())
    }
}

async fn enter(gate: &Gate, request: Request) -> Result<(Place, Request), Refused> {
    let (mut parts, body) = request.into_parts();
    origin::expect_same(&parts.method, &parts.headers)?;
    let state = &gate.state;
    let uri = parts.extensions.get::<axum::extract::OriginalUri>();
    let uri = uri.map_or_else(|| parts.uri.to_string(), |uri| uri.0.to_string());
    let Some(known) = session(state, gate.jar, &parts.headers)? else {
        return Err(signed_out(gate.jar, &parts.method, uri));
    };
    let names = names(&mut parts).await?;
    let name = |name: &str| names.get(name).map(String::as_str);
    let (viewer, environment, principal) = seen_by(state, known.opened, name("env"))?;
    let (application, principal) = match (&viewer, name("app")) {
        (Viewer::Customer(customer), _) => {
            let id = state.store.ids().text(customer.application);
            within(state, principal, &id)?
        }
        (Viewer::User(_), Some(app)) => within(state, principal, app)?,
        (Viewer::User(_), None) => (None, principal),
    };
    if !principal.capabilities.allow(gate.wanted) {
        return Err(not_allowed(gate.wanted).into());
    }
    let looks = match viewer {
        Viewer::Customer(_) => Some(state.store.branding(environment.key)?.into()),
        Viewer::User(_) => None,
    };
    let now = state.clock.now();
    touch(state, known.hash, &known.session, now);
    let place = Place::new(Inner {
        state: state.clone(),
        viewer,
        principal,
        environment,
        application,
        session: known.hash,
        looks,
        form_token: known.form_token,
        now,
        uri,
        names,
    });
    parts.extensions.insert(place.clone());
    Ok((place, Request::from_parts(parts, body)))
}

fn signed_out(jar: Jar, method: &Method, uri: String) -> Refused {
    match jar {
        Jar::User if *method == Method::GET => Refused::SignIn(uri),
        Jar::User => Refused::Because(Failure::signed_out()),
        Jar::Customer => Refused::Because(Failure::portal_left()),
    }
}

fn not_allowed(wanted: Capability) -> Failure {
    let what = match wanted {
        Capability::Read => "see this",
        Capability::Send => "send or replay messages",
        Capability::Manage => "change this",
        Capability::Secrets => "see or change signing secrets",
        Capability::Admin => "see or change this: it is for admins",
        Capability::Environments => "see or change this: it is for admins of every environment",
    };
    Failure(Problem::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        format!("Your role does not let you {what}. Nothing was done; ask an admin."),
    ))
}

/// Whether who was let into `place` still would be: for answers that go on.
pub(super) fn is_still_in(place: &Place) -> bool {
    let opened = place.state.store.session(&place.session);
    let environment = place.environment.key;
    match opened {
        Ok(Some((Opened::User(user), _))) => user.principal(environment).is_some(),
        Ok(Some((Opened::Customer(_), _))) => {
            let catalog = place.state.store.catalog();
            catalog.environment(environment).is_some()
        }
        Ok(None) | Err(_) => false,
    }
}

/// A session that a request shows.
pub(super) struct KnownSession {
    pub(super) hash: [u8; 32],
    pub(super) form_token: String,
    pub(super) opened: Opened,
    pub(super) session: Session,
}

/// The session that the cookie opens, if it opens one.
pub(super) fn session(
    state: &AppState,
    jar: Jar,
    headers: &HeaderMap,
) -> Result<Option<KnownSession>, Failure> {
    let Some(token) = jar.token(headers, state.is_secure()) else {
        return Ok(None);
    };
    let hash = session::hash(token.expose());
    let Some((opened, session)) = state.store.session(&hash)? else {
        return Ok(None);
    };
    // A cookie of the one kind does not open the pages of the other.
    let fits = matches!(
        (&opened, jar),
        (Opened::User(_), Jar::User) | (Opened::Customer(_), Jar::Customer)
    );
    Ok(fits.then(|| KnownSession {
        hash,
        form_token: form_token(token.expose()),
        opened,
        session,
    }))
}

/// What a session's forms carry: it tells nothing of the token, and nobody
/// without the token knows it.
fn form_token(token: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"form ");
    hash.update(token);
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

async fn names(parts: &mut http::request::Parts) -> Result<BTreeMap<String, String>, Failure> {
    // Escapes that are no UTF-8 spell no id.
    let params = RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|_| Failure::not_found("page"))?;
    let pairs = params.iter();
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

type Seen = (Viewer, Arc<Environment>, Principal);

fn seen_by(state: &AppState, opened: Opened, env: Option<&str>) -> Result<Seen, Failure> {
    let found = |key: EnvironmentKey| state.store.catalog().environment(key);
    let missing = || Failure::not_found("environment");
    match opened {
        Opened::Customer(customer) => {
            let environment = found(customer.environment).ok_or_else(Failure::signed_out)?;
            let principal = customer.principal();
            Ok((Viewer::Customer(customer), environment, principal))
        }
        Opened::User(user) => {
            let key = env.and_then(|env| state.store.ids().parse(env));
            let key = key.ok_or_else(missing)?;
            let principal = user.principal(key).ok_or_else(missing)?;
            let environment = found(key).ok_or_else(missing)?;
            Ok((Viewer::User(user), environment, principal))
        }
    }
}

/// The application, and the principal limited to it.
fn within(
    state: &AppState,
    principal: Principal,
    app: &str,
) -> Result<(Option<Arc<crate::store::ApplicationEntry>>, Principal), Failure> {
    let entry = state.store.find_application(principal.scope, app)?;
    let entry = entry.ok_or_else(|| Failure::not_found("application"))?;
    let scope = Scope {
        application: Some(entry.application.key),
        ..principal.scope
    };
    Ok((Some(entry), Principal { scope, ..principal }))
}

/// Notes that the session is used, without making its request wait.
fn touch(state: &AppState, hash: [u8; 32], session: &Session, now: Timestamp) {
    if now.since(session.seen) < TOUCH_EVERY {
        return;
    }
    let store = state.store.clone();
    tokio::spawn(async move {
        if let Err(error) = store.touch_session(hash).await {
            tracing::warn!(%error, "cannot note that a session is used");
        }
    });
}

/// How a page is shown, by what the browser says of the request.
pub(super) fn shown(headers: &HeaderMap) -> Shown {
    let framed = headers
        .get("sec-fetch-dest")
        .is_some_and(|dest| matches!(dest.as_bytes(), b"iframe" | b"frame" | b"embed" | b"object"));
    if framed { Shown::Framed } else { Shown::Alone }
}

/// Which cookie the pages below `path` go by.
pub(super) fn jar_of(path: &str) -> Jar {
    if path.starts_with(PORTAL) {
        Jar::Customer
    } else {
        Jar::User
    }
}
