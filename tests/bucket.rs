//! The whole server with its recordings in an S3 bucket: pushed in, killed, the bucket killed, credentials rotated, read back; over TLS,
//! too. Each test runs against both services of [`service`].
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, clippy::print_stdout)]

#[path = "bucket/check.rs"]
mod check;
mod common;
#[path = "bucket/encrypted.rs"]
mod encrypted;
#[path = "../store/tests/common/garage.rs"]
mod garage;
#[path = "common/secret.rs"]
mod secret;
#[path = "bucket/service.rs"]
mod service;
#[path = "bucket/tls.rs"]
mod tls;

use common::{KEY, SECRET, Server, basic, element, eventually, header, serve, wait};
use serde_json::Value;
use service::{Bucket, KEY_2, SECRET_2, make_stream, refused, spooling};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

const T0: u64 = 1_795_404_896_000;
/// Between two clusters of a producer that takes its time.
const PAUSE: Duration = Duration::from_millis(20);

/// The cluster of this number, with bytes of its own.
fn cluster(n: u64) -> Vec<u8> {
    let data: Vec<u8> = (0..9000 + n * 7).map(|i| (i * (n + 3)) as u8).collect();
    let block = element(&[0xa3], &[&[0x81, 0, 0, 0x80][..], &data].concat());
    [&[0x1f, 0x43, 0xb6, 0x75, 0xff][..], &element(&[0xe7], &(T0 + n * 500).to_be_bytes()), &block].concat()
}

/// Pushes these clusters in a session of its own; gives what was persisted of them, and whether all were sent.
fn push(server: &Server, from: u64, to: u64, limit: Duration) -> BTreeMap<u64, String> {
    push_slowly(server, from, to, limit, Duration::ZERO)
}

fn push_slowly(server: &Server, from: u64, to: u64, limit: Duration, pause: Duration) -> BTreeMap<u64, String> {
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
        std::thread::sleep(pause);
    }
    let (mut persisted, mut ended) = (BTreeMap::new(), false);
    for line in BufReader::new(socket.try_clone().unwrap()).lines().map_while(Result::ok) {
        if let Ok(ack) = serde_json::from_str::<Value>(&line)
            && ack["EventType"] == "PERSISTED"
        {
            persisted
                .insert(ack["FragmentTimecode"].as_u64().unwrap(), ack["FragmentNumber"].as_str().unwrap().to_owned());
            // Not earlier: a server waits 20 s for the bucket when a producer has ended, and a bucket may be away for longer. Not
            // later: what follows a cluster says that it is complete.
            if !ended && persisted.len() as u64 + 1 == to - from {
                ended = socket.write_all(b"0\r\n\r\n").is_ok();
            }
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
    outlive_kills(Bucket::script());
}

#[test]
fn recordings_lie_in_garage_and_outlive_kills_of_both() {
    Bucket::garage().into_iter().for_each(outlive_kills);
}

fn outlive_kills(mut bucket: Bucket) {
    let data = tempfile::tempdir().unwrap();
    let url = "s3://media/site/a";
    let mut server = Server::start(spooling(bucket.serve(data.path(), url)));
    make_stream(&server);
    let mut persisted = push(&server, 0, 8, Duration::from_secs(30));
    assert_eq!(persisted.len(), 8);
    assert!(bucket.has("site/a/vidicon-store.json"));

    // The bucket goes; what is pushed lies in the spool, is read from there, and outlives a kill of the server.
    bucket.kill();
    persisted.extend(push(&server, 8, 16, Duration::from_secs(30)));
    assert_eq!(persisted.len(), 16, "the spool took them");
    let newest = persisted.last_key_value().unwrap().1.clone();
    assert_eq!(server.bytes("GET", &format!("/v1/streams/gate/fragments/{newest}"), None).0, 200);
    server.child.kill().unwrap();
    wait(&mut server.child, Duration::from_secs(5)).unwrap();

    bucket.again();
    let mut server = Server::start(spooling(bucket.serve(data.path(), url)));
    assert_holds(&server, &persisted);
    let empty = || std::fs::read_dir(data.path().join("spool")).unwrap().next().is_none().then_some(());
    eventually("the spool is empty", Duration::from_secs(60), empty);
    assert_holds(&server, &persisted);

    // Other credentials, while it runs: the old ones end, and the new ones are taken up.
    bucket.credentials(KEY_2, SECRET_2);
    bucket.rotate();
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
        server = Server::start(spooling(bucket.serve(data.path(), url)));
        assert_ne!(server.url, at);
        // All that was told is there; what was not may be, once: it is sent again, and told.
        persisted.extend(push(&server, 20 + round * 8, 28 + round * 8, Duration::from_secs(30)));
        assert_holds(&server, &persisted);
    }
    assert_eq!(persisted.len(), 52);

    // The bucket killed in the middle of an ingest.
    for round in 0..3 {
        let from = 52 + round * 40;
        std::thread::scope(|threads| {
            let pushing = threads.spawn(|| push_slowly(&server, from, from + 40, Duration::from_secs(60), PAUSE));
            std::thread::sleep(Duration::from_millis(150 + round * 170));
            bucket.kill();
            std::thread::sleep(Duration::from_millis(400));
            bucket.again();
            persisted.extend(pushing.join().unwrap());
        });
        assert_eq!(persisted.len() as u64, from + 40);
        assert_holds(&server, &persisted);
    }
    eventually("the spool is empty", Duration::from_secs(60), empty);
    assert_holds(&server, &persisted);

    server.signal("TERM");
    assert!(wait(&mut server.child, Duration::from_secs(20)).unwrap().success());
    let check =
        Command::new(env!("CARGO_BIN_EXE_vidicon")).args(["check", "--deep", "--data"]).arg(data.path()).output();
    let check = check.unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{said}");
}

#[test]
fn without_a_spool_a_producer_waits_and_readiness_says_why() {
    producer_waits(Bucket::script());
}

#[test]
fn without_a_spool_a_producer_waits_for_garage() {
    Bucket::garage().into_iter().for_each(producer_waits);
}

fn producer_waits(mut bucket: Bucket) {
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
        let mut persisted = pushing.join().unwrap();
        if persisted.len() < 4 {
            // A slow machine: the session gave up after 20 s, and the producer sends again.
            persisted.extend(push(&server, 0, 4, Duration::from_secs(90)));
        }
        assert_eq!(persisted.len(), 4);
        assert_holds(&server, &persisted);
    });
    eventually("it is ready again", Duration::from_secs(20), || {
        (server.bytes("GET", "/readyz", None).0 == 200).then_some(())
    });
}

#[test]
fn what_does_not_fit_is_told_in_one_line_with_exit_code_2() {
    does_not_fit(Bucket::script());
}

#[test]
fn what_does_not_fit_garage_is_told_in_one_line_with_exit_code_2() {
    Bucket::garage().into_iter().for_each(does_not_fit);
}

fn does_not_fit(bucket: Bucket) {
    let data = tempfile::tempdir().unwrap();
    refused(bucket.serve(data.path(), "ftp://media"), 2, "ftp://");
    refused(bucket.serve(data.path(), "s3://missing"), 2, "no such bucket");
    bucket.credentials(garage::KEY, SECRET_2);
    refused(bucket.serve(data.path(), "s3://media"), 2, "access is denied");
    bucket.credentials(KEY_2, SECRET_2);
    refused(bucket.serve(data.path(), "s3://media"), 2, "access is denied");
    bucket.credentials(garage::KEY, garage::SECRET);
    if let Bucket::Garage(_) = bucket {
        let mut elsewhere = bucket.serve(data.path(), "s3://media");
        elsewhere.env("VIDICON_STORAGE__REGION", "eu-west-3");
        refused(elsewhere, 2, "region");
    }
    // One installation claims the prefix; another is refused, while the first runs and later, and so is the first without its setting.
    let mut server = Server::start(bucket.serve(data.path(), "s3://media"));
    let other = tempfile::tempdir().unwrap();
    refused(bucket.serve(other.path(), "s3://media"), 2, "another installation");
    server.signal("TERM");
    assert!(wait(&mut server.child, Duration::from_secs(20)).unwrap().success());
    refused(bucket.serve(other.path(), "s3://media"), 2, "another installation");
    refused(serve(data.path()), 2, "s3://media");
    if let Bucket::Script { folder, .. } = &bucket {
        let identity = folder.path().join("buckets/media/vidicon-store.json");
        let newer = std::fs::read_to_string(&identity).unwrap().replace("\"version\":2", "\"version\":9");
        std::fs::write(&identity, newer).unwrap();
        refused(bucket.serve(data.path(), "s3://media"), 2, "version 9");
    }
    let mut command = bucket.serve(data.path(), "s3://media");
    drop(bucket);
    command.env_remove("VIDICON_STORAGE__CREDENTIALS_FILE");
    command.env("AWS_ACCESS_KEY_ID", garage::KEY).env("AWS_SECRET_ACCESS_KEY", garage::SECRET);
    refused(command, 1, "cannot be reached");
}
