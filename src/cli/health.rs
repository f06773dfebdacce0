//! `hookpost health`: one question to a running server, for probes and people.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use url::Url;

use super::{Console, EXIT_FAILED, EXIT_OK, HealthArgs};
use crate::config::{PublicUrl, Settings};

const PATH: &str = "/readyz";
/// For name, connection and answer together.
const DEADLINE: Duration = Duration::from_secs(5);
const RESPONSE_BYTES_MAX: u64 = 64 * 1024;
/// Characters of the server's reason that are shown.
const REASON_CHARS_MAX: usize = 300;

/// Why a server is not known to be ready.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error("{0}")]
    Settings(#[from] crate::config::SettingsError),
    #[error("{0:?} is not an http URL; give one such as http://127.0.0.1:8071")]
    Url(String),
    #[error("cannot reach {server}: {cause}")]
    Unreachable { server: String, cause: io::Error },
    #[error("no answer from {server} within {} s", DEADLINE.as_secs())]
    TimedOut { server: String },
    #[error("{server} does not speak HTTP")]
    NotHttp { server: String },
    #[error("not ready: {server} answered {status}{reason}")]
    Answered {
        server: String,
        status: u16,
        reason: String,
    },
}

/// Writes "ready", or the reason why not.
pub fn run(args: HealthArgs, console: &mut Console<'_>) -> io::Result<u8> {
    match target(args, console).and_then(ask) {
        Ok(()) => writeln!(console.out, "ready").map(|()| EXIT_OK),
        Err(reason) => writeln!(console.err, "{reason}").map(|()| EXIT_FAILED),
    }
}

/// A server, and the question that is put to it.
struct Target {
    host: String,
    port: u16,
    path: String,
}

impl Target {
    fn server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// With `--url`, no settings are read: a probe needs none of the server's secrets.
fn target(args: HealthArgs, console: &Console<'_>) -> Result<Target, NotReady> {
    if let Some(url) = args.url {
        return parse_url(&url).ok_or(NotReady::Url(url));
    }
    let settings = Settings::load(
        args.settings.overrides,
        console.environment,
        console.default_file,
    )?;
    let url = PublicUrl::local(settings.listen).to_string();
    parse_url(&url).ok_or(NotReady::Url(url))
}

fn parse_url(text: &str) -> Option<Target> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "http")?;
    Some(Target {
        host: url.host_str()?.to_owned(),
        port: url.port_or_known_default()?,
        path: match url.path() {
            "/" => PATH.to_owned(),
            path => path.to_owned(),
        },
    })
}

fn ask(target: Target) -> Result<(), NotReady> {
    let server = target.server();
    let bytes = match within_deadline(move || exchange(&target)) {
        Some(Ok(bytes)) => bytes,
        Some(Err(cause)) => return Err(NotReady::Unreachable { server, cause }),
        None => return Err(NotReady::TimedOut { server }),
    };
    let text = String::from_utf8_lossy(&bytes);
    match status(&text) {
        None => Err(NotReady::NotHttp { server }),
        Some(200..=299) => Ok(()),
        Some(status) => Err(NotReady::Answered {
            server,
            status,
            reason: reason(&text),
        }),
    }
}

/// `None` when it takes too long. The thread ends with the process: timeouts of
/// the socket alone would let a server that drips bytes hold the probe for ever.
fn within_deadline<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(DEADLINE).ok()
}

fn exchange(target: &Target) -> io::Result<Vec<u8>> {
    let server = target.server();
    let mut stream = connect(&server)?;
    write!(
        stream,
        "GET {} HTTP/1.1\r\nhost: {server}\r\nuser-agent: hookpost-health\r\nconnection: close\r\n\r\n",
        target.path
    )?;
    let mut bytes = Vec::new();
    stream.take(RESPONSE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn connect(server: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, DEADLINE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn status(response: &str) -> Option<u16> {
    let (version, rest) = response.split_once(' ')?;
    let status = rest.get(..3)?;
    version
        .starts_with("HTTP/1.")
        .then(|| status.parse().ok())
        .flatten()
}

/// What the body says, after a colon, in one line; nothing for an empty one.
fn reason(response: &str) -> String {
    let (_, body) = response.split_once("\r\n\r\n").unwrap_or_default();
    let detail = serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|problem| problem.get("detail")?.as_str().map(str::to_owned));
    let line: String = detail
        .as_deref()
        .unwrap_or(body)
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(REASON_CHARS_MAX)
        .collect();
    if line.is_empty() {
        line
    } else {
        format!(": {line}")
    }
}
