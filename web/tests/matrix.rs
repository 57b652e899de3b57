//! Each route of the table × the key of each preset × its own, a foreign and a missing stream or channel; and nobody, a key that is disabled, and
//! one whose time is over. What is expected comes from the documents of the presets, read by the few lines of [`Rights`], and from the lists of
//! actions below (REFERENCE §6.4), not from the server's own evaluation.
//!
//! A new route is tried by itself. Where the test cannot make up a request for it, it says what to add: a parameter to [`filled`], an action to
//! the lists, a body or query to [`sample`].
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/signing.rs"]
mod signing;

use bytes::Bytes;
use common::{KEY, SECRET, Server, basic};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use signing::{Credentials, Signed};
use std::time::Duration;
use store::documents::CHANNEL;
use web::{NewKey, create_key};

/// What an action is asked of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// The server: `*` in policies.
    Server,
    Stream,
    Channel,
    /// A user, role or policy, which the presets know nothing of.
    Iam,
    /// Everyone with credentials may.
    Anyone,
    /// The token in the path stands for itself.
    Token,
    /// A certificate stands for itself (`devices.rs` tries those).
    Certificate,
}

const STREAM: &[&str] = &[
    "CreateStream",
    "DeleteStream",
    "DescribeStream",
    "UpdateStream",
    "UpdateDataRetention",
    "GetDataEndpoint",
    "PutMedia",
    "GetMedia",
    "ListFragments",
    "GetMediaForFragmentList",
    "GetHLSStreamingSessionURL",
    "GetDASHStreamingSessionURL",
    "GetClip",
    "GetImages",
    "TagStream",
    "UntagStream",
    "ListTagsForStream",
    "DescribeImageGenerationConfiguration",
    "UpdateImageGenerationConfiguration",
    "DescribeNotificationConfiguration",
    "UpdateNotificationConfiguration",
    "DescribeStreamStorageConfiguration",
    "UpdateStreamStorageConfiguration",
    "DescribeMappedResourceConfiguration",
    "StartEdgeConfigurationUpdate",
    "DescribeEdgeConfiguration",
    "DeleteEdgeConfiguration",
    // Of either; tried with a stream.
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
];
const CHANNELS: &[&str] = &[
    "CreateSignalingChannel",
    "DeleteSignalingChannel",
    "DescribeSignalingChannel",
    "UpdateSignalingChannel",
    "GetSignalingChannelEndpoint",
    "GetIceServerConfig",
    "ConnectAsMaster",
    "ConnectAsViewer",
    "SendAlexaOfferToMaster",
    "JoinStorageSession",
    "JoinStorageSessionAsViewer",
    "DescribeMediaStorageConfiguration",
    "UpdateMediaStorageConfiguration",
];
const LISTS: &[&str] = &["ListStreams", "ListSignalingChannels", "ListEdgeAgentConfigurations"];

fn kind(method: &str, path: &str, action: &str) -> Kind {
    if path.contains("{token}") {
        return Kind::Token;
    }
    if action == "iot:AssumeRoleWithCertificate" {
        return Kind::Certificate;
    }
    let (service, name) = action.split_once(':').unwrap();
    match service {
        "kinesisvideo" if STREAM.contains(&name) => Kind::Stream,
        "kinesisvideo" if CHANNELS.contains(&name) => Kind::Channel,
        "kinesisvideo" if LISTS.contains(&name) => Kind::Server,
        "vidicon" if path.starts_with("/v1/streams/{name}") => Kind::Stream,
        "vidicon" if path.starts_with("/v1/channels/{name}") => Kind::Channel,
        "vidicon" => Kind::Server,
        "iam" | "iot" => Kind::Iam,
        "sts" => Kind::Anyone,
        _ => panic!("{method} {path}: what is {action} asked of? Add it to a list in web/tests/matrix.rs"),
    }
}

/// What the document of a preset says, for the key of the device `own`: allowed actions, each with the pattern of ARNs. They only allow.
struct Rights(Vec<(String, String)>);

impl Rights {
    fn of(document: &Value) -> Rights {
        let list = |value: &Value| match value {
            Value::String(text) => vec![text.clone()],
            value => value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect(),
        };
        let mut rights = Vec::new();
        for statement in document["Statement"].as_array().unwrap() {
            assert_eq!(statement["Effect"], "Allow");
            assert!(
                statement.as_object().unwrap().keys().all(|k| ["Effect", "Action", "Resource"].contains(&k.as_str()))
            );
            for resource in list(&statement["Resource"]) {
                let resource = resource.replace("${vidicon:device}", "own");
                assert!(!resource.contains("${"), "a variable that this test does not know: {resource}");
                rights.extend(list(&statement["Action"]).into_iter().map(|action| (action, resource.clone())));
            }
        }
        Rights(rights)
    }
    fn allow(&self, action: &str, arn: &str) -> bool {
        self.0.iter().any(|(a, r)| like(&a.to_lowercase(), &action.to_lowercase()) && like(r, arn))
    }
}

/// `*` alone as a wildcard.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| like(rest, &tail[at..]))
        }),
    }
}

/// A path with things that exist, or names that could, in its parameters.
fn filled(method: &str, path: &str, object: &str) -> String {
    let filled = path
        .replace("{name}", object)
        .replace("{token}", "AAAA")
        .replace("{file}", "index.m3u8")
        .replace("{number}", &"9".repeat(47))
        .replace("{id}", "1")
        .replace("{alias}", "cams")
        .replace("{policy}", "camera");
    assert!(
        !filled.contains('{'),
        "{method} {path}: a parameter is not known: add it to `filled` in web/tests/matrix.rs"
    );
    filled
}

struct Sample {
    query: &'static str,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// A request that reaches the decision: its body can be read, and what is wrong with it, if it would make or change things, is told only to
/// those who may.
fn sample(method: &str, path: &str, object: &str, arn: &str) -> Sample {
    let json = |value: Value| Sample {
        query: "",
        headers: vec![("content-type", "application/json".into())],
        body: value.to_string(),
    };
    let wrong_policy = json!({"Statement": "none"});
    match (method, path) {
        ("POST", "/putMedia") => Sample {
            query: "",
            headers: vec![
                ("x-amzn-stream-name", object.into()),
                ("x-amzn-fragment-timecode-type", "ABSOLUTE".into()),
                ("x-amzn-producer-start-timestamp", "1795426200".into()),
            ],
            body: String::new(),
        },
        ("POST", "/") => Sample {
            query: "",
            headers: vec![("content-type", "application/x-www-form-urlencoded".into())],
            body: "Action=GetCallerIdentity&Version=2011-06-15".into(),
        },
        ("POST", "/v1/streams/{name}/whep" | "/v1/streams/{name}/whip") => {
            Sample { query: "", headers: vec![("content-type", "application/sdp".into())], body: "no offer".into() }
        }
        ("PUT", "/v1/channels/{name}/source") => json(json!({"stream": "own"})),
        ("DELETE", "/v1/streams/{name}/fragments") => {
            Sample { query: "?from=0&to=1", headers: vec![], body: String::new() }
        }
        ("POST", "/v1/streams/{name}/holds") => json(json!({"name": "", "from": 0, "to": 1, "reason": ""})),
        ("PATCH", "/v1/streams/{name}") => json(json!({"quota_bytes": u64::MAX})),
        ("POST", "/v1/cameras") => json(json!({"name": "x", "url": "http://no.rtsp"})),
        ("POST", "/v1/cameras/probe") => json(json!({"url": "http://no.rtsp"})),
        ("PATCH", "/v1/cameras/{name}") => json(json!({"enabled": true})),
        ("POST", "/v1/rules") => {
            json(json!({"name": "x", "stream": "x", "min_score": 2, "cooldown_ms": 0, "rate": "key_frames"}))
        }
        ("POST", "/v1/targets") => json(json!({"name": "x", "url": "no", "secret": ""})),
        ("POST", "/v1/keys") => json(json!({"user": "no name"})),
        ("POST", "/v1/roles") => json(json!({"name": "x", "trust": wrong_policy})),
        ("POST", "/v1/certificates") => json(json!({"id": "ab", "thing": "x"})),
        ("POST", "/v1/role-aliases") => json(json!({"name": "x", "role": "none"})),
        ("POST", "/v1/oidc-providers") => json(json!({"url": "https://x.example", "client_ids": []})),
        ("POST", "/v1/policies") => json(json!({"name": "x", "document": wrong_policy})),
        ("POST", path)
            if !path.starts_with("/v1/") || path.starts_with("/v1/get-") || path.starts_with("/v1/send-") =>
        {
            // Operations of the AWS surface take no notice of what they do not know.
            let listed = matches!(path, "/TagResource" | "/createSignalingChannel");
            let tags = if listed { json!([{"Key": "a", "Value": "b"}]) } else { json!({"a": "b"}) };
            let mut body = json!({
                "APIName": "GET_MEDIA", "Fragments": ["9".repeat(47)], "StartSelector": {"StartSelectorType": "EARLIEST"},
                "CurrentVersion": "a1b2c3d4e5f6g7h8i9j0", "Operation": "INCREASE_DATA_RETENTION", "DataRetentionChangeInHours": 1,
                "Tags": tags, "TagKeyList": ["a"],
                "NotificationConfiguration": {"Status": "ENABLED", "DestinationConfig": {"Uri": "https://a.example/"}},
                "ImageGenerationConfiguration": {"Status": "ENABLED", "ImageSelectorType": "SERVER_TIMESTAMP", "SamplingInterval": 3000,
                    "Format": "JPEG", "DestinationConfig": {"Uri": "s3://bucket/a", "DestinationRegion": "us-east-1"}},
                "StreamStorageConfiguration": {"DefaultStorageTier": "HOT"},
                "MediaStorageConfiguration": {"Status": "DISABLED"},
                "EdgeConfig": {"HubDeviceArn": "arn:aws:iot:us-east-1:123456789012:thing/hub", "RecorderConfig": {"MediaSourceConfig":
                    {"MediaUriSecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:a", "MediaUriType": "RTSP_URI"}}},
                "ClipFragmentSelector": {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": {"StartTimestamp": 1, "EndTimestamp": 2}},
                "ImageSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": 1, "EndTimestamp": 2, "Format": "JPEG",
                "HubDeviceArn": "arn:aws:iot:us-east-1:123456789012:thing/hub",
                "SenderClientId": "a", "MessagePayload": "YQ==", "clientId": "a", "ResourceARN": arn,
            });
            let members = body.as_object_mut().unwrap();
            match arn.contains(":channel/") {
                true => members.extend([("ChannelARN".into(), json!(arn)), ("channelArn".into(), json!(arn))]),
                false if path == "/deleteStream" => members.extend([("StreamARN".into(), json!(arn))]),
                false => members.extend([("StreamName".into(), json!(object))]),
            }
            if path == "/createSignalingChannel" {
                members.insert("ChannelName".into(), json!(object));
            }
            json(body)
        }
        ("POST" | "PATCH" | "PUT", _) => json(json!({})),
        _ => Sample { query: "", headers: vec![], body: String::new() },
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// Of what is refused; the rest may never end.
    body: Bytes,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

async fn ask(server: &Server, method: &str, path: &str, sample: &Sample, authorization: Option<&str>) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", server.address.to_string());
    for (name, value) in &sample.headers {
        request = request.header(*name, value);
    }
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let request = request.body(Full::new(Bytes::from(sample.body.clone()))).unwrap();
    let socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = tokio::time::timeout(Duration::from_secs(20), sender.send_request(request)).await;
    let answer = answer.unwrap_or_else(|_| panic!("{method} {path} gave no answer in 20 s")).unwrap();
    let (parts, body) = answer.into_parts();
    let body = match parts.status.as_u16() {
        400.. => body.collect().await.unwrap().to_bytes(),
        _ => Bytes::new(),
    };
    connection.abort();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Makes again what a request of someone who may has removed.
async fn ensure(server: &Server) {
    for name in ["own", "foreign"] {
        if server.store.stream(&name.parse().unwrap()).is_err() {
            server.stream(name).await;
        }
        if server.store.document(CHANNEL, name).await.unwrap().is_none() {
            server.call("createSignalingChannel", json!({"ChannelName": name})).await.done();
        }
    }
}

/// The ARN of an object, as it stands in requests.
async fn arn(server: &Server, kind: Kind, object: &str) -> String {
    let made = match kind {
        _ if object == "missing" => "1".to_owned(),
        Kind::Channel => {
            let described = server.call("describeSignalingChannel", json!({"ChannelName": object})).await.done();
            return described["ChannelInfo"]["ChannelARN"].as_str().unwrap().to_owned();
        }
        _ => server.store.stream(&object.parse().unwrap()).unwrap().info().created_at.0.to_string(),
    };
    let kind = if kind == Kind::Channel { "channel" } else { "stream" };
    format!("arn:aws:kinesisvideo:us-east-1:123456789012:{kind}/{object}/{made}")
}

/// Whether an answer says that this may not be done, in the form of its surface.
fn is_refused(answer: &Answer) -> bool {
    if answer.status != 403 {
        return false;
    }
    let kind = answer.headers.get("x-amzn-errortype").map_or("", |v| v.to_str().unwrap());
    match kind.split(':').next() {
        Some("") | None => {
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body["error"]["code"], "forbidden", "{body}");
        }
        Some(name) => assert_eq!(name, "AccessDeniedException", "{}", answer.text()),
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_with_the_key_of_each_preset() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let listed = server.root("GET", "/v1/policies", None).await.json();
    let presets: Vec<String> =
        listed["policies"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(presets.len(), 6);
    // Whom a request is sent by: the rights by their document; root by none at all.
    let mut callers = vec![("root".to_owned(), basic(KEY, SECRET), None)];
    for preset in presets {
        let document = server.root("GET", &format!("/v1/policies/{preset}"), None).await.json()["document"].clone();
        let tags = [("device".to_owned(), "own".to_owned())].into();
        let new = NewKey { user: "someone".into(), policies: vec![preset.clone()], tags, ..NewKey::default() };
        let key = create_key(&server.store, new).await.unwrap();
        callers.push((preset, basic(&key.access_key_id, &key.secret_access_key), Some(Rights::of(&document))));
    }
    let mut tried = 0;
    for (method, path, action) in web::actions() {
        let kind = kind(method, path, action);
        if kind == Kind::Token {
            let sample = sample(method, path, "own", "");
            for (name, authorization, _) in &callers {
                let answer = ask(&server, method, &filled(method, path, ""), &sample, Some(authorization)).await;
                assert_eq!(answer.status, 401, "{name}: {method} {path}: no key makes a wrong token good");
            }
            continue;
        }
        if kind == Kind::Certificate {
            let sample = sample(method, path, "own", "");
            for (name, authorization, _) in &callers {
                let answer = ask(&server, method, &filled(method, path, "own"), &sample, Some(authorization)).await;
                assert_eq!(answer.status, 403, "{name}: {method} {path}: no key stands for a certificate");
                let told: Value = serde_json::from_slice(&answer.body).unwrap();
                assert!(told["message"].as_str().unwrap().starts_with("Access Denied"), "{told}");
            }
            continue;
        }
        let objects: &[&str] =
            if matches!(kind, Kind::Stream | Kind::Channel) { &["own", "foreign", "missing"] } else { &["own"] };
        for (name, authorization, rights) in &callers {
            let mut told = Vec::new();
            for object in objects {
                ensure(&server).await;
                // Whoever may makes what is missing: this object is for one request.
                let object = match (*object, action.contains(":Create")) {
                    ("missing", true) => format!("missing-{tried}"),
                    (object, _) => object.to_owned(),
                };
                let arn = match object.starts_with("missing") {
                    true => arn(&server, kind, "missing").await.replace("/missing/", &format!("/{object}/")),
                    false => arn(&server, kind, &object).await,
                };
                let sample = sample(method, path, &object, &arn);
                let target = filled(method, path, &object) + sample.query;
                let answer = ask(&server, method, &target, &sample, Some(authorization)).await;
                tried += 1;
                let what =
                    format!("{name}: {method} {path} ({action}) of {object}: {} {}", answer.status, answer.text());
                assert!(answer.status != 500 && answer.status != 405, "{what}");
                let asked_of = if matches!(kind, Kind::Stream | Kind::Channel) { arn.as_str() } else { "*" };
                let allowed =
                    kind == Kind::Anyone || rights.as_ref().is_none_or(|rights| rights.allow(action, asked_of));
                if !allowed && [400, 413, 415, 422].contains(&answer.status.as_u16()) {
                    panic!("cannot be tried: add a body or query to `sample` in web/tests/matrix.rs for {what}");
                }
                assert_eq!(is_refused(&answer), !allowed, "{what}");
                assert!(answer.status != 401, "{what}");
                // What it may not describe it does not learn of: the same words whether it is there or not.
                let describing = if kind == Kind::Channel { "DescribeSignalingChannel" } else { "DescribeStream" };
                let describes =
                    rights.as_ref().is_some_and(|r| r.allow(&format!("kinesisvideo:{describing}"), asked_of));
                if !allowed && !describes && asked_of != "*" {
                    assert!(
                        !answer.text().contains(&arn) || object.starts_with("missing"),
                        "a time of creation: {what}"
                    );
                    told.push(answer.text().replace(&format!("/{object}"), "/-"));
                }
            }
            told.dedup();
            assert!(told.len() <= 1, "{name}: {method} {path} tells what exists: {told:?}");
        }
    }
    assert!(tried > 500, "only {tried} requests");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_refuses_nobody_and_keys_that_have_ended() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    ensure(&server).await;
    let admin = || NewKey { user: "boss".into(), policies: vec!["admin".into()], ..NewKey::default() };
    let past = Some(common::now().plus(-1));
    let expired = create_key(&server.store, NewKey { expires_at: past, ..admin() }).await.unwrap();
    let disabled = create_key(&server.store, admin()).await.unwrap();
    let path = format!("/v1/keys/{}", disabled.access_key_id);
    assert_eq!(server.root("PATCH", &path, Some(json!({"active": false}))).await.status, 200);
    let ended = [
        (Credentials::new(&expired.access_key_id, &expired.secret_access_key), "ExpiredToken"),
        (
            Credentials::new(&disabled.access_key_id, &disabled.secret_access_key),
            "UnrecognizedClient InvalidClientTokenId",
        ),
        (
            Credentials::new("AKIANOBODYNOBODYNOBO", &disabled.secret_access_key),
            "UnrecognizedClient InvalidClientTokenId",
        ),
    ];
    for (method, path, action) in web::actions() {
        let kind = kind(method, path, action);
        let arn = arn(&server, kind, "own").await;
        let sample = sample(method, path, "own", &arn);
        let target = filled(method, path, "own") + sample.query;
        let answer = ask(&server, method, &target, &sample, None).await;
        assert!([401, 403].contains(&answer.status.as_u16()), "nobody: {method} {path}: {}", answer.status);
        assert!(!answer.text().contains("own"), "nobody is told nothing: {}", answer.text());
        if kind == Kind::Token {
            continue;
        }
        for (by, names) in &ended {
            let content_type = sample.headers.iter().find(|(name, _)| *name == "content-type").map_or("", |(_, v)| v);
            let service = if path == "/" { "sts" } else { "kinesisvideo" };
            let at = common::now();
            let request = Signed { service, method, path: &target, content_type, body: &sample.body, at };
            let answer = signing::send(&server, by, request).await;
            let what = format!("{} with {}: {method} {path}: {}", names, by.id, answer.text());
            assert_eq!(answer.status, 403, "{what}");
            assert!(
                names
                    .split(' ')
                    .any(|name| answer.text().contains(name) || answer.header("x-amzn-errortype").contains(name)),
                "{what}"
            );
        }
    }
    server.stop().await;
}

#[test]
fn the_test_s_own_reading_of_policies() {
    assert!(
        like("*", "") && like("a*c", "abc") && like("a*c*", "ac") && like("arn:*:stream/own/*", "arn:x:stream/own/1")
    );
    assert!(!like("a*c", "ab") && !like("arn:*:stream/own/*", "arn:x:stream/owner/1") && !like("", "a"));
    let camera = json!({"Statement": [{"Effect": "Allow", "Action": ["kinesisvideo:Put*"], "Resource": "arn:*:stream/${vidicon:device}/*"}]});
    let rights = Rights::of(&camera);
    assert!(rights.allow("kinesisvideo:PutMedia", "arn:x:stream/own/1"));
    assert!(!rights.allow("kinesisvideo:PutMedia", "arn:x:stream/foreign/1"));
    assert!(!rights.allow("kinesisvideo:GetMedia", "arn:x:stream/own/1"));
}
