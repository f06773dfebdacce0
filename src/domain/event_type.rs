//! A described kind of event: what its messages look like, and who sees it.

use super::ids::{ApplicationKey, EnvironmentKey};
use super::message::is_event_type;
use super::principal::Scope;
use super::time::Timestamp;

/// Characters of a description.
pub const DESCRIPTION_CHARS_MAX: usize = 2000;
/// Bytes of a schema's text.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Examples of one type, and bytes of each one's text.
pub const EXAMPLES_MAX: usize = 10;
pub const EXAMPLE_BYTES_MAX: usize = 64 * 1024;
/// Applications that a type can be for, when it is not for everyone.
pub const APPLICATIONS_MAX: usize = 1000;
/// Types of one environment, and bytes of all their texts.
pub const TYPES_MAX: u64 = 10_000;
pub const TYPES_BYTES_MAX: u64 = 16 << 20;

/// Names that paths below `/event-types` have for something else.
const NAMES_RESERVED: [&str; 1] = ["imports"];

/// Which applications see a type in their catalogue. Who sees the whole
/// environment sees every type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    Everyone,
    /// Rising, none twice. May be empty: then no application sees it.
    Only(Vec<ApplicationKey>),
}

impl Audience {
    /// These applications and no others.
    #[must_use]
    pub fn only(mut applications: Vec<ApplicationKey>) -> Self {
        applications.sort_unstable();
        applications.dedup();
        Self::Only(applications)
    }

    /// The applications it names.
    #[must_use]
    pub fn named(&self) -> &[ApplicationKey] {
        match self {
            Self::Everyone => &[],
            Self::Only(applications) => applications,
        }
    }

    /// As somebody within `scope` sees it: other applications are not shown.
    /// `None` when nothing of it is to be seen.
    #[must_use]
    fn seen_by(self, scope: Scope) -> Option<Self> {
        match (self, scope.application) {
            (audience, None) => Some(audience),
            (Self::Everyone, Some(_)) => Some(Self::Everyone),
            (Self::Only(applications), Some(own)) => {
                applications.contains(&own).then(|| Self::Only(vec![own]))
            }
        }
    }
}

/// What is said about a type's messages, as JSON texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// A JSON Schema as it came; `None` when nothing is said.
    pub schema: Option<String>,
    pub examples: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    pub environment: EnvironmentKey,
    pub name: String,
    pub description: String,
    pub content: Content,
    pub audience: Audience,
    /// Left out of the catalogue. Messages of it can still be sent.
    pub archived: bool,
    pub created: Timestamp,
    pub updated: Timestamp,
}

impl EventType {
    /// The type as somebody within `scope` sees it, if they do.
    #[must_use]
    pub fn seen_by(self, scope: Scope) -> Option<Self> {
        if self.environment != scope.environment {
            return None;
        }
        let audience = self.audience.seen_by(scope)?;
        Some(Self { audience, ..self })
    }

    /// Bytes that it counts for within its environment's limit.
    #[must_use]
    pub fn text_bytes(&self) -> u64 {
        let examples: usize = self.content.examples.iter().map(String::len).sum();
        let schema = self.content.schema.as_ref().map_or(0, String::len);
        (self.description.len() + schema + examples) as u64
    }
}

/// A type that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEventType {
    pub name: String,
    pub description: String,
    pub content: Content,
    pub audience: Audience,
}

/// What is to change. `None`: stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventTypeChange {
    pub description: Option<String>,
    /// Schema and examples together, since they were checked together.
    pub content: Option<Content>,
    pub audience: Option<Audience>,
    pub archived: Option<bool>,
}

impl EventTypeChange {
    /// `before` with the change.
    #[must_use]
    pub fn applied_to(self, before: EventType, now: Timestamp) -> EventType {
        EventType {
            description: self.description.unwrap_or(before.description),
            content: self.content.unwrap_or(before.content),
            audience: self.audience.unwrap_or(before.audience),
            archived: self.archived.unwrap_or(before.archived),
            updated: now,
            ..before
        }
    }
}

/// One type of an imported document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedType {
    pub name: String,
    pub description: String,
    pub content: Content,
}

impl ImportedType {
    /// Whether `stored` says the same already, and is in the catalogue.
    #[must_use]
    pub fn is_like(&self, stored: &EventType) -> bool {
        !stored.archived && stored.description == self.description && stored.content == self.content
    }
}

/// Whether a type can have this name.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if !is_event_type(name) {
        return Err("must have only letters, digits, '-', '_' and '.', 256 at most");
    }
    if NAMES_RESERVED.contains(&name) {
        return Err("is a path of the API's own; choose another");
    }
    Ok(())
}

/// Whether `text` can be a description: of some lines, without other control
/// characters.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn check_description(text: &str) -> Result<(), String> {
    let chars = text.chars().count();
    if chars > DESCRIPTION_CHARS_MAX {
        return Err(format!(
            "must have at most {DESCRIPTION_CHARS_MAX} characters, but has {chars}"
        ));
    }
    let is_odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if text.chars().any(is_odd) {
        return Err("must not have control characters but ends of lines and tabs".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Key as _;

    fn application(key: u64) -> ApplicationKey {
        ApplicationKey::from_u64(key)
    }

    fn scope(environment: u64, of: Option<u64>) -> Scope {
        Scope {
            environment: EnvironmentKey::from_u64(environment),
            application: of.map(application),
        }
    }

    #[test]
    fn whoever_is_bound_to_an_application_sees_what_is_for_it_and_no_other_name() {
        let only = |keys: &[u64]| Audience::only(keys.iter().copied().map(application).collect());
        for (audience, scope, want) in [
            (Audience::Everyone, scope(1, None), Some(Audience::Everyone)),
            (
                Audience::Everyone,
                scope(1, Some(7)),
                Some(Audience::Everyone),
            ),
            (Audience::Everyone, scope(2, None), None),
            (Audience::Everyone, scope(2, Some(7)), None),
            (only(&[8, 7]), scope(1, None), Some(only(&[7, 8]))),
            (only(&[8, 7]), scope(1, Some(7)), Some(only(&[7]))),
            (only(&[8, 7]), scope(1, Some(9)), None),
            (only(&[]), scope(1, None), Some(only(&[]))),
            (only(&[]), scope(1, Some(7)), None),
        ] {
            let event_type = EventType {
                environment: EnvironmentKey::from_u64(1),
                name: "a.b".into(),
                description: String::new(),
                content: Content::default(),
                audience: audience.clone(),
                archived: false,
                created: Timestamp(1),
                updated: Timestamp(1),
            };
            let seen = event_type.seen_by(scope).map(|seen| seen.audience);
            assert_eq!(seen, want, "{audience:?} by {scope:?}");
        }
    }

    #[test]
    fn names_and_descriptions_have_their_rules() {
        let long = "a".repeat(257);
        for (name, fits) in [
            ("order.paid", true),
            ("Order_Paid-2", true),
            (".", true),
            ("", false),
            ("order paid", false),
            ("order.*", false),
            ("bestellung.ü", false),
            ("imports", false),
            ("imports.x", true),
            (long.as_str(), false),
        ] {
            assert_eq!(check_name(name).is_ok(), fits, "{name}");
        }
        let (longest, longer) = ("ü".repeat(2000), "a".repeat(2001));
        for (text, fits) in [
            ("", true),
            ("One line.\r\n\tAnother.", true),
            ("a\0b", false),
            ("a\u{1b}[0m", false),
            (longest.as_str(), true),
            (longer.as_str(), false),
        ] {
            assert_eq!(check_description(text).is_ok(), fits, "{text:?}");
        }
    }
}
