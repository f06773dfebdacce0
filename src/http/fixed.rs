//! Answers that stay the same as long as the process runs.

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest as _, Sha256};

/// Bytes of the hash that a tag is written from: enough to tell versions apart.
const TAG_BYTES: usize = 8;

/// A body with its type and its tag.
#[derive(Clone, Debug)]
pub struct Fixed {
    content_type: &'static str,
    body: Bytes,
    tag: String,
}

impl Fixed {
    pub fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let hash = Sha256::digest(&body);
        let tag = hash[..TAG_BYTES].iter().map(|byte| format!("{byte:02x}"));
        Self {
            content_type,
            tag: tag.collect(),
            body,
        }
    }

    /// 16 hexadecimal digits that change with the body.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The body, or 304 for a client that has it. It may be kept, but must be
    /// asked for again.
    #[must_use]
    pub fn answer(&self, headers: &HeaderMap) -> Response {
        let tag = format!("\"{}\"", self.tag);
        let mut response = if has(headers, &tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let kind = HeaderValue::from_static(self.content_type);
            ([(CONTENT_TYPE, kind)], self.body.clone()).into_response()
        };
        let tag = HeaderValue::from_str(&tag).expect("quotes and digits");
        let headers = response.headers_mut();
        headers.insert(ETAG, tag);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

/// Whether the client says that it has what `tag` names.
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter();
    let mut tags = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|one| one.trim().trim_start_matches("W/"));
    tags.any(|one| one == tag || one == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_has_it_is_not_sent_it_again() {
        let fixed = Fixed::new("text/plain", "body");
        let tag = fixed.tag();
        for (asked, want) in [
            (None, 200),
            (Some(format!("\"{tag}\"")), 304),
            (Some(format!("W/\"{tag}\"")), 304),
            (Some(format!("\"other\", \"{tag}\"")), 304),
            (Some("*".to_owned()), 304),
            (Some("\"other\"".to_owned()), 200),
            (Some(tag.to_owned()), 200),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(asked) = &asked {
                headers.insert(IF_NONE_MATCH, asked.parse().expect("a value"));
            }
            let got = fixed.answer(&headers);
            assert_eq!(got.status(), want, "{asked:?}");
            assert_eq!(got.headers()[ETAG], format!("\"{tag}\"").as_str());
        }
        assert_ne!(Fixed::new("text/plain", "other").tag(), tag);
    }
}
