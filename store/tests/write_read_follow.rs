//! The way of a fragment: written, durable, read, followed.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::*;
use media::{Cause, Event, UnixMillis};
use std::time::Duration;
use store::{Followed, Follower, Kind, Notice, Offer, Position, Range, Start, Store};
use tokio::time::timeout;

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };

#[tokio::test]
async fn what_was_written_is_read_from_the_tail_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut notices = store.notices();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    assert!(matches!(notices.recv().await.unwrap(), Notice::Streams));
    let mut writer = stream.writer();
    let mut metas = Vec::new();
    for i in 0..5 {
        metas.push(record(&mut writer, fragment(&header(1280), T0 + i * 1000, 10, 1000, None)).await);
    }
    assert_eq!(metas[0].cause, Some(Cause::Start));
    assert_eq!(metas[1].cause, None);
    assert!(metas.iter().all(|m| m.duration_ms == 1000 && m.frames == 10), "{metas:?}");
    assert!(metas.windows(2).all(|w| w[0].number < w[1].number));
    assert!(matches!(notices.recv().await.unwrap(), Notice::Persisted(n, m) if n == name("gate") && m == metas[0]));
    assert_eq!(stream.latest(3).await.unwrap(), metas[2..]);
    assert_eq!(stream.fragments(ALL, Position::Start, 100).await.unwrap(), metas);
    assert_eq!(stream.fragments(ALL, Position::After(metas[1].number), 2).await.unwrap(), metas[2..4]);
    let range = Range { from: UnixMillis(T0 + 1500), to: UnixMillis(T0 + 3000) };
    assert_eq!(stream.fragments(range, Position::Start, 100).await.unwrap(), metas[1..3]);
    let live = stream.fragment(metas[2].number).await.unwrap();
    assert_eq!(live.frames().unwrap().len(), 10);
    let stats = stream.stats();
    assert_eq!(stats.queued_bytes, 0);
    assert_eq!(stats.key_interval_ms, Some(1000));
    assert_eq!(stats.description.as_deref(), Some("avc1.64001f 1280x720"));
    drop(writer);
    store.stop().await.unwrap();
    assert_eq!(stream.writer().write(Event::End).await.err().unwrap().kind(), Kind::Unavailable);

    let store = open(dir.path()).await;
    let stream = store.stream(&name("gate")).unwrap();
    assert_eq!(stream.latest(9).await.unwrap(), metas);
    let stored = stream.fragment(metas[2].number).await.unwrap();
    assert_eq!(stored.cluster.to_bytes(), live.cluster.to_bytes());
    assert_eq!(stored.header, live.header);
    let next = record(&mut stream.writer(), fragment(&header(1280), T0 + 9000, 10, 1000, None)).await;
    assert_eq!(next.cause, Some(Cause::ServerStopped));
    assert!(next.number > metas[4].number);
    let spans = stream.coverage(ALL, 10).await.unwrap();
    let seen: Vec<_> = spans.iter().map(|s| (s.start.0 - T0, s.end.0 - T0, s.fragments, s.cause)).collect();
    assert_eq!(seen, [(0, 5000, 5, Some(Cause::Start)), (9000, 10_000, 1, Some(Cause::ServerStopped))]);
    store.stop().await.unwrap();
}

async fn next_frame(follower: &mut Follower) -> (u64, u32) {
    match timeout(Duration::from_secs(5), follower.next()).await.expect("a frame in time") {
        Some(Followed::Frame(frame)) => (frame.fragment.number.counter(), frame.index),
        other => panic!("no frame but {other:?}"),
    }
}

#[tokio::test]
async fn a_follower_starts_at_the_open_fragment_s_key_frame_without_gap_or_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.writer();
    record(&mut writer, fragment(&header(1280), T0, 10, 100, None)).await;
    let events = fragment(&header(1280), T0 + 1000, 10, 100, None);
    write_all(&mut writer, events[..5].to_vec()).await.unwrap();
    let mut follower = stream.follow();
    write_all(&mut writer, events[5..].to_vec()).await.unwrap();
    for index in 0..10 {
        assert_eq!(next_frame(&mut follower).await, (2, index));
    }
    // The end of one fragment and the beginning of the next bring no frame.
    assert!(timeout(Duration::from_millis(20), follower.next()).await.is_err());
    write_all(&mut writer, fragment(&header(1280), T0 + 2000, 1, 100, None)).await.unwrap();
    assert_eq!(next_frame(&mut follower).await, (3, 0));
    store.stop().await.unwrap();
    assert!(follower.next().await.is_none());
}

#[tokio::test]
async fn a_slow_follower_skips_to_a_key_frame_and_never_slows_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.writer();
    write_all(&mut writer, fragment(&header(1280), T0, 10, 100, None)).await.unwrap();
    let mut follower = {
        let events = fragment(&header(1280), T0 + 1000, 10, 100, None);
        write_all(&mut writer, events[..2].to_vec()).await.unwrap();
        let follower = stream.follow();
        write_all(&mut writer, events[2..].to_vec()).await.unwrap();
        follower
    };
    for i in 2..402 {
        write_all(&mut writer, fragment(&header(1280), T0 + i * 1000, 10, 100, None)).await.unwrap();
    }
    let Some(Followed::Skipped(skipped)) = follower.next().await else { panic!("nothing was skipped") };
    let (fragment, index) = next_frame(&mut follower).await;
    assert_eq!(index, 0);
    assert_eq!(skipped, (fragment - 2) * 10);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn a_fragment_whose_writer_goes_is_never_seen() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut follower = stream.follow();
    let mut lost = stream.writer();
    write_all(&mut lost, fragment(&header(1280), T0, 3, 100, None)[..3].to_vec()).await.unwrap();
    assert_eq!(next_frame(&mut follower).await, (1, 0));
    drop(lost);
    assert_eq!(stream.stats().queued_bytes, 0);
    let meta = record(&mut stream.writer(), fragment(&header(1280), T0 + 5000, 3, 100, None)).await;
    assert_eq!((meta.number.counter(), meta.cause), (2, Some(Cause::Start)), "the first that counts");
    assert_eq!(stream.fragments(ALL, Position::Start, 9).await.unwrap(), [meta]);
    assert_eq!(next_frame(&mut follower).await, (1, 1));
    assert_eq!(next_frame(&mut follower).await, (2, 0));
    store.stop().await.unwrap();
}

#[tokio::test]
async fn readers_wait_for_the_next_durable_fragment() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let waiting = tokio::spawn({
        let stream = stream.clone();
        async move {
            stream.wait_newer(None).await.unwrap();
            stream.latest(1).await.unwrap().pop().unwrap()
        }
    });
    let meta = record(&mut stream.writer(), fragment(&header(1280), T0, 3, 100, None)).await;
    assert_eq!(waiting.await.unwrap(), meta);
    let waiting = tokio::spawn({
        let stream = stream.clone();
        async move { stream.wait_newer(Some(meta.number)).await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!waiting.is_finished());
    store.delete_stream(&name("gate")).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), Kind::NotFound);
    assert_eq!(stream.fragment(meta.number).await.unwrap_err().kind(), Kind::NotFound);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_budget_drops_whole_groups_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = store::Config { stream_budget_bytes: 40_000, commit_interval_ms: 300, ..config(dir.path()) };
    let store = Store::open(config, system_clock()).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.writer();
    let mut offered = Vec::new();
    for i in 0..3 {
        for event in fragment(&header(1280), T0 + i * 1000, 10, 1500, None) {
            offered.push(writer.offer(event).unwrap());
        }
    }
    let mut durables: Vec<_> =
        offered.into_iter().filter_map(|o| if let Offer::Sealed(_, d) = o { Some(d) } else { None }).collect();
    assert_eq!(durables.len(), 1, "the second and third do not fit beside the first");
    assert_eq!(stream.stats().dropped_gops, 2);
    let first = durables.pop().unwrap().wait().await.unwrap();
    assert_eq!(stream.stats().queued_bytes, 0);
    let next = record(&mut writer, fragment(&header(1280), T0 + 3000, 10, 1500, None)).await;
    assert_eq!(next.cause, Some(Cause::Overload));
    assert!(next.number > first.number);
    // A producer that can wait is made to wait, and one whose fragment can never fit is told.
    for i in 4..8 {
        seal(&mut writer, fragment(&header(1280), T0 + i * 1000, 10, 1500, None)).await;
    }
    let error = write_all(&mut writer, fragment(&header(1280), T0 + 9000, 50, 1500, None)).await.err().unwrap();
    assert_eq!(error.kind(), Kind::LimitExceeded, "{error}");
    store.stop().await.unwrap();
    assert_eq!(stream.stats().dropped_gops, 2);
}

#[tokio::test]
async fn a_re_sent_fragment_is_shown_once() {
    // Invariant 7.
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.writer();
    let a = record(&mut writer, fragment(&header(1280), T0, 10, 100, None)).await;
    let b = record(&mut writer, fragment(&header(1280), T0 + 1000, 10, 100, None)).await;
    let again = record(&mut stream.writer(), fragment(&header(1280), T0 + 1000, 10, 100, None)).await;
    assert!(again.number > b.number);
    let expected = [a.clone(), again.clone()];
    assert_eq!(stream.fragments(ALL, Position::Start, 9).await.unwrap(), expected);
    assert_eq!(stream.fragments(ALL, Position::After(a.number), 9).await.unwrap(), expected[1..]);
    assert_eq!(stream.latest(9).await.unwrap(), expected);
    let spans = stream.coverage(ALL, 9).await.unwrap();
    assert_eq!((spans.len(), spans[0].fragments, spans[0].bytes), (1, 2, u64::from(a.bytes + again.bytes)));
    store.stop().await.unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.stream(&name("gate")).unwrap().latest(9).await.unwrap(), expected);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn a_number_of_one_stream_gives_nothing_of_another() {
    // Invariant 8.
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (a, b) =
        (store.create_stream(&name("a"), None).await.unwrap(), store.create_stream(&name("b"), None).await.unwrap());
    let of_a = record(&mut a.writer(), fragment(&header(1280), T0, 3, 100, None)).await;
    record(&mut b.writer(), fragment(&header(640), T0, 3, 100, None)).await;
    assert_eq!(b.fragment(of_a.number).await.unwrap_err().kind(), Kind::NotFound, "same counter, other number");
    assert_eq!(b.header(of_a.header).await.unwrap_err().kind(), Kind::NotFound);
    store.stop().await.unwrap();
    // Nor when the catalog is made to point at the other stream's record.
    let catalog = rusqlite::Connection::open(dir.path().join("catalog.sqlite")).unwrap();
    let stolen = "UPDATE fragments SET (segment, place, bytes, crc32c, header, random, server_start) =
        (SELECT segment, place, bytes, crc32c, header, random, server_start FROM fragments WHERE stream = 1) WHERE stream = 2;
        INSERT INTO headers SELECT 2, id, bytes FROM headers WHERE stream = 1";
    catalog.execute_batch(stolen).unwrap();
    catalog.close().unwrap();
    let report = store::check::check(dir.path(), store::check::CheckOptions::default()).unwrap();
    assert!(report.problems.iter().any(|(invariant, _)| *invariant == 8), "{report}");
    let store = open(dir.path()).await;
    assert!(store.stream(&name("a")).unwrap().fragment(of_a.number).await.is_ok());
    let error = store.stream(&name("b")).unwrap().fragment(of_a.number).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    store.stop().await.unwrap();
}

#[tokio::test]
async fn with_two_sessions_fragments_become_durable_in_the_order_of_their_numbers() {
    // Invariant 2.
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let (mut a, mut b) = (stream.writer(), stream.writer());
    let mut notices = store.notices();
    let first = fragment(&header(1280), T0, 3, 100, None);
    write_all(&mut a, first[..2].to_vec()).await.unwrap();
    let (second, durable) = seal(&mut b, fragment(&header(1280), T0 + 1000, 3, 100, None)).await;
    assert!(timeout(Duration::from_millis(50), notices.recv()).await.is_err(), "it waits for the first");
    let (first, _) = seal(&mut a, first[2..].to_vec()).await;
    assert!(first < second);
    durable.wait().await.unwrap();
    let mut order = Vec::new();
    for _ in 0..2 {
        if let Notice::Persisted(_, meta) = notices.recv().await.unwrap() {
            order.push(meta.number);
        }
    }
    assert_eq!(order, [first, second]);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn a_reader_that_goes_by_numbers_misses_nothing_of_sessions_that_overlap() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let reading = tokio::spawn({
        let stream = stream.clone();
        async move {
            let (mut after, mut seen) = (None, Vec::new());
            while seen.len() < 40 {
                stream.wait_newer(after).await.unwrap();
                let next = match after {
                    Some(number) => stream.next_after(number, 3).await.unwrap(),
                    None => stream.first(Start::Earliest).await.unwrap().into_iter().collect(),
                };
                seen.extend(next.iter().map(|meta| meta.number));
                after = seen.last().copied();
            }
            seen
        }
    });
    // A is long, B and C come and go meanwhile; each ends at another place among the others' fragments.
    let (mut a, mut b, mut c) = (stream.writer(), stream.writer(), stream.writer());
    let (mut began, mut waiting) = (Vec::new(), Vec::new());
    for round in 0..10 {
        let at = T0 + round * 10_000;
        let slow = fragment(&header(1280), at, 6, 100, None);
        write_all(&mut a, slow[..3].to_vec()).await.unwrap();
        began.push(a.open_number().unwrap());
        for n in 1..4 {
            let writer = if n == 2 { &mut c } else { &mut b };
            let (number, durable) = seal(writer, fragment(&header(1280), at + n * 1000, 3, 100, None)).await;
            began.push(number);
            waiting.push(durable);
        }
        waiting.push(seal(&mut a, slow[3..].to_vec()).await.1);
    }
    for durable in waiting {
        durable.wait().await.unwrap();
    }
    assert_eq!(timeout(Duration::from_secs(10), reading).await.unwrap().unwrap(), began);
    store.stop().await.unwrap();
}
