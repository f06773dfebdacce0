//! How often somebody without an API key may connect.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::http::server::counted_as;

/// Connections of one address in a minute. A client that tries again every
/// five seconds needs twelve.
const PER_MINUTE_MAX: u32 = 30;
const MINUTE: Duration = Duration::from_mins(1);
/// Addresses that are counted; further ones have to wait for the next minute.
const ADDRESSES_MAX: usize = 10_000;

/// Counts, in memory, minute by minute.
#[derive(Default)]
pub(super) struct Openings(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    since: Timestamp,
    of: HashMap<Option<IpAddr>, u32>,
}

impl Openings {
    /// Notes one; an error when there were too many.
    pub(super) fn note(&self, peer: Option<IpAddr>, now: Timestamp) -> Result<(), ()> {
        let peer = peer.and_then(counted_as);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(counts.since) >= MINUTE || now < counts.since {
            counts.since = now;
            counts.of.clear();
        }
        if counts.of.len() >= ADDRESSES_MAX && !counts.of.contains_key(&peer) {
            return Err(());
        }
        let count = counts.of.entry(peer).or_default();
        *count += 1;
        if *count > PER_MINUTE_MAX {
            Err(())
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_connects_so_often_in_a_minute() {
        let openings = Openings::default();
        let at = |second: u64| Timestamp(1_700_000_000_000 + second * 1000);
        let address = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        for _ in 0..PER_MINUTE_MAX {
            assert_eq!(openings.note(address(1), at(0)), Ok(()));
        }
        assert_eq!(openings.note(address(1), at(59)), Err(()));
        assert_eq!(openings.note(address(2), at(59)), Ok(()));
        assert_eq!(openings.note(address(1), at(60)), Ok(()));
        // The clock stepped back.
        assert_eq!(openings.note(address(1), at(0)), Ok(()));
    }
}
