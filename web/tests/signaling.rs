//! Signaling channels over WebSockets: handshakes and what refuses them, messages, bounds, and what closes a connection.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/signing.rs"]
mod signing;

use common::{KEY, SECRET, Server, now};
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use media::UnixMillis;
use serde_json::{Value, json};
use signaling::channel::Config;
use signing::{Credentials, presigned};
use std::{path::Path, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

type Socket = WebSocketStream<TcpStream>;

const PATIENCE: Duration = Duration::from_secs(20);

fn root() -> Credentials {
    Credentials::new(KEY, SECRET)
}
fn of_key(key: &str) -> Credentials {
    let (id, secret) = key.split_once(':').unwrap();
    Credentials::new(id, secret)
}

async fn channel(server: &Server, name: &str) -> String {
    let made = server.call("createSignalingChannel", json!({"ChannelName": name})).await.done();
    made["ChannelARN"].as_str().unwrap().to_owned()
}

/// Sends a handshake; the socket, and the head of the answer with its body where it is none.
async fn handshake(server: &Server, path: &str, more: &str) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", server.address);
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(socket.read_u8().await.unwrap());
        }
        let head = String::from_utf8(answer.clone()).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map(|n| n.parse().unwrap());
        let mut body = vec![0; length.unwrap_or(0)];
        socket.read_exact(&mut body).await.unwrap();
        answer.extend(body);
    };
    timeout(PATIENCE, read).await.expect("an answer");
    (socket, String::from_utf8(answer).unwrap())
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn path_as(server: &Server, by: &Credentials, parameters: &[(&str, &str)]) -> String {
    presigned(&server.address.to_string(), by, now(), 299, parameters)
}

async fn connected(server: &Server, by: &Credentials, parameters: &[(&str, &str)]) -> Socket {
    let (socket, head) = handshake(server, &path_as(server, by, parameters), UPGRADE).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.to_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    WebSocketStream::from_raw_socket(socket, Role::Client, None).await
}
async fn master(server: &Server, arn: &str) -> Socket {
    connected(server, &root(), &[("X-Amz-ChannelARN", arn)]).await
}
async fn viewer(server: &Server, arn: &str, id: &str) -> Socket {
    connected(server, &root(), &[("X-Amz-ChannelARN", arn), ("X-Amz-ClientId", id)]).await
}

/// The same, of whose sockets one may still be closing.
async fn viewer_again(server: &Server, arn: &str, id: &str) -> Socket {
    let began = Instant::now();
    loop {
        let path = path_as(server, &root(), &[("X-Amz-ChannelARN", arn), ("X-Amz-ClientId", id)]);
        let (socket, head) = handshake(server, &path, UPGRADE).await;
        if head.starts_with("HTTP/1.1 101") {
            return WebSocketStream::from_raw_socket(socket, Role::Client, None).await;
        }
        assert!(began.elapsed() < PATIENCE && head.contains("max_sockets_per_key"), "{head}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn say(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}
/// The next message; a close as `{"close": code, "reason"}`.
async fn got(socket: &mut Socket) -> Value {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("a message") {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Close(Some(frame)))) => {
                return json!({"close": u16::from(frame.code), "reason": frame.reason.as_str()});
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}
async fn presence(server: &Server, name: &str) -> Value {
    server.root("GET", &format!("/v1/channels/{name}/presence"), None).await.done()
}
/// Waits until a channel has so many viewers, and a master or none.
async fn until(server: &Server, name: &str, master: bool, viewers: usize) {
    let began = Instant::now();
    loop {
        let shown = presence(server, name).await;
        if shown["master"].is_object() == master && shown["viewers"].as_array().unwrap().len() == viewers {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{shown}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn started(folder: &Path) -> (Server, String) {
    let server = Server::start(folder).await;
    let arn = channel(&server, "door").await;
    (server, arn)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_and_viewers_talk_and_the_same_again_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let (server, arn) = started(folder.path()).await;
    let mut one = viewer(&server, &arn, "v1").await;
    say(&mut one, json!({"action": "SDP_OFFER", "messagePayload": "b2xk"})).await;
    say(&mut one, json!({"action": "SDP_OFFER", "messagePayload": "bmV3", "correlationId": "1"})).await;
    // As the C SDK writes it.
    say(&mut one, json!({"action": "ICE_CANDIDATE", "RecipientClientId": "ProducerMaster", "MessagePayload": "Yw=="}))
        .await;
    say(&mut one, json!({"action": "DANCE", "messagePayload": "Yw==", "correlationId": "2"})).await;
    let told = got(&mut one).await;
    assert_eq!(
        (&told["messageType"], &told["statusResponse"]["correlationId"]),
        (&json!("STATUS_RESPONSE"), &json!("2"))
    );
    assert_eq!(told["statusResponse"]["statusCode"], "400");
    let mut first = master(&server, &arn).await;
    let offer = got(&mut first).await;
    assert_eq!(offer, json!({"messageType": "SDP_OFFER", "senderClientId": "v1", "messagePayload": "bmV3"}));
    assert_eq!(got(&mut first).await["messageType"], "ICE_CANDIDATE");
    say(&mut first, json!({"action": "SDP_ANSWER", "recipientClientId": "v1", "messagePayload": "YQ=="})).await;
    assert_eq!(got(&mut one).await, json!({"messageType": "SDP_ANSWER", "messagePayload": "YQ=="}));
    say(&mut first, json!({"action": "SDP_ANSWER", "recipientClientId": "v2", "messagePayload": "Zm9yIHYy"})).await;
    // What comes from a socket that has been replaced is nobody's: so it is known that this one was heard.
    say(&mut first, json!({"action": "DANCE", "messagePayload": "Yw==", "correlationId": "3"})).await;
    assert_eq!(got(&mut first).await["statusResponse"]["correlationId"], "3");
    until(&server, "door", true, 1).await;

    let mut second = master(&server, &arn).await;
    let closed = got(&mut first).await;
    assert_eq!(closed, json!({"close": 1000, "reason": "the same client has connected again"}));
    let mut two = viewer(&server, &arn, "v2").await;
    assert_eq!(got(&mut two).await["messagePayload"], "Zm9yIHYy", "it waited for who was away");
    let mut two_again = viewer(&server, &arn, "v2").await;
    assert_eq!(got(&mut two).await["close"], 1000);
    say(&mut two_again, json!({"action": "SDP_OFFER", "messagePayload": "Mg=="})).await;
    assert_eq!(got(&mut second).await["senderClientId"], "v2");

    let shown = presence(&server, "door").await;
    assert!(shown["master"]["since"].as_i64().unwrap() > 1_700_000_000_000, "{shown}");
    let ids: Vec<_> = shown["viewers"].as_array().unwrap().iter().map(|v| v["client_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["v1", "v2"]);
    two_again.close(None).await.unwrap();
    drop(one);
    until(&server, "door", true, 0).await;
    assert_eq!(server.root("GET", "/v1/channels/none/presence", None).await.status, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_are_refused_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let (server, arn) = started(folder.path()).await;
    let host = server.address.to_string();
    let master = [("X-Amz-ChannelARN", arn.as_str())];
    let refused = async |path: &str, status: u16, name: &str, part: &str| {
        let (_, answer) = handshake(&server, path, UPGRADE).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.to_lowercase().contains(&format!("x-amzn-errortype: {}", name.to_lowercase())), "{answer}");
        let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert!(body["Message"].as_str().unwrap().contains(part), "{body}");
    };
    let by = |parameters: &[(&str, &str)]| path_as(&server, &root(), parameters);
    let plain = format!("/?X-Amz-ChannelARN={arn}");
    refused(&plain, 403, "MissingAuthenticationTokenException", "Missing").await;
    refused("/", 403, "MissingAuthenticationTokenException", "Missing").await;
    let wrong = Credentials::new(KEY, "another secret");
    refused(&path_as(&server, &wrong, &master), 403, "InvalidSignatureException", "does not match").await;
    refused(&path_as(&server, &Credentials::new("nobody", "x"), &master), 403, "UnrecognizedClientException", "token")
        .await;
    let old = presigned(&host, &root(), UnixMillis(now().0 - 300_000), 299, &master);
    refused(&old, 403, "InvalidSignatureException", "Signature expired").await;
    let changed = by(&master).replace("door", "gate");
    refused(&changed, 403, "InvalidSignatureException", "does not match").await;
    refused(&by(&[]), 400, "InvalidArgumentException", "'X-Amz-ChannelARN'").await;
    refused(&by(&[("X-Amz-ChannelARN", "door")]), 400, "InvalidArgumentException", "'X-Amz-ChannelARN'").await;
    refused(&by(&[master[0], ("X-Amz-ClientId", "AWS_me")]), 400, "InvalidArgumentException", "'X-Amz-ClientId'").await;
    refused(&by(&[("X-Amz-ChannelARN", &arn.replace("door", "none"))]), 404, "ResourceNotFoundException", "none").await;
    let earlier = arn.rsplit_once('/').unwrap().0.to_owned() + "/1";
    refused(&by(&[("X-Amz-ChannelARN", &earlier)]), 404, "ResourceNotFoundException", "door").await;

    // Rights: a viewer is no master, and the channel of others is not there.
    let views = json!({"Statement": {"Effect": "Allow", "Action": "kinesisvideo:ConnectAsViewer", "Resource": "*"}});
    let views = of_key(&server.key(views).await);
    refused(&path_as(&server, &views, &master), 403, "AccessDeniedException", "kinesisvideo:ConnectAsMaster").await;
    drop(connected(&server, &views, &[master[0], ("X-Amz-ClientId", "v1")]).await);

    // What is no handshake, and credentials that browsers send along by themselves.
    let (_, answer) = handshake(&server, &by(&master), "").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("handshakes of WebSockets alone"), "{answer}");
    let basic = format!("{UPGRADE}Authorization: {}\r\n", common::basic(KEY, SECRET));
    let (_, answer) = handshake(&server, &plain, &basic).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("Missing Authentication Token"), "{answer}");

    // As the C SDK signs: a week, and without the port of the host where that is the usual one.
    let bare = host.split(':').next().unwrap();
    let path = presigned(bare, &root(), UnixMillis(now().0 - 500_000_000), 604_800, &master);
    let (_, answer) = handshake(&server, &path, UPGRADE).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_are_kept_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { max_viewers_per_channel: 2, max_sockets_per_key: 3, messages_per_s: 10, ..Config::default() };
    let server = Server::start_signaling(folder.path(), config).await;
    let arn = channel(&server, "door").await;
    let mut master = master(&server, &arn).await;
    let (mut one, two) = (viewer(&server, &arn, "v1").await, viewer(&server, &arn, "v2").await);
    let third = async |id: &str| {
        let path = path_as(&server, &root(), &[("X-Amz-ChannelARN", &arn), ("X-Amz-ClientId", id)]);
        handshake(&server, &path, UPGRADE).await.1
    };
    let answer = third("v3").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("max_sockets_per_key"), "{answer}");
    let key = server.key(json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})).await;
    let path = path_as(&server, &of_key(&key), &[("X-Amz-ChannelARN", &arn), ("X-Amz-ClientId", "v3")]);
    let (_, answer) = handshake(&server, &path, UPGRADE).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("2 viewers are connected"), "{answer}");
    assert!(answer.to_lowercase().contains("x-amzn-errortype: clientlimitexceededexception"), "{answer}");

    // 40 KB and more go through; more than a message may have closes.
    let large = "x".repeat(60_000);
    say(&mut one, json!({"action": "SDP_OFFER", "messagePayload": large})).await;
    assert_eq!(got(&mut master).await["messagePayload"], large);
    let candidate = json!({"action": "ICE_CANDIDATE", "messagePayload": "x", "correlationId": "7"});
    for _ in 0..60 {
        say(&mut one, candidate.clone()).await;
    }
    let told = got(&mut one).await;
    assert_eq!(told["statusResponse"]["errorType"], "ClientLimitExceededException", "{told}");
    for _ in 0..400 {
        if one.send(Message::text(candidate.to_string())).await.is_err() {
            break;
        }
    }
    let closed = loop {
        let told = got(&mut one).await;
        if told["close"].is_number() {
            break told;
        }
    };
    assert_eq!(closed, json!({"close": 1008, "reason": "far too many messages"}));
    until(&server, "door", true, 1).await;

    let mut one = viewer_again(&server, &arn, "v1").await;
    one.send(Message::text("x".repeat(65_537))).await.unwrap();
    assert_eq!(got(&mut one).await["close"], 1009);
    until(&server, "door", true, 1).await;
    let mut one = viewer_again(&server, &arn, "v1").await;
    one.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(got(&mut one).await["close"], 1003);
    drop(two);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_end_end_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (server, arn) = started(folder.path()).await;
    let all = json!({"Statement": {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*"}});
    let (ended, narrowed) = (server.key(all.clone()).await, server.key(all).await);
    let as_viewer = async |key: &str, id: &str| {
        connected(&server, &of_key(key), &[("X-Amz-ChannelARN", &arn), ("X-Amz-ClientId", id)]).await
    };
    let (mut one, mut two) = (as_viewer(&ended, "v1").await, as_viewer(&narrowed, "v2").await);
    let mut master = master(&server, &arn).await;
    let id = |key: &str| key.split(':').next().unwrap().to_owned();
    server.root("PATCH", &format!("/v1/keys/{}", id(&ended)), Some(json!({"active": false}))).await.done();
    let closed = json!({"close": 1008, "reason": "the credentials have ended, or do not allow this any more"});
    assert_eq!(got(&mut one).await, closed);
    let less = json!({"Statement": {"Effect": "Allow", "Action": "kinesisvideo:ConnectAsMaster", "Resource": "*"}});
    server.root("PATCH", &format!("/v1/keys/{}", id(&narrowed)), Some(json!({"inline_policy": less}))).await.done();
    assert_eq!(got(&mut two).await, closed);
    until(&server, "door", true, 0).await;

    // A channel that is deleted, and made again under its name.
    server.call("deleteSignalingChannel", json!({"ChannelARN": arn})).await.done();
    assert_eq!(got(&mut master).await, json!({"close": 1000, "reason": "the channel was deleted"}));
    channel(&server, "door").await;
    assert_eq!(presence(&server, "door").await["master"], Value::Null);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_no_ping_is_gone_and_who_does_stays() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { ping_interval_s: 1, pong_timeout_s: 1, ..Config::default() };
    let server = Server::start_signaling(folder.path(), config).await;
    let arn = channel(&server, "door").await;
    let mut master = master(&server, &arn).await;
    let silent = viewer(&server, &arn, "silent").await;
    until(&server, "door", true, 1).await;
    let reading = tokio::spawn(async move {
        let mut pings = 0;
        while let Ok(Some(Ok(message))) = timeout(Duration::from_secs(4), master.next()).await {
            pings += usize::from(message.is_ping());
        }
        pings
    });
    until(&server, "door", true, 0).await;
    sleep(Duration::from_millis(2500)).await;
    assert!(presence(&server, "door").await["master"].is_object(), "idle for longer, and answering");
    drop(silent);
    let took = server.stop().await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(reading.await.unwrap() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_that_somebody_came_or_left() {
    let folder = tempfile::tempdir().unwrap();
    let (server, arn) = started(folder.path()).await;
    let request = hyper::Request::get("/v1/events")
        .header("host", server.address.to_string())
        .header("authorization", common::basic(KEY, SECRET));
    let mut events = common::send(server.address, request.body(Default::default()).unwrap()).await.into_body();
    let mut told = String::new();
    let mut socket = Some(master(&server, &arn).await);
    let read = async {
        while let Some(frame) = events.frame().await {
            told += std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap();
            match told.matches("event: presence\ndata: {\"channel\":\"door\"}\n\n").count() {
                1 => drop(socket.take()),
                2 => return,
                _ => {}
            }
        }
    };
    assert!(timeout(PATIENCE, read).await.is_ok(), "{told}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_tells_everyone_to_go() {
    let folder = tempfile::tempdir().unwrap();
    let (server, arn) = started(folder.path()).await;
    let (mut master, mut viewer) = (master(&server, &arn).await, viewer(&server, &arn, "v1").await);
    let stopping = tokio::spawn(server.stop());
    for socket in [&mut master, &mut viewer] {
        assert_eq!(got(socket).await, json!({"messageType": "GO_AWAY"}));
        assert_eq!(got(socket).await, json!({"close": 1001, "reason": "the server stops"}));
    }
    let took = stopping.await.unwrap();
    assert!(took < Duration::from_secs(1), "clients that do not close their side: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_over_http_is_answered_by_the_master() {
    let folder = tempfile::tempdir().unwrap();
    let (server, arn) = started(folder.path()).await;
    let ask = async |sender: &str| {
        let body = json!({"ChannelARN": arn, "SenderClientId": sender, "MessagePayload": "b2ZmZXI="});
        server.call("v1/send-alexa-offer-to-master", body).await
    };
    let none = ask("alexa").await;
    assert!(none.status == 404 && none.text().contains("no master is connected"), "{}", none.text());
    let mut master = master(&server, &arn).await;
    let answering = async {
        let offer = got(&mut master).await;
        assert_eq!(offer, json!({"messageType": "SDP_OFFER", "senderClientId": "alexa", "messagePayload": "b2ZmZXI="}));
        say(&mut master, json!({"action": "SDP_ANSWER", "recipientClientId": "alexa", "messagePayload": "YW5zd2Vy"}))
            .await;
    };
    let (answer, ()) = tokio::join!(ask("alexa"), answering);
    assert_eq!(answer.done(), json!({"Answer": "YW5zd2Vy"}));
    let _there = viewer(&server, &arn, "v1").await;
    let taken = ask("v1").await;
    assert!(taken.status == 400 && taken.text().contains("SenderClientId"), "{}", taken.text());
    let late = ask("alexa").await;
    assert!(late.status == 404 && late.text().contains("did not answer in time"), "{}", late.text());
    server.stop().await;
}
