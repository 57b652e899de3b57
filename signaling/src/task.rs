//! The task that owns the socket and all peers.
//!
//! What belongs here: waiting, and handing what comes to the peer or feed it is for. A viewer's datagrams are foreign
//! bytes in a young library: a panic in any call into a peer ends that viewer only.

use crate::batch::{Batch, Path};
use crate::demux::{Demux, PeerKey, is_for_turn};
use crate::fanout::{Condition, Feed, FeedEvent, FeedTask, Picture};
use crate::peer::{Call, End, Peer};
use crate::receive::{publisher::Publisher, publishers::Publishers};
use crate::room::Room;
use crate::socket::{Buffers, Socket};
use crate::turn::{Turn, udp::Clients};
use media::UnixMicros;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Store, Stream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Pictures of all feeds on their way to the task.
const FEED_EVENTS: usize = 256;
/// Events taken in one go before sending.
const EVENTS_AT_ONCE: usize = 32;
/// Packets that a viewer may still ask for again where memory is short.
const FEW_SENT: usize = 256;
/// A viewer for whom more waits is slow.
const SLOW_BYTES: usize = 256 << 10;
/// Between looks at what only time brings.
const TICK: Duration = Duration::from_millis(100);
/// Between turns while some viewer is paced.
const PACE: Duration = Duration::from_millis(1);

/// What the handle asks of the task.
pub(crate) enum Command {
    /// Someone wants to see this stream: make sure that it is followed, and say how it is.
    Want(Box<Stream>, oneshot::Sender<watch::Receiver<Condition>>),
    /// A peer whose answer is about to be sent.
    Add(PeerKey, Box<Peer>, Box<Stream>, oneshot::Sender<()>),
    /// A publisher into the stream of this id, whose answer is about to be sent; answers whether nobody else sends into it.
    Receive(PeerKey, Box<Publisher>, u64, oneshot::Sender<bool>),
    /// Closes the peer of this id; answers whether there was one.
    Close(String, oneshot::Sender<bool>),
    /// Whether there is a peer of this id.
    IsOpen(String, oneshot::Sender<bool>),
}

/// The task.
pub(crate) struct PeersTask {
    socket: Arc<Socket>,
    buffers: Buffers,
    commands: mpsc::Receiver<Command>,
    /// Handed to every feed's task.
    feed_events: mpsc::Sender<(u64, FeedEvent)>,
    events: mpsc::Receiver<(u64, FeedEvent)>,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Kept so that the store outlives the followers; its clock says when packets came.
    store: Store,
    state: State,
}

/// What datagrams and events change.
#[derive(Default)]
struct State {
    demux: Demux,
    peers: HashMap<PeerKey, (Box<Peer>, u64)>,
    ids: HashMap<String, PeerKey>,
    publishers: Publishers,
    /// By a number of their own, never reused: a late event of an ended feed finds nothing.
    feeds: HashMap<u64, Feed>,
    /// The feed of a stream, by the catalog's id.
    by_stream: HashMap<u64, u64>,
    next_feed: u64,
    /// Peers with packets that wait for pacing.
    paced: HashSet<PeerKey>,
    batch: Batch,
    /// Of the pictures of all.
    room: Arc<Room>,
    turn: Option<Clients>,
}

impl PeersTask {
    /// A task that is not running yet.
    pub(crate) fn new(
        socket: Socket,
        commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
        tasks: TaskTracker,
        store: Store,
        room: Arc<Room>,
    ) -> Self {
        let batch = Batch { most_segments: socket.most_segments(), ..Batch::default() };
        let state = State { batch, room, ..State::default() };
        let (feed_events, events) = mpsc::channel(FEED_EVENTS);
        let buffers = Buffers::default();
        let socket = Arc::new(socket);
        PeersTask { socket, buffers, commands, feed_events, events, stop, tasks, store, state }
    }

    /// The same, which serves STUN and TURN as well.
    pub(crate) fn with_turn(mut self, turn: Option<&Turn>) -> Self {
        let clients = |turn| Clients::new(turn, self.socket.clone(), self.stop.clone(), self.tasks.clone());
        self.state.turn = turn.map(clients);
        self
    }

    /// Runs until stopped.
    pub(crate) async fn run(mut self) {
        tracing::info!(gso = self.socket.most_segments(), "WebRTC peers are served");
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let (paced, blocked) = (!self.state.paced.is_empty(), !self.state.batch.runs.is_empty());
            tokio::select! {
                () = self.stop.cancelled() => break,
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                Some((feed, event)) = self.events.recv() => {
                    self.state.feed_event(feed, event, Instant::now());
                    for _ in 1..EVENTS_AT_ONCE {
                        self.socket.send(&mut self.state.batch);
                        let Ok((feed, event)) = self.events.try_recv() else { break };
                        self.state.feed_event(feed, event, Instant::now());
                    }
                }
                result = {
                    let (state, store) = (&mut self.state, &self.store);
                    let received = move |path, datagram: &[u8]| {
                        state.datagram((Instant::now(), store.now().to_micros()), path, datagram);
                    };
                    self.socket.receive(&mut self.buffers, received)
                } => if let Err(error) = result {
                    // Linux reports here what ICMP said of an earlier datagram.
                    tracing::debug!(%error, "the UDP socket reported an error");
                },
                () = self.socket.writable(), if blocked => {}
                () = tokio::time::sleep(PACE), if paced => {}
                _ = tick.tick() => self.state.tick(Instant::now()),
            }
            self.state.pace(Instant::now());
            self.socket.send(&mut self.state.batch);
            if let Some(turn) = &mut self.state.turn {
                turn.flush();
            }
        }
        let peers: Vec<PeerKey> = self.state.peers.keys().copied().collect();
        for peer in peers {
            self.state.end(peer, &End::Stopped, Instant::now());
        }
        let State { publishers, demux, batch, .. } = &mut self.state;
        publishers.end_all(Instant::now(), demux, batch);
        self.socket.send(&mut self.state.batch);
        tracing::info!("WebRTC peers are no longer served");
    }

    fn command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Want(stream, reply) => {
                let feed = self.feed(&stream, now);
                if let Some(feed) = self.state.feeds.get(&feed) {
                    let _ = reply.send(feed.condition.subscribe()); // Whoever asked may have gone.
                }
            }
            Command::Add(key, peer, stream, reply) => {
                let feed = self.feed(&stream, now);
                if reply.send(()).is_ok() {
                    self.state.add(key, peer, feed);
                }
            }
            Command::Receive(key, publisher, stream, reply) => {
                let id = publisher.link().id().to_owned();
                let state = &mut self.state;
                let added = state.publishers.add(key, publisher, stream, &mut state.demux);
                if reply.send(added).is_err() {
                    self.state.close_publisher(&id, now); // Whoever asked is gone.
                }
            }
            Command::Close(id, reply) if self.state.publishers.find(&id).is_some() => {
                self.state.close_publisher(&id, now);
                let _ = reply.send(true);
            }
            Command::Close(id, reply) => {
                let peer = self.state.ids.get(&id).copied();
                if let Some(peer) = peer {
                    self.state.end(peer, &End::Asked, now);
                }
                let _ = reply.send(peer.is_some());
            }
            Command::IsOpen(id, reply) => {
                let _ = reply.send(self.state.ids.contains_key(&id) || self.state.publishers.find(&id).is_some());
            }
        }
    }

    /// The feed of a stream; begins to follow it if nobody did.
    fn feed(&mut self, stream: &Stream, now: Instant) -> u64 {
        let info = stream.info();
        if let Some(number) = self.state.by_stream.get(&info.id)
            && let Some(feed) = self.state.feeds.get_mut(number)
        {
            feed.wanted = now;
            return *number;
        }
        let number = self.state.next_feed;
        self.state.next_feed += 1;
        let stop = self.stop.child_token();
        let task = FeedTask {
            stream: stream.clone(),
            feed: number,
            events: self.feed_events.clone(),
            room: self.state.room.clone(),
            stop: stop.clone(),
        };
        self.tasks.spawn(task.run().instrument(tracing::info_span!("webrtc feed", stream = %info.name)));
        self.state.feeds.insert(number, Feed::new(info.name.as_str(), stop, now));
        self.state.by_stream.insert(info.id, number);
        number
    }
}

impl State {
    fn add(&mut self, key: PeerKey, peer: Box<Peer>, feed: u64) {
        self.demux.add(peer.ufrag(), key);
        self.ids.insert(peer.id().to_owned(), key);
        self.peers.insert(key, (peer, feed));
        if let Some(feed) = self.feeds.get_mut(&feed) {
            feed.viewers.push(key);
        }
    }

    fn close_publisher(&mut self, id: &str, now: Instant) {
        if let Some(key) = self.publishers.find(id) {
            self.publishers.end(key, &End::Asked, now, &mut self.demux, &mut self.batch);
        }
    }

    /// `times`: of the moment, and by the wall clock.
    fn datagram(&mut self, times: (Instant, UnixMicros), path: Path, datagram: &[u8]) {
        let now = times.0;
        let dropped = |reason: &'static str| {
            metrics::counter!("vidicon_webrtc_dropped_datagrams_total", "reason" => reason).increment(1);
        };
        if let Some(turn) = &mut self.turn
            && is_for_turn(datagram)
        {
            return turn.datagram(path, datagram, &mut self.batch, now);
        }
        let (key, kind) = match self.demux.route(path.remote, datagram) {
            Ok(found) => found,
            Err(why) => return dropped(why.reason()),
        };
        let Some((peer, feed)) = self.peers.get_mut(&key) else {
            let (demux, batch) = (&mut self.demux, &mut self.batch);
            let taken = self.publishers.datagram(key, times, (kind, path), datagram, (demux, batch));
            return taken.unwrap_or_else(dropped);
        };
        let batch = &mut self.batch;
        let handled = guarded(peer, Call::Input, |peer| peer.handle_input(now, kind, path, datagram, batch));
        let reaction = match handled.flatten() {
            Ok(reaction) => reaction,
            Err(end) => return self.end(key, &end, now),
        };
        if let Some(addr) = reaction.forgotten {
            self.demux.forget(addr, key);
        }
        if let Some(addr) = reaction.learned {
            self.demux.learn(addr, key);
        }
        if reaction.dropped {
            dropped("refused");
        }
        if reaction.start {
            if let Some(feed) = self.feeds.get(feed)
                && let Err(end) = guarded(peer, Call::Start, |peer| peer.start(now, feed.cache.pictures()))
            {
                return self.end(key, &end, now);
            }
            self.paced.insert(key);
        }
    }

    fn feed_event(&mut self, number: u64, event: FeedEvent, now: Instant) {
        let Some(feed) = self.feeds.get_mut(&number) else { return };
        let last = match event {
            FeedEvent::Picture(picture) => {
                feed.cache.push(&picture);
                return self.spread(number, &picture, now, |peer, picture| peer.picture(picture));
            }
            FeedEvent::Sound(packet) => {
                return self.spread(number, &packet, now, |peer, packet| {
                    peer.sound(packet);
                    0
                });
            }
            FeedEvent::Skipped(frames) => return skipped(feed, frames),
            FeedEvent::Unplayable(why) => {
                tracing::info!(stream = &*feed.name, why, "a stream cannot be shown by WebRTC");
                Condition::Unplayable(why)
            }
            FeedEvent::Ended => Condition::Ended,
        };
        feed.condition.send_replace(last);
        self.end_feed(number, now);
    }

    /// Gives a picture or a packet of sound to all viewers of a feed. `give` tells how many pictures that one misses because of it.
    fn spread(
        &mut self,
        number: u64,
        what: &Arc<Picture>,
        now: Instant,
        give: impl Fn(&mut Peer, &Arc<Picture>) -> u64,
    ) {
        let Some(feed) = self.feeds.get_mut(&number) else { return };
        feed.condition.send_replace(Condition::Live(what.tracks, now));
        let mut ended = Vec::new();
        for key in &feed.viewers {
            let Some((peer, _)) = self.peers.get_mut(key) else { continue };
            let batch = &mut self.batch;
            let sent = guarded(peer, Call::Picture, |peer| give(peer, what)).and_then(|missed| {
                let waits = guarded(peer, Call::Output, |peer| peer.poll_output(now, batch))?;
                Ok((missed, waits))
            });
            match sent {
                Ok((missed, waits)) => {
                    if missed > 0 {
                        skipped(feed, missed);
                    }
                    if waits {
                        self.paced.insert(*key);
                    }
                }
                Err(end) => ended.push((*key, end)),
            }
        }
        self.end_all(ended, now);
        self.relieve();
    }

    /// Where the pictures of all take nearly all of their room: what costs viewers least is given up first.
    fn relieve(&mut self) {
        if !self.room.is_tight() {
            return;
        }
        self.forget_sent(FEW_SENT);
        self.put_off_slowest(SLOW_BYTES);
        while self.room.is_tight()
            && let Some(feed) = self.feeds.values_mut().max_by_key(|feed| feed.cache.bytes())
            && feed.cache.bytes() > 0
        {
            feed.cache.clear();
        }
        if self.room.is_tight() {
            self.forget_sent(0);
        }
        self.put_off_slowest(0);
    }

    /// What was sent to each viewer is let go of but for so many packets.
    fn forget_sent(&mut self, kept: usize) {
        for (peer, _) in self.peers.values_mut() {
            peer.forget_sent(kept);
        }
    }

    /// Those for whom most waits, and more than `most`, go on at the next key frame of their stream, until there is room.
    fn put_off_slowest(&mut self, most: usize) {
        while self.room.is_tight()
            && let Some((peer, feed)) = self.peers.values_mut().max_by_key(|(peer, _)| peer.queued_bytes())
            && peer.queued_bytes() > most
        {
            let missed = peer.skip();
            metrics::counter!("vidicon_webrtc_put_off_viewers_total").increment(1);
            if let Some(feed) = self.feeds.get(feed) {
                metrics::counter!("vidicon_webrtc_skipped_frames_total", "stream" => feed.name.clone())
                    .increment(missed);
            }
        }
    }

    /// Ends a feed and its viewers.
    fn end_feed(&mut self, number: u64, now: Instant) {
        let Some(feed) = self.feeds.remove(&number) else { return };
        self.by_stream.retain(|_, of| *of != number);
        for key in &feed.viewers {
            self.end(*key, &End::Stream, now);
        }
    }

    /// Ends a peer and says goodbye to its viewer.
    fn end(&mut self, key: PeerKey, why: &End, now: Instant) {
        let Some((mut peer, feed)) = self.peers.remove(&key) else { return };
        if *why != End::ByViewer {
            // Nothing more can be done for it than to count.
            let _ = guarded(&mut peer, Call::Close, |peer| peer.close(now, &mut self.batch));
        }
        self.demux.remove(peer.ufrag(), peer.addrs().iter().copied(), key);
        self.ids.remove(peer.id());
        self.paced.remove(&key);
        if let Some(feed) = self.feeds.get_mut(&feed) {
            feed.viewers.retain(|viewer| *viewer != key);
            feed.wanted = now;
        }
        tracing::info!(peer = peer.id(), ?why, peers = self.peers.len(), "a WebRTC viewer is gone");
    }

    /// Ends those that a walk over several peers found at their end.
    fn end_all(&mut self, ended: Vec<(PeerKey, End)>, now: Instant) {
        for (key, end) in ended {
            self.end(key, &end, now);
        }
    }

    /// Sends what pacing allows to those who have something waiting.
    fn pace(&mut self, now: Instant) {
        let (peers, batch) = (&mut self.peers, &mut self.batch);
        let mut ended = Vec::new();
        self.paced.retain(|key| {
            let Some((peer, _)) = peers.get_mut(key) else { return false };
            guarded(peer, Call::Output, |peer| peer.poll_output(now, batch)).unwrap_or_else(|end| {
                ended.push((*key, end));
                false
            })
        });
        self.end_all(ended, now);
    }

    fn tick(&mut self, now: Instant) {
        if let Some(turn) = &mut self.turn {
            turn.tick(now);
        }
        let mut ended = Vec::new();
        for (key, (peer, _)) in &mut self.peers {
            let batch = &mut self.batch;
            if let Err(end) = guarded(peer, Call::Timeout, |peer| peer.handle_timeout(now, batch)).flatten() {
                ended.push((*key, end));
            }
        }
        self.end_all(ended, now);
        self.publishers.tick(now, &mut self.demux, &mut self.batch);
        self.relieve();
        self.room.gauges();
        let idle: Vec<u64> =
            self.feeds.iter().filter(|(_, feed)| feed.is_idle(now)).map(|(number, _)| *number).collect();
        for number in idle {
            self.end_feed(number, now);
        }
    }
}

/// Counts frames of a stream that viewers missed.
fn skipped(feed: &Feed, frames: u64) {
    metrics::counter!("vidicon_webrtc_skipped_frames_total", "stream" => feed.name.clone()).increment(frames);
}

/// Calls into a peer; every call goes through here. A panic is counted, and is the end of that peer only.
fn guarded<T>(peer: &mut Peer, call: Call, what: impl FnOnce(&mut Peer) -> T) -> Result<T, End> {
    let run = || {
        #[cfg(test)]
        assert_ne!(peer.poisoned, Some(call), "a panic that a test asked for");
        what(peer)
    };
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| {
        metrics::counter!("vidicon_webrtc_panics_total").increment(1);
        End::Panicked(call)
    })
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
