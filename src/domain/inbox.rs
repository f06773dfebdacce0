//! A URL that takes anything, keeps it, and shows it.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::answer::{AnswerChange, FixedAnswer};
use super::ids::{EnvironmentKey, InboxKey, ReceivedKey};
use super::relay::{KEPT_FOR, Relayed};
use super::time::Timestamp;

/// Inboxes of all environments.
pub const INBOXES_MAX: u64 = 10_000;
/// Requests that an inbox keeps; the oldest make room.
pub const RECEIVED_MAX: u64 = 500;
/// Milliseconds that an answer may be held back.
pub const DELAY_MS_MAX: u32 = 60_000;
/// Requests that may be told to fail.
pub const FAIL_NEXT_MAX: u32 = 1_000;
/// What a request that is told to fail is answered with.
pub const FAILED_STATUS: u16 = 503;
/// Replays of one request that are remembered; the oldest make room.
pub const REPLAYS_MAX: usize = 10;
/// Bytes of the answer to a replay that are remembered.
pub const REPLAY_BODY_BYTES_MAX: usize = 4 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbox {
    pub key: InboxKey,
    pub environment: EnvironmentKey,
    /// The unguessable part of its URL.
    pub token: String,
    pub name: String,
    pub answer: FixedAnswer,
    /// How long the answer is held back, once the request is kept.
    pub delay_ms: u32,
    /// How many requests from now on are answered with [`FAILED_STATUS`].
    pub fail_next: u32,
    pub created: Timestamp,
    /// Whether a listener needs no API key.
    pub open: bool,
    /// Whether a listener made it, by choosing its token.
    pub made_by_listener: bool,
    /// When somebody was last known to listen.
    pub listened: Option<Timestamp>,
    /// Requests that are kept for a listener.
    pub waiting: u32,
}

/// What is to become of an inbox. `None`: stays.
#[derive(Clone, Debug, Default)]
pub struct InboxChange {
    pub name: Option<String>,
    pub answer: AnswerChange,
    pub delay_ms: Option<u32>,
    pub fail_next: Option<u32>,
    pub open: Option<bool>,
}

impl InboxChange {
    /// Changes what it names.
    pub fn apply(self, inbox: &mut Inbox) {
        if let Some(name) = self.name {
            inbox.name = name;
        }
        self.answer.apply(&mut inbox.answer);
        inbox.delay_ms = self.delay_ms.unwrap_or(inbox.delay_ms);
        inbox.fail_next = self.fail_next.unwrap_or(inbox.fail_next);
        inbox.open = self.open.unwrap_or(inbox.open);
    }
}

impl Inbox {
    /// How long an answer is held back.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.into())
    }

    /// Whether what comes is for a listener, who may be away.
    #[must_use]
    pub fn relays(&self, now: Timestamp) -> bool {
        self.listened.is_some_and(|at| now < at.plus(KEPT_FOR))
    }

    /// What the next request is answered with, counting it.
    pub fn next_status(&mut self) -> u16 {
        if self.fail_next == 0 {
            return self.answer.status;
        }
        self.fail_next -= 1;
        FAILED_STATUS
    }
}

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub key: ReceivedKey,
    pub at: Timestamp,
    pub method: String,
    /// Path after the token, and query.
    pub path: String,
    /// Names and values in order, repeats included.
    pub headers: Vec<(String, Vec<u8>)>,
    /// `None`: read without it.
    pub body: Option<Bytes>,
    pub body_bytes: u64,
    /// The status it was answered with.
    pub answered: u16,
    /// Who connected; `None`: a delivery of this server.
    pub peer: Option<IpAddr>,
    /// Of the message that it delivers; `None`: not a delivery of this server.
    pub event_type: Option<String>,
    /// Where it was sent again, newest first.
    pub replays: Vec<Replay>,
    /// What a listener made of it.
    pub relayed: Relayed,
}

/// A received request sent again to another URL, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    pub at: Timestamp,
    pub url: String,
    /// The status of the answer; 0 when there was none.
    pub status: u16,
    /// Why there was no answer, in words; else empty.
    pub detail: String,
    /// How the answer's body begins, as text.
    pub body: String,
    pub took_us: u32,
}
