//! `/inboxes`

use serde_json::{Value, json};

use super::endpoints::{URL, URL_BLOCKED};
use super::fields::{Fields, any_text, flag, map, number, text};
use super::operation::Operation;
use super::{INBOX_TOKEN, MADE_MS, Noun};
use crate::api::native::inboxes::{ReceivedShape, ReplayShape, SenderShape, Shape};
use crate::api::native::listeners::Shape as ListenerShape;
use crate::control::applications::NAME_CHARS_MAX;
use crate::domain::address::URL_BYTES_MAX;
use crate::domain::inbox::{DELAY_MS_MAX, FAIL_NEXT_MAX};

pub(super) fn noun() -> Noun {
    Noun {
        name: "Inboxes",
        description: "An inbox is a URL that takes any request, keeps it and shows it: an endpoint to try things with.",
        operations: operations(),
        words: &[
            ("Received", "bodyEncoding", &["utf-8", "base64"]),
            ("Relayed", "bodyEncoding", &["utf-8", "base64"]),
            ("Relayed", "state", &["waiting", "answered", "never"]),
        ],
    }
}

fn operations() -> Vec<Operation> {
    let with_token =
        |operation: Operation| operation.shell("TOKEN", "{token}", "/inboxes", "token");
    vec![
        Operation::post("/inboxes", "createInbox")
            .says(
                "Create an inbox",
                "Its `url` takes any method, there and anywhere below it, keeps what came, and answers `OK`. It is a \
                 fair URL for an endpoint of this server.",
            )
            .may_take(input("NewInbox"), json!({"name": "trial"}))
            .answers::<Shape>(201, "It was made.", example()),
        Operation::get("/inboxes", "listInboxes")
            .says("List inboxes", "")
            .lists::<Shape>("The inboxes.", &example()),
        with_token(Operation::get("/inboxes/{token}", "getInbox"))
            .says("Get an inbox", "")
            .answers::<Shape>(200, "The inbox.", example())
            .of_one_thing(),
        with_token(Operation::get("/inboxes/{token}/received", "listReceived"))
            .says("List what an inbox received", "Newest first; the last 500 requests are kept.")
            .lists::<ReceivedShape>("What came.", &received())
            .pages("something received"),
        with_received(Operation::get("/inboxes/{token}/received/{rcv}", "getReceived"))
            .says("Get one thing that an inbox received", "")
            .answers::<ReceivedShape>(200, "What came.", received())
            .of_one_thing(),
        with_received(Operation::post("/inboxes/{token}/received/{rcv}/replays", "replayReceived"))
            .says(
                "Send something received to another URL",
                "Method, headers and body go as they came, without the headers of the connection; `url` is used as it \
                 is. Waits at most 20 seconds for the answer, and says what came of it.\n\n\
                 Addresses are refused as for an endpoint's URL. The same `Idempotency-Key` sends nothing again, once \
                 what came of it is known.",
            )
            .takes(
                Fields::named("NewReceivedReplay").required(
                    "url",
                    text(1, URL_BYTES_MAX),
                    "Where to send it.",
                ),
                json!({"url": URL}),
            )
            .shell_of_new(("INBOX", URL), ("/inboxes", json!({"name": "other"})), "url")
            .answers::<ReplayShape>(200, "What came of it.", replay())
            .refuses(409, "too_many_replays", "Many are on their way at the moment; try again shortly.")
            .refuses(422, "endpoint_url_blocked", URL_BLOCKED),
        with_token(Operation::get("/inboxes/{token}/endpoints", "listInboxEndpoints"))
            .says("List the endpoints that send to an inbox", "At most 100, of any application.")
            .lists::<SenderShape>("The endpoints.", &sender()),
        with_token(Operation::get("/inboxes/{token}/listeners", "listListeners"))
            .says(
                "List who listens at an inbox",
                "`hookpost listen` and `svix listen` connect by a websocket, `GET /api/v1/listen/`; what comes to the \
                 inbox is theirs to answer. See the documentation of the relay.",
            )
            .lists::<ListenerShape>("The listeners.", &listener()),
        with_token(Operation::delete("/inboxes/{token}/listeners", "closeListeners"))
            .says(
                "End the connections of who listens at an inbox",
                "`hookpost listen` ends then; another client may come back by itself.",
            )
            .lists::<ListenerShape>("Those that were there.", &listener()),
        with_token(Operation::put("/inboxes/{token}", "updateInbox"))
            .says("Change an inbox", "What it answers from now on: with 500, deliveries to it fail and are retried.")
            .takes(input("InboxChange"), json!({"answerStatus": 204}))
            .answers::<Shape>(200, "The inbox as it is now.", example()),
        with_token(Operation::delete("/inboxes/{token}/received", "clearInbox"))
            .says("Clear an inbox", "Drops every request that came. The URL stays.")
            .answers::<Shape>(200, "The inbox, which is empty.", example()),
        with_token(Operation::delete("/inboxes/{token}", "deleteInbox"))
            .says(
                "Delete an inbox",
                "Its URL answers 404 at once, and what it received is gone. Endpoints that have the URL fail from then on.",
            )
            .answers::<Shape>(200, "The inbox as it was.", example()),
    ]
}

fn with_received(operation: Operation) -> Operation {
    operation
        .shell("TOKEN", "{token}", "/inboxes", "token")
        .after("POST", "/in/{token}/", &json!({"order": 42}))
        .given("rcv", "{rcv}")
        .shell("RECEIVED", "{rcv}", "/inboxes/{token}/received", "id")
}

fn input(name: &'static str) -> Fields {
    Fields::named(name)
        .optional("name", text(0, NAME_CHARS_MAX), "What people call it.")
        .optional(
            "answerStatus",
            number(200, 599),
            "The status that it answers; 200 when not given.",
        )
        .optional(
            "answerContentType",
            text(1, 256),
            "Content type of the answer; `text/plain` when not given.",
        )
        .optional(
            "answerHeaders",
            map(),
            "Further headers of the answer, at most 20.",
        )
        .optional(
            "answerBody",
            any_text(),
            "Body of the answer, at most 16 KB; `OK` when not given.",
        )
        .optional(
            "answerDelayMilliseconds",
            number(0, DELAY_MS_MAX.into()),
            "How long the answer is held back, once the request is kept; 0 when not given.",
        )
        .optional(
            "failNext",
            number(0, FAIL_NEXT_MAX.into()),
            "How many requests from now on are answered 503; 0 when not given.",
        )
        .optional(
            "listenWithoutKey",
            flag(),
            "Whether `hookpost listen` and `svix listen` may listen here without an API key; false when not given. \
             Whoever knows the URL may then read what comes.",
        )
}

fn example() -> Value {
    json!({
        "id": "inbox_3k0QzTDeQg3iMlBpW9tCw6SkH1f",
        "token": INBOX_TOKEN,
        "name": "trial",
        "url": format!("https://hooks.example/in/{INBOX_TOKEN}/"),
        "answerStatus": 200,
        "answerContentType": "text/plain",
        "answerHeaders": {},
        "answerBody": "OK",
        "answerDelayMilliseconds": 0,
        "failNext": 0,
        "listenWithoutKey": false,
        "listened": MADE_MS,
        "waiting": 0,
        "created": MADE_MS,
    })
}

fn received() -> Value {
    json!({
        "id": "rcv_3k0QzTEfRh5jNmCqX0uDx7TlJ2g",
        "timestamp": MADE_MS,
        "method": "POST",
        "path": "/",
        "headers": [["content-type", "application/json"], ["webhook-timestamp", "1795305600"]],
        "body": "{\"order\": 42, \"total\": \"19.90\"}",
        "bodyEncoding": "utf-8",
        "answerStatus": 200,
        "peer": null,
        "eventType": "order.created",
        "replays": [replay()],
        "relayed": {
            "state": "answered",
            "timestamp": MADE_MS,
            "status": 200,
            "headers": [["content-type", "text/plain"]],
            "body": "OK",
            "bodyEncoding": "utf-8",
            "bodyBytes": 2,
            "detail": "",
            "durationMilliseconds": 12.5,
        },
    })
}

fn sender() -> Value {
    json!({
        "id": "ep_3k0QzTFgSi6kOnDrY1vEy8UmK3h",
        "applicationId": "app_3k0QzTGhTj7lPoEsZ2wFz9VnL4i",
        "url": format!("https://hooks.example/in/{INBOX_TOKEN}/"),
    })
}

fn listener() -> Value {
    json!({
        "id": 12,
        "client": "hookpost 0.1.0 on ada-laptop",
        "peer": "192.0.2.7",
        "hasKey": true,
        "shares": false,
        "since": MADE_MS,
        "heard": MADE_MS,
        "forwarded": 3,
        "inFlight": 0,
    })
}

fn replay() -> Value {
    json!({
        "timestamp": MADE_MS,
        "url": URL,
        "status": 200,
        "detail": "",
        "body": "OK",
        "durationMilliseconds": 12.5,
    })
}
