//! A server over its API: what commands ask that run anywhere.
//!
//! The key is taken from the environment alone: a flag would be seen by
//! everybody who lists the machine's processes.

mod answer;
mod dial;
mod error;
mod segment;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

pub(super) use self::answer::Answer;
use self::dial::Dialler;
pub(super) use self::dial::Wire;
pub(super) use self::error::RemoteError;
pub(super) use self::segment::segment;
use crate::domain::secret::Secret;
use crate::domain::server_url::ServerUrl;
use crate::http::paging::PAGE_MAX;
use crate::serve::extra_roots;

/// Where the API is, below a server's URL.
const API: &str = "/api/v1";
/// For one question and its answer, unless the question says otherwise.
const DEADLINE: Duration = Duration::from_secs(15);
/// A page of rows, each with a response that was kept.
const ANSWER_BYTES_MAX: usize = PAGE_MAX * 128 * 1024;
/// A key is far shorter; a file that is not one is not read whole.
const KEY_FILE_BYTES_MAX: u64 = 4096;

const SERVER_VARIABLE: &str = "HOOKPOST_SERVER";
const KEY_VARIABLE: &str = "HOOKPOST_API_KEY";
const KEY_FILE_VARIABLE: &str = "HOOKPOST_API_KEY_FILE";
const CA_FILE_VARIABLE: &str = "HOOKPOST_CA_FILE";

/// Which server is asked.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "The API key is taken from HOOKPOST_API_KEY, or from the file that \
    HOOKPOST_API_KEY_FILE names. HOOKPOST_CA_FILE names certificates to trust beside the usual ones."
)]
pub struct ServerFlags {
    /// Which one to ask.
    #[arg(
        long,
        value_name = "URL",
        help = "URL of the server, or HOOKPOST_SERVER [default: http://127.0.0.1:8071]"
    )]
    pub server: Option<String>,
}

/// The server that flags and environment name, and what it is shown.
pub(super) struct Given {
    pub(super) server: ServerUrl,
    /// It can be a header's value.
    pub(super) key: Option<Secret>,
    /// Certificates that are trusted beside the usual ones.
    pub(super) roots: Vec<CertificateDer<'static>>,
}

impl Given {
    pub(super) fn read(
        flags: &ServerFlags,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, RemoteError> {
        let variable = |name| environment(name).filter(|text| !text.is_empty());
        let server = match (&flags.server, variable(SERVER_VARIABLE)) {
            (Some(text), _) => server_named("--server", text)?,
            (None, Some(text)) => server_named(SERVER_VARIABLE, &text)?,
            (None, None) => ServerUrl::default(),
        };
        let key = match (variable(KEY_VARIABLE), variable(KEY_FILE_VARIABLE)) {
            (Some(text), _) => Some(Secret::new(text.trim())),
            (None, Some(path)) => Some(key_in(Path::new(&path))?),
            (None, None) => None,
        };
        key.as_ref().map(bearer).transpose()?;
        let ca_file = variable(CA_FILE_VARIABLE).map(PathBuf::from);
        let roots = extra_roots(ca_file.as_deref()).map_err(RemoteError::Certificates)?;
        Ok(Self { server, key, roots })
    }
}

fn server_named(given_by: &'static str, text: &str) -> Result<ServerUrl, RemoteError> {
    ServerUrl::parse(text).map_err(|why| RemoteError::ServerUrl {
        given_by,
        text: text.to_owned(),
        why,
    })
}

/// One request to the API.
pub(super) struct Question {
    method: Method,
    /// Below the API's base, encoded, with its query.
    path: String,
    body: Bytes,
    idempotency_key: Option<String>,
    deadline: Duration,
}

impl Question {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: Bytes::new(),
            idempotency_key: None,
            deadline: DEADLINE,
        }
    }

    /// `body` is JSON.
    pub(super) fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            method: Method::POST,
            body: body.into(),
            ..Self::get(path)
        }
    }

    pub(super) fn with_idempotency_key(self, key: Option<String>) -> Self {
        Self {
            idempotency_key: key,
            ..self
        }
    }

    /// For a question whose answer may take so much longer.
    pub(super) fn waiting(self, longer: Duration) -> Self {
        Self {
            deadline: self.deadline + longer,
            ..self
        }
    }
}

/// A server, and the connection to it that is kept for the next question.
pub(super) struct Remote {
    dialler: Dialler,
    /// Marked as a secret.
    authorization: HeaderValue,
    kept: Option<SendRequest<Full<Bytes>>>,
}

impl Remote {
    /// The server that flags and environment name; nothing is asked yet.
    pub(super) fn named(
        flags: &ServerFlags,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, RemoteError> {
        let Given { server, key, roots } = Given::read(flags, environment)?;
        let key = key.ok_or(RemoteError::NoKey)?;
        Ok(Self {
            dialler: Dialler::new(server, &roots)?,
            authorization: bearer(&key)?,
            kept: None,
        })
    }

    /// The server that is asked.
    pub(super) fn server(&self) -> &ServerUrl {
        self.dialler.server()
    }

    /// A new connection to the server, encrypted where its URL says so.
    pub(super) async fn dial(&self) -> Result<Wire, RemoteError> {
        self.dialler.dial().await
    }

    /// The answer to a question, when it is a good one.
    pub(super) async fn ask(&mut self, question: Question) -> Result<Answer, RemoteError> {
        let answer = self.exchange(question).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(RemoteError::refused(self.server(), &answer))
    }

    /// One thing, or `None` when it is not there.
    pub(super) async fn find(&mut self, path: String) -> Result<Option<Answer>, RemoteError> {
        let answer = self.exchange(Question::get(path)).await?;
        if answer.status.is_success() {
            return Ok(Some(answer));
        }
        if answer.is_absent() {
            return Ok(None);
        }
        Err(RemoteError::refused(self.server(), &answer))
    }

    async fn exchange(&mut self, question: Question) -> Result<Answer, RemoteError> {
        let deadline = question.deadline;
        let request = self.request(question)?;
        let Ok(answer) = timeout(deadline, self.send(request)).await else {
            // What still comes on that connection answers nobody.
            self.kept = None;
            return Err(RemoteError::TimedOut {
                server: self.server().to_string(),
                after: deadline,
            });
        };
        answer
    }

    fn request(&self, question: Question) -> Result<Request<Full<Bytes>>, RemoteError> {
        let server = self.server();
        let mut request = Request::builder()
            .method(question.method)
            .uri(server.at(&format!("{API}{}", question.path)))
            .header(HOST, server.authority())
            .header(USER_AGENT, concat!("hookpost/", env!("CARGO_PKG_VERSION")))
            .header(AUTHORIZATION, &self.authorization);
        if !question.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = question.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(question.body));
        request.map_err(RemoteError::Unsendable)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, RemoteError> {
        let mut request = request;
        if let Some(mut kept) = self.kept.take() {
            match kept.try_send_request(request).await {
                Ok(response) => return self.read(kept, response).await,
                Err(mut error) => match error.take_message() {
                    // It had been closed meanwhile, and nothing was sent.
                    Some(unsent) => request = unsent,
                    None => return Err(self.broken(&error.into_error())),
                },
            }
        }
        let stream = self.dial().await?;
        let (mut requests, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(&error))?;
        // How it ends is told by the answer.
        tokio::spawn(async move { drop(connection.await) });
        let response = requests.send_request(request).await;
        let response = response.map_err(|error| self.broken(&error))?;
        self.read(requests, response).await
    }

    async fn read(
        &mut self,
        requests: SendRequest<Full<Bytes>>,
        response: http::Response<hyper::body::Incoming>,
    ) -> Result<Answer, RemoteError> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = match body {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return Err(match error.downcast::<hyper::Error>() {
                    Ok(error) => self.broken(&error),
                    Err(_) => RemoteError::TooLarge {
                        server: self.server().to_string(),
                    },
                });
            }
        };
        self.kept = Some(requests);
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    fn broken(&self, error: &hyper::Error) -> RemoteError {
        let server = self.server().to_string();
        if error.is_parse() {
            return RemoteError::NotHookpost {
                server,
                what: "it does not speak HTTP".to_owned(),
            };
        }
        RemoteError::Broken { server }
    }
}

fn key_in(path: &Path) -> Result<Secret, RemoteError> {
    use std::io::Read as _;
    let unreadable = |cause| RemoteError::KeyFile {
        path: path.to_owned(),
        cause,
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(KEY_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    Ok(Secret::new(text.trim()))
}

fn bearer(key: &Secret) -> Result<HeaderValue, RemoteError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose()))
        .ok()
        .filter(|_| !key.expose().is_empty())
        .ok_or(RemoteError::BadKey)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(server: Option<&str>, variables: &[(&str, &str)]) -> Result<Remote, RemoteError> {
        let flags = ServerFlags {
            server: server.map(str::to_owned),
        };
        let environment = |name: &str| {
            let found = variables.iter().find(|variable| variable.0 == name);
            found.map(|variable| variable.1.to_owned())
        };
        Remote::named(&flags, &environment)
    }

    #[test]
    fn the_flag_wins_over_the_variable_and_that_over_the_default() {
        const KEY: (&str, &str) = (KEY_VARIABLE, "k");
        let other = (SERVER_VARIABLE, "https://hooks.example/below/");
        for (flag, variables, want) in [
            (None, &[KEY][..], "http://127.0.0.1:8071"),
            (None, &[KEY, other], "https://hooks.example/below"),
            (None, &[KEY, (SERVER_VARIABLE, "")], "http://127.0.0.1:8071"),
            (Some("http://[::1]:9"), &[KEY, other], "http://[::1]:9"),
        ] {
            let remote = named(flag, variables).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(remote.server().to_string(), want);
        }
    }

    #[test]
    fn a_key_comes_from_the_environment_or_a_file_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "from-a-file\n").unwrap();
        let path = path.to_str().unwrap();
        let missing = folder.path().join("none");
        let missing = missing.to_str().unwrap();
        for (variables, want) in [
            (&[(KEY_VARIABLE, " k \n")][..], Ok("Bearer k")),
            (&[(KEY_FILE_VARIABLE, path)], Ok("Bearer from-a-file")),
            (&[], Err("no API key")),
            (&[(KEY_VARIABLE, "")], Err("no API key")),
            (&[(KEY_VARIABLE, "a\u{1}b")], Err("is no API key")),
            (&[(KEY_FILE_VARIABLE, missing)], Err("cannot read")),
        ] {
            match (named(None, variables), want) {
                (Ok(remote), Ok(want)) => assert_eq!(remote.authorization, want),
                (Err(error), Err(want)) => {
                    assert!(error.to_string().contains(want), "{error}");
                    assert!(error.is_usage(), "{error}");
                }
                (other, _) => panic!("{:?}", other.err()),
            }
        }
    }
}
