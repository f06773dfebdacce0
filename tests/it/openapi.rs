//! The document that describes the API: complete, right, and served to anybody.
//!
//! That requests and answers are what it says is in `hostile/documented.rs`,
//! which has a good request for every route.

use std::collections::BTreeSet;

use hookpost::api::document;
use hookpost::api::native::ROUTES;
use hookpost::domain::operational::TYPES;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::schema;

fn the_document() -> Value {
    let text = document("https://hooks.example").to_json().expect("JSON");
    serde_json::from_str(&text).expect("JSON")
}

/// Every operation: method, path, what is said of it.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            all.push((method.to_uppercase(), path.clone(), operation));
        }
    }
    all
}

#[test]
fn exactly_the_routes_that_there_are_are_described() {
    let document = the_document();
    let operations = operations(&document);
    let described: BTreeSet<(&str, &str)> = operations
        .iter()
        .map(|(method, path, _)| (method.as_str(), path.as_str()))
        .collect();
    let routes: BTreeSet<(&str, &str)> = ROUTES.iter().map(|route| (route.0, route.1)).collect();
    assert_eq!(described, routes);
    assert_eq!(operations.len(), ROUTES.len(), "none twice");
}

#[test]
fn each_operation_says_what_a_reader_needs() {
    let document = the_document();
    let tags = document["tags"].as_array().expect("tags");
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let place = format!("{method} {path}");
        let text = |name: &str| operation[name].as_str().unwrap_or_default().to_owned();
        assert!(ids.insert(text("operationId")), "{place}: its id is taken");
        assert!(!text("operationId").is_empty(), "{place}");
        let summary = text("summary");
        assert!(!summary.is_empty() && !summary.ends_with('.'), "{place}");
        let tag = &operation["tags"][0];
        assert!(tags.iter().any(|known| known["name"] == *tag), "{place}");
        let route = ROUTES
            .iter()
            .find(|route| route.0 == method && route.1 == path);
        let scope = route.expect("a route").2.name();
        assert_eq!(
            operation["security"],
            json!([{"apiKey": [scope]}]),
            "{place}"
        );
        let parameters = operation["parameters"].as_array().expect("parameters");
        let of_path: Vec<_> = parameters
            .iter()
            .filter(|one| one["in"] == "path")
            .map(|one| format!("{{{}}}", one["name"].as_str().expect("a name")))
            .collect();
        let wanted = path.split('/').filter(|part| part.starts_with('{'));
        assert_eq!(of_path, wanted.collect::<Vec<_>>(), "{place}");
        let key = parameters
            .iter()
            .any(|one| one["name"] == "Idempotency-Key");
        assert_eq!(key, method == "POST", "{place}");
    }
}

#[test]
fn every_field_and_parameter_is_explained() {
    fn explained(place: &str, schema: &Value, missing: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}.{name}");
            if !field["description"]
                .as_str()
                .is_some_and(|says| says.ends_with('.'))
            {
                missing.push(place.clone());
            }
            explained(&place, field, missing);
            explained(&place, &field["items"], missing);
        }
    }
    let document = the_document();
    let mut missing = Vec::new();
    for (name, schema) in document["components"]["schemas"]
        .as_object()
        .expect("schemas")
    {
        explained(name, schema, &mut missing);
    }
    for (method, path, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().expect("parameters") {
            if parameter["description"].as_str().is_none_or(str::is_empty) {
                missing.push(format!("{method} {path} {}", parameter["name"]));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn references_lead_somewhere_and_every_component_is_used() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    found.insert(reference.to_owned());
                }
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = the_document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let mut components = BTreeSet::new();
    for kind in ["schemas", "responses"] {
        for name in document["components"][kind]
            .as_object()
            .expect("some")
            .keys()
        {
            components.insert(format!("#/components/{kind}/{name}"));
        }
    }
    assert_eq!(found, components);
}

#[test]
fn examples_are_what_their_schemas_say() {
    let document = the_document();
    let mut examples = 0;
    let mut check = |place: &str, content: &Value| {
        for (kind, content) in content.as_object().into_iter().flatten() {
            let named = content["examples"].as_object().into_iter().flatten();
            let named = named.map(|(_, example)| &example["value"]);
            for example in content.get("example").into_iter().chain(named) {
                let faults = schema::faults(&document, &content["schema"], example);
                assert!(faults.is_empty(), "{place} {kind}: {faults:#?}");
                examples += 1;
            }
        }
    };
    for (method, path, operation) in operations(&document) {
        let place = format!("{method} {path}");
        check(&place, &operation["requestBody"]["content"]);
        for response in operation["responses"]
            .as_object()
            .expect("responses")
            .values()
        {
            check(&place, &schema::resolve(&document, response)["content"]);
        }
    }
    for (name, item) in document["webhooks"].as_object().expect("webhooks") {
        check(name, &item["post"]["requestBody"]["content"]);
    }
    assert!(examples > 50, "{examples}");
}

#[test]
fn every_operational_event_is_a_webhook() {
    let document = the_document();
    let webhooks = document["webhooks"].as_object().expect("webhooks");
    let described: BTreeSet<&str> = webhooks.keys().map(String::as_str).collect();
    let sent: BTreeSet<&str> = TYPES.iter().map(|(name, _)| *name).collect();
    assert_eq!(described, sent);
}

#[test]
fn the_document_reads_well() {
    let document = document("https://hooks.example");
    let text = document.to_pretty_json().expect("JSON");
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    insta::assert_snapshot!(
        "openapi",
        text.replace(&version, "\"version\": \"VERSION\"")
    );
}

#[tokio::test]
async fn anybody_may_read_it_from_any_page_and_keep_it() {
    let app = TestApp::start().await;
    let path = "/api/v1/openapi.json";
    let answer = app.request("GET", path).without_key().send().await.ok(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.json()["openapi"], "3.1.0");
    let server = format!("{}/api/v1", app.public_url);
    assert_eq!(answer.json()["servers"], json!([{"url": server}]));
    let tag = answer.header("etag").to_owned();
    let again = app.request("GET", path).header("if-none-match", &tag);
    let again = again.send().await.ok(304);
    assert_eq!((again.body.len(), again.header("etag")), (0, tag.as_str()));
    let head = app.request("HEAD", path).without_key().send().await.ok(200);
    assert_eq!(head.header("etag"), tag);
    app.request("POST", path).send().await.ok(405);
}
