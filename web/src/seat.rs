//! The place of a connection among those that the listener takes, in all and of one address.

use crate::slots::{Slot, Slots};
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// What a connection takes of the listener's bounds; in the extensions of its requests.
#[derive(Clone)]
pub(crate) struct Seat(Arc<Place>);

struct Place {
    room: Arc<Semaphore>,
    slots: Arc<Slots>,
    address: IpAddr,
    held: Mutex<Held>,
    /// Cancelled when there was no place to come back to.
    lost: CancellationToken,
}

enum Held {
    Here {
        _permit: OwnedSemaphorePermit,
        _slot: Slot,
    },
    Away,
    /// The connection is over.
    Over,
}

/// A connection counts no more until this is dropped.
pub(crate) struct Away(Seat);

impl Seat {
    /// A place for a connection from there that holds `permit` of `room`, unless its address has too many.
    pub(crate) fn take(
        room: &Arc<Semaphore>,
        permit: OwnedSemaphorePermit,
        slots: &Arc<Slots>,
        address: IpAddr,
    ) -> Option<Seat> {
        let held = Held::Here { _permit: permit, _slot: slots.take(address)? };
        let (room, slots) = (room.clone(), slots.clone());
        let lost = CancellationToken::new();
        Some(Seat(Arc::new(Place { room, slots, address, held: Mutex::new(held), lost })))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection counts no more for a while: what it is for is bounded elsewhere, and by who sends it rather than from where.
    pub(crate) fn leave(&self) -> Away {
        let mut held = self.held();
        if matches!(*held, Held::Here { .. }) {
            *held = Held::Away;
        }
        Away(self.clone())
    }

    /// The connection is over.
    pub(crate) fn end(&self) {
        *self.held() = Held::Over;
    }

    /// Waits until the connection has lost its place: it came back, and all were taken.
    pub(crate) async fn lost(&self) {
        self.0.lost.cancelled().await;
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let Seat(place) = &self.0;
        let mut held = self.0.held();
        if !matches!(*held, Held::Away) {
            return;
        }
        match (place.slots.take(place.address), place.room.clone().try_acquire_owned()) {
            (Some(slot), Ok(permit)) => *held = Held::Here { _permit: permit, _slot: slot },
            _ => place.lost.cancel(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn who_leaves_gives_its_place_to_others_and_takes_one_again() {
        let (room, slots) = (Arc::new(Semaphore::new(1)), Arc::new(Slots::default()));
        let take = || {
            let permit = room.clone().try_acquire_owned().ok()?;
            Seat::take(&room, permit, &slots, [192, 0, 2, 7].into())
        };
        let first = take().unwrap();
        assert!(take().is_none(), "the room is full");
        let away = first.leave();
        let second = take().unwrap();
        drop(away);
        assert!(first.0.lost.is_cancelled() && !second.0.lost.is_cancelled(), "nothing to come back to");
        first.end();
        assert!(take().is_none(), "it had no place any more");
        let away = second.leave();
        drop(away);
        assert!(!second.0.lost.is_cancelled() && take().is_none(), "it is back");
        let away = second.leave();
        second.end();
        drop(away);
        let third = take().unwrap();
        assert!(!second.0.lost.is_cancelled(), "a connection that is over does not come back");
        third.end();
        assert_eq!(room.available_permits(), 1);
    }

    #[test]
    fn an_address_with_too_many_connections_is_no_place_to_come_back_to() {
        let (room, slots) = (Arc::new(Semaphore::new(10_000)), Arc::new(Slots::default()));
        let take = || Seat::take(&room, room.clone().try_acquire_owned().unwrap(), &slots, [192, 0, 2, 7].into());
        let mut seats: Vec<_> = std::iter::from_fn(take).collect();
        let away = seats[0].leave();
        seats.push(take().unwrap());
        drop(away);
        assert!(seats[0].0.lost.is_cancelled());
    }
}
