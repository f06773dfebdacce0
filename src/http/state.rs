//! What every handler can reach.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::watch;

use super::sign_in_limits::SignInLimits;
use crate::control::Control;
use crate::control::passwords::Passwords;
use crate::domain::secret::Secret;
use crate::domain::session;
use crate::engine::Engine;
use crate::engine::transport::HttpTransport;
use crate::seams::clock::SharedClock;
use crate::seams::entropy::SharedEntropy;
use crate::store::{Retention, Store};

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

struct Shared {
    parts: Parts,
    passwords: Passwords,
    sign_in_limits: SignInLimits,
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
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
    pub retention: Retention,
    /// Whether listeners without an API key may make inboxes.
    pub open_relay: bool,
    /// True from the moment when the server is told to stop: answers that
    /// never end by themselves end then.
    pub stopping: watch::Receiver<bool>,
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
        let passwords = Passwords::new(Arc::clone(&parts.entropy));
        let sign_in_limits = SignInLimits::default();
        Self(Arc::new(Shared {
            parts,
            passwords,
            sign_in_limits,
        }))
    }

    #[must_use]
    pub fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    #[must_use]
    pub fn sign_in_limits(&self) -> &SignInLimits {
        &self.0.sign_in_limits
    }

    /// Whether browsers reach this server over https.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    /// A new secret token.
    #[must_use]
    pub fn new_token(&self) -> Secret {
        let mut random = [0; 32];
        self.entropy.fill(&mut random);
        session::new_token(random)
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
