//! The little of HTTP/1.1 that loader and sink need: where a message ends and what one header says.

use std::sync::LazyLock;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};

/// Larger heads are a fault of the peer.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The start and length of a message in a buffer.
pub(crate) struct Frame {
    pub(crate) head_bytes: usize,
    pub(crate) body_bytes: usize,
}

impl Frame {
    /// Length of head and body together.
    pub(crate) fn total_bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }
}

/// Finds the first whole message in `buffer`, or `None` while bytes are missing.
///
/// Only `content-length` bodies are understood: what this program talks to knows its lengths.
pub(crate) fn frame(buffer: &[u8]) -> anyhow::Result<Option<Frame>> {
    let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
        if buffer.len() > HEAD_BYTES_MAX {
            bail!("a head of more than {HEAD_BYTES_MAX} bytes");
        }
        return Ok(None);
    };
    let head = &buffer[..end];
    if header(head, "transfer-encoding").is_some() {
        bail!("a chunked body, which this program does not read");
    }
    let body_bytes = match header(head, "content-length") {
        Some(text) => std::str::from_utf8(text)?
            .parse()
            .context("content-length is no number")?,
        None => 0,
    };
    let frame = Frame {
        head_bytes: end + 4,
        body_bytes,
    };
    Ok((buffer.len() >= frame.total_bytes()).then_some(frame))
}

/// The value of the first header called `name`, whatever its case.
pub(crate) fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|&byte| byte == b'\n').skip(1).find_map(|line| {
        let (found, rest) = line.split_at_checked(name.len())?;
        let value = rest.strip_prefix(b":")?;
        found
            .eq_ignore_ascii_case(name.as_bytes())
            .then(|| value.trim_ascii())
    })
}

/// The status of a response, from its first line.
pub(crate) fn status(message: &[u8]) -> anyhow::Result<u16> {
    message
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| anyhow!("the first line of a response has no status"))
}

/// A message's id as a number: 8 bytes for each of a million messages in place of a string.
pub(crate) fn id_number(id: &[u8]) -> u64 {
    // FNV-1a: at 100,000 messages the chance of one collision is below one in a billion.
    id.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The last `"id"` of a JSON answer as a number, for the payload before it may
/// have one of its own; 0 when there is none.
pub(crate) fn id_in_answer(body: &[u8]) -> u64 {
    const KEY: &[u8] = b"\"id\":\"";
    let Some(at) = body.windows(KEY.len()).rposition(|part| part == KEY) else {
        return 0;
    };
    let rest = &body[at + KEY.len()..];
    let end = rest.iter().position(|&byte| byte == b'"').unwrap_or(0);
    id_number(&rest[..end])
}

/// Nanoseconds since this program began, the one clock of loader and sink.
pub(crate) fn now_ns() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).expect("584 years of nanoseconds fit")
}
