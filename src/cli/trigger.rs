//! `hookpost trigger`: an example of an event, sent as a message.

mod report;
mod wait;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use self::report::Report;
use self::wait::{Waits, deliveries};
use super::follow::{self, FollowError, Follower, Place, Query};
use super::printable::plain;
use super::remote::{Question, Remote, RemoteError, ServerFlags, segment};
use super::{Console, EXIT_FAILED, EXIT_OK, EXIT_USAGE, answer};
use crate::domain::message::is_event_type;

/// Bytes of a payload that are read; the server's own limit is lower.
const PAYLOAD_BYTES_MAX: u64 = 64 << 20;
/// Applications that are listed when one has to be chosen.
const APPLICATIONS_SHOWN: usize = 10;

#[derive(Debug, Args)]
pub struct TriggerArgs {
    /// The event type, such as order.paid
    #[arg(value_parser = event_type)]
    pub event_type: String,
    /// The application, by id or uid; without it, the only one that there is
    #[arg(long, value_name = "ID")]
    pub application: Option<String>,
    /// Send to this endpoint alone, by id or uid, whatever it subscribes to
    #[arg(long, value_name = "ID", conflicts_with_all = ["data", "payload"])]
    pub endpoint: Option<String>,
    /// Which of the type's examples to send, counted from 0
    #[arg(long, value_name = "N", conflicts_with_all = ["data", "payload"])]
    pub example: Option<usize>,
    /// Send this JSON in place of an example
    #[arg(long, value_name = "JSON", conflicts_with = "payload")]
    pub data: Option<String>,
    /// Send the JSON in this file in place of an example; - is the standard input
    #[arg(long, value_name = "FILE")]
    pub payload: Option<PathBuf>,
    /// Send it once, however often this is run with the same key
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Wait, at most 30 s, until each delivery was tried once, and fail when one failed
    #[arg(long)]
    pub wait: bool,
    /// How the outcome is told
    #[arg(long, value_name = "FORM", default_value = "pretty")]
    pub output: Output,
    #[command(flatten)]
    pub server: ServerFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for people
    Pretty,
    /// One object, on one line
    Json,
}

fn event_type(text: &str) -> Result<String, &'static str> {
    if is_event_type(text) {
        Ok(text.to_owned())
    } else {
        Err("an event type has letters, digits, '-', '_' and '.', up to 256")
    }
}

/// Why nothing was sent, or not all of it arrived.
#[derive(Debug, thiserror::Error)]
enum TriggerError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Console(#[from] io::Error),
    /// What was asked after it had been sent.
    #[error("{id} is sent, but what becomes of it is not known here: {cause}")]
    SentOnly { id: String, cause: RemoteError },
    #[error("cannot read --payload {}: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("--payload {} is larger than {PAYLOAD_BYTES_MAX} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("{flag} is not JSON: {cause}")]
    NotJson {
        flag: &'static str,
        cause: serde_json::Error,
    },
    #[error(
        "there is no application yet; make one in the dashboard, or by POST /api/v1/applications"
    )]
    NoApplications,
    #[error("there are several applications; name one with --application:{0}")]
    SeveralApplications(String),
    #[error("there is no application {0:?} that this key sees; `--application` takes an id or uid")]
    NoApplication(String),
    #[error("the application has no endpoint {0:?}; `--endpoint` takes an id or uid")]
    NoEndpoint(String),
    #[error(
        "the catalog has no event type {0:?} that this application sees; give a payload with --data or --payload, or register the type with an example"
    )]
    NoType(String),
    #[error(
        "the event type {0:?} has no example; give a payload with --data or --payload, or give the type an example"
    )]
    NoExample(String),
    #[error("--example {at} is not there: the event type has {count}, counted from 0")]
    NoSuchExample { at: usize, count: usize },
}

impl From<FollowError> for TriggerError {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Remote(error) => Self::Remote(error),
            FollowError::Console(error) => Self::Console(error),
        }
    }
}

impl TriggerError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Remote(error) => error.exit_code(),
            Self::Unreadable { .. }
            | Self::TooLarge { .. }
            | Self::NotJson { .. }
            | Self::SeveralApplications(_) => EXIT_USAGE,
            _ => EXIT_FAILED,
        }
    }
}

/// Sends the message, and says what became of it.
pub fn run(args: &TriggerArgs, console: &mut Console<'_>) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match runtime.block_on(trigger(args, console)) {
        Ok(code) => Ok(code),
        Err(TriggerError::Console(error)) => Err(error),
        Err(error) => {
            let code = error.exit_code();
            answer(Err(error.into()), code, console)
        }
    }
}

async fn trigger(args: &TriggerArgs, console: &mut Console<'_>) -> Result<u8, TriggerError> {
    let own = own_payload(args, console.input)?;
    let mut remote = Remote::named(&args.server, console.environment)?;
    let application = application(&mut remote, args.application.as_deref()).await?;
    // From here on the log has every attempt of it, however many there are.
    let place = if args.wait {
        let query = Query::new().with("application", Some(&application.id));
        Some(
            follow::past(&mut remote, "/attempts", query, 0)
                .await?
                .place,
        )
    } else {
        None
    };
    let message = send(&mut remote, args, &application, own).await?;
    let told = tell(&mut remote, args, (&application, &message), place, console).await;
    told.map_err(|error| match error {
        TriggerError::Remote(cause) => TriggerError::SentOnly {
            id: plain(&message.id),
            cause,
        },
        other => other,
    })
}

/// Tells to whom the message goes and, with a place in the log from before it,
/// waits for what becomes of it there.
async fn tell(
    remote: &mut Remote,
    args: &TriggerArgs,
    (application, message): (&Application, &Sent),
    place: Option<Place>,
    console: &mut Console<'_>,
) -> Result<u8, TriggerError> {
    let deliveries = deliveries(remote, application, message).await?;
    let mut report = Report::new(args.output, console);
    report.sent(application, message, &deliveries)?;
    let mut code = EXIT_OK;
    if let Some(place) = place {
        let mut waits = Waits::new(message, &deliveries);
        let follower = Follower::new(place);
        waits
            .all(remote, application, follower, &mut report)
            .await?;
        report.left(&waits)?;
        if waits.failed || !waits.open.is_empty() {
            code = EXIT_FAILED;
        }
    }
    report.end(application, message, &deliveries)?;
    Ok(code)
}

/// The payload that the command line gives, checked.
fn own_payload(
    args: &TriggerArgs,
    input: &mut dyn Read,
) -> Result<Option<Box<RawValue>>, TriggerError> {
    let (flag, text) = match (&args.data, &args.payload) {
        (Some(text), _) => ("--data", text.clone().into_bytes()),
        (None, Some(path)) => ("--payload", read(path, input)?),
        (None, None) => return Ok(None),
    };
    let parsed = serde_json::from_slice(&text);
    parsed
        .map(Some)
        .map_err(|cause| TriggerError::NotJson { flag, cause })
}

fn read(path: &Path, input: &mut dyn Read) -> Result<Vec<u8>, TriggerError> {
    let unreadable = |cause| TriggerError::Unreadable {
        path: path.to_owned(),
        cause,
    };
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        input.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        let file = File::open(path).map_err(unreadable)?;
        file.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes)
    };
    read.map_err(unreadable)?;
    if bytes.len() as u64 > PAYLOAD_BYTES_MAX {
        let path = path.to_owned();
        return Err(TriggerError::TooLarge { path });
    }
    Ok(bytes)
}

#[derive(Deserialize)]
struct Application {
    id: String,
    uid: Option<String>,
    name: String,
}

impl Application {
    /// What people call it.
    fn shown(&self) -> &str {
        self.uid.as_deref().unwrap_or(&self.id)
    }

    fn path(&self, below: &str) -> String {
        format!("/applications/{}{below}", segment(&self.id))
    }
}

/// The application that is named, or the only one.
async fn application(
    remote: &mut Remote,
    named: Option<&str>,
) -> Result<Application, TriggerError> {
    if let Some(name) = named {
        let none = || TriggerError::NoApplication(name.to_owned());
        // No path leads to it.
        if name.is_empty() {
            return Err(none());
        }
        let found = remote
            .find(format!("/applications/{}", segment(name)))
            .await?;
        return Ok(found.ok_or_else(none)?.json(remote.server())?);
    }
    let page = format!("/applications?pageSize={}", APPLICATIONS_SHOWN + 1);
    let answer = remote.ask(Question::get(page)).await?;
    let mut all: Vec<Application> = answer.json(remote.server())?;
    if all.len() > 1 {
        return Err(TriggerError::SeveralApplications(choice(&all)));
    }
    all.pop().ok_or(TriggerError::NoApplications)
}

/// A line for each application, as far as they are shown.
fn choice(all: &[Application]) -> String {
    let mut text = String::new();
    for application in all.iter().take(APPLICATIONS_SHOWN) {
        text.push_str("\n  ");
        text.push_str(&plain(application.shown()));
        text.push_str("  ");
        text.push_str(&plain(&application.name));
    }
    if all.len() > APPLICATIONS_SHOWN {
        text.push_str("\n  and more");
    }
    text
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    id: String,
    event_type: String,
}

async fn send(
    remote: &mut Remote,
    args: &TriggerArgs,
    application: &Application,
    own: Option<Box<RawValue>>,
) -> Result<Sent, TriggerError> {
    let name = &args.event_type;
    let question = if let Some(endpoint) = &args.endpoint {
        let path = application.path(&format!("/endpoints/{}/examples", segment(endpoint)));
        let at = args.example.unwrap_or(0);
        let body = json!({"eventType": name, "example": at}).to_string();
        Question::post(path, body)
    } else {
        let payload = match own {
            Some(payload) => payload,
            None => example(remote, args, application).await?,
        };
        Question::post(application.path("/messages"), message(name, &payload))
    };
    let question = question.with_idempotency_key(args.idempotency_key.clone());
    let answer = remote
        .ask(question)
        .await
        .map_err(|error| match &args.endpoint {
            Some(endpoint) if error.is_not_found() => TriggerError::NoEndpoint(endpoint.clone()),
            _ => error.naming(&FLAGS).into(),
        })?;
    Ok(answer.json(remote.server())?)
}

/// What the API calls what this command's line says.
const FLAGS: [(&str, &str); 2] = [
    ("refused: eventType ", "refused: the event type "),
    ("refused: example ", "refused: --example "),
];

/// The body that sends `payload`, as it is to the byte.
fn message(event_type: &str, payload: &RawValue) -> Bytes {
    let name = serde_json::Value::from(event_type);
    Bytes::from(format!(
        "{{\"eventType\":{name},\"payload\":{}}}",
        payload.get()
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventType {
    examples: Vec<Box<RawValue>>,
    applications: Vec<String>,
    for_everyone: bool,
}

/// The example that the server would send for this application.
async fn example(
    remote: &mut Remote,
    args: &TriggerArgs,
    application: &Application,
) -> Result<Box<RawValue>, TriggerError> {
    let name = &args.event_type;
    let found = remote
        .find(format!("/event-types/{}", segment(name)))
        .await?;
    let found: Option<EventType> = match found {
        Some(found) => Some(found.json(remote.server())?),
        None => None,
    };
    let found =
        found.filter(|found| found.for_everyone || found.applications.contains(&application.id));
    let mut found = found.ok_or_else(|| TriggerError::NoType(name.clone()))?;
    let (at, count) = (args.example.unwrap_or(0), found.examples.len());
    if count == 0 {
        return Err(TriggerError::NoExample(name.clone()));
    }
    if at >= count {
        return Err(TriggerError::NoSuchExample { at, count });
    }
    Ok(found.examples.swap_remove(at))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn flags_that_make_no_sense_are_named() {
        for (flags, words) in [
            (&["a b"][..], "event type"),
            (&[], "<EVENT_TYPE>"),
            (&["a.b", "--data", "1", "--payload", "x"], "--payload"),
            (&["a.b", "--data", "1", "--example", "1"], "--example"),
            (&["a.b", "--payload", "x", "--endpoint", "e"], "--endpoint"),
            (&["a.b", "--example", "x"], "--example"),
            (&["a.b", "--output", "compact"], "pretty, json"),
        ] {
            let all = [&["hookpost", "trigger"], flags].concat();
            let refused = Cli::try_parse_from(&all).expect_err(words);
            assert_eq!(refused.exit_code(), 2, "{flags:?}");
            assert!(refused.to_string().contains(words), "{refused}");
        }
    }

    #[test]
    fn a_payload_is_sent_as_it_is_written() {
        let payload: &RawValue = serde_json::from_str("{ \"n\":1.50 }").unwrap();
        let body = message("a.b", payload);
        assert_eq!(body, r#"{"eventType":"a.b","payload":{ "n":1.50 }}"#);
    }

    #[test]
    fn applications_to_choose_from_are_listed_within_bounds() {
        let made = |at: usize| Application {
            id: format!("app_{at}"),
            uid: (at == 1).then(|| "a\u{1b}".to_owned()),
            name: "n\nn".to_owned(),
        };
        for (count, lines, more) in [(2, 2, false), (10, 10, false), (11, 11, true)] {
            let all: Vec<_> = (0..count).map(made).collect();
            let text = choice(&all);
            assert_eq!(text.matches("\n  ").count(), lines, "{text}");
            assert_eq!(text.ends_with("and more"), more, "{text}");
            assert!(text.contains("a\\u{1b}  n\\nn"), "{text}");
        }
    }
}
