//! Text for people: what came from elsewhere made harmless, times and sizes.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::domain::time::Timestamp;

/// The text on one line, without a character that a terminal obeys or that
/// turns around what follows it.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_escaped(&mut out, c);
    }
    out
}

/// The lines of a text, each as [`escaped`]. A tab becomes spaces.
pub(super) fn escaped_lines(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(|line| escaped(&line.replace('\t', "    ")));
    lines.collect()
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_unsafe(c) => {
            write!(out, "\\u{{{:x}}}", u32::from(c)).expect("a string takes all");
        }
        c => out.push(c),
    }
}

/// Control characters, and those that change the direction or the lines of text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// JSON that stays the same JSON, without characters that a terminal obeys.
pub(super) fn harmless_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) {
            // Such a character is inside a string, and none is beyond four digits.
            write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes all");
        } else {
            out.push(c);
        }
    }
    out
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
    fn no_text_reaches_the_terminal_as_a_command() {
        for (text, want) in [
            ("a \u{e4}\u{20ac}", "a \u{e4}\u{20ac}"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\r\n\tb\u{7f}", "a\\r\\n\\tb\\u{7f}"),
            ("\u{202e}evil", "\\u{202e}evil"),
        ] {
            assert_eq!(escaped(text), want, "{text:?}");
        }
        assert_eq!(escaped_lines("a\tb\r\nc\u{7}"), ["a    b", "c\\u{7}"]);
    }

    #[test]
    fn json_stays_what_it_says() {
        let json = serde_json::to_string("a\u{9b}\u{202e}\u{7f}\u{1b}").unwrap();
        let harmless = harmless_json(&json);
        assert!(harmless.is_ascii(), "{harmless}");
        let read: String = serde_json::from_str(&harmless).unwrap();
        assert_eq!(read, "a\u{9b}\u{202e}\u{7f}\u{1b}");
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
