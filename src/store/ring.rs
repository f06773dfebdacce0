//! What came from outside and is kept for a while: of each inbox, and of what
//! each source did not accept, the newest. Rows are small; their bodies lie
//! apart, and rows are counted, so that neither a list nor another row reads
//! the bodies of the others.

use bytes::Bytes;
use redb::{ReadableTable, Table};

use super::StoreError;
use super::cipher::Cipher;
use super::codec::{decode, encode};
use super::rows::SecretHeadersV1;
use super::tables::{Tables, pair, part};
use crate::domain::endpoint::is_secret_header;

/// A table of rows by inbox or source, and key of what was received.
type Rows<'txn> = Table<'txn, &'static [u8; 16], &'static [u8]>;
type Counts<'txn> = Table<'txn, &'static [u8; 8], &'static [u8; 8]>;

/// Keeps a row and its body; the oldest makes room when there are `max`, and is
/// given back.
pub(super) fn put(
    (ring, bodies, counts): (&mut Rows<'_>, &mut Rows<'_>, &mut Counts<'_>),
    place: &[u8; 16],
    row: &[u8],
    body: &[u8],
    max: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    ring.insert(place, row)?;
    if !body.is_empty() {
        bodies.insert(place, body)?;
    }
    let owner = part(place, 0);
    let kept = count(owner, counts)? + 1;
    if kept <= max {
        counts.insert(&owner.to_be_bytes(), &kept.to_be_bytes())?;
        return Ok(None);
    }
    let all = pair(owner, 0)..=*place;
    let oldest = {
        let mut rows = ring.range::<&[u8; 16]>(&all.start()..=&all.end())?;
        rows.next().transpose()?.map(|row| *row.0.value())
    };
    let Some(oldest) = oldest else {
        return Ok(None);
    };
    bodies.remove(&oldest)?;
    let gone = ring.remove(&oldest)?;
    Ok(gone.map(|row| row.value().to_vec()))
}

/// Takes a row out, with its body.
pub(super) fn remove(
    (ring, bodies, counts): (&mut Rows<'_>, &mut Rows<'_>, &mut Counts<'_>),
    place: &[u8; 16],
) -> Result<(), StoreError> {
    if ring.remove(place)?.is_none() {
        return Ok(());
    }
    bodies.remove(place)?;
    let owner = part(place, 0);
    let kept = count(owner, counts)?.saturating_sub(1);
    counts.insert(&owner.to_be_bytes(), &kept.to_be_bytes())?;
    Ok(())
}

/// Takes all rows of an inbox out.
pub(super) fn clear_inbox(inbox: u64, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let all = pair(inbox, 0)..=pair(inbox, u64::MAX);
    for table in [&mut tables.received, &mut tables.kept_bodies] {
        table.retain_in::<&[u8; 16], _>(&all.start()..=&all.end(), |_, _| false)?;
    }
    tables.kept_counts.remove(&inbox.to_be_bytes())?;
    Ok(())
}

fn count(owner: u64, counts: &Counts<'_>) -> Result<u64, StoreError> {
    let row = counts.get(&owner.to_be_bytes())?;
    Ok(row.map_or(0, |count| u64::from_be_bytes(*count.value())))
}

/// The body of a row; empty when it had none.
pub(super) fn body(
    place: &[u8; 16],
    bodies: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
) -> Result<Bytes, StoreError> {
    let row = bodies.get(place)?;
    Ok(row.map_or_else(Bytes::new, |bytes| Bytes::copy_from_slice(bytes.value())))
}

/// Takes the values that are secret out of headers; what is left is stored as it
/// is, the rest encrypted. `token` names the header that a sender proves itself
/// by.
pub(super) fn part_headers(
    headers: &mut [(String, Vec<u8>)],
    token: Option<&str>,
    place: &[u8; 16],
    cipher: &Cipher,
) -> Vec<u8> {
    let mut secret = Vec::new();
    for (at, (name, value)) in headers.iter_mut().enumerate() {
        if is_secret_header(name, token) {
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            secret.push((at, std::mem::take(value)));
        }
    }
    if secret.is_empty() {
        return Vec::new();
    }
    cipher.seal("receipts", place, &encode(&SecretHeadersV1(secret)))
}

/// Puts the values that are secret back.
pub(super) fn join_headers(
    headers: &mut [(String, Vec<u8>)],
    sealed: &[u8],
    place: &[u8; 16],
    cipher: &Cipher,
) -> Result<(), StoreError> {
    if sealed.is_empty() {
        return Ok(());
    }
    let plain = cipher.open("receipts", place, sealed)?;
    for (at, value) in decode::<SecretHeadersV1>(&plain)?.0 {
        let header = usize::try_from(at).ok().and_then(|at| headers.get_mut(at));
        header
            .ok_or(StoreError::Corrupt("a secret header without its name"))?
            .1 = value;
    }
    Ok(())
}
