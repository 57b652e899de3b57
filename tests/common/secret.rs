//! Recordings that are to be told from all else on a disk or in a bucket: bytes that nothing holds by chance, pushed in and read back.
#![allow(dead_code, missing_docs, clippy::unwrap_used, unreachable_pub)]

use crate::common::{KEY, SECRET, Server, basic, element, header};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

pub const T0: u64 = 1_795_404_896_000;

/// A key file that only its owner may read.
pub fn master(folder: &Path, byte: u8) -> PathBuf {
    let path = folder.join(format!("master-{byte}"));
    std::fs::write(&path, format!("{byte:02x}").repeat(32) + "\n").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

pub fn vidicon(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vidicon")).args(arguments).output().unwrap()
}

pub fn succeeds(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Bytes that no file has by chance, and no two clusters share.
pub fn content(n: u64) -> Vec<u8> {
    let mut x = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..9000 + n * 50_000).map(|_| next()).collect()
}

pub fn cluster(n: u64) -> Vec<u8> {
    let block = element(&[0xa3], &[&[0x81, 0, 0, 0x80][..], &content(n)].concat());
    [&[0x1f, 0x43, 0xb6, 0x75, 0xff][..], &element(&[0xe7], &(T0 + n * 500).to_be_bytes()), &block].concat()
}

/// Pushes these clusters; gives the numbers of what was persisted, by cluster.
pub fn push(server: &Server, clusters: std::ops::Range<u64>) -> BTreeMap<u64, String> {
    push_to(server, "gate", clusters)
}

pub fn push_to(server: &Server, stream: &str, clusters: std::ops::Range<u64>) -> BTreeMap<u64, String> {
    let mut socket = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "POST /putMedia HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\ntransfer-encoding: chunked\r\nx-amzn-stream-name: {stream}\r\nx-amzn-fragment-timecode-type: ABSOLUTE\r\n\r\n",
        basic(KEY, SECRET)
    );
    socket.write_all(head.as_bytes()).unwrap();
    for bytes in [header()].into_iter().chain(clusters.map(cluster)) {
        socket.write_all(&[format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat()).unwrap();
    }
    socket.write_all(b"0\r\n\r\n").unwrap();
    let mut persisted = BTreeMap::new();
    for line in BufReader::new(socket).lines().map_while(Result::ok) {
        if let Ok(ack) = serde_json::from_str::<Value>(&line)
            && ack["EventType"] == "PERSISTED"
        {
            let n = (ack["FragmentTimecode"].as_u64().unwrap() - T0) / 500;
            persisted.insert(n, ack["FragmentNumber"].as_str().unwrap().to_owned());
        }
        if line == "0" {
            break;
        }
    }
    persisted
}

pub fn reads(server: &Server, persisted: &BTreeMap<u64, String>) {
    reads_of(server, "gate", persisted);
}

pub fn reads_of(server: &Server, stream: &str, persisted: &BTreeMap<u64, String>) {
    for (n, number) in persisted {
        let (status, mkv) = server.bytes("GET", &format!("/v1/streams/{stream}/fragments/{number}"), None);
        assert!(status == 200 && mkv.ends_with(&cluster(*n)), "cluster {n}: {status}");
    }
    let numbers: Vec<&String> = persisted.values().collect();
    let asked = json!({"StreamName": stream, "Fragments": numbers});
    let (status, media) = server.bytes("POST", "/getMediaForFragmentList", Some(asked));
    assert_eq!(status, 200);
    for n in persisted.keys() {
        assert!(holds(&media, &cluster(*n)), "cluster {n} is not in what GetMediaForFragmentList sends");
    }
}

pub fn holds(bytes: &[u8], what: &[u8]) -> bool {
    let (first, mut rest) = (what[0], bytes);
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = &rest[at..];
        if rest.starts_with(what) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}
