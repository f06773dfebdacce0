//! `/store`

use serde_json::json;

use super::Noun;
use super::fields::word;
use super::operation::Operation;
use crate::api::native::store::Shape;

pub(super) fn noun() -> Noun {
    Noun {
        name: "Server",
        description: "How much there is, and how big it is.",
        operations: vec![
            Operation::get("/store", "getStore")
                .says("Count what is stored", "These are totals of the whole server, kept with what they count.")
                .answers::<Shape>(
                    200,
                    "The figures.",
                    json!({
                        "messages": 1204, "attempts": 3391, "waiting": 12, "inFlight": 2,
                        "payloadBytes": 845_220, "contentBytes": 2_611_000, "fileBytes": 5_316_608, "liveBytes": null,
                    }),
                )
                .query("measure", word(&["pages"]), "Walks the tables and adds `liveBytes`; takes long."),
        ],
        words: &[],
    }
}
