//! A URL that takes anything, keeps it, and shows it.

use bytes::Bytes;

use super::ids::{EnvironmentKey, InboxKey, ReceivedKey};
use super::time::Timestamp;

/// Requests that an inbox keeps; the oldest make room.
pub const RECEIVED_MAX: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbox {
    pub key: InboxKey,
    pub environment: EnvironmentKey,
    /// The unguessable part of its URL.
    pub token: String,
    pub name: String,
    /// What it answers.
    pub answer_status: u16,
    pub created: Timestamp,
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
    pub body: Bytes,
    /// The status it was answered with.
    pub answered: u16,
}
