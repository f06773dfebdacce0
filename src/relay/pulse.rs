//! Whether a connection is alive. A large frame takes its time on a slow way,
//! and its bytes show that somebody is there long before it is whole.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::seams::clock::Clock;

/// Looks within the time that a connection may stand still.
const LOOKS: u32 = 4;

/// What went over a connection until now, in bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    read: AtomicU64,
    written: AtomicU64,
}

impl Pulse {
    /// The same connection, counted.
    pub(super) fn of<S>(&self, stream: S) -> Felt<S> {
        let pulse = self.clone();
        Felt { stream, pulse }
    }

    pub(super) fn read(&self) -> u64 {
        self.0.read.load(Ordering::Relaxed)
    }

    /// Bytes that the system took.
    pub(super) fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }
}

/// What `future` gives; `None` when `count` stood still for `limit` before that.
pub(super) async fn while_growing<T>(
    clock: &dyn Clock,
    limit: Duration,
    count: impl Fn() -> u64,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    let (mut before, mut still) = (count(), 0);
    while still < LOOKS {
        tokio::select! {
            biased;
            done = &mut future => return Some(done),
            () = clock.sleep(limit / LOOKS) => {}
        }
        let now = count();
        still = if now == before { still + 1 } else { 0 };
        before = now;
    }
    None
}

/// A connection that is counted.
pub(super) struct Felt<S> {
    stream: S,
    pulse: Pulse,
}

impl<S: AsyncRead + Unpin> AsyncRead for Felt<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        let counts = &self.pulse.0;
        counts.read.fetch_add(read as u64, Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Felt<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            let counts = &self.pulse.0;
            counts.written.fetch_add(written as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
