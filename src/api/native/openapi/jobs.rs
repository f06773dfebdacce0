//! `/jobs`, and what starts one for an endpoint.

use serde_json::{Value, json};

use super::fields::{Fields, list, number, text, word};
use super::operation::Operation;
use super::{APPLICATION_ID, ENDPOINT_ID, JOB_ID, MADE_MS, Noun};
use crate::api::native::attempts::STATUS_CLASSES;
use crate::api::native::jobs::{CountShape, Shape, TIME_MAX_MS};
use crate::domain::endpoint::{EVENT_FILTERS_MAX, RATE_LIMIT_MAX};
use crate::domain::job::JobState;
use crate::domain::message::{CHANNEL_CHARS_MAX, CHANNELS_MAX, EVENT_TYPE_CHARS_MAX};

/// 2026-01-01: before anything that an example sends.
const SINCE_MS: u64 = 1_767_225_600_000;
const REPLAYS: &str = "/applications/acme/endpoints/main/replays";

pub(super) fn noun() -> Noun {
    Noun {
        name: "Jobs",
        description: "A job goes through the messages of an application and sends some of them to an endpoint again, as fast as the endpoint takes them.",
        operations: operations(),
        words: &[
            (
                "Job",
                "kind",
                &["recovery", "backfill", "replay", "erasure"],
            ),
            ("Job", "state", &JobState::NAMES),
            (
                "Job",
                "reason",
                &[
                    "endpoint_disabled",
                    "endpoint_deleted",
                    "application_deleted",
                ],
            ),
            ("Job", "outcome", &["delivered", "failed"]),
            (
                "Job",
                "statusClass",
                &["none", "1xx", "2xx", "3xx", "4xx", "5xx"],
            ),
        ],
    }
}

fn operations() -> Vec<Operation> {
    let slow = |operation: Operation| {
        let body = json!({"since": SINCE_MS, "ratePerSecond": 1});
        operation.shell_of_new(("JOB", "{job}"), (REPLAYS, body), "id")
    };
    vec![
        starting(
            Operation::post("/applications/{app}/endpoints/{ep}/recoveries", "recoverEndpoint")
                .says(
                    "Recover an endpoint",
                    "Sends every failed delivery since a time again: those that were given up, and those that wait for a \
                     retry later.",
                )
                .takes(times("NewRecovery"), json!({"since": SINCE_MS})),
        ),
        starting(
            Operation::post("/applications/{app}/endpoints/{ep}/backfills", "backfillEndpoint")
                .says(
                    "Backfill an endpoint",
                    "Sends messages that the endpoint subscribes to and was never owed, with the whole retry schedule.",
                )
                .takes(times("NewBackfill"), json!({"since": SINCE_MS})),
        ),
        starting(
            Operation::post("/applications/{app}/endpoints/{ep}/replays", "replayEndpoint")
                .says(
                    "Replay to an endpoint",
                    "Sends deliveries that a filter selects again, delivered ones too. What is due already is left alone.",
                )
                .takes(
                    filtered(),
                    json!({"since": SINCE_MS, "eventTypes": ["order.*"], "outcome": "delivered", "ratePerSecond": 10}),
                ),
        ),
        Operation::get("/jobs", "listJobs")
            .says("List jobs", "Newest first.")
            .lists::<Shape>("The jobs.", &example())
            .query("state", word(&JobState::NAMES), "Only those that stand so.")
            .pages("a job"),
        Operation::get("/jobs/{job}", "getJob")
            .says("Get a job", "`finished` means that all is in the endpoint's queue.")
            .shell("JOB", "{job}", "/jobs", "id")
            .answers::<Shape>(200, "The job.", example())
            .of_one_thing(),
        slow(Operation::put("/jobs/{job}", "updateJob"))
            .says("Change the pace of a job", "")
            .takes(
                Fields::named("JobChange").optional("ratePerSecond", rate(), "How many a second at most; 0: no limit."),
                json!({"ratePerSecond": 50}),
            )
            .answers::<Shape>(200, "The job as it is now.", example())
            .refuses(409, "job_ended", "The job has ended, so it stays as it is."),
        slow(Operation::post("/jobs/{job}/cancellations", "cancelJob"))
            .says(
                "Cancel a job",
                "What is in the endpoint's queue already, 500 deliveries at most, is still sent. One that has ended stays \
                 as it is. Cancelling an erasure needs the scope `admin`.",
            )
            .answers::<Shape>(200, "The job as it is now.", example()),
    ]
}

/// What all that start a job have in common.
fn starting(operation: Operation) -> Operation {
    operation
        .answers::<Shape>(202, "The job.", example())
        .also_answers::<CountShape>(
            200,
            "With `?dryRun=true`: what the job would take now.",
            json!({"count": 312, "complete": true}),
        )
        .query(
            "dryRun",
            word(&["true", "false"]),
            "`true`: starts nothing, and says how many deliveries it would take.",
        )
        .refuses(
            409,
            "endpoint_disabled",
            "The endpoint takes no messages; enable it first.",
        )
        .refuses(
            409,
            "takes_requests",
            "The endpoint takes requests, and no messages; give it another scheme than optech.",
        )
        .refuses(
            409,
            "too_many_jobs",
            "1,000 jobs run already; wait until one has ended, or cancel one.",
        )
}

fn rate() -> utoipa::openapi::schema::Schema {
    number(0, u64::from(RATE_LIMIT_MAX))
}

fn times(name: &'static str) -> Fields {
    Fields::named(name)
        .required(
            "since",
            number(0, TIME_MAX_MS),
            "Messages that were made from then on, Unix milliseconds.",
        )
        .optional(
            "until",
            number(1, TIME_MAX_MS),
            "Messages that were made before; all that there are now when not given.",
        )
        .optional(
            "ratePerSecond",
            rate(),
            "How many a second at most; no limit of its own when not given.",
        )
}

fn filtered() -> Fields {
    let classes: Vec<&str> = STATUS_CLASSES.iter().map(|class| class.0).collect();
    times("NewReplay")
        .optional(
            "eventTypes",
            list(text(1, EVENT_TYPE_CHARS_MAX), EVENT_FILTERS_MAX),
            "Of these types only, with `*` and `**` as in an endpoint's.",
        )
        .optional(
            "channels",
            list(text(1, CHANNEL_CHARS_MAX), CHANNELS_MAX),
            "Of messages that have one of these only.",
        )
        .optional(
            "outcome",
            word(&["delivered", "failed"]),
            "Deliveries that ended so only.",
        )
        .optional(
            "statusClass",
            word(&classes),
            "Deliveries whose last attempt was answered so only; `none`: no response.",
        )
}

fn example() -> Value {
    json!({
        "id": JOB_ID,
        "kind": "recovery",
        "state": "running",
        "reason": null,
        "applicationId": APPLICATION_ID,
        "endpointId": ENDPOINT_ID,
        "since": SINCE_MS,
        "until": MADE_MS,
        "eventTypes": [],
        "channels": [],
        "outcome": null,
        "statusClass": null,
        "ratePerSecond": null,
        "total": 312,
        "examined": 0,
        "done": 0,
        "skipped": 0,
        "created": MADE_MS,
        "updated": MADE_MS,
        "ended": null,
    })
}

pub(super) fn erasure() -> Value {
    let mut job = example();
    job["kind"] = json!("erasure");
    job["endpointId"] = Value::Null;
    job
}
