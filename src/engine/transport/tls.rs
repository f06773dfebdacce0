//! TLS towards endpoints, and why it failed, in words.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::TransportError;
use crate::domain::attempt::Outcome;

/// Time that a TLS handshake may take.
pub const TLS_HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Endpoints whose TLS sessions are kept to shorten the next handshake.
const TLS_SESSIONS_MAX: usize = 4096;

/// The TLS settings for all endpoints: TLS 1.2 and 1.3, the web's certificate
/// authorities and `extra_roots`, HTTP/1.1 only, no client certificate.
pub fn client_tls(
    extra_roots: &[CertificateDer<'static>],
) -> Result<Arc<ClientConfig>, TransportError> {
    let roots = RootCertStore {
        roots: trust_anchors(extra_roots)?.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TransportError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = rustls::client::Resumption::in_memory_sessions(TLS_SESSIONS_MAX);
    Ok(Arc::new(config))
}

/// Whom a certificate may come from: the web's certificate authorities, and
/// `extra_roots`.
///
/// # Errors
/// An extra root that is no certificate.
pub fn trust_anchors(
    extra_roots: &[CertificateDer<'static>],
) -> Result<Arc<[TrustAnchor<'static>]>, TransportError> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    for root in extra_roots {
        roots.add(root.clone()).map_err(TransportError::Root)?;
    }
    Ok(roots.roots.into())
}

/// Encrypts `stream` for `host`, or says why that failed.
pub async fn encrypt(
    connector: &TlsConnector,
    host: &Host<&str>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Outcome> {
    let name = server_name(host)?;
    match timeout(TLS_HANDSHAKE_LIMIT, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(handshake_failed(&error)),
        Err(_) => Err(Outcome::TimedOut {
            detail: "the TLS handshake took longer than 10 s".to_owned(),
        }),
    }
}

fn server_name(host: &Host<&str>) -> Result<ServerName<'static>, Outcome> {
    match host {
        Host::Domain(name) => {
            ServerName::try_from((*name).to_owned()).map_err(|_| Outcome::TlsFailed {
                detail: "no certificate can be valid for this host name".to_owned(),
            })
        }
        Host::Ipv4(ip) => Ok(ServerName::from(IpAddr::V4(*ip))),
        Host::Ipv6(ip) => Ok(ServerName::from(IpAddr::V6(*ip))),
    }
}

fn handshake_failed(error: &io::Error) -> Outcome {
    Outcome::TlsFailed {
        detail: why_handshake_failed(error),
    }
}

/// Why a TLS handshake failed, for whoever asked for it.
pub(crate) fn why_handshake_failed(error: &io::Error) -> String {
    tls_error(error).map_or_else(
        || "the server closed the connection during the TLS handshake".to_owned(),
        explain,
    )
}

/// The TLS error inside `error`, when it is one.
pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What went wrong with TLS, for the endpoint's owner.
pub(super) fn explain(error: &rustls::Error) -> String {
    use rustls::Error as E;
    let words = match error {
        E::InvalidCertificate(reason) => return explain_certificate(reason),
        E::AlertReceived(alert) => return explain_alert(*alert),
        E::PeerIncompatible(_) => {
            "the server offers no TLS version and cipher that we accept (TLS 1.2 or 1.3)"
        }
        E::NoCertificatesPresented => "the server sent no certificate",
        E::NoApplicationProtocol => "the server does not offer HTTP/1.1",
        E::InvalidMessage(_) => "the server's answer is not TLS",
        other => return format!("the TLS connection failed: {other}"),
    };
    words.to_owned()
}

fn explain_certificate(reason: &CertificateError) -> String {
    use CertificateError as C;
    let words = match reason {
        C::Expired | C::ExpiredContext { .. } => "the certificate has expired",
        C::NotValidYet | C::NotValidYetContext { .. } => "the certificate is not valid yet",
        C::UnknownIssuer => {
            "the certificate's issuer is unknown: it is self-signed, comes from a private authority, \
             or the server leaves out an intermediate certificate"
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            "the certificate is not valid for this host name"
        }
        C::Revoked => "the certificate has been revoked",
        C::BadSignature => "the certificate's signature is wrong",
        C::BadEncoding => "the certificate cannot be read",
        // The verifier's own error type is not ours to name; its text is stable.
        C::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "the certificate is self-signed: it belongs to an authority, not to a server"
        }
        other => return format!("the certificate was refused: {other}"),
    };
    words.to_owned()
}

fn explain_alert(alert: AlertDescription) -> String {
    use AlertDescription as A;
    let words = match alert {
        A::ProtocolVersion => "the server accepts no TLS version that we offer (1.2 and 1.3)",
        A::HandshakeFailure | A::InsufficientSecurity => {
            "the server accepts no cipher that we offer"
        }
        A::CertificateRequired => "the server asks for a client certificate",
        A::UnrecognisedName => "the server has no certificate for this host name",
        A::NoApplicationProtocol => "the server does not offer HTTP/1.1",
        other => return format!("the server ended TLS with the alert {other:?}"),
    };
    words.to_owned()
}
