//! The API's document against what the server takes and answers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::routes::{self, Face, Field, Kind, Route};
use super::{Want, World};
use crate::support::schema::{faults, resolve};

async fn document(world: &World) -> Value {
    world.app.get("/api/v1/openapi.json").await.ok(200).json()
}

fn operation<'a>(document: &'a Value, route: &Route) -> &'a Value {
    let below = route.path.strip_prefix("/api/v1").expect("the API");
    let operation = &document["paths"][below][route.method.to_lowercase()];
    assert!(operation.is_object(), "{route:?} is not described");
    operation
}

fn of_api() -> impl Iterator<Item = Route> {
    routes::all()
        .into_iter()
        .filter(|route| route.face() == Face::Api)
}

/// The schema of the request's object, if it reads one.
fn request<'a>(document: &'a Value, route: &Route) -> Option<&'a Value> {
    let body = operation(document, route).get("requestBody")?;
    let schema = &body["content"]["application/json"]["schema"];
    Some(resolve(document, schema))
}

#[tokio::test]
async fn the_fields_that_a_route_takes_are_those_described() {
    let world = World::start().await;
    let document = document(&world).await;
    for route in of_api() {
        let fields = route.fields();
        let taken: BTreeSet<&str> = fields.iter().map(|field| field.name).collect();
        let schema = request(&document, &route);
        assert_eq!(schema.is_some(), route.reads_json(), "{route:?}");
        let Some(schema) = schema else { continue };
        let properties = schema["properties"].as_object().expect("properties");
        let described: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(described, taken, "{route:?}");
        for field in fields {
            check_field(&route, schema, &field);
        }
    }
}

/// Stands where a value would be.
const HERE: &str = "here";

/// That the limits of a field, or of a place inside it, are those described.
fn check_field(route: &Route, schema: &Value, field: &Field) {
    let mut described = &schema["properties"][field.name];
    let mut required = schema["required"]
        .as_array()
        .is_some_and(|names| names.contains(&json!(field.name)));
    // A probe shows the way to the place inside.
    let mut probe = &(field.around)(json!(HERE));
    while probe != HERE {
        match probe {
            Value::Array(items) => {
                (described, probe) = (&described["items"], &items[0]);
                required = true;
            }
            Value::Object(inside) => {
                let leads = |(_, value): &(&String, &Value)| value.to_string().contains(HERE);
                let (name, value) = inside.iter().find(leads).expect("a way");
                let names = described["required"].as_array();
                required = names.is_some_and(|names| names.contains(&json!(name)));
                let known = described["properties"].get(name);
                // A map takes any name, and no null for its value.
                required |= known.is_none();
                described = known.unwrap_or(&described["additionalProperties"]);
                probe = value;
            }
            other => panic!("{route:?} {}: {other}", field.name),
        }
        if *described == true {
            // Any object: what is in it is not described.
            return;
        }
    }
    let place = format!("{} {} {field:?}: {described}", route.method, route.path);
    // What is required depends on other parts where none of the values is taken.
    let inside = (field.around)(json!(HERE)) != HERE;
    if !(inside && matches!(field.kind, Kind::Never)) {
        assert_eq!(required, !field.may_be_null, "{place}");
    }
    let of_type = |kind: &str| assert_eq!(described["type"], kind, "{place}");
    match field.kind {
        Kind::Text(min, max) => {
            of_type("string");
            let least = described["minLength"].as_u64().unwrap_or(0);
            let most = &described["maxLength"];
            assert_eq!((least, most), (min as u64, &json!(max)), "{place}");
        }
        Kind::Lines(max) | Kind::Prefix(max) => {
            of_type("string");
            assert_eq!(described["maxLength"], json!(max), "{place}");
        }
        Kind::Number(min, max) => {
            of_type("integer");
            assert_eq!(described["minimum"], json!(min), "{place}");
            // The world's event type has fewer examples than one may have.
            let fewer = field.name == "example";
            assert!(fewer || described["maximum"] == json!(max), "{place}");
        }
        Kind::Free(_) | Kind::Lax(_) | Kind::LocalPath | Kind::HeaderValue | Kind::Reference => {
            of_type("string");
        }
        Kind::Flag | Kind::Yes => of_type("boolean"),
        Kind::List | Kind::Examples => of_type("array"),
        Kind::Object | Kind::Settings => of_type("object"),
        Kind::Anything | Kind::Schema => assert_eq!(described.get("type"), None, "{place}"),
        Kind::Never => assert!(described.is_object(), "{place}"),
    }
}

#[tokio::test]
async fn queries_that_a_route_knows_are_described() {
    let world = World::start().await;
    let document = document(&world).await;
    for route in of_api() {
        let parameters = operation(&document, &route)["parameters"].as_array();
        let described: BTreeSet<&str> = parameters
            .into_iter()
            .flatten()
            .filter(|one| one["in"] == "query")
            .map(|one| one["name"].as_str().expect("a name"))
            .collect();
        // There, `before` goes by what it is the id of.
        let known: BTreeSet<&str> = route
            .queries()
            .iter()
            .map(|name| match *name {
                "message" | "attempt" | "received" | "request" | "audit" | "job" => "before",
                other => other,
            })
            .collect();
        let missing: Vec<_> = known.difference(&described).collect();
        assert!(missing.is_empty(), "{route:?}: {missing:?}");
        let responses = &operation(&document, &route)["responses"];
        let wrong = &responses["422"];
        assert_eq!(
            wrong.is_object(),
            !described.is_empty() || route.reads_json()
        );
        for name in described {
            let path = format!("{}?{name}=%00", world.path(&route));
            let wrong = world.app.request(route.method, &path).send().await;
            assert_eq!(wrong.status, 422, "{route:?}: ?{name} means nothing");
        }
    }
}

#[tokio::test]
async fn answers_are_what_is_described() {
    let mut world = World::start().await;
    let document = document(&world).await;
    let mut answers = 0;
    for route in of_api() {
        let ask = world.good_ask(&route);
        let told = world.ask("good", &route, &ask, &Want::Good).await;
        let told = told.expect("an answer");
        let responses = &operation(&document, &route)["responses"];
        let response = &responses[told.status.to_string()];
        assert!(
            response.is_object(),
            "{route:?}: {} is not described",
            told.status
        );
        let schema = &response["content"]["application/json"]["schema"];
        let answer = told.json().expect("JSON");
        let faults = faults(&document, schema, &answer);
        assert!(faults.is_empty(), "{route:?}: {faults:#?}");
        answers += 1;
    }
    assert_eq!(answers, hookpost::api::native::ROUTES.len());
    world.finish("described answers");
}

#[tokio::test]
async fn refusals_are_described() {
    let mut world = World::start().await;
    let document = document(&world).await;
    for route in of_api() {
        let good = world.good_ask(&route);
        let mut asks = vec![good.clone().without_key()];
        if route.reads_json() {
            asks.push(good.clone().body(super::Sent::Whole(b"{".to_vec())));
            asks.push(good.clone().json(&json!([])));
            asks.push(good.clone().header("content-encoding", "gzip"));
            asks.push(
                good.clone()
                    .body(super::Sent::Whole(vec![b' '; route.too_many_bytes()])),
            );
        }
        if route.method == "POST" {
            asks.push(good.clone().header("idempotency-key", ""));
        }
        for ask in asks {
            let any = Want::OneOf(&[400, 401, 413, 415, 422]);
            let told = world.ask("refusal", &route, &ask, &any).await;
            let told = told.expect("an answer");
            let responses = &operation(&document, &route)["responses"];
            let response = &responses[told.status.to_string()];
            let response = resolve(&document, response);
            let content = &response["content"]["application/problem+json"];
            let known = content["examples"].get(told.code());
            assert!(
                known.is_some(),
                "{route:?}: {} {}",
                told.status,
                told.code()
            );
            let problem = told.json().expect("JSON");
            let faults = faults(&document, &content["schema"], &problem);
            assert!(faults.is_empty(), "{route:?}: {faults:#?}");
        }
    }
    world.finish("described refusals");
}
