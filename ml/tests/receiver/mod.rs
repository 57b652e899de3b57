//! A receiver of deliveries that misbehaves as it is told, and what tests of deliveries share.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use media::{StreamName, UnixMillis};
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use store::{
    Store,
    records::{Secret, Target},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub const SECRET: &str = "a secret of the test";

/// A request as it arrived.
#[derive(Clone)]
pub struct Posted {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

/// What the receiver does with the nth request (from 0) to a path.
#[derive(Clone, Copy, PartialEq)]
pub enum Answer {
    Status(u16),
    Close,
    Hang,
}

/// A receiver that misbehaves as it is told and keeps what it was sent.
#[derive(Clone)]
pub struct Receiver {
    pub port: u16,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Receiver {
    pub async fn start(behave: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Receiver { port: listener.local_addr().unwrap().port(), posted: Arc::default() };
        let (shared, behave) = (receiver.clone(), Arc::new(behave));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (shared, behave) = (shared.clone(), behave.clone());
                tokio::spawn(async move {
                    let Some(posted) = read(&mut socket).await else { return };
                    let nth = shared.to(&posted.path).len();
                    shared.posted.lock().unwrap().push(posted.clone());
                    match behave(&posted.path, nth) {
                        Answer::Close => {}
                        Answer::Hang => std::future::pending().await,
                        Answer::Status(status) => {
                            let text =
                                format!("HTTP/1.1 {status} X\r\nLocation: /elsewhere\r\nContent-Length: 4\r\n\r\nbody");
                            socket.write_all(text.as_bytes()).await.unwrap();
                        }
                    }
                });
            }
        });
        receiver
    }

    /// What was posted to a path.
    pub fn to(&self, path: &str) -> Vec<Posted> {
        self.posted.lock().unwrap().iter().filter(|p| p.path == path).cloned().collect()
    }
}

async fn read(socket: &mut tokio::net::TcpStream) -> Option<Posted> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).ok()?;
    let mut lines = head.lines();
    let path = lines.next()?.strip_prefix("POST ")?.split(' ').next()?.to_owned();
    let headers: HashMap<String, String> =
        lines.filter_map(|l| l.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned())).collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    while bytes.len() < head_end + length {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Posted { path, headers, body: bytes.split_off(head_end) })
}

pub fn clock() -> store::Clock {
    Arc::new(|| UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64))
}

pub async fn open(data: &Path) -> Store {
    Store::open(store::Config { data: data.to_path_buf(), ..Default::default() }, clock()).await.unwrap()
}

pub fn name(text: &str) -> StreamName {
    text.parse().unwrap()
}

pub fn target(to: &str, port: u16, allow_local: bool) -> Target {
    let url = format!("http://127.0.0.1:{port}/{to}");
    Target { name: name(to), url, secret: Secret(SECRET.into()), allow_local, from_config: false }
}

/// Only deliveries matter here: without a model `start` says so, and delivers all the same.
pub async fn start(store: &Store) -> (CancellationToken, TaskTracker) {
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let nowhere = ml::Config { onnxruntime: Some("/nowhere/libonnxruntime.so".into()), ..Default::default() };
    let started = ml::Watches::start(nowhere, store.clone(), stop.clone(), &tasks).await;
    assert!(started.is_err_and(|e| !e.to_string().contains('\n')));
    (stop, tasks)
}

pub async fn end(stop: CancellationToken, tasks: TaskTracker) {
    stop.cancel();
    tasks.close();
    tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await.expect("ends in time");
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} did not happen within 10 s");
}

/// As a receiver would, from the headers and the body alone.
pub fn check_signatures(posted: &Posted) {
    let mac = |parts: &[&[u8]]| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        parts.iter().for_each(|p| mac.update(p));
        mac.finalize().into_bytes()
    };
    let stamp = &posted.headers["webhook-timestamp"];
    let standard = mac(&[posted.headers["webhook-id"].as_bytes(), b".", stamp.as_bytes(), b".", &posted.body]);
    assert_eq!(posted.headers["webhook-signature"], format!("v1,{}", BASE64.encode(standard)));
    let hex: String = mac(&[stamp.as_bytes(), b".", &posted.body]).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(posted.headers["x-vidicon-signature"], format!("t={stamp},v1={hex}"));
}
