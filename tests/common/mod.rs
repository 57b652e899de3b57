//! What the end-to-end tests share: the binary as a child process, and a client of its HTTP port.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub const KEY: &str = "TESTKEY";
pub const SECRET: &str = "a secret of the tests";

/// A running server, killed when dropped.
pub struct Server {
    pub child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

/// The command line of a server on a free port with the tests' credentials.
pub fn serve(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidicon"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    command.env("VIDICON_ROOT_ACCESS_KEY_ID", KEY).env("VIDICON_ROOT_SECRET_ACCESS_KEY", SECRET);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    command
}

impl Server {
    /// Starts it and waits for the banner. Its log goes to the test's output.
    pub fn start(mut command: Command) -> Server {
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        // The port with TLS comes first, if there is one.
        let url = loop {
            let url = said.split_whitespace().find(|w| w.starts_with("http://"));
            if let Some(url) = url {
                break url.trim_end_matches('/').to_owned();
            }
            if out.read_line(&mut said).unwrap() == 0 {
                panic!("no banner, but {said:?} and {:?}", child.wait());
            }
        };
        // Keeps the pipe open and empty.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        Server { child, url }
    }

    pub fn request(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, bytes) = self.bytes(method, path, body);
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, None);
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    pub fn bytes(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Vec<u8>) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .into();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("authorization", basic(KEY, SECRET))
            .header("content-type", "application/json")
            .body(body.map(|b| b.to_string()).unwrap_or_default())
            .unwrap();
        let mut response = agent.run(request).unwrap();
        let mut bytes = Vec::new();
        response.body_mut().as_reader().read_to_end(&mut bytes).unwrap();
        (response.status().as_u16(), bytes)
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a child to end; `None` when it is still there after `limit`.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Asks again until `done` gives something, or fails with `what`.
pub fn eventually<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + limit;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < until, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// An `Authorization: Basic` value.
pub fn basic(user: &str, password: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{user}:{password}");
    let mut out = String::from("Basic ");
    for three in text.as_bytes().chunks(3) {
        let n = three.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let c = ALPHABET[(n >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= three.len() { char::from(c) } else { '=' });
        }
    }
    out
}

/// The shared clips and tools, or `None` with a clear line.
pub fn shared() -> Option<PathBuf> {
    let path = std::env::var_os("VIDICON_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    if path.join("tools/camfarm.py").exists() {
        return Some(path);
    }
    eprintln!("skipped: ../shared is not here");
    None
}

/// The Python that has the packages of the shared tools, or `None` with a clear line.
pub fn python() -> Option<String> {
    let python = std::env::var("VIDICON_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import av"]).stderr(Stdio::null()).status();
    if has.is_ok_and(|s| s.success()) {
        return Some(python);
    }
    eprintln!("skipped: {python} has no package av");
    None
}

/// An element of Matroska (RFC 9559), its length in eight bytes.
pub fn element(id: &[u8], payload: &[u8]) -> Vec<u8> {
    [id, &(payload.len() as u64 | 1 << 56).to_be_bytes(), payload].concat()
}

/// What stands before the clusters of a producer of plain data.
pub fn header() -> Vec<u8> {
    let track = media::Track {
        number: 1,
        kind: media::TrackKind::Data,
        codec_id: "D_TEST".into(),
        codec_private: Default::default(),
        size: None,
        audio: None,
    };
    media::mkv::write_header(&[track]).bytes.to_vec()
}
