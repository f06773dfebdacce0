//! Bodies and headers for people.

use std::fmt::Write as _;

use bytes::Bytes;

use super::text::plain_lines;
use crate::cli::printable::plain;
use crate::dashboard::pretty::pretty;

/// Bytes of a body that are shown.
pub(super) const SHOWN_BYTES_MAX: usize = 64 * 1024;
/// Bytes in a line of hexadecimal numbers.
const HEX_LINE_BYTES: usize = 16;

/// The beginning of a body, which does not keep the rest in memory.
pub(super) fn beginning(body: &Bytes) -> Bytes {
    if body.len() <= SHOWN_BYTES_MAX {
        body.clone()
    } else {
        Bytes::copy_from_slice(&body[..SHOWN_BYTES_MAX])
    }
}

/// The lines of a body of `total_bytes`, of which `shown` is the beginning:
/// JSON indented, other text as it is, anything else in hexadecimal numbers.
pub(super) fn body_lines(shown: &[u8], total_bytes: usize) -> Vec<String> {
    if total_bytes == 0 {
        return vec!["(empty)".to_owned()];
    }
    let is_whole = shown.len() == total_bytes;
    let mut lines = match text(shown, is_whole) {
        Some(text) => {
            let json = if is_whole { pretty(text) } else { None };
            plain_lines(json.as_deref().unwrap_or(text))
        }
        None => hex_lines(shown),
    };
    if !is_whole {
        let more_bytes = total_bytes - shown.len();
        lines.push(format!("({more_bytes} more bytes are not shown)"));
    }
    lines
}

/// The bytes as text, if they are. The last character may have been cut.
fn text(bytes: &[u8], is_whole: bool) -> Option<&str> {
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if !is_whole && error.error_len().is_none() => {
            str::from_utf8(&bytes[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    // Text has no such character; pictures and archives soon do.
    (!text.contains('\0')).then_some(text)
}

fn hex_lines(bytes: &[u8]) -> Vec<String> {
    let chunks = bytes.chunks(HEX_LINE_BYTES).enumerate();
    let lines = chunks.map(|(number, chunk)| {
        let mut line = format!("{:08x} ", number * HEX_LINE_BYTES);
        for byte in chunk {
            write!(line, " {byte:02x}").expect("a string takes all");
        }
        let missing = HEX_LINE_BYTES - chunk.len();
        line.push_str(&"   ".repeat(missing));
        line.push_str("  ");
        line.extend(chunk.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        }));
        line
    });
    lines.collect()
}

/// A line for each header.
pub(super) fn header_lines(headers: &[(String, Vec<u8>)]) -> Vec<String> {
    let lines = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value);
        format!("{}: {}", plain(name), plain(&value))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_as_what_it_is() {
        for (shown, total_bytes, want) in [
            (&b""[..], 0, &["(empty)"][..]),
            (br#"{"a":1}"#, 7, &["{", "  \"a\": 1", "}"]),
            (
                br#"{"a":1"#,
                7,
                &["{\"a\":1", "(1 more bytes are not shown)"],
            ),
            (b"a\n\x1b[2J", 6, &["a", "\\u{1b}[2J"]),
            (
                b"\xc3\xa4\xc3",
                4,
                &["\u{e4}", "(1 more bytes are not shown)"],
            ),
            (
                b"\x00\xffA",
                3,
                &["00000000  00 ff 41                                         ..A"],
            ),
            (
                b"0123456789abcdef\xff",
                17,
                &[
                    "00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef",
                    "00000010  ff                                               .",
                ],
            ),
        ] {
            assert_eq!(body_lines(shown, total_bytes), want, "{shown:?}");
        }
    }

    #[test]
    fn the_beginning_of_a_body_is_all_that_is_kept() {
        let body = Bytes::from(vec![1; SHOWN_BYTES_MAX + 1]);
        assert_eq!(beginning(&body).len(), SHOWN_BYTES_MAX);
        let small = Bytes::from_static(b"a");
        assert_eq!(beginning(&small), small);
    }

    #[test]
    fn headers_are_lines() {
        let headers = [("a".to_owned(), b"b\x1b\xff".to_vec())];
        assert_eq!(header_lines(&headers), ["a: b\\u{1b}\u{fffd}"]);
    }
}
