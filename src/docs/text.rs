//! Prose and JSON as HTML and text.

use std::fmt;
use std::fmt::Write as _;

use serde_json::Value;

use super::document::{Document, Schema};

/// Characters of a line of JSON that is not broken.
const LINE_CHARS_MAX: usize = 52;
/// A list of plain values may be as much longer: it reads badly one a line.
const LIST_CHARS_MORE: usize = 16;

/// HTML that is safe as it stands: text with code in it, escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Html(String);

impl askama::FastWritable for Html {
    fn write_into(&self, out: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        Ok(out.write_str(&self.0)?)
    }
}

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Html {}

/// One line, with what stands between backticks as code.
pub(super) fn line(text: &str) -> Html {
    let mut html = String::with_capacity(text.len());
    for (at, part) in text.split('`').enumerate() {
        let is_code = at % 2 == 1;
        html.push_str(if is_code { "<code>" } else { "" });
        for c in part.chars() {
            match c {
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '&' => html.push_str("&amp;"),
                '"' => html.push_str("&quot;"),
                other => html.push(other),
            }
        }
        html.push_str(if is_code { "</code>" } else { "" });
    }
    Html(html)
}

/// The paragraphs of a text, which empty lines part.
pub(super) fn paragraphs(text: &str) -> Vec<Html> {
    text.split("\n\n")
        .filter(|paragraph| !paragraph.is_empty())
        .map(line)
        .collect()
}

/// A path that may be broken before its slashes.
pub(super) fn breakable(path: &str) -> Html {
    Html(line(path).0.replace('/', "<wbr>/"))
}

/// JSON on one line, as a person writes it: `{"a": 1, "b": [2]}`.
pub(super) fn json_line(value: &Value) -> String {
    let mut text = String::new();
    write_line(&mut text, value, &|_| None);
    text
}

/// JSON with its fields in the order of `schema`, on one line when it is short
/// and otherwise over several.
pub(super) fn json_block(document: &Document, schema: &Schema, value: &Value) -> String {
    let mut text = String::new();
    write_block(&mut text, document, Some(schema), value, 0);
    text
}

fn write_block(
    text: &mut String,
    document: &Document,
    schema: Option<&Schema>,
    value: &Value,
    depth: usize,
) {
    let schema = schema.map(|schema| document.resolve(schema.not_null().0));
    let order = |name: &str| schema?.properties.get_index_of(name);
    let line_start = text.rfind('\n').map_or(0, |at| at + 1);
    let column = text.len() - line_start;
    let mut short = String::new();
    write_line(&mut short, value, &order);
    let nested = |(_, item): &(_, &Value)| item.is_array() || item.is_object();
    let is_plain_list = value.is_array() && !entries(value, &order).iter().any(nested);
    let chars_max = LINE_CHARS_MAX + if is_plain_list { LIST_CHARS_MORE } else { 0 };
    if column + short.chars().count() <= chars_max || entries(value, &order).is_empty() {
        text.push_str(&short);
        return;
    }
    let (open, close) = if value.is_array() {
        ('[', ']')
    } else {
        ('{', '}')
    };
    text.push(open);
    let pad = "  ".repeat(depth + 1);
    for (at, (name, item)) in entries(value, &order).into_iter().enumerate() {
        let _ = write!(text, "{}\n{pad}", if at > 0 { "," } else { "" });
        let inner = match name {
            Some(name) => {
                let _ = write!(text, "{}: ", Value::from(name));
                schema.and_then(|schema| schema.properties.get(name))
            }
            None => schema.and_then(|schema| schema.items.as_deref()),
        };
        write_block(text, document, inner, item, depth + 1);
    }
    let _ = write!(text, "\n{}{close}", "  ".repeat(depth));
}

/// Items of a list, without names, or fields of an object, in order.
fn entries<'a>(
    value: &'a Value,
    order: &dyn Fn(&str) -> Option<usize>,
) -> Vec<(Option<&'a str>, &'a Value)> {
    match value {
        Value::Array(items) => items.iter().map(|item| (None, item)).collect(),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| order(name).unwrap_or(usize::MAX));
            let named = fields.into_iter();
            named
                .map(|(name, item)| (Some(name.as_str()), item))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn write_line(text: &mut String, value: &Value, order: &dyn Fn(&str) -> Option<usize>) {
    let (open, close) = match value {
        Value::Array(_) => ('[', ']'),
        Value::Object(_) => ('{', '}'),
        other => {
            let _ = write!(text, "{other}");
            return;
        }
    };
    text.push(open);
    for (at, (name, item)) in entries(value, order).into_iter().enumerate() {
        text.push_str(if at > 0 { ", " } else { "" });
        if let Some(name) = name {
            let _ = write!(text, "{}: ", Value::from(name));
        }
        write_line(text, item, &|_| None);
    }
    text.push(close);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prose_is_escaped_and_code_is_marked() {
        for (text, want) in [
            ("plain", "plain"),
            ("a `b` c", "a <code>b</code> c"),
            (
                "`<b>` & \"x\"",
                "<code>&lt;b&gt;</code> &amp; &quot;x&quot;",
            ),
            ("", ""),
        ] {
            assert_eq!(line(text).to_string(), want, "{text}");
        }
        assert_eq!(paragraphs("a\n\nb"), [line("a"), line("b")]);
        assert_eq!(paragraphs(""), []);
    }

    #[test]
    fn json_is_written_as_a_person_would() {
        let value = json!({"a": null, "b": [1, {"c": "d'\n"}]});
        let line = json_line(&value);
        assert_eq!(line, r#"{"a": null, "b": [1, {"c": "d'\n"}]}"#);
        assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), value);
    }
}
