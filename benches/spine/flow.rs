//! One measured run: load a server, wait for the deliveries, read what it cost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::loader::{self, Load, Pace, Plan};
use crate::report::{Latency, Row, ratio};
use crate::server::Server;
use crate::sink::Sink;

/// Enough to open the connections and fill the pools of both sides.
const WARM_UP_MESSAGES: usize = 200;
const WARM_UP_CONNECTIONS: usize = 16;
const WARM_UP_MAX: Duration = Duration::from_secs(10);
/// A run with no end in sight stops here.
const MESSAGES_MAX: usize = 150_000;
/// How long attempts may take to be counted once their webhooks have arrived.
const RECORDED_MAX: Duration = Duration::from_secs(5);
const RECORDED_POLL: Duration = Duration::from_millis(20);
/// What stands in for that count on a server that gives no figures of its store.
const RECORDED_BLIND: Duration = Duration::from_millis(500);

/// What to run against a server.
pub(crate) struct Flow<'a> {
    pub(crate) name: String,
    pub(crate) server: &'a Server,
    pub(crate) requests: Arc<Vec<Vec<u8>>>,
    pub(crate) pace: Pace,
    pub(crate) time: Duration,
    pub(crate) count_max: usize,
    pub(crate) arrives: Option<Arrives<'a>>,
}

/// Where the messages should arrive.
#[derive(Clone, Copy)]
pub(crate) struct Arrives<'a> {
    pub(crate) sink: &'a Sink,
    pub(crate) per_message: u64,
    pub(crate) wait_max: Duration,
}

/// The row of a run, without goals, and what they may need besides.
pub(crate) struct Measured {
    pub(crate) row: Row,
    pub(crate) accepted: u64,
    pub(crate) warm_up_deliveries: u64,
    /// Attempts the store counted for this run.
    pub(crate) recorded: Option<u64>,
}

impl<'a> Flow<'a> {
    /// A run that is bounded by `time` alone.
    pub(crate) fn new(
        name: impl Into<String>,
        server: &'a Server,
        requests: Vec<Vec<u8>>,
        pace: Pace,
        time: Duration,
    ) -> Self {
        Self {
            name: name.into(),
            server,
            requests: Arc::new(requests),
            pace,
            time,
            count_max: MESSAGES_MAX,
            arrives: None,
        }
    }

    pub(crate) fn arriving(self, arrives: Arrives<'a>) -> Self {
        Self {
            arrives: Some(arrives),
            ..self
        }
    }

    pub(crate) fn at_most(self, count_max: usize) -> Self {
        Self { count_max, ..self }
    }

    /// The plan for the loader.
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            server: self.server.address,
            requests: self.requests.clone(),
            pace: self.pace,
            time_max: self.time,
            count_max: self.count_max,
        }
    }

    /// Opens connections and pools; every target gets at least one message. Returns the deliveries.
    fn warm_up(&self) -> anyhow::Result<u64> {
        let attempts = self.server.store().attempts;
        let load = loader::run(Plan {
            pace: Pace::Closed {
                connections: WARM_UP_CONNECTIONS,
            },
            time_max: WARM_UP_MAX,
            count_max: WARM_UP_MESSAGES.max(self.requests.len()),
            ..self.plan()
        });
        load.check()?;
        let Some(arrives) = self.arrives else {
            return Ok(0);
        };
        let wanted = load.accepted.len() as u64 * arrives.per_message;
        arrives.sink.wait_for(wanted, arrives.wait_max)?;
        wait_recorded(self.server, attempts, wanted);
        arrives.sink.reset();
        Ok(wanted)
    }

    /// Warms up, runs and reads the figures.
    pub(crate) fn measure(&self) -> anyhow::Result<Measured> {
        eprintln!("… {}", self.name);
        let warm_up_deliveries = self.warm_up()?;
        let store_before = self.server.store_measured();
        self.server.reset_peak()?;
        let cpu_before = self.server.cpu_us()?;

        let load = loader::run(self.plan());
        load.check()?;
        let accepted = load.accepted.len() as u64;
        if let Some(arrives) = self.arrives {
            let wanted = accepted * arrives.per_message;
            arrives.sink.wait_for(wanted, arrives.wait_max)?;
            wait_recorded(self.server, store_before.attempts, wanted);
        }
        let cpu_us = self.server.cpu_us()? - cpu_before;
        let peak_bytes = self.server.peak_bytes()?;
        let store = self.server.store_measured();
        let difference =
            |after: Option<u64>, before: Option<u64>| Some(after?.saturating_sub(before?));

        let mut row = Row {
            name: self.name.clone(),
            cpu_us: Some(ratio(cpu_us, accepted)),
            peak_bytes: Some(peak_bytes),
            live_bytes: difference(store.live_bytes, store_before.live_bytes)
                .map(|bytes| ratio(bytes, accepted)),
            ..Row::default()
        };
        self.fill_times(&mut row, &load)?;
        if !load.refused.is_empty() {
            eprintln!("  refused by status: {:?}", load.refused);
        }
        Ok(Measured {
            row,
            accepted,
            warm_up_deliveries,
            recorded: difference(store.attempts, store_before.attempts),
        })
    }

    /// Rates and latencies: to the arrival where there is one, else to the answer.
    fn fill_times(&self, row: &mut Row, load: &Load) -> anyhow::Result<()> {
        let start_ns = load.first_sent_ns();
        let accepted = load.accepted.len() as u64;
        row.accepted_per_s = per_second(accepted, start_ns, load.last_answered_ns());
        let Some(arrives) = self.arrives else {
            let times = load.accepted.iter();
            row.latency = Latency::of(
                times
                    .map(|s| s.answered_ns - s.sent_ns.min(s.answered_ns))
                    .collect(),
            );
            return Ok(());
        };
        let arrivals = arrives.sink.arrivals();
        let last_ns = arrivals.iter().map(|a| a.at_ns).max().unwrap_or(0);
        row.delivered_per_s = per_second(arrivals.len() as u64, start_ns, last_ns);
        let sent: HashMap<u64, u64> = load.accepted.iter().map(|s| (s.id, s.sent_ns)).collect();
        let times: Vec<u64> = arrivals
            .iter()
            .filter_map(|arrival| Some(arrival.at_ns.saturating_sub(*sent.get(&arrival.id)?)))
            .collect();
        if times.is_empty() {
            bail!("no webhook-id at the sink is an id the server gave to a message");
        }
        row.latency = Latency::of(times);
        Ok(())
    }
}

fn per_second(count: u64, start_ns: u64, end_ns: u64) -> Option<f64> {
    let took_ns = end_ns.saturating_sub(start_ns);
    (took_ns > 0).then(|| ratio(count, took_ns) * 1e9)
}

/// Waits until the store counts `wanted` attempts more than `before`.
///
/// Not reaching it is no failure here: the row tells, and the scenario about it checks.
pub(crate) fn wait_recorded(server: &Server, before: Option<u64>, wanted: u64) {
    let Some(before) = before else {
        std::thread::sleep(RECORDED_BLIND);
        return;
    };
    let start = Instant::now();
    while start.elapsed() < RECORDED_MAX {
        let now = server.store().attempts;
        if now.is_none_or(|now| now >= before + wanted) {
            return;
        }
        std::thread::sleep(RECORDED_POLL);
    }
}
