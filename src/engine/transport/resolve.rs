//! From a host's name to its addresses.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Time that one lookup may take, the wait for its turn included.
pub const RESOLVE_LIMIT: Duration = Duration::from_secs(5);
/// Lookups that run at once; each holds a thread of the blocking pool.
pub const RESOLVES_AT_ONCE_MAX: usize = 64;
/// How long an answer is used again.
pub const RESOLVED_KEPT: Duration = Duration::from_secs(30);
/// Names whose answers are kept; beyond it the oldest answer goes.
pub const RESOLVED_NAMES_MAX: usize = 10_000;
/// Addresses of one name that are looked at; the policy dials fewer.
const ADDRESSES_MAX: usize = 64;

/// Finds the addresses of a name. The system's in production, a script in tests.
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of `host`, in the order in which to try them.
    ///
    /// An answer says nothing about whether an address may be dialled: that is
    /// the policy's to judge, on every answer anew.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver (`getaddrinfo`), bounded and with a short memory.
///
/// At most [`RESOLVES_AT_ONCE_MAX`] lookups run at once and each caller waits
/// [`RESOLVE_LIMIT`] at most. A lookup that outlives its caller keeps its place
/// until the system gives up, so that a dead name server cannot fill the
/// blocking pool. Failures are not kept: a name works as soon as it exists.
#[derive(Debug)]
pub struct SystemResolver {
    turns: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

impl SystemResolver {
    /// A resolver that has nothing kept yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(RESOLVES_AT_ONCE_MAX)),
            kept: Mutex::default(),
        }
    }

    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let turn = Arc::clone(&self.turns)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        // Whoever had the turn before may have asked for the same name.
        if let Some(addresses) = self.recall(host) {
            return Ok(addresses);
        }
        let name = host.to_owned();
        let addresses = tokio::task::spawn_blocking(move || {
            let _held_until_the_system_answers = turn;
            ask_system(&name)
        })
        .await
        .map_err(io::Error::other)??;
        self.remember(host, &addresses);
        Ok(addresses)
    }

    fn recall(&self, host: &str) -> Option<Vec<IpAddr>> {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(host, Instant::now())
    }

    fn remember(&self, host: &str, addresses: &[IpAddr]) {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put(host, addresses, Instant::now());
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            if let Some(addresses) = self.recall(host) {
                return Ok(addresses);
            }
            timeout(RESOLVE_LIMIT, self.look_up(host))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }
}

fn ask_system(host: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for address in (host, 0).to_socket_addrs()?.take(ADDRESSES_MAX) {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    Ok(addresses)
}

/// Answers by name, and the order in which they came.
///
/// All answers live equally long, so the front of `order` is always the next to
/// expire. A name asked twice at once is in `order` twice: the entry whose
/// `expires` does not match the answer's is a leftover.
#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Arc<str>, Answer>,
    order: VecDeque<(Instant, Arc<str>)>,
}

#[derive(Debug)]
struct Answer {
    expires: Instant,
    addresses: Vec<IpAddr>,
}

impl Kept {
    fn get(&self, host: &str, now: Instant) -> Option<Vec<IpAddr>> {
        let answer = self.answers.get(host)?;
        (now < answer.expires).then(|| answer.addresses.clone())
    }

    fn put(&mut self, host: &str, addresses: &[IpAddr], now: Instant) {
        self.make_room(now);
        let host: Arc<str> = host.into();
        let expires = now + RESOLVED_KEPT;
        self.order.push_back((expires, Arc::clone(&host)));
        let addresses = addresses.to_vec();
        self.answers.insert(host, Answer { expires, addresses });
    }

    fn make_room(&mut self, now: Instant) {
        while let Some((expires, host)) = self.order.front() {
            if now < *expires && self.order.len() < RESOLVED_NAMES_MAX {
                return;
            }
            if self
                .answers
                .get(host)
                .is_some_and(|a| a.expires == *expires)
            {
                self.answers.remove(host);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::LOCALHOST)];

    #[tokio::test]
    async fn an_answer_is_used_again_until_it_expires() {
        let start = Instant::now();
        let mut kept = Kept::default();
        kept.put("a.test", &HERE, start);
        for (after, known) in [
            (Duration::ZERO, true),
            (Duration::from_millis(29_999), true),
            (RESOLVED_KEPT, false),
        ] {
            let found = kept.get("a.test", start + after);
            assert_eq!(found.is_some(), known, "{after:?} after the answer");
        }
    }

    #[tokio::test]
    async fn the_oldest_answer_goes_when_there_are_too_many() {
        let start = Instant::now();
        let mut kept = Kept::default();
        for n in 0..=RESOLVED_NAMES_MAX {
            kept.put(&format!("{n}.test"), &HERE, start);
        }
        assert_eq!(kept.answers.len(), RESOLVED_NAMES_MAX);
        assert_eq!(kept.order.len(), RESOLVED_NAMES_MAX);
        assert_eq!(kept.get("0.test", start), None);
        assert!(kept.get("1.test", start).is_some());
    }

    #[tokio::test]
    async fn a_newer_answer_outlives_the_leftover_of_an_older_one() {
        let start = Instant::now();
        let later = start + Duration::from_secs(10);
        let mut kept = Kept::default();
        kept.put("a.test", &HERE, start);
        kept.put("a.test", &HERE, later);
        kept.put("b.test", &HERE, start + RESOLVED_KEPT);
        assert!(kept.get("a.test", start + RESOLVED_KEPT).is_some());
    }
}
