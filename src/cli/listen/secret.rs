//! `hookpost listen --print-secret`: what verifies the events of a public URL.

use std::io;

use serde::Deserialize;

use super::super::remote::{Question, Remote, RemoteError, segment};
use super::super::{Console, EXIT_FAILED, EXIT_OK, EXIT_USAGE, answer};
use super::ListenArgs;
use super::options;
use crate::cli::printable::plain;

/// An endpoint that sends to an inbox.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    id: String,
    application_id: String,
}

#[derive(Deserialize)]
struct Secret {
    key: String,
}

/// Why no secret was printed.
#[derive(Debug, thiserror::Error)]
enum SecretError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Console(#[from] io::Error),
    #[error(
        "--print-secret needs --token, or HOOKPOST_LISTEN_TOKEN: the last part of the public URL"
    )]
    NoToken,
    #[error(
        "there is no inbox {0}; listen there once, and make an endpoint with the URL that is shown"
    )]
    NoInbox(String),
    #[error("no endpoint sends to {0}; make one with its URL, which `hookpost listen` shows")]
    NoEndpoint(String),
}

/// Prints the signing secret of each endpoint that sends to the public URL.
pub(super) fn print(args: &ListenArgs, console: &mut Console<'_>) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match runtime.block_on(secrets(args, console)) {
        Ok(()) => Ok(EXIT_OK),
        Err(SecretError::Console(error)) => Err(error),
        Err(error) => {
            let code = match &error {
                SecretError::Remote(error) => error.exit_code(),
                SecretError::NoToken => EXIT_USAGE,
                _ => EXIT_FAILED,
            };
            answer(Err(error.into()), code, console)
        }
    }
}

async fn secrets(args: &ListenArgs, console: &mut Console<'_>) -> Result<(), SecretError> {
    let token = options::given_token(args, console.environment);
    let (token, _) = token.ok_or(SecretError::NoToken)?;
    let mut remote = Remote::named(&args.server, console.environment)?;
    let path = format!("/inboxes/{}/endpoints", segment(&token));
    let asked = remote.ask(Question::get(path)).await;
    let answer = asked.map_err(|error| {
        if error.is_not_found() {
            SecretError::NoInbox(plain(&token))
        } else {
            error.into()
        }
    })?;
    let endpoints: Vec<Endpoint> = answer.json(remote.server())?;
    if endpoints.is_empty() {
        return Err(SecretError::NoEndpoint(plain(&token)));
    }
    for endpoint in endpoints {
        let path = format!(
            "/applications/{}/endpoints/{}/secret",
            segment(&endpoint.application_id),
            segment(&endpoint.id)
        );
        let answer = remote.ask(Question::get(path)).await?;
        let secret: Secret = answer.json(remote.server())?;
        writeln!(console.out, "{}", plain(&secret.key))?;
    }
    Ok(())
}
