//! The whole server with its recordings in an S3 bucket: pushed in, killed, the bucket killed, credentials rotated, read back.
//! The bucket is `tests/s3.py`, which shares no code with the client.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KEY, SECRET, Server, basic, element, eventually, header, serve, wait};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const T0: u64 = 1_795_404_896_000;

/// A bucket `media` in a process of its own, killed when dropped.
struct Bucket {
    port: u16,
    folder: tempfile::TempDir,
    child: Child,
}

impl Bucket {
    fn start() -> Bucket {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("buckets/media")).unwrap();
        std::fs::write(folder.path().join("keys"), "A secret-a\n").unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Bucket::spawn(port, folder.path());
        Bucket { port, folder, child }
    }
    fn spawn(port: u16, folder: &Path) -> Child {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(port.to_string()).arg(folder.join("buckets")).arg(folder.join("keys"));
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        eventually("the bucket listens", Duration::from_secs(20), || TcpStream::connect(("127.0.0.1", port)).ok());
        child
    }
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
    fn again(&mut self) {
        self.child = Bucket::spawn(self.port, self.folder.path());
    }
    fn credentials(&self, key: &str, secret: &str) {
        let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
        std::fs::write(self.folder.path().join("credentials"), text).unwrap();
    }
    /// A server whose recordings lie here.
    fn serve(&self, data: &Path, url: &str) -> Command {
        let mut command = serve(data);
        let set = [
            ("URL", url.to_owned()),
            ("ENDPOINT", format!("http://127.0.0.1:{}", self.port)),
            ("ALLOW_HTTP", "true".to_owned()),
            ("CREDENTIALS_FILE", self.folder.path().join("credentials").display().to_string()),
            ("COMMIT_INTERVAL_MS", "50".to_owned()),
            ("TIMEOUT_S", "5".to_owned()),
        ];
        for (name, value) in set {
            command.env(format!("VIDICON_STORAGE__{name}"), value);
        }
        command.env("VIDICON_STORE__TAIL_BYTES", "0");
        command
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn make_stream(server: &Server) {
    let body = serde_json::json!({"StreamName": "gate", "DataRetentionInHours": 24});
    assert_eq!(server.request("POST", "/createStream", Some(body)).0, 200);
}

/// The cluster of this number, with bytes of its own.
fn cluster(n: u64) -> Vec<u8> {
    let data: Vec<u8> = (0..9000 + n * 7).map(|i| (i * (n + 3)) as u8).collect();
    let block = element(&[0xa3], &[&[0x81, 0, 0, 0x80][..], &data].concat());
    [&[0x1f, 0x43, 0xb6, 0x75, 0xff][..], &element(&[0xe7], &(T0 + n * 500).to_be_bytes()), &block].concat()
}

/// Pushes these clusters in a session of its own; gives what was persisted of them, and whether all were sent.
fn push(server: &Server, from: u64, to: u64, limit: Duration) -> BTreeMap<u64, String> {
    let mut socket = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    socket.set_read_timeout(Some(limit)).unwrap();
    let head = format!(
        "POST /putMedia HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\ntransfer-encoding: chunked\r\nx-amzn-stream-name: gate\r\nx-amzn-fragment-timecode-type: ABSOLUTE\r\n\r\n",
        basic(KEY, SECRET)
    );
    socket.write_all(head.as_bytes()).unwrap();
    let body = [header()].into_iter().chain((from..to).map(cluster));
    for bytes in body {
        socket.write_all(&[format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat()).unwrap();
    }
    socket.write_all(b"0\r\n\r\n").unwrap();
    let mut persisted = BTreeMap::new();
    for line in BufReader::new(socket).lines().map_while(Result::ok) {
        if let Ok(ack) = serde_json::from_str::<Value>(&line)
            && ack["EventType"] == "PERSISTED"
        {
            persisted
                .insert(ack["FragmentTimecode"].as_u64().unwrap(), ack["FragmentNumber"].as_str().unwrap().to_owned());
        }
        if line == "0" {
            break;
        }
    }
    persisted
}

fn assert_holds(server: &Server, persisted: &BTreeMap<u64, String>) {
    let listed = server.get("/v1/streams/gate/fragments?from=0&to=99999999999999&limit=1000");
    let of = |f: &Value| (f["producer_start"].as_u64().unwrap(), f["number"].as_str().unwrap().to_owned());
    let shown: BTreeMap<_, _> = listed["fragments"].as_array().unwrap().iter().map(of).collect();
    assert_eq!(shown, *persisted);
    for (time, number) in persisted {
        let (status, mkv) = server.bytes("GET", &format!("/v1/streams/gate/fragments/{number}"), None);
        assert!(status == 200 && mkv.ends_with(&cluster((time - T0) / 500)), "fragment {number}: {status}");
    }
}

#[test]
fn recordings_lie_in_the_bucket_and_outlive_kills_of_both() {
    let mut bucket = Bucket::start();
    bucket.credentials("A", "secret-a");
    let data = tempfile::tempdir().unwrap();
    let spool = |mut command: Command| {
        command.env("VIDICON_STORAGE__SPOOL_BYTES", "100000000").env("VIDICON_STORAGE__SPOOL_AFTER_MS", "200");
        command
    };
    let url = "s3://media/site/a";
    let mut server = Server::start(spool(bucket.serve(data.path(), url)));
    make_stream(&server);
    let mut persisted = push(&server, 0, 8, Duration::from_secs(30));
    assert_eq!(persisted.len(), 8);
    assert!(bucket.folder.path().join("buckets/media/site/a/vidicon-store.json").exists());

    // The bucket goes; what is pushed lies in the spool, is read from there, and outlives a kill of the server.
    bucket.kill();
    persisted.extend(push(&server, 8, 16, Duration::from_secs(30)));
    assert_eq!(persisted.len(), 16, "the spool took them");
    let newest = persisted.last_key_value().unwrap().1.clone();
    assert_eq!(server.bytes("GET", &format!("/v1/streams/gate/fragments/{newest}"), None).0, 200);
    server.child.kill().unwrap();
    wait(&mut server.child, Duration::from_secs(5)).unwrap();

    bucket.again();
    let mut server = Server::start(spool(bucket.serve(data.path(), url)));
    assert_holds(&server, &persisted);
    let empty = || std::fs::read_dir(data.path().join("spool")).unwrap().next().is_none().then_some(());
    eventually("the spool is empty", Duration::from_secs(60), empty);
    assert_holds(&server, &persisted);

    // Other credentials, while it runs: the old ones end, and the new ones are taken up.
    bucket.credentials("B", "secret-b");
    std::fs::write(bucket.folder.path().join("keys"), "B secret-b\n").unwrap();
    persisted.extend(push(&server, 16, 20, Duration::from_secs(60)));
    assert_eq!(persisted.len(), 20);
    eventually("the spool is empty", Duration::from_secs(60), empty);

    // Killed in the middle of PUTs.
    for round in 0..4 {
        let at = server.url.clone();
        std::thread::scope(|threads| {
            let pushing = threads.spawn(|| push(&server, 20 + round * 8, 28 + round * 8, Duration::from_secs(30)));
            std::thread::sleep(Duration::from_millis(40 + round * 45));
            let _ = Command::new("kill").args(["-9", &server.child.id().to_string()]).status();
            if let Ok(told) = pushing.join() {
                persisted.extend(told);
            }
        });
        wait(&mut server.child, Duration::from_secs(5)).unwrap();
        server = Server::start(spool(bucket.serve(data.path(), url)));
        assert_ne!(server.url, at);
        // All that was told is there; what was not may be, once: it is sent again, and told.
        persisted.extend(push(&server, 20 + round * 8, 28 + round * 8, Duration::from_secs(30)));
        assert_holds(&server, &persisted);
    }
    assert_eq!(persisted.len(), 52);
}

#[test]
fn without_a_spool_a_producer_waits_and_readiness_says_why() {
    let mut bucket = Bucket::start();
    bucket.credentials("A", "secret-a");
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(bucket.serve(data.path(), "s3://media"));
    make_stream(&server);
    bucket.kill();
    std::thread::scope(|threads| {
        let pushing = threads.spawn(|| push(&server, 0, 4, Duration::from_secs(90)));
        eventually("readiness tells it", Duration::from_secs(40), || {
            let (status, body) = server.bytes("GET", "/readyz", None);
            (status == 503 && String::from_utf8_lossy(&body).contains("has not taken a group")).then_some(())
        });
        assert!(!pushing.is_finished(), "nothing was persisted");
        bucket.again();
        let persisted = pushing.join().unwrap();
        assert_eq!(persisted.len(), 4);
        assert_holds(&server, &persisted);
    });
    eventually("it is ready again", Duration::from_secs(20), || {
        (server.bytes("GET", "/readyz", None).0 == 200).then_some(())
    });
}

#[test]
fn what_does_not_fit_is_told_in_one_line_with_exit_code_2() {
    let bucket = Bucket::start();
    bucket.credentials("A", "secret-a");
    let data = tempfile::tempdir().unwrap();
    let refused = |mut command: Command, code: i32, says: &str| {
        let out = command.output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        let told: Vec<_> = text.lines().filter(|line| line.starts_with("vidicon: ")).collect();
        assert!(told.len() == 1 && told[0].contains(says), "{says}: {text}");
        assert!(out.status.code() == Some(code) && !text.contains("secret-"), "{:?}: {text}", out.status);
    };
    refused(bucket.serve(data.path(), "ftp://media"), 2, "ftp://");
    refused(bucket.serve(data.path(), "s3://missing"), 2, "no such bucket");
    bucket.credentials("A", "secret-wrong");
    refused(bucket.serve(data.path(), "s3://media"), 2, "access is denied");
    bucket.credentials("A", "secret-a");
    // One installation claims the prefix; another is refused, and so is the first without its setting.
    let mut server = Server::start(bucket.serve(data.path(), "s3://media"));
    server.signal("TERM");
    assert!(wait(&mut server.child, Duration::from_secs(20)).unwrap().success());
    let other = tempfile::tempdir().unwrap();
    refused(bucket.serve(other.path(), "s3://media"), 2, "another installation");
    refused(serve(data.path()), 2, "s3://media");
    let identity = bucket.folder.path().join("buckets/media/vidicon-store.json");
    let newer = std::fs::read_to_string(&identity).unwrap().replace("\"version\":1", "\"version\":9");
    std::fs::write(&identity, newer).unwrap();
    refused(bucket.serve(data.path(), "s3://media"), 2, "version 9");
    drop(bucket);
    let mut command = serve(data.path());
    command.env("VIDICON_STORAGE__URL", "s3://media").env("VIDICON_STORAGE__ENDPOINT", "http://127.0.0.1:1");
    command.env("VIDICON_STORAGE__ALLOW_HTTP", "true");
    command.env("AWS_ACCESS_KEY_ID", "A").env("AWS_SECRET_ACCESS_KEY", "secret-a");
    refused(command, 1, "cannot be reached");
}
