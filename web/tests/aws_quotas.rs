//! The cloud's limits, for those who set them.
#![allow(clippy::unwrap_used)]

mod common;

use common::{SECRET, Server};
use serde_json::{Value, json};
use std::{path::Path, sync::atomic::Ordering};
use web::{AwsConfig, Quotas};

async fn limited(data: &Path, quotas: Quotas) -> Server {
    Server::start_with(data, SECRET, AwsConfig { quotas, ..AwsConfig::default() }).await
}

async fn create(server: &Server, body: Value) -> Result<(), (String, String)> {
    let answer = server.call("createStream", body).await;
    if answer.status == 200 { Ok(()) } else { Err(answer.refused()) }
}

#[tokio::test]
async fn streams_are_limited_in_all_and_by_device() {
    let data = tempfile::tempdir().unwrap();
    let server = limited(data.path(), Quotas { streams: 5, streams_per_device: 2, ..Quotas::default() }).await;
    let of = |name: &str, device: &str| json!({"StreamName": name, "DeviceName": device});
    create(&server, of("a", "one")).await.unwrap();
    create(&server, of("b", "one")).await.unwrap();
    let (kind, message) = create(&server, of("c", "one")).await.unwrap_err();
    assert_eq!(kind, "400 DeviceStreamLimitExceededException");
    assert!(message.contains("device one has 2 streams"), "{message}");
    create(&server, of("c", "two")).await.unwrap();
    create(&server, json!({"StreamName": "d"})).await.unwrap();
    server.stream("native").await;
    let (kind, message) = create(&server, of("e", "three")).await.unwrap_err();
    assert_eq!(kind, "400 AccountStreamLimitExceededException", "however they were made");
    assert!(message.contains("aws.quotas.streams"), "{message}");
    // One that goes makes room.
    let info = server.call("describeStream", json!({"StreamName": "a"})).await.done()["StreamInfo"].clone();
    server.call("deleteStream", json!({"StreamARN": info["StreamARN"]})).await.done();
    create(&server, of("e", "one")).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn channels_are_limited() {
    let data = tempfile::tempdir().unwrap();
    let server = limited(data.path(), Quotas { channels: 2, ..Quotas::default() }).await;
    let create = |name: &'static str| server.call("createSignalingChannel", json!({"ChannelName": name}));
    create("a").await.done();
    let arn = create("b").await.done()["ChannelARN"].clone();
    let (kind, message) = create("c").await.refused();
    assert_eq!(kind, "400 AccountChannelLimitExceededException");
    assert!(message.contains("2 signaling channels") && message.contains("aws.quotas.channels"), "{message}");
    server.call("deleteSignalingChannel", json!({"ChannelARN": arn})).await.done();
    create("c").await.done();
    server.stop().await;
}

/// Calls in a row: how many were done, what the others were told, and the seconds that it took.
async fn calls(server: &Server, names: &[&str], count: usize) -> (usize, Option<(String, String)>, f64) {
    let (mut done, mut refused, began) = (0, None, std::time::Instant::now());
    for n in 0..count {
        let answer = server.call("describeStream", json!({"StreamName": names[n % names.len()]})).await;
        match answer.status.as_u16() {
            200 => done += 1,
            _ => refused = Some(answer.refused()),
        }
    }
    (done, refused, began.elapsed().as_secs_f64())
}

#[tokio::test]
async fn calls_are_limited_by_the_second() {
    let one = Quotas { calls_per_s_per_stream: 1, ..Quotas::default() };
    let all = Quotas { calls_per_s: 1, ..Quotas::default() };
    for (quotas, key, streams_share) in [(one, "calls_per_s_per_stream", false), (all, "calls_per_s)", true)] {
        let data = tempfile::tempdir().unwrap();
        let server = limited(data.path(), quotas).await;
        for name in ["a", "b"] {
            server.stream(name).await;
        }
        let (done, refused, seconds) = calls(&server, &["a"], 30).await;
        assert!((1..=2 + seconds as usize).contains(&done), "{done} calls in {seconds} s");
        let (kind, message) = refused.unwrap();
        assert_eq!(kind, "400 ClientLimitExceededException");
        assert!(message.contains(key), "{message}");
        // Another operation has its own count, and a second later all of them are there again.
        server.call("listTagsForStream", json!({"StreamName": "a"})).await.done();
        server.ahead_ms.fetch_add(1000, Ordering::Relaxed);
        let (done, refused, seconds) = calls(&server, &["a", "b"], 30).await;
        let counts = if streams_share { 1 } else { 2 };
        assert!((counts..=counts * (2 + seconds as usize)).contains(&done), "{done} calls in {seconds} s");
        assert!(refused.is_some());
        server.stop().await;
    }
    let data = tempfile::tempdir().unwrap();
    let server = limited(data.path(), Quotas { calls_per_s: 5, ..Quotas::default() }).await;
    server.stream("a").await;
    // Calls that no policy allows: as many of a key as may be made, and they take nothing from others.
    let allow = |action: &str| json!({"Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}});
    let (denied, allowed) =
        (server.key(allow("kinesisvideo:TagStream")).await, server.key(allow("kinesisvideo:*")).await);
    let call =
        async |key: &str| server.call_as(key, "describeStream", json!({"StreamName": "a"})).await.status.as_u16();
    let began = std::time::Instant::now();
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(call(&denied).await);
    }
    let told = answers.iter().filter(|status| **status == 403).count();
    let seconds = began.elapsed().as_secs_f64();
    assert!((5..=5 + (5.0 * seconds).ceil() as usize).contains(&told), "{answers:?} in {seconds} s");
    assert_eq!(answers.iter().filter(|status| **status == 400).count(), 30 - told, "the others are too many");
    let mut done = 0;
    for _ in 0..5 {
        done += usize::from(call(&allowed).await == 200);
    }
    assert_eq!(done, 5, "all of them are there for those who may");
    server.stop().await;

    let data = tempfile::tempdir().unwrap();
    let server = limited(data.path(), Quotas::default()).await;
    server.stream("a").await;
    assert_eq!(calls(&server, &["a"], 100).await.0, 100, "nothing is limited unless it is asked for");
    server.stop().await;
}
