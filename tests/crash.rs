//! Killed again and again while a camera is being recorded: what was announced as durable is there, bit for bit.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KEY, SECRET, Server, basic, eventually, serve, wait};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const KILLS: u32 = 20;

/// Fragments that `/v1/events` announced as durable: number → (CRC-32C, bytes).
type Announced = Arc<Mutex<BTreeMap<String, (u32, usize)>>>;

/// The demo's camera as a process of its own; ends with its standard input.
struct Camera(Child, String);

impl Camera {
    fn start() -> Camera {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vidicon"))
            .args(["demo-camera", "--port", "0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("ready ").expect("the camera is ready").to_owned();
        Camera(child, url)
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Collects announcements until the connection breaks.
fn listen(url: String, announced: Announced) {
    std::thread::spawn(move || {
        let call = ureq::get(format!("{url}/v1/events")).header("authorization", basic(KEY, SECRET)).call();
        let Ok(mut response) = call else { return };
        let mut event = String::new();
        for line in BufReader::new(response.body_mut().as_reader()).lines() {
            let Ok(line) = line else { return };
            if let Some(name) = line.strip_prefix("event:") {
                event = name.trim().to_owned();
            } else if let (Some(data), "fragment") = (line.strip_prefix("data:"), event.as_str()) {
                let fragment: Value = serde_json::from_str(data).unwrap();
                let number = fragment["number"].as_str().unwrap().to_owned();
                let crc = u32::try_from(fragment["crc32c"].as_u64().unwrap()).unwrap();
                let bytes = usize::try_from(fragment["bytes"].as_u64().unwrap()).unwrap();
                announced.lock().unwrap().insert(number, (crc, bytes));
            }
        }
    });
}

#[test]
fn what_was_announced_survives_twenty_kills() {
    let camera = Camera::start();
    let folder = tempfile::tempdir().unwrap();
    let announced = Announced::default();
    for round in 0..KILLS {
        let mut server = Server::start(serve(folder.path()));
        listen(server.url.clone(), announced.clone());
        if round == 0 {
            let (status, body) =
                server.request("POST", "/v1/cameras", Some(json!({ "name": "street", "url": camera.1 })));
            assert_eq!(status, 201, "{body}");
        }
        let before = announced.lock().unwrap().len();
        eventually("a durable fragment", Duration::from_secs(20), || {
            (announced.lock().unwrap().len() > before).then_some(())
        });
        // Somewhere in the life of the next commit: spread over its whole interval and a bit more.
        std::thread::sleep(Duration::from_millis(u64::from(round) * 67 % 1300));
        server.child.kill().unwrap();
        wait(&mut server.child, Duration::from_secs(5)).unwrap();
    }

    let server = Server::start(serve(folder.path()));
    let announced = announced.lock().unwrap().clone();
    assert!(announced.len() >= KILLS as usize, "only {} fragments", announced.len());
    for (number, (crc, bytes)) in &announced {
        let (status, mkv) = server.bytes("GET", &format!("/v1/streams/street/fragments/{number}"), None);
        assert_eq!(status, 200, "fragment {number} was announced and is lost");
        let cluster = &mkv[mkv.len() - bytes..];
        assert_eq!(crc32c::crc32c(cluster), *crc, "fragment {number} is not what was announced");
    }
    let timeline = server.get("/v1/streams/street/timeline?from=0&to=99999999999999");
    let causes: Vec<_> = timeline["gaps"].as_array().unwrap().iter().map(|g| g["cause"].clone()).collect();
    assert!(causes.iter().filter(|c| **c == "server_stopped").count() >= 15, "{causes:?}");

    drop(server);
    let check = Command::new(env!("CARGO_BIN_EXE_vidicon"))
        .args(["check", "--deep", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{said}");
}
