//! What is to be told of a fragment comes with it or not at all.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::*;
use std::sync::Arc;
use store::notifications::{Destination, Notify, Subject};
use store::{Kind, Notice};

fn notify(uri: &str) -> Arc<Notify> {
    let to = Destination::of_uri(uri).unwrap();
    Arc::new(Notify { uri: uri.to_owned(), to, stream_arn: "arn".to_owned(), payload: Default::default() })
}

#[tokio::test]
async fn a_notification_is_in_the_outbox_when_its_fragment_is_durable_and_never_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut notices = store.notices();
    let mut writer = stream.writer();
    let mut rest = fragment(&header(640), T0, 2, 100, None).into_iter();
    writer.write(rest.next().unwrap()).await.unwrap();
    let number = writer.open_number().unwrap();
    stream.notify_when_durable(number, notify("http://a/1")).unwrap();
    stream.notify_when_durable(number, notify("http://a/2")).unwrap();
    assert!(store.deliveries(None, 9).await.unwrap().is_empty(), "the fragment is still open");
    let durable = seal(&mut writer, rest.collect()).await.1;
    let meta = durable.wait().await.unwrap();
    assert_eq!(meta.number, number);
    let found = store.deliveries(None, 9).await.unwrap();
    assert_eq!((found.len(), &found[0].to), (1, &Destination::Url("http://a/2".to_owned())), "the last one counts");
    let Subject::Notification(id) = &found[0].of else { panic!("{found:?}") };
    assert_eq!(store.notification(id).await.unwrap().fragment, number);
    let told = async { while !matches!(notices.recv().await.unwrap(), Notice::Deliveries) {} };
    tokio::time::timeout(std::time::Duration::from_secs(5), told).await.expect("the worker is woken");
    let late = stream.notify_when_durable(number, notify("http://a/3")).unwrap_err();
    assert_eq!(late.kind(), Kind::NotFound, "it is not open any more");

    // A fragment that is dropped takes what was to be told of it along; the next one has nothing to tell.
    writer.write(fragment(&header(640), T0 + 1000, 2, 100, None).remove(0)).await.unwrap();
    stream.notify_when_durable(writer.open_number().unwrap(), notify("http://a/4")).unwrap();
    drop(writer);
    record(&mut stream.writer(), fragment(&header(640), T0 + 2000, 2, 100, None)).await;
    store.stop().await.unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.deliveries(None, 9).await.unwrap(), found, "kept over a restart, and no other came");
    store.stop().await.unwrap();
}
