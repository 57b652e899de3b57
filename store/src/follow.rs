//! Following a stream frame by frame while it is live.
//!
//! All followers of a stream read one ring of frames. The ring always holds the whole open fragment (its bytes are within the
//! byte budget) and, up to a bound, what came before. A follower that the ring has overtaken skips to the newest key frame.

use media::{FragmentNumber, Frame, Header, UnixMillis};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// Frames of earlier fragments are kept for slow followers up to so many bytes …
const RING_BYTES: usize = 8 << 20;
/// … and so many frames.
const RING_FRAMES: usize = 2048;

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
pub struct Follower {
    hub: Arc<Hub>,
    /// Sequence number of the next frame to give.
    next: u64,
}

impl Follower {
    /// The next frame; waits for it. `None` when the stream is deleted or the store stops. Cancel safe.
    pub async fn next(&mut self) -> Option<Followed> {
        let hub = self.hub.clone();
        loop {
            let more = hub.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            {
                let ring = hub.lock();
                if let Some(found) = self.look(&ring) {
                    return Some(found);
                }
                if ring.closed {
                    return None;
                }
            }
            more.await;
        }
    }

    fn look(&mut self, ring: &Ring) -> Option<Followed> {
        if self.next < ring.first {
            // Overtaken. The frames of the newest fragment are all there, so it is a place to start from.
            let resume = ring.newest_start.max(ring.first);
            let skipped = resume - self.next;
            self.next = resume;
            return Some(Followed::Skipped(skipped));
        }
        let frame = ring.frames.get((self.next - ring.first) as usize)?;
        self.next += 1;
        Some(Followed::Frame(frame.clone()))
    }
}

/// The live side of a stream: one ring, any number of followers.
#[derive(Default)]
pub(crate) struct Hub {
    ring: Mutex<Ring>,
    more: Notify,
}

#[derive(Default)]
struct Ring {
    frames: VecDeque<Arc<LiveFrame>>,
    bytes: usize,
    /// Sequence number of the first frame in `frames`.
    first: u64,
    /// The fragment that is shown live: the one that began last. With two sessions at once, frames of the other are not shown.
    newest: Option<FragmentNumber>,
    /// Sequence number of its frame 0.
    newest_start: u64,
    /// Whether it is still open.
    open: bool,
    closed: bool,
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        // The ring is consistent between statements, so a panic elsewhere does not spoil it.
        self.ring.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A new follower: at the open fragment's key frame if there is one, else at what comes next.
    pub(crate) fn follow(self: &Arc<Self>) -> Follower {
        let ring = self.lock();
        let end = ring.first + ring.frames.len() as u64;
        let next = if ring.open { ring.newest_start } else { end };
        Follower { hub: self.clone(), next }
    }

    /// A fragment begins.
    pub(crate) fn begin(&self, fragment: &LiveFragment) {
        let mut ring = self.lock();
        ring.newest = Some(fragment.number);
        ring.newest_start = ring.first + ring.frames.len() as u64;
        ring.open = true;
        ring.trim();
    }

    /// The next frame of a fragment.
    pub(crate) fn push(&self, frame: LiveFrame) {
        {
            let mut ring = self.lock();
            if ring.newest != Some(frame.fragment.number) || ring.closed {
                return;
            }
            ring.bytes += frame.frame.data.len();
            ring.frames.push_back(Arc::new(frame));
            ring.trim();
        }
        self.more.notify_waiters();
    }

    /// A fragment ended or was dropped.
    pub(crate) fn end(&self, number: FragmentNumber) {
        let mut ring = self.lock();
        if ring.newest == Some(number) {
            ring.open = false;
        }
    }

    /// Nothing will follow.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.more.notify_waiters();
    }
}

impl Ring {
    /// Drops the oldest frames over the bounds, but none of the newest fragment.
    fn trim(&mut self) {
        while self.first < self.newest_start && (self.bytes > RING_BYTES || self.frames.len() > RING_FRAMES) {
            let Some(frame) = self.frames.pop_front() else { break };
            self.bytes -= frame.frame.data.len();
            self.first += 1;
        }
    }
}
