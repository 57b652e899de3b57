//! Retention and quota of a running server are changed, shorter and longer, over REST and as AWS clients do it: what is too much goes
//! within the minute, rows and bytes, and nothing goes that is inside the new bound.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "common/pushing.rs"]
mod pushing;
#[path = "common/shim.rs"]
mod shim;

use common::{Server, eventually, serve};
use pushing::{cluster, errors, is_clean, make_streams, now, persisted, session};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const BYTES: usize = 300_000;
const HOUR_S: i64 = 3600;
const MINUTE: Duration = Duration::from_secs(60);
/// Fragments that are recorded at once.
const BATCH: u64 = 4;

/// The sweep is the one of a server as it comes: only what is erased is erased sooner.
fn start(data: &Path, clock: Option<&shim::Clock>) -> Server {
    let mut command = serve(data);
    command.env("VIDICON_STORE__MIN_FREE_BYTES", "0").env("VIDICON_STORE__ERASE_EXPIRED_S", "20");
    // So that each batch has segments of its own.
    command.env("VIDICON_STORE__SEGMENT_BYTES", "1048576");
    if let Some(clock) = clock {
        clock.of(&mut command);
    }
    Server::start(command)
}

/// Records so many fragments from a producer time on; gives their times.
fn push(server: &Server, stream: &str, from: u64, count: u64) -> Vec<u64> {
    let times: Vec<u64> = (0..count).map(|n| from + n * 1000).collect();
    let clusters: Vec<_> = times.iter().map(|at| cluster(*at, BYTES)).collect();
    let told = session(&server.url, stream, &clusters);
    assert_eq!((persisted(&told), errors(&told)), (times.clone(), vec![]), "{stream}");
    times
}

fn shown(server: &Server, stream: &str) -> Vec<u64> {
    server.shown(stream).into_iter().map(|(at, _)| at).collect()
}

fn of(server: &Server, stream: &str) -> Value {
    let streams = server.get("/v1/streams")["streams"].take();
    streams.as_array().unwrap().iter().find(|s| s["name"] == stream).unwrap().clone()
}

/// Whether the bytes of a fragment are in any segment.
fn lies_in_segments(data: &Path, at: u64) -> bool {
    let bytes = cluster(at, BYTES);
    let part = &bytes[bytes.len() - 400..];
    let segments = std::fs::read_dir(data.join("segments")).unwrap();
    segments
        .filter_map(|entry| std::fs::read(entry.unwrap().path()).ok())
        .any(|file| file.windows(part.len()).any(|window| window == part))
}

/// Within a minute of the change, of a stream just these are shown and counted, and the others' bytes are in no segment.
fn within_the_minute(server: &Server, data: &Path, stream: &str, stay: &[u64], go: &[u64]) {
    let changed = Instant::now();
    let left = || MINUTE.saturating_sub(changed.elapsed());
    eventually("the rows go", left(), || (shown(server, stream) == stay).then_some(()));
    let each = BYTES as u64..BYTES as u64 + 200;
    let counted = of(server, stream)["bytes"].as_u64().unwrap();
    assert!(
        (each.start * stay.len() as u64..=each.end * stay.len() as u64).contains(&counted),
        "{counted} of {stay:?}"
    );
    eventually("the bytes go", left(), || (!go.iter().any(|at| lies_in_segments(data, *at))).then_some(()));
    assert_eq!(shown(server, stream), stay, "and no more than those");
    server.shows_what_was_sent(stream, BYTES);
}

/// As the SDKs and the `aws` command do it.
fn update_data_retention(server: &Server, stream: &str, operation: &str, hours: u32) {
    let (status, described) = server.request("POST", "/describeStream", Some(json!({"StreamName": stream})));
    assert_eq!(status, 200, "{described}");
    let body = json!({
        "StreamName": stream, "CurrentVersion": described["StreamInfo"]["Version"], "Operation": operation, "DataRetentionChangeInHours": hours
    });
    let (status, said) = server.request("POST", "/updateDataRetention", Some(body));
    assert_eq!(status, 200, "{said}");
}

#[test]
fn a_retention_that_is_changed_counts_within_the_minute_and_takes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clock) = shim::Clock::new(folder.path()) else { return };
    let data = folder.path().join("data");
    make_streams(&data, ["gate".to_owned(), "door".to_owned()]);
    // The server's clock begins eight hours ago, and comes to now.
    clock.set(-8 * HOUR_S);
    let server = start(&data, Some(&clock));
    let began = now() - 60_000;
    for stream in ["gate", "door"] {
        server.change(stream, json!({"retention_hours": 72}));
    }
    let mut batches = Vec::new();
    for (n, hours) in [-8, -5, -3].into_iter().enumerate() {
        clock.set(hours * HOUR_S);
        let from = began + n as u64 * 10_000;
        batches.push(push(&server, "gate", from, BATCH));
        assert_eq!(push(&server, "door", from, BATCH), batches[n]);
    }
    clock.set(0);
    let all = batches.concat();

    // Shorter, over REST: the first batch is eight hours old.
    server.change("gate", json!({"retention_hours": 6}));
    within_the_minute(&server, &data, "gate", &batches[1..].concat(), &[]);
    // The other stream has the same bytes.
    assert_eq!(shown(&server, "door"), all, "what was not changed stays");
    server.change("door", json!({"retention_hours": 6}));
    within_the_minute(&server, &data, "door", &batches[1..].concat(), &batches[0]);

    // Shorter, as AWS has it: to four hours.
    for stream in ["gate", "door"] {
        update_data_retention(&server, stream, "DECREASE_DATA_RETENTION", 2);
        assert_eq!(of(&server, stream)["retention_hours"], 4);
    }
    within_the_minute(&server, &data, "gate", &batches[2], &batches[1]);
    within_the_minute(&server, &data, "door", &batches[2], &batches[1]);

    // Longer, by both: what is there is there beyond the old bound. Of a third stream nothing is changed.
    update_data_retention(&server, "gate", "INCREASE_DATA_RETENTION", 20);
    server.change("door", json!({"retention_hours": 24}));
    let last = push(&server, "gate", began + 40_000, BATCH);
    clock.set(2 * HOUR_S);
    // A sweep, at least.
    std::thread::sleep(Duration::from_secs(35));
    assert_eq!(shown(&server, "gate"), [batches[2].clone(), last].concat(), "five hours old, of 24 that are kept");
    assert_eq!(shown(&server, "door"), batches[2]);
    // For ever, and back: it counts again.
    server.change("door", json!({"retention_hours": null}));
    server.change("door", json!({"retention_hours": 4}));
    within_the_minute(&server, &data, "door", &[], &[]);
    server.shows_what_was_sent("gate", BYTES);
    drop(server);
    is_clean(&data);
}

#[test]
fn a_quota_that_is_changed_counts_within_the_minute_and_takes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    make_streams(&data, ["gate".to_owned(), "door".to_owned()]);
    let server = start(&data, None);
    let began = now() - 600_000;
    let mut sent = push(&server, "gate", began, 20);
    let door = push(&server, "door", began + 300_000, 5);

    // Smaller: the oldest go, and no more of them than the slack of a quota.
    let quota = 10 * (BYTES as u64 + 200);
    server.change("gate", json!({"quota_bytes": quota, "at_quota": "evict"}));
    let kept = eventually("the oldest go", MINUTE, || {
        let shown = shown(&server, "gate");
        (shown.len() <= 10).then_some(shown)
    });
    assert!(kept.len() >= 9 && sent.ends_with(&kept), "{} are kept", kept.len());
    within_the_minute(&server, &data, "gate", &kept, &sent[..20 - kept.len()]);
    assert_eq!(shown(&server, "door"), door);

    // Larger: nothing goes, and there is room for more.
    server.change("gate", json!({"quota_bytes": 2 * quota}));
    sent = [kept, push(&server, "gate", began + 30_000, 8)].concat();
    std::thread::sleep(Duration::from_secs(35));
    assert_eq!(shown(&server, "gate"), sent);

    // Smaller, and what is new is refused: nothing that is there goes.
    server.change("gate", json!({"quota_bytes": quota, "at_quota": "refuse"}));
    let (status, said) = pushing::refused(&server.url, "gate");
    assert_eq!(status, 400, "{said}");
    assert_eq!((of(&server, "gate")["refusing"].clone(), shown(&server, "gate")), (json!(true), sent.clone()));
    // No limit: it takes them again.
    server.change("gate", json!({"quota_bytes": 0}));
    sent.extend(push(&server, "gate", began + 50_000, 3));
    assert_eq!(shown(&server, "gate"), sent);
    server.shows_what_was_sent("gate", BYTES);
    drop(server);
    is_clean(&data);
}
