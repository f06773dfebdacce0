//! The audit log, read.

use super::codec::decode;
use super::rows::AuditV1;
use super::tables::{AUDIT, pair, second};
use super::{Store, StoreError};
use crate::domain::audit::AuditEntry;
use crate::domain::ids::{AuditKey, Key};
use crate::domain::principal::Scope;

/// Rows that a list for one application looks at before it answers with what
/// it has.
const ROWS_MAX: usize = 5_000;

impl Store {
    /// Entries that `scope` covers, newest first, older than `before`, and
    /// where the next page begins when there may be one.
    pub fn list_audit(
        &self,
        scope: Scope,
        before: Option<AuditKey>,
        take: usize,
    ) -> Result<(Vec<AuditEntry>, Option<AuditKey>), StoreError> {
        let environment = scope.environment;
        let start = pair(environment.as_u64(), 0);
        let end = pair(environment.as_u64(), before.map_or(u64::MAX, Key::as_u64));
        self.read(|txn| {
            let table = txn.open_table(AUDIT)?;
            let mut entries = Vec::new();
            let mut last = None;
            for (looked, row) in table.range::<&[u8; 16]>(&start..&end)?.rev().enumerate() {
                if entries.len() == take || looked == ROWS_MAX {
                    return Ok((entries, last));
                }
                let (key, value) = row?;
                let key = AuditKey::from_u64(second(key.value()));
                last = Some(key);
                let entry = decode::<AuditV1>(value.value())?.into_domain(environment, key);
                if scope.application.is_none() || entry.application == scope.application {
                    entries.push(entry);
                }
            }
            Ok((entries, None))
        })
    }
}
