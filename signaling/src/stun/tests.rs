//! The test vectors of RFC 5769, and what any message goes through unharmed.

use super::*;
use proptest::prelude::*;
use std::net::SocketAddr;

const REQUEST: &str = "\
000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9b1
51263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
const RESPONSE_V4: &str = "\
0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643000800142b91f599
fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
const RESPONSE_V6: &str = "\
010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5
bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";
const LONG_TERM: &str = "\
000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b900000015001c662f2f3439396b39
353464364f4c33346f4c394653547679363473410014000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a2
8ca89666";
const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}

#[test]
fn rfc_5769_request() {
    let bytes = bytes(REQUEST);
    let message = Message::parse(&bytes).expect("a message");
    assert_eq!((message.class(), message.method()), (Class::Request, method::BINDING));
    assert_eq!(message.text(attribute::USERNAME), Some("evtj:h6vY"));
    assert!(message.is_signed_by(&Key::new(PASSWORD.as_bytes())));
    assert!(!message.is_signed_by(&Key::new(b"another")));
    // PRIORITY is 0x24; SOFTWARE and ICE-CONTROLLED may be ignored.
    assert_eq!(message.unknown(&[attribute::USERNAME, attribute::MESSAGE_INTEGRITY]), [0x24]);
    assert!(matches!(message.u32(0x24), Some(Ok(0x6e00_01ff))));
}

#[test]
fn rfc_5769_responses() {
    for (vector, mapped) in
        [(RESPONSE_V4, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let bytes = bytes(vector);
        let message = Message::parse(&bytes).expect("a message");
        assert_eq!((message.class(), message.method()), (Class::Success, method::BINDING));
        let found: Vec<_> = message.addresses(attribute::XOR_MAPPED_ADDRESS).collect();
        assert_eq!(found, [Ok(mapped.parse().expect("an address"))]);
        assert!(message.is_signed_by(&Key::new(PASSWORD.as_bytes())));
        // The same, written: the vectors pad with spaces, we with zeros, so only the attributes are compared.
        let mut out = Vec::new();
        let key = Key::new(PASSWORD.as_bytes());
        Writer::new(&mut out, Class::Success, method::BINDING, message.transaction())
            .attribute(0x8022, b"test vector")
            .xor(attribute::XOR_MAPPED_ADDRESS, mapped.parse().expect("an address"))
            .integrity(&key, Integrity::Sha1)
            .fingerprint();
        assert_eq!(out.len(), bytes.len());
        let again = Message::parse(&out).expect("its fingerprint fits");
        assert!(again.is_signed_by(&key));
        for kind in [0x8022, attribute::XOR_MAPPED_ADDRESS] {
            assert_eq!(again.get(kind), message.get(kind));
        }
    }
}

#[test]
fn rfc_5769_long_term() {
    let bytes = bytes(LONG_TERM);
    let message = Message::parse(&bytes).expect("a message");
    let username = message.text(attribute::USERNAME).expect("a user name");
    assert_eq!(username, "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}");
    assert_eq!(message.text(attribute::NONCE), Some("f//499k954d6OL34oL9FSTvy64sA"));
    let key = Key::long_term(Algorithm::Md5, username, message.text(attribute::REALM).expect("a realm"), "TheMatrIX");
    assert!(message.is_signed_by(&key));
    assert!(!message.is_signed_by(&Key::long_term(Algorithm::Sha256, username, "example.org", "TheMatrIX")));
}

/// RFC 8489, appendix B.1, is the request of 2.4 with USERHASH and SHA-256 in place of the name and SHA-1.
#[test]
fn rfc_8489_userhash() {
    let username = "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}";
    let expected = bytes("4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704");
    assert_eq!(userhash(username, "example.org")[..], expected[..]);
}

#[test]
fn a_bit_that_changed_shows() {
    let whole = bytes(REQUEST);
    let key = Key::new(PASSWORD.as_bytes());
    // All that precedes FINGERPRINT.
    for at in 0..whole.len() - 8 {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        assert!(Message::parse(&bent).is_none_or(|m| !m.is_signed_by(&key)), "byte {at}");
    }
    for end in 0..whole.len() {
        assert!(Message::parse(&whole[..end]).is_none(), "cut at {end}");
    }
}

#[test]
fn what_stands_behind_the_signature_does_not_count() {
    let key = Key::new(b"key");
    let mut out = Vec::new();
    Writer::new(&mut out, Class::Request, method::ALLOCATE, [1; 12])
        .integrity(&key, Integrity::Sha1)
        .attribute(attribute::USERNAME, b"smuggled")
        .integrity(&key, Integrity::Sha256)
        .attribute(attribute::REALM, b"smuggled");
    let message = Message::parse(&out).expect("a message");
    assert_eq!((message.get(attribute::USERNAME), message.get(attribute::REALM)), (None, None));
    assert_eq!(message.integrity(), Some(Integrity::Sha256));
    assert!(message.is_signed_by(&key));
}

#[test]
fn sha_256_may_be_cut_to_16_bytes_and_no_further() {
    let key = Key::new(b"key");
    for length in [12, 16, 17, 20, 28, 32] {
        let mut out = Vec::new();
        Writer::new(&mut out, Class::Request, method::REFRESH, [1; 12])
            .attribute(attribute::MESSAGE_INTEGRITY_SHA256, &vec![0; length]);
        let tag = key.sign(true, &out[..HEADER_BYTES], u16::try_from(length + 4).expect("small"));
        out[HEADER_BYTES + 4..HEADER_BYTES + 4 + length].copy_from_slice(&tag.as_ref()[..length]);
        let signed = Message::parse(&out).is_some_and(|m| m.is_signed_by(&key));
        assert_eq!(signed, [16, 20, 28, 32].contains(&length), "{length}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        method in 0u16..0x1000,
        class in prop::sample::select(vec![Class::Request, Class::Indication, Class::Success, Class::Error]),
        transaction: [u8; 12],
        attributes in prop::collection::vec((0x8030u16..0x9000, prop::collection::vec(any::<u8>(), 0..50)), 0..6),
        addr: SocketAddr,
        before in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let key = Key::new(b"key");
        let mut out = before.clone();
        let mut writer = Writer::new(&mut out, class, method, transaction).xor(attribute::XOR_PEER_ADDRESS, addr);
        for (kind, value) in &attributes {
            writer = writer.attribute(*kind, value);
        }
        writer.error(438, "why").integrity(&key, Integrity::Sha1).integrity(&key, Integrity::Sha256).fingerprint();
        let message = Message::parse(&out[before.len()..]).expect("a message");
        prop_assert_eq!((message.class(), message.method(), message.transaction()), (class, method, transaction));
        for (kind, _) in &attributes {
            let first = attributes.iter().find(|(k, _)| k == kind).map(|(_, value)| &value[..]);
            prop_assert_eq!(message.get(*kind), first);
        }
        let plain = SocketAddr::new(addr.ip(), addr.port());
        prop_assert_eq!(message.addresses(attribute::XOR_PEER_ADDRESS).collect::<Vec<_>>(), vec![Ok(plain)]);
        prop_assert_eq!(message.get(attribute::ERROR_CODE), Some(&[0, 0, 4, 38, b'w', b'h', b'y'][..]));
        prop_assert!(message.is_signed_by(&key));
    }
}
