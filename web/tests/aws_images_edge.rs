//! Configurations that other parts of a system read: pictures of fragments, and what edge agents are asked to do.
#![allow(clippy::unwrap_used)]

mod common;

use common::Server;
use serde_json::{Value, json};

const INVALID: &str = "400 InvalidArgumentException";
const NOT_FOUND: &str = "404 ResourceNotFoundException";
const NO_EDGE: &str = "404 StreamEdgeConfigurationNotFoundException";
const NO_RETENTION: &str = "400 NoDataRetentionException";

fn images() -> Value {
    json!({"Status": "ENABLED", "ImageSelectorType": "PRODUCER_TIMESTAMP", "SamplingInterval": 3000, "Format": "JPEG",
        "FormatConfig": {"JPEGQuality": "80"}, "WidthPixels": 320, "HeightPixels": 240,
        "DestinationConfig": {"Uri": "s3://bucket/prefix", "DestinationRegion": "us-west-2"}})
}

fn edge(thing: &str) -> Value {
    json!({"HubDeviceArn": format!("arn:aws:iot:us-west-2:123456789012:thing/{thing}"),
        "RecorderConfig": {
            "MediaSourceConfig": {"MediaUriSecretArn": "arn:aws:secretsmanager:us-west-2:123456789012:secret:camera-1", "MediaUriType": "RTSP_URI"},
            "ScheduleConfig": {"ScheduleExpression": "0 0 8-18 ? * MON-FRI *", "DurationInSeconds": 3600}},
        "UploaderConfig": {"ScheduleConfig": {"ScheduleExpression": "0 0/30 * * * ?", "DurationInSeconds": 60}},
        "DeletionConfig": {"EdgeRetentionInHours": 720, "DeleteAfterUpload": true,
            "LocalSizeConfig": {"MaxLocalMediaSizeInMB": 64, "StrategyOnFullSize": "DELETE_OLDEST_MEDIA"}}})
}

/// Puts a value at a path of members.
fn with(mut body: Value, path: &str, value: Value) -> Value {
    let pointer = format!("/{}", path.replace('.', "/"));
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[member] = value;
    body
}

#[tokio::test]
async fn image_generation_is_set_shown_and_removed() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    let described =
        || async { server.call("describeImageGenerationConfiguration", json!({"StreamName": "gate"})).await.done() };
    let update = |configuration: Value| {
        let body = json!({"StreamName": "gate", "ImageGenerationConfiguration": configuration});
        let server = &server;
        async move { server.call("updateImageGenerationConfiguration", body).await }
    };
    assert_eq!(described().await, json!({}));
    assert_eq!(update(images()).await.done(), json!({}));
    assert_eq!(described().await, json!({"ImageGenerationConfiguration": images()}));
    for (member, wrong, named) in [
        ("Status", json!("ON"), "[ENABLED, DISABLED]"),
        ("ImageSelectorType", json!(1), "ImageSelectorType"),
        ("SamplingInterval", json!(199), "SamplingInterval"),
        ("SamplingInterval", json!(-1), "SamplingInterval"),
        ("Format", json!("GIF"), "[JPEG, PNG]"),
        ("FormatConfig", json!({"JPEGQuality": "best"}), "FormatConfig"),
        ("WidthPixels", json!(0), "WidthPixels"),
        ("DestinationConfig.Uri", json!("https://example.com/x"), "DestinationConfig.Uri"),
        ("DestinationConfig", json!({"Uri": "s3://b"}), "DestinationRegion"),
    ] {
        let (kind, message) = update(with(images(), member, wrong)).await.refused();
        assert_eq!(kind, INVALID);
        assert!(message.contains("ImageGenerationConfiguration") && message.contains(named), "{message}");
    }
    assert_eq!(described().await, json!({"ImageGenerationConfiguration": images()}), "as it was");
    update(Value::Null).await.done();
    assert_eq!(described().await, json!({}));

    server.call("createStream", json!({"StreamName": "bare"})).await.done();
    let body = |configuration| json!({"StreamName": "bare", "ImageGenerationConfiguration": configuration});
    let answer = server.call("updateImageGenerationConfiguration", body(images())).await;
    assert_eq!(answer.refused().0, NO_RETENTION);
    let off = with(images(), "Status", json!("DISABLED"));
    server.call("updateImageGenerationConfiguration", body(off)).await.done();
    let notification = json!({"Status": "ENABLED", "DestinationConfig": {"Uri": "https://example.com/x"}});
    let body = json!({"StreamName": "bare", "NotificationConfiguration": notification});
    assert_eq!(server.call("updateNotificationConfiguration", body).await.refused().0, NO_RETENTION);
    for operation in ["describeImageGenerationConfiguration", "updateImageGenerationConfiguration"] {
        assert_eq!(server.call(operation, json!({"StreamName": "door"})).await.refused().0, NOT_FOUND);
    }
    server.stop().await;
}

#[tokio::test]
async fn an_edge_configuration_is_started_shown_and_deleted() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    let gate = json!({"StreamName": "gate"});
    assert_eq!(server.call("describeEdgeConfiguration", gate.clone()).await.refused().0, NO_EDGE);
    assert_eq!(server.call("deleteEdgeConfiguration", gate.clone()).await.refused().0, NO_EDGE);

    let start = |config: Value| json!({"StreamName": "gate", "EdgeConfig": config});
    let first = server.call("startEdgeConfigurationUpdate", start(edge("hub"))).await.done();
    assert_eq!((&first["SyncStatus"], &first["EdgeConfig"]), (&json!("SYNCING"), &edge("hub")));
    assert_eq!(first["CreationTime"], first["LastUpdatedTime"]);
    let info = server.call("describeStream", gate.clone()).await.done()["StreamInfo"].clone();
    assert_eq!((&first["StreamName"], &first["StreamARN"]), (&info["StreamName"], &info["StreamARN"]));
    assert_eq!(server.call("describeEdgeConfiguration", gate.clone()).await.done(), first);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let second = server.call("startEdgeConfigurationUpdate", start(edge("other"))).await.done();
    assert_eq!(second["CreationTime"], first["CreationTime"]);
    assert!(second["LastUpdatedTime"].as_f64() > first["LastUpdatedTime"].as_f64());
    assert_eq!(server.call("describeEdgeConfiguration", gate.clone()).await.done(), second);

    let recorder = "RecorderConfig.MediaSourceConfig";
    for (member, wrong, named) in [
        ("HubDeviceArn", json!("hub"), "HubDeviceArn"),
        ("HubDeviceArn", json!("arn:aws:iot:us-west-2:123456789012:thing/a b"), "HubDeviceArn"),
        ("RecorderConfig", json!({}), "RecorderConfig.MediaSourceConfig"),
        (&format!("{recorder}.MediaUriType"), json!("HTTP_URI"), "[RTSP_URI, FILE_URI]"),
        (&format!("{recorder}.MediaUriSecretArn"), json!("rtsp://viewer:hunter2@192.0.2.1/x"), "MediaUriSecretArn"),
        ("RecorderConfig.ScheduleConfig.ScheduleExpression", json!("every hour of the day"), "ScheduleExpression"),
        ("RecorderConfig.ScheduleConfig.ScheduleExpression", json!("0 0 * * *"), "ScheduleExpression"),
        (
            "UploaderConfig.ScheduleConfig.DurationInSeconds",
            json!(59),
            "UploaderConfig.ScheduleConfig.DurationInSeconds",
        ),
        ("UploaderConfig", json!({}), "UploaderConfig.ScheduleConfig"),
        ("DeletionConfig.EdgeRetentionInHours", json!(721), "EdgeRetentionInHours"),
        ("DeletionConfig.LocalSizeConfig.MaxLocalMediaSizeInMB", json!(63), "MaxLocalMediaSizeInMB"),
        ("DeletionConfig.LocalSizeConfig.StrategyOnFullSize", json!("STOP"), "DELETE_OLDEST_MEDIA"),
    ] {
        let (kind, message) =
            server.call("startEdgeConfigurationUpdate", start(with(edge("hub"), member, wrong))).await.refused();
        assert_eq!(kind, INVALID, "{member}");
        assert!(
            message.contains("EdgeConfig.") && message.contains(named) && !message.contains("hunter2"),
            "{message}"
        );
    }
    assert_eq!(server.call("startEdgeConfigurationUpdate", gate.clone()).await.refused().0, INVALID);
    server.call("deleteEdgeConfiguration", gate.clone()).await.done();
    assert_eq!(server.call("describeEdgeConfiguration", gate).await.refused().0, NO_EDGE);

    server.call("createStream", json!({"StreamName": "bare"})).await.done();
    let body = json!({"StreamName": "bare", "EdgeConfig": edge("hub")});
    assert_eq!(server.call("startEdgeConfigurationUpdate", body).await.refused().0, NO_RETENTION);
    for (operation, body) in [
        ("startEdgeConfigurationUpdate", json!({"StreamName": "door", "EdgeConfig": edge("hub")})),
        ("describeEdgeConfiguration", json!({"StreamName": "door"})),
        ("deleteEdgeConfiguration", json!({"StreamName": "door"})),
    ] {
        assert_eq!(server.call(operation, body).await.refused().0, NOT_FOUND, "{operation}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_configurations_of_an_agent_come_in_pages() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    for n in 0..25 {
        server.stream(&format!("s{n}")).await;
        let thing = if n % 2 == 0 { "hub" } else { "other" };
        let body = json!({"StreamName": format!("s{n}"), "EdgeConfig": edge(thing)});
        server.call("startEdgeConfigurationUpdate", body).await.done();
    }
    server.stream("without").await;
    server.call("tagStream", json!({"StreamName": "without", "Tags": {"a": "b"}})).await.done();
    let hub = edge("hub")["HubDeviceArn"].clone();
    for most in [None, Some(1), Some(4), Some(10)] {
        let (mut names, mut token, mut pages) = (Vec::new(), Value::Null, 0);
        loop {
            let body = json!({"HubDeviceArn": hub, "MaxResults": most, "NextToken": token});
            let page = server.call("listEdgeAgentConfigurations", body).await.done();
            let configs = page["EdgeConfigs"].as_array().unwrap();
            assert!(configs.len() <= most.unwrap_or(10));
            names.extend(configs.iter().map(|c| c["StreamName"].as_str().unwrap().to_owned()));
            (token, pages) = (page["NextToken"].clone(), pages + 1);
            if token.is_null() {
                break;
            }
            let other = json!({"HubDeviceArn": edge("other")["HubDeviceArn"], "NextToken": token});
            assert_eq!(server.call("listEdgeAgentConfigurations", other).await.refused().0, INVALID, "another's token");
        }
        names.sort();
        let mut expected: Vec<String> = (0..25).step_by(2).map(|n| format!("s{n}")).collect();
        expected.sort();
        assert_eq!(names, expected);
        assert_eq!(pages, 13_usize.div_ceil(most.unwrap_or(10)));
    }
    for (body, named) in [
        (json!({}), "'HubDeviceArn'"),
        (json!({"HubDeviceArn": "hub"}), "'HubDeviceArn'"),
        (json!({"HubDeviceArn": hub, "MaxResults": 11}), "'MaxResults'"),
        (json!({"HubDeviceArn": hub, "MaxResults": 0}), "'MaxResults'"),
        (json!({"HubDeviceArn": hub, "NextToken": "AAAA"}), "NextToken"),
    ] {
        let (kind, message) = server.call("listEdgeAgentConfigurations", body).await.refused();
        assert_eq!(kind, INVALID);
        assert!(message.contains(named), "{message}");
    }
    let nobody = json!({"HubDeviceArn": "arn:aws:iot:us-west-2:123456789012:thing/nobody"});
    assert_eq!(server.call("listEdgeAgentConfigurations", nobody).await.done(), json!({"EdgeConfigs": []}));
    // Rights to one stream are none to list them all.
    let own = "arn:aws:kinesisvideo:*:*:stream/s0/*";
    let key = server.key(json!({"Statement": {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": own}})).await;
    let answer = server.call_as(&key, "listEdgeAgentConfigurations", json!({"HubDeviceArn": hub})).await;
    assert_eq!(answer.refused().0, "403 AccessDeniedException");
    let start = |name: &str| json!({"StreamName": name, "EdgeConfig": edge("hub")});
    server.call_as(&key, "startEdgeConfigurationUpdate", start("s0")).await.done();
    for operation in [
        "startEdgeConfigurationUpdate",
        "describeEdgeConfiguration",
        "deleteEdgeConfiguration",
        "updateImageGenerationConfiguration",
    ] {
        assert_eq!(
            server.call_as(&key, operation, start("s1")).await.refused().0,
            "403 AccessDeniedException",
            "{operation}"
        );
    }
    server.stop().await;
}
