//! Who listens at inboxes, and how to.

use super::super::arrived::{Header, body_in};
use super::super::endpoints::back;
use super::super::failure::{Answered, Failure};
use super::super::form::Form;
use super::super::parts::{Moment, Tag, Well, bytes, milliseconds, number};
use super::super::place::Place;
use super::received::status_tag;
use super::{found, link};
use crate::domain::inbox::Inbox;
use crate::domain::relay::{Answered as Reply, Relayed};
use crate::engine::relay::Listener;

/// One who listens, with a button that ends it.
pub(super) struct Row {
    pub(super) client: String,
    /// Where it connected from, and whether it showed a key.
    pub(super) from: String,
    pub(super) since: Moment,
    pub(super) sent: String,
    pub(super) inbox: String,
    pub(super) href: String,
    pub(super) disconnect: String,
}

impl Row {
    fn new(place: &Place, listener: &Listener) -> Self {
        let who = &listener.who;
        let peer = who
            .peer
            .map_or_else(|| "a local socket".to_owned(), |peer| peer.to_string());
        let key = if who.keyed {
            ""
        } else {
            ", without an API key"
        };
        let href = place.link(&format!("/inboxes/{}", listener.token));
        let open = match listener.in_flight {
            0 => String::new(),
            open => format!(", {open} not answered yet"),
        };
        Self {
            client: if who.client.is_empty() {
                "A listener".to_owned()
            } else {
                who.client.clone()
            },
            from: format!("from {peer}{key}"),
            since: Moment::new(listener.since, place.now),
            sent: format!("{} sent{open}", number(listener.forwarded)),
            inbox: listener.token.clone(),
            disconnect: format!("{href}/listeners/{}/endings", listener.id),
            href,
        }
    }
}

/// Everybody who listens in the environment.
pub(super) fn all(place: &Place) -> Vec<Row> {
    let environment = place.principal.scope.environment;
    let listeners = place.state.engine.listeners(environment, None);
    let rows = listeners.iter();
    rows.map(|listener| Row::new(place, listener)).collect()
}

/// The relay of one inbox: who listens, what waits, and how to listen.
pub(super) struct Relay {
    pub(super) rows: Vec<Row>,
    /// How it stands while nobody listens.
    pub(super) away: Option<String>,
    pub(super) command: Well,
}

impl Relay {
    pub(super) fn new(place: &Place, inbox: &Inbox) -> Self {
        let listeners = place
            .state
            .engine
            .listeners(inbox.environment, Some(inbox.key));
        let rows: Vec<_> = listeners
            .iter()
            .map(|listener| Row::new(place, listener))
            .collect();
        let key = if inbox.open {
            ""
        } else {
            "HOOKPOST_API_KEY=... "
        };
        let command = format!(
            "{key}hookpost listen http://127.0.0.1:5000/ --server {} --token {}",
            place.state.public_url, inbox.token
        );
        let away = rows.is_empty() && inbox.relays(place.now);
        Self {
            away: away.then(|| away_sentence(inbox.waiting)),
            rows,
            command: Well::new("listen-command", command),
        }
    }
}

fn away_sentence(waiting: u32) -> String {
    let kept = match waiting {
        0 => "Nothing waits for it.".to_owned(),
        1 => "One request waits for it.".to_owned(),
        many => format!("{many} requests wait for it, and come in order."),
    };
    format!("The listener is away: requests are answered 202 and kept until it is back. {kept}")
}

/// What a listener made of a request.
pub(super) enum Half {
    /// It waits for the listener.
    Waiting,
    Answered(HalfAnswered),
    Never {
        at: Moment,
        detail: String,
    },
}

pub(super) struct HalfAnswered {
    pub(super) tag: Tag,
    pub(super) at: Moment,
    pub(super) took: String,
    pub(super) error: String,
    pub(super) headers: Vec<Header>,
    pub(super) body: Option<Well>,
    pub(super) size: String,
    pub(super) cut: bool,
}

impl Half {
    /// `None` when nobody listened.
    pub(super) fn new(place: &Place, relayed: &Relayed) -> Option<Self> {
        match relayed {
            Relayed::No => None,
            Relayed::Waiting => Some(Self::Waiting),
            Relayed::Never { at, detail } => Some(Self::Never {
                at: Moment::new(*at, place.now),
                detail: detail.clone(),
            }),
            Relayed::Answered(reply) => Some(Self::Answered(HalfAnswered::new(place, reply))),
        }
    }
}

impl HalfAnswered {
    fn new(place: &Place, reply: &Reply) -> Self {
        let headers = reply.headers.iter();
        Self {
            tag: status_tag(reply.status),
            at: Moment::new(reply.at, place.now),
            took: milliseconds(u64::from(reply.took_us) / 1000),
            error: reply.error.clone(),
            headers: headers
                .map(|(name, value)| Header::new(name, value, None))
                .collect(),
            body: body_in("answer-body", &reply.body),
            size: bytes(reply.body_bytes),
            cut: reply.body_bytes > reply.body.len() as u64,
        }
    }
}

/// `POST /inboxes/{token}/listeners/{lsn}/endings`
pub(in super::super) async fn end(place: Place, _: Form) -> Answered {
    let inbox = found(&place)?;
    let id = place.name("lsn").parse().ok();
    let ended = match id {
        Some(id) => place.state.engine.close_listener(inbox.key, id).await,
        None => false,
    };
    if !ended {
        return Err(Failure::not_found("listener"));
    }
    Ok(back(&link(&place, &inbox, ""), "disconnected"))
}
