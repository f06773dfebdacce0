//! Events that were seen, so that one that is sent again is not done again.

use std::collections::{HashMap, VecDeque};

use crate::relay::frame::Reply;

/// Events whose replies are remembered.
pub const REPLIES_MAX: usize = 1000;
/// Bytes of all replies that are remembered.
pub const REPLIES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Events that are being answered or wait for it.
pub const RUNNING_MAX: usize = 1000;
/// Bytes of these events.
pub const RUNNING_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What to do with an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Begun {
    /// Answer it.
    New,
    /// Nothing: whoever answers it will use the way that it came by last.
    Running,
    /// Send this again.
    Done(Box<Reply>),
    /// Refuse it: there are too many.
    Full,
}

/// The events of a run. `W` is the way back for a reply.
#[derive(Debug)]
pub struct Seen<W> {
    running: HashMap<String, Running<W>>,
    running_bytes: usize,
    done: HashMap<String, Reply>,
    /// Ids of `done`, oldest first.
    order: VecDeque<String>,
    /// Those of them that still have a body, oldest first.
    bodies: VecDeque<String>,
    done_bytes: usize,
    limits: Limits,
}

#[derive(Debug)]
struct Running<W> {
    back: W,
    bytes: usize,
}

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub replies_max: usize,
    pub replies_bytes_max: usize,
    pub running_max: usize,
    pub running_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            replies_max: REPLIES_MAX,
            replies_bytes_max: REPLIES_BYTES_MAX,
            running_max: RUNNING_MAX,
            running_bytes_max: RUNNING_BYTES_MAX,
        }
    }
}

impl<W> Seen<W> {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            running: HashMap::new(),
            running_bytes: 0,
            done: HashMap::new(),
            order: VecDeque::new(),
            bodies: VecDeque::new(),
            done_bytes: 0,
            limits,
        }
    }

    /// Takes note of an event of `bytes` that came, with the way back for its reply.
    pub fn begin(&mut self, id: &str, bytes: usize, back: W) -> Begun {
        if let Some(running) = self.running.get_mut(id) {
            running.back = back;
            return Begun::Running;
        }
        if let Some(reply) = self.done.get(id) {
            return Begun::Done(Box::new(reply.clone()));
        }
        let beyond = self.running_bytes + bytes > self.limits.running_bytes_max;
        let is_one_of_several = !self.running.is_empty();
        if self.running.len() >= self.limits.running_max || (beyond && is_one_of_several) {
            return Begun::Full;
        }
        self.running_bytes += bytes;
        self.running.insert(id.to_owned(), Running { back, bytes });
        Begun::New
    }

    /// Remembers the reply to an event that was begun; gives the way back.
    pub fn finish(&mut self, reply: Reply) -> Option<W> {
        let running = self.running.remove(&reply.id)?;
        self.running_bytes -= running.bytes;
        self.remember(reply);
        Some(running.back)
    }

    fn remember(&mut self, reply: Reply) {
        let id = reply.id.clone();
        self.done_bytes += bytes_of(&reply);
        self.order.push_back(id.clone());
        if !reply.body.is_empty() {
            self.bodies.push_back(id.clone());
        }
        self.done.insert(id, reply);
        self.shrink();
    }

    /// Bodies go first: a repeat that gets status and headers alone is better
    /// than one that reaches the program a second time.
    fn shrink(&mut self) {
        while self.done_bytes > self.limits.replies_bytes_max {
            let Some(id) = self.bodies.pop_front() else {
                break;
            };
            if let Some(reply) = self.done.get_mut(&id) {
                self.done_bytes -= reply.body.len();
                reply.body = String::new();
            }
        }
        while self.done.len() > self.limits.replies_max
            || self.done_bytes > self.limits.replies_bytes_max
        {
            let Some(id) = self.order.pop_front() else {
                return;
            };
            if self.bodies.front() == Some(&id) {
                self.bodies.pop_front();
            }
            if let Some(reply) = self.done.remove(&id) {
                self.done_bytes -= bytes_of(&reply);
            }
        }
    }
}

/// Bytes that a reply takes up, about.
fn bytes_of(reply: &Reply) -> usize {
    let pair = |name: &String, value: &String| name.len() + value.len();
    let one: usize = reply.headers.iter().map(|(n, v)| pair(n, v)).sum();
    let all = reply.header_list.iter().flatten();
    let all: usize = all.map(|(n, v)| pair(n, v)).sum();
    reply.body.len() + reply.id.len() + one + all + reply.error.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        replies_max: 3,
        replies_bytes_max: 100,
        running_max: 2,
        running_bytes_max: 10,
    };

    fn reply(id: &str, body_bytes: usize) -> Reply {
        Reply {
            id: id.to_owned(),
            status: 200,
            body: "x".repeat(body_bytes),
            ..Reply::default()
        }
    }

    fn done(seen: &mut Seen<u8>, id: &str, body_bytes: usize) {
        assert_eq!(seen.begin(id, 0, 0), Begun::New, "{id}");
        assert_eq!(seen.finish(reply(id, body_bytes)), Some(0), "{id}");
    }

    #[test]
    fn an_event_is_done_once_and_answered_by_the_newest_way() {
        let mut seen = Seen::new(LIMITS);
        assert_eq!(seen.begin("a", 1, 1), Begun::New);
        assert_eq!(seen.begin("a", 1, 2), Begun::Running);
        assert_eq!(seen.finish(reply("a", 5)), Some(2));
        assert_eq!(seen.begin("a", 1, 3), Begun::Done(Box::new(reply("a", 5))));
        assert_eq!(seen.finish(reply("a", 5)), None, "it is not begun");
    }

    #[test]
    fn too_many_at_once_are_refused() {
        let mut seen = Seen::new(LIMITS);
        assert_eq!(seen.begin("a", 50, 0), Begun::New, "one always fits");
        assert_eq!(seen.begin("b", 1, 0), Begun::Full);
        seen.finish(reply("a", 0));
        assert_eq!(seen.begin("b", 5, 0), Begun::New);
        assert_eq!(seen.begin("c", 5, 0), Begun::New);
        assert_eq!(seen.begin("d", 0, 0), Begun::Full);
    }

    #[test]
    fn the_oldest_bodies_go_first_then_the_oldest_replies() {
        let mut seen = Seen::new(LIMITS);
        done(&mut seen, "a", 60);
        done(&mut seen, "b", 60);
        assert_eq!(seen.begin("a", 0, 0), Begun::Done(Box::new(reply("a", 0))));
        assert_eq!(seen.begin("b", 0, 0), Begun::Done(Box::new(reply("b", 60))));
        done(&mut seen, "c", 0);
        done(&mut seen, "d", 0);
        assert_eq!(seen.begin("a", 0, 0), Begun::New, "forgotten");
        assert_eq!(seen.begin("b", 0, 0), Begun::Done(Box::new(reply("b", 60))));
        assert_eq!(seen.done_bytes, 63);
        let long = "e".repeat(101);
        done(&mut seen, &long, 0);
        assert_eq!(seen.done_bytes, 0, "it is too large to be remembered");
        assert!(seen.bodies.is_empty() && seen.order.is_empty());
    }
}
