//! The latest state that a source's events give for one key.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ids::{MessageKey, ReceivedKey};
use super::source::RecordRule;
use super::time::Timestamp;
use super::verification::View;

/// Characters of a record's key.
pub const RECORD_KEY_CHARS_MAX: usize = 256;
/// Fields of one record, and bytes of their names and values in all.
pub const FIELDS_MAX: usize = 200;
pub const FIELDS_BYTES_MAX: usize = 64 * 1024;
/// Headers that one rule takes as fields.
pub const RECORD_HEADERS_MAX: usize = 50;
/// Entries of its history that a record keeps; the oldest make room.
pub const HISTORY_MAX: usize = 200;

/// Names, and values as JSON texts.
pub type Fields = BTreeMap<String, String>;

/// The latest state of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What identifies it within its source.
    pub key: String,
    pub fields: Fields,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// Events that made it.
    pub count: u64,
    /// What came last.
    pub last: ReceivedKey,
    pub last_message: Option<MessageKey>,
}

/// One event of a record's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub received: ReceivedKey,
    /// The fields that it carried.
    pub fields: Fields,
}

/// What an event says about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    pub key: String,
    pub fields: Fields,
}

/// Why an event cannot become part of a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error(
        "the body is not a JSON object, and `{key}`, which names the record, is needed from it"
    )]
    NotAnObject { key: String },
    #[error("`{key}`, which names the record, is missing")]
    NoKey { key: String },
    #[error("`{key}`, which names the record, is no text or number of 1 to 256 characters")]
    BadKey { key: String },
    #[error("it has more fields than a record keeps: 200, of 64 kB in all")]
    TooMuch,
}

impl RecordRule {
    /// What an event says: its top-level fields, and the headers that are taken
    /// as such where the body does not have them.
    ///
    /// # Errors
    /// It does not say which record it is about.
    pub fn read(&self, view: &View<'_>) -> Result<NewRecord, Unfit> {
        let mut fields = Fields::new();
        for name in &self.headers {
            let mut values = view.inbound.headers.all(name);
            if let Some(value) = values.next() {
                let text = Value::from(String::from_utf8_lossy(value)).to_string();
                fields.insert(name.clone(), text);
            }
        }
        let document = view.document();
        if let Some(Value::Object(object)) = document {
            for (name, value) in object {
                fields.insert(name.clone(), value.to_string());
            }
        }
        let key = self.key_of(&fields, document)?;
        let bytes: usize = fields
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if fields.len() > FIELDS_MAX || bytes > FIELDS_BYTES_MAX {
            return Err(Unfit::TooMuch);
        }
        Ok(NewRecord { key, fields })
    }

    fn key_of(&self, fields: &Fields, document: Option<&Value>) -> Result<String, Unfit> {
        let key = || self.key.clone();
        let by_pointer = self.key.starts_with('/');
        let value = if by_pointer {
            document
                .and_then(|document| document.pointer(&self.key))
                .cloned()
        } else {
            let text = fields.get(&self.key);
            text.and_then(|text| serde_json::from_str(text).ok())
        };
        let text = match value {
            Some(Value::String(text)) => text,
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => return Err(Unfit::BadKey { key: key() }),
            None if !matches!(document, Some(Value::Object(_))) && self.headers.is_empty() => {
                return Err(Unfit::NotAnObject { key: key() });
            }
            None => return Err(Unfit::NoKey { key: key() }),
        };
        let chars = text.chars().count();
        let fits =
            (1..=RECORD_KEY_CHARS_MAX).contains(&chars) && !text.chars().any(char::is_control);
        fits.then_some(text).ok_or(Unfit::BadKey { key: key() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::signing::Headers;
    use crate::domain::verification::{DocumentIn, Inbound};

    #[test]
    fn fields_come_from_the_body_and_from_chosen_headers() {
        let rule = |key: &str, headers: &[&str]| RecordRule {
            key: key.to_owned(),
            headers: headers.iter().map(|name| (*name).to_owned()).collect(),
        };
        let headers: &[(&str, &[u8])] = &[("reference", b"F-2"), ("Status_Code", b"S")];
        for (rule, body, want) in [
            (
                rule("reference", &[]),
                r#"{"reference":"F-1","n":[1]}"#,
                Ok(("F-1", r#"n=[1] reference="F-1""#)),
            ),
            (
                rule("reference", &["reference", "status_code"]),
                "not JSON",
                Ok(("F-2", r#"reference="F-2" status_code="S""#)),
            ),
            (
                rule("reference", &["reference"]),
                r#"{"reference":"F-1"}"#,
                Ok(("F-1", r#"reference="F-1""#)),
            ),
            (
                rule("/a/b", &[]),
                r#"{"a":{"b":7}}"#,
                Ok(("7", r#"a={"b":7}"#)),
            ),
            (rule("reference", &[]), "not JSON", Err("not a JSON object")),
            (rule("reference", &[]), "{}", Err("is missing")),
            (
                rule("reference", &[]),
                r#"{"reference":""}"#,
                Err("no text or number"),
            ),
            (
                rule("reference", &[]),
                r#"{"reference":null}"#,
                Err("no text or number"),
            ),
            (
                rule("reference", &[]),
                r#"{"reference":"a\nb"}"#,
                Err("no text or number"),
            ),
        ] {
            let inbound = Inbound {
                method: "POST",
                url: "https://h/in/x",
                headers: Headers(headers),
                body: body.as_bytes(),
                peer: None,
                now: Timestamp(0),
            };
            let got = rule.read(&View::new(inbound, DocumentIn::Body));
            match (got, want) {
                (Ok(got), Ok((key, fields))) => {
                    let all: Vec<_> = got.fields.iter().map(|(n, v)| format!("{n}={v}")).collect();
                    assert_eq!(
                        (got.key.as_str(), all.join(" ").as_str()),
                        (key, fields),
                        "{body}"
                    );
                }
                (Err(got), Err(want)) => assert!(got.to_string().contains(want), "{body}: {got}"),
                (got, want) => panic!("{body}: {got:?}, not {want:?}"),
            }
        }
    }
}
