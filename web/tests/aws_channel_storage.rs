//! Where clients of a signaling channel are sent to, and which stream its sessions are stored in, over real HTTP.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Answer, Server};
use serde_json::{Value, json};
use store::documents::{CHANNEL, STREAM};

const INVALID: &str = "400 InvalidArgumentException";
const IN_USE: &str = "400 ResourceInUseException";
const NOT_FOUND: &str = "404 ResourceNotFoundException";
const DENIED: &str = "403 AccessDeniedException";

async fn channel(server: &Server, name: &str) -> String {
    let made = server.call("createSignalingChannel", json!({"ChannelName": name})).await.done();
    made["ChannelARN"].as_str().unwrap().to_owned()
}

async fn stream(server: &Server, name: &str) -> String {
    server.stream(name).await;
    let told = server.call("describeStream", json!({"StreamName": name})).await.done();
    told["StreamInfo"]["StreamARN"].as_str().unwrap().to_owned()
}

async fn store_in(server: &Server, channel: &str, stream: &str) -> Answer {
    let configuration = json!({"Status": "ENABLED", "StreamARN": stream});
    let body = json!({"ChannelARN": channel, "MediaStorageConfiguration": configuration});
    server.call("updateMediaStorageConfiguration", body).await
}

async fn disable(server: &Server, channel: &str) -> Answer {
    let body = json!({"ChannelARN": channel, "MediaStorageConfiguration": {"Status": "DISABLED"}});
    server.call("updateMediaStorageConfiguration", body).await
}

async fn stored_in(server: &Server, channel: &str) -> Value {
    let told = server.call("describeMediaStorageConfiguration", json!({"ChannelARN": channel})).await.done();
    told["MediaStorageConfiguration"].clone()
}

async fn mapped(server: &Server, stream: &str) -> Value {
    let told = server.call("describeMappedResourceConfiguration", json!({"StreamARN": stream})).await.done();
    told["MappedResourceConfigurationList"].clone()
}

fn endpoint(channel: &str, protocols: Value) -> Value {
    json!({"ChannelARN": channel,
        "SingleMasterChannelEndpointConfiguration": {"Protocols": protocols, "Role": "MASTER"}})
}

#[tokio::test]
async fn endpoints_are_this_server_as_the_client_reaches_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let arn = channel(&server, "door").await;
    let get = |body: Value| server.call("getSignalingChannelEndpoint", body);
    let address = server.address;
    let wss = json!({"Protocol": "WSS", "ResourceEndpoint": format!("ws://{address}")});
    let https = json!({"Protocol": "HTTPS", "ResourceEndpoint": format!("http://{address}")});
    for (protocols, told) in [
        (json!(["WSS"]), json!([wss])),
        (json!(["HTTPS", "WSS"]), json!([https, wss])),
        (json!(["WSS", "HTTPS", "WSS"]), json!([wss, https])),
        (Value::Null, json!([wss, https])),
    ] {
        let answer = get(endpoint(&arn, protocols.clone())).await.done();
        assert_eq!(answer, json!({"ResourceEndpointList": told}), "{protocols}");
    }
    let plain = get(json!({"ChannelARN": arn})).await.done();
    assert_eq!(plain["ResourceEndpointList"], json!([wss, https]));

    // Behind a proxy that speaks TLS, the addresses are the proxy's.
    let root = common::basic(common::KEY, common::SECRET);
    let headers =
        [("authorization", root.as_str()), ("x-forwarded-proto", "https"), ("x-forwarded-host", "video.example")];
    let body = json!({"ChannelARN": arn,
        "SingleMasterChannelEndpointConfiguration": {"Protocols": ["WSS", "HTTPS"], "Role": "VIEWER"}});
    let answer = server.send("POST", "/getSignalingChannelEndpoint", &headers, Some(body)).await.done();
    assert_eq!(
        answer["ResourceEndpointList"],
        json!([{"Protocol": "WSS", "ResourceEndpoint": "wss://video.example"},
            {"Protocol": "HTTPS", "ResourceEndpoint": "https://video.example"}])
    );

    let (kind, message) = get(endpoint(&arn, json!(["WEBRTC", "WSS"]))).await.refused();
    assert_eq!(kind, INVALID);
    assert!(message.contains("not configured for ingestion"), "{message}");
    let stream = stream(&server, "hall").await;
    store_in(&server, &arn, &stream).await.done();
    let answer = get(endpoint(&arn, json!(["WSS", "HTTPS", "WEBRTC"]))).await.done();
    let webrtc = json!({"Protocol": "WEBRTC", "ResourceEndpoint": format!("http://{address}")});
    assert_eq!(answer["ResourceEndpointList"], json!([wss, https, webrtc]));

    for wrong in [json!([]), json!(["WS"]), json!(["WSS", "WSS", "WSS", "WSS", "WSS", "WSS"]), json!("WSS")] {
        assert_eq!(get(endpoint(&arn, wrong.clone())).await.refused().0, INVALID, "{wrong}");
    }
    let role = json!({"ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": {"Role": "SLAVE"}});
    assert!(get(role).await.refused().1.contains("[MASTER, VIEWER]"));
    assert_eq!(get(json!({})).await.refused().0, INVALID);
    assert_eq!(get(json!({"ChannelARN": arn.replace("door", "none")})).await.refused().0, NOT_FOUND);
    server.stop().await;
}

#[tokio::test]
async fn one_channel_stores_in_one_stream() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let (door, gate) = (channel(&server, "door").await, channel(&server, "gate").await);
    let (hall, yard) = (stream(&server, "hall").await, stream(&server, "yard").await);
    assert_eq!(stored_in(&server, &door).await, json!({"Status": "DISABLED"}));
    assert_eq!(mapped(&server, &hall).await, json!([]));

    let version = async |arn: &str| {
        let told = server.call("describeSignalingChannel", json!({"ChannelARN": arn})).await.done();
        told["ChannelInfo"]["Version"].clone()
    };
    let before = version(&door).await;
    assert_eq!(store_in(&server, &door, &hall).await.done(), json!({}));
    let after = version(&door).await;
    assert_ne!(after, before);
    store_in(&server, &door, &hall).await.done(); // Again the same: nothing changes.
    assert_eq!(version(&door).await, after);
    assert_eq!(stored_in(&server, &door).await, json!({"Status": "ENABLED", "StreamARN": hall}));
    let by_name = server.call("describeMediaStorageConfiguration", json!({"ChannelName": "door"})).await.done();
    assert_eq!(by_name["MediaStorageConfiguration"]["StreamARN"], *hall);
    assert_eq!(mapped(&server, &hall).await, json!([{"Type": "SIGNALING_CHANNEL", "ARN": door}]));

    // Neither side is shared, and a channel that is needed stays.
    for (channel, stream, says) in [(&gate, &hall, "takes another channel"), (&door, &yard, "stores in another stream")]
    {
        let (kind, message) = store_in(&server, channel, stream).await.refused();
        assert_eq!(kind, IN_USE);
        assert!(message.contains(says), "{message}");
    }
    let (kind, message) = server.call("deleteSignalingChannel", json!({"ChannelARN": door})).await.refused();
    assert_eq!(kind, IN_USE);
    assert!(message.contains("DISABLED frees both"), "{message}");
    let (kind, message) = server.call("deleteStream", json!({"StreamARN": hall})).await.refused();
    assert_eq!(kind, IN_USE);
    assert!(message.contains("DescribeMappedResourceConfiguration"), "{message}");
    assert_eq!(stored_in(&server, &gate).await, json!({"Status": "DISABLED"}));
    assert_eq!(mapped(&server, &yard).await, json!([]));

    disable(&server, &door).await.done();
    disable(&server, &door).await.done(); // Is already.
    assert_eq!(stored_in(&server, &door).await, json!({"Status": "DISABLED"}));
    assert_eq!(mapped(&server, &hall).await, json!([]));
    store_in(&server, &gate, &hall).await.done();
    store_in(&server, &door, &yard).await.done();
    assert_eq!(mapped(&server, &hall).await[0]["ARN"], *gate);
    assert_eq!(mapped(&server, &yard).await[0]["ARN"], *door);

    // Two channels at once want the same stream: one gets it.
    let lobby = stream(&server, "lobby").await;
    let mut channels = Vec::new();
    for n in 0..6 {
        channels.push(channel(&server, &format!("c{n}")).await);
    }
    let answers = futures_util::future::join_all(channels.iter().map(|c| store_in(&server, c, &lobby))).await;
    let winners: Vec<_> = channels.iter().zip(&answers).filter(|(_, a)| a.status == 200).map(|(c, _)| c).collect();
    assert_eq!(winners.len(), 1);
    assert!(answers.iter().filter(|a| a.status != 200).all(|a| a.refused().0 == IN_USE));
    assert_eq!(mapped(&server, &lobby).await, json!([{"Type": "SIGNALING_CHANNEL", "ARN": winners[0]}]));
    server.stop().await;

    let server = Server::start(data.path()).await;
    assert_eq!(mapped(&server, &yard).await[0]["ARN"], *door, "also after a restart");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_deleted_frees_its_channel() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let (door, hall) = (channel(&server, "door").await, stream(&server, "hall").await);
    store_in(&server, &door, &hall).await.done();
    let id = server.store.stream(&"hall".parse().unwrap()).unwrap().info().id.to_string();
    assert!(server.store.document(STREAM, &id).await.unwrap().is_some());
    let gone = server.root("DELETE", "/v1/streams/hall", None).await;
    assert!(gone.status.is_success(), "{}", gone.text());
    assert_eq!(stored_in(&server, &door).await, json!({"Status": "DISABLED"}));
    let anew = stream(&server, "hall").await;
    assert_ne!(anew, hall);
    assert_eq!(mapped(&server, &anew).await, json!([]), "nor does the name bring it back");
    assert_eq!(stored_in(&server, &door).await, json!({"Status": "DISABLED"}));
    assert_eq!(store_in(&server, &door, &hall).await.refused().0, NOT_FOUND, "the old ARN");
    store_in(&server, &door, &anew).await.done();
    assert_eq!(stored_in(&server, &door).await, json!({"Status": "ENABLED", "StreamARN": anew}));
    server.root("DELETE", "/v1/streams/hall", None).await;
    server.call("deleteSignalingChannel", json!({"ChannelARN": door})).await.done();
    assert!(server.store.document(CHANNEL, "door").await.unwrap().is_none());
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let (door, hall) = (channel(&server, "door").await, stream(&server, "hall").await);
    server.store.create_stream(&"buffer".parse().unwrap(), Some(0)).await.unwrap();
    let buffer =
        server.call("describeStream", json!({"StreamName": "buffer"})).await.done()["StreamInfo"]["StreamARN"].clone();
    let (kind, message) = store_in(&server, &door, buffer.as_str().unwrap()).await.refused();
    assert_eq!(kind, "400 NoDataRetentionException");
    assert!(message.contains("buffer"), "{message}");
    assert_eq!(store_in(&server, &door, &hall.replace("hall", "none")).await.refused().0, NOT_FOUND);
    assert_eq!(store_in(&server, &door.replace("door", "none"), &hall).await.refused().0, NOT_FOUND);
    let mesh = server.call("createSignalingChannel", json!({"ChannelName": "mesh", "ChannelType": "FULL_MESH"})).await;
    let mesh = mesh.done()["ChannelARN"].as_str().unwrap().to_owned();
    assert_eq!(store_in(&server, &mesh, &hall).await.refused().0, INVALID);
    let wrong = [
        (json!({"ChannelARN": door}), "'MediaStorageConfiguration'"),
        (json!({"ChannelARN": door, "MediaStorageConfiguration": {}}), "Status"),
        (json!({"ChannelARN": door, "MediaStorageConfiguration": {"Status": "ON"}}), "[ENABLED, DISABLED]"),
        (json!({"ChannelARN": door, "MediaStorageConfiguration": {"Status": "ENABLED"}}), "StreamARN"),
        (
            json!({"ChannelARN": door, "MediaStorageConfiguration": {"Status": "ENABLED", "StreamARN": "hall"}}),
            "StreamARN",
        ),
        (
            json!({"ChannelARN": door, "MediaStorageConfiguration": {"Status": "ENABLED", "StreamARN": door}}),
            "StreamARN",
        ),
        (json!({"ChannelARN": hall, "MediaStorageConfiguration": {"Status": "DISABLED"}}), "ChannelARN"),
        (json!({"MediaStorageConfiguration": {"Status": "DISABLED"}}), "ChannelARN"),
    ];
    for (body, said) in wrong {
        let (kind, message) = server.call("updateMediaStorageConfiguration", body.clone()).await.refused();
        assert_eq!(kind, INVALID, "{body}");
        assert!(message.contains(said), "{body}: {message}");
    }
    assert_eq!(stored_in(&server, &door).await, json!({"Status": "DISABLED"}));
    let describe = |body: Value| server.call("describeMediaStorageConfiguration", body);
    assert_eq!(describe(json!({})).await.refused().0, INVALID);
    assert_eq!(describe(json!({"ChannelName": "none"})).await.refused().0, NOT_FOUND);
    let mapped = |body: Value| server.call("describeMappedResourceConfiguration", body);
    for body in [
        json!({}),
        json!({"StreamName": "hall", "MaxResults": 0}),
        json!({"StreamName": "hall", "MaxResults": 2}),
        json!({"StreamName": "hall", "NextToken": "AAAA"}),
        json!({"StreamARN": door}),
    ] {
        assert_eq!(mapped(body.clone()).await.refused().0, INVALID, "{body}");
    }
    assert_eq!(mapped(json!({"StreamName": "none"})).await.refused().0, NOT_FOUND);
    mapped(json!({"StreamName": "hall", "MaxResults": 1})).await.done();
    server.stop().await;
}

#[tokio::test]
async fn who_stores_in_a_stream_must_be_allowed_to_on_both_sides() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let (door, hall, yard) =
        (channel(&server, "door").await, stream(&server, "hall").await, stream(&server, "yard").await);
    let key = server
        .key(json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "kinesisvideo:*",
                "Resource": ["arn:aws:kinesisvideo:*:*:channel/door/*", "arn:aws:kinesisvideo:*:*:stream/hall/*"]},
        ]}))
        .await;
    let store_in = |channel: &str, stream: &str| {
        let configuration = json!({"Status": "ENABLED", "StreamARN": stream});
        let body = json!({"ChannelARN": channel, "MediaStorageConfiguration": configuration});
        server.call_as(&key, "updateMediaStorageConfiguration", body)
    };
    let there = store_in(&door, &yard).await.refused();
    let missing = store_in(&door, &yard.replace("yard", "none")).await.refused();
    assert_eq!(there.0, DENIED);
    assert_eq!((there.0, there.1.replace("yard", "none")), missing, "no word of what there is");
    assert_eq!(stored_in(&server, &door).await, json!({"Status": "DISABLED"}));
    store_in(&door, &hall).await.done();
    let foreign = server.call_as(&key, "describeMappedResourceConfiguration", json!({"StreamARN": yard})).await;
    assert_eq!(foreign.refused().0, DENIED);
    let own = server.call_as(&key, "describeMappedResourceConfiguration", json!({"StreamARN": hall})).await.done();
    assert_eq!(own["MappedResourceConfigurationList"][0]["ARN"], *door);
    server.stop().await;
}
