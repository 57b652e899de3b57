//! STUN messages (RFC 8489): a reader that copies nothing, and a writer.
//!
//! What belongs here: the form of messages, their attributes and their checks. What does not: what a server does with them
//! (`turn`), and connectivity checks (`ice`).

mod address;
mod integrity;
mod message;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use address::{read_xor, write_xor};
pub(crate) use integrity::{Algorithm, Key, userhash};
pub(crate) use message::{Integrity, Message};
pub(crate) use write::Writer;

/// What tells STUN from what shares its port (RFC 8489 §5).
pub(crate) const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Bytes before the attributes.
pub(crate) const HEADER_BYTES: usize = 20;

/// What a message is within its transaction (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// Methods (RFC 8489 §18.2, RFC 8656 §17).
pub(crate) mod method {
    pub(crate) const BINDING: u16 = 0x001;
    pub(crate) const ALLOCATE: u16 = 0x003;
    pub(crate) const REFRESH: u16 = 0x004;
    pub(crate) const SEND: u16 = 0x006;
    pub(crate) const DATA: u16 = 0x007;
    pub(crate) const CREATE_PERMISSION: u16 = 0x008;
    pub(crate) const CHANNEL_BIND: u16 = 0x009;
}

/// Attributes (RFC 8489 §18.3, RFC 8656 §18). Those below 0x8000 must be understood by whom they are sent to.
pub(crate) mod attribute {
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(crate) const CHANNEL_NUMBER: u16 = 0x000c;
    pub(crate) const LIFETIME: u16 = 0x000d;
    pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(crate) const DATA: u16 = 0x0013;
    pub(crate) const REALM: u16 = 0x0014;
    pub(crate) const NONCE: u16 = 0x0015;
    pub(crate) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(crate) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub(crate) const EVEN_PORT: u16 = 0x0018;
    pub(crate) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(crate) const DONT_FRAGMENT: u16 = 0x001a;
    pub(crate) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub(crate) const PASSWORD_ALGORITHM: u16 = 0x001d;
    pub(crate) const USERHASH: u16 = 0x001e;
    pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(crate) const RESERVATION_TOKEN: u16 = 0x0022;
    pub(crate) const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
    pub(crate) const ADDRESS_ERROR_CODE: u16 = 0x8001;
    pub(crate) const PASSWORD_ALGORITHMS: u16 = 0x8002;
    pub(crate) const FINGERPRINT: u16 = 0x8028;
}
