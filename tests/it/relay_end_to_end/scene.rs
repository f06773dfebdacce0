//! A server, a listener and a program, with a network between the first two.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::program::{Answering, Program};
use super::proxy::Proxy;
use super::wire::{Message, Sender};
use crate::support::patience::{PATIENCE, wait_for};
use crate::support::remote_command::{Running, bare_command};
use crate::support::server_process::ServerProcess;

/// From this number on requests are sent beside one another.
pub(super) const UNORDERED: usize = 1_000_000;
pub(super) const TOKEN: &str = "c_0123456789012345678901";
/// Names a request.
pub(super) const NUMBER: &str = "x-number";
/// How long the program takes over a request, in ms.
const TAKES: &str = "x-takes";

pub(super) struct Scene {
    pub(super) server: ServerProcess,
    pub(super) proxy: Proxy,
    pub(super) program: Program,
    pub(super) listener: Running,
}

impl Scene {
    /// All of them up, and the listener at its place.
    pub(super) fn set(answering: Answering) -> Self {
        let program = Program::open((Ipv4Addr::LOCALHOST, 0), answering);
        let mut server = ServerProcess::never_started(&[]);
        server.restart();
        let proxy = Proxy::open(server.address());
        let listener = listen(&server, &proxy, &format!("http://{}/hook", program.address));
        Self {
            server,
            proxy,
            program,
            listener,
        }
    }

    pub(super) fn sender(&self) -> Sender {
        Sender::new(self.server.address())
    }

    /// Requests that wait for the listener, or for its answer.
    fn waiting(&self) -> Option<u64> {
        let path = format!("/inboxes/{TOKEN}");
        let answer = self.server.try_api("GET", &path, b"").ok()?;
        answer.json()["waiting"].as_u64()
    }

    /// Waits until the listener has answered all that was kept for it.
    #[track_caller]
    pub(super) fn at_rest(&self) {
        let done = wait_for(PATIENCE, || (self.waiting()? == 0).then_some(()));
        done.unwrap_or_else(|| panic!("{:?} still wait", self.waiting()));
    }

    /// Waits until the listener has come back so often.
    #[track_caller]
    pub(super) fn is_back(&self, times: usize) {
        let look = || {
            let told = told(&self.listener, "connection", 1);
            let back = told.iter().filter(|told| told["state"] == "connected");
            (back.count() >= times).then_some(())
        };
        wait_for(PATIENCE, look).unwrap_or_else(|| panic!("{}", self.listener.out()));
    }
}

/// The listener, once it has its place.
pub(super) fn listen(server: &ServerProcess, proxy: &Proxy, target: &str) -> Running {
    let mut command = bare_command(&["listen", target, "--token", TOKEN, "--output", "json"]);
    command
        .env("HOOKPOST_SERVER", format!("http://{}", proxy.address))
        .env("HOOKPOST_API_KEY", server.api_key());
    let listener = Running::start(&mut command);
    told(&listener, "listening", 1);
    listener
}

/// Lines of the listener that are of this kind, once there are so many.
#[track_caller]
pub(super) fn told(listener: &Running, kind: &str, count: usize) -> Vec<Value> {
    let look = || {
        let lines: Vec<Value> = listener
            .out()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|line| line.get(kind).cloned())
            .collect();
        (lines.len() >= count).then_some(lines)
    };
    wait_for(PATIENCE, look)
        .unwrap_or_else(|| panic!("no {count} of {kind}: {}{}", listener.out(), listener.err()))
}

/// A request of this number, over which the program takes so long.
pub(super) fn numbered(number: usize, takes: Duration) -> Message {
    let first = format!("POST /in/{TOKEN}/n/{number}");
    Message::new(first, json!({"number": number}).to_string())
        .with(NUMBER, number.to_string())
        .with(TAKES, takes.as_millis().to_string())
}

/// The program's answer to such a request.
pub(super) fn answer_numbered(request: &Message) -> Message {
    let takes = request.header(TAKES).and_then(|text| text.parse().ok());
    thread::sleep(Duration::from_millis(takes.unwrap_or(0)));
    Message::new("200", request.header(NUMBER).unwrap_or_default())
}

pub(super) fn number_of(request: &Message) -> usize {
    let number = request.header(NUMBER).and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("no number in {request:?}"))
}

/// What senders were told.
#[derive(Default)]
pub(super) struct Ledger {
    /// By number; none when there was no answer.
    told: Mutex<HashMap<usize, Option<u16>>>,
}

impl Ledger {
    /// Sends a request, and notes what its sender is told.
    pub(super) fn send(&self, sender: &mut Sender, number: usize, takes: Duration) {
        let answer = sender.send(&numbered(number, takes)).ok();
        let status = answer.as_ref().map(Message::status);
        if status == Some(200) {
            let body = answer.unwrap_or_default().body;
            assert_eq!(body, number.to_string().as_bytes(), "another's answer");
        }
        self.told().insert(number, status);
    }

    fn told(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Option<u16>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that were answered so.
    pub(super) fn count(&self, status: Option<u16>) -> usize {
        self.told().values().filter(|told| **told == status).count()
    }

    /// Checks that what was acknowledged reached the program once, and nothing
    /// reached it twice; what each of `senders` sent one after the other, in
    /// that order.
    pub(super) fn judge(&self, scene: &Scene, senders: usize) {
        scene.at_rest();
        let told = self.told();
        let came: Vec<usize> = scene.program.came().iter().map(number_of).collect();
        let mut times = HashMap::<usize, usize>::new();
        for number in &came {
            *times.entry(*number).or_default() += 1;
        }
        let acknowledged = |number: &usize| told[number].is_some_and(|s| (200..300).contains(&s));
        let mut lost: Vec<_> = told.keys().filter(|n| acknowledged(n)).collect();
        lost.retain(|number| !times.contains_key(number));
        let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        let mut by_status = HashMap::<_, usize>::new();
        for status in told.values() {
            *by_status.entry(*status).or_default() += 1;
        }
        eprintln!(
            "{} sent, told {by_status:?}, {} came",
            told.len(),
            came.len()
        );
        assert!(lost.is_empty(), "lost: {lost:?}, told {by_status:?}");
        assert!(twice.is_empty(), "came twice: {twice:?}");
        for sender in 0..senders {
            let of_it = came.iter().filter(|number| {
                **number < UNORDERED && *number % senders == sender && acknowledged(number)
            });
            let of_it: Vec<_> = of_it.collect();
            assert!(of_it.is_sorted(), "out of order: {of_it:?}");
        }
    }
}
