//! What the lists of messages and attempts share: tabs, live rows, exports,
//! what is done with rows that were chosen.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use tokio::sync::watch;

use super::endpoints::back;
use super::failure::{Answered, Failure};
use super::form::Form;
use super::parts::Moment;
use super::place::Place;
use super::{attempts, gate, messages};
use crate::domain::ids::{ApplicationKey, EndpointKey, Key, MessageKey, first_key_at};
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::store::WriteError;

/// Between two looks for new rows.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Rows that a look gives at most, the newest: nobody reads more in a second.
pub(super) const LIVE_ROWS_MAX: usize = 12;
/// After so many looks without news something is said all the same, so that a
/// connection that is gone is noticed.
const QUIET_LOOKS_MAX: u32 = 15;
/// How long one live page is served; its script comes back by itself, and its
/// session is looked at again.
const LIVE_LOOKS_MAX: u32 = 600;
/// Rows that are chosen for a replay at once.
const CHOSEN_MAX: usize = 200;
/// Rows of an export.
const EXPORT_ROWS_MAX: usize = 100_000;

/// The tabs above logs.
pub(super) struct LogTabs {
    pub(super) messages: String,
    pub(super) attempts: String,
    pub(super) current: &'static str,
    /// Where a message is sent, on an application's pages.
    pub(super) send: Option<String>,
}

impl LogTabs {
    pub(super) fn new(place: &Place, current: &'static str) -> Self {
        let sends = place.sends_messages();
        Self {
            messages: place.link("/messages"),
            attempts: place.link("/attempts"),
            current,
            send: sends.then(|| place.link("/messages/new")),
        }
    }
}

/// Where a list goes on.
pub(super) struct Older {
    pub(super) href: String,
    /// How far back was looked, when little was found.
    pub(super) reached: Option<Moment>,
}

/// The endpoint of this id, if the viewer sees it.
pub(super) fn endpoint_asked(place: &Place, id: &str) -> Result<EndpointKey, Failure> {
    let store = &place.state.store;
    let missing = || Failure::not_found("endpoint");
    if let Some(entry) = &place.application {
        let found = store.find_endpoint(entry, id)?.ok_or_else(missing)?;
        return Ok(found.settings.key);
    }
    let key: EndpointKey = store.ids().parse(id).ok_or_else(missing)?;
    let found = store.covered_endpoint(place.scope(), key)?;
    found.map(|_| key).ok_or_else(missing)
}

/// `POST /replays`: every row that was chosen, as `message endpoint`.
pub(super) async fn replay_chosen(place: Place, form: Form) -> Answered {
    let to = match form.get("back") {
        "messages" => place.link("/messages"),
        _ => place.link("/attempts"),
    };
    let mut chosen: Vec<&str> = form.all("chosen").collect();
    chosen.sort_unstable();
    chosen.dedup();
    if chosen.is_empty() {
        return Ok(back(&to, "none-chosen"));
    }
    if chosen.len() > CHOSEN_MAX {
        return Err(Failure(Problem::invalid(vec![
            crate::control::FieldError::new(
                "chosen",
                format!("has more than {CHOSEN_MAX} rows; recover by endpoint and time instead"),
            ),
        ])));
    }
    // All of them are found before any is sent.
    let mut deliveries = Vec::new();
    for pair in chosen {
        let (message, endpoint) = pair.split_once(' ').unwrap_or((pair, ""));
        deliveries.extend(named(&place, message, endpoint)?);
    }
    let replayed = replay(&place, deliveries).await?;
    Ok(back(&to, replayed.notice("replayed-all")))
}

/// What became of replays.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Replayed {
    sent: usize,
    /// Their endpoint is disabled or gone, or the payload is.
    left_out: usize,
}

impl Replayed {
    /// The notice that tells of it; `all` when none was left out.
    pub(super) fn notice(self, all: &'static str) -> &'static str {
        match (self.sent, self.left_out) {
            (0, 0) => "none-failed",
            (_, 0) => all,
            (0, _) => "replayed-none",
            _ => "replayed-some",
        }
    }
}

/// A delivery, whether there is one yet or not.
pub(super) type Named = (ApplicationKey, MessageKey, EndpointKey);

/// The delivery that is named, or with no endpoint every one of the message
/// that is not delivered.
pub(super) fn named(place: &Place, message: &str, endpoint: &str) -> Result<Vec<Named>, Failure> {
    let ids = place.state.store.ids();
    let missing = |what: &str| Failure::not_found(what);
    let key: MessageKey = ids.parse(message).ok_or_else(|| missing("message"))?;
    let application = messages::application_of(place, key)?;
    let endpoints = if endpoint.is_empty() {
        messages::undelivered(place, key)?
    } else {
        let endpoint: Option<EndpointKey> = ids.parse(endpoint);
        let endpoint = endpoint.ok_or_else(|| missing("endpoint"))?;
        let live = place
            .state
            .store
            .covered_endpoint(place.scope(), endpoint)?;
        let ours = live.filter(|live| live.settings.application == application);
        vec![ours.ok_or_else(|| missing("endpoint"))?.settings.key]
    };
    Ok(endpoints
        .into_iter()
        .map(|endpoint| (application, key, endpoint))
        .collect())
}

/// Replays these, and leaves out what cannot be sent.
pub(super) async fn replay(place: &Place, deliveries: Vec<Named>) -> Result<Replayed, Failure> {
    let store = &place.state.store;
    let one = deliveries.len() == 1;
    let mut done = Replayed::default();
    for (application, message, endpoint) in deliveries {
        let replayed = store.replay(place.scope(), application, message, endpoint, None);
        match replayed.await {
            Ok(_) => done.sent += 1,
            // Of one that was asked for, the page says why.
            Err(WriteError::Refused(refusal)) if one => return Err(refusal.into()),
            Err(WriteError::Refused(_)) => done.left_out += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

/// `GET /messages/live`, `GET /attempts/live`: rows as they come.
pub(super) async fn live_messages(place: Place, params: Params, headers: HeaderMap) -> Answered {
    Ok(live(place, params, &headers, messages::fresh_rows))
}

pub(super) async fn live_attempts(place: Place, params: Params, headers: HeaderMap) -> Answered {
    Ok(live(place, params, &headers, attempts::fresh_rows))
}

/// Rows that came since a look before.
pub(super) struct Fresh<K> {
    /// As a live page takes them, oldest first; empty when nothing came.
    pub(super) html: String,
    /// The newest that was looked at.
    pub(super) newest: K,
}

/// An answer of server-sent events that goes on for long. The browser comes
/// back with the id of the last event, and is told what came after it.
pub(super) fn live<K, L>(place: Place, params: Params, headers: &HeaderMap, look: L) -> Response
where
    K: Key + Send + 'static,
    L: Fn(&Place, &Params, K) -> Result<Fresh<K>, Failure> + Send + 'static,
{
    let seen = headers.get("last-event-id");
    let seen = seen.and_then(|id| place.state.store.ids().parse(id.to_str().ok()?));
    let live = Live {
        after: seen.unwrap_or(first_key_at(place.now)),
        looks: 0,
        stopping: place.state.stopping.clone(),
        place,
        params,
        look,
    };
    let events = stream::unfold(live, async |mut live| {
        let event = live.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(event)), live))
    });
    let mut response = Body::from_stream(events).into_response();
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// What one live page is told.
struct Live<K, L> {
    place: Place,
    params: Params,
    look: L,
    /// The newest that was looked at.
    after: K,
    looks: u32,
    stopping: watch::Receiver<bool>,
}

impl<K, L> Live<K, L>
where
    K: Key,
    L: Fn(&Place, &Params, K) -> Result<Fresh<K>, Failure>,
{
    /// The next event. `None` ends the answer: the server stops, whoever looks
    /// may no longer, or it was long enough.
    async fn next(&mut self) -> Option<String> {
        if self.looks == 0 {
            self.looks = 1;
            return Some("retry: 3000\n\n".to_owned());
        }
        let quiet_until = self.looks + QUIET_LOOKS_MAX;
        while self.looks < LIVE_LOOKS_MAX {
            tokio::select! {
                () = self.place.state.clock.sleep(LOOK_EVERY) => {}
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
            }
            self.looks += 1;
            if !gate::is_still_in(&self.place) {
                return None;
            }
            let fresh = (self.look)(&self.place, &self.params, self.after).ok()?;
            self.after = fresh.newest;
            if !fresh.html.is_empty() {
                return Some(rows_event(&self.place.id(self.after), &fresh.html));
            }
            if self.looks >= quiet_until {
                return Some(": quiet\n\n".to_owned());
            }
        }
        None
    }
}

/// Rows as one event: each of its lines begins with `data:`.
fn rows_event(id: &str, rows: &str) -> String {
    let mut event = format!("event: rows\nid: {id}\n");
    for line in rows.lines() {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event
}

/// JSON lines as a file to keep, a page at a time.
pub(super) fn export<K>(
    place: Place,
    name: &'static str,
    next: impl Fn(&Place, Option<K>) -> Result<(String, usize, Option<K>), Failure> + Send + 'static,
) -> Response
where
    K: Send + 'static,
{
    let state = (place, next, Some(None), 0_usize);
    let lines = stream::unfold(state, async |(place, next, at, sent)| {
        let before = at?;
        let (text, rows, further) = match next(&place, before) {
            Ok(page) => page,
            // The file ends here; what is missing is said in its last line.
            Err(failure) => {
                let line = serde_json::json!({"error": failure.0.detail}).to_string();
                (format!("{line}\n"), 0, None)
            }
        };
        let sent = sent + rows;
        let further = further.filter(|_| sent < EXPORT_ROWS_MAX).map(Some);
        // Whoever else waits for this thread comes first.
        tokio::task::yield_now().await;
        Some((
            Ok::<_, Infallible>(Bytes::from(text)),
            (place, next, further, sent),
        ))
    });
    let mut response = Body::from_stream(lines).into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/x-ndjson; charset=utf-8");
    headers.insert(CONTENT_TYPE, kind);
    let file = format!("attachment; filename=\"{name}.jsonl\"");
    let file = HeaderValue::from_str(&file).expect("a plain name");
    headers.insert(CONTENT_DISPOSITION, file);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_several_lines_are_one_event() {
        assert_eq!(
            rows_event("msg_1", "<tr>\n</tr>"),
            "event: rows\nid: msg_1\ndata: <tr>\ndata: </tr>\n\n"
        );
    }
}
