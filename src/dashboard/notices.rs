//! What a page may say about the step before it: a closed list, so that a link
//! cannot put words into our mouth.

use super::frame::Notice;

/// The sentence of this code, if it is one.
pub(super) fn notice(code: &str) -> Option<Notice> {
    let found = DONE.iter().find(|(known, _)| *known == code);
    if let Some((_, text)) = found {
        return Some(Notice::good(*text));
    }
    let found = NOT_DONE.iter().find(|(known, _)| *known == code);
    found.map(|(_, text)| Notice::bad(*text))
}

const DONE: &[(&str, &str)] = &[
    ("saved", "Saved."),
    ("created", "Created."),
    ("deleted", "Deleted."),
    ("cleared", "Cleared: what came before is gone."),
    (
        "disconnected",
        "Disconnected. With nobody else there, the inbox answers for itself until somebody listens again.",
    ),
    ("sent-again", "It was tried. What came of it is beside."),
    ("replayed", "The replay is on its way."),
    ("replayed-all", "The replays are on their way."),
    ("sent", "The message was accepted, and is on its way."),
    ("paused", "Paused: what is due waits until you resume."),
    ("resumed", "Resumed: what waited is on its way."),
    (
        "disabled",
        "Disabled: nothing new is sent to it, and what waits stops.",
    ),
    (
        "enabled",
        "Enabled: it gets what comes from now on, and what waits goes on.",
    ),
    ("started", "The job was started. Its progress is below."),
    (
        "cancelled",
        "Cancelled. What was already in the queue is still sent.",
    ),
    (
        "rotated",
        "There is a new secret. The old ones sign too, until the time you chose.",
    ),
    ("asked", "The question is on its way."),
    (
        "verified",
        "It is good: it was accepted, and its message is on its way.",
    ),
    (
        "repeats",
        "It is good, but the same event had come before, so nothing was sent.",
    ),
    ("archived", "Archived: it is kept, and offered to nobody."),
    ("revoked", "Revoked. It opens nothing any more."),
    ("removed", "Removed. Their sessions have ended."),
    ("erased", "The erasure was started."),
    ("ended", "The sessions were ended."),
    (
        "password",
        "The password was changed, and all other sessions were ended.",
    ),
];

const NOT_DONE: &[(&str, &str)] = &[
    ("none-chosen", "No row was chosen, so nothing was done."),
    (
        "none-failed",
        "Nothing of it has failed, so nothing was sent again.",
    ),
    (
        "replayed-none",
        "Nothing was sent: the endpoint is disabled or gone, or the payload is no longer kept.",
    ),
    (
        "replayed-some",
        "Some replays are on their way; others were left out, for their endpoint is disabled or gone, or the payload is no longer kept.",
    ),
    ("not-found", "There is nothing here with that id or uid."),
];
