//! A signer of AWS Signature Version 4, of the plainest kind: what the tests of signed requests share.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use super::common::{Answer, Server};
use hmac::{Hmac, KeyInit, Mac};
use media::UnixMillis;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Credentials, of a key or of a session.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

impl Credentials {
    pub fn new(id: &str, secret: &str) -> Self {
        Credentials { id: id.to_owned(), secret: secret.to_owned(), token: None }
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The path of a presigned `GET /` with these parameters, as the SDKs for signaling make it.
pub fn presigned(host: &str, by: &Credentials, at: UnixMillis, expires_s: u32, parameters: &[(&str, &str)]) -> String {
    let text = at.to_rfc3339();
    let date = text.split('.').next().unwrap().replace(['-', ':'], "") + "Z";
    let scope = format!("{}/us-west-2/kinesisvideo/aws4_request", &date[..8]);
    let (credential, expires) = (format!("{}/{scope}", by.id), expires_s.to_string());
    let mut all = vec![
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", &date),
        ("X-Amz-Expires", &expires),
        ("X-Amz-SignedHeaders", "host"),
    ];
    all.extend(by.token.as_deref().map(|token| ("X-Amz-Security-Token", token)));
    all.extend(parameters);
    all.sort_unstable();
    let encoded = |text: &str| -> String {
        let kept = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        text.bytes().map(|b| if kept(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
    };
    let query: Vec<_> = all.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let query = query.join("&");
    let canonical = format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{}", hex(&Sha256::digest("")));
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut key = format!("AWS4{}", by.secret).into_bytes();
    for part in scope.split('/') {
        key = mac(&key, part);
    }
    format!("/?{query}&X-Amz-Signature={}", hex(&mac(&key, &to_sign)))
}

/// A request of some client.
pub struct Signed<'a> {
    pub service: &'a str,
    pub method: &'a str,
    /// With its query already in canonical order, if it has one.
    pub path: &'a str,
    pub content_type: &'a str,
    pub body: &'a str,
    pub at: UnixMillis,
}

/// Signs a request as boto3 does and sends it.
pub async fn send(server: &Server, by: &Credentials, request: Signed<'_>) -> Answer {
    let Signed { service, method, path, content_type, body, at } = request;
    let text = at.to_rfc3339();
    let date = text.split('.').next().unwrap().replace(['-', ':'], "") + "Z";
    let scope = format!("{}/us-east-1/{service}/aws4_request", &date[..8]);
    let (plain, query) = path.split_once('?').unwrap_or((path, ""));
    let token_name = if by.token.is_some() { ";x-amz-security-token" } else { "" };
    let token_line = by.token.as_ref().map(|t| format!("x-amz-security-token:{t}\n")).unwrap_or_default();
    let names = format!("content-type;host;x-amz-date{token_name}");
    let hash = hex(&Sha256::digest(body));
    let canonical = format!(
        "{method}\n{plain}\n{query}\ncontent-type:{content_type}\nhost:{}\nx-amz-date:{date}\n{token_line}\n{names}\n{hash}",
        server.address
    );
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut key = format!("AWS4{}", by.secret).into_bytes();
    for part in scope.split('/') {
        key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &to_sign));
    let value = format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", by.id);
    let mut headers = vec![("authorization", value.as_str()), ("x-amz-date", &date), ("content-type", content_type)];
    if let Some(token) = &by.token {
        headers.push(("x-amz-security-token", token));
    }
    server.send(method, path, &headers, Some(Value::String(body.to_owned()))).await
}
