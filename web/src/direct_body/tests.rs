//! Bodies taken from hyper, on connections that hyper serves.
#![allow(clippy::unwrap_used)]

use super::*;
use axum::body::Body;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use proptest::prelude::*;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{sleep, timeout};

/// A connection to a server that answers each request with its path, how its body was read, and its length and checksum or
/// what was wrong with it. Of `/half` it takes one piece only, of `/none` none. Counts the connections that ended.
fn server(room: usize) -> (DuplexStream, TaskTracker, Arc<AtomicUsize>) {
    let (client, end) = tokio::io::duplex(room);
    let (tasks, ended) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
    let (wire, of_service, counted) = (Wire::new(end), tasks.clone(), ended.clone());
    let readings = wire.readings();
    tokio::spawn(async move {
        let service = service_fn(move |mut request: Request<Incoming>| {
            DirectBody::hold(&mut request, &readings);
            answer(request, of_service.clone())
        });
        let _ = http1::Builder::new().serve_connection(wire, service).await;
        counted.fetch_add(1, Relaxed);
    });
    (client, tasks, ended)
}

async fn answer(request: Request<Incoming>, tasks: TaskTracker) -> Result<Response<String>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let direct = DirectBody::take(&mut parts, &tasks);
    let (how, mut body) = match direct {
        Some(direct) => ("direct", direct.with(Body::new(body).into_data_stream()).left_stream()),
        None => ("hyper", Body::new(body).into_data_stream().map(|p| p.map_err(io::Error::other)).right_stream()),
    };
    let most = match parts.uri.path() {
        "/none" => 0,
        "/half" => 1,
        _ => usize::MAX,
    };
    let (mut len, mut crc, mut pieces, mut wrong) = (0, 0, 0, String::new());
    while pieces < most
        && let Some(piece) = body.next().await
    {
        match piece {
            Ok(piece) => {
                assert!(!piece.is_empty());
                (len, crc) = (len + piece.len(), checksum(crc, &piece));
            }
            Err(error) => wrong = format!(" {error}"),
        }
        pieces += 1;
    }
    Ok(Response::new(format!("{} {how} {len} {crc:08x}{wrong}", parts.uri.path())))
}

fn head(path: &str, headers: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
}

const CHUNKED: &str = "Transfer-Encoding: Chunked\r\n";

fn chunked(body: &[u8], chunk: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in body.chunks(chunk) {
        wire.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
    }
    wire.extend(b"0\r\n\r\n");
    wire
}

fn media(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

fn checksum(before: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(before, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(16_777_619).wrapping_add(1))
}

fn told(path: &str, how: &str, body: &[u8]) -> String {
    format!("{path} {how} {} {:08x}", body.len(), checksum(0, body))
}

/// The next answer's body.
async fn read(client: &mut (impl AsyncRead + Unpin)) -> String {
    let read = async {
        let (mut bytes, mut byte) = (Vec::new(), [0]);
        while !bytes.ends_with(b"\r\n\r\n") {
            client.read_exact(&mut byte).await.unwrap();
            bytes.push(byte[0]);
        }
        let head = String::from_utf8(bytes).unwrap();
        if head.starts_with("HTTP/1.1 100 Continue") {
            return head;
        }
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        client.read_exact(&mut body).await.unwrap();
        String::from_utf8(body).unwrap()
    };
    timeout(Duration::from_secs(10), read).await.expect("an answer")
}

#[tokio::test]
async fn requests_of_each_kind_follow_one_another_on_a_connection() {
    let (mut client, _, ended) = server(1 << 20);
    let small = media(1000);
    let all = [
        [head("/a", CHUNKED), chunked(&small, 100)].concat(),
        [head("/b", "Content-Length: 1000\r\n"), small.clone()].concat(),
        head("/c", ""),
        [head("/d", CHUNKED), chunked(&[], 1)].concat(),
        [head("/e", CHUNKED), b"3;x=\"y\"\r\n\n\r\n\r\n0\r\nTrailer: z\r\n\r\n".to_vec()].concat(),
        [b"\r\n".to_vec(), head("/f", CHUNKED), chunked(&small, 1000)].concat(),
    ]
    .concat();
    let expected = [
        told("/a", "direct", &small),
        told("/b", "hyper", &small),
        told("/c", "hyper", &[]),
        told("/d", "direct", &[]),
        told("/e", "direct", b"\n\r\n"),
        told("/f", "direct", &small),
    ];
    // One after another, all at once, and byte for byte.
    client.write_all(&all).await.unwrap();
    for expected in &expected {
        assert_eq!(read(&mut client).await, *expected);
    }
    let (mut reader, mut writer) = tokio::io::split(client);
    let bytes = all.clone();
    let write = tokio::spawn(async move {
        for byte in bytes.chunks(1) {
            writer.write_all(byte).await.unwrap();
            tokio::task::yield_now().await;
        }
        writer
    });
    for expected in &expected {
        assert_eq!(read(&mut reader).await, *expected);
    }
    let mut client = reader.unsplit(write.await.unwrap());
    assert_eq!(ended.load(Relaxed), 0);
    client.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_large_body_comes_whole_whatever_its_chunks() {
    let body = media(3_000_000);
    for (chunk, room) in [(64 << 10, 100_000), (300_000, 1 << 20), (10, 1 << 16), (5000, 3000), (3_000_000, 5 << 20)] {
        let (client, ..) = server(room);
        let wire = [head("/a", CHUNKED), chunked(&body, chunk)].concat();
        let (mut client, mut writer) = tokio::io::split(client);
        tokio::spawn(async move { writer.write_all(&wire).await.unwrap() });
        assert_eq!(read(&mut client).await, told("/a", "direct", &body), "chunks of {chunk}");
    }
}

#[tokio::test]
async fn who_waits_for_100_continue_gets_it() {
    let (mut client, ..) = server(1 << 20);
    client.write_all(&head("/a", &format!("Expect: 100-continue\r\n{CHUNKED}"))).await.unwrap();
    // Nobody asked hyper for the body, so it has said nothing; the handler of PutMedia does.
    client.write_all(&chunked(b"abc", 2)).await.unwrap();
    assert_eq!(read(&mut client).await, told("/a", "direct", b"abc"));
}

#[tokio::test]
async fn a_body_that_breaks_off_or_is_malformed_is_an_error_and_the_last_of_its_connection() {
    // What came before it counts.
    for (bytes, body, wrong) in [
        (&b"3\r\nabc\r\n4\r\nd"[..], &b"abcd"[..], "the connection ended before the body"),
        (b"3\r\nabc\r\n4\r\ndefgh\r\n0\r\n\r\n", b"abcdefg", "longer than its size"),
        (b"3\r\nabc\r\nx", b"abc", "no hexadecimal number"),
    ] {
        let (mut client, _, ended) = server(1 << 20);
        client.write_all(&[head("/a", CHUNKED), bytes.to_vec()].concat()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut text = String::new();
        timeout(Duration::from_secs(10), client.read_to_string(&mut text)).await.unwrap().unwrap();
        assert!(text.contains(&told("/a", "direct", body)) && text.contains(wrong), "{text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "{text}");
        sleep(Duration::from_millis(10)).await;
        assert_eq!(ended.load(Relaxed), 1);
    }
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_read_on_for_a_moment() {
    for path in ["/half", "/none"] {
        // It ends in time: the connection goes on.
        let (mut client, ..) = server(10_000);
        client.write_all(&head(path, CHUNKED)).await.unwrap();
        if path == "/half" {
            client.write_all(b"3\r\nabc\r\n").await.unwrap();
        }
        let answer = read(&mut client).await;
        assert!(answer.starts_with(path), "{answer}");
        timeout(Duration::from_secs(5), client.write_all(&chunked(&media(200_000), 4096))).await.unwrap().unwrap();
        client.write_all(&head("/b", "")).await.unwrap();
        assert_eq!(read(&mut client).await, told("/b", "hyper", &[]));
        // It does not: the connection ends.
        client.write_all(&head(path, CHUNKED)).await.unwrap();
        client.write_all(b"5\r\nabc").await.unwrap();
        read(&mut client).await;
        let closed = timeout(PATIENCE + Duration::from_secs(3), client.read(&mut [0])).await.expect("closed");
        assert!(matches!(closed, Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn a_connection_that_is_dropped_ends_its_body() {
    let (mut client, end) = tokio::io::duplex(1000);
    let (wire, tasks) = (Wire::new(end), TaskTracker::new());
    let readings = wire.readings();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let sender = Arc::new(std::sync::Mutex::new(Some(sender)));
    let serving = tokio::spawn(async move {
        let service = service_fn(move |mut request: Request<Incoming>| {
            DirectBody::hold(&mut request, &readings);
            let (mut parts, body) = request.into_parts();
            let direct = DirectBody::take(&mut parts, &tasks).unwrap().with(Body::new(body).into_data_stream());
            let _ = sender.lock().unwrap().take().unwrap().send(direct);
            async { Ok::<_, Infallible>(Response::new(String::new())) }
        });
        let _ = http1::Builder::new().serve_connection(wire, service).await;
    });
    client.write_all(&head("/a", CHUNKED)).await.unwrap();
    let mut body = receiver.await.unwrap();
    let reads = tokio::spawn(async move {
        let error = body.next().await.unwrap().unwrap_err();
        assert!(body.next().await.is_none());
        error
    });
    assert!(read(&mut client).await.is_empty());
    serving.abort();
    let error = timeout(Duration::from_secs(5), reads).await.expect("woken").unwrap();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    assert!(matches!(client.read(&mut [0]).await, Ok(0) | Err(_)), "closed though somebody had its body");
}

#[tokio::test]
async fn a_held_body_that_nobody_takes_is_left_to_hyper() {
    let (mut client, end) = tokio::io::duplex(1000);
    let wire = Wire::new(end);
    let readings = wire.readings();
    tokio::spawn(async move {
        let service = service_fn(move |mut request: Request<Incoming>| {
            DirectBody::hold(&mut request, &readings);
            async move {
                let held = request.extensions().get::<Reading>().is_some();
                let (_, body) = request.into_parts();
                let all = axum::body::to_bytes(Body::new(body), 1000).await.unwrap();
                Ok::<_, Infallible>(Response::new(format!("{held} {}", all.len())))
            }
        });
        let _ = http1::Builder::new().serve_connection(wire, service).await;
    });
    for (headers, body, expected) in [
        ("Content-Length: 3\r\n", &b"abc"[..], "false 3"),
        (CHUNKED, b"2\r\nab\r\n0\r\n\r\n", "true 2"),
        ("", b"", "false 0"),
    ] {
        client.write_all(&[head("/", headers), body.to_vec()].concat()).await.unwrap();
        assert_eq!(read(&mut client).await, expected, "{headers}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn bodies_in_any_chunks_and_any_writes_come_whole(
        lens in prop::collection::vec(0usize..60_000, 1..4),
        chunk in 1usize..70_000,
        writes in prop::collection::vec(1usize..50_000, 1..6),
        room in 100usize..200_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, ..) = server(room);
            let wire: Vec<u8> =
                lens.iter().flat_map(|len| [head("/a", CHUNKED), chunked(&media(*len), chunk.max(len / 200 + 1))].concat()).collect();
            let (mut reader, mut writer) = tokio::io::split(client);
            tokio::spawn(async move {
                let (mut rest, mut sizes) = (&wire[..], writes.iter().cycle());
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                    writer.write_all(now).await.unwrap();
                    rest = later;
                }
                writer.shutdown().await.unwrap();
            });
            let mut text = String::new();
            timeout(Duration::from_secs(20), reader.read_to_string(&mut text)).await.unwrap().unwrap();
            for len in &lens {
                let expected = told("/a", "direct", &media(*len));
                let at = text.find(&expected);
                assert!(at.is_some(), "{expected} in {text}");
                text = text[at.unwrap() + expected.len()..].to_owned();
            }
        });
    }
}
