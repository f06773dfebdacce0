//! `tests/python/verify_receiver.py`: signatures judged by published packages.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::patience::PATIENCE;

/// A Python that has the packages, or `None` after saying that the test of
/// that name is skipped.
pub(crate) fn python(test: &str) -> Option<OsString> {
    let python = env::var_os("HOOKPOST_PYTHON");
    if python.is_none() {
        eprintln!("SKIPPED {test}: HOOKPOST_PYTHON is not set; tests/run sets it");
    }
    python
}

/// A command that runs a script of `tests/python`.
pub(crate) fn script(python: OsString, name: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let mut command = Command::new(python);
    // `-B`: nothing is written beside the sources.
    command.args(["-B", "-u"]).arg(folder.join(name));
    command
}

/// What the receiver found in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdicts {
    pub(crate) path: String,
    /// Each is `true`, `null` when it was not asked for, or a reason.
    pub(crate) svix: Value,
    pub(crate) standardwebhooks: Value,
    pub(crate) octohooks: Value,
    /// Signatures in headers that the endpoint's owner named.
    pub(crate) named: Value,
    /// In lower case hex.
    pub(crate) body_sha256: String,
}

/// A receiver that runs, killed when dropped.
pub(crate) struct VerifyReceiver {
    child: Child,
    /// Its end is the end of the child, even if this process is killed.
    stdin: ChildStdin,
    lines: Receiver<Value>,
    port: u16,
}

impl VerifyReceiver {
    pub(crate) fn start(python: OsString) -> Self {
        let mut child = script(python, "verify_receiver.py")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python can be started");
        let stdin = child.stdin.take().expect("stdin is piped");
        let lines = lines_of(child.stdout.take().expect("stdout is piped"));
        let first = lines.recv_timeout(PATIENCE).expect("its port comes first");
        let port = first.as_u64().and_then(|port| u16::try_from(port).ok());
        Self {
            child,
            stdin,
            lines,
            port: port.expect("a port"),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// From now on, requests to `path` have to pass with all of these secrets.
    ///
    /// `standard` are for the packages, `text` are for `X-Signature`. To be
    /// called when no request is under way.
    pub(crate) fn expect(&mut self, path: &str, standard: &[&str], text: &[&str]) {
        self.expect_all(&json!({ "path": path, "standard": standard, "text": text }));
    }

    /// As [`expect`](Self::expect), with "named" as the script describes it.
    pub(crate) fn expect_all(&mut self, line: &Value) {
        let path = line["path"].clone();
        writeln!(self.stdin, "{line}").expect("it reads stdin");
        let answer = self.line();
        assert_eq!(answer, json!({ "expecting": path }));
    }

    /// What it found in the next request.
    pub(crate) fn verdicts(&self) -> Verdicts {
        let line = self.line();
        let text = |name: &str| line[name].as_str().expect("is text").to_owned();
        Verdicts {
            path: text("path"),
            svix: line["svix"].clone(),
            standardwebhooks: line["standardwebhooks"].clone(),
            octohooks: line["octohooks"].clone(),
            named: line["named"].clone(),
            body_sha256: text("body_sha256"),
        }
    }

    /// Whether it has said all that was asked of it.
    pub(crate) fn is_silent(&self) -> bool {
        self.lines.recv_timeout(Duration::ZERO).is_err()
    }

    fn line(&self) -> Value {
        self.lines
            .recv_timeout(PATIENCE)
            .expect("the receiver says something")
    }
}

impl Drop for VerifyReceiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(stdout: impl std::io::Read + Send + 'static) -> Receiver<Value> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let value = serde_json::from_str(&line).expect("it prints JSON");
            if sender.send(value).is_err() {
                return;
            }
        }
    });
    lines
}
