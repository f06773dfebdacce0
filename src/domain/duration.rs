//! Lengths of time as people write them: `5s`, `1h30m`, `250ms`.

use std::time::Duration;

/// Retries that a schedule may have.
pub const SCHEDULE_STEPS_MAX: usize = 40;
/// The longest wait of one retry.
pub const SCHEDULE_STEP_MAX: Duration = Duration::from_hours(30 * 24);

/// Largest first: the order in which they may be combined.
const UNITS_MS: [(&str, u64); 5] = [
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Why a text is not a length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("it is empty")]
    Empty,
    #[error("a whole number must come before each unit")]
    NumberMissing,
    #[error("a unit must follow each number: d, h, m, s or ms")]
    UnitMissing,
    #[error("the units are d, h, m, s and ms")]
    UnitUnknown,
    #[error("each unit comes once, the largest first")]
    UnitsOutOfOrder,
    #[error("it is too long")]
    TooLong,
}

/// Why texts are not a retry schedule. Steps count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("it has more than {SCHEDULE_STEPS_MAX} steps")]
    TooManySteps,
    #[error("step {step} is not a duration: {why}")]
    NotADuration { step: usize, why: DurationError },
    #[error("step {step} is longer than {}", format(SCHEDULE_STEP_MAX))]
    StepTooLong { step: usize },
}

/// The length of time that `text` names, to the millisecond.
///
/// Whole numbers with a unit, the largest unit first: `30d`, `1h30m`, `0s`.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let mut rest = text;
    let mut units_left = UNITS_MS.as_slice();
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let (number, after_number) = split_before(rest, |c| !c.is_ascii_digit());
        let (unit, after_unit) = split_before(after_number, |c| c.is_ascii_digit());
        if number.is_empty() {
            return Err(DurationError::NumberMissing);
        }
        let (unit_ms, smaller) = take_unit(unit, units_left)?;
        total_ms = number
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(unit_ms))
            .and_then(|part_ms| part_ms.checked_add(total_ms))
            .ok_or(DurationError::TooLong)?;
        units_left = smaller;
        rest = after_unit;
    }
    Ok(Duration::from_millis(total_ms))
}

/// `duration` in the form that [`parse`] reads: `1h30m`, `0s`.
///
/// What is finer than a millisecond is left out.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut left_ms = duration.as_millis();
    let mut text = String::new();
    for (unit, unit_ms) in UNITS_MS {
        let count = left_ms / u128::from(unit_ms);
        left_ms %= u128::from(unit_ms);
        if count > 0 {
            text.push_str(&count.to_string());
            text.push_str(unit);
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// The waits between the attempts of a delivery, within the limits above.
///
/// No steps at all is a schedule too: one attempt, no retries.
pub fn parse_schedule<'a>(
    steps: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Duration>, ScheduleError> {
    let mut waits = Vec::new();
    for (index, text) in steps.into_iter().enumerate() {
        let step = index + 1;
        if step > SCHEDULE_STEPS_MAX {
            return Err(ScheduleError::TooManySteps);
        }
        let wait = parse(text).map_err(|why| ScheduleError::NotADuration { step, why })?;
        if wait > SCHEDULE_STEP_MAX {
            return Err(ScheduleError::StepTooLong { step });
        }
        waits.push(wait);
    }
    Ok(waits)
}

fn split_before(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(stop).unwrap_or(text.len()))
}

type Units = &'static [(&'static str, u64)];

/// The unit's length, and the units that may still follow it.
fn take_unit(unit: &str, units_left: Units) -> Result<(u64, Units), DurationError> {
    if unit.is_empty() {
        return Err(DurationError::UnitMissing);
    }
    match units_left.iter().position(|(name, _)| *name == unit) {
        Some(at) => Ok((units_left[at].1, &units_left[at + 1..])),
        None if UNITS_MS.iter().any(|(name, _)| *name == unit) => {
            Err(DurationError::UnitsOutOfOrder)
        }
        None => Err(DurationError::UnitUnknown),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_units_largest_first() {
        for (text, want_ms) in [
            ("0s", Ok(0)),
            ("250ms", Ok(250)),
            ("5s", Ok(5_000)),
            ("5m", Ok(300_000)),
            ("2h", Ok(7_200_000)),
            ("30d", Ok(2_592_000_000)),
            ("1h30m", Ok(5_400_000)),
            ("1d2h3m4s5ms", Ok(93_784_005)),
            ("90m", Ok(5_400_000)),
            ("007s", Ok(7_000)),
            ("", Err(DurationError::Empty)),
            ("s", Err(DurationError::NumberMissing)),
            ("-5s", Err(DurationError::NumberMissing)),
            (" 5s", Err(DurationError::NumberMissing)),
            ("5", Err(DurationError::UnitMissing)),
            ("1h30", Err(DurationError::UnitMissing)),
            ("1.5h", Err(DurationError::UnitUnknown)),
            ("5 s", Err(DurationError::UnitUnknown)),
            ("5S", Err(DurationError::UnitUnknown)),
            ("2w", Err(DurationError::UnitUnknown)),
            ("５s", Err(DurationError::NumberMissing)),
            ("30m1h", Err(DurationError::UnitsOutOfOrder)),
            ("1s1s", Err(DurationError::UnitsOutOfOrder)),
            ("1ms1s", Err(DurationError::UnitsOutOfOrder)),
            ("18446744073709551615ms", Ok(u64::MAX)),
            ("18446744073709551616ms", Err(DurationError::TooLong)),
            ("18446744073709551615d", Err(DurationError::TooLong)),
            ("1s18446744073709551615ms", Err(DurationError::TooLong)),
        ] {
            check(text, want_ms);
        }
    }

    fn check(text: &str, want_ms: Result<u64, DurationError>) {
        assert_eq!(parse(text), want_ms.map(Duration::from_millis), "{text:?}");
    }

    #[test]
    fn formatting_uses_the_largest_units() {
        for (ms, want) in [
            (0, "0s"),
            (250, "250ms"),
            (60_000, "1m"),
            (5_400_000, "1h30m"),
            (36_000_000, "10h"),
            (7_776_000_000, "90d"),
            (93_784_005, "1d2h3m4s5ms"),
        ] {
            assert_eq!(format(Duration::from_millis(ms)), want, "{ms} ms");
        }
        assert_eq!(format(Duration::from_nanos(999_999)), "0s");
    }

    #[test]
    fn schedules_keep_their_limits() {
        let forty = vec!["1s"; 40];
        let forty_one = vec!["1s"; 41];
        let why = DurationError::UnitMissing;
        for (steps, want) in [
            (vec![], Ok(0)),
            (vec!["0s", "30d"], Ok(2)),
            (forty, Ok(40)),
            (forty_one, Err(ScheduleError::TooManySteps)),
            (
                vec!["5s", "30d1ms"],
                Err(ScheduleError::StepTooLong { step: 2 }),
            ),
            (
                vec!["5s", "5"],
                Err(ScheduleError::NotADuration { step: 2, why }),
            ),
        ] {
            let got = parse_schedule(steps.iter().copied());
            assert_eq!(got.map(|waits| waits.len()), want, "{steps:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_formatted_parses_back(ms: u64) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_parsing_panic(text in "[0-9dhms. é]{0,12}") {
            let _ = parse(&text);
        }
    }
}
