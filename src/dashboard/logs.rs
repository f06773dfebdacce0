//! What the lists of messages and attempts share: tabs, live rows, exports,
//! what is done with rows that were chosen.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};

use super::endpoints::back;
use super::failure::{Answered, Failure};
use super::form::Form;
use super::parts::Moment;
use super::place::Place;
use super::{attempts, gate, messages};
use crate::domain::ids::{AttemptKey, EndpointKey, MessageKey, first_key_at};
use crate::http::paging::Params;
use crate::http::problem::Problem;

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
    for pair in chosen {
        let (message, endpoint) = pair.split_once(' ').unwrap_or((pair, ""));
        replay(&place, message, endpoint).await?;
    }
    Ok(back(&to, "replayed-all"))
}

/// Replays one delivery, or with no endpoint every one of the message that is
/// not delivered.
pub(super) async fn replay(place: &Place, message: &str, endpoint: &str) -> Result<(), Failure> {
    let store = &place.state.store;
    let key: MessageKey = store
        .ids()
        .parse(message)
        .ok_or_else(|| Failure::not_found("message"))?;
    let application = messages::application_of(place, key)?;
    let endpoints = if endpoint.is_empty() {
        messages::undelivered(place, key)?
    } else {
        let endpoint = store.ids().parse(endpoint);
        vec![endpoint.ok_or_else(|| Failure::not_found("endpoint"))?]
    };
    for endpoint in endpoints {
        let replayed = store.replay(place.scope(), application, key, endpoint, None);
        replayed.await?;
    }
    Ok(())
}

/// `GET /messages/live`, `GET /attempts/live`: rows as they come.
pub(super) async fn live_messages(place: Place, params: Params) -> Answered {
    live(place, params, |place, params, after| {
        messages::fresh_rows(place, params, after)
    })
}

pub(super) async fn live_attempts(place: Place, params: Params) -> Answered {
    live(place, params, |place, params, after: AttemptKey| {
        attempts::fresh_rows(place, params, after)
    })
}

/// An endless answer of server-sent events: it ends itself when the server
/// stops, and after a while, so that who may look is asked again.
#[expect(clippy::unnecessary_wraps, reason = "handlers end in it")]
fn live<K>(
    place: Place,
    params: Params,
    look: impl Fn(&Place, &Params, K) -> Result<(String, K), Failure> + Send + 'static,
) -> Answered
where
    K: crate::domain::ids::Key + Send + 'static,
{
    let first: K = first_key_at(place.now);
    let stopping = place.state.stopping.clone();
    let state = (place, params, look, first, 0_u32, 0_u32, stopping);
    let events = stream::unfold(state, async |state| {
        let (place, params, look, mut after, mut looks, mut quiet, mut stopping) = state;
        if looks == 0 {
            let hello = Bytes::from_static(b"retry: 3000\n\n");
            let state = (place, params, look, after, 1, 0, stopping);
            return Some((Ok::<_, Infallible>(hello), state));
        }
        while looks < LIVE_LOOKS_MAX {
            tokio::select! {
                () = place.state.clock.sleep(LOOK_EVERY) => {}
                _ = stopping.wait_for(|stopping| *stopping) => return None,
            }
            looks += 1;
            if !gate::is_still_in(&place) {
                return None;
            }
            let (rows, newest) = look(&place, &params, after).ok()?;
            after = newest;
            quiet += 1;
            let event = if !rows.is_empty() {
                rows_event(&rows)
            } else if quiet >= QUIET_LOOKS_MAX {
                String::from(": quiet\n\n")
            } else {
                continue;
            };
            let state = (place, params, look, after, looks, 0, stopping);
            return Some((Ok(Bytes::from(event)), state));
        }
        None
    });
    let mut response = Body::from_stream(events).into_response();
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    let kept = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, kept);
    Ok(response)
}

/// Rows as one event: each of its lines begins with `data:`.
fn rows_event(rows: &str) -> String {
    let mut event = String::from("event: rows\n");
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
            rows_event("<tr>\n</tr>"),
            "event: rows\ndata: <tr>\ndata: </tr>\n\n"
        );
    }
}
