//! One request that came in, to a source or an inbox: its headers and body.

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use super::parts::Well;
use super::pretty;
use crate::domain::endpoint::{MASKED, is_secret_header};

/// Bytes of a body that a page shows.
const SHOWN_BYTES_MAX: usize = 32 * 1024;

/// A header as a page shows it.
pub(super) struct Header {
    pub(super) name: String,
    pub(super) value: String,
}

impl Header {
    /// `token` names the header that the sender proves itself by.
    pub(super) fn new(name: &str, value: &[u8], token: Option<&str>) -> Self {
        let masked = is_secret_header(name, token);
        Self {
            name: name.to_owned(),
            value: if masked {
                MASKED.to_owned()
            } else {
                String::from_utf8_lossy(value).into_owned()
            },
        }
    }
}

/// The body, as far as it is shown; `None` when there is none.
pub(super) fn body(bytes: &[u8]) -> Option<Well> {
    body_in("received-body", bytes)
}

/// The same with another id in its page.
pub(super) fn body_in(id: &str, bytes: &[u8]) -> Option<Well> {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let text = String::from_utf8_lossy(shown).into_owned();
    let text = pretty::pretty(&text).unwrap_or(text);
    (!bytes.is_empty()).then(|| Well::new(id, text))
}

/// Whether there is more of it than is shown.
pub(super) fn is_long(bytes: &[u8]) -> bool {
    bytes.len() > SHOWN_BYTES_MAX
}

/// The bytes as they came, as a file that no browser opens.
pub(super) fn download(bytes: Bytes) -> Response {
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "application/octet-stream"),
        (CONTENT_DISPOSITION, "attachment; filename=\"body\""),
        (CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
