//! One attempt: sign, POST, judge what came back, hand it to record.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::place::{self, Outgoing, Place};
use super::schedule::{Content, Destination, Dispatch};
use super::{CLOCK_LOOK, Inner};
use crate::domain::attempt::{
    Exchange, NewAttempt, Outcome, RESPONSE_BODY_KEPT_BYTES, SentRequest, USER_AGENT,
};
use crate::domain::breaker::{OPEN_MAX, Signal};
use crate::domain::delivery::{Trigger, Verdict};
use crate::domain::endpoint::{Endpoint, LiveEndpoint, MASKED, is_secret_name};
use crate::domain::ids::{ApplicationKey, EndpointKey, MessageKey};
use crate::domain::message::{JSON, Message};
use crate::domain::payload;
use crate::domain::retry::{next_due, parse_retry_after};
use crate::domain::signing::{Scheme, SignedParts};
use crate::domain::time::Timestamp;
use crate::store::{Recorded, WriteError};

/// How long a `Retry-After` holds back the endpoint's other deliveries at most.
const HOLD_MAX: Duration = OPEN_MAX;

/// An endpoint, made ready to be sent to again and again.
pub(super) struct Prepared {
    pub live: Arc<LiveEndpoint>,
    pub rate_limit: Option<u32>,
    place: Place,
    /// Everything but the content type and the signatures.
    headers: HeaderMap,
    custom: Vec<(String, String)>,
    schedule: Vec<Duration>,
    timeout: Duration,
}

impl Prepared {
    fn key(&self) -> EndpointKey {
        self.live.settings.key
    }

    fn application(&self) -> ApplicationKey {
        self.live.settings.application
    }
}

/// What `endpoint` is at the moment.
pub(super) fn destination(inner: &Inner, endpoint: EndpointKey) -> Destination {
    match inner.store.live_endpoint(endpoint) {
        Ok(Some(live)) if live.sends() => Destination::Open(Arc::new(prepare(inner, live))),
        Ok(Some(_)) => Destination::Held,
        Ok(None) => Destination::Gone,
        Err(error) => {
            tracing::error!(%error, "cannot read an endpoint; its deliveries wait");
            let ask_again = inner.clock.now().plus(CLOCK_LOOK);
            Destination::Unknown { ask_again }
        }
    }
}

fn prepare(inner: &Inner, live: Arc<LiveEndpoint>) -> Prepared {
    let settings = &live.settings;
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(
        http::header::USER_AGENT,
        HeaderValue::from_static(USER_AGENT),
    );
    let mut custom = Vec::with_capacity(settings.headers.len());
    for header in &settings.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_str(header.value.expose());
        // Both were checked when they were set.
        if let (Ok(name), Ok(mut value)) = (name, value) {
            value.set_sensitive(true);
            headers.insert(name, value);
            custom.push((header.name.clone(), header.shown().to_owned()));
        }
    }
    let schedule = settings.retry_schedule.clone();
    Prepared {
        place: Place::of(&settings.url, &inner.settings.public_url),
        rate_limit: settings.rate_limit,
        headers,
        custom,
        schedule: schedule.unwrap_or_else(|| inner.settings.retry_schedule.clone()),
        timeout: settings.timeout.unwrap_or(inner.settings.attempt_timeout),
        live,
    }
}

/// What is to be sent, and how far its schedule has come.
struct Load {
    content: Content,
    retries_used: u16,
}

/// Makes one attempt and hands it to record.
pub(super) async fn deliver(inner: &Arc<Inner>, dispatch: Dispatch) {
    let endpoint = Arc::clone(&dispatch.endpoint);
    let Some(live) = still_sends(inner, endpoint.key()) else {
        inner.lock().postponed(endpoint.key(), dispatch.message);
        return;
    };
    let Some(load) = load(inner, &dispatch) else {
        inner.lock().dropped(endpoint.key(), dispatch.message);
        return;
    };
    let started = inner.clock.now();
    let signed = sign(inner, &endpoint, &live.settings, &load.content, started);
    let Signed {
        request,
        headers,
        body,
    } = signed;
    let payload_bytes = body.len();
    let outgoing = Outgoing {
        method: Method::POST,
        headers,
        body,
        timeout: endpoint.timeout,
        keep_bytes: RESPONSE_BODY_KEPT_BYTES,
        event_type: match &endpoint.place {
            Place::Own { .. } => Some(load.content.0.event_type.clone()),
            Place::Network(_) | Place::Nowhere(_) => None,
        },
    };
    let exchange = place::send(inner, &endpoint.place, outgoing).await;
    inner
        .awaited
        .answered(dispatch.message, endpoint.key(), &exchange);
    let ended = inner.clock.now();
    let verdict = verdict(&endpoint, &exchange);
    let wish = wish(&exchange, ended);
    let retry_at = next_due(
        &endpoint.schedule,
        load.retries_used,
        ended,
        inner.entropy.fraction(),
        wish,
    );
    let took = Duration::from_micros(u64::from(exchange.timing.total_us));
    let signal = Signal::of(&exchange.outcome, took);
    inner.lock().finished(
        endpoint.key(),
        dispatch.message,
        signal,
        wish.map(|wish| wish.min(HOLD_MAX)),
        ended,
    );
    let attempt = Arc::new(NewAttempt {
        application: endpoint.application(),
        endpoint: endpoint.key(),
        message: dispatch.message,
        started,
        trigger: dispatch.trigger,
        verdict,
        request,
        exchange,
    });
    record(
        inner,
        Finished {
            attempt,
            took: (dispatch.due, dispatch.trigger),
            retry_at,
            payload_bytes,
        },
    );
}

/// The endpoint as it is now, if it may be sent to. Whoever paused, disabled or
/// deleted it, or took a secret away, is answered before the scheduler is told;
/// nothing may be sent as it was between the two.
fn still_sends(inner: &Inner, endpoint: EndpointKey) -> Option<Arc<LiveEndpoint>> {
    let live = inner.store.live_endpoint(endpoint).ok()?;
    live.filter(|live| live.sends())
}

/// What came with the dispatch, or what the disk says; `None` when the row
/// that led here is out of date.
fn load(inner: &Inner, dispatch: &Dispatch) -> Option<Load> {
    if let Some(content) = &dispatch.content {
        return Some(Load {
            content: Arc::clone(content),
            retries_used: 0,
        });
    }
    let endpoint = dispatch.endpoint.key();
    let found = match inner.store.load_delivery(dispatch.message, endpoint) {
        Ok(found) => found?,
        Err(error) => {
            tracing::error!(%error, "cannot read a delivery; it waits");
            inner
                .lock()
                .read_failed(endpoint, inner.clock.now().plus(CLOCK_LOOK));
            return None;
        }
    };
    let (delivery, stored) = found;
    if delivery.waiting() != Some((dispatch.due, dispatch.trigger)) {
        return None;
    }
    let payload: Bytes = stored.payload?;
    Some(Load {
        content: Arc::new((stored.message, payload)),
        retries_used: delivery.retries_used,
    })
}

/// A request that is ready to go out.
struct Signed {
    /// What the log keeps of it.
    request: SentRequest,
    headers: HeaderMap,
    body: Bytes,
}

/// `settings` are the endpoint's now: it may have been prepared long ago.
fn sign(
    inner: &Inner,
    endpoint: &Prepared,
    settings: &Endpoint,
    content: &Content,
    now: Timestamp,
) -> Signed {
    let (message, payload) = &**content;
    let body = body(settings, message, payload);
    let id = inner.store.ids().text(message.key);
    let secrets = settings.valid_secrets(now).map(|valid| &valid.secret);
    let signed = SignedParts::sign(&settings.signatures, secrets, &id, now.as_secs(), &body);
    let mut headers = endpoint.headers.clone();
    let mut custom = endpoint.custom.clone();
    put_forwarded(message, &mut headers, &mut custom);
    if let Ok(content_type) = HeaderValue::from_str(&message.content_type) {
        headers.insert(http::header::CONTENT_TYPE, content_type);
    }
    put_signatures(&signed, &id, &mut headers);
    let mut request = SentRequest {
        url: settings.url.clone(),
        content_type: message.content_type.clone(),
        signed,
        custom,
        left_out: Vec::new(),
    };
    if settings.payload_in_headers {
        put_fields(settings, payload, &mut headers, &mut request);
    }
    Signed {
        request,
        headers,
        body,
    }
}

fn body(settings: &Endpoint, message: &Message, payload: &Bytes) -> Bytes {
    if !settings.ascii_body || message.content_type != JSON {
        return payload.clone();
    }
    match payload::ascii(payload) {
        Cow::Borrowed(_) => payload.clone(),
        Cow::Owned(escaped) => escaped.into(),
    }
}

/// Adds what came with the message and goes on with it. An owner's headers, and
/// what is signed, come before.
fn put_forwarded(message: &Message, headers: &mut HeaderMap, custom: &mut Vec<(String, String)>) {
    if message.headers.is_empty() {
        return;
    }
    let owned: Vec<HeaderName> = headers.keys().cloned().collect();
    for (name, value) in &message.headers {
        let header = HeaderName::from_bytes(name.as_bytes());
        let text = HeaderValue::from_bytes(value);
        if let (Ok(header), Ok(text)) = (header, text)
            && !owned.contains(&header)
        {
            headers.append(header, text);
            let shown = if is_secret_name(name) {
                MASKED.to_owned()
            } else {
                String::from_utf8_lossy(value).into_owned()
            };
            custom.push((name.clone(), shown));
        }
    }
}

fn put_signatures(signed: &SignedParts, id: &str, headers: &mut HeaderMap) {
    let mut before = "";
    for (name, value) in signed.headers(id) {
        let value = HeaderValue::from_str(&value).expect("signatures and ids are visible ASCII");
        let header = HeaderName::from_bytes(name.as_bytes()).expect("checked when it was set");
        if name == before {
            headers.append(header, value);
        } else {
            headers.insert(header, value);
        }
        before = name;
    }
}

/// Adds the payload's fields that can be headers; `request` keeps which.
fn put_fields(
    settings: &Endpoint,
    payload: &[u8],
    headers: &mut HeaderMap,
    request: &mut SentRequest,
) {
    let signing = |name: &str| {
        let mut names = settings.signatures.iter().filter_map(Scheme::header);
        names.any(|signing| signing.eq_ignore_ascii_case(name))
    };
    let taken = |name: &str| headers.contains_key(name) || signing(name);
    let fields = payload::field_headers(payload, taken);
    for (name, value) in fields.sent {
        let header = HeaderName::from_bytes(name.as_bytes()).expect("only names are sent");
        let mut text = HeaderValue::from_str(&value).expect("only values are sent");
        let secret = is_secret_name(&name);
        text.set_sensitive(secret);
        headers.insert(header, text);
        let shown = if secret { MASKED.to_owned() } else { value };
        request.custom.push((name, shown));
    }
    request.left_out = fields.left_out;
}

fn verdict(endpoint: &Prepared, exchange: &Exchange) -> Verdict {
    let Outcome::Response { status } = exchange.outcome else {
        return Verdict::Failed;
    };
    let response = exchange.response.as_ref();
    let content_type = response
        .and_then(|response| {
            response
                .headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        })
        .and_then(|(_, value)| std::str::from_utf8(value).ok());
    let body = response.map_or(&[] as &[u8], |response| &response.body);
    match status {
        _ if endpoint
            .live
            .settings
            .success
            .accepts(status, content_type, body) =>
        {
            Verdict::Delivered
        }
        410 => Verdict::Gone,
        _ => Verdict::Failed,
    }
}

/// How long a 429 or 503 asks to wait.
fn wish(exchange: &Exchange, now: Timestamp) -> Option<Duration> {
    let Outcome::Response { status: 429 | 503 } = exchange.outcome else {
        return None;
    };
    let headers = &exchange.response.as_ref()?.headers;
    let wishes = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    parse_retry_after(wishes.map(|(_, value)| value.as_slice()), now)
}

/// An attempt on its way to the disk.
struct Finished {
    attempt: Arc<NewAttempt>,
    took: (Timestamp, Trigger),
    retry_at: Option<Timestamp>,
    payload_bytes: usize,
}

/// Records an attempt, however often the store fails meanwhile. Until it is
/// recorded the delivery is held, so that it is not sent twice for nothing.
fn record(inner: &Arc<Inner>, finished: Finished) {
    hand_in(inner, finished, false);
}

/// `again`: the store has failed before, and may have recorded it all the same.
fn hand_in(inner: &Arc<Inner>, finished: Finished, again: bool) {
    let (endpoint, message): (EndpointKey, MessageKey) =
        (finished.attempt.endpoint, finished.attempt.message);
    let engine = Arc::downgrade(inner);
    let attempt = Arc::clone(&finished.attempt);
    let (took, retry_at, payload_bytes) =
        (finished.took, finished.retry_at, finished.payload_bytes);
    let done = move |result: Result<Recorded, WriteError>| {
        let Some(inner) = engine.upgrade() else {
            return;
        };
        match result {
            Ok(_) => inner.recorded(endpoint, message),
            Err(error) => {
                tracing::error!(%error, "an attempt could not be recorded; trying again");
                let later = Arc::clone(&inner);
                inner.runtime.spawn(async move {
                    later.clock.sleep(CLOCK_LOOK).await;
                    hand_in(&later, finished, true);
                });
            }
        }
    };
    let store = &inner.store;
    if again {
        store.record_again(attempt, took, retry_at, payload_bytes, done);
    } else {
        store.record(attempt, took, retry_at, payload_bytes, done);
    }
}
