//! `[turn]`.

use super::policy::Cidr;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Settings of STUN and TURN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether STUN and TURN are served, over UDP on the port of WebRTC.
    pub enabled: bool,
    /// Address for clients over TCP.
    pub tcp: Option<SocketAddr>,
    /// Address for clients over TLS, with the certificate of `[tls]`.
    pub tls: Option<SocketAddr>,
    /// Host that clients are told to reach; by default the one that they asked at.
    pub host: Option<String>,
    /// The realm of credentials.
    pub realm: String,
    /// Addresses that relayed addresses are told with, one of a family; by default those of `webrtc.advertise`, else the one that the
    /// client reached.
    pub relay: Vec<IpAddr>,
    /// The first port of relayed addresses.
    pub min_port: u16,
    /// The last one.
    pub max_port: u16,
    /// Special-purpose addresses that may be peers all the same.
    pub allow_peers: Vec<Cidr>,
    /// How long credentials hold, in seconds.
    pub credentials_s: u32,
    /// Most allocations at a time.
    pub max_allocations: usize,
    /// … with credentials of one channel.
    pub max_allocations_per_channel: usize,
    /// … with one credential.
    pub max_allocations_per_credential: usize,
    /// … of one client address.
    pub max_allocations_per_address: usize,
    /// Most addresses that one allocation lets through.
    pub max_permissions: usize,
    /// Most channels of one allocation.
    pub max_channels: usize,
    /// Most bits a second of an allocation in each direction, in thousands; 0 is no limit.
    pub max_kbps: u64,
    /// … of all allocations with one credential.
    pub max_kbps_per_credential: u64,
    /// Most connections over TCP and TLS at a time.
    pub max_connections: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            tcp: None,
            tls: None,
            host: None,
            realm: "vidicon".to_owned(),
            relay: Vec::new(),
            min_port: 49152,
            max_port: 65535,
            allow_peers: Vec::new(),
            credentials_s: 300,
            max_allocations: 1000,
            max_allocations_per_channel: 100,
            max_allocations_per_credential: 50,
            max_allocations_per_address: 100,
            max_permissions: 64,
            max_channels: 64,
            max_kbps: 0,
            max_kbps_per_credential: 200_000,
            max_connections: 1000,
        }
    }
}

impl Config {
    /// Whether the values make sense.
    ///
    /// # Errors
    /// A line that names the key.
    pub fn check(&self) -> Result<(), String> {
        let graphic = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        if self.realm.is_empty() || self.realm.len() > 100 || !graphic(&self.realm) {
            return Err("turn.realm must be 1 to 100 printable characters of ASCII, without spaces and quotes".into());
        }
        if self.host.as_deref().is_some_and(|host| host.is_empty() || !graphic(host) || host.contains(['/', '?', '@']))
        {
            return Err("turn.host must be a host name or an address".into());
        }
        if self.min_port < 1024 || self.max_port <= self.min_port {
            return Err("turn.min_port must be 1024 or more, and turn.max_port greater".into());
        }
        if !(31..=86400).contains(&self.credentials_s) {
            return Err("turn.credentials_s must be from 31 to 86400".into());
        }
        if self.relay.iter().filter(|ip| ip.is_ipv4()).count() > 1
            || self.relay.iter().filter(|ip| ip.is_ipv6()).count() > 1
        {
            return Err("turn.relay may have one IPv4 address and one IPv6 address".into());
        }
        if self.max_permissions == 0 || self.max_channels == 0 {
            return Err("turn.max_permissions and turn.max_channels must be 1 or more".into());
        }
        Ok(())
    }
}
