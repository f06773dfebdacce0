//! `hookpost jobs`, beside a server and without one.

use std::process::{Command, Output};

use serde_json::json;

use crate::support::server_process::{ServerProcess, executable};

/// A server with a job that waits for its paused endpoint; the job's id.
fn with_a_job() -> (ServerProcess, String) {
    let mut server = ServerProcess::never_started(&[]);
    server.restart();
    let post = |path: &str, body: serde_json::Value| {
        let answer = server.api("POST", path, body.to_string().as_bytes());
        assert!(answer.status < 300, "{}", answer.text());
        answer.json()
    };
    post("/applications", json!({"name": "n", "uid": "app"}));
    let endpoint = json!({"url": "http://127.0.0.1:9/", "uid": "ep", "paused": true});
    post("/applications/app/endpoints", endpoint);
    let job = post(
        "/applications/app/endpoints/ep/recoveries",
        json!({"since": 0, "ratePerSecond": 50}),
    );
    let id = job["id"].as_str().expect("an id").to_owned();
    (server, id)
}

fn jobs(server: &ServerProcess, arguments: &[&str]) -> Output {
    Command::new(executable())
        .arg("jobs")
        .args(arguments)
        .arg("--data-dir")
        .arg(server.data_dir())
        .output()
        .expect("the executable can be started")
}

fn worked(output: &Output) -> String {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn list_and_show(server: &ServerProcess, id: &str, state: &str) {
    let listed = worked(&jobs(server, &["list"]));
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    let columns: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(columns[..5], [id, "recovery", state, "0", "0"]);
    let shown = worked(&jobs(server, &["show", id]));
    for line in [
        format!("id           {id}"),
        "environment  default".to_owned(),
        format!("state        {state}"),
        "limit        50 a second".to_owned(),
    ] {
        assert!(shown.contains(&line), "{line:?} not in {shown}");
    }
    for unknown in ["job_nonsense", "../keys", ""] {
        for command in ["show", "cancel"] {
            let refused = jobs(server, &[command, unknown]);
            let err = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(1), "{command} {unknown}");
            let reason = format!("no job {unknown:?}");
            assert!(err.contains(&reason), "{reason:?} not in {err}");
        }
    }
}

fn cancel(server: &ServerProcess, id: &str) {
    let output = jobs(server, &["cancel", id]);
    assert_eq!(worked(&output), "");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains(id) && err.contains("cancelled"), "{err}");
}

#[test]
fn jobs_are_managed_while_the_server_runs() {
    let (server, id) = with_a_job();
    list_and_show(&server, &id, "running");
    cancel(&server, &id);
    list_and_show(&server, &id, "cancelled");
    let job = server.api("GET", &format!("/jobs/{id}"), b"").json();
    assert_eq!(job["state"], "cancelled");
    let audit = server.api("GET", "/audit", b"").json();
    assert_eq!(audit[0]["action"], "job.cancelled");
    assert_eq!(audit[0]["actor"], "operator");
}

#[test]
fn jobs_are_managed_without_a_server() {
    let (mut server, id) = with_a_job();
    server.kill9();
    list_and_show(&server, &id, "running");
    cancel(&server, &id);
    list_and_show(&server, &id, "cancelled");
}

#[test]
fn asking_for_jobs_makes_no_store() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let output = Command::new(executable())
        .args(["jobs", "list", "--data-dir"])
        .arg(folder.path())
        .output()
        .expect("the executable can be started");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains("there is no store"), "{err}");
    assert_eq!(
        std::fs::read_dir(folder.path())
            .expect("it is there")
            .count(),
        0
    );
}
