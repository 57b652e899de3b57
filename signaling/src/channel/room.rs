//! One channel: who is in it, and what waits for whom.

use super::{
    client_id::ClientId,
    config::Config,
    core::{OfferId, Presence, Role, SocketId},
    mailbox::{Amount, Letter, Mailbox, Sender},
    message::{Fault, Kind},
};
use media::UnixMillis;
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

/// One viewer has at most this part of what may wait in a channel, so that it cannot keep the others from their master.
const VIEWERS_PART: usize = 4;

/// A connected client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    pub(super) socket: SocketId,
    pub(super) since: UnixMillis,
}

/// One channel.
#[derive(Default)]
pub(super) struct Room {
    /// How long messages wait for those who are away.
    pub(super) ttl: Duration,
    master: Option<Seat>,
    viewers: BTreeMap<ClientId, Seat>,
    for_master: Mailbox,
    for_viewers: HashMap<ClientId, Mailbox>,
    /// What waits in all of its mailboxes.
    amount: Amount,
    /// Synchronous offers by their senders.
    pub(super) offers: HashMap<ClientId, OfferId>,
    /// When its timer is set.
    pub(super) timer: Option<Instant>,
}

impl Room {
    pub(super) fn seat(&self, role: &Role) -> Option<Seat> {
        match role {
            Role::Master => self.master,
            Role::Viewer(id) => self.viewers.get(id).copied(),
        }
    }
    pub(super) fn has_viewer(&self, id: &str) -> bool {
        id.parse().is_ok_and(|id: ClientId| self.viewers.contains_key(&id))
    }
    pub(super) fn viewers(&self) -> usize {
        self.viewers.len()
    }
    /// Gives a client its seat, and the one that it had before.
    pub(super) fn sit(&mut self, role: &Role, seat: Seat) -> Option<Seat> {
        match role {
            Role::Master => self.master.replace(seat),
            Role::Viewer(id) => self.viewers.insert(id.clone(), seat),
        }
    }
    /// Takes the seat from a socket, if it is still its own.
    pub(super) fn leave(&mut self, role: &Role, socket: SocketId) -> bool {
        let own = self.seat(role).is_some_and(|seat| seat.socket == socket);
        match role {
            _ if !own => {}
            Role::Master => self.master = None,
            Role::Viewer(id) => drop(self.viewers.remove(id)),
        }
        own
    }
    /// All sockets in it.
    pub(super) fn sockets(&self) -> Vec<SocketId> {
        self.master.iter().chain(self.viewers.values()).map(|seat| seat.socket).collect()
    }
    pub(super) fn presence(&self) -> Presence {
        Presence {
            master_since: self.master.map(|seat| seat.since),
            viewers: self.viewers.iter().map(|(id, seat)| (id.clone(), seat.since)).collect(),
        }
    }
    /// Whether nothing of it has to be remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.master.is_none() && self.viewers.is_empty() && self.amount == Amount::default() && self.offers.is_empty()
    }
    /// What waits, in bytes.
    pub(super) fn kept(&self) -> usize {
        self.amount.bytes
    }

    /// Changes the mailbox of a recipient, if it has one.
    fn change<T>(&mut self, role: &Role, change: impl FnOnce(&mut Mailbox) -> T) -> Option<T> {
        let mailbox = match role {
            Role::Master => &mut self.for_master,
            Role::Viewer(id) => self.for_viewers.get_mut(id)?,
        };
        let before = mailbox.amount();
        let changed = change(mailbox);
        let after = mailbox.amount();
        self.amount.messages = self.amount.messages + after.messages - before.messages;
        self.amount.bytes = self.amount.bytes + after.bytes - before.bytes;
        match role {
            Role::Viewer(id) if after.messages == 0 => drop(self.for_viewers.remove(id)),
            _ => {}
        }
        Some(changed)
    }

    /// Puts a message into the mailbox of its recipient. `room` is how many bytes more all channels may keep.
    ///
    /// # Errors
    /// Which bound is met, for its sender.
    pub(super) fn post(
        &mut self,
        now: Instant,
        to: &Role,
        letter: Letter,
        config: &Config,
        room: usize,
    ) -> Result<(), Fault> {
        if letter.kind == Kind::Offer {
            self.change(to, |mailbox| {
                mailbox.expire(now);
                mailbox.supersede(&letter.sender);
            });
        }
        let (messages, bytes) = (config.kept_messages_per_channel, config.kept_bytes_per_channel);
        let fits = |amount: Amount, part: usize| {
            amount.messages < (messages / part).max(1) && amount.bytes + letter.bytes() <= bytes / part
        };
        if !fits(self.amount, 1) {
            return Err(Fault::limit(format!(
                "{} messages wait in this channel, of {} bytes: as many as may (signaling.kept_messages_per_channel, signaling.kept_bytes_per_channel)",
                self.amount.messages, self.amount.bytes
            )));
        }
        if letter.bytes() > room {
            return Err(Fault::limit("as many messages wait in all channels as may (signaling.kept_bytes)"));
        }
        if let Sender::Viewer(_) = &letter.sender {
            let own = self.for_master.of_sender(&letter.sender);
            if !fits(own, VIEWERS_PART) {
                return Err(Fault::limit(format!(
                    "{} messages of this viewer wait for the master: as many as may of one viewer",
                    own.messages
                )));
            }
        }
        if let Role::Viewer(id) = to {
            self.for_viewers.entry(id.clone()).or_default();
        }
        self.change(to, |mailbox| mailbox.push(letter));
        Ok(())
    }

    /// The next message for a recipient that still wants it.
    pub(super) fn take(&mut self, now: Instant, role: &Role) -> Option<Letter> {
        self.change(role, |mailbox| {
            mailbox.expire(now);
            mailbox.pop()
        })?
    }

    /// Whether something waits for a recipient.
    pub(super) fn has_mail(&self, role: &Role) -> bool {
        match role {
            Role::Master => !self.for_master.is_empty(),
            Role::Viewer(id) => self.for_viewers.contains_key(id),
        }
    }

    /// Drops what nobody wants any more.
    pub(super) fn expire(&mut self, now: Instant) {
        let ids: Vec<_> = self.for_viewers.keys().cloned().map(Role::Viewer).collect();
        for role in ids.iter().chain([&Role::Master]) {
            self.change(role, |mailbox| mailbox.expire(now));
        }
    }

    /// When it next has something to drop.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.for_viewers.values().chain([&self.for_master]).filter_map(Mailbox::next_end).min()
    }

    /// What its mailboxes hold, counted anew.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn assert_sound(&self, config: &Config) {
        let all = self.for_viewers.values().chain([&self.for_master]).map(Mailbox::amount);
        let counted = all.fold(Amount::default(), |sum, one| Amount {
            messages: sum.messages + one.messages,
            bytes: sum.bytes + one.bytes,
        });
        assert_eq!(self.amount, counted);
        assert!(counted.messages <= config.kept_messages_per_channel && counted.bytes <= config.kept_bytes_per_channel);
        assert!(self.viewers.len() <= config.max_viewers_per_channel);
        assert!(self.for_viewers.values().all(|mailbox| !mailbox.is_empty()) && !self.is_empty());
    }
}
