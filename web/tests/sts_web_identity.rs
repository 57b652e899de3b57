//! Roles for those whom an identity provider vouches for: a provider in the test, its keys over real HTTP, tokens signed here.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/signing.rs"]
mod signing;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{Answer, Server, now};
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};
use signing::{Credentials, Signed};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const FORM: &str = "application/x-www-form-urlencoded";
const ACCOUNT: &str = "123456789012";

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key of the provider.
enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Key {
    fn rsa() -> Key {
        Key::Rsa(RsaKeyPair::from_pkcs8(include_bytes!("testdata/rsa-2048.pk8")).unwrap())
    }
    fn ec() -> Key {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &SystemRandom::new());
        Key::Ec(pair.unwrap())
    }
    fn alg(&self) -> &'static str {
        match self {
            Key::Rsa(_) => "RS256",
            Key::Ec(_) => "ES256",
        }
    }
    fn jwk(&self, id: &str) -> Value {
        match self {
            Key::Rsa(pair) => {
                let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "n": encoded(n), "e": encoded(e)})
            }
            Key::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": id, "x": encoded(&point[1..33]), "y": encoded(&point[33..])})
            }
        }
    }
    fn token(&self, id: &str, claims: &Value) -> String {
        let header = json!({"alg": self.alg(), "kid": id, "typ": "JWT"});
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = match self {
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            Key::Ec(pair) => pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{signed}.{}", encoded(signature))
    }
}

/// An identity provider on loopback, whose keys the test changes.
#[derive(Clone)]
struct Idp {
    issuer: String,
    keys: Arc<Mutex<Value>>,
    asked: Arc<AtomicU32>,
}

impl Idp {
    async fn start() -> Idp {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}/realms/x", listener.local_addr().unwrap());
        let idp = Idp { issuer, keys: Arc::new(Mutex::new(json!([]))), asked: Arc::default() };
        let served = idp.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let read = socket.read(&mut request).await.unwrap_or(0);
                let path = String::from_utf8_lossy(&request[..read]).split(' ').nth(1).unwrap_or_default().to_owned();
                let body = match path.as_str() {
                    "/realms/x/.well-known/openid-configuration" => {
                        json!({"issuer": served.issuer, "jwks_uri": format!("{}/keys", served.issuer)})
                    }
                    "/realms/x/keys" => {
                        served.asked.fetch_add(1, Ordering::Relaxed);
                        json!({"keys": *served.keys.lock().unwrap()})
                    }
                    other => panic!("{other} is asked for"),
                };
                let body = body.to_string();
                let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let _ = socket.write_all(text.as_bytes()).await;
            }
        });
        idp
    }
    fn has(&self, keys: Value) {
        *self.keys.lock().unwrap() = keys;
    }
    fn name(&self) -> &str {
        self.issuer.strip_prefix("http://").unwrap()
    }
    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
    fn claims(&self, server: &Server) -> Value {
        let now = (now().0 + server.ahead_ms.load(Ordering::Relaxed)) / 1000;
        json!({"iss": self.issuer, "sub": "anna", "aud": "app", "iat": now, "exp": now + 600, "department": "north"})
    }
}

async fn assume(server: &Server, token: &str, more: &[(&str, &str)]) -> Answer {
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/watcher");
    let mut params = vec![
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", arn.as_str()),
        ("RoleSessionName", "phone"),
        ("WebIdentityToken", token),
    ];
    params.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    params.extend(more);
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    server.send("POST", "/", &[("content-type", FORM)], Some(Value::String(body))).await
}

fn element(answer: &Answer, name: &str) -> String {
    let text = answer.text();
    let (_, rest) = text.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{name}: {text}"));
    rest.split_once("</").unwrap().0.to_owned()
}

fn refused(answer: &Answer) -> String {
    format!("{} {}", answer.status.as_u16(), element(answer, "Code"))
}

async fn make(server: &Server, path: &str, body: Value) -> Value {
    let answer = server.root("POST", path, Some(body)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

/// A server that knows the provider, with a role for those of the north.
async fn start(folder: &std::path::Path, idp: &Idp) -> Server {
    let server = Server::start(folder).await;
    server.stream("gate").await;
    let new = json!({"url": idp.issuer, "client_ids": ["app"], "allow_local": true});
    let made = make(&server, "/v1/oidc-providers", new).await;
    let arn = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{}", idp.name());
    assert_eq!((made["name"].as_str(), made["arn"].as_str()), (Some(idp.name()), Some(arn.as_str())));
    let condition = json!({"StringEquals": {(format!("{}:aud", idp.name())): "app", (format!("{}:department", idp.name())): "north"}});
    let trust = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": {"Federated": arn}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": condition,
    }});
    make(&server, "/v1/roles", json!({"name": "watcher", "trust": trust, "policies": ["playback"]})).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_provider_become_sessions_of_a_role() {
    let (folder, idp) = (tempfile::tempdir().unwrap(), Idp::start().await);
    let server = start(folder.path(), &idp).await;
    let (rsa, ec) = (Key::rsa(), Key::ec());
    idp.has(json!([rsa.jwk("one"), ec.jwk("two")]));
    for (key, id) in [(&rsa, "one"), (&ec, "two")] {
        let answer = assume(&server, &key.token(id, &idp.claims(&server)), &[("DurationSeconds", "900")]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(element(&answer, "SubjectFromWebIdentityToken"), "anna");
        assert_eq!(element(&answer, "Arn"), format!("arn:aws:sts::{ACCOUNT}:assumed-role/watcher/phone"));
        assert_eq!((element(&answer, "Provider"), element(&answer, "Audience")), (idp.issuer.clone(), "app".into()));
        let session = Credentials {
            id: element(&answer, "AccessKeyId"),
            secret: element(&answer, "SecretAccessKey"),
            token: Some(element(&answer, "SessionToken")),
        };
        assert!(session.token.as_ref().unwrap().len() <= 2048);
        for (path, status) in [("/describeStream", 200), ("/listStreams", 403)] {
            let body = r#"{"StreamName":"gate"}"#;
            let (service, content_type) = ("kinesisvideo", "application/json");
            let request = Signed { service, method: "POST", path, content_type, body, at: now() };
            assert_eq!(signing::send(&server, &session, request).await.status, status, "{path}");
        }
    }
    assert_eq!(idp.asked(), 1, "keys are kept");

    let with = |name: &str, value: Value| {
        let mut claims = idp.claims(&server);
        claims[name] = value;
        rsa.token("one", &claims)
    };
    let seconds = now().0 / 1000;
    let good = idp.claims(&server);
    let none = format!("{}.{}.", encoded(r#"{"alg":"none"}"#), encoded(good.to_string()));
    let other_key = Key::ec().token("two", &good);
    let (head, _) = other_key.rsplit_once('.').unwrap();
    let foreign_head = ec.token("two", &good).rsplit_once('.').unwrap().1.to_owned();
    for (token, code) in [
        (none, "400 InvalidIdentityToken"),
        (other_key.clone(), "400 InvalidIdentityToken"),
        (format!("{}.{foreign_head}", head.replace("eyJ", "eyK")), "400 InvalidIdentityToken"),
        // The RSA key's name, signed by the other: the algorithm has to be that of the key.
        (ec.token("one", &good), "400 InvalidIdentityToken"),
        (with("aud", json!("other")), "400 InvalidIdentityToken"),
        (with("iss", json!("https://elsewhere.example")), "400 InvalidIdentityToken"),
        (with("nbf", json!(seconds + 300)), "400 InvalidIdentityToken"),
        (with("exp", json!(seconds - 300)), "400 ExpiredTokenException"),
        (with("department", json!("south")), "403 AccessDenied"),
        ("x".repeat(20_001), "400 ValidationError"),
        ("x.y.z".into(), "400 InvalidIdentityToken"),
        (String::new(), "400 ValidationError"),
    ] {
        let answer = assume(&server, &token, &[]).await;
        assert_eq!(refused(&answer), code, "{}", answer.text());
        assert!(token.len() < 5 || !answer.text().contains(&token), "a token is a secret");
    }
    let token = rsa.token("one", &good);
    // Which policies there are, only those learn who are vouched for.
    let policy = format!("arn:aws:iam::{ACCOUNT}:policy/missing");
    let policy = [("PolicyArns.member.1.arn", policy.as_str())];
    assert_eq!(refused(&assume(&server, "x.y.z", &policy).await), "400 InvalidIdentityToken");
    assert_eq!(refused(&assume(&server, &token, &policy).await), "400 MalformedPolicyDocument");
    let missing = format!("arn:aws:iam::{ACCOUNT}:role/missing");
    assert_eq!(refused(&assume(&server, &token, &[("RoleArn", &missing)]).await), "403 AccessDenied");
    assert_eq!(refused(&assume(&server, &token, &[("ProviderId", "x")]).await), "400 ValidationError");
    assert_eq!(refused(&assume(&server, &token, &[("DurationSeconds", "3601")]).await), "400 ValidationError");
    assert_eq!(idp.asked(), 1, "nothing of this needs the provider");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_rotate_are_fetched_anew_but_not_at_every_request() {
    let (folder, idp) = (tempfile::tempdir().unwrap(), Idp::start().await);
    let server = start(folder.path(), &idp).await;
    let (old, new) = (Key::ec(), Key::rsa());
    idp.has(json!([old.jwk("old")]));
    let status = async |key: &Key, id: &str| assume(&server, &key.token(id, &idp.claims(&server)), &[]).await.status;
    assert_eq!(status(&old, "old").await, 200);
    idp.has(json!([new.jwk("new")]));
    assert_eq!(status(&old, "old").await, 200, "still kept");
    for _ in 0..5 {
        assert_eq!(status(&new, "new").await, 400, "asked a moment ago");
    }
    assert_eq!(idp.asked(), 1);
    server.ahead_ms.store(11_000, Ordering::Relaxed);
    assert_eq!(status(&new, "new").await, 200);
    assert_eq!(status(&old, "old").await, 400, "gone from the set");
    assert_eq!(status(&new, "unknown").await, 400);
    assert_eq!(idp.asked(), 2);

    // A set that is broken leaves the former in force, for some hours.
    idp.has(json!("broken"));
    server.ahead_ms.store(4_000_000, Ordering::Relaxed);
    assert_eq!(status(&new, "new").await, 200);
    assert_eq!(idp.asked(), 3);
    server.ahead_ms.store(22_000_000, Ordering::Relaxed);
    assert_eq!(
        refused(&assume(&server, &new.token("new", &idp.claims(&server)), &[]).await),
        "400 IDPCommunicationError"
    );
    idp.has(json!([new.jwk("new")]));
    server.ahead_ms.store(22_011_000, Ordering::Relaxed);
    assert_eq!(status(&new, "new").await, 200);

    // Nobody is vouched for by a provider that was removed.
    let path = format!("/v1/oidc-providers/{}", idp.name().replace('/', "%2F"));
    assert_eq!(server.root("GET", &path, None).await.json()["client_ids"], json!(["app"]));
    assert_eq!(server.root("GET", "/v1/oidc-providers", None).await.json()["oidc_providers"][0]["name"], idp.name());
    assert_eq!(server.root("DELETE", &path, None).await.status, 204);
    assert_eq!(server.root("DELETE", &path, None).await.status, 404);
    let answer = assume(&server, &new.token("new", &idp.claims(&server)), &[]).await;
    assert!(element(&answer, "Message").starts_with("No OpenIDConnect provider found"), "{}", answer.text());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_that_make_no_sense() {
    let (folder, idp) = (tempfile::tempdir().unwrap(), Idp::start().await);
    let server = start(folder.path(), &idp).await;
    for (new, status) in [
        (json!({"url": idp.issuer, "client_ids": ["app"], "allow_local": true}), 409),
        (json!({"url": "http://id.example", "client_ids": ["app"]}), 400),
        (json!({"url": "id.example", "client_ids": ["app"]}), 400),
        (json!({"url": "https://id.example", "client_ids": []}), 400),
        (json!({"url": "https://id.example"}), 400),
        (json!({"url": "https://id.example", "client_ids": ["app"], "other": 1}), 400),
    ] {
        let answer = server.root("POST", "/v1/oidc-providers", Some(new.clone())).await;
        assert!(answer.status == status || (status == 400 && answer.status == 422), "{new}: {}", answer.text());
    }
    // The keys of one that may not be local, and is, are not fetched.
    let key = Key::ec();
    idp.has(json!([key.jwk("one")]));
    let path = format!("/v1/oidc-providers/{}", idp.name().replace('/', "%2F"));
    assert_eq!(server.root("DELETE", &path, None).await.status, 204);
    let tls = idp.issuer.replace("http:", "https:");
    make(&server, "/v1/oidc-providers", json!({"url": tls, "client_ids": ["app"]})).await;
    let mut claims = idp.claims(&server);
    claims["iss"] = json!(tls);
    assert_eq!(refused(&assume(&server, &key.token("one", &claims), &[]).await), "400 IDPCommunicationError");
    assert_eq!(idp.asked(), 0);
    server.stop().await;
}
