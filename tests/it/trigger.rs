//! `hookpost trigger` against a real server.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::http_client;
use crate::support::remote_command::{Ran, application, command, endpoint, message, post};
use crate::support::server_process::ServerProcess;

/// A server with one application, `acme`, and an event type with two examples.
fn server() -> ServerProcess {
    let server = ServerProcess::start();
    application(&server, "acme");
    let examples = json!([{"n": 0}, {"n": 1}]);
    post(
        &server,
        "/event-types",
        &json!({"name": "order.paid", "examples": examples}),
    );
    server
}

fn trigger(server: &ServerProcess, arguments: &[&str]) -> Ran {
    Ran::of(&mut command(server, &[&["trigger"], arguments].concat()))
}

/// The only message that the application has.
fn only_message(server: &ServerProcess) -> Value {
    let all = server.api("GET", "/applications/acme/messages", b"").json();
    assert_eq!(all.as_array().expect("a list").len(), 1, "{all}");
    all[0].clone()
}

#[test]
fn an_example_is_sent_to_the_only_application() {
    let server = server();
    endpoint(&server, "acme", "good", 200);
    let out = trigger(&server, &["order.paid"]).worked();
    let message = only_message(&server);
    assert_eq!(message["payload"], json!({"n": 0}));
    let id = message["id"].as_str().expect("an id");
    assert!(
        out.starts_with(&format!("sent {id}: order.paid to acme\n")),
        "{out}"
    );
    assert!(
        out.contains("goes to 1 endpoint; follow it: hookpost tail --application app_"),
        "{out}"
    );
}

#[test]
fn a_payload_of_ones_own_needs_no_event_type() {
    for (arguments, input) in [
        (&["--data", "{\"big\": 12345678901234567890.5}"][..], ""),
        (&["--payload", "-"], "{\"big\": 12345678901234567890.5}"),
    ] {
        let server = server();
        let all = [&["trigger", "other.type", "--output", "json"], arguments].concat();
        let mut child = command(&server, &all)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be started");
        let mut pipe = child.stdin.take().expect("it is piped");
        pipe.write_all(input.as_bytes()).expect("it reads");
        drop(pipe);
        let out = Ran::from(child.wait_with_output().expect("it ends")).worked();
        let told: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(told["id"], only_message(&server)["id"]);
        assert_eq!(
            (&told["endpoints"], &told["eventType"]),
            (&json!(0), &json!("other.type"))
        );
        let shown = server.api("GET", "/applications/acme/messages", b"").text();
        assert!(
            shown.contains("{\"big\": 12345678901234567890.5}"),
            "{shown}"
        );
    }
}

#[test]
fn one_endpoint_gets_the_example_that_is_asked_for() {
    let server = server();
    endpoint(&server, "acme", "one", 200);
    endpoint(&server, "acme", "two", 200);
    let arguments = [
        "order.paid",
        "--endpoint",
        "two",
        "--example",
        "1",
        "--wait",
    ];
    let out = trigger(&server, &arguments).worked();
    assert_eq!(only_message(&server)["payload"], json!({"n": 1}));
    assert!(out.contains("goes to 1 endpoint;"), "{out}");
    let last = out.lines().last().expect("a line");
    assert!(last.starts_with("delivered  200  "), "{out}");
}

#[test]
fn waiting_tells_of_each_delivery_and_fails_with_one() {
    let server = server();
    endpoint(&server, "acme", "good", 200);
    let out = trigger(&server, &["order.paid", "--wait"]).worked();
    assert_eq!(out.lines().count(), 3, "{out}");
    endpoint(&server, "acme", "bad", 500);
    let ran = trigger(&server, &["order.paid", "--wait"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let mut lines: Vec<&str> = ran.out.lines().skip(2).collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(lines[0].starts_with("delivered  200  "), "{ran:?}");
    assert!(lines[1].starts_with("failed     500  "), "{ran:?}");

    // One that is held is not waited for, nor counted as done.
    let held = json!({"url": "http://127.0.0.1:9/", "paused": true});
    post(&server, "/applications/acme/endpoints", &held);
    let ran = trigger(&server, &["order.paid", "--wait", "--output", "json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let told: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(
        (&told["endpoints"], &told["waiting"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(told["attempts"].as_array().expect("a list").len(), 2);
}

#[test]
fn with_the_same_idempotency_key_it_is_sent_once() {
    let server = server();
    endpoint(&server, "acme", "good", 200);
    let arguments = ["order.paid", "--idempotency-key", "k", "--wait"];
    let first = trigger(&server, &arguments).worked();
    let second = trigger(&server, &arguments).worked();
    assert_eq!(first, second, "the attempt from before is told again");
    only_message(&server);
}

#[test]
fn what_cannot_be_sent_is_said_in_a_sentence() {
    let server = server();
    let app = application(&server, "narrow");
    let only = json!({"name": "for.narrow", "applications": [app], "examples": [1]});
    post(&server, "/event-types", &only);
    post(&server, "/event-types", &json!({"name": "no.example"}));
    let of_acme =
        |arguments: &[&str]| trigger(&server, &[&["--application", "acme"], arguments].concat());
    trigger(&server, &["order.paid"]).refused(
        2,
        "name one with --application:\n  acme  acme\n  narrow  narrow",
    );
    trigger(&server, &["order.paid", "--application", "nobody"])
        .refused(1, "no application \"nobody\"");
    trigger(&server, &["order.paid", "--application", ""]).refused(1, "no application \"\"");
    of_acme(&["order.paid", "--endpoint", "nobody"]).refused(1, "no endpoint \"nobody\"");
    of_acme(&["not.there"]).refused(1, "no event type \"not.there\"");
    of_acme(&["for.narrow"]).refused(1, "no event type \"for.narrow\"");
    of_acme(&["no.example"]).refused(1, "\"no.example\" has no example");
    of_acme(&["order.paid", "--example", "2"]).refused(1, "--example 2 is not there");
    of_acme(&["order.paid", "--data", "{"]).refused(2, "--data is not JSON");
    of_acme(&["order.paid", "--payload", "nowhere"]).refused(2, "cannot read --payload nowhere");
    of_acme(&["order paid"]).refused(2, "an event type has letters");
    of_acme(&["order.paid", "--idempotency-key", "a b"]).refused(1, "Idempotency-Key");
    endpoint(&server, "acme", "good", 200);
    of_acme(&["not.there", "--endpoint", "good"]).refused(1, "refused: the event type is not");
    of_acme(&["order.paid", "--endpoint", "good", "--example", "7"])
        .refused(1, "refused: --example must be from 0 to 1");
    let reads = post(&server, "/keys", &json!({"scopes": ["read"]}));
    let mut reads_only = command(&server, &["trigger", "order.paid", "--application", "acme"]);
    let key = reads["key"].as_str().expect("a key");
    Ran::of(reads_only.env("HOOKPOST_API_KEY", key)).refused(1, "messages:write");
    let all = server.api("GET", "/applications/acme/messages", b"").json();
    assert_eq!(all, json!([]), "nothing was sent");
}

#[test]
fn several_applications_are_listed_within_bounds() {
    let server = ServerProcess::start();
    trigger(&server, &["a.b", "--data", "1"]).refused(1, "no application yet");
    for at in 0..12 {
        application(&server, &format!("app-{at}"));
    }
    let ran = trigger(&server, &["a.b", "--data", "1"]);
    ran.refused(2, "and more");
    assert_eq!(ran.err.matches("\n  app-").count(), 10, "{}", ran.err);
}

#[test]
fn a_trial_is_triggered_with_the_key_in_its_file() {
    let server = ServerProcess::start_with(&["--dev"]);
    let dev_key = server.data_dir().join("dev-key");
    let mut trigger = command(
        &server,
        &["trigger", "greeting.sent", "--data", "{}", "--wait"],
    );
    trigger
        .env_remove("HOOKPOST_API_KEY")
        .env("HOOKPOST_API_KEY_FILE", dev_key);
    let out = Ran::of(&mut trigger).worked();
    assert!(
        out.contains("to demo\n") && out.contains("delivered  200"),
        "{out}"
    );
    let told = http_client::request(server.address(), "GET", "/readyz", &[], b"");
    assert_eq!(told.expect("an answer").status, 200);
    message(&server, "demo", "a.b");
}
