//! The catalog over REST, events as they happen, and stopping in order.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{KEY, SECRET, Server, basic, record, send, take};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use serde_json::{Value, json};
use std::time::Duration;
use store::records::{Alert, Detection, Rate, Rule, Target};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn cameras_are_added_shown_changed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let new = json!({"name": "door", "url": "rtsp://u:pw@127.0.0.1:9/x", "transport": "udp"});
    let added = server.root("POST", "/v1/cameras", Some(new.clone())).await;
    assert_eq!(added.status, 201, "{}", added.text());
    let camera = added.json();
    assert_eq!((camera["url"].as_str(), camera["username"].as_str()), (Some("rtsp://127.0.0.1:9/x"), Some("u")));
    assert_eq!((camera["has_password"].as_bool(), camera["transport"].as_str()), (Some(true), Some("udp")));
    assert!(camera["status"]["state"].is_string() && camera.get("password").is_none(), "{camera}");
    assert_eq!(server.root("POST", "/v1/cameras", Some(new)).await.code(), "already_exists");
    let off = server.root("PATCH", "/v1/cameras/door", Some(json!({"enabled": false}))).await;
    assert_eq!(off.json()["enabled"], false);
    assert_eq!(server.root("DELETE", "/v1/streams/door", None).await.code(), "has_camera");
    let listed = server.root("GET", "/v1/cameras", None).await.json();
    assert_eq!(listed["cameras"].as_array().unwrap().len(), 1);
    assert_eq!(server.root("GET", "/v1/streams", None).await.json()["streams"][0]["name"], "door");
    assert_eq!(server.root("DELETE", "/v1/cameras/door", None).await.status, 204);
    assert_eq!(server.root("DELETE", "/v1/cameras/door", None).await.status, 404);
    assert_eq!(server.root("DELETE", "/v1/streams/door", None).await.status, 204);

    for (bad, field) in [
        (json!({"name": "a b", "url": "rtsp://h/"}), "name"),
        (json!({"name": "a", "url": "rtsp://h/", "colour": 1}), "colour"),
        (json!({"name": "a"}), "url"),
        (json!({"name": "a", "url": "rtsp://h/", "transport": "pigeon"}), "transport"),
        (json!({"name": "a", "url": "gst:videotestsrc"}), "url"),
    ] {
        let answer = server.root("POST", "/v1/cameras", Some(bad)).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains(field), "{}", answer.text());
    }
    let typed = [("authorization", basic(KEY, SECRET)), ("content-type", "text/plain".to_owned())];
    let typed = typed.each_ref().map(|(n, v)| (*n, v.as_str()));
    assert_eq!(server.send("POST", "/v1/cameras", &typed, Some(Value::String("{}".into()))).await.status, 415);
    let large = json!({"name": "a", "url": "x".repeat(70_000)});
    assert_eq!(server.root("POST", "/v1/cameras", Some(large)).await.status, 413);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_few_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = std::sync::Arc::new(Server::start(folder.path()).await);
    // A camera that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rtsp://{}/", silent.local_addr().unwrap());
    let probe = move |server: std::sync::Arc<Server>| {
        let body = json!({"url": url});
        async move { server.root("POST", "/v1/cameras/probe", Some(body)).await }
    };
    let under_way: Vec<_> = (0..8).map(|_| tokio::spawn(probe(server.clone()))).collect();
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.push(silent.accept().await.unwrap());
    }
    let ninth = probe(server.clone()).await;
    assert_eq!((ninth.status.as_u16(), ninth.code().as_str()), (503, "busy"), "{}", ninth.text());
    assert!(!ninth.header("retry-after").is_empty());
    drop((silent, connections));
    for answer in under_way {
        let answer = answer.await.unwrap();
        assert!(answer.status == 200 && answer.json()["failure"].is_object(), "{}", answer.text());
    }
    assert_eq!(probe(server.clone()).await.status, 200, "there is room again");
    std::sync::Arc::into_inner(server).expect("the only one").stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_file_says_is_not_changed_here() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let camera = json!({"stream": "gate", "url": "rtsp://127.0.0.1:9/", "enabled": false, "from_config": true});
    server.store.put_camera(serde_json::from_value(camera).unwrap()).await.unwrap();
    let target = Target {
        name: "ops".parse().unwrap(),
        url: "https://hooks.example/".into(),
        secret: store::records::Secret("canary-target".into()),
        allow_local: false,
        from_config: true,
    };
    server.store.put_target(target).await.unwrap();
    let rule = Rule {
        name: "night".parse().unwrap(),
        stream: "gate".parse().unwrap(),
        classes: vec![],
        min_score: 0.5,
        zone: vec![],
        cooldown_ms: 0,
        rate: Rate::KeyFrames,
        targets: vec!["ops".parse().unwrap()],
        from_config: true,
    };
    server.store.put_rule(rule).await.unwrap();
    let rule = json!({"name": "night", "stream": "gate", "min_score": 0.1, "cooldown_ms": 0, "rate": "key_frames"});
    let target = json!({"name": "ops", "url": "https://elsewhere.example/", "secret": "long enough"});
    for (method, path, body) in [
        ("PATCH", "/v1/cameras/gate", Some(json!({"enabled": true}))),
        ("DELETE", "/v1/cameras/gate", None),
        ("POST", "/v1/rules", Some(rule)),
        ("DELETE", "/v1/rules/night", None),
        ("POST", "/v1/targets", Some(target)),
        ("DELETE", "/v1/targets/ops", None),
    ] {
        let answer = server.root(method, path, body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (409, "from_config"), "{method} {path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_targets_are_checked_against_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    server.stream("gate").await;
    let rule = |stream: &str, target: &str| {
        json!({"name": "night", "stream": stream, "classes": ["person"], "min_score": 0.5, "cooldown_ms": 1000,
            "zone": [[0.0, 0.0], [1.0, 0.0], [0.5, 1.0]], "rate": {"per_second": 2.0}, "targets": [target]})
    };
    let refused = server.root("POST", "/v1/rules", Some(rule("nowhere", "ops"))).await;
    assert!(
        refused.status == 400 && refused.text().contains("stream: there is no stream nowhere"),
        "{}",
        refused.text()
    );
    let refused = server.root("POST", "/v1/rules", Some(rule("gate", "ops"))).await;
    assert!(refused.status == 400 && refused.text().contains("targets: there is no target ops"), "{}", refused.text());

    let target = |url: &str, secret: Option<&str>, allow_local: bool| {
        let mut target = json!({"name": "ops", "url": url, "allow_local": allow_local});
        if let Some(secret) = secret {
            target["secret"] = secret.into();
        }
        Some(target)
    };
    assert_eq!(
        server.root("POST", "/v1/targets", target("https://93.184.215.14/", None, false)).await.status,
        400,
        "no secret"
    );
    for url in ["http://127.0.0.1:9/", "http://169.254.169.254/latest", "http://[::ffff:10.0.0.1]/"] {
        let refused = server.root("POST", "/v1/targets", target(url, Some("canary-target"), false)).await;
        assert!(refused.status == 400 && refused.text().contains("url:"), "{url}: {}", refused.text());
    }
    let refused =
        server.root("POST", "/v1/targets", target("http://169.254.169.254/", Some("canary-target"), true)).await;
    assert_eq!(refused.status, 400, "never the metadata service");
    let added = server.root("POST", "/v1/targets", target("http://127.0.0.1:9/", Some("canary-target"), true)).await;
    assert_eq!(added.status, 201, "{}", added.text());
    let kept = server.root("POST", "/v1/targets", target("http://127.0.0.1:10/", None, true)).await;
    assert_eq!(kept.status, 200, "replaced, its secret kept: {}", kept.text());
    assert_eq!(server.store.targets().await.unwrap()[0].secret.0, "canary-target");

    assert_eq!(server.root("POST", "/v1/rules", Some(rule("gate", "ops"))).await.status, 201);
    assert_eq!(server.root("POST", "/v1/rules", Some(rule("gate", "ops"))).await.status, 200);
    assert_eq!(server.root("GET", "/v1/rules", None).await.json()["rules"][0]["rate"], json!({"per_second": 2.0}));
    assert_eq!(server.root("DELETE", "/v1/targets/ops", None).await.code(), "in_use");
    assert_eq!(server.root("DELETE", "/v1/rules/night", None).await.status, 204);
    assert_eq!(server.root("DELETE", "/v1/targets/ops", None).await.status, 204);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_come_with_their_deliveries_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    record(&stream, &take(1, 1000)).await;
    let target = json!({"name": "ops", "url": "http://127.0.0.1:9/", "secret": "canary-target", "allow_local": true});
    assert_eq!(server.root("POST", "/v1/targets", Some(target)).await.status, 201);
    let fragment = stream.latest(1).await.unwrap().remove(0);
    let time = fragment.producer_start;
    let detection = Detection {
        fragment: fragment.number,
        offset_ms: 0,
        time,
        class: "person".into(),
        score: 0.9,
        bounds: [0.1, 0.1, 0.2, 0.4],
    };
    server.store.add_detections(&"gate".parse().unwrap(), vec![detection.clone()]).await.unwrap();
    let id = "019aab00-0000-7000-8000-000000000001";
    let (rule, name) = ("night".parse().unwrap(), "gate".parse().unwrap());
    let alert = Alert { id: id.into(), rule, stream: name, detection, raised_at: common::now() };
    let jpeg = vec![0xff, 0xd8, 1, 2, 0xff, 0xd9];
    server.store.raise_alert(alert, jpeg.clone(), &["ops".parse().unwrap()]).await.unwrap();

    let found = server
        .root("GET", &format!("/v1/streams/gate/detections?from={}&to={}", time.0, time.0 + 1), None)
        .await
        .json();
    assert_eq!(found["detections"][0]["class"], "person");
    for path in [
        "/v1/alerts".to_owned(),
        "/v1/alerts?stream=gate&limit=5".into(),
        format!("/v1/alerts?stream=gate&from={}&to={}", time.0, time.0 + 1),
    ] {
        let alerts = server.root("GET", &path, None).await.json();
        assert_eq!(
            (alerts["alerts"][0]["id"].as_str(), &alerts["alerts"][0]["deliveries"][0]["state"]),
            (Some(id), &json!("pending")),
            "{path}"
        );
    }
    assert_eq!(server.root("GET", &format!("/v1/alerts?before={id}"), None).await.json()["alerts"], json!([]));
    assert_eq!(server.root("GET", &format!("/v1/alerts/{id}"), None).await.json()["detection"]["class"], "person");
    let picture = server.root("GET", &format!("/v1/alerts/{id}/snapshot.jpg"), None).await;
    assert_eq!((picture.header("content-type"), &picture.body[..]), ("image/jpeg", &jpeg[..]));
    assert_eq!(server.root("GET", "/v1/alerts/nothing/snapshot.jpg", None).await.status, 404);
    let deliveries = server.root("GET", &format!("/v1/deliveries?alert={id}"), None).await.json();
    let delivery = deliveries["deliveries"][0]["id"].as_u64().unwrap();
    assert_eq!(server.root("POST", "/v1/deliveries/x/redrive", None).await.status, 404);
    let again = server.root("POST", &format!("/v1/deliveries/{delivery}/redrive"), None).await;
    assert!([204, 404, 409, 400].contains(&again.status.as_u16()), "only a dead one is driven again: {}", again.status);
    assert_eq!(server.root("GET", "/v1/alerts?from=1", None).await.status, 400);
    server.stop().await;
}

/// Reads an event stream until it has so many events, or it ends.
async fn events(body: &mut hyper::body::Incoming, most: usize) -> Vec<(String, Value)> {
    let mut text = String::new();
    loop {
        let events: Vec<_> = text
            .split("\n\n")
            .filter_map(|event| {
                let (name, data) = event.strip_prefix("event: ")?.split_once("\ndata: ")?;
                Some((name.to_owned(), serde_json::from_str(data).ok()?))
            })
            .collect();
        if events.len() >= most {
            return events;
        }
        match timeout(Duration::from_secs(10), body.frame()).await.expect("an event within ten seconds") {
            Some(frame) => text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap()),
            None => return events,
        }
    }
}

async fn open_events(server: &Server) -> hyper::body::Incoming {
    let request = Request::get("/v1/events").header("host", "x").header("authorization", basic(KEY, SECRET));
    let response = send(server.address, request.body(Full::new(Bytes::new())).unwrap()).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    response.into_body()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_what_becomes_durable_and_end_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut body = open_events(&server).await;
    let stream = server.stream("gate").await;
    record(&stream, &take(2, 1000)).await;
    let seen = events(&mut body, 3).await;
    let fragments: Vec<_> = seen.iter().filter(|(name, _)| name == "fragment").collect();
    let metas = stream.latest(2).await.unwrap();
    for ((_, fields), meta) in fragments.iter().zip(&metas) {
        assert_eq!(fields["stream"], "gate");
        assert_eq!(fields["number"].as_str(), Some(meta.number.to_string().as_str()));
        assert_eq!(
            (fields["crc32c"].as_u64(), fields["bytes"].as_u64()),
            (Some(u64::from(meta.crc32c)), Some(u64::from(meta.bytes)))
        );
    }
    assert!(seen.iter().any(|(name, _)| name == "streams"), "{seen:?}");
    let (took, rest) = tokio::join!(server.stop(), events(&mut body, 100));
    assert!(took < Duration::from_millis(2500), "{took:?}");
    assert!(rest.len() < 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_events_is_told_to_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut body = open_events(&server).await;
    let stream = server.stream("gate").await;
    // Far more than the store's channel and the sockets' buffers hold together; nothing is read meanwhile.
    let name: media::StreamName = "gate".parse().unwrap();
    record(&stream, &take(1, 1000)).await;
    let fragment = stream.latest(1).await.unwrap().remove(0).number;
    let found = |n, class: &str| {
        let time = media::UnixMillis(n);
        Detection { fragment, offset_ms: 0, time, class: class.to_owned(), score: 0.5, bounds: [0.0; 4] }
    };
    for n in 0..60 {
        server.store.add_detections(&name, vec![found(n, &"x".repeat(4000)); 50]).await.unwrap();
    }
    for n in 0..1100 {
        server.store.add_detections(&name, vec![found(n, "small")]).await.unwrap();
    }
    let mut told = false;
    for _ in 0..100 {
        let seen = events(&mut body, 200).await;
        told |= seen.iter().any(|(name, data)| name == "resync" && data["missed"].as_u64() > Some(0));
        if told || seen.len() < 200 {
            break;
        }
    }
    assert!(told);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_offer_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    server.stream("gate").await;
    let root = basic(KEY, SECRET);
    let with = [("authorization", root.as_str()), ("content-type", "application/sdp")];
    let offer = || Some(Value::String("this is no SDP".into()));
    let answer = server.send("POST", "/v1/streams/gate/whep", &with, offer()).await;
    assert!([400, 503].contains(&answer.status.as_u16()), "{}", answer.text());
    assert!(!answer.code().is_empty());
    assert_eq!(server.send("POST", "/v1/streams/none/whep", &with, offer()).await.status, 404);
    let json = server.root("POST", "/v1/streams/gate/whep", Some(json!({}))).await;
    assert_eq!(json.status, 415);
    assert_eq!(server.root("DELETE", "/v1/whep/nothing", None).await.status, 404);
    server.stop().await;
}

/// The least that a browser offers in order to see H.264.
const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 106\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:VFrm\r\na=ice-pwd:3bxkPFZZkwRx0OjsGBdrjD+3\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
    a=setup:actpass\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:106 H264/90000\r\na=rtcp-fb:106 nack\r\n\
    a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_one_publisher_which_ends_with_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    server.stream("gate").await;
    let given = json!({"access_key_id": KEY, "secret_access_key": SECRET});
    let cookie = server.send("POST", "/v1/session", &[], Some(given)).await.header("set-cookie").to_owned();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let with = [("cookie", cookie.as_str()), ("content-type", "application/sdp")];
    let offer = |text: &str| Some(Value::String(text.into()));
    let sends = OFFER.replace("a=recvonly", "a=sendonly");
    let refused = server.send("POST", "/v1/streams/gate/whip", &with, offer(OFFER)).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "bad_offer"), "{}", refused.text());
    let answer = server.send("POST", "/v1/streams/gate/whip", &with, offer(&sends)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(answer.header("content-type") == "application/sdp" && answer.text().contains("a=recvonly"));
    let location = answer.header("location").to_owned();
    let second = server.send("POST", "/v1/streams/gate/whip", &with, offer(&sends)).await;
    assert_eq!((second.status.as_u16(), second.code().as_str()), (409, "published"), "{}", second.text());
    assert_eq!(server.root("POST", "/v1/streams/gate/whip", Some(json!({}))).await.status, 415);
    assert_eq!(server.root("PATCH", &location, None).await.status, 405);
    assert_eq!(server.send("DELETE", "/v1/session", &[("cookie", &cookie)], None).await.status, 204);
    assert_eq!(server.root("DELETE", &location, None).await.status, 404, "it has ended with the session");
    let root = basic(KEY, SECRET);
    let with = [("authorization", root.as_str()), ("content-type", "application/sdp")];
    let answer = server.send("POST", "/v1/streams/gate/whip", &with, offer(&sends)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let location = answer.header("location").to_owned();
    assert_eq!(server.root("DELETE", &location, None).await.status, 200);

    // A camera's own key begins and ends it.
    let key = server.root("POST", "/v1/keys", Some(json!({"user": "gate", "policies": ["camera"]}))).await.json();
    let own = basic(key["access_key_id"].as_str().unwrap(), key["secret_access_key"].as_str().unwrap());
    let with = [("authorization", own.as_str()), ("content-type", "application/sdp")];
    let answer = server.send("POST", "/v1/streams/gate/whip", &with, offer(&sends)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let location = answer.header("location").to_owned();
    assert_eq!(server.send("DELETE", &location, &with[..1], None).await.status, 200);
    assert_eq!(server.root("DELETE", &location, None).await.status, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webrtc_viewers_end_with_their_session() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    let camera = tokio::spawn(async move {
        loop {
            record(&stream, &take(1, 100)).await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    let given = json!({"access_key_id": KEY, "secret_access_key": SECRET});
    let mut opened = Vec::new();
    let mut cookies = Vec::new();
    for _ in 0..2 {
        let cookie = server.send("POST", "/v1/session", &[], Some(given.clone())).await.header("set-cookie").to_owned();
        cookies.push(cookie.split(';').next().unwrap().to_owned());
    }
    let root = basic(KEY, SECRET);
    for who in [("cookie", cookies[0].as_str()), ("cookie", &cookies[1]), ("authorization", &root)] {
        let with = [who, ("content-type", "application/sdp")];
        let answer = server.send("POST", "/v1/streams/gate/whep", &with, Some(Value::String(OFFER.into()))).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        opened.push(answer.header("location").to_owned());
    }
    assert_eq!(server.send("DELETE", "/v1/session", &[("cookie", &cookies[0])], None).await.status, 204);
    let mut closed = Vec::new();
    for peer in &opened {
        closed.push(server.root("DELETE", peer, None).await.status.as_u16());
    }
    assert_eq!(closed, [404, 204, 204], "the session's has ended, those of others have not");

    // So does what was opened with a key, with its rights.
    let new = json!({"user": "anna", "policies": ["playback"]});
    let key = server.root("POST", "/v1/keys", Some(new)).await.json();
    let id = key["access_key_id"].as_str().unwrap();
    let auth = basic(id, key["secret_access_key"].as_str().unwrap());
    let with = [("authorization", auth.as_str()), ("content-type", "application/sdp")];
    let answer = server.send("POST", "/v1/streams/gate/whep", &with, Some(Value::String(OFFER.into()))).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    // Who may watch a stream may stop watching it, and nobody else's.
    let other = server.root("POST", "/v1/keys", Some(json!({"user": "gate", "policies": ["camera"]}))).await.json();
    let stranger = basic(other["access_key_id"].as_str().unwrap(), other["secret_access_key"].as_str().unwrap());
    let location = answer.header("location").to_owned();
    assert_eq!(server.send("DELETE", &location, &[("authorization", &stranger)], None).await.status, 403);
    assert_eq!(server.send("DELETE", &location, &[("authorization", &auth)], None).await.status, 204);
    assert_eq!(
        server.send("DELETE", &location, &[("authorization", &auth)], None).await.status,
        403,
        "it is not known any more"
    );
    assert_eq!(server.root("DELETE", &location, None).await.status, 404);
    let answer = server.send("POST", "/v1/streams/gate/whep", &with, Some(Value::String(OFFER.into()))).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let peer = answer.header("location").rsplit('/').next().unwrap().to_owned();
    let peers = &server.peers;
    assert!(peers.is_open(&peer).await);
    assert_eq!(
        server.root("PATCH", &format!("/v1/keys/{id}"), Some(json!({"policies": ["camera"]}))).await.status,
        200
    );
    for waited in 0.. {
        if !peers.is_open(&peer).await {
            break;
        }
        assert!(waited < 100, "the viewer is still served");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    camera.abort();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legal_holds_are_placed_listed_and_lifted_and_name_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    let start = record(&stream, &take(3, 1000)).await.0 - 3000;
    let hold = json!({"name": "case 7", "from": start, "to": start + 1500, "reason": "a theft"});
    let placed = server.root("POST", "/v1/streams/gate/holds", Some(hold.clone())).await;
    assert_eq!((placed.status.as_u16(), &placed.json()["placed_by"]), (201, &json!("root")));
    assert_eq!(server.root("POST", "/v1/streams/gate/holds", Some(hold)).await.code(), "already_exists");
    let wrong = json!({"name": "x", "from": 5, "to": 5, "reason": "none"});
    assert_eq!(server.root("POST", "/v1/streams/gate/holds", Some(wrong)).await.status, 400);
    let listed = server.root("GET", "/v1/streams/gate/holds", None).await.json();
    assert_eq!(listed["holds"], json!([placed.json()]));
    let range = format!("/v1/streams/gate/fragments?from={start}&to={}", start + 1);
    for (method, path) in [("DELETE", range.as_str()), ("DELETE", "/v1/streams/gate")] {
        let refused = server.root(method, path, None).await;
        assert!(refused.code() == "conflict" && refused.text().contains("case 7"), "{}", refused.text());
    }
    let (kind, message) = server.call("deleteStream", json!({"StreamARN": arn(&stream)})).await.refused();
    assert!(kind.contains("ResourceInUseException") && message.contains("case 7"), "{kind} {message}");
    assert_eq!(server.root("DELETE", "/v1/streams/gate/holds/case%207", None).await.status, 204);
    assert_eq!(server.root("DELETE", "/v1/streams/gate/holds/case%207", None).await.status, 404);
    assert_eq!(server.root("DELETE", &range, None).await.json()["fragments"], 1);
    server.stop().await;
}

fn arn(stream: &store::Stream) -> String {
    let info = stream.info();
    format!("arn:aws:kinesisvideo:us-east-1:123456789012:stream/{}/{}", info.name, info.created_at.0)
}
