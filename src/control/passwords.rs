//! Passwords, hashed and compared: few at a time, for each costs memory and work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use tokio::sync::Semaphore;

use crate::domain::secret::Secret;
use crate::seams::entropy::SharedEntropy;

/// Hashes that are worked out at once, and that may wait for their turn.
const AT_ONCE: usize = 2;
const WAITING_MAX: usize = 32;
/// argon2id. Source: OWASP Password Storage Cheat Sheet, the smaller memory.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// More passwords wait for their turn than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many sign-ins wait; try again")]
pub struct Crowded;

/// Hashes and compares passwords. Clones share their limits.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    entropy: SharedEntropy,
}

/// What a comparison gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    Wrong,
    Right,
    /// Right, and the stored hash is of older settings: this is the new one.
    RightButOld(Secret),
}

impl Passwords {
    #[must_use]
    pub fn new(entropy: SharedEntropy) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::default(),
            entropy,
        }
    }

    /// The hash to store for `password`, in PHC form.
    pub async fn hash(&self, password: Secret) -> Result<Secret, Crowded> {
        let mut salt = [0; 16];
        self.entropy.fill(&mut salt);
        self.in_turn(move || hash(&password, &salt)).await
    }

    /// Whether `password` is the one that `stored` was made of. With `None`
    /// the same work is done for nothing, so that an account that is not there
    /// takes as long as one that is.
    pub async fn compare(
        &self,
        password: Secret,
        stored: Option<Secret>,
    ) -> Result<Compared, Crowded> {
        let mut salt = [0; 16];
        self.entropy.fill(&mut salt);
        let work = move || {
            if let Some(stored) = stored {
                compare(&password, &stored, &salt)
            } else {
                let _ = hash(&password, &salt);
                Compared::Wrong
            }
        };
        self.in_turn(work).await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Crowded> {
        let _place = Waiting::enter(&self.waiting).ok_or(Crowded)?;
        let _turn = self.turns.acquire().await.expect("it is never closed");
        let done = tokio::task::spawn_blocking(work).await;
        Ok(done.expect("hashing does not panic"))
    }
}

/// A place in the line, given back when dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let place = Self(count);
        (before < AT_ONCE + WAITING_MAX).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &Secret, salt: &[u8]) -> Secret {
    let made = hasher().hash_password_with_salt(password.expose().as_bytes(), salt);
    Secret::new(made.expect("the salt has a good length").to_string())
}

fn compare(password: &Secret, stored: &Secret, salt: &[u8]) -> Compared {
    let Ok(known) = PasswordHash::new(stored.expose()) else {
        return Compared::Wrong;
    };
    let hasher = hasher();
    if hasher
        .verify_password(password.expose().as_bytes(), &known)
        .is_err()
    {
        return Compared::Wrong;
    }
    let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    let stored = Params::try_from(&known).ok();
    if stored.as_ref().map(costs) == Some(costs(hasher.params())) {
        Compared::Right
    } else {
        Compared::RightButOld(hash(password, salt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::entropy::SystemEntropy;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_alone() {
        let passwords = Passwords::new(Arc::new(SystemEntropy));
        let password = Secret::new("a few words will do");
        let stored = passwords.hash(password.clone()).await.expect("a turn");
        assert!(
            stored
                .expose()
                .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        );
        let compare = |text: &str, stored: Option<&Secret>| {
            passwords.compare(Secret::new(text), stored.cloned())
        };
        for (text, stored, want) in [
            ("a few words will do", Some(&stored), Compared::Right),
            ("a few words will d", Some(&stored), Compared::Wrong),
            ("", Some(&stored), Compared::Wrong),
            ("a few words will do", None, Compared::Wrong),
            (
                "a few words will do",
                Some(&Secret::new("no hash")),
                Compared::Wrong,
            ),
        ] {
            assert_eq!(compare(text, stored).await, Ok(want), "{text:?}");
        }
    }

    #[test]
    fn a_hash_of_older_settings_is_renewed() {
        let password = Secret::new("a few words will do");
        let weak = Params::new(8, 1, 1, None).expect("within bounds");
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, weak);
        let stored = weak
            .hash_password_with_salt(password.expose().as_bytes(), &[7; 16])
            .expect("a salt");
        let stored = Secret::new(stored.to_string());
        let Compared::RightButOld(renewed) = compare(&password, &stored, &[8; 16]) else {
            panic!("it is right, and old");
        };
        assert_eq!(compare(&password, &renewed, &[9; 16]), Compared::Right);
    }

    #[tokio::test]
    async fn a_crowd_is_turned_away() {
        let passwords = Passwords::new(Arc::new(SystemEntropy));
        let places: Vec<_> = (0..AT_ONCE + WAITING_MAX)
            .map(|_| Waiting::enter(&passwords.waiting))
            .collect();
        assert!(places.iter().all(Option::is_some));
        let refused = passwords.hash(Secret::new("x")).await;
        assert_eq!(refused, Err(Crowded));
        drop(places);
        assert!(passwords.hash(Secret::new("x")).await.is_ok());
    }
}
