//! What follows an attempt.

use std::time::Duration;

use super::delivery::{
    ATTEMPTS_LISTED_MAX, AttemptMark, Delivery, DeliveryState, Trigger, Verdict,
};
use super::time::Timestamp;

/// Waits after each failed attempt when nothing else is set: eight attempts in all.
pub const DEFAULT_SCHEDULE: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(10),
];
/// Steps of a schedule at most.
pub const SCHEDULE_STEPS_MAX: usize = 40;
/// One wait at most.
pub const WAIT_MAX: Duration = Duration::from_hours(720);
/// How long a `Retry-After` can hold a delivery back.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// Share of a wait that jitter adds at most; with the slot below 10 % in all.
const JITTER_SHARE: f64 = 0.08;
/// A wait is rounded up to slots of this fraction of it, so that the due rows
/// of one wave of failures lie together on disk.
const SLOTS_PER_WAIT: u64 = 64;

/// When to try again after the failure that used `retries_used` steps before
/// it, or `None` when the schedule is used up.
///
/// `jitter` is a fraction in `0.0..1.0`, given by the caller so that this stays
/// pure; it only adds. `retry_after` is the response's wish: it can lengthen
/// the wait up to [`RETRY_AFTER_MAX`], never shorten it.
/// Source: Standard Webhooks, retry schedule.
#[must_use]
pub fn next_due(
    schedule: &[Duration],
    retries_used: u16,
    now: Timestamp,
    jitter: f64,
    retry_after: Option<Duration>,
) -> Option<Timestamp> {
    let wait = *schedule.get(usize::from(retries_used))?;
    let wanted = retry_after.map_or(wait, |wish| wait.max(wish.min(RETRY_AFTER_MAX)));
    Some(slot(
        now.plus(wanted.mul_f64(1.0 + JITTER_SHARE * jitter)),
        wanted,
    ))
}

/// `due`, rounded up to the slots of a wait of this length.
fn slot(due: Timestamp, wait: Duration) -> Timestamp {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let slot_ms = (wait_ms / SLOTS_PER_WAIT).max(1);
    Timestamp(due.0.div_ceil(slot_ms).saturating_mul(slot_ms))
}

/// One attempt as it happened, for [`after_attempt`].
#[derive(Clone, Copy, Debug)]
pub struct Attempted {
    pub mark: AttemptMark,
    pub verdict: Verdict,
    /// The due time and trigger of the row that led to this attempt.
    pub took: (Timestamp, Trigger),
    /// What the schedule and the response say about trying again, computed
    /// when the attempt ended: see [`next_due`].
    pub retry_at: Option<Timestamp>,
}

/// The delivery after `attempted`.
///
/// A replay that was asked for while the attempt was in flight stays waiting.
/// A failed replay leaves the retries that were left, and does not undo a
/// success.
#[must_use]
pub fn after_attempt(before: &Delivery, attempted: &Attempted) -> Delivery {
    let mut after = before.clone();
    after.attempt_count += 1;
    if after.attempts.len() >= ATTEMPTS_LISTED_MAX {
        after.attempts.remove(0);
    }
    after.attempts.push(attempted.mark);
    after.succeeded |= attempted.verdict == Verdict::Delivered;
    if before
        .waiting()
        .is_some_and(|waiting| waiting != attempted.took)
    {
        // The replay is what comes next; the retry that it stands in for is used up.
        let used = attempted.took.1 == Trigger::Scheduled
            && attempted.verdict != Verdict::Delivered
            && attempted.retry_at.is_some();
        after.retries_used += u16::from(used);
        return after;
    }
    after.state = match attempted.verdict {
        Verdict::Delivered => DeliveryState::Delivered,
        _ if after.succeeded => DeliveryState::Delivered,
        _ if before.waiting().is_none() => before.state,
        Verdict::Gone | Verdict::Failed => match attempted.retry_at {
            Some(due) => {
                let scheduled = attempted.took.1 == Trigger::Scheduled;
                after.retries_used += u16::from(scheduled);
                DeliveryState::Waiting {
                    due,
                    trigger: Trigger::Scheduled,
                }
            }
            None => DeliveryState::Exhausted,
        },
    };
    after
}

/// How long a response asks to wait: `Retry-After` as whole seconds or as an
/// HTTP date. Anything else, or more than one header, is no wish.
///
/// Source: RFC 9110, section 10.2.3.
#[must_use]
pub fn parse_retry_after<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
    now: Timestamp,
) -> Option<Duration> {
    let mut values = values.into_iter();
    let only = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let text = std::str::from_utf8(only).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = text.parse::<u64>().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let date_ms = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis();
    let wish = Timestamp(u64::try_from(date_ms).ok()?).since(now);
    Some(wish.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{AttemptKey, Key};

    const NOW: Timestamp = Timestamp(1_795_323_600_000);

    #[test]
    fn jitter_only_adds_and_at_most_a_tenth() {
        for (step, wait_s) in [
            (0, 5),
            (1, 300),
            (2, 1800),
            (3, 7200),
            (4, 18_000),
            (5, 36_000),
            (6, 36_000),
        ] {
            for jitter in [0.0, 0.3, 0.999_999] {
                for offset in [0, 1, 77, 999] {
                    let now = Timestamp(NOW.0 + offset);
                    let due = next_due(&DEFAULT_SCHEDULE, step, now, jitter, None).unwrap();
                    let waited = due.since(now).as_secs_f64();
                    let wait = f64::from(wait_s);
                    assert!(
                        waited >= wait && waited <= wait * 1.1,
                        "step {step}, jitter {jitter}: {waited}"
                    );
                }
            }
        }
        assert_eq!(next_due(&DEFAULT_SCHEDULE, 7, NOW, 0.0, None), None);
    }

    #[test]
    fn a_wish_lengthens_but_never_shortens_and_has_an_end() {
        let schedule = [Duration::from_mins(1)];
        for (wish_s, want_s) in [(1, 60), (60, 60), (3600, 3600), (10_000_000, 86_400)] {
            let due = next_due(&schedule, 0, NOW, 0.0, Some(Duration::from_secs(wish_s))).unwrap();
            let waited = due.since(NOW).as_secs_f64();
            let want = f64::from(want_s);
            assert!(
                waited >= want && waited <= want * 1.02,
                "{wish_s}: {waited}"
            );
        }
    }

    #[test]
    fn waves_of_failures_share_slots() {
        let slots: std::collections::BTreeSet<_> = (0..1000_u32)
            .filter_map(|n| {
                next_due(
                    &DEFAULT_SCHEDULE,
                    1,
                    Timestamp(NOW.0 + u64::from(n)),
                    f64::from(n) / 1000.0,
                    None,
                )
            })
            .collect();
        assert!(slots.len() < 10, "{} slots", slots.len());
    }

    #[test]
    fn retry_after_is_read_strictly() {
        let day = Some(Duration::from_hours(24));
        let seconds = |n| Some(Duration::from_secs(n));
        for (values, want) in [
            (&[b"120".as_slice()][..], seconds(120)),
            (&[b" 5 "], seconds(5)),
            (&[b"0"], seconds(0)),
            (&[b"1000000000"], day),
            (&[b"18446744073709551616"], day),
            (&[b"-5"], None),
            (&[b"1.5"], None),
            (&[b"inf"], None),
            (&[b"NaN"], None),
            (&[b""], None),
            (&[b"soon"], None),
            (&[b"1", b"2"], None),
            (&[], None),
            (&[b"Sun, 22 Nov 2026 05:01:00 GMT"], seconds(60)),
            (&[b"Sun, 22 Nov 2020 05:01:00 GMT"], seconds(0)),
            (&[b"Sun, 22 Nov 2099 05:01:00 GMT"], day),
        ] {
            let got = parse_retry_after(values.iter().copied(), Timestamp(1_795_323_600_000));
            assert_eq!(got, want, "{values:?}");
        }
    }

    fn attempted(
        verdict: Verdict,
        took: (Timestamp, Trigger),
        retry_at: Option<Timestamp>,
    ) -> Attempted {
        let mark = AttemptMark {
            key: AttemptKey::from_u64(1),
            status: 500,
        };
        Attempted {
            mark,
            verdict,
            took,
            retry_at,
        }
    }

    fn waiting(due: u64, trigger: Trigger) -> Delivery {
        Delivery::new(Timestamp(due), trigger)
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "it is one table")]
    fn what_follows_an_attempt() {
        use DeliveryState::{Cancelled, Delivered, Exhausted, Waiting};
        use Trigger::{Manual, Scheduled};
        let at = Timestamp;
        let succeeded = |mut d: Delivery| {
            d.succeeded = true;
            d
        };
        let cancelled = Delivery {
            state: Cancelled,
            ..waiting(1, Scheduled)
        };
        for (name, before, verdict, took, retry, want, used) in [
            (
                "first success",
                waiting(1, Scheduled),
                Verdict::Delivered,
                (at(1), Scheduled),
                Some(at(9)),
                Delivered,
                0,
            ),
            (
                "first failure",
                waiting(1, Scheduled),
                Verdict::Failed,
                (at(1), Scheduled),
                Some(at(9)),
                Waiting {
                    due: at(9),
                    trigger: Scheduled,
                },
                1,
            ),
            (
                "last failure",
                waiting(1, Scheduled),
                Verdict::Failed,
                (at(1), Scheduled),
                None,
                Exhausted,
                0,
            ),
            (
                "a replay asked for meanwhile stays",
                waiting(5, Manual),
                Verdict::Failed,
                (at(1), Scheduled),
                Some(at(9)),
                Waiting {
                    due: at(5),
                    trigger: Manual,
                },
                1,
            ),
            (
                "a success does not swallow a replay",
                waiting(5, Manual),
                Verdict::Delivered,
                (at(1), Scheduled),
                Some(at(9)),
                Waiting {
                    due: at(5),
                    trigger: Manual,
                },
                0,
            ),
            (
                "a failed replay leaves the retries that were left",
                waiting(1, Manual),
                Verdict::Failed,
                (at(1), Manual),
                Some(at(9)),
                Waiting {
                    due: at(9),
                    trigger: Scheduled,
                },
                0,
            ),
            (
                "a failed replay of an exhausted one",
                waiting(1, Manual),
                Verdict::Failed,
                (at(1), Manual),
                None,
                Exhausted,
                0,
            ),
            (
                "a failed replay does not undo a success",
                succeeded(waiting(1, Manual)),
                Verdict::Failed,
                (at(1), Manual),
                Some(at(9)),
                Delivered,
                0,
            ),
            (
                "410 keeps what is left",
                waiting(1, Scheduled),
                Verdict::Gone,
                (at(1), Scheduled),
                Some(at(9)),
                Waiting {
                    due: at(9),
                    trigger: Scheduled,
                },
                1,
            ),
            (
                "cancelled in flight stays cancelled",
                cancelled.clone(),
                Verdict::Failed,
                (at(1), Scheduled),
                Some(at(9)),
                Cancelled,
                0,
            ),
            (
                "cancelled in flight, yet taken",
                cancelled,
                Verdict::Delivered,
                (at(1), Scheduled),
                None,
                Delivered,
                0,
            ),
        ] {
            let after = after_attempt(&before, &attempted(verdict, took, retry));
            assert_eq!(after.state, want, "{name}");
            assert_eq!(after.retries_used, used, "{name}");
            assert_eq!(after.attempt_count, 1, "{name}");
        }
    }

    #[test]
    fn only_the_newest_attempts_are_listed() {
        let mut delivery = waiting(1, Trigger::Manual);
        for _ in 0..100 {
            delivery.state = DeliveryState::Waiting {
                due: Timestamp(1),
                trigger: Trigger::Manual,
            };
            delivery = after_attempt(
                &delivery,
                &attempted(Verdict::Failed, (Timestamp(1), Trigger::Manual), None),
            );
        }
        assert_eq!(
            (delivery.attempts.len(), delivery.attempt_count),
            (ATTEMPTS_LISTED_MAX, 100)
        );
    }
}
