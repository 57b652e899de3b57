//! Clients over TCP and TLS: a connection is a client, and a task (RFC 8656 §3.1, RFC 8489 §6.2.2).

use super::meter::{self, Budget};
use super::relay::{Opener, Relay, for_peer};
use super::session::{Outcome, Session};
use super::table::Table;
use super::udp::{frame, framed_bytes};
use super::{Shared, Turn};
use crate::socket::Buffers;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// A connection without an allocation is closed after so long.
const WITHOUT_ALLOCATION: Duration = Duration::from_secs(30);
/// Between looks at what only time brings.
const TICK: Duration = Duration::from_secs(1);
/// What waits for a client that reads slowly; more is dropped, as a network would.
const BACKLOG_BYTES: usize = 1 << 20;
/// Read at once. The longest message has 65555 bytes.
const READ_BYTES: usize = 128 << 10;
/// After an error of the listener, such as no more files.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections now, of an address and in all.
#[derive(Default)]
pub(crate) struct Connections(Mutex<(usize, HashMap<IpAddr, usize>)>);

/// One connection's place.
pub struct Seat {
    shared: Arc<Shared>,
    ip: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.shared.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.0 -= 1;
        let left = counts.1.get(&self.ip).copied().unwrap_or_default().saturating_sub(1);
        match left {
            0 => counts.1.remove(&self.ip),
            left => counts.1.insert(self.ip, left),
        };
    }
}

impl Turn {
    /// A place for a connection from there; `None` if there are too many, in all or of that address.
    pub fn seat(&self, client: SocketAddr) -> Option<Seat> {
        let config = &self.0.server.config;
        let ip = client.ip().to_canonical();
        let mut counts = self.0.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_ip = counts.1.get(&ip).copied().unwrap_or_default();
        if counts.0 >= config.max_connections || of_ip >= config.max_allocations_per_address {
            metrics::counter!("vidicon_turn_refused_connections_total").increment(1);
            return None;
        }
        counts.0 += 1;
        counts.1.insert(ip, of_ip + 1);
        drop(counts);
        Some(Seat { shared: self.0.clone(), ip })
    }

    /// Serves clients over TCP until it is stopped.
    pub async fn serve_tcp(self, listener: TcpListener, stop: CancellationToken, tasks: TaskTracker) {
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let (stream, client) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "a TURN connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (Some(seat), Ok(local)) = (self.seat(client), stream.local_addr()) else { continue };
            let _ = stream.set_nodelay(true);
            let (turn, stop) = (self.clone(), stop.clone());
            let serve = async move { turn.serve_connection(stream, false, client, local, seat, stop).await };
            tasks.spawn(serve.instrument(tracing::info_span!("turn connection", %client)));
        }
    }

    /// Serves one connection until its client or the server ends it. `by_message` writes each message by itself: over TLS, where some clients
    /// take a record for a message.
    pub async fn serve_connection(
        &self,
        stream: impl AsyncRead + AsyncWrite,
        by_message: bool,
        client: SocketAddr,
        local: SocketAddr,
        seat: Seat,
        stop: CancellationToken,
    ) {
        let (read, write) = tokio::io::split(stream);
        let now = Instant::now();
        let connection = Connection {
            session: Session::new(self.0.server.clone(), client, false),
            shared: self.0.clone(),
            local,
            relays: Vec::new(),
            table: Arc::default(),
            out: Vec::new(),
            sent: 0,
            message_end: by_message.then_some(0),
            budgets: Default::default(),
            since: now,
        };
        if let Some(Err(error)) = stop.run_until_cancelled(connection.run(read, write)).await {
            tracing::debug!(%error, %client, "a TURN connection has ended");
        }
        drop(seat);
    }
}

struct Connection {
    shared: Arc<Shared>,
    session: Session,
    local: SocketAddr,
    relays: Vec<Arc<Relay>>,
    table: Arc<Table>,
    /// What the client has not taken yet, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// Where the message ends that is being sent, if each is sent by itself.
    message_end: Option<usize>,
    /// To peers, to the client.
    budgets: [Arc<Budget>; 2],
    /// When there was an allocation last, or the beginning.
    since: Instant,
}

impl Connection {
    async fn run(mut self, read: impl AsyncRead, write: impl AsyncWrite) -> io::Result<()> {
        let (mut read, mut write) = (pin!(read), pin!(write));
        let mut input = Vec::with_capacity(4096);
        // Made with the first allocation: a connection that has none is to be small.
        let mut buffers: Option<Box<Buffers>> = None;
        let mut unflushed = false;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.next_message();
            tokio::select! {
                result = read.read_buf(&mut input) => {
                    if result? == 0 {
                        return Ok(());
                    }
                    let taken = self.take(&input, Instant::now())?;
                    input.drain(..taken);
                    if input.len() >= READ_BYTES {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                }
                // Waited for beside all else: time has to go on for a client that does not read.
                result = send(&mut write, &self.out[self.sent..self.message_end.unwrap_or(self.out.len())]),
                    if unflushed || self.sent < self.out.len() =>
                {
                    let bytes = result?;
                    unflushed = bytes > 0;
                    self.wrote(bytes);
                }
                relay = any(&self.relays) => {
                    let buffers = buffers.get_or_insert_default();
                    self.receive_from(relay, buffers, Instant::now());
                }
                _ = tick.tick() => {
                    let now = Instant::now();
                    if self.session.expire(now) {
                        self.relays.clear();
                        self.since = now;
                    }
                    if !self.session.is_allocated() && now.saturating_duration_since(self.since) > WITHOUT_ALLOCATION {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Finds the end of the message that is to be sent next.
    fn next_message(&mut self) {
        if self.message_end.is_some_and(|end| end <= self.sent)
            && let Some(head) = self.out.get(self.sent..self.sent + 4)
        {
            self.message_end = Some(self.sent + message_bytes(head).map_or(4, |(_, length)| length));
        }
    }

    /// So many bytes more are on their way to the client.
    fn wrote(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.out.len() || self.sent > BACKLOG_BYTES / 4 {
            self.out.drain(..self.sent);
            self.message_end = self.message_end.map(|end| end - self.sent);
            self.sent = 0;
        }
    }

    /// Takes whole messages; says how many bytes they had.
    fn take(&mut self, input: &[u8], at: Instant) -> io::Result<usize> {
        let now = self.shared.now(at);
        let mut taken = 0;
        while let Some(head) = input.get(taken..taken + 4) {
            // What follows on something unknown cannot be found.
            let (is_data, length) = message_bytes(head).ok_or(io::ErrorKind::InvalidData)?;
            let Some(message) = input.get(taken..taken + length) else { break };
            taken += length;
            let mut opener = Opener::new(&self.shared, Some(self.local.ip()));
            let outcome = match is_data {
                true => self.session.channel_data(message, at),
                false => self.session.handle(message, now, &mut self.out, &mut opener),
            };
            if !opener.relays.is_empty() {
                self.relays = opener.relays;
                self.budgets = self.session.budgets();
            }
            match outcome {
                Outcome::Dropped(why) => meter::dropped(why, 1),
                Outcome::Answered => {
                    if let Some(table) = self.session.take_table() {
                        self.table = table;
                    }
                    if !self.session.is_allocated() && !self.relays.is_empty() {
                        self.relays.clear();
                        self.since = at;
                    }
                }
                Outcome::Send(peer, data) => {
                    let Some(relay) = for_peer(&self.relays, peer) else { continue };
                    match self.budgets[0].takes(data.len(), at) {
                        true => meter::relayed("to peers", 1, data.len(), relay.send(peer, data.len().max(1), data)),
                        false => meter::dropped("over the limit", 1),
                    }
                }
            }
            if self.out.len() - self.sent > BACKLOG_BYTES {
                // It asks and does not read.
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(taken)
    }

    fn receive_from(&mut self, relay: io::Result<usize>, buffers: &mut Buffers, now: Instant) {
        let Some(relay) = relay.ok().and_then(|n| self.relays.get(n)) else { return };
        if let Some(table) = self.session.take_table() {
            self.table = table;
        }
        let (table, out, sent, budget) = (&self.table, &mut self.out, self.sent, &self.budgets[1]);
        let received = relay.socket.try_receive(buffers, |from, data| {
            let peer = SocketAddr::new(from.remote.ip(), from.remote.port());
            let Some(via) = table.via(peer, now) else { return meter::dropped("not permitted", 1) };
            let length = framed_bytes(via, peer, data);
            if out.len() - sent + length > BACKLOG_BYTES {
                return meter::dropped("slow client", 1);
            }
            if !budget.takes(data.len(), now) {
                return meter::dropped("over the limit", 1);
            }
            frame(out, via, peer, data);
            // On a stream ChannelData is padded (RFC 8656 §12.5).
            out.resize(out.len() + pad(length) - length, 0);
            meter::relayed("to clients", 1, length, Ok(()));
        });
        if let Err(error) = received {
            tracing::debug!(%error, "a relay's socket reported an error");
        }
    }
}

/// Whether a message that begins so is ChannelData, and how many bytes it has; `None` for what is neither that nor STUN.
pub(crate) fn message_bytes(head: &[u8]) -> Option<(bool, usize)> {
    let length = usize::from(u16::from_be_bytes([*head.get(2)?, *head.get(3)?]));
    match head[0] {
        0..=3 => Some((false, 20 + length)),
        0x40..=0x7f => Some((true, 4 + pad(length))),
        _ => None,
    }
}

/// Up to a multiple of four.
fn pad(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Sends some of these bytes, says how many; without any, sees to it that those before are on their way. Cancel safe.
async fn send(write: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<usize> {
    match bytes {
        [] => write.flush().await.map(|()| 0),
        bytes => match write.write(bytes).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            sent => Ok(sent),
        },
    }
}

/// Waits until one of them may have something; its index.
async fn any(relays: &[Arc<Relay>]) -> io::Result<usize> {
    match relays {
        [] => std::future::pending().await,
        [one] => one.socket.readable().await.map(|()| 0),
        [first, second, ..] => tokio::select! {
            readable = first.socket.readable() => readable.map(|()| 0),
            readable = second.socket.readable() => readable.map(|()| 1),
        },
    }
}
