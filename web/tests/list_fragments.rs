//! ListFragments, and the native deletion of a time range.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{Answer, Server, now, record, take};
use media::UnixMillis;
use serde_json::{Value, json};
use std::collections::HashSet;

async fn list(server: &Server, body: Value) -> Answer {
    server.root("POST", "/listFragments", Some(body)).await
}

/// All pages of a listing, each as its numbers.
async fn pages(server: &Server, mut body: Value) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let answer = list(server, body.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = answer.json();
        let numbers = page["Fragments"].as_array().unwrap().iter();
        pages.push(numbers.map(|f| f["FragmentNumber"].as_str().unwrap().to_owned()).collect());
        match page.get("NextToken") {
            None => return pages,
            Some(token) => body["NextToken"] = token.clone(),
        }
    }
}

fn refusal(answer: &Answer) -> (u16, String, String) {
    let kind = answer.header("x-amzn-errortype").split(':').next().unwrap_or_default().to_owned();
    (answer.status.as_u16(), kind, answer.json()["Message"].as_str().unwrap_or_default().to_owned())
}

fn between(by: &str, from: UnixMillis, to: UnixMillis) -> Value {
    let seconds = |at: UnixMillis| at.0 as f64 / 1000.0;
    let range = json!({"StartTimestamp": seconds(from), "EndTimestamp": seconds(to)});
    json!({"FragmentSelectorType": by, "TimestampRange": range})
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_one_another_and_hold_each_fragment_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    assert_eq!(list(&server, json!({"StreamName": "gate"})).await.json(), json!({"Fragments": []}));
    record(&stream, &take(30, 1000)).await;
    let all = stream.latest(100).await.unwrap();
    let numbers: Vec<_> = all.iter().map(|m| m.number.to_string()).collect();
    for selector in [Value::Null, between("SERVER_TIMESTAMP", UnixMillis(0), now())] {
        for (page, count) in [(1, 30), (7, 5), (10, 3), (29, 2), (30, 1), (1000, 1)] {
            let body = json!({"StreamName": "gate", "MaxResults": page, "FragmentSelector": selector});
            let pages = pages(&server, body).await;
            assert_eq!((pages.len(), pages.concat()), (count, numbers.clone()), "pages of {page}");
        }
    }
    let first = list(&server, json!({"StreamName": "gate", "MaxResults": 1})).await.json()["Fragments"][0].clone();
    let seconds = |at: UnixMillis| at.0 as f64 / 1000.0;
    let expected = json!({
        "FragmentNumber": numbers[0], "FragmentSizeInBytes": all[0].bytes, "FragmentLengthInMilliseconds": 1000,
        "ProducerTimestamp": seconds(all[0].producer_start), "ServerTimestamp": seconds(all[0].server_start),
    });
    assert_eq!(first, expected);

    // Fragments that come in between pages do not shift them, and a token may stand alone.
    let body = json!({"StreamName": "gate", "MaxResults": 20, "FragmentSelector": between("PRODUCER_TIMESTAMP", UnixMillis(0), now())});
    let page = list(&server, body).await.json();
    record(&stream, &take(3, 1000)).await;
    let rest = list(&server, json!({"StreamName": "gate", "NextToken": page["NextToken"]})).await.json();
    let seen: HashSet<_> = [&page, &rest]
        .iter()
        .flat_map(|p| p["Fragments"].as_array().unwrap())
        .map(|f| f["FragmentNumber"].to_string())
        .collect();
    assert!(numbers.iter().all(|number| seen.contains(&format!("\"{number}\""))));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_holds_both_its_ends_by_either_clock() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    let mut old = take(5, 1000);
    old.start = old.start.plus(-7_200_000);
    record(&stream, &old).await;
    let all = stream.latest(100).await.unwrap();
    let found = async |by: &str, from: UnixMillis, to: UnixMillis| {
        let body = json!({"StreamName": "gate", "FragmentSelector": between(by, from, to)});
        pages(&server, body).await.concat().len()
    };
    let producer = all[2].producer_start;
    assert_eq!(found("PRODUCER_TIMESTAMP", producer, producer).await, 1);
    assert_eq!(found("PRODUCER_TIMESTAMP", producer.plus(1), producer.plus(999)).await, 0, "begins outside");
    assert_eq!(found("PRODUCER_TIMESTAMP", producer, producer.plus(1000)).await, 2);
    let (first, last) = (all[0].server_start, all[4].server_start);
    assert_eq!(found("SERVER_TIMESTAMP", first, last).await, 5);
    assert_eq!(found("PRODUCER_TIMESTAMP", first, last).await, 0, "the clocks are two hours apart");
    assert_eq!(found("SERVER_TIMESTAMP", last.plus(1), last.plus(1)).await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_for_their_listing_and_streams_that_keep_nothing_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    for name in ["gate", "door"] {
        record(&server.stream(name).await, &take(3, 1000)).await;
    }
    let selector = between("SERVER_TIMESTAMP", UnixMillis(0), now());
    let body = json!({"StreamName": "gate", "MaxResults": 1, "FragmentSelector": selector});
    let token = list(&server, body.clone()).await.json()["NextToken"].clone();
    let other = between("PRODUCER_TIMESTAMP", UnixMillis(0), now());
    let wrong = [
        json!({"StreamName": "door", "NextToken": token}),
        json!({"StreamName": "gate", "NextToken": token, "FragmentSelector": other}),
        json!({"StreamName": "gate", "NextToken": "AAAA"}),
        json!({"StreamName": "gate", "NextToken": ""}),
        json!({"StreamName": "gate", "MaxResults": 0}),
        json!({"StreamName": "gate", "MaxResults": 1001}),
        json!({"StreamName": "gate", "FragmentSelector": between("SERVER_TIMESTAMP", UnixMillis(2), UnixMillis(1))}),
        json!({"StreamName": "gate", "FragmentSelector": between("ARRIVAL", UnixMillis(0), UnixMillis(1))}),
    ];
    for body in wrong {
        let (status, kind, message) = refusal(&list(&server, body.clone()).await);
        assert_eq!((status, &*kind), (400, "InvalidArgumentException"), "{body}: {message}");
    }
    let (status, kind, _) = refusal(&list(&server, json!({"StreamName": "cellar"})).await);
    assert_eq!((status, &*kind), (404, "ResourceNotFoundException"));

    let name = "live".parse().unwrap();
    let live = server.store.create_stream(&name, Some(0)).await.unwrap();
    record(&live, &take(1, 1000)).await;
    let number = live.latest(1).await.unwrap()[0].number.to_string();
    for (path, body) in [
        ("/listFragments", json!({"StreamName": "live"})),
        ("/getMediaForFragmentList", json!({"StreamName": "live", "Fragments": [number]})),
    ] {
        let (status, kind, message) = refusal(&server.root("POST", path, Some(body)).await);
        assert_eq!((status, &*kind), (400, "NoDataRetentionException"), "{message}");
    }
    let body = json!({"StreamName": "live", "StartSelector": {"StartSelectorType": "NOW"}});
    let mut media = common::consumer::Media::ask(&server, "/getMedia", &body).await;
    assert_eq!(media.whole(1).await[0].number().to_string(), number, "out of the buffer");
    drop(media);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_has_expired_is_empty_or_refused_as_configured() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    server.store.create_stream(&"gate".parse().unwrap(), Some(1)).await.unwrap();
    let (from, to) = (now().plus(-9_000_000), now().plus(-4_000_000));
    let body = json!({"StreamName": "gate", "FragmentSelector": between("SERVER_TIMESTAMP", from, to)});
    let said = format!("End timestamp {} is outside of the stream retention period.", to.0);
    let answer = list(&server, body.clone()).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-vidicon-warning")), (200, &*said));
    assert_eq!(answer.json(), json!({"Fragments": []}));
    let within = json!({"StreamName": "gate", "FragmentSelector": between("SERVER_TIMESTAMP", from, now())});
    assert_eq!(list(&server, within).await.header("x-vidicon-warning"), "");
    server.stop().await;

    let strict = web::AwsConfig { refuse_expired_ranges: true, ..web::AwsConfig::default() };
    let server = Server::start_with(folder.path(), common::SECRET, strict).await;
    let (status, kind, message) = refusal(&list(&server, body).await);
    assert_eq!((status, &*kind, message), (400, "InvalidArgumentException", said));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_range_is_deleted_and_the_rest_stays() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    record(&stream, &take(10, 1000)).await;
    let all = stream.latest(100).await.unwrap();
    let path = |from: i64, to: i64| format!("/v1/streams/gate/fragments?from={from}&to={to}");
    for wrong in ["/v1/streams/gate/fragments", "/v1/streams/gate/fragments?from=0", &path(5, 5), &path(-1, 5)] {
        assert_eq!(server.root("DELETE", wrong, None).await.status, 400, "{wrong}");
    }
    assert_eq!(server.root("DELETE", &path(0, 1).replace("gate", "door"), None).await.status, 404);
    let (from, to) = (all[3].producer_start.0 + 1, all[6].producer_start.0);
    let deleted = server.root("DELETE", &path(from, to), None).await.json();
    let bytes: u64 = all[3..6].iter().map(|m| u64::from(m.bytes)).sum();
    assert_eq!(deleted, json!({"fragments": 3, "bytes": bytes}), "those that reach into it");
    let left = pages(&server, json!({"StreamName": "gate"})).await.concat();
    let expected: Vec<_> = all[..3].iter().chain(&all[6..]).map(|m| m.number.to_string()).collect();
    assert_eq!(left, expected);
    let gone = format!("/v1/streams/gate/fragments/{}", all[4].number);
    assert_eq!(server.root("GET", &gone, None).await.status, 404);
    let timeline = server.root("GET", "/v1/streams/gate/timeline", None).await.json();
    let gaps: Vec<_> =
        timeline["gaps"].as_array().unwrap().iter().map(|g| (g["start"].as_i64(), g["end"].as_i64())).collect();
    assert!(gaps.contains(&(Some(all[3].producer_start.0), Some(to))), "{gaps:?}");
    assert_eq!(server.root("DELETE", &path(from, to), None).await.json(), json!({"fragments": 0, "bytes": 0}));
    server.stop().await;
}
