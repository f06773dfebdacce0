//! Request bodies: read within limits, then taken apart field by field, with
//! an error for each field that is wrong.

use std::collections::BTreeMap;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::value::RawValue;

use super::json;
use super::problem::Problem;
use super::server::is_body_timeout;
use crate::control::FieldError;

/// Bytes of a body that carries settings and no payload.
pub const SETTINGS_BYTES_MAX: usize = 256 * 1024;

/// Reads a body of at most `bytes_max`.
///
/// # Errors
/// 413 before more than that is read; 408 when it comes too slowly; 415 when
/// it is compressed; 400 when it breaks off.
pub async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "compressed",
            "Send the body uncompressed, without Content-Encoding.",
        ));
    }
    read_raw(headers, body, bytes_max).await
}

/// As [`read`], whatever the coding: the bytes stay as they are.
pub async fn read_raw(
    headers: &HeaderMap,
    mut body: Body,
    bytes_max: usize,
) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("The body is larger than {bytes_max} bytes. Nothing was kept."),
        )
    };
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > bytes_max) {
        return Err(too_large());
    }
    let mut first: Option<Bytes> = None;
    let mut all: Option<BytesMut> = None;
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len();
        if length > bytes_max {
            return Err(too_large());
        }
        match (&mut all, &first) {
            (Some(all), _) => all.extend_from_slice(&data),
            (None, None) => first = Some(data),
            (None, Some(before)) => {
                let mut joined = BytesMut::with_capacity(
                    declared
                        .unwrap_or(0)
                        .clamp(before.len() + data.len(), bytes_max),
                );
                joined.extend_from_slice(before);
                joined.extend_from_slice(&data);
                all = Some(joined);
            }
        }
    }
    Ok(all.map(BytesMut::freeze).or(first).unwrap_or_default())
}

fn broken(error: &axum::Error) -> Problem {
    if is_body_timeout(error) {
        return Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_too_slow",
            "The body came too slowly. Nothing was kept; send it again.",
        );
    }
    Problem::new(
        StatusCode::BAD_REQUEST,
        "body_broken",
        "The body broke off. Nothing was kept; send it again.",
    )
}

/// The fields of a JSON object, and what is wrong with them so far.
///
/// `null` is the same as leaving a field out. Names that are not asked for are
/// ignored.
pub struct Fields<'a> {
    values: BTreeMap<String, &'a RawValue>,
    path: String,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// The fields of the object in `body`.
    ///
    /// # Errors
    /// 400 with the position when it is not JSON; 422 when it is not an object.
    pub fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        json::check(body).map_err(|error| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "bad_json",
                format!("The body is not JSON as it should be: {error}."),
            )
        })?;
        Self::of_object(body, String::new()).ok_or_else(|| {
            Problem::invalid(vec![FieldError::new("", "the body must be a JSON object")])
        })
    }

    fn of_object(text: &'a [u8], path: String) -> Option<Self> {
        let values = serde_json::from_slice::<BTreeMap<String, &'a RawValue>>(text).ok()?;
        Some(Self {
            values,
            path,
            errors: Vec::new(),
        })
    }

    /// 422 if any field was wrong.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(self.errors))
        }
    }

    /// The names of the fields that are there, in order of name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// A list of at most `items_max` texts that may have several lines, such as
    /// keys in PEM; whoever takes them judges them.
    pub fn lines(&mut self, name: &str, items_max: usize) -> Option<Vec<String>> {
        let items: Vec<String> = self.typed(name, "a list of texts")?;
        if items.len() > items_max {
            self.wrong(name, format!("must have at most {items_max} items"));
            return None;
        }
        Some(items)
    }

    /// Notes that a field is wrong.
    pub fn wrong(&mut self, name: &str, detail: impl Into<String>) {
        let path = format!("{}{name}", self.path);
        self.errors.push(FieldError::new(path, detail));
    }

    /// The field's text as it came, unless it is missing or null.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.values
            .get(name)
            .copied()
            .filter(|value| value.get() != "null")
    }

    fn typed<T: serde::Deserialize<'a>>(&mut self, name: &str, expected: &str) -> Option<T> {
        let value = serde_json::from_str(self.raw(name)?.get());
        if value.is_err() {
            self.wrong(name, format!("must be {expected}"));
        }
        value.ok()
    }

    /// A text of 1 to `chars_max` characters without control characters.
    pub fn text(&mut self, name: &str, chars_max: usize) -> Option<String> {
        let text: String = self.typed(name, "a text")?;
        self.checked(name, text, 1, chars_max)
    }

    /// As [`text`](Self::text), or the empty text.
    pub fn text_or_empty(&mut self, name: &str, chars_max: usize) -> Option<String> {
        let text: String = self.typed(name, "a text")?;
        self.checked(name, text, 0, chars_max)
    }

    /// As [`text`](Self::text); missing is wrong too.
    pub fn required_text(&mut self, name: &str, chars_max: usize) -> String {
        if self.raw(name).is_none() {
            self.wrong(name, "is missing");
            return String::new();
        }
        self.text(name, chars_max).unwrap_or_default()
    }

    fn checked(
        &mut self,
        name: &str,
        text: String,
        chars_min: usize,
        chars_max: usize,
    ) -> Option<String> {
        match check_text(&text, chars_min, chars_max) {
            Ok(()) => Some(text),
            Err(detail) => {
                self.wrong(name, detail);
                None
            }
        }
    }

    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        self.typed(name, "true or false")
    }

    /// A whole number within `range`.
    pub fn integer(&mut self, name: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.typed(name, &expected)?;
        if !range.contains(&number) {
            self.wrong(name, format!("must be {expected}"));
            return None;
        }
        Some(number)
    }

    /// A list of at most `items_max` texts of 1 to `chars_max` characters.
    pub fn texts(&mut self, name: &str, items_max: usize, chars_max: usize) -> Option<Vec<String>> {
        let items: Vec<&'a RawValue> = self.typed(name, "a list of texts")?;
        if items.len() > items_max {
            self.wrong(name, format!("must have at most {items_max} items"));
            return None;
        }
        let before = self.errors.len();
        let mut texts = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let path = format!("{name}[{at}]");
            match serde_json::from_str::<String>(item.get()) {
                Ok(text) => texts.extend(self.checked(&path, text, 1, chars_max)),
                Err(_) => self.wrong(&path, "must be a text"),
            }
        }
        (self.errors.len() == before).then_some(texts)
    }

    /// A list of at most `items_max` values of any kind, as they came.
    pub fn raws(&mut self, name: &str, items_max: usize) -> Option<Vec<&'a RawValue>> {
        let items: Vec<&'a RawValue> = self.typed(name, "a list")?;
        if items.len() > items_max {
            self.wrong(name, format!("must have at most {items_max} items"));
            return None;
        }
        Some(items)
    }

    /// A text of any kind; whoever takes it judges it.
    pub fn any_text(&mut self, name: &str) -> Option<String> {
        self.typed(name, "a text")
    }

    /// An object whose values are texts, in order of name.
    pub fn map(&mut self, name: &str) -> Option<BTreeMap<String, String>> {
        self.typed(name, "an object whose values are texts")
    }

    /// The fields of an object inside this one.
    pub fn object(&mut self, name: &str) -> Option<Fields<'a>> {
        let raw = self.raw(name)?;
        let inside = Self::of_object(raw.get().as_bytes(), format!("{}{name}.", self.path));
        if inside.is_none() {
            self.wrong(name, "must be an object");
        }
        inside
    }

    /// The objects of a list.
    pub fn objects(&mut self, name: &str, items_max: usize) -> Option<Vec<Fields<'a>>> {
        let items: Vec<&'a RawValue> = self.typed(name, "a list of objects")?;
        if items.len() > items_max {
            self.wrong(name, format!("must have at most {items_max} items"));
            return None;
        }
        let before = self.errors.len();
        let mut objects = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            match Self::of_object(item.get().as_bytes(), format!("{}{name}[{at}].", self.path)) {
                Some(fields) => objects.push(fields),
                None => self.wrong(&format!("{name}[{at}]"), "must be an object"),
            }
        }
        (self.errors.len() == before).then_some(objects)
    }

    /// Takes over what was wrong inside.
    pub fn absorb(&mut self, inside: Self) {
        self.errors.extend(inside.errors);
    }
}

/// Whether `text` has an allowed length and no control characters.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn check_text(text: &str, chars_min: usize, chars_max: usize) -> Result<(), String> {
    let chars = text.chars().count();
    if chars < chars_min {
        return Err("must not be empty".to_owned());
    }
    if chars > chars_max {
        return Err(format!(
            "must have at most {chars_max} characters, but has {chars}"
        ));
    }
    if text.chars().any(char::is_control) {
        return Err("must not have control characters".to_owned());
    }
    Ok(())
}
