//! Media as a response body: the slices of [`Chunks`] are written as they lie, under an exact `Content-Length`.
//!
//! A body holds its media in memory until its client has read it. So the bytes of all bodies are bounded, of each key too, and a
//! body that its client leaves lying, or takes more slowly than it may, is given up ([`Pace`](crate::pace)).

use crate::{
    auth::access::Principal,
    error::Error,
    pace::{Hold, Pace},
    serve::Cut,
};
use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use media::Chunks;
use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
    time::Instant,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Media on its way to clients, in KiB: as much as the byte budget of what comes in, within these. A fourth of it is for those who
/// come by playback tokens; half is for bodies without a known end, whose clients may hold theirs for as long as they read slowly.
const LEAST_KIB: usize = 16 << 10;
const MOST_KIB: usize = 512 << 10;
/// The most bytes that are given to a connection at a time. A client that takes so much in time is one that still reads.
pub(crate) const LONGEST_PIECE: usize = 256 << 10;

/// A bound in KiB.
struct Bound {
    kib: usize,
    free: Arc<Semaphore>,
}

impl Bound {
    fn new(kib: usize) -> Self {
        Bound { kib, free: Arc::new(Semaphore::new(kib)) }
    }
    /// What is larger than the bound waits until it can go alone.
    fn take(&self, bytes: u64) -> Option<Part> {
        let permit = self.free.clone().try_acquire_many_owned(self.permits(bytes)).ok()?;
        Some(Part { of_kib: self.kib, permit })
    }
    async fn wait(&self, bytes: u64) -> Part {
        let taken = self.free.clone().acquire_many_owned(self.permits(bytes)).await;
        Part { of_kib: self.kib, permit: taken.expect("the semaphore is never closed") }
    }
    fn permits(&self, bytes: u64) -> u32 {
        let kib = usize::try_from(bytes.div_ceil(1024)).unwrap_or(self.kib).clamp(1, self.kib);
        u32::try_from(kib).unwrap_or(u32::MAX)
    }
}

/// What was taken of a bound.
struct Part {
    of_kib: usize,
    permit: OwnedSemaphorePermit,
}

impl Part {
    /// Whether less than an eighth of the bound is left.
    fn is_scarce(&self) -> bool {
        self.permit.semaphore().available_permits() < self.of_kib / 8
    }
}

/// A bound for each key: half of what they share, so that none has all of it.
struct Bounds {
    kib: usize,
    of: Mutex<HashMap<String, Arc<Bound>>>,
}

impl Bounds {
    fn half_of(kib: usize) -> Self {
        Bounds { kib: kib / 2, of: Mutex::default() }
    }
    fn of(&self, principal: &Principal) -> Arc<Bound> {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody waits for it, and nobody holds any of it.
        all.retain(|_, bound| Arc::strong_count(bound) > 1 || bound.free.available_permits() < bound.kib);
        all.entry(principal.holder()).or_insert_with(|| Arc::new(Bound::new(self.kib))).clone()
    }
}

/// Room for one body among all.
pub(crate) struct Room {
    parts: Vec<Part>,
}

impl Room {
    /// Whether others may have to wait, or are refused, because of what is held.
    pub(crate) fn is_scarce(&self) -> bool {
        self.parts.iter().any(Part::is_scarce)
    }
}

/// The media that is on its way to clients.
pub(crate) struct Sending {
    all: Bound,
    of_keys: Bounds,
    by_token: Bound,
    endless: Bound,
    endless_of_keys: Bounds,
    bodies: Mutex<Vec<Weak<Slot>>>,
    holds: Mutex<Vec<Weak<Hold>>>,
}

impl Default for Sending {
    fn default() -> Self {
        Self::within(u64::MAX)
    }
}

impl Sending {
    /// Beside a byte budget of so many bytes.
    pub(crate) fn within(budget_bytes: u64) -> Self {
        let kib = usize::try_from(budget_bytes / 1024).unwrap_or(MOST_KIB).clamp(LEAST_KIB, MOST_KIB);
        Self::new(kib, kib / 4, kib / 2)
    }

    /// Bytes that bodies hold or have asked for, and the most that they may.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let held_kib = self.all.kib - self.all.free.available_permits();
        (held_kib as u64 * 1024, self.all.kib as u64 * 1024)
    }

    fn new(kib: usize, by_token_kib: usize, endless_kib: usize) -> Self {
        Sending {
            all: Bound::new(kib),
            of_keys: Bounds::half_of(kib),
            by_token: Bound::new(by_token_kib),
            endless: Bound::new(endless_kib),
            endless_of_keys: Bounds::half_of(endless_kib),
            bodies: Mutex::default(),
            holds: Mutex::default(),
        }
    }

    /// Room for a body, asked for before its media is read.
    ///
    /// # Errors
    /// 503 `busy` when there is none.
    pub(crate) fn room(&self, bytes: u64, of: &Principal) -> Result<Room, Error> {
        let part = match of {
            Principal::Playback(_) => self.by_token.take(bytes),
            Principal::Root(_) | Principal::Identity(_) => self.of_keys.of(of).take(bytes),
        };
        part.and_then(|part| Some(Room { parts: vec![part, self.all.take(bytes)?] })).ok_or_else(|| {
            metrics::counter!("vidicon_http_media_refused_total").increment(1);
            Error::unavailable("busy", "too much media is on its way to clients", 2)
        })
    }

    /// Room for a part of a body that has begun: waits until there is some.
    pub(crate) async fn wait_for_room(&self, bytes: u64, of: &Principal) -> Room {
        // In this order, so that nothing of a whole is held while a part of it is waited for.
        let bound = self.endless_of_keys.of(of);
        let own = bound.wait(bytes).await;
        let part = self.endless.wait(bytes).await;
        Room { parts: vec![own, part, self.all.wait(bytes).await] }
    }

    /// Watches over a part of a body without a known end. Its connection is cut once its client takes it too slowly.
    pub(crate) fn hold(&self, room: Room, bytes: u64, cut: Cut) -> Arc<Hold> {
        let hold = Arc::new(Hold::new(room, bytes, cut));
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&hold));
        hold
    }

    /// An answer whose body is these chunks, no byte copied.
    pub(crate) fn answer(&self, content_type: &'static str, chunks: Chunks, room: Room) -> Response {
        let left = chunks.len() as u64;
        let pace = Pace::begin(left, Instant::now());
        let slot = Arc::new(Slot::new(Some(Held { chunks, next: 0, at: 0, pace, room })));
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&slot));
        let mut response = Body::new(ChunksBody { slot, left }).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(left));
        response
    }

    /// Gives up the bodies that their clients leave lying or take too slowly; to be called every few seconds.
    pub(crate) fn end_stalled(&self, now: Instant) {
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.retain(|slot| {
            let Some(slot) = slot.upgrade() else { return false };
            let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
            let late = held.as_ref().is_none_or(|held| held.pace.is_late(now, held.room.is_scarce()));
            if late {
                *held = None;
            }
            !late
        });
        drop(bodies);
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.retain(|hold| hold.upgrade().is_some_and(|hold| !hold.cut_if_late(now)));
    }
}

/// What a body still has to send; nothing once it is sent or given up.
type Slot = Mutex<Option<Held>>;

struct Held {
    chunks: Chunks,
    /// What is given next: a part, and where in it.
    next: usize,
    at: usize,
    pace: Pace,
    room: Room,
}

impl Held {
    /// The next piece of at most [`LONGEST_PIECE`] bytes.
    fn piece(&mut self) -> Option<Bytes> {
        self.pace.gave(Instant::now());
        loop {
            let rest = self.chunks.parts().get(self.next)?.slice(self.at..);
            let piece = rest.slice(..rest.len().min(LONGEST_PIECE));
            self.at += piece.len();
            if piece.len() == rest.len() {
                (self.next, self.at) = (self.next + 1, 0);
            }
            if !piece.is_empty() {
                return Some(piece);
            }
        }
    }
}

struct ChunksBody {
    slot: Arc<Slot>,
    left: u64,
}

impl hyper::body::Body for ChunksBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let part = self.slot.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(Held::piece);
        let Some(part) = part else {
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the client read too slowly"))));
        };
        self.left = self.left.saturating_sub(part.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(part))))
    }
    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Marks an answer as never changing: a private cache may keep it for as long as its reader's credentials are the same.
pub(crate) fn immutable(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
    headers.insert(header::VARY, HeaderValue::from_static("authorization, cookie"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        auth::{identity::Identity, token::Playback},
        pace,
    };
    use http_body_util::BodyExt;
    use media::UnixMillis;
    use std::time::Duration;

    fn key(id: &str) -> Principal {
        Principal::Identity(Arc::new(Identity { access_key_id: id.into(), ..Identity::default() }))
    }
    fn token() -> Principal {
        let range = store::Range { from: UnixMillis(0), to: UnixMillis(1) };
        Principal::Playback(Playback { stream: 1, range, expires_at: UnixMillis(1) })
    }
    const ROOT: Principal = Principal::Root(None);

    #[tokio::test]
    async fn slices_go_out_as_they_are_and_the_length_is_told() {
        let (one, two) = (Bytes::from_static(b"one"), Bytes::from(vec![7; LONGEST_PIECE + 100]));
        let chunks: Chunks = [one.clone(), Bytes::new(), two.clone()].into_iter().collect();
        let sending = Sending::default();
        let len = chunks.len() as u64;
        let response = sending.answer("video/mp4", chunks, sending.room(len, &ROOT).unwrap());
        assert_eq!(response.headers()[header::CONTENT_LENGTH], len.to_string());
        let mut body = response.into_body();
        let mut piece = async || body.frame().await.map(|frame| frame.unwrap().into_data().unwrap());
        let (first, second, third) = (piece().await.unwrap(), piece().await.unwrap(), piece().await.unwrap());
        assert_eq!((first.as_ptr(), second.as_ptr()), (one.as_ptr(), two.as_ptr()), "not copied");
        assert_eq!((second.len(), third.as_ptr()), (LONGEST_PIECE, two[LONGEST_PIECE..].as_ptr()));
        assert!(third.len() == 100 && piece().await.is_none());
    }

    #[tokio::test]
    async fn bodies_are_bounded_together_and_stalled_ones_end() {
        let sending = Sending::new(120, 40, 60);
        assert_eq!(sending.bytes(), (0, 120 << 10));
        let busy = |bytes, of: &Principal| sending.room(bytes, of).map_err(|e| (e.status.as_u16(), e.code)).err();
        let (refused, token) = (Some((503, "busy")), token());
        let part = || Bytes::from(vec![0; 20 << 10]);
        let two = || [part(), part()].into_iter().collect::<Chunks>();
        let room = sending.room(40 << 10, &token).unwrap();
        assert_eq!((busy(1, &token), busy(60 << 10, &ROOT)), (refused, None));
        assert_eq!(sending.bytes().0, 40 << 10);
        let mut read = sending.answer("video/mp4", two(), room).into_body();
        let left_lying = sending.answer("video/mp4", two(), sending.room(60 << 10, &ROOT).unwrap()).into_body();
        assert_eq!((busy(1, &ROOT), busy(20 << 10, &key("a"))), (refused, None), "a key has no more than half");
        assert_eq!(busy(21 << 10, &key("a")), refused, "of all");
        sending.end_stalled(Instant::now());
        assert_eq!(busy(1, &ROOT), refused, "not yet");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(5)).await;
        read.frame().await.unwrap().unwrap();
        // As if the one had been read a moment ago, and nothing of the other.
        sending.end_stalled(begun + pace::STALLED);
        assert_eq!(busy(60 << 10, &ROOT), None, "the other's room");
        assert!(left_lying.collect().await.is_err(), "never half an answer that looks whole");
        read.frame().await.unwrap().unwrap();
        assert!(read.frame().await.is_none());
        assert_eq!(busy(1, &token), refused, "until it is dropped");
        drop(read);
        assert_eq!(busy(1 << 40, &token), None, "a giant goes alone");
        sending.end_stalled(Instant::now());
        assert!(sending.bodies.lock().unwrap().is_empty());
    }

    #[test]
    fn what_goes_out_is_bounded_by_what_may_come_in() {
        let most = |budget| Sending::within(budget).bytes().1;
        assert_eq!([most(0), most(64 << 20), most(u64::MAX)], [16 << 20, 64 << 20, 512 << 20]);
        let small = Sending::within(64 << 20);
        assert_eq!((small.by_token.kib, small.endless.kib, small.of_keys.kib), (16 << 10, 32 << 10, 32 << 10));
    }

    #[tokio::test]
    async fn an_endless_body_waits_for_room_of_its_key_and_of_all() {
        let sending = Sending::new(100, 40, 60);
        let (one, other) = (key("one"), key("other"));
        let waits = async |bytes, of: &Principal| {
            tokio::time::timeout(Duration::from_millis(20), sending.wait_for_room(bytes, of)).await.is_err()
        };
        let own = sending.wait_for_room(30 << 10, &one).await;
        assert!(waits(1, &one).await && !waits(30 << 10, &other).await, "a key has no more than half");
        let others = sending.wait_for_room(30 << 10, &other).await;
        assert!(waits(1, &key("third")).await, "all of it is out");
        assert!(sending.room(40 << 10, &ROOT).is_ok(), "bodies with an end have their part");
        assert!(own.is_scarce());
        drop(others);
        assert!(own.is_scarce(), "of its key");
        drop(own);
        let giant = sending.wait_for_room(1 << 40, &one).await;
        assert!(waits(1, &one).await);
        drop(giant);
        drop(sending.endless_of_keys.of(&ROOT));
        assert_eq!(sending.endless_of_keys.of.lock().unwrap().len(), 1, "those that hold nothing are forgotten");
    }

    #[tokio::test]
    async fn a_part_that_is_taken_too_slowly_has_its_connection_cut() {
        let sending = Sending::new(1000, 40, 1000);
        let (slow, gone) = (Cut::default(), Cut::default());
        let hold = async |cut: &Cut| sending.hold(sending.wait_for_room(1, &ROOT).await, 1, cut.clone());
        let (held, left) = (hold(&slow).await, hold(&gone).await);
        let piece = held.piece(Bytes::from_static(b"1"));
        drop((held, left));
        let now = Instant::now();
        sending.end_stalled(now);
        assert!(!slow.is_cut() && sending.holds.lock().unwrap().len() == 1);
        sending.end_stalled(now + pace::STALLED + Duration::from_secs(1));
        assert!(slow.is_cut() && !gone.is_cut(), "its last piece lies with the connection");
        assert!(sending.holds.lock().unwrap().is_empty());
        drop(piece);
    }
}
