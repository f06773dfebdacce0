//! JSON Schemas and what is to fit them, checked by a validator.
//!
//! Both come from outside, so a schema's shape is judged first
//! (`domain/json_schema.rs`): what gets here stays in itself and comes to an
//! end. Checking recurses as deep as schema and value go together, so it has a
//! thread of its own, with room for that.

use std::sync::LazyLock;
use std::time::Duration;

use corvus_json_schema::{
    CompileOptions, JsonSchemaResultsCollector, ResultsLevel, SchemaEvaluationError, Validator,
};
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};

use super::FieldError;
use crate::domain::event_type::{EXAMPLE_BYTES_MAX, SCHEMA_BYTES_MAX};
use crate::domain::json_schema::{DIALECTS, Fault, check_shape, dialect, pointed};
use crate::store::StoreError;

/// Bytes of stack: twice what the deepest schema that is let through takes in
/// a build without optimisation. Only what is used is ever backed by memory.
const STACK_BYTES: usize = 256 << 20;
/// Checks that run at once; others wait.
const CHECKS_MAX: usize = 2;
/// Time for one pattern and one text. A pattern that needs longer is refused.
const MATCH_MAX: Duration = Duration::from_millis(10);
/// What is told about one value, and about one request.
const FAULTS_OF_ONE_MAX: usize = 5;
pub(super) const FAULTS_MAX: usize = 100;

/// A schema, what is to fit it, and where they were given.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) schema_path: String,
    pub(super) schema: Option<String>,
    /// With their paths.
    pub(super) examples: Vec<(String, String)>,
}

impl From<Fault> for FieldError {
    fn from(fault: Fault) -> Self {
        Self::new(fault.path, fault.detail)
    }
}

/// What `work` gives, done on a thread with room to recurse.
///
/// # Errors
/// When there is no such thread, or `work` panicked in it.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    static TURNS: Semaphore = Semaphore::const_new(CHECKS_MAX);
    let turn = TURNS.acquire().await.expect("it is never closed");
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("schemas".to_owned())
        .stack_size(STACK_BYTES);
    let unavailable =
        |why: &str| StoreError::Unavailable(format!("schemas are not checked: {why}"));
    thread
        .spawn(move || {
            // Whoever asked may be gone; the turn ends with the work all the same.
            let _turn = turn;
            let _ = sender.send(work());
        })
        .map_err(|error| unavailable(&error.to_string()))?;
    receiver
        .await
        .map_err(|_| unavailable("the check broke off"))
}

/// What is wrong with `subject`, the first hundred things at most.
pub(super) fn check(subject: &Subject) -> Vec<Fault> {
    let mut faults = match checked(subject) {
        Ok(()) => Vec::new(),
        Err(faults) => faults,
    };
    faults.truncate(FAULTS_MAX);
    faults
}

fn checked(subject: &Subject) -> Result<(), Vec<Fault>> {
    let mut faults = Vec::new();
    let mut examples = Vec::with_capacity(subject.examples.len());
    for (path, text) in &subject.examples {
        if text.len() > EXAMPLE_BYTES_MAX {
            let detail = format!("must have at most {EXAMPLE_BYTES_MAX} bytes");
            faults.push(Fault::new(path, detail));
        }
        match parsed(text, path) {
            Ok(Value::Null) => {
                faults.push(Fault::new(
                    path,
                    "must not be null: a message has a payload",
                ));
            }
            Ok(value) => examples.push(value),
            Err(fault) => faults.push(fault),
        }
    }
    let Some(text) = &subject.schema else {
        return if faults.is_empty() {
            Ok(())
        } else {
            Err(faults)
        };
    };
    let path = subject.schema_path.as_str();
    if text.len() > SCHEMA_BYTES_MAX {
        let detail = format!("must have at most {SCHEMA_BYTES_MAX} bytes");
        faults.push(Fault::new(path, detail));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let schema = parsed(text, path).map_err(|fault| vec![fault])?;
    if !schema.is_object() && !schema.is_boolean() {
        return Err(vec![Fault::new(
            path,
            "must be a JSON Schema: an object, or true or false",
        )]);
    }
    check_against_dialect(&schema, path)?;
    check_shape(&schema, path, &examples)?;
    let validator = corvus_json_schema::compile_with(&schema, &options())
        .map_err(|error| vec![Fault::new(path, end_of_sentence(error.message()))])?;
    for (value, (path, _)) in examples.iter().zip(&subject.examples) {
        faults.extend(misfits(&validator, value, path));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

fn parsed(text: &str, path: &str) -> Result<Value, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::new(path, format!("is not JSON: {error}")))
}

fn options() -> CompileOptions {
    CompileOptions {
        pattern_match_limit: Some(MATCH_MAX),
        resolve_document: None,
        ..CompileOptions::default()
    }
}

/// The schema of schemas of each dialect.
static OF_DIALECTS: LazyLock<Vec<(&str, Validator)>> = LazyLock::new(|| {
    let compiled = DIALECTS.into_iter().map(|dialect| {
        let validator = corvus_json_schema::compile_from_uri(dialect, &options());
        (
            dialect,
            validator.expect("the validator brings this schema along"),
        )
    });
    compiled.collect()
});

fn check_against_dialect(schema: &Value, path: &str) -> Result<(), Vec<Fault>> {
    let asked = dialect(schema, path).map_err(|fault| vec![fault])?;
    let known = OF_DIALECTS.iter().find(|(dialect, _)| *dialect == asked);
    let (_, validator) = known.expect("every dialect has its schema");
    let faults = misfits(validator, schema, path);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

/// Where and why `value` does not fit, the first few places.
fn misfits(validator: &Validator, value: &Value, path: &str) -> Vec<Fault> {
    match validator.try_validate(value) {
        Ok(true) => return Vec::new(),
        Ok(false) => {}
        Err(error) => return vec![Fault::new(path, unanswered(&error))],
    }
    let mut collector = JsonSchemaResultsCollector::new(ResultsLevel::Detailed);
    if let Err(error) = validator.try_evaluate(value, &mut collector) {
        return vec![Fault::new(path, unanswered(&error))];
    }
    let mut faults: Vec<Fault> = Vec::new();
    let results = collector.take_results();
    for result in results.iter().filter(|result| !result.is_match) {
        let Some(detail) = reason(&result.message) else {
            continue;
        };
        let fault = Fault::new(
            pointed(path, value, &result.document_evaluation_location),
            detail,
        );
        if !faults.contains(&fault) {
            faults.push(fault);
        }
        if faults.len() == FAULTS_OF_ONE_MAX {
            break;
        }
    }
    if faults.is_empty() {
        faults.push(Fault::new(path, "does not fit the schema"));
    }
    faults
}

/// A validator's message as the end of a sentence; `None` when it only says
/// that something inside of a value does not fit.
fn reason(message: &str) -> Option<String> {
    if message.is_empty() || message.contains("match the subschema") {
        return None;
    }
    if message.starts_with("Required property not present") {
        return Some("is missing".to_owned());
    }
    let detail = message.strip_prefix("The value ").unwrap_or(message);
    Some(end_of_sentence(detail))
}

fn unanswered(error: &SchemaEvaluationError) -> String {
    match error {
        SchemaEvaluationError::PatternMatchLimit(_) => {
            "cannot be checked in time: a pattern of the schema takes too long; make it simpler"
                .to_owned()
        }
        other => format!("cannot be checked: {other}"),
    }
}

/// A validator's sentence without its full stop.
fn end_of_sentence(message: &str) -> String {
    message.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn subject(schema: &Value, example: &Value) -> Subject {
        Subject {
            schema_path: "schema".to_owned(),
            schema: Some(schema.to_string()),
            examples: vec![("examples[0]".to_owned(), example.to_string())],
        }
    }

    /// The faults on a thread as [`apart`] has it, each as "path: detail".
    fn faults(schema: &Value, example: &Value) -> Vec<String> {
        let subject = subject(schema, example);
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let found = thread
            .spawn(move || check(&subject))
            .unwrap()
            .join()
            .unwrap();
        found
            .into_iter()
            .map(|fault| format!("{}: {}", fault.path, fault.detail))
            .collect()
    }

    #[test]
    fn every_dialect_is_spoken_as_it_is_written() {
        let draft = |n: u32, keywords: Value| {
            let mut schema = keywords;
            schema["$schema"] = format!("http://json-schema.org/draft-0{n}/schema#").into();
            schema
        };
        let of_2019 = "https://json-schema.org/draft/2019-09/schema";
        for (schema, fits, misfits) in [
            (
                json!({"prefixItems": [{"type": "string"}]}),
                json!(["a"]),
                json!([1]),
            ),
            (
                json!({"$dynamicRef": "#a", "$defs": {"x": {"$dynamicAnchor": "a", "type": "null"}}}),
                json!(null),
                json!(1),
            ),
            (
                json!({"$schema": of_2019, "items": [{"type": "string"}]}),
                json!(["a"]),
                json!([1]),
            ),
            (
                json!({"$schema": of_2019, "dependentRequired": {"a": ["b"]}}),
                json!({}),
                json!({"a": 1}),
            ),
            (
                draft(7, json!({"if": {"minimum": 5}, "then": {"maximum": 9}})),
                json!(4),
                json!(10),
            ),
            (
                draft(6, json!({"propertyNames": {"maxLength": 1}})),
                json!({"a": 1}),
                json!({"ab": 1}),
            ),
            (draft(6, json!({"exclusiveMinimum": 3})), json!(4), json!(3)),
            (
                draft(4, json!({"minimum": 3, "exclusiveMinimum": true})),
                json!(4),
                json!(3),
            ),
            (
                draft(
                    4,
                    json!({"$ref": "#/definitions/a", "definitions": {"a": {"enum": [1]}}}),
                ),
                json!(1),
                json!(2),
            ),
            (
                json!({"pattern": "^\\p{Lu}(?=x)"}),
                json!("Äx"),
                json!("äx"),
            ),
            (
                json!({"unevaluatedProperties": false, "allOf": [{"properties": {"a": true}}]}),
                json!({"a": 1}),
                json!({"b": 1}),
            ),
            (json!(true), json!(1), Value::Null),
        ] {
            if !fits.is_null() {
                assert_eq!(faults(&schema, &fits), [""; 0], "{schema} {fits}");
            }
            assert_ne!(faults(&schema, &misfits), [""; 0], "{schema} {misfits}");
        }
    }

    #[test]
    fn what_is_no_schema_is_named_with_its_place() {
        for (schema, path) in [
            (json!([]), "schema"),
            (json!("string"), "schema"),
            (json!({"type": "text"}), "schema.type"),
            (
                json!({"properties": {"a b": {"minLength": -1}}}),
                "schema.properties[\"a b\"].minLength",
            ),
            (json!({"required": ["a", 7]}), "schema.required[1]"),
            (json!({"exclusiveMinimum": true}), "schema.exclusiveMinimum"),
            (json!({"pattern": "("}), "schema"),
            (
                json!({"$schema": "http://json-schema.org/draft-04/schema#", "exclusiveMinimum": 3}),
                "schema.exclusiveMinimum",
            ),
        ] {
            let found = faults(&schema, &json!(1));
            assert!(!found.is_empty(), "{schema}");
            let of_path = |fault: &String| fault.starts_with(&format!("{path}: "));
            assert!(found.iter().any(of_path), "{schema}: {found:?}");
        }
    }

    #[test]
    fn an_example_that_does_not_fit_is_named_with_place_and_reason() {
        let schema = json!({
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": {"type": "string"},
                "lines": {"items": {"properties": {"count": {"type": "integer", "minimum": 1}}}},
            },
        });
        for (example, path) in [
            (json!([]), "examples[0]"),
            (json!({}), "examples[0].id"),
            (json!({"id": 7}), "examples[0].id"),
            (
                json!({"id": "a", "lines": [{}, {"count": 0}]}),
                "examples[0].lines[1].count",
            ),
            (
                json!({"id": "a", "lines": [{"count": "1"}]}),
                "examples[0].lines[0].count",
            ),
        ] {
            let found = faults(&schema, &example);
            assert_eq!(found.len(), 1, "{example}: {found:?}");
            assert!(found[0].starts_with(&format!("{path}: ")), "{found:?}");
        }
        assert_eq!(
            faults(&schema, &json!({"id": "a", "lines": [{"count": 1}]})),
            [""; 0]
        );
        assert!(faults(&json!({}), &Value::Null)[0].contains("must not be null"));
    }

    /// `n` references one after the other, then an array of the first.
    fn ladder(n: usize) -> Value {
        let mut defs = serde_json::Map::new();
        for at in 0..n {
            let next = json!({"$ref": format!("#/$defs/a{}", at + 1)});
            defs.insert(format!("a{at}"), next);
        }
        defs.insert(format!("a{n}"), json!({"items": {"$ref": "#/$defs/a0"}}));
        json!({"$ref": "#/$defs/a0", "$defs": defs})
    }

    #[test]
    fn the_deepest_schema_that_is_let_through_has_room() {
        let nested = |depth: usize| (0..depth).fold(json!([]), |inside, _| json!([inside]));
        assert_eq!(faults(&ladder(75), &nested(62)), [""; 0]);
        assert_eq!(faults(&ladder(1800), &nested(1)), [""; 0]);
        let deep = (0..60).fold(json!({}), |inside, _| json!({"not": inside}));
        assert_eq!(faults(&deep, &json!(1)), [""; 0]);
        let refused = faults(&ladder(1000), &nested(62));
        assert!(refused[0].contains("too often"), "{refused:?}");
    }

    #[test]
    fn a_pattern_that_takes_too_long_is_given_up() {
        let schema = json!({"pattern": "^(?:(a+)\\1*)+$"});
        let found = faults(&schema, &json!(format!("{}b", "a".repeat(60))));
        assert!(found[0].contains("takes too long"), "{found:?}");
    }

    #[tokio::test]
    async fn a_check_that_panics_breaks_off_and_frees_its_turn() {
        for _ in 0..=CHECKS_MAX {
            let broken = apart(|| panic!("on purpose")).await;
            assert!(matches!(broken, Err::<(), _>(StoreError::Unavailable(_))));
        }
        assert_eq!(apart(|| 7).await.unwrap(), 7);
    }
}
