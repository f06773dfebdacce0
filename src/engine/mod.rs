//! The data plane: accept, schedule, send, record, replay, jobs, prune.
//!
//! The files are the steps an event takes; read them in that order. The loop
//! is in the table, not in the code: a retry and a replay both end in writing a
//! due row, and the scheduler finds it.

pub mod intake;
mod jobs;
mod place;
pub mod prune;
pub mod receive;
pub mod relay;
pub mod requests;
mod schedule;
mod send;
pub mod transport;
mod turns;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::TrustAnchor;
use tokio::sync::Notify;

use self::intake::{Awaited, Intake};
use self::relay::Relay;
use self::requests::Rendezvous;
use self::schedule::{Dispatch, Scheduler};
use self::transport::Transport;
use self::turns::Turns;
use crate::domain::ids::{EndpointKey, EnvironmentKey, MessageKey};
use crate::domain::time::Timestamp;
use crate::seams::clock::SharedClock;
use crate::seams::entropy::SharedEntropy;
use crate::store::{Change, Store};

/// The scheduler looks at the wall clock at least this often, so that a clock
/// that steps is noticed.
const CLOCK_LOOK: Duration = Duration::from_secs(1);
/// Lanes that are found at start with one look at the table.
const LANES_PER_LOOK: usize = 1000;

/// What the deployment decides about deliveries.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Waits after each failed attempt, for endpoints without their own.
    pub retry_schedule: Vec<Duration>,
    /// For one attempt, body included, for endpoints without their own.
    pub attempt_timeout: Duration,
    /// Attempts in flight at once.
    pub sockets_max: usize,
    /// Where this server can be reached; what is under its `/in/` is delivered
    /// inside the process.
    pub public_url: String,
    /// Whom the certificates that inbound requests name may come from.
    pub trust_anchors: Arc<[TrustAnchor<'static>]>,
}

/// Delivers what the store says is due. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    store: Store,
    transport: Arc<dyn Transport>,
    clock: SharedClock,
    entropy: SharedEntropy,
    settings: EngineSettings,
    intake: Intake,
    awaited: Awaited,
    rendezvous: Rendezvous,
    relay: Relay,
    turns: Turns<EndpointKey>,
    /// Whose received request may be on its way again.
    replays: Turns<EnvironmentKey>,
    scheduler: Mutex<Scheduler>,
    /// Wakes the task that reads the table and waits for what is due.
    wake: Notify,
    /// Told when an attempt ends, for [`Engine::drain`].
    ended: Notify,
    /// Wakes the task that takes jobs further: there is a new one.
    new_job: Notify,
    /// What waits on disk is to be found: at start, and after a failure.
    rescan: AtomicBool,
    stopping: AtomicBool,
    runtime: tokio::runtime::Handle,
}

impl Engine {
    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> &EngineSettings {
        &self.inner.settings
    }

    /// An engine over `store`, which delivers nothing until [`run`](Self::run)
    /// does. Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(
        store: Store,
        transport: Arc<dyn Transport>,
        clock: SharedClock,
        entropy: SharedEntropy,
        settings: EngineSettings,
    ) -> Self {
        let scheduler = Mutex::new(Scheduler::new(settings.sockets_max));
        let inner = Arc::new(Inner {
            store,
            transport,
            clock,
            entropy,
            settings,
            intake: Intake::default(),
            awaited: Awaited::default(),
            rendezvous: Rendezvous::default(),
            relay: Relay::default(),
            turns: requests::turns(),
            replays: receive::turns(),
            scheduler,
            wake: Notify::new(),
            ended: Notify::new(),
            new_job: Notify::new(),
            rescan: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            runtime: tokio::runtime::Handle::current(),
        });
        let listening = Arc::downgrade(&inner);
        inner.store.listen(move |changes| {
            if let Some(inner) = listening.upgrade() {
                inner.changed(changes);
            }
        });
        Self { inner }
    }

    /// Finds what waits on disk, and delivers what becomes due, until
    /// [`drain`](Self::drain).
    pub fn run(&self) -> impl Future<Output = ()> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        async move {
            while !inner.stopping.load(Ordering::Acquire) {
                if inner.rescan.swap(false, Ordering::AcqRel) {
                    inner.find_lanes().await;
                }
                inner.read_due();
                inner.dispatch();
                inner.wait().await;
            }
        }
    }

    /// Starts nothing new and waits until every attempt in flight has ended,
    /// or `limit` is over. Answers how many are still in flight: they stay
    /// due, and are sent again after the next start.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.inner.stopping.store(true, Ordering::Release);
        self.inner.wake.notify_one();
        self.inner.rendezvous.close();
        let idle = async {
            loop {
                // Before the count is read, or the last one could end in between, unheard.
                let ended = self.inner.ended.notified();
                if self.in_flight() == 0 {
                    break;
                }
                ended.await;
            }
        };
        tokio::select! {
            () = idle => {}
            () = self.inner.clock.sleep(limit) => {}
        }
        self.in_flight()
    }

    /// Waits after each failed attempt, for endpoints without their own.
    #[must_use]
    pub fn retry_schedule(&self) -> &[Duration] {
        &self.inner.settings.retry_schedule
    }

    /// Attempts that are being made.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.lock().in_flight()
    }

    /// Whether the delivery of this message to this endpoint is being attempted.
    #[must_use]
    pub fn is_in_flight(&self, endpoint: EndpointKey, message: MessageKey) -> bool {
        self.inner.lock().is_in_flight(endpoint, message)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Scheduler> {
        self.scheduler
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by the writer after each commit.
    fn changed(self: &Arc<Self>, changes: &[Change]) {
        let now = self.clock.now();
        let mut scheduler = self.lock();
        for change in changes {
            match change {
                Change::Waiting {
                    endpoint,
                    message,
                    due,
                    trigger,
                    content,
                } => {
                    scheduler.waiting(*endpoint, *message, *due, *trigger, content.clone(), now);
                }
                Change::Fed { endpoint, messages } => scheduler.fed(*endpoint, messages),
                Change::Cancelled { endpoint, message } => {
                    scheduler.cancelled(*endpoint, *message);
                }
                Change::Job => self.new_job.notify_one(),
                Change::Asked(request) => requests::spawn(self, (**request).clone()),
                Change::Request(key) => self.rendezvous.changed(*key),
                Change::Endpoint { endpoint, .. } => scheduler.reconsider(*endpoint),
                Change::EnvironmentGone => scheduler.reconsider_all(),
                Change::Kept {
                    inbox,
                    received,
                    ticket,
                } => self.relay.kept(*inbox, *received, *ticket, now),
                Change::InboxGone(inbox) => self.relay.close(*inbox),
                Change::Reopened => {
                    scheduler.reconsider_all();
                    self.reread_relays();
                    self.rescan.store(true, Ordering::Release);
                    self.wake.notify_one();
                }
            }
        }
        let idle = !scheduler.has_work();
        drop(scheduler);
        if idle {
            return;
        }
        // Started from inside the runtime, tasks stay on its own queues: the
        // writer's thread wakes one worker for a commit, not one for each delivery.
        let inner = Arc::clone(self);
        self.runtime.spawn(async move {
            inner.dispatch();
        });
    }

    /// Starts every attempt that may start now.
    fn dispatch(self: &Arc<Self>) {
        while let Some(dispatch) = self.take() {
            let inner = Arc::clone(self);
            tokio::spawn(async move { inner.work(dispatch).await });
        }
    }

    /// Makes attempts one after the other as long as there are any to make.
    async fn work(self: Arc<Self>, first: Dispatch) {
        let mut next = Some(first);
        while let Some(dispatch) = next {
            send::deliver(&self, dispatch).await;
            self.ended.notify_waiters();
            next = self.take();
        }
    }

    /// An attempt is on disk. A replay that was asked for meanwhile is to be
    /// read at once, not when the clock is next looked at.
    fn recorded(&self, endpoint: EndpointKey, message: MessageKey) {
        let mut scheduler = self.lock();
        scheduler.recorded(endpoint, message);
        if scheduler.wants_attention() {
            self.wake.notify_one();
        }
    }

    fn take(&self) -> Option<Dispatch> {
        if self.stopping.load(Ordering::Acquire) {
            return None;
        }
        let now = self.clock.now();
        let mut scheduler = self.lock();
        loop {
            if let Some(unknown) = scheduler.unprepared() {
                scheduler.prepared(unknown, send::destination(self, unknown));
                continue;
            }
            let dispatch = scheduler.take(now);
            if scheduler.wants_attention() {
                self.wake.notify_one();
            }
            return dispatch;
        }
    }

    /// Finds every endpoint for which something waits.
    async fn find_lanes(&self) {
        let mut after = None;
        while !self.stopping.load(Ordering::Acquire) {
            match self.store.due_endpoints(after, LANES_PER_LOOK) {
                Ok(found) => {
                    let mut scheduler = self.lock();
                    for &(endpoint, due) in &found {
                        scheduler.on_disk(endpoint, due);
                    }
                    after = found.last().map(|(endpoint, _)| *endpoint);
                    if found.len() < LANES_PER_LOOK {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "cannot read what is due; trying again");
                    self.clock.sleep(CLOCK_LOOK).await;
                }
            }
        }
    }

    /// Reads, for every lane that has room, what is due on disk.
    fn read_due(&self) {
        let now = self.clock.now();
        self.lock().advance(now);
        loop {
            let Some(wanted) = self.lock().wants_rows() else {
                return;
            };
            let in_hand = |message| self.lock().holds(wanted.endpoint, message);
            let read = self
                .store
                .due_rows(wanted.endpoint, now, wanted.take, in_hand);
            let mut scheduler = self.lock();
            match read {
                Ok((rows, next)) => scheduler.loaded(wanted.endpoint, &rows, next),
                Err(error) => {
                    tracing::error!(%error, "cannot read what is due; trying again");
                    scheduler.read_failed(wanted.endpoint, now.plus(CLOCK_LOOK));
                }
            }
        }
    }

    async fn wait(&self) {
        let now = self.clock.now();
        let next: Option<Timestamp> = self.lock().next_wake();
        let pause = next.map_or(CLOCK_LOOK, |due| due.since(now).min(CLOCK_LOOK));
        tokio::select! {
            biased;
            () = self.wake.notified() => {}
            () = self.clock.sleep(pause) => {}
        }
    }
}
