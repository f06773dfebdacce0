//! What reaches an endpoint, when, and what stops it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests do"
)]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::app::{Options, START, TestApp};
use crate::support::sink::{Reply, Seen, Sink};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// What `webhook-signature` has to be for one secret.
fn standard_signature(key: &[u8], request: &Seen) -> String {
    let id = request.header("webhook-id");
    let time = request.header("webhook-timestamp");
    let text = [format!("{id}.{time}.").as_bytes(), &request.body].concat();
    format!("v1,{}", STANDARD.encode(hmac(key, &text)))
}

/// What stands after `v1=` in `x-signature` for one secret.
fn octohooks_signature(key: &[u8], time: &str, request: &Seen) -> String {
    let text = [format!("{time}.").as_bytes(), &request.body].concat();
    let bytes = hmac(key, &text);
    bytes
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn replay_path(application: &str, message: &str, endpoint: &str) -> String {
    format!("/api/v1/applications/{application}/messages/{message}/endpoints/{endpoint}/replays")
}

/// An application with one endpoint at `sink`.
async fn set_up(app: &TestApp, sink: &Sink, fields: Value) -> (String, String) {
    let application = app.application().await;
    let endpoint = app.endpoint(&application, &sink.url(), fields).await;
    (application, endpoint)
}

async fn change(app: &TestApp, application: &str, endpoint: &str, fields: Value) {
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}");
    app.put(&path, fields).await.ok(200);
}

#[tokio::test]
async fn a_delivery_is_signed_under_both_schemes_with_the_time_of_the_attempt() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(500)]).await;
    let (application, endpoint) = set_up(&app, &sink, json!({})).await;
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}/secret");
    let secret = app.get(&path).await.ok(200).json();
    let shown = secret["key"].as_str().unwrap();
    assert_eq!(secret["text"], Value::Null, "one that was made has no text");
    let key = STANDARD
        .decode(shown.strip_prefix("whsec_").unwrap())
        .unwrap();
    let message = app.message(&application, "a.b", json!({"n": 1})).await;
    app.stands(&application, &message, "pending", 1).await;
    app.advance(6 * SECOND).await;
    let requests = sink.wait_for(2).await;
    for (request, time) in requests.iter().zip([START, START.plus(6 * SECOND)]) {
        let time = time.as_secs().to_string();
        assert_eq!(request.method, "POST");
        assert_eq!(request.path, "/hook");
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.header("user-agent"), "Hookpost/1");
        assert_eq!(request.header("webhook-id"), message);
        assert_eq!(request.header("webhook-timestamp"), time);
        let signature = standard_signature(&key, request);
        assert_eq!(request.header("webhook-signature"), signature);
        for name in ["id", "timestamp", "signature"] {
            let [webhook, svix] = [format!("webhook-{name}"), format!("svix-{name}")];
            assert_eq!(request.header(&svix), request.header(&webhook));
        }
        let octohooks = octohooks_signature(shown.as_bytes(), &time, request);
        let header = format!("t={time},v1={octohooks}");
        assert_eq!(request.header("x-signature"), header);
    }
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn every_secret_signs_and_a_plain_text_is_the_key_as_it_stands() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let prefixed_key = [7_u8; 32];
    let prefixed = format!("whsec_{}", STANDARD.encode(prefixed_key));
    let plain = "i9viqa5vxx78hcxh4rwdm8x7791";
    let (application, endpoint) = set_up(&app, &sink, json!({"secrets": [plain, prefixed]})).await;
    app.message(&application, "a.b", json!({"email": "foo.bar@example.com"}))
        .await;
    let request = sink.wait_for(1).await.remove(0);
    let want = [
        standard_signature(plain.as_bytes(), &request),
        standard_signature(&prefixed_key, &request),
    ];
    assert_eq!(request.header("webhook-signature"), want.join(" "));
    let time = START.as_secs().to_string();
    let want = format!(
        "t={time},v1={},v1={}",
        octohooks_signature(plain.as_bytes(), &time, &request),
        octohooks_signature(prefixed.as_bytes(), &time, &request)
    );
    assert_eq!(request.header("x-signature"), want);
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}/secret");
    let secret = app.get(&path).await.ok(200).json();
    let key = format!("whsec_{}", STANDARD.encode(plain));
    assert_eq!(
        secret,
        json!({"key": key, "text": plain, "previous": [{"expires": null}]})
    );
}

#[tokio::test]
async fn an_endpoint_chooses_its_signatures() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let application = app.application().await;
    for (signatures, standard, octohooks) in [
        (json!([{"scheme": "standard"}]), true, false),
        (json!([{"scheme": "octohooks"}]), false, true),
        (json!([]), false, false),
    ] {
        let fields = json!({"signatures": signatures});
        let endpoint = app.endpoint(&application, &sink.url(), fields).await;
        app.message(&application, "a.b", json!(1)).await;
        let seen = sink.wait_for(1).await.pop().unwrap();
        assert_eq!(seen.headers.contains_key("webhook-id"), standard);
        assert_eq!(seen.headers.contains_key("svix-signature"), standard);
        assert_eq!(seen.headers.contains_key("x-signature"), octohooks);
        app.delete(&format!(
            "/api/v1/applications/{application}/endpoints/{endpoint}"
        ))
        .await
        .ok(200);
        sink.clear();
    }
}

#[tokio::test]
async fn the_bytes_of_a_payload_stay_as_they_came() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let (application, _) = set_up(&app, &sink, json!({})).await;
    let path = format!("/api/v1/applications/{application}/messages");
    for (n, payload) in [
        "{ \"big\" : 12345678901234567890123 ,\n\t\"price\":1.10, \"e\":1E+2,\"z\":-0 }",
        r#"{"snow":"☃ \u2603 😀 \ud83d\ude00","slash":"\/ / ","quote":"\"","é":[]}"#,
        "[1, 2 ,3]",
        "\"text\"",
        "0",
        "false",
        "{}",
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!("{{\"payload\" :  {payload}  , \"eventType\":\"a.b\"}}");
        let made = app.request("POST", &path).body(body).send().await.ok(202);
        let requests = sink.wait_for(n + 1).await;
        let sent = String::from_utf8(requests[n].body.to_vec()).unwrap();
        assert_eq!(sent, payload);
        let shown = app.get(&format!("{path}/{}", made.id())).await.ok(200);
        for answer in [made, shown] {
            let text = answer.text();
            assert!(text.contains(&format!("\"payload\":{payload},")), "{text}");
        }
    }
}

#[tokio::test]
async fn a_payload_of_two_megabytes_arrives_whole() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let (application, _) = set_up(&app, &sink, json!({})).await;
    let text = "0123456789abcde\u{e9}".repeat(2_000_000 / 17);
    let payload = format!("\"{text}\"");
    let path = format!("/api/v1/applications/{application}/messages");
    let body = format!("{{\"eventType\":\"a.b\",\"payload\":{payload}}}");
    app.request("POST", &path).body(body).send().await.ok(202);
    let request = sink.wait_for(1).await.remove(0);
    assert!(request.body == payload.as_bytes(), "{}", request.body.len());
    let signature = request.header("x-signature");
    assert!(signature.starts_with("t="), "{signature}");
}

#[tokio::test]
async fn only_2xx_counts_as_handled_and_redirects_are_not_followed() {
    let app = TestApp::start().await;
    let other = Sink::start([]).await;
    let application = app.application().await;
    for (status, delivered) in [
        (200, true),
        (204, true),
        (299, true),
        (302, false),
        (307, false),
        (400, false),
        (404, false),
        (500, false),
    ] {
        let sink = Sink::start([]).await;
        sink.always(Reply::status(status).header("location", &other.url()));
        let endpoint = app.endpoint(&application, &sink.url(), json!({})).await;
        let message = app.message(&application, "a.b", json!(1)).await;
        let want = if delivered { "success" } else { "pending" };
        let row = app.stands(&application, &message, want, 1).await;
        assert_eq!(row["attempts"][0]["statusCode"], status);
        let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}");
        app.delete(&path).await.ok(200);
    }
    assert_eq!(other.count(), 0);
}

#[tokio::test]
async fn an_endpoint_may_demand_a_status_a_body_and_a_content_type() {
    let app = TestApp::start().await;
    let ok = || Reply::status(200).body(" OK\n");
    let sink = Sink::start([
        ok().header("content-type", "text/plain; charset=utf-8"),
        ok().header("content-type", "text/html"),
        Reply::status(200)
            .header("content-type", "text/plain")
            .body("ok"),
        Reply::status(202)
            .header("content-type", "text/plain")
            .body("OK"),
    ])
    .await;
    let rule = json!({"status": 200, "body": "OK", "contentType": "text/plain"});
    let (application, _) = set_up(&app, &sink, json!({"success": rule})).await;
    for want in ["success", "pending", "pending", "pending"] {
        let message = app.message(&application, "a.b", json!(1)).await;
        app.stands(&application, &message, want, 1).await;
    }
}

#[tokio::test]
async fn custom_headers_are_sent_and_secret_ones_masked_wherever_they_are_shown() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let headers = json!({"X-Tenant": "acme", "x-api-secret": "s3cret-value"});
    let (application, endpoint) = set_up(&app, &sink, json!({"headers": headers})).await;
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}");
    let shown = app.get(&path).await.ok(200).json();
    let masked = json!({"X-Tenant": "acme", "x-api-secret": "••••"});
    assert_eq!(shown["headers"], masked);
    // What was shown is put back, and one header added: nothing is lost.
    let mut back = shown.clone();
    back["headers"]["x-more"] = "1".into();
    change(&app, &application, &endpoint, back).await;
    let message = app.message(&application, "a.b", json!(1)).await;
    let request = sink.wait_for(1).await.remove(0);
    assert_eq!(request.header("x-tenant"), "acme");
    assert_eq!(request.header("x-api-secret"), "s3cret-value");
    assert_eq!(request.header("x-more"), "1");
    app.stands(&application, &message, "success", 1).await;
    let attempts = app.get(&format!("{path}/attempts")).await.ok(200);
    let text = attempts.text();
    assert!(!text.contains("s3cret-value"), "{text}");
    assert!(text.contains(r#"{"name":"x-api-secret","value":"••••"}"#));
    // `{}` clears them.
    change(&app, &application, &endpoint, json!({"headers": {}})).await;
    app.message(&application, "a.b", json!(1)).await;
    let request = sink.wait_for(2).await.remove(1);
    assert!(!request.headers.contains_key("x-tenant"));
}

#[tokio::test]
async fn a_retry_after_on_429_or_503_lengthens_the_wait_but_never_shortens_it() {
    let app = TestApp::start().await;
    let date = "Sun, 22 Nov 2026 01:00:00 GMT";
    for (status, retry_after, want) in [
        (429, "120", 120 * SECOND),
        (503, "120", 120 * SECOND),
        (503, date, HOUR),
        (429, "1", 5 * SECOND),
        (429, "nonsense", 5 * SECOND),
        (500, "120", 5 * SECOND),
        (404, "120", 5 * SECOND),
    ] {
        let reply = Reply::status(status).header("retry-after", retry_after);
        let sink = Sink::start([reply]).await;
        let (application, _) = set_up(&app, &sink, json!({})).await;
        let message = app.message(&application, "a.b", json!(1)).await;
        let row = app.stands(&application, &message, "pending", 1).await;
        let due = row["nextAttemptTimestamp"].as_u64().unwrap();
        let waited = Duration::from_millis(due - app.now().0);
        assert!(
            waited >= want && waited <= want.mul_f64(1.1),
            "{status} {retry_after}: {waited:?}"
        );
    }
}

#[tokio::test]
async fn a_retry_after_holds_back_what_comes_later() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(429).header("retry-after", "60")]).await;
    let (application, _) = set_up(&app, &sink, json!({})).await;
    let first = app.message(&application, "a.b", json!(1)).await;
    app.stands(&application, &first, "pending", 1).await;
    let second = app.message(&application, "a.b", json!(2)).await;
    app.advance(59 * SECOND).await;
    app.stands(&application, &second, "pending", 0).await;
    assert_eq!(sink.count(), 1);
    app.advance(8 * SECOND).await;
    app.stands(&application, &second, "success", 1).await;
    app.stands(&application, &first, "success", 2).await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_given_up_after_its_timeout() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(200).held()]).await;
    let (application, endpoint) = set_up(&app, &sink, json!({"timeoutSeconds": 1})).await;
    let message = app.message(&application, "a.b", json!(1)).await;
    let row = app.stands(&application, &message, "pending", 1).await;
    assert_eq!(row["attempts"][0]["statusCode"], 0);
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}/attempts");
    let attempt = app.get(&path).await.ok(200).items().remove(0);
    assert_eq!(attempt["result"], "timedOut");
    assert_eq!(attempt["response"], Value::Null);
    let spent = attempt["durationMs"].as_u64().unwrap();
    assert!((1000..5000).contains(&spent), "{spent}");
}

#[tokio::test]
async fn an_endpoint_that_nobody_serves_fails_with_status_0_and_is_tried_again() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let url = sink.url();
    drop(sink);
    let application = app.application().await;
    app.endpoint(&application, &url, json!({})).await;
    let message = app.message(&application, "a.b", json!(1)).await;
    let row = app.stands(&application, &message, "pending", 1).await;
    assert_eq!(row["attempts"][0]["statusCode"], 0);
    assert!(row["nextAttemptTimestamp"].is_u64());
}

#[tokio::test]
async fn a_rate_limit_spreads_deliveries_over_time() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let (application, _) = set_up(&app, &sink, json!({"rateLimit": 2})).await;
    let mut messages = Vec::new();
    for n in 0..5 {
        messages.push(app.message(&application, "a.b", json!(n)).await);
    }
    // The first goes at once, one more each half second.
    sink.wait_for(1).await;
    for sent in 2..=5 {
        app.advance(Duration::from_millis(400)).await;
        app.idle().await;
        assert_eq!(sink.count(), sent - 1);
        app.advance(Duration::from_millis(100)).await;
        sink.wait_for(sent).await;
    }
    for message in &messages {
        app.stands(&application, message, "success", 1).await;
    }
}

#[tokio::test]
async fn a_pause_holds_what_is_due_and_what_is_new_until_it_ends() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(500)]).await;
    let (application, endpoint) = set_up(&app, &sink, json!({})).await;
    let retried = app.message(&application, "a.b", json!(1)).await;
    app.stands(&application, &retried, "pending", 1).await;
    change(&app, &application, &endpoint, json!({"paused": true})).await;
    let new = app.message(&application, "a.b", json!(2)).await;
    app.advance(HOUR).await;
    let row = app.stands(&application, &retried, "pending", 1).await;
    assert_eq!(row["nextAttemptTimestamp"], Value::Null);
    assert_eq!(row["endpoint"]["paused"], true);
    assert_eq!(row["endpoint"]["enabled"], true);
    app.stands(&application, &new, "pending", 0).await;
    assert_eq!(sink.count(), 1);
    change(&app, &application, &endpoint, json!({"paused": false})).await;
    app.stands(&application, &retried, "success", 2).await;
    app.stands(&application, &new, "success", 1).await;
}

#[tokio::test]
async fn a_disabled_endpoint_gets_nothing_until_it_is_enabled_again() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(500)]).await;
    let (application, endpoint) = set_up(&app, &sink, json!({})).await;
    let retried = app.message(&application, "a.b", json!(1)).await;
    app.stands(&application, &retried, "pending", 1).await;
    change(&app, &application, &endpoint, json!({"enabled": false})).await;
    let row = app.stands(&application, &retried, "disabled", 1).await;
    assert_eq!(row["nextAttemptTimestamp"], Value::Null);
    let unsent = app.message(&application, "a.b", json!(2)).await;
    let rows = app.endpoint_messages(&application, &unsent).await;
    assert_eq!(rows, Vec::<Value>::new());
    app.advance(HOUR).await;
    app.idle().await;
    assert_eq!(sink.count(), 1);
    let replay = replay_path(&application, &retried, &endpoint);
    let refused = app.post(&replay, json!({})).await.ok(409).json();
    assert_eq!(refused["code"], "endpoint_disabled");
    change(&app, &application, &endpoint, json!({"enabled": true})).await;
    app.stands(&application, &retried, "success", 2).await;
    assert_eq!(sink.count(), 2);
}

#[tokio::test]
async fn deleting_an_endpoint_cancels_what_waits_for_it() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(500)]).await;
    let (application, endpoint) = set_up(&app, &sink, json!({"name": "Old"})).await;
    let message = app.message(&application, "a.b", json!(1)).await;
    app.stands(&application, &message, "pending", 1).await;
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}");
    app.delete(&path).await.ok(200);
    let row = app.stands(&application, &message, "disabled", 1).await;
    assert_eq!(row["endpoint"]["name"], "Old");
    assert_eq!(row["endpoint"]["id"], endpoint.as_str());
    assert_eq!(row["nextAttemptTimestamp"], Value::Null);
    app.advance(HOUR).await;
    nothing_waits(&app).await;
    app.stands(&application, &message, "disabled", 1).await;
    assert_eq!(sink.count(), 1);
}

async fn nothing_waits(app: &TestApp) {
    app.until("nothing waits", async || {
        app.advance(SECOND).await;
        let store = app.get("/api/v1/store").await.ok(200).json();
        (store["waiting"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_deleted_during_an_attempt_that_fails_leaves_nothing_waiting() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(500).held()]).await;
    let (application, endpoint) = set_up(&app, &sink, json!({})).await;
    let message = app.message(&application, "a.b", json!(1)).await;
    sink.wait_for(1).await;
    let path = format!("/api/v1/applications/{application}/endpoints/{endpoint}");
    app.delete(&path).await.ok(200);
    nothing_waits(&app).await;
    sink.release(1);
    app.stands(&application, &message, "disabled", 1).await;
    nothing_waits(&app).await;
}

#[tokio::test]
async fn deleting_an_application_answers_at_once_and_ends_all_that_was_its() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    sink.always(Reply::status(500));
    let (application, endpoint) = set_up(&app, &sink, json!({})).await;
    for n in 0..20 {
        app.message(&application, "a.b", json!(n)).await;
    }
    sink.wait_for(20).await;
    let path = format!("/api/v1/applications/{application}");
    let deleted = app.delete(&path).await.ok(200);
    assert_eq!(deleted.id(), application);
    assert_eq!(app.get(&path).await.status, 404);
    let gone = app.get(&format!("{path}/endpoints/{endpoint}")).await;
    assert_eq!((gone.status, gone.text().as_str()), (404, ""));
    nothing_waits(&app).await;
    app.advance(HOUR).await;
    app.until("the store is swept", async || {
        app.advance(SECOND).await;
        let store = app.get("/api/v1/store").await.ok(200).json();
        // What is left is the operational event that told of the endpoint.
        (store["messages"] == 1 && store["attempts"] == 0).then_some(())
    })
    .await;
    assert_eq!(sink.count(), 20);
}

#[tokio::test]
async fn a_slow_endpoint_does_not_hold_up_another() {
    let app = TestApp::start().await;
    let slow = Sink::start([]).await;
    slow.always(Reply::status(200).held());
    let quick = Sink::start([]).await;
    let (application, _) = set_up(&app, &slow, json!({})).await;
    app.endpoint(&application, &quick.url(), json!({})).await;
    for n in 0..40 {
        app.message(&application, "a.b", json!(n)).await;
    }
    quick.wait_for(40).await;
    let in_flight = slow.wait_for(16).await.len();
    assert_eq!(
        in_flight, 16,
        "the cap of an endpoint that has yet to answer"
    );
    slow.release(40);
    slow.wait_for(40).await;
}

#[tokio::test]
async fn an_overloaded_endpoint_gets_one_request_at_a_time() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(503)]).await;
    let (application, _) = set_up(&app, &sink, json!({})).await;
    let first = app.message(&application, "a.b", json!(0)).await;
    app.stands(&application, &first, "pending", 1).await;
    sink.always(Reply::status(200).held());
    for n in 1..=10 {
        app.message(&application, "a.b", json!(n)).await;
    }
    sink.wait_for(2).await;
    assert_eq!(app.engine.in_flight(), 1);
    sink.release(11);
    sink.wait_for(11).await;
}

#[tokio::test]
async fn a_manual_replay_replaces_the_waiting_retry() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(500)]).await;
    let (application, endpoint) = set_up(&app, &sink, json!({})).await;
    let message = app.message(&application, "a.b", json!({"n": 1})).await;
    app.stands(&application, &message, "pending", 1).await;
    app.advance(SECOND).await;
    let replay = replay_path(&application, &message, &endpoint);
    let answer = app.post(&replay, json!({})).await.ok(202).json();
    assert_eq!(answer["status"], "pending");
    assert_eq!(answer["attemptCount"], 1);
    assert_eq!(answer["nextAttemptTimestamp"], app.now().0);
    let row = app.stands(&application, &message, "success", 2).await;
    assert_eq!(row["id"], answer["id"]);
    app.advance(HOUR).await;
    app.idle().await;
    assert_eq!(sink.count(), 2, "the retry that waited is gone");
    let bodies: Vec<_> = sink.requests().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies[0], bodies[1]);
}

#[tokio::test]
async fn a_failed_replay_leaves_the_retries_that_were_left() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    sink.always(Reply::status(500));
    let schedule = json!({"retrySchedule": ["5s", "5m"]});
    let (application, endpoint) = set_up(&app, &sink, schedule).await;
    let message = app.message(&application, "a.b", json!(1)).await;
    app.stands(&application, &message, "pending", 1).await;
    app.advance(SECOND).await;
    let replay = replay_path(&application, &message, &endpoint);
    app.post(&replay, json!({})).await.ok(202);
    app.stands(&application, &message, "pending", 2).await;
    // Two retries were left, and still are.
    app.advance(6 * MINUTE).await;
    app.stands(&application, &message, "pending", 3).await;
    app.advance(6 * MINUTE).await;
    app.stands(&application, &message, "failed", 4).await;
}

#[tokio::test]
async fn a_replay_asked_for_during_an_attempt_is_not_swallowed() {
    let app = TestApp::start().await;
    for (status, left) in [(500, "pending"), (200, "success")] {
        let sink = Sink::start([Reply::status(status).held()]).await;
        let (application, endpoint) = set_up(&app, &sink, json!({})).await;
        let message = app.message(&application, "a.b", json!(1)).await;
        sink.wait_for(1).await;
        app.stands(&application, &message, "sending", 0).await;
        let replay = replay_path(&application, &message, &endpoint);
        app.post(&replay, json!({})).await.ok(202);
        sink.always(Reply::status(status).header("x-second", "1"));
        sink.release(1);
        sink.wait_for(2).await;
        app.stands(&application, &message, left, 2).await;
    }
}

#[tokio::test]
async fn what_was_delivered_and_what_was_given_up_can_be_replayed() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(200), Reply::status(500)]).await;
    let no_retries = json!({"retrySchedule": []});
    let (application, endpoint) = set_up(&app, &sink, no_retries).await;
    let delivered = app.message(&application, "a.b", json!(1)).await;
    app.stands(&application, &delivered, "success", 1).await;
    let given_up = app.message(&application, "a.b", json!(2)).await;
    app.stands(&application, &given_up, "failed", 1).await;
    app.advance(SECOND).await;
    for message in [&delivered, &given_up] {
        let replay = replay_path(&application, message, &endpoint);
        app.post(&replay, json!({})).await.ok(202);
        app.stands(&application, message, "success", 2).await;
    }
    // A failed replay does not undo a success.
    sink.then(Reply::status(500));
    app.advance(SECOND).await;
    let replay = replay_path(&application, &delivered, &endpoint);
    app.post(&replay, json!({})).await.ok(202);
    app.stands(&application, &delivered, "success", 3).await;
}

#[tokio::test]
async fn a_message_that_was_never_owed_to_an_endpoint_can_be_replayed_to_it_once() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    sink.always(Reply::status(500));
    let (application, endpoint) = set_up(&app, &sink, json!({"eventTypes": ["other"]})).await;
    let message = app.message(&application, "a.b", json!(1)).await;
    assert!(
        app.endpoint_messages(&application, &message)
            .await
            .is_empty()
    );
    let replay = replay_path(&application, &message, &endpoint);
    app.post(&replay, json!({})).await.ok(202);
    app.stands(&application, &message, "failed", 1).await;
}

#[tokio::test]
async fn a_replay_repeats_its_answer_for_the_same_idempotency_key() {
    let app = TestApp::start().await;
    let sink = Sink::start([]).await;
    let (application, endpoint) = set_up(&app, &sink, json!({})).await;
    let message = app.message(&application, "a.b", json!(1)).await;
    app.stands(&application, &message, "success", 1).await;
    app.advance(SECOND).await;
    let replay = replay_path(&application, &message, &endpoint);
    for _ in 0..3 {
        app.request("POST", &replay)
            .header("idempotency-key", "once")
            .send()
            .await
            .ok(202);
        app.stands(&application, &message, "success", 2).await;
    }
}

#[tokio::test]
async fn what_waits_and_what_was_in_flight_survives_a_restart() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(500), Reply::status(200).held()]).await;
    let (application, _) = set_up(&app, &sink, json!({})).await;
    let waiting = app.message(&application, "a.b", json!(1)).await;
    app.stands(&application, &waiting, "pending", 1).await;
    let in_flight = app.message(&application, "a.b", json!(2)).await;
    sink.wait_for(2).await;
    let app = app.restart().await;
    app.stands(&application, &in_flight, "success", 1).await;
    app.advance(6 * SECOND).await;
    app.stands(&application, &waiting, "success", 2).await;
    let ids: Vec<_> = sink.requests().into_iter().collect();
    assert_eq!(ids.len(), 4);
    assert_eq!(ids[1].header("webhook-id"), ids[2].header("webhook-id"));
}

#[tokio::test]
async fn more_than_a_lane_holds_in_memory_is_all_delivered() {
    let app = TestApp::start_with(Options {
        sockets_max: 8,
        ..Options::default()
    })
    .await;
    let sink = Sink::start([]).await;
    let (application, endpoint) = set_up(&app, &sink, json!({"paused": true})).await;
    for n in 0..600 {
        app.message(&application, "a.b", json!(n)).await;
    }
    change(&app, &application, &endpoint, json!({"paused": false})).await;
    let requests = sink.wait_for(600).await;
    let mut bodies: Vec<u32> = requests
        .iter()
        .map(|seen| serde_json::from_slice(&seen.body).unwrap())
        .collect();
    bodies.sort_unstable();
    assert_eq!(bodies, (0..600).collect::<Vec<u32>>());
    app.idle().await;
    assert_eq!(sink.count(), 600, "each once");
}
