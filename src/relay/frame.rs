//! What a server and a listener say to one another: JSON in websocket messages.
//!
//! The protocol is that of `svix listen`, so that its clients work here and
//! ours works with what they work with. What it lacks is in further fields,
//! which either end may leave out and ignores when it does not know them:
//! `headers` has one value for each name, `headerList` has them all; `path` is
//! what the sender asked for below the inbox; a client that keeps its `session`
//! takes its own place over when it comes back.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Where listeners connect to, below a server's URL.
pub const PATH: &str = "/api/v1/listen/";
/// The version of the protocol that every frame names.
pub const VERSION: u16 = 1;

/// Why the server ends a listener's connection, with code 1008: these words are
/// the protocol's, and clients compare them.
pub const IN_USE: &str = "This socket is already in use";
pub const INVALID_TOKEN: &str = "Invalid token";
/// Ours: whoever reads it does not come back by itself.
pub const CLOSED_BY_OPERATOR: &str = "Closed in the dashboard";
pub const KEY_ENDED: &str = "The API key does not work any more";
pub const KEY_NEEDED: &str = "This inbox takes no listener without an API key";

/// Bytes of a frame beside the body in base64: names, headers, twice.
const FRAME_BESIDE_BODY_BYTES: usize = 512 * 1024;

/// Bytes that a frame may have when a body may have `body_bytes_max`.
#[must_use]
pub fn frame_bytes_max(body_bytes_max: usize) -> usize {
    body_bytes_max.div_ceil(3) * 4 + FRAME_BESIDE_BODY_BYTES
}

/// The first thing that a client says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartRequest {
    pub token: String,
    /// What and where it is, in words: shown to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// A secret of this client's, the same at each connection of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Whether other listeners that say so too may share what comes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub share: bool,
    /// Events that it takes before it has answered the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

/// The first thing that a server says, once the place is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartReply {
    pub token: String,
    /// What senders send to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The page of the inbox in the dashboard. An event's is below it, at
    /// `/received/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// Bytes that a body may have, either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u64>,
    /// Events that were kept meanwhile, and follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
}

/// A request that came to the inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The same each time that the event is sent; the reply names it.
    pub id: String,
    pub method: String,
    /// One value for each name.
    pub headers: BTreeMap<String, String>,
    /// In base64.
    pub body: String,
    /// Path and query after the token: empty, or from `/` or `?` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Every header in order, see [`latin1`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_list: Option<Vec<(String, String)>>,
    /// When it came, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Of the message, when the server itself delivers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
}

/// What the local program answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    pub id: String,
    pub status: u16,
    /// One value for each name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// In base64.
    #[serde(default)]
    pub body: String,
    /// Every header in order, see [`latin1`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_list: Option<Vec<(String, String)>>,
    /// Why the local program gave no answer; the status is then the relay's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromClient {
    Start(StartRequest),
    Reply(Reply),
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromServer {
    Start(StartReply),
    Event(Event),
}

/// Why a message is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame must be JSON with type, version and data: {0}")]
    Json(#[from] serde_json::Error),
    #[error("version {0} of the protocol is not known here; {VERSION} is")]
    Version(u16),
    #[error("a frame of type {0:?} is not known here")]
    Type(String),
    #[error("the body is not base64")]
    Body,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(rename = "type")]
    kind: String,
    version: u16,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Serialize)]
struct Outgoing<'a, D> {
    #[serde(rename = "type")]
    kind: &'a str,
    version: u16,
    data: &'a D,
}

impl FromClient {
    /// Reads what a client sent.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame = incoming(bytes)?;
        match frame.kind.as_str() {
            "start" => Ok(Self::Start(serde_json::from_str(frame.data.get())?)),
            "event" => Ok(Self::Reply(serde_json::from_str(frame.data.get())?)),
            _ => Err(FrameError::Type(frame.kind)),
        }
    }

    /// The frame as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Start(start) => outgoing("start", start),
            Self::Reply(reply) => outgoing("event", reply),
        }
    }
}

impl FromServer {
    /// Reads what a server sent.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame = incoming(bytes)?;
        match frame.kind.as_str() {
            "start" => Ok(Self::Start(serde_json::from_str(frame.data.get())?)),
            "event" => Ok(Self::Event(serde_json::from_str(frame.data.get())?)),
            _ => Err(FrameError::Type(frame.kind)),
        }
    }

    /// The frame as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Start(start) => outgoing("start", start),
            Self::Event(event) => outgoing("event", event),
        }
    }
}

fn incoming(bytes: &[u8]) -> Result<Incoming<'_>, FrameError> {
    let frame: Incoming<'_> = serde_json::from_slice(bytes)?;
    if frame.version == VERSION {
        Ok(frame)
    } else {
        Err(FrameError::Version(frame.version))
    }
}

fn outgoing<D: Serialize>(kind: &str, data: &D) -> String {
    let frame = Outgoing {
        kind,
        version: VERSION,
        data,
    };
    serde_json::to_string(&frame).expect("frames have only texts and numbers")
}

/// A body as frames carry it.
#[must_use]
pub fn encode_body(body: &[u8]) -> String {
    STANDARD.encode(body)
}

/// The body that a frame carries.
pub fn decode_body(text: &str) -> Result<Bytes, FrameError> {
    let bytes = STANDARD.decode(text).map_err(|_| FrameError::Body)?;
    Ok(bytes.into())
}

/// Headers as frames carry them: one value for each name, and all of them.
#[must_use]
pub fn encode_headers(
    headers: &[(String, Vec<u8>)],
) -> (BTreeMap<String, String>, Vec<(String, String)>) {
    let one = headers
        .iter()
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()));
    let all = headers
        .iter()
        .map(|(name, value)| (name.clone(), latin1(value)));
    (one.collect(), all.collect())
}

/// The headers that a frame carries: all of them, if it says them all.
#[must_use]
pub fn decode_headers(
    one: BTreeMap<String, String>,
    all: Option<Vec<(String, String)>>,
) -> Vec<(String, Vec<u8>)> {
    match all {
        Some(all) => all
            .into_iter()
            .map(|(name, value)| (name, from_latin1(&value)))
            .collect(),
        None => one
            .into_iter()
            .map(|(name, value)| (name, value.into_bytes()))
            .collect(),
    }
}

/// A header's value as text that loses nothing: a character for each byte.
#[must_use]
pub fn latin1(value: &[u8]) -> String {
    value.iter().map(|byte| char::from(*byte)).collect()
}

/// The bytes of such a text. A character beyond 255 stands for its UTF-8: no
/// frame of ours has one.
#[must_use]
pub fn from_latin1(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend_from_slice(character.to_string().as_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_other_clients_are_understood() {
        for (text, want) in [
            (
                r#"{"type":"start","version":1,"data":{"token":"c_0123456789"}}"#,
                FromClient::Start(StartRequest {
                    token: "c_0123456789".to_owned(),
                    ..StartRequest::default()
                }),
            ),
            (
                r#"{"data":{"id":"x","status":201,"headers":{"a":"b"},"body":"aGk=","more":1},"version":1,"type":"event"}"#,
                FromClient::Reply(Reply {
                    id: "x".to_owned(),
                    status: 201,
                    headers: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
                    body: "aGk=".to_owned(),
                    ..Reply::default()
                }),
            ),
        ] {
            assert_eq!(FromClient::parse(text.as_bytes()).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for text in [
            "",
            "null",
            "{}",
            r#"{"type":"start","version":1}"#,
            r#"{"type":"start","version":1,"data":{}}"#,
            r#"{"type":"start","version":2,"data":{"token":"c_0123456789"}}"#,
            r#"{"type":"start","data":{"token":"c_0123456789"}}"#,
            r#"{"type":"stop","version":1,"data":{}}"#,
            r#"{"type":"event","version":1,"data":{"id":"x","status":-1}}"#,
            r#"{"type":"event","version":1,"data":{"id":"x","status":70000}}"#,
        ] {
            assert!(FromClient::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(FromClient::parse(b"\xff").is_err());
        assert!(decode_body("a").is_err());
    }

    #[test]
    fn what_one_end_writes_the_other_reads() {
        let reply = FromClient::Reply(Reply {
            id: "rcv_1".to_owned(),
            status: 502,
            error: Some("connection refused".to_owned()),
            header_list: Some(vec![("a".to_owned(), "\u{ff}".to_owned())]),
            ..Reply::default()
        });
        let again = FromClient::parse(reply.to_json().as_bytes()).unwrap();
        assert_eq!(again, reply);
        let event = FromServer::Event(Event {
            id: "rcv_1".to_owned(),
            method: "POST".to_owned(),
            body: encode_body(b"\x00\xff"),
            path: Some("/a?b".to_owned()),
            ..Event::default()
        });
        let again = FromServer::parse(event.to_json().as_bytes()).unwrap();
        assert_eq!(again, event);
    }

    #[test]
    fn headers_come_through_byte_by_byte() {
        let headers: Vec<(String, Vec<u8>)> = vec![
            ("a".to_owned(), b"1".to_vec()),
            ("b".to_owned(), (0..=255).collect()),
            ("a".to_owned(), "\u{e4}\u{20ac}".as_bytes().to_vec()),
        ];
        let (one, all) = encode_headers(&headers);
        assert_eq!(one.len(), 2);
        assert_eq!(decode_headers(one, Some(all)), headers);
    }
}
