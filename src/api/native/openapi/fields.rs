//! Schemas of what requests carry. Bodies are parsed by hand, so these are
//! written by hand too, from the same limits; `tests/it/openapi.rs` holds them
//! to what the server takes.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, Object, ObjectBuilder};
use utoipa::openapi::schema::{Schema, SchemaType, Type};

/// An object in the making.
pub(super) struct Fields {
    pub(super) name: &'static str,
    object: ObjectBuilder,
}

impl Fields {
    /// `name` is what the document calls it.
    pub(super) fn named(name: &'static str) -> Self {
        Self {
            name,
            object: ObjectBuilder::new(),
        }
    }

    pub(super) fn required(mut self, name: &str, kind: Schema, says: &str) -> Self {
        self.object = self.object.required(name);
        self.optional(name, kind, says)
    }

    pub(super) fn optional(mut self, name: &str, kind: Schema, says: &str) -> Self {
        self.object = self.object.property(name, described(kind, says));
        self
    }

    /// Required when `create`, and otherwise optional.
    pub(super) fn required_if(self, create: bool, name: &str, kind: Schema, says: &str) -> Self {
        if create {
            self.required(name, kind, says)
        } else {
            self.optional(name, kind, says)
        }
    }

    /// An object with any fields.
    pub(super) fn open_object() -> Schema {
        let anything = AdditionalProperties::FreeForm(true);
        of(Type::Object)
            .additional_properties(Some(anything))
            .into()
    }

    /// Other fields are texts.
    pub(super) fn and_texts(mut self) -> Self {
        let texts = AdditionalProperties::from(any_text());
        self.object = self.object.additional_properties(Some(texts));
        self
    }

    pub(super) fn schema(self) -> Schema {
        self.object.into()
    }
}

/// `schema` with a description.
pub(super) fn described(mut schema: Schema, says: &str) -> Schema {
    let description = match &mut schema {
        Schema::Object(object) => &mut object.description,
        Schema::Array(array) => &mut array.description,
        Schema::OneOf(one_of) => &mut one_of.description,
        Schema::AllOf(all_of) => &mut all_of.description,
        _ => return schema,
    };
    *description = Some(says.to_owned());
    schema
}

fn of(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Type(kind))
}

/// A text of so many characters.
pub(super) fn text(chars_min: usize, chars_max: usize) -> Schema {
    let min = (chars_min > 0).then_some(chars_min);
    of(Type::String)
        .min_length(min)
        .max_length(Some(chars_max))
        .into()
}

/// A text without a limit of its own, in queries and answers.
pub(super) fn any_text() -> Schema {
    of(Type::String).into()
}

/// One of these texts.
pub(super) fn word(words: &[&str]) -> Schema {
    of(Type::String)
        .enum_values(Some(words.iter().copied()))
        .into()
}

pub(super) fn flag() -> Schema {
    of(Type::Boolean).into()
}

pub(super) fn number(min: u64, max: u64) -> Schema {
    let (min, max) = (limit(min), limit(max));
    of(Type::Integer)
        .minimum(Some(min))
        .maximum(Some(max))
        .into()
}

fn limit(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A time in Unix milliseconds.
pub(super) fn time() -> Schema {
    of(Type::Integer).minimum(Some(0_usize)).into()
}

/// At most so many of `item`.
pub(super) fn list(item: Schema, items_max: usize) -> Schema {
    ArrayBuilder::new()
        .items(RefOr::T(item))
        .max_items(Some(items_max))
        .into()
}

/// An object with any names, whose values are texts.
pub(super) fn map() -> Schema {
    let values = AdditionalProperties::from(any_text());
    of(Type::Object).additional_properties(Some(values)).into()
}

/// Any JSON at all.
pub(super) fn anything() -> Schema {
    let mut object = Object::new();
    object.schema_type = SchemaType::AnyValue;
    object.into()
}
