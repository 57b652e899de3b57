//! A producer that sends again what it was not told is kept, against a server that is killed again and again.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{KEY, SECRET, Server, basic, element, header, serve, wait};
use media::StreamName;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const KILLS: u64 = 12;
const T0: u64 = 1_795_404_896_000;
/// Time codes that were said to be persisted, and the numbers of their fragments.
type Persisted = Arc<Mutex<BTreeMap<u64, String>>>;

/// The cluster of this number: half a second of five frames, all of its own bytes.
fn cluster(n: u64) -> Vec<u8> {
    cluster_of(n, 4000 + n * 7)
}

/// The same with this many bytes a frame.
fn cluster_of(n: u64, bytes_a_frame: u64) -> Vec<u8> {
    let timecode = T0 + n * 500;
    let mut bytes = [&[0x1f, 0x43, 0xb6, 0x75, 0xff][..], &element(&[0xe7], &timecode.to_be_bytes())].concat();
    for frame in 0..5u64 {
        let at = (frame * 100) as i16;
        let key = if frame == 0 { 0x80 } else { 0 };
        let data: Vec<u8> = (0..bytes_a_frame).map(|i| (i * (n + 3) + frame) as u8).collect();
        bytes.extend(element(&[0xa3], &[&[0x81, at.to_be_bytes()[0], at.to_be_bytes()[1], key][..], &data].concat()));
    }
    bytes
}

fn make_stream(data: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config = store::Config { data: data.to_owned(), ..store::Config::default() };
        let store = store::Store::open(config, Arc::new(|| media::UnixMillis(1))).await.unwrap();
        store.create_stream(&"gate".parse::<StreamName>().unwrap(), None).await.unwrap();
        store.stop().await.unwrap();
    });
}

/// Begins a session, and collects what is persisted until the answer or the connection ends.
fn begin(url: &str, persisted: &Persisted) -> (TcpStream, std::thread::JoinHandle<()>) {
    let socket = ask(url);
    let (read, persisted) = (socket.try_clone().unwrap(), persisted.clone());
    let reader = std::thread::spawn(move || {
        for ack in acks(read) {
            if ack["EventType"] == "PERSISTED" {
                let number = ack["FragmentNumber"].as_str().unwrap().to_owned();
                let earlier =
                    persisted.lock().unwrap().insert(ack["FragmentTimecode"].as_u64().unwrap(), number.clone());
                assert!(earlier.is_none_or(|earlier| earlier == number), "one fragment, one number");
            }
        }
    });
    (socket, reader)
}

/// The acknowledgements of a session as they come.
fn acks(answer: TcpStream) -> impl Iterator<Item = Value> {
    let lines = BufReader::new(answer).lines().map_while(Result::ok).take_while(|line| line != "0");
    lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok().filter(Value::is_object))
}

/// Sends the head of a session.
fn ask(url: &str) -> TcpStream {
    let mut socket = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    let head = format!(
        "POST /putMedia HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\ntransfer-encoding: chunked\r\nx-amzn-stream-name: gate\r\nx-amzn-fragment-timecode-type: ABSOLUTE\r\n\r\n",
        basic(KEY, SECRET)
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket
}

fn send(socket: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    socket.write_all(&[format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
}

#[test]
fn what_was_persisted_survives_kills_and_what_is_sent_again_is_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    make_stream(folder.path());
    let persisted = Persisted::default();
    let mut sent = 0;
    for round in 0..=KILLS {
        let mut server = Server::start(serve(folder.path()));
        let (mut socket, reader) = begin(&server.url, &persisted);
        send(&mut socket, &header()).unwrap();
        // All that it was not told is kept, as the C SDK does, and one that it was.
        let kept = (0..).find(|n| !persisted.lock().unwrap().contains_key(&(T0 + n * 500))).unwrap();
        let last = sent.max(kept) + 6;
        for n in kept.saturating_sub(1)..last {
            for piece in cluster(n).chunks(5000) {
                // Pieces end anywhere, and so does the server.
                if send(&mut socket, piece).is_err() {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        sent = last;
        if round == KILLS {
            socket.write_all(b"0\r\n\r\n").unwrap();
            reader.join().unwrap();
            compare(&server, &persisted.lock().unwrap(), sent);
            break;
        }
        // Somewhere in the life of a commit.
        std::thread::sleep(Duration::from_millis(round * 37 % 400));
        send(&mut socket, &cluster(sent)[..3000]).unwrap();
        server.child.kill().unwrap();
        wait(&mut server.child, Duration::from_secs(5)).unwrap();
        reader.join().unwrap();
    }
    let check = Command::new(env!("CARGO_BIN_EXE_vidicon"))
        .args(["check", "--deep", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{said}");
}

/// What comes back of a session of these clusters.
fn session(url: &str, clusters: &[&[u8]]) -> Vec<Value> {
    let mut socket = ask(url);
    let read = socket.try_clone().unwrap();
    let reader = std::thread::spawn(move || acks(read).filter(|ack| ack["EventType"] != "IDLE").collect());
    send(&mut socket, &[&header(), &clusters.concat()[..]].concat()).unwrap();
    socket.write_all(b"0\r\n\r\n").unwrap();
    reader.join().unwrap()
}

fn words(acks: &[Value]) -> Vec<&str> {
    acks.iter().map(|ack| ack["EventType"].as_str().unwrap()).collect()
}

#[test]
fn where_there_is_no_room_on_the_disk_the_producer_is_told_and_goes_on_when_there_is() {
    if !Command::new("prlimit").arg("--version").output().is_ok_and(|out| out.status.success()) {
        return eprintln!("skipped: there is no prlimit");
    }
    let folder = tempfile::tempdir().unwrap();
    make_stream(folder.path());
    // No file may be larger than 2 MiB: what is written beyond it fails as on a full disk.
    let server = serve(folder.path());
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; exec prlimit --fsize=2097152: -- \"$@\"", "sh"]);
    limited.arg(server.get_program()).args(server.get_args());
    limited.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.stdout(std::process::Stdio::piped()).stdin(std::process::Stdio::null());
    let server = Server::start(limited);
    let large = cluster_of(1, 600_000);
    let mut socket = ask(&server.url);
    let mut answer = acks(socket.try_clone().unwrap()).filter(|ack| ack["EventType"] != "IDLE");
    send(&mut socket, &[&header(), &cluster(0), &large[..5000]].concat()).unwrap();
    let before: Vec<_> = answer.by_ref().take(4).collect();
    assert_eq!(words(&before), ["BUFFERING", "RECEIVED", "BUFFERING", "PERSISTED"]);
    send(&mut socket, &[&large[5000..], &cluster(2)].concat()).unwrap();
    socket.write_all(b"0\r\n\r\n").unwrap();
    let said: Vec<_> = answer.collect();
    let error = said.last().unwrap();
    assert_eq!((&error["ErrorId"], &error["ErrorCode"]), (&5001.into(), &"ARCHIVAL_ERROR".into()), "{said:?}");
    assert_eq!(error["FragmentTimecode"], T0 + 500, "the one that it is about");
    let number = said.iter().find(|a| a["EventType"] == "RECEIVED" && a["FragmentTimecode"] == T0 + 500).unwrap();
    assert_eq!(error["FragmentNumber"], number["FragmentNumber"]);
    let (message, at) = (error["Message"].as_str().unwrap(), header().len() + cluster(0).len());
    let expected =
        format!("stream gate, byte {at}: fragment {}: the disk is full", number["FragmentNumber"].as_str().unwrap());
    assert!(message.starts_with(&expected), "{message}");
    let persisted = |acks: &[Value]| -> Vec<u64> {
        let persisted = acks.iter().filter(|ack| ack["EventType"] == "PERSISTED");
        persisted.map(|ack| ack["FragmentTimecode"].as_u64().unwrap()).collect()
    };
    assert!(persisted(&said).is_empty(), "nothing that follows may be counted on");

    // What there is room for is taken meanwhile.
    assert_eq!(words(&session(&server.url, &[&cluster(3)])), ["BUFFERING", "RECEIVED", "PERSISTED"]);
    let said = session(&server.url, &[&large]);
    assert_eq!(words(&said), ["BUFFERING", "RECEIVED", "ERROR"]);
    let pid = server.child.id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]).status().unwrap().success());
    // The producer sends again what it was not told is kept.
    let said = session(&server.url, &[&large, &cluster(2)]);
    assert_eq!(persisted(&said), [T0 + 500, T0 + 1000], "{said:?}");

    let listed = server.get("/v1/streams/gate/fragments?from=0&to=99999999999999&limit=1000");
    let listed = listed["fragments"].as_array().unwrap();
    assert_eq!(listed.len(), 4, "{listed:?}");
    for (fragment, cluster) in listed.iter().zip([cluster(0), large, cluster(2), cluster(3)]) {
        let number = fragment["number"].as_str().unwrap();
        let (status, mkv) = server.bytes("GET", &format!("/v1/streams/gate/fragments/{number}"), None);
        assert!(status == 200 && mkv.ends_with(&cluster), "fragment {number} is not what was sent");
    }
    drop(server);
    let check =
        Command::new(env!("CARGO_BIN_EXE_vidicon")).args(["check", "--deep", "--data"]).arg(folder.path()).output();
    let check = check.unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

/// Each fragment is there once, under the number that its producer was told, byte for byte.
fn compare(server: &Server, persisted: &BTreeMap<u64, String>, sent: u64) {
    assert_eq!(persisted.len() as u64, sent, "all is persisted at last");
    let listed = server.get("/v1/streams/gate/fragments?from=0&to=99999999999999&limit=1000");
    let listed = listed["fragments"].as_array().unwrap();
    let of = |f: &Value| (f["producer_start"].as_u64().unwrap(), f["number"].as_str().unwrap().to_owned());
    let shown: Vec<_> = listed.iter().map(of).collect();
    assert_eq!(shown, persisted.clone().into_iter().collect::<Vec<_>>());
    for (n, (_, number)) in persisted.iter().enumerate() {
        let (status, mkv) = server.bytes("GET", &format!("/v1/streams/gate/fragments/{number}"), None);
        assert_eq!(status, 200);
        assert!(mkv.ends_with(&cluster(n as u64)), "fragment {number} is not what was sent");
    }
    // The figures of the last session.
    let (_, text) = server.bytes("GET", "/metrics", None);
    let text = String::from_utf8(text).unwrap();
    let figure = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(figure("vidicon_put_media_requests_total"), 1.0);
    assert_eq!(figure("vidicon_put_media_success_total"), 1.0);
    assert_eq!(figure("vidicon_put_media_active_connections"), 0.0);
    let fragments = figure("vidicon_put_media_incoming_fragments_total");
    assert!(fragments >= 7.0 && figure("vidicon_put_media_incoming_frames_total") == fragments * 5.0);
    assert!(figure("vidicon_put_media_duplicate_fragments_total") >= 1.0);
    assert!(figure("vidicon_put_media_incoming_bytes_total") > fragments * 20_000.0);
    for histogram in ["buffering_ack", "received_ack", "persisted_ack", "fragment_ingestion"] {
        assert!(figure(&format!("vidicon_put_media_{histogram}_seconds_count")) >= fragments - 1.0, "{histogram}");
    }
}

#[test]
fn the_shared_producer_is_told_of_each_fragment() {
    let Some(shared) = common::shared() else { return };
    let python = std::env::var("VIDICON_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import botocore"]).output();
    if !has.is_ok_and(|out| out.status.success()) {
        return eprintln!("skipped: {python} has no package botocore");
    }
    let folder = tempfile::tempdir().unwrap();
    make_stream(folder.path());
    let server = Server::start(serve(folder.path()));
    for (payload, timecodes) in [("empty", "ABSOLUTE"), ("unsigned", "RELATIVE")] {
        let out = Command::new(&python)
            .arg(shared.join("tools/putmedia.py"))
            .args(["--resolve", "--expect", "--stream", "gate", "--key", KEY, "--secret", SECRET])
            .args(["--endpoint", &server.url, "--payload", payload, "--timecodes", timecodes, "--file"])
            .arg(shared.join("kvs/fixtures/kvssink-h264-session.mkv"))
            .output();
        let out = out.unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let said: Value = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&out.stderr)));
        assert_eq!(said["status"], "HTTP/1.1 200 OK", "{said}");
        assert_eq!(said["acks"], json!({"BUFFERING": 18, "RECEIVED": 18, "PERSISTED": 18}), "{said}");
        assert_eq!((&said["ack_errors"], &said["send_error"]), (&json!([]), &Value::Null), "{said}");
    }
}

/// Answers one request after another with 200; what each brought, its head and its body.
fn receiver() -> (String, std::sync::mpsc::Receiver<(String, Value)>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/doors", listener.local_addr().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let mut socket = BufReader::new(socket);
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let before = head.len();
                if socket.read_line(&mut head).unwrap() == 0 {
                    break;
                }
                let line = head[before..].to_ascii_lowercase();
                length = line.strip_prefix("content-length: ").map_or(length, |n| n.trim().parse().unwrap());
            }
            let mut body = vec![0; length];
            socket.read_exact(&mut body).unwrap();
            socket.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            if sender.send((head, serde_json::from_slice(&body).unwrap())).is_err() {
                return;
            }
        }
    });
    (url, receiver)
}

#[test]
fn a_tagged_fragment_reaches_the_receiver_that_its_stream_names() {
    let (url, received) = receiver();
    let folder = tempfile::tempdir().unwrap();
    make_stream(&folder.path().join("data"));
    let config = folder.path().join("vidicon.toml");
    let target = format!(
        "[[targets]]\nname = \"doors\"\nurl = \"{url}\"\nsecret = \"a long random text\"\nallow_local = true\n"
    );
    std::fs::write(&config, target).unwrap();
    let mut command = serve(&folder.path().join("data"));
    command.arg("--config").arg(&config);
    let server = Server::start(command);
    let topic = "arn:aws:sns:us-east-1:123456789012:doors";
    let configuration = json!({"Status": "ENABLED", "DestinationConfig": {"Uri": topic}});
    let body = json!({"StreamName": "gate", "NotificationConfiguration": configuration});
    let (status, said) = server.request("POST", "/updateNotificationConfiguration", Some(body));
    assert_eq!(status, 200, "{said}");

    let persisted = Persisted::default();
    let (mut socket, reader) = begin(&server.url, &persisted);
    let simple = |name: &str, value: &str| {
        let pair = [element(&[0x45, 0xa3], name.as_bytes()), element(&[0x44, 0x87], value.as_bytes())].concat();
        element(&[0x67, 0xc8], &pair)
    };
    let pairs = [simple("AWS_KINESISVIDEO_NOTIFICATION", ""), simple("door", "open")].concat();
    let tags = element(&[0x12, 0x54, 0xc3, 0x67], &element(&[0x73, 0x73], &pairs));
    send(&mut socket, &[header(), cluster(0), tags, cluster(1), cluster(2)].concat()).unwrap();
    socket.write_all(b"0\r\n\r\n").unwrap();
    reader.join().unwrap();
    let number = persisted.lock().unwrap()[&(T0 + 500)].clone();

    let (head, envelope) = received.recv_timeout(Duration::from_secs(10)).expect("it is told");
    assert!(head.to_ascii_lowercase().contains("\r\nx-amz-sns-message-type: notification\r\n"), "{head}");
    assert_eq!((&envelope["Type"], &envelope["TopicArn"]), (&"Notification".into(), &topic.into()));
    let message: Value = serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap();
    assert_eq!(message["FragmentNumber"], number);
    assert_eq!(message["FragmentStartProducerTimestamp"], T0 + 500);
    assert_eq!(
        (&message["NotificationType"], &message["NotificationPayload"]),
        (&"PERSISTED".into(), &json!({"door": "open"}))
    );
    assert!(message["StreamArn"].as_str().unwrap().contains(":stream/gate/"));
    assert!(received.recv_timeout(Duration::from_secs(2)).is_err(), "only that one asked");
}
