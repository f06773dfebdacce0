//! Erasing content: what goes, what stays, and what cannot come back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::sink::{Reply, Sink};

/// What must not be found anywhere afterwards.
const PAYLOAD: &str = "payload-to-be-erased";
const ECHO: &str = "echo-to-be-erased";

fn echo(status: u16) -> Reply {
    Reply::status(status).header("x-echo", ECHO).body(ECHO)
}

fn message_path(application: &str, message: &str) -> String {
    format!("/api/v1/applications/{application}/messages/{message}")
}

async fn send(app: &TestApp, application: &str) -> String {
    app.message(application, "a.b", json!({"text": PAYLOAD}))
        .await
}

async fn erase(app: &TestApp, application: &str, message: &str) -> Value {
    let path = format!("{}/content", message_path(application, message));
    app.delete(&path).await.ok(200).json()
}

/// Whether any row of the store has it.
fn is_somewhere(app: &TestApp, text: &str) -> bool {
    let holds = |bytes: &[u8]| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    app.store.dump().iter().any(|(_, _, value)| holds(value))
}

fn assert_sound(app: &TestApp) {
    let report = app.store.check().expect("it reads");
    assert!(report.is_sound(), "{:?}", report.problems);
}

#[tokio::test]
async fn an_erased_message_is_never_sent_again_and_its_answers_are_gone() {
    let app = TestApp::start().await;
    let sink = Sink::start([echo(500)]).await;
    let application = app.application().await;
    let endpoint = app.endpoint(&application, &sink.url(), json!({})).await;
    let message = send(&app, &application).await;
    app.stands(&application, &message, "pending", 1).await;
    assert!(is_somewhere(&app, PAYLOAD) && is_somewhere(&app, ECHO));

    let erased = erase(&app, &application, &message).await;
    assert_eq!(erased["payload"], Value::Null);
    assert_eq!(erased["id"], json!(message));
    assert_eq!(erased["eventType"], "a.b");
    assert!(!is_somewhere(&app, PAYLOAD) && !is_somewhere(&app, ECHO));
    let path = message_path(&application, &message);
    assert_eq!(app.get(&path).await.ok(200).json(), erased);
    let attempts = app.get(&format!("{path}/attempts")).await.ok(200).items();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["statusCode"], 500);
    let response = &attempts[0]["response"];
    assert_eq!(
        (&response["headers"], &response["body"]),
        (&json!([]), &json!(""))
    );
    let names = attempts[0]["request"]["headers"]
        .as_array()
        .expect("a list");
    let signed = names.iter().any(|header| {
        let name = header["name"].as_str().expect("a text");
        name.contains("signature")
    });
    assert!(!signed, "{names:?}");

    let stands = app.stands(&application, &message, "disabled", 1).await;
    assert_eq!(stands["nextAttemptTimestamp"], Value::Null);
    app.advance(Duration::from_hours(30)).await;
    app.idle().await;
    assert_eq!(sink.count(), 1);
    let replay = format!("{path}/endpoints/{endpoint}/replays");
    let refused = app.request("POST", &replay).send().await.ok(409).json();
    assert_eq!(refused["code"], "payload_gone");
    let audit = app.get("/api/v1/audit").await.ok(200).items();
    assert_eq!(audit[0]["action"], "content.erased");
    assert_eq!(audit[0]["subject"], json!(message));
    assert_sound(&app);
}

#[tokio::test]
async fn what_was_delivered_stays_delivered() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let application = app.application().await;
    let endpoint = app.endpoint(&application, &sink.url(), json!({})).await;
    let message = send(&app, &application).await;
    app.stands(&application, &message, "success", 1).await;
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}");
    app.put(&path, json!({"paused": true})).await.ok(200);
    let replay = format!(
        "{}/endpoints/{endpoint}/replays",
        message_path(&application, &message)
    );
    app.request("POST", &replay).send().await.ok(202);
    erase(&app, &application, &message).await;
    app.stands(&application, &message, "success", 1).await;
    app.put(&path, json!({"paused": false})).await.ok(200);
    app.advance(Duration::from_secs(5)).await;
    app.idle().await;
    assert_eq!(sink.count(), 1, "the replay does not come");
    assert_sound(&app);
}

#[tokio::test]
async fn an_attempt_that_ends_after_the_erasing_brings_nothing_back() {
    for (status, stands) in [(200, "success"), (500, "disabled")] {
        let app = TestApp::start().await;
        let sink = Sink::start([echo(status).held()]).await;
        let application = app.application().await;
        let fields = json!({"payloadInHeaders": true});
        app.endpoint(&application, &sink.url(), fields).await;
        let message = send(&app, &application).await;
        sink.wait_for(1).await;
        erase(&app, &application, &message).await;
        sink.release(1);
        app.stands(&application, &message, stands, 1).await;
        assert!(!is_somewhere(&app, PAYLOAD) && !is_somewhere(&app, ECHO));
        let path = format!("{}/attempts", message_path(&application, &message));
        let attempts = app.get(&path).await.ok(200).items();
        assert_eq!(attempts[0]["statusCode"], status);
        assert_eq!(attempts[0]["response"]["body"], "");
        app.advance(Duration::from_hours(30)).await;
        app.idle().await;
        assert_eq!(sink.count(), 1);
        assert_sound(&app);
    }
}

#[tokio::test]
async fn the_answer_that_is_repeated_has_no_payload_any_more() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let path = format!("/api/v1/applications/{application}/messages");
    let post = async |text: &str| {
        let body = json!({"eventType": "a.b", "payload": {"text": text}});
        let call = app.request("POST", &path).json(&body);
        let answer = call.header("idempotency-key", "k").send().await;
        answer.ok(202).json()
    };
    let made = post(PAYLOAD).await;
    let message = made["id"].as_str().expect("an id");
    assert_eq!(post(PAYLOAD).await, made);
    let erased = erase(&app, &application, message).await;
    assert_eq!(post(PAYLOAD).await, erased, "it is not sent anew");
    assert_sound(&app);
    // The key is another message's after its day, and its answer its own.
    app.advance(Duration::from_hours(25)).await;
    let later = post("later").await;
    assert_ne!(later["id"], made["id"]);
    erase(&app, &application, message).await;
    assert_eq!(post("later").await, later);
}

#[tokio::test]
async fn what_is_ready_to_be_sent_is_not_sent() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let application = app.application().await;
    let slow = json!({"rateLimit": 1});
    app.endpoint(&application, &sink.url(), slow).await;
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(send(&app, &application).await);
    }
    sink.wait_for(1).await;
    erase(&app, &application, &messages[2]).await;
    for _ in 0..5 {
        app.advance(Duration::from_secs(1)).await;
        app.idle().await;
    }
    sink.wait_for(2).await;
    app.stands(&application, &messages[1], "success", 1).await;
    app.stands(&application, &messages[2], "disabled", 0).await;
    assert_eq!(sink.count(), 2);
}

#[tokio::test]
async fn answers_beyond_those_that_a_delivery_lists_are_not_kept() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    sink.always(echo(200));
    let application = app.application().await;
    let endpoint = app.endpoint(&application, &sink.url(), json!({})).await;
    let message = send(&app, &application).await;
    let path = message_path(&application, &message);
    let replay = format!("{path}/endpoints/{endpoint}/replays");
    for attempt in 1..=66 {
        app.stands(&application, &message, "success", attempt).await;
        if attempt < 66 {
            app.request("POST", &replay).send().await.ok(202);
        }
    }
    let attempts =
        format!("/api/v1/applications/{application}/endpoints/{endpoint}/attempts?pageSize=250");
    let bodies: Vec<Value> = app
        .get(&attempts)
        .await
        .ok(200)
        .items()
        .iter()
        .map(|attempt| attempt["response"]["body"].clone())
        .collect();
    assert_eq!(bodies.len(), 66);
    assert!(bodies[..64].iter().all(|body| body == ECHO));
    assert!(bodies[64..].iter().all(|body| body == ""));
    erase(&app, &application, &message).await;
    assert!(!is_somewhere(&app, ECHO));
}

#[tokio::test]
async fn all_that_an_application_has_is_erased_by_a_job() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    sink.always(echo(500));
    let application = app.application().await;
    let endpoint = app.endpoint(&application, &sink.url(), json!({})).await;
    for _ in 0..230 {
        send(&app, &application).await;
    }
    sink.wait_for(230).await;
    app.idle().await;
    let other = app.application().await;
    let kept = app.message(&other, "a.b", json!({"text": "kept"})).await;
    let path = format!("/api/v1/applications/{application}/content");
    let job = app.delete(&path).await.ok(202).json();
    assert_eq!(job["kind"], "erasure");
    assert_eq!(job["endpointId"], Value::Null);
    assert_eq!(job["total"], 230);
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().expect("an id"));
    let ended = async || {
        app.advance(Duration::from_millis(5)).await;
        let job = app.get(&path).await.ok(200).json();
        (job["state"] == "finished").then_some(job)
    };
    let job = app.until("all is erased", ended).await;
    assert_eq!(job["done"], 230);
    assert!(!is_somewhere(&app, PAYLOAD) && !is_somewhere(&app, ECHO));
    // What came after it was asked for is none of its.
    let later = app
        .message(&application, "a.b", json!({"text": "later"}))
        .await;
    app.stands(&application, &later, "pending", 1).await;
    let payload = async |application: &str, message: &str| {
        let path = message_path(application, message);
        app.get(&path).await.ok(200).json()["payload"].clone()
    };
    assert_eq!(payload(&other, &kept).await, json!({"text": "kept"}));
    assert_eq!(
        payload(&application, &later).await,
        json!({"text": "later"})
    );
    let before = sink.count();
    app.advance(Duration::from_secs(4)).await;
    app.idle().await;
    assert_eq!(sink.count(), before, "nothing is tried again");
    let replay = format!("/api/v1/applications/{application}/endpoints/{endpoint}/replays");
    let job = app.post(&replay, json!({"since": 0})).await.ok(202).json();
    assert_eq!(job["total"], 1);
    assert_sound(&app);
}
