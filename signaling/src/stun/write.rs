//! Writes a message behind what a buffer holds already.

use super::integrity::fingerprint;
use super::{Class, HEADER_BYTES, Integrity, Key, MAGIC_COOKIE, attribute, write_xor};
use std::net::SocketAddr;

/// A message that is being written. Its header counts what it has at each moment.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    transaction: [u8; 12],
}

impl<'a> Writer<'a> {
    /// Begins one.
    pub(crate) fn new(out: &'a mut Vec<u8>, class: Class, method: u16, transaction: [u8; 12]) -> Self {
        let class = match class {
            Class::Request => 0,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        let word = (method & 0xf80) << 2 | (method & 0x070) << 1 | method & 0x00f | class;
        let start = out.len();
        out.extend_from_slice(&word.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&MAGIC_COOKIE);
        out.extend_from_slice(&transaction);
        Writer { out, start, transaction }
    }

    /// Adds an attribute of up to 65535 bytes; a longer one is cut.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(&value[..usize::from(length)]);
        let padding = usize::from(length).next_multiple_of(4) - usize::from(length);
        self.out.extend_from_slice(&[0; 3][..padding]);
        self.count(0);
        self
    }

    /// Adds a number.
    pub(crate) fn u32(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Adds an address.
    pub(crate) fn xor(self, kind: u16, addr: SocketAddr) -> Self {
        let (value, length) = write_xor(addr, self.transaction);
        self.attribute(kind, &value[..length])
    }

    /// Adds an error (RFC 8489 §14.8).
    pub(crate) fn error(self, code: u16, reason: &str) -> Self {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.attribute(attribute::ERROR_CODE, &value)
    }

    /// Signs all that is there.
    pub(crate) fn integrity(mut self, key: &Key, which: Integrity) -> Self {
        let sha256 = which == Integrity::Sha256;
        let (kind, bytes) = match sha256 {
            true => (attribute::MESSAGE_INTEGRITY_SHA256, 32),
            false => (attribute::MESSAGE_INTEGRITY, 20),
        };
        let length = self.count(4 + bytes);
        let tag = key.sign(sha256, &self.out[self.start..], length);
        self.attribute(kind, tag.as_ref())
    }

    /// Adds the checksum, which is the last of all.
    pub(crate) fn fingerprint(mut self) -> Self {
        let length = self.count(8);
        let value = fingerprint(&self.out[self.start..], length);
        self.u32(attribute::FINGERPRINT, value)
    }

    /// Writes into the header how long the attributes are with so many bytes more.
    fn count(&mut self, more: usize) -> u16 {
        let length = u16::try_from(self.out.len() - self.start - HEADER_BYTES + more).unwrap_or(u16::MAX);
        self.out[self.start + 2..self.start + 4].copy_from_slice(&length.to_be_bytes());
        length
    }
}
