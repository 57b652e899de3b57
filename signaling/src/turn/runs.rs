//! Packets of one receiving call, gathered by where they go: each run is one call to send (UDP GSO).
//!
//! Payloads are copied once, behind each other; a call for each packet would cost many times that. Buffers are used again, so that
//! nothing is allocated once they have grown.

use super::relay::Relay;
use std::net::SocketAddr;
use std::sync::Arc;

/// Runs that are open at a time.
const RUNS: usize = 32;
/// A run's bytes have to fit into one IP packet before the kernel cuts it.
pub(crate) const MOST_BYTES: usize = 60_000;

/// Equal packets, behind each other; the last may be shorter, which closes the run.
#[derive(Default)]
pub(crate) struct Equal {
    pub(crate) bytes: Vec<u8>,
    pub(crate) segment: usize,
    count: usize,
    closed: bool,
}

impl Equal {
    /// Whether one of so many bytes can follow.
    pub(crate) fn fits(&self, length: usize, most: usize) -> bool {
        self.count == 0
            || (!self.closed && length <= self.segment && self.count < most && self.bytes.len() + length <= MOST_BYTES)
    }

    /// Counts one of so many bytes, which the caller adds.
    pub(crate) fn add(&mut self, length: usize) -> &mut Vec<u8> {
        if self.count == 0 {
            self.segment = length;
        }
        self.closed = length < self.segment;
        self.count += 1;
        &mut self.bytes
    }

    /// Packets in it.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        (self.count, self.segment, self.closed) = (0, 0, false);
    }
}

struct Run {
    to: Option<(Arc<Relay>, SocketAddr)>,
    packets: Equal,
}

/// The open runs.
#[derive(Default)]
pub(crate) struct Runs {
    runs: Vec<Run>,
    used: usize,
}

impl Runs {
    /// Adds a packet for a peer.
    pub(crate) fn push(&mut self, relay: &Arc<Relay>, peer: SocketAddr, data: &[u8]) {
        let most = relay.socket.most_segments();
        let same = |run: &&mut Run| run.to.as_ref().is_some_and(|(r, p)| Arc::ptr_eq(r, relay) && *p == peer);
        // The last of a flow alone, so that its packets stay in order.
        let found = self.runs[..self.used].iter_mut().rev().find(same).filter(|run| run.packets.fits(data.len(), most));
        let run = match found {
            Some(run) => run,
            None => {
                if self.used == RUNS {
                    self.flush();
                }
                if self.used == self.runs.len() {
                    self.runs.push(Run { to: None, packets: Equal::default() });
                }
                self.used += 1;
                let run = &mut self.runs[self.used - 1];
                run.to = Some((relay.clone(), peer));
                run
            }
        };
        run.packets.add(data.len()).extend_from_slice(data);
    }

    /// Sends them. What a socket does not take now is dropped, as a network would.
    pub(crate) fn flush(&mut self) {
        for run in &mut self.runs[..self.used] {
            let Some((relay, peer)) = run.to.take() else { continue };
            let result = relay.send(peer, run.packets.segment, &run.packets.bytes);
            super::meter::relayed("to peers", run.packets.count(), run.packets.bytes.len(), result);
            run.packets.clear();
        }
        self.used = 0;
    }
}
