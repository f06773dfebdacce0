//! Every route against every viewer, and foreign ids everywhere they can be
//! put. The requests are made from the table of routes: one without a case
//! fails.

use std::sync::Arc;
use std::time::Duration;

use hookpost::dashboard::{OPEN_ROUTES, Of, ROUTES};
use hookpost::domain::principal::{Capabilities, Capability};
use hookpost::domain::user::{Role, Roles};
use hookpost::engine::relay::{Listening, Who};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::sink::{Reply, Sink, silent_url};
use crate::support::visitor::Visitor;

/// One of each thing in an environment.
#[derive(Clone)]
struct Things {
    env: String,
    app: String,
    ep: String,
    msg: String,
    job: String,
    token: String,
    key: String,
    user: String,
    src: String,
    req: String,
    /// By the source.
    rcv: String,
    /// By the inbox.
    kept: String,
    record: String,
    name: String,
    canary: String,
    /// Who listens at the inbox.
    lsn: String,
    _listening: Arc<Listening>,
}

impl Things {
    /// `path` with these things in place of its names.
    fn fill(&self, path: &str) -> String {
        let kept = format!("/inboxes/{}/received/{}", self.token, self.kept);
        let names = [
            ("{env}", &self.env),
            ("{app}", &self.app),
            ("{ep}", &self.ep),
            ("{msg}", &self.msg),
            ("{job}", &self.job),
            ("{key}", &self.key),
            ("{user}", &self.user),
            ("{other}", &self.env),
            ("{src}", &self.src),
            ("{req}", &self.req),
            ("/inboxes/{token}/received/{rcv}", &kept),
            ("{lsn}", &self.lsn),
            ("{token}", &self.token),
            ("{rcv}", &self.rcv),
            ("{record}", &self.record),
            ("{name}", &self.name),
        ];
        let filled = names.iter().fold(path.to_owned(), |path, (name, value)| {
            path.replace(name, value)
        });
        assert!(!filled.contains('{'), "{path} has a name without a case");
        filled
    }

    fn ids(&self) -> [&str; 13] {
        let ids = [
            &self.app,
            &self.ep,
            &self.msg,
            &self.job,
            &self.token,
            &self.key,
            &self.user,
            &self.src,
            &self.req,
            &self.rcv,
            &self.kept,
            &self.record,
            &self.canary,
        ];
        ids.map(String::as_str)
    }
}

/// Makes one of each with an API key of the environment.
async fn things(app: &TestApp, key: &str, env: &str, canary: &str) -> Things {
    let ask = async |method: &str, path: &str, body: Value| {
        let call = app.request(method, &format!("/api/v1{path}"));
        let answer = call.header("authorization", key).json(&body).send().await;
        assert!((200..300).contains(&answer.status), "{}", answer.text());
        answer.json()
    };
    let id = |value: &Value| value["id"].as_str().expect("an id").to_owned();
    let named = |what: &str| format!("{canary}-{what}");
    let made = ask("POST", "/applications", json!({"name": named("app")})).await;
    let application = id(&made);
    let below = format!("/applications/{application}");
    let verification = json!({"preset": "static-header", "header": "x-s", "secrets": ["s"]});
    let body = json!({
        "application": application, "name": named("source"), "verification": verification,
        "record": {"key": "a"},
    });
    let source = ask("POST", "/sources", body).await;
    let into = format!("/in/{}", source["slug"].as_str().expect("a slug"));
    let event = json!({"a": named("record")}).to_string();
    let event = app.request("POST", &into).header("x-s", "s").body(event);
    event.send().await.ok(200);
    let log = format!("/sources/{}/received", id(&source));
    let log = ask("GET", &log, json!({})).await;
    let body = json!({"url": silent_url(), "signatures": [{"scheme": "optech"}]});
    let asked = ask("POST", &format!("{below}/endpoints"), body).await;
    let body = json!({"key": named("question"), "endpoint": id(&asked), "wait": false});
    let request = ask("POST", &format!("{below}/requests"), body).await;
    let sink = Sink::start([Reply::status(500)]).await;
    let body = json!({"url": format!("{}/{canary}", sink.url()), "description": named("ep")});
    let endpoint = id(&ask("POST", &format!("{below}/endpoints"), body).await);
    let body =
        json!({"eventType": canary, "payload": {"x": named("payload")}, "channels": [named("c")]});
    let message = id(&ask("POST", &format!("{below}/messages"), body).await);
    sink.wait_for(1).await;
    let body = json!({"name": named("type"), "applications": [application]});
    let name = ask("POST", "/event-types", body).await["name"].clone();
    let body = json!({"since": 0});
    let job = id(&ask(
        "POST",
        &format!("{below}/endpoints/{endpoint}/recoveries"),
        body,
    )
    .await);
    let inbox = ask("POST", "/inboxes", json!({"name": named("inbox")})).await;
    let token = inbox["token"].as_str().expect("a token").to_owned();
    let into = app.request("POST", &format!("/in/{token}/"));
    into.body(named("kept")).send().await.ok(200);
    let kept = ask("GET", &format!("/inboxes/{token}/received"), json!({})).await;
    let (lsn, listening) = listen(app, &token, named("listener")).await;
    let made = ask(
        "POST",
        "/keys",
        json!({"name": named("key"), "scopes": ["read"]}),
    )
    .await;
    let environment = app.store.ids().parse(env).expect("an environment");
    let roles = Roles::of_environment(environment, Role::Viewer);
    let (user, _) = Visitor::account(app, &named("user"), roles).await;
    Things {
        env: env.to_owned(),
        app: application,
        ep: endpoint,
        msg: message,
        job,
        token,
        key: id(&made),
        user: app.store.ids().text(user),
        src: id(&source),
        req: id(&request),
        rcv: id(&log[0]),
        kept: id(&kept[0]),
        record: named("record"),
        name: name.as_str().expect("a name").to_owned(),
        canary: canary.to_owned(),
        lsn,
        _listening: listening,
    }
}

/// Somebody who listens at an inbox, as long as it is held; its id.
async fn listen(app: &TestApp, token: &str, client: String) -> (String, Arc<Listening>) {
    let inbox = app
        .store
        .inbox(token)
        .expect("it reads")
        .expect("it is there");
    let who = Who {
        client,
        peer: None,
        keyed: true,
        session: None,
        shares: true,
        in_flight_max: 1,
    };
    let listening = app.engine.listen(&inbox, who).await.expect("a place");
    let listeners = app.engine.listeners(inbox.environment, Some(inbox.key));
    (listeners[0].id.to_string(), Arc::new(listening))
}

/// Two environments, each with one of everything.
async fn two_worlds(app: &TestApp) -> (Things, Things) {
    let first = app.store.ids().text(app.store.default_environment());
    let own = things(app, crate::support::app::KEY, &first, "ours").await;
    let made = app
        .post("/api/v1/environments", json!({"name": "other"}))
        .await;
    let other = made.ok(201).id();
    let body = json!({"name": "other", "environment": other, "scopes": ["admin"]});
    let key = app.post("/api/v1/keys", body).await.ok(201).json();
    let key = key["key"].as_str().expect("its text").to_owned();
    let theirs = things(app, &key, &other, "theirs").await;
    (own, theirs)
}

fn is_live(path: &str) -> bool {
    path.ends_with("/live")
}

/// What a viewer's request comes to: enough to tell who was let through.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    /// To the handler.
    Through,
    /// To sign in, or a page that says that nobody is.
    SignedOut,
    /// A role that does not allow it.
    Forbidden,
    NotFound,
    Other(u16),
}

/// Asks without a form token: a form that would be taken says that it is stale,
/// and nothing is changed.
async fn came(app: &TestApp, visitor: &Visitor, method: &str, path: &str) -> Came {
    let call = visitor.call(app, method, path);
    let call = call.header("content-type", "application/x-www-form-urlencoded");
    let answer = if is_live(path) {
        call.send_for_head().await
    } else {
        call.send().await
    };
    let text = answer.text();
    match answer.status {
        303 if answer.header("location").starts_with("/sign-in") => Came::SignedOut,
        401 => Came::SignedOut,
        403 if text.contains("Your role does not let you") => Came::Forbidden,
        403 if text.contains("session that is over") => Came::Through,
        404 if text.contains("no such style sheet") || text.contains("no such picture") => {
            Came::Through
        }
        404 => Came::NotFound,
        200 | 303 => Came::Through,
        other => Came::Other(other),
    }
}

#[tokio::test]
async fn every_route_lets_through_whom_it_should() {
    let app = TestApp::start().await;
    let (own, theirs) = two_worlds(&app).await;
    let environment = app.store.default_environment();
    let role = |role| Roles::of_environment(environment, role);
    let users = [
        ("viewer", role(Role::Viewer)),
        ("operator", role(Role::Operator)),
        ("admin", role(Role::Admin)),
        ("ruler", Roles::everywhere(Role::Admin)),
    ];
    let mut operators = Vec::new();
    for (name, roles) in users {
        let held = if name == "ruler" {
            Capabilities::ALL
        } else {
            roles
                .in_environment(environment)
                .expect("a role")
                .capabilities()
        };
        operators.push((name, Visitor::user(&app, name, roles).await, held));
    }
    let other_env: hookpost::domain::ids::EnvironmentKey =
        app.store.ids().parse(&theirs.env).expect("an environment");
    let elsewhere = Roles::of_environment(other_env, Role::Admin);
    let elsewhere = Visitor::user(&app, "elsewhere", elsewhere).await;
    let customer = Visitor::customer(&app, &own.app, false).await;
    let reader = Visitor::customer(&app, &own.app, true).await;
    let mut tried = 0;
    for (of, method, path, wanted) in ROUTES {
        for base in of.bases() {
            let path = own.fill(&format!("{base}{path}"));
            let what = format!("{method} {path}");
            let nobody = came(&app, &Visitor::default(), method, &path).await;
            assert_eq!(nobody, Came::SignedOut, "nobody: {what}");
            let in_portal = path.starts_with("/portal");
            for (name, visitor, held) in &operators {
                let want = match (in_portal, held.allow(*wanted)) {
                    (true, _) => Came::SignedOut,
                    (false, true) => Came::Through,
                    (false, false) => Came::Forbidden,
                };
                let got = came(&app, visitor, method, &path).await;
                assert_eq!(got, want, "{name}: {what}");
                tried += 1;
            }
            for (name, visitor, all) in [("customer", &customer, true), ("reader", &reader, false)]
            {
                let held =
                    all && *wanted != Capability::Admin && *wanted != Capability::Environments;
                let may = held || *wanted == Capability::Read;
                let want = match (in_portal, may) {
                    (false, _) => Came::SignedOut,
                    (true, true) => Came::Through,
                    (true, false) => Came::Forbidden,
                };
                let got = came(&app, visitor, method, &path).await;
                assert_eq!(got, want, "{name}: {what}");
                tried += 1;
            }
            if !in_portal {
                let got = came(&app, &elsewhere, method, &path).await;
                assert_eq!(got, Came::NotFound, "elsewhere: {what}");
                tried += 1;
            }
        }
    }
    eprintln!(
        "routes against viewers: {} routes, {tried} answers as they should be",
        ROUTES.len()
    );
    assert!(tried > ROUTES.len() * 7);
}

/// A token of one kind in the cookie of the other opens nothing.
#[tokio::test]
async fn a_session_of_one_kind_opens_no_page_of_the_other() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let env = app.store.ids().text(app.store.default_environment());
    let user = Visitor::user(&app, "ada", Roles::everywhere(Role::Admin)).await;
    let customer = Visitor::customer(&app, &application, false).await;
    for (name, visitor, path) in [
        ("hookpost", &customer, format!("/env/{env}")),
        (
            "hookpost",
            &customer,
            format!("/env/{env}/applications/{application}"),
        ),
        ("hookpost-portal", &user, "/portal".to_owned()),
    ] {
        let token = visitor.cookies[0].1.clone();
        let swapped = Visitor {
            cookies: vec![(name.to_owned(), token)],
        };
        assert_eq!(
            came(&app, &swapped, "GET", &path).await,
            Came::SignedOut,
            "{path}"
        );
    }
    // And one of both at once sees each its own.
    let both = Visitor {
        cookies: [user.cookies, customer.cookies].concat(),
    };
    assert_eq!(came(&app, &both, "GET", "/portal").await, Came::Through);
    assert_eq!(
        came(&app, &both, "GET", &format!("/env/{env}")).await,
        Came::Through
    );
}

/// Ids of another application and of another environment, in paths, bodies,
/// filters, the search, exports, bulk selections and streams.
#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "one step for each way that an id can be put"
)]
async fn nothing_of_another_is_reached_guessed_or_inferred() {
    let app = TestApp::start().await;
    let (own, theirs) = two_worlds(&app).await;
    // A second application beside the first, in the same environment.
    let beside = things(&app, crate::support::app::KEY, &own.env, "beside").await;
    let environment = app.store.default_environment();
    let admin = Roles::of_environment(environment, Role::Admin);
    let admin = Visitor::user(&app, "admin", admin).await;
    let customer = Visitor::customer(&app, &own.app, false).await;
    let tried = std::cell::Cell::new(0);
    for (viewer, base, foreign) in [
        (&customer, "/portal".to_owned(), &beside),
        (&customer, "/portal".to_owned(), &theirs),
        (&admin, format!("/env/{}", own.env), &theirs),
        (
            &admin,
            format!("/env/{}/applications/{}", own.env, own.app),
            &beside,
        ),
    ] {
        let is_customer = base == "/portal";
        let check = |what: &str, answer: &crate::support::app::Answer| {
            let text = answer.text();
            for id in foreign.ids() {
                assert!(!text.contains(id), "{what} tells of {id}: {text}");
            }
            tried.set(tried.get() + 1);
        };
        for (of, method, path, _) in ROUTES {
            let fits = match *of {
                Of::Environment => !is_customer && base.matches('/').count() == 2,
                Of::Application => base.matches('/').count() != 2,
                Of::Operated => !is_customer && base.matches('/').count() != 2,
                Of::Both => true,
            };
            if !fits || !path.contains('{') {
                continue;
            }
            // Who rules here may name an environment; they have no name for another.
            if path.contains("{other}") {
                continue;
            }
            let path = foreign.fill(&format!("{base}{path}"));
            let mut visitor = viewer.clone();
            let answer = if *method == "GET" {
                visitor.get(&app, &path).await
            } else {
                let fields = [
                    ("name", "x"),
                    ("role", "viewer"),
                    ("since", "0"),
                    ("eventType", "a.b"),
                ];
                visitor.submit(&app, &path, &fields).await
            };
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
            check(&format!("{method} {path}"), &answer);
        }
        let mut visitor = viewer.clone();
        // Filters that name an endpoint of somebody else.
        for path in ["messages", "attempts", "messages/export", "attempts/export"] {
            let path = format!("{base}/{path}?endpoint={}", foreign.ep);
            let answer = visitor.get(&app, &path).await;
            assert_eq!(answer.status, 404, "{path}");
            check(&path, &answer);
        }
        // Lists, exports and cursors tell of nothing.
        for path in [
            String::new(),
            "/endpoints".to_owned(),
            "/messages".to_owned(),
            format!("/messages?before={}", foreign.msg),
            format!("/messages?text={}", foreign.canary),
            "/messages/export".to_owned(),
            "/attempts".to_owned(),
            "/attempts/export".to_owned(),
            "/event-types".to_owned(),
            "/jobs".to_owned(),
            format!("/jobs?before={}", foreign.job),
        ] {
            let answer = visitor.get(&app, &format!("{base}{path}")).await;
            assert_eq!(answer.status, 200, "{path}");
            let text = answer.text().replace(&path, "");
            let text = text.replace(
                &foreign.canary,
                if path.contains("text=") {
                    ""
                } else {
                    &foreign.canary
                },
            );
            let text = text.replace(
                &foreign.msg,
                if path.contains("before=") {
                    ""
                } else {
                    &foreign.msg
                },
            );
            let bare = crate::support::app::Answer {
                body: text.into(),
                ..answer
            };
            check(&path, &bare);
        }
        for id in foreign.ids() {
            let answer = visitor
                .get(&app, &format!("{base}/search?q={id}"))
                .await
                .ok(303);
            let to = answer.header("location");
            assert!(to.ends_with("/messages?notice=not-found"), "{id}: {to}");
            tried.set(tried.get() + 1);
        }
        // Selections, and what a form names beside its path.
        let pair = format!("{} {}", foreign.msg, foreign.ep);
        let mixed = format!("{} {}", own.msg, foreign.ep);
        for chosen in [&pair, &mixed, &foreign.msg] {
            let form = [("chosen", chosen.as_str())];
            let answer = visitor
                .submit(&app, &format!("{base}/replays"), &form)
                .await;
            assert_eq!(answer.status, 404, "{chosen}");
            check(chosen, &answer);
        }
        if base.matches('/').count() != 2 {
            let path = format!("{base}/messages/{}/replays", own.msg);
            let form = [("endpoint", foreign.ep.as_str())];
            let answer = visitor.submit(&app, &path, &form).await;
            assert_eq!(answer.status, 404, "{path}");
            let path = format!("{base}/messages/new?from={}", foreign.msg);
            assert_eq!(visitor.get(&app, &path).await.status, 404, "{path}");
            let path = format!("{base}/endpoints/{}/testing?sent={}", own.ep, foreign.msg);
            let answer = visitor.get(&app, &path).await.ok(200);
            assert!(!answer.text().contains("What came of it"));
            tried.set(tried.get() + 3);
        }
    }
    // A customer's foreign messages were not replayed.
    let attempts = app
        .get(&format!(
            "/api/v1/applications/{}/messages/{}/endpoint-messages",
            beside.app, beside.msg
        ))
        .await;
    assert!(attempts.ok(200).text().contains("\"attempts\""));
    eprintln!(
        "foreign ids: {} answers, none told of anything",
        tried.get()
    );
}

/// What a stream says until it has said all of `wanted`; time passes meanwhile.
async fn told(app: &TestApp, body: &mut hyper::body::Incoming, wanted: &[&str]) -> String {
    let mut text = String::new();
    while !wanted.iter().all(|one| text.contains(one)) {
        app.advance(Duration::from_secs(1)).await;
        let next = tokio::time::timeout(Duration::from_millis(200), body.frame()).await;
        if let Ok(Some(Ok(frame))) = next {
            let data = frame.into_data().expect("data");
            text.push_str(&String::from_utf8_lossy(&data));
        }
    }
    text
}

#[tokio::test]
async fn a_stream_tells_its_own_application_alone() {
    let app = TestApp::start().await;
    let own = app.application().await;
    let other = app.application().await;
    let customer = Visitor::customer(&app, &own, false).await;
    let call = customer.call(&app, "GET", "/portal/messages/live");
    let (head, mut body) = call.exchange().await;
    assert_eq!(head.status, 200);
    assert_eq!(
        head.headers["content-type"],
        "text/event-stream; charset=utf-8"
    );
    app.advance(Duration::from_millis(10)).await;
    app.message(&other, "not.yours", json!({"secret": true}))
        .await;
    app.message(&own, "is.yours", json!({})).await;
    let text = told(&app, &mut body, &["is.yours"]).await;
    assert!(text.contains("event: rows"), "{text}");
    assert!(!text.contains("not.yours"), "{text}");
}

#[tokio::test]
async fn a_stream_goes_on_where_it_was_and_tells_of_gaps() {
    let app = TestApp::start().await;
    let own = app.application().await;
    let customer = Visitor::customer(&app, &own, false).await;
    let seen = app.message(&own, "seen.before", json!({})).await;
    app.message(&own, "came.meanwhile", json!({})).await;
    let live = || customer.call(&app, "GET", "/portal/messages/live");
    let (_, mut body) = live().header("last-event-id", &seen).exchange().await;
    let text = told(&app, &mut body, &["came.meanwhile", "id: msg_"]).await;
    assert!(
        !text.contains("seen.before") && !text.contains("More came"),
        "{text}"
    );
    for number in 0..30 {
        app.message(&own, &format!("burst.{number}"), json!({}))
            .await;
    }
    let text = told(
        &app,
        &mut body,
        &["burst.29", "More came than a live page shows"],
    )
    .await;
    assert!(!text.contains("burst.1<"), "{text}");
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let app = TestApp::start().await;
    let own = app.application().await;
    let customer = Visitor::customer(&app, &own, false).await;
    let call = customer.call(&app, "GET", "/portal/messages/live");
    let (_, body) = call.exchange().await;
    let path = format!("/api/v1/applications/{own}/portal-sessions");
    app.delete(&path).await.ok(200);
    let ending = tokio::spawn(body.collect());
    app.until("the stream has ended", async || {
        app.advance(Duration::from_secs(1)).await;
        ending.is_finished().then_some(())
    })
    .await;
}

#[test]
fn open_routes_are_few_and_known() {
    let paths: Vec<_> = OPEN_ROUTES.iter().map(|(_, path)| *path).collect();
    assert_eq!(
        paths,
        [
            "/",
            "/sign-in",
            "/sign-in",
            "/sign-out",
            "/portal/sign-out",
            "/links/{token}",
            "/links/{token}"
        ]
    );
}
