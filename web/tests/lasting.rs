//! Answers that last: they end with the credentials and the policies that they were asked for with. And bodies that never come.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/signing.rs"]
mod signing;

use common::{
    KEY, SECRET, Server,
    consumer::Media,
    now,
    producer::Producer,
    push::{Pusher, T0, cluster, header},
};
use serde_json::{Value, json};
use signing::{Credentials, Signed};
use std::time::Duration;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

/// Longer than it takes until credentials are looked at again.
const SOON: Duration = Duration::from_secs(15);

fn from_the_first() -> Value {
    json!({"StreamName": "gate", "StartSelector": {"StartSelectorType": "EARLIEST"}})
}

async fn key(server: &Server, policies: &[&str]) -> Credentials {
    let new = json!({"user": "gate", "policies": policies});
    let made = server.root("POST", "/v1/keys", Some(new)).await.json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    Credentials::new(&text("access_key_id"), &text("secret_access_key"))
}

async fn change(server: &Server, of: &Credentials, change: Value) {
    let answer = server.root("PATCH", &format!("/v1/keys/{}", of.id), Some(change)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn media_stops_when_no_policy_allows_it_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    Producer::new(&stream, 1000).put(1).await;
    let reader = key(&server, &["analytics", "camera"]).await;
    let auth = common::basic(&reader.id, &reader.secret);
    let mut media = Media::ask_as(&server, "/getMedia", &auth, &from_the_first()).await;
    media.whole(1).await;
    let mut pusher = Pusher::start(server.address, "gate", &[("authorization", &auth)]).await;
    pusher.send(&[header(), cluster(T0, 50), cluster(T0 + 1000, 50)].concat()).await;
    while pusher.word().await != format!("PERSISTED {T0}") {}
    // What does not take the right away changes nothing; what does ends each.
    change(&server, &reader, json!({"policies": ["camera"]})).await;
    assert!(media.ends_within(SOON).await, "reading is not allowed any more");
    assert!(pusher.send(&cluster(T0 + 2000, 50)).await);
    while pusher.word().await != format!("PERSISTED {}", T0 + 1000) {}
    change(&server, &reader, json!({"policies": ["analytics"]})).await;
    timeout(SOON, async { while pusher.word().await != "end" {} }).await.expect("sending is not allowed any more");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn media_stops_when_the_key_of_its_session_has_got_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    Producer::new(&stream, 1000).put(1).await;
    let key = key(&server, &["analytics"]).await;
    let (json_type, form) = ("application/json", "application/x-www-form-urlencoded");
    let body = "Action=GetSessionToken&Version=2011-06-15";
    let ask = Signed { service: "sts", method: "POST", path: "/", content_type: form, body, at: now() };
    let given = signing::send(&server, &key, ask).await.text();
    let element = |name: &str| {
        let start = given.split_once(&format!("<{name}>")).unwrap().1;
        start.split_once("</").unwrap().0.to_owned()
    };
    let mut session = Credentials::new(&element("AccessKeyId"), &element("SecretAccessKey"));
    session.token = Some(element("SessionToken"));
    let body = from_the_first().to_string();
    let media = Signed {
        service: "kinesisvideo",
        method: "POST",
        path: "/getMedia",
        content_type: json_type,
        body: &body,
        at: now(),
    };
    let (media, ()) = tokio::join!(timeout(SOON, signing::send(&server, &session, media)), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let path = format!("/v1/keys/{}/rotate", key.id);
        assert_eq!(server.root("POST", &path, Some(json!({"overlap_s": 0}))).await.status, 201);
    });
    assert_eq!(media.expect("the key has ended, and so has its session").status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_come_take_no_room_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    server.stream("gate").await;
    let text = now().to_rfc3339();
    let date = text.split('.').next().unwrap().replace(['-', ':'], "") + "Z";
    let scope = format!("{KEY}/{}/us-east-1/kinesisvideo/aws4_request", &date[..8]);
    let head = format!(
        "POST /describeStream HTTP/1.1\r\nhost: {}\r\nx-amz-date: {date}\r\ncontent-length: 1048576\r\n\
         authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={}\r\n\r\n",
        server.address,
        "0".repeat(64)
    );
    // Who knows the id of a key, and not its secret.
    let mut stalled = Vec::new();
    for _ in 0..80 {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        stalled.push(socket);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let request = Signed {
        service: "kinesisvideo",
        method: "POST",
        path: "/describeStream",
        content_type: "application/json",
        body: r#"{"StreamName":"gate"}"#,
        at: now(),
    };
    let answer = signing::send(&server, &Credentials::new(KEY, SECRET), request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    drop(stalled);
    server.stop().await;
}
