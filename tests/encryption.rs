//! The whole server with its recordings encrypted: pushed in and recorded from a camera, searched for on the disk, killed, read back bit by
//! bit, refused under another master key, turned over to a new one, and gone with the key.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;
#[path = "common/secret.rs"]
mod secret;

use common::{Server, eventually, serve, wait};
use secret::{content, holds, master, push, reads, succeeds, vidicon};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

fn encrypted(data: &Path, key: &Path) -> Command {
    let mut command = serve(data);
    command.env("VIDICON_ENCRYPTION__KEY_FILE", key);
    command
}

/// Starts a server that must not start.
fn refused(mut command: Command) -> Output {
    command.output().unwrap()
}

/// Every file below a folder, and where in it bytes stand.
fn found(folder: &Path, what: &[u8]) -> Vec<PathBuf> {
    let mut in_files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            in_files.extend(found(&path, what));
        } else if !path.ends_with("reserve") && std::fs::read(&path).is_ok_and(|bytes| holds(&bytes, what)) {
            in_files.push(path);
        }
    }
    in_files
}

fn nothing_in_clear(folder: &Path, clusters: impl Iterator<Item = u64>) {
    for n in clusters {
        let content = content(n);
        for part in [&content[..40], &content[content.len() / 2..][..40], &content[content.len() - 40..]] {
            assert_eq!(found(folder, part), Vec::<PathBuf>::new(), "of cluster {n}");
        }
    }
}

/// The demo's camera as a process of its own; ends with its standard input.
struct Camera(Child, String);

impl Camera {
    fn start() -> Camera {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vidicon"))
            .args(["demo-camera", "--port", "0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("ready ").expect("the camera is ready").to_owned();
        Camera(child, url)
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What HLS plays of a range: the files that its playlist names, and their bytes.
fn played(server: &Server, playlist: &str) -> Vec<(String, Vec<u8>)> {
    let quoted = |line: &str| line.split("URI=\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    let names = playlist.lines().filter_map(|line| match line.strip_prefix("#EXT-X-MAP:") {
        Some(map) => quoted(map),
        None => (!line.starts_with('#') && !line.is_empty()).then(|| line.to_owned()),
    });
    names
        .map(|name| {
            let (status, bytes) = server.bytes("GET", &format!("/v1/streams/street/hls/{name}"), None);
            assert_eq!(status, 200, "{name}");
            (name, bytes)
        })
        .collect()
}

#[test]
fn recordings_are_encrypted_read_back_turned_over_and_gone_with_their_key() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (first, second) = (master(folder.path(), 1), master(folder.path(), 2));
    let at = |key: &Path| Server::start(encrypted(&data, key));
    let mut server = at(&first);
    assert_eq!(
        server.request("POST", "/createStream", Some(json!({"StreamName": "gate", "DataRetentionInHours": 24}))).0,
        200
    );
    let mut persisted = push(&server, 0..5);
    assert_eq!(persisted.len(), 5);
    nothing_in_clear(&data, 0..5);
    reads(&server, &persisted);
    let listed = server.get("/v1/streams/gate/fragments?from=0&to=99999999999999");
    assert_eq!(listed["fragments"][0]["crc32c"], Value::Null, "no checksum of what nobody may know");

    // A camera, over HLS, out of memory and then out of the segments.
    let camera = Camera::start();
    assert_eq!(server.request("POST", "/v1/cameras", Some(json!({"name": "street", "url": camera.1}))).0, 201);
    let newest = |server: &Server| {
        let path = "/v1/streams/street/fragments?from=0&to=99999999999999&limit=1000";
        let fragments = server.get(path)["fragments"].as_array().unwrap().clone();
        (fragments.len() >= 3).then(|| fragments[2]["producer_start"].as_u64().unwrap())
    };
    let to = eventually("three fragments", Duration::from_secs(60), || newest(&server));
    let path = format!("/v1/streams/street/hls/media.m3u8?from=0&to={to}");
    let playlist = String::from_utf8(server.bytes("GET", &path, None).1).unwrap();
    let before = played(&server, &playlist);
    assert!(before.len() >= 3, "{playlist}");
    for (name, bytes) in &before {
        let part = &bytes[bytes.len() - 48..];
        assert!(found(&data, part).is_empty(), "{name} lies in clear");
    }

    // Killed in the middle of a push, again and again.
    for round in 0..3 {
        let from = 5 + round * 4;
        std::thread::scope(|threads| {
            let pushing = threads.spawn(|| push(&server, from..from + 4));
            std::thread::sleep(Duration::from_millis(20 + round * 150));
            let _ = Command::new("kill").args(["-9", &server.child.id().to_string()]).status();
            persisted.extend(pushing.join().unwrap_or_default());
        });
        wait(&mut server.child, Duration::from_secs(5)).unwrap();
        server = at(&first);
        persisted.extend(push(&server, from..from + 4));
        reads(&server, &persisted);
    }
    assert_eq!(persisted.len(), 17);
    assert_eq!(played(&server, &playlist), before, "bit for bit what it was before");
    nothing_in_clear(&data, 0..17);
    server.signal("TERM");
    assert!(wait(&mut server.child, Duration::from_secs(20)).unwrap().success());
    let folder_text = data.to_str().unwrap();
    succeeds(&vidicon(&["check", "--deep", "--data", folder_text]));

    // Another master key, or none.
    let mut none = serve(&data);
    none.env_remove("VIDICON_ENCRYPTION__KEY_FILE");
    for command in [encrypted(&data, &second), none] {
        let output = refused(command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("vidicon: ")).count(), 1, "{said}");
        assert!(said.contains("encrypted under the master key"), "{said}");
    }
    std::fs::set_permissions(&first, PermissionsExt::from_mode(0o644)).unwrap();
    let output = refused(encrypted(&data, &first));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("chmod 600"), "{said}");
    std::fs::set_permissions(&first, PermissionsExt::from_mode(0o600)).unwrap();

    // A new master key; an export needs it, too.
    let (old, new) = (first.to_str().unwrap(), second.to_str().unwrap());
    succeeds(&vidicon(&["encryption", "rotate", "--data", folder_text, "--key-file", old, "--new-key-file", new]));
    let file = folder.path().join("gate.mkv");
    let out = file.to_str().unwrap();
    let export =
        |key: &str| vidicon(&["export", "--stream", "gate", "--data", folder_text, "--out", out, "--key-file", key]);
    assert_eq!(export(old).status.code(), Some(2));
    succeeds(&export(new));
    assert!(holds(&std::fs::read(&file).unwrap(), &content(16)));
    let status = vidicon(&["encryption", "status", "--data", folder_text, "--json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["streams_with_key"], json!(["gate", "street"]));

    // Gone with its key, by every way there is; its bytes lie where they lay.
    let server = at(&second);
    reads(&server, &persisted);
    let keys = || std::fs::read_dir(data.join("keys")).unwrap().count();
    assert_eq!(keys(), 2);
    let sizes = |folder: &Path| -> u64 {
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum()
    };
    let bytes = sizes(&data.join("segments"));
    let (number, numbers) = (&persisted[&3], persisted.values().collect::<Vec<_>>());
    let arn =
        server.request("POST", "/describeStream", Some(json!({"StreamName": "gate"}))).1["StreamInfo"]["StreamARN"]
            .clone();
    assert_eq!(server.request("POST", "/deleteStream", Some(json!({"StreamARN": arn}))).0, 200);
    assert_eq!(keys(), 1, "as soon as it was answered");
    assert!(sizes(&data.join("segments")) >= bytes);
    for path in [format!("fragments/{number}"), "fragments?from=0&to=99999999999999".into(), "hls/media.m3u8".into()] {
        assert_eq!(server.bytes("GET", &format!("/v1/streams/gate/{path}"), None).0, 404, "{path}");
    }
    let asked = json!({"StreamName": "gate", "Fragments": numbers});
    assert_eq!(server.bytes("POST", "/getMediaForFragmentList", Some(asked)).0, 404);
    nothing_in_clear(&data, 0..17);
    assert_eq!(played(&server, &playlist), before, "the other stream goes on");
}

#[test]
fn segments_in_another_folder_are_encrypted_and_their_keys_stay_in_the_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (data, elsewhere) = (folder.path().join("data"), folder.path().join("elsewhere"));
    std::fs::create_dir(&elsewhere).unwrap();
    let start = || {
        let mut command = serve(&data);
        command.env("VIDICON_STORAGE__URL", format!("file://{}", elsewhere.display()));
        command.env("VIDICON_ENCRYPTION_KEY", "07".repeat(32));
        Server::start(command)
    };
    let mut server = start();
    assert_eq!(
        server.request("POST", "/createStream", Some(json!({"StreamName": "gate", "DataRetentionInHours": 24}))).0,
        200
    );
    let persisted = push(&server, 0..3);
    server.child.kill().unwrap();
    wait(&mut server.child, Duration::from_secs(5)).unwrap();
    nothing_in_clear(folder.path(), 0..3);
    assert!(!elsewhere.join("keys").exists() && data.join("keys").exists());
    let server = start();
    reads(&server, &persisted);
    // Nor does the master key lie anywhere.
    assert!(found(folder.path(), "07".repeat(32).as_bytes()).is_empty());
}
