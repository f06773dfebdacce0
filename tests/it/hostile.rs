//! Hostile requests to every route: each refused in the documented form, and
//! none of the refused ones leaves a trace in the store.
//!
//! The cases are made from the table of routes, so that a new route is
//! attacked too, or fails here. Each test varies one thing in otherwise good
//! requests; time stands still, so that nothing else changes the store.

mod client;
mod documented;
pub(crate) mod routes;

use hookpost::domain::ids::{ApplicationKey, Ids, Key as _};
use hookpost::domain::principal::{Principal, Scope};
use hookpost::domain::secret::Secret;
use hookpost::domain::time::Timestamp;
use hookpost::http::assets;
use serde_json::{Value, json};

use self::client::{Ask, Sent, Told};
use self::routes::{
    ASKED, EVENT_TYPE, EVENT_TYPE_SENT, Face, Kind, READ_ONLY, READ_ONLY_OF_JOBS, Route,
    SOURCES_APP,
};
use crate::support::app::{KEY, Options, TestApp};
use crate::support::sink::{Reply, Sink};

const PAYLOAD_BYTES_MAX: usize = 300_000;

type Dump = Vec<(&'static str, Vec<u8>, Vec<u8>)>;

/// What an answer has to be.
#[derive(Clone, Debug)]
enum Want {
    /// Below 400.
    Good,
    /// This status.
    Is(u16),
    /// This status and code.
    Code(u16, &'static str),
    /// 422 for this field.
    Wrong(String),
    /// Good, or the uid is taken.
    GoodOrTaken,
    /// One of these; the answer may be missing when 0 is among them.
    OneOf(&'static [u16]),
}

/// A server with one of each thing, and what has been asked of it.
struct World {
    app: TestApp,
    /// Of the application with endpoints, and of the one with messages.
    endpoints: Place,
    messages: Place,
    inbox: Inbox,
    source: Source,
    request: String,
    /// Answers requests, at once.
    asked: Sink,
    /// An API key and an environment that nothing depends on.
    key: String,
    env: String,
    revoked: String,
    before: Dump,
    requests: usize,
    refusals: usize,
    /// What was not as it should be.
    faults: Vec<String>,
}

/// Ids by which the parameters of a path are filled in.
#[derive(Clone, Default)]
struct Place {
    app: String,
    ep: String,
    msg: String,
    atmpt: String,
    job: String,
}

/// A source with something that it accepted, and something that it did not.
#[derive(Clone, Default)]
struct Source {
    src: String,
    rcv: String,
}

/// An inbox with something in it.
#[derive(Clone, Default)]
struct Inbox {
    token: String,
    rcv: String,
}

/// The key of the source's record.
const RECORD: &str = "r-1";

impl World {
    async fn start() -> Self {
        let options = Options {
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            ..Options::default()
        };
        let app = TestApp::start_with(options).await;
        let revoked = "revoked-key-0123456789abcdef0123456789".to_owned();
        let text = Secret::new(revoked.clone());
        let environment = app.store.default_environment();
        let made = app
            .store
            .create_api_key(environment, "revoked".to_owned(), &text);
        let key = made.await.expect("a key can be made").key;
        let operator = Principal::operator(Scope::of_environment(environment));
        let done = app.store.revoke_api_key(operator, key).await;
        done.expect("it is there");
        let mut world = Self {
            endpoints: Place::default(),
            messages: Place::default(),
            inbox: Inbox::default(),
            source: Source::default(),
            request: String::new(),
            asked: Sink::start([]).await,
            key: String::new(),
            env: String::new(),
            revoked,
            before: Vec::new(),
            requests: 0,
            refusals: 0,
            faults: Vec::new(),
            app,
        };
        world.furnish().await;
        world
    }

    /// Makes what paths name anew, as after a deletion.
    async fn furnish(&mut self) {
        self.endpoints = self.place_for_endpoints().await;
        self.messages = self.place_for_messages().await;
        self.event_types().await;
        self.app
            .until("jobs have come to rest", async || {
                let running = self.app.store.running_jobs().expect("it reads");
                let held = running.iter().all(|job| job.endpoint.is_some());
                held.then_some(())
            })
            .await;
        self.inbox = self.inbox().await;
        self.source = self.source().await;
        self.request = self.request().await;
        let made = self.app.post("/api/v1/keys", json!({})).await;
        self.key = made.ok(201).id();
        let body = routes::environment_body();
        let made = self.app.post("/api/v1/environments", body).await;
        self.env = made.ok(201).id();
        self.before = self.app.store.dump();
    }

    /// A request that was answered.
    async fn request(&self) -> String {
        self.asked.always(Reply::status(200).body(r#"{"data":{}}"#));
        let app = &self.endpoints.app;
        let asked = json!({
            "url": self.asked.url(), "uid": ASKED, "signatures": [{"scheme": "optech"}],
        });
        let made = self
            .app
            .post(&format!("/api/v1/applications/{app}/endpoints"), asked)
            .await;
        assert!([201, 409].contains(&made.status), "{}", made.text());
        let path = format!("/api/v1/applications/{app}/requests");
        let question = json!({"key": "q", "endpoint": ASKED});
        self.app.post(&path, question).await.ok(200).id()
    }

    async fn inbox(&self) -> Inbox {
        let made = self.app.post("/api/v1/inboxes", json!({})).await;
        let made = made.ok(201).json();
        let token = made["token"].as_str().expect("a text").to_owned();
        let into = self.app.request("POST", &format!("/in/{token}"));
        into.without_key().send().await.ok(200);
        let path = format!("/api/v1/inboxes/{token}/received");
        let kept = self.app.get(&path).await.ok(200).items()[0]["id"].clone();
        let rcv = kept.as_str().expect("a text").to_owned();
        Inbox { token, rcv }
    }

    async fn source(&self) -> Source {
        let application = json!({"name": "n", "uid": SOURCES_APP});
        let made = self.app.post("/api/v1/applications", application).await;
        assert!([201, 409].contains(&made.status), "{}", made.text());
        let verification = json!({"preset": "static-header", "header": "x-s", "secrets": ["s"]});
        let made = json!({
            "application": SOURCES_APP, "verification": verification, "record": {"key": "a"},
        });
        let made = self.app.post("/api/v1/sources", made).await.ok(201).json();
        let (src, slug) = (made["id"].as_str(), made["slug"].as_str());
        let into = format!("/in/{}", slug.expect("a text"));
        let good = self.app.request("POST", &into).header("x-s", "s");
        good.body(format!(r#"{{"a":"{RECORD}"}}"#))
            .send()
            .await
            .ok(200);
        self.app
            .request("POST", &into)
            .body("{}")
            .send()
            .await
            .ok(401);
        let src = src.expect("a text").to_owned();
        let log = self
            .app
            .get(&format!("/api/v1/sources/{src}/received"))
            .await
            .ok(200)
            .items();
        let rcv = log[0]["id"].as_str().expect("a text").to_owned();
        Source { src, rcv }
    }

    /// One to be asked for, and one with examples.
    async fn event_types(&self) {
        let types = [
            json!({"name": EVENT_TYPE}),
            json!({"name": EVENT_TYPE_SENT, "examples": [{}, {}]}),
        ];
        for event_type in types {
            let made = self.app.post("/api/v1/event-types", event_type).await;
            assert!([201, 409].contains(&made.status), "{}", made.text());
        }
    }

    async fn place_for_endpoints(&self) -> Place {
        let app = self.app.application().await;
        let off = json!({"enabled": false});
        let ep = self.app.endpoint(&app, "https://a.example/", off).await;
        Place {
            app,
            ep,
            ..Place::default()
        }
    }

    /// With a delivered message, and an endpoint that is held from then on.
    async fn place_for_messages(&self) -> Place {
        let app = self.app.application().await;
        let sink = Sink::start([]).await;
        let ep = self.app.endpoint(&app, &sink.url(), json!({})).await;
        let msg = self.app.message(&app, "a.b", json!({})).await;
        self.app.stands(&app, &msg, "success", 1).await;
        let path = format!("/api/v1/applications/{app}/endpoints/{ep}");
        self.app.put(&path, json!({"paused": true})).await.ok(200);
        let path = format!("/api/v1/applications/{app}/messages/{msg}/attempts");
        let atmpt = self.app.get(&path).await.ok(200).items()[0]["id"].clone();
        let atmpt = atmpt.as_str().expect("a text").to_owned();
        // It waits: its endpoint is paused.
        let path = format!("/api/v1/applications/{app}/endpoints/{ep}/recoveries");
        let job = self.app.post(&path, json!({"since": 0})).await.ok(202).id();
        Place {
            app,
            ep,
            msg,
            atmpt,
            job,
        }
    }

    /// What stands for a parameter in a good request.
    fn good(&self, route: &Route, param: &str) -> &str {
        let place = if route.is_of_messages() {
            &self.messages
        } else {
            &self.endpoints
        };
        match param {
            "{app}" => &place.app,
            "{ep}" => &place.ep,
            "{msg}" => &place.msg,
            "{atmpt}" => &place.atmpt,
            "{job}" => &place.job,
            "{token}" => &self.inbox.token,
            "{page}" => "messages",
            "{file}" => assets::path("tokens.css").trim_start_matches("/static/"),
            "{name}" => EVENT_TYPE,
            "{key}" => &self.key,
            "{req}" => &self.request,
            "{src}" => &self.source.src,
            "{rcv}" if route.path.contains("/inboxes/") => &self.inbox.rcv,
            "{rcv}" => &self.source.rcv,
            "{record}" => RECORD,
            "{env}" => &self.env,
            other => panic!("nothing stands for {other} among the hostile requests"),
        }
    }

    fn path(&self, route: &Route) -> String {
        let mut path = route.path.clone();
        for param in route.params() {
            path = path.replace(&param, self.good(route, &param));
        }
        path
    }

    fn good_ask(&self, route: &Route) -> Ask {
        let ask = Ask::new(route.method, self.path(route));
        match route.good_body() {
            Some(body) => ask.json(&body),
            None => ask,
        }
    }

    /// Sends it, and judges the answer and what became of the store.
    async fn ask(&mut self, what: &str, route: &Route, ask: &Ask, want: &Want) -> Option<Told> {
        self.requests += 1;
        let told = ask.send(self.app.address).await;
        if route.path.ends_with("/requests") {
            // What an answer to a question changes comes in time.
            let now = self.app.now();
            let open = || self.app.store.requests_to_ask(now).expect("it reads");
            let settled = async || open().is_empty().then_some(());
            self.app.until("requests are settled", settled).await;
        }
        let target = String::from_utf8_lossy(&ask.target);
        let short: String = target.chars().take(200).collect();
        let place = format!("{what}: {} {short} ({})", ask.method, route.path);
        let after = self.app.store.dump();
        let status = told.as_ref().map_or(0, |told| told.status);
        let fits = match want {
            Want::Good => (200..400).contains(&status),
            Want::Is(wanted) | Want::Code(wanted, _) => status == *wanted,
            Want::Wrong(_) => status == 422,
            Want::GoodOrTaken => (200..400).contains(&status) || status == 409,
            Want::OneOf(statuses) => statuses.contains(&status),
        };
        let mut faults = Vec::new();
        if !fits {
            faults.push(format!("{status} is not {want:?}"));
        }
        let changed = self.before != after;
        let refused = !(200..400).contains(&status);
        let reads = ["GET", "HEAD", "OPTIONS"].contains(&ask.method.as_str());
        if changed && (refused || (reads && route.face() != Face::Inbox && !route.writes())) {
            let tables = difference(&self.before, &after);
            faults.push(format!("{status}, but the store changed: {tables:?}"));
        }
        self.refusals += usize::from(refused);
        if let Some(told) = &told {
            faults.extend(faults_of(route, ask, told, want));
        }
        let body = told
            .as_ref()
            .map(|told| String::from_utf8_lossy(&told.body));
        let fault = |fault| format!("{place}: {fault}: {}", body.as_deref().unwrap_or_default());
        self.faults.extend(faults.into_iter().map(fault));
        if ask.method == "DELETE" && status < 300 && changed {
            self.furnish().await;
        } else {
            self.before = after;
        }
        told
    }

    /// Says how much was asked, and fails if any answer was not as it should be.
    fn finish(&self, test: &str) {
        let routes = routes::all().len();
        let (requests, refusals) = (self.requests, self.refusals);
        eprintln!("{test}: {routes} routes, {requests} requests, {refusals} refusals");
        let faults = &self.faults;
        assert!(
            faults.is_empty(),
            "{} faults:\n{}",
            faults.len(),
            faults.join("\n")
        );
    }
}

fn difference(before: &Dump, after: &Dump) -> Vec<&'static str> {
    let lost = before.iter().filter(|row| !after.contains(row));
    let new = after.iter().filter(|row| !before.contains(row));
    lost.chain(new).map(|row| row.0).collect()
}

/// What is wrong with an answer, whatever was asked.
fn faults_of(route: &Route, ask: &Ask, told: &Told, want: &Want) -> Vec<String> {
    let shown = String::from_utf8_lossy(&told.body).into_owned();
    let mut faults = Vec::new();
    let mut expect = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault);
        }
    };
    let status = told.status;
    expect(status < 500, format!("{status}"));
    expect(!shown.contains(KEY), "it shows the key".to_owned());
    let readable = told.header("access-control-allow-origin") == "*";
    let of_api = ask.target.starts_with(b"/api/v1/");
    // A head that is no HTTP is answered before anybody looks at its path.
    let no_http = told.body.is_empty() && status == 400;
    let unrouted = no_http || ask.method == "CONNECT";
    let readable = !of_api || readable || unrouted;
    expect(readable, "no page may read it".to_owned());
    let absent = status == 404 && route.is_of_one_thing() && ask.method == "GET";
    let may_be_empty = absent || no_http;
    if status < 400 || ask.method == "HEAD" || (may_be_empty && told.body.is_empty()) {
        return faults;
    }
    let fault = told.problem_fault().unwrap_or_default();
    expect(fault.is_empty(), format!("it is no problem: {fault}"));
    let bearer = told.header("www-authenticate") == "Bearer";
    expect(status != 401 || bearer, "it asks for no key".to_owned());
    let allow = !told.header("allow").is_empty();
    expect(
        status != 405 || allow,
        "it says not what is allowed".to_owned(),
    );
    match want {
        Want::Wrong(field) => {
            let paths = told.paths();
            let named = paths.iter().any(|path| path.starts_with(field.as_str()));
            expect(named, format!("{field} is not named"));
        }
        Want::Code(_, code) => expect(told.code() == *code, format!("its code is not {code}")),
        _ => {}
    }
    faults
}

#[tokio::test]
async fn good_requests_are_answered_and_change_what_they_say() {
    let mut world = World::start().await;
    for route in routes::all() {
        let before = world.app.store.dump();
        let ask = world.good_ask(&route);
        world.ask("good", &route, &ask, &Want::Good).await;
        // The control of all that follows: a change is seen.
        let changed = before != world.app.store.dump();
        assert_eq!(changed, route.writes(), "{route:?}");
    }
    world.finish("good requests");
}

#[tokio::test]
async fn every_field_of_an_answer_has_a_case() {
    let mut world = World::start().await;
    for route in routes::all() {
        if !route.reads_json() {
            continue;
        }
        let ask = world.good_ask(&route);
        let told = world.ask("good", &route, &ask, &Want::Good).await;
        let answer = told.and_then(|told| told.json()).expect("an answer");
        let fields = route.fields();
        // A batch answers with a list; the fields of its items have their case
        // where one is made alone.
        let Some(answer) = answer.as_object() else {
            continue;
        };
        // So does an example, with the message that it was sent as.
        if route.path.ends_with("/examples") {
            continue;
        }
        for name in answer.keys() {
            let known = fields.iter().any(|field| field.name == name);
            let of_job = route.is_of_a_job() && READ_ONLY_OF_JOBS.contains(&name.as_str());
            let read_only = of_job || READ_ONLY.contains(&name.as_str());
            assert!(
                known || read_only,
                "{route:?}: no case for the field {name}"
            );
        }
    }
}

#[test]
#[should_panic(expected = "has no case among the hostile requests")]
fn a_route_without_a_case_is_noticed() {
    let route = Route {
        method: "POST",
        path: "/api/v1/applications/{app}/wishes".to_owned(),
    };
    route.good_body();
}

/// Methods, and whether hyper itself may refuse them.
const METHODS: [&str; 11] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", "get", "CONNECT",
];

#[tokio::test]
async fn methods_that_a_path_does_not_take_are_refused_with_those_it_takes() {
    let mut world = World::start().await;
    let all = routes::all();
    for route in &all {
        let of_path = all.iter().filter(|other| other.path == route.path);
        let taken: Vec<&str> = of_path.map(|other| other.method).collect();
        for method in METHODS {
            if taken.contains(&method) && method != route.method {
                continue;
            }
            let taken_too = method == "HEAD" && taken.contains(&"GET");
            let inbox = route.face() == Face::Inbox && !["TRACE", "CONNECT"].contains(&method);
            let mut ask = world.good_ask(route);
            method.clone_into(&mut ask.method);
            let want = match method {
                "CONNECT" => Want::OneOf(&[400, 405]),
                _ if inbox || taken_too || taken.contains(&method) => Want::Good,
                _ => Want::Code(405, "no_method"),
            };
            let told = world.ask("method", route, &ask, &want).await;
            let told = told.expect("an answer");
            if told.status == 405 && method != "CONNECT" && route.face() != Face::Inbox {
                let mut allow: Vec<&str> = told.header("allow").split(',').map(str::trim).collect();
                allow.retain(|method| *method != "HEAD");
                allow.sort_unstable();
                let mut taken = taken.clone();
                taken.sort_unstable();
                assert_eq!(allow, taken, "{route:?}");
            }
        }
        let preflight = Ask::new("OPTIONS", world.path(route))
            .without_key()
            .header("origin", "https://a.test")
            .header("access-control-request-method", "PUT");
        let want = match route.face() {
            Face::Api | Face::Document => Want::Is(204),
            Face::Health | Face::Pages => Want::Is(405),
            Face::Inbox => Want::Good,
        };
        world.ask("preflight", route, &preflight, &want).await;
    }
    world.finish("methods");
}

#[tokio::test]
async fn paths_that_lead_nowhere_are_not_found() {
    let mut world = World::start().await;
    let nowhere = Route {
        method: "GET",
        path: "nowhere".to_owned(),
    };
    for path in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/api/v1//",
        "/api/v2/applications",
        "/api/v1/nothing",
        "/api/v1/applications/a/b/c/d",
        "/api/v1/../../etc/passwd",
        "/api/v1/%2e%2e/",
        "/favicon.ico",
        "/index.html",
        "/.env",
        "/in",
        "/in/",
        "/healthz/x",
        "//api/v1/applications",
        "/API/v1/applications",
        "/api/v1/%61pplications",
        "/a%00b",
        "/%ff",
        "/api/v1/%ff",
        "/api/v1/store/x",
        "/metrics",
        "/debug/pprof",
    ] {
        for method in ["GET", "POST", "DELETE", "TRACE", "FOO"] {
            let ask = Ask::new(method, path);
            world
                .ask("nowhere", &nowhere, &ask, &Want::Code(404, "no_route"))
                .await;
        }
    }
    // Not even that there is nothing is said without a key.
    let ask = Ask::new("GET", "/api/v1/nothing").without_key();
    world.ask("nowhere", &nowhere, &ask, &Want::Is(401)).await;
    world.finish("paths that lead nowhere");
}

/// What may stand in a path for an id, beside the ids of other things.
fn segments(good: &str) -> Vec<Vec<u8>> {
    let last = if good.ends_with('0') { "1" } else { "0" };
    let one_off = format!("{}{last}", &good[..good.len() - 1]);
    let mut segments: Vec<Vec<u8>> = [
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f",
        "..\\..\\",
        "..",
        ".",
        "%00",
        "a%00b",
        "%ff",
        "%c3%28",
        "%",
        "%zz",
        ";",
        ";x=1",
        "*",
        "%0d%0aX-Injected:%201",
        "%F0%9F%92%A9",
        "%20",
        "%E2%80%AE",
        "null",
        "undefined",
        "-1",
        "0",
        "{app}",
        "app_",
        "msg_",
        "app_0",
        "%2f",
        "''--",
        "${x}",
        "<script>",
        "\u{e9}",
        "a+b",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    segments.push(one_off.into_bytes());
    segments.push(good.to_uppercase().into_bytes());
    segments.push(format!("{good}%00").into_bytes());
    segments.push(format!("{good}%20").into_bytes());
    segments.push(vec![b'a'; 257]);
    segments.push(vec![b'a'; 10_000]);
    segments.push("%C3%A9".repeat(2000).into_bytes());
    segments.push(vec![0xff, 0xfe]);
    segments.push(vec![0xc3, 0xa9]);
    segments
}

#[tokio::test]
async fn ids_that_name_nothing_are_not_found_whatever_they_are() {
    let mut world = World::start().await;
    let elsewhere = Ids::new(&[7; 32]);
    for route in routes::all() {
        for param in route.params() {
            let good = world.good(&route, &param).to_owned();
            let (here, there) = (world.messages.clone(), world.endpoints.clone());
            let (own, foreign) = if route.is_of_messages() {
                (here, there)
            } else {
                (there, here)
            };
            let mut bad = segments(&good);
            let key = ApplicationKey::from_u64(1 << 40);
            bad.push(elsewhere.text(key).into_bytes());
            for (kind, id) in [
                ("{app}", &own.app),
                ("{ep}", &own.ep),
                ("{msg}", &own.msg),
                ("{atmpt}", &own.atmpt),
                ("{job}", &own.job),
            ] {
                if kind != param && !id.is_empty() {
                    bad.push(id.clone().into_bytes());
                }
            }
            for (kind, id) in [("{ep}", &foreign.ep), ("{msg}", &foreign.msg)] {
                if kind == param && !id.is_empty() {
                    bad.push(id.clone().into_bytes());
                }
            }
            for segment in bad {
                let mut ask = world.good_ask(&route);
                ask.target = target_with(&world, &route, &param, &segment);
                // Bytes that no request line may have are refused before routing.
                let want = if segment
                    .iter()
                    .all(|byte| (0x21..0x7f).contains(byte) && !b"<>^`".contains(byte))
                {
                    Want::Is(404)
                } else {
                    Want::OneOf(&[400, 404])
                };
                world.ask("id", &route, &ask, &want).await;
            }
            let mut ask = world.good_ask(&route);
            ask.target = target_with(&world, &route, &param, b"");
            let want = Want::OneOf(&[200, 201, 404, 405, 422]);
            world.ask("empty id", &route, &ask, &want).await;
        }
    }
    world.finish("ids");
}

fn target_with(world: &World, route: &Route, param: &str, segment: &[u8]) -> Vec<u8> {
    let mut target = Vec::new();
    for part in route.path.split('/').skip(1) {
        target.push(b'/');
        if part == param {
            target.extend_from_slice(segment);
        } else if part.starts_with('{') {
            target.extend_from_slice(world.good(route, part).as_bytes());
        } else {
            target.extend_from_slice(part.as_bytes());
        }
    }
    target
}

#[tokio::test]
async fn without_one_right_key_nothing_is_said() {
    let mut world = World::start().await;
    let revoked = world.revoked.clone();
    let basic = "Basic a2V5LW9mLXRoZS10ZXN0cw==";
    for route in routes::all() {
        let good = world.good_ask(&route);
        let bare = good.clone().without_key();
        let with = |value: &[u8]| bare.clone().header("authorization", value);
        let mut in_query = bare.clone();
        in_query
            .target
            .extend(format!("?key={KEY}&access_token={KEY}&api_key={KEY}").bytes());
        let asks = [
            bare.clone(),
            with(b""),
            with(b"Bearer"),
            with(b"Bearer "),
            with(b"Bearer\t"),
            with(b"Bearer wrong"),
            with(format!("Bearer {}", &KEY[..KEY.len() - 1]).as_bytes()),
            with(format!("Bearer {KEY}0").as_bytes()),
            with(format!("Bearer {}", KEY.to_uppercase()).as_bytes()),
            with(format!("Bearer {KEY} {KEY}").as_bytes()),
            with(format!("Bearer {KEY},").as_bytes()),
            with(format!("Token {KEY}").as_bytes()),
            with(format!("Basic {KEY}").as_bytes()),
            with(basic.as_bytes()),
            with(format!("Bearer \u{e9}{KEY}").as_bytes()),
            with(b"Bearer \xff\xfe"),
            with(format!("Bearer {revoked}").as_bytes()),
            with(revoked.as_bytes()),
            with("x".repeat(10_000).as_bytes()),
            good.clone()
                .header("authorization", format!("Bearer {KEY}")),
            good.clone().header("authorization", "Bearer wrong"),
            bare.clone().header("x-api-key", KEY),
            bare.clone().header("cookie", format!("key={KEY}")),
            in_query,
        ];
        for (n, ask) in asks.iter().enumerate() {
            let want = match route.face() {
                Face::Api => Want::Code(401, "unauthorized"),
                Face::Health | Face::Document | Face::Pages | Face::Inbox => Want::Good,
            };
            world.ask(&format!("key {n}"), &route, ask, &want).await;
        }
        for value in [
            KEY.to_owned(),
            format!("bearer {KEY}"),
            format!("BEARER   {KEY} "),
        ] {
            if route.method == "DELETE" {
                continue;
            }
            let mut ask = world.good_ask(&route).without_key();
            ask = ask.header("authorization", value);
            world.ask("right key", &route, &ask, &Want::Good).await;
        }
    }
    world.finish("keys");
}

/// Bodies that are not one JSON object by the rules, and how each is refused.
fn broken_bodies(too_many_bytes: usize) -> Vec<(&'static str, Sent, Want)> {
    let whole = |bytes: &[u8]| Sent::Whole(bytes.to_vec());
    let deep = "[".repeat(10_000);
    let deep_whole = format!("{{\"x\":{deep}{}}}", "]".repeat(10_000));
    let not_json = Want::Code(400, "bad_json");
    let no_object = Want::Wrong(String::new());
    let too_large = Want::Code(413, "too_large");
    vec![
        ("blank", whole(b" \n\t"), not_json.clone()),
        ("null", whole(b"null"), no_object.clone()),
        ("list", whole(b"[]"), no_object.clone()),
        ("list of objects", whole(b"[{}]"), no_object.clone()),
        ("number", whole(b"1"), no_object.clone()),
        ("text", whole(b"\"x\""), no_object.clone()),
        ("true", whole(b"true"), no_object),
        ("bottomless", whole(deep.as_bytes()), not_json.clone()),
        ("deep", whole(deep_whole.as_bytes()), not_json.clone()),
        ("repeated name", whole(br#"{"name":"a","name":"b"}"#), not_json.clone()),
        ("repeated inside", whole(br#"{"x":{"a":1,"\u0061":2}}"#), not_json.clone()),
        ("number beyond a double", whole(br#"{"x":1e999}"#), not_json.clone()),
        ("digits", whole(format!("{{\"x\":{}}}", "9".repeat(400)).as_bytes()), not_json.clone()),
        ("lone surrogate", whole(br#"{"x":"\ud800"}"#), not_json.clone()),
        ("lone surrogate in a name", whole(br#"{"\udfff":1}"#), not_json.clone()),
        ("invalid UTF-8", whole(b"{\"x\":\"\xc3\x28\"}"), not_json.clone()),
        ("overlong UTF-8", whole(b"{\"x\":\"\xc0\x80\"}"), not_json.clone()),
        ("UTF-16", whole(b"\xff\xfe{\0}\0"), not_json.clone()),
        ("byte order mark", whole(b"\xef\xbb\xbf{}"), not_json.clone()),
        ("trailing text", whole(b"{} x"), not_json.clone()),
        ("two objects", whole(b"{}{}"), not_json.clone()),
        ("truncated", whole(br#"{"name":"a"#), not_json.clone()),
        ("trailing comma", whole(br#"{"name":"a",}"#), not_json.clone()),
        ("comment", whole(br#"{/**/"name":"a"}"#), not_json.clone()),
        ("single quotes", whole(b"{'name':'a'}"), not_json.clone()),
        ("NaN", whole(br#"{"x":NaN}"#), not_json.clone()),
        ("NUL", whole(b"{\"name\":\"a\0b\"}"), not_json.clone()),
        ("NUL at the end", whole(b"{}\0"), not_json.clone()),
        ("form", whole(b"name=a&uid=b"), not_json.clone()),
        ("XML", whole(b"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>"), not_json.clone()),
        ("chunked garbage", Sent::Chunked(b"{".to_vec()), not_json.clone()),
        ("shorter length", Sent::Lying("1", b"{}".to_vec()), not_json),
        ("spaces", Sent::Whole(vec![b' '; too_many_bytes]), too_large.clone()),
        ("spaces in chunks", Sent::Chunked(vec![b' '; too_many_bytes]), too_large.clone()),
        ("a length and nothing", Sent::Lying("1000000000000", Vec::new()), too_large.clone()),
        ("the longest length", Sent::Lying("18446744073709551613", Vec::new()), too_large),
        // The client has gone; what is said to it does not matter.
        ("cut off", Sent::Lying("100", b"{\"name\"".to_vec()), Want::OneOf(&[400, 0])),
    ]
}

#[tokio::test]
async fn bodies_that_are_not_as_they_should_be_are_refused() {
    let mut world = World::start().await;
    for route in routes::all() {
        for (what, sent, want) in broken_bodies(route.too_many_bytes()) {
            let oversize = matches!(want, Want::Code(413, _));
            let cut_off = matches!(want, Want::OneOf(_));
            let all_optional = ["/inboxes", "/keys", "/secret/rotations", "/verifications"];
            let may_be_blank = all_optional.iter().any(|end| route.path.ends_with(end));
            let blank = what == "blank" && may_be_blank;
            let want = if route.reads_json() && !blank {
                want
            } else if route.face() == Face::Inbox && oversize {
                Want::Code(413, "too_large")
            } else if cut_off {
                Want::OneOf(&[200, 201, 202, 400, 0])
            } else {
                Want::Good
            };
            let ask = Ask::new(route.method, world.path(&route)).body(sent);
            world.ask(what, &route, &ask, &want).await;
        }
        if let Some(body) = route.good_body() {
            let body = body.to_string().into_bytes();
            let ask = Ask::new(route.method, world.path(&route)).body(Sent::Chunked(body));
            world.ask("chunked", &route, &ask, &Want::Good).await;
        }
        for required in route.fields().iter().filter(|field| !field.may_be_null) {
            let is_whole = (required.around)(Value::Null).is_null();
            if is_whole {
                let mut body = route.good_body().expect("it has fields");
                body.as_object_mut()
                    .expect("an object")
                    .remove(required.name);
                let ask = Ask::new(route.method, world.path(&route)).json(&body);
                let want = Want::Wrong(required.name.to_owned());
                world.ask("missing", &route, &ask, &want).await;
            }
        }
    }
    world.finish("bodies");
}

fn hostile_values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(1e30),
        json!(u64::MAX),
        json!(""),
        json!(" "),
        json!("x\u{0}y"),
        json!("x\ny"),
        json!("x".repeat(10_000)),
        json!([]),
        json!([null]),
        json!([1]),
        json!([[]]),
        json!({}),
        json!({"a": 1}),
        json!("../../"),
        json!("<script>"),
        json!("\u{202e}abc"),
    ]
}

#[tokio::test]
async fn fields_of_a_wrong_type_or_length_are_named() {
    let mut world = World::start().await;
    for route in routes::all() {
        for field in route.fields() {
            for value in hostile_values() {
                let mut body = route.good_body().expect("it has fields");
                body[field.name] = (field.around)(value.clone());
                let left_out = value.is_null() && field.may_be_null;
                let want = if !left_out && !field.kind.takes(&value) {
                    Want::Wrong(field.name.to_owned())
                } else if field.name == "uid" || route.path.contains("/environments") {
                    Want::GoodOrTaken
                } else if matches!(field.kind, Kind::Reference) {
                    Want::OneOf(&[200, 201, 409, 422])
                } else {
                    Want::Good
                };
                let short: String = body[field.name].to_string().chars().take(60).collect();
                let what = format!("{} = {short}", field.name);
                let ask = Ask::new(route.method, world.path(&route)).json(&body);
                world.ask(&what, &route, &ask, &want).await;
            }
        }
    }
    world.finish("fields");
}

/// Which requests a header concerns.
#[derive(Clone, Copy, Debug)]
enum Concerns {
    /// Those whose body is read: 415.
    Bodies,
    /// Those that are done once: 400.
    Posts,
    None,
}

/// Header lines, each ended by a line feed.
const HEADERS: [(&[u8], Concerns); 24] = [
    (b"content-encoding: gzip\n", Concerns::Bodies),
    (b"content-encoding: br, gzip\n", Concerns::Bodies),
    (
        b"content-encoding: identity\ncontent-encoding: gzip\n",
        Concerns::Bodies,
    ),
    (b"content-encoding: Identity\n", Concerns::None),
    (b"idempotency-key: \n", Concerns::Posts),
    (b"idempotency-key: a\tb\n", Concerns::Posts),
    (b"idempotency-key: a b\n", Concerns::Posts),
    (b"idempotency-key: a\xc2\x80b\n", Concerns::Posts),
    (b"idempotency-key: \xc3\xa9\n", Concerns::Posts),
    (b"idempotency-key: \xff\n", Concerns::Posts),
    (b"idempotency-key: a\nidempotency-key: b\n", Concerns::Posts),
    (b"idempotency-key: a\nidempotency-key: a\n", Concerns::Posts),
    (b"accept: image/png;q=0, text/\xff\n", Concerns::None),
    (b"accept: \n", Concerns::None),
    (b"range: bytes=0-0,5-,-1\n", Concerns::None),
    (b"expect: 100-continue\n", Concerns::None),
    (b"x-http-method-override: DELETE\n", Concerns::None),
    (
        b"x-method-override: DELETE\nx-http-method: PUT\n",
        Concerns::None,
    ),
    (
        b"x-original-url: /api/v1/store\nx-rewrite-url: /x\n",
        Concerns::None,
    ),
    (
        b"x-forwarded-host: evil.test\nforwarded: host=evil.test\n",
        Concerns::None,
    ),
    (
        b"if-match: \"x\"\nif-none-match: *\nif-modified-since: x\n",
        Concerns::None,
    ),
    (
        b"content-type: multipart/form-data; boundary=x\n",
        Concerns::None,
    ),
    (
        b"content-type: application/json; charset=utf-16\n",
        Concerns::None,
    ),
    (
        b"upgrade: websocket\nsec-websocket-key: x\n",
        Concerns::None,
    ),
];

fn with_lines(mut ask: Ask, lines: &[u8]) -> Ask {
    for line in lines.split(|byte| *byte == b'\n') {
        if let Some(end) = line.iter().position(|byte| *byte == b':') {
            let name = String::from_utf8_lossy(&line[..end]);
            ask = ask.header(&name, &line[end + 2..]);
        }
    }
    ask
}

#[tokio::test]
async fn headers_that_ask_for_what_is_not_done_are_refused_or_ignored() {
    let mut world = World::start().await;
    let key_of = |length| format!("idempotency-key: {}\n", "x".repeat(length)).into_bytes();
    let (longest, longer) = (key_of(256), key_of(257));
    let mut cases = HEADERS.to_vec();
    cases.push((&longest, Concerns::None));
    cases.push((&longer, Concerns::Posts));
    for route in routes::all() {
        let is_post = route.method == "POST" && route.face() == Face::Api;
        for (lines, concerns) in &cases {
            let want = match concerns {
                Concerns::Bodies if route.reads_json() => Want::Code(415, "compressed"),
                Concerns::Posts if is_post => Want::Code(400, "bad_idempotency_key"),
                _ => Want::Good,
            };
            let ask = with_lines(world.good_ask(&route), lines);
            let what = String::from_utf8_lossy(&lines[..lines.len().min(60)]);
            let told = world.ask(&what, &route, &ask, &want).await;
            let shown = String::from_utf8_lossy(&told.expect("an answer").body).into_owned();
            assert!(!shown.contains("evil.test"), "{route:?}: {shown}");
        }
    }
    world.finish("headers");
}

/// Queries for statistics, as the test below takes them.
const PERIODS: [(&str, &str, bool); 14] = [
    ("resolution", "resolution=second", true),
    ("resolution", "resolution=Hour", true),
    ("resolution", "resolution=day", false),
    ("resolution", "resolution=", false),
    ("from", "from=x", true),
    ("from", "from=-1", true),
    ("from", "from=0", true),
    ("from", "from=1.5", true),
    ("to", "to=x", true),
    ("to", "to=0", true),
    ("to", "to=1", false),
    ("to", "to=18446744073709551615", true),
    ("to", "to=18446744073709551616", true),
    ("to", "to=257700000000000&resolution=minute", true),
];

/// Queries about sources.
const LOGS: [(&str, &str, bool); 6] = [
    ("endpoint", "endpoint=x", true),
    ("endpoint", "endpoint=%ff", true),
    ("wait", "wait=x", true),
    ("wait", "wait=-1", true),
    ("wait", "wait=601", true),
    ("wait", "wait=25", false),
];
const SOURCES: [(&str, &str, bool); 4] = [
    ("verdict", "verdict=x", true),
    ("verdict", "verdict=accepted", false),
    ("search", "search=%ff", false),
    ("application", "application=x", true),
];

#[tokio::test]
async fn queries_that_make_no_sense_are_named() {
    let mut world = World::start().await;
    let other_message = world.messages.msg.clone();
    let long = "x".repeat(10_000);
    // The parameter's name in the table, the query, whether it is refused.
    let cases: Vec<(&str, String, bool)> = [
        ("page", "page=0", true),
        ("page", "page=-1", true),
        ("page", "page=1000000000", false),
        ("page", "page=1000000001", true),
        ("page", "page=99999999999999999999", true),
        ("page", "page=abc", true),
        ("page", "page=1.5", true),
        ("page", "page=%2B1", false),
        ("page", "page=1e9", true),
        ("page", "page=%zz", true),
        ("page", "page=%ff", true),
        ("page", "page=0&page=1", false),
        ("page", "page=1&page=0", true),
        ("page", "page=", false),
        ("pageSize", "pageSize=0", true),
        ("pageSize", "pageSize=251", true),
        ("pageSize", "pageSize=250", false),
        ("pageSize", "pageSize=-1", true),
        ("pageSize", "pageSize=1&pageSize=x", true),
        ("message", "before=x", true),
        ("message", "before=0", true),
        ("message", "before=%00", true),
        ("received", "before=x", true),
        ("received", "before=%ff%fe", true),
        ("audit", "before=x", true),
        ("audit", "before=0", true),
        ("job", "before=x", true),
        ("job", "before=0", true),
        ("state", "state=x", true),
        ("state", "state=RUNNING", true),
        ("state", "state=running", false),
        ("attempt", "before=x", true),
        ("attempt", "before=-1", true),
        ("attempt", "before=18446744073709551615", false),
        ("attempt", "before=0", false),
        ("attempt", "before=18446744073709551616", true),
        ("after", "after=18446744073709551615", false),
        ("archived", "archived=x", true),
        ("archived", "archived=1", true),
        ("archived", "archived=True", true),
        ("archived", "archived=true&archived=false", false),
        ("after", "after=x", true),
        ("after", "after=-1", true),
        ("after", "after=1e3", true),
        ("statusClass", "statusClass=9xx", true),
        ("statusClass", "statusClass=200", true),
        ("statusClass", "statusClass=2XX", true),
        ("statusClass", "statusClass=%00", true),
        ("outcome", "outcome=x", true),
        ("outcome", "outcome=DELIVERED", true),
        ("eventType", "eventType=a%20b", true),
        ("eventType", "eventType=***", true),
        ("eventType", "eventType=**", false),
    ]
    .into_iter()
    .chain(PERIODS)
    .chain(SOURCES)
    .chain(LOGS)
    .map(|(name, query, refused)| (name, query.to_owned(), refused))
    .chain([
        ("message", format!("before={long}"), true),
        ("received", format!("before={long}"), true),
        ("received", format!("before={other_message}"), true),
        ("attempt", format!("before={long}"), true),
        ("attempt", format!("before={other_message}"), true),
        ("message", format!("before={other_message}"), false),
        ("eventType", format!("eventType={long}"), true),
        ("none", "%".to_owned(), false),
        ("none", "&&==&?#".replace('#', ""), false),
        ("none", "__proto__[x]=1&constructor=1".to_owned(), false),
        ("none", format!("x={long}"), false),
        ("none", "x=1&".repeat(2000), false),
    ])
    .collect();
    for route in routes::all() {
        if route.method == "DELETE" {
            continue;
        }
        for (name, query, refused) in &cases {
            let known = route.queries().contains(name);
            let mut ask = world.good_ask(&route);
            ask.target.extend(format!("?{query}").bytes());
            let shown = query.split('=').next().unwrap_or_default();
            let want = if *refused && known {
                Want::Wrong(format!("?{shown}"))
            } else if known || !route.queries().iter().any(|known| shows(known, shown)) {
                Want::Good
            } else {
                Want::OneOf(&[200, 422])
            };
            let short: String = query.chars().take(60).collect();
            world.ask(&short, &route, &ask, &want).await;
        }
    }
    world.finish("queries");
}

/// Whether a known parameter is written so: `before` is of several kinds.
fn shows(known: &str, written: &str) -> bool {
    known == written
        || (written == "before"
            && ["message", "received", "request", "attempt", "audit", "job"].contains(&known))
}

#[tokio::test]
async fn a_path_in_raw_utf_8_can_be_paged() {
    let world = World::start().await;
    let path = "/api/v1/applications";
    let made = json!({"name": "n", "uid": "\u{e9}"});
    world.app.post(path, made).await.ok(201);
    for _ in 0..2 {
        world.app.message("%C3%A9", "a.b", json!({})).await;
    }
    for uid in ["%C3%A9", "\u{e9}"] {
        let target = format!("{path}/{uid}/messages?pageSize=1");
        let told = Ask::new("GET", target).send(world.app.address).await;
        let told = told.expect("an answer");
        let link = told.header("link").to_owned();
        assert_eq!(told.status, 200, "{uid}: {told:?}");
        assert!(
            link.starts_with("</api/v1/applications/%C3%A9/messages?"),
            "{link}"
        );
    }
}

#[tokio::test]
async fn an_inbox_keeps_what_is_below_it_whatever_it_is() {
    let world = World::start().await;
    let token = &world.inbox.token;
    let paths = [
        "",
        "/",
        "/%ff",
        "/%00",
        "/..%2f..%2fetc",
        "/a;b",
        "/\u{e9}",
        "?%zz",
        "/x?y=%ff#".trim_end_matches('#'),
    ];
    for below in paths {
        let target = format!("/in/{token}{below}");
        let told = Ask::new("POST", target).send(world.app.address).await;
        assert_eq!(told.map(|told| told.status), Some(200), "{below}");
    }
    let received = format!("/api/v1/inboxes/{token}/received");
    let mut kept = world.app.get(&received).await.ok(200).items();
    // The oldest is the world's own.
    kept.pop();
    let kept: Vec<&str> = kept
        .iter()
        .rev()
        .filter_map(|one| one["path"].as_str())
        .collect();
    assert_eq!(kept, paths);
}

/// A uid may look like anything, and cannot be made to stand for another's id.
#[tokio::test]
async fn a_uid_that_looks_like_an_id_or_a_path_names_only_its_own() {
    let world = World::start().await;
    let app = &world.app;
    let scope = Scope::of_environment(app.store.default_environment());
    let other = world.endpoints.app.clone();
    for uid in [
        other.as_str(),
        "../../etc",
        "a/b",
        "%00",
        ".",
        "\u{202e}",
        "a?b#c",
        "%",
    ] {
        let body = json!({"name": "n", "uid": uid});
        let id = app.post("/api/v1/applications", body).await.ok(201).id();
        let found = app.store.find_application(scope, uid).expect("it reads");
        let found = app
            .store
            .ids()
            .text(found.expect("it is there").application.key);
        let want = if uid == other { &other } else { &id };
        assert_eq!(&found, want, "{uid}");
        let encoded = uid
            .bytes()
            .fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
        let shown = app
            .get(&format!("/api/v1/applications/{encoded}"))
            .await
            .ok(200);
        assert_eq!(&shown.id(), want, "{uid}");
    }
}

/// In the order of the store a uid ends with a NUL and the message's key: a
/// name with both in it must not be taken for the uid before them.
#[tokio::test]
async fn a_nul_in_a_path_does_not_end_a_uid() {
    let app = TestApp::start().await;
    // Then the first bytes of keys are the text "\u{18}   ".
    let text_time = Timestamp((1_400_000_000 + 0x1820_2020) * 1000);
    app.advance_to(text_time).await;
    let application = app.application().await;
    let path = format!("/api/v1/applications/{application}/messages");
    let body = json!({"eventType": "a.b", "payload": {}, "uid": "foo"});
    app.post(&path, body).await.ok(202);
    app.get(&format!("{path}/foo")).await.ok(200);
    for name in ["foo%00", "foo%00%18%20%20%20", "foo%00%18%20%20%20%00"] {
        app.get(&format!("{path}/{name}")).await.ok(404);
    }
}
