//! What messages and attempts come to over time: counters of minutes, hours
//! and days, with durations in a histogram that can be added to another.

use std::ops::Range;

use super::attempt::OUTCOMES;
use super::time::Timestamp;

/// How long a slot of time is. Slots are counted from the epoch, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resolution {
    Minute,
    Hour,
    Day,
}

impl Resolution {
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == text)
    }

    /// Minutes in a slot.
    fn minutes(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 24 * 60,
        }
    }

    /// Milliseconds in a slot.
    #[must_use]
    pub fn slot_ms(self) -> u64 {
        u64::from(self.minutes()) * 60_000
    }

    /// The slot that `at` lies in.
    #[must_use]
    pub fn slot(self, at: Timestamp) -> u32 {
        u32::try_from(at.0 / self.slot_ms()).unwrap_or(u32::MAX)
    }

    /// The slot that a minute, counted from the epoch, lies in.
    #[must_use]
    pub fn slot_of_minute(self, minute: u32) -> u32 {
        minute / self.minutes()
    }

    /// When a slot begins.
    #[must_use]
    pub fn start(self, slot: u32) -> Timestamp {
        Timestamp(u64::from(slot) * self.slot_ms())
    }

    /// For how many slots counters are kept: 48 hours, 90 days, 2 years.
    #[must_use]
    pub fn slots_kept(self) -> u32 {
        match self {
            Self::Minute => 48 * 60,
            Self::Hour => 90 * 24,
            Self::Day => 2 * 365,
        }
    }

    /// Slots of one answer at most.
    #[must_use]
    pub fn points_max(self) -> u32 {
        match self {
            Self::Minute | Self::Hour => 1_500,
            Self::Day => 1_000,
        }
    }

    /// Slots of an answer when it is not said since when: an hour, a day,
    /// four weeks.
    fn points_default(self) -> u32 {
        match self {
            Self::Minute => 60,
            Self::Hour => 24,
            Self::Day => 28,
        }
    }
}

/// Some slots in a row: at least one, at most
/// [`points_max`](Resolution::points_max).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    resolution: Resolution,
    slots: Range<u32>,
}

/// Why there is no such period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeriodError {
    /// It ends before it has begun.
    Empty,
    /// It has so many slots.
    TooLong(u64),
    /// It ends beyond the slots that can be counted, in millennia.
    TooLate,
}

impl Period {
    /// The slots that touch what lies from `from` to before `to`. Without `to`
    /// it ends with the slot of `now`, without `from` it has the usual length.
    pub fn new(
        resolution: Resolution,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, PeriodError> {
        let to = to.map_or(now.0.saturating_add(1), |to| to.0);
        if to == 0 || from.is_some_and(|from| from.0 >= to) {
            return Err(PeriodError::Empty);
        }
        let end = to.div_ceil(resolution.slot_ms());
        let start = from.map_or(
            end.saturating_sub(resolution.points_default().into()),
            |from| from.0 / resolution.slot_ms(),
        );
        if end - start > resolution.points_max().into() {
            return Err(PeriodError::TooLong(end - start));
        }
        let slot = |slot| u32::try_from(slot).map_err(|_| PeriodError::TooLate);
        Ok(Self {
            resolution,
            slots: slot(start)?..slot(end)?,
        })
    }

    #[must_use]
    pub fn resolution(&self) -> Resolution {
        self.resolution
    }

    #[must_use]
    pub fn slots(&self) -> Range<u32> {
        self.slots.clone()
    }

    /// The same time in minutes.
    #[must_use]
    pub fn minutes(&self) -> Range<u32> {
        let minute = |slot: u32| slot.saturating_mul(self.resolution.minutes());
        minute(self.slots.start)..minute(self.slots.end)
    }

    /// When its first slot begins.
    #[must_use]
    pub fn from(&self) -> Timestamp {
        self.resolution.start(self.slots.start)
    }

    /// When its last slot ends.
    #[must_use]
    pub fn to(&self) -> Timestamp {
        self.resolution.start(self.slots.end)
    }
}

/// One thing that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Message {
        payload_bytes: u64,
    },
    Attempt {
        delivered: bool,
        /// [`Outcome::number`](super::attempt::Outcome::number).
        outcome: u8,
        duration_ms: u32,
        sent_bytes: u64,
    },
}

/// What was counted in one slot, or in several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Messages accepted, and the bytes of their payloads.
    pub messages: u64,
    pub payload_bytes: u64,
    /// Attempts, in two ways: by verdict, and by outcome in the order of
    /// [`OUTCOMES`].
    pub delivered: u64,
    pub failed: u64,
    pub outcomes: [u64; OUTCOMES.len()],
    /// Of all attempts together, and of the longest.
    pub duration_ms: u64,
    pub duration_max_ms: u32,
    pub durations: Histogram,
    /// Bytes of the payloads of attempts that sent theirs.
    pub sent_bytes: u64,
}

impl Counter {
    /// Counts one thing.
    pub fn count(&mut self, counted: Counted) {
        match counted {
            Counted::Message { payload_bytes } => {
                more(&mut self.messages, 1);
                more(&mut self.payload_bytes, payload_bytes);
            }
            Counted::Attempt {
                delivered,
                outcome,
                duration_ms,
                sent_bytes,
            } => {
                more(&mut self.delivered, delivered.into());
                more(&mut self.failed, (!delivered).into());
                more(&mut self.outcomes[usize::from(outcome)], 1);
                more(&mut self.duration_ms, duration_ms.into());
                self.duration_max_ms = self.duration_max_ms.max(duration_ms);
                self.durations.add(bucket(duration_ms), 1);
                more(&mut self.sent_bytes, sent_bytes);
            }
        }
    }

    /// Both slots, or both halves of one, together.
    pub fn add(&mut self, other: &Self) {
        more(&mut self.messages, other.messages);
        more(&mut self.payload_bytes, other.payload_bytes);
        more(&mut self.delivered, other.delivered);
        more(&mut self.failed, other.failed);
        for (sum, one) in self.outcomes.iter_mut().zip(other.outcomes) {
            more(sum, one);
        }
        more(&mut self.duration_ms, other.duration_ms);
        self.duration_max_ms = self.duration_max_ms.max(other.duration_max_ms);
        for &(bucket, count) in &other.durations.buckets {
            self.durations.add(bucket, count);
        }
        more(&mut self.sent_bytes, other.sent_bytes);
    }

    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.delivered.saturating_add(self.failed)
    }

    /// Attempts without any HTTP answer.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        total(self.outcomes[1..].iter())
    }

    /// The duration that `percent` of the attempts did not exceed, within a
    /// sixteenth; exact below 16 ms. `None` without attempts.
    #[must_use]
    pub fn duration_quantile_ms(&self, percent: u8) -> Option<u32> {
        let quantile = self.durations.quantile(percent)?;
        Some(quantile.min(self.duration_max_ms))
    }

    /// The mean duration, rounded. `None` without attempts.
    #[must_use]
    pub fn duration_mean_ms(&self) -> Option<u64> {
        let attempts = self.attempts();
        self.duration_ms
            .saturating_add(attempts / 2)
            .checked_div(attempts)
    }

    /// The longest duration. `None` without attempts.
    #[must_use]
    pub fn duration_max_ms(&self) -> Option<u32> {
        (self.attempts() > 0).then_some(self.duration_max_ms)
    }

    /// Whether attempts are counted in all ways alike.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let by_outcome = total(self.outcomes.iter());
        let by_duration = self.durations.count();
        by_outcome == self.attempts() && by_duration == by_outcome
    }

    /// Whether `part` may have been added to this.
    #[must_use]
    pub fn covers(&self, part: &Self) -> bool {
        let mut most = self.clone();
        most.most(part);
        most == *self
    }

    /// The greater of each number.
    fn most(&mut self, other: &Self) {
        self.messages = self.messages.max(other.messages);
        self.payload_bytes = self.payload_bytes.max(other.payload_bytes);
        self.delivered = self.delivered.max(other.delivered);
        self.failed = self.failed.max(other.failed);
        for (most, one) in self.outcomes.iter_mut().zip(other.outcomes) {
            *most = one.max(*most);
        }
        self.duration_ms = self.duration_ms.max(other.duration_ms);
        self.duration_max_ms = self.duration_max_ms.max(other.duration_max_ms);
        for &(bucket, count) in &other.durations.buckets {
            let missing = count.saturating_sub(self.durations.of(bucket));
            self.durations.add(bucket, missing);
        }
        self.sent_bytes = self.sent_bytes.max(other.sent_bytes);
    }
}

/// Adds without a panic: numbers from a damaged row may be any.
fn more(number: &mut u64, by: u64) {
    *number = number.saturating_add(by);
}

fn total<'a>(numbers: impl Iterator<Item = &'a u64>) -> u64 {
    numbers.copied().fold(0, u64::saturating_add)
}

/// Buckets in which a duration doubles, as a power of two.
const STEPS_LOG2: u32 = 3;
const STEPS: u8 = 1 << STEPS_LOG2;
/// One more than the bucket of the longest duration there can be.
const BUCKETS: u8 = 240;

/// The bucket of a value: below 16 one for each value, then eight of one width
/// until the value has doubled.
fn bucket(value: u32) -> u8 {
    let shift = value.checked_ilog2().unwrap_or(0).max(STEPS_LOG2) - STEPS_LOG2;
    let bucket = (shift << STEPS_LOG2) + (value >> shift);
    u8::try_from(bucket).expect("below 240: 28 doublings of 8, and 15")
}

/// The value in the middle of a bucket.
fn middle(bucket: u8) -> u32 {
    let shift = u32::from((bucket / STEPS).saturating_sub(1));
    let steps = u32::from(bucket) - (shift << STEPS_LOG2);
    (steps << shift) + ((1 << shift) - 1) / 2
}

/// How often each bucket was hit. Only those that were are kept, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<(u8, u64)>,
}

impl Histogram {
    /// The histogram with these buckets, unless they are not in order, or one
    /// is none or empty.
    #[must_use]
    pub fn from_buckets(buckets: Vec<(u8, u64)>) -> Option<Self> {
        let ordered = buckets.windows(2).all(|two| two[0].0 < two[1].0);
        let known = buckets
            .iter()
            .all(|&(bucket, count)| bucket < BUCKETS && count > 0);
        (ordered && known).then_some(Self { buckets })
    }

    #[must_use]
    pub fn into_buckets(self) -> Vec<(u8, u64)> {
        self.buckets
    }

    fn add(&mut self, bucket: u8, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |one| one.0) {
            Ok(at) => more(&mut self.buckets[at].1, count),
            Err(at) if count > 0 => self.buckets.insert(at, (bucket, count)),
            Err(_) => {}
        }
    }

    fn of(&self, bucket: u8) -> u64 {
        let at = self.buckets.binary_search_by_key(&bucket, |one| one.0);
        at.map_or(0, |at| self.buckets[at].1)
    }

    fn count(&self) -> u64 {
        total(self.buckets.iter().map(|(_, count)| count))
    }

    /// The middle of the bucket in which the smallest value lies that
    /// `percent` of all values do not exceed.
    fn quantile(&self, percent: u8) -> Option<u32> {
        let rank = self.count().saturating_mul(percent.into()).div_ceil(100);
        let mut seen: u64 = 0;
        let reached = self.buckets.iter().find(|(_, count)| {
            more(&mut seen, *count);
            seen >= rank
        });
        reached
            .or(self.buckets.last())
            .map(|&(bucket, _)| middle(bucket))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attempt(duration_ms: u32) -> Counted {
        Counted::Attempt {
            delivered: true,
            outcome: 0,
            duration_ms,
            sent_bytes: 3,
        }
    }

    fn counter(durations_ms: &[u32]) -> Counter {
        let mut counter = Counter::default();
        for &duration_ms in durations_ms {
            counter.count(attempt(duration_ms));
        }
        counter
    }

    #[test]
    fn buckets_are_as_wide_as_an_eighth_of_what_they_hold() {
        for (value, want, in_the_middle) in [
            (0, 0, 0),
            (7, 7, 7),
            (8, 8, 8),
            (15, 15, 15),
            (16, 16, 16),
            (17, 16, 16),
            (18, 17, 18),
            (31, 23, 30),
            (32, 24, 33),
            (100, 36, 99),
            (1_000, 63, 991),
            (60_000, 110, 59_391),
            (u32::MAX, 239, 4_160_749_567),
        ] {
            let got = (bucket(value), middle(bucket(value)));
            assert_eq!(got, (want, in_the_middle), "{value}");
        }
        for bucket_of in 0..BUCKETS {
            assert_eq!(bucket(middle(bucket_of)), bucket_of);
        }
    }

    #[test]
    fn quantiles_go_by_the_nearest_rank() {
        let hundred: Vec<u32> = (1..=100).map(|n| n / 10).collect();
        for (durations_ms, p50, p95, p99, max, mean) in [
            (&hundred[..], 5, 9, 9, 10, 5),
            (&[4], 4, 4, 4, 4, 4),
            (&[1, 2], 1, 2, 2, 2, 2),
            (&[3, 1, 2], 2, 3, 3, 3, 2),
            (&[1000], 991, 991, 991, 1000, 1000),
            // The middle of the bucket lies beyond the longest there was.
            (&[960, 960, 961], 961, 961, 961, 961, 960),
        ] {
            let counter = counter(durations_ms);
            let quantile = |percent| counter.duration_quantile_ms(percent);
            let got = [quantile(50), quantile(95), quantile(99)];
            assert_eq!(got, [Some(p50), Some(p95), Some(p99)], "{durations_ms:?}");
            assert_eq!(counter.duration_max_ms(), Some(max));
            assert_eq!(counter.duration_mean_ms(), Some(mean));
        }
        let mut empty = Counter::default();
        empty.count(Counted::Message { payload_bytes: 9 });
        assert_eq!(empty.duration_quantile_ms(99), None);
        assert_eq!(empty.duration_mean_ms(), None);
        assert_eq!(empty.duration_max_ms(), None);
    }

    #[test]
    fn a_period_is_made_of_whole_slots() {
        use Resolution::{Day, Hour, Minute};
        let now = Timestamp(1_795_305_600_000 + 90_000);
        let (minute, hour, day) = (29_921_761, 498_696, 20_779);
        let at = |ms| Some(Timestamp(ms));
        for (resolution, from, to, want) in [
            (Minute, None, None, Ok(minute - 59..minute + 1)),
            (Hour, None, None, Ok(hour - 23..hour + 1)),
            (Day, None, None, Ok(day - 27..day + 1)),
            (Minute, at(0), at(60_000), Ok(0..1)),
            (Minute, at(59_999), at(60_001), Ok(0..2)),
            (Hour, None, at(1), Ok(0..1)),
            (Hour, at(now.0), None, Ok(hour..hour + 1)),
            (Hour, at(now.0 + 1), None, Err(PeriodError::Empty)),
            (Hour, at(7), at(7), Err(PeriodError::Empty)),
            (Hour, None, at(0), Err(PeriodError::Empty)),
            (Minute, at(0), at(1_500 * 60_000), Ok(0..1_500)),
            (
                Minute,
                at(0),
                at(1_500 * 60_000 + 1),
                Err(PeriodError::TooLong(1_501)),
            ),
            (
                Day,
                at(0),
                at(1_001 * 86_400_000),
                Err(PeriodError::TooLong(1_001)),
            ),
            (Minute, None, at(u64::MAX), Err(PeriodError::TooLate)),
        ] {
            let got = Period::new(resolution, from, to, now);
            let slots = got.map(|period| period.slots());
            assert_eq!(slots, want, "{resolution:?} {from:?} {to:?}");
        }
        let days = Period::new(Day, at(1), at(86_400_001), now).expect("it is short");
        assert_eq!(days.minutes(), 0..2_880);
        assert_eq!((days.from().0, days.to().0), (0, 2 * 86_400_000));
    }

    #[test]
    fn a_counter_is_sound_as_long_as_its_numbers_agree() {
        let whole = counter(&[1, 2, 500]);
        assert!(whole.is_sound() && whole.covers(&counter(&[1, 500])));
        assert!(!counter(&[1, 500]).covers(&whole));
        assert!(!whole.covers(&counter(&[3])));
        let mut wrong = whole.clone();
        wrong.failed += 1;
        assert!(!wrong.is_sound());
        let mut wrong = whole;
        wrong.outcomes[3] += 1;
        assert!(!wrong.is_sound());
    }

    #[test]
    fn a_histogram_out_of_order_is_none() {
        for (buckets, known) in [
            (vec![], true),
            (vec![(0, 1), (239, 2)], true),
            (vec![(1, 1), (1, 1)], false),
            (vec![(2, 1), (1, 1)], false),
            (vec![(1, 0)], false),
            (vec![(240, 1)], false),
        ] {
            let histogram = Histogram::from_buckets(buckets.clone());
            assert_eq!(histogram.is_some(), known, "{buckets:?}");
        }
    }

    #[test]
    fn numbers_of_any_size_are_added_without_a_panic() {
        let mut huge = counter(&[1, 70_000]);
        huge.durations.add(3, u64::MAX);
        huge.duration_ms = u64::MAX;
        huge.delivered = u64::MAX;
        let copy = huge.clone();
        huge.add(&copy);
        assert_eq!(huge.duration_ms, u64::MAX);
        assert!(huge.duration_quantile_ms(99).is_some());
        assert!(huge.duration_mean_ms().is_some());
    }

    fn durations() -> impl Strategy<Value = Vec<u32>> {
        let one = prop_oneof![0_u32..20, 0_u32..2_000, 0_u32..70_000, any::<u32>()];
        proptest::collection::vec(one, 1..200)
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_a_sixteenth_of_the_exact_one(
            mut durations_ms in durations(),
            percent in 1_u8..=100,
        ) {
            let got = counter(&durations_ms).duration_quantile_ms(percent).expect("some");
            durations_ms.sort_unstable();
            let rank = (durations_ms.len() * usize::from(percent)).div_ceil(100);
            let exact = durations_ms[rank - 1];
            prop_assert!(got.abs_diff(exact) <= exact / 16, "{got} for {exact}");
        }

        #[test]
        fn counters_added_are_as_if_all_had_been_counted_in_one(
            one in durations(),
            other in durations(),
        ) {
            let mut sum = counter(&one);
            sum.add(&counter(&other));
            let together = counter(&[one.clone(), other].concat());
            prop_assert_eq!(&sum, &together);
            prop_assert!(sum.is_sound() && sum.covers(&counter(&one)));
        }
    }
}
