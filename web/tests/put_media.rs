//! PutMedia on the wire: heads, chunks and closes, byte by byte.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    KEY, SECRET, Server,
    push::{Pusher, T0, block, cluster, cluster_start, end_of_fragment, header, tags},
};
use ingest::putmedia::{Config, Limits, Policy};
use media::UnixMillis;
use serde_json::json;
use std::time::{Duration, Instant};
use store::{
    Position, Range,
    documents::{Expect, KEY as KEYS},
    records::{Secret, Target},
};
use tokio::{io::AsyncWriteExt, time::timeout};
use web::{NewKey, create_key};

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };

async fn start(data: &std::path::Path, config: Config) -> Server {
    Server::start_under(data, SECRET, web::AwsConfig::default(), config).await
}

/// The clusters of a stream in order.
async fn stored(server: &Server, name: &str) -> Vec<Vec<u8>> {
    let stream = server.store.stream(&name.parse().unwrap()).unwrap();
    let mut clusters = Vec::new();
    for meta in stream.fragments(ALL, Position::Start, 1000).await.unwrap() {
        clusters.push(stream.fragment(meta.number).await.unwrap().cluster.to_bytes().to_vec());
    }
    clusters
}

fn name_of(text: &str) -> &str {
    text.lines().find_map(|l| l.strip_prefix("x-amzn-errortype: ")).and_then(|l| l.split(':').next()).unwrap_or("")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_from_100_continue_to_the_last_chunk() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let info = server.stream("gate").await.info();
    let arn = format!("arn:aws:kinesisvideo:us-east-1:123456789012:stream/gate/{}", info.created_at.0);
    let began = Instant::now();
    let asked = [
        ("x-amzn-stream-arn", arn.as_str()),
        ("x-amzn-fragment-timecode-type", "RELATIVE"),
        ("x-amzn-producer-start-timestamp", "1795404896.353"),
        ("Expect", "100-continue"),
    ];
    let mut pusher = Pusher::ask(server.address, "/putMedia", &asked).await;
    assert_eq!(pusher.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    // Before any byte of media.
    let head = pusher.head().await.to_ascii_lowercase();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(head.starts_with("http/1.1 200 ok\r\n") && head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    assert!(head.contains("\r\nx-amzn-requestid: ") && head.contains("\r\ndate: "), "{head}");
    assert!(!head.contains("connection: close") && !head.contains("\r\ncontent-length:"), "{head}");

    let (first, second) = (cluster(0, 50), cluster(1000, 400_000));
    pusher.send(&[header(), cluster_start(0)].concat()).await;
    assert_eq!(pusher.word().await, "BUFFERING 0");
    pusher.send(&first[cluster_start(0).len()..]).await;
    pusher.send(&end_of_fragment()).await;
    let received = pusher.ack().await.unwrap();
    assert_eq!((&received["EventType"], received.as_object().unwrap().len()), (&"RECEIVED".into(), 3));
    assert_eq!(received["FragmentNumber"].as_str().unwrap().len(), 47);
    assert_eq!(pusher.word().await, "PERSISTED 0");
    // Far more than any other body may have.
    assert!(pusher.send(&second).await);
    assert_eq!(pusher.word().await, "BUFFERING 1000");
    pusher.end().await;
    assert_eq!(pusher.word().await, "RECEIVED 1000");
    assert_eq!(pusher.word().await, "PERSISTED 1000");
    assert_eq!(pusher.word().await, "end");
    assert_eq!(stored(&server, "gate").await, [first, second]);
    let stream = server.store.stream(&"gate".parse().unwrap()).unwrap();
    let starts: Vec<_> =
        stream.fragments(ALL, Position::Start, 9).await.unwrap().iter().map(|m| m.producer_start.0).collect();
    assert_eq!(starts, [1_795_404_896_353, 1_795_404_897_353]);
    // The connection is as good as before.
    pusher.socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(pusher.head().await.starts_with("HTTP/1.1 200 OK"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_before_media_can_be_read_while_media_is_being_sent() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    const GATE: (&str, &str) = ("x-amzn-stream-name", "gate");
    const ABSOLUTE: (&str, &str) = ("x-amzn-fragment-timecode-type", "ABSOLUTE");
    let arn = "arn:aws:kinesisvideo:us-east-1:123456789012:stream/gate/5";
    let basic = common::basic(KEY, "wrong");
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
    let cases: [Case<'_>; 8] = [
        (&[("x-amzn-stream-name", "door"), ABSOLUTE], "404", "ResourceNotFoundException"),
        (&[("x-amzn-stream-arn", arn), ABSOLUTE], "404", "ResourceNotFoundException"),
        (&[ABSOLUTE], "400", "InvalidArgumentException"),
        (&[GATE, ("x-amzn-stream-arn", arn), ABSOLUTE], "400", "InvalidArgumentException"),
        (&[GATE], "400", "InvalidArgumentException"),
        (&[GATE, ("x-amzn-fragment-timecode-type", "RELATIVE")], "400", "InvalidArgumentException"),
        (
            &[GATE, ("x-amzn-fragment-timecode-type", "RELATIVE"), ("x-amzn-producer-start-timestamp", "soon")],
            "400",
            "InvalidArgumentException",
        ),
        (&[GATE, ABSOLUTE, ("authorization", &basic)], "40", ""),
    ];
    for (headers, status, name) in cases {
        for expects in [false, true] {
            let mut all = headers.to_vec();
            all.extend(expects.then_some(("Expect", "100-continue")));
            let mut pusher = Pusher::ask(server.address, "/putMedia", &all).await;
            if !expects {
                // More than a socket holds, so that somebody has to read it.
                let half = vec![0; 1 << 20];
                for _ in 0..8 {
                    let _ = timeout(Duration::from_secs(3), pusher.send(&half)).await;
                }
            }
            let head = pusher.head().await.to_ascii_lowercase();
            assert!(head.starts_with(&format!("http/1.1 {status}")), "{headers:?}: {head}");
            if !name.is_empty() {
                assert_eq!(name_of(&head), name.to_ascii_lowercase());
            }
        }
    }
    assert!(stored(&server, "gate").await.is_empty());
    server.stop().await;
}

/// A stream under the given settings, and what a body of these parts is told.
async fn told(config: Config, body: &[u8]) -> Vec<String> {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), config).await;
    server.stream("gate").await;
    let mut pusher = Pusher::start(server.address, "gate", &[]).await;
    pusher.send(body).await;
    let mut words = Vec::new();
    loop {
        let word = pusher.word().await;
        words.push(word);
        let last = words.last().unwrap();
        assert!(last != "end", "{words:?}");
        if last.starts_with("ERROR") {
            break;
        }
    }
    // It is read and dropped until the producer has noticed.
    for n in 0..20 {
        assert!(pusher.send(&cluster(T0 + n * 1000, 50_000)).await);
    }
    pusher.end().await;
    assert_eq!(pusher.word().await, "end", "nothing after ERROR");
    server.stop().await;
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_that_a_body_can_provoke() {
    let strict = |limits: Limits| Config { policy: Policy::Strict, limits, ..Config::default() };
    let lenient = |limits: Limits| Config { limits, ..Config::default() };
    let session = |parts: &[&[u8]]| [&header(), &parts.concat()[..]].concat();
    let good = cluster(T0, 50);
    let small = Limits { max_fragment_bytes: 2000, ..Limits::default() };
    let short = Limits { max_fragment_ms: 500, ..Limits::default() };
    let one_track = Limits { max_tracks: 0, ..Limits::default() };
    let undeclared = [cluster_start(T0), block(1, 0, true, &[0; 9]), block(7, 5, false, b"x")].concat();
    let cases = [
        (lenient(small), session(&[&cluster(T0, 1000)]), 4001),
        (lenient(short), session(&[&good]), 4002),
        (strict(Limits::default()), session(&[&good, &good]), 4004),
        (strict(one_track), session(&[&good]), 4005),
        (lenient(Limits::default()), b"GET / HTTP/1.1 is no Matroska".to_vec(), 4006),
        (lenient(Limits::default()), session(&[&good, &[0; 64]]), 4006),
        (strict(Limits::default()), session(&[&good, &header(), &cluster_start(T0 + 1000)]), 4006),
        (lenient(Limits::default()), session(&[&cluster_start(u64::MAX)]), 4007),
        (strict(Limits::default()), session(&[&tags(&[("a", "b"); 11]), &good]), 4009),
        (strict(Limits::default()), session(&[&undeclared]), 4010),
        (strict(Limits::default()), session(&[&cluster_start(T0), &cluster_start(T0 + 1000)]), 4011),
        (strict(Limits::default()), session(&[&tags(&[("AWS_MINE", "x")]), &good]), 4012),
    ];
    for (config, body, id) in cases {
        let words = told(config, &body).await;
        let last = words.last().unwrap();
        assert!(last.starts_with(&format!("ERROR {id}")), "{id}: {words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_http_is_told_and_a_stream_that_is_deleted() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    let mut pusher = Pusher::start(server.address, "gate", &[]).await;
    pusher.send(&[header(), cluster(T0, 50), cluster(T0 + 1000, 50)].concat()).await;
    pusher.socket.write_all(b"this is no size of a chunk\r\n").await.unwrap();
    let mut words = Vec::new();
    while words.last().is_none_or(|w: &String| w != "end") {
        words.push(pusher.word().await);
    }
    let error = format!("ERROR 4000 {}", T0 + 1000);
    assert!(words.contains(&format!("PERSISTED {T0}")), "{words:?}");
    assert_eq!(words[words.len() - 2..], [error, "end".into()], "{words:?}");
    assert_eq!(stored(&server, "gate").await, [cluster(T0, 50)]);

    let mut pusher = Pusher::start(server.address, "gate", &[]).await;
    pusher.send(&[header(), cluster(T0 + 2000, 50)].concat()).await;
    assert_eq!(pusher.word().await, format!("BUFFERING {}", T0 + 2000));
    server.store.delete_stream(&"gate".parse().unwrap()).await.unwrap();
    pusher.send(&cluster(T0 + 3000, 50)).await;
    assert_eq!(pusher.word().await, format!("ERROR 4008 {}", T0 + 2000));
    pusher.end().await;
    assert_eq!(pusher.word().await, "end");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_connection_leaves_no_half_and_a_second_one_no_double() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    let clusters: Vec<_> = (0..4).map(|n| cluster(T0 + n * 1000, 3000)).collect();
    let mut first = Pusher::start(server.address, "gate", &[]).await;
    first.send(&[header(), clusters[..2].concat(), clusters[2][..9000].to_vec()].concat()).await;
    while first.word().await != format!("PERSISTED {}", T0 + 1000) {}
    drop(first);
    // It did not see the last acknowledgements, so it sends more than is missing.
    let mut second = Pusher::start(server.address, "gate", &[]).await;
    second.send(&[header(), clusters[1..].concat()].concat()).await;
    second.end().await;
    let persisted = second.rest().await.iter().filter(|a| a["EventType"] == "PERSISTED").count();
    assert_eq!(persisted, 3);
    assert_eq!(stored(&server, "gate").await, clusters);

    // Rotation: the next session is open and silent while the last one ends.
    let mut third = Pusher::start(server.address, "gate", &[]).await;
    let mut fourth = Pusher::start(server.address, "gate", &[]).await;
    third.send(&[header(), cluster(T0 + 4000, 50), end_of_fragment()].concat()).await;
    third.end().await;
    assert_eq!(third.rest().await.last().unwrap()["EventType"], "PERSISTED");
    fourth.send(&[header(), cluster(T0 + 5000, 50)].concat()).await;
    fourth.end().await;
    assert_eq!(fourth.rest().await.last().unwrap()["EventType"], "PERSISTED");
    assert_eq!(stored(&server, "gate").await.len(), 6);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_at_its_quota_refuses_the_next_fragment_and_the_next_session() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    let mut pusher = Pusher::start(server.address, "gate", &[]).await;
    pusher.send(&[header(), cluster(T0, 3000), end_of_fragment()].concat()).await;
    while pusher.word().await != format!("PERSISTED {T0}") {}
    let quota = json!({"quota_bytes": 1000, "at_quota": "refuse", "retention_hours": null, "guaranteed_bytes": 7});
    let said = server.root("PATCH", "/v1/streams/gate", Some(quota)).await.json();
    assert_eq!(
        (&said["quota_bytes"], &said["refusing"], &said["at_quota"]),
        (&json!(1000), &json!(true), &json!("refuse"))
    );
    pusher.send(&cluster(T0 + 1000, 3000)).await;
    let error = loop {
        let ack = pusher.ack().await.unwrap();
        if ack["EventType"] == "ERROR" {
            break ack;
        }
    };
    drop(pusher);
    assert_eq!((&error["ErrorId"], &error["ErrorCode"]), (&json!(5001), &json!("ARCHIVAL_ERROR")));
    let mut refused = Pusher::ask(
        server.address,
        "/putMedia",
        &[("x-amzn-stream-name", "gate"), ("x-amzn-fragment-timecode-type", "ABSOLUTE")],
    )
    .await;
    let head = refused.head().await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 400") && name_of(&head) == "clientlimitexceededexception", "{head}");
    // What is absent stays, null is what is configured: no limit.
    let said = server.root("PATCH", "/v1/streams/gate", Some(json!({"quota_bytes": null}))).await.json();
    assert_eq!(
        (&said["quota_bytes"], &said["refusing"], &said["guaranteed_bytes"]),
        (&json!(null), &json!(false), &json!(7))
    );
    let listed = server.root("GET", "/v1/streams", None).await.json();
    assert_eq!((&listed["streams"][0]["retention_hours"], &listed["streams"][0]["refused"]), (&json!(null), &json!(1)));
    assert!(listed["streams"][0]["bytes"].as_u64().unwrap() > 3000);
    let storage = server.root("GET", "/v1/storage", None).await.json();
    assert!(
        storage["bytes"].as_u64() > listed["streams"][0]["bytes"].as_u64() && storage["at_quota"] == "evict",
        "{storage}"
    );
    let wrong = server.root("PATCH", "/v1/streams/gate", Some(json!({"quota": 1}))).await;
    assert_eq!(wrong.status, 400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_producer_hears_that_all_is_well_until_it_is_given_up() {
    let data = tempfile::tempdir().unwrap();
    let config = Config { silence_timeout_s: 3, idle_ack_s: 1, ..Config::default() };
    let server = start(data.path(), config).await;
    server.stream("gate").await;
    let mut pusher = Pusher::start(server.address, "gate", &[]).await;
    let began = Instant::now();
    let said: Vec<_> = pusher.rest().await.iter().map(ToString::to_string).collect();
    assert_eq!(said, [r#"{"EventType":"IDLE"}"#; 2]);
    assert!((2.9..4.5).contains(&began.elapsed().as_secs_f64()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_what_is_durable_and_ends_the_answer() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    let mut pusher = Pusher::start(server.address, "gate", &[]).await;
    pusher.send(&[header(), cluster(T0, 50), cluster(T0 + 1000, 50)].concat()).await;
    assert_eq!(pusher.word().await, format!("BUFFERING {T0}"));
    assert_eq!(pusher.word().await, format!("RECEIVED {T0}"));
    let (rest, took) = tokio::join!(pusher.rest(), server.stop());
    assert!(rest.iter().any(|a| a["EventType"] == "PERSISTED"), "{rest:?}");
    assert!(took < Duration::from_millis(1000), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_acknowledgements_gets_none_and_keeps_its_media() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    let mut pusher = Pusher::start(server.address, "gate", &[("x-amzn-fragment-acknowledgment-required", "0")]).await;
    pusher.send(&[header(), cluster(T0, 50)].concat()).await;
    pusher.end().await;
    assert_eq!(pusher.word().await, "end");
    assert_eq!(stored(&server, "gate").await.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_not_counted_as_connections_of_their_address_and_are_bounded_by_themselves() {
    let data = tempfile::tempdir().unwrap();
    let most = 1200;
    let config = Config { max_sessions: most, max_sessions_per_stream: most, ..Config::default() };
    let server = start(data.path(), config).await;
    server.stream("gate").await;
    // The machine itself may have 1024 connections.
    let mut pushers = Vec::new();
    for _ in 0..most {
        pushers.push(Pusher::start(server.address, "gate", &[]).await);
    }
    let asked = [("x-amzn-stream-name", "gate"), ("x-amzn-fragment-timecode-type", "ABSOLUTE")];
    let mut one_more = Pusher::ask(server.address, "/putMedia", &asked).await;
    let head = one_more.head().await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 400") && name_of(&head) == "connectionlimitexceededexception", "{head}");
    let mut last = pushers.pop().unwrap();
    last.send(&[header(), cluster(T0, 50)].concat()).await;
    last.end().await;
    assert_eq!(last.rest().await.last().unwrap()["EventType"], "PERSISTED");
    drop(pushers);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_key_nor_a_stream_has_all_sessions() {
    let data = tempfile::tempdir().unwrap();
    let config = Config { max_sessions_per_key: 3, max_sessions_per_stream: 2, ..Config::default() };
    let server = start(data.path(), config).await;
    for name in ["gate", "door", "yard"] {
        server.stream(name).await;
    }
    let mut auth = Vec::new();
    for _ in 0..2 {
        let new = NewKey { user: "producer".into(), policies: vec!["admin".into()], ..NewKey::default() };
        let key = create_key(&server.store, new).await.unwrap();
        auth.push((key.access_key_id.clone(), common::basic(&key.access_key_id, &key.secret_access_key)));
    }
    let [(one, by_one), (_, by_other)] = &auth[..] else { unreachable!() };
    let start = async |by: &str, stream: &str| Pusher::start(server.address, stream, &[("authorization", by)]).await;
    let refused = async |by: &str, stream: &str| {
        let asked =
            [("authorization", by), ("x-amzn-stream-name", stream), ("x-amzn-fragment-timecode-type", "ABSOLUTE")];
        let mut pusher = Pusher::ask(server.address, "/putMedia", &asked).await;
        pusher.end().await;
        let head = pusher.head().await;
        let name = name_of(&head.to_ascii_lowercase()).to_owned();
        assert!(head.starts_with("HTTP/1.1 400") && name == "connectionlimitexceededexception", "{head}");
        let length = head.to_ascii_lowercase().lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
        head + &pusher.bytes(length.unwrap()).await
    };
    let (first, _second) = (start(by_one, "gate").await, start(by_one, "gate").await);
    let said = refused(by_other, "gate").await;
    assert!(said.contains("2 PutMedia sessions on this stream are open (putmedia.max_sessions_per_stream)"), "{said}");
    let _third = start(by_one, "door").await;
    let said = refused(by_one, "yard").await;
    assert!(said.contains(&format!("3 PutMedia sessions of {one} are open (putmedia.max_sessions_per_key)")), "{said}");
    let _other = start(by_other, "yard").await;
    // A session that ended makes room for another, of the key and on the stream.
    let mut first = first;
    first.end().await;
    while first.word().await != "end" {}
    drop(first);
    let mut again = start(by_one, "gate").await;
    again.send(&[header(), cluster(T0, 50)].concat()).await;
    again.end().await;
    assert_eq!(again.rest().await.last().unwrap()["EventType"], "PERSISTED");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_count_and_a_key_that_is_taken_away_ends_its_session() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    for name in ["own", "foreign"] {
        server.stream(name).await;
    }
    let new = NewKey { user: "own".into(), policies: vec!["camera".into()], ..NewKey::default() };
    let key = create_key(&server.store, new).await.unwrap();
    let auth = common::basic(&key.access_key_id, &key.secret_access_key);
    for stream in ["foreign", "missing"] {
        let asked = [
            ("authorization", auth.as_str()),
            ("x-amzn-stream-name", stream),
            ("x-amzn-fragment-timecode-type", "ABSOLUTE"),
        ];
        let mut pusher = Pusher::ask(server.address, "/putMedia", &asked).await;
        let head = pusher.head().await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 403") && name_of(&head) == "accessdeniedexception", "{stream}: {head}");
    }
    let mut pusher = Pusher::start(server.address, "own", &[("authorization", &auth)]).await;
    pusher.send(&[header(), cluster(T0, 50), cluster(T0 + 1000, 50)].concat()).await;
    while pusher.word().await != format!("PERSISTED {T0}") {}
    server.store.delete_document(KEYS, &key.access_key_id, Expect::Any).await.unwrap();
    assert_eq!(pusher.word().await, "end");
    assert_eq!(stored(&server, "own").await.len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tagged_fragment_is_told_of_once_if_the_stream_is_configured_so() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    let secret = Secret("a long random text".into());
    let (name, url) = ("doors".parse().unwrap(), "http://127.0.0.1:9/x".to_owned());
    server.store.put_target(Target { name, url, secret, allow_local: true, from_config: false }).await.unwrap();
    let topic = "arn:aws:sns:us-west-2:123456789012:doors";
    let configure = async |status: &str| {
        let configuration = json!({"Status": status, "DestinationConfig": {"Uri": topic}});
        let body = json!({"StreamName": "gate", "NotificationConfiguration": configuration});
        server.call("updateNotificationConfiguration", body).await.done();
    };
    let asks = |n: u64, door: &str| {
        let tags = tags(&[("door", door), ("AWS_KINESISVIDEO_NOTIFICATION", "")]);
        [tags, cluster(T0 + n * 1000, 50)].concat()
    };
    // All sessions send the first again, as if they had not been told.
    let push = async |parts: &[&[u8]]| {
        let mut pusher = Pusher::start(server.address, "gate", &[]).await;
        pusher.send(&[&header(), &parts.concat()[..]].concat()).await;
        pusher.end().await;
        let acks = pusher.rest().await;
        let persisted = acks.iter().filter(|a| a["EventType"] == "PERSISTED");
        persisted.map(|a| a["FragmentNumber"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = push(&[&asks(0, "open"), &cluster(T0 + 1000, 50)]).await;
    configure("DISABLED").await;
    push(&[&asks(0, "open"), &asks(2, "shut")]).await;
    assert!(server.store.deliveries(None, 10).await.unwrap().is_empty(), "nobody is to be told");
    configure("ENABLED").await;
    let second = push(&[&asks(0, "open"), &cluster(T0 + 3000, 50), &asks(4, "ajar")]).await;
    assert_eq!(second[0], first[0], "it was there");
    push(&[&asks(0, "open"), &asks(4, "ajar")]).await;
    let mut told = Vec::new();
    for delivery in server.store.deliveries(None, 10).await.unwrap() {
        let notification = server.store.notification(delivery.of.id()).await.unwrap();
        let number = server.store.stream(&"gate".parse().unwrap()).unwrap().info().created_at.0;
        let arn = format!("arn:aws:kinesisvideo:us-east-1:123456789012:stream/gate/{number}");
        assert_eq!((notification.notify.uri.as_str(), notification.notify.stream_arn), (topic, arn));
        told.push((notification.fragment.to_string(), notification.notify.payload["door"].clone()));
    }
    told.sort();
    assert_eq!(told, [(first[0].clone(), "open".to_owned()), (second[2].clone(), "ajar".to_owned())]);
    server.stop().await;
}
