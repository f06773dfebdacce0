//! A listener written from the protocol of `svix listen` alone.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use hookpost::engine::transport::{Dialler as _, SystemDialler};
use http::{HeaderName, Request};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::support::app::{PATIENCE, TestApp};

/// How a client writes its replies: Go sends text, Rust binary frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    Text,
    Binary,
}

pub(super) struct Listener {
    pub(super) socket: WebSocketStream<TcpStream>,
    variant: Variant,
}

/// An event as it came.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
    /// All of `data`.
    pub(super) data: Value,
}

/// The handshake's request.
pub(super) fn handshake(app: &TestApp, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder()
        .uri(format!("ws://{}/api/v1/listen/", app.address))
        .header("host", app.address.to_string())
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key());
    let named = request.headers_mut().expect("it is well so far");
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a header name");
        named.insert(name, value.parse().expect("a header value"));
    }
    request.body(()).expect("a request")
}

impl Listener {
    /// A websocket, before any frame.
    pub(super) async fn connect(
        app: &TestApp,
        headers: &[(&str, &str)],
        variant: Variant,
    ) -> Result<Self, Error> {
        let stream = SystemDialler.dial(app.address).await.expect("it listens");
        let config = WebSocketConfig::default();
        let request = handshake(app, headers);
        let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
        Ok(Self { socket, variant })
    }

    /// Connects and starts, and expects the start frame first.
    pub(super) async fn start(app: &TestApp, key: Option<&str>, data: Value) -> (Self, Value) {
        let key = key.map(|key| format!("Bearer {key}"));
        let headers: Vec<_> = key.iter().map(|key| ("authorization", &**key)).collect();
        let connected = Self::connect(app, &headers, Variant::Text).await;
        let mut listener = connected.expect("a websocket");
        listener.say("start", &data).await;
        let started = listener.frame().await;
        assert_eq!(started["type"], "start", "{started}");
        assert_eq!(started["version"], 1, "{started}");
        (listener, started["data"].clone())
    }

    pub(super) async fn say(&mut self, kind: &str, data: &Value) {
        let frame = json!({"type": kind, "version": 1, "data": data});
        self.send(Message::text(frame.to_string())).await;
    }

    pub(super) async fn send(&mut self, message: Message) {
        // The server may have gone meanwhile: what it said is read afterwards.
        let _ = self.socket.send(message).await;
    }

    /// The next message that is no ping or pong.
    pub(super) async fn next(&mut self) -> Option<Message> {
        let next = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(message)) => return Some(message),
                    Some(Err(_)) | None => return None,
                }
            }
        };
        timeout(PATIENCE, next).await.expect("something comes")
    }

    /// The next message of any kind.
    pub(super) async fn any(&mut self) -> Message {
        let next = timeout(PATIENCE, self.socket.next()).await;
        next.expect("something comes")
            .expect("it is open")
            .expect("it is whole")
    }

    /// Reads a ping and answers it, and lets the server hear that.
    pub(super) async fn hear(&mut self, app: &TestApp) {
        let message = self.any().await;
        assert!(matches!(message, Message::Ping(_)), "{message:?}");
        let heard = || {
            let listeners = app.listeners();
            listeners.iter().map(|one| one.heard_times).sum::<u64>()
        };
        let before = heard();
        // The answer goes out with the next look at the socket.
        self.socket.flush().await.expect("it is open");
        app.until("it is heard", async || (heard() > before).then_some(()))
            .await;
    }

    /// The next frame.
    pub(super) async fn frame(&mut self) -> Value {
        let message = self.next().await.expect("a frame");
        assert!(message.is_text() || message.is_binary(), "{message:?}");
        serde_json::from_slice(&message.into_data()).expect("JSON")
    }

    pub(super) async fn event(&mut self) -> Event {
        let frame = self.frame().await;
        assert_eq!(frame["type"], "event", "{frame}");
        assert_eq!(frame["version"], 1, "{frame}");
        let data = frame["data"].clone();
        let text = |name: &str| data[name].as_str().expect("a text").to_owned();
        Event {
            id: text("id"),
            method: text("method"),
            headers: serde_json::from_value(data["headers"].clone()).expect("names and values"),
            body: STANDARD.decode(text("body")).expect("base64"),
            data,
        }
    }

    /// Answers an event.
    pub(super) async fn reply(&mut self, id: &str, status: u16, body: &[u8]) {
        let headers = json!({"content-type": "text/x-test"});
        let data = json!({
            "id": id, "status": status, "headers": headers, "body": STANDARD.encode(body),
        });
        self.reply_with(&data).await;
    }

    pub(super) async fn reply_with(&mut self, data: &Value) {
        let frame = json!({"type": "event", "version": 1, "data": data}).to_string();
        let message = match self.variant {
            Variant::Text => Message::text(frame),
            Variant::Binary => Message::binary(frame.into_bytes()),
        };
        self.send(message).await;
    }

    /// Code and reason of the close frame, once all before it is read.
    pub(super) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Some(Message::Close(Some(close))) => {
                    return (close.code.into(), close.reason.to_string());
                }
                Some(_) => {}
                None => return (0, String::new()),
            }
        }
    }
}
