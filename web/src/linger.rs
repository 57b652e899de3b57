//! A request body that is read on for a moment after nobody wants it.
//!
//! Who sends an endless body is still sending when its request is refused. Closing a connection with unread bytes makes
//! the kernel reset it, and a reset may overtake the refusal. So what comes is taken and dropped until the client has
//! read its answer and ended (RFC 9112 §9.6).

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// A client has so long to notice.
const PATIENCE: Duration = Duration::from_secs(2);

/// The body of a request; dropped before its end, it reads on.
pub(crate) struct Lingering {
    body: Option<Incoming>,
    tasks: TaskTracker,
}

impl Lingering {
    pub(crate) fn new(body: Incoming, tasks: TaskTracker) -> Self {
        Lingering { body: Some(body), tasks }
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }
    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let drain = async move {
            let read =
                async { while let Some(Ok(_)) = std::future::poll_fn(|c| Pin::new(&mut body).poll_frame(c)).await {} };
            let _ = tokio::time::timeout(PATIENCE, read).await;
        };
        self.tasks.spawn(drain.instrument(tracing::debug_span!("linger")));
    }
}
