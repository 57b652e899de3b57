//! PutMedia: a producer pushes Matroska, and is told what became of each fragment.
//!
//! What belongs here: sessions ([`Session`]) from the bytes of a body to acknowledgements, and what they may do ([`Config`]). What
//! does not: HTTP, and who may push (`web`).

pub mod ack;
mod config;
pub mod core;
mod meters;
mod progress;
mod session;
#[cfg(test)]
mod session_tests;
mod topics;

pub use self::core::{Core, ErrorId, Fault, Limits, Mark, Output, Policy, Timecode};
pub use ack::{Ack, Acks};
pub use config::{Config, Request};
pub use session::Session;
pub use topics::Topics;
