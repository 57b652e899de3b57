//! GetMedia and the archive while what they read goes away: ranges that are deleted, retention, gaps, clients that come back.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{
    Server,
    consumer::{Media, consumed, fills, get_media},
    now,
    producer::Producer,
};
use media::FragmentMeta;
use serde_json::{Value, json};
use std::{sync::atomic::Ordering, time::Duration};
use store::Stream;

const HOUR_MS: i64 = 3_600_000;

/// A stream of so many fragments of so many bytes, filled with their index.
async fn filled(server: &Server, count: u8, bytes: usize) -> (Stream, Producer) {
    let stream = server.stream("gate").await;
    let mut producer = Producer::new(&stream, bytes);
    for fill in 0..count {
        producer.put(fill).await;
    }
    (stream, producer)
}

fn token(media: &FragmentMeta) -> Value {
    json!({"StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": media.number.to_string()})
}

async fn numbers(server: &Server, body: Value) -> Vec<String> {
    let answer = server.root("POST", "/listFragments", Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let listed = answer.json();
    let fragments = listed["Fragments"].as_array().unwrap().iter();
    fragments.map(|f| f["FragmentNumber"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_on_exactly_behind_its_fragment() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let (stream, mut producer) = filled(&server, 12, 5000).await;
    let all = stream.latest(100).await.unwrap();
    for (at, meta) in (0..).zip(&all[..11]) {
        let mut media = get_media(&server, "gate", token(meta)).await;
        let rest = media.whole(11 - usize::from(at)).await;
        assert_eq!(fills(&rest), (at + 1..12).collect::<Vec<u8>>());
        consumed(&media.bytes);
    }
    // Behind the newest: what is yet to come.
    let mut media = get_media(&server, "gate", token(&all[11])).await;
    assert!(media.is_silent().await);
    producer.put(12).await;
    assert_eq!(fills(&media.whole(1).await), [12]);
    drop(media);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_is_deleted_under_a_slow_reader_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let (stream, mut producer) = filled(&server, 60, 1 << 20).await;
    let all = stream.latest(100).await.unwrap();
    let mut media = get_media(&server, "gate", json!({"StartSelectorType": "EARLIEST"})).await;
    media.whole(1).await;
    // Far behind what sockets hold, though its number was looked up long ago.
    let range = store::Range { from: all[40].producer_start, to: all[50].producer_start };
    assert_eq!(stream.delete_range(range).await.unwrap().fragments, 10);
    producer.put(60).await;
    let whole = media.whole(51).await;
    assert_eq!(fills(&whole), (0..40).chain(50..61).collect::<Vec<u8>>());
    assert!(consumed(&media.bytes).len() >= 51);
    drop(media);
    // In a list that names it, it is an error that says which; what stands before it came.
    let asked: Vec<_> = all[39..42].iter().map(|meta| meta.number.to_string()).collect();
    let body = json!({"StreamName": "gate", "Fragments": asked});
    let mut media = Media::ask(&server, "/getMediaForFragmentList", &body).await;
    let rest = media.rest().await;
    assert_eq!(fills(&rest), [39]);
    assert_eq!(rest[0].after["AWS_KINESISVIDEO_ERROR_ID"], "4000");
    assert_eq!(rest[0].after["AWS_KINESISVIDEO_FRAGMENT_NUMBER"], asked[1]);
    // A listing has the gap, and a timestamp in it starts behind it.
    let listed = numbers(&server, json!({"StreamName": "gate", "MaxResults": 1000})).await;
    assert_eq!(listed.len(), 51);
    let at = (all[44].producer_start.0 + 300) as f64 / 1000.0;
    let selector = json!({"StartSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": at});
    let mut media = get_media(&server, "gate", selector).await;
    assert_eq!(media.whole(1).await[0].number(), all[50].number);
    drop(media);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_is_gone_and_its_tokens_still_hold() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    server.ahead_ms.store(-2 * HOUR_MS, Ordering::Relaxed);
    let (stream, mut producer) = filled(&server, 5, 1000).await;
    producer.start = now();
    let all = stream.latest(100).await.unwrap();
    let mut waiting = get_media(&server, "gate", json!({"StartSelectorType": "EARLIEST"})).await;
    assert_eq!(waiting.whole(5).await.len(), 5);

    server.ahead_ms.store(0, Ordering::Relaxed);
    server.store.set_retention(&"gate".parse().unwrap(), Some(1)).await.unwrap();
    for _ in 0..100 {
        if numbers(&server, json!({"StreamName": "gate"})).await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(numbers(&server, json!({"StreamName": "gate"})).await.is_empty(), "expired");

    // A number that must be there is missed, a token is not; and there is nothing yet to begin at.
    let expired = json!({"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": all[1].number.to_string()});
    let missed = get_media(&server, "gate", expired.clone()).await.rest().await;
    assert_eq!(missed[0].before["AWS_KINESISVIDEO_ERROR_ID"], "4000");
    let mut by_token = get_media(&server, "gate", token(&all[1])).await;
    let mut earliest = get_media(&server, "gate", json!({"StartSelectorType": "EARLIEST"})).await;
    assert!(by_token.is_silent().await && earliest.is_silent().await);
    producer.put(77).await;
    for media in [&mut by_token, &mut earliest] {
        assert_eq!(fills(&media.whole(1).await), [77]);
    }
    assert_eq!(fills(&waiting.whole(6).await)[5], 77, "who waited goes on");
    let missed = get_media(&server, "gate", expired).await.rest().await;
    assert_eq!(missed[0].before["AWS_KINESISVIDEO_ERROR_ID"], "4000");
    drop((by_token, earliest, waiting));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_the_same_name_does_not_know_the_tokens_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let (stream, _) = filled(&server, 3, 1000).await;
    let old = stream.latest(1).await.unwrap()[0].clone();
    let arn = server.root("POST", "/describeStream", Some(json!({"StreamName": "gate"}))).await.json();
    let arn = arn["StreamInfo"]["StreamARN"].as_str().unwrap().to_owned();
    server.store.delete_stream(&"gate".parse().unwrap()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let stream = server.stream("gate").await;
    let missed = get_media(&server, "gate", token(&old)).await.rest().await;
    assert_eq!(missed[0].before["AWS_KINESISVIDEO_ERROR_ID"], "4000");
    let by_arn = json!({"StreamARN": arn, "StartSelector": {"StartSelectorType": "EARLIEST"}});
    assert_eq!(server.root("POST", "/getMedia", Some(by_arn)).await.status, 404, "the ARN is the old one's");
    let listed = server.root("POST", "/listFragments", Some(json!({"StreamARN": arn}))).await;
    assert_eq!(listed.status, 404);

    // The ARN of the new one names it.
    Producer::new(&stream, 1000).put(9).await;
    let arn = server.root("POST", "/describeStream", Some(json!({"StreamName": "gate"}))).await.json();
    let arn = arn["StreamInfo"]["StreamARN"].clone();
    let body = json!({"StreamARN": arn, "StartSelector": {"StartSelectorType": "EARLIEST"}});
    let mut media = Media::ask(&server, "/getMedia", &body).await;
    assert_eq!(fills(&media.whole(1).await), [9]);
    drop(media);
    let number = numbers(&server, json!({"StreamARN": arn})).await;
    assert_eq!(number.len(), 1);
    let mut media =
        Media::ask(&server, "/getMediaForFragmentList", &json!({"StreamARN": arn, "Fragments": number})).await;
    assert_eq!(fills(&media.rest().await), [9]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_ends_when_its_credentials_do() {
    // The tests of keys make them; root's session is enough here: signing out ends what it opened.
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    filled(&server, 1, 1000).await;
    let body = json!({"access_key_id": common::KEY, "secret_access_key": common::SECRET});
    let signed_in = server.send("POST", "/v1/session", &[], Some(body)).await;
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().split_once('=').unwrap().1.to_owned();
    let bearer = format!("Bearer {cookie}");
    let body = json!({"StreamName": "gate", "StartSelector": {"StartSelectorType": "EARLIEST"}});
    let mut media = Media::ask_as(&server, "/getMedia", &bearer, &body).await;
    assert_eq!(media.status, 200);
    media.whole(1).await;
    let out = server.send("DELETE", "/v1/session", &[("authorization", &bearer)], None).await;
    assert_eq!(out.status, 204);
    assert!(media.ends_within(Duration::from_secs(15)).await, "the credentials are looked at every ten seconds");
    server.stop().await;
}

/// Flips a byte in the middle of the run of bytes that fills a fragment.
fn damage(data: &std::path::Path, fill: u8) {
    for file in std::fs::read_dir(data.join("segments")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(5000).position(|w| w.iter().all(|b| *b == fill)) {
            bytes[at + 2500] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("no such fragment");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_fragment_is_never_sent() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    filled(&server, 4, 20_000).await;
    server.stop().await;
    damage(folder.path(), 2);
    let server = Server::start(folder.path()).await;
    let all = numbers(&server, json!({"StreamName": "gate"})).await;
    assert_eq!(all.len(), 4);
    let body = json!({"StreamName": "gate", "Fragments": all});
    let rest = Media::ask(&server, "/getMediaForFragmentList", &body).await.rest().await;
    assert_eq!(fills(&rest), [0, 1]);
    assert_eq!(rest[1].after["AWS_KINESISVIDEO_ERROR_ID"], "5000");
    assert_eq!(rest[1].after["AWS_KINESISVIDEO_FRAGMENT_NUMBER"], all[2]);
    // From then on it is left out.
    let listed = numbers(&server, json!({"StreamName": "gate"})).await;
    assert_eq!(listed, [&all[..2], &all[3..]].concat());
    let mut media = get_media(&server, "gate", json!({"StartSelectorType": "EARLIEST"})).await;
    assert_eq!(fills(&media.whole(3).await), [0, 1, 3]);
    server.stop().await;
}
