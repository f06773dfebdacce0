//! `/applications/{app}/endpoints`

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::fields::{Fields, any_text, flag, list, map, number, text, word};
use super::operation::Operation;
use super::{ENDPOINT_ID, MADE_MS, Noun, page_size};
use crate::api::native::endpoints::{SchemeShape, SecretShape, Shape};
use crate::control::applications::NAME_CHARS_MAX;
use crate::control::endpoints::TIMEOUT_SECONDS_MAX;
use crate::domain::address::URL_BYTES_MAX;
use crate::domain::endpoint::{
    EVENT_FILTERS_MAX, GRACE_MAX, HEADERS_MAX, RATE_LIMIT_MAX, SECRETS_MAX,
};
use crate::domain::message::{
    CHANNEL_CHARS_MAX, CHANNELS_MAX, EVENT_TYPE_CHARS_MAX, UID_CHARS_MAX,
};
use crate::domain::retry::SCHEDULE_STEPS_MAX;
use crate::domain::signing::{
    PREFIX_BYTES_MAX, SCHEMES_MAX, SIGNATURE_HEADER_BYTES_MAX, TEMPLATE_BYTES_MAX,
};
use crate::http::endpoint_input::{
    DESCRIPTION_CHARS_MAX, DURATION_CHARS_MAX, SECRET_CHARS_MAX, SUCCESS_BODY_CHARS_MAX,
    SUCCESS_TYPE_CHARS_MAX,
};

const UID_TAKEN: &str = "Another endpoint of the application has this uid.";
pub(super) const URL_BLOCKED: &str =
    "The URL leads to an address that nothing is delivered to; `errors` says why.";
/// What the curl lines put an inbox in the place of.
pub(super) const URL: &str = "https://acme.example/webhooks";

pub(super) fn noun() -> Noun {
    Noun {
        name: "Endpoints",
        description: "An endpoint is a URL of an application that receives its messages.",
        operations: operations(),
        words: &[("Disabled", "reason", &["gone", "failing"])],
    }
}

fn operations() -> Vec<Operation> {
    let inbox = || ("/inboxes", json!({"name": "trial"}));
    vec![
        Operation::post("/applications/{app}/endpoints", "createEndpoint")
            .says(
                "Create an endpoint",
                "Only `url` must be given. It must be http or https, and a public address: loopback, private, \
                 link-local, metadata and reserved addresses are refused, here and again before every connection. \
                 `--allow-destinations` opens networks. An inbox of this server is always fair.\n\n\
                 The example delivers to a new inbox, so that everything after it can be tried without a server of your own.",
            )
            .shell_of_new(("INBOX", URL), inbox(), "url")
            .takes(
                input("NewEndpoint", true),
                json!({"url": URL, "uid": "main", "name": "Orders", "eventTypes": ["order.*"]}),
            )
            .answers::<Shape>(201, "It was made.", example())
            .refuses(409, "uid_taken", UID_TAKEN)
            .refuses(422, "endpoint_url_blocked", URL_BLOCKED),
        Operation::get("/applications/{app}/endpoints", "listEndpoints")
            .says(
                "List endpoints",
                "All of the application's, in the order in which they were made, unless a page is asked for.",
            )
            .lists::<Shape>("The endpoints.", &example())
            .query("page", number(1, 1_000_000_000), "Which page, from 1.")
            .query("pageSize", page_size(), "How many on a page; 100 when only `page` is given."),
        Operation::get("/applications/{app}/endpoints/{ep}", "getEndpoint")
            .says("Get an endpoint", "")
            .answers::<Shape>(200, "The endpoint.", example())
            .of_one_thing(),
        Operation::put("/applications/{app}/endpoints/{ep}", "updateEndpoint")
            .says(
                "Change an endpoint",
                "What is left out stays as it is; `[]` and `{}` clear. `{\"enabled\": true}` also brings back an endpoint \
                 that Hookpost disabled. `{\"paused\": true}` holds deliveries, `{\"enabled\": false}` stops them.",
            )
            .takes(
                input("EndpointChange", false),
                json!({"description": "Order desk", "rateLimit": 50, "retrySchedule": ["5s", "5m", "2h"]}),
            )
            .answers::<Shape>(200, "The endpoint as it is now.", example())
            .refuses(409, "uid_taken", UID_TAKEN)
            .refuses(422, "endpoint_url_blocked", URL_BLOCKED),
        Operation::get("/applications/{app}/endpoints/{ep}/secret", "getEndpointSecret")
            .says(
                "Read the signing secret",
                "The newest one: what a receiver verifies deliveries with. Who read it is in the audit log.",
            )
            .answers::<SecretShape>(
                200,
                "The secret.",
                json!({"key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "text": null, "previous": []}),
            )
            .of_one_thing(),
        Operation::post("/applications/{app}/endpoints/{ep}/secret/rotations", "rotateEndpointSecret")
            .says(
                "Rotate the signing secret",
                "The new secret is the newest from now on. The older ones go on signing for the grace period, or until \
                 the end that they had already; until then every delivery carries a signature of each, so receivers \
                 change over when they like.",
            )
            .takes(rotation(), json!({"gracePeriodSeconds": 3600}))
            .answers::<SecretShape>(
                201,
                "The new secret, and how long the older ones sign.",
                json!({
                    "key": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
                    "text": null,
                    "previous": [{"expires": MADE_MS + 3_600_000}],
                }),
            )
            .refuses(409, "too_many_secrets", "Ten secrets are valid already; give a grace period of 0, or wait."),
        Operation::delete("/applications/{app}/endpoints/{ep}", "deleteEndpoint")
            .says(
                "Delete an endpoint",
                "What waits for it is cancelled. This cannot be undone; to stop for a while, pause it.",
            )
            .shell_of_new(("INBOX", URL), inbox(), "url")
            .after("POST", "/applications/acme/endpoints", &json!({"url": URL, "uid": "old"}))
            .given("ep", "old")
            .answers::<Shape>(200, "The endpoint as it was.", example()),
    ]
}

fn rotation() -> Fields {
    Fields::named("Rotation")
        .optional(
            "gracePeriodSeconds",
            number(0, GRACE_MAX.as_secs()),
            "How long the older secrets go on signing; 86400 when not given, 0 stops them at once.",
        )
        .optional(
            "secret",
            text(1, SECRET_CHARS_MAX),
            "The new one: any text, `whsec_...` or `whsk_...`. One is made when not given.",
        )
}

/// A scheme has only the fields that it needs.
fn signature() -> Schema {
    Fields::named("SignatureScheme")
        .required("scheme", word(&["standard", "octohooks", "optech", "custom"]), "Which scheme.")
        .optional("header", text(1, SIGNATURE_HEADER_BYTES_MAX), "Of `optech` (`x-optech-signature` when not given) and `custom`: the header that the signature is in.")
        .optional("template", text(1, TEMPLATE_BYTES_MAX), "Of `custom`: what is signed. `{id}`, `{timestamp}` (seconds) and `{body}` stand for what they say, `{body}` exactly once.")
        .optional("encoding", word(&["hex", "base64"]), "Of `custom`: how the signature is written.")
        .optional("prefix", text(0, PREFIX_BYTES_MAX), "Of `custom`: comes before each signature, and may have `{id}` and `{timestamp}` in it.")
        .schema()
}

impl PartialSchema for SchemeShape<'_> {
    fn schema() -> RefOr<Schema> {
        signature().into()
    }
}

impl ToSchema for SchemeShape<'_> {
    fn name() -> Cow<'static, str> {
        "SignatureScheme".into()
    }
}

fn input(name: &'static str, create: bool) -> Fields {
    let success = Fields::named("Success")
        .optional(
            "status",
            number(200, 599),
            "Exactly this status; any 2xx when not given.",
        )
        .optional(
            "body",
            text(0, SUCCESS_BODY_CHARS_MAX),
            "What the body has to be, white space around it aside.",
        )
        .optional(
            "contentType",
            text(1, SUCCESS_TYPE_CHARS_MAX),
            "What the content type has to be, its parameters aside.",
        )
        .schema();
    Fields::named(name)
        .required_if(create, "url", text(1, URL_BYTES_MAX), "Where deliveries go: http or https, a public address.")
        .optional("name", text(0, NAME_CHARS_MAX), "What people call it.")
        .optional("description", text(0, DESCRIPTION_CHARS_MAX), "Yours.")
        .optional("uid", text(1, UID_CHARS_MAX), "Yours, and of no other endpoint of the application: wherever a path takes the id it takes this too.")
        .optional("eventTypes", list(text(1, EVENT_TYPE_CHARS_MAX), EVENT_FILTERS_MAX), "What it subscribes to; `[]`: everything. `order.paid` is that type, `order.*` one further segment, `order.**` any.")
        .optional("channels", list(text(1, CHANNEL_CHARS_MAX), CHANNELS_MAX), "Narrows it: a message must have one of them. `[]`: every message.")
        .optional("enabled", flag(), "`false` stops: nothing new is sent to it, and what waits stops until it is on again. True when not given.")
        .optional("paused", flag(), "`true` holds: messages go on being owed to it, and wait.")
        .optional("headers", map(), HEADERS_SAY)
        .optional("secrets", list(text(1, SECRET_CHARS_MAX), SECRETS_MAX), "Signing secrets, newest first; each one signs. Any text, `whsec_...` or `whsk_...` (ed25519). None given: one is made. In a change, `[]` keeps those there are.")
        .optional("signatures", list(signature(), SCHEMES_MAX), "How deliveries are signed: `standard` and `octohooks` when not given; `[]`: not at all.")
        .optional("payloadInHeaders", flag(), "`true`: the payload's top-level texts, numbers, `true` and `false` are sent as headers too. What could not be is in the attempt's `request.leftOut`.")
        .optional("asciiBody", flag(), "`true`: every character beyond ASCII is sent as `\\uXXXX`, and signed so.")
        .optional(
            "retrySchedule", list(text(1, DURATION_CHARS_MAX), SCHEDULE_STEPS_MAX), "Waits after each failure, such as `[\"5s\", \"5m\", \"2h\"]`; `[]`: one attempt. The server's when not given.")
        .optional("timeoutSeconds", number(0, TIMEOUT_SECONDS_MAX), "For one attempt; 0 goes back to the server's.")
        .optional("rateLimit", number(0, u64::from(RATE_LIMIT_MAX)), "Deliveries a second; 0 takes the limit away.")
        .optional("success", success, "What counts as delivered; any 2xx when not given.")
        .optional("metadata", map(), "Yours: names and texts, 4 KB together.")
        .optional(
            "clientId",
            any_text(),
            "What its owner calls himself when he answers requests; made when not given.",
        )
}

const HEADERS_SAY: &str = "Sent with every delivery, at most 20. Values whose names say secret, token, auth, key and the like are shown as `••••`, and `••••` put back keeps the stored value.";
const _: () = assert!(HEADERS_MAX == 20, "HEADERS_SAY says so");

pub(super) fn example() -> Value {
    json!({
        "channels": [],
        "enabled": true,
        "eventTypes": ["order.*"],
        "headers": {},
        "name": "Orders",
        "secrets": [],
        "uid": "main",
        "url": URL,
        "id": ENDPOINT_ID,
        "created": MADE_MS,
        "updated": MADE_MS,
        "description": "",
        "paused": false,
        "signatures": [{"scheme": "standard"}, {"scheme": "octohooks"}],
        "payloadInHeaders": false,
        "asciiBody": false,
        "retrySchedule": ["5s", "5m", "30m", "2h", "5h", "10h", "10h"],
        "timeoutSeconds": null,
        "rateLimit": null,
        "success": {"status": null, "body": null, "contentType": null},
        "metadata": {},
        "clientId": null,
        "disabled": null,
    })
}
