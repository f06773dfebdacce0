//! What a caller says about an endpoint: a JSON body, whichever face it came to.

use crate::control::applications::NAME_CHARS_MAX;
use crate::control::endpoints::{EndpointInput, TIMEOUT_SECONDS_MAX};
use crate::control::signatures::SchemeInput;
use crate::domain::address::URL_BYTES_MAX;
use crate::domain::endpoint::{EVENT_FILTERS_MAX, RATE_LIMIT_MAX, SECRETS_MAX, SuccessRule};
use crate::domain::message::{
    CHANNEL_CHARS_MAX, CHANNELS_MAX, EVENT_TYPE_CHARS_MAX, UID_CHARS_MAX,
};
use crate::domain::retry::SCHEDULE_STEPS_MAX;
use crate::domain::signing::{
    PREFIX_BYTES_MAX, SCHEMES_MAX, SIGNATURE_HEADER_BYTES_MAX, TEMPLATE_BYTES_MAX,
};

use super::body::Fields;
use super::problem::Problem;

pub const DESCRIPTION_CHARS_MAX: usize = 2000;
pub const SECRET_CHARS_MAX: usize = 1024;
pub const DURATION_CHARS_MAX: usize = 32;
/// Of a word from a closed list.
const WORD_CHARS_MAX: usize = 64;
pub const SUCCESS_BODY_CHARS_MAX: usize = 1024;
pub const SUCCESS_TYPE_CHARS_MAX: usize = 256;

/// The fields of an endpoint, each of the right type; what they may hold is
/// the control plane's to say.
///
/// # Errors
/// 400 and 422, with every field that is wrong.
pub fn read(body: &[u8]) -> Result<EndpointInput, Problem> {
    let mut fields = Fields::parse(body)?;
    let input = EndpointInput {
        name: fields.text_or_empty("name", NAME_CHARS_MAX),
        uid: fields.text("uid", UID_CHARS_MAX),
        description: fields.text_or_empty("description", DESCRIPTION_CHARS_MAX),
        url: url(&mut fields),
        enabled: fields.boolean("enabled"),
        paused: fields.boolean("paused"),
        event_types: fields.texts("eventTypes", EVENT_FILTERS_MAX, EVENT_TYPE_CHARS_MAX),
        channels: fields.texts("channels", CHANNELS_MAX, CHANNEL_CHARS_MAX),
        headers: fields.map("headers"),
        secrets: fields.texts("secrets", SECRETS_MAX, SECRET_CHARS_MAX),
        signatures: signatures(&mut fields),
        payload_in_headers: fields.boolean("payloadInHeaders"),
        ascii_body: fields.boolean("asciiBody"),
        retry_schedule: fields.texts("retrySchedule", SCHEDULE_STEPS_MAX, DURATION_CHARS_MAX),
        rate_limit: fields
            .integer("rateLimit", 0..=u64::from(RATE_LIMIT_MAX))
            .map(|limit| u32::try_from(limit).expect("within a limit that fits")),
        timeout_seconds: fields.integer("timeoutSeconds", 0..=TIMEOUT_SECONDS_MAX),
        success: success(&mut fields),
        metadata: fields.map("metadata"),
        client_id: fields.any_text("clientId"),
    };
    fields.finish()?;
    Ok(input)
}

/// The URL as it came: what is wrong in it is the guard's to say.
fn url(fields: &mut Fields<'_>) -> Option<String> {
    let raw = fields.raw("url")?;
    let Ok(text) = serde_json::from_str::<String>(raw.get()) else {
        fields.wrong("url", "must be a text");
        return None;
    };
    if text.len() > URL_BYTES_MAX {
        fields.wrong("url", format!("must have at most {URL_BYTES_MAX} bytes"));
    }
    Some(text)
}

fn signatures(fields: &mut Fields<'_>) -> Option<Vec<SchemeInput>> {
    let mut schemes = Vec::new();
    for mut item in fields.objects("signatures", SCHEMES_MAX)? {
        schemes.push(SchemeInput {
            scheme: item.required_text("scheme", WORD_CHARS_MAX),
            header: item.text("header", SIGNATURE_HEADER_BYTES_MAX),
            template: item.text("template", TEMPLATE_BYTES_MAX),
            encoding: item.text("encoding", WORD_CHARS_MAX),
            prefix: item.text_or_empty("prefix", PREFIX_BYTES_MAX),
        });
        fields.absorb(item);
    }
    Some(schemes)
}

fn success(fields: &mut Fields<'_>) -> Option<SuccessRule> {
    let mut inside = fields.object("success")?;
    let status = inside.integer("status", 200..=599);
    let rule = SuccessRule {
        status: status.map(|status| u16::try_from(status).expect("within a range that fits")),
        body: inside.text_or_empty("body", SUCCESS_BODY_CHARS_MAX),
        content_type: inside.text("contentType", SUCCESS_TYPE_CHARS_MAX),
    };
    fields.absorb(inside);
    Some(rule)
}
