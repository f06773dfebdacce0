//! An answer that is always the same: what a source or an inbox says back.

use serde::{Deserialize, Serialize};

use super::header;

/// Bytes of its body.
pub const ANSWER_BODY_BYTES_MAX: usize = 16 * 1024;
/// Headers that it may have besides its content type, and their bytes in all.
pub const ANSWER_HEADERS_MAX: usize = 20;
pub const ANSWER_HEADERS_BYTES_MAX: usize = 8 * 1024;
/// Headers that tell a browser about all of the server, not about the answer.
pub const OF_THE_SERVER: [&str; 9] = [
    "alt-svc",
    "clear-site-data",
    "nel",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "set-cookie",
    "strict-transport-security",
];
/// Its content type when nothing else is said.
const CONTENT_TYPE: &str = "text/plain";

/// An answer that is always the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedAnswer {
    pub status: u16,
    pub content_type: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl FixedAnswer {
    /// 200 with this body, as plain text.
    #[must_use]
    pub fn ok(body: &str) -> Self {
        Self {
            status: 200,
            content_type: CONTENT_TYPE.to_owned(),
            headers: Vec::new(),
            body: body.to_owned(),
        }
    }
}

/// Whether an answer of this status may have a body.
///
/// Source: RFC 9110, 15.3.5, 15.3.6, 15.4.5.
#[must_use]
pub fn takes_body(status: u16) -> bool {
    !matches!(status, 204 | 205 | 304)
}

/// What is to become of an answer. `None`: stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerChange {
    pub status: Option<u16>,
    pub content_type: Option<String>,
    pub headers: Option<Vec<(String, String)>>,
    pub body: Option<String>,
}

impl AnswerChange {
    /// Whether it changes anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong with it: where, and the end of a sentence.
    #[must_use]
    pub fn check(&self) -> Vec<(AnswerField<'_>, String)> {
        let mut wrong = Vec::new();
        if let Some(content_type) = &self.content_type
            && !is_content_type(content_type)
        {
            let detail = "must be a content type, such as text/plain";
            wrong.push((AnswerField::ContentType, detail.to_owned()));
        }
        if self
            .body
            .as_ref()
            .is_some_and(|body| body.len() > ANSWER_BODY_BYTES_MAX)
        {
            let detail = format!("must have at most {ANSWER_BODY_BYTES_MAX} bytes");
            wrong.push((AnswerField::Body, detail));
        }
        let headers = self.headers.as_deref().unwrap_or_default();
        if headers.len() > ANSWER_HEADERS_MAX {
            let detail = format!("must be at most {ANSWER_HEADERS_MAX} headers");
            wrong.push((AnswerField::Headers, detail));
        }
        let bytes = |(name, value): &(String, String)| name.len() + value.len();
        if headers.iter().map(bytes).sum::<usize>() > ANSWER_HEADERS_BYTES_MAX {
            let detail =
                format!("must have at most {ANSWER_HEADERS_BYTES_MAX} bytes, names and values");
            wrong.push((AnswerField::Headers, detail));
        }
        let mut names: Vec<String> = Vec::new();
        for (name, _) in headers {
            let lower = name.to_ascii_lowercase();
            if names.contains(&lower) {
                let detail = "is there twice, in other letters".to_owned();
                wrong.push((AnswerField::Header(name), detail));
            }
            names.push(lower);
        }
        for (name, value) in headers {
            if let Err(detail) = check_header(name, value) {
                wrong.push((AnswerField::Header(name), detail));
            }
        }
        wrong
    }

    /// Changes what it names.
    pub fn apply(self, answer: &mut FixedAnswer) {
        answer.status = self.status.unwrap_or(answer.status);
        if let Some(content_type) = self.content_type {
            answer.content_type = content_type;
        }
        if let Some(headers) = self.headers {
            answer.headers = headers;
        }
        if let Some(body) = self.body {
            answer.body = body;
        }
    }
}

/// A part of an answer that can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerField<'a> {
    ContentType,
    Body,
    Headers,
    Header(&'a str),
}

/// Whether it is a type and subtype, with or without parameters.
///
/// Source: RFC 9110, media type.
fn is_content_type(text: &str) -> bool {
    let kind = text.split(';').next().unwrap_or_default().trim_end();
    let parts = kind.split_once('/');
    header::is_plain_value(text)
        && parts.is_some_and(|(kind, sub)| header::is_name(kind) && header::is_name(sub))
}

fn check_header(name: &str, value: &str) -> Result<(), String> {
    // Standard Webhooks lets an answer say more in a header of its own.
    if !name.eq_ignore_ascii_case("webhook-delivery") {
        header::check_name(name)?;
    }
    let mut of_the_server = OF_THE_SERVER.iter();
    if of_the_server.any(|known| known.eq_ignore_ascii_case(name)) {
        return Err("must not be one that a browser applies to the whole server".to_owned());
    }
    if !header::is_plain_value(value) {
        return Err("must be visible ASCII without spaces at its ends".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_have_two_parts() {
        for (text, want) in [
            ("text/plain", true),
            ("text/html; charset=utf-8", true),
            ("application/vnd.a+json ;v=1", true),
            ("text", false),
            ("text/", false),
            ("/plain", false),
            ("../../", false),
            ("text/pl ain", false),
            ("text/plain\r\nx: y", false),
            (" text/plain", false),
            ("", false),
        ] {
            assert_eq!(is_content_type(text), want, "{text:?}");
        }
    }
}
