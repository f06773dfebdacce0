//! The relay as people use it: `hookpost serve`, `hookpost listen`, a network
//! between them that fails, and a program that counts what comes.
//!
//! Asked for in the environment: `HOOKPOST_RELAY_SILENCE_S`, how long the
//! network is silent, `HOOKPOST_RELAY_KILLS`, how often the server is killed,
//! and `HOOKPOST_RELAY_EVENTS`, how many events are compared; `HOOKPOST_BIN`
//! for another executable.

mod mixed;
mod program;
mod proxy;
mod scene;
mod wire;

use std::env;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use self::program::Program;
use self::proxy::Proxy;
use self::scene::{Ledger, Scene, TOKEN, UNORDERED, answer_numbered, listen, number_of, told};
use self::wire::{Message, Sender};
use crate::support::patience::{PATIENCE, wait_for};
use crate::support::remote_command::{application, message, post};
use crate::support::server_process::{ServerProcess, lasting_address};

/// Longer than either end takes for the other to be away: 20 s and 31 s.
const SILENCE_S: u64 = 36;
/// Longer than the server takes, and shorter than the listener does.
const SHORT_SILENCE: Duration = Duration::from_secs(27);
const KILLS: usize = 4;
const EVENTS: usize = 1_000;
/// Events of all that have the largest body, and as many answers.
const LARGE: usize = 20;
const SENDERS_OF_MIXED: usize = 32;

fn asked<T: FromStr>(name: &str, default: T) -> T {
    let Ok(text) = env::var(name) else {
        return default;
    };
    let parsed = text.parse().ok();
    parsed.unwrap_or_else(|| panic!("{name} is no number: {text}"))
}

/// What becomes of the network.
#[derive(Clone, Copy, Debug)]
enum Silence {
    /// Nothing comes through until it is over.
    Of(Duration),
    /// Nothing comes through any more by the connections that there are.
    OfOldConnections(Duration),
}

#[test]
fn a_silent_network_loses_nothing_and_doubles_nothing() {
    let long = Duration::from_secs(asked("HOOKPOST_RELAY_SILENCE_S", SILENCE_S));
    thread::scope(|scope| {
        for silence in [
            Silence::Of(long),
            Silence::Of(SHORT_SILENCE),
            Silence::OfOldConnections(long),
        ] {
            scope.spawn(move || be_silent(silence));
        }
        // Beside these, because it takes as long.
        scope.spawn(be_slow);
    });
}

/// A network that needs longer for one answer than an end may be silent.
fn be_slow() {
    const ANSWER_BYTES: usize = 2_000_000;
    const BYTES_PER_SECOND: usize = 120_000;
    let scene = Scene::set(|_| Message::new("200", vec![b'x'; ANSWER_BYTES]));
    scene.proxy.slow_down(BYTES_PER_SECOND);
    let request = Message::new(format!("POST /in/{TOKEN}/"), "{}");
    let answer = scene.sender().send(&request).expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.body.len(), ANSWER_BYTES);
    assert_eq!(scene.proxy.connections(), 1, "{}", scene.listener.out());
}

fn be_silent(silence: Silence) {
    const SENDERS: usize = 3;
    /// Answered while the network goes silent, and sent after that.
    const BURST: usize = 20;
    let scene = Scene::set(answer_numbered);
    let (ledger, over) = (Ledger::default(), AtomicBool::new(false));
    let moment = Duration::from_millis(20);
    thread::scope(|scope| {
        for first in 0..SENDERS {
            let (ledger, over, mut sender) = (&ledger, &over, scene.sender());
            scope.spawn(move || {
                let mut numbers = (first..UNORDERED).step_by(SENDERS);
                while let Some(number) = numbers.next().filter(|_| !over.load(Ordering::SeqCst)) {
                    ledger.send(&mut sender, number, moment);
                    thread::sleep(20 * moment);
                }
            });
        }
        let burst = |first: usize, takes| {
            for number in first..first + BURST {
                let (ledger, mut sender) = (&ledger, scene.sender());
                scope.spawn(move || ledger.send(&mut sender, number, takes));
            }
        };
        thread::sleep(50 * moment);
        burst(UNORDERED, 50 * moment);
        thread::sleep(25 * moment);
        match silence {
            Silence::Of(_) => scene.proxy.silence_all(),
            Silence::OfOldConnections(_) => scene.proxy.silence_old(),
        }
        let before = scene.proxy.connections();
        burst(UNORDERED + BURST, moment);
        let (Silence::Of(time) | Silence::OfOldConnections(time)) = silence;
        thread::sleep(time);
        if let Silence::Of(_) = silence {
            scene.proxy.end_silence();
        }
        scene.is_back(1);
        assert!(scene.proxy.connections() > before, "by another connection");
        // What was held back comes out of the network now, long after its time.
        scene.proxy.end_silence();
        thread::sleep(100 * moment);
        over.store(true, Ordering::SeqCst);
    });
    scene.at_rest();
    let last = UNORDERED + 2 * BURST;
    let answered = ledger.count(Some(200));
    ledger.send(&mut scene.sender(), last, moment);
    assert_eq!(
        ledger.count(Some(200)),
        answered + 1,
        "it is answered again"
    );
    assert!(ledger.count(Some(202)) > BURST, "some were kept");
    assert_eq!(ledger.count(None), 0, "each sender has an answer");
    eprintln!("{silence:?}:");
    ledger.judge(&scene, SENDERS);
}

#[test]
fn a_server_that_is_killed_or_stopped_loses_nothing_and_doubles_nothing() {
    const SENDERS: usize = 8;
    /// Answered between two kills.
    const BETWEEN: usize = 100;
    let mut scene = Scene::set(answer_numbered);
    let (ledger, over) = (Ledger::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        for first in 0..SENDERS {
            let (ledger, over, mut sender) = (&ledger, &over, scene.sender());
            scope.spawn(move || {
                let mut numbers = (first..UNORDERED).step_by(SENDERS);
                while let Some(number) = numbers.next().filter(|_| !over.load(Ordering::SeqCst)) {
                    let takes = if number.is_multiple_of(10) { 50 } else { 1 };
                    ledger.send(&mut sender, number, Duration::from_millis(takes));
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        for kill in 0..asked("HOOKPOST_RELAY_KILLS", KILLS) {
            let before = ledger.count(Some(200));
            let enough = || (ledger.count(Some(200)) >= before + BETWEEN).then_some(());
            wait_for(PATIENCE, enough).expect("it is answered");
            if kill % 2 == 0 {
                scene.server.kill9();
            } else {
                let ended = scene.server.terminate();
                assert!(ended.success(), "{ended}");
            }
            scene.server.restart();
            scene.is_back(kill + 1);
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(ledger.count(None) > 0, "some were cut off");
    ledger.judge(&scene, SENDERS);
}

#[test]
fn a_program_that_is_down_is_told_as_such_and_gets_a_replay_when_it_is_up() {
    let server = ServerProcess::start();
    let proxy = Proxy::open(server.address());
    let address = lasting_address();
    let listener = listen(&server, &proxy, &format!("http://{address}/hook"));
    let reason = format!("connection refused at {address}");

    // A sender from elsewhere.
    let request = Message::new(format!("POST /in/{TOKEN}/"), "{}");
    let answer = Sender::new(server.address()).send(&request).unwrap();
    assert_eq!(answer.status(), 502, "{answer:?}");
    // Where the program is, is not for senders.
    assert_eq!(answer.body, b"The listener's program gave no answer.");
    let path = format!("/inboxes/{TOKEN}/received");
    let kept = server.api("GET", &path, b"").json()[0].clone();
    assert_eq!(kept["answerStatus"], 502, "{kept:#}");
    assert_eq!(kept["relayed"]["state"], "answered", "{kept:#}");
    assert_eq!(kept["relayed"]["detail"], reason, "{kept:#}");
    let line = &told(&listener, "event", 1)[0];
    assert_eq!(line["outcome"], "failed", "{line:#}");
    assert_eq!(line["status"], 502, "{line:#}");
    assert_eq!(line["error"], reason, "{line:#}");

    // A delivery of this server, replayed when the program is there.
    let app = application(&server, "app");
    let url = told(&listener, "listening", 1)[0]["url"].clone();
    let endpoint = json!({"url": url, "uid": "ep", "retrySchedule": []});
    post(
        &server,
        &format!("/applications/{app}/endpoints"),
        &endpoint,
    );
    let message = message(&server, &app, "a.b");
    let stands = |status: &str| {
        let path = format!("/applications/{app}/messages/{message}/endpoint-messages");
        let look = || {
            let delivery = server.api("GET", &path, b"").json()[0].clone();
            (delivery["status"] == status).then_some(())
        };
        wait_for(PATIENCE, look).unwrap_or_else(|| panic!("it is not {status}"));
    };
    stands("failed");
    let program = Program::open(address, |_| Message::new("200", "thanks"));
    let path = format!("/applications/{app}/messages/{message}/endpoints/ep/replays");
    post(&server, &path, &json!({}));
    stands("success");
    let came = program.came();
    let ids: Vec<_> = came.iter().map(|came| came.header("webhook-id")).collect();
    assert_eq!(ids, [Some(&*message)]);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "what is measured is two other processes"
)]
fn events_and_answers_of_every_kind_come_through_to_the_byte() {
    let events = asked("HOOKPOST_RELAY_EVENTS", EVENTS);
    let every = (events / LARGE).max(2);
    let scene = Scene::set(|request| {
        let method = request.first.split(' ').next().unwrap_or_default();
        let large = request.header("x-answer") == Some("large");
        mixed::answer(number_of(request), large, method)
    });
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..SENDERS_OF_MIXED {
            scope.spawn(|| {
                let mut sender = scene.sender();
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= events {
                        return;
                    }
                    if let Err(why) = exchange(&mut sender, number, every) {
                        wrong.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    let took = start.elapsed();
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} wrong: {}", wrong.len(), wrong[0]);
    println!("{events} events in {took:?}");
    compare(&scene, events, every);
}

fn request(number: usize, every: usize) -> Message {
    let large = number % every == every - 1;
    let answer = if number.is_multiple_of(every) {
        "large"
    } else {
        "small"
    };
    mixed::request(number, large).with("x-answer", answer)
}

/// Sends a request, and compares its answer.
fn exchange(sender: &mut Sender, number: usize, every: usize) -> Result<(), String> {
    let request = request(number, every);
    let method = request.first.split(' ').next().unwrap_or_default();
    let answer = sender.send(&request);
    let answer = answer.map_err(|error| format!("{number}: {error}"))?;
    let want = mixed::answer(number, number.is_multiple_of(every), method);
    differ(number, answer.end_to_end(), want.end_to_end())
}

/// Compares what came with what was sent.
fn compare(scene: &Scene, events: usize, every: usize) {
    let came = std::mem::take(&mut *scene.program.came());
    assert_eq!(came.len(), events);
    let mut seen = vec![false; events];
    for came in came {
        let number = number_of(&came);
        assert!(!seen[number], "{number} came twice");
        seen[number] = true;
        let want = mixed::arrives(request(number, every));
        differ(number, came.end_to_end(), want).unwrap_or_else(|why| panic!("{why}"));
    }
}

/// Says what is not the same, without large bodies.
fn differ(number: usize, got: Message, want: Message) -> Result<(), String> {
    if got == want {
        return Ok(());
    }
    let same_body = got.body == want.body;
    let without_body = |message| Message {
        body: Vec::new(),
        ..message
    };
    let (got, want) = (without_body(got), without_body(want));
    Err(format!(
        "{number}, body the same: {same_body}\ngot  {got:?}\nwant {want:?}"
    ))
}
