//! What `benches/sigv4_verify_rate.rs` measures: the verification of one request as boto3 signs it, and the hashes in it alone.

use super::{Body, Request, Signed, SigningKey, canonical, check_time, hash, hex, string_to_sign, verify};
use axum::http::{HeaderMap, HeaderValue};
use std::hint::black_box;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const HOST: &str = "nvr.local:8080";
const PATH: &str = "/describeStream";
const BODY: &[u8] = br#"{"StreamName": "front-door"}"#;

/// A signed request with the key that verifies it.
pub struct Measured {
    headers: HeaderMap,
    key: SigningKey,
    /// What is hashed on the way.
    canonical: Vec<u8>,
    string_to_sign: String,
}

impl Default for Measured {
    fn default() -> Self {
        let mut headers = HeaderMap::new();
        let zero = "0".repeat(64);
        for (name, value) in [
            ("host", HOST),
            ("content-type", "application/json"),
            ("x-amz-date", "20150830T123600Z"),
            (
                "user-agent",
                "Boto3/1.42.5 md/Botocore#1.42.5 ua/2.1 os/linux#6.8 md/arch#x86_64 lang/python#3.12.3 md/pyimpl#CPython",
            ),
            ("content-length", "28"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let key = SigningKey::derive(SECRET, "20150830", "us-east-1", "kinesisvideo");
        let mut measured = Measured { headers, key, canonical: Vec::new(), string_to_sign: String::new() };
        measured.authorize(&zero);
        let (canonical, string_to_sign) = measured.with(|request| {
            let signed = Signed::parse(&request).expect("it is signed, if wrongly");
            let canonical = canonical::request(&request, &signed, PATH, "", HOST, &hash(BODY));
            let text = string_to_sign(&signed, &canonical);
            (canonical, text)
        });
        let signature = hex(&measured.key.sign(&string_to_sign));
        measured.authorize(&signature);
        Measured { canonical, string_to_sign, ..measured }
    }
}

impl Measured {
    fn authorize(&mut self, signature: &str) {
        let value = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/kinesisvideo/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, Signature={signature}"
        );
        self.headers.insert("authorization", HeaderValue::from_str(&value).expect("it is ASCII"));
    }

    fn with<T>(&self, then: impl FnOnce(Request<'_>) -> T) -> T {
        let headers = &self.headers;
        then(Request { method: "POST", path: PATH, query: "", headers, host: HOST, port: Some(8080) })
    }

    /// Verifies it with the signing key that is remembered; whether it holds.
    pub fn verify(&self) -> bool {
        self.verify_with(&self.key)
    }

    /// Verifies it with a signing key that is derived anew.
    pub fn verify_anew(&self) -> bool {
        self.verify_with(&SigningKey::derive(SECRET, "20150830", "us-east-1", "kinesisvideo"))
    }

    fn verify_with(&self, key: &SigningKey) -> bool {
        self.with(|request| {
            let Ok(signed) = Signed::parse(&request) else { return false };
            check_time(&signed, signed.at).is_ok() && verify(&request, &signed, key, Body::Hashed(&hash(BODY))).is_ok()
        })
    }

    /// The two hashes and the HMAC of a verification, and nothing else.
    pub fn hashes(&self) -> [u8; 32] {
        black_box(hash(black_box(BODY)));
        black_box(hash(black_box(&self.canonical)));
        self.key.sign(black_box(&self.string_to_sign))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_holds() {
        let mut measured = Measured::default();
        assert!(measured.verify() && measured.verify_anew());
        assert_ne!(measured.hashes(), [0; 32]);
        measured.authorize(&"0".repeat(64));
        assert!(!measured.verify());
    }
}
