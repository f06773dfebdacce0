//! What the pages show of each noun, read from the document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::curl;
use super::document::{Document, Operation, Response, Schema};
use super::rows::{Homes, Reader, Row};
use super::text::{Html, breakable, json_block, line, paragraphs};

/// The page of one noun.
pub(super) struct Noun {
    pub(super) slug: String,
    pub(super) name: String,
    pub(super) description: Html,
    pub(super) operations: Vec<Call>,
    pub(super) objects: Vec<Object>,
}

/// One operation.
pub(super) struct Call {
    pub(super) id: String,
    pub(super) method: String,
    /// With places where it may be broken.
    pub(super) path_html: Html,
    pub(super) summary: String,
    pub(super) description: Vec<Html>,
    pub(super) scope: String,
    pub(super) parameters: Vec<Row>,
    pub(super) body: Vec<Row>,
    pub(super) body_may_be_missing: bool,
    pub(super) shell: String,
    pub(super) status: String,
    pub(super) answer_says: Html,
    /// What the answer is, and where that is shown.
    pub(super) answer_kind: String,
    pub(super) answer_link: Option<String>,
    pub(super) answer: String,
    /// Other good answers.
    pub(super) also: Vec<Also>,
    /// Those of its own.
    pub(super) errors: Vec<Error>,
    /// Statuses of those that many operations have.
    pub(super) usual_errors: String,
}

/// A good answer besides the usual one.
pub(super) struct Also {
    pub(super) status: String,
    pub(super) says: Html,
    pub(super) answer: String,
}

/// One error code.
pub(super) struct Error {
    pub(super) status: String,
    pub(super) code: String,
    pub(super) meaning: Html,
}

/// What an answer has in it.
pub(super) struct Object {
    pub(super) name: String,
    pub(super) description: Html,
    pub(super) rows: Vec<Row>,
}

/// One operational event.
pub(super) struct Event {
    pub(super) name: String,
    pub(super) says: Html,
}

/// Events that have the same fields.
pub(super) struct EventFamily {
    pub(super) name: String,
    /// Such as `Endpoint events`.
    pub(super) heading: String,
    pub(super) events: Vec<Event>,
    pub(super) rows: Vec<Row>,
    pub(super) example: String,
}

/// A noun's name in URLs.
fn slug(name: &str) -> String {
    name.to_lowercase().replace(' ', "-")
}

/// Every noun, in the document's order.
pub(super) fn nouns(document: &Document) -> Vec<Noun> {
    let homes = homes(document);
    let reader = Reader {
        document,
        homes: &homes,
    };
    let tags = document.tags.iter();
    tags.map(|tag| {
        let operations = operations(document, &tag.name);
        let calls = operations.iter();
        Noun {
            slug: slug(&tag.name),
            name: tag.name.clone(),
            description: line(&tag.description),
            operations: calls
                .map(|(method, path, one)| call(&reader, method, path, one))
                .collect(),
            objects: objects(&reader, &slug(&tag.name)),
        }
    })
    .collect()
}

type Described<'a> = (&'a str, &'a str, &'a Operation);

/// The operations of a noun, in the order in which a reader tries them: making
/// comes before looking, and deleting last.
fn operations<'a>(document: &'a Document, tag: &str) -> Vec<Described<'a>> {
    let rank = |method: &str| match method {
        "post" => 0,
        "get" => 1,
        "put" => 2,
        _ => 3,
    };
    let mut found = Vec::new();
    for (path, methods) in &document.paths {
        let mut methods: Vec<_> = methods.iter().collect();
        methods.sort_by_key(|(method, _)| rank(method));
        for (method, operation) in methods {
            if operation.tags.iter().any(|one| one == tag) {
                found.push((method.as_str(), path.as_str(), operation));
            }
        }
    }
    found.sort_by_key(|(method, _, _)| rank(method) == 3);
    found
}

/// The responses when all is well, and their statuses; the usual one last.
fn successes(operation: &Operation) -> Vec<(&str, &Response)> {
    let all = operation.responses.iter();
    let good = all.filter(|(status, _)| status.starts_with('2'));
    good.map(|(status, response)| (status.as_str(), response))
        .collect()
}

fn success(operation: &Operation) -> (&str, &Response) {
    let last = successes(operation).pop();
    last.expect("every operation answers something")
}

fn success_schema(response: &Response) -> Option<(&Schema, &Value)> {
    let content = response.content.values().next()?;
    Some((&content.schema, &content.example))
}

/// The component that an answer is, or is a list of.
fn component(schema: &Schema) -> Option<&str> {
    let inner = schema.items.as_deref().unwrap_or(schema);
    inner.component()
}

/// Each object is shown on the page of the first noun that answers with it.
fn homes(document: &Document) -> Homes {
    let mut homes = Homes::new();
    for tag in &document.tags {
        let operations = operations(document, &tag.name).into_iter();
        for (_, response) in operations.flat_map(|(_, _, operation)| successes(operation)) {
            let answered = success_schema(response);
            if let Some(name) = answered.and_then(|(schema, _)| component(schema)) {
                homes
                    .entry(name.to_owned())
                    .or_insert_with(|| format!("/docs/{}#{name}", slug(&tag.name)));
            }
        }
    }
    homes
}

fn objects(reader: &Reader<'_>, slug: &str) -> Vec<Object> {
    let here = format!("/docs/{slug}#");
    let schemas = &reader.document.components.schemas;
    let homes = reader.homes.iter();
    homes
        .filter(|(_, home)| home.starts_with(&here))
        .map(|(name, _)| Object {
            name: name.clone(),
            description: line(&schemas[name.as_str()].description),
            rows: reader.fields(&schemas[name.as_str()]),
        })
        .collect()
}

fn call(reader: &Reader<'_>, method: &str, path: &str, operation: &Operation) -> Call {
    let document = reader.document;
    let (status, response) = success(operation);
    let (schema, example) = success_schema(response).expect("every answer has a body");
    let content = operation
        .request_body
        .as_ref()
        .and_then(|body| body.content.values().next());
    let method = method.to_uppercase();
    let body = content.map(|content| json_block(document, &content.schema, &content.example));
    let shell = curl::example(
        &method,
        &example_path(path, operation),
        body.as_deref(),
        &operation.before,
    );
    let (errors, usual_errors) = errors(document, operation);
    let name = component(schema);
    Call {
        id: operation.id.clone(),
        path_html: breakable(path),
        summary: operation.summary.clone(),
        description: paragraphs(&operation.description),
        scope: scope(operation),
        parameters: operation
            .parameters
            .iter()
            .map(|one| reader.parameter(one))
            .collect(),
        body: content
            .map(|content| reader.fields(&content.schema))
            .unwrap_or_default(),
        body_may_be_missing: operation
            .request_body
            .as_ref()
            .is_some_and(|body| !body.required),
        shell,
        status: status.to_owned(),
        answer_says: line(&response.description),
        answer_kind: match (name, &schema.items) {
            (Some(name), Some(_)) => format!("array of {name}"),
            (Some(name), None) => name.to_owned(),
            (None, _) => String::new(),
        },
        answer_link: name.and_then(|name| reader.homes.get(name).cloned()),
        answer: json_block(document, schema, example),
        also: also(document, operation),
        errors,
        usual_errors,
        method,
    }
}

fn also(document: &Document, operation: &Operation) -> Vec<Also> {
    let mut others = successes(operation);
    others.pop();
    let with_body = others.into_iter().filter_map(|(status, response)| {
        let (schema, example) = success_schema(response)?;
        Some(Also {
            status: status.to_owned(),
            says: line(&response.description),
            answer: json_block(document, schema, example),
        })
    });
    with_body.collect()
}

/// The path with what stands for its parameters in the example; those that a
/// step replaces stay as they are until then.
fn example_path(path: &str, operation: &Operation) -> String {
    let in_path = operation.parameters.iter().filter(|one| one.r#in == "path");
    in_path.fold(path.to_owned(), |path, parameter| {
        let braced = format!("{{{}}}", parameter.name);
        let value = parameter.example.as_str().unwrap_or_default();
        let replaced = operation.before.iter().any(|step| step.replaces == braced);
        if replaced {
            path
        } else {
            path.replace(&braced, value)
        }
    })
}

fn scope(operation: &Operation) -> String {
    let scopes = operation
        .security
        .iter()
        .flat_map(BTreeMap::values)
        .flatten();
    scopes.cloned().collect::<Vec<_>>().join(", ")
}

/// Its own codes, and the statuses of those that it shares with others.
fn errors(document: &Document, operation: &Operation) -> (Vec<Error>, String) {
    let mut shared = BTreeSet::new();
    let mut own = Vec::new();
    for (status, response) in &operation.responses {
        if !status.starts_with(['4', '5']) {
            continue;
        }
        let here: Vec<Error> = codes(status, response).collect();
        let (usual, special): (Vec<_>, Vec<_>) = here
            .into_iter()
            .partition(|error| is_shared(document, &error.code));
        if response.reference.is_some() || !usual.is_empty() {
            shared.insert(status.as_str());
        }
        own.extend(special);
    }
    let shared: Vec<&str> = shared.into_iter().collect();
    (own, shared.join(", "))
}

fn codes<'a>(status: &'a str, response: &'a Response) -> impl Iterator<Item = Error> + 'a {
    let contents = response.content.values();
    contents
        .flat_map(|content| &content.examples)
        .map(|(code, example)| Error {
            status: status.to_owned(),
            code: code.clone(),
            meaning: line(&example.summary),
        })
}

fn is_shared(document: &Document, code: &str) -> bool {
    let responses = document.components.responses.values();
    let mut contents = responses.flat_map(|response| response.content.values());
    contents.any(|content| content.examples.contains_key(code))
}

/// The codes that operations share, in order of status.
pub(super) fn shared_errors(document: &Document) -> Vec<Error> {
    // A shared answer is described wherever it is used, so that its status is known there.
    let mut statuses = BTreeMap::new();
    for methods in document.paths.values() {
        for operation in methods.values() {
            for (status, response) in &operation.responses {
                if let Some(reference) = &response.reference {
                    statuses.insert((status.as_str(), reference.as_str()), response);
                }
            }
        }
    }
    let shared = statuses.into_iter();
    shared
        .flat_map(|((status, _), response)| codes(status, document.response(response)))
        .collect()
}

/// The operational events, by what their payloads have in common.
pub(super) fn event_families(document: &Document) -> Vec<EventFamily> {
    let homes = Homes::new();
    let reader = Reader {
        document,
        homes: &homes,
    };
    let mut families: Vec<EventFamily> = Vec::new();
    for (name, methods) in &document.webhooks {
        let Some(operation) = methods.values().next() else {
            continue;
        };
        let content = operation
            .request_body
            .as_ref()
            .and_then(|body| body.content.values().next());
        let content = content.expect("every event has a payload");
        let family = content.schema.component().unwrap_or_default();
        let event = Event {
            name: name.clone(),
            says: line(&operation.summary),
        };
        match families.iter_mut().find(|known| known.name == family) {
            Some(known) => known.events.push(event),
            None => families.push(EventFamily {
                name: family.to_owned(),
                heading: heading(name),
                events: vec![event],
                rows: reader.fields(&content.schema),
                example: json_block(document, &content.schema, &content.example),
            }),
        }
    }
    families
}

/// What the types have in common that begin as `event_type` does.
fn heading(event_type: &str) -> String {
    let first = event_type.split('.').next().unwrap_or_default();
    let (initial, rest) = first.split_at_checked(1).unwrap_or_default();
    format!("{}{rest} events", initial.to_uppercase())
}
