//! A log of the server: what it has had lately, then what comes.

use std::io;
use std::time::Duration;

use serde_json::value::RawValue;

use super::remote::{Question, Remote, RemoteError};
use crate::seams::clock::{Clock as _, SystemClock};

/// How long the server holds a question open while nothing is new.
const WAIT: Duration = Duration::from_secs(20);
/// After an answer without rows: one that comes at once, again and again,
/// would be asked for without end.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two tries to reach a server that is gone: first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Rows of one answer.
const PAGE: usize = 100;
/// Answers that are looked through for past rows: with a filter that matches
/// little each has few.
const PAGES_MAX: usize = 200;
/// Past rows that are kept until they are shown, oldest first.
pub(super) const PAST_ROWS_MAX: usize = 10_000;
const PAST_BYTES_MAX: usize = 64 << 20;

/// A row as the server wrote it.
pub(super) type Row = Box<RawValue>;

/// The query of a list.
pub(super) struct Query(url::form_urlencoded::Serializer<'static, String>);

impl Query {
    pub(super) fn new() -> Self {
        Self(url::form_urlencoded::Serializer::new(String::new()))
    }

    pub(super) fn with(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.append_pair(name, value);
        }
        self
    }

    fn finish(mut self) -> String {
        self.0.finish()
    }
}

/// What a log has had.
pub(super) struct Past {
    /// Oldest first.
    pub(super) rows: Vec<Row>,
    /// Whether there may be more of those that were asked for.
    pub(super) is_cut: bool,
    pub(super) place: Place,
}

/// A place in a log: nothing before it comes again, and nothing after it is left out.
pub(super) struct Place {
    /// The question for what is newer.
    path: String,
}

/// Up to `rows_max` rows of `list`, the newest that `query` asks for.
pub(super) async fn past(
    remote: &mut Remote,
    list: &str,
    query: Query,
    rows_max: usize,
) -> Result<Past, RemoteError> {
    let rows_max = rows_max.min(PAST_ROWS_MAX);
    let size = rows_max.clamp(1, PAGE).to_string();
    let wait = WAIT.as_secs().to_string();
    let query = query
        .with("pageSize", Some(&size))
        .with("wait", Some(&wait))
        .finish();
    let mut older = Some(format!("{list}?{query}"));
    let (mut rows, mut bytes, mut place) = (Vec::new(), 0, None);
    for _ in 0..PAGES_MAX {
        let Some(path) = older.take() else { break };
        let answer = remote.ask(Question::get(path)).await?;
        if place.is_none() {
            place = answer.link("prev").map(|path| Place { path });
        }
        older = answer.link("next");
        let page: Vec<Row> = answer.json(remote.server())?;
        bytes += page.iter().map(|row| row.get().len()).sum::<usize>();
        rows.extend(page);
        if rows.len() >= rows_max || bytes > PAST_BYTES_MAX {
            break;
        }
    }
    let is_cut = older.is_some() || rows.len() > rows_max;
    rows.truncate(rows_max);
    rows.reverse();
    let place = place.ok_or_else(|| not_followed(remote))?;
    Ok(Past {
        rows,
        is_cut,
        place,
    })
}

fn not_followed(remote: &Remote) -> RemoteError {
    RemoteError::NotHookpost {
        server: remote.server().to_string(),
        what: "its lists do not say how to follow them".to_owned(),
    }
}

/// What became of the connection, for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Lost(String),
    Back,
}

/// Goes on from a place, over lost connections.
pub(super) struct Follower {
    place: Place,
    /// How long the next try waits; `None` while all is well.
    retry: Option<Duration>,
}

impl Follower {
    pub(super) fn new(place: Place) -> Self {
        Self { place, retry: None }
    }

    /// What is newer, oldest first; may be nothing. Comes back when there is
    /// something, or after a while. What became of the connection is told by `tell`.
    ///
    /// # Errors
    /// What asking again will not mend, and those of `tell`.
    pub(super) async fn next(
        &mut self,
        remote: &mut Remote,
        tell: &mut dyn FnMut(Told) -> io::Result<()>,
    ) -> Result<Vec<Row>, FollowError> {
        let question = Question::get(self.place.path.clone()).waiting(WAIT);
        let answer = match remote.ask(question).await {
            Ok(answer) => answer,
            Err(error) if error.may_pass() => {
                let wait = self.retry.unwrap_or(RETRY_FIRST);
                if self.retry.is_none() {
                    tell(Told::Lost(error.to_string()))?;
                }
                SystemClock.sleep(wait).await;
                self.retry = Some((wait * 2).min(RETRY_MAX));
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        };
        if self.retry.take().is_some() {
            tell(Told::Back)?;
        }
        let rows: Vec<Row> = answer.json(remote.server())?;
        let path = answer.link("next").ok_or_else(|| not_followed(remote))?;
        self.place = Place { path };
        if rows.is_empty() {
            SystemClock.sleep(PAUSE).await;
        }
        Ok(rows)
    }
}

/// Why a log is followed no further.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The console's own.
    #[error(transparent)]
    Console(#[from] io::Error),
}
