//! `vidicon ice-test`: which ways to a server's STUN and TURN work from here.
//!
//! What belongs here: what is tested in which order, TLS, and what is said of it. What does not: the protocol (`signaling::ice_test`).

use crate::{args::IceTestOptions, cmd::identities::remote::Server, running::Failure};
use serde::Deserialize;
use serde_json::{Value, json};
use signaling::ice_test::{self, Credentials, Error, Works};
use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

/// Where the server is, as it says itself.
#[derive(Deserialize)]
struct Told {
    uris: Vec<String>,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

/// A way that is tested.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Udp,
    UdpRelay,
    TcpRelay,
    TlsRelay,
}

impl Way {
    const ALL: [Way; 4] = [Way::Udp, Way::UdpRelay, Way::TcpRelay, Way::TlsRelay];

    /// For people, for programs, how its URI begins and ends, and how it is switched on.
    fn words(self) -> (&'static str, &'static str, [&'static str; 2], &'static str) {
        match self {
            Way::Udp => ("UDP", "udp", ["stun:", ""], "turn.enabled"),
            Way::UdpRelay => ("UDP relay", "udp_relay", ["turn:", "=udp"], "turn.enabled"),
            Way::TcpRelay => ("TCP relay", "tcp_relay", ["turn:", "=tcp"], "turn.tcp"),
            Way::TlsRelay => ("TLS relay", "tls_relay", ["turns:", "=tcp"], "turn.tls"),
        }
    }

    fn uri(self, told: &Told) -> Option<&str> {
        let (_, _, [begin, end], _) = self.words();
        told.uris.iter().map(String::as_str).find(|uri| uri.starts_with(begin) && uri.ends_with(end))
    }
}

/// What came of a way.
enum Outcome {
    /// The server does not serve it.
    NotServed,
    Works(Works),
    Fails {
        took: Duration,
        reason: String,
    },
}

/// Tests each way, prints a line a way, and fails if one that is served does not work.
pub(crate) fn run(options: &IceTestOptions) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::other(format!("threads cannot be started: {e}")))?;
    runtime.block_on(test(options))
}

async fn test(options: &IceTestOptions) -> Result<(), Failure> {
    let server = Server::of(&options.url, options.ca.as_deref())?;
    let answer = server.post("/v1/ice-test", json!({})).await?;
    if !answer.status.is_success() {
        return Err(Failure::other(answer.message()));
    }
    let told: Told = serde_json::from_slice(&answer.body)
        .map_err(|e| Failure::other(format!("{} is no Vidicon: what it answered cannot be read: {e}", options.url)))?;
    let limit = Duration::from_secs(options.wait);
    let mut outcomes = Vec::new();
    for way in Way::ALL {
        let outcome = one(way, &told, &server, limit).await;
        if !options.json {
            say(&line(way, &told, &outcome));
        }
        outcomes.push((way, outcome));
    }
    if options.json {
        say(&format!("{:#}", to_json(&told, &outcomes)));
    }
    verdict(&outcomes)
}

/// An error if nothing is served, or not all of it works.
fn verdict(outcomes: &[(Way, Outcome)]) -> Result<(), Failure> {
    let served = outcomes.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::NotServed)).count();
    let works = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Works(_))).count();
    match served {
        0 => Err(Failure::other("the server serves neither STUN nor TURN: turn.enabled is false")),
        _ if works == served => Ok(()),
        _ => Err(Failure::other(format!("{works} of {served} ways work"))),
    }
}

async fn one(way: Way, told: &Told, server: &Server, limit: Duration) -> Outcome {
    let Some(uri) = way.uri(told) else { return Outcome::NotServed };
    let credentials = Credentials { username: told.username.clone(), password: told.password.clone() };
    let begun = Instant::now();
    let result = match parts(uri) {
        Some((host, port)) => by(way, host, port, &credentials, server.tls(), limit).await,
        None => Err(format!("{uri} is no URI of STUN or TURN")),
    };
    match result {
        // With the connection and its handshake, which are part of the way.
        Ok(works) if way == Way::TcpRelay || way == Way::TlsRelay => {
            Outcome::Works(Works { took: begun.elapsed(), ..works })
        }
        Ok(works) => Outcome::Works(works),
        Err(reason) => Outcome::Fails { took: begun.elapsed(), reason },
    }
}

/// Host and port of a URI (RFC 7064, RFC 7065).
fn parts(uri: &str) -> Option<(&str, u16)> {
    let rest = uri.split_once(':')?.1;
    let (host, port) = rest.split('?').next()?.rsplit_once(':')?;
    Some((host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
}

async fn by(
    way: Way,
    host: &str,
    port: u16,
    credentials: &Credentials,
    tls: &TlsConnector,
    limit: Duration,
) -> Result<Works, String> {
    let found = timeout(limit, tokio::net::lookup_host((host, port))).await;
    let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let addrs: Vec<SocketAddr> = found.map_err(|e| format!("{host} has no address: {e}"))?.collect();
    let &first = addrs.first().ok_or_else(|| format!("{host} has no address"))?;
    let why = |error: Error| reason(way, host, port, &error);
    match way {
        Way::Udp => ice_test::binding(first, limit).await.map_err(why),
        Way::UdpRelay => ice_test::relay_by_udp(first, credentials, limit).await.map_err(why),
        Way::TcpRelay | Way::TlsRelay => {
            let connected = timeout(limit, TcpStream::connect(&addrs[..])).await;
            let stream = match connected {
                Ok(Ok(stream)) => stream,
                Ok(Err(e)) => return Err(format!("no TCP connection to {host}:{port}: {e}")),
                Err(_) => {
                    return Err(format!(
                        "no TCP connection to {host}:{port} within {} s: the port is not forwarded, or a firewall drops it",
                        limit.as_secs()
                    ));
                }
            };
            let _ = stream.set_nodelay(true); // Only the times would be worse.
            if way == Way::TcpRelay {
                return ice_test::relay_by_stream(stream, credentials, limit).await.map_err(why);
            }
            let name = ServerName::try_from(host.to_owned()).map_err(|e| format!("{host}: {e}"))?;
            match timeout(limit, tls.connect(name, stream)).await {
                Ok(Ok(stream)) => ice_test::relay_by_stream(stream, credentials, limit).await.map_err(why),
                Ok(Err(e)) => Err(format!(
                    "TLS with {host}:{port}: {e}; browsers too take only a certificate that they trust, with this name in it (turn.host)"
                )),
                Err(_) => Err(format!("TLS with {host}:{port} was not set up within {} s", limit.as_secs())),
            }
        }
    }
}

/// What a person can do about it.
fn reason(way: Way, host: &str, port: u16, error: &Error) -> String {
    let to = format!("{}:{port}", if host.contains(':') { format!("[{host}]") } else { host.to_owned() });
    match error {
        Error::NoAnswer("Binding" | "Allocate", _) if way == Way::Udp || way == Way::UdpRelay => {
            format!("{error}: UDP to {to} is not let through, here or at the server, or the port is not forwarded")
        }
        Error::Io(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => format!("nothing listens at {to}"),
        Error::Refused { code: 401 | 441, .. } => {
            format!("{error}; does {to} belong to this server, and is it the only one there?")
        }
        Error::Refused { code: 486, .. } => format!("{error}: too many allocations, see turn.max_allocations"),
        Error::Refused { code: 508, .. } => {
            format!("{error}: no port between turn.min_port and turn.max_port is free, or a limit is reached")
        }
        Error::NoEcho { .. } => format!(
            "{error}: its ports (turn.min_port to turn.max_port) are not forwarded over UDP, or the server cannot reach its own public address \
             (a NAT without hairpinning)"
        ),
        _ => error.to_string(),
    }
}

/// One way, in a line.
fn line(way: Way, told: &Told, outcome: &Outcome) -> String {
    let (name, _, _, key) = way.words();
    let ms = |took: Duration| format!("{} ms", to_ms(took));
    match outcome {
        Outcome::NotServed => format!("{name:<10} not served  {:>9}  {key} is not set", ""),
        Outcome::Works(works) => {
            let through = match (works.relayed, works.mapped) {
                (Some(relayed), _) => format!("through {relayed}"),
                (None, Some(mapped)) => format!("seen as {mapped}"),
                (None, None) => String::new(),
            };
            let uri = way.uri(told).unwrap_or_default();
            format!("{name:<10} works       {:>9}  {uri}, {through}", ms(works.took))
        }
        Outcome::Fails { took, reason } => format!("{name:<10} fails       {:>9}  {reason}", ms(*took)),
    }
}

fn to_ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

fn to_json(told: &Told, outcomes: &[(Way, Outcome)]) -> Value {
    let ways = outcomes.iter().map(|(way, outcome)| {
        let (_, name, _, _) = way.words();
        let mut value = json!({ "way": name, "uri": way.uri(told), "served": true, "works": false });
        match outcome {
            Outcome::NotServed => value["served"] = json!(false),
            Outcome::Works(works) => {
                value["works"] = json!(true);
                value["took_ms"] = json!(to_ms(works.took));
                value["seen_as"] = json!(works.mapped);
                value["relayed"] = json!(works.relayed);
            }
            Outcome::Fails { took, reason } => {
                value["took_ms"] = json!(to_ms(*took));
                value["reason"] = json!(reason);
            }
        }
        value
    });
    json!({ "ways": ways.collect::<Vec<_>>() })
}

#[allow(clippy::print_stdout)]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_taken_apart() {
        assert_eq!(parts("stun:a.example:3478"), Some(("a.example", 3478)));
        assert_eq!(parts("turn:192.0.2.1:1?transport=udp"), Some(("192.0.2.1", 1)));
        assert_eq!(parts("turns:[2001:db8::1]:5349?transport=tcp"), Some(("2001:db8::1", 5349)));
        for uri in ["", "turn", "turn:a", "turn:a:x", "turn:a:99999"] {
            assert_eq!(parts(uri), None, "{uri}");
        }
    }

    #[test]
    fn what_is_not_served_does_not_count_and_what_fails_does() {
        let works = || Outcome::Works(Works { took: Duration::ZERO, mapped: None, relayed: None });
        let fails = || Outcome::Fails { took: Duration::ZERO, reason: "x".into() };
        let code = |outcomes: Vec<Outcome>| {
            verdict(&Way::ALL.into_iter().zip(outcomes).collect::<Vec<_>>()).err().map(|failure| failure.code())
        };
        assert_eq!(code(vec![works(), works(), Outcome::NotServed, Outcome::NotServed]), None);
        assert_eq!(code(vec![works(), fails(), Outcome::NotServed, Outcome::NotServed]), Some(1));
        assert_eq!(code((0..4).map(|_| Outcome::NotServed).collect()), Some(1));
    }
}
