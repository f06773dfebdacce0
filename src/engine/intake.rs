//! An inbound request to a source: verified, logged, accepted.
//!
//! What is decided is decided by `domain`, from the request and the time alone.
//! Here is what surrounds that: keys that have to be fetched, how much of what
//! is refused goes into the log, and the answer.

mod budget;
mod keys;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ring::digest;
use tokio::sync::oneshot;

use self::budget::Budgets;
use self::keys::FetchedKeys;
use super::place::Outgoing;
use super::receive::{INBOX_PATH, answered_headers, list};
use super::{Engine, Inner};
use crate::domain::answer::FixedAnswer;
use crate::domain::attempt::{CapturedResponse, Exchange, Outcome, Timing};
use crate::domain::ids::{EndpointKey, MessageKey, ReceivedKey, SourceKey};
use crate::domain::secret::Secret;
use crate::domain::signing::Headers;
use crate::domain::source::{AnswerRule, LiveSource, Receipt, VIA_HEADER, VIA_MAX, Verdict, via};
use crate::domain::time::Timestamp;
use crate::domain::verification::handshake::{self, Handshake};
use crate::domain::verification::presets::EventAnswer;
use crate::domain::verification::{
    Inbound, KeyWanted, Reason, Surroundings, Unsettled, Verifier, View,
};
use crate::seams::clock::Stopwatch;
use crate::store::{Arrival, Idempotent, Judgement, NewEvent, Refusal, Taken, WriteError, Written};

/// Times that something is fetched for one request.
const FETCHES_MAX: usize = 2;
/// Between two writes of counts of what was not kept.
const COUNTS_EVERY: Duration = Duration::from_secs(5);
const TEXT: &str = "text/plain; charset=utf-8";
/// The content type of what came without one.
const UNTYPED: &str = "application/octet-stream";

/// What the sender is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    /// Names and values besides.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Reply {
    fn text(status: u16, body: &'static str) -> Self {
        Self {
            status,
            content_type: TEXT.to_owned(),
            headers: Vec::new(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }
}

impl From<FixedAnswer> for Reply {
    fn from(answer: FixedAnswer) -> Self {
        Self {
            status: answer.status,
            content_type: answer.content_type,
            headers: answer.headers,
            body: answer.body.into(),
        }
    }
}

/// The engine's memory of its sources.
#[derive(Default)]
pub(super) struct Intake {
    budgets: Budgets,
    keys: FetchedKeys,
}

/// What a request turned out to be.
enum Found {
    Handshake {
        of: &'static Handshake,
        answer: Reply,
        taught: Option<Secret>,
        follow: Option<String>,
    },
    Event(NewEvent),
    Refused {
        status: u16,
        reason: String,
    },
    Needs(KeyWanted),
    /// The key is not among those that were fetched.
    Outdated(String),
}

impl Engine {
    /// The source whose URL ends in this, if it takes anything.
    #[must_use]
    pub fn source(&self, slug: &str) -> Option<Arc<LiveSource>> {
        open_source(&self.inner, slug)
    }

    /// Takes in what came to a source. When this returns, an event that was
    /// accepted is on disk.
    pub async fn take_in_from(
        &self,
        source: &Arc<LiveSource>,
        arrival: Arrival,
    ) -> Result<Reply, WriteError> {
        take_in(&self.inner, source, arrival).await
    }

    /// Logs that a request was turned away before it was read.
    pub async fn turned_away(
        &self,
        source: &Arc<LiveSource>,
        arrival: Arrival,
        status: u16,
        reason: String,
    ) {
        let judgement = Judgement {
            verdict: Verdict::Rejected,
            reason,
            answered: status,
            took_us: 0,
        };
        log(&self.inner, source, arrival, judgement).await;
    }

    /// Verifies a refused request again, as of when it came: with the source's
    /// secrets as they are, and with `secret` if one is given. What is good now
    /// is accepted after all.
    pub async fn verify_again(
        &self,
        source: &Arc<LiveSource>,
        receipt: Receipt,
        secret: Option<Secret>,
        idempotent: Option<Idempotent<Taken>>,
    ) -> Result<Result<Written<Taken>, String>, WriteError> {
        verify_again(&self.inner, source, receipt, secret, idempotent).await
    }

    /// Writes down what was counted and not kept, for ever.
    pub async fn keep_counts(self) {
        loop {
            self.inner.clock.sleep(COUNTS_EVERY).await;
            let counts = self.inner.intake.budgets.take_counts();
            if counts.is_empty() {
                continue;
            }
            if let Err(error) = self.inner.store.count_unkept(counts.clone()).await {
                tracing::error!(%error, "cannot write what was counted; trying again");
                self.inner.intake.budgets.put_back(counts);
            }
        }
    }
}

async fn take_in(
    inner: &Arc<Inner>,
    source: &Arc<LiveSource>,
    arrival: Arrival,
) -> Result<Reply, WriteError> {
    let watch = Stopwatch::default();
    let now = inner.clock.now();
    if !inner.intake.budgets.admit(&source.settings, now) {
        let mut reply = Reply::text(429, "Too many requests; try again in a second.");
        reply
            .headers
            .push(("retry-after".to_owned(), "1".to_owned()));
        inner
            .intake
            .budgets
            .count(source.settings.key, Verdict::Rejected);
        return Ok(reply);
    }
    let most = source.settings.limits.body_bytes_max;
    if most.is_some_and(|most| arrival.body.len() as u64 > u64::from(most)) {
        let judgement = Judgement {
            verdict: Verdict::Rejected,
            reason: "the body is larger than the source takes".to_owned(),
            answered: 413,
            took_us: 0,
        };
        log(inner, source, arrival, judgement).await;
        return Ok(Reply::text(413, "Too large."));
    }
    let found = find(inner, source, &source.verifier, &arrival, now).await;
    let judged = |verdict, reason: &str, answered| Judgement {
        verdict,
        reason: reason.to_owned(),
        answered,
        took_us: u32::try_from(watch.elapsed().as_micros()).unwrap_or(u32::MAX),
    };
    match found {
        Found::Refused { status, reason } => {
            let reply = refusal(source, status);
            log(
                inner,
                source,
                arrival,
                judged(Verdict::Rejected, &reason, reply.status),
            )
            .await;
            Ok(reply)
        }
        Found::Handshake {
            of,
            answer,
            taught,
            follow,
        } => {
            if let Some(secret) = taught {
                inner
                    .store
                    .learn_secret(source.settings.key, secret)
                    .await?;
            }
            let judgement = judged(Verdict::Handshake, of.name, answer.status);
            log(inner, source, arrival, judgement).await;
            if let Some(url) = follow {
                let inner = Arc::clone(inner);
                let runtime = inner.runtime.clone();
                runtime.spawn(async move { keys::follow(&inner, &url).await });
            }
            Ok(answer)
        }
        Found::Event(mut event) => {
            let mut via = via(&arrival.headers);
            let own = inner.store.ids().text(source.settings.key);
            if via.len() > VIA_MAX || via.contains(&own) {
                let reason = "it came through this source before, or through too many";
                log(
                    inner,
                    source,
                    arrival,
                    judged(Verdict::Rejected, reason, 508),
                )
                .await;
                return Ok(Reply::text(508, "This event came round in a circle."));
            }
            via.push(own);
            let via = (VIA_HEADER.to_owned(), via.join(" ").into_bytes());
            event.forwarded.push(via);
            accept(inner, source, arrival, event, judged).await
        }
        // Nothing is fetched any more: `find` has said so.
        Found::Needs(_) | Found::Outdated(_) => Ok(Reply::text(503, "Try again later.")),
    }
}

/// Accepts an event, and finds what to answer.
async fn accept(
    inner: &Arc<Inner>,
    source: &Arc<LiveSource>,
    arrival: Arrival,
    mut event: NewEvent,
    judged: impl Fn(Verdict, &str, u16) -> Judgement,
) -> Result<Reply, WriteError> {
    let key = source.settings.key;
    let fixed = fixed_answer(source);
    let awaited = match source.settings.answer {
        AnswerRule::Endpoint { endpoint, seconds } => {
            let (told, answer) = oneshot::channel();
            let (announce, forget) = Awaited::waiter(inner, endpoint, told);
            event.announce = Some(announce);
            Some((answer, forget, Duration::from_secs(seconds.into())))
        }
        AnswerRule::Preset | AnswerRule::Fixed(_) => None,
    };
    let judgement = judged(Verdict::Accepted, "", fixed.status);
    match inner
        .store
        .take_event(key, arrival, judgement, event)
        .await?
    {
        Taken::Duplicate { first, arrival } => {
            // What was accepted after all is not logged under the time that counts.
            let logged = inner.store.receipt(key, first)?.is_some();
            let reason = if logged {
                format!("the same event came as {}", inner.store.ids().text(first))
            } else {
                "the same event came before".to_owned()
            };
            let judgement = judged(Verdict::Duplicate, &reason, fixed.status);
            log(inner, source, *arrival, judgement).await;
            Ok(fixed)
        }
        Taken::Accepted { received, accepted } => {
            let Some((answer, _forget, limit)) = awaited else {
                return Ok(fixed);
            };
            drop(accepted);
            let reply = tokio::select! {
                answer = answer => answer.map_or_else(|_| late(), passed_on),
                () = inner.clock.sleep(limit) => late(),
                () = inner.rendezvous.closed(&inner.stopping) => late(),
            };
            note_answer(inner, key, received, &reply, judged);
            Ok(reply)
        }
    }
}

/// Writes into the log what the sender was answered after all.
fn note_answer(
    inner: &Arc<Inner>,
    source: SourceKey,
    received: ReceivedKey,
    reply: &Reply,
    judged: impl Fn(Verdict, &str, u16) -> Judgement,
) {
    let judgement = judged(Verdict::Accepted, "", reply.status);
    let store = inner.store.clone();
    inner.runtime.spawn(async move {
        let noted = store.note_answer(source, received, judgement.answered, judgement.took_us);
        match noted.await {
            Ok(()) | Err(WriteError::Refused(_)) => {}
            Err(error) => tracing::error!(%error, "an answer could not be noted"),
        }
    });
}

fn late() -> Reply {
    Reply::text(
        504,
        "The event was taken, but its answer did not come in time.",
    )
}

/// An endpoint's answer, for the sender.
fn passed_on(response: (u16, CapturedResponse)) -> Reply {
    let (status, response) = response;
    if !(200..600).contains(&status) {
        return Reply::text(502, "The event was taken, but its answer was none.");
    }
    if response.truncated {
        return Reply::text(502, "The event was taken, but its answer was too large.");
    }
    let of_type = |(name, _): &&(String, Vec<u8>)| name.eq_ignore_ascii_case("content-type");
    let content_type = response.headers.iter().find(of_type);
    let content_type = content_type.and_then(|(_, value)| String::from_utf8(value.clone()).ok());
    Reply {
        status,
        content_type: content_type.unwrap_or_else(|| TEXT.to_owned()),
        headers: Vec::new(),
        body: response.body.into(),
    }
}

fn fixed_answer(source: &LiveSource) -> Reply {
    match &source.settings.answer {
        AnswerRule::Fixed(fixed) => fixed.clone().into(),
        AnswerRule::Preset | AnswerRule::Endpoint { .. } => {
            let answer: EventAnswer = source.verifier.preset.answer;
            FixedAnswer::from(answer).into()
        }
    }
}

/// Tiny and fixed: why is for the owner's log, not for whoever sent it.
fn refusal(source: &LiveSource, status: u16) -> Reply {
    if status == 401 && source.verifier.preset.name == "xero" {
        // Looks for an answer without a body.
        return Reply::text(401, "");
    }
    let mut reply = Reply::text(status, "Not accepted.");
    if status == 405 {
        let methods = match &source.settings.limits.methods {
            None => "POST".to_owned(),
            Some(methods) => methods.join(", "),
        };
        reply.headers.push(("allow".to_owned(), methods));
    }
    reply
}

/// Puts something that was not accepted into the log, as far as the source's
/// budget goes; the rest is counted. What is logged is on disk when this
/// returns, so whoever is answered next sees it.
async fn log(inner: &Inner, source: &LiveSource, arrival: Arrival, judgement: Judgement) {
    let key = source.settings.key;
    let Some(unkept) = inner.intake.budgets.may_log(key, inner.clock.now()) else {
        inner.intake.budgets.count(key, judgement.verdict);
        return;
    };
    let kept = inner
        .store
        .keep_refused(key, arrival, judgement, unkept)
        .await;
    match kept {
        Ok(_) | Err(WriteError::Refused(Refusal::NoSource)) => {}
        Err(error) => tracing::error!(%error, "a refused request could not be logged"),
    }
}

/// What a request is; fetches what it takes to tell.
async fn find(
    inner: &Arc<Inner>,
    source: &Arc<LiveSource>,
    verifier: &Verifier,
    arrival: &Arrival,
    now: Timestamp,
) -> Found {
    for _ in 0..=FETCHES_MAX {
        match look(inner, source, verifier, arrival, now) {
            Found::Needs(wanted) => {
                let secret = verifier.newest_secret();
                if let Err(detail) = inner.intake.keys.fetch(inner, wanted, secret).await {
                    let reason = Reason::KeyUnavailable { detail }.to_string();
                    return Found::Refused {
                        status: 503,
                        reason,
                    };
                }
            }
            Found::Outdated(reason) => {
                // A provider that has a new key since: asked again, but not for
                // every forgery.
                if !inner.intake.keys.forget_old(now) {
                    return Found::Refused {
                        status: 401,
                        reason,
                    };
                }
            }
            found => return found,
        }
    }
    let reason = Reason::UnknownKey.to_string();
    Found::Refused {
        status: 401,
        reason,
    }
}

/// What a request is, by what is known now.
fn look(
    inner: &Inner,
    source: &LiveSource,
    verifier: &Verifier,
    arrival: &Arrival,
    now: Timestamp,
) -> Found {
    let public_url = &inner.settings.public_url;
    let slug = &source.settings.slug;
    let url = format!("{public_url}{INBOX_PATH}{slug}{}", arrival.path);
    let headers: Vec<(&str, &[u8])> = arrival
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    let inbound = Inbound {
        method: &arrival.method,
        url: &url,
        headers: Headers(&headers),
        body: &arrival.body,
        peer: arrival.peer,
        now,
    };
    let view = View::new(inbound, verifier.document_in());
    let fetched = |wanted: &KeyWanted| inner.intake.keys.get(wanted, now);
    let around = Surroundings {
        fetched: &fetched,
        anchors: &inner.settings.trust_anchors,
    };
    if let Some(of) = handshake::recognise(verifier, &view) {
        return shake(of, verifier, &view, &around);
    }
    if !source.takes_method(&arrival.method) {
        return Found::Refused {
            status: 405,
            reason: "the source does not take this method".to_owned(),
        };
    }
    if let Err(unsettled) = verifier.verify(&view, &around) {
        return unsettled_as(unsettled);
    }
    match event(source, arrival, &view) {
        Ok(event) => Found::Event(event),
        Err(reason) => Found::Refused {
            status: 422,
            reason,
        },
    }
}

fn unsettled_as(unsettled: Unsettled) -> Found {
    match unsettled {
        Unsettled::Needs(wanted) => Found::Needs(wanted),
        Unsettled::Rejected(Reason::UnknownKey) => Found::Outdated(Reason::UnknownKey.to_string()),
        Unsettled::Rejected(reason) => refused(&reason),
    }
}

fn refused(reason: &Reason) -> Found {
    let status = match reason {
        Reason::WrongVerifyToken | Reason::SecretKnown => 403,
        _ => 401,
    };
    Found::Refused {
        status,
        reason: reason.to_string(),
    }
}

fn shake(
    of: &'static Handshake,
    verifier: &Verifier,
    view: &View<'_>,
    around: &Surroundings<'_>,
) -> Found {
    if of.verified
        && let Err(unsettled) = verifier.verify(view, around)
    {
        return unsettled_as(unsettled);
    }
    let answer = of
        .check(verifier, view)
        .and_then(|()| of.answer(verifier, view));
    match answer {
        Err(reason) => refused(&reason),
        Ok(answer) => Found::Handshake {
            of,
            answer: Reply {
                status: answer.status,
                content_type: answer.content_type.to_owned(),
                headers: answer.headers,
                body: answer.body.into(),
            },
            taught: of.taught(view).map(Secret::new),
            follow: of.url_to_follow(view),
        },
    }
}

/// The event that a good request is.
fn event(source: &LiveSource, arrival: &Arrival, view: &View<'_>) -> Result<NewEvent, String> {
    let event_type = source.event_type(view).map_err(|unfit| unfit.to_string())?;
    let id = source.event_id(view).map_err(|unfit| unfit.to_string())?;
    let record = source.settings.record.as_ref().map(|rule| rule.read(view));
    let record = record.transpose().map_err(|unfit| unfit.to_string())?;
    let mut types = view.inbound.headers.all("content-type");
    let content_type = types.next().and_then(|value| str::from_utf8(value).ok());
    Ok(NewEvent {
        event_type,
        content_type: content_type.unwrap_or(UNTYPED).to_owned(),
        forwarded: source.forwarded(&arrival.headers),
        id_hash: id.map(|id| short_hash(&id)),
        record,
        announce: None,
    })
}

fn short_hash(id: &[u8]) -> [u8; 16] {
    let hash = digest::digest(&digest::SHA256, id);
    *hash.as_ref().first_chunk().expect("thirty-two bytes")
}

async fn verify_again(
    inner: &Arc<Inner>,
    source: &Arc<LiveSource>,
    receipt: Receipt,
    secret: Option<Secret>,
    idempotent: Option<Idempotent<Taken>>,
) -> Result<Result<Written<Taken>, String>, WriteError> {
    let Some(body) = receipt.body.clone().filter(|_| receipt.is_whole()) else {
        return Ok(Err(
            "its body is not kept whole, so it cannot be verified".to_owned()
        ));
    };
    let mut verification = source.settings.verification.clone();
    verification.secrets.extend(secret);
    let verifier = match Verifier::new(&verification) {
        Ok(verifier) => verifier,
        Err(refusals) => {
            let told = refusals.first().map(|first| first.detail.clone());
            return Ok(Err(format!("the secret {}", told.unwrap_or_default())));
        }
    };
    let arrival = Arrival {
        method: receipt.method.clone(),
        path: receipt.path.clone(),
        headers: receipt.headers.clone(),
        body,
        peer: receipt.peer,
    };
    let came = receipt.at;
    match find(inner, source, &verifier, &arrival, came).await {
        Found::Event(event) => {
            let judgement = Judgement {
                verdict: Verdict::Accepted,
                reason: format!("verified again; at first: {}", receipt.reason),
                answered: receipt.answered,
                took_us: receipt.took_us,
            };
            let store = &inner.store;
            let taken = store.take_after_all(receipt, arrival, judgement, event, idempotent);
            Ok(Ok(taken.await?))
        }
        Found::Refused { reason, .. } | Found::Outdated(reason) => Ok(Err(reason)),
        Found::Handshake { of, .. } => Ok(Err(format!("it is a handshake: {}", of.name))),
        Found::Needs(_) => Ok(Err(Reason::UnknownKey.to_string())),
    }
}

/// The source whose URL ends in this, if it takes anything.
pub(super) fn open_source(inner: &Inner, slug: &str) -> Option<Arc<LiveSource>> {
    let source = inner.store.catalog().source_by_slug(slug);
    source.filter(|source| source.settings.enabled)
}

/// Delivers to a source of our own without leaving the process.
pub(super) async fn deliver_to_source(
    inner: &Arc<Inner>,
    source: &Arc<LiveSource>,
    path: &str,
    outgoing: Outgoing,
) -> Exchange {
    let arrival = Arrival {
        method: outgoing.method.as_str().to_owned(),
        path: path.to_owned(),
        headers: list(&outgoing.headers),
        body: outgoing.body,
        peer: None,
    };
    let watch = Stopwatch::default();
    // Boxed: a delivery may end in a source, whose message is delivered.
    let outcome = Box::pin(take_in(inner, source, arrival)).await;
    let total_us = u32::try_from(watch.elapsed().as_micros()).unwrap_or(u32::MAX);
    let reply = outcome.unwrap_or_else(|error| {
        tracing::error!(%error, "a source could not take a delivery in");
        Reply::text(503, "The source cannot be written to now.")
    });
    Exchange {
        outcome: Outcome::Response {
            status: reply.status,
        },
        response: Some(CapturedResponse {
            headers: answered_headers(reply.content_type, reply.headers),
            body: reply.body.to_vec(),
            truncated: false,
        }),
        timing: Timing {
            first_byte_us: total_us,
            total_us,
            ..Timing::default()
        },
        peer: None,
    }
}

/// Takes out who waits for an answer, when nobody does any more.
struct Forget {
    inner: Arc<Inner>,
    endpoint: EndpointKey,
    of: Arc<Mutex<Waiting>>,
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// A message that has no key yet.
    ForMessage,
    For(MessageKey),
    ForNothing,
}

impl Drop for Forget {
    fn drop(&mut self) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Waiting::For(message) = *of {
            self.inner.awaited.forget(message, self.endpoint);
        }
        *of = Waiting::ForNothing;
    }
}

/// Who waits for the answer of an endpoint to a message.
#[derive(Default)]
pub(super) struct Awaited(Mutex<HashMap<(MessageKey, EndpointKey), Waiter>>);

type Waiter = oneshot::Sender<(u16, CapturedResponse)>;

impl Awaited {
    fn lock(&self) -> MutexGuard<'_, HashMap<(MessageKey, EndpointKey), Waiter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a waiter in as soon as its message has a key; it is taken out when
    /// the second part is dropped, however that comes.
    fn waiter(
        inner: &Arc<Inner>,
        endpoint: EndpointKey,
        waiter: Waiter,
    ) -> (Box<dyn FnOnce(MessageKey) + Send>, Forget) {
        let of = Arc::new(Mutex::new(Waiting::ForMessage));
        let forget = Forget {
            inner: Arc::clone(inner),
            endpoint,
            of: Arc::clone(&of),
        };
        let inner = Arc::clone(inner);
        let announce = move |message| {
            let mut of = of.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever waited may have gone before the message was on disk.
            if *of == Waiting::ForMessage {
                inner.awaited.lock().insert((message, endpoint), waiter);
                *of = Waiting::For(message);
            }
        };
        (Box::new(announce), forget)
    }

    fn forget(&self, message: MessageKey, endpoint: EndpointKey) {
        self.lock().remove(&(message, endpoint));
    }

    /// Hands an answer to whoever waits for it.
    pub(super) fn answered(&self, message: MessageKey, endpoint: EndpointKey, exchange: &Exchange) {
        let Outcome::Response { status } = exchange.outcome else {
            return;
        };
        let Some(waiter) = self.lock().remove(&(message, endpoint)) else {
            return;
        };
        let response = exchange.response.clone().unwrap_or_default();
        // The sender may have gone away.
        let _ = waiter.send((status, response));
    }
}
