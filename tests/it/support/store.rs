//! A store on a [`Disk`], without a thread of its own: it writes when pumped.

use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hookpost::domain::attempt::{
    CapturedResponse, Exchange, NewAttempt, Outcome, SentRequest, Timing,
};
use hookpost::domain::delivery::{Trigger, Verdict};
use hookpost::domain::ids::{ApplicationKey, EndpointKey, MessageKey};
use hookpost::domain::message::{JSON, NewMessage, Origin, Target};
use hookpost::domain::time::Timestamp;
use hookpost::seams::clock::Clock as _;
use hookpost::store::{
    Durability, MasterKey, OpenError, Recorded, Store, StoreOptions, WriteError,
};

use super::clock::{START, SimClock};
use super::disk::Disk;
use super::entropy::SeededEntropy;

/// The cache that tests give a store: small, so that it reads the disk too.
const CACHE_BYTES: usize = 256 * 1024;

/// The world around a store: a disk, a clock, randomness. What is opened in it
/// after a crash is the same store.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    pub(crate) clock: SimClock,
    pub(crate) entropy: Arc<SeededEntropy>,
    pub(crate) durability: Durability,
}

impl Machine {
    /// A machine with an empty disk. `seed` decides all that is random in it.
    pub(crate) fn new(seed: u64, durability: Durability) -> Self {
        Self {
            disk: Disk::new(seed),
            clock: SimClock::new(START),
            entropy: Arc::new(SeededEntropy::new(seed)),
            durability,
        }
    }

    /// A machine whose disk holds the same and whose crashes go by `seed`. Its
    /// clock and randomness start from what they are here, and go their own way.
    pub(crate) fn fork(&self, seed: u64) -> Self {
        Self {
            disk: self.disk.fork(seed),
            clock: SimClock::new(self.clock.now()),
            entropy: Arc::new(SeededEntropy::new(seed)),
            durability: self.durability,
        }
    }

    /// Opens the store, made at the first time.
    pub(crate) fn open(&self) -> Result<Store, OpenError> {
        let disk = self.disk.clone();
        Store::open(StoreOptions {
            data_dir: PathBuf::new(),
            cache_bytes: CACHE_BYTES,
            durability: self.durability,
            master_key: MasterKey::Given([7; 32]),
            clock: Arc::new(self.clock.clone()),
            entropy: self.entropy.clone(),
            backend: Some(Box::new(move || Box::new(disk.handle()))),
        })
    }
}

/// Drives a verb of a pumped store to its end: polls, pumps, polls.
///
/// # Panics
/// When the future waits for something other than the store.
pub(crate) fn now_or_pump<F: Future>(store: &Store, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        assert!(store.pump(), "the future waits for something else");
    }
}

/// A verb that was called and not yet driven.
pub(crate) type Verb<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Hands all of `verbs` in and lets one commit write them together, then
/// answers with each one's output.
pub(crate) fn together<'a, T>(
    store: &Store,
    verbs: impl IntoIterator<Item = Verb<'a, T>>,
) -> Vec<T> {
    let mut context = Context::from_waker(Waker::noop());
    let polled: Vec<_> = verbs
        .into_iter()
        .map(|mut future| match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => Ok(output),
            Poll::Pending => Err(future),
        })
        .collect();
    store.pump();
    polled
        .into_iter()
        .map(|polled| polled.unwrap_or_else(|future| now_or_pump(store, future)))
        .collect()
}

/// `Store::record` as a future.
pub(crate) fn record(
    store: &Store,
    attempt: NewAttempt,
    took: (Timestamp, Trigger),
    retry_at: Option<Timestamp>,
    payload_bytes: usize,
) -> impl Future<Output = Result<Recorded, WriteError>> + use<> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    store.record(attempt, took, retry_at, payload_bytes, move |result| {
        // A test that stopped waiting has failed already.
        let _ = sender.send(result);
    });
    async move { receiver.await.expect("every record is answered") }
}

/// An attempt as an endpoint's answer of `status` makes it; 0: it timed out.
pub(crate) fn attempt(
    application: ApplicationKey,
    endpoint: EndpointKey,
    message: MessageKey,
    started: Timestamp,
    trigger: Trigger,
    status: u16,
) -> NewAttempt {
    let verdict = match status {
        200..300 => Verdict::Delivered,
        410 => Verdict::Gone,
        _ => Verdict::Failed,
    };
    let response = (status != 0).then(|| CapturedResponse {
        headers: vec![("server".to_owned(), b"a test".to_vec())],
        body: format!("answer {status}").into_bytes(),
        truncated: false,
    });
    let outcome = if status == 0 {
        Outcome::TimedOut {
            detail: "no answer in time".to_owned(),
        }
    } else {
        Outcome::Response { status }
    };
    NewAttempt {
        application,
        endpoint,
        message,
        started,
        trigger,
        verdict,
        request: SentRequest {
            url: "https://example.com/hook".to_owned(),
            content_type: JSON.to_owned(),
            ..SentRequest::default()
        },
        exchange: Exchange {
            outcome,
            response,
            timing: Timing {
                total_us: 3_000,
                ..Timing::default()
            },
            peer: Some(([192, 0, 2, 1], 443).into()),
        },
    }
}

/// A message to every endpoint of `application` that wants it.
pub(crate) fn message(
    application: ApplicationKey,
    event_type: &str,
    uid: Option<&str>,
    payload: impl Into<Bytes>,
) -> NewMessage {
    NewMessage {
        application,
        event_type: event_type.to_owned(),
        channels: Vec::new(),
        uid: uid.map(str::to_owned),
        content_type: JSON.to_owned(),
        headers: Vec::new(),
        origin: Origin::Api,
        payload: payload.into(),
        target: Target::FanOut,
    }
}
