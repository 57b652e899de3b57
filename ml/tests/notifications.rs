//! Notifications of fragments reach whom they name, in the envelope of SNS, also where the server was killed before it told anybody.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod receiver;

use bytes::Bytes;
use media::{Event, FragmentMeta, Frame, Start, Track, TrackKind, UnixMicros};
use receiver::*;
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};
use store::{
    Kind, Offer, Store,
    notifications::{Destination, Notify, Subject},
    records::{Delivery, DeliveryState},
};

const CHILD: &str = "VIDICON_ML_NOTIFICATIONS_CHILD";
const ARN: &str = "arn:aws:kinesisvideo:us-west-2:123456789012:stream/gate/1";
const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:doors";

fn notify(uri: &str) -> Arc<Notify> {
    let payload = [("door".to_owned(), "open".to_owned())].into();
    let to = Destination::of_uri(uri).unwrap();
    Arc::new(Notify { uri: uri.to_owned(), to, stream_arn: ARN.to_owned(), payload })
}

/// Records one fragment of one frame, with what is to be told of it.
async fn record(store: &Store, notify: Option<Arc<Notify>>) -> FragmentMeta {
    let stream = match store.stream(&name("gate")) {
        Ok(stream) => stream,
        Err(_) => store.create_stream(&name("gate"), None).await.unwrap(),
    };
    let header = media::mkv::write_header(&[Track {
        number: 1,
        kind: TrackKind::Video,
        codec_id: "V_UNCOMPRESSED".to_owned(),
        codec_private: Bytes::new(),
        size: Some((64, 64)),
        audio: None,
    }])
    .shared();
    let now = store.now();
    let mut writer = stream.writer();
    writer.write(Event::Begin(Start { header, producer_start: now, cause: None })).await.unwrap();
    let frame = Frame { track: 1, time: UnixMicros(now.0 * 1000), key: true, data: Bytes::from_static(b"picture") };
    writer.write(Event::Frame(frame)).await.unwrap();
    if let Some(notify) = notify {
        stream.notify_when_durable(writer.open_number().unwrap(), notify).unwrap();
    }
    match writer.write(Event::End).await.unwrap() {
        Offer::Sealed(_, durable) => durable.wait().await.unwrap(),
        _ => panic!("the fragment was not sealed"),
    }
}

async fn deliveries(store: &Store) -> Vec<Delivery> {
    store.deliveries(None, 100).await.unwrap()
}

fn check_message(posted: &Posted, fragment: &FragmentMeta, uri: &str) {
    assert_eq!(posted.headers["x-amz-sns-message-type"], "Notification");
    assert_eq!(posted.headers["x-amz-sns-topic-arn"], uri);
    assert_eq!(posted.headers["content-type"], "text/plain; charset=UTF-8");
    let envelope: serde_json::Value = serde_json::from_slice(&posted.body).unwrap();
    assert_eq!((&envelope["Type"], &envelope["TopicArn"]), (&"Notification".into(), &uri.into()));
    assert_eq!(envelope["MessageId"], posted.headers["x-amz-sns-message-id"]);
    assert_eq!(envelope["MessageId"], posted.headers["webhook-id"]);
    let message: serde_json::Value = serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap();
    let expected = serde_json::json!({
        "StreamArn": ARN,
        "FragmentNumber": fragment.number.to_string(),
        "FragmentStartProducerTimestamp": fragment.producer_start.0,
        "FragmentStartServerTimestamp": fragment.server_start.0,
        "NotificationType": "PERSISTED",
        "NotificationPayload": {"door": "open"},
    });
    assert_eq!(message, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_a_target_a_url_may_be_one_and_others_reach_no_private_address() {
    let receiver = Receiver::start(|path, nth| match (path, nth) {
        ("/doors", 0) => Answer::Status(500),
        _ => Answer::Status(200),
    })
    .await;
    let data = tempfile::tempdir().unwrap();
    let store = open(data.path()).await;
    store.put_target(target("doors", receiver.port, true)).await.unwrap();
    let (stop, tasks) = start(&store).await;
    let (first, second, third) = (record(&store, None).await, record(&store, None).await, record(&store, None).await);
    let unknown = media::FragmentNumber::new(9999, 1, 1);
    let none = store.raise_notification(&name("gate"), unknown, notify(TOPIC)).await.unwrap_err();
    assert_eq!(none.kind(), Kind::NotFound);

    store.raise_notification(&name("gate"), first.number, notify(TOPIC)).await.unwrap();
    // As after a fragment that was sent again.
    store.raise_notification(&name("gate"), first.number, notify(TOPIC)).await.unwrap();
    until("the topic's target is told at the second attempt", async || receiver.to("/doors").len() == 2).await;
    let told = receiver.to("/doors");
    assert_eq!(told[0].body, told[1].body, "a repeat is the same body");
    for posted in &told {
        check_message(posted, &first, TOPIC);
        check_signatures(posted);
    }
    assert_eq!(deliveries(&store).await.len(), 1);

    // The URL of a target is that target: its secret, and its leave to reach this machine.
    let of_target = format!("http://127.0.0.1:{}/doors", receiver.port);
    store.raise_notification(&name("gate"), second.number, notify(&of_target)).await.unwrap();
    until("the target is told by its URL", async || receiver.to("/doors").len() == 3).await;
    check_message(&receiver.to("/doors")[2], &second, &of_target);
    check_signatures(&receiver.to("/doors")[2]);

    let other = format!("http://127.0.0.1:{}/inward", receiver.port);
    store.raise_notification(&name("gate"), third.number, notify(&other)).await.unwrap();
    let refused = async || deliveries(&store).await.into_iter().find(|d| d.last_error.is_some());
    until("the URL of a private address is refused", async || refused().await.is_some()).await;
    let delivery = refused().await.unwrap();
    assert_eq!((delivery.state, &delivery.to), (DeliveryState::Pending, &Destination::Url(other)));
    assert!(delivery.last_error.unwrap().contains("may not be reached"));
    assert!(receiver.to("/inward").is_empty());

    // A target that goes takes its deliveries with it; made again, they can be driven again.
    store.delete_target(&name("doors")).await.unwrap();
    let fourth = record(&store, None).await;
    store.raise_notification(&name("gate"), fourth.number, notify(TOPIC)).await.unwrap();
    let dead = async || deliveries(&store).await.into_iter().find(|d| d.state == DeliveryState::Dead);
    until("a topic without a target is given up", async || dead().await.is_some()).await;
    store.put_target(target("doors", receiver.port, true)).await.unwrap();
    store.redrive(dead().await.unwrap().id).await.unwrap();
    until("it is told once it is driven again", async || receiver.to("/doors").len() == 4).await;
    check_message(&receiver.to("/doors")[3], &fourth, TOPIC);
    end(stop, tasks).await;
    store.stop().await.unwrap();
}

/// The child: records and notifies, says so, and never comes to deliver anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below, in a process of its own"]
async fn child() {
    let data = std::env::var(CHILD).expect("started by the test below");
    let store = open(Path::new(&data)).await;
    let fragment = record(&store, Some(notify(TOPIC))).await;
    println!("\nraised {}", serde_json::to_string(&fragment.number).unwrap());
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_the_commit_and_the_delivery_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut killed = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(CHILD, data.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines();
    let raised = lines.find_map(|line| line.unwrap().strip_prefix("raised ").map(str::to_owned)).unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();

    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let store = open(data.path()).await;
    store.put_target(target("doors", receiver.port, true)).await.unwrap();
    let fragment = store.stream(&name("gate")).unwrap().latest(1).await.unwrap().remove(0);
    assert_eq!(serde_json::to_string(&fragment.number).unwrap(), raised);
    let (stop, tasks) = start(&store).await;
    until("it is delivered after the kill", async || receiver.to("/doors").len() == 1).await;
    check_message(&receiver.to("/doors")[0], &fragment, TOPIC);
    let delivered = async || deliveries(&store).await[0].state == DeliveryState::Delivered;
    until("its state is written", async || delivered().await).await;
    let of = &deliveries(&store).await[0].of;
    assert!(matches!(of, Subject::Notification(id) if *id == receiver.to("/doors")[0].headers["webhook-id"]), "{of:?}");
    end(stop, tasks).await;
    store.stop().await.unwrap();
}
