//! A connection that hyper serves, and whose reading side can be taken from it for the body of one request.
//!
//! hyper is never given bytes behind the end of a request's head in one read with that head: each read ends with the next empty
//! line. So when a handler takes the body, hyper holds none of it, and what the socket has goes straight to whoever took it.
//! Meanwhile hyper's reads wait. It is told of a body's end by that of an empty chunked one, and goes on with what follows.

use hyper::rt;
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// hyper is read for in portions of at most so many bytes.
const PORTION: usize = 8 << 10;

/// What a connection runs over.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// hyper's end.
pub(crate) struct Wire(Arc<Mutex<Line>>);

/// For whoever serves the requests of a connection.
#[derive(Clone)]
pub(crate) struct Readings(Arc<Mutex<Line>>);

/// In a request's extensions: hyper waits before its body until this is dropped, or the body has been read by whoever took it.
#[derive(Clone)]
pub(crate) struct Reading(Arc<Mutex<Option<Taken>>>);

/// The reading side of a connection, taken from hyper.
pub(super) struct Taken {
    line: Arc<Mutex<Line>>,
    /// Nothing was read of the body yet, or all.
    is_whole: bool,
}

struct Line {
    /// `None` once hyper has let go of the connection.
    io: Option<Box<dyn Io>>,
    /// What was read and hyper has not been given.
    ahead: Vec<u8>,
    end: LineEnd,
    is_taken: bool,
    /// The body that was taken did not come to its end, so nothing can follow it.
    is_broken: bool,
    hyper: Option<Waker>,
    taker: Option<Waker>,
}

/// What the last bytes that hyper was given are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    /// None of these.
    No,
    /// The end of a line.
    Full,
    /// The same, and a CR.
    Cr,
    /// An empty line.
    Blank,
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    pub(crate) fn new(io: impl Io + 'static) -> Wire {
        Wire(Arc::new(Mutex::new(Line {
            io: Some(Box::new(io)),
            ahead: Vec::new(),
            end: LineEnd::No,
            is_taken: false,
            is_broken: false,
            hyper: None,
            taker: None,
        })))
    }

    /// For whoever serves its requests.
    pub(crate) fn readings(&self) -> Readings {
        Readings(self.0.clone())
    }

    fn with_io<T>(
        &self,
        poll: impl FnOnce(Pin<&mut (dyn Io + 'static)>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut lock(&self.0).io {
            Some(io) => poll(Pin::new(&mut **io)),
            None => Poll::Ready(Err(gone())),
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection was closed")
}

impl Readings {
    /// Takes the reading side, to be called as soon as a request has come; `None` if hyper has more than the request's head.
    pub(crate) fn hold(&self) -> Option<Reading> {
        let mut line = lock(&self.0);
        if line.is_taken || line.is_broken || line.end != LineEnd::Blank {
            return None;
        }
        line.is_taken = true;
        drop(line);
        Some(Reading(Arc::new(Mutex::new(Some(Taken { line: self.0.clone(), is_whole: true })))))
    }
}

impl Reading {
    /// What to read the body from, and what was read ahead of it. The first to ask has it.
    pub(super) fn take(&self) -> Option<(Taken, Vec<u8>)> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        taken.is_whole = false;
        let ahead = std::mem::take(&mut lock(&taken.line).ahead);
        Some((taken, ahead))
    }
}

impl AsyncRead for Taken {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut line = lock(&self.line);
        let Some(io) = &mut line.io else { return Poll::Ready(Err(gone())) };
        let read = Pin::new(&mut **io).poll_read(context, into);
        if read.is_pending() && !line.taker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            line.taker = Some(context.waker().clone());
        }
        read
    }
}

impl Taken {
    /// Gives the reading side back: the body has come to its end, and this was read behind it.
    pub(super) fn give_back(mut self, behind: &[u8]) {
        lock(&self.line).ahead = [b"0\r\n\r\n", behind].concat();
        self.is_whole = true;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut line = lock(&self.line);
        line.is_broken = !self.is_whole;
        line.let_go();
    }
}

impl Line {
    fn let_go(&mut self) {
        self.is_taken = false;
        self.taker = None;
        if let Some(hyper) = self.hyper.take() {
            hyper.wake();
        }
    }

    /// How many of these bytes hyper is given with one read: up to an empty line, the end of which is noted.
    fn portion(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            self.end = match (byte, self.end) {
                (b'\n', LineEnd::No) => LineEnd::Full,
                (b'\n', _) => LineEnd::Blank,
                (b'\r', LineEnd::Full | LineEnd::Blank) => LineEnd::Cr,
                _ => LineEnd::No,
            };
            if self.end == LineEnd::Blank {
                return at + 1;
            }
        }
        bytes.len()
    }
}

impl rt::Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut line = lock(&self.0);
        if line.is_taken {
            line.hyper = Some(context.waker().clone());
            return Poll::Pending;
        }
        let most = into.remaining().min(PORTION);
        if line.ahead.is_empty() {
            if line.is_broken {
                return Poll::Ready(Ok(()));
            }
            let mut space = [0; PORTION];
            let mut read = ReadBuf::new(&mut space[..most]);
            let Some(io) = &mut line.io else { return Poll::Ready(Err(gone())) };
            ready!(Pin::new(&mut **io).poll_read(context, &mut read))?;
            let portion = line.portion(read.filled());
            into.put_slice(&read.filled()[..portion]);
            line.ahead = read.filled()[portion..].to_vec();
        } else {
            let ahead = std::mem::take(&mut line.ahead);
            let portion = line.portion(&ahead[..most.min(ahead.len())]);
            into.put_slice(&ahead[..portion]);
            line.ahead = ahead[portion..].to_vec();
        }
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with_io(|io| io.poll_write(context, bytes))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with_io(|io| io.poll_write_vectored(context, slices))
    }
    fn is_write_vectored(&self) -> bool {
        lock(&self.0).io.as_ref().is_some_and(|io| io.is_write_vectored())
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_io(|io| io.poll_flush(context))
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_io(|io| io.poll_shutdown(context))
    }
}

impl Drop for Wire {
    /// The socket is closed at once, whoever still reads a body from it.
    fn drop(&mut self) {
        let mut line = lock(&self.0);
        let io = line.io.take();
        let taker = line.taker.take();
        drop(line);
        drop(io);
        if let Some(taker) = taker {
            taker.wake();
        }
    }
}
