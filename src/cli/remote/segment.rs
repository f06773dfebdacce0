//! Parts of paths.

use std::fmt::Write as _;

/// An id or uid as one part of a path, whatever is in it.
pub(in crate::cli) fn segment(text: &str) -> String {
    // Proxies take dots alone for a way up.
    let is_dots = text.bytes().all(|byte| byte == b'.');
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'.' if is_dots => encoded.push_str("%2E"),
            b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            _ => write!(encoded, "%{byte:02X}").expect("writing to a text cannot fail"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_uid_is_one_part_of_a_path() {
        for (text, want) in [
            ("app_3k0", "app_3k0"),
            ("a/b?c#d", "a%2Fb%3Fc%23d"),
            ("ä %", "%C3%A4%20%25"),
            ("..", "%2E%2E"),
            ("a..", "a.."),
        ] {
            assert_eq!(segment(text), want);
        }
    }
}
