//! `/applications/{app}/messages`, their deliveries, and replays.

use serde_json::{Value, json};

use super::fields::{Fields, any_text, anything, list, text};
use super::logs::FOLLOWING;
use super::operation::Operation;
use super::{APPLICATION_ID, MADE_MS, MESSAGE_ID, Noun, endpoints};
use crate::api::native::logs::LoggedMessage;
use crate::api::native::{endpoint_messages, jobs, messages, replays};
use crate::domain::message::{
    CHANNEL_CHARS_MAX, CHANNELS_MAX, EVENT_TYPE_CHARS_MAX, UID_CHARS_MAX,
};

pub(super) const DELIVERY_ID: &str = "dlv_3k0QzTCdPf1hLkAoV8sBv5RjG0e";

pub(super) fn noun() -> Noun {
    Noun {
        name: "Messages",
        description: "A message is one event with its payload. A delivery is one message owed to one endpoint.",
        operations: operations(),
        words: &[
            (
                "Delivery",
                "status",
                &["pending", "sending", "success", "failed", "disabled"],
            ),
            ("Replay", "status", &["pending"]),
        ],
    }
}

fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/applications/{app}/messages", "sendMessage")
            .says(
                "Send a message",
                "The answer means that the message and everything owed for it is on disk. It goes to each endpoint of \
                 the application whose `eventTypes` and `channels` take it.\n\n\
                 A delivery is attempted at once, then after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h, each plus up to \
                 a tenth, unless endpoint or server say otherwise. `Retry-After` on 429 and 503 lengthens a wait, up to \
                 24 hours. 410 disables the endpoint. Redirects are not followed.",
            )
            .takes(
                input(),
                json!({"eventType": "order.paid", "payload": {"order": 42, "total": "19.90"}, "uid": "order-42"}),
            )
            .answers::<messages::Shape>(202, "It is kept, and on its way.", example()),
        Operation::post("/applications/{app}/messages/batch", "sendMessages")
            .says(
                "Send many messages",
                "Up to 1,000 in a body of 16 MB: all of them are kept or, when one is wrong, none.",
            )
            .takes(
                Fields::named("Batch").required(
                    "messages",
                    list(input().schema(), messages::BATCH_MESSAGES_MAX),
                    "The messages, in the order in which they are kept.",
                ),
                json!({"messages": [
                    {"eventType": "order.shipped", "payload": {"order": 42}, "uid": "order-42-shipped"},
                    {"eventType": "order.paid", "payload": {"order": 43}, "uid": "order-43"},
                ]}),
            )
            .lists::<messages::Receipt>(
                "They are kept, in this order, and on their way.",
                &json!({"id": MESSAGE_ID, "uid": "order-42-shipped", "eventType": "order.shipped", "created": MADE_MS}),
            )
            .with_status(202),
        Operation::get("/applications/{app}/messages", "listMessages")
            .says("List messages", "Newest first.")
            .lists::<messages::Shape>("The messages.", &example())
            .pages("a message"),
        Operation::get("/messages", "listAllMessages")
            .says("List or follow all messages", FOLLOWING)
            .lists::<LoggedMessage<'_>>("The messages.", &logged())
            .query(
                "eventType",
                any_text(),
                "Only of this type; `*` and `**` as in `eventTypes`.",
            )
            .followed_as("a message", "a message"),
        Operation::get("/applications/{app}/messages/{msg}", "getMessage")
            .says("Get a message", "`payload` is null once retention took it or it was erased.")
            .answers::<messages::Shape>(200, "The message.", example())
            .of_one_thing(),
        Operation::get("/applications/{app}/messages/{msg}/endpoint-messages", "listDeliveries")
            .says("List the deliveries of a message", "One for each endpoint that it went to: what became of it there.")
            .lists::<endpoint_messages::Shape>("The deliveries.", &delivery()),
        Operation::post("/applications/{app}/messages/{msg}/endpoints/{ep}/replays", "replayMessage")
            .says(
                "Replay a delivery",
                "A new attempt now, whatever became of it before. One that fails leaves the retries that were left; \
                 a message that never went to this endpoint is sent once.",
            )
            .answers::<replays::Shape>(
                202,
                "It is due now.",
                json!({"id": DELIVERY_ID, "status": "pending", "attemptCount": 1, "nextAttemptTimestamp": MADE_MS}),
            )
            .refuses(409, "endpoint_disabled", "The endpoint is disabled; enable it first.")
            .refuses(409, "takes_requests", "The endpoint takes requests, and no messages; give it another scheme than optech.")
            .refuses(409, "payload_gone", "The payload is no longer kept; send a new message."),
        Operation::delete("/applications/{app}/messages/{msg}/content", "eraseMessage")
            .says(
                "Erase the content of a message",
                "The payload goes, and from every attempt the body and headers that were answered and the signatures; \
                 status and times stay. Deliveries that still wait are cancelled. What an endpoint has received is not \
                 erased, nor the answer that an `Idempotency-Key` repeats until its 24 hours are over.",
            )
            .after(
                "POST",
                "/applications/acme/messages",
                &json!({"eventType": "order.paid", "payload": {"order": 7}, "uid": "order-7"}),
            )
            .given("msg", "order-7")
            .answers::<messages::Shape>(200, "The message, without its payload.", erased()),
        Operation::delete("/applications/{app}/content", "eraseApplication")
            .says(
                "Erase the content of an application",
                "Starts a job of kind `erasure` over every message that there is now.",
            )
            .after("POST", "/applications", &json!({"name": "Old", "uid": "old-content"}))
            .given("app", "old-content")
            .answers::<jobs::Shape>(202, "The job.", super::jobs::erasure())
            .refuses(409, "too_many_jobs", "1,000 jobs run already; wait until one has ended, or cancel one.")
            .refuses(409, "built_in", "It is the application of operational events."),
    ]
}

fn input() -> Fields {
    Fields::named("NewMessage")
        .required(
            "eventType",
            text(1, EVENT_TYPE_CHARS_MAX),
            "What happened: letters, digits, `-`, `_` and `.`. It need not be registered.",
        )
        .required(
            "payload",
            anything(),
            "Any JSON. Its bytes are stored, signed and sent as they came.",
        )
        .optional(
            "uid",
            text(1, UID_CHARS_MAX),
            "Yours. It need not be unique: in a path it means the newest message that has it.",
        )
        .optional(
            "channels",
            list(text(1, CHANNEL_CHARS_MAX), CHANNELS_MAX),
            "Labels: an endpoint that has channels gets it only if they share one.",
        )
}

pub(super) fn example() -> Value {
    json!({
        "channels": [],
        "eventType": "order.paid",
        "payload": {"order": 42, "total": "19.90"},
        "contentType": "application/json",
        "uid": "order-42",
        "id": MESSAGE_ID,
        "created": MADE_MS,
        "updated": MADE_MS,
    })
}

fn logged() -> Value {
    let mut logged = json!({"applicationId": APPLICATION_ID});
    super::logs::extend(&mut logged, example());
    logged
}

fn delivery() -> Value {
    json!({
        "id": DELIVERY_ID,
        "created": MADE_MS,
        "updated": MADE_MS,
        "attempts": [{"statusCode": 200, "timestamp": MADE_MS}],
        "attemptCount": 1,
        "endpoint": endpoints::example(),
        "message": example(),
        "nextAttemptTimestamp": null,
        "status": "success",
        "timestamp": MADE_MS,
    })
}

fn erased() -> Value {
    let mut erased = example();
    erased["payload"] = Value::Null;
    erased["uid"] = json!("order-7");
    erased
}
