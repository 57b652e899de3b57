//! Bodies of the fuzz targets `stun_message` and `turn_session`.

use super::Config;
use super::asked::{Family, Opened, Refusal, Relays, Wanted};
use super::server::{Now, Server};
use super::session::{Outcome, Session};
use crate::stun::{Algorithm, Class, HEADER_BYTES, Integrity, Key, MAGIC_COOKIE, Message, Writer, attribute, method};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CHANNEL: &str = "arn:aws:kinesisvideo:us-east-1:1:channel/door/1";

/// A message that can be read says the same when its attributes are written again.
pub fn message(data: &[u8]) {
    let Some(message) = Message::parse(data) else { return };
    assert!(data.len() >= HEADER_BYTES && data[4..8] == MAGIC_COOKIE && data.len().is_multiple_of(4));
    assert!(message.unknown(&[]).len() <= 16);
    assert!(!message.is_signed_by(&Key::new(data)));
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, message.class(), message.method(), message.transaction());
    let kinds = [attribute::USERNAME, attribute::REALM, attribute::NONCE, attribute::DATA, attribute::LIFETIME];
    for kind in kinds {
        if let Some(value) = message.get(kind) {
            writer = writer.attribute(kind, value);
        }
    }
    writer.integrity(&Key::new(b"key"), Integrity::Sha256).fingerprint();
    let again = Message::parse(&out).expect("it was just written");
    assert_eq!((again.class(), again.method()), (message.class(), message.method()));
    assert!(kinds.iter().all(|kind| again.get(*kind) == message.get(*kind)));
    assert!(again.is_signed_by(&Key::new(b"key")));
    let peers = message.addresses(attribute::XOR_PEER_ADDRESS).filter_map(Result::ok).count();
    assert!(peers <= data.len() / 12);
}

/// Relays that only number themselves.
struct Numbered(u16);

impl Relays for Numbered {
    fn open(&mut self, wanted: Wanted) -> Result<Opened, Refusal> {
        self.0 = self.0.wrapping_add(2);
        let ip = if wanted.family == Family::V4 { [192, 0, 2, 1].into() } else { [0x2a00, 0, 0, 0, 0, 0, 0, 1].into() };
        let mut relayed = vec![SocketAddr::new(ip, 49152 + self.0 % 1000)];
        if wanted.both {
            relayed.push(SocketAddr::from(([0x2a00, 0, 0, 0, 0, 0, 0, 1], 49152)));
        }
        Ok(Opened { relayed, missing: None, token: wanted.reserve.then_some([7; 8]) })
    }
}

/// A client's session: pieces of `kind, length (2 bytes), bytes`. Some are taken as they are, some are put into a request that is
/// signed, some let time pass. Whatever comes: unproven answers stay within their bytes, and nothing goes to a special address.
pub fn session(data: &[u8]) {
    let start = Instant::now();
    let config = Config { max_permissions: 4, max_channels: 4, ..Config::default() };
    let server = Arc::new(Server::new(config, b"secret", [1; 32], start));
    let credentials = server.issuer.issue(CHANNEL, 1 << 40);
    let key = server.issuer.key(Algorithm::Md5, &credentials.username);
    let client = SocketAddr::from(([198, 51, 100, 1], 5000));
    let mut session = Session::new(server.clone(), client, true);
    let mut relays = Numbered(0);
    let mut now = Now { at: start, unix_s: 1_700_000_000 };
    let (mut rest, mut excess) = (data, 0usize);
    while let Some((&[kind, high, low], behind)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(behind.len());
        let (piece, next) = behind.split_at(length);
        rest = next;
        let mut signed = Vec::new();
        let of_method = |kind: u8| match kind % 4 {
            0 => method::ALLOCATE,
            1 => method::REFRESH,
            2 => method::CREATE_PERMISSION,
            _ => method::CHANNEL_BIND,
        };
        let (bytes, proven) = match kind {
            0..=99 => (piece, false),
            100..=199 => {
                // Attributes as they are, without what closes a message.
                let mut all = Vec::new();
                Writer::new(&mut all, Class::Request, of_method(kind), [kind; 12]);
                all.extend_from_slice(&piece[..piece.len() / 4 * 4]);
                let length = u16::try_from(all.len() - HEADER_BYTES).unwrap_or(u16::MAX);
                all[2..4].copy_from_slice(&length.to_be_bytes());
                let Some(inner) = Message::parse(&all) else { continue };
                let mut writer = Writer::new(&mut signed, Class::Request, of_method(kind), [kind; 12]);
                for attribute in [
                    attribute::REQUESTED_TRANSPORT,
                    attribute::LIFETIME,
                    attribute::XOR_PEER_ADDRESS,
                    attribute::CHANNEL_NUMBER,
                    attribute::EVEN_PORT,
                    attribute::RESERVATION_TOKEN,
                    attribute::REQUESTED_ADDRESS_FAMILY,
                    attribute::ADDITIONAL_ADDRESS_FAMILY,
                ] {
                    if let Some(value) = inner.get(attribute) {
                        writer = writer.attribute(attribute, value);
                    }
                }
                writer
                    .attribute(attribute::USERNAME, credentials.username.as_bytes())
                    .attribute(attribute::REALM, server.issuer.realm().as_bytes())
                    .attribute(attribute::NONCE, server.nonce(client.ip(), now).as_bytes())
                    .integrity(&key, Integrity::Sha1);
                (&signed[..], true)
            }
            _ => {
                now.at += Duration::from_secs(u64::from(kind - 199) * 10);
                continue;
            }
        };
        let mut out = Vec::new();
        let outcome = match bytes.first() {
            Some(0x40..=0x7f) => session.channel_data(bytes, now.at),
            _ => session.handle(bytes, now, &mut out, &mut relays),
        };
        match outcome {
            Outcome::Send(peer, data) => {
                assert!(session.is_allocated() && data.len() <= bytes.len());
                assert!(!super::special::is_special(peer.ip()) || server.policy().is_relayed(peer), "{peer}");
            }
            Outcome::Answered => {
                let answer = Message::parse(&out).expect("a whole answer");
                assert!(matches!(answer.class(), Class::Success | Class::Error));
                if !proven {
                    excess += out.len().saturating_sub(bytes.len());
                }
            }
            Outcome::Dropped(_) => assert!(out.is_empty()),
        }
    }
    // At most an account's bytes in ten seconds, and some for each proof.
    let renewals = now.at.duration_since(start).as_secs() as usize / 10 + 1;
    assert!(excess <= renewals * (1 << 10) + data.len() * 512, "{excess}");
    drop(session);
    assert_eq!(server.limits().total(), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Attributes, some of which make sense.
    fn attributes() -> impl Strategy<Value = Vec<u8>> {
        let one = prop_oneof![
            Just(vec![0, 0x19, 0, 4, 17, 0, 0, 0]),
            Just(vec![0, 0x0c, 0, 4, 0x40, 1, 0, 0]),
            any::<[u8; 4]>().prop_map(|ip| [&[0, 0x12, 0, 8, 0, 1, 0x21, 0x13][..], &ip].concat()),
            any::<[u8; 2]>().prop_map(|low| vec![0, 0x0d, 0, 4, 0, 0, low[0], low[1]]),
            any::<u8>().prop_map(|kind| vec![0, kind, 0, 0]),
            Just(vec![0, 0x18, 0, 1, 0x80, 0, 0, 0]),
        ];
        prop::collection::vec(one, 0..4).prop_map(|all| all.concat())
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let framed = |(kind, bytes): (u8, Vec<u8>)| {
            [&[kind][..], &u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes(), &bytes].concat()
        };
        let raw = any::<Vec<u8>>().prop_map(|bytes| (0, bytes));
        let data = prop::collection::vec(any::<u8>(), 0..20).prop_map(|b| (0, [&[0x40, 1, 0, 4][..], &b].concat()));
        let binding = any::<[u8; 12]>().prop_map(|id| (0, [&[0, 1, 0, 0][..], &MAGIC_COOKIE, &id].concat()));
        let signed = (100u8..200, attributes());
        let time = (200u8..=255).prop_map(|kind| (kind, Vec::new()));
        prop::collection::vec(prop_oneof![raw, data, binding, signed, time].prop_map(framed), 0..20)
            .prop_map(|all| all.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn sessions_hold_for_any_pieces(pieces in pieces(), bytes: Vec<u8>) {
            session(&pieces);
            session(&bytes);
            message(&bytes);
        }
    }
}
