//! Signaling channels: who is connected to which channel, and what goes from whom to whom (REFERENCE §5.2, §5.3).
//!
//! What belongs here: [`Core`], a value that is told what happens (a socket connected, text came, time passed …) and says what
//! each socket is to be sent. What does not: sockets, WebSocket frames, credentials, and what is kept of a channel (see
//! `web/src/aws/signaling`). Nothing here asks the time or draws randomness.

mod client_id;
mod config;
mod core;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod mailbox;
mod message;
mod pace;
mod room;
#[cfg(test)]
mod tests;

pub use client_id::{BadClientId, ClientId};
pub use config::Config;
pub use core::{ChannelId, Close, Connect, Core, Frame, NoAnswer, OfferId, Presence, Refusal, Refused, Role, SocketId};
