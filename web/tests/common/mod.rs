//! What the tests share: the whole surface on port 0 over a real store in a temporary folder, a client, and media.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stdout, unreachable_pub)]

pub mod consumer;
pub mod producer;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use media::{Cause, Event, Frame, Header, Start, StreamName, Track, TrackKind, UnixMicros, UnixMillis};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use store::{Offer, Store, Stream};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub mod push;
pub mod tls;

pub const KEY: &str = "root";
pub const SECRET: &str = "canary-secret-of-root";

pub fn now() -> UnixMillis {
    UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
}

/// A running surface.
pub struct Server {
    pub address: SocketAddr,
    /// The port that speaks TLS, if there is one; then `address` does not.
    pub tls: Option<SocketAddr>,
    pub store: Store,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    pub peers: signaling::Peers,
    /// How far the server's clock is ahead of this machine's, in ms.
    pub ahead_ms: Arc<AtomicI64>,
}

impl Server {
    pub async fn start(data: &Path) -> Server {
        Self::start_as(data, SECRET).await
    }
    pub async fn start_as(data: &Path, secret: &str) -> Server {
        Self::start_with(data, secret, web::AwsConfig::default()).await
    }
    pub async fn start_with(data: &Path, secret: &str, aws: web::AwsConfig) -> Server {
        Self::start_under(data, secret, aws, Default::default()).await
    }
    pub async fn start_under(
        data: &Path,
        secret: &str,
        aws: web::AwsConfig,
        putmedia: ingest::putmedia::Config,
    ) -> Server {
        Self::start_on(data, secret, aws, putmedia, Default::default()).await
    }
    /// With a port more that speaks TLS.
    pub async fn start_tls(data: &Path, tls: web::TlsConfig) -> Server {
        Self::start_on(data, SECRET, Default::default(), Default::default(), tls).await
    }
    /// With settings of signaling.
    pub async fn start_signaling(data: &Path, signaling: signaling::channel::Config) -> Server {
        Self::start_with_all(data, SECRET, Default::default(), Default::default(), Default::default(), signaling).await
    }
    async fn start_on(
        data: &Path,
        secret: &str,
        aws: web::AwsConfig,
        putmedia: ingest::putmedia::Config,
        tls: web::TlsConfig,
    ) -> Server {
        Self::start_with_all(data, secret, aws, putmedia, tls, Default::default()).await
    }
    async fn start_with_all(
        data: &Path,
        secret: &str,
        aws: web::AwsConfig,
        putmedia: ingest::putmedia::Config,
        tls: web::TlsConfig,
        signaling: signaling::channel::Config,
    ) -> Server {
        let config = store::Config { data: data.to_owned(), commit_interval_ms: 20, ..store::Config::default() };
        let ahead_ms = Arc::new(AtomicI64::new(0));
        let ahead = ahead_ms.clone();
        let clock = Arc::new(move || now().plus(ahead.load(Ordering::Relaxed)));
        let store = Store::open(config, clock).await.unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let here = tokio::runtime::Handle::current();
        let cameras = ingest::Cameras::start(ingest::Config::default(), store.clone(), stop.clone(), &tasks, &here);
        let webrtc = signaling::Config { listen: Some(([127, 0, 0, 1], 0).into()), ..signaling::Config::default() };
        let peers = signaling::Peers::start(webrtc, store.clone(), stop.clone(), &tasks).await.unwrap();
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let root = web::Root { access_key_id: KEY.into(), secret_access_key: secret.into() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = web::HttpConfig::default();
        let app = web::App {
            store: store.clone(),
            cameras,
            peers: peers.clone(),
            metrics,
            root,
            http,
            aws,
            putmedia,
            signaling,
        };
        let address = listener.local_addr().unwrap();
        let mut ports = vec![web::Port { listener, tls: None }];
        let mut tls_address = None;
        if let Some(tls) = tls.load().unwrap().or_else(|| tls.open_local(data, &[]).unwrap()) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tls_address = Some(listener.local_addr().unwrap());
            ports.push(web::Port { listener, tls: Some(tls) });
        }
        web::serve(app, ports, stop.clone(), &tasks).await.unwrap();
        Server { address, tls: tls_address, store, stop, tasks, peers, ahead_ms }
    }
    /// Stops all; how long the surface took.
    pub async fn stop(self) -> Duration {
        let began = std::time::Instant::now();
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let took = began.elapsed();
        self.store.stop().await.unwrap();
        took
    }
    /// A request as root.
    pub async fn root(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.send(method, path, &[("authorization", &basic(KEY, SECRET))], body).await
    }
    /// A request with these headers alone.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let typed = headers.iter().any(|(name, _)| *name == "content-type");
        let body = match body {
            Some(Value::String(text)) if typed => Bytes::from(text),
            Some(value) => {
                request = request.header("content-type", "application/json");
                value.to_string().into()
            }
            None => Bytes::new(),
        };
        let (response, sender) = sent(self.address, request.body(Full::new(body)).unwrap()).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        // Only now: the server has a limit of connections of one address, and some tests send more than that.
        drop(sender);
        Answer { status: parts.status, headers: parts.headers, body }
    }
    /// An operation of the AWS surface as root.
    pub async fn call(&self, operation: &str, body: Value) -> Answer {
        self.root("POST", &format!("/{operation}"), Some(body)).await
    }
    /// The same with a key of the catalog, `id:secret` as [`Server::key`] gives it.
    pub async fn call_as(&self, key: &str, operation: &str, body: Value) -> Answer {
        let authorization = format!("Basic {}", STANDARD.encode(key));
        self.send("POST", &format!("/{operation}"), &[("authorization", &authorization)], Some(body)).await
    }
    /// A new key of the catalog with this policy, as `id:secret`.
    pub async fn key(&self, policy: Value) -> String {
        let new = web::NewKey { user: "tester".into(), inline_policy: Some(policy), ..web::NewKey::default() };
        let made = web::create_key(&self.store, new).await.unwrap();
        format!("{}:{}", made.access_key_id, made.secret_access_key)
    }
    pub async fn stream(&self, name: &str) -> Stream {
        self.store.create_stream(&name.parse::<StreamName>().unwrap(), None).await.unwrap()
    }
    /// The playback path of a stream, without its file.
    pub async fn playback(&self, name: &str, body: Value) -> String {
        let answer = self.root("POST", &format!("/v1/streams/{name}/playback"), Some(body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let url = answer.json()["url"].as_str().unwrap().to_owned();
        url.strip_suffix("/index.m3u8").unwrap().to_owned()
    }
}

type Response = hyper::Response<hyper::body::Incoming>;

/// Sends a request on a connection of its own, which lives as long as what is given beside the response.
async fn sent(address: SocketAddr, request: Request<Full<Bytes>>) -> (Response, http1::SendRequest<Full<Bytes>>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    (sender.send_request(request).await.unwrap(), sender)
}

/// Sends a request on a connection of its own.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Response {
    let (response, sender) = sent(address, request).await;
    // The connection ends with the response; kept until then by its own task.
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(sender);
    });
    response
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
    /// The exception of the AWS surface that this is, with its status, and its message.
    pub fn refused(&self) -> (String, String) {
        let kind = self.header("x-amzn-errortype");
        let (name, rest) = kind.split_once(':').unwrap_or_else(|| panic!("{} {kind:?}", self.text()));
        assert_eq!(rest, "https://kinesisvideo.amazonaws.com/doc/2017-09-30/");
        assert_eq!(self.header("content-type"), "application/json");
        let body = self.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        (format!("{} {name}", self.status.as_u16()), body["Message"].as_str().unwrap().to_owned())
    }
    /// The answer of an operation that succeeded.
    pub fn done(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

pub fn basic(key: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{key}:{secret}")))
}

/// A header of H.264 alone, 320×180, baseline (as libx264 writes it). `variant` makes another header of it.
pub fn h264_header(variant: u8) -> Arc<Header> {
    let mut avcc = vec![
        0x01, 0x42, 0xc0, 0x0b, 0xff, 0xe1, 0x00, 0x19, 0x67, 0x42, 0xc0, 0x0b, 0xd9, 0x01, 0x41, 0x9f, 0x9f, 0x01,
    ];
    avcc.extend([0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x01, 0x40, 0xf1, 0x42, 0xa4]);
    avcc.extend([0x80, 0x01, 0x00, 0x05, 0x68, 0xcb, 0x83, 0xcb, 0x20]);
    let track = Track {
        number: 1 + variant,
        kind: TrackKind::Video,
        codec_id: Track::H264.to_owned(),
        codec_private: avcc.into(),
        size: Some((320, 180)),
        audio: None,
    };
    media::mkv::write_header(&[track]).shared()
}

/// Fragments to record: so many, of so many milliseconds, ten frames each.
pub struct Take {
    pub header: Arc<Header>,
    pub start: UnixMillis,
    pub fragments: u32,
    pub duration_ms: i64,
    pub cause: Option<Cause>,
}

/// Records a take; returns the producer time of its end.
pub async fn record(stream: &Stream, take: &Take) -> UnixMillis {
    let mut writer = stream.writer();
    let track = take.header.video().unwrap().number;
    let mut waits = Vec::new();
    for n in 0..i64::from(take.fragments) {
        let start = take.start.plus(n * take.duration_ms);
        let cause = take.cause.filter(|_| n == 0);
        let begin = Event::Begin(Start { header: take.header.clone(), producer_start: start, cause });
        writer.write(begin).await.unwrap();
        for frame in 0..10 {
            let time = UnixMicros(start.to_micros().0 + frame * take.duration_ms * 100);
            let kind = if frame == 0 { 0x65 } else { 0x41 };
            let nal = [0, 0, 0, 5, kind, 0x88, n as u8, frame as u8, 1];
            let frame = Frame { track, time, key: frame == 0, data: Bytes::copy_from_slice(&nal) };
            writer.write(Event::Frame(frame)).await.unwrap();
        }
        let Offer::Sealed(_, durable) = writer.write(Event::End).await.unwrap() else { panic!("sealed") };
        waits.push(durable);
    }
    for durable in waits {
        durable.wait().await.unwrap();
    }
    take.start.plus(i64::from(take.fragments) * take.duration_ms)
}

/// A take of H.264 that ends now.
pub fn take(fragments: u32, duration_ms: i64) -> Take {
    let start = now().plus(-i64::from(fragments) * duration_ms);
    Take { header: h264_header(0), start, fragments, duration_ms, cause: None }
}
