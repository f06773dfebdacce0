//! One HTTP request made for a delivery, and what came of it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::delivery::{Trigger, Verdict};
use super::ids::{ApplicationKey, AttemptKey, EndpointKey, MessageKey};
use super::signing::SignedParts;
use super::time::Timestamp;

/// Bytes of a response body that an attempt keeps.
pub const RESPONSE_BODY_KEPT_BYTES: usize = 16 * 1024;
/// Bytes of a response body that are read at most; the rest is left unread.
pub const RESPONSE_BODY_READ_BYTES: usize = 64 * 1024;

/// The closed list of names that the API and the dashboard use. Counters on
/// disk go by the order: a new one is added at the end.
pub const OUTCOMES: [&str; 8] = [
    "response",
    "timedOut",
    "dnsFailed",
    "refused",
    "reset",
    "tlsFailed",
    "blockedAddress",
    "protocol",
];

/// What came of one attempt. A failing endpoint is data, not an error of ours.
///
/// Every variant but `Response` says in `detail` what happened, in words fit
/// for the endpoint's owner (no address of ours, no secret).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The endpoint answered with a status line. The body may be cut short:
    /// the status decides, whatever happens after it.
    Response { status: u16 },
    /// The attempt's deadline passed before a status line was read.
    TimedOut { detail: String },
    /// The host's name has no address, or the resolver failed.
    DnsFailed { detail: String },
    /// Nobody listens there, or the network cannot reach it.
    Refused { detail: String },
    /// The connection broke before a status line was read.
    Reset { detail: String },
    /// The TLS handshake failed: certificate, name, version, cipher.
    TlsFailed { detail: String },
    /// The address may not be dialled (`domain::address`); nothing was sent.
    BlockedAddress { detail: String },
    /// The answer is not HTTP, or breaks its limits (headers too large, too many).
    Protocol { detail: String },
}

impl Outcome {
    /// The HTTP status, or 0 when there was no HTTP answer.
    #[must_use]
    pub fn status_code(&self) -> u16 {
        match self {
            Self::Response { status } => *status,
            _ => 0,
        }
    }

    /// Which of [`OUTCOMES`] it is.
    #[must_use]
    pub fn number(&self) -> u8 {
        match self {
            Self::Response { .. } => 0,
            Self::TimedOut { .. } => 1,
            Self::DnsFailed { .. } => 2,
            Self::Refused { .. } => 3,
            Self::Reset { .. } => 4,
            Self::TlsFailed { .. } => 5,
            Self::BlockedAddress { .. } => 6,
            Self::Protocol { .. } => 7,
        }
    }

    /// Its name among [`OUTCOMES`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        OUTCOMES[usize::from(self.number())]
    }

    /// Whether a request may have left: it did not when no connection stood.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        match self {
            Self::Response { .. }
            | Self::TimedOut { .. }
            | Self::Reset { .. }
            | Self::Protocol { .. } => true,
            Self::DnsFailed { .. }
            | Self::Refused { .. }
            | Self::TlsFailed { .. }
            | Self::BlockedAddress { .. } => false,
        }
    }

    /// What went wrong, in words; `None` when the endpoint answered.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Response { .. } => None,
            Self::TimedOut { detail }
            | Self::DnsFailed { detail }
            | Self::Refused { detail }
            | Self::Reset { detail }
            | Self::TlsFailed { detail }
            | Self::BlockedAddress { detail }
            | Self::Protocol { detail } => Some(detail),
        }
    }
}

/// Where the time of an attempt went, in microseconds.
///
/// `dns_us`, `connect_us` and `tls_us` are zero when a pooled connection was
/// used. `first_byte_us` runs from the start of the attempt to the status line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    pub dns_us: u32,
    pub connect_us: u32,
    pub tls_us: u32,
    pub first_byte_us: u32,
    pub total_us: u32,
}

/// The part of a response that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedResponse {
    /// Header names and values as they came, in order, repeats included.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The first [`RESPONSE_BODY_KEPT_BYTES`] of the body.
    pub body: Vec<u8>,
    /// Whether the body went on after `body`, or broke off.
    pub truncated: bool,
}

/// Everything that one HTTP request gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub outcome: Outcome,
    /// `None` unless `outcome` is a response.
    pub response: Option<CapturedResponse>,
    pub timing: Timing,
    /// The address that was dialled, `None` when none was.
    pub peer: Option<SocketAddr>,
}

/// What was sent, as far as the log keeps it. The whole list of headers is
/// computed from this: see [`SentRequest::headers`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentRequest {
    pub url: String,
    pub content_type: String,
    pub signed: SignedParts,
    /// Custom headers, then those taken from the payload; the values of secret
    /// ones masked.
    pub custom: Vec<(String, String)>,
    /// Fields of the payload that were to be headers, and could not be.
    pub left_out: Vec<String>,
}

/// What we call ourselves. The number is that of the layout of requests: the
/// log computes headers from it, so it changes only with them.
pub const USER_AGENT: &str = "Hookpost/1";

impl SentRequest {
    /// Header names and values as sent, for a message with this id.
    #[must_use]
    pub fn headers(&self, message_id: &str) -> Vec<(String, String)> {
        let own = [
            ("content-type", self.content_type.clone()),
            ("user-agent", USER_AGENT.to_owned()),
        ];
        let signed = self.signed.headers(message_id);
        own.into_iter()
            .chain(signed)
            .map(|(name, value)| (name.to_owned(), value))
            .chain(self.custom.iter().cloned())
            .collect()
    }
}

/// One attempt that is over, before it has a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAttempt {
    pub application: ApplicationKey,
    pub endpoint: EndpointKey,
    pub message: MessageKey,
    pub started: Timestamp,
    pub trigger: Trigger,
    pub verdict: Verdict,
    pub request: SentRequest,
    pub exchange: Exchange,
}

impl NewAttempt {
    /// This attempt without what tells of its message's payload: what was
    /// answered to it, the signatures, and headers beside the usual ones, of
    /// which some come from the payload. Status and times stay.
    #[must_use]
    pub fn without_content(&self) -> Self {
        let mut bare = self.clone();
        bare.request.signed = SignedParts {
            timestamp_s: bare.request.signed.timestamp_s,
            ..SignedParts::default()
        };
        bare.request.custom.clear();
        bare.request.left_out.clear();
        if let Some(response) = &mut bare.exchange.response {
            *response = CapturedResponse::default();
        }
        bare
    }
}

/// One attempt, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub key: AttemptKey,
    /// Counts from 1 within its delivery.
    pub number: u32,
    /// When the next one was to happen, as decided when this one was recorded.
    pub next: Option<Timestamp>,
    pub of: NewAttempt,
}
