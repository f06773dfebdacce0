//! The addresses by which this server would reach itself.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Linux lists this machine's addresses in these files; elsewhere, and where
/// they cannot be read, loopback is all that is known.
const V4_FILE: &str = "/proc/net/fib_trie";
const V6_FILE: &str = "/proc/net/if_inet6";

/// Every address with which a connection reaches a listener at `bound`.
///
/// Those of the interfaces as they are now, when it listens on all of them.
pub(super) fn of(bound: SocketAddr) -> Vec<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mut addresses = BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    addresses.extend(local_v4(&read(V4_FILE)));
    if bound.is_ipv6() {
        addresses.insert(IpAddr::V6(Ipv6Addr::LOCALHOST));
        addresses.extend(local_v6(&read(V6_FILE)));
    }
    addresses
        .into_iter()
        .map(|ip| SocketAddr::new(ip, bound.port()))
        .collect()
}

/// The leaves `|-- ADDRESS` of the routing table that a line `/32 host LOCAL` follows.
fn local_v4(fib_trie: &str) -> BTreeSet<IpAddr> {
    let mut leaf: Option<IpAddr> = None;
    let mut found = BTreeSet::new();
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf);
        }
    }
    found
}

/// The first column: 32 hexadecimal digits.
fn local_v6(if_inet6: &str) -> BTreeSet<IpAddr> {
    let columns = if_inet6.lines().filter_map(|line| line.get(..32));
    columns
        .filter_map(|digits| u128::from_str_radix(digits, 16).ok())
        .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIB_TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.7
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
     |-- 192.0.2.7
        /32 host LOCAL
";
    const IF_INET6: &str = "\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000007 02 40 00 00     eth0
";

    #[test]
    fn the_kernels_lists_are_read() {
        let texts = |found: BTreeSet<IpAddr>| -> Vec<String> {
            found.iter().map(IpAddr::to_string).collect()
        };
        assert_eq!(texts(local_v4(FIB_TRIE)), ["192.0.2.7"]);
        assert_eq!(texts(local_v6(IF_INET6)), ["::1", "2001:db8::7"]);
        assert!(local_v4("").is_empty() && local_v6("short\n").is_empty());
    }

    #[test]
    fn a_wildcard_stands_for_at_least_loopback() {
        for (bound, want) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("192.0.2.1:81", "192.0.2.1:81"),
            ("0.0.0.0:82", "127.0.0.1:82"),
            ("[::]:83", "127.0.0.1:83"),
            ("[::]:83", "[::1]:83"),
        ] {
            let own = of(bound.parse().unwrap());
            assert!(own.contains(&want.parse().unwrap()), "{bound}: {own:?}");
        }
    }
}
