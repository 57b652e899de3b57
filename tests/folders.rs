//! Data folders that cannot be used, or not any more: each is a clear line, and what was acknowledged is there afterwards.
//!
//! What has to be mounted needs a user who may; without, a line says what was skipped.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "common/mounts.rs"]
mod mounts;
#[path = "common/pushing.rs"]
mod pushing;

use common::{Server, eventually, serve};
use mounts::Mount;
use pushing::{cluster, errors, is_clean, make_streams, now, persisted, session};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const BYTES: usize = 20_000;

/// Its exit code, and its one line.
fn line_of(command: &mut Command) -> (i32, String) {
    let out = command.output().unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("vidicon:")).collect();
    assert_eq!(lines.len(), 1, "one clear line, not {text:?}");
    (out.status.code().unwrap(), lines[0].to_owned())
}

fn clusters(began: u64, numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    numbers.map(|n| cluster(began + n * 1000, BYTES)).collect()
}

fn is_not_ready(server: &Server, why: &str) {
    eventually("/readyz says why", Duration::from_secs(10), || {
        let (status, said) = server.request("GET", "/readyz", None);
        (status == 503 && said.to_string().contains(why)).then_some(())
    });
}

#[test]
fn a_folder_of_somebody_else_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let data = folder.path().join("data");
    make_streams(&data, ["gate".to_owned()]);
    let server = serve(&data);
    // As a user who may not even look into it.
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(server.get_program()).args(server.get_args());
    let may = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(server.get_program())
        .arg("--version")
        .output();
    if !may.is_ok_and(|out| out.status.success()) {
        return eprintln!("skipped: this user cannot become another one");
    }
    let (code, line) = line_of(&mut other);
    assert_eq!((code, line.contains("data: it cannot be read: this user has no right to it")), (2, true), "{line}");
}

#[test]
fn a_read_only_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(folder.path(), "64m") else { return };
    let (old, new) = (mount.path().join("data"), mount.path().join("new"));
    make_streams(&old, ["gate".to_owned()]);
    mount.remount("ro");
    for data in [old, new] {
        let (code, line) = line_of(&mut serve(&data));
        let named = line.contains(data.to_str().unwrap()) && line.contains("its file system is read-only");
        assert_eq!((code, named), (2, true), "{line}");
    }
}

#[test]
fn a_disk_that_turns_read_only_is_told_to_producers_and_readers_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut mount) = Mount::ext4(folder.path(), 96) else { return };
    let data = mount.path().join("data");
    make_streams(&data, ["gate".to_owned()]);
    // So small a disk has less room than is kept free by default, and would be relieved of what this looks for.
    let serve = || {
        let mut command = serve(&data);
        command.env("VIDICON_STORE__MIN_FREE_BYTES", "0");
        command
    };
    let mut server = Server::start(serve());
    let began = now() - 60_000;
    let kept = persisted(&session(&server.url, "gate", &clusters(began, 0..3)));
    assert_eq!(kept.len(), 3);
    mount.remount("abort");
    let told = session(&server.url, "gate", &clusters(began, 3..6));
    assert!(persisted(&told).is_empty(), "{told:?}");
    let (id, message) = errors(&told).pop().unwrap();
    assert!(id == 5001 && message.contains("read-only") && message.contains("restart"), "{id}: {message}");
    is_not_ready(&server, "read-only");
    assert_eq!(server.shown("gate").into_iter().map(|(at, _)| at).collect::<Vec<_>>(), kept);
    server.shows_what_was_sent("gate", BYTES);
    assert_eq!(server.bytes("GET", "/healthz", None).0, 200);

    server.signal("TERM");
    common::wait(&mut server.child, Duration::from_secs(8)).expect("it stops");
    mount.again();
    is_clean(&data);
    let server = Server::start(serve());
    assert!(server.shown("gate").into_iter().map(|(at, _)| at).collect::<Vec<_>>().starts_with(&kept));
    server.shows_what_was_sent("gate", BYTES);
}

/// Nothing is acknowledged that lies in a file without a name.
#[test]
fn a_folder_that_is_deleted_under_it_takes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    make_streams(&data, ["gate".to_owned()]);
    let server = Server::start(serve(&data));
    let began = now() - 60_000;
    assert_eq!(persisted(&session(&server.url, "gate", &clusters(began, 0..3))).len(), 3);
    std::fs::remove_dir_all(&data).unwrap();
    let told = session(&server.url, "gate", &clusters(began, 3..6));
    let (id, message) = errors(&told).pop().unwrap();
    assert!(persisted(&told).is_empty() && id == 5001, "{told:?}");
    assert!(message.contains("the folder of the segments was removed"), "{message}");
    is_not_ready(&server, "was removed");
}

/// One segment that is deleted is one segment less.
#[test]
fn a_segment_that_is_deleted_under_it_is_followed_by_another() {
    let folder = tempfile::tempdir().unwrap();
    make_streams(folder.path(), ["gate".to_owned()]);
    let server = Server::start(serve(folder.path()));
    let began = now() - 60_000;
    assert_eq!(persisted(&session(&server.url, "gate", &clusters(began, 0..3))).len(), 3);
    let segments = |folder: &Path| -> Vec<_> {
        folder.join("segments").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    segments(folder.path()).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let kept = persisted(&session(&server.url, "gate", &clusters(began, 3..6)));
    assert_eq!((kept.len(), segments(folder.path()).len()), (3, 1));
    drop(server);
    let server = Server::start(serve(folder.path()));
    let (_, number) = server.shown("gate").pop().unwrap();
    let (status, mkv) = server.bytes("GET", &format!("/v1/streams/gate/fragments/{number}"), None);
    assert!(status == 200 && mkv.ends_with(&cluster(began + 5000, BYTES)));
}
