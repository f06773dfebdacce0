//! What a caller says about an inbox: a JSON body, whichever face it came to.

use crate::control::applications::NAME_CHARS_MAX;
use crate::control::inboxes::answer_field;
use crate::domain::address::URL_BYTES_MAX;
use crate::domain::inbox::{DELAY_MS_MAX, FAIL_NEXT_MAX, InboxChange};

use super::body::Fields;
use super::problem::Problem;
use super::source_input::answer_change;

/// The fields of an inbox, each of the right type.
///
/// # Errors
/// 400 and 422, with every field that is wrong.
pub fn read(body: &[u8]) -> Result<InboxChange, Problem> {
    let mut fields = Fields::parse(body)?;
    let number = |fields: &mut Fields<'_>, name: &str, max: u32| {
        let number = fields.integer(name, 0..=max.into())?;
        u32::try_from(number).ok()
    };
    let change = InboxChange {
        name: fields.text_or_empty("name", NAME_CHARS_MAX),
        answer: answer_change(&mut fields, answer_field),
        delay_ms: number(&mut fields, "answerDelayMilliseconds", DELAY_MS_MAX),
        fail_next: number(&mut fields, "failNext", FAIL_NEXT_MAX),
        open: fields.boolean("listenWithoutKey"),
    };
    fields.finish()?;
    Ok(change)
}

/// Where something received is to be sent.
///
/// # Errors
/// 400 and 422, with every field that is wrong.
pub fn read_replay(body: &[u8]) -> Result<String, Problem> {
    let mut fields = Fields::parse(body)?;
    let url = fields.required_text("url", URL_BYTES_MAX);
    fields.finish()?;
    Ok(url)
}
