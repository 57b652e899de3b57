//! The client of buckets against a real S3 server, request by request: creating, overwriting, ranges, pages of a list, removing, signing.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::*;
use futures_util::{StreamExt, TryStreamExt};
use garage::{Garage, REGION, SECRET};
use media::UnixMillis;
use store::faulty::{Faults, Faulty};
use store::object_store::path::Path as At;
use store::object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use store::{Config, Position, Range, StorageConfig, Store};

fn storage(garage: &Garage) -> StorageConfig {
    StorageConfig {
        url: Some("s3://media/some where/ö".to_owned()),
        endpoint: Some(garage.endpoint()),
        region: Some(REGION.to_owned()),
        allow_http: true,
        credentials_file: Some(garage.credentials_file()),
        ..StorageConfig::default()
    }
}

fn client(config: &StorageConfig) -> Faulty {
    Faulty::around(config, Faults::default()).unwrap()
}

async fn put(bucket: &Faulty, name: &str, bytes: &'static [u8], mode: PutMode) -> Result<(), Error> {
    let options = PutOptions { mode, ..Default::default() };
    bucket.put_opts(&At::from(name), PutPayload::from_static(bytes), options).await.map(drop)
}

#[tokio::test]
async fn objects_are_made_read_in_parts_listed_in_pages_and_removed() {
    let Some(garage) = Garage::start() else { return };
    let bucket = client(&storage(&garage));
    put(&bucket, "a", b"0123456789", PutMode::Overwrite).await.unwrap();
    let at = At::from("a");
    assert_eq!(bucket.get_range(&at, 2..5).await.unwrap(), "234");
    assert_eq!(bucket.get_ranges(&at, &[0..1, 8..10]).await.unwrap(), ["0", "89"]);
    assert_eq!(bucket.head(&at).await.unwrap().size, 10);
    assert!(bucket.get_range(&at, 20..30).await.is_err());
    assert!(matches!(bucket.get(&At::from("b")).await, Err(Error::NotFound { .. })));
    assert!(matches!(bucket.head(&At::from("b")).await, Err(Error::NotFound { .. })));

    // This server does not know the condition, and says nothing of it: what `docs/adr/0011-segments-in-a-bucket.md` reckons with.
    put(&bucket, "a", b"other", PutMode::Create).await.unwrap();
    assert_eq!(bucket.get(&at).await.unwrap().bytes().await.unwrap(), "other");

    // More than two pages of a thousand, from a place on.
    let name = |i: usize| At::from(format!("many/{i:05}"));
    let puts = futures_util::stream::iter(0..2100).map(|i| {
        let bucket = &bucket;
        async move { bucket.put(&name(i), PutPayload::from_static(b"x")).await }
    });
    puts.buffer_unordered(16).try_collect::<Vec<_>>().await.unwrap();
    let listed = |from: Option<usize>| {
        let folder = At::from("many");
        let list = match from {
            Some(from) => bucket.list_with_offset(Some(&folder), &name(from)),
            None => bucket.list(Some(&folder)),
        };
        list.map_ok(|meta| meta.location).try_collect::<Vec<_>>()
    };
    assert_eq!(listed(None).await.unwrap(), (0..2100).map(name).collect::<Vec<_>>());
    assert_eq!(listed(Some(49)).await.unwrap(), (50..2100).map(name).collect::<Vec<_>>());

    // By a thousand in a request, those included that are not there.
    let gone: Vec<_> = (0..2200).map(|i| Ok(name(i))).collect();
    let removed = bucket.delete_stream(futures_util::stream::iter(gone).boxed());
    let removed: Vec<_> = removed.collect().await;
    assert!(removed.iter().all(|one| matches!(one, Ok(_) | Err(Error::NotFound { .. }))), "{removed:?}");
    assert_eq!(listed(None).await.unwrap(), []);

    let key = garage.folder.path().join("other key");
    garage::credentials(&key, "GK0123456789abcdef99999999", SECRET);
    let wrong = client(&StorageConfig { credentials_file: Some(key), ..storage(&garage) });
    assert!(matches!(wrong.get(&at).await, Err(Error::PermissionDenied { .. })));
}

/// A catalog that is lost is made anew from the objects: more of them than one page of a list.
#[tokio::test]
async fn a_catalog_is_made_anew_from_two_pages_of_objects() {
    let Some(garage) = Garage::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let storage = StorageConfig { commit_interval_ms: 1, puts: 16, ..storage(&garage) };
    let settings = Config { storage, ..config(&dir.path().join("data")) };
    let store = Store::open(settings.clone(), system_clock()).await.unwrap();
    let stream = store.create_stream(&name("gate"), None).await.unwrap();
    let mut writer = stream.writer();
    let (objects, mut expected) = (client(&settings.storage), Vec::new());
    // Some fragments come to lie in one object.
    while objects.list(Some(&At::from("segments"))).count().await <= 1050 {
        let mut sealed = Vec::new();
        for i in expected.len()..expected.len() + 200 {
            sealed.push(seal(&mut writer, fragment(&header(640), T0 + i as i64 * 100, 1, 100, None)).await.1);
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        }
        for durable in sealed {
            expected.push(durable.wait().await.unwrap());
        }
    }
    store.stop().await.unwrap();

    std::fs::remove_file(settings.data.join("catalog.sqlite")).unwrap();
    let store = Store::open(settings, system_clock()).await.unwrap();
    let stream = store.stream(&name("gate")).unwrap();
    let all = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
    assert_eq!(stream.fragments(all, Position::Start, 2000).await.unwrap().len(), expected.len().min(1000));
    let numbers: Vec<_> = expected.iter().map(|meta| meta.number).collect();
    for number in numbers.iter().step_by(37) {
        assert_eq!(stream.fragment(*number).await.unwrap().meta.number, *number);
    }
    store.stop().await.unwrap();
}
