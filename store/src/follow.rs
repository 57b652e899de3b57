//! Following a stream frame by frame while it is live.

use media::{FragmentNumber, Frame, Header, UnixMillis};
use std::sync::Arc;

/// The fragment that a live frame belongs to.
#[derive(Debug)]
pub struct LiveFragment {
    /// Its number: already final while the fragment is still open.
    pub number: FragmentNumber,
    /// The header to read its frames under.
    pub header: Arc<Header>,
    /// Producer time of its first frame.
    pub producer_start: UnixMillis,
    /// Server time at which it began.
    pub server_start: UnixMillis,
}

/// A frame with the fragment it belongs to.
#[derive(Debug)]
pub struct LiveFrame {
    /// The fragment it belongs to.
    pub fragment: Arc<LiveFragment>,
    /// Its index among all frames of the fragment, from 0. Index 0 is a key frame.
    pub index: u32,
    /// The frame.
    pub frame: Frame,
}

/// What a follower is given.
#[derive(Clone, Debug)]
pub enum Followed {
    /// The next frame.
    Frame(Arc<LiveFrame>),
    /// The follower was too slow: this many frames were skipped. What follows starts at a key frame.
    Skipped(u64),
}

/// A live reader of a stream. It starts with the frames of the open fragment from its key frame on (so a new viewer has
/// a picture at once) and never slows the writer: one that is too slow loses frames and is told so.
pub struct Follower {}

impl Follower {
    /// The next frame; waits for it. `None` when the stream is deleted or the store stops. Cancel safe.
    pub async fn next(&mut self) -> Option<Followed> {
        unimplemented!("skeleton")
    }
}
