//! The embedded store: the domain's nouns on disk, behind the domain's verbs.
//!
//! One file, one process. Reading is a short snapshot; writing is an operation
//! handed to the one writer thread (`writer.rs`), which commits what is waiting
//! together and answers afterwards. No type of redb leaves this module.

mod accept;
mod api_keys;
mod applications;
mod audit;
mod branding;
mod browse;
mod catalog;
mod check;
mod cipher;
mod codec;
mod endpoints;
mod environments;
mod erase;
mod event_types;
mod inboxes;
mod jobs;
mod log;
mod open;
mod operational;
mod reads;
mod receipts;
mod record;
mod records;
mod relay;
mod replay;
mod requests;
mod retention;
mod ring;
mod rows;
mod seen;
mod sources;
mod statistics;
mod sweep;
mod tables;
mod tokens;
mod users;
mod writer;

use std::sync::Arc;

pub use accept::Accepted;
pub use browse::{
    AttemptRow, DELIVERIES_SHOWN, EndpointPlace, Found, MessageFilter, MessageRow, OldestWaiting,
    Standing,
};
pub use catalog::{ApplicationEntry, Catalog, KnownApiKey};
pub use check::CheckReport;
pub use event_types::ImportOutcome;
pub use inboxes::{Kept, NewReceived};
pub use jobs::{COUNT_MAX, JobCount};
pub use log::Way;
pub use open::{Durability, MasterKey, OpenError, StoreOptions};
pub use reads::{AttemptFilter, AttemptPage, DueRow, MessagePage, OutcomeFilter, StoreFigures};
pub use receipts::{Arrival, Judgement, NewEvent, Taken};
pub use record::Recorded;
pub use relay::Taking;
pub use requests::{NewRequest, Step};
pub use retention::{Retention, Retired};
pub use rows::TotalsV1 as Totals;
pub use statistics::Subject;
pub use tokens::{NewSession, Opened};
pub use users::NewUser;
pub use writer::{Change, Idempotent, Refusal, StoredAnswer, WriteError, Written};

use crate::domain::ids::Ids;

/// Why the store could not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// More is waiting to be written than the queue holds.
    #[error("the store has more to write than it can take now")]
    Busy,
    /// The disk failed, or the store is being reopened after a failure. What
    /// became of a write is unknown.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// A row says that a later version wrote it.
    #[error("the store was written by a newer Hookpost")]
    Newer,
    /// A row that cannot be read.
    #[error("the store is damaged: {0}")]
    Corrupt(&'static str),
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<open::Inner>,
}

impl Store {
    /// Turns keys into ids and back.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.inner.ids
    }

    /// Endpoints and API keys in memory.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }
}
