//! Acknowledgements as a response body: each is one chunk of HTTP/1.1 and one write to the socket.
//!
//! Producers need that. The C SDK credits only the first acknowledgement of what its HTTP library hands it at a time; the
//! embedded one wants a whole chunk in each read. hyper makes one chunk of each frame of a body, but asks for frames for as
//! long as they are ready and then writes all of them together. So this body is never ready twice in a row: in between it
//! wakes itself, and hyper flushes what it has (ADR 0008). With TCP_NODELAY, which the listener sets, each write is sent
//! at once.

use bytes::Bytes;
use hyper::body::{Body, Frame};
use ingest::putmedia::Acks;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

/// The body of the answer to PutMedia.
pub(crate) struct AckBody {
    acks: Acks,
    /// Whether what was given last may not have been flushed. At first that is the head of the answer.
    given: bool,
}

impl AckBody {
    pub(crate) fn new(acks: Acks) -> Self {
        AckBody { acks, given: true }
    }
}

impl Body for AckBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if std::mem::take(&mut self.given) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let ack = std::task::ready!(self.acks.poll_next(context));
        self.given = ack.is_some();
        Poll::Ready(ack.map(|ack| Ok(Frame::data(ack.to_wire()))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use ingest::putmedia::{Ack, ack};
    use std::{
        io::{self, IoSlice},
        sync::{Arc, Mutex},
        time::Duration,
    };
    use tokio::{
        io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf},
        time::timeout,
    };

    /// What was written to a connection, write by write.
    type Writes = Arc<Mutex<Vec<Vec<u8>>>>;

    /// A connection that notes each write, vectored like a socket.
    struct Noted(DuplexStream, Writes);

    impl AsyncRead for Noted {
        fn poll_read(mut self: Pin<&mut Self>, c: &mut Context<'_>, b: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(c, b)
        }
    }

    impl AsyncWrite for Noted {
        fn poll_write(mut self: Pin<&mut Self>, c: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let wrote = std::task::ready!(Pin::new(&mut self.0).poll_write(c, bytes))?;
            self.1.lock().unwrap().push(bytes[..wrote].to_vec());
            Poll::Ready(Ok(wrote))
        }
        fn poll_write_vectored(
            self: Pin<&mut Self>,
            c: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
            self.poll_write(c, &all)
        }
        fn is_write_vectored(&self) -> bool {
            true
        }
        fn poll_flush(mut self: Pin<&mut Self>, c: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(c)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, c: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(c)
        }
    }

    #[tokio::test]
    async fn each_ack_is_one_chunk_and_one_write_although_all_were_ready() {
        let (server, mut client) = tokio::io::duplex(1 << 20);
        let writes = Writes::default();
        let (sender, acks) = ack::queue();
        let body = Mutex::new(Some(AckBody::new(acks)));
        // Ready before anybody asks, and while the body of the request is still arriving.
        for _ in 0..100 {
            sender.push(Ack::Idle);
        }
        let service = service_fn(move |request: Request<Incoming>| {
            let body = body.lock().unwrap().take().unwrap();
            // The session would hold it; here nobody reads it.
            std::mem::forget(request);
            async move { Ok::<_, Infallible>(Response::new(body)) }
        });
        let io = TokioIo::new(Noted(server, writes.clone()));
        tokio::spawn(async move { http1::Builder::new().serve_connection(io, service).await });
        client
            .write_all(b"POST /putMedia HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            .await
            .unwrap();
        let idle = b"16\r\n{\"EventType\":\"IDLE\"}\r\n\r\n".to_vec();
        let wait = async {
            let mut read = Vec::new();
            while read.windows(idle.len()).filter(|w| *w == idle).count() < 100 {
                let mut some = [0; 4096];
                let n = client.read(&mut some).await.unwrap();
                assert!(n > 0, "closed");
                read.extend_from_slice(&some[..n]);
            }
        };
        timeout(Duration::from_secs(10), wait).await.expect("a hundred acknowledgements");
        let seen = writes.lock().unwrap().clone();
        let (head, chunks) = seen.split_first().unwrap();
        assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n") && head.ends_with(b"\r\n\r\n"), "the head goes alone");
        assert_eq!(chunks.len(), 100);
        assert!(chunks.iter().all(|chunk| *chunk == idle), "{:?}", String::from_utf8_lossy(&chunks[0]));
        // One that comes later, and the end.
        sender.push(Ack::Idle);
        drop(sender);
        let rest = timeout(Duration::from_secs(10), async {
            let mut text = String::new();
            while !text.ends_with("0\r\n\r\n") {
                let mut some = [0; 4096];
                let n = client.read(&mut some).await.unwrap();
                assert!(n > 0, "closed before the end");
                text += std::str::from_utf8(&some[..n]).unwrap();
            }
            text
        });
        assert_eq!(rest.await.unwrap().as_bytes(), [&idle[..], b"0\r\n\r\n"].concat());
        let seen = writes.lock().unwrap().clone();
        assert_eq!(seen[101..], [idle, b"0\r\n\r\n".to_vec()]);
    }
}
