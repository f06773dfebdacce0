//! One connection to the server, from the dial to its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{AUTHORIZATION, CONNECTION, HOST, LOCATION, UPGRADE, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Pace;
use super::dial::{Reach, Ways, Wire, encrypt};
use super::forward::{Forwarder, Outbox, frame};
use super::lost::Lost;
use crate::domain::secret::Secret;
use crate::domain::server_url::ServerUrl;
use crate::relay::frame::{FromClient, FromServer, PATH, Reply, StartReply, StartRequest};
use crate::relay::pulse::{Felt, Pulse, while_growing};
use crate::seams::clock::SharedClock;
use crate::seams::entropy::Entropy;

/// Bytes of one frame of the server: its limit is not known before the first.
const FRAME_BYTES_MAX: usize = 96 * 1024 * 1024;
/// Bytes of the body of a refusal.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Replies that wait for the connection.
const OUTBOX_MAX: usize = 64;
/// Replies that are sent together, when they wait.
const REPLIES_IN_A_ROW: usize = 32;
/// How long the close of a connection may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<Felt<TokioIo<Upgraded>>>;

/// What is needed to connect, again and again.
pub(super) struct Server {
    pub(super) url: ServerUrl,
    pub(super) key: Option<Secret>,
    pub(super) ways: Ways,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) pace: Pace,
    pub(super) clock: SharedClock,
}

/// A connection on which the place was taken.
pub(super) struct Link {
    socket: Socket,
    pulse: Pulse,
    pub(super) start: StartReply,
}

/// How a connection ended.
pub(super) enum End {
    Stopped,
    Lost(Lost),
}

impl Server {
    /// Connects and takes the place, all within one limit.
    pub(super) async fn open(
        &self,
        start: StartRequest,
        entropy: &dyn Entropy,
    ) -> Result<Link, Lost> {
        let mut nonce = [0; 16];
        entropy.fill(&mut nonce);
        let opening = async {
            let upgraded = self.upgrade(&STANDARD.encode(nonce)).await?;
            let config = WebSocketConfig::default()
                .max_message_size(Some(FRAME_BYTES_MAX))
                .max_frame_size(Some(FRAME_BYTES_MAX));
            let pulse = Pulse::default();
            let io = pulse.of(TokioIo::new(upgraded));
            let mut socket = Socket::from_raw_socket(io, Role::Client, Some(config)).await;
            let start = begin(&mut socket, start).await?;
            Ok(Link {
                socket,
                pulse,
                start,
            })
        };
        let limit = self.pace.attempt_max;
        let opened = timeout(limit, opening).await;
        opened.unwrap_or(Err(Lost::Slow { limit }))
    }

    /// The websocket's handshake, by an HTTP client: a refusal has a body that
    /// says why.
    async fn upgrade(&self, nonce: &str) -> Result<Upgraded, Lost> {
        let wire = TokioIo::new(self.wire().await?);
        let (mut requests, connection) = hyper::client::conn::http1::handshake(wire)
            .await
            .map_err(|error| Lost::http(&error))?;
        // It ends with the socket, or with the refusal.
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
        let response = requests
            .send_request(self.handshake(nonce))
            .await
            .map_err(|error| Lost::http(&error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(response).await);
        }
        let accept = response.headers().get("sec-websocket-accept");
        let wanted = derive_accept_key(nonce.as_bytes());
        if accept.is_none_or(|value| value.as_bytes() != wanted.as_bytes()) {
            return Err(Lost::Protocol("it does not speak websocket".to_owned()));
        }
        let upgraded = hyper::upgrade::on(response).await;
        upgraded.map_err(|error| Lost::http(&error))
    }

    async fn wire(&self) -> Result<Wire, Lost> {
        let (host, port) = (self.url.host(), self.url.port());
        let stream = self.ways.dial(&host, port, Reach::Anywhere).await?;
        if self.url.is_https() {
            Ok(encrypt(&self.tls, &host, stream).await?)
        } else {
            Ok(stream.into())
        }
    }

    fn handshake(&self, nonce: &str) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        let path = self.url.at(PATH);
        *request.uri_mut() = Uri::try_from(path).expect("a URL's path is one");
        let headers = request.headers_mut();
        let host = HeaderValue::from_str(self.url.authority());
        headers.insert(HOST, host.expect("hosts are visible ASCII"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
        let agent = concat!("hookpost-listen/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let nonce = HeaderValue::from_str(nonce).expect("base64 is visible ASCII");
        headers.insert("sec-websocket-key", nonce);
        if let Some(key) = &self.key {
            let bearer = format!("Bearer {}", key.expose());
            let mut bearer = HeaderValue::from_str(&bearer).expect("checked when it was read");
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        request
    }

    /// Forwards what comes until the connection ends or `stop` completes.
    pub(super) async fn serve(
        &self,
        link: Link,
        forwarder: &Arc<Forwarder>,
        stop: Pin<&mut (impl Future<Output = ()> + ?Sized)>,
    ) -> End {
        let Link { socket, pulse, .. } = link;
        let (mut sink, mut stream) = socket.split();
        let (outbox, mut replies) = mpsc::channel(OUTBOX_MAX);
        let end = tokio::select! {
            () = stop => End::Stopped,
            lost = self.read(&mut stream, &pulse, forwarder, &outbox) => End::Lost(lost),
            lost = self.write(&mut sink, &pulse, &mut replies) => End::Lost(lost),
        };
        let leave = async {
            match end {
                End::Stopped => close(&mut sink, &mut stream).await,
                // If the server closes, this is the answer to that.
                End::Lost(_) => drop(sink.flush().await),
            }
        };
        let _ = timeout(CLOSE_LIMIT, leave).await;
        end
    }

    async fn read(
        &self,
        stream: &mut SplitStream<Socket>,
        pulse: &Pulse,
        forwarder: &Arc<Forwarder>,
        outbox: &Outbox,
    ) -> Lost {
        let limit = self.pace.silence_max;
        loop {
            let next = while_growing(&*self.clock, limit, || pulse.read(), stream.next());
            let Some(message) = next.await else {
                return Lost::Silent { limit };
            };
            match incoming(message) {
                // A frame of a kind that is not known yet is no reason to leave.
                Ok(Some(FromServer::Event(event))) => forwarder.take(event, outbox).await,
                Ok(Some(FromServer::Start(_)) | None) => {}
                Err(lost) => return lost,
            }
        }
    }

    /// Sends replies, and pings: the answer to a ping tells a quiet connection
    /// from a dead one. A server that takes nothing is gone too: nobody else
    /// would notice, for the reader may wait for room among the replies.
    async fn write(
        &self,
        sink: &mut SplitSink<Socket, Message>,
        pulse: &Pulse,
        replies: &mut mpsc::Receiver<Reply>,
    ) -> Lost {
        let limit = self.pace.silence_max;
        let mut next_ping = self.clock.sleep(self.pace.ping_every);
        loop {
            let message = tokio::select! {
                () = &mut next_ping => {
                    next_ping = self.clock.sleep(self.pace.ping_every);
                    Message::Ping(Bytes::new())
                }
                Some(reply) = replies.recv() => Message::text(frame(reply)),
            };
            let sending = send_with_others(sink, message, replies);
            match while_growing(&*self.clock, limit, || pulse.written(), sending).await {
                Some(Ok(())) => {}
                Some(Err(error)) => return Lost::websocket(&error),
                None => return Lost::Stuck { limit },
            }
        }
    }
}

/// Sends a message together with replies that wait behind it.
async fn send_with_others(
    sink: &mut SplitSink<Socket, Message>,
    message: Message,
    replies: &mut mpsc::Receiver<Reply>,
) -> Result<(), Error> {
    sink.feed(message).await?;
    for _ in 1..REPLIES_IN_A_ROW {
        let Ok(reply) = replies.try_recv() else { break };
        sink.feed(Message::text(frame(reply))).await?;
    }
    sink.flush().await
}

/// Says what this listener wants, and waits until the server agrees.
async fn begin(socket: &mut Socket, start: StartRequest) -> Result<StartReply, Lost> {
    let hello = FromClient::Start(start).to_json();
    let sent = socket.send(Message::text(hello)).await;
    sent.map_err(|error| Lost::websocket(&error))?;
    loop {
        if let Some(FromServer::Start(start)) = incoming(socket.next().await)? {
            return Ok(start);
        }
    }
}

type Received = Option<Result<Message, Error>>;

/// The frame in a message, if it is one.
fn incoming(message: Received) -> Result<Option<FromServer>, Lost> {
    let bytes = match message {
        Some(Ok(Message::Text(text))) => text.into(),
        Some(Ok(Message::Binary(bytes))) => bytes,
        Some(Ok(Message::Close(frame))) => return Err(Lost::closed(frame)),
        Some(Ok(_)) => return Ok(None),
        Some(Err(error)) => return Err(Lost::websocket(&error)),
        None => return Err(Lost::Ended),
    };
    Ok(FromServer::parse(&bytes).ok())
}

/// Says good-bye, and waits until the server has heard it.
async fn close(sink: &mut SplitSink<Socket, Message>, stream: &mut SplitStream<Socket>) {
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    if sink.send(Message::Close(Some(frame))).await.is_ok() {
        while let Some(Ok(_)) = stream.next().await {}
    }
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

async fn refused(response: Response<Incoming>) -> Lost {
    let status = response.status().as_u16();
    let location = response.headers().get(LOCATION);
    let location = location.and_then(|value| Some(value.to_str().ok()?.to_owned()));
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX);
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let problem = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body).ok());
    let detail = problem
        .map(|problem: Problem| problem.detail)
        .or_else(|| location.map(|location| format!("it leads to {location}")));
    Lost::Refused { status, detail }
}
