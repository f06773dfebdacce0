//! How the text of each kind of setting becomes its value. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use ipnet::IpNet;
use url::Url;
use zeroize::Zeroizing;

use super::error::Rejected;
use crate::domain::duration;
use crate::domain::secret::Secret;
use crate::domain::user;

/// Networks in a list.
const NETWORKS_MAX: usize = 1000;
const API_KEY_CHARS_MIN: usize = 32;
const API_KEY_CHARS_MAX: usize = 512;
const MASTER_KEY_BYTES: usize = 32;

/// How much an acknowledged write costs, and how fast a start after a crash is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Safe,
    Fast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// The key that encrypts stored secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey(Zeroizing<[u8; MASTER_KEY_BYTES]>);

impl MasterKey {
    /// The key itself. Every call is a place to look at in a review.
    #[must_use]
    pub fn expose(&self) -> &[u8; MASTER_KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Scheme, host and port, without a slash at the end: `https://hooks.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of a server that listens on `bound`, for whoever is on the same machine.
    #[must_use]
    pub fn local(bound: SocketAddr) -> Self {
        let text = format!("http://{}", reachable(bound));
        // As one that is given: without port 80.
        let url = Url::parse(&text).expect("an address makes a URL");
        Self(url.origin().ascii_serialization())
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// "Every address" is where one listens, not where one connects to.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

pub(super) fn path(text: &str) -> Result<PathBuf, Rejected> {
    if text.is_empty() {
        return Err(Rejected::new("is empty", "write a path"));
    }
    Ok(PathBuf::from(text))
}

pub(super) fn listen(text: &str) -> Result<SocketAddr, Rejected> {
    text.parse().map_err(|_| {
        Rejected::new(
            "is not an IP address with a port",
            "write one such as 127.0.0.1:8071, or 0.0.0.0:8071 for every address",
        )
    })
}

pub(super) fn public_url(text: &str) -> Result<PublicUrl, Rejected> {
    let reject = |why: &str| {
        let remedy = "write scheme, host and port only, such as https://hooks.example.com";
        Err(Rejected::new(why, remedy))
    };
    // The parser forgives these, and what it makes of them may surprise.
    if text.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
        return reject("has a space, a control character or a backslash");
    }
    let Ok(url) = Url::parse(text) else {
        return reject("is not a URL");
    };
    let after_scheme = text.get(url.scheme().len()..).unwrap_or_default();
    let is_written_out = after_scheme.starts_with("://") && !after_scheme.starts_with(":///");
    if !matches!(url.scheme(), "http" | "https") || !is_written_out {
        return reject("does not begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return reject("has a user name or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return reject("has a query or fragment");
    }
    if url.path() != "/" {
        return reject("has a path");
    }
    if text.ends_with('/') {
        return reject("ends in a slash");
    }
    Ok(PublicUrl(url.origin().ascii_serialization()))
}

pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, Rejected> {
    let remedy = || {
        format!(
            "write up to {NETWORKS_MAX} addresses or networks with commas between, \
             such as 10.0.0.0/8,192.168.1.7, or none"
        )
    };
    let networks: Option<Vec<IpNet>> = list(text).map(network).collect();
    match networks {
        None => Err(Rejected::new("is not a list of networks", remedy())),
        Some(networks) if networks.len() > NETWORKS_MAX => {
            Err(Rejected::new("has too many networks", remedy()))
        }
        Some(networks) => Ok(networks),
    }
}

fn network(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(network) => Some(network.trunc()),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

pub(super) fn switch(text: &str) -> Result<bool, Rejected> {
    choice(
        text,
        &[("true", true), ("false", false), ("1", true), ("0", false)],
    )
}

pub(super) fn schedule(text: &str) -> Result<Vec<Duration>, Rejected> {
    duration::parse_schedule(list(text)).map_err(|error| {
        Rejected::new(
            format!("is not a retry schedule: {error}"),
            format!(
                "write up to {} durations of at most {} with commas between, such as 5s,5m,2h, or none",
                duration::SCHEDULE_STEPS_MAX,
                duration::format(duration::SCHEDULE_STEP_MAX),
            ),
        )
    })
}

pub(super) fn duration(text: &str, min: Duration, max: Duration) -> Result<Duration, Rejected> {
    let remedy = || {
        format!(
            "write a duration from {} to {}, such as 45s or 1h30m",
            duration::format(min),
            duration::format(max)
        )
    };
    let length = duration::parse(text)
        .map_err(|error| Rejected::new(format!("is not a duration: {error}"), remedy()))?;
    match length {
        _ if length < min => Err(Rejected::new("is too short", remedy())),
        _ if length > max => Err(Rejected::new("is too long", remedy())),
        _ => Ok(length),
    }
}

pub(super) fn count(text: &str, min: usize, max: usize) -> Result<usize, Rejected> {
    match text.parse() {
        Ok(count) if (min..=max).contains(&count) => Ok(count),
        _ => Err(Rejected::new(
            "is not a number in range",
            format!("write a whole number from {min} to {max}"),
        )),
    }
}

pub(super) fn durability(text: &str) -> Result<Durability, Rejected> {
    choice(
        text,
        &[("safe", Durability::Safe), ("fast", Durability::Fast)],
    )
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, Rejected> {
    choice(
        text,
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
    )
}

pub(super) fn log_level(text: &str) -> Result<tracing::Level, Rejected> {
    choice(
        text,
        &[
            ("error", tracing::Level::ERROR),
            ("warn", tracing::Level::WARN),
            ("info", tracing::Level::INFO),
            ("debug", tracing::Level::DEBUG),
            ("trace", tracing::Level::TRACE),
        ],
    )
}

pub(super) fn email(text: &str) -> Result<String, Rejected> {
    user::email(text).map_err(|why| Rejected::new(why, "give one such as ada@example.com"))
}

pub(super) fn admin_password(text: &str) -> Result<Secret, Rejected> {
    user::check_password(text, "").map_err(|why| {
        Rejected::new(&why, "give one such as the output of: openssl rand -hex 16")
    })?;
    Ok(Secret::new(text))
}

pub(super) fn api_key(text: &str) -> Result<Secret, Rejected> {
    let reject = |why: &str| {
        let remedy = format!(
            "give {API_KEY_CHARS_MIN} to {API_KEY_CHARS_MAX} printable ASCII characters, \
             such as the output of: openssl rand -hex 32"
        );
        Err(Rejected::new(why, remedy))
    };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return reject("has a space, a control character or a character outside ASCII");
    }
    match text.len() {
        ..API_KEY_CHARS_MIN => reject("is too short"),
        API_KEY_CHARS_MIN..=API_KEY_CHARS_MAX => Ok(Secret::new(text)),
        _ => reject("is too long"),
    }
}

pub(super) fn master_key(text: &str) -> Result<MasterKey, Rejected> {
    let mut key = Zeroizing::new([0; MASTER_KEY_BYTES]);
    match STANDARD_PAD_INDIFFERENT.decode(text).map(Zeroizing::new) {
        Ok(bytes) if bytes.len() == MASTER_KEY_BYTES => {
            key.copy_from_slice(&bytes);
            Ok(MasterKey(key))
        }
        _ => Err(Rejected::new(
            format!("is not {MASTER_KEY_BYTES} bytes in base64"),
            "make one with: openssl rand -base64 32",
        )),
    }
}

/// The parts of a list; `none` and `[]` are the empty one.
pub(crate) fn list(text: &str) -> impl Iterator<Item = &str> {
    let is_empty = matches!(text, "none" | "[]");
    text.split(',').map(str::trim).filter(move |_| !is_empty)
}

fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, Rejected> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    Err(Rejected::new(
        "is not one of the choices",
        format!("write one of {}", names.join(", ")),
    ))
}
