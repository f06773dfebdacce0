//! How an endpoint's deliveries are signed, as its owner says it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes of the text that a custom scheme signs, the placeholders as written.
pub const TEMPLATE_BYTES_MAX: usize = 256;
/// Bytes of what a custom scheme puts before a signature, likewise.
pub const PREFIX_BYTES_MAX: usize = 64;
/// Bytes of the name of a header that carries signatures.
pub const SIGNATURE_HEADER_BYTES_MAX: usize = 128;
/// Schemes of one endpoint.
pub const SCHEMES_MAX: usize = 8;

/// The header of the optech scheme when none is named.
pub const OPTECH_HEADER: &str = "x-optech-signature";

/// How an endpoint's deliveries are signed.
///
/// It is stored as it stands, so new schemes go at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scheme {
    /// `webhook-*` and `svix-*` headers. Source: Standard Webhooks, Svix.
    Standard,
    /// One `X-Signature: t=..,v1=..` header.
    Octohooks,
    /// The body alone, by the newest shared secret, in URL-safe base64.
    Optech { header: String },
    /// A header, a text and an encoding of the owner's choice.
    Custom(CustomScheme),
}

/// A scheme that is made of parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CustomScheme {
    /// A header name that passes `domain::header::check_name`.
    pub header: String,
    /// What is signed. Holds the body once.
    pub template: Template,
    pub encoding: Encoding,
    /// What stands before each signature; never the body.
    pub prefix: Template,
}

impl Scheme {
    /// Every name of a scheme, in the order of documents.
    pub const NAMES: [&'static str; 4] = ["standard", "octohooks", "optech", "custom"];
    /// What signs when an endpoint does not say.
    pub const DEFAULT: [Self; 2] = [Self::Standard, Self::Octohooks];

    /// The name that the API, the settings and the command line use.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Octohooks => "octohooks",
            Self::Optech { .. } => "optech",
            Self::Custom(_) => "custom",
        }
    }

    /// The header that it signs into, when the owner may choose that.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Standard | Self::Octohooks => None,
            Self::Optech { header } => Some(header),
            Self::Custom(custom) => Some(&custom.header),
        }
    }

    /// Whether the message's id and the time are needed to check it.
    #[must_use]
    pub fn needs_message_id(&self) -> bool {
        match self {
            Self::Standard => true,
            Self::Octohooks | Self::Optech { .. } => false,
            Self::Custom(custom) => custom.has(&Piece::Id),
        }
    }
}

impl CustomScheme {
    pub(super) fn has(&self, piece: &Piece) -> bool {
        self.template.0.contains(piece) || self.prefix.0.contains(piece)
    }

    /// Whether a receiver has to be told the id or the time by other headers:
    /// they are signed, but the prefix does not show them.
    pub(super) fn hides_what_it_signs(&self) -> bool {
        let hidden =
            |piece: &Piece| self.template.0.contains(piece) && !self.prefix.0.contains(piece);
        hidden(&Piece::Id) || hidden(&Piece::Timestamp)
    }
}

/// How a MAC is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// Lower case.
    Hex,
    /// The standard alphabet with padding.
    Base64,
    /// The URL-safe alphabet with padding: what optech has.
    Base64Url,
}

impl Encoding {
    /// The names that a custom scheme can choose from.
    pub const NAMES: [&'static str; 2] = ["hex", "base64"];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
        }
    }

    /// The encoding of one of [`NAMES`](Self::NAMES).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "hex" => Some(Self::Hex),
            "base64" => Some(Self::Base64),
            _ => None,
        }
    }
}

/// A text with places for what is known of a delivery: `{id}`, `{timestamp}`
/// in seconds, `{body}`. It has no other braces, so it reads back as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Template(pub(super) Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Piece {
    Text(String),
    Id,
    Timestamp,
    Body,
}

const PLACES: [(&str, Piece); 3] = [
    ("{id}", Piece::Id),
    ("{timestamp}", Piece::Timestamp),
    ("{body}", Piece::Body),
];

/// Why a text is no template: the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateRefusal {
    #[error("must have at most {bytes_max} bytes")]
    TooLong { bytes_max: usize },
    #[error("has a brace that belongs to none of {{id}}, {{timestamp}} and {{body}}")]
    UnknownPlace,
    #[error("must have {{body}} exactly once, so that the whole body is signed")]
    NotOneBody,
    #[error("must not have {{body}}: the body is signed, not sent in a header")]
    Body,
    #[error("must be visible ASCII that does not begin with a space, as a header's value")]
    NotAHeaderValue,
}

impl Template {
    /// Reads what a custom scheme signs.
    pub fn to_sign(text: &str) -> Result<Self, TemplateRefusal> {
        let template = Self::parse(text, TEMPLATE_BYTES_MAX)?;
        let bodies = template.0.iter().filter(|piece| **piece == Piece::Body);
        if bodies.count() != 1 {
            return Err(TemplateRefusal::NotOneBody);
        }
        Ok(template)
    }

    /// Reads what stands before a signature in a header.
    pub fn prefix(text: &str) -> Result<Self, TemplateRefusal> {
        let template = Self::parse(text, PREFIX_BYTES_MAX)?;
        if template.0.contains(&Piece::Body) {
            return Err(TemplateRefusal::Body);
        }
        if text.starts_with(' ') || !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return Err(TemplateRefusal::NotAHeaderValue);
        }
        Ok(template)
    }

    /// The body and nothing else.
    pub(super) fn body() -> Self {
        Self(vec![Piece::Body])
    }

    fn parse(text: &str, bytes_max: usize) -> Result<Self, TemplateRefusal> {
        if text.len() > bytes_max {
            return Err(TemplateRefusal::TooLong { bytes_max });
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let place = PLACES.iter().find(|(place, _)| rest.starts_with(place));
            let bytes = if let Some((place, piece)) = place {
                pieces.push(piece.clone());
                place.len()
            } else {
                let end = rest.find(['{', '}']).unwrap_or(rest.len());
                if end == 0 {
                    return Err(TemplateRefusal::UnknownPlace);
                }
                pieces.push(Piece::Text(rest[..end].to_owned()));
                end
            };
            rest = &rest[bytes..];
        }
        Ok(Self(pieces))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            f.write_str(match piece {
                Piece::Text(text) => text,
                Piece::Id => "{id}",
                Piece::Timestamp => "{timestamp}",
                Piece::Body => "{body}",
            })?;
        }
        Ok(())
    }
}
