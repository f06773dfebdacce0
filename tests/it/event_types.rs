//! Event types: described, found, imported, and their examples sent.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests do"
)]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hookpost::domain::event_type::Audience;
use hookpost::domain::ids::ApplicationKey;
use hookpost::domain::principal::Scope;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::app::{START, TestApp};
use crate::support::sink::{Seen, Sink};

const TYPES: &str = "/api/v1/event-types";
const IMPORTS: &str = "/api/v1/event-types/imports";

fn path_of(name: &str) -> String {
    format!("{TYPES}/{name}")
}

async fn names(app: &TestApp, query: &str) -> Vec<String> {
    let listed = app.get(&format!("{TYPES}{query}")).await.ok(200).items();
    let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
    listed.iter().map(name).collect()
}

/// The faults of a 422, each as "path: detail".
fn faults(problem: &Value) -> Vec<String> {
    let errors = problem["errors"].as_array().unwrap().iter();
    let text = |error: &Value, name: &str| error[name].as_str().unwrap().to_owned();
    errors
        .map(|error| format!("{}: {}", text(error, "path"), text(error, "detail")))
        .collect()
}

/// Posts `fields`, which are refused; the faults.
async fn refused(app: &TestApp, path: &str, fields: Value) -> Vec<String> {
    let before = app.store.dump();
    let problem = app.post(path, fields).await.ok(422).json();
    assert!(
        app.store.dump() == before,
        "what is refused leaves no trace"
    );
    faults(&problem)
}

fn sound(app: &TestApp) {
    let report = app.store.check().unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
}

#[tokio::test]
async fn a_type_is_made_shown_changed_archived_brought_back_and_deleted() {
    let app = TestApp::start().await;
    let schema = r#"{"type":"object",  "required":["id"], "properties":{"id":{"type":"string"}}}"#;
    let body = format!(
        r#"{{"name":"order.paid","description":"It is paid.\nIn full.","schema":{schema},"examples":[{{"id":"a"}},{{"id":  "b"}}]}}"#
    );
    let made = app.request("POST", TYPES).body(body).send().await.ok(201);
    assert!(made.text().contains(schema), "the schema stays as it came");
    assert!(made.text().contains(r#"{"id":  "b"}"#), "so do examples");
    let want = json!({
        "name": "order.paid",
        "description": "It is paid.\nIn full.",
        "schema": serde_json::from_str::<Value>(schema).unwrap(),
        "examples": [{"id": "a"}, {"id": "b"}],
        "applications": [],
        "forEveryone": true,
        "archived": false,
        "created": START.0,
        "updated": START.0,
    });
    assert_eq!(made.json(), want);
    let path = path_of("order.paid");
    assert_eq!(app.get(&path).await.ok(200).json(), want);
    let taken = app.post(TYPES, json!({"name": "order.paid"})).await.ok(409);
    assert_eq!(taken.json()["code"], "name_taken");

    app.advance(Duration::from_secs(1)).await;
    let nothing =
        json!({"description": null, "schema": null, "examples": null, "name": "order.paid"});
    let mut kept = app.put(&path, nothing).await.ok(200).json();
    assert_eq!(kept["updated"], START.0 + 1000);
    kept["updated"] = START.0.into();
    assert_eq!(kept, want);
    let renamed = app.put(&path, json!({"name": "order.done"})).await.ok(422);
    assert!(faults(&renamed.json())[0].starts_with("name: cannot be changed"));

    let archived = app.put(&path, json!({"archived": true})).await.ok(200);
    assert_eq!(archived.json()["archived"], true);
    assert_eq!(names(&app, "").await, [""; 0]);
    assert_eq!(names(&app, "?archived=true").await, ["order.paid"]);
    app.get(&path).await.ok(200);
    app.put(&path, json!({"archived": false})).await.ok(200);
    assert_eq!(names(&app, "?archived=false").await, ["order.paid"]);

    let cleared = json!({"description": "", "schema": {}, "examples": []});
    let cleared = app.put(&path, cleared).await.ok(200).json();
    assert_eq!(cleared["description"], "");
    assert_eq!(cleared["schema"], json!({}));
    assert_eq!(cleared["examples"], json!([]));

    sound(&app);
    assert_eq!(app.delete(&path).await.ok(200).json(), cleared);
    assert_eq!(app.get(&path).await.ok(404).text(), "");
    app.put(&path, json!({})).await.ok(404);
    app.delete(&path).await.ok(404);
    sound(&app);
    let application = app.application().await;
    app.message(&application, "order.paid", json!({})).await;
}

#[tokio::test]
async fn types_are_listed_by_name_and_page_by_page() {
    let app = TestApp::start().await;
    for name in ["b", "a.c", "a", "C", "a.b"] {
        app.post(TYPES, json!({"name": name})).await.ok(201);
    }
    assert_eq!(names(&app, "").await, ["C", "a", "a.b", "a.c", "b"]);
    assert_eq!(names(&app, "?page=2&pageSize=2").await, ["a.b", "a.c"]);
    assert_eq!(names(&app, "?page=4&pageSize=2").await, [""; 0]);
    let refused = app.get(&format!("{TYPES}?archived=both")).await.ok(422);
    assert!(faults(&refused.json())[0].starts_with("?archived: must be true or false"));
}

#[tokio::test]
async fn a_post_with_a_key_is_done_once() {
    let app = TestApp::start().await;
    for _ in 0..2 {
        let call = app.request("POST", TYPES).header("idempotency-key", "k");
        call.json(&json!({"name": "a.b"})).send().await.ok(201);
    }
    assert_eq!(names(&app, "").await, ["a.b"]);
}

#[tokio::test]
async fn what_a_type_cannot_have_is_named() {
    let app = TestApp::start().await;
    app.application().await;
    let big = json!({"description": "x".repeat(64 * 1024)});
    let big_example = json!("x".repeat(64 * 1024));
    let schema = |schema: Value| json!({"name": "a", "schema": schema});
    let draft_7 = "http://json-schema.org/draft-07/schema#";
    for (fields, want) in [
        (json!({}), "name: is missing"),
        (json!({"name": "a b"}), "name: must have only letters"),
        (
            json!({"name": "imports"}),
            "name: is a path of the API's own",
        ),
        (
            json!({"name": "a", "description": "x".repeat(2001)}),
            "description: must have at most",
        ),
        (
            json!({"name": "a", "examples": {}}),
            "examples: must be a list",
        ),
        (
            json!({"name": "a", "examples": [null]}),
            "examples[0]: must not be null",
        ),
        (
            json!({"name": "a", "examples": vec![1; 11]}),
            "examples: must have at most 10",
        ),
        (
            json!({"name": "a", "examples": [1, big_example]}),
            "examples[1]: must have at most 65536",
        ),
        (
            json!({"name": "a", "applications": ["nobody"]}),
            "applications[0]: is not the id or uid",
        ),
        (
            json!({"name": "a", "forEveryone": false}),
            "forEveryone: can only be false",
        ),
        (schema(json!([])), "schema: must be a JSON Schema"),
        (schema(json!("{}")), "schema: must be a JSON Schema"),
        (schema(big), "schema: must have at most 65536"),
        (schema(json!({"type": "text"})), "schema.type: "),
        (
            schema(json!({"properties": {"a": 1}})),
            "schema.properties.a: ",
        ),
        (
            schema(json!({"$schema": "https://a.example/"})),
            "schema.$schema: must be one of",
        ),
        (
            schema(json!({"$schema": draft_7, "type": 7})),
            "schema.type: ",
        ),
        (
            schema(json!({"$ref": "https://a.example/s"})),
            "schema.$ref: leads outside",
        ),
        (
            schema(json!({"items": {"$ref": "file:///etc/passwd"}})),
            "schema.items.$ref: leads outside",
        ),
        (
            schema(json!({"$ref": "#/$defs/a"})),
            "schema.$ref: leads to nothing",
        ),
        (schema(json!({"$ref": "#"})), "schema: comes back to itself"),
        (schema(json!({"pattern": "("})), "schema: "),
    ] {
        let found = refused(&app, TYPES, fields.clone()).await;
        assert!(found[0].starts_with(want), "{want}: {found:?}");
    }
    assert_eq!(app.dialler.dials(), 0, "nothing is fetched");
}

#[tokio::test]
async fn examples_fit_their_schema_whichever_of_them_comes_last() {
    let app = TestApp::start().await;
    let schema = json!({"properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let fields = json!({"name": "a", "schema": schema, "examples": [{"n": 1}, {"n": "x"}, {}]});
    let found = refused(&app, TYPES, fields).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("examples[1].n: was expected to be of type 'integer'"),
        "{found:?}"
    );
    assert_eq!(found[1], "examples[2].n: is missing");

    app.post(TYPES, json!({"name": "a", "examples": [{}]}))
        .await
        .ok(201);
    let path = path_of("a");
    let later = app
        .put(&path, json!({"schema": schema}))
        .await
        .ok(422)
        .json();
    assert_eq!(faults(&later), ["examples[0].n: is missing"]);
    let both = json!({"schema": schema, "examples": [{"n": 1}]});
    app.put(&path, both).await.ok(200);
    let later = app
        .put(&path, json!({"examples": [{"n": []}]}))
        .await
        .ok(422)
        .json();
    assert!(faults(&later)[0].starts_with("examples[0].n: "), "{later}");
    app.put(&path, json!({"schema": {}, "examples": [7]}))
        .await
        .ok(200);
    // Messages are not checked.
    let application = app.application().await;
    app.put(&path, json!({"schema": schema, "examples": []}))
        .await
        .ok(200);
    app.message(&application, "a", json!("anything")).await;
}

/// What somebody bound to `application` sees of a type.
fn seen(app: &TestApp, application: &str, name: &str) -> Option<Audience> {
    let application: ApplicationKey = app.store.ids().parse(application).unwrap();
    let scope = Scope {
        environment: app.store.default_environment(),
        application: Some(application),
    };
    let found = app.store.find_event_type(scope, name).unwrap();
    found.map(|found| found.audience)
}

#[tokio::test]
async fn a_type_is_for_those_it_names_and_for_nobody_when_they_are_gone() {
    let app = TestApp::start().await;
    let (one, other) = (app.application().await, app.application().await);
    let uid = json!({"name": "With a uid", "uid": "acme"});
    let acme = app.post("/api/v1/applications", uid).await.ok(201).id();
    let fields = json!({"name": "a", "applications": [other, "acme", other]});
    let made = app.post(TYPES, fields).await.ok(201).json();
    assert_eq!(made["applications"], json!([other, acme]));
    assert_eq!(made["forEveryone"], false);
    let key = |id: &str| app.store.ids().parse::<ApplicationKey>(id).unwrap();
    assert_eq!(seen(&app, &one, "a"), None);
    let alone = Audience::only(vec![key(&other)]);
    assert_eq!(seen(&app, &other, "a"), Some(alone));
    sound(&app);

    let path = path_of("a");
    for gone in [&other, &acme] {
        let deleted = app.delete(&format!("/api/v1/applications/{gone}")).await;
        deleted.ok(200);
        let shown = app.get(&path).await.ok(200).json();
        let left = shown["applications"].as_array().unwrap();
        assert!(!left.contains(&json!(gone)), "{shown}");
        sound(&app);
    }
    while app.store.sweep().await.unwrap() {}
    sound(&app);
    let shown = app.get(&path).await.ok(200).json();
    assert_eq!(
        (&shown["applications"], &shown["forEveryone"]),
        (&json!([]), &json!(false))
    );
    assert_eq!(seen(&app, &one, "a"), None, "it is not for everyone now");
    // Put back as it was shown, it stays so.
    let same = app.put(&path, shown.clone()).await.ok(200).json();
    assert_eq!(same["forEveryone"], false);
    assert_eq!(seen(&app, &one, "a"), None);
    let refused = app
        .put(&path, json!({"forEveryone": true, "applications": [one]}))
        .await;
    assert!(faults(&refused.ok(422).json())[0].starts_with("forEveryone: cannot be true"));
    app.put(&path, json!({"applications": []})).await.ok(200);
    assert_eq!(seen(&app, &one, "a"), Some(Audience::Everyone));
    app.put(&path, json!({"applications": [one]})).await.ok(200);
    app.put(&path, json!({"forEveryone": true})).await.ok(200);
    assert_eq!(seen(&app, &one, "a"), Some(Audience::Everyone));
    sound(&app);
}

#[tokio::test]
async fn an_environment_has_so_many_bytes_of_types_and_no_more() {
    let app = TestApp::start().await;
    let example = "x".repeat(64 * 1024 - 2);
    let examples = vec![example; 10];
    let mut made = 0;
    let full = loop {
        let name = format!("a{made}");
        let answer = app
            .post(TYPES, json!({"name": name, "examples": examples}))
            .await;
        if answer.status != 201 {
            break answer;
        }
        made += 1;
    };
    assert_eq!(made, 25, "16 MB");
    assert_eq!(full.ok(409).json()["code"], "event_types_full");
    let document = json!({"openapi": "3.1.0", "webhooks": {"b": {"post": {"requestBody": {
        "content": {"application/json": {"examples": {
            "a": {"value": examples[0]}, "b": {"value": examples[0]},
            "c": {"value": examples[0]}, "d": {"value": examples[0]},
            "e": {"value": examples[0]}, "f": {"value": examples[0]},
            "g": {"value": examples[0]},
        }}},
    }}}}});
    let full = app
        .post(IMPORTS, json!({"document": document}))
        .await
        .ok(409);
    assert_eq!(full.json()["code"], "event_types_full");
    app.put(&path_of("a0"), json!({"examples": []}))
        .await
        .ok(200);
    app.post(IMPORTS, json!({"document": document}))
        .await
        .ok(200);
    sound(&app);
}

/// As a shop would write it: shared components, a cycle, several bodies.
fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Shop", "version": "2"},
        "webhooks": {
            "order.paid": {"post": {
                "summary": "Paid",
                "description": "An order was paid.\n\nSent once.",
                "requestBody": {"$ref": "#/components/requestBodies/Order"},
                "responses": {"200": {"description": "Taken"}},
            }},
            "category.moved": {"$ref": "#/components/pathItems/Moved"},
            "ping": {"post": {"summary": "A sign of life"}},
        },
        "components": {
            "pathItems": {"Moved": {"post": {"requestBody": {"content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Category"}},
            }}}}},
            "requestBodies": {"Order": {"content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Order"},
                    "examples": {
                        "small": {"$ref": "#/components/examples/Small"},
                        "none": {"externalValue": "https://a.example/"},
                    },
                },
            }}},
            "examples": {"Small": {"value": {"id": "o1", "lines": [{"sku": "s", "count": 2}]}}},
            "schemas": {
                "Order": {
                    "type": "object",
                    "required": ["id"],
                    "properties": {
                        "id": {"type": "string"},
                        "lines": {"type": "array", "items": {"$ref": "#/components/schemas/Line"}},
                    },
                },
                "Line": {"properties": {
                    "sku": {"type": "string"},
                    "count": {"type": "integer", "minimum": 1},
                }},
                "Category": {
                    "properties": {
                        "name": {"type": "string"},
                        "parent": {"$ref": "#/components/schemas/Category"},
                    },
                    "example": {"name": "a", "parent": {"name": "b"}},
                },
                "Unused": {"$ref": "https://a.example/unused"},
            },
        },
    })
}

fn outcome(created: &[&str], updated: &[&str], unchanged: &[&str], archived: &[&str]) -> Value {
    json!({
        "created": created,
        "updated": updated,
        "unchanged": unchanged,
        "archived": archived,
        "errors": [],
    })
}

#[tokio::test]
async fn the_webhooks_of_a_document_become_types_that_stand_alone() {
    let app = TestApp::start().await;
    let body = json!({"document": document()});
    let all = ["order.paid", "category.moved", "ping"];
    let before = app.store.dump();
    let dry = app
        .post(&format!("{IMPORTS}?dryRun=true"), body.clone())
        .await
        .ok(200);
    assert_eq!(dry.json(), outcome(&all, &[], &[], &[]));
    assert!(app.store.dump() == before, "a dry run writes nothing");
    let done = app.post(IMPORTS, body.clone()).await.ok(200).json();
    assert_eq!(done, outcome(&all, &[], &[], &[]));

    let order = app.get(&path_of("order.paid")).await.ok(200).json();
    assert_eq!(order["description"], "An order was paid.\n\nSent once.");
    assert_eq!(order["forEveryone"], true);
    assert_eq!(
        order["examples"],
        json!([{"id": "o1", "lines": [{"sku": "s", "count": 2}]}])
    );
    let defs = order["schema"]["$defs"].as_object().unwrap();
    assert_eq!(defs.len(), 2, "{order}");
    assert_eq!(
        defs["Order"]["properties"]["lines"]["items"],
        json!({"$ref": "#/$defs/Line"})
    );
    let category = app.get(&path_of("category.moved")).await.ok(200).json();
    let parent = &category["schema"]["$defs"]["Category"]["properties"]["parent"];
    assert_eq!(parent, &json!({"$ref": "#/$defs/Category"}));
    assert_eq!(category["examples"].as_array().unwrap().len(), 1);
    let ping = app.get(&path_of("ping")).await.ok(200).json();
    assert_eq!(ping["description"], "A sign of life");
    assert_eq!(ping["schema"], json!({}));

    // The schema works: examples are checked against it.
    let wrong = json!({"examples": [{"id": "o", "lines": [{"count": 0}]}]});
    let wrong = app.put(&path_of("order.paid"), wrong).await.ok(422).json();
    assert!(
        faults(&wrong)[0].starts_with("examples[0].lines[0].count: "),
        "{wrong}"
    );
    let again = app.post(IMPORTS, body).await.ok(200).json();
    assert_eq!(again, outcome(&[], &[], &all, &[]));
    sound(&app);
}

#[tokio::test]
async fn an_import_updates_archives_and_brings_back() {
    let app = TestApp::start().await;
    let one = app.application().await;
    for name in ["ping", "own.type", "old.type"] {
        let fields = json!({"name": name, "applications": [one]});
        app.post(TYPES, fields).await.ok(201);
    }
    for name in ["ping", "old.type"] {
        app.put(&path_of(name), json!({"archived": true}))
            .await
            .ok(200);
    }
    let body = json!({"document": document(), "replaceAll": true});
    let want = outcome(
        &["order.paid", "category.moved"],
        &["ping"],
        &[],
        &["own.type"],
    );
    let dry = app
        .post(&format!("{IMPORTS}?dryRun=true"), body.clone())
        .await;
    assert_eq!(dry.ok(200).json(), want);
    app.advance(Duration::from_secs(1)).await;
    assert_eq!(app.post(IMPORTS, body.clone()).await.ok(200).json(), want);
    assert_eq!(
        names(&app, "").await,
        ["category.moved", "order.paid", "ping"]
    );
    assert_eq!(
        names(&app, "?archived=true").await,
        ["old.type", "own.type"]
    );
    let ping = app.get(&path_of("ping")).await.ok(200).json();
    assert_eq!(ping["applications"], json!([one]), "who sees it stays");
    assert_eq!(
        (&ping["created"], &ping["updated"]),
        (&json!(START.0), &json!(START.0 + 1000))
    );
    let again = app.post(IMPORTS, body).await.ok(200).json();
    assert_eq!(again["archived"], json!([]));
    sound(&app);
}

#[tokio::test]
async fn a_document_with_anything_wrong_changes_nothing() {
    let app = TestApp::start().await;
    let mut wrong = document();
    wrong["webhooks"]["order paid"] = json!({"post": {}});
    wrong["webhooks"]["get"] = json!({"get": {}});
    wrong["webhooks"]["lost"] = json!({"post": {"requestBody": {"content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/None"}},
    }}}});
    let found = refused(&app, IMPORTS, json!({"document": wrong})).await;
    let schema = "document.webhooks.lost.post.requestBody.content[\"application/json\"].schema";
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("document.webhooks[\"order paid\"]: must have only"));
    assert!(found[1].starts_with("document.webhooks.get.post: is missing"));
    assert_eq!(
        found[2],
        format!("{schema}.$ref: leads to nothing in the document")
    );

    let mut wrong = document();
    wrong["components"]["examples"]["Small"]["value"]["lines"][0]["count"] = 0.into();
    wrong["components"]["schemas"]["Category"]["properties"]["name"]["type"] = "words".into();
    let found = refused(&app, IMPORTS, json!({"document": wrong})).await;
    let body = "document.webhooks[\"order.paid\"].post.requestBody.content[\"application/json\"]";
    let place = format!("{body}.examples.small.value.lines[0].count: ");
    assert!(found[0].starts_with(&place), "{found:?}");
    assert!(
        found[1].contains("$defs.Category.properties.name.type: "),
        "{found:?}"
    );

    for (body, want) in [
        (json!({}), "document: is missing"),
        (json!({"document": "openapi: 3.1.0"}), "document: must be"),
        (
            json!({"document": {"openapi": "2.0"}}),
            "document.openapi: must be",
        ),
        (
            json!({"document": document(), "replaceAll": 1}),
            "replaceAll: must be",
        ),
    ] {
        let found = refused(&app, IMPORTS, body).await;
        assert!(found[0].starts_with(want), "{want}: {found:?}");
    }
    let many: serde_json::Map<_, _> = (0..1001)
        .map(|n| (format!("a{n}"), json!({"post": {}})))
        .collect();
    let many = json!({"document": {"openapi": "3.1.0", "webhooks": many}});
    let found = refused(&app, IMPORTS, many).await;
    assert_eq!(
        found,
        ["document.webhooks: must have at most 1000 webhooks"]
    );
    let large = json!({"document": {"openapi": "3.1.0", "x": "x".repeat(1_000_000)}});
    app.post(IMPORTS, large).await.ok(413);
    assert_eq!(names(&app, "").await, [""; 0]);
}

#[tokio::test]
async fn an_import_with_a_key_is_done_once_and_a_dry_run_uses_no_key() {
    let app = TestApp::start().await;
    let body = json!({"document": document()});
    let keyed = async |path: &str| {
        let call = app.request("POST", path).header("idempotency-key", "k");
        call.json(&body).send().await.ok(200).json()
    };
    let dry = keyed(&format!("{IMPORTS}?dryRun=true")).await;
    let done = keyed(IMPORTS).await;
    assert_eq!(dry, done);
    assert_eq!(keyed(IMPORTS).await, done);
    assert_eq!(names(&app, "").await.len(), 3);
}

/// Whether a request bears the signature of the secret whose key is shown so.
fn is_signed(key: &str, request: &Seen) -> bool {
    let key = STANDARD
        .decode(key.strip_prefix("whsec_").unwrap())
        .unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    for part in ["webhook-id", "webhook-timestamp"] {
        mac.update(request.header(part).as_bytes());
        mac.update(b".");
    }
    mac.update(&request.body);
    let want = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    request.header("webhook-signature") == want
}

#[tokio::test]
async fn an_example_is_sent_to_one_endpoint_signed_like_any_message() {
    let app = TestApp::start().await;
    let (sink, other) = (Sink::start([]).await, Sink::start([]).await);
    let application = app.application().await;
    let fields = json!({"eventTypes": ["never.this"], "channels": ["none"]});
    let endpoint = app.endpoint(&application, &sink.url(), fields).await;
    app.endpoint(&application, &other.url(), json!({})).await;
    let body = r#"{"name":"order.paid","examples":[{"id":  1}, [2]]}"#;
    app.request("POST", TYPES).body(body).send().await.ok(201);
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}");
    let examples = format!("{path}/examples");
    let sent = app
        .post(&examples, json!({"eventType": "order.paid"}))
        .await
        .ok(202);
    assert!(sent.text().contains(r#"{"id":  1}"#), "{}", sent.text());
    let request = sink.wait_for(1).await.remove(0);
    assert_eq!(request.body, r#"{"id":  1}"#);
    assert_eq!(request.header("webhook-id"), sent.id());
    let secret = app.get(&format!("{path}/secret")).await.ok(200).json();
    assert!(is_signed(secret["key"].as_str().unwrap(), &request));
    app.stands(&application, &sent.id(), "success", 1).await;
    assert_eq!(other.count(), 0);
    let shown = format!("/api/v1/applications/{application}/messages/{}", sent.id());
    assert_eq!(
        app.get(&shown).await.ok(200).json()["eventType"],
        "order.paid"
    );

    let second = json!({"eventType": "order.paid", "example": 1});
    app.post(&examples, second).await.ok(202);
    assert_eq!(sink.wait_for(2).await[1].body, "[2]");
    app.idle().await;
}

#[tokio::test]
async fn an_example_that_cannot_be_sent_says_what_to_do() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let (application, stranger) = (app.application().await, app.application().await);
    let endpoint = app.endpoint(&application, &sink.url(), json!({})).await;
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}");
    let examples = format!("{path}/examples");
    for fields in [
        json!({"name": "bare"}),
        json!({"name": "one", "examples": [1]}),
        json!({"name": "not.ours", "examples": [1], "applications": [stranger]}),
    ] {
        app.post(TYPES, fields).await.ok(201);
    }
    for (fields, want) in [
        (json!({}), "eventType: is missing"),
        (
            json!({"eventType": "none"}),
            "eventType: is not an event type that this application sees; register it",
        ),
        (
            json!({"eventType": "not.ours"}),
            "eventType: is not an event type that this application sees; register it",
        ),
        (
            json!({"eventType": "bare"}),
            "eventType: has no example; give it one",
        ),
        (
            json!({"eventType": "one", "example": 1}),
            "example: must be from 0 to 0",
        ),
        (
            json!({"eventType": "one", "example": 10}),
            "example: must be a whole number",
        ),
    ] {
        let found = refused(&app, &examples, fields).await;
        assert!(found[0].starts_with(want), "{want}: {found:?}");
    }
    let one = json!({"eventType": "one"});
    app.put(&path, json!({"paused": true})).await.ok(200);
    app.post(&examples, one.clone()).await.ok(202);
    app.put(&path, json!({"enabled": false})).await.ok(200);
    let before = app.store.dump();
    let disabled = app.post(&examples, one.clone()).await.ok(409).json();
    assert_eq!(disabled["code"], "endpoint_disabled");
    assert!(app.store.dump() == before);
    let foreign = format!("/api/v1/applications/{stranger}/endpoints/{endpoint}/examples");
    app.post(&foreign, one).await.ok(404);
    assert_eq!(sink.count(), 0);
}
