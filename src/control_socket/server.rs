//! The server's end of the socket.

use std::fs::{self, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body;
use axum::extract::{Path as InPath, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::net::{UnixListener, UnixSocket};
use tokio::task::JoinHandle;

use super::{DeskError, Desks, KeyDesk, NewKey, Refused, jobs, path, users};
use crate::domain::message::JSON;
use crate::http::server::{ServerLimits, serve_unix};
use crate::store::WriteError;

const BACKLOG: u32 = 16;
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024;

/// Serves the socket in `data_dir` until `told`, then removes it.
///
/// Call it with the store open: its lock says that a socket that is there
/// belongs to nobody any more. Without the socket the server is as good, so
/// that a failure is logged and `None`.
pub(crate) fn start(
    data_dir: &Path,
    desks: Desks,
    told: impl Future<Output = ()> + Send + 'static,
    drain: Duration,
) -> Option<JoinHandle<()>> {
    let path = path(data_dir);
    let listener = match bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(
                path = %path.display(),
                %error,
                "cannot listen for `hookpost keys`, `users` and `jobs`; they work while the server is stopped"
            );
            return None;
        }
    };
    let file = SocketFile(path);
    let until_removed = async move {
        told.await;
        // Before the listener closes, so that nobody finds a socket without a server.
        drop(file);
    };
    Some(tokio::spawn(async move {
        let _ = serve_unix(
            listener,
            router(desks),
            ServerLimits::default(),
            until_removed,
            drain,
        )
        .await;
    }))
}

/// Nobody can connect before the mode is set: only then does it listen.
fn bind(path: &Path) -> io::Result<UnixListener> {
    remove(path)?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removed when it is dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // One that stays behind does no harm: the next start replaces it.
        let _ = remove(&self.0);
    }
}

fn router(desks: Desks) -> Router {
    keys_router(desks.keys)
        .merge(jobs::router(desks.jobs))
        .merge(users::router(desks.users))
}

fn keys_router(desk: KeyDesk) -> Router {
    Router::new()
        .route("/keys", get(list).post(create))
        .route("/keys/{id}/rotations", post(rotate))
        .route("/keys/{id}", delete(revoke))
        .with_state(desk)
}

async fn create(State(desk): State<KeyDesk>, request: Request) -> Result<Response, Failure> {
    let issued = desk.create(read(request).await?).await?;
    Ok(json(StatusCode::CREATED, &issued))
}

async fn list(State(desk): State<KeyDesk>) -> Response {
    json(StatusCode::OK, &desk.list())
}

async fn rotate(
    State(desk): State<KeyDesk>,
    InPath(id): InPath<String>,
) -> Result<Response, Failure> {
    Ok(json(StatusCode::CREATED, &desk.rotate(&id).await?))
}

async fn revoke(
    State(desk): State<KeyDesk>,
    InPath(id): InPath<String>,
) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &desk.revoke(&id).await?))
}

async fn read(request: Request) -> Result<NewKey, Failure> {
    let bytes = body::to_bytes(request.into_body(), BODY_BYTES_MAX)
        .await
        .map_err(|_| Failure::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Failure::Malformed)
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).expect("texts and numbers can be written as JSON");
    (status, [(CONTENT_TYPE, JSON)], text).into_response()
}

/// Why a question gets no good answer.
pub(super) enum Failure {
    Malformed,
    Desk(DeskError),
}

impl From<DeskError> for Failure {
    fn from(error: DeskError) -> Self {
        Self::Desk(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::Malformed => (
                StatusCode::BAD_REQUEST,
                "the question cannot be read; use the `hookpost` that the server runs".to_owned(),
            ),
            Self::Desk(error) => (status_of(&error), error.to_string()),
        };
        json(status, &Refused { error })
    }
}

fn status_of(error: &DeskError) -> StatusCode {
    match error {
        DeskError::NoKey(_) | DeskError::NoJob(_) | DeskError::NoUser(_) => StatusCode::NOT_FOUND,
        DeskError::NoEnvironment { .. }
        | DeskError::NoApplication(_)
        | DeskError::Scope { .. }
        | DeskError::Lifetime(_)
        | DeskError::Name
        | DeskError::Email { .. }
        | DeskError::NoRole(_)
        | DeskError::Store(WriteError::Refused(_)) => StatusCode::UNPROCESSABLE_ENTITY,
        DeskError::Store(WriteError::Store(_)) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
