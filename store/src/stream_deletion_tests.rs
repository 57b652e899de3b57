//! A stream's deletion, cut short at each step and with the catalog lost.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use crate::check::{CheckOptions, check};
use crate::{Config, Position, Range, Store};
use common::*;
use media::{FragmentMeta, UnixMillis};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };

fn small(data: &Path) -> Config {
    Config { segment_bytes: 2000, ..encrypted(data, 1) }
}

async fn open_small(data: &Path) -> Store {
    Store::open(small(data), system_clock()).await.unwrap()
}

/// Opens a copy of a folder from which the catalog is missing, so that it is made anew.
async fn without_catalog(data: &Path) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["", "segments", "keys"] {
        let to = dir.path().join(folder);
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(data.join(folder)).unwrap().map(Result::unwrap) {
            let name = entry.file_name();
            if entry.path().is_file() && !name.to_str().unwrap().starts_with("catalog") {
                std::fs::copy(entry.path(), to.join(name)).unwrap();
            }
        }
    }
    let store = open_small(dir.path()).await;
    (dir, store)
}

async fn listed(store: &Store, stream: &str) -> Option<Vec<FragmentMeta>> {
    let stream = store.stream(&name(stream)).ok()?;
    let metas = stream.fragments(ALL, Position::Start, 100).await.unwrap();
    for meta in &metas {
        stream.fragment(meta.number).await.unwrap();
    }
    Some(metas)
}

#[tokio::test]
async fn nothing_of_a_stream_goes_before_the_log_notes_its_deletion() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_small(dir.path()).await;
    let mut written = [Vec::new(), Vec::new()];
    for i in 0..6 {
        for (s, stream) in ["gate", "gone"].into_iter().enumerate() {
            let stream = match store.stream(&name(stream)) {
                Ok(stream) => stream,
                Err(_) => store.create_stream(&name(stream), None).await.unwrap(),
            };
            let media = fragment(&header(1280), T0 + i * 1000, 3, 300, None);
            written[s].push(record(&mut stream.writer(), media).await);
        }
    }
    let id = store.stream(&name("gone")).unwrap().info().id;
    let key = dir.path().join("keys").join(format!("{id:016x}.key"));
    store.inner.faults.arm("segment.write", u32::MAX, ErrorKind::StorageFull);
    store.inner.faults.arm("segment.create", u32::MAX, ErrorKind::StorageFull);
    let deleting = tokio::spawn({
        let store = store.clone();
        async move { store.delete_stream(&name("gone")).await }
    });
    while store.stream(&name("gone")).is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.inner.sweeper.sweep(store.now()).await.unwrap();
        store.inner.sweeper.rewriter.rewrite_due(store.now().plus(86_400_000)).await.unwrap();
    }
    assert!(!deleting.is_finished() && key.exists(), "the log does not note it");
    let (_copy, rebuilt) = without_catalog(dir.path()).await;
    for (s, stream) in ["gate", "gone"].into_iter().enumerate() {
        assert_eq!(listed(&rebuilt, stream).await.as_ref(), Some(&written[s]), "{stream}");
    }
    rebuilt.stop().await.unwrap();

    store.inner.faults.arm("segment.create", 0, ErrorKind::Other);
    store.inner.faults.arm("segment.write", 0, ErrorKind::Other);
    deleting.await.unwrap().unwrap();
    assert!(!key.exists());
    store.inner.sweeper.sweep(store.now()).await.unwrap();
    let (copy, rebuilt) = without_catalog(dir.path()).await;
    assert_eq!(listed(&rebuilt, "gate").await.as_ref(), Some(&written[0]));
    assert_eq!(listed(&rebuilt, "gone").await, None);
    rebuilt.stop().await.unwrap();
    store.stop().await.unwrap();
    for folder in [dir.path(), copy.path()] {
        let report = check(folder, CheckOptions { payloads: true, ..Default::default() }).unwrap();
        assert!(report.is_clean(), "{report}");
    }
}

#[tokio::test]
async fn a_deletion_that_a_stop_cut_short_is_finished_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_small(dir.path()).await;
    let gone = store.create_stream(&name("gone"), None).await.unwrap();
    record(&mut gone.writer(), fragment(&header(1280), T0, 3, 300, None)).await;
    let key = dir.path().join("keys").join(format!("{:016x}.key", gone.info().id));
    store.inner.faults.arm("segment.write", u32::MAX, ErrorKind::StorageFull);
    let deleting = tokio::spawn({
        let store = store.clone();
        async move { store.delete_stream(&name("gone")).await }
    });
    while store.stream(&name("gone")).is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    store.stop().await.unwrap();
    let said = deleting.await.unwrap().unwrap_err().to_string();
    assert!(said.contains("gone is deleted") && said.contains("its next start goes on"), "{said}");
    assert!(key.exists());
    open_small(dir.path()).await.stop().await.unwrap();
    assert!(!key.exists());
    let (_copy, rebuilt) = without_catalog(dir.path()).await;
    assert_eq!(listed(&rebuilt, "gone").await, None);
    rebuilt.stop().await.unwrap();
}

#[tokio::test]
async fn an_id_of_which_the_log_says_that_it_was_deleted_is_never_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_small(dir.path()).await;
    let gate = store.create_stream(&name("gate"), None).await.unwrap();
    record(&mut gate.writer(), fragment(&header(1280), T0, 3, 300, None)).await;
    // Nothing is recorded to it: of all that the log knows, only the note names it.
    let gone = store.create_stream(&name("gone"), None).await.unwrap().info().id;
    store.delete_stream(&name("gone")).await.unwrap();
    store.stop().await.unwrap();

    let (first, store) = without_catalog(dir.path()).await;
    let new = store.create_stream(&name("new"), None).await.unwrap();
    assert!(new.info().id > gone, "{} after {gone}", new.info().id);
    let meta = record(&mut new.writer(), fragment(&header(1280), T0, 3, 300, None)).await;
    store.stop().await.unwrap();
    let (_second, store) = without_catalog(first.path()).await;
    assert_eq!(listed(&store, "new").await, Some(vec![meta]));
    store.stop().await.unwrap();
}
