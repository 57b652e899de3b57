//! Documents: versions, several at once, paging, and how they live and die with their streams.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::*;
use serde_json::json;
use store::documents::{Change, Document, Expect, KEY, MAX_BODY_BYTES, MAX_NAME_BYTES, POLICY, ROLE, STREAM};
use store::{Kind, Notice, Store};

fn put(collection: &'static str, name: &str, expect: Expect, n: u32) -> Change {
    Change::Put { collection, name: name.to_owned(), expect, body: json!({"n": n}) }
}

async fn names(store: &Store, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    store.documents(KEY, prefix, after, limit).await.unwrap().into_iter().map(|d| d.name).collect()
}

#[tokio::test]
async fn a_change_needs_what_it_expects() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.document(KEY, "a").await.unwrap(), None);
    let kind = |result: Result<u64, store::Error>| result.unwrap_err().kind();
    assert_eq!(kind(store.put_document(KEY, "a", Expect::Version(1), json!(1)).await), Kind::NotFound);
    let first = store.put_document(KEY, "a", Expect::Absent, json!({"x": [1, "ü"]})).await.unwrap();
    let found = store.document(KEY, "a").await.unwrap().unwrap();
    assert_eq!(found, Document { name: "a".to_owned(), version: first, body: json!({"x": [1, "ü"]}) });
    assert_eq!(store.document(ROLE, "a").await.unwrap(), None, "collections are apart");
    assert_eq!(kind(store.put_document(KEY, "a", Expect::Absent, json!(2)).await), Kind::AlreadyExists);
    let second = store.put_document(KEY, "a", Expect::Version(first), json!(2)).await.unwrap();
    assert!(second > first);
    assert_eq!(kind(store.put_document(KEY, "a", Expect::Version(first), json!(3)).await), Kind::Conflict);
    let third = store.put_document(KEY, "a", Expect::Any, json!(4)).await.unwrap();
    assert_eq!(store.delete_document(KEY, "a", Expect::Version(second)).await.unwrap_err().kind(), Kind::Conflict);
    store.delete_document(KEY, "a", Expect::Version(third)).await.unwrap();
    for expect in [Expect::Any, Expect::Version(third)] {
        assert_eq!(store.delete_document(KEY, "a", expect).await.unwrap_err().kind(), Kind::NotFound);
    }
    // Whoever still holds the version of the one before must not hit the new one.
    let again = store.put_document(KEY, "a", Expect::Absent, json!(5)).await.unwrap();
    assert!(again > third);
    store.stop().await.unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.document(KEY, "a").await.unwrap().unwrap().body, json!(5));
    assert!(store.put_document(KEY, "b", Expect::Any, json!(null)).await.unwrap() > again);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn several_changes_are_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut notices = store.notices();
    let versions = store
        .change_documents(vec![
            put(ROLE, "camera", Expect::Absent, 1),
            put(POLICY, "p", Expect::Absent, 2),
            put(ROLE, "camera", Expect::Any, 3),
        ])
        .await
        .unwrap();
    assert!(versions.is_sorted() && versions.len() == 3, "{versions:?}");
    let mut told = vec![notices.recv().await.unwrap(), notices.recv().await.unwrap()];
    assert!(matches!(told.remove(0), Notice::Documents(POLICY)) && matches!(told.remove(0), Notice::Documents(ROLE)));
    assert_eq!(store.document(ROLE, "camera").await.unwrap().unwrap().body, json!({"n": 3}));

    let refused = store
        .change_documents(vec![
            put(ROLE, "camera", Expect::Version(versions[2]), 4),
            Change::Delete { collection: POLICY, name: "p".to_owned(), expect: Expect::Any },
            put(KEY, "k", Expect::Version(99), 5),
        ])
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound);
    assert!(notices.try_recv().is_err(), "nothing changed, so nobody is told");
    assert_eq!(store.document(ROLE, "camera").await.unwrap().unwrap().version, versions[2]);
    assert!(store.document(POLICY, "p").await.unwrap().is_some());
    assert!(store.change_documents(Vec::new()).await.unwrap().is_empty());
    store.stop().await.unwrap();
}

#[tokio::test]
async fn of_many_that_change_the_same_version_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let first = store.put_document(KEY, "a", Expect::Absent, json!(0)).await.unwrap();
    let changes: Vec<_> = (1..=8)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.put_document(KEY, "a", Expect::Version(first), json!(n)).await })
        })
        .collect();
    let mut won = 0;
    for change in changes {
        match change.await.unwrap() {
            Ok(_) => won += 1,
            Err(e) => assert_eq!(e.kind(), Kind::Conflict, "{e}"),
        }
    }
    assert_eq!(won, 1);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn pages_by_prefix_in_the_order_of_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let all = ["a", "ab", "ab/1", "ab/2", "aé", "b", "ä", "\u{10ffff}x"];
    let changes = all.iter().rev().map(|name| put(KEY, name, Expect::Absent, 0)).collect();
    store.change_documents(changes).await.unwrap();
    store.put_document(ROLE, "aa", Expect::Absent, json!(0)).await.unwrap();
    assert_eq!(names(&store, "", None, 100).await, all);
    assert_eq!(names(&store, "ab", None, 100).await, ["ab", "ab/1", "ab/2"]);
    assert_eq!(names(&store, "ab", Some("ab"), 100).await, ["ab/1", "ab/2"]);
    assert_eq!(names(&store, "ab", Some("a"), 2).await, ["ab", "ab/1"]);
    assert_eq!(names(&store, "ab", Some("b"), 100).await, [""; 0]);
    assert_eq!(names(&store, "\u{10ffff}", None, 100).await, ["\u{10ffff}x"]);
    assert_eq!(names(&store, "%", None, 100).await, [""; 0], "no pattern");
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = names(&store, "", after.as_deref(), 3).await;
        after = page.last().cloned();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn names_and_bodies_have_bounds_and_debug_shows_no_body() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for name in ["", &"n".repeat(MAX_NAME_BYTES + 1)] {
        let error = store.put_document(KEY, name, Expect::Any, json!(1)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
    }
    let long = json!("x".repeat(MAX_BODY_BYTES));
    let error = store.put_document(KEY, "a", Expect::Any, long.clone()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::LimitExceeded);
    assert!(error.to_string().len() < 200);
    store.put_document(KEY, &"n".repeat(MAX_NAME_BYTES), Expect::Any, json!("hunter2")).await.unwrap();
    let found = store.documents(KEY, "n", None, 1).await.unwrap();
    assert!(!format!("{found:?}").contains("hunter2"));
    let change = Change::Put { collection: KEY, name: "a".into(), expect: Expect::Any, body: json!("hunter2") };
    assert!(!format!("{change:?}").contains("hunter2"));
    let error = store.create_stream_with(&name("gate"), None, long).await.err().unwrap();
    assert_eq!(error.kind(), Kind::LimitExceeded);
    assert_eq!(store.stream(&name("gate")).err().unwrap().kind(), Kind::NotFound, "neither without the other");
    assert!(store.create_stream(&name("gate"), None).await.is_ok());
    store.stop().await.unwrap();
}

#[tokio::test]
async fn a_streams_document_comes_and_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut notices = store.notices();
    let stream = store.create_stream_with(&name("gate"), Some(3), json!({"tags": {"a": "b"}})).await.unwrap();
    assert_eq!(stream.info().retention_hours, Some(3));
    assert!(matches!(notices.recv().await.unwrap(), Notice::Streams));
    assert!(matches!(notices.recv().await.unwrap(), Notice::Documents(STREAM)));
    let id = stream.info().id.to_string();
    assert_eq!(store.document(STREAM, &id).await.unwrap().unwrap().body, json!({"tags": {"a": "b"}}));
    let twice = store.create_stream_with(&name("gate"), None, json!({})).await.err().unwrap();
    assert_eq!(twice.kind(), Kind::AlreadyExists);
    assert_eq!(store.documents(STREAM, "", None, 9).await.unwrap().len(), 1);
    let of = store.documents_of(STREAM, vec!["99".into(), id.clone()]).await.unwrap();
    assert_eq!(of.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    store.stop().await.unwrap();

    let store = open(dir.path()).await;
    assert!(store.document(STREAM, &id).await.unwrap().is_some());
    store.delete_stream(&name("gate")).await.unwrap();
    assert_eq!(store.document(STREAM, &id).await.unwrap(), None);
    for ghost in [&*id, "x", "99"] {
        let late = store.put_document(STREAM, ghost, Expect::Any, json!({})).await.unwrap_err();
        assert_eq!(late.kind(), Kind::NotFound, "{late}");
    }
    let again = store.create_stream(&name("gate"), None).await.unwrap();
    assert_ne!(again.info().id.to_string(), id);
    assert_eq!(store.document(STREAM, &again.info().id.to_string()).await.unwrap(), None);
    store.put_document(STREAM, &again.info().id.to_string(), Expect::Absent, json!({})).await.unwrap();
    store.stop().await.unwrap();
}
