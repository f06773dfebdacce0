//! Lines: for pipes, logs and other programs.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::json;

use super::text::{count, duration, soon, time_of_day};
use super::{Output, Running, outcome};
use crate::cli::printable::{json_line, plain};
use crate::relay::client::lost::Ended;
use crate::relay::client::notice::{Answered, Away, Head, Listening, Notice, Outcome};

/// Stands where an event says no type.
const NO_TYPE: &str = "-";

/// Writes a line for whatever happens, until the listener ends.
pub(super) async fn show(
    running: Running,
    output: Output,
    target: &str,
    out: &mut dyn Write,
) -> io::Result<Result<(), Ended>> {
    let Running {
        mut notices,
        mut ended,
        // Held: dropped, it stops the listener.
        stop: _stop,
        ..
    } = running;
    let mut lines = Lines::new(output, target);
    loop {
        tokio::select! {
            biased;
            Some(notice) = notices.recv() => write(out, lines.of(&notice))?,
            ended = &mut ended => {
                while let Ok(notice) = notices.try_recv() {
                    write(out, lines.of(&notice))?;
                }
                return outcome(ended);
            }
        }
    }
}

/// Flushed each time: whoever reads a pipe wants an event when it comes.
fn write(out: &mut dyn Write, lines: Option<String>) -> io::Result<()> {
    if let Some(lines) = lines {
        writeln!(out, "{lines}")?;
        out.flush()?;
    }
    Ok(())
}

/// Makes lines of notices.
struct Lines<'a> {
    output: Output,
    target: &'a str,
    /// Why there is no connection, as told last.
    away: Option<String>,
}

impl<'a> Lines<'a> {
    fn new(output: Output, target: &'a str) -> Self {
        Self {
            output,
            target,
            away: None,
        }
    }

    /// What to write, without the end of its last line. One try to connect
    /// after the other that fails in the same way is told once.
    fn of(&mut self, notice: &Notice) -> Option<String> {
        match notice {
            Notice::Away(away) => {
                let known = self.away.replace(away.reason.clone());
                let is_news = known.as_ref() != Some(&away.reason);
                is_news.then(|| self.away(away))
            }
            Notice::Back => {
                self.away = None;
                Some(self.back())
            }
            Notice::Listening(listening) => {
                self.away = None;
                Some(self.listening(listening))
            }
            Notice::Answered(answered) => Some(match self.output {
                Output::Pretty => pretty(answered),
                Output::Compact => compact(answered),
                Output::Json => event_json(answered),
            }),
            Notice::Repeated { id } => self.repeated(id),
            Notice::Arrived(_) => None,
        }
    }

    fn away(&self, away: &Away) -> String {
        if self.output == Output::Json {
            return json_line(
                &json!({"connection": {
                    "state": "away",
                    "reason": away.reason,
                    "nextTryMs": millis(away.next_try),
                }})
                .to_string(),
            );
        }
        let what = if away.lost {
            "connection lost"
        } else {
            "no connection"
        };
        let (reason, next) = (plain(&away.reason), soon(away.next_try));
        format!("{what}: {reason}; trying again {next}")
    }

    fn back(&self) -> String {
        if self.output == Output::Json {
            json!({"connection": {"state": "connected"}}).to_string()
        } else {
            "connected again".to_owned()
        }
    }

    fn listening(&self, listening: &Listening) -> String {
        let Listening { url, view, waiting } = listening;
        if self.output == Output::Json {
            return json_line(
                &json!({"listening": {
                    "url": url,
                    "target": self.target,
                    "view": view,
                    "waiting": waiting,
                }})
                .to_string(),
            );
        }
        let mut lines = forwarding(url, self.target);
        if self.output == Output::Pretty {
            if let Some(view) = view {
                write!(lines, "\nDashboard: {}", plain(view)).expect("a string takes all");
            }
            if *waiting > 0 {
                let events = count(
                    *waiting,
                    "event that was kept follows",
                    "events that were kept follow",
                );
                write!(lines, "\n{events}").expect("a string takes all");
            }
        }
        lines
    }

    fn repeated(&self, id: &str) -> Option<String> {
        match self.output {
            Output::Pretty => Some(format!(
                "{} came again, and got the same answer again",
                plain(id)
            )),
            Output::Compact => None,
            Output::Json => Some(json_line(&json!({"repeated": {"id": id}}).to_string())),
        }
    }
}

/// The line that says from where to where.
pub(super) fn forwarding(url: &str, target: &str) -> String {
    format!("{}  ->  {}", plain(url), plain(target))
}

fn pretty(answered: &Answered) -> String {
    let head = &answered.head;
    let mut line = format!(
        "{}  {:<6} {}  {}  {}  {}",
        time_of_day(head.at),
        plain(&head.method),
        plain(&head.path),
        kind(head),
        status(&answered.outcome),
        duration(answered.took),
    );
    if let Outcome::Failed(reason) = &answered.outcome {
        write!(line, "  {}", plain(reason)).expect("a string takes all");
    }
    line
}

fn compact(answered: &Answered) -> String {
    let head = &answered.head;
    let mut line = format!(
        "{} {} {} {} {}",
        time_of_day(head.at),
        plain(&head.method),
        kind(head),
        status(&answered.outcome),
        duration(answered.took).replace(' ', ""),
    );
    if let Outcome::Failed(reason) = &answered.outcome {
        write!(line, " {}", plain(reason)).expect("a string takes all");
    }
    line
}

fn event_json(answered: &Answered) -> String {
    let Answered {
        head,
        outcome,
        took,
    } = answered;
    let (state, error, response_bytes) = match outcome {
        Outcome::Answer(answer) => ("answered", None, Some(answer.body.len())),
        Outcome::Failed(reason) => ("failed", Some(reason), None),
        Outcome::Filtered => ("filtered", None, None),
    };
    let event = json!({"event": {
        "id": head.id,
        "at": head.at.rfc3339(),
        "method": head.method,
        "path": head.path,
        "type": head.event_type,
        "requestBytes": head.body_bytes,
        "outcome": state,
        "status": outcome.status(),
        "error": error,
        "responseBytes": response_bytes,
        "durationMs": millis(*took),
    }});
    json_line(&event.to_string())
}

/// The type of an event, for people.
pub(super) fn kind(head: &Head) -> String {
    let kind = head.event_type.as_deref();
    kind.map_or_else(|| NO_TYPE.to_owned(), plain)
}

/// The status of an event, for people.
pub(super) fn status(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Filtered => "filtered".to_owned(),
        outcome => outcome.status().to_string(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::time::Timestamp;
    use crate::relay::client::notice::Answer;

    fn answered(outcome: Outcome) -> Notice {
        let head = Head {
            number: 1,
            id: "rcv_1".to_owned(),
            method: "POST".to_owned(),
            below: String::new(),
            path: "/webhook?a".to_owned(),
            event_type: Some("a.b\u{1b}[2J".to_owned()),
            headers: Vec::new(),
            body_bytes: 3,
            at: Timestamp(1_795_305_600_000),
            replay_of: None,
        };
        Notice::Answered(Answered {
            head: Arc::new(head),
            outcome,
            took: Duration::from_millis(12),
        })
    }

    fn check(output: Output, notice: &Notice, want: &str) {
        let lines = Lines::new(output, "http://l:1/").of(notice);
        let lines = lines.expect("there is something to say");
        if output == Output::Json {
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(read(&lines), read(want), "{lines}");
            assert!(lines.is_ascii() && !lines.contains('\n'), "{lines}");
        } else {
            // It depends on where the test runs.
            let time = time_of_day(Timestamp(1_795_305_600_000));
            assert_eq!(lines.replace(&time, "TIME"), want, "{output:?}");
        }
    }

    #[test]
    fn an_event_is_a_line() {
        let answer = || {
            Outcome::Answer(Answer {
                status: 201,
                ..Answer::default()
            })
        };
        let failed = || Outcome::Failed("refused\u{7}".to_owned());
        for (output, outcome, want) in [
            (
                Output::Pretty,
                answer(),
                "TIME  POST   /webhook?a  a.b\\u{1b}[2J  201  12 ms",
            ),
            (
                Output::Pretty,
                failed(),
                "TIME  POST   /webhook?a  a.b\\u{1b}[2J  502  12 ms  refused\\u{7}",
            ),
            (
                Output::Compact,
                Outcome::Filtered,
                "TIME POST a.b\\u{1b}[2J filtered 12ms",
            ),
            (
                Output::Json,
                failed(),
                r#"{"event":{"at":"2026-11-22T00:00:00.000Z","durationMs":12,"error":"refused\u0007","id":"rcv_1","method":"POST","outcome":"failed","path":"/webhook?a","requestBytes":3,"responseBytes":null,"status":502,"type":"a.b\u001b[2J"}}"#,
            ),
        ] {
            check(output, &answered(outcome), want);
        }
    }

    #[test]
    fn where_it_listens_is_said_first() {
        let listening = Notice::Listening(Listening {
            url: "http://h/in/c_1/".to_owned(),
            view: Some("http://h/view".to_owned()),
            waiting: 2,
        });
        for (output, want) in [
            (
                Output::Pretty,
                "http://h/in/c_1/  ->  http://l:1/\nDashboard: http://h/view\n2 events that were kept follow",
            ),
            (Output::Compact, "http://h/in/c_1/  ->  http://l:1/"),
            (
                Output::Json,
                r#"{"listening":{"target":"http://l:1/","url":"http://h/in/c_1/","view":"http://h/view","waiting":2}}"#,
            ),
        ] {
            check(output, &listening, want);
        }
    }

    #[test]
    fn a_failure_to_connect_is_told_once() {
        let away = |reason: &str, next_try_s, lost| {
            Notice::Away(Away {
                reason: reason.to_owned(),
                next_try: Duration::from_secs(next_try_s),
                lost,
            })
        };
        let mut lines = Lines::new(Output::Pretty, "http://l:1/");
        for (notice, want) in [
            (
                away("refused", 0, false),
                Some("no connection: refused; trying again now"),
            ),
            (away("refused", 1, false), None),
            (
                away("reset", 5, true),
                Some("connection lost: reset; trying again in 5 s"),
            ),
            (away("reset", 5, true), None),
            (Notice::Back, Some("connected again")),
            (
                away("reset", 0, true),
                Some("connection lost: reset; trying again now"),
            ),
        ] {
            assert_eq!(lines.of(&notice).as_deref(), want, "{notice:?}");
        }
    }
}
