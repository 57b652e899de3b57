//! Datagrams gathered for sending, in runs that the kernel can take in one call (UDP GSO).
//!
//! What belongs here: grouping. Pure. A run is datagrams to one destination that all have the length of the first, but
//! the last may be shorter.

use std::net::{IpAddr, SocketAddr};

/// The way to a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    /// The viewer's address.
    pub(crate) remote: SocketAddr,
    /// The address of ours that the viewer sends to, so that answers come from it.
    pub(crate) local: Option<IpAddr>,
}

/// Datagrams to one destination.
#[derive(Debug)]
pub(crate) struct Run {
    /// Where to.
    pub(crate) path: Path,
    /// Length of each datagram but the last.
    pub(crate) segment: usize,
    /// The datagrams, one after the other.
    pub(crate) bytes: Vec<u8>,
    /// Whether a shorter datagram ended it.
    closed: bool,
}

impl Run {
    /// Datagrams in it.
    pub(crate) fn datagrams(&self) -> usize {
        self.bytes.len().div_ceil(self.segment.max(1))
    }
}

/// A run's bytes have to fit into one IP packet before the kernel cuts it.
const MOST_BYTES: usize = 60_000;

/// Datagrams waiting to be sent.
#[derive(Default)]
pub(crate) struct Batch {
    /// Runs in the order of sending.
    pub(crate) runs: std::collections::VecDeque<Run>,
    /// Bytes in all of them.
    pub(crate) bytes: usize,
    /// Datagrams a run may have.
    pub(crate) most_segments: usize,
}

impl Batch {
    /// Adds a datagram. `head` and `body` are sent as one.
    pub(crate) fn push(&mut self, path: Path, datagram: &[u8]) {
        self.bytes += datagram.len();
        if let Some(run) = self.runs.back_mut()
            && run.path == path
            && !run.closed
            && datagram.len() <= run.segment
            && run.bytes.len() + datagram.len() <= MOST_BYTES
            && run.datagrams() < self.most_segments
        {
            run.closed = datagram.len() < run.segment;
            run.bytes.extend_from_slice(datagram);
            return;
        }
        self.runs.push_back(Run { path, segment: datagram.len(), bytes: datagram.to_vec(), closed: false });
    }

    /// Takes the first run, after it was sent or given up.
    pub(crate) fn pop(&mut self) -> Option<Run> {
        let run = self.runs.pop_front()?;
        self.bytes -= run.bytes.len();
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        Path { remote: SocketAddr::from(([192, 0, 2, 1], port)), local: None }
    }

    fn runs(batch: &mut Batch) -> Vec<(u16, usize, usize)> {
        std::iter::from_fn(|| batch.pop()).map(|r| (r.path.remote.port(), r.segment, r.bytes.len())).collect()
    }

    #[test]
    fn equal_datagrams_to_one_place_go_together_and_a_shorter_one_ends_the_run() {
        let mut batch = Batch { most_segments: 64, ..Batch::default() };
        for length in [100, 100, 60, 100, 100] {
            batch.push(path(1), &vec![0; length]);
        }
        batch.push(path(2), &[0; 100]);
        batch.push(path(2), &[0; 101]);
        assert_eq!(batch.bytes, 661);
        assert_eq!(runs(&mut batch), [(1, 100, 260), (1, 100, 200), (2, 100, 100), (2, 101, 101)]);
        assert_eq!(batch.bytes, 0);
    }

    #[test]
    fn a_run_has_no_more_than_the_kernel_takes() {
        let mut batch = Batch { most_segments: 3, ..Batch::default() };
        (0..7).for_each(|_| batch.push(path(1), &[0; 10]));
        assert_eq!(runs(&mut batch), [(1, 10, 30), (1, 10, 30), (1, 10, 10)]);
        let mut batch = Batch { most_segments: 64, ..Batch::default() };
        (0..64).for_each(|_| batch.push(path(1), &[0; 1200]));
        assert!(runs(&mut batch).iter().all(|(_, _, bytes)| *bytes <= MOST_BYTES));
    }
}
