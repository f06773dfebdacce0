//! How often somebody may try a password.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::domain::time::Timestamp;

/// Tries in a minute for one account, and from one address. A right password
/// counts as well: who signs in does it seldom.
const ACCOUNT_TRIES: f64 = 5.0;
const ADDRESS_TRIES: f64 = 20.0;
const MINUTE_MS: f64 = 60_000.0;
/// Accounts and addresses that are remembered; beyond, those that have all
/// their tries again are forgotten.
const REMEMBERED_MAX: usize = 10_000;

/// Counts tries, in memory.
#[derive(Default)]
pub struct SignInLimits {
    tries: Mutex<HashMap<Key, Bucket>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Account(String),
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Timestamp,
}

impl Bucket {
    fn refilled(self, most: f64, now: Timestamp) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of some minutes")]
        let passed_ms = now.0.saturating_sub(self.at.0) as f64;
        let left = (self.left + passed_ms * most / MINUTE_MS).min(most);
        Self { left, at: now }
    }
}

fn most(key: &Key) -> f64 {
    match key {
        Key::Account(_) => ACCOUNT_TRIES,
        Key::Address(_) => ADDRESS_TRIES,
    }
}

impl SignInLimits {
    /// Notes a try for `account` from `address`.
    ///
    /// # Errors
    /// Seconds to wait when there were too many.
    pub fn note(&self, account: &str, address: Option<IpAddr>, now: Timestamp) -> Result<(), u64> {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if tries.len() >= REMEMBERED_MAX {
            tries.retain(|key, bucket| bucket.refilled(most(key), now).left < most(key));
        }
        // The address first: who is out of tries leaves no more accounts here.
        let account = Key::Account(account.to_owned());
        for key in address.map(Key::Address).into_iter().chain([account]) {
            let most = most(&key);
            let full = Bucket {
                left: most,
                at: now,
            };
            let bucket = tries.entry(key).or_insert(full);
            *bucket = bucket.refilled(most, now);
            if bucket.left < 1.0 {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "between 0 and 60"
                )]
                let wait_s = ((1.0 - bucket.left) * 60.0 / most).ceil() as u64;
                return Err(wait_s.max(1));
            }
            bucket.left -= 1.0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_run_out_and_come_back() {
        let limits = SignInLimits::default();
        let at = |second: u64| Timestamp(1_700_000_000_000 + second * 1000);
        let address = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        for _ in 0..5 {
            assert_eq!(limits.note("ada", address(1), at(0)), Ok(()));
        }
        assert_eq!(limits.note("ada", address(2), at(0)), Err(12));
        assert_eq!(limits.note("bob", address(1), at(0)), Ok(()));
        assert_eq!(limits.note("ada", address(2), at(12)), Ok(()));
        assert_eq!(limits.note("ada", address(2), at(13)), Err(11));
        for other in 0..20 {
            assert_eq!(limits.note(&format!("u{other}"), address(3), at(0)), Ok(()));
        }
        assert_eq!(limits.note("u20", address(3), at(0)), Err(3));
    }

    #[test]
    fn what_has_all_its_tries_is_forgotten() {
        let limits = SignInLimits::default();
        let start = Timestamp(1_700_000_000_000);
        for number in 0..REMEMBERED_MAX {
            assert_eq!(limits.note(&number.to_string(), None, start), Ok(()));
        }
        let later = Timestamp(start.0 + 60_000);
        assert_eq!(limits.note("one more", None, later), Ok(()));
        assert_eq!(limits.tries.lock().expect("not poisoned").len(), 1);
    }
}
