//! Connections: to the server, and to the local program.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Host;

use super::target::all_loopback;
use crate::engine::transport::{Dialler, Resolver, why_handshake_failed};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// The ways out of this process: the system's, or a test's.
#[derive(Clone)]
pub struct Ways {
    pub resolver: Arc<dyn Resolver>,
    pub dialler: Arc<dyn Dialler>,
}

/// Which addresses may be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of this machine alone.
    Loopback,
    Anywhere,
}

/// Why there is no connection, in words that name where it should have gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    #[error("{0} has no address")]
    NoAddress(String),
    #[error("{0} is not on this machine; --allow-external permits that")]
    External(String),
    #[error("{reason} at {place}")]
    Unreachable { place: String, reason: &'static str },
    #[error("no TLS connection to {place}: {reason}")]
    Tls { place: String, reason: String },
}

impl Ways {
    /// The addresses of `host`, all of them judged.
    pub async fn judged(&self, host: &Host<&str>, reach: Reach) -> Result<Vec<IpAddr>, DialError> {
        let addresses = match host {
            Host::Ipv4(ip) => vec![IpAddr::V4(*ip)],
            Host::Ipv6(ip) => vec![IpAddr::V6(*ip)],
            Host::Domain(name) => {
                let resolved = self.resolver.resolve(name).await;
                resolved.map_err(|_| DialError::NoAddress(host.to_string()))?
            }
        };
        if addresses.is_empty() {
            return Err(DialError::NoAddress(host.to_string()));
        }
        if reach == Reach::Loopback && !all_loopback(&addresses) {
            return Err(DialError::External(host.to_string()));
        }
        Ok(addresses)
    }

    /// A connection to `host`. The addresses that are dialled are those that
    /// were judged: what the name says a moment later does not matter.
    pub async fn dial(
        &self,
        host: &Host<&str>,
        port: u16,
        reach: Reach,
    ) -> Result<TcpStream, DialError> {
        let mut reason = "no connection";
        for address in self.judged(host, reach).await?.iter().take(ADDRESSES_MAX) {
            match self.dialler.dial(SocketAddr::new(*address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => reason = why(&error),
            }
        }
        Err(DialError::Unreachable {
            place: format!("{host}:{port}"),
            reason,
        })
    }
}

fn why(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::TimedOut => "no answer to a connection in 5 s",
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::PermissionDenied => "connection not permitted",
        io::ErrorKind::AddrNotAvailable => "no free port for a connection",
        _ => "no connection",
    }
}

/// Encrypts `stream` for `host`.
pub async fn encrypt(
    tls: &Arc<ClientConfig>,
    host: &Host<&str>,
    stream: TcpStream,
) -> Result<Wire, DialError> {
    let failed = |reason: String| DialError::Tls {
        place: host.to_string(),
        reason,
    };
    let name = match host {
        Host::Domain(name) => ServerName::try_from((*name).to_owned())
            .map_err(|_| failed("no certificate can be valid for this name".to_owned()))?,
        Host::Ipv4(ip) => ServerName::from(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => ServerName::from(IpAddr::V6(*ip)),
    };
    let connector = TlsConnector::from(Arc::clone(tls));
    let encrypted = connector.connect(name, stream).await;
    let encrypted = encrypted.map_err(|error| failed(why_handshake_failed(&error)))?;
    Ok(Wire(Box::new(encrypted)))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, encrypted or not.
pub struct Wire(Box<dyn Stream>);

impl From<TcpStream> for Wire {
    fn from(stream: TcpStream) -> Self {
        Self(Box::new(stream))
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}
