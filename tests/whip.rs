//! Publishing by WebRTC with another's implementation (aiortc): what is sent in is watched, recorded and played, and what ends it.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KEY, SECRET, Server, basic, eventually, serve};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child that ends with the test.
struct Publisher(Child);

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A publisher into a stream, and what it told once it had watched itself.
fn publish(python: &str, server: &Server, stream: &str) -> (Publisher, Value) {
    let mut child = Publisher(
        Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/publisher.py"))
            .args([&server.url, &basic(KEY, SECRET), stream, "5"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut said = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let told = serde_json::from_str(&said).unwrap_or_else(|_| panic!("the publisher said {said:?}"));
    (child, told)
}

/// Offers.
fn post(server: &Server, path: &str, offer: &str) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent.post(format!("{}{path}", server.url)).header("authorization", basic(KEY, SECRET));
    let mut response = request.header("content-type", "application/sdp").send(offer).unwrap();
    (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
}

/// Peers of WebRTC now.
fn peers(server: &Server) -> f64 {
    let (_, text) = server.bytes("GET", "/metrics", None);
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find(|line| line.starts_with("vidicon_webrtc_peers ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// What ffprobe says of a file.
fn probe(path: &std::path::Path) -> Value {
    let ran = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-count_frames",
            "-show_streams",
            "-show_entries",
            "stream=codec_name,nb_read_frames,width",
            "-of",
            "json",
        ])
        .arg(path)
        .output()
        .unwrap();
    assert!(ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
fn what_is_published_is_watched_recorded_and_played() {
    let (Some(_), Some(python)) = (common::shared(), common::python()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(serve(folder.path()));
    let stream = json!({"StreamName": "gate", "DataRetentionInHours": 1});
    assert_eq!(server.request("POST", "/createStream", Some(stream)).0, 200);
    let (mut publisher, told) = publish(&python, &server, "gate");
    // 30 a second for 5 s, of which the first came at once from the last key frame.
    assert!(told["decoded"].as_u64().unwrap() >= 90, "{told}");
    assert_eq!(
        (&told["colours"], &told["unknown"], &told["sizes"]),
        (&json!([0, 1, 2]), &json!(0), &json!([[320, 180]])),
        "{told}"
    );

    let fragments = || {
        let listed = server.get("/v1/streams/gate/fragments?from=0&to=99999999999999");
        listed["fragments"].as_array().unwrap().clone()
    };
    let recorded = eventually("fragments", Duration::from_secs(20), || Some(fragments()).filter(|f| f.len() >= 3));
    for fragment in &recorded {
        assert!(fragment["duration_ms"].as_u64().unwrap() <= 4000, "a key frame is asked for every 2 s: {fragment}");
    }
    // As files of Matroska with both tracks, decoded to their ends.
    let (mut pictures, mut sounds) = (0, 0);
    for fragment in &recorded {
        let number = fragment["number"].as_str().unwrap();
        let (status, bytes) = server.bytes("GET", &format!("/v1/streams/gate/fragments/{number}"), None);
        assert_eq!(status, 200);
        let file = folder.path().join(format!("{number}.mkv"));
        std::fs::write(&file, &bytes).unwrap();
        let found = probe(&file);
        for stream in found["streams"].as_array().unwrap() {
            let frames: u64 = stream["nb_read_frames"].as_str().unwrap_or("0").parse().unwrap();
            match stream["codec_name"].as_str().unwrap() {
                "h264" => pictures += frames,
                "opus" => sounds += frames,
                other => panic!("{other}"),
            }
        }
        // By HLS too.
        let (status, segment) = server.bytes("GET", &format!("/v1/streams/gate/hls/{number}.m4s"), None);
        assert!(status == 200 && segment.len() > 500, "{status} {}", segment.len());
    }
    assert!(pictures >= 60 && sounds >= 100, "{pictures} pictures, {sounds} packets of sound");

    // Nobody else sends into it meanwhile, and a camera would not either.
    let offer = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/whip_offer/h264")).unwrap();
    let post = |path: &str, offer: &str| post(&server, path, offer);
    let refused = post("/v1/streams/gate/whip", &offer);
    assert!(refused.0 == 409 && refused.1.contains("published"), "{refused:?}");
    let vp8 = offer.replace("H264/90000", "VP8/90000");
    let refused = post("/v1/streams/gate/whip", &vp8);
    assert!(refused.0 == 400 && refused.1.contains("VP8"), "{refused:?}");
    let location = told["location"].as_str().unwrap();
    assert_eq!(server.request("PATCH", location, Some(json!({}))).0, 405);

    // DELETE ends it, and then there is room for another.
    assert_eq!(post("/v1/streams/none/whip", &offer).0, 404);
    assert_eq!(server.request("DELETE", location, None).0, 200);
    assert_eq!(server.request("DELETE", location, None).0, 404);
    assert_eq!(post("/v1/streams/gate/whip", &offer).0, 201);
    writeln!(publisher.0.stdin.take().unwrap(), "end").unwrap();
}

#[test]
fn a_publisher_that_vanishes_is_gone_in_time() {
    let (Some(_), Some(python)) = (common::shared(), common::python()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(serve(folder.path()));
    let stream = json!({"StreamName": "gate", "DataRetentionInHours": 1});
    assert_eq!(server.request("POST", "/createStream", Some(stream)).0, 200);
    let (mut publisher, _) = publish(&python, &server, "gate");
    writeln!(publisher.0.stdin.take().unwrap(), "vanish").unwrap();
    let since = Instant::now();
    eventually("nobody is connected", Duration::from_secs(30), || (peers(&server) == 0.0).then_some(()));
    assert!(since.elapsed() > Duration::from_secs(5), "it was not told: {:?}", since.elapsed());
}
