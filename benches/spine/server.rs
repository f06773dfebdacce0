//! The server under test as a child process: start, calls of its API, its figures, its end.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};

use crate::wire;

pub(crate) const API_KEY: &str = "bench-0123456789abcdef0123456789abcdef";
/// The kernel's unit of CPU time in `/proc`, the same on every architecture Hookpost is built for.
const TICKS_PER_SECOND: u64 = 100;
const START_POLL: Duration = Duration::from_micros(500);
const START_WAIT_MAX: Duration = Duration::from_mins(1);
const CALL_WAIT_MAX: Duration = Duration::from_secs(30);
/// How much of a failed server's output is shown.
const LOG_LINES_SHOWN: usize = 6;
const ATTEMPT_PAGES_MAX: usize = 600;

/// What to start.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Hookpost,
    /// This program as an HTTP server that stores nothing.
    Echo,
}

/// A running server; dropping it kills the process.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    log_file: PathBuf,
    /// From the start of the process to its first accepted connection.
    pub(crate) listening_after: Duration,
    /// From the start of the process to 200 from `/readyz`.
    pub(crate) ready_after: Duration,
}

/// An application and one of its endpoints, as the API names them.
pub(crate) struct Endpoint {
    pub(crate) application: String,
    pub(crate) id: String,
    url: String,
    name: String,
}

/// What the store says of itself; each figure is missing if the server does not give it.
#[derive(Default, Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StoreFigures {
    pub(crate) live_bytes: Option<u64>,
    pub(crate) file_bytes: Option<u64>,
    pub(crate) messages: Option<u64>,
    pub(crate) attempts: Option<u64>,
}

impl Server {
    /// Starts `program` with its data in `directory` and waits until it is ready.
    pub(crate) fn start(
        program: &Program,
        directory: &Path,
        ca_file: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let address = free_address()?;
        let log_file = directory.join("server.log");
        let log = File::options().create(true).append(true).open(&log_file)?;
        let mut command = Command::new(&program.path);
        match program.kind {
            Kind::Echo => command.args(["--echo", &address.port().to_string()]),
            Kind::Hookpost => command
                .arg("serve")
                .arg("--data-dir")
                .arg(directory.join("data"))
                .args(["--listen", &address.to_string(), "--api-key", API_KEY])
                .args(["--allow-destinations", "127.0.0.0/8"]),
        };
        if let Some(ca_file) = ca_file {
            command.arg("--ca-file").arg(ca_file);
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("{} does not start", program.path.display()))?;
        let mut server = Self {
            child,
            address,
            log_file,
            listening_after: Duration::ZERO,
            ready_after: Duration::ZERO,
        };
        server.poll_start(started, |address| TcpStream::connect(address).is_ok())?;
        server.listening_after = started.elapsed();
        server.poll_start(started, |address| {
            call(address, "GET", "/readyz", None).is_ok_and(|answer| answer.status == 200)
        })?;
        server.ready_after = started.elapsed();
        Ok(server)
    }

    fn poll_start(
        &mut self,
        started: Instant,
        done: impl Fn(SocketAddr) -> bool,
    ) -> anyhow::Result<()> {
        while !done(self.address) {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}:\n{}", self.log_end());
            }
            if started.elapsed() > START_WAIT_MAX {
                bail!(
                    "the server is not ready after {START_WAIT_MAX:?}:\n{}",
                    self.log_end()
                );
            }
            std::thread::sleep(START_POLL);
        }
        Ok(())
    }

    fn log_end(&self) -> String {
        let log = std::fs::read_to_string(&self.log_file).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Ends the process as a power cut would: no signal that it could handle.
    pub(crate) fn kill(&mut self) {
        // Both fail only when the process has already ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Creates an application and returns its id.
    pub(crate) fn application(&self, name: &str) -> anyhow::Result<String> {
        self.create("/api/v1/applications", &json!({ "name": name }))
    }

    /// Creates an endpoint of an application.
    pub(crate) fn endpoint(
        &self,
        application: &str,
        name: &str,
        url: String,
    ) -> anyhow::Result<Endpoint> {
        let path = format!("/api/v1/applications/{application}/endpoints");
        Ok(Endpoint {
            id: self.create(&path, &json!({ "url": url, "name": name }))?,
            application: application.to_owned(),
            url,
            name: name.to_owned(),
        })
    }

    /// Creates a source that takes what is signed as GitHub signs, and returns its slug.
    pub(crate) fn source(
        &self,
        application: &str,
        slug: &str,
        secret: &str,
    ) -> anyhow::Result<String> {
        let verification = json!({ "preset": "github", "secrets": [secret] });
        let body = json!({
            "name": slug,
            "slug": slug,
            "application": application,
            "verification": verification,
        });
        self.create("/api/v1/sources", &body)?;
        Ok(slug.to_owned())
    }

    /// Creates an inbox that nobody listens to, and returns its token.
    pub(crate) fn inbox(&self) -> anyhow::Result<String> {
        let made = self.expect_status(&[201], "POST", "/api/v1/inboxes", Some(&json!({})))?;
        let made: Value = serde_json::from_slice(&made)?;
        Ok(made["token"]
            .as_str()
            .context("no token in an answer")?
            .into())
    }

    /// Pauses an endpoint or lets it go on.
    pub(crate) fn pause(&self, endpoint: &Endpoint, paused: bool) -> anyhow::Result<()> {
        let body = json!({ "url": endpoint.url, "name": endpoint.name, "paused": paused });
        let path = endpoint_path(endpoint);
        self.expect_status(&[200, 204], "PUT", &path, Some(&body))?;
        Ok(())
    }

    /// The store's figures; all missing when the server does not serve them.
    pub(crate) fn store(&self) -> StoreFigures {
        self.figures("/api/v1/store")
    }

    /// The same with the pages in use, for which the server walks its tables.
    pub(crate) fn store_measured(&self) -> StoreFigures {
        self.figures("/api/v1/store?measure=pages")
    }

    fn figures(&self, path: &str) -> StoreFigures {
        self.expect_status(&[200], "GET", path, None)
            .ok()
            .and_then(|body| serde_json::from_slice(&body).ok())
            .unwrap_or_default()
    }

    /// Counts an endpoint's attempts by paging through them, newest first.
    pub(crate) fn count_attempts(&self, endpoint: &Endpoint) -> anyhow::Result<u64> {
        let path = format!("{}/attempts", endpoint_path(endpoint));
        let mut before: Option<String> = None;
        let mut count = 0;
        for _ in 0..ATTEMPT_PAGES_MAX {
            let query = before.map(|id| format!("?before={id}")).unwrap_or_default();
            let body = self.expect_status(&[200], "GET", &format!("{path}{query}"), None)?;
            let page: Vec<Value> = serde_json::from_slice(&body)?;
            let Some(last) = page.last() else {
                return Ok(count);
            };
            count += page.len() as u64;
            before = Some(id_of(last)?);
        }
        bail!("more than {ATTEMPT_PAGES_MAX} pages of attempts")
    }

    /// A whole HTTP request that posts a message for each payload to an application.
    pub(crate) fn batch_request(&self, application: &str, payloads: &[String]) -> Vec<u8> {
        let message = |payload| format!(r#"{{"eventType":"bench.event","payload":{payload}}}"#);
        let messages: Vec<String> = payloads.iter().map(message).collect();
        let body = format!(r#"{{"messages":[{}]}}"#, messages.join(","));
        let path = format!("/api/v1/applications/{application}/messages/batch");
        request("1.1", self.address, "POST", &path, &body)
    }

    /// A whole HTTP request that posts one message to an application.
    pub(crate) fn message_request(&self, application: &str, payload: &str) -> Vec<u8> {
        let body = format!(r#"{{"eventType":"bench.event","payload":{payload}}}"#);
        let path = format!("/api/v1/applications/{application}/messages");
        request("1.1", self.address, "POST", &path, &body)
    }

    fn create(&self, path: &str, body: &Value) -> anyhow::Result<String> {
        let answer = self.expect_status(&[201], "POST", path, Some(body))?;
        id_of(&serde_json::from_slice(&answer)?)
    }

    fn expect_status(
        &self,
        wanted: &[u16],
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Vec<u8>> {
        let answer =
            call(self.address, method, path, body).with_context(|| format!("{method} {path}"))?;
        if !wanted.contains(&answer.status) {
            let text = String::from_utf8_lossy(&answer.body);
            bail!("{method} {path} answered {}: {text}", answer.status);
        }
        Ok(answer.body)
    }

    /// CPU time of all the server's threads, in µs.
    pub(crate) fn cpu_us(&self) -> anyhow::Result<u64> {
        cpu_us(&self.child.id().to_string())
    }

    /// Memory in use now, in bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// Most memory in use since the start or the last `reset_peak`, in bytes.
    pub(crate) fn peak_bytes(&self) -> anyhow::Result<u64> {
        self.status_bytes("VmHWM:")
    }

    pub(crate) fn reset_peak(&self) -> anyhow::Result<()> {
        // 5 is the kernel's word for "set the peak to the present use".
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")
            .context("the peak of memory cannot be reset")
    }

    fn status_bytes(&self, field: &str) -> anyhow::Result<u64> {
        status_bytes(&self.child.id().to_string(), field)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A field of a process's status, in bytes.
pub(crate) fn status_bytes(process: &str, field: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|text| text.trim().strip_suffix("kB"));
    let kilobytes: u64 = kilobytes
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| anyhow!("/proc has no {field} of the process; has it ended?"))?;
    Ok(kilobytes * 1024)
}

/// CPU time of a process, `self` for this one, in µs; steps of 10 ms.
pub(crate) fn cpu_us(process: &str) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is the program's name in brackets and may hold spaces.
    let (_, rest) = stat.rsplit_once(')').context("/proc stat has no name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| -> anyhow::Result<u64> {
        Ok(fields
            .get(index)
            .context("/proc stat is too short")?
            .parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) * 1_000_000 / TICKS_PER_SECOND)
}

/// An address that was free a moment ago, also good as one where nobody listens.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn endpoint_path(endpoint: &Endpoint) -> String {
    format!(
        "/api/v1/applications/{}/endpoints/{}",
        endpoint.application, endpoint.id
    )
}

fn id_of(value: &Value) -> anyhow::Result<String> {
    Ok(value["id"].as_str().context("no id in an answer")?.into())
}

struct Reply {
    status: u16,
    body: Vec<u8>,
}

/// One call on a connection of its own. HTTP/1.0, so that the answer ends where the connection does.
fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(CALL_WAIT_MAX))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    stream.write_all(&request("1.0", address, method, path, &body))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let frame = wire::frame(&answer)?.context("an answer was cut short")?;
    Ok(Reply {
        status: wire::status(&answer)?,
        body: answer.split_off(frame.head_bytes),
    })
}

/// The bytes of a request with the API key.
pub(crate) fn request(
    version: &str,
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/{version}\r\nhost: {address}\r\nauthorization: Bearer {API_KEY}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
