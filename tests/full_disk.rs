//! The whole server on a small disk: a quota that is reached, a disk that others fill to its last byte, and a start on one.
//!
//! It has to be mounted, for which a user needs the right; without, a line says what was skipped.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "common/mounts.rs"]
mod mounts;
#[path = "common/pushing.rs"]
mod pushing;

use common::{Server, eventually, serve};
use mounts::Mount;
use pushing::{cluster, errors, is_clean, make_streams, now, persisted, refused, session};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const BYTES: usize = 1_000_000;
const MIB: u64 = 1 << 20;

fn start(data: &Path, at_quota: &str, min_free: u64) -> Server {
    let mut command = serve(data);
    command.env("VIDICON_STORE__AT_QUOTA", at_quota).env("VIDICON_STORE__MIN_FREE_BYTES", min_free.to_string());
    Server::start(command)
}

fn clusters(began: u64, numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    numbers.map(|n| cluster(began + n * 1000, BYTES)).collect()
}

fn times(server: &Server, stream: &str) -> Vec<u64> {
    server.shown(stream).into_iter().map(|(at, _)| at).collect()
}

#[test]
fn the_oldest_make_room_for_what_comes_and_none_that_is_there_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(folder.path(), "64m") else { return };
    let data = mount.path().join("data");
    make_streams(&data, ["gate".to_owned(), "door".to_owned()]);
    let server = start(&data, "evict", 8 * MIB);
    let began = now() - 600_000;
    // Three times as much as there is room for.
    for round in 0..10 {
        for stream in ["gate", "door"] {
            let sent = clusters(began, round * 10..round * 10 + 10);
            let told = session(&server.url, stream, &sent);
            assert_eq!((persisted(&told).len(), errors(&told)), (10, vec![]), "round {round} of {stream}");
        }
    }
    for stream in ["gate", "door"] {
        let shown = times(&server, stream);
        assert!((5..60).contains(&shown.len()), "{} are there", shown.len());
        let last: Vec<u64> = (100 - shown.len() as u64..100).map(|n| began + n * 1000).collect();
        assert_eq!(shown, last, "the newest, and none missing among them");
        server.shows_what_was_sent(stream, BYTES);
    }
    assert_eq!(server.figure("vidicon_refusing"), 0.0);
    drop(server);
    is_clean(&data);
}

#[test]
fn a_disk_that_others_fill_refuses_as_documented_and_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(folder.path(), "64m") else { return };
    let data = mount.path().join("data");
    make_streams(&data, ["gate".to_owned()]);
    let server = start(&data, "refuse", 4 * MIB);
    let began = now() - 600_000;
    let mut kept = persisted(&session(&server.url, "gate", &clusters(began, 0..5)));
    assert_eq!(kept.len(), 5);

    // Others leave less than it wants to have free: what comes is refused, also at the door.
    let others = mount.fill(2 * MIB);
    eventually("it refuses", Duration::from_secs(5), || (server.figure("vidicon_refusing") == 1.0).then_some(()));
    let (status, said) = refused(&server.url, "gate");
    assert_eq!(status, 400, "{said}");
    assert!(said.to_string().contains("min_free_bytes"), "{said}");
    assert_eq!(times(&server, "gate"), kept, "readers are served");

    // To the last byte: segments and catalog alike.
    mount.fill(0);
    let (status, said) = server.request("PATCH", "/v1/streams/gate", Some(json!({"retention_hours": 48})));
    assert!(status == 200 || status == 429 && said.to_string().contains("the disk is full"), "{status} {said}");
    assert_eq!(server.bytes("GET", "/healthz", None).0, 200);
    server.shows_what_was_sent("gate", BYTES);

    std::fs::remove_file(&others).unwrap();
    eventually("it takes fragments again", Duration::from_secs(5), || {
        (server.figure("vidicon_refusing") == 0.0).then_some(())
    });
    kept.extend(persisted(&session(&server.url, "gate", &clusters(began, 5..8))));
    assert_eq!((kept.len(), &times(&server, "gate")), (8, &kept));
    drop(server);
    is_clean(&data);
}

#[test]
fn a_disk_without_a_byte_left_fails_what_comes_starts_and_serves() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(folder.path(), "64m") else { return };
    let data = mount.path().join("data");
    make_streams(&data, ["gate".to_owned()]);
    // Nothing keeps it from writing until there is no room.
    let server = start(&data, "refuse", 0);
    let began = now() - 600_000;
    let mut kept = persisted(&session(&server.url, "gate", &clusters(began, 0..5)));
    let others = mount.fill(2 * MIB + 300_000);
    let told = session(&server.url, "gate", &clusters(began, 5..12));
    kept.extend(persisted(&told));
    let (id, message) = errors(&told).pop().expect("there was room for two at most");
    assert!(id == 5001 && message.contains("the disk is full"), "{id}: {message}");
    assert_eq!(times(&server, "gate"), kept);

    // Killed, filled to the last byte, and started there.
    let mut server = server;
    let kill = |server: &mut Server| {
        server.child.kill().unwrap();
        common::wait(&mut server.child, Duration::from_secs(5)).unwrap();
    };
    kill(&mut server);
    mount.fill(0);
    let mut server = start(&data, "refuse", 0);
    assert_eq!(times(&server, "gate"), kept, "what was acknowledged is there");
    server.shows_what_was_sent("gate", BYTES);
    // What was kept for the start may be room for one more.
    let told = session(&server.url, "gate", &clusters(began, 20..21));
    match errors(&told).pop() {
        Some((id, message)) => assert!(id == 5001 && message.contains("the disk is full"), "{id}: {message}"),
        None => kept.extend(persisted(&told)),
    }
    // Where others take that room as well, a start says so.
    kill(&mut server);
    mount.fill(0);
    let out = serve(&data).env("VIDICON_STORE__MIN_FREE_BYTES", "0").output().unwrap();
    let line = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.code() == Some(1) && line.contains("vidicon: the disk is full"), "{line}");

    std::fs::remove_file(&others).unwrap();
    let server = start(&data, "refuse", 0);
    let sent = clusters(began, 30..34);
    kept.extend(eventually("it goes on", Duration::from_secs(10), || {
        let told = persisted(&session(&server.url, "gate", &sent));
        (told.len() == 4).then_some(told)
    }));
    assert_eq!(times(&server, "gate"), kept);
    drop(server);
    is_clean(&data);
}

/// What is set of a stream is in force at once, not at the next sweep.
#[test]
fn a_quota_and_a_retention_that_are_set_take_hold_within_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    make_streams(folder.path(), ["gate".to_owned()]);
    let mut command = serve(folder.path());
    command.env("VIDICON_STORE__SWEEP_INTERVAL_S", "3600").env("VIDICON_STORE__MIN_FREE_BYTES", "0");
    let server = Server::start(command);
    let began = now() - 60_000;
    assert_eq!(persisted(&session(&server.url, "gate", &clusters(began, 0..20))).len(), 20);
    server.change("gate", json!({"quota_bytes": 10_000_000}));
    eventually("the quota is in force", Duration::from_secs(30), || (times(&server, "gate").len() <= 10).then_some(()));
    assert_eq!(times(&server, "gate").last(), Some(&(began + 19_000)));
    server.change("gate", json!({"at_quota": "refuse", "quota_bytes": 9_000_000}));
    let (status, said) = refused(&server.url, "gate");
    assert!(status == 400 && said.to_string().contains("its quota of 9000000 bytes"), "{status} {said}");
    let (status, said) = server.request("PATCH", "/v1/streams/gate", Some(json!({"quota_bytes": -1})));
    assert!((400..=422).contains(&status) && said.to_string().contains("quota_bytes"), "{status} {said}");
    // Without an archive, five minutes are kept: what came just now stays, what the clock calls older goes.
    server.change("gate", json!({"at_quota": null, "quota_bytes": null}));
    assert_eq!(persisted(&session(&server.url, "gate", &clusters(began, 20..21))).len(), 1);
    drop(server);
    is_clean(folder.path());
}
