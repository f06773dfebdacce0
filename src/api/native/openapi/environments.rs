//! `/environments`

use serde_json::{Value, json};

use super::fields::{Fields, text};
use super::operation::Operation;
use super::{MADE_MS, Noun};
use crate::api::native::environments::Shape;
use crate::domain::environment::ENVIRONMENT_NAME_CHARS_MAX;

const NAME_TAKEN: &str = "Another environment has this name.";

pub(super) fn noun() -> Noun {
    Noun {
        name: "Environments",
        description: "An environment is a separate world: it has its own applications, uids, inboxes, keys and audit log.",
        operations: operations(),
        words: &[],
    }
}

fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/environments", "createEnvironment")
            .says(
                "Create an environment",
                "It begins empty. A key for it is made with `POST /keys` and `environment`.",
            )
            .takes(input("NewEnvironment", true), json!({"name": "staging"}))
            .answers::<Shape>(201, "It was made.", example())
            .refuses(409, "name_taken", NAME_TAKEN)
            .refuses(409, "too_many", "There are 1,000 environments, as many as there may be."),
        Operation::get("/environments", "listEnvironments")
            .says("List environments", "All of them, oldest first.")
            .lists::<Shape>("The environments.", &example()),
        Operation::get("/environments/{env}", "getEnvironment")
            .says("Get an environment", "")
            .answers::<Shape>(200, "The environment.", example())
            .of_one_thing(),
        Operation::put("/environments/{env}", "updateEnvironment")
            .says("Rename an environment", "")
            .after("POST", "/environments", &json!({"name": "trial"}))
            .given("env", "trial")
            .takes(input("EnvironmentChange", false), json!({"name": "acceptance"}))
            .answers::<Shape>(200, "The environment as it is now.", example())
            .refuses(409, "name_taken", NAME_TAKEN),
        Operation::delete("/environments/{env}", "deleteEnvironment")
            .says(
                "Delete an environment",
                "With all that is in it. From the answer on its keys are refused and nothing more is sent. This cannot be \
                 undone.",
            )
            .after("POST", "/environments", &json!({"name": "old"}))
            .given("env", "old")
            .answers::<Shape>(200, "The environment as it was.", example())
            .refuses(409, "first_environment", "It is the environment that every server has."),
    ]
}

fn input(name: &'static str, create: bool) -> Fields {
    let name_text = text(1, ENVIRONMENT_NAME_CHARS_MAX);
    Fields::named(name).required_if(
        create,
        "name",
        name_text,
        "Its name, which no other environment has.",
    )
}

fn example() -> Value {
    json!({
        "id": "env_3k0QzTIjVn3pTuHuB5yHb3XpN6k",
        "name": "staging",
        "isDefault": false,
        "created": MADE_MS,
        "updated": MADE_MS,
    })
}
