//! Access keys of the catalog: what ends one, that its secret is sealed, and what broken signatures are told.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Server, basic};
use serde_json::json;
use store::documents::{Expect, KEY};
use web::{MadeKey, NewKey, create_key};

async fn key(server: &Server, policies: &[&str]) -> MadeKey {
    let policies = policies.iter().map(|p| (*p).to_owned()).collect();
    create_key(&server.store, NewKey { user: "own".into(), policies, ..NewKey::default() }).await.unwrap()
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
