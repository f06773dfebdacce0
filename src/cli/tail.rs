//! `hookpost tail`: the log in a terminal, as it grows.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::follow::{self, FollowError, Follower, Past, Query, Row, Told};
use super::printable::json_line;
use super::remote::{Remote, RemoteError, ServerFlags, segment};
use super::rows::{AttemptRow, MessageRow};
use super::{Console, EXIT_FAILED, EXIT_OK, answer};
use crate::domain::fanout::EventFilter;
use crate::seams::clock::{Clock as _, SystemClock};

/// Applications whose names are kept.
const NAMES_MAX: usize = 1000;
/// Past lines that are shown when none are asked for.
const LINES_DEFAULT: usize = 10;

#[derive(Debug, Args)]
pub struct TailArgs {
    /// Only of this application, by id or uid
    #[arg(long, value_name = "ID")]
    pub application: Option<String>,
    /// Only for this endpoint, by id; with --application by uid too
    #[arg(long, value_name = "ID")]
    pub endpoint: Option<String>,
    /// Only attempts that ended so
    #[arg(long, conflicts_with = "messages")]
    pub status: Option<Status>,
    /// Only this event type; order.* is one further part, order.** any
    #[arg(long = "type", value_name = "PATTERN", value_parser = event_type)]
    pub event_type: Option<String>,
    /// Begin with what came in this time, such as 1h30m
    #[arg(long, value_name = "DURATION", value_parser = crate::domain::duration::parse)]
    pub since: Option<Duration>,
    /// Past lines to begin with, at most 10000 [default: 10, with --since all]
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = lines)]
    pub lines: Option<usize>,
    /// Follow messages in place of attempts
    #[arg(long)]
    pub messages: bool,
    /// Show what there is and end
    #[arg(long)]
    pub no_follow: bool,
    /// How lines look
    #[arg(long, value_name = "FORM", default_value = "pretty")]
    pub output: Output,
    #[command(flatten)]
    pub server: ServerFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Status {
    Succeeded,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// All that a line has room for
    Pretty,
    /// For narrow terminals
    Compact,
    /// Everything, as the API gives it: an object a line
    Json,
}

fn event_type(text: &str) -> Result<String, String> {
    EventFilter::parse(text).map(|_| text.to_owned())
}

fn lines(text: &str) -> Result<usize, String> {
    let most = follow::PAST_ROWS_MAX;
    let count = text.parse().ok().filter(|count| *count <= most);
    count.ok_or_else(|| format!("give a whole number from 0 to {most}"))
}

/// Writes lines until it is stopped, or cannot go on.
pub fn run(args: &TailArgs, console: &mut Console<'_>) -> io::Result<u8> {
    let remote = match Remote::named(&args.server, console.environment) {
        Ok(remote) => remote,
        Err(error) => {
            let code = error.exit_code();
            return answer(Err(error.into()), code, console);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match runtime.block_on(Tail::new(args, remote).run(console)) {
        Ok(()) => Ok(EXIT_OK),
        Err(FollowError::Console(error)) => Err(error),
        Err(FollowError::Remote(error)) => {
            let error = error.naming(&FLAGS);
            answer(Err(error.into()), EXIT_FAILED, console)
        }
    }
}

/// What the API calls what these flags say.
const FLAGS: [(&str, &str); 4] = [
    ("?application ", "--application "),
    ("?endpoint ", "--endpoint "),
    ("?eventType ", "--type "),
    ("`application`", "--application"),
];

struct Tail<'a> {
    args: &'a TailArgs,
    remote: Remote,
    /// What applications are called, by id.
    names: HashMap<String, String>,
}

impl<'a> Tail<'a> {
    fn new(args: &'a TailArgs, remote: Remote) -> Self {
        Self {
            args,
            remote,
            names: HashMap::new(),
        }
    }

    async fn run(mut self, console: &mut Console<'_>) -> Result<(), FollowError> {
        let Past {
            rows,
            is_cut,
            place,
        } = self.past().await?;
        if is_cut && (rows.len() < self.rows_wanted() || self.wants_all()) {
            let shown = rows.len();
            writeln!(
                console.err,
                "older lines are left out: these are the newest {shown}; a shorter --since or a narrower filter finds fewer"
            )?;
        }
        self.show(&rows, console).await?;
        // They may be many, and are not needed again.
        drop(rows);
        if self.args.no_follow {
            return Ok(());
        }
        let mut follower = Follower::new(place);
        loop {
            let mut tell = |told| match told {
                Told::Lost(why) => writeln!(console.err, "connection lost; trying again ({why})"),
                Told::Back => writeln!(console.err, "connected again"),
            };
            let rows = follower.next(&mut self.remote, &mut tell).await?;
            self.show(&rows, console).await?;
        }
    }

    async fn past(&mut self) -> Result<Past, RemoteError> {
        let args = self.args;
        let outcome = args.status.map(|status| match status {
            Status::Succeeded => "delivered",
            Status::Failed => "failed",
        });
        let since = args.since.map(|since| {
            let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            SystemClock.now().0.saturating_sub(since_ms).to_string()
        });
        let query = Query::new()
            .with("application", args.application.as_deref())
            .with("endpoint", args.endpoint.as_deref())
            .with("outcome", outcome)
            .with("eventType", args.event_type.as_deref())
            .with("after", since.as_deref());
        let list = if args.messages {
            "/messages"
        } else {
            "/attempts"
        };
        let wanted = self.rows_wanted();
        follow::past(&mut self.remote, list, query, wanted).await
    }

    fn rows_wanted(&self) -> usize {
        let usual = if self.wants_all() {
            follow::PAST_ROWS_MAX
        } else {
            LINES_DEFAULT
        };
        self.args.lines.unwrap_or(usual)
    }

    /// Whether all since a time is asked for.
    fn wants_all(&self) -> bool {
        self.args.lines.is_none() && self.args.since.is_some()
    }

    async fn show(&mut self, rows: &[Row], console: &mut Console<'_>) -> Result<(), FollowError> {
        for row in rows {
            let line = self.line(row).await?;
            writeln!(console.out, "{line}")?;
        }
        console.out.flush()?;
        Ok(())
    }

    async fn line(&mut self, row: &Row) -> Result<String, RemoteError> {
        let (output, json) = (self.args.output, row.get());
        if output == Output::Json {
            return Ok(json_line(json));
        }
        if self.args.messages {
            let row: MessageRow<'_> = self.parsed(json)?;
            return Ok(match output {
                Output::Compact => row.compact(),
                _ => row.whole(&self.name(&row.application_id).await),
            });
        }
        let row: AttemptRow = self.parsed(json)?;
        Ok(match output {
            Output::Compact => row.compact(),
            _ => row.whole(&self.name(&row.application_id).await),
        })
    }

    fn parsed<'j, T: Deserialize<'j>>(&self, json: &'j str) -> Result<T, RemoteError> {
        serde_json::from_str(json).map_err(|_| RemoteError::NotHookpost {
            server: self.remote.server().to_string(),
            what: "a row of its log is none".to_owned(),
        })
    }

    /// An application's uid, or its id where it has none or cannot be asked
    /// for: a name is not worth a line.
    async fn name(&mut self, id: &str) -> String {
        #[derive(Deserialize)]
        struct Application {
            uid: Option<String>,
        }
        if let Some(name) = self.names.get(id) {
            return name.clone();
        }
        let path = format!("/applications/{}", segment(id));
        let Ok(found) = self.remote.find(path).await else {
            return id.to_owned();
        };
        let found = found.and_then(|found| found.json(self.remote.server()).ok());
        let uid = found.and_then(|found: Application| found.uid);
        let name = uid.unwrap_or_else(|| id.to_owned());
        if self.names.len() == NAMES_MAX {
            self.names.clear();
        }
        self.names.insert(id.to_owned(), name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    #[test]
    fn flags_that_make_no_sense_are_named() {
        for (flags, words) in [
            (&["--type", "a b"][..], "--type"),
            (&["--since", "yesterday"], "--since"),
            (&["-n", "10001"], "from 0 to 10000"),
            (&["-n", "ten"], "from 0 to 10000"),
            (&["--status", "broken"], "succeeded, failed"),
            (&["--output", "xml"], "pretty, compact, json"),
            (&["--messages", "--status", "failed"], "--messages"),
            (&["--api-key", "x"], "--api-key"),
        ] {
            let words_of = [&["hookpost", "tail"], flags].concat();
            let refused = Cli::try_parse_from(&words_of).expect_err(words);
            assert_eq!(refused.exit_code(), 2, "{flags:?}");
            assert!(refused.to_string().contains(words), "{refused}");
        }
    }
}
