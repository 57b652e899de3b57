//! Which peer a datagram is for.
//!
//! What belongs here: the first look at foreign bytes (RFC 7983 §7) and two maps. A connectivity check names its peer by
//! the ICE user name; everything else is found by the remote address that a check of that peer proved before. Pure.

use crate::stun::{Class, Message, attribute, method};
use std::collections::HashMap;
use std::net::SocketAddr;

/// A peer's number within the process; never reused.
pub(crate) type PeerKey = u64;

/// What a datagram is, by its first byte (RFC 7983 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A connectivity check.
    Stun,
    /// A DTLS record.
    Dtls,
    /// SRTP or SRTCP.
    Rtp,
}

/// Why a datagram is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Of no known kind, or cut short.
    Malformed,
    /// For no peer that exists.
    Unknown,
}

impl Dropped {
    /// For the label `reason` of the counter.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Dropped::Malformed => "malformed",
            Dropped::Unknown => "unknown",
        }
    }
}

/// The kind of a datagram, by its first byte.
fn kind(datagram: &[u8]) -> Option<Kind> {
    match datagram.first()? {
        0..=3 => Some(Kind::Stun),
        20..=63 => Some(Kind::Dtls),
        128..=191 => Some(Kind::Rtp),
        _ => None,
    }
}

/// Whether a datagram is for STUN and TURN: ChannelData (with the numbers of RFC 5766 too), and STUN messages that are no
/// connectivity checks (RFC 8656 §12, RFC 7983 §7). Checks are requests that name a user without proving a realm's.
pub(crate) fn is_for_turn(datagram: &[u8]) -> bool {
    match datagram.first() {
        Some(0x40..=0x7f) => true,
        Some(0..=3) => {
            let Some(message) = Message::parse(datagram) else { return false };
            message.method() != method::BINDING
                || (message.class() == Class::Request && message.get(attribute::USERNAME).is_none())
        }
        _ => false,
    }
}

/// The server's fragment out of the user name of a Binding request: `server:viewer` (RFC 8445 §7.2.2).
fn server_ufrag(request: &[u8]) -> Option<&str> {
    const BINDING_REQUEST: [u8; 2] = [0, 1];
    const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    const USERNAME: u16 = 6;
    let (header, mut attributes) = request.split_at_checked(20)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[..2] != BINDING_REQUEST || header[4..8] != MAGIC_COOKIE || attributes.len() != length {
        return None;
    }
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(..length)?;
        if u16::from_be_bytes([head[0], head[1]]) == USERNAME {
            return std::str::from_utf8(value).ok()?.split_once(':').map(|(server, _)| server);
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// The two maps.
#[derive(Default)]
pub(crate) struct Demux {
    by_ufrag: HashMap<String, PeerKey>,
    by_addr: HashMap<SocketAddr, PeerKey>,
}

impl Demux {
    /// Adds a peer by the server's ICE user name fragment.
    pub(crate) fn add(&mut self, ufrag: &str, peer: PeerKey) {
        self.by_ufrag.insert(ufrag.to_owned(), peer);
    }

    /// From now on, datagrams from this address are for this peer: it proved itself from there.
    pub(crate) fn learn(&mut self, addr: SocketAddr, peer: PeerKey) {
        self.by_addr.insert(addr, peer);
    }

    /// The peer no longer uses this address.
    pub(crate) fn forget(&mut self, addr: SocketAddr, peer: PeerKey) {
        // Another peer may have proved itself from there since: a NAT reuses ports.
        if self.by_addr.get(&addr) == Some(&peer) {
            self.by_addr.remove(&addr);
        }
    }

    /// Removes a peer by its fragment and its addresses.
    pub(crate) fn remove(&mut self, ufrag: &str, addrs: impl IntoIterator<Item = SocketAddr>, peer: PeerKey) {
        self.by_ufrag.remove(ufrag);
        for addr in addrs {
            self.forget(addr, peer);
        }
    }

    /// Whom a datagram is for, and what it is.
    pub(crate) fn route(&self, from: SocketAddr, datagram: &[u8]) -> Result<(PeerKey, Kind), Dropped> {
        let kind = kind(datagram).ok_or(Dropped::Malformed)?;
        let peer = match kind {
            Kind::Stun => self.by_ufrag.get(server_ufrag(datagram).ok_or(Dropped::Malformed)?),
            Kind::Dtls | Kind::Rtp => self.by_addr.get(&from),
        };
        Ok((*peer.ok_or(Dropped::Unknown)?, kind))
    }

    /// Entries in both maps, for tests of what remains.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_ufrag.len() + self.by_addr.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(user: &[u8]) -> Vec<u8> {
        // PRIORITY before USERNAME: the order of attributes is free.
        let mut attributes = vec![0, 0x24, 0, 4, 1, 2, 3, 4, 0, 6, 0, user.len() as u8];
        attributes.extend_from_slice(user);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
        let mut message = vec![0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xa4, 0x42];
        message.extend_from_slice(&[7; 12]);
        message.extend_from_slice(&attributes);
        message
    }

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn checks_go_by_user_name_and_the_rest_by_address() {
        let mut demux = Demux::default();
        demux.add("abcd", 1);
        demux.add("efgh", 2);
        assert_eq!(demux.route(addr(9), &request(b"abcd:xyz")), Ok((1, Kind::Stun)));
        assert_eq!(demux.route(addr(9), &request(b"efgh:xyz")), Ok((2, Kind::Stun)));
        assert_eq!(demux.route(addr(9), &request(b"ijkl:xyz")), Err(Dropped::Unknown));
        assert_eq!(demux.route(addr(9), &[22, 1]), Err(Dropped::Unknown));
        demux.learn(addr(9), 2);
        assert_eq!(demux.route(addr(9), &[22, 1]), Ok((2, Kind::Dtls)));
        assert_eq!(demux.route(addr(9), &[0x80, 200]), Ok((2, Kind::Rtp)));
        assert_eq!(demux.route(addr(8), &[0x80, 200]), Err(Dropped::Unknown));
    }

    #[test]
    fn what_is_no_check_is_for_turn() {
        assert!(!is_for_turn(&request(b"abcd:xyz")) && !is_for_turn(&[22, 1]) && !is_for_turn(&[0x80, 200]));
        assert!(!is_for_turn(&[]) && !is_for_turn(&[0, 1, 2]) && !is_for_turn(b"\xffGET / HTTP/1.1"));
        let mut bare = request(b"abcd:xyz")[..20].to_vec();
        bare[3] = 0;
        assert!(is_for_turn(&bare), "a Binding request of nobody");
        let mut allocate = request(b"abcd:xyz");
        allocate[1] = 3;
        assert!(is_for_turn(&allocate) && is_for_turn(&[0x40, 0, 0, 0]) && is_for_turn(&[0x7f]));
    }

    #[test]
    fn an_address_that_another_peer_took_over_stays_his() {
        let mut demux = Demux::default();
        demux.add("abcd", 1);
        demux.add("efgh", 2);
        demux.learn(addr(9), 1);
        demux.learn(addr(9), 2);
        demux.remove("abcd", [addr(9)], 1);
        assert_eq!(demux.route(addr(9), &[22]), Ok((2, Kind::Dtls)));
        demux.remove("efgh", [addr(9)], 2);
        assert_eq!(demux.len(), 0);
    }

    #[test]
    fn whatever_arrives_is_dropped_and_never_panics() {
        let demux = Demux::default();
        assert_eq!(demux.route(addr(1), &[]), Err(Dropped::Malformed));
        assert_eq!(demux.route(addr(1), &[70, 1, 2]), Err(Dropped::Malformed));
        assert_eq!(demux.route(addr(1), b"GET / HTTP/1.1"), Err(Dropped::Malformed));
        let whole = request(b"abcd:xyz");
        for end in 0..whole.len() {
            assert_eq!(demux.route(addr(1), &whole[..end]), Err(Dropped::Malformed), "cut at {end}");
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bent = whole.clone();
                bent[at] = byte;
                assert!(demux.route(addr(1), &bent).is_err());
            }
        }
        // A user name without a colon, or that is no text.
        assert_eq!(demux.route(addr(1), &request(b"abcdxyz")), Err(Dropped::Malformed));
        assert_eq!(demux.route(addr(1), &request(&[0xff, b':', 1])), Err(Dropped::Malformed));
    }
}
