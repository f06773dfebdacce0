//! One stored event.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ids::{ApplicationKey, EndpointKey, Key, MessageKey, ReceivedKey, SourceKey};
use super::time::Timestamp;

/// Characters of an event type, a channel, a uid at most.
pub const EVENT_TYPE_CHARS_MAX: usize = 256;
pub const CHANNEL_CHARS_MAX: usize = 128;
pub const UID_CHARS_MAX: usize = 256;
/// Channels of one message, or of one endpoint.
pub const CHANNELS_MAX: usize = 100;

/// The content type of what is posted to the API.
pub const JSON: &str = "application/json";

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// Posted to the API.
    Api,
    /// Written by Hookpost itself: an operational event.
    Operational,
    /// An example of an event type, sent to one endpoint to try it.
    Example,
    /// What came to a source.
    Source {
        source: SourceKey,
        received: ReceivedKey,
    },
}

/// A message without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub key: MessageKey,
    pub application: ApplicationKey,
    pub event_type: String,
    pub channels: Vec<String>,
    /// The caller's own name for it; not unique, the newest counts.
    pub uid: Option<String>,
    pub content_type: String,
    /// Headers that came with it and go on with it: names in lower case, none
    /// of them ours or the protocol's.
    pub headers: Vec<(String, Vec<u8>)>,
    pub origin: Origin,
}

impl Message {
    /// When it was accepted.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.key.made_at()
    }
}

/// A message and the bytes that are signed, stored and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    pub message: Message,
    /// `None` once retention has taken it.
    pub payload: Option<Bytes>,
}

/// A message that was taken in but has no key yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    pub application: ApplicationKey,
    pub event_type: String,
    pub channels: Vec<String>,
    pub uid: Option<String>,
    pub content_type: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub origin: Origin,
    pub payload: Bytes,
    pub target: Target,
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every endpoint that subscribes to it.
    FanOut,
    /// This endpoint, whatever it subscribes to.
    Only(EndpointKey),
}

/// Whether `text` can be an event type: `^[a-zA-Z0-9\-_.]+$`.
#[must_use]
pub fn is_event_type(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= EVENT_TYPE_CHARS_MAX
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}
