//! The command's end of the socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{DeskError, IssuedKey, KeyLine, NewKey, Refused, path};

/// For one question and its answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// A list of some ten thousand keys.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A connection to the server that runs on a data directory.
pub(crate) struct Client {
    requests: SendRequest<Full<Bytes>>,
    path: PathBuf,
}

impl Client {
    /// `None` when no server answers there.
    pub(crate) async fn connect(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = path(data_dir);
        let stream = match UnixStream::connect(&path).await {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                bail!(
                    "this user may not use {}; run this as the user that the server runs as",
                    path.display()
                );
            }
            // No such file, one that a crash has left, or a path too long for a socket.
            Err(_) => return Ok(None),
        };
        let (requests, connection) = handshake(TokioIo::new(stream)).await?;
        // How it ends is told by the answer.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Some(Self { requests, path }))
    }

    pub(crate) async fn create(&mut self, new: &NewKey) -> anyhow::Result<IssuedKey> {
        self.ask(Method::POST, "/keys", serde_json::to_vec(new)?)
            .await
    }

    pub(crate) async fn list(&mut self) -> anyhow::Result<Vec<KeyLine>> {
        self.ask(Method::GET, "/keys", Vec::new()).await
    }

    pub(crate) async fn rotate(&mut self, id: &str) -> anyhow::Result<IssuedKey> {
        let path = format!("/keys/{}/rotations", in_path(id)?);
        self.ask(Method::POST, &path, Vec::new()).await
    }

    pub(crate) async fn revoke(&mut self, id: &str) -> anyhow::Result<KeyLine> {
        let path = format!("/keys/{}", in_path(id)?);
        self.ask(Method::DELETE, &path, Vec::new()).await
    }

    /// One question and its answer.
    pub(super) async fn ask<A: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<A> {
        let asked = timeout(DEADLINE, self.exchange(method, path, body)).await;
        let seconds = DEADLINE.as_secs();
        asked
            .unwrap_or_else(|_| Err(anyhow!("no answer within {seconds} s")))
            .with_context(|| format!("the server at {}", self.path.display()))
    }

    async fn exchange<A: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<A> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "localhost")
            .body(Full::new(Bytes::from(body)))?;
        let (head, body) = self.requests.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| anyhow!(error))?.to_bytes();
        if head.status.is_success() {
            return Ok(serde_json::from_slice(&bytes)?);
        }
        match serde_json::from_slice::<Refused>(&bytes) {
            Ok(refused) => Err(anyhow!(refused.error)),
            Err(_) => Err(anyhow!("answered {}", head.status)),
        }
    }
}

/// An id has letters, digits and underscores only; nothing else is one.
pub(super) fn is_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty() && text.bytes().all(fits)
}

fn in_path(id: &str) -> Result<&str, DeskError> {
    if is_id(id) {
        Ok(id)
    } else {
        Err(DeskError::NoKey(id.to_owned()))
    }
}
