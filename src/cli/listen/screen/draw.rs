//! How the screen looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::rows::{Ended, Row};
use super::{Link, Screen, wait_until};
use crate::cli::listen::bytes::{body_lines, header_lines};
use crate::cli::listen::plain::{kind, status};
use crate::cli::listen::text::{count, duration, soon, time_of_day};
use crate::cli::printable::plain;
use crate::domain::time::Timestamp;
use crate::relay::client::notice::Outcome;

/// Columns from which on list and detail stand side by side.
const WIDE_COLUMNS: u16 = 120;
/// Columns that a path takes at most before it is cut.
const PATH_COLUMNS: usize = 40;
/// Columns that a type takes at most before it is cut.
const KIND_COLUMNS: usize = 32;
const LIST_KEYS: &str =
    "\u{2191}\u{2193} select  Enter detail  r replay  o open in browser  q quit";
const DETAIL_KEYS: &str = "\u{2191}\u{2193} scroll  Esc back  r replay  o open in browser  q quit";

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red);
const ODD: Style = Style::new().fg(Color::Yellow);

impl Screen {
    /// Draws all of it, as it is at `now`.
    pub(in crate::cli::listen) fn draw(&mut self, frame: &mut Frame<'_>, now: Timestamp) {
        let rows = [
            Constraint::Length(4),
            Constraint::Min(1),
            Constraint::Length(1),
        ];
        let [top, middle, bottom] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(self.header(now), top);
        frame.render_widget(self.footer(), bottom);
        match self.detail {
            None => self.draw_list(frame, middle),
            Some(_) if middle.width >= WIDE_COLUMNS => {
                let halves = [Constraint::Percentage(45), Constraint::Percentage(55)];
                let [left, right] = Layout::horizontal(halves).areas(middle);
                self.draw_list(frame, left);
                self.draw_detail(frame, right);
            }
            Some(_) => self.draw_detail(frame, middle),
        }
    }

    fn header(&self, now: Timestamp) -> Paragraph<'static> {
        let url = self.url().map_or("(not known yet)".to_owned(), plain);
        let line = |label: &'static str, text: Span<'static>| {
            Line::from(vec![Span::styled(label, DIM), text])
        };
        Paragraph::new(vec![
            line("Public URL  ", Span::styled(url, BOLD)),
            line("Target      ", Span::raw(plain(&self.target))),
            line("Connection  ", self.connection(now)),
        ])
        .block(Block::new().borders(Borders::BOTTOM))
    }

    fn connection(&self, now: Timestamp) -> Span<'static> {
        match &self.link {
            Link::Connecting => Span::styled("connecting", ODD),
            Link::Connected => {
                let events = count(self.came, "event", "events");
                Span::styled(format!("connected, {events}"), GOOD)
            }
            Link::Away { reason, next_try } => {
                let wait = soon(wait_until(*next_try, now));
                let reason = plain(reason);
                let words = format!("away, trying again {wait}: {reason}");
                Span::styled(words, BAD)
            }
        }
    }

    fn footer(&self) -> Line<'static> {
        match (&self.message, self.detail) {
            (Some(message), _) => Line::styled(plain(message), ODD),
            (None, None) => Line::styled(LIST_KEYS, DIM),
            (None, Some(_)) => Line::styled(DETAIL_KEYS, DIM),
        }
    }

    fn draw_list(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let height = usize::from(area.height);
        if self.detail.is_none() {
            self.page_lines = height.max(1);
        }
        let Some(selected) = self.place() else {
            let words = "Nothing has come yet. Give the public URL to whoever sends.";
            frame.render_widget(Paragraph::new(words).style(DIM), area);
            return;
        };
        // The newest at the bottom; the selected one is always to be seen.
        let bottom = self.rows.len().saturating_sub(height);
        let first = bottom.min(selected);
        let lines = self.rows.iter().enumerate().skip(first).take(height);
        let lines: Vec<Line<'static>> = lines
            .map(|(place, row)| {
                let line = list_line(row);
                if place == selected {
                    line.patch_style(Style::new().add_modifier(Modifier::REVERSED))
                } else {
                    line
                }
            })
            .collect();
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn draw_detail(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let Some(row) = self.row() else {
            return;
        };
        let block = Block::new().borders(Borders::LEFT);
        let inside = block.inner(area);
        let lines = wrapped(detail_lines(row), usize::from(inside.width).max(1));
        let height = usize::from(inside.height);
        self.scroll_max = lines.len().saturating_sub(height);
        self.page_lines = height.max(1);
        let at = self.detail.unwrap_or_default().min(self.scroll_max);
        self.detail = Some(at);
        let lines: Vec<Line<'static>> = lines.into_iter().skip(at).take(height).collect();
        frame.render_widget(Paragraph::new(lines).block(block), area);
    }
}

fn list_line(row: &Row) -> Line<'static> {
    let head = &row.head;
    let (status, style, rest) = match &row.end {
        None => ("...".to_owned(), ODD, String::new()),
        Some(end) => (status(&end.outcome), style(&end.outcome), took(end)),
    };
    let mut spans = vec![
        Span::styled(time_of_day(head.at), DIM),
        Span::raw(format!("  {:<6} ", cut(&plain(&head.method), 6))),
        Span::styled(format!("{status:<8} "), style),
        Span::raw(format!(
            "{:<KIND_COLUMNS$}  {}",
            cut(&kind(head), KIND_COLUMNS),
            cut(&plain(&head.path), PATH_COLUMNS),
        )),
        Span::styled(format!("  {rest}"), DIM),
    ];
    if let Some(number) = head.replay_of {
        spans.push(Span::styled(format!("  replay of #{number}"), ODD));
    }
    if row.repeats > 0 {
        let times = count(row.repeats.into(), "more time", "more times");
        spans.push(Span::styled(format!("  came {times}"), DIM));
    }
    Line::from(spans)
}

fn took(end: &Ended) -> String {
    let took = duration(end.took);
    match &end.outcome {
        Outcome::Failed(reason) => format!("{took}  {}", plain(reason)),
        _ => took,
    }
}

fn style(outcome: &Outcome) -> Style {
    match outcome {
        Outcome::Filtered => DIM,
        Outcome::Failed(_) => BAD,
        Outcome::Answer(answer) => match answer.status {
            200..=299 => GOOD,
            300..=399 => ODD,
            _ => BAD,
        },
    }
}

/// The text, with an ellipsis for what is beyond so many characters.
fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept = text.chars().take(chars_max.saturating_sub(1));
    kept.chain(['\u{2026}']).collect()
}

fn detail_lines(row: &Row) -> Vec<Line<'static>> {
    let head = &row.head;
    let title = |text: String| Line::styled(text, BOLD);
    let raw = |lines: Vec<String>| lines.into_iter().map(Line::raw);
    let mut lines = vec![title(format!(
        "#{}  {} {}",
        head.number,
        plain(&head.method),
        plain(&head.path)
    ))];
    let id = plain(&head.id);
    let kind = kind(head);
    lines.push(Line::styled(
        format!("{}  {id}  type {kind}", time_of_day(head.at)),
        DIM,
    ));
    lines.push(Line::default());
    lines.extend(raw(header_lines(&head.headers)));
    lines.push(Line::default());
    lines.extend(raw(body_lines(&row.body, head.body_bytes)));
    lines.push(Line::default());
    match &row.end {
        None => lines.push(Line::styled("the program has not answered yet", ODD)),
        Some(end) => lines.extend(end_lines(end)),
    }
    lines
}

fn end_lines(end: &Ended) -> Vec<Line<'static>> {
    let took = duration(end.took);
    match &end.outcome {
        Outcome::Filtered => vec![Line::styled("not forwarded: no --filter matches", DIM)],
        Outcome::Failed(reason) => {
            let words = format!("no answer after {took}: {}", plain(reason));
            vec![Line::styled(words, BAD)]
        }
        outcome @ Outcome::Answer(answer) => {
            let words = format!("{} after {took}", answer.status);
            let mut lines = vec![Line::styled(words, style(outcome).patch(BOLD))];
            lines.push(Line::default());
            lines.extend(header_lines(&answer.headers).into_iter().map(Line::raw));
            lines.push(Line::default());
            let body = body_lines(&answer.body, end.answer_bytes);
            lines.extend(body.into_iter().map(Line::raw));
            lines
        }
    }
}

/// The lines, none wider than `columns`: what is beyond goes on in the next.
fn wrapped(lines: Vec<Line<'static>>, columns: usize) -> Vec<Line<'static>> {
    let mut out = Vec::with_capacity(lines.len());
    for line in lines {
        if line.width() <= columns {
            out.push(line);
            continue;
        }
        // Every line in the detail is of one style.
        let text: String = line.spans.iter().map(|span| &*span.content).collect();
        let mut part = String::new();
        let mut width = 0;
        for c in text.chars() {
            let wide = columns_of(c);
            if width + wide > columns && !part.is_empty() {
                out.push(Line::styled(std::mem::take(&mut part), line.style));
                width = 0;
            }
            part.push(c);
            width += wide;
        }
        out.push(Line::styled(part, line.style));
    }
    out
}

fn columns_of(c: char) -> usize {
    if c.is_ascii() {
        1
    } else {
        Span::raw(c.to_string()).width()
    }
}
