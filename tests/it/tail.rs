//! `hookpost tail` against a real server.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::remote_command::{
    Ran, Running, application, bare_command, command, endpoint, message, post,
};
use crate::support::server_process::ServerProcess;

/// A server with one application, `acme`, and an endpoint that takes everything.
fn server() -> ServerProcess {
    let mut server = ServerProcess::never_started(&[]);
    server.restart();
    application(&server, "acme");
    endpoint(&server, "acme", "good", 200);
    server
}

fn tail(server: &ServerProcess, arguments: &[&str]) -> Running {
    Running::start(&mut command(server, &[&["tail"], arguments].concat()))
}

/// Which of the messages each line is about.
fn told(lines: &[String], sent: &[String]) -> Vec<usize> {
    let about = |line: &String| {
        let named = sent.iter().position(|id| line.contains(id.as_str()));
        named.unwrap_or_else(|| panic!("none of them: {line}"))
    };
    lines.iter().map(about).collect()
}

#[test]
fn lines_come_as_attempts_do_after_the_last_ones_from_before() {
    let server = server();
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(message(&server, "acme", "order.paid"));
    }
    // Attempts of messages sent together may be recorded in any order.
    let all = tail(&server, &[]).lines(3);
    let before = told(&all, &sent);
    let tail = tail(&server, &["-n", "2"]);
    assert_eq!(told(&tail.lines(2), &sent), before[1..]);
    sent.push(message(&server, "acme", "order.sent"));
    let lines = tail.lines(3);
    assert_eq!(told(&lines[2..], &sent), [3]);
    for part in [
        "  delivered  200  ",
        " ms  #1  order.sent  acme  msg_",
        "/in/",
    ] {
        assert!(lines[2].contains(part), "{part:?} not in {}", lines[2]);
    }
    assert_eq!(tail.err(), "");
}

#[test]
fn a_server_that_comes_back_is_followed_without_a_gap() {
    let mut server = server();
    let tail = tail(&server, &["-n", "0"]);
    let mut sent = vec![message(&server, "acme", "a.first")];
    assert_eq!(told(&tail.lines(1), &sent), [0]);
    for round in 0..2 {
        if round == 0 {
            assert!(server.terminate().success());
        } else {
            server.kill9();
        }
        tail.complains("connection lost; trying again");
        server.restart();
        sent.push(message(&server, "acme", "a.later"));
        let lines = tail.lines(sent.len());
        assert_eq!(told(&lines, &sent), (0..sent.len()).collect::<Vec<_>>());
        let err = tail.err();
        assert_eq!(err.matches("connection lost").count(), round + 1, "{err}");
        assert_eq!(err.matches("connected again").count(), round + 1, "{err}");
    }
}

#[test]
fn filters_leave_out_the_rest() {
    let server = server();
    endpoint(&server, "acme", "bad", 500);
    application(&server, "other");
    endpoint(&server, "other", "good", 200);
    let followed = [
        (&["--application", "other"][..], 1),
        (&["--status", "failed"], 2),
        (&["--type", "order.*"], 2),
        (
            &[
                "--application",
                "acme",
                "--endpoint",
                "bad",
                "--status",
                "succeeded",
            ],
            0,
        ),
        (&["--messages", "--type", "user.made"], 2),
        (
            &["--messages", "--application", "acme", "--endpoint", "bad"],
            2,
        ),
    ];
    let tails = followed.map(|(flags, _)| tail(&server, flags));
    message(&server, "acme", "order.paid");
    message(&server, "acme", "user.made");
    message(&server, "other", "user.made");
    let all = tail(&server, &["-n", "100"]);
    all.lines(5);
    for ((flags, want), tail) in followed.iter().zip(&tails) {
        if *want > 0 {
            tail.lines(*want);
        }
        let once = [&["tail", "--no-follow", "--since", "1h"], *flags].concat();
        let out = Ran::of(&mut command(&server, &once)).worked();
        assert_eq!(out.lines().count(), *want, "{flags:?}: {out}");
        assert_eq!(tail.out(), out, "{flags:?}");
    }
}

#[test]
fn each_form_has_a_line_for_each_row() {
    let server = server();
    let id = message(&server, "acme", "order.paid");
    tail(&server, &[]).lines(1);
    let once = |flags: &[&str]| {
        let arguments = [&["tail", "--no-follow"], flags].concat();
        let out = Ran::of(&mut command(&server, &arguments)).worked();
        assert_eq!(out.lines().count(), 1, "{out}");
        out
    };
    let compact = once(&["--output", "compact"]);
    assert!(
        compact.contains(&format!(" 200 order.paid {id} http")),
        "{compact}"
    );
    let attempt: Value = serde_json::from_str(&once(&["--output", "json"])).expect("JSON");
    assert_eq!(
        (&attempt["messageId"], &attempt["number"]),
        (&json!(id), &json!(1))
    );
    let message: Value =
        serde_json::from_str(&once(&["--messages", "--output", "json"])).expect("JSON");
    assert_eq!(
        (&message["id"], &message["payload"]),
        (&json!(id), &json!({}))
    );
    let pretty = once(&["--messages"]);
    assert!(
        pretty.ends_with(&format!("  order.paid  acme  {id}  2 B\n")),
        "{pretty}"
    );
    assert_eq!(
        Ran::of(&mut command(&server, &["tail", "--no-follow", "-n", "0"])).worked(),
        ""
    );
}

#[test]
fn what_others_wrote_steers_no_terminal() {
    let server = server();
    // Most texts are refused with controls in them; a direction is not.
    let body = "{\"eventType\": \"a.b\", \"uid\": \"\u{202e}42\", \"channels\": [\"\u{9b}31m\"],\n \
         \"payload\": {\"text\": \"\u{9b}2J\u{7f}\",\n \"n\": 1.50}}";
    let made = server.api("POST", "/applications/acme/messages", body.as_bytes());
    let (uid, channels) = if made.status == 202 {
        ("\\u{202e}42", true)
    } else {
        let body = body.replace("\"channels\": [\"\u{9b}31m\"],", "");
        let made = server.api("POST", "/applications/acme/messages", body.as_bytes());
        assert_eq!(made.status, 202, "{}", made.text());
        ("\\u{202e}42", false)
    };
    let pretty = Ran::of(&mut command(
        &server,
        &["tail", "--messages", "--no-follow"],
    ))
    .worked();
    assert!(pretty.contains(uid), "{pretty}");
    assert_eq!(pretty.contains("\\u{9b}31m"), channels, "{pretty}");
    let forms = ["tail", "--messages", "--no-follow", "--output", "json"];
    let json = Ran::of(&mut command(&server, &forms)).worked();
    for out in [&pretty, &json] {
        let odd = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!out.contains(odd), "{out:?}");
        assert_eq!(out.lines().count(), 1, "{out:?}");
    }
    assert!(
        json.contains("\"n\":1.50") && json.contains("\\u009b2J\\u007f"),
        "{json}"
    );
}

#[test]
fn what_cannot_be_followed_is_said_in_a_sentence() {
    let server = server();
    let run = |arguments: &[&str]| Ran::of(&mut command(&server, &[&["tail"], arguments].concat()));
    run(&["--application", "nobody"]).refused(1, "--application must be the id or uid");
    run(&["--endpoint", "good"]).refused(1, "--endpoint must be the id of an endpoint");
    run(&["--type", "a b"]).refused(2, "--type");
    run(&["--since", "soon"]).refused(2, "--since");
    run(&["--server", "localhost:8071"]).refused(2, "--server \"localhost:8071\"");
    run(&["--server", "http://127.0.0.1:9"]).refused(1, "cannot reach http://127.0.0.1:9");
    let below = format!("{}/nowhere", server.base_url());
    run(&["--server", &below]).refused(1, "does not answer as Hookpost does");

    let keyless = Ran::of(bare_command(&["tail"]).env("HOOKPOST_SERVER", server.base_url()));
    keyless.refused(2, "no API key: set HOOKPOST_API_KEY");
    let wrong = command(&server, &["tail"])
        .env("HOOKPOST_API_KEY", "hookpost_wrong")
        .output();
    let wrong = Ran::from(wrong.expect("it can be started"));
    wrong.refused(1, "does not take the API key");
    assert!(wrong.err.contains("hookpost keys create"), "{}", wrong.err);
}

#[test]
fn a_key_of_one_application_follows_that_one() {
    let server = server();
    application(&server, "other");
    endpoint(&server, "other", "good", 200);
    let key = post(
        &server,
        "/keys",
        &json!({"application": "other", "scopes": ["read"]}),
    );
    let mut narrow = command(&server, &["tail"]);
    let tail = Running::start(narrow.env("HOOKPOST_API_KEY", key["key"].as_str().expect("a key")));
    message(&server, "acme", "a.b");
    let own = message(&server, "other", "a.b");
    let all = Running::start(&mut command(&server, &["tail"]));
    all.lines(2);
    let lines = tail.lines(1);
    assert!(lines.len() == 1 && lines[0].contains(&own), "{lines:?}");
    // Once it is revoked, there is nothing to try again for.
    let mut tail = tail;
    let revoked = server.api(
        "DELETE",
        &format!("/keys/{}", key["id"].as_str().expect("an id")),
        b"",
    );
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    // The call that it waits in is still let through.
    message(&server, "other", "a.b");
    assert_eq!(tail.exit_code(), Some(1), "{}", tail.err());
    assert!(
        tail.err().contains("does not take the API key"),
        "{}",
        tail.err()
    );
}

/// What stands before a server: TLS, and a path of its own, for one connection
/// at a time.
struct Proxy {
    url: String,
    ca_file: TempDir,
}

impl Proxy {
    fn before(server: SocketAddr) -> Self {
        let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
        let issued = issued.expect("it is made");
        let ca_file = TempDir::new().expect("a folder");
        fs::write(ca_file.path().join("ca.pem"), issued.cert.pem()).expect("a file");
        let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("it has versions")
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key.into());
        let config = Arc::new(config.expect("they fit"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tls = ServerConnection::new(Arc::clone(&config)).expect("it begins");
                // Some give up when they see the certificate.
                drop(pass_on(StreamOwned::new(tls, stream), server));
            }
        });
        Self {
            url: format!("https://localhost:{port}/hooks"),
            ca_file,
        }
    }

    fn ca_file(&self) -> PathBuf {
        self.ca_file.path().join("ca.pem")
    }
}

/// One request without a body, and its answer.
fn pass_on(
    mut client: StreamOwned<ServerConnection, TcpStream>,
    server: SocketAddr,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let below = head.strip_prefix("GET /hooks").expect("its path");
    let head = format!("GET {below}").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    client.write_all(&answer)?;
    client.conn.send_close_notify();
    client.flush()
}

#[test]
fn a_server_behind_tls_and_a_path_is_reached_when_its_certificate_is_trusted() {
    let server = server();
    let id = message(&server, "acme", "order.paid");
    tail(&server, &[]).lines(1);
    let proxy = Proxy::before(server.address());
    let mut trusting = command(&server, &["tail", "--no-follow", "--server", &proxy.url]);
    let out = Ran::of(trusting.env("HOOKPOST_CA_FILE", proxy.ca_file())).worked();
    assert!(out.contains(&id) && out.contains("  acme  "), "{out}");
    let doubting = command(&server, &["tail", "--server", &proxy.url]).output();
    Ran::from(doubting.expect("it can be started")).refused(1, "certificate");
    let mut lost = command(&server, &["tail", "--server", &proxy.url]);
    Ran::of(lost.env("HOOKPOST_CA_FILE", "nowhere.pem")).refused(2, "HOOKPOST_CA_FILE");
}
