//! The keys of a provider: a JSON Web Key Set (RFC 7517), and the verifying of signatures with them.

use super::jwt::{Algorithm, Fault, Token};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::Value;

/// The most keys of a set; providers have a handful.
const MOST_KEYS: usize = 64;

/// Keys that can verify.
#[derive(Debug)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point of P-256.
    P256(Vec<u8>),
}

impl KeySet {
    /// Reads a set. Keys of other kinds and for other uses are left out.
    pub(super) fn parse(bytes: &[u8]) -> Result<KeySet, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|_| "its key set is no JSON")?;
        let keys = value.get("keys").and_then(Value::as_array).ok_or("its key set has no keys")?;
        if keys.len() > MOST_KEYS {
            return Err(format!("its key set has {} keys, at most {MOST_KEYS} are taken", keys.len()));
        }
        let keys: Vec<Key> = keys.iter().filter_map(Key::read).collect();
        match keys.is_empty() {
            true => Err("its key set has no key for RS256 or ES256".into()),
            false => Ok(KeySet(keys)),
        }
    }

    fn fitting(&self, token: &Token<'_>) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| {
            let named = token.key_id.as_ref().is_none_or(|id| key.id.as_ref() == Some(id));
            named && key.material.algorithm() == token.algorithm
        })
    }

    /// Whether there is a key that may have signed it.
    pub(super) fn has(&self, token: &Token<'_>) -> bool {
        self.fitting(token).next().is_some()
    }

    /// Whether one of the keys signed it.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), Fault> {
        if !self.has(token) {
            return Err(Fault::Key);
        }
        match self.fitting(token).any(|key| key.material.verifies(token.signed, &token.signature)) {
            true => Ok(()),
            false => Err(Fault::Signature),
        }
    }
}

impl Key {
    fn read(value: &Value) -> Option<Key> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => Material::Rsa { n: bytes("n")?, e: bytes("e")? },
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes("x").filter(|x| x.len() == 32)?, bytes("y").filter(|y| y.len() == 32)?);
                Material::P256([&[4], &x[..], &y[..]].concat())
            }
            _ => return None,
        };
        let wanted = match material.algorithm() {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
        };
        if text("alg").is_some_and(|alg| alg != wanted) {
            return None;
        }
        Some(Key { id: text("kid").map(str::to_owned), material })
    }
}

impl Material {
    fn algorithm(&self) -> Algorithm {
        match self {
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
        }
    }
    fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            Material::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
            }
        }
    }
}
