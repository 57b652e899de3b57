//! The HTTP client that `object_store` is given: hyper on sockets of the one checked way out ([`crate::outbound`]), with ring.
//!
//! No redirects and no proxy; idle connections are kept for a while. Where the service lies is the operator's own word, so it may be
//! private; whatever else is asked (a token service) is public, and the metadata addresses of the clouds are reached only by the
//! requests for credentials that name them.

use super::config::StorageConfig;
use super::prompt::Prompt;
use crate::outbound::{self, Reach, trust};
use crate::{Error, Kind};
use async_trait::async_trait;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{Sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{self, pki_types::ServerName};

/// A connection that was idle for so long is not used again: services close theirs after some twenty seconds or more.
const IDLE: Duration = Duration::from_secs(15);
/// Idle connections kept of one place.
const MOST_IDLE: usize = 32;
/// Connecting and TLS have so long.
const CONNECT: Duration = Duration::from_secs(10);
/// Besides the limit for an answer, a body has a second for so many bytes.
const SLOWEST_BYTES_PER_S: u64 = 256 << 10;
/// Where clouds give out credentials of the machine: EC2, ECS and EKS.
const METADATA: [&str; 4] = ["169.254.169.254", "169.254.170.2", "169.254.170.23", "metadata.google.internal"];

/// A place to connect to: scheme, host without brackets, port.
type Place = (bool, String, u16);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Door(Arc<Inner>);

/// A connection that waits for its next request, and since when.
type Idle = (Instant, SendRequest<HttpRequestBody>);

struct Inner {
    tls: TlsConnector,
    /// The host of the configured endpoint.
    own: Option<String>,
    allow_http: bool,
    limit: Duration,
    /// Connections are driven here.
    runtime: Handle,
    idle: Mutex<HashMap<Place, Vec<Idle>>>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door")
    }
}

impl Door {
    /// Reads the system's certificates. Blocks.
    pub(crate) fn new(config: &StorageConfig, runtime: Handle) -> Result<Door, Error> {
        let file = config.ca_file.as_deref();
        let tls = trust::client(file).map_err(|why| {
            let file = file.map(|f| f.display().to_string()).unwrap_or_default();
            Error::of_configuration(format!("storage.ca_file {file}: {why}"))
        })?;
        let own = config.endpoint.as_deref().and_then(|e| url::Url::parse(e).ok());
        Ok(Door(Arc::new(Inner {
            tls: TlsConnector::from(Arc::new(tls)),
            own: own.and_then(|url| url.host_str().map(|host| bare(host).to_owned())),
            allow_http: config.allow_http,
            limit: Duration::from_secs(config.timeout_s),
            runtime,
            idle: Mutex::default(),
        })))
    }
}

impl HttpConnector for Door {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Door {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let uri = request.uri().clone();
        let tls = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or_else(|| failed(HttpErrorKind::Unknown, "the address has no host"))?;
        let place = (tls, bare(host).to_owned(), uri.port_u16().unwrap_or(if tls { 443 } else { 80 }));
        let request = origin_form(request)?;
        let length = request.body().content_length() as u64;
        let limit = self.0.limit + Duration::from_secs(length / SLOWEST_BYTES_PER_S);
        match timeout(limit, self.exchange(place, request)).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(failed(HttpErrorKind::Timeout, format!("no answer from {host} within {} s", limit.as_secs())))
            }
        }
    }
}

impl Door {
    async fn exchange(&self, place: Place, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        loop {
            let (mut sender, reused) = match self.reuse(&place) {
                Some(sender) => (sender, true),
                None => (self.open(&place).await?, false),
            };
            match sender.try_send_request(request).await {
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    let answer = Answer {
                        body,
                        back: Some((self.clone(), place, sender)),
                        stalled: Box::pin(tokio::time::sleep(self.0.limit)),
                    };
                    return Ok(HttpResponse::from_parts(head, HttpResponseBody::new(answer)));
                }
                Err(mut unsent) => match unsent.take_message() {
                    // The service had closed it meanwhile, and nothing was sent.
                    Some(again) if reused => request = again,
                    _ => return Err(of_hyper(unsent.into_error())),
                },
            }
        }
    }

    fn reuse(&self, place: &Place) -> Option<SendRequest<HttpRequestBody>> {
        let mut idle = self.0.idle.lock().unwrap_or_else(|e| e.into_inner());
        let kept = idle.get_mut(place)?;
        while let Some((since, sender)) = kept.pop() {
            if since.elapsed() < IDLE && sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, place: Place, sender: SendRequest<HttpRequestBody>) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.0.idle.lock().unwrap_or_else(|e| e.into_inner());
        let kept = idle.entry(place).or_default();
        kept.retain(|(since, sender)| since.elapsed() < IDLE && !sender.is_closed());
        if kept.len() < MOST_IDLE {
            kept.push((Instant::now(), sender));
        }
    }

    async fn open(&self, place: &Place) -> Result<SendRequest<HttpRequestBody>, HttpError> {
        let (door, place) = (self.clone(), place.clone());
        // On the runtime that outlives the caller, since others will use the connection.
        let opened = self.0.runtime.spawn(async move {
            let (tls, host, port) = &place;
            let metadata = METADATA.contains(&host.as_str());
            if !tls && !door.0.allow_http && !metadata {
                return Err(failed(
                    HttpErrorKind::Unknown,
                    format!("http://{host} is not allowed (storage.allow_http)"),
                ));
            }
            let socket = timeout(CONNECT, door.connect(host, *port, metadata));
            let late =
                || failed(HttpErrorKind::Connect, format!("{host} did not answer within {} s", CONNECT.as_secs()));
            let socket = socket.await.map_err(|_| late())??;
            let _ = socket.set_nodelay(true);
            let socket = Prompt(socket);
            if !tls {
                return shake(socket).await;
            }
            let name = ServerName::try_from(host.clone())
                .map_err(|e| failed(HttpErrorKind::Connect, format!("{host} is no name for TLS: {e}")))?;
            let socket = timeout(CONNECT, door.0.tls.connect(name, socket)).await.map_err(|_| late())?;
            shake(socket.map_err(|e| of_tls(host, &e))?).await
        });
        opened.await.map_err(|e| failed(HttpErrorKind::Interrupted, e.to_string()))?
    }

    async fn connect(&self, host: &str, port: u16, metadata: bool) -> Result<TcpStream, HttpError> {
        if metadata && let Ok(address) = host.parse::<IpAddr>() {
            let socket = TcpStream::connect(SocketAddr::new(address, port)).await;
            return socket.map_err(|e| failed(HttpErrorKind::Connect, format!("{host}: {e}")));
        }
        let own = self.0.own.as_deref().is_some_and(|own| own == host || host.ends_with(&format!(".{own}")));
        let reach = if own { Reach::Local } else { Reach::Public };
        outbound::connect(host, port, reach).await.map_err(|e| match e.kind() {
            Kind::Unavailable | Kind::NotFound => failed(HttpErrorKind::Connect, e.to_string()),
            _ => failed(HttpErrorKind::Unknown, e.to_string()),
        })
    }
}

async fn shake(
    socket: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<HttpRequestBody>, HttpError> {
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(of_hyper)?;
    // Ends with the connection; its errors reach whoever waits for an answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// The path alone, and the host in its header, as a server expects them.
fn origin_form(mut request: HttpRequest) -> Result<HttpRequest, HttpError> {
    let wrong = |e: &dyn fmt::Display| failed(HttpErrorKind::Unknown, format!("the address is wrong: {e}"));
    let authority = request.uri().authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
    if !request.headers().contains_key(HOST) {
        let host = HeaderValue::from_str(&authority).map_err(|e| wrong(&e))?;
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse();
    *request.uri_mut() = path.map_err(|e: hyper::http::uri::InvalidUri| wrong(&e))?;
    Ok(request)
}

/// Without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

/// A message for people, as an error.
#[derive(Debug)]
struct Words(String);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Words {}

fn failed(kind: HttpErrorKind, words: impl Into<String>) -> HttpError {
    HttpError::new(kind, Words(words.into()))
}

/// What begins an error that no second try mends: [`of_start`](super::bucket::of_start) knows it by that.
pub(super) const NO_TRUST: &str = "TLS is not possible";

fn of_tls(host: &str, error: &std::io::Error) -> HttpError {
    let cause = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    let why = match cause {
        Some(rustls::Error::InvalidCertificate(why)) => format!(
            "the certificate of the service is not accepted: {why} (storage.ca_file names what is trusted beside the system's)"
        ),
        Some(rustls::Error::InvalidMessage(_)) => "the service does not speak TLS there".to_owned(),
        // A connection that broke, for one.
        _ => return failed(HttpErrorKind::Connect, format!("TLS with {host}: {error}")),
    };
    failed(HttpErrorKind::Unknown, format!("{NO_TRUST} with {host}: {why}"))
}

fn of_hyper(error: hyper::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_parse() {
        HttpErrorKind::Decode
    } else {
        HttpErrorKind::Interrupted
    };
    HttpError::new(kind, error)
}

/// The body of an answer. At its end the connection can be used again.
struct Answer {
    body: Incoming,
    back: Option<(Door, Place, SendRequest<HttpRequestBody>)>,
    stalled: Pin<Box<Sleep>>,
}

impl Answer {
    fn ended(&mut self) {
        let Some((door, place, mut sender)) = self.back.take() else { return };
        let runtime = door.0.runtime.clone();
        // Ready a moment after the body's last byte.
        runtime.spawn(async move {
            if sender.ready().await.is_ok() {
                door.keep(place, sender);
            }
        });
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some((door, ..)) = &self.back {
                    let next = tokio::time::Instant::now() + door.0.limit;
                    self.stalled.as_mut().reset(next);
                }
                if self.body.is_end_stream() {
                    self.ended();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(e))) => {
                self.back = None;
                Poll::Ready(Some(Err(of_hyper(e))))
            }
            Poll::Ready(None) => {
                self.ended();
                Poll::Ready(None)
            }
            Poll::Pending => match self.stalled.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    self.back = None;
                    Poll::Ready(Some(Err(failed(HttpErrorKind::Timeout, "the answer stopped coming"))))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        // Asked after the last frame, it must not skip what `ended` does: that is done with the frame.
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // An answer without a body is never polled. One that is dropped before its end takes its connection along.
        if self.body.is_end_stream() {
            self.ended();
        }
    }
}
