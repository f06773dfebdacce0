//! Endpoints that behave as a script says. Every request is told to the ledger.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hookpost::domain::address::{DestinationPolicy, EndpointUrl};
use hookpost::domain::attempt::{CapturedResponse, Exchange, Outcome, Timing};
use hookpost::engine::transport::{OutboundRequest, Transport};
use hookpost::seams::clock::Clock as _;

use super::oracle::{Flight, SharedLedger};
use crate::support::clock::SimClock;
use crate::support::entropy::Rng;

/// What a flooding endpoint answers with: far more than is kept.
const FLOOD_BYTES: usize = 200_000;

/// How an endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// Answers with this status after that long.
    Answers {
        status: u16,
        after: Duration,
    },
    Hangs,
    Resets {
        after: Duration,
    },
    /// Asks to come back that many seconds later, half of the time.
    Asks {
        status: u16,
        wait_s: u64,
    },
    /// 410.
    Gone,
    /// Well and unwell in turn, for that long each.
    Flaps {
        period: Duration,
    },
    /// Unwell until that time after the start.
    Recovers {
        at: Duration,
    },
    /// Its name leads to a private address.
    Blocked,
    /// 200, with a body that has no end to speak of.
    Floods,
}

/// What a script comes to, this time.
struct Reply {
    after: Duration,
    outcome: Outcome,
    retry_after_s: Option<u64>,
    body: Vec<u8>,
}

impl Script {
    fn reply(self, passed: Duration, rng: &mut Rng) -> Reply {
        let quick = Duration::from_millis(rng.below(4) * 40);
        let status = |status, after| Reply {
            after,
            outcome: Outcome::Response { status },
            retry_after_s: None,
            body: b"well".to_vec(),
        };
        match self {
            Self::Answers {
                status: code,
                after,
            } => status(code, after),
            Self::Hangs => status(200, Duration::MAX),
            Self::Resets { after } => Reply {
                outcome: Outcome::Reset {
                    detail: "the connection broke".to_owned(),
                },
                ..status(0, after)
            },
            Self::Asks {
                status: code,
                wait_s,
            } => {
                if rng.chance(50) {
                    return status(200, quick);
                }
                Reply {
                    retry_after_s: Some(wait_s),
                    ..status(code, quick)
                }
            }
            Self::Gone => status(410, quick),
            Self::Flaps { period } => {
                let well = (passed.as_millis() / period.as_millis().max(1)).is_multiple_of(2);
                status(if well { 200 } else { 503 }, quick)
            }
            Self::Recovers { at } => status(if passed >= at { 200 } else { 502 }, quick),
            Self::Blocked => unreachable!("nothing is sent to a blocked address"),
            Self::Floods => Reply {
                body: vec![b'x'; FLOOD_BYTES],
                ..status(200, quick)
            },
        }
    }

    /// What the endpoint's name resolves to.
    fn address(self) -> IpAddr {
        if self == Self::Blocked {
            IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254))
        } else {
            IpAddr::V4(Ipv4Addr::new(93, 184, 215, 14))
        }
    }
}

/// The transport seam, played from scripts.
pub(super) struct ScriptedTransport {
    pub(super) ledger: SharedLedger,
    pub(super) clock: SimClock,
    pub(super) rng: Mutex<Rng>,
}

impl Transport for ScriptedTransport {
    fn send(&self, request: OutboundRequest) -> BoxFuture<'_, Exchange> {
        Box::pin(self.play(request))
    }
}

impl ScriptedTransport {
    async fn play(&self, request: OutboundRequest) -> Exchange {
        let number = endpoint_number(&request.url);
        let (flight, script, passed) = Flight::begin(&self.ledger, number, &request, &self.clock);
        let judged = DestinationPolicy::default().judge(&request.url, &[script.address()]);
        let Ok(_) = judged else {
            flight.end(false, None, &self.clock);
            return exchange(
                Outcome::BlockedAddress {
                    detail: "a private address".to_owned(),
                },
                Duration::ZERO,
                None,
            );
        };
        let (mut reply, yields) = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            (script.reply(passed, &mut rng), rng.below(3))
        };
        if reply.after >= request.timeout {
            reply.after = request.timeout;
            reply.retry_after_s = None;
            reply.outcome = Outcome::TimedOut {
                detail: "no answer in time".to_owned(),
            };
        }
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        if !reply.after.is_zero() {
            self.clock.sleep(reply.after).await;
        }
        let status = reply.outcome.status_code();
        flight.end(
            (200..300).contains(&status),
            reply.retry_after_s.filter(|_| matches!(status, 429 | 503)),
            &self.clock,
        );
        let response = (status != 0).then(|| CapturedResponse {
            headers: reply
                .retry_after_s
                .map(|wait_s| ("Retry-After".to_owned(), wait_s.to_string().into_bytes()))
                .into_iter()
                .collect(),
            body: reply.body,
            truncated: false,
        });
        exchange(reply.outcome, reply.after, response)
    }
}

fn exchange(outcome: Outcome, took: Duration, response: Option<CapturedResponse>) -> Exchange {
    let total_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
    Exchange {
        outcome,
        response,
        timing: Timing {
            total_us,
            ..Timing::default()
        },
        peer: None,
    }
}

/// The URL of endpoint `number`.
pub(super) fn endpoint_url(number: usize) -> String {
    format!("https://e{number}.example.com/hook")
}

fn endpoint_number(url: &EndpointUrl) -> usize {
    number_in(url.as_str())
}

/// The number of the endpoint with this URL.
pub(super) fn number_in(url: &str) -> usize {
    let host = url.strip_prefix("https://e").expect("an endpoint's URL");
    let digits = host.split('.').next().expect("a host");
    digits.parse().expect("an endpoint's number")
}
