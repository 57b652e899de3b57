//! The listeners: accept, serve HTTP/1.1 and HTTP/2 on each connection, and stop in order.

use crate::{
    App,
    direct_body::{DirectBody, Wire},
    linger::Lingering,
    routes,
    seat::Seat,
    slots::Slots,
    state::Shared,
    tls::{self, Client, Io, Tls},
};
use axum::{Router, body::Body, http::Extensions};
use bytes::Bytes;
use hyper::{
    body::{Frame, Incoming, SizeHint},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tracing::{Instrument, debug, info, info_span, warn};

/// A client has so long to send a request's head; also how long a connection may idle between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// A client has so long to shake hands, where the port speaks TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Open requests have so long to end once the server stops.
const DRAIN: Duration = Duration::from_millis(800);
/// A connection that has no request open ends after so long, at most twice: clients of HTTP/2 would keep it for ever.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// What a client still reads when its connection has been idle has so long to go out.
const LINGER: Duration = Duration::from_secs(60);
/// Connections at a time; more wait unaccepted.
const MOST_CONNECTIONS: usize = 2048;
/// The most bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;
/// Histograms of the metrics are folded, and media that clients leave lying is given up, this often.
const UPKEEP: Duration = Duration::from_secs(5);

/// The two ends of the connection that a request came by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// Whether there is TLS between them.
    pub(crate) tls: bool,
}

/// The ends of a request's connection; unspecified for a request that came by none (tests).
pub(crate) fn ends(extensions: &Extensions) -> Ends {
    let none = SocketAddr::from(([0, 0, 0, 0], 0));
    extensions.get::<Ends>().copied().unwrap_or(Ends { peer: none, local: none, tls: false })
}

/// Ends a connection at once, whatever its client still has to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(CancellationToken);

impl Cut {
    pub(crate) fn now(&self) {
        self.0.cancel();
    }
    #[cfg(test)]
    pub(crate) fn is_cut(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// A port that is bound already, and the TLS that is spoken on it, if any.
pub struct Port {
    /// Accepts its connections.
    pub listener: TcpListener,
    /// `None`: plain HTTP.
    pub tls: Option<Tls>,
}

/// Starts serving on ports, in tasks of `tasks`; the bounds of connections hold for all ports together. When `stop`
/// is cancelled, no more connections are accepted and open requests have 0.8 seconds to end; event streams end at once.
///
/// # Errors
/// When the store cannot be read, or a listener has no address.
pub async fn serve(app: App, ports: Vec<Port>, stop: CancellationToken, tasks: &TaskTracker) -> io::Result<()> {
    let metrics = app.metrics.clone();
    let with_tls = ports.iter().filter_map(|port| port.tls.clone()).collect();
    let shared = Shared::open(app, with_tls, stop.clone(), tasks.clone()).await.map_err(io::Error::other)?;
    let router = routes::router(shared.clone());
    let (room, slots) = (Arc::new(Semaphore::new(MOST_CONNECTIONS)), Arc::new(Slots::default()));
    for Port { listener, tls } in ports {
        let address = listener.local_addr()?;
        if let Some(tls) = tls.clone() {
            tasks.spawn(tls.watch(stop.clone()).instrument(info_span!("certificate", %address)));
        }
        let task = AcceptTask {
            listener,
            tls,
            room: room.clone(),
            slots: slots.clone(),
            router: router.clone(),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(task.run().instrument(info_span!("http", %address)));
    }
    tasks.spawn(crate::aws::signaling::run(shared.clone()).instrument(info_span!("signaling")));
    tasks.spawn(crate::aws::signaling::run_masters(shared.clone()).instrument(info_span!("channel masters")));
    let upkeep = async move {
        let mut every = tokio::time::interval(UPKEEP);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            metrics.run_upkeep();
            shared.sending.end_stalled(Instant::now());
        }
    };
    tasks.spawn(upkeep.instrument(info_span!("upkeep")));
    Ok(())
}

struct AcceptTask {
    listener: TcpListener,
    tls: Option<Tls>,
    room: Arc<Semaphore>,
    slots: Arc<Slots>,
    router: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl AcceptTask {
    async fn run(self) {
        info!("accepting connections");
        while let Some(permit) = self.stop.run_until_cancelled(self.room.clone().acquire_owned()).await {
            let permit = permit.expect("the semaphore is never closed");
            let Some(accepted) = self.stop.run_until_cancelled(self.listener.accept()).await else { break };
            match accepted {
                Ok((stream, peer)) => match Seat::take(&self.room, permit, &self.slots, peer.ip()) {
                    Some(seat) => self.spawn(stream, peer, seat),
                    None => {
                        metrics::counter!("vidicon_http_connections_refused_total").increment(1);
                        debug!(%peer, "connection refused: its address has too many");
                    }
                },
                Err(error) => {
                    // Of one connection (reset before it was accepted) or of the process (no more descriptors).
                    warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
        info!("no more connections are accepted");
    }

    fn spawn(&self, stream: TcpStream, peer: SocketAddr, seat: Seat) {
        let (router, stop, tasks) = (self.router.clone(), self.stop.clone(), self.tasks.clone());
        let tls = self.tls.clone();
        let task = async move {
            let given = Given { router, seat: seat.clone(), stop, tasks };
            let served = match opened(stream, peer, tls, &given.stop).await {
                Ok(Some(opened)) => connection(opened, given, HEAD_TIMEOUT, IDLE_TIMEOUT).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = served {
                debug!(%error, "connection ended");
            }
            seat.end();
        };
        self.tasks.spawn(task.instrument(tracing::debug_span!("connection", %peer)));
    }
}

/// What happens on a connection.
#[derive(Default)]
struct Use {
    /// Requests so far, and those of them whose answers have not gone out whole.
    requests: AtomicUsize,
    open: AtomicUsize,
}

/// One open request.
struct Open(Arc<Use>);

impl Open {
    fn of(used: &Arc<Use>) -> Self {
        used.requests.fetch_add(1, Ordering::Relaxed);
        used.open.fetch_add(1, Ordering::Relaxed);
        Open(used.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer; its request is open until it has been sent or given up.
struct Answer {
    body: Body,
    _open: Open,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a connection is served with.
struct Given {
    router: Router,
    seat: Seat,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A connection that is ready for HTTP.
struct Opened {
    io: Io,
    ends: Ends,
    client: Option<Client>,
}

/// Makes a connection ready for HTTP; `None` where there is nothing more to do on it.
async fn opened(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    stop: &CancellationToken,
) -> io::Result<Option<Opened>> {
    stream.set_nodelay(true)?;
    let ends = Ends { peer, local: stream.local_addr()?, tls: tls.is_some() };
    let io = match &tls {
        None => Some(Io::Plain(stream)),
        Some(tls) => {
            let accepted = stop.run_until_cancelled(tls::accept(stream, tls, HANDSHAKE_TIMEOUT)).await;
            accepted.transpose()?.flatten()
        }
    };
    let client = |io: &Io| tls.as_ref().and_then(|tls| Client::of(io, tls));
    Ok(io.map(|io| Opened { client: client(&io), io, ends }))
}

async fn connection(
    opened: Opened,
    given: Given,
    head_timeout: Duration,
    idle_timeout: Duration,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Opened { io, ends, client } = opened;
    let (used, cut) = (Arc::new(Use::default()), Cut::default());
    let Given { router, seat, stop, tasks } = given;
    let wire = Wire::new(io);
    let readings = wire.readings();
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        let open = Open::of(&used);
        request.extensions_mut().insert(ends);
        if let Some(client) = &client {
            request.extensions_mut().insert(client.clone());
        }
        request.extensions_mut().insert(seat.clone());
        request.extensions_mut().insert(cut.clone());
        let is_endless = routes::streams_body(request.method(), request.uri().path());
        if is_endless {
            DirectBody::hold(&mut request, &readings);
        }
        // Whoever sends for ever must be able to read that nobody wants it.
        let answer = router.clone().oneshot(request.map(|body| match is_endless {
            true => Body::new(Lingering::new(body, tasks.clone())),
            false => Body::new(body),
        }));
        async move { answer.await.map(|answer| answer.map(|body| Body::new(Answer { body, _open: open }))) }
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
    // What is upgraded leaves its seat: signaling has bounds of its own.
    let serving = builder.serve_connection_with_upgrades(wire, service);
    let mut serving = std::pin::pin!(serving);
    // hyper times the head of an HTTP/1.1 request, but neither the bytes that tell the two versions apart nor HTTP/2.
    let idle = async {
        let mut wait = head_timeout;
        loop {
            let before = used.requests.load(Ordering::Relaxed);
            sleep(wait).await;
            if used.open.load(Ordering::Relaxed) == 0 && used.requests.load(Ordering::Relaxed) == before {
                break;
            }
            wait = idle_timeout;
        }
    };
    tokio::select! {
        ended = serving.as_mut() => return ended,
        () = cut.0.cancelled() => return Ok(()),
        () = seat.lost() => debug!("others have the place of a connection that was away"),
        () = idle => if used.requests.load(Ordering::Relaxed) == 0 { return Ok(()) },
        () = stop.cancelled() => {}
    }
    serving.as_mut().graceful_shutdown();
    let stopped = async {
        stop.cancelled().await;
        sleep(DRAIN).await;
    };
    tokio::select! {
        ended = serving => ended,
        () = cut.0.cancelled() => Ok(()),
        () = stopped => Ok(()),
        () = sleep(LINGER) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use axum::routing::get;
    use http_body_util::{BodyExt, Empty};
    use hyper::client::conn::http2;
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    const SHORT: Duration = Duration::from_millis(200);

    fn given(router: Router, peer: SocketAddr) -> Given {
        let (room, slots) = (Arc::new(Semaphore::new(1)), Arc::new(Slots::default()));
        let permit = room.clone().try_acquire_owned().unwrap();
        let seat = Seat::take(&room, permit, &slots, peer.ip()).unwrap();
        Given { router, seat, stop: CancellationToken::new(), tasks: TaskTracker::new() }
    }

    async fn plain(stream: TcpStream, peer: SocketAddr) -> Opened {
        opened(stream, peer, None, &CancellationToken::new()).await.unwrap().unwrap()
    }

    /// What the server answers to these bytes until it closes the connection.
    async fn answer_to(bytes: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let opened = plain(stream, peer).await;
        let serving = connection(opened, given(router, peer), SHORT, SHORT);
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

    #[tokio::test]
    async fn idle_http2_connections_end_and_busy_ones_do_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Answers at once, but its body takes far longer than a connection may idle.
        let slow = || async {
            Body::from_stream(futures_util::stream::once(async {
                sleep(5 * SHORT).await;
                Ok::<_, io::Error>("whole")
            }))
        };
        let router = Router::new().route("/", get(slow));
        let server = tokio::spawn(async move {
            let (stream, peer) = listener.accept().await.unwrap();
            let opened = plain(stream, peer).await;
            connection(opened, given(router, peer), SHORT, SHORT).await.map_err(|e| e.to_string())
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut client, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(driver);
        let request = hyper::Request::get(format!("http://{address}/")).body(Empty::<Bytes>::new()).unwrap();
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "whole");
        let idle_since = Instant::now();
        timeout(Duration::from_secs(5), server).await.expect("ended by the server").unwrap().unwrap();
        assert!(idle_since.elapsed() < Duration::from_secs(3));
        timeout(Duration::from_secs(5), driver).await.expect("closed").unwrap().ok();
        drop(client);
    }
}
