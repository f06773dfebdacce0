//! Query parameters, and pages of lists.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::FromRequestParts;
use http::HeaderValue;
use http::request::Parts;

use super::problem::Problem;
use crate::control::FieldError;

/// Items of a page when nothing is asked for, and at most.
pub const PAGE_DEFAULT: usize = 100;
pub const PAGE_MAX: usize = 250;

/// The query's parameters. Unknown ones are ignored; of a repeated one the
/// last counts.
pub struct Params {
    path: String,
    values: BTreeMap<String, String>,
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let original = parts.extensions.get::<axum::extract::OriginalUri>();
        let path = original
            .map_or(parts.uri.path(), |uri| uri.path())
            .to_owned();
        Ok(Self::of(path, query))
    }
}

impl Params {
    /// Those of a request without a query.
    #[must_use]
    pub fn none() -> Self {
        Self {
            path: String::new(),
            values: BTreeMap::new(),
        }
    }

    /// Those of a query, without its `?`, to `path`.
    #[must_use]
    pub fn of(path: String, query: &str) -> Self {
        let values = url::form_urlencoded::parse(query.as_bytes());
        Self {
            path,
            values: values.into_owned().collect(),
        }
    }

    /// The parameter's text, unless it is missing or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    /// The parameter, read by `parse`.
    ///
    /// # Errors
    /// 422 with `expected` when `parse` gives nothing.
    pub fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(Problem::invalid(vec![FieldError::new(
                format!("?{name}"),
                format!("must be {expected}"),
            )])),
        }
    }

    /// How many items a page has.
    pub fn page_size(&self) -> Result<usize, Problem> {
        Ok(self
            .number("pageSize", 1, PAGE_MAX)?
            .unwrap_or(PAGE_DEFAULT))
    }

    /// A whole number within bounds.
    pub fn number(&self, name: &str, min: usize, max: usize) -> Result<Option<usize>, Problem> {
        let expected = format!("a whole number from {min} to {max}");
        self.parsed(name, &expected, |text| {
            text.parse()
                .ok()
                .filter(|number| (min..=max).contains(number))
        })
    }

    /// The same page, with `name` as `value`: a query with its `?`. A page
    /// further on stays behind.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> String {
        let left_out = [name, "before", "notice"];
        let others = self.others(&left_out);
        query_of(others.chain([(name, value)]))
    }

    /// The same page without these: a query with its `?`.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> String {
        query_of(self.others(names))
    }

    /// What was asked for: a query with its `?`.
    #[must_use]
    pub fn query(&self) -> String {
        query_of(self.others(&["before", "notice"]))
    }

    /// Whether anything narrows the list.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.others(&["before", "notice"]).next().is_some()
    }

    fn others<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.values.iter();
        let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str()));
        pairs.filter(move |(name, value)| !names.contains(name) && !value.is_empty())
    }

    /// The `Link` to the page that goes on before `id`, with the same filters.
    #[must_use]
    pub fn next_link(&self, id: &str) -> HeaderValue {
        self.link("next", "before", id)
    }

    /// A `Link` to the same list, with the same filters, from where `name` is
    /// `id`: `before` it, or `after` it.
    #[must_use]
    pub fn link(&self, rel: &str, name: &str, id: &str) -> HeaderValue {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.others(&["before", name]));
        query.append_pair(name, id);
        let path = ascii(&self.path);
        let link = format!("<{path}?{}>; rel=\"{rel}\"", query.finish());
        HeaderValue::from_str(&link).expect("an encoded path and an encoded query")
    }
}

fn query_of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = url::form_urlencoded::Serializer::for_suffix(String::from("?"), 1);
    query.extend_pairs(pairs);
    query.finish()
}

/// A request's path as a header can carry it: what a client sent unescaped,
/// beyond visible ASCII, is escaped.
fn ascii(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
