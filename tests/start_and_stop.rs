//! The server as a process: what it says when it cannot start, and how it stops.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Server, serve, wait};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Runs a command that is expected not to start, and returns its exit code and its one line.
fn refused(command: &mut Command) -> (i32, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    let lines: Vec<_> = text.lines().filter(|l| l.starts_with("vidicon:")).collect();
    assert_eq!(lines.len(), 1, "one clear line, not {text:?}");
    (status.code().unwrap(), lines[0].to_owned())
}

#[test]
fn a_wrong_configuration_exits_with_2_and_binds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vidicon.toml");
    std::fs::write(&file, "[store]\ntail_byte = 5\n").unwrap();
    let data = folder.path().join("data");
    let (code, line) = refused(serve(&data).arg("--config").arg(&file));
    assert_eq!(code, 2);
    assert!(line.contains("vidicon.toml:2") && line.contains("`tail_byte`") && line.contains("`tail_bytes`"), "{line}");
    assert!(!data.exists(), "nothing was made");

    let (code, line) = refused(serve(&data).env("VIDICON_STORE__NO_SUCH_KEY", "1"));
    assert_eq!(code, 2);
    assert!(line.contains("VIDICON_STORE__NO_SUCH_KEY"), "{line}");

    let (code, line) = refused(serve(&data).env("VIDICON_ROOT_SECRET_ACCESS_KEY", "short"));
    assert_eq!((code, line.contains("at least 8 characters")), (2, true), "{line}");
    assert!(!line.contains("short "), "{line}");
}

#[test]
fn a_taken_port_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidicon"));
    let (code, line) = refused(command.args(["serve", "--listen", &address, "--data"]).arg(folder.path()));
    assert_eq!(code, 1);
    assert!(line.contains(&address) && line.contains("--listen"), "{line}");
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let (code, line) = refused(&mut serve(&file));
    assert_eq!((code, line.contains("a-file")), (1, true), "{line}");

    let locked = folder.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o500)).unwrap();
    if std::fs::write(locked.join("probe"), "").is_ok() {
        eprintln!("skipped: this user may write everywhere");
        return;
    }
    let (code, line) = refused(&mut serve(&locked.join("data")));
    assert_eq!((code, line.contains("locked")), (1, true), "{line}");
}

#[test]
fn a_data_folder_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Server::start(serve(folder.path()));
    let (code, line) = refused(&mut serve(folder.path()));
    assert_eq!(code, 1);
    assert!(line.contains(folder.path().to_str().unwrap()), "{line}");
}

#[test]
fn an_onnx_runtime_that_was_named_must_be_one() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["/no/such/libonnxruntime.so", "/etc/hostname"] {
        let mut command = serve(&folder.path().join("data"));
        let (code, line) = refused(command.env("VIDICON_DETECTION__ONNXRUNTIME", path));
        assert_eq!(code, 1);
        assert!(line.contains(path), "{line}");
    }
}

#[test]
fn nothing_but_health_answers_without_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(serve(folder.path()));
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let status = |path: &str| agent.get(format!("{}{path}", server.url)).call().unwrap().status().as_u16();
    assert_eq!((status("/healthz"), status("/readyz")), (200, 200));
    for path in ["/", "/metrics", "/v1/cameras", "/v1/streams", "/v1/events", "/v1/alerts", "/assets/x.js", "/nothing"]
    {
        assert_eq!(status(path), 401, "{path}");
    }
    assert_eq!(server.bytes("GET", "/metrics", None).0, 200);
}

#[test]
fn a_signal_stops_it_in_order_within_five_seconds() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["INT", "TERM"] {
        let mut server = Server::start(serve(folder.path()));
        let started = Instant::now();
        server.signal(signal);
        let status = wait(&mut server.child, Duration::from_secs(5)).expect("stopped within five seconds");
        assert!(status.success(), "{signal}: {status} after {:?}", started.elapsed());
    }
}

#[test]
fn made_credentials_are_printed_once() {
    let folder = tempfile::tempdir().unwrap();
    let banner = |_: u8| {
        let mut command = serve(folder.path());
        command.env_remove("VIDICON_ROOT_ACCESS_KEY_ID").env_remove("VIDICON_ROOT_SECRET_ACCESS_KEY");
        let mut child = command.stderr(std::process::Stdio::inherit()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(2));
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        wait(&mut child, Duration::from_secs(5)).expect("stops");
        std::io::read_to_string(child.stdout.take().unwrap()).unwrap()
    };
    let (first, second) = (banner(1), banner(2));
    assert!(first.contains("secret access key"), "{first}");
    assert!(second.contains("is ready") && !second.contains("secret access key"), "{second}");
}
