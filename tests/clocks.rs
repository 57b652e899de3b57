//! A clock that jumps by a day, forward and back, while the server records: nothing is lost, and each fragment is shown once, where it is.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "common/pushing.rs"]
mod pushing;
#[path = "common/shim.rs"]
mod shim;

use common::{KEY, SECRET, Server, basic, serve};
use pushing::{cluster, errors, is_clean, make_streams, now, persisted, session};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const BYTES: usize = 20_000;
const DAY_S: i64 = 86_400;
/// By how much the clock is wrong, one after the other. `None`: the server is killed and started again.
const JUMPS: [Option<i64>; 12] = [
    Some(0),
    Some(DAY_S),
    Some(0),
    Some(-DAY_S),
    None,
    Some(DAY_S),
    Some(-DAY_S),
    Some(1),
    Some(-1),
    Some(DAY_S),
    None,
    Some(0),
];

/// Numbers and both times of what ListFragments gives of a range of server time, in its order.
fn listed_by_server(server: &Server, from_ms: i64, to_ms: i64) -> Vec<(String, i64, i64)> {
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let range = json!({"StartTimestamp": seconds(from_ms), "EndTimestamp": seconds(to_ms)});
    let selector = json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range});
    let body = json!({"StreamName": "gate", "MaxResults": 1000, "FragmentSelector": selector});
    let (status, said) = server.request("POST", "/listFragments", Some(body));
    assert_eq!(status, 200, "{said}");
    let ms = |value: &Value| (value.as_f64().unwrap() * 1000.0).round() as i64;
    let of = |f: &Value| {
        (f["FragmentNumber"].as_str().unwrap().to_owned(), ms(&f["ServerTimestamp"]), ms(&f["ProducerTimestamp"]))
    };
    said["Fragments"].as_array().unwrap().iter().map(of).collect()
}

/// What GetMedia gives from the earliest on, until it waits.
fn got_media(server: &Server) -> Vec<u8> {
    let mut socket = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    let body = r#"{"StreamName":"gate","StartSelector":{"StartSelectorType":"EARLIEST"}}"#;
    let head = format!(
        "POST /getMedia HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        basic(KEY, SECRET),
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (mut reader, mut all) = (BufReader::new(socket), Vec::new());
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    // The chunks of the body.
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() {
            break;
        }
        let mut chunk = vec![0; usize::from_str_radix(line.trim(), 16).unwrap() + 2];
        reader.read_exact(&mut chunk).unwrap();
        all.extend(&chunk[..chunk.len() - 2]);
    }
    all
}

#[test]
fn a_clock_that_jumps_a_day_forward_and_back_loses_nothing_and_confuses_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clock) = shim::Clock::new(folder.path()) else { return };
    let data = folder.path().join("data");
    make_streams(&data, ["gate".to_owned()]);
    let start = || {
        let mut command = serve(&data);
        clock.of(&mut command);
        command.env("VIDICON_STORE__SWEEP_INTERVAL_S", "1").env("VIDICON_STORE__MIN_FREE_BYTES", "0");
        Server::start(command)
    };
    let mut server = start();
    // More than the clock jumps from the first fragment to the last: none is due.
    server.change("gate", json!({"retention_hours": 72}));
    // The producer's clock is right.
    let (began, mut sent) = (now() - 60_000, Vec::new());
    let mut next = 0;
    for jump in JUMPS {
        match jump {
            Some(seconds) => clock.set(seconds),
            None => {
                server.child.kill().unwrap();
                common::wait(&mut server.child, Duration::from_secs(5)).unwrap();
                server = start();
            }
        }
        let times: Vec<u64> = (next..next + 3).map(|n| began + n * 1000).collect();
        next += 3;
        let clusters: Vec<_> = times.iter().map(|at| cluster(*at, BYTES)).collect();
        let told = session(&server.url, "gate", &clusters);
        assert_eq!((persisted(&told), errors(&told)), (times.clone(), vec![]), "after {jump:?}");
        sent.extend(times);
        // A sweep or two.
        std::thread::sleep(Duration::from_millis(1500));
    }

    // By the producer's clock: each once, in order, whole.
    let shown = server.shown("gate");
    assert_eq!(shown.iter().map(|(at, _)| *at).collect::<Vec<_>>(), sent);
    assert!(shown.windows(2).all(|pair| pair[0].1 < pair[1].1), "in the order in which they came");
    server.shows_what_was_sent("gate", BYTES);

    // By the server's: each once, where its stamp is, and the parts of the range are what the whole is.
    let day = DAY_S * 1000;
    let middle = now() as i64;
    let all = listed_by_server(&server, middle - 2 * day, middle + 2 * day);
    let mut numbers: Vec<_> = all.iter().map(|(number, ..)| number.clone()).collect();
    numbers.sort();
    assert_eq!(numbers, shown.iter().map(|(_, number)| number.clone()).collect::<Vec<_>>());
    assert!(all.windows(2).all(|pair| pair[0].1 <= pair[1].1), "in the order of the clock");
    let parts = [(-2 * day, -day / 2), (-day / 2, day / 2), (day / 2, 2 * day)];
    let parts = parts.map(|(from, to)| listed_by_server(&server, middle + from, middle + to - 1));
    assert_eq!(parts.each_ref().map(Vec::len), [9, 15, 12], "a day behind, right, a day ahead");
    assert_eq!(parts.concat(), all);

    // By their numbers: all, in order, under their own bytes.
    let clusters: Vec<_> = sent.iter().map(|at| cluster(*at, BYTES)).collect();
    let media = got_media(&server);
    let mut at = 0;
    for (n, cluster) in clusters.iter().enumerate() {
        let found = media[at..].windows(cluster.len()).position(|window| window == cluster.as_slice());
        at += found.unwrap_or_else(|| panic!("fragment {n} is not in what GetMedia gave")) + cluster.len();
    }
    drop(server);
    is_clean(&data);
}
