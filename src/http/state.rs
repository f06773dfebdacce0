//! What every handler can reach.

use std::ops::Deref;
use std::sync::Arc;

use crate::control::Control;
use crate::engine::Engine;
use crate::engine::transport::HttpTransport;
use crate::seams::clock::SharedClock;
use crate::seams::entropy::SharedEntropy;
use crate::store::Store;

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The parts themselves.
pub struct Parts {
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
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

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
