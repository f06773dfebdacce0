//! What an answer that is always the same may be.

use super::FieldError;
use crate::domain::answer::{AnswerChange, AnswerField};

/// What is wrong with what is said of an answer. `named` gives the field's
/// whole path: of `contentType`, `headers` or `body`.
pub(super) fn answer_errors(
    change: &AnswerChange,
    named: impl Fn(&str) -> String,
) -> Vec<FieldError> {
    let path = |field| match field {
        AnswerField::ContentType => named("contentType"),
        AnswerField::Body => named("body"),
        AnswerField::Headers => named("headers"),
        AnswerField::Header(name) => format!("{}.{name}", named("headers")),
    };
    let wrong = change.check().into_iter();
    wrong
        .map(|(field, detail)| FieldError::new(path(field), detail))
        .collect()
}
