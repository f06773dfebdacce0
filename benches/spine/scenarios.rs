//! What is measured: one function for each scenario.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;

use crate::batch;
use crate::flow::{Arrives, Flow, Measured, wait_recorded};
use crate::loader::{self, Pace, Plan};
use crate::pages;
use crate::payload::{PAYLOAD_BYTES, payload};
use crate::receive;
use crate::relay;
use crate::report::{Goal, Latency, Report, Row, mebibytes, ratio};
use crate::restart;
use crate::scale::Scale;
use crate::server::{self, Endpoint, Program, Server};
use crate::sink::Sink;

const APPLICATIONS: usize = 1000;
/// Calls at a time while applications are created; commits are shared between them.
const CREATORS: usize = 16;
const SLOW_ANSWER: Duration = Duration::from_secs(8);
/// Long enough for a new process to give back what only its start needed.
const IDLE: Duration = Duration::from_millis(500);
pub(crate) const NEIGHBOUR_PER_SECOND: u32 = 100;

const GOAL_END_TO_END_US: f64 = 110.0;
const GOAL_ACCEPT_US: f64 = 65.0;
const GOAL_OPEN_P50_MS: f64 = 2.0;
const GOAL_OPEN_P99_MS: f64 = 10.0;
const GOAL_FAN_OUT_US: f64 = 45.0;
const GOAL_NEIGHBOUR: f64 = 2.0;
const GOAL_DISK_BYTES: f64 = 2000.0;
const GOAL_BINARY_MIB: f64 = 16.0;
const GOAL_LISTEN_MS: f64 = 50.0;
const GOAL_IDLE_MIB: f64 = 20.0;
pub(crate) const GOAL_LOADED_MIB: f64 = 150.0;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Scenario {
    /// Loader and sink without Hookpost
    Ceiling,
    /// One endpoint, 1 to 256 posts at a time
    EndToEnd,
    /// No endpoint: accept and store
    Accept,
    /// A thousand messages in one request, and in a thousand
    Batch,
    /// 100 and 500 messages a second at fixed times
    OpenLoop,
    /// 1 and 10 endpoints for each message
    FanOut,
    /// 1 and 1,000 applications
    Applications,
    /// A plain and a TLS sink
    Tls,
    /// A healthy endpoint beside one that answers after 8 s
    SlowNeighbour,
    /// kill -9 with messages waiting, and a dead endpoint's backlog beside a healthy one
    Restart,
    /// Size of the binary, memory at rest, time to listen
    Footprint,
    /// Live bytes of a message with one attempt
    Disk,
    /// The dashboard's pages with a full store under load, and open live pages
    Pages,
    /// Attempts on disk against webhooks received
    Arrivals,
    /// Signed events to a source against messages by the API, and beside a flood of forged ones
    Receive,
    /// What comes to an inbox, through a listener to a local program, against that program alone
    Relay,
    #[value(skip)]
    SelfTest,
}

impl Scenario {
    /// All that measure, in the order of the table.
    pub(crate) const ALL: [Self; 16] = [
        Self::Ceiling,
        Self::Footprint,
        Self::EndToEnd,
        Self::Accept,
        Self::Batch,
        Self::OpenLoop,
        Self::FanOut,
        Self::Applications,
        Self::Tls,
        Self::SlowNeighbour,
        Self::Disk,
        Self::Arrivals,
        Self::Receive,
        Self::Relay,
        Self::Restart,
        Self::Pages,
    ];

    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(|| "self-test".into(), |value| value.get_name().to_owned())
    }
}

/// A server with the directory of its data. The server is dropped, so killed, first;
/// take it apart as `Stage { directory, server }` to keep that order.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) directory: tempfile::TempDir,
}

/// The programs to run and the report they fill.
pub(crate) struct Bench {
    pub(crate) program: Program,
    echo: Program,
    data_root: PathBuf,
    pub(crate) scale: Scale,
    pub(crate) report: Report,
}

impl Bench {
    pub(crate) fn new(program: Program, echo: Program, data_root: PathBuf, scale: Scale) -> Self {
        Self {
            program,
            echo,
            data_root,
            scale,
            report: Report::default(),
        }
    }

    /// Runs scenarios and returns whether all of them could be measured.
    pub(crate) fn run(&mut self, wanted: &[Scenario]) -> bool {
        self.report = Report::begin(self.scale.kind);
        for &scenario in wanted {
            if let Err(error) = self.run_one(scenario) {
                self.report.failure(&scenario.name(), &error);
            }
        }
        std::mem::take(&mut self.report).end()
    }

    fn run_one(&mut self, scenario: Scenario) -> anyhow::Result<()> {
        match scenario {
            Scenario::Ceiling => self.ceiling(),
            Scenario::EndToEnd => self.end_to_end(),
            Scenario::Accept => self.accept(),
            Scenario::Batch => batch::run(self),
            Scenario::Pages => pages::run(self),
            Scenario::OpenLoop => self.open_loop(),
            Scenario::FanOut => self.fan_out(),
            Scenario::Applications => self.applications(),
            Scenario::Tls => self.tls(),
            Scenario::SlowNeighbour => self.slow_neighbour(),
            Scenario::Restart => restart::run(self),
            Scenario::Footprint => self.footprint(),
            Scenario::Disk => self.disk(),
            Scenario::Arrivals => self.arrivals(),
            Scenario::Receive => receive::run(self),
            Scenario::Relay => relay::run(self),
            Scenario::SelfTest => self.self_test(),
        }
    }

    fn directory(&self) -> anyhow::Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix("spine-")
            .tempdir_in(&self.data_root)
            .with_context(|| format!("no directory in {}", self.data_root.display()))
    }

    /// A server with nothing in its store.
    pub(crate) fn stage(&self) -> anyhow::Result<Stage> {
        self.stage_of(&self.program)
    }

    fn stage_of(&self, program: &Program) -> anyhow::Result<Stage> {
        let directory = self.directory()?;
        let server = Server::start(program, directory.path(), None)?;
        Ok(Stage { server, directory })
    }

    pub(crate) fn arrives<'a>(&self, sink: &'a Sink) -> Arrives<'a> {
        Arrives {
            sink,
            per_message: 1,
            wait_max: self.scale.drain_max,
        }
    }

    fn ceiling(&mut self) -> anyhow::Result<()> {
        let echo = self.stage_of(&self.echo)?;
        let request = echo.server.message_request("app_0", &payload());
        let flow = Flow::new(
            "ceiling: bare hyper, C=64",
            &echo.server,
            vec![request.clone()],
            Pace::Closed { connections: 64 },
            self.scale.closed,
        );
        let Measured { row, .. } = flow.measure()?;
        self.report.row(&row);

        let sink = Sink::plain()?;
        let cpu_before = server::cpu_us("self")?;
        let load = loader::run(Plan {
            server: sink.address(),
            ..flow.plan()
        });
        load.check()?;
        let cpu_us = server::cpu_us("self")? - cpu_before;
        let accepted = load.accepted.len() as u64;
        ensure!(
            sink.count() == accepted,
            "the sink counted {} of {accepted} requests",
            sink.count()
        );
        let took_ns = load.last_answered_ns() - load.first_sent_ns();
        let times = load.accepted.iter().map(|s| s.answered_ns - s.sent_ns);
        self.report.row(&Row {
            name: "ceiling: loader straight to sink, C=64 (CPU of loader and sink)".into(),
            delivered_per_s: Some(ratio(accepted, took_ns) * 1e9),
            latency: Latency::of(times.collect()),
            cpu_us: Some(ratio(cpu_us, accepted)),
            ..Row::default()
        });
        Ok(())
    }

    fn end_to_end(&mut self) -> anyhow::Result<()> {
        for connections in [1, 16, 64, 256] {
            let stage = self.stage()?;
            let sink = Sink::plain()?;
            let request = one_endpoint(&stage.server, &sink)?;
            let flow = Flow::new(
                format!("end to end, C={connections}"),
                &stage.server,
                vec![request],
                Pace::Closed { connections },
                self.scale.closed,
            );
            let Measured { mut row, .. } = flow.arriving(self.arrives(&sink)).measure()?;
            if connections == 64 {
                row.goals
                    .push(Goal::at_most("CPU", row.cpu_us, GOAL_END_TO_END_US, "µs"));
            }
            row.goals.push(memory_goal(&row));
            self.report.row(&row);
        }
        Ok(())
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        for connections in [64, 256] {
            let stage = self.stage()?;
            let application = stage.server.application("no endpoint")?;
            let flow = Flow::new(
                format!("accept only, C={connections} (times to the 202)"),
                &stage.server,
                vec![stage.server.message_request(&application, &payload())],
                Pace::Closed { connections },
                self.scale.closed,
            );
            let Measured { mut row, .. } = flow.measure()?;
            if connections == 256 {
                row.goals
                    .push(Goal::at_most("CPU", row.cpu_us, GOAL_ACCEPT_US, "µs"));
            }
            row.goals.push(memory_goal(&row));
            self.report.row(&row);
        }
        Ok(())
    }

    fn open_loop(&mut self) -> anyhow::Result<()> {
        for per_second in [100, 500] {
            let stage = self.stage()?;
            let sink = Sink::plain()?;
            let request = one_endpoint(&stage.server, &sink)?;
            let flow = Flow::new(
                format!("open loop, {per_second}/s"),
                &stage.server,
                vec![request],
                Pace::Open { per_second },
                self.scale.open,
            );
            let Measured { mut row, .. } = flow.arriving(self.arrives(&sink)).measure()?;
            let p50 = row.latency.map(|latency| latency.p50_ms);
            let p99 = row.latency.map(|latency| latency.p99_ms);
            row.goals
                .push(Goal::at_most("p50", p50, GOAL_OPEN_P50_MS, "ms"));
            row.goals
                .push(Goal::at_most("p99", p99, GOAL_OPEN_P99_MS, "ms"));
            self.report.row(&row);
        }
        Ok(())
    }

    fn fan_out(&mut self) -> anyhow::Result<()> {
        for endpoints in [1_u8, 10] {
            let stage = self.stage()?;
            let sink = Sink::plain()?;
            let application = stage.server.application("fan out")?;
            for index in 0..endpoints {
                let name = format!("e{index}");
                stage
                    .server
                    .endpoint(&application, &name, sink.url(&name))?;
            }
            let flow = Flow::new(
                format!("fan-out {endpoints}, C=16"),
                &stage.server,
                vec![stage.server.message_request(&application, &payload())],
                Pace::Closed { connections: 16 },
                self.scale.closed * 2,
            );
            let flow = flow
                .at_most(self.scale.fan_out_deliveries / usize::from(endpoints))
                .arriving(Arrives {
                    per_message: u64::from(endpoints),
                    ..self.arrives(&sink)
                });
            let Measured { mut row, .. } = flow.measure()?;
            let per_delivery = row.cpu_us.map(|cpu_us| cpu_us / f64::from(endpoints));
            row.goals.push(if endpoints == 1 {
                Goal::told("one delivery for each message".into())
            } else {
                Goal::at_most("CPU/delivery", per_delivery, GOAL_FAN_OUT_US, "µs")
            });
            self.report.row(&row);
        }
        Ok(())
    }

    fn applications(&mut self) -> anyhow::Result<()> {
        for count in [1, APPLICATIONS] {
            let stage = self.stage()?;
            let sink = Sink::plain()?;
            let requests = many_applications(&stage.server, &sink, count)?;
            let flow = Flow::new(
                format!("applications: {count}, C=64"),
                &stage.server,
                requests,
                Pace::Closed { connections: 64 },
                self.scale.closed,
            );
            let Measured { row, .. } = flow.arriving(self.arrives(&sink)).measure()?;
            self.report.row(&row);
        }
        Ok(())
    }

    fn tls(&mut self) -> anyhow::Result<()> {
        for with_tls in [false, true] {
            let directory = self.directory()?;
            let ca_file = directory.path().join("ca.pem");
            let sink = if with_tls {
                Sink::tls(&ca_file)?
            } else {
                Sink::plain()?
            };
            let ca_file = with_tls.then_some(ca_file.as_path());
            let server = Server::start(&self.program, directory.path(), ca_file)?;
            let flow = Flow::new(
                format!("{} sink, C=64", if with_tls { "TLS" } else { "plain" }),
                &server,
                vec![one_endpoint(&server, &sink)?],
                Pace::Closed { connections: 64 },
                self.scale.closed,
            );
            let Measured { mut row, .. } = flow.arriving(self.arrives(&sink)).measure()?;
            row.goals.push(Goal::told(format!(
                "{} connections, {} handshakes",
                sink.connections(),
                sink.handshakes()
            )));
            self.report.row(&row);
        }
        Ok(())
    }

    fn slow_neighbour(&mut self) -> anyhow::Result<()> {
        let stage = self.stage()?;
        let (healthy_sink, slow_sink) = (Sink::plain()?, Sink::slow(SLOW_ANSWER)?);
        let healthy = one_endpoint(&stage.server, &healthy_sink)?;
        let slow = one_endpoint(&stage.server, &slow_sink)?;
        let pace = Pace::Open {
            per_second: NEIGHBOUR_PER_SECOND,
        };
        let flow = |name: &str, request| {
            let flow = Flow::new(name, &stage.server, vec![request], pace, self.scale.open);
            flow.arriving(self.arrives(&healthy_sink))
        };
        let alone = flow("healthy endpoint alone, 100/s", healthy.clone()).measure()?;
        // The slow endpoint has its load from before the healthy one's is measured until after it.
        let slow_plan = Plan {
            time_max: self.scale.open * 2,
            ..flow("", slow).plan()
        };
        let slow_load = loader::spawn(slow_plan);
        std::thread::sleep(self.scale.open / 4);
        let beside = flow(
            "healthy beside one answering after 8 s, 100/s each",
            healthy,
        )
        .measure()?;
        let slow_arrived = slow_sink.count();
        drop(stage);
        // Its server is gone, so its connections broke; only a panic would be news.
        drop(slow_load.join());

        self.report.row(&alone.row);
        let mut row = shared_row(beside.row);
        row.goals.push(neighbour_goal(&row, &alone.row));
        row.goals
            .push(Goal::told(format!("{slow_arrived} reached the slow one")));
        self.report.row(&row);
        Ok(())
    }

    fn footprint(&mut self) -> anyhow::Result<()> {
        let binary_bytes = std::fs::metadata(&self.program.path)
            .with_context(|| format!("no binary at {}", self.program.path.display()))?
            .len();
        let mut starts = Vec::new();
        let mut resident_bytes = 0;
        for _ in 0..self.scale.starts {
            let stage = self.stage()?;
            starts.push(stage.server.listening_after);
            std::thread::sleep(IDLE);
            resident_bytes = stage.server.resident_bytes()?;
        }
        starts.sort_unstable();
        let listen_ms = starts[starts.len() / 2].as_secs_f64() * 1e3;
        let (binary_mib, idle_mib) = (mebibytes(binary_bytes), mebibytes(resident_bytes));
        self.report.row(&Row {
            name: format!("footprint, median of {} starts", starts.len()),
            goals: vec![
                Goal::at_most("binary", Some(binary_mib), GOAL_BINARY_MIB, "MiB"),
                Goal::at_most("idle RSS", Some(idle_mib), GOAL_IDLE_MIB, "MiB"),
                Goal::at_most("listening after", Some(listen_ms), GOAL_LISTEN_MS, "ms"),
            ],
            ..Row::default()
        });
        Ok(())
    }

    fn disk(&mut self) -> anyhow::Result<()> {
        let stage = self.stage()?;
        let sink = Sink::plain()?;
        let request = one_endpoint(&stage.server, &sink)?;
        let flow = Flow::new(
            format!(
                "disk: {} messages, one attempt each",
                self.scale.disk_messages
            ),
            &stage.server,
            vec![request],
            Pace::Closed { connections: 64 },
            self.scale.drain_max,
        );
        let flow = flow.at_most(self.scale.disk_messages);
        let measured = flow.arriving(self.arrives(&sink)).measure()?;
        let mut row = measured.row;
        row.goals.push(Goal::at_most(
            "live bytes/msg",
            row.live_bytes,
            GOAL_DISK_BYTES,
            "B",
        ));
        if let Some(bytes) = stage.server.store().file_bytes {
            row.goals
                .push(Goal::told(format!("file {:.0} MiB", mebibytes(bytes))));
        }
        self.report.row(&row);
        Ok(())
    }

    /// Counts the same deliveries three ways; the last after a kill, so from the disk.
    fn arrivals(&mut self) -> anyhow::Result<()> {
        let Stage { directory, server } = self.stage()?;
        let sink = Sink::plain()?;
        let (request, endpoint) = endpoint_and_request(&server, &sink)?;
        let flow = Flow::new(
            "arrivals and attempts, C=64",
            &server,
            vec![request],
            Pace::Closed { connections: 64 },
            self.scale.drain_max,
        );
        let flow = flow.at_most(self.scale.arrivals_messages);
        let measured = flow.arriving(self.arrives(&sink)).measure()?;
        // A second attempt of an answered delivery would come soon after the first.
        wait_recorded(&server, None, 0);
        let (accepted, arrived) = (measured.accepted, sink.count());
        drop(server);
        let server = Server::start(&self.program, directory.path(), None)?;
        let on_disk = server.count_attempts(&endpoint)? - measured.warm_up_deliveries;

        let shown = |count: Option<u64>| count.map_or("n/a".into(), |count| count.to_string());
        let mut row = measured.row;
        row.goals.push(Goal::told(format!(
            "accepted {accepted}, arrived {arrived}, recorded {}, on disk after kill -9 {on_disk}",
            shown(measured.recorded),
        )));
        self.report.row(&row);
        ensure!(
            arrived == accepted && on_disk == arrived,
            "{accepted} accepted, {arrived} arrived, {on_disk} attempts on disk"
        );
        ensure!(
            measured.recorded.is_none_or(|recorded| recorded == arrived),
            "{arrived} webhooks arrived and the store counts {} attempts",
            shown(measured.recorded)
        );
        Ok(())
    }

    /// Shows that the open loop sends what it should and that the payload is what it says.
    fn self_test(&mut self) -> anyhow::Result<()> {
        ensure!(payload().len() == PAYLOAD_BYTES, "the payload has its size");
        serde_json::from_str::<serde_json::Value>(&payload()).context("the payload is JSON")?;
        let echo = self.stage_of(&self.echo)?;
        let flow = Flow::new(
            "self-test: bare hyper, open loop 500/s",
            &echo.server,
            vec![echo.server.message_request("app_0", &payload())],
            Pace::Open { per_second: 500 },
            self.scale.closed,
        );
        let measured = flow.measure()?;
        let wanted = u128::from(measured.accepted) * 1000 / 500;
        if wanted != self.scale.closed.as_millis() {
            bail!("{} answers in {:?}", measured.accepted, self.scale.closed);
        }
        self.report.row(&measured.row);
        Ok(())
    }
}

/// A row whose server did other work too: its CPU and disk are not this row's.
pub(crate) fn shared_row(row: Row) -> Row {
    Row {
        cpu_us: None,
        live_bytes: None,
        ..row
    }
}

/// How the p99 of a row compares with the same load alone.
pub(crate) fn p99_ratio(row: &Row, alone: &Row) -> Option<f64> {
    Some(row.latency?.p99_ms / alone.latency?.p99_ms)
}

fn neighbour_goal(row: &Row, alone: &Row) -> Goal {
    Goal::at_most("p99", p99_ratio(row, alone), GOAL_NEIGHBOUR, "× alone")
}

fn memory_goal(row: &Row) -> Goal {
    Goal::at_most("RSS", row.peak_bytes.map(mebibytes), GOAL_LOADED_MIB, "MiB")
}

/// A new application with one endpoint at the sink, and the request that posts to it.
pub(crate) fn one_endpoint(server: &Server, sink: &Sink) -> anyhow::Result<Vec<u8>> {
    Ok(endpoint_and_request(server, sink)?.0)
}

fn endpoint_and_request(server: &Server, sink: &Sink) -> anyhow::Result<(Vec<u8>, Endpoint)> {
    let application = server.application("bench")?;
    let endpoint = server.endpoint(&application, "sink", sink.url("one"))?;
    Ok((server.message_request(&application, &payload()), endpoint))
}

fn many_applications(server: &Server, sink: &Sink, count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let next = AtomicUsize::new(0);
    let create = || {
        let mut requests = Vec::new();
        while next.fetch_add(1, Ordering::Relaxed) < count {
            requests.push(one_endpoint(server, sink)?);
        }
        anyhow::Ok(requests)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CREATORS).map(|_| scope.spawn(create)).collect();
        let mut requests = Vec::with_capacity(count);
        for thread in threads {
            requests.extend(
                thread
                    .join()
                    .expect("creating reports errors, it does not panic")?,
            );
        }
        Ok(requests)
    })
}
