//! Devices with certificates: what a role alias gives to whom, and when that ends.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/signing.rs"]
mod signing;

use common::{
    Answer, KEY, SECRET, Server, basic,
    tls::{Pair, VERSIONS, ask, config, connect, params},
};
use serde_json::{Value, json};
use signing::{Credentials, Signed};
use std::path::PathBuf;
use tempfile::TempDir;

const TRUST: &str = "credentials.iot.amazonaws.com";

/// A server with a device authority, a role for cameras and its alias.
struct Site {
    folder: TempDir,
    server: Server,
    own: Pair,
    authority: Pair,
}

fn path(pair: &Pair) -> String {
    format!("/v1/certificates/{}", web::admin::certificate_id(&pair.pem).unwrap())
}

impl Site {
    async fn start() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let (own, authority) = (Pair::named("server"), Pair::authority("devices"));
        let device_ca: PathBuf = folder.path().join("devices.pem");
        std::fs::write(&device_ca, &authority.pem).unwrap();
        let tls = web::TlsConfig { device_ca: Some(device_ca), ..own.write(folder.path()) };
        let server = Server::start_tls(&folder.path().join("data"), tls).await;
        let site = Site { folder, server, own, authority };
        site.made(
            "/v1/roles",
            json!({"name": "cameras", "max_session_s": 7200, "trust": trust(json!({})), "inline_policy": {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "arn:aws:kinesisvideo:*:*:stream/${credentials-iot:ThingName}/*"},
                    {"Effect": "Allow", "Action": "kinesisvideo:DescribeStream", "Resource": "arn:aws:kinesisvideo:*:*:stream/${credentials-iot:AwsCertificateId}/*"},
                    {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "arn:aws:iam::*:role/further"},
                ],
            }}),
        )
        .await;
        site.made("/v1/role-aliases", json!({"name": "cams", "role": "cameras", "credential_duration_s": 900})).await;
        for stream in ["gate", "yard"] {
            site.server.stream(stream).await;
        }
        site
    }

    async fn made(&self, path: &str, body: Value) -> Value {
        let answer = self.server.root("POST", path, Some(body)).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.text());
        answer.json()
    }
    async fn changed(&self, path: &str, body: Value) {
        let answer = self.server.root("PATCH", path, Some(body)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    async fn removed(&self, path: &str) {
        assert_eq!(self.server.root("DELETE", path, None).await.status, 204, "{path}");
    }

    /// Asks a role alias.
    async fn ask(&self, by: Option<&Pair>, alias: &str, headers: &[(&str, &str)]) -> Answer {
        let stream = connect(self.server.tls.unwrap(), config(&self.own, by, VERSIONS[1])).await.unwrap();
        ask(stream, "GET", &format!("/role-aliases/{alias}/credentials"), headers, None).await
    }
    /// The credentials that it gives.
    async fn given(&self, by: &Pair, thing: &str) -> (Credentials, Value) {
        let answer = self.ask(Some(by), "cams", &[("x-amzn-iot-thingname", thing)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json");
        let given = answer.json()["credentials"].clone();
        assert_eq!(given.as_object().unwrap().len(), 4);
        let text = |name: &str| given[name].as_str().unwrap().to_owned();
        assert!(text("sessionToken").len() <= 2048 && text("accessKeyId").len() <= 128);
        let mut credentials = Credentials::new(&text("accessKeyId"), &text("secretAccessKey"));
        credentials.token = Some(text("sessionToken"));
        (credentials, given)
    }
    async fn refused(&self, by: &Pair, alias: &str, thing: &str) {
        let answer = self.ask(Some(by), alias, &[("x-amzn-iot-thingname", thing)]).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (403, json!({"message": "Access Denied"})));
    }

    async fn describe(&self, by: &Credentials, stream: &str) -> Answer {
        let body = json!({"StreamName": stream}).to_string();
        let request = Signed {
            service: "kinesisvideo",
            method: "POST",
            path: "/describeStream",
            content_type: "application/json",
            body: &body,
            at: common::now(),
        };
        signing::send(&self.server, by, request).await
    }
    /// Credentials of a role that these take on.
    async fn chained(&self, by: &Credentials, role: &str) -> Credentials {
        let arn = format!("arn:aws:iam::123456789012:role/{role}").replace('/', "%2F");
        let body =
            format!("Action=AssumeRole&Version=2011-06-15&RoleArn={arn}&RoleSessionName=further").replace(':', "%3A");
        let request = Signed {
            service: "sts",
            method: "POST",
            path: "/",
            content_type: "application/x-www-form-urlencoded; charset=utf-8",
            body: &body,
            at: common::now(),
        };
        let answer = signing::send(&self.server, by, request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        let of = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>")).unwrap();
            rest.split_once("</").unwrap().0.to_owned()
        };
        let mut credentials = Credentials::new(&of("AccessKeyId"), &of("SecretAccessKey"));
        credentials.token = Some(of("SessionToken"));
        credentials
    }
    async fn works(&self, by: &Credentials) -> bool {
        let answer = self.describe(by, "gate").await;
        if answer.status == 200 {
            return true;
        }
        let error = answer.header("x-amzn-errortype").to_owned();
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(error.starts_with("ExpiredToken") || error.starts_with("UnrecognizedClient"), "{error}");
        false
    }
}

fn trust(condition: Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": TRUST}, "Action": "sts:AssumeRole", "Condition": condition,
    }]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_certificate_gets_credentials_for_its_own_stream() {
    let site = Site::start().await;
    let gate = Pair::named("gate");
    site.refused(&gate, "cams", "gate").await;
    let made = site.made("/v1/certificates", json!({"certificate": gate.pem, "role_aliases": ["cams"]})).await;
    assert_eq!((&made["thing"], &made["active"]), (&json!("gate"), &json!(true)));
    let id = made["id"].as_str().unwrap();
    site.server.stream(id).await;
    for version in VERSIONS {
        let stream = connect(site.server.tls.unwrap(), config(&site.own, Some(&gate), version)).await.unwrap();
        assert_eq!(ask(stream, "GET", "/role-aliases/cams/credentials", &[], None).await.status, 200, "no name needed");
    }
    let (credentials, given) = site.given(&gate, "gate").await;
    let ends = given["expiration"].as_str().unwrap();
    assert!(ends.len() == 20 && ends.ends_with('Z'), "{ends}");
    assert_eq!(site.describe(&credentials, "gate").await.status, 200);
    assert_eq!(site.describe(&credentials, id).await.status, 200, "credentials-iot:AwsCertificateId");
    assert_eq!(site.describe(&credentials, "yard").await.status, 403, "another's");
    let who = Signed {
        service: "sts",
        method: "POST",
        path: "/",
        content_type: "application/x-www-form-urlencoded",
        body: "Action=GetCallerIdentity&Version=2011-06-15",
        at: common::now(),
    };
    let who = signing::send(&site.server, &credentials, who).await.text();
    assert!(who.contains(&format!(":assumed-role/cameras/{id}<")), "{who}");

    // It holds for as long as the alias says.
    site.server.ahead_ms.store(899_000, std::sync::atomic::Ordering::Relaxed);
    let late = common::now().plus(899_000);
    let body = json!({"StreamName": "gate"}).to_string();
    let at = |at| Signed {
        service: "kinesisvideo",
        method: "POST",
        path: "/describeStream",
        content_type: "application/json",
        body: &body,
        at,
    };
    assert_eq!(signing::send(&site.server, &credentials, at(late)).await.status, 200);
    site.server.ahead_ms.store(902_000, std::sync::atomic::Ordering::Relaxed);
    let answer = signing::send(&site.server, &credentials, at(late.plus(3000))).await;
    assert!(answer.header("x-amzn-errortype").starts_with("ExpiredToken"), "{}", answer.text());
    site.server.stop().await;
    drop(site.folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_is_told_nothing() {
    let site = Site::start().await;
    let (gate, stranger) = (Pair::named("gate"), Pair::named("gate"));
    site.made("/v1/certificates", json!({"certificate": gate.pem, "role_aliases": ["cams"]})).await;
    site.refused(&gate, "cams", "yard").await;
    site.refused(&gate, "cams", "").await;
    site.refused(&gate, "none", "gate").await;
    site.refused(&stranger, "cams", "gate").await;
    let twice = [("x-amzn-iot-thingname", "gate"), ("x-amzn-iot-thingname", "yard")];
    assert_eq!(site.ask(Some(&gate), "cams", &twice).await.status, 403);
    site.made("/v1/role-aliases", json!({"name": "other", "role": "cameras"})).await;
    site.refused(&gate, "other", "gate").await;
    // Nor is anyone without a certificate, or without TLS, and not with root's credentials either.
    let told = site.ask(None, "cams", &[("authorization", &basic(KEY, SECRET))]).await;
    assert_eq!(told.status, 403);
    assert_eq!(told.json()["message"], "Access Denied: no client certificate was presented");
    let plain = site.server.root("GET", "/role-aliases/cams/credentials", None).await;
    assert_eq!((plain.status.as_u16(), plain.json()["message"].as_str().unwrap().contains("by TLS")), (403, true));
    // A certificate gives nothing but that, and hurts nothing.
    let connected = |by| connect(site.server.tls.unwrap(), config(&site.own, Some(by), VERSIONS[0]));
    let answer = ask(connected(&stranger).await.unwrap(), "GET", "/healthz", &[], None).await;
    assert_eq!(answer.status, 200);
    assert_eq!(ask(connected(&gate).await.unwrap(), "GET", "/v1/streams", &[], None).await.status, 401);
    let root = [("authorization", basic(KEY, SECRET))];
    let root: Vec<_> = root.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(ask(connected(&stranger).await.unwrap(), "GET", "/v1/streams", &root, None).await.status, 200);

    // The role must trust the service.
    let someone = json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}});
    site.changed("/v1/roles/cameras", json!({"trust": someone})).await;
    site.refused(&gate, "cams", "gate").await;
    let yard_alone = json!({"StringEquals": {"credentials-iot:ThingName": "yard"}});
    site.changed("/v1/roles/cameras", json!({"trust": trust(yard_alone)})).await;
    site.refused(&gate, "cams", "gate").await;
    let by_tls =
        json!({"StringEquals": {"credentials-iot:ThingName": "gate"}, "Bool": {"aws:SecureTransport": "true"}});
    site.changed("/v1/roles/cameras", json!({"trust": trust(by_tls)})).await;
    site.given(&gate, "gate").await;
    site.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_hold_from_and_to_their_times() {
    let site = Site::start().await;
    let year = |from: i32, to: i32| {
        let mut params = params("gate");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        params
    };
    site.changed("/v1/role-aliases/cams", json!({"device_ca": true})).await;
    for (from, to) in [(2020, 2021), (2090, 2091)] {
        let own = Pair::of(year(from, to));
        site.made("/v1/certificates", json!({"certificate": own.pem, "role_aliases": ["*"]})).await;
        site.refused(&own, "cams", "gate").await;
        site.refused(&Pair::signed(year(from, to), &site.authority), "cams", "gate").await;
    }
    // Credentials end with the certificate.
    let soon = Pair::of({
        let mut params = params("gate");
        let now = std::time::SystemTime::now() + std::time::Duration::from_secs(120);
        params.not_after = now.into();
        params
    });
    site.made("/v1/certificates", json!({"certificate": soon.pem, "role_aliases": ["*"]})).await;
    let (credentials, _) = site.given(&soon, "gate").await;
    assert!(site.works(&credentials).await);
    site.server.ahead_ms.store(122_000, std::sync::atomic::Ordering::Relaxed);
    assert!(!site.works(&credentials).await);
    site.refused(&soon, "cams", "gate").await;
    site.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_vouches_for_devices_by_their_names() {
    let site = Site::start().await;
    let gate = Pair::signed(params("gate"), &site.authority);
    site.refused(&gate, "cams", "gate").await;
    site.changed("/v1/role-aliases/cams", json!({"device_ca": true})).await;
    let (credentials, _) = site.given(&gate, "gate").await;
    assert!(site.works(&credentials).await);
    assert_eq!(site.describe(&credentials, "yard").await.status, 403);
    site.refused(&gate, "cams", "yard").await;
    // The same name by another authority of the same name, by itself, and a name that could be a pattern.
    let other = Pair::authority("devices");
    site.refused(&Pair::signed(params("gate"), &other), "cams", "gate").await;
    site.refused(&Pair::named("gate"), "cams", "gate").await;
    for name in ["*", "gate/../yard", "${x}", "g te"] {
        let odd = Pair::signed(params(name), &site.authority);
        assert_eq!(site.ask(Some(&odd), "cams", &[]).await.status, 403, "{name}");
    }
    // A server's certificate is none for clients.
    let mut server = params("gate");
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    site.refused(&Pair::signed(server, &site.authority), "cams", "gate").await;
    // One of them is stolen.
    site.made("/v1/certificates", json!({"certificate": gate.pem, "active": false})).await;
    assert!(!site.works(&credentials).await, "at once");
    site.refused(&gate, "cams", "gate").await;
    let another = Pair::signed(params("gate"), &site.authority);
    site.given(&another, "gate").await;
    // What is registered counts, not what the authority says.
    site.changed(&path(&gate), json!({"active": true, "thing": "yard"})).await;
    site.refused(&gate, "cams", "gate").await;
    site.refused(&gate, "cams", "yard").await;
    site.changed(&path(&gate), json!({"role_aliases": ["cams"]})).await;
    site.given(&gate, "yard").await;
    site.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_ends_with_what_it_came_from() {
    let site = Site::start().await;
    let gate = Pair::named("gate");
    let register = async || {
        site.made("/v1/certificates", json!({"certificate": gate.pem, "role_aliases": ["cams"]})).await;
    };
    register().await;
    let held = async |what: &str| {
        let (credentials, _) = site.given(&gate, "gate").await;
        assert!(site.works(&credentials).await, "before {what}");
        credentials
    };
    site.made(
        "/v1/roles",
        json!({"name": "further", "policies": ["admin"], "trust": {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"},
        ]}}),
    )
    .await;
    let one = held("it is revoked").await;
    let further = site.chained(&one, "further").await;
    assert!(site.works(&further).await);
    site.changed(&path(&gate), json!({"active": false})).await;
    assert!(!site.works(&one).await);
    assert!(!site.works(&further).await, "nor what a device took on with it");
    site.refused(&gate, "cams", "gate").await;
    site.changed(&path(&gate), json!({"active": true})).await;
    assert!(site.works(&one).await, "and goes on where it is enabled");
    site.changed(&path(&gate), json!({"role_aliases": []})).await;
    assert!(!site.works(&one).await);
    site.changed(&path(&gate), json!({"role_aliases": ["*"]})).await;
    assert!(site.works(&one).await);
    site.removed(&path(&gate)).await;
    assert!(!site.works(&one).await);
    register().await;

    let one = held("its alias is removed").await;
    site.removed("/v1/role-aliases/cams").await;
    assert!(!site.works(&one).await);
    let unasked = site.ask(Some(&gate), "cams", &[]).await.text();
    assert!(unasked.contains("no client certificate"), "with no alias left, nobody is asked for one: {unasked}");
    site.made("/v1/role-aliases", json!({"name": "other", "role": "cameras"})).await;
    site.refused(&gate, "cams", "gate").await;
    site.made("/v1/role-aliases", json!({"name": "cams", "role": "cameras"})).await;
    assert!(!site.works(&one).await, "a new one of the name");
    let one = held("its sessions are ended").await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    site.changed("/v1/roles/cameras", json!({"end_sessions": true})).await;
    assert!(!site.works(&one).await);
    let one = held("its role is removed").await;
    site.removed("/v1/roles/cameras").await;
    assert!(!site.works(&one).await);
    site.refused(&gate, "cams", "gate").await;
    site.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_by_its_member() {
    let site = Site::start().await;
    let post = async |path: &str, body: Value| {
        let answer = site.server.root("POST", path, Some(body)).await;
        (answer.status.as_u16(), answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    let id = "ab".repeat(32);
    for (body, part) in [
        (json!({}), "one of certificate"),
        (json!({"certificate": "x", "id": id}), "one of certificate"),
        (json!({"certificate": "junk"}), "certificate: holds no certificate"),
        (json!({"id": "ab"}), "id: the SHA-256"),
        (json!({"id": id}), "thing: needed"),
        (json!({"id": id, "thing": "a b"}), "thing: 1 to 128"),
        (json!({"id": id, "thing": "a", "role_aliases": ["none"]}), "no role alias \"none\""),
        (json!({"id": id, "thing": "a", "colour": 1}), "colour"),
    ] {
        let (status, message) = post("/v1/certificates", body.clone()).await;
        assert!(status == 400 && message.contains(part), "{body}: {status} {message}");
    }
    for (body, part) in [
        (json!({"name": "a/b", "role": "cameras"}), "name: "),
        (json!({"name": "a", "role": "none"}), "role: there is no role"),
        (json!({"name": "a", "role": "cameras", "credential_duration_s": 899}), "900 to 43200"),
        (json!({"name": "a", "role": "cameras", "credential_duration_s": 43201}), "900 to 43200"),
    ] {
        let (status, message) = post("/v1/role-aliases", body.clone()).await;
        assert!(status == 400 && message.contains(part), "{body}: {status} {message}");
    }
    let arn = "arn:aws:iam::123456789012:role/cameras";
    let made = site.made("/v1/role-aliases", json!({"name": "a", "role": arn})).await;
    assert_eq!((&made["role_arn"], &made["role"]), (&json!(arn), &json!("cameras")));
    assert_eq!(post("/v1/role-aliases", json!({"name": "a", "role": arn})).await.0, 409);
    let listed = site.server.root("GET", "/v1/role-aliases?limit=1", None).await.json();
    assert_eq!((listed["role_aliases"][0]["name"].as_str(), listed["next"].as_str()), (Some("a"), Some("a")));
    site.made("/v1/certificates", json!({"id": id, "active": false})).await;
    site.made("/v1/certificates", json!({"id": "cd".repeat(32), "thing": "gate"})).await;
    let of_gate = site.server.root("GET", "/v1/certificates?thing=gate", None).await.json();
    assert_eq!(of_gate["certificates"].as_array().unwrap().len(), 1);
    let stale = site.server.root("DELETE", &format!("/v1/certificates/{id}?version=1"), None).await;
    assert_eq!(stale.status, 409);

    // Whoever makes an alias gives its role away.
    let allowed = |actions: Value| json!({"Statement": {"Effect": "Allow", "Action": actions, "Resource": "*"}});
    let makes = site.server.key(allowed(json!(["iot:*"]))).await;
    let authorization = basic(makes.split_once(':').unwrap().0, makes.split_once(':').unwrap().1);
    let by = [("authorization", authorization.as_str())];
    let asked = || Some(json!({"name": "b", "role": "cameras"}));
    let refused = site.server.send("POST", "/v1/role-aliases", &by, asked()).await;
    assert!(refused.status == 403 && refused.text().contains("iam:PassRole"), "{}", refused.text());
    let passes = site.server.key(allowed(json!(["iot:CreateRoleAlias", "iam:PassRole"]))).await;
    let authorization = basic(passes.split_once(':').unwrap().0, passes.split_once(':').unwrap().1);
    let by = [("authorization", authorization.as_str())];
    assert_eq!(site.server.send("POST", "/v1/role-aliases", &by, asked()).await.status, 201);
    let certificate = Some(json!({"id": "ef".repeat(32), "thing": "x", "role_aliases": ["b"]}));
    assert_eq!(site.server.send("POST", "/v1/certificates", &by, certificate).await.status, 403);
    site.server.stop().await;
}
