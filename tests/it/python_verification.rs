//! Signatures are judged by the packages that receivers use, not by our own code.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookpost::domain::signing::{Scheme, SignedParts, SigningSecret};
use hookpost::seams::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::http_client;
use crate::support::patience::wait_for;
use crate::support::python::{self, Verdicts, VerifyReceiver};
use crate::support::server_process::ServerProcess;

/// Two attempts fit, should the first one meet a machine that is too busy.
const DELIVERY_TIME: Duration = Duration::from_secs(45);
const LARGE_PAYLOAD_BYTES: usize = 350_000;

const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TEXT: &str = "i9viqa5vxx78hcxh4rwdm8x7791";
const NON_ASCII_TEXT: &str = "ключ, 鍵 & clé";

/// Texts that would not survive being parsed and written again.
fn payloads() -> Vec<String> {
    let small = [
        r#"{"test": 2432232314}"#,
        r#"{"request_id":"req_1","integer":12345678901234567890,"price":1.10,"exponent":1E+2}"#,
        r#"{"name":"Łódź, 東京, it’s 🪝","escaped":"\u00e9\ud83e\ude9d\/"}"#,
        "{\"separators\":\"\u{2028}\u{2029}\u{feff}\u{7f}\"}",
        r#"{ "b" : [ 1 , 2.0 ] , "a" : null }"#,
        r#"["not an object"]"#,
        r#""text""#,
        "-0.0",
    ];
    let mut payloads: Vec<String> = small.map(str::to_owned).into();
    payloads.push(large_payload());
    payloads
}

fn large_payload() -> String {
    let mut payload = String::from(r#"{"item_ids":["#);
    while payload.len() < LARGE_PAYLOAD_BYTES - 40 {
        let number = payload.len();
        write!(payload, r#""item_é_{number:012}","#).expect("text takes text");
    }
    payload + r#""the last"]}"#
}

fn sha256(body: &str) -> String {
    Sha256::digest(body)
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// A plain text as the packages want it. Any other text is that already.
fn prefixed(secret: &str) -> String {
    if secret.starts_with("whsec_") {
        return secret.to_owned();
    }
    format!("whsec_{}", STANDARD.encode(secret))
}

fn all_true(path: &str, body: &str) -> Verdicts {
    Verdicts {
        path: path.to_owned(),
        svix: json!(true),
        standardwebhooks: json!(true),
        octohooks: json!(true),
        named: Value::Null,
        body_sha256: sha256(body),
    }
}

#[test]
fn the_receiver_itself_takes_published_vectors_and_nothing_else() {
    let Some(python) = python::python("the_receiver_itself_takes_published_vectors") else {
        return;
    };
    let output = python::script(python, "test_verify_receiver.py")
        .output()
        .expect("Python can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Sends `body` with signatures made by our own code, `late_s` ago.
fn send_signed(
    receiver: &VerifyReceiver,
    path: &str,
    secrets: &[&str],
    late_s: u64,
    body: &str,
) -> u16 {
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    let secrets: Vec<SigningSecret> = secrets
        .iter()
        .map(|secret| SigningSecret::parse(secret).expect("is a secret"))
        .collect();
    let time_s = SystemClock.now().0 / 1000 - late_s;
    let parts = SignedParts::sign(&Scheme::DEFAULT, &secrets, ID, time_s, body.as_bytes());
    let headers = parts.headers(ID);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let address = ([127, 0, 0, 1], receiver.port()).into();
    http_client::request(address, "POST", path, &headers, body.as_bytes())
        .expect("the receiver answers")
        .status
}

#[test]
fn published_packages_take_the_signatures_that_are_made_here() {
    let Some(python) = python::python("published_packages_take_the_signatures") else {
        return;
    };
    let mut receiver = VerifyReceiver::start(python);
    for secrets in [
        &[WHSEC][..],
        &[TEXT],
        &[NON_ASCII_TEXT],
        &[TEXT, WHSEC, NON_ASCII_TEXT],
    ] {
        let standard: Vec<String> = secrets.iter().map(|secret| prefixed(secret)).collect();
        let standard: Vec<&str> = standard.iter().map(String::as_str).collect();
        receiver.expect("/here", &standard, secrets);
        for body in payloads() {
            let status = send_signed(&receiver, "/here", secrets, 0, &body);
            assert_eq!(receiver.verdicts(), all_true("/here", &body), "{secrets:?}");
            assert_eq!(status, 204);
        }
    }
}

#[test]
fn published_packages_refuse_other_secrets_and_old_signatures() {
    let Some(python) = python::python("published_packages_refuse_other_secrets") else {
        return;
    };
    let mut receiver = VerifyReceiver::start(python);
    receiver.expect("/here", &[WHSEC], &[WHSEC]);
    for (secret, late_s, standard_reason, octohooks_reason) in [
        (
            TEXT,
            0,
            "No matching signature",
            "no signature of x-signature",
        ),
        (WHSEC, 400, "too old", "s old"),
    ] {
        let status = send_signed(&receiver, "/here", &[secret], late_s, "{}");
        let verdicts = receiver.verdicts();
        for (verdict, reason) in [
            (&verdicts.svix, standard_reason),
            (&verdicts.standardwebhooks, standard_reason),
            (&verdicts.octohooks, octohooks_reason),
        ] {
            let said = verdict.as_str().unwrap_or_default();
            assert!(said.contains(reason), "{reason}: {verdicts:?}");
        }
        assert_eq!(status, 400);
    }
}

/// An application with an endpoint for each way to have secrets.
struct Subscribers {
    server: ServerProcess,
    receiver: VerifyReceiver,
    app: String,
    /// The paths of the endpoints, in order.
    paths: Vec<String>,
}

impl Subscribers {
    /// An application without endpoints.
    fn empty(python: OsString) -> Self {
        let server = ServerProcess::start_with(&["--retry-schedule", "1s,1s,1s"]);
        let app = created(&server, "/applications", &json!({ "name": "Łódź" }));
        Self {
            receiver: VerifyReceiver::start(python),
            app: app["id"].as_str().expect("has an id").to_owned(),
            server,
            paths: Vec::new(),
        }
    }

    fn new(python: OsString) -> Self {
        let mut subscribers = Self::empty(python);
        subscribers.add("/generated", &[]);
        subscribers.add("/whsec", &[WHSEC]);
        subscribers.add("/text", &[TEXT]);
        subscribers.add("/non-ascii-text", &[NON_ASCII_TEXT]);
        subscribers.add("/several", &[TEXT, WHSEC]);
        subscribers.paths.sort();
        subscribers
    }

    /// An endpoint, whose receiver expects signatures by every secret given, or
    /// else by the one that the server generated, and by the one it shows.
    fn add(&mut self, path: &str, secrets: &[&str]) {
        let endpoints = format!("/applications/{}/endpoints", self.app);
        let body = json!({ "url": self.receiver.url(path), "secrets": secrets });
        let endpoint = created(&self.server, &endpoints, &body);
        assert_eq!(endpoint["secrets"], json!([]), "secrets are not shown");
        let shown = self.shown_secret(&endpoints, &endpoint);
        let mut standard: Vec<String> = secrets.iter().map(|secret| prefixed(secret)).collect();
        standard.push(shown.clone());
        let standard: Vec<&str> = standard.iter().map(String::as_str).collect();
        let generated = [shown.as_str()];
        let text = if secrets.is_empty() {
            &generated[..]
        } else {
            secrets
        };
        self.receiver.expect(path, &standard, text);
        self.paths.push(path.to_owned());
    }

    fn shown_secret(&self, endpoints: &str, endpoint: &Value) -> String {
        let id = endpoint["id"].as_str().expect("has an id");
        let answer = self
            .server
            .api("GET", &format!("{endpoints}/{id}/secret"), b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["key"].as_str().expect("is a key").to_owned()
    }

    /// Sends a message whose payload is this text, and gives its id.
    fn send(&self, payload: &str) -> String {
        let path = format!("/applications/{}/messages", self.app);
        let body = format!(r#"{{"eventType":"items.scanned","payload":{payload}}}"#);
        let answer = self.server.api("POST", &path, body.as_bytes());
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["id"].as_str().expect("has an id").to_owned()
    }

    /// Waits until every endpoint has taken the message, at the first attempt.
    fn assert_delivered(&self, message: &str) {
        let app = &self.app;
        let path = format!("/applications/{app}/messages/{message}/endpoint-messages");
        let mut last = Value::Null;
        let delivered = wait_for(DELIVERY_TIME, || {
            last = self.server.api("GET", &path, b"").json();
            let deliveries = last.as_array().expect("is a list");
            (deliveries.len() == self.paths.len()
                && deliveries
                    .iter()
                    .all(|delivery| delivery["status"] == "success"))
            .then_some(())
        });
        assert!(delivered.is_some(), "{last:#}");
        for delivery in last.as_array().into_iter().flatten() {
            assert_eq!(delivery["attemptCount"], 1, "{delivery:#}");
        }
    }

    /// What the receiver found in the requests of one message, by path.
    fn verdicts(&self) -> Vec<Verdicts> {
        let mut verdicts: Vec<_> = self
            .paths
            .iter()
            .map(|_| self.receiver.verdicts())
            .collect();
        verdicts.sort_by(|a, b| a.path.cmp(&b.path));
        verdicts
    }
}

fn created(server: &ServerProcess, path: &str, body: &Value) -> Value {
    let answer = server.api("POST", path, body.to_string().as_bytes());
    assert_eq!(answer.status, 201, "{path}: {}", answer.text());
    answer.json()
}

#[test]
fn published_packages_take_every_delivery() {
    let Some(python) = python::python("published_packages_take_every_delivery") else {
        return;
    };
    let mut subscribers = Subscribers::new(python);
    for payload in payloads() {
        let message = subscribers.send(&payload);
        let want: Vec<Verdicts> = subscribers
            .paths
            .iter()
            .map(|path| all_true(path, &payload))
            .collect();
        assert_eq!(subscribers.verdicts(), want);
        subscribers.assert_delivered(&message);
    }
    assert!(subscribers.receiver.is_silent(), "a request too many");
    assert!(subscribers.server.terminate().success());
}

/// What an endpoint signs with beside the standard scheme, and what a receiver
/// that was told the same expects.
fn named(secrets: &[&str]) -> (Value, Value) {
    let schemes = [
        ("X-Hex", "{timestamp}.{body}", "hex", "sha256="),
        (
            "X-Whole",
            "{id}.{timestamp}.{body}",
            "base64",
            "t={timestamp},v1=",
        ),
        ("X-Body", "{body}", "base64", "{id} "),
    ];
    let mut signatures = vec![
        json!({ "scheme": "standard" }),
        json!({ "scheme": "optech" }),
    ];
    let mut expected = vec![json!({
        "secret": secrets[0], "header": "x-optech-signature", "template": "{body}",
        "encoding": "base64url", "prefix": "", "lines": 1
    })];
    for (header, template, encoding, prefix) in schemes {
        let mut scheme = json!({
            "scheme": "custom", "header": header, "template": template,
            "encoding": encoding, "prefix": prefix
        });
        signatures.push(scheme.clone());
        for secret in secrets {
            scheme["secret"] = json!(secret);
            scheme["lines"] = json!(secrets.len());
            expected.push(scheme.clone());
        }
    }
    (signatures.into(), expected.into())
}

#[test]
fn python_takes_the_signatures_in_headers_that_owners_name() {
    let Some(python) = python::python("python_takes_the_signatures_in_headers") else {
        return;
    };
    let mut subscribers = Subscribers::empty(python);
    let secrets = [NON_ASCII_TEXT, WHSEC];
    let (signatures, expected) = named(&secrets);
    let endpoints = format!("/applications/{}/endpoints", subscribers.app);
    let url = subscribers.receiver.url("/named");
    let body = json!({ "url": url, "secrets": secrets, "signatures": signatures });
    created(&subscribers.server, &endpoints, &body);
    subscribers
        .receiver
        .expect_all(&json!({ "path": "/named", "named": expected }));
    for payload in payloads() {
        subscribers.send(&payload);
        let want = Verdicts {
            svix: Value::Null,
            standardwebhooks: Value::Null,
            octohooks: Value::Null,
            named: json!(true),
            ..all_true("/named", &payload)
        };
        assert_eq!(subscribers.receiver.verdicts(), want);
    }
    assert!(subscribers.server.terminate().success());
}

/// Messages that are sent while a secret is rotated, and in its grace period.
const ROTATION_MESSAGES: usize = 100;

#[test]
fn published_packages_take_both_secrets_of_a_rotation_until_its_end() {
    let Some(python) = python::python("published_packages_take_both_secrets") else {
        return;
    };
    let mut subscribers = Subscribers::empty(python);
    let endpoints = format!("/applications/{}/endpoints", subscribers.app);
    let url = subscribers.receiver.url("/rotated");
    let body = json!({ "url": url, "secrets": [TEXT] });
    let endpoint = created(&subscribers.server, &endpoints, &body);
    let id = endpoint["id"].as_str().expect("has an id");
    let rotations = format!("{endpoints}/{id}/secret/rotations");
    let rotate = |subscribers: &Subscribers, body: &Value| {
        let rotated = created(&subscribers.server, &rotations, body);
        rotated["key"].as_str().expect("is a key").to_owned()
    };
    let old = prefixed(TEXT);
    // The old one verifies all along; it is rotated away in the midst of them.
    subscribers.receiver.expect("/rotated", &[&old], &[TEXT]);
    let mut new = String::new();
    for number in 0..ROTATION_MESSAGES {
        subscribers.send(&number.to_string());
        if number == ROTATION_MESSAGES / 2 {
            new = rotate(&subscribers, &json!({}));
        }
    }
    let take = |subscribers: &Subscribers, count| {
        for _ in 0..count {
            let verdicts = subscribers.receiver.verdicts();
            let good = [
                &verdicts.svix,
                &verdicts.standardwebhooks,
                &verdicts.octohooks,
            ];
            assert_eq!(good, [&json!(true); 3], "{verdicts:?}");
        }
    };
    take(&subscribers, ROTATION_MESSAGES);
    // In its grace period, both do.
    subscribers
        .receiver
        .expect("/rotated", &[&new, &old], &[&new, TEXT]);
    for number in 0..ROTATION_MESSAGES {
        subscribers.send(&number.to_string());
    }
    take(&subscribers, ROTATION_MESSAGES);
    // A grace period of 0 ends at once: neither of the two is good any more.
    let newest = rotate(&subscribers, &json!({ "gracePeriodSeconds": 0 }));
    subscribers
        .receiver
        .expect("/rotated", &[&newest], &[&newest]);
    subscribers.send("0");
    take(&subscribers, 1);
    for gone in [&new, &old] {
        subscribers.receiver.expect("/rotated", &[gone], &[]);
        subscribers.send("1");
        let verdicts = subscribers.receiver.verdicts();
        let said = verdicts.svix.as_str().unwrap_or_default();
        assert!(said.contains("No matching"), "{verdicts:?}");
        assert_eq!(verdicts.svix, verdicts.standardwebhooks);
    }
    assert!(subscribers.server.terminate().success());
}
