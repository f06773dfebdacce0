//! A key that is revoked, rotated or expires stops at once, while a thousand
//! requests a second come in with it: the real executable, over real
//! connections, in real time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hookpost::domain::time::Timestamp;
use hookpost::seams::clock::{Clock as _, Stopwatch, SystemClock};
use serde_json::{Value, json};

use crate::support::http_client::Connection;
use crate::support::server_process::ServerProcess;

const CONNECTIONS: usize = 8;
/// Requests a second that a run should hold, before and after.
const RATE_WANTED: f64 = 1_000.0;
/// How long requests come in before the key is stopped, and after.
const BEFORE: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_millis(1_200);
/// The lifetime of the key that expires, as the API takes it.
const LIFETIME_S: u64 = 5;

/// What a connection saw.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    let_through: u64,
    refused: u64,
    /// Let through, though sent when the key was known to be stopped.
    late: u64,
    /// Sent when the key was known to be stopped.
    after: u64,
    otherwise: u64,
}

impl Counted {
    fn and(self, other: Self) -> Self {
        Self {
            let_through: self.let_through + other.let_through,
            refused: self.refused + other.refused,
            late: self.late + other.late,
            after: self.after + other.after,
            otherwise: self.otherwise + other.otherwise,
        }
    }
}

/// Asks with `key` again and again, until `ended`; `stopped` says whether the
/// key is known to be stopped.
fn ask_on(
    address: SocketAddr,
    key: &str,
    ended: &AtomicBool,
    stopped: &(impl Fn() -> bool + Sync),
) -> Counted {
    let mut connection = Connection::open(address).expect("it listens");
    let headers = [("authorization", key)];
    let mut counted = Counted::default();
    while !ended.load(Ordering::Acquire) {
        let after = stopped();
        let answer = connection.request("GET", "/api/v1/applications", &headers, b"");
        match answer.expect("an answer").status {
            200 => {
                counted.let_through += 1;
                counted.late += u64::from(after);
            }
            401 => counted.refused += 1,
            _ => counted.otherwise += 1,
        }
        counted.after += u64::from(after);
    }
    counted
}

fn make(server: &ServerProcess, fields: &Value) -> Value {
    let made = server.api("POST", "/keys", fields.to_string().as_bytes());
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()
}

fn text<'a>(made: &'a Value, name: &str) -> &'a str {
    made[name].as_str().expect("a text")
}

/// Lets requests come in with `key` while `stop` runs, and says what came of them.
fn hammer(
    what: &str,
    server: &ServerProcess,
    key: &str,
    stopped: &(impl Fn() -> bool + Sync),
    stop: impl FnOnce(),
) -> Counted {
    let ended = AtomicBool::new(false);
    let stopwatch = Stopwatch::default();
    let counted = thread::scope(|scope| {
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|_| scope.spawn(|| ask_on(server.address(), key, &ended, stopped)))
            .collect();
        thread::sleep(BEFORE);
        stop();
        thread::sleep(AFTER);
        ended.store(true, Ordering::Release);
        let joined = connections
            .into_iter()
            .map(|one| one.join().expect("it ends"));
        joined.fold(Counted::default(), Counted::and)
    });
    let seconds = stopwatch.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let rate = (counted.let_through + counted.refused) as f64 / seconds;
    let held = if rate < RATE_WANTED {
        ", less than wanted"
    } else {
        ""
    };
    eprintln!("{what}: {rate:.0} requests a second{held}, {counted:?}");
    assert_eq!(
        counted.late, 0,
        "{what}: let through after the key was stopped"
    );
    assert_eq!(counted.otherwise, 0, "{what}");
    assert!(counted.let_through > 0, "{what}: the key worked before");
    assert!(
        counted.after > 0,
        "{what}: requests came in after it was stopped"
    );
    counted
}

#[test]
fn a_key_stops_at_once_while_requests_come_in() {
    let server = ServerProcess::start();
    let made = make(&server, &json!({"name": "revoked"}));
    let answered = AtomicBool::new(false);
    let known = || answered.load(Ordering::Acquire);
    hammer("revoked", &server, text(&made, "key"), &known, || {
        let path = format!("/keys/{}", text(&made, "id"));
        assert_eq!(server.api("DELETE", &path, b"").status, 200);
        answered.store(true, Ordering::Release);
    });

    let made = make(&server, &json!({"name": "rotated"}));
    let answered = AtomicBool::new(false);
    let known = || answered.load(Ordering::Acquire);
    hammer("rotated", &server, text(&made, "key"), &known, || {
        let path = format!("/keys/{}/rotations", text(&made, "id"));
        let rotated = server.api("POST", &path, b"");
        answered.store(true, Ordering::Release);
        assert_eq!(rotated.status, 201);
        let headers = [("authorization", text(&rotated.json(), "key").to_owned())];
        let headers = headers.each_ref().map(|(name, key)| (*name, key.as_str()));
        let mut connection = Connection::open(server.address()).expect("it listens");
        let asked = connection.request("GET", "/api/v1/applications", &headers, b"");
        assert_eq!(asked.expect("an answer").status, 200, "the new text works");
    });

    let made = make(
        &server,
        &json!({"name": "brief", "expiresInSeconds": LIFETIME_S}),
    );
    let expires = Timestamp(made["expires"].as_u64().expect("a time"));
    let known = || SystemClock.now() >= expires;
    hammer("expired", &server, text(&made, "key"), &known, || {
        let left = expires.since(SystemClock.now());
        thread::sleep(left.min(Duration::from_secs(LIFETIME_S)));
    });
}
