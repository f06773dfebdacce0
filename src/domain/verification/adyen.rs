//! Adyen's standard notifications: each item has a signature of its own, of
//! some of its fields. Source: Adyen, verifying HMAC signatures.

use base64::Engine as _;
use ring::hmac;
use serde_json::Value;
use subtle::{Choice, ConstantTimeEq as _};

use super::keys::{BASE64, Key};
use super::reason::Reason;
use super::request::View;

const ITEMS_MAX: usize = 100;
const SIGNED: [&str; 8] = [
    "/pspReference",
    "/originalReference",
    "/merchantAccountCode",
    "/merchantReference",
    "/amount/value",
    "/amount/currency",
    "/eventCode",
    "/success",
];

pub(super) fn verify(keys: &[Key], view: &View<'_>) -> Result<(), Reason> {
    let what = || "the field `/notificationItems/0/NotificationRequestItem`".to_owned();
    if keys.is_empty() {
        return Err(Reason::NoSecret);
    }
    let document = view
        .document()
        .ok_or_else(|| Reason::NotJson { what: what() })?;
    let items = document
        .pointer("/notificationItems")
        .and_then(Value::as_array);
    let items = items.filter(|items| !items.is_empty() && items.len() <= ITEMS_MAX);
    for item in items.ok_or_else(|| Reason::Missing { what: what() })? {
        let item = item.get("NotificationRequestItem");
        verify_item(keys, item.ok_or_else(|| Reason::Missing { what: what() })?)?;
    }
    Ok(())
}

fn verify_item(keys: &[Key], item: &Value) -> Result<(), Reason> {
    let given = item.pointer("/additionalData/hmacSignature");
    let given = given
        .and_then(Value::as_str)
        .ok_or_else(|| Reason::Missing {
            what: "the field `additionalData/hmacSignature`".to_owned(),
        })?;
    let given = BASE64
        .decode(given)
        .map_err(|_| Reason::NotEncoded { encoding: "base64" })?;
    let text = |pointer: &&str| match item.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let signed: Vec<String> = SIGNED.iter().map(text).collect();
    let signed = signed.join(":");
    let mut matches = Choice::from(0);
    for key in keys {
        if let Key::Hmac(key) = key {
            matches |= hmac::sign(key, signed.as_bytes()).as_ref().ct_eq(&given);
        }
    }
    bool::from(matches)
        .then_some(())
        .ok_or(Reason::NoSecretMatches)
}
