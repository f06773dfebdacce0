//! Every table of the store.
//!
//! Keys are fixed-width and big-endian, so that byte order is their order;
//! a key of several parts is those parts one after the other. Text in a key
//! comes last, or is ended by a zero byte. Values are a version byte and a
//! postcard record (`rows.rs`) unless said otherwise.

use redb::{ReadTransaction, Table, TableDefinition, TableError, WriteTransaction};

macro_rules! tables {
    ($($(#[$doc:meta])* $field:ident, $name:ident = $text:literal: $key:ty => $value:ty;)*) => {
        $($(#[$doc])* pub(super) const $name: TableDefinition<'static, $key, $value> = TableDefinition::new($text);)*

        /// All tables, open in one write transaction.
        pub(super) struct Tables<'txn> {
            $($(#[$doc])* pub(super) $field: Table<'txn, $key, $value>,)*
        }

        impl<'txn> Tables<'txn> {
            pub(super) fn open(txn: &'txn WriteTransaction) -> Result<Self, TableError> {
                Ok(Self { $($field: txn.open_table($name)?,)* })
            }
        }


        /// Bytes of the pages that hold rows, by walking every table.
        pub(super) fn live_bytes(txn: &ReadTransaction) -> Result<u64, redb::Error> {
            use redb::ReadableTableMetadata as _;
            let mut bytes = 0;
            $({
                let stats = txn.open_table($name)?.stats()?;
                bytes += stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
            })*
            Ok(bytes)
        }

        /// Every row of every table as (table, key, value), for comparing stores.
        pub(super) fn dump(txn: &ReadTransaction) -> Result<Vec<(&'static str, Vec<u8>, Vec<u8>)>, redb::Error> {
            use redb::ReadableTable as _;
            let mut rows = Vec::new();
            $(for row in txn.open_table($name)?.iter()? {
                let (key, value) = row?;
                rows.push(($text, AsRef::<[u8]>::as_ref(key.value()).to_vec(), AsRef::<[u8]>::as_ref(value.value()).to_vec()));
            })*
            Ok(rows)
        }
    };
}

tables! {
    /// text → bytes: format, secret of the ids, greatest key given, check of the master key.
    meta, META = "meta": &'static str => &'static [u8];
    /// environment → [`EnvironmentV1`](super::rows::EnvironmentV1)
    environments, ENVIRONMENTS = "environments": &'static [u8; 8] => &'static [u8];
    /// environment, entry → [`AuditV1`](super::rows::AuditV1)
    audit, AUDIT = "audit": &'static [u8; 16] => &'static [u8];
    /// API key → [`ApiKeyV1`](super::rows::ApiKeyV1)
    api_keys, API_KEYS = "api_keys": &'static [u8; 8] => &'static [u8];
    /// environment → [`BrandingV1`](super::rows::BrandingV1); no row: as Hookpost looks
    brandings, BRANDINGS = "brandings": &'static [u8; 8] => &'static [u8];
    /// user → [`UserV1`](super::rows::UserV1)
    users, USERS = "users": &'static [u8; 8] => &'static [u8];
    /// SHA-256 of a token → [`TokenV1`](super::rows::TokenV1): a session, or a link that works once
    tokens, TOKENS = "tokens": &'static [u8; 32] => &'static [u8];
    /// when it ends (ms), key of `tokens` → nothing
    token_ends, TOKEN_ENDS = "token_ends": &'static [u8; 40] => &'static [u8];
    /// user, or application of a customer, key of `tokens` → nothing
    token_owners, TOKEN_OWNERS = "token_owners": &'static [u8; 40] => &'static [u8];
    /// application → [`ApplicationV1`](super::rows::ApplicationV1)
    applications, APPLICATIONS = "applications": &'static [u8; 8] => &'static [u8];
    /// environment, application → nothing
    environment_applications, ENVIRONMENT_APPLICATIONS = "environment_applications": &'static [u8; 16] => &'static [u8];
    /// environment, uid → application
    application_uids, APPLICATION_UIDS = "application_uids": &'static [u8] => &'static [u8; 8];
    /// endpoint → [`EndpointV1`](super::rows::EndpointV1)
    endpoints, ENDPOINTS = "endpoints": &'static [u8; 8] => &'static [u8];
    /// application, endpoint → nothing, or a 1 for a deleted one
    application_endpoints, APPLICATION_ENDPOINTS = "application_endpoints": &'static [u8; 16] => &'static [u8];
    /// application, uid → endpoint
    endpoint_uids, ENDPOINT_UIDS = "endpoint_uids": &'static [u8] => &'static [u8; 8];
    /// endpoint → [`EndpointStateV1`](super::rows::EndpointStateV1); no row: all is well
    endpoint_states, ENDPOINT_STATES = "endpoint_states": &'static [u8; 8] => &'static [u8];
    /// message → [`MessageV1`](super::rows::MessageV1)
    messages, MESSAGES = "messages": &'static [u8; 8] => &'static [u8];
    /// message → the payload's bytes as they came in; no row once retention took it
    payloads, PAYLOADS = "payloads": &'static [u8; 8] => &'static [u8];
    /// application, message → nothing
    application_messages, APPLICATION_MESSAGES = "application_messages": &'static [u8; 16] => &'static [u8];
    /// application, uid, 0, message → nothing
    message_uids, MESSAGE_UIDS = "message_uids": &'static [u8] => &'static [u8];
    /// message, endpoint → [`DeliveryV1`](super::rows::DeliveryV1)
    deliveries, DELIVERIES = "deliveries": &'static [u8; 16] => &'static [u8];
    /// endpoint, due (ms), message → trigger. Exactly one row for each delivery that waits.
    due, DUE = "due": &'static [u8; 24] => &'static [u8];
    /// attempt → [`AttemptV1`](super::rows::AttemptV1)
    attempts, ATTEMPTS = "attempts": &'static [u8; 8] => &'static [u8];
    /// endpoint, attempt → nothing
    endpoint_attempts, ENDPOINT_ATTEMPTS = "endpoint_attempts": &'static [u8; 16] => &'static [u8];
    /// SHA-256 of environment, path, key → [`AnswerV1`](super::rows::AnswerV1), encrypted
    idempotency, IDEMPOTENCY = "idempotency": &'static [u8; 32] => &'static [u8];
    /// when it may be forgotten (ms), key of `idempotency` → nothing
    idempotency_ends, IDEMPOTENCY_ENDS = "idempotency_ends": &'static [u8; 40] => &'static [u8];
    /// inbox → [`InboxV1`](super::rows::InboxV1)
    inboxes, INBOXES = "inboxes": &'static [u8; 8] => &'static [u8];
    /// token → inbox
    inbox_tokens, INBOX_TOKENS = "inbox_tokens": &'static [u8] => &'static [u8; 8];
    /// inbox, received → [`ReceivedV1`](super::rows::ReceivedV1)
    received, RECEIVED = "received": &'static [u8; 16] => &'static [u8];
    /// source → [`SourceV1`](super::rows::SourceV1)
    sources, SOURCES = "sources": &'static [u8; 8] => &'static [u8];
    /// slug → source
    source_slugs, SOURCE_SLUGS = "source_slugs": &'static [u8] => &'static [u8; 8];
    /// slug that a source had → environment, which alone may have it again
    former_slugs, FORMER_SLUGS = "former_slugs": &'static [u8] => &'static [u8; 8];
    /// source, received → [`ReceiptV1`](super::rows::ReceiptV1), of accepted ones: kept as long as their messages
    receipts, RECEIPTS = "receipts": &'static [u8; 16] => &'static [u8];
    /// source, received → [`ReceiptV1`](super::rows::ReceiptV1), of all others: the newest
    refused, REFUSED = "refused": &'static [u8; 16] => &'static [u8];
    /// inbox or source, received → body, of `received` and `refused`
    kept_bodies, KEPT_BODIES = "kept_bodies": &'static [u8; 16] => &'static [u8];
    /// inbox or source → how many rows it has in `received` or `refused`
    kept_counts, KEPT_COUNTS = "kept_counts": &'static [u8; 8] => &'static [u8; 8];
    /// source, hash of an event's id → received
    seen, SEEN = "seen": &'static [u8; 24] => &'static [u8; 8];
    /// received → source, hash: `seen` in order of time
    seen_order, SEEN_ORDER = "seen_order": &'static [u8; 8] => &'static [u8; 24];
    /// source, hour since the epoch → [`CountsV1`](super::rows::CountsV1)
    source_hours, SOURCE_HOURS = "source_hours": &'static [u8; 16] => &'static [u8];
    /// source, key → [`RecordV1`](super::rows::RecordV1)
    records, RECORDS = "records": &'static [u8] => &'static [u8];
    /// source, received → key: records by what came last
    record_order, RECORD_ORDER = "record_order": &'static [u8; 16] => &'static [u8];
    /// source, key, 0, received → [`RecordFieldsV1`](super::rows::RecordFieldsV1)
    record_history, RECORD_HISTORY = "record_history": &'static [u8] => &'static [u8];
    /// request → [`RequestV1`](super::rows::RequestV1)
    requests, REQUESTS = "requests": &'static [u8; 8] => &'static [u8];
    /// request → the answer's data, JSON
    request_answers, REQUEST_ANSWERS = "request_answers": &'static [u8; 8] => &'static [u8];
    /// application, request → nothing
    application_requests, APPLICATION_REQUESTS = "application_requests": &'static [u8; 16] => &'static [u8];
    /// client id → endpoint
    client_ids, CLIENT_IDS = "client_ids": &'static [u8] => &'static [u8; 8];
    /// environment, name → [`EventTypeV1`](super::rows::EventTypeV1)
    event_types, EVENT_TYPES = "event_types": &'static [u8] => &'static [u8];
    /// application, name of an event type that names it → environment
    application_event_types, APPLICATION_EVENT_TYPES = "application_event_types": &'static [u8] => &'static [u8; 8];
    /// environment → [`EventTypeTotalsV1`](super::rows::EventTypeTotalsV1); no row: it has none
    event_type_totals, EVENT_TYPE_TOTALS = "event_type_totals": &'static [u8; 8] => &'static [u8];
    /// environment, job → [`JobV1`](super::rows::JobV1)
    jobs, JOBS = "jobs": &'static [u8; 16] => &'static [u8];
    /// environment, job → nothing; no row once it has ended
    running_jobs, RUNNING_JOBS = "running_jobs": &'static [u8; 16] => &'static [u8];
    /// application, job → environment
    application_jobs, APPLICATION_JOBS = "application_jobs": &'static [u8; 16] => &'static [u8; 8];
    /// level, slot, subject → [`CounterV1`](super::rows::CounterV1); see [`counter`]
    counters, COUNTERS = "counters": &'static [u8; 13] => &'static [u8];
    /// deleted environment, application or endpoint → what is left to sweep
    tombstones, TOMBSTONES = "tombstones": &'static [u8; 8] => &'static [u8];
}

/// A key of two parts.
pub(super) fn pair(first: u64, second: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&second.to_be_bytes());
    key
}

/// The second part of a key of two.
pub(super) fn second(key: &[u8; 16]) -> u64 {
    u64::from_be_bytes(key[8..].try_into().expect("eight bytes"))
}

/// A key of three parts.
pub(super) fn triple(first: u64, second: u64, third: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..16].copy_from_slice(&second.to_be_bytes());
    key[16..].copy_from_slice(&third.to_be_bytes());
    key
}

/// A key of a number and a hash.
pub(super) fn number_hash(number: u64, hash: &[u8; 32]) -> [u8; 40] {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key[8..].copy_from_slice(hash);
    key
}

/// The hash of a key of a number and a hash.
pub(super) fn hash_of(key: &[u8; 40]) -> [u8; 32] {
    key[8..].try_into().expect("thirty-two bytes")
}

/// Part `n` of a key of `u64` parts.
pub(super) fn part(key: &[u8], n: usize) -> u64 {
    u64::from_be_bytes(key[n * 8..n * 8 + 8].try_into().expect("eight bytes"))
}

/// A number and a text.
pub(super) fn number_text(number: u64, text: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + text.len());
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(text.as_bytes());
    key
}

/// Every key that begins with `number`, with any text after it.
pub(super) fn texts_of(number: u64) -> std::ops::Range<Vec<u8>> {
    number.to_be_bytes().to_vec()..(number + 1).to_be_bytes().to_vec()
}

/// The text of a key of a number and a text.
pub(super) fn text_of(key: &[u8]) -> String {
    String::from_utf8_lossy(key.get(8..).unwrap_or_default()).into_owned()
}

/// The key of a message's uid: application, uid, 0, message.
pub(super) fn message_uid(application: u64, uid: &str, message: u64) -> Vec<u8> {
    let mut key = number_text(application, uid);
    key.push(0);
    key.extend_from_slice(&message.to_be_bytes());
    key
}

/// The key of an event that a source has seen: source, hash.
pub(super) fn seen(source: u64, hash: &[u8; 16]) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&source.to_be_bytes());
    key[8..].copy_from_slice(hash);
    key
}

/// The key of a counter: level (0 minutes, 1 hours, 2 days), slot counted from
/// the epoch, and an endpoint, application or environment. Ordered by time, so
/// that what is written lies together and what is forgotten lies in front.
pub(super) fn counter(level: u8, slot: u32, subject: u64) -> [u8; 13] {
    let mut key = [0; 13];
    key[0] = level;
    key[1..5].copy_from_slice(&slot.to_be_bytes());
    key[5..].copy_from_slice(&subject.to_be_bytes());
    key
}

/// The level, slot and subject of a counter's key.
pub(super) fn counter_parts(key: &[u8; 13]) -> (u8, u32, u64) {
    let slot = u32::from_be_bytes(key[1..5].try_into().expect("four bytes"));
    let subject = u64::from_be_bytes(key[5..].try_into().expect("eight bytes"));
    (key[0], slot, subject)
}
