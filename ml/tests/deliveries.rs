//! Alerts reach targets that fail, break off, hang, redirect and must not be reached; a restart goes on.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod receiver;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use media::{FragmentNumber, StreamName};
use receiver::*;
use store::{
    Store,
    notifications::Destination,
    records::{Alert, Delivery, DeliveryState, Detection},
};

async fn raise(store: &Store, id: &str, targets: &[&str]) {
    let now = store.now();
    let detection = Detection {
        fragment: FragmentNumber::new(1, now.0 as u64, 0),
        offset_ms: 40,
        time: now,
        class: "person".into(),
        score: 0.9,
        bounds: [0.1, 0.2, 0.3, 0.4],
    };
    let alert = Alert { id: id.into(), rule: name("people"), stream: name("gate"), detection, raised_at: now };
    let targets: Vec<StreamName> = targets.iter().map(|t| name(t)).collect();
    store.raise_alert(alert, b"not really a jpeg".to_vec(), &targets).await.unwrap();
}

async fn delivery(store: &Store, to: &str) -> Delivery {
    store.deliveries(None, 100).await.unwrap().into_iter().find(|d| d.to == Destination::Target(name(to))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_that_misbehave_get_their_alert_once_they_behave_and_hold_up_nobody() {
    let receiver = Receiver::start(|path, nth| match (path, nth) {
        ("/flaky", 0) => Answer::Status(500),
        ("/flaky", 1) => Answer::Close,
        ("/forbids", _) => Answer::Status(403),
        ("/moved", _) => Answer::Status(302),
        ("/slow", _) => Answer::Hang,
        _ => Answer::Status(204),
    })
    .await;
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path()).await;
    store.create_stream(&name("gate"), None).await.unwrap();
    let all = ["slow", "flaky", "forbids", "moved", "private", "good"];
    for to in all {
        store.put_target(target(to, receiver.port, to != "private")).await.unwrap();
    }
    let (stop, tasks) = start(&store).await;
    raise(&store, "0190-first", &all).await;
    for n in 0..4 {
        // More for the slow one than it may have under way at once.
        raise(&store, &format!("0190-more-{n}"), &["slow"]).await;
    }
    until("the good target is told while the slow one hangs", async || receiver.to("/good").len() == 1).await;
    until("the flaky target is told at the third attempt", async || {
        delivery(&store, "flaky").await.state == DeliveryState::Delivered
    })
    .await;

    let flaky = receiver.to("/flaky");
    assert_eq!(flaky.len(), 3);
    for posted in &flaky {
        assert_eq!(posted.headers["webhook-id"], "0190-first");
        assert_eq!(posted.body, flaky[0].body, "a repeat is the same body");
        check_signatures(posted);
    }
    let event: serde_json::Value = serde_json::from_slice(&flaky[0].body).unwrap();
    assert_eq!((&event["id"], &event["type"]), (&"0190-first".into(), &"vidicon.alert.v1".into()));
    assert_eq!(event["data"]["snapshot_jpeg_base64"], BASE64.encode("not really a jpeg"));
    assert_eq!(delivery(&store, "flaky").await.attempts, 3);

    let (forbids, moved) = (delivery(&store, "forbids").await, delivery(&store, "moved").await);
    assert_eq!((forbids.state, moved.state), (DeliveryState::Pending, DeliveryState::Pending));
    assert!(forbids.last_error.as_deref().unwrap().contains("403"), "{forbids:?}");
    assert!(moved.last_error.as_deref().unwrap().contains("redirects are not followed"), "{moved:?}");
    let private = delivery(&store, "private").await;
    assert!(private.last_error.is_some() && private.state == DeliveryState::Pending, "{private:?}");
    assert!(receiver.to("/elsewhere").is_empty() && receiver.to("/private").is_empty());
    assert!(receiver.to("/slow").len() <= 2, "not more under way than a target may have");
    assert!(receiver.to("/good").len() == 1, "a delivered alert is not sent again");

    // Stopped while the slow one hangs: what was not delivered is delivered by the next run.
    end(stop, tasks).await;
    store.stop().await.unwrap();
    let store = open(data.path()).await;
    let mended = Receiver::start(|_, _| Answer::Status(200)).await;
    store.put_target(target("slow", mended.port, true)).await.unwrap();
    let (stop, tasks) = start(&store).await;
    until("the slow target is told after the restart", async || mended.to("/slow").len() == 5).await;
    let mut ids: Vec<_> = mended.to("/slow").iter().map(|p| p.headers["webhook-id"].clone()).collect();
    ids.sort();
    assert_eq!(ids, ["0190-first", "0190-more-0", "0190-more-1", "0190-more-2", "0190-more-3"]);
    end(stop, tasks).await;
    store.stop().await.unwrap();
}
