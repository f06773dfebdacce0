//! Environments: made, renamed, deleted with all that is in them.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests do"
)]

use std::sync::Arc;
use std::time::Duration;

use hookpost::domain::application::Application;
use hookpost::domain::delivery::Trigger;
use hookpost::domain::endpoint::EndpointChange;
use hookpost::domain::ids::{EnvironmentKey, Key as _};
use hookpost::domain::inbox::{Inbox, InboxChange};
use hookpost::domain::principal::{Principal, Scope};
use hookpost::domain::secret::Secret;
use hookpost::store::{Change, Durability, NewReceived, Store, WriteError, Written};
use serde_json::{Value, json};

use crate::support::app::{Answer, KEY, START, TestApp};
use crate::support::sink::{Reply, Sink};
use crate::support::store::{Machine, Verb, attempt, message, now_or_pump, record, together};

const ENVIRONMENTS: &str = "/api/v1/environments";
const APPS: &str = "/api/v1/applications";

async fn ask(app: &TestApp, key: &str, method: &str, path: &str, body: Value) -> Answer {
    let call = app.request(method, path).header("authorization", key);
    if body.is_null() {
        return call.send().await;
    }
    call.json(&body).send().await
}

/// Makes an environment and a key that sees all in it: its id, and the key.
async fn environment(app: &TestApp, name: &str) -> (String, String) {
    let made = app.post(ENVIRONMENTS, json!({"name": name})).await;
    let id = made.ok(201).id();
    let made = app.post("/api/v1/keys", json!({"environment": name})).await;
    let key = made.ok(201).json()["key"].as_str().unwrap().to_owned();
    (id, key)
}

fn sound(store: &Store) {
    let report = store.check().unwrap();
    assert!(report.is_sound(), "{:#?}", report.problems);
}

#[tokio::test]
async fn environments_are_made_listed_renamed_and_deleted() {
    let app = TestApp::start().await;
    let first = app.get(ENVIRONMENTS).await.ok(200).items().remove(0);
    let shown = (&first["name"], &first["isDefault"]);
    assert_eq!(shown, (&json!("default"), &json!(true)));
    app.advance(Duration::from_secs(1)).await;
    let made = app.post(ENVIRONMENTS, json!({"name": "Übung 1"})).await;
    let made = made.ok(201).json();
    let now = START.0 + 1000;
    let want = json!({
        "id": made["id"], "name": "Übung 1", "isDefault": false, "created": now, "updated": now,
    });
    assert_eq!(made, want);
    let id = made["id"].as_str().unwrap();
    for name in [id, "%C3%9Cbung%201"] {
        let one = app.get(&format!("{ENVIRONMENTS}/{name}")).await;
        assert_eq!(one.ok(200).json(), made, "{name}");
    }
    let listed = app.get(ENVIRONMENTS).await.ok(200).items();
    assert_eq!(listed, [first.clone(), made.clone()]);
    app.advance(Duration::from_secs(1)).await;
    let one = format!("{ENVIRONMENTS}/{id}");
    let renamed = app.put(&one, json!({"name": "staging"})).await.ok(200);
    let renamed = renamed.json();
    assert_eq!(renamed["name"], "staging");
    assert_eq!(renamed["updated"], now + 1000);
    assert_eq!(app.put(&one, json!({})).await.ok(200).json(), renamed);
    app.get(&format!("{ENVIRONMENTS}/%C3%9Cbung%201"))
        .await
        .ok(404);
    let deleted = app.delete(&format!("{ENVIRONMENTS}/staging")).await;
    assert_eq!(deleted.ok(200).json(), renamed);
    assert_eq!(app.get(&one).await.ok(404).text(), "");
    assert_eq!(app.get(ENVIRONMENTS).await.ok(200).items(), [first]);
    for again in [
        app.delete(&one).await,
        app.put(&one, json!({"name": "x"})).await,
    ] {
        assert_eq!(again.ok(404).json()["code"], "not_found");
    }
}

#[tokio::test]
async fn a_name_is_one_environments_and_the_first_one_stays() {
    let app = TestApp::start().await;
    let (one, _) = environment(&app, "one").await;
    environment(&app, "two").await;
    let before = app.store.dump();
    for refused in [
        app.post(ENVIRONMENTS, json!({"name": "two"})).await,
        app.post(ENVIRONMENTS, json!({"name": "default"})).await,
        app.put(&format!("{ENVIRONMENTS}/{one}"), json!({"name": "two"}))
            .await,
    ] {
        assert_eq!(refused.ok(409).json()["code"], "name_taken");
    }
    let refused = app.delete(&format!("{ENVIRONMENTS}/default")).await;
    assert_eq!(refused.ok(409).json()["code"], "first_environment");
    assert!(app.store.dump() == before);
    // Its own name is free for it, and another one too; it stays the first.
    for name in ["default", "live"] {
        let path = format!("{ENVIRONMENTS}/default");
        let renamed = app.put(&path, json!({"name": name})).await.ok(200).json();
        assert_eq!(renamed["isDefault"], true, "{name}");
    }
    let app = app.restart().await;
    let refused = app.delete(&format!("{ENVIRONMENTS}/live")).await;
    refused.ok(409);
    sound(&app.store);
}

#[tokio::test]
async fn an_environment_is_a_world_of_its_own() {
    let app = TestApp::start().await;
    let (_, key) = environment(&app, "staging").await;
    let made = json!({"name": "n", "uid": "acme"});
    let ids = [
        app.post(APPS, made.clone()).await.ok(201).id(),
        ask(&app, &key, "POST", APPS, made).await.ok(201).id(),
    ];
    assert_ne!(ids[0], ids[1]);
    for (key, id) in [(KEY, &ids[0]), (key.as_str(), &ids[1])] {
        let acme = ask(&app, key, "GET", &format!("{APPS}/acme"), Value::Null).await;
        assert_eq!(&acme.ok(200).id(), id);
        let listed = ask(&app, key, "GET", APPS, Value::Null).await.ok(200);
        assert_eq!(listed.items().len(), 1);
        let told = format!("{APPS}/operational-events/messages");
        let told = ask(&app, key, "GET", &told, Value::Null).await.ok(200);
        assert_eq!(told.items().len(), 0);
    }
    let endpoint = json!({"url": "https://1.1.1.1/", "enabled": false});
    let path = format!("{APPS}/acme/endpoints");
    ask(&app, &key, "POST", &path, endpoint).await.ok(201);
    for (key, want) in [(KEY, 0), (key.as_str(), 1)] {
        let told = format!("{APPS}/operational-events/messages");
        let told = ask(&app, key, "GET", &told, Value::Null).await.ok(200);
        assert_eq!(told.items().len(), want);
    }
    sound(&app.store);
    let app = app.restart().await;
    let acme = ask(&app, &key, "GET", &format!("{APPS}/acme"), Value::Null).await;
    assert_eq!(acme.ok(200).id(), ids[1]);
}

/// What there is in an environment that delivers and receives.
async fn furnish(app: &TestApp, key: &str, sink: &Sink) -> (String, String) {
    let application = json!({"name": "n", "uid": "acme"});
    let application = ask(app, key, "POST", APPS, application).await.ok(201).id();
    let endpoint = json!({"url": sink.url(), "retrySchedule": ["1s", "1s", "1s"]});
    let path = format!("{APPS}/acme/endpoints");
    let endpoint = ask(app, key, "POST", &path, endpoint).await.ok(201).id();
    let message = json!({"eventType": "a.b", "payload": {}});
    let path = format!("{APPS}/acme/messages");
    ask(app, key, "POST", &path, message).await.ok(202);
    let event_type = json!({"name": "a.b", "applications": ["acme"]});
    let made = ask(app, key, "POST", "/api/v1/event-types", event_type).await;
    made.ok(201);
    let inbox = ask(app, key, "POST", "/api/v1/inboxes", Value::Null).await;
    let token = inbox.ok(201).json()["token"].as_str().unwrap().to_owned();
    let into = format!("/in/{token}/");
    let path = format!("{APPS}/acme/endpoints/{endpoint}/backfills");
    let job = json!({"since": 0, "ratePerSecond": 1});
    ask(app, key, "POST", &path, job).await.ok(202);
    app.request("POST", &into)
        .without_key()
        .send()
        .await
        .ok(200);
    (application, into)
}

#[tokio::test]
async fn a_deleted_environment_is_gone_at_once_for_everybody() {
    let app = TestApp::start().await;
    let (id, key) = environment(&app, "staging").await;
    let sink = Sink::start([500, 500, 500, 500].map(Reply::status)).await;
    let (application, into) = furnish(&app, &key, &sink).await;
    sink.wait_for(1).await;
    app.idle().await;
    app.delete(&format!("{ENVIRONMENTS}/{id}")).await.ok(200);
    let refused = ask(&app, &key, "GET", APPS, Value::Null).await;
    assert_eq!(refused.ok(401).json()["code"], "unauthorized");
    let refused = app.request("POST", &into).without_key().send().await;
    refused.ok(404);
    app.get(&format!("{APPS}/{application}")).await.ok(404);
    let listed = app.get("/api/v1/keys").await.ok(200).items();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let refused = app.post("/api/v1/keys", json!({"environment": id})).await;
    refused.ok(422);
    sound(&app.store);
    // The retry that was due does not come, before it is swept and after.
    app.advance(Duration::from_millis(1_400)).await;
    app.until("it is swept", async || {
        app.clock.advance(Duration::from_millis(2));
        (!app.store.has_tombstones().unwrap()).then_some(())
    })
    .await;
    app.advance(Duration::from_secs(5)).await;
    app.idle().await;
    assert_eq!(sink.count(), 1);
    sound(&app.store);
    let of_it = app.store.ids().parse::<EnvironmentKey>(&id).unwrap();
    nothing_is_left(&app.store, of_it);
    // Its name is free, and what is made anew is another.
    let (again, _) = environment(&app, "staging").await;
    assert_ne!(again, id);
}

/// Whether a row of the store is of something in this environment, as far as
/// its bytes say.
fn nothing_is_left(store: &Store, environment: EnvironmentKey) {
    let bytes = environment.as_u64().to_be_bytes();
    for (table, key, _) in store.dump() {
        let names = [
            "environments",
            "audit",
            "environment_applications",
            "application_uids",
        ];
        if names.contains(&table) {
            assert!(!key.starts_with(&bytes), "{table} has a row of it");
        }
    }
    let report = store.check().unwrap();
    let left = [
        report.applications,
        report.endpoints,
        report.messages,
        report.attempts,
        report.inboxes,
        report.received,
        report.event_types,
        report.jobs,
    ];
    // Of the first environment: its built-in application.
    assert_eq!(left, [1, 0, 0, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_restart_does_not_bring_a_deleted_environment_back() {
    let app = TestApp::start().await;
    let (id, key) = environment(&app, "staging").await;
    let sink = Sink::start([500, 500].map(Reply::status)).await;
    let (_, into) = furnish(&app, &key, &sink).await;
    sink.wait_for(1).await;
    app.idle().await;
    app.delete(&format!("{ENVIRONMENTS}/{id}")).await.ok(200);
    // Before anything of it is swept, and with a retry due on disk.
    assert!(app.store.has_tombstones().unwrap());
    let app = app.restart().await;
    app.clock.advance(Duration::from_millis(400));
    let refused = ask(&app, &key, "GET", APPS, Value::Null).await;
    refused.ok(401);
    app.request("POST", &into)
        .without_key()
        .send()
        .await
        .ok(404);
    app.until("it is swept", async || {
        app.clock.advance(Duration::from_millis(100));
        (!app.store.has_tombstones().unwrap()).then_some(())
    })
    .await;
    app.advance(Duration::from_secs(5)).await;
    app.idle().await;
    assert_eq!(sink.count(), 1);
    sound(&app.store);
}

#[tokio::test]
async fn what_becomes_of_environments_is_in_the_log_of_whoever_did_it() {
    let app = TestApp::start().await;
    let (id, _) = environment(&app, "one").await;
    let path = format!("{ENVIRONMENTS}/{id}");
    app.put(&path, json!({"name": "other"})).await.ok(200);
    let scopes = json!({"environment": id, "scopes": ["admin", "environments"], "name": "inside"});
    let inside = app.post("/api/v1/keys", scopes).await.ok(201).json();
    let inside = inside["key"].as_str().unwrap();
    let made = json!({"name": "two"});
    ask(&app, inside, "POST", ENVIRONMENTS, made).await.ok(201);
    let log = ask(&app, inside, "GET", "/api/v1/audit", Value::Null).await;
    let log = log.ok(200).items();
    assert_eq!(log[0]["action"], "environment.created");
    assert_eq!(log[0]["detail"], "two");
    // Its own log goes with it, so its end is in the first one's.
    ask(&app, inside, "DELETE", &path, Value::Null)
        .await
        .ok(200);
    let log = app.get("/api/v1/audit").await.ok(200).items();
    let told: Vec<_> = log
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    let want = [
        "environment.deleted",
        "environment.renamed",
        "environment.created",
    ];
    assert_eq!(told[..3], want);
    assert_eq!(
        (&log[0]["subject"], &log[0]["detail"]),
        (&json!(id), &json!("other"))
    );
    assert!(
        log[0]["actor"].as_str().unwrap().ends_with("(inside)"),
        "{}",
        log[0]
    );
}

/// Applications, inboxes and requests in them beyond what one step takes.
const MANY: usize = 520;
/// Steps of which each is looked at.
const STEPS_LOOKED_AT: usize = 20;

fn fresh<T>(written: Written<T>) -> T {
    match written {
        Written::Fresh(made) => made,
        Written::Repeated(_) => unreachable!("nothing is repeated"),
    }
}

#[test]
fn an_environment_of_any_size_is_swept_in_steps_that_leave_the_store_sound() {
    let machine = Machine::new(7, Durability::Fast);
    let store = machine.open().unwrap();
    let first = store.default_environment();
    let operator = Principal::operator(Scope::of_environment(first));
    let made = store.create_environment(operator, "big".to_owned(), None);
    let big = fresh(now_or_pump(&store, made).unwrap()).key;
    let scope = Scope::of_environment(big);
    fill(&store, big);
    // The neighbour's things are between its own in every table.
    let kept = store.create_application(first, "kept".to_owned(), None, None);
    now_or_pump(&store, kept).unwrap();
    let inbox = store.create_inbox(first, "kept".to_owned(), InboxChange::default(), None);
    now_or_pump(&store, inbox).unwrap();
    fill(&store, big);
    let before = store.check().unwrap();
    assert_eq!(before.inboxes, 2 * MANY as u64 + 1);
    sound(&store);
    let told = Arc::new(std::sync::Mutex::new(0));
    let counting = Arc::clone(&told);
    store.listen(move |changes| {
        let gone = |change: &&Change| matches!(change, Change::EnvironmentGone);
        *counting.lock().unwrap() += changes.iter().filter(gone).count();
    });
    now_or_pump(&store, store.delete_environment(operator, big)).unwrap();
    assert_eq!(*told.lock().unwrap(), 1);
    assert!(store.list_applications(scope, 0, 10).unwrap().is_empty());
    let mut steps = 0;
    let mut rows = store.dump().len();
    while now_or_pump(&store, store.sweep()).unwrap() {
        steps += 1;
        if steps <= STEPS_LOOKED_AT {
            sound(&store);
            let left = store.dump().len();
            assert!(rows - left <= 3 * 500, "{rows} to {left} rows in one step");
            rows = left;
        }
    }
    sound(&store);
    let after = store.check().unwrap();
    let left = (
        after.applications,
        after.inboxes,
        after.received,
        after.messages,
    );
    assert_eq!(left, (2, 1, 0, 0));
    // A step for each application, and some for the environment.
    assert!(steps > 2 * MANY + 4, "{steps}");
    store.close();
    let again = machine.open().unwrap();
    sound(&again);
    assert_eq!(again.catalog().environments().len(), 1);
}

/// Many applications, one of them with a message that waits, and many inboxes,
/// one of them with a request.
fn fill(store: &Store, environment: EnvironmentKey) {
    let scope = Scope::of_environment(environment);
    let applications = (0..MANY).map(|_| {
        let made = store.create_application(environment, "n".to_owned(), None, None);
        Box::pin(made) as Verb<'_, _>
    });
    let made: Vec<Result<Written<Application>, WriteError>> = together(store, applications);
    let application = fresh(made.into_iter().next().unwrap().unwrap()).key;
    let settings = EndpointChange {
        url: Some("https://example.com/".to_owned()),
        ..EndpointChange::default()
    };
    let endpoint = store.create_endpoint(scope, application, settings, None);
    now_or_pump(store, endpoint).unwrap();
    let new = message(application, "a.b", Some("m"), "{}");
    now_or_pump(store, store.accept(scope, new, None)).unwrap();
    let mark = now_or_pump(
        store,
        store.create_application(environment, "m".to_owned(), None, None),
    );
    let mark = fresh(mark.unwrap()).key.as_u64();
    let inboxes = (0..MANY).map(|n| {
        let token = format!("{mark}-{n}");
        let made = store.create_inbox(environment, token, InboxChange::default(), None);
        Box::pin(made) as Verb<'_, _>
    });
    let made: Vec<Result<Written<Inbox>, WriteError>> = together(store, inboxes);
    let inbox = fresh(made.into_iter().next().unwrap().unwrap()).key;
    let received = NewReceived {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: "x".into(),
        event_type: None,
        peer: None,
    };
    now_or_pump(store, store.receive(inbox, received, 0)).unwrap();
    let text = Secret::new(format!("hookpost_{mark}"));
    now_or_pump(
        store,
        store.create_api_key(environment, String::new(), &text),
    )
    .unwrap();
}

/// What is recorded after an environment was deleted must not load its
/// application anew for the engine to find.
#[test]
fn an_attempt_that_ends_after_its_environment_does_not_bring_the_endpoint_back() {
    let machine = Machine::new(9, Durability::Fast);
    let store = machine.open().unwrap();
    let operator = Principal::operator(Scope::of_environment(store.default_environment()));
    let made = store.create_environment(operator, "short".to_owned(), None);
    let short = fresh(now_or_pump(&store, made).unwrap()).key;
    let scope = Scope::of_environment(short);
    let made = store.create_application(short, "n".to_owned(), None, None);
    let application = fresh(now_or_pump(&store, made).unwrap()).key;
    let settings = EndpointChange {
        url: Some("https://example.com/".to_owned()),
        ..EndpointChange::default()
    };
    let made = store.create_endpoint(scope, application, settings, None);
    let endpoint = fresh(now_or_pump(&store, made).unwrap()).settings.key;
    let new = message(application, "a.b", None, "{}");
    let accepted = now_or_pump(&store, store.accept(scope, new, None)).unwrap();
    let message = fresh(accepted).content.0.key;
    assert!(store.live_endpoint(endpoint).unwrap().is_some());
    now_or_pump(&store, store.delete_environment(operator, short)).unwrap();
    assert!(store.live_endpoint(endpoint).unwrap().is_none());
    let (now, trigger) = (START, Trigger::Scheduled);
    let failed = attempt(application, endpoint, message, now, trigger, 500);
    let retry_at = Some(now.plus(Duration::from_secs(5)));
    now_or_pump(&store, record(&store, failed, (now, trigger), retry_at, 2)).unwrap();
    assert!(store.live_endpoint(endpoint).unwrap().is_none());
    assert!(store.application(application).unwrap().is_none());
    sound(&store);
}

/// A request that was let in before its environment was deleted makes nothing
/// in it afterwards, be it in the same commit.
#[test]
fn nothing_is_made_in_an_environment_that_is_deleted() {
    let machine = Machine::new(8, Durability::Fast);
    let store = machine.open().unwrap();
    let first = store.default_environment();
    let operator = Principal::operator(Scope::of_environment(first));
    let made = store.create_environment(operator, "short".to_owned(), None);
    let short = fresh(now_or_pump(&store, made).unwrap()).key;
    let scope = Scope::of_environment(short);
    let made = store.create_application(short, "n".to_owned(), None, None);
    let application = fresh(now_or_pump(&store, made).unwrap()).key;
    let inbox = store.create_inbox(short, "token".to_owned(), InboxChange::default(), None);
    let inbox = fresh(now_or_pump(&store, inbox).unwrap()).key;
    let text = Secret::new("hookpost_short");
    let key = store.create_api_key(short, String::new(), &text);
    let key = now_or_pump(&store, key).unwrap().key;
    let inside = Principal::operator(scope);
    let late = Secret::new("hookpost_late");
    for deleting in [true, false] {
        let attempts = || async {
            let received = NewReceived {
                method: "POST".to_owned(),
                path: "/".to_owned(),
                headers: Vec::new(),
                body: "x".into(),
                event_type: None,
                peer: None,
            };
            let new = message(application, "a.b", None, "{}");
            let settings = EndpointChange {
                url: Some("https://example.com/".to_owned()),
                ..EndpointChange::default()
            };
            let made = async {
                tokio::join!(
                    store.create_application(short, "late".to_owned(), None, None),
                    store.create_inbox(short, "late".to_owned(), InboxChange::default(), None),
                    store.create_api_key(short, String::new(), &late),
                    store.create_endpoint(scope, application, settings, None),
                )
            };
            let kept = async {
                tokio::join!(
                    store.accept(scope, new, None),
                    store.receive(inbox, received, 0),
                    store.rotate_api_key(inside, key, &late, None),
                    store.delete_application(inside, application),
                )
            };
            let (made, kept) = tokio::join!(made, kept);
            let made = [
                made.0.is_err(),
                made.1.is_err(),
                made.2.is_err(),
                made.3.is_err(),
            ];
            let kept = [
                kept.0.is_err(),
                kept.1.is_err(),
                kept.2.is_err(),
                kept.3.is_err(),
            ];
            (made, kept)
        };
        let refused = now_or_pump(&store, async {
            if deleting {
                let delete = store.delete_environment(operator, short);
                let (deleted, refused) = tokio::join!(biased; delete, attempts());
                deleted.unwrap();
                refused
            } else {
                attempts().await
            }
        });
        assert_eq!(
            refused,
            ([true; 4], [true; 4]),
            "in the same commit: {deleting}"
        );
        sound(&store);
    }
    while now_or_pump(&store, store.sweep()).unwrap() {}
    sound(&store);
    assert_eq!(store.check().unwrap().applications, 1);
}
