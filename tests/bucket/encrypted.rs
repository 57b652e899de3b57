//! Encrypted recordings in a bucket: nothing of them in clear in any object, read back after kills, turned over to another master key, and
//! one stream gone with its key while the other goes on.

use super::common::{Server, wait};
use super::garage::REGION;
use super::secret::{content, holds, master, push, push_to, reads, reads_of, succeeds, vidicon};
use super::service::{Bucket, make_stream, refused, spooling};
use serde_json::json;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use store::StorageConfig;
use store::faulty::{Faults, Faulty};
use store::object_store::{ObjectStore, ObjectStoreExt};

const URL: &str = "s3://media/secret";

#[test]
fn encrypted_recordings_lie_in_the_bucket_and_are_gone_with_their_key() {
    encrypted(Bucket::script());
}

#[test]
fn encrypted_recordings_lie_in_garage_and_are_gone_with_their_key() {
    Bucket::garage().into_iter().for_each(encrypted);
}

/// All bytes of all objects of segments, asked of the service.
fn objects(bucket: &Bucket) -> Vec<Vec<u8>> {
    let storage = StorageConfig {
        url: Some(URL.to_owned()),
        endpoint: Some(format!("http://127.0.0.1:{}", bucket.port())),
        region: Some(REGION.to_owned()),
        allow_http: true,
        credentials_file: Some(bucket.folder().join("credentials")),
        ..StorageConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bucket = Faulty::around(&storage, Faults::default()).unwrap();
        let mut all = Vec::new();
        for object in bucket.list_with_delimiter(Some(&"segments".into())).await.unwrap().objects {
            all.push(bucket.get(&object.location).await.unwrap().bytes().await.unwrap().to_vec());
        }
        all
    })
}

/// Nothing of these clusters is in what the service holds.
fn nothing_in_clear(bucket: &Bucket, clusters: std::ops::Range<u64>) {
    let objects = objects(bucket);
    assert!(objects.iter().map(Vec::len).sum::<usize>() > 100_000, "there is something to look at");
    for n in clusters {
        let content = content(n);
        for part in [&content[..40], &content[content.len() / 2..][..40], &content[content.len() - 40..]] {
            assert!(!objects.iter().any(|object| holds(object, part)), "cluster {n} lies in clear");
        }
    }
}

fn encrypted(mut bucket: Bucket) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (first, second) = (master(folder.path(), 1), master(folder.path(), 2));
    let start = |bucket: &Bucket, key: &Path| {
        let mut command = spooling(bucket.serve(&data, URL));
        command.env("VIDICON_ENCRYPTION__KEY_FILE", key);
        Server::start(command)
    };
    let mut server = start(&bucket, &first);
    make_stream(&server);
    let mut persisted = push(&server, 0..4);
    assert_eq!(persisted.len(), 4);
    reads(&server, &persisted);
    nothing_in_clear(&bucket, 0..4);

    // The bucket is away: the spool holds it encrypted, too.
    bucket.kill();
    persisted.extend(push(&server, 4..6));
    assert_eq!(persisted.len(), 6);
    let spooled: Vec<_> = std::fs::read_dir(data.join("spool")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(!spooled.is_empty());
    for n in 4..6 {
        let part = &content(n)[..40];
        assert!(!spooled.iter().any(|file| holds(&std::fs::read(file).unwrap_or_default(), part)), "cluster {n}");
    }
    bucket.again();

    // Killed in the middle of a push.
    for round in 0..3 {
        let from = 6 + round * 3;
        std::thread::scope(|threads| {
            let pushing = threads.spawn(|| push(&server, from..from + 3));
            std::thread::sleep(Duration::from_millis(20 + round * 150));
            let _ = Command::new("kill").args(["-9", &server.child.id().to_string()]).status();
            persisted.extend(pushing.join().unwrap_or_default());
        });
        wait(&mut server.child, Duration::from_secs(5)).unwrap();
        server = start(&bucket, &first);
        persisted.extend(push(&server, from..from + 3));
        reads(&server, &persisted);
    }
    assert_eq!(persisted.len(), 15);
    nothing_in_clear(&bucket, 0..15);
    end(server);
    let text = data.to_str().unwrap();
    succeeds(&check(&data));

    // Another master key: no object changes, and all is read with the new one alone.
    let before = objects(&bucket);
    let (old, new) = (first.to_str().unwrap(), second.to_str().unwrap());
    succeeds(&vidicon(&["encryption", "rotate", "--data", text, "--key-file", old, "--new-key-file", new]));
    assert_eq!(objects(&bucket), before);
    let mut wrong = bucket.serve(&data, URL);
    wrong.env("VIDICON_ENCRYPTION__KEY_FILE", &first);
    refused(wrong, 2, "encrypted under the master key");
    let server = start(&bucket, &second);
    reads(&server, &persisted);

    // A second stream; the first goes with its key, by the command that does only that.
    let body = json!({"StreamName": "door", "DataRetentionInHours": 24});
    assert_eq!(server.request("POST", "/createStream", Some(body)).0, 200);
    let of_door = push_to(&server, "door", 20..23);
    assert_eq!(of_door.len(), 3);
    reads_of(&server, "door", &of_door);
    end(server);
    succeeds(&vidicon(&["encryption", "destroy", "gate", "--data", text]));
    let server = start(&bucket, &second);
    for number in persisted.values() {
        let status = server.bytes("GET", &format!("/v1/streams/gate/fragments/{number}"), None).0;
        assert!(status == 404 || status == 410, "{status}");
    }
    reads_of(&server, "door", &of_door);
    nothing_in_clear(&bucket, 0..23);
    end(server);
    succeeds(&check(&data));
}

fn end(mut server: Server) {
    server.signal("TERM");
    assert!(wait(&mut server.child, Duration::from_secs(20)).unwrap().success());
}

fn check(data: &Path) -> Output {
    vidicon(&["check", "--deep", "--data", data.to_str().unwrap()])
}
