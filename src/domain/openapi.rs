//! Event types from the webhooks of an `OpenAPI` document.
//!
//! Taken: 3.1 and 3.2 with `webhooks`, 3.0 with `x-webhooks`. A schema is made
//! to stand alone: the components that it refers to come along, in `$defs`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::event_type::{
    Content, EXAMPLE_BYTES_MAX, EXAMPLES_MAX, ImportedType, SCHEMA_BYTES_MAX, check_description,
    check_name,
};
use super::json_schema::{DIALECT_DEFAULT, Fault, is_legacy, item, known_dialect, member};

/// Webhooks of one document.
pub const WEBHOOKS_MAX: usize = 1000;
/// References from one to the next that are followed outside of schemas.
const HOPS_MAX: usize = 8;
/// Where the schemas are that a schema may refer to.
const COMPONENTS: &str = "#/components/schemas/";
/// The dialect that a document of 3.1 has when it names none, under any date.
const DIALECT_OAS: &str = "https://spec.openapis.org/oas/3.";
/// Keywords whose values are data.
const DATA: [&str; 6] = [
    "const",
    "default",
    "discriminator",
    "enum",
    "example",
    "examples",
];
/// Bytes of schemas and examples that one document may come to.
const TEXT_BYTES_MAX: usize = 8 << 20;
/// What is told about one document.
const FAULTS_MAX: usize = 100;
/// Keywords whose values are schemas by name.
const NAMED: [&str; 6] = [
    "$defs",
    "definitions",
    "dependencies",
    "dependentSchemas",
    "patternProperties",
    "properties",
];

/// An event type as a document describes it, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub described: ImportedType,
    /// Where its schema is in the document.
    pub schema_path: String,
    /// Where each of its examples is.
    pub example_paths: Vec<String>,
}

/// The webhooks of `document`, in its order.
///
/// # Errors
/// Everything in it that cannot be taken, with its place.
pub fn webhooks(document: &Value) -> Result<Vec<Webhook>, Vec<Fault>> {
    let mut reader = Reader::of(document).map_err(|fault| vec![fault])?;
    let path = member("document", reader.field);
    let Some(items) = document.get(reader.field).and_then(Value::as_object) else {
        let detail = "must be an object: the webhooks by the names of their event types";
        return Err(vec![Fault::new(path, detail)]);
    };
    if items.len() > WEBHOOKS_MAX {
        let detail = format!("must have at most {WEBHOOKS_MAX} webhooks");
        return Err(vec![Fault::new(path, detail)]);
    }
    let mut found = Vec::with_capacity(items.len());
    for (name, webhook) in items {
        if reader.faults.len() == FAULTS_MAX || reader.text_bytes > TEXT_BYTES_MAX {
            break;
        }
        match reader.webhook(name, webhook, &member(&path, name)) {
            Ok(webhook) => found.push(webhook),
            Err(fault) => reader.faults.push(fault),
        }
    }
    if reader.text_bytes > TEXT_BYTES_MAX {
        let detail = format!(
            "has more than {} MB of schemas and examples once references are followed; import it in parts",
            TEXT_BYTES_MAX >> 20
        );
        reader.faults.push(Fault::new(path, detail));
    }
    if reader.faults.is_empty() {
        Ok(found)
    } else {
        Err(reader.faults)
    }
}

struct Reader<'a> {
    document: &'a Value,
    /// Where webhooks are.
    field: &'static str,
    /// What schemas are written in.
    dialect: &'static str,
    /// Has `nullable`, as 3.0 has.
    has_nullable: bool,
    /// Of the schemas and examples so far: references can make much of little.
    text_bytes: usize,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn of(document: &'a Value) -> Result<Self, Fault> {
        let version = document.get("openapi").and_then(Value::as_str);
        let version = version.unwrap_or_default();
        let old = version.starts_with("3.0.");
        if !old && !version.starts_with("3.1.") && !version.starts_with("3.2.") {
            let detail = "must be a version of OpenAPI: 3.1 or 3.2, or 3.0 with x-webhooks";
            return Err(Fault::new("document.openapi", detail));
        }
        let named = document.get("jsonSchemaDialect").and_then(Value::as_str);
        let dialect = match named {
            // As near as JSON Schema comes to 3.0.
            _ if old => Some("http://json-schema.org/draft-04/schema"),
            None => Some(DIALECT_DEFAULT),
            Some(text) if text.starts_with(DIALECT_OAS) => Some(DIALECT_DEFAULT),
            Some(text) => known_dialect(text),
        };
        let detail = "must be a dialect of JSON Schema that is known here";
        Ok(Self {
            document,
            field: if old { "x-webhooks" } else { "webhooks" },
            dialect: dialect.ok_or_else(|| Fault::new("document.jsonSchemaDialect", detail))?,
            has_nullable: old,
            text_bytes: 0,
            faults: Vec::new(),
        })
    }

    fn webhook(&mut self, name: &str, webhook: &'a Value, path: &str) -> Result<Webhook, Fault> {
        check_name(name).map_err(|detail| Fault::new(path, detail))?;
        let webhook = self.target(webhook, path)?;
        let path = member(path, "post");
        let Some(post) = webhook.get("post").filter(|post| post.is_object()) else {
            return Err(Fault::new(path, "is missing: a webhook is a POST"));
        };
        let description = description(post, &path)?;
        let mut content = Content::default();
        let (mut schema_path, mut example_paths) = (path.clone(), Vec::new());
        if let Some((media, path)) = self.json_body(post, &path)? {
            let schema = media.get("schema");
            schema_path = member(&path, "schema");
            if let Some(schema) = schema {
                content.schema = self.standing_alone(schema, &schema_path)?;
            }
            let mut examples = self.examples(media, &path)?;
            if examples.is_empty()
                && let Some(schema) = schema
            {
                examples = self.examples_of_schema(schema, &schema_path);
            }
            self.text_bytes += content.schema.as_ref().map_or(0, String::len);
            for (path, example) in examples.into_iter().take(EXAMPLES_MAX) {
                let text = example.to_string();
                self.text_bytes += text.len();
                if text.len() > EXAMPLE_BYTES_MAX {
                    let detail = format!("must have at most {EXAMPLE_BYTES_MAX} bytes");
                    return Err(Fault::new(path, detail));
                }
                content.examples.push(text);
                example_paths.push(path);
            }
        }
        let described = ImportedType {
            name: name.to_owned(),
            description,
            content,
        };
        Ok(Webhook {
            described,
            schema_path,
            example_paths,
        })
    }

    /// What `value` is, or refers to within the document.
    fn target(&self, value: &'a Value, path: &str) -> Result<&'a Value, Fault> {
        let mut value = value;
        for _ in 0..HOPS_MAX {
            let Some(text) = value.get("$ref").and_then(Value::as_str) else {
                return Ok(value);
            };
            let pointer = text.strip_prefix('#');
            value = pointer
                .and_then(|pointer| self.document.pointer(pointer))
                .ok_or_else(|| {
                    Fault::new(member(path, "$ref"), "leads to nothing in the document")
                })?;
        }
        Err(Fault::new(
            member(path, "$ref"),
            "leads to one reference after the other",
        ))
    }

    /// The JSON body of an operation, and where it is.
    fn json_body(&self, post: &'a Value, path: &str) -> Result<Option<(&'a Value, String)>, Fault> {
        let path = member(path, "requestBody");
        let Some(body) = post.get("requestBody") else {
            return Ok(None);
        };
        let body = self.target(body, &path)?;
        let path = member(&path, "content");
        let Some(kinds) = body.get("content").and_then(Value::as_object) else {
            return Ok(None);
        };
        let is_json = |kind: &str| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/json") || kind.ends_with("+json")
        };
        let found = kinds.iter().find(|(kind, _)| is_json(kind));
        let Some((kind, media)) = found else {
            return Ok(None);
        };
        let path = member(&path, kind);
        Ok(Some((self.target(media, &path)?, path)))
    }

    /// The examples beside a schema.
    fn examples(&self, media: &'a Value, path: &str) -> Result<Vec<(String, &'a Value)>, Fault> {
        let mut examples: Vec<_> = media
            .get("example")
            .map(|example| (member(path, "example"), example))
            .into_iter()
            .collect();
        let path = member(path, "examples");
        let named = media.get("examples").and_then(Value::as_object);
        for (name, example) in named.into_iter().flatten() {
            let path = member(&path, name);
            let example = self.target(example, &path)?;
            for field in ["dataValue", "value"] {
                if let Some(value) = example.get(field) {
                    examples.push((member(&path, field), value));
                    break;
                }
            }
        }
        Ok(examples)
    }

    /// The examples inside a schema, or in the component that it refers to.
    fn examples_of_schema(&self, schema: &'a Value, path: &str) -> Vec<(String, &'a Value)> {
        let Ok(schema) = self.target(schema, path) else {
            return Vec::new();
        };
        let path_of_list = member(path, "examples");
        let list = schema.get("examples").and_then(Value::as_array);
        let list = list.into_iter().flatten().enumerate();
        let one = schema.get("example");
        one.map(|example| (member(path, "example"), example))
            .into_iter()
            .chain(list.map(|(at, example)| (item(&path_of_list, at), example)))
            .collect()
    }

    /// The text of `schema` with all that it refers to. `None` when it says
    /// nothing.
    fn standing_alone(&mut self, schema: &Value, path: &str) -> Result<Option<String>, Fault> {
        if schema.as_object().is_some_and(Map::is_empty) {
            return Ok(None);
        }
        let mut needed = Needed::default();
        let mut alone = self.rewritten(schema, path, &mut needed)?;
        let defs = self.components(&mut needed)?;
        let legacy = is_legacy(self.dialect);
        if legacy && alone.get("$ref").is_some() {
            // Beside a reference nothing counts in these drafts.
            alone = Value::Object(Map::from_iter([(
                "allOf".to_owned(),
                Value::Array(vec![alone]),
            )]));
        }
        if let Value::Object(alone) = &mut alone {
            if self.dialect != DIALECT_DEFAULT {
                let named = alone.entry("$schema");
                named.or_insert_with(|| self.dialect.into());
            }
            add_definitions(alone, defs, self.definitions_name())
                .map_err(|detail| Fault::new(path, detail))?;
        }
        let text = alone.to_string();
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(too_large(path));
        }
        Ok(Some(text))
    }

    fn definitions_name(&self) -> &'static str {
        if is_legacy(self.dialect) {
            "definitions"
        } else {
            "$defs"
        }
    }

    /// The components that are needed, and those that they need.
    fn components(&mut self, needed: &mut Needed) -> Result<Map<String, Value>, Fault> {
        let mut defs = Map::new();
        let mut bytes = 0;
        while let Some((name, from)) = needed.waiting.pop() {
            let path = member("document.components.schemas", &name);
            let place = ["components", "schemas", &name];
            let found = place
                .iter()
                .try_fold(self.document, |value, name| value.get(name));
            let Some(found) = found else {
                return Err(Fault::new(from, "leads to nothing in the document"));
            };
            let component = self.rewritten(found, &path, needed)?;
            bytes += component.to_string().len();
            if bytes > SCHEMA_BYTES_MAX {
                return Err(too_large(&from));
            }
            defs.insert(name, component);
        }
        Ok(defs)
    }

    /// A schema whose references lead to where its components will be.
    fn rewritten(&self, schema: &Value, path: &str, needed: &mut Needed) -> Result<Value, Fault> {
        match schema {
            Value::Object(members) => self.rewritten_object(members, path, needed),
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let items = items.map(|(at, each)| self.rewritten(each, &item(path, at), needed));
                Ok(Value::Array(items.collect::<Result<_, _>>()?))
            }
            other => Ok(other.clone()),
        }
    }

    fn rewritten_object(
        &self,
        members: &Map<String, Value>,
        path: &str,
        needed: &mut Needed,
    ) -> Result<Value, Fault> {
        let mut object = Map::with_capacity(members.len());
        for (name, value) in members {
            let path = member(path, name);
            let value = match (name.as_str(), value) {
                ("$ref" | "$dynamicRef", Value::String(text)) => {
                    Value::String(self.reference(text, path, needed)?)
                }
                ("$id", Value::String(_)) => {
                    let detail =
                        "is not taken over: with it, references would lead elsewhere; leave it out";
                    return Err(Fault::new(path, detail));
                }
                (name, value) if DATA.contains(&name) => value.clone(),
                (name, Value::Object(named)) if NAMED.contains(&name) => {
                    let each = |(name, schema): (&String, &Value)| {
                        let schema = self.rewritten(schema, &member(&path, name), needed)?;
                        Ok((name.clone(), schema))
                    };
                    Value::Object(named.iter().map(each).collect::<Result<_, _>>()?)
                }
                (_, value) => self.rewritten(value, &path, needed)?,
            };
            object.insert(name.clone(), value);
        }
        if self.has_nullable {
            allow_null(&mut object);
        }
        Ok(Value::Object(object))
    }

    /// Where a reference will lead, the component noted as needed.
    fn reference(&self, text: &str, path: String, needed: &mut Needed) -> Result<String, Fault> {
        let Some(rest) = text.strip_prefix(COMPONENTS) else {
            let detail = format!("must lead to a schema of the document, {COMPONENTS}...");
            return Err(Fault::new(path, detail));
        };
        let name = rest.split('/').next().unwrap_or_default();
        if needed.known.insert(name.to_owned()) {
            needed.waiting.push((name.to_owned(), path));
        }
        Ok(format!("#/{}/{rest}", self.definitions_name()))
    }
}

/// Components that schemas referred to.
#[derive(Default)]
struct Needed {
    known: BTreeSet<String>,
    /// With the place of the first reference.
    waiting: Vec<(String, String)>,
}

fn too_large(path: &str) -> Fault {
    let detail = format!(
        "makes the schema, with all that it refers to, larger than {SCHEMA_BYTES_MAX} bytes"
    );
    Fault::new(path, detail)
}

/// What is said about an operation.
fn description(post: &Value, path: &str) -> Result<String, Fault> {
    let said = ["description", "summary"].into_iter().find_map(|field| {
        let text = post.get(field)?.as_str()?;
        (!text.is_empty()).then_some((field, text))
    });
    let Some((field, text)) = said else {
        return Ok(String::new());
    };
    check_description(text).map_err(|detail| Fault::new(member(path, field), detail))?;
    Ok(text.to_owned())
}

/// Adds `defs` to a schema's own definitions.
fn add_definitions(
    schema: &mut Map<String, Value>,
    defs: Map<String, Value>,
    name: &str,
) -> Result<(), String> {
    if defs.is_empty() {
        return Ok(());
    }
    let own = schema.entry(name).or_insert_with(|| Map::new().into());
    let Some(own) = own.as_object_mut() else {
        return Err(format!("has a {name} that is no object"));
    };
    for (name, component) in defs {
        if own.insert(name.clone(), component).is_some() {
            return Err(format!(
                "has a definition of its own that is called {name} like a component it refers to"
            ));
        }
    }
    Ok(())
}

/// `nullable: true` as JSON Schema says it.
fn allow_null(schema: &mut Map<String, Value>) {
    if schema.get("nullable") != Some(&Value::Bool(true)) {
        return;
    }
    if let Some(Value::String(kind)) = schema.get("type") {
        let kinds = vec![Value::from(kind.as_str()), Value::from("null")];
        schema.insert("type".to_owned(), kinds.into());
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    schema.retain(|name, _| name != "nullable");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A document of `version` with one webhook `a.b` whose body has `media`.
    fn document(version: &str, media: &Value, schemas: &Value) -> Value {
        let field = if version.starts_with("3.0") {
            "x-webhooks"
        } else {
            "webhooks"
        };
        json!({
            "openapi": version,
            "components": {"schemas": schemas},
            (field): {"a.b": {"post": {
                "requestBody": {"content": {"application/json": media}},
            }}},
        })
    }

    fn schema_of(document: &Value) -> Value {
        let found = webhooks(document).unwrap();
        let text = found[0].described.content.schema.as_deref().unwrap();
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_schema_comes_with_all_that_it_refers_to() {
        let schemas = json!({
            "Order": {"properties": {
                "customer": {"$ref": "#/components/schemas/Customer"},
                "parts": {"items": {"$ref": "#/components/schemas/Order"}},
                "example": {"$ref": "#/components/schemas/Customer/properties/name"},
            }},
            "Customer": {"properties": {"name": {"type": "string"}}, "example": {"$ref": "data"}},
            "Other": {"type": "null"},
        });
        let media = json!({"schema": {"$ref": "#/components/schemas/Order"}});
        let alone = json!({
            "$ref": "#/$defs/Order",
            "$defs": {
                "Order": {"properties": {
                    "customer": {"$ref": "#/$defs/Customer"},
                    "parts": {"items": {"$ref": "#/$defs/Order"}},
                    "example": {"$ref": "#/$defs/Customer/properties/name"},
                }},
                "Customer": {"properties": {"name": {"type": "string"}}, "example": {"$ref": "data"}},
            },
        });
        for version in ["3.1.0", "3.2.0"] {
            let document = document(version, &media, &schemas);
            assert_eq!(schema_of(&document), alone, "{version}");
        }
    }

    #[test]
    fn a_document_of_3_0_is_read_in_its_own_dialect() {
        let schemas = json!({"A": {"type": "string", "nullable": true, "enum": ["x"]}});
        let media = json!({"schema": {"$ref": "#/components/schemas/A"}});
        let want = json!({
            "allOf": [{"$ref": "#/definitions/A"}],
            "$schema": "http://json-schema.org/draft-04/schema",
            "definitions": {"A": {"type": ["string", "null"], "enum": ["x", null]}},
        });
        assert_eq!(schema_of(&document("3.0.3", &media, &schemas)), want);
    }

    #[test]
    fn examples_are_those_beside_the_schema_or_else_inside_it() {
        let inside = json!({"A": {"type": "integer", "examples": [1, 2]}});
        let schema = json!({"$ref": "#/components/schemas/A"});
        for (media, want) in [
            (
                json!({"schema": schema, "example": {"n": 1}}),
                vec!["{\"n\":1}"],
            ),
            (
                json!({"schema": schema, "examples": {"a": {"value": 7}, "b": {"externalValue": "x"}}}),
                vec!["7"],
            ),
            (json!({"examples": {"a": {"dataValue": [1]}}}), vec!["[1]"]),
            (json!({"schema": schema}), vec!["1", "2"]),
            (
                json!({"schema": {"type": "string", "example": "x"}}),
                vec!["\"x\""],
            ),
            (json!({}), vec![]),
        ] {
            let found = webhooks(&document("3.1.0", &media, &inside)).unwrap();
            assert_eq!(found[0].described.content.examples, want, "{media}");
            assert_eq!(found[0].example_paths.len(), want.len(), "{media}");
        }
    }

    #[test]
    fn what_cannot_be_taken_is_named_with_its_place() {
        let ok = json!({"post": {}});
        let large = json!({"description": "x".repeat(SCHEMA_BYTES_MAX)});
        let body = |schema: Value| json!({"post": {"requestBody": {"content": {"application/json": {"schema": schema}}}}});
        let to = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        let schema =
            "document.webhooks[\"a.b\"].post.requestBody.content[\"application/json\"].schema";
        for (hooks, want) in [
            (json!([]), "document.webhooks: must be an object"),
            (
                json!({"order paid": ok}),
                "document.webhooks[\"order paid\"]: must have only",
            ),
            (
                json!({"imports": ok}),
                "document.webhooks.imports: is a path",
            ),
            (
                json!({"a": {"put": {}}}),
                "document.webhooks.a.post: is missing",
            ),
            (
                json!({"a": {"$ref": "#/nowhere"}}),
                "document.webhooks.a.$ref: leads to nothing",
            ),
            (
                json!({"a": {"$ref": "other.yaml"}}),
                "document.webhooks.a.$ref: leads to nothing",
            ),
            (
                json!({"a": {"$ref": "#/webhooks/a"}}),
                "document.webhooks.a.$ref: leads to one",
            ),
            (
                json!({"a": {"post": {"summary": "a\u{0}"}}}),
                "document.webhooks.a.post.summary: must not have control",
            ),
            (
                json!({"a.b": body(to("None"))}),
                &format!("{schema}.$ref: leads to nothing"),
            ),
            (
                json!({"a.b": body(json!({"$ref": "https://a.example/"}))}),
                &format!("{schema}.$ref: must lead to a schema"),
            ),
            (
                json!({"a.b": body(json!({"$id": "https://a.example/"}))}),
                &format!("{schema}.$id: is not taken over"),
            ),
            (
                json!({"a.b": body(to("Large"))}),
                &format!("{schema}.$ref: makes the schema"),
            ),
            (
                json!({"a.b": body(large.clone())}),
                &format!("{schema}: makes the schema"),
            ),
            (
                json!({"a.b": body(json!({"$defs": {"A": {}}, "not": to("A")}))}),
                &format!("{schema}: has a definition of its own"),
            ),
        ] {
            let document = json!({
                "openapi": "3.1.0",
                "webhooks": hooks,
                "components": {"schemas": {"Large": large, "A": true}},
            });
            let faults = webhooks(&document).expect_err(want);
            assert_eq!(faults.len(), 1, "{want}");
            let fault = format!("{}: {}", faults[0].path, faults[0].detail);
            assert!(fault.starts_with(want), "{want}: {fault}");
        }
    }

    #[test]
    fn other_versions_and_dialects_are_refused() {
        for (head, want) in [
            (json!({"openapi": "2.0"}), Some("document.openapi")),
            (json!({"openapi": 3.1}), Some("document.openapi")),
            (json!({"swagger": "2.0"}), Some("document.openapi")),
            (json!({"openapi": "4.0.0"}), Some("document.openapi")),
            (json!([]), Some("document.openapi")),
            (json!({"openapi": "3.0.3"}), Some("document.x-webhooks")),
            (
                json!({"openapi": "3.1.0", "webhooks": {}, "jsonSchemaDialect": "https://a.example/"}),
                Some("document.jsonSchemaDialect"),
            ),
            (
                json!({"openapi": "3.1.1", "webhooks": {},
                       "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base"}),
                None,
            ),
            (json!({"openapi": "3.2.0", "webhooks": {}}), None),
        ] {
            let fault = webhooks(&head)
                .err()
                .map(|mut faults| faults.remove(0).path);
            assert_eq!(fault.as_deref(), want, "{head}");
        }
    }

    #[test]
    fn references_do_not_make_much_of_little() {
        let many: Map<String, Value> = (0..WEBHOOKS_MAX)
            .map(|n| {
                let path_item = json!({"$ref": "#/components/pathItems/P"});
                (format!("a{n}"), path_item)
            })
            .collect();
        for (example_bytes, want) in [
            (EXAMPLE_BYTES_MAX - 2, "import it in parts"),
            (EXAMPLE_BYTES_MAX, "must have at most 65536 bytes"),
        ] {
            let examples: Map<String, Value> = (0..EXAMPLES_MAX)
                .map(|n| (n.to_string(), json!({"$ref": "#/components/examples/E"})))
                .collect();
            let media = json!({"application/json": {"examples": examples}});
            let document = json!({
                "openapi": "3.1.0",
                "webhooks": many,
                "components": {
                    "pathItems": {"P": {"post": {"requestBody": {"content": media}}}},
                    "examples": {"E": {"value": "x".repeat(example_bytes)}},
                },
            });
            let faults = webhooks(&document).unwrap_err();
            assert!(faults.len() <= FAULTS_MAX, "{}", faults.len());
            let last = format!("{:?}", faults.last());
            assert!(last.contains(want), "{last}");
        }
    }
}
