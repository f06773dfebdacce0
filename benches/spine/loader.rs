//! Posts messages over keep-alive connections, as fast as answers come or at a fixed rate.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::wire::{self, now_ns};

/// Connections of the open loop. Slots go round them, so one slow answer holds back one slot in 32.
const OPEN_CONNECTIONS: usize = 32;
/// How long a server that says 429 or 503 is left alone.
const REFUSED_WAIT: Duration = Duration::from_millis(10);
/// No answer takes longer; a server that hangs ends the run.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);
const READ_BYTES: usize = 4096;

/// What to send and how.
pub(crate) struct Plan {
    pub(crate) server: SocketAddr,
    /// Whole HTTP requests, taken in turn.
    pub(crate) requests: Arc<Vec<Vec<u8>>>,
    pub(crate) pace: Pace,
    pub(crate) time_max: Duration,
    pub(crate) count_max: usize,
}

#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// Each connection sends the next message when the last one is answered.
    Closed { connections: usize },
    /// Messages have fixed times, and a late one counts its lateness.
    Open { per_second: u32 },
}

/// One accepted message. For the open loop `sent_ns` is the time it should have been sent.
pub(crate) struct Accepted {
    pub(crate) id: u64,
    pub(crate) sent_ns: u64,
    pub(crate) answered_ns: u64,
}

/// What came of a plan.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) accepted: Vec<Accepted>,
    /// Answers other than 2xx, by status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// The first connection that broke, with the reason.
    pub(crate) broken: Option<String>,
}

impl Load {
    pub(crate) fn first_sent_ns(&self) -> u64 {
        self.accepted.iter().map(|s| s.sent_ns).min().unwrap_or(0)
    }

    pub(crate) fn last_answered_ns(&self) -> u64 {
        let answers = self.accepted.iter().map(|s| s.answered_ns);
        answers.max().unwrap_or(0)
    }

    /// Fails when a connection broke or nothing at all was accepted.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if let Some(why) = &self.broken {
            bail!("a connection of the loader broke: {why}");
        }
        if self.accepted.is_empty() {
            bail!(
                "nothing was accepted; refused by status: {:?}",
                self.refused
            );
        }
        Ok(())
    }

    fn add(&mut self, part: anyhow::Result<Load>) {
        match part {
            Ok(part) => {
                self.accepted.extend(part.accepted);
                for (status, count) in part.refused {
                    *self.refused.entry(status).or_default() += count;
                }
                self.broken = self.broken.take().or(part.broken);
            }
            Err(error) => self.broken = self.broken.take().or(Some(format!("{error:#}"))),
        }
    }

    /// Notes one answer and says whether the server asks for a pause.
    fn note(&mut self, sent_ns: u64, answer: &Answer) -> bool {
        if (200..300).contains(&answer.status) {
            self.accepted.push(Accepted {
                id: answer.id,
                sent_ns,
                answered_ns: now_ns(),
            });
            return false;
        }
        *self.refused.entry(answer.status).or_default() += 1;
        matches!(answer.status, 429 | 503)
    }
}

/// Carries a plan out on a thread of its own.
pub(crate) fn spawn(plan: Plan) -> JoinHandle<Load> {
    std::thread::spawn(move || run(plan))
}

/// Carries a plan out and returns when its last answer is in.
pub(crate) fn run(plan: Plan) -> Load {
    match plan.pace {
        Pace::Closed { connections } => closed(plan, connections),
        Pace::Open { per_second } => open(&plan, per_second),
    }
}

struct Answer {
    status: u16,
    id: u64,
}

/// The first whole answer in `buffer`, taken out of it.
fn take_answer(buffer: &mut Vec<u8>) -> anyhow::Result<Option<Answer>> {
    let Some(frame) = wire::frame(buffer)? else {
        return Ok(None);
    };
    let answer = Answer {
        status: wire::status(buffer)?,
        id: wire::id_in_answer(&buffer[frame.head_bytes..frame.total_bytes()]),
    };
    buffer.drain(..frame.total_bytes());
    Ok(Some(answer))
}

/// One thread for all connections: its epoll batches are the cheapest way to keep many busy.
fn closed(plan: Plan, connections: usize) -> Load {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime without threads needs only an epoll descriptor");
    let plan = Arc::new(plan);
    let next = Arc::new(AtomicUsize::new(0));
    let deadline_ns = now_ns() + nanos(plan.time_max);
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..connections {
            tasks.spawn(closed_connection(plan.clone(), next.clone(), deadline_ns));
        }
        let mut load = Load::default();
        let all = async {
            while let Some(part) = tasks.join_next().await {
                load.add(part.map_err(|_| anyhow!("a task of the loader panicked")));
            }
        };
        // One timer for all: one for each answer would cost more than reading it.
        let time_max = plan.time_max + ANSWER_WAIT_MAX;
        if tokio::time::timeout(time_max, all).await.is_err() {
            load.broken = Some(format!("an answer is missing after {ANSWER_WAIT_MAX:?}"));
        }
        load
    })
}

async fn closed_connection(plan: Arc<Plan>, next: Arc<AtomicUsize>, deadline_ns: u64) -> Load {
    let mut load = Load::default();
    if let Err(error) = closed_requests(&plan, &next, deadline_ns, &mut load).await {
        load.broken = Some(format!("{error:#}"));
    }
    load
}

async fn closed_requests(
    plan: &Plan,
    next: &AtomicUsize,
    deadline_ns: u64,
    load: &mut Load,
) -> anyhow::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(plan.server).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(READ_BYTES);
    loop {
        let sent_ns = now_ns();
        if sent_ns >= deadline_ns {
            return Ok(());
        }
        let turn = next.fetch_add(1, Ordering::Relaxed);
        if turn >= plan.count_max {
            return Ok(());
        }
        stream
            .write_all(&plan.requests[turn % plan.requests.len()])
            .await?;
        let answer = loop {
            if stream.read_buf(&mut buffer).await? == 0 {
                bail!("the server closed the connection");
            }
            if let Some(answer) = take_answer(&mut buffer)? {
                break answer;
            }
        };
        if load.note(sent_ns, &answer) {
            tokio::time::sleep(REFUSED_WAIT).await;
        }
    }
}

/// Blocking threads: they wake within 0.1 ms of a slot, where the runtime's timer rounds up to 1 ms.
fn open(plan: &Plan, per_second: u32) -> Load {
    let slots = slots_of(plan, per_second);
    let start_ns = now_ns() + nanos(Duration::from_millis(20));
    let mut load = Load::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..OPEN_CONNECTIONS)
            .map(|first| {
                scope.spawn(move || {
                    let mine = (first..slots).step_by(OPEN_CONNECTIONS);
                    open_connection(plan, per_second, start_ns, mine)
                })
            })
            .collect();
        for thread in threads {
            load.add(
                thread
                    .join()
                    .map_err(|_| anyhow!("a thread of the loader panicked")),
            );
        }
    });
    load
}

fn slots_of(plan: &Plan, per_second: u32) -> usize {
    let by_time = plan.time_max.as_millis() * u128::from(per_second) / 1000;
    usize::try_from(by_time)
        .unwrap_or(usize::MAX)
        .min(plan.count_max)
}

fn open_connection(
    plan: &Plan,
    per_second: u32,
    start_ns: u64,
    slots: impl Iterator<Item = usize>,
) -> Load {
    let mut load = Load::default();
    if let Err(error) = open_requests(plan, per_second, start_ns, slots, &mut load) {
        load.broken = Some(format!("{error:#}"));
    }
    load
}

fn open_requests(
    plan: &Plan,
    per_second: u32,
    start_ns: u64,
    slots: impl Iterator<Item = usize>,
    load: &mut Load,
) -> anyhow::Result<()> {
    let mut stream = std::net::TcpStream::connect(plan.server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
    let mut buffer = Vec::with_capacity(READ_BYTES);
    let mut part = [0; READ_BYTES];
    for slot in slots {
        let due_ns = start_ns + slot as u64 * 1_000_000_000 / u64::from(per_second);
        std::thread::sleep(Duration::from_nanos(due_ns.saturating_sub(now_ns())));
        stream.write_all(&plan.requests[slot % plan.requests.len()])?;
        let answer = loop {
            let count = stream.read(&mut part).context("no answer")?;
            if count == 0 {
                bail!("the server closed the connection");
            }
            buffer.extend_from_slice(&part[..count]);
            if let Some(answer) = take_answer(&mut buffer)? {
                break answer;
            }
        };
        load.note(due_ns, &answer);
    }
    Ok(())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("plans last minutes")
}
