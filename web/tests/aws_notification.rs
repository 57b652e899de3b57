//! The notification configuration of streams, as clients of the AWS surface set and see it.
#![allow(clippy::unwrap_used)]

mod common;

use common::Server;
use serde_json::{Value, json};
use store::records::{Secret, Target};

fn configuration(status: &str, uri: &str) -> Value {
    json!({"Status": status, "DestinationConfig": {"Uri": uri}})
}

async fn update(server: &Server, configuration: Value) -> common::Answer {
    let body = json!({"StreamName": "gate", "NotificationConfiguration": configuration});
    server.call("updateNotificationConfiguration", body).await
}

async fn described(server: &Server) -> Value {
    server.call("describeNotificationConfiguration", json!({"StreamName": "gate"})).await.done()
}

async fn version(server: &Server) -> String {
    let info = server.call("describeStream", json!({"StreamName": "gate"})).await.done();
    info["StreamInfo"]["Version"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_configuration_is_set_shown_changed_and_removed() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let stream = server.stream("gate").await;
    assert_eq!(described(&server).await, json!({}), "none yet");
    let first = version(&server).await;

    let url = configuration("ENABLED", "https://example.com/x?t=1");
    assert_eq!(update(&server, url.clone()).await.done(), json!({}));
    assert_eq!(described(&server).await, json!({"NotificationConfiguration": url}));
    let second = version(&server).await;
    assert_ne!(first, second);
    // What is kept is what producers' fragments will be told by.
    let document =
        server.store.document(store::documents::STREAM, &stream.info().id.to_string()).await.unwrap().unwrap();
    assert_eq!(document.body["notification"], url);

    let off = configuration("DISABLED", "arn:aws:sns:us-west-2:123456789012:doors");
    update(&server, off.clone()).await.done();
    assert_eq!(described(&server).await, json!({"NotificationConfiguration": off}));
    server.call("updateNotificationConfiguration", json!({"StreamName": "gate"})).await.done();
    assert_eq!(described(&server).await, json!({}));
    assert!(![first, second].contains(&version(&server).await), "a version never comes back");
    server.stop().await;
}

#[tokio::test]
async fn destinations_that_nothing_would_reach_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    let topic = "arn:aws:sns:us-west-2:123456789012:doors";
    for (wrong, why) in [
        (configuration("ON", topic), "[ENABLED, DISABLED]"),
        (json!({"Status": "ENABLED"}), "DestinationConfig"),
        (json!({"Status": "ENABLED", "DestinationConfig": {}}), "DestinationConfig.Uri"),
        (configuration("ENABLED", ""), "Uri"),
        (configuration("ENABLED", "s3://bucket/prefix"), "SNS topic"),
        (configuration("DISABLED", "arn:aws:sqs:us-west-2:123456789012:doors"), "SNS topic"),
        (configuration("ENABLED", &format!("https://example.com/{}", "x".repeat(240))), "255"),
        (configuration("ENABLED", "http://127.0.0.1:9/x"), "127.0.0.1"),
        (configuration("ENABLED", "https://user:hunter2@example.com/x"), "credentials"),
        (configuration("ENABLED", topic), "there is no target doors"),
    ] {
        let (kind, message) = update(&server, wrong.clone()).await.refused();
        assert_eq!(kind, "400 InvalidArgumentException", "{wrong}");
        assert!(message.contains("NotificationConfiguration") && message.contains(why), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    assert_eq!(described(&server).await, json!({}));
    // What the operator configured may be reached, wherever it is.
    let secret = Secret("a long random text".into());
    let url = "http://127.0.0.1:9/x".to_owned();
    let target = Target { name: "doors".parse().unwrap(), url, secret, allow_local: true, from_config: false };
    server.store.put_target(target).await.unwrap();
    update(&server, configuration("ENABLED", topic)).await.done();
    update(&server, configuration("ENABLED", "http://127.0.0.1:9/x")).await.done();

    let body = json!({"StreamName": "door", "NotificationConfiguration": configuration("ENABLED", topic)});
    let answer = server.call("updateNotificationConfiguration", body).await;
    assert_eq!(answer.refused().0, "404 ResourceNotFoundException");
    let answer = server.call("describeNotificationConfiguration", json!({"StreamName": "door"})).await;
    assert_eq!(answer.refused().0, "404 ResourceNotFoundException");
    server.stop().await;
}

#[tokio::test]
async fn those_without_the_right_change_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    server.stream("own").await;
    let own = "arn:aws:kinesisvideo:*:*:stream/own/*";
    let key = server.key(json!({"Statement": {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": own}})).await;
    let body = |name: &str| json!({"StreamName": name, "NotificationConfiguration": configuration("ENABLED", "https://example.com/")});
    server.call_as(&key, "updateNotificationConfiguration", body("own")).await.done();
    for operation in ["updateNotificationConfiguration", "describeNotificationConfiguration"] {
        let answer = server.call_as(&key, operation, body("gate")).await;
        assert_eq!(answer.refused().0, "403 AccessDeniedException", "{operation}");
    }
    assert_eq!(described(&server).await, json!({}));
    server.stop().await;
}

#[tokio::test]
async fn what_a_later_version_keeps_is_kept_or_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let id = server.stream("gate").await.info().id.to_string();
    let put = |body| server.store.put_document(store::documents::STREAM, &id, store::documents::Expect::Any, body);
    put(json!({"tags": {"a": "b"}, "weather": {"rain": true}})).await.unwrap();
    update(&server, configuration("ENABLED", "https://example.com/")).await.done();
    let body = server.store.document(store::documents::STREAM, &id).await.unwrap().unwrap().body;
    assert_eq!((&body["tags"], &body["weather"]), (&json!({"a": "b"}), &json!({"rain": true})));

    let later = json!({"notification": {"Status": "ENABLED", "DestinationConfig": {"Uri": "https://example.com/", "Retries": 3}}});
    put(later.clone()).await.unwrap();
    let answer = update(&server, Value::Null).await;
    assert_eq!(answer.refused().0, "500 InternalFailure");
    let body = server.store.document(store::documents::STREAM, &id).await.unwrap().unwrap().body;
    assert_eq!(body, later, "nothing is dropped");
    server.stop().await;
}
