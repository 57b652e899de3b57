//! PutMedia: a producer pushes Matroska, and is told what became of each fragment.

pub mod core;

pub use self::core::{Core, ErrorId, Fault, Limits, Mark, Output, Policy, Timecode};
