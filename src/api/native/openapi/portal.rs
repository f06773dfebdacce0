//! `/applications/{app}/portal-links`, `/applications/{app}/portal-sessions`

use serde_json::json;

use super::fields::{Fields, flag, number, text};
use super::operation::Operation;
use super::{MADE_MS, Noun};
use crate::api::native::portal::{EndedShape, LinkShape, NEXT_CHARS_MAX};
use crate::control::portal::PORTAL_SESSION_SECONDS_MIN;
use crate::domain::session::PORTAL_SESSION_MAX;

pub(super) fn noun() -> Noun {
    Noun {
        name: "Portal",
        description: "The portal is the dashboard for one of your customers: the endpoints, event catalog and logs of one application, and nothing else.",
        operations: operations(),
        words: &[],
    }
}

fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/applications/{app}/portal-links", "createPortalLink")
            .says(
                "Create a portal link",
                "A link that works once, within ten minutes, and opens a session which sees this application alone. \
                 Make one when your user asks for their webhooks, and send their browser there. It hands out the \
                 scopes `read`, `messages:write`, `endpoints:write` and `secrets`, so the key must have them; with \
                 `readOnly`, `read` is enough.",
            )
            .may_take(input(), json!({"expiresInSeconds": 3600, "next": "/endpoints"}))
            .answers::<LinkShape>(
                201,
                "It was made.",
                json!({
                    "url": "https://hooks.example/links/9Qb3vK0cWq1uYx7ZtR5nLw2sHj8dFg4mPa6eCk0iVbo",
                    "expires": MADE_MS,
                }),
            ),
        Operation::delete("/applications/{app}/portal-sessions", "endPortalSessions")
            .says(
                "End all portal sessions",
                "Whoever is in this application's portal is out, and links that nobody has followed stop.",
            )
            .answers::<EndedShape>(200, "They were ended.", json!({"ended": 2})),
    ]
}

fn input() -> Fields {
    Fields::named("NewPortalLink")
        .optional(
            "expiresInSeconds",
            number(PORTAL_SESSION_SECONDS_MIN, PORTAL_SESSION_MAX.as_secs()),
            "How long the session lasts; four hours when not given.",
        )
        .optional(
            "readOnly",
            flag(),
            "Whether the session may see everything and change nothing.",
        )
        .optional(
            "next",
            text(1, NEXT_CHARS_MAX),
            "The page to begin with: a path inside the portal, such as `/endpoints`.",
        )
}
