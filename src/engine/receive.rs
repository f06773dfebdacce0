//! An inbound request: kept before it is answered.

use bytes::Bytes;
use http::HeaderMap;

use super::{Engine, Inner};
use crate::domain::attempt::{CapturedResponse, Exchange, Outcome, Timing};
use crate::domain::inbox::Received;
use crate::store::{NewReceived, Refusal, WriteError};

/// What an inbox answers with, whatever came.
pub const ANSWER_BODY: &str = "OK";
pub const ANSWER_TYPE: &str = "text/plain; charset=utf-8";

/// Where inboxes are, below the public URL.
pub const INBOX_PATH: &str = "/in/";

/// Why a request was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("there is no such inbox")]
    NoInbox,
    #[error(transparent)]
    Store(#[from] WriteError),
}

impl Engine {
    /// Takes in what came to the inbox with this token. When this returns, it
    /// is on disk.
    pub async fn take_in(
        &self,
        token: &str,
        received: NewReceived,
    ) -> Result<Received, ReceiveError> {
        take_in(&self.inner, token, received).await
    }
}

async fn take_in(
    inner: &Inner,
    token: &str,
    received: NewReceived,
) -> Result<Received, ReceiveError> {
    let inbox = inner
        .store
        .inbox(token)
        .map_err(WriteError::from)?
        .ok_or(ReceiveError::NoInbox)?;
    match inner.store.receive(inbox.key, received).await {
        Err(WriteError::Refused(Refusal::NoInbox)) => Err(ReceiveError::NoInbox),
        other => Ok(other?),
    }
}

/// The token, and the path after it, when `url` is an inbox of ours.
///
/// Both are normalised: other spellings of the same are not recognised.
#[must_use]
pub fn own_inbox<'a>(url: &'a str, public_url: &str) -> Option<(&'a str, &'a str)> {
    let rest = url.strip_prefix(public_url)?.strip_prefix(INBOX_PATH)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (token, path) = rest.split_at(end);
    (!token.is_empty()).then_some((token, path))
}

/// Delivers to an inbox of our own without leaving the process.
pub(super) async fn deliver_to_inbox(
    inner: &Inner,
    token: &str,
    path: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Exchange {
    let received = NewReceived {
        method: "POST".to_owned(),
        path: path.to_owned(),
        headers: list(headers),
        body,
    };
    let before = inner.clock.now();
    let outcome = take_in(inner, token, received).await;
    let total_us = u32::try_from(inner.clock.now().since(before).as_micros()).unwrap_or(u32::MAX);
    let timing = Timing {
        first_byte_us: total_us,
        total_us,
        ..Timing::default()
    };
    let answer = |status, body: &str| Exchange {
        outcome: Outcome::Response { status },
        response: Some(CapturedResponse {
            headers: vec![("content-type".to_owned(), ANSWER_TYPE.into())],
            body: body.as_bytes().to_vec(),
            truncated: false,
        }),
        timing,
        peer: None,
    };
    match outcome {
        Ok(received) => answer(received.answered, ANSWER_BODY),
        Err(ReceiveError::NoInbox) => answer(404, "There is no such inbox."),
        Err(ReceiveError::Store(error)) => {
            tracing::error!(%error, "an inbox could not take a delivery in");
            answer(503, "The inbox cannot be written to now.")
        }
    }
}

/// Names and values of headers, repeats included.
#[must_use]
pub fn list(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_under_our_own_in_are_inboxes() {
        let own = "https://hooks.example.com";
        for (url, want) in [
            ("https://hooks.example.com/in/abc/", Some(("abc", "/"))),
            ("https://hooks.example.com/in/abc", Some(("abc", ""))),
            (
                "https://hooks.example.com/in/abc?x=1",
                Some(("abc", "?x=1")),
            ),
            (
                "https://hooks.example.com/in/abc/d/e",
                Some(("abc", "/d/e")),
            ),
            ("https://hooks.example.com/in/", None),
            ("https://hooks.example.com/inbox/abc", None),
            ("https://hooks.example.com.evil.com/in/abc", None),
            ("https://other.example.com/in/abc", None),
        ] {
            assert_eq!(own_inbox(url, own), want, "{url}");
        }
    }
}
