//! What an endpoint may want of a payload besides its bytes as they came:
//! fields as headers, and ASCII alone.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::header;

/// Headers taken from one payload at most.
pub const FIELD_HEADERS_MAX: usize = 50;
/// Bytes of their names and values in all.
pub const FIELD_HEADERS_BYTES_MAX: usize = 8192;
/// Names that are noted of those left out.
pub const LEFT_OUT_MAX: usize = 100;
/// Characters that are noted of such a name.
pub const LEFT_OUT_CHARS_MAX: usize = 256;

/// Fields of a payload as headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldHeaders {
    /// Names and values, in the payload's order.
    pub sent: Vec<(String, String)>,
    /// Names that did not become headers: the first [`LEFT_OUT_MAX`] of them,
    /// each of at most [`LEFT_OUT_CHARS_MAX`] characters.
    pub left_out: Vec<String>,
}

/// The top-level texts, numbers, `true` and `false` of a JSON object, as headers.
///
/// Numbers are written as they stand in the payload. Left out are names and
/// values that no header can have, names that are reserved, that authenticate,
/// that `taken` names (it gets them in lower case), that came before but for
/// their case, and what goes beyond [`FIELD_HEADERS_MAX`] or
/// [`FIELD_HEADERS_BYTES_MAX`]. What is no object has no fields.
#[must_use]
pub fn field_headers(payload: &[u8], taken: impl Fn(&str) -> bool) -> FieldHeaders {
    let mut headers = FieldHeaders::default();
    let mut bytes_left = FIELD_HEADERS_BYTES_MAX;
    for (name, raw) in fields(payload) {
        let Some(value) = scalar(raw) else { continue };
        let bytes = name.len() + value.len();
        if headers.can_send(&name, &value, &taken) && bytes <= bytes_left {
            bytes_left -= bytes;
            headers.sent.push((name.into_owned(), value.into_owned()));
        } else {
            headers.leave_out(&name);
        }
    }
    headers
}

impl FieldHeaders {
    fn can_send(&self, name: &str, value: &str, taken: impl Fn(&str) -> bool) -> bool {
        self.sent.len() < FIELD_HEADERS_MAX
            && header::is_name(name)
            && header::is_plain_value(value)
            && !header::is_reserved(name)
            && !header::is_authenticating(name)
            && !self
                .sent
                .iter()
                .any(|(sent, _)| sent.eq_ignore_ascii_case(name))
            && !taken(&name.to_ascii_lowercase())
    }

    fn leave_out(&mut self, name: &str) {
        if self.left_out.len() < LEFT_OUT_MAX {
            let name = name.chars().take(LEFT_OUT_CHARS_MAX).collect();
            self.left_out.push(name);
        }
    }
}

/// The value of a text, number, `true` or `false`, as text.
fn scalar(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str::<Text<'_>>(text)
            .ok()
            .map(|Text(text)| text),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(text)),
    }
}

/// A text, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields of a JSON object in their order; none when it is no object.
fn fields(payload: &[u8]) -> Vec<(Cow<'_, str>, &RawValue)> {
    serde_json::Deserializer::from_slice(payload)
        .deserialize_map(Ordered)
        .unwrap_or_default()
}

struct Ordered;

impl<'de> Visitor<'de> for Ordered {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(Text(name)) = map.next_key()? {
            fields.push((name, map.next_value()?));
        }
        Ok(fields)
    }
}

/// `payload` with every character beyond ASCII written as `\uXXXX`, those
/// above U+FFFF as two.
///
/// Such characters stand only inside the texts of JSON, where the escape means
/// the same. What is not UTF-8 is no JSON and stays.
#[must_use]
pub fn ascii(payload: &[u8]) -> Cow<'_, [u8]> {
    if payload.is_ascii() {
        return Cow::Borrowed(payload);
    }
    let Ok(text) = str::from_utf8(payload) else {
        return Cow::Borrowed(payload);
    };
    let mut escaped = String::with_capacity(escaped_bytes(text));
    for c in text.chars() {
        if c.is_ascii() {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(escaped, "\\u{unit:04x}").expect("a String takes any text");
        }
    }
    Cow::Owned(escaped.into_bytes())
}

fn escaped_bytes(text: &str) -> usize {
    let bytes = |c: char| {
        if c.is_ascii() {
            1
        } else {
            r"\u0000".len() * c.len_utf16()
        }
    };
    text.chars().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn check(payload: &str, sent: &[(&str, &str)], left_out: &[&str]) {
        let got = field_headers(payload.as_bytes(), |name| name == "x-taken");
        let got_sent: Vec<_> = got
            .sent
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            (
                &*got_sent,
                &*got.left_out.iter().map(String::as_str).collect::<Vec<_>>()
            ),
            (sent, left_out),
            "{payload}"
        );
    }

    #[test]
    fn scalar_fields_become_headers_as_they_stand() {
        for (payload, sent, left_out) in [
            (
                r#"{"Text":"a b","n":1.10,"big":12345678901234567890,"e":-1E+2,"t":true,"f":false}"#,
                &[
                    ("Text", "a b"),
                    ("n", "1.10"),
                    ("big", "12345678901234567890"),
                    ("e", "-1E+2"),
                    ("t", "true"),
                    ("f", "false"),
                ][..],
                &[][..],
            ),
            (r#"{"null":null,"o":{"a":1},"l":[1]}"#, &[], &[]),
            (r#"{ "b" : 1 , "a" : "" }"#, &[("b", "1"), ("a", "")], &[]),
            (r#"{"\u0061\u002db":"\u0063"}"#, &[("a-b", "c")], &[]),
            (r#"{"token":"t"}"#, &[("token", "t")], &[]),
            (
                r#"{"":1,"a b":1,"é":1,"a:":1}"#,
                &[],
                &["", "a b", "é", "a:"],
            ),
            (
                r#"{"a":"é","b":"x\r\ny: z","c":" x","d":"\u0000"}"#,
                &[],
                &["a", "b", "c", "d"],
            ),
            (
                r#"{"Host":"h","content-type":"c","webhook-id":"w","X-Signature":"s"}"#,
                &[],
                &["Host", "content-type", "webhook-id", "X-Signature"],
            ),
            (
                r#"{"Authorization":"a","cookie":"c","X-Taken":1}"#,
                &[],
                &["Authorization", "cookie", "X-Taken"],
            ),
            (r#"{"a":1,"A":2}"#, &[("a", "1")], &["A"]),
            ("[1]", &[], &[]),
            ("1", &[], &[]),
            ("not JSON", &[], &[]),
        ] {
            check(payload, sent, left_out);
        }
    }

    #[test]
    fn headers_from_a_payload_are_bounded() {
        let fields = |count| {
            let fields: Vec<_> = (0..count).map(|n| format!(r#""a{n}":{n}"#)).collect();
            format!("{{{}}}", fields.join(","))
        };
        for (count, sent, left_out) in [(50, 50, 0), (51, 50, 1), (1000, 50, LEFT_OUT_MAX)] {
            let got = field_headers(fields(count).as_bytes(), |_| false);
            assert_eq!(
                (got.sent.len(), got.left_out.len()),
                (sent, left_out),
                "{count}"
            );
        }
        let long = "x".repeat(FIELD_HEADERS_BYTES_MAX - 1);
        check(&format!(r#"{{"a":"{long}"}}"#), &[("a", &long)], &[]);
        check(
            &format!(r#"{{"a":"{long}x","b":1}}"#),
            &[("b", "1")],
            &["a"],
        );
        let name = format!("é{}", "x".repeat(5000));
        let got = field_headers(format!(r#"{{"{name}":1}}"#).as_bytes(), |_| false);
        assert_eq!(got.left_out[0].chars().count(), LEFT_OUT_CHARS_MAX);
    }

    #[test]
    fn characters_beyond_ascii_are_escaped() {
        for (text, want) in [
            (r#"{"a":1}"#, r#"{"a":1}"#),
            (r#"{"é":"Łódź"}"#, r#"{"\u00e9":"\u0141\u00f3d\u017a"}"#),
            (r#""東京 🪝""#, r#""\u6771\u4eac \ud83e\ude9d""#),
            (
                "\"\u{7f}\u{80}\u{ffff}\u{10ffff}\"",
                "\"\u{7f}\\u0080\\uffff\\udbff\\udfff\"",
            ),
            (r#""\u00e9 é""#, r#""\u00e9 \u00e9""#),
            (r#""\\é""#, r#""\\\u00e9""#),
        ] {
            assert_eq!(ascii(text.as_bytes()), want.as_bytes(), "{text}");
        }
        assert!(matches!(ascii(b"1.10"), Cow::Borrowed(_)));
        assert_eq!(ascii(b"\xff"), &b"\xff"[..]);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<String>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(3, 20, 4, |inside| {
            prop_oneof![
                prop::collection::vec(inside.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inside, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_escaped_means_the_same(value in any_json()) {
            let text = value.to_string();
            let escaped = ascii(text.as_bytes());
            prop_assert!(escaped.is_ascii());
            prop_assert_eq!(escaped.len(), escaped_bytes(&text));
            prop_assert_eq!(serde_json::from_slice::<Value>(&escaped).unwrap(), value);
        }

        #[test]
        fn any_bytes_give_headers_that_can_be_sent(payload in any::<Vec<u8>>()) {
            for (name, value) in field_headers(&payload, |_| false).sent {
                prop_assert!(header::is_name(&name) && header::is_plain_value(&value));
            }
        }

        #[test]
        fn any_texts_give_headers_that_can_be_sent(
            fields in prop::collection::btree_map(any::<String>(), any::<String>(), 0..80),
        ) {
            let payload = serde_json::to_string(&fields).unwrap();
            let got = field_headers(payload.as_bytes(), |_| false);
            prop_assert_eq!(got.sent.len() + got.left_out.len(), fields.len());
            for (name, value) in &got.sent {
                prop_assert!(header::is_name(name) && header::is_plain_value(value));
                prop_assert_eq!(&fields[name], value);
            }
        }
    }
}
