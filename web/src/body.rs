//! Media as a response body: the slices of [`Chunks`] are written as they lie, under an exact `Content-Length`.
//!
//! A body holds its media in memory until its client has read it, so the bytes of all bodies are bounded, and a body that
//! its client leaves lying is given up.

use crate::error::Error;
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
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Media on its way to clients, in KiB: all of it, and the part of those who come by playback tokens.
const MOST_KIB: usize = 512 << 10;
const MOST_BY_TOKEN_KIB: usize = 128 << 10;
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
        let kib = usize::try_from(bytes.div_ceil(1024)).unwrap_or(self.kib).clamp(1, self.kib);
        self.free.clone().try_acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX)).ok()
    }
}

/// Room for one body among all.
pub(crate) struct Room {
    _all: OwnedSemaphorePermit,
    _by_token: Option<OwnedSemaphorePermit>,
}

/// The media that is on its way to clients.
pub(crate) struct Sending {
    all: Bound,
    by_token: Bound,
    bodies: Mutex<Vec<Weak<Slot>>>,
}

impl Default for Sending {
    fn default() -> Self {
        Self::new(MOST_KIB, MOST_BY_TOKEN_KIB)
    }
}

impl Sending {
    fn new(kib: usize, by_token_kib: usize) -> Self {
        Sending { all: Bound::new(kib), by_token: Bound::new(by_token_kib), bodies: Mutex::default() }
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
        let by_token = if by_token { Some(self.by_token.take(bytes).ok_or_else(busy)?) } else { None };
        Ok(Room { _all: self.all.take(bytes).ok_or_else(busy)?, _by_token: by_token })
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
        let sending = Sending::new(100, 40);
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
}
