//! A thousand messages in one request, against a thousand requests.

use std::sync::Arc;
use std::time::Duration;

use crate::loader::{self, Pace, Plan};
use crate::payload::payload;
use crate::report::{Goal, Row, ratio};
use crate::scenarios::Bench;
use crate::server::Server;

/// Messages of a batch: as many as one may have.
const MESSAGES: usize = 1000;
/// Batches that are measured, after one that warms up.
const BATCHES: usize = 5;
/// No run of these takes longer.
const TIME_MAX: Duration = Duration::from_mins(1);

/// Messages a second, and the server's CPU for one.
struct Speed {
    per_s: f64,
    cpu_us: f64,
}

/// Prints single posts, one by one and 64 at a time, and batches, of one run.
pub(crate) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let stage = bench.stage()?;
    let application = stage.server.application("no endpoint")?;
    let single = stage.server.message_request(&application, &payload());
    let batch = stage
        .server
        .batch_request(&application, &vec![payload(); MESSAGES]);
    measure(&stage.server, &single, 64, MESSAGES, 1)?;
    let one_by_one = measure(&stage.server, &single, 1, BATCHES * MESSAGES, 1)?;
    let together = measure(&stage.server, &single, 64, BATCHES * MESSAGES, 1)?;
    measure(&stage.server, &batch, 1, 1, MESSAGES)?;
    let batches = measure(&stage.server, &batch, 1, BATCHES, MESSAGES)?;
    let times = |other: &Speed| batches.per_s / other.per_s;
    let told = format!(
        "{:.1} × the rate of single posts one by one, {:.1} × of 64 at a time; {:.1} × less CPU",
        times(&one_by_one),
        times(&together),
        together.cpu_us / batches.cpu_us,
    );
    for (name, speed, goals) in [
        ("single posts, C=1", one_by_one, Vec::new()),
        ("single posts, C=64", together, Vec::new()),
        ("batches of 1,000, C=1", batches, vec![Goal::told(told)]),
    ] {
        bench.report.row(&Row {
            name: format!("{name} (accept only)"),
            accepted_per_s: Some(speed.per_s),
            cpu_us: Some(speed.cpu_us),
            goals,
            ..Row::default()
        });
    }
    Ok(())
}

fn measure(
    server: &Server,
    request: &[u8],
    connections: usize,
    requests: usize,
    messages_each: usize,
) -> anyhow::Result<Speed> {
    let cpu_before = server.cpu_us()?;
    let load = loader::run(Plan {
        server: server.address,
        requests: Arc::new(vec![request.to_vec()]),
        pace: Pace::Closed { connections },
        time_max: TIME_MAX,
        count_max: requests,
    });
    load.check()?;
    let cpu_us = server.cpu_us()? - cpu_before;
    let messages = (load.accepted.len() * messages_each) as u64;
    let took_ns = load.last_answered_ns() - load.first_sent_ns();
    Ok(Speed {
        per_s: ratio(messages, took_ns) * 1e9,
        cpu_us: ratio(cpu_us, messages),
    })
}
