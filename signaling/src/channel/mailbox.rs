//! What waits for one recipient, whether it is away or has not taken it yet.

use super::{client_id::ClientId, message::Kind};
use std::{collections::VecDeque, time::Instant};

/// What a waiting message takes beside its text.
const OVERHEAD: usize = 128;

/// Who sent a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Master,
    Viewer(ClientId),
}

/// A message on its way. No `Debug`: see [`super::message::Message`].
pub(super) struct Letter {
    pub(super) sender: Sender,
    pub(super) kind: Kind,
    /// As it is sent.
    pub(super) text: String,
    /// Nobody wants it after that.
    pub(super) until: Instant,
}

impl Letter {
    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Amount {
    fn of<'a>(letters: impl IntoIterator<Item = &'a Letter>) -> Amount {
        letters.into_iter().fold(Amount::default(), |sum, letter| Amount {
            messages: sum.messages + 1,
            bytes: sum.bytes + letter.bytes(),
        })
    }
}

/// The messages that wait for one recipient, oldest first.
#[derive(Default)]
pub(super) struct Mailbox(VecDeque<Letter>);

impl Mailbox {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub(super) fn amount(&self) -> Amount {
        Amount::of(&self.0)
    }
    /// What one sender has waiting here.
    pub(super) fn of_sender(&self, sender: &Sender) -> Amount {
        Amount::of(self.0.iter().filter(|letter| letter.sender == *sender))
    }
    pub(super) fn push(&mut self, letter: Letter) {
        self.0.push_back(letter);
    }
    pub(super) fn pop(&mut self) -> Option<Letter> {
        self.0.pop_front()
    }
    /// A new offer of a sender makes its older one void, with the answers and candidates that followed that.
    pub(super) fn supersede(&mut self, sender: &Sender) {
        let Some(offer) = self.0.iter().position(|l| l.sender == *sender && l.kind == Kind::Offer) else { return };
        let mut at = 0;
        self.0.retain(|letter| {
            at += 1;
            at <= offer || letter.sender != *sender
        });
    }
    /// Drops what nobody wants any more.
    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|letter| now < letter.until);
    }
    /// When the next one expires.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.0.iter().map(|letter| letter.until).min()
    }
}
