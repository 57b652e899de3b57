//! GetMedia and GetMediaForFragmentList: the producer's own bytes come back, from wherever a client wants them.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{
    Server,
    consumer::{Media, consumed, documents, fills, get_media},
    h264_header, now,
    producer::{Producer, shared, store_file},
    push::Pusher,
    record, take,
};
use media::{Header, Start, UnixMillis, mkv};
use serde_json::{Value, json};
use std::time::Duration;

const FIXTURES: [(&str, usize); 4] = [
    ("kvssink-h264-session.mkv", 18),
    ("output_get_media.mkv", 5),
    ("output-get-media-non-increasing-timecode.mkv", 11),
    ("test_mixed_tags.mkv", 10),
];

/// A header with a known Segment size, as of a file, and what follows of it once its Segment is endless.
fn producers_header(document: &[u8], header: &Header) {
    assert_eq!(mkv::parse_header(&document.to_vec().into()).unwrap().tracks, header.tracks);
}

#[tokio::test(flavor = "multi_thread")]
async fn fixtures_of_real_producers_come_back_byte_for_byte() {
    for (name, count) in FIXTURES {
        let Some(file) = shared(&format!("kvs/fixtures/{name}")) else { return };
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path()).await;
        let stream = server.stream("gate").await;
        let header = mkv::parse_header(&file).unwrap();
        let stored = store_file(&stream, file, now().plus(-60_000)).await;
        assert_eq!(stored.len(), count, "{name}");

        let mut media = get_media(&server, "gate", json!({"StartSelectorType": "EARLIEST"})).await;
        let live = media.whole(count).await;
        assert_eq!(live, consumed(&media.bytes), "{name}");
        producers_header(&live[0].header, &header);
        let came: Vec<_> = live.iter().map(|d| (d.lead.clone(), d.cluster.clone())).collect();
        assert!(came == stored, "{name}: clusters and tags are those that came in");

        let body = json!({"StreamName": "gate", "MaxResults": 1000});
        let listed = server.root("POST", "/listFragments", Some(body)).await.json();
        let numbers: Vec<_> =
            listed["Fragments"].as_array().unwrap().iter().map(|f| f["FragmentNumber"].clone()).collect();
        let body = json!({"StreamName": "gate", "Fragments": numbers});
        let mut media = Media::ask(&server, "/getMediaForFragmentList", &body).await;
        assert_eq!((media.status.as_u16(), &media.headers["content-type"]), (200, &"video/webm".parse().unwrap()));
        let rest = media.rest().await;
        assert_eq!(rest.len(), count);
        for (one, other) in rest.iter().zip(&live) {
            assert_eq!((&one.header, &one.lead, &one.cluster), (&other.header, &other.lead, &other.cluster));
            let side = &one.before["AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP"];
            assert_eq!(*side, other.before["AWS_KINESISVIDEO_SERVER_TIMESTAMP"]);
        }
        consumed(&media.bytes);

        // Not out of memory either.
        server.stop().await;
        let server = Server::start(folder.path()).await;
        let mut media = get_media(&server, "gate", json!({"StartSelectorType": "EARLIEST"})).await;
        let read: Vec<_> = media.whole(count).await.into_iter().map(|d| (d.lead, d.cluster)).collect();
        assert!(read == stored, "{name}: from the disk");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_put_media_takes_is_what_get_media_gives_while_it_comes_and_afterwards() {
    for (name, count) in FIXTURES {
        let Some(file) = shared(&format!("kvs/fixtures/{name}")) else { return };
        let clusters: Vec<_> = mkv::pieces(&file)
            .filter_map(|piece| match piece {
                Ok(mkv::Piece::Cluster(cluster)) => Some(cluster.to_vec()),
                _ => None,
            })
            .collect();
        assert_eq!(clusters.len(), count, "{name}");
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path()).await;
        server.stream("gate").await;
        let mut live = get_media(&server, "gate", json!({"StartSelectorType": "NOW"})).await;
        let mut pusher = Pusher::start(server.address, "gate", &[]).await;
        for chunk in file.chunks(7919) {
            assert!(pusher.send(chunk).await, "{name}");
        }
        pusher.end().await;
        let acks = pusher.rest().await;
        let numbers: Vec<_> = acks.iter().filter(|ack| ack["EventType"] == "PERSISTED").collect();
        assert_eq!(numbers.len(), count, "{name}: {acks:?}");

        let came = live.whole(count).await;
        let mut again = get_media(&server, "gate", json!({"StartSelectorType": "EARLIEST"})).await;
        for documents in [came, again.whole(count).await] {
            for ((document, cluster), ack) in documents.iter().zip(&clusters).zip(&numbers) {
                assert!(document.cluster == *cluster, "{name}: byte for byte");
                assert_eq!(document.number().to_string(), ack["FragmentNumber"].as_str().unwrap(), "{name}");
            }
        }
        consumed(&live.bytes);
        drop((live, again));
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_selector_starts_where_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    let mut began = take(10, 1000);
    // On a clock of the producer's own, so that the two are told apart.
    began.start = began.start.plus(-3_600_000);
    record(&stream, &began).await;
    let all =
        stream.fragments(store::Range { from: UnixMillis(0), to: now() }, store::Position::Start, 100).await.unwrap();
    assert_eq!(all.len(), 10);
    let first_of = async |selector: Value| get_media(&server, "gate", selector).await.whole(1).await[0].number();
    let seconds = |at: UnixMillis| at.0 as f64 / 1000.0;

    assert_eq!(first_of(json!({"StartSelectorType": "EARLIEST"})).await, all[0].number);
    assert_eq!(first_of(json!({"StartSelectorType": "NOW"})).await, all[9].number);
    let after = all[3].number.to_string();
    let selector = json!({"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": after});
    assert_eq!(first_of(selector).await, all[4].number);
    let selector = json!({"StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": after});
    assert_eq!(first_of(selector).await, all[4].number);
    for (offset, index) in [(0, 6), (999, 6), (-1, 5), (-3_600_000, 0)] {
        let at = seconds(all[6].producer_start.plus(offset));
        let selector = json!({"StartSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": at});
        assert_eq!(first_of(selector).await, all[index].number, "{offset}");
    }
    let at = seconds(all[0].server_start.plus(-1000));
    let selector = json!({"StartSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": at});
    assert_eq!(first_of(selector).await, all[0].number, "none contains it: the next later one");

    // What is yet to come is waited for.
    let at = seconds(all[9].producer_start.plus(2500));
    let selector = json!({"StartSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": at});
    let mut media = get_media(&server, "gate", selector).await;
    assert!(media.is_silent().await);
    let mut more = take(3, 1000);
    more.start = all[9].producer_start.plus(1000);
    record(&stream, &more).await;
    let start = &media.whole(1).await[0].before["AWS_KINESISVIDEO_PRODUCER_TIMESTAMP"];
    assert_eq!(*start, format!("{:.3}", seconds(all[9].producer_start.plus(2000))));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_header_comes_before_its_fragment_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    let mut media = get_media(&server, "gate", json!({"StartSelectorType": "NOW"})).await;
    assert!(media.is_silent().await, "an empty stream is waited on");
    let mut producer = Producer::new(&stream, 1000);
    producer.put(1).await;
    media.whole(1).await;
    assert!(media.is_silent().await);
    let so_far = media.bytes.len();

    // The next begins: its header tells consumers that the one before is complete.
    let start = Start { header: producer.header.clone(), producer_start: producer.start, cause: None };
    producer.writer.begin(start).await.unwrap();
    let header = media.piece().await.unwrap();
    assert_eq!(header, media::mkv::document_start(&producer.header).to_bytes());
    assert!(media.is_silent().await, "once");

    // It is given up, and others come: still the one document.
    producer.writer.abandon();
    for fill in 2..5 {
        producer.put(fill).await;
    }
    let whole = media.whole(4).await;
    assert_eq!(media.bytes[so_far..].windows(4).filter(|w| *w == [0x1A, 0x45, 0xDF, 0xA3]).count(), 3);
    assert_eq!(consumed(&media.bytes), whole);
    for (document, fill) in whole.iter().zip(1..) {
        assert_eq!(document.lead, mkv::write_tags(&[("fill", fill.to_string())]));
        assert_eq!(document.cluster[document.cluster.len() - 1000..], [fill; 1000]);
    }

    // Under another header a document of its own begins.
    producer.header = h264_header(1);
    producer.put(9).await;
    let whole = media.whole(5).await;
    assert_eq!(whole[4].header, mkv::document_start(&producer.header).to_bytes());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_with_its_token_and_a_slow_one_misses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    let mut producer = Producer::new(&stream, 1 << 20);
    producer.put(0).await;
    let mut media = get_media(&server, "gate", json!({"StartSelectorType": "NOW"})).await;
    let mut last = media.whole(1).await.pop().unwrap();
    // Far more than the sockets and the tail hold, while nobody reads.
    for fill in 1..40 {
        producer.put(fill).await;
    }
    let whole = media.whole(20).await;
    let seen = fills(&whole);
    assert_eq!(seen, (0..seen.len() as u8).collect::<Vec<_>>());
    last.clone_from(whole.last().unwrap());
    drop(media);
    let token = &last.after["AWS_KINESISVIDEO_CONTINUATION_TOKEN"];
    let selector = json!({"StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": token});
    let mut media = get_media(&server, "gate", selector).await;
    let rest = media.whole(40 - seen.len()).await;
    assert_eq!(fills(&rest), (seen.len() as u8..40).collect::<Vec<_>>());
    consumed(&media.bytes);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_in_tags() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    record(&stream, &take(2, 1000)).await;
    let all = stream.latest(2).await.unwrap();
    let missing = media::FragmentNumber::new(all[1].number.counter() + 5000, 0, 0).to_string();
    for selector in [
        json!({"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": missing}),
        json!({"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": "12"}),
        json!({"StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": missing}),
    ] {
        let mut media = get_media(&server, "gate", selector).await;
        let [document] = &media.rest().await[..] else { panic!("one document") };
        assert_eq!(document.before["AWS_KINESISVIDEO_ERROR_ID"], "4000");
        assert_eq!(document.before["AWS_KINESISVIDEO_ERROR_CODE"], "Requested fragment is not found");
        assert!(document.cluster.is_empty());
    }
    let numbers = [&all[1].number.to_string(), &missing, &all[0].number.to_string()];
    let body = json!({"StreamName": "gate", "Fragments": numbers});
    let mut media = Media::ask(&server, "/getMediaForFragmentList", &body).await;
    let [document] = &media.rest().await[..] else { panic!("one document") };
    assert_eq!(document.number(), all[1].number);
    assert!(!document.cluster.is_empty());
    assert_eq!(document.after["AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE"], "4000");
    assert_eq!(document.after["AWS_KINESISVIDEO_FRAGMENT_NUMBER"], missing);

    // A token of what has been deleted since goes on behind it.
    let token = all[0].number.to_string();
    let answer = server.root("DELETE", &range_of(&all[0]), None).await;
    assert_eq!((answer.status.as_u16(), answer.json()["fragments"].as_u64()), (200, Some(1)), "{}", answer.text());
    let selector = json!({"StartSelectorType": "CONTINUATION_TOKEN", "ContinuationToken": token});
    let mut media = get_media(&server, "gate", selector).await;
    assert_eq!(media.whole(1).await[0].number(), all[1].number);

    // The stream is deleted under the client: the answer ends.
    let deleted = server.root("DELETE", "/v1/streams/gate", None).await;
    assert_eq!(deleted.status, 204);
    assert_eq!(media.rest().await.len(), 1);
    server.stop().await;
}

fn range_of(meta: &media::FragmentMeta) -> String {
    let (from, to) = (meta.producer_start.0, meta.producer_start.0 + i64::from(meta.duration_ms));
    format!("/v1/streams/gate/fragments?from={from}&to={to}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_client_does_not_hold_the_stop_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    record(&stream, &take(1, 1000)).await;
    let mut media = get_media(&server, "gate", json!({"StartSelectorType": "NOW"})).await;
    media.whole(1).await;
    assert!(server.stop().await < Duration::from_millis(700));
    assert_eq!(media.rest().await.len(), 1, "ended, not broken off");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    server.stream("gate").await;
    let selector = json!({"StartSelectorType": "NOW"});
    let cases = [
        (json!({"StreamName": "door", "StartSelector": selector}), 404, "ResourceNotFoundException", "door"),
        (json!({"StartSelector": selector}), 400, "InvalidArgumentException", "StreamName"),
        (json!({"StreamName": "gate"}), 400, "InvalidArgumentException", "StartSelector"),
        (json!({"StreamName": "gate", "StartSelector": {}}), 400, "InvalidArgumentException", "StartSelectorType"),
        (with(json!({"StartSelectorType": "LATEST"})), 400, "InvalidArgumentException", "StartSelectorType"),
        (with(json!({"StartSelectorType": "FRAGMENT_NUMBER"})), 400, "InvalidArgumentException", "AfterFragmentNumber"),
        (
            with(json!({"StartSelectorType": "FRAGMENT_NUMBER", "AfterFragmentNumber": "x"})),
            400,
            "InvalidArgumentException",
            "AfterFragmentNumber",
        ),
        (with(json!({"StartSelectorType": "SERVER_TIMESTAMP"})), 400, "InvalidArgumentException", "StartTimestamp"),
        (
            with(json!({"StartSelectorType": "CONTINUATION_TOKEN"})),
            400,
            "InvalidArgumentException",
            "ContinuationToken",
        ),
    ];
    for (body, status, kind, word) in cases {
        let answer = server.root("POST", "/getMedia", Some(body.clone())).await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
        assert!(answer.header("x-amzn-errortype").starts_with(kind), "{body}: {}", answer.header("x-amzn-errortype"));
        let message = answer.json()["Message"].as_str().unwrap().to_owned();
        assert!(message.contains(word) || status == 404, "{message}");
    }
    let none = server.send("POST", "/getMedia", &[], Some(json!({"StreamName": "gate"}))).await;
    assert!(none.status == 401 || none.status == 403, "{}", none.status);
    assert!(documents(&none.body).is_empty());
    server.stop().await;
}

fn with(selector: Value) -> Value {
    json!({"StreamName": "gate", "StartSelector": selector})
}
