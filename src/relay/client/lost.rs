//! Why there is no connection, and whether trying again can change that.

use std::time::Duration;

use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::dial::DialError;
use crate::relay::frame::{CLOSED_BY_OPERATOR, IN_USE, INVALID_TOKEN, KEY_ENDED, KEY_NEEDED};

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("the server took longer than {} s", limit.as_secs_f32())]
    Slow { limit: Duration },
    #[error("the server answered {status}{}", after_colon(detail.as_deref()))]
    Refused { status: u16, detail: Option<String> },
    #[error("the server closed it{}", after_colon(Some(reason)))]
    Closed { code: u16, reason: String },
    #[error("nothing was heard of the server for {} s", limit.as_secs_f32())]
    Silent { limit: Duration },
    #[error("the server took nothing for {} s", limit.as_secs_f32())]
    Stuck { limit: Duration },
    #[error("the connection was cut")]
    Ended,
    #[error("the server cannot be understood: {0}")]
    Protocol(String),
}

/// Why a listener ends although nobody stopped it: trying again does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    #[error(
        "the server does not take this API key{}; set HOOKPOST_API_KEY or HOOKPOST_API_KEY_FILE \
         to one that it knows",
        after_colon(detail.as_deref())
    )]
    Key { detail: Option<String> },
    #[error(
        "the server does not permit this{}; use an API key that may listen",
        after_colon(detail.as_deref())
    )]
    Forbidden { detail: Option<String> },
    #[error(
        "the server has nothing to listen to{}; check --server and --token",
        after_colon(detail.as_deref())
    )]
    NotThere { detail: Option<String> },
    #[error(
        "somebody else listens with this token; give another with --token, or share the events \
         by giving --share to each listener"
    )]
    InUse,
    #[error(
        "the server does not take this token; give --token one such as c_ and 22 letters and \
         digits, or leave it out"
    )]
    InvalidToken,
    #[error("this listener was closed in the dashboard; start it again to listen again")]
    ClosedByOperator,
    #[error("the API key does not work any more; set HOOKPOST_API_KEY to another one")]
    KeyEnded,
    #[error("this inbox takes no listener without an API key; set HOOKPOST_API_KEY")]
    KeyNeeded,
}

fn after_colon(detail: Option<&str>) -> String {
    match detail.map(|detail| detail.trim().trim_end_matches('.')) {
        None | Some("") => String::new(),
        Some(detail) => format!(": {detail}"),
    }
}

impl Lost {
    pub(super) fn http(error: &hyper::Error) -> Self {
        if error.is_parse() {
            Self::Protocol("its answer is not HTTP".to_owned())
        } else {
            Self::Ended
        }
    }

    pub(super) fn websocket(error: &tungstenite::Error) -> Self {
        use tungstenite::Error as E;
        match error {
            E::Capacity(_) => Self::Protocol("it sent a frame that is too large".to_owned()),
            E::Utf8(_) => Self::Protocol("it sent text that is not UTF-8".to_owned()),
            E::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                Self::Ended
            }
            E::Protocol(error) => Self::Protocol(error.to_string()),
            _ => Self::Ended,
        }
    }

    pub(super) fn closed(frame: Option<CloseFrame>) -> Self {
        let (code, reason) = match frame {
            Some(frame) => (frame.code, frame.reason.to_string()),
            None => (CloseCode::Status, String::new()),
        };
        Self::Closed {
            code: code.into(),
            reason,
        }
    }

    /// What cannot be cured by trying again. `first`: there was no connection
    /// before, so whoever has the place had it before us.
    #[must_use]
    pub fn ends(&self, first: bool) -> Option<Ended> {
        match self {
            Self::Refused { status, detail } => {
                let detail = detail.clone();
                match status {
                    401 => Some(Ended::Key { detail }),
                    // Later it may be a proxy that speaks while the server restarts.
                    403 if first => Some(Ended::Forbidden { detail }),
                    404 if first => Some(Ended::NotThere { detail }),
                    _ => None,
                }
            }
            Self::Closed { code, reason } if *code == u16::from(CloseCode::Policy) => {
                match reason.as_str() {
                    INVALID_TOKEN => Some(Ended::InvalidToken),
                    CLOSED_BY_OPERATOR => Some(Ended::ClosedByOperator),
                    KEY_ENDED => Some(Ended::KeyEnded),
                    KEY_NEEDED => Some(Ended::KeyNeeded),
                    IN_USE if first => Some(Ended::InUse),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_cured_ends_a_listener() {
        let closed = |code, reason: &str| Lost::Closed {
            code,
            reason: reason.to_owned(),
        };
        let refused = |status| Lost::Refused {
            status,
            detail: None,
        };
        let detail = None;
        for (lost, first, later) in [
            (
                refused(401),
                Some(Ended::Key {
                    detail: detail.clone(),
                }),
                true,
            ),
            (
                refused(403),
                Some(Ended::Forbidden {
                    detail: detail.clone(),
                }),
                false,
            ),
            (refused(404), Some(Ended::NotThere { detail }), false),
            (refused(429), None, false),
            (refused(502), None, false),
            (closed(1008, INVALID_TOKEN), Some(Ended::InvalidToken), true),
            (
                closed(1008, CLOSED_BY_OPERATOR),
                Some(Ended::ClosedByOperator),
                true,
            ),
            (closed(1008, KEY_ENDED), Some(Ended::KeyEnded), true),
            (closed(1008, KEY_NEEDED), Some(Ended::KeyNeeded), true),
            (closed(1008, IN_USE), Some(Ended::InUse), false),
            (closed(1008, "something else"), None, false),
            (closed(1001, CLOSED_BY_OPERATOR), None, false),
            (Lost::Ended, None, false),
        ] {
            assert_eq!(lost.ends(true), first, "{lost}");
            let later = if later { first } else { None };
            assert_eq!(lost.ends(false), later, "{lost}, later");
        }
    }

    #[test]
    fn a_reason_is_one_sentence() {
        for (lost, want) in [
            (
                Lost::Refused {
                    status: 503,
                    detail: Some("Too busy.".to_owned()),
                },
                "the server answered 503: Too busy",
            ),
            (
                Lost::Refused {
                    status: 500,
                    detail: None,
                },
                "the server answered 500",
            ),
            (Lost::closed(None), "the server closed it"),
            (
                Lost::Silent {
                    limit: Duration::from_secs(31),
                },
                "nothing was heard of the server for 31 s",
            ),
        ] {
            assert_eq!(lost.to_string(), want);
        }
    }
}
