//! Hands a connection's requests to the app and tells the connection how that goes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tower::Service as _;

use super::PeerAddr;
use super::body::TimedBody;
use super::limits::ServerLimits;
use super::progress::Progress;
use super::refusal::Refusal;
use super::registry::Admission;
use super::takeover::Takeover;

/// The app, as one connection sees it.
pub(super) struct Answerer {
    app: Router,
    peer: Option<SocketAddr>,
    limits: Arc<ServerLimits>,
    progress: Arc<Progress>,
    takeover: Takeover,
}

impl Answerer {
    pub(super) fn new(
        app: Router,
        peer: Option<SocketAddr>,
        limits: &Arc<ServerLimits>,
        admission: &Admission,
        takeover: &Takeover,
    ) -> Self {
        Self {
            app,
            peer,
            limits: Arc::clone(limits),
            progress: Arc::clone(admission.progress()),
            takeover: takeover.clone(),
        }
    }

    fn reply_to(&self, mut request: Request<Incoming>) -> Reply {
        let ambiguous = self.progress.request_started();
        if let Some(refusal) = Refusal::of(&request, ambiguous) {
            return Reply::Refused(Some(refusal));
        }
        if request.uri().authority().is_some() {
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        }
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(PeerAddr(peer));
        }
        if request.headers().contains_key(UPGRADE) {
            request.extensions_mut().insert(self.takeover.clone());
        }
        let request = request.map(|body| {
            if body.is_end_stream() {
                Body::empty()
            } else {
                Body::new(TimedBody::new(body, Arc::clone(&self.limits)))
            }
        });
        Reply::Routed(self.app.clone().call(request))
    }
}

impl hyper::service::Service<Request<Incoming>> for Answerer {
    type Response = Response<Counted>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        Answer {
            reply: self.reply_to(request),
            progress: Arc::clone(&self.progress),
        }
    }
}

/// One request being answered.
pub(super) struct Answer {
    reply: Reply,
    progress: Arc<Progress>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are routed, and hyper keeps the one it polls in a box of its own"
)]
enum Reply {
    Routed(RouteFuture<Infallible>),
    Refused(Option<Refusal>),
}

impl Future for Answer {
    type Output = Result<Response<Counted>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = match &mut self.reply {
            Reply::Routed(route) => ready!(Pin::new(route).poll(cx))?,
            Reply::Refused(refusal) => refusal
                .take()
                .expect("not polled after it was ready")
                .into_response(),
        };
        if leaves_the_body_unread(response.status()) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        let progress = Arc::clone(&self.progress);
        Poll::Ready(Ok(response.map(|inner| Counted { inner, progress })))
    }
}

/// After such an answer the rest of the body would have to be read to reach the next request.
fn leaves_the_body_unread(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE
    )
}

/// A response body that notes when hyper is done with it.
pub(super) struct Counted {
    inner: Body,
    progress: Arc<Progress>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.progress.response_done();
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
