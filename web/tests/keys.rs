//! Access keys of the catalog: each route of the table with the key of each preset, own and foreign streams, and what ends a key.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Server, basic, record, take};
use serde_json::json;
use store::documents::{Expect, KEY};
use web::{MadeKey, NewKey, create_key};

async fn key(server: &Server, policies: &[&str]) -> MadeKey {
    let policies = policies.iter().map(|p| (*p).to_owned()).collect();
    create_key(&server.store, NewKey { user: "own".into(), policies, ..NewKey::default() }).await.unwrap()
}

fn filled(path: &str, stream: &str) -> String {
    path.replace("{name}", stream)
        .replace("{token}", "AAAA")
        .replace("{file}", "index.m3u8")
        .replace("{number}", &"9".repeat(47))
        .replace("{id}", "1")
        .replace("{policy}", "camera")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_with_each_preset_on_own_foreign_and_missing_streams() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    for name in ["own", "foreign"] {
        record(&server.stream(name).await, &take(2, 1000)).await;
    }
    // What a preset lets pass to the handler, by action; `camera` is for the stream of its user alone.
    let lets: [(&str, &[&str]); 5] = [
        ("camera", &[]),
        ("viewer", &[]),
        ("playback", &["kinesisvideo:ListFragments", "kinesisvideo:GetHLSStreamingSessionURL", "vidicon:WatchStream"]),
        (
            "analytics",
            &["kinesisvideo:ListFragments", "kinesisvideo:GetMediaForFragmentList", "vidicon:ListDetections"],
        ),
        ("master", &[]),
    ];
    for (preset, allowed) in lets {
        let key = key(&server, &[preset]).await;
        let auth = basic(&key.access_key_id, &key.secret_access_key);
        for (method, route, action) in web::actions() {
            if route.starts_with("/p/") {
                continue;
            }
            let mut answers = Vec::new();
            for stream in ["own", "foreign", "missing"] {
                let body = (method == "POST" || method == "PATCH").then(|| json!({}));
                let answer = server.send(method, &filled(route, stream), &[("authorization", &auth)], body).await;
                let refused = answer.status == 403;
                // A body that cannot be read may be said first; it says nothing of streams.
                if [400, 415, 422].contains(&answer.status.as_u16()) {
                    continue;
                }
                assert_eq!(
                    refused,
                    !allowed.contains(&action),
                    "{preset}: {method} {route} {stream}: {}",
                    answer.text()
                );
                if refused {
                    // The AWS surface says it in its own form.
                    match answer.header("x-amzn-errortype").split(':').next() {
                        Some("") | None => assert_eq!(answer.code(), "forbidden"),
                        Some(name) => assert_eq!(name, "AccessDeniedException", "{}", answer.text()),
                    }
                    // What it may describe it may be told of.
                    let describes =
                        matches!(preset, "playback" | "analytics") || (preset == "camera" && stream == "own");
                    if describes {
                        continue;
                    }
                    let kinds = ["stream", "role", "policy"];
                    answers.push(kinds.iter().fold(answer.text(), |text, kind| {
                        text.replace(&format!("{kind}/{stream}"), &format!("{kind}/-"))
                    }));
                }
            }
            answers.dedup();
            assert!(answers.len() <= 1, "{preset}: {method} {route} tells what exists: {answers:?}");
        }
    }
    let admin = key(&server, &["admin"]).await;
    let auth = basic(&admin.access_key_id, &admin.secret_access_key);
    for path in ["/v1/streams", "/v1/server", "/v1/streams/foreign/timeline", "/v1/rules"] {
        assert_eq!(server.send("GET", path, &[("authorization", &auth)], None).await.status, 200, "{path}");
    }
    assert_eq!(server.send("GET", "/v1/streams/missing/timeline", &[("authorization", &auth)], None).await.status, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_at_once_and_its_secret_is_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let made = key(&server, &["admin"]).await;
    let auth = basic(&made.access_key_id, &made.secret_access_key);
    let headers = [("authorization", auth.as_str())];
    let get = || server.send("GET", "/v1/server", &headers, None);
    assert_eq!(get().await.status, 200);
    let document = server.store.document(KEY, &made.access_key_id).await.unwrap().unwrap();
    assert!(!document.body.to_string().contains(&made.secret_access_key), "sealed");
    let mut body = document.body;
    body["active"] = json!(false);
    server.store.put_document(KEY, &made.access_key_id, Expect::Any, body.clone()).await.unwrap();
    assert_eq!(get().await.status, 401, "not active");
    body["active"] = json!(true);
    server.store.put_document(KEY, &made.access_key_id, Expect::Any, body).await.unwrap();
    assert_eq!(get().await.status, 200);
    server.store.delete_document(KEY, &made.access_key_id, Expect::Any).await.unwrap();
    assert_eq!(get().await.status, 401, "deleted");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_signatures_are_answered_as_the_cloud_does() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let send = |date: &str, id: &str, path: &str| {
        let day = &date[..8];
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{day}/us-west-2/kinesisvideo/aws4_request, SignedHeaders=host;x-amz-date, Signature={}",
            "0".repeat(64)
        );
        let (date, path, server) = (date.to_owned(), path.to_owned(), &server);
        async move { server.send("GET", &path, &[("authorization", &value), ("x-amz-date", &date)], None).await }
    };
    let now = common::now().to_rfc3339().split('.').next().unwrap().replace(['-', ':'], "") + "Z";
    let cases = [
        (now.as_str(), common::KEY, "InvalidSignatureException", "does not match"),
        (now.as_str(), "AKIANOBODY", "UnrecognizedClientException", "security token"),
        ("20150830T123600Z", common::KEY, "InvalidSignatureException", "Signature expired"),
        ("29990830T123600Z", common::KEY, "InvalidSignatureException", "Signature not yet current"),
    ];
    for (date, id, kind, text) in cases {
        let answer = send(date, id, "/v1/streams").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-amzn-errortype")), (403, kind));
        assert!(answer.json()["Message"].as_str().unwrap().contains(text), "{}", answer.text());
        assert!(!answer.header("x-amzn-requestid").is_empty());
    }
    server.stop().await;
}
