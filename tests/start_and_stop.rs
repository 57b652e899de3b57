//! The server as a process: what it says when it cannot start, and how it stops.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Server, serve, wait};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
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
    assert_eq!((code, line.contains("a-file: it cannot be made: a file stands in its way")), (2, true), "{line}");

    let locked = folder.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, PermissionsExt::from_mode(0o500)).unwrap();
    if std::fs::write(locked.join("probe"), "").is_ok() {
        // This user may write everywhere; see `tests/folders.rs`.
        return;
    }
    let (code, line) = refused(&mut serve(&locked.join("data")));
    assert_eq!(
        (code, line.contains("locked/data: it cannot be made: this user has no right to it")),
        (2, true),
        "{line}"
    );
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

/// A pair of files as `openssl` makes them; `None`, with a line that says so, where that is not here.
fn certificate(folder: &std::path::Path) -> Option<[std::path::PathBuf; 2]> {
    let [certificate, key] = ["c.pem", "k.pem"].map(|name| folder.join(name));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-out".as_ref(), certificate.as_os_str(), "-keyout".as_ref(), key.as_os_str()])
        .output();
    match made {
        Ok(made) if made.status.success() => Some([certificate, key]),
        _ => {
            eprintln!("skipped: openssl is not here");
            None
        }
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_and_one_that_can_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let Some([certificate, key]) = certificate(folder.path()) else { return };
    let data = folder.path().join("data");
    let with = |certificate: &std::path::Path, key: &std::path::Path| {
        let mut command = serve(&data);
        command.env("VIDICON_TLS__CERTIFICATE", certificate).env("VIDICON_TLS__KEY", key);
        command
    };
    let (code, line) = refused(&mut with(&certificate, &certificate));
    assert_eq!((code, line.contains("tls.key: ") && line.contains("c.pem holds no private key")), (2, true), "{line}");
    let (code, line) = refused(&mut with(&folder.path().join("none.pem"), &key));
    assert_eq!((code, line.contains("none.pem cannot be read: No such file")), (2, true), "{line}");
    let (code, line) = refused(serve(&data).env("VIDICON_TLS__KEY", &key));
    assert_eq!((code, line.contains("tls.certificate is not")), (2, true), "{line}");
    assert!(!data.exists(), "nothing was made");

    let get = |url: &str| {
        let ca = ["--cacert".as_ref(), certificate.as_os_str()];
        let url = url.replace("127.0.0.1", "localhost") + "healthz";
        let got = Command::new("curl").args(["--silent", "--http1.1"]).args(ca).arg(url).output();
        got.map(|got| String::from_utf8_lossy(&got.stdout).trim().to_owned())
    };
    // The one port, and then one beside it.
    for beside in [false, true] {
        let mut command = with(&certificate, &key);
        if beside {
            command.env("VIDICON_TLS__LISTEN", "127.0.0.1:0");
        }
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let mut url = |before: &str| {
            let line = lines.next().unwrap().unwrap();
            line.split_once(before).unwrap_or_else(|| panic!("{line}")).1.trim().to_owned()
        };
        let tls = url(" is ready: ");
        assert!(tls.starts_with("https://127.0.0.1:"), "{tls}");
        match get(&tls) {
            Ok(told) => assert_eq!(told, "ok"),
            Err(error) => eprintln!("skipped: curl: {error}"),
        }
        if beside {
            let plain = url("without TLS");
            assert!(plain.starts_with("http://127.0.0.1:") && plain[7..] != tls[8..], "{plain}");
            assert_eq!(get(&plain).unwrap_or_else(|_| "ok".into()), "ok");
        }
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
        assert!(child.wait().unwrap().success());
    }
}
