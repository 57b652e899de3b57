//! The subcommands, a file each.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod encryption;
pub(crate) mod export;
pub(crate) mod ice_test;
pub(crate) mod identities;
pub(crate) mod serve;
