//! Follows where requests begin and end in the bytes as they came.
//!
//! Two things cannot be seen behind hyper: whether the first byte of the next request is there,
//! and whether a request had both a content length and a transfer encoding, since hyper then drops
//! the length. This follows the framing just far enough to know both. It judges nothing else: what
//! it cannot follow, hyper refuses.

/// Enough for the two header names with any length a body can have. A line cut between reads is
/// kept no further.
const LINE_KEPT_MAX: usize = 64;

/// The framing of the requests on one connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    at: At,
    head: Head,
    heads: u32,
    ambiguous: u32,
    kept: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Between,
    HeadLine,
    Fixed(u64),
    ChunkSize {
        size: u64,
        digits: bool,
    },
    ChunkData(u64),
    Trailer {
        line_empty: bool,
    },
    /// The client sends what is not HTTP; hyper is about to refuse it.
    Lost,
}

/// What the open head has said about the body.
#[derive(Debug, Default)]
struct Head {
    length: Option<u64>,
    length_unclear: bool,
    encoded: bool,
}

impl Framing {
    /// Whether a head has begun and not ended.
    pub(super) fn is_head_open(&self) -> bool {
        self.at == At::HeadLine
    }

    /// Whether every request that has begun has ended.
    pub(super) fn is_between(&self) -> bool {
        self.at == At::Between
    }

    /// The first request that another reader may frame differently, counted from 1; 0 for none.
    pub(super) fn ambiguous(&self) -> u32 {
        self.ambiguous
    }

    /// Takes the next bytes from the client.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let used = match &mut self.at {
                At::Between => self.skip_blank_lines(bytes),
                At::HeadLine => self.take_line(bytes),
                At::Fixed(left) => {
                    let used = skip(left, bytes);
                    if *left == 0 {
                        self.at = At::Between;
                    }
                    used
                }
                At::ChunkData(left) => {
                    let used = skip(left, bytes);
                    if *left == 0 {
                        self.at = CHUNK_START;
                    }
                    used
                }
                At::ChunkSize { .. } | At::Trailer { .. } => {
                    self.at = self.at.after_chunk_byte(bytes[0]);
                    1
                }
                At::Lost => bytes.len(),
            };
            bytes = &bytes[used..];
        }
    }

    /// Servers skip empty lines before a request.
    fn skip_blank_lines(&mut self, bytes: &[u8]) -> usize {
        let blank = bytes
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        if blank < bytes.len() {
            self.at = At::HeadLine;
        }
        blank
    }

    fn take_line(&mut self, bytes: &[u8]) -> usize {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.keep(bytes);
            return bytes.len();
        };
        if self.kept.is_empty() {
            self.end_line(&bytes[..end]);
        } else {
            self.keep(&bytes[..end]);
            let line = std::mem::take(&mut self.kept);
            self.end_line(&line);
        }
        end + 1
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_KEPT_MAX.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, line: &[u8]) {
        // The request line cannot be empty here, nor look like one of the headers.
        if matches!(line, b"" | b"\r") {
            self.end_head();
        } else if let Some(value) = value_of(line, b"content-length") {
            match parse_length(value) {
                Some(length) if line.len() < LINE_KEPT_MAX => self.head.length = Some(length),
                _ => self.head.length_unclear = true,
            }
        } else if value_of(line, b"transfer-encoding").is_some() {
            self.head.encoded = true;
        }
    }

    fn end_head(&mut self) {
        let head = std::mem::take(&mut self.head);
        self.heads = self.heads.wrapping_add(1);
        let both = head.encoded && head.length.is_some();
        if self.ambiguous == 0 && (both || head.length_unclear) {
            self.ambiguous = self.heads;
        }
        self.at = match head {
            Head { encoded: true, .. } => CHUNK_START,
            Head {
                length: Some(length @ 1..),
                ..
            } => At::Fixed(length),
            Head { .. } => At::Between,
        };
    }
}

const CHUNK_START: At = At::ChunkSize {
    size: 0,
    digits: true,
};

/// A chunk's data is followed by a line end of two bytes.
const CHUNK_END_LEN: u64 = 2;

impl At {
    fn after_chunk_byte(&self, byte: u8) -> At {
        match (self, byte) {
            (At::ChunkSize { size: 0, .. }, b'\n') => At::Trailer { line_empty: true },
            (At::ChunkSize { size, .. }, b'\n') => size
                .checked_add(CHUNK_END_LEN)
                .map_or(At::Lost, At::ChunkData),
            (At::ChunkSize { size, digits }, byte) => {
                match (char::from(byte).to_digit(16), size.checked_mul(16)) {
                    (Some(digit), Some(size)) if *digits => At::ChunkSize {
                        size: size + u64::from(digit),
                        digits: true,
                    },
                    (Some(_), None) if *digits => At::Lost,
                    _ => At::ChunkSize {
                        size: *size,
                        digits: false,
                    },
                }
            }
            (At::Trailer { line_empty: true }, b'\n') => At::Between,
            (At::Trailer { .. }, b'\n') => At::Trailer { line_empty: true },
            (At::Trailer { line_empty }, b'\r') => At::Trailer {
                line_empty: *line_empty,
            },
            _ => At::Trailer { line_empty: false },
        }
    }
}

fn skip(left: &mut u64, bytes: &[u8]) -> usize {
    let used = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    *left -= used as u64;
    used
}

fn value_of<'line>(line: &'line [u8], name: &[u8]) -> Option<&'line [u8]> {
    let (head, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":")?;
    head.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let value = std::str::from_utf8(value).ok()?;
    digits.then(|| value.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cut of the bytes must be followed to the same place.
    fn check(sent: &str, heads: u32, ambiguous: u32, head_open: bool) {
        let sent = sent.as_bytes();
        for cut in 0..=sent.len() {
            let mut framing = Framing::default();
            framing.follow(&sent[..cut]);
            framing.follow(&sent[cut..]);
            let got = (framing.heads, framing.ambiguous, framing.is_head_open());
            let shown = sent.escape_ascii();
            assert_eq!(got, (heads, ambiguous, head_open), "cut at {cut}: {shown}");
        }
        let mut framing = Framing::default();
        for byte in sent {
            framing.follow(&[*byte]);
        }
        let got = (framing.heads, framing.ambiguous, framing.is_head_open());
        assert_eq!(got, (heads, ambiguous, head_open), "byte by byte");
    }

    #[test]
    fn requests_are_told_apart_however_they_are_cut() {
        const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        const FIXED: &str = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n\r\n\r\nx";
        const CHUNKED: &str = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
            A;ext=\"f\"\r\n0123456789\r\n0\r\nx-sum: content-length: 3\r\n\r\n";
        const BOTH: &str = "POST / HTTP/1.1\r\nTransfer-Encoding:chunked\r\n\
            CONTENT-LENGTH:\t3\r\n\r\n0\r\n\r\n";
        for (sent, heads, ambiguous, head_open) in [
            (GET.to_owned(), 1, 0, false),
            (format!("\r\n\n{GET}\r\n"), 1, 0, false),
            (GET.replace("\r\n", "\n"), 1, 0, false),
            ("GET / HT".to_owned(), 0, 0, true),
            (format!("{GET}{GET}P"), 2, 0, true),
            (format!("{FIXED}{GET}{FIXED}"), 3, 0, false),
            (format!("{CHUNKED}{CHUNKED}{GET}"), 3, 0, false),
            (BOTH.to_owned(), 1, 1, false),
            (format!("{GET}{FIXED}{CHUNKED}{BOTH}{GET}"), 5, 4, false),
            (FIXED.replace(" 5", " 5, 5") + GET, 2, 1, false),
            (FIXED.replace(" 5", " +5"), 1, 1, true),
            (FIXED.replace('5', &format!("{:050}", 5)), 1, 1, true),
        ] {
            check(&sent, heads, ambiguous, head_open);
        }
    }

    #[test]
    fn a_chunk_size_beyond_counting_is_not_followed() {
        let mut framing = Framing::default();
        framing.follow(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
        framing.follow(b"FFFFFFFFFFFFFFFFF\r\nGET");
        assert_eq!(framing.at, At::Lost);
    }
}
