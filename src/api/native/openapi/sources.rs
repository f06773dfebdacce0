//! `/sources`, what came to them, and the records that they keep.

use serde_json::{Value, json};

use super::fields::{Fields, any_text, described, flag, list, map, number, text};
use super::operation::Operation;
use super::{APPLICATION_ID, MADE_MS, MESSAGE_ID, Noun, RECEIVED_ID, SOURCE_ID};
use crate::api::native::received::{Shape as ReceivedShape, VerifiedShape};
use crate::api::native::records::{ChangeShape, Shape as RecordShape};
use crate::api::native::sources::{PresetShape, SecretsShape, Shape};
use crate::control::applications::NAME_CHARS_MAX;
use crate::domain::message::{EVENT_TYPE_CHARS_MAX, UID_CHARS_MAX};
use crate::domain::record::{RECORD_HEADERS_MAX, RECORD_KEY_CHARS_MAX};
use crate::domain::source::{RATE_LIMIT_MAX, SLUG_CHARS, Verdict};
use crate::domain::verification::{
    Algorithm, Encoding, IP_RANGES_MAX, KeyForm, SECRET_BYTES_MAX, SECRETS_MAX, Unit,
};

const VERDICTS: [&str; 4] = ["accepted", "rejected", "duplicate", "handshake"];

pub(super) fn noun() -> Noun {
    Noun {
        name: "Sources",
        description: "A source takes in other people's webhooks: verifies them, logs each, and makes a message of what is genuine.",
        operations: operations(),
        words: &[
            ("SourceReceived", "verdict", &VERDICTS),
            ("SourceReceived", "bodyEncoding", &["utf-8", "base64"]),
            (
                "VerifiedAgain",
                "verdict",
                &["accepted", "duplicate", "rejected"],
            ),
        ],
    }
}

/// The operation, after something came to a source of its own.
fn with_something(operation: Operation, source: Value, event: &Value) -> Operation {
    operation
        .given("src", "{src}")
        .shell_of_new(("SOURCE", "{src}"), ("/sources", source), "slug")
        .after("POST", "/in/{src}", event)
}

fn open_source(more: &Value) -> Value {
    let mut source = json!({"application": "acme", "verification": {"preset": "none"}});
    for (name, value) in more.as_object().into_iter().flatten() {
        source[name] = value.clone();
    }
    source
}

fn with_record(operation: Operation) -> Operation {
    let source = open_source(&json!({"record": {"key": "reference"}}));
    with_something(
        operation,
        source,
        &json!({"reference": "F-95ad51b6", "status": "S"}),
    )
}

fn with_received(operation: Operation, source: Value) -> Operation {
    with_something(operation, source, &json!({"order": 42}))
        .given("rcv", "{rcv}")
        .shell("RECEIVED", "{rcv}", "/sources/{src}/received", "id")
}

fn operations() -> Vec<Operation> {
    let mut all = settings();
    all.extend(log());
    all.extend(records());
    all.push(
        Operation::delete("/sources/{src}", "deleteSource")
            .says(
                "Delete a source",
                "It takes nothing more at once; its log and its records go. Its messages stay.",
            )
            .answers::<Shape>(200, "The source as it was.", example()),
    );
    all
}

fn settings() -> Vec<Operation> {
    vec![
        Operation::get("/source-presets", "listSourcePresets")
            .says(
                "List source presets",
                "The providers and the general ways to verify that are known: what each needs, and what to do over there.",
            )
            .lists::<PresetShape>("The presets.", &preset()),
        Operation::post("/sources", "createSource")
            .says(
                "Create a source",
                "Its `url` is what the sender gets. Settings of the preset stand in `verification` under their own names.",
            )
            .takes(
                input("NewSource", true),
                json!({
                    "name": "Shop", "application": "acme", "slug": "shop",
                    "verification": {"preset": "static-header", "header": "x-api-secret", "secrets": ["a long random text"]},
                }),
            )
            .answers::<Shape>(201, "It was made.", example())
            .refuses(409, "slug_taken", "Another source or inbox has the slug.")
            .refuses(409, "built_in", "The application is built in.")
            .refuses(409, "too_many", "There are as many sources as an environment may have."),
        Operation::get("/sources", "listSources")
            .says("List sources", "")
            .query("application", any_text(), "Id or uid of an application: only its sources.")
            .lists::<Shape>("The sources, oldest first.", &example()),
        Operation::get("/sources/{src}", "getSource")
            .says("Get a source", "")
            .answers::<Shape>(200, "The source.", example())
            .of_one_thing(),
        Operation::put("/sources/{src}", "updateSource")
            .says(
                "Change a source",
                "What is left out stays; so do secrets when none are given. An empty `record` or `answer` goes back to none, or to the preset's.",
            )
            .takes(input("SourceChange", false), json!({"name": "Shop, new", "limits": {"perSecond": 100}}))
            .answers::<Shape>(200, "The source as it is now.", example())
            .refuses(409, "slug_taken", "Another source or inbox has the slug."),
        Operation::get("/sources/{src}/secrets", "getSourceSecrets")
            .says("Read a source's secrets", "That they were read is noted in the audit log.")
            .answers::<SecretsShape>(
                200,
                "The secrets.",
                json!({"secrets": ["a long random text"], "settings": {}}),
            )
            .of_one_thing(),
    ]
}

fn log() -> Vec<Operation> {
    // Refused for want of a type, so that there is something to verify again.
    let picky = open_source(&json!({"eventType": {"field": "type"}}));
    vec![
        Operation::get("/sources/{src}/received", "listSourceReceived")
            .says(
                "List what a source received",
                "Newest first. What was accepted is kept as long as its message; of everything else the last 500, and under a flood a sample.",
            )
            .query(
                "verdict",
                super::fields::word(&Verdict::ALL.map(Verdict::name)),
                "Only what had this verdict.",
            )
            .lists::<ReceivedShape>("What came.", &received())
            .pages("something received"),
        with_received(
            Operation::get("/sources/{src}/received/{rcv}", "getSourceReceived"),
            open_source(&json!({})),
        )
        .says("Get one thing that a source received", "")
        .answers::<ReceivedShape>(200, "What came.", received())
        .of_one_thing(),
        with_received(
            Operation::post("/sources/{src}/received/{rcv}/verifications", "verifyAgain"),
            picky,
        )
        .says(
            "Verify again",
            "Judges something that was rejected once more, as of when it came: by the source as it is now, and by one secret more if you give it. What is good is accepted after all.",
        )
        .may_take(again(), json!({}))
        .answers::<VerifiedShape>(
            200,
            "What became of it.",
            json!({"verdict": "accepted", "reason": "", "message": MESSAGE_ID}),
        )
        .refuses(409, "not_rejected", "It was not rejected."),
    ]
}

fn records() -> Vec<Operation> {
    vec![
        Operation::get("/sources/{src}/records", "listRecords")
            .says("List records", "By what came last.")
            .query(
                "search",
                text(1, 256),
                "Only those that have it in their key or fields.",
            )
            .lists::<RecordShape>("The records.", &record())
            .pages("something received"),
        with_record(Operation::get(
            "/sources/{src}/records/{record}",
            "getRecord",
        ))
        .says(
            "Get a record",
            "The latest value of each field, over all events of its key.",
        )
        .answers::<RecordShape>(200, "The record.", record())
        .of_one_thing(),
        with_record(Operation::get(
            "/sources/{src}/records/{record}/history",
            "listRecordHistory",
        ))
        .says(
            "List a record's history",
            "The events that made it, newest first; the last 200.",
        )
        .lists::<ChangeShape>(
            "What they carried.",
            &json!({
                "received": RECEIVED_ID, "timestamp": MADE_MS,
                "fields": {"reference": "F-95ad51b6", "status": "S"},
            }),
        )
        .pages("something received"),
        with_record(Operation::delete(
            "/sources/{src}/records/{record}",
            "deleteRecord",
        ))
        .says(
            "Delete a record",
            "With its history. The messages that made it stay.",
        )
        .answers::<RecordShape>(200, "The record as it was.", record()),
    ]
}

/// The fields that name a place.
fn place(fields: Fields) -> Fields {
    fields
        .optional("header", text(1, 128), "The name of a header.")
        .optional(
            "field",
            text(1, 512),
            "A field of the body: its name, or a JSON pointer.",
        )
        .optional("query", text(1, 128), "A parameter of the query.")
        .optional(
            "item",
            text(1, 128),
            "An item of the signature's header, as `t` of `t=..,v1=..`.",
        )
}

fn input(name: &'static str, create: bool) -> Fields {
    let naming = |says: &str| {
        let fields = place(Fields::named(""))
            .optional("fixed", text(1, EVENT_TYPE_CHARS_MAX), "Always this.")
            .optional(
                "fallback",
                text(1, EVENT_TYPE_CHARS_MAX),
                "Where nothing stands there.",
            )
            .optional(
                "by",
                text(1, 128),
                "`preset`; for repeats also `body` or `nothing`.",
            );
        described(fields.schema(), says)
    };
    let record = Fields::named("")
        .optional(
            "key",
            text(0, RECORD_KEY_CHARS_MAX),
            "The field that names a record, or a JSON pointer.",
        )
        .optional(
            "headers",
            list(text(1, 128), RECORD_HEADERS_MAX),
            "Headers that are fields too.",
        );
    let answer = Fields::named("")
        .optional("status", number(200, 599), "The status.")
        .optional("contentType", text(1, 256), "The content type.")
        .optional("headers", map(), "Further headers.")
        .optional("body", any_text(), "The body.")
        .optional(
            "endpoint",
            text(1, UID_CHARS_MAX),
            "Id or uid of the endpoint whose answer is passed on instead.",
        )
        .optional(
            "timeoutSeconds",
            number(1, 60),
            "How long its answer is waited for; 10 when not given.",
        );
    let limits = Fields::named("")
        .optional(
            "bodyBytes",
            number(0, u64::from(u32::MAX)),
            "Bytes of a body; 0 as for messages.",
        )
        .optional(
            "perSecond",
            number(0, u64::from(RATE_LIMIT_MAX)),
            "Requests a second; 0 takes the limit away.",
        )
        .optional(
            "methods",
            list(text(1, 128), 8),
            "Methods that are taken besides those of handshakes; POST when not given.",
        );
    Fields::named(name)
        .optional("name", text(0, NAME_CHARS_MAX), "What people call it.")
        .required_if(
            create,
            "application",
            text(1, UID_CHARS_MAX),
            "Id or uid of the application that gets the messages. It stays.",
        )
        .optional(
            "slug",
            text(1, *SLUG_CHARS.end()),
            "The end of its URL; made when not given.",
        )
        .optional("enabled", flag(), "Whether it takes anything.")
        .required_if(
            create,
            "verification",
            verification(create),
            "How its requests are verified.",
        )
        .optional(
            "eventType",
            naming("How the message is called."),
            "How the message is called.",
        )
        .optional(
            "dedupe",
            naming("What tells repeats."),
            "What tells that an event came before.",
        )
        .optional("record", record.schema(), "Keeps the latest state per key.")
        .optional(
            "answer",
            answer.schema(),
            "What is answered to an event that was taken.",
        )
        .optional("limits", limits.schema(), "What it takes.")
}

fn verification(create: bool) -> utoipa::openapi::schema::Schema {
    let words = |names: &[&str]| names.join(", ");
    let timestamp = place(Fields::named("")).optional(
        "unit",
        text(1, 128),
        &format!("One of {}.", words(&Unit::NAMES)),
    );
    let signature = place(Fields::named(""))
        .optional("prefix", text(0, 128), "What stands before each signature.")
        .optional("separator", text(1, 1), "What parts several.")
        .optional("algorithm", text(1, 128), &format!("One of {}.", words(&Algorithm::NAMES)))
        .optional("encoding", text(1, 128), &format!("One of {}.", words(&Encoding::NAMES)))
        .optional("key", text(1, 128), &format!("What a secret's text is: {}.", words(&KeyForm::NAMES)))
        .optional(
            "signed",
            any_text(),
            "The text that is signed; `{body}` when not given. Places: `{body}`, `{timestamp}`, `{id}`, `{method}`, `{url}`, `{fields}`, `{/a/pointer}`, `{header:name}`.",
        )
        .optional("timestamp", timestamp.schema(), "Where the time of sending stands.")
        .optional("id", place(Fields::named("")).schema(), "Where the id stands that is signed.");
    Fields::named("")
        .required_if(create, "preset", text(1, 128), "One of `/source-presets`.")
        .optional(
            "secrets",
            list(any_text(), SECRETS_MAX),
            "Newest first; any of them will do.",
        )
        .optional(
            "toleranceSeconds",
            number(0, 86_400),
            "How far a timestamp may be away; 0 lets any pass.",
        )
        .optional(
            "ipRanges",
            list(text(1, 128), IP_RANGES_MAX),
            "Addresses and networks that it takes requests from.",
        )
        .optional("signature", signature.schema(), "For the preset `custom`.")
        .and_texts()
        .schema()
}

fn again() -> Fields {
    let says = format!("One secret more to try, of at most {SECRET_BYTES_MAX} bytes.");
    Fields::named("NewVerification")
        .optional("secret", any_text(), &says)
        .optional(
            "keep",
            flag(),
            "Whether the source keeps it when it is right.",
        )
}

fn example() -> Value {
    json!({
        "id": SOURCE_ID,
        "name": "Shop",
        "application": APPLICATION_ID,
        "slug": "shop",
        "url": "https://hooks.example/in/shop",
        "enabled": true,
        "verification": {
            "preset": "static-header", "secrets": [], "secretCount": 1, "toleranceSeconds": null,
            "ipRanges": [], "signature": {}, "header": "x-api-secret",
        },
        "eventType": {"by": "preset"},
        "dedupe": {"by": "preset"},
        "record": {"key": "", "headers": []},
        "answer": {
            "status": 200, "contentType": "text/plain; charset=utf-8", "headers": {}, "body": "OK",
            "endpoint": null, "timeoutSeconds": null,
        },
        "limits": {"bodyBytes": null, "perSecond": null, "methods": ["POST"]},
        "counts": {"accepted": 0, "rejected": 0, "duplicate": 0, "handshake": 0},
        "created": MADE_MS,
        "updated": MADE_MS,
    })
}

fn preset() -> Value {
    json!({
        "name": "static-header",
        "label": "A secret in a header",
        "secret": "the header's value",
        "secretRequired": true,
        "settings": [{"name": "header", "label": "the header that carries it", "required": true}],
        "steps": ["Let the sender put the secret into the header of every request."],
        "page": "",
        "handshakes": [],
    })
}

fn received() -> Value {
    json!({
        "id": RECEIVED_ID,
        "timestamp": MADE_MS,
        "verdict": "accepted",
        "reason": "",
        "method": "POST",
        "path": "",
        "headers": [["content-type", "application/json"]],
        "body": "{\"order\": 42}",
        "bodyEncoding": "utf-8",
        "bodyBytes": 13,
        "answerStatus": 200,
        "tookMicroseconds": 85,
        "peer": "192.0.2.7",
        "message": MESSAGE_ID,
        "record": null,
        "notKept": 0,
    })
}

fn record() -> Value {
    json!({
        "key": "F-95ad51b6",
        "fields": {"reference": "F-95ad51b6", "status": "S"},
        "firstSeen": MADE_MS,
        "lastSeen": MADE_MS,
        "count": 1,
        "lastMessage": MESSAGE_ID,
    })
}
