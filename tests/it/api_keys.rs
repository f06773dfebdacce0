//! API keys: what they may do, how long, and who may make them.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests do"
)]

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::{Answer, KEY, START, TestApp};

const KEYS: &str = "/api/v1/keys";
const APPS: &str = "/api/v1/applications";
const SCOPES: [&str; 5] = [
    "read",
    "messages:write",
    "endpoints:write",
    "secrets",
    "admin",
];

async fn make(app: &TestApp, fields: Value) -> Value {
    app.post(KEYS, fields).await.ok(201).json()
}

fn text<'a>(made: &'a Value, name: &str) -> &'a str {
    made[name].as_str().unwrap()
}

async fn ask(app: &TestApp, key: &str, method: &str, path: &str, body: Value) -> Answer {
    let call = app.request(method, path).header("authorization", key);
    if body.is_null() {
        return call.send().await;
    }
    call.json(&body).send().await
}

async fn status(app: &TestApp, key: &str) -> u16 {
    ask(app, key, "GET", APPS, Value::Null).await.status
}

#[tokio::test]
async fn a_key_is_shown_in_full_once() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let made = make(
        &app,
        json!({"name": "ci", "scopes": SCOPES, "application": application, "expiresInSeconds": 60}),
    )
    .await;
    let full = text(&made, "key").to_owned();
    let mut shown = made.clone();
    shown.as_object_mut().unwrap().remove("key");
    let want = json!({
        "id": made["id"], "name": "ci", "scopes": SCOPES, "applicationId": application,
        "beginsWith": &full[..14], "environment": "default", "created": START.0,
        "expires": START.0 + 60_000, "lastUsed": null,
    });
    assert_eq!(shown, want);
    assert!(full.starts_with("hookpost_") && full.len() > 40, "{full}");
    let one = format!("{KEYS}/{}", text(&made, "id"));
    assert_eq!(app.get(&one).await.ok(200).json(), shown);
    let listed = app.get(KEYS).await.ok(200).items();
    assert_eq!(listed.last(), Some(&shown));
    assert_eq!(listed[0]["name"], "tests");
    let kept: Vec<u8> = app.store.dump().into_iter().flat_map(|row| row.2).collect();
    let found = kept
        .windows(full.len())
        .any(|bytes| bytes == full.as_bytes());
    assert!(!found, "the text is in the store");
    let named = app.put(&one, json!({"name": "cd"})).await.ok(200).json();
    assert_eq!(
        (text(&named, "name"), &named["scopes"]),
        ("cd", &made["scopes"])
    );
    let same = app.put(&one, json!({})).await.ok(200).json();
    assert_eq!(same, named);
}

#[tokio::test]
async fn without_fields_a_key_opens_its_environment_for_good() {
    let app = TestApp::start().await;
    let made = app.request("POST", KEYS).send().await.ok(201).json();
    assert_eq!(made["scopes"], json!(["admin"]));
    assert_eq!(made["applicationId"], json!(null));
    assert_eq!(made["expires"], json!(null));
    let full = text(&made, "key");
    assert_eq!(status(&app, full).await, 200);
    let refused = ask(&app, full, "GET", "/api/v1/environments", Value::Null).await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn a_rotated_key_has_a_new_text_and_a_revoked_one_none() {
    let app = TestApp::start().await;
    let made = make(&app, json!({"name": "x", "scopes": ["read"]})).await;
    let (one, old) = (format!("{KEYS}/{}", text(&made, "id")), text(&made, "key"));
    assert_eq!(status(&app, old).await, 200);
    let rotated = app.request("POST", &format!("{one}/rotations")).send();
    let rotated = rotated.await.ok(201).json();
    let new = text(&rotated, "key");
    assert_eq!(
        (status(&app, old).await, status(&app, new).await),
        (401, 200)
    );
    for same in ["id", "name", "scopes", "created", "expires"] {
        assert_eq!(rotated[same], made[same], "{same}");
    }
    assert_eq!(rotated["beginsWith"], new[..14]);
    app.delete(&one).await.ok(200);
    assert_eq!(status(&app, new).await, 401);
    assert_eq!(app.get(&one).await.ok(404).text(), "");
    for again in [
        app.delete(&one).await,
        app.put(&one, json!({"name": "y"})).await,
        app.request("POST", &format!("{one}/rotations"))
            .send()
            .await,
    ] {
        assert_eq!(again.ok(404).json()["code"], "not_found");
    }
}

#[tokio::test]
async fn nobody_hands_out_more_than_they_hold() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let admin = make(&app, json!({})).await;
    let admin = text(&admin, "key");
    let strong = make(&app, json!({"scopes": ["environments"]})).await;
    let rotate_strong = format!("{KEYS}/{}/rotations", text(&strong, "id"));
    let before = app.store.dump();
    for (path, body) in [
        (KEYS, json!({"scopes": ["environments"]})),
        (KEYS, json!({"scopes": ["read", "environments", "admin"]})),
        (KEYS, json!({"environment": "default"})),
        (KEYS, json!({"environment": "no such one"})),
        (rotate_strong.as_str(), Value::Null),
    ] {
        let refused = ask(&app, admin, "POST", path, body.clone()).await.ok(403);
        let problem = refused.json();
        assert_eq!(problem["code"], "forbidden", "{body}");
        let detail = text(&problem, "detail");
        assert!(detail.contains("`environments`"), "{detail}");
    }
    assert!(app.store.dump() == before);
    // A key without admin makes none at all.
    let narrow = make(&app, json!({"scopes": ["read", "environments", "secrets"]})).await;
    let refused = ask(
        &app,
        text(&narrow, "key"),
        "POST",
        KEYS,
        json!({"scopes": ["read"]}),
    );
    assert_eq!(refused.await.status, 403);
    // Nor does one that is bound to an application.
    let bound = json!({"application": application, "scopes": SCOPES});
    let bound = make(&app, bound).await;
    let one = format!("{KEYS}/{}", text(&bound, "id"));
    let before = app.store.dump();
    for (method, path, body) in [
        ("GET", KEYS, Value::Null),
        ("POST", KEYS, json!({"application": application})),
        ("GET", &one, Value::Null),
        ("PUT", &one, json!({"name": "n"})),
        ("POST", &format!("{one}/rotations"), Value::Null),
        ("DELETE", &one, Value::Null),
    ] {
        let refused = ask(&app, text(&bound, "key"), method, path, body).await;
        assert_eq!(refused.status, 404, "{method} {path}");
    }
    assert!(app.store.dump() == before);
}

#[tokio::test]
async fn what_a_key_cannot_be_is_named() {
    let app = TestApp::start().await;
    let application = app.application().await;
    for (body, want) in [
        (json!({"scopes": []}), &["scopes"][..]),
        (
            json!({"scopes": ["read", "write", "all"]}),
            &["scopes[1]", "scopes[2]"],
        ),
        (json!({"application": "nobody"}), &["application"]),
        (
            json!({"application": "nobody", "scopes": ["environments"]}),
            &["application", "scopes[0]"],
        ),
        (
            json!({"application": application, "scopes": ["environments"]}),
            &["scopes[0]"],
        ),
        (json!({"environment": "nowhere"}), &["environment"]),
        (json!({"expiresInSeconds": 0}), &["expiresInSeconds"]),
        (
            json!({"expiresInSeconds": 316_224_001}),
            &["expiresInSeconds"],
        ),
        (json!({"name": "x".repeat(257)}), &["name"]),
    ] {
        let refused = app.post(KEYS, body.clone()).await.ok(422).json();
        let errors = refused["errors"].as_array().unwrap().iter();
        let paths: Vec<_> = errors.map(|error| text(error, "path")).collect();
        assert_eq!(paths, want, "{body}");
    }
}

#[tokio::test]
async fn a_key_works_until_it_expires_and_then_says_so() {
    let app = TestApp::start().await;
    let made = make(&app, json!({"expiresInSeconds": 60})).await;
    let key = text(&made, "key");
    app.advance(Duration::from_millis(59_999)).await;
    assert_eq!(status(&app, key).await, 200);
    app.advance(Duration::from_millis(1)).await;
    let refused = ask(&app, key, "GET", APPS, Value::Null).await.ok(401);
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    let problem = refused.json();
    assert_eq!(problem["code"], "key_expired");
    assert!(text(&problem, "detail").contains("expired"), "{problem}");
    // It stays in the list, and its time is not begun again by a rotation.
    let one = format!("{KEYS}/{}", text(&made, "id"));
    let rotated = app.request("POST", &format!("{one}/rotations")).send();
    let rotated = rotated.await.ok(201).json();
    assert_eq!(rotated["expires"], made["expires"]);
    assert_eq!(status(&app, text(&rotated, "key")).await, 401);
    let app = app.restart().await;
    assert_eq!(status(&app, key).await, 401);
    assert_eq!(
        app.get(&one).await.ok(200).json()["expires"],
        made["expires"]
    );
}

#[tokio::test]
async fn last_use_is_shown_at_once_and_written_a_minute_later() {
    let app = TestApp::start().await;
    let made = make(&app, json!({})).await;
    let one = format!("{KEYS}/{}", text(&made, "id"));
    let last_used = async |app: &TestApp| app.get(&one).await.ok(200).json()["lastUsed"].clone();
    app.advance(Duration::from_secs(30)).await;
    let before = app.store.dump();
    for _ in 0..20 {
        assert_eq!(status(&app, text(&made, "key")).await, 200);
    }
    assert_eq!(last_used(&app).await, START.0, "by the minute");
    assert!(app.store.dump() == before, "requests write nothing");
    app.advance(Duration::from_secs(31)).await;
    app.until("it is written", async || {
        (app.store.dump() != before).then_some(())
    })
    .await;
    let rotated = app.request("POST", &format!("{one}/rotations")).send();
    let rotated = rotated.await.ok(201).json();
    assert_eq!(rotated["lastUsed"], START.0);
    let app = app.restart().await;
    assert_eq!(last_used(&app).await, START.0);
    // What a stop forgets is less than a minute; a rename writes what is known.
    assert_eq!(status(&app, text(&rotated, "key")).await, 200);
    app.put(&one, json!({"name": "n"})).await.ok(200);
    let app = app.restart().await;
    assert_eq!(last_used(&app).await, START.0 + 60_000);
}

#[tokio::test]
async fn a_deleted_application_takes_its_keys_with_it_at_once() {
    let app = TestApp::start().await;
    let (own, other) = (app.application().await, app.application().await);
    let bound = make(&app, json!({"application": own})).await;
    let stays = make(&app, json!({"application": other})).await;
    app.delete(&format!("{APPS}/{own}")).await.ok(200);
    assert_eq!(status(&app, text(&bound, "key")).await, 401);
    assert_eq!(status(&app, text(&stays, "key")).await, 200);
    let one = format!("{KEYS}/{}", text(&bound, "id"));
    app.get(&one).await.ok(404);
    let report = app.store.check().unwrap();
    assert!(report.is_sound(), "{:#?}", report.problems);
    let app = app.restart().await;
    assert_eq!(status(&app, text(&bound, "key")).await, 401);
}

#[tokio::test]
async fn a_repeated_request_shows_the_same_key_to_the_same_caller_only() {
    let app = TestApp::start().await;
    let other = make(&app, json!({})).await;
    let create = async |key: &str| {
        let call = app.request("POST", KEYS).header("authorization", key);
        let call = call.header("idempotency-key", "once");
        call.json(&json!({"name": "x"})).send().await.ok(201).json()
    };
    let first = create(KEY).await;
    assert_eq!(create(KEY).await, first);
    let second = create(text(&other, "key")).await;
    assert_ne!(second["id"], first["id"]);
    assert_ne!(second["key"], first["key"]);
    let rotate = async || {
        let path = format!("{KEYS}/{}/rotations", text(&first, "id"));
        let call = app.request("POST", &path).header("idempotency-key", "r");
        call.send().await.ok(201).json()
    };
    let rotated = rotate().await;
    assert_eq!(rotate().await, rotated);
    assert_eq!(status(&app, text(&rotated, "key")).await, 200);
}

#[tokio::test]
async fn what_becomes_of_keys_is_in_the_audit_log() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let made = make(&app, json!({"name": "ci", "scopes": ["read", "secrets"]})).await;
    let one = format!("{KEYS}/{}", text(&made, "id"));
    app.request("POST", &format!("{one}/rotations"))
        .send()
        .await
        .ok(201);
    app.delete(&one).await.ok(200);
    let bound = make(&app, json!({"application": application})).await;
    app.delete(&format!("{APPS}/{application}")).await.ok(200);
    let log = app.get("/api/v1/audit").await.ok(200).items();
    let told: Vec<_> = log
        .iter()
        .rev()
        .map(|entry| (text(entry, "action"), text(entry, "subject")))
        .collect();
    let want = [
        ("key.created", text(&made, "id")),
        ("key.rotated", text(&made, "id")),
        ("key.revoked", text(&made, "id")),
        ("key.created", text(&bound, "id")),
        ("key.revoked", text(&bound, "id")),
        ("application.deleted", application.as_str()),
    ];
    assert_eq!(told[told.len() - want.len()..], want);
    let first = &log[want.len() - 1];
    assert!(text(first, "actor").contains("(tests)"), "{first}");
    let detail = text(first, "detail");
    assert!(detail.ends_with("(ci): read, secrets"), "{detail}");
    assert!(!detail.contains(text(&made, "key")), "{detail}");
}

/// Who sees one application must not learn which uids others have.
#[tokio::test]
async fn a_key_of_one_application_cannot_try_out_uids() {
    let app = TestApp::start().await;
    let mut ids = Vec::new();
    for uid in ["own", "other"] {
        let made = app.post(APPS, json!({"name": "n", "uid": uid})).await;
        ids.push(made.ok(201).id());
    }
    let bound = make(&app, json!({"application": "own"})).await;
    assert_eq!(bound["applicationId"], ids[0]);
    let path = format!("{APPS}/own");
    let mut answers = Vec::new();
    for uid in ["other", "free"] {
        let change = json!({"name": "m", "uid": uid});
        let refused = ask(&app, text(&bound, "key"), "PUT", &path, change).await;
        answers.push(refused.ok(422).text());
    }
    assert_eq!(answers[0], answers[1]);
    let same = json!({"name": "m", "uid": "own"});
    let kept = ask(&app, text(&bound, "key"), "PUT", &path, same).await;
    assert_eq!(kept.ok(200).json()["name"], "m");
}
