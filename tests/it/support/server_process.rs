//! The real executable, serving a folder of its own.

use std::env;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::http_client::{self, Response};
use super::patience::{PATIENCE, wait_for};

const API_KEY: &str = "key-of-the-tests-0123456789abcdef0123456789";
/// Somebody else may take the port between its choice and its use.
const STARTS_MAX: u32 = 5;
/// Bytes of the server's output that are kept: its beginning.
const OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The executable under test: the one that `HOOKPOST_BIN` names, or the one
/// that was built with the tests.
pub(crate) fn executable() -> PathBuf {
    env::var_os("HOOKPOST_BIN").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_hookpost")),
        PathBuf::from,
    )
}

/// `hookpost serve`, ready from `start` on and killed when dropped.
pub(crate) struct ServerProcess {
    running: Option<Running>,
    address: SocketAddr,
    flags: Vec<String>,
    /// Largest file that the server may write, in bytes.
    file_bytes_max: Option<u64>,
    output: Output,
    folder: TempDir,
}

impl ServerProcess {
    /// A server on a free port of loopback, with an empty store, which may
    /// deliver to loopback.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further flags of `hookpost serve`.
    pub(crate) fn start_with(flags: &[&str]) -> Self {
        for _ in 1..STARTS_MAX {
            let mut server = Self::stopped(flags);
            match server.run() {
                Ok(()) => return server,
                Err(NotReady::Ended(_)) if server.port_is_taken() => {}
                // Its output follows, when it is dropped.
                Err(why) => panic!("{why}"),
            }
        }
        panic!("no free port was free still in {STARTS_MAX} starts");
    }

    fn stopped(flags: &[&str]) -> Self {
        Self::stopped_at(free_address(Ipv4Addr::LOCALHOST), flags)
    }

    /// A server that was never started, for one that is started many times.
    pub(crate) fn never_started(flags: &[&str]) -> Self {
        Self::stopped_at(lasting_address(), flags)
    }

    fn stopped_at(address: SocketAddr, flags: &[&str]) -> Self {
        Self {
            running: None,
            address,
            flags: flags.iter().map(ToString::to_string).collect(),
            file_bytes_max: None,
            output: Output::default(),
            folder: TempDir::new().expect("there is room for a folder"),
        }
    }

    /// Starts again over the same store, at the same address. A server that
    /// still runs is killed first.
    pub(crate) fn restart(&mut self) {
        self.kill9();
        if let Err(why) = self.run() {
            panic!("{why}");
        }
    }

    /// From the next start on, writing to a file beyond this fails, as on a
    /// full disk. `None` takes the limit away.
    #[cfg(unix)]
    pub(crate) fn limit_files(&mut self, bytes_max: Option<u64>) {
        self.file_bytes_max = bytes_max;
    }

    /// Starts the server and kills it after `time`, ready or not. Answers with
    /// its status if it had ended by itself.
    pub(crate) fn run_for(&mut self, time: Duration) -> Option<ExitStatus> {
        self.spawn();
        thread::sleep(time);
        let ended = self.running.as_mut().and_then(Running::ended);
        self.kill9();
        ended
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        let running = self.running.as_ref().expect("the server runs");
        running.0.id()
    }

    /// Ends the server as a crash does. Nothing happens if it does not run.
    pub(crate) fn kill9(&mut self) {
        // Dropping is killing.
        self.running = None;
    }

    /// Asks the server to stop, as an operator does, and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the server runs");
        running.signal("TERM");
        wait_for(PATIENCE, || running.ended()).expect("the server stops")
    }

    /// Scheme, host and port, without a slash at the end.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A key of the default environment.
    #[expect(clippy::unused_self, reason = "a server has its key")]
    pub(crate) fn api_key(&self) -> &'static str {
        API_KEY
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        data_dir(self.folder.path())
    }

    /// What it wrote to stdout and stderr until now, in all its runs.
    pub(crate) fn output(&self) -> String {
        self.output.text()
    }

    /// A request with the API key; `path` is that after `/api/v1`.
    ///
    /// An error when there is no whole response, as when the server is killed.
    pub(crate) fn try_api(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Response> {
        let authorization = format!("Bearer {}", self.api_key());
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ];
        let path = format!("/api/v1{path}");
        http_client::request(self.address, method, &path, &headers, body)
    }

    /// The same, for a server that has to answer.
    pub(crate) fn api(&self, method: &str, path: &str, body: &[u8]) -> Response {
        self.try_api(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn run(&mut self) -> Result<(), NotReady> {
        let address = self.address;
        let running = self.spawn();
        let look = || match running.ended() {
            Some(status) => Some(Err(NotReady::Ended(status))),
            None => is_ready(address).then_some(Ok(())),
        };
        wait_for(PATIENCE, look).unwrap_or(Err(NotReady::InTime))
    }

    fn spawn(&mut self) -> &mut Running {
        let program = match self.file_bytes_max {
            None => Command::new(executable()),
            Some(bytes_max) => limited(bytes_max),
        };
        self.running.insert(Running::spawn(
            program,
            self.folder.path(),
            self.address,
            &self.flags,
            &self.output,
        ))
    }

    fn port_is_taken(&self) -> bool {
        TcpListener::bind(self.address).is_err()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            eprintln!("the server's output:\n{}", self.output.text());
        }
    }
}

/// Why a server that was started cannot be used.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error("the server ended before it was ready: {0}")]
    Ended(ExitStatus),
    #[error("the server was not ready in {} s", PATIENCE.as_secs())]
    InTime,
}

/// A free address for a server that is down at times. Where the system allows,
/// it is one from which no connection is made, so that none can take its port
/// meanwhile.
pub(crate) fn lasting_address() -> SocketAddr {
    free_address(if cfg!(target_os = "linux") {
        Ipv4Addr::new(127, 0, 0, 2)
    } else {
        Ipv4Addr::LOCALHOST
    })
}

fn free_address(host: Ipv4Addr) -> SocketAddr {
    TcpListener::bind((host, 0))
        .and_then(|listener| listener.local_addr())
        .expect("loopback has a free port")
}

/// The executable under a limit of the system. Only its soft half is set, so
/// that it can be lifted; the signal that would end the process is ignored, and
/// what remains is an error from the write.
fn limited(file_bytes_max: u64) -> Command {
    const BLOCK_BYTES: u64 = 512;
    let blocks = file_bytes_max / BLOCK_BYTES;
    let script = format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(executable());
    command
}

fn data_dir(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn is_ready(address: SocketAddr) -> bool {
    http_client::request(address, "GET", "/readyz", &[], b"")
        .is_ok_and(|response| response.status == 200)
}

/// A child that does not outlive its test.
struct Running(Child);

impl Running {
    fn spawn(
        mut command: Command,
        folder: &Path,
        address: SocketAddr,
        flags: &[String],
        output: &Output,
    ) -> Self {
        command
            .arg("serve")
            .args(["--listen", &address.to_string()])
            .args(["--api-key", API_KEY])
            .args(["--allow-destinations", "127.0.0.0/8"])
            .arg("--data-dir")
            .arg(data_dir(folder))
            .args(flags)
            // Where no settings file is.
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("HOOKPOST_") {
                command.env_remove(name);
            }
        }
        let mut child = command.spawn().expect("the executable can be started");
        output.collect(child.stdout.take().expect("stdout is piped"));
        output.collect(child.stderr.take().expect("stderr is piped"));
        Self(child)
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child can be asked")
    }

    /// The standard library can only kill; every shell has this.
    fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.0.id())])
            .status();
        assert!(
            sent.as_ref().is_ok_and(ExitStatus::success),
            "{name} was not sent: {sent:?}"
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; the wait leaves no zombie either way.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a server says, for when a test fails.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<String>>);

impl Output {
    /// Reads to the end, or the server would stop at a full pipe.
    fn collect(&self, pipe: impl Read + Send + 'static) {
        let collected = Arc::clone(&self.0);
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let mut text = collected.lock().expect("no thread panics with it");
                if text.len() < OUTPUT_BYTES_MAX {
                    *text += &String::from_utf8_lossy(&line);
                    text.push('\n');
                }
            }
        });
    }

    fn text(&self) -> String {
        self.0.lock().expect("no thread panics with it").clone()
    }
}
