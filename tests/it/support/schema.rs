//! Whether a value is what a schema of the API's document says: as much of
//! JSON Schema as that document uses, and nothing left open.

use serde_json::Value;

/// What is wrong with `value`, each with its place. `document` is where
/// references lead to.
pub(crate) fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(document, schema, value, "", &mut faults);
    faults
}

/// The schema itself, when this only refers to it.
pub(crate) fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.trim_start_matches('#');
            let found = document.pointer(pointer);
            found.unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
        None => schema,
    }
}

fn check(document: &Value, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    let schema = resolve(document, schema);
    let mut fault = |what: String| faults.push(format!("{place}: {what}"));
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = |choice| self::faults(document, choice, value).is_empty();
        if choices.iter().filter(|choice| fits(choice)).count() != 1 {
            fault(format!("{value} is not one of {choices:?}"));
        }
        return;
    }
    if !has_type(&schema["type"], value) {
        fault(format!("{value} is not of type {}", schema["type"]));
        return;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        fault(format!("{value} is none of {words:?}"));
    }
    let size = match value {
        Value::String(text) => text.chars().count() as u64,
        Value::Array(items) => items.len() as u64,
        Value::Number(number) => number.as_u64().unwrap_or_default(),
        _ => 0,
    };
    for (least, most) in [
        ("minLength", "maxLength"),
        ("minItems", "maxItems"),
        ("minimum", "maximum"),
    ] {
        let beyond = schema[most].as_u64().is_some_and(|most| size > most);
        if beyond || schema[least].as_u64().is_some_and(|least| size < least) {
            fault(format!("{value} is beyond {least} or {most}"));
        }
    }
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let place = format!("{place}[{at}]");
                check(document, &schema["items"], item, &place, faults);
            }
        }
        Value::Object(fields) => {
            for required in schema["required"].as_array().into_iter().flatten() {
                let name = required.as_str().expect("a name");
                if !fields.contains_key(name) {
                    faults.push(format!("{place}: {name} is missing"));
                }
            }
            for (name, field) in fields {
                let known = schema["properties"].get(name);
                let known = known.or_else(|| schema.get("additionalProperties"));
                let place = format!("{place}.{name}");
                match known {
                    Some(known) => check(document, known, field, &place, faults),
                    None if schema.get("type").is_none() => {}
                    None => faults.push(format!("{place}: nothing is said of it")),
                }
            }
        }
        _ => {}
    }
}

fn has_type(wanted: &Value, value: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    };
    match wanted {
        Value::Null => true,
        Value::Array(kinds) => kinds.iter().any(is),
        kind => is(kind),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_fit_is_found() {
        let document = json!({"T": {"type": "integer"}});
        let schema = json!({
            "type": "object",
            "required": ["a"],
            "properties": {
                "a": {"$ref": "#/T"},
                "b": {"type": ["string", "null"], "maxLength": 2},
                "c": {"type": "array", "items": {"enum": ["x"]}, "maxItems": 2},
                "d": {"oneOf": [{"type": "null"}, {"$ref": "#/T"}]},
                "e": {},
                "f": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        });
        for (value, want) in [
            (json!({"a": 1}), 0),
            (
                json!({"a": 1, "b": null, "c": ["x"], "d": null, "e": {"z": [1]}, "f": {"y": ""}}),
                0,
            ),
            (json!({}), 1),
            (json!({"a": "1"}), 1),
            (json!({"a": 1, "b": "123"}), 1),
            (json!({"a": 1, "c": ["x", "y", "x"]}), 2),
            (json!({"a": 1, "d": "no"}), 1),
            (json!({"a": 1, "f": {"y": 1}}), 1),
            (json!({"a": 1, "other": 1}), 1),
            (json!([]), 1),
        ] {
            let found = faults(&document, &schema, &value);
            assert_eq!(found.len(), want, "{value}: {found:?}");
        }
    }
}
