//! The developer's end: takes events from a server and gives them to a local
//! program, whose answers go back.
//!
//! A [`Client`] knows nothing of terminals. What there is to show goes into a
//! channel as [`Notice`]s.

pub mod backoff;
mod connection;
pub mod dial;
pub mod filter;
pub mod forward;
pub mod local;
pub mod lost;
pub mod notice;
pub mod seen;
pub mod target;
mod trust;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;

use self::connection::{End, Server};
use self::dial::Ways;
use self::filter::Filter;
use self::forward::Forwarder;
use self::local::Local;
use self::lost::{Ended, Lost};
use self::notice::{Away, Listening, Notice, Notices};
use self::target::Target;
use super::frame::{StartReply, StartRequest};
use crate::domain::secret::Secret;
use crate::domain::server_url::ServerUrl;
use crate::engine::transport::{TransportError, client_tls};
use crate::seams::clock::{SharedClock, Stopwatch};
use crate::seams::entropy::{Entropy, SharedEntropy};

/// Requests to the local program at once, unless told otherwise.
pub const CONNECTIONS_DEFAULT: u32 = 50;
/// And at most.
pub const CONNECTIONS_MAX: u32 = 500;
/// Random characters of a token that was not given.
const TOKEN_CHARS: usize = 22;
const TOKEN_PREFIX: &str = "c_";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a listener is asked to do.
pub struct Settings {
    pub server: ServerUrl,
    /// The last part of the public URL.
    pub token: String,
    /// Whether other listeners may share what comes.
    pub share: bool,
    /// An API key, which can be a header's value.
    pub key: Option<Secret>,
    /// Certificates to trust beside the usual ones.
    pub roots: Vec<CertificateDer<'static>>,
    pub target: Target,
    pub filter: Filter,
    /// Set on each request to the local program.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Requests to the local program at once.
    pub max_connections: u32,
    pub pace: Pace,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// For one try to connect, from the name to the server's first word.
    pub attempt_max: Duration,
    /// Without any word of the server, after which the connection is dead: it
    /// pings at least every 20 s.
    pub silence_max: Duration,
    pub ping_every: Duration,
    /// After which a connection counts as one that holds.
    pub settled_after: Duration,
    /// For the local program's whole answer.
    pub local_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            attempt_max: Duration::from_secs(10),
            silence_max: Duration::from_secs(31),
            ping_every: Duration::from_secs(10),
            settled_after: Duration::from_secs(10),
            local_max: Duration::from_secs(30),
        }
    }
}

/// The outside world, as a client sees it.
#[derive(Clone)]
pub struct Seams {
    pub clock: SharedClock,
    pub entropy: SharedEntropy,
    pub ways: Ways,
}

/// A new token: a public URL that nobody can guess.
#[must_use]
pub fn new_token(entropy: &dyn Entropy) -> String {
    // Below a multiple of 62, so that every character is as likely.
    const FAIR_BELOW: u8 = 248;
    let mut token = TOKEN_PREFIX.to_owned();
    while token.len() < TOKEN_PREFIX.len() + TOKEN_CHARS {
        let mut bytes = [0; TOKEN_CHARS];
        entropy.fill(&mut bytes);
        let wanted = TOKEN_PREFIX.len() + TOKEN_CHARS - token.len();
        let fair = bytes.iter().filter(|byte| **byte < FAIR_BELOW);
        let characters = fair.map(|byte| char::from(BASE62[usize::from(byte % 62)]));
        token.extend(characters.take(wanted));
    }
    token
}

/// A listener.
pub struct Client {
    server: Server,
    forwarder: Arc<Forwarder>,
    start: StartRequest,
    entropy: SharedEntropy,
    notices: Notices,
    /// What was said last of where events come from.
    told: Option<Listening>,
}

impl Client {
    /// A listener that does nothing yet. `client` says to people what it is.
    pub fn new(
        settings: Settings,
        seams: Seams,
        client: String,
        notices: Notices,
    ) -> Result<Self, TransportError> {
        let trusting = client_tls(&settings.roots)?;
        let local_tls = if settings.target.insecure {
            trust::anybody()?
        } else {
            Arc::clone(&trusting)
        };
        let local = Local::new(
            settings.target,
            settings.headers,
            settings.pace.local_max,
            seams.ways.clone(),
            local_tls,
        );
        let forwarder = Forwarder::new(
            local,
            settings.filter,
            settings.max_connections,
            Arc::clone(&seams.clock),
            notices.clone(),
        );
        let session = [seams.entropy.next_u64(), seams.entropy.next_u64()];
        let start = StartRequest {
            token: settings.token,
            client: Some(client),
            session: Some(format!("{:016x}{:016x}", session[0], session[1])),
            share: settings.share,
            max_connections: Some(settings.max_connections),
        };
        Ok(Self {
            server: Server {
                url: settings.server,
                key: settings.key,
                ways: seams.ways,
                tls: trusting,
                pace: settings.pace,
                clock: seams.clock,
            },
            forwarder: Arc::new(forwarder),
            start,
            entropy: seams.entropy,
            notices,
            told: None,
        })
    }

    /// Who forwards, for doing an event again by hand.
    #[must_use]
    pub fn forwarder(&self) -> Arc<Forwarder> {
        Arc::clone(&self.forwarder)
    }

    /// Listens until `stop` completes, through any number of connections.
    ///
    /// # Errors
    /// What trying again does not cure.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), Ended> {
        let mut stop = pin!(stop);
        let mut failed = 0;
        loop {
            let opening = self.server.open(self.start.clone(), &*self.entropy);
            let opened = tokio::select! {
                () = &mut stop => return Ok(()),
                opened = opening => opened,
            };
            let lost = match opened {
                Err(lost) => lost,
                Ok(link) => {
                    self.greet(&link.start).await;
                    let up = Stopwatch::default();
                    let served = self.server.serve(link, &self.forwarder, stop.as_mut());
                    match served.await {
                        End::Stopped => return Ok(()),
                        End::Lost(lost) => {
                            if up.elapsed() >= self.server.pace.settled_after {
                                failed = 0;
                            }
                            lost
                        }
                    }
                }
            };
            if let Some(ended) = lost.ends(self.told.is_none()) {
                return Err(ended);
            }
            let next_try = backoff::wait(failed, self.entropy.fraction());
            failed += 1;
            self.tell_away(&lost, next_try).await;
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = self.server.clock.sleep(next_try) => {}
            }
        }
    }

    /// Takes over what the server said, and tells what is new of it.
    async fn greet(&mut self, start: &StartReply) {
        self.forwarder.limit_bodies(start.body_bytes_max);
        // The server may have chosen another token: then that one stays.
        self.start.token.clone_from(&start.token);
        let listening = self.listening(start);
        let same = self
            .told
            .as_ref()
            .is_some_and(|told| (&told.url, &told.view) == (&listening.url, &listening.view));
        let notice = if same {
            Notice::Back
        } else {
            self.told = Some(listening.clone());
            Notice::Listening(listening)
        };
        self.tell(notice).await;
    }

    fn listening(&self, start: &StartReply) -> Listening {
        let url = start.url.clone();
        Listening {
            url: url.unwrap_or_else(|| format!("{}/in/{}/", self.server.url, start.token)),
            view: start.view.clone(),
            waiting: start.waiting.unwrap_or_default(),
        }
    }

    async fn tell_away(&self, lost: &Lost, next_try: Duration) {
        let away = Away {
            reason: lost.to_string(),
            next_try,
            lost: self.told.is_some(),
        };
        self.tell(Notice::Away(away)).await;
    }

    /// Whoever shows notices may have gone: then there is nobody to tell.
    async fn tell(&self, notice: Notice) {
        let _ = self.notices.send(notice).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::entropy::SystemEntropy;

    #[test]
    fn a_new_token_is_twenty_two_characters_of_base62() {
        let token = new_token(&SystemEntropy);
        let characters = token.strip_prefix(TOKEN_PREFIX).unwrap();
        assert_eq!(characters.len(), TOKEN_CHARS);
        assert!(characters.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(token, new_token(&SystemEntropy));
    }
}
