//! How fast a client must take the media that is held in memory for it.
//!
//! It must take something every minute, and all of what is held within a minute and the time that this much takes at a least rate:
//! half of a line of 64 kbit/s as long as there is room for others. While room is scarce the least rate is that of a line of
//! 512 kbit/s; video for a line of 64 kbit/s is in time even then, because half a megabyte, more than a minute of it, has the minute.
//! Only what has been given to a client and lies there counts: one that has everything and waits for more holds nothing.

use crate::{body::Room, serve::Cut};
use bytes::Bytes;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Of what is held, something must be taken within so long; and all of it may take so much longer than at the least rate.
pub(crate) const STALLED: Duration = Duration::from_secs(60);
/// The least rate, in bytes a second.
const LEAST: u64 = 4 << 10;
/// The least rate while room is scarce.
const LEAST_WHEN_SCARCE: u64 = 64 << 10;

/// How a client takes what is held for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    bytes: u64,
    /// When it was given the first piece, and the last one so far.
    first: Instant,
    last: Instant,
}

impl Pace {
    pub(crate) fn begin(bytes: u64, now: Instant) -> Self {
        Pace { bytes, first: now, last: now }
    }
    /// Another piece was given, so the one before it was taken.
    pub(crate) fn gave(&mut self, now: Instant) {
        self.last = now;
    }
    /// Whether the client is too slow, while some of it still lies there.
    pub(crate) fn is_late(&self, now: Instant, is_scarce: bool) -> bool {
        let least = if is_scarce { LEAST_WHEN_SCARCE } else { LEAST };
        let whole = STALLED + Duration::from_millis(self.bytes.saturating_mul(1000) / least);
        now.saturating_duration_since(self.last) >= STALLED || now.saturating_duration_since(self.first) >= whole
    }
}

/// A part of a body without a known end, in memory until its last piece has left the connection: each piece keeps it.
pub(crate) struct Hold {
    bytes: u64,
    /// From the first piece on.
    pace: Mutex<Option<Pace>>,
    room: Room,
    cut: Cut,
}

struct Piece {
    bytes: Bytes,
    _of: Arc<Hold>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Hold {
    pub(crate) fn new(room: Room, bytes: u64, cut: Cut) -> Self {
        Hold { bytes, pace: Mutex::default(), room, cut }
    }
    /// A piece that the client is given now.
    pub(crate) fn piece(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let now = Instant::now();
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.get_or_insert(Pace::begin(self.bytes, now)).gave(now);
        Bytes::from_owner(Piece { bytes, _of: self.clone() })
    }
    /// Cuts the connection, and with it all that it holds, if its client is too slow; whether it is.
    pub(crate) fn cut_if_late(&self, now: Instant) -> bool {
        let pace = *self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let is_late = pace.is_some_and(|pace| pace.is_late(now, self.room.is_scarce()));
        if is_late {
            metrics::counter!("vidicon_http_media_cut_total").increment(1);
            self.cut.now();
        }
        is_late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a client that takes this many bytes each so many seconds is late with a part of so many bytes; `None` if it is in time.
    fn late_after(bytes: u64, piece: u64, each_s: u64, is_scarce: bool) -> Option<u64> {
        let begun = Instant::now();
        let mut pace = Pace::begin(bytes, begun);
        for s in 0..=bytes.div_ceil(piece) * each_s {
            let now = begun + Duration::from_secs(s);
            if s % each_s == 0 {
                pace.gave(now);
            }
            if pace.is_late(now, is_scarce) {
                return Some(s);
            }
        }
        None
    }

    #[test]
    fn a_line_of_64_kbit_is_in_time_and_who_trickles_is_not() {
        const MIB: u64 = 1 << 20;
        // 8 kB a second, with pieces of any size: also the longest, which it takes 32 seconds for.
        for (bytes, scarce) in [(80_000, true), (500_000, true), (5 * MIB, false), (256 * MIB, false)] {
            assert_eq!(late_after(bytes, 8000, 1, scarce), None, "{bytes}");
            assert_eq!(late_after(bytes, 256 << 10, 32, scarce), None, "{bytes}");
        }
        // A piece now and then, to hold the rest.
        assert_eq!(late_after(64 * MIB, 256 << 10, 61, false), Some(60));
        assert_eq!(late_after(MIB, 16 << 10, 59, false), Some(60 + 256));
        assert_eq!(late_after(64 * MIB, 256 << 10, 59, true), Some(60 + 1024));
        assert_eq!(late_after(MIB, 8000, 1, true), Some(60 + 16), "too much for that line when others need the room");
        assert_eq!(late_after(64 * MIB, 128 << 10, 1, true), None);
    }
}
