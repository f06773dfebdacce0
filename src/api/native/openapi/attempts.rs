//! Attempts, by endpoint and by message.

use serde_json::{Value, json};

use super::fields::{any_text, time, word};
use super::logs::FOLLOWING;
use super::operation::Operation;
use super::{APPLICATION_ID, ATTEMPT_ID, ENDPOINT_ID, MADE_MS, MESSAGE_ID, Noun, endpoints};
use crate::api::native::attempts::Shape;
use crate::api::native::logs::LoggedAttempt;
use crate::domain::attempt::OUTCOMES;

const BY_MESSAGE: &str = "/applications/acme/messages/order-42/attempts";

pub(super) fn noun() -> Noun {
    Noun {
        name: "Attempts",
        description: "An attempt is one HTTP request for a delivery: what was sent, what came back, how long each part took.",
        operations: operations(),
        words: &[
            ("Attempt", "trigger", &["scheduled", "manual"]),
            ("Attempt", "outcome", &["delivered", "failed"]),
            ("Attempt", "result", &OUTCOMES),
            ("LoggedAttempt", "trigger", &["scheduled", "manual"]),
            ("LoggedAttempt", "outcome", &["delivered", "failed"]),
            ("LoggedAttempt", "result", &OUTCOMES),
            ("AttemptResponse", "bodyEncoding", &["utf-8", "base64"]),
        ],
    }
}

fn operations() -> Vec<Operation> {
    let filtered = "Newest first. A filter looks at a bounded number of attempts and answers with what it has found; the `Link` goes on from there.";
    vec![
        narrowed(
            Operation::get("/attempts", "listAttempts")
                .says("List or follow all attempts", FOLLOWING)
                .lists::<LoggedAttempt>("The attempts.", &logged()),
        )
        .followed_as("an attempt", "an attempt, or a time"),
        filters(
            Operation::get(
                "/applications/{app}/messages/{msg}/attempts",
                "listMessageAttempts",
            )
            .says("List the attempts of a message", filtered)
            .lists::<Shape>("The attempts.", &example()),
        ),
        Operation::get(
            "/applications/{app}/messages/{msg}/attempts/{atmpt}",
            "getAttempt",
        )
        .says("Get an attempt", "")
        .shell("ATTEMPT", "{atmpt}", BY_MESSAGE, "id")
        .answers::<Shape>(200, "The attempt.", example())
        .of_one_thing(),
        filters(
            Operation::get(
                "/applications/{app}/endpoints/{ep}/attempts",
                "listEndpointAttempts",
            )
            .says("List the attempts at an endpoint", filtered)
            .lists::<Shape>("The attempts.", &example()),
        ),
    ]
}

fn filters(operation: Operation) -> Operation {
    narrowed(operation)
        .query("after", time(), "Only those that began after this time.")
        .pages("an attempt, or a time")
}

fn narrowed(operation: Operation) -> Operation {
    let classes = word(&["none", "1xx", "2xx", "3xx", "4xx", "5xx"]);
    operation
        .query(
            "outcome",
            word(&["delivered", "failed"]),
            "Only those that ended so.",
        )
        .query(
            "statusClass",
            classes,
            "Only those that were answered so; `none`: no response.",
        )
        .query(
            "eventType",
            any_text(),
            "Only for messages of this type; `*` and `**` as in `eventTypes`.",
        )
}

fn logged() -> Value {
    let mut logged = json!({"applicationId": APPLICATION_ID, "eventType": "order.paid"});
    super::logs::extend(&mut logged, example());
    logged
}

fn example() -> Value {
    json!({
        "id": ATTEMPT_ID,
        "messageId": MESSAGE_ID,
        "endpointId": ENDPOINT_ID,
        "number": 1,
        "trigger": "scheduled",
        "outcome": "delivered",
        "result": "response",
        "detail": null,
        "statusCode": 200,
        "timestamp": MADE_MS,
        "durationMs": 84,
        "url": endpoints::URL,
        "peer": "203.0.113.7:443",
        "timing": {"dnsUs": 2100, "connectUs": 11200, "tlsUs": 24800, "firstByteUs": 45300, "totalUs": 84000},
        "nextAttemptTimestamp": null,
        "request": {
            "method": "POST",
            "headers": [
                {"name": "content-type", "value": "application/json"},
                {"name": "webhook-id", "value": MESSAGE_ID},
                {"name": "webhook-timestamp", "value": "1795305600"},
                {"name": "webhook-signature", "value": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="},
            ],
            "leftOut": [],
        },
        "response": {
            "headers": [{"name": "content-type", "value": "text/plain"}],
            "body": "OK",
            "bodyEncoding": "utf-8",
            "truncated": false,
        },
    })
}
