//! Servers that misbehave by script, and what a test needs to send to them.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hookpost::domain::address::{DestinationPolicy, EndpointUrl};
use hookpost::domain::attempt::Exchange;
use hookpost::engine::transport::{
    Dialler, HttpTransport, OutboundRequest, Resolver, SystemDialler, Transport as _, client_tls,
};
use http::HeaderMap;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// For what should happen at once; long enough for a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// The deadline of attempts that are meant to run into it.
pub(super) const SHORT: Duration = Duration::from_millis(300);
pub(super) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// One thing that a server does on a connection.
#[derive(Clone)]
pub(super) enum Step {
    /// Reads one request with its body.
    Read,
    Write(Vec<u8>),
    /// Writes the same bytes again and again until the client is gone.
    Flood(Vec<u8>),
    /// Writes one byte every 20 ms until the bytes are used up.
    Drip(Vec<u8>),
    /// Ends the connection; with a reset when `Abrupt` is in the script.
    Close,
    Abrupt,
}

/// A server on a local port that plays one script a connection, in order; the
/// last one serves all further connections. A script that is played to its end
/// leaves the connection open until the client closes it.
pub(super) struct Zoo {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
    closed: watch::Receiver<usize>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<Vec<u8>>>,
}

impl Zoo {
    pub(super) async fn open(scripts: Vec<Vec<Step>>) -> Self {
        Self::open_with(scripts, None).await
    }

    pub(super) async fn open_tls(scripts: Vec<Vec<Step>>, tls: TlsAcceptor) -> Self {
        Self::open_with(scripts, Some(tls)).await
    }

    async fn open_with(scripts: Vec<Vec<Step>>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (closed_tx, closed) = watch::channel(0);
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let n = shared.connections.fetch_add(1, Ordering::SeqCst);
                let script = scripts[n.min(scripts.len() - 1)].clone();
                let (tls, seen, closed) = (tls.clone(), Arc::clone(&shared), closed_tx.clone());
                tokio::spawn(async move {
                    let _broken_by_the_client = serve(stream, tls, &script, &seen).await;
                    closed.send_modify(|n| *n += 1);
                });
            }
        });
        Self {
            address,
            seen,
            closed,
        }
    }

    pub(super) fn url(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/in?x=1", self.address.port())
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<Vec<u8>> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Waits until `n` connections have ended.
    pub(super) async fn closed(&self, n: usize) {
        let mut closed = self.closed.clone();
        let ended = closed.wait_for(|ended| *ended >= n);
        timeout(SOON, ended)
            .await
            .expect("the connection was left open")
            .unwrap();
    }
}

async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    script: &[Step],
    seen: &Seen,
) -> io::Result<()> {
    if script.iter().any(|step| matches!(step, Step::Abrupt)) {
        stream.set_zero_linger()?;
    }
    match tls {
        None => play(stream, script, seen).await,
        Some(tls) => play(tls.accept(stream).await?, script, seen).await,
    }
}

async fn play(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &[Step],
    seen: &Seen,
) -> io::Result<()> {
    for step in script {
        match step {
            Step::Read => {
                let request = read_request(&mut stream).await?;
                seen.requests.lock().unwrap().push(request);
            }
            Step::Write(bytes) => stream.write_all(bytes).await?,
            Step::Flood(bytes) => loop {
                stream.write_all(bytes).await?;
            },
            Step::Drip(bytes) => {
                let mut beat = tokio::time::interval(Duration::from_millis(20));
                for byte in bytes {
                    beat.tick().await;
                    stream.write_all(&[*byte]).await?;
                }
            }
            Step::Close => return Ok(()),
            Step::Abrupt => {}
        }
        stream.flush().await?;
    }
    tokio::io::copy(&mut stream, &mut tokio::io::sink())
        .await
        .map(|_| ())
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if is_whole(&request) {
            return Ok(request);
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |n| n.parse().unwrap())
}

/// Answers from a list, the last one again and again; takes a millisecond.
pub(super) struct ScriptedResolver(Mutex<VecDeque<Vec<IpAddr>>>);

impl ScriptedResolver {
    /// One text of addresses, separated by spaces, for each lookup; an empty
    /// one is a name that does not exist.
    pub(super) fn new(answers: &[&str]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| {
            let addresses = answer.split_whitespace();
            addresses.map(|ip| ip.parse().unwrap()).collect()
        });
        Arc::new(Self(Mutex::new(answers.collect())))
    }
}

impl Resolver for ScriptedResolver {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async {
            let _ = timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
            let mut answers = self.0.lock().unwrap();
            let answer = if answers.len() > 1 {
                answers.pop_front().unwrap()
            } else {
                answers[0].clone()
            };
            if answer.is_empty() {
                return Err(io::Error::other("no such name"));
            }
            Ok(answer)
        })
    }
}

/// Dials as the system does, and counts.
#[derive(Default)]
pub(super) struct CountingDialler {
    dials: AtomicUsize,
    /// Where to dial instead of where it is told to.
    astray: Option<SocketAddr>,
}

impl CountingDialler {
    /// Dials `elsewhere`, wherever it is told to.
    pub(super) fn led_astray(elsewhere: SocketAddr) -> Self {
        Self {
            astray: Some(elsewhere),
            ..Self::default()
        }
    }

    pub(super) fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }
}

impl Dialler for CountingDialler {
    fn dial(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        SystemDialler.dial(self.astray.unwrap_or(addr))
    }
}

/// A transport, and what it is made of.
pub(super) struct Sender {
    pub(super) transport: HttpTransport,
    pub(super) dialler: Arc<CountingDialler>,
}

impl Sender {
    /// May dial the zoo's addresses; every name resolves to 127.0.0.1.
    pub(super) fn local() -> Self {
        Self::new("127.0.0.0/8", &["127.0.0.1"], &[])
    }

    /// `allow` may be empty; `answers` as for [`ScriptedResolver`].
    pub(super) fn new(allow: &str, answers: &[&str], roots: &[CertificateDer<'static>]) -> Self {
        Self::dialling(CountingDialler::default(), allow, answers, roots)
    }

    pub(super) fn dialling(
        dialler: CountingDialler,
        allow: &str,
        answers: &[&str],
        roots: &[CertificateDer<'static>],
    ) -> Self {
        let policy = DestinationPolicy {
            allow: allow
                .split_whitespace()
                .map(|n| n.parse().unwrap())
                .collect(),
            ..DestinationPolicy::default()
        };
        let dialler = Arc::new(dialler);
        let transport = HttpTransport::new(
            policy,
            ScriptedResolver::new(answers),
            Arc::clone(&dialler) as Arc<dyn Dialler>,
            client_tls(roots).unwrap(),
        );
        Self { transport, dialler }
    }

    pub(super) async fn send(&self, url: &str, timeout: Duration) -> Exchange {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "msg_1".parse().unwrap());
        let request = OutboundRequest {
            method: http::Method::POST,
            url: Arc::new(EndpointUrl::parse(url).unwrap()),
            headers,
            body: Bytes::from_static(b"{\"n\":1}"),
            timeout,
            keep_bytes: hookpost::domain::attempt::RESPONSE_BODY_KEPT_BYTES,
        };
        self.transport.send(request).await
    }

    pub(super) async fn send_to(&self, zoo: &Zoo) -> Exchange {
        self.send(&zoo.url("http", "127.0.0.1"), SOON).await
    }
}
