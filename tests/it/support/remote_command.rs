//! Commands of the executable that talk to a server, run as a user runs them.

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::patience::{PATIENCE, wait_for};
use super::server_process::{ServerProcess, executable};

/// The executable with these arguments, without the settings of whoever runs
/// the tests.
pub(crate) fn bare_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(executable());
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("HOOKPOST_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The same, told of the server and its key.
pub(crate) fn command(server: &ServerProcess, arguments: &[&str]) -> Command {
    let mut command = bare_command(arguments);
    command
        .env("HOOKPOST_SERVER", server.base_url())
        .env("HOOKPOST_API_KEY", server.api_key());
    command
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("it writes UTF-8");
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        command.output().expect("it can be started").into()
    }

    /// Checks that it worked, and gives its output.
    #[track_caller]
    pub(crate) fn worked(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// Checks that it ended with `code` and one sentence that has `words` in it.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(words), "{words:?} not in {}", self.err);
        assert_eq!(self.out, "", "{self:?}");
    }
}

/// A command that goes on until it is killed: when this is dropped.
pub(crate) struct Running {
    child: Child,
    folder: TempDir,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = |name| File::create(folder.path().join(name)).expect("a file");
        let child = command.stdout(file("out")).stderr(file("err")).spawn();
        let child = child.expect("it can be started");
        Self { child, folder }
    }

    fn text(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        fs::read_to_string(path).expect("it writes UTF-8")
    }

    pub(crate) fn out(&self) -> String {
        self.text("out")
    }

    pub(crate) fn err(&self) -> String {
        self.text("err")
    }

    /// Its whole lines, once there are so many.
    #[track_caller]
    pub(crate) fn lines(&self, count: usize) -> Vec<String> {
        let look = || {
            let out = self.out();
            let (whole, _) = out.rsplit_once('\n')?;
            let lines: Vec<String> = whole.split('\n').map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        };
        wait_for(PATIENCE, look)
            .unwrap_or_else(|| panic!("no {count} lines: {}{}", self.out(), self.err()))
    }

    /// Waits until it has complained of something with `words` in it.
    #[track_caller]
    pub(crate) fn complains(&self, words: &str) {
        let look = || self.err().contains(words).then_some(());
        wait_for(PATIENCE, look).unwrap_or_else(|| panic!("{words:?} not in {}", self.err()));
    }

    /// The code with which it ends by itself.
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let ended = wait_for(PATIENCE, || self.child.try_wait().expect("it can be asked"));
        ended.expect("it ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a request to the server gives, which must go well.
#[track_caller]
pub(crate) fn post(server: &ServerProcess, path: &str, body: &Value) -> Value {
    let answer = server.api("POST", path, body.to_string().as_bytes());
    assert!(answer.status < 300, "{path}: {}", answer.text());
    answer.json()
}

/// Makes an application of this uid; its id.
pub(crate) fn application(server: &ServerProcess, uid: &str) -> String {
    let made = post(server, "/applications", &json!({"name": uid, "uid": uid}));
    made["id"].as_str().expect("an id").to_owned()
}

/// Makes an endpoint of this uid that leads to an inbox which answers `status`.
pub(crate) fn endpoint(server: &ServerProcess, application: &str, uid: &str, status: u16) {
    let inbox = post(server, "/inboxes", &json!({"answerStatus": status}));
    let fields = json!({"url": inbox["url"], "uid": uid, "retrySchedule": []});
    post(
        server,
        &format!("/applications/{application}/endpoints"),
        &fields,
    );
}

/// Sends a message; its id.
pub(crate) fn message(server: &ServerProcess, application: &str, event_type: &str) -> String {
    let body = json!({"eventType": event_type, "payload": {}});
    let path = format!("/applications/{application}/messages");
    let made = post(server, &path, &body);
    made["id"].as_str().expect("an id").to_owned()
}
