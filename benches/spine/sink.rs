//! The receiving end: answers every webhook with 200 and keeps when each arrived.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::{Buf as _, BytesMut};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::wire::{self, now_ns};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// Room for any request of this program, head and body.
const READ_BYTES: usize = 8 * 1024;
/// Arrivals kept with their time; later ones are only counted. 16 bytes each.
const ARRIVALS_MAX: usize = 4_000_000;
const POLL: Duration = Duration::from_millis(2);

/// One webhook received.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) id: u64,
    pub(crate) at_ns: u64,
}

#[derive(Default)]
struct Shared {
    arrivals: Mutex<Vec<Arrival>>,
    count: AtomicU64,
    connections: AtomicU64,
    handshakes: AtomicU64,
    fault: Mutex<Option<String>>,
}

/// A running sink; dropping it ends its thread.
pub(crate) struct Sink {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    stop: Arc<tokio::sync::Notify>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sink {
    /// A plain sink that answers at once.
    pub(crate) fn plain() -> anyhow::Result<Self> {
        Self::start(Duration::ZERO, None)
    }

    /// A plain sink that answers `delay` after a webhook arrived.
    pub(crate) fn slow(delay: Duration) -> anyhow::Result<Self> {
        Self::start(delay, None)
    }

    /// A TLS sink. The certificate of the authority it is signed by is written to `ca_file`.
    pub(crate) fn tls(ca_file: &Path) -> anyhow::Result<Self> {
        Self::start(Duration::ZERO, Some(acceptor(ca_file)?))
    }

    fn start(delay: Duration, tls: Option<TlsAcceptor>) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared::default());
        let stop = Arc::new(tokio::sync::Notify::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::spawn({
            let (shared, stop) = (shared.clone(), stop.clone());
            move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, tls, delay, &shared) => {}
                        () = stop.notified() => {}
                    }
                });
            }
        });
        Ok(Self {
            address,
            scheme,
            shared,
            stop,
            thread: Some(thread),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address to give an endpoint; `name` tells the endpoints of one sink apart.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("{}://{}/hooks/{name}", self.scheme, self.address)
    }

    /// Webhooks received since the start or the last `reset`.
    pub(crate) fn count(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// TLS handshakes since the start.
    pub(crate) fn handshakes(&self) -> u64 {
        self.shared.handshakes.load(Ordering::Relaxed)
    }

    /// Connections since the start.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Forgets all arrivals.
    pub(crate) fn reset(&self) {
        lock(&self.shared.arrivals).clear();
        self.shared.count.store(0, Ordering::Relaxed);
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        lock(&self.shared.arrivals).clone()
    }

    /// Waits until `count` webhooks have arrived. Fails after `wait_max`, with what is missing.
    pub(crate) fn wait_for(&self, count: u64, wait_max: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        while self.count() < count {
            if start.elapsed() > wait_max {
                let fault = lock(&self.shared.fault).clone().unwrap_or_default();
                bail!(
                    "{} of {count} deliveries arrived within {wait_max:?} {fault}",
                    self.count()
                );
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            // A sink that panicked has already printed why.
            drop(thread.join());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("no code that holds this lock can panic")
}

async fn accept(
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
    delay: Duration,
    shared: &Arc<Shared>,
) {
    let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: the ones in use come back.
            tokio::time::sleep(POLL).await;
            continue;
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(connection(stream, tls.clone(), delay, shared.clone()));
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    delay: Duration,
    shared: Arc<Shared>,
) {
    // Without this the answer could wait for the peer's delayed acknowledgement.
    drop(stream.set_nodelay(true));
    let result = match tls {
        None => serve(stream, delay, &shared).await,
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => {
                shared.handshakes.fetch_add(1, Ordering::Relaxed);
                serve(stream, delay, &shared).await
            }
            Err(error) => Err(error).context("TLS handshake"),
        },
    };
    if let Err(error) = result {
        lock(&shared.fault).get_or_insert(format!("(the sink's first fault: {error:#})"));
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    delay: Duration,
    shared: &Shared,
) -> anyhow::Result<()> {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        let frame = loop {
            if let Some(frame) = wire::frame(&buffer)? {
                break frame;
            }
            buffer.reserve(READ_BYTES);
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let id = wire::header(&buffer[..frame.head_bytes], "webhook-id").map_or(0, wire::id_number);
        note(shared, id);
        buffer.advance(frame.total_bytes());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        stream.write_all(ANSWER).await?;
        // A TLS stream keeps what is not flushed.
        stream.flush().await?;
    }
}

fn note(shared: &Shared, id: u64) {
    let mut arrivals = lock(&shared.arrivals);
    if arrivals.len() < ARRIVALS_MAX {
        arrivals.push(Arrival {
            id,
            at_ns: now_ns(),
        });
    }
    drop(arrivals);
    shared.count.fetch_add(1, Ordering::Relaxed);
}

/// Makes an authority and a certificate for 127.0.0.1; the private keys stay in this process.
fn acceptor(ca_file: &Path) -> anyhow::Result<TlsAcceptor> {
    let mut ca_params = rcgen::CertificateParams::default();
    ca_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // Of its own name: a certificate whose issuer is called like itself passes for self-signed.
    ca_params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Hookpost bench authority");
    ca_params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let ca = rcgen::CertifiedIssuer::self_signed(ca_params, rcgen::KeyPair::generate()?)?;
    std::fs::File::create(ca_file)?.write_all(ca.pem().as_bytes())?;

    let key = rcgen::KeyPair::generate()?;
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)?.signed_by(&key, &ca)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
