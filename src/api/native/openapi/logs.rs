//! What lists of all attempts and of all messages have in common.

use serde_json::Value;
use utoipa::openapi::schema::{Object, Schema};
use utoipa::openapi::{ObjectBuilder, RefOr, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::api::native::logs::{LoggedAttempt, LoggedMessage};
use crate::api::native::{attempts, messages};

/// How such a list is followed.
pub(super) const FOLLOWING: &str = "Of every application that the key sees, the built-in one aside unless `application` names it. Newest first.\n\n\
     To follow: ask once, then go on with the `Link` that leads to what is newer, and from there with the `next` of each answer. \
     Nothing is left out and nothing comes twice, whatever happens in between. With `wait` an answer that would be empty waits for something new.\n\n\
     A filter looks at a bounded number of rows and answers with what it has found; the `Link` goes on from there.";

/// Adds the fields of `more`.
pub(super) fn extend(example: &mut Value, more: Value) {
    if let (Value::Object(fields), Value::Object(more)) = (example, more) {
        fields.extend(more);
    }
}

/// An object with the fields of another one after its own, as it is written.
fn flattened(own: Object, inner: RefOr<Schema>) -> RefOr<Schema> {
    let mut object = own;
    if let RefOr::T(Schema::Object(inner)) = inner {
        object.properties.extend(inner.properties);
    }
    object.into()
}

fn application_id() -> ObjectBuilder {
    let says = "Of the application that it belongs to.";
    let id = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(says));
    ObjectBuilder::new().property("applicationId", id)
}

impl PartialSchema for LoggedAttempt {
    fn schema() -> RefOr<Schema> {
        let says = "Of the message that was sent; null when that is no longer kept.";
        let event_type = ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::SchemaType::from_iter([
                Type::String,
                Type::Null,
            ]))
            .description(Some(says));
        let own = application_id().property("eventType", event_type);
        flattened(own.build(), attempts::Shape::schema())
    }
}

impl ToSchema for LoggedAttempt {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        attempts::Shape::schemas(schemas);
    }
}

impl PartialSchema for LoggedMessage<'_> {
    fn schema() -> RefOr<Schema> {
        flattened(application_id().build(), messages::Shape::schema())
    }
}

impl ToSchema for LoggedMessage<'_> {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        messages::Shape::schemas(schemas);
    }
}
