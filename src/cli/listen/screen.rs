//! What the whole screen shows: a list of events, and one of them in detail.
//!
//! It is told what happens and which keys are pressed, and says what to do; it
//! touches neither terminal nor network.

mod draw;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use self::rows::{Row, Rows};
use super::browser::event_page;
use crate::domain::time::Timestamp;
use crate::relay::client::notice::{Away, Head, Listening, Notice};

/// What a key asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// Send this event to the program again.
    Replay {
        head: Arc<Head>,
        body: Bytes,
    },
    /// Open this page.
    Open(String),
}

/// The connection to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    Connecting,
    Connected,
    Away { reason: String, next_try: Timestamp },
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct Screen {
    target: String,
    listening: Option<Listening>,
    link: Link,
    rows: Rows,
    /// The number of the event that is selected; the newest one without it.
    selected: Option<u64>,
    /// How far the detail is scrolled, while it is open.
    detail: Option<usize>,
    /// What there is to say about the last key.
    message: Option<String>,
    /// Events that came.
    came: u64,
    /// Lines that one page up or down goes, as drawn last.
    page_lines: usize,
    /// Lines of the detail that can be scrolled away, as drawn last.
    scroll_max: usize,
}

impl Screen {
    pub(super) fn new(target: String) -> Self {
        Self {
            target,
            listening: None,
            link: Link::Connecting,
            rows: Rows::default(),
            selected: None,
            detail: None,
            message: None,
            came: 0,
            page_lines: 1,
            scroll_max: 0,
        }
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn url(&self) -> Option<&str> {
        Some(&self.listening.as_ref()?.url)
    }

    /// Events that came, replays not counted.
    pub(super) fn came(&self) -> u64 {
        self.came
    }

    /// Whether what is shown changes by itself, as time goes by.
    pub(super) fn moves(&self) -> bool {
        matches!(self.link, Link::Away { .. })
    }

    /// Says something in the last line, until the next key.
    pub(super) fn say(&mut self, message: String) {
        self.message = Some(message);
    }

    /// Takes in what happened.
    pub(super) fn apply(&mut self, notice: Notice, now: Timestamp) {
        match notice {
            Notice::Listening(listening) => {
                self.listening = Some(listening);
                self.link = Link::Connected;
            }
            Notice::Back => self.link = Link::Connected,
            Notice::Away(away) => self.link = gone(away, now),
            Notice::Arrived(arrived) => {
                if arrived.head.replay_of.is_none() {
                    self.came += 1;
                }
                self.rows.push(arrived);
                self.keep_selection();
            }
            Notice::Answered(answered) => self.rows.answer(answered),
            Notice::Repeated { id } => self.rows.repeat(&id),
        }
    }

    /// A selected event that is not kept any more gives way to the oldest one.
    fn keep_selection(&mut self) {
        if let (Some(selected), Some(oldest)) = (self.selected, self.rows.oldest()) {
            self.selected = Some(selected.max(oldest));
        }
    }

    /// Takes in a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Action> {
        self.message = None;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Some(Action::Quit),
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Char('r') => return self.replay(),
            KeyCode::Char('o') => return self.open(),
            KeyCode::Enter | KeyCode::Char('d') => self.toggle_detail(),
            KeyCode::Esc => self.detail = None,
            code => match (movement(code), self.detail) {
                (Some(movement), None) => self.select(movement),
                (Some(movement), Some(at)) => self.scroll(movement, at),
                (None, _) => {}
            },
        }
        None
    }

    fn toggle_detail(&mut self) {
        self.detail = match self.detail {
            None if self.row().is_some() => Some(0),
            _ => None,
        };
    }

    fn select(&mut self, movement: Movement) {
        let (Some(at), Some(last)) = (self.place(), self.rows.len().checked_sub(1)) else {
            return;
        };
        let at = movement.from(at, last, self.page_lines);
        // Whoever is at the newest event stays at the newest.
        self.selected = if at == last {
            None
        } else {
            self.rows.number(at)
        };
    }

    fn scroll(&mut self, movement: Movement, at: usize) {
        self.detail = Some(movement.from(at, self.scroll_max, self.page_lines));
    }

    /// The place of the selected event in the list.
    fn place(&self) -> Option<usize> {
        match self.selected {
            Some(number) => self.rows.place(number),
            None => self.rows.len().checked_sub(1),
        }
    }

    fn row(&self) -> Option<&Row> {
        self.rows.get(self.place()?)
    }

    fn replay(&mut self) -> Option<Action> {
        let row = self.row()?;
        let Some(body) = row.whole_body() else {
            let words = "this event is too old: its body is not kept any more";
            self.message = Some(words.to_owned());
            return None;
        };
        let head = Arc::clone(&row.head);
        // The answer is the next line.
        self.selected = None;
        Some(Action::Replay { head, body })
    }

    fn open(&mut self) -> Option<Action> {
        let view = self.listening.as_ref().and_then(|told| told.view.clone());
        let Some(view) = view else {
            self.message = Some("the server has no page for this inbox".to_owned());
            return None;
        };
        let page = self.row().and_then(|row| event_page(&view, &row.head.id));
        Some(Action::Open(page.unwrap_or(view)))
    }
}

fn gone(away: Away, now: Timestamp) -> Link {
    Link::Away {
        reason: away.reason,
        next_try: now.plus(away.next_try),
    }
}

/// A way through a list or a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Movement {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

impl Movement {
    /// The place that this leads to, from 0 to `last`.
    fn from(self, at: usize, last: usize, page: usize) -> usize {
        let to = match self {
            Self::Up => at.saturating_sub(1),
            Self::Down => at.saturating_add(1),
            Self::PageUp => at.saturating_sub(page),
            Self::PageDown => at.saturating_add(page),
            Self::First => 0,
            Self::Last => last,
        };
        to.min(last)
    }
}

fn movement(code: KeyCode) -> Option<Movement> {
    Some(match code {
        KeyCode::Up | KeyCode::Char('k') => Movement::Up,
        KeyCode::Down | KeyCode::Char('j') => Movement::Down,
        KeyCode::PageUp => Movement::PageUp,
        KeyCode::PageDown | KeyCode::Char(' ') => Movement::PageDown,
        KeyCode::Home | KeyCode::Char('g') => Movement::First,
        KeyCode::End | KeyCode::Char('G') => Movement::Last,
        _ => return None,
    })
}

/// The time from `now` until `then` in whole seconds, rounded up.
fn wait_until(then: Timestamp, now: Timestamp) -> Duration {
    let left = then.since(now);
    Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests;
