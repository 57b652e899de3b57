//! Durable storage of fragments and of everything the catalog holds.
//!
//! What belongs here: streams, the segment log, the catalog, the live tail, followers (by frame) and readers (by
//! fragment), retention, recovery and `check`; the event log with its outbox; and [`outbound`], the one connector that
//! every outbound connection of the process goes through.
//!
//! What does not: protocols, HTTP, detection.
// Tests inside the crate share the media of those beside it, and say what they skip.
#![cfg_attr(test, allow(clippy::duplicate_mod, clippy::print_stdout))]

#[cfg(test)]
extern crate self as store;

mod ahead;
pub mod archive;
mod budget;
mod catalog;
pub mod check;
mod commit;
mod config;
mod coverage;
mod crypt;
mod deletion;
pub mod documents;
mod doubt;
pub mod error;
pub mod export;
#[cfg(test)]
mod fault_tests;
mod faults;
mod folder;
pub mod follow;
pub mod footprint;
pub mod holds;
mod memory;
pub mod notifications;
mod opening;
mod order;
pub mod outbound;
#[cfg(test)]
mod overlap_tests;
mod pipeline;
mod quarantine;
pub mod quota;
mod recorder;
pub mod records;
mod records_impl;
mod recovery;
mod reserve;
mod retention;
mod rewrite;
mod rewrite_objects;
#[cfg(test)]
mod rewrite_objects_tests;
#[cfg(test)]
mod rewrite_tests;
mod segments;
mod session;
mod state;
mod stats;
mod store_impl;
pub mod stream;
mod stream_deletion;
#[cfg(test)]
mod stream_deletion_tests;
mod tail;
mod tasks;
mod verbatim;
#[cfg(test)]
mod weeks_tests;
mod writer;

pub use budget::BudgetFigures;
pub use config::Config;
pub use crypt::admin as encryption;
pub use crypt::config::{
    Encryption, EncryptionConfig, KEY_VARIABLE, PREVIOUS_KEY_VARIABLE, from_file as master_key_from_file,
};
#[doc(hidden)]
pub use crypt::envelope::fuzz as fuzz_envelope;
pub use crypt::key::MasterKey;
pub use error::{Error, Kind};
#[doc(hidden)]
pub use faults::{BUCKET_POINTS as BUCKET_FAIL_POINTS, POINTS as FAIL_POINTS};
pub use follow::{Followed, Follower, LiveFragment, LiveFrame};
#[doc(hidden)]
pub use object_store;
pub use segments::objects::config::StorageConfig;
#[doc(hidden)]
pub use segments::objects::faulty;
pub use segments::record::{FormatError, fuzz as fuzz_record};
pub use store_impl::{Clock, Notice, Store};
pub use stream::{
    Cursor, Deleted, Durable, ListQuery, Offer, Position, Range, Span, Start, Stream, StreamInfo, StreamStats, TimeBy,
};
pub use verbatim::{MAX_LEAD_BYTES, Verbatim, VerbatimWriter};
pub use writer::Writer;
