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

/// What a page of another origin may ask and see: operations with a signature, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_call_operations_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let asked = [
        ("origin", "https://page.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "amz-sdk-request,authorization,content-type,x-amz-date"),
    ];
    let preflight = server.send("OPTIONS", "/describeStream", &asked, None).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    assert_eq!(preflight.header("access-control-allow-credentials"), "", "no cookies");
    assert_eq!(preflight.header("access-control-allow-methods"), "POST");
    assert_eq!(preflight.header("access-control-allow-headers"), asked[2].1);
    for path in ["/v1/streams", "/v1/keys", "/nothing", "/describeStream/"] {
        let answer = server.send("OPTIONS", path, &asked, None).await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
    assert_ne!(server.send("OPTIONS", "/describeStream", &[], None).await.status, 204, "no preflight");
    // Refusals and answers can be read, and told apart.
    let origin = ("origin", "https://page.example");
    let refused = server.send("POST", "/describeStream", &[origin], Some(json!({}))).await;
    assert_eq!(refused.header("x-amzn-errortype"), "MissingAuthenticationTokenException");
    // Credentials that a browser remembers are not taken from a page of another origin.
    let remembered = [origin, ("authorization", &basic(common::KEY, common::SECRET))];
    let remembered = server.send("POST", "/listStreams", &remembered, Some(json!({}))).await;
    assert_eq!(remembered.status, 403, "{}", remembered.text());
    let answered = server.root("POST", "/listStreams", Some(json!({}))).await;
    assert_eq!(answered.status, 200);
    for answer in [refused, remembered, answered] {
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let exposed = answer.header("access-control-expose-headers");
        assert!(exposed.contains("x-amzn-RequestId") && exposed.contains("x-amzn-ErrorType"), "{exposed}");
    }
    server.stop().await;
}
