//! All publishers, as the task of the socket keeps them beside its viewers.

use super::publisher::Publisher;
use crate::batch::{Batch, Path};
use crate::demux::{Demux, Kind, PeerKey};
use crate::peer::{Call, End, Reaction};
use media::UnixMicros;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// See the module.
#[derive(Default)]
pub(crate) struct Publishers {
    /// With the catalog's id of the stream that each sends into.
    by_key: HashMap<PeerKey, (Box<Publisher>, u64)>,
}

impl Publishers {
    /// Adds one, unless another sends into the stream already.
    pub(crate) fn add(&mut self, key: PeerKey, publisher: Box<Publisher>, stream: u64, demux: &mut Demux) -> bool {
        if self.by_key.values().any(|(_, taken)| *taken == stream) {
            return false;
        }
        demux.add(publisher.link().ufrag(), key);
        self.by_key.insert(key, (publisher, stream));
        true
    }

    /// Takes a datagram for one. The error says why it was dropped.
    pub(crate) fn datagram(
        &mut self,
        key: PeerKey,
        times: (Instant, UnixMicros),
        (kind, path): (Kind, Path),
        datagram: &[u8],
        (demux, batch): (&mut Demux, &mut Batch),
    ) -> Result<(), &'static str> {
        let (publisher, _) = self.by_key.get_mut(&key).ok_or("unknown")?;
        let handled = guarded(Call::Input, || publisher.handle_input(times, kind, path, datagram, batch));
        let Reaction { learned, forgotten, start, dropped } = match handled {
            Ok(reaction) => reaction,
            Err(end) => {
                self.end(key, &end, times.0, demux, batch);
                return Ok(());
            }
        };
        if let Some(addr) = forgotten {
            demux.forget(addr, key);
        }
        if let Some(addr) = learned {
            demux.learn(addr, key);
        }
        if start {
            tracing::debug!(peer = publisher.link().id(), "a publisher may send");
        }
        if dropped { Err("refused") } else { Ok(()) }
    }

    /// Time passes for all of them.
    pub(crate) fn tick(&mut self, now: Instant, demux: &mut Demux, batch: &mut Batch) {
        let mut ended = Vec::new();
        for (key, (publisher, _)) in &mut self.by_key {
            if let Err(end) = guarded(Call::Timeout, || publisher.handle_timeout(now, batch)) {
                ended.push((*key, end));
            }
        }
        for (key, end) in ended {
            self.end(key, &end, now, demux, batch);
        }
    }

    /// The one with this public id.
    pub(crate) fn find(&self, id: &str) -> Option<PeerKey> {
        self.by_key.iter().find(|(_, (publisher, _))| publisher.link().id() == id).map(|(key, _)| *key)
    }

    /// Ends one, and says goodbye to it.
    pub(crate) fn end(&mut self, key: PeerKey, why: &End, now: Instant, demux: &mut Demux, batch: &mut Batch) {
        let Some((mut publisher, _)) = self.by_key.remove(&key) else { return };
        if *why != End::ByViewer {
            // Nothing more can be done for it than to count.
            let _ = guarded(Call::Close, || {
                publisher.close(now, batch);
                Ok(())
            });
        }
        let link = publisher.link();
        demux.remove(link.ufrag(), link.addrs().iter().copied(), key);
        tracing::info!(peer = link.id(), ?why, publishers = self.by_key.len(), "a WebRTC publisher is gone");
    }

    /// Ends all of them.
    pub(crate) fn end_all(&mut self, now: Instant, demux: &mut Demux, batch: &mut Batch) {
        for key in self.by_key.keys().copied().collect::<Vec<_>>() {
            self.end(key, &End::Stopped, now, demux, batch);
        }
    }
}

/// Calls into a publisher. A panic is counted, and is the end of that one only.
fn guarded<T>(call: Call, what: impl FnOnce() -> Result<T, End>) -> Result<T, End> {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|_| {
        metrics::counter!("vidicon_webrtc_panics_total").increment(1);
        Err(End::Panicked(call))
    })
}
