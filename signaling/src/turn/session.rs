//! One client and its allocation (RFC 8656): messages in, answers and packets for peers out. No I/O, and told the time.
//!
//! What belongs here: which request gets which answer. What does not: what an allocation may be asked for (`asked`), and
//! sockets, which [`Relays`] opens and `udp` and `stream` drive.

use super::asked::{
    BAD, CAPACITY, FORBIDDEN, Family, MISMATCH, OTHER_FAMILY, Opened, Refusal, Relays, lifetime, wanted,
};
use super::auth::{self, Signed, Unsigned};
use super::limits::Holder;
use super::meter::{Budget, Meter};
use super::policy::Reach;
use super::server::{Now, Server};
use super::table::{Ports, Table};
use crate::stun::{Algorithm, Class, Message, Writer, attribute, method};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Numbers of channels: those of RFC 5766 §11, as its clients choose among all of them. RFC 8656 §12 leaves 0x5000 and up to others,
/// of whom there are none on this port.
const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x7fff;

/// Attributes that requests may have and that have to be understood.
const KNOWN: &[u16] = &[
    attribute::USERNAME,
    attribute::MESSAGE_INTEGRITY,
    attribute::CHANNEL_NUMBER,
    attribute::LIFETIME,
    attribute::XOR_PEER_ADDRESS,
    attribute::DATA,
    attribute::REALM,
    attribute::NONCE,
    attribute::REQUESTED_ADDRESS_FAMILY,
    attribute::EVEN_PORT,
    attribute::REQUESTED_TRANSPORT,
    attribute::DONT_FRAGMENT,
    attribute::MESSAGE_INTEGRITY_SHA256,
    attribute::PASSWORD_ALGORITHM,
    attribute::USERHASH,
    attribute::RESERVATION_TOKEN,
];

/// What came of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    /// Nothing that anybody is told; why, if something was dropped.
    Dropped(&'static str),
    /// An answer stands in the buffer.
    Answered,
    /// This goes to that peer.
    Send(SocketAddr, &'a [u8]),
}

/// A client.
pub(crate) struct Session {
    server: Arc<Server>,
    client: SocketAddr,
    /// Whether what is sent to the client may reach somebody else: not on a connection.
    spoofable: bool,
    allocation: Option<Allocation>,
}

struct Allocation {
    holder: Holder,
    /// Of the request that made it.
    transaction: [u8; 12],
    opened: Opened,
    lifetime_s: u32,
    until: Instant,
    table: Arc<Table>,
    /// The table changed since it was last taken.
    changed: bool,
    /// To peers, to the client.
    budgets: [Arc<Budget>; 2],
}

impl Session {
    /// Of a client at this address, without an allocation.
    pub(crate) fn new(server: Arc<Server>, client: SocketAddr, spoofable: bool) -> Session {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        Session { server, client, spoofable, allocation: None }
    }

    /// Whether there is an allocation. Without one there is nothing to remember.
    pub(crate) fn is_allocated(&self) -> bool {
        self.allocation.is_some()
    }

    /// What peers' packets are held against, if that changed.
    pub(crate) fn take_table(&mut self) -> Option<Arc<Table>> {
        let allocation = self.allocation.as_mut().filter(|a| a.changed)?;
        allocation.changed = false;
        Some(allocation.table.clone())
    }

    /// What the allocation may have, to peers and to the client; without one, whatever it likes.
    pub(crate) fn budgets(&self) -> [Arc<Budget>; 2] {
        self.allocation.as_ref().map(|a| a.budgets.clone()).unwrap_or_default()
    }

    /// Ends an allocation whose time is over; true if there was one.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let over = self.allocation.as_ref().is_some_and(|a| a.until <= now);
        if over {
            self.end();
        }
        over
    }

    /// Takes ChannelData (RFC 8656 §12.4), whose length may leave padding behind it.
    pub(crate) fn channel_data<'m>(&self, bytes: &'m [u8], now: Instant) -> Outcome<'m> {
        let Some((head, rest)) = bytes.split_first_chunk::<4>() else { return Outcome::Dropped("malformed") };
        let number = u16::from_be_bytes([head[0], head[1]]);
        let Some(data) = rest.get(..usize::from(u16::from_be_bytes([head[2], head[3]]))) else {
            return Outcome::Dropped("malformed");
        };
        match self.allocation.as_ref().and_then(|a| a.table.peer_of(number, now)) {
            Some(peer) => Outcome::Send(peer, data),
            None => Outcome::Dropped("unbound"),
        }
    }

    /// Takes a STUN message. An answer is added to `out`.
    pub(crate) fn handle<'m>(
        &mut self,
        bytes: &'m [u8],
        now: Now,
        out: &mut Vec<u8>,
        relays: &mut dyn Relays,
    ) -> Outcome<'m> {
        let Some(message) = Message::parse(bytes) else { return Outcome::Dropped("malformed") };
        self.expire(now.at);
        match (message.class(), message.method()) {
            (Class::Request, method::BINDING) => self.binding(&message, now, out),
            (Class::Request, method::ALLOCATE | method::REFRESH | method::CREATE_PERMISSION | method::CHANNEL_BIND) => {
                self.request(&message, now, out, relays)
            }
            (Class::Indication, method::SEND) => self.send(&message, now),
            _ => Outcome::Dropped("unknown"),
        }
    }

    fn binding<'m>(&self, message: &Message<'_>, now: Now, out: &mut Vec<u8>) -> Outcome<'m> {
        let unknown = message.unknown(&[]);
        let answer = |out: &mut Vec<u8>| {
            let writer = match unknown.is_empty() {
                true => Writer::new(out, Class::Success, method::BINDING, message.transaction())
                    .xor(attribute::XOR_MAPPED_ADDRESS, self.client),
                false => unknown_attributes(out, message, &unknown),
            };
            finish(writer, message);
        };
        self.to_anybody(message, now, out, answer)
    }

    /// Adds an answer for someone who may not be where he says.
    fn to_anybody<'m>(
        &self,
        message: &Message<'_>,
        now: Now,
        out: &mut Vec<u8>,
        answer: impl FnOnce(&mut Vec<u8>),
    ) -> Outcome<'m> {
        let before = out.len();
        answer(out);
        let (asked, length) = (message.bytes().len(), out.len() - before);
        if self.spoofable && !self.server.unproven().may_answer(self.client.ip(), asked, length, now.at) {
            out.truncate(before);
            return Outcome::Dropped("unproven");
        }
        Outcome::Answered
    }

    fn request<'m>(
        &mut self,
        message: &Message<'m>,
        now: Now,
        out: &mut Vec<u8>,
        relays: &mut dyn Relays,
    ) -> Outcome<'m> {
        let held = self.allocation.as_ref().map(|a| a.holder.username.as_str());
        let signed = match auth::check(&self.server, message, self.client.ip(), held, now) {
            Ok(signed) => signed,
            Err(why) => return self.refuse(message, why, now, out),
        };
        let mismatch = held.is_some_and(|held| held != signed.username);
        let unknown = message.unknown(KNOWN);
        let (transaction, method) = (message.transaction(), message.method());
        let begin = |out| Writer::new(out, Class::Success, method, transaction);
        let before = out.len();
        let done = if mismatch {
            Err(Refusal(441, "Wrong Credentials"))
        } else if !unknown.is_empty() {
            finish(unknown_attributes(out, message, &unknown).integrity(&signed.key, signed.integrity), message);
            return Outcome::Answered;
        } else {
            match method {
                method::ALLOCATE => self.allocate(message, &signed, now, relays).map(|()| self.allocated(begin(out))),
                method::REFRESH => self.refresh(message, now).map(|s| begin(out).u32(attribute::LIFETIME, s)),
                method::CREATE_PERMISSION => self.create_permission(message, now).map(|()| begin(out)),
                _ => self.channel_bind(message, now).map(|()| begin(out)),
            }
        };
        let done = done.map(|writer| finish(writer.integrity(&signed.key, signed.integrity), message));
        if let Err(Refusal(code, reason)) = done {
            out.truncate(before);
            refused(code);
            let writer = Writer::new(out, Class::Error, method, transaction).error(code, reason);
            finish(writer.integrity(&signed.key, signed.integrity), message);
        }
        Outcome::Answered
    }

    fn refuse<'m>(&self, message: &Message<'_>, why: Unsigned, now: Now, out: &mut Vec<u8>) -> Outcome<'m> {
        let (code, reason) = match why {
            Unsigned::Bad(why) => (400, why),
            Unsigned::Unauthorized(_) => (401, "Unauthorized"),
            Unsigned::Stale => (438, "Stale Nonce"),
        };
        refused(code);
        self.to_anybody(message, now, out, |out| {
            let writer = Writer::new(out, Class::Error, message.method(), message.transaction()).error(code, reason);
            let writer = match code {
                400 => writer,
                _ => writer
                    .attribute(attribute::REALM, self.server.issuer.realm().as_bytes())
                    .attribute(attribute::NONCE, self.server.nonce(self.client.ip(), now).as_bytes())
                    .attribute(attribute::PASSWORD_ALGORITHMS, &Algorithm::LIST),
            };
            finish(writer, message);
        })
    }

    /// RFC 8656 §7.2.
    fn allocate(
        &mut self,
        message: &Message<'_>,
        signed: &Signed,
        now: Now,
        relays: &mut dyn Relays,
    ) -> Result<(), Refusal> {
        if let Some(allocation) = &self.allocation {
            // One that was sent again, as its answer was lost, is answered alike.
            return if allocation.transaction == message.transaction() { Ok(()) } else { Err(MISMATCH) };
        }
        let wanted = wanted(message)?;
        let lifetime_s = lifetime(message)?;
        if self.server.policy().is_relayed(self.client) {
            // An allocation through an allocation: a way in a circle.
            return Err(FORBIDDEN);
        }
        let holder = Holder {
            channel: signed.grant.channel.clone(),
            username: signed.username.clone(),
            address: self.client.ip(),
        };
        let meters = self.server.limits().take(&holder, now.at).map_err(|limit| {
            tracing::debug!(client = %self.client, limit, "an allocation is one too many");
            Refusal(486, "Allocation Quota Reached")
        })?;
        let opened = relays.open(wanted).inspect_err(|_| self.server.limits().give_back(&holder))?;
        let mut policy = self.server.policy();
        opened.relayed.iter().for_each(|addr| policy.add_relayed(*addr, &holder.channel));
        drop(policy);
        tracing::debug!(client = %self.client, relayed = ?opened.relayed, channel = holder.channel, "allocated");
        let until = now.at + Duration::from_secs(lifetime_s.into());
        let transaction = message.transaction();
        let table = Arc::default();
        let kbps = self.server.config.max_kbps;
        let budgets = meters.map(|credential| Arc::new(Budget { allocation: Meter::new(kbps, now.at), credential }));
        let changed = true;
        self.allocation = Some(Allocation { holder, transaction, opened, lifetime_s, until, table, changed, budgets });
        Ok(())
    }

    /// What the allocation's client is told.
    fn allocated<'w>(&self, mut writer: Writer<'w>) -> Writer<'w> {
        let Some(allocation) = &self.allocation else { return writer };
        for relayed in &allocation.opened.relayed {
            writer = writer.xor(attribute::XOR_RELAYED_ADDRESS, *relayed);
        }
        if let Some(Refusal(code, reason)) = allocation.opened.missing {
            let head = [2, 0, (code / 100) as u8, (code % 100) as u8];
            writer = writer.attribute(attribute::ADDRESS_ERROR_CODE, &[&head, reason.as_bytes()].concat());
        }
        writer = writer.u32(attribute::LIFETIME, allocation.lifetime_s);
        if let Some(token) = allocation.opened.token {
            writer = writer.attribute(attribute::RESERVATION_TOKEN, &token);
        }
        writer.xor(attribute::XOR_MAPPED_ADDRESS, self.client)
    }

    /// RFC 8656 §8.2.
    fn refresh(&mut self, message: &Message<'_>, now: Now) -> Result<u32, Refusal> {
        let end = message.u32(attribute::LIFETIME).is_some_and(|s| s == Ok(0));
        let lifetime_s = lifetime(message)?;
        let family = message.get(attribute::REQUESTED_ADDRESS_FAMILY).map(Family::read).transpose()?;
        let allocation = self.allocation.as_mut().ok_or(MISMATCH)?;
        let has = |family| allocation.opened.relayed.iter().any(|addr| Family::of(addr.ip()) == family);
        if family.is_some_and(|family| !has(family)) {
            return Err(OTHER_FAMILY);
        }
        if end {
            self.end();
            return Ok(0);
        }
        allocation.until = now.at + Duration::from_secs(lifetime_s.into());
        allocation.lifetime_s = lifetime_s;
        Ok(lifetime_s)
    }

    /// RFC 8656 §10.2: all of them, or none.
    fn create_permission(&mut self, message: &Message<'_>, now: Now) -> Result<(), Refusal> {
        let peers: Result<Vec<SocketAddr>, _> = message.addresses(attribute::XOR_PEER_ADDRESS).collect();
        let peers = peers.map_err(|_| BAD)?;
        let allocation = self.allocation.as_mut().ok_or(MISMATCH)?;
        if peers.is_empty() {
            return Err(BAD);
        }
        let most = self.server.config.max_permissions;
        let mut open = Vec::with_capacity(peers.len());
        for peer in &peers {
            allocation.is_of_family(*peer)?;
            let mut policy = self.server.policy();
            // RFC 8656 §10.2 looks at addresses alone. Of one that is open with some of its ports only, the port counts.
            let ports = match policy.reach(&allocation.holder.channel, peer.ip(), now.at) {
                Reach::Any => Ports::Any,
                Reach::Ports if policy.allows(&allocation.holder.channel, *peer, now.at) => {
                    Ports::Only(vec![peer.port()])
                }
                _ => return Err(FORBIDDEN),
            };
            open.push((peer.ip(), ports));
        }
        let ips: Vec<IpAddr> = peers.iter().map(SocketAddr::ip).collect();
        if !allocation.table.has_room(&ips, most, now.at) {
            return Err(CAPACITY);
        }
        let table = allocation.table_mut();
        open.into_iter().for_each(|(ip, ports)| {
            table.permit(ip, ports, most, now.at);
        });
        Ok(())
    }

    /// RFC 8656 §12.2.
    fn channel_bind(&mut self, message: &Message<'_>, now: Now) -> Result<(), Refusal> {
        let number = match message.get(attribute::CHANNEL_NUMBER) {
            Some([high, low, _, _]) => u16::from_be_bytes([*high, *low]),
            _ => return Err(BAD),
        };
        let peer = match message.addresses(attribute::XOR_PEER_ADDRESS).next() {
            Some(Ok(peer)) if CHANNELS.contains(&number) => peer,
            _ => return Err(BAD),
        };
        let allocation = self.allocation.as_mut().ok_or(MISMATCH)?;
        allocation.is_of_family(peer)?;
        if allocation.table.is_bound_otherwise(number, peer, now.at) {
            return Err(BAD);
        }
        let channel = &allocation.holder.channel;
        let mut policy = self.server.policy();
        let ports = match policy.reach(channel, peer.ip(), now.at) {
            Reach::Any => Ports::Any,
            Reach::Ports if policy.allows(channel, peer, now.at) => Ports::Only(vec![peer.port()]),
            _ => return Err(FORBIDDEN),
        };
        drop(policy);
        let config = &self.server.config;
        if !allocation.table.has_room(&[peer.ip()], config.max_permissions, now.at) {
            return Err(CAPACITY);
        }
        let table = allocation.table_mut();
        if !table.bind(number, peer, config.max_channels, now.at) {
            return Err(CAPACITY);
        }
        table.permit(peer.ip(), ports, config.max_permissions, now.at);
        Ok(())
    }

    /// RFC 8656 §11.2: what is wrong with an indication is told to nobody.
    fn send<'m>(&mut self, message: &Message<'m>, now: Now) -> Outcome<'m> {
        let peer = message.addresses(attribute::XOR_PEER_ADDRESS).next();
        let (Some(Ok(peer)), Some(data)) = (peer, message.get(attribute::DATA)) else {
            return Outcome::Dropped("malformed");
        };
        if !message.unknown(&[attribute::XOR_PEER_ADDRESS, attribute::DATA, attribute::DONT_FRAGMENT]).is_empty() {
            return Outcome::Dropped("malformed");
        }
        let Some(allocation) = &mut self.allocation else { return Outcome::Dropped("unbound") };
        match allocation.table.permits(peer, now.at) {
            Some(true) => Outcome::Send(peer, data),
            Some(false) => Outcome::Dropped("not permitted"),
            None if self.server.policy().allows(&allocation.holder.channel, peer, now.at) => {
                // The permission stands; the port is new.
                allocation.open_port(peer);
                Outcome::Send(peer, data)
            }
            None => Outcome::Dropped("not permitted"),
        }
    }

    fn end(&mut self) {
        let Some(allocation) = self.allocation.take() else { return };
        let mut policy = self.server.policy();
        allocation.opened.relayed.iter().for_each(|addr| policy.remove_relayed(*addr));
        drop(policy);
        self.server.limits().give_back(&allocation.holder);
        tracing::debug!(client = %self.client, "an allocation has ended");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

impl Allocation {
    fn is_of_family(&self, peer: SocketAddr) -> Result<(), Refusal> {
        let family = Family::of(peer.ip());
        let has = self.opened.relayed.iter().any(|addr| Family::of(addr.ip()) == family);
        if has { Ok(()) } else { Err(OTHER_FAMILY) }
    }

    fn table_mut(&mut self) -> &mut Table {
        self.changed = true;
        Arc::make_mut(&mut self.table)
    }

    fn open_port(&mut self, peer: SocketAddr) {
        self.table_mut().open_port(peer);
    }
}

fn unknown_attributes<'w>(out: &'w mut Vec<u8>, message: &Message<'_>, unknown: &[u16]) -> Writer<'w> {
    refused(420);
    let list: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
    Writer::new(out, Class::Error, message.method(), message.transaction())
        .error(420, "Unknown Attribute")
        .attribute(attribute::UNKNOWN_ATTRIBUTES, &list)
}

/// Ends an answer: with a checksum, if the question had one.
fn finish(writer: Writer<'_>, message: &Message<'_>) {
    if message.get(attribute::FINGERPRINT).is_some() {
        writer.fingerprint();
    }
}

fn refused(code: u16) {
    metrics::counter!("vidicon_turn_refused_total", "code" => code.to_string()).increment(1);
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
