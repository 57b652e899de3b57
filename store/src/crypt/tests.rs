#![allow(clippy::unwrap_used)]
use super::config::{Encryption, EncryptionConfig, PREVIOUS_KEY_VARIABLE};
use super::envelope::{self, OpenError, PIECE};
use super::key::{MasterKey, StreamKey, WRAPPED_LEN};
use super::keys::{self, Keys};
use bytes::{Bytes, BytesMut};
use media::{HeaderId, UnixMillis};
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;
use uuid::Uuid;

const STORE: Uuid = Uuid::from_u128(5);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sealed(key: &StreamKey, place: &[u8], salt: u8, plain: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    envelope::encrypt(key, place, &[salt; 16], 9, std::iter::once(plain), &mut out);
    out.freeze()
}

fn master(byte: u8) -> MasterKey {
    MasterKey::parse(&hex(&[byte; 32])).unwrap()
}

fn encryption(key: u8) -> Encryption {
    Encryption { key: Some(master(key)), previous: None, new_recordings: true }
}

/// Worked out by another implementation (Python's `cryptography`): HKDF-Expand and AES-256-GCM of the layout in `envelope.rs`.
#[test]
fn a_known_envelope() {
    let key = StreamKey::new([0x42; 32]);
    let sealed = sealed(&key, b"place", 0x17, b"a key frame of the gate");
    assert_eq!(hex(&sealed), include_str!("known_envelope.hex").trim());
    assert_eq!(envelope::decrypt(&key, b"place", sealed).unwrap(), "a key frame of the gate");
    let wrapped: [u8; WRAPPED_LEN] = std::array::from_fn(|i| {
        let text = include_str!("known_wrapped.hex").trim();
        u8::from_str_radix(&text[i * 2..i * 2 + 2], 16).unwrap()
    });
    let unwrapped = master(0x24).unwrap(STORE, 7, &wrapped).unwrap();
    assert_eq!(unwrapped.id(), key.id());
    assert!(master(0x24).unwrap(STORE, 8, &wrapped).is_none(), "of another stream");
    assert!(master(0x24).unwrap(Uuid::from_u128(6), 7, &wrapped).is_none(), "of another store");
    assert!(master(0x25).unwrap(STORE, 7, &wrapped).is_none());
}

proptest! {
    #[test]
    fn what_was_encrypted_in_any_parts_is_read_back(
        data in proptest::collection::vec(any::<u8>(), 0..600),
        grow in 0usize..4,
        cut in 1usize..5000,
    ) {
        // Some of several pieces, some that end with one.
        let data = [vec![7; PIECE * grow - grow.min(1) * 300], data].concat();
        let key = StreamKey::generate().unwrap();
        let mut out = BytesMut::new();
        envelope::encrypt(&key, b"p", &[1; 16], 3, data.chunks(cut), &mut out);
        prop_assert_eq!(out.len() as u64, envelope::len(data.len() as u64));
        prop_assert!(envelope::is_whole(&out, Some(3)) && !envelope::is_whole(&out, Some(4)));
        prop_assert_eq!(&envelope::decrypt(&key, b"p", out.freeze()).unwrap()[..], &data[..]);
    }

    #[test]
    fn any_byte_that_is_changed_is_noticed_without_a_key_and_with_it(len in 0usize..140_000, at in any::<u32>(), bit in 0u8..8) {
        let key = StreamKey::new([3; 32]);
        let plain = vec![1; len];
        let mut bytes = BytesMut::from(&sealed(&key, b"p", 1, &plain)[..]);
        let at = at as usize % bytes.len();
        bytes[at] ^= 1 << bit;
        prop_assert!(!envelope::is_whole(&bytes, None));
        // One that also makes the checksum right gets no further.
        let opened = envelope::decrypt(&key, b"p", bytes.freeze());
        prop_assert_eq!(opened.is_ok(), (28..32).contains(&at));
    }

    #[test]
    fn foreign_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        envelope::fuzz(&data);
    }
}

#[test]
fn pieces_cannot_be_swapped_left_out_or_put_elsewhere() {
    let key = StreamKey::new([3; 32]);
    let plain: Vec<u8> = (0..3 * PIECE).map(|i| (i / PIECE) as u8).collect();
    let bytes = sealed(&key, b"place", 1, &plain);
    let piece = PIECE + envelope::TAG_LEN;
    let (head, body) = bytes.split_at(envelope::HEAD_LEN);
    let pieces: Vec<&[u8]> = body.chunks(piece).collect();
    let of = |order: &[usize]| {
        let body: Vec<u8> = order.iter().flat_map(|i| pieces[*i].iter().copied()).collect();
        envelope::decrypt(&key, b"place", [head, &body].concat().into())
    };
    assert_eq!(of(&[0, 1, 2]).unwrap(), plain);
    for order in [&[1, 0, 2][..], &[0, 2, 1], &[0, 1], &[0, 1, 2, 2], &[0, 0, 2]] {
        assert_eq!(of(order), Err(OpenError::Forged), "{order:?}");
    }
    assert_eq!(envelope::decrypt(&key, b"elsewhere", bytes.clone()), Err(OpenError::Forged));
    let other = StreamKey::new([4; 32]);
    assert_eq!(envelope::decrypt(&other, b"place", bytes.clone()), Err(OpenError::Key));
    assert_eq!(envelope::decrypt(&key, b"place", bytes.slice(..40)), Err(OpenError::Form));
    // The beginning of one record and the pieces of another.
    let second = sealed(&key, b"place", 2, &plain);
    let mixed = [head, &second[envelope::HEAD_LEN..]].concat();
    assert_eq!(envelope::decrypt(&key, b"place", mixed.into()), Err(OpenError::Forged));
}

#[test]
fn the_same_header_is_the_same_bytes_and_marks_tell_nothing_of_the_content() {
    let (key, other) = (StreamKey::new([3; 32]), StreamKey::new([4; 32]));
    let header = b"\x1a\x45\xdf\xa3 a header";
    let id = HeaderId::of(header);
    let bytes = key.encrypt_header(7, id, header);
    assert_eq!(bytes, key.encrypt_header(7, id, header));
    assert_ne!(bytes, key.encrypt_header(8, id, header));
    assert_eq!(key.decrypt_header(7, id, bytes.clone()).unwrap(), &header[..]);
    assert_eq!(key.decrypt_header(8, id, bytes.clone()), Err(OpenError::Forged));
    assert_eq!(key.decrypt_header(7, HeaderId(1), bytes), Err(OpenError::Forged));
    let mark = |key: &StreamKey, start, crc| key.mark(UnixMillis(start), id, 0, 10, crc);
    assert_eq!(mark(&key, 1, 5), mark(&key, 1, 5));
    let others = [mark(&key, 1, 6), mark(&key, 2, 5), mark(&other, 1, 5)];
    assert!(!others.contains(&mark(&key, 1, 5)));
}

#[test]
fn master_keys_are_read_in_both_forms_and_never_shown() {
    let bytes: [u8; 32] = std::array::from_fn(|i| i as u8 * 7);
    let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
    let key = MasterKey::parse(&format!(" {}\n", hex(&bytes))).unwrap();
    assert_eq!(MasterKey::parse(&base64).unwrap(), key);
    assert_ne!(key.id(), master(1).id());
    let shown = format!("{key:?}");
    assert!(shown.contains(&key.id()) && !shown.contains(&hex(&bytes[..4])), "{shown}");
    for wrong in ["", "00", &hex(&bytes[..31]), &format!("{}zz", hex(&bytes[..31])), &base64[..43], &"é".repeat(32)] {
        assert!(MasterKey::parse(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn a_configuration_names_what_is_wrong_with_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("master");
    let of = |config: &EncryptionConfig, held: &[(&str, &str)]| {
        config.load(|name| held.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    };
    let named = EncryptionConfig { key_file: Some(file.clone()), ..EncryptionConfig::default() };
    assert!(of(&named, &[]).unwrap_err().contains("cannot be read"));
    std::fs::write(&file, hex(&[1; 32]) + "\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    assert!(of(&named, &[]).unwrap_err().contains("chmod 600"));
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(of(&named, &[]).unwrap(), encryption(1));
    let twice = of(&named, &[(super::config::KEY_VARIABLE, "x")]).unwrap_err();
    assert!(twice.contains("both name a key"), "{twice}");
    let none = EncryptionConfig::default();
    assert_eq!(of(&none, &[]).unwrap(), Encryption::default(), "off");
    assert_eq!(of(&none, &[(super::config::KEY_VARIABLE, &hex(&[1; 32]))]).unwrap(), encryption(1));
    let wrong = of(&none, &[(super::config::KEY_VARIABLE, "secret-that-is-none")]).unwrap_err();
    assert!(wrong.contains("64 hexadecimal digits") && !wrong.contains("secret-that"), "{wrong}");
    assert!(of(&none, &[(PREVIOUS_KEY_VARIABLE, &hex(&[1; 32]))]).unwrap_err().contains("beside it"));
    std::fs::write(&file, "abc").unwrap();
    assert!(of(&named, &[]).unwrap_err().contains("holds no key"));
}

#[test]
fn keys_are_kept_wrapped_turned_over_and_destroyed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let open = |encryption: &Encryption| Keys::open(root, STORE, encryption);
    assert!(!open(&Encryption::default()).unwrap().of(1).is_ok_and(|_| true) && !root.join("keys").exists(), "off");
    let first = open(&encryption(1)).unwrap();
    assert!(first.to_encrypt(7).is_none());
    first.make(7).unwrap();
    first.make(8).unwrap();
    let id = first.to_encrypt(7).unwrap().id();
    first.make(7).unwrap();
    assert_eq!(first.of(7).unwrap().id(), id, "made once");
    let file = root.join("keys/0000000000000007.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(root.join("keys")).unwrap().permissions().mode() & 0o777, 0o700);

    // Another master key, or none, and nothing is changed.
    let before = std::fs::read(&file).unwrap();
    for wrong in [encryption(2), Encryption::default()] {
        let error = open(&wrong).err().unwrap();
        assert!(error.is_configuration() && error.to_string().contains(&master(1).id()), "{error}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), before);

    // The previous one is accepted, and no longer needed afterwards.
    let both = Encryption { previous: Some(master(1)), ..encryption(2) };
    assert_eq!(open(&both).unwrap().of(7).unwrap().id(), id);
    assert_ne!(std::fs::read(&file).unwrap(), before);
    let second = open(&encryption(2)).unwrap();
    assert_eq!(second.of(7).unwrap().id(), id);
    let off = open(&Encryption { new_recordings: false, ..encryption(2) }).unwrap();
    assert!(off.to_encrypt(7).is_none() && off.of(7).is_ok(), "read, and not written");
    off.make(9).unwrap();
    assert!(!keys::exists(root, 9));

    second.destroy(7).unwrap();
    second.destroy(7).unwrap();
    assert!(second.of(7).is_err() && second.of(8).is_ok() && !file.exists());
    // A stop in between left zeros, and another one a file without its name.
    std::fs::write(&file, [0; 190]).unwrap();
    std::fs::write(root.join("keys/0000000000000009.new"), &before).unwrap();
    let third = open(&encryption(2)).unwrap();
    assert!(third.of(7).is_err() && third.of(8).is_ok());
    assert_eq!(std::fs::read_dir(root.join("keys")).unwrap().count(), 1);
    // One that is damaged, or of another stream, is named.
    std::fs::copy(root.join("keys/0000000000000008.key"), &file).unwrap();
    let error = open(&encryption(2)).err().unwrap();
    assert!(error.is_configuration() && error.to_string().contains("0000000000000007.key"), "{error}");
}
