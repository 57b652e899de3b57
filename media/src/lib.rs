//! Media formats and the fragment model, as pure code.
//!
//! What belongs here: the words every other crate speaks (names, times, fragment numbers, tracks, frames,
//! fragments), and each byte format with its reader and writer (H.264, AAC, Opus, MKV, fMP4, HLS text, RTP payloads).
//!
//! What does not: anything that asks the time, draws randomness, or touches a socket, a file or a task
//! (invariant 9). The caller passes `now` and random bits in.

pub mod aac;
mod bits;
pub mod chunks;
mod describe;
pub mod export;
pub mod fmp4;
pub mod fragment;
pub mod fragmenter;
pub mod frame;
pub mod h264;
pub mod header;
pub mod hevc;
pub mod hls;
pub mod item;
pub mod mkv;
pub mod names;
pub mod number;
pub mod opus;
pub mod rtp;
pub mod time;
pub mod track;

pub use chunks::Chunks;
pub use describe::{codecs, describe};
pub use fragment::{Cause, Event, Fragment, FragmentMeta, Start};
pub use fragmenter::Fragmenter;
pub use frame::Frame;
pub use header::{Header, HeaderId};
pub use item::{Item, Unit};
pub use names::StreamName;
pub use number::FragmentNumber;
pub use time::{UnixMicros, UnixMillis};
pub use track::{Track, TrackKind};

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod purity;
#[cfg(test)]
mod testing;
