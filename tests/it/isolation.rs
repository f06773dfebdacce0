//! A key of one application, or of one environment, reaches nothing of
//! another; and a key does what its scopes say. Every route is tried: the
//! requests are made from the table of routes, and one without a case fails.

use std::collections::BTreeSet;
use std::time::Duration;

use hookpost::api::native::ROUTES;
use hookpost::domain::principal::{Capabilities, Capability};
use serde_json::{Value, json};

use crate::hostile::routes::{self, Face, Route};
use crate::support::app::{Answer, KEY, TestApp};
use crate::support::sink::{Sink, silent_url};

/// One of each thing, by every name that it has.
#[derive(Clone, Default)]
struct Place {
    app: Vec<String>,
    ep: Vec<String>,
    msg: Vec<String>,
    atmpt: Vec<String>,
    token: Vec<String>,
    key: Vec<String>,
    env: Vec<String>,
    audit: Vec<String>,
    job: Vec<String>,
    /// An event type that is for its application alone.
    req: Vec<String>,
    /// A source of the application, by id and slug.
    src: Vec<String>,
    /// What came to the source, and to the inbox.
    rcv: Vec<String>,
    record: Vec<String>,
    event_type: Vec<String>,
    /// What is in all its texts and in nothing else.
    canary: String,
}

impl Place {
    fn names(&self, param: &str) -> &[String] {
        match param {
            "{app}" => &self.app,
            "{ep}" => &self.ep,
            "{msg}" => &self.msg,
            "{atmpt}" => &self.atmpt,
            "{token}" => &self.token,
            "{key}" => &self.key,
            "{env}" => &self.env,
            "{job}" => &self.job,
            "{req}" => &self.req,
            "{src}" => &self.src,
            "{rcv}" => &self.rcv,
            "{record}" => &self.record,
            "{name}" => &self.event_type,
            other => panic!("{other} has no case among the requests to another's things"),
        }
    }

    /// What no answer to anybody else may have in it.
    fn canaries(&self) -> BTreeSet<&str> {
        let ids = [
            &self.app,
            &self.ep,
            &self.msg,
            &self.atmpt,
            &self.token,
            &self.key,
            &self.env,
            &self.audit,
            &self.job,
            &self.req,
            &self.src,
            &self.rcv,
            &self.record,
        ];
        let ids = ids.into_iter().flatten().map(String::as_str);
        // Every environment has one of this name.
        let own = ids.filter(|name| *name != OPERATIONAL);
        own.chain([self.canary.as_str()]).collect()
    }
}

const OPERATIONAL: &str = "operational-events";

async fn ask(app: &TestApp, key: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let call = app.request(method, &format!("/api/v1{path}"));
    let call = call.header("authorization", key);
    match body {
        Some(body) => call.json(body).send().await,
        None => call.send().await,
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Makes a place that `key` sees: an application with an endpoint, and a
/// delivered message; an inbox with something in it; an API key of it; a job
/// that has ended; an event type.
async fn place(app: &TestApp, key: &str, canary: &str) -> Place {
    let post = async |path: &str, body: Value| {
        let made = ask(app, key, "POST", path, Some(&body)).await;
        assert!((200..300).contains(&made.status), "{}", made.text());
        made.json()
    };
    let get = async |path: &str| ask(app, key, "GET", path, None).await.ok(200).items();
    let uid = |what: &str| format!("{canary}-{what}");
    let made = json!({"name": uid("name"), "uid": uid("app")});
    let application = text(&post("/applications", made).await["id"]);
    let below = format!("/applications/{application}");
    let verification =
        json!({"preset": "static-header", "header": "x-s", "secrets": [uid("secret")]});
    let made = json!({
        "name": uid("source"), "application": application, "slug": uid("source").to_lowercase(),
        "verification": verification, "record": {"key": "a"},
    });
    let source = post("/sources", made).await;
    let into = app.request("POST", &format!("/in/{}", text(&source["slug"])));
    let event = json!({"a": uid("record")}).to_string();
    let kept = into
        .without_key()
        .header("x-s", &uid("secret"))
        .body(event)
        .send()
        .await;
    assert_eq!(kept.status, 200);
    let log = get(&format!("/sources/{}/received", text(&source["id"]))).await;
    let made = json!({
        "url": silent_url(), "uid": uid("asked"), "signatures": [{"scheme": "optech"}],
    });
    post(&format!("{below}/endpoints"), made).await;
    let made = json!({"key": uid("question"), "wait": false});
    let request = post(&format!("{below}/requests"), made).await;
    let sink = Sink::start([]).await;
    let made = json!({
        "url": format!("{}/{canary}", sink.url()), "uid": uid("ep"), "description": uid("about"),
        "secrets": [uid("secret")], "metadata": {"x": uid("metadata")},
    });
    let endpoint = text(&post(&format!("{below}/endpoints"), made).await["id"]);
    let made = json!({"eventType": "a.b", "payload": {"x": uid("payload")}, "uid": uid("msg")});
    let message = text(&post(&format!("{below}/messages"), made).await["id"]);
    let attempts = format!("{below}/messages/{message}/attempts");
    let attempt = app
        .until("it is delivered", async || get(&attempts).await.pop())
        .await;
    let made = post("/inboxes", json!({"name": uid("inbox")})).await;
    let token = text(&made["token"]);
    let into = app.request("POST", &format!("/in/{token}/"));
    let kept = into.without_key().body(uid("received")).send().await;
    assert_eq!(kept.status, 200);
    let received = get(&format!("/inboxes/{token}/received")).await;
    let made = json!({"name": uid("key"), "application": application, "scopes": ["read"]});
    let api_key = text(&post("/keys", made).await["id"]);
    let made = json!({
        "name": uid("type"), "description": uid("about"), "applications": [application],
    });
    post("/event-types", made).await;
    let recoveries = format!("{below}/endpoints/{endpoint}/recoveries");
    let job = text(&post(&recoveries, json!({"since": 0})).await["id"]);
    app.until("the job has ended", async || {
        app.advance(Duration::from_millis(10)).await;
        let shown = ask(app, key, "GET", &format!("/jobs/{job}"), None).await;
        (shown.ok(200).json()["state"] == "finished").then_some(())
    })
    .await;
    // It is in the log, and so the log has an entry.
    let secret = format!("{below}/endpoints/{endpoint}/secret");
    ask(app, key, "GET", &secret, None).await.ok(200);
    let audit = get("/audit?pageSize=1").await;
    Place {
        app: vec![application, uid("app")],
        ep: vec![endpoint, uid("ep")],
        msg: vec![message, uid("msg")],
        atmpt: vec![text(&attempt["id"])],
        token: vec![token],
        key: vec![api_key],
        env: Vec::new(),
        audit: vec![text(&audit[0]["id"])],
        job: vec![job],
        req: vec![text(&request["id"])],
        src: vec![text(&source["id"]), text(&source["slug"])],
        rcv: vec![text(&log[0]["id"]), text(&received[0]["id"])],
        record: vec![uid("record")],
        event_type: vec![uid("type")],
        canary: canary.to_owned(),
    }
}

/// Makes a key; its text.
async fn key(app: &TestApp, body: Value) -> String {
    let made = app.post("/api/v1/keys", body).await.ok(201).json();
    text(&made["key"])
}

/// Makes an environment and a key that sees all in it: the names of the
/// environment, and the key's text.
async fn environment(app: &TestApp, name: &str) -> (Vec<String>, String) {
    let made = app.post("/api/v1/environments", json!({"name": name}));
    let id = made.await.ok(201).id();
    let key = key(app, json!({"environment": id})).await;
    (vec![id, name.to_owned()], key)
}

fn api_routes() -> Vec<Route> {
    let all = routes::all().into_iter();
    let api: Vec<_> = all.filter(|route| route.face() == Face::Api).collect();
    assert_eq!(api.len(), ROUTES.len());
    api
}

fn needs(route: &Route) -> Capability {
    let of_it = |(method, path, _): &&(&str, &str, Capability)| {
        *method == route.method && format!("/api/v1{path}") == route.path
    };
    ROUTES.iter().find(of_it).expect("a route of the table").2
}

/// The paths of a route that name something of `other`'s: one parameter at a
/// time beside `own`'s, and all of them.
fn paths(route: &Route, own: &Place, other: &Place) -> BTreeSet<String> {
    let params = route.params();
    let mut paths = BTreeSet::new();
    for (at, param) in params.iter().enumerate() {
        for foreign in other.names(param) {
            let mut path = route.path.replace(param, foreign);
            for (n, rest) in params.iter().enumerate().filter(|(n, _)| *n != at) {
                // An environment's key has no environment of its own to name.
                let own = own.names(rest).first().cloned().unwrap_or_default();
                path = path.replace(params[n].as_str(), &own);
            }
            paths.insert(path);
            let mut all = route.path.replace(param, foreign);
            for rest in &params {
                all = all.replace(rest.as_str(), &other.names(rest)[0]);
            }
            paths.insert(all);
        }
    }
    let below = |path: String| path["/api/v1".len()..].to_owned();
    paths.into_iter().map(below).collect()
}

/// The path with `own`'s names in it.
fn own_path(route: &Route, own: &Place) -> Option<String> {
    let mut path = route.path["/api/v1".len()..].to_owned();
    for param in route.params() {
        let names = own.names(&param);
        let of_inbox = param == "{rcv}" && path.starts_with("/inboxes/");
        let name = if of_inbox {
            names.last()?
        } else {
            names.first()?
        };
        path = path.replace(&param, name);
    }
    Some(path)
}

/// Bodies that name something of `other`'s, for a request to what is one's own.
/// A uid may be used again in another environment.
///
/// A new route that reads a body needs an arm here, be it an empty one.
fn bodies(route: &Route, other: &Place, one_environment: bool) -> Vec<Value> {
    let below = &route.path["/api/v1".len()..];
    match (route.method, below) {
        ("POST", "/keys") => {
            let applications = other.app.iter().map(|name| json!({"application": name}));
            let environments = other.env.iter().map(|name| json!({"environment": name}));
            applications.chain(environments).collect()
        }
        ("POST", "/event-types") => {
            let applications = other.app.iter().take(2);
            let mut bodies: Vec<_> = applications
                .map(|name| json!({"name": "new", "applications": [name]}))
                .collect();
            let taken = other.event_type.iter().filter(|_| one_environment);
            bodies.extend(taken.map(|name| json!({"name": name})));
            bodies
        }
        ("PUT", "/event-types/{name}") => {
            let applications = other.app.iter().take(2);
            applications
                .map(|name| json!({"applications": [name]}))
                .collect()
        }
        ("POST", "/applications/{app}/endpoints/{ep}/examples") => {
            vec![json!({"eventType": other.event_type[0]})]
        }
        ("POST", "/sources") => {
            let open = json!({"preset": "none"});
            let applications = other.app.iter().take(1);
            applications
                .map(|name| json!({"application": name, "verification": open}))
                .collect()
        }
        ("PUT", "/applications/{app}") if one_environment => vec![json!({"uid": other.app[1]})],
        // Nothing in them is anybody's id.
        (
            "POST",
            "/applications"
            | "/inboxes"
            | "/environments"
            | "/sources/{src}/received/{rcv}/verifications"
            | "/inboxes/{token}/received/{rcv}/replays"
            | "/applications/{app}/endpoints"
            | "/applications/{app}/messages"
            | "/applications/{app}/messages/batch"
            | "/applications/{app}/requests"
            | "/applications/{app}/endpoints/{ep}/secret/rotations"
            | "/applications/{app}/endpoints/{ep}/recoveries"
            | "/applications/{app}/endpoints/{ep}/backfills"
            | "/applications/{app}/endpoints/{ep}/replays"
            | "/applications/{app}/portal-links"
            | "/event-types/imports",
        )
        | (
            "PUT",
            "/applications/{app}"
            | "/applications/{app}/endpoints/{ep}"
            | "/inboxes/{token}"
            | "/jobs/{job}"
            | "/sources/{src}"
            | "/keys/{key}"
            | "/environments/{env}",
        ) => Vec::new(),
        _ if !route.reads_json() => Vec::new(),
        other => panic!("{other:?} has no case among the bodies that name another's things"),
    }
}

/// Queries that name something of `other`'s, or ask for all there is.
fn queries(route: &Route, own: &Place, other: &Place) -> Vec<String> {
    let known = route.queries();
    let before =
        |ids: &[String]| -> Vec<String> { ids.iter().map(|id| format!("?before={id}")).collect() };
    let mut queries = vec![String::new()];
    for name in known {
        match *name {
            "message" => queries.extend(before(&other.msg[..1])),
            "attempt" => queries.extend(before(&other.atmpt)),
            "received" => queries.extend(before(&other.rcv)),
            "request" => queries.extend(before(&other.req)),
            "audit" => queries.extend(before(&other.audit)),
            "job" => queries.extend(before(&other.job)),
            "application" => {
                queries.extend(other.app.iter().map(|id| format!("?application={id}")));
            }
            "endpoint" => queries.extend(other.ep.iter().map(|id| format!("?endpoint={id}"))),
            // From what is one's own on, past what is another's.
            "after" if known.contains(&"wait") => {
                let own = own.msg.iter().take(1).chain(&own.atmpt);
                queries.extend(own.map(|id| format!("?after={id}")));
            }
            "archived" => queries.push("?archived=true".to_owned()),
            "page" => queries.push("?page=1&pageSize=250".to_owned()),
            _ => {}
        }
    }
    queries
}

/// Who asks, and what for.
struct Trial<'a> {
    app: &'a TestApp,
    key: &'a str,
    own: &'a Place,
    other: &'a Place,
    /// The key sees one application only.
    bound: bool,
    asked: usize,
}

impl Trial<'_> {
    /// Asks; the answer must have nothing of the other's, and a refusal must
    /// leave no trace.
    async fn ask(&mut self, route: &Route, path: &str, body: Option<&Value>) -> Answer {
        self.asked += 1;
        let before = self.app.store.dump();
        let answer = ask(self.app, self.key, route.method, path, body).await;
        let head = format!("{:?}", answer.headers);
        let shown = format!("{head} {}", answer.text());
        let what = format!(
            "{} {path} {body:?}: {} {shown}",
            route.method, answer.status
        );
        for canary in self.other.canaries() {
            // What the caller sent may come back in the link to the next page.
            assert!(!shown.contains(canary), "{canary} is in {what}");
        }
        if answer.status >= 400 || !route.writes() {
            assert!(self.app.store.dump() == before, "it left a trace: {what}");
        }
        answer
    }

    async fn all(&mut self) {
        for route in api_routes() {
            self.paths_of_others(&route).await;
            self.bodies_and_queries(&route).await;
        }
    }

    async fn paths_of_others(&mut self, route: &Route) {
        let want = match needs(route) {
            Capability::Environments => 403,
            _ => 404,
        };
        for path in paths(route, self.own, self.other) {
            let body = route.good_body();
            let answer = self.ask(route, &path, body.as_ref()).await;
            let what = format!("{} {path}: {}", route.method, answer.text());
            assert_eq!(answer.status, want, "{what}");
            if route.is_of_one_thing() && want == 404 {
                assert_eq!(answer.text(), "", "{what}");
            }
        }
    }

    async fn bodies_and_queries(&mut self, route: &Route) {
        let Some(path) = own_path(route, self.own) else {
            return;
        };
        for body in bodies(route, self.other, self.bound) {
            let answer = self.ask(route, &path, Some(&body)).await;
            assert!(answer.status >= 400, "{} {path} {body}", route.method);
        }
        // What has no name in its path belongs to the environment.
        if route.method != "GET" {
            if self.bound && route.params().is_empty() {
                let body = route.good_body();
                let answer = self.ask(route, &path, body.as_ref()).await;
                assert!(
                    // 422: the application that a source is to be of is not seen.
                    [403, 404, 422].contains(&answer.status),
                    "{} {path}",
                    route.method
                );
            }
            return;
        }
        for query in queries(route, self.own, self.other) {
            self.ask(route, &format!("{path}{query}"), None).await;
        }
    }
}

#[tokio::test]
async fn a_key_of_one_application_reaches_nothing_of_another() {
    let app = TestApp::start().await;
    let own = place(&app, KEY, "canary-own").await;
    let mut other = place(&app, KEY, "canary-other").await;
    // What belongs to the environment is not the application's either; nor is
    // the application that is told what happens to all of them.
    let environments = app.get("/api/v1/environments").await.ok(200).items();
    other.env = vec![text(&environments[0]["id"])];
    other.app.push(OPERATIONAL.to_owned());
    let scopes = [
        "read",
        "messages:write",
        "endpoints:write",
        "secrets",
        "admin",
    ];
    let bound = key(&app, json!({"application": own.app[0], "scopes": scopes})).await;
    let alone = Place {
        token: Vec::new(),
        key: Vec::new(),
        env: Vec::new(),
        ..own.clone()
    };
    let mut trial = Trial {
        app: &app,
        key: &bound,
        own: &alone,
        other: &other,
        bound: true,
        asked: 0,
    };
    trial.all().await;
    eprintln!("requests to another application's things: {}", trial.asked);
    everything_is_found(&app, &bound, &alone).await;
    // Even of the inboxes and keys that would be its own if it saw more.
    for path in ["/keys", "/inboxes"] {
        let answer = ask(&app, &bound, "GET", path, None).await;
        assert!(!answer.text().contains("canary"), "{path}");
    }
}

#[tokio::test]
async fn a_key_of_one_environment_reaches_nothing_of_another() {
    let app = TestApp::start().await;
    let (_, own_key) = environment(&app, "canary-own-env").await;
    let (names, other_key) = environment(&app, "canary-other-env").await;
    let own = place(&app, &own_key, "canary-own").await;
    let mut other = place(&app, &other_key, "canary-other").await;
    other.env = names;
    let mut trial = Trial {
        app: &app,
        key: &own_key,
        own: &own,
        other: &other,
        bound: false,
        asked: 0,
    };
    trial.all().await;
    eprintln!("requests to another environment's things: {}", trial.asked);
    everything_is_found(&app, &own_key, &own).await;
    // Nor does the first environment's key, which may do everything.
    trial.key = KEY;
    for route in api_routes() {
        if needs(&route) != Capability::Environments {
            trial.paths_of_others(&route).await;
        }
    }
}

/// The control: the same requests find what is the caller's own.
async fn everything_is_found(app: &TestApp, key: &str, own: &Place) {
    let mut shown = 0;
    for route in api_routes() {
        let path = own_path(&route, own).filter(|_| route.method == "GET");
        let Some(path) = path.filter(|_| !route.params().is_empty()) else {
            continue;
        };
        let answer = ask(app, key, "GET", &path, None).await.ok(200);
        shown += usize::from(answer.text().contains(&own.canary));
    }
    assert!(shown >= 8, "{shown} answers show what is there");
}

#[test]
#[should_panic(expected = "has no case among the requests to another's things")]
fn a_parameter_without_a_case_is_noticed() {
    Place::default().names("{thing}");
}

#[test]
#[should_panic(expected = "has no case among the hostile requests")]
fn a_route_without_a_case_is_noticed() {
    let route = Route {
        method: "POST",
        path: "/api/v1/applications/{app}/things".to_owned(),
    };
    bodies(&route, &Place::default(), true);
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_and_nothing_else() {
    let app = TestApp::start().await;
    let mut refused = 0;
    for capability in Capability::ALL {
        let name = capability.name();
        let text = key(&app, json!({"name": name, "scopes": [name]})).await;
        let held = Capabilities::of(&[capability]);
        for (method, path, wanted) in ROUTES {
            let path = path.replace(['{', '}'], "");
            let answer = ask(&app, &text, method, &path, None).await;
            let forbidden = answer.status == 403;
            let what = format!(
                "{name}: {method} {path}: {} {}",
                answer.status,
                answer.text()
            );
            assert_eq!(forbidden, !held.allow(*wanted), "{what}");
            if forbidden {
                refused += 1;
                let problem = answer.json();
                assert_eq!(problem["code"], json!("forbidden"), "{what}");
                let detail = problem["detail"].as_str().expect("a text");
                assert!(detail.contains(&format!("`{}`", wanted.name())), "{what}");
            }
        }
    }
    eprintln!("requests beyond a key's scopes: {refused} refused");
    assert!(refused > ROUTES.len());
}
