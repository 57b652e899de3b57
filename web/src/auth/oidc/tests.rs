#![allow(clippy::unwrap_used)]

use super::{
    fetch::Fetcher,
    jwt::{Algorithm, Fault, Token},
    keys::KeySet,
    provider::{Provider, name_of},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use media::UnixMillis;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{RootCertStore, ServerConfig, crypto::ring},
};

/// A token with these claims and a signature of nothing.
fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.AAAA", part(header), part(claims))
}

fn claims() -> Value {
    json!({"iss": "https://id.example", "sub": "anna", "aud": "app", "exp": 1_000})
}

/// The `Err` of a `Result` whose `Ok` cannot be shown.
fn fault(text: &str) -> Fault {
    match Token::parse(text) {
        Ok(_) => panic!("{text} is read"),
        Err(fault) => fault,
    }
}

#[test]
fn tokens_are_read_strictly() {
    let rs = json!({"alg": "RS256", "kid": "1", "typ": "JWT"});
    let text = unsigned(&rs, &claims());
    let token = Token::parse(&text).ok().unwrap();
    assert_eq!((token.algorithm, token.key_id.as_deref()), (Algorithm::Rs256, Some("1")));
    assert_eq!((token.claims.issuer.as_str(), token.claims.subject.as_str()), ("https://id.example", "anna"));
    for alg in ["none", "None", "HS256", "RS512", "PS256", ""] {
        assert_eq!(fault(&unsigned(&json!({"alg": alg}), &claims())), Fault::Algorithm(alg.into()));
    }
    for header in [
        json!({}),
        json!({"alg": 1}),
        json!({"alg": "RS256", "kid": 1}),
        json!({"alg": "RS256", "crit": ["b64"]}),
        json!([]),
    ] {
        assert!(matches!(fault(&unsigned(&header, &claims())), Fault::Malformed(_)), "{header}");
    }
    for (name, value) in [
        ("iss", Value::Null),
        ("sub", json!("")),
        ("sub", json!("x".repeat(256))),
        ("aud", json!([])),
        ("aud", json!([1])),
        ("exp", Value::Null),
        ("exp", json!("1000")),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("nbf", json!("x")),
        ("azp", json!(1)),
    ] {
        let mut claims = claims();
        claims[name] = value;
        assert!(matches!(fault(&unsigned(&rs, &claims)), Fault::Malformed(_)), "{claims}");
    }
    let long = format!("{text}{}", "A".repeat(20_000));
    for text in ["", ".", "..", "...", "a.b.c", &format!("{text}="), &text.replace('.', " . "), &long] {
        assert!(matches!(fault(text), Fault::Malformed(_)), "{text}");
    }
}

#[test]
fn time_and_audience() {
    let check = |more: Value, now: i64| {
        let mut claims = claims();
        more.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        let text = unsigned(&json!({"alg": "ES256"}), &claims);
        Token::parse(&text).ok().unwrap().claims.check(&["app".into(), "other".into()], UnixMillis(now))
    };
    assert_eq!(check(json!({}), 999_000), Ok(()));
    assert_eq!(check(json!({}), 1_059_999), Ok(()), "clocks differ");
    assert_eq!(check(json!({}), 1_060_000), Err(Fault::Expired(UnixMillis(1_000_000))));
    for name in ["nbf", "iat"] {
        assert_eq!(check(json!({name: 500}), 440_000), Ok(()));
        assert_eq!(check(json!({name: 500.5}), 440_000), Err(Fault::Early));
    }
    assert_eq!(check(json!({"aud": ["x", "other"]}), 0), Ok(()));
    assert_eq!(check(json!({"aud": "ap"}), 0), Err(Fault::Audience));
    assert_eq!(check(json!({"aud": "x", "azp": "app"}), 0), Ok(()), "given to one of ours, for another");
    assert_eq!(check(json!({"aud": "app", "azp": "x"}), 0), Err(Fault::Audience), "given to another");
}

proptest::proptest! {
    #[test]
    fn whatever_a_token_holds_is_read_or_refused(
        data: Vec<u8>,
        name in proptest::sample::select(vec!["iss", "sub", "aud", "azp", "exp", "nbf", "iat", "x"]),
        value in proptest::sample::select(vec!["1e400", "-9223372036854775808", "1e18", "\"\"", "[\"a\",1]", "[]", "null", "{\"a\":[]}"]),
    ) {
        super::fuzz(&data);
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let claims = claims().to_string().replacen('{', &format!("{{\"{name}\":{value},"), 1);
        let token = format!("{}.{}.AAAA", part("{\"alg\":\"ES256\"}"), part(&claims));
        let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "A".repeat(43), "y": "A".repeat(43)}]});
        super::fuzz(format!("{token}\n{keys}").as_bytes());
    }
}

#[test]
fn sets_leave_out_what_cannot_verify() {
    let rsa = json!({"kty": "RSA", "kid": "1", "n": "AQAB", "e": "AQAB"});
    let with = |name: &str, value: &str| {
        let mut key = rsa.clone();
        key[name] = json!(value);
        key
    };
    let set = |keys: Value| KeySet::parse(json!({"keys": keys}).to_string().as_bytes());
    set(json!([rsa, with("alg", "RS256"), with("use", "sig")])).unwrap();
    for other in [
        with("use", "enc"),
        with("alg", "HS256"),
        with("kty", "oct"),
        with("n", "?"),
        json!(1),
        json!({"kty": "EC", "crv": "P-384", "x": "", "y": ""}),
    ] {
        assert!(set(json!([other])).unwrap_err().contains("no key for"), "{other}");
    }
    assert!(set(Value::Array(vec![rsa.clone(); 65])).unwrap_err().contains("65 keys"));
    for text in ["", "[]", "{}", "{\"keys\":{}}"] {
        assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
    }
}

fn provider(url: &str, allow_local: bool) -> Provider {
    let client_ids = vec!["app".to_owned()];
    Provider { url: url.into(), client_ids, allow_local, created_at: UnixMillis(0), description: String::new() }
}

#[test]
fn providers_are_checked() {
    for (url, local) in
        [("https://id.example", false), ("https://id.example/realms/x/", false), ("http://127.0.0.1:8080/x", true)]
    {
        assert_eq!(provider(url, local).check(), Ok(()), "{url}");
    }
    for url in [
        "http://id.example",
        "ftp://id.example",
        "https://a:b@id.example",
        "https://id.example/?x",
        "https://id.example/#x",
        "https://ID.example",
        "https://id.example:443",
        "https://id.example/a/../b",
        "https://id.example//",
        "id.example",
        "https://",
    ] {
        assert!(provider(url, false).check().unwrap_err().starts_with("url:"), "{url}");
    }
    let without = Provider { client_ids: vec![], ..provider("https://id.example", false) };
    assert!(without.check().unwrap_err().starts_with("client_ids:"));
    assert_eq!(name_of("https://id.example/realms/x/").as_deref(), Some("id.example/realms/x"));
    assert_eq!((name_of("id.example"), name_of("https://"), name_of("https:///")), (None, None, None));
    assert!(provider("https://id.example", false).is_issuer("https://id.example/"));
    assert!(!provider("https://id.example", true).is_issuer("http://id.example"));
}

/// Answers each path with what `answers` has for it; `{port}` stands for its own port.
async fn serve(answers: &'static [(&'static str, &'static str)], tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    Some(tls) => {
                        if let Ok(socket) = tls.accept(socket).await {
                            answer(socket, answers, port).await
                        }
                    }
                    None => answer(socket, answers, port).await,
                }
            });
        }
    });
    port
}

async fn answer(
    mut socket: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    answers: &[(&str, &str)],
    port: u16,
) {
    let mut request = vec![0; 4096];
    let read = socket.read(&mut request).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let Some((_, body)) = answers.iter().find(|(at, _)| *at == path) else { return };
    match *body {
        "silence" => tokio::time::sleep(Duration::from_secs(60)).await,
        "endless" => {
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while socket.write_all(&[b' '; 4096]).await.is_ok() {}
        }
        "elsewhere" => {
            let _ = socket.write_all(b"HTTP/1.1 302 Found\r\nLocation: /keys\r\nContent-Length: 0\r\n\r\n").await;
        }
        body => {
            let body = body.replace("{port}", &port.to_string());
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _ = socket.write_all(text.as_bytes()).await;
        }
    }
}

const AT: &str = "/.well-known/openid-configuration";
const GOOD: &str = r#"{"issuer":"http://127.0.0.1:{port}","jwks_uri":"http://127.0.0.1:{port}/keys"}"#;
const KEYS: &str = r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#;

async fn fetched(answers: &'static [(&'static str, &'static str)]) -> Result<KeySet, String> {
    let port = serve(answers, None).await;
    let fetcher = Fetcher::of_test(RootCertStore::empty(), Duration::from_secs(1));
    fetcher.keys(&provider(&format!("http://127.0.0.1:{port}"), true)).await
}

#[tokio::test]
async fn keys_are_fetched_from_where_the_issuer_says() {
    fetched(&[(AT, GOOD), ("/keys", KEYS)]).await.unwrap();
    const OTHER: &str = r#"{"issuer":"http://127.0.0.2:{port}","jwks_uri":"http://127.0.0.1:{port}/keys"}"#;
    const FILE: &str = r#"{"issuer":"http://127.0.0.1:{port}","jwks_uri":"file:///etc/keys"}"#;
    const METADATA: &str = r#"{"issuer":"http://127.0.0.1:{port}","jwks_uri":"http://169.254.169.254/keys"}"#;
    let cases: [(&'static [(&str, &str)], &str); 10] = [
        (&[(AT, OTHER), ("/keys", KEYS)], "names another issuer"),
        (&[(AT, "{}")], "names another issuer"),
        (&[(AT, "[")], "no JSON"),
        (&[(AT, FILE)], "scheme file"),
        (&[(AT, METADATA)], "169.254.169.254"),
        (&[(AT, "elsewhere"), ("/keys", KEYS)], "redirects are not followed"),
        (&[(AT, GOOD), ("/keys", "endless")], "more than 262144 bytes"),
        (&[(AT, "endless")], "more than 262144 bytes"),
        (&[(AT, GOOD), ("/keys", "silence")], "did not answer within 1 s"),
        (&[], "no answer"),
    ];
    for (answers, says) in cases {
        let error = fetched(answers).await.unwrap_err();
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[tokio::test]
async fn only_providers_that_may_be_local_are_reached_there() {
    let port = serve(&[(AT, GOOD), ("/keys", KEYS)], None).await;
    let fetcher = Fetcher::of_test(RootCertStore::empty(), Duration::from_secs(1));
    let error = fetcher.keys(&provider(&format!("https://127.0.0.1:{port}"), false)).await.unwrap_err();
    assert!(error.contains("may not be reached"), "{error}");
}

#[tokio::test]
async fn https_is_checked_against_certificates_and_names() {
    const HTTPS: &str = r#"{"issuer":"https://localhost:{port}","jwks_uri":"https://localhost:{port}/keys"}"#;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], made.signing_key.serialize_der().try_into().unwrap())
        .unwrap();
    let port = serve(&[(AT, HTTPS), ("/keys", KEYS)], Some(TlsAcceptor::from(Arc::new(config)))).await;
    let limit = Duration::from_secs(5);
    let at = |host: &str| provider(&format!("https://{host}:{port}"), true);
    Fetcher::of_test(roots.clone(), limit).keys(&at("localhost")).await.unwrap();
    for (roots, host) in [(RootCertStore::empty(), "localhost"), (roots, "127.0.0.1")] {
        let error = Fetcher::of_test(roots, limit).keys(&at(host)).await.unwrap_err();
        assert!(error.contains("TLS:"), "{error}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[A-Za-z0-9_.-]{0,80}") {
        let _ = Token::parse(&text);
        let _ = Token::parse(&String::from_utf8_lossy(&bytes));
        let _ = KeySet::parse(&bytes);
        let part = URL_SAFE_NO_PAD.encode(&bytes);
        let _ = Token::parse(&format!("{part}.{part}.{part}"));
    }
}
