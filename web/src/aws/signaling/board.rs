//! The board: the one core of all channels behind a lock, the wakers of its sockets, and the task that keeps its time.
//! Nothing is awaited under the lock.

use super::rights;
use crate::{
    auth::Caller,
    aws::arn::Resource,
    shares::{Share, Shares},
    state::Shared,
};
use media::{StreamName, UnixMillis};
use signaling::channel::{
    ChannelId, ClientId, Close, Config, Connect, Core, Frame, NoAnswer, OfferId, Presence, Refusal, Refused, Role,
    SocketId,
};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use store::{Notice, Store, documents::STREAM};
use tokio::{
    sync::{
        Notify, Semaphore,
        broadcast::{self, error::RecvError},
        oneshot,
    },
    time::{sleep, sleep_until},
};

/// Whether those who are connected still may be is looked at so often, and soon after a key, policy or channel changed.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Changes that come within so long are looked at together.
const GATHER: Duration = Duration::from_millis(200);
/// Memory for messages that have begun to come and are not whole, all sockets together.
const COMING_KIB: usize = 64 << 10;
/// Changes of presence that a slow listener may be behind.
const CHANGES: usize = 256;

/// Which channel a client is connected to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Channel {
    pub(crate) name: StreamName,
    pub(crate) created_at: UnixMillis,
}

impl Channel {
    /// As the core knows it: a channel of the same name that is made later is another.
    pub(crate) fn id(&self) -> ChannelId {
        ChannelId(format!("{}/{}", self.name, self.created_at.0).into())
    }
}

/// A connected client.
pub(super) struct Client {
    /// There is something to send to it.
    pub(super) wake: Notify,
    /// Who it is, with the action by which it was let in.
    pub(super) caller: Caller,
    /// The local address that it came in on.
    pub(super) reached_at: Option<IpAddr>,
    pub(super) channel: Channel,
    /// Of the sockets of its access key.
    pub(super) _share: Share<String>,
}

impl Client {
    /// Tells TURN of the candidates in what this client sends: the others of the channel may reach them through it.
    pub(super) fn heard(&self, text: &str) {
        let shared = &self.caller.shared;
        if let Some(turn) = &shared.turn {
            let Channel { name, created_at } = &self.channel;
            turn.heard(&shared.aws.account.arn(Resource::Channel, name, *created_at).to_string(), text);
        }
    }
}

/// What ends the wait for the answer to an offer.
pub(super) type Answered = oneshot::Receiver<Result<String, NoAnswer>>;

/// Who waits for the answer to an offer.
struct Waiter {
    tell: oneshot::Sender<Result<String, NoAnswer>>,
    asker: Asker,
}

/// Who asks the server, where that is the master: with the action of the request, and the local address that it came in on.
pub(super) struct Asker {
    pub(super) caller: Caller,
    pub(super) reached_at: Option<IpAddr>,
}

struct Joined {
    core: Core,
    clients: HashMap<SocketId, Arc<Client>>,
    /// The seats that the server itself has.
    own: HashMap<SocketId, Arc<Notify>>,
    waiting: HashMap<OfferId, Waiter>,
}

/// All channels, their sockets, and who waits for answers.
pub(crate) struct Board {
    joined: Mutex<Joined>,
    /// The core's next timeout came nearer.
    sooner: Notify,
    pub(super) store: Store,
    shares: Arc<Shares<String>>,
    /// Memory for messages that are coming, in KiB.
    pub(super) coming: Semaphore,
    changes: broadcast::Sender<ChannelId>,
}

impl Board {
    pub(crate) fn new(store: Store, config: Config) -> Self {
        let joined =
            Joined { core: Core::new(config), clients: HashMap::new(), own: HashMap::new(), waiting: HashMap::new() };
        Board {
            joined: Mutex::new(joined),
            sooner: Notify::new(),
            store,
            shares: Arc::default(),
            coming: Semaphore::new(COMING_KIB),
            changes: broadcast::channel(CHANGES).0,
        }
    }

    /// Does something to the core, then tells everyone whom its outputs are for.
    fn with<T>(&self, act: impl FnOnce(&mut Joined, Instant) -> T) -> T {
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        let before = joined.core.poll_timeout();
        let done = act(&mut joined, Instant::now());
        let Joined { core, clients, own, waiting } = &mut *joined;
        while let Some(id) = core.poll_woken() {
            if let Some(wake) = clients.get(&id).map(|client| &client.wake).or(own.get(&id).map(|wake| &**wake)) {
                wake.notify_one();
            }
        }
        while let Some((id, answer)) = core.poll_answered() {
            if let Some(waiter) = waiting.remove(&id) {
                // Who asked may have gone.
                let _ = waiter.tell.send(answer);
            }
        }
        while let Some(channel) = core.poll_changed() {
            // Nobody may listen.
            let _ = self.changes.send(channel);
        }
        let after = core.poll_timeout();
        drop(joined);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.sooner.notify_one();
        }
        done
    }

    pub(super) fn config(&self) -> Config {
        self.with(|joined, _| joined.core.config().clone())
    }

    /// A socket among those of an access key, unless it has too many.
    pub(super) fn share(&self, holder: String) -> Option<Share<String>> {
        let most = self.config().max_sockets_per_key;
        self.shares.take(holder, 1, most)
    }

    /// Lets a client in. The socket that it replaces, if any, is closed.
    pub(super) fn connect(
        &self,
        client: Client,
        role: Role,
        ttl: Duration,
    ) -> Result<(SocketId, Arc<Client>), Refused> {
        let (client, since) = (Arc::new(client), self.store.now());
        let connect = Connect { channel: client.channel.id(), role, ttl, since };
        let connected = self.with(|joined, now| {
            let id = joined.core.handle_connected(now, connect)?;
            joined.clients.insert(id, client.clone());
            Ok((id, client))
        })?;
        metrics::gauge!("vidicon_signaling_sockets").increment(1);
        Ok(connected)
    }

    pub(super) fn text(&self, id: SocketId, text: &str) {
        self.with(|joined, now| joined.core.handle_text(now, id, text));
    }

    pub(super) fn alive(&self, id: SocketId) {
        self.with(|joined, now| joined.core.handle_alive(now, id));
    }

    pub(super) fn close(&self, id: SocketId, why: Close) {
        self.with(|joined, _| joined.core.close(id, why));
    }

    /// What a socket is to be sent next.
    pub(super) fn take(&self, id: SocketId) -> Option<Frame> {
        self.with(|joined, now| joined.core.poll_socket(now, id))
    }

    /// A socket has ended.
    pub(super) fn closed(&self, id: SocketId) {
        let client = self.with(|joined, _| {
            joined.core.handle_closed(id);
            joined.own.remove(&id);
            joined.clients.remove(&id)
        });
        if client.is_some() {
            metrics::gauge!("vidicon_signaling_sockets").decrement(1);
        }
    }

    /// Sends an offer whose answer is waited for.
    pub(super) fn offer(
        &self,
        channel: &ChannelId,
        sender: ClientId,
        payload: String,
        wait: Duration,
        asker: Asker,
    ) -> Result<(OfferId, Answered), Refused> {
        self.with(|joined, now| {
            let id = joined.core.handle_offer(now, channel, sender, payload, wait)?;
            let (tell, answered) = oneshot::channel();
            joined.waiting.insert(id, Waiter { tell, asker });
            Ok((id, answered))
        })
    }

    /// The server becomes the master of a channel; `wake` is told when there is mail for [`Board::take`]. Ends with [`Board::closed`].
    pub(super) fn seat(&self, channel: &Channel, ttl: Duration, wake: Arc<Notify>) -> Result<SocketId, Refused> {
        let since = self.store.now();
        self.with(|joined, now| {
            let id = joined.core.handle_seated(now, channel.id(), ttl, since)?;
            joined.own.insert(id, wake);
            Ok(id)
        })
    }

    /// What the server, on this seat, says to the offer of a viewer. True if an answer is on its way.
    pub(super) fn reply(
        &self,
        id: SocketId,
        to: &ClientId,
        correlation_id: Option<&str>,
        reply: Result<String, Refusal>,
    ) -> bool {
        self.with(|joined, now| joined.core.handle_reply(now, id, to, correlation_id, reply))
    }

    /// Who asks under the id of a viewer, if that is still there.
    pub(super) fn asker(&self, channel: &ChannelId, id: &ClientId) -> Option<Asker> {
        let again = |caller: &Caller| caller.with(caller.action());
        self.with(|joined, _| match joined.core.asks_by(channel, id)? {
            Ok(socket) => joined
                .clients
                .get(&socket)
                .map(|client| Asker { caller: again(&client.caller), reached_at: client.reached_at }),
            Err(offer) => joined
                .waiting
                .get(&offer)
                .map(|waiter| Asker { caller: again(&waiter.asker.caller), reached_at: waiter.asker.reached_at }),
        })
    }

    /// Nobody waits for it any more.
    pub(super) fn offer_dropped(&self, id: OfferId) {
        self.with(|joined, _| {
            joined.core.handle_offer_dropped(id);
            joined.waiting.remove(&id)
        });
    }

    pub(super) fn presence(&self, channel: &ChannelId) -> Presence {
        self.with(|joined, _| joined.core.presence(channel))
    }

    /// Channels whose presence changes, from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<ChannelId> {
        self.changes.subscribe()
    }

    /// Everyone who is connected, in the order of their channels.
    pub(super) fn clients(&self) -> Vec<(SocketId, Arc<Client>)> {
        let mut clients: Vec<_> =
            self.with(|joined, _| joined.clients.iter().map(|(id, client)| (*id, client.clone())).collect());
        clients.sort_by(|(_, a), (_, b)| a.channel.cmp(&b.channel));
        clients
    }

    pub(super) fn deleted(&self, channel: &Channel) {
        self.with(|joined, _| joined.core.handle_deleted(&channel.id()));
    }

    pub(super) fn ttl(&self, channel: &Channel, ttl: Duration) {
        self.with(|joined, _| joined.core.handle_ttl(&channel.id(), ttl));
    }
}

/// Keeps the time of the board and the rights of its clients, until the server stops; then everyone is told to go.
pub(crate) async fn run(shared: Arc<Shared>) {
    let board = &shared.signaling;
    let mut notices = board.store.notices();
    let mut look_at = tokio::time::Instant::now() + LOOK_EVERY;
    loop {
        let timeout = board.with(|joined, _| joined.core.poll_timeout());
        let timed = async {
            match timeout {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => break,
            () = timed => {
                let kept = board.with(|joined, now| {
                    joined.core.handle_timeout(now);
                    joined.core.kept_bytes()
                });
                metrics::gauge!("vidicon_signaling_kept_bytes").set(kept as f64);
            }
            () = board.sooner.notified() => {}
            () = sleep_until(look_at) => {
                rights::look(&shared).await;
                look_at = tokio::time::Instant::now() + LOOK_EVERY;
            }
            noticed = notices.recv() => match noticed {
                // A stream's document says nothing of who may connect.
                Ok(Notice::Documents(collection)) if collection != STREAM => {
                    look_at = look_at.min(tokio::time::Instant::now() + GATHER);
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => look_at = tokio::time::Instant::now(),
                Err(RecvError::Closed) => sleep(LOOK_EVERY).await,
            },
        }
    }
    board.with(|joined, _| joined.core.handle_stop());
}
