//! The port that speaks TLS, next to one that does not.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    KEY, SECRET, Server, basic,
    tls::{Pair, VERSIONS, ask, config, connect},
};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_serve_the_same_as_without_and_know_that_it_is_tls() {
    let folder = tempfile::tempdir().unwrap();
    let own = Pair::named("server");
    let server = Server::start_tls(&folder.path().join("data"), own.write(folder.path())).await;
    let address = server.tls.unwrap();
    server.stream("gate").await;
    // Whoever comes by TLS alone.
    let careful = server
        .key(json!({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}]}))
        .await;
    let (id, secret) = careful.split_once(':').unwrap();
    let careful = basic(id, secret);
    for version in VERSIONS {
        let client = config(&own, None, version);
        let open = || async { connect(address, client.clone()).await.unwrap() };
        let stream = open().await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]), "and not h2");
        assert_eq!(ask(stream, "GET", "/healthz", &[], None).await.status, 200);
        let given = json!({"access_key_id": KEY, "secret_access_key": SECRET});
        let signed_in = ask(open().await, "POST", "/v1/session", &[], Some(given.clone())).await;
        assert_eq!(signed_in.status, 204);
        let cookie = signed_in.header("set-cookie");
        assert!(cookie.contains("; Secure") && cookie.contains("HttpOnly"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap();
        assert_eq!(ask(open().await, "GET", "/", &[("cookie", cookie)], None).await.status, 200, "the page");
        let origin = format!("https://localhost:{}", address.port());
        let with = [("cookie", cookie), ("origin", origin.as_str())];
        assert_eq!(ask(open().await, "DELETE", "/v1/session", &with, None).await.status, 204, "its own origin");
        let plain = server.send("POST", "/v1/session", &[], Some(given)).await;
        assert!(!plain.header("set-cookie").contains("Secure"), "the port without TLS");

        let wanted = json!({"StreamName": "gate", "APIName": "PUT_MEDIA"});
        let root = [("authorization", basic(KEY, SECRET))];
        let root: Vec<_> = root.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = ask(open().await, "POST", "/getDataEndpoint", &root, Some(wanted.clone())).await;
        assert_eq!(answer.json(), json!({"DataEndpoint": origin}));
        let plain = server.call("getDataEndpoint", wanted.clone()).await.json();
        assert_eq!(plain, json!({"DataEndpoint": format!("http://{}", server.address)}));
        let careful = [("authorization", careful.as_str())];
        let by_tls = ask(open().await, "POST", "/getDataEndpoint", &careful, Some(wanted.clone())).await;
        assert_eq!(by_tls.status, 200);
        let without = server.send("POST", "/getDataEndpoint", &careful, Some(wanted)).await;
        assert_eq!(without.status, 403, "aws:SecureTransport is false there");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_taken_up_and_a_wrong_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let old = Pair::named("old");
    let server = Server::start_tls(&folder.path().join("data"), old.write(folder.path())).await;
    let address = server.tls.unwrap();
    let open = connect(address, config(&old, None, VERSIONS[1])).await.unwrap();
    let new = Pair::named("new");
    // First half of it, as it lies there while it is being copied.
    std::fs::write(folder.path().join("server.pem"), &new.pem).unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    connect(address, config(&old, None, VERSIONS[1])).await.expect("the old one stays");
    new.write(folder.path());
    let began = Instant::now();
    while connect(address, config(&new, None, VERSIONS[1])).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(15), "the new one is shown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(connect(address, config(&old, None, VERSIONS[1])).await.is_err());
    assert_eq!(ask(open, "GET", "/healthz", &[], None).await.status, 200, "open connections go on");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_tls_is_told_and_who_never_speaks_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let own = Pair::named("server");
    let server = Server::start_tls(&folder.path().join("data"), own.write(folder.path())).await;
    let address = server.tls.unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDp5\r\n\r\n").await.unwrap();
    let mut told = String::new();
    timeout(Duration::from_secs(5), plain.read_to_string(&mut told)).await.unwrap().unwrap();
    assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("this port speaks TLS"), "{told}");
    assert_eq!(told.split("\r\n\r\n").nth(1).unwrap().len().to_string(), {
        let length = told.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        length.trim().to_owned()
    });

    // More than one address may have open, each in the middle of its handshake: a record of 512 bytes is announced.
    let began = Instant::now();
    let mut silent = Vec::new();
    for n in 0..1100 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(if n % 2 == 0 { b"\x16\x03\x01\x02\x00" } else { b"" }).await;
        silent.push(stream);
    }
    let mut closed_at_once = 0;
    for stream in &mut silent {
        let mut byte = [0];
        if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_millis(1), stream.read(&mut byte)).await {
            closed_at_once += 1;
        }
    }
    assert!((76..200).contains(&closed_at_once), "{closed_at_once} of 1100 were refused");
    for stream in &mut silent {
        let mut rest = Vec::new();
        let _ = timeout(Duration::from_secs(15), stream.read_to_end(&mut rest)).await.expect("closed by the server");
    }
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    let again = connect(address, config(&own, None, VERSIONS[1])).await.unwrap();
    assert_eq!(ask(again, "GET", "/healthz", &[], None).await.status, 200);
    server.stop().await;
}
