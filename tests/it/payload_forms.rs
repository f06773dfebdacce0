//! What an endpoint may want of its requests: signatures in headers of its
//! own, payload fields as headers, ASCII alone.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic like the tests do"
)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::app::{START, TestApp};
use crate::support::sink::{Seen, Sink};

fn hmac(key: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// Every value of a header, in order.
fn all<'a>(request: &'a Seen, name: &str) -> Vec<&'a str> {
    let values = request.headers.get_all(name).iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

struct World {
    app: TestApp,
    sink: Sink,
    application: String,
    endpoint: String,
}

impl World {
    async fn start(fields: Value) -> Self {
        let app = TestApp::start().await;
        let sink = Sink::start([]).await;
        let application = app.application().await;
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

    /// Sends a message with this payload, as it stands; its id, the request
    /// and the log's entry.
    async fn send(&self, payload: &str) -> (String, Seen, Value) {
        let before = self.sink.count();
        let path = format!("/api/v1/applications/{}/messages", self.application);
        let body = format!(r#"{{"eventType":"a.b","payload":{payload}}}"#);
        let made = self.app.request("POST", &path).body(body).send().await;
        let id = made.ok(202).id();
        let request = self.sink.wait_for(before + 1).await.pop().unwrap();
        self.app.stands(&self.application, &id, "success", 1).await;
        let log = self.app.get(&format!("{}/attempts", self.path())).await;
        (id, request, log.ok(200).items().remove(0))
    }
}

/// Name and value of every header that the log shows.
fn logged(attempt: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let headers = attempt["request"]["headers"].as_array().unwrap();
    headers
        .iter()
        .map(|header| (text(&header["name"]), text(&header["value"])))
        .collect()
}

#[tokio::test]
async fn endpoints_sign_into_headers_that_they_name() {
    let signatures = json!([
        {"scheme": "optech"},
        {"scheme": "optech", "header": "X-Second"},
        {"scheme": "custom", "header": "X-Acme", "template": "{timestamp}.{body}", "encoding": "hex"},
        {
            "scheme": "custom", "header": "X-Whole", "template": "{id}.{timestamp}.{body}",
            "encoding": "base64", "prefix": "t={timestamp},i={id},v1="
        }
    ]);
    let secrets = json!(["new", "whsec_b2xk"]);
    let fields = json!({"secrets": secrets, "signatures": signatures, "headers": {"x-a": "1"}});
    let world = World::start(fields).await;
    let shown = world.app.get(&world.path()).await.ok(200).json();
    let mut want = signatures.clone();
    want[0]["header"] = json!("x-optech-signature");
    want[2]["prefix"] = json!("");
    assert_eq!(shown["signatures"], want);
    let (id, request, attempt) = world.send(r#"{"data":{"a":1}}"#).await;
    let body: &[u8] = &request.body;
    let optech = URL_SAFE.encode(hmac("new", &[body]));
    assert_eq!(all(&request, "x-optech-signature"), [&optech]);
    assert_eq!(all(&request, "x-second"), [&optech]);
    let time = START.as_secs().to_string();
    let acme = |secret| hex(&hmac(secret, &[time.as_bytes(), b".", body]));
    let lines = [acme("new"), acme("whsec_b2xk")];
    assert_eq!(all(&request, "x-acme"), lines);
    let whole = |secret| {
        let text = format!("{id}.{time}.");
        let mac = STANDARD.encode(hmac(secret, &[text.as_bytes(), body]));
        format!("t={time},i={id},v1={mac}")
    };
    let lines = [whole("new"), whole("whsec_b2xk")];
    assert_eq!(all(&request, "x-whole"), lines);
    // X-Acme signs the time and does not show it.
    assert_eq!(request.header("webhook-id"), id);
    assert_eq!(request.header("webhook-timestamp"), time);
    for name in ["webhook-signature", "svix-id", "x-signature"] {
        assert!(!request.headers.contains_key(name), "{name}");
    }
    // The log shows every line.
    let logged = logged(&attempt);
    for (name, value) in &logged {
        assert!(all(&request, name).contains(&value.as_str()), "{name}");
    }
    assert_eq!(logged.len(), 2 + 2 + 2 + 4 + 1);
    // What was shown can be put back.
    let put = world
        .app
        .put(&world.path(), shown.clone())
        .await
        .ok(200)
        .json();
    assert_eq!(put["signatures"], shown["signatures"]);
}

#[tokio::test]
async fn one_name_is_one_header() {
    let world = World::start(json!({"headers": {"X-Taken": "v"}})).await;
    let optech = |header: &str| json!({"scheme": "optech", "header": header});
    let custom = |header: &str| json!({"scheme": "custom", "header": header, "template": "{body}", "encoding": "hex"});
    let put = async |fields: Value| world.app.put(&world.path(), fields).await;
    for (fields, path) in [
        (
            json!({"signatures": [optech("x-taken")]}),
            "signatures[0].header",
        ),
        (
            json!({"signatures": [{"scheme": "standard"}, optech("x-a"), custom("X-A")]}),
            "signatures[2].header",
        ),
        (
            json!({"signatures": [custom("x-b")], "headers": {"X-B": "v"}}),
            "signatures[0].header",
        ),
        (
            json!({"signatures": [custom("host")]}),
            "signatures[0].header",
        ),
        (
            json!({"signatures": [custom("webhook-id")]}),
            "signatures[0].header",
        ),
    ] {
        let answer = put(fields.clone()).await.ok(422).json();
        assert_eq!(answer["errors"][0]["path"], path, "{fields}");
    }
    // What is stored counts, until it goes in the same call.
    let fields = json!({"signatures": [optech("x-taken")], "headers": {}});
    put(fields).await.ok(200);
    put(json!({"headers": {"x-Taken": "v"}})).await.ok(422);
    let fields = json!({"signatures": [], "headers": {"x-Taken": "v"}});
    put(fields).await.ok(200);
}

#[tokio::test]
async fn payload_fields_are_sent_as_headers() {
    let fields = json!({
        "payloadInHeaders": true, "headers": {"X-Own": "1"},
        "signatures": [{"scheme": "standard"}, {"scheme": "optech", "header": "x-seal"}]
    });
    let world = World::start(fields).await;
    let shown = world.app.get(&world.path()).await.ok(200).json();
    assert_eq!(shown["payloadInHeaders"], true);
    let payload = r#"{"Order-Id":"o 1","amount":1.10,"paid":true,"nothing":null,"list":[1],
        "x-own":"2","X-Seal":"s","authorization":"a","host":"h","webhook-id":"w",
        "name":"Łódź","a b":1,"api_token":"canary","x-api-key":"canary"}"#;
    let (_, request, attempt) = world.send(payload).await;
    assert_eq!(request.body, payload, "the body stays");
    for (name, value) in [
        ("order-id", "o 1"),
        ("amount", "1.10"),
        ("paid", "true"),
        ("x-own", "1"),
        ("api_token", "canary"),
        ("x-api-key", "canary"),
    ] {
        assert_eq!(all(&request, name), [value], "{name}");
    }
    assert_eq!(all(&request, "x-seal").len(), 1);
    assert_eq!(all(&request, "webhook-id").len(), 1);
    for name in ["nothing", "list", "authorization", "name"] {
        assert!(!request.headers.contains_key(name), "{name}");
    }
    let left_out = [
        "x-own",
        "X-Seal",
        "authorization",
        "host",
        "webhook-id",
        "name",
        "a b",
    ];
    assert_eq!(attempt["request"]["leftOut"], json!(left_out));
    let logged = logged(&attempt);
    let masked = |name: &str| (name.to_owned(), "••••".to_owned());
    let plain = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let tail = [
        plain("X-Own", "1"),
        plain("Order-Id", "o 1"),
        plain("amount", "1.10"),
        plain("paid", "true"),
        masked("api_token"),
        masked("x-api-key"),
    ];
    assert_eq!(logged[logged.len() - tail.len()..], tail);
    assert!(!attempt.to_string().contains("canary"));
    // Off again, and for what has no fields.
    let (_, request, attempt) = world.send("[1]").await;
    assert_eq!(attempt["request"]["leftOut"], json!([]));
    assert!(!request.headers.contains_key("amount"));
    let off = json!({"payloadInHeaders": false});
    world.app.put(&world.path(), off).await.ok(200);
    let (_, request, attempt) = world.send(payload).await;
    assert!(!request.headers.contains_key("amount"));
    assert_eq!(attempt["request"]["leftOut"], json!([]));
}

#[tokio::test]
async fn payload_fields_beyond_the_bounds_are_left_out() {
    let world = World::start(json!({"payloadInHeaders": true})).await;
    let fields: Vec<_> = (0..60).map(|n| format!(r#""f{n}":{n}"#)).collect();
    let (_, request, attempt) = world.send(&format!("{{{}}}", fields.join(","))).await;
    assert_eq!(all(&request, "f49"), ["49"]);
    assert!(!request.headers.contains_key("f50"));
    let left_out: Vec<_> = (50..60).map(|n| format!("f{n}")).collect();
    assert_eq!(attempt["request"]["leftOut"], json!(left_out));
    let long = "x".repeat(5000);
    let payload = format!(r#"{{"a":"{long}","b":"{long}","c":1}}"#);
    let (_, request, attempt) = world.send(&payload).await;
    assert_eq!(all(&request, "a"), [&long]);
    assert_eq!(all(&request, "c"), ["1"]);
    assert_eq!(attempt["request"]["leftOut"], json!(["b"]));
}

#[tokio::test]
async fn payloads_are_sent_and_signed_in_ascii_where_that_is_wanted() {
    let fields = json!({"asciiBody": true, "secrets": ["shhh"], "payloadInHeaders": true});
    let world = World::start(fields).await;
    let shown = world.app.get(&world.path()).await.ok(200).json();
    assert_eq!(shown["asciiBody"], true);
    let payload = r#"{ "città":"Łódź 🪝\u00e9", "n":1.10 }"#;
    let (id, request, _) = world.send(payload).await;
    let want = r#"{ "citt\u00e0":"\u0141\u00f3d\u017a \ud83e\ude9d\u00e9", "n":1.10 }"#;
    assert_eq!(request.body, want);
    let time = START.as_secs().to_string();
    let text = format!("{id}.{time}.{want}");
    let signature = format!("v1,{}", STANDARD.encode(hmac("shhh", &[text.as_bytes()])));
    assert_eq!(request.header("webhook-signature"), signature);
    let hex = hex(&hmac("shhh", &[format!("{time}.{want}").as_bytes()]));
    assert_eq!(request.header("x-signature"), format!("t={time},v1={hex}"));
    assert_eq!(all(&request, "n"), ["1.10"]);
    // What is stored stays as it came.
    let path = format!("/api/v1/applications/{}/messages/{id}", world.application);
    let stored = world.app.get(&path).await.ok(200).text();
    assert!(stored.contains(payload), "{stored}");
    let off = json!({"asciiBody": false});
    world.app.put(&world.path(), off).await.ok(200);
    let (_, request, _) = world.send(payload).await;
    assert_eq!(request.body, payload);
}
