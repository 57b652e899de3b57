//! Data folders that earlier versions of this program wrote.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::sent::*;
use common::*;
use media::{FragmentMeta, FragmentNumber, UnixMillis};
use std::path::{Path, PathBuf};
use store::check::{CheckOptions, check, rebuild};
use store::{ListQuery, Start, Stream, TimeBy};

fn segments(data: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(data.join("segments")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

/// Says in a segment's header that it was written as this version.
fn set_version(segment: &Path, version: u32) {
    let mut bytes = std::fs::read(segment).unwrap();
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(segment, bytes).unwrap();
}

/// Takes the catalog back to an earlier schema, with all that it had.
fn set_schema(data: &Path, version: i64) {
    let catalog = rusqlite::Connection::open(data.join("catalog.sqlite")).unwrap();
    let mut back = "ALTER TABLE fragments DROP COLUMN encrypted; ALTER TABLE fragments DROP COLUMN lead_bytes;
         ALTER TABLE fragments ADD COLUMN encrypted INTEGER NOT NULL DEFAULT 0; UPDATE fragments SET encrypted = form % 2;
         UPDATE fragments SET form = form / 2; ALTER TABLE fragments RENAME COLUMN form TO lead_bytes;
         UPDATE fragments SET crc32c = crc32c + 4294967296 WHERE crc32c < 0;"
        .to_owned();
    if version < 7 {
        back += "ALTER TABLE fragments DROP COLUMN encrypted; ALTER TABLE quarantined DROP COLUMN encrypted;";
    }
    if version < 6 {
        back += "DROP TRIGGER segments_added; DROP TRIGGER segments_changed; DROP TRIGGER segments_removed; DROP TABLE segment_totals;
         DROP INDEX segments_open; DROP INDEX segments_dead; DROP INDEX segments_dirty; DROP TABLE leftovers;";
    }
    if version < 5 {
        back += "DROP TABLE quarantined;";
    }
    if version < 4 {
        back += "DROP TABLE holds; ALTER TABLE streams DROP COLUMN bytes; ALTER TABLE streams DROP COLUMN quota_bytes;
             ALTER TABLE streams DROP COLUMN at_quota; ALTER TABLE streams DROP COLUMN guaranteed_bytes;
             ALTER TABLE segments DROP COLUMN live_bytes; ALTER TABLE segments DROP COLUMN generation;
             ALTER TABLE segments DROP COLUMN expired_since; ALTER TABLE segments DROP COLUMN deleted_since;";
    }
    if version < 3 {
        back +=
            "DROP INDEX fragments_by_server; ALTER TABLE fragments DROP COLUMN lead_bytes; DROP TABLE deleted_ranges;";
    }
    if version < 2 {
        back += "DROP TABLE documents; DROP TABLE document_versions; DROP TABLE notifications; ALTER TABLE deliveries DROP COLUMN kind;";
    }
    catalog.execute_batch(&back).unwrap();
    catalog.pragma_update(None, "user_version", version).unwrap();
    catalog.close().unwrap();
}

async fn listed(stream: &Stream, by: TimeBy) -> Vec<FragmentMeta> {
    stream.list(ListQuery { by, range: None, after: None, limit: 1000 }).await.unwrap()
}

#[tokio::test]
async fn are_taken_over_whole_and_read_as_ever() {
    for schema in 1..=7 {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path();
        let store = open(data).await;
        let stream = store.create_stream(&name("gate"), None).await.unwrap();
        let mut writer = stream.writer();
        let mut metas = Vec::new();
        for i in 0..300 {
            metas.push(seal(&mut writer, fragment(&header(1280), T0 + i * 1000, 3, 50, None)).await.1);
        }
        let mut old = Vec::new();
        for durable in metas {
            old.push(durable.wait().await.unwrap());
        }
        let bytes = stream.fragment(old[0].number).await.unwrap().cluster.to_bytes();
        drop(writer);
        store.stop().await.unwrap();
        let [segment] = &segments(data)[..] else { panic!("one segment") };
        set_version(segment, 1);
        set_schema(data, schema);
        let before = std::fs::read(segment).unwrap();

        let store = open(data).await;
        let stream = store.stream(&name("gate")).unwrap();
        assert_eq!(listed(&stream, TimeBy::Producer).await, old);
        assert_eq!(listed(&stream, TimeBy::Server).await, old);
        assert_eq!(stream.first(Start::Earliest).await.unwrap().as_ref(), old.first());
        assert_eq!(stream.next_after(FragmentNumber::new(0, 0, 0), 1000).await.unwrap(), old);
        let first = stream.fragment(old[0].number).await.unwrap();
        assert!(first.lead.is_empty() && first.cluster.to_bytes() == bytes && first.frames().unwrap().len() == 3);
        // What is new does not go into a file that says it is of version 1.
        let lead = store_new(&mut stream.verbatim_writer(), &sent(1280, T0 + 900_000, 3, 50)).await;
        let deleted = store::Range { from: UnixMillis(T0 + 5000), to: UnixMillis(T0 + 7000) };
        assert_eq!(stream.delete_range(deleted).await.unwrap().fragments, 2);
        store.stop().await.unwrap();
        assert_eq!(segments(data).len(), 2);
        assert_eq!(std::fs::read(segment).unwrap(), before, "not a byte of it is changed");
        let report = check(data, CheckOptions::default()).unwrap();
        assert!(report.is_clean(), "schema {schema}:\n{report}");

        // From the segments of both versions alone.
        let fresh = data.join("fresh.sqlite");
        let rebuilt = rebuild(data, &fresh).unwrap();
        assert_eq!((rebuilt.fragments, rebuilt.problems.len()), (299, 0), "{rebuilt:?}");
        std::fs::rename(&fresh, data.join("catalog.sqlite")).unwrap();
        let store = open(data).await;
        let stream = store.stream(&name("gate")).unwrap();
        let expected: Vec<_> = old[..5].iter().chain(&old[7..]).chain([&lead]).cloned().collect();
        assert_eq!(listed(&stream, TimeBy::Server).await, expected);
        assert_eq!(stream.fragment(lead.number).await.unwrap().lead.len(), lead.lead_bytes as usize);
        store.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_segment_that_holds_what_its_version_does_not_have_is_read_up_to_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let good = record(&mut stream.writer(), fragment(&header(1280), T0, 3, 50, None)).await;
    let bad = store_new(&mut stream.verbatim_writer(), &sent(1280, T0 + 1000, 3, 50)).await;
    store.stop().await.unwrap();
    set_version(&segments(dir.path())[0], 1);
    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(report.problems.iter().any(|(i, what)| *i == 5 && what.contains(&bad.number.to_string())), "{report}");
    assert!(!report.problems.iter().any(|(_, what)| what.contains(&good.number.to_string())), "{report}");
    set_version(&segments(dir.path())[0], 5);
    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(report.to_string().contains("version 5"), "a newer one is named: {report}");
}

/// What earlier versions wrote stays as it is and readable; what is recorded from then on is encrypted, in a segment of its own.
#[tokio::test]
async fn of_earlier_versions_go_on_encrypted() {
    for (version, schema) in [(1, 1), (2, 4), (3, 5), (3, 6)] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path();
        let store = open(data).await;
        let old = record(
            &mut store.create_stream(&name("gate"), None).await.unwrap().writer(),
            fragment(&header(1280), T0, 3, 50, None),
        )
        .await;
        store.stop().await.unwrap();
        let [segment] = &segments(data)[..] else { panic!("one segment") };
        set_version(segment, version);
        set_schema(data, schema);
        let before = std::fs::read(segment).unwrap();
        let config = store::Config { tail_bytes: 0, ..encrypted(data, 1) };
        let store = store::Store::open(config, system_clock()).await.unwrap();
        let stream = store.stream(&name("gate")).unwrap();
        let new = record(&mut stream.writer(), fragment(&header(1280), T0 + 1000, 3, 50, None)).await;
        for meta in [&old, &new] {
            assert_eq!(stream.fragment(meta.number).await.unwrap().frames().unwrap().len(), 3);
        }
        assert_eq!((old.encrypted, new.encrypted), (false, true));
        store.stop().await.unwrap();
        assert_eq!((segments(data).len(), std::fs::read(segment).unwrap()), (2, before));
        let report = check(data, CheckOptions::default()).unwrap();
        assert!(report.is_clean(), "version {version}:\n{report}");
        // An encrypted record in a file that says it is of a version without them.
        let newest = segments(data).pop().unwrap();
        set_version(&newest, 3);
        assert!(!check(data, CheckOptions::default()).unwrap().is_clean());
    }
}

/// Of schema 7, whose rows say of the lead and of encryption in two columns.
#[tokio::test]
async fn encrypted_fragments_with_leads_of_schema_7_are_taken_over() {
    for encrypt in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path();
        let of = || store::Config { tail_bytes: 0, ..if encrypt { encrypted(data, 1) } else { config(data) } };
        let store = store::Store::open(of(), system_clock()).await.unwrap();
        let stream = store.create_stream(&name("gate"), None).await.unwrap();
        let camera = record(&mut stream.writer(), fragment(&header(1280), T0, 3, 50, None)).await;
        let pushed = store_new(&mut stream.verbatim_writer(), &sent(1280, T0 + 900_000, 3, 50)).await;
        assert!(camera.lead_bytes == 0 && pushed.lead_bytes > 0);
        let bytes = stream.usage().bytes;
        store.stop().await.unwrap();
        set_schema(data, 7);
        let catalog = rusqlite::Connection::open(data.join("catalog.sqlite")).unwrap();
        let sql = "SELECT lead_bytes, encrypted FROM fragments ORDER BY counter";
        let rows: Vec<(u32, bool)> = catalog
            .prepare(sql)
            .unwrap()
            .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(rows, [(0, encrypt), (pushed.lead_bytes, encrypt)], "it is what schema 7 had");
        catalog.close().unwrap();

        let store = store::Store::open(of(), system_clock()).await.unwrap();
        let stream = store.stream(&name("gate")).unwrap();
        assert_eq!(listed(&stream, TimeBy::Producer).await, [camera.clone(), pushed.clone()]);
        for meta in [&camera, &pushed] {
            let read = stream.fragment(meta.number).await.unwrap();
            assert_eq!(read.lead.len(), meta.lead_bytes as usize);
        }
        assert_eq!(stream.usage().bytes, bytes);
        store.stop().await.unwrap();
        let deep = CheckOptions { payloads: true, ..CheckOptions::default() };
        let report = check(data, deep).unwrap();
        assert!(report.is_clean(), "{report}");
    }
}
