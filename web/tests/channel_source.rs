//! The server as the master of a channel that shows a stream: who may make it so, and what viewers of the channel see.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/signing.rs"]
mod signing;
#[path = "common/webrtc.rs"]
mod webrtc;

use base64::{Engine, engine::general_purpose::STANDARD};
use common::{KEY, SECRET, Server, h264_header, now};
use futures_util::{SinkExt, StreamExt};
use media::{Event, Frame, Start};
use serde_json::{Value, json};
use signing::{Credentials, presigned};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use webrtc::Viewer;

type Socket = WebSocketStream<TcpStream>;

const PATIENCE: Duration = Duration::from_secs(20);

async fn channel(server: &Server, name: &str) -> String {
    let made = server.call("createSignalingChannel", json!({"ChannelName": name})).await.done();
    made["ChannelARN"].as_str().unwrap().to_owned()
}

/// Connects to a channel as the root user; the answer where it is no upgrade.
async fn connected(server: &Server, parameters: &[(&str, &str)]) -> Result<Socket, String> {
    const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let host = server.address.to_string();
    let path = presigned(&host, &Credentials::new(KEY, SECRET), now(), 299, parameters);
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{UPGRADE}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, socket.read_u8()).await.expect("an answer").unwrap());
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        return Ok(WebSocketStream::from_raw_socket(socket, Role::Client, None).await);
    }
    let mut body = vec![0; 4096];
    let length = socket.read(&mut body).await.unwrap();
    Err(String::from_utf8_lossy(&[&head, &body[..length]].concat()).into_owned())
}

async fn viewer(server: &Server, arn: &str, id: &str) -> Socket {
    connected(server, &[("X-Amz-ChannelARN", arn), ("X-Amz-ClientId", id)]).await.unwrap()
}

async fn master(server: &Server, arn: &str) -> Result<Socket, String> {
    connected(server, &[("X-Amz-ChannelARN", arn)]).await
}

async fn got(socket: &mut Socket) -> Value {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("a message").unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Close(frame) => return json!({"close": frame.map(|f| u16::from(f.code))}),
            _ => {}
        }
    }
}

fn payload(sdp: &str) -> String {
    STANDARD.encode(json!({"type": "offer", "sdp": sdp}).to_string())
}

/// The SDP of a payload that is an answer.
fn answer(payload: &Value) -> String {
    let description: Value = serde_json::from_slice(&STANDARD.decode(payload.as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(description["type"], "answer");
    description["sdp"].as_str().unwrap().to_owned()
}

async fn offered(socket: &mut Socket, sdp: &str) -> Value {
    let offer = json!({"action": "SDP_OFFER", "messagePayload": payload(sdp), "correlationId": "7"});
    socket.send(Message::text(offer.to_string())).await.unwrap();
    got(socket).await
}

async fn put_source(server: &Server, channel: &str, stream: &str) -> common::Answer {
    server.root("PUT", &format!("/v1/channels/{channel}/source"), Some(json!({"stream": stream}))).await
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is().await {
        assert!(began.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn presence(server: &Server, name: &str) -> Value {
    server.root("GET", &format!("/v1/channels/{name}/presence"), None).await.done()
}

/// Films into a stream, ten pictures a second, until it is dropped.
fn film(server: &Server, stream: store::Stream) -> tokio_util::sync::DropGuard {
    let stop = server.stop.child_token();
    let guard = stop.clone().drop_guard();
    server.tasks.spawn(async move {
        let (mut writer, header) = (stream.writer(), h264_header(0));
        for n in 0u32.. {
            let time = now().to_micros();
            let key = n % 10 == 0;
            if key {
                if n > 0 {
                    writer.write(Event::End).await.unwrap();
                }
                let start = Start { header: header.clone(), producer_start: time.to_millis(), cause: None };
                writer.write(Event::Begin(start)).await.unwrap();
            }
            let data = [&[0, 0, 0, 8, if key { 0x65 } else { 0x41 }, 0xc0, 0x5e], &n.to_be_bytes()[..], &[1]].concat();
            writer.write(Event::Frame(Frame { track: 1, time, key, data: data.into() })).await.unwrap();
            if stop.run_until_cancelled(sleep(Duration::from_millis(100))).await.is_none() {
                return;
            }
        }
    });
    guard
}

/// Numbers of the pictures that a viewer has got.
fn numbers(viewer: &Viewer) -> Vec<u32> {
    let of = |payload: &Vec<u8>| match payload[..] {
        [0x65 | 0x41, 0xc0, 0x5e, a, b, c, d, 1] => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    };
    viewer.payloads.iter().filter_map(of).collect()
}

async fn sees(viewer: &mut Viewer, least: usize) {
    let began = Instant::now();
    while numbers(viewer).len() < least {
        assert!(began.elapsed() < PATIENCE && !viewer.ended, "{} pictures", numbers(viewer).len());
        viewer.turn().await;
    }
    let numbers = numbers(viewer);
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "each picture, in order: {numbers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_of_a_channel_see_the_stream_that_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let arn = channel(&server, "door").await;
    let stream = server.stream("gate").await;
    // A viewer that is there before, and a master whose place is taken.
    let mut early = viewer(&server, &arn, "early").await;
    let mut real = master(&server, &arn).await.unwrap();
    assert_eq!(put_source(&server, "door", "gate").await.done(), json!({"channel": "door", "stream": "gate"}));
    assert_eq!(got(&mut real).await, json!({"close": 1000}));
    until("the server is the master", async || presence(&server, "door").await["master"]["stream"] == "gate").await;
    let refused = master(&server, &arn).await.unwrap_err();
    assert!(refused.contains("400 Bad Request") && refused.contains("shows a stream of this server"), "{refused}");

    // Nothing is filmed yet: a reason, not silence.
    let told = offered(&mut early, &Viewer::new().await.offer).await["statusResponse"].clone();
    assert_eq!((&told["correlationId"], &told["statusCode"]), (&json!("7"), &json!("503")), "{told}");
    assert!(told["description"].as_str().unwrap().contains("gate has sent no picture"), "{told}");
    for (wrong, why) in [("no offer", "no Base64 of"), ("v=0\r\n", "no video or audio section")] {
        let offer = json!({"action": "SDP_OFFER", "messagePayload": STANDARD.encode(wrong), "correlationId": "8"});
        early.send(Message::text(offer.to_string())).await.unwrap();
        let told = got(&mut early).await["statusResponse"].clone();
        assert_eq!((&told["correlationId"], &told["errorType"]), (&json!("8"), &json!("InvalidArgumentException")));
        assert!(told["description"].as_str().unwrap().contains(why), "{told}");
    }

    let filming = film(&server, stream);
    let mut watching = Vec::new();
    for id in ["ann", "bob"] {
        let mut socket = viewer(&server, &arn, id).await;
        let mut at = Viewer::new().await;
        let told = offered(&mut socket, &at.offer).await;
        assert_eq!(told["messageType"], "SDP_ANSWER", "{told}");
        at.answered(&answer(&told["messagePayload"]));
        let trickled = json!({"action": "ICE_CANDIDATE", "messagePayload": "e30=", "correlationId": "9"});
        socket.send(Message::text(trickled.to_string())).await.unwrap();
        sees(&mut at, 15).await;
        watching.push((socket, at));
    }
    assert_eq!(server.peers.count(), 2);

    // An offer by HTTP is answered too, by a description in the form that it came in.
    let mut at = Viewer::new().await;
    let body = |payload: String| json!({"ChannelARN": arn, "SenderClientId": "alexa", "MessagePayload": payload});
    let told = server.call("v1/send-alexa-offer-to-master", body(STANDARD.encode(&at.offer))).await.done();
    at.answered(std::str::from_utf8(&STANDARD.decode(told["Answer"].as_str().unwrap()).unwrap()).unwrap());
    sees(&mut at, 5).await;
    let refused = server.call("v1/send-alexa-offer-to-master", body("e30=".to_owned())).await;
    assert!(refused.status == 404 && refused.text().contains("messagePayload"), "{}", refused.text());

    // The newest offer of a viewer is the one that counts.
    let (mut socket, mut first) = watching.pop().unwrap();
    let mut again = Viewer::new().await;
    again.answered(&answer(&offered(&mut socket, &again.offer).await["messagePayload"]));
    until("the older one ends", async || {
        first.turn().await;
        again.turn().await;
        first.ended
    })
    .await;
    sees(&mut again, 5).await;

    // Who is connected stays so without its socket, and ends with the mapping.
    drop(socket);
    let before = numbers(&again).len();
    sees(&mut again, before + 5).await;
    assert_eq!(server.root("DELETE", "/v1/channels/door/source", None).await.status, 204);
    until("all are closed", async || server.peers.count() == 0).await;
    until("nobody is the master", async || presence(&server, "door").await["master"].is_null()).await;
    assert_eq!(server.root("GET", "/v1/channels/door/source", None).await.done()["stream"], Value::Null);
    drop(master(&server, &arn).await.unwrap());
    drop(filming);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_shows_what_its_owner_may_show_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let arn = channel(&server, "door").await;
    channel(&server, "other").await;
    for name in ["gate", "yard"] {
        server.stream(name).await;
    }
    for (body, status) in [(json!({}), 400), (json!({"stream": "none"}), 404), (json!({"stream": "a b"}), 404)] {
        let answer = server.root("PUT", "/v1/channels/door/source", Some(body)).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    assert_eq!(put_source(&server, "none", "gate").await.status, 404);
    let meshed = json!({"ChannelName": "mesh", "ChannelType": "FULL_MESH"});
    server.call("createSignalingChannel", meshed).await.done();
    assert!(put_source(&server, "mesh", "gate").await.text().contains("FULL_MESH"));

    // Rights on one of the two are not enough.
    let allowed = |what: &[&str]| {
        let what: Vec<_> = what.iter().map(|w| format!("arn:aws:kinesisvideo:*:*:{w}/*")).collect();
        json!({"Statement": {"Effect": "Allow", "Action": ["vidicon:*", "kinesisvideo:Describe*"], "Resource": what}})
    };
    for (what, stream, status) in [
        (&["channel/door"][..], "gate", 403),
        (&["stream/gate"], "gate", 403),
        (&["channel/door", "stream/gate"], "yard", 403),
        (&["channel/door", "stream/gate"], "gate", 200),
    ] {
        let key = server.key(allowed(what)).await;
        let (id, secret) = key.split_once(':').unwrap();
        let authorization = common::basic(id, secret);
        let body = Some(json!({"stream": stream}));
        let answer = server.send("PUT", "/v1/channels/door/source", &[("authorization", &authorization)], body).await;
        assert_eq!(answer.status, status, "{what:?} {stream}: {}", answer.text());
    }

    // A channel that stores what its master sends shows nothing, and the other way round.
    let described = server.call("describeStream", json!({"StreamName": "yard"})).await.done();
    let storing = |arn: &str, status: &str| {
        let stream = described["StreamInfo"]["StreamARN"].clone();
        let body = json!({"ChannelARN": arn, "MediaStorageConfiguration": {"Status": status, "StreamARN": stream}});
        server.call("updateMediaStorageConfiguration", body)
    };
    let refused = storing(&arn, "ENABLED").await;
    assert!(refused.status == 400 && refused.text().contains("shows a stream"), "{}", refused.text());
    server.root("DELETE", "/v1/channels/door/source", None).await;
    server.root("PATCH", "/v1/streams/yard", Some(json!({"retention_hours": 1}))).await.done();
    storing(&arn, "ENABLED").await.done();
    let refused = put_source(&server, "door", "gate").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "in_use"), "{}", refused.text());
    storing(&arn, "DISABLED").await.done();
    put_source(&server, "door", "gate").await.done();
    server.stop().await;

    let server = Server::start(folder.path()).await;
    until("it is the master again", async || presence(&server, "door").await["master"]["stream"] == "gate").await;
    // The stream goes: viewers are told, and the channel is still there.
    server.root("DELETE", "/v1/streams/gate", None).await;
    let mut socket = viewer(&server, &arn, "ann").await;
    let told = offered(&mut socket, &Viewer::new().await.offer).await["statusResponse"].clone();
    assert_eq!(told["statusCode"], "404", "{told}");
    assert!(told["description"].as_str().unwrap().contains("was deleted"), "{told}");
    put_source(&server, "door", "yard").await.done();
    until("it shows another", async || presence(&server, "door").await["master"]["stream"] == "yard").await;
    server.call("deleteSignalingChannel", json!({"ChannelARN": arn})).await.done();
    assert_eq!(got(&mut socket).await, json!({"close": 1000}));
    let took = server.stop().await;
    assert!(took < Duration::from_secs(2), "{took:?}");
}
