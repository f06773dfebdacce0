//! One listener's connection, from its first frame to its last.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use super::super::frame::{
    self, CLOSED_BY_OPERATOR, Event, FrameError, FromClient, FromServer, IN_USE, INVALID_TOKEN,
    KEY_ENDED, KEY_NEEDED, Reply, StartReply, StartRequest,
};
use super::super::pulse::{Felt, Pulse, while_growing};
use crate::domain::header;
use crate::domain::ids::ReceivedKey;
use crate::domain::inbox::{Inbox, Received};
use crate::domain::relay::{IN_FLIGHT, IN_FLIGHT_MAX};
use crate::domain::time::Timestamp;
use crate::engine::relay::{Answer, Ending, ListenError, Listening, Who};
use crate::http::auth;
use crate::http::server::{Stream, Taken};
use crate::http::state::AppState;
use crate::store::{KnownApiKey, Refusal, Taking, WriteError};

/// For the first frame.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Between two pings, and two looks at whether the connection may go on.
const PING_EVERY: Duration = Duration::from_secs(5);
/// A listener that was not heard of for so long is away. Other clients handle
/// one event after the other and are not heard of meanwhile.
const SILENCE_MAX: Duration = Duration::from_secs(15);
const SILENCE_OF_OTHERS_MAX: Duration = Duration::from_mins(1);
/// How long a listener may take nothing of what is sent.
const SEND_LIMIT: Duration = Duration::from_secs(20);
/// After so long a listener has to come again.
const AGE_MAX: Duration = Duration::from_hours(24);
/// Between two notes that somebody still listens.
const NOTE_EVERY: Duration = Duration::from_mins(10);
/// How long the other end may take to say goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
/// Events that are sent between two looks at anything else.
const EVENTS_IN_A_ROW: usize = 32;
/// Pings and pongs that a listener may send between two looks.
const PINGS_MAX: u32 = 50;
/// Replies to what a listener was not asked, or not any more, between two looks.
const STRAYS_MAX: u32 = 200;
/// Headers of a reply, and their bytes.
const REPLY_HEADERS_MAX: usize = 200;
const REPLY_HEADERS_BYTES_MAX: usize = 64 * 1024;
/// Characters of why there is no answer: every list of requests reads them.
const ERROR_CHARS_MAX: usize = 1_000;
/// Characters of what a client says of itself, and of its secret.
const CLIENT_CHARS_MAX: usize = 200;
const SESSION_CHARS_MAX: usize = 200;
/// Bytes that the socket reads at once, and holds before it writes.
const BUFFER_BYTES: usize = 32 * 1024;

type Socket = WebSocketStream<Felt<Pin<Box<dyn Stream>>>>;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The other end has gone.
    Gone,
    /// What it is told.
    With(CloseCode, &'static str),
}

const STOPS: End = End::With(CloseCode::Restart, "The server stops; come again");

/// It did what no client does.
const fn refused(why: &'static str) -> End {
    End::With(CloseCode::Policy, why)
}

/// A listener that has connected.
pub(super) struct Session {
    state: AppState,
    peer: Option<IpAddr>,
    key: Option<Arc<KnownApiKey>>,
}

impl Session {
    pub(super) fn new(
        state: AppState,
        peer: Option<IpAddr>,
        key: Option<Arc<KnownApiKey>>,
    ) -> Self {
        Self { state, peer, key }
    }

    /// Speaks with the listener until either end goes.
    pub(super) async fn run(self, taken: Taken) {
        let bytes_max = frame::frame_bytes_max(self.state.limits.payload_bytes_max);
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES)
            .max_write_buffer_size(2 * bytes_max + BUFFER_BYTES)
            .max_message_size(Some(bytes_max))
            .max_frame_size(Some(bytes_max));
        let read = taken.read.to_vec();
        let pulse = Pulse::default();
        let stream = pulse.of(taken.stream);
        let mut socket =
            WebSocketStream::from_partially_read(stream, read, Role::Server, Some(config)).await;
        let end = match self.start(&mut socket, pulse).await {
            Ok(place) => self.speak(&mut socket, &place).await,
            Err(end) => end,
        };
        self.goodbye(socket, end).await;
    }

    /// From the first frame to a place at an inbox.
    async fn start(&self, socket: &mut Socket, pulse: Pulse) -> Result<Place, End> {
        let start = self.first_frame(socket).await?;
        let own_client = start.session.is_some();
        let inbox = self.inbox(&start.token).await?;
        let who = self.who(start);
        let client = who.client.clone();
        let listening = match self.state.engine.listen(&inbox, who).await {
            Ok(listening) => listening,
            Err(ListenError::InUse) => return Err(refused(IN_USE)),
            Err(ListenError::TooMany) => return Err(refused("Too many listen here already")),
            Err(ListenError::Store(error)) => return Err(unavailable(&error)),
        };
        // Its id, for its URL is a secret.
        let id = self.state.store.ids().text(inbox.key);
        tracing::info!(inbox = %id, client, peer = ?self.peer, "a listener came");
        let now = self.state.clock.now();
        Ok(Place {
            inbox,
            listening,
            own_client,
            since: now,
            heard: AtomicU64::new(now.0),
            looked: AtomicU64::new(now.0),
            read: AtomicU64::new(0),
            pulse,
            pings: AtomicU32::new(0),
            strays: AtomicU32::new(0),
        })
    }

    async fn first_frame(&self, socket: &mut Socket) -> Result<StartRequest, End> {
        let reading = async {
            loop {
                let Some(bytes) = data(socket.next().await)? else {
                    continue;
                };
                return match FromClient::parse(&bytes) {
                    Ok(FromClient::Start(start)) => Ok(start),
                    Ok(FromClient::Reply(_)) => Err(refused("The first frame must be start")),
                    Err(error) => Err(no_frame(&error)),
                };
            }
        };
        tokio::select! {
            start = reading => start,
            () = self.state.clock.sleep(START_LIMIT) => Err(refused("No start frame came in time")),
        }
    }

    async fn inbox(&self, token: &str) -> Result<Inbox, End> {
        let environment = self
            .key
            .as_ref()
            .map(|key| key.principal().scope.environment);
        let state = &self.state;
        let open = state.open_relay.then(|| state.store.default_environment());
        let taking = Taking {
            token: token.to_owned(),
            environment,
            make_in: environment.or(open),
        };
        match state.engine.take_up(taking).await {
            Ok(inbox) => Ok(inbox),
            Err(WriteError::Refused(Refusal::KeyNeeded)) => Err(refused(KEY_NEEDED)),
            // Without a key nobody learns here which tokens there are.
            Err(WriteError::Refused(Refusal::NoInbox)) if self.key.is_none() && open.is_none() => {
                Err(refused(KEY_NEEDED))
            }
            Err(WriteError::Refused(Refusal::TooMany { .. })) => {
                Err(refused("There are too many inboxes"))
            }
            Err(WriteError::Refused(_)) => Err(refused(INVALID_TOKEN)),
            Err(error @ WriteError::Store(_)) => Err(unavailable(&error)),
        }
    }

    fn who(&self, start: StartRequest) -> Who {
        let client = start.client.unwrap_or_default();
        let plain = client.chars().filter(|c| !c.is_control());
        let in_flight = start.max_connections.map_or(IN_FLIGHT, |max| max as usize);
        Who {
            client: plain.take(CLIENT_CHARS_MAX).collect(),
            peer: self.peer,
            keyed: self.key.is_some(),
            session: start
                .session
                .filter(|session| (1..=SESSION_CHARS_MAX).contains(&session.len())),
            shares: start.share,
            in_flight_max: in_flight.clamp(1, IN_FLIGHT_MAX),
        }
    }

    async fn speak(&self, socket: &mut Socket, place: &Place) -> End {
        let reply = FromServer::Start(self.start_reply(place));
        let (mut sink, mut stream) = socket.split();
        let sending = sink.send(Message::text(reply.to_json()));
        if let Err(end) = self.sent(place, sending).await {
            return end;
        }
        // Apart, so that a listener that answers before it reads on is heard.
        tokio::select! {
            end = self.write(&mut sink, place) => end,
            end = self.read(&mut stream, place) => end,
        }
    }

    fn start_reply(&self, place: &Place) -> StartReply {
        let Inbox {
            token, environment, ..
        } = &place.inbox;
        let environment = self.state.store.ids().text(*environment);
        let view = format!(
            "{}/env/{environment}/inboxes/{token}",
            self.state.public_url
        );
        StartReply {
            token: token.clone(),
            url: Some(self.state.control().inbox_url(&place.inbox)),
            view: Some(view),
            body_bytes_max: Some(self.state.limits.payload_bytes_max as u64),
            waiting: Some(place.listening.waiting() as u64),
        }
    }

    /// Sends events as they come, and pings.
    async fn write(&self, sink: &mut SplitSink<&mut Socket, Message>, place: &Place) -> End {
        let clock = &self.state.clock;
        let mut stopping = self.state.stopping.clone();
        let mut tick = clock.sleep(PING_EVERY);
        let mut next_note = place.since.plus(NOTE_EVERY);
        loop {
            let more = match self.send_events(sink, place).await {
                Ok(more) => more,
                Err(end) => return end,
            };
            let ping = tokio::select! {
                biased;
                ending = place.listening.ended() => return end_of(ending),
                () = told(&mut stopping) => return STOPS,
                () = &mut tick => {
                    tick = clock.sleep(PING_EVERY);
                    if let Err(end) = self.look(place) {
                        return end;
                    }
                    if clock.now() >= next_note {
                        next_note = clock.now().plus(NOTE_EVERY);
                        place.listening.note().await;
                    }
                    true
                }
                () = place.listening.probed() => true,
                () = place.listening.woken() => false,
                () = std::future::ready(()), if more => false,
            };
            if ping {
                let sending = sink.send(Message::Ping(bytes::Bytes::new()));
                if let Err(end) = self.sent(place, sending).await {
                    return end;
                }
            }
        }
    }

    /// Sends what may be sent now; whether there may be more.
    async fn send_events(
        &self,
        sink: &mut SplitSink<&mut Socket, Message>,
        place: &Place,
    ) -> Result<bool, End> {
        for count in 0..EVENTS_IN_A_ROW {
            match place.listening.take() {
                Ok(Some(received)) => {
                    let frame = FromServer::Event(self.event(received)).to_json();
                    self.sent(place, sink.feed(Message::text(frame))).await?;
                }
                Ok(None) if count == 0 => return Ok(false),
                Ok(None) => {
                    self.sent(place, sink.flush()).await?;
                    return Ok(false);
                }
                Err(error) => {
                    // It comes again when the store can be read.
                    return Err(unavailable(&error.into()));
                }
            }
        }
        self.sent(place, sink.flush()).await?;
        Ok(true)
    }

    fn event(&self, received: Received) -> Event {
        let mut headers = received.headers;
        header::drop_hop_by_hop(&mut headers);
        let (headers, all) = frame::encode_headers(&headers);
        Event {
            id: self.state.store.ids().text(received.key),
            method: received.method,
            headers,
            body: frame::encode_body(&received.body.unwrap_or_default()),
            path: Some(received.path),
            header_list: Some(all),
            received: Some(received.at.0),
            event_type: received.event_type,
        }
    }

    async fn sent(
        &self,
        place: &Place,
        sending: impl Future<Output = Result<(), SocketError>>,
    ) -> Result<(), End> {
        let mut stopping = self.state.stopping.clone();
        let written = || place.pulse.written();
        let sending = while_growing(&*self.state.clock, SEND_LIMIT, written, sending);
        tokio::select! {
            biased;
            sent = sending => sent.and_then(Result::ok).ok_or(End::Gone),
            ending = place.listening.ended() => Err(end_of(ending)),
            // The server does not wait for one that does not read.
            () = told(&mut stopping) => Err(STOPS),
        }
    }

    /// Whether the connection may go on.
    fn look(&self, place: &Place) -> Result<(), End> {
        let now = self.state.clock.now();
        place.pings.store(0, Ordering::Relaxed);
        place.strays.store(0, Ordering::Relaxed);
        let silence_max = if place.own_client {
            SILENCE_MAX
        } else {
            SILENCE_OF_OTHERS_MAX
        };
        place.look(now);
        if now.since(place.heard()) > silence_max {
            return Err(End::Gone);
        }
        // What a listener has that is away is kept for it instead.
        place.listening.give_up_on_overdue();
        if now.since(place.since) > AGE_MAX {
            return Err(End::With(CloseCode::Away, "A day is over; come again"));
        }
        let key = self.key.as_ref();
        if key.is_some_and(|key| !auth::is_still_known(&self.state, key)) {
            return Err(refused(KEY_ENDED));
        }
        match self.state.store.inbox(&place.inbox.token) {
            Ok(None) => Err(refused(INVALID_TOKEN)),
            // It was deleted, and somebody made another.
            Ok(Some(inbox)) if inbox.key != place.inbox.key => Err(refused(INVALID_TOKEN)),
            Ok(Some(inbox)) if !inbox.open && key.is_none() => Err(refused(KEY_NEEDED)),
            Ok(Some(_)) => Ok(()),
            Err(error) => Err(unavailable(&error.into())),
        }
    }

    /// Takes replies as they come.
    async fn read(&self, stream: &mut SplitStream<&mut Socket>, place: &Place) -> End {
        loop {
            let message = stream.next().await;
            if let Some(Ok(Message::Ping(_) | Message::Pong(_))) = message
                && place.pings.fetch_add(1, Ordering::Relaxed) >= PINGS_MAX
            {
                return refused("Too many pings");
            }
            let bytes = match data(message) {
                Ok(bytes) => bytes,
                Err(end) => return end,
            };
            place.note_heard(self.state.clock.now());
            let Some(bytes) = bytes else { continue };
            match self.take(&bytes, &place.listening) {
                Ok(true) => {}
                Ok(false) => {
                    if place.strays.fetch_add(1, Ordering::Relaxed) >= STRAYS_MAX {
                        return refused("Too many replies to nothing");
                    }
                }
                Err(end) => return end,
            }
        }
    }

    /// Takes one reply; false when it answers nothing.
    fn take(&self, bytes: &[u8], listening: &Listening) -> Result<bool, End> {
        let reply = match FromClient::parse(bytes) {
            Ok(FromClient::Reply(reply)) => reply,
            Ok(FromClient::Start(_)) => return Err(refused("There was a start frame already")),
            Err(error) => return Err(no_frame(&error)),
        };
        let Some(key) = self.state.store.ids().parse::<ReceivedKey>(&reply.id) else {
            return Ok(false);
        };
        Ok(listening.answer(key, answer(reply)?))
    }

    /// Says why, and waits a moment for the other end to have heard it.
    async fn goodbye(&self, mut socket: Socket, end: End) {
        let End::With(code, reason) = end else { return };
        tracing::debug!(reason, peer = ?self.peer, "a listener was sent away");
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        let saying = async {
            if socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        };
        tokio::select! {
            () = saying => {}
            () = self.state.clock.sleep(GOODBYE_LIMIT) => {}
        }
    }
}

/// A listener at its inbox.
struct Place {
    inbox: Inbox,
    listening: Listening,
    /// Whether it is one that says more than the protocol asks for.
    own_client: bool,
    since: Timestamp,
    /// Unix ms.
    heard: AtomicU64,
    /// When it was last looked at, in Unix ms, and what had been read then.
    looked: AtomicU64,
    read: AtomicU64,
    pulse: Pulse,
    /// Pings and pongs since the last look.
    pings: AtomicU32,
    /// Replies to nothing since the last look.
    strays: AtomicU32,
}

impl Place {
    fn heard(&self) -> Timestamp {
        Timestamp(self.heard.load(Ordering::Relaxed))
    }

    fn note_heard(&self, now: Timestamp) {
        self.heard.store(now.0, Ordering::Relaxed);
        self.listening.heard();
    }

    /// Who is in the middle of a message is heard of too.
    fn look(&self, now: Timestamp) {
        let looked = Timestamp(self.looked.swap(now.0, Ordering::Relaxed));
        let read = self.pulse.read();
        let grew = read != self.read.swap(read, Ordering::Relaxed);
        if grew && self.heard() < looked {
            self.note_heard(now);
        }
    }
}

async fn told(stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and the server with it.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// The bytes of a message that may be a frame; `None` for others.
fn data(message: Option<Result<Message, SocketError>>) -> Result<Option<bytes::Bytes>, End> {
    match message {
        Some(Ok(Message::Text(text))) => Ok(Some(text.into())),
        Some(Ok(Message::Binary(bytes))) => Ok(Some(bytes)),
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
        Some(Err(SocketError::Capacity(_))) => {
            Err(End::With(CloseCode::Size, "The frame is too large"))
        }
        Some(Err(SocketError::Utf8(_))) => {
            Err(End::With(CloseCode::Invalid, "The frame is not UTF-8"))
        }
        Some(Err(SocketError::Protocol(_))) => Err(End::With(
            CloseCode::Protocol,
            "This is not the websocket protocol",
        )),
        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Gone),
    }
}

fn no_frame(error: &FrameError) -> End {
    tracing::debug!(%error, "a listener sent what is no frame");
    refused(match error {
        FrameError::Version(_) => "This version of the protocol is not known here",
        FrameError::Type(_) => "A frame of this type is not known here",
        FrameError::Body => "The body is not base64",
        FrameError::Json(_) => "A frame must be JSON with type, version and data",
    })
}

fn unavailable(error: &WriteError) -> End {
    tracing::error!(%error, "a listener cannot be served");
    End::With(CloseCode::Again, "The store is not available; come again")
}

fn end_of(ending: Ending) -> End {
    refused(match ending {
        Ending::Replaced => "You came again by another connection",
        Ending::Silent => IN_USE,
        Ending::Closed => CLOSED_BY_OPERATOR,
        Ending::Gone => INVALID_TOKEN,
    })
}

fn answer(reply: Reply) -> Result<Answer, End> {
    let body = frame::decode_body(&reply.body).map_err(|error| no_frame(&error))?;
    let mut headers = frame::decode_headers(reply.headers, reply.header_list);
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if headers.len() > REPLY_HEADERS_MAX || bytes > REPLY_HEADERS_BYTES_MAX {
        return Err(refused("The reply has too many headers"));
    }
    for (name, _) in &mut headers {
        name.make_ascii_lowercase();
    }
    let error = reply.error.unwrap_or_default();
    Ok(Answer {
        status: reply.status,
        headers,
        body,
        error: error.chars().take(ERROR_CHARS_MAX).collect(),
    })
}
