//! What a caller says about a source: a JSON body, whichever face it came to.

use std::collections::BTreeMap;

use crate::control::applications::NAME_CHARS_MAX;
use crate::control::sources::{
    AnswerInput, LimitsInput, NamingInput, PlaceInput, RecordInput, SignatureInput, SourceInput,
    VerificationInput,
};
use crate::domain::answer::AnswerChange;
use crate::domain::message::{EVENT_TYPE_CHARS_MAX, UID_CHARS_MAX};
use crate::domain::record::{RECORD_HEADERS_MAX, RECORD_KEY_CHARS_MAX};
use crate::domain::source::{RATE_LIMIT_MAX, SLUG_CHARS};
use crate::domain::verification::{
    IP_RANGES_MAX, SECRETS_MAX, SETTING_CHARS_MAX, SIGNED_BYTES_MAX,
};

use super::body::Fields;
use super::problem::Problem;

/// Of a word from a closed list, a header's name, a prefix.
const WORD_CHARS_MAX: usize = 128;
const POINTER_CHARS_MAX: usize = 512;
const CONTENT_TYPE_CHARS_MAX: usize = 256;
const TOLERANCE_MAX: u64 = 86_400;
/// The fields of `verification` that are the same for all presets.
const COMMON: [&str; 5] = [
    "preset",
    "secrets",
    "toleranceSeconds",
    "ipRanges",
    "signature",
];

/// The fields of a source, each of the right type; what they may hold is the
/// control plane's to say.
///
/// # Errors
/// 400 and 422, with every field that is wrong.
pub fn read(body: &[u8]) -> Result<SourceInput, Problem> {
    let mut fields = Fields::parse(body)?;
    let input = SourceInput {
        name: fields.text_or_empty("name", NAME_CHARS_MAX),
        application: fields.text("application", UID_CHARS_MAX),
        slug: fields.text("slug", *SLUG_CHARS.end()),
        enabled: fields.boolean("enabled"),
        verification: inside(&mut fields, "verification", verification),
        event_type: inside(&mut fields, "eventType", naming),
        dedupe: inside(&mut fields, "dedupe", naming),
        record: inside(&mut fields, "record", |fields| RecordInput {
            key: fields.text_or_empty("key", RECORD_KEY_CHARS_MAX),
            headers: fields.texts("headers", RECORD_HEADERS_MAX, WORD_CHARS_MAX),
        }),
        answer: inside(&mut fields, "answer", answer),
        limits: inside(&mut fields, "limits", limits),
    };
    fields.finish()?;
    Ok(input)
}

fn inside<'a, T>(
    fields: &mut Fields<'a>,
    name: &str,
    read: impl FnOnce(&mut Fields<'a>) -> T,
) -> Option<T> {
    let mut object = fields.object(name)?;
    let read = read(&mut object);
    fields.absorb(object);
    Some(read)
}

fn number(fields: &mut Fields<'_>, name: &str, max: u64) -> Option<u32> {
    let number = fields.integer(name, 0..=max)?;
    u32::try_from(number).ok()
}

fn place(fields: &mut Fields<'_>) -> PlaceInput {
    PlaceInput {
        header: fields.text("header", WORD_CHARS_MAX),
        field: fields.text("field", POINTER_CHARS_MAX),
        query: fields.text("query", WORD_CHARS_MAX),
        item: fields.text("item", WORD_CHARS_MAX),
    }
}

fn verification(fields: &mut Fields<'_>) -> VerificationInput {
    let mut settings = BTreeMap::new();
    let others: Vec<String> = fields
        .names()
        .filter(|name| !COMMON.contains(name))
        .map(str::to_owned)
        .collect();
    for name in others {
        if let Some(text) = fields.text_or_empty(&name, SETTING_CHARS_MAX) {
            settings.insert(name, text);
        }
    }
    VerificationInput {
        preset: fields.text("preset", WORD_CHARS_MAX),
        secrets: fields.lines("secrets", SECRETS_MAX),
        settings,
        tolerance_s: number(fields, "toleranceSeconds", TOLERANCE_MAX),
        ip_ranges: fields.texts("ipRanges", IP_RANGES_MAX, WORD_CHARS_MAX),
        signature: inside(fields, "signature", signature),
    }
}

fn signature(fields: &mut Fields<'_>) -> SignatureInput {
    SignatureInput {
        place: place(fields),
        prefix: fields.text_or_empty("prefix", WORD_CHARS_MAX),
        separator: fields.text("separator", 1),
        algorithm: fields.text("algorithm", WORD_CHARS_MAX),
        encoding: fields.text("encoding", WORD_CHARS_MAX),
        key: fields.text("key", WORD_CHARS_MAX),
        signed: fields
            .any_text("signed")
            .filter(|text| text.len() <= 2 * SIGNED_BYTES_MAX),
        timestamp: inside(fields, "timestamp", |fields| {
            (place(fields), fields.text("unit", WORD_CHARS_MAX))
        }),
        id: inside(fields, "id", place),
    }
}

fn naming(fields: &mut Fields<'_>) -> NamingInput {
    NamingInput {
        fixed: fields.text("fixed", EVENT_TYPE_CHARS_MAX),
        place: place(fields),
        fallback: fields.text("fallback", EVENT_TYPE_CHARS_MAX),
        by: fields.text("by", WORD_CHARS_MAX),
    }
}

fn answer(fields: &mut Fields<'_>) -> AnswerInput {
    AnswerInput {
        fixed: answer_change(fields, str::to_owned),
        endpoint: fields.text("endpoint", UID_CHARS_MAX),
        timeout_seconds: fields.integer("timeoutSeconds", 1..=60),
    }
}

/// What is said about an answer, each part in the field that `named` calls.
pub fn answer_change(fields: &mut Fields<'_>, named: impl Fn(&str) -> String) -> AnswerChange {
    let status = fields.integer(&named("status"), 200..=599);
    AnswerChange {
        status: status.map(|status| u16::try_from(status).expect("within a range that fits")),
        content_type: fields.text(&named("contentType"), CONTENT_TYPE_CHARS_MAX),
        headers: fields
            .map(&named("headers"))
            .map(|headers| headers.into_iter().collect()),
        body: fields.any_text(&named("body")),
    }
}

fn limits(fields: &mut Fields<'_>) -> LimitsInput {
    LimitsInput {
        body_bytes: number(fields, "bodyBytes", u64::from(u32::MAX)),
        per_second: number(fields, "perSecond", u64::from(RATE_LIMIT_MAX)),
        methods: fields.texts("methods", 8, WORD_CHARS_MAX),
    }
}
