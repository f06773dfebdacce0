//! What is done with an event: ask the local program, reply, and tell.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use super::filter::{Filter, event_type};
use super::local::Local;
use super::notice::{Answer, Answered, Arrived, Head, Notice, Notices, Outcome};
use super::seen::{Begun, Limits, Seen};
use crate::relay::frame::{
    Event, FromClient, Reply, decode_body, decode_headers, encode_body, encode_headers,
    frame_bytes_max,
};
use crate::seams::clock::{SharedClock, Stopwatch};

/// Bytes that a body may have when the server does not say.
pub const BODY_BYTES_MAX_DEFAULT: u64 = 2 * 1024 * 1024;
/// Bytes that a body may have whatever the server says.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of headers that fit into a frame however they are written there: they
/// are in it twice, and a byte becomes two at most.
const HEADERS_BYTES_SURE: usize = 32 * 1024;
/// What the sender of a filtered event reads.
const FILTERED_BODY: &str = "not forwarded: no --filter of the listener matches this event\n";

/// Replies on their way to the server, over one connection.
pub type Outbox = mpsc::Sender<Reply>;

/// Forwards events, each once, however often it comes.
pub struct Forwarder {
    local: Local,
    filter: Filter,
    seen: Mutex<Seen<Outbox>>,
    /// Requests to the local program that may begin now.
    turns: Semaphore,
    numbers: AtomicU64,
    body_bytes_max: AtomicU64,
    clock: SharedClock,
    notices: Notices,
}

impl Forwarder {
    pub(super) fn new(
        local: Local,
        filter: Filter,
        at_once_max: u32,
        clock: SharedClock,
        notices: Notices,
    ) -> Self {
        Self {
            local,
            filter,
            seen: Mutex::new(Seen::new(Limits::default())),
            turns: Semaphore::new(at_once_max as usize),
            numbers: AtomicU64::new(0),
            body_bytes_max: AtomicU64::new(BODY_BYTES_MAX_DEFAULT),
            clock,
            notices,
        }
    }

    /// Takes over what the server said of the size of bodies.
    pub(super) fn limit_bodies(&self, bytes_max: Option<u64>) {
        let bytes_max = bytes_max.unwrap_or(BODY_BYTES_MAX_DEFAULT);
        let bytes_max = bytes_max.min(BODY_BYTES_MAX);
        self.body_bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    fn body_bytes_max(&self) -> usize {
        let bytes_max = self.body_bytes_max.load(Ordering::Relaxed);
        usize::try_from(bytes_max).unwrap_or(usize::MAX)
    }

    /// Takes an event that came; its reply goes into the outbox that it came
    /// with last.
    pub(super) async fn take(self: &Arc<Self>, event: Event, outbox: &Outbox) {
        let begun = self
            .seen()
            .begin(&event.id, event.body.len(), outbox.clone());
        let reply = match begun {
            Begun::New => {
                tokio::spawn(Arc::clone(self).forward(event));
                return;
            }
            Begun::Running => return,
            Begun::Done(reply) => {
                self.tell(Notice::Repeated { id: event.id }).await;
                *reply
            }
            Begun::Full => refusal(event.id),
        };
        // The connection may have ended: then the event comes again.
        let _ = outbox.send(reply).await;
    }

    async fn forward(self: Arc<Self>, event: Event) {
        let _turn = self.turns.acquire().await;
        let id = event.id.clone();
        let (arrived, broken) = self.read(event);
        self.tell(Notice::Arrived(arrived.clone())).await;
        let watch = Stopwatch::default();
        let outcome = match broken {
            None => self.outcome(&arrived).await,
            Some(reason) => Outcome::Failed(reason),
        };
        let took = watch.elapsed();
        let (reply, outcome) = self.reply(id, outcome);
        let back = self.seen().finish(reply.clone());
        if let Some(outbox) = back {
            // If the connection has ended, the event comes again, and the
            // reply is remembered.
            let _ = outbox.send(reply).await;
        }
        let head = arrived.head;
        self.tell(Notice::Answered(Answered {
            head,
            outcome,
            took,
        }))
        .await;
    }

    /// Sends an event to the local program once more. The answer goes nowhere
    /// but into the notices.
    pub async fn replay(&self, head: &Head, body: Bytes) {
        let _turn = self.turns.acquire().await;
        let head = Arc::new(Head {
            number: self.next_number(),
            at: self.clock.now(),
            replay_of: Some(head.replay_of.unwrap_or(head.number)),
            ..head.clone()
        });
        let arrived = Arrived { head, body };
        self.tell(Notice::Arrived(arrived.clone())).await;
        let watch = Stopwatch::default();
        let outcome = self.ask(&arrived).await;
        self.tell(Notice::Answered(Answered {
            head: arrived.head,
            outcome,
            took: watch.elapsed(),
        }))
        .await;
    }

    /// The event as it is shown, and what is wrong with it.
    fn read(&self, event: Event) -> (Arrived, Option<String>) {
        let (body, broken) = match decode_body(&event.body) {
            Ok(body) => (body, None),
            Err(error) => (Bytes::new(), Some(error.to_string())),
        };
        let headers = decode_headers(event.headers, event.header_list);
        let below = event.path.unwrap_or_default();
        let place = self.local.target().place(&below);
        let head = Head {
            number: self.next_number(),
            id: event.id,
            method: event.method,
            path: place.unwrap_or_else(|_| below.clone()),
            below,
            event_type: event.event_type.or_else(|| event_type(&headers, &body)),
            headers,
            body_bytes: body.len(),
            at: self.clock.now(),
            replay_of: None,
        };
        let head = Arc::new(head);
        (Arrived { head, body }, broken)
    }

    async fn outcome(&self, arrived: &Arrived) -> Outcome {
        if self.filter.wants(arrived.head.event_type.as_deref()) {
            self.ask(arrived).await
        } else {
            Outcome::Filtered
        }
    }

    async fn ask(&self, arrived: &Arrived) -> Outcome {
        let body = arrived.body.clone();
        let asked = self.local.ask(&arrived.head, body, self.body_bytes_max());
        match asked.await {
            Ok(answer) => Outcome::Answer(answer),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    /// The reply, which fits into a frame, and the outcome that it tells.
    fn reply(&self, id: String, outcome: Outcome) -> (Reply, Outcome) {
        if headers_bytes(&outcome) <= HEADERS_BYTES_SURE {
            return (reply(id, &outcome), outcome);
        }
        let whole = reply(id.clone(), &outcome);
        // The server would end the connection at a larger one, again and again.
        if frame(whole.clone()).len() <= frame_bytes_max(self.body_bytes_max()) {
            return (whole, outcome);
        }
        let reason = "the headers of the answer are larger than the server takes";
        let outcome = Outcome::Failed(reason.to_owned());
        (reply(id, &outcome), outcome)
    }

    /// Whoever shows notices may have gone: then there is nobody to tell.
    async fn tell(&self, notice: Notice) {
        let _ = self.notices.send(notice).await;
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn seen(&self) -> MutexGuard<'_, Seen<Outbox>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reply as it is sent.
pub(super) fn frame(reply: Reply) -> String {
    FromClient::Reply(reply).to_json()
}

fn headers_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Answer(answer) => {
            let pairs = answer.headers.iter();
            pairs.map(|(name, value)| name.len() + value.len()).sum()
        }
        Outcome::Failed(_) | Outcome::Filtered => 0,
    }
}

fn reply(id: String, outcome: &Outcome) -> Reply {
    match outcome {
        Outcome::Answer(answer) => answered(id, answer),
        Outcome::Failed(reason) => Reply {
            error: Some(reason.clone()),
            ..told(id, outcome.status(), reason)
        },
        Outcome::Filtered => told(id, outcome.status(), FILTERED_BODY),
    }
}

fn answered(id: String, answer: &Answer) -> Reply {
    let (headers, all) = encode_headers(&answer.headers);
    Reply {
        id,
        status: answer.status,
        headers,
        body: encode_body(&answer.body),
        header_list: Some(all),
        error: None,
    }
}

/// A reply of our own, in words.
fn told(id: String, status: u16, words: &str) -> Reply {
    let text = (
        "content-type".to_owned(),
        "text/plain; charset=utf-8".into(),
    );
    let answer = Answer {
        status,
        headers: vec![text],
        body: Bytes::copy_from_slice(words.as_bytes()),
    };
    answered(id, &answer)
}

fn refusal(id: String) -> Reply {
    let words = "the listener is answering too many events already";
    Reply {
        error: Some(words.to_owned()),
        ..told(id, 503, words)
    }
}
