//! What every page has around it.

use super::place::{Place, Viewer};
use crate::domain::principal::Capability;
use crate::domain::request::takes_requests;
use crate::http::assets;

/// In the order in which they apply.
const STYLES: [&str; 8] = [
    "tokens.css",
    "base.css",
    "code.css",
    "table.css",
    "controls.css",
    "parts.css",
    "chart.css",
    "shell.css",
];

/// The kinds of things that a colour stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Good,
    Bad,
    Wait,
    Idle,
}

impl Kind {
    /// Its class in the style sheets.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Wait => "wait",
            Self::Idle => "idle",
        }
    }
}

/// A page without navigation.
pub(super) struct Bare {
    pub(super) title: String,
}

impl Bare {
    pub(super) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
        }
    }

    #[expect(clippy::unused_self, reason = "templates call it")]
    pub(super) fn styles(&self) -> [&'static str; STYLES.len()] {
        STYLES.map(assets::path)
    }

    #[expect(clippy::unused_self, reason = "templates call it")]
    pub(super) fn icon(&self) -> &'static str {
        assets::path("mark.svg")
    }
}

/// Whose pages these seem to be.
#[derive(Clone, Debug)]
pub(super) struct Brand {
    pub(super) name: String,
    /// Where the picture is.
    pub(super) logo: Option<String>,
    /// Where the style sheet with its colours is.
    pub(super) theme: Option<String>,
}

pub(super) struct Group {
    pub(super) label: String,
    pub(super) items: Vec<Item>,
}

pub(super) struct Item {
    pub(super) label: String,
    pub(super) href: String,
    pub(super) current: bool,
}

pub(super) struct Crumb {
    pub(super) label: String,
    /// `None`: this page.
    pub(super) href: Option<String>,
}

/// Something that was done, or not, before this page was shown.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    pub(super) kind: Kind,
    pub(super) text: String,
}

impl Notice {
    pub(super) fn good(text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Good,
            text: text.into(),
        }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Bad,
            text: text.into(),
        }
    }
}

/// The menu of whoever is looking.
pub(super) struct Account {
    pub(super) label: String,
    pub(super) more: String,
    pub(super) links: Vec<Item>,
    pub(super) sign_out: &'static str,
}

pub(super) struct Frame {
    pub(super) title: String,
    pub(super) brand: Brand,
    pub(super) home: String,
    pub(super) groups: Vec<Group>,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) search: String,
    pub(super) account: Account,
    pub(super) notice: Option<Notice>,
    /// What every form on the page carries.
    pub(super) form_token: String,
}

/// A page's place in the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Activity,
    Endpoints,
    EventTypes,
    Logs,
    Requests,
    Sources,
    Records,
    /// Those of all applications.
    AllRequests,
    Inboxes,
    Applications,
    Settings,
    /// None of them.
    Elsewhere,
}

impl Frame {
    /// Around a page of `place` called `title`, after `trail` (label, path
    /// below the place's base).
    pub(super) fn new(place: &Place, tab: Tab, trail: &[(&str, String)], title: &str) -> Self {
        Self {
            title: title.to_owned(),
            brand: place.brand(),
            home: place.environment_base(),
            groups: groups(place, tab),
            crumbs: crumbs(place, trail, title),
            search: place.link("/search"),
            account: account(place),
            notice: place.notice(),
            form_token: place.form_token.clone(),
        }
    }

    #[expect(clippy::unused_self, reason = "templates call it")]
    pub(super) fn styles(&self) -> [&'static str; STYLES.len()] {
        STYLES.map(assets::path)
    }

    #[expect(clippy::unused_self, reason = "templates call it")]
    pub(super) fn icon(&self) -> &'static str {
        assets::path("mark.svg")
    }

    #[expect(clippy::unused_self, reason = "templates call it")]
    pub(super) fn script(&self) -> &'static str {
        assets::path("app.js")
    }

    #[expect(clippy::unused_self, reason = "templates call it")]
    pub(super) fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

fn groups(place: &Place, tab: Tab) -> Vec<Group> {
    let base = place.base();
    let item = |label: &str, base: &str, path: &str, of: Tab| Item {
        label: label.to_owned(),
        href: format!("{base}{path}"),
        current: tab == of,
    };
    let mut main = vec![
        item("Activity", &base, "", Tab::Activity),
        item("Endpoints", &base, "/endpoints", Tab::Endpoints),
        item("Event Catalog", &base, "/event-types", Tab::EventTypes),
        item("Logs", &base, "/messages", Tab::Logs),
    ];
    // Most applications are not asked anything.
    let asks = |entry: &crate::store::ApplicationEntry| {
        let mut endpoints = entry.endpoints.iter();
        endpoints.any(|live| takes_requests(&live.settings))
    };
    if tab == Tab::Requests || place.application.as_deref().is_some_and(asks) {
        main.push(item("Requests", &base, "/requests", Tab::Requests));
    }
    if place.is_customer() {
        return vec![Group {
            label: String::new(),
            items: main,
        }];
    }
    let outer = place.environment_base();
    let mut groups = Vec::new();
    if let Some(entry) = &place.application {
        groups.push(Group {
            label: format!("Application {}", entry.application.name),
            items: main,
        });
        main = Vec::new();
    }
    let inbound = Group {
        label: "Inbound".to_owned(),
        items: vec![
            item("Sources", &outer, "/sources", Tab::Sources),
            item("Records", &outer, "/records", Tab::Records),
            item("Requests", &outer, "/requests", Tab::AllRequests),
            item("Inboxes", &outer, "/inboxes", Tab::Inboxes),
        ],
    };
    let mut environment = vec![
        item("Applications", &outer, "/applications", Tab::Applications),
        item("Settings", &outer, "/settings", Tab::Settings),
    ];
    if main.is_empty() {
        let all = Item {
            label: "All activity".to_owned(),
            href: outer.clone(),
            current: false,
        };
        environment.insert(0, all);
    } else {
        groups.push(Group {
            label: String::new(),
            items: main,
        });
    }
    groups.push(inbound);
    groups.push(Group {
        label: format!("Environment {}", place.environment.name),
        items: environment,
    });
    groups
}

fn crumbs(place: &Place, trail: &[(&str, String)], title: &str) -> Vec<Crumb> {
    let mut crumbs = Vec::new();
    if !place.is_customer() {
        crumbs.push(Crumb {
            label: place.environment.name.clone(),
            href: Some(place.environment_base()),
        });
        if let Some(entry) = &place.application {
            crumbs.push(Crumb {
                label: entry.application.name.clone(),
                href: Some(place.base()),
            });
        }
    }
    crumbs.extend(trail.iter().map(|(label, path)| Crumb {
        label: (*label).to_owned(),
        href: Some(place.link(path)),
    }));
    crumbs.push(Crumb {
        label: title.to_owned(),
        href: None,
    });
    crumbs
}

fn account(place: &Place) -> Account {
    match &place.viewer {
        Viewer::User(user) => Account {
            label: user.email.clone(),
            more: role_words(place),
            links: environments(place)
                .chain([Item {
                    label: "Your account".to_owned(),
                    href: format!("{}/account", place.environment_base()),
                    current: false,
                }])
                .collect(),
            sign_out: "/sign-out",
        },
        Viewer::Customer(customer) => Account {
            label: "Session".to_owned(),
            more: if customer.read_only {
                "You can see everything here, and change nothing.".to_owned()
            } else {
                format!(
                    "You manage the webhooks of {}.",
                    place.application().application.name
                )
            },
            links: Vec::new(),
            sign_out: PORTAL_SIGN_OUT,
        },
    }
}

const PORTAL_SIGN_OUT: &str = "/portal/sign-out";

fn role_words(place: &Place) -> String {
    let Viewer::User(user) = &place.viewer else {
        return String::new();
    };
    let role = user.roles.in_environment(place.environment.key);
    let role = role.map_or("nobody", crate::domain::user::Role::name);
    format!("{role} in {}", place.environment.name)
}

/// The other environments that the user may go to.
fn environments(place: &Place) -> impl Iterator<Item = Item> {
    let all = place.state.store.catalog().environments();
    let others = all.into_iter().filter(|environment| {
        let Viewer::User(user) = &place.viewer else {
            return false;
        };
        environment.key != place.environment.key
            && user.roles.in_environment(environment.key).is_some()
    });
    others.map(|environment| Item {
        label: format!("Go to {}", environment.name),
        href: super::place::environment_base(&place.state, &environment),
        current: false,
    })
}

impl Place {
    /// Whether the viewer may change things here: what templates ask before
    /// they offer a button.
    pub(super) fn can(&self) -> Can {
        Can {
            send: self.allows(Capability::Send),
            manage: self.allows(Capability::Manage),
            secrets: self.allows(Capability::Secrets),
            admin: self.allows(Capability::Admin),
            everywhere: self.allows(Capability::Environments),
        }
    }
}

/// What the viewer may do, for templates.
#[expect(clippy::struct_excessive_bools, reason = "one for each capability")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Can {
    pub(super) send: bool,
    pub(super) manage: bool,
    pub(super) secrets: bool,
    pub(super) admin: bool,
    pub(super) everywhere: bool,
}
