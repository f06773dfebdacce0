//! As much of an OpenAPI document as the pages show.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub(super) struct Document {
    pub(super) servers: Vec<Server>,
    /// By path, then by method in lower case.
    pub(super) paths: IndexMap<String, IndexMap<String, Operation>>,
    /// By event type, then by method.
    pub(super) webhooks: IndexMap<String, IndexMap<String, Operation>>,
    pub(super) components: Components,
    pub(super) tags: Vec<Tag>,
}

#[derive(Deserialize)]
pub(super) struct Server {
    pub(super) url: String,
}

#[derive(Deserialize)]
pub(super) struct Components {
    pub(super) schemas: IndexMap<String, Schema>,
    pub(super) responses: IndexMap<String, Response>,
}

#[derive(Deserialize)]
pub(super) struct Tag {
    pub(super) name: String,
    pub(super) description: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(super) struct Operation {
    pub(super) tags: Vec<String>,
    pub(super) summary: String,
    pub(super) description: String,
    #[serde(rename = "operationId")]
    pub(super) id: String,
    pub(super) parameters: Vec<Parameter>,
    pub(super) request_body: Option<Body>,
    /// By status.
    pub(super) responses: BTreeMap<String, Response>,
    pub(super) security: Vec<BTreeMap<String, Vec<String>>>,
    /// Requests that the example needs before it.
    #[serde(rename = "x-before")]
    pub(super) before: Vec<Step>,
}

#[derive(Deserialize)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) r#in: String,
    pub(super) required: bool,
    pub(super) description: String,
    pub(super) schema: Schema,
    #[serde(default)]
    pub(super) example: Value,
}

#[derive(Deserialize)]
pub(super) struct Body {
    pub(super) required: bool,
    pub(super) content: BTreeMap<String, Content>,
}

#[derive(Deserialize)]
pub(super) struct Response {
    #[serde(rename = "$ref")]
    pub(super) reference: Option<String>,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) content: BTreeMap<String, Content>,
}

#[derive(Deserialize)]
pub(super) struct Content {
    pub(super) schema: Schema,
    #[serde(default)]
    pub(super) example: Value,
    #[serde(default)]
    pub(super) examples: IndexMap<String, Example>,
}

#[derive(Deserialize)]
pub(super) struct Example {
    pub(super) summary: String,
}

/// A request before an example, and what is taken from its answer.
#[derive(Deserialize)]
pub(super) struct Step {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Value,
    /// The shell variable that gets the first `field` of the answer, and
    /// stands for the text `replaces` from then on.
    pub(super) variable: Option<String>,
    #[serde(default)]
    pub(super) replaces: String,
    #[serde(default)]
    pub(super) field: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Schema {
    #[serde(rename = "$ref")]
    pub(super) reference: Option<String>,
    pub(super) r#type: Option<Types>,
    pub(super) description: String,
    pub(super) r#enum: Vec<Value>,
    pub(super) required: Vec<String>,
    pub(super) properties: IndexMap<String, Schema>,
    pub(super) additional_properties: Option<Additional>,
    pub(super) items: Option<Box<Schema>>,
    pub(super) one_of: Vec<Schema>,
    pub(super) min_length: Option<u64>,
    pub(super) max_length: Option<u64>,
    pub(super) max_items: Option<u64>,
    pub(super) minimum: Option<u64>,
    pub(super) maximum: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Types {
    One(String),
    Several(Vec<String>),
}

/// What else an object may have.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Additional {
    /// Whether anything at all; never no, in this document.
    Anything(#[expect(dead_code, reason = "it is there to be told from a schema")] bool),
    Of(Box<Schema>),
}

impl Document {
    /// # Panics
    /// When it is no document as this server makes them.
    pub(super) fn parse(json: &[u8]) -> Self {
        serde_json::from_slice(json).expect("the document is of this server")
    }

    /// The schema that `schema` refers to, or itself.
    pub(super) fn resolve<'a>(&'a self, schema: &'a Schema) -> &'a Schema {
        match schema.component() {
            Some(name) => &self.components.schemas[name],
            None => schema,
        }
    }

    /// The response itself, when this refers to a shared one.
    pub(super) fn response<'a>(&'a self, response: &'a Response) -> &'a Response {
        let name = response.reference.as_deref().map(last_segment);
        name.map_or(response, |name| &self.components.responses[name])
    }
}

impl Schema {
    /// The component that this refers to.
    pub(super) fn component(&self) -> Option<&str> {
        self.reference.as_deref().map(last_segment)
    }

    /// Without the choice of null, and whether there was one.
    pub(super) fn not_null(&self) -> (&Self, bool) {
        let real = self.one_of.iter().find(|one| !one.is_null());
        match (real, &self.r#type) {
            (Some(real), _) => (real, self.one_of.iter().any(Self::is_null)),
            (None, Some(Types::Several(types))) => (self, types.iter().any(|one| one == "null")),
            (None, _) => (self, false),
        }
    }

    fn is_null(&self) -> bool {
        self.type_name() == Some("null")
    }

    /// Its type, null aside; `None`: anything.
    pub(super) fn type_name(&self) -> Option<&str> {
        match self.r#type.as_ref()? {
            Types::One(one) => Some(one),
            Types::Several(types) => types.iter().map(String::as_str).find(|one| *one != "null"),
        }
    }
}

fn last_segment(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or_default()
}
