//! How a value becomes bytes: a version byte, then postcard.
//!
//! postcard does not describe itself, so a struct that has been written is
//! never changed: a new one with the next version is added, and reading turns
//! the old into the new. `rows.rs` holds them, with golden bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

/// What can be written as a record of one version.
pub(super) trait Versioned: Serialize {
    const VERSION: u8;
}

/// A stored record of one version.
pub(super) trait Row: Versioned + DeserializeOwned {}

/// The bytes of `row`.
pub(super) fn encode<R: Versioned>(row: &R) -> Vec<u8> {
    let bytes = Vec::with_capacity(128);
    let bytes = postcard::to_extend(&R::VERSION, bytes).expect("a byte always fits");
    postcard::to_extend(row, bytes).expect("rows have no type that postcard refuses")
}

/// The row in `bytes`.
///
/// # Errors
/// [`StoreError::Newer`] for a version not known here, [`StoreError::Corrupt`]
/// for anything else that cannot be read, trailing bytes included.
pub(super) fn decode<R: Row>(bytes: &[u8]) -> Result<R, StoreError> {
    let (&version, rest) = bytes
        .split_first()
        .ok_or(StoreError::Corrupt("an empty row"))?;
    if version > R::VERSION {
        return Err(StoreError::Newer);
    }
    if version < R::VERSION {
        return Err(StoreError::Corrupt("a row of a version that never was"));
    }
    match postcard::take_from_bytes(rest) {
        Ok((row, [])) => Ok(row),
        Ok(_) => Err(StoreError::Corrupt("a row with trailing bytes")),
        Err(_) => Err(StoreError::Corrupt("a row that does not decode")),
    }
}
