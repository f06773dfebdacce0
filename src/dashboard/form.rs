//! Forms that came in: read within a limit, and proved to be our own.

use axum::extract::{FromRequest, Request};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::failure::Failure;
use super::place::Place;
use crate::http::body;
use crate::http::problem::Problem;

/// Bytes of a form at most: a payload may be in it, percent-encoded.
const FORM_BYTES_MAX: usize = 4 << 20;
/// The field that carries the session's form token.
pub(super) const TOKEN_FIELD: &str = "form";

/// The fields of a form, in order. A field may come several times.
pub(super) struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// The fields of a form's body of at most `bytes_max`.
    ///
    /// # Errors
    /// 413, 408; 415 when it is no form.
    pub(super) async fn read(request: Request, bytes_max: usize) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or("");
        if !kind.starts_with("application/x-www-form-urlencoded") {
            return Err(Failure(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "no_form",
                "Pages here take forms: application/x-www-form-urlencoded. The JSON API is under \
                 /api/v1/.",
            )));
        }
        let bytes = body::read(&parts.headers, body, bytes_max).await?;
        let fields = url::form_urlencoded::parse(&bytes).into_owned().collect();
        Ok(Self { fields })
    }

    /// The field's text, as it came; empty when it is not there.
    pub(super) fn get(&self, name: &str) -> &str {
        let mut fields = self.fields.iter();
        let found = fields.find(|(known, _)| known == name);
        found.map_or("", |(_, text)| text.as_str())
    }

    /// The field's text without space around it, unless that is nothing.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        Some(self.get(name).trim()).filter(|text| !text.is_empty())
    }

    /// Every text of a field that may come several times.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self.fields.iter();
        fields
            .filter(move |(known, _)| known == name)
            .map(|(_, text)| text.as_str())
    }

    /// The field's lines of `Name: value`, as the API takes headers.
    pub(super) fn headers(&self, name: &str) -> Value {
        let lines = self.get(name).lines().map(str::trim);
        let pairs = lines.filter(|line| !line.is_empty()).map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.trim().to_owned(), json!(value.trim()))
        });
        Value::Object(pairs.collect())
    }

    /// The field's number where it is one; else the text, which the API's
    /// checks refuse. `None`: the field is empty.
    pub(super) fn number(&self, name: &str) -> Option<Value> {
        let text = self.text(name)?;
        Some(
            text.parse::<u64>()
                .map_or_else(|_| json!(text), |n| json!(n)),
        )
    }

    /// Whether the field came: a box that is checked.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }
}

/// Headers as [`Form::headers`] reads them.
pub(super) fn header_lines(headers: &[(String, String)]) -> String {
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Behind a session: the form must carry its token.
impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let place = request.extensions().get::<Place>().cloned();
        let place = place.ok_or_else(Failure::signed_out)?;
        let form = Self::read(request, FORM_BYTES_MAX).await?;
        let shown = form.get(TOKEN_FIELD).as_bytes();
        if bool::from(shown.ct_eq(place.form_token.as_bytes())) {
            Ok(form)
        } else {
            Err(Failure(Problem::new(
                StatusCode::FORBIDDEN,
                "stale_form",
                "This form belongs to a session that is over. Nothing was done; open the page \
                 again and fill it in once more.",
            )))
        }
    }
}
