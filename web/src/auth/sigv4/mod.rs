//! Verifying AWS Signature Version 4, for every variant that clients of Kinesis Video Streams send. Pure: the request as it was
//! received, the secret and the time come in; nothing here knows whose key it is.
//!
//! The canonical request is made from what was received. Clients disagree on three things, so a few forms of it are tried, the most
//! common first: the host with or without its port, the query encoded anew or as it came, the path likewise; and what
//! stands for the body (<https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>).

mod canonical;
pub(crate) mod measured;
mod parse;
#[cfg(test)]
mod tests;

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use media::UnixMillis;
pub(crate) use parse::{Signed, is_signed};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use subtle::ConstantTimeEq;

/// The hash of no bytes, which stands for bodies that stream.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// What stands for a body that is not part of the signature.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The header in which clients name what stands for the body.
const CONTENT_SHA256: &str = "x-amz-content-sha256";
/// How far the clocks of client and server may be apart.
const SKEW_MS: i64 = 5 * 60_000;
/// Forms of the canonical request that are tried at most.
const MOST_FORMS: usize = 8;

/// A request as it was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// As it stands in the request line.
    pub(crate) path: &'a str,
    /// As it stands in the request line, without its question mark.
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// The `Host` header, or `:authority`.
    pub(crate) host: &'a str,
    /// A port that a proxy may have taken off the host.
    pub(crate) port: Option<u16>,
}

/// What is known of the body when the signature is verified.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body<'a> {
    /// Its SHA-256 in hexadecimal.
    Hashed(&'a str),
    /// It streams, or is still to be read: what the request says of it is believed.
    Unread,
}

/// Why a signature does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request carries no signature.
    Missing,
    /// A part of the signature is missing or cannot be read.
    Incomplete(String),
    /// The clocks differ, or the presigned URL has expired.
    Clock(String),
    /// The signature is for another day, service or kind of request.
    Scope(String),
    /// The signature is another than that of the request; for the client's developer, what was signed here.
    Mismatch {
        /// The canonical request in its most common form.
        canonical: String,
        /// The text whose HMAC the signature has to be.
        string_to_sign: String,
    },
}

/// The key that signs for one day, region and service.
#[derive(Clone)]
pub(crate) struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    /// Derives it from a secret access key: four HMACs, which is why callers keep it.
    pub(crate) fn derive(secret: &str, date: &str, region: &str, service: &str) -> SigningKey {
        let mut key = keyed(format!("AWS4{secret}").as_bytes());
        for part in [date, region, service, "aws4_request"] {
            key.update(part.as_bytes());
            key = keyed(&key.finalize().into_bytes());
        }
        SigningKey(key)
    }
    fn sign(&self, text: &str) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// SHA-256 in hexadecimal.
pub(crate) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

impl Request<'_> {
    /// The hash of the body that the request claims, where it claims one that can be checked before the body is read.
    pub(crate) fn claimed_hash(&self) -> Option<&str> {
        let claimed = self.headers.get(CONTENT_SHA256)?.to_str().ok()?.trim();
        (claimed.len() == 64 && claimed.bytes().all(|b| b.is_ascii_hexdigit())).then_some(claimed)
    }

    /// Whether the request says that its body is not part of the signature.
    pub(crate) fn leaves_body_unsigned(&self) -> bool {
        self.content_sha256() == Some(UNSIGNED)
    }

    fn content_sha256(&self) -> Option<&str> {
        self.headers.get(CONTENT_SHA256).and_then(|v| v.to_str().ok()).map(str::trim)
    }
}

/// Whether the clocks are close enough, and a presigned URL has not expired. The texts are those by which the C SDKs know that they
/// have to correct their clock.
pub(crate) fn check_time(signed: &Signed<'_>, now: UnixMillis) -> Result<(), Fault> {
    use super::instant::basic;
    let expires_ms = match signed.expires_s {
        Some(seconds) => i64::from(seconds) * 1000,
        None => SKEW_MS,
    };
    if now > signed.at.plus(expires_ms) {
        let at = signed.at_text.as_str();
        return Err(Fault::Clock(match signed.expires_s {
            Some(seconds) => format!(
                "Signature expired: {at} plus the {seconds} seconds of X-Amz-Expires is now earlier than {}",
                basic(now)
            ),
            None => format!(
                "Signature expired: {at} is now earlier than {} ({} - 5 min.)",
                basic(now.plus(-SKEW_MS)),
                basic(now)
            ),
        }));
    }
    if signed.at > now.plus(SKEW_MS) {
        return Err(Fault::Clock(format!(
            "Signature not yet current: {} is still later than {} ({} + 5 min.)",
            signed.at_text,
            basic(now.plus(SKEW_MS)),
            basic(now)
        )));
    }
    Ok(())
}

/// Whether the signature is that of the request, in any of the forms that clients use.
///
/// # Errors
/// [`Fault::Mismatch`].
pub(crate) fn verify(
    request: &Request<'_>,
    signed: &Signed<'_>,
    key: &SigningKey,
    body: Body<'_>,
) -> Result<(), Fault> {
    let payloads = payloads(request, signed, body);
    let hosts = hosts(request);
    let queries = forms(canonical::query(request.query, true), || canonical::query(request.query, false));
    let paths = forms(request.path.to_owned(), || canonical::path(request.path));
    let mut first = None;
    let mut tried = 0;
    for path in &paths {
        for query in &queries {
            for payload in payloads.iter().flatten() {
                for host in hosts.iter().flatten() {
                    if tried == MOST_FORMS {
                        break;
                    }
                    tried += 1;
                    let canonical = canonical::request(request, signed, path, query, host, payload);
                    let text = string_to_sign(signed, &canonical);
                    if bool::from(key.sign(&text).ct_eq(&signed.signature)) {
                        return Ok(());
                    }
                    first.get_or_insert((canonical, text));
                }
            }
        }
    }
    let (canonical, string_to_sign) = first.unwrap_or_default();
    Err(Fault::Mismatch { canonical: String::from_utf8_lossy(&canonical).into_owned(), string_to_sign })
}

/// One form, and the other where it differs.
fn forms(one: String, other: impl FnOnce() -> String) -> Vec<String> {
    let other = other();
    if other == one { vec![one] } else { vec![one, other] }
}

/// What may stand for the body.
fn payloads<'a>(request: &'a Request<'_>, signed: &Signed<'_>, body: Body<'a>) -> [Option<&'a str>; 2] {
    match (request.content_sha256(), body) {
        (Some(UNSIGNED), _) => [Some(UNSIGNED), None],
        // A client that hashed its body is held to what it said; see `claimed_hash`.
        (Some(claimed), Body::Unread) => [Some(claimed), None],
        (_, Body::Hashed(hash)) if !signed.in_query => [Some(hash), None],
        (_, Body::Hashed(hash)) => [Some(hash), Some(UNSIGNED)],
        (None, Body::Unread) => [Some(EMPTY), Some(UNSIGNED)],
    }
}

/// The hosts that the client may have signed: as it came, without its port, with the port that a proxy took off.
fn hosts(request: &Request<'_>) -> [Option<String>; 2] {
    let host = request.host.trim();
    let other = match host.rsplit_once(':') {
        // Not the last part of an IPv6 address without a port.
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => Some(name.to_owned()),
        _ => request.port.map(|port| format!("{host}:{port}")),
    };
    [Some(host.to_owned()), other]
}

fn string_to_sign(signed: &Signed<'_>, canonical: &[u8]) -> String {
    let mut text = String::with_capacity(192);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "AWS4-HMAC-SHA256\n{}\n{}/{}/{}/aws4_request\n{}",
        signed.at_text,
        signed.date,
        signed.region,
        signed.service,
        hash(canonical)
    );
    text
}

/// The fuzz target: the head of an HTTP/1.1 request out of bytes. Whatever is in it, verification ends, and no signature that was
/// not made with the key holds.
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let (target, mut headers) = (lines.next().unwrap_or_default(), HeaderMap::new());
    for line in lines.take(64) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let name = axum::http::HeaderName::from_bytes(name.trim().as_bytes());
        let value = axum::http::HeaderValue::from_str(value.trim());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let host = headers.get("host").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let request = Request { method: "POST", path, query, headers: &headers, host: &host, port: Some(8080) };
    let Ok(signed) = Signed::parse(&request) else { return };
    let key = SigningKey::derive("a secret that no input knows", &signed.date, signed.region.as_str(), &signed.service);
    let _ = check_time(&signed, signed.at);
    for body in [Body::Unread, Body::Hashed(EMPTY)] {
        let Err(Fault::Mismatch { string_to_sign, .. }) = verify(&request, &signed, &key, body) else {
            panic!("a signature holds that nobody made")
        };
        // Signed properly, it does hold.
        let signature = key.sign(&string_to_sign);
        assert_eq!(verify(&request, &Signed { signature, ..signed.clone() }, &key, body), Ok(()));
    }
}
