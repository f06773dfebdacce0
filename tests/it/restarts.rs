//! The executable comes up, goes down when asked, and survives being killed.

use std::process::Command;

use serde_json::json;

use crate::support::server_process::{ServerProcess, executable};

#[test]
fn a_server_keeps_what_it_acknowledged_when_it_is_killed() {
    let mut server = ServerProcess::start();
    let body = json!({ "name": "kept", "uid": "kept" }).to_string();
    let created = server.api("POST", "/applications", body.as_bytes());
    assert_eq!(created.status, 201, "{}", created.text());

    server.kill9();
    assert!(server.try_api("GET", "/applications/kept", b"").is_err());
    server.restart();

    let read = server.api("GET", "/applications/kept", b"");
    assert_eq!(read.status, 200, "{}", read.text());
    assert_eq!(read.json(), created.json());
}

#[test]
fn a_server_that_is_asked_to_stop_says_that_it_worked() {
    let mut server = ServerProcess::start();
    assert!(server.data_dir().is_dir());
    assert!(says_healthy(&server));

    let status = server.terminate();
    assert!(status.success(), "{status}");
    assert!(!says_healthy(&server));

    server.restart();
    assert!(server.terminate().success());
    assert!(!server.output().contains("panicked"));
}

fn says_healthy(server: &ServerProcess) -> bool {
    Command::new(executable())
        .args(["health", "--url", &server.base_url()])
        .status()
        .expect("the executable can be started")
        .success()
}
