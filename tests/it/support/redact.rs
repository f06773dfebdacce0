//! Answers without what differs from run to run.

use serde_json::Value;

const ID_PREFIXES: [&str; 7] = ["app_", "ep_", "msg_", "atmpt_", "dlv_", "inbox_", "rcv_"];
const TIMINGS: [&str; 6] = [
    "durationMs",
    "dnsUs",
    "connectUs",
    "tlsUs",
    "firstByteUs",
    "totalUs",
];

/// `value` with ids, ports, signatures, dates and measured times replaced.
/// Times of the test's clock stay. Members are in the order of their names.
pub(crate) fn redacted(mut value: Value) -> Value {
    value.sort_all_objects();
    redact(&mut value);
    value
}

fn redact(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::Object(fields) => {
            // A header as an object of name and value.
            let varies = fields
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(|name| name.ends_with("signature") || name == "date");
            if varies && fields.contains_key("value") {
                fields.insert("value".to_owned(), "[varies]".into());
            }
            for (name, field) in fields {
                if TIMINGS.contains(&name.as_str()) {
                    *field = "[measured]".into();
                } else {
                    redact(field);
                }
            }
        }
        Value::String(text) => {
            if let Some(prefix) = ID_PREFIXES.iter().find(|prefix| text.starts_with(**prefix)) {
                *text = format!("[{prefix}id]");
            } else if let Some(at) = text.find("127.0.0.1:") {
                let port_at = at + "127.0.0.1:".len();
                let rest = text[port_at..].trim_start_matches(|c: char| c.is_ascii_digit());
                *text = format!("{}[port]{rest}", &text[..port_at]);
            }
        }
        _ => {}
    }
}
