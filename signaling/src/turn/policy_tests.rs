//! What the policy lets through, and each known way round such a policy.

use super::*;

const DOOR: &str = "arn:aws:kinesisvideo:us-east-1:1:channel/door/1";
const GATE: &str = "arn:aws:kinesisvideo:us-east-1:1:channel/gate/1";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}
fn policy(allow: &[&str]) -> Policy {
    let mut policy = Policy::new(allow.iter().map(|block| block.parse().expect("a block")).collect());
    policy.set_own(vec![ip("8.8.4.4"), ip("::ffff:10.0.0.5"), ip("127.0.0.1")], 8080);
    policy
}

/// CVE-2020-26262: 0.0.0.0/8 and ::/128 lead to this machine, past a rule against 127.0.0.0/8 and ::1.
#[test]
fn cve_2020_26262() {
    let (mut policy, now) = (policy(&[]), Instant::now());
    for text in ["0.0.0.0", "0.0.0.1", "0.255.0.1", "::", "::1", "127.0.0.2"] {
        assert_eq!(policy.reach(DOOR, ip(text), now), Reach::Denied, "{text}");
        assert!(!policy.allows(DOOR, SocketAddr::new(ip(text), 6379), now), "{text}");
    }
}

/// CVE-2026-27624: an IPv4 address in the form ::ffff:a.b.c.d goes past rules that are made of IPv4 blocks.
#[test]
fn cve_2026_27624() {
    let (mut policy, now) = (policy(&[]), Instant::now());
    for text in [
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:8.8.8.8",
        "::127.0.0.1",
        "2002:7f00:1::1",
        "64:ff9b::7f00:1",
    ] {
        assert_eq!(policy.reach(DOOR, ip(text), now), Reach::Denied, "{text}");
    }
    // Nor does allowing a block of IPv4 allow its other forms.
    let mut policy = self::policy(&["127.0.0.0/8"]);
    assert_eq!(policy.reach(DOOR, ip("127.0.0.1"), now), Reach::Any);
    assert_eq!(policy.reach(DOOR, ip("::ffff:127.0.0.1"), now), Reach::Denied);
}

#[test]
fn the_internet_is_open_and_this_server_is_not() {
    let (mut policy, now) = (policy(&[]), Instant::now());
    assert_eq!(policy.reach(DOOR, ip("8.8.8.8"), now), Reach::Any);
    assert_eq!(policy.reach(DOOR, ip("8.8.4.4"), now), Reach::Ports);
    // Its own services behind a firewall stay there; the port of its peers is open to anybody.
    assert!(!policy.allows(DOOR, addr("8.8.4.4:53"), now));
    assert!(policy.allows(DOOR, addr("8.8.4.4:8080"), now));
    assert!(policy.allows(DOOR, addr("10.0.0.5:8080"), now) && !policy.allows(DOOR, addr("10.0.0.5:8081"), now));
}

#[test]
fn relayed_addresses_are_open_to_their_channel_alone() {
    let (mut policy, now) = (policy(&[]), Instant::now());
    policy.add_relayed(addr("127.0.0.1:50000"), DOOR);
    assert!(policy.allows(DOOR, addr("127.0.0.1:50000"), now) && !policy.allows(DOOR, addr("127.0.0.1:50001"), now));
    assert!(!policy.allows(GATE, addr("127.0.0.1:50000"), now));
    policy.remove_relayed(addr("127.0.0.1:50000"));
    assert!(!policy.allows(DOOR, addr("127.0.0.1:50000"), now));
}

#[test]
fn candidates_open_private_addresses_to_their_channel_for_a_while() {
    let (mut policy, now) = (policy(&[]), Instant::now());
    policy.signalled(DOOR, addr("192.168.1.9:40000"), now);
    assert_eq!(policy.reach(DOOR, ip("192.168.1.9"), now), Reach::Ports);
    assert!(
        policy.allows(DOOR, addr("192.168.1.9:40000"), now) && !policy.allows(DOOR, addr("192.168.1.9:40001"), now)
    );
    assert_eq!(policy.reach(GATE, ip("192.168.1.9"), now), Reach::Denied);
    // Asked for every five minutes it stays; then it goes.
    let later = now + Duration::from_secs(800);
    assert!(policy.allows(DOOR, addr("192.168.1.9:40000"), later));
    let later = later + Duration::from_secs(800);
    policy.expire(later);
    assert!(policy.allows(DOOR, addr("192.168.1.9:40000"), later));
    let later = later + CANDIDATE_HOLDS;
    assert_eq!(policy.reach(DOOR, ip("192.168.1.9"), later), Reach::Denied);
    policy.expire(later);
    assert!(policy.candidates.is_empty());
}

#[test]
fn a_candidate_does_not_open_what_no_peer_has() {
    let (mut policy, now) = (policy(&[]), Instant::now());
    for text in [
        "127.0.0.1:40000",
        "169.254.169.254:40000",
        "0.0.0.0:40000",
        "224.0.0.1:40000",
        "[::1]:40000",
        "[fe80::1]:40000",
        "[::ffff:10.0.0.1]:40000",
        "192.168.1.1:53",
        "10.0.0.5:8081",
    ] {
        policy.signalled(DOOR, addr(text), now);
        assert!(!policy.allows(DOOR, addr(text), now), "{text}");
    }
}

#[test]
fn candidates_are_bounded() {
    let (mut policy, now) = (policy(&[]), Instant::now());
    for n in 0..CANDIDATES as u16 + 100 {
        policy.signalled(DOOR, SocketAddr::new(ip("10.1.1.1"), 2000 + n), now + Duration::from_millis(u64::from(n)));
    }
    assert_eq!(policy.candidates[DOOR].len(), CANDIDATES);
    for n in 0..CHANNELS + 100 {
        policy.signalled(&n.to_string(), addr("10.1.1.1:2000"), now);
    }
    assert_eq!(policy.candidates.len(), CHANNELS);
}

#[test]
fn blocks_are_read_and_shown() {
    for (text, shown) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("fd00::/8", "fd00::/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ] {
        assert_eq!(text.parse::<Cidr>().expect("a block").to_string(), shown);
    }
    for wrong in ["", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "x/8", "10.0.0.0/x"] {
        assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
    }
    assert!("0.0.0.0/0".parse::<Cidr>().expect("a block").contains(ip("8.8.8.8")));
    assert!(!"0.0.0.0/0".parse::<Cidr>().expect("a block").contains(ip("::1")));
    assert!("::/0".parse::<Cidr>().expect("a block").contains(ip("::1")));
}
