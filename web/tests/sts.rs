//! Temporary credentials over real HTTP: what STS answers, what its credentials open, and what ends them.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/signing.rs"]
mod signing;

use common::{Answer, KEY, SECRET, Server, now};
use media::UnixMillis;
use serde_json::{Value, json};
use signing::{Credentials, Signed};
use std::sync::atomic::Ordering;
use store::documents::{Expect, KEY as KEYS};

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const ACCOUNT: &str = "123456789012";

/// A server whose clock the test turns.
struct Turned {
    server: Server,
    _folder: tempfile::TempDir,
}

impl Turned {
    async fn start() -> Turned {
        let folder = tempfile::tempdir().unwrap();
        Turned { server: Server::start(folder.path()).await, _folder: folder }
    }
    fn now(&self) -> UnixMillis {
        now().plus(self.server.ahead_ms.load(Ordering::Relaxed))
    }
    async fn sts(&self, by: &Credentials, params: &[(&str, &str)]) -> Answer {
        let body = form(params);
        let request =
            Signed { service: "sts", method: "POST", path: "/", content_type: FORM, body: &body, at: self.now() };
        signing::send(&self.server, by, request).await
    }
    /// An operation of the AWS surface, signed.
    async fn call(&self, by: &Credentials, path: &str, body: Value) -> Answer {
        let body = body.to_string();
        let request = Signed {
            service: "kinesisvideo",
            method: "POST",
            path,
            content_type: "application/json",
            body: &body,
            at: self.now(),
        };
        signing::send(&self.server, by, request).await
    }
    async fn key(&self, user: &str, policies: &[&str]) -> Credentials {
        let made = self.made("/v1/keys", json!({"user": user, "policies": policies})).await;
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Credentials::new(&text("access_key_id"), &text("secret_access_key"))
    }
    async fn role(&self, name: &str, trust: Value, policies: &[&str]) {
        let trust = json!({"Version": "2012-10-17", "Statement": trust});
        let new = json!({"name": name, "trust": trust, "policies": policies, "max_session_s": 7200});
        self.made("/v1/roles", new).await;
    }
    async fn made(&self, path: &str, body: Value) -> Value {
        let answer = self.server.root("POST", path, Some(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }
    async fn assume(&self, by: &Credentials, role: &str, more: &[(&str, &str)]) -> Answer {
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/{role}");
        let mut params = vec![
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", arn.as_str()),
            ("RoleSessionName", "gate"),
        ];
        params.extend(more);
        self.sts(by, &params).await
    }
}

fn form(params: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish()
}

/// The text of the first element of this name.
fn element(answer: &Answer, name: &str) -> String {
    let text = answer.text();
    let (_, rest) = text.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{name}: {text}"));
    rest.split_once("</").unwrap().0.to_owned()
}

fn credentials(answer: &Answer) -> Credentials {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = element(answer, "SessionToken");
    assert!(token.len() <= 2048, "{}", token.len());
    Credentials { id: element(answer, "AccessKeyId"), secret: element(answer, "SecretAccessKey"), token: Some(token) }
}

/// Status and code of an error in the form of STS.
fn refused(answer: &Answer) -> String {
    assert!(answer.text().starts_with("<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"));
    assert_eq!(answer.header("content-type"), "text/xml");
    assert_eq!(element(answer, "RequestId"), answer.header("x-amzn-requestid"));
    format!("{} {}", answer.status.as_u16(), element(answer, "Code"))
}

fn trusts(principal: &str) -> Value {
    json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": ["sts:AssumeRole", "sts:TagSession"]})
}

fn root() -> Credentials {
    Credentials::new(KEY, SECRET)
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_keys_and_of_root() {
    let at = Turned::start().await;
    at.server.stream("gate").await;
    let viewer = at.key("anna", &["playback"]).await;
    let who = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")];

    let answer = at.sts(&viewer, &who).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(element(&answer, "Arn"), format!("arn:aws:iam::{ACCOUNT}:user/anna"));
    assert_eq!((element(&answer, "UserId"), element(&answer, "Account")), (viewer.id.clone(), ACCOUNT.into()));
    assert_eq!(element(&answer, "RequestId"), answer.header("x-amzn-requestid"));
    assert_eq!(element(&at.sts(&root(), &who).await, "Arn"), format!("arn:aws:iam::{ACCOUNT}:root"));

    let asked = [("Action", "GetSessionToken"), ("Version", "2011-06-15"), ("DurationSeconds", "900")];
    let answer = at.sts(&viewer, &asked).await;
    let session = credentials(&answer);
    assert!(session.id.starts_with("ASIA") && session.secret.len() == 40);
    let expires = at.now().plus(900_000).to_rfc3339();
    assert_eq!(element(&answer, "Expiration")[..16], expires[..16]);
    assert_eq!(element(&at.sts(&session, &who).await, "Arn"), format!("arn:aws:iam::{ACCOUNT}:user/anna"));
    let describe = || at.call(&session, "/describeStream", json!({"StreamName": "gate"}));
    assert_eq!(describe().await.status, 200, "{}", describe().await.text());
    assert_eq!(at.call(&session, "/listStreams", json!({})).await.status, 403, "no more than the key's rights");
    let of_root = credentials(&at.sts(&root(), &asked).await);
    assert_eq!(at.call(&of_root, "/listStreams", json!({})).await.status, 200);
    assert_eq!(refused(&at.sts(&session, &asked).await), "403 AccessDenied", "no session of a session");

    // Another token, another id, no token: nobody.
    for wrong in [
        Credentials { token: of_root.token.clone(), ..session.clone() },
        Credentials { id: of_root.id.clone(), ..session.clone() },
        Credentials { token: None, ..session.clone() },
        Credentials { token: Some("V1.AAAA".into()), ..viewer.clone() },
    ] {
        assert_eq!(refused(&at.sts(&wrong, &who).await), "403 InvalidClientTokenId");
        let answer = at.call(&wrong, "/listStreams", json!({})).await;
        assert_eq!(answer.header("x-amzn-errortype"), "UnrecognizedClientException");
    }
    let wrong = Credentials { secret: viewer.secret.clone(), ..session.clone() };
    assert_eq!(refused(&at.sts(&wrong, &who).await), "403 SignatureDoesNotMatch");

    at.server.ahead_ms.store(901_000, Ordering::Relaxed);
    let answer = describe().await;
    assert_eq!((answer.status.as_u16(), answer.header("x-amzn-errortype")), (403, "ExpiredTokenException"));
    assert_eq!(answer.json()["Message"], "The security token included in the request is expired");
    let answer = at.sts(&session, &who).await;
    assert_eq!(refused(&answer), "403 ExpiredToken");
    assert_eq!(element(&answer, "Message"), "The security token included in the request is expired");
    at.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_key() {
    let at = Turned::start().await;
    let key = at.key("anna", &["admin"]).await;
    at.role("ops", trusts(&format!("arn:aws:iam::{ACCOUNT}:user/anna")), &["admin"]).await;
    let asked = [("Action", "GetSessionToken"), ("Version", "2011-06-15")];
    let sessions = [credentials(&at.sts(&key, &asked).await), credentials(&at.assume(&key, "ops", &[]).await)];
    let kinds = async || {
        let mut kinds = Vec::new();
        for session in &sessions {
            kinds.push(at.call(session, "/listStreams", json!({})).await.header("x-amzn-errortype").to_owned());
        }
        kinds
    };
    assert_eq!(kinds().await, ["", ""]);
    let store = &at.server.store;
    let body = store.document(KEYS, &key.id).await.unwrap().unwrap().body;
    let mut off = body.clone();
    off["active"] = json!(false);
    store.put_document(KEYS, &key.id, Expect::Any, off).await.unwrap();
    assert_eq!(kinds().await, ["UnrecognizedClientException", "UnrecognizedClientException"]);
    store.put_document(KEYS, &key.id, Expect::Any, body.clone()).await.unwrap();
    assert_eq!(kinds().await, ["", ""], "active again");
    let mut ending = body.clone();
    ending["expires_at"] = json!(at.now().0 - 1);
    store.put_document(KEYS, &key.id, Expect::Any, ending).await.unwrap();
    assert_eq!(kinds().await, ["ExpiredTokenException", "ExpiredTokenException"], "the key's own time is up");
    let mut later = body;
    later["sessions_from"] = json!(at.now().0 + 1);
    store.put_document(KEYS, &key.id, Expect::Any, later).await.unwrap();
    assert_eq!(kinds().await, ["ExpiredTokenException", "ExpiredTokenException"], "its sessions are over");
    store.delete_document(KEYS, &key.id, Expect::Any).await.unwrap();
    assert_eq!(kinds().await, ["UnrecognizedClientException", "UnrecognizedClientException"]);
    at.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_taken_on_by_whom_it_trusts() {
    let at = Turned::start().await;
    at.server.stream("gate").await;
    let account = format!("arn:aws:iam::{ACCOUNT}:root");
    let anna = at.key("anna", &[]).await;
    let boss = at.key("boss", &["admin"]).await;
    at.role("by-name", trusts(&format!("arn:aws:iam::{ACCOUNT}:user/anna")), &["playback"]).await;
    at.role("by-account", trusts(&account), &["playback"]).await;
    let of_anna = async |role: &str| at.assume(&anna, role, &[]).await;
    // Named itself, no policy of its own is needed; by way of its account one is.
    let answer = of_anna("by-name").await;
    let session = credentials(&answer);
    assert_eq!(element(&answer, "Arn"), format!("arn:aws:sts::{ACCOUNT}:assumed-role/by-name/gate"));
    assert!(
        element(&answer, "AssumedRoleId").starts_with("AROA") && element(&answer, "AssumedRoleId").ends_with(":gate")
    );
    assert!((1..=100).contains(&element(&answer, "PackedPolicySize").parse().unwrap()));
    assert_eq!(refused(&of_anna("by-account").await), "403 AccessDenied");
    credentials(&at.assume(&boss, "by-account", &[]).await);
    credentials(&at.assume(&root(), "by-account", &[]).await);
    assert_eq!(refused(&at.assume(&boss, "by-name", &[]).await), "403 AccessDenied", "the role trusts anna alone");
    // What is not there sounds like what is not trusted.
    let text = |answer: &Answer, role: &str| element(answer, "Message").replace(role, "-");
    assert_eq!(text(&of_anna("by-account").await, "by-account"), text(&of_anna("nothing").await, "nothing"));
    let other = at
        .sts(
            &root(),
            &[
                ("Action", "AssumeRole"),
                ("Version", "2011-06-15"),
                ("RoleArn", "arn:aws:iam::999999999999:role/by-account"),
                ("RoleSessionName", "gate"),
            ],
        )
        .await;
    assert_eq!(refused(&other), "403 AccessDenied");

    // The session has the role's rights, and not those of its key.
    assert_eq!(at.call(&session, "/describeStream", json!({"StreamName": "gate"})).await.status, 200);
    assert_eq!(at.call(&session, "/listStreams", json!({})).await.status, 403);

    // A denial wins over the trust.
    let document = json!({"Statement": {"Effect": "Deny", "Action": "sts:*", "Resource": "*"}});
    at.made("/v1/policies", json!({"name": "no-sts", "document": document})).await;
    let carl = at.key("carl", &["admin", "no-sts"]).await;
    at.role("carl-s", trusts(&format!("arn:aws:iam::{ACCOUNT}:user/carl")), &["playback"]).await;
    assert_eq!(refused(&at.assume(&carl, "carl-s", &[]).await), "403 AccessDenied");

    // One role takes on another, for an hour at most.
    at.role("first", trusts(&account), &["admin"]).await;
    at.role("second", trusts(&format!("arn:aws:iam::{ACCOUNT}:role/first")), &["playback"]).await;
    let first = credentials(&at.assume(&boss, "first", &[("DurationSeconds", "7200")]).await);
    let answer = at.assume(&first, "second", &[("DurationSeconds", "3601")]).await;
    assert!(element(&answer, "Message").contains("1 hour session limit"), "{}", answer.text());
    let second = credentials(&at.assume(&first, "second", &[]).await);
    assert_eq!(at.call(&second, "/describeStream", json!({"StreamName": "gate"})).await.status, 200);
    // What ends the first's sessions ends what was taken on from them, over any number of roles; and nothing else.
    at.role("third", trusts(&format!("arn:aws:iam::{ACCOUNT}:role/second")), &["playback"]).await;
    let third = credentials(&at.assume(&second, "third", &[]).await);
    let other = credentials(&at.assume(&boss, "by-account", &[]).await);
    let ended = at.server.root("PATCH", "/v1/roles/first", Some(json!({"end_sessions": true}))).await;
    assert_eq!(ended.status, 200, "{}", ended.text());
    for session in [&first, &second, &third] {
        let answer = at.call(session, "/describeStream", json!({"StreamName": "gate"})).await;
        assert_eq!(answer.header("x-amzn-errortype"), "ExpiredTokenException", "{}", answer.text());
    }
    assert_eq!(at.call(&other, "/describeStream", json!({"StreamName": "gate"})).await.status, 200);
    at.server.ahead_ms.fetch_add(10, Ordering::Relaxed);
    let first = credentials(&at.assume(&boss, "first", &[]).await);
    let second = credentials(&at.assume(&first, "second", &[]).await);
    assert_eq!(at.call(&second, "/describeStream", json!({"StreamName": "gate"})).await.status, 200, "a new one");
    // A role that is deleted takes its descendants along.
    at.role("passing", trusts(&account), &["admin"]).await;
    at.role("last", trusts(&format!("arn:aws:iam::{ACCOUNT}:role/passing")), &["playback"]).await;
    let passing = credentials(&at.assume(&boss, "passing", &[]).await);
    let last = credentials(&at.assume(&passing, "last", &[]).await);
    assert_eq!(at.call(&last, "/describeStream", json!({"StreamName": "gate"})).await.status, 200);
    assert_eq!(at.server.root("DELETE", "/v1/roles/passing", None).await.status, 204);
    let answer = at.call(&last, "/describeStream", json!({"StreamName": "gate"})).await;
    assert_eq!(answer.header("x-amzn-errortype"), "UnrecognizedClientException");

    at.server.store.delete_document(KEYS, &boss.id, Expect::Any).await.unwrap();
    let answer = at.call(&second, "/describeStream", json!({"StreamName": "gate"})).await;
    assert_eq!(answer.header("x-amzn-errortype"), "UnrecognizedClientException", "it began with a key that is gone");

    // A role that changes or goes takes its sessions along.
    assert_eq!(at.server.root("DELETE", "/v1/roles/by-name", None).await.status, 204);
    at.role("by-name", trusts(&account), &["playback"]).await;
    let answer = at.call(&session, "/describeStream", json!({"StreamName": "gate"})).await;
    assert_eq!(answer.header("x-amzn-errortype"), "UnrecognizedClientException", "a new role of the old name");
    at.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_tags_and_session_policies() {
    let at = Turned::start().await;
    for name in ["gate", "door"] {
        at.server.stream(name).await;
    }
    let trust = json!([
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"sts:ExternalId": "42"}}},
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:TagSession", "Condition": {"StringLike": {"aws:RequestTag/device": "g*"}}},
    ]);
    at.role("third", trust, &["admin"]).await;
    let by = at.key("anna", &["admin"]).await;
    assert_eq!(refused(&at.assume(&by, "third", &[]).await), "403 AccessDenied");
    assert_eq!(refused(&at.assume(&by, "third", &[("ExternalId", "41")]).await), "403 AccessDenied");
    let id = ("ExternalId", "42");
    credentials(&at.assume(&by, "third", &[id]).await);

    let tagged = |value: &'static str| [id, ("Tags.member.1.Key", "device"), ("Tags.member.1.Value", value)];
    let answer = at.assume(&by, "third", &tagged("door")).await;
    assert_eq!(refused(&answer), "403 AccessDenied");
    assert!(element(&answer, "Message").contains("sts:TagSession"));
    let own = r#"{
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "arn:aws:kinesisvideo:*:*:stream/${aws:PrincipalTag/device}/*"}
    }"#;
    let mut asked = tagged("gate").to_vec();
    asked.push(("Policy", own));
    let session = credentials(&at.assume(&by, "third", &asked).await);
    assert_eq!(at.call(&session, "/describeStream", json!({"StreamName": "gate"})).await.status, 200);
    assert_eq!(at.call(&session, "/describeStream", json!({"StreamName": "door"})).await.status, 403, "narrowed");
    let playback = format!("arn:aws:iam::{ACCOUNT}:policy/playback");
    let session = credentials(&at.assume(&by, "third", &[id, ("PolicyArns.member.1.arn", &playback)]).await);
    assert_eq!(at.call(&session, "/describeStream", json!({"StreamName": "door"})).await.status, 200);
    assert_eq!(at.call(&session, "/listStreams", json!({})).await.status, 403);

    // A device is what the role or a tag says it is; the name of the session is anybody's choice.
    at.role("cam", trusts(ACCOUNT), &["camera"]).await;
    let session = credentials(&at.assume(&by, "cam", &[]).await);
    assert_eq!(at.call(&session, "/describeStream", json!({"StreamName": "gate"})).await.status, 403);
    let session = credentials(&at.assume(&by, "cam", &tagged("gate")[1..]).await);
    assert_eq!(at.call(&session, "/describeStream", json!({"StreamName": "gate"})).await.status, 200);
    assert_eq!(at.call(&session, "/describeStream", json!({"StreamName": "door"})).await.status, 403);

    let long = format!(
        r#"{{"Statement":{{"Effect":"Allow","Action":"*","Resource":"arn:aws:kinesisvideo:*:*:stream/{}"}}}}"#,
        "x".repeat(1900)
    );
    let huge = "x".repeat(2049);
    let missing = format!("arn:aws:iam::{ACCOUNT}:policy/missing");
    // Which policies there are, only those learn who may take on the role.
    let answer = at.assume(&by, "third", &[("PolicyArns.member.1.arn", &missing)]).await;
    assert_eq!(refused(&answer), "403 AccessDenied");
    for (name, value, code) in [
        ("Policy", "{}", "400 MalformedPolicyDocument"),
        ("Policy", "no JSON", "400 MalformedPolicyDocument"),
        ("Policy", huge.as_str(), "400 ValidationError"),
        ("Policy", long.as_str(), "400 PackedPolicyTooLarge"),
        ("PolicyArns.member.1.arn", missing.as_str(), "400 MalformedPolicyDocument"),
        ("DurationSeconds", "899", "400 ValidationError"),
        ("DurationSeconds", "7201", "400 ValidationError"),
        ("DurationSeconds", "43201", "400 ValidationError"),
        ("SourceIdentity", "anna", "400 ValidationError"),
        ("ExternalId", "4", "400 ValidationError"),
        ("RoleSessionName", "gate", "400 ValidationError"),
    ] {
        let more: Vec<_> = [id].into_iter().filter(|(n, _)| *n != name).chain([(name, value)]).collect();
        assert_eq!(refused(&at.assume(&by, "third", &more).await), code, "{name}");
    }
    at.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_of_sts() {
    let at = Turned::start().await;
    let key = at.key("anna", &["admin"]).await;
    for (params, code) in [
        (&[][..], "400 MissingAction"),
        (&[("Action", "DecodeAuthorizationMessage"), ("Version", "2011-06-15")], "400 InvalidAction"),
        (&[("Action", "GetCallerIdentity")], "400 InvalidAction"),
        (&[("Action", "GetCallerIdentity"), ("Version", "2010-05-08")], "400 InvalidAction"),
        (&[("Action", "<b>"), ("Version", "2011-06-15")], "400 InvalidAction"),
        (&[("Action", "AssumeRole"), ("Version", "2011-06-15")], "400 ValidationError"),
    ] {
        assert_eq!(refused(&at.sts(&key, params).await), code, "{params:?}");
    }
    // Unsigned, signed for another service, and by a session of the page.
    let who = form(&[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]);
    let typed = ("content-type", FORM);
    let answer = at.server.send("POST", "/", &[typed], Some(Value::String(who.clone()))).await;
    assert_eq!(refused(&answer), "403 MissingAuthenticationToken");
    let request =
        Signed { service: "kinesisvideo", method: "POST", path: "/", content_type: FORM, body: &who, at: at.now() };
    assert_eq!(refused(&signing::send(&at.server, &key, request).await), "403 SignatureDoesNotMatch");
    let given = json!({"access_key_id": KEY, "secret_access_key": SECRET});
    let answer = at.server.send("POST", "/v1/session", &[], Some(given)).await;
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    let asked = Value::String(form(&[("Action", "GetSessionToken"), ("Version", "2011-06-15")]));
    let answer = at.server.send("POST", "/", &[typed, ("cookie", &cookie)], Some(asked.clone())).await;
    assert_eq!(refused(&answer), "403 AccessDenied");
    let answer = at
        .server
        .send("POST", "/", &[typed, ("cookie", &cookie), ("origin", "http://evil.example")], Some(asked))
        .await;
    assert_eq!(refused(&answer), "403 AccessDenied");
    assert!(element(&answer, "Message").contains("another site"), "{}", answer.text());

    // By GET too, and the page is still where it was.
    let path = "/?Action=GetCallerIdentity&Version=2011-06-15";
    let request = Signed { service: "sts", method: "GET", path, content_type: "text/plain", body: "", at: at.now() };
    let answer = signing::send(&at.server, &key, request).await;
    assert_eq!(element(&answer, "Arn"), format!("arn:aws:iam::{ACCOUNT}:user/anna"));
    assert_eq!(refused(&at.server.send("GET", path, &[], None).await), "403 MissingAuthenticationToken");
    let page = at.server.send("GET", "/", &[("cookie", &cookie)], None).await;
    assert!(page.header("content-type").starts_with("text/html") || page.status == 404, "{}", page.status);
    let stranger = at.server.send("GET", "/", &[], None).await;
    assert_eq!(stranger.status, 401);
    assert!(stranger.header("content-type").starts_with("text/html"));
    assert_eq!(at.server.send("PUT", "/", &[("cookie", &cookie)], None).await.status, 405);
    at.server.stop().await;
}
