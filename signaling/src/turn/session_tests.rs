//! A client's session in virtual time: each answer that the RFCs name.

use super::*;
use crate::stun::{Integrity, Key, userhash};
use crate::turn::Config;
use crate::turn::asked::Wanted;

const CHANNEL: &str = "arn:aws:kinesisvideo:us-east-1:1:channel/door/1";
const PEER: &str = "8.8.8.8:7000";
const ENDS_S: u64 = 2_000;

struct Numbered(u16);

impl Relays for Numbered {
    fn open(&mut self, wanted: Wanted) -> Result<Opened, Refusal> {
        if wanted.token.is_some_and(|token| token != [7; 8]) || self.0 == 0 {
            return Err(CAPACITY);
        }
        self.0 += 2;
        let v6 = SocketAddr::from(([0x2a00, 0, 0, 0, 0, 0, 0, 1], self.0 + 1));
        let v4 = SocketAddr::from(([9, 9, 9, 9], self.0));
        let mut relayed = vec![if wanted.family == Family::V4 { v4 } else { v6 }];
        relayed.extend(wanted.both.then_some(v6));
        Ok(Opened { relayed, missing: None, token: wanted.reserve.then_some([7; 8]) })
    }
}

struct Client {
    server: Arc<Server>,
    session: Session,
    relays: Numbered,
    now: Now,
    username: String,
    password_of: Algorithm,
    nonce: String,
    transactions: u8,
}

/// What an answer says: 0 for success, or its code.
#[derive(Debug, PartialEq, Eq)]
struct Answer(u16, Vec<u8>);

impl Answer {
    fn get(&self, kind: u16) -> Option<Vec<u8>> {
        Message::parse(&self.1).expect("a whole answer").get(kind).map(<[u8]>::to_vec)
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn client_of(config: Config, from: &str) -> Client {
    let at = Instant::now();
    let server = Arc::new(Server::new(config, b"secret", [1; 32], at));
    server.policy().set_own(vec![addr("9.9.9.9:1").ip(), addr("127.0.0.1:1").ip()], 8080);
    client_on(server, from, Now { at, unix_s: 1_000 })
}

fn client_on(server: Arc<Server>, from: &str, now: Now) -> Client {
    let username = server.issuer.issue(CHANNEL, ENDS_S).username;
    let client = addr(from);
    let nonce = server.nonce(client.ip(), now);
    let session = Session::new(server.clone(), client, true);
    Client {
        server,
        session,
        relays: Numbered(50_000),
        now,
        username,
        password_of: Algorithm::Md5,
        nonce,
        transactions: 0,
    }
}

fn client() -> Client {
    client_of(Config::default(), "192.0.2.7:4000")
}

impl Client {
    fn key(&self) -> Key {
        self.server.issuer.key(self.password_of, &self.username)
    }

    fn raw(&mut self, bytes: &[u8]) -> Option<Answer> {
        let mut out = Vec::new();
        match self.session.handle(bytes, self.now, &mut out, &mut self.relays) {
            Outcome::Answered => {
                let answer = Message::parse(&out).expect("a whole answer");
                assert_eq!(answer.transaction(), Message::parse(bytes).expect("a request").transaction());
                let code = answer.get(attribute::ERROR_CODE).map_or(0, |v| u16::from(v[2]) * 100 + u16::from(v[3]));
                assert_eq!(answer.class() == Class::Error, code != 0);
                if answer.integrity().is_some() {
                    assert!(answer.is_signed_by(&self.key()));
                }
                Some(Answer(code, out))
            }
            Outcome::Dropped(_) => {
                assert!(out.is_empty());
                None
            }
            Outcome::Send(..) => panic!("nothing was to be sent"),
        }
    }

    fn request(&mut self, method: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        self.transactions += 1;
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, method, [self.transactions; 12]);
        for (kind, value) in attributes {
            writer = writer.attribute(*kind, value);
        }
        writer = writer
            .attribute(attribute::USERNAME, self.username.as_bytes())
            .attribute(attribute::REALM, b"vidicon")
            .attribute(attribute::NONCE, self.nonce.as_bytes());
        let integrity = match self.password_of {
            Algorithm::Md5 => Integrity::Sha1,
            Algorithm::Sha256 => {
                writer = writer
                    .attribute(attribute::PASSWORD_ALGORITHMS, &Algorithm::LIST)
                    .attribute(attribute::PASSWORD_ALGORITHM, &[0, 2, 0, 0]);
                Integrity::Sha256
            }
        };
        writer.integrity(&self.key(), integrity);
        out
    }

    fn ask(&mut self, method: u16, attributes: &[(u16, &[u8])]) -> Answer {
        let request = self.request(method, attributes);
        self.raw(&request).expect("an answer")
    }

    fn allocate(&mut self, attributes: &[(u16, &[u8])]) -> Answer {
        let transport = [(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0][..])];
        self.ask(method::ALLOCATE, &[&transport[..], attributes].concat())
    }

    fn peers(&mut self, method: u16, number: Option<u16>, peers: &[&str]) -> u16 {
        let number = number.map(|n| [&n.to_be_bytes()[..], &[0, 0]].concat());
        // The transaction id that `request` takes next.
        let transaction = [self.transactions + 1; 12];
        let peers: Vec<_> = peers.iter().map(|peer| crate::stun::write_xor(addr(peer), transaction)).collect();
        let mut attributes: Vec<(u16, &[u8])> = number.iter().map(|n| (attribute::CHANNEL_NUMBER, &n[..])).collect();
        attributes.extend(peers.iter().map(|(value, length)| (attribute::XOR_PEER_ADDRESS, &value[..*length])));
        self.ask(method, &attributes).0
    }

    fn permit(&mut self, peers: &[&str]) -> u16 {
        self.peers(method::CREATE_PERMISSION, None, peers)
    }

    fn bind(&mut self, number: u16, peer: &str) -> u16 {
        self.peers(method::CHANNEL_BIND, Some(number), &[peer])
    }

    /// Where a Send indication goes.
    fn send(&mut self, peer: &str) -> Option<SocketAddr> {
        let mut out = Vec::new();
        Writer::new(&mut out, Class::Indication, method::SEND, [9; 12])
            .xor(attribute::XOR_PEER_ADDRESS, addr(peer))
            .attribute(attribute::DATA, b"data");
        match self.session.handle(&out, self.now, &mut Vec::new(), &mut self.relays) {
            Outcome::Send(peer, data) => {
                assert_eq!(data, b"data");
                Some(peer)
            }
            Outcome::Dropped(_) => None,
            Outcome::Answered => panic!("an indication was answered"),
        }
    }

    fn channel(&self, number: u16) -> Option<SocketAddr> {
        let bytes = [&number.to_be_bytes()[..], &[0, 4], b"data"].concat();
        match self.session.channel_data(&bytes, self.now.at) {
            Outcome::Send(peer, b"data") => Some(peer),
            Outcome::Dropped(_) => None,
            other => panic!("{other:?}"),
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now.at += Duration::from_secs(seconds);
        self.now.unix_s += seconds;
        self.nonce = self.server.nonce(addr("192.0.2.7:1").ip(), self.now);
    }
}

fn lifetime(seconds: u32) -> (u16, [u8; 4]) {
    (attribute::LIFETIME, seconds.to_be_bytes())
}

#[test]
fn binding_tells_the_address() {
    let mut client = client();
    let mut out = Vec::new();
    Writer::new(&mut out, Class::Request, method::BINDING, [1; 12]).fingerprint();
    let answer = client.raw(&out).expect("an answer");
    let message = Message::parse(&answer.1).expect("an answer");
    assert_eq!(message.addresses(attribute::XOR_MAPPED_ADDRESS).next(), Some(Ok(addr("192.0.2.7:4000"))));
    assert!(message.get(attribute::FINGERPRINT).is_some(), "as the question had one");
    let mut out = Vec::new();
    Writer::new(&mut out, Class::Request, method::BINDING, [1; 12]).attribute(0x7f01, &[]).attribute(0x8fff, &[]);
    let answer = client.raw(&out).expect("an answer");
    assert_eq!((answer.0, answer.get(attribute::UNKNOWN_ATTRIBUTES)), (420, Some(vec![0x7f, 1])));
}

#[test]
fn a_challenge_and_what_follows_from_it() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let mut client = client();
        client.password_of = algorithm;
        let mut out = Vec::new();
        Writer::new(&mut out, Class::Request, method::ALLOCATE, [1; 12])
            .attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        let challenge = client.raw(&out).expect("an answer");
        assert_eq!(challenge.0, 401);
        assert_eq!(challenge.get(attribute::REALM).as_deref(), Some(&b"vidicon"[..]));
        assert_eq!(challenge.get(attribute::PASSWORD_ALGORITHMS).as_deref(), Some(&Algorithm::LIST[..]));
        client.nonce = String::from_utf8(challenge.get(attribute::NONCE).expect("a nonce")).expect("text");
        let answer = client.allocate(&[]);
        assert_eq!(answer.0, 0);
        let message = Message::parse(&answer.1).expect("an answer");
        let sha256 = algorithm == Algorithm::Sha256;
        assert_eq!(message.integrity(), Some(if sha256 { Integrity::Sha256 } else { Integrity::Sha1 }));
        assert_eq!(message.u32(attribute::LIFETIME), Some(Ok(600)));
        assert_eq!(message.addresses(attribute::XOR_RELAYED_ADDRESS).next(), Some(Ok(addr("9.9.9.9:50002"))));
        assert_eq!(message.addresses(attribute::XOR_MAPPED_ADDRESS).next(), Some(Ok(addr("192.0.2.7:4000"))));
    }
}

#[test]
fn who_cannot_prove_himself_gets_nothing() {
    let mut one = client();
    // Another password.
    let mut request = one.request(method::ALLOCATE, &[(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])]);
    *request.last_mut().expect("a byte") ^= 1;
    assert_eq!(one.raw(&request).map(|a| a.0), Some(401));
    // Names of others, of another channel, that have ended.
    let genuine = one.username.clone();
    for username in ["user".to_owned(), format!("{}x", genuine), genuine.replace("2000", "3000")] {
        let mut out = Vec::new();
        Writer::new(&mut out, Class::Request, method::ALLOCATE, [3; 12])
            .attribute(attribute::USERNAME, username.as_bytes())
            .attribute(attribute::REALM, b"vidicon")
            .attribute(attribute::NONCE, one.nonce.as_bytes())
            .integrity(&one.key(), Integrity::Sha1);
        assert_eq!(one.raw(&out).map(|a| a.0), Some(401), "{username}");
    }
    one.now.unix_s = ENDS_S;
    assert_eq!(one.allocate(&[]).0, 401);
    // Nonces of others, old ones, made-up ones.
    let mut two = client();
    for nonce in [client().server.nonce(addr("192.0.2.8:1").ip(), two.now), "obMatJos2AAAAxyz".into(), "x".into()] {
        two.nonce = nonce;
        assert_eq!(two.allocate(&[]).0, 438);
    }
    let mut three = client();
    three.now.at += Duration::from_secs(601);
    let stale = three.allocate(&[]);
    assert_eq!(stale.0, 438);
    three.nonce = String::from_utf8(stale.get(attribute::NONCE).expect("a nonce")).expect("text");
    assert_eq!(three.allocate(&[]).0, 0);
    assert_eq!(one.server.limits().total(), 0);
}

#[test]
fn half_of_what_proves_someone_is_a_bad_request() {
    let mut client = client();
    let key = client.key();
    let all: [(u16, Vec<u8>); 3] = [
        (attribute::USERNAME, client.username.clone().into_bytes()),
        (attribute::REALM, b"vidicon".to_vec()),
        (attribute::NONCE, client.nonce.clone().into_bytes()),
    ];
    for missing in 0..3 {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, method::ALLOCATE, [1; 12]);
        for (_, (kind, value)) in all.iter().enumerate().filter(|(n, _)| *n != missing) {
            writer = writer.attribute(*kind, value);
        }
        writer.integrity(&key, Integrity::Sha1);
        assert_eq!(client.raw(&out).map(|a| a.0), Some(400));
    }
    // The list of algorithms was changed on the way, or only half of the pair is there.
    for attributes in [
        vec![(attribute::PASSWORD_ALGORITHMS, &Algorithm::LIST[..])],
        vec![(attribute::PASSWORD_ALGORITHM, &[0, 1, 0, 0][..])],
        vec![(attribute::PASSWORD_ALGORITHMS, &[0, 1, 0, 0][..]), (attribute::PASSWORD_ALGORITHM, &[0, 1, 0, 0][..])],
        vec![
            (attribute::PASSWORD_ALGORITHMS, &Algorithm::LIST[..]),
            (attribute::PASSWORD_ALGORITHM, &[0, 3, 0, 0][..]),
        ],
    ] {
        assert_eq!(client.allocate(&attributes).0, 400);
    }
}

#[test]
fn what_can_be_asked_of_an_allocation() {
    let ask = |attributes: &[(u16, &[u8])]| client().allocate(attributes).0;
    assert_eq!(client().ask(method::ALLOCATE, &[]).0, 400);
    assert_eq!(client().ask(method::ALLOCATE, &[(attribute::REQUESTED_TRANSPORT, &[6, 0, 0, 0])]).0, 442);
    assert_eq!(client().ask(method::ALLOCATE, &[(attribute::REQUESTED_TRANSPORT, &[17])]).0, 400);
    assert_eq!(ask(&[(0x7f01, &[])]), 420);
    assert_eq!(ask(&[(attribute::DONT_FRAGMENT, &[])]), 0);
    let (family, additional) = (attribute::REQUESTED_ADDRESS_FAMILY, attribute::ADDITIONAL_ADDRESS_FAMILY);
    assert_eq!(ask(&[(family, &[1, 0, 0, 0])]), 0);
    assert_eq!(ask(&[(family, &[3, 0, 0, 0])]), 440);
    assert_eq!(ask(&[(family, &[2, 0, 0, 0]), (additional, &[2, 0, 0, 0])]), 400);
    assert_eq!(ask(&[(additional, &[1, 0, 0, 0])]), 400);
    let (even, token) = (attribute::EVEN_PORT, attribute::RESERVATION_TOKEN);
    assert_eq!(ask(&[(additional, &[2, 0, 0, 0]), (even, &[0x80])]), 400);
    assert_eq!(ask(&[(token, &[7; 8]), (even, &[0])]), 400);
    assert_eq!(ask(&[(token, &[7; 8]), (family, &[1, 0, 0, 0])]), 400);
    assert_eq!(ask(&[(token, &[7; 7])]), 400);
    assert_eq!(ask(&[(token, &[8; 8])]), 508);
    assert_eq!(ask(&[(token, &[7; 8])]), 0);
    let reserved = client().allocate(&[(even, &[0x80])]);
    assert_eq!((reserved.0, reserved.get(token)), (0, Some(vec![7; 8])));
    let both = client().allocate(&[(additional, &[2, 0, 0, 0])]);
    let message = Message::parse(&both.1).expect("an answer");
    let relayed: Vec<_> = message.addresses(attribute::XOR_RELAYED_ADDRESS).flatten().map(|a| a.is_ipv4()).collect();
    assert_eq!(relayed, [true, false]);
    for (asked, given) in [(1, 600), (601, 601), (9999, 3600)] {
        let (kind, value) = lifetime(asked);
        let answer = client().allocate(&[(kind, &value)]);
        assert_eq!(answer.get(kind).as_deref(), Some(&u32::to_be_bytes(given)[..]));
    }
    let mut full = client();
    full.relays = Numbered(0);
    assert_eq!((full.allocate(&[]).0, full.server.limits().total()), (508, 0));
}

#[test]
fn the_same_request_again_is_answered_alike() {
    let mut client = client();
    let request = client.request(method::ALLOCATE, &[(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])]);
    let (first, second) = (client.raw(&request), client.raw(&request));
    assert_eq!(first, second);
    assert_eq!(client.allocate(&[]).0, 437);
    assert_eq!(client.server.limits().total(), 1);
}

#[test]
fn an_allocation_lives_as_long_as_it_is_refreshed() {
    let mut client = client();
    assert_eq!(client.ask(method::REFRESH, &[]).0, 437);
    assert_eq!(client.allocate(&[]).0, 0);
    client.pass(599);
    assert_eq!(client.ask(method::REFRESH, &[]).0, 0);
    // Credentials that have ended go on where they began.
    client.pass(500);
    client.now.unix_s = ENDS_S + 1;
    assert_eq!(client.ask(method::REFRESH, &[]).0, 0);
    assert_eq!(client.ask(method::REFRESH, &[(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])]).0, 443);
    client.pass(600);
    assert!(client.session.expire(client.now.at) && !client.session.is_allocated());
    assert_eq!(client.server.limits().total(), 0);
    assert!(!client.server.policy().is_relayed(addr("9.9.9.9:50002")));
    client.now.unix_s = 1_000;
    assert_eq!(client.allocate(&[]).0, 0);
    let (kind, value) = lifetime(0);
    let answer = client.ask(method::REFRESH, &[(kind, &value)]);
    assert_eq!((answer.0, answer.get(kind), client.session.is_allocated()), (0, Some(vec![0; 4]), false));
}

#[test]
fn an_allocation_belongs_to_its_credentials() {
    let mut client = client();
    assert_eq!(client.allocate(&[]).0, 0);
    let own = client.username.clone();
    client.username = client.server.issuer.issue("arn:aws:kinesisvideo:us-east-1:1:channel/gate/1", ENDS_S).username;
    assert_eq!(client.permit(&[PEER]), 441);
    assert_eq!(client.ask(method::REFRESH, &[]).0, 441);
    // By the hash of its name it is found; by that of another it is not.
    for (name, code) in [(own.as_str(), 0), ("another", 401)] {
        client.username = own.clone();
        let mut out = Vec::new();
        Writer::new(&mut out, Class::Request, method::REFRESH, [1; 12])
            .attribute(attribute::USERHASH, &userhash(name, "vidicon"))
            .attribute(attribute::REALM, b"vidicon")
            .attribute(attribute::NONCE, client.nonce.as_bytes())
            .integrity(&client.key(), Integrity::Sha1);
        assert_eq!(client.raw(&out).map(|a| a.0), Some(code));
    }
}

#[test]
fn permissions_open_an_address_for_five_minutes() {
    let mut client = client();
    assert_eq!(client.permit(&[PEER]), 437);
    assert_eq!(client.allocate(&[]).0, 0);
    assert_eq!(client.send(PEER), None);
    assert_eq!(client.permit(&[]), 400);
    assert_eq!(client.permit(&["[2606:4700::1]:1"]), 443);
    assert_eq!(client.permit(&[PEER, "127.0.0.1:1"]), 403);
    assert_eq!(client.send(PEER), None, "all of them or none");
    assert_eq!(client.permit(&[PEER, "1.1.1.1:1"]), 0);
    assert_eq!(client.send("8.8.8.8:9"), Some(addr("8.8.8.8:9")));
    let table = client.session.take_table().expect("it changed");
    assert_eq!(table.via(addr(PEER), client.now.at), Some(super::super::table::Via::Indication));
    assert_eq!(table.via(addr("8.8.4.4:1"), client.now.at), None);
    client.pass(300);
    assert_eq!(client.send(PEER), None);
    assert_eq!(table.via(addr(PEER), client.now.at), None);
}

#[test]
fn channels_lead_to_one_peer_for_ten_minutes() {
    let mut client = client();
    assert_eq!(client.bind(0x4000, PEER), 437);
    assert_eq!(client.allocate(&[]).0, 0);
    assert_eq!(client.ask(method::CHANNEL_BIND, &[(attribute::CHANNEL_NUMBER, &[0x40, 0, 0, 0])]).0, 400);
    for number in [0, 0x3fff, 0x8000, 0xffff] {
        assert_eq!(client.bind(number, PEER), 400, "{number:x}");
    }
    assert_eq!(client.bind(0x4000, "10.0.0.1:9000"), 403);
    assert_eq!(client.bind(0x4000, "[2606:4700::1]:1"), 443);
    assert_eq!(client.channel(0x4000), None);
    assert_eq!(client.bind(0x4000, PEER), 0);
    assert_eq!(client.bind(0x4000, PEER), 0, "again");
    assert_eq!(client.bind(0x4000, "8.8.8.8:7001"), 400);
    assert_eq!(client.bind(0x4001, PEER), 400);
    assert_eq!(client.channel(0x4000), Some(addr(PEER)));
    let table = client.session.take_table().expect("it changed");
    assert_eq!(table.via(addr(PEER), client.now.at), Some(super::super::table::Via::Channel(0x4000)));
    assert_eq!(table.via(addr("8.8.8.8:1"), client.now.at), Some(super::super::table::Via::Indication));
    // The permission that came with it goes after five minutes, the channel after ten.
    client.pass(300);
    assert_eq!((client.channel(0x4000), table.via(addr(PEER), client.now.at)), (Some(addr(PEER)), None));
    assert_eq!(client.ask(method::REFRESH, &[]).0, 0);
    client.pass(300);
    assert_eq!(client.channel(0x4000), None);
    assert_eq!(client.bind(0x4001, PEER), 0);
}

#[test]
fn channel_data_that_is_cut_short_is_dropped() {
    let mut client = client();
    assert_eq!((client.allocate(&[]).0, client.bind(0x4000, PEER)), (0, 0));
    for bytes in [&b""[..], &[0x40], &[0x40, 0, 0], &[0x40, 0, 0, 5, 1, 2, 3, 4], &[0x40, 1, 0, 0]] {
        assert!(matches!(client.session.channel_data(bytes, client.now.at), Outcome::Dropped(_)), "{bytes:?}");
    }
    assert_eq!(
        client.session.channel_data(&[0x40, 0, 0, 1, 5, 0, 0, 0], client.now.at),
        Outcome::Send(addr(PEER), &[5])
    );
}

#[test]
fn two_of_a_channel_meet_at_their_relays() {
    let mut a = client();
    assert_eq!(a.allocate(&[]).0, 0);
    let mut b = client_on(a.server.clone(), "192.0.2.9:4000", a.now);
    b.relays = Numbered(60_000);
    assert_eq!(b.allocate(&[]).0, 0);
    // Of the server's own address, the relay of the other and nothing else.
    assert_eq!((a.permit(&["9.9.9.9:60002"]), a.send("9.9.9.9:60002")), (0, Some(addr("9.9.9.9:60002"))));
    assert_eq!(a.send("9.9.9.9:53"), None);
    assert_eq!((a.bind(0x4000, "9.9.9.9:60002"), a.bind(0x4001, "9.9.9.9:53")), (0, 403));
    let table = a.session.take_table().expect("it changed");
    assert!(table.via(addr("9.9.9.9:60002"), a.now.at).is_some() && table.via(addr("9.9.9.9:53"), a.now.at).is_none());
    // A third channel's client meets nobody.
    let mut c = client_on(a.server.clone(), "192.0.2.10:4000", a.now);
    c.username = a.server.issuer.issue("arn:aws:kinesisvideo:us-east-1:1:channel/gate/1", ENDS_S).username;
    c.relays = Numbered(61_000);
    assert_eq!((c.allocate(&[]).0, c.bind(0x4000, "9.9.9.9:60002")), (0, 403));
    // Nobody allocates through an allocation.
    let mut circle = client_on(a.server.clone(), "9.9.9.9:60002", a.now);
    assert_eq!(circle.allocate(&[]).0, 403);
}

#[test]
fn a_port_of_the_same_channel_that_is_signalled_later_opens_when_it_is_sent_to() {
    let mut client = client();
    assert_eq!(client.allocate(&[]).0, 0);
    assert_eq!(client.permit(&["192.168.1.5:5000"]), 403);
    client.server.policy().signalled(CHANNEL, addr("192.168.1.5:5000"), client.now.at);
    assert_eq!((client.permit(&["192.168.1.5:5000"]), client.send("192.168.1.5:5001")), (0, None));
    client.server.policy().signalled(CHANNEL, addr("192.168.1.5:5001"), client.now.at);
    assert_eq!(client.send("192.168.1.5:5001"), Some(addr("192.168.1.5:5001")));
    let table = client.session.take_table().expect("it changed");
    assert!(table.via(addr("192.168.1.5:5001"), client.now.at).is_some());
}

#[test]
fn limits_are_held() {
    let config = Config { max_permissions: 2, max_channels: 1, max_allocations_per_credential: 1, ..Config::default() };
    let mut client = client_of(config, "192.0.2.7:4000");
    assert_eq!(client.allocate(&[]).0, 0);
    assert_eq!(client.permit(&["1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1"]), 508);
    assert_eq!(client.permit(&["1.1.1.1:1", "1.1.1.2:1", "1.1.1.2:2"]), 0);
    assert_eq!((client.permit(&["1.1.1.3:1"]), client.bind(0x4000, "1.1.1.3:1")), (508, 508));
    assert_eq!((client.bind(0x4000, "1.1.1.1:1"), client.bind(0x4001, "1.1.1.2:1")), (0, 508));
    let mut second = client_on(client.server.clone(), "192.0.2.8:4000", client.now);
    assert_eq!(second.allocate(&[]).0, 486);
    drop(client);
    assert_eq!(second.allocate(&[]).0, 0);
}

#[test]
fn a_flood_is_not_answered_with_more_than_it_sends() {
    let mut one = client();
    let mut out = Vec::new();
    Writer::new(&mut out, Class::Request, method::ALLOCATE, [1; 12])
        .attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    let answered: usize = (0..10_000).filter_map(|_| one.raw(&out)).map(|answer| answer.1.len()).sum();
    assert!(answered > 0 && answered <= 10_000 * out.len() / 100, "{answered}");
    // The same on a connection is answered: nobody else gets it.
    one.session = Session::new(one.server.clone(), addr("192.0.2.7:4000"), false);
    assert!((0..1000).all(|_| one.raw(&out).is_some()));
}

#[test]
fn whatever_else_comes_is_dropped() {
    let mut client = client();
    for class in [Class::Indication, Class::Success, Class::Error] {
        for method in [method::BINDING, method::ALLOCATE, method::DATA, 0xfff] {
            let mut out = Vec::new();
            Writer::new(&mut out, class, method, [1; 12]);
            assert_eq!(client.raw(&out), None);
        }
    }
    assert_eq!(
        client.session.handle(b"", client.now, &mut Vec::new(), &mut Numbered(1)),
        Outcome::Dropped("malformed")
    );
}
