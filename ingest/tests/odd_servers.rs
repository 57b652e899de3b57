//! Servers that are none, refuse, lie, or fall silent: each has its own reason, with host and port, never a password.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/server.rs"]
mod server;

use common::{Rig, camera, quick, resident, with_login};
use ingest::{CameraState, Failure};
use server::{H264, Server, playing, reply};
use std::io::Write;
use std::time::{Duration, Instant};
use store::records::{Camera, Transport};

/// The reason a camera at this server fails with, looked at through the recorder and through the probe.
async fn reason(url: &str) -> Failure {
    let password = "pa55-pa55";
    let rig = Rig::with(quick(), with_login(camera(url), "user", password)).await;
    let failure = rig.wait_failed().await;
    let probed = rig.cameras.probe(&with_login(camera(url), "user", password)).await.unwrap_err();
    assert_eq!(failure.code, probed.code, "{failure:?} {probed:?}");
    for text in [&failure.message, &probed.message] {
        assert!(!text.contains(password), "{text}");
        assert!(!text.contains('\n') && text.len() < 500, "{text}");
    }
    rig.stop().await;
    failure
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_port() {
    let port = common::free_port();
    let failure = reason(&format!("rtsp://127.0.0.1:{port}/a")).await;
    assert_eq!(failure.code, "refused");
    assert!(failure.message.contains(&format!("127.0.0.1:{port}/a")), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server() {
    let server = Server::start(|_, socket| {
        let _ =
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nno!\n");
        false
    });
    let failure = reason(&server.url()).await;
    assert_eq!(failure.code, "not_rtsp");
    assert!(failure.message.contains(&server.address.to_string()), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses() {
    for (status, code) in [
        ("401 Unauthorized", "unauthorized"),
        ("403 Forbidden", "unauthorized"),
        ("404 Not Found", "not_found"),
        ("302 Moved", "protocol"),
        ("503 Service Unavailable", "protocol"),
    ] {
        let server = Server::start(move |request, socket| {
            reply(
                socket,
                request,
                status,
                "Location: rtsp://127.0.0.1:1/elsewhere\r\nWWW-Authenticate: Basic realm=\"x\"\r\n",
                "",
            )
        });
        let failure = reason(&server.url()).await;
        assert_eq!(failure.code, code, "{status}: {}", failure.message);
        assert!(failure.message.contains(&status[..3]), "{}", failure.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_codec_that_can_be_recorded() {
    let media = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=control:trackID=0\r\nm=audio 0 RTP/AVP 0\r\na=control:trackID=1\r\n";
    let server = playing(media, None, |_| true);
    let failure = reason(&server.url()).await;
    assert_eq!(failure.code, "no_supported_codec");
    assert!(failure.message.contains("h265") && failure.message.contains("H.264"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_at_all() {
    let server = Server::start(|_, _| true);
    let began = Instant::now();
    let rig = Rig::with(ingest::Config { connect_timeout_s: 1, ..quick() }, camera(&server.url())).await;
    let failure = rig.wait_failed().await;
    assert_eq!(failure.code, "timeout");
    assert!(began.elapsed() < Duration::from_secs(5));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_garbage_after_play() {
    let silent = playing(H264, None, |_| true);
    let rig = Rig::with(quick(), camera(&silent.url())).await;
    let failure = rig.wait_failed().await;
    assert_eq!(failure.code, "lost");
    // It is tried again, and each try says good-bye.
    let again = || silent.methods().iter().filter(|m| *m == "PLAY").count() >= 2;
    for _ in 0..400 {
        if again() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(again() && silent.methods().contains(&"TEARDOWN".to_owned()), "{:?}", silent.methods());
    rig.stop().await;

    let before = resident();
    let garbage = playing(H264, None, |socket| {
        let noise: Vec<u8> = (0..1u32 << 16).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        while socket.write_all(&noise).is_ok() {}
        false
    });
    let rig = Rig::with(quick(), camera(&garbage.url())).await;
    let failure = rig.wait_failed().await;
    assert_eq!(failure.code, "protocol");
    tokio::time::sleep(Duration::from_secs(3)).await; // some more tries
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    rig.stop().await;
}

/// Well-formed RTSP framing, hostile RTP in it: the session may end, the process and its memory do not mind.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_packets() {
    let before = resident();
    let server = playing(H264, None, |socket| {
        let mut state = 1u32;
        let mut sequence = 0u16;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        for _ in 0..20_000 {
            let length = 1 + random() as usize % 600;
            let mut packet = vec![0x80, 96 | if random() % 3 == 0 { 0x80 } else { 0 }];
            packet.extend(sequence.to_be_bytes());
            packet.extend((random() * 7).to_be_bytes());
            packet.extend([1, 2, 3, 4]);
            packet.extend((0..length).map(|_| random() as u8));
            sequence = sequence.wrapping_add(if random() % 20 == 0 { 3 } else { 1 });
            let mut message = vec![b'$', (random() % 2) as u8];
            message.extend((packet.len() as u16).to_be_bytes());
            message.extend(packet);
            if socket.write_all(&message).is_err() {
                return false;
            }
        }
        true
    });
    let rig = Rig::with(quick(), camera(&server.url())).await;
    let failure = rig.wait_failed().await;
    assert!(["protocol", "lost"].contains(&failure.code), "{failure:?}");
    assert!(rig.fragments().await.is_empty());
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    rig.stop().await;
}

/// A camera names a base URL that leads elsewhere. Nothing may connect there, also not to say good-bye.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_url_that_leads_elsewhere_is_not_followed() {
    let trap = Server::start(|request, socket| reply(socket, request, "200 OK", "", ""));
    let elsewhere = format!("rtsp://{}/trap/", trap.address);
    let server = playing(H264, Some(elsewhere), |_| true);
    let udp = Camera { transport: Transport::Udp, ..camera(&server.url()) };
    let rig = Rig::with(quick(), udp).await;
    rig.wait_failed().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    rig.stop().await;
    assert!(server.methods().contains(&"SETUP".to_owned()), "{:?}", server.methods());
    assert_eq!(trap.methods(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_no_camera_may_have() {
    for url in
        ["rtsp://169.254.169.254/latest", "rtsp://[::ffff:169.254.169.254]/", "rtsp://0.0.0.0/", "rtsp://224.0.0.1/"]
    {
        let failure = reason(url).await;
        assert_eq!(failure.code, "forbidden_address", "{url}: {}", failure.message);
    }
    let failure = reason("rtsp://no-such-host.invalid/a").await;
    assert_eq!(failure.code, "unresolved", "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_url_fails_without_a_connection() {
    let rig = Rig::with(quick(), camera("rtsp://u:p@host/")).await;
    assert_eq!(rig.wait_failed().await.code, "bad_url");
    let state = rig.state().unwrap();
    assert!(matches!(state, CameraState::Failed { retry_at, since, .. } if retry_at > since));
    rig.stop().await;
}
