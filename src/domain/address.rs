//! URLs and addresses that may be delivered to.
//!
//! Two steps. [`EndpointUrl::parse`] refuses text that two URL parsers could
//! read differently, so that what was judged is what is dialled.
//! [`DestinationPolicy::judge`] is the one function that decides, when a URL is
//! saved and again before every dial, with the addresses its name has then.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Serialize, Serializer};
use url::Host;

mod endpoint_url;
mod ranges;

use endpoint_url::without_trailing_dot;
pub use endpoint_url::{EndpointUrl, HOST_BYTES_MAX, LABEL_BYTES_MAX, URL_BYTES_MAX};
use ranges::{is_metadata, nat64_inside, refused_v4, refused_v6};

/// Addresses of one name that are handed on to be dialled.
pub const ADDRESSES_MAX: usize = 16;

/// The deployment's rules. They belong to the operator, never to a tenant.
#[derive(Clone, Debug, Default)]
pub struct DestinationPolicy {
    /// Refuse http, also to addresses in `allow`.
    pub https_only: bool,
    /// Addresses that are open with their names and ports. A cloud metadata
    /// address opens only for a network of exactly that one address, so that a
    /// wide network does not hand out the machine's credentials.
    pub allow: Vec<IpNet>,
    /// Judge addresses in `64:ff9b::/96` by the IPv4 address inside, for hosts
    /// that reach IPv4 only through DNS64. Source: RFC 6052, 2.1.
    pub allow_nat64: bool,
    /// Our own listen addresses, refused unless in `allow`. An unspecified
    /// address (`0.0.0.0`, `::`) matches nothing: list the interfaces instead.
    pub own: Vec<SocketAddr>,
}

impl DestinationPolicy {
    /// Addresses to dial, in the order given, at most [`ADDRESSES_MAX`].
    ///
    /// `resolved` is what the host's name has now; it is ignored when the host
    /// is an address, and empty when the name could not be resolved: then only
    /// the rules of scheme, name and port apply, and the result is empty.
    /// When every address is in `allow`, the rules of name and port do not
    /// apply. When any address is refused, all are: the reason is then the
    /// address's own, or `dns` for a name, so as not to reveal the address.
    pub fn judge(&self, url: &EndpointUrl, resolved: &[IpAddr]) -> Result<Vec<IpAddr>, UrlRefusal> {
        if self.https_only && !url.is_https() {
            let detail = "This server delivers only over https; begin the URL with `https://`.";
            return Err(refusal(BlockReason::Scheme, detail));
        }
        let addresses: Vec<IpAddr> = match url.literal_ip() {
            Some(ip) => vec![ip],
            None => resolved.iter().map(IpAddr::to_canonical).collect(),
        };
        let all_open = !addresses.is_empty() && addresses.iter().all(|ip| self.is_open(*ip));
        if !all_open {
            check_name(url)?;
            check_port(url)?;
            self.check_addresses(url, &addresses)?;
        }
        Ok(first_distinct(&addresses))
    }

    /// Whether one address may be dialled, its port and name aside.
    ///
    /// An IPv4 address mapped into IPv6 is refused unless the IPv4 address is
    /// in `allow`; `judge` unwraps those that come from a resolver.
    /// Source: the IANA special-purpose address registries.
    pub fn judge_address(&self, ip: IpAddr) -> Result<(), BlockReason> {
        if self.is_open(ip) {
            return Ok(());
        }
        let refused = match ip {
            IpAddr::V4(v4) => refused_v4(v4),
            IpAddr::V6(v6) => match nat64_inside(v6) {
                Some(v4) if self.allow_nat64 => refused_v4(v4).map(|_| BlockReason::EmbeddedV4),
                _ => refused_v6(v6),
            },
        };
        refused.map_or(Ok(()), Err)
    }

    fn is_open(&self, ip: IpAddr) -> bool {
        let ip = self.reached(ip);
        let metadata = is_metadata(ip);
        self.allow.iter().any(|net| {
            let single = net.prefix_len() == net.max_prefix_len();
            net.contains(&ip) && (single || !metadata)
        })
    }

    /// The address that packets for `ip` arrive at, as far as we may rely on it.
    fn reached(&self, ip: IpAddr) -> IpAddr {
        match ip.to_canonical() {
            IpAddr::V6(v6) if self.allow_nat64 => nat64_inside(v6).map_or(ip, IpAddr::V4),
            canonical => canonical,
        }
    }

    fn check_addresses(&self, url: &EndpointUrl, addresses: &[IpAddr]) -> Result<(), UrlRefusal> {
        for &ip in addresses {
            if let Err(reason) = self.judge_socket(ip, url.port()) {
                return Err(match url.host() {
                    Host::Domain(name) => name_refusal(reason, name),
                    _ => literal_refusal(reason, ip, self.reached(ip)),
                });
            }
        }
        Ok(())
    }

    fn judge_socket(&self, ip: IpAddr, port: u16) -> Result<(), BlockReason> {
        let reached = SocketAddr::new(self.reached(ip), port);
        let is_own = |own: &SocketAddr| {
            own.ip().to_canonical() == reached.ip() && own.port() == reached.port()
        };
        if self.own.iter().any(is_own) && !self.is_open(ip) {
            return Err(BlockReason::OwnAddress);
        }
        self.judge_address(ip)
    }
}

/// Why a URL or an address is refused. [`as_str`](Self::as_str) is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockReason {
    /// No parser should be asked to make sense of it.
    InvalidUrl,
    TooLong,
    ControlCharacter,
    Backslash,
    Fragment,
    Userinfo,
    /// Not http or https, or http where the policy wants https.
    Scheme,
    /// An IPv4 address in another spelling: `127.1`, `0x7f000001`.
    NoncanonicalIp,
    /// A name for machines of a local network: `localhost`, `db`, `x.internal`.
    Hostname,
    Port,
    Loopback,
    /// Private networks, the carriers' shared range included.
    Private,
    LinkLocal,
    /// Where clouds hand a machine its credentials.
    Metadata,
    /// Set aside for something other than public hosts, or not assigned.
    Reserved,
    Multicast,
    /// An IPv6 address that a gateway or a kernel turns into an IPv4 address.
    EmbeddedV4,
    /// The name has an address that is refused.
    Dns,
    /// One of our own listen addresses.
    OwnAddress,
}

impl BlockReason {
    /// The closed list of names that the API and the dashboard use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidUrl => "invalid_url",
            Self::TooLong => "too_long",
            Self::ControlCharacter => "control_character",
            Self::Backslash => "backslash",
            Self::Fragment => "fragment",
            Self::Userinfo => "userinfo",
            Self::Scheme => "scheme",
            Self::NoncanonicalIp => "noncanonical_ip",
            Self::Hostname => "hostname",
            Self::Port => "port",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link_local",
            Self::Metadata => "metadata",
            Self::Reserved => "reserved",
            Self::Multicast => "multicast",
            Self::EmbeddedV4 => "embedded_v4",
            Self::Dns => "dns",
            Self::OwnAddress => "self",
        }
    }
}

impl fmt::Display for BlockReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for BlockReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A URL that is not delivered to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlRefusal {
    pub reason: BlockReason,
    /// What is wrong and the remedy, in a sentence fit for the endpoint's
    /// owner: it names no address that the owner did not write.
    pub detail: String,
}

impl fmt::Display for UrlRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for UrlRefusal {}

fn refusal(reason: BlockReason, detail: impl Into<String>) -> UrlRefusal {
    let detail = detail.into();
    UrlRefusal { reason, detail }
}

/// Last labels of names that mean something only inside a network.
/// Sources: RFC 6761 (localhost), RFC 6762 (local), RFC 7686 (onion),
/// RFC 8375 (home.arpa), the ICANN decision on .internal, and custom.
const LOCAL_SUFFIXES: [&str; 8] = [
    "localhost",
    "local",
    "internal",
    "localdomain",
    "home.arpa",
    "lan",
    "svc",
    "onion",
];

fn check_name(url: &EndpointUrl) -> Result<(), UrlRefusal> {
    let Host::Domain(name) = url.host() else {
        return Ok(());
    };
    let bare = without_trailing_dot(name);
    let is_local = |suffix: &&str| {
        bare.strip_suffix(*suffix)
            .is_some_and(|front| front.is_empty() || front.ends_with('.'))
    };
    if bare.contains('.') && !LOCAL_SUFFIXES.iter().any(is_local) {
        return Ok(());
    }
    let detail = format!(
        "{name} is a name of a local network; use a public name, or let the operator open \
         the name's addresses with `--allow-destinations CIDR`."
    );
    Err(refusal(BlockReason::Hostname, detail))
}

/// Ports above 1023 that belong to databases, caches and control planes.
const SERVICE_PORTS: [u16; 13] = [
    2375, 2376, 2379, 3306, 5432, 5984, 6379, 6443, 8500, 9200, 10250, 11211, 27017,
];

fn check_port(url: &EndpointUrl) -> Result<(), UrlRefusal> {
    let port = url.port();
    if matches!(port, 80 | 443 | 1024..) && !SERVICE_PORTS.contains(&port) {
        return Ok(());
    }
    let detail = format!(
        "Port {port} is closed to deliveries; use another one, such as 443 or 8443, or let the \
         operator open the host's addresses with `--allow-destinations CIDR`."
    );
    Err(refusal(BlockReason::Port, detail))
}

/// Names no address: the name's owner may not be the network's.
fn name_refusal(reason: BlockReason, name: &str) -> UrlRefusal {
    let (reason, what) = match reason {
        BlockReason::OwnAddress => (reason, "this server itself"),
        _ => (BlockReason::Dns, "an address that is closed to deliveries"),
    };
    let detail = format!(
        "{name} leads to {what}; use another host, or let the operator open its addresses with \
         `--allow-destinations CIDR`."
    );
    refusal(reason, detail)
}

fn literal_refusal(reason: BlockReason, ip: IpAddr, reached: IpAddr) -> UrlRefusal {
    let what = match reason {
        BlockReason::Loopback => "a loopback address",
        BlockReason::Private => "a private address",
        BlockReason::LinkLocal => "a link-local address",
        BlockReason::Metadata => "a cloud metadata address",
        BlockReason::Multicast => "a multicast address",
        BlockReason::EmbeddedV4 => "an IPv4 address inside an IPv6 address",
        BlockReason::OwnAddress => "this server itself",
        _ => "a reserved address",
    };
    let open = IpNet::from(reached);
    let detail = format!(
        "{ip} is {what}, closed to deliveries; use a public address, or let the operator open it \
         with `--allow-destinations {open}`."
    );
    refusal(reason, detail)
}

fn first_distinct(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut distinct = Vec::with_capacity(addresses.len().min(ADDRESSES_MAX));
    for ip in addresses.iter().map(IpAddr::to_canonical) {
        if distinct.len() < ADDRESSES_MAX && !distinct.contains(&ip) {
            distinct.push(ip);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Columns are described at the head of the file.
    const URLS: &str = include_str!("../../tests/data/urls.tsv");

    fn ips(list: &str) -> Vec<IpAddr> {
        let texts = list.split(',').filter(|text| !text.is_empty());
        texts.map(|text| text.parse().expect(text)).collect()
    }

    fn policy(allow: &[&str]) -> DestinationPolicy {
        let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
        DestinationPolicy {
            allow,
            ..DestinationPolicy::default()
        }
    }

    fn judge(policy: &DestinationPolicy, raw: &str, answers: &str) -> Result<String, UrlRefusal> {
        let url = EndpointUrl::parse(raw)?;
        let dialled = policy.judge(&url, &ips(answers))?;
        let texts: Vec<String> = dialled.iter().map(ToString::to_string).collect();
        Ok(texts.join(","))
    }

    /// `want` is the refusal's reason, or the addresses to dial.
    #[track_caller]
    fn check(policy: &DestinationPolicy, raw: &str, answers: &str, want: &str) {
        let got = judge(policy, raw, answers).unwrap_or_else(|refusal| refusal.reason.to_string());
        assert_eq!(got, want, "{raw} with {answers:?} under {policy:?}");
    }

    fn unescape(text: &str) -> String {
        let mut plain = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let escape = if c == '\\' { chars.next() } else { None };
            plain.push(match escape {
                None => c,
                Some('\\') => '\\',
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('u') => {
                    let hex: String = chars.by_ref().take_while(|c| *c != '}').collect();
                    let code = u32::from_str_radix(hex.trim_start_matches('{'), 16).unwrap();
                    char::from_u32(code).unwrap()
                }
                Some(other) => panic!("no escape \\{other} in {text}"),
            });
        }
        plain
    }

    #[test]
    fn every_listed_url_gets_its_verdict() {
        let mut reasons = BTreeSet::new();
        let rows = URLS.lines().filter(|line| !line.starts_with('#'));
        for row in rows {
            let mut columns = row.split('\t');
            let input = unescape(columns.next().unwrap());
            let want = columns.next().unwrap();
            let answers = columns.next().unwrap_or_default();
            let got = match judge(&DestinationPolicy::default(), &input, answers) {
                Ok(_) => "ok",
                Err(refusal) => refusal.reason.as_str(),
            };
            assert_eq!(got, want, "{row}");
            reasons.insert(want);
        }
        assert!(reasons.len() >= 17, "only {reasons:?} are in the list");
    }

    #[test]
    fn allowed_addresses_are_open_with_their_names_and_ports() {
        let local = policy(&["127.0.0.0/8", "::1/128", "10.0.0.0/8"]);
        for (raw, answers, want) in [
            ("http://localhost:5000/", "127.0.0.1,::1", "127.0.0.1,::1"),
            ("http://localhost:6379/", "::1", "::1"),
            ("http://db:5432/", "10.0.0.7", "10.0.0.7"),
            ("http://127.0.0.1:22/", "", "127.0.0.1"),
            ("http://[::ffff:10.0.0.1]/", "", "10.0.0.1"),
            ("http://a.example/", "1.1.1.1,10.0.0.1", "1.1.1.1,10.0.0.1"),
            ("http://a.example/", "::ffff:10.0.0.1", "10.0.0.1"),
            // not every address is allowed, or none is known yet
            ("http://db/", "10.0.0.7,1.1.1.1", "hostname"),
            ("http://db/", "", "hostname"),
            ("http://a.example:22/", "1.1.1.1,10.0.0.1", "port"),
            ("http://a.example/", "10.0.0.1,192.168.0.1", "dns"),
            ("http://localhost:0/", "127.0.0.1", "port"),
            ("http://127.1/", "", "noncanonical_ip"),
            ("http://169.254.169.254/", "", "metadata"),
            ("http://[::ffff:192.168.0.1]/", "", "embedded_v4"),
            ("http://[::127.0.0.1]/", "", "embedded_v4"),
            ("http://[64:ff9b::10.0.0.1]/", "", "embedded_v4"),
        ] {
            check(&local, raw, answers, want);
        }
    }

    #[test]
    fn metadata_opens_only_by_its_own_address() {
        let wide = policy(&["0.0.0.0/0", "::/0"]);
        check(&wide, "http://10.0.0.1:22/", "", "10.0.0.1");
        for (raw, answers, want) in [
            ("http://169.254.169.254/", "", "metadata"),
            ("http://168.63.129.16/", "", "metadata"),
            ("http://[fd00:ec2::254]/", "", "metadata"),
            ("http://[64:ff9b::a9fe:a9fe]/", "", "embedded_v4"),
            ("http://[2002:a9fe:a9fe::1]/", "", "embedded_v4"),
            ("http://[::ffff:169.254.169.254]/", "", "embedded_v4"),
            ("http://a.example/", "10.0.0.1,169.254.169.254", "dns"),
        ] {
            check(&wide, raw, answers, want);
        }
        let exact = policy(&["169.254.169.254/32"]);
        let raw = "http://169.254.169.254/";
        check(&exact, raw, "", "169.254.169.254");
    }

    #[test]
    fn nat64_is_judged_by_the_address_behind_it_when_allowed() {
        let nat64 = DestinationPolicy {
            allow_nat64: true,
            ..policy(&["10.0.0.0/8"])
        };
        for (raw, answers, want) in [
            ("http://[64:ff9b::1.1.1.1]/", "", "64:ff9b::101:101"),
            ("http://a.example/", "64:ff9b::101:101", "64:ff9b::101:101"),
            ("http://db:5432/", "64:ff9b::a00:1", "64:ff9b::a00:1"),
            ("http://[64:ff9b::127.0.0.1]/", "", "embedded_v4"),
            ("http://a.example/", "64:ff9b::a9fe:a9fe", "dns"),
            ("http://[64:ff9b:1::1.1.1.1]/", "", "reserved"),
        ] {
            check(&nat64, raw, answers, want);
        }
    }

    #[test]
    fn our_own_listen_addresses_are_refused_unless_allowed() {
        let own = ["93.184.215.14:8071", "[::ffff:172.17.0.2]:8071"];
        let own = own.map(|text| text.parse().unwrap()).to_vec();
        let allow = policy(&["172.17.0.0/16"]).allow;
        let mut policy = DestinationPolicy {
            own,
            ..DestinationPolicy::default()
        };
        for (raw, answers, want) in [
            ("http://93.184.215.14:8071/", "", "self"),
            ("http://93.184.215.14/", "", "93.184.215.14"),
            ("http://172.17.0.2:8071/", "", "self"),
            ("http://172.17.0.2/", "", "private"),
            ("http://a.example:8071/", "1.1.1.1,93.184.215.14", "self"),
            ("http://a.example:8071/", "::ffff:93.184.215.14", "self"),
            ("http://a.example:8071/", "1.1.1.1", "1.1.1.1"),
        ] {
            check(&policy, raw, answers, want);
        }
        policy.allow = allow;
        check(&policy, "http://172.17.0.2:8071/", "", "172.17.0.2");
        let answers = "172.17.0.2,1.1.1.1";
        check(&policy, "http://a.example:8071/", answers, answers);
        // an allowed neighbour does not open the other own address
        let answers = "172.17.0.2,93.184.215.14";
        check(&policy, "http://a.example:8071/", answers, "self");
    }

    #[test]
    fn https_only_refuses_http_even_to_allowed_addresses() {
        let strict = DestinationPolicy {
            https_only: true,
            ..policy(&["127.0.0.0/8"])
        };
        check(&strict, "http://example.com/", "1.1.1.1", "scheme");
        check(&strict, "http://127.0.0.1/", "", "scheme");
        check(&strict, "https://127.0.0.1/", "", "127.0.0.1");
    }

    #[test]
    fn at_most_sixteen_distinct_addresses_are_dialled_but_all_are_judged() {
        let mut answers: Vec<IpAddr> = (0..40).map(|n| IpAddr::from([1, 1, 1, n / 2])).collect();
        let url = EndpointUrl::parse("https://many.example/").unwrap();
        let dialled = DestinationPolicy::default().judge(&url, &answers).unwrap();
        let want: Vec<IpAddr> = (0..16).map(|n| IpAddr::from([1, 1, 1, n])).collect();
        assert_eq!(dialled, want);
        answers.push(IpAddr::from([10, 0, 0, 1]));
        let refusal = DestinationPolicy::default().judge(&url, &answers);
        assert_eq!(refusal.unwrap_err().reason, BlockReason::Dns);
    }

    #[test]
    fn a_refusal_names_the_remedy_and_no_resolved_address() {
        for (raw, answers, part) in [
            ("http://10.0.0.1/", "", "`--allow-destinations 10.0.0.1/32`"),
            ("http://[fc00::1]/", "", "fc00::1/128"),
            ("http://[::ffff:10.0.0.1]/", "", "10.0.0.1/32"),
            (
                "http://a.example/",
                "10.9.8.7",
                "`--allow-destinations CIDR`",
            ),
            ("http://db/", "10.9.8.7", "`--allow-destinations CIDR`"),
            ("http://a.example:22/", "10.9.8.7", "Port 22"),
            ("http://127.1/", "", "spelling of 127.0.0.1"),
            ("ftp://a.example/", "", "`https://`"),
        ] {
            let refusal = judge(&DestinationPolicy::default(), raw, answers).unwrap_err();
            let detail = refusal.to_string();
            assert!(detail.contains(part), "{raw}: {detail}");
            assert!(!detail.contains("10.9.8.7"), "{raw}: {detail}");
        }
    }
}
