//! Which addresses are not public hosts, and why.
//!
//! Our own tables rather than `is_global` of some library: those let pass
//! addresses that carry another address inside, and metadata in public space.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::BlockReason;

pub(super) fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => {
            METADATA_V6.contains(&v6) || v4_inside(v6).is_some_and(|v4| METADATA_V4.contains(&v4))
        }
    }
}

pub(super) fn refused_v4(ip: Ipv4Addr) -> Option<BlockReason> {
    if METADATA_V4.contains(&ip) {
        return Some(BlockReason::Metadata);
    }
    let denied = DENIED_V4.iter().find(|(net, _)| net.contains(&ip));
    denied.map(|&(_, reason)| reason)
}

pub(super) fn refused_v6(ip: Ipv6Addr) -> Option<BlockReason> {
    if METADATA_V6.contains(&ip) {
        return Some(BlockReason::Metadata);
    }
    if let Some(&(_, reason)) = DENIED_V6.iter().find(|(net, _)| net.contains(&ip)) {
        return Some(reason);
    }
    if !GLOBAL_V6.contains(&ip) {
        return Some(BlockReason::Reserved);
    }
    // What is left and still holds an IPv4 address is ISATAP.
    let inside = v4_inside(ip).and_then(refused_v4);
    inside.map(|_| BlockReason::EmbeddedV4)
}

/// The IPv4 address that a NAT64 gateway with the well-known prefix reaches.
pub(super) fn nat64_inside(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., high, low] = ip.segments();
    NAT64.contains(&ip).then(|| v4_from(high, low))
}

/// The IPv4 address that an IPv6 address carries, whichever way.
/// Sources: RFC 4291 2.5.5, RFC 7915 (SIIT), RFC 6052, RFC 3056 (6to4),
/// RFC 5214 (ISATAP).
fn v4_inside(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0x2002, high, low, ..]
        | [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(v4_from(high, low)),
        _ => nat64_inside(ip),
    }
}

fn v4_from(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix_bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_bits)
}

const fn v6(bits: u128, prefix_bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), prefix_bits)
}

/// Source: IANA IPv4 special-purpose and multicast registries.
const DENIED_V4: [(Ipv4Net, BlockReason); 18] = [
    (v4(0, 0, 0, 0, 8), BlockReason::Reserved),
    (v4(10, 0, 0, 0, 8), BlockReason::Private),
    (v4(100, 64, 0, 0, 10), BlockReason::Private),
    (v4(127, 0, 0, 0, 8), BlockReason::Loopback),
    (v4(169, 254, 0, 0, 16), BlockReason::LinkLocal),
    (v4(172, 16, 0, 0, 12), BlockReason::Private),
    (v4(192, 0, 0, 0, 24), BlockReason::Reserved),
    (v4(192, 0, 2, 0, 24), BlockReason::Reserved),
    (v4(192, 31, 196, 0, 24), BlockReason::Reserved),
    (v4(192, 52, 193, 0, 24), BlockReason::Reserved),
    (v4(192, 88, 99, 0, 24), BlockReason::Reserved),
    (v4(192, 168, 0, 0, 16), BlockReason::Private),
    (v4(192, 175, 48, 0, 24), BlockReason::Reserved),
    (v4(198, 18, 0, 0, 15), BlockReason::Reserved),
    (v4(198, 51, 100, 0, 24), BlockReason::Reserved),
    (v4(203, 0, 113, 0, 24), BlockReason::Reserved),
    (v4(224, 0, 0, 0, 4), BlockReason::Multicast),
    (v4(240, 0, 0, 0, 4), BlockReason::Reserved),
];

/// The only IPv6 space with public hosts in it; the rest is denied unnamed.
/// Source: IANA IPv6 address space.
const GLOBAL_V6: Ipv6Net = v6(0x2000 << 112, 3);

/// Within [`GLOBAL_V6`], and outside it where the reason is not `reserved`.
/// Source: IANA IPv6 special-purpose registry.
const DENIED_V6: [(Ipv6Net, BlockReason); 14] = [
    (v6(0, 128), BlockReason::Reserved),
    (v6(1, 128), BlockReason::Loopback),
    // IPv4-compatible, -mapped, -translated (SIIT), NAT64, 6to4
    (v6(0, 96), BlockReason::EmbeddedV4),
    (v6(0xffff << 32, 96), BlockReason::EmbeddedV4),
    (v6(0xffff << 48, 96), BlockReason::EmbeddedV4),
    (NAT64, BlockReason::EmbeddedV4),
    (v6(0x2002 << 112, 16), BlockReason::EmbeddedV4),
    // protocol assignments (Teredo, benchmarking, ORCHID), documentation, AS112
    (v6(0x2001 << 112, 23), BlockReason::Reserved),
    (v6(0x2001_0db8 << 96, 32), BlockReason::Reserved),
    (v6(0x3fff << 112, 20), BlockReason::Reserved),
    (v6(0x2620_004f_8000 << 80, 48), BlockReason::Reserved),
    (v6(0xfc00 << 112, 7), BlockReason::Private),
    (v6(0xfe80 << 112, 10), BlockReason::LinkLocal),
    (v6(0xff00 << 112, 8), BlockReason::Multicast),
];

/// Source: RFC 6052, 2.1.
const NAT64: Ipv6Net = v6(0x0064_ff9b << 96, 96);

/// Services that give a machine its credentials or its configuration. They get
/// a reason of their own, and some stand outside every private range.
const METADATA_V4: [Ipv4Addr; 8] = [
    Ipv4Addr::new(169, 254, 169, 254), // most clouds
    Ipv4Addr::new(169, 254, 170, 2),   // AWS container tasks
    Ipv4Addr::new(169, 254, 170, 23),  // AWS pod identity
    Ipv4Addr::new(169, 254, 42, 42),   // Scaleway
    Ipv4Addr::new(169, 254, 0, 23),    // Tencent
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba
    Ipv4Addr::new(168, 63, 129, 16),   // Azure, in public space
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle
];

const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS pod identity
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // Google
];

#[cfg(test)]
mod tests {
    use super::BlockReason::{
        EmbeddedV4, LinkLocal, Loopback, Metadata, Multicast, Private, Reserved,
    };
    use super::*;

    /// First and last address of every range, written out apart from the tables above.
    const RANGES_V4: [(&str, &str, BlockReason); 18] = [
        ("0.0.0.0", "0.255.255.255", Reserved),
        ("10.0.0.0", "10.255.255.255", Private),
        ("100.64.0.0", "100.127.255.255", Private),
        ("127.0.0.0", "127.255.255.255", Loopback),
        ("169.254.0.0", "169.254.255.255", LinkLocal),
        ("172.16.0.0", "172.31.255.255", Private),
        ("192.0.0.0", "192.0.0.255", Reserved),
        ("192.0.2.0", "192.0.2.255", Reserved),
        ("192.31.196.0", "192.31.196.255", Reserved),
        ("192.52.193.0", "192.52.193.255", Reserved),
        ("192.88.99.0", "192.88.99.255", Reserved),
        ("192.168.0.0", "192.168.255.255", Private),
        ("192.175.48.0", "192.175.48.255", Reserved),
        ("198.18.0.0", "198.19.255.255", Reserved),
        ("198.51.100.0", "198.51.100.255", Reserved),
        ("203.0.113.0", "203.0.113.255", Reserved),
        ("224.0.0.0", "239.255.255.255", Multicast),
        ("240.0.0.0", "255.255.255.255", Reserved),
    ];

    const MAX: &str = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

    /// Every run of IPv6 addresses with one verdict, where its ends matter.
    const RANGES_V6: [(&str, &str, Option<BlockReason>); 28] = [
        ("::", "::", Some(Reserved)),
        ("::1", "::1", Some(Loopback)),
        ("::2", "::ffff:ffff", Some(EmbeddedV4)),
        ("::1:0:0", "::fffe:ffff:ffff", Some(Reserved)),
        ("::ffff:0:0", "::ffff:ffff:ffff", Some(EmbeddedV4)),
        ("::ffff:0:0:0", "::ffff:0:ffff:ffff", Some(EmbeddedV4)),
        ("64:ff9b::", "64:ff9b::ffff:ffff", Some(EmbeddedV4)),
        ("64:ff9b::1:0:0", "64:ff9b:1:ffff::", Some(Reserved)),
        ("100::", "1fff:ffff::", Some(Reserved)),
        ("2000::", "2000:ffff::", None),
        ("2001::", "2001:1ff:ffff::", Some(Reserved)),
        ("2001:200::", "2001:db7:ffff::", None),
        ("2001:db8::", "2001:db8:ffff::", Some(Reserved)),
        ("2001:db9::", "2001:ffff::", None),
        ("2002::", "2002:ffff:ffff::", Some(EmbeddedV4)),
        ("2003::", "2620:4f:7fff:ffff::", None),
        ("2620:4f:8000::", "2620:4f:8000:ffff::", Some(Reserved)),
        ("2620:4f:8001::", "3ffe:ffff::", None),
        ("3fff::", "3fff:fff:ffff::", Some(Reserved)),
        ("3fff:1000::", "3fff:ffff::", None),
        ("4000::", "fbff:ffff::", Some(Reserved)),
        ("fc00::", "fdff:ffff::", Some(Private)),
        ("fe00::", "fe7f:ffff::", Some(Reserved)),
        ("fe80::", "febf:ffff::", Some(LinkLocal)),
        ("fec0::", "feff:ffff::", Some(Reserved)),
        ("ff00::", MAX, Some(Multicast)),
        // ISATAP: judged by the address inside
        (
            "2a00::5efe:10.0.0.0",
            "2a00::200:5efe:10.255.255.255",
            Some(EmbeddedV4),
        ),
        ("2a00::5efe:1.1.1.1", "2a00::200:5efe:1.1.1.1", None),
    ];

    fn v4(text: &str) -> Ipv4Addr {
        text.parse().expect(text)
    }

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().expect(text)
    }

    #[test]
    fn ipv4_ranges_end_where_they_should() {
        let denied = |ip: u32| {
            let inside = |(first, last, _): &(&str, &str, _)| {
                (v4(first).to_bits()..=v4(last).to_bits()).contains(&ip)
            };
            RANGES_V4.iter().any(inside)
        };
        for (first, last, reason) in RANGES_V4 {
            assert_eq!(refused_v4(v4(first)), Some(reason), "{first}");
            assert_eq!(refused_v4(v4(last)), Some(reason), "{last}");
            let below = v4(first).to_bits().checked_sub(1);
            let above = v4(last).to_bits().checked_add(1);
            for public in [below, above]
                .into_iter()
                .flatten()
                .filter(|ip| !denied(*ip))
            {
                let public = Ipv4Addr::from_bits(public);
                assert_eq!(refused_v4(public), None, "{public}");
            }
        }
    }

    #[test]
    fn ipv6_ranges_end_where_they_should() {
        for (first, last, reason) in RANGES_V6 {
            assert_eq!(refused_v6(v6(first)), reason, "{first}");
            assert_eq!(refused_v6(v6(last)), reason, "{last}");
        }
    }

    #[test]
    fn metadata_addresses_have_their_own_reason() {
        for ip in METADATA_V4 {
            assert_eq!(refused_v4(ip), Some(Metadata), "{ip}");
            assert!(is_metadata(ip.to_ipv6_mapped().into()), "{ip}");
            assert!(is_metadata(ip.into()), "{ip}");
        }
        for ip in METADATA_V6 {
            assert_eq!(refused_v6(ip), Some(Metadata), "{ip}");
        }
        assert!(!is_metadata(v4("169.254.169.253").into()));
        assert!(!is_metadata(v6("fd00:ec2::255").into()));
    }

    #[test]
    fn an_address_inside_another_is_found() {
        for (outer, inner) in [
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("::1.2.3.4", "1.2.3.4"),
            ("::ffff:0:1.2.3.4", "1.2.3.4"),
            ("64:ff9b::1.2.3.4", "1.2.3.4"),
            ("2002:102:304::9", "1.2.3.4"),
            ("fe80::5efe:1.2.3.4", "1.2.3.4"),
            ("2a00::200:5efe:1.2.3.4", "1.2.3.4"),
        ] {
            assert_eq!(v4_inside(v6(outer)), Some(v4(inner)), "{outer}");
        }
        assert_eq!(v4_inside(v6("2a00::1")), None);
    }
}
