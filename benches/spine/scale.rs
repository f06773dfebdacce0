//! The sizes of a full and of a quick run.

use std::time::Duration;

/// How long and how much.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) kind: &'static str,
    /// A closed loop.
    pub(crate) closed: Duration,
    /// An open loop.
    pub(crate) open: Duration,
    /// Waiting for deliveries once the load has ended.
    pub(crate) drain_max: Duration,
    pub(crate) fan_out_deliveries: usize,
    pub(crate) disk_messages: usize,
    pub(crate) arrivals_messages: usize,
    /// Events of one part of a round.
    pub(crate) received_events: usize,
    pub(crate) starts: usize,
    /// Messages before the kill: about 1 GB, or 50 MB.
    pub(crate) waiting: usize,
    pub(crate) fill_max: Duration,
}

impl Scale {
    /// All scenarios within 6 minutes.
    pub(crate) const FULL: Self = Self {
        kind: "Full run",
        closed: Duration::from_secs(5),
        open: Duration::from_secs(10),
        drain_max: Duration::from_secs(15),
        fan_out_deliveries: 50_000,
        disk_messages: 50_000,
        arrivals_messages: 10_000,
        received_events: 10_000,
        starts: 7,
        waiting: 1_000_000,
        fill_max: Duration::from_secs(110),
    };

    /// All scenarios within 90 s.
    pub(crate) const QUICK: Self = Self {
        kind: "Quick run: short, so the tails are rough",
        closed: Duration::from_millis(1500),
        open: Duration::from_secs(3),
        drain_max: Duration::from_secs(5),
        fan_out_deliveries: 10_000,
        disk_messages: 5_000,
        arrivals_messages: 1_000,
        received_events: 2_000,
        starts: 3,
        waiting: 40_000,
        fill_max: Duration::from_secs(10),
    };
}
