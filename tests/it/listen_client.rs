//! `hookpost listen`, between a server that says what a test tells it to and a
//! program that is a [`Sink`].

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are tests too, which clippy cannot see"
)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{SinkExt as _, StreamExt as _};
use hookpost::domain::secret::Secret;
use hookpost::domain::server_url::ServerUrl;
use hookpost::engine::transport::{Resolver, SystemDialler};
use hookpost::relay::client::dial::Ways;
use hookpost::relay::client::filter::{Filter, Pattern};
use hookpost::relay::client::forward::Forwarder;
use hookpost::relay::client::local::parse_header;
use hookpost::relay::client::lost::Ended;
use hookpost::relay::client::notice::{Answered, Away, Listening, NOTICES_MAX, Notice, Outcome};
use hookpost::relay::client::target::Target;
use hookpost::relay::client::{Client, Pace, Seams, Settings};
use hookpost::relay::frame::{
    CLOSED_BY_OPERATOR, Event, FromClient, FromServer, IN_USE, INVALID_TOKEN, KEY_ENDED,
    KEY_NEEDED, PATH, Reply, StartReply, StartRequest, decode_body, decode_headers, encode_body,
    encode_headers,
};
use hookpost::seams::clock::SystemClock;
use hookpost::seams::entropy::SystemEntropy;
use http::HeaderMap;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::support::app::PATIENCE;
use crate::support::sink::{self, Sink};

const TOKEN: &str = "c_0123456789012345678901";

#[track_caller]
fn within<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let ended = timeout(PATIENCE, future).await;
        ended.unwrap_or_else(|_| panic!("{caller}: waited too long: {what}"))
    }
}

/// A server that takes listeners one by one.
struct Server {
    address: SocketAddr,
    listener: TcpListener,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, listener }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn connection(&self) -> TcpStream {
        within("a connection", self.listener.accept())
            .await
            .unwrap()
            .0
    }

    /// The next listener that connects, before it has been answered.
    async fn asked(&self) -> Listener {
        let stream = self.connection().await;
        let mut seen = None;
        #[expect(clippy::result_large_err, reason = "the library's own signature")]
        let look = |request: &server::Request, response: server::Response| {
            seen = Some((request.uri().to_string(), request.headers().clone()));
            Ok(response)
        };
        let handshake = tokio_tungstenite::accept_hdr_async(stream, look);
        let socket = within("a handshake", handshake).await.unwrap();
        let (path, headers) = seen.unwrap();
        let mut listener = Listener {
            socket,
            start: StartRequest::default(),
            path,
            headers,
        };
        match listener.heard().await {
            FromClient::Start(start) => listener.start = start,
            FromClient::Reply(reply) => panic!("{reply:?} before a start"),
        }
        listener
    }

    /// The next listener that connects, with its place.
    async fn accept(&self) -> Listener {
        self.accept_with(StartReply::default()).await
    }

    async fn accept_with(&self, reply: StartReply) -> Listener {
        let mut listener = self.asked().await;
        let token = listener.start.token.clone();
        listener
            .say(FromServer::Start(StartReply { token, ..reply }))
            .await;
        listener
    }

    /// Answers the next one over plain HTTP.
    async fn refuse(&self, status: &str, body: &str) {
        let mut stream = self.connection().await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// A listener, as the server sees it.
struct Listener {
    socket: WebSocketStream<TcpStream>,
    start: StartRequest,
    path: String,
    headers: HeaderMap,
}

impl Listener {
    async fn say(&mut self, frame: FromServer) {
        let message = Message::text(frame.to_json());
        self.socket.send(message).await.unwrap();
    }

    async fn event(&mut self, event: Event) {
        self.say(FromServer::Event(event)).await;
    }

    async fn heard(&mut self) -> FromClient {
        loop {
            let message = within("a frame", self.socket.next()).await;
            match message.unwrap().unwrap() {
                Message::Text(text) => return FromClient::parse(text.as_bytes()).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} is no frame"),
            }
        }
    }

    async fn reply(&mut self) -> Reply {
        match self.heard().await {
            FromClient::Reply(reply) => reply,
            FromClient::Start(start) => panic!("{start:?} once more"),
        }
    }

    async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.socket.send(Message::Close(Some(frame))).await.unwrap();
        // Until the other end has read it: a socket that is dropped with
        // unread data resets the connection, which takes the frame with it.
        while let Some(Ok(_)) = within("the close", self.socket.next()).await {}
    }
}

fn event(id: &str, body: &[u8]) -> Event {
    Event {
        id: id.to_owned(),
        method: "POST".to_owned(),
        body: encode_body(body),
        ..Event::default()
    }
}

/// The names of these tests, and no others.
struct Names;

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let addresses = match host {
            "here.test" => Ok(vec!["::1", "127.0.0.1"]),
            "elsewhere.test" => Ok(vec!["192.0.2.1"]),
            "both.test" => Ok(vec!["127.0.0.1", "192.0.2.1"]),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let parsed = addresses.map(|all| all.iter().map(|one| one.parse().unwrap()).collect());
        Box::pin(async { parsed })
    }
}

/// A listener, as whoever runs it sees it.
struct Running {
    forwarder: Arc<Forwarder>,
    notices: mpsc::Receiver<Notice>,
    ended: JoinHandle<Result<(), Ended>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Running {
    fn start(server: &str, target: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            server: ServerUrl::parse(server).unwrap(),
            roots: Vec::new(),
            token: TOKEN.to_owned(),
            share: false,
            key: None,
            target: Target::parse(target).unwrap(),
            filter: Filter::default(),
            headers: Vec::new(),
            max_connections: 10,
            pace: Pace::default(),
        };
        change(&mut settings);
        let seams = Seams {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            ways: Ways {
                resolver: Arc::new(Names),
                dialler: Arc::new(SystemDialler),
            },
        };
        let (notice, notices) = mpsc::channel(NOTICES_MAX);
        let (stop, stopped) = oneshot::channel::<()>();
        let client = Client::new(settings, seams, "a test".to_owned(), notice).unwrap();
        let forwarder = client.forwarder();
        let stopped = async move { drop(stopped.await) };
        Self {
            forwarder,
            notices,
            ended: tokio::spawn(client.run(stopped)),
            stop: Some(stop),
        }
    }

    /// The first notice that `wanted` takes; those before it are gone.
    async fn until<T>(&mut self, wanted: impl Fn(Notice) -> Option<T>) -> T {
        loop {
            let notice = within("a notice", self.notices.recv()).await.unwrap();
            if let Some(found) = wanted(notice) {
                return found;
            }
        }
    }

    async fn answered(&mut self) -> Answered {
        self.until(|notice| match notice {
            Notice::Answered(answered) => Some(answered),
            _ => None,
        })
        .await
    }

    async fn away(&mut self) -> Away {
        self.until(|notice| match notice {
            Notice::Away(away) => Some(away),
            _ => None,
        })
        .await
    }

    async fn listening(&mut self) -> Listening {
        self.until(|notice| match notice {
            Notice::Listening(listening) => Some(listening),
            _ => None,
        })
        .await
    }

    async fn ended(self) -> Result<(), Ended> {
        within("the end", self.ended).await.unwrap()
    }

    async fn stop(mut self) {
        self.stop.take();
        self.ended().await.unwrap();
    }
}

/// An address of loopback at which nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn the_server_is_asked_for_the_same_place_each_time() {
    let server = Server::start().await;
    let url = format!("{}/below", server.url());
    let running = Running::start(&url, "5000", |settings| {
        settings.key = Some(Secret::new("hp_key"));
        settings.share = true;
    });
    let first = server.accept().await;
    assert_eq!(first.path, format!("/below{PATH}"));
    assert_eq!(first.headers["authorization"], "Bearer hp_key");
    assert_eq!(first.headers["host"], server.address.to_string());
    assert_eq!(first.start.token, TOKEN);
    assert_eq!(first.start.client.as_deref(), Some("a test"));
    assert_eq!(first.start.max_connections, Some(10));
    assert!(first.start.share);
    assert_eq!(first.start.session.as_ref().unwrap().len(), 32);
    let start = first.start.clone();
    first.close(1001, "restarting").await;
    assert_eq!(server.accept().await.start, start);
    running.stop().await;
}

#[tokio::test]
async fn what_the_server_says_of_itself_is_told_first() {
    let server = Server::start().await;
    let mut running = Running::start(&server.url(), "5000", |_| {});
    let said = StartReply {
        url: Some("https://h.example/in/c_1/".to_owned()),
        view: Some("https://h.example/view".to_owned()),
        waiting: Some(3),
        ..StartReply::default()
    };
    let listener = server.accept_with(said).await;
    let told = running.listening().await;
    assert_eq!(told.url, "https://h.example/in/c_1/");
    assert_eq!(told.view.as_deref(), Some("https://h.example/view"));
    assert_eq!(told.waiting, 3);
    drop(listener);
    running.stop().await;

    let mut running = Running::start(&server.url(), "5000", |_| {});
    let listener = server.accept().await;
    let told = running.listening().await;
    assert_eq!(told.url, format!("{}/in/{TOKEN}/", server.url()));
    drop(listener);
    running.stop().await;
}

#[tokio::test]
async fn a_request_and_its_answer_come_through_to_the_byte() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let answer = sink::Reply::status(418)
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .body(every_byte.clone());
    let sink = Sink::start([answer]).await;
    let server = Server::start().await;
    let running = Running::start(&server.url(), &sink.url(), |settings| {
        let headers = ["x-set: mine", "x-set: twice", "x-new: 1"];
        settings.headers = headers.map(|text| parse_header(text).unwrap()).to_vec();
    });
    let mut listener = server.accept().await;
    let headers: Vec<(String, Vec<u8>)> = [
        ("Content-Type", "text/plain"),
        ("x-twice", "1"),
        ("x-twice", "2"),
        ("x-set", "theirs"),
        ("x-forwarded-for", "192.0.2.1"),
        ("accept-encoding", "br"),
        ("host", "h.example"),
        ("content-length", "9"),
        ("transfer-encoding", "chunked"),
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
    .into_iter()
    .chain([("x-bytes".to_owned(), b"\xe4\xff".to_vec())])
    .collect();
    let (one, all) = encode_headers(&headers);
    listener
        .event(Event {
            method: "PATCH".to_owned(),
            headers: one,
            header_list: Some(all),
            path: Some("/a%2Fb//c?x=%20&x=2".to_owned()),
            ..event("rcv_1", &every_byte)
        })
        .await;
    let reply = listener.reply().await;
    let seen = &sink.requests()[0];
    assert_eq!(seen.method, "PATCH");
    assert_eq!(seen.path, "/hook/a%2Fb//c?x=%20&x=2");
    assert_eq!(seen.body, every_byte);
    let mut got: Vec<(String, Vec<u8>)> = seen
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    got.sort();
    let host = sink.address.to_string();
    let want: Vec<(String, Vec<u8>)> = [
        ("accept-encoding", &b"br"[..]),
        ("content-length", b"256"),
        ("content-type", b"text/plain"),
        ("host", host.as_bytes()),
        ("x-bytes", b"\xe4\xff"),
        ("x-forwarded-for", b"192.0.2.1"),
        ("x-new", b"1"),
        ("x-set", b"mine"),
        ("x-set", b"twice"),
        ("x-twice", b"1"),
        ("x-twice", b"2"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_vec()))
    .to_vec();
    assert_eq!(got, want);

    assert_eq!((reply.id.as_str(), reply.status), ("rcv_1", 418));
    assert_eq!(reply.error, None);
    assert_eq!(decode_body(&reply.body).unwrap(), every_byte);
    let headers = decode_headers(reply.headers, reply.header_list);
    let cookies: Vec<&[u8]> = headers
        .iter()
        .filter(|(name, _)| name == "set-cookie")
        .map(|(_, value)| &value[..])
        .collect();
    assert_eq!(cookies, [b"a=1", b"b=2"]);
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["connection", "x-hop", "content-length"] {
        assert!(!names.contains(&name), "{name}: {names:?}");
    }
    drop(listener);
    running.stop().await;
}

#[tokio::test]
async fn every_method_comes_through_and_no_redirect_is_followed() {
    let sink = Sink::start([]).await;
    let server = Server::start().await;
    let running = Running::start(&server.url(), &sink.url(), |_| {});
    let mut listener = server.accept().await;
    for (method, status, location) in [
        ("GET", 200, ""),
        ("HEAD", 204, ""),
        ("OPTIONS", 200, ""),
        ("DELETE", 404, ""),
        ("PURGE", 500, ""),
        ("POST", 302, "http://example.com/"),
    ] {
        let answer = sink::Reply::status(status).header("location", location);
        sink.then(answer);
        sink.clear();
        listener
            .event(Event {
                method: method.to_owned(),
                headers: [("x-one".to_owned(), "1".to_owned())].into(),
                ..event(&format!("rcv_{method}"), b"")
            })
            .await;
        let reply = listener.reply().await;
        assert_eq!((reply.status, reply.error), (status, None), "{method}");
        assert_eq!(reply.headers["location"], location, "{method}");
        let seen = &sink.requests()[..];
        assert_eq!(seen.len(), 1, "{method}");
        assert_eq!(
            (seen[0].method.as_str(), seen[0].path.as_str()),
            (method, "/hook")
        );
        assert_eq!(seen[0].header("x-one"), "1", "{method}");
        assert_eq!(seen[0].header("transfer-encoding"), "", "{method}");
        assert!(seen[0].body.is_empty());
    }
    drop(listener);
    running.stop().await;
}

#[tokio::test]
async fn a_program_that_does_not_answer_is_a_502_with_the_reason() {
    let server = Server::start().await;
    let nobody = nobody().await;
    let closes = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closes_at = closes.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = closes.accept().await.unwrap();
            let _ = stream.read_u8().await;
        }
    });
    let babbles = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let babbles_at = babbles.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = babbles.accept().await.unwrap();
            let _ = stream.write_all(b"220 mail ready\r\n\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let silent = sink::silent_url();
    let large = Sink::start([sink::Reply::status(200).body(vec![b'x'; 101])]).await;
    let heavy = Sink::start([sink::Reply::status(200).header("x", &"x".repeat(200_000))]).await;
    for (target, below, want) in [
        (
            format!("http://{nobody}/"),
            "",
            format!("connection refused at {nobody}"),
        ),
        (format!("http://{closes_at}/"), "", format!("{closes_at}")),
        (
            format!("http://{babbles_at}/"),
            "",
            format!("{babbles_at} does not answer in HTTP"),
        ),
        (silent, "", "within 0.3 s".to_owned()),
        (large.url(), "", "larger than 100 bytes".to_owned()),
        (heavy.url(), "", "head of the answer".to_owned()),
        (large.url(), "/../admin", "leads out".to_owned()),
        (
            "http://nowhere.test/".to_owned(),
            "",
            "nowhere.test has no address".to_owned(),
        ),
    ] {
        let mut running = Running::start(&server.url(), &target, |settings| {
            if want.contains("within") {
                settings.pace.local_max = Duration::from_millis(300);
            }
        });
        let said = StartReply {
            body_bytes_max: Some(100),
            ..StartReply::default()
        };
        let mut listener = server.accept_with(said).await;
        listener
            .event(Event {
                path: Some(below.to_owned()),
                ..event("rcv_1", b"a")
            })
            .await;
        let reply = listener.reply().await;
        assert_eq!(reply.status, 502, "{target}");
        let error = reply.error.unwrap();
        assert!(error.contains(&want), "{target}: {error}");
        assert_eq!(decode_body(&reply.body).unwrap(), error.as_bytes());
        let answered = running.answered().await;
        assert_eq!(answered.outcome, Outcome::Failed(error));
        drop(listener);
        running.stop().await;
    }
}

#[tokio::test]
async fn no_name_leads_to_another_machine() {
    let server = Server::start().await;
    for target in [
        "http://192.0.2.1:9/",
        "http://[2001:db8::1]:9/",
        "http://0.0.0.0:9/",
        "http://elsewhere.test:9/",
        "http://both.test:9/",
    ] {
        let running = Running::start(&server.url(), target, |_| {});
        let mut listener = server.accept().await;
        listener.event(event("rcv_1", b"a")).await;
        let error = listener.reply().await.error.unwrap();
        assert!(error.contains("--allow-external"), "{target}: {error}");
        drop(listener);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_name_of_this_machine_is_tried_at_each_of_its_addresses() {
    let sink = Sink::start([]).await;
    let target = format!("http://here.test:{}/", sink.address.port());
    let server = Server::start().await;
    let running = Running::start(&server.url(), &target, |_| {});
    let mut listener = server.accept().await;
    listener.event(event("rcv_1", b"a")).await;
    assert_eq!(listener.reply().await.status, 200);
    let host = format!("here.test:{}", sink.address.port());
    assert_eq!(sink.requests()[0].header("host"), host);
    drop(listener);
    running.stop().await;
}

/// A program with a certificate that it made itself. It answers each request
/// with 200, and closes.
async fn program_with_own_certificate() -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["here.test".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read_u8().await;
                let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    address
}

#[tokio::test]
async fn a_certificate_of_the_programs_own_is_taken_only_when_told_so() {
    let port = program_with_own_certificate().await.port();
    let target = format!("https://here.test:{port}/");
    let server = Server::start().await;
    for (insecure, status) in [(false, 502), (true, 200)] {
        let running = Running::start(&server.url(), &target, |settings| {
            settings.target.insecure = insecure;
        });
        let mut listener = server.accept().await;
        listener.event(event("rcv_1", b"a")).await;
        let reply = listener.reply().await;
        assert_eq!(reply.status, status, "{reply:?}");
        if let Some(error) = reply.error {
            assert!(error.contains("--insecure"), "{error}");
        }
        drop(listener);
        running.stop().await;
    }
}

#[tokio::test]
async fn the_servers_certificate_is_always_verified() {
    let address = program_with_own_certificate().await;
    let server = format!("https://127.0.0.1:{}", address.port());
    let mut running = Running::start(&server, "5000", |settings| {
        settings.target.insecure = true;
    });
    let reason = running.away().await.reason;
    assert!(reason.contains("no TLS connection"), "{reason}");
    assert!(!reason.contains("--insecure"), "{reason}");
    running.stop().await;
}

#[tokio::test]
async fn only_wanted_types_reach_the_program() {
    let sink = Sink::start([]).await;
    let server = Server::start().await;
    let mut running = Running::start(&server.url(), &sink.url(), |settings| {
        settings.filter = Filter(vec![Pattern::parse("invoice.*").unwrap()]);
    });
    let mut listener = server.accept().await;
    for (id, body, forwarded) in [
        ("rcv_1", r#"{"type":"user.created"}"#, false),
        ("rcv_2", r#"{"type":"invoice.paid"}"#, true),
        ("rcv_3", "no type", false),
    ] {
        sink.clear();
        listener.event(event(id, body.as_bytes())).await;
        let reply = listener.reply().await;
        assert_eq!((reply.status, reply.error), (200, None), "{id}");
        let body = decode_body(&reply.body).unwrap();
        assert_eq!(sink.count(), usize::from(forwarded), "{id}");
        assert_eq!(body.is_empty(), forwarded, "{id}: {body:?}");
        let outcome = running.answered().await.outcome;
        assert_eq!(outcome == Outcome::Filtered, !forwarded, "{id}");
    }
    drop(listener);
    running.stop().await;
}

#[tokio::test]
async fn an_event_that_comes_again_is_answered_without_the_program() {
    let answers = [
        sink::Reply::status(201).body("first"),
        sink::Reply::status(202).held(),
    ];
    let sink = Sink::start(answers).await;
    let server = Server::start().await;
    let mut running = Running::start(&server.url(), &sink.url(), |_| {});
    let mut first = server.accept().await;
    first.event(event("rcv_1", b"a")).await;
    let reply = first.reply().await;
    assert_eq!(reply.status, 201);
    // The second is being answered when the connection is cut.
    first.event(event("rcv_2", b"b")).await;
    sink.wait_for(2).await;
    drop(first);

    let mut second = server.accept().await;
    second.event(event("rcv_1", b"a")).await;
    assert_eq!(second.reply().await, reply, "remembered");
    second.event(event("rcv_2", b"b")).await;
    // What is asked later is answered later: the event before it was taken in.
    second.event(event("rcv_1", b"a")).await;
    assert_eq!(second.reply().await, reply);
    sink.release(1);
    let late = second.reply().await;
    assert_eq!((late.id.as_str(), late.status), ("rcv_2", 202));
    second.event(event("rcv_2", b"b")).await;
    assert_eq!(second.reply().await, late, "one reply, remembered");
    assert_eq!(sink.count(), 2, "each event reached the program once");
    let repeated = |notice| match notice {
        Notice::Repeated { id } => Some(id),
        _ => None,
    };
    assert_eq!(running.until(repeated).await, "rcv_1");
    drop(second);
    running.stop().await;
}

#[tokio::test]
async fn a_reply_that_found_no_connection_is_sent_when_the_event_comes_again() {
    let sink = Sink::start([sink::Reply::status(201).held()]).await;
    let server = Server::start().await;
    let mut running = Running::start(&server.url(), &sink.url(), |_| {});
    let mut first = server.accept().await;
    first.event(event("rcv_1", b"a")).await;
    sink.wait_for(1).await;
    drop(first);
    running.away().await;
    sink.release(1);
    running.answered().await;
    let mut second = server.accept().await;
    second.event(event("rcv_1", b"a")).await;
    assert_eq!(second.reply().await.status, 201);
    assert_eq!(sink.count(), 1);
    drop(second);
    running.stop().await;
}

#[tokio::test]
async fn a_silent_server_is_left() {
    let server = Server::start().await;
    let mut running = Running::start(&server.url(), "5000", |settings| {
        settings.pace.silence_max = Duration::from_millis(200);
        settings.pace.ping_every = Duration::from_mins(10);
    });
    let silent = server.accept().await;
    let away = running.away().await;
    assert_eq!(away.reason, "nothing was heard of the server for 0.2 s");
    assert!(away.lost);
    let second = server.accept().await;
    running
        .until(|notice| matches!(notice, Notice::Back).then_some(()))
        .await;
    drop(silent);
    drop(second);
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_takes_nothing_is_left() {
    let program = Sink::start([]).await;
    program.always(sink::Reply::status(200).body(vec![b'x'; 1024 * 1024]));
    let server = Server::start().await;
    let mut running = Running::start(&server.url(), &program.url(), |settings| {
        settings.pace.silence_max = Duration::from_millis(400);
        settings.pace.ping_every = Duration::from_mins(10);
    });
    // It speaks, and never reads: events that come again, so that their answers
    // fill what is between the two.
    let (mut speaking, _reading) = server.accept().await.socket.split();
    let speak = async {
        for number in 0_u64.. {
            let event = FromServer::Event(event(&(number % 10).to_string(), b""));
            let sent = speaking.send(Message::text(event.to_json())).await;
            if sent.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let away = tokio::select! {
        () = speak => unreachable!("it never ends"),
        away = running.away() => away,
    };
    assert_eq!(away.reason, "the server took nothing for 0.4 s");
    running.stop().await;
}

#[tokio::test]
async fn a_quiet_server_that_answers_pings_is_not_left() {
    let server = Server::start().await;
    let mut running = Running::start(&server.url(), "5000", |settings| {
        settings.pace.silence_max = Duration::from_secs(1);
        settings.pace.ping_every = Duration::from_millis(25);
    });
    let mut listener = server.accept().await;
    let mut pings = 0;
    while pings < 60 {
        let message = within("a ping", listener.socket.next()).await;
        pings += u32::from(message.unwrap().unwrap().is_ping());
    }
    // And it answers those of the server.
    let ping = Message::Ping("here?".into());
    listener.socket.send(ping).await.unwrap();
    loop {
        let message = within("a pong", listener.socket.next()).await;
        if let Message::Pong(bytes) = message.unwrap().unwrap() {
            assert_eq!(bytes, "here?");
            break;
        }
    }
    running.listening().await;
    assert!(running.notices.try_recv().is_err(), "it never went away");
    drop(listener);
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let address = nobody().await;
    let mut running = Running::start(&format!("http://{address}"), "5000", |_| {});
    let away = running.away().await;
    assert_eq!(away.reason, format!("connection refused at {address}"));
    assert!(!away.lost);
    let listener = TcpListener::bind(address).await.unwrap();
    let server = Server { address, listener };
    server
        .refuse("503 Busy", r#"{"detail":"Too many listeners."}"#)
        .await;
    let busy = "the server answered 503: Too many listeners";
    while running.away().await.reason != busy {}
    server.refuse("200 OK", "hello").await;
    while running.away().await.reason != "the server answered 200" {}
    let listener = server.accept().await;
    running.listening().await;
    drop(listener);
    running.stop().await;
}

#[tokio::test]
async fn a_try_to_connect_has_an_end() {
    let server = Server::start().await;
    let mut running = Running::start(&server.url(), "5000", |settings| {
        settings.pace.attempt_max = Duration::from_millis(100);
    });
    let _never_answered = server.connection().await;
    assert_eq!(
        running.away().await.reason,
        "the server took longer than 0.1 s"
    );
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_cured_ends_the_listener() {
    let server = Server::start().await;
    for (status, want) in [
        (
            "401 Unauthorized",
            "does not take this API key: Not this one;",
        ),
        ("403 Forbidden", "does not permit this: Not this one;"),
        ("404 Not Found", "has nothing to listen to: Not this one;"),
    ] {
        let running = Running::start(&server.url(), "5000", |_| {});
        let body = r#"{"type":"about:blank","detail":"Not this one."}"#;
        server.refuse(status, body).await;
        let told = running.ended().await.unwrap_err().to_string();
        assert!(told.contains(want), "{status}: {told}");
    }
    for (reason, want) in [
        (INVALID_TOKEN, Ended::InvalidToken),
        (CLOSED_BY_OPERATOR, Ended::ClosedByOperator),
        (KEY_ENDED, Ended::KeyEnded),
        (KEY_NEEDED, Ended::KeyNeeded),
        (IN_USE, Ended::InUse),
    ] {
        let running = Running::start(&server.url(), "5000", |_| {});
        server.asked().await.close(1008, reason).await;
        assert_eq!(running.ended().await, Err(want));
    }
}

#[tokio::test]
async fn a_place_that_was_lost_is_tried_for_again() {
    let server = Server::start().await;
    let mut running = Running::start(&server.url(), "5000", |_| {});
    server.accept().await.close(1001, "").await;
    assert_eq!(running.away().await.reason, "the server closed it");
    server.asked().await.close(1008, IN_USE).await;
    let listener = server.accept().await;
    running
        .until(|notice| matches!(notice, Notice::Back).then_some(()))
        .await;
    drop(listener);
    running.stop().await;
}

#[tokio::test]
async fn a_listener_says_good_bye() {
    let server = Server::start().await;
    let mut running = Running::start(&server.url(), "5000", |_| {});
    let mut listener = server.accept().await;
    running.listening().await;
    let stopping = tokio::spawn(running.stop());
    let message = within("a close", listener.socket.next()).await;
    let Message::Close(Some(frame)) = message.unwrap().unwrap() else {
        panic!("no close");
    };
    assert_eq!(u16::from(frame.code), 1000);
    drop(listener);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_replay_by_hand_answers_nobody() {
    let answers = [sink::Reply::status(500), sink::Reply::status(200)];
    let sink = Sink::start(answers).await;
    let server = Server::start().await;
    let mut running = Running::start(&server.url(), &sink.url(), |_| {});
    let mut listener = server.accept().await;
    listener.event(event("rcv_1", b"abc")).await;
    assert_eq!(listener.reply().await.status, 500);
    let first = running.answered().await;
    running.forwarder.replay(&first.head, "abc".into()).await;
    let again = running.answered().await;
    assert_eq!(again.outcome.status(), 200);
    assert_eq!(again.head.replay_of, Some(first.head.number));
    assert_eq!(sink.requests()[1].body, "abc");
    // The next thing that the server hears is about another event.
    listener.event(event("rcv_2", b"")).await;
    assert_eq!(listener.reply().await.id, "rcv_2");
    drop(listener);
    running.stop().await;
}

#[tokio::test]
async fn no_more_requests_than_wished_reach_the_program_at_once() {
    let sink = Sink::start([]).await;
    sink.always(sink::Reply::status(200).held());
    let server = Server::start().await;
    let running = Running::start(&server.url(), &sink.url(), |settings| {
        settings.max_connections = 2;
    });
    let mut listener = server.accept().await;
    for number in 0..5 {
        listener.event(event(&format!("rcv_{number}"), b"")).await;
    }
    sink.wait_for(2).await;
    for done in 1..=5 {
        assert!(sink.count() <= done + 1, "{} at {done}", sink.count());
        sink.release(1);
        listener.reply().await;
    }
    assert_eq!(sink.count(), 5);
    running.stop().await;
}

#[cfg(unix)]
mod program {
    //! The program itself, run as a developer runs it.

    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, ChildStdout, Command, Output, Stdio};

    use serde_json::Value;

    use super::*;
    use crate::support::server_process::executable;

    fn command(arguments: &[&str]) -> Command {
        let mut command = Command::new(executable());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HOOKPOST_") {
                command.env_remove(name);
            }
        }
        command.arg("listen").args(arguments).stdin(Stdio::null());
        command
    }

    async fn run(arguments: &[&str]) -> Output {
        let mut command = command(arguments);
        let ran = tokio::task::spawn_blocking(move || command.output());
        within("the program's end", ran).await.unwrap().unwrap()
    }

    /// A program that does not outlive its test.
    struct Program {
        child: Child,
        out: Option<BufReader<ChildStdout>>,
    }

    impl Program {
        fn start(mut command: Command) -> Self {
            let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let out = child.stdout.take().map(BufReader::new);
            Self { child, out }
        }

        async fn line(&mut self) -> String {
            let mut out = self.out.take().unwrap();
            let read = tokio::task::spawn_blocking(move || {
                let mut line = String::new();
                out.read_line(&mut line).unwrap();
                (out, line)
            });
            let (out, line) = within("a line", read).await.unwrap();
            self.out = Some(out);
            line.trim_end().to_owned()
        }

        async fn json(&mut self) -> Value {
            let line = self.line().await;
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
        }

        fn end(&mut self, signal: &str) -> i32 {
            let (option, id) = (format!("-{signal}"), self.child.id().to_string());
            let sent = Command::new("kill").args([option, id]).status();
            assert!(sent.unwrap().success());
            let look = || self.child.try_wait().unwrap();
            let status = crate::support::patience::wait_for(PATIENCE, look).expect("it ends");
            status.code().expect("it ends by itself")
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn json_is_an_object_a_line() {
        let sink = Sink::start([sink::Reply::status(201).body("yes")]).await;
        let server = Server::start().await;
        let mut command = command(&[&sink.url(), "--output", "json", "--token", TOKEN]);
        command.env("HOOKPOST_SERVER", server.url());
        command.env("HOOKPOST_API_KEY", "hp_key");
        let mut program = Program::start(command);
        let mut listener = server.accept().await;
        assert_eq!(listener.headers["authorization"], "Bearer hp_key");
        assert_eq!(listener.start.token, TOKEN);
        assert_eq!(listener.start.max_connections, Some(50));
        let words = listener.start.client.clone().unwrap();
        assert!(words.contains(&sink.url()), "{words}");
        let told = &program.json().await["listening"];
        assert_eq!(told["url"], format!("{}/in/{TOKEN}/", server.url()));
        assert_eq!(told["target"], sink.url());
        listener
            .event(Event {
                path: Some("/a?b".to_owned()),
                ..event("rcv_1", br#"{"type":"a.b"}"#)
            })
            .await;
        assert_eq!(listener.reply().await.status, 201);
        let told = &program.json().await["event"];
        for (field, want) in [
            ("id", Value::from("rcv_1")),
            ("method", "POST".into()),
            ("path", "/hook/a?b".into()),
            ("type", "a.b".into()),
            ("outcome", "answered".into()),
            ("status", 201.into()),
            ("requestBytes", 14.into()),
            ("responseBytes", 3.into()),
            ("error", Value::Null),
        ] {
            assert_eq!(told[field], want, "{field}");
        }
        listener.close(1012, "back soon").await;
        let told = &program.json().await["connection"];
        assert_eq!(told["state"], "away");
        assert_eq!(told["reason"], "the server closed it: back soon");
        let listener = server.accept().await;
        let told = &program.json().await["connection"];
        assert_eq!(told["state"], "connected");
        // Its good-bye waits for an answer; there is none any more.
        drop(listener);
        assert_eq!(program.end("TERM"), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn lines_say_where_events_go_and_what_became_of_them() {
        let server = Server::start().await;
        let nobody = nobody().await;
        let target = nobody.port().to_string();
        let mut program = Program::start(command(&[&target, "--server", &server.url()]));
        let mut listener = server.accept().await;
        let token = &listener.start.token;
        assert!(token.starts_with("c_") && token.len() == 24, "{token}");
        let url = format!("{}/in/{token}/", server.url());
        assert_eq!(program.line().await, format!("{url}  ->  http://{nobody}/"));
        listener
            .event(Event {
                path: Some("/a".to_owned()),
                ..event("rcv_1", b"{\"type\":\"a\\u001b[2Jb\"}")
            })
            .await;
        let line = program.line().await;
        let (time, rest) = line.split_once("  ").unwrap();
        assert!(time.len() == 8 && time.split(':').count() == 3, "{line}");
        assert!(rest.starts_with("POST   /a  a\\u{1b}[2Jb  502  "), "{line}");
        let reason = format!("  connection refused at {nobody}");
        assert!(rest.ends_with(&reason), "{line}");
        drop(listener);
        assert_eq!(program.end("INT"), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_place_that_is_taken_is_an_error_with_its_remedy() {
        let server = Server::start().await;
        let url = server.url();
        let ran = tokio::spawn(async move { run(&["5000", "--server", &url]).await });
        server.asked().await.close(1008, IN_USE).await;
        let ran = ran.await.unwrap();
        let err = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{err}");
        assert!(err.contains("--token") && err.contains("--share"), "{err}");
        assert!(ran.stdout.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_may_not_be_reached_is_refused_before_anything_is_tried() {
        for (arguments, want) in [
            (&["http://192.0.2.1:5000/"][..], "--allow-external"),
            (&["http://[::ffff:192.0.2.1]:5000/"], "--allow-external"),
            (&["http://no-such-host.invalid/"], "TARGET"),
            (&["not a target"], "TARGET"),
            (&["5000", "--server", "hooks.example"], "--server"),
            (&["5000", "--filter", ""], "--filter"),
            (&["5000", "--header", "nonsense"], "--header"),
            (&["5000", "--max-connections", "501"], "--max-connections"),
        ] {
            let ran = run(arguments).await;
            let err = String::from_utf8_lossy(&ran.stderr);
            assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {err}");
            assert!(err.contains(want), "{arguments:?}: {err}");
        }
    }
}
