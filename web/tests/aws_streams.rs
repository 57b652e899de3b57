//! Streams made, changed and deleted over the AWS surface: what clients see, what each version allows, each refusal.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Server, record, take};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use store::{
    documents::STREAM,
    records::{Camera, Transport},
};

const MISMATCH: &str = "400 VersionMismatchException";
const INVALID: &str = "400 InvalidArgumentException";
const NOT_FOUND: &str = "404 ResourceNotFoundException";
const IN_USE: &str = "400 ResourceInUseException";
const DENIED: &str = "403 AccessDeniedException";

async fn create(server: &Server, body: Value) -> String {
    server.call("createStream", body).await.done()["StreamARN"].as_str().unwrap().to_owned()
}

async fn described(server: &Server, name: &str) -> Value {
    server.call("describeStream", json!({"StreamName": name})).await.done()["StreamInfo"].clone()
}

async fn version(server: &Server, name: &str) -> String {
    described(server, name).await["Version"].as_str().unwrap().to_owned()
}

/// Refusals: the member that each message must name.
async fn refuses(server: &Server, operation: &str, kind: &str, bodies: &[(Value, &str)]) {
    for (body, named) in bodies {
        let (refused, message) = server.call(operation, body.clone()).await.refused();
        assert_eq!(refused, kind, "{operation} {body}: {message}");
        assert!(message.contains(named), "{operation} {body}: {message}");
    }
}

#[tokio::test]
async fn a_stream_is_made_with_all_it_can_have() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let arn = create(
        &server,
        json!({"StreamName": "gate", "DataRetentionInHours": 24, "DeviceName": "cam-1", "MediaType": "video/h264,audio/aac",
            "KmsKeyId": "alias/own", "Tags": {"site": "north"}, "StreamStorageConfiguration": {"DefaultStorageTier": "WARM"}}),
    )
    .await;
    let info = server.store.stream(&"gate".parse().unwrap()).unwrap().info();
    assert_eq!(arn, format!("arn:aws:kinesisvideo:us-east-1:123456789012:stream/gate/{}", info.created_at.0));
    assert_eq!(info.retention_hours, Some(24));
    let mut shown = described(&server, "gate").await;
    assert_eq!(shown["Version"].as_str().unwrap().len(), 20);
    shown["Version"] = Value::Null;
    assert_eq!(
        shown,
        json!({"StreamName": "gate", "StreamARN": arn, "DeviceName": "cam-1", "MediaType": "video/h264,audio/aac",
            "KmsKeyId": "alias/own", "Status": "ACTIVE", "DataRetentionInHours": 24, "Version": null,
            "CreationTime": info.created_at.0 as f64 / 1000.0})
    );
    let storage = server.call("describeStreamStorageConfiguration", json!({"StreamARN": arn})).await.done();
    let tier = json!({"DefaultStorageTier": "WARM"});
    assert_eq!(storage, json!({"StreamName": "gate", "StreamARN": arn, "StreamStorageConfiguration": tier}));
    let tags = server.call("listTagsForStream", json!({"StreamName": "gate"})).await.done();
    assert_eq!(tags, json!({"Tags": {"site": "north"}}));

    // The least that it can have, and one that was not made here: the native API shows them all.
    create(&server, json!({"StreamName": "bare"})).await;
    server.stream("native").await;
    let bare = described(&server, "bare").await;
    assert_eq!((&bare["DataRetentionInHours"], &bare["MediaType"]), (&json!(0), &Value::Null));
    assert_eq!(bare["KmsKeyId"], "arn:aws:kms:us-east-1:123456789012:alias/aws/kinesisvideo");
    assert_eq!(bare.get("DeviceName"), None);
    assert_eq!(described(&server, "native").await["DataRetentionInHours"], 168);
    let storage = server.call("describeStreamStorageConfiguration", json!({"StreamName": "native"})).await.done();
    assert_eq!(storage["StreamStorageConfiguration"], json!({"DefaultStorageTier": "HOT"}));
    let native = server.root("GET", "/v1/streams", None).await.json();
    let hours = |n: usize| (native["streams"][n]["name"].clone(), native["streams"][n]["retention_hours"].clone());
    assert_eq!(
        [hours(0), hours(1), hours(2)],
        [("bare", 0), ("gate", 24), ("native", 168)].map(|(n, h)| (json!(n), json!(h)))
    );
    let listed = server.call("listStreams", json!({})).await.done();
    assert_eq!(listed["StreamInfoList"][1], described(&server, "gate").await);
    server.stop().await;
}

#[tokio::test]
async fn what_no_stream_can_be_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let with = |member: &str, value: Value| json!({"StreamName": "gate", member: value});
    let many: serde_json::Map<String, Value> = (0..51).map(|n| (format!("k{n}"), json!(""))).collect();
    let wrong = [
        (json!({}), "'StreamName'"),
        (json!({"StreamName": ""}), "'StreamName'"),
        (json!({"StreamName": "a b"}), "'StreamName'"),
        (json!({"StreamName": "a".repeat(257)}), "'StreamName'"),
        (with("DataRetentionInHours", json!(-1)), "'DataRetentionInHours'"),
        (with("DataRetentionInHours", json!(87_601)), "'DataRetentionInHours'"),
        (with("DataRetentionInHours", json!("a")), "'DataRetentionInHours'"),
        (with("DeviceName", json!("a b")), "'DeviceName'"),
        (with("MediaType", json!("video")), "'MediaType'"),
        (with("KmsKeyId", json!("")), "'KmsKeyId'"),
        (with("Tags", json!({"a*": "b"})), "'Tags.a*.key'"),
        (with("Tags", json!({"a": "b".repeat(257)})), "'Tags.a.value'"),
        (with("StreamStorageConfiguration", json!({"DefaultStorageTier": "COLD"})), "[HOT, WARM]"),
    ];
    refuses(&server, "createStream", INVALID, &wrong).await;
    refuses(&server, "createStream", "400 TagsPerResourceExceededLimitException", &[(with("Tags", many.into()), "51")])
        .await;
    assert!(server.store.streams().is_empty());
    create(&server, json!({"StreamName": "gate"})).await;
    refuses(&server, "createStream", IN_USE, &[(json!({"StreamName": "gate", "DataRetentionInHours": 5}), "gate")])
        .await;
    assert_eq!(described(&server, "gate").await["DataRetentionInHours"], 0, "as it was");
    server.stop().await;
}

#[tokio::test]
async fn a_change_names_the_version_that_it_was_made_from() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let arn = create(&server, json!({"StreamName": "gate", "DataRetentionInHours": 24, "DeviceName": "cam-1"})).await;
    let first = version(&server, "gate").await;
    let update = |v: &str| json!({"StreamName": "gate", "CurrentVersion": v, "MediaType": "video/h265"});
    assert_eq!(server.call("updateStream", update(&first)).await.done(), json!({}));
    let shown = described(&server, "gate").await;
    assert_eq!((&shown["MediaType"], &shown["DeviceName"]), (&json!("video/h265"), &json!("cam-1")));
    let second = shown["Version"].as_str().unwrap();
    let storage = |v: &str| json!({"StreamARN": arn, "CurrentVersion": v, "StreamStorageConfiguration": {"DefaultStorageTier": "WARM"}});
    let retention = |v: &str, operation: &str, hours: u32| json!({"StreamName": "gate", "CurrentVersion": v, "Operation": format!("{operation}_DATA_RETENTION"), "DataRetentionChangeInHours": hours});
    // Each change is refused from the old version, and says which is the one.
    refuses(&server, "updateStream", MISMATCH, &[(update(&first), second)]).await;
    refuses(&server, "updateStreamStorageConfiguration", MISMATCH, &[(storage(&first), second)]).await;
    refuses(&server, "updateDataRetention", MISMATCH, &[(retention(&first, "INCREASE", 1), second)]).await;
    let delete = |v: &str| json!({"StreamARN": arn, "CurrentVersion": v});
    refuses(&server, "deleteStream", MISMATCH, &[(delete(&first), second)]).await;

    server.call("updateStreamStorageConfiguration", storage(second)).await.done();
    let third = version(&server, "gate").await;
    server.call("updateDataRetention", retention(&third, "INCREASE", 6)).await.done();
    assert_eq!(described(&server, "gate").await["DataRetentionInHours"], 30);
    let name = "gate".parse().unwrap();
    assert_eq!(server.store.stream(&name).unwrap().info().retention_hours, Some(30));
    server.call("updateDataRetention", retention(&version(&server, "gate").await, "DECREASE", 6)).await.done();
    let back = version(&server, "gate").await;
    assert!(back != third, "the same retention again is another version");
    refuses(&server, "updateDataRetention", MISMATCH, &[(retention(&third, "DECREASE", 1), &back)]).await;

    // Wrong in itself, whatever the version.
    let wrong = [
        (json!({"StreamName": "gate"}), "'CurrentVersion'"),
        (update("a-b"), "'CurrentVersion'"),
        (update(""), "'CurrentVersion'"),
        (json!({"StreamName": "gate", "CurrentVersion": back, "DeviceName": "a b"}), "'DeviceName'"),
        (json!({"StreamName": "gate", "CurrentVersion": back, "MediaType": ""}), "'MediaType'"),
        (json!({"CurrentVersion": back}), "StreamName or StreamARN"),
    ];
    refuses(&server, "updateStream", INVALID, &wrong).await;
    let wrong = [
        (retention(&back, "KEEP", 1), "INCREASE_DATA_RETENTION, DECREASE_DATA_RETENTION"),
        (retention(&back, "INCREASE", 0), "'DataRetentionChangeInHours'"),
        (retention(&back, "DECREASE", 25), "keeps 24"),
        (retention(&back, "INCREASE", 87_600), "87600"),
    ];
    refuses(&server, "updateDataRetention", INVALID, &wrong).await;
    refuses(&server, "updateStreamStorageConfiguration", INVALID, &[(update(&back), "'StreamStorageConfiguration'")])
        .await;
    assert_eq!(version(&server, "gate").await, back, "refusals change nothing");

    server.call("deleteStream", delete(&back)).await.done();
    assert!(server.store.stream(&name).is_err());
    assert_eq!(server.root("GET", "/v1/streams", None).await.json(), json!({"streams": []}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_changes_from_one_version_one_is_made() {
    let data = tempfile::tempdir().unwrap();
    let server = std::sync::Arc::new(Server::start(data.path()).await);
    server.stream("gate").await;
    let from = version(&server, "gate").await;
    let mut changes = Vec::new();
    for n in 0..12 {
        let (server, from) = (server.clone(), from.clone());
        changes.push(tokio::spawn(async move {
            let named = json!({"StreamName": "gate", "CurrentVersion": from});
            let (operation, member) = match n % 2 {
                0 => ("updateStream", json!({"DeviceName": format!("cam-{n}")})),
                _ => (
                    "updateDataRetention",
                    json!({"Operation": "INCREASE_DATA_RETENTION", "DataRetentionChangeInHours": 1}),
                ),
            };
            let mut body = named;
            body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
            let answer = server.call(operation, body).await;
            // Tags name no version, so that all of them are there in the end.
            let tag = json!({"StreamName": "gate", "Tags": {format!("k{n}"): "v"}});
            server.call("tagStream", tag).await.done();
            answer.status == 200 || {
                assert_eq!(answer.refused().0, MISMATCH);
                false
            }
        }));
    }
    let mut made = 0;
    for change in changes {
        made += usize::from(change.await.unwrap());
    }
    assert_eq!(made, 1);
    let tags = server.call("listTagsForStream", json!({"StreamName": "gate"})).await.done();
    assert_eq!(tags["Tags"].as_object().unwrap().len(), 12);
    let Ok(server) = std::sync::Arc::try_unwrap(server) else { panic!("all is done") };
    server.stop().await;
}

#[tokio::test]
async fn streams_that_are_gone_or_another_s_are_not_there() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let old = create(&server, json!({"StreamName": "gate"})).await;
    server.call("deleteStream", json!({"StreamARN": old})).await.done();
    // Streams of the same name that are made within a millisecond have the same ARN.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let new = create(&server, json!({"StreamName": "gate"})).await;
    assert_ne!(old, new);
    let v = version(&server, "gate").await;
    let foreign = new.replace("123456789012", "210987654321");
    for arn in [&old, &foreign, &new.replace("/gate/", "/door/")] {
        let both = |mut body: Value| {
            body["StreamARN"] = json!(arn);
            body
        };
        let retention =
            json!({"CurrentVersion": v, "Operation": "INCREASE_DATA_RETENTION", "DataRetentionChangeInHours": 1});
        for (operation, body) in [
            ("describeStream", json!({})),
            ("deleteStream", json!({})),
            ("updateStream", json!({"CurrentVersion": v})),
            ("updateDataRetention", retention),
            ("describeStreamStorageConfiguration", json!({})),
            (
                "updateStreamStorageConfiguration",
                json!({"CurrentVersion": v, "StreamStorageConfiguration": {"DefaultStorageTier": "HOT"}}),
            ),
            ("tagStream", json!({"Tags": {"a": "b"}})),
            ("untagStream", json!({"TagKeyList": ["a"]})),
            ("listTagsForStream", json!({})),
        ] {
            refuses(&server, operation, NOT_FOUND, &[(both(body), "no stream")]).await;
        }
    }
    let key = |action: &str| {
        let stream = "arn:aws:kinesisvideo:*:*:stream/own/*";
        json!({"Statement": {"Effect": "Allow", "Action": format!("kinesisvideo:{action}"), "Resource": stream}})
    };
    let all = server.key(key("*")).await;
    server.call_as(&all, "createStream", json!({"StreamName": "own"})).await.done();
    for (operation, body) in [
        ("createStream", json!({"StreamName": "gate"})),
        ("deleteStream", json!({"StreamARN": new})),
        ("updateStream", json!({"StreamName": "gate", "CurrentVersion": v})),
        ("tagStream", json!({"StreamName": "gate", "Tags": {"a": "b"}})),
        ("listTagsForStream", json!({"StreamName": "gate"})),
        ("describeStreamStorageConfiguration", json!({"StreamName": "gate"})),
    ] {
        assert_eq!(server.call_as(&all, operation, body).await.refused().0, DENIED, "{operation}");
    }
    let reads = server.key(key("Describe*")).await;
    server.call_as(&reads, "describeStream", json!({"StreamName": "own"})).await.done();
    let v = version(&server, "own").await;
    for (operation, body) in [
        ("updateStream", json!({"StreamName": "own", "CurrentVersion": v})),
        (
            "updateDataRetention",
            json!({"StreamName": "own", "CurrentVersion": v, "Operation": "INCREASE_DATA_RETENTION", "DataRetentionChangeInHours": 1}),
        ),
        ("tagStream", json!({"StreamName": "own", "Tags": {"a": "b"}})),
        ("createStream", json!({"StreamName": "other"})),
    ] {
        assert_eq!(server.call_as(&reads, operation, body).await.refused().0, DENIED, "{operation}");
    }
    assert_eq!(version(&server, "own").await, v);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_in_use_stays() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let stream = server.stream("gate").await;
    let camera = Camera {
        stream: "gate".parse().unwrap(),
        url: "rtsp://127.0.0.1:9/x".into(),
        username: None,
        password: None,
        transport: Transport::Tcp,
        enabled: false,
        from_config: false,
    };
    server.store.put_camera(camera).await.unwrap();
    let arn = described(&server, "gate").await["StreamARN"].clone();
    refuses(&server, "deleteStream", IN_USE, &[(json!({"StreamARN": arn}), "camera gate")]).await;
    server.store.delete_camera(&"gate".parse().unwrap()).await.unwrap();
    // Nor one that a channel stores in.
    server
        .call(
            "updateDataRetention",
            json!({"StreamName": "gate", "CurrentVersion": version(&server, "gate").await,
        "Operation": "INCREASE_DATA_RETENTION", "DataRetentionChangeInHours": 1}),
        )
        .await
        .done();
    let channel =
        server.call("createSignalingChannel", json!({"ChannelName": "door"})).await.done()["ChannelARN"].clone();
    let storage = |status: &str| json!({"ChannelARN": channel, "MediaStorageConfiguration": {"Status": status, "StreamARN": arn}});
    server.call("updateMediaStorageConfiguration", storage("ENABLED")).await.done();
    refuses(&server, "deleteStream", IN_USE, &[(json!({"StreamARN": arn}), "channel")]).await;
    server.call("updateMediaStorageConfiguration", storage("DISABLED")).await.done();
    // What was configured goes with it.
    server.call("tagStream", json!({"StreamName": "gate", "Tags": {"a": "b"}})).await.done();
    server.call("deleteStream", json!({"StreamARN": arn})).await.done();
    assert_eq!(server.store.document(STREAM, &stream.info().id.to_string()).await.unwrap(), None);
    refuses(
        &server,
        "deleteStream",
        INVALID,
        &[(json!({}), "'StreamARN'"), (json!({"StreamARN": "gate"}), "'StreamARN'")],
    )
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_lower_retention_takes_what_is_older() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    create(&server, json!({"StreamName": "gate", "DataRetentionInHours": 24})).await;
    let stream = server.store.stream(&"gate".parse().unwrap()).unwrap();
    record(&stream, &take(3, 1000)).await;
    server.ahead_ms.store(3 * 3_600_000, Ordering::Relaxed);
    record(&stream, &take(2, 1000)).await;
    let listed = || async {
        let answer = server.call("listFragments", json!({"StreamName": "gate"})).await.done();
        answer["Fragments"].as_array().unwrap().len()
    };
    assert_eq!(listed().await, 5);
    let change = |v: String, operation: &str, hours: u32| {
        let operation = format!("{operation}_DATA_RETENTION");
        json!({"StreamName": "gate", "CurrentVersion": v, "Operation": operation, "DataRetentionChangeInHours": hours})
    };
    server.call("updateDataRetention", change(version(&server, "gate").await, "DECREASE", 22)).await.done();
    let began = std::time::Instant::now();
    while listed().await != 2 {
        assert!(began.elapsed().as_secs() < 60, "the older ones are still there");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    server.call("updateDataRetention", change(version(&server, "gate").await, "INCREASE", 22)).await.done();
    assert_eq!(listed().await, 2, "more brings nothing back");
    // Without an archive there is none to list.
    server.call("updateDataRetention", change(version(&server, "gate").await, "DECREASE", 24)).await.done();
    let answer = server.call("listFragments", json!({"StreamName": "gate"})).await;
    assert_eq!(answer.refused().0, "400 NoDataRetentionException");
    server.stop().await;
}
