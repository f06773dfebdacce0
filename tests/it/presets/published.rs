//! What providers publish for those who verify, on a server with TLS for all
//! of their names.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::sender::Served;

/// Of this test alone: the port has to be the usual one, as it stands in the
/// certificate URLs of providers.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 82, 4, 43));
const PORT: u16 = 443;

/// An authority of this test.
pub(super) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(super) certificate: CertificateDer<'static>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            certificate: certificate.der().clone(),
            params,
            key,
        }
    }

    fn acceptor(&self, names: Vec<String>) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(names).expect("names of hosts");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.into())
            .expect("a key that fits");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A request that was made: method, URL, body.
pub(super) type Fetched = (String, String, Bytes);

/// The server.
pub(super) struct Published {
    pub(super) hosts: BTreeSet<String>,
    fetched: Arc<Mutex<Vec<Fetched>>>,
}

impl Published {
    /// # Errors
    /// The port may be only for root.
    pub(super) async fn start(
        authority: &Authority,
        pages: BTreeMap<String, Served>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((ADDRESS, PORT)).await?;
        let hosts: BTreeSet<String> = pages.keys().map(|url| host_of(url)).collect();
        let acceptor = authority.acceptor(hosts.iter().cloned().collect());
        let fetched = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve(
            listener,
            acceptor,
            Arc::new(pages),
            Arc::clone(&fetched),
        ));
        Ok(Self { hosts, fetched })
    }

    pub(super) fn address() -> IpAddr {
        ADDRESS
    }

    pub(super) fn fetched(&self) -> Vec<Fetched> {
        let all = self.fetched.lock();
        all.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn host_of(url: &str) -> String {
    let url = Url::parse(url).expect("a URL");
    url.host_str().expect("with a host").to_owned()
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    pages: Arc<BTreeMap<String, Served>>,
    fetched: Arc<Mutex<Vec<Fetched>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, pages, fetched) =
            (acceptor.clone(), Arc::clone(&pages), Arc::clone(&fetched));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let answer = service_fn(|request| {
                let (pages, fetched) = (Arc::clone(&pages), Arc::clone(&fetched));
                async move { Ok::<_, Infallible>(answer(request, &pages, &fetched).await) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    pages: &BTreeMap<String, Served>,
    fetched: &Mutex<Vec<Fetched>>,
) -> Response<Full<Bytes>> {
    let host = request.headers().get("host").map(HeaderValue::as_bytes);
    let host = String::from_utf8_lossy(host.unwrap_or_default()).into_owned();
    let url = format!("https://{host}{}", request.uri());
    let method = request.method().to_string();
    let body = request.into_body().collect().await;
    let body = body.map(Collected::to_bytes).unwrap_or_default();
    let mut all = fetched.lock().unwrap_or_else(PoisonError::into_inner);
    all.push((method, url.clone(), body));
    let Some(page) = pages.get(&url) else {
        let mut none = Response::new(Full::default());
        *none.status_mut() = StatusCode::NOT_FOUND;
        return none;
    };
    let answer = Response::builder().header(CONTENT_TYPE, &page.content_type);
    let body = Full::new(Bytes::from(page.body.clone()));
    answer.body(body).expect("a header value")
}
