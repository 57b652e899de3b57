//! One publisher: its link, what is made of its packets, and where that goes. Without I/O.

use super::core::Core;
use super::queue::{Queue, Refused};
use crate::batch::{Batch, Path};
use crate::demux::Kind;
use crate::link::Link;
use crate::peer::{End, Reaction, Seat};
use media::{Item, UnixMicros};
use std::time::Instant;

/// Sources whose packets are tried to be opened: each takes memory, and anyone can forge one.
const MOST_SOURCES: usize = 32;

/// What makes a publisher.
pub(crate) struct Parts {
    /// How it is reached.
    pub(crate) link: Link,
    /// What is made of its packets.
    pub(crate) core: Core,
    /// Where it goes.
    pub(crate) queue: Queue,
    /// Its seat, given back when the publisher is dropped.
    pub(crate) _seat: Seat,
}

/// One publisher.
pub(crate) struct Publisher {
    parts: Parts,
    /// Sources so far, of media and of reports.
    sources: Vec<u32>,
    /// Items were not taken, and those who take them are to be told.
    overtaken: u32,
}

impl Publisher {
    /// A publisher whose answer is about to be sent.
    pub(crate) fn new(parts: Parts) -> Self {
        Publisher { parts, sources: Vec::new(), overtaken: 0 }
    }

    /// How it is reached.
    pub(crate) fn link(&self) -> &Link {
        &self.parts.link
    }

    /// Takes a datagram.
    pub(crate) fn handle_input(
        &mut self,
        (now, arrival): (Instant, UnixMicros),
        kind: Kind,
        path: Path,
        datagram: &[u8],
        out: &mut Batch,
    ) -> Result<Reaction, End> {
        match kind {
            Kind::Stun => self.parts.link.check(now, path, datagram, out),
            Kind::Dtls => self.parts.link.record(now, datagram, out),
            Kind::Rtp => {
                let useful = self.media(now, arrival, datagram);
                self.flush()?;
                self.send_feedback(now, out);
                Ok(if useful { Reaction::default() } else { Reaction::dropped() })
            }
        }
    }

    fn media(&mut self, now: Instant, arrival: UnixMicros, datagram: &[u8]) -> bool {
        let is_rtcp = datagram.get(1).is_some_and(|pt| (192..=223).contains(pt));
        let (head, source) = if is_rtcp {
            (None, datagram.get(4..8).and_then(|b| b.first_chunk()).map(|b| u32::from_be_bytes(*b)))
        } else {
            let head = self.parts.core.head(datagram, now);
            let source = head.as_ref().map(|head| head.ssrc);
            (head, source)
        };
        let (Some(source), Some(keys)) = (source, self.parts.link.keys()) else { return false };
        if !self.sources.contains(&source) {
            if self.sources.len() == MOST_SOURCES {
                return false;
            }
            self.sources.push(source);
        }
        match head {
            Some(head) => match keys.remote.decrypt_rtp(datagram) {
                Ok(opened) => self.parts.core.packet(&head, opened.freeze(), arrival, now),
                Err(_) => false,
            },
            None => match keys.remote.decrypt_rtcp(datagram) {
                Ok(opened) => self.parts.core.control(&opened, arrival, now),
                Err(_) => false,
            },
        }
    }

    /// Hands on what was made of the packets. Where there is no room, pictures are left out up to the next key frame.
    fn flush(&mut self) -> Result<(), End> {
        while let Some(item) = self.parts.core.poll_item() {
            if self.overtaken > 0 {
                match self.parts.queue.push(Item::Lost(self.overtaken)) {
                    Ok(()) => self.overtaken = 0,
                    Err(Refused::Closed) => return Err(End::Stream),
                    Err(Refused::Full) => {}
                }
            }
            match self.parts.queue.push(item) {
                Ok(()) => {}
                Err(Refused::Closed) => return Err(End::Stream),
                Err(Refused::Full) => {
                    self.overtaken = self.overtaken.saturating_add(1);
                    self.parts.core.overtaken();
                }
            }
        }
        Ok(())
    }

    fn send_feedback(&mut self, now: Instant, out: &mut Batch) {
        let Some((path, keys)) = self.parts.link.ready() else { return };
        let Some(plain) = self.parts.core.poll_feedback(now) else { return };
        match keys.local.encrypt_rtcp(&plain) {
            Ok(sealed) => out.push(path, &sealed),
            Err(error) => tracing::warn!(peer = self.parts.link.id(), %error, "feedback cannot be sealed"),
        }
    }

    /// To be called a few times a second.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Batch) -> Result<(), End> {
        self.parts.link.handle_timeout(now, out)?;
        if self.parts.queue.is_closed() {
            return Err(End::Stream);
        }
        self.parts.core.handle_timeout(now);
        self.flush()?;
        self.send_feedback(now, out);
        Ok(())
    }

    /// Says goodbye, if the publisher does not know yet.
    pub(crate) fn close(&mut self, now: Instant, out: &mut Batch) {
        self.parts.link.close(now, out);
    }
}
