//! Questions on their way: sent until one is answered, handed over or refused,
//! while somebody may wait for the answer.
//!
//! A request is on disk before its question is sent, so its link works whatever
//! happens afterwards. What is unanswered at a start is asked once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::place::{self, Outgoing, Place};
use super::turns::Turns;
use super::{Engine, Inner};
use crate::domain::attempt::{Exchange, Outcome, USER_AGENT};
use crate::domain::endpoint::{Endpoint, LiveEndpoint};
use crate::domain::ids::{EndpointKey, RequestKey};
use crate::domain::request::{
    self, ANSWER_BYTES_MAX, BadAnswer, FirstAnswer, RefusedAnswer, Request, Try,
};
use crate::domain::signing::{Headers, SignedParts};
use crate::domain::time::Timestamp;
use crate::store::{Refusal, Step, StoreError, WriteError};

/// Requests that may change before somebody who waits looks again at all.
const CHANGES_KEPT: usize = 1024;

/// Between two tries to write what came of a request.
const NOTE_AGAIN: Duration = Duration::from_secs(1);

/// Who waits for an answer is told here that a request has changed, or, by
/// `None`, that the server stops.
pub(super) struct Rendezvous(broadcast::Sender<Option<RequestKey>>);

impl Default for Rendezvous {
    fn default() -> Self {
        Self(broadcast::channel(CHANGES_KEPT).0)
    }
}

impl Rendezvous {
    /// Tells whoever waits.
    pub(super) fn changed(&self, key: RequestKey) {
        // Nobody may be waiting.
        let _ = self.0.send(Some(key));
    }

    /// Sends everybody who waits away: the answer can be asked for later.
    pub(super) fn close(&self) {
        let _ = self.0.send(None);
    }

    /// Ends when everybody is sent away; at once, if the server is `stopping`.
    pub(super) async fn closed(&self, stopping: &AtomicBool) {
        let mut changes = self.0.subscribe();
        while !stopping.load(Ordering::Acquire) {
            if let Ok(None) | Err(RecvError::Closed) = changes.recv().await {
                return;
            }
        }
    }
}

/// Questions open at one endpoint at once. A slow one fills its own share.
const OPEN_AT_ONE_MAX: usize = 64;
/// Questions open at once in all.
const OPEN_MAX: usize = 1024;

/// Whose turn it is to be asked.
pub(super) fn turns() -> Turns<EndpointKey> {
    Turns::new(OPEN_AT_ONE_MAX, OPEN_MAX)
}

/// What a link says to what came to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkAnswer {
    /// Taken, now or before.
    Taken,
    NoRequest,
    /// Its ten minutes are over.
    Ended,
    /// Another answer was taken.
    AnsweredOtherwise,
    Bad(BadAnswer),
}

impl Engine {
    /// Asks once more what was not answered when the server stopped.
    pub fn ask_again(&self) {
        match self.inner.store.requests_to_ask(self.inner.clock.now()) {
            Ok(requests) => {
                for request in requests {
                    spawn(&self.inner, request);
                }
            }
            Err(error) => tracing::error!(%error, "cannot read which requests are unanswered"),
        }
    }

    /// The request as it is once it is settled, when `limit` is over, or when
    /// the server stops.
    pub async fn wait_for(
        &self,
        key: RequestKey,
        limit: Duration,
    ) -> Result<Option<Request>, StoreError> {
        let inner = &self.inner;
        let mut changes = inner.rendezvous.0.subscribe();
        let over = inner.clock.sleep(limit);
        tokio::pin!(over);
        loop {
            let request = inner.store.request(key)?;
            let settled = request
                .as_ref()
                .is_none_or(|request| request.is_settled(inner.clock.now()));
            if settled || inner.stopping.load(Ordering::Acquire) {
                return Ok(request);
            }
            loop {
                tokio::select! {
                    () = &mut over => return inner.store.request(key),
                    change = changes.recv() => match change {
                        Ok(Some(other)) if other != key => {}
                        // This one, the stop, or too many to know.
                        _ => break,
                    },
                }
            }
        }
    }

    /// Takes what came to a link.
    pub async fn take_answer(
        &self,
        key: RequestKey,
        headers: &[(String, Vec<u8>)],
        body: &[u8],
    ) -> Result<LinkAnswer, WriteError> {
        let store = &self.inner.store;
        let now = self.inner.clock.now();
        let Some(request) = store.request(key)? else {
            // Retention takes requests; their time was over long before.
            let over = now >= request::link_ends(key);
            return Ok(if over {
                LinkAnswer::Ended
            } else {
                LinkAnswer::NoRequest
            });
        };
        let Some(live) = store.live_endpoint(request.endpoint)? else {
            return Ok(LinkAnswer::NoRequest);
        };
        if now >= request.link_ends() {
            return Ok(LinkAnswer::Ended);
        }
        let checked =
            check_sender(&live.settings, headers, body, now).and_then(|()| request::data_of(body));
        let data = match checked {
            Ok(data) => data,
            Err(bad) => {
                let refused = RefusedAnswer {
                    at: now,
                    status: bad.status(),
                    reason: bad.to_string(),
                    body: request::noted(body),
                };
                if let Err(WriteError::Store(error)) = store.note_refused(key, refused).await {
                    return Err(error.into());
                }
                return Ok(LinkAnswer::Bad(bad));
            }
        };
        let hash = Sha256::digest(body).into();
        Ok(match store.answer_request(key, data, hash).await {
            Ok(_) => LinkAnswer::Taken,
            Err(WriteError::Refused(Refusal::LinkEnded)) => LinkAnswer::Ended,
            Err(WriteError::Refused(Refusal::AnsweredOtherwise)) => LinkAnswer::AnsweredOtherwise,
            Err(WriteError::Refused(_)) => LinkAnswer::NoRequest,
            Err(error) => return Err(error),
        })
    }

    /// The endpoint whose client id and signature this carries.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn client(
        &self,
        headers: &[(String, Vec<u8>)],
        body: &[u8],
    ) -> Result<Result<Arc<LiveEndpoint>, BadAnswer>, StoreError> {
        let store = &self.inner.store;
        let ids = ids_of(headers);
        if ids.is_empty() {
            return Ok(Err(BadAnswer::NoClientId));
        }
        for id in ids {
            let key: Option<EndpointKey> = store.endpoint_of_client(&id)?;
            let Some(key) = key else { continue };
            let Some(live) = store.live_endpoint(key)? else {
                continue;
            };
            let now = self.inner.clock.now();
            return Ok(check_sender(&live.settings, headers, body, now).map(|()| live));
        }
        Ok(Err(BadAnswer::WrongClientId))
    }
}

fn borrowed(headers: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect()
}

fn ids_of(headers: &[(String, Vec<u8>)]) -> Vec<String> {
    let given = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    let given = given.and_then(|(_, value)| str::from_utf8(value).ok());
    let decode = |text: &str| STANDARD.decode(text).ok();
    given.map_or_else(Vec::new, |given| request::client_ids(given, decode))
}

/// Whether something comes from the endpoint's owner.
fn check_sender(
    endpoint: &Endpoint,
    headers: &[(String, Vec<u8>)],
    body: &[u8],
    now: Timestamp,
) -> Result<(), BadAnswer> {
    let ids = ids_of(headers);
    if ids.is_empty() {
        return Err(BadAnswer::NoClientId);
    }
    if !ids
        .iter()
        .any(|id| endpoint.client_id.as_deref() == Some(id))
    {
        return Err(BadAnswer::WrongClientId);
    }
    request::check_signature(endpoint, Headers(&borrowed(headers)), body, now)
}

/// Sends a question, and does not wait: whoever made the request may have gone.
pub(super) fn spawn(inner: &Arc<Inner>, request: Request) {
    let inner = Arc::clone(inner);
    let runtime = inner.runtime.clone();
    runtime.spawn(async move {
        if let Err(error) = ask(&inner, request).await {
            tracing::error!(%error, "a request could not be taken further; it is asked again after a start");
        }
    });
}

/// Sends the question until something came of it, or its time is over.
async fn ask(inner: &Arc<Inner>, mut request: Request) -> Result<(), WriteError> {
    while request.is_to_be_asked(inner.clock.now()) {
        let turn = tokio::select! {
            turn = inner.turns.take(request.endpoint) => turn,
            () = inner.clock.sleep(request.deadline.since(inner.clock.now())) => return Ok(()),
        };
        // It may have been answered, or erased, while it waited.
        request = match inner.store.request(request.key)? {
            Some(newer) if newer.is_to_be_asked(inner.clock.now()) => newer,
            _ => return Ok(()),
        };
        let started = inner.clock.now();
        let Some(live) = inner.store.live_endpoint(request.endpoint)? else {
            return Ok(());
        };
        let exchange = send(inner, &live, &request).await;
        drop(turn);
        let now = inner.clock.now();
        let (tried, found) = judge(&live, &request, &exchange, started, now);
        let wait = request::next_wait(request.tries.len() + 1);
        let step = match found {
            FirstAnswer::Data(data) => {
                let body = exchange
                    .response
                    .as_ref()
                    .map(|response| response.body.as_slice());
                Step::Answered {
                    data,
                    body_hash: Sha256::digest(body.unwrap_or_default()).into(),
                }
            }
            FirstAnswer::Later => Step::HandedOver,
            FirstAnswer::Failed(reason) => Step::Failed(reason),
            FirstAnswer::Again(reason) if now.plus(wait) >= request.deadline => {
                Step::Failed(format!("{reason}, and its time is over"))
            }
            FirstAnswer::Again(_) => Step::Again,
        };
        request = match note(inner, &request, tried, step).await {
            Ok(request) => request,
            Err(WriteError::Refused(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        if request.is_to_be_asked(inner.clock.now()) {
            inner.clock.sleep(wait).await;
        }
    }
    Ok(())
}

/// Notes a try, again and again while the store cannot: asked once more, the
/// other side might have no answer any more.
async fn note(
    inner: &Inner,
    request: &Request,
    tried: Try,
    step: Step,
) -> Result<Request, WriteError> {
    loop {
        let noted = inner
            .store
            .note_try(request.key, tried.clone(), step.clone());
        match noted.await {
            Err(error)
                if !matches!(error, WriteError::Refused(_))
                    && inner.clock.now() < request.link_ends() =>
            {
                tracing::error!(%error, "what came of a request cannot be written; trying again");
                inner.clock.sleep(NOTE_AGAIN).await;
            }
            settled => return settled,
        }
    }
}

/// What the exchange means, and the note of it.
fn judge(
    live: &LiveEndpoint,
    request: &Request,
    exchange: &Exchange,
    started: Timestamp,
    now: Timestamp,
) -> (Try, FirstAnswer) {
    let (status, found) = match (&exchange.outcome, &exchange.response) {
        (Outcome::Response { status }, Some(response)) => {
            let pairs = borrowed(&response.headers);
            let headers = Headers(&pairs);
            let signed = request::check_signature(&live.settings, headers, &response.body, now);
            let found = request::first_answer(
                &request.question,
                *status,
                &response.body,
                response.truncated,
                &signed,
            );
            (*status, found)
        }
        (Outcome::Response { status }, None) => (
            *status,
            FirstAnswer::Failed(format!("it answered {status}")),
        ),
        (outcome @ Outcome::BlockedAddress { .. }, _) => {
            let detail = outcome.detail().unwrap_or_default();
            (0, FirstAnswer::Failed(detail.to_owned()))
        }
        // The other side may be at work on it, and can still answer to the link.
        (outcome @ Outcome::TimedOut { .. }, _) => {
            let detail = outcome.detail().unwrap_or_default();
            (
                0,
                FirstAnswer::Failed(format!("{}: {detail}", outcome.name())),
            )
        }
        (outcome, _) => {
            let detail = outcome.detail().unwrap_or_default();
            (
                0,
                FirstAnswer::Again(format!("{}: {detail}", outcome.name())),
            )
        }
    };
    let detail = match &found {
        FirstAnswer::Data(_) => "answered".to_owned(),
        FirstAnswer::Later => "the answer will come to the link".to_owned(),
        FirstAnswer::Failed(reason) | FirstAnswer::Again(reason) => reason.clone(),
    };
    let body = match (&found, &exchange.response) {
        (FirstAnswer::Failed(_) | FirstAnswer::Again(_), Some(response)) => {
            request::noted(&response.body)
        }
        _ => String::new(),
    };
    let tried = Try {
        at: started,
        took_us: exchange.timing.total_us,
        status,
        detail,
        body,
    };
    (tried, found)
}

async fn send(inner: &Arc<Inner>, live: &LiveEndpoint, request: &Request) -> Exchange {
    let settings = &live.settings;
    let id = inner.store.ids().text(request.key);
    let link = format!("{}{}", inner.settings.public_url, request::link_path(&id));
    let body = request::question_body(&link, &request.question, &request.inputs);
    let place = Place::of(&settings.url, &inner.settings.public_url);
    let outgoing = Outgoing {
        method: Method::POST,
        headers: headers(settings, &id, &body, inner.clock.now()),
        body: Bytes::from(body),
        timeout: settings.timeout.unwrap_or(inner.settings.attempt_timeout),
        keep_bytes: ANSWER_BYTES_MAX + 1024,
        event_type: None,
    };
    place::send(inner, &place, outgoing).await
}

fn headers(settings: &Endpoint, id: &str, body: &[u8], now: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(
        http::header::USER_AGENT,
        HeaderValue::from_static(USER_AGENT),
    );
    let json = HeaderValue::from_static("application/json");
    headers.insert(http::header::CONTENT_TYPE, json);
    for header in &settings.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_str(header.value.expose());
        if let (Ok(name), Ok(mut value)) = (name, value) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    let secrets = settings.valid_secrets(now).map(|valid| &valid.secret);
    let signed = SignedParts::sign(&settings.signatures, secrets, id, now.as_secs(), body);
    for (name, value) in signed.headers(id) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    }
    headers
}
