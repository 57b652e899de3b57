//! Where a client is told to go on: this server's own address, as that client reaches it (REFERENCE §0.2, §8).
//!
//! The configured public URL, else the `Host` that the client used. Clients append paths, so no slash ends it.

use super::Error;
use crate::{serve::Ends, state::Shared};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts, uri::Authority},
};
use std::sync::Arc;

/// What a proxy in front says of the client's connection. Only the client itself is told the address made of it.
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";
/// Producers of this agent leave the port out of `Host`, also of ports that are not their scheme's.
const WITHOUT_PORT: &str = "AWS-SDK-KVS";

/// This server's address for one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) tls: bool,
    /// `host` or `host:port`.
    pub(crate) authority: String,
}

impl Base {
    /// `https://host:port`, or `http://` where there is no TLS.
    pub(crate) fn http(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }

    /// `wss://host:port`, or `ws://` where there is no TLS.
    pub(crate) fn websocket(&self) -> String {
        format!("{}://{}", if self.tls { "wss" } else { "ws" }, self.authority)
    }

    /// The address that a client of these headers reached, on a connection to this port, which speaks TLS or does not.
    fn reached(
        headers: &HeaderMap,
        uri_authority: Option<&Authority>,
        (local_port, tls): (u16, bool),
    ) -> Result<Self, Error> {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        // Proxies append; the first is what the client said.
        let first = |name| text(name).and_then(|v| v.split(',').next()).map(str::trim);
        let usual_port = if tls { 443 } else { 80 };
        // A proxy that speaks TLS to this server speaks it to its clients.
        let tls = tls || first(FORWARDED_PROTO).is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        let host = first(FORWARDED_HOST).or(text("host")).or(uri_authority.map(Authority::as_str));
        let host = host.ok_or_else(|| Error::invalid("the request names no Host, and http.public_url is not set"))?;
        let authority: Authority = host
            .parse()
            .ok()
            .filter(|a: &Authority| !a.as_str().contains('@') && !a.host().is_empty())
            .ok_or_else(|| Error::invalid("the Host header is no host"))?;
        let agent = text("user-agent").unwrap_or_default();
        let direct = first(FORWARDED_PROTO).is_none() && first(FORWARDED_HOST).is_none();
        let port_is_missing = authority.port().is_none() && direct && agent.contains(WITHOUT_PORT);
        let authority = match port_is_missing && local_port != usual_port && local_port != 0 {
            true => format!("{authority}:{local_port}"),
            false => authority.to_string(),
        };
        Ok(Base { tls, authority })
    }
}

impl FromRequestParts<Arc<Shared>> for Base {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Error> {
        if let Some(base) = &shared.aws.public {
            return Ok(base.clone());
        }
        let at = parts.extensions.get::<Ends>().map_or((0, false), |ends| (ends.local.port(), ends.tls));
        Base::reached(&parts.headers, parts.uri.authority(), at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn reached(headers: &[(&'static str, &str)]) -> Result<String, String> {
        reached_at(headers, (8080, false))
    }
    fn reached_at(headers: &[(&'static str, &str)], at: (u16, bool)) -> Result<String, String> {
        let headers =
            headers.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_str(v).unwrap())).collect();
        Base::reached(&headers, None, at).map(|b| b.http()).map_err(|e| e.message)
    }

    #[test]
    fn the_host_that_the_client_used() {
        assert_eq!(reached(&[("host", "nvr.local:8080")]).unwrap(), "http://nvr.local:8080");
        assert_eq!(reached(&[("host", "[2001:db8::1]:8080")]).unwrap(), "http://[2001:db8::1]:8080");
        assert_eq!(reached(&[("host", "nvr.local"), ("user-agent", "Boto3/1.44")]).unwrap(), "http://nvr.local");
        let producer = ("user-agent", "AWS-SDK-KVS/3.5.0 GCC/12 Linux");
        assert_eq!(reached(&[("host", "nvr.local"), producer]).unwrap(), "http://nvr.local:8080");
        assert_eq!(reached(&[("host", "nvr.local:80"), producer]).unwrap(), "http://nvr.local:80");
        let proxied = [("host", "nvr.local"), producer, ("x-forwarded-proto", "https")];
        assert_eq!(reached(&proxied).unwrap(), "https://nvr.local");
        let proxied =
            [("host", "10.0.0.7:80"), ("x-forwarded-proto", "https, http"), ("x-forwarded-host", "v.example")];
        assert_eq!(reached(&proxied).unwrap(), "https://v.example");
        let by_tls = |headers: &[_], port| reached_at(headers, (port, true)).unwrap();
        assert_eq!(by_tls(&[("host", "nvr.local:8443")], 8443), "https://nvr.local:8443");
        assert_eq!(by_tls(&[("host", "nvr.local"), producer], 8443), "https://nvr.local:8443");
        assert_eq!(by_tls(&[("host", "nvr.local"), producer], 443), "https://nvr.local");
        assert_eq!(by_tls(&[("host", "nvr.local"), ("x-forwarded-proto", "http")], 443), "https://nvr.local");
        for wrong in ["", "a b", "u@host", "host/path", "host?x", ":80"] {
            assert!(reached(&[("host", wrong)]).is_err(), "{wrong}");
        }
        assert!(reached(&[]).unwrap_err().contains("public_url"));
        let base = Base { tls: true, authority: "v.example".into() };
        assert_eq!((base.http().as_str(), base.websocket().as_str()), ("https://v.example", "wss://v.example"));
    }
}
