//! What can be said of a JSON Schema by its shape alone: whether every
//! reference stays inside it, and how much work checking a value can be.
//!
//! A schema comes from outside. One of 64 KB can send a validator round in a
//! circle, or make it apply a subschema more often than there is time for;
//! both are found here, before any validator is asked.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};
use url::Url;

/// Subschemas that may apply to one place of a value, those on the way to it
/// included. Also bounds how deep a validator recurses.
pub const APPLICATIONS_MAX: u64 = 5_000;
/// As [`APPLICATIONS_MAX`], times the places of the values to be checked.
pub const WORK_MAX: u64 = 2_000_000;

/// The dialect of a schema that names none.
pub const DIALECT_DEFAULT: &str = "https://json-schema.org/draft/2020-12/schema";
/// The dialects that are understood.
pub const DIALECTS: [&str; 5] = [
    DIALECT_DEFAULT,
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-04/schema",
];

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Such as `schema.properties.id`.
    pub path: String,
    /// The end of a sentence.
    pub detail: String,
}

impl Fault {
    pub fn new(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            detail: detail.into(),
        }
    }
}

/// `path` and the member `name` of what is there: `.name`, or `["odd name"]`.
#[must_use]
pub fn member(path: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_$-".contains(c);
    if !name.is_empty() && name.chars().all(plain) {
        format!("{path}.{name}")
    } else {
        format!("{path}[{}]", Value::from(name))
    }
}

/// `path` and the item at `at` of what is there.
#[must_use]
pub fn item(path: &str, at: usize) -> String {
    format!("{path}[{at}]")
}

/// `path` and what the JSON pointer leads to inside of `value`, which is there.
#[must_use]
pub fn pointed(path: &str, value: &Value, pointer: &str) -> String {
    let (mut path, mut value) = (path.to_owned(), Some(value));
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let list = value.and_then(Value::as_array);
        (path, value) = match (list, step.parse::<usize>()) {
            (Some(list), Ok(at)) => (item(&path, at), list.get(at)),
            _ => (
                member(&path, &step),
                value.and_then(|value| value.get(&step)),
            ),
        };
    }
    path
}

/// The dialect that a schema asks for, as [`DIALECTS`] spells it.
///
/// # Errors
/// When it is none of them.
pub fn dialect(schema: &Value, path: &str) -> Result<&'static str, Fault> {
    let Some(named) = schema.get("$schema") else {
        return Ok(DIALECT_DEFAULT);
    };
    let text = named.as_str().unwrap_or_default();
    known_dialect(text).ok_or_else(|| {
        Fault::new(
            member(path, "$schema"),
            format!("must be one of {}", DIALECTS.join(", ")),
        )
    })
}

/// `text` as [`DIALECTS`] spells it, whatever its scheme and its `#`.
#[must_use]
pub fn known_dialect(text: &str) -> Option<&'static str> {
    let bare = |text: &str| {
        let text = text.strip_suffix('#').unwrap_or(text);
        text.split_once("://").map(|(_, rest)| rest.to_owned())
    };
    let asked = bare(text)?;
    let scheme = text.starts_with("http://") || text.starts_with("https://");
    DIALECTS
        .into_iter()
        .find(|known| scheme && bare(known).as_ref() == Some(&asked))
}

/// Whether drafts before 2019-09 are spoken, where `$ref` hides its siblings.
#[must_use]
pub fn is_legacy(dialect: &str) -> bool {
    dialect.contains("/draft-0")
}

/// Objects, arrays and everything in them, counted; and how deep they go.
#[must_use]
pub fn size(value: &Value) -> (u64, u32) {
    let of = |inside: &mut dyn Iterator<Item = &Value>| {
        inside
            .map(size)
            .fold((1, 0), |(places, depth), (more, deep)| {
                (places + more, depth.max(deep + 1))
            })
    };
    match value {
        Value::Array(items) => of(&mut items.iter()),
        // A name counts too: there are schemas for names.
        Value::Object(members) => {
            let (places, depth) = of(&mut members.values());
            (places + members.len() as u64, depth)
        }
        _ => (1, 0),
    }
}

/// Checks that references of `schema` stay inside it, and that checking
/// `values` against it comes to an end soon. `path` is where the schema is.
///
/// # Errors
/// What is wrong; all references, or else the first of the rest.
pub fn check_shape(schema: &Value, path: &str, values: &[Value]) -> Result<(), Vec<Fault>> {
    let graph = Graph::read(schema, path)?;
    let mut work: u64 = 0;
    let (mut places, mut depth) = (1, 0);
    for value in values {
        let (more, deep) = size(value);
        places += more;
        depth = depth.max(deep);
    }
    if let Some(root) = graph.root {
        let mut cost = Cost {
            graph: &graph,
            known: HashMap::new(),
            open: HashSet::new(),
        };
        let applications = cost.of(root, depth).map_err(|fault| vec![fault])?;
        work = applications.saturating_mul(places);
    }
    if work > WORK_MAX {
        let detail = "is too much work to check these examples against; make it or them simpler";
        return Err(vec![Fault::new(path, detail)]);
    }
    Ok(())
}

/// How a keyword holds subschemas, and to what they apply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// One, or several in a list, for the same value.
    Here,
    /// Several by name, for the same value.
    HereNamed,
    /// One, or several in a list, for whatever is in the value.
    Below,
    /// Several by name, for whatever is in the value.
    BelowNamed,
    /// One each for members of that name: a member gets one of them.
    Members,
    /// In a list, one each for items in order: an item gets one of them.
    Items,
    /// Several by name, that apply only where a reference says so.
    Aside,
}

fn holds(keyword: &str, value: &Value) -> Option<Holds> {
    Some(match keyword {
        "allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else" => Holds::Here,
        "dependentSchemas" | "dependencies" => Holds::HereNamed,
        "items" if value.is_array() => Holds::Items,
        "prefixItems" => Holds::Items,
        "items"
        | "additionalItems"
        | "unevaluatedItems"
        | "contains"
        | "propertyNames"
        | "additionalProperties"
        | "unevaluatedProperties"
        | "contentSchema" => Holds::Below,
        "patternProperties" => Holds::BelowNamed,
        "properties" => Holds::Members,
        "$defs" | "definitions" => Holds::Aside,
        _ => return None,
    })
}

/// The subschemas that a keyword holds, with their paths.
fn held<'a>(kind: Holds, value: &'a Value, path: &str) -> Vec<(&'a Value, String)> {
    match (kind, value) {
        (
            Holds::HereNamed | Holds::BelowNamed | Holds::Members | Holds::Aside,
            Value::Object(named),
        ) => named
            .iter()
            .map(|(name, value)| (value, member(path, name)))
            .collect(),
        (_, Value::Array(list)) => list
            .iter()
            .enumerate()
            .map(|(at, value)| (value, item(path, at)))
            .collect(),
        (Holds::Here | Holds::Below, value) => vec![(value, path.to_owned())],
        _ => Vec::new(),
    }
}

/// A subschema and where it leads.
#[derive(Default)]
struct Node {
    path: String,
    /// Applied to the same value.
    here: Vec<usize>,
    /// Applied to what is in the value, each possibly to all of it.
    below: Vec<usize>,
    /// Applied to what is in the value, to each member or item one of them.
    one_below: Vec<usize>,
}

/// A reference that is still to be followed.
struct Reference<'a> {
    from: usize,
    base: Url,
    text: &'a str,
    path: String,
    /// It may lead to any dynamic anchor of its name, too.
    dynamic: bool,
}

/// All subschemas that can apply. Those that are `true` or `false` lead
/// nowhere and are left out.
#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    root: Option<usize>,
}

/// Reads a schema into a [`Graph`].
struct Reader<'a> {
    graph: Graph,
    dialect: &'static str,
    by_address: HashMap<usize, usize>,
    /// By URL without fragment.
    resources: BTreeMap<String, &'a Value>,
    anchors: BTreeMap<(String, String), &'a Value>,
    dynamic_anchors: BTreeMap<String, Vec<&'a Value>>,
    references: Vec<Reference<'a>>,
    faults: Vec<Fault>,
}

/// What a schema without an `$id` is called.
const BASE: &str = "https://schema.invalid/";

fn address(map: &Map<String, Value>) -> usize {
    std::ptr::from_ref(map).addr()
}

fn without_fragment(url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    url.into()
}

/// A fragment without its escapes; as it is when they spell no text.
fn unescaped(fragment: &str) -> String {
    let bytes = fragment.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = fragment.get(at + 1..at + 3);
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if bytes[at] == b'%' => {
                plain.push(byte);
                at += 3;
            }
            _ => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).unwrap_or_else(|_| fragment.to_owned())
}

impl Graph {
    fn read(schema: &Value, path: &str) -> Result<Self, Vec<Fault>> {
        let dialect = dialect(schema, path).map_err(|fault| vec![fault])?;
        let base = Url::parse(BASE).expect("a constant URL");
        let mut reader = Reader {
            graph: Self::default(),
            dialect,
            by_address: HashMap::new(),
            resources: BTreeMap::from([(BASE.to_owned(), schema)]),
            anchors: BTreeMap::new(),
            dynamic_anchors: BTreeMap::new(),
            references: Vec::new(),
            faults: Vec::new(),
        };
        reader.graph.root = reader.node(schema, path, &base);
        // Following one may find more.
        while let Some(reference) = reader.references.pop() {
            reader.follow(&reference);
        }
        if reader.faults.is_empty() {
            Ok(reader.graph)
        } else {
            reader.faults.sort_by(|a, b| a.path.cmp(&b.path));
            Err(reader.faults)
        }
    }
}

impl<'a> Reader<'a> {
    fn wrong(&mut self, path: String, detail: impl Into<String>) {
        self.faults.push(Fault::new(path, detail));
    }

    /// The node of a subschema, read if it is new. `None` for one that leads
    /// nowhere.
    fn node(&mut self, value: &'a Value, path: &str, base: &Url) -> Option<usize> {
        let map = value.as_object()?;
        if let Some(&known) = self.by_address.get(&address(map)) {
            return Some(known);
        }
        let at = self.graph.nodes.len();
        self.by_address.insert(address(map), at);
        self.graph.nodes.push(Node {
            path: path.to_owned(),
            ..Node::default()
        });
        let base = self.identify(value, map, path, base);
        self.note_references(at, map, path, &base);
        for (keyword, inside) in map {
            let Some(kind) = holds(keyword, inside) else {
                continue;
            };
            for (schema, path) in held(kind, inside, &member(path, keyword)) {
                let Some(found) = self.node(schema, &path, &base) else {
                    continue;
                };
                let node = &mut self.graph.nodes[at];
                match kind {
                    Holds::Here | Holds::HereNamed => node.here.push(found),
                    Holds::Below | Holds::BelowNamed => node.below.push(found),
                    Holds::Members | Holds::Items => node.one_below.push(found),
                    Holds::Aside => {}
                }
            }
        }
        Some(at)
    }

    /// Notes the names by which a subschema can be referred to. Gives the base
    /// of the references inside.
    fn identify(
        &mut self,
        value: &'a Value,
        map: &'a Map<String, Value>,
        path: &str,
        base: &Url,
    ) -> Url {
        let text = |name: &str| map.get(name).and_then(Value::as_str);
        if text("$schema").is_some_and(|named| known_dialect(named) != Some(self.dialect)) {
            let detail = format!("must be the same all through the schema, {}", self.dialect);
            self.wrong(member(path, "$schema"), detail);
        }
        let id_name = if self.dialect.contains("/draft-04/") {
            "id"
        } else {
            "$id"
        };
        let mut own = base.clone();
        if let Some(id) = text(id_name) {
            if let Some(anchor) = id.strip_prefix('#') {
                let anchor = (without_fragment(base), anchor.to_owned());
                self.anchors.insert(anchor, value);
            } else if let Ok(joined) = base.join(id) {
                own = joined;
                own.set_fragment(None);
                self.resources
                    .entry(own.as_str().to_owned())
                    .or_insert(value);
            } else {
                self.wrong(member(path, id_name), "is not a reference to a URI");
            }
        }
        for name in ["$anchor", "$dynamicAnchor"] {
            if let Some(anchor) = text(name) {
                let anchor = (without_fragment(&own), anchor.to_owned());
                self.anchors.insert(anchor, value);
            }
        }
        if let Some(anchor) = text("$dynamicAnchor") {
            self.dynamic_anchors
                .entry(anchor.to_owned())
                .or_default()
                .push(value);
        }
        if map.get("$recursiveAnchor") == Some(&Value::Bool(true)) {
            self.dynamic_anchors
                .entry(String::new())
                .or_default()
                .push(value);
        }
        own
    }

    fn note_references(
        &mut self,
        from: usize,
        map: &'a Map<String, Value>,
        path: &str,
        base: &Url,
    ) {
        for name in ["$ref", "$dynamicRef", "$recursiveRef"] {
            if let Some(text) = map.get(name).and_then(Value::as_str) {
                self.references.push(Reference {
                    from,
                    base: base.clone(),
                    text,
                    path: member(path, name),
                    dynamic: name != "$ref",
                });
            }
        }
    }

    fn follow(&mut self, reference: &Reference<'a>) {
        let Ok(url) = reference.base.join(reference.text) else {
            return self.wrong(reference.path.clone(), "is not a reference to a URI");
        };
        let resource = without_fragment(&url);
        let fragment = unescaped(url.fragment().unwrap_or_default());
        let Some(&root) = self.resources.get(&resource) else {
            let detail = "leads outside of the schema, and nothing is fetched; put what it leads to under $defs";
            return self.wrong(reference.path.clone(), detail);
        };
        let target = if fragment.is_empty() || fragment.starts_with('/') {
            root.pointer(&fragment)
        } else {
            self.anchors.get(&(resource, fragment.clone())).copied()
        };
        let Some(target) = target else {
            return self.wrong(reference.path.clone(), "leads to nothing in the schema");
        };
        let mut targets = vec![target];
        if reference.dynamic {
            targets.extend(self.dynamic_anchors.get(&fragment).into_iter().flatten());
        }
        let base = Url::parse(&without_fragment(&url)).expect("it was one before");
        for target in targets {
            // What is new here is in a place where no keyword holds it.
            if let Some(found) = self.node(target, &reference.path, &base)
                && !self.graph.nodes[reference.from].here.contains(&found)
            {
                self.graph.nodes[reference.from].here.push(found);
            }
        }
    }
}

/// Counts how many subschemas can apply.
struct Cost<'a> {
    graph: &'a Graph,
    /// By node, and how deep the value still goes.
    known: HashMap<(usize, u32), u64>,
    /// Being counted now.
    open: HashSet<(usize, u32)>,
}

impl Cost<'_> {
    /// Subschemas that can apply, from this one on, to any one place of a value
    /// that goes `depth` deep.
    fn of(&mut self, at: usize, depth: u32) -> Result<u64, Fault> {
        if let Some(&known) = self.known.get(&(at, depth)) {
            return Ok(known);
        }
        let node = &self.graph.nodes[at];
        if !self.open.insert((at, depth)) {
            let detail = "comes back to itself without going any deeper into the value";
            return Err(Fault::new(node.path.clone(), detail));
        }
        // Each open one counts one at least, so that this goes no deeper either.
        let too_much = |node: &Node| {
            let detail = "is applied too often for one value; make the schema simpler";
            Fault::new(node.path.clone(), detail)
        };
        if self.open.len() as u64 > APPLICATIONS_MAX {
            return Err(too_much(node));
        }
        let mut count: u64 = 1;
        for &inside in &node.here {
            count = count.saturating_add(self.of(inside, depth)?);
        }
        if let Some(depth) = depth.checked_sub(1) {
            for &inside in &node.below {
                count = count.saturating_add(self.of(inside, depth)?);
            }
            let mut most = 0;
            for &inside in &node.one_below {
                most = most.max(self.of(inside, depth)?);
            }
            count = count.saturating_add(most);
        }
        if count > APPLICATIONS_MAX {
            return Err(too_much(node));
        }
        self.open.remove(&(at, depth));
        self.known.insert((at, depth), count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The faults of `schema` for `value`, each as "path: detail".
    fn faults(schema: &Value, value: Value) -> Vec<String> {
        let shape = check_shape(schema, "schema", &[value]);
        let faults = shape.err().unwrap_or_default().into_iter();
        faults
            .map(|fault| format!("{}: {}", fault.path, fault.detail))
            .collect()
    }

    #[test]
    fn references_inside_of_a_schema_are_found_by_every_name() {
        for schema in [
            json!(true),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}),
            json!({"properties": {"x": {"$ref": "#"}}}),
            json!({"$ref": "#/$defs/a%20b", "$defs": {"a b": true}}),
            json!({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {}}}),
            json!({"$ref": "#here", "$defs": {"a": {"$anchor": "here"}}}),
            json!({"$id": "https://a.example/s", "$ref": "other#x",
                   "$defs": {"o": {"$id": "other", "$defs": {"y": {"$anchor": "x"}}}}}),
            json!({"$id": "urn:example:s", "$ref": "#/$defs/a", "$defs": {"a": {}}}),
            json!({"$schema": "http://json-schema.org/draft-07/schema#",
                   "$ref": "#/definitions/a", "definitions": {"a": {"$id": "#a"}}}),
            json!({"$schema": "http://json-schema.org/draft-04/schema", "id": "http://a.example/",
                   "$ref": "http://a.example/#/definitions/a", "definitions": {"a": {}}}),
            json!({"$ref": "#/elsewhere/a", "elsewhere": {"a": {"$ref": "#/elsewhere/b"}, "b": {}}}),
            json!({"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}}),
            json!({"enum": [{"$ref": "https://not.a.reference/"}]}),
        ] {
            assert_eq!(faults(&schema, json!({})), [""; 0], "{schema}");
        }
    }

    #[test]
    fn references_that_lead_outside_or_nowhere_are_named() {
        for (schema, want) in [
            (
                json!({"$ref": "https://a.example/s"}),
                "schema.$ref: leads outside",
            ),
            (json!({"$ref": "other.json"}), "schema.$ref: leads outside"),
            (
                json!({"$ref": "file:///etc/passwd"}),
                "schema.$ref: leads outside",
            ),
            (
                json!({"$ref": DIALECT_DEFAULT}),
                "schema.$ref: leads outside",
            ),
            (
                json!({"$ref": "#/$defs/a"}),
                "schema.$ref: leads to nothing",
            ),
            (json!({"$ref": "#a"}), "schema.$ref: leads to nothing"),
            (
                json!({"properties": {"a b": {"items": [{}, {"$ref": "#/x"}]}}}),
                "schema.properties[\"a b\"].items[1].$ref: leads to nothing",
            ),
            (
                json!({"$defs": {"never": {"$dynamicRef": "x#y"}}}),
                "schema.$defs.never.$dynamicRef: leads outside",
            ),
            (
                json!({"$id": "http://[", "type": "string"}),
                "schema.$id: is not a reference",
            ),
            (
                json!({"$schema": "https://a.example/"}),
                "schema.$schema: must be one of",
            ),
            (json!({"$schema": 7}), "schema.$schema: must be one of"),
            (
                json!({"not": {"$schema": "http://json-schema.org/draft-07/schema#"}}),
                "schema.not.$schema: must be the same",
            ),
        ] {
            let found = faults(&schema, json!({}));
            assert_eq!(found.len(), 1, "{schema}: {found:?}");
            assert!(found[0].starts_with(want), "{schema}: {found:?}");
        }
    }

    /// `depth` arrays around nothing.
    fn nested(depth: usize) -> Value {
        (0..depth).fold(json!([]), |inside, _| json!([inside]))
    }

    /// `$defs` a0 to a`n`, each made of the next by `each`.
    fn chain(n: usize, each: impl Fn(String) -> Value) -> Value {
        let mut defs = Map::new();
        for at in 0..n {
            defs.insert(format!("a{at}"), each(format!("#/$defs/a{}", at + 1)));
        }
        defs.insert(format!("a{n}"), json!({"type": "string"}));
        json!({"$ref": "#/$defs/a0", "$defs": defs})
    }

    #[test]
    fn what_would_take_too_long_is_found_without_trying() {
        let twice = |next: String| json!({"allOf": [{"$ref": next}, {"$ref": next}]});
        let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}});
        let list = json!({"items": {"$ref": "#"}});
        let doubling = json!({"allOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]});
        let wide: Vec<Value> = (0..1000).map(|n| json!({"const": n})).collect();
        for (schema, value, want) in [
            (list.clone(), nested(60), None),
            (tree, json!({"left": {"right": {"left": {}}}}), None),
            (chain(10, twice), json!(1), None),
            (chain(60, twice), json!(1), Some("too often")),
            (chain(2000, |next| json!({"$ref": next})), json!(1), None),
            (doubling.clone(), nested(5), None),
            (doubling, nested(60), Some("too often")),
            (json!({"$ref": "#"}), json!(1), Some("comes back to itself")),
            (
                json!({"anyOf": [{"type": "string"}, {"not": {"$ref": "#"}}]}),
                json!(1),
                Some("comes back to itself"),
            ),
            (
                json!({"properties": {"a": {"$ref": "#/properties/a"}}}),
                json!({"a": 1}),
                Some("comes back to itself"),
            ),
            (
                json!({"$dynamicAnchor": "n", "allOf": [{"$dynamicRef": "#n"}]}),
                json!(1),
                Some("comes back to itself"),
            ),
            (json!({"items": {"oneOf": wide}}), json!([1, 2, 3]), None),
            (
                json!({"items": {"oneOf": wide}}),
                json!(vec![0; 3000]),
                Some("too much work"),
            ),
        ] {
            let found = faults(&schema, value);
            let fits = match want {
                Some(want) => found.len() == 1 && found[0].contains(want),
                None => found.is_empty(),
            };
            assert!(fits, "{want:?}: {found:?}");
        }
    }

    #[test]
    fn a_place_is_written_as_a_reader_would() {
        let value = json!({"a": [{"b c": 1, "0": [2]}], "x/y~": 3});
        for (pointer, want) in [
            ("", "p"),
            ("/a", "p.a"),
            ("/a/0/b c", "p.a[0][\"b c\"]"),
            ("/a/0/0/0", "p.a[0].0[0]"),
            ("/x~1y~0", "p[\"x/y~\"]"),
            ("/gone/1", "p.gone.1"),
        ] {
            assert_eq!(pointed("p", &value, pointer), want, "{pointer}");
        }
    }
}
