//! `/event-types`: what there is to subscribe to, and what it looks like.

use axum::body::Body;
use axum::extract::{OriginalUri, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::applications::skip_and_take;
use super::{absent, idempotent, written};
use crate::control::event_types::{EventTypeInput, ImportOptions};
use crate::domain::event_type::{
    APPLICATIONS_MAX, Audience, EXAMPLE_BYTES_MAX, EXAMPLES_MAX, EventType, SCHEMA_BYTES_MAX,
};
use crate::domain::ids::Ids;
use crate::domain::message::{EVENT_TYPE_CHARS_MAX, UID_CHARS_MAX};
use crate::domain::time::Timestamp;
use crate::http::answer::{json, to_json};
use crate::http::auth::Caller;
use crate::http::body::{self, Fields, SETTINGS_BYTES_MAX};
use crate::http::paging::Params;
use crate::http::path::Path;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::store::ImportOutcome;

/// Bytes of a body with everything that a type can have.
const TYPE_BYTES_MAX: usize =
    SCHEMA_BYTES_MAX + EXAMPLES_MAX * EXAMPLE_BYTES_MAX + SETTINGS_BYTES_MAX;
/// Bytes of a document to import, and what surrounds it.
const IMPORT_BYTES_MAX: usize = 1_000_000;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventType)]
pub(super) struct Shape<'a> {
    /// As in messages.
    name: &'a str,
    /// For people; may have several lines.
    description: &'a str,
    /// A JSON Schema, as it came; `{}` when nothing is said.
    #[schema(value_type = serde_json::Value)]
    schema: &'a RawValue,
    /// Payloads that fit the schema.
    #[schema(value_type = Vec<serde_json::Value>)]
    examples: Vec<&'a RawValue>,
    /// Ids; those that the caller does not see are left out.
    applications: Vec<String>,
    /// Whether every application sees it.
    for_everyone: bool,
    /// Whether it is left out of the list.
    archived: bool,
    created: Timestamp,
    updated: Timestamp,
}

fn raw(text: &str) -> &RawValue {
    serde_json::from_str(text).expect("only JSON texts are stored")
}

fn shape<'a>(event_type: &'a EventType, ids: &Ids) -> Shape<'a> {
    let content = &event_type.content;
    let named = event_type.audience.named().iter();
    Shape {
        name: &event_type.name,
        description: &event_type.description,
        schema: raw(content.schema.as_deref().unwrap_or("{}")),
        examples: content.examples.iter().map(|text| raw(text)).collect(),
        applications: named.map(|application| ids.text(*application)).collect(),
        for_everyone: event_type.audience == Audience::Everyone,
        archived: event_type.archived,
        created: event_type.created,
        updated: event_type.updated,
    }
}

/// A query parameter that says yes or no; no when it is left out.
fn flag(params: &Params, name: &str) -> Result<bool, Problem> {
    let said = params.parsed(name, "true or false", |text| text.parse().ok())?;
    Ok(said.unwrap_or(false))
}

/// What a body says about a type.
fn input(fields: &mut Fields<'_>) -> EventTypeInput {
    let text = |value: &RawValue| value.get().to_owned();
    let examples = fields.raws("examples", EXAMPLES_MAX);
    EventTypeInput {
        description: fields.any_text("description"),
        schema: fields.raw("schema").map(text),
        examples: examples.map(|list| list.into_iter().map(text).collect()),
        applications: fields.texts("applications", APPLICATIONS_MAX, UID_CHARS_MAX),
        for_everyone: fields.boolean("forEveryone"),
        archived: None,
    }
}

pub(super) async fn list(
    State(state): State<AppState>,
    Caller(principal): Caller,
    params: Params,
) -> Result<Response, Problem> {
    let (skip, take) = skip_and_take(&params)?;
    let archived = flag(&params, "archived")?;
    let types = state
        .store
        .list_event_types(principal.scope, archived, skip, take)?;
    let ids = state.store.ids();
    let shapes: Vec<_> = types.iter().map(|one| shape(one, ids)).collect();
    Ok(json(StatusCode::OK, &shapes))
}

pub(super) async fn create(
    State(state): State<AppState>,
    Caller(principal): Caller,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let ids = state.store.ids().clone();
    let render = move |made: &EventType| -> (StatusCode, Bytes) {
        (StatusCode::CREATED, to_json(&shape(made, &ids)))
    };
    let idempotent = idempotent(&headers, principal, uri.path(), render.clone())?;
    let body = body::read(&headers, body, TYPE_BYTES_MAX).await?;
    let mut fields = Fields::parse(&body)?;
    let name = fields.required_text("name", EVENT_TYPE_CHARS_MAX);
    let input = input(&mut fields);
    fields.finish()?;
    let made = state
        .control()
        .create_event_type(principal, name, input, idempotent)
        .await?;
    Ok(written(made, render))
}

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let found = state.store.find_event_type(principal.scope, &name)?;
    Ok(found.map_or_else(absent, |found| {
        json(StatusCode::OK, &shape(&found, state.store.ids()))
    }))
}

pub(super) async fn update(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = body::read(&headers, body, TYPE_BYTES_MAX).await?;
    let mut fields = Fields::parse(&body)?;
    let given = fields.text("name", EVENT_TYPE_CHARS_MAX);
    if given.is_some_and(|given| given != name) {
        let detail = "cannot be changed; make another type, and archive or delete this one";
        fields.wrong("name", detail);
    }
    let mut input = input(&mut fields);
    input.archived = fields.boolean("archived");
    fields.finish()?;
    let changed = state
        .control()
        .update_event_type(principal, &name, input)
        .await?;
    Ok(json(StatusCode::OK, &shape(&changed, state.store.ids())))
}

pub(super) async fn delete(
    State(state): State<AppState>,
    Caller(principal): Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let deleted = state.control().delete_event_type(principal, &name).await?;
    Ok(json(StatusCode::OK, &shape(&deleted, state.store.ids())))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Import)]
pub(super) struct ImportShape<'a> {
    /// Names of types that are new.
    created: &'a [String],
    /// Names of types that are described otherwise now.
    updated: &'a [String],
    /// Names of types that are as they were.
    unchanged: &'a [String],
    /// Names of types that the document does not have.
    archived: &'a [String],
    /// Always none: with any, the answer is a 422 that lists them.
    #[schema(value_type = Vec<String>)]
    errors: [(); 0],
}

fn import_shape(outcome: &ImportOutcome) -> ImportShape<'_> {
    ImportShape {
        created: &outcome.created,
        updated: &outcome.updated,
        unchanged: &outcome.unchanged,
        archived: &outcome.archived,
        errors: [],
    }
}

/// Types from the webhooks of an `OpenAPI` document.
pub(super) async fn import(
    State(state): State<AppState>,
    Caller(principal): Caller,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    params: Params,
    body: Body,
) -> Result<Response, Problem> {
    let render = |outcome: &ImportOutcome| -> (StatusCode, Bytes) {
        (StatusCode::OK, to_json(&import_shape(outcome)))
    };
    let dry_run = flag(&params, "dryRun")?;
    let idempotent = idempotent(&headers, principal, uri.path(), render)?;
    let body = body::read(&headers, body, IMPORT_BYTES_MAX).await?;
    let mut fields = Fields::parse(&body)?;
    let document = fields.raw("document");
    if document.is_none() {
        fields.wrong("document", "is missing");
    } else if fields.object("document").is_none() {
        fields.wrong("document", "must be an OpenAPI document, as an object");
    }
    let replace_all = fields.boolean("replaceAll").unwrap_or(false);
    fields.finish()?;
    let document = document.map_or("", RawValue::get).to_owned();
    let options = ImportOptions {
        replace_all,
        dry_run,
    };
    let done = state
        .control()
        .import_event_types(principal, document, options, idempotent)
        .await?;
    Ok(written(done, render))
}
