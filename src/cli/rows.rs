//! Rows of logs as lines for people.
//!
//! What is in them was written by others: it is shown through [`plain`].

use serde::Deserialize;
use serde_json::value::RawValue;

use super::printable::plain;
use crate::domain::time::Timestamp;

/// What stands where there is nothing.
const NOTHING: &str = "-";

/// An attempt, as far as a line of it goes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttemptRow {
    pub(super) message_id: String,
    pub(super) endpoint_id: String,
    pub(super) outcome: String,
    #[serde(default)]
    pub(super) application_id: String,
    #[serde(default)]
    event_type: Option<String>,
    number: u32,
    result: String,
    detail: Option<String>,
    status_code: u16,
    timestamp: Timestamp,
    duration_ms: u32,
    url: String,
    next_attempt_timestamp: Option<Timestamp>,
}

impl AttemptRow {
    pub(super) fn is_delivered(&self) -> bool {
        self.outcome == "delivered"
    }

    /// The status, or why there is none.
    fn status(&self) -> String {
        match self.status_code {
            0 => plain(&self.result),
            status => status.to_string(),
        }
    }

    /// All there is to say on one line.
    pub(super) fn whole(&self, application: &str) -> String {
        let mut line = format!(
            "{}  {}  {}  {}  {}",
            self.timestamp.rfc3339(),
            self.outcome_columns(),
            self.kind(),
            plain(application),
            plain(&self.message_id),
        );
        line.push_str(&self.where_and_why());
        line
    }

    /// The same without what whoever sent the message knows.
    pub(super) fn brief(&self) -> String {
        format!("{}{}", self.outcome_columns(), self.where_and_why())
    }

    /// What fits a narrow terminal.
    pub(super) fn compact(&self) -> String {
        format!(
            "{} {} {} {} {}",
            time_of_day(self.timestamp),
            self.status(),
            self.kind(),
            plain(&self.message_id),
            plain(&self.url),
        )
    }

    fn outcome_columns(&self) -> String {
        format!(
            "{:9}  {:9}  {:>6} ms  #{}",
            plain(&self.outcome),
            self.status(),
            self.duration_ms,
            self.number
        )
    }

    fn kind(&self) -> String {
        self.event_type
            .as_deref()
            .map_or_else(|| NOTHING.to_owned(), plain)
    }

    fn where_and_why(&self) -> String {
        let mut text = format!("  {}", plain(&self.url));
        if let Some(detail) = &self.detail {
            text.push_str("  ");
            text.push_str(&plain(detail));
        }
        if let Some(next) = self.next_attempt_timestamp {
            text.push_str("  again at ");
            text.push_str(&time_of_day(next));
        }
        text
    }
}

/// A message, as far as a line of it goes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageRow<'a> {
    pub(super) id: String,
    pub(super) application_id: String,
    event_type: String,
    uid: Option<String>,
    channels: Vec<String>,
    created: Timestamp,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl MessageRow<'_> {
    pub(super) fn whole(&self, application: &str) -> String {
        let size = match self.payload.get() {
            "null" => "no payload".to_owned(),
            payload => format!("{} B", payload.len()),
        };
        let mut line = format!(
            "{}  {}  {}  {}  {size}",
            self.created.rfc3339(),
            plain(&self.event_type),
            plain(application),
            plain(&self.id),
        );
        if let Some(uid) = &self.uid {
            line.push_str("  uid ");
            line.push_str(&plain(uid));
        }
        if !self.channels.is_empty() {
            line.push_str("  channels ");
            line.push_str(&plain(&self.channels.join(", ")));
        }
        line
    }

    pub(super) fn compact(&self) -> String {
        format!(
            "{} {} {}",
            time_of_day(self.created),
            plain(&self.event_type),
            plain(&self.id)
        )
    }
}

fn time_of_day(moment: Timestamp) -> String {
    let text = moment.rfc3339();
    text.get(11..19).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn attempt(more: &Value) -> AttemptRow {
        let mut row = json!({
            "messageId": "msg_1", "endpointId": "ep_1", "outcome": "delivered",
            "applicationId": "app_1", "eventType": "order.paid", "number": 2,
            "result": "response", "detail": null, "statusCode": 200,
            "timestamp": 1_709_210_096_789_u64, "durationMs": 84,
            "url": "https://a.example/x", "nextAttemptTimestamp": null,
            "other": "fields are left alone",
        });
        let fields = row.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        serde_json::from_value(row).unwrap()
    }

    #[test]
    fn an_attempt_is_one_line() {
        let failed = json!({
            "outcome": "failed", "result": "refused", "statusCode": 0,
            "detail": "the host refuses connections on this port",
            "nextAttemptTimestamp": 1_709_210_102_000_u64,
        });
        let hostile = json!({"url": "https://a.example/\n\u{1b}[2J", "eventType": null});
        for (more, whole, compact) in [
            (
                json!({}),
                "2024-02-29T12:34:56.789Z  delivered  200            84 ms  #2  order.paid  acme  msg_1  https://a.example/x",
                "12:34:56 200 order.paid msg_1 https://a.example/x",
            ),
            (
                failed,
                "2024-02-29T12:34:56.789Z  failed     refused        84 ms  #2  order.paid  acme  msg_1  https://a.example/x  the host refuses connections on this port  again at 12:35:02",
                "12:34:56 refused order.paid msg_1 https://a.example/x",
            ),
            (
                hostile,
                "2024-02-29T12:34:56.789Z  delivered  200            84 ms  #2  -  acme  msg_1  https://a.example/\\n\\u{1b}[2J",
                "12:34:56 200 - msg_1 https://a.example/\\n\\u{1b}[2J",
            ),
        ] {
            let row = attempt(&more);
            assert_eq!(row.whole("acme"), whole);
            assert_eq!(row.compact(), compact);
        }
    }

    #[test]
    fn a_message_is_one_line() {
        for (more, want) in [
            (
                r#""uid": null, "channels": [], "payload": {"a":1}"#,
                "2024-02-29T12:34:56.789Z  order.paid  acme  msg_1  7 B",
            ),
            (
                r#""uid": "o\u001b42", "channels": ["eu", "b"], "payload": null"#,
                "2024-02-29T12:34:56.789Z  order.paid  acme  msg_1  no payload  uid o\\u{1b}42  channels eu, b",
            ),
        ] {
            let row = format!(
                r#"{{"id": "msg_1", "applicationId": "app_1", "eventType": "order.paid",
                "created": 1709210096789, {more}}}"#
            );
            let row: MessageRow<'_> = serde_json::from_str(&row).unwrap();
            assert_eq!(row.whole("acme"), want);
            assert_eq!(row.compact(), "12:34:56 order.paid msg_1");
        }
    }
}
