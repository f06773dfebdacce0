//! What is told of the message, in lines or as one object.

use std::fmt::Write as _;
use std::io;

use serde_json::json;

use super::wait::{Delivery, WAIT_MAX, Waits};
use super::{Application, Output, Sent};
use crate::cli::Console;
use crate::cli::follow::Row;
use crate::cli::printable::{json_line, plain};
use crate::cli::rows::AttemptRow;

/// What is told, and to whom.
pub(super) struct Report<'r, 'c> {
    output: Output,
    console: &'r mut Console<'c>,
    /// For one object at the end.
    attempts: Vec<String>,
    waiting: Option<usize>,
}

impl<'r, 'c> Report<'r, 'c> {
    pub(super) fn new(output: Output, console: &'r mut Console<'c>) -> Self {
        Self {
            output,
            console,
            attempts: Vec::new(),
            waiting: None,
        }
    }

    pub(super) fn sent(
        &mut self,
        application: &Application,
        message: &Sent,
        deliveries: &[Delivery],
    ) -> io::Result<()> {
        if self.output == Output::Json {
            return Ok(());
        }
        let (id, name) = (plain(&message.id), plain(&message.event_type));
        let shown = plain(application.shown());
        writeln!(self.console.out, "sent {id}: {name} to {shown}")?;
        let whither = match deliveries.len() {
            0 => "it goes to no endpoint: none takes this event type".to_owned(),
            1 => "it goes to 1 endpoint".to_owned(),
            count => format!("it goes to {count} endpoints"),
        };
        let follow = plain(&application.id);
        writeln!(
            self.console.out,
            "{whither}; follow it: hookpost tail --application {follow}"
        )?;
        self.console.out.flush()
    }

    pub(super) fn attempt(&mut self, attempt: &AttemptRow, row: &Row) -> io::Result<()> {
        if self.output == Output::Json {
            self.attempts.push(json_line(row.get()));
            return Ok(());
        }
        writeln!(self.console.out, "{}", attempt.brief())?;
        self.console.out.flush()
    }

    /// Tells what was not tried.
    pub(super) fn left(&mut self, waits: &Waits<'_>) -> io::Result<()> {
        self.waiting = Some(waits.open.len());
        if self.output == Output::Json {
            return Ok(());
        }
        for endpoint in &waits.open {
            let seconds = WAIT_MAX.as_secs();
            let why = endpoint.holds().map_or_else(
                || format!("not tried within {seconds} s"),
                |why| format!("not tried: {why}"),
            );
            let url = plain(&endpoint.url);
            writeln!(self.console.out, "waiting    {why}  {url}")?;
        }
        Ok(())
    }

    pub(super) fn end(
        &mut self,
        application: &Application,
        message: &Sent,
        deliveries: &[Delivery],
    ) -> io::Result<()> {
        if self.output != Output::Json {
            return Ok(());
        }
        let told = json!({
            "id": message.id,
            "eventType": message.event_type,
            "applicationId": application.id,
            "endpoints": deliveries.len(),
        });
        let mut line = json_line(&told.to_string());
        if let Some(waiting) = self.waiting {
            let attempts = self.attempts.join(",");
            line.pop();
            write!(line, ",\"waiting\":{waiting},\"attempts\":[{attempts}]}}")
                .expect("writing to a text cannot fail");
        }
        writeln!(self.console.out, "{line}")
    }
}
