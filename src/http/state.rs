//! What every handler can reach.

use std::sync::Arc;

use crate::control::Control;
use crate::engine::Engine;
use crate::engine::transport::HttpTransport;
use crate::seams::clock::SharedClock;
use crate::seams::entropy::SharedEntropy;
use crate::store::Store;

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pub store: Store,
    pub engine: Engine,
    pub transport: Arc<HttpTransport>,
    pub entropy: SharedEntropy,
    pub clock: SharedClock,
    pub limits: ApiLimits,
    /// Without a slash at the end.
    pub public_url: Arc<str>,
}

/// Limits that the operator sets.
#[derive(Clone, Copy, Debug)]
pub struct ApiLimits {
    /// Of a message's payload, and of a request to an inbox.
    pub payload_bytes_max: usize,
}

impl AppState {
    /// The control plane over this state.
    #[must_use]
    pub fn control(&self) -> Control {
        Control {
            store: self.store.clone(),
            transport: Arc::clone(&self.transport),
            entropy: Arc::clone(&self.entropy),
            public_url: Arc::clone(&self.public_url),
        }
    }
}
