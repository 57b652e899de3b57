//! Figures for the choice of SQLite through rusqlite; `cargo test -p vidicon-store --lib figures -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use super::fragments::{self, Group, NewRow};
use super::{schema, streams};
use crate::segments::reader::Place;
use crate::segments::writer::SegmentState;
use crate::{Position, Range, TimeBy, coverage};
use bytes::Bytes;
use media::{FragmentMeta, FragmentNumber, HeaderId, UnixMillis};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

const T0: i64 = 1_795_413_600_000;
const STREAMS: u64 = 10;

/// Row `i` of ten cameras with a fragment each second.
fn row(i: u64) -> NewRow {
    let (counter, at) = (i / STREAMS + 1, T0 + (i / STREAMS) as i64 * 1000);
    let meta = FragmentMeta {
        number: FragmentNumber::new(counter, (at + 37) as u64, (i.wrapping_mul(2_654_435_761)) as u32),
        producer_start: UnixMillis(at),
        server_start: UnixMillis(at + 37),
        duration_ms: 1000,
        bytes: 312_000,
        lead_bytes: 0,
        frames: 30,
        crc32c: i.wrapping_mul(40_503_777) as u32,
        header: HeaderId(0x1234_5678_90ab_cdef),
        cause: None,
        encrypted: false,
    };
    let place = Place { segment: i / 800 + 1, offset: i % 800 * 312_080 };
    NewRow { stream: i % STREAMS + 1, meta, place, header: Bytes::from_static(b"header") }
}

fn group(rows: std::ops::Range<u64>) -> Group {
    let state = SegmentState { created_at: UnixMillis(T0), end: 1 << 20, closed: false, deletions: false };
    let segments = [rows.start / 800 + 1, (rows.end - 1) / 800 + 1].map(|id| (id, state.clone()));
    Group { segments: BTreeMap::from(segments), rows: rows.map(row).collect(), deleted: Vec::new() }
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    println!("{what}: median {:?}, p99 {:?} of {}", times[times.len() / 2], times[times.len() * 99 / 100], times.len());
}

fn reads(c: &Connection, rows: u64) {
    let seconds = (rows / STREAMS) as i64;
    let at = |i: i64| T0 + (i * 7_919_333 % (seconds - 1000)) * 1000;
    let timed = |n: i64, mut work: Box<dyn FnMut(i64) + '_>| {
        (0..n)
            .map(|i| {
                let before = Instant::now();
                work(i);
                before.elapsed()
            })
            .collect::<Vec<_>>()
    };
    let list = |i: i64, ms: i64, limit: usize| {
        let range = Range { from: UnixMillis(at(i)), to: UnixMillis(at(i) + ms) };
        assert!(!fragments::list(c, i as u64 % STREAMS + 1, range, Position::Start, limit).unwrap().is_empty());
    };
    print("  look-up of one instant", timed(500, Box::new(|i| list(i, 1, 1))));
    print("  page of 1000 fragments", timed(200, Box::new(|i| list(i, 1_000_000, 1000))));
    let all = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
    print(
        "  coverage of all of one stream",
        timed(5, Box::new(|_| assert_eq!(coverage::spans(c, 1, TimeBy::Producer, all, 10).unwrap().len(), 1))),
    );
}

#[test]
#[ignore = "prints figures; takes a minute"]
fn figures() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    let mut c = schema::open(&path, Uuid::nil()).unwrap();
    for s in 0..STREAMS {
        streams::insert(&c, &format!("camera-{s}").parse().unwrap(), None, UnixMillis(T0)).unwrap();
    }
    let mut next = 0;
    let mut times = Vec::new();
    for _ in 0..300 {
        let group = group(next..next + 64);
        next += 64;
        let before = Instant::now();
        fragments::commit(&mut c, &group).unwrap();
        times.push(before.elapsed());
    }
    print("commit of 64 rows, fully synced", times);
    for rows in [200_000, 1_000_000] {
        while next < rows {
            fragments::commit(&mut c, &group(next..next + 5000)).unwrap();
            next += 5000;
        }
        let pages: u64 = c
            .query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |r| r.get(0))
            .unwrap();
        println!("{next} rows, {} bytes a fragment", pages / next);
        reads(&c, next);
    }
    let times = (0..100)
        .map(|_| {
            let group = group(next..next + 64);
            next += 64;
            let before = Instant::now();
            fragments::commit(&mut c, &group).unwrap();
            before.elapsed()
        })
        .collect();
    print("commit of 64 rows at a million", times);
}
