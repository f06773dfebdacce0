//! How long the dashboard's pages take with a full store, while messages come
//! in, and what open live pages cost.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::loader::{self, Pace, Plan};
use crate::payload::payload;
use crate::report::{Goal, Row, ratio};
use crate::scenarios::Bench;
use crate::server::{Program, Server};
use crate::sink::Sink;

/// Messages of a request while the store is filled.
const BATCH: usize = 1000;
/// Messages a second that come in while pages are asked for.
const ARRIVING_PER_SECOND: u32 = 1000;
/// How often each page is asked for.
const ASKS: usize = 15;
/// Live pages that are open, and rounds with and without them.
const STREAMS: usize = 50;
const ROUNDS: usize = 3;
const GOAL_PAGE_MS: f64 = 20.0;
const GOAL_FIRST_KB: f64 = 100.0;
const GOAL_STREAMS_PERCENT: f64 = 5.0;
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);
const PASSWORD: &str = "a few words will do";

struct Page {
    status: u16,
    head: String,
    body: Vec<u8>,
    took: Duration,
}

/// One request on a connection of its own, as a browser sends it.
fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    cookie: &str,
    form: &str,
) -> anyhow::Result<Page> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
    stream.set_nodelay(true)?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncookie: {cookie}\r\n\
         sec-fetch-site: same-origin\r\naccept-encoding: gzip\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    let start = Instant::now();
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let took = start.elapsed();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("an answer without an end of its head")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head
        .get(9..12)
        .and_then(|digits| digits.parse().ok())
        .context("an answer without a status")?;
    Ok(Page {
        status,
        body: answer.split_off(end + 4),
        head,
        took,
    })
}

/// An account of its own, signed in: its cookie.
fn sign_in(program: &Program, server: &Server, directory: &Path) -> anyhow::Result<String> {
    let invited = Command::new(&program.path)
        .args(["users", "invite", "bench@example.com", "--role", "admin"])
        .arg("--data-dir")
        .arg(directory.join("data"))
        .output()?;
    let out = String::from_utf8_lossy(&invited.stdout).into_owned();
    let link = out.lines().last().context("no link")?;
    let (_, token) = link.rsplit_once('/').context("no token")?;
    let password = PASSWORD.replace(' ', "+");
    let form = format!("password={password}&again={password}");
    let path = format!("/links/{token}");
    let chosen = ask(server.address, "POST", &path, "", &form)?;
    ensure!(
        chosen.status == 303,
        "the password was not taken: {}",
        chosen.head
    );
    let cookie = chosen
        .head
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("set-cookie: "))
        .and_then(|line| line[12..].split(';').next())
        .context("no cookie")?;
    Ok(cookie.to_owned())
}

fn fill(
    server: &Server,
    application: &str,
    count: usize,
    time_max: Duration,
) -> anyhow::Result<usize> {
    let request = server.batch_request(application, &vec![payload(); BATCH]);
    let load = loader::run(Plan {
        server: server.address,
        requests: Arc::new(vec![request]),
        pace: Pace::Closed { connections: 2 },
        time_max,
        count_max: count / BATCH,
    });
    load.check()?;
    Ok(load.accepted.len() * BATCH)
}

/// Prints the time of each page, the bytes of the first, and the cost of
/// open streams.
pub(crate) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let (wanted, fill_max) = (bench.scale.waiting, bench.scale.fill_max);
    let stage = bench.stage()?;
    let sink = Sink::plain()?;
    let server = &stage.server;
    let full = server.application("full")?;
    let stored = fill(server, &full, wanted, fill_max)?;
    let endpoint = server.endpoint(&full, "pages", sink.url("pages"))?;
    let cookie = sign_in(&bench.program, server, stage.directory.path())?;
    let home = ask(server.address, "GET", "/", &cookie, "")?;
    let env = location(&home)?;
    let base = format!("{env}/applications/{full}");
    let deepest = deepest(server, &base, &cookie)?;
    let pages = [
        ("activity", env.clone()),
        ("activity of 28 days", format!("{env}?range=28d")),
        ("endpoints", format!("{base}/endpoints")),
        ("endpoint", format!("{base}/endpoints/{}", endpoint.id)),
        ("messages", format!("{base}/messages")),
        ("messages, the deepest page", deepest),
        (
            "messages, a type that matches nothing",
            format!("{base}/messages?type=none.at.all"),
        ),
        (
            "messages, a text that matches nothing",
            format!("{base}/messages?text=zebra-crossing"),
        ),
        (
            "messages, all that failed",
            format!("{base}/messages?state=failed"),
        ),
        ("messages of all", format!("{env}/messages")),
        ("attempts", format!("{base}/attempts")),
        (
            "attempts, an error that matches nothing",
            format!("{base}/attempts?error=tlsFailed"),
        ),
        ("attempts of all", format!("{env}/attempts")),
        ("settings", format!("{env}/settings")),
        ("audit log", format!("{env}/settings/audit")),
    ];
    let done = Arc::new(AtomicBool::new(false));
    let arriving = arriving(server, &full, &done);
    thread::sleep(Duration::from_secs(2));
    for (name, path) in &pages {
        let mut times = Vec::new();
        for _ in 0..ASKS {
            let page = ask(server.address, "GET", path, &cookie, "")?;
            ensure!(page.status == 200, "{path}: {}", page.head);
            times.push(page.took.as_secs_f64() * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        let p50 = times[times.len() / 2];
        let most = times[times.len() - 1];
        bench.report.row(&Row {
            name: format!("page: {name}"),
            goals: vec![
                Goal::at_most("p50", Some(p50), GOAL_PAGE_MS, "ms"),
                Goal::told(format!("slowest of {ASKS}: {most:.1} ms")),
            ],
            ..Row::default()
        });
    }
    done.store(true, Ordering::Relaxed);
    let arrived = arriving.join().expect("it does not panic")?;
    bench.report.row(&Row {
        name: format!(
            "pages: with {stored} messages stored, {arrived:.0}/s arriving and delivered"
        ),
        goals: vec![first_page(server, &env, &cookie)?],
        ..Row::default()
    });
    streams(bench, server, &base, &cookie)
}

fn location(page: &Page) -> anyhow::Result<String> {
    let line = page
        .head
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("location: "));
    Ok(line.context("no way on")?[10..].to_owned())
}

/// The page of the oldest messages, found through a moment.
fn deepest(server: &Server, base: &str, cookie: &str) -> anyhow::Result<String> {
    let path = format!("{base}/messages/export");
    let mut stream = TcpStream::connect(server.address)?;
    stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncookie: {cookie}\r\n\r\n",
        server.address
    );
    stream.write_all(request.as_bytes())?;
    // The export goes on and on: its last line within reach is deep enough.
    let mut text = Vec::new();
    let mut piece = [0; 16_384];
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        match stream.read(&mut piece)? {
            0 => break,
            count => text.extend_from_slice(&piece[..count]),
        }
    }
    let text = String::from_utf8_lossy(&text);
    let at = text
        .rfind("{\"id\":\"msg_")
        .context("no message in the export")?;
    let id = text[at + 7..].split('"').next().context("no id")?;
    Ok(format!("{base}/messages?before={id}"))
}

/// Posts messages until it is done: how many a second were taken.
fn arriving(
    server: &Server,
    application: &str,
    done: &Arc<AtomicBool>,
) -> thread::JoinHandle<anyhow::Result<f64>> {
    let request = server.message_request(application, &payload());
    let (address, done) = (server.address, Arc::clone(done));
    thread::spawn(move || {
        let (mut accepted, start) = (0, Instant::now());
        while !done.load(Ordering::Relaxed) {
            let load = loader::run(Plan {
                server: address,
                requests: Arc::new(vec![request.clone()]),
                pace: Pace::Open {
                    per_second: ARRIVING_PER_SECOND,
                },
                time_max: Duration::from_secs(1),
                count_max: usize::MAX,
            });
            load.check()?;
            accepted += load.accepted.len() as u64;
        }
        let took_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(ratio(accepted, took_us) * 1e6)
    })
}

/// Bytes of the first page with all that it refers to.
fn first_page(server: &Server, env: &str, cookie: &str) -> anyhow::Result<Goal> {
    let page = ask(server.address, "GET", env, cookie, "")?;
    let html = String::from_utf8_lossy(&page.body).into_owned();
    let mut bytes = page.body.len() + page.head.len();
    let mut files = 0;
    for part in html.split("\"/static/").skip(1) {
        let name = part.split('"').next().unwrap_or_default();
        let file = ask(server.address, "GET", &format!("/static/{name}"), "", "")?;
        ensure!(file.status == 200, "/static/{name}: {}", file.head);
        bytes += file.body.len() + file.head.len();
        files += 1;
    }
    ensure!(files > 5, "the page refers to {files} files");
    let kilobytes = ratio(bytes as u64, 1000);
    Ok(Goal::at_most(
        "the first page, all of it",
        Some(kilobytes),
        GOAL_FIRST_KB,
        "kB",
    ))
}

/// Accepts with live pages open, and without, in turns.
fn streams(bench: &mut Bench, server: &Server, base: &str, cookie: &str) -> anyhow::Result<()> {
    let application = server.application("beside")?;
    let request = server.message_request(&application, &payload());
    let time = bench.scale.closed;
    let rate = || -> anyhow::Result<f64> {
        let load = loader::run(Plan {
            server: server.address,
            requests: Arc::new(vec![request.clone()]),
            pace: Pace::Closed { connections: 64 },
            time_max: time,
            count_max: usize::MAX,
        });
        load.check()?;
        let took_ns = load.last_answered_ns() - load.first_sent_ns();
        Ok(ratio(load.accepted.len() as u64, took_ns) * 1e9)
    };
    rate()?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(rate()?);
        let open = (0..STREAMS).map(|_| open_stream(server.address, base, cookie));
        let open = open.collect::<anyhow::Result<Vec<_>>>()?;
        with.push(rate()?);
        for stream in open {
            stream.shutdown(Shutdown::Both)?;
        }
    }
    let middle = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (without, with) = (middle(&mut without), middle(&mut with));
    let cost = (1.0 - with / without) * 100.0;
    bench.report.row(&Row {
        name: format!("accept with {STREAMS} live pages open"),
        accepted_per_s: Some(with),
        goals: vec![
            Goal::at_most("cost", Some(cost.max(0.0)), GOAL_STREAMS_PERCENT, "%"),
            Goal::told(format!("{without:.0}/s without, in turns of one run")),
        ],
        ..Row::default()
    });
    Ok(())
}

/// A live page that somebody looks at: what comes is read and let go.
fn open_stream(address: SocketAddr, base: &str, cookie: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    let request =
        format!("GET {base}/messages/live HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut reading = stream.try_clone()?;
    let mut first = [0; 12];
    reading.read_exact(&mut first)?;
    if &first != b"HTTP/1.1 200" {
        bail!("a live page answered {}", String::from_utf8_lossy(&first));
    }
    thread::spawn(move || {
        let mut piece = [0; 16_384];
        while reading.read(&mut piece).is_ok_and(|count| count > 0) {}
    });
    Ok(stream)
}
