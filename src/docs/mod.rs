//! `/docs`: the API's reference for people, from the document that programs get.
//!
//! Pages are the same for everybody and show nothing of the store. They are
//! made when the first of them is asked for, and kept.

mod curl;
mod document;
mod reference;
mod rows;
mod text;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::HeaderMap;
use tower_http::catch_panic::CatchPanicLayer;

use self::document::Document;
use self::reference::{Error, EventFamily, Noun};
use crate::domain::principal::Capability;
use crate::http::assets;
use crate::http::fallback::{no_route, panicked};
use crate::http::fixed::Fixed;
use crate::http::page;
use crate::http::path::Path;

/// In the order in which they apply.
const STYLES: [&str; 6] = [
    "tokens.css",
    "base.css",
    "code.css",
    "table.css",
    "method.css",
    "docs.css",
];

/// Pages by the last part of their path; the overview by the empty one.
type Pages = BTreeMap<String, Fixed>;
type Site = Arc<LazyLock<Pages, Box<dyn FnOnce() -> Pages + Send>>>;

/// `/docs` and what is below it. `document` gives the API in OpenAPI, as JSON.
pub fn router(document: impl FnOnce() -> String + Send + 'static) -> Router {
    let site: Site = Arc::new(LazyLock::new(Box::new(move || {
        pages(&Document::parse(document().as_bytes()))
    })));
    Router::new()
        .route("/docs", get(overview))
        .route("/docs/", get(overview))
        .route("/docs/{page}", get(below))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(site)
}

async fn overview(State(site): State<Site>, headers: HeaderMap) -> Response {
    page::answer(&site[""], &headers)
}

async fn below(State(site): State<Site>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    match site.get(&name).filter(|_| !name.is_empty()) {
        Some(found) => page::answer(found, &headers),
        None => no_route().await.into_response(),
    }
}

/// What every page has around it.
struct Frame<'a> {
    title: String,
    /// The last part of its path.
    here: &'a str,
    nouns: &'a [Noun],
    styles: [&'static str; STYLES.len()],
    icon: &'static str,
    version: &'static str,
}

impl<'a> Frame<'a> {
    fn new(title: &str, here: &'a str, nouns: &'a [Noun]) -> Self {
        Self {
            title: title.to_owned(),
            here,
            nouns,
            styles: STYLES.map(assets::path),
            icon: assets::path("mark.svg"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

#[derive(Template)]
#[template(path = "docs/overview.html")]
struct OverviewPage<'a> {
    frame: Frame<'a>,
    api: &'a str,
    scopes: Vec<Scope>,
    errors: Vec<Error>,
}

struct Scope {
    name: &'static str,
    allows: &'static str,
}

#[derive(Template)]
#[template(path = "docs/noun.html")]
struct NounPage<'a> {
    frame: Frame<'a>,
    noun: &'a Noun,
}

#[derive(Template)]
#[template(path = "docs/events.html")]
struct EventsPage<'a> {
    frame: Frame<'a>,
    families: Vec<EventFamily>,
}

#[derive(Template)]
#[template(path = "docs/verify.html")]
struct VerifyPage<'a> {
    frame: Frame<'a>,
}

fn pages(document: &Document) -> Pages {
    let nouns = reference::nouns(document);
    let mut pages = Pages::new();
    let mut add = |name: &str, page: &dyn askama::DynTemplate| {
        let html = page.dyn_render().expect("a string takes it all");
        pages.insert(name.to_owned(), page::html(html));
    };
    let overview = OverviewPage {
        frame: Frame::new("API reference", "", &nouns),
        api: document.servers.first().map_or("", |server| &server.url),
        scopes: scopes(),
        errors: reference::shared_errors(document),
    };
    add("", &overview);
    for noun in &nouns {
        let frame = Frame::new(&noun.name, &noun.slug, &nouns);
        add(&noun.slug, &NounPage { frame, noun });
    }
    let events = EventsPage {
        frame: Frame::new("Operational events", "operational-events", &nouns),
        families: reference::event_families(document),
    };
    add("operational-events", &events);
    let verify = VerifyPage {
        frame: Frame::new("Verifying deliveries", "verifying", &nouns),
    };
    add("verifying", &verify);
    pages
}

fn scopes() -> Vec<Scope> {
    let allows = |capability| match capability {
        Capability::Read => "See everything but secrets",
        Capability::Send => "Send messages, and send them again",
        Capability::Manage => {
            "Make, change and delete applications, endpoints, event types, inboxes"
        }
        Capability::Secrets => "Read and rotate signing secrets",
        Capability::Admin => "All of the above, and: API keys, the audit log, erasing content",
        Capability::Environments => {
            "Make, rename and delete environments, make keys for them, and see the figures of the whole store"
        }
    };
    let all = Capability::ALL.into_iter();
    all.map(|capability| Scope {
        name: capability.name(),
        allows: allows(capability),
    })
    .collect()
}
