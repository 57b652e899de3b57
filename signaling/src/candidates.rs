//! The addresses that an answer offers.
//!
//! What belongs here: choosing and writing host candidates (RFC 8445 §5.1.1, RFC 8839 §5.1). What does not: connectivity
//! checks. An ICE-lite agent has host candidates only, and an address in front of a NAT counts as one.

use std::net::{IpAddr, SocketAddr};

/// No answer offers more: each costs the viewer checks, and machines with hundreds of container bridges exist.
const MOST: usize = 12;

/// A host candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Where the viewer is to send.
    pub(crate) addr: SocketAddr,
    /// RFC 8445 §5.1.2: the larger, the sooner it is tried.
    pub(crate) priority: u32,
}

impl Candidate {
    /// The value of the SDP attribute `candidate`.
    pub(crate) fn to_sdp(self) -> String {
        let foundation = match self.addr.ip() {
            IpAddr::V4(ip) => u32::from(ip),
            IpAddr::V6(ip) => u128::from(ip)
                .to_be_bytes()
                .chunks(4)
                .fold(1, |h: u32, part| part.iter().fold(h, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(*b)))),
        };
        format!("{foundation} 1 udp {} {} {} typ host", self.priority, self.addr.ip(), self.addr.port())
    }
}

/// Chooses candidates for a socket bound to `bound`: the address that the request came in on, then the advertised ones,
/// then those of the interfaces. Loopback is offered only if the request came in on it.
pub(crate) fn choose(
    bound: SocketAddr,
    reached_at: Option<IpAddr>,
    advertise: &[IpAddr],
    interfaces: &[IpAddr],
) -> Vec<Candidate> {
    let reached_at = reached_at.map(|ip| ip.to_canonical());
    let bound_ip = bound.ip().to_canonical();
    let reachable = |ip: &IpAddr| -> bool {
        if bound_ip.is_unspecified() { bound.is_ipv6() || ip.is_ipv4() } else { *ip == bound_ip }
    };
    let usable = |ip: &IpAddr| -> bool {
        let link_local_v6 = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let loopback = ip.is_loopback() && reached_at != Some(*ip) && *ip != bound_ip;
        !link_local_v6 && !loopback && !ip.is_unspecified() && !ip.is_multicast()
    };
    let own = (!bound_ip.is_unspecified()).then_some(bound_ip);
    let reached = reached_at.filter(|ip| reachable(ip) && usable(ip));
    let of_interfaces = interfaces.iter().map(|ip| ip.to_canonical()).filter(|ip| reachable(ip) && usable(ip));
    // What is advertised is taken at its word: a NAT in front translates it to an address of this machine.
    let advertised = advertise.iter().map(|ip| ip.to_canonical());

    let mut chosen: Vec<IpAddr> = Vec::new();
    for ip in reached.into_iter().chain(advertised).chain(own).chain(of_interfaces) {
        if !chosen.contains(&ip) && chosen.len() < MOST {
            chosen.push(ip);
        }
    }
    (0u32..)
        .zip(chosen)
        .map(|(rank, ip)| Candidate {
            addr: SocketAddr::new(ip, bound.port()),
            priority: 126 << 24 | (65_535 - rank) << 8 | 255,
        })
        .collect()
}

/// Addresses of the interfaces now. They change while the process runs, so each offer asks anew.
pub(crate) fn interfaces() -> Vec<IpAddr> {
    match if_addrs::get_if_addrs() {
        Ok(all) => all.into_iter().map(|interface| interface.ip()).collect(),
        Err(error) => {
            tracing::warn!(%error, "the addresses of the interfaces cannot be listed");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn ips(candidates: &[Candidate]) -> Vec<String> {
        candidates.iter().map(|c| c.addr.ip().to_string()).collect()
    }

    #[test]
    fn the_way_the_request_came_is_tried_first() {
        let interfaces = [ip("127.0.0.1"), ip("10.0.0.5"), ip("192.168.1.2"), ip("fe80::1"), ip("fd00::2")];
        let any4 = "0.0.0.0:8080".parse().expect("an address");
        let any6 = "[::]:8080".parse().expect("an address");
        let chosen = choose(any4, Some(ip("192.168.1.2")), &[ip("203.0.113.9")], &interfaces);
        assert_eq!(ips(&chosen), ["192.168.1.2", "203.0.113.9", "10.0.0.5"]);
        assert!(chosen.windows(2).all(|w| w[0].priority > w[1].priority));
        assert!(chosen.iter().all(|c| c.addr.port() == 8080));
        // A dual-stack socket also reaches IPv6, and an IPv4-mapped address is what it stands for.
        let chosen = choose(any6, Some(ip("::ffff:192.168.1.2")), &[], &interfaces);
        assert_eq!(ips(&chosen), ["192.168.1.2", "10.0.0.5", "fd00::2"]);
    }

    #[test]
    fn loopback_only_for_those_who_are_on_it() {
        let interfaces = [ip("127.0.0.1"), ip("::1"), ip("10.0.0.5")];
        let any6 = "[::]:1".parse().expect("an address");
        assert_eq!(ips(&choose(any6, Some(ip("127.0.0.1")), &[], &interfaces)), ["127.0.0.1", "10.0.0.5"]);
        assert_eq!(ips(&choose(any6, None, &[], &interfaces)), ["10.0.0.5"]);
    }

    #[test]
    fn a_bound_address_is_the_only_one() {
        let bound = "10.0.0.5:9".parse().expect("an address");
        assert_eq!(ips(&choose(bound, Some(ip("192.168.1.2")), &[], &[ip("192.168.1.2")])), ["10.0.0.5"]);
        let loopback = "127.0.0.1:9".parse().expect("an address");
        assert_eq!(ips(&choose(loopback, None, &[], &[ip("10.0.0.5")])), ["127.0.0.1"]);
    }

    #[test]
    fn is_written_as_rfc_8839_says() {
        let candidate = Candidate { addr: "10.0.0.5:9".parse().expect("an address"), priority: 2130706431 };
        assert_eq!(candidate.to_sdp(), "167772165 1 udp 2130706431 10.0.0.5 9 typ host");
    }
}
