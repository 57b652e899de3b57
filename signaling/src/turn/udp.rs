//! Clients over UDP, on the socket that they share with WebRTC peers.
//!
//! What belongs here: the table of clients, one task for each of their sockets, and sending in runs. What does not: the socket's
//! task (`crate::task`), which calls this for what is for TURN.

use super::meter::{self, Budget};
use super::relay::{Opener, Relay, for_peer};
use super::runs::{Equal, Runs};
use super::server::Now;
use super::session::{Outcome, Session};
use super::table::{Table, Via};
use super::{Shared, Turn};
use crate::batch::{Batch, Path};
use crate::socket::{Buffers, Socket};
use crate::stun::{Class, Writer, attribute, method};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// All of them.
pub(crate) struct Clients {
    shared: Arc<Shared>,
    socket: Arc<Socket>,
    stop: CancellationToken,
    tasks: TaskTracker,
    clients: HashMap<Path, Client>,
    runs: Runs,
    answer: Vec<u8>,
}

/// One with an allocation.
struct Client {
    session: Session,
    relays: Vec<Arc<Relay>>,
    table: watch::Sender<Arc<Table>>,
    budget: Arc<Budget>,
    _stop: DropGuard,
}

impl Clients {
    /// None yet.
    pub(crate) fn new(turn: &Turn, socket: Arc<Socket>, stop: CancellationToken, tasks: TaskTracker) -> Clients {
        let shared = turn.0.clone();
        Clients { shared, socket, stop, tasks, clients: HashMap::new(), runs: Runs::default(), answer: Vec::new() }
    }

    /// Takes a datagram of a client. Answers go into the batch; what is for peers waits for [`Clients::flush`].
    pub(crate) fn datagram(&mut self, path: Path, datagram: &[u8], batch: &mut Batch, at: Instant) {
        if datagram.first().is_some_and(|first| first & 0xc0 == 0x40) {
            let Some(client) = self.clients.get_mut(&path) else { return meter::dropped("unbound", 1) };
            let outcome = client.session.channel_data(datagram, at);
            return client.pass_on(outcome, &mut self.runs, at);
        }
        let now = self.shared.now(at);
        self.answer.clear();
        let mut opener = Opener::new(&self.shared, path.local);
        match self.clients.get_mut(&path) {
            Some(client) => {
                let outcome = client.session.handle(datagram, now, &mut self.answer, &mut opener);
                client.pass_on(outcome, &mut self.runs, at);
                if let Some(table) = client.session.take_table() {
                    client.table.send_replace(table);
                }
                // A second allocation needs the first to end: its sockets are others.
                let again = !opener.relays.is_empty();
                if !client.session.is_allocated() || again {
                    let client = self.clients.remove(&path);
                    if let (true, Some(client)) = (again, client) {
                        let relays = opener.relays;
                        self.add(path, client.session, relays);
                    }
                }
            }
            None => {
                let mut session = Session::new(self.shared.server.clone(), path.remote, true);
                if let Outcome::Dropped(why) = session.handle(datagram, now, &mut self.answer, &mut opener) {
                    meter::dropped(why, 1);
                }
                let relays = opener.relays;
                if session.is_allocated() {
                    self.add(path, session, relays);
                }
            }
        }
        if !self.answer.is_empty() {
            batch.push(path, &self.answer);
        }
    }

    fn add(&mut self, path: Path, mut session: Session, relays: Vec<Arc<Relay>>) {
        let stop = self.stop.child_token();
        let table = watch::Sender::new(session.take_table().unwrap_or_default());
        let [budget, to_client] = session.budgets();
        for relay in &relays {
            let task = ToClient {
                relay: relay.clone(),
                table: table.subscribe(),
                socket: self.socket.clone(),
                path,
                stop: stop.clone(),
                budget: to_client.clone(),
            };
            let span = tracing::info_span!("turn relay", client = %path.remote);
            self.tasks.spawn(task.run().instrument(span));
        }
        self.clients.insert(path, Client { session, relays, table, budget, _stop: stop.drop_guard() });
    }

    /// Sends what waits for peers.
    pub(crate) fn flush(&mut self) {
        self.runs.flush();
    }

    /// Ends what time ends.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.clients.retain(|_, client| !client.session.expire(now));
        self.shared.tick(now);
    }
}

impl Client {
    fn pass_on(&mut self, outcome: Outcome<'_>, runs: &mut Runs, now: Instant) {
        match outcome {
            Outcome::Dropped(why) => meter::dropped(why, 1),
            Outcome::Answered => {}
            Outcome::Send(peer, data) => {
                let Some(relay) = for_peer(&self.relays, peer) else { return };
                match self.budget.takes(data.len(), now) {
                    true => runs.push(relay, peer, data),
                    false => meter::dropped("over the limit", 1),
                }
            }
        }
    }
}

/// What a thread receives into and sends from: one for all sockets that it drives, as no task keeps anything in it.
#[derive(Default)]
struct Scratch {
    buffers: Buffers,
    run: Equal,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Takes what peers send to one socket to its client.
struct ToClient {
    relay: Arc<Relay>,
    table: watch::Receiver<Arc<Table>>,
    socket: Arc<Socket>,
    path: Path,
    stop: CancellationToken,
    budget: Arc<Budget>,
}

impl ToClient {
    async fn run(mut self) {
        let stop = self.stop.clone();
        let mut stopped = pin!(stop.cancelled());
        let mut table = self.table.borrow_and_update().clone();
        loop {
            tokio::select! {
                () = &mut stopped => break,
                readable = self.relay.socket.readable() => if let Err(error) = readable {
                    tracing::warn!(%error, "a relay's socket cannot be waited for");
                    break;
                },
            }
            // Looked at once for all that is there.
            if self.table.has_changed().unwrap_or(false) {
                table = self.table.borrow_and_update().clone();
            }
            SCRATCH.with_borrow_mut(|scratch| self.take(scratch, &table, Instant::now()));
        }
    }

    fn take(&mut self, scratch: &mut Scratch, table: &Table, now: Instant) {
        let Scratch { buffers, run } = scratch;
        let (socket, path, budget) = (&self.socket, self.path, &self.budget);
        let most = socket.most_segments();
        let send = |run: &mut Equal| {
            if run.count() > 0 {
                let result = socket.try_send(path, run.segment, &run.bytes);
                meter::relayed("to clients", run.count(), run.bytes.len(), result);
                run.clear();
            }
        };
        let received = self.relay.socket.try_receive(buffers, |from, data| {
            let peer = SocketAddr::new(from.remote.ip(), from.remote.port());
            let Some(via) = table.via(peer, now) else { return meter::dropped("not permitted", 1) };
            if !budget.takes(data.len(), now) {
                return meter::dropped("over the limit", 1);
            }
            let length = framed_bytes(via, peer, data);
            if !run.fits(length, most) {
                send(run);
            }
            frame(run.add(length), via, peer, data);
        });
        send(run);
        if let Err(error) = received {
            tracing::debug!(%error, "a relay's socket reported an error");
        }
    }
}

/// Data indications so far.
static INDICATIONS: AtomicU64 = AtomicU64::new(0);

/// How many bytes a peer's data is to the client, without padding behind it.
pub(crate) fn framed_bytes(via: Via, peer: SocketAddr, data: &[u8]) -> usize {
    match via {
        Via::Channel(_) => 4 + data.len(),
        Via::Indication => 20 + if peer.is_ipv4() { 12 } else { 24 } + 4 + data.len().next_multiple_of(4),
    }
}

/// Adds a peer's data as the client gets it (RFC 8656 §11.3, §12.5).
pub(crate) fn frame(out: &mut Vec<u8>, via: Via, peer: SocketAddr, data: &[u8]) {
    match via {
        Via::Channel(number) => {
            // A datagram is never longer.
            let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(data);
        }
        Via::Indication => {
            // Nobody answers an indication, so what its transaction is called is all the same (RFC 8489 §6); no two are called alike.
            let mut transaction = [0; 12];
            transaction[4..].copy_from_slice(&INDICATIONS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            Writer::new(out, Class::Indication, method::DATA, transaction)
                .xor(attribute::XOR_PEER_ADDRESS, peer)
                .attribute(attribute::DATA, data);
        }
    }
}

impl Shared {
    /// Now, by both clocks.
    pub(crate) fn now(&self, at: Instant) -> Now {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Now { at, unix_s: since.as_secs() }
    }
}
