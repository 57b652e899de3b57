//! Signaling channels of the AWS surface over real HTTP.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Server, basic};
use serde_json::{Value, json};
use web::{NewKey, create_key};

/// Makes a channel; its ARN.
async fn create(server: &Server, name: &str) -> String {
    let made = server.call("createSignalingChannel", json!({"ChannelName": name})).await.done();
    made["ChannelARN"].as_str().unwrap().to_owned()
}

async fn described(server: &Server, arn: &str) -> Value {
    server.call("describeSignalingChannel", json!({"ChannelARN": arn})).await.done()["ChannelInfo"].clone()
}

/// An ARN with the time of creation of something else.
fn of_another_time(arn: &str) -> String {
    let (name, time) = arn.rsplit_once('/').unwrap();
    format!("{name}/{}", time.parse::<i64>().unwrap() - 1)
}

const INVALID: &str = "400 InvalidArgumentException";
const NOT_FOUND: &str = "404 ResourceNotFoundException";

#[tokio::test]
async fn a_channel_is_made_described_and_deleted_and_made_anew() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let before = common::now().0;
    let asked = json!({
        "ChannelName": "door", "ChannelType": "SINGLE_MASTER",
        "SingleMasterConfiguration": {"MessageTtlSeconds": 5}, "Tags": [{"Key": "site", "Value": "north"}],
    });
    let arn =
        server.call("createSignalingChannel", asked.clone()).await.done()["ChannelARN"].as_str().unwrap().to_owned();
    let number: i64 =
        arn.strip_prefix("arn:aws:kinesisvideo:us-east-1:123456789012:channel/door/").unwrap().parse().unwrap();
    assert!((before..=common::now().0).contains(&number));
    let info = described(&server, &arn).await;
    let version = info["Version"].as_str().unwrap();
    assert_eq!(version.len(), 20);
    assert_eq!(
        info,
        json!({
            "ChannelName": "door", "ChannelARN": arn, "ChannelType": "SINGLE_MASTER", "ChannelStatus": "ACTIVE",
            "CreationTime": number as f64 / 1000.0, "SingleMasterConfiguration": {"MessageTtlSeconds": 5},
            "Version": version,
        })
    );
    let by_name = server.call("describeSignalingChannel", json!({"ChannelName": "door"})).await.done();
    assert_eq!(by_name["ChannelInfo"], info);
    let unnumbered = arn.rsplit_once('/').unwrap().0;
    assert_eq!(described(&server, unnumbered).await, info);

    let again = server.call("createSignalingChannel", asked).await;
    assert_eq!(
        again.refused(),
        ("400 ResourceInUseException".into(), "there is a signaling channel door already".into())
    );
    server.stream("door").await; // Names are unique per type.

    let old = json!({"ChannelARN": of_another_time(&arn)});
    assert_eq!(server.call("describeSignalingChannel", old.clone()).await.refused().0, NOT_FOUND);
    assert_eq!(server.call("deleteSignalingChannel", old).await.refused().0, NOT_FOUND);
    let stale = json!({"ChannelARN": arn, "CurrentVersion": "A".repeat(20)});
    let (kind, message) = server.call("deleteSignalingChannel", stale).await.refused();
    assert_eq!(kind, "400 VersionMismatchException");
    assert!(message.contains(version), "{message}");
    for wrong in ["", "a-b", &"A".repeat(65)] {
        let asked = json!({"ChannelARN": arn, "CurrentVersion": wrong});
        assert_eq!(server.call("deleteSignalingChannel", asked).await.refused().0, INVALID, "{wrong:?}");
    }
    let removed =
        server.call("deleteSignalingChannel", json!({"ChannelARN": arn, "CurrentVersion": version})).await.done();
    assert_eq!(removed, json!({}));
    for operation in ["describeSignalingChannel", "deleteSignalingChannel"] {
        let (kind, message) = server.call(operation, json!({"ChannelARN": arn})).await.refused();
        let name = message.strip_prefix("there is no signaling channel ").unwrap_or_else(|| panic!("{message}"));
        assert!(kind == NOT_FOUND && arn.contains(&format!("/{name}/")), "{message}");
    }

    let anew = create(&server, "door").await;
    assert_ne!(anew, arn);
    assert_eq!(server.call("describeSignalingChannel", json!({"ChannelARN": arn})).await.refused().0, NOT_FOUND);
    let info = described(&server, &anew).await;
    assert_ne!(info["Version"], version);
    assert_eq!(info["SingleMasterConfiguration"], json!({"MessageTtlSeconds": 60}), "the default");
    server.call("deleteSignalingChannel", json!({"ChannelARN": anew})).await.done(); // Without a version the latest.
    server.stop().await;
}

#[tokio::test]
async fn channels_outlive_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let arn = create(&server, "door").await;
    let info = described(&server, &arn).await;
    server.stop().await;
    let server = Server::start(data.path()).await;
    assert_eq!(described(&server, &arn).await, info);
    server.stop().await;
}

#[tokio::test]
async fn what_a_channel_cannot_be_is_refused_by_member() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let ttl =
        |seconds: Value| json!({"ChannelName": "door", "SingleMasterConfiguration": {"MessageTtlSeconds": seconds}});
    let tags: Vec<Value> = (0..51).map(|n| json!({"Key": n.to_string(), "Value": ""})).collect();
    let tagged = |tags: Value| json!({"ChannelName": "door", "Tags": tags});
    let mesh = json!({"ChannelName": "door", "ChannelType": "FULL_MESH",
        "SingleMasterConfiguration": {"MessageTtlSeconds": 60}});
    let wrong = [
        (json!({}), "'ChannelName'"),
        (json!({"ChannelName": ""}), "'ChannelName'"),
        (json!({"ChannelName": "front door"}), "a name is made of letters"),
        (json!({"ChannelName": "türe"}), "'ChannelName'"),
        (json!({"ChannelName": "d".repeat(257)}), "'ChannelName'"),
        (json!({"ChannelName": "door", "ChannelType": "MESH"}), "[SINGLE_MASTER, FULL_MESH]"),
        (ttl(json!(4)), "MessageTtlSeconds"),
        (ttl(json!(121)), "MessageTtlSeconds"),
        (ttl(json!(-1)), "MessageTtlSeconds"),
        (ttl(json!("60")), "MessageTtlSeconds"),
        (tagged(json!([{"Key": "a"}])), "'Tags[0].Value'"),
        (tagged(json!([{"Key": "", "Value": ""}])), "'Tags[0].Key'"),
        (tagged(json!([{"Key": "a", "Value": "*"}])), "'Tags[0].Value'"),
        (tagged(json!({"a": "b"})), "'Tags'"),
        (mesh, "SingleMasterConfiguration"),
    ];
    for (body, said) in wrong {
        let (kind, message) = server.call("createSignalingChannel", body.clone()).await.refused();
        assert_eq!(kind, INVALID, "{body}");
        assert!(message.contains(said), "{body}: {message}");
    }
    let (kind, _) = server.call("createSignalingChannel", tagged(json!(tags))).await.refused();
    assert_eq!(kind, "400 TagsPerResourceExceededLimitException");
    assert_eq!(
        server.call("listSignalingChannels", json!({})).await.done(),
        json!({"ChannelInfoList": []}),
        "none was made"
    );

    server.stream("door").await;
    let stream =
        server.call("describeStream", json!({"StreamName": "door"})).await.done()["StreamInfo"]["StreamARN"].clone();
    for body in [json!({}), json!({"ChannelARN": "door"}), json!({"ChannelARN": stream}), json!({"ChannelName": "a b"})]
    {
        assert_eq!(server.call("describeSignalingChannel", body.clone()).await.refused().0, INVALID, "{body}");
    }
    for body in [json!({}), json!({"ChannelName": "door"}), json!({"ChannelARN": stream}), json!({"ChannelARN": null})]
    {
        assert_eq!(server.call("deleteSignalingChannel", body.clone()).await.refused().0, INVALID, "{body}");
    }
    for name in ["d", &"d".repeat(256), ".", "A-b_c.9"] {
        create(&server, name).await;
    }
    let mesh =
        server.call("createSignalingChannel", json!({"ChannelName": "mesh", "ChannelType": "FULL_MESH"})).await.done();
    let info = described(&server, mesh["ChannelARN"].as_str().unwrap()).await;
    assert_eq!(info["ChannelType"], "FULL_MESH");
    assert_eq!(info["SingleMasterConfiguration"], Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn channels_are_listed_in_pages() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    for name in ["b", "a", "a2", "a1", "A"] {
        create(&server, name).await;
    }
    let condition = json!({"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "a"});
    let (mut infos, mut token) = (Vec::new(), Value::Null);
    loop {
        let asked = json!({"MaxResults": 2, "ChannelNameCondition": condition, "NextToken": token});
        let page = server.call("listSignalingChannels", asked).await.done();
        let list = page["ChannelInfoList"].as_array().unwrap();
        assert!(list.len() <= 2);
        infos.extend(list.clone());
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
        for other in [json!({"NextToken": token}), json!({"NextToken": "AAAA", "ChannelNameCondition": condition})] {
            assert_eq!(server.call("listSignalingChannels", other).await.refused().0, INVALID);
        }
        let streams = json!({"NextToken": token, "StreamNameCondition": condition});
        assert_eq!(server.call("listStreams", streams).await.refused().0, INVALID, "a token of another listing");
    }
    let names: Vec<_> = infos.iter().map(|i| i["ChannelName"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "a1", "a2"]);
    for info in &infos {
        assert_eq!(*info, described(&server, info["ChannelARN"].as_str().unwrap()).await);
    }
    let exact = server.call("listSignalingChannels", json!({"MaxResults": 5})).await.done();
    assert_eq!(exact["ChannelInfoList"].as_array().unwrap().len(), 5);
    assert_eq!(exact["NextToken"], Value::Null, "nothing comes after");
    let wrong = [
        json!({"MaxResults": 0}),
        json!({"MaxResults": 10_001}),
        json!({"MaxResults": "2"}),
        json!({"ChannelNameCondition": {"ComparisonOperator": "ENDS_WITH", "ComparisonValue": "a"}}),
        json!({"ChannelNameCondition": {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "a b"}}),
    ];
    for body in wrong {
        assert_eq!(server.call("listSignalingChannels", body.clone()).await.refused().0, INVALID, "{body}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_channel_is_changed_by_who_saw_its_version() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let arn = create(&server, "door").await;
    let before = described(&server, &arn).await;
    let update = |arn: &str, version: &Value, seconds: Value| {
        let body = json!({"ChannelARN": arn, "CurrentVersion": version,
            "SingleMasterConfiguration": {"MessageTtlSeconds": seconds}});
        server.call("updateSignalingChannel", body)
    };
    assert_eq!(update(&arn, &before["Version"], json!(120)).await.done(), json!({}));
    let after = described(&server, &arn).await;
    assert_eq!(after["SingleMasterConfiguration"]["MessageTtlSeconds"], 120);
    assert_eq!((&after["ChannelARN"], &after["CreationTime"]), (&before["ChannelARN"], &before["CreationTime"]));
    let (kind, message) = update(&arn, &before["Version"], json!(5)).await.refused();
    assert_eq!(kind, "400 VersionMismatchException");
    assert!(message.contains(after["Version"].as_str().unwrap()), "{message}");
    update(&arn, &after["Version"], json!(60)).await.done();
    let back = described(&server, &arn).await;
    assert_eq!(back["SingleMasterConfiguration"], before["SingleMasterConfiguration"]);
    assert_ne!(back["Version"], before["Version"], "a version never comes back");

    let now = &back["Version"];
    assert_eq!(update(&of_another_time(&arn), now, json!(60)).await.refused().0, NOT_FOUND);
    assert_eq!(update(&arn.replace("door", "none"), now, json!(60)).await.refused().0, NOT_FOUND);
    for wrong in [json!(4), json!(121), json!(5.5), Value::Null] {
        let (kind, message) = update(&arn, now, wrong.clone()).await.refused();
        assert_eq!(kind, INVALID, "{wrong}");
        assert!(message.contains("MessageTtlSeconds"), "{wrong}: {message}");
    }
    let wrong = [
        json!({"ChannelARN": arn, "SingleMasterConfiguration": {"MessageTtlSeconds": 60}}),
        json!({"CurrentVersion": now, "SingleMasterConfiguration": {"MessageTtlSeconds": 60}}),
        json!({"ChannelARN": arn, "CurrentVersion": now}),
        json!({"ChannelARN": arn, "CurrentVersion": now, "SingleMasterConfiguration": {}}),
    ];
    for body in wrong {
        assert_eq!(server.call("updateSignalingChannel", body.clone()).await.refused().0, INVALID, "{body}");
    }
    assert_eq!(described(&server, &arn).await, back, "nothing that was refused changed anything");

    let mesh = server.call("createSignalingChannel", json!({"ChannelName": "mesh", "ChannelType": "FULL_MESH"})).await;
    let mesh = mesh.done()["ChannelARN"].as_str().unwrap().to_owned();
    let version = described(&server, &mesh).await["Version"].clone();
    assert_eq!(update(&mesh, &version, json!(60)).await.refused().0, INVALID);
    server.call("updateSignalingChannel", json!({"ChannelARN": mesh, "CurrentVersion": version})).await.done();

    // Of many at once who saw the same version one changes it.
    let version = described(&server, &arn).await["Version"].clone();
    let answers = futures_util::future::join_all((0..8).map(|n| update(&arn, &version, json!(10 + n)))).await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert_eq!(done.len(), 1);
    assert!(refused.iter().all(|a| a.refused().0 == "400 VersionMismatchException"));
    server.stop().await;
}

async fn tags(server: &Server, arn: &str) -> Value {
    server.call("ListTagsForResource", json!({"ResourceARN": arn})).await.done()["Tags"].clone()
}

#[tokio::test]
async fn a_channel_has_tags() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let asked = json!({"ChannelName": "door", "Tags": [{"Key": "site", "Value": "north"}]});
    let arn = server.call("createSignalingChannel", asked).await.done()["ChannelARN"].as_str().unwrap().to_owned();
    let before = described(&server, &arn).await;
    assert_eq!(tags(&server, &arn).await, json!({"site": "north"}));
    let list = json!([{"Key": "floor", "Value": "2"}, {"Key": "site", "Value": ""}]);
    let done = server.call("TagResource", json!({"ResourceARN": arn, "Tags": list})).await.done();
    assert_eq!(done, json!({}));
    assert_eq!(tags(&server, &arn).await, json!({"site": "", "floor": "2"}));
    server.call("UntagResource", json!({"ResourceARN": arn, "TagKeyList": ["site", "never there"]})).await.done();
    assert_eq!(tags(&server, &arn).await, json!({"floor": "2"}));
    assert_eq!(described(&server, &arn).await, before, "tags leave the channel and its version as they are");

    // Many at once: none is lost.
    let adding = (0..8).map(|n| {
        let list = json!([{"Key": format!("k{n}"), "Value": "v"}]);
        server.call("TagResource", json!({"ResourceARN": arn, "Tags": list}))
    });
    for answer in futures_util::future::join_all(adding).await {
        answer.done();
    }
    assert_eq!(tags(&server, &arn).await.as_object().unwrap().len(), 9);
    let many: Vec<Value> = (0..42).map(|n| json!({"Key": format!("m{n}"), "Value": ""})).collect();
    let answer = server.call("TagResource", json!({"ResourceARN": arn, "Tags": many})).await;
    assert_eq!(answer.refused().0, "400 TagsPerResourceExceededLimitException");
    assert_eq!(tags(&server, &arn).await.as_object().unwrap().len(), 9, "all or nothing");

    let tag = json!([{"Key": "a", "Value": "b"}]);
    for other in [of_another_time(&arn), arn.replace("door", "none"), arn.replace("channel/", "stream/")] {
        for (operation, member, value) in [
            ("TagResource", "Tags", tag.clone()),
            ("UntagResource", "TagKeyList", json!(["a"])),
            ("ListTagsForResource", "NextToken", Value::Null),
        ] {
            let answer = server.call(operation, json!({"ResourceARN": other, member: value})).await;
            assert_eq!(answer.refused().0, NOT_FOUND, "{operation} {other}");
        }
    }
    let token = json!({"ResourceARN": arn, "NextToken": "AAAA"});
    assert_eq!(server.call("ListTagsForResource", token).await.refused().0, INVALID);
    server.stop().await;
}

#[tokio::test]
async fn policies_see_the_tags_of_channels() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let mut arns = Vec::new();
    for (name, site) in [("north", "north"), ("south", "south")] {
        let asked = json!({"ChannelName": name, "Tags": [{"Key": "site", "Value": site}]});
        arns.push(server.call("createSignalingChannel", asked).await.done()["ChannelARN"].clone());
    }
    let key = server
        .key(json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*",
                "Condition": {"StringEquals": {"aws:ResourceTag/site": "north"}}},
            {"Effect": "Allow", "Action": "kinesisvideo:CreateSignalingChannel", "Resource": "*",
                "Condition": {"StringEquals": {"aws:RequestTag/site": "north"}}},
            {"Effect": "Deny", "Action": "kinesisvideo:TagResource", "Resource": "*",
                "Condition": {"ForAnyValue:StringEquals": {"aws:TagKeys": "site"}}},
        ]}))
        .await;
    let call = |operation: &'static str, body: Value| server.call_as(&key, operation, body);
    call("describeSignalingChannel", json!({"ChannelARN": arns[0]})).await.done();
    let denied = "403 AccessDeniedException";
    assert_eq!(call("describeSignalingChannel", json!({"ChannelARN": arns[1]})).await.refused().0, denied);
    let tagged = |key: &str| json!({"ResourceARN": arns[0], "Tags": [{"Key": key, "Value": "south"}]});
    call("TagResource", tagged("floor")).await.done();
    assert_eq!(call("TagResource", tagged("site")).await.refused().0, denied);
    let made = |site: &str| json!({"ChannelName": "new", "Tags": [{"Key": "site", "Value": site}]});
    assert_eq!(call("createSignalingChannel", made("south")).await.refused().0, denied);
    call("createSignalingChannel", made("north")).await.done();
    server.stop().await;
}

/// The `Authorization` of a key that may do what the policy says.
async fn key(server: &Server, name: &str, policies: &[&str]) -> String {
    let policies = policies.iter().map(|p| (*p).to_owned()).collect();
    let new = NewKey { user: name.into(), policies, ..NewKey::default() };
    let made = create_key(&server.store, new).await.unwrap();
    basic(&made.access_key_id, &made.secret_access_key)
}

#[tokio::test]
async fn a_foreign_channel_does_not_exist() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).await;
    let foreign = create(&server, "foreign").await;
    let master = key(&server, "own", &["master"]).await;
    let as_master = async |operation: &str, body: Value| {
        server.send("POST", &format!("/{operation}"), &[("authorization", &master)], Some(body)).await
    };
    // A device makes its own channel, and sees that one alone.
    let made = as_master("createSignalingChannel", json!({"ChannelName": "own"})).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let own = made.json()["ChannelARN"].clone();
    assert_eq!(as_master("describeSignalingChannel", json!({"ChannelARN": own})).await.status, 200);
    let denied = as_master("createSignalingChannel", json!({"ChannelName": "new"})).await;
    assert_eq!(denied.refused().0, "403 AccessDeniedException");
    let denied = as_master("listSignalingChannels", json!({})).await;
    assert_eq!(denied.refused().0, "403 AccessDeniedException");
    // What it may describe it may be told of.
    let (kind, message) = as_master("deleteSignalingChannel", json!({"ChannelARN": own})).await.refused();
    assert_eq!(kind, "403 AccessDeniedException");
    assert!(message.contains("kinesisvideo:DeleteSignalingChannel on resource:"), "{message}");
    // The same words whether it is there or not.
    let operations = [
        "describeSignalingChannel",
        "updateSignalingChannel",
        "deleteSignalingChannel",
        "getSignalingChannelEndpoint",
        "describeMediaStorageConfiguration",
        "updateMediaStorageConfiguration",
    ];
    for operation in operations {
        let of = |arn: &str| {
            json!({"ChannelARN": arn, "CurrentVersion": "A", "SingleMasterConfiguration": {"MessageTtlSeconds": 9},
                "MediaStorageConfiguration": {"Status": "DISABLED"}})
        };
        let there = as_master(operation, of(&foreign)).await.refused();
        let missing = foreign.replace("foreign", "missing");
        let missing = as_master(operation, of(&missing)).await.refused();
        assert_eq!(there.0, "403 AccessDeniedException");
        assert_eq!((there.0, there.1.replace("foreign", "missing")), missing);
    }
    assert_eq!(described(&server, &foreign).await["ChannelStatus"], "ACTIVE");
    server.stop().await;
}
