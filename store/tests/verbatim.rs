//! Clusters are kept as their producer sent them, and one that is sent again is stored once.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::sent::*;
use common::*;
use media::{Cause, Fragment, FragmentMeta, Frame, Start, UnixMicros, UnixMillis};
use store::{Kind, MAX_LEAD_BYTES, Offer, Position, Range, Store, Stream, Verbatim};

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };

fn prove(fragment: &Fragment, meta: &FragmentMeta, sent: &Sent) {
    assert_eq!(fragment.meta, *meta);
    assert_eq!(fragment.lead, sent.verbatim.lead);
    assert_eq!(fragment.cluster.to_bytes(), sent.verbatim.cluster.to_bytes());
    assert_eq!(fragment.header, sent.start.header);
    assert_eq!(fragment.to_mkv().to_bytes(), [&sent.start.header.bytes[..], &sent.bytes()].concat());
    assert_eq!(fragment.frames().unwrap(), sent.frames);
}

#[tokio::test]
async fn they_come_back_bit_for_bit_from_the_tail_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.verbatim_writer();
    let mut all = Vec::new();
    for i in 0..5 {
        let mut one = sent(1280 + i as u32 % 2, T0 + i * 1000, 10, 1000 + i as usize);
        if i == 3 {
            one.verbatim.lead = Default::default();
        }
        let meta = store_new(&mut writer, &one).await;
        assert_eq!((meta.bytes as usize, meta.lead_bytes as usize), (one.bytes().len(), one.verbatim.lead.len()));
        assert_eq!((meta.crc32c, meta.frames, meta.duration_ms), (crc32c::crc32c(&one.bytes()), 10, 1000));
        assert_eq!(meta.producer_start, one.start.producer_start);
        assert_eq!((meta.number.counter(), meta.cause), (i as u64 + 1, (i == 0).then_some(Cause::Start)));
        prove(&stream.fragment(meta.number).await.unwrap(), &meta, &one);
        all.push((meta, one));
    }
    assert_eq!(stream.stats().queued_bytes, 0);
    // A camera's clusters stand beside them.
    let other = record(&mut stream.writer(), fragment(&header(1280), T0 + 5000, 3, 100, None)).await;
    assert_eq!((other.number.counter(), other.lead_bytes), (6, 0));
    drop(writer);
    store.stop().await.unwrap();

    let report = store::check::check(dir.path(), Default::default()).unwrap();
    assert!(report.is_clean(), "{report}");
    let store = open(dir.path()).await;
    let stream = store.stream(&name("gate")).unwrap();
    for (meta, one) in &all {
        prove(&stream.fragment(meta.number).await.unwrap(), meta, one);
    }
    assert_eq!(stream.fragment(other.number).await.unwrap().frames().unwrap().len(), 3);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_counts_from_its_session_s_start_has_its_frames_on_the_producer_s_clock() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    // The session began at T0; the cluster says 7000, and its first frame comes 40 ms later.
    let (cluster, payloads) = cluster_at(7000, 40, 3, |i| payload(i as u64, 50));
    let start = Start { header: header(640), producer_start: UnixMillis(T0 + 7000), cause: None };
    let frame =
        |(i, data)| Frame { track: 1, time: UnixMicros((T0 + 7040 + i as i64 * 100) * 1000), key: i == 0, data };
    let frames: Vec<Frame> = payloads.into_iter().enumerate().map(frame).collect();
    let verbatim = Verbatim { cluster: cluster.into(), duration_ms: Some(500), ..Verbatim::default() };
    let one = Sent { start, frames, verbatim };
    let meta = store_new(&mut stream.verbatim_writer(), &one).await;
    assert_eq!((meta.producer_start.0, meta.duration_ms), (T0 + 7000, 500));
    prove(&stream.fragment(meta.number).await.unwrap(), &meta, &one);
    store.stop().await.unwrap();
    let store = open(dir.path()).await;
    prove(&store.stream(&name("gate")).unwrap().fragment(meta.number).await.unwrap(), &meta, &one);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn each_session_s_numbers_begin_at_the_next_thousand_and_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut begun = stream.begun();
    let mut sessions: Vec<_> = (0..4).map(|_| stream.verbatim_writer()).collect();
    let mut counters = Vec::new();
    for (at, session) in [0, 1, 2, 0, 1, 3].into_iter().enumerate() {
        let meta = store_new(&mut sessions[session], &sent(640, T0 + at as i64 * 1000, 2, 50)).await;
        counters.push(meta.number.counter());
        assert!(begun.has_changed().unwrap());
        assert_eq!(begun.borrow_and_update().as_ref().unwrap().number, meta.number, "readers can prepare");
    }
    // A session goes on where the newest one is: numbers grow in the order of arrival.
    assert_eq!(counters, [1, 1001, 2001, 2002, 2003, 3001]);
    store.stop().await.unwrap();
    let store = open(dir.path()).await;
    let stream = store.stream(&name("gate")).unwrap();
    let meta = store_new(&mut stream.verbatim_writer(), &sent(640, T0 + 9000, 2, 50)).await;
    assert!(meta.number.counter() > 3001 && meta.number.counter() % 1000 == 1, "{meta:?}");
    store.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_not_complete_is_never_seen_and_what_cannot_be_stored_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let config = store::Config { stream_budget_bytes: 100_000, ..config(dir.path()) };
    let store = Store::open(config, system_clock()).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.verbatim_writer();
    let one = sent(640, T0, 3, 100);
    assert_eq!(writer.frame(one.frames[0].clone()).await.unwrap_err().kind(), Kind::Invalid, "nothing is open");
    assert_eq!(writer.end(one.verbatim.clone()).await.err().unwrap().kind(), Kind::Invalid);

    let dropped = writer.begin(one.start.clone()).await.unwrap();
    writer.frame(one.frames[0].clone()).await.unwrap();
    writer.abandon();
    assert_eq!((writer.open_number(), stream.stats().queued_bytes), (None, 0));
    writer.begin(one.start.clone()).await.unwrap();
    let error = writer.end(one.verbatim.clone()).await.err().unwrap();
    assert!(error.kind() == Kind::Invalid && error.to_string().contains("no frame"), "{error}");
    let long = Sent {
        verbatim: Verbatim { lead: vec![0xec; MAX_LEAD_BYTES + 1].into(), ..one.verbatim.clone() },
        ..one.clone()
    };
    let error = send(&mut writer, &long).await.err().unwrap();
    assert!(error.kind() == Kind::Invalid && error.to_string().contains("before the cluster"), "{error}");
    let error = send(&mut writer, &sent(640, T0, 10, 20_000)).await.err().unwrap();
    assert!(error.kind() == Kind::TooLarge && error.to_string().contains("100000 bytes"), "{error}");
    // What has come and is no frame yet counts as well, once.
    writer.begin(one.start.clone()).await.unwrap();
    let empty = stream.stats().queued_bytes;
    writer.hold(50_000).await.unwrap();
    writer.frame(one.frames[0].clone()).await.unwrap();
    writer.hold(40_000).await.unwrap();
    let queued = stream.stats().queued_bytes - empty;
    assert!((50_000..51_000).contains(&queued), "{queued}");
    assert_eq!(writer.hold(200_000).await.unwrap_err().kind(), Kind::TooLarge);
    assert_eq!((writer.open_number(), stream.stats().queued_bytes), (None, 0));
    // The frames fit, and what stands around them does not.
    let mut around = one.clone();
    around.verbatim.cluster = vec![0u8; 100_000].into_iter().collect::<bytes::Bytes>().into();
    let error = send(&mut writer, &around).await.err().unwrap();
    assert_eq!(error.kind(), Kind::TooLarge, "{error}");
    // Where another one takes the room, it may fit later.
    let mut other = stream.verbatim_writer();
    other.begin(one.start.clone()).await.unwrap();
    other.hold(60_000).await.unwrap();
    writer.begin(one.start.clone()).await.unwrap();
    assert_eq!(writer.hold(60_000).await.unwrap_err().kind(), Kind::LimitExceeded);
    other.abandon();
    assert_eq!((writer.open_number(), stream.stats().queued_bytes), (None, 0));
    assert!(stream.fragments(ALL, Position::Start, 9).await.unwrap().is_empty());
    assert_eq!(stream.fragment(dropped).await.unwrap_err().kind(), Kind::NotFound);

    // A lead of full length is kept, and a length beyond what look-ups go back for is noted as that.
    let full = Verbatim { lead: vec![0xec; MAX_LEAD_BYTES].into(), duration_ms: Some(90_000), ..one.verbatim.clone() };
    let full = Sent { verbatim: full, ..one.clone() };
    let meta = store_new(&mut writer, &full).await;
    assert_eq!((meta.lead_bytes as usize, meta.duration_ms), (MAX_LEAD_BYTES, 60_000));
    prove(&stream.fragment(meta.number).await.unwrap(), &meta, &full);
    store.delete_stream(&name("gate")).await.unwrap();
    assert_eq!(send(&mut writer, &one).await.err().unwrap().kind(), Kind::NotFound);
    store.stop().await.unwrap();
}

async fn all_of(stream: &Stream) -> Vec<FragmentMeta> {
    stream.next_after(media::FragmentNumber::new(0, 0, 0), 1000).await.unwrap()
}

#[tokio::test]
async fn a_fragment_that_is_sent_again_is_stored_once_whoever_remembers_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.verbatim_writer();
    let one = |i: i64| sent(1280, T0 + i * 1000, 3, 200);
    let mut metas = Vec::new();
    for i in 0..3 {
        metas.push(store_new(&mut writer, &one(i)).await);
    }
    // Memory knows it.
    let mut again = stream.verbatim_writer();
    let (number, durable) = send_again(&mut again, &one(1)).await;
    assert_eq!((number, durable.wait().await.unwrap()), (metas[1].number, metas[1].clone()));
    // What differs in the smallest is another fragment.
    let mut tags = one(1);
    tags.verbatim.lead = media::mkv::write_tags(&[("at", "elsewhere")]);
    let mut bytes = one(1);
    let mut flipped = bytes.verbatim.cluster.to_bytes().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    bytes.verbatim.cluster = bytes::Bytes::from(flipped).into();
    let mut head = one(1);
    head.start.header = header(1281);
    let mut boundary = one(1);
    let whole = bytes::Bytes::from(boundary.bytes());
    boundary.verbatim.lead = whole.slice(..boundary.verbatim.lead.len() - 1);
    boundary.verbatim.cluster = whole.slice(boundary.verbatim.lead.len()..).into();
    for other in [tags, bytes, head, boundary] {
        metas.push(store_new(&mut again, &other).await);
        let (number, _) = send_again(&mut again, &other).await;
        assert_eq!(number, metas.last().unwrap().number);
    }
    // Behind what memory holds, and in the next process, the catalog knows it.
    for i in 10..280 {
        let Offer::Sealed(_, durable) = send(&mut writer, &one(i)).await.unwrap() else { panic!("it is new") };
        if i % 90 == 9 {
            metas.push(durable.wait().await.unwrap());
        } else {
            drop(durable);
        }
    }
    let last = store_new(&mut writer, &one(300)).await;
    let (number, durable) = send_again(&mut again, &one(0)).await;
    assert_eq!((number, durable.wait().await.unwrap()), (metas[0].number, metas[0].clone()));
    // Old, and never sent before.
    let late = store_new(&mut again, &one(-5)).await;
    let count = all_of(&stream).await.len();
    assert_eq!(count, 3 + 4 + 270 + 2);
    drop((writer, again));
    store.stop().await.unwrap();

    let store = open(dir.path()).await;
    let stream = store.stream(&name("gate")).unwrap();
    let mut again = stream.verbatim_writer();
    for (i, meta) in [(0, &metas[0]), (300, &last), (-5, &late)] {
        let (number, durable) = send_again(&mut again, &one(i)).await;
        assert_eq!((number, durable.wait().await.unwrap()), (meta.number, meta.clone()));
    }
    let next = store_new(&mut again, &one(301)).await;
    assert_eq!(next.cause, Some(Cause::ServerStopped), "the copies took nothing of it");
    assert_eq!(all_of(&stream).await.len(), count + 1);
    let shown = stream.fragments(Range { from: UnixMillis(T0 + 1000), to: UnixMillis(T0 + 1001) }, Position::Start, 9);
    let largest = metas.iter().filter(|m| m.producer_start.0 == T0 + 1000).map(|m| m.number).max();
    assert_eq!(shown.await.unwrap().iter().map(|m| m.number).collect::<Vec<_>>(), [largest.unwrap()], "invariant 7");
    store.stop().await.unwrap();
    let report = store::check::check(dir.path(), Default::default()).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn of_sessions_that_send_the_same_at_once_one_stores_it_and_all_are_promised_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = store::Config { commit_interval_ms: 100, ..config(dir.path()) };
    let store = Store::open(config, system_clock()).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    for round in 0..10 {
        let one = sent(1280, T0 + round * 1000, 3, 300);
        let sessions: Vec<_> = (0..4)
            .map(|_| {
                let (mut writer, one) = (stream.verbatim_writer(), one.clone());
                tokio::spawn(async move {
                    writer.begin(one.start.clone()).await.unwrap();
                    for frame in &one.frames {
                        writer.frame(frame.clone()).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    let offer = writer.end(one.verbatim.clone()).await.unwrap();
                    let kind = kind_of(&offer);
                    let (Offer::Sealed(number, durable) | Offer::Duplicate(number, durable)) = offer else {
                        panic!("{kind}")
                    };
                    (kind, number, durable.wait().await.unwrap())
                })
            })
            .collect();
        let mut told = Vec::new();
        for session in sessions {
            told.push(session.await.unwrap());
        }
        let (_, number, meta) = told.iter().find(|t| t.0 == "sealed").unwrap().clone();
        assert_eq!(told.iter().filter(|t| t.0 == "duplicate").count(), 3);
        assert!(told.iter().all(|t| t.1 == number && t.2 == meta), "{told:?}");
    }
    assert_eq!(all_of(&stream).await.len(), 10);
    assert_eq!(stream.stats().queued_bytes, 0);
    store.stop().await.unwrap();
}
