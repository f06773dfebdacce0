//! `/attempts` and `/messages`: the logs of all that a key sees.
//!
//! They are read newest first as other lists are, or, `after` a row, oldest
//! first: so a client follows them. Every answer links to where that goes on.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header::LINK;
use serde::Serialize;

use super::attempts::{self, Bound, bound};
use super::{application, messages};
use crate::control::FieldError;
use crate::domain::ids::{ApplicationKey, EndpointKey, Ids, Key, MessageKey};
use crate::domain::principal::{Principal, Scope};
use crate::domain::time::Timestamp;
use crate::http::answer::json;
use crate::http::auth::Caller;
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::store::{AttemptRow, Found, MessageFilter, StoreError, Way};

/// Seconds that a call may wait for something new.
pub(super) const WAIT_SECONDS_MAX: usize = 25;
/// Between two looks for something new.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOKS_PER_SECOND: usize = 4;

/// An attempt, and what a list of one message or endpoint need not say.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoggedAttempt {
    application_id: String,
    event_type: Option<String>,
    #[serde(flatten)]
    attempt: attempts::Shape,
}

/// A message, and whose it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoggedMessage<'a> {
    application_id: String,
    #[serde(flatten)]
    message: messages::Shape<'a>,
}

pub(super) async fn attempts(
    State(state): State<AppState>,
    Caller(principal): Caller,
    params: Params,
) -> Result<Response, Problem> {
    let ids = state.store.ids();
    let mut filter = attempts::filter(&params)?;
    let asked = Asked::read(&params, ids, "an attempt")?;
    let before = bound(&params, "before", ids, "an attempt")?;
    let asked = match before {
        Some(Bound::Row(key)) => asked.before(key)?,
        Some(Bound::Time(at)) => {
            filter.before = Some(at);
            asked
        }
        None => asked,
    };
    filter.after = asked.since;
    let part = part(&state, principal, &params)?;
    let found = look(&state, &asked, |way| {
        let store = &state.store;
        store.log_attempts(part.scope, part.endpoint, &filter, way, asked.take)
    })
    .await?;
    let shapes: Vec<_> = found.rows.iter().map(|row| logged(row, ids)).collect();
    let keys = found.rows.iter().map(|row| row.attempt.key);
    let links = Links::of(asked.way, found.next, keys);
    Ok(links.put(json(StatusCode::OK, &shapes), &params, ids))
}

fn logged(row: &AttemptRow, ids: &Ids) -> LoggedAttempt {
    LoggedAttempt {
        application_id: ids.text(row.attempt.of.application),
        event_type: row.event_type.clone(),
        attempt: attempts::shape(&row.attempt, ids),
    }
}

pub(super) async fn messages(
    State(state): State<AppState>,
    Caller(principal): Caller,
    params: Params,
) -> Result<Response, Problem> {
    let ids = state.store.ids();
    let mut asked = Asked::<MessageKey>::read(&params, ids, "a message")?;
    let expected = "the id of a message";
    if let Some(key) = params.parsed("before", expected, |text| ids.parse(text))? {
        asked = asked.before(key)?;
    }
    let part = part(&state, principal, &params)?;
    let filter = MessageFilter {
        event_type: attempts::event_type(&params)?,
        endpoint: part.endpoint,
        after: asked.since,
        ..MessageFilter::default()
    };
    let found = look(&state, &asked, |way| {
        let store = &state.store;
        store.log_messages(part.scope, &filter, way, asked.take)
    })
    .await?;
    let shapes = found.rows.iter().map(|stored| LoggedMessage {
        application_id: ids.text(stored.message.application),
        message: messages::stored_shape(stored, ids),
    });
    let shapes: Vec<_> = shapes.collect();
    let keys = found.rows.iter().map(|stored| stored.message.key);
    let links = Links::of(asked.way, found.next, keys);
    Ok(links.put(json(StatusCode::OK, &shapes), &params, ids))
}

/// From where a log is asked for, and how much of it.
struct Asked<K> {
    way: Way<K>,
    /// An `after` that is a time narrows the list, and turns nothing.
    since: Option<Timestamp>,
    take: usize,
    wait_seconds: usize,
}

impl<K: Key> Asked<K> {
    fn read(params: &Params, ids: &Ids, what: &str) -> Result<Self, Problem> {
        let (way, since) = match bound(params, "after", ids, what)? {
            Some(Bound::Row(key)) => (Way::Forth(key), None),
            Some(Bound::Time(at)) => (Way::Back(None), Some(at)),
            None => (Way::Back(None), None),
        };
        Ok(Self {
            way,
            since,
            take: params.page_size()?,
            wait_seconds: params.number("wait", 0, WAIT_SECONDS_MAX)?.unwrap_or(0),
        })
    }

    /// The same, older than `key`.
    fn before(self, key: K) -> Result<Self, Problem> {
        if matches!(self.way, Way::Forth(_)) {
            let detail = "cannot be given together with an `after` that is an id";
            return Err(Problem::invalid(vec![FieldError::new("?before", detail)]));
        }
        let way = Way::Back(Some(key));
        Ok(Self { way, ..self })
    }

    /// How often a log is looked at before nothing new is an answer.
    fn looks_max(&self) -> usize {
        match self.way {
            Way::Back(_) => 1,
            Way::Forth(_) => 1 + self.wait_seconds * LOOKS_PER_SECOND,
        }
    }
}

/// The part of the environment that a log is asked for.
struct Part {
    scope: Scope,
    endpoint: Option<EndpointKey>,
}

fn part(state: &AppState, principal: Principal, params: &Params) -> Result<Part, Problem> {
    let mut scope = principal.scope;
    let found = match params.get("application") {
        None => None,
        Some(app) => application(state, principal, app)?,
    };
    let key = found.map(|entry| entry.application.key);
    let expected = "the id or uid of an application";
    if let Some(application) = params.parsed("application", expected, |_| key)? {
        scope.application = Some(application);
    }
    let found = match params.get("endpoint") {
        None => None,
        Some(ep) => endpoint(state, scope, ep)?,
    };
    let expected = "the id of an endpoint, or, together with `application`, its uid";
    let found = params.parsed("endpoint", expected, |_| found)?;
    if let Some((application, _)) = found {
        scope.application = Some(application);
    }
    let endpoint = found.map(|(_, endpoint)| endpoint);
    Ok(Part { scope, endpoint })
}

/// An endpoint, and whose it is. Its uid says which one only within an application.
fn endpoint(
    state: &AppState,
    scope: Scope,
    id_or_uid: &str,
) -> Result<Option<(ApplicationKey, EndpointKey)>, StoreError> {
    let store = &state.store;
    if let Some(application) = scope.application {
        let Some(entry) = store.application(application)? else {
            return Ok(None);
        };
        let found = store.find_endpoint(&entry, id_or_uid)?;
        return Ok(found.map(|live| (application, live.settings.key)));
    }
    let Some(key) = store.ids().parse(id_or_uid) else {
        return Ok(None);
    };
    let found = store.covered_endpoint(scope, key)?;
    Ok(found.map(|live| (live.settings.application, key)))
}

/// What `find` finds on the way that is asked for, now or within the wait.
async fn look<T, K: Key>(
    state: &AppState,
    asked: &Asked<K>,
    find: impl Fn(Way<K>) -> Result<Found<T, K>, StoreError>,
) -> Result<Found<T, K>, Problem> {
    let mut stopping = state.stopping.clone();
    let mut way = asked.way;
    let mut next = None;
    let mut looks_left = asked.looks_max();
    loop {
        looks_left -= 1;
        let mut found = find(way)?;
        // The last place that may be shown, should the looks after it find nothing.
        next = found.next.or(next);
        let is_broken_off = found.next.is_some();
        if !found.rows.is_empty() || looks_left == 0 || *stopping.borrow() {
            if found.rows.is_empty() {
                found.next = next;
            }
            return Ok(found);
        }
        if let Some(looked_at) = found.looked_at {
            way = Way::Forth(looked_at);
        }
        if is_broken_off {
            // Whoever else waits for this thread comes first.
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            () = state.clock.sleep(LOOK_EVERY) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }
}

/// Where a log goes on.
#[derive(Debug, PartialEq, Eq)]
struct Links<K> {
    /// What is older than this.
    before: Option<K>,
    /// What is newer than this.
    after: K,
    /// Whether the page itself was oldest first.
    is_forth: bool,
}

impl<K: Key> Links<K> {
    /// `keys` are those of the page, in its order.
    fn of(way: Way<K>, next: Option<K>, keys: impl DoubleEndedIterator<Item = K>) -> Self {
        let mut keys = keys;
        match way {
            Way::Back(_) => Self {
                before: next,
                // Nothing found: what was not looked at is not newer.
                after: keys.next().or(next).unwrap_or(K::from_u64(0)),
                is_forth: false,
            },
            Way::Forth(after) => Self {
                before: None,
                after: next.or(keys.next_back()).unwrap_or(after),
                is_forth: true,
            },
        }
    }

    fn put(&self, mut response: Response, params: &Params, ids: &Ids) -> Response {
        let headers = response.headers_mut();
        if let Some(before) = self.before {
            headers.append(LINK, params.next_link(&ids.text(before)));
        }
        let rel = if self.is_forth { "next" } else { "prev" };
        headers.append(LINK, params.link(rel, "after", &ids.text(self.after)));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::AttemptKey;

    #[test]
    fn a_page_links_to_what_is_older_and_to_what_is_newer() {
        let key = AttemptKey::from_u64;
        let back = Way::Back(None);
        let forth = Way::Forth(key(5));
        // The way, the place that the search gave, the keys found; then older
        // than, and newer than.
        for (way, next, keys, before, after) in [
            (back, None, &[][..], None, 0),
            (back, None, &[9, 8], None, 9),
            (back, Some(7), &[9, 8], Some(7), 9),
            (back, Some(7), &[], Some(7), 7),
            (forth, None, &[], None, 5),
            (forth, None, &[6, 7], None, 7),
            (forth, Some(8), &[6, 7], None, 8),
            (forth, Some(8), &[], None, 8),
        ] {
            let links = Links::of(way, next.map(key), keys.iter().copied().map(key));
            let want = (before.map(key), key(after));
            assert_eq!(
                (links.before, links.after),
                want,
                "{way:?} {next:?} {keys:?}"
            );
        }
    }
}
