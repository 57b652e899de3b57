//! The same requests to this server and to coturn's: each answer has to be of the same class, with the same code.

use super::Config;
use super::asked::{CAPACITY, Family, Opened, Refusal, Relays, Wanted};
use super::server::{Now, Server};
use super::session::{Outcome, Session};
use crate::stun::{Algorithm, Class, Integrity, Key, Message, Writer, attribute, method, write_xor};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CHANNEL: &str = "arn:aws:kinesisvideo:us-east-1:1:channel/door/1";
const REALM: &str = "vidicon";
/// Where nobody is asked: documentation addresses are denied here and by coturn only if it is told so.
const DENIED: &str = "192.0.2.9:9000";
const PEER: &str = "8.8.8.8:7000";

/// coturn, on a port of loopback.
struct Coturn {
    child: Child,
    socket: UdpSocket,
    _folder: tempfile::TempDir,
}

impl Coturn {
    fn start() -> Option<Coturn> {
        let folder = tempfile::tempdir().expect("a folder");
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok()?.port();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let mut command = Command::new("turnserver");
        command.args([
            "-n",
            "--no-cli",
            "--no-tls",
            "--no-dtls",
            "--lt-cred-mech",
            "--user=user:pass",
            "--allow-loopback-peers",
        ]);
        command.args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--denied-peer-ip=192.0.2.0-192.0.2.255"]);
        command.args([
            format!("--realm={REALM}"),
            format!("--listening-port={port}"),
            format!("--pidfile={}", file("pid")),
        ]);
        command.args([
            format!("--userdb={}", file("db")),
            format!("--log-file={}", file("log")),
            "--simple-log".to_owned(),
        ]);
        let child = match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(_) => {
                eprintln!("skipped: turnserver (coturn) is not here");
                return None;
            }
        };
        let coturn = Coturn { child, socket: socket_to(port), _folder: folder };
        let begun = Instant::now();
        let mut binding = Vec::new();
        Writer::new(&mut binding, Class::Request, method::BINDING, [1; 12]);
        while coturn.ask(&binding).is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20), "coturn does not answer");
        }
        Some(coturn)
    }

    /// Another client.
    fn again(&mut self) {
        let port = self.socket.peer_addr().expect("it is connected").port();
        self.socket = socket_to(port);
    }

    fn ask(&self, request: &[u8]) -> Option<Vec<u8>> {
        self.socket.send(request).ok()?;
        let mut buffer = vec![0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket_to(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect((Ipv4Addr::LOCALHOST, port)).expect("an address");
    socket.set_read_timeout(Some(Duration::from_millis(400))).expect("a time");
    socket
}

struct Numbered;

impl Relays for Numbered {
    fn open(&mut self, wanted: Wanted) -> Result<Opened, Refusal> {
        match wanted {
            Wanted { token: Some(_), .. } => Err(CAPACITY),
            Wanted { family: Family::V6, .. } => Err(Refusal(440, "Address Family not Supported")),
            _ => Ok(Opened { relayed: vec![SocketAddr::from(([9, 9, 9, 9], 50_000))], ..Opened::default() }),
        }
    }
}

/// What a request has, before it is made for one of the two.
#[derive(Clone, Default)]
struct Plan {
    method: u16,
    attributes: Vec<(u16, Vec<u8>)>,
    /// An attribute of the credentials that is left out.
    without: Option<u16>,
    stale: bool,
    unsigned: bool,
    wrong_password: bool,
    unknown_user: bool,
}

/// One side's credentials, and the nonce that it gave.
struct Side {
    username: String,
    key: Key,
    nonce: Vec<u8>,
}

impl Plan {
    fn of(method: u16, attributes: &[(u16, &[u8])]) -> Plan {
        Plan { method, attributes: attributes.iter().map(|(k, v)| (*k, v.to_vec())).collect(), ..Plan::default() }
    }

    fn bytes(&self, side: &Side, transaction: [u8; 12]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, self.method, transaction);
        for (kind, value) in &self.attributes {
            writer = writer.attribute(*kind, value);
        }
        if self.unsigned {
            return out;
        }
        let username = if self.unknown_user { "nobody" } else { &side.username };
        let nonce = if self.stale { b"0123456789abcdef" } else { &side.nonce[..] };
        let all = [
            (attribute::USERNAME, username.as_bytes()),
            (attribute::REALM, REALM.as_bytes()),
            (attribute::NONCE, nonce),
        ];
        for (kind, value) in all.into_iter().filter(|(kind, _)| Some(*kind) != self.without) {
            writer = writer.attribute(kind, value);
        }
        let wrong = Key::new(b"wrong");
        writer.integrity(if self.wrong_password { &wrong } else { &side.key }, Integrity::Sha1);
        out
    }
}

/// Where coturn 4.6 goes other ways than the RFC, with what each says: list, request, here, coturn.
const OTHERWISE: &[(&str, usize, u16, u16)] = &[
    // RFC 8656 §7.2: a transport that is known and not served.
    ("SCTP", 1, 442, 400),
    // RFC 8656 §7.2: a token that is not known.
    ("token", 1, 508, 404),
    // RFC 8656 §5: any other request without an allocation.
    ("no allocation", 2, 437, 400),
    ("no allocation", 3, 437, 400),
    // RFC 8656 §8.2: what was deleted is gone; coturn keeps it for a moment.
    ("refresh", 4, 437, 0),
];

/// Class and code of an answer.
fn said(answer: Option<Vec<u8>>) -> Option<(Class, u16)> {
    let answer = answer?;
    let message = Message::parse(&answer).expect("a whole answer");
    let code = message.get(attribute::ERROR_CODE).map_or(0, |v| u16::from(v[2] & 7) * 100 + u16::from(v[3]));
    Some((message.class(), code))
}

fn peer(text: &str, transaction: [u8; 12]) -> Vec<u8> {
    let (value, length) = write_xor(text.parse().expect("an address"), transaction);
    value[..length].to_vec()
}

/// Requests one after the other, of a client each list.
fn plans() -> Vec<(&'static str, Vec<Plan>)> {
    let transport = (attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0][..]);
    let allocate = |more: &[(u16, &[u8])]| Plan::of(method::ALLOCATE, &[&[transport][..], more].concat());
    let id = |n: u8| [n; 12];
    let permit =
        |text: &str, n| Plan::of(method::CREATE_PERMISSION, &[(attribute::XOR_PEER_ADDRESS, &peer(text, id(n)))]);
    let bind = |number: u16, text: &str, n| {
        let number = [&number.to_be_bytes()[..], &[0, 0]].concat();
        Plan::of(
            method::CHANNEL_BIND,
            &[(attribute::CHANNEL_NUMBER, &number), (attribute::XOR_PEER_ADDRESS, &peer(text, id(n)))],
        )
    };
    let plain = allocate(&[]);
    let refresh = |seconds: u32| Plan::of(method::REFRESH, &[(attribute::LIFETIME, &seconds.to_be_bytes())]);
    vec![
        ("binding", vec![Plan { unsigned: true, ..Plan::of(method::BINDING, &[]) }]),
        ("binding, unknown", vec![Plan { unsigned: true, ..Plan::of(method::BINDING, &[(0x7f01, &[1, 2, 3, 4])]) }]),
        ("no credentials", vec![Plan { unsigned: true, ..plain.clone() }]),
        ("wrong password", vec![Plan { wrong_password: true, ..plain.clone() }]),
        ("unknown user", vec![Plan { unknown_user: true, ..plain.clone() }]),
        ("stale nonce", vec![Plan { stale: true, ..plain.clone() }]),
        ("no user", vec![Plan { without: Some(attribute::USERNAME), ..plain.clone() }]),
        ("no realm", vec![Plan { without: Some(attribute::REALM), ..plain.clone() }]),
        ("no nonce", vec![Plan { without: Some(attribute::NONCE), ..plain.clone() }]),
        ("unknown attribute", vec![allocate(&[(0x7f01, &[1, 2, 3, 4])])]),
        ("no transport", vec![Plan::of(method::ALLOCATE, &[])]),
        ("SCTP", vec![Plan::of(method::ALLOCATE, &[(attribute::REQUESTED_TRANSPORT, &[132, 0, 0, 0])])]),
        ("family", vec![allocate(&[(attribute::REQUESTED_ADDRESS_FAMILY, &[9, 0, 0, 0])])]),
        ("token", vec![allocate(&[(attribute::RESERVATION_TOKEN, &[1; 8])])]),
        ("twice", vec![plain.clone(), plain.clone()]),
        ("DONT-FRAGMENT", vec![allocate(&[(attribute::DONT_FRAGMENT, &[])])]),
        ("no allocation", vec![refresh(600), permit(PEER, 2), bind(0x4000, PEER, 3)]),
        ("refresh", vec![plain.clone(), refresh(600), refresh(0), refresh(600)]),
        (
            "permission",
            vec![
                plain.clone(),
                permit(PEER, 2),
                permit(DENIED, 3),
                permit("[2606:4700::1]:1", 4),
                Plan::of(method::CREATE_PERMISSION, &[]),
            ],
        ),
        (
            "channels",
            vec![
                plain.clone(),
                bind(0x4000, PEER, 2),
                bind(0x4000, PEER, 3),
                bind(0x4000, "8.8.4.4:1", 4),
                bind(0x4001, PEER, 5),
                bind(0x3fff, "8.8.4.4:1", 6),
                bind(0x4002, DENIED, 7),
                bind(0x4003, "[2606:4700::1]:1", 8),
                Plan::of(method::CHANNEL_BIND, &[(attribute::CHANNEL_NUMBER, &[0x40, 4, 0, 0])]),
            ],
        ),
    ]
}

#[test]
fn answers_are_those_of_coturn() {
    let Some(mut coturn) = Coturn::start() else { return };
    let mut differ = Vec::new();
    let mut compared = 0;
    for (name, plans) in plans() {
        let at = Instant::now();
        let now = Now { at, unix_s: 1_000 };
        let server = Arc::new(Server::new(Config::default(), b"secret", [1; 32], at));
        let mut session = Session::new(server.clone(), SocketAddr::from(([127, 0, 0, 1], 4000)), true);
        let mut ours = |bytes: &[u8]| {
            let mut out = Vec::new();
            match session.handle(bytes, now, &mut out, &mut Numbered) {
                Outcome::Answered => Some(out),
                _ => None,
            }
        };
        coturn.again();
        let challenge = Plan { unsigned: true, ..Plan::of(method::REFRESH, &[]) };
        let side = |username: String, key, ask: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>| {
            let mut side = Side { username, key, nonce: Vec::new() };
            let answer = ask(&challenge.bytes(&side, [200; 12])).expect("a challenge");
            side.nonce = Message::parse(&answer).and_then(|m| m.get(attribute::NONCE)).expect("a nonce").to_vec();
            side
        };
        let made = server.issuer.issue(CHANNEL, 2_000);
        let our_key = server.issuer.key(Algorithm::Md5, &made.username);
        let our_side = side(made.username, our_key, &mut ours);
        let their_key = Key::long_term(Algorithm::Md5, "user", REALM, "pass");
        let their_side = side("user".to_owned(), their_key, &mut |bytes| coturn.ask(bytes));
        for (n, plan) in plans.iter().enumerate() {
            let id = [n as u8 + 1; 12];
            let answers = (said(ours(&plan.bytes(&our_side, id))), said(coturn.ask(&plan.bytes(&their_side, id))));
            compared += 1;
            let codes = (answers.0.map(|(_, code)| code), answers.1.map(|(_, code)| code));
            let otherwise = OTHERWISE.iter().find(|(list, request, ..)| *list == name && *request == n + 1);
            if let Some((.., here, there)) = otherwise {
                assert_eq!(codes.0, Some(*here), "{name}, request {}", n + 1);
                // Another coturn may have come round.
                assert!([Some(*here), Some(*there)].contains(&codes.1), "{name}, request {}: {:?}", n + 1, codes.1);
            } else if answers.0 != answers.1 {
                differ.push(format!("{name}, request {}: here {:?}, coturn {:?}", n + 1, answers.0, answers.1));
            }
        }
    }
    assert!(compared > 30);
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
