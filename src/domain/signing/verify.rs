//! Checking the signatures of requests that came in.

use std::cell::OnceCell;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ed25519_dalek::Signature;
use subtle::{Choice, ConstantTimeEq as _};

use super::{
    ED25519_BYTES, Encoding, HeaderScheme, Known, MAC_BYTES, MESSAGE_ID_BYTES_MAX, Piece, Scheme,
    VerifyKey, mac, message_id_fits, octohooks_text, standard_text,
};

/// Signatures of a known version that are looked at; the rest are passed over.
///
/// Bounds the work that a stranger can ask for. The newest comes first.
pub const SIGNATURES_READ_MAX: usize = 8;

/// Why a request's signature was not accepted. No message repeats what came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the header `{name}` is missing")]
    HeaderMissing { name: &'static str },
    #[error("the header `{name}` is there more than once")]
    HeaderRepeated { name: &'static str },
    #[error("the header `{name}` is not an id: it needs visible ASCII without a full stop")]
    UnfitMessageId { name: &'static str },
    #[error("the timestamp is not a whole number of seconds")]
    TimestampNotANumber,
    #[error("the timestamp is {age_s} s old, at most {tolerance_s} s are allowed")]
    TimestampTooOld { age_s: u64, tolerance_s: u64 },
    #[error("the timestamp is {ahead_s} s in the future, at most {tolerance_s} s are allowed")]
    TimestampInFuture { ahead_s: u64, tolerance_s: u64 },
    #[error("the signature header is missing")]
    SignatureMissing,
    #[error("the signature header is malformed: {problem}")]
    HeaderMalformed { problem: &'static str },
    #[error("there is no signature of a version that is known here")]
    NoKnownVersion,
    #[error("every signature of a known version is malformed or has the wrong length")]
    SignatureMalformed,
    #[error("no signature was made from this request with any of the secrets")]
    NoSecretMatches,
}

/// The headers of a request: names in any case, values as they came, in order.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a>(pub &'a [(&'a str, &'a [u8])]);

impl<'a> Headers<'a> {
    /// The value of a header that has to be there exactly once.
    pub fn one(&self, name: &'static str) -> Result<&'a [u8], VerifyError> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (None, _) => Err(VerifyError::HeaderMissing { name }),
            (Some(value), None) => Ok(value),
            (Some(_), Some(_)) => Err(VerifyError::HeaderRepeated { name }),
        }
    }

    /// The values of every header of this name, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }
}

/// What a good standard signature vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'a> {
    /// The signed id: the one to tell repeats by, whatever other headers say.
    pub message_id: &'a str,
    /// Seconds since the epoch, at most the tolerance away from now.
    pub timestamp_s: u64,
}

/// The names of the three headers, which belong together.
struct Names {
    id: &'static str,
    timestamp: &'static str,
    signature: &'static str,
}

const SVIX: Names = Names {
    id: "svix-id",
    timestamp: "svix-timestamp",
    signature: "svix-signature",
};
const WEBHOOK: Names = Names {
    id: "webhook-id",
    timestamp: "webhook-timestamp",
    signature: "webhook-signature",
};

/// Checks the Standard Webhooks signature of a request.
///
/// Takes a whole set of `svix-*` headers if there is one, else the `webhook-*`
/// ones. Accepts `v1` by the shared secrets and `v1a` by the key pairs and
/// public keys; the timestamp may be `tolerance_s` away from `now_s` either way.
///
/// Source: Standard Webhooks, verifying signatures; Svix libraries.
pub fn verify_standard<'a>(
    keys: &[VerifyKey],
    headers: Headers<'a>,
    body: &[u8],
    now_s: u64,
    tolerance_s: u64,
) -> Result<Verified<'a>, VerifyError> {
    let names = names_of(headers);
    let id = headers.one(names.id)?;
    let time = headers.one(names.timestamp)?;
    let signatures = headers.one(names.signature)?;
    let message_id = read_id(id).ok_or(VerifyError::UnfitMessageId { name: names.id })?;
    let timestamp_s = read_time(time)?;
    check_time(timestamp_s, now_s, tolerance_s)?;
    let candidates = standard_candidates(signatures)?;
    let text = standard_text(id, time, body);
    if !standard_matches(keys, &candidates, &text) {
        return Err(VerifyError::NoSecretMatches);
    }
    Ok(Verified {
        message_id,
        timestamp_s,
    })
}

/// Checks the value of an `X-Signature` header, `t=<seconds>,v1=<hex>[,v1=<hex>...]`.
///
/// The time comes first, as the published verifiers want it. Key pairs and
/// public keys match nothing here.
pub fn verify_octohooks(
    keys: &[VerifyKey],
    header_value: &[u8],
    body: &[u8],
    now_s: u64,
    tolerance_s: u64,
) -> Result<(), VerifyError> {
    let (time, candidates) = octohooks_candidates(header_value)?;
    check_time(read_time(time)?, now_s, tolerance_s)?;
    let candidates = well_formed(candidates)?;
    shared_matches(keys, &candidates, &octohooks_text(time, body))
}

/// Checks a scheme that signs into a header of its own: optech or custom.
///
/// The id and the time are read from the scheme's prefix or, where it has them
/// not, from `webhook-id` and `webhook-timestamp`. A time that is not signed is
/// not judged. Lines that disagree with the first about id or time are passed
/// over. Key pairs and public keys match nothing here.
///
/// # Panics
/// When `scheme` is another one.
pub fn verify_header(
    keys: &[VerifyKey],
    scheme: &Scheme,
    headers: Headers<'_>,
    body: &[u8],
    now_s: u64,
    tolerance_s: u64,
) -> Result<(), VerifyError> {
    let escaped = match scheme {
        Scheme::Optech { .. } => escaped_quotes(body),
        _ => None,
    };
    let scheme = HeaderScheme::of(scheme).expect("only for schemes with a header of their own");
    let lines: Vec<_> = headers
        .all(scheme.header)
        .take(SIGNATURES_READ_MAX)
        .collect();
    if lines.is_empty() {
        return Err(VerifyError::SignatureMissing);
    }
    let read = lines.iter().map(|line| read_line(&scheme, line));
    let read: Vec<(Shown<'_>, [u8; MAC_BYTES])> = well_formed(read.collect())?;
    let shown = read[0].0;
    let known = known(&scheme, shown, headers, body)?;
    if scheme.template.0.contains(&Piece::Timestamp) {
        check_time(read_time(known.time)?, now_s, tolerance_s)?;
    }
    let agreeing = read.iter().filter(|(other, _)| *other == shown);
    let candidates: Vec<_> = agreeing.map(|(_, mac)| *mac).collect();
    let matches = |known| shared_matches(keys, &candidates, &scheme.template.filled(known));
    match (matches(known), &escaped) {
        (Err(VerifyError::NoSecretMatches), Some(body)) => matches(Known { body, ..known }),
        (found, _) => found,
    }
}

/// The body as a server of the optech platform signs it, each U+2019 as six
/// characters, though it sends the character; `None` when it has none.
fn escaped_quotes(body: &[u8]) -> Option<Vec<u8>> {
    let text = str::from_utf8(body).ok()?;
    text.contains('\u{2019}')
        .then(|| text.replace('\u{2019}', "\\u2019").into_bytes())
}

/// What the prefix of a line says.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Shown<'a> {
    id: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
}

/// What the signed text was made of, as far as the scheme needs it.
fn known<'a>(
    scheme: &HeaderScheme<'_>,
    shown: Shown<'a>,
    headers: Headers<'a>,
    body: &'a [u8],
) -> Result<Known<'a>, VerifyError> {
    let needed = |piece| scheme.template.0.contains(&piece);
    let id = match shown.id {
        Some(id) => id,
        None if needed(Piece::Id) => headers.one(WEBHOOK.id)?,
        None => b"",
    };
    let time = match shown.time {
        Some(time) => time,
        None if needed(Piece::Timestamp) => headers.one(WEBHOOK.timestamp)?,
        None => b"",
    };
    if needed(Piece::Id) && !message_id_fits(id) {
        return Err(VerifyError::UnfitMessageId { name: WEBHOOK.id });
    }
    Ok(Known { id, time, body })
}

/// A line taken apart from its end: an encoded MAC has a fixed length.
fn read_line<'a>(
    scheme: &HeaderScheme<'_>,
    line: &'a [u8],
) -> Option<(Shown<'a>, [u8; MAC_BYTES])> {
    let encoded_bytes = match scheme.encoding {
        Encoding::Hex => 2 * MAC_BYTES,
        Encoding::Base64 | Encoding::Base64Url => MAC_BYTES.div_ceil(3) * 4,
    };
    let (prefix, encoded) = line.split_at_checked(line.len().checked_sub(encoded_bytes)?)?;
    let mac = match scheme.encoding {
        Encoding::Hex => decode_hex(encoded),
        Encoding::Base64 => decode_base64(encoded),
        Encoding::Base64Url => URL_SAFE.decode(encoded).ok()?.try_into().ok(),
    };
    let shown = read_prefix(&scheme.prefix.0, prefix, Shown::default())?;
    Some((shown, mac?))
}

/// Reads a prefix by its template. A place that comes twice holds the same
/// twice; an id is as long as what follows allows.
fn read_prefix<'a>(pieces: &[Piece], text: &'a [u8], shown: Shown<'a>) -> Option<Shown<'a>> {
    let Some((piece, rest)) = pieces.split_first() else {
        return text.is_empty().then_some(shown);
    };
    match (piece, shown) {
        (Piece::Text(literal), _) => {
            read_prefix(rest, text.strip_prefix(literal.as_bytes())?, shown)
        }
        (Piece::Id, Shown { id: Some(id), .. }) => read_prefix(rest, text.strip_prefix(id)?, shown),
        (
            Piece::Timestamp,
            Shown {
                time: Some(time), ..
            },
        ) => read_prefix(rest, text.strip_prefix(time)?, shown),
        (Piece::Id, _) => (1..=text.len().min(MESSAGE_ID_BYTES_MAX))
            .rev()
            .find_map(|end| {
                let id = Some(&text[..end]);
                read_prefix(rest, &text[end..], Shown { id, ..shown })
            }),
        (Piece::Timestamp, _) => {
            let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
            let time = Some(&text[..digits]);
            read_prefix(rest, &text[digits..], Shown { time, ..shown })
        }
        // No prefix has it.
        (Piece::Body, _) => None,
    }
}

/// Tries every candidate with every shared secret's text, so that the time
/// taken says nothing about which came close.
fn shared_matches(
    keys: &[VerifyKey],
    candidates: &[[u8; MAC_BYTES]],
    text: &[&[u8]],
) -> Result<(), VerifyError> {
    let macs = keys.iter().filter_map(VerifyKey::octohooks_key);
    let mut matches = Choice::from(0);
    for mac in macs.map(|key| mac(key, text)) {
        for candidate in candidates {
            matches |= mac.ct_eq(candidate);
        }
    }
    if bool::from(matches) {
        Ok(())
    } else {
        Err(VerifyError::NoSecretMatches)
    }
}

/// The complete set of names, or the one that an error should speak of.
fn names_of(headers: Headers<'_>) -> Names {
    let present = |names: &Names| {
        [names.id, names.timestamp, names.signature]
            .into_iter()
            .filter(|name| headers.all(name).next().is_some())
            .count()
    };
    let (svix, webhook) = (present(&SVIX), present(&WEBHOOK));
    if svix == 3 || svix > webhook {
        SVIX
    } else {
        WEBHOOK
    }
}

fn read_id(id: &[u8]) -> Option<&str> {
    str::from_utf8(id).ok().filter(|_| message_id_fits(id))
}

fn read_time(text: &[u8]) -> Result<u64, VerifyError> {
    // `parse` alone would let a leading plus sign pass.
    if !text.iter().all(u8::is_ascii_digit) {
        return Err(VerifyError::TimestampNotANumber);
    }
    str::from_utf8(text)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(VerifyError::TimestampNotANumber)
}

fn check_time(timestamp_s: u64, now_s: u64, tolerance_s: u64) -> Result<(), VerifyError> {
    let age_s = now_s.saturating_sub(timestamp_s);
    let ahead_s = timestamp_s.saturating_sub(now_s);
    if age_s > tolerance_s {
        return Err(VerifyError::TimestampTooOld { age_s, tolerance_s });
    }
    if ahead_s > tolerance_s {
        return Err(VerifyError::TimestampInFuture {
            ahead_s,
            tolerance_s,
        });
    }
    Ok(())
}

enum Candidate {
    V1([u8; MAC_BYTES]),
    V1a(Signature),
}

fn standard_candidates(value: &[u8]) -> Result<Vec<Candidate>, VerifyError> {
    let found = value
        .split(|byte| *byte == b' ')
        .filter_map(|token| {
            if let Some(base64) = token.strip_prefix(b"v1,") {
                Some(decode_base64(base64).map(Candidate::V1))
            } else if let Some(base64) = token.strip_prefix(b"v1a,") {
                let bytes = decode_base64::<ED25519_BYTES>(base64);
                Some(bytes.map(|bytes| Candidate::V1a(Signature::from_bytes(&bytes))))
            } else {
                None
            }
        })
        .take(SIGNATURES_READ_MAX)
        .collect();
    well_formed(found)
}

type OctohooksParts<'a> = (&'a [u8], Vec<Option<[u8; MAC_BYTES]>>);

fn octohooks_candidates(value: &[u8]) -> Result<OctohooksParts<'_>, VerifyError> {
    let mut parts = value.split(|byte| *byte == b',');
    let time = parts
        .next()
        .and_then(|part| part.strip_prefix(b"t="))
        .ok_or(VerifyError::HeaderMalformed {
            problem: "it does not start with `t=`",
        })?;
    if parts.clone().any(|part| part.starts_with(b"t=")) {
        return Err(VerifyError::HeaderMalformed {
            problem: "it holds more than one `t=`",
        });
    }
    let found = parts
        .filter_map(|part| part.strip_prefix(b"v1="))
        .take(SIGNATURES_READ_MAX)
        .map(decode_hex)
        .collect();
    Ok((time, found))
}

/// The candidates that have the right form; `None` stands for one that has not.
fn well_formed<T>(found: Vec<Option<T>>) -> Result<Vec<T>, VerifyError> {
    if found.is_empty() {
        return Err(VerifyError::NoKnownVersion);
    }
    let candidates: Vec<T> = found.into_iter().flatten().collect();
    if candidates.is_empty() {
        return Err(VerifyError::SignatureMalformed);
    }
    Ok(candidates)
}

/// Tries every candidate with every key, so that the time taken says nothing
/// about which of the shared secrets came close.
fn standard_matches(keys: &[VerifyKey], candidates: &[Candidate], text: &[&[u8]]) -> bool {
    let whole = OnceCell::new();
    let mut matches = Choice::from(0);
    for key in keys {
        let mac = key.hmac_key().map(|key| mac(key, text));
        let public = key.ed25519_key();
        for candidate in candidates {
            match (candidate, &mac, &public) {
                (Candidate::V1(given), Some(mac), _) => matches |= mac.ct_eq(given),
                (Candidate::V1a(given), _, Some(public)) => {
                    // The strict check has no form that takes the text in parts.
                    let whole = whole.get_or_init(|| text.concat());
                    matches |= Choice::from(u8::from(public.verify_strict(whole, given).is_ok()));
                }
                _ => {}
            }
        }
    }
    bool::from(matches)
}

/// Exactly `N` bytes, or nothing: a short signature must never be compared.
fn decode_base64<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != N.div_ceil(3) * 4 {
        return None;
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// Exactly 32 bytes, or nothing; either case, as hex has no other second form.
fn decode_hex(text: &[u8]) -> Option<[u8; MAC_BYTES]> {
    if text.len() != 2 * MAC_BYTES {
        return None;
    }
    let mut bytes = [0; MAC_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
