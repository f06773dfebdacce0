//! What one client, and all of them together, may take.

use std::time::Duration;

/// Limits of the server loop. The defaults are right for a server on the open internet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// For a request's head: from accepting the connection for the first request, from the first
    /// byte of the head for later ones. Then the connection is closed.
    pub header_time: Duration,
    /// How long a kept-alive connection may wait between requests.
    pub idle_time: Duration,
    /// How long a response may wait for a client that does not read.
    pub write_idle: Duration,
    /// The longest wait for a request body's next byte, once a handler asks for it.
    pub body_idle: Duration,
    /// From a request body's first wait to its end.
    pub body_total: Duration,
    /// A request body's lowest mean rate, judged once `body_rate_grace` is over.
    pub body_bytes_per_second_min: u32,
    /// How long a request body may be slower than the lowest rate.
    pub body_rate_grace: Duration,
    /// Request line and headers together; more is answered 431. Also bounds chunked trailers.
    pub header_bytes_max: usize,
    /// Header lines of a request; more is answered 431.
    pub headers_max: usize,
    /// Open connections. Beyond, new ones wait in the listener's backlog.
    pub connections_max: usize,
    /// Open connections from one IPv4 address or IPv6 /64; beyond, new ones are closed. `None`
    /// is no limit; loopback is never limited.
    pub connections_per_ip_max: Option<usize>,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_mins(1),
            write_idle: Duration::from_secs(30),
            body_idle: Duration::from_secs(15),
            body_total: Duration::from_secs(30),
            body_bytes_per_second_min: 1024,
            body_rate_grace: Duration::from_secs(10),
            header_bytes_max: 32 * 1024,
            headers_max: 100,
            connections_max: 2048,
            connections_per_ip_max: Some(64),
        }
    }
}
