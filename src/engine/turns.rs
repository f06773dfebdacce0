//! Turns: so much at once in all, and so much of one kind, so that who is slow
//! or greedy fills its own share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns shared out by `K`.
pub(super) struct Turns<K> {
    one_max: usize,
    all: Arc<Semaphore>,
    /// As long as somebody has a turn there, or waits for one.
    each: Mutex<HashMap<K, Weak<Semaphore>>>,
}

/// A turn; it ends when this is dropped.
pub(super) type Turn = [OwnedSemaphorePermit; 2];

impl<K: Eq + Hash> Turns<K> {
    pub(super) fn new(one_max: usize, all_max: usize) -> Self {
        Self {
            one_max,
            all: Arc::new(Semaphore::new(all_max)),
            each: Mutex::default(),
        }
    }

    /// A turn, first come, first served.
    pub(super) async fn take(&self, of: K) -> Turn {
        let own = self.of(of);
        let own = own.acquire_owned().await.expect("never closed");
        let all = Arc::clone(&self.all).acquire_owned().await;
        [own, all.expect("never closed")]
    }

    /// A turn, if there is one now.
    pub(super) fn try_take(&self, of: K) -> Option<Turn> {
        let own = self.of(of).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some([own, all])
    }

    fn of(&self, of: K) -> Arc<Semaphore> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = each.get(&of).and_then(Weak::upgrade) {
            return there;
        }
        each.retain(|_, of| of.strong_count() > 0);
        let new = Arc::new(Semaphore::new(self.one_max));
        each.insert(of, Arc::downgrade(&new));
        new
    }
}
