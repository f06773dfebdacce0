//! JSON with its lines indented, every token as it came: numbers of any size,
//! escapes and the order of fields stay what they are.

use std::fmt::Write as _;

/// Levels that are indented at most; deeper ones stay in one line.
const DEPTH_MAX: usize = 64;

/// `text` indented; `None` when it is no JSON.
pub(crate) fn pretty(text: &str) -> Option<String> {
    crate::http::json::check(text.as_bytes()).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => {
                let end = string_end(&text[at + 1..])?;
                out.push_str(&text[at..at + end + 2]);
                while characters
                    .next_if(|(next, _)| *next < at + end + 2)
                    .is_some()
                {}
            }
            '{' | '[' => {
                out.push(c);
                let closing = if c == '{' { '}' } else { ']' };
                while characters.next_if(|(_, c)| c.is_whitespace()).is_some() {}
                if characters.next_if(|(_, c)| *c == closing).is_some() {
                    out.push(closing);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_whitespace() => {}
            c => out.push(c),
        }
    }
    Some(out)
}

/// Where a string that begins here ends: at its closing quote.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn line(out: &mut String, depth: usize) {
    let width = depth.min(DEPTH_MAX) * 2;
    write!(out, "\n{:width$}", "").expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_stays_as_it_came() {
        for (text, want) in [
            ("1", "1"),
            ("{}", "{}"),
            ("[ ]", "[]"),
            (
                r#"{"a":1e40,"b":[1.10,-0]}"#,
                "{\n  \"a\": 1e40,\n  \"b\": [\n    1.10,\n    -0\n  ]\n}",
            ),
            (r#""a\"b:{,\\""#, r#""a\"b:{,\\""#),
            (r#"{"ä\u00e4":"\/"}"#, "{\n  \"ä\\u00e4\": \"\\/\"\n}"),
        ] {
            assert_eq!(pretty(text).as_deref(), Some(want), "{text}");
        }
        for text in ["", "{", "nope", "{\"a\":}"] {
            assert_eq!(pretty(text), None, "{text}");
        }
    }
}
