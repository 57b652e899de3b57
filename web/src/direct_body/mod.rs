//! The body of a request that goes on for hours, read straight from its connection.
//!
//! hyper reads a body in pieces that it takes to another task, each one a message and a wake-up, and into buffers of its own size.
//! That costs a producer that sends fast a third of what receiving it takes at all (ADR 0010). So the body of such a request is
//! taken from hyper before anything of it was read: what the socket has is read into large buffers, chunk heads are taken out in
//! place, and what came is given as slices of the buffer. hyper keeps the head, the answer, and the connection afterwards.
//!
//! Bodies that are not chunked, and those of HTTP/2, stay with hyper.

pub(crate) mod chunked;
mod wire;

pub(crate) use wire::{Readings, Wire};

use axum::body::BodyDataStream;
use axum::http::{HeaderMap, Request, Version, header, request::Parts};
use bytes::{BufMut, Bytes, BytesMut};
use chunked::Chunked;
use futures_util::{Stream, StreamExt};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::{io::poll_read_buf, task::TaskTracker};
use tracing::Instrument;
use wire::{Reading, Taken};

/// The capacity of a body's first buffer, and that of the largest.
const FIRST_BUFFER: usize = 16 << 10;
const LARGEST_BUFFER: usize = 256 << 10;
/// A buffer with less room than this part of it is not read into any more, nor one with less than so many bytes.
const LEAST_PART: usize = 4;
const LEAST_ROOM: usize = 16 << 10;
/// A buffer that was full in this time is followed by one of twice its size; one that took ten times as long, by one of half.
const FAST: Duration = Duration::from_millis(50);
/// At least so much is asked for at once …
const LEAST_READ: usize = 16 << 10;
/// … and so much beyond the current chunk: its end and the next one's head, which are taken out again, hardly more.
const BEYOND: usize = 24;
/// Whoever sends an endless body that nobody wants has so long to notice (see [`crate::linger`]).
const PATIENCE: Duration = Duration::from_secs(2);

/// A body. Dropped before its end, it is read on for a moment.
pub(crate) struct DirectBody {
    source: Option<Source>,
    /// What hyper has for the body. Let go after the connection was given back.
    hypers: Option<BodyDataStream>,
    tasks: TaskTracker,
}

/// The reading side of the connection, and what was read of the body.
struct Source {
    taken: Taken,
    chunked: Chunked,
    buffer: BytesMut,
    /// How large `buffer` was made, and when.
    capacity: usize,
    since: Instant,
    /// Why no more can be read; told after what came before.
    failed: Option<io::Error>,
    /// What came behind the end of the body.
    behind: Vec<u8>,
}

impl DirectBody {
    /// To be called as soon as a request has come: keeps hyper from its body, if that is chunked, until it was taken and read, or
    /// the request's extensions are dropped.
    pub(crate) fn hold<B>(request: &mut Request<B>, readings: &Readings) {
        if request.version() == Version::HTTP_11
            && is_chunked(request.headers())
            && let Some(reading) = readings.hold()
        {
            request.extensions_mut().insert(reading);
        }
    }

    /// Takes the body that was held. What hyper has for it is to be given to [`Self::with`]; it yields nothing any more, but
    /// asking it for something has `100 Continue` sent.
    pub(crate) fn take(parts: &mut Parts, tasks: &TaskTracker) -> Option<DirectBody> {
        let (taken, ahead) = parts.extensions.remove::<Reading>()?.take()?;
        let capacity = FIRST_BUFFER.max(ahead.len());
        let mut source = Source {
            taken,
            chunked: Chunked::new(),
            buffer: BytesMut::with_capacity(capacity),
            capacity,
            since: Instant::now(),
            failed: None,
            behind: Vec::new(),
        };
        source.buffer.put_slice(&ahead);
        source.decode(0);
        Some(DirectBody { source: Some(source), hypers: None, tasks: tasks.clone() })
    }

    /// Keeps what hyper has for the body.
    pub(crate) fn with(mut self, hypers: BodyDataStream) -> DirectBody {
        self.hypers = Some(hypers);
        self
    }
}

/// Whether the body is chunked, and nothing else. What hyper takes for the framing is decided by the same header.
fn is_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let one = codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    one && codings.next().is_none()
}

impl Source {
    /// The next piece; `None` at the end of the body.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            let room = self.buffer.capacity() - self.buffer.len();
            let is_full = room < LEAST_ROOM.min(self.capacity / LEAST_PART);
            let is_last = self.chunked.is_over() || self.failed.is_some();
            if (is_full || is_last) && !self.buffer.is_empty() {
                return self.piece();
            }
            if let Some(error) = &self.failed {
                return Poll::Ready(Some(Err(io::Error::new(error.kind(), error.to_string()))));
            }
            if self.chunked.is_over() {
                return Poll::Ready(None);
            }
            if is_full {
                self.renew();
                continue;
            }
            match self.read(context) {
                Poll::Ready(()) => {}
                Poll::Pending if self.buffer.is_empty() => return Poll::Pending,
                Poll::Pending => return self.piece(),
            }
        }
    }

    fn piece(&mut self) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(Some(Ok(self.buffer.split().freeze())))
    }

    /// Makes room, of as much as the body is fast.
    fn renew(&mut self) {
        let took = self.since.elapsed();
        if took < FAST {
            self.capacity = (2 * self.capacity).min(LARGEST_BUFFER);
        } else if took > 10 * FAST {
            self.capacity = (self.capacity / 2).max(FIRST_BUFFER);
        }
        self.since = Instant::now();
        // The same memory again, where nobody has kept anything of it.
        if !self.buffer.try_reclaim(self.capacity) {
            self.buffer = BytesMut::with_capacity(self.capacity);
        }
    }

    /// Reads once, and takes the chunked coding out.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let before = self.buffer.len();
        let chunk = usize::try_from(self.chunked.left()).unwrap_or(usize::MAX);
        let most = chunk.saturating_add(BEYOND).max(LEAST_READ);
        let read = poll_read_buf(Pin::new(&mut self.taken), context, &mut (&mut self.buffer).limit(most));
        match std::task::ready!(read) {
            Ok(0) => {
                let text = "the connection ended before the body";
                self.failed = Some(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            Ok(_) => self.decode(before),
            Err(error) => self.failed = Some(error),
        }
        Poll::Ready(())
    }

    /// Takes the chunked coding out of what the buffer has from `at` on.
    fn decode(&mut self, at: usize) {
        let found = self.chunked.decode(&mut self.buffer[at..]);
        if self.chunked.is_over() {
            self.behind = self.buffer[at + found.used..].to_vec();
        }
        self.buffer.truncate(at + found.body);
        self.failed = found.malformed.map(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed));
    }

    /// Gives the connection back to hyper; where the body is not over, for its answer only.
    fn end(self) {
        if self.chunked.is_over() {
            self.taken.give_back(&self.behind);
        }
    }
}

impl Stream for DirectBody {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let piece = std::task::ready!(source.poll(context));
        if !matches!(piece, Some(Ok(_))) {
            self.end();
        }
        Poll::Ready(piece)
    }
}

impl DirectBody {
    /// There is no more to read.
    fn end(&mut self) {
        if let Some(source) = self.source.take() {
            source.end();
        }
        // hyper finds the end of it, and has the connection for the next request.
        self.hypers = None;
    }
}

impl Drop for DirectBody {
    fn drop(&mut self) {
        if self.source.is_none() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let tasks = self.tasks.clone();
        let mut rest = DirectBody { source: self.source.take(), hypers: self.hypers.take(), tasks: tasks.clone() };
        let drain = async move {
            let read = async { while let Some(Ok(_)) = rest.next().await {} };
            let _ = tokio::time::timeout(PATIENCE, read).await;
            // Whoever sends on after that is not listened to.
            rest.end();
        };
        tasks.spawn(drain.instrument(tracing::debug_span!("linger")));
    }
}

#[cfg(test)]
mod tests;
