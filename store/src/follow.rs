//! Following a stream frame by frame while it is live.
//!
//! All followers of a stream read one ring of frames. The ring always holds the whole open fragment (its bytes are within the
//! byte budget), for those that begin to follow, and, up to a bound, what came before and a follower has not read yet. All rings together
//! have a bound for that, too ([`Rings`]). A follower that the ring has overtaken skips to the newest key frame.

use media::{FragmentNumber, Frame, Header, UnixMillis};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// Frames of earlier fragments are kept for slow followers up to so many bytes …
const RING_BYTES: usize = 8 << 20;
/// … and so many frames.
const RING_FRAMES: usize = 2048;
/// … and so many bytes of all streams together.
pub(crate) const ALL_RINGS_BYTES: usize = 64 << 20;
/// What a frame takes beside its bytes.
const FRAME_BYTES: usize = crate::budget::FRAME_OVERHEAD as usize;

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
    /// Under which the ring has its place.
    id: u64,
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
                let mut ring = hub.lock();
                if let Some(found) = ring.read(self.id) {
                    return Some(found);
                }
                if ring.closed {
                    return None;
                }
            }
            more.await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut ring = self.hub.lock();
        ring.followers.remove(&self.id);
        ring.trim();
    }
}

/// What the rings of all streams hold of fragments that are not open any more, so that the byte budget may not count it.
#[derive(Debug)]
pub(crate) struct Rings {
    bytes: AtomicUsize,
    limit: usize,
}

impl Default for Rings {
    fn default() -> Self {
        Rings { bytes: AtomicUsize::new(0), limit: ALL_RINGS_BYTES }
    }
}

impl Rings {
    /// Bytes that they hold.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
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
    all: Arc<Rings>,
    frames: VecDeque<Arc<LiveFrame>>,
    bytes: usize,
    /// Of them, bytes of the open fragment.
    open_bytes: usize,
    /// What is counted in `all`.
    counted: usize,
    /// Sequence number of the first frame in `frames`.
    first: u64,
    /// Sequence number of the next frame to give, by follower.
    followers: BTreeMap<u64, u64>,
    next_follower: u64,
    /// The fragment that is shown live: the one that began last. With two sessions at once, frames of the other are not shown.
    newest: Option<FragmentNumber>,
    /// Sequence number of its frame 0.
    newest_start: u64,
    /// Whether it is still open.
    open: bool,
    closed: bool,
}

impl Hub {
    /// One whose ring is bounded with these.
    pub(crate) fn new(all: Arc<Rings>) -> Hub {
        let mut ring = Ring::default();
        ring.all = all;
        Hub { ring: Mutex::new(ring), more: Notify::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // The ring is consistent between statements, so a panic elsewhere does not spoil it.
        self.ring.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A new follower: at the open fragment's key frame if there is one, else at what comes next.
    pub(crate) fn follow(self: &Arc<Self>) -> Follower {
        let mut ring = self.lock();
        let next = if ring.open { ring.newest_start } else { ring.end() };
        let id = ring.next_follower;
        ring.next_follower += 1;
        ring.followers.insert(id, next);
        Follower { hub: self.clone(), id }
    }

    /// A fragment begins.
    pub(crate) fn begin(&self, fragment: &LiveFragment) {
        let mut ring = self.lock();
        ring.newest = Some(fragment.number);
        ring.newest_start = ring.end();
        ring.open = true;
        ring.open_bytes = 0;
        ring.trim();
    }

    /// The next frame of a fragment.
    pub(crate) fn push(&self, frame: LiveFrame) {
        {
            let mut ring = self.lock();
            if ring.newest != Some(frame.fragment.number) || ring.closed {
                return;
            }
            ring.bytes += cost(&frame);
            ring.open_bytes += cost(&frame);
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
            ring.open_bytes = 0;
            ring.trim();
        }
    }

    /// Nothing will follow.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.more.notify_waiters();
    }
}

impl Ring {
    /// Sequence number of the next frame to come.
    fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// What comes next for a follower.
    fn read(&mut self, follower: u64) -> Option<Followed> {
        let next = self.followers.get_mut(&follower)?;
        if *next < self.first {
            // Overtaken. The frames of the newest fragment are all there, so it is a place to start from.
            let resume = self.newest_start.max(self.first);
            let skipped = resume - *next;
            *next = resume;
            return Some(Followed::Skipped(skipped));
        }
        let frame = self.frames.get((*next - self.first) as usize)?;
        *next += 1;
        Some(Followed::Frame(frame.clone()))
    }

    /// Drops the oldest frames: those that no follower needs, be it one that comes while a fragment is open, and over the bounds any
    /// that are not of the newest fragment; where all rings together hold too much, that one too, as a whole, once it is not open.
    fn trim(&mut self) {
        let kept = if self.open { self.newest_start } else { self.end() };
        let needed = self.followers.values().copied().min().unwrap_or(u64::MAX).min(kept);
        self.count();
        while self.first < needed || self.first < self.newest_start && self.is_full() {
            if !self.drop_first() {
                break;
            }
        }
        if !self.open && self.all.bytes() > self.all.limit {
            while self.drop_first() {}
        }
    }

    fn drop_first(&mut self) -> bool {
        let Some(frame) = self.frames.pop_front() else { return false };
        self.bytes -= cost(&frame);
        self.first += 1;
        self.count();
        true
    }

    fn is_full(&self) -> bool {
        self.bytes > RING_BYTES || self.frames.len() > RING_FRAMES || self.all.bytes() > self.all.limit
    }

    /// Says what it holds now beside the open fragment.
    fn count(&mut self) {
        let now = self.bytes - self.open_bytes;
        match now.checked_sub(self.counted) {
            Some(more) => self.all.bytes.fetch_add(more, Relaxed),
            None => self.all.bytes.fetch_sub(self.counted - now, Relaxed),
        };
        self.counted = now;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.counted, Relaxed);
    }
}

fn cost(frame: &LiveFrame) -> usize {
    frame.frame.data.len() + FRAME_BYTES
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use bytes::Bytes;
    use media::{FragmentNumber, UnixMicros};

    fn fragment(counter: u64) -> Arc<LiveFragment> {
        let header = media::mkv::write_header(&[]).shared();
        let (producer_start, server_start) = (UnixMillis(0), UnixMillis(0));
        Arc::new(LiveFragment { number: FragmentNumber::new(counter, 0, 0), header, producer_start, server_start })
    }

    fn push(hub: &Hub, fragment: &Arc<LiveFragment>, frames: std::ops::Range<u32>) {
        for index in frames {
            let frame = Frame { track: 1, time: UnixMicros(0), key: index == 0, data: Bytes::from_static(b"frame") };
            hub.push(LiveFrame { fragment: fragment.clone(), index, frame });
        }
    }

    fn held(hub: &Hub) -> (usize, usize) {
        let ring = hub.lock();
        (ring.frames.len(), ring.bytes / (5 + FRAME_BYTES))
    }

    async fn next(follower: &mut Follower) -> (u64, u32) {
        match follower.next().await {
            Some(Followed::Frame(frame)) => (frame.fragment.number.counter(), frame.index),
            other => panic!("no frame but {other:?}"),
        }
    }

    #[tokio::test]
    async fn what_nobody_needs_is_not_held() {
        let hub = Arc::new(Hub::default());
        let [one, two, three] = [1, 2, 3].map(fragment);
        hub.begin(&one);
        push(&hub, &one, 0..3);
        assert_eq!(held(&hub), (3, 3), "for whoever begins to follow");
        let (mut slow, mut fast) = (hub.follow(), hub.follow());
        hub.end(one.number);
        for index in 0..3 {
            assert_eq!(next(&mut fast).await, (1, index));
        }
        hub.begin(&two);
        push(&hub, &two, 0..2);
        assert_eq!(held(&hub), (5, 5), "the slow one has read nothing");
        assert_eq!((next(&mut slow).await, next(&mut slow).await), ((1, 0), (1, 1)));
        push(&hub, &two, 2..3);
        assert_eq!(held(&hub), (4, 4));
        drop(slow);
        assert_eq!(held(&hub), (3, 3));
        // A fragment that another session had open is not shown, and its end changes nothing.
        push(&hub, &one, 3..4);
        hub.end(one.number);
        assert_eq!(held(&hub), (3, 3));
        assert_eq!(next(&mut fast).await, (2, 0));
        hub.end(two.number);
        assert_eq!(held(&hub), (2, 2));
        assert_eq!((next(&mut fast).await, next(&mut fast).await), ((2, 1), (2, 2)));
        drop(fast);
        assert_eq!(held(&hub), (0, 0));
        let mut late = hub.follow();
        hub.begin(&three);
        push(&hub, &three, 0..1);
        assert_eq!(next(&mut late).await, (3, 0));
        drop(late);
        hub.end(three.number);
        assert_eq!(held(&hub), (0, 0));
    }

    #[tokio::test]
    async fn all_rings_together_are_bounded_for_followers_that_do_not_read() {
        let each = 5 + FRAME_BYTES;
        let all = Arc::new(Rings { bytes: AtomicUsize::new(0), limit: 10 * each });
        let hubs: Vec<_> = (0..4).map(|_| Arc::new(Hub::new(all.clone()))).collect();
        let mut slow: Vec<_> = hubs.iter().map(|hub| hub.follow()).collect();
        let one = fragment(1);
        for hub in &hubs {
            hub.begin(&one);
            push(hub, &one, 0..4);
        }
        assert_eq!(all.bytes(), 0, "of open fragments the byte budget knows");
        hubs.iter().for_each(|hub| hub.end(one.number));
        assert_eq!(
            hubs.iter().map(|hub| held(hub).0).collect::<Vec<_>>(),
            [4, 4, 0, 0],
            "the last that ended gave way"
        );
        assert_eq!(all.bytes(), 8 * each);
        // The next fragment is there from its key frame on, and nothing of the one before it where there was no room.
        let two = fragment(2);
        hubs[3].begin(&two);
        push(&hubs[3], &two, 0..3);
        assert!(matches!(slow[3].next().await, Some(Followed::Skipped(4))));
        assert_eq!(next(&mut slow[3]).await, (2, 0));
        // Who reads makes room.
        for index in 0..4 {
            assert_eq!(next(&mut slow[0]).await, (1, index));
        }
        hubs[0].begin(&two);
        assert_eq!(all.bytes(), 4 * each);
        drop((slow, hubs));
        assert_eq!(all.bytes(), 0);
    }
}
