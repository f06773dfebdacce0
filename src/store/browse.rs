//! Messages and attempts across an application or a whole environment, newest
//! first, by filters: what people look through.
//!
//! A filter that matches little would read on for ever, so each list looks at
//! a bounded number of rows and bytes, gives what it has found, and says how
//! far it came; the next list goes on there.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable as _};

use super::codec::decode;
use super::log::{Merged, Way, keys_of_all, messages_of};
use super::reads::AttemptFilter;
use super::rows::{AttemptV1, DeliveryV1, EndpointStateV1, MessageV1};
use super::tables::{
    APPLICATION_ENDPOINTS, ATTEMPTS, DELIVERIES, ENDPOINT_STATES, ENVIRONMENT_APPLICATIONS,
    MESSAGES, PAYLOADS, pair, part, second,
};
use super::{Store, StoreError};
use crate::domain::attempt::Attempt;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::endpoint::{EndpointState, LiveEndpoint};
use crate::domain::fanout::EventFilter;
use crate::domain::ids::{
    ApplicationKey, AttemptKey, EndpointKey, EnvironmentKey, Key, MessageKey,
};
use crate::domain::message::{Message, StoredMessage};
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
/// Applications that a list of endpoints looks through.
const APPLICATIONS_LOOKED_MAX: usize = 1_000;
/// Endpoints with something waiting that the oldest delivery is looked for at.
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

/// A page of what was looked for.
#[derive(Clone, Debug)]
pub struct Found<T, K> {
    pub rows: Vec<T>,
    /// Where to go on looking, when there may be more. No row has this key.
    pub next: Option<K>,
    /// The last row that was looked at. It may be another environment's, and is
    /// shown to nobody.
    pub looked_at: Option<K>,
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

/// A place in the order of endpoints: after an application's endpoint, or
/// after all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointPlace {
    pub application: ApplicationKey,
    pub endpoint: Option<EndpointKey>,
}

/// A delivery that has waited longest.
#[derive(Clone, Debug)]
pub struct OldestWaiting {
    /// The endpoint that it waits for.
    pub live: Arc<LiveEndpoint>,
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
        let way = Way::Back(before);
        self.search_messages(scope, filter, way, take, |search, key, bounds| {
            search.accepted(key, bounds)
        })
    }

    /// The same with their payloads, which are of the bytes that a list looks
    /// at, and either way.
    pub fn log_messages(
        &self,
        scope: Scope,
        filter: &MessageFilter,
        way: Way<MessageKey>,
        take: usize,
    ) -> Result<Found<StoredMessage, MessageKey>, StoreError> {
        self.search_messages(scope, filter, way, take, |search, key, bounds| {
            search.with_payload(key, bounds)
        })
    }

    fn search_messages<T>(
        &self,
        scope: Scope,
        filter: &MessageFilter,
        way: Way<MessageKey>,
        take: usize,
        accepted: impl Fn(
            &mut MessageSearch<'_>,
            MessageKey,
            &mut Bounds,
        ) -> Result<Option<T>, StoreError>,
    ) -> Result<Found<T, MessageKey>, StoreError> {
        let span = way.span(filter.after, filter.before);
        if span.is_empty() {
            return Ok(nothing());
        }
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
            let keys = match scope.application {
                Some(application) => messages_of(txn, application, &span, way)?,
                None => keys_of_all(&search.messages, &span, way)?,
            };
            find(way, keys, take, |key, bounds| {
                accepted(&mut search, key, bounds)
            })
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
        self.log_attempts(scope, endpoint, filter, Way::Back(before), take)
    }

    /// The same, either way.
    pub fn log_attempts(
        &self,
        scope: Scope,
        endpoint: Option<EndpointKey>,
        filter: &AttemptFilter,
        way: Way<AttemptKey>,
        take: usize,
    ) -> Result<Found<AttemptRow, AttemptKey>, StoreError> {
        // An attempt's key is given when it is recorded, after it began.
        let span = way.span(filter.after, None);
        if span.is_empty() {
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
                let keys = Merged::new(txn, &endpoints, &span, way)?;
                return find(way, keys, take, |key, bounds| search.accepted(key, bounds));
            }
            let keys = keys_of_all(&search.attempts, &span, way)?;
            find(way, keys, take, |key, bounds| search.accepted(key, bounds))
        })
    }

    /// Endpoints that `scope` covers, oldest application first: `take` of those
    /// after `after`. None of the built-in application, unless it is the one
    /// asked for. Looks through a bounded number of applications.
    pub fn browse_endpoints(
        &self,
        scope: Scope,
        after: Option<EndpointPlace>,
        take: usize,
    ) -> Result<Found<Arc<LiveEndpoint>, EndpointPlace>, StoreError> {
        let (places, next) = self.read(|txn| endpoints_after(txn, scope, after, take))?;
        let mut rows = Vec::with_capacity(places.len());
        for place in places {
            rows.extend(self.live_endpoint(place)?);
        }
        Ok(Found {
            rows,
            next,
            looked_at: None,
            reached: None,
        })
    }

    /// The endpoint, if there is one and `scope` covers it.
    pub fn covered_endpoint(
        &self,
        scope: Scope,
        key: EndpointKey,
    ) -> Result<Option<Arc<LiveEndpoint>>, StoreError> {
        let live = self.live_endpoint(key)?;
        Ok(live.filter(|live| {
            let settings = &live.settings;
            settings.deleted.is_none() && scope.covers(settings.environment, settings.application)
        }))
    }

    /// Endpoints of `scope` whose last attempts failed, those that fail most
    /// first, as far as a bounded number of rows goes: only what is not well
    /// has one.
    pub fn failing_endpoints(
        &self,
        scope: Scope,
        take: usize,
    ) -> Result<Vec<Arc<LiveEndpoint>>, StoreError> {
        let mut counts: Vec<(u32, EndpointKey)> = self.read(|txn| {
            let states = txn.open_table(ENDPOINT_STATES)?;
            let rows = states.iter()?.take(ROWS_MAX).map(|row| {
                let (key, value) = row?;
                let key = EndpointKey::from_u64(u64::from_be_bytes(*key.value()));
                let state: EndpointState = decode::<EndpointStateV1>(value.value())?.into();
                Ok((state.failures, key))
            });
            rows.collect::<Result<_, StoreError>>()
        })?;
        counts.retain(|(failures, _)| *failures > 0);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let mut failing = Vec::new();
        for (_, key) in counts {
            if failing.len() == take {
                break;
            }
            failing.extend(self.covered_endpoint(scope, key)?);
        }
        Ok(failing)
    }

    /// The delivery of `scope` that has been due longest, as far as a bounded
    /// number of endpoints with something waiting goes.
    pub fn oldest_waiting(&self, scope: Scope) -> Result<Option<OldestWaiting>, StoreError> {
        let mut waiting = self.due_endpoints(None, ENDPOINTS_LOOKED_MAX)?;
        waiting.sort_unstable_by_key(|(_, due)| *due);
        for (endpoint, due) in waiting {
            let Some(live) = self.covered_endpoint(scope, endpoint)? else {
                continue;
            };
            let (rows, _) = self.due_rows(endpoint, Timestamp(u64::MAX), 1, |_| false)?;
            if let Some(row) = rows.first() {
                let message = row.message;
                return Ok(Some(OldestWaiting { live, message, due }));
            }
        }
        Ok(None)
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
}

fn nothing<T, K>() -> Found<T, K> {
    Found {
        rows: Vec::new(),
        next: None,
        looked_at: None,
        reached: None,
    }
}

/// The next endpoints in order of their applications, and where to go on.
fn endpoints_after(
    txn: &ReadTransaction,
    scope: Scope,
    after: Option<EndpointPlace>,
    take: usize,
) -> Result<(Vec<EndpointKey>, Option<EndpointPlace>), StoreError> {
    let applications = txn.open_table(ENVIRONMENT_APPLICATIONS)?;
    let endpoints = txn.open_table(APPLICATION_ENDPOINTS)?;
    let environment = scope.environment.as_u64();
    let first = after.map_or(0, |after| after.application.as_u64());
    let of_environment = applications
        .range::<&[u8; 16]>(&pair(environment, first)..=&pair(environment, u64::MAX))?;
    let of_environment =
        of_environment.map(|row| Ok(ApplicationKey::from_u64(second(row?.0.value()))));
    let only = scope.application.map(Ok::<_, StoreError>);
    let keys = only
        .into_iter()
        .chain(of_environment.filter(|_| scope.application.is_none()));
    let mut found = Vec::new();
    let mut last: Option<EndpointPlace> = None;
    for (looked, application) in keys.enumerate() {
        let application = application?;
        let known = after.filter(|after| after.application == application);
        if looked == APPLICATIONS_LOOKED_MAX {
            return Ok((found, last));
        }
        let start = match known {
            Some(EndpointPlace {
                endpoint: Some(endpoint),
                ..
            }) => endpoint.as_u64() + 1,
            Some(EndpointPlace { endpoint: None, .. }) => continue,
            None => 0,
        };
        let key = application.as_u64();
        for row in endpoints.range::<&[u8; 16]>(&pair(key, start)..=&pair(key, u64::MAX))? {
            let (place, deleted) = row?;
            if !deleted.value().is_empty() {
                continue;
            }
            if found.len() == take {
                return Ok((found, last));
            }
            let endpoint = EndpointKey::from_u64(second(place.value()));
            found.push(endpoint);
            last = Some(EndpointPlace {
                application,
                endpoint: Some(endpoint),
            });
        }
        last = last
            .filter(|last| last.application == application)
            .or(Some(EndpointPlace {
                application,
                endpoint: None,
            }));
    }
    Ok((found, None))
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
    way: Way<K>,
    keys: impl Iterator<Item = Result<K, StoreError>>,
    take: usize,
    mut accepted: impl FnMut(K, &mut Bounds) -> Result<Option<T>, StoreError>,
) -> Result<Found<T, K>, StoreError> {
    let mut rows = Vec::new();
    let mut bounds = Bounds::new();
    let mut looked_at: Option<K> = None;
    for key in keys {
        let key = key?;
        if rows.len() == take || !bounds.allow() {
            let reached = looked_at.filter(|_| rows.len() < take).map(Key::made_at);
            return Ok(Found {
                rows,
                next: Some(way.place_before(key)),
                looked_at,
                reached,
            });
        }
        looked_at = Some(key);
        rows.extend(accepted(key, &mut bounds)?);
    }
    Ok(Found {
        rows,
        next: None,
        looked_at,
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
        let fares = match self.filter.endpoint {
            // It may be beyond those that are shown.
            Some(endpoint) => self.fares(&self.delivery_for(key, endpoint)?),
            None => self.fares(&deliveries),
        };
        if !fares || !self.contains(key, bounds)? {
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

    fn with_payload(
        &mut self,
        key: MessageKey,
        bounds: &mut Bounds,
    ) -> Result<Option<StoredMessage>, StoreError> {
        let Some(row) = self.accepted(key, bounds)? else {
            return Ok(None);
        };
        let payload = self.payloads.get(&key.as_u64().to_be_bytes())?;
        let payload = payload.map(|bytes| Bytes::copy_from_slice(bytes.value()));
        bounds.note(payload.as_ref().map_or(0, Bytes::len));
        let message = row.message;
        Ok(Some(StoredMessage { message, payload }))
    }

    fn delivery_for(
        &self,
        key: MessageKey,
        endpoint: EndpointKey,
    ) -> Result<Vec<(EndpointKey, Delivery)>, StoreError> {
        let row = self
            .deliveries
            .get(&pair(key.as_u64(), endpoint.as_u64()))?;
        let rows = row.into_iter().map(|row| {
            let delivery = decode::<DeliveryV1>(row.value())?.into();
            Ok((endpoint, delivery))
        });
        rows.collect()
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
