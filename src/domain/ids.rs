//! Keys, and the ids that the world sees.
//!
//! A **key** is a `u64` that grows with time and orders every table of the
//! store. An **id** is what leaves the process: a prefix and the 27 base62
//! characters of a 20-byte KSUID. The id's first 8 bytes are the key, the other
//! 12 a MAC of prefix and key under a secret of the store. So ids need not be
//! stored or indexed, cannot be guessed, and one of another kind or of another
//! store is recognised without a look-up.
//!
//! Bytes of an id:
//!
//! ```text
//! 0..4   seconds since 1 400 000 000
//! 4..8   10 bits: milliseconds in the second; 22 bits: order within it
//! 8..20  HMAC-SHA256(store's id secret, prefix ‖ bytes 0..8), first 12 bytes
//! ```
//!
//! The first five bytes are those of a KSUID with 4 ms resolution, as Svix
//! makes them, so that ids of both sort together.
//! Source: segmentio/ksuid; svix-ksuid (`KsuidMs`).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::time::Timestamp;

/// 2014-05-13T16:53:20Z: where the seconds of a KSUID begin.
const KSUID_EPOCH_S: u64 = 1_400_000_000;
const ORDER_BITS: u32 = 22;
/// Where the order within a millisecond may start: random, so that it tells
/// nothing, and low, so that it does not overflow.
const ORDER_START_MASK: u64 = (1 << 20) - 1;
/// Steps within a millisecond are random too: 1 to 16.
const ORDER_STEP_MASK: u64 = 15;

const ID_BYTES: usize = 20;
const TEXT_CHARS: usize = 27;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key of one kind of thing. Order is order of making.
pub trait Key: Copy + Ord + fmt::Debug {
    /// What an id of this kind begins with, such as `msg_`.
    const PREFIX: &'static str;

    fn from_u64(value: u64) -> Self;
    fn as_u64(self) -> u64;

    /// When the thing was made, exact to the millisecond (later by as much as
    /// a clock that stepped back had to be waited for).
    fn made_at(self) -> Timestamp {
        let value = self.as_u64();
        let seconds = (value >> 32) + KSUID_EPOCH_S;
        let millis = (value >> ORDER_BITS) & 0x3ff;
        Timestamp(seconds * 1000 + millis)
    }
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl Key for $name {
            const PREFIX: &'static str = $prefix;
            fn from_u64(value: u64) -> Self { Self(value) }
            fn as_u64(self) -> u64 { self.0 }
        }
    )*};
}

keys! {
    /// A separate world of keys, data and settings.
    EnvironmentKey = "env_";
    /// A tenant of an environment.
    ApplicationKey = "app_";
    /// A URL registered by an application.
    EndpointKey = "ep_";
    /// One stored event.
    MessageKey = "msg_";
    /// One HTTP request made for a delivery.
    AttemptKey = "atmpt_";
    /// One delivery, as `endpoint-messages` shows it; computed, not stored.
    DeliveryKey = "dlv_";
    /// An API key.
    ApiKeyKey = "key_";
    /// A URL that takes anything and shows it.
    InboxKey = "inbox_";
    /// A configured origin of inbound webhooks.
    SourceKey = "src_";
    /// One request that an inbox took in, or that came to a source.
    ReceivedKey = "rcv_";
    /// A question to an endpoint that waits for an answer.
    RequestKey = "req_";
    /// A long action with a plan, progress and cancel.
    JobKey = "job_";
    /// An entry of the audit log.
    AuditKey = "audit_";
    /// A person's account.
    UserKey = "user_";
}

/// The smallest key that anything made at or after `moment` can have.
#[must_use]
pub fn first_key_at<K: Key>(moment: Timestamp) -> K {
    let seconds = (moment.0 / 1000)
        .saturating_sub(KSUID_EPOCH_S)
        .min(u64::from(u32::MAX));
    let millis = if moment.0 / 1000 < KSUID_EPOCH_S {
        0
    } else {
        moment.0 % 1000
    };
    K::from_u64((seconds << 32) | (millis << ORDER_BITS))
}

/// Gives keys that only grow, whatever the clock does.
#[derive(Clone, Copy, Debug)]
pub struct KeySequence {
    last: u64,
}

impl KeySequence {
    /// Goes on after `last`, the greatest key given so far (0 in a new store).
    #[must_use]
    pub fn after(last: u64) -> Self {
        Self { last }
    }

    /// The next key. `random` decides the order bits.
    pub fn next<K: Key>(&mut self, now: Timestamp, random: u64) -> K {
        let fresh = first_key_at::<K>(now).as_u64() | (random & ORDER_START_MASK);
        let step = 1 + ((random >> 32) & ORDER_STEP_MASK);
        self.last = fresh.max(self.last + step);
        K::from_u64(self.last)
    }

    /// The greatest key given so far.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }
}

/// Turns keys into ids and back, under the secret of one store.
#[derive(Clone)]
pub struct Ids {
    mac: Hmac<Sha256>,
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids([redacted])")
    }
}

impl Ids {
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self {
            mac: Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"),
        }
    }

    /// The id of `key`, such as `msg_2XQ...`.
    #[must_use]
    pub fn text<K: Key>(&self, key: K) -> String {
        self.seal(K::PREFIX, key.as_u64(), &[])
    }

    /// The id of a delivery, computed from the two that it joins.
    #[must_use]
    pub fn delivery_text(&self, message: MessageKey, endpoint: EndpointKey) -> String {
        self.seal(DeliveryKey::PREFIX, message.0, &endpoint.0.to_be_bytes())
    }

    /// The key of an id, or `None` when it is not an id of this kind and store.
    #[must_use]
    pub fn parse<K: Key>(&self, text: &str) -> Option<K> {
        let id = decode_base62(text.strip_prefix(K::PREFIX)?)?;
        let key = u64::from_be_bytes(id[..8].try_into().expect("eight of twenty bytes"));
        let tag = self.tag(K::PREFIX, key, &[]);
        bool::from(tag.ct_eq(&id[8..])).then(|| K::from_u64(key))
    }

    fn seal(&self, prefix: &str, key: u64, more: &[u8]) -> String {
        let mut id = [0; ID_BYTES];
        id[..8].copy_from_slice(&key.to_be_bytes());
        id[8..].copy_from_slice(&self.tag(prefix, key, more));
        let mut text = String::with_capacity(prefix.len() + TEXT_CHARS);
        text.push_str(prefix);
        encode_base62(&id, &mut text);
        text
    }

    fn tag(&self, prefix: &str, key: u64, more: &[u8]) -> [u8; 12] {
        let mut mac = self.mac.clone();
        mac.update(prefix.as_bytes());
        mac.update(&key.to_be_bytes());
        mac.update(more);
        let full = mac.finalize().into_bytes();
        full[..12].try_into().expect("twelve of 32 bytes")
    }
}

/// Five base62 digits fit a `u32`: division goes through 62⁵ at a time.
const CHUNK: u64 = 62 * 62 * 62 * 62 * 62;

fn encode_base62(id: &[u8; ID_BYTES], out: &mut String) {
    let mut limbs = [0_u32; 5];
    for (limb, bytes) in limbs.iter_mut().zip(id.chunks_exact(4)) {
        *limb = u32::from_be_bytes(bytes.try_into().expect("chunks of four"));
    }
    let mut digits = [b'0'; 30];
    for group in digits.rchunks_exact_mut(5) {
        let mut rest = 0_u64;
        for limb in &mut limbs {
            let value = (rest << 32) | u64::from(*limb);
            *limb = u32::try_from(value / CHUNK).expect("the rest is below the divisor");
            rest = value % CHUNK;
        }
        for digit in group.iter_mut().rev() {
            *digit = ALPHABET[usize::try_from(rest % 62).expect("below 62")];
            rest /= 62;
        }
    }
    let text = std::str::from_utf8(&digits[30 - TEXT_CHARS..]).expect("the alphabet is ASCII");
    out.push_str(text);
}

fn decode_base62(text: &str) -> Option<[u8; ID_BYTES]> {
    if text.len() != TEXT_CHARS {
        return None;
    }
    let mut limbs = [0_u32; 5];
    for byte in text.bytes() {
        let mut carry = u64::from(digit_of(byte)?);
        for limb in limbs.iter_mut().rev() {
            let value = u64::from(*limb) * 62 + carry;
            *limb = u32::try_from(value & 0xffff_ffff).expect("masked to 32 bits");
            carry = value >> 32;
        }
        if carry != 0 {
            return None;
        }
    }
    let mut id = [0; ID_BYTES];
    for (bytes, limb) in id.chunks_exact_mut(4).zip(limbs) {
        bytes.copy_from_slice(&limb.to_be_bytes());
    }
    Some(id)
}

fn digit_of(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'Z' => Some(byte - b'A' + 10),
        b'a'..=b'z' => Some(byte - b'a' + 36),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_323_600_123);

    fn ids() -> Ids {
        Ids::new(&[7; 32])
    }

    #[test]
    fn an_id_is_a_prefix_and_27_characters_and_comes_back() {
        let mut sequence = KeySequence::after(0);
        for round in 0..1000_u64 {
            let key: MessageKey = sequence.next(NOW, round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let text = ids().text(key);
            assert_eq!(text.len(), "msg_".len() + TEXT_CHARS, "{text}");
            assert_eq!(ids().parse(&text), Some(key), "{text}");
        }
    }

    #[test]
    fn base62_matches_the_published_ksuid_vector() {
        // segmentio/ksuid, README: 0ujtsYcgvSTl8PAuAdqWYSMnLOv
        let want: [u8; 20] = [
            0x06, 0x69, 0xF7, 0xEF, 0xB5, 0xA1, 0xCD, 0x34, 0xB5, 0xF9, 0x9D, 0x11, 0x54, 0xFB,
            0x68, 0x53, 0x34, 0x5C, 0x97, 0x35,
        ];
        assert_eq!(decode_base62("0ujtsYcgvSTl8PAuAdqWYSMnLOv"), Some(want));
        let mut text = String::new();
        encode_base62(&want, &mut text);
        assert_eq!(text, "0ujtsYcgvSTl8PAuAdqWYSMnLOv");
    }

    #[test]
    fn ids_of_another_kind_store_or_shape_are_refused() {
        let key = MessageKey::from_u64(first_key_at::<MessageKey>(NOW).as_u64() + 5);
        let text = ids().text(key);
        assert_eq!(ids().parse::<AttemptKey>(&text), None);
        assert_eq!(
            ids().parse::<ApplicationKey>(&text.replace("msg_", "app_")),
            None
        );
        assert_eq!(Ids::new(&[8; 32]).parse::<MessageKey>(&text), None);
        for bad in [
            "",
            "msg_",
            "msg_zzz",
            &text[..30],
            "msg_~~~~~~~~~~~~~~~~~~~~~~~~~~~",
        ] {
            assert_eq!(ids().parse::<MessageKey>(bad), None, "{bad}");
        }
        let too_big = format!("msg_{}", "z".repeat(27));
        assert_eq!(ids().parse::<MessageKey>(&too_big), None);
    }

    #[test]
    fn keys_grow_when_the_clock_stands_still_or_steps_back() {
        let mut sequence = KeySequence::after(0);
        let mut last = 0;
        for (millis, random) in [
            (5_000, u64::MAX),
            (5_000, 0),
            (5_000, 7),
            (0, 9),
            (4_000, u64::MAX),
            (5_001, 1),
        ] {
            let key: MessageKey = sequence.next(Timestamp(NOW.0 + millis), random);
            assert!(key.as_u64() > last, "at +{millis} ms");
            last = key.as_u64();
        }
    }

    #[test]
    fn a_key_tells_its_millisecond() {
        for millis in [0, 1, 3, 4, 999] {
            let moment = Timestamp(1_795_323_600_000 + millis);
            let key: MessageKey = KeySequence::after(0).next(moment, u64::MAX);
            assert_eq!(key.made_at(), moment);
            assert!(key >= first_key_at(moment));
            assert!(key < first_key_at(Timestamp(moment.0 + 1)));
        }
    }

    #[test]
    fn the_first_five_bytes_are_those_of_a_ksuid_with_milliseconds() {
        let key: MessageKey = KeySequence::after(0).next(NOW, 0);
        let bytes = key.as_u64().to_be_bytes();
        assert_eq!(
            u32::from_be_bytes(bytes[..4].try_into().unwrap()),
            395_323_600
        );
        assert_eq!(bytes[4], 123 / 4);
    }
}
