//! Tags of streams over the AWS surface: by stream, by ARN, their bounds, and policies that look at them.
#![allow(clippy::unwrap_used)]

mod common;

use common::Server;
use serde_json::{Value, json};

const INVALID: &str = "400 InvalidArgumentException";

/// The stream's tags, by both operations that list them.
async fn tags(server: &Server, arn: &str) -> Value {
    let by_stream = server.call("listTagsForStream", json!({"StreamARN": arn})).await.done();
    let by_arn = server.call("ListTagsForResource", json!({"ResourceARN": arn})).await.done();
    assert_eq!(by_stream, by_arn);
    by_arn["Tags"].clone()
}

async fn arn(server: &Server, name: &str) -> String {
    let info = server.call("describeStream", json!({"StreamName": name})).await.done()["StreamInfo"].clone();
    info["StreamARN"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tags_are_added_replaced_and_removed_by_stream_and_by_arn() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    let arn = arn(&server, "gate").await;
    assert_eq!(tags(&server, &arn).await, json!({}));
    let version = || async {
        server.call("describeStream", json!({"StreamARN": arn})).await.done()["StreamInfo"]["Version"].clone()
    };
    let before = version().await;

    let done = server.call("tagStream", json!({"StreamName": "gate", "Tags": {"site": "north", "floor": "1"}})).await;
    assert_eq!(done.done(), json!({}));
    let list = json!([{"Key": "floor", "Value": "2"}, {"Key": "Straße", "Value": ""}]);
    server.call("TagResource", json!({"ResourceARN": arn, "Tags": list})).await.done();
    assert_eq!(tags(&server, &arn).await, json!({"site": "north", "floor": "2", "Straße": ""}));
    server.call("UntagResource", json!({"ResourceARN": arn, "TagKeyList": ["site", "never there"]})).await.done();
    server.call("untagStream", json!({"StreamARN": arn, "TagKeyList": ["Straße"]})).await.done();
    assert_eq!(tags(&server, &arn).await, json!({"floor": "2"}));
    assert_eq!(version().await, before, "tags leave the version as it is");
    server.stop().await;

    let server = Server::start(data.path()).await;
    assert_eq!(tags(&server, &arn).await, json!({"floor": "2"}), "after a restart");
    server.stop().await;
}

#[tokio::test]
async fn tags_have_bounds_and_refusals_name_them() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    let arn = arn(&server, "gate").await;
    let refused = |operation: &'static str, body: Value| {
        let server = &server;
        async move { server.call(operation, body).await.refused() }
    };
    let stream = |member: &str, value: Value| json!({"StreamName": "gate", member: value});
    let resource = |member: &str, value: Value| json!({"ResourceARN": arn, member: value});
    for (operation, body, named) in [
        ("tagStream", stream("Tags", json!({})), "'Tags'"),
        ("tagStream", json!({"StreamName": "gate"}), "'Tags'"),
        ("tagStream", stream("Tags", json!({"": "a"})), "'Tags..key'"),
        ("tagStream", stream("Tags", json!({"aws:x": "a"})), "aws:"),
        ("tagStream", stream("Tags", json!({"a": 1})), "'Tags.a'"),
        ("tagStream", json!({"Tags": {"a": "b"}}), "StreamName or StreamARN"),
        ("untagStream", stream("TagKeyList", json!([])), "'TagKeyList'"),
        ("untagStream", stream("TagKeyList", json!(["a", "b*"])), "'TagKeyList[1]'"),
        ("TagResource", json!({"ResourceARN": "gate", "Tags": [{"Key": "a", "Value": "b"}]}), "'ResourceARN'"),
        ("TagResource", json!({"Tags": [{"Key": "a", "Value": "b"}]}), "'ResourceARN'"),
        ("TagResource", resource("Tags", json!([{"Key": "a"}])), "'Tags[0].Value'"),
        ("TagResource", resource("Tags", json!([])), "'Tags'"),
        ("UntagResource", resource("TagKeyList", json!(vec!["a"; 51])), "'TagKeyList'"),
        ("ListTagsForResource", json!({}), "'ResourceARN'"),
        ("ListTagsForResource", resource("NextToken", json!("AAAA")), "NextToken"),
        ("listTagsForStream", stream("NextToken", json!("AAAA")), "NextToken"),
    ] {
        let (kind, message) = refused(operation, body.clone()).await;
        assert_eq!(kind, INVALID, "{operation} {body}: {message}");
        assert!(message.contains(named), "{operation} {body}: {message}");
    }
    for (operation, mut body) in [
        ("tagStream", json!({"Tags": {"a": "b"}})),
        ("untagStream", json!({"TagKeyList": ["a"]})),
        ("listTagsForStream", json!({})),
    ] {
        body["StreamARN"] = json!("arn:aws:kinesisvideo:us-east-1:123456789012:gate");
        let (kind, message) = refused(operation, body).await;
        assert_eq!(kind, "400 InvalidResourceFormatException");
        assert!(message.contains("'StreamARN'"), "{message}");
    }
    let (kind, _) = refused("ListTagsForResource", json!({"ResourceARN": arn.replace("/gate/", "/door/")})).await;
    assert_eq!(kind, "404 ResourceNotFoundException");

    let many =
        |from: usize, to: usize| (from..to).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>();
    server.call("tagStream", stream("Tags", many(0, 49).into())).await.done();
    let (kind, message) = refused("tagStream", stream("Tags", many(49, 51).into())).await;
    assert_eq!((kind.as_str(), message.contains("51")), ("400 TagsPerResourceExceededLimitException", true));
    let (kind, _) =
        refused("TagResource", resource("Tags", json!([{"Key": "a", "Value": ""}, {"Key": "b", "Value": ""}]))).await;
    assert_eq!(kind, "400 TagsPerResourceExceededLimitException");
    assert_eq!(tags(&server, &arn).await.as_object().unwrap().len(), 49, "all or none");
    server.call("tagStream", stream("Tags", many(40, 50).into())).await.done();
    server.stop().await;
}

#[tokio::test]
async fn policies_see_the_tags_that_are_there_given_and_taken() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    // May make and tag streams of the north, and never touch the tag "locked".
    let key = server
        .key(json!({"Statement": [
            {"Effect": "Allow", "Action": ["kinesisvideo:CreateStream"], "Resource": "*",
             "Condition": {"StringEquals": {"aws:RequestTag/site": "north"}}},
            {"Effect": "Allow", "Action": ["kinesisvideo:Tag*", "kinesisvideo:Untag*", "kinesisvideo:DescribeStream", "kinesisvideo:UpdateStream"],
             "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/site": "north"}}},
            {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"ForAnyValue:StringEquals": {"aws:TagKeys": "locked"}}}]}))
        .await;
    let (server_ref, key) = (&server, &key);
    let status = |operation: &'static str, body: Value| async move {
        server_ref.call_as(key, operation, body).await.status.as_u16()
    };
    for tags in [json!({}), json!({"site": "south"}), json!({"site": "north", "locked": "no"})] {
        assert_eq!(status("createStream", json!({"StreamName": "gate", "Tags": tags})).await, 403, "{tags}");
    }
    assert_eq!(status("createStream", json!({"StreamName": "gate", "Tags": {"site": "north"}})).await, 200);
    server.call("createStream", json!({"StreamName": "door", "Tags": {"site": "south"}})).await.done();
    let (gate, door) = (arn(&server, "gate").await, arn(&server, "door").await);
    assert_eq!(status("tagStream", json!({"StreamName": "gate", "Tags": {"a": "b"}})).await, 200);
    assert_eq!(status("tagStream", json!({"StreamName": "gate", "Tags": {"locked": "b"}})).await, 403);
    assert_eq!(
        status("TagResource", json!({"ResourceARN": gate, "Tags": [{"Key": "locked", "Value": ""}]})).await,
        403
    );
    assert_eq!(status("untagStream", json!({"StreamName": "gate", "TagKeyList": ["locked"]})).await, 403);
    assert_eq!(status("UntagResource", json!({"ResourceARN": gate, "TagKeyList": ["a"]})).await, 200);
    assert_eq!(status("TagResource", json!({"ResourceARN": door, "Tags": [{"Key": "a", "Value": ""}]})).await, 403);
    assert_eq!(status("describeStream", json!({"StreamName": "gate"})).await, 200);
    assert_eq!(status("describeStream", json!({"StreamName": "door"})).await, 403);
    // Once its tag is gone, so is the right.
    assert_eq!(status("untagStream", json!({"StreamName": "gate", "TagKeyList": ["site"]})).await, 200);
    assert_eq!(status("describeStream", json!({"StreamName": "gate"})).await, 403);
    server.stop().await;
}
