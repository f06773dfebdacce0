//! `/inboxes`

use serde_json::{Value, json};

use super::fields::{Fields, number, text};
use super::operation::Operation;
use super::{INBOX_TOKEN, MADE_MS, Noun};
use crate::api::native::inboxes::{ReceivedShape, Shape};
use crate::control::applications::NAME_CHARS_MAX;

pub(super) fn noun() -> Noun {
    Noun {
        name: "Inboxes",
        description: "An inbox is a URL that takes any request, keeps it and shows it: an endpoint to try things with.",
        operations: operations(),
        words: &[("Received", "bodyEncoding", &["utf-8", "base64"])],
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
        with_token(Operation::put("/inboxes/{token}", "updateInbox"))
            .says("Change an inbox", "What it answers from now on: with 500, deliveries to it fail and are retried.")
            .takes(input("InboxChange"), json!({"answerStatus": 204}))
            .answers::<Shape>(200, "The inbox as it is now.", example()),
    ]
}

fn input(name: &'static str) -> Fields {
    Fields::named(name)
        .optional("name", text(0, NAME_CHARS_MAX), "What people call it.")
        .optional(
            "answerStatus",
            number(200, 599),
            "What it answers; 200 when not given.",
        )
}

fn example() -> Value {
    json!({
        "id": "inbox_3k0QzTDeQg3iMlBpW9tCw6SkH1f",
        "token": INBOX_TOKEN,
        "name": "trial",
        "url": format!("https://hooks.example/in/{INBOX_TOKEN}/"),
        "answerStatus": 200,
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
    })
}
