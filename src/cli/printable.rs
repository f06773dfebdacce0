//! What others wrote, as a terminal may show it.

use std::fmt::Write as _;

/// `text` with what steers a terminal, or turns the direction of writing,
/// written as an escape: it stays on its line and shows what it is.
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// JSON on one line: the same value to the digit, without spaces outside its
/// texts, and with escapes inside them for what steers a terminal.
pub(super) fn json_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    let (mut in_text, mut is_escaped) = (false, false);
    for c in json.chars() {
        if !in_text {
            in_text = c == '"';
            if !matches!(c, ' ' | '\t' | '\r' | '\n') {
                line.push(c);
            }
            continue;
        }
        if steers(c) {
            write!(line, "\\u{:04x}", u32::from(c)).expect("writing to a text cannot fail");
        } else {
            line.push(c);
        }
        in_text = is_escaped || c != '"';
        is_escaped = !is_escaped && c == '\\';
    }
    line
}

/// Controls, and what overrides the direction of writing: all within sixteen
/// bits, so that JSON has an escape for each.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_obeyed() {
        for (text, want) in [
            ("order.paid", "order.paid"),
            ("Käse 🧀", "Käse 🧀"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("\u{202e}gnp", "\\u{202e}gnp"),
            ("\u{2028}", "\\u{2028}"),
            ("\\n", "\\n"),
        ] {
            assert_eq!(plain(text), want, "{text:?}");
        }
    }

    #[test]
    fn json_goes_on_one_line_and_stays_what_it_is() {
        for (json, want) in [
            ("{ \"a\" :\n [1 , 2.50] }", r#"{"a":[1,2.50]}"#),
            (r#"{"a b":" c  d "}"#, r#"{"a b":" c  d "}"#),
            (r#"["\" x", "\\" , "y"]"#, r#"["\" x","\\","y"]"#),
            ("[\"\u{7f}\u{9b}\u{202e}\"]", r#"["\u007f\u009b\u202e"]"#),
            ("12345678901234567890.10", "12345678901234567890.10"),
        ] {
            assert_eq!(json_line(json), want, "{json:?}");
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(value(json), value(want), "{json:?}");
        }
    }
}
