//! What kind of address an address is, by the IANA special-purpose registries (RFC 6890 and its updates).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of address it is, as far as reaching it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Anyone's on the Internet.
    Public,
    /// Of a private network (RFC 1918, RFC 4193, RFC 6598).
    Private,
    /// This host.
    Loopback,
    /// Where clouds put instance metadata and credentials, and all link-local addresses around them.
    Metadata,
    /// Of a group.
    Multicast,
    /// No address.
    Unspecified,
    /// Everyone on the link.
    Broadcast,
    /// Set aside: documentation, benchmarking, protocol use, the future.
    Reserved,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Public => "a public address",
            Class::Private => "a private address",
            Class::Loopback => "a loopback address",
            Class::Metadata => "a link-local or instance-metadata address",
            Class::Multicast => "a multicast address",
            Class::Unspecified => "the unspecified address",
            Class::Broadcast => "the broadcast address",
            Class::Reserved => "a reserved address",
        })
    }
}

/// The address that a packet would end at: IPv4 addresses out of the IPv6 forms that carry them.
pub fn canonical(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let s = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match s {
        // IPv4-mapped, RFC 4291 2.5.5.2.
        [0, 0, 0, 0, 0, 0xffff, a, b] => v4(a, b),
        // IPv4-compatible, RFC 4291 2.5.5.1 (deprecated); `::` and `::1` are not of these.
        [0, 0, 0, 0, 0, 0, a, b] if a != 0 || b > 1 => v4(a, b),
        // NAT64's well-known prefix, RFC 6052.
        [0x64, 0xff9b, 0, 0, 0, 0, a, b] => v4(a, b),
        // 6to4, RFC 3056.
        [0x2002, a, b, ..] => v4(a, b),
        // IPv4-translated, RFC 2765.
        [0, 0, 0, 0, 0xffff, 0, a, b] => v4(a, b),
        _ => IpAddr::V6(v6),
    }
}

/// The class of an address, after [`canonical`].
pub fn class(ip: IpAddr) -> Class {
    match canonical(ip) {
        IpAddr::V4(v4) => class_v4(v4),
        IpAddr::V6(v6) => class_v6(v6),
    }
}

/// Network, prefix length, class; the first that matches counts.
const V4: &[([u8; 4], u32, Class)] = &[
    ([0, 0, 0, 0], 32, Class::Unspecified),
    ([0, 0, 0, 0], 8, Class::Reserved),
    ([10, 0, 0, 0], 8, Class::Private),
    // Alibaba Cloud's metadata, inside the shared address space.
    ([100, 100, 100, 200], 32, Class::Metadata),
    ([100, 64, 0, 0], 10, Class::Private),
    ([127, 0, 0, 0], 8, Class::Loopback),
    ([169, 254, 0, 0], 16, Class::Metadata),
    // Azure's host agent.
    ([168, 63, 129, 16], 32, Class::Metadata),
    ([172, 16, 0, 0], 12, Class::Private),
    // Oracle Cloud's older metadata address.
    ([192, 0, 0, 192], 32, Class::Metadata),
    ([192, 0, 0, 0], 24, Class::Reserved),
    ([192, 0, 2, 0], 24, Class::Reserved),
    ([192, 31, 196, 0], 24, Class::Public),
    ([192, 88, 99, 0], 24, Class::Reserved),
    ([192, 168, 0, 0], 16, Class::Private),
    ([198, 18, 0, 0], 15, Class::Reserved),
    ([198, 51, 100, 0], 24, Class::Reserved),
    ([203, 0, 113, 0], 24, Class::Reserved),
    ([224, 0, 0, 0], 4, Class::Multicast),
    ([255, 255, 255, 255], 32, Class::Broadcast),
    ([240, 0, 0, 0], 4, Class::Reserved),
];

fn class_v4(ip: Ipv4Addr) -> Class {
    let bits = u32::from(ip);
    let covers = |network: [u8; 4], length: u32| {
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        bits & mask == u32::from(Ipv4Addr::from(network)) & mask
    };
    V4.iter().find(|(network, length, _)| covers(*network, *length)).map_or(Class::Public, |(_, _, class)| *class)
}

/// The same for IPv6: first 128 bits of the network, prefix length, class.
const V6: &[([u16; 8], u32, Class)] = &[
    ([0; 8], 128, Class::Unspecified),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, Class::Loopback),
    // Amazon's metadata service over IPv6.
    ([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, Class::Metadata),
    // Google's.
    ([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, Class::Metadata),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Class::Private),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Class::Metadata),
    // Site-local, RFC 3879 (deprecated).
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Class::Private),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Class::Multicast),
    // NAT64 for local use, RFC 8215; Teredo, benchmarking, ORCHID and other protocol use (2001::/23); documentation; discard-only;
    // segment routing.
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, Class::Reserved),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Class::Reserved),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Class::Reserved),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Class::Reserved),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, Class::Reserved),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, Class::Reserved),
    // All that is given out for the Internet today.
    ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, Class::Public),
];

fn class_v6(ip: Ipv6Addr) -> Class {
    let bits = u128::from(ip);
    let covers = |network: [u16; 8], length: u32| {
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        bits & mask == u128::from(Ipv6Addr::from(network)) & mask
    };
    V6.iter().find(|(network, length, _)| covers(*network, *length)).map_or(Class::Reserved, |(_, _, class)| *class)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn classes_by_table() {
        let table = [
            ("8.8.8.8", Class::Public),
            ("172.15.255.255", Class::Public),
            ("172.16.0.0", Class::Private),
            ("172.31.255.255", Class::Private),
            ("172.32.0.0", Class::Public),
            ("100.63.255.255", Class::Public),
            ("100.64.0.0", Class::Private),
            ("100.100.100.200", Class::Metadata),
            ("100.128.0.0", Class::Public),
            ("127.255.255.254", Class::Loopback),
            ("169.253.255.255", Class::Public),
            ("169.254.170.2", Class::Metadata),
            ("168.63.129.16", Class::Metadata),
            ("192.0.0.1", Class::Reserved),
            ("192.0.2.5", Class::Reserved),
            ("198.19.255.255", Class::Reserved),
            ("223.255.255.255", Class::Public),
            ("224.0.0.0", Class::Multicast),
            ("255.255.255.255", Class::Broadcast),
            ("255.255.255.254", Class::Reserved),
            ("0.0.0.0", Class::Unspecified),
            ("0.1.2.3", Class::Reserved),
            ("::", Class::Unspecified),
            ("::1", Class::Loopback),
            ("2a00:1450::1", Class::Public),
            ("fc00::1", Class::Private),
            ("fdff::1", Class::Private),
            ("fe80::1", Class::Metadata),
            ("febf::1", Class::Metadata),
            ("fec0::1", Class::Private),
            ("fd00:ec2::254", Class::Metadata),
            ("fd00:ec2::253", Class::Private),
            ("ff02::1", Class::Multicast),
            ("2001:db8::1", Class::Reserved),
            ("2001::1", Class::Reserved),
            ("64:ff9b:1::1", Class::Reserved),
            ("4000::1", Class::Reserved),
            // IPv4 inside.
            ("::ffff:10.0.0.1", Class::Private),
            ("::10.0.0.1", Class::Private),
            ("::ffff:8.8.8.8", Class::Public),
            ("64:ff9b::7f00:1", Class::Loopback),
            ("64:ff9b::808:808", Class::Public),
            ("2002:0a00:0001::1", Class::Private),
            ("2002:808:808::1", Class::Public),
            ("::ffff:0:127.0.0.1", Class::Loopback),
        ];
        for (text, expected) in table {
            assert_eq!(class(text.parse().unwrap()), expected, "{text}");
        }
    }
}
