//! kill -9 with many messages waiting, and what a dead endpoint's backlog does to a healthy one.

use std::time::Duration;

use anyhow::ensure;

use crate::flow::{Flow, Measured};
use crate::loader::{self, Pace};
use crate::payload::payload;
use crate::report::{Goal, Row, mebibytes};
use crate::scenarios::{
    Bench, GOAL_LOADED_MIB, NEIGHBOUR_PER_SECOND, Stage, one_endpoint, p99_ratio, shared_row,
};
use crate::server::{Endpoint, Server, free_address};
use crate::sink::Sink;

const FILL_CONNECTIONS: usize = 256;
/// How long posts go on before the kill, so that it hits a commit.
const POSTING_BEFORE_KILL: Duration = Duration::from_millis(300);
const GOAL_READY_MS: f64 = 1000.0;

pub(crate) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let Stage { directory, server } = bench.stage()?;
    let sink = Sink::plain()?;
    let healthy = one_endpoint(&server, &sink)?;
    let application = server.application("dead")?;
    let url = format!("http://{}/hooks/dead", free_address()?);
    let dead = server.endpoint(&application, "dead", url)?;
    server.pause(&dead, true)?;

    let request = server.message_request(&application, &payload());
    let filled = fill(bench, &server, request.clone())?;
    let acknowledged = filled + kill_while_posting(server, request)?;

    let server = Server::start(&bench.program, directory.path(), None)?;
    report_restart(bench, &server, acknowledged)?;
    backlog(bench, &server, &sink, &healthy, &dead)
}

/// Returns how many messages the server has acknowledged.
fn fill(bench: &mut Bench, server: &Server, request: Vec<u8>) -> anyhow::Result<u64> {
    let waiting = bench.scale.waiting;
    let pace = Pace::Closed {
        connections: FILL_CONNECTIONS,
    };
    let name =
        format!("{waiting} messages to a paused endpoint, C={FILL_CONNECTIONS} (times to the 202)");
    let flow = Flow::new(name, server, vec![request], pace, bench.scale.fill_max);
    let Measured {
        mut row, accepted, ..
    } = flow.at_most(waiting).measure()?;
    let peak_mib = row.peak_bytes.map(mebibytes);
    row.goals
        .push(Goal::at_most("RSS", peak_mib, GOAL_LOADED_MIB, "MiB"));
    if accepted < waiting as u64 {
        let text = format!("only {accepted} within {:?}", bench.scale.fill_max);
        row.goals.push(Goal::told(text));
    }
    bench.report.row(&row);
    // The store also holds the warm-up, so its own count is the stricter one.
    Ok(server.store().messages.unwrap_or(0).max(accepted))
}

/// Returns how many messages were acknowledged before the posts broke.
fn kill_while_posting(mut server: Server, request: Vec<u8>) -> anyhow::Result<u64> {
    let pace = Pace::Closed { connections: 16 };
    let flow = Flow::new("", &server, vec![request], pace, POSTING_BEFORE_KILL * 10);
    let posts = loader::spawn(flow.plan());
    std::thread::sleep(POSTING_BEFORE_KILL);
    server.kill();
    let posts = posts
        .join()
        .expect("the loader reports errors, it does not panic");
    ensure!(
        posts.broken.is_some() && !posts.accepted.is_empty(),
        "the kill did not interrupt posts: {} accepted, refused {:?}",
        posts.accepted.len(),
        posts.refused
    );
    Ok(posts.accepted.len() as u64)
}

fn report_restart(bench: &mut Bench, server: &Server, acknowledged: u64) -> anyhow::Result<()> {
    let store = server.store();
    let peak_bytes = server.peak_bytes()?;
    let ready_ms = server.ready_after.as_secs_f64() * 1e3;
    let listening_ms = server.listening_after.as_secs_f64() * 1e3;
    let shown = |count: Option<u64>| count.map_or("n/a".into(), |count| count.to_string());
    let file_mib = store.file_bytes.map(mebibytes);
    bench.report.row(&Row {
        name: format!(
            "start after kill -9, {} messages, file {} MiB",
            shown(store.messages),
            file_mib.map_or("n/a".into(), |mib| format!("{mib:.0}"))
        ),
        peak_bytes: Some(peak_bytes),
        goals: vec![
            Goal::at_most("ready after", Some(ready_ms), GOAL_READY_MS, "ms"),
            Goal::told(format!("listening after {listening_ms:.0} ms")),
            Goal::at_most("RSS", Some(mebibytes(peak_bytes)), GOAL_LOADED_MIB, "MiB"),
            Goal::told(format!("{acknowledged} acknowledged")),
        ],
        ..Row::default()
    });
    if let Some(messages) = store.messages {
        ensure!(
            messages >= acknowledged,
            "{acknowledged} messages were acknowledged and {messages} are left after the kill"
        );
    }
    Ok(())
}

/// A healthy endpoint before and after the dead one's backlog is let go.
fn backlog(
    bench: &mut Bench,
    server: &Server,
    sink: &Sink,
    healthy: &[u8],
    dead: &Endpoint,
) -> anyhow::Result<()> {
    let pace = Pace::Open {
        per_second: NEIGHBOUR_PER_SECOND,
    };
    let measure = |name: &str| {
        let flow = Flow::new(name, server, vec![healthy.to_vec()], pace, bench.scale.open);
        flow.arriving(bench.arrives(sink)).measure()
    };
    let alone = measure("healthy endpoint, backlog paused, 100/s")?;
    // The address in a request's head is the one before the restart; the server does not mind.
    server.pause(dead, false)?;
    let beside = measure("healthy beside the dead endpoint's backlog, 100/s")?;
    bench.report.row(&alone.row);
    let mut row = shared_row(beside.row);
    let ratio = p99_ratio(&row, &alone.row).unwrap_or(f64::NAN);
    row.goals
        .push(Goal::told(format!("p99 {ratio:.1} × alone")));
    let peak_mib = row.peak_bytes.map(mebibytes);
    row.goals
        .push(Goal::at_most("RSS", peak_mib, GOAL_LOADED_MIB, "MiB"));
    bench.report.row(&row);
    Ok(())
}
