//! Shared texts that are sent as they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use subtle::{Choice, ConstantTimeEq as _};

use super::reason::Reason;
use super::request::{Place, View};
use crate::domain::secret::Secret;

/// Items of a list whose token is looked at.
const ITEMS_MAX: usize = 1000;

pub(super) fn check_token(text: &str) -> Result<(), String> {
    if text.is_empty() || !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Err("must be visible ASCII, as a header's value".to_owned());
    }
    Ok(())
}

pub(super) fn check_basic(text: &str) -> Result<(), String> {
    if !text.contains(':') {
        return Err("must be `user:password`".to_owned());
    }
    Ok(())
}

fn is_one_of(secrets: &[Secret], given: &[u8]) -> bool {
    let mut matches = Choice::from(0);
    for secret in secrets {
        matches |= secret.expose().as_bytes().ct_eq(given);
    }
    bool::from(matches)
}

pub(super) fn verify(
    secrets: &[Secret],
    view: &View<'_>,
    place: &Place<&str>,
    prefix: &str,
) -> Result<(), Reason> {
    if secrets.is_empty() {
        return Err(Reason::NoSecret);
    }
    let given = view.required(place)?;
    let token = strip_scheme(&given, prefix).ok_or_else(|| Reason::PrefixMissing {
        what: place.to_string(),
        prefix: prefix.trim_end().to_owned(),
    })?;
    if is_one_of(secrets, token) {
        Ok(())
    } else {
        Err(Reason::WrongToken {
            what: place.to_string(),
        })
    }
}

/// What follows an authentication scheme, whose name may be in any case.
fn strip_scheme<'a>(value: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (scheme, rest) = value.split_at_checked(prefix.len())?;
    scheme
        .eq_ignore_ascii_case(prefix.as_bytes())
        .then_some(rest)
}

pub(super) fn verify_each(
    secrets: &[Secret],
    view: &View<'_>,
    list: &str,
    name: &str,
) -> Result<(), Reason> {
    if secrets.is_empty() {
        return Err(Reason::NoSecret);
    }
    let what = || format!("the field `{list}/0/{name}`");
    let document = view
        .document()
        .ok_or_else(|| Reason::NotJson { what: what() })?;
    let items = document.pointer(list).and_then(Value::as_array);
    let items = items.filter(|items| !items.is_empty() && items.len() <= ITEMS_MAX);
    let items = items.ok_or_else(|| Reason::Missing { what: what() })?;
    for item in items {
        let token = item.get(name).and_then(Value::as_str);
        let token = token.ok_or_else(|| Reason::Missing { what: what() })?;
        if !is_one_of(secrets, token.as_bytes()) {
            return Err(Reason::WrongToken { what: what() });
        }
    }
    Ok(())
}

pub(super) fn verify_basic(secrets: &[Secret], view: &View<'_>) -> Result<(), Reason> {
    if secrets.is_empty() {
        return Err(Reason::NoSecret);
    }
    let given = view.required(&Place::Header("authorization"))?;
    let encoded = strip_scheme(&given, "Basic ").ok_or(Reason::NotBasic)?;
    let decoded = STANDARD.decode(encoded.trim_ascii());
    let decoded = decoded.map_err(|_| Reason::NotBasic)?;
    if is_one_of(secrets, &decoded) {
        Ok(())
    } else {
        Err(Reason::WrongPassword)
    }
}
