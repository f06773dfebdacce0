//! Tables of fields and parameters, from schemas.

use std::collections::BTreeMap;

use serde_json::Value;

use super::document::{Additional, Document, Parameter, Schema};
use super::text::{Html, line};

/// Where each object is shown, by its name.
pub(super) type Homes = BTreeMap<String, String>;

/// One field or parameter.
pub(super) struct Row {
    /// With the names of what it is in: `success.status`, `signatures[].scheme`.
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) kind: String,
    /// Where the kind is shown, if that is elsewhere.
    pub(super) link: Option<String>,
    pub(super) limits: String,
    pub(super) meaning: Html,
}

/// Reads schemas into rows.
pub(super) struct Reader<'a> {
    pub(super) document: &'a Document,
    pub(super) homes: &'a Homes,
}

impl Reader<'_> {
    /// The fields of an object, those of objects inside it included unless
    /// they have a place of their own.
    pub(super) fn fields(&self, schema: &Schema) -> Vec<Row> {
        let mut rows = Vec::new();
        self.add_fields(&mut rows, "", self.document.resolve(schema));
        rows
    }

    fn add_fields(&self, rows: &mut Vec<Row>, prefix: &str, object: &Schema) {
        for (name, schema) in &object.properties {
            let name = format!("{prefix}{name}");
            let required = object
                .required
                .iter()
                .any(|one| prefix.len() + one.len() == name.len() && name.ends_with(one.as_str()));
            let row = self.row(name.clone(), schema, required);
            let elsewhere = row.link.is_some();
            rows.push(row);
            if !elsewhere {
                let (inner, below) = self.inside(schema);
                self.add_fields(rows, &format!("{name}{below}."), inner);
            }
        }
    }

    /// The object that fields may be in, and how a path goes on there.
    fn inside<'a>(&'a self, schema: &'a Schema) -> (&'a Schema, &'static str) {
        let schema = self.document.resolve(schema.not_null().0);
        match schema.items.as_deref() {
            Some(items) => (self.document.resolve(items), "[]"),
            None => (schema, ""),
        }
    }

    pub(super) fn parameter(&self, parameter: &Parameter) -> Row {
        let mut row = self.row(
            parameter.name.clone(),
            &parameter.schema,
            parameter.required,
        );
        row.meaning = line(&parameter.description);
        row
    }

    fn row(&self, name: String, schema: &Schema, required: bool) -> Row {
        let (kind, link) = self.kind(schema);
        let (real, nullable) = schema.not_null();
        let limits = limits(self.document.resolve(real));
        let described = [schema, real, self.document.resolve(real)];
        let meaning = described.iter().map(|one| one.description.as_str());
        let meaning = meaning.into_iter().find(|text| !text.is_empty());
        Row {
            name,
            required,
            kind: format!("{kind}{}", if nullable { " or null" } else { "" }),
            link,
            limits,
            meaning: line(meaning.unwrap_or_default()),
        }
    }

    /// What it is, and where that is shown.
    fn kind(&self, schema: &Schema) -> (String, Option<String>) {
        let (schema, _) = schema.not_null();
        if let Some(name) = schema.component() {
            let target = &self.document.components.schemas[name];
            if let Some(home) = self.homes.get(name) {
                return (name.to_owned(), Some(home.clone()));
            }
            if target.properties.is_empty() {
                return (name.to_lowercase(), None);
            }
        }
        let schema = self.document.resolve(schema);
        match (schema.type_name(), schema.items.as_deref()) {
            (Some("array"), Some(items)) => {
                let (item, link) = self.kind(items);
                (format!("array of {item}"), link)
            }
            (Some("object"), _) => match &schema.additional_properties {
                Some(Additional::Of(item)) => {
                    let (item, link) = self.kind(item);
                    (format!("object of {item}"), link)
                }
                Some(Additional::Anything(_)) | None => ("object".to_owned(), None),
            },
            (Some(kind), _) => (kind.to_owned(), None),
            (None, _) => ("any JSON".to_owned(), None),
        }
    }
}

/// A number from which on a limit is only that of its type.
const NO_LIMIT: u64 = u32::MAX as u64;

/// What a value is limited to, in words; may be empty.
fn limits(schema: &Schema) -> String {
    if !schema.r#enum.is_empty() {
        let words = schema.r#enum.iter().filter_map(Value::as_str);
        return format!("one of {}", words.collect::<Vec<_>>().join(", "));
    }
    let span = |min: Option<u64>, max: Option<u64>, what: &str| match (min.unwrap_or(0), max) {
        (_, None | Some(NO_LIMIT..)) => None,
        (0, Some(max)) if !what.is_empty() => Some(format!("at most {max}{what}")),
        (min, Some(max)) => Some(format!("{min} to {max}{what}")),
    };
    span(schema.min_length, schema.max_length, " characters")
        .or_else(|| span(None, schema.max_items, " items"))
        .or_else(|| span(schema.minimum, schema.maximum, ""))
        .unwrap_or_default()
}
