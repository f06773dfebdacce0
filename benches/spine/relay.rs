//! What comes to an inbox, forwarded by `hookpost listen` to a local program: against the same
//! program asked directly, and against an inbox that nobody listens to.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::loader::{self, Load, Pace, Plan};
use crate::payload::payload;
use crate::report::{Goal, Latency, Row, mebibytes, ratio};
use crate::scenarios::Bench;
use crate::server::{self, Program, Server};
use crate::sink::Sink;

const TOKEN: &str = "c_0123456789012345678901";
const CONNECTIONS: usize = 64;
/// Each round measures all, so that a change of the machine's mood meets all.
const ROUNDS: usize = 3;
/// One sender after the other sends fewer, by this.
const FEWER_ONE_BY_ONE: usize = 10;
const PART_MAX: Duration = Duration::from_secs(30);
/// The largest bodies that are taken by default, and how many of them, how many at a time.
const LARGE_BYTES: usize = 2_000_000;
const LARGE_COUNT: usize = 200;
const LARGE_CONNECTIONS: usize = 16;

/// `hookpost listen` as a child process; dropping it kills it.
struct Listener(Child);

impl Listener {
    /// Returns when it has its place.
    fn start(program: &Program, server: &Server, target: &str) -> anyhow::Result<Self> {
        let child = Command::new(&program.path)
            .args(["listen", target, "--token", TOKEN, "--output", "json"])
            .args(["--server", &format!("http://{}", server.address)])
            .env("HOOKPOST_API_KEY", server::API_KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", program.path.display()))?;
        let mut listener = Self(child);
        let lines = listener.0.stdout.take().context("stdout is piped")?;
        let (mut lines, mut first) = (BufReader::new(lines), String::new());
        lines.read_line(&mut first)?;
        ensure!(first.contains("listening"), "it does not listen: {first}");
        // It would stop at a full pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Ok(listener)
    }

    fn id(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Where requests go, and what came of them in all rounds.
struct Way {
    address: SocketAddr,
    path: String,
    requests: u64,
    took_ns: u64,
    times_ns: Vec<u64>,
}

impl Way {
    fn new(address: SocketAddr, path: impl Into<String>) -> Self {
        Self {
            address,
            path: path.into(),
            requests: 0,
            took_ns: 0,
            times_ns: Vec::new(),
        }
    }

    /// The same way, for other requests.
    fn again(&self) -> Self {
        Self::new(self.address, self.path.clone())
    }

    fn go(&mut self, body: &str, connections: usize, count: usize) -> anyhow::Result<()> {
        let request = server::request("1.1", self.address, "POST", &self.path, body);
        let load = loader::run(Plan {
            server: self.address,
            requests: Arc::new(vec![request]),
            pace: Pace::Closed { connections },
            time_max: PART_MAX,
            count_max: count,
        });
        load.check()?;
        let Load { refused, .. } = &load;
        ensure!(refused.is_empty(), "refused by status: {refused:?}");
        self.requests += load.accepted.len() as u64;
        self.took_ns += load.last_answered_ns() - load.first_sent_ns();
        let times = load.accepted.iter().map(|s| s.answered_ns - s.sent_ns);
        self.times_ns.extend(times);
        Ok(())
    }

    fn per_s(&self) -> f64 {
        ratio(self.requests, self.took_ns) * 1e9
    }

    fn latency(&self) -> Option<Latency> {
        Latency::of(self.times_ns.clone())
    }

    fn row(&self, name: &str) -> Row {
        Row {
            name: format!("relay: {name}"),
            accepted_per_s: Some(self.per_s()),
            latency: self.latency(),
            ..Row::default()
        }
    }
}

/// Prints rates with many senders, times with one, and memory with large bodies.
pub(crate) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let stage = bench.stage()?;
    let server = &stage.server;
    let sink = Sink::plain()?;
    let count = bench.scale.received_events;
    let plain = Way::new(server.address, format!("/in/{}/", server.inbox()?));
    let direct = Way::new(sink.address(), "/hooks/relay");
    let listener = Listener::start(&bench.program, server, &sink.url("relay"))?;
    let relay = Way::new(server.address, format!("/in/{TOKEN}/"));

    for way in [&relay, &direct, &plain] {
        way.again().go(&payload(), CONNECTIONS, count / 4)?;
    }
    let (mut many, mut many_direct, mut many_plain) =
        (relay.again(), direct.again(), plain.again());
    let (mut one, mut one_direct, mut one_plain) = (relay.again(), direct, plain);
    let (mut server_us, mut listener_us) = (0, 0);
    server.reset_peak()?;
    for round in 1..=ROUNDS {
        eprintln!("… relay, round {round} of {ROUNDS}");
        let (server_before, listener_before) = (server.cpu_us()?, server::cpu_us(&listener.id())?);
        many.go(&payload(), CONNECTIONS, count)?;
        server_us += server.cpu_us()? - server_before;
        listener_us += server::cpu_us(&listener.id())? - listener_before;
        many_direct.go(&payload(), CONNECTIONS, count)?;
        many_plain.go(&payload(), CONNECTIONS, count)?;
        one.go(&payload(), 1, count / FEWER_ONE_BY_ONE)?;
        one_direct.go(&payload(), 1, count / FEWER_ONE_BY_ONE)?;
        one_plain.go(&payload(), 1, count / FEWER_ONE_BY_ONE)?;
    }
    let times = |other: &Way| many.per_s() / other.per_s();
    let told = format!(
        "{:.2} × the program's own rate; {:.2} × a plain inbox; CPU of the listener {:.0} µs",
        times(&many_direct),
        times(&many_plain),
        ratio(listener_us, many.requests),
    );
    let through = Row {
        cpu_us: Some(ratio(server_us, many.requests)),
        peak_bytes: Some(server.peak_bytes()?),
        goals: vec![Goal::told(told)],
        ..many.row("through server and listener, C=64")
    };
    let mut one_by_one = one.row("through server and listener, C=1");
    if let (Some(through), Some(own)) = (one.latency(), one_direct.latency()) {
        one_by_one.goals.push(Goal::told(format!(
            "p50 {:.2} ms and p99 {:.2} ms more than the program alone; {:.2} × the rate of a \
             plain inbox",
            through.p50_ms - own.p50_ms,
            through.p99_ms - own.p99_ms,
            one.per_s() / one_plain.per_s(),
        )));
    }
    for row in [
        many_direct.row("straight to the program, C=64"),
        many_plain.row("to an inbox without a listener, C=64"),
        through,
        one_direct.row("straight to the program, C=1"),
        one_plain.row("to an inbox without a listener, C=1"),
        one_by_one,
        large(relay, server, &listener)?,
    ] {
        bench.report.row(&row);
    }
    Ok(())
}

fn large(mut relay: Way, server: &Server, listener: &Listener) -> anyhow::Result<Row> {
    server.reset_peak()?;
    relay.go(&"x".repeat(LARGE_BYTES), LARGE_CONNECTIONS, LARGE_COUNT)?;
    let listener_bytes = server::status_bytes(&listener.id(), "VmHWM:")?;
    let told = format!(
        "peak RSS of the listener {:.0} MiB",
        mebibytes(listener_bytes)
    );
    Ok(Row {
        peak_bytes: Some(server.peak_bytes()?),
        goals: vec![Goal::told(told)],
        ..relay.row("bodies of 2 MB, C=16")
    })
}
