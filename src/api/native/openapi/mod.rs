//! `/openapi.json`: the native API in OpenAPI 3.1.
//!
//! A file for each noun says what its routes do. Answers are described by the
//! structs that they are written from; the rest is put together here.

mod applications;
mod attempts;
mod audit;
mod endpoints;
mod environments;
mod event_types;
mod events;
mod fields;
mod inboxes;
mod jobs;
mod keys;
mod logs;
mod messages;
mod operation;
mod portal;
mod problems;
mod requests;
mod server;
mod sources;
mod statistics;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::path::PathsBuilder;
use utoipa::openapi::schema::{OneOf, Schema, SchemaType};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Components, InfoBuilder, License, OpenApi, OpenApiBuilder, RefOr, Server};
use utoipa::{PartialSchema, ToSchema};

use self::fields::{described, number, time};
use self::operation::Operation;
use super::{BASE, ROUTES};
use crate::domain::principal::Capability;
use crate::domain::time::Timestamp;
use crate::http::cors;
use crate::http::fallback::{no_method, panicked};
use crate::http::fixed::Fixed;
use crate::http::paging::PAGE_MAX;

/// What the document calls an API key.
const BEARER: &str = "apiKey";

/// Parameters of paths: name, what stands for it in examples, what it is.
const PARAMETERS: &[(&str, &str, &str)] = &[
    ("app", "acme", "Id or uid of the application."),
    ("ep", "main", "Id or uid of the endpoint."),
    ("msg", "order-42", "Id or uid of the message."),
    ("atmpt", ATTEMPT_ID, "Id of the attempt."),
    ("name", "order.paid", "Name of the event type."),
    ("job", JOB_ID, "Id of the job."),
    ("token", INBOX_TOKEN, "Token of the inbox."),
    ("src", "shop", "Id or slug of the source."),
    ("req", REQUEST_ID, "Id of the request."),
    ("rcv", RECEIVED_ID, "Id of what was received."),
    ("record", "F-95ad51b6", "Key of the record."),
    ("env", "staging", "Id or name of the environment."),
    ("key", KEY_ID, "Id of the API key."),
];

// What examples show, the same thing by the same id.
const APPLICATION_ID: &str = "app_3k0QzT8fXw1bNfYhR2mVq7LdC4a";
const ENDPOINT_ID: &str = "ep_3k0QzT9aHc5eJgWkS8pXr1MfD6b";
const MESSAGE_ID: &str = "msg_3k0QzTAbLd7fKhYmT4qZs9NgE2c";
const ATTEMPT_ID: &str = "atmpt_3k0QzTBcNe9gMjZnU6rAt3PhF8d";
const JOB_ID: &str = "job_3k0QzTGhTk9mRpEsZ2wFz9VnL4i";
const KEY_ID: &str = "key_3k0QzTHiUm1oStGtA3xGa1WoM5j";
const SOURCE_ID: &str = "src_3k0QzTJjVn2pTuHuB4yHb2XpN6k";
const REQUEST_ID: &str = "req_3k0QzTKkWo3qUvIvC5zIc3YqO7l";
const RECEIVED_ID: &str = "rcv_3k0QzTEfRh5jNmCqX0uDx7TlJ2g";
const INBOX_TOKEN: &str = "q3Zr8vT1kXw0bNfYhR2mVq7L";
const MADE_MS: u64 = 1_795_305_600_000;

/// One thing that the API is about, with what can be done with it.
struct Noun {
    name: &'static str,
    description: &'static str,
    operations: Vec<Operation>,
    /// Answers' fields that hold one of a few words: schema, field, words.
    words: &'static [(&'static str, &'static str, &'static [&'static str])],
}

/// In the order of the document. What an example needs is made by those before it.
fn nouns() -> Vec<Noun> {
    vec![
        applications::noun(),
        endpoints::noun(),
        event_types::noun(),
        messages::noun(),
        attempts::noun(),
        jobs::noun(),
        statistics::noun(),
        inboxes::noun(),
        sources::noun(),
        requests::noun(),
        portal::noun(),
        environments::noun(),
        keys::noun(),
        audit::noun(),
        server::noun(),
    ]
}

/// The native API of the server at `public_url`.
#[must_use]
pub fn document(public_url: &str) -> OpenApi {
    let mut schemas = Schemas::default();
    let (mut paths, mut tags, mut words) = (PathsBuilder::new(), Vec::new(), Vec::new());
    for noun in nouns() {
        for operation in noun.operations {
            let path = operation.path;
            paths = paths.path(path, operation.write(noun.name, &mut schemas));
        }
        let tag = TagBuilder::new().name(noun.name);
        tags.push(tag.description(Some(noun.description)).build());
        words.extend(noun.words);
    }
    complete(&mut schemas.answers, &words);
    let webhooks = events::webhooks(&mut schemas.answers);
    OpenApiBuilder::new()
        .info(info())
        .servers(Some([Server::new(format!("{public_url}{BASE}"))]))
        .paths(paths)
        .webhooks(Some(webhooks))
        .components(Some(schemas.components()))
        .tags(Some(tags))
        .build()
}

/// Schemas by name.
#[derive(Default)]
struct Schemas {
    requests: BTreeMap<String, RefOr<Schema>>,
    answers: BTreeMap<String, RefOr<Schema>>,
}

impl Schemas {
    fn components(self) -> Components {
        let mut components = Components::new();
        components.schemas.extend(self.requests);
        components.schemas.extend(self.answers);
        let (name, schema) = problems::schema();
        components.schemas.insert(name.to_owned(), schema.into());
        for shared in problems::ALL {
            let response = shared.response().into();
            components
                .responses
                .insert(shared.name.to_owned(), response);
        }
        components.add_security_scheme(BEARER, bearer());
        components
    }
}

fn info() -> utoipa::openapi::Info {
    let licence = License::builder()
        .name("Apache-2.0")
        .identifier(Some("Apache-2.0"))
        .build();
    InfoBuilder::new()
        .title("Hookpost")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Sends, retries, receives, shows and replays webhooks. JSON in and out; times are \
             integers, Unix milliseconds; in requests `null` is the same as leaving a field out.",
        ))
        .license(Some(licence))
        .build()
}

fn bearer() -> SecurityScheme {
    let scopes: Vec<_> = Capability::ALL
        .iter()
        .map(|capability| format!("`{}`", capability.name()))
        .collect();
    let says = format!(
        "An API key, as `hookpost keys create` makes it. It sees one environment and has scopes: {}. \
         `admin` includes all but `environments`.",
        scopes.join(", ")
    );
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(says));
    SecurityScheme::Http(scheme.build())
}

/// The scope that a key needs for a route.
fn scope(method: &str, path: &str) -> &'static str {
    let route = ROUTES
        .iter()
        .find(|route| (route.0, route.1) == (method, path));
    let (_, _, capability) = route.unwrap_or_else(|| panic!("{method} {path} is no route"));
    capability.name()
}

fn page_size() -> Schema {
    number(1, PAGE_MAX as u64)
}

/// What holds for every answer: each field is always there, and those that
/// many have mean the same everywhere.
fn complete(answers: &mut BTreeMap<String, RefOr<Schema>>, words: &[(&str, &str, &[&str])]) {
    const USUAL: [(&str, &str); 2] = [
        ("id", "Hookpost's name for it."),
        (
            "uid",
            "Yours: wherever a path takes the id it takes this too.",
        ),
    ];
    /// Objects that have only the fields that they need.
    const PARTIAL: [&str; 4] = ["SignatureScheme", "Place", "Naming", "SourceSignature"];
    for (name, schema) in answers {
        if PARTIAL.contains(&name.as_str()) {
            continue;
        }
        let RefOr::T(Schema::Object(object)) = schema else {
            continue;
        };
        object.required = object.properties.keys().cloned().collect();
        for (field, property) in &mut object.properties {
            match property {
                RefOr::Ref(reference) if reference.description.is_empty() => {
                    usual_time(field).clone_into(&mut reference.description);
                }
                RefOr::T(Schema::OneOf(nullable)) => hoist_description(nullable),
                RefOr::T(Schema::Object(property)) => {
                    let usual = USUAL.iter().find(|usual| usual.0 == field);
                    let usual = usual.map(|usual| usual.1.to_owned());
                    property.description = property.description.take().or(usual);
                    let words = words
                        .iter()
                        .find(|words| (words.0, words.1) == (name, field));
                    property.enum_values =
                        words.map(|words| enumerated(words.2, &property.schema_type));
                }
                _ => {}
            }
        }
    }
}

/// What is said of something that may be null goes with the whole.
fn hoist_description(nullable: &mut OneOf) {
    for item in &mut nullable.items {
        if let RefOr::Ref(reference) = item {
            nullable.description = Some(std::mem::take(&mut reference.description));
        }
    }
}

fn usual_time(field: &str) -> &'static str {
    match field {
        "created" => "When it was made.",
        "updated" => "When it was last changed.",
        _ => "",
    }
}

fn enumerated(words: &[&str], kind: &SchemaType) -> Vec<serde_json::Value> {
    let nullable = matches!(kind, SchemaType::Array(_));
    let null = nullable.then_some(serde_json::Value::Null);
    words
        .iter()
        .map(|word| (*word).into())
        .chain(null)
        .collect()
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        described(time(), "Unix milliseconds.").into()
    }
}

impl ToSchema for Timestamp {}

/// Serves the document, to anybody: it says nothing about what is stored.
pub(in crate::api) fn router(public_url: &Arc<str>) -> Router {
    let public_url = Arc::clone(public_url);
    let served: Served = Arc::new(LazyLock::new(Box::new(move || {
        let json = document(&public_url)
            .to_json()
            .expect("it has only texts and numbers");
        Fixed::new("application/json", json)
    })));
    Router::new()
        .route(&format!("{BASE}/openapi.json"), get(show))
        .method_not_allowed_fallback(no_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(open))
        .with_state(served)
}

/// Made when it is first asked for.
type Served = Arc<LazyLock<Fixed, Box<dyn FnOnce() -> Fixed + Send>>>;

async fn show(State(served): State<Served>, headers: HeaderMap) -> Response {
    served.answer(&headers)
}

async fn open(request: Request, next: Next) -> Response {
    match cors::preflight(&request) {
        Some(preflight) => preflight,
        None => cors::open(next.run(request).await),
    }
}
