//! What a camera's URL names: an RTSP server, the same by way of GStreamer, or a pipeline.

use crate::{Failure, failure::redact};
use std::net::SocketAddr;
use store::outbound::{self, Reach};
use url::Url;

/// The port of RTSP (RFC 2326 §3.2).
const RTSP_PORT: u16 = 554;

/// A camera's URL, understood.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// `rtsp://…`: pulled by retina.
    Rtsp(Server),
    /// `rtsp+gst://…`: the same server, pulled by GStreamer's rtspsrc.
    RtspByGstreamer(Server),
    /// `gst:…`: whatever the pipeline reads.
    Pipeline(String),
}

/// An RTSP server and a path on it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    url: Url,
    /// The host as the operator wrote it.
    pub host: String,
    /// The port, 554 unless named.
    pub port: u16,
}

impl Address {
    /// Reads a camera's URL. The failure says what is wrong with it and never repeats credentials.
    pub(crate) fn parse(text: &str) -> Result<Address, Failure> {
        let bad = |why: &str| Failure::new("bad_url", why);
        if let Some(pipeline) = text.strip_prefix("gst:") {
            let pipeline = pipeline.trim();
            if pipeline.is_empty() {
                return Err(bad("the pipeline after `gst:` is empty"));
            }
            return Ok(Address::Pipeline(pipeline.to_owned()));
        }
        let (plain, by_gstreamer) = match text.strip_prefix("rtsp+gst://") {
            Some(rest) => (format!("rtsp://{rest}"), true),
            None => (text.to_owned(), false),
        };
        let url = Url::parse(&plain).map_err(|e| bad(&format!("the URL cannot be read: {e}")))?;
        match url.scheme() {
            "rtsp" => {}
            "rtsps" => {
                return Err(bad(
                    "rtsps:// is not read directly; name a pipeline instead: gst:rtspsrc location=rtsps://… ! …",
                ));
            }
            other => {
                return Err(bad(&format!(
                    "a camera's URL begins with rtsp://, rtsp+gst:// or gst:, not with {other}:"
                )));
            }
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad(
                "the URL holds a user name or password; they have fields of their own, so that they are never shown",
            ));
        }
        let host = match url.host_str() {
            Some(host) if !host.is_empty() => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            _ => return Err(bad("the URL names no host")),
        };
        let port = url.port().unwrap_or(RTSP_PORT);
        let server = Server { url, host, port };
        Ok(if by_gstreamer { Address::RtspByGstreamer(server) } else { Address::Rtsp(server) })
    }
}

impl Server {
    /// The addresses that may be connected to, judged now: a name may point elsewhere tomorrow.
    pub(crate) async fn resolve(&self) -> Result<Vec<SocketAddr>, Failure> {
        let resolved = outbound::resolve(&self.host, self.port, Reach::Local).await;
        let addresses = resolved.map_err(|e| {
            let code = if e.kind() == store::Kind::Invalid { "forbidden_address" } else { "unresolved" };
            Failure::new(code, e.to_string())
        })?;
        if addresses.is_empty() {
            return Err(Failure::new("unresolved", format!("{} has no address", self.host)));
        }
        Ok(addresses)
    }

    /// The URL with the host replaced by a checked address, so that nothing resolves the name again.
    pub(crate) fn url_at(&self, address: SocketAddr) -> Result<Url, Failure> {
        let mut url = self.url.clone();
        url.set_ip_host(address.ip()).map_err(|()| Failure::new("bad_url", "the URL cannot carry an address"))?;
        Ok(url)
    }

    /// Host, port and path for messages and logs: without the query, and with secrets in the path hidden.
    pub(crate) fn shown(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}{}", self.port, redact(self.url.path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> &'static str {
        Address::parse(text).expect_err(text).code
    }

    #[test]
    fn reads_the_three_kinds() {
        let Ok(Address::Rtsp(server)) = Address::parse("rtsp://gate.lan/live/main?password=x") else { panic!("rtsp") };
        assert_eq!((server.host.as_str(), server.port), ("gate.lan", 554));
        assert_eq!(server.shown(), "gate.lan:554/live/main");
        let at = server.url_at("10.0.0.7:554".parse().expect("an address")).expect("a url");
        assert_eq!(at.as_str(), "rtsp://10.0.0.7/live/main?password=x");
        let Ok(Address::RtspByGstreamer(server)) = Address::parse("rtsp+gst://[fe80::1]:8554/a") else { panic!("gst") };
        assert_eq!(server.shown(), "[fe80::1]:8554/a");
        assert!(
            matches!(Address::parse("gst: videotestsrc ! appsink"), Ok(Address::Pipeline(p)) if p == "videotestsrc ! appsink")
        );
    }

    #[test]
    fn says_what_is_wrong_without_repeating_secrets() {
        for text in ["", "gst:", "http://x/", "rtsp:///path", "rtsps://x/", "rtsp://", "rtsp://u:hunter2@x/"] {
            assert_eq!(code(text), "bad_url", "{text}");
        }
        let failure = Address::parse("rtsp://u:hunter2@x/").expect_err("credentials");
        assert!(!failure.message.contains("hunter2"));
    }
}
