//! What providers ask before they send events: to prove that a URL is ours.

use std::borrow::Cow;

use base64::Engine as _;
use ring::hmac;

use super::Verifier;
use super::certificate::{is_sns_host, provider_url};
use super::keys::{BASE64, encode_hex};
use super::reason::Reason;
use super::request::{Place, View};

/// Characters of a value that is sent back at most.
const ECHOED_CHARS_MAX: usize = 1024;

/// When a request is a handshake.
#[derive(Clone, Copy, Debug)]
pub enum When {
    Method(&'static str),
    Has(Place<&'static str>),
    Lacks(Place<&'static str>),
    Is(Place<&'static str>, &'static str),
    /// The list at this JSON pointer is there, and empty.
    EmptyList(&'static str),
    /// The object at this JSON pointer is not there.
    NoObject(&'static str),
    /// The body is a form with this field.
    HasFormField(&'static str),
}

/// A part of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    Text(&'static str),
    /// As it came.
    Value(Place<&'static str>),
    /// As a JSON text, with its quotes.
    Quoted(Place<&'static str>),
    /// HMAC-SHA256 by the newest secret, in hex.
    MacHex(Place<&'static str>),
    /// The same in base64.
    MacBase64(Place<&'static str>),
}

/// What is answered.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: &'static [(&'static str, Part)],
    pub body: &'static [Part],
}

/// One kind of question, as data.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    /// As the provider calls it.
    pub name: &'static str,
    /// All of it must be so.
    pub when: &'static [When],
    /// Whether the request has to be verified as an event has.
    pub verified: bool,
    /// Must be what this setting says: where it stands, and the setting's name.
    pub demands: Option<(Place<&'static str>, &'static str)>,
    /// Tells the secret of what follows; taken while the source has none.
    pub teaches: Option<Place<&'static str>>,
    /// A URL that has to be fetched afterwards.
    pub follows: Option<Place<&'static str>>,
    pub reply: Reply,
}

/// An answer that is ready to go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl When {
    fn holds(&self, view: &View<'_>) -> bool {
        match self {
            Self::Method(method) => view.inbound.method == *method,
            Self::Has(place) => view.text(place).is_some(),
            Self::Lacks(place) => view.text(place).is_none(),
            Self::Is(place, text) => view.text(place).as_deref() == Some(*text),
            Self::EmptyList(pointer) => view
                .document()
                .and_then(|document| document.pointer(pointer)?.as_array())
                .is_some_and(Vec::is_empty),
            Self::NoObject(pointer) => view
                .document()
                .is_some_and(|document| document.pointer(pointer).is_none()),
            Self::HasFormField(name) => view.form().iter().any(|(given, _)| given == name),
        }
    }
}

/// The handshake that a request is, if it is one.
#[must_use]
pub fn recognise(verifier: &Verifier, view: &View<'_>) -> Option<&'static Handshake> {
    let all = verifier.preset.handshakes.iter();
    let mut fitting = all.filter(|one| one.when.iter().all(|when| when.holds(view)));
    fitting.next()
}

impl Handshake {
    /// What it asks of a source is so.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, verifier: &Verifier, view: &View<'_>) -> Result<(), Reason> {
        if let Some((place, setting)) = &self.demands {
            let wanted = verifier.setting(setting).unwrap_or_default();
            let given = view.text(place).unwrap_or_default();
            let same = subtle::ConstantTimeEq::ct_eq(wanted.as_bytes(), given.as_bytes());
            if wanted.is_empty() || !bool::from(same) {
                return Err(Reason::WrongVerifyToken);
            }
        }
        if self.teaches.is_some() && verifier.has_secrets() {
            return Err(Reason::SecretKnown);
        }
        Ok(())
    }

    /// The secret that it tells.
    #[must_use]
    pub fn taught(&self, view: &View<'_>) -> Option<String> {
        let secret = view.text(self.teaches.as_ref()?)?;
        let fits = !secret.is_empty() && secret.len() <= super::SECRET_BYTES_MAX;
        (fits && !secret.chars().any(char::is_control)).then_some(secret)
    }

    /// The URL to fetch afterwards: one of Amazon SNS's.
    #[must_use]
    pub fn url_to_follow(&self, view: &View<'_>) -> Option<String> {
        let url = view.text(self.follows.as_ref()?)?;
        provider_url(url.as_bytes(), is_sns_host).ok()
    }

    /// The answer.
    ///
    /// # Errors
    /// What it needs is not there.
    pub fn answer(&self, verifier: &Verifier, view: &View<'_>) -> Result<Answer, Reason> {
        let mut headers = Vec::with_capacity(self.reply.headers.len());
        for (name, part) in self.reply.headers {
            headers.push(((*name).to_owned(), part.text(verifier, view)?.into_owned()));
        }
        let mut body = String::new();
        for part in self.reply.body {
            body.push_str(&part.text(verifier, view)?);
        }
        Ok(Answer {
            status: self.reply.status,
            content_type: self.reply.content_type,
            headers,
            body: body.into_bytes(),
        })
    }
}

impl Part {
    fn text(&self, verifier: &Verifier, view: &View<'_>) -> Result<Cow<'static, str>, Reason> {
        let value = |place: &Place<&'static str>| {
            let text = view.text(place);
            let fits = |text: &String| {
                text.chars().count() <= ECHOED_CHARS_MAX && !text.chars().any(char::is_control)
            };
            text.filter(fits).ok_or_else(|| Reason::Missing {
                what: place.to_string(),
            })
        };
        let mac = |place| -> Result<hmac::Tag, Reason> {
            let secret = verifier.newest_secret().ok_or(Reason::NoSecret)?;
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
            Ok(hmac::sign(&key, value(place)?.as_bytes()))
        };
        Ok(match self {
            Self::Text(text) => Cow::Borrowed(*text),
            Self::Value(place) => Cow::Owned(value(place)?),
            Self::Quoted(place) => Cow::Owned(serde_json::Value::from(value(place)?).to_string()),
            Self::MacHex(place) => Cow::Owned(encode_hex(mac(place)?.as_ref())),
            Self::MacBase64(place) => Cow::Owned(BASE64.encode(mac(place)?.as_ref())),
        })
    }
}
