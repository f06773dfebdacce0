//! The request that is judged, and the places in it that are read.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reason::Reason;
use crate::domain::signing::Headers;
use crate::domain::time::Timestamp;

/// A request as it came.
#[derive(Clone, Copy)]
pub struct Inbound<'a> {
    pub method: &'a str,
    /// As the sender addressed it: the configured public URL, path and query;
    /// never from `Host`.
    pub url: &'a str,
    pub headers: Headers<'a>,
    pub body: &'a [u8],
    /// Who connected.
    pub peer: Option<IpAddr>,
    pub now: Timestamp,
}

/// Where a provider writes its JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DocumentIn {
    #[default]
    Body,
    /// The body is a form (urlencoded or multipart) with it in this field.
    Field(&'static str),
    /// The body, or the field if the body is a form.
    BodyOrField(&'static str),
}

/// A place of a request that holds a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Place<S> {
    /// By name, in any case.
    Header(S),
    /// By JSON pointer.
    Field(S),
    /// By name.
    Query(S),
    /// In the signature's own header, by name: `t` of `t=..,v1=..`.
    Item(S),
}

impl<S: AsRef<str>> fmt::Display for Place<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "the header `{}`", name.as_ref()),
            Self::Field(pointer) => write!(f, "the field `{}`", pointer.as_ref()),
            Self::Query(name) => write!(f, "the query parameter `{}`", name.as_ref()),
            Self::Item(name) => write!(f, "`{}=` in the signature", name.as_ref()),
        }
    }
}

impl<S: AsRef<str>> Place<S> {
    /// The same place, for an owner.
    #[must_use]
    pub fn owned(&self) -> Place<String> {
        let text = |text: &S| text.as_ref().to_owned();
        match self {
            Self::Header(name) => Place::Header(text(name)),
            Self::Field(name) => Place::Field(text(name)),
            Self::Query(name) => Place::Query(text(name)),
            Self::Item(name) => Place::Item(text(name)),
        }
    }
}

/// A request, with what was read of it so far.
pub struct View<'a> {
    pub inbound: Inbound<'a>,
    document_in: DocumentIn,
    document: OnceCell<Option<Value>>,
    form: OnceCell<Vec<(String, String)>>,
}

impl<'a> View<'a> {
    #[must_use]
    pub fn new(inbound: Inbound<'a>, document_in: DocumentIn) -> Self {
        Self {
            inbound,
            document_in,
            document: OnceCell::new(),
            form: OnceCell::new(),
        }
    }

    /// The query, without its `?`.
    #[must_use]
    pub fn query(&self) -> &'a str {
        self.inbound.url.split_once('?').map_or("", |(_, q)| q)
    }

    /// The text at `place`, if there is one. [`Place::Item`] holds nothing here.
    ///
    /// # Errors
    /// A header that is there more than once; a body that is no JSON.
    pub fn read<S: AsRef<str>>(&self, place: &Place<S>) -> Result<Option<Cow<'a, [u8]>>, Reason> {
        match place {
            Place::Header(name) => {
                let mut values = self.inbound.headers.all(name.as_ref());
                match (values.next(), values.next()) {
                    (None, _) => Ok(None),
                    (Some(value), None) => Ok(Some(Cow::Borrowed(value))),
                    (Some(_), Some(_)) => Err(Reason::Repeated {
                        what: place.to_string(),
                    }),
                }
            }
            Place::Field(pointer) => {
                let Some(document) = self.document() else {
                    return Err(Reason::NotJson {
                        what: place.to_string(),
                    });
                };
                let text = document.pointer(pointer.as_ref()).and_then(scalar);
                Ok(text.map(|text| Cow::Owned(text.into_bytes())))
            }
            Place::Query(name) => {
                let value = self.query_value(name.as_ref());
                Ok(value.map(|text| Cow::Owned(text.into_bytes())))
            }
            Place::Item(_) => Ok(None),
        }
    }

    /// As [`read`](Self::read); nothing there is wrong too.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`Reason::Missing`].
    pub fn required<S: AsRef<str>>(&self, place: &Place<S>) -> Result<Cow<'a, [u8]>, Reason> {
        self.read(place)?.ok_or_else(|| Reason::Missing {
            what: place.to_string(),
        })
    }

    /// As [`read`](Self::read), as text; what cannot be read is nothing.
    #[must_use]
    pub fn text<S: AsRef<str>>(&self, place: &Place<S>) -> Option<String> {
        let bytes = self.read(place).ok()??;
        String::from_utf8(bytes.into_owned()).ok()
    }

    fn query_value(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query().as_bytes());
        pairs
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.into_owned())
    }

    /// The JSON that came.
    pub fn document(&self) -> Option<&Value> {
        self.document
            .get_or_init(|| {
                let bytes = match self.document_in {
                    DocumentIn::Body => Cow::Borrowed(self.inbound.body),
                    DocumentIn::Field(name) => Cow::Owned(self.form_value(name)?.into_bytes()),
                    DocumentIn::BodyOrField(name) => match self.form_value(name) {
                        Some(text) => Cow::Owned(text.into_bytes()),
                        None => Cow::Borrowed(self.inbound.body),
                    },
                };
                serde_json::from_slice(&bytes).ok()
            })
            .as_ref()
    }

    /// Names and values of a form in the body; none when it is no form.
    pub fn form(&self) -> &[(String, String)] {
        self.form.get_or_init(|| {
            let content_type = self.content_type();
            if content_type.starts_with("application/x-www-form-urlencoded") {
                return url::form_urlencoded::parse(self.inbound.body)
                    .into_owned()
                    .collect();
            }
            match boundary(&content_type) {
                Some(boundary) => multipart(self.inbound.body, boundary),
                None => Vec::new(),
            }
        })
    }

    /// Whether the body is a form of name and value pairs.
    #[must_use]
    pub fn is_form(&self) -> bool {
        self.content_type()
            .starts_with("application/x-www-form-urlencoded")
    }

    fn form_value(&self, name: &str) -> Option<String> {
        let mut fields = self.form().iter();
        fields
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.clone())
    }

    fn content_type(&self) -> String {
        let value = self.inbound.headers.all("content-type").next();
        let text = value.and_then(|value| str::from_utf8(value).ok());
        text.unwrap_or_default().trim().to_owned()
    }
}

/// A text, number, `true` or `false` as text.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Parts of a multipart body that are looked at.
const PARTS_MAX: usize = 64;

fn boundary(content_type: &str) -> Option<&str> {
    let rest = content_type.strip_prefix("multipart/form-data")?;
    let (_, boundary) = rest.split_once("boundary=")?;
    let boundary = boundary.split(';').next()?.trim().trim_matches('"');
    (!boundary.is_empty()).then_some(boundary)
}

/// The text fields of a multipart form. Source: RFC 7578.
fn multipart(body: &[u8], boundary: &str) -> Vec<(String, String)> {
    let delimiter = format!("--{boundary}");
    let finder = memchr::memmem::Finder::new(delimiter.as_bytes());
    let mut starts: Vec<usize> = finder.find_iter(body).take(PARTS_MAX + 1).collect();
    starts.push(body.len());
    let parts = starts.windows(2).filter_map(|window| {
        let part = body.get(window[0] + delimiter.len()..window[1])?;
        let part = part.strip_prefix(b"\r\n")?;
        let end = memchr::memmem::find(part, b"\r\n\r\n")?;
        let head = str::from_utf8(&part[..end]).ok()?;
        let (_, name) = head.split_once("name=\"")?;
        let (name, _) = name.split_once('"')?;
        let value = part[end + 4..].strip_suffix(b"\r\n")?;
        Some((name.to_owned(), String::from_utf8(value.to_vec()).ok()?))
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'a>(headers: &'a [(&'a str, &'a [u8])], body: &'a [u8]) -> View<'a> {
        let inbound = Inbound {
            method: "POST",
            url: "https://h/in/x?a=1&b=%20",
            headers: Headers(headers),
            body,
            peer: None,
            now: Timestamp(0),
        };
        View::new(inbound, DocumentIn::BodyOrField("json"))
    }

    #[test]
    fn places_are_read_as_they_stand() {
        let headers: &[(&str, &[u8])] = &[("X-One", b"1"), ("x-two", b"a"), ("X-TWO", b"b")];
        let view = view(headers, br#"{"a":{"b":[1,"x",true,null]}}"#);
        for (place, want) in [
            (Place::Header("x-one"), Ok(Some("1"))),
            (Place::Header("x-none"), Ok(None)),
            (
                Place::Header("x-two"),
                Err("the header `x-two` is there more than once"),
            ),
            (Place::Query("a"), Ok(Some("1"))),
            (Place::Query("b"), Ok(Some(" "))),
            (Place::Query("c"), Ok(None)),
            (Place::Field("/a/b/0"), Ok(Some("1"))),
            (Place::Field("/a/b/1"), Ok(Some("x"))),
            (Place::Field("/a/b/2"), Ok(Some("true"))),
            (Place::Field("/a/b/3"), Ok(None)),
            (Place::Field("/a"), Ok(None)),
        ] {
            let got = view.read(&place);
            let got = got.map(|text| text.map(|text| String::from_utf8_lossy(&text).into_owned()));
            let want = want.map(|text| text.map(str::to_owned));
            assert_eq!(
                got.map_err(|reason| reason.to_string()),
                want.map_err(str::to_owned),
                "{place}"
            );
        }
    }

    #[test]
    fn json_is_found_in_bodies_and_forms() {
        let multi =
            b"--x\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{\"a\":2}\r\n--x--\r\n";
        for (content_type, body, want) in [
            ("application/json", &br#"{"a":1}"#[..], Some("1")),
            ("multipart/form-data; boundary=x", multi, Some("2")),
            ("multipart/form-data; boundary=\"x\"", multi, Some("2")),
            (
                "application/x-www-form-urlencoded",
                b"json=%7B%22a%22%3A3%7D",
                Some("3"),
            ),
            ("application/json", b"not JSON", None),
            ("multipart/form-data; boundary=y", multi, None),
        ] {
            let headers = [("content-type", content_type.as_bytes())];
            let view = view(&headers, body);
            assert_eq!(
                view.text(&Place::Field("/a")).as_deref(),
                want,
                "{content_type}"
            );
        }
    }
}
