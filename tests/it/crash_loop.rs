//! The executable is killed again and again under load, and what it
//! acknowledged is looked for afterwards.
//!
//! A series of rounds has a store of its own. In every round senders post as
//! fast as they can until the server is killed, or asked to stop, at a random
//! moment; then it is started again over the same store. Senders and sink write
//! down what they saw; at the end of the series the books are compared with the
//! store ([`audit`]).
//!
//! `HOOKPOST_CRASH_ROUNDS` asks for more rounds, `HOOKPOST_CRASH_LOOP_SEED` for
//! others. A seed repeats what is decided here, not what the threads make of it.

mod audit;
mod ledger;
mod sink;

use std::env;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::http_client::{Connection, Response};
use crate::support::patience::{PATIENCE, wait_for};
use crate::support::server_process::{ServerProcess, executable};
use ledger::{Ledger, Outbox, Post};
use sink::{ENDPOINTS, Sink};

const ROUNDS: u32 = 50;
/// Rounds over one store.
const ROUNDS_PER_SERIES: u32 = 50;
const SEED: u64 = 1;
const SENDERS: u64 = 3;
/// Messages of one sender in one round.
const POSTS_MAX: u64 = 130;
/// Every other series.
const DURABILITIES: [&str; 2] = ["safe", "fast"];
/// How long the load lasts before the server ends: from here, this long.
const LOAD_MIN_MS: u64 = 5;
const LOAD_SPAN_MS: u64 = 500;
/// Starts that are broken off before a store is first ready, and how late at most.
const STARTS_OF_A_NEW_STORE: u32 = 3;
const START_BROKEN_OFF_MAX_MS: u64 = 50;
/// What an attempt that fails is followed by.
const RETRIES: [&str; 3] = ["20ms", "50ms", "100ms"];
/// Faults that are printed.
const FAULTS_SHOWN: usize = 30;

/// How long a start may take after a crash.
fn ready_max() -> Duration {
    let optimised = executable()
        .components()
        .any(|part| part.as_os_str() == "release");
    Duration::from_secs(if optimised { 2 } else { 20 })
}

/// The event types, by the endpoints that subscribe to them.
const ROUTES: [&[usize]; 8] = [
    &[0],
    &[1],
    &[2],
    &[3],
    &[0, 2],
    &[1, 3],
    &[0, 1, 2],
    &[0, 1, 2, 3],
];

#[test]
fn nothing_that_was_acknowledged_is_lost_by_kill_9() {
    let rounds = setting("HOOKPOST_CRASH_ROUNDS").unwrap_or(u64::from(ROUNDS));
    let seed = setting("HOOKPOST_CRASH_LOOP_SEED").unwrap_or(SEED);
    let mut left = u32::try_from(rounds).expect("fewer rounds than that");
    let mut figures = Figures::default();
    for number in 0.. {
        if left == 0 {
            break;
        }
        let rounds = left.min(ROUNDS_PER_SERIES);
        left -= rounds;
        let mut series = Series::begin(number, seed);
        for _ in 0..rounds {
            series.round();
        }
        let (faults, of_series) = series.end();
        figures.add(&of_series);
        if !faults.is_empty() {
            println!("crash loop: {figures}");
            let shown = &faults[..faults.len().min(FAULTS_SHOWN)];
            panic!(
                "seed {seed}, series {number}: {} faults, the first:\n{}",
                faults.len(),
                shown.join("\n")
            );
        }
    }
    println!("crash loop: {figures}");
}

fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, and no number")),
    )
}

/// Numbers that a seed decides: `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// How a run of the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It may have lost the record of what it was doing.
    Killed,
    /// It had the time to record everything.
    Stopped,
}

/// One start of the server and what followed. Its place in the list is its number.
struct Run {
    /// On the clock of the machine, by which attempts can be told apart.
    started_ms: u64,
    ended: Option<(Ending, Instant)>,
}

/// Rounds over one store.
struct Series {
    dice: Dice,
    server: ServerProcess,
    sink: Sink,
    ledger: Ledger,
    outbox: Outbox,
    runs: Vec<Run>,
    faults: Vec<String>,
    figures: Figures,
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is measured is another process"
)]
impl Series {
    /// A store with an application and its endpoints.
    fn begin(number: u64, seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_add(number << 32));
        let schedule = RETRIES.join(",");
        let server = ServerProcess::never_started(&[
            "--retry-schedule",
            &schedule,
            "--durability",
            DURABILITIES[usize::from(!number.is_multiple_of(2))],
            "--sockets-max",
            "64",
            "--attempt-timeout",
            "5s",
        ]);
        let mut series = Self {
            sink: Sink::open(dice.roll()),
            outbox: Outbox::new(&server),
            dice,
            server,
            ledger: Ledger::default(),
            runs: Vec::new(),
            faults: Vec::new(),
            figures: Figures::default(),
        };
        // A store that is half made must not be in the way.
        for _ in 0..STARTS_OF_A_NEW_STORE {
            series.start_in_vain();
        }
        series.start();
        series.register();
        series
    }

    fn register(&self) {
        let body = json!({ "name": "crash loop", "uid": "app" }).to_string();
        let created = self.server.api("POST", "/applications", body.as_bytes());
        assert_eq!(created.status, 201, "{}", created.text());
        for endpoint in 0..ENDPOINTS {
            let types = (0..ROUTES.len()).filter(|&route| ROUTES[route].contains(&endpoint));
            let body = json!({
                "url": self.sink.url(endpoint),
                "uid": endpoint_uid(endpoint),
                "eventTypes": types.map(event_type).collect::<Vec<_>>(),
            });
            let path = "/applications/app/endpoints";
            let created = self.server.api("POST", path, body.to_string().as_bytes());
            assert_eq!(created.status, 201, "{}", created.text());
        }
    }

    /// Load until the server ends, and the next start.
    fn round(&mut self) {
        self.figures.rounds += 1;
        let load = Duration::from_millis(LOAD_MIN_MS + self.dice.below(LOAD_SPAN_MS));
        let ending = if self.dice.one_in(6) {
            Ending::Stopped
        } else {
            Ending::Killed
        };
        let posts = self.posts();
        let senders: Vec<_> = posts
            .into_iter()
            .map(|posts| {
                let outbox = self.outbox.clone();
                thread::spawn(move || outbox.send(posts))
            })
            .collect();
        thread::sleep(load);
        self.finish(ending);
        for sender in senders {
            let sent = sender.join().expect("a sender does not panic");
            self.ledger.enter(sent, ending, &mut self.faults);
        }
        if self.dice.one_in(6) {
            self.start_in_vain();
        }
        self.start();
        self.look_for_the_last();
    }

    /// What the senders send in one round: what was left unanswered, and new.
    fn posts(&mut self) -> Vec<Vec<Post>> {
        let again = self.ledger.take_to_repeat();
        let mut shares: Vec<Vec<Post>> = (0..SENDERS).map(|_| Vec::new()).collect();
        for (post, sender) in again.into_iter().zip((0..shares.len()).cycle()) {
            shares[sender].push(post);
        }
        for share in &mut shares {
            for _ in 0..=self.dice.below(POSTS_MAX) {
                share.push(self.ledger.new_post(&mut self.dice));
            }
        }
        shares
    }

    fn start(&mut self) {
        self.note_start();
        let start = Instant::now();
        self.server.restart();
        let took = start.elapsed();
        if took > ready_max() {
            self.faults
                .push(format!("it was ready only after {took:?}"));
        }
        self.figures.ready_max = self.figures.ready_max.max(took);
    }

    /// A start that is broken off.
    fn start_in_vain(&mut self) {
        self.note_start();
        let time = Duration::from_millis(self.dice.below(START_BROKEN_OFF_MAX_MS));
        if let Some(status) = self.server.run_for(time) {
            self.faults
                .push(format!("a start ended by itself: {status}"));
        }
        self.figures.kills_in_start += 1;
        self.note_end(Ending::Killed);
    }

    fn finish(&mut self, ending: Ending) {
        match ending {
            Ending::Killed => {
                self.server.kill9();
                self.figures.kills += 1;
            }
            Ending::Stopped => {
                let status = self.server.terminate();
                if !status.success() {
                    self.faults.push(format!("SIGTERM: {status}"));
                }
                self.figures.stops += 1;
            }
        }
        self.note_end(ending);
    }

    fn note_start(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("it is later than 1970").as_millis();
        self.sink.begin_run(self.runs.len());
        self.runs.push(Run {
            started_ms: u64::try_from(now).expect("it is not that late"),
            ended: None,
        });
    }

    fn note_end(&mut self, ending: Ending) {
        let run = self.runs.last_mut().expect("the server was started");
        run.ended = Some((ending, Instant::now()));
        self.sink.settle();
    }

    /// The number of the run at that time.
    fn run_at(&self, time_ms: u64) -> usize {
        let later = self.runs.partition_point(|run| run.started_ms <= time_ms);
        later.saturating_sub(1)
    }

    /// After a start: whether what was acknowledged last is there.
    fn look_for_the_last(&mut self) {
        let mut client = Client::new(&self.server);
        for (number, id) in self.ledger.acknowledged_last() {
            let path = format!("/applications/app/messages/{id}");
            let read = client.get(&path);
            let kept = format!("\"payload\":{}", ledger::payload(*number));
            if read.status != 200 || !read.text().contains(&kept) {
                self.figures.lost += 1;
                let what = read.text();
                self.faults.push(format!(
                    "message {number} ({id}) after a restart: {} {}",
                    read.status,
                    &what[..what.len().min(200)]
                ));
            }
        }
    }

    /// Lets the server come to rest, and compares the books.
    fn end(mut self) -> (Vec<String>, Figures) {
        let again = self.ledger.take_to_repeat();
        let sent = self.outbox.send(again);
        self.ledger.enter(sent, Ending::Stopped, &mut self.faults);
        let rest = wait_for(PATIENCE * 3, || {
            let store = self.server.api("GET", "/store", b"").json();
            (store["waiting"] == 0 && store["inFlight"] == 0).then_some(())
        });
        if rest.is_none() {
            let store = self.server.api("GET", "/store", b"").text();
            self.faults.push(format!("deliveries still wait: {store}"));
        }
        // Once more down and up, so that what is compared was read from the disk.
        self.finish(Ending::Stopped);
        self.start();
        if self.server.output().contains("panicked") {
            self.faults.push("the server panicked".to_owned());
        }
        let mut faults = std::mem::take(&mut self.faults);
        self.figures.acknowledged = self.ledger.acknowledged_count();
        self.figures.file_bytes_max = self.server.api("GET", "/store", b"").json()["fileBytes"]
            .as_u64()
            .expect("a size");
        let found = audit::audit(&self, &mut faults);
        self.figures.add(&found);
        (faults, self.figures)
    }
}

fn event_type(route: usize) -> String {
    format!("route.{route}")
}

fn endpoint_uid(endpoint: usize) -> String {
    format!("endpoint-{endpoint}")
}

/// Reads of the API over one connection, of a server that has to answer.
struct Client {
    connection: Connection,
    authorization: String,
}

impl Client {
    fn new(server: &ServerProcess) -> Self {
        Self {
            connection: Connection::open(server.address()).expect("the server listens"),
            authorization: format!("Bearer {}", server.api_key()),
        }
    }

    fn get(&mut self, path: &str) -> Response {
        let headers = [("authorization", self.authorization.as_str())];
        self.connection
            .request("GET", &format!("/api/v1{path}"), &headers, b"")
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// All of a list that is paged by `before`, newest first.
    fn list(&mut self, path: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let mut query = String::from("?pageSize=250");
        loop {
            let page = self.get(&format!("{path}{query}"));
            assert_eq!(page.status, 200, "{}", page.text());
            let Value::Array(rows) = page.json() else {
                panic!("{path} is no list");
            };
            found.extend(rows);
            if page.header("link").is_none() {
                return found;
            }
            let last = found.last().expect("a page with a next one has rows");
            let last = last["id"].as_str().expect("an id");
            query = format!("?pageSize=250&before={last}");
        }
    }
}

/// What is printed at the end.
#[derive(Clone, Debug, Default)]
struct Figures {
    rounds: u32,
    kills: u32,
    kills_in_start: u32,
    stops: u32,
    acknowledged: usize,
    /// Deliveries that ended in success.
    delivered: usize,
    /// Deliveries that used their retries up.
    exhausted: usize,
    attempts: usize,
    lost: usize,
    /// Arrivals of what had been answered with 200 before.
    duplicates: usize,
    /// Attempts that were answered and that a kill left unrecorded: in all, at
    /// one kill at most, and how long before the kill the oldest had arrived.
    unrecorded: usize,
    unrecorded_max: usize,
    unrecorded_age_max: Duration,
    ready_max: Duration,
    file_bytes_max: u64,
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.kills += other.kills;
        self.kills_in_start += other.kills_in_start;
        self.stops += other.stops;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.exhausted += other.exhausted;
        self.attempts += other.attempts;
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.unrecorded += other.unrecorded;
        self.unrecorded_max = self.unrecorded_max.max(other.unrecorded_max);
        self.unrecorded_age_max = self.unrecorded_age_max.max(other.unrecorded_age_max);
        self.ready_max = self.ready_max.max(other.ready_max);
        self.file_bytes_max = self.file_bytes_max.max(other.file_bytes_max);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rounds, {} kills under load, {} in a start, {} stops; {} acknowledged, \
             {} delivered, {} exhausted, {} attempts; {} lost, {} duplicates; \
             {} in flight at the kills, at most {} at one, the oldest for {} ms; \
             longest time to ready {} ms; largest file {} KB",
            self.rounds,
            self.kills,
            self.kills_in_start,
            self.stops,
            self.acknowledged,
            self.delivered,
            self.exhausted,
            self.attempts,
            self.lost,
            self.duplicates,
            self.unrecorded,
            self.unrecorded_max,
            self.unrecorded_age_max.as_millis(),
            self.ready_max.as_millis(),
            self.file_bytes_max / 1000,
        )
    }
}
