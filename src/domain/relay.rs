//! What a listener makes of the requests that come to an inbox.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// How long an inbox goes on keeping requests for a listener that has gone. It
/// is a plain inbox again afterwards, and what waited longer is not delivered.
pub const KEPT_FOR: Duration = Duration::from_hours(24);
/// Requests of one inbox that may wait for its listener.
pub const WAITING_MAX: u32 = 400;
/// What a request is answered that is kept for a listener.
pub const KEPT_STATUS: u16 = 202;
/// An inbox that a listener made goes when nobody listened for so long.
pub const UNUSED_FOR: Duration = Duration::from_hours(7 * 24);
/// Inboxes that listeners without an API key may have made.
pub const OPEN_INBOXES_MAX: u64 = 1_000;
/// Bytes of a listener's answer that are remembered.
pub const ANSWER_KEPT_BYTES_MAX: usize = 16 * 1024;

/// Events that a listener may have before it has answered the first of them,
/// and when it does not say how many.
pub const IN_FLIGHT_MAX: usize = 500;
pub const IN_FLIGHT: usize = 64;

/// How a token begins that a listener chose itself.
const TOKEN_PREFIX: &str = "c_";
/// Characters after the prefix: ten make nearly 60 random bits.
const TOKEN_CHARS_MIN: usize = 10;
const TOKEN_CHARS_MAX: usize = 64;

/// Whether a listener may choose this token for an inbox.
#[must_use]
pub fn is_token(text: &str) -> bool {
    text.strip_prefix(TOKEN_PREFIX).is_some_and(|rest| {
        (TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&rest.len())
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// What became of a request, as far as a listener is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relayed {
    /// Nobody listened; the inbox answered.
    #[default]
    No,
    /// It is kept until the listener has it and has answered.
    Waiting,
    Answered(Answered),
    /// There will be no answer; why not, in words.
    Never {
        at: Timestamp,
        detail: String,
    },
}

/// A listener's answer, as far as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    pub at: Timestamp,
    pub status: u16,
    /// Names and values in order, repeats included.
    pub headers: Vec<(String, Vec<u8>)>,
    /// How the body begins.
    pub body: Vec<u8>,
    pub body_bytes: u64,
    /// Why the local program gave no answer, in words; else empty. The status is
    /// then the listener's own.
    pub error: String,
    /// From when the listener was sent the request.
    pub took_us: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_enough_and_plain() {
        for (text, want) in [
            ("c_0123456789", true),
            ("c_abcDEF6789", true),
            (
                "c_0123456789012345678901234567890123456789012345678901234567890123",
                true,
            ),
            (
                "c_01234567890123456789012345678901234567890123456789012345678901234",
                false,
            ),
            ("c_012345678", false),
            ("c_012345678-", false),
            ("c_01234567/89", false),
            ("e_0123456789", false),
            ("0123456789ab", false),
            ("c_", false),
            ("", false),
        ] {
            assert_eq!(is_token(text), want, "{text:?}");
        }
    }
}
