//! The writer of frames: events in, clusters made of them, sealed fragments out.

use crate::budget::{Charge, FRAGMENT_OVERHEAD, FRAME_OVERHEAD};
use crate::session::{Content, Session};
use crate::state::StreamState;
use crate::{Error, Kind, Offer};
use bytes::Bytes;
use media::mkv::ClusterWriter;
use media::{Cause, Event, FragmentNumber, Frame, Start};
use std::sync::Arc;

/// Writes the events of one session. Not shared: a session has one writer. Dropping it drops the open fragment.
pub struct Writer {
    session: Session,
    /// Of the open fragment.
    cluster: Option<ClusterWriter>,
    /// Events up to the next `Begin` are dropped.
    dropping: bool,
}

impl Writer {
    pub(crate) fn new(stream: Arc<StreamState>) -> Writer {
        Writer { session: Session::new(stream), cluster: None, dropping: false }
    }

    /// Takes an event, waiting for room in the byte budget (a producer that can be slowed down: PutMedia). Cancel safe: a
    /// cancelled event was not taken. `LimitExceeded` when the open fragment can never fit the budget; it is dropped.
    pub async fn write(&mut self, event: Event) -> Result<Offer, Error> {
        self.session.stream.check_open()?;
        if let Event::Begin(_) = event {
            self.abandon();
            self.dropping = true;
            self.session.stream.admit()?;
            self.dropping = false;
        }
        let cost = self.cost(&event);
        let charge = match cost {
            0 => None,
            cost => match self.session.stream.budget.take(cost).await {
                Some(charge) => Some(charge),
                None => {
                    self.abandon();
                    self.dropping = true;
                    let message =
                        format!("stream {}: the fragment does not fit the byte budget", self.session.stream.name());
                    return Err(Error::new(Kind::LimitExceeded, message));
                }
            },
        };
        self.session.stream.check_open()?;
        self.apply(event, charge)
    }

    /// Takes an event without ever waiting (a live source): a full budget drops whole groups of pictures and counts them;
    /// the first fragment after it carries `Cause::Overload`.
    pub fn offer(&mut self, event: Event) -> Result<Offer, Error> {
        self.session.stream.check_open()?;
        if let Event::Begin(start) = &event {
            // A cause that the source gave for a fragment that is dropped belongs to the next one.
            let given = start.cause;
            self.abandon();
            self.dropping = false;
            if self.session.stream.admit().is_err() {
                self.overload(given);
                return Ok(Offer::Dropped);
            }
            let charge = self.session.stream.budget.try_take(self.cost(&event));
            if charge.is_none() {
                self.overload(given);
                return Ok(Offer::Dropped);
            }
            return self.apply(event, charge);
        }
        let cost = self.cost(&event);
        let charge = if cost == 0 { None } else { self.session.stream.budget.try_take(cost) };
        if cost > 0 && charge.is_none() {
            let given = self.session.open().and_then(|o| o.cause);
            self.abandon();
            self.overload(given);
            return Ok(Offer::Dropped);
        }
        self.apply(event, charge)
    }

    /// Bytes of the budget that an event needs. 0 for what is dropped anyway.
    fn cost(&self, event: &Event) -> u64 {
        match event {
            Event::Begin(start) => FRAGMENT_OVERHEAD + start.header.bytes.len() as u64,
            Event::Frame(frame) if self.cluster.is_some() => FRAME_OVERHEAD + frame.data.len() as u64,
            Event::Frame(_) | Event::End => 0,
        }
    }

    fn overload(&mut self, given: Option<Cause>) {
        self.dropping = true;
        self.session.pending_cause = given.or(self.session.pending_cause).or(Some(Cause::Overload));
        self.session.stream.dropped_gop();
    }

    fn abandon(&mut self) {
        self.cluster = None;
        self.session.abandon();
    }

    fn apply(&mut self, event: Event, charge: Option<Charge>) -> Result<Offer, Error> {
        match (event, charge) {
            (Event::Begin(start), Some(charge)) => self.begin(start, charge).map(|()| Offer::Taken),
            (Event::Frame(frame), Some(charge)) => self.frame(frame, charge).map(|()| Offer::Taken),
            (Event::End, _) if self.cluster.is_some() => self.end(),
            _ if self.dropping => Ok(Offer::Dropped),
            _ => Err(Error::new(
                Kind::Invalid,
                format!("stream {}: a frame or end without a beginning", self.session.stream.name()),
            )),
        }
    }

    fn begin(&mut self, start: Start, charge: Charge) -> Result<(), Error> {
        let cluster = ClusterWriter::new(start.producer_start);
        self.session.begin(start, charge).inspect_err(|_| self.dropping = true)?;
        self.cluster = Some(cluster);
        Ok(())
    }

    fn frame(&mut self, frame: Frame, charge: Charge) -> Result<(), Error> {
        let cluster = self.cluster.as_mut().expect("a frame has a charge only while a fragment is open");
        if let Err(error) = cluster.push(&frame) {
            let number = self.session.number().map(|n| n.to_string()).unwrap_or_default();
            self.abandon();
            self.dropping = true;
            let message = format!(
                "stream {} fragment {number}: a frame does not fit; the fragment is dropped",
                self.session.stream.name()
            );
            return Err(Error::new(Kind::Invalid, message).with_source(error));
        }
        self.session.frame(frame, charge);
        Ok(())
    }

    fn end(&mut self) -> Result<Offer, Error> {
        let cluster = self.cluster.take().expect("the caller looked");
        self.session.seal(Content::new(Bytes::new(), cluster.finish()), None, false)
    }

    /// The number of the open fragment.
    pub fn open_number(&self) -> Option<FragmentNumber> {
        self.session.number()
    }
}
