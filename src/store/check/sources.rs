//! Sources, what came to them, and records.

use redb::ReadableTable as _;

use super::super::StoreError;
use super::super::codec::decode;
use super::super::open::META_SEEN_UPTO;
use super::super::rows::{CountsV1, ReceiptV1, RecordFieldsV1, RecordV1, SecretHeadersV1};
use super::super::seen::upto_of;
use super::super::sources::read_row;
use super::super::tables::{message_uid, number_text, pair, part, text_of};
use super::{Check, number};
use crate::domain::ids::{Key as _, ReceivedKey, SourceKey};
use crate::domain::message::Origin;
use crate::domain::source::Verdict;
use crate::domain::verification::Verifier;

impl Check<'_> {
    pub(super) fn sources(&mut self) -> Result<(), StoreError> {
        for row in self.tables.sources.iter()? {
            let (key, value) = row?;
            let key = *key.value();
            self.report.sources += 1;
            self.saw(number(key));
            let id = self.text::<SourceKey>(number(key));
            let read = read_row(key, value.value(), self.cipher);
            let Some(source) = self.readable(read, &format!("source {id}")) else {
                continue;
            };
            let verifies = Verifier::new(&source.verification).is_ok();
            self.expect(verifies, |_| format!("source {id} cannot verify anything"));
            let holder = self.tables.source_slugs.get(source.slug.as_bytes())?;
            let holder = holder.map(|row| number(*row.value()));
            self.expect(holder == Some(number(key)), |_| {
                format!("source {id} is not found by its slug")
            });
            let known = self.is_known_environment(source.environment.as_u64())?;
            self.expect(known, |_| {
                format!("source {id} is of an unknown environment")
            });
        }
        for row in self.tables.source_slugs.iter()? {
            let (_, holder) = row?;
            let there = self.tables.sources.get(holder.value())?.is_some();
            self.expect(there, |_| {
                "a slug leads to a source that is not there".to_owned()
            });
        }
        self.receipts()?;
        self.seen_events()?;
        self.records()
    }

    fn has_source(&self, source: u64) -> Result<bool, StoreError> {
        let there = self.tables.sources.get(&source.to_be_bytes())?.is_some();
        Ok(there || self.tables.tombstones.get(&source.to_be_bytes())?.is_some())
    }

    fn receipts(&mut self) -> Result<(), StoreError> {
        for row in self.tables.receipts.iter()? {
            let (place, value) = row?;
            self.receipt(place.value(), value.value(), true)?;
        }
        for row in self.tables.refused.iter()? {
            let (place, value) = row?;
            self.receipt(place.value(), value.value(), false)?;
        }
        for row in self.tables.source_hours.iter()? {
            let (key, value) = row?;
            self.readable(decode::<CountsV1>(value.value()), "the counts of a source");
            let there = self.has_source(part(key.value(), 0))?;
            self.expect(there, |_| "counts of a source that is not there".to_owned());
        }
        Ok(())
    }

    fn receipt(
        &mut self,
        place: &[u8; 16],
        value: &[u8],
        accepted: bool,
    ) -> Result<(), StoreError> {
        let (source, key) = (part(place, 0), part(place, 1));
        self.report.receipts += 1;
        self.saw(key);
        let id = self.text::<ReceivedKey>(key);
        let what = format!("the receipt {id}");
        let Some(row) = self.readable(decode::<ReceiptV1>(value), &what) else {
            return Ok(());
        };
        if !row.sealed.is_empty() {
            let plain = self.cipher.open("receipts", place, &row.sealed);
            self.readable(
                plain.and_then(|plain| decode::<SecretHeadersV1>(&plain)),
                &what,
            );
        }
        let there = self.has_source(source)?;
        self.expect(there, |_| {
            format!("{what} is of a source that is not there")
        });
        let receipt = row.into_domain(SourceKey::from_u64(source), ReceivedKey::from_u64(key));
        let fits = (receipt.verdict == Verdict::Accepted) == accepted
            && receipt.message.is_some() == accepted;
        self.expect(fits, |_| format!("{what} lies in the wrong table"));
        if let Some(message) = receipt.message {
            let origin = self
                .message(message.as_u64())?
                .map(|message| message.origin);
            let wanted = Origin::Source {
                source: receipt.source,
                received: receipt.key,
            };
            let agrees = origin == Some(wanted);
            self.expect(agrees, |_| format!("{what} and its message do not agree"));
        }
        Ok(())
    }

    fn seen_events(&mut self) -> Result<(), StoreError> {
        for row in self.tables.seen.iter()? {
            let (key, received) = row?;
            let listed = self.tables.seen_order.get(received.value())?;
            let agrees = listed.is_some_and(|listed| listed.value() == key.value());
            self.expect(agrees, |_| "an event that was seen has no time".to_owned());
        }
        let upto = match self.tables.meta.get(META_SEEN_UPTO)? {
            Some(bytes) => upto_of(bytes.value())?,
            None => 0,
        };
        let done = upto.to_be_bytes();
        for row in self.tables.seen_order.range::<&[u8; 8]>(..=&done)? {
            let (received, key) = row?;
            // Its own place, or that of a later one.
            let there = self.tables.seen.get(key.value())?;
            let agrees = there.is_some_and(|there| there.value() >= received.value());
            self.expect(agrees, |_| {
                "a time of an event that was not seen".to_owned()
            });
        }
        Ok(())
    }

    fn records(&mut self) -> Result<(), StoreError> {
        for row in self.tables.records.iter()? {
            let (key, value) = row?;
            let (source, text) = (part(key.value(), 0), text_of(key.value()));
            self.report.records += 1;
            let Some(row) = self.readable(decode::<RecordV1>(value.value()), "a record") else {
                continue;
            };
            let record = row.into_domain(text);
            let order = pair(source, record.last.as_u64());
            let listed = self.tables.record_order.get(&order)?;
            let agrees = listed.is_some_and(|key| key.value() == record.key.as_bytes());
            let swept = self.tables.sources.get(&source.to_be_bytes())?.is_none();
            self.expect(agrees || swept, |_| "a record is not listed".to_owned());
            let there = self.has_source(source)?;
            self.expect(there, |_| {
                "a record of a source that is not there".to_owned()
            });
        }
        for row in self.tables.record_order.iter()? {
            let (order, key) = row?;
            let (source, received) = (part(order.value(), 0), part(order.value(), 1));
            let key = String::from_utf8_lossy(key.value()).into_owned();
            let record = self
                .tables
                .records
                .get(number_text(source, &key).as_slice())?;
            let record = record.and_then(|row| decode::<RecordV1>(row.value()).ok());
            let agrees = record.is_some_and(|row| row.into_domain(key).last.as_u64() == received);
            let swept = self.tables.sources.get(&source.to_be_bytes())?.is_none();
            self.expect(agrees || swept, |_| {
                "a record is listed that is not there, or not by what came last".to_owned()
            });
        }
        for row in self.tables.record_history.iter()? {
            let (key, value) = row?;
            self.readable(
                decode::<RecordFieldsV1>(value.value()),
                "the history of a record",
            );
            let (source, received) = (part(key.value(), 0), key.value().last_chunk());
            let received = u64::from_be_bytes(*received.expect("it ends in eight bytes"));
            self.saw(received);
            let text = text_of(&key.value()[..key.value().len() - 9]);
            let same = message_uid(source, &text, received) == key.value();
            let swept = self.tables.sources.get(&source.to_be_bytes())?.is_none();
            let record = self
                .tables
                .records
                .get(number_text(source, &text).as_slice())?;
            self.expect((same && record.is_some()) || swept, |_| {
                "a history of a record that is not there".to_owned()
            });
        }
        Ok(())
    }
}
