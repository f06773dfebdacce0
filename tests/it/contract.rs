//! The sending API, promise by promise, as its clients see it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests do"
)]

use std::time::Duration;

use hookpost::domain::time::Timestamp;
use http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
use serde_json::{Value, json};

use crate::support::app::{Answer, KEY, Options, START, TestApp};
use crate::support::redact::redacted;
use crate::support::sink::{Reply, Sink};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const APPS: &str = "/api/v1/applications";

/// A URL that is fine and leads nowhere.
const URL: &str = "http://127.0.0.1:9/hook";

fn messages(application: &str) -> String {
    format!("{APPS}/{application}/messages")
}

fn endpoints(application: &str) -> String {
    format!("{APPS}/{application}/endpoints")
}

fn names(answer: &Answer) -> Vec<String> {
    let items = answer.items();
    let name = |item: &Value| item["name"].as_str().unwrap().to_owned();
    items.iter().map(name).collect()
}

/// That an answer is an error in the usual form.
#[track_caller]
fn check_problem(answer: &Answer, status: u16, code: &str) {
    let context = format!("{} {}", answer.status, answer.text());
    assert_eq!(answer.status, status, "{context}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{context}");
    assert_eq!(problem["code"], code, "{context}");
    for name in ["type", "title", "detail"] {
        let text = problem[name].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "{name} of {context}");
    }
}

/// That an answer is a 422 about exactly these fields.
#[track_caller]
fn check_invalid(answer: &Answer, paths: &[&str]) {
    check_problem(answer, 422, "invalid");
    let problem = answer.json();
    let errors = problem["errors"].as_array().unwrap();
    let named: Vec<_> = errors.iter().map(|e| e["path"].as_str().unwrap()).collect();
    assert_eq!(named, paths, "{problem}");
    assert!(
        errors
            .iter()
            .all(|e| !e["detail"].as_str().unwrap().is_empty())
    );
}

#[track_caller]
fn check_empty_404(answer: &Answer) {
    assert_eq!((answer.status, answer.text().as_str()), (404, ""));
}

// Authentication.

#[tokio::test]
async fn the_key_comes_with_bearer_or_bare() {
    let app = TestApp::start().await;
    for value in [
        format!("Bearer {KEY}"),
        format!("bearer {KEY}"),
        KEY.to_owned(),
    ] {
        let answer = app.request("GET", APPS).header("authorization", &value);
        answer.send().await.ok(200);
    }
    for value in ["Bearer wrong", "Bearer", "", &format!("Basic {KEY}")] {
        let call = app.request("GET", APPS).header("authorization", value);
        check_problem(&call.send().await, 401, "unauthorized");
    }
    let without = app.request("GET", APPS).without_key().send().await;
    check_problem(&without, 401, "unauthorized");
    assert_eq!(without.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn nothing_of_the_api_answers_without_a_key() {
    let app = TestApp::start().await;
    for (method, path, _) in hookpost::api::native::ROUTES {
        let path = path
            .replace("{app}", "a")
            .replace("{ep}", "b")
            .replace("{msg}", "c")
            .replace("{atmpt}", "d")
            .replace("{token}", "e")
            .replace("{job}", "f")
            .replace("{key}", "f")
            .replace("{env}", "g");
        let call = app.request(method, &format!("/api/v1{path}"));
        check_problem(&call.without_key().send().await, 401, "unauthorized");
    }
}

#[tokio::test]
async fn a_rotated_or_revoked_key_stops_at_once() {
    use hookpost::domain::principal::{Principal, Scope};
    use hookpost::domain::secret::Secret;
    let app = TestApp::start().await;
    let text = |n: u8| format!("another-key-of-the-tests-{n:032}");
    let environment = app.store.default_environment();
    let first = Secret::new(text(1));
    let made = app.store.create_api_key(environment, "x".into(), &first);
    let key = made.await.unwrap().key;
    let status = async |n: u8| {
        let call = app.request("GET", APPS).header("authorization", &text(n));
        call.send().await.status
    };
    assert_eq!((status(1).await, status(2).await), (200, 401));
    let operator = Principal::operator(Scope::of_environment(environment));
    app.store
        .rotate_api_key(operator, key, &Secret::new(text(2)), None)
        .await
        .unwrap();
    assert_eq!((status(1).await, status(2).await), (401, 200));
    app.store.revoke_api_key(operator, key).await.unwrap();
    assert_eq!((status(1).await, status(2).await), (401, 401));
}

// Ids and uids.

#[tokio::test]
async fn every_path_takes_ids_and_uids_percent_encoded_too() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    // Each uid, and how it may stand in a path.
    for (n, (uid, encoded)) in [
        ("plain", "plain"),
        ("with space", "with%20space"),
        ("a/b", "a%2Fb"),
        ("snow☃", "snow%E2%98%83"),
        ("100%", "100%25"),
        ("a+b", "a+b"),
        ("a?b#c", "a%3Fb%23c"),
        (
            "F-95ad51b6-a10a-49b0-b131-84752e2b422d",
            "F%2d95ad51b6-a10a-49b0-b131-84752e2b422d",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let made = app.post(APPS, json!({"name": "x", "uid": uid})).await;
        let application = made.ok(201).id();
        let fields = json!({"url": sink.url(), "uid": uid});
        let endpoint = app
            .post(&endpoints(&application), fields)
            .await
            .ok(201)
            .id();
        let fields = json!({"eventType": "a.b", "payload": n, "uid": uid});
        let message = app.post(&messages(encoded), fields).await.ok(202).id();
        app.stands(&application, &message, "success", 1).await;
        let attempts = app
            .get(&format!("{}/{encoded}/attempts", endpoints(encoded)))
            .await
            .ok(200);
        let attempt = attempts.items()[0]["id"].as_str().unwrap().to_owned();
        for (a, e, m) in [
            (application.as_str(), endpoint.as_str(), message.as_str()),
            (encoded, encoded, encoded),
        ] {
            let one = app.get(&format!("{APPS}/{a}")).await.ok(200).json();
            assert_eq!(
                (one["id"].as_str(), one["uid"].as_str()),
                (Some(&*application), Some(uid))
            );
            let one = app
                .get(&format!("{}/{e}", endpoints(a)))
                .await
                .ok(200)
                .json();
            assert_eq!(
                (one["id"].as_str(), one["uid"].as_str()),
                (Some(&*endpoint), Some(uid))
            );
            let one = app
                .get(&format!("{}/{m}", messages(a)))
                .await
                .ok(200)
                .json();
            assert_eq!(
                (one["id"].as_str(), one["uid"].as_str()),
                (Some(&*message), Some(uid))
            );
            app.get(&endpoints(a)).await.ok(200);
            app.get(&messages(a)).await.ok(200);
            app.get(&format!("{}/{e}/secret", endpoints(a)))
                .await
                .ok(200);
            app.get(&format!("{}/{m}/endpoint-messages", messages(a)))
                .await
                .ok(200);
            app.get(&format!("{}/{m}/attempts", messages(a)))
                .await
                .ok(200);
            app.get(&format!("{}/{m}/attempts/{attempt}", messages(a)))
                .await
                .ok(200);
            app.post(
                &format!("{}/{m}/endpoints/{e}/replays", messages(a)),
                json!({}),
            )
            .await
            .ok(202);
            app.put(&format!("{APPS}/{a}"), json!({"name": "y"}))
                .await
                .ok(200);
            app.put(&format!("{}/{e}", endpoints(a)), json!({"name": "y"}))
                .await
                .ok(200);
        }
        app.delete(&format!("{}/{encoded}", endpoints(encoded)))
            .await
            .ok(200);
        app.delete(&format!("{APPS}/{encoded}")).await.ok(200);
    }
}

#[tokio::test]
async fn a_uid_has_1_to_256_characters_and_no_controls() {
    let app = TestApp::start().await;
    let longest = "☃".repeat(256);
    let made = app.post(APPS, json!({"name": "x", "uid": longest})).await;
    assert_eq!(made.ok(201).json()["uid"], longest);
    for uid in ["", "a\nb", "a\u{0}", "\u{7f}", &"x".repeat(257)] {
        let answer = app.post(APPS, json!({"name": "x", "uid": uid})).await;
        check_invalid(&answer, &["uid"]);
    }
    check_invalid(
        &app.post(APPS, json!({"name": "x", "uid": 5})).await,
        &["uid"],
    );
}

#[tokio::test]
async fn uids_of_applications_and_endpoints_are_unique() {
    let app = TestApp::start().await;
    let named = |uid: &str| json!({"name": "x", "uid": uid, "url": URL});
    let first = app.post(APPS, named("a")).await.ok(201).id();
    check_problem(&app.post(APPS, named("a")).await, 409, "uid_taken");
    let second = app.post(APPS, named("b")).await.ok(201).id();
    let put = app.put(&format!("{APPS}/{second}"), named("a")).await;
    check_problem(&put, 409, "uid_taken");
    app.put(&format!("{APPS}/{second}"), named("b"))
        .await
        .ok(200);
    // Within an application; another may use the same.
    app.post(&endpoints(&first), named("e")).await.ok(201);
    app.post(&endpoints(&second), named("e")).await.ok(201);
    let again = app.post(&endpoints(&first), named("e")).await;
    check_problem(&again, 409, "uid_taken");
    let other = app.post(&endpoints(&first), named("f")).await.ok(201).id();
    let put = app
        .put(&format!("{}/{other}", endpoints(&first)), named("e"))
        .await;
    check_problem(&put, 409, "uid_taken");
    // What was given up is free again.
    app.put(&format!("{APPS}/{second}"), named("c"))
        .await
        .ok(200);
    app.post(APPS, named("b")).await.ok(201);
    app.delete(&format!("{APPS}/a")).await.ok(200);
    app.post(APPS, named("a")).await.ok(201);
    check_empty_404(&app.get(&format!("{}/e", endpoints("a"))).await);
}

#[tokio::test]
async fn a_message_uid_is_not_unique_and_means_the_newest() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let path = messages(&application);
    let send = async |n: u32| {
        let body = json!({"eventType": "a.b", "payload": n, "uid": "order-1"});
        app.post(&path, body).await.ok(202).id()
    };
    let ids = [send(1).await, send(2).await, send(3).await];
    let by_uid = app.get(&format!("{path}/order-1")).await.ok(200).json();
    assert_eq!(by_uid["id"], ids[2].as_str());
    assert_eq!(by_uid["payload"], 3);
    let first = app.get(&format!("{path}/{}", ids[0])).await.ok(200).json();
    assert_eq!(first["payload"], 1);
    assert_eq!(app.get(&path).await.items().len(), 3);
}

#[tokio::test]
async fn applications_do_not_see_one_anothers_things() {
    let app = TestApp::start().await;
    let (one, other) = (app.application().await, app.application().await);
    let endpoint = app.endpoint(&one, URL, json!({"uid": "e"})).await;
    let message = app.message(&one, "a.b", json!(1)).await;
    check_empty_404(&app.get(&format!("{}/{endpoint}", endpoints(&other))).await);
    check_empty_404(&app.get(&format!("{}/e", endpoints(&other))).await);
    check_empty_404(&app.get(&format!("{}/{message}", messages(&other))).await);
    assert!(app.get(&messages(&other)).await.items().is_empty());
    assert!(app.get(&endpoints(&other)).await.items().is_empty());
    let replay = format!(
        "{}/{message}/endpoints/{endpoint}/replays",
        messages(&other)
    );
    check_problem(&app.post(&replay, json!({})).await, 404, "not_found");
    let path = format!("{}/{endpoint}", endpoints(&other));
    let put = app.put(&path, json!({"name": "x"})).await;
    check_problem(&put, 404, "not_found");
}

// Idempotency.

#[tokio::test]
async fn an_idempotency_key_repeats_the_first_successful_answer_for_a_day() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let application = app.application().await;
    app.endpoint(&application, &sink.url(), json!({})).await;
    let path = messages(&application);
    let send = async |path: &str, key: &str, body: Value| {
        let call = app.request("POST", path).header("idempotency-key", key);
        call.json(&body).send().await
    };
    let body = |n: u32| json!({"eventType": "a.b", "payload": n});
    // A failure is not kept.
    check_invalid(
        &send(&path, "k", json!({"payload": 1})).await,
        &["eventType"],
    );
    let first = send(&path, "k", body(1)).await.ok(202);
    app.advance(SECOND).await;
    // The body is not compared.
    let second = send(&path, "k", body(2)).await.ok(202);
    assert_eq!(first.body, second.body);
    assert_eq!(first.header("content-type"), second.header("content-type"));
    // The scope is the path and the key.
    assert_ne!(send(&path, "other", body(1)).await.ok(202).id(), first.id());
    let elsewhere = app.application().await;
    let third = send(&messages(&elsewhere), "k", body(1)).await.ok(202);
    assert_ne!(third.id(), first.id());
    assert_eq!(app.get(&path).await.items().len(), 2);
    app.advance(DAY.saturating_sub(2 * SECOND)).await;
    assert_eq!(send(&path, "k", body(3)).await.ok(202).body, first.body);
    app.advance(2 * SECOND).await;
    let fresh = send(&path, "k", body(4)).await.ok(202);
    assert_ne!(fresh.id(), first.id());
    assert_eq!(send(&path, "k", body(5)).await.ok(202).body, fresh.body);
    sink.wait_for(3).await;
    app.idle().await;
    assert_eq!(sink.count(), 3);
}

#[tokio::test]
async fn an_idempotency_key_counts_on_every_post_and_survives_a_restart() {
    let app = TestApp::start().await;
    let post = async |app: &TestApp, path: &str, body: Value| {
        let call = app.request("POST", path).header("idempotency-key", "same");
        let answer = call.json(&body).send().await;
        assert!(answer.status < 300, "{}", answer.text());
        answer
    };
    let made = post(&app, APPS, json!({"name": "x", "uid": "u"})).await;
    let again = post(&app, APPS, json!({"name": "x", "uid": "u"})).await;
    assert_eq!((made.status, &made.body), (again.status, &again.body));
    let application = made.id();
    let path = endpoints(&application);
    let one = post(&app, &path, json!({"url": URL})).await;
    let two = post(&app, &path, json!({"url": URL})).await;
    assert_eq!((one.status, &one.body), (two.status, &two.body));
    let inbox = post(&app, "/api/v1/inboxes", json!({})).await;
    let inbox_again = post(&app, "/api/v1/inboxes", json!({})).await;
    assert_eq!(inbox.body, inbox_again.body);
    let app = app.restart().await;
    let again = post(&app, APPS, json!({"name": "other"})).await;
    assert_eq!(again.body, made.body);
    assert_eq!(app.get(APPS).await.items().len(), 1);
    assert_eq!(app.get(&path).await.items().len(), 1);
}

#[tokio::test]
async fn concurrent_duplicates_make_one_message() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let application = app.application().await;
    app.endpoint(&application, &sink.url(), json!({})).await;
    let path = messages(&application);
    let calls = (0..20).map(|n| {
        app.request("POST", &path)
            .header("idempotency-key", "same")
            .json(&json!({"eventType": "a.b", "payload": n}))
            .send()
    });
    let answers = futures_util::future::join_all(calls).await;
    let first = &answers[0];
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (202, &first.body));
    }
    assert_eq!(app.get(&path).await.items().len(), 1);
    sink.wait_for(1).await;
    app.idle().await;
    assert_eq!(sink.count(), 1);
}

#[tokio::test]
async fn other_methods_ignore_the_idempotency_key_and_bad_ones_are_refused() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let path = format!("{APPS}/{application}");
    for name in ["first", "second"] {
        let call = app.request("PUT", &path).header("idempotency-key", "k");
        let changed = call.json(&json!({"name": name})).send().await.ok(200);
        assert_eq!(changed.json()["name"], name);
    }
    for key in ["", "with space", &"x".repeat(257)] {
        let call = app.request("POST", APPS).header("idempotency-key", key);
        let answer = call.json(&json!({"name": "x"})).send().await;
        check_problem(&answer, 400, "bad_idempotency_key");
    }
}

// null, PUT, shapes.

#[tokio::test]
async fn null_is_the_same_as_leaving_a_field_out() {
    let app = TestApp::start().await;
    let made = app.post(APPS, json!({"name": "x", "uid": null})).await;
    let application = made.ok(201).id();
    let nulls = json!({
        "url": URL, "name": null, "uid": null, "channels": null, "enabled": null,
        "eventTypes": null, "headers": null, "secrets": null, "description": null,
        "paused": null, "signatures": null, "retrySchedule": null, "rateLimit": null,
        "timeoutSeconds": null, "success": null, "metadata": null,
        "payloadInHeaders": null, "asciiBody": null
    });
    let path = endpoints(&application);
    let with_nulls = app.post(&path, nulls.clone()).await.ok(201).json();
    let without = app.post(&path, json!({"url": URL})).await.ok(201).json();
    assert_eq!(redacted(with_nulls.clone()), redacted(without));
    // On PUT too: everything keeps its value.
    let full = json!({
        "url": URL, "name": "n", "uid": "u", "channels": ["c"], "enabled": false,
        "eventTypes": ["a.b"], "headers": {"x-a": "1"}, "secrets": ["text"],
        "description": "d", "paused": true, "signatures": [{"scheme": "standard"}],
        "retrySchedule": ["1s"], "rateLimit": 5, "timeoutSeconds": 7,
        "success": {"status": 201, "body": null}, "metadata": {"k": "v"},
        "payloadInHeaders": true, "asciiBody": true
    });
    let before = app.post(&path, full).await.ok(201).json();
    let id = before["id"].as_str().unwrap();
    let mut puts = nulls;
    puts["url"] = Value::Null;
    let after = app.put(&format!("{path}/{id}"), puts).await.ok(200).json();
    assert_eq!(before, after);
    let after = app
        .put(&format!("{path}/{id}"), json!({}))
        .await
        .ok(200)
        .json();
    assert_eq!(before, after);
    let secret = app.get(&format!("{path}/{id}/secret")).await.ok(200).json();
    assert_eq!(secret["text"], "text");
    let missing = app.post(&path, json!({"url": null})).await;
    check_invalid(&missing, &["url"]);
    let body = json!({"eventType": "a.b", "payload": null, "channels": null, "uid": null});
    check_invalid(&app.post(&messages(&application), body).await, &["payload"]);
}

#[tokio::test]
async fn empty_lists_and_objects_clear_but_secrets_stay() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let path = endpoints(&application);
    let full = json!({
        "url": URL, "channels": ["c"], "eventTypes": ["a.b"], "headers": {"x-a": "1"},
        "secrets": ["text"], "signatures": [{"scheme": "standard"}],
        "retrySchedule": ["1s"], "metadata": {"k": "v"}
    });
    let id = app.post(&path, full).await.ok(201).id();
    let empty = json!({
        "channels": [], "eventTypes": [], "headers": {}, "secrets": [],
        "signatures": [], "retrySchedule": [], "metadata": {}
    });
    let after = app
        .put(&format!("{path}/{id}"), empty.clone())
        .await
        .ok(200)
        .json();
    for (name, value) in empty.as_object().unwrap() {
        assert_eq!(&after[name], value, "{name}");
    }
    let secret = app.get(&format!("{path}/{id}/secret")).await.ok(200).json();
    assert_eq!(secret["text"], "text");
    let change = json!({"secrets": ["another"]});
    app.put(&format!("{path}/{id}"), change).await.ok(200);
    let secret = app.get(&format!("{path}/{id}/secret")).await.ok(200).json();
    assert_eq!(secret["text"], "another");
}

#[tokio::test]
async fn the_shapes_of_resources_stay() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(500).body("no").header("x-a", "1")]).await;
    let made = app
        .post(APPS, json!({"name": "Example", "uid": "acme"}))
        .await;
    let application = made.ok(201).id();
    let show = async |path: &str| redacted(app.get(path).await.ok(200).json());
    insta::assert_json_snapshot!("application", show(&format!("{APPS}/acme")).await);
    let fields = json!({
        "url": sink.url(), "name": "Orders", "uid": "orders", "channels": ["acme/repo"],
        "eventTypes": ["order.**"], "headers": {"x-tenant": "7", "x-api-secret": "hidden"},
        "secrets": ["plain"], "description": "All orders", "rateLimit": 50,
        "timeoutSeconds": 10, "success": {"status": 200, "body": "OK"}, "metadata": {"a": "b"}
    });
    app.post(&endpoints("acme"), fields).await.ok(201);
    insta::assert_json_snapshot!(
        "endpoint",
        show(&format!("{}/orders", endpoints("acme"))).await
    );
    let least = app.endpoint("acme", URL, json!({"enabled": false})).await;
    insta::assert_json_snapshot!(
        "endpoint_with_defaults",
        show(&format!("{}/{least}", endpoints("acme"))).await
    );
    insta::assert_json_snapshot!(
        "secret",
        show(&format!("{}/orders/secret", endpoints("acme"))).await
    );
    let fields = json!({
        "eventType": "order.paid", "payload": {"n": 1}, "uid": "m1", "channels": ["acme/repo"]
    });
    app.post(&messages("acme"), fields).await.ok(202);
    insta::assert_json_snapshot!("message", show(&format!("{}/m1", messages("acme"))).await);
    app.stands(&application, "m1", "pending", 1).await;
    insta::assert_json_snapshot!(
        "endpoint_messages",
        show(&format!("{}/m1/endpoint-messages", messages("acme"))).await
    );
    insta::assert_json_snapshot!(
        "attempts",
        show(&format!("{}/m1/attempts", messages("acme"))).await
    );
}

#[tokio::test]
async fn every_call_answers_with_the_resource() {
    let app = TestApp::start().await;
    let made = app
        .post(APPS, json!({"name": "a", "uid": "u"}))
        .await
        .ok(201);
    let path = format!("{APPS}/{}", made.id());
    assert_eq!(made.header("content-type"), "application/json");
    assert_eq!(app.get(&path).await.ok(200).json(), made.json());
    assert_eq!(app.get(APPS).await.ok(200).items(), [made.json()]);
    app.advance(SECOND).await;
    let changed = app.put(&path, json!({"name": "b"})).await.ok(200).json();
    assert_eq!(changed["name"], "b");
    assert_eq!(changed["uid"], "u");
    assert_eq!(changed["created"], START.0);
    assert_eq!(changed["updated"], START.0 + 1000);
    let one = app.post(&endpoints("u"), json!({"url": URL})).await.ok(201);
    let one_path = format!("{}/{}", endpoints("u"), one.id());
    assert_eq!(app.get(&one_path).await.ok(200).json(), one.json());
    assert_eq!(app.get(&endpoints("u")).await.ok(200).items(), [one.json()]);
    assert_eq!(app.delete(&one_path).await.ok(200).json(), one.json());
    assert!(app.get(&endpoints("u")).await.ok(200).items().is_empty());
    let body = json!({"eventType": "a.b", "payload": {"n": [1, 2]}});
    let message = app.post(&messages("u"), body).await.ok(202);
    let message_path = format!("{}/{}", messages("u"), message.id());
    assert_eq!(app.get(&message_path).await.ok(200).body, message.body);
    assert_eq!(
        app.get(&messages("u")).await.ok(200).items(),
        [message.json()]
    );
    assert_eq!(app.delete(&path).await.ok(200).json(), changed);
    assert!(app.get(APPS).await.ok(200).items().is_empty());
}

#[tokio::test]
async fn request_bodies_may_be_chunked() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let app = TestApp::start().await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    let mut stream = socket.connect(app.address).await.unwrap();
    let head = format!(
        "POST {APPS} HTTP/1.1\r\nhost: x\r\nauthorization: {KEY}\r\nconnection: close\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    let chunks = "9\r\n{\"name\": \r\nc\r\n\"in chunks\"}\r\n0\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(chunks.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(names(&app.get(APPS).await), ["in chunks"]);
}

// CORS.

#[tokio::test]
async fn a_preflight_is_answered_without_a_key() {
    let app = TestApp::start().await;
    for path in [
        APPS,
        "/api/v1/applications/x/messages",
        "/api/v1/nothing/here",
    ] {
        let answer = app
            .request("OPTIONS", path)
            .without_key()
            .header("origin", "https://example.com")
            .header("access-control-request-method", "PUT")
            .send()
            .await;
        assert_eq!(answer.status / 100, 2, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let methods = answer.header("access-control-allow-methods").to_owned();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            assert!(methods.contains(method), "{method} in {methods}");
        }
        let headers = answer.header("access-control-allow-headers");
        assert_eq!(headers, "Authorization, Idempotency-Key, Content-Type");
    }
}

#[tokio::test]
async fn every_answer_of_the_api_is_open_to_browsers() {
    let app = TestApp::start().await;
    let application = app.application().await;
    for (method, path, body, status) in [
        ("GET", APPS.to_owned(), "", 200),
        ("GET", "/api/v1/nothing/here".to_owned(), "", 404),
        ("GET", format!("{APPS}/none"), "", 404),
        ("GET", messages("none"), "", 404),
        ("PATCH", APPS.to_owned(), "", 405),
        ("POST", APPS.to_owned(), "{", 400),
        ("POST", APPS.to_owned(), "{}", 422),
        ("GET", format!("{APPS}/%ff"), "", 404),
        ("GET", format!("{APPS}?page=x"), "", 422),
        ("POST", messages(&application), &*" ".repeat(5_000_000), 413),
    ] {
        let call = app.request(method, &path).body(body.to_owned());
        let answer = call.send().await.ok(status);
        let origin = answer.headers.get(ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(origin.unwrap(), "*", "{method} {path}");
        let exposed = answer.header("access-control-expose-headers");
        assert_eq!(exposed, "Link", "{method} {path}");
    }
    let answer = app.request("GET", APPS).without_key().send().await.ok(401);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
}

// Errors.

#[tokio::test]
async fn get_of_one_thing_that_is_not_there_is_404_with_an_empty_body() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let message = app.message(&application, "a.b", json!(1)).await;
    for path in [
        format!("{APPS}/none"),
        format!("{APPS}/app_notanid"),
        format!("{APPS}/{message}"),
        format!("{APPS}/%00"),
        format!("{APPS}/%ff"),
        format!("{APPS}/{}", "x".repeat(3000)),
        format!("{}/none", endpoints(&application)),
        format!("{}/%ff", endpoints(&application)),
        format!("{}/none", endpoints("none")),
        format!("{}/none/secret", endpoints(&application)),
        format!("{}/none", messages(&application)),
        format!("{}/msg_3MRFiUHTQiMrvNqrWkT9PlQtaJg", messages(&application)),
        format!("{}/none", messages("none")),
        format!("{}/{message}/attempts/none", messages(&application)),
        format!("{}/none/attempts/none", messages(&application)),
        "/api/v1/inboxes/none".to_owned(),
    ] {
        let answer = app.get(&path).await;
        let got = (answer.status, answer.text());
        assert_eq!(got, (404, String::new()), "{path}");
    }
}

#[tokio::test]
async fn whatever_else_is_not_there_is_a_problem() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let message = app.message(&application, "a.b", json!(1)).await;
    for (method, path) in [
        ("GET", endpoints("none")),
        ("GET", messages("none")),
        ("GET", format!("{}/none/attempts", endpoints(&application))),
        ("GET", format!("{}/none/attempts", messages(&application))),
        (
            "GET",
            format!("{}/none/endpoint-messages", messages(&application)),
        ),
        ("GET", "/api/v1/inboxes/none/received".to_owned()),
        ("PUT", format!("{APPS}/none")),
        ("PUT", format!("{APPS}/%ff")),
        ("PUT", format!("{}/none", endpoints(&application))),
        ("PUT", "/api/v1/inboxes/none".to_owned()),
        ("DELETE", format!("{APPS}/none")),
        ("DELETE", format!("{}/none", endpoints(&application))),
        ("POST", endpoints("none")),
        ("POST", messages("none")),
        (
            "POST",
            format!(
                "{}/{message}/endpoints/none/replays",
                messages(&application)
            ),
        ),
    ] {
        let body = json!({"name": "x", "url": URL, "eventType": "a.b", "payload": 1});
        let answer = app.request(method, &path).json(&body).send().await;
        check_problem(&answer, 404, "not_found");
    }
    check_problem(&app.get("/api/v1/nothing").await, 404, "no_route");
    check_problem(&app.get("/nothing").await, 404, "no_route");
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_405_and_names_those_it_takes() {
    let app = TestApp::start().await;
    let answer = app.delete(APPS).await;
    check_problem(&answer, 405, "no_method");
    let mut allowed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}

#[tokio::test]
async fn a_slash_at_the_end_of_a_path_is_taken_too() {
    let app = TestApp::start().await;
    let made = app.post(&format!("{APPS}/"), json!({"name": "x"})).await;
    let path = format!("{APPS}/{}/", made.ok(201).id());
    app.get(&path).await.ok(200);
}

#[tokio::test]
async fn bodies_that_are_no_json_objects_are_refused() {
    let app = TestApp::start().await;
    for (body, status, code) in [
        ("", 400, "bad_json"),
        ("{\"name\": \"x\"", 400, "bad_json"),
        ("{\"name\": \"x\"} x", 400, "bad_json"),
        ("{\"name\": \"x\", \"name\": \"y\"}", 400, "bad_json"),
        ("[]", 422, "invalid"),
        ("\"x\"", 422, "invalid"),
        ("null", 422, "invalid"),
    ] {
        let answer = app.request("POST", APPS).body(body).send().await;
        check_problem(&answer, status, code);
    }
    let call = app.request("POST", APPS).header("content-encoding", "gzip");
    let answer = call.json(&json!({"name": "x"})).send().await;
    check_problem(&answer, 415, "compressed");
}

#[tokio::test]
async fn every_field_that_is_wrong_is_named() {
    let app = TestApp::start().await;
    let application = app.application().await;
    check_invalid(&app.post(APPS, json!({})).await, &["name"]);
    let all = json!({
        "name": 1, "uid": "", "url": 1, "enabled": "yes", "paused": 0,
        "eventTypes": ["a b", "ok"], "channels": [1], "headers": {"x": 1},
        "secrets": [""], "signatures": [{"scheme": "rot13"}], "retrySchedule": ["soon"],
        "rateLimit": -1, "timeoutSeconds": 61, "success": {"status": 42}, "metadata": []
    });
    let answer = app.post(&endpoints(&application), all).await.ok(422).json();
    let mut named: Vec<_> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["path"].as_str().unwrap())
        .collect();
    named.sort_unstable();
    let want = [
        "channels[0]",
        "enabled",
        "headers",
        "metadata",
        "name",
        "paused",
        "rateLimit",
        "secrets[0]",
        "success.status",
        "timeoutSeconds",
        "uid",
        "url",
    ];
    assert_eq!(named, want);
    for (field, value, path) in [
        ("eventTypes", json!(["a b"]), "eventTypes[0]"),
        ("signatures", json!([{"scheme": "rot13"}]), "signatures[0]"),
        ("signatures", json!([{}]), "signatures[0].scheme"),
        ("retrySchedule", json!(["5s", "soon"]), "retrySchedule[1]"),
        ("headers", json!({"webhook-id": "x"}), "headers.webhook-id"),
        (
            "headers",
            json!({"Content-Length": "1"}),
            "headers.Content-Length",
        ),
        ("headers", json!({"x y": "1"}), "headers.x y"),
        ("headers", json!({"x-a": "1\r\nx-b: 2"}), "headers.x-a"),
        ("headers", json!({"x-secret": "••••"}), "headers.x-secret"),
        ("secrets", json!(["whsec_%%%"]), "secrets[0]"),
    ] {
        let body = json!({"url": URL, field: value});
        check_invalid(&app.post(&endpoints(&application), body).await, &[path]);
    }
    assert!(app.get(&endpoints(&application)).await.items().is_empty());
}

#[tokio::test]
async fn urls_that_lead_inside_are_refused() {
    let app = TestApp::start_with(Options {
        names: vec![
            ("inside.example", "10.0.0.1"),
            ("good.example", "93.184.216.34"),
        ],
        ..Options::default()
    })
    .await;
    let application = app.application().await;
    for url in [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest",
        "http://[::1]/",
        "http://inside.example/",
        "ftp://good.example/",
        "no url",
        "",
    ] {
        let answer = app
            .post(&endpoints(&application), json!({"url": url}))
            .await;
        check_problem(&answer, 422, "endpoint_url_blocked");
        assert_eq!(answer.json()["errors"][0]["path"], "url");
    }
    let id = app
        .endpoint(&application, "http://good.example/", json!({}))
        .await;
    let path = format!("{}/{id}", endpoints(&application));
    let moved = app.put(&path, json!({"url": "http://10.0.0.1/"})).await;
    check_problem(&moved, 422, "endpoint_url_blocked");
    assert_eq!(app.dialler.dials(), 0);
}

// Lists.

#[tokio::test]
async fn applications_and_endpoints_are_listed_whole_unless_a_page_is_asked_for() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let mut want = vec!["Example".to_owned()];
    for n in 1..=120 {
        let name = format!("a{n}");
        app.post(APPS, json!({"name": name})).await.ok(201);
        app.endpoint(&application, URL, json!({"name": name})).await;
        want.push(name);
    }
    for (path, want) in [
        (APPS.to_owned(), &want[..]),
        (endpoints(&application), &want[1..]),
    ] {
        assert_eq!(names(&app.get(&path).await), want);
        for (query, part) in [
            ("page=1", &want[..100]),
            ("page=2", &want[100..]),
            ("page=3", &[]),
            ("pageSize=7", &want[..7]),
            ("page=2&pageSize=7", &want[7..14]),
            ("page=1&pageSize=250", want),
        ] {
            assert_eq!(
                names(&app.get(&format!("{path}?{query}")).await),
                part,
                "{query}"
            );
        }
        for query in ["page=0", "pageSize=0", "pageSize=251", "page=x", "page=-1"] {
            let answer = app.get(&format!("{path}?{query}")).await;
            let (name, _) = query.split_once('=').unwrap();
            check_invalid(&answer, &[&format!("?{name}")]);
        }
    }
}

/// Follows `Link` from `path` to the end; the pages' sizes, and all ids.
async fn follow(app: &TestApp, path: String) -> (Vec<usize>, Vec<String>) {
    let (mut sizes, mut ids) = (Vec::new(), Vec::new());
    let mut next = Some(path);
    while let Some(path) = next {
        let answer = app.get(&path).await.ok(200);
        let items = answer.items();
        sizes.push(items.len());
        ids.extend(
            items
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        let link = answer.header("link");
        next = link
            .strip_suffix(">; rel=\"next\"")
            .map(|link| link[1..].to_owned());
        assert!(next.is_some() || link.is_empty(), "{link}");
    }
    (sizes, ids)
}

#[tokio::test]
async fn messages_and_attempts_come_newest_first_a_hundred_a_page() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let application = app.application().await;
    let endpoint = app.endpoint(&application, &sink.url(), json!({})).await;
    let mut sent = Vec::new();
    for n in 0..205 {
        sent.push(app.message(&application, "a.b", json!(n)).await);
    }
    sent.reverse();
    let path = messages(&application);
    assert_eq!(
        follow(&app, path.clone()).await,
        (vec![100, 100, 5], sent.clone())
    );
    let (sizes, ids) = follow(&app, format!("{path}?pageSize=41")).await;
    assert_eq!((sizes, ids), (vec![41; 5], sent.clone()));
    let before = app
        .get(&format!("{path}?before={}&pageSize=2", sent[10]))
        .await;
    let shown = before.items();
    assert_eq!(shown[0]["id"], sent[11].as_str());
    assert_eq!(shown[1]["id"], sent[12].as_str());
    check_invalid(&app.get(&format!("{path}?before=x")).await, &["?before"]);
    app.stands(&application, &sent[0], "success", 1).await;
    let path = format!("{}/{endpoint}/attempts", endpoints(&application));
    app.until("all attempts are recorded", async || {
        let store = app.get("/api/v1/store").await.json();
        (store["attempts"] == 205).then_some(())
    })
    .await;
    let (sizes, ids) = follow(&app, path).await;
    assert_eq!(sizes, [100, 100, 5]);
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.reverse();
    sorted.dedup();
    assert_eq!(ids, sorted, "newest first, each once");
}

// Event types, channels, fan-out.

#[tokio::test]
async fn event_types_are_names_with_segments() {
    let app = TestApp::start().await;
    let path = messages(&app.application().await);
    let longest = "x".repeat(256);
    for event_type in [
        "route.optimized",
        "route.optimized.Example.673f48095739843f4de65ec9",
        "A-b_9",
        ".",
        &longest,
    ] {
        app.post(&path, json!({"eventType": event_type, "payload": 1}))
            .await
            .ok(202);
    }
    let too_long = "x".repeat(257);
    for event_type in [
        "",
        "a b",
        "cluster.optimized.Zürich",
        "a/b",
        "a*",
        &too_long,
    ] {
        let body = json!({"eventType": event_type, "payload": 1});
        check_invalid(&app.post(&path, body).await, &["eventType"]);
    }
    check_invalid(
        &app.post(&path, json!({"payload": 1})).await,
        &["eventType"],
    );
    check_invalid(
        &app.post(&path, json!({"eventType": 1})).await,
        &["eventType", "payload"],
    );
}

#[tokio::test]
async fn a_message_goes_to_the_endpoints_that_subscribe_to_it() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let application = app.application().await;
    let subscriptions = [
        ("all", json!([]), json!([])),
        ("exact", json!(["cluster.optimized"]), json!([])),
        ("one", json!(["cluster.optimized.*"]), json!([])),
        ("any", json!(["cluster.optimized.**"]), json!([])),
        ("two", json!(["other", "cluster.optimized"]), json!([])),
        ("channel", json!([]), json!(["acme/repo"])),
        (
            "both",
            json!(["cluster.optimized"]),
            json!(["x", "acme/repo"]),
        ),
    ];
    for (name, event_types, channels) in subscriptions {
        let fields = json!({"name": name, "eventTypes": event_types, "channels": channels});
        app.endpoint(&application, &sink.url(), fields).await;
    }
    for (event_type, channels, want) in [
        ("cluster.optimized", json!([]), vec!["all", "exact", "two"]),
        ("cluster.optimized.a", json!([]), vec!["all", "any", "one"]),
        ("cluster.optimized.a.b", json!([]), vec!["all", "any"]),
        ("Cluster.optimized", json!([]), vec!["all"]),
        (
            "cluster.optimized",
            json!(["acme/repo", "y"]),
            vec!["all", "both", "channel", "exact", "two"],
        ),
        (
            "cluster.optimized",
            json!(["Acme/repo"]),
            vec!["all", "exact", "two"],
        ),
        ("else", json!(["acme/repo"]), vec!["all", "channel"]),
    ] {
        let body = json!({"eventType": event_type, "payload": 1, "channels": channels});
        let message = app.post(&messages(&application), body).await.ok(202).id();
        let rows = app.endpoint_messages(&application, &message).await;
        let mut got: Vec<_> = rows
            .iter()
            .map(|row| row["endpoint"]["name"].as_str().unwrap())
            .collect();
        got.sort_unstable();
        assert_eq!(got, want, "{event_type} {channels}");
    }
}

#[tokio::test]
async fn channels_have_1_to_128_characters_and_no_controls() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let longest = "☃".repeat(128);
    let body =
        |channel: &str| json!({"eventType": "a", "payload": 1, "channels": [channel], "url": URL});
    for path in [messages(&application), endpoints(&application)] {
        let made = app.post(&path, body(&longest)).await;
        assert_eq!(made.json()["channels"], json!([longest]));
        for channel in ["", "a\tb", &"x".repeat(129)] {
            check_invalid(&app.post(&path, body(channel)).await, &["channels[0]"]);
        }
    }
}

#[tokio::test]
async fn a_message_for_nobody_is_kept_and_shown() {
    let app = TestApp::start().await;
    let application = app.application().await;
    app.endpoint(&application, URL, json!({"eventTypes": ["other"]}))
        .await;
    let message = app.message(&application, "a.b", json!({"n": 1})).await;
    assert!(
        app.endpoint_messages(&application, &message)
            .await
            .is_empty()
    );
    let shown = app
        .get(&format!("{}/{message}", messages(&application)))
        .await;
    assert_eq!(shown.ok(200).json()["payload"], json!({"n": 1}));
    assert_eq!(app.dialler.dials(), 0);
}

// Payloads.

#[tokio::test]
async fn payloads_are_taken_up_to_the_limit_and_not_beyond() {
    let app = TestApp::start_with(Options {
        payload_bytes_max: 2_000_000,
        ..Options::default()
    })
    .await;
    let path = messages(&app.application().await);
    let send = async |bytes: usize| {
        let text = "x".repeat(bytes - 2);
        let body = format!("{{\"eventType\":\"a.b\",\"payload\":\"{text}\"}}");
        app.request("POST", &path).body(body).send().await
    };
    for bytes in [40_000, 350_000, 2_000_000] {
        let id = send(bytes).await.ok(202).id();
        let shown = app.get(&format!("{path}/{id}")).await.ok(200).json();
        assert_eq!(shown["payload"].as_str().unwrap().len(), bytes - 2);
    }
    check_problem(&send(2_000_001).await, 413, "too_large");
    check_problem(&send(3_000_000).await, 413, "too_large");
    assert_eq!(app.get(&path).await.items().len(), 3);
}

// Retries.

#[tokio::test]
async fn three_failures_then_a_success_are_delivered_after_35_minutes_and_5_seconds() {
    let app = TestApp::start().await;
    let sink = Sink::start([500, 500, 500].map(Reply::status)).await;
    let application = app.application().await;
    app.endpoint(&application, &sink.url(), json!({})).await;
    let message = app.message(&application, "a.b", json!(1)).await;
    for (attempt, wait_s) in [(1, 5), (2, 300), (3, 1800)] {
        let row = app.stands(&application, &message, "pending", attempt).await;
        let due = row["nextAttemptTimestamp"].as_u64().unwrap();
        let wait = Duration::from_millis(due - app.now().0);
        let wanted = Duration::from_secs(wait_s);
        assert!(
            wait >= wanted && wait <= wanted.mul_f64(1.1),
            "{attempt}: {wait:?}"
        );
        // Not a millisecond early.
        app.advance(wait.saturating_sub(MILLISECOND)).await;
        app.idle().await;
        assert_eq!(sink.count(), attempt);
        app.advance(MILLISECOND).await;
        sink.wait_for(attempt + 1).await;
    }
    let row = app.stands(&application, &message, "success", 4).await;
    let took = app.now().since(START);
    let least = Duration::from_secs(35 * 60 + 5);
    assert!(took >= least && took <= least.mul_f64(1.1), "{took:?}");
    assert_eq!(row["nextAttemptTimestamp"], Value::Null);
    assert_eq!(row["timestamp"], app.now().0);
    let codes: Vec<_> = row["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["statusCode"].as_u64().unwrap())
        .collect();
    assert_eq!(codes, [500, 500, 500, 200]);
}

#[tokio::test]
async fn after_eight_failures_a_message_is_failed() {
    for jitter in [0.0, 0.999] {
        let app = TestApp::start_with(Options {
            jitter,
            ..Options::default()
        })
        .await;
        let sink = Sink::start([]).await;
        sink.always(Reply::status(500));
        let application = app.application().await;
        app.endpoint(&application, &sink.url(), json!({})).await;
        let message = app.message(&application, "a.b", json!(1)).await;
        for (attempt, wait) in [
            5 * SECOND,
            300 * SECOND,
            1800 * SECOND,
            2 * HOUR,
            5 * HOUR,
            10 * HOUR,
            10 * HOUR,
        ]
        .into_iter()
        .enumerate()
        {
            let row = app
                .stands(&application, &message, "pending", attempt + 1)
                .await;
            let due = row["nextAttemptTimestamp"].as_u64().unwrap();
            let waited = Duration::from_millis(due - app.now().0);
            assert!(
                waited >= wait && waited <= wait.mul_f64(1.1),
                "{wait:?}: {waited:?}"
            );
            assert_eq!(
                waited > wait.mul_f64(1.03),
                jitter > 0.5,
                "{wait:?}: {waited:?}"
            );
            app.advance_to(Timestamp(due)).await;
        }
        let row = app.stands(&application, &message, "failed", 8).await;
        assert_eq!(row["nextAttemptTimestamp"], Value::Null);
        app.advance(10 * DAY).await;
        app.idle().await;
        assert_eq!(sink.count(), 8);
    }
}

#[tokio::test]
async fn an_endpoint_may_have_a_schedule_of_its_own() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    sink.always(Reply::status(500));
    let application = app.application().await;
    let fields = json!({"retrySchedule": ["1s", "2m", "1h30m"]});
    let endpoint = app.endpoint(&application, &sink.url(), fields).await;
    let path = format!("{}/{endpoint}", endpoints(&application));
    let shown = app.get(&path).await.ok(200).json();
    assert_eq!(shown["retrySchedule"], json!(["1s", "2m", "1h30m"]));
    let message = app.message(&application, "a.b", json!(1)).await;
    for (attempt, wait) in [SECOND, 120 * SECOND, 5400 * SECOND]
        .into_iter()
        .enumerate()
    {
        app.stands(&application, &message, "pending", attempt + 1)
            .await;
        app.advance(wait.mul_f64(1.1)).await;
    }
    app.stands(&application, &message, "failed", 4).await;
}

#[tokio::test]
async fn an_endpoint_that_only_fails_for_five_days_is_disabled() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    sink.always(Reply::status(500));
    let application = app.application().await;
    // Four attempts a day.
    let fields = json!({"retrySchedule": vec!["6h"; 30]});
    let endpoint = app.endpoint(&application, &sink.url(), fields).await;
    let path = format!("{}/{endpoint}", endpoints(&application));
    let message = app.message(&application, "a.b", json!(1)).await;
    let mut attempts = 1;
    while app.now().since(START) < 5 * DAY {
        let row = app
            .stands(&application, &message, "pending", attempts)
            .await;
        let due = row["nextAttemptTimestamp"].as_u64().unwrap();
        app.advance_to(Timestamp(due)).await;
        attempts += 1;
    }
    app.stands(&application, &message, "disabled", attempts)
        .await;
    let shown = app.get(&path).await.ok(200).json();
    assert_eq!(shown["enabled"], false);
    let disabled = json!({"at": app.now().0, "reason": "failing"});
    assert_eq!(shown["disabled"], disabled);
    app.advance(DAY).await;
    app.idle().await;
    assert_eq!(sink.count(), attempts, "its attempts stop");
    sink.always(Reply::status(200));
    let enabled = app.put(&path, json!({"enabled": true})).await.ok(200);
    assert_eq!(enabled.json()["enabled"], true);
    assert_eq!(enabled.json()["disabled"], Value::Null);
    app.stands(&application, &message, "success", attempts + 1)
        .await;
}

#[tokio::test]
async fn a_410_disables_at_once_and_stops_what_waits() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(500), Reply::status(410)]).await;
    let application = app.application().await;
    let endpoint = app.endpoint(&application, &sink.url(), json!({})).await;
    let waiting = app.message(&application, "a.b", json!(1)).await;
    app.stands(&application, &waiting, "pending", 1).await;
    let gone = app.message(&application, "a.b", json!(2)).await;
    app.stands(&application, &gone, "disabled", 1).await;
    app.stands(&application, &waiting, "disabled", 1).await;
    let path = format!("{}/{endpoint}", endpoints(&application));
    let shown = app.get(&path).await.ok(200).json();
    assert_eq!(shown["enabled"], false);
    assert_eq!(shown["disabled"]["reason"], "gone");
    assert_eq!(shown["disabled"]["at"], START.0);
    app.advance(HOUR).await;
    app.idle().await;
    assert_eq!(sink.count(), 2);
}

#[tokio::test]
async fn the_statuses_of_a_delivery_are_those_of_the_contract() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(500).held(), Reply::status(200)]).await;
    let application = app.application().await;
    let fields = json!({"retrySchedule": ["1m"]});
    let endpoint = app.endpoint(&application, &sink.url(), fields).await;
    let message = app.message(&application, "a.b", json!(1)).await;
    sink.wait_for(1).await;
    let sending = app.stands(&application, &message, "sending", 0).await;
    assert_eq!(sending["timestamp"], Value::Null);
    assert_eq!(sending["attempts"], json!([]));
    sink.release(1);
    let pending = app.stands(&application, &message, "pending", 1).await;
    assert_eq!(pending["timestamp"], START.0);
    assert_eq!(pending["created"], START.0);
    assert_eq!(pending["id"], sending["id"]);
    assert_eq!(pending["endpoint"]["id"], endpoint.as_str());
    assert_eq!(pending["message"]["id"], message.as_str());
    assert_eq!(pending["message"]["payload"], 1);
    app.advance(70 * SECOND).await;
    app.stands(&application, &message, "success", 2).await;
    sink.always(Reply::status(500));
    let failing = app.message(&application, "a.b", json!(1)).await;
    app.stands(&application, &failing, "pending", 1).await;
    app.advance(70 * SECOND).await;
    app.stands(&application, &failing, "failed", 2).await;
    let stopped = app.message(&application, "a.b", json!(1)).await;
    app.stands(&application, &stopped, "pending", 1).await;
    let path = format!("{}/{endpoint}", endpoints(&application));
    app.put(&path, json!({"enabled": false})).await.ok(200);
    app.stands(&application, &stopped, "disabled", 1).await;
    app.stands(&application, &failing, "failed", 2).await;
}

#[tokio::test]
async fn payloads_are_kept_for_ninety_days() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let message = app.message(&application, "a.b", json!(1)).await;
    let path = format!("{}/{message}", messages(&application));
    app.advance((90 * DAY).saturating_sub(HOUR)).await;
    app.message(&application, "a.b", json!(2)).await;
    app.get(&path).await.ok(200);
    app.until("the message is forgotten", async || {
        app.advance(HOUR).await;
        (app.get(&path).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(app.get(&messages(&application)).await.items().len(), 1);
}

#[tokio::test]
async fn health_and_readiness_need_no_key() {
    let app = TestApp::start().await;
    for path in ["/healthz", "/readyz"] {
        app.request("GET", path).without_key().send().await.ok(200);
    }
}
