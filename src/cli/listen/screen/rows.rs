//! The events that the screen has, within bounds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cli::listen::bytes::{SHOWN_BYTES_MAX, beginning};
use crate::relay::client::notice::{Answered, Arrived, Head, Outcome};

/// Events that are kept.
pub(super) const ROWS_MAX: usize = 500;
/// Bytes of all bodies that are kept whole although not all of them is shown.
pub(super) const WHOLE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An event, and what became of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) head: Arc<Head>,
    /// The beginning of its body.
    pub(super) body: Bytes,
    /// The body of one that is larger than what is shown, while it is kept.
    whole: Option<Bytes>,
    pub(super) end: Option<Ended>,
    /// How often it came again.
    pub(super) repeats: u32,
}

/// How an event ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Of an answer's body, the beginning.
    pub(super) outcome: Outcome,
    pub(super) answer_bytes: usize,
    pub(super) took: Duration,
}

impl Row {
    fn new(arrived: Arrived) -> Self {
        let Arrived { head, body } = arrived;
        let is_large = body.len() > SHOWN_BYTES_MAX;
        Self {
            head,
            body: beginning(&body),
            whole: is_large.then_some(body),
            end: None,
            repeats: 0,
        }
    }

    /// The body, unless it had to go.
    pub(super) fn whole_body(&self) -> Option<Bytes> {
        if self.head.body_bytes <= self.body.len() {
            Some(self.body.clone())
        } else {
            self.whole.clone()
        }
    }

    fn whole_bytes(&self) -> usize {
        self.whole.as_ref().map_or(0, Bytes::len)
    }
}

/// The newest events, oldest first. Their numbers grow.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: VecDeque<Row>,
    whole_bytes: usize,
}

impl Rows {
    pub(super) fn push(&mut self, arrived: Arrived) {
        let row = Row::new(arrived);
        self.whole_bytes += row.whole_bytes();
        // Events that begin at once may be told in another order.
        let at = self
            .rows
            .partition_point(|other| other.head.number < row.head.number);
        self.rows.insert(at, row);
        while self.rows.len() > ROWS_MAX {
            if let Some(row) = self.rows.pop_front() {
                self.whole_bytes -= row.whole_bytes();
            }
        }
        self.shrink();
    }

    fn shrink(&mut self) {
        let mut oldest_first = self.rows.iter_mut();
        while self.whole_bytes > WHOLE_BYTES_MAX {
            let Some(row) = oldest_first.next() else {
                return;
            };
            self.whole_bytes -= row.whole_bytes();
            row.whole = None;
        }
    }

    pub(super) fn answer(&mut self, answered: Answered) {
        let Answered {
            head,
            mut outcome,
            took,
        } = answered;
        let mut answer_bytes = 0;
        if let Outcome::Answer(answer) = &mut outcome {
            answer_bytes = answer.body.len();
            answer.body = beginning(&answer.body);
        }
        if let Some(at) = self.place(head.number) {
            self.rows[at].end = Some(Ended {
                outcome,
                answer_bytes,
                took,
            });
        }
    }

    /// Notes that an event came again.
    pub(super) fn repeat(&mut self, id: &str) {
        let mut newest_first = self.rows.iter_mut().rev();
        let is_it = |row: &&mut Row| row.head.replay_of.is_none() && row.head.id == id;
        if let Some(row) = newest_first.find(is_it) {
            row.repeats = row.repeats.saturating_add(1);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn get(&self, place: usize) -> Option<&Row> {
        self.rows.get(place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }

    /// The place of the event with this number.
    pub(super) fn place(&self, number: u64) -> Option<usize> {
        let found = self
            .rows
            .binary_search_by_key(&number, |row| row.head.number);
        found.ok()
    }

    pub(super) fn number(&self, place: usize) -> Option<u64> {
        self.rows.get(place).map(|row| row.head.number)
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        self.number(0)
    }
}
