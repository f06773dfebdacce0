//! `/applications`

use serde_json::{Value, json};

use super::fields::{Fields, number, text};
use super::operation::Operation;
use super::{APPLICATION_ID, MADE_MS, Noun, page_size};
use crate::api::native::applications::Shape;
use crate::control::applications::NAME_CHARS_MAX;
use crate::domain::message::UID_CHARS_MAX;

const UID_TAKEN: &str = "Another application has this uid.";
const BUILT_IN: &str = "It is the application of operational events, which stays as it is.";

pub(super) fn noun() -> Noun {
    Noun {
        name: "Applications",
        description: "An application is a tenant: one of your customers, with its own endpoints and messages.",
        operations: operations(),
        words: &[],
    }
}

fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/applications", "createApplication")
            .says(
                "Create an application",
                "Give it a `uid` of yours, such as the customer's number, and you need not keep its id.",
            )
            .takes(input("NewApplication", true), json!({"name": "Acme", "uid": "acme"}))
            .answers::<Shape>(201, "It was made.", example())
            .refuses(409, "uid_taken", UID_TAKEN),
        Operation::get("/applications", "listApplications")
            .says(
                "List applications",
                "All of them, in the order in which they were made, unless a page is asked for.",
            )
            .lists::<Shape>("The applications.", &example())
            .query("page", number(1, 1_000_000_000), "Which page, from 1.")
            .query("pageSize", page_size(), "How many on a page; 100 when only `page` is given."),
        Operation::get("/applications/{app}", "getApplication")
            .says("Get an application", "")
            .answers::<Shape>(200, "The application.", example())
            .of_one_thing(),
        Operation::put("/applications/{app}", "updateApplication")
            .says("Change an application", "What is left out stays as it is.")
            .takes(input("ApplicationChange", false), json!({"name": "Acme Ltd"}))
            .answers::<Shape>(200, "The application as it is now.", example())
            .refuses(409, "uid_taken", UID_TAKEN)
            .refuses(409, "built_in", BUILT_IN),
        Operation::delete("/applications/{app}", "deleteApplication")
            .says(
                "Delete an application",
                "With its endpoints, messages and attempts; nothing more is sent for it. This cannot be undone.",
            )
            .after("POST", "/applications", &json!({"name": "Old", "uid": "old"}))
            .given("app", "old")
            .answers::<Shape>(200, "The application as it was.", example())
            .refuses(409, "built_in", BUILT_IN),
    ]
}

fn input(name: &'static str, create: bool) -> Fields {
    let uid = text(1, UID_CHARS_MAX);
    Fields::named(name)
        .required_if(
            create,
            "name",
            text(1, NAME_CHARS_MAX),
            "What people call it.",
        )
        .optional(
            "uid",
            uid,
            "Yours, and of no other application: wherever a path takes the id it takes this too.",
        )
}

fn example() -> Value {
    json!({"name": "Acme", "uid": "acme", "id": APPLICATION_ID, "created": MADE_MS, "updated": MADE_MS})
}
