//! Strict JSON: what is taken in is one well-formed value, and its bytes stay.
//!
//! Refused with their position: invalid UTF-8, a byte order mark, trailing
//! text, repeated names in an object, lone surrogates, numbers beyond a double,
//! nesting deeper than [`DEPTH_MAX`].

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Objects and arrays inside one another.
pub const DEPTH_MAX: usize = 64;
/// Objects with more names are checked for repeats through a set.
const FEW_NAMES: usize = 16;

/// Checks that `bytes` are one JSON value by the rules above.
///
/// # Errors
/// What is wrong, with line and column, as a sentence's end.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("the body is empty".to_owned());
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(format!("byte {} is not valid UTF-8", error.valid_up_to()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| error.to_string())
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        while items.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let inside = self.deeper()?;
        let mut names = Names::default();
        while let Some(Name(name)) = entries.next_key()? {
            if let Some(repeated) = names.add(name) {
                return Err(A::Error::custom(format!(
                    "the name {repeated:?} is repeated in one object"
                )));
            }
            entries.next_value_seed(inside)?;
        }
        Ok(())
    }
}

/// A name in an object, borrowed when it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Default)]
struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    /// The name, when it was there before.
    fn add(&mut self, name: Cow<'a, str>) -> Option<Cow<'a, str>> {
        if self.few.contains(&name) || self.many.contains(&name) {
            return Some(name);
        }
        if self.few.len() < FEW_NAMES {
            self.few.push(name);
        } else {
            self.many.insert(name);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_values_pass() {
        for text in [
            "{}",
            "[]",
            "null",
            " 1 ",
            "\"x\"",
            "-0.5e-7",
            "12345678901234567890123",
            "1.10",
            r#""\ud83d\ude00""#,
            r#"{"a":{"a":[1,{"a":2}]}}"#,
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
        let deep = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
        assert_eq!(check(deep.as_bytes()), Ok(()));
        let many: Vec<String> = (0..100).map(|n| format!("\"{n}\":0")).collect();
        assert_eq!(check(format!("{{{}}}", many.join(",")).as_bytes()), Ok(()));
    }

    #[test]
    fn what_is_refused_says_where() {
        let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
        let bottomless = "[".repeat(10_000);
        let many: Vec<String> = (0..100).map(|n| format!("\"{}\":0", n % 99)).collect();
        let many = format!("{{{}}}", many.join(","));
        for (bytes, want) in [
            (b"".as_slice(), "empty"),
            (b"{", "line 1 column 1"),
            (b"{\"a\":1,}", "line 1 column 8"),
            (b"{} x", "trailing characters at line 1 column 4"),
            (b"\xef\xbb\xbf{}", "line 1 column 1"),
            (b"{\"a\":\xff}", "byte 5 is not valid UTF-8"),
            (b"{\"a\":1,\"a\":2}", "\"a\" is repeated"),
            (b"{\"a\":1,\"\\u0061\":2}", "\"a\" is repeated"),
            (b"{\"b\":[{\"a\":1,\"a\":2}]}", "\"a\" is repeated"),
            (b"\"\\ud800\"", "line 1 column"),
            (b"1e999", "number out of range"),
            (b"NaN", "line 1 column 1"),
            (b"01", "line 1 column 2"),
            (b"\"a\nb\"", "control character"),
            (deep.as_bytes(), "nested deeper than 64"),
            (bottomless.as_bytes(), "nested deeper than 64"),
            (many.as_bytes(), "is repeated"),
        ] {
            let error = check(bytes).unwrap_err();
            assert!(
                error.contains(want),
                "{:?}: {error}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
            );
        }
    }
}
