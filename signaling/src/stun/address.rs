//! Addresses of attributes, XORed so that no NAT on the way rewrites them (RFC 8489 §14.2).
//!
//! ```text
//!  0                   1                   2                   3
//! |0 0 0 0 0 0 0 0|    family     |         port ^ cookie         |
//! |        address ^ cookie, of IPv6 ^ cookie and transaction     |
//! ```

use super::MAGIC_COOKIE;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const FAMILY_V4: u8 = 1;
const FAMILY_V6: u8 = 2;

/// What an IPv6 address is XORed with.
fn pad(transaction: [u8; 12]) -> [u8; 16] {
    let mut pad = [0; 16];
    pad[..4].copy_from_slice(&MAGIC_COOKIE);
    pad[4..].copy_from_slice(&transaction);
    pad
}

/// The address in an attribute's value; `None` where it has no such form.
pub(crate) fn read_xor(value: &[u8], transaction: [u8; 12]) -> Option<SocketAddr> {
    let (head, ip) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([head[2] ^ MAGIC_COOKIE[0], head[3] ^ MAGIC_COOKIE[1]]);
    let pad = pad(transaction);
    let ip = match head[1] {
        FAMILY_V4 => {
            let ip: [u8; 4] = ip.try_into().ok()?;
            IpAddr::V4(Ipv4Addr::from(std::array::from_fn(|i| ip[i] ^ pad[i])))
        }
        FAMILY_V6 => {
            let ip: [u8; 16] = ip.try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(std::array::from_fn(|i| ip[i] ^ pad[i])))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The value of an attribute, and how many bytes of it count.
pub(crate) fn write_xor(addr: SocketAddr, transaction: [u8; 12]) -> ([u8; 20], usize) {
    let pad = pad(transaction);
    let mut value = [0; 20];
    let port = addr.port().to_be_bytes();
    value[2] = port[0] ^ MAGIC_COOKIE[0];
    value[3] = port[1] ^ MAGIC_COOKIE[1];
    let length = match addr.ip() {
        IpAddr::V4(ip) => {
            value[1] = FAMILY_V4;
            value[4..8].copy_from_slice(&ip.octets());
            8
        }
        IpAddr::V6(ip) => {
            value[1] = FAMILY_V6;
            value[4..].copy_from_slice(&ip.octets());
            20
        }
    };
    value[4..length].iter_mut().zip(pad).for_each(|(byte, pad)| *byte ^= pad);
    (value, length)
}
