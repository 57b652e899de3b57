//! What peers send to: sockets, their ports, and what is kept for whoever brings a token.

use super::Shared;
use super::asked::{CAPACITY, Family, Opened, Refusal, Relays, Wanted};
use crate::batch::Path;
use crate::candidates;
use crate::socket::Socket;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Ports that are tried before there is none.
const TRIES: usize = 64;
/// A port that was reserved is kept for so long (RFC 8656 §7.2).
const RESERVED_FOR: Duration = Duration::from_secs(30);
/// Reserved ports at a time.
const MOST_RESERVED: usize = 256;
const NO_FAMILY: Refusal = Refusal(440, "Address Family not Supported");

/// One socket of an allocation.
pub(crate) struct Relay {
    pub(crate) socket: Socket,
    family: Family,
}

impl Relay {
    /// Sends datagrams of `segment` bytes to a peer.
    pub(crate) fn send(&self, peer: SocketAddr, segment: usize, bytes: &[u8]) -> io::Result<()> {
        self.socket.try_send(Path { remote: peer, local: None }, segment, bytes)
    }
}

/// Of these, the one for this peer.
pub(crate) fn for_peer(relays: &[Arc<Relay>], peer: SocketAddr) -> Option<&Arc<Relay>> {
    let family = Family::of(peer.ip());
    relays.iter().find(|relay| relay.family == family)
}

/// Ports that wait for whoever brings their token.
#[derive(Default)]
pub(crate) struct Reserved(HashMap<[u8; 8], (Relay, SocketAddr, Instant)>);

impl Reserved {
    /// Lets go of those that nobody came for.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.0.retain(|_, (_, _, until)| *until > now);
    }
}

/// Opens sockets for one client.
pub(crate) struct Opener<'a> {
    pub(crate) shared: &'a Shared,
    /// The address of ours that the client reached.
    pub(crate) reached: Option<IpAddr>,
    /// What was opened.
    pub(crate) relays: Vec<Arc<Relay>>,
}

impl<'a> Opener<'a> {
    pub(crate) fn new(shared: &'a Shared, reached: Option<IpAddr>) -> Self {
        Opener { shared, reached: reached.map(|ip| ip.to_canonical()), relays: Vec::new() }
    }

    /// The address that relayed addresses of a family are told with.
    fn told(&self, family: Family) -> Option<IpAddr> {
        let of_family = |ip: &&IpAddr| Family::of(**ip) == family;
        let config = &self.shared.server.config;
        if let Some(ip) = config.relay.iter().chain(&self.shared.advertise).find(of_family) {
            return Some(*ip);
        }
        let reached = self.reached.filter(|ip| !ip.is_unspecified());
        if let Some(ip) = reached.filter(|ip| Family::of(*ip) == family) {
            return Some(ip);
        }
        let loopback = reached.is_some_and(|ip| ip.is_loopback());
        let fits = |ip: &IpAddr| {
            let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
            Family::of(*ip) == family && ip.is_loopback() == loopback && !link_local
        };
        candidates::interfaces().into_iter().find(fits)
    }

    fn bind(&self, family: Family, even: bool, above: bool) -> Result<(Relay, Option<Relay>, u16), Refusal> {
        let config = &self.shared.server.config;
        let any = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let open = |port: u16| {
            let socket = Socket::bind_alone(SocketAddr::new(any, port)).ok()?;
            Some(Relay { socket, family })
        };
        let ports = u32::from(config.max_port - config.min_port) + 1;
        for _ in 0..TRIES {
            let mut random = [0; 4];
            getrandom::fill(&mut random).map_err(|_| CAPACITY)?;
            // Not to be guessed, so that nobody sends to a port before its permissions say so.
            let port = config.min_port + u16::try_from(u32::from_le_bytes(random) % ports).unwrap_or_default();
            if (even && !port.is_multiple_of(2)) || (above && port >= config.max_port) {
                continue;
            }
            let Some(relay) = open(port) else { continue };
            let next = if above { open(port + 1) } else { None };
            if !above || next.is_some() {
                return Ok((relay, next, port));
            }
        }
        Err(CAPACITY)
    }
}

impl Relays for Opener<'_> {
    fn open(&mut self, wanted: Wanted) -> Result<Opened, Refusal> {
        let now = Instant::now();
        let mut opened = Opened::default();
        if let Some(token) = wanted.token {
            let mut reserved = self.shared.reserved.lock().unwrap_or_else(PoisonError::into_inner);
            reserved.expire(now);
            let (relay, addr, _) = reserved.0.remove(&token).ok_or(CAPACITY)?;
            self.relays.push(Arc::new(relay));
            opened.relayed.push(addr);
            return Ok(opened);
        }
        let ip = self.told(wanted.family).ok_or(NO_FAMILY)?;
        let (relay, above, port) = self.bind(wanted.family, wanted.even, wanted.reserve)?;
        if let Some(above) = above {
            let mut token = [0; 8];
            getrandom::fill(&mut token).map_err(|_| CAPACITY)?;
            let mut reserved = self.shared.reserved.lock().unwrap_or_else(PoisonError::into_inner);
            reserved.expire(now);
            if reserved.0.len() >= MOST_RESERVED {
                return Err(CAPACITY);
            }
            reserved.0.insert(token, (above, SocketAddr::new(ip, port + 1), now + RESERVED_FOR));
            opened.token = Some(token);
        }
        self.relays.push(Arc::new(relay));
        opened.relayed.push(SocketAddr::new(ip, port));
        if wanted.both {
            // A wish (RFC 8656 §7.2): without it there is one address.
            let second = self.told(Family::V6).ok_or(NO_FAMILY);
            match second.and_then(|ip| self.bind(Family::V6, false, false).map(|bound| (ip, bound))) {
                Ok((ip, (relay, _, port))) => {
                    self.relays.push(Arc::new(relay));
                    opened.relayed.push(SocketAddr::new(ip, port));
                }
                Err(why) => opened.missing = Some(why),
            }
        }
        Ok(opened)
    }
}
