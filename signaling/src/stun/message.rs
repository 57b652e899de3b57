//! A message as it came, its form checked once.
//!
//! ```text
//!  0                   1                   2                   3
//! |0 0|  class and method         |  length of the attributes     |
//! |                          magic cookie                         |
//! |                     transaction id (96 bits)                  |
//! |  type of an attribute         |  its length                   |
//! |  its value, up to a multiple of 4                             |
//! ```

use super::integrity::fingerprint;
use super::{Class, HEADER_BYTES, Key, MAGIC_COOKIE, attribute, read_xor};
use std::net::SocketAddr;
use subtle::ConstantTimeEq;

/// A well-formed message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
}

/// Which integrity attribute a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Integrity {
    Sha1,
    Sha256,
}

/// An attribute, and where in the message it begins.
#[derive(Clone, Copy, Debug)]
struct Attribute<'a> {
    kind: u16,
    value: &'a [u8],
    at: usize,
}

impl<'a> Message<'a> {
    /// The message that these bytes are, all of them. `None` for what is none, is cut short or too long, or has a FINGERPRINT
    /// that does not fit: it is something else then.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Message<'a>> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] & 0xc0 != 0 || header[4..8] != MAGIC_COOKIE || rest.len() != length || length % 4 != 0 {
            return None;
        }
        let message = Message { bytes };
        let mut walked = HEADER_BYTES;
        for attribute in message.all() {
            walked = attribute.at + 4 + attribute.value.len().next_multiple_of(4);
            if attribute.kind == attribute::FINGERPRINT {
                let value: [u8; 4] = attribute.value.try_into().ok()?;
                let length = u16::try_from(attribute.at + 8 - HEADER_BYTES).ok()?;
                if walked != bytes.len() || u32::from_be_bytes(value) != fingerprint(&bytes[..attribute.at], length) {
                    return None;
                }
            }
        }
        (walked == bytes.len()).then_some(message)
    }

    /// The whole message.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What it is within its transaction.
    pub(crate) fn class(&self) -> Class {
        match (self.bytes[0] & 1, self.bytes[1] & 0x10) {
            (0, 0) => Class::Request,
            (0, _) => Class::Indication,
            (_, 0) => Class::Success,
            _ => Class::Error,
        }
    }

    /// What it is about (`stun::method`).
    pub(crate) fn method(&self) -> u16 {
        let word = u16::from_be_bytes([self.bytes[0], self.bytes[1]]);
        (word & 0x3e00) >> 2 | (word & 0x00e0) >> 1 | word & 0x000f
    }

    /// The transaction id.
    pub(crate) fn transaction(&self) -> [u8; 12] {
        std::array::from_fn(|i| self.bytes[8 + i])
    }

    /// The value of the first attribute of this kind.
    pub(crate) fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find(|a| a.kind == kind).map(|a| a.value)
    }

    /// The same, as text.
    pub(crate) fn text(&self, kind: u16) -> Option<&'a str> {
        self.get(kind).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The same, as a number of 32 bits.
    pub(crate) fn u32(&self, kind: u16) -> Option<Result<u32, Malformed>> {
        self.get(kind).map(|value| value.try_into().map(u32::from_be_bytes).map_err(|_| Malformed))
    }

    /// The addresses of all attributes of this kind; `Malformed` for a value that is none.
    pub(crate) fn addresses(&self, kind: u16) -> impl Iterator<Item = Result<SocketAddr, Malformed>> + use<'a> {
        let transaction = self.transaction();
        let of_kind = self.attributes().filter(move |a| a.kind == kind);
        of_kind.map(move |a| read_xor(a.value, transaction).ok_or(Malformed))
    }

    /// Kinds that have to be understood and are not `known`, in order, each once.
    pub(crate) fn unknown(&self, known: &[u16]) -> Vec<u16> {
        let mut unknown = Vec::new();
        for kind in self.attributes().map(|a| a.kind).filter(|kind| *kind < 0x8000 && !known.contains(kind)) {
            // Whoever sends more than these learns of the others next time: an answer is to stay small.
            if !unknown.contains(&kind) && unknown.len() < 16 {
                unknown.push(kind);
            }
        }
        unknown
    }

    /// Which integrity attribute there is: the stronger, of two.
    pub(crate) fn integrity(&self) -> Option<Integrity> {
        let has = |kind| self.get(kind).is_some();
        match (has(attribute::MESSAGE_INTEGRITY_SHA256), has(attribute::MESSAGE_INTEGRITY)) {
            (true, _) => Some(Integrity::Sha256),
            (false, true) => Some(Integrity::Sha1),
            (false, false) => None,
        }
    }

    /// Whether the integrity attribute that [`Message::integrity`] names was made with this key. SHA-256 may be cut down to 16
    /// bytes (RFC 8489 §14.6).
    pub(crate) fn is_signed_by(&self, key: &Key) -> bool {
        let (kind, sha256) = match self.integrity() {
            Some(Integrity::Sha1) => (attribute::MESSAGE_INTEGRITY, false),
            Some(Integrity::Sha256) => (attribute::MESSAGE_INTEGRITY_SHA256, true),
            None => return false,
        };
        let Some(Attribute { value, at, .. }) = self.attributes().find(|a| a.kind == kind) else { return false };
        let fits = if sha256 { (16..=32).contains(&value.len()) && value.len() % 4 == 0 } else { value.len() == 20 };
        let Ok(length) = u16::try_from(at + 4 + value.len() - HEADER_BYTES) else { return false };
        let tag = key.sign(sha256, &self.bytes[..at], length);
        fits && tag.as_ref()[..value.len()].ct_eq(value).into()
    }

    /// The attributes that count: behind an integrity attribute only a stronger one and FINGERPRINT do (RFC 8489 §14.5).
    fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let mut signed = 0u8;
        self.all().filter(move |attribute| match attribute.kind {
            attribute::MESSAGE_INTEGRITY => {
                signed == 0 && {
                    signed = 1;
                    true
                }
            }
            attribute::MESSAGE_INTEGRITY_SHA256 => {
                signed < 2 && {
                    signed = 2;
                    true
                }
            }
            attribute::FINGERPRINT => true,
            _ => signed == 0,
        })
    }

    /// All attributes, as far as they fit into the message.
    fn all(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let bytes = self.bytes;
        let mut at = HEADER_BYTES;
        std::iter::from_fn(move || {
            let head = bytes.get(at..at + 4)?;
            let (kind, length) = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
            let value = bytes.get(at + 4..at + 4 + usize::from(length))?;
            let attribute = Attribute { kind, value, at };
            at += 4 + usize::from(length).next_multiple_of(4);
            Some(attribute)
        })
    }
}

/// An attribute whose value has not the form of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;
