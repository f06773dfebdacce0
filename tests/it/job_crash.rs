//! A long recovery, cancelled and killed in the middle: each delivery is made
//! once, whatever happened.
//!
//! `HOOKPOST_JOB_DELIVERIES` asks for more deliveries than the few thousand of
//! every run, `HOOKPOST_BIN` for another executable.

use std::collections::HashMap;
use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http_client::Connection;
use crate::support::patience::{PATIENCE, wait_for};
use crate::support::server_process::ServerProcess;

const DELIVERIES: usize = 3_000;
const SENDERS: usize = 4;
/// Fewer are held back by a pace, so that there is a middle to act in.
const QUICK: usize = 30_000;
/// Attempts that may be made and not yet on disk when the server is killed:
/// what flies in one lane, and what ended in the time of a few commits.
const UNRECORDED_MAX: usize = 1_500;
/// How long the whole may take for each thousand deliveries.
const PATIENCE_PER_THOUSAND: Duration = Duration::from_secs(10);

/// An endpoint that is broken, then mended, and counts what comes.
struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    mended: AtomicBool,
    count: AtomicUsize,
    came: Mutex<HashMap<String, u32>>,
}

impl Sink {
    fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        // Ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || {
                    // An error is how a killed server looks from here.
                    let _ = shared.converse(&stream);
                });
            }
        });
        Self { address, shared }
    }

    /// Answers 200 from now on, and forgets what came before.
    fn mend(&self) {
        self.shared.came().clear();
        self.shared.count.store(0, Ordering::SeqCst);
        self.shared.mended.store(true, Ordering::SeqCst);
    }

    fn count(&self) -> usize {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// How often each message came.
    fn came(&self) -> HashMap<String, u32> {
        self.shared.came().clone()
    }
}

impl Shared {
    fn came(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn converse(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut reader, mut writer) = (BufReader::new(stream), stream);
        while let Some(message) = read_request(&mut reader)? {
            *self.came().entry(message).or_default() += 1;
            self.count.fetch_add(1, Ordering::SeqCst);
            let status = if self.mended.load(Ordering::SeqCst) {
                "200 OK"
            } else {
                "500 Internal Server Error"
            };
            write!(writer, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")?;
        }
        Ok(())
    }
}

/// Reads one request; its `webhook-id`, or `None` at the end.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let (mut message, mut body_bytes) = (String::new(), 0);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.split_once(':') else {
            if line == "\r\n" {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "webhook-id" => value.trim().clone_into(&mut message),
            "content-length" => body_bytes = value.trim().parse().map_err(io::Error::other)?,
            _ => {}
        }
    }
    io::copy(&mut reader.take(body_bytes), &mut io::sink())?;
    Ok(Some(message))
}

/// A server with an application `app` and an endpoint `ep`.
struct Scene {
    server: ServerProcess,
    sink: Sink,
    deliveries: usize,
    patience: Duration,
}

impl Scene {
    fn set(deliveries: usize) -> Self {
        let mut server = ServerProcess::never_started(&[]);
        server.restart();
        let sink = Sink::open();
        let thousands = u32::try_from(deliveries / 1000).expect("fewer than that");
        let scene = Self {
            server,
            sink,
            deliveries,
            patience: PATIENCE + PATIENCE_PER_THOUSAND * thousands,
        };
        scene.post("/applications", &json!({"name": "n", "uid": "app"}), 201);
        let url = format!("http://{}/", scene.sink.address);
        let endpoint = json!({"url": url, "uid": "ep", "retrySchedule": []});
        scene.post("/applications/app/endpoints", &endpoint, 201);
        scene
    }

    fn post(&self, path: &str, body: &Value, status: u16) -> Value {
        let answer = self.server.api("POST", path, body.to_string().as_bytes());
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        answer.json()
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.server.api("GET", path, b"");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// Sends all messages, of which each fails once, for good.
    fn fail_all(&self) {
        thread::scope(|scope| {
            for sender in 0..SENDERS {
                scope.spawn(move || self.send((sender..self.deliveries).step_by(SENDERS)));
            }
        });
        let store = self.at_rest();
        assert_eq!(store["attempts"], self.deliveries);
    }

    fn send(&self, numbers: impl Iterator<Item = usize>) {
        let mut connection = Connection::open(self.server.address()).expect("it listens");
        let authorization = format!("Bearer {}", self.server.api_key());
        let headers = [("authorization", authorization.as_str())];
        for n in numbers {
            let body = json!({"eventType": "a.b", "payload": {"n": n}}).to_string();
            let path = "/api/v1/applications/app/messages";
            let answer = connection
                .request("POST", path, &headers, body.as_bytes())
                .expect("an answer");
            assert_eq!(answer.status, 202, "{}", answer.text());
        }
    }

    /// Waits until nothing is due or in flight; what `/store` says then.
    fn at_rest(&self) -> Value {
        let look = || {
            let store = self.get("/store");
            (store["waiting"] == 0 && store["inFlight"] == 0).then_some(store)
        };
        wait_for(self.patience, look).expect("all is sent")
    }

    fn count(&self) -> Value {
        let path = "/applications/app/endpoints/ep/recoveries?dryRun=true";
        self.post(path, &json!({"since": 0}), 200)
    }

    fn recover(&self) -> Job<'_> {
        let rate = if self.deliveries < QUICK {
            self.deliveries / 10
        } else {
            0
        };
        let body = json!({"since": 0, "ratePerSecond": rate});
        let job = self.post("/applications/app/endpoints/ep/recoveries", &body, 202);
        Job {
            scene: self,
            id: job["id"].as_str().expect("an id").to_owned(),
            total: number(&job, "total"),
        }
    }

    fn job(&self, id: &str) -> Value {
        self.get(&format!("/jobs/{id}"))
    }
}

fn number(job: &Value, name: &str) -> usize {
    let number = job[name].as_u64().expect("a number");
    usize::try_from(number).expect("not that many")
}

/// A recovery under way.
struct Job<'a> {
    scene: &'a Scene,
    id: String,
    total: usize,
}

impl Job<'_> {
    /// Waits until so many are done, and counts how often that was seen to grow.
    fn reaches(&self, done: usize) -> usize {
        let (mut last, mut grew) = (0, 0);
        let look = || {
            let job = self.scene.job(&self.id);
            assert_eq!(job["state"], "running", "it is too quick to be interrupted");
            let now = number(&job, "done");
            assert!(now >= last, "{now} after {last}");
            grew += usize::from(now > last);
            last = now;
            (now >= done).then_some(())
        };
        wait_for(self.scene.patience, look).expect("it goes on");
        grew
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "what is measured is another process"
)]
fn a_recovery_that_is_cancelled_and_killed_sends_each_delivery_once() {
    let deliveries = env::var("HOOKPOST_JOB_DELIVERIES").map_or(DELIVERIES, |text| {
        text.parse().expect("HOOKPOST_JOB_DELIVERIES is a number")
    });
    let mut scene = Scene::set(deliveries);
    let start = Instant::now();
    scene.fail_all();
    println!("{deliveries} failed deliveries in {:?}", start.elapsed());
    scene.sink.mend();
    let start = Instant::now();
    let counted = scene.count();
    println!("counted in {:?}: {counted}", start.elapsed());
    assert_eq!(counted, json!({"count": deliveries, "complete": true}));

    // Cancelled in the middle.
    let start = Instant::now();
    let job = scene.recover();
    assert_eq!(job.total, deliveries);
    let grew = job.reaches(deliveries / 3);
    assert!(grew > 1, "its progress was seen to grow {grew} times");
    let path = format!("/jobs/{}/cancellations", job.id);
    let cancelled = scene.post(&path, &json!({}), 200);
    assert_eq!(cancelled["state"], "cancelled");
    let first = number(&cancelled, "done");
    scene.at_rest();
    println!(
        "cancelled after {first}, seen to grow {grew} times, in {:?}",
        start.elapsed()
    );
    assert_eq!(scene.sink.count(), first, "what was done was sent, no more");
    assert!(scene.sink.came().values().all(|times| *times == 1));
    assert_eq!(number(&scene.count(), "count"), deliveries - first);

    // Started again, and killed in the middle.
    let start = Instant::now();
    let job = scene.recover();
    assert_eq!(job.total, deliveries - first);
    job.reaches((deliveries - first) / 2);
    let id = job.id;
    scene.server.kill9();
    let before = scene.sink.count() - first;
    println!("killed after {before} more, in {:?}", start.elapsed());

    // It goes on by itself.
    let start = Instant::now();
    scene.server.restart();
    println!("ready in {:?}", start.elapsed());
    let resumed = number(&scene.job(&id), "done");
    let ended = wait_for(scene.patience, || {
        let job = scene.job(&id);
        (job["state"] == "finished").then_some(job)
    });
    let ended = ended.expect("it ends");
    let store = scene.at_rest();
    let took = start.elapsed();
    let rest = deliveries - first - before.min(deliveries - first);
    println!(
        "resumed at {resumed}, finished in {took:?}: {:.0} a second",
        f64::from(u32::try_from(rest).expect("fewer than that")) / took.as_secs_f64()
    );
    assert_eq!(number(&ended, "done"), deliveries - first);
    assert_eq!(ended["skipped"], 0);
    judge(&scene, &store);
}

/// Each came, and came twice only when the kill took the record of it.
fn judge(scene: &Scene, store: &Value) {
    let came = scene.sink.came();
    assert_eq!(came.len(), scene.deliveries, "all came");
    // One failure and one success of each: nothing was made due twice.
    assert_eq!(store["attempts"], 2 * scene.deliveries);
    let twice: Vec<_> = came.iter().filter(|(_, times)| **times > 1).collect();
    eprintln!("{} came twice: in flight at the kill", twice.len());
    assert!(twice.len() <= UNRECORDED_MAX, "{} came twice", twice.len());
    for (message, times) in twice {
        assert_eq!(*times, 2, "{message}");
        let path = format!("/applications/app/messages/{message}/endpoint-messages");
        let delivery = scene.get(&path)[0].clone();
        assert_eq!(delivery["status"], "success", "{message}");
        assert_eq!(delivery["attemptCount"], 2, "{message}");
    }
    let left = scene.count();
    assert_eq!(left["count"], 0);
}
