//! One WebSocket: frames in to the board, frames of the board out.

use super::board::{Board, Client};
use crate::state::Shared;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use signaling::channel::{Close, Frame, SocketId};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The answer to the handshake has so long to go out.
const UPGRADE: Duration = Duration::from_secs(20);
/// A frame has so long to go out; who reads nothing for so long is gone.
const SEND: Duration = Duration::from_secs(20);
/// The other end has so long to read why it was closed, and to close its side.
const FAREWELL: Duration = Duration::from_millis(500);
/// What it still sends meanwhile is read, so that the reason is not lost with the connection; no more than this.
const FAREWELL_BYTES: u64 = 1 << 20;
/// Read at a time. Kept for as long as the connection lives, so it is small: most are idle.
const READ_BYTES: usize = 2 << 10;

/// Serves a client from its handshake on.
pub(super) async fn run(shared: Arc<Shared>, id: SocketId, client: Arc<Client>, upgrade: OnUpgrade) {
    let board = &shared.signaling;
    match timeout(UPGRADE, upgrade).await {
        Ok(Ok(upgraded)) => {
            let most = board.config().max_message_bytes;
            let config = WebSocketConfig::default()
                .read_buffer_size(READ_BYTES)
                .write_buffer_size(0)
                .max_message_size(Some(most))
                .max_frame_size(Some(most));
            let io = TokioIo::new(upgraded);
            let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
            if let Err(error) = talk(&mut socket, board, id, &client).await {
                tracing::debug!(%error, "the connection of a client ended");
            }
        }
        Ok(Err(error)) => tracing::debug!(%error, "the connection ended before it was upgraded"),
        Err(_) => tracing::debug!("the answer to a handshake could not be sent"),
    }
    board.closed(id);
}

async fn talk(socket: &mut Socket, board: &Board, id: SocketId, client: &Client) -> Result<(), Error> {
    loop {
        while let Some(frame) = board.take(id) {
            match frame {
                Frame::Text(text) => send(socket, Message::text(text)).await?,
                Frame::Ping => send(socket, Message::Ping(Bytes::new())).await?,
                Frame::Close(why) => return farewell(socket, why).await,
            }
        }
        tokio::select! {
            () = client.wake.notified() => {}
            got = socket.next() => match got {
                Some(Ok(Message::Text(text))) => board.text(id, &text),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => board.alive(id),
                Some(Ok(Message::Binary(_) | Message::Frame(_))) | Some(Err(Error::Utf8(_))) => {
                    board.close(id, Close::NotText);
                }
                Some(Err(Error::Capacity(_))) => board.close(id, Close::TooLarge),
                Some(Ok(Message::Close(_))) => {
                    // Its answer is queued; with it the connection has ended well.
                    return timed(socket.flush()).await;
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    }
}

async fn send(socket: &mut Socket, message: Message) -> Result<(), Error> {
    timed(socket.send(message)).await
}

async fn timed(sending: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let late = |_| Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the other end does not read"));
    timeout(SEND, sending).await.map_err(late)?
}

/// Says why, and waits a moment for the other end to have read it.
async fn farewell(socket: &mut Socket, why: Close) -> Result<(), Error> {
    tracing::info!(reason = why.reason(), "a client is disconnected");
    if why == Close::Lost {
        return Ok(());
    }
    let frame = CloseFrame { code: why.code().into(), reason: why.reason().into() };
    let closing = async {
        socket.send(Message::Close(Some(frame))).await?;
        let io = socket.get_mut();
        io.shutdown().await?;
        tokio::io::copy(&mut io.take(FAREWELL_BYTES), &mut tokio::io::sink()).await?;
        Ok(())
    };
    timeout(FAREWELL, closing).await.unwrap_or(Ok(()))
}
