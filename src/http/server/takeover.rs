//! Connections that stop speaking HTTP.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// Both directions of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection after its last answer: no more HTTP is spoken on it.
pub struct Taken {
    pub stream: Pin<Box<dyn Stream>>,
    /// What the client sent already.
    pub read: Bytes,
}

type Speaker = Box<dyn FnOnce(Taken) -> BoxFuture<'static, ()> + Send>;

/// In the extensions of a request that asks for another protocol: whoever
/// answers it with 101 says here who speaks from then on.
///
/// The connection keeps its place among the others, and goes with them when the
/// server stops.
#[derive(Clone, Default)]
pub struct Takeover(Arc<Mutex<Option<Speaker>>>);

impl Takeover {
    /// `speaker` gets the connection once the answer is written.
    pub fn by<F>(&self, speaker: impl FnOnce(Taken) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let speaker: Speaker = Box::new(move |taken| Box::pin(speaker(taken)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(speaker);
    }

    pub(super) fn speaker(&self) -> Option<Speaker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
