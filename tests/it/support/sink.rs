//! A customer's server: answers from a script, and remembers what came.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::app::PATIENCE;

/// One answer in a script.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    held: bool,
}

impl Reply {
    /// This status, and nothing else.
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            held: false,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.push((name, value));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Not sent before [`Sink::release`] lets it go.
    pub(crate) fn held(mut self) -> Self {
        self.held = true;
        self
    }

    fn response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).expect("a status");
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    /// The only header of that name; panics when there are several. "" when
    /// there is none.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(HeaderValue::to_str);
        assert!(values.next().is_none(), "several {name}");
        value.and_then(Result::ok).unwrap_or_default()
    }
}

/// An HTTP server on loopback. It answers from its script, then goes on with
/// 200 and an empty body, or with what [`always`](Self::always) said.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    script: Mutex<(VecDeque<Reply>, Reply)>,
    seen: watch::Sender<Vec<Seen>>,
    releases: Semaphore,
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, (VecDeque<Reply>, Reply)> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    pub(crate) async fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        Self::on(listener.expect("a free port"), script)
    }

    /// Another one at the address of one that has gone.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await;
        Self::on(listener.expect("it has gone"), [])
    }

    fn on(listener: TcpListener, script: impl IntoIterator<Item = Reply>) -> Self {
        let address = listener.local_addr().expect("is bound");
        let shared = Arc::new(Shared {
            script: Mutex::new((script.into_iter().collect(), Reply::status(200))),
            seen: watch::channel(Vec::new()).0,
            releases: Semaphore::new(0),
        });
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("it serves");
        });
        Self {
            address,
            shared,
            serving,
        }
    }

    /// A URL of this server.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Adds to the script.
    pub(crate) fn then(&self, reply: Reply) {
        self.shared.script().0.push_back(reply);
    }

    /// What is answered when the script is used up.
    pub(crate) fn always(&self, reply: Reply) {
        self.shared.script().1 = reply;
    }

    /// Lets so many held answers go.
    pub(crate) fn release(&self, answers: usize) {
        self.shared.releases.add_permits(answers);
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.shared.seen.borrow().clone()
    }

    /// Forgets all requests so far.
    pub(crate) fn clear(&self) {
        self.shared.seen.send_modify(Vec::clear);
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.seen.borrow().len()
    }

    /// Waits until there have been `n` requests; all so far.
    #[track_caller]
    pub(crate) fn wait_for(&self, n: usize) -> impl Future<Output = Vec<Seen>> + use<> {
        let mut seen = self.shared.seen.subscribe();
        let caller = std::panic::Location::caller();
        async move {
            let enough = seen.wait_for(|seen| seen.len() >= n);
            if let Ok(requests) = timeout(PATIENCE, enough).await {
                return requests.expect("the sink lives").clone();
            }
            let came = seen.borrow().len();
            panic!("{caller}: {came} of {n} requests came within {PATIENCE:?}")
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let seen = Seen {
        method: head.method.as_str().to_owned(),
        path: path.to_owned(),
        headers: head.headers,
        body: axum::body::to_bytes(body, usize::MAX)
            .await
            .unwrap_or_default(),
    };
    let reply = {
        let mut script = shared.script();
        script.0.pop_front().unwrap_or_else(|| script.1.clone())
    };
    shared.seen.send_modify(|requests| requests.push(seen));
    if reply.held {
        let permit = shared.releases.acquire().await.expect("never closed");
        permit.forget();
    }
    reply.response()
}

/// A URL at which somebody listens and never says a word: what is asked there
/// stays as it is for the length of a test.
pub(crate) fn silent_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("is bound");
    Box::leak(Box::new(listener));
    format!("http://{address}/")
}
