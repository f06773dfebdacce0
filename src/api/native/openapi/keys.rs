//! `/keys`

use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use super::fields::{Fields, any_text, described, list, number, text, word};
use super::operation::Operation;
use super::{APPLICATION_ID, KEY_ID, MADE_MS, Noun};
use crate::api::native::keys::{Issued, SCOPES_MAX, Shape};
use crate::domain::api_key::{API_KEY_NAME_CHARS_MAX, LIFETIME_SECONDS_MAX};
use crate::domain::environment::ENVIRONMENT_NAME_CHARS_MAX;
use crate::domain::message::UID_CHARS_MAX;
use crate::domain::principal::Capability;

const NOT_HELD: &str = "The key does not have a scope that it would hand out.";

pub(super) fn noun() -> Noun {
    Noun {
        name: "API keys",
        description: "An API key sees one environment, or one application of it, and may do what its scopes say. Its text is shown once, by the call that makes it.",
        operations: operations(),
        words: &[],
    }
}

fn operations() -> Vec<Operation> {
    let of_new = |operation: Operation, name: &str| {
        operation.shell_of_new(("ID", "{key}"), ("/keys", json!({"name": name})), "id")
    };
    vec![
        Operation::post("/keys", "createKey")
            .says(
                "Create an API key",
                "Nobody hands out more than they hold. With an `application` the key sees that application and nothing \
                 else of the environment, and goes with it.",
            )
            .may_take(
                input(),
                json!({"name": "billing", "scopes": ["messages:write", "read"], "application": "acme", "expiresInSeconds": 7_776_000}),
            )
            .answers::<Issued>(201, "It was made; its text is not shown again.", issued())
            .refuses(403, "forbidden", NOT_HELD)
            .refuses(409, "too_many", "There are 10,000 keys, as many as there may be."),
        Operation::get("/keys", "listKeys")
            .says("List API keys", "Those of the caller's environment, oldest first.")
            .lists::<Shape>("The keys, without their texts.", &example()),
        Operation::get("/keys/{key}", "getKey")
            .says("Get an API key", "")
            .shell("ID", "{key}", "/keys", "id")
            .answers::<Shape>(200, "The key, without its text.", example())
            .of_one_thing(),
        of_new(Operation::put("/keys/{key}", "updateKey"), "trial")
            .says("Rename an API key", "Nothing else of a key changes.")
            .takes(
                Fields::named("KeyChange").optional("name", text(0, API_KEY_NAME_CHARS_MAX), "What it is called in lists."),
                json!({"name": "reports"}),
            )
            .answers::<Shape>(200, "The key as it is now.", example()),
        of_new(Operation::post("/keys/{key}/rotations", "rotateKey"), "nightly")
            .says("Rotate an API key", "The old text stops at once; scopes and expiry stay.")
            .answers::<Issued>(201, "The key with its new text, which is not shown again.", issued())
            .refuses(403, "forbidden", NOT_HELD),
        of_new(Operation::delete("/keys/{key}", "revokeKey"), "old")
            .says("Revoke an API key", "No request that begins after the answer is let through.")
            .answers::<Shape>(200, "The key as it was.", example()),
    ]
}

fn input() -> Fields {
    let scopes: Vec<&str> = Capability::ALL
        .iter()
        .map(|capability| capability.name())
        .collect();
    Fields::named("NewKey")
        .optional(
            "name",
            text(0, API_KEY_NAME_CHARS_MAX),
            "What it is called in lists.",
        )
        .optional(
            "scopes",
            list(word(&scopes), SCOPES_MAX),
            "What it may do; `[\"admin\"]` when not given.",
        )
        .optional(
            "application",
            text(1, UID_CHARS_MAX),
            "Id or uid of the only application that it sees.",
        )
        .optional(
            "environment",
            text(1, ENVIRONMENT_NAME_CHARS_MAX),
            "Id or name of another environment; that needs the scope `environments`.",
        )
        .optional(
            "expiresInSeconds",
            number(1, LIFETIME_SECONDS_MAX),
            "How long it works; until it is revoked when not given.",
        )
}

/// A key, and its text.
impl PartialSchema for Issued<'_> {
    fn schema() -> RefOr<Schema> {
        let mut schema = Shape::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            let text = described(any_text(), "The text of the key, shown this once.");
            object.properties.insert("key".to_owned(), text.into());
        }
        schema
    }
}

impl ToSchema for Issued<'_> {
    fn name() -> std::borrow::Cow<'static, str> {
        "IssuedKey".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Shape::schemas(schemas);
    }
}

fn example() -> Value {
    json!({
        "id": KEY_ID,
        "name": "billing",
        "scopes": ["read", "messages:write"],
        "applicationId": APPLICATION_ID,
        "beginsWith": "hookpost_q3Zr8",
        "environment": "default",
        "created": MADE_MS,
        "expires": MADE_MS + 7_776_000_000,
        "lastUsed": null,
    })
}

fn issued() -> Value {
    let mut issued = example();
    issued["key"] = json!("hookpost_q3Zr8vT1kXw0bNfYhR2mVq7LdC4aTBcNe9gMjZnU6rAt3PhF8d");
    issued
}
