//! Erasure in a bucket by a running server, and `vidicon check` of it: beside the server, offline, `--repair`, `--rebuild`.

use super::common::{Server, eventually, wait};
use super::service::{Bucket, make_stream};
use super::{T0, assert_holds, cluster, push};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How it ended, and all that it said.
fn check(data: &Path, options: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidicon"));
    let out = command.arg("check").args(options).arg("--data").arg(data).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.code().unwrap(), said)
}

fn clean(data: &Path, options: &[&str]) -> String {
    let (code, said) = check(data, options);
    assert_eq!(code, 0, "{options:?}: {said}");
    said
}

fn end(mut server: Server) {
    server.signal("TERM");
    assert!(wait(&mut server.child, Duration::from_secs(20)).unwrap().success());
}

/// A server that erases at once, with clusters 0 to 12 in a few objects.
fn recorded(bucket: &Bucket, data: &Path) -> (Server, BTreeMap<u64, String>) {
    let server = erasing(bucket, data);
    make_stream(&server);
    let persisted = push(&server, 0, 12, Duration::from_secs(60));
    assert_eq!(persisted.len(), 12);
    (server, persisted)
}

fn erasing(bucket: &Bucket, data: &Path) -> Server {
    let mut command = bucket.serve(data, "s3://media/site");
    command.env("VIDICON_STORAGE__COMMIT_INTERVAL_MS", "500").env("VIDICON_STORE__ERASE_DELETED_S", "2");
    command.env("VIDICON_STORE__SWEEP_INTERVAL_S", "1");
    Server::start(command)
}

#[test]
fn what_is_deleted_is_gone_from_the_bucket_in_time() {
    erased(Bucket::script());
}

#[test]
fn what_is_deleted_is_gone_from_garage_in_time() {
    Bucket::garage().into_iter().for_each(erased);
}

fn erased(bucket: Bucket) {
    let data = tempfile::tempdir().unwrap();
    let (server, mut persisted) = recorded(&bucket, data.path());
    let (from, to) = (T0 + 3 * 500, T0 + 8 * 500);
    let deleted = server.request("DELETE", &format!("/v1/streams/gate/fragments?from={from}&to={to}"), None);
    assert_eq!(deleted.0, 200, "{deleted:?}");
    persisted.retain(|time, _| !(from..to).contains(time));
    eventually("nothing of it is left to erase", Duration::from_secs(60), || {
        let (_, text) = server.bytes("GET", "/metrics", None);
        let text = String::from_utf8(text).unwrap();
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        (value("vidicon_erasure_oldest_seconds") == Some(0.0) && value("vidicon_rewritten_segments_total") > Some(0.0))
            .then_some(())
    });
    if let Bucket::Script { folder, .. } = &bucket {
        for n in 0..12 {
            let (bytes, kept) = (cluster(n), persisted.contains_key(&(T0 + n * 500)));
            let mark = &bytes[bytes.len() - 200..];
            let found = objects(folder.path()).iter().filter(|file| holds(file, mark)).count();
            assert_eq!(found, usize::from(kept), "cluster {n}");
        }
    }
    assert_holds(&server, &persisted);
    clean(data.path(), &["--online", "--deep"]);
    end(server);
    clean(data.path(), &["--deep"]);
    clean(data.path(), &["--rebuild", "--deep"]);
    let server = erasing(&bucket, data.path());
    assert_holds(&server, &persisted);
    end(server);
}

fn objects(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("buckets/media/site/segments")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn holds(file: &Path, bytes: &[u8]) -> bool {
    std::fs::read(file).unwrap().windows(bytes.len()).any(|window| window == bytes)
}

/// Where the bytes of a cluster stand, and in which object.
fn place(folder: &Path, n: u64) -> (PathBuf, usize) {
    let bytes = cluster(n);
    let found = objects(folder).into_iter().find_map(|file| {
        let all = std::fs::read(&file).unwrap();
        all.windows(bytes.len()).position(|window| window == bytes).map(|at| (file, at))
    });
    found.unwrap()
}

#[test]
fn damage_in_the_bucket_is_told_and_mended() {
    let bucket = Bucket::script();
    let data = tempfile::tempdir().unwrap();
    let (server, mut persisted) = recorded(&bucket, data.path());
    let (code, said) = check(data.path(), &[]);
    assert!(code == 3 && said.contains("--online"), "{said}");
    clean(data.path(), &["--online"]);
    end(server);

    // The head of one record, twenty bytes of it, and a byte of another's payload.
    let (file, at) = place(bucket.folder(), 4);
    let mut all = std::fs::read(&file).unwrap();
    all[at - 64..at - 44].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&file, &all).unwrap();
    let (other, at) = place(bucket.folder(), 9);
    let mut all = std::fs::read(&other).unwrap();
    all[at + 100] ^= 4;
    std::fs::write(&other, &all).unwrap();
    let (code, said) = check(data.path(), &["--deep"]);
    assert!(code == 1 && said.contains("its bytes are whole") && said.contains("checksum of its payload"), "{said}");
    let before = objects(bucket.folder());
    let (code, said) = check(data.path(), &["--deep", "--repair", "--dry-run"]);
    assert!(code == 1 && said.contains("would write the damaged head"), "{said}");
    assert_eq!(objects(bucket.folder()), before);
    let said = clean(data.path(), &["--deep", "--repair"]);
    assert!(said.contains("write the damaged head") && said.contains("into quarantine"), "{said}");
    assert!(!file.exists() && PathBuf::from(file.to_str().unwrap().replace(".seg", ".1.seg")).exists());
    clean(data.path(), &["--deep"]);
    persisted.remove(&(T0 + 9 * 500)).unwrap();
    let server = erasing(&bucket, data.path());
    assert_holds(&server, &persisted);
    end(server);
    // The catalog alone is gone, but for what notes where the bucket is.
    let (code, said) = check(data.path(), &["--rebuild", "--deep"]);
    assert!(code == 0 && said.contains("rebuild: 11 fragments"), "{said}");
    let server = erasing(&bucket, data.path());
    assert_holds(&server, &persisted);
    end(server);
}
