//! What the built-in application is told, with its cause; and the audit log.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::schema;
use crate::support::sink::{Reply, Sink};

const EVENTS: &str = "/api/v1/applications/operational-events";

/// Every operational event so far, oldest first.
async fn events(app: &TestApp) -> Vec<Value> {
    let path = format!("{EVENTS}/messages?pageSize=250");
    let mut messages = app.get(&path).await.ok(200).json();
    let messages = messages.as_array_mut().expect("a list");
    messages.reverse();
    let events: Vec<Value> = messages
        .iter()
        .map(|message| message["payload"].clone())
        .collect();
    are_as_documented(app, &events).await;
    events
}

async fn are_as_documented(app: &TestApp, events: &[Value]) {
    let document = app.get("/api/v1/openapi.json").await.ok(200).json();
    for event in events {
        let name = event["type"].as_str().expect("a type");
        let content = &document["webhooks"][name]["post"]["requestBody"]["content"];
        let schema = &content["application/json"]["schema"];
        let faults = schema::faults(&document, schema, event);
        assert!(faults.is_empty(), "{event}: {faults:#?}");
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    let types = events.iter().map(|event| event["type"].as_str());
    types.map(|text| text.expect("a type")).collect()
}

#[tokio::test]
async fn every_change_of_an_endpoint_is_told() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let endpoint = app
        .endpoint(&application, "https://1.1.1.1/", json!({"uid": "main"}))
        .await;
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}");
    app.put(&path, json!({"name": "n"})).await.ok(200);
    app.put(&path, json!({"enabled": false})).await.ok(200);
    app.put(&path, json!({"enabled": false})).await.ok(200);
    app.put(&path, json!({"enabled": true})).await.ok(200);
    app.put(&path, json!({"url": "no"})).await.ok(422);
    app.delete(&path).await.ok(200);
    let events = events(&app).await;
    let want = [
        "endpoint.created",
        "endpoint.updated",
        "endpoint.updated",
        "endpoint.disabled",
        "endpoint.updated",
        "endpoint.updated",
        "endpoint.enabled",
        "endpoint.deleted",
    ];
    assert_eq!(types(&events), want);
    for event in &events {
        assert_eq!(event["data"]["applicationId"], json!(application));
        assert_eq!(event["data"]["endpointId"], json!(endpoint));
        assert_eq!(event["data"]["endpointUid"], json!("main"));
    }
}

#[tokio::test]
async fn a_delivery_is_told_to_fail_to_be_given_up_and_to_have_recovered() {
    let app = TestApp::start().await;
    let replies = [500, 500, 500, 500, 500, 500, 200].map(Reply::status);
    let sink = Sink::start(replies).await;
    let application = app.application().await;
    let schedule = json!({"retrySchedule": ["1s", "1s", "1s", "1s"]});
    let endpoint = app.endpoint(&application, &sink.url(), schedule).await;
    let message = app.message(&application, "order.paid", json!({})).await;
    for attempt in 1..=5 {
        sink.wait_for(attempt).await;
        if attempt < 5 {
            app.stands(&application, &message, "pending", attempt).await;
            app.advance(Duration::from_secs(2)).await;
        }
    }
    let replay = format!(
        "/api/v1/applications/{application}/messages/{message}/endpoints/{endpoint}/replays"
    );
    for (attempt, status) in [(5, "failed"), (6, "failed"), (7, "success")] {
        app.stands(&application, &message, status, attempt).await;
        if attempt < 7 {
            app.post(&replay, json!({})).await.ok(202);
        }
    }
    let events = events(&app).await;
    let want = [
        "endpoint.created",
        "message.attempt.failing",
        "message.attempt.exhausted",
        "message.attempt.recovered",
    ];
    assert_eq!(types(&events), want);
    let attempts = events.iter().map(|event| &event["data"]["attemptCount"]);
    let attempts: Vec<_> = attempts.skip(1).cloned().collect();
    assert_eq!(attempts, [json!(4), json!(5), json!(7)]);
    assert_eq!(events[2]["data"]["messageId"], json!(message));
    assert_eq!(events[2]["data"]["eventType"], json!("order.paid"));
    assert_eq!(events[2]["data"]["lastAttempt"]["statusCode"], json!(500));
}

#[tokio::test]
async fn an_endpoint_that_only_fails_is_told_of_before_it_is_disabled() {
    let app = TestApp::start().await;
    let sink = Sink::start([500, 500, 500, 410].map(Reply::status)).await;
    let application = app.application().await;
    let schedule = json!({"retrySchedule": ["40m", "40m", "40m"]});
    app.endpoint(&application, &sink.url(), schedule).await;
    let message = app.message(&application, "a", json!({})).await;
    for attempt in 1..=3 {
        sink.wait_for(attempt).await;
        app.stands(&application, &message, "pending", attempt).await;
        app.advance(Duration::from_mins(45)).await;
    }
    sink.wait_for(4).await;
    app.stands(&application, &message, "failed", 4).await;
    let events = events(&app).await;
    let want = [
        "endpoint.created",
        "endpoint.failing",
        "message.attempt.exhausted",
        "endpoint.disabled",
    ];
    assert_eq!(types(&events), want);
    assert_eq!(events[3]["data"]["reason"], json!("gone"));
    assert_eq!(events[3]["data"]["enabled"], json!(false));
}

#[tokio::test]
async fn operational_events_are_delivered_and_cause_none_themselves() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(200)]).await;
    let filter = json!({"url": sink.url(), "eventTypes": ["endpoint.*"]});
    app.post(&format!("{EVENTS}/endpoints"), filter)
        .await
        .ok(201);
    assert_eq!(events(&app).await, Vec::<Value>::new());
    let application = app.application().await;
    app.endpoint(&application, "https://1.1.1.1/", json!({}))
        .await;
    sink.wait_for(1).await;
    let told = events(&app).await;
    assert_eq!(types(&told), ["endpoint.created"]);
    let got: Value = serde_json::from_slice(&sink.requests()[0].body).expect("JSON");
    assert_eq!(got, told[0]);
}

#[tokio::test]
async fn the_built_in_application_is_in_no_list_and_stays_as_it_is() {
    let app = TestApp::start().await;
    let list = app.get("/api/v1/applications").await.ok(200).json();
    assert_eq!(list, json!([]));
    let shown = app.get(EVENTS).await.ok(200).json();
    assert_eq!(shown["name"], json!("Operational events"));
    let before = app.store.dump();
    for refused in [
        app.put(EVENTS, json!({"name": "mine"})).await,
        app.delete(EVENTS).await,
    ] {
        assert_eq!(refused.ok(409).json()["code"], json!("built_in"));
    }
    let taken = json!({"name": "n", "uid": "operational-events"});
    let refused = app.post("/api/v1/applications", taken).await.ok(409);
    assert_eq!(refused.json()["code"], json!("uid_taken"));
    assert!(app.store.dump() == before);
}

#[tokio::test]
async fn what_is_deleted_is_in_the_audit_log_for_a_year() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let endpoint = app
        .endpoint(&application, "https://1.1.1.1/", json!({"name": "n"}))
        .await;
    let path = format!("/api/v1/applications/{application}");
    app.delete(&format!("{path}/endpoints/{endpoint}"))
        .await
        .ok(200);
    app.delete(&path).await.ok(200);
    let log = app.get("/api/v1/audit").await.ok(200).items();
    let told: Vec<_> = log
        .iter()
        .map(|entry| (&entry["action"], &entry["subject"], &entry["detail"]))
        .collect();
    assert_eq!(
        told[..2],
        [
            (
                &json!("application.deleted"),
                &json!(application),
                &json!("Example")
            ),
            (&json!("endpoint.deleted"), &json!(endpoint), &json!("n")),
        ]
    );
    assert_eq!(log[2]["action"], json!("key.created"), "the tests' own");
    assert_eq!(log[0]["actor"], json!("API key key-of-the-tes (tests)"));
    let page = app.get("/api/v1/audit?pageSize=1").await.ok(200);
    assert!(page.header("link").contains("before=audit_"));
    for (days, kept) in [(364, 3), (2, 0)] {
        app.advance(Duration::from_hours(days * 24)).await;
        app.until("retention has passed", async || {
            // The pass before may have ended only now.
            app.advance(Duration::from_mins(1)).await;
            let log = app.get("/api/v1/audit").await.ok(200).items();
            (log.len() == kept).then_some(())
        })
        .await;
    }
}
