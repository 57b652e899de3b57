//! Encryption at rest (`docs/adr/0014-encryption-at-rest.md`): what of a stream lies on a disk or in a bucket under its own key.
//!
//! What belongs here: the form of encrypted bytes ([`envelope`]), keys and what derives from them ([`key`]), where the keys of
//! streams lie ([`keys`]), and which master key the operator names ([`config`]). What does not: which bytes are encrypted; the segment
//! log and the records of alerts say that.

pub mod admin;
pub(crate) mod config;
pub(crate) mod envelope;
pub(crate) mod key;
pub(crate) mod keys;

#[cfg(test)]
mod tests;
