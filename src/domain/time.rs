//! Points in time and lengths of time, as plain numbers.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Whole seconds since the epoch, rounded down: what signatures carry.
    #[must_use]
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This moment, `wait` later; stops at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(wait_ms))
    }

    /// Time from `earlier` to this moment; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// As people and programs write it: `2024-02-29T12:34:56.789Z`.
    ///
    /// Source: RFC 3339; the calendar is Howard Hinnant's `civil_from_days`,
    /// which counts years from March, so that the leap day is a year's last.
    #[must_use]
    pub fn rfc3339(self) -> String {
        const ERA_DAYS: u64 = 146_097;
        let (seconds, millis) = (self.0 / 1000, self.0 % 1000);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        // Days since 0000-03-01.
        let days = seconds / 86_400 + 719_468;
        let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let months_since_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
        let (month, next_year) = match months_since_march {
            0..=9 => (months_since_march + 3, 0),
            _ => (months_since_march - 9, 1),
        };
        let year = year_of_era + era * 400 + next_year;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }

    /// The moment that `2024-02-29T12:34:56Z` names, with or without parts of
    /// a second, in UTC or so far from it; of years before 1970 none.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let number = |range: std::ops::Range<usize>| -> Option<u64> {
            let digits = text.get(range)?;
            digits.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
            digits.parse().ok()
        };
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if !marks.iter().all(|(at, mark)| bytes.get(*at) == Some(mark)) {
            return None;
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        let (fraction, east_ms) = split_offset(text.get(19..)?)?;
        let millis = match fraction.strip_prefix('.') {
            None if fraction.is_empty() => 0,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                let first: String = digits.chars().chain("00".chars()).take(3).collect();
                first.parse().ok()?
            }
            _ => return None,
        };
        if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        // Counted from March, so that the leap day is a year's last.
        let (shifted, months) = if month > 2 {
            (year, month - 3)
        } else {
            (year - 1, month + 9)
        };
        let day_of_year = (153 * months + 2) / 5 + day.checked_sub(1)?;
        let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year;
        let days = days.checked_sub(719_468)?;
        let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
        let moment = Self(seconds * 1000 + millis);
        // The 31st of a short month would be another day.
        moment
            .rfc3339()
            .starts_with(text.get(..10)?)
            .then_some(moment)
            .and_then(|local| local.0.checked_add_signed(-east_ms).map(Self))
    }
}

/// What follows the seconds, parted: the fraction with its point, and how far
/// east of UTC the time is written, in milliseconds.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(fraction) = text.strip_suffix('Z') {
        return Some((fraction, 0));
    }
    let (fraction, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let sign = match offset.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two = |range| -> Option<i64> {
        let digits: &str = offset.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
        digits.parse().ok()
    };
    let (hours, minutes) = (two(1..3)?, two(4..6)?);
    let fits = offset.as_bytes()[3] == b':' && hours < 24 && minutes < 60;
    fits.then_some((fraction, sign * (hours * 60 + minutes) * 60_000))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_by_the_calendar() {
        for (millis, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_704_067_199_001, "2023-12-31T23:59:59.001Z"),
            (1_709_210_096_789, "2024-02-29T12:34:56.789Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(millis).rfc3339(), want, "{millis}");
            assert_eq!(Timestamp::parse_rfc3339(want), Some(Timestamp(millis)));
        }
        for text in [
            "",
            "2024-02-29",
            "2023-02-29T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-02-00T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-02-29T24:00:00Z",
            "2024-02-29T00:00:00",
            "2024-02-29T00:00:00+0100",
            "2024-02-29T00:00:00+24:00",
            "2024-02-29T00:00:00é1:00",
            "1970-01-01T00:00:00+01:00",
            "2024-02-29T00:00:00.Z",
            "1969-12-31T23:59:59Z",
            "+024-02-29T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
        for (text, want) in [
            ("2020-01-01T00:00:00-07:00", "2020-01-01T07:00:00.000Z"),
            (
                "2020-01-01T00:30:00.123456789+01:00",
                "2019-12-31T23:30:00.123Z",
            ),
        ] {
            let moment = Timestamp::parse_rfc3339(text).unwrap();
            assert_eq!(moment.rfc3339(), want, "{text}");
        }
        // No moment is beyond it.
        assert!(Timestamp(u64::MAX).rfc3339().ends_with('Z'));
    }
}
