//! RTP payloads: what goes between the RTP header and the end of the packet.
//!
//! What does not belong here: RTP headers, sequence numbers and SRTP, which the senders in `signaling` own.

pub mod assembler;
pub mod h264;
pub mod sound;
