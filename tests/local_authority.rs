//! A server whose certificate is of its own authority, by clients that know nothing of it but its file: curl and the command line.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KEY, SECRET, serve, wait};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A started server and its banner, to the line with the fingerprint.
struct Started {
    child: Child,
    banner: Vec<String>,
}

impl Started {
    fn on(data: &Path, config: &Path) -> Started {
        let mut command = serve(data);
        let mut child = command.arg("--config").arg(config).stderr(Stdio::inherit()).spawn().unwrap();
        let mut banner = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            banner.push(line.unwrap());
            if banner.last().is_some_and(|line| line.contains("SHA-256")) {
                return Started { child, banner };
            }
        }
        panic!("no fingerprint in {banner:?}, {:?}", child.wait());
    }

    /// The last word of a line.
    fn says(&self, what: &str) -> &str {
        let line = self.banner.iter().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{:?}", self.banner));
        line.split_whitespace().last().unwrap()
    }

    fn port(&self) -> u16 {
        self.says("is ready").trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a client has of `url` that trusts `ca` alone, or why it does not.
fn curl(ca: &Path, port: u16, url: &str) -> Option<Result<Vec<u8>, String>> {
    let to = format!("nvr.example:{port}:127.0.0.1");
    let made =
        Command::new("curl").args(["-sS", "--max-time", "20", "--resolve", &to, "--cacert"]).arg(ca).arg(url).output();
    match made {
        Ok(output) if output.status.success() => Some(Ok(output.stdout)),
        Ok(output) => Some(Err(String::from_utf8_lossy(&output.stderr).into_owned())),
        Err(_) => {
            eprintln!("skipped: curl is not here");
            None
        }
    }
}

#[test]
fn clients_that_trust_the_authority_reach_the_server_by_all_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("data"), folder.path().join("vidicon.toml"));
    std::fs::write(&config, "[tls]\nlocal = true\nnames = [\"nvr.example\"]\n").unwrap();
    let first = Started::on(&data, &config);
    let ca = data.join("tls/ca.pem");
    assert!(first.banner.iter().any(|line| line.contains("to be trusted") && line.contains("tls/ca.pem")));
    let port = first.port();
    for host in ["localhost", "127.0.0.1", "nvr.example"] {
        let Some(answer) = curl(&ca, port, &format!("https://{host}:{port}/ca.pem")) else { return };
        assert_eq!(answer.expect(host), std::fs::read(&ca).unwrap(), "{host}");
    }
    let (to, url) = (format!("other.example:{port}:127.0.0.1"), format!("https://other.example:{port}/healthz"));
    let refused = Command::new("curl").args(["-sS", "--resolve", &to, &url, "--cacert"]).arg(&ca).output().unwrap();
    assert!(!refused.status.success(), "a name that is not its own");
    let untrusting = Command::new("curl").args(["-sS", &format!("https://localhost:{port}/healthz")]).output().unwrap();
    assert!(!untrusting.status.success(), "who does not trust the authority");

    let listed = Command::new(env!("CARGO_BIN_EXE_vidicon"))
        .args(["key", "list", "--url", &format!("https://127.0.0.1:{port}"), "--ca"])
        .arg(&ca)
        .env("VIDICON_ROOT_ACCESS_KEY_ID", KEY)
        .env("VIDICON_ROOT_SECRET_ACCESS_KEY", SECRET)
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));

    // The authority is the same after a start, and what it issues is for the names of that start.
    let fingerprint = first.says("SHA-256").to_owned();
    drop(first);
    std::fs::write(&config, "[tls]\nlocal = true\n").unwrap();
    let again = Started::on(&data, &config);
    assert_eq!(again.says("SHA-256"), fingerprint);
    let port = again.port();
    curl(&ca, port, &format!("https://localhost:{port}/healthz")).unwrap().unwrap();
    drop(again);

    std::fs::write(data.join("tls/authority.pem"), "junk").unwrap();
    let mut broken = serve(&data).arg("--config").arg(&config).spawn().unwrap();
    let code = wait(&mut broken, Duration::from_secs(20)).unwrap().code();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut broken.stderr.take().unwrap(), &mut said).unwrap();
    assert!(code == Some(2) && said.contains("tls.local: ") && said.contains("authority.pem"), "{code:?} {said}");
}
