//! Signature schemes from what a caller says: the API's fields, or the options
//! of the command line.

use crate::domain::header;
use crate::domain::signing::{
    CustomScheme, Encoding, OPTECH_HEADER, Scheme, Template, TemplateRefusal,
};

/// What a caller gives for a signature scheme, as texts. `None`: left out.
#[derive(Clone, Debug, Default)]
pub struct SchemeInput {
    pub scheme: String,
    pub header: Option<String>,
    pub template: Option<String>,
    pub encoding: Option<String>,
    pub prefix: Option<String>,
}

/// A part of a scheme that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemeError {
    /// `None`: the scheme itself.
    pub field: Option<&'static str>,
    /// The end of a sentence.
    pub detail: String,
}

impl SchemeError {
    fn new(field: &'static str, detail: impl Into<String>) -> Self {
        Self {
            field: Some(field),
            detail: detail.into(),
        }
    }
}

impl SchemeInput {
    /// This as a scheme.
    ///
    /// # Errors
    /// The first part that is wrong, missing, or not for this scheme.
    pub fn parse(self) -> Result<Scheme, SchemeError> {
        match self.scheme.as_str() {
            "standard" => self.with(&[]).map(|_| Scheme::Standard),
            "octohooks" => self.with(&[]).map(|_| Scheme::Octohooks),
            "optech" => {
                let header = self.with(&["header"])?.header;
                let header = header.unwrap_or_else(|| OPTECH_HEADER.to_owned());
                checked(header).map(|header| Scheme::Optech { header })
            }
            "custom" => self.custom().map(Scheme::Custom),
            _ => Err(SchemeError {
                field: None,
                detail: format!(
                    "is not a signature scheme; known are {}",
                    Scheme::NAMES.join(", ")
                ),
            }),
        }
    }

    /// This, if it has no parts but these.
    fn with(self, parts: &[&str]) -> Result<Self, SchemeError> {
        for (field, given) in [
            ("header", self.header.is_some()),
            ("template", self.template.is_some()),
            ("encoding", self.encoding.is_some()),
            ("prefix", self.prefix.is_some()),
        ] {
            if given && !parts.contains(&field) {
                let detail = format!("is not for the scheme `{}`; leave it out", self.scheme);
                return Err(SchemeError::new(field, detail));
            }
        }
        Ok(self)
    }

    fn custom(self) -> Result<CustomScheme, SchemeError> {
        let missing = |field| move || SchemeError::new(field, "is missing");
        let header = self.header.ok_or_else(missing("header"))?;
        let template = self.template.ok_or_else(missing("template"))?;
        let encoding = self.encoding.ok_or_else(missing("encoding"))?;
        let prefix = self.prefix.unwrap_or_default();
        let encodings = || format!("must be one of {}", Encoding::NAMES.join(", "));
        Ok(CustomScheme {
            header: checked(header)?,
            template: Template::to_sign(&template).map_err(refused("template"))?,
            encoding: Encoding::from_name(&encoding)
                .ok_or_else(|| SchemeError::new("encoding", encodings()))?,
            prefix: Template::prefix(&prefix).map_err(refused("prefix"))?,
        })
    }
}

fn refused(field: &'static str) -> impl Fn(TemplateRefusal) -> SchemeError {
    move |refusal| SchemeError::new(field, refusal.to_string())
}

fn checked(header: String) -> Result<String, SchemeError> {
    match header::check_name(&header) {
        Ok(()) => Ok(header),
        Err(detail) => Err(SchemeError::new("header", detail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_have_their_parts_and_no_others() {
        let some = |text: &str| Some(text.to_owned());
        let of = |scheme: &str| SchemeInput {
            scheme: scheme.to_owned(),
            ..SchemeInput::default()
        };
        let custom = || SchemeInput {
            header: some("x-a"),
            template: some("{timestamp}.{body}"),
            encoding: some("hex"),
            ..of("custom")
        };
        let wrong = |field| Err(Some(field));
        let with_header = |scheme, header| SchemeInput {
            header: some(header),
            ..of(scheme)
        };
        let with_template = |template: &str| SchemeInput {
            template: some(template),
            ..custom()
        };
        let with_prefix = |prefix: &str| SchemeInput {
            prefix: some(prefix),
            ..custom()
        };
        for (input, want) in [
            (of("standard"), Ok(())),
            (of("octohooks"), Ok(())),
            (of("optech"), Ok(())),
            (with_header("optech", "X-Other"), Ok(())),
            (custom(), Ok(())),
            (with_prefix("t={timestamp},v1="), Ok(())),
            (with_prefix(""), Ok(())),
            (with_prefix("{id} {timestamp}"), Ok(())),
            (with_template("{body}"), Ok(())),
            (with_template("{id}\n{timestamp}é{body}{id}"), Ok(())),
            (of("rot13"), Err(None)),
            (of(""), Err(None)),
            (with_header("standard", "x-a"), wrong("header")),
            (with_header("optech", "Host"), wrong("header")),
            (with_header("optech", "webhook-x"), wrong("header")),
            (with_header("optech", "x-signature"), wrong("header")),
            (with_header("optech", "x y"), wrong("header")),
            (of("custom"), wrong("header")),
            (with_header("custom", "x-a"), wrong("template")),
            (with_template("{timestamp}"), wrong("template")),
            (with_template("{body}{body}"), wrong("template")),
            (with_template("{body}{Body}"), wrong("template")),
            (with_template("{body} {"), wrong("template")),
            (with_template("}{body}"), wrong("template")),
            (with_template("{{body}}"), wrong("template")),
            (with_template("{ body }"), wrong("template")),
            (with_template("{body}{url}"), wrong("template")),
            (with_template(&"x".repeat(251)), wrong("template")),
            (
                with_template(&format!("{{body}}{}", "x".repeat(250))),
                Ok(()),
            ),
            (
                with_template(&format!("{{body}}{}", "x".repeat(251))),
                wrong("template"),
            ),
            (with_prefix("{body}"), wrong("prefix")),
            (with_prefix("{key}"), wrong("prefix")),
            (with_prefix(" a"), wrong("prefix")),
            (with_prefix("a\r\nb: c"), wrong("prefix")),
            (with_prefix("é"), wrong("prefix")),
            (with_prefix(&"x".repeat(64)), Ok(())),
            (with_prefix(&"x".repeat(65)), wrong("prefix")),
            (
                SchemeInput {
                    encoding: some("base64url"),
                    ..custom()
                },
                wrong("encoding"),
            ),
            (
                SchemeInput {
                    encoding: None,
                    ..custom()
                },
                wrong("encoding"),
            ),
            (
                SchemeInput {
                    scheme: "optech".to_owned(),
                    ..custom()
                },
                wrong("template"),
            ),
        ] {
            let shown = format!("{input:?}");
            let got = input.parse();
            let fields = got.as_ref().map(|_| ()).map_err(|error| error.field);
            assert_eq!(fields, want, "{shown}: {got:?}");
        }
    }

    #[test]
    fn templates_read_back_as_they_were_written() {
        for text in [
            "{body}",
            "{timestamp}.{body}",
            "a{id}b{body}c{id}{timestamp}",
        ] {
            assert_eq!(Template::to_sign(text).unwrap().to_string(), text);
        }
        for text in ["", "sha256=", "t={timestamp},v1=", "{id}{timestamp} "] {
            assert_eq!(Template::prefix(text).unwrap().to_string(), text);
        }
    }
}
