//! A thousand producers, a disk that stalls, cameras, and readers and viewers that do not read: memory stays within its bounds, and nothing
//! is lost.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "common/pushing.rs"]
mod pushing;

use common::{KEY, SECRET, Server, basic, eventually, header, serve};
use pushing::{chunk, cluster, head, is_clean, make_streams, now, session};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

const STREAMS: usize = 1000;
/// Fragments of each: all together are many times the budget.
const FRAGMENTS: u64 = 10;
const BYTES: usize = 40_000;
const MIB: u64 = 1 << 20;
const BUDGET: u64 = 48 * MIB;
const TAIL: u64 = 8 * MIB;
/// What a session takes beside: buffers, its task, maps (docs/operations.md).
const A_SESSION: u64 = 128 << 10;
/// What the allocator keeps, code that was not used before, the catalog's pages.
const REST: u64 = 64 * MIB;
const LARGE: usize = 6 << 20;

/// Sends all of its fragments as fast as they are taken; the times of those that are persisted, and the errors.
async fn produce(address: String, stream: String, began: u64) -> (Vec<u64>, Vec<String>) {
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let (read, mut write) = socket.into_split();
    let send = async move {
        write.write_all(head(&stream).as_bytes()).await?;
        write.write_all(&chunk(&header())).await?;
        for n in 0..FRAGMENTS {
            write.write_all(&chunk(&cluster(began + n * 1000, BYTES))).await?;
        }
        write.write_all(b"0\r\n\r\n").await?;
        Ok::<_, std::io::Error>(write)
    };
    let receive = async move {
        let (mut lines, mut persisted, mut errors) = (BufReader::new(read).lines(), Vec::new(), Vec::new());
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(told) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            match told["EventType"].as_str() {
                Some("PERSISTED") => persisted.push(told["FragmentTimecode"].as_u64().unwrap()),
                Some("ERROR") => errors.push(line),
                _ if line == "0" => break,
                _ => {}
            }
        }
        (persisted, errors)
    };
    let (sent, (persisted, mut errors)) = tokio::join!(send, receive);
    errors.extend(sent.err().map(|e| e.to_string()));
    (persisted, errors)
}

/// Asks for something large and reads no more than the head of the answer.
fn ask_and_read_nothing(address: &str, request: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    socket.read_exact(&mut [0; 12]).unwrap();
    socket
}

#[test]
fn a_thousand_producers_a_stalled_disk_and_readers_that_do_not_read_stay_within_the_bounds() {
    if !cfg!(debug_assertions) {
        return eprintln!("skipped: there are no fail points in a release build");
    }
    let folder = tempfile::tempdir().unwrap();
    make_streams(folder.path(), (0..STREAMS).map(|n| format!("s{n}")).chain(["large".to_owned()]));
    let mut command = serve(folder.path());
    command.env("VIDICON_STORE__BUDGET_BYTES", BUDGET.to_string());
    command.env("VIDICON_STORE__STREAM_BUDGET_BYTES", (8 * MIB).to_string());
    command.env("VIDICON_STORE__TAIL_BYTES", TAIL.to_string());
    command.env("VIDICON_LOG", "warn");
    // The first passes are those of `large`.
    command.env("VIDICON_FAIL_POINT", "segment.sync,16,stall:14000");
    let server = Server::start(command);
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let began = now() - 60_000;
    let large: Vec<_> = (0..4).map(|n| cluster(began + n * 1000, LARGE)).collect();
    assert_eq!(pushing::persisted(&session(&server.url, "large", &large)).len(), 4);
    let idle = server.resident();

    // Twenty that ask for fragments of 6 MiB, and as many that ask GetMedia for all of them: 240 MiB and more if they were let.
    let (_, number) = server.shown("large").remove(0);
    let authorization = basic(KEY, SECRET);
    let get = format!(
        "GET /v1/streams/large/fragments/{number} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n"
    );
    let body = r#"{"StreamName":"large","StartSelector":{"StartSelectorType":"EARLIEST"}}"#;
    let get_media = format!(
        "POST /getMedia HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let readers: Vec<_> =
        (0..40).map(|n| ask_and_read_nothing(&address, if n % 2 == 0 { &get } else { &get_media })).collect();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let producers: Vec<_> =
        (0..STREAMS).map(|n| runtime.spawn(produce(address.clone(), format!("s{n}"), began))).collect();

    let waiting = eventually("producers that wait", Duration::from_secs(90), || {
        let waiting = server.figure("vidicon_budget_waiting");
        (waiting > 0.0 && server.figure("vidicon_budget_bytes") > 0.8 * BUDGET as f64).then_some(waiting)
    });
    let mut most = 0;
    let mut said = String::new();
    let until = Instant::now() + Duration::from_secs(60);
    let is_over = || producers.iter().all(|producer| producer.is_finished());
    while !is_over() && Instant::now() < until {
        most = most.max(server.resident());
        let (status, ready) = server.request("GET", "/readyz", None);
        if status == 503 && ready["error"]["message"].as_str().is_some_and(|why| why.contains("the disk has not taken"))
        {
            said = ready.to_string();
            let (_, text) = server.bytes("GET", "/metrics", None);
            let text = String::from_utf8(text).unwrap();
            let named = text.lines().filter(|line| line.starts_with("vidicon_stream_budget_bytes{")).count();
            assert_eq!(named, 20, "of a thousand streams that hold something");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(!said.is_empty(), "/readyz says that the disk does not answer");
    assert_eq!(server.figure("vidicon_budget_limit_bytes"), BUDGET as f64);
    let high = server.figure("vidicon_budget_high_bytes");
    assert!(high <= BUDGET as f64 && high > 0.8 * BUDGET as f64, "{high}");
    let sending = server.figure("vidicon_http_media_limit_bytes") as u64;
    let bound = idle + BUDGET + sending + TAIL + STREAMS as u64 * A_SESSION + REST;
    eprintln!("idle {} MiB, at most {} MiB, bound {} MiB; {waiting} waited", idle / MIB, most / MIB, bound / MIB);
    assert!(most <= bound, "{} MiB resident, not within {} MiB", most / MIB, bound / MIB);

    let all: Vec<u64> = (0..FRAGMENTS).map(|n| began + n * 1000).collect();
    for (n, producer) in producers.into_iter().enumerate() {
        let (persisted, errors) = runtime.block_on(producer).unwrap();
        assert_eq!((&persisted, &errors), (&all, &Vec::new()), "s{n}");
    }
    assert_eq!(server.figure("vidicon_budget_waiting"), 0.0);
    for n in [0, 1, 500, 999] {
        assert_eq!(server.shown(&format!("s{n}")).into_iter().map(|(at, _)| at).collect::<Vec<_>>(), all);
        server.shows_what_was_sent(&format!("s{n}"), BYTES);
    }
    eventually("the store is ready again", Duration::from_secs(10), || {
        (server.request("GET", "/readyz", None).0 == 200).then_some(())
    });
    drop((readers, server));
    is_clean(folder.path());
}

const CAMERAS: usize = 6;
const VIEWERS: usize = 12;
const STALLED: usize = 24;
/// What a camera's task, its connection and its open fragment's maps take beside the budget; what a peer takes beside its pictures.
const A_CAMERA: u64 = MIB;
const A_VIEWER: u64 = MIB;

/// A child that ends with the test.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn cameras_hls_readers_that_stall_and_viewers_that_do_not_read_stay_within_the_bounds() {
    let (Some(shared), Some(python)) = (common::shared(), common::python()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(folder.path());
    let queue = 8 * MIB;
    command.env("VIDICON_STORE__BUDGET_BYTES", BUDGET.to_string()).env("VIDICON_STORE__TAIL_BYTES", TAIL.to_string());
    command.env("VIDICON_STORE__STREAM_BUDGET_BYTES", (8 * MIB).to_string());
    command.env("VIDICON_WEBRTC__QUEUE_BYTES", queue.to_string()).env("VIDICON_LOG", "warn");
    let server = Server::start(command);
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let idle = server.resident();

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _farm = Child(
        Command::new(&python)
            .arg(shared.join("tools/camfarm.py"))
            .arg(shared.join("media/street-cars_640x352_h264_24fps_gop48.mp4"))
            .args(["--port", &port.to_string(), "--cams", &CAMERAS.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let names: Vec<String> = (0..CAMERAS).map(|n| format!("cam{n}")).collect();
    for name in &names {
        let camera = json!({"name": name, "url": format!("rtsp://127.0.0.1:{port}/{name}")});
        assert_eq!(server.request("POST", "/v1/cameras", Some(camera)).0, 201);
    }
    let all_live = || {
        let cameras = server.get("/v1/cameras")["cameras"].take();
        cameras.as_array().unwrap().iter().all(|c| c["status"]["state"] == "live").then_some(())
    };
    eventually("all cameras live", Duration::from_secs(60), all_live);
    // Of each, two fragments and more: media segments of the past.
    let recorded = |name: &String| server.get(&format!("/v1/streams/{name}/fragments?from=0&to=99999999999999"));
    eventually("recordings", Duration::from_secs(60), || {
        names.iter().all(|name| recorded(name)["fragments"].as_array().unwrap().len() >= 2).then_some(())
    });

    // Viewers that had pictures, and then read nothing more.
    let streams: Vec<&String> = (0..VIEWERS).map(|n| &names[n % CAMERAS]).collect();
    let mut viewers = Child(
        Command::new(&python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/viewers.py"))
            .args([&server.url, &basic(KEY, SECRET)])
            .args(&streams)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut said = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(viewers.0.stdout.take().unwrap()), &mut said).unwrap();
    assert_eq!(said.trim(), format!("watching {VIEWERS}"));
    assert_eq!(server.figure("vidicon_webrtc_peers"), VIEWERS as f64);
    let watched = server.figure("vidicon_webrtc_queue_bytes");
    assert!(watched > 0.0 && server.figure("vidicon_webrtc_queue_limit_bytes") == queue as f64, "{watched}");
    let pid = viewers.0.id().to_string();
    assert!(Command::new("kill").args(["-s", "STOP", &pid]).status().unwrap().success());

    // HLS: playlists, initialisation and media segments of which the head alone is read.
    let authorization = basic(KEY, SECRET);
    let stalled: Vec<_> = (0..STALLED)
        .map(|n| {
            let name = &names[n % CAMERAS];
            let fragments = recorded(name)["fragments"].take();
            let fragments = fragments.as_array().unwrap();
            let number = fragments[n / CAMERAS % fragments.len()]["number"].as_str().unwrap();
            let path = format!("/v1/streams/{name}/hls/{number}.m4s");
            ask_and_read_nothing(
                &address,
                &format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n"),
            )
        })
        .collect();

    let (mut most, mut most_queued) = (0, 0.0f64);
    let until = Instant::now() + Duration::from_secs(25);
    while Instant::now() < until {
        most = most.max(server.resident());
        most_queued = most_queued.max(server.figure("vidicon_webrtc_queue_bytes"));
        std::thread::sleep(Duration::from_millis(250));
    }
    assert!(most_queued <= queue as f64, "{most_queued} bytes of pictures");
    let ring = server.figure("vidicon_follower_limit_bytes") as u64;
    let sending = server.figure("vidicon_http_media_limit_bytes") as u64;
    let of_each = CAMERAS as u64 * A_CAMERA + VIEWERS as u64 * A_VIEWER + STALLED as u64 * A_SESSION;
    // The last but one: remuxed media segments.
    let bound = idle + BUDGET + sending + TAIL + ring + queue + 32 * MIB + of_each + REST;
    eprintln!(
        "idle {} MiB, at most {} MiB, bound {} MiB; pictures at most {} KiB",
        idle / MIB,
        most / MIB,
        bound / MIB,
        most_queued as u64 / 1024
    );
    assert!(most <= bound, "{} MiB resident, not within {} MiB", most / MIB, bound / MIB);
    // None of it held a camera up.
    all_live().expect("all cameras are live still");
    for camera in server.get("/v1/cameras")["cameras"].as_array().unwrap() {
        assert_eq!((&camera["dropped_gops"], &camera["reconnects"]), (&json!(0), &json!(0)), "{camera}");
    }
    eventually("viewers that do not answer are gone", Duration::from_secs(30), || {
        (server.figure("vidicon_webrtc_peers") == 0.0).then_some(())
    });
    eventually("and so are their pictures", Duration::from_secs(30), || {
        (server.figure("vidicon_webrtc_queue_bytes") == 0.0).then_some(())
    });
    drop((stalled, viewers, server));
    is_clean(folder.path());
}
