//! Operational events, as webhooks of the document.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{OperationBuilder, Paths, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::{HttpMethod, PathItem, Ref, RefOr, Required, Response};

use super::fields::{Fields, any_text, described, flag, number, time, word};
use super::{APPLICATION_ID, ATTEMPT_ID, ENDPOINT_ID, JOB_ID, MADE_MS, MESSAGE_ID};
use crate::domain::operational::TYPES;

/// What the payloads of some types have in common.
struct Family {
    /// How their types begin.
    prefix: &'static str,
    name: &'static str,
    data: fn() -> Fields,
    example: fn() -> Value,
}

const FAMILIES: [Family; 3] = [
    Family {
        prefix: "endpoint.",
        name: "EndpointEvent",
        data: endpoint,
        example: endpoint_example,
    },
    Family {
        prefix: "message.attempt.",
        name: "AttemptEvent",
        data: attempt,
        example: attempt_example,
    },
    Family {
        prefix: "job.",
        name: "JobEvent",
        data: job,
        example: job_example,
    },
];

/// Every type of operational event, and its payload.
pub(super) fn webhooks(schemas: &mut BTreeMap<String, RefOr<Schema>>) -> Paths {
    for family in &FAMILIES {
        let schema = envelope(family).schema();
        schemas.insert(family.name.to_owned(), schema.into());
    }
    let known = TYPES.iter().filter_map(|(name, says)| {
        let family = FAMILIES
            .iter()
            .find(|family| name.starts_with(family.prefix))?;
        Some((*name, says.trim(), family))
    });
    let webhooks = known.map(|(name, says, family)| (name, webhook(name, says, family)));
    webhooks
        .fold(PathsBuilder::new(), |all, (name, item)| {
            all.path(name, item)
        })
        .build()
}

fn envelope(family: &Family) -> Fields {
    let types: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
    let types: Vec<&str> = types
        .into_iter()
        .filter(|name| name.starts_with(family.prefix))
        .collect();
    Fields::named(family.name)
        .required("type", word(&types), "Which event.")
        .required("timestamp", time(), "When it happened, Unix milliseconds.")
        .required("data", (family.data)().schema(), "What it is about.")
}

fn webhook(name: &str, says: &str, family: &Family) -> PathItem {
    let example = json!({"type": name, "timestamp": MADE_MS, "data": (family.example)()});
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(family.name)))
        .example(Some(example))
        .build();
    let body = RequestBodyBuilder::new()
        .required(Some(Required::True))
        .content("application/json", content)
        .build();
    let operation = OperationBuilder::new()
        .summary(Some(says))
        .request_body(Some(body))
        .response("2XX", Response::new("It was received."));
    PathItem::new(HttpMethod::Post, operation)
}

/// A schema that takes null too.
fn nullable(schema: Schema) -> Schema {
    match schema {
        Schema::Object(mut object) => {
            if let SchemaType::Type(kind) = &object.schema_type {
                object.schema_type = SchemaType::Array(vec![kind.clone(), Type::Null]);
            }
            if let Some(words) = &mut object.enum_values {
                words.push(Value::Null);
            }
            Schema::Object(object)
        }
        other => other,
    }
}

fn owners(name: &'static str) -> Fields {
    Fields::named(name)
        .required(
            "applicationId",
            any_text(),
            "Of the application that it is about.",
        )
        .required("applicationUid", nullable(any_text()), "Its uid.")
        .required(
            "endpointId",
            any_text(),
            "Of the endpoint that it is about.",
        )
        .required("endpointUid", nullable(any_text()), "Its uid.")
}

fn endpoint() -> Fields {
    owners("endpoint")
        .required("enabled", flag(), "Whether it takes messages.")
        .required(
            "reason",
            nullable(word(&["gone", "failing"])),
            "Why Hookpost disabled it, when it did.",
        )
        .required(
            "failingSince",
            nullable(time()),
            "The first failure since the last success, Unix milliseconds.",
        )
}

fn endpoint_example() -> Value {
    json!({
        "applicationId": APPLICATION_ID,
        "applicationUid": "acme",
        "endpointId": ENDPOINT_ID,
        "endpointUid": "main",
        "enabled": true,
        "reason": null,
        "failingSince": null,
    })
}

fn attempt() -> Fields {
    let last = Fields::named("last")
        .required("id", any_text(), "Of the attempt.")
        .required(
            "statusCode",
            number(0, 999),
            "What came back; 0 when there was no response.",
        )
        .required("timestamp", time(), "When it began, Unix milliseconds.")
        .schema();
    owners("attempt")
        .required("messageId", any_text(), "Of the message.")
        .required("messageUid", nullable(any_text()), "Its uid.")
        .required("eventType", any_text(), "Of the message.")
        .required(
            "attemptCount",
            number(0, u64::from(u32::MAX)),
            "Attempts so far.",
        )
        .required(
            "lastAttempt",
            described(last, "The last attempt."),
            "The last attempt.",
        )
}

fn attempt_example() -> Value {
    json!({
        "applicationId": APPLICATION_ID,
        "applicationUid": "acme",
        "endpointId": ENDPOINT_ID,
        "endpointUid": "main",
        "messageId": MESSAGE_ID,
        "messageUid": "order-42",
        "eventType": "order.paid",
        "attemptCount": 4,
        "lastAttempt": {"id": ATTEMPT_ID, "statusCode": 503, "timestamp": MADE_MS},
    })
}

fn job() -> Fields {
    let count = || number(0, u64::from(u32::MAX));
    Fields::named("job")
        .required("jobId", any_text(), "Of the job.")
        .required(
            "kind",
            word(&["recovery", "backfill", "replay", "erasure"]),
            "What it did.",
        )
        .required(
            "state",
            word(&["finished", "cancelled", "failed"]),
            "How it ended.",
        )
        .required(
            "reason",
            nullable(any_text()),
            "Why it could not go on, when it could not.",
        )
        .required(
            "applicationId",
            any_text(),
            "Of the application that it was for.",
        )
        .required(
            "endpointId",
            nullable(any_text()),
            "Of the endpoint that it sent to; null for an erasure.",
        )
        .required(
            "total",
            nullable(count()),
            "What was counted before it began; null when counting gave up.",
        )
        .required("examined", count(), "Messages that it looked at.")
        .required(
            "done",
            count(),
            "Deliveries that it made due, or messages that it erased.",
        )
        .required("skipped", count(), "Those whose payload is no longer kept.")
}

fn job_example() -> Value {
    json!({
        "jobId": JOB_ID,
        "kind": "recovery",
        "state": "finished",
        "reason": null,
        "applicationId": APPLICATION_ID,
        "endpointId": ENDPOINT_ID,
        "total": 312,
        "examined": 312,
        "done": 312,
        "skipped": 0,
    })
}
