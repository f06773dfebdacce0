//! One message: its payload, and how it fares with each endpoint.

use std::fmt::Write as _;
use std::sync::Arc;

use askama::Template;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use super::super::endpoints::answer;
use super::super::failure::{Answered, Failure};
use super::super::frame::{Can, Frame, Tab};
use super::super::parts::{
    ApiCall, Id, Moment, Tag, Well, advice, bytes, counted, milliseconds, shell_quoted,
};
use super::super::place::Place;
use super::super::pretty::pretty;
use super::{found, is_failed};
use crate::domain::attempt::{Attempt, CapturedResponse};
use crate::domain::delivery::{Delivery, DeliveryState, Trigger, Verdict};
use crate::domain::endpoint::{LiveEndpoint, is_secret_name};
use crate::domain::ids::EndpointKey;
use crate::domain::message::{Message, Origin, StoredMessage};
use crate::domain::payload;
use crate::domain::request::takes_requests;
use crate::domain::signing::SignedParts;
use crate::http::problem::Problem;

/// Bytes of a payload that a page shows; the rest is in the download.
const SHOWN_BYTES_MAX: usize = 256 * 1024;
/// Deliveries that a message's page shows.
const DELIVERIES_MAX: usize = 50;
/// Endpoints that a message is offered to.
const ELSEWHERE_MAX: usize = 200;

struct Header {
    name: String,
    value: String,
}

/// One attempt in a timeline.
struct Step {
    tag: Tag,
    number: u32,
    manual: bool,
    at: Moment,
    /// Since the attempt before.
    wait: Option<String>,
    duration: String,
    timing: Vec<(&'static str, String)>,
    peer: Option<String>,
    detail: Option<String>,
    advice: Option<&'static str>,
    request: Vec<Header>,
    left_out: String,
    response: Vec<Header>,
    body: Option<Well>,
    truncated: bool,
    /// Whether its details are open: the newest that failed.
    open: bool,
}

/// How the message fares with one endpoint.
struct DeliveryPart {
    url: String,
    href: String,
    tag: Tag,
    /// What happens next, and why then.
    words: String,
    next: Option<Moment>,
    steps: Vec<Step>,
    /// Attempts that are older than those shown.
    older: u32,
    replay: String,
    replay_is_main: bool,
    deleted: bool,
    disabled: bool,
    curl: Option<Well>,
}

#[derive(Template)]
#[template(path = "dashboard/messages/show.html")]
struct ShowPage {
    frame: Frame,
    can: Can,
    event_type: String,
    id: Id,
    uid: Option<Id>,
    channels: Vec<String>,
    created: Moment,
    origin: &'static str,
    size: String,
    payload: Option<Well>,
    raw: Option<Well>,
    cut: bool,
    download: String,
    deliveries: Vec<DeliveryPart>,
    /// Deliveries beyond those.
    not_shown: usize,
    elsewhere: Vec<(String, String)>,
    elsewhere_action: String,
    replay_all: Option<(String, String)>,
    edit: Option<String>,
    docs: Vec<Snippet>,
    /// Milliseconds after which the page looks again; 0: nothing is under way.
    again_ms: u32,
    api: ApiCall,
}

/// How a receiver verifies, in one language.
struct Snippet {
    language: &'static str,
    well: Well,
}

/// `GET /messages/{msg}`
pub(in super::super) async fn show(place: Place) -> Answered {
    let stored = found(&place)?;
    let message = &stored.message;
    let store = &place.state.store;
    let entry = place.application();
    let deliveries = store.deliveries(message.key)?;
    // What needs somebody comes first, and is what is shown of very many.
    let mut shown: Vec<_> = deliveries.iter().collect();
    shown.sort_by_key(|(_, delivery)| !is_failed(delivery));
    let not_shown = shown.len().saturating_sub(DELIVERIES_MAX);
    shown.truncate(DELIVERIES_MAX);
    let mut parts = Vec::with_capacity(shown.len());
    for (endpoint, delivery) in shown {
        if let Some(live) = entry.endpoint(*endpoint) {
            parts.push(delivery_part(&place, &stored, live, delivery)?);
        }
    }
    let owed: Vec<EndpointKey> = deliveries.iter().map(|(endpoint, _)| *endpoint).collect();
    let elsewhere = entry
        .endpoints
        .iter()
        .filter(|live| live.settings.deleted.is_none() && !owed.contains(&live.settings.key));
    let elsewhere: Vec<_> = elsewhere
        .take(ELSEWHERE_MAX)
        .map(|live| (place.id(live.settings.key), live.settings.url.clone()))
        .collect();
    let id = place.id(message.key);
    let at = |path: &str| place.link(&format!("/messages/{id}{path}"));
    let failed = deliveries.iter().filter(|(_, one)| is_failed(one)).count() as u64;
    let soon = deliveries.iter().any(|(key, delivery)| {
        let sends = entry.endpoint(*key).is_some_and(|live| live.sends());
        let due = delivery.waiting().map(|(due, _)| due);
        sends && due.is_some_and(|due| due.0 <= place.now.0 + 1000)
    });
    let api = place.api(&format!(
        "/applications/{}/messages/{id}",
        place.id(message.application)
    ));
    let endpoint = owed
        .first()
        .map_or_else(|| "EP".to_owned(), |key| place.id(*key));
    let by_api = [
        ("this message", "GET", api.clone(), None),
        (
            "its deliveries",
            "GET",
            format!("{api}/endpoint-messages"),
            None,
        ),
        ("its attempts", "GET", format!("{api}/attempts"), None),
        (
            "replay",
            "POST",
            format!("{api}/endpoints/{endpoint}/replays"),
            None,
        ),
    ];
    let trail = [("Logs", "/messages".to_owned())];
    let (payload, raw, cut) = payload_wells(stored.payload.as_ref());
    let page = ShowPage {
        frame: Frame::new(&place, Tab::Logs, &trail, &message.event_type),
        can: place.can(),
        event_type: message.event_type.clone(),
        uid: message.uid.as_ref().map(Id::new),
        channels: message.channels.clone(),
        created: Moment::new(message.created(), place.now),
        origin: match message.origin {
            Origin::Api => "Posted to the API",
            Origin::Operational => "Written by Hookpost: an operational event",
            Origin::Example => "Sent to try an endpoint out",
            Origin::Source { .. } => "Came to a source",
        },
        size: stored
            .payload
            .as_ref()
            .map_or_else(String::new, |payload| bytes(payload.len() as u64)),
        payload,
        raw,
        cut,
        download: at("/payload"),
        deliveries: parts,
        not_shown,
        elsewhere,
        elsewhere_action: at("/replays"),
        replay_all: (failed > 1).then(|| {
            let label = format!("Replay {}", counted(failed, "delivery", "deliveries"));
            (at("/replays"), label)
        }),
        edit: place
            .sends_messages()
            .then(|| place.link(&format!("/messages/new?from={id}"))),
        docs: snippets(),
        again_ms: if soon { 900 } else { 0 },
        id: Id::new(id).whole(),
        api: ApiCall::several("api-message", &by_api),
    };
    answer(&page)
}

/// The payload for the eye, and as it came, where that is something else.
fn payload_wells(payload: Option<&Bytes>) -> (Option<Well>, Option<Well>, bool) {
    let Some(payload) = payload else {
        return (None, None, false);
    };
    let cut = payload.len() > SHOWN_BYTES_MAX;
    let shown = &payload[..payload.len().min(SHOWN_BYTES_MAX)];
    let text = String::from_utf8_lossy(shown).into_owned();
    if cut {
        return (Some(Well::new("payload", text)), None, true);
    }
    match pretty(&text) {
        Some(pretty) if pretty != text => (
            Some(Well::new("payload", pretty)),
            Some(Well::new("payload-raw", text)),
            false,
        ),
        _ => (Some(Well::new("payload", text)), None, false),
    }
}

fn delivery_part(
    place: &Place,
    stored: &StoredMessage,
    live: &Arc<LiveEndpoint>,
    delivery: &Delivery,
) -> Result<DeliveryPart, Failure> {
    let store = &place.state.store;
    let key = live.settings.key;
    let id = place.id(stored.message.key);
    let mut attempts = Vec::new();
    for mark in delivery.attempts.iter().rev() {
        attempts.extend(store.attempt(mark.key)?);
    }
    let shown = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
    let newest = attempts.first().map(|attempt| attempt.number);
    let mut steps = Vec::with_capacity(attempts.len());
    for (at, attempt) in attempts.iter().enumerate() {
        let before = attempts.get(at + 1);
        let step = step(place, attempt, before, Some(attempt.number) == newest, &id);
        steps.push(step);
    }
    let held = !live.sends();
    let (words, next) = what_is_next(place, live, delivery, attempts.first());
    let endpoint = place.id(key);
    let can_curl = place.can().send && live.settings.deleted.is_none();
    let curl = stored.payload.as_ref().filter(|_| can_curl);
    Ok(DeliveryPart {
        url: live.settings.url.clone(),
        href: place.link(&format!("/endpoints/{endpoint}")),
        tag: Tag::of_delivery(delivery.state, held, delivery.attempt_count > 0),
        words,
        next,
        steps,
        older: delivery.attempt_count.saturating_sub(shown),
        replay: place.link(&format!("/messages/{id}/endpoints/{endpoint}/replays")),
        replay_is_main: is_failed(delivery),
        deleted: live.settings.deleted.is_some(),
        disabled: !live.takes_messages(),
        curl: curl.map(|payload| {
            let text = curl_of(place, live, &stored.message, payload);
            Well {
                id: format!("curl-{endpoint}"),
                class: "shell",
                text,
            }
        }),
    })
}

/// What comes next for a delivery, when and why.
fn what_is_next(
    place: &Place,
    live: &LiveEndpoint,
    delivery: &Delivery,
    last: Option<&Attempt>,
) -> (String, Option<Moment>) {
    let attempts = counted(delivery.attempt_count.into(), "attempt", "attempts");
    let DeliveryState::Waiting { due, trigger } = delivery.state else {
        let words = match delivery.state {
            DeliveryState::Delivered => format!("Delivered after {attempts}."),
            DeliveryState::Exhausted => format!(
                "Given up after {attempts}: the schedule is used up. It is kept, and can be replayed."
            ),
            _ => "Cancelled: the endpoint was deleted before it could be delivered.".to_owned(),
        };
        return (words, None);
    };
    if takes_requests(&live.settings) {
        let words = "Held: the endpoint takes requests, and no messages. It is sent when that has another scheme than optech.";
        return (words.to_owned(), None);
    }
    if live.settings.paused {
        let words = "Held: the endpoint is paused. It is sent when that is resumed.";
        return (words.to_owned(), None);
    }
    if !live.is_enabled() {
        let words = "Held: the endpoint is disabled. It is sent when that is enabled.";
        return (words.to_owned(), None);
    }
    let next = Moment::new(due.max(place.now), place.now);
    let why = match (trigger, last) {
        (Trigger::Manual, _) => "A replay is on its way".to_owned(),
        (_, None) => "Its first attempt is on its way".to_owned(),
        (_, Some(last)) if retry_after(last).is_some() => {
            format!("{attempts} so far; the receiver asked to wait, so the next is")
        }
        _ => format!("{attempts} so far; by the schedule the next is"),
    };
    (why, Some(next))
}

fn retry_after(attempt: &Attempt) -> Option<&[u8]> {
    let response = attempt.of.exchange.response.as_ref()?;
    let mut headers = response.headers.iter();
    let found = headers.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    found.map(|(_, value)| value.as_slice())
}

fn step(
    place: &Place,
    attempt: &Attempt,
    before: Option<&Attempt>,
    is_newest: bool,
    message_id: &str,
) -> Step {
    let of = &attempt.of;
    let timing = of.exchange.timing;
    let failed = of.verdict != Verdict::Delivered;
    let parts = [
        ("DNS", timing.dns_us),
        ("Connect", timing.connect_us),
        ("TLS", timing.tls_us),
        ("First byte", timing.first_byte_us),
    ];
    let parts = parts.into_iter().filter(|(_, us)| *us > 0);
    let microseconds = |us: u32| format!("{}.{} ms", us / 1000, us % 1000 / 100);
    let response = of.exchange.response.as_ref();
    Step {
        tag: Tag::of_attempt(&of.exchange.outcome, of.verdict),
        number: attempt.number,
        manual: of.trigger == Trigger::Manual,
        at: Moment::new(of.started, place.now),
        wait: before.map(|before| {
            let span = of.started.since(before.of.started);
            milliseconds(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
        }),
        duration: milliseconds(u64::from(timing.total_us / 1000)),
        timing: parts.map(|(name, us)| (name, microseconds(us))).collect(),
        peer: of.exchange.peer.map(|peer| peer.to_string()),
        detail: of.exchange.outcome.detail().map(str::to_owned),
        advice: advice(&of.exchange.outcome).filter(|_| failed),
        request: of
            .request
            .headers(message_id)
            .into_iter()
            .map(|(name, value)| Header { name, value })
            .collect(),
        left_out: of.request.left_out.join(", "),
        response: response.map_or_else(Vec::new, response_headers),
        body: response
            .filter(|response| !response.body.is_empty())
            .map(|response| body_well(place, attempt, response)),
        truncated: response.is_some_and(|response| response.truncated),
        open: is_newest && failed,
    }
}

/// The headers as they came; what usually carries a secret is masked.
fn response_headers(response: &CapturedResponse) -> Vec<Header> {
    let headers = response.headers.iter().map(|(name, value)| Header {
        name: name.clone(),
        value: if is_secret_name(name) {
            crate::domain::endpoint::MASKED.to_owned()
        } else {
            String::from_utf8_lossy(value).into_owned()
        },
    });
    headers.collect()
}

fn body_well(place: &Place, attempt: &Attempt, response: &CapturedResponse) -> Well {
    let id = format!("body-{}", place.id(attempt.key));
    let text = String::from_utf8(response.body.clone());
    Well::new(id, text.unwrap_or_else(|bytes| hex(bytes.as_bytes())))
}

/// Bytes that are no text, sixteen in a line.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (at, line) in bytes.chunks(16).enumerate() {
        write!(text, "{:08x} ", at * 16).expect("a string takes all");
        for byte in line {
            write!(text, " {byte:02x}").expect("a string takes all");
        }
        text.push('\n');
    }
    text
}

/// A request as a delivery would send it now: its signatures are valid for as
/// long as receivers take old ones.
fn curl_of(place: &Place, live: &LiveEndpoint, message: &Message, payload: &Bytes) -> String {
    let settings = &live.settings;
    let body = if settings.ascii_body {
        payload::ascii(payload)
    } else {
        std::borrow::Cow::Borrowed(payload.as_ref())
    };
    let id = place.id(message.key);
    let secrets = settings.valid_secrets(place.now).map(|valid| &valid.secret);
    let signed = SignedParts::sign(
        &settings.signatures,
        secrets,
        &id,
        place.now.as_secs(),
        &body,
    );
    let mut text = format!("curl -X POST {}", shell_quoted(&settings.url));
    let mut header = |name: &str, value: &str| {
        let word = shell_quoted(&format!("{name}: {value}"));
        write!(text, " \\\n  -H {word}").expect("a string takes all");
    };
    header("content-type", &message.content_type);
    for (name, value) in signed.headers(&id) {
        header(name, &value);
    }
    for custom in &settings.headers {
        header(&custom.name, custom.shown());
    }
    let data = shell_quoted(&String::from_utf8_lossy(&body));
    write!(text, " \\\n  --data-binary {data}").expect("a string takes all");
    text
}

/// `GET /messages/{msg}/payload`: the bytes as they came, as a file.
pub(in super::super) async fn download(place: Place) -> Answered {
    let stored = found(&place)?;
    let gone = || Problem::from(crate::store::Refusal::PayloadGone);
    let payload = stored.payload.ok_or_else(gone)?;
    let mut response = payload.into_response();
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, plain);
    let file = HeaderValue::from_static("attachment; filename=\"payload.json\"");
    headers.insert(CONTENT_DISPOSITION, file);
    let sandbox = HeaderValue::from_static("sandbox; default-src 'none'");
    headers.insert(CONTENT_SECURITY_POLICY, sandbox);
    Ok(response)
}

/// How to verify a delivery, in six languages.
fn snippets() -> Vec<Snippet> {
    SNIPPETS
        .iter()
        .enumerate()
        .map(|(at, (language, text))| Snippet {
            language,
            well: Well::new(format!("verify-{at}"), (*text).trim_end()),
        })
        .collect()
}

const SNIPPETS: [(&str, &str); 6] = [
    (
        "Node.js",
        include_str!("../../../templates/dashboard/verify/node.txt"),
    ),
    (
        "Python",
        include_str!("../../../templates/dashboard/verify/python.txt"),
    ),
    (
        "Go",
        include_str!("../../../templates/dashboard/verify/go.txt"),
    ),
    (
        "Ruby",
        include_str!("../../../templates/dashboard/verify/ruby.txt"),
    ),
    (
        "PHP",
        include_str!("../../../templates/dashboard/verify/php.txt"),
    ),
    (
        "Java",
        include_str!("../../../templates/dashboard/verify/java.txt"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_shown_as_numbers() {
        assert_eq!(hex(&[0xff, 0x00]), "00000000  ff 00\n");
        assert_eq!(hex(&[1; 17]).lines().count(), 2);
    }

    #[test]
    fn a_payload_is_shown_pretty_and_as_it_came() {
        let payload = Bytes::from_static(br#"{"n":12345678901234567890.10}"#);
        let (pretty, raw, cut) = payload_wells(Some(&payload));
        assert!(!cut);
        assert_eq!(
            pretty.expect("shown").text,
            "{\n  \"n\": 12345678901234567890.10\n}"
        );
        assert_eq!(raw.expect("shown").text, r#"{"n":12345678901234567890.10}"#);
        let long = Bytes::from(vec![b' '; SHOWN_BYTES_MAX + 1]);
        assert!(payload_wells(Some(&long)).2);
        assert!(payload_wells(None).0.is_none());
    }
}
