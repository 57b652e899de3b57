//! Segments as objects of a bucket (S3 and compatibles, Google Cloud Storage, Azure Blob Storage).
//!
//! What belongs here: the configuration, the client and its credentials, the identity of a prefix, putting, reading and listing
//! segments, and the local spool. What does not: gathering groups and telling those who wait ([`crate::pipeline`]).

pub(crate) mod attach;
pub(crate) mod bucket;
pub(crate) mod config;
mod connect;
mod credentials;
pub mod faulty;
mod http;
mod identity;
mod prompt;
mod source;
mod spool;
