//! `/applications/{app}/requests`

use serde_json::{Value, json};

use super::fields::{Fields, flag, number, text};
use super::operation::Operation;
use super::{ENDPOINT_ID, MADE_MS, Noun, REQUEST_ID};
use crate::api::native::requests::Shape;
use crate::domain::message::UID_CHARS_MAX;
use crate::domain::request::QUESTION_CHARS_MAX;

pub(super) fn noun() -> Noun {
    Noun {
        name: "Requests",
        description: "A request asks an endpoint for data and waits: the answer comes at once, or within ten minutes to a link. Such an endpoint signs by `optech` alone, and gets no messages.",
        operations: operations(),
        words: &[(
            "Request",
            "status",
            &["pending", "answered", "failed", "expired"],
        )],
    }
}

/// The operation, after an endpoint that takes requests and one of them.
fn with_endpoint(operation: Operation) -> Operation {
    let endpoint = json!({
        "url": "https://data.example/ask", "signatures": [{"scheme": "optech"}],
    });
    operation.shell_of_new(
        ("ASKED", "{asked}"),
        ("/applications/acme/endpoints", endpoint),
        "id",
    )
}

fn operations() -> Vec<Operation> {
    let question = json!({"key": "getOrders", "endpoint": "{asked}", "wait": false});
    vec![
        with_endpoint(
            Operation::post("/applications/{app}/requests", "createRequest")
                .says(
                    "Ask an endpoint",
                    "The question is on disk before it is sent. With `wait` the call returns the answer; 504 when none came in time, though one that comes to the link within ten minutes is kept. With an `Idempotency-Key` that was used before nothing is asked again: it answers with the present state of the first request, also after a 502 or 504, so an answer that came late is found by it. A POST that timed out is not sent again.",
                )
                .takes(
                    input(),
                    json!({
                        "key": "getOrders", "inputs": {"userId": "42"}, "endpoint": "{asked}", "wait": false,
                    }),
                )
                .answers::<Shape>(202, "It was made, and is under way.", example("pending"))
                .also_answers::<Shape>(200, "The answer.", example("answered"))
                .refuses(409, "takes_no_requests", "The endpoint takes messages.")
                .refuses(409, "endpoint_disabled", "The endpoint is disabled or paused.")
                .refuses(502, "request_failed", "The endpoint refused, or could not be asked.")
                .refuses(504, "no_answer_yet", "No answer came in time."),
        ),
        Operation::get("/applications/{app}/requests", "listRequests")
            .says("List requests", "Newest first.")
            .lists::<Shape>("The requests.", &example("answered"))
            .pages("a request"),
        with_endpoint(Operation::get("/applications/{app}/requests/{req}", "getRequest"))
            .given("req", "{req}")
            .shell_of_new(
                ("REQUEST", "{req}"),
                ("/applications/acme/requests", question),
                "id",
            )
            .says("Get a request", "With `wait` it answers once the request is settled.")
            .query("wait", number(0, 600), "Seconds to wait for that.")
            .answers::<Shape>(200, "The request.", example("answered"))
            .of_one_thing(),
    ]
}

fn input() -> Fields {
    Fields::named("NewRequest")
        .required("key", text(1, QUESTION_CHARS_MAX), "What is asked for.")
        .optional(
            "inputs",
            Fields::open_object(),
            "What the answer depends on.",
        )
        .optional(
            "endpoint",
            text(1, UID_CHARS_MAX),
            "Id or uid; not needed when one endpoint of the application takes requests.",
        )
        .optional(
            "timeoutSeconds",
            number(1, 600),
            "How long to wait for the answer; 10 when not given.",
        )
        .optional(
            "wait",
            flag(),
            "Whether the call waits; it does when not given.",
        )
}

fn example(status: &str) -> Value {
    let answered = status == "answered";
    json!({
        "id": REQUEST_ID,
        "status": status,
        "key": "getOrders",
        "inputs": {"userId": "42"},
        "data": answered.then(|| json!({"orders": [42]})),
        "reason": "",
        "endpoint": ENDPOINT_ID,
        "link": "https://hooks.example/ingest/req/3k0QzTKkW/o3qUvIvC5/zIc3YqO7l",
        "linkEnds": MADE_MS + 600_000,
        "tries": [],
        "refused": [],
        "created": MADE_MS,
        "settled": answered.then_some(MADE_MS + 250),
    })
}
