//! From the client's errors to the closed list of outcomes.

use std::error::Error;
use std::io;
use std::iter::successors;

use super::connect::ConnectError;
use super::tls;
use crate::domain::attempt::Outcome;

pub(super) const HEAD_TOO_LARGE: &str =
    "the response's head is larger than 64 KB or has more than 100 headers";

/// Why `error` left the attempt without a status line.
///
/// The client wraps causes in causes; the deepest one that we know says most.
pub(super) fn outcome_of(error: &(dyn Error + 'static)) -> Outcome {
    causes(error)
        .filter_map(known_cause)
        .last()
        .unwrap_or_else(|| reset("the server closed the connection before it answered"))
}

/// The connector's own error inside `error`, when no connection came about.
pub(super) fn connect_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a ConnectError> {
    causes(error).find_map(<dyn Error>::downcast_ref)
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

fn known_cause(error: &(dyn Error + 'static)) -> Option<Outcome> {
    if let Some(error) = error.downcast_ref::<ConnectError>() {
        return Some(error.outcome.clone());
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Some(broken(error));
    }
    error.downcast_ref().and_then(not_http)
}

fn broken(error: &io::Error) -> Outcome {
    if let Some(error) = tls::tls_error(error) {
        let detail = tls::explain(error);
        return Outcome::TlsFailed { detail };
    }
    match error.kind() {
        io::ErrorKind::ConnectionReset => reset("the server reset the connection"),
        io::ErrorKind::BrokenPipe => reset("the server closed the connection during the request"),
        io::ErrorKind::UnexpectedEof => reset("the server closed the connection without a goodbye"),
        kind => reset(&format!("the connection broke: {kind}")),
    }
}

/// `None` for errors that only say that a deeper one ended the connection.
fn not_http(error: &hyper::Error) -> Option<Outcome> {
    let words = if error.is_incomplete_message() {
        return Some(reset(
            "the server closed the connection before it answered in full",
        ));
    } else if error.is_canceled() || error.is_closed() || error.is_user() {
        return None;
    } else if error.is_parse_too_large() {
        HEAD_TOO_LARGE
    } else if error.is_parse() {
        "the answer is not valid HTTP/1.1"
    } else if error.source().is_some() {
        return None;
    } else {
        // Bytes outside of a response: a server that speaks first, such as SMTP.
        "the server sent bytes that answer no request"
    };
    Some(protocol(words))
}

pub(super) fn protocol(words: &str) -> Outcome {
    Outcome::Protocol {
        detail: words.to_owned(),
    }
}

fn reset(words: &str) -> Outcome {
    Outcome::Reset {
        detail: words.to_owned(),
    }
}
