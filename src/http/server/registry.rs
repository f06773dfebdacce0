//! Who is connected, and how all of them are told to leave.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::limits::ServerLimits;
use super::progress::Progress;

/// What every connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Go on.
    Serve,
    /// Finish the running request, take no other.
    Drain,
    /// End now.
    Cut,
}

/// The open connections. The lock is taken when one comes or goes, never while it is used.
#[derive(Debug, Default)]
pub(super) struct Registry {
    order: AtomicU8,
    open: Mutex<Open>,
    empty: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    connections: HashMap<u64, Arc<Progress>>,
    per_ip: HashMap<IpAddr, usize>,
}

impl Registry {
    pub(super) fn current_order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::Drain,
            _ => Order::Cut,
        }
    }

    /// Gives all connections an order and returns how many there are. Orders only get stricter.
    pub(super) fn order(&self, order: Order) -> usize {
        self.order.fetch_max(order as u8, Ordering::AcqRel);
        let open = self.lock();
        open.connections
            .values()
            .for_each(|progress| progress.wake());
        open.connections.len()
    }

    /// Completes when no connection is left. None may come meanwhile.
    pub(super) async fn emptied(&self) {
        let empty = self.empty.notified();
        if !self.lock().connections.is_empty() {
            empty.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Admission {
    registry: Arc<Registry>,
    id: u64,
    counted_ip: Option<IpAddr>,
    progress: Arc<Progress>,
    _slot: OwnedSemaphorePermit,
}

impl Admission {
    /// `None` when the address has as many connections as it may have.
    pub(super) fn ask(
        registry: &Arc<Registry>,
        ip: Option<IpAddr>,
        limits: &ServerLimits,
        slot: OwnedSemaphorePermit,
    ) -> Option<Self> {
        let counted_ip = ip.and_then(counted_as);
        let mut open = registry.lock();
        if let (Some(ip), Some(max)) = (counted_ip, limits.connections_per_ip_max) {
            let count = open.per_ip.get(&ip).copied().unwrap_or(0);
            if count >= max {
                return None;
            }
        }
        if let Some(ip) = counted_ip {
            *open.per_ip.entry(ip).or_default() += 1;
        }
        let id = open.next_id;
        open.next_id += 1;
        let progress = Arc::new(Progress::default());
        open.connections.insert(id, Arc::clone(&progress));
        drop(open);
        Some(Self {
            registry: Arc::clone(registry),
            id,
            counted_ip,
            progress,
            _slot: slot,
        })
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    pub(super) fn order(&self) -> Order {
        self.registry.current_order()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.registry.lock();
        open.connections.remove(&self.id);
        if let Some(ip) = self.counted_ip
            && let Some(count) = open.per_ip.get_mut(&ip)
        {
            *count -= 1;
            if *count == 0 {
                open.per_ip.remove(&ip);
            }
        }
        if open.connections.is_empty() {
            self.registry.empty.notify_waiters();
        }
    }
}

/// The address to count for `ip`, or `None` for loopback. One customer's IPv6 is a /64.
pub(crate) fn counted_as(ip: IpAddr) -> Option<IpAddr> {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_loopback() => None,
        IpAddr::V6(ip) if ip.is_loopback() => None,
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into()),
        ip @ IpAddr::V4(_) => Some(ip),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn addresses_are_counted_by_who_can_have_them() {
        for (ip, want) in [
            ("127.0.0.1", None),
            ("::1", None),
            ("::ffff:127.0.0.1", None),
            ("192.0.2.7", Some("192.0.2.7")),
            ("::ffff:192.0.2.7", Some("192.0.2.7")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::")),
        ] {
            let want = want.map(|want: &str| want.parse().unwrap());
            assert_eq!(counted_as(ip.parse().unwrap()), want, "{ip}");
        }
    }

    #[test]
    fn an_address_gets_its_place_back_when_a_connection_ends() {
        let registry = Arc::new(Registry::default());
        let slots = Arc::new(Semaphore::new(9));
        let limits = ServerLimits {
            connections_per_ip_max: Some(2),
            ..ServerLimits::default()
        };
        let ask = |ip: &str| {
            let slot = Arc::clone(&slots).try_acquire_owned().unwrap();
            Admission::ask(&registry, Some(ip.parse().unwrap()), &limits, slot)
        };
        let first = ask("192.0.2.1");
        let second = ask("192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(ask("192.0.2.1").is_none());
        assert!(ask("192.0.2.2").is_some());
        drop(first);
        assert!(ask("192.0.2.1").is_some());
        drop(second);
        assert_eq!(slots.available_permits(), 9);
        assert!(registry.lock().per_ip.is_empty());
    }
}
