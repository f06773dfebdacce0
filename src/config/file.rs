//! The settings file: flat TOML, every key a setting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::Problem;
use super::sources::Origin;
use super::{Place, SETTINGS, Setting, Shape};

/// Letters that may differ for a key to be offered in place of an unknown one.
const TYPOS_MAX: usize = 2;
/// Letters of a key that is compared with the known ones.
const COMPARED_CHARS_MAX: usize = 40;

/// What the file says, as the text a flag would have; empty without a file.
#[derive(Default)]
pub(super) struct SettingsFile {
    values: BTreeMap<String, Entry>,
}

struct Entry {
    text: String,
    origin: Origin,
}

impl SettingsFile {
    /// Takes what it can use, and says what is wrong with the rest.
    pub(super) fn parse(path: &Path, text: &str) -> (Self, Vec<Problem>) {
        let mut file = Self::default();
        let lines = Lines { path, text };
        let table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            Err(error) => return (file, vec![syntax(&lines, &error)]),
        };
        let mut problems = Vec::new();
        for (key, value) in table {
            let origin = lines.origin(key.span().start);
            match entry(key.get_ref(), value.get_ref(), &origin) {
                Ok(text) => {
                    let entry = Entry { text, origin };
                    file.values.insert(key.into_inner().into_owned(), entry);
                }
                Err(problem) => problems.push((key.span().start, problem)),
            }
        }
        problems.sort_by_key(|(offset, _)| *offset);
        (
            file,
            problems.into_iter().map(|(_, problem)| problem).collect(),
        )
    }

    /// The value of a key, and where it stands.
    pub(super) fn get(&self, key: &str) -> Option<(String, Origin)> {
        self.values
            .get(key)
            .map(|entry| (entry.text.clone(), entry.origin.clone()))
    }
}

struct Lines<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Lines<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        Origin::File {
            path: PathBuf::from(self.path),
            line: 1 + before.matches('\n').count(),
        }
    }
}

/// Not the error's own `Display`: that repeats the line, which may hold a secret.
fn syntax(lines: &Lines<'_>, error: &toml::de::Error) -> Problem {
    Problem::Syntax {
        origin: lines.origin(error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    }
}

fn entry(key: &str, value: &DeValue<'_>, origin: &Origin) -> Result<String, Problem> {
    let shape = shape_of(key).ok_or_else(|| Problem::UnknownKey {
        key: key.to_owned(),
        origin: origin.clone(),
        remedy: unknown_key_remedy(key),
    })?;
    text_of(shape, value).ok_or_else(|| Problem::WrongType {
        key: key.to_owned(),
        origin: origin.clone(),
        found: type_name(value),
        remedy: type_remedy(shape),
    })
}

fn shape_of(key: &str) -> Option<Shape> {
    match Setting::named(key) {
        Some(setting) => setting.is_taken_from(Place::File).then_some(setting.shape),
        None => SETTINGS
            .iter()
            .any(|setting| setting.file_key().as_deref() == Some(key))
            .then_some(Shape::Text("FILE")),
    }
}

fn text_of(shape: Shape, value: &DeValue<'_>) -> Option<String> {
    match (shape, value) {
        (Shape::Text(_) | Shape::Secret | Shape::Size | Shape::List(_), DeValue::String(text)) => {
            Some(text.clone().into_owned())
        }
        (Shape::Switch, DeValue::Boolean(on)) => Some(on.to_string()),
        (Shape::Number | Shape::Size, DeValue::Integer(number)) if number.radix() == 10 => {
            Some(number.as_str().to_owned())
        }
        (Shape::List(_), DeValue::Array(parts)) if parts.is_empty() => Some("none".to_owned()),
        (Shape::List(_), DeValue::Array(parts)) => {
            let parts: Option<Vec<&str>> =
                parts.iter().map(|part| part.get_ref().as_str()).collect();
            Some(parts?.join(","))
        }
        _ => None,
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(number) if number.radix() == 10 => "a number",
        DeValue::Integer(_) => "a number that is not decimal",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(parts) if parts.iter().any(|part| !part.get_ref().is_str()) => {
            "an array with something else than texts"
        }
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn type_remedy(shape: Shape) -> &'static str {
    match shape {
        Shape::Text(_) | Shape::Secret => "write a text in quotes",
        Shape::Switch => "write true or false, without quotes",
        Shape::Number => "write a whole number, without quotes",
        Shape::Size => "write a size in quotes, such as \"64MB\", or a number of bytes",
        Shape::List(_) => "write an array of texts, such as [\"...\", \"...\"]",
    }
}

fn unknown_key_remedy(key: &str) -> String {
    match key {
        "config" => return "it names the file itself: use --config or HOOKPOST_CONFIG".to_owned(),
        "dev" => return "it is a flag only: hookpost serve --dev".to_owned(),
        _ => {}
    }
    match nearest(key) {
        Some(name) => format!("did you mean {name}?"),
        None => "remove it; `hookpost config print --defaults` shows all there are".to_owned(),
    }
}

fn nearest(key: &str) -> Option<&'static str> {
    let key: Vec<char> = key
        .to_lowercase()
        .trim_start_matches("hookpost_")
        .replace('-', "_")
        .chars()
        .take(COMPARED_CHARS_MAX)
        .collect();
    SETTINGS
        .iter()
        .filter(|setting| setting.is_taken_from(Place::File))
        .map(|setting| (typos(&key, setting.name), setting.name))
        .filter(|(typos, _)| *typos <= TYPOS_MAX)
        .min()
        .map(|(_, name)| name)
}

/// Letters to add, drop or change to make `known` of `key` (Levenshtein's distance).
fn typos(key: &[char], known: &str) -> usize {
    let mut row: Vec<usize> = (0..=key.len()).collect();
    for (at_known, letter) in known.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at_known + 1;
        for (at_key, other) in key.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[at_key + 1];
            row[at_key + 1] = changed.min(diagonal + 1).min(row[at_key] + 1);
        }
    }
    row[key.len()]
}
