//! Text for people: lines, times and sizes.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::cli::printable::plain;
use crate::domain::time::Timestamp;

/// The lines of a text, each made [`plain`]. A tab becomes spaces.
pub(super) fn plain_lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| plain(&line.replace('\t', "    ")));
    lines.collect()
}

/// The time of day here, `HH:MM:SS`.
pub(super) fn time_of_day(at: Timestamp) -> String {
    time_of_day_in(at, TimeZone::system())
}

fn time_of_day_in(at: Timestamp, zone: TimeZone) -> String {
    let at_ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(jiff::Timestamp::MAX);
    at.to_zoned(zone).strftime("%H:%M:%S").to_string()
}

/// A duration in one unit: `12 ms`, `1.2 s`.
pub(super) fn duration(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

/// A wait in words, from now on.
pub(super) fn soon(wait: Duration) -> String {
    if wait.is_zero() {
        "now".to_owned()
    } else if wait < Duration::from_secs(1) {
        format!("in {}", duration(wait))
    } else {
        format!("in {:.0} s", wait.as_secs_f64())
    }
}

/// A number of things, in words.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    let thing = if number == 1 { one } else { many };
    format!("{number} {thing}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_lines_and_nothing_else() {
        assert_eq!(plain_lines("a\tb\r\nc\u{7}"), ["a    b", "c\\u{7}"]);
    }

    #[test]
    fn times_are_short() {
        let at = Timestamp(1_795_305_600_000);
        assert_eq!(time_of_day_in(at, TimeZone::UTC), "00:00:00");
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(time_of_day_in(at, east), "02:00:00");
        for (took_ms, want, wait) in [
            (0, "0 ms", "now"),
            (999, "999 ms", "in 999 ms"),
            (1234, "1.2 s", "in 1 s"),
            (30_000, "30.0 s", "in 30 s"),
        ] {
            let took = Duration::from_millis(took_ms);
            assert_eq!(duration(took), want);
            assert_eq!(soon(took), wait);
        }
        assert_eq!(count(1, "event", "events"), "1 event");
        assert_eq!(count(2, "event", "events"), "2 events");
    }
}
