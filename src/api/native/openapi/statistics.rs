//! `/statistics`, of an endpoint, an application, the environment.

use serde_json::{Value, json};
use utoipa::openapi::schema::{Object, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::fields::{Fields, number, time, word};
use super::operation::Operation;
use super::{MADE_MS, Noun};
use crate::api::native::statistics::{Figures, Outcomes, Point, Shape};
use crate::domain::attempt::OUTCOMES;
use crate::domain::time::Timestamp;

const SAYS: &str = "The answer has every slot of UTC time that the range touches, those where nothing happened too. At most 1,500 minutes, 1,500 hours or 1,000 days. Minutes are kept 48 hours, hours 90 days, days 2 years; what is no longer kept is zero.";

pub(super) fn noun() -> Noun {
    Noun {
        name: "Statistics",
        description: "What messages and attempts came to over time: by minute, hour or day.",
        operations: vec![
            of(
                "/applications/{app}/endpoints/{ep}/statistics",
                "getEndpointStatistics",
                "Count the attempts at an endpoint",
            ),
            of(
                "/applications/{app}/statistics",
                "getApplicationStatistics",
                "Count what an application sent",
            ),
            of(
                "/statistics",
                "getStatistics",
                "Count what the environment sent",
            )
            .refuses(404, "not_found", "The key sees one application only."),
        ],
        words: &[("Statistics", "resolution", &["minute", "hour", "day"])],
    }
}

fn of(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::get(path, id)
        .says(summary, SAYS)
        .answers::<Shape>(200, "The figures.", example())
        .query(
            "resolution",
            word(&["minute", "hour", "day"]),
            "How long a slot is; `hour` when not given.",
        )
        .query(
            "from",
            time(),
            "From when on; 60 minutes, 24 hours or 28 days ago when not given.",
        )
        .query("to", time(), "Until when; now when not given.")
}

/// A point has the figures and the time they are of.
impl PartialSchema for Point {
    fn schema() -> RefOr<Schema> {
        let mut point = Object::new();
        let mut timestamp = Ref::from_schema_name(Timestamp::name());
        "When the slot begins.".clone_into(&mut timestamp.description);
        point
            .properties
            .insert("timestamp".to_owned(), timestamp.into());
        if let RefOr::T(Schema::Object(figures)) = Figures::schema() {
            point.properties.extend(figures.properties);
        }
        point.into()
    }
}

impl ToSchema for Point {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Timestamp::name().into_owned(), Timestamp::schema()));
        Figures::schemas(schemas);
    }
}

/// Every name, zeros too.
impl PartialSchema for Outcomes {
    fn schema() -> RefOr<Schema> {
        let count = || number(0, u64::from(u32::MAX));
        let fields = OUTCOMES
            .iter()
            .fold(Fields::named("Outcomes"), |fields, name| {
                fields.required(name, count(), "Attempts that ended so.")
            });
        fields.schema().into()
    }
}

impl ToSchema for Outcomes {}

fn example() -> Value {
    let mut figures = json!({
        "messages": 1204,
        "payloadBytes": 845_220,
        "delivered": 1198,
        "failed": 31,
        "unanswered": 4,
        "results": {
            "response": 1225, "timedOut": 3, "dnsFailed": 0, "refused": 1, "reset": 0, "tlsFailed": 0,
            "blockedAddress": 0, "protocol": 0,
        },
        "latencyMs": {"p50": 84, "p95": 310, "p99": 1100, "max": 20_000, "mean": 121},
        "sentBytes": 851_004,
    });
    let total = figures.clone();
    figures["timestamp"] = json!(MADE_MS);
    json!({
        "resolution": "hour",
        "from": MADE_MS,
        "to": MADE_MS + 3_600_000,
        "total": total,
        "points": [figures],
    })
}
