//! What media takes of memory, as far as the store holds it: three parts, each with its bound.
//!
//! What is not durable yet (the byte budget), the newest durable fragments (the tail), and what followers have not read of fragments
//! that are not open any more (the rings).

use crate::Store;
use crate::budget::BudgetFigures;
use crate::follow::ALL_RINGS_BYTES;
use media::StreamName;

/// Bytes of media in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The byte budget of the process.
    pub budget: BudgetFigures,
    /// Of the streams that hold most of it, those first for which producers wait. Streams that hold nothing are left out.
    pub streams: Vec<(StreamName, BudgetFigures)>,
    /// The size of each stream's own budget.
    pub stream_limit_bytes: u64,
    /// What the tail holds.
    pub tail_bytes: u64,
    /// What it may hold.
    pub tail_limit_bytes: u64,
    /// What followers have not read of fragments that are not open any more.
    pub ring_bytes: u64,
    /// What that may be.
    pub ring_limit_bytes: u64,
}

impl Store {
    /// What media takes of memory now, with the figures of at most so many streams. Looks at every stream.
    pub fn footprint(&self, streams: usize) -> Footprint {
        let shared = &self.inner.shared;
        let states = self.states();
        let mut of: Vec<_> = states.iter().map(|state| (state, state.budget.figures())).collect();
        of.retain(|(_, figures)| figures.used_bytes > 0 || figures.waiting > 0);
        // By name where all else is the same: the list does not flicker.
        of.sort_by_key(|(_, figures)| std::cmp::Reverse((figures.waiting, figures.used_bytes)));
        of.truncate(streams);
        Footprint {
            budget: self.inner.budget.figures(),
            streams: of.into_iter().map(|(state, figures)| (state.name().clone(), figures)).collect(),
            stream_limit_bytes: shared.config.stream_budget_bytes,
            tail_bytes: shared.tail.bytes(),
            tail_limit_bytes: shared.tail.limit(),
            ring_bytes: shared.rings.bytes() as u64,
            ring_limit_bytes: ALL_RINGS_BYTES as u64,
        }
    }
}
