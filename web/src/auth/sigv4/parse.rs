//! What a request says of its signature: in the `Authorization` header, or in the query of a presigned URL.

use super::{Fault, Request, canonical::decoded};
use crate::auth::instant;
use axum::http::header;
use media::UnixMillis;
use std::borrow::Cow;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The longest validity of a presigned URL, in seconds: seven days.
const MOST_EXPIRES_S: u32 = 604_800;
/// Names of signed headers at most.
const MOST_HEADERS: usize = 64;

/// A signature and its scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed<'a> {
    pub(crate) access_key_id: Cow<'a, str>,
    /// `yyyymmdd` of the scope.
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
    /// In lower case, in the client's order, each once.
    pub(super) headers: Vec<String>,
    pub(super) signature: [u8; 32],
    pub(crate) at: UnixMillis,
    /// The same as `20150830T123600Z`.
    pub(super) at_text: String,
    /// How long a presigned URL holds; `None` for a header.
    pub(super) expires_s: Option<u32>,
    pub(super) in_query: bool,
    /// The session token, signed or not.
    pub(crate) session_token: Option<Cow<'a, str>>,
}

/// Whether a request has a signature, however broken.
pub(crate) fn is_signed(request: &Request<'_>) -> bool {
    authorization(request).is_some() || query_value(request.query, "X-Amz-Algorithm").is_some()
}

fn authorization<'a>(request: &Request<'a>) -> Option<&'a str> {
    let value = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.trim_start().strip_prefix(ALGORITHM)
}

fn query_value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name || decoded(key) == name.as_bytes()).map(|(_, value)| match value.contains('%') {
        true => String::from_utf8_lossy(&decoded(value)).into_owned().into(),
        false => value.into(),
    })
}

fn incomplete(text: impl Into<String>) -> Fault {
    Fault::Incomplete(text.into())
}

impl<'a> Signed<'a> {
    /// Reads the signature of a request. The header goes before the query, so that a header-signed request may have any query.
    ///
    /// # Errors
    /// [`Fault::Missing`], [`Fault::Incomplete`], [`Fault::Scope`].
    pub(crate) fn parse(request: &Request<'a>) -> Result<Signed<'a>, Fault> {
        match authorization(request) {
            Some(rest) => Self::of_header(request, rest),
            None if query_value(request.query, "X-Amz-Algorithm").is_some() => Self::of_query(request),
            None => Err(Fault::Missing),
        }
    }

    fn of_header(request: &Request<'a>, rest: &'a str) -> Result<Signed<'a>, Fault> {
        let (mut credential, mut headers, mut signature) = (None, None, None);
        // Commas between the parts, or, from some clients, spaces alone.
        for part in rest.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => {
                    return Err(incomplete(
                        "Authorization header holds a part that is none of Credential, SignedHeaders and Signature.",
                    ));
                }
            }
        }
        let needed = |name: &str| incomplete(format!("Authorization header requires '{name}' parameter."));
        let credential = credential.ok_or_else(|| needed("Credential"))?;
        let headers = headers.ok_or_else(|| needed("SignedHeaders"))?;
        let signature = signature.ok_or_else(|| needed("Signature"))?;
        let text = |name: &str| request.headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
        let (at, at_text) = match (text("x-amz-date"), text("date")) {
            (Some(date), _) => (instant::parse_basic(date), date.to_owned()),
            (None, Some(date)) => {
                let at = instant::parse_http(date).or_else(|| instant::parse_basic(date));
                (at, at.map(instant::basic).unwrap_or_default())
            }
            (None, None) => {
                return Err(incomplete(
                    "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
                ));
            }
        };
        let at = at.ok_or_else(|| incomplete("Date must be in ISO-8601 'basic format', such as 20150830T123600Z."))?;
        let session_token = text("x-amz-security-token").map(Cow::from);
        Self::new(credential.into(), headers, signature, at, at_text, None, false, session_token)
    }

    fn of_query(request: &Request<'a>) -> Result<Signed<'a>, Fault> {
        let value = |name: &str| query_value(request.query, name);
        let needed = |name: &str| {
            value(name).ok_or_else(|| incomplete(format!("The query string requires the '{name}' parameter.")))
        };
        if needed("X-Amz-Algorithm")? != ALGORITHM {
            return Err(incomplete(format!("X-Amz-Algorithm must be '{ALGORITHM}'.")));
        }
        let date = needed("X-Amz-Date")?;
        let at = instant::parse_basic(&date)
            .ok_or_else(|| incomplete("X-Amz-Date must be in ISO-8601 'basic format', such as 20150830T123600Z."))?;
        let expires_s = match value("X-Amz-Expires") {
            None => None,
            Some(text) => Some(text.parse().ok().filter(|s| (1..=MOST_EXPIRES_S).contains(s)).ok_or_else(|| {
                incomplete(format!("X-Amz-Expires must be a number of seconds from 1 to {MOST_EXPIRES_S}."))
            })?),
        };
        let (headers, signature) = (needed("X-Amz-SignedHeaders")?, needed("X-Amz-Signature")?);
        let header = || request.headers.get("x-amz-security-token").and_then(|v| v.to_str().ok()).map(Cow::from);
        let session_token = value("X-Amz-Security-Token").or_else(header);
        let credential = needed("X-Amz-Credential")?;
        Self::new(credential, &headers, &signature, at, date.into_owned(), expires_s, true, session_token)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a signature, of two callers")]
    fn new(
        credential: Cow<'a, str>,
        headers: &str,
        signature: &str,
        at: UnixMillis,
        at_text: String,
        expires_s: Option<u32>,
        in_query: bool,
        session_token: Option<Cow<'a, str>>,
    ) -> Result<Signed<'a>, Fault> {
        let (access_key_id, [date, region, service, end]) = scope(&credential).ok_or_else(|| {
            incomplete("Credential must have the form <access key id>/<yyyymmdd>/<region>/<service>/aws4_request.")
        })?;
        if end != "aws4_request" {
            return Err(Fault::Scope("Credential should be scoped with a valid terminator: 'aws4_request'.".into()));
        }
        if at_text.get(..8) != Some(date) {
            return Err(Fault::Scope(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' != '{}'.",
                at_text.get(..8).unwrap_or_default()
            )));
        }
        let names: Vec<String> = headers.split(';').map(|name| name.trim().to_ascii_lowercase()).collect();
        let mut sorted: Vec<_> = names.iter().collect();
        sorted.sort_unstable();
        if names.len() > MOST_HEADERS || sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(incomplete("SignedHeaders must name each header once, and at most 64."));
        }
        if !names.iter().any(|name| name == "host") {
            return Err(Fault::Scope("'Host' must be a 'SignedHeader' in the AWS Authorization.".into()));
        }
        let signature = unhex(signature).ok_or_else(|| incomplete("Signature must be 64 hexadecimal digits."))?;
        let (date, region, service) = (date.to_owned(), region.to_owned(), service.to_owned());
        let access_key_id = access_key_id.to_owned().into();
        Ok(Signed {
            access_key_id,
            date,
            region,
            service,
            headers: names,
            signature,
            at,
            at_text,
            expires_s,
            in_query,
            session_token,
        })
    }
}

/// A credential in its five parts.
fn scope(credential: &str) -> Option<(&str, [&str; 4])> {
    let mut parts = credential.rsplitn(5, '/');
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let (end, service, region, date) = (next()?, next()?, next()?, next()?);
    let access_key_id = next()?;
    let short = access_key_id.len() <= 128 && credential.len() <= 512;
    let date_fits = date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit());
    (short && date_fits).then_some((access_key_id, [date, region, service, end]))
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(bytes)
}
