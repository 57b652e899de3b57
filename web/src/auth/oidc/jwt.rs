//! Identity tokens: JSON Web Tokens (RFC 7519) signed with RS256 or ES256 (RFC 7515, RFC 7518), in their compact form. Pure.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use media::UnixMillis;
use serde_json::{Map, Value};
use std::fmt;

/// The longest token, in bytes: as the service model has it.
const MOST_BYTES: usize = 20_000;
/// How far the provider's clock may be ahead or behind.
const SKEW_MS: i64 = 60_000;

/// Why a token does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It cannot be read.
    Malformed(&'static str),
    /// It is signed in a way that is not taken, or not at all.
    Algorithm(String),
    /// It was for other clients.
    Audience,
    /// It was over at this time.
    Expired(UnixMillis),
    /// It begins later.
    Early,
    /// The provider has no such key.
    Key,
    /// The signature is another.
    Signature,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Malformed(what) => write!(f, "The ID Token provided is not a valid JWT: {what}"),
            Fault::Algorithm(alg) => write!(f, "The ID Token is signed with {alg}: RS256 and ES256 are taken"),
            Fault::Audience => f.write_str("Incorrect token audience"),
            Fault::Expired(at) => write!(f, "Token expired: it was valid until {}", at.to_rfc3339()),
            Fault::Early => f.write_str("The ID Token is not valid yet"),
            Fault::Key => f.write_str("The identity provider has no key of the ID Token's kid and algorithm"),
            Fault::Signature => f.write_str("The signature of the ID Token does not hold"),
        }
    }
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Es256,
}

/// A token that was read and not verified.
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    /// Which of the provider's keys signed it.
    pub(super) key_id: Option<String>,
    pub(super) claims: Claims,
    /// What is signed.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claims {
    /// `iss`
    pub(crate) issuer: String,
    /// `sub`
    pub(crate) subject: String,
    /// `aud`
    audience: Vec<String>,
    /// `azp`: the client that it was given to, where that is not the audience.
    authorized: Option<String>,
    expires_at: UnixMillis,
    /// `nbf` and `iat`, the later.
    begins_at: Option<UnixMillis>,
    all: Map<String, Value>,
}

impl<'a> Token<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Token<'a>, Fault> {
        let text = text.trim();
        if text.len() > MOST_BYTES {
            return Err(Fault::Malformed("it is too long"));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Fault::Malformed("it has no three parts"))?;
        let (header, payload) = signed.split_once('.').ok_or(Fault::Malformed("it has no three parts"))?;
        let header = object(header, "its header is no JSON object")?;
        if header.contains_key("crit") {
            return Err(Fault::Malformed("its header has extensions that must be understood"));
        }
        let algorithm = match header.get("alg").and_then(Value::as_str) {
            Some("RS256") => Algorithm::Rs256,
            Some("ES256") => Algorithm::Es256,
            Some(other) => return Err(Fault::Algorithm(other.chars().filter(|c| !c.is_control()).take(16).collect())),
            None => return Err(Fault::Malformed("its header names no algorithm")),
        };
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(Fault::Malformed("kid is no text")),
        };
        let claims = Claims::read(object(payload, "its claims are no JSON object")?)?;
        let signature = decode(signature).ok_or(Fault::Malformed("its signature is no base64url"))?;
        Ok(Token { algorithm, key_id, claims, signed: signed.as_bytes(), signature })
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn object(part: &str, wrong: &'static str) -> Result<Map<String, Value>, Fault> {
    let bytes = decode(part).ok_or(Fault::Malformed(wrong))?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Fault::Malformed(wrong)),
    }
}

impl Claims {
    fn read(all: Map<String, Value>) -> Result<Claims, Fault> {
        let text = |name: &str| all.get(name).and_then(Value::as_str).map(str::to_owned);
        let issuer = text("iss").filter(|v| v.len() <= 512).ok_or(Fault::Malformed("iss is missing"))?;
        let subject = text("sub").filter(|v| (1..=255).contains(&v.len()));
        let subject = subject.ok_or(Fault::Malformed("sub is missing, or longer than 255 bytes"))?;
        let audience = strings(all.get("aud")).filter(|v| !v.is_empty()).ok_or(Fault::Malformed("aud is missing"))?;
        let authorized = match all.get("azp") {
            None => None,
            Some(value) => Some(value.as_str().ok_or(Fault::Malformed("azp is no text"))?.to_owned()),
        };
        let expires_at = time(&all, "exp")?.ok_or(Fault::Malformed("exp is missing"))?;
        let begins_at = time(&all, "nbf")?.max(time(&all, "iat")?);
        Ok(Claims { issuer, subject, audience, authorized, expires_at, begins_at, all })
    }

    /// Who it was given to: `azp`, else `aud`.
    pub(crate) fn clients(&self) -> &[String] {
        match &self.authorized {
            Some(client) => std::slice::from_ref(client),
            None => &self.audience,
        }
    }

    /// Whether it is for one of these clients, and now.
    pub(super) fn check(&self, client_ids: &[String], now: UnixMillis) -> Result<(), Fault> {
        if now >= self.expires_at.plus(SKEW_MS) {
            return Err(Fault::Expired(self.expires_at));
        }
        if self.begins_at.is_some_and(|at| now.plus(SKEW_MS) < at) {
            return Err(Fault::Early);
        }
        match self.clients().iter().any(|client| client_ids.contains(client)) {
            true => Ok(()),
            false => Err(Fault::Audience),
        }
    }

    /// What policies may ask about it: each claim that is a text, number, truth value or list of texts. As in IAM, `aud` is the client, and
    /// `oaud` the audience where that is another.
    pub(crate) fn context(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        let plain = self.all.iter().filter(|(name, _)| !matches!(name.as_str(), "aud" | "azp" | "oaud"));
        let plain = plain.filter_map(|(name, value)| {
            let values = match value {
                Value::Number(_) | Value::Bool(_) => vec![value.to_string()],
                value => strings(Some(value))?,
            };
            Some((name.as_str(), values))
        });
        let original = self.authorized.is_some().then(|| ("oaud", self.audience.clone()));
        plain.chain([("aud", self.clients().to_vec())]).chain(original)
    }
}

/// A text, or a list of texts.
fn strings(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(values) => values.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// A claim of seconds since 1970, which may have a fraction.
fn time(all: &Map<String, Value>, name: &str) -> Result<Option<UnixMillis>, Fault> {
    let Some(value) = all.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|s| (0.0..1e11).contains(s));
    let seconds = seconds.ok_or(Fault::Malformed("exp, nbf and iat are seconds since 1970"))?;
    Ok(Some(UnixMillis((seconds * 1000.0) as i64)))
}
