//! Which peers a client may reach.
//!
//! What belongs here: the rule, and what it looks at: blocks that the operator allows, this server's own addresses, relayed
//! addresses of the same channel, and candidates that were signalled in it. Told the time. What does not: which addresses are
//! special (`special`), and what follows from an answer (`session`).

use super::special::{is_private, is_special};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// A candidate counts for so long after it was signalled or asked for last. Clients ask every five minutes.
const CANDIDATE_HOLDS: Duration = Duration::from_secs(15 * 60);
/// Candidates of one channel; the one that was asked for longest ago goes.
const CANDIDATES: usize = 256;
/// Channels with candidates; more get none.
const CHANNELS: usize = 16_384;
/// Below are services; ICE agents take ports that the system chooses.
const FIRST_PORT: u16 = 1024;

/// A block of addresses: `192.168.0.0/16`, `fd00::/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    ip: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Whether the address lies in it.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u32::from(a) ^ u32::from(b)).checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (u128::from(a) ^ u128::from(b)).checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no block of addresses, such as 192.168.0.0/16");
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most { Err(wrong()) } else { Ok(Cidr { ip, bits }) }
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

/// How far a peer's address is open to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// With all its ports.
    Any,
    /// With the ports that are asked for one by one.
    Ports,
    /// Not at all.
    Denied,
}

/// What decides.
pub(crate) struct Policy {
    allow: Vec<Cidr>,
    /// Addresses of this machine and those that stand for it.
    own: Vec<IpAddr>,
    /// The port of WebRTC peers here, which anybody can reach anyway.
    own_port: u16,
    /// Relayed addresses, with their channels.
    relayed: HashMap<SocketAddr, String>,
    /// What was signalled, by channel, with when it was asked for last.
    candidates: HashMap<String, HashMap<SocketAddr, Instant>>,
}

impl Policy {
    /// With nothing allowed but these blocks.
    pub(crate) fn new(allow: Vec<Cidr>) -> Policy {
        Policy { allow, own: Vec::new(), own_port: 0, relayed: HashMap::new(), candidates: HashMap::new() }
    }

    /// From now on, these are this server's addresses, and this its port for WebRTC peers.
    pub(crate) fn set_own(&mut self, own: Vec<IpAddr>, port: u16) {
        self.own = own.into_iter().map(|ip| ip.to_canonical()).collect();
        self.own_port = port;
    }

    /// An allocation of a channel has this relayed address.
    pub(crate) fn add_relayed(&mut self, addr: SocketAddr, channel: &str) {
        self.relayed.insert(addr, channel.to_owned());
    }

    /// It has it no longer.
    pub(crate) fn remove_relayed(&mut self, addr: SocketAddr) {
        self.relayed.remove(&addr);
    }

    /// Whether this is a relayed address of this server, by whichever of its addresses it is seen.
    pub(crate) fn is_relayed(&self, addr: SocketAddr) -> bool {
        let own = || self.own.contains(&addr.ip()) && self.relayed.keys().any(|relayed| relayed.port() == addr.port());
        self.relayed.contains_key(&addr) || own()
    }

    /// Somebody in the channel says that it can be reached there. Counts only where that may be a machine of a private network.
    pub(crate) fn signalled(&mut self, channel: &str, addr: SocketAddr, now: Instant) {
        if !is_private(addr.ip()) || addr.port() < FIRST_PORT {
            return;
        }
        if !self.candidates.contains_key(channel) && self.candidates.len() >= CHANNELS {
            return;
        }
        let of_channel = self.candidates.entry(channel.to_owned()).or_default();
        of_channel.insert(addr, now);
        if of_channel.len() > CANDIDATES
            && let Some(oldest) = of_channel.iter().min_by_key(|(_, at)| **at).map(|(addr, _)| *addr)
        {
            of_channel.remove(&oldest);
        }
    }

    /// Forgets what nobody has asked for.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.candidates.retain(|_, of_channel| {
            of_channel.retain(|_, at| now.saturating_duration_since(*at) < CANDIDATE_HOLDS);
            !of_channel.is_empty()
        });
    }

    /// What of this address a client of the channel may reach: the question of CreatePermission, which names no port.
    pub(crate) fn reach(&mut self, channel: &str, ip: IpAddr, now: Instant) -> Reach {
        let own = self.own.contains(&ip);
        if self.allow.iter().any(|block| block.contains(ip)) || (!own && !is_special(ip)) {
            return Reach::Any;
        }
        let relayed = self.relayed.iter().any(|(addr, of)| addr.ip() == ip && of == channel);
        let signalled = !own
            && self.candidates.get(channel).is_some_and(|of_channel| {
                of_channel
                    .iter()
                    .any(|(addr, at)| addr.ip() == ip && now.saturating_duration_since(*at) < CANDIDATE_HOLDS)
            });
        if relayed || signalled || (own && self.own_port != 0) { Reach::Ports } else { Reach::Denied }
    }

    /// Whether a client of the channel may send to this address.
    pub(crate) fn allows(&mut self, channel: &str, addr: SocketAddr, now: Instant) -> bool {
        match self.reach(channel, addr.ip(), now) {
            Reach::Any => true,
            Reach::Denied => false,
            Reach::Ports => {
                let own = self.own.contains(&addr.ip());
                let relayed = self.relayed.get(&addr).is_some_and(|of| of == channel);
                let signalled = self.candidates.get_mut(channel).and_then(|of_channel| of_channel.get_mut(&addr));
                let signalled = signalled.is_some_and(|at| {
                    let holds = !own && now.saturating_duration_since(*at) < CANDIDATE_HOLDS;
                    if holds {
                        *at = now;
                    }
                    holds
                });
                relayed || signalled || (own && addr.port() == self.own_port)
            }
        }
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
