//! All channels that somebody is connected to, or that messages wait in. Each input is a `handle_…`, each output a `poll_…`:
//!
//! ```text
//! handle_connected, handle_text, handle_alive, handle_closed,     poll_woken  → which sockets to ask
//! handle_offer, handle_deleted, handle_stop, handle_timeout   →   poll_socket → what that socket is to be sent next
//!                                                                 poll_answered, poll_changed, poll_timeout
//! ```
//!
//! A message waits in its recipient's mailbox, whether that is away or slow, until it is taken or its time is over; so what a
//! connection that broke had not taken yet goes to the one that replaces it.

use super::{
    client_id::ClientId,
    config::Config,
    mailbox::{Letter, Sender},
    message::{Fault, Kind, Message, Read, go_away, status_response},
    pace::{Pace, Verdict},
    room::{Room, Seat},
};
use media::UnixMillis;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// Refusals that wait for one socket; more are dropped.
const MOST_REFUSALS: usize = 32;
/// Synchronous offers of one channel that wait for their answers.
const MOST_OFFERS: usize = 32;

/// A channel, by whatever its owner knows it by; the same name again after a deletion must be another id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub Arc<str>);

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(u64);

/// A synchronous offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId(u64);

/// What a client is in its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that viewers talk to.
    Master,
    /// One of those that talk to it.
    Viewer(ClientId),
}

/// A client that connects.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Where to.
    pub channel: ChannelId,
    /// What as.
    pub role: Role,
    /// The channel's `MessageTtlSeconds`.
    pub ttl: Duration,
    /// The time of day, for [`Presence`].
    pub since: UnixMillis,
}

/// Why a client, or an offer, is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The whole server has so many.
    #[error("{0} masters and viewers are connected, as many as signaling.max_sockets allows: try again later")]
    TooManySockets(usize),
    /// The channel has so many.
    #[error("{0} viewers are connected to this channel, as many as signaling.max_viewers_per_channel allows")]
    TooManyViewers(usize),
    /// The server stops.
    #[error("the server is about to stop: connect again in a moment")]
    Stopping,
    /// Nobody can answer the offer.
    #[error("no master is connected to this channel")]
    NoMaster,
    /// The answer could not be told from one to that viewer.
    #[error("SenderClientId: a viewer of this id is connected to this channel")]
    SenderConnected,
    /// Too many offers wait for their answers, or too many messages wait.
    #[error("{0}")]
    TooMuch(String),
    /// The server itself is its master.
    #[error("this channel shows a stream of the server, which is its master: no other can be")]
    Seated,
}

/// Why a synchronous offer got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Not in time.
    #[error("the master did not answer in time")]
    Late,
    /// Another offer of the same sender took its place.
    #[error("another offer of the same SenderClientId took its place")]
    Superseded,
    /// The channel was deleted, or the server stops.
    #[error("the channel is not there any more")]
    Gone,
    /// The server, which is the master, does not answer it, and why.
    #[error("{0}")]
    Refused(String),
}

/// Why the server, where it is the master, does not answer an offer: what a viewer is told by `STATUS_RESPONSE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The `errorType`.
    pub error_type: &'static str,
    /// A sentence for people.
    pub description: String,
}

/// Why a socket is closed. The codes are those of RFC 6455 §7.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The same client has connected anew.
    Replaced,
    /// It answers no pings: there is nobody to say it to.
    Lost,
    /// It sent far more than it may.
    Flood,
    /// Its credentials have ended, or do not allow this any more.
    NotAllowed,
    /// Its channel was deleted.
    Deleted,
    /// The server stops.
    Stopping,
}

impl Close {
    /// The code of the close frame.
    pub fn code(self) -> u16 {
        match self {
            Close::Replaced | Close::Deleted => 1000,
            Close::Stopping => 1001,
            Close::Lost | Close::Flood | Close::NotAllowed => 1008,
        }
    }
    /// The reason in it, for people.
    pub fn reason(self) -> &'static str {
        match self {
            Close::Replaced => "the same client has connected again",
            Close::Lost => "no answer to a ping",
            Close::Flood => "far too many messages",
            Close::NotAllowed => "the credentials have ended, or do not allow this any more",
            Close::Deleted => "the channel was deleted",
            Close::Stopping => "the server stops",
        }
    }
}

/// What a socket is to be sent.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text message.
    Text(String),
    /// A ping; its pong is [`Core::handle_alive`].
    Ping,
    /// The end. There is nothing to poll after it.
    Close(Close),
}

/// Who is connected to a channel, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Since when a master is.
    pub master_since: Option<UnixMillis>,
    /// The viewers, by id.
    pub viewers: Vec<(ClientId, UnixMillis)>,
}

struct Socket {
    channel: ChannelId,
    role: Role,
    /// It is none: the server itself is the master here.
    is_own: bool,
    pace: Pace,
    /// When it was last heard.
    heard: Instant,
    /// Whether a ping waits for its pong.
    is_asked: bool,
    /// When its timer is set.
    timer: Instant,
    /// What goes out before the mail.
    control: VecDeque<Frame>,
    closing: Option<Close>,
    is_woken: bool,
}

struct Offer {
    channel: ChannelId,
    sender: ClientId,
    until: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Socket(SocketId),
    Room(ChannelId),
    Offer(OfferId),
}

/// All channels. See the module.
pub struct Core {
    config: Config,
    rooms: HashMap<ChannelId, Room>,
    sockets: HashMap<SocketId, Socket>,
    offers: HashMap<OfferId, Offer>,
    timers: BTreeSet<(Instant, Timer)>,
    woken: VecDeque<SocketId>,
    answered: VecDeque<(OfferId, Result<String, NoAnswer>)>,
    changed: BTreeSet<ChannelId>,
    /// Bytes that wait in all rooms.
    kept: usize,
    /// The last id given out.
    last: u64,
    is_stopped: bool,
}

impl Core {
    /// No channels yet.
    pub fn new(config: Config) -> Self {
        Core {
            config,
            rooms: HashMap::new(),
            sockets: HashMap::new(),
            offers: HashMap::new(),
            timers: BTreeSet::new(),
            woken: VecDeque::new(),
            answered: VecDeque::new(),
            changed: BTreeSet::new(),
            kept: 0,
            last: 0,
            is_stopped: false,
        }
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// How many sockets there are, those being closed included.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }
    /// Bytes of messages that wait.
    pub fn kept_bytes(&self) -> usize {
        self.kept
    }
    /// Who is connected to a channel.
    pub fn presence(&self, channel: &ChannelId) -> Presence {
        self.rooms.get(channel).map(Room::presence).unwrap_or_default()
    }

    fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// A client connects. One of the same role, or viewer's id, is replaced and closed.
    ///
    /// # Errors
    /// The first three of [`Refused`], and the last.
    pub fn handle_connected(&mut self, now: Instant, connect: Connect) -> Result<SocketId, Refused> {
        self.join(now, connect, false)
    }

    /// The server itself becomes the master of a channel, in place of whoever is. Until [`Core::handle_closed`] nobody else can be.
    /// Its mail and wake-ups are those of a socket; it is asked for no pongs, and answers by [`Core::handle_reply`].
    ///
    /// # Errors
    /// The first and the third of [`Refused`].
    pub fn handle_seated(
        &mut self,
        now: Instant,
        channel: ChannelId,
        ttl: Duration,
        since: UnixMillis,
    ) -> Result<SocketId, Refused> {
        self.join(now, Connect { channel, role: Role::Master, ttl, since }, true)
    }

    /// Whether the server is the master of a channel.
    fn is_own(&self, channel: &ChannelId) -> bool {
        let seat = self.rooms.get(channel).and_then(|room| room.seat(&Role::Master));
        seat.and_then(|seat| self.sockets.get(&seat.socket)).is_some_and(|socket| socket.is_own)
    }

    fn join(&mut self, now: Instant, connect: Connect, is_own: bool) -> Result<SocketId, Refused> {
        let Connect { channel, role, ttl, since } = connect;
        if self.is_stopped {
            return Err(Refused::Stopping);
        }
        if role == Role::Master && !is_own && self.is_own(&channel) {
            return Err(Refused::Seated);
        }
        let room = self.rooms.get(&channel);
        let replaces = room.is_some_and(|room| room.seat(&role).is_some());
        if !replaces && self.sockets.len() >= self.config.max_sockets {
            return Err(Refused::TooManySockets(self.config.max_sockets));
        }
        let viewers = room.map_or(0, Room::viewers);
        if !replaces && role != Role::Master && viewers >= self.config.max_viewers_per_channel {
            return Err(Refused::TooManyViewers(viewers));
        }
        let id = SocketId(self.next_id());
        let timer = now + self.config.ping_interval();
        self.timers.insert((timer, Timer::Socket(id)));
        let socket = Socket {
            channel: channel.clone(),
            role: role.clone(),
            is_own,
            pace: Pace::new(now),
            heard: now,
            is_asked: false,
            timer,
            control: VecDeque::new(),
            closing: None,
            is_woken: false,
        };
        self.sockets.insert(id, socket);
        let room = self.rooms.entry(channel.clone()).or_default();
        room.ttl = ttl;
        let old = room.sit(&role, Seat { socket: id, since });
        let has_mail = room.has_mail(&role);
        if let Some(old) = old {
            self.close(old.socket, Close::Replaced);
        }
        if has_mail {
            self.wake(id);
        }
        self.changed.insert(channel);
        Ok(id)
    }

    /// A client sent a text.
    pub fn handle_text(&mut self, now: Instant, id: SocketId, text: &str) {
        let Some(socket) = self.heard(now, id) else { return };
        let (channel, role) = (socket.channel.clone(), socket.role.clone());
        let verdict = self.count(now, id);
        if verdict == Verdict::Flood {
            return self.close(id, Close::Flood);
        }
        // What some applications send to keep a connection open through proxies.
        if text.trim().is_empty() {
            return;
        }
        let Read { is_object, correlation_id, message } = Read::of(text);
        let done = match verdict {
            Verdict::Taken => {
                message.and_then(|message| self.route(now, &channel, &role, message, correlation_id.as_deref()))
            }
            Verdict::Refused | Verdict::Flood => Err(Fault::limit(format!(
                "more than {} messages a second (signaling.messages_per_s)",
                self.config.messages_per_s
            ))),
        };
        let Err(fault) = done else { return };
        // Only who gave an id hears of it, but for what cannot be read at all.
        if correlation_id.is_some() || !is_object {
            let told = Frame::Text(status_response(correlation_id.as_deref(), &fault));
            self.send(id, told);
        }
    }

    /// The server, as the master on this seat, answers the offer of a viewer, or says why not; `correlation_id` is the offer's. True if
    /// the answer is on its way; who has gone is not told.
    pub fn handle_reply(
        &mut self,
        now: Instant,
        id: SocketId,
        to: &ClientId,
        correlation_id: Option<&str>,
        reply: Result<String, Refusal>,
    ) -> bool {
        let Some(socket) = self.sockets.get(&id).filter(|s| s.is_own && s.closing.is_none()) else { return false };
        let channel = socket.channel.clone();
        match reply {
            Ok(payload) => {
                let message =
                    Message { kind: Kind::Answer, recipient: Some(to.to_string()), payload, ice_servers: None };
                self.route(now, &channel, &Role::Master, message, None).is_ok()
            }
            Err(Refusal { error_type, description }) => {
                let Some(room) = self.rooms.get(&channel) else { return false };
                let viewer = room.seat(&Role::Viewer(to.clone())).map(|seat| seat.socket);
                match (room.offers.get(to).copied(), viewer) {
                    (Some(offer), _) => self.answer(offer, Err(NoAnswer::Refused(description))),
                    (None, Some(viewer)) => {
                        let told = status_response(correlation_id, &Fault { error_type, description });
                        self.send(viewer, Frame::Text(told));
                    }
                    (None, None) => {}
                }
                false
            }
        }
    }

    /// The socket of a viewer, or the synchronous offer by which somebody asks under that id.
    pub fn asks_by(&self, channel: &ChannelId, id: &ClientId) -> Option<Result<SocketId, OfferId>> {
        let room = self.rooms.get(channel)?;
        let offer = room.offers.get(id).copied().map(Err);
        offer.or_else(|| room.seat(&Role::Viewer(id.clone())).map(|seat| Ok(seat.socket)))
    }

    /// A client sent a ping or a pong.
    pub fn handle_alive(&mut self, now: Instant, id: SocketId) {
        if self.heard(now, id).is_some() && self.count(now, id) == Verdict::Flood {
            self.close(id, Close::Flood);
        }
    }

    /// A socket that is not being closed, which was just heard.
    fn heard(&mut self, now: Instant, id: SocketId) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(&id).filter(|socket| socket.closing.is_none())?;
        (socket.heard, socket.is_asked) = (now, false);
        Some(socket)
    }

    fn count(&mut self, now: Instant, id: SocketId) -> Verdict {
        let per_s = self.config.messages_per_s;
        self.sockets.get_mut(&id).map_or(Verdict::Refused, |socket| socket.pace.count(now, per_s))
    }

    fn route(
        &mut self,
        now: Instant,
        channel: &ChannelId,
        from: &Role,
        message: Message,
        correlation_id: Option<&str>,
    ) -> Result<(), Fault> {
        let (to, sender) = match from {
            Role::Viewer(id) => {
                // The viewer of the C SDK names its master, by any name.
                let named = message.recipient.as_deref();
                if named.is_some_and(|named| self.rooms.get(channel).is_some_and(|room| room.has_viewer(named))) {
                    return Err(Fault::invalid("recipientClientId names a viewer: viewers send to the master alone"));
                }
                (Role::Master, Sender::Viewer(id.clone()))
            }
            Role::Master => {
                let named = message.recipient.as_deref().ok_or_else(|| {
                    Fault::invalid("recipientClientId is missing: a master names the viewer that its message is for")
                })?;
                let id: ClientId =
                    named.parse().map_err(|error| Fault::invalid(format!("recipientClientId {error}")))?;
                if let Some(offer) = self.rooms.get(channel).and_then(|room| room.offers.get(&id).copied()) {
                    // Who asked by HTTP takes one answer and nothing else.
                    if message.kind == Kind::Answer {
                        self.answer(offer, Ok(message.payload));
                    }
                    return Ok(());
                }
                (Role::Viewer(id), Sender::Master)
            }
        };
        let named = match &sender {
            Sender::Viewer(id) => Some(id),
            Sender::Master => None,
        };
        // No client is told of another's ids; the server needs them to say which offer it refuses.
        let correlation_id = correlation_id.filter(|_| to == Role::Master && self.is_own(channel));
        let text = message.relayed(named, correlation_id);
        let ttl = self.rooms.get(channel).map_or(Duration::ZERO, |room| room.ttl);
        let letter = Letter { sender, kind: message.kind, text, until: now + ttl };
        self.post(now, channel, &to, letter)
    }

    fn post(&mut self, now: Instant, channel: &ChannelId, to: &Role, letter: Letter) -> Result<(), Fault> {
        let left = self.config.kept_bytes.saturating_sub(self.kept);
        let config = self.config.clone();
        let posted = self.in_room(channel, |room| {
            room.post(now, to, letter, &config, left).map(|()| room.seat(to).map(|seat| seat.socket))
        });
        if let Some(socket) = posted.unwrap_or(Ok(None))? {
            self.wake(socket);
        }
        Ok(())
    }

    /// Looks into a room, counts what it keeps, sets its timer, and forgets it if it is empty.
    fn in_room<T>(&mut self, channel: &ChannelId, look: impl FnOnce(&mut Room) -> T) -> Option<T> {
        let room = self.rooms.get_mut(channel)?;
        let before = room.kept();
        let found = look(room);
        self.kept = self.kept + room.kept() - before;
        let next = room.next_end();
        if next != room.timer {
            if let Some(at) = std::mem::replace(&mut room.timer, next) {
                self.timers.remove(&(at, Timer::Room(channel.clone())));
            }
            if let Some(at) = next {
                self.timers.insert((at, Timer::Room(channel.clone())));
            }
        }
        if room.is_empty() {
            self.rooms.remove(channel);
        }
        Some(found)
    }

    /// An offer from someone who waits for the answer to it, without a socket: `SendAlexaOfferToMaster`.
    ///
    /// # Errors
    /// The last four of [`Refused`].
    pub fn handle_offer(
        &mut self,
        now: Instant,
        channel: &ChannelId,
        sender: ClientId,
        payload: String,
        wait: Duration,
    ) -> Result<OfferId, Refused> {
        if self.is_stopped {
            return Err(Refused::Stopping);
        }
        let room = self.rooms.get(channel).filter(|room| room.seat(&Role::Master).is_some());
        let room = room.ok_or(Refused::NoMaster)?;
        if room.has_viewer(sender.as_str()) {
            return Err(Refused::SenderConnected);
        }
        let older = room.offers.get(&sender).copied();
        if older.is_none() && room.offers.len() >= MOST_OFFERS {
            let text = format!("{MOST_OFFERS} offers to this channel wait for their answers: try again later");
            return Err(Refused::TooMuch(text));
        }
        let message = Message { kind: Kind::Offer, recipient: None, payload, ice_servers: None };
        let text = message.relayed(Some(&sender), None);
        let until = now + wait;
        let letter = Letter { sender: Sender::Viewer(sender.clone()), kind: Kind::Offer, text, until };
        self.post(now, channel, &Role::Master, letter).map_err(|fault| Refused::TooMuch(fault.description))?;
        if let Some(older) = older {
            self.answer(older, Err(NoAnswer::Superseded));
        }
        let id = OfferId(self.next_id());
        if let Some(room) = self.rooms.get_mut(channel) {
            room.offers.insert(sender.clone(), id);
        }
        self.timers.insert((until, Timer::Offer(id)));
        self.offers.insert(id, Offer { channel: channel.clone(), sender, until });
        Ok(id)
    }

    /// Nobody waits for the answer to this offer any more.
    pub fn handle_offer_dropped(&mut self, id: OfferId) {
        self.forget(id);
    }

    fn answer(&mut self, id: OfferId, answer: Result<String, NoAnswer>) {
        if self.forget(id) {
            self.answered.push_back((id, answer));
        }
    }

    fn forget(&mut self, id: OfferId) -> bool {
        let Some(Offer { channel, sender, until }) = self.offers.remove(&id) else { return false };
        self.timers.remove(&(until, Timer::Offer(id)));
        self.in_room(&channel, |room| room.offers.remove(&sender));
        true
    }

    /// A socket has ended, by whatever.
    pub fn handle_closed(&mut self, id: SocketId) {
        self.leave(id);
        self.sockets.remove(&id);
    }

    /// Closes a socket for a reason that its owner knows of.
    pub fn close(&mut self, id: SocketId, why: Close) {
        self.leave(id);
        let Some(socket) = self.sockets.get_mut(&id).filter(|socket| socket.closing.is_none()) else { return };
        socket.closing = Some(why);
        socket.control.clear();
        if why == Close::Stopping {
            socket.control.push_back(Frame::Text(go_away()));
        }
        self.wake(id);
    }

    /// The socket counts for its channel no more.
    fn leave(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get(&id).filter(|socket| socket.closing.is_none()) else { return };
        self.timers.remove(&(socket.timer, Timer::Socket(id)));
        let (channel, role) = (socket.channel.clone(), socket.role.clone());
        if self.in_room(&channel, |room| room.leave(&role, id)) == Some(true) {
            self.changed.insert(channel);
        }
    }

    /// A channel keeps messages for so long from now on.
    pub fn handle_ttl(&mut self, channel: &ChannelId, ttl: Duration) {
        if let Some(room) = self.rooms.get_mut(channel) {
            room.ttl = ttl;
        }
    }

    /// A channel was deleted: what waits in it is dropped, and who is in it is closed.
    pub fn handle_deleted(&mut self, channel: &ChannelId) {
        let Some(room) = self.rooms.get(channel) else { return };
        let (sockets, offers): (_, Vec<_>) = (room.sockets(), room.offers.values().copied().collect());
        for id in offers {
            self.answer(id, Err(NoAnswer::Gone));
        }
        for id in sockets {
            self.close(id, Close::Deleted);
        }
        if let Some(room) = self.rooms.remove(channel) {
            self.kept -= room.kept();
            if let Some(at) = room.timer {
                self.timers.remove(&(at, Timer::Room(channel.clone())));
            }
        }
    }

    /// The server stops: everyone is told to go, and nobody is let in any more.
    pub fn handle_stop(&mut self) {
        self.is_stopped = true;
        let sockets: Vec<_> = self.sockets.keys().copied().collect();
        for id in sockets {
            self.close(id, Close::Stopping);
        }
        let offers: Vec<_> = self.offers.keys().copied().collect();
        for id in offers {
            self.answer(id, Err(NoAnswer::Gone));
        }
    }

    /// Time has passed. To be called when [`Core::poll_timeout`] says so; later is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            match self.timers.pop_first() {
                Some((_, Timer::Socket(id))) => self.look_after(now, id),
                Some((_, Timer::Room(channel))) => {
                    if let Some(room) = self.rooms.get_mut(&channel) {
                        room.timer = None;
                    }
                    self.in_room(&channel, |room| room.expire(now));
                }
                Some((_, Timer::Offer(id))) => self.answer(id, Err(NoAnswer::Late)),
                None => {}
            }
        }
    }

    /// Asks a silent peer whether it is there, or gives it up.
    fn look_after(&mut self, now: Instant, id: SocketId) {
        let (interval, timeout) = (self.config.ping_interval(), self.config.pong_timeout());
        let Some(socket) = self.sockets.get_mut(&id).filter(|socket| socket.closing.is_none()) else { return };
        if socket.is_own {
            socket.timer = now + interval;
            self.timers.insert((socket.timer, Timer::Socket(id)));
            return;
        }
        if socket.is_asked {
            return self.close(id, Close::Lost);
        }
        let silent_from = socket.heard + interval;
        socket.is_asked = silent_from <= now;
        socket.timer = if socket.is_asked { now + timeout } else { silent_from };
        let (timer, is_asked) = (socket.timer, socket.is_asked);
        self.timers.insert((timer, Timer::Socket(id)));
        if is_asked {
            self.send(id, Frame::Ping);
        }
    }

    /// Something that goes out before the mail, unless a socket that reads nothing has too much of it already.
    fn send(&mut self, id: SocketId, frame: Frame) {
        let Some(socket) = self.sockets.get_mut(&id).filter(|s| s.closing.is_none()) else { return };
        if socket.control.len() < MOST_REFUSALS || frame == Frame::Ping {
            socket.control.push_back(frame);
            self.wake(id);
        }
    }

    fn wake(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(&id).filter(|socket| !socket.is_woken) {
            socket.is_woken = true;
            self.woken.push_back(id);
        }
    }

    /// A socket that has something to be sent: ask [`Core::poll_socket`] until there is nothing more.
    pub fn poll_woken(&mut self) -> Option<SocketId> {
        let id = self.woken.pop_front()?;
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.is_woken = false;
        }
        Some(id)
    }

    /// What a socket is to be sent next.
    pub fn poll_socket(&mut self, now: Instant, id: SocketId) -> Option<Frame> {
        let socket = self.sockets.get_mut(&id)?;
        if let Some(frame) = socket.control.pop_front() {
            return Some(frame);
        }
        if let Some(why) = socket.closing {
            self.sockets.remove(&id);
            return Some(Frame::Close(why));
        }
        let (channel, role) = (socket.channel.clone(), socket.role.clone());
        let letter = self.in_room(&channel, |room| room.take(now, &role))??;
        Some(Frame::Text(letter.text))
    }

    /// A synchronous offer that has come to its end.
    pub fn poll_answered(&mut self) -> Option<(OfferId, Result<String, NoAnswer>)> {
        self.answered.pop_front()
    }

    /// A channel whose [`Presence`] has changed.
    pub fn poll_changed(&mut self) -> Option<ChannelId> {
        self.changed.pop_first()
    }

    /// When [`Core::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// What must hold at any time.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn assert_sound(&self) {
        for room in self.rooms.values() {
            room.assert_sound(&self.config);
        }
        assert_eq!(self.kept, self.rooms.values().map(Room::kept).sum::<usize>());
        assert!(self.kept <= self.config.kept_bytes);
        let open = self.sockets.iter().filter(|(_, socket)| socket.closing.is_none());
        for (id, socket) in open.clone() {
            let seat = self.rooms.get(&socket.channel).and_then(|room| room.seat(&socket.role));
            assert_eq!(seat.map(|seat| seat.socket), Some(*id), "each client has its seat");
            assert!(self.timers.contains(&(socket.timer, Timer::Socket(*id))));
        }
        let rooms = self.rooms.values().filter(|room| room.timer.is_some()).count();
        assert_eq!(self.timers.len(), open.count() + rooms + self.offers.len(), "no timer is left over");
    }
}
