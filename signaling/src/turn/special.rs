//! Addresses that are nobody's on the Internet, and those that stand for others.
//!
//! What belongs here: the IANA special-purpose registries of IPv4 and IPv6, multicast, and every form in which an IPv6 address
//! carries an IPv4 one. Pure. What does not: who may reach one all the same (`policy`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4: IANA registry of special-purpose addresses, multicast (RFC 5771) and the former class E. Protocol assignments and
/// 6to4 relays go with their whole block.
const V4: &[([u8; 4], u8)] = &[
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 52, 193, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([192, 175, 48, 0], 24),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// IPv6, within 2000::/3. All else is special: nothing of it has been given out (RFC 3513, IANA's IPv6 address space).
const V6: &[([u16; 4], u8)] = &[
    // Protocol assignments, with Teredo, benchmarking, ORCHID and drone ids.
    ([0x2001, 0, 0, 0], 23),
    ([0x2001, 0xdb8, 0, 0], 32),
    // 6to4: the way to an IPv4 address.
    ([0x2002, 0, 0, 0], 16),
    ([0x2620, 0x4f, 0x8000, 0], 48),
    ([0x3fff, 0, 0, 0], 20),
];

/// Where private networks number their own machines, so that a peer there may have such an address: RFC 1918, carriers' NATs
/// (RFC 6598) and unique local ones (RFC 4193).
const PRIVATE_V4: &[([u8; 4], u8)] =
    &[([10, 0, 0, 0], 8), ([100, 64, 0, 0], 10), ([172, 16, 0, 0], 12), ([192, 168, 0, 0], 16)];

fn within_v4(ip: Ipv4Addr, blocks: &[([u8; 4], u8)]) -> bool {
    blocks.iter().any(|(block, bits)| (u32::from(ip) ^ u32::from_be_bytes(*block)) >> (32 - bits) == 0)
}

/// Whether an address is special, itself or by the IPv4 address within it.
pub(crate) fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => within_v4(ip, V4),
        IpAddr::V6(ip) => {
            let high = |s: [u16; 8]| s.iter().take(4).fold(0u64, |n, part| n << 16 | u64::from(*part));
            let word = high(ip.segments());
            let listed = V6.iter().any(|(block, bits)| {
                let block = block.iter().fold(0u64, |n, part| n << 16 | u64::from(*part));
                (word ^ block) >> (64 - bits) == 0
            });
            let global_unicast = word >> 61 == 0b001;
            !global_unicast || listed || embedded(ip).is_some_and(|v4| within_v4(v4, V4))
        }
    }
}

/// Whether an address may be that of a machine in a private network.
pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => within_v4(ip, PRIVATE_V4),
        IpAddr::V6(ip) => ip.octets()[0] & 0xfe == 0xfc,
    }
}

/// The IPv4 address that one of global unicast carries in its interface id: ISATAP (RFC 5214 §6.1). Where a network has put a NAT64
/// prefix of its own (RFC 6052 §2.2), nothing tells such an address from any other.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = ip.octets();
    // The bits "universal" and "group" may be set in the interface id.
    let isatap = octets[8] & 0xfc == 0 && octets[9..12] == [0, 0x5e, 0xfe];
    isatap.then(|| Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn special_addresses_in_all_their_forms() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.255.255",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "64:ff9b:1:ffff::10.0.0.1",
            "100::1",
            "100:0:0:1::1",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:30::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "2620:4f:8000::1",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2a00:1450::5efe:127.0.0.1",
            "2a00:1450::200:5efe:10.0.0.1",
            "4000::1",
        ] {
            assert!(is_special(ip(text)), "{text}");
        }
    }

    #[test]
    fn the_internet_is_not_special() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.0.0.1",
            "128.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "2a00:1450::1",
            "2a00:1450::5efe:8.8.8.8",
            "3ffe::1",
        ] {
            assert!(!is_special(ip(text)), "{text}");
        }
    }

    #[test]
    fn private_is_what_networks_number_themselves() {
        assert!(["10.0.0.1", "172.20.0.1", "192.168.0.1", "100.64.0.1", "fd00::1"].iter().all(|t| is_private(ip(t))));
        assert!(
            ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "::ffff:10.0.0.1", "8.8.8.8"]
                .iter()
                .all(|t| !is_private(ip(t)))
        );
    }
}
