//! `/event-types`, and examples of them sent to an endpoint.

use serde_json::{Value, json};

use super::fields::{Fields, anything, flag, list, number, text, word};
use super::operation::Operation;
use super::{MADE_MS, Noun, messages, page_size};
use crate::api::native::event_types::{ImportShape, Shape};
use crate::api::native::messages::Shape as Message;
use crate::domain::event_type::{APPLICATIONS_MAX, DESCRIPTION_CHARS_MAX, EXAMPLES_MAX};
use crate::domain::message::{EVENT_TYPE_CHARS_MAX, UID_CHARS_MAX};

const FULL: &str = "The environment has 10,000 types, or 16 MB of their texts; delete some.";

pub(super) fn noun() -> Noun {
    Noun {
        name: "Event types",
        description: "An event type is what there is to subscribe to, and what it looks like. Nothing depends on it: a type need not be registered to be sent, and messages are not checked against its schema.",
        operations: operations(),
        words: &[],
    }
}

fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/event-types", "createEventType")
            .says(
                "Describe an event type",
                "`schema` is a JSON Schema, kept as it came: draft 2020-12, or what `$schema` says of 2019-09, 7, 6 and 4. \
                 References stay inside it; nothing is fetched. Each example must fit it.",
            )
            .takes(
                input("NewEventType", true),
                json!({
                    "name": "order.paid",
                    "description": "An order was paid in full.",
                    "schema": {"type": "object", "required": ["order"], "properties": {"order": {"type": "integer"}}},
                    "examples": [{"order": 42, "total": "19.90"}],
                }),
            )
            .answers::<Shape>(201, "It was made.", example())
            .refuses(409, "name_taken", "There is a type of this name; change that one.")
            .refuses(409, "event_types_full", FULL),
        Operation::get("/event-types", "listEventTypes")
            .says(
                "List event types",
                "By name, those that are not archived. A key of one application sees those that are for it or for everyone.",
            )
            .lists::<Shape>("The event types.", &example())
            .query("archived", word(&["true", "false"]), "`true`: those that are archived instead.")
            .query("page", number(1, 1_000_000_000), "Which page, from 1.")
            .query("pageSize", page_size(), "How many on a page; 100 when only `page` is given."),
        Operation::get("/event-types/{name}", "getEventType")
            .says("Get an event type", "")
            .answers::<Shape>(200, "The event type.", example())
            .of_one_thing(),
        Operation::put("/event-types/{name}", "updateEventType")
            .says(
                "Change an event type",
                "What is left out stays as it is; `{}` takes the schema away. An archived type is left out of the list, \
                 and can still be shown and sent.",
            )
            .takes(
                input("EventTypeChange", false).optional("archived", flag(), "Whether it is left out of the list."),
                json!({"description": "An order was paid in full, or the last part of it."}),
            )
            .answers::<Shape>(200, "The event type as it is now.", example())
            .refuses(409, "event_types_full", FULL),
        Operation::post("/event-types/imports", "importEventTypes")
            .says(
                "Import event types",
                "From an OpenAPI document as JSON: 3.1 or 3.2 with `webhooks`, or 3.0 with `x-webhooks`; at most 1 MB and \
                 1,000 webhooks. Each becomes the type of its name, with the description, schema and examples of its \
                 `post` operation. All or nothing: with anything wrong, nothing is changed.",
            )
            .takes(import(), json!({"document": document()}))
            .answers::<ImportShape>(
                200,
                "What was done.",
                json!({"created": ["order.refunded"], "updated": [], "unchanged": [], "archived": [], "errors": []}),
            )
            .query("dryRun", word(&["true", "false"]), "`true`: says what would be done, and does nothing.")
            .refuses(409, "event_types_full", FULL),
        Operation::post("/applications/{app}/endpoints/{ep}/examples", "sendExample")
            .says(
                "Send an example to an endpoint",
                "Makes a message for this one endpoint, whatever it subscribes to. The type must be one that the \
                 application sees, with an example.",
            )
            .takes(
                Fields::named("NewExample")
                    .required("eventType", text(1, EVENT_TYPE_CHARS_MAX), "Of which type.")
                    .optional("example", number(0, EXAMPLES_MAX as u64 - 1), "Which of its examples, counted from 0; the first when not given."),
                json!({"eventType": "order.paid"}),
            )
            .answers::<Message>(202, "It is kept, and on its way.", sent())
            .refuses(409, "endpoint_disabled", "The endpoint is disabled; enable it first.")
            .refuses(409, "takes_requests", "The endpoint takes requests, and no messages; give it another scheme than optech."),
        Operation::delete("/event-types/{name}", "deleteEventType")
            .says("Delete an event type", "The description goes, not the messages.")
            .after("POST", "/event-types", &json!({"name": "order.old"}))
            .given("name", "order.old")
            .answers::<Shape>(200, "The event type as it was.", example()),
    ]
}

fn input(name: &'static str, create: bool) -> Fields {
    let named = if create {
        "As in messages. `imports` is not free."
    } else {
        "Only the one that it has."
    };
    Fields::named(name)
        .required_if(create, "name", text(1, EVENT_TYPE_CHARS_MAX), named)
        .optional(
            "description",
            text(0, DESCRIPTION_CHARS_MAX),
            "For people; may have several lines.",
        )
        .optional("schema", anything(), "A JSON Schema, up to 64 KB.")
        .optional(
            "examples",
            list(anything(), EXAMPLES_MAX),
            "Payloads, up to 64 KB each, that fit the schema. `format` is not checked.",
        )
        .optional(
            "applications",
            list(text(1, UID_CHARS_MAX), APPLICATIONS_MAX),
            "Ids or uids of those that see it; `[]`: everyone.",
        )
        .optional(
            "forEveryone",
            flag(),
            "`false` with `applications: []`: no application sees it.",
        )
}

fn import() -> Fields {
    Fields::named("NewImport")
        .required("document", Fields::open_object(), "The OpenAPI document.")
        .optional(
            "replaceAll",
            flag(),
            "`true`: types that the document does not name are archived.",
        )
}

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Orders", "version": "1"},
        "webhooks": {"order.refunded": {"post": {"description": "An order was paid back."}}},
    })
}

fn example() -> Value {
    json!({
        "name": "order.paid",
        "description": "An order was paid in full.",
        "schema": {"type": "object", "required": ["order"], "properties": {"order": {"type": "integer"}}},
        "examples": [{"order": 42, "total": "19.90"}],
        "applications": [],
        "forEveryone": true,
        "archived": false,
        "created": MADE_MS,
        "updated": MADE_MS,
    })
}

fn sent() -> Value {
    let mut sent = messages::example();
    sent["uid"] = Value::Null;
    sent
}
