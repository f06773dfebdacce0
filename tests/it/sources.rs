//! Sources: what others send is verified, logged, accepted and delivered on.

use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use hookpost::store::Store;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::app::{Answer, Options, TestApp};
use crate::support::sink::{Reply, Sink};

const SOURCES: &str = "/api/v1/sources";

/// A signature of GitHub's, by independent code: Python's hmac.
/// `hmac.new(b"It's a Secret to Everybody", body, "sha256").hexdigest()`
const GITHUB_SECRET: &str = "It's a Secret to Everybody";
const GITHUB_BODY: &str = "Hello, World!";
const GITHUB_SIGNATURE: &str =
    "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

async fn source(app: &TestApp, application: &str, slug: &str, more: Value) -> Value {
    let mut body = json!({"name": slug, "application": application, "slug": slug});
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    app.post(SOURCES, body).await.ok(201).json()
}

async fn static_source(app: &TestApp, application: &str, slug: &str, more: Value) -> Value {
    let mut body = json!({"verification": {"preset": "static-header", "header": "x-api-secret", "secrets": ["s3cret"]}});
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    source(app, application, slug, body).await
}

async fn send(app: &TestApp, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut call = app.request("POST", path).without_key();
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call.body(body.to_owned()).send().await
}

/// What came to a source, newest first, once there are so many.
async fn received(app: &TestApp, slug: &str, count: usize) -> Vec<Value> {
    app.until("the log is written", async || {
        let log = app
            .get(&format!("{SOURCES}/{slug}/received?pageSize=250"))
            .await
            .ok(200)
            .items();
        (log.len() >= count).then_some(log)
    })
    .await
}

fn checked(store: &Store) {
    let report = store.check().expect("it can be read");
    assert!(report.is_sound(), "{:?}", report.problems);
}

#[tokio::test]
async fn a_verified_event_becomes_a_message_and_goes_on_as_it_came() {
    let app = TestApp::start().await;
    let sink = Sink::start([Reply::status(200)]).await;
    let application = app.application().await;
    app.endpoint(&application, &sink.url(), json!({})).await;
    let made = source(
        &app,
        &application,
        "github",
        json!({"verification": {"preset": "github", "secrets": [GITHUB_SECRET]}}),
    )
    .await;
    assert_eq!(made["url"], json!(format!("{}/in/github", app.public_url)));
    let headers = [
        ("x-hub-signature-256", GITHUB_SIGNATURE),
        ("x-github-event", "push"),
        ("x-github-delivery", "d-1"),
        ("content-type", "text/plain"),
        ("cookie", "a=b"),
    ];
    let answer = send(&app, "/in/github", &headers, GITHUB_BODY)
        .await
        .ok(200);
    assert_eq!(answer.text(), "OK");
    let all = sink.wait_for(1).await;
    let seen = &all[0];
    assert_eq!(seen.body, GITHUB_BODY.as_bytes());
    assert_eq!(seen.header("content-type"), "text/plain");
    assert_eq!(seen.header("x-github-event"), "push");
    assert_eq!(seen.header("x-hub-signature-256"), GITHUB_SIGNATURE);
    assert!(!seen.headers.contains_key("cookie"));
    assert!(seen.headers.contains_key("webhook-signature"));
    let log = received(&app, "github", 1).await;
    assert_eq!(log[0]["verdict"], "accepted");
    assert_eq!(log[0]["body"], GITHUB_BODY);
    let shown: Vec<_> = log[0]["headers"].as_array().unwrap().iter().collect();
    assert!(
        shown.contains(&&json!(["x-github-delivery", "d-1"])),
        "{shown:?}"
    );
    assert!(shown.contains(&&json!(["cookie", "••••"])), "{shown:?}");
    let message = log[0]["message"].as_str().unwrap();
    let path = format!("/api/v1/applications/{application}/messages/{message}");
    let message = app.get(&path).await.ok(200).json();
    assert_eq!(message["eventType"], "push");
    assert_eq!(message["payload"], GITHUB_BODY);
    assert_eq!(message["contentType"], "text/plain");
    // The same once more: answered, and not taken twice.
    send(&app, "/in/github", &headers, GITHUB_BODY)
        .await
        .ok(200);
    let log = received(&app, "github", 2).await;
    assert_eq!(log[0]["verdict"], "duplicate");
    assert_eq!(
        app.get(&path.replace(message["id"].as_str().unwrap(), ""))
            .await
            .ok(200)
            .items()
            .len(),
        1
    );
    let counts = app.get(&format!("{SOURCES}/github")).await.ok(200).json()["counts"].clone();
    assert_eq!(
        counts,
        json!({"accepted": 1, "rejected": 0, "duplicate": 1, "handshake": 0})
    );
    checked(&app.store);
}

#[tokio::test]
async fn what_is_refused_is_logged_with_the_reason_and_can_be_accepted_after_all() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let verification = json!({"verification": {"preset": "github", "secrets": ["wrong"]}});
    source(&app, &application, "github", verification).await;
    let headers = [
        ("x-hub-signature-256", GITHUB_SIGNATURE),
        ("x-github-event", "push"),
    ];
    let answer = send(&app, "/in/github", &headers, GITHUB_BODY)
        .await
        .ok(401);
    assert_eq!(answer.text(), "Not accepted.");
    let log = received(&app, "github", 1).await;
    assert_eq!(log[0]["verdict"], "rejected");
    assert!(
        log[0]["reason"]
            .as_str()
            .unwrap()
            .contains("no secret matches"),
        "{log:?}"
    );
    assert_eq!(log[0]["body"], GITHUB_BODY);
    let again = format!(
        "{SOURCES}/github/received/{}/verifications",
        log[0]["id"].as_str().unwrap()
    );
    let still = app
        .post(&again, json!({"secret": "also wrong"}))
        .await
        .ok(200)
        .json();
    assert_eq!(still["verdict"], "rejected");
    // Long after: it is judged as of when it came.
    app.advance(Duration::from_hours(1)).await;
    let good = app
        .post(&again, json!({"secret": GITHUB_SECRET, "keep": true}))
        .await
        .ok(200)
        .json();
    assert_eq!(good["verdict"], "accepted");
    app.post(&again, json!({})).await.ok(409);
    let log = received(&app, "github", 1).await;
    assert_eq!(log.len(), 1, "it stays where it was");
    assert_eq!(log[0]["verdict"], "accepted");
    assert_eq!(log[0]["message"], good["message"]);
    let secrets = app
        .get(&format!("{SOURCES}/github/secrets"))
        .await
        .ok(200)
        .json();
    assert_eq!(secrets["secrets"], json!([GITHUB_SECRET, "wrong"]));
    checked(&app.store);
}

#[tokio::test]
async fn a_record_holds_the_latest_state_and_its_history() {
    let app = TestApp::start().await;
    let application = app.application().await;
    static_source(
        &app,
        &application,
        "status",
        json!({"record": {"key": "reference"}}),
    )
    .await;
    let good = [
        ("x-api-secret", "s3cret"),
        ("content-type", "application/json"),
    ];
    let first = r#"{"reference":"F-1","status_code":"P","token_id":1}"#;
    send(&app, "/in/status", &good, first).await.ok(200);
    app.advance(Duration::from_secs(1)).await;
    let wrong = [("x-api-secret", "guess")];
    send(
        &app,
        "/in/status",
        &wrong,
        r#"{"reference":"F-1","status_code":"F"}"#,
    )
    .await
    .ok(401);
    app.advance(Duration::from_secs(1)).await;
    send(
        &app,
        "/in/status",
        &good,
        r#"{"reference":"F-1","status_code":"S"}"#,
    )
    .await
    .ok(200);
    let record = app
        .get(&format!("{SOURCES}/status/records/F-1"))
        .await
        .ok(200)
        .json();
    assert_eq!(
        record["fields"],
        json!({"reference": "F-1", "status_code": "S", "token_id": 1})
    );
    assert_eq!(record["count"], 2);
    assert_eq!(
        record["lastSeen"].as_u64().unwrap() - record["firstSeen"].as_u64().unwrap(),
        2000
    );
    let history = app
        .get(&format!("{SOURCES}/status/records/F-1/history"))
        .await
        .ok(200)
        .items();
    assert_eq!(history.len(), 2);
    assert_eq!(
        history[0]["fields"],
        json!({"reference": "F-1", "status_code": "S"})
    );
    let log = received(&app, "status", 3).await;
    let verdicts: Vec<_> = log
        .iter()
        .map(|one| one["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["accepted", "rejected", "accepted"]);
    assert!(
        log[1]["reason"]
            .as_str()
            .unwrap()
            .contains("`x-api-secret` is none of"),
        "{log:?}"
    );
    assert!(!format!("{log:?}").contains("s3cret"), "masked");
    for (search, count) in [("f-1", 1), ("\"s\"", 1), ("nothing", 0)] {
        let path = format!(
            "{SOURCES}/status/records?search={}",
            search.replace('"', "%22")
        );
        assert_eq!(
            app.get(&path).await.ok(200).items().len(),
            count,
            "{search}"
        );
    }
    checked(&app.store);
    app.delete(&format!("{SOURCES}/status/records/F-1"))
        .await
        .ok(200);
    app.get(&format!("{SOURCES}/status/records/F-1"))
        .await
        .ok(404);
    checked(&app.store);
}

#[tokio::test]
async fn what_names_no_record_is_refused_and_said_why() {
    let app = TestApp::start().await;
    let application = app.application().await;
    static_source(
        &app,
        &application,
        "status",
        json!({"record": {"key": "reference"}}),
    )
    .await;
    let good = [("x-api-secret", "s3cret")];
    send(&app, "/in/status", &good, r#"{"status_code":"S"}"#)
        .await
        .ok(422);
    send(&app, "/in/status", &good, "not JSON").await.ok(422);
    let log = received(&app, "status", 2).await;
    assert!(
        log[0]["reason"]
            .as_str()
            .unwrap()
            .contains("not a JSON object"),
        "{log:?}"
    );
    assert!(
        log[1]["reason"]
            .as_str()
            .unwrap()
            .contains("`reference`, which names the record, is missing"),
        "{log:?}"
    );
}

#[tokio::test]
async fn handshakes_are_answered_and_logged_as_such() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let meta = json!({"verification": {"preset": "meta", "secrets": ["s"], "verifyToken": "v"}});
    source(&app, &application, "meta", meta).await;
    let challenge = "/in/meta?hub.mode=subscribe&hub.challenge=42&hub.verify_token=";
    let answer = app
        .request("GET", &format!("{challenge}v"))
        .without_key()
        .send()
        .await
        .ok(200);
    assert_eq!(answer.text(), "42");
    app.request("GET", &format!("{challenge}w"))
        .without_key()
        .send()
        .await
        .ok(403);
    app.request("GET", "/in/meta")
        .without_key()
        .send()
        .await
        .ok(405);
    // Asana tells its secret, once.
    let asana = json!({"verification": {"preset": "asana"}});
    source(&app, &application, "asana", asana).await;
    let told = [("x-hook-secret", "told")];
    let answer = send(&app, "/in/asana", &told, "").await.ok(200);
    assert_eq!(answer.header("x-hook-secret"), "told");
    send(&app, "/in/asana", &[("x-hook-secret", "other")], "")
        .await
        .ok(403);
    let secrets = app
        .get(&format!("{SOURCES}/asana/secrets"))
        .await
        .ok(200)
        .json();
    assert_eq!(secrets["secrets"], json!(["told"]));
    let log = received(&app, "meta", 3).await;
    let verdicts: Vec<_> = log
        .iter()
        .map(|one| one["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["rejected", "rejected", "handshake"]);
    assert_eq!(log[2]["reason"], "hub.challenge");
    assert_eq!(log[1]["reason"], "the verify token is not the source's");
}

#[tokio::test]
async fn answers_are_what_a_source_says_or_what_an_endpoint_answers() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let fixed = json!({"answer": {"status": 202, "contentType": "application/json", "body": "{}", "headers": {"x-a": "b"}}});
    static_source(&app, &application, "fixed", fixed).await;
    let good = [("x-api-secret", "s3cret")];
    let answer = send(&app, "/in/fixed", &good, "1").await.ok(202);
    assert_eq!((answer.text().as_str(), answer.header("x-a")), ("{}", "b"));
    assert_eq!(answer.header("content-type"), "application/json");
    let replies = [
        Reply::status(201).body("said"),
        Reply::status(500).body("failed"),
    ];
    let sink = Sink::start(replies).await;
    let endpoint = app.endpoint(&application, &sink.url(), json!({})).await;
    let passed = json!({"answer": {"endpoint": endpoint, "timeoutSeconds": 5}});
    static_source(&app, &application, "passed", passed).await;
    let answer = send(&app, "/in/passed", &good, "2").await.ok(201);
    assert_eq!(answer.text(), "said");
    let answer = send(&app, "/in/passed", &good, "3").await.ok(500);
    assert_eq!(answer.text(), "failed");
}

#[tokio::test]
async fn events_may_be_limited_in_size_rate_and_method() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let limits = json!({"limits": {"bodyBytes": 4, "perSecond": 2, "methods": ["PUT"]}});
    static_source(&app, &application, "small", limits).await;
    let put = async |body: &str| {
        let call = app.request("PUT", "/in/small").without_key();
        call.header("x-api-secret", "s3cret")
            .body(body.to_owned())
            .send()
            .await
    };
    put("1234").await.ok(200);
    put("12345").await.ok(413);
    let refused = send(&app, "/in/small", &[("x-api-secret", "s3cret")], "1")
        .await
        .ok(405);
    assert_eq!(refused.header("allow"), "PUT");
    let limited = put("2").await.ok(429);
    assert_eq!(limited.header("retry-after"), "1");
    app.advance(Duration::from_secs(1)).await;
    put("3").await.ok(200);
    let log = received(&app, "small", 4).await;
    let reasons: Vec<_> = log
        .iter()
        .map(|one| one["reason"].as_str().unwrap())
        .collect();
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("larger than 4 bytes")),
        "{reasons:?}"
    );
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("does not take this method")),
        "{reasons:?}"
    );
    // Off: as if it were not there.
    app.put(&format!("{SOURCES}/small"), json!({"enabled": false}))
        .await
        .ok(200);
    put("4").await.ok(404);
}

#[tokio::test]
async fn a_flood_of_forgeries_leaves_few_rows_and_counts_all() {
    let app = TestApp::start().await;
    let application = app.application().await;
    static_source(&app, &application, "flooded", json!({})).await;
    for _ in 0..300 {
        send(&app, "/in/flooded", &[("x-api-secret", "guess")], "x")
            .await
            .ok(401);
    }
    let log = received(&app, "flooded", 100).await;
    assert_eq!(log.len(), 100);
    app.advance(Duration::from_secs(10)).await;
    app.until("all are counted", async || {
        let source = app.get(&format!("{SOURCES}/flooded")).await.ok(200).json();
        (source["counts"]["rejected"] == 300).then_some(())
    })
    .await;
    send(&app, "/in/flooded", &[("x-api-secret", "guess")], "x")
        .await
        .ok(401);
    let log = received(&app, "flooded", 101).await;
    assert_eq!(log[0]["notKept"], 200);
    checked(&app.store);
}

#[tokio::test]
async fn an_event_that_goes_round_in_a_circle_stops() {
    let app = TestApp::start_with(Options {
        retry_schedule: Vec::new(),
        ..Options::default()
    })
    .await;
    let application = app.application().await;
    let open = json!({"verification": {"preset": "none"}});
    source(&app, &application, "circle", open).await;
    let own = format!("{}/in/circle", app.public_url);
    app.endpoint(&application, &own, json!({})).await;
    send(&app, "/in/circle", &[], "{}").await.ok(200);
    let log = received(&app, "circle", 2).await;
    assert_eq!(log[0]["verdict"], "rejected");
    assert_eq!(log[0]["answerStatus"], 508);
    assert!(
        log[0]["reason"].as_str().unwrap().contains("before"),
        "{log:?}"
    );
    app.idle().await;
    assert_eq!(received(&app, "circle", 2).await.len(), 2);
}

/// Over the network too, where a URL of this server is spelled another way: the
/// delivery says which sources the event came through.
#[tokio::test]
async fn an_event_says_which_sources_it_came_through() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let open = json!({"verification": {"preset": "none"}});
    let made = source(&app, &application, "first", open.clone()).await;
    let second = source(&app, &application, "second", open).await;
    let sink = Sink::start([Reply::status(200)]).await;
    app.endpoint(&application, &sink.url(), json!({})).await;
    let ids = |via: &[&Value]| {
        let ids: Vec<_> = via.iter().map(|one| one["id"].as_str().unwrap()).collect();
        ids.join(" ")
    };
    send(&app, "/in/first", &[], "{}").await.ok(200);
    let via = sink.wait_for(1).await[0].header("hookpost-via").to_owned();
    assert_eq!(via, ids(&[&made]));
    let back = [("hookpost-via", via.as_str())];
    send(&app, "/in/first", &back, "{}").await.ok(508);
    send(&app, "/in/second", &back, "{}").await.ok(200);
    let via = sink.wait_for(2).await[1].header("hookpost-via").to_owned();
    assert_eq!(via, ids(&[&made, &second]));
    let many = [("hookpost-via", "a b c d e f g h")];
    send(&app, "/in/second", &many, "{}").await.ok(508);
}

#[tokio::test]
async fn sources_survive_a_restart_and_go_with_their_application() {
    let app = TestApp::start().await;
    let application = app.application().await;
    static_source(&app, &application, "kept", json!({"record": {"key": "a"}})).await;
    let good = [("x-api-secret", "s3cret")];
    send(&app, "/in/kept", &good, r#"{"a":1}"#).await.ok(200);
    send(&app, "/in/kept", &[], "{}").await.ok(401);
    received(&app, "kept", 2).await;
    let app = app.restart().await;
    send(&app, "/in/kept", &good, r#"{"a":2}"#).await.ok(200);
    assert_eq!(received(&app, "kept", 3).await.len(), 3);
    app.delete(&format!("/api/v1/applications/{application}"))
        .await
        .ok(200);
    send(&app, "/in/kept", &good, "{}").await.ok(404);
    app.get(&format!("{SOURCES}/kept")).await.ok(404);
    app.until("all is swept", async || {
        app.advance(Duration::from_secs(1)).await;
        (!app.store.has_tombstones().unwrap()).then_some(())
    })
    .await;
    checked(&app.store);
}

#[tokio::test]
async fn bad_settings_are_named() {
    let app = TestApp::start().await;
    let application = app.application().await;
    for (body, path, detail) in [
        (json!({}), "application", "is missing"),
        (
            json!({"application": application}),
            "verification",
            "is missing",
        ),
        (
            json!({"application": "none", "verification": {"preset": "none"}}),
            "application",
            "is no application",
        ),
        (
            json!({"application": application, "verification": {"preset": "nope"}}),
            "verification.preset",
            "must be one of",
        ),
        (
            json!({"application": application, "verification": {"preset": "github"}}),
            "verification.secrets",
            "is missing",
        ),
        (
            json!({"application": application, "verification": {"preset": "meta", "secrets": ["s"]}}),
            "verification.verifyToken",
            "is missing",
        ),
        (
            json!({"application": application, "verification": {"preset": "none", "nonsense": "x"}}),
            "verification.nonsense",
            "not a setting",
        ),
        (
            json!({"application": application, "verification": {"preset": "adyen", "secrets": ["xyz"]}}),
            "verification.secrets[0]",
            "must be hex",
        ),
        (
            json!({"application": application, "verification": {"preset": "custom", "secrets": ["s"]}}),
            "verification.signature",
            "is missing",
        ),
        (
            json!({"application": application, "verification": {"preset": "custom", "secrets": ["s"], "signature": {"header": "x-s", "signed": "x"}}}),
            "verification.signature.signed",
            "must have {body}",
        ),
        (
            json!({"application": application, "slug": "c_x", "verification": {"preset": "none"}}),
            "slug",
            "relays",
        ),
        (
            json!({"application": application, "verification": {"preset": "none", "ipRanges": ["x"]}}),
            "verification.ipRanges[0]",
            "must be an address",
        ),
        (
            json!({"application": application, "verification": {"preset": "none"}, "limits": {"methods": ["TRACE"]}}),
            "limits.methods[0]",
            "must be one of",
        ),
        (
            json!({"application": application, "verification": {"preset": "none"}, "answer": {"endpoint": "none"}}),
            "answer.endpoint",
            "is no endpoint",
        ),
        (
            json!({"application": application, "verification": {"preset": "none"}, "answer": {"headers": {"host": "x"}}}),
            "answer.headers.host",
            "itself sets",
        ),
        (
            json!({"application": application, "verification": {"preset": "none"}, "eventType": {"fixed": "a b"}}),
            "eventType.fixed",
            "must have only",
        ),
        (
            json!({"application": application, "verification": {"preset": "none"}, "record": {"headers": ["x"]}}),
            "record.key",
            "is missing",
        ),
    ] {
        let answer = app.post(SOURCES, body.clone()).await.ok(422).json();
        let errors = answer["errors"].as_array().unwrap();
        let found = errors.iter().find(|error| error["path"] == path);
        let text = found.map(|error| error["detail"].as_str().unwrap().to_owned());
        assert!(
            text.is_some_and(|text| text.contains(detail)),
            "{body}: {answer}"
        );
    }
    let open = json!({"verification": {"preset": "none"}});
    source(&app, &application, "taken", open.clone()).await;
    let mut again = open;
    again["application"] = json!(application);
    again["slug"] = json!("taken");
    app.post(SOURCES, again).await.ok(409);
}

#[tokio::test]
async fn a_scheme_of_ones_own_verifies() {
    let app = TestApp::start().await;
    let application = app.application().await;
    // hmac.new(b"key", b"1795305600.POST.{}", "sha512"), base64, by Python.
    let signature = json!({
        "header": "x-sig", "item": "s", "separator": ";", "algorithm": "hmac-sha512", "encoding": "base64",
        "signed": "{timestamp}.{method}.{body}", "timestamp": {"item": "t", "unit": "seconds"},
    });
    let verification =
        json!({"verification": {"preset": "custom", "secrets": ["key"], "signature": signature}});
    let made = source(&app, &application, "own", verification).await;
    let mut shown = signature.clone();
    shown["key"] = json!("text");
    assert_eq!(made["verification"]["signature"], shown);
    let value = "t=1795305600;s=Otx6l4T5tkby9ek5Obi9UUyZV063YapkQflZNRNy7ExFyU5tgwB/POm+1VMqGKGmUyNGodXpl0nOE1R5FfFFIg==";
    let good = [("x-sig", value)];
    send(&app, "/in/own", &good, "{}").await.ok(200);
    send(&app, "/in/own", &good, "{ }").await.ok(401);
    app.advance(Duration::from_secs(301)).await;
    send(&app, "/in/own", &good, "{}").await.ok(401);
}

fn hmac_hex(key: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any key");
    mac.update(text.as_bytes());
    let bytes = mac.finalize().into_bytes();
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Keys only grow; what came is judged by the clock of its moment all the same.
#[tokio::test]
async fn a_clock_that_stepped_back_makes_nothing_late() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let verification = json!({"preset": "stripe", "secrets": ["old"]});
    let made = json!({"verification": verification});
    source(&app, &application, "stepped", made).await;
    let now = app.now();
    app.clock.set_ahead(Duration::from_hours(26));
    // Its key is of then.
    app.application().await;
    app.clock.set_ahead(Duration::ZERO);
    let at = app.now().as_secs();
    let body = r#"{"id":"evt_1","type":"a.b"}"#;
    let mac = hmac_hex("new", &format!("{at}.{body}"));
    let signed = format!("t={at},v1={mac}");
    let headers = [("stripe-signature", signed.as_str())];
    send(&app, "/in/stepped", &headers, body).await.ok(401);
    let log = received(&app, "stepped", 1).await;
    assert_eq!(log[0]["timestamp"], now.0);
    let path = format!(
        "{SOURCES}/stepped/received/{}/verifications",
        log[0]["id"].as_str().unwrap()
    );
    let again = app.post(&path, json!({"secret": "new"})).await.ok(200);
    assert_eq!(again.json()["verdict"], "accepted", "{}", again.text());
}

/// Senders go on using a URL after its source is gone.
#[tokio::test]
async fn a_slug_stays_with_its_environment() {
    let app = TestApp::start().await;
    let application = app.application().await;
    let open = json!({"verification": {"preset": "none"}});
    source(&app, &application, "ours", open.clone()).await;
    let renamed = json!({"slug": "ours-now"});
    app.put(&format!("{SOURCES}/ours"), renamed).await.ok(200);
    app.delete(&format!("{SOURCES}/ours-now")).await.ok(200);
    let other = app
        .post("/api/v1/environments", json!({"name": "other"}))
        .await;
    let made = json!({"name": "o", "environment": other.ok(201).id(), "scopes": ["admin"]});
    let key = app.post("/api/v1/keys", made).await.ok(201).json();
    let key = format!("Bearer {}", key["key"].as_str().unwrap());
    let ask = async |path: &str, body: Value| {
        let call = app.request("POST", path).header("authorization", &key);
        call.json(&body).send().await
    };
    let theirs = ask("/api/v1/applications", json!({"name": "theirs"})).await;
    let theirs = theirs.ok(201).id();
    for slug in ["ours", "ours-now"] {
        let body = json!({
            "application": theirs, "slug": slug, "verification": {"preset": "none"},
        });
        let refused = ask(SOURCES, body).await.ok(409).json();
        assert_eq!(refused["code"], "slug_taken", "{slug}");
        source(&app, &application, slug, open.clone()).await;
    }
    checked(&app.store);
}
