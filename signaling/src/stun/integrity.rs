//! Keys and checksums: what proves who sent a message, and that it is one (RFC 8489 §9, §14.5 to §14.7).

use md5::{Digest as _, Md5};
use ring::{digest, hmac};
use std::fmt;

/// How a key comes of a password (RFC 8489 §18.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    /// All, as PASSWORD-ALGORITHMS lists them: number and length of parameters, which they have not.
    pub(crate) const LIST: [u8; 8] = [0, 1, 0, 0, 0, 2, 0, 0];

    /// Of the value of PASSWORD-ALGORITHM.
    pub(crate) fn of(value: &[u8]) -> Option<Algorithm> {
        match value {
            [0, 1, 0, 0] => Some(Algorithm::Md5),
            [0, 2, 0, 0] => Some(Algorithm::Sha256),
            _ => None,
        }
    }
}

/// What two sides share, for both integrity attributes.
#[derive(Clone)]
pub(crate) struct Key {
    sha1: hmac::Key,
    sha256: hmac::Key,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Of the short-term mechanism, or of bytes that are a key already.
    pub(crate) fn new(bytes: &[u8]) -> Key {
        Key {
            sha1: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, bytes),
            sha256: hmac::Key::new(hmac::HMAC_SHA256, bytes),
        }
    }

    /// Of the long-term mechanism (RFC 8489 §9.2.2). The strings are taken as prepared, which all of ASCII is.
    pub(crate) fn long_term(algorithm: Algorithm, username: &str, realm: &str, password: &str) -> Key {
        let parts = [username.as_bytes(), b":", realm.as_bytes(), b":", password.as_bytes()];
        match algorithm {
            Algorithm::Md5 => {
                let mut hash = Md5::new();
                parts.iter().for_each(|part| hash.update(part));
                Key::new(&hash.finalize())
            }
            Algorithm::Sha256 => {
                let mut hash = digest::Context::new(&digest::SHA256);
                parts.iter().for_each(|part| hash.update(part));
                Key::new(hash.finish().as_ref())
            }
        }
    }

    /// The HMAC of a message up to its integrity attribute, whose header counts `length`: with or without SHA-256.
    pub(super) fn sign(&self, sha256: bool, before: &[u8], length: u16) -> hmac::Tag {
        let mut context = hmac::Context::with_key(if sha256 { &self.sha256 } else { &self.sha1 });
        let (head, rest) = before.split_at(before.len().min(2));
        context.update(head);
        context.update(&length.to_be_bytes());
        context.update(rest.get(2..).unwrap_or_default());
        context.sign()
    }
}

/// What stands for a user name that is not to be read on the way (RFC 8489 §14.4).
pub(crate) fn userhash(username: &str, realm: &str) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    [username.as_bytes(), b":", realm.as_bytes()].iter().for_each(|part| hash.update(part));
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}

/// Tables of CRC-32 (ISO 3309), made while this is compiled.
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut crc, mut bit) = (n as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

/// FINGERPRINT of a message up to it, whose header counts `length` (RFC 8489 §14.7).
pub(super) fn fingerprint(before: &[u8], length: u16) -> u32 {
    let step = |crc: u32, byte: u8| CRC[usize::from(crc as u8 ^ byte)] ^ (crc >> 8);
    let head = before.iter().take(2).copied().chain(length.to_be_bytes());
    let crc = head.chain(before.iter().skip(4).copied()).fold(!0, step);
    !crc ^ 0x5354_554e
}
