//! Durable storage of fragments and of everything the catalog holds.
//!
//! What belongs here: streams, the segment log, the catalog, the live tail, followers (by frame) and readers (by
//! fragment), retention, recovery and `check`; the event log with its outbox; and [`outbound`], the one connector that
//! every outbound connection of the process goes through.
//!
//! What does not: protocols, HTTP, detection.

pub mod error;
pub mod follow;
pub mod outbound;
pub mod records;
mod store_impl;
pub mod stream;

pub use error::{Error, Kind};
pub use follow::{Followed, Follower, LiveFragment, LiveFrame};
pub use store_impl::{Clock, Config, Notice, Store};
pub use stream::{Durable, Offer, Position, Range, Span, Stream, StreamInfo, StreamStats, Writer};
