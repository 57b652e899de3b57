//! Media as a response body: the slices of [`Chunks`] are written as they lie, under an exact `Content-Length`.
//!
//! A body holds its media in memory until its client has read it, so the bytes of all bodies are bounded, and a body that
//! its client leaves lying is given up.

use crate::{error::Error, serve::Cut};
use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use media::Chunks;
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Media on its way to clients, in KiB: all of it, and the part of those who come by playback tokens.
const MOST_KIB: usize = 512 << 10;
const MOST_BY_TOKEN_KIB: usize = 128 << 10;
/// The part of bodies without a known end, whose clients may hold theirs for as long as they read slowly.
const MOST_ENDLESS_KIB: usize = 256 << 10;
/// A body of which nothing was read for so long is given up.
const STALLED: Duration = Duration::from_secs(60);

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
    fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_many_owned(self.permits(bytes)).ok()
    }
    async fn wait(&self, bytes: u64) -> OwnedSemaphorePermit {
        let taken = self.free.clone().acquire_many_owned(self.permits(bytes)).await;
        taken.expect("the semaphore is never closed")
    }
    fn permits(&self, bytes: u64) -> u32 {
        let kib = usize::try_from(bytes.div_ceil(1024)).unwrap_or(self.kib).clamp(1, self.kib);
        u32::try_from(kib).unwrap_or(u32::MAX)
    }
}

/// Room for one body among all.
pub(crate) struct Room {
    _all: OwnedSemaphorePermit,
    _part: Option<OwnedSemaphorePermit>,
}

/// The media that is on its way to clients.
pub(crate) struct Sending {
    all: Bound,
    by_token: Bound,
    endless: Bound,
    bodies: Mutex<Vec<Weak<Slot>>>,
    readings: Mutex<Vec<Weak<Reading>>>,
}

/// How a client takes a body without a known end, which holds a part of its media at a time.
pub(crate) struct Reading {
    /// When it was last given something of the part that is held; `None` while nothing is.
    given_at: Mutex<Option<Instant>>,
    cut: Cut,
}

impl Reading {
    /// The client was given a piece, and holds up the next.
    pub(crate) fn gave(&self) {
        *self.lock() = Some(Instant::now());
    }
    /// The client has taken all that there was.
    pub(crate) fn waits(&self) {
        *self.lock() = None;
    }
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.given_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Sending {
    fn default() -> Self {
        Self::new(MOST_KIB, MOST_BY_TOKEN_KIB, MOST_ENDLESS_KIB)
    }
}

impl Sending {
    fn new(kib: usize, by_token_kib: usize, endless_kib: usize) -> Self {
        Sending {
            all: Bound::new(kib),
            by_token: Bound::new(by_token_kib),
            endless: Bound::new(endless_kib),
            bodies: Mutex::default(),
            readings: Mutex::default(),
        }
    }

    /// Room for a body, asked for before its media is read.
    ///
    /// # Errors
    /// 503 `busy` when there is none.
    pub(crate) fn room(&self, bytes: u64, by_token: bool) -> Result<Room, Error> {
        let busy = || {
            metrics::counter!("vidicon_http_media_refused_total").increment(1);
            Error::unavailable("busy", "too much media is on its way to clients", 2)
        };
        let part = if by_token { Some(self.by_token.take(bytes).ok_or_else(busy)?) } else { None };
        Ok(Room { _all: self.all.take(bytes).ok_or_else(busy)?, _part: part })
    }

    /// Room for a part of a body that has begun: waits until there is some.
    pub(crate) async fn wait_for_room(&self, bytes: u64) -> Room {
        // In this order, so that none of the whole is held while the part is waited for.
        let part = self.endless.wait(bytes).await;
        Room { _all: self.all.wait(bytes).await, _part: Some(part) }
    }

    /// Watches over a body without a known end. Its connection is cut once its client leaves a piece lying for too long.
    pub(crate) fn reading(&self, cut: Cut) -> Arc<Reading> {
        let reading = Arc::new(Reading { given_at: Mutex::new(None), cut });
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&reading));
        reading
    }

    /// An answer whose body is these chunks, no byte copied.
    pub(crate) fn answer(&self, content_type: &'static str, chunks: Chunks, room: Room) -> Response {
        let left = chunks.len() as u64;
        let slot = Arc::new(Slot::new(Some(Held { chunks, next: 0, read_at: Instant::now(), _room: room })));
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&slot));
        let mut response = Body::new(ChunksBody { slot, left }).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(left));
        response
    }

    /// Gives up the bodies that their clients leave lying; to be called every few seconds.
    pub(crate) fn end_stalled(&self, now: Instant) {
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.retain(|slot| {
            let Some(slot) = slot.upgrade() else { return false };
            let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
            let stalled = held.as_ref().is_none_or(|held| now.saturating_duration_since(held.read_at) >= STALLED);
            if stalled {
                *held = None;
            }
            !stalled
        });
        drop(bodies);
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.retain(|reading| {
            let Some(reading) = reading.upgrade() else { return false };
            let given_at = *reading.lock();
            let stalled = given_at.is_some_and(|at| now.saturating_duration_since(at) >= STALLED);
            if stalled {
                metrics::counter!("vidicon_http_media_cut_total").increment(1);
                // What the connection itself still holds of the body goes with it.
                reading.cut.now();
            }
            !stalled
        });
    }
}

/// What a body still has to send; nothing once it is sent or given up.
type Slot = Mutex<Option<Held>>;

struct Held {
    chunks: Chunks,
    next: usize,
    read_at: Instant,
    _room: Room,
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
        let part = {
            let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
            slot.as_mut().and_then(|held| {
                held.read_at = Instant::now();
                let part = held.chunks.parts()[held.next..].iter().find(|part| !part.is_empty()).cloned();
                held.next += held.chunks.parts()[held.next..].iter().take_while(|part| part.is_empty()).count() + 1;
                part
            })
        };
        let Some(part) = part else {
            return Poll::Ready(Some(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client read nothing for too long",
            ))));
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
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn slices_go_out_as_they_are_and_the_length_is_told() {
        let (one, two) = (Bytes::from_static(b"one"), Bytes::from(vec![7; 100_000]));
        let chunks: Chunks = [one.clone(), Bytes::new(), two.clone()].into_iter().collect();
        let sending = Sending::default();
        let response = sending.answer("video/mp4", chunks, sending.room(100_003, false).unwrap());
        assert_eq!(response.headers()[header::CONTENT_LENGTH], "100003");
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let second = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.as_ptr(), second.as_ptr()), (one.as_ptr(), two.as_ptr()), "not copied");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn bodies_are_bounded_together_and_stalled_ones_end() {
        let sending = Sending::new(100, 40, 60);
        let busy = |bytes, by_token| sending.room(bytes, by_token).map_err(|e| (e.status.as_u16(), e.code)).err();
        let refused = Some((503, "busy"));
        let part = || Bytes::from(vec![0; 20 << 10]);
        let two = || [part(), part()].into_iter().collect::<Chunks>();
        let room = sending.room(40 << 10, true).unwrap();
        assert_eq!((busy(1, true), busy(60 << 10, false), busy(61 << 10, false)), (refused, None, refused));
        let mut read = sending.answer("video/mp4", two(), room).into_body();
        let left_lying = sending.answer("video/mp4", two(), sending.room(60 << 10, false).unwrap()).into_body();
        assert_eq!(busy(1, false), refused);
        sending.end_stalled(Instant::now());
        assert_eq!(busy(1, false), refused, "not yet");
        let begun = Instant::now();
        read.frame().await.unwrap().unwrap();
        // As if the one had been read a moment ago, and nothing of the other.
        sending.end_stalled(begun + STALLED);
        assert_eq!(busy(60 << 10, false), None, "the other's room");
        assert!(left_lying.collect().await.is_err(), "never half an answer that looks whole");
        read.frame().await.unwrap().unwrap();
        assert!(read.frame().await.is_none());
        assert_eq!(busy(1, true), refused, "until it is dropped");
        drop(read);
        assert_eq!(busy(1 << 40, true), None, "a giant goes alone");
        let all = sending.room(1 << 40, false);
        assert!(all.is_ok() && busy(1, false) == refused);
        sending.end_stalled(Instant::now());
        assert!(sending.bodies.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_endless_body_waits_for_room_and_is_cut_when_its_client_leaves_it_lying() {
        let sending = Sending::new(100, 40, 60);
        let all = sending.wait_for_room(60 << 10).await;
        let waiting = tokio::time::timeout(Duration::from_millis(20), sending.wait_for_room(1));
        assert!(waiting.await.is_err());
        assert!(sending.room(40 << 10, false).is_ok(), "others have their part");
        drop(all);
        drop(sending.wait_for_room(1 << 40).await);
        let (lying, quiet) = (Cut::default(), Cut::default());
        let one = sending.reading(lying.clone());
        let other = sending.reading(quiet.clone());
        one.gave();
        other.gave();
        other.waits();
        let now = Instant::now();
        sending.end_stalled(now);
        assert!(!lying.is_cut());
        sending.end_stalled(now + STALLED);
        assert!(lying.is_cut() && !quiet.is_cut(), "there was nothing to take");
        drop(other);
        sending.end_stalled(now);
        assert!(sending.readings.lock().unwrap().is_empty());
    }
}
