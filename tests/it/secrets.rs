//! What is secret stays inside: not in answers, not in the log, not in the
//! bytes on disk. The real executable, so that all of its threads are heard.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::http_client::{self, Response};
use crate::support::server_process::ServerProcess;
use crate::support::sink::{Reply, Sink};

/// Each in a secret place; none may be seen outside.
const PLAIN: &str = "canary-plain-8f1c2b";
const LATER: &str = "canary-later-77aa01";
const HEADER: &str = "canary-header-b7d0e4";
const COOKIE: &str = "canary-cookie-5e21f9";
const ROTATED: &str = "canary-rotated-3ac95e";
const LATER_HEADER: &str = "canary-header-2-c91d33";
/// `whsec_` and 24 bytes.
const PREFIXED: &str = "whsec_Y2FuYXJ5LXByZWZpeGVkLXNlY3JldDEy";
const REFUSED: &str = "canary-refused-90ab12";
/// Not secret: what must be found where the others must not.
const PAYLOAD: &str = "canary-payload-431f0d";

struct Server {
    process: ServerProcess,
    answers: Vec<String>,
}

impl Server {
    fn ask(&mut self, method: &str, path: &str, body: &str) -> Response {
        self.ask_with(method, path, &[], body)
    }

    fn ask_with(
        &mut self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let address = self.process.base_url();
        let address: SocketAddr = address["http://".len()..].parse().expect("an address");
        let key = format!("Bearer {}", self.process.api_key());
        let mut headers = vec![("authorization", key.as_str())];
        headers.retain(|_| !more.iter().any(|(name, _)| *name == "authorization"));
        headers.extend(more);
        let path = format!("/api/v1{path}");
        let answer = http_client::request(address, method, &path, &headers, body.as_bytes());
        let answer = answer.expect("an answer");
        let head = format!("{:?}", answer.headers);
        self.answers
            .push(format!("{method} {path}: {head} {}", answer.text()));
        answer
    }

    fn made(&mut self, path: &str, body: &Value) -> Value {
        let answer = self.ask("POST", path, &body.to_string());
        assert!((200..300).contains(&answer.status), "{}", answer.text());
        answer.json()
    }
}

fn endpoint(url: &str) -> Value {
    json!({
        "url": url,
        "secrets": [PLAIN, PREFIXED],
        "headers": {"Authorization": HEADER, "x-session-cookie": COOKIE, "X-Tenant": "shown"},
    })
}

/// Bodies that are refused, each with a secret in it.
fn refused_bodies() -> Vec<String> {
    let url = "https://1.1.1.1/";
    let with = |field: &str, value: Value| json!({"url": url, field: value}).to_string();
    vec![
        with("secrets", json!([format!("{REFUSED}\n")])),
        with("secrets", json!([format!("whsec_%{REFUSED}")])),
        with("secrets", json!([format!("whsk_{REFUSED}")])),
        with("secrets", json!([format!("whpk_{REFUSED}")])),
        with("secrets", json!(REFUSED)),
        with("secrets", json!({REFUSED: 1})),
        with("secrets", json!([{"secret": REFUSED}])),
        with("secrets", json!([REFUSED.repeat(100)])),
        with(
            "headers",
            json!({"authorization": format!("{REFUSED}\r\nx: y")}),
        ),
        with("headers", json!({"authorization": format!(" {REFUSED}")})),
        with("headers", json!({"authorization": [REFUSED]})),
        with("headers", json!({"authorization": REFUSED.repeat(300)})),
        with("headers", json!({"host": REFUSED})),
        with("headers", json!({"x-token": REFUSED, "X-Token": REFUSED})),
        with("headers", json!(REFUSED)),
        format!(r#"{{"url": "{url}", "secrets": ["{REFUSED}"#),
        format!(r#"{{"url": "{url}", "secrets": ["{REFUSED}"], "a": 1, "a": 2}}"#),
        format!(r#"{{"url": "{url}", "secrets": [{REFUSED}]}}"#),
        format!(r#""{REFUSED}""#),
    ]
}

fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            bytes.extend(bytes_below(&path));
        } else if path.is_file() {
            bytes.extend(fs::read(&path).expect("a readable file"));
        }
    }
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

impl Server {
    /// Makes it twice by one idempotency key: the second answer comes from disk.
    fn made_twice(&mut self, path: &str, body: &Value) -> Value {
        let once = [("idempotency-key", "once")];
        let first = self.ask_with("POST", path, &once, &body.to_string());
        let again = self.ask_with("POST", path, &once, &body.to_string());
        assert_eq!((first.status, first.text()), (201, again.text()));
        first.json()
    }

    /// Looks at everything that was sent to `messages`.
    fn look_at(&mut self, messages: &str) {
        let list = self.ask("GET", messages, "").json();
        for message in list.as_array().expect("a list") {
            let id = message["id"].as_str().expect("an id");
            self.ask("GET", &format!("{messages}/{id}/endpoint-messages"), "");
            self.ask("GET", &format!("{messages}/{id}/attempts"), "");
        }
    }

    /// Sends what is refused; how much it was.
    fn provoke(&mut self, endpoints: &str, one: &str) -> usize {
        let bodies = refused_bodies();
        for body in &bodies {
            for (method, path) in [("POST", endpoints), ("PUT", one)] {
                let status = self.ask(method, path, body).status;
                assert!((400..500).contains(&status), "{method} {body}: {status}");
            }
        }
        let wrong = format!("Bearer {REFUSED}");
        let refused = self.ask_with("GET", one, &[("authorization", &wrong)], "");
        assert_eq!(refused.status, 401);
        bodies.len()
    }

    /// That none of the secrets came out.
    fn check(&self) {
        let disk = bytes_below(&self.process.data_dir());
        assert!(
            holds(&disk, PAYLOAD),
            "the search finds what is in the clear"
        );
        let log = self.process.output();
        assert!(log.contains("listening"), "{log}");
        let secrets = [
            self.process.api_key(),
            PLAIN,
            LATER,
            ROTATED,
            HEADER,
            LATER_HEADER,
            COOKIE,
            PREFIXED,
            "canary-prefixed-secret12",
            &PREFIXED["whsec_".len()..],
            REFUSED,
        ];
        for secret in secrets {
            assert!(!holds(&disk, secret), "{secret} is on disk");
            assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
            let told = self.answers.iter().find(|answer| answer.contains(secret));
            assert_eq!(told, None, "{secret} is answered");
        }
        let (answers, bytes, secrets) = (self.answers.len(), disk.len(), secrets.len());
        eprintln!("{secrets} secrets, {answers} answers, {bytes} bytes on disk");
    }
}

#[tokio::test]
async fn no_secret_is_answered_logged_or_left_on_disk() {
    let mut server = Server {
        process: ServerProcess::start_with(&["--log-level", "trace"]),
        answers: Vec::new(),
    };
    let sink = Sink::start([]).await;
    let app = server.made("/applications", &json!({"name": "n", "uid": "app"}));
    assert_eq!(app["uid"], "app");
    let (endpoints, messages) = ("/applications/app/endpoints", "/applications/app/messages");
    let made = server.made_twice(endpoints, &endpoint(&sink.url()));
    assert_eq!(
        made["headers"]["X-Tenant"], "shown",
        "others are not masked"
    );
    let one = format!("{endpoints}/{}", made["id"].as_str().expect("an id"));

    let message = json!({"eventType": "a.b", "payload": {"text": PAYLOAD}});
    server.made(messages, &message);
    let seen = sink.wait_for(1).await;
    // The controls: the secrets are there, and go where they should.
    assert_eq!(seen[0].header("authorization"), HEADER);
    assert_eq!(seen[0].header("x-session-cookie"), COOKIE);
    let revealed = server.ask("GET", &format!("{one}/secret"), "");
    assert_eq!(revealed.json()["text"], PLAIN);
    server.answers.pop();

    // Shown values put back keep the stored ones.
    let shown = server.ask("GET", &one, "").text();
    server.ask("PUT", &one, &shown);
    server.made(messages, &message);
    assert_eq!(sink.wait_for(2).await[1].header("authorization"), HEADER);

    sink.always(Reply::status(500).body("no"));
    server.made(messages, &message);
    sink.wait_for(3).await;
    let replaced = json!({"secrets": [LATER], "headers": {"authorization": LATER_HEADER}});
    server.ask("PUT", &one, &replaced.to_string());
    server.made(messages, &message);
    let seen = sink.wait_for(4).await;
    assert_eq!(seen[3].header("authorization"), LATER_HEADER);

    let rotations = format!("{one}/secret/rotations");
    let rotated = server.made_twice(&rotations, &json!({"secret": ROTATED}));
    assert_eq!(rotated["text"], ROTATED);
    server.answers.truncate(server.answers.len() - 2);
    let refused = json!({"secret": format!("whsec_%{REFUSED}")}).to_string();
    assert_eq!(server.ask("POST", &rotations, &refused).status, 422);
    server.made(messages, &message);
    sink.wait_for(5).await;
    server.ask("GET", "/audit", "");

    server.ask("GET", &format!("{one}/attempts"), "");
    server.look_at(messages);
    assert!(server.provoke(endpoints, &one) > 15);
    server.ask("DELETE", &one, "");
    server.ask("GET", endpoints, "");
    assert!(server.process.terminate().success());
    server.check();
}
