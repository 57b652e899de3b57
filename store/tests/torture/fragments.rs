//! What is recorded while a store is tortured: fragments that follow from their place alone.

use crate::common::sent::*;
use crate::common::*;
use media::UnixMillis;
use std::path::Path;
use std::time::Duration;
use store::{Clock, Config, Error, Range, Store};

pub const PRODUCERS: usize = 2;
/// Time from one fragment to the next, in ms.
pub const STEP: i64 = 250;
/// Deletions stay this many fragments behind what was acknowledged: further than anything is sent again.
pub const BEHIND: i64 = 24;

pub fn settings(data: &Path, retention: u32, encrypt: bool) -> Config {
    let config = if encrypt { encrypted(data, 1) } else { config(data) };
    Config {
        segment_bytes: 60_000,
        commit_interval_ms: 2,
        // Most groups are full, so that the next is written while they are recorded.
        commit_bytes: 5000,
        tail_bytes: 50_000,
        default_retention_hours: retention,
        ..config
    }
}

/// The fragment `i` of a producer. Two headers take turns.
pub fn nth(producer: usize, i: i64) -> Sent {
    sent(640 + producer as u32 * 2 + (i / 7 % 2) as u32, T0 + i * STEP, 3, 300 + (i * 131 % 1201) as usize)
}

/// A camera's fragment, derived from its producer start alone.
pub fn events_at(camera: usize, start: i64) -> Vec<media::Event> {
    let width = 640 + camera as u32 + (start / STEP % 2) as u32 * 100;
    // Now and then one that is written past the page cache.
    let frame_bytes = if start / STEP % 64 == 9 { 120_000 } else { 300 } + (start % 1201) as usize;
    fragment(&header(width), start, 3, frame_bytes, None)
}

/// The range of fragments `first` to `first + 2`, of which each lasts 300 ms; it begins where the one before has ended.
pub fn deleted_range(first: i64) -> Range {
    Range { from: UnixMillis(T0 + first * STEP + 50), to: UnixMillis(T0 + (first + 2) * STEP + 1) }
}

/// What is said of a folder that nobody has open, tried again for a second where it is said to be in use: a process that another thread
/// just starts has all files of this one open until it runs its own program, and locks with them.
pub fn patiently<T>(mut look: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 0..100 {
        match look() {
            Err(error) if error.to_string().contains("in use") => std::thread::sleep(Duration::from_millis(10)),
            said => return said,
        }
    }
    look()
}

/// The same of opening it.
pub async fn open_patiently(config: Config, clock: Clock) -> Result<Store, Error> {
    for _ in 0..100 {
        match Store::open(config.clone(), clock.clone()).await {
            Err(error) if error.to_string().contains("in use") => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            opened => return opened,
        }
    }
    Store::open(config, clock).await
}
