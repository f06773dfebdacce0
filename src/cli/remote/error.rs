//! Why a server gave no answer, or none that is any good.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use http::header::LOCATION;
use serde::Deserialize;

use super::Answer;
use crate::cli::printable::plain;
use crate::cli::{EXIT_FAILED, EXIT_USAGE};
use crate::domain::server_url::{ServerUrl, ServerUrlError};

/// Errors of one answer that are shown.
const ERRORS_SHOWN: usize = 10;
/// Characters of what a server says that are shown.
const WORDS_CHARS_MAX: usize = 1000;

const MAKE_A_KEY: &str =
    "`hookpost keys create` makes one, and `hookpost serve --dev` prints the one it made";

/// Each is one sentence, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum RemoteError {
    #[error("{given_by} {text:?} {why}; give one such as http://127.0.0.1:8071")]
    ServerUrl {
        given_by: &'static str,
        text: String,
        why: ServerUrlError,
    },
    #[error(
        "no API key: set HOOKPOST_API_KEY, or HOOKPOST_API_KEY_FILE to a file with it; {MAKE_A_KEY}"
    )]
    NoKey,
    #[error("cannot read the API key in {}, which HOOKPOST_API_KEY_FILE names: {cause}", path.display())]
    KeyFile { path: PathBuf, cause: io::Error },
    #[error("what HOOKPOST_API_KEY or HOOKPOST_API_KEY_FILE gives is no API key; {MAKE_A_KEY}")]
    BadKey,
    #[error("HOOKPOST_CA_FILE: {0:#}")]
    Certificates(anyhow::Error),
    #[error("this cannot be sent: {0}")]
    Unsendable(http::Error),
    #[error("cannot reach {server}: {why}; --server or HOOKPOST_SERVER names another server")]
    Unreachable { server: String, why: String },
    #[error("no answer from {server} within {} s", after.as_secs())]
    TimedOut { server: String, after: Duration },
    #[error("{server} closed the connection before it had answered")]
    Broken { server: String },
    #[error("the answer of {server} is larger than any that Hookpost gives; check --server")]
    TooLarge { server: String },
    #[error("{server} does not answer as Hookpost does: {what}; check --server")]
    NotHookpost { server: String, what: String },
    #[error("{server} does not take the API key: {detail} {MAKE_A_KEY}")]
    Unauthorized { server: String, detail: String },
    #[error("{detail}")]
    Refused {
        status: StatusCode,
        code: String,
        detail: String,
    },
}

/// An error as the API tells it.
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
    #[serde(default)]
    errors: Vec<FieldProblem>,
}

#[derive(Deserialize)]
struct FieldProblem {
    path: String,
    detail: String,
}

impl RemoteError {
    /// What an answer that is not a good one says.
    pub(super) fn refused(server: &ServerUrl, answer: &Answer) -> Self {
        let status = answer.status;
        let server = server.to_string();
        let Ok(problem) = serde_json::from_slice::<Problem>(&answer.body) else {
            let what = not_hookpost(answer);
            return match status.as_u16() {
                // A proxy says so while what is behind it restarts.
                502..=504 => Self::Broken { server },
                _ => Self::NotHookpost { server, what },
            };
        };
        let detail = words(&problem);
        match (status, problem.code.as_str()) {
            (StatusCode::UNAUTHORIZED, _) => Self::Unauthorized { server, detail },
            (_, "no_route" | "no_method") => Self::NotHookpost {
                server,
                what: "it does not have this call; it may be older than this program".to_owned(),
            },
            _ => Self::Refused {
                status,
                code: problem.code,
                detail,
            },
        }
    }

    /// The same, by the names that a command has for what the API calls otherwise.
    pub(in crate::cli) fn naming(self, names: &[(&str, &str)]) -> Self {
        match self {
            Self::Refused {
                status,
                code,
                detail,
            } => {
                let replaced = |detail: String, (from, to): &(&str, &str)| detail.replace(from, to);
                Self::Refused {
                    status,
                    code,
                    detail: names.iter().fold(detail, replaced),
                }
            }
            other => other,
        }
    }

    /// Whether the command line or the environment is wrong, and nothing was tried.
    pub(in crate::cli) fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::ServerUrl { .. }
                | Self::NoKey
                | Self::KeyFile { .. }
                | Self::BadKey
                | Self::Certificates(_)
                | Self::Unsendable(_)
        )
    }

    /// Whether the same question may be answered a little later.
    pub(in crate::cli) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Broken { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }

    /// Whether the server says that there is no such thing.
    pub(in crate::cli) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    pub(in crate::cli) fn exit_code(&self) -> u8 {
        if self.is_usage() {
            EXIT_USAGE
        } else {
            EXIT_FAILED
        }
    }
}

fn not_hookpost(answer: &Answer) -> String {
    let location = answer.headers.get(LOCATION);
    match location.and_then(|location| location.to_str().ok()) {
        Some(location) if answer.status.is_redirection() => {
            format!("it redirects to {}", shortened(location))
        }
        _ => format!("it answered {} and no problem", answer.status.as_u16()),
    }
}

/// What is wrong, and where.
fn words(problem: &Problem) -> String {
    if problem.errors.is_empty() {
        return shortened(&problem.detail);
    }
    let errors = problem
        .errors
        .iter()
        .take(ERRORS_SHOWN)
        .map(|error| format!("{} {}", shortened(&error.path), shortened(&error.detail)));
    let shown = errors.collect::<Vec<_>>().join("; ");
    format!("refused: {shown}")
}

fn shortened(text: &str) -> String {
    plain(&text.chars().take(WORDS_CHARS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn told(status: u16, body: &'static str) -> RemoteError {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_static("https://b.example/"));
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
        };
        RemoteError::refused(&ServerUrl::default(), &answer)
    }

    #[test]
    fn an_answer_that_is_none_says_what_to_do() {
        for (status, body, passes, words) in [
            (
                401,
                r#"{"code": "unauthorized", "detail": "The key is unknown."}"#,
                false,
                "does not take the API key: The key is unknown. `hookpost keys create`",
            ),
            (
                403,
                r#"{"code": "forbidden", "detail": "It needs `read`."}"#,
                false,
                "It needs `read`.",
            ),
            (
                404,
                r#"{"code": "not_found", "detail": "There is no such application."}"#,
                false,
                "There is no such application.",
            ),
            (
                404,
                r#"{"code": "no_route", "detail": "x"}"#,
                false,
                "older than this program",
            ),
            (
                422,
                r#"{"code": "invalid", "detail": "x", "errors": [{"path": "a", "detail": "is\u001b wrong"}, {"path": "b", "detail": "too"}]}"#,
                false,
                "refused: a is\\u{1b} wrong; b too",
            ),
            (
                503,
                r#"{"code": "unavailable", "detail": "Try again."}"#,
                true,
                "Try again.",
            ),
            (502, "<html>", true, "closed the connection"),
            (500, "<html>", false, "answered 500"),
            (301, "", false, "redirects to https://b.example/"),
            (404, "", false, "answered 404"),
        ] {
            let error = told(status, body);
            assert!(error.to_string().contains(words), "{status}: {error}");
            assert_eq!(error.may_pass(), passes, "{status}: {error}");
            assert_eq!(error.exit_code(), EXIT_FAILED, "{status}: {error}");
        }
    }
}
