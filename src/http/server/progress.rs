//! How far a connection has come, shared by its stream, its service and its deadlines.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::task::AtomicWaker;

/// Written and read by the one task that drives the connection, but for [`Progress::wake`]; the
/// atomics are there for `Send`, not for ordering. Counters wrap.
#[derive(Debug, Default)]
pub(super) struct Progress {
    waker: AtomicWaker,
    requests: AtomicU32,
    responses: AtomicU32,
    writes: AtomicU32,
    write_blocked: AtomicBool,
    head_open: AtomicBool,
    ambiguous: AtomicU32,
}

/// What the connection waits for, with a number that tells one wait from the next of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The handler, or a request body, which has its own limits.
    App,
    /// The first byte of a request. Number 0 is the connection's first.
    Request(u32),
    /// The rest of a request's head.
    Head(u32),
    /// The client, to read the response.
    Reader(u32),
}

impl Progress {
    pub(super) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    /// Wakes the connection's task, so that it sees a new order.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    pub(super) fn wait(&self) -> Wait {
        let requests = self.requests.load(Ordering::Relaxed);
        if self.write_blocked.load(Ordering::Relaxed) {
            Wait::Reader(self.writes.load(Ordering::Relaxed))
        } else if requests != self.responses.load(Ordering::Relaxed) {
            Wait::App
        } else if self.head_open.load(Ordering::Relaxed) {
            Wait::Head(requests)
        } else {
            Wait::Request(requests)
        }
    }

    /// Returns whether this request was found ambiguous when its head came in.
    pub(super) fn request_started(&self) -> bool {
        let number = self
            .requests
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1);
        number == self.ambiguous.load(Ordering::Relaxed)
    }

    pub(super) fn response_done(&self) {
        self.responses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.write_blocked.store(false, Ordering::Relaxed);
    }

    pub(super) fn write_is_blocked(&self) {
        self.write_blocked.store(true, Ordering::Relaxed);
    }

    /// `ambiguous` is the number of the first ambiguous request, counted from 1, or 0.
    pub(super) fn read(&self, head_open: bool, ambiguous: u32) {
        self.head_open.store(head_open, Ordering::Relaxed);
        self.ambiguous.store(ambiguous, Ordering::Relaxed);
    }
}
