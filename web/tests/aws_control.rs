//! The control plane of the AWS surface over real HTTP: shapes, statuses and texts as clients see them.
#![allow(clippy::unwrap_used)]

mod common;

use common::Server;
use serde_json::{Value, json};

#[tokio::test]
async fn every_answer_has_a_request_id_and_errors_have_the_form_of_aws() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    let asked = json!({"StreamName": "gate", "APIName": "PUT_MEDIA"});
    let answer = server.call("getDataEndpoint", asked).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json(), json!({"DataEndpoint": format!("http://{}", server.address)}));
    let first = answer.header("x-amzn-requestid").to_owned();
    assert_eq!(first.len(), 36);
    assert!(answer.headers.contains_key("date"));

    let answer = server.call("getDataEndpoint", json!({"StreamName": "door", "APIName": "GET_MEDIA"})).await;
    assert_eq!(answer.refused().0, "404 ResourceNotFoundException");
    assert_ne!(answer.header("x-amzn-requestid"), first);

    let answer = server.call("getDataEndpoint", json!({"StreamName": "gate", "APIName": "GET_ALL"})).await;
    let (kind, message) = answer.refused();
    assert_eq!(kind, "400 InvalidArgumentException");
    assert!(message.contains("'APIName'") && message.contains("GET_HLS_STREAMING_SESSION_URL"), "{message}");

    // Larger than the native API takes, and then larger than any operation takes.
    let padded = |n: usize| json!({"StreamName": "gate", "APIName": "GET_CLIP", "Ignored": "x".repeat(n)});
    assert_eq!(server.call("getDataEndpoint", padded(100_000)).await.status, 200);
    assert_eq!(server.call("getDataEndpoint", padded(1 << 20)).await.refused().0, "413 RequestEntityTooLargeException");

    let headers =
        [("authorization", common::basic(common::KEY, common::SECRET)), ("content-type", "text/plain".into())];
    let headers = headers.each_ref().map(|(n, v)| (*n, v.as_str()));
    let answer = server.send("POST", "/getDataEndpoint", &headers, Some(Value::String(String::new()))).await;
    assert!(answer.refused().1.contains("'APIName'"), "an empty body is an empty object, whatever its type");
    server.stop().await;
}

#[tokio::test]
async fn streams_are_described_and_listed_in_pages() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    for name in ["b", "a", "a2", "a1"] {
        server.stream(name).await;
    }
    let described = server.call("describeStream", json!({"StreamName": "a"})).await.json()["StreamInfo"].clone();
    let arn = described["StreamARN"].as_str().unwrap().to_owned();
    let made = server.store.stream(&"a".parse().unwrap()).unwrap().info().created_at.0;
    assert_eq!(arn, format!("arn:aws:kinesisvideo:us-east-1:123456789012:stream/a/{made}"));
    assert_eq!((&described["Status"], &described["DataRetentionInHours"]), (&json!("ACTIVE"), &json!(168)));
    assert_eq!(described["CreationTime"].as_f64().unwrap(), made as f64 / 1000.0);
    assert_eq!(described["Version"].as_str().unwrap().len(), 20);
    let by_arn = server.call("describeStream", json!({"StreamARN": arn})).await.json()["StreamInfo"].clone();
    assert_eq!(by_arn, described);
    let old = json!({"StreamARN": format!("{}1", arn.trim_end_matches(|c: char| c.is_ascii_digit()))});
    assert_eq!(server.call("describeStream", old).await.refused().0, "404 ResourceNotFoundException");

    let condition = json!({"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "a"});
    let (mut names, mut token) = (Vec::new(), Value::Null);
    loop {
        let asked = json!({"MaxResults": 2, "StreamNameCondition": condition, "NextToken": token});
        let page = server.call("listStreams", asked).await.json();
        names.extend(page["StreamInfoList"].as_array().unwrap().iter().map(|i| i["StreamName"].clone()));
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
        let other = server.call("listStreams", json!({"NextToken": token})).await;
        assert_eq!(other.refused().0, "400 InvalidArgumentException", "a token of another listing");
    }
    assert_eq!(names, ["a", "a1", "a2"]);
    assert_eq!(server.call("listStreams", json!({"MaxResults": 0})).await.refused().0, "400 InvalidArgumentException");
    server.stop().await;
}
