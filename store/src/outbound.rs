//! The one checked way out: every outbound connection of the process (cameras, webhooks) resolves and connects here.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

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

/// Resolves a host and returns the addresses that `reach` allows, or an error that names the one it refused and why.
/// Callers connect to these addresses, never to the name again.
pub async fn resolve(_host: &str, _port: u16, _reach: Reach) -> Result<Vec<SocketAddr>, Error> {
    unimplemented!("skeleton")
}

/// Resolves, checks and connects, with a time limit.
pub async fn connect(_host: &str, _port: u16, _reach: Reach) -> Result<tokio::net::TcpStream, Error> {
    unimplemented!("skeleton")
}
