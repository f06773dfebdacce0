//! `/audit`

use serde_json::json;

use super::operation::Operation;
use super::{APPLICATION_ID, ENDPOINT_ID, MADE_MS, Noun};
use crate::api::native::audit::Shape;

pub(super) fn noun() -> Noun {
    Noun {
        name: "Audit",
        description: "Who did what that somebody may ask about later: secrets read, things deleted, keys made and revoked.",
        operations: vec![
            Operation::get("/audit", "listAudit")
                .says(
                    "List the audit log",
                    "Newest first. Nothing in it can be changed.",
                )
                .lists::<Shape>(
                    "The entries.",
                    &json!({
                        "id": "audit_3k0QzTFgSj7kPnDrY1vEy8UmK3h",
                        "timestamp": MADE_MS,
                        "actor": "API key hookpost_abcde (ci)",
                        "action": "secret.read",
                        "subject": ENDPOINT_ID,
                        "detail": "",
                        "applicationId": APPLICATION_ID,
                    }),
                )
                .pages("an entry"),
        ],
        words: &[],
    }
}
