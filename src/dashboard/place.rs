//! Who is looking, and at what: the part of the store that a page is about.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::failure::Failure;
use super::frame::{Brand, Notice};
use crate::domain::branding::Branding;
use crate::domain::environment::Environment;
use crate::domain::principal::{Capability, Principal, Scope};
use crate::domain::session::Customer;
use crate::domain::time::Timestamp;
use crate::domain::user::User;
use crate::http::state::AppState;
use crate::store::ApplicationEntry;

/// Who looks at the pages.
#[derive(Clone, Debug)]
pub(super) enum Viewer {
    /// An operator, with an account.
    User(Box<User>),
    /// In an application's portal.
    Customer(Customer),
}

/// What a page of a portal has to know of how it looks.
#[derive(Clone, Debug)]
pub(super) struct Looks {
    name: String,
    has_logo: bool,
    has_colour: bool,
    /// Origins whose pages may show it inside them.
    pub(super) framed_by: Vec<String>,
}

impl From<Branding> for Looks {
    fn from(branding: Branding) -> Self {
        Self {
            name: branding.name,
            has_logo: branding.logo.is_some(),
            has_colour: branding.colour.is_some(),
            framed_by: branding.framed_by,
        }
    }
}

/// What every handler behind a session gets. Cheap to clone.
#[derive(Clone)]
pub(super) struct Place(Arc<Inner>);

pub(super) struct Inner {
    pub(super) state: AppState,
    pub(super) viewer: Viewer,
    /// Of the viewer, in this environment; limited to the application when the
    /// path names one.
    pub(super) principal: Principal,
    pub(super) environment: Arc<Environment>,
    /// The one that the path names, or the portal's; `None`: all.
    pub(super) application: Option<Arc<ApplicationEntry>>,
    /// SHA-256 of the session's token.
    pub(super) session: [u8; 32],
    /// How a customer's portal looks; `None` for operators.
    pub(super) looks: Option<Looks>,
    /// What forms carry to show that they are ours.
    pub(super) form_token: String,
    /// When the request came.
    pub(super) now: Timestamp,
    /// Path and query of the request.
    pub(super) uri: String,
    /// The names in the path, such as `ep`.
    pub(super) names: BTreeMap<String, String>,
}

impl Deref for Place {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Place {
    pub(super) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// What the path has for `{name}`; empty when it has none.
    pub(super) fn name(&self, name: &str) -> &str {
        self.names.get(name).map_or("", String::as_str)
    }

    /// What is looked at: the application's, or all of the environment.
    pub(super) fn scope(&self) -> Scope {
        self.principal.scope
    }

    pub(super) fn allows(&self, wanted: Capability) -> bool {
        self.principal.capabilities.allow(wanted)
    }

    pub(super) fn is_customer(&self) -> bool {
        matches!(self.viewer, Viewer::Customer(_))
    }

    /// Whether the viewer sends messages of any content here: operators do, a
    /// customer only tries endpoints out and replays.
    pub(super) fn sends_messages(&self) -> bool {
        self.application.is_some() && !self.is_customer() && self.allows(Capability::Send)
    }

    /// The application, on pages of one. Others have no route to there.
    pub(super) fn application(&self) -> &Arc<ApplicationEntry> {
        let application = self.application.as_ref();
        application.expect("only routes of an application lead here")
    }

    /// Where this place's pages begin: the environment's, the application's or
    /// the portal's. Without a slash at the end.
    pub(super) fn base(&self) -> String {
        match &self.application {
            Some(entry) => self.application_base(&self.id(entry.application.key)),
            None => self.environment_base(),
        }
    }

    /// Where an application's pages begin, for this viewer.
    pub(super) fn application_base(&self, id: &str) -> String {
        match self.viewer {
            Viewer::Customer(_) => PORTAL.to_owned(),
            Viewer::User(_) => format!("{}/applications/{id}", self.environment_base()),
        }
    }

    /// Where the environment's pages begin; for customers, the portal's.
    pub(super) fn environment_base(&self) -> String {
        match self.viewer {
            Viewer::Customer(_) => PORTAL.to_owned(),
            Viewer::User(_) => environment_base(&self.state, &self.environment),
        }
    }

    /// `path` below [`base`](Self::base).
    pub(super) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.base())
    }

    /// Whose pages these seem to be.
    pub(super) fn brand(&self) -> Brand {
        let Some(looks) = &self.looks else {
            return Brand {
                name: "Hookpost".to_owned(),
                logo: None,
                theme: None,
            };
        };
        Brand {
            name: if looks.name.is_empty() {
                self.application().application.name.clone()
            } else {
                looks.name.clone()
            },
            logo: looks.has_logo.then(|| self.link("/logo")),
            theme: looks.has_colour.then(|| self.link("/theme.css")),
        }
    }

    /// What the page before wants to be said, by `?notice=`: one of the closed
    /// list in `notices.rs`.
    pub(super) fn notice(&self) -> Option<Notice> {
        let query = self.uri.split_once('?').map(|(_, query)| query)?;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let (_, code) = pairs.find(|(name, _)| name == "notice")?;
        super::notices::notice(&code)
    }

    pub(super) fn id(&self, key: impl crate::domain::ids::Key) -> String {
        self.state.store.ids().text(key)
    }

    /// Where the API is, for lines to paste: such as
    /// `https://hooks.example.com/api/v1/applications/app_1`.
    pub(super) fn api(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.state.public_url)
    }
}

/// Where the pages of a customer begin.
pub(super) const PORTAL: &str = "/portal";

/// Where the pages of an environment begin.
pub(super) fn environment_base(state: &AppState, environment: &Environment) -> String {
    format!("/env/{}", state.store.ids().text(environment.key))
}

impl<S: Sync> FromRequestParts<S> for Place {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let place = parts.extensions.get::<Self>().cloned();
        place.ok_or_else(Failure::signed_out)
    }
}
