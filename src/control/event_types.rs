//! Making, changing, deleting and importing event types: every rule about
//! their fields.

use serde_json::Value;

use super::schemas::{self, FAULTS_MAX, Subject};
use super::{Control, ControlError, FieldError};
use crate::domain::event_type::{
    Audience, Content, EventType, EventTypeChange, ImportedType, NewEventType, check_description,
    check_name,
};
use crate::domain::ids::ApplicationKey;
use crate::domain::json_schema::Fault;
use crate::domain::openapi::{self, Webhook};
use crate::domain::principal::{Principal, Scope};
use crate::store::{Idempotent, ImportOutcome, Refusal, StoreError, Written};

/// What a caller gives for an event type. `None`: left out.
#[derive(Clone, Debug, Default)]
pub struct EventTypeInput {
    pub description: Option<String>,
    /// JSON text; `{}` says nothing, and takes away what was said.
    pub schema: Option<String>,
    /// JSON texts.
    pub examples: Option<Vec<String>>,
    /// Ids or uids; none: everyone, unless `for_everyone` says otherwise.
    pub applications: Option<Vec<String>>,
    pub for_everyone: Option<bool>,
    pub archived: Option<bool>,
}

/// What an import asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions {
    /// Archive what the document does not name.
    pub replace_all: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Control {
    /// Makes an event type. Only who sees the whole environment may.
    pub async fn create_event_type(
        &self,
        principal: Principal,
        name: String,
        input: EventTypeInput,
        idempotent: Option<Idempotent<EventType>>,
    ) -> Result<Written<EventType>, ControlError> {
        may_write(principal)?;
        let mut errors = Vec::new();
        if let Err(detail) = check_name(&name) {
            errors.push(FieldError::new("name", detail));
        }
        let audience = self.audience(principal.scope, &input, &mut errors)?;
        let description = described(input.description, &mut errors).unwrap_or_default();
        let content = Content {
            schema: input.schema.filter(|text| says_something(text)),
            examples: input.examples.unwrap_or_default(),
        };
        check_content(&content, errors).await?;
        let new = NewEventType {
            name,
            description,
            content,
            audience: audience.unwrap_or(Audience::Everyone),
        };
        Ok(self
            .store
            .create_event_type(principal.scope, new, idempotent)
            .await?)
    }

    /// Changes what `input` names; what it leaves out stays.
    pub async fn update_event_type(
        &self,
        principal: Principal,
        name: &str,
        input: EventTypeInput,
    ) -> Result<EventType, ControlError> {
        may_write(principal)?;
        let scope = principal.scope;
        let before = self.store.find_event_type(scope, name)?;
        let before = before.ok_or(Refusal::NoEventType)?;
        let mut errors = Vec::new();
        let audience = self.audience(scope, &input, &mut errors)?;
        let description = described(input.description, &mut errors);
        let content = changed_content(before.content, input.schema, input.examples);
        match &content {
            Some(content) => check_content(content, errors).await?,
            None if errors.is_empty() => {}
            None => return Err(ControlError::Invalid(errors)),
        }
        let change = EventTypeChange {
            description,
            content,
            audience,
            archived: input.archived,
        };
        let name = name.to_owned();
        Ok(self.store.update_event_type(scope, name, change).await?)
    }

    /// Deletes what is said about a type; its messages stay.
    pub async fn delete_event_type(
        &self,
        principal: Principal,
        name: &str,
    ) -> Result<EventType, ControlError> {
        may_write(principal)?;
        let name = name.to_owned();
        Ok(self.store.delete_event_type(principal.scope, name).await?)
    }

    /// Makes, changes and archives types as the webhooks of `document`, a JSON
    /// text, say: all or nothing.
    pub async fn import_event_types(
        &self,
        principal: Principal,
        document: String,
        options: ImportOptions,
        idempotent: Option<Idempotent<ImportOutcome>>,
    ) -> Result<Written<ImportOutcome>, ControlError> {
        may_write(principal)?;
        let read = schemas::apart(move || imported(&document)).await?;
        let imported = read.map_err(|faults| {
            let faults = faults.into_iter().take(FAULTS_MAX);
            ControlError::Invalid(faults.map(FieldError::from).collect())
        })?;
        let scope = principal.scope;
        if options.dry_run {
            let would = self
                .store
                .preview_import(scope, &imported, options.replace_all)?;
            return Ok(Written::Fresh(would));
        }
        Ok(self
            .store
            .import_event_types(scope, imported, options.replace_all, idempotent)
            .await?)
    }

    /// The example at `at` of a type, as `application` sees it.
    pub fn example_of(
        &self,
        principal: Principal,
        application: ApplicationKey,
        name: &str,
        at: usize,
    ) -> Result<String, ControlError> {
        let wrong = |path: &str, detail: String| {
            Err(ControlError::Invalid(vec![FieldError::new(path, detail)]))
        };
        let scope = Scope {
            application: Some(application),
            ..principal.scope
        };
        let Some(mut found) = self.store.find_event_type(scope, name)? else {
            let detail = "is not an event type that this application sees; register it with an example, or add the application to its `applications`";
            return wrong("eventType", detail.to_owned());
        };
        let count = found.content.examples.len();
        if count == 0 {
            let detail = "has no example; give it one: PUT /event-types/{name} with `examples`";
            return wrong("eventType", detail.to_owned());
        }
        if at >= count {
            let detail = format!("must be from 0 to {}: the type has {count}", count - 1);
            return wrong("example", detail);
        }
        Ok(found.content.examples.swap_remove(at))
    }

    /// Whom a type is to be for, if `input` says.
    fn audience(
        &self,
        scope: Scope,
        input: &EventTypeInput,
        errors: &mut Vec<FieldError>,
    ) -> Result<Option<Audience>, StoreError> {
        let named = self.applications(scope, input.applications.as_deref(), errors)?;
        Ok(match (named, input.for_everyone) {
            (None, None) => None,
            (None, Some(true)) => Some(Audience::Everyone),
            (None, Some(false)) => {
                let detail = "can only be false together with `applications`";
                errors.push(FieldError::new("forEveryone", detail));
                None
            }
            (Some(named), None) if named.is_empty() => Some(Audience::Everyone),
            (Some(named), Some(true)) if named.is_empty() => Some(Audience::Everyone),
            (Some(_), Some(true)) => {
                let detail = "cannot be true when `applications` names some";
                errors.push(FieldError::new("forEveryone", detail));
                None
            }
            (Some(named), _) => Some(Audience::only(named)),
        })
    }

    fn applications(
        &self,
        scope: Scope,
        texts: Option<&[String]>,
        errors: &mut Vec<FieldError>,
    ) -> Result<Option<Vec<ApplicationKey>>, StoreError> {
        let Some(texts) = texts else { return Ok(None) };
        let mut named = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            if let Some(entry) = self.store.find_application(scope, text)? {
                named.push(entry.application.key);
            } else {
                let path = format!("applications[{at}]");
                let detail = "is not the id or uid of an application";
                errors.push(FieldError::new(path, detail));
            }
        }
        Ok(Some(named))
    }
}

/// Event types belong to the environment: only who sees all of it writes them.
fn may_write(principal: Principal) -> Result<(), Refusal> {
    if principal.scope.covers_environment() {
        Ok(())
    } else {
        Err(Refusal::NoEventType)
    }
}

fn described(text: Option<String>, errors: &mut Vec<FieldError>) -> Option<String> {
    let text = text?;
    if let Err(detail) = check_description(&text) {
        errors.push(FieldError::new("description", detail));
    }
    Some(text)
}

/// Whether a schema's text is anything but `{}`.
fn says_something(text: &str) -> bool {
    let inside = text.trim().strip_prefix('{');
    let inside = inside.and_then(|text| text.strip_suffix('}'));
    inside.is_none_or(|inside| !inside.trim().is_empty())
}

/// Schema and examples together, when one of them is given.
fn changed_content(
    before: Content,
    schema: Option<String>,
    examples: Option<Vec<String>>,
) -> Option<Content> {
    if schema.is_none() && examples.is_none() {
        return None;
    }
    Some(Content {
        schema: match schema {
            Some(text) => Some(text).filter(|text| says_something(text)),
            None => before.schema,
        },
        examples: examples.unwrap_or(before.examples),
    })
}

/// Refuses when `errors` are there already, or the examples do not fit the
/// schema, or it is none.
async fn check_content(content: &Content, mut errors: Vec<FieldError>) -> Result<(), ControlError> {
    let path = |at: usize| format!("examples[{at}]");
    let examples = content.examples.iter().enumerate();
    let subject = Subject {
        schema_path: "schema".to_owned(),
        schema: content.schema.clone(),
        examples: examples
            .map(|(at, text)| (path(at), text.clone()))
            .collect(),
    };
    let faults = schemas::apart(move || schemas::check(&subject)).await?;
    errors.extend(faults.into_iter().map(FieldError::from));
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ControlError::Invalid(errors))
    }
}

/// The types that a document describes, checked.
fn imported(document: &str) -> Result<Vec<ImportedType>, Vec<Fault>> {
    let document: Value = serde_json::from_str(document)
        .map_err(|error| vec![Fault::new("document", format!("is not JSON: {error}"))])?;
    let webhooks = openapi::webhooks(&document)?;
    let mut faults = Vec::new();
    for webhook in &webhooks {
        faults.extend(schemas::check(&subject_of(webhook)));
        if faults.len() >= FAULTS_MAX {
            break;
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(webhooks.into_iter().map(|one| one.described).collect())
}

fn subject_of(webhook: &Webhook) -> Subject {
    let content = &webhook.described.content;
    let paths = webhook.example_paths.iter().cloned();
    Subject {
        schema_path: webhook.schema_path.clone(),
        schema: content.schema.clone(),
        examples: paths.zip(content.examples.iter().cloned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_says_nothing() {
        for (text, want) in [
            ("{}", false),
            (" { \n } ", false),
            ("{\"type\":\"null\"}", true),
            ("true", true),
            ("false", true),
            ("[]", true),
            ("\"{}\"", true),
        ] {
            assert_eq!(says_something(text), want, "{text}");
        }
    }
}
