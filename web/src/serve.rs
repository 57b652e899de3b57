//! The listener: accepts, serves HTTP/1.1 and HTTP/2 on each connection, and stops in order.

use crate::{App, routes, state::Shared};
use axum::{Router, body::Body, http::Extensions};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tracing::{Instrument, debug, info, info_span, warn};

/// A client has so long to send a request's head; also how long a connection may idle between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// Open requests have so long to end once the server stops.
const DRAIN: Duration = Duration::from_millis(800);
/// Connections at a time; more wait unaccepted.
const MOST_CONNECTIONS: usize = 2048;
/// The most bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;
/// Histograms of the metrics are folded this often.
const UPKEEP: Duration = Duration::from_secs(5);

/// The two ends of the connection that a request came by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// The other end of a request's connection; unspecified for a request that came by none (tests).
pub(crate) fn peer(extensions: &Extensions) -> SocketAddr {
    extensions.get::<Ends>().map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |ends| ends.peer)
}

/// Starts serving on a listener that is already bound, in tasks of `tasks`, and returns its address at once. When `stop`
/// is cancelled, no more connections are accepted and open requests have 0.8 seconds to end; event streams end at once.
///
/// # Errors
/// When the store cannot be read, or the listener has no address.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: CancellationToken,
    tasks: &TaskTracker,
) -> io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    let metrics = app.metrics.clone();
    let shared = Shared::open(app, stop.clone()).await.map_err(io::Error::other)?;
    let task = AcceptTask { listener, router: routes::router(shared), stop: stop.clone(), tasks: tasks.clone() };
    tasks.spawn(task.run().instrument(info_span!("http", %address)));
    let upkeep = async move {
        let mut every = tokio::time::interval(UPKEEP);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            metrics.run_upkeep();
        }
    };
    tasks.spawn(upkeep.instrument(info_span!("metrics")));
    Ok(address)
}

struct AcceptTask {
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl AcceptTask {
    async fn run(self) {
        info!("accepting connections");
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        while let Some(permit) = self.stop.run_until_cancelled(room.clone().acquire_owned()).await {
            let permit = permit.expect("the semaphore is never closed");
            let Some(accepted) = self.stop.run_until_cancelled(self.listener.accept()).await else { break };
            match accepted {
                Ok((stream, peer)) => self.spawn(stream, peer, permit),
                Err(error) => {
                    // Of one connection (reset before it was accepted) or of the process (no more descriptors).
                    warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
        info!("no more connections are accepted");
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let (router, stop) = (self.router.clone(), self.stop.clone());
        let task = async move {
            if let Err(error) = connection(stream, peer, router, stop, HEAD_TIMEOUT).await {
                debug!(%error, "connection ended");
            }
            drop(permit);
        };
        self.tasks.spawn(task.instrument(tracing::debug_span!("connection", %peer)));
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    stop: CancellationToken,
    head_timeout: Duration,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let ends = Ends { peer, local: stream.local_addr()? };
    let asked = Arc::new(AtomicBool::new(false));
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(ends);
        router.clone().oneshot(request.map(Body::new))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(64)
        .max_header_list_size(HEAD_BYTES as u32)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    // hyper times the head of an HTTP/1.1 request, but not the bytes that tell the two versions apart.
    let first = async {
        sleep(head_timeout).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = serving.as_mut() => return ended,
        () = first => return Ok(()),
        () = stop.cancelled() => {}
    }
    serving.as_mut().graceful_shutdown();
    timeout(DRAIN, serving).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What the server answers to these bytes until it closes the connection.
    async fn answer_to(bytes: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let serving = connection(stream, peer, router, CancellationToken::new(), Duration::from_millis(200));
        client.write_all(bytes).await.unwrap();
        let read = async {
            let mut text = String::new();
            client.read_to_string(&mut text).await.map(|_| text).unwrap_or_default()
        };
        let (_, text) = timeout(Duration::from_secs(5), async { tokio::join!(serving, read) }).await.expect("closed");
        text
    }

    #[tokio::test]
    async fn slow_heads_do_not_hold_connections() {
        for start in ["", "G", "PRI * HT", "GET / HTTP/1.1\r\nHost: x\r\nX: "] {
            assert!(!answer_to(start.as_bytes()).await.contains("here"), "{start:?}");
        }
        assert!(answer_to(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.contains("here"), "then closed when idle");
    }
}
