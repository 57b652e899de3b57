//! The control plane of the AWS surface over real HTTP: shapes, statuses and texts as clients see them.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Answer, Server};
use serde_json::{Value, json};

/// Calls an operation as root.
async fn call(server: &Server, path: &str, body: Value) -> Answer {
    server.root("POST", path, Some(body)).await
}

/// The exception's name and message.
fn refused(answer: &Answer) -> (String, String) {
    let kind = answer.header("x-amzn-errortype");
    let (name, rest) = kind.split_once(':').unwrap_or_else(|| panic!("{}: {kind:?}", answer.text()));
    assert_eq!(rest, "https://kinesisvideo.amazonaws.com/doc/2017-09-30/");
    assert_eq!(answer.header("content-type"), "application/json");
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    (format!("{} {name}", answer.status.as_u16()), body["Message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_errors_have_the_form_of_aws() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    server.stream("gate").await;
    let asked = json!({"StreamName": "gate", "APIName": "PUT_MEDIA"});
    let answer = call(&server, "/getDataEndpoint", asked).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json(), json!({"DataEndpoint": format!("http://{}", server.address)}));
    let first = answer.header("x-amzn-requestid").to_owned();
    assert_eq!(first.len(), 36);
    assert!(answer.headers.contains_key("date"));

    let answer = call(&server, "/getDataEndpoint", json!({"StreamName": "door", "APIName": "GET_MEDIA"})).await;
    assert_eq!(refused(&answer).0, "404 ResourceNotFoundException");
    assert_ne!(answer.header("x-amzn-requestid"), first);

    let answer = call(&server, "/getDataEndpoint", json!({"StreamName": "gate", "APIName": "GET_ALL"})).await;
    let (kind, message) = refused(&answer);
    assert_eq!(kind, "400 InvalidArgumentException");
    assert!(message.contains("'APIName'") && message.contains("GET_HLS_STREAMING_SESSION_URL"), "{message}");

    // Larger than the native API takes, and then larger than any operation takes.
    let padded = |n: usize| json!({"StreamName": "gate", "APIName": "GET_CLIP", "Ignored": "x".repeat(n)});
    assert_eq!(call(&server, "/getDataEndpoint", padded(100_000)).await.status, 200);
    assert_eq!(
        refused(&call(&server, "/getDataEndpoint", padded(1 << 20)).await).0,
        "413 RequestEntityTooLargeException"
    );

    let headers =
        [("authorization", common::basic(common::KEY, common::SECRET)), ("content-type", "text/plain".into())];
    let headers = headers.each_ref().map(|(n, v)| (*n, v.as_str()));
    let answer = server.send("POST", "/getDataEndpoint", &headers, Some(Value::String(String::new()))).await;
    assert!(refused(&answer).1.contains("'APIName'"), "an empty body is an empty object, whatever its type");
    server.stop().await;
}

#[tokio::test]
async fn streams_are_described_and_listed_in_pages() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    for name in ["b", "a", "a2", "a1"] {
        server.stream(name).await;
    }
    let described = call(&server, "/describeStream", json!({"StreamName": "a"})).await.json()["StreamInfo"].clone();
    let arn = described["StreamARN"].as_str().unwrap().to_owned();
    let made = server.store.stream(&"a".parse().unwrap()).unwrap().info().created_at.0;
    assert_eq!(arn, format!("arn:aws:kinesisvideo:us-east-1:123456789012:stream/a/{made}"));
    assert_eq!((&described["Status"], &described["DataRetentionInHours"]), (&json!("ACTIVE"), &json!(168)));
    assert_eq!(described["CreationTime"].as_f64().unwrap(), made as f64 / 1000.0);
    assert_eq!(described["Version"].as_str().unwrap().len(), 20);
    let by_arn = call(&server, "/describeStream", json!({"StreamARN": arn})).await.json()["StreamInfo"].clone();
    assert_eq!(by_arn, described);
    let old = json!({"StreamARN": format!("{}1", arn.trim_end_matches(|c: char| c.is_ascii_digit()))});
    assert_eq!(refused(&call(&server, "/describeStream", old).await).0, "404 ResourceNotFoundException");

    let condition = json!({"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "a"});
    let (mut names, mut token) = (Vec::new(), Value::Null);
    loop {
        let asked = json!({"MaxResults": 2, "StreamNameCondition": condition, "NextToken": token});
        let page = call(&server, "/listStreams", asked).await.json();
        names.extend(page["StreamInfoList"].as_array().unwrap().iter().map(|i| i["StreamName"].clone()));
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
        let other = call(&server, "/listStreams", json!({"NextToken": token})).await;
        assert_eq!(refused(&other).0, "400 InvalidArgumentException", "a token of another listing");
    }
    assert_eq!(names, ["a", "a1", "a2"]);
    assert_eq!(
        refused(&call(&server, "/listStreams", json!({"MaxResults": 0})).await).0,
        "400 InvalidArgumentException"
    );
    server.stop().await;
}
