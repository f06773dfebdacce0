//! Messages and attempts across an application or a whole environment, newest
//! first, by filters: what people look through.
//!
//! A filter that matches little would read on for ever, so each list looks at
//! a bounded number of rows and bytes, gives what it has found, and says how
//! far it came; the next list goes on there.

use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use memchr::memmem;
use redb::{ReadOnlyTable, ReadTransaction};

use super::catalog::ApplicationEntry;
use super::codec::decode;
use super::reads::AttemptFilter;
use super::rows::{AttemptV1, DeliveryV1, MessageV1};
use super::tables::{
    APPLICATION_ENDPOINTS, APPLICATION_MESSAGES, ATTEMPTS, DELIVERIES, DUE, ENDPOINT_ATTEMPTS,
    ENVIRONMENT_APPLICATIONS, MESSAGES, PAYLOADS, pair, part, second, triple,
};
use super::writer::read_due;
use super::{Store, StoreError};
use crate::domain::attempt::Attempt;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::endpoint::LiveEndpoint;
use crate::domain::fanout::EventFilter;
use crate::domain::ids::{
    ApplicationKey, AttemptKey, EndpointKey, EnvironmentKey, Key, MessageKey, first_key_at,
};
use crate::domain::message::Message;
use crate::domain::principal::Scope;
use crate::domain::time::Timestamp;

/// Rows that a list looks at: a few milliseconds of reading, so that a page
/// comes at once whatever its filter matches.
const ROWS_MAX: usize = 2_000;
/// Bytes of payloads and attempts that a list looks at, for the same reason.
const BYTES_MAX: usize = 4 << 20;
/// Deliveries of a message that a list shows.
pub const DELIVERIES_SHOWN: usize = 20;
/// Endpoints of an application whose logs are merged; of one that has more,
/// the log of all is read.
const MERGED_MAX: usize = 256;
/// Endpoints that a list of them, or a search for the oldest delivery, looks at.
const ENDPOINTS_LOOKED_MAX: usize = 1_000;

/// Which messages a list shows. `None` everywhere: all.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    pub event_type: Option<EventFilter>,
    pub channel: Option<String>,
    pub standing: Option<Standing>,
    /// Of the last attempt for any endpoint: 0 (no HTTP answer), 100 ... 500.
    pub status_class: Option<u16>,
    /// Owed to this endpoint.
    pub endpoint: Option<EndpointKey>,
    pub after: Option<Timestamp>,
    pub before: Option<Timestamp>,
    /// Bytes that the payload contains.
    pub text: Option<String>,
}

/// How a message fares with at least one of its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Delivered,
    /// Its last attempt failed, and it is not delivered.
    Failed,
    Waiting,
    Exhausted,
    Cancelled,
}

impl Standing {
    /// In the order of menus.
    pub const ALL: [Self; 5] = [
        Self::Delivered,
        Self::Failed,
        Self::Waiting,
        Self::Exhausted,
        Self::Cancelled,
    ];

    /// What addresses call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
            Self::Exhausted => "exhausted",
            Self::Cancelled => "cancelled",
        }
    }

    /// The one of that exact name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    fn is_of(self, delivery: &Delivery) -> bool {
        let waits = matches!(delivery.state, DeliveryState::Waiting { .. });
        match self {
            Self::Delivered => delivery.state == DeliveryState::Delivered,
            Self::Failed => {
                delivery.state == DeliveryState::Exhausted
                    || (waits && delivery.attempt_count > 0 && !delivery.succeeded)
            }
            Self::Waiting => waits,
            Self::Exhausted => delivery.state == DeliveryState::Exhausted,
            Self::Cancelled => delivery.state == DeliveryState::Cancelled,
        }
    }
}

/// A message of a list, without its payload.
#[derive(Clone, Debug)]
pub struct MessageRow {
    pub message: Message,
    /// The first [`DELIVERIES_SHOWN`], by endpoint.
    pub deliveries: Vec<(EndpointKey, Delivery)>,
    /// Whether there are more.
    pub more_deliveries: bool,
}

/// A page of what was looked for, newest first.
#[derive(Clone, Debug)]
pub struct Found<T, K> {
    pub rows: Vec<T>,
    /// Where to go on looking, when there may be more.
    pub next: Option<K>,
    /// How far back was looked, when the search was broken off before it had
    /// filled its page.
    pub reached: Option<Timestamp>,
}

/// An attempt of a list, with the type of what was sent.
#[derive(Clone, Debug)]
pub struct AttemptRow {
    pub attempt: Attempt,
    /// `None`: its message is gone.
    pub event_type: Option<String>,
}

/// A delivery that has waited longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldestWaiting {
    pub application: ApplicationKey,
    pub endpoint: EndpointKey,
    pub message: MessageKey,
    pub due: Timestamp,
}

/// Counts what a search looks at.
struct Bounds {
    rows: usize,
    bytes: usize,
}

impl Bounds {
    fn new() -> Self {
        Self {
            rows: ROWS_MAX,
            bytes: BYTES_MAX,
        }
    }

    /// Whether another row may be looked at.
    fn allow(&mut self) -> bool {
        let before = self.rows > 0 && self.bytes > 0;
        self.rows = self.rows.saturating_sub(1);
        before
    }

    fn note(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Store {
    /// Messages that `scope` covers and `filter` accepts, older than `before`.
    /// Operational events are in no list of an environment.
    pub fn browse_messages(
        &self,
        scope: Scope,
        filter: &MessageFilter,
        before: Option<MessageKey>,
        take: usize,
    ) -> Result<Found<MessageRow, MessageKey>, StoreError> {
        let end = earlier(before, filter.before);
        let start = filter.after.map_or(MessageKey::from_u64(0), first_key_at);
        self.read(|txn| {
            let mut search = MessageSearch {
                store: self,
                scope,
                filter,
                messages: txn.open_table(MESSAGES)?,
                payloads: txn.open_table(PAYLOADS)?,
                deliveries: txn.open_table(DELIVERIES)?,
                environments: HashMap::new(),
            };
            if let Some(application) = scope.application {
                let table = txn.open_table(APPLICATION_MESSAGES)?;
                let (low, high) = (
                    pair(application.as_u64(), start.as_u64()),
                    pair(application.as_u64(), end.as_u64()),
                );
                if low >= high {
                    return Ok(nothing());
                }
                let keys = table.range::<&[u8; 16]>(&low..&high)?.rev();
                let keys = keys.map(|row| Ok(MessageKey::from_u64(second(row?.0.value()))));
                find(keys, take, |key, bounds| search.accepted(key, bounds))
            } else {
                if start >= end {
                    return Ok(nothing());
                }
                let table = txn.open_table(MESSAGES)?;
                let (low, high) = (start.as_u64().to_be_bytes(), end.as_u64().to_be_bytes());
                let keys = table.range::<&[u8; 8]>(&low..&high)?.rev();
                let keys = keys.map(|row| {
                    let key = u64::from_be_bytes(*row?.0.value());
                    Ok(MessageKey::from_u64(key))
                });
                find(keys, take, |key, bounds| search.accepted(key, bounds))
            }
        })
    }

    /// Attempts that `scope` covers and `filter` accepts, older than `before`;
    /// with `endpoint`, which `scope` must cover, those for it alone.
    pub fn browse_attempts(
        &self,
        scope: Scope,
        endpoint: Option<EndpointKey>,
        filter: &AttemptFilter,
        before: Option<AttemptKey>,
        take: usize,
    ) -> Result<Found<AttemptRow, AttemptKey>, StoreError> {
        // An attempt's key is given when it is recorded, after it began.
        let end = before.unwrap_or(AttemptKey::from_u64(u64::MAX));
        let start = filter.after.map_or(AttemptKey::from_u64(0), first_key_at);
        if start >= end {
            return Ok(nothing());
        }
        self.read(|txn| {
            let mut search = AttemptSearch {
                store: self,
                scope,
                filter,
                attempts: txn.open_table(ATTEMPTS)?,
                messages: txn.open_table(MESSAGES)?,
                environments: HashMap::new(),
            };
            let endpoints = match (endpoint, scope.application) {
                (Some(endpoint), _) => Some(vec![endpoint]),
                (None, Some(application)) => endpoints_of(txn, application, MERGED_MAX)?,
                (None, None) => None,
            };
            if let Some(endpoints) = endpoints {
                let keys = Merged::new(txn, &endpoints, start, end)?;
                return find(keys, take, |key, bounds| search.accepted(key, bounds));
            }
            let table = txn.open_table(ATTEMPTS)?;
            let (low, high) = (start.as_u64().to_be_bytes(), end.as_u64().to_be_bytes());
            let keys = table.range::<&[u8; 8]>(&low..&high)?.rev();
            let keys = keys.map(|row| {
                let key = u64::from_be_bytes(*row?.0.value());
                Ok(AttemptKey::from_u64(key))
            });
            find(keys, take, |key, bounds| search.accepted(key, bounds))
        })
    }

    /// Endpoints that `scope` covers, oldest application first: `take` of them
    /// after `skip`, and whether there are more. None of the built-in
    /// application, unless it is the one asked for.
    pub fn browse_endpoints(
        &self,
        scope: Scope,
        skip: usize,
        take: usize,
    ) -> Result<(Vec<Arc<LiveEndpoint>>, bool), StoreError> {
        let mut found = Vec::new();
        for entry in self.entries(scope)? {
            let endpoints = entry.endpoints.iter();
            found.extend(
                endpoints
                    .filter(|live| live.settings.deleted.is_none())
                    .cloned(),
            );
            if found.len() > skip + take {
                break;
            }
        }
        let more = found.len() > skip + take;
        Ok((found.into_iter().skip(skip).take(take).collect(), more))
    }

    /// The delivery that has been due longest, among the endpoints that
    /// `scope` covers: as far as a bounded number of them goes.
    pub fn oldest_waiting(&self, scope: Scope) -> Result<Option<OldestWaiting>, StoreError> {
        let entries = self.entries(scope)?;
        self.read(|txn| {
            let due = txn.open_table(DUE)?;
            let mut oldest: Option<OldestWaiting> = None;
            let endpoints = entries.iter().flat_map(|entry| {
                let application = entry.application.key;
                let keys = entry.endpoints.iter().map(|live| live.settings.key);
                keys.map(move |key| (application, key))
            });
            for (application, endpoint) in endpoints.take(ENDPOINTS_LOOKED_MAX) {
                let key = endpoint.as_u64();
                let range = triple(key, 0, 0)..=triple(key, u64::MAX, u64::MAX);
                let first = due
                    .range::<&[u8; 24]>(range.start()..=range.end())?
                    .next()
                    .transpose()?;
                let Some((key, value)) = first else { continue };
                let (endpoint, due, message, _) = read_due(key.value(), value.value());
                if oldest.is_none_or(|known| due < known.due) {
                    oldest = Some(OldestWaiting {
                        application,
                        endpoint,
                        message,
                        due,
                    });
                }
            }
            Ok(oldest)
        })
    }

    /// Whose a message is.
    pub fn message_application(
        &self,
        key: MessageKey,
    ) -> Result<Option<ApplicationKey>, StoreError> {
        self.read(|txn| {
            let row = txn.open_table(MESSAGES)?.get(&key.as_u64().to_be_bytes())?;
            let row = row
                .map(|row| decode::<MessageV1>(row.value()))
                .transpose()?;
            Ok(row.map(|row| row.into_domain(key).application))
        })
    }

    /// The newest attempt for an endpoint.
    pub fn last_attempt(&self, endpoint: EndpointKey) -> Result<Option<Attempt>, StoreError> {
        let filter = AttemptFilter::default();
        let page = self.endpoint_attempts(endpoint, &filter, None, 1)?;
        Ok(page.attempts.into_iter().next())
    }

    /// The applications that `scope` covers, as far as a bounded number of
    /// them goes.
    fn entries(&self, scope: Scope) -> Result<Vec<Arc<ApplicationEntry>>, StoreError> {
        let keys = match scope.application {
            Some(application) => vec![application],
            None => self.read(|txn| applications_of(txn, scope.environment))?,
        };
        let entries = keys.into_iter().map(|key| self.application(key));
        let entries = entries.filter_map(Result::transpose);
        let mut entries: Vec<_> = entries.collect::<Result<_, _>>()?;
        entries.retain(|entry| scope.covers(entry.application.environment, entry.application.key));
        Ok(entries)
    }
}

fn nothing<T, K>() -> Found<T, K> {
    Found {
        rows: Vec::new(),
        next: None,
        reached: None,
    }
}

fn earlier<K: Key>(before: Option<K>, moment: Option<Timestamp>) -> K {
    let moment = moment.map(first_key_at);
    let ends = [before, moment].into_iter().flatten();
    ends.min().unwrap_or(K::from_u64(u64::MAX))
}

fn applications_of(
    txn: &ReadTransaction,
    environment: EnvironmentKey,
) -> Result<Vec<ApplicationKey>, StoreError> {
    let table = txn.open_table(ENVIRONMENT_APPLICATIONS)?;
    let key = environment.as_u64();
    let rows = table.range::<&[u8; 16]>(&pair(key, 0)..=&pair(key, u64::MAX))?;
    let keys = rows.take(ENDPOINTS_LOOKED_MAX);
    keys.map(|row| Ok(ApplicationKey::from_u64(second(row?.0.value()))))
        .collect()
}

/// The endpoints of an application, deleted ones too; `None` when there are
/// more than `most`.
fn endpoints_of(
    txn: &ReadTransaction,
    application: ApplicationKey,
    most: usize,
) -> Result<Option<Vec<EndpointKey>>, StoreError> {
    let table = txn.open_table(APPLICATION_ENDPOINTS)?;
    let key = application.as_u64();
    let rows = table.range::<&[u8; 16]>(&pair(key, 0)..=&pair(key, u64::MAX))?;
    let keys: Vec<_> = rows
        .take(most + 1)
        .map(|row| Ok(EndpointKey::from_u64(second(row?.0.value()))))
        .collect::<Result<_, StoreError>>()?;
    Ok((keys.len() <= most).then_some(keys))
}

/// Which environment an application is in, looked up once for each.
type Environments = HashMap<ApplicationKey, Option<EnvironmentKey>>;

/// Whether a list for `scope` shows what is of `application`.
fn is_listed(
    store: &Store,
    known: &mut Environments,
    scope: Scope,
    application: ApplicationKey,
) -> Result<bool, StoreError> {
    if scope.application.is_some() {
        return Ok(scope.application == Some(application));
    }
    let environment = if let Some(environment) = known.get(&application) {
        *environment
    } else {
        let entry = store.application(application)?;
        let environment = entry.map(|entry| entry.application.environment);
        known.insert(application, environment);
        environment
    };
    let built_in = store.catalog().environment(scope.environment);
    let is_built_in = built_in.is_some_and(|known| known.operational == application);
    Ok(environment == Some(scope.environment) && !is_built_in)
}

/// Goes through `keys` until it has found `take`, or looked at enough.
fn find<T, K: Key>(
    keys: impl Iterator<Item = Result<K, StoreError>>,
    take: usize,
    mut accepted: impl FnMut(K, &mut Bounds) -> Result<Option<T>, StoreError>,
) -> Result<Found<T, K>, StoreError> {
    let mut rows = Vec::new();
    let mut bounds = Bounds::new();
    let mut last: Option<K> = None;
    for key in keys {
        let key = key?;
        if rows.len() == take || !bounds.allow() {
            let reached = last.filter(|_| rows.len() < take).map(Key::made_at);
            return Ok(Found {
                rows,
                next: last,
                reached,
            });
        }
        last = Some(key);
        rows.extend(accepted(key, &mut bounds)?);
    }
    Ok(Found {
        rows,
        next: None,
        reached: None,
    })
}

struct MessageSearch<'a> {
    store: &'a Store,
    scope: Scope,
    filter: &'a MessageFilter,
    messages: ReadOnlyTable<&'static [u8; 8], &'static [u8]>,
    payloads: ReadOnlyTable<&'static [u8; 8], &'static [u8]>,
    deliveries: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
    environments: Environments,
}

impl MessageSearch<'_> {
    fn accepted(
        &mut self,
        key: MessageKey,
        bounds: &mut Bounds,
    ) -> Result<Option<MessageRow>, StoreError> {
        let Some(row) = self.messages.get(&key.as_u64().to_be_bytes())? else {
            return Ok(None);
        };
        let message = decode::<MessageV1>(row.value())?.into_domain(key);
        let listed = is_listed(
            self.store,
            &mut self.environments,
            self.scope,
            message.application,
        )?;
        if !listed || !self.describes(&message) {
            return Ok(None);
        }
        let (deliveries, more_deliveries) = self.deliveries_of(key)?;
        if !self.fares(&deliveries) || !self.contains(key, bounds)? {
            return Ok(None);
        }
        Ok(Some(MessageRow {
            message,
            deliveries,
            more_deliveries,
        }))
    }

    fn describes(&self, message: &Message) -> bool {
        let of_type = self.filter.event_type.as_ref();
        let channel = self.filter.channel.as_ref();
        of_type.is_none_or(|wanted| wanted.matches(&message.event_type))
            && channel.is_none_or(|wanted| message.channels.contains(wanted))
    }

    fn fares(&self, deliveries: &[(EndpointKey, Delivery)]) -> bool {
        let filter = self.filter;
        if filter.standing.is_none() && filter.status_class.is_none() && filter.endpoint.is_none() {
            return true;
        }
        deliveries.iter().any(|(endpoint, delivery)| {
            let last = delivery.attempts.last();
            let of_class = |class: u16| last.is_some_and(|mark| mark.status / 100 * 100 == class);
            filter.endpoint.is_none_or(|wanted| wanted == *endpoint)
                && filter.standing.is_none_or(|wanted| wanted.is_of(delivery))
                && filter.status_class.is_none_or(of_class)
        })
    }

    fn deliveries_of(
        &self,
        key: MessageKey,
    ) -> Result<(Vec<(EndpointKey, Delivery)>, bool), StoreError> {
        let key = key.as_u64();
        let rows = self
            .deliveries
            .range::<&[u8; 16]>(&pair(key, 0)..=&pair(key, u64::MAX))?;
        let mut deliveries = Vec::new();
        for row in rows {
            if deliveries.len() == DELIVERIES_SHOWN {
                return Ok((deliveries, true));
            }
            let (key, value) = row?;
            let endpoint = EndpointKey::from_u64(part(key.value(), 1));
            let delivery = decode::<DeliveryV1>(value.value())?.into();
            deliveries.push((endpoint, delivery));
        }
        Ok((deliveries, false))
    }

    fn contains(&self, key: MessageKey, bounds: &mut Bounds) -> Result<bool, StoreError> {
        let Some(text) = &self.filter.text else {
            return Ok(true);
        };
        let payload = self.payloads.get(&key.as_u64().to_be_bytes())?;
        let Some(payload) = payload else {
            return Ok(false);
        };
        let payload = payload.value();
        bounds.note(payload.len());
        Ok(memmem::find(payload, text.as_bytes()).is_some())
    }
}

struct AttemptSearch<'a> {
    store: &'a Store,
    scope: Scope,
    filter: &'a AttemptFilter,
    attempts: ReadOnlyTable<&'static [u8; 8], &'static [u8]>,
    messages: ReadOnlyTable<&'static [u8; 8], &'static [u8]>,
    environments: Environments,
}

impl AttemptSearch<'_> {
    fn accepted(
        &mut self,
        key: AttemptKey,
        bounds: &mut Bounds,
    ) -> Result<Option<AttemptRow>, StoreError> {
        let Some(row) = self.attempts.get(&key.as_u64().to_be_bytes())? else {
            return Ok(None);
        };
        bounds.note(row.value().len());
        let attempt = decode::<AttemptV1>(row.value())?.into_domain(key);
        let application = attempt.of.application;
        let listed = is_listed(self.store, &mut self.environments, self.scope, application)?;
        if !listed || !self.filter.accepts(&attempt) {
            return Ok(None);
        }
        let message = attempt.of.message;
        let row = self.messages.get(&message.as_u64().to_be_bytes())?;
        let row = row
            .map(|row| decode::<MessageV1>(row.value()))
            .transpose()?;
        let event_type = row.map(|row| row.into_domain(message).event_type);
        let wanted = self.filter.event_type.as_ref();
        let fits = wanted.is_none_or(|wanted| {
            event_type
                .as_deref()
                .is_some_and(|event_type| wanted.matches(event_type))
        });
        Ok(fits.then_some(AttemptRow {
            attempt,
            event_type,
        }))
    }
}

/// The attempts of several endpoints as one list, newest first.
struct Merged<'a> {
    logs: Vec<Box<dyn Iterator<Item = Result<AttemptKey, StoreError>> + 'a>>,
    heads: BinaryHeap<(AttemptKey, usize)>,
    failure: Option<StoreError>,
}

impl Merged<'_> {
    fn new(
        txn: &ReadTransaction,
        endpoints: &[EndpointKey],
        start: AttemptKey,
        end: AttemptKey,
    ) -> Result<Self, StoreError> {
        let table = txn.open_table(ENDPOINT_ATTEMPTS)?;
        let mut merged = Self {
            logs: Vec::with_capacity(endpoints.len()),
            heads: BinaryHeap::with_capacity(endpoints.len()),
            failure: None,
        };
        for endpoint in endpoints {
            let endpoint = endpoint.as_u64();
            let (low, high) = (pair(endpoint, start.as_u64()), pair(endpoint, end.as_u64()));
            let rows = table.range::<&[u8; 16]>(&low..&high)?.rev();
            merged.logs.push(Box::new(
                rows.map(|row| Ok(AttemptKey::from_u64(second(row?.0.value())))),
            ));
            merged.advance(merged.logs.len() - 1);
        }
        Ok(merged)
    }

    /// Takes up the next of a log.
    fn advance(&mut self, log: usize) {
        match self.logs[log].next() {
            Some(Ok(key)) => self.heads.push((key, log)),
            Some(Err(error)) => self.failure = Some(error),
            None => {}
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = Result<AttemptKey, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failure.take() {
            return Some(Err(error));
        }
        let (key, log) = self.heads.pop()?;
        self.advance(log);
        Some(Ok(key))
    }
}
