//! Listings and look-ups of fragments by either clock and by number, held against a plain model of what was stored.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::sent::*;
use common::*;
use media::{FragmentMeta, FragmentNumber, UnixMillis};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use store::{Cursor, Kind, ListQuery, Start, Store, Stream, TimeBy};

fn zero() -> FragmentNumber {
    FragmentNumber::new(0, 0, 0)
}

/// What was stored, in the order of numbers.
struct Model(Vec<FragmentMeta>);

fn at(by: TimeBy, meta: &FragmentMeta) -> i64 {
    match by {
        TimeBy::Producer => meta.producer_start.0,
        TimeBy::Server => meta.server_start.0,
    }
}

impl Model {
    /// What a listing by this clock shows.
    fn shown(&self, by: TimeBy) -> Vec<FragmentMeta> {
        let newest_of_its_time = |meta: &FragmentMeta| {
            !self.0.iter().any(|later| later.producer_start == meta.producer_start && later.number > meta.number)
        };
        let mut shown: Vec<_> =
            self.0.iter().filter(|m| by == TimeBy::Server || newest_of_its_time(m)).cloned().collect();
        shown.sort_by_key(|m| (at(by, m), m.number));
        shown
    }

    fn first(&self, by: TimeBy, t: i64) -> Option<FragmentMeta> {
        let holds = |m: &&FragmentMeta| at(by, m) <= t && at(by, m) + i64::from(m.duration_ms) > t;
        let containing = self.0.iter().filter(holds).max_by_key(|m| (at(by, m), m.number)).cloned();
        containing.or_else(|| self.shown(by).into_iter().find(|m| at(by, m) > t))
    }
}

/// Stores fragments whose producer times go back and forth, meet, and leave gaps, while the server's clock stands, runs and steps.
async fn fill(stream: &Stream, clock: &AtomicI64, count: i64) -> Model {
    let mut seed = 88_172_645_463_325_252u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below) as i64
    };
    let mut writer = stream.verbatim_writer();
    let mut durables = Vec::new();
    let mut producer = T0;
    for i in 0..count {
        producer += match random(10) {
            0 => -3000,
            1 => 0,
            2 => 7000,
            _ => 300,
        };
        let step = [0, 0, 150, 300, 300, 2500, -1000][random(7) as usize];
        clock.fetch_add(step, Ordering::SeqCst);
        // Never the same bytes at one time, so that each is stored.
        let one = sent(640, producer, 3, 40 + i as usize);
        let store::Offer::Sealed(_, durable) = send(&mut writer, &one).await.unwrap() else { panic!("all differ") };
        durables.push(durable);
    }
    let mut metas = Vec::new();
    for durable in durables {
        metas.push(durable.wait().await.unwrap());
    }
    Model(metas)
}

async fn pages(stream: &Stream, by: TimeBy, range: Option<(i64, i64)>, limit: usize) -> Vec<FragmentMeta> {
    let range = range.map(|(from, to)| (UnixMillis(from), UnixMillis(to)));
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = stream.list(ListQuery { by, range, after, limit }).await.unwrap();
        assert!(page.len() <= limit);
        let Some(last) = page.last() else { return all };
        after = Some(Cursor::after(by, last));
        all.extend(page);
    }
}

async fn compare(stream: &Stream, model: &Model) {
    for by in [TimeBy::Producer, TimeBy::Server] {
        let shown = model.shown(by);
        assert!(by == TimeBy::Server || shown.len() < model.0.len() - 20, "some were sent again");
        for limit in [1, 7, 1000] {
            assert_eq!(pages(stream, by, None, limit).await, shown, "{by:?} {limit}");
        }
        assert_eq!(stream.list(ListQuery { by, range: None, after: None, limit: 9999 }).await.unwrap(), shown);
        // Both ends count, and it is the start that counts.
        for (i, j) in [(0, 0), (5, 5), (5, 40), (100, shown.len() - 1)] {
            let (from, to) = (at(by, &shown[i]), at(by, &shown[j]));
            for (from, to) in [(from, to), (from + 1, to), (from, to - 1), (from - 1, to + 1), (to + 1, from)] {
                let expected: Vec<_> = shown.iter().filter(|m| (from..=to).contains(&at(by, m))).cloned().collect();
                assert_eq!(pages(stream, by, Some((from, to)), 7).await, expected, "{by:?} {from}..={to}");
            }
        }
        let start = |t| match by {
            TimeBy::Producer => Start::ContainingProducer(UnixMillis(t)),
            TimeBy::Server => Start::ContainingServer(UnixMillis(t)),
        };
        let (first, last) = (at(by, &shown[0]), at(by, shown.last().unwrap()));
        for t in (first - 400..last + 700).step_by(997).chain(shown.iter().map(|m| at(by, m))) {
            assert_eq!(stream.first(start(t)).await.unwrap(), model.first(by, t), "{by:?} {}", t - T0);
        }
        assert_eq!(stream.first(start(i64::MAX)).await.unwrap(), None);
        assert_eq!(stream.first(start(i64::MIN)).await.unwrap().as_ref(), shown.first());
    }
    let all = &model.0;
    assert_eq!(stream.first(Start::Earliest).await.unwrap().as_ref(), all.first());
    assert_eq!(stream.first(Start::Newest).await.unwrap().as_ref(), all.last());
    assert_eq!(stream.first(Start::After(zero())).await.unwrap().as_ref(), all.first());
    assert_eq!(stream.next_after(zero(), 9999).await.unwrap(), *all);
    for i in [0, 1, all.len() / 2, all.len() - 30, all.len() - 1] {
        assert_eq!(
            stream.next_after(all[i].number, 20).await.unwrap(),
            all[i + 1..].iter().take(20).cloned().collect::<Vec<_>>()
        );
        assert_eq!(stream.first(Start::After(all[i].number)).await.unwrap().as_ref(), all.get(i + 1));
    }
}

#[tokio::test]
async fn by_either_clock_and_by_number_with_ranges_and_pages() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(T0));
    let clock: store::Clock = {
        let now = now.clone();
        Arc::new(move || UnixMillis(now.load(Ordering::SeqCst)))
    };
    let config = store::Config { default_retention_hours: 0, ..config(dir.path()) };
    let store = Store::open(config.clone(), clock.clone()).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    for start in [Start::Earliest, Start::Newest, Start::After(zero()), Start::ContainingServer(UnixMillis(T0))] {
        assert_eq!(stream.first(start).await.unwrap(), None, "it is empty");
    }
    // Another stream's fragments, at the same times.
    let other = store.create_stream(&name("other"), None).await.unwrap();
    store_new(&mut other.verbatim_writer(), &sent(640, T0, 3, 40)).await;
    // More than memory holds.
    let model = fill(&stream, &now, 600).await;
    compare(&stream, &model).await;
    store.stop().await.unwrap();
    let store = Store::open(config, clock).await.unwrap();
    let stream = store.stream(&name("gate")).unwrap();
    compare(&stream, &model).await;
    store.delete_stream(&name("gate")).await.unwrap();
    let query = ListQuery { by: TimeBy::Server, range: None, after: None, limit: 9 };
    assert_eq!(stream.list(query).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(stream.first(Start::Earliest).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(stream.next_after(zero(), 9).await.unwrap_err().kind(), Kind::NotFound);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn a_page_goes_on_where_the_last_one_ended_whatever_came_or_went_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let store = Store::open(config(dir.path()), clock.clock()).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.verbatim_writer();
    let mut metas = Vec::new();
    for i in 0..6 {
        metas.push(store_new(&mut writer, &sent(640, T0 + i * 1000, 3, 40)).await);
        clock.advance_ms(1000);
    }
    for by in [TimeBy::Producer, TimeBy::Server] {
        let page = stream.list(ListQuery { by, range: None, after: None, limit: 3 }).await.unwrap();
        let after = Some(Cursor::after(by, &page[2]));
        // The last one listed comes again, and one before it goes.
        let again = store_new(&mut writer, &sent(640, page[2].producer_start.0, 3, 50 + by as usize)).await;
        let gone = store::Range { from: page[1].producer_start, to: page[1].producer_start.plus(1) };
        stream.delete_range(gone).await.unwrap();
        let rest = stream.list(ListQuery { by, range: None, after, limit: 9 }).await.unwrap();
        match by {
            TimeBy::Producer => assert_eq!(rest, metas[3..], "one of a producer time is listed"),
            TimeBy::Server => {
                assert!(rest.contains(&again) && rest.iter().all(|m| m.number > page[2].number), "{rest:?}")
            }
        }
    }
    store.stop().await.unwrap();
}
