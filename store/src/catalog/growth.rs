//! What a start, a commit, a sweep, a look-up and a page cost does not grow with the archive: each statement takes as many steps in a
//! catalog of thousands of segments as in one of a few.
#![allow(clippy::unwrap_used)]

use super::fragments::{self, BATCH, Group, NewRow};
use super::ranges::DeletedRange;
use super::testing::{catalog, row};
use super::{expiry, holds, leftovers, listing, quarantine, ranges, rewrites, segments, streams};
use crate::holds::Hold;
use crate::memory::Key;
use crate::segments::Edition;
use crate::segments::copy::{Copied, Found};
use crate::segments::reader::Place;
use crate::segments::writer::SegmentState;
use crate::{Cursor, ListQuery, Position, Range, Start, TimeBy};
use media::UnixMillis;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, StatementStatus};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const STREAMS: u64 = 4;
/// Milliseconds between two fragments of a stream.
const EVERY: i64 = 1000;

fn state(at: i64, end: u64) -> SegmentState {
    SegmentState { created_at: UnixMillis(at), end, closed: true, deletions: false }
}

/// Fragment `i` of each stream, in a segment of their own, as in a bucket.
fn group(i: u64) -> Group {
    let at = i as i64 * EVERY;
    let rows: Vec<NewRow> = (1..=STREAMS).map(|s| row(s, i, at, Place { segment: i, offset: 64 + s * 80 })).collect();
    Group { segments: BTreeMap::from([(i, state(at, 64 + STREAMS * 80))]), rows, deleted: Vec::new() }
}

/// All that a server does with its catalog, in an archive of `n` segments.
fn run(c: &mut Connection, n: u64) {
    let at = |i: u64| UnixMillis(i as i64 * EVERY);
    let now = at(n + 9);
    // A start.
    assert_eq!(segments::open(c).unwrap().len(), 0);
    assert_eq!(segments::next_id(c).unwrap(), n + 1);
    assert_eq!(segments::totals(c).unwrap().count, n);
    ranges::finish_all(c).unwrap();
    streams::reserve_all(c).unwrap();
    holds::all(c).unwrap();
    streams::all(c).unwrap();
    assert!(streams::deleted(c).unwrap().is_empty() && leftovers::due(c, now).unwrap().is_empty());
    assert!(fragments::recorded(c, 1).unwrap().recent.len() > 200);
    ranges::next_id(c).unwrap();

    // Commits, the numbers they take, and what is sent again.
    for i in n + 1..n + 9 {
        assert!(fragments::commit(c, &group(i)).unwrap().iter().all(Result::is_ok));
        streams::reserve(c, 1, n + 1000).unwrap();
    }
    let last = group(n).rows.remove(0).meta;
    assert!(fragments::find(c, 1, &Key::of(&last)).unwrap().is_some());

    // Listings, look-ups and pages, in the middle.
    let (middle, range) = (n / 2, Range { from: at(n / 2), to: at(n / 2 + 20) });
    let number = group(middle).rows.remove(0).meta.number;
    let (_, place) = fragments::get(c, 1, number).unwrap();
    assert_eq!(fragments::places_after(c, 1, middle, 64).unwrap().len(), 64);
    assert!(fragments::list(c, 1, range, Position::Start, 100).unwrap().len() >= 20);
    assert_eq!(fragments::list(c, 1, range, Position::After(number), 5).unwrap().len(), 5);
    assert_eq!(fragments::newest(c, 1, 5).unwrap().len(), 5);
    assert_eq!(fragments::headers_in(c, 1, range).unwrap().len(), 1);
    assert!(fragments::oldest_start(c, 1).unwrap().is_some());
    for by in [TimeBy::Producer, TimeBy::Server] {
        fragments::walk(c, 1, by, range, |_| true).unwrap();
        let mut query = ListQuery { by, range: Some((range.from, range.to)), after: None, limit: 10 };
        let page = listing::page(c, 1, &query).unwrap();
        assert_eq!(page.len(), 10);
        query.after = Some(Cursor::after(by, &page[9]));
        assert_eq!(listing::page(c, 1, &query).unwrap().len(), 10);
        query = ListQuery { by, range: None, after: None, limit: 10 };
        assert_eq!(listing::page(c, 1, &query).unwrap().len(), 10);
    }
    for start in [
        Start::Earliest,
        Start::Newest,
        Start::After(number),
        Start::ContainingProducer(at(middle)),
        Start::ContainingServer(at(middle)),
    ] {
        assert!(listing::first(c, 1, start).unwrap().is_some());
    }
    assert_eq!(listing::after(c, 1, number, 10).unwrap().len(), 10);
    assert!(quarantine::starts(c, 1, range).unwrap().is_empty());

    // Expiry, quotas, deletions, holds.
    let hold =
        Hold { name: "case".into(), from: at(3), to: at(5), reason: "r".into(), placed_by: "p".into(), placed_at: now };
    holds::put(c, 1, &hold).unwrap();
    assert!(holds::against(c, 1, range).unwrap().is_none());
    assert_eq!(expiry::due(c, 1, 0, at(10), now).unwrap(), expiry::Due::Upto(9));
    for stream in 1..=STREAMS {
        expiry::take(c, stream, (0, 9), expiry::Upto::All, now).unwrap().unwrap();
    }
    assert!(segments::cutoff(c, UnixMillis(i64::MIN), 1000).unwrap().is_some());
    let deleted = DeletedRange { stream: 2, range, place: Place { segment: n + 9, offset: 64 } };
    ranges::put(c, None, &deleted).unwrap();
    ranges::put(c, None, &DeletedRange { stream: 3, ..deleted }).unwrap();
    for id in ranges::pending(c).unwrap() {
        while ranges::sweep(c, id, now).unwrap().more {}
    }
    assert!(quarantine::put(c, 1, number, place, "damaged", now).unwrap());
    assert!(quarantine::reason(c, 1, number).unwrap().is_some());
    while expiry::sweep_deleted(c, &Default::default(), now).unwrap() {}

    // What is dead and what is to be written anew.
    let dead: Vec<_> = segments::dead(c).unwrap().iter().map(|s| s.edition()).collect();
    assert_eq!(dead.len(), 7, "all but what is held");
    dead.iter().for_each(|edition| segments::remove(c, *edition).unwrap());
    let due = rewrites::Due { deleted: now, expired: now, live_percent: 50 };
    let ids = rewrites::due(c, &due).unwrap();
    assert!(ids.len() > 20 && rewrites::open_due(c, now).unwrap().is_none());
    assert!(rewrites::oldest(c).unwrap().is_some());
    let row = rewrites::row(c, middle).unwrap().unwrap();
    assert!(!rewrites::is_oldest(c, middle).unwrap() && rewrites::generation(c, middle).unwrap() == Some(0));
    let found = Found { offset: 64 + 4 * 80, stream: 4, counter: middle };
    assert_eq!(rewrites::live(c, middle, &[found]).unwrap().len(), 1);
    let moved = vec![crate::segments::copy::Moved { of: found, to: 64, bytes: 80 }];
    let new = leftovers::begin(c, middle).unwrap();
    rewrites::moved(c, &row, &Copied { moved, end: 144 }, new.generation, 1, true).unwrap();
    let old = leftovers::due(c, now).unwrap();
    assert_eq!(old, [Edition { id: middle, generation: 0 }]);
    leftovers::removed(c, old[0], now).unwrap();
    assert_eq!(fragments::located(c, 4, group(middle).rows[3].meta.number).unwrap().1.1, 1);
    assert_eq!(segments::totals(c).unwrap().count, n + 8 - 7);
}

/// The steps of each statement at its worst, and of those the steps of full scans.
fn steps(n: u64) -> BTreeMap<String, (i32, i32)> {
    assert!(n < BATCH as u64 * 10);
    let (_dir, mut c) = catalog();
    for s in 0..STREAMS {
        streams::insert(&c, &format!("cam{s}").parse().unwrap(), None, UnixMillis(0)).unwrap();
    }
    let tx = c.transaction().unwrap();
    (1..=n).for_each(|i| drop(fragments::add(&tx, &group(i)).unwrap()));
    tx.commit().unwrap();
    let seen: Arc<Mutex<BTreeMap<String, (i32, i32)>>> = Arc::default();
    let of = seen.clone();
    let trace = move |event: TraceEvent<'_>| {
        if let TraceEvent::Profile(statement, _) = event {
            let of_run =
                (statement.get_status(StatementStatus::VmStep), statement.get_status(StatementStatus::FullscanStep));
            let mut seen = of.lock().unwrap();
            let worst = seen.entry(statement.sql().into_owned()).or_default();
            *worst = (worst.0.max(of_run.0), worst.1.max(of_run.1));
        }
    };
    // Counts are of a statement since it was prepared.
    c.flush_prepared_statement_cache();
    c.trace_v2(TraceEventCodes::SQLITE_TRACE_PROFILE, Some(trace)).unwrap();
    run(&mut c, n);
    drop(c);
    Arc::try_unwrap(seen).unwrap().into_inner().unwrap()
}

#[test]
fn no_statement_of_the_daily_work_looks_at_more_of_a_larger_archive() {
    let (small, large) = (steps(400), steps(4000));
    assert!(small.len() > 50, "{}", small.len());
    for (sql, (few, _)) in &small {
        let (many, scanned) = large[sql];
        // Counters of prepared statements add up over their runs, which are as many in both.
        assert!(many <= few + few / 10 + 50, "{few} steps in a small archive, {many} in a large one: {sql}");
        assert!(scanned < 200, "{scanned} steps of a full scan: {sql}");
    }
}
