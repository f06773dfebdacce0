//! What the senders posted, and what they were answered.

use std::collections::HashMap;
use std::io;

use serde_json::json;

use super::{Dice, Ending, ROUTES, event_type};
use crate::support::http_client::{Connection, Response};
use crate::support::server_process::ServerProcess;

/// The payload of a message, which its number decides: mostly small, now and
/// then up to 48 KB.
pub(super) fn payload(number: u64) -> String {
    let mut dice = Dice(number);
    let repeated = if dice.one_in(40) {
        dice.below(3000)
    } else {
        dice.below(30)
    };
    let pad = format!("{:016x}", dice.roll());
    let times = usize::try_from(repeated).expect("a small number");
    format!("{{\"number\":{number},\"pad\":\"{}\"}}", pad.repeat(times))
}

/// The number in a payload, which need not be a whole one.
pub(super) fn number_in(payload: &str) -> Option<u64> {
    let rest = payload.strip_prefix("{\"number\":")?;
    rest.split_once(',')?.0.parse().ok()
}

/// A message to post.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) number: u64,
    pub(super) route: usize,
    /// Whether it has an idempotency key, and may be posted until it is answered.
    keyed: bool,
}

impl Post {
    fn body(&self) -> String {
        let event_type = json!(event_type(self.route));
        let payload = payload(self.number);
        format!("{{\"eventType\":{event_type},\"payload\":{payload}}}")
    }
}

/// What became of a post.
pub(super) enum Answer {
    /// 202, and this id.
    Acknowledged(String),
    /// 503: it may have been kept, or not.
    Unavailable,
    /// Nothing whole came back.
    Broken,
    /// It was not sent any more.
    NotSent,
    Wrong(String),
}

/// Posts on a connection that is kept.
#[derive(Clone)]
pub(super) struct Outbox {
    server: std::net::SocketAddr,
    authorization: String,
}

impl Outbox {
    pub(super) fn new(server: &ServerProcess) -> Self {
        Self {
            server: server.address(),
            authorization: format!("Bearer {}", server.api_key()),
        }
    }

    /// Posts one after the other until the connection breaks.
    pub(super) fn send(&self, posts: Vec<Post>) -> Vec<(Post, Answer)> {
        let mut connection = Connection::open(self.server).ok();
        let mut sent = Vec::with_capacity(posts.len());
        for post in posts {
            let answer = match &mut connection {
                None => Answer::NotSent,
                Some(open) => match self.post(open, &post) {
                    Ok(response) => judge(&response),
                    Err(_) => Answer::Broken,
                },
            };
            if matches!(answer, Answer::Broken) {
                connection = None;
            }
            sent.push((post, answer));
        }
        sent
    }

    fn post(&self, connection: &mut Connection, post: &Post) -> io::Result<Response> {
        let key = format!("key-{}", post.number);
        let mut headers = vec![
            ("authorization", self.authorization.as_str()),
            ("content-type", "application/json"),
        ];
        if post.keyed {
            headers.push(("idempotency-key", &key));
        }
        let path = "/api/v1/applications/app/messages";
        connection.request("POST", path, &headers, post.body().as_bytes())
    }
}

fn judge(response: &Response) -> Answer {
    match response.status {
        202 => match response.json()["id"].as_str() {
            Some(id) => Answer::Acknowledged(id.to_owned()),
            None => Answer::Wrong(format!("202 without an id: {}", response.text())),
        },
        503 => Answer::Unavailable,
        other => Answer::Wrong(format!("{other} {}", response.text())),
    }
}

/// A message that may be in the store without having been acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unanswered {
    pub(super) route: usize,
    /// The server stopped in good order: whatever it had kept, it would have
    /// acknowledged.
    pub(super) must_not_be: bool,
}

/// What was acknowledged and what was not, written down outside the server.
#[derive(Default)]
pub(super) struct Ledger {
    numbers: u64,
    /// By number: the id that the first 202 gave, and the route.
    pub(super) acknowledged: HashMap<u64, (String, usize)>,
    /// By number.
    pub(super) unanswered: HashMap<u64, Unanswered>,
    /// Those of the last round.
    last: Vec<(u64, String)>,
    /// Posts with a key that are posted again.
    to_repeat: Vec<Post>,
}

impl Ledger {
    pub(super) fn new_post(&mut self, dice: &mut Dice) -> Post {
        self.numbers += 1;
        let routes = u64::try_from(ROUTES.len()).expect("a small number");
        Post {
            number: self.numbers,
            route: usize::try_from(dice.below(routes)).expect("a small number"),
            keyed: dice.one_in(2),
        }
    }

    /// What had a key and no answer, and some that had one.
    pub(super) fn take_to_repeat(&mut self) -> Vec<Post> {
        self.last.clear();
        std::mem::take(&mut self.to_repeat)
    }

    pub(super) fn acknowledged_last(&self) -> &[(u64, String)] {
        &self.last
    }

    pub(super) fn acknowledged_count(&self) -> usize {
        self.acknowledged.len()
    }

    /// Enters what a sender was answered before the server ended.
    pub(super) fn enter(
        &mut self,
        sent: Vec<(Post, Answer)>,
        ending: Ending,
        faults: &mut Vec<String>,
    ) {
        for (post, answer) in sent {
            match answer {
                Answer::Acknowledged(id) => self.acknowledge(post, id, faults),
                Answer::Unavailable | Answer::Broken => {
                    let gave_up = matches!(answer, Answer::Unavailable);
                    self.leave_unanswered(post, !gave_up && ending == Ending::Stopped);
                }
                // A repetition stays one; what is new is never sent.
                Answer::NotSent if self.unanswered.contains_key(&post.number) => {
                    self.to_repeat.push(post);
                }
                Answer::NotSent => {}
                Answer::Wrong(what) => faults.push(format!("message {}: {what}", post.number)),
            }
        }
    }

    fn acknowledge(&mut self, post: Post, id: String, faults: &mut Vec<String>) {
        let number = post.number;
        self.unanswered.remove(&number);
        self.last.push((number, id.clone()));
        if let Some((first, _)) = self.acknowledged.get(&number) {
            if *first != id {
                faults.push(format!("the key of message {number} gave {first} and {id}"));
            }
            return;
        }
        self.acknowledged.insert(number, (id, post.route));
        // One in eight is asked for once more: the answer must be the same.
        if post.keyed && number.is_multiple_of(8) {
            self.to_repeat.push(post);
        }
    }

    fn leave_unanswered(&mut self, post: Post, must_not_be: bool) {
        if self.acknowledged.contains_key(&post.number) {
            self.to_repeat.push(post);
            return;
        }
        let entry = Unanswered {
            route: post.route,
            must_not_be,
        };
        let before = self.unanswered.entry(post.number).or_insert(entry);
        // It may have been kept the time before.
        before.must_not_be &= must_not_be;
        if post.keyed {
            self.to_repeat.push(post);
        }
    }
}
