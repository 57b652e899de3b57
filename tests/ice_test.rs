//! `vidicon ice-test` against the binary: each way that is served works, what is not is said, and what fails fails with a reason.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KEY, SECRET, Server, serve};
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

struct Running {
    server: Server,
    certificate: PathBuf,
}

/// A server whose pages speak HTTP, with a certificate for TURN over TLS.
fn start(folder: &Path, turn: &str) -> Running {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let config = folder.join("vidicon.toml");
    let tls = format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\nlisten = \"127.0.0.1:0\"\n");
    std::fs::write(&config, format!("{tls}[turn]\n{turn}\n")).unwrap();
    let mut command = serve(&folder.join("data"));
    command.arg("--config").arg(config);
    Running { server: Server::start(command), certificate }
}

impl Running {
    fn test(&self, secret: &str, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_vidicon"))
            .args(["ice-test", "--url", &self.server.url])
            .args(words)
            .env("VIDICON_ACCESS_KEY_ID", KEY)
            .env("VIDICON_SECRET_ACCESS_KEY", secret)
            .output()
            .unwrap()
    }

    fn json(&self, words: &[&str]) -> (Option<i32>, Vec<Value>) {
        let done = self.test(SECRET, &[words, &["--json"]].concat());
        let value: Value = serde_json::from_slice(&done.stdout).unwrap();
        (done.status.code(), value["ways"].as_array().unwrap().clone())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_way_works_and_is_timed() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), "tcp = \"127.0.0.1:0\"\ntls = \"127.0.0.1:0\"");
    let ca = running.certificate.display().to_string();
    let (code, ways) = running.json(&["--ca", &ca]);
    assert_eq!(code, Some(0), "{ways:?}");
    let names: Vec<_> = ways.iter().map(|way| way["way"].as_str().unwrap()).collect();
    assert_eq!(names, ["udp", "udp_relay", "tcp_relay", "tls_relay"]);
    for way in &ways {
        assert!(way["works"] == true && way["served"] == true, "{way}");
        let took = way["took_ms"].as_f64().unwrap();
        assert!(took > 0.0 && took < 5000.0, "{way}");
        let relayed = way["relayed"].as_str();
        assert_eq!(relayed.is_some_and(|addr| addr.starts_with("127.0.0.1:")), way["way"] != "udp", "{way}");
    }
    // For people: a line a way, and nothing of the password.
    let done = running.test(SECRET, &["--ca", &ca]);
    let said = text(&done.stdout);
    assert!(done.status.success() && said.lines().count() == 4, "{said}");
    assert!(said.lines().all(|line| line.contains(" works ") && line.contains(" ms ")), "{said}");
}

#[test]
fn what_fails_says_why_and_the_exit_code_says_so() {
    let folder = tempfile::tempdir().unwrap();
    // A certificate that nobody trusts, and no TCP.
    let running = start(folder.path(), "tls = \"127.0.0.1:0\"");
    let begun = Instant::now();
    let (code, ways) = running.json(&["--wait", "1"]);
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(code, Some(1), "{ways:?}");
    assert!(ways[0]["works"] == true && ways[1]["works"] == true, "{ways:?}");
    assert!(ways[2]["served"] == false && ways[2]["works"] == false, "{ways:?}");
    let why = ways[3]["reason"].as_str().unwrap();
    assert!(ways[3]["works"] == false && why.contains("TLS with 127.0.0.1:") && why.contains("certificate"), "{why}");
    let done = running.test(SECRET, &["--wait", "1"]);
    assert!(text(&done.stdout).contains("turn.tcp is not set") && text(&done.stderr).contains("2 of 3 ways work"));
    // Credentials that are none, and a server that is none.
    let done = running.test("wrong", &[]);
    assert!(done.status.code() == Some(1) && text(&done.stderr).contains("401"), "{}", text(&done.stderr));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_vidicon"))
        .args(["ice-test", "--url", &format!("http://{nobody}")])
        .env("VIDICON_ACCESS_KEY_ID", KEY)
        .env("VIDICON_SECRET_ACCESS_KEY", SECRET)
        .output()
        .unwrap();
    assert!(done.status.code() == Some(1) && !done.stderr.is_empty());
    let done = Command::new(env!("CARGO_BIN_EXE_vidicon")).args(["ice-test", "--url", "door"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2), "{}", text(&done.stderr));
}

#[test]
fn a_relay_that_is_full_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), "max_allocations = 0");
    let (code, ways) = running.json(&[]);
    assert_eq!(code, Some(1));
    let why = ways[1]["reason"].as_str().unwrap();
    assert!(ways[0]["works"] == true && why.contains("486") && why.contains("turn.max_allocations"), "{why}");
    // Without TURN there is nothing to test.
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), "enabled = false");
    let done = running.test(SECRET, &[]);
    assert!(done.status.code() == Some(1) && text(&done.stderr).contains("turn.enabled"));
}
