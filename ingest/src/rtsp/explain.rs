//! retina's errors as failures. Its error type is opaque but for the RTSP status, so the rest is told by its text; the
//! tests against real sockets in `tests/` hold this to what the linked version says.

use crate::failure::{io_kind, tame};
use crate::{Failure, address::Server};
use std::io::ErrorKind;

/// Hint where a server breaks the protocol in a way that GStreamer may tolerate.
const TRY_GSTREAMER: &str = "if other players can read it, try the same URL as rtsp+gst://…";

/// Whether the error concerns one packet only, and the session can go on: a packet out of order or of another sender, or
/// one that is no RTP or RTCP. After an error inside its depacketizer retina 0.4.21 must not be polled again: a finished
/// picture may still be waiting in there, and the next packet would then make it panic.
pub(super) fn is_forgivable(error: &retina::Error) -> bool {
    let text = error.to_string();
    is_about_a_packet(&text)
        && (!text.contains("\nssrc: ") || text.starts_with("Out-of-order packet") || text.starts_with("wrong ssrc"))
}

fn is_about_a_packet(text: &str) -> bool {
    text.contains("\npkt: ")
}

/// Why a request before the media failed.
pub(super) fn connecting(error: &retina::Error, server: &Server, request: &str, has_credentials: bool) -> Failure {
    let shown = server.shown();
    let text = error.to_string();
    if let Some(status) = error.status_code() {
        return answered(status, &text, &shown, request, has_credentials);
    }
    if let Some(io) = text.strip_prefix("Unable to connect to RTSP server: ") {
        return match io_kind(io) {
            Some(ErrorKind::ConnectionRefused) => {
                Failure::new("refused", format!("{shown}: connection refused; nothing listens there"))
            }
            Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
                Failure::new("timeout", format!("{shown}: no route to the host"))
            }
            Some(ErrorKind::TimedOut) => Failure::new("timeout", format!("{shown}: the host did not answer")),
            _ => Failure::new("refused", format!("{shown}: {}", tame(io))),
        };
    }
    if text.contains("Invalid RTSP message") || text.contains("Incomplete RTSP message") {
        return Failure::new(
            "not_rtsp",
            format!("{shown} does not speak RTSP: its answer to {request} is something else"),
        );
    }
    if text.starts_with("RTSP framing error") {
        return Failure::new(
            "protocol",
            format!("{shown} broke the protocol at {request}: {}; {TRY_GSTREAMER}", tame(&text)),
        );
    }
    if text.starts_with("Error reading from RTSP peer") {
        return Failure::new("protocol", format!("{shown} closed the connection instead of answering {request}"));
    }
    Failure::new("protocol", format!("{shown}, {request}: {}", tame(&text)))
}

fn answered(status: u16, text: &str, shown: &str, request: &str, has_credentials: bool) -> Failure {
    match status {
        401 | 403 if has_credentials => Failure::new(
            "unauthorized",
            format!(
                "{shown} answered {request} with RTSP status {status}: it does not accept this user name and password"
            ),
        ),
        401 | 403 => Failure::new(
            "unauthorized",
            format!("{shown} answered {request} with RTSP status {status}: it wants a user name and password"),
        ),
        404 => {
            Failure::new("not_found", format!("{shown} answered {request} with RTSP status 404: there is no such path"))
        }
        461 => Failure::new(
            "protocol",
            format!(
                "{shown} answered {request} with RTSP status 461: it does not offer this transport; choose the other of tcp and udp"
            ),
        ),
        300..=399 => Failure::new(
            "protocol",
            format!(
                "{shown} answered {request} with RTSP status {status}: it points elsewhere, and redirects are not followed"
            ),
        ),
        200..=299 if text.contains("No parseable streams") => {
            Failure::new("no_supported_codec", format!("{shown} describes no track that can be read"))
        }
        200..=299 => {
            let why = text.lines().next().and_then(|line| line.split_once(": ")).map_or(text, |(_, why)| why);
            Failure::new("protocol", format!("{shown}: the answer to {request} cannot be used: {}", tame(why)))
        }
        _ => Failure::new("protocol", format!("{shown} answered {request} with RTSP status {status}")),
    }
}

/// Why a playing session ended.
pub(super) fn playing(error: &retina::Error, server: &Server) -> Failure {
    let shown = server.shown();
    let text = error.to_string();
    let code = if text.starts_with("RTSP framing error") || is_about_a_packet(&text) { "protocol" } else { "lost" };
    let hint = if code == "protocol" { format!("; {TRY_GSTREAMER}") } else { String::new() };
    Failure::new(code, format!("{shown}: {}{hint}", tame(&text)))
}
