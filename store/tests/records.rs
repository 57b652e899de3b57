//! Cameras, rules, targets, detections, alerts and deliveries; retention and deletion.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::*;
use media::{FragmentNumber, UnixMillis};
use std::path::Path;
use std::time::Duration;
use store::check::{CheckOptions, check};
use store::records::*;
use store::{Config, Kind, Notice, Position, Range, Store};

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
const HOUR: i64 = 3_600_000;

fn camera(stream: &str) -> Camera {
    Camera {
        stream: name(stream),
        url: "rtsp://192.0.2.7/main".to_owned(),
        username: Some("viewer".to_owned()),
        password: Some(Secret("hunter2".to_owned())),
        transport: Transport::Udp,
        enabled: true,
        from_config: false,
    }
}

fn detection(time: i64, class: &str) -> Detection {
    Detection {
        fragment: FragmentNumber::new(7, time as u64, 3),
        offset_ms: 120,
        time: UnixMillis(time),
        class: class.to_owned(),
        score: 0.5,
        bounds: [0.1, 0.2, 0.3, 0.4],
    }
}

fn alert(id: &str, stream: &str, time: i64) -> Alert {
    Alert {
        id: id.to_owned(),
        rule: name("rule"),
        stream: name(stream),
        detection: detection(time, "person"),
        raised_at: UnixMillis(time + 5),
    }
}

#[tokio::test]
async fn records_are_put_listed_replaced_removed_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut notices = store.notices();
    store.put_camera(camera("gate")).await.unwrap();
    assert!(matches!(notices.recv().await.unwrap(), Notice::Streams));
    assert!(matches!(notices.recv().await.unwrap(), Notice::Cameras));
    assert!(store.stream(&name("gate")).is_ok(), "its stream is made");
    let changed = Camera { enabled: false, ..camera("gate") };
    store.put_camera(changed.clone()).await.unwrap();
    assert!(!format!("{changed:?}").contains("hunter2"));
    let rule = Rule {
        name: name("people"),
        stream: name("gate"),
        classes: vec!["person".to_owned()],
        min_score: 0.4,
        zone: vec![[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]],
        cooldown_ms: 30_000,
        rate: Rate::PerSecond(2.5),
        targets: vec![name("hook")],
        from_config: true,
    };
    store.put_rule(rule.clone()).await.unwrap();
    let target = Target {
        name: name("hook"),
        url: "https://example.com/x".to_owned(),
        secret: Secret("s".to_owned()),
        allow_local: true,
        from_config: false,
    };
    store.put_target(target.clone()).await.unwrap();
    store.set_setting("a", "1").await.unwrap();
    store.set_setting("a", "2").await.unwrap();
    let secret = store.secret();
    assert_eq!(store.delete_stream(&name("gate")).await.unwrap_err().kind(), Kind::Conflict, "a camera records to it");
    store.stop().await.unwrap();

    let store = open(dir.path()).await;
    assert_eq!(store.cameras().await.unwrap(), [changed]);
    assert_eq!(store.rules().await.unwrap(), [rule]);
    assert_eq!(store.targets().await.unwrap(), [target]);
    assert_eq!(store.setting("a").await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.setting("b").await.unwrap(), None);
    assert!(store.secret() == secret && secret != [0; 32]);
    assert_eq!(store.create_stream(&name("gate"), None).await.err().unwrap().kind(), Kind::AlreadyExists);
    store.delete_camera(&name("gate")).await.unwrap();
    store.delete_rule(&name("people")).await.unwrap();
    store.delete_target(&name("hook")).await.unwrap();
    assert_eq!(store.delete_camera(&name("gate")).await.unwrap_err().kind(), Kind::NotFound);
    assert!(store.cameras().await.unwrap().is_empty() && store.rules().await.unwrap().is_empty());
    store.delete_stream(&name("gate")).await.unwrap();
    assert_eq!(store.stream(&name("gate")).err().unwrap().kind(), Kind::NotFound);
    let again = store.create_stream(&name("gate"), Some(0)).await.unwrap();
    assert_eq!(again.info().retention_hours, Some(0), "no archive");
    store.set_retention(&name("gate"), None).await.unwrap();
    assert_eq!(again.info().retention_hours, None, "for ever");
    assert!(again.info().id > 1, "ids are not used again");
    store.stop().await.unwrap();
}

#[tokio::test]
async fn alerts_and_their_deliveries() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.create_stream(&name("gate"), None).await.unwrap();
    store.create_stream(&name("yard"), None).await.unwrap();
    let found = vec![detection(T0 + 5, "person"), detection(T0 + 9, "car")];
    store.add_detections(&name("gate"), found.clone()).await.unwrap();
    assert_eq!(store.detections(&name("gate"), ALL, 10).await.unwrap(), found);
    assert_eq!(
        store.detections(&name("gate"), Range { from: UnixMillis(T0 + 6), to: UnixMillis(T0 + 10) }, 10).await.unwrap(),
        found[1..]
    );
    assert!(store.detections(&name("yard"), ALL, 10).await.unwrap().is_empty());
    assert_eq!(store.add_detections(&name("none"), found).await.unwrap_err().kind(), Kind::NotFound);

    let targets = [name("one"), name("two")];
    for (id, stream, time) in [("01a", "gate", T0), ("01b", "yard", T0 + 10), ("01c", "gate", T0 + 20)] {
        store.raise_alert(alert(id, stream, time), vec![0xff, 0xd8, time as u8], &targets).await.unwrap();
    }
    let twice = store.raise_alert(alert("01a", "gate", T0), vec![], &targets).await.unwrap_err();
    assert_eq!(twice.kind(), Kind::AlreadyExists);
    let ids = |alerts: Vec<Alert>| alerts.into_iter().map(|a| a.id).collect::<Vec<_>>();
    assert_eq!(ids(store.alerts(None, None, 10).await.unwrap()), ["01c", "01b", "01a"]);
    assert_eq!(ids(store.alerts(Some(&name("gate")), Some("01c"), 10).await.unwrap()), ["01a"]);
    assert_eq!(ids(store.alerts_in(&name("gate"), ALL, 1).await.unwrap()), ["01a"]);
    assert_eq!(store.alert("01b").await.unwrap(), alert("01b", "yard", T0 + 10));
    assert_eq!(store.snapshot("01b").await.unwrap(), [0xff, 0xd8, (T0 + 10) as u8]);
    assert_eq!(store.snapshot("nope").await.unwrap_err().kind(), Kind::NotFound);

    // One transaction each: six deliveries, none for the alert that was raised twice.
    assert_eq!(store.deliveries(None, 100).await.unwrap().len(), 6);
    assert_eq!(store.next_delivery_at().await.unwrap(), Some(UnixMillis(T0 + 5)));
    assert_eq!(store.oldest_pending().await.unwrap(), Some(UnixMillis(T0 + 5)));
    let mut due = store.due_deliveries(UnixMillis(T0 + 15), 10).await.unwrap();
    assert_eq!(due.len(), 4);
    let mut first = due.remove(0);
    (first.state, first.attempts) = (DeliveryState::Delivered, 1);
    store.update_delivery(&first).await.unwrap();
    let mut second = due.remove(0);
    assert_eq!(store.redrive(second.id,).await.unwrap_err().kind(), Kind::Conflict, "it is not dead");
    (second.state, second.last_error) = (DeliveryState::Dead, Some("500".to_owned()));
    store.update_delivery(&second).await.unwrap();
    assert_eq!(store.deliveries(Some("01a"), 10).await.unwrap(), [second.clone(), first]);
    assert_eq!(store.due_deliveries(UnixMillis(T0 + 15), 10).await.unwrap().len(), 2);
    store.redrive(second.id).await.unwrap();
    let again = store.deliveries(Some("01a"), 10).await.unwrap().remove(0);
    assert_eq!((again.state, again.attempts), (DeliveryState::Pending, 0));
    assert_eq!(store.redrive(999).await.unwrap_err().kind(), Kind::NotFound);

    store
        .put_target(Target {
            name: name("one"),
            url: String::new(),
            secret: Secret::default(),
            allow_local: false,
            from_config: false,
        })
        .await
        .unwrap();
    store.delete_target(&name("one")).await.unwrap();
    let dead =
        store.deliveries(None, 100).await.unwrap().into_iter().filter(|d| d.state == DeliveryState::Dead).count();
    assert_eq!(dead, 2, "its pending ones");
    store.stop().await.unwrap();
}

fn segments(data: &Path) -> usize {
    std::fs::read_dir(data.join("segments"))
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "seg"))
        .count()
}

#[tokio::test]
async fn what_is_past_its_retention_goes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let config = Config { segment_bytes: 3000, sweep_interval_s: 1, ..config(dir.path()) };
    let store = Store::open(config, clock.clock()).await.unwrap();
    let short = store.create_stream(&name("short"), Some(1)).await.unwrap();
    let forever = store.create_stream(&name("forever"), Some(1)).await.unwrap();
    store.set_retention(&name("forever"), None).await.unwrap();
    let (mut a, mut b) = (short.writer(), forever.writer());
    let mut kept = Vec::new();
    for i in 0..30 {
        record(&mut a, fragment(&header(1280), T0 + i * 1000, 3, 200, None)).await;
        if i < 3 {
            kept.push(record(&mut b, fragment(&header(1280), T0 + i * 1000, 3, 200, None)).await);
        }
    }
    store.add_detections(&name("short"), vec![detection(T0, "car")]).await.unwrap();
    store.raise_alert(alert("01a", "short", T0), vec![1], &[]).await.unwrap();
    store.raise_alert(alert("01b", "short", T0), vec![1], &[name("pending")]).await.unwrap();
    // What the catalog does not know is not the sweeper's, whatever its name.
    let foreign = dir.path().join("segments/00000000000fffff.seg");
    std::fs::write(&foreign, "not yours").unwrap();
    let before = segments(dir.path());
    assert!(before > 6, "{before}");
    clock.advance_ms(HOUR / 2);
    let newest = record(&mut a, fragment(&header(1280), T0 + HOUR / 2, 3, 200, None)).await;
    clock.advance_ms(HOUR / 2 + 60_000);
    let mut left = before;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        left = segments(dir.path());
        if left < before - 4 && store.alerts(None, None, 9).await.unwrap().len() == 1 {
            break;
        }
    }
    assert!(left < before - 4, "{left} of {before} segments are left");
    assert_eq!(short.fragments(ALL, Position::Start, 100).await.unwrap(), std::slice::from_ref(&newest));
    assert_eq!(short.latest(100).await.unwrap(), std::slice::from_ref(&newest));
    assert!(store.detections(&name("short"), ALL, 9).await.unwrap().is_empty());
    assert_eq!(store.alerts(None, None, 9).await.unwrap()[0].id, "01b", "one with a pending delivery stays");
    for meta in &kept {
        assert!(forever.fragment(meta.number).await.is_ok());
    }
    assert!(foreign.exists());
    store.stop().await.unwrap();
    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(report.is_clean() && report.remarks.iter().any(|r| r.contains("0fffff")), "{report}");

    // Numbers go on even where all fragments went (invariant 3).
    clock.advance_ms(2 * HOUR);
    let store = Store::open(Config { sweep_interval_s: 1, ..common::config(dir.path()) }, clock.clock()).await.unwrap();
    let short = store.stream(&name("short")).unwrap();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if short.fragments(ALL, Position::Start, 9).await.unwrap().is_empty() {
            break;
        }
    }
    store.stop().await.unwrap();
    let store = Store::open(common::config(dir.path()), clock.clock()).await.unwrap();
    let short = store.stream(&name("short")).unwrap();
    assert!(short.latest(9).await.unwrap().is_empty());
    let next = record(&mut short.writer(), fragment(&header(1280), T0 + 9 * HOUR, 3, 200, None)).await;
    assert!(next.number > newest.number);
    store.stop().await.unwrap();
}

#[tokio::test]
async fn a_clock_that_stepped_takes_nothing_that_is_not_due_and_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let store = Store::open(Config { sweep_interval_s: 1, ..config(dir.path()) }, clock.clock()).await.unwrap();
    let stream = store.create_stream(&name("short"), Some(1)).await.unwrap();
    let mut writer = stream.writer();
    let mut written = Vec::new();
    // Good, 1970, good, a year ahead, good.
    for (i, offset) in [0, -T0, 0, 365 * 24 * HOUR, HOUR / 2].into_iter().enumerate() {
        clock.advance_ms(offset);
        written.push(record(&mut writer, fragment(&header(1280), T0 + i as i64 * 1000, 3, 200, None)).await);
        clock.advance_ms(-offset);
    }
    clock.advance_ms(HOUR / 2);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(stream.fragments(ALL, Position::Start, 9).await.unwrap(), written);
    assert_eq!(stream.latest(9).await.unwrap(), written);

    let left = async |expected: &[media::FragmentMeta]| {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if stream.fragments(ALL, Position::Start, 9).await.unwrap().len() <= expected.len() {
                break;
            }
        }
        assert_eq!(stream.fragments(ALL, Position::Start, 9).await.unwrap(), expected);
        assert_eq!(stream.latest(9).await.unwrap(), expected, "memory says what the catalog says");
    };
    clock.advance_ms(HOUR / 2 + 60_000);
    left(&written[3..]).await;
    clock.advance_ms(HOUR / 2);
    let last = record(&mut writer, fragment(&header(1280), T0 + 9000, 3, 200, None)).await;
    left(std::slice::from_ref(&last)).await;
    store.stop().await.unwrap();
    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn the_bytes_of_a_deleted_stream_go_with_their_segments() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 1000, ..config(dir.path()) };
    let store = Store::open(config, system_clock()).await.unwrap();
    let gone = store.create_stream(&name("gone"), None).await.unwrap();
    let mut writer = gone.writer();
    for i in 0..20 {
        record(&mut writer, fragment(&header(1280), T0 + i * 1000, 3, 200, None)).await;
    }
    store.raise_alert(alert("01a", "gone", T0), vec![1], &[name("x")]).await.unwrap();
    let before = segments(dir.path());
    store.delete_stream(&name("gone")).await.unwrap();
    assert!(writer.write(media::Event::End).await.is_err());
    let mut left = before;
    for _ in 0..100 {
        left = segments(dir.path());
        if left <= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(left <= 2, "{left} of {before}");
    assert!(
        store.alerts(None, None, 9).await.unwrap().is_empty() && store.deliveries(None, 9).await.unwrap().is_empty()
    );
    store.stop().await.unwrap();
    let report = check(dir.path(), CheckOptions::default()).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn a_second_process_a_newer_catalog_and_a_foreign_one_are_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let error = Store::open(config(dir.path()), system_clock()).await.err().unwrap();
    assert!(error.to_string().contains("in use by another process"), "{error}");
    assert!(check(dir.path(), CheckOptions::default()).is_err());
    store.stop().await.unwrap();

    let other = tempfile::tempdir().unwrap();
    open(other.path()).await.stop().await.unwrap();
    std::fs::copy(other.path().join("catalog.sqlite"), dir.path().join("catalog.sqlite")).unwrap();
    let error = Store::open(config(dir.path()), system_clock()).await.err().unwrap();
    assert!(error.to_string().contains("belongs to another data folder"), "{error}");

    let newer = rusqlite::Connection::open(other.path().join("catalog.sqlite")).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    newer.close().unwrap();
    let error = Store::open(config(other.path()), system_clock()).await.err().unwrap();
    assert!(error.to_string().contains("schema version 99") && !error.to_string().contains('\n'), "{error}");
}
