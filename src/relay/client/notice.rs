//! What a listener tells whoever shows it to a person.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::domain::time::Timestamp;

/// Notices that wait for whoever shows them. Events wait when it is full, and
/// so does the server then: nothing is shown that was not, and none is lost.
pub const NOTICES_MAX: usize = 256;

/// The way that notices take.
pub type Notices = mpsc::Sender<Notice>;

/// Something to show.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The place at the server is taken: the first time, or with another URL.
    Listening(Listening),
    /// The same place again, after [`Notice::Away`].
    Back,
    /// There is no connection.
    Away(Away),
    /// An event is being answered.
    Arrived(Arrived),
    /// It has been.
    Answered(Answered),
    /// An event came again, and what had been answered was answered again.
    Repeated { id: String },
}

/// Where events come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// What senders send to.
    pub url: String,
    /// The page of the inbox, if there is one.
    pub view: Option<String>,
    /// Events that the server has kept, and sends now.
    pub waiting: u64,
}

/// Why there is no connection, and when the next try begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    pub reason: String,
    pub next_try: Duration,
    /// Whether there was one before.
    pub lost: bool,
}

/// An event, or one that is done again by hand.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub head: Arc<Head>,
    pub body: Bytes,
}

/// All of an event but its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Counts from 1, in a run.
    pub number: u64,
    pub id: String,
    pub method: String,
    /// Path and query below the inbox.
    pub below: String,
    /// Path and query at the local program; as it came, if it has no place there.
    pub path: String,
    pub event_type: Option<String>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body_bytes: usize,
    /// When it came to this machine.
    pub at: Timestamp,
    /// The number of the event that this is done again for.
    pub replay_of: Option<u64>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Answered {
    pub head: Arc<Head>,
    pub outcome: Outcome,
    pub took: Duration,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The local program answered.
    Answer(Answer),
    /// It did not, and why.
    Failed(String),
    /// It was not asked: the filter has no pattern for the type.
    Filtered,
}

/// An answer of the local program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
}

/// The status of an event that the local program did not answer.
pub const STATUS_FAILED: u16 = 502;
/// The status of an event that was filtered.
pub const STATUS_FILTERED: u16 = 200;

impl Outcome {
    /// The status that the sender gets.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Answer(answer) => answer.status,
            Self::Failed(_) => STATUS_FAILED,
            Self::Filtered => STATUS_FILTERED,
        }
    }
}
