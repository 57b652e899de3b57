//! What comes in by WebRTC: a publisher's pictures and sound, out of SRTP packets.
//!
//! ```text
//!  offer    what a publisher offers, and our answer                      (pure)
//!  packet   the head of an RTP packet                                    (pure)
//!  order    packets in the order of their numbers, and which are missing (pure)
//!  twcc     when packets came, told to the sender                        (pure)
//!  core     all of it together: packets in, items and feedback out       (pure, told the time)
//!  queue    items on their way to who records them
//!  publisher  one publisher: its link, its core and its queue
//!  publishers all of them, as the task of the socket keeps them
//! ```
//!
//! What belongs here: receiving. What does not: recording what was received, which `ingest` does as for cameras.

pub(crate) mod core;
pub(crate) mod offer;
pub(crate) mod order;
pub(crate) mod packet;
pub(crate) mod publisher;
pub(crate) mod publishers;
pub(crate) mod queue;
mod twcc;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;

pub use queue::Items;
