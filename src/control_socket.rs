//! API keys, accounts and jobs, managed while the server runs.
//!
//! The server holds the store's lock, so `hookpost keys`, `users` and `jobs`
//! ask it, over a Unix socket in the data directory that only the server's user
//! can open. Where no server answers, the command takes the lock and does the
//! same by itself: both sides end at a desk. Windows
//! has the second way only.

#[cfg(unix)]
mod client;
mod desk;
mod jobs;
#[cfg(unix)]
mod server;
mod users;

use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

#[cfg(unix)]
pub(crate) use client::Client;
#[cfg(unix)]
use desk::DeskError;
pub(crate) use desk::KeyDesk;
pub(crate) use jobs::{JobDesk, JobLine};
#[cfg(unix)]
pub(crate) use server::start;
pub(crate) use users::{UserAnswer, UserDesk, UserLine, UserQuestion};

#[cfg(unix)]
const FILE_NAME: &str = "control.sock";

#[cfg(unix)]
fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

/// What the server answers at the socket.
#[derive(Clone)]
#[cfg_attr(
    not(unix),
    expect(dead_code, reason = "without a socket nobody asks the server")
)]
pub(crate) struct Desks {
    pub(crate) keys: KeyDesk,
    pub(crate) jobs: JobDesk,
    pub(crate) users: UserDesk,
}

/// An API key as lists show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeyLine {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) environment: String,
    pub(crate) scopes: Vec<String>,
    /// The id of the application that it is bound to.
    pub(crate) application: Option<String>,
    /// The first characters of its text.
    pub(crate) shown: String,
    pub(crate) created: Timestamp,
    pub(crate) expires: Option<Timestamp>,
    /// Exact to the minute.
    pub(crate) last_used: Option<Timestamp>,
}

/// A new key, or one with a new text. No `Debug`: the text is a secret.
#[derive(Serialize, Deserialize)]
pub(crate) struct IssuedKey {
    pub(crate) key: KeyLine,
    pub(crate) text: String,
}

/// What is asked for with a new key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct NewKey {
    pub(crate) name: String,
    /// Id or name; `None`: the environment that every server has.
    pub(crate) environment: Option<String>,
    /// Names; none: everything inside the environment.
    pub(crate) scopes: Vec<String>,
    /// Id or uid of the application that it is bound to.
    pub(crate) application: Option<String>,
    pub(crate) lifetime_seconds: Option<u64>,
}

/// Why the server refused, in a sentence.
#[cfg(unix)]
#[derive(Serialize, Deserialize)]
struct Refused {
    error: String,
}

#[cfg(not(unix))]
pub(crate) fn start(
    _: &Path,
    _: Desks,
    _: impl Future<Output = ()>,
    _: std::time::Duration,
) -> Option<tokio::task::JoinHandle<()>> {
    None
}
