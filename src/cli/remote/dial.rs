//! Connections to the server.
//!
//! The user named it: any address may be dialled, unlike those of endpoints.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Host;

use super::RemoteError;
use crate::cli::printable::plain;
use crate::domain::server_url::ServerUrl;
use crate::engine::transport::{
    Dialler as _, Resolver as _, SystemDialler, SystemResolver, client_tls, encrypt,
};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// A connection that bytes go through both ways.
pub(in crate::cli) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, encrypted or not.
pub(in crate::cli) type Wire = Box<dyn Duplex>;

/// Opens connections to one server.
pub(super) struct Dialler {
    server: ServerUrl,
    /// `None`: its URL is http.
    tls: Option<TlsConnector>,
    resolver: SystemResolver,
}

impl Dialler {
    pub(super) fn new(
        server: ServerUrl,
        roots: &[CertificateDer<'static>],
    ) -> Result<Self, RemoteError> {
        let tls = if server.is_https() {
            let tls = client_tls(roots).map_err(|error| RemoteError::Certificates(error.into()))?;
            Some(TlsConnector::from(tls))
        } else {
            None
        };
        Ok(Self {
            server,
            tls,
            resolver: SystemResolver::new(),
        })
    }

    pub(super) fn server(&self) -> &ServerUrl {
        &self.server
    }

    pub(super) async fn dial(&self) -> Result<Wire, RemoteError> {
        let stream = self.connect().await.map_err(|why| self.unreachable(&why))?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let encrypted = encrypt(tls, &self.server.host(), stream).await;
        let encrypted = encrypted.map_err(|outcome| {
            let why = outcome.detail().unwrap_or("TLS failed").to_owned();
            self.unreachable(&why)
        })?;
        Ok(Box::new(encrypted))
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let mut why = "the name has no address".to_owned();
        for address in self.addresses().await?.into_iter().take(ADDRESSES_MAX) {
            let address = SocketAddr::new(address, self.server.port());
            match SystemDialler.dial(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => why = words(&error),
            }
        }
        Err(why)
    }

    async fn addresses(&self) -> Result<Vec<IpAddr>, String> {
        match self.server.host() {
            Host::Ipv4(ip) => Ok(vec![ip.into()]),
            Host::Ipv6(ip) => Ok(vec![ip.into()]),
            Host::Domain(name) => self
                .resolver
                .resolve(name)
                .await
                .map_err(|_| "the host name could not be resolved".to_owned()),
        }
    }

    fn unreachable(&self, why: &str) -> RemoteError {
        RemoteError::Unreachable {
            server: self.server.to_string(),
            why: plain(why),
        }
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        io::ErrorKind::TimedOut => "it does not take connections".to_owned(),
        kind => kind.to_string(),
    }
}
