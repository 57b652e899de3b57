//! Alerts reach targets that fail, break off, hang, redirect and must not be reached; a restart goes on.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use media::{FragmentNumber, StreamName, UnixMillis};
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use store::{
    Store,
    notifications::Destination,
    records::{Alert, Delivery, DeliveryState, Detection, Secret, Target},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const SECRET: &str = "a secret of the test";

/// A request as it arrived.
#[derive(Clone)]
struct Posted {
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

/// What the receiver does with the nth request (from 0) to a path.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Status(u16),
    Close,
    Hang,
}

/// A receiver that misbehaves as it is told and keeps what it was sent.
#[derive(Clone)]
struct Receiver {
    port: u16,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Receiver {
    async fn start(behave: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Receiver {
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
    fn to(&self, path: &str) -> Vec<Posted> {
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

fn clock() -> store::Clock {
    Arc::new(|| UnixMillis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64))
}

async fn open(data: &Path) -> Store {
    Store::open(store::Config { data: data.to_path_buf(), ..Default::default() }, clock()).await.unwrap()
}

fn name(text: &str) -> StreamName {
    text.parse().unwrap()
}

fn target(to: &str, port: u16, allow_local: bool) -> Target {
    let url = format!("http://127.0.0.1:{port}/{to}");
    Target { name: name(to), url, secret: Secret(SECRET.into()), allow_local, from_config: false }
}

async fn raise(store: &Store, id: &str, targets: &[&str]) {
    let now = store.now();
    let detection = Detection {
        fragment: FragmentNumber::new(1, now.0 as u64, 0),
        offset_ms: 40,
        time: now,
        class: "person".into(),
        score: 0.9,
        bounds: [0.1, 0.2, 0.3, 0.4],
    };
    let alert = Alert { id: id.into(), rule: name("people"), stream: name("gate"), detection, raised_at: now };
    let targets: Vec<StreamName> = targets.iter().map(|t| name(t)).collect();
    store.raise_alert(alert, b"not really a jpeg".to_vec(), &targets).await.unwrap();
}

/// Only deliveries matter here: without a model `start` says so, and delivers all the same.
async fn start(store: &Store) -> (CancellationToken, TaskTracker) {
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let nowhere = ml::Config { onnxruntime: Some("/nowhere/libonnxruntime.so".into()), ..Default::default() };
    let started = ml::Watches::start(nowhere, store.clone(), stop.clone(), &tasks).await;
    assert!(started.is_err_and(|e| !e.to_string().contains('\n')));
    (stop, tasks)
}

async fn end(stop: CancellationToken, tasks: TaskTracker) {
    stop.cancel();
    tasks.close();
    tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await.expect("ends in time");
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} did not happen within 10 s");
}

async fn delivery(store: &Store, to: &str) -> Delivery {
    store.deliveries(None, 100).await.unwrap().into_iter().find(|d| d.to == Destination::Target(name(to))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_that_misbehave_get_their_alert_once_they_behave_and_hold_up_nobody() {
    let receiver = Receiver::start(|path, nth| match (path, nth) {
        ("/flaky", 0) => Answer::Status(500),
        ("/flaky", 1) => Answer::Close,
        ("/forbids", _) => Answer::Status(403),
        ("/moved", _) => Answer::Status(302),
        ("/slow", _) => Answer::Hang,
        _ => Answer::Status(204),
    })
    .await;
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path()).await;
    store.create_stream(&name("gate"), None).await.unwrap();
    let all = ["slow", "flaky", "forbids", "moved", "private", "good"];
    for to in all {
        store.put_target(target(to, receiver.port, to != "private")).await.unwrap();
    }
    let (stop, tasks) = start(&store).await;
    raise(&store, "0190-first", &all).await;
    for n in 0..4 {
        // More for the slow one than it may have under way at once.
        raise(&store, &format!("0190-more-{n}"), &["slow"]).await;
    }
    until("the good target is told while the slow one hangs", async || receiver.to("/good").len() == 1).await;
    until("the flaky target is told at the third attempt", async || {
        delivery(&store, "flaky").await.state == DeliveryState::Delivered
    })
    .await;

    let flaky = receiver.to("/flaky");
    assert_eq!(flaky.len(), 3);
    for posted in &flaky {
        assert_eq!(posted.headers["webhook-id"], "0190-first");
        assert_eq!(posted.body, flaky[0].body, "a repeat is the same body");
        check_signatures(posted);
    }
    let event: serde_json::Value = serde_json::from_slice(&flaky[0].body).unwrap();
    assert_eq!((&event["id"], &event["type"]), (&"0190-first".into(), &"vidicon.alert.v1".into()));
    assert_eq!(event["data"]["snapshot_jpeg_base64"], BASE64.encode("not really a jpeg"));
    assert_eq!(delivery(&store, "flaky").await.attempts, 3);

    let (forbids, moved) = (delivery(&store, "forbids").await, delivery(&store, "moved").await);
    assert_eq!((forbids.state, moved.state), (DeliveryState::Pending, DeliveryState::Pending));
    assert!(forbids.last_error.as_deref().unwrap().contains("403"), "{forbids:?}");
    assert!(moved.last_error.as_deref().unwrap().contains("redirects are not followed"), "{moved:?}");
    let private = delivery(&store, "private").await;
    assert!(private.last_error.is_some() && private.state == DeliveryState::Pending, "{private:?}");
    assert!(receiver.to("/elsewhere").is_empty() && receiver.to("/private").is_empty());
    assert!(receiver.to("/slow").len() <= 2, "not more under way than a target may have");
    assert!(receiver.to("/good").len() == 1, "a delivered alert is not sent again");

    // Stopped while the slow one hangs: what was not delivered is delivered by the next run.
    end(stop, tasks).await;
    store.stop().await.unwrap();
    let store = open(data.path()).await;
    let mended = Receiver::start(|_, _| Answer::Status(200)).await;
    store.put_target(target("slow", mended.port, true)).await.unwrap();
    let (stop, tasks) = start(&store).await;
    until("the slow target is told after the restart", async || mended.to("/slow").len() == 5).await;
    let mut ids: Vec<_> = mended.to("/slow").iter().map(|p| p.headers["webhook-id"].clone()).collect();
    ids.sort();
    assert_eq!(ids, ["0190-first", "0190-more-0", "0190-more-1", "0190-more-2", "0190-more-3"]);
    end(stop, tasks).await;
    store.stop().await.unwrap();
}

/// As a receiver would, from the headers and the body alone.
fn check_signatures(posted: &Posted) {
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
