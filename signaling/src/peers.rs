//! The handle of all peers: answers offers, closes, counts.

use crate::candidates::{self, Candidate};
use crate::demux::PeerKey;
use crate::dtls::{Dtls, Identity};
use crate::fanout::{Condition, LIVE_FOR, Tracks};
use crate::ice::{Credentials, Lite};
use crate::link::Link;
use crate::peer::{Line, Parts, Peer, Seat, Seats};
use crate::receive::core::Core;
use crate::receive::publisher::{self, Publisher};
use crate::receive::{Items, offer, queue};
use crate::room::Room;
use crate::sdp::{Local, Offer};
use crate::socket::Socket;
use crate::task::{Command, PeersTask};
use crate::turn::Turn;
use crate::{Answer, Config, Error};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use store::{Store, Stream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// An offer waits so long for a picture.
const PICTURE_WITHIN: Duration = Duration::from_secs(3);
/// Offers and closings on their way to the task.
const COMMANDS: usize = 64;

/// All WebRTC peers. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    identity: Identity,
    seats: Arc<Seats>,
    local: SocketAddr,
    commands: mpsc::Sender<Command>,
    next: AtomicU64,
    room: Arc<Room>,
    turn: Option<Turn>,
}

impl Peers {
    /// Binds the socket and starts the task that serves all peers until `stop` is cancelled.
    pub async fn start(
        config: Config,
        store: Store,
        stop: CancellationToken,
        tasks: &TaskTracker,
    ) -> io::Result<Peers> {
        // Streams come with the offers; the store is taken so that it outlives the followers.
        let identity = Identity::generate().map_err(io::Error::other)?;
        let socket = match config.listen {
            Some(addr) => Socket::bind(addr)?,
            // Without IPv6 in the kernel, IPv4 alone will do.
            None => Socket::bind((Ipv6Addr::UNSPECIFIED, 0).into())
                .or_else(|_| Socket::bind((Ipv4Addr::UNSPECIFIED, 0).into()))?,
        };
        let local = socket.local_addr();
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let turn = config.turn.enabled.then(|| {
            Turn::new(config.turn.clone(), &config.advertise, &store.secret(), local.port()).map_err(io::Error::other)
        });
        let turn = turn.transpose()?;
        let room = Room::new(config.queue_bytes);
        let task = PeersTask::new(socket, receiver, stop, tasks.clone(), store, room.clone()).with_turn(turn.as_ref());
        tasks.spawn(task.run().instrument(tracing::info_span!("webrtc", %local)));
        // Shown from the start, so that a dashboard tells nobody from nothing.
        metrics::gauge!("vidicon_webrtc_peers").set(0.0);
        metrics::counter!("vidicon_webrtc_packets_sent_total").increment(0);
        metrics::counter!("vidicon_webrtc_nacks_total").increment(0);
        metrics::counter!("vidicon_webrtc_put_off_viewers_total").increment(0);
        let seats = Seats::new(config.max_peers);
        let inner = Inner { config, identity, seats, local, commands, next: AtomicU64::new(1), room, turn };
        Ok(Peers { inner: Arc::new(inner) })
    }

    /// Answers a WHEP offer for a stream. `reached_at` is the local address that the HTTP request came in on: a
    /// candidate for it is always in the answer.
    pub async fn play(&self, stream: Stream, offer: &str, reached_at: Option<IpAddr>) -> Result<Answer, Error> {
        let inner = &*self.inner;
        let begun = Instant::now();
        let offer = Offer::parse(offer).map_err(Error::BadOffer)?;
        let seat = inner.seats.take().ok_or(Error::TooMany(inner.config.max_peers))?;
        let name = stream.info().name;
        if offer.wants_video() && stream.stats().has_b_frames {
            return Err(Error::NotPlayable(crate::fanout::B_FRAMES.to_owned()));
        }
        let stopping = || Error::NotLive("The server is stopping.".to_owned());
        let (reply, condition) = oneshot::channel();
        inner.commands.send(Command::Want(Box::new(stream.clone()), reply)).await.map_err(|_| stopping())?;
        let condition = condition.await.map_err(|_| stopping())?;
        let tracks = tokio::time::timeout(PICTURE_WITHIN, live(condition)).await.unwrap_or_else(|_| {
            Err(Error::NotLive(format!(
                "{name} has sent no picture for the last {} seconds.",
                PICTURE_WITHIN.as_secs()
            )))
        })?;
        let waited_ms = begun.elapsed().as_millis() as u64;

        let interfaces = candidates::interfaces();
        let candidates = candidates::choose(inner.local, reached_at, &inner.config.advertise, &interfaces);
        let mut random = [0u8; 64];
        getrandom::fill(&mut random).map_err(|_| Error::BadOffer("no randomness could be had for it".to_owned()))?;
        let (peer, answer) = answer(&inner.identity, &offer, tracks, &candidates, random, seat, Instant::now())?;
        let key: PeerKey = inner.next.fetch_add(1, Ordering::Relaxed);
        let (reply, added) = oneshot::channel();
        inner
            .commands
            .send(Command::Add(key, Box::new(peer), Box::new(stream), reply))
            .await
            .map_err(|_| stopping())?;
        added.await.map_err(|_| stopping())?;
        tracing::info!(peer = answer.id, stream = %name, candidates = candidates.len(), waited_ms, "answered a WebRTC viewer");
        Ok(answer)
    }

    /// Answers the offer of a publisher into a stream (RFC 9725): the answer, and what will come. One at a time may send into a stream.
    /// `reached_at` as for [`Peers::play`].
    pub async fn receive(
        &self,
        stream: &Stream,
        offer: &str,
        reached_at: Option<IpAddr>,
    ) -> Result<(Answer, Items), Error> {
        let inner = &*self.inner;
        let now = Instant::now();
        let offer = offer::Offer::parse(offer).map_err(Error::BadOffer)?;
        let seat = inner.seats.take().ok_or(Error::TooMany(inner.config.max_peers))?;
        let candidates =
            candidates::choose(inner.local, reached_at, &inner.config.advertise, &candidates::interfaces());
        let mut random = [0u8; 64];
        getrandom::fill(&mut random).map_err(|_| Error::BadOffer("no randomness could be had for it".to_owned()))?;
        let (queue, items) = queue::queue(inner.room.clone());
        let every = Duration::from_millis(inner.config.publisher_key_frame_ms);
        let (publisher, answer) = publisher(&inner.identity, &offer, &candidates, random, (seat, queue), every, now)?;
        let key: PeerKey = inner.next.fetch_add(1, Ordering::Relaxed);
        let stopping = || Error::NotLive("The server is stopping.".to_owned());
        let (reply, added) = oneshot::channel();
        let info = stream.info();
        let command = Command::Receive(key, Box::new(publisher), info.id, reply);
        inner.commands.send(command).await.map_err(|_| stopping())?;
        if !added.await.map_err(|_| stopping())? {
            return Err(Error::Published(info.name));
        }
        let sound = offer.formats.audio.is_some();
        tracing::info!(peer = answer.id, stream = %info.name, sound, "answered a WebRTC publisher");
        Ok((answer, items))
    }

    /// Closes a peer. False if there is none of that id.
    pub async fn close(&self, id: &str) -> bool {
        let (reply, closed) = oneshot::channel();
        let sent = self.inner.commands.send(Command::Close(id.to_owned(), reply)).await;
        sent.is_ok() && closed.await.unwrap_or(false)
    }

    /// Whether there is a peer of this id, which nobody has closed and which has not ended by itself.
    pub async fn is_open(&self, id: &str) -> bool {
        let (reply, open) = oneshot::channel();
        let sent = self.inner.commands.send(Command::IsOpen(id.to_owned(), reply)).await;
        sent.is_ok() && open.await.unwrap_or(false)
    }

    /// Peers now.
    pub fn count(&self) -> usize {
        self.inner.seats.taken()
    }

    /// STUN and TURN, if they are served.
    pub fn turn(&self) -> Option<&Turn> {
        self.inner.turn.as_ref()
    }

    /// The UDP address that is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local
    }
}

/// Makes a peer and the answer that leads a viewer to it. Pure: `random` is 64 fresh random bytes.
pub(crate) fn answer(
    identity: &Identity,
    offer: &Offer,
    tracks: Tracks,
    candidates: &[Candidate],
    random: [u8; 64],
    seat: Seat,
    now: Instant,
) -> Result<(Peer, Answer), Error> {
    let chosen = offer.chosen(tracks).ok_or_else(|| {
        Error::NotPlayable(match tracks.sound {
            None => {
                "The offer asks for sound alone, and the stream has none that WebRTC can play (Opus, G.711).".to_owned()
            }
            Some(_) => "The offer asks for nothing that the stream has in a form that WebRTC can play.".to_owned(),
        })
    })?;
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| random[at + i]));
    let ice = Credentials::from_random(std::array::from_fn(|i| random[i]));
    // Two that differ: the one is odd, the other even.
    let (ssrc, sound_ssrc, numbers) = (word(32) as u32 | 1, (word(32) >> 32) as u32 & !1, word(40));
    // Whoever knows the id can close the peer, so nothing that the wire shows is derived from it.
    let id = format!("{:016x}{:016x}", word(48), word(56));
    let cname = format!("vidicon-{ssrc:08x}");
    let local = Local {
        session: numbers >> 2,
        ice: &ice,
        fingerprint: &identity.fingerprint,
        ssrc,
        sound_ssrc,
        cname: &cname,
        candidates,
    };
    let sdp = offer.answer(&chosen, &local);
    let dtls = Dtls::new(identity, offer.active, &offer.fingerprint)
        .map_err(|error| Error::BadOffer(format!("DTLS cannot be set up for it: {error}")))?;
    let ice = Lite::new(ice, &offer.ufrag, identity.crypto.clone());
    let link = Link::new(id.clone(), ice, dtls, now);
    let video = chosen.video.map(|payload| Line { payload_type: payload.number, ssrc });
    let sound = chosen.sound.map(|(payload, sound)| (Line { payload_type: payload.number, ssrc: sound_ssrc }, sound));
    let parts = Parts { link, video, sound, cname, random: numbers, _seat: seat };
    Ok((Peer::new(parts, now), Answer { id, sdp }))
}

/// Makes a publisher and the answer that leads it here. Pure: `random` is 64 fresh random bytes.
pub(crate) fn publisher(
    identity: &Identity,
    offer: &offer::Offer,
    candidates: &[Candidate],
    random: [u8; 64],
    (seat, queue): (Seat, queue::Queue),
    key_every: Duration,
    now: Instant,
) -> Result<(Publisher, Answer), Error> {
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| random[at + i]));
    let ice = Credentials::from_random(std::array::from_fn(|i| random[i]));
    // Whoever knows the id can close the publisher, so nothing that the wire shows is derived from it.
    let id = format!("{:016x}{:016x}", word(48), word(56));
    let local = offer::Local { session: word(40) >> 2, ice: &ice, fingerprint: &identity.fingerprint, candidates };
    let sdp = offer.answer(&local);
    let remote = &offer.remote;
    let dtls = Dtls::new(identity, remote.active, &remote.fingerprint)
        .map_err(|error| Error::BadOffer(format!("DTLS cannot be set up for it: {error}")))?;
    let ice = Lite::new(ice, &remote.ufrag, identity.crypto.clone());
    let link = Link::new(id.clone(), ice, dtls, now);
    let core = Core::new(offer.formats.clone(), word(32) as u32 | 1, key_every, now);
    Ok((Publisher::new(publisher::Parts { link, core, queue, _seat: seat }), Answer { id, sdp }))
}

/// Waits until a feed is live, and tells what the stream has.
async fn live(mut condition: watch::Receiver<Condition>) -> Result<Tracks, Error> {
    loop {
        let now = condition.borrow_and_update().clone();
        match now {
            Condition::Live(tracks, seen) if seen.elapsed() < LIVE_FOR => return Ok(tracks),
            Condition::Live(..) | Condition::Waiting => {}
            Condition::Unplayable(why) => return Err(Error::NotPlayable(why)),
            Condition::Ended => return Err(Error::NotLive("The stream has ended.".to_owned())),
        }
        if condition.changed().await.is_err() {
            return Err(Error::NotLive("The stream has ended.".to_owned()));
        }
    }
}
