//! Certificates and keys that providers publish: fetched through the transport,
//! kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT as USER_AGENT_HEADER};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;

use super::super::Inner;
use super::super::transport::OutboundRequest;
use crate::domain::address::EndpointUrl;
use crate::domain::attempt::{Exchange, Outcome, USER_AGENT};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::verification::KeyWanted;

/// What is kept at once: more than the providers have.
const KEPT_MAX: usize = 256;
/// A certificate's URL always gives the same.
const CERTIFICATE_KEPT: Duration = Duration::from_hours(24);
/// Key sets change.
const KEYS_KEPT: Duration = Duration::from_mins(10);
/// How soon a key set is asked for again when a key is not in it.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How soon after a failure it is tried again.
const FAILURE_KEPT: Duration = Duration::from_secs(5);
/// Bytes of a certificate chain or a key set.
const KEY_BYTES_MAX: usize = 64 * 1024;
const FETCH_LIMIT: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Kept {
    at: Timestamp,
    of: Result<Arc<[u8]>, String>,
}

#[derive(Default)]
pub(super) struct FetchedKeys(Mutex<HashMap<KeyWanted, Kept>>);

fn kept_for(wanted: &KeyWanted) -> Duration {
    match wanted {
        KeyWanted::Certificate { .. } => CERTIFICATE_KEPT,
        KeyWanted::KeySet { .. } | KeyWanted::PlaidKey { .. } => KEYS_KEPT,
    }
}

impl FetchedKeys {
    fn lock(&self) -> MutexGuard<'_, HashMap<KeyWanted, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was fetched, and is not too old.
    pub(super) fn get(&self, wanted: &KeyWanted, now: Timestamp) -> Option<Arc<[u8]>> {
        let all = self.lock();
        let kept = all.get(wanted)?;
        let fresh = now.since(kept.at) < kept_for(wanted);
        kept.of.clone().ok().filter(|_| fresh)
    }

    /// Forgets key sets that may be asked for again. Whether there were any.
    pub(super) fn forget_old(&self, now: Timestamp) -> bool {
        let mut all = self.lock();
        let before = all.len();
        all.retain(|wanted, kept| {
            matches!(wanted, KeyWanted::Certificate { .. })
                || now.since(kept.at) < ASKED_AGAIN_AFTER
        });
        all.len() < before
    }

    /// Fetches what is wanted.
    pub(super) async fn fetch(
        &self,
        inner: &Inner,
        wanted: KeyWanted,
        secret: Option<&Secret>,
    ) -> Result<(), String> {
        let now = inner.clock.now();
        let failed = self.lock().get(&wanted).and_then(|kept| {
            let fresh = now.since(kept.at) < FAILURE_KEPT;
            kept.of.clone().err().filter(|_| fresh)
        });
        if let Some(detail) = failed {
            return Err(detail);
        }
        let fetched = match request(&wanted, secret) {
            Ok(request) => body_of(inner.transport.send(request).await),
            Err(detail) => Err(detail),
        };
        let told = fetched.clone().map(|_| ());
        let mut all = self.lock();
        if all.len() >= KEPT_MAX {
            let oldest = all.iter().min_by_key(|(_, kept)| kept.at);
            if let Some(oldest) = oldest.map(|(wanted, _)| wanted.clone()) {
                all.remove(&oldest);
            }
        }
        all.insert(
            wanted,
            Kept {
                at: now,
                of: fetched,
            },
        );
        told
    }
}

fn request(wanted: &KeyWanted, secret: Option<&Secret>) -> Result<OutboundRequest, String> {
    match wanted {
        KeyWanted::Certificate { url } | KeyWanted::KeySet { url } => get(url),
        KeyWanted::PlaidKey { host, kid, .. } => {
            let credentials = secret.map(Secret::expose).unwrap_or_default();
            let (client, secret) = credentials
                .split_once(':')
                .ok_or("the secret is not client_id:secret")?;
            let body = json!({"client_id": client, "secret": secret, "key_id": kid});
            let mut request = get(&format!("https://{host}/webhook_verification_key/get"))?;
            request.method = Method::POST;
            let json = HeaderValue::from_static("application/json");
            request.headers.insert(CONTENT_TYPE, json);
            request.body = body.to_string().into();
            Ok(request)
        }
    }
}

fn get(url: &str) -> Result<OutboundRequest, String> {
    let url = EndpointUrl::parse(url).map_err(|refusal| refusal.detail)?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(USER_AGENT_HEADER, HeaderValue::from_static(USER_AGENT));
    Ok(OutboundRequest {
        method: Method::GET,
        url: Arc::new(url),
        headers,
        body: Bytes::new(),
        timeout: FETCH_LIMIT,
        keep_bytes: KEY_BYTES_MAX,
    })
}

fn body_of(exchange: Exchange) -> Result<Arc<[u8]>, String> {
    match (exchange.outcome, exchange.response) {
        (Outcome::Response { status: 200 }, Some(response)) if !response.truncated => {
            Ok(response.body.into())
        }
        (Outcome::Response { status: 200 }, _) => Err("it is too large".to_owned()),
        (Outcome::Response { status }, _) => Err(format!("it was answered with {status}")),
        (outcome, _) => Err(format!("it was not answered: {}", outcome.name())),
    }
}

/// Fetches a URL that a handshake asks for.
pub(super) async fn follow(inner: &Inner, url: &str) {
    let outcome = match get(url) {
        Ok(request) => inner.transport.send(request).await.outcome,
        Err(detail) => {
            tracing::warn!(detail, "a subscription's URL cannot be fetched");
            return;
        }
    };
    if !matches!(outcome, Outcome::Response { status: 200 }) {
        tracing::warn!(
            outcome = outcome.name(),
            "a subscription could not be confirmed"
        );
    }
}
