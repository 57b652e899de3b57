//! The one checked way out: every outbound connection of the process (cameras, webhooks) resolves and connects here.
//!
//! What belongs here: names to addresses, the judgement of [`address`], connecting to what was judged. What does not: TLS, HTTP,
//! RTSP; those get a connected stream, or connect to the addresses given here, never to the name again (a name may answer
//! differently the second time).

pub mod address;
pub mod trust;

use crate::{Error, Kind};
use address::Class;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time allowed for resolving a name.
const RESOLVE: Duration = Duration::from_secs(5);
/// Time allowed for connecting to one address.
const CONNECT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// What a caller may reach. Addresses are judged after canonicalising IPv4-in-IPv6 forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Public addresses only: the default for webhooks.
    Public,
    /// Public and private ranges, and loopback: cameras, and webhooks where the operator allows it.
    /// Never the link-local metadata addresses, multicast or unspecified ones.
    Local,
}

impl Reach {
    fn allows(self, class: Class) -> bool {
        match class {
            Class::Public => true,
            Class::Private | Class::Loopback => self == Reach::Local,
            Class::Metadata | Class::Multicast | Class::Unspecified | Class::Broadcast | Class::Reserved => false,
        }
    }
}

/// Resolves a host and returns the addresses that `reach` allows, or an error that names the one it refused and why.
/// Callers connect to these addresses, never to the name again. `Invalid`: no host name, or an address that is not allowed;
/// `NotFound`: the name has no address; `Unavailable`: the resolver did not answer.
///
/// One refused address refuses the name: an answer that mixes public and private addresses is how a name is made to point inward.
pub async fn resolve(host: &str, port: u16, reach: Reach) -> Result<Vec<SocketAddr>, Error> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let found: Vec<IpAddr> = match bare.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => lookup(bare, port).await?,
    };
    let mut addresses = Vec::new();
    for ip in found.into_iter().take(ADDRESSES) {
        let ip = address::canonical(ip);
        let class = address::class(ip);
        if !reach.allows(class) {
            let message = format!("{host} is at {ip}, {class}, which may not be reached from here");
            return Err(Error::new(Kind::Invalid, message));
        }
        let address = SocketAddr::new(ip, port);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses.is_empty() {
        true => Err(Error::new(Kind::NotFound, format!("{host} has no address"))),
        false => Ok(addresses),
    }
}

async fn lookup(host: &str, port: u16) -> Result<Vec<IpAddr>, Error> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let label =
        |l: &str| (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(Error::new(
            Kind::Invalid,
            format!("{:?} is no host name", host.chars().take(80).collect::<String>()),
        ));
    }
    // Names such as `0x7f.1` or `2130706433` never reach the resolver, which would read them as addresses.
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X") {
        return Err(Error::new(
            Kind::Invalid,
            format!("{host} is neither a host name nor an address in its usual form"),
        ));
    }
    let found = timeout(RESOLVE, tokio::net::lookup_host((name, port)))
        .await
        .map_err(|_| Error::new(Kind::Unavailable, format!("{host} was not resolved within {} s", RESOLVE.as_secs())))?
        .map_err(|e| Error::new(Kind::NotFound, format!("{host} could not be resolved")).with_source(e))?;
    Ok(found.map(|address| address.ip()).collect())
}

/// Resolves, checks and connects, with a time limit of ten seconds for each address. `Unavailable` when none answers.
pub async fn connect(host: &str, port: u16, reach: Reach) -> Result<TcpStream, Error> {
    let mut last = None;
    for address in resolve(host, port, reach).await? {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => {
                last = Some(
                    Error::new(Kind::Unavailable, format!("{host} ({address}) cannot be connected to")).with_source(e),
                )
            }
            Err(_) => {
                let message = format!("{host} ({address}) did not answer within {} s", CONNECT.as_secs());
                last = Some(Error::new(Kind::Unavailable, message));
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::new(Kind::NotFound, format!("{host} has no address"))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn local_addresses_only_where_they_are_allowed() {
        for host in
            ["127.0.0.1", "localhost", "::1", "[::ffff:127.0.0.1]", "10.1.2.3", "192.168.1.9", "fd12::1", "100.64.0.1"]
        {
            let error = resolve(host, 80, Reach::Public).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{host}: {error}");
            assert!(error.to_string().contains("may not be reached"), "{error}");
            assert!(!resolve(host, 80, Reach::Local).await.unwrap().is_empty());
        }
        assert_eq!(resolve("[::ffff:10.0.0.1]", 7, Reach::Local).await.unwrap(), ["10.0.0.1:7".parse().unwrap()]);
        assert_eq!(resolve("9.9.9.9", 7, Reach::Public).await.unwrap(), ["9.9.9.9:7".parse().unwrap()]);
    }

    #[tokio::test]
    async fn metadata_and_group_addresses_are_never_reached() {
        let never = [
            "169.254.169.254",
            "169.254.1.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "fd00:ec2::254",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "239.1.1.1",
            "ff02::1",
            "240.0.0.1",
            "::169.254.169.254",
        ];
        for host in never {
            assert_eq!(resolve(host, 80, Reach::Local).await.unwrap_err().kind(), Kind::Invalid, "{host}");
            assert_eq!(resolve(host, 80, Reach::Public).await.unwrap_err().kind(), Kind::Invalid, "{host}");
        }
    }

    #[tokio::test]
    async fn odd_spellings_of_addresses_are_no_names() {
        for host in [
            "2130706433",
            "0x7f.1",
            "127.1",
            "0177.0.0.1",
            "0x7f000001",
            "",
            "a b",
            "-",
            "x..y",
            "host/..",
            "user@host",
        ] {
            let result = resolve(host, 80, Reach::Local).await;
            assert!(result.is_err(), "{host}: {result:?}");
        }
    }

    #[tokio::test]
    async fn connects_to_what_was_checked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(connect("localhost", port, Reach::Local).await.is_ok());
        assert!(connect("localhost", port, Reach::Public).await.is_err());
        drop(listener);
        assert_eq!(connect("127.0.0.1", port, Reach::Local).await.unwrap_err().kind(), Kind::Unavailable);
    }
}
