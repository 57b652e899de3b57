//! Cross-site requests: a state change that a browser asks for must come from this origin, whatever the
//! credentials: browsers add cookies and remembered Basic credentials to requests of any site.

use crate::error::Error;
use axum::http::{header, request::Parts};

/// Refuses a request that a browser sent on behalf of another site.
///
/// `Sec-Fetch-Site` decides where the browser sends it (secure origins); else `Origin` must name the host that was asked.
/// With neither, no current browser is asking.
pub(super) fn check(parts: &Parts) -> Result<(), Error> {
    let text = |name: header::HeaderName| parts.headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    let refused = || Error::forbidden("the request comes from another site");
    match text(header::HeaderName::from_static("sec-fetch-site")) {
        Some("same-origin" | "none") => return Ok(()),
        Some(_) => return Err(refused()),
        None => {}
    }
    let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
    let host = parts.uri.authority().map(|a| a.as_str()).or_else(|| text(header::HOST)).ok_or_else(refused)?;
    let authority = origin.split_once("://").map(|(_, authority)| authority).ok_or_else(refused)?;
    authority.eq_ignore_ascii_case(host).then_some(()).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use axum::http::Request;

    fn asked(headers: &[(&str, &str)]) -> bool {
        let mut request = Request::post("/v1/cameras").header("host", "nvr.example:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0).is_ok()
    }

    #[test]
    fn only_this_origin_changes_anything() {
        assert!(asked(&[]));
        assert!(asked(&[("origin", "http://nvr.example:8080")]));
        assert!(asked(&[("origin", "https://nvr.example:8080")]));
        assert!(asked(&[("sec-fetch-site", "same-origin"), ("origin", "https://elsewhere.example")]));
        assert!(!asked(&[("origin", "http://nvr.example")]));
        assert!(!asked(&[("origin", "http://evil.example")]));
        assert!(!asked(&[("origin", "null")]));
        assert!(!asked(&[("sec-fetch-site", "cross-site")]));
        assert!(!asked(&[("sec-fetch-site", "same-site"), ("origin", "http://nvr.example:8080")]));
    }
}
