//! Numbers of fragments: blocks of them are set aside in the catalog before any of them is given out.

use super::StreamState;
use crate::catalog::streams;
use crate::{Error, Kind};
use media::{FragmentNumber, Header, UnixMillis};
use std::sync::Arc;
use std::time::Instant;

/// Numbers that are kept for sessions that begin fragments at the same moment.
const SPARE: u64 = streams::BLOCK / 4;

impl StreamState {
    /// A number for a fragment that begins now.
    pub(crate) fn begin(self: &Arc<Self>, header: &Arc<Header>, now: UnixMillis) -> Result<FragmentNumber, Error> {
        let random = getrandom::u32()
            .map_err(|e| Error::new(Kind::Unavailable, format!("the system gave no random bytes: {e}")))?;
        let mut inner = self.lock();
        inner.remember(header)?;
        if inner.next_counter + streams::BLOCK / 2 > inner.counter_limit && !inner.reserving {
            inner.reserving = self.reserve(inner.counter_limit + streams::BLOCK);
        }
        if inner.next_counter > inner.counter_limit {
            return Err(Error::new(
                Kind::Unavailable,
                format!("stream {}: no fragment numbers could be set aside", self.name()),
            ));
        }
        let counter = inner.next_counter;
        inner.next_counter += 1;
        inner.order.begin(counter, Instant::now());
        inner.stats.header(header);
        Ok(FragmentNumber::new(counter, now.0 as u64, random))
    }

    /// Sees to numbers before a producer's fragment begins. Those of a new session start at the next k·1000 + 1, as those of the cloud
    /// do. Waits only where few are set aside yet, for a producer may send faster than that is done in the background.
    pub(crate) async fn numbers(self: &Arc<Self>, new_session: bool) -> Result<(), Error> {
        loop {
            let limit = {
                let mut inner = self.lock();
                let first = match new_session {
                    true => (inner.next_counter - 1).next_multiple_of(streams::BLOCK) + 1,
                    false => inner.next_counter,
                };
                if first + SPARE <= inner.counter_limit {
                    inner.next_counter = first;
                    if new_session && first + streams::BLOCK > inner.counter_limit && !inner.reserving {
                        inner.reserving = self.reserve(inner.counter_limit + streams::BLOCK);
                    }
                    return Ok(());
                }
                streams::block_limit(first + SPARE)
            };
            let id = self.id();
            self.shared.catalog.write(move |c| streams::reserve(c, id, limit)).await?;
            let mut inner = self.lock();
            inner.counter_limit = inner.counter_limit.max(limit);
        }
    }

    /// Sets counters up to `limit` aside in the background. Numbers above the old limit are given out only once that is durable.
    fn reserve(self: &Arc<Self>, limit: u64) -> bool {
        let stream = self.clone();
        self.shared.catalog.write_detached(move |c| {
            let reserved = streams::reserve(c, stream.id(), limit);
            let mut inner = stream.lock();
            inner.reserving = false;
            match reserved {
                Ok(()) => inner.counter_limit = inner.counter_limit.max(limit),
                Err(error) => {
                    tracing::warn!(stream = %stream.name(), %error, "fragment numbers could not be set aside")
                }
            }
        })
    }
}
