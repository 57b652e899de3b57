//! What an allocation lets through: permissions and channels (RFC 8656 §9, §12). Told the time; looked at for every packet.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// A permission holds for so long (RFC 8656 §9).
pub(crate) const PERMISSION_HOLDS: Duration = Duration::from_secs(300);
/// A channel is bound for so long (RFC 8656 §12).
pub(crate) const CHANNEL_HOLDS: Duration = Duration::from_secs(600);
/// Ports of one address that are open one by one.
const MOST_PORTS: usize = 32;

/// What a permission covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    Any,
    Only(Vec<u16>),
}

#[derive(Clone, Debug)]
struct Permission {
    ip: IpAddr,
    ports: Ports,
    until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    number: u16,
    peer: SocketAddr,
    until: Instant,
}

/// How a peer's data reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Channel(u16),
    Indication,
}

/// Permissions and channels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    permissions: Vec<Permission>,
    channels: Vec<Channel>,
}

impl Table {
    /// Lets an address through for five minutes more. False where there are `most` already.
    pub(crate) fn permit(&mut self, ip: IpAddr, ports: Ports, most: usize, now: Instant) -> bool {
        self.expire(now);
        let until = now + PERMISSION_HOLDS;
        if let Some(found) = self.permissions.iter_mut().find(|p| p.ip == ip) {
            found.until = until;
            found.ports = match (std::mem::replace(&mut found.ports, Ports::Any), ports) {
                (Ports::Only(mut open), Ports::Only(more)) => {
                    for port in more.into_iter().filter(|port| !open.contains(port)).collect::<Vec<_>>() {
                        if open.len() >= MOST_PORTS {
                            open.remove(0);
                        }
                        open.push(port);
                    }
                    Ports::Only(open)
                }
                // What the policy says now is what holds.
                (_, now) => now,
            };
            return true;
        }
        if self.permissions.len() >= most {
            return false;
        }
        self.permissions.push(Permission { ip, ports, until });
        true
    }

    /// Binds a channel for ten minutes more. False where there are `most` already.
    pub(crate) fn bind(&mut self, number: u16, peer: SocketAddr, most: usize, now: Instant) -> bool {
        self.expire(now);
        let until = now + CHANNEL_HOLDS;
        if let Some(found) = self.channels.iter_mut().find(|c| c.number == number && c.peer == peer) {
            found.until = until;
            return true;
        }
        if self.channels.len() >= most {
            return false;
        }
        self.channels.push(Channel { number, peer, until });
        true
    }

    /// Opens one more port of an address that is let through.
    pub(crate) fn open_port(&mut self, peer: SocketAddr) {
        let found = self.permissions.iter_mut().find(|p| p.ip == peer.ip());
        if let Some(Permission { ports: Ports::Only(open), .. }) = found
            && !open.contains(&peer.port())
        {
            if open.len() >= MOST_PORTS {
                open.remove(0);
            }
            open.push(peer.port());
        }
    }

    /// Whether the number or the peer is bound, but not to each other.
    pub(crate) fn is_bound_otherwise(&self, number: u16, peer: SocketAddr, now: Instant) -> bool {
        self.channels.iter().any(|c| c.until > now && (c.number == number) != (c.peer == peer))
    }

    /// The permissions that hold, and the channels.
    pub(crate) fn counts(&self, now: Instant) -> (usize, usize) {
        (
            self.permissions.iter().filter(|p| p.until > now).count(),
            self.channels.iter().filter(|c| c.until > now).count(),
        )
    }

    /// Whether there is room for permissions for these addresses.
    pub(crate) fn has_room(&self, ips: &[IpAddr], most: usize, now: Instant) -> bool {
        let mut new: Vec<_> =
            ips.iter().filter(|ip| !self.permissions.iter().any(|p| p.until > now && p.ip == **ip)).collect();
        new.sort_unstable();
        new.dedup();
        self.counts(now).0 + new.len() <= most
    }

    /// Whether a peer is let through; `None` where its address is, and the policy has to say of its port.
    pub(crate) fn permits(&self, peer: SocketAddr, now: Instant) -> Option<bool> {
        match self.permissions.iter().find(|p| p.ip == peer.ip() && p.until > now) {
            None => Some(false),
            Some(Permission { ports: Ports::Any, .. }) => Some(true),
            Some(Permission { ports: Ports::Only(open), .. }) if open.contains(&peer.port()) => Some(true),
            Some(_) => None,
        }
    }

    /// Whom a channel leads to.
    pub(crate) fn peer_of(&self, number: u16, now: Instant) -> Option<SocketAddr> {
        self.channels.iter().find(|c| c.number == number && c.until > now).map(|c| c.peer)
    }

    /// How what this peer sends goes to the client; `None` if it does not.
    pub(crate) fn via(&self, peer: SocketAddr, now: Instant) -> Option<Via> {
        if self.permits(peer, now) != Some(true) {
            return None;
        }
        let channel = self.channels.iter().find(|c| c.peer == peer && c.until > now);
        Some(channel.map_or(Via::Indication, |c| Via::Channel(c.number)))
    }

    fn expire(&mut self, now: Instant) {
        self.permissions.retain(|p| p.until > now);
        self.channels.retain(|c| c.until > now);
    }
}
