//! A producer of PutMedia: clusters of plain data, each of its own bytes.
#![allow(dead_code, missing_docs, clippy::unwrap_used, unreachable_pub)]

use crate::common::{KEY, SECRET, Server, basic, element, header};
use media::StreamName;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock, ms.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Makes a data folder with these streams, by the wall clock.
pub fn make_streams(data: &Path, names: impl IntoIterator<Item = String>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config = store::Config { data: data.to_owned(), min_free_bytes: 0, ..store::Config::default() };
        let clock = Arc::new(|| media::UnixMillis(now() as i64));
        let store = store::Store::open(config, clock).await.unwrap();
        for name in names {
            store.create_stream(&name.parse::<StreamName>().unwrap(), None).await.unwrap();
        }
        store.stop().await.unwrap();
    });
}

/// A cluster of a frame, which begins at this time; its bytes say which it is.
pub fn cluster(timecode: u64, bytes: usize) -> Vec<u8> {
    let mut out = [&[0x1f, 0x43, 0xb6, 0x75, 0xff][..], &element(&[0xe7], &timecode.to_be_bytes())].concat();
    let data: Vec<u8> = (0..bytes).map(|i| (i as u64).wrapping_mul(timecode | 1).to_be_bytes()[6]).collect();
    out.extend(element(&[0xa3], &[&[0x81, 0, 0, 0x80][..], &data].concat()));
    out
}

/// The head of a session's request.
pub fn head(stream: &str) -> String {
    format!(
        "POST /putMedia HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\ntransfer-encoding: chunked\r\nx-amzn-stream-name: {stream}\r\nx-amzn-fragment-timecode-type: ABSOLUTE\r\n\r\n",
        basic(KEY, SECRET)
    )
}

/// A chunk of a body.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// A session on a stream of these clusters, one after another: what its producer was told, without IDLE.
pub fn session(url: &str, stream: &str, clusters: &[Vec<u8>]) -> Vec<Value> {
    let mut socket = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    socket.write_all(head(stream).as_bytes()).unwrap();
    let read = socket.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(read).lines().map_while(Result::ok).take_while(|line| line != "0");
        lines
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .filter(|told| told.is_object() && told["EventType"] != "IDLE")
            .collect()
    });
    // A session that is refused reads no more.
    let _ = socket.write_all(&chunk(&header()));
    for cluster in clusters {
        if socket.write_all(&chunk(cluster)).is_err() {
            break;
        }
    }
    let _ = socket.write_all(b"0\r\n\r\n");
    reader.join().unwrap()
}

/// Times of the fragments that were said to be persisted.
pub fn persisted(told: &[Value]) -> Vec<u64> {
    let persisted = told.iter().filter(|told| told["EventType"] == "PERSISTED");
    persisted.map(|told| told["FragmentTimecode"].as_u64().unwrap()).collect()
}

/// The errors among it: id and message.
pub fn errors(told: &[Value]) -> Vec<(u64, String)> {
    let errors = told.iter().filter(|told| told["EventType"] == "ERROR");
    errors.map(|told| (told["ErrorId"].as_u64().unwrap(), told["Message"].to_string())).collect()
}

impl Server {
    /// Times and numbers of what a stream shows, oldest first.
    pub fn shown(&self, stream: &str) -> Vec<(u64, String)> {
        let path = format!("/v1/streams/{stream}/fragments?from=0&to=99999999999999&limit=1000");
        let listed = self.get(&path);
        let of = |f: &Value| (f["producer_start"].as_u64().unwrap(), f["number"].as_str().unwrap().to_owned());
        listed["fragments"].as_array().unwrap().iter().map(of).collect()
    }

    /// Whether each fragment that a stream shows is the cluster of its time, of so many bytes.
    pub fn shows_what_was_sent(&self, stream: &str, bytes: usize) {
        for (timecode, number) in self.shown(stream) {
            let (status, mkv) = self.bytes("GET", &format!("/v1/streams/{stream}/fragments/{number}"), None);
            assert!(status == 200 && mkv.ends_with(&cluster(timecode, bytes)), "{stream} {number}: {status}");
        }
    }

    /// The value of a metric without labels.
    pub fn figure(&self, name: &str) -> f64 {
        let (_, text) = self.bytes("GET", "/metrics", None);
        let text = String::from_utf8(text).unwrap();
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Resident bytes of the process.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
    }

    /// Changes a stream.
    pub fn change(&self, stream: &str, what: Value) {
        let (status, said) = self.request("PATCH", &format!("/v1/streams/{stream}"), Some(what.clone()));
        assert_eq!(status, 200, "{what}: {said}");
    }
}

/// `vidicon check --deep` finds nothing.
pub fn is_clean(data: &Path) {
    let out = Command::new(env!("CARGO_BIN_EXE_vidicon")).args(["check", "--deep", "--data"]).arg(data).output();
    let out = out.unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
}

/// An error of a PutMedia request that was not let in: status and body.
pub fn refused(url: &str, stream: &str) -> (u16, Value) {
    let mut socket = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    socket.write_all(head(stream).as_bytes()).unwrap();
    let mut reader = BufReader::new(socket);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = n.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    std::io::Read::read_exact(&mut reader, &mut body).unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(json!(null)))
}
