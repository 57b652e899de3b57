//! What an Allocate or Refresh request asks for (RFC 8656 §7.2, §8.2), and what it gets. Pure.

use crate::stun::{Message, attribute};
use std::net::{IpAddr, SocketAddr};

/// The transport protocol number that peers are reached by.
const UDP: u8 = 17;
/// RFC 8656 §3.2: an allocation lasts ten minutes unless it is asked to last longer, and an hour at most.
const LIFETIME_S: u32 = 600;
const MAX_LIFETIME_S: u32 = 3600;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Of the value of REQUESTED-ADDRESS-FAMILY: 440 for one that there is not.
    pub(crate) fn read(value: &[u8]) -> Result<Family, Refusal> {
        match value {
            [1, _, _, _] => Ok(Family::V4),
            [2, _, _, _] => Ok(Family::V6),
            [_, _, _, _] => Err(Refusal(440, "Address Family not Supported")),
            _ => Err(BAD),
        }
    }
}

/// What a client asks to have opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) family: Family,
    /// The other family too, if that can be.
    pub(crate) both: bool,
    pub(crate) even: bool,
    /// The port above is kept for whoever brings the token.
    pub(crate) reserve: bool,
    pub(crate) token: Option<[u8; 8]>,
}

/// What was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The relayed addresses, one of a family, as clients are told them.
    pub(crate) relayed: Vec<SocketAddr>,
    /// Why there is none of the second family that was asked for.
    pub(crate) missing: Option<Refusal>,
    pub(crate) token: Option<[u8; 8]>,
}

/// An error's code and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) u16, pub(crate) &'static str);

/// It has not the form that it should have.
pub(crate) const BAD: Refusal = Refusal(400, "Bad Request");
/// There is no allocation, or one already.
pub(crate) const MISMATCH: Refusal = Refusal(437, "Allocation Mismatch");
/// The policy says no.
pub(crate) const FORBIDDEN: Refusal = Refusal(403, "Forbidden");
/// The allocation has no address of this family.
pub(crate) const OTHER_FAMILY: Refusal = Refusal(443, "Peer Address Family Mismatch");
/// No port, or no room for more.
pub(crate) const CAPACITY: Refusal = Refusal(508, "Insufficient Capacity");

/// Opens what peers send to.
pub(crate) trait Relays {
    /// Opens sockets, which are then this client's.
    fn open(&mut self, wanted: Wanted) -> Result<Opened, Refusal>;
}

/// What an Allocate request asks to have opened.
pub(crate) fn wanted(message: &Message<'_>) -> Result<Wanted, Refusal> {
    match message.get(attribute::REQUESTED_TRANSPORT) {
        Some([UDP, _, _, _]) => {}
        Some([_, _, _, _]) => return Err(Refusal(442, "Unsupported Transport Protocol")),
        _ => return Err(BAD),
    }
    let family = message.get(attribute::REQUESTED_ADDRESS_FAMILY);
    let additional = message.get(attribute::ADDITIONAL_ADDRESS_FAMILY);
    let even = message.get(attribute::EVEN_PORT).map(|value| value.first().copied().ok_or(BAD)).transpose()?;
    let token = message.get(attribute::RESERVATION_TOKEN).map(|value| value.try_into().map_err(|_| BAD)).transpose()?;
    let reserve = even.is_some_and(|bits| bits & 0x80 != 0);
    let contradictory = (token.is_some() && (even.is_some() || family.is_some() || additional.is_some()))
        || (family.is_some() && additional.is_some())
        || (additional.is_some() && reserve);
    if contradictory {
        return Err(BAD);
    }
    let both = match additional.map(Family::read).transpose()? {
        Some(Family::V4) => return Err(BAD),
        both => both.is_some(),
    };
    let family = family.map(Family::read).transpose()?.unwrap_or(Family::V4);
    Ok(Wanted { family, both, even: even.is_some(), reserve, token })
}

/// How long an allocation is to last.
pub(crate) fn lifetime(message: &Message<'_>) -> Result<u32, Refusal> {
    let asked = message.u32(attribute::LIFETIME).transpose().map_err(|_| BAD)?;
    Ok(asked.unwrap_or(LIFETIME_S).clamp(LIFETIME_S, MAX_LIFETIME_S))
}
