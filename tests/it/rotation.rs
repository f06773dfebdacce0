//! Secrets change while deliveries flow, and nobody has to stop.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests do"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::app::{START, TestApp};
use crate::support::sink::{Reply, Seen, Sink};

/// `whsec_` and 24 bytes each.
const OLD: &str = "whsec_b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQ=";
const NEW: &str = "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXc=";
const SECOND: Duration = Duration::from_secs(1);
const DAY_S: u64 = 24 * 60 * 60;

/// What `webhook-signature` holds for one `whsec_` secret, computed apart from
/// the code that is tested.
fn signature(secret: &str, request: &Seen) -> String {
    let key = STANDARD.decode(&secret["whsec_".len()..]).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    for part in ["webhook-id", "webhook-timestamp"] {
        mac.update(request.header(part).as_bytes());
        mac.update(b".");
    }
    mac.update(&request.body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// The secrets that a request verifies with: its signatures are theirs, in
/// this order, and no others.
#[track_caller]
fn check(request: &Seen, secrets: &[&str]) {
    let want: Vec<_> = secrets.iter().map(|one| signature(one, request)).collect();
    assert_eq!(request.header("webhook-signature"), want.join(" "));
    assert_eq!(request.header("svix-signature"), want.join(" "));
    let hex = request.header("x-signature").matches(",v1=").count();
    assert_eq!(hex, secrets.len());
}

fn bodies(requests: &[Seen]) -> BTreeSet<u64> {
    let number = |seen: &Seen| serde_json::from_slice(&seen.body).unwrap();
    requests.iter().map(number).collect()
}

/// An application whose only endpoint has the secret [`OLD`].
struct Flow {
    app: TestApp,
    sink: Sink,
    application: String,
    endpoint: String,
}

impl Flow {
    async fn start(fields: Value) -> Self {
        let app = TestApp::start().await;
        let sink = Sink::start([]).await;
        let application = app.application().await;
        let mut fields = fields;
        fields["secrets"] = json!([OLD]);
        let endpoint = app.endpoint(&application, &sink.url(), fields).await;
        Self {
            app,
            sink,
            application,
            endpoint,
        }
    }

    fn path(&self) -> String {
        let (application, endpoint) = (&self.application, &self.endpoint);
        format!("/api/v1/applications/{application}/endpoints/{endpoint}")
    }

    fn rotations(&self) -> String {
        format!("{}/secret/rotations", self.path())
    }

    async fn rotate(&self, body: Value) -> Value {
        self.app.post(&self.rotations(), body).await.ok(201).json()
    }

    async fn secret(&self) -> Value {
        let path = format!("{}/secret", self.path());
        self.app.get(&path).await.ok(200).json()
    }

    async fn send(&self, number: u64) -> String {
        self.app
            .message(&self.application, "a.b", json!(number))
            .await
    }

    /// Sends one message, which arrives; the request.
    async fn sent(&self, number: u64) -> Seen {
        let before = self.sink.count();
        self.send(number).await;
        self.sink.wait_for(before + 1).await.pop().unwrap()
    }

    async fn audited(&self) -> Vec<(String, String)> {
        let entries = self.app.get("/api/v1/audit").await.ok(200).items();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        entries
            .iter()
            .map(|entry| (text(&entry["action"]), text(&entry["subject"])))
            // Not the making of the key that asks.
            .filter(|(action, _)| action.starts_with("secret."))
            .collect()
    }
}

#[tokio::test]
async fn every_delivery_verifies_with_both_secrets_until_the_grace_period_ends() {
    const MESSAGES: u64 = 300;
    const AT_ONCE: u64 = 10;
    let mut flow = Flow::start(json!({})).await;
    check(&flow.sent(0).await, &[OLD]);
    let grace_s = MESSAGES / AT_ONCE * 60;
    let rotation = json!({"secret": NEW, "gracePeriodSeconds": grace_s});
    // Under way, on both sides of the rotation: the old one verifies all.
    let sending = async {
        for number in 1..=50 {
            flow.send(number).await;
        }
    };
    let rotating = async {
        flow.sink.wait_for(20).await;
        flow.rotate(rotation).await
    };
    let ((), rotated) = tokio::join!(sending, rotating);
    assert_eq!(rotated["key"], NEW);
    let requests = flow.sink.wait_for(51).await;
    let both = |request: &&Seen| request.header("webhook-signature").contains(' ');
    assert!(requests[..20].iter().all(|request| !both(&request)));
    for request in &requests {
        let secrets = [NEW, OLD];
        check(
            request,
            if both(&request) {
                &secrets
            } else {
                &secrets[1..]
            },
        );
    }
    flow.app.idle().await;
    flow.sink.clear();
    // Through the whole grace period, over a restart.
    for number in 0..MESSAGES {
        if number == MESSAGES / 2 {
            flow.app = flow.app.restart().await;
        }
        flow.send(number).await;
        if number % AT_ONCE == AT_ONCE - 1 {
            flow.sink
                .wait_for(usize::try_from(number).unwrap() + 1)
                .await;
            flow.app.idle().await;
            // The last ones are sent a minute before its end.
            flow.app.advance(60 * SECOND).await;
        }
    }
    let requests = flow.sink.requests();
    assert_eq!(bodies(&requests), (0..MESSAGES).collect());
    assert_eq!(requests.len() as u64, MESSAGES, "none is sent twice");
    for request in &requests {
        check(request, &[NEW, OLD]);
    }
    let last: u64 = requests[299].header("webhook-timestamp").parse().unwrap();
    assert_eq!(last, START.as_secs() + grace_s - 60);
    // It has just ended.
    check(&flow.sent(1000).await, &[NEW]);
    let secret = flow.secret().await;
    assert_eq!(secret, json!({"key": NEW, "text": null, "previous": []}));
    eprintln!("{} deliveries of the grace period verified", requests.len());
}

#[tokio::test]
async fn what_signs_is_judged_at_each_attempt() {
    let flow = Flow::start(json!({"retrySchedule": ["50s", "1s"]})).await;
    flow.sink.then(Reply::status(500));
    flow.sink.then(Reply::status(500));
    flow.rotate(json!({"secret": NEW, "gracePeriodSeconds": 60}))
        .await;
    let message = flow.send(1).await;
    for attempts in 1..=3 {
        flow.sink.wait_for(attempts).await;
        if attempts < 3 {
            let (application, app) = (&flow.application, &flow.app);
            app.stands(application, &message, "pending", attempts).await;
            let wait = if attempts == 1 { 55 } else { 5 };
            app.advance(wait * SECOND).await;
        }
    }
    let requests = flow.sink.requests();
    check(&requests[0], &[NEW, OLD]);
    check(&requests[1], &[NEW, OLD]);
    check(&requests[2], &[NEW]);
    // The log shows each as it was sent.
    let path = format!("{}/attempts", flow.path());
    let log = flow
        .app
        .until("three attempts are logged", async || {
            let log = flow.app.get(&path).await.ok(200).items();
            (log.len() == 3).then_some(log)
        })
        .await;
    for (attempt, request) in log.iter().rev().zip(&requests) {
        let headers = attempt["request"]["headers"].as_array().unwrap();
        let signature = headers
            .iter()
            .find(|header| header["name"] == "webhook-signature");
        assert_eq!(
            signature.unwrap()["value"],
            request.header("webhook-signature")
        );
    }
}

#[tokio::test]
async fn a_rotation_without_a_word_makes_a_secret_and_a_day_of_grace() {
    let flow = Flow::start(json!({})).await;
    let before = flow.app.get(&flow.path()).await.ok(200).json();
    flow.app.advance(10 * SECOND).await;
    let rotated = flow.rotate(json!({})).await;
    let key = rotated["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("whsec_") && key != OLD, "{key}");
    let expires = START.0 + 10_000 + DAY_S * 1000;
    let want = json!({"key": key, "text": null, "previous": [{"expires": expires}]});
    assert_eq!(rotated, want);
    assert_eq!(flow.secret().await, want);
    check(&flow.sent(1).await, &[&key, OLD]);
    let mut after = flow.app.get(&flow.path()).await.ok(200).json();
    assert_eq!(after["updated"], START.0 + 10_000);
    after["updated"] = before["updated"].clone();
    assert_eq!(after, before, "nothing else changed");
}

#[tokio::test]
async fn no_grace_stops_the_older_secrets_at_once() {
    let flow = Flow::start(json!({})).await;
    flow.rotate(json!({"secret": "plain"})).await;
    let rotated = flow
        .rotate(json!({"secret": NEW, "gracePeriodSeconds": 0}))
        .await;
    assert_eq!(rotated, json!({"key": NEW, "text": null, "previous": []}));
    check(&flow.sent(1).await, &[NEW]);
    let longest = flow
        .rotate(json!({"secret": OLD, "gracePeriodSeconds": 2_592_000}))
        .await;
    let expires = START.0 + 2_592_000_000;
    assert_eq!(longest["previous"], json!([{"expires": expires}]));
    // All are replaced, those with an end too.
    let fields = json!({"secrets": [NEW]});
    flow.app.put(&flow.path(), fields).await.ok(200);
    assert_eq!(flow.secret().await["previous"], json!([]));
    check(&flow.sent(2).await, &[NEW]);
}

#[tokio::test]
async fn an_end_is_never_put_off_and_what_has_ended_is_forgotten() {
    let flow = Flow::start(json!({})).await;
    flow.rotate(json!({"secret": "second", "gracePeriodSeconds": 60}))
        .await;
    let rotated = flow
        .rotate(json!({"secret": "third", "gracePeriodSeconds": 90}))
        .await;
    let end = |seconds: u64| START.0 + seconds * 1000;
    let previous = json!([{"expires": end(90)}, {"expires": end(60)}]);
    assert_eq!(rotated["previous"], previous);
    flow.app.advance(61 * SECOND).await;
    assert_eq!(
        flow.secret().await["previous"],
        json!([{"expires": end(90)}])
    );
    // The next write, of whatever, leaves it out of the store.
    let of = |secret: &str| {
        let ids = flow.app.store.ids();
        let key = ids.parse(&flow.endpoint).unwrap();
        let live = flow.app.store.live_endpoint(key).unwrap().unwrap();
        let mut secrets = live.settings.secrets.iter();
        secrets.any(|stored| stored.secret.text().expose() == secret)
    };
    assert!(of(OLD) && of("second"));
    flow.app
        .put(&flow.path(), json!({"name": "n"}))
        .await
        .ok(200);
    assert!(!of(OLD) && of("second") && of("third"));
    // Back to one that still signs: it is the newest now, and has no end.
    let rotated = flow.rotate(json!({"secret": "second"})).await;
    assert_eq!(rotated["text"], "second");
    assert_eq!(rotated["previous"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn more_secrets_than_may_sign_are_refused_with_a_remedy() {
    let flow = Flow::start(json!({})).await;
    for number in 2..=10 {
        let body = json!({"secret": format!("secret {number}"), "gracePeriodSeconds": number * 60});
        flow.rotate(body).await;
    }
    let before = flow.app.store.dump();
    let refused = flow.app.post(&flow.rotations(), json!({})).await.ok(409);
    assert_eq!(refused.json()["code"], "too_many_secrets");
    for remedy in ["Wait", "gracePeriodSeconds", "PUT"] {
        assert!(refused.text().contains(remedy), "{}", refused.text());
    }
    assert!(flow.app.store.dump() == before);
    // Each remedy is one.
    flow.app.advance(121 * SECOND).await;
    flow.rotate(json!({"secret": "later"})).await;
    let rotated = flow.rotate(json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(rotated["previous"], json!([]));
}

#[tokio::test]
async fn rotations_are_checked_and_done_once() {
    let flow = Flow::start(json!({})).await;
    for (body, path) in [
        (
            json!({"gracePeriodSeconds": 2_592_001}),
            "gracePeriodSeconds",
        ),
        (json!({"gracePeriodSeconds": -1}), "gracePeriodSeconds"),
        (json!({"secret": ""}), "secret"),
        (json!({"secret": "whsec_%"}), "secret"),
        (json!({"secret": "whpk_AAAA"}), "secret"),
        (json!({"secret": "x".repeat(1025)}), "secret"),
    ] {
        let answer = flow.app.post(&flow.rotations(), body).await.ok(422);
        assert_eq!(answer.json()["errors"][0]["path"], path);
    }
    let nowhere = flow.rotations().replace(&flow.endpoint, "nowhere");
    flow.app.post(&nowhere, json!({})).await.ok(404);
    let once = async || {
        let request = flow.app.request("POST", &flow.rotations());
        let request = request.header("idempotency-key", "once").json(&json!({}));
        request.send().await.ok(201).json()
    };
    let first = once().await;
    flow.app.advance(SECOND).await;
    assert_eq!(once().await, first);
    assert_eq!(flow.secret().await, first);
}

#[tokio::test]
async fn reading_and_rotating_secrets_is_written_down_and_a_rotation_is_told() {
    let flow = Flow::start(json!({})).await;
    let endpoint = || flow.endpoint.clone();
    assert_eq!(flow.audited().await, []);
    flow.secret().await;
    flow.rotate(json!({})).await;
    let refused = json!({"secret": "whsec_%"});
    flow.app.post(&flow.rotations(), refused).await.ok(422);
    let want = [
        ("secret.rotated".to_owned(), endpoint()),
        ("secret.read".to_owned(), endpoint()),
    ];
    assert_eq!(flow.audited().await, want);
    let nowhere = format!("{}/secret", flow.path().replace(&flow.endpoint, "nowhere"));
    let answer = flow.app.get(&nowhere).await.ok(404);
    assert!(answer.body.is_empty());
    assert_eq!(flow.audited().await.len(), 2);
    let events = "/api/v1/applications/operational-events/messages";
    let events = flow.app.get(events).await.ok(200).items();
    let types: Vec<_> = events.iter().map(|event| &event["eventType"]).collect();
    assert_eq!(types, ["endpoint.updated", "endpoint.created"]);
}

#[tokio::test]
async fn replacing_secrets_takes_the_scope_for_secrets_and_is_written_down() {
    let flow = Flow::start(json!({})).await;
    let made = flow
        .app
        .post("/api/v1/keys", json!({"scopes": ["endpoints:write"]}));
    let key = made.await.ok(201).json()["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = flow.rotations().replace("/secret/rotations", "");
    let put = async |body: Value| {
        let request = flow.app.request("PUT", &path).json(&body);
        let request = request.header("authorization", &format!("Bearer {key}"));
        request.send().await
    };
    put(json!({"name": "n", "secrets": []})).await.ok(200);
    let refused = put(json!({"secrets": ["known"]})).await.ok(403).json();
    assert_eq!(refused["code"], "forbidden");
    assert_eq!(flow.audited().await, []);
    let replaced = flow.app.put(&path, json!({"secrets": ["known"]})).await;
    replaced.ok(200);
    let told = [("secret.rotated".to_owned(), flow.endpoint.clone())];
    assert_eq!(flow.audited().await, told);
}

#[tokio::test]
async fn a_rotation_is_repeated_for_its_endpoint_and_caller_alone() {
    let app = TestApp::start().await;
    let make = async || {
        let application = json!({"name": "n", "uid": "acme"});
        app.post("/api/v1/applications", application).await.ok(201);
        let endpoint = json!({"uid": "main"});
        app.endpoint("acme", "https://1.1.1.1/", endpoint).await;
    };
    let rotate = async || {
        let path = "/api/v1/applications/acme/endpoints/main/secret/rotations";
        let request = app.request("POST", path).header("idempotency-key", "r-1");
        request.send().await.ok(201).json()["key"].clone()
    };
    make().await;
    let first = rotate().await;
    assert_eq!(rotate().await, first);
    app.delete("/api/v1/applications/acme").await.ok(200);
    make().await;
    assert_ne!(rotate().await, first);
}
