//! How much of what comes is taken, and how much of what is refused is logged.
//!
//! A flood of forgeries costs its source a few rows a second, whatever its
//! rate: the rest is counted in memory, and written with the next row or a few
//! seconds later.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::ids::SourceKey;
use crate::domain::source::{Counts, Source, Verdict};
use crate::domain::time::Timestamp;

/// Refused requests that one source logs at once, and then in a second.
const LOGGED_BURST: f64 = 100.0;
const LOGGED_PER_SECOND: f64 = 10.0;

/// A budget that refills with time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    filled: Timestamp,
}

impl Bucket {
    fn full(burst: f64, now: Timestamp) -> Self {
        Self {
            left: burst,
            filled: now,
        }
    }

    fn take(&mut self, burst: f64, per_second: f64, now: Timestamp) -> bool {
        let passed = now.since(self.filled).as_secs_f64();
        self.left = (self.left + passed * per_second).min(burst);
        self.filled = now;
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

#[derive(Default)]
struct Budget {
    rate: Option<Bucket>,
    log: Option<Bucket>,
    unkept: Counts,
    /// Since the last that was logged.
    passed_over: u32,
}

/// The budgets of all sources.
#[derive(Default)]
pub(super) struct Budgets(Mutex<HashMap<SourceKey, Budget>>);

impl Budgets {
    fn lock(&self) -> MutexGuard<'_, HashMap<SourceKey, Budget>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the source's own rate allows one more.
    pub(super) fn admit(&self, source: &Source, now: Timestamp) -> bool {
        let Some(rate) = source.limits.rate else {
            return true;
        };
        let rate = f64::from(rate);
        let mut all = self.lock();
        let budget = all.entry(source.key).or_default();
        let bucket = budget.rate.get_or_insert_with(|| Bucket::full(rate, now));
        bucket.take(rate, rate, now)
    }

    /// Whether one more may be logged; then how many refused were not since.
    pub(super) fn may_log(&self, source: SourceKey, now: Timestamp) -> Option<u32> {
        let mut all = self.lock();
        let budget = all.entry(source).or_default();
        let bucket = budget
            .log
            .get_or_insert_with(|| Bucket::full(LOGGED_BURST, now));
        let may = bucket.take(LOGGED_BURST, LOGGED_PER_SECOND, now);
        may.then(|| std::mem::take(&mut budget.passed_over))
    }

    /// Counts one that is not kept.
    pub(super) fn count(&self, source: SourceKey, verdict: Verdict) {
        let mut all = self.lock();
        let budget = all.entry(source).or_default();
        budget.unkept.add(verdict, 1);
        budget.passed_over = budget.passed_over.saturating_add(1);
    }

    /// What was counted since the last time.
    pub(super) fn take_counts(&self) -> Vec<(SourceKey, Counts)> {
        let mut all = self.lock();
        let counted = all
            .iter_mut()
            .filter(|(_, budget)| budget.unkept.total() > 0);
        counted
            .map(|(source, budget)| (*source, std::mem::take(&mut budget.unkept)))
            .collect()
    }

    /// What could not be written.
    pub(super) fn put_back(&self, counts: Vec<(SourceKey, Counts)>) {
        let mut all = self.lock();
        for (source, counts) in counts {
            let unkept = &mut all.entry(source).or_default().unkept;
            *unkept = unkept.plus(counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::ids::Key as _;

    #[test]
    fn a_flood_is_sampled() {
        let budgets = Budgets::default();
        let source = SourceKey::from_u64(1);
        let start = Timestamp(1_000_000);
        let mut kept = 0;
        for n in 0..10_000_u64 {
            let now = start.plus(Duration::from_millis(n));
            if budgets.may_log(source, now).is_some() {
                kept += 1;
            } else {
                budgets.count(source, Verdict::Rejected);
            }
        }
        assert!((190..=210).contains(&kept), "{kept} in ten seconds");
        let counts = budgets.take_counts();
        assert_eq!(counts[0].1.rejected, 10_000 - kept);
        assert!(budgets.take_counts().is_empty());
        budgets.put_back(counts);
        assert_eq!(budgets.take_counts().len(), 1);
        let other = budgets.may_log(SourceKey::from_u64(2), start);
        assert_eq!(other, Some(0), "another source has a budget of its own");
    }
}
