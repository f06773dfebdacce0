//! Where a URL leads: over the network, or back into this process.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::transport::OutboundRequest;
use super::{Inner, intake, receive};
use crate::domain::address::EndpointUrl;
use crate::domain::attempt::{Exchange, Outcome, Timing};
use crate::seams::mutant::{self, Mutant};

/// Where a URL leads.
pub(super) enum Place {
    Network(Arc<EndpointUrl>),
    /// A source or an inbox of our own: its slug or token, and the path after it.
    Own {
        token: String,
        path: String,
    },
    /// Nowhere: the URL does not parse any more.
    Nowhere(String),
}

/// A request that is ready to go to a place.
pub(super) struct Outgoing {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// For all of the exchange.
    pub timeout: Duration,
    /// Bytes of the response's body that are kept.
    pub keep_bytes: usize,
    /// Of the message that it delivers, for inboxes of our own.
    pub event_type: Option<String>,
}

impl Place {
    /// `public_url` is where this server is reached.
    pub(super) fn of(url: &str, public_url: &str) -> Self {
        let url = match EndpointUrl::parse(url) {
            Ok(url) => url,
            Err(refusal) => return Self::Nowhere(refusal.detail),
        };
        match receive::own_inbox(url.as_str(), public_url) {
            Some((token, path)) => Self::Own {
                token: token.to_owned(),
                path: path.to_owned(),
            },
            None => Self::Network(Arc::new(url)),
        }
    }
}

/// Makes one request. Never fails: what went wrong is an [`Outcome`].
pub(super) async fn send(inner: &Arc<Inner>, place: &Place, outgoing: Outgoing) -> Exchange {
    let keep_bytes = outgoing.keep_bytes;
    let exchange = match place {
        Place::Network(url) => {
            let request = OutboundRequest {
                method: outgoing.method,
                url: Arc::clone(url),
                headers: outgoing.headers,
                body: outgoing.body,
                timeout: outgoing.timeout,
                keep_bytes,
            };
            inner.transport.send(request).await
        }
        Place::Own { token, path } => {
            let limit = outgoing.timeout;
            let taking_in = async {
                if let Some(source) = intake::open_source(inner, token) {
                    return intake::deliver_to_source(inner, &source, path, outgoing).await;
                }
                receive::deliver_to_inbox(inner, token, path, outgoing).await
            };
            tokio::select! {
                biased;
                exchange = taking_in => exchange,
                () = inner.clock.sleep(limit) => late(limit),
            }
        }
        Place::Nowhere(detail) => without_answer(Outcome::BlockedAddress {
            detail: detail.clone(),
        }),
    };
    bounded(exchange, keep_bytes)
}

fn late(limit: Duration) -> Exchange {
    let detail = format!("no answer within {} s", limit.as_secs_f64());
    let mut exchange = without_answer(Outcome::TimedOut { detail });
    exchange.timing.total_us = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
    exchange
}

fn without_answer(outcome: Outcome) -> Exchange {
    Exchange {
        outcome,
        response: None,
        timing: Timing::default(),
        peer: None,
    }
}

/// The exchange with no more of the body than is kept, whatever the transport
/// gave: what goes to the disk is bounded here.
fn bounded(mut exchange: Exchange, keep_bytes: usize) -> Exchange {
    if let Some(response) = &mut exchange.response
        && response.body.len() > keep_bytes
        && !mutant::active(Mutant::WholeBody)
    {
        response.body.truncate(keep_bytes);
        response.truncated = true;
    }
    exchange
}
