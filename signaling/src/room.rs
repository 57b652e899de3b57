//! One bound for the pictures that are held for all viewers of the process: those on their way to the task, those since the last key
//! frames, those that viewers wait for, and those that may be asked for again.
//!
//! A picture is shared by all viewers of its stream, so it counts once, from when it is made until the last who holds it lets go.
//! What is given up where there is too little room says [`crate::task`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use tokio::sync::Notify;

/// The room of all pictures.
#[derive(Debug)]
pub(crate) struct Room {
    most: u64,
    used: AtomicU64,
    waiting: AtomicUsize,
    freed: Notify,
}

/// What a picture takes of it; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: Arc<Room>,
    bytes: u64,
}

impl Room {
    /// Of so many bytes.
    pub(crate) fn new(most: u64) -> Arc<Room> {
        Arc::new(Room { most, used: AtomicU64::new(0), waiting: AtomicUsize::new(0), freed: Notify::new() })
    }

    /// Bytes of all pictures.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(SeqCst)
    }

    /// Whether something has to be given up: little is left, or someone waits.
    pub(crate) fn is_tight(&self) -> bool {
        self.used() > self.most - self.most / 8 || self.waiting.load(SeqCst) > 0
    }

    /// Takes room if there is some. A picture that is larger than all of it has it alone.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: u64) -> Option<Held> {
        let fits = |used: u64| (used == 0 || used.saturating_add(bytes) <= self.most).then_some(used + bytes);
        self.used.fetch_update(SeqCst, SeqCst, fits).ok()?;
        Some(Held { room: self.clone(), bytes })
    }

    /// Waits for room.
    pub(crate) async fn take(self: &Arc<Self>, bytes: u64) -> Held {
        if let Some(held) = self.try_take(bytes) {
            return held;
        }
        let _waits = Waits::new(self);
        loop {
            // Listening comes first, so that nothing is missed between a look and the wait.
            let freed = self.freed.notified();
            if let Some(held) = self.try_take(bytes) {
                return held;
            }
            freed.await;
        }
    }

    /// Tells how it is.
    pub(crate) fn gauges(&self) {
        metrics::gauge!("vidicon_webrtc_queue_bytes").set(self.used() as f64);
        metrics::gauge!("vidicon_webrtc_queue_limit_bytes").set(self.most as f64);
    }
}

impl Default for Room {
    fn default() -> Self {
        let most = crate::Config::default().queue_bytes;
        Room { most, used: AtomicU64::new(0), waiting: AtomicUsize::new(0), freed: Notify::new() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes, SeqCst);
        if self.room.waiting.load(SeqCst) > 0 {
            self.room.freed.notify_waiters();
        }
    }
}

/// Counts who waits, also where that is given up.
struct Waits<'a>(&'a Room);

impl<'a> Waits<'a> {
    fn new(room: &'a Room) -> Self {
        room.waiting.fetch_add(1, SeqCst);
        Waits(room)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn who_finds_no_room_waits_until_there_is_some() {
        let room = Room::new(100);
        let held = room.take(80).await;
        assert!(room.try_take(21).is_none() && !room.is_tight());
        let waiting = tokio::spawn({
            let room = room.clone();
            async move { room.take(50).await }
        });
        while !room.is_tight() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!waiting.is_finished());
        drop(held);
        let held = waiting.await.unwrap();
        assert_eq!((room.used(), room.is_tight()), (50, false));
        drop(held);
        let alone = room.take(1000).await;
        assert!(room.is_tight() && room.try_take(1).is_none(), "it has it alone");
        drop(alone);
        assert_eq!(room.used(), 0);
        // Who gives up waiting is not waited for.
        let held = room.take(100).await;
        assert!(tokio::time::timeout(Duration::from_millis(5), room.take(1)).await.is_err());
        drop(held);
        assert!(!room.is_tight());
    }
}
