//! One WebSocket: frames in to the board, frames of the board out.

use super::{
    board::{Board, Client},
    frames::{self, Decoder, Event, Wrong},
};
use crate::state::Shared;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use signaling::channel::{Close, Frame, SocketId};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::SemaphorePermit,
    time::{Instant, timeout, timeout_at},
};

/// The answer to the handshake has so long to go out.
const UPGRADE: Duration = Duration::from_secs(20);
/// A frame has so long to go out; who reads nothing for so long is gone.
const SEND: Duration = Duration::from_secs(20);
/// A message has so long to come, once it has begun.
const RECEIVE: Duration = Duration::from_secs(20);
/// The other end has so long to read why it was closed, and to close its side.
const FAREWELL: Duration = Duration::from_millis(500);
/// What it still sends meanwhile is read, so that the reason is not lost with the connection; no more than this.
const FAREWELL_BYTES: u64 = 1 << 20;

type Io = TokioIo<Upgraded>;

/// What a client did.
enum Did {
    Sent(Event),
    /// Something that ends the connection.
    Broke(Wrong),
    /// It went, without a word.
    Left,
}

/// Serves a client from its handshake on.
pub(super) async fn run(shared: Arc<Shared>, id: SocketId, client: Arc<Client>, upgrade: OnUpgrade) {
    let board = &shared.signaling;
    match timeout(UPGRADE, upgrade).await {
        Ok(Ok(upgraded)) => {
            let mut reader = Reader::new(board);
            if let Err(error) = talk(&mut TokioIo::new(upgraded), &mut reader, board, id, &client).await {
                tracing::debug!(%error, "the connection of a client ended");
            }
        }
        Ok(Err(error)) => tracing::debug!(%error, "the connection ended before it was upgraded"),
        Err(_) => tracing::debug!("the answer to a handshake could not be sent"),
    }
    board.closed(id);
}

async fn talk(io: &mut Io, reader: &mut Reader<'_>, board: &Board, id: SocketId, client: &Client) -> io::Result<()> {
    loop {
        while let Some(frame) = board.take(id) {
            match frame {
                Frame::Text(text) => send(io, &frames::text(&text)).await?,
                Frame::Ping => send(io, &frames::ping()).await?,
                Frame::Close(Close::Lost) => return Ok(()),
                Frame::Close(why) => return farewell(io, why.code(), why.reason()).await,
            }
        }
        let did = tokio::select! {
            () = client.wake.notified() => continue,
            did = reader.next(io) => did?,
        };
        match did {
            Did::Sent(Event::Text(text)) => {
                client.heard(&text);
                board.text(id, &text);
            }
            Did::Sent(Event::Pong) => board.alive(id),
            Did::Sent(Event::Ping(payload)) => {
                board.alive(id);
                send(io, &frames::pong(&payload)).await?;
            }
            Did::Sent(Event::Close(code)) => return farewell(io, code.unwrap_or(1000), "").await,
            Did::Broke(wrong) => return farewell(io, wrong.code(), &wrong.to_string()).await,
            Did::Left => return Ok(()),
        }
    }
}

/// Reads a client's messages. Holds memory while one is coming, of that which all sockets share.
struct Reader<'a> {
    board: &'a Board,
    decoder: Decoder,
    room: Option<SemaphorePermit<'a>>,
    /// When the message that is coming must be there.
    until: Option<Instant>,
}

impl<'a> Reader<'a> {
    fn new(board: &'a Board) -> Self {
        Reader { decoder: Decoder::new(board.config().max_message_bytes), board, room: None, until: None }
    }

    /// What the client does next. May be given up while it waits, and asked again.
    async fn next(&mut self, io: &mut Io) -> io::Result<Did> {
        loop {
            let did = match self.until {
                None => self.step(io).await?,
                Some(until) => {
                    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "a message did not come whole in time");
                    timeout_at(until, self.step(io)).await.map_err(late)??
                }
            };
            match (self.decoder.is_amid(), self.until) {
                (true, None) => self.until = Some(Instant::now() + RECEIVE),
                (true, Some(_)) => {}
                (false, _) => (self.until, self.room) = (None, None),
            }
            if let Some(did) = did {
                return Ok(did);
            }
        }
    }

    async fn step(&mut self, io: &mut Io) -> io::Result<Option<Did>> {
        let has = self.room.as_ref().map_or(0, SemaphorePermit::num_permits);
        let more = self.decoder.held().div_ceil(1024).saturating_sub(has);
        if more > 0 {
            let more = self.board.coming.acquire_many(more as u32).await.expect("the semaphore is never closed");
            match &mut self.room {
                Some(room) => room.merge(more),
                None => self.room = Some(more),
            }
        }
        // Exactly what is missing is asked for: nothing of the next message is read, and nothing has to be kept of it.
        let n = io.read(self.decoder.space()).await?;
        if n == 0 {
            return Ok(Some(Did::Left));
        }
        match self.decoder.filled(n) {
            Ok(event) => Ok(event.map(Did::Sent)),
            Err(wrong) => Ok(Some(Did::Broke(wrong))),
        }
    }
}

async fn send(io: &mut Io, frame: &[u8]) -> io::Result<()> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the other end does not read");
    let sending = async {
        io.write_all(frame).await?;
        io.flush().await
    };
    timeout(SEND, sending).await.map_err(late)?
}

/// Says why, and waits a moment for the other end to have read it.
async fn farewell(io: &mut Io, code: u16, reason: &str) -> io::Result<()> {
    tracing::debug!(code, reason, "a client is disconnected");
    let closing = async {
        io.write_all(&frames::close(code, reason)).await?;
        io.shutdown().await?;
        tokio::io::copy(&mut io.take(FAREWELL_BYTES), &mut tokio::io::sink()).await?;
        Ok(())
    };
    timeout(FAREWELL, closing).await.unwrap_or(Ok(()))
}
