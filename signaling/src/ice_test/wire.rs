//! What carries messages to a server and back: datagrams, or a stream (RFC 8489 §6.2).

use crate::turn::message_bytes;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;

/// Of one message, with room for what a relay adds.
const MOST_BYTES: usize = 2048;

/// Carries messages.
pub(super) trait Wire {
    /// Whether messages may be lost on it, so that they have to be sent again.
    const LOSES: bool;
    /// Sends one.
    async fn send(&mut self, message: &[u8]) -> io::Result<()>;
    /// Waits for the next one. Cancel safe.
    async fn receive(&mut self) -> io::Result<Vec<u8>>;
}

/// A connected socket.
pub(super) struct Datagrams(pub(super) UdpSocket);

impl Wire for Datagrams {
    const LOSES: bool = true;

    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.0.send(message).await.map(|_| ())
    }

    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut message = vec![0; MOST_BYTES];
        let length = self.0.recv(&mut message).await?;
        message.truncate(length);
        Ok(message)
    }
}

/// TCP, or TLS over it.
pub(super) struct Stream<S> {
    stream: S,
    read: Vec<u8>,
}

impl<S> Stream<S> {
    pub(super) fn new(stream: S) -> Self {
        Stream { stream, read: Vec::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire for Stream<S> {
    const LOSES: bool = false;

    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(message).await?;
        self.stream.flush().await
    }

    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(head) = self.read.get(..4) {
                let no_turn = || io::Error::new(io::ErrorKind::InvalidData, "what answers there does not speak TURN");
                let (_, length) =
                    message_bytes(head).filter(|(_, length)| *length <= MOST_BYTES).ok_or_else(no_turn)?;
                if self.read.len() >= length {
                    return Ok(self.read.drain(..length).collect());
                }
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
        }
    }
}
