//! Taking in signed events, against accepting messages: in turns, on one server.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::loader::{self, Pace, Plan};
use crate::payload::payload;
use crate::report::{Goal, Row, ratio};
use crate::scenarios::Bench;
use crate::server::Server;

const SECRET: &str = "It is a secret";
const CONNECTIONS: usize = 64;
/// Each round measures all three, so that a change of the machine's mood meets all.
const ROUNDS: usize = 3;
/// No part takes longer.
const PART_MAX: Duration = Duration::from_secs(20);
/// Forged requests a second while events come to another source.
const FORGED_PER_SECOND: u32 = 2000;
/// Longer than the counts of a flood wait in memory.
const FLOOD_COUNTED: Duration = Duration::from_secs(6);

const GOAL_RATE: f64 = 0.8;
const GOAL_RATE_IN_FLOOD: f64 = 0.6;

/// What was taken in one way, in all rounds.
#[derive(Default)]
struct Sum {
    requests: u64,
    took_ns: u64,
    cpu_us: u64,
}

impl Sum {
    fn per_s(&self) -> f64 {
        ratio(self.requests, self.took_ns) * 1e9
    }

    fn row(&self, name: &str, cpu: bool, goals: Vec<Goal>) -> Row {
        Row {
            name: name.to_owned(),
            accepted_per_s: Some(self.per_s()),
            cpu_us: cpu.then(|| ratio(self.cpu_us, self.requests)),
            goals,
            ..Row::default()
        }
    }
}

/// Requests to a source, signed as GitHub signs.
struct Sender<'a> {
    server: &'a Server,
    slug: String,
    body: String,
    signature: String,
    sent: usize,
}

impl<'a> Sender<'a> {
    fn new(server: &'a Server, slug: String, secret: &str) -> Self {
        let body = payload();
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key fits");
        mac.update(body.as_bytes());
        let mut signature = String::new();
        for byte in mac.finalize().into_bytes() {
            write!(signature, "{byte:02x}").expect("a String takes everything");
        }
        Self {
            server,
            slug,
            body,
            signature,
            sent: 0,
        }
    }

    /// The next requests, each a new event.
    fn next(&mut self, count: usize) -> Arc<Vec<Vec<u8>>> {
        let first = self.sent;
        self.sent += count;
        Arc::new((first..self.sent).map(|id| self.request(id)).collect())
    }

    fn request(&self, id: usize) -> Vec<u8> {
        format!(
            "POST /in/{} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             x-github-event: push\r\nx-github-delivery: {id}\r\n\
             x-hub-signature-256: sha256={}\r\ncontent-length: {}\r\n\r\n{}",
            self.slug,
            self.server.address,
            self.signature,
            self.body.len(),
            self.body,
        )
        .into_bytes()
    }
}

/// Prints the rates of messages, of events, and of events beside a flood.
pub(crate) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let stage = bench.stage()?;
    let server = &stage.server;
    let count = bench.scale.received_events;
    let application = server.application("no endpoint")?;
    let message = Arc::new(vec![server.message_request(&application, &payload())]);
    let source = |slug: &str| server.source(&application, slug, SECRET);
    let mut events = Sender::new(server, source("events")?, SECRET);
    let mut forged = Sender::new(server, source("forged")?, "another secret");

    let (mut native, mut received, mut in_flood) = (Sum::default(), Sum::default(), Sum::default());
    part(server, message.clone(), count / 4, &mut Sum::default())?;
    let warm_up = events.next(count / 4);
    part(server, warm_up, count / 4, &mut Sum::default())?;
    let mut refused = 0;
    for round in 1..=ROUNDS {
        eprintln!("… receive, round {round} of {ROUNDS}");
        part(server, message.clone(), count, &mut native)?;
        part(server, events.next(count), count, &mut received)?;
        let wanted = events.next(count);
        let flood = loader::spawn(Plan {
            server: server.address,
            requests: forged.next(1),
            pace: Pace::Open {
                per_second: FORGED_PER_SECOND,
            },
            time_max: bench.scale.closed,
            count_max: usize::MAX,
        });
        let measured = part(server, wanted, count, &mut in_flood);
        let flood = flood.join().expect("the loader does not panic");
        measured?;
        anyhow::ensure!(
            flood.accepted.is_empty() && flood.broken.is_none(),
            "{} forged requests were accepted; {:?}",
            flood.accepted.len(),
            flood.broken
        );
        refused += flood.refused.values().sum::<u64>();
    }
    let growth = flood_alone(bench.scale.closed, server, &mut forged)?;
    let rate = |sum: &Sum| Some(sum.per_s() / native.per_s());
    let goals = vec![Goal::at_least(
        "rate",
        rate(&received),
        GOAL_RATE,
        "× accept",
    )];
    let goals_in_flood = vec![
        Goal::at_least("rate", rate(&in_flood), GOAL_RATE_IN_FLOOD, "× accept"),
        Goal::told(format!("{refused} forged ones refused")),
        Goal::told(growth),
    ];
    for row in [
        native.row("receive: messages by the API, C=64", true, Vec::new()),
        received.row("receive: signed events to a source, C=64", true, goals),
        in_flood.row(
            &format!("receive: the same beside {FORGED_PER_SECOND}/s forged to another source"),
            false,
            goals_in_flood,
        ),
    ] {
        bench.report.row(&row);
    }
    Ok(())
}

fn part(
    server: &Server,
    requests: Arc<Vec<Vec<u8>>>,
    count: usize,
    sum: &mut Sum,
) -> anyhow::Result<()> {
    let cpu_before = server.cpu_us()?;
    let load = loader::run(Plan {
        server: server.address,
        requests,
        pace: Pace::Closed {
            connections: CONNECTIONS,
        },
        time_max: PART_MAX,
        count_max: count,
    });
    load.check()?;
    anyhow::ensure!(
        load.refused.is_empty(),
        "refused by status: {:?}",
        load.refused
    );
    sum.cpu_us += server.cpu_us()? - cpu_before;
    sum.requests += load.accepted.len() as u64;
    sum.took_ns += load.last_answered_ns() - load.first_sent_ns();
    Ok(())
}

/// What a flood with nothing beside it leaves in the store.
fn flood_alone(time: Duration, server: &Server, forged: &mut Sender<'_>) -> anyhow::Result<String> {
    let before = server.store_measured();
    let load = loader::run(Plan {
        server: server.address,
        requests: forged.next(1),
        pace: Pace::Open {
            per_second: FORGED_PER_SECOND,
        },
        time_max: time,
        count_max: usize::MAX,
    });
    anyhow::ensure!(load.broken.is_none(), "{:?}", load.broken);
    std::thread::sleep(FLOOD_COUNTED);
    let refused: u64 = load.refused.values().sum();
    let after = server.store_measured();
    let grown = |after: Option<u64>, before: Option<u64>| {
        let bytes = after.zip(before).map(|(a, b)| a.saturating_sub(b));
        bytes.map_or_else(|| "n/a".to_owned(), |b| format!("{:.1}", ratio(b, refused)))
    };
    Ok(format!(
        "alone, {refused} forged ones: {} live bytes each, the file grew by {} bytes each",
        grown(after.live_bytes, before.live_bytes),
        grown(after.file_bytes, before.file_bytes),
    ))
}
