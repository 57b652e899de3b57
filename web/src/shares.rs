//! How much of something each holder has in use, so that none alone can hold all of it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// What is in use, by holder. A holder of nothing has no entry.
#[derive(Debug)]
pub(crate) struct Shares<K: Hash + Eq>(Mutex<HashMap<K, usize>>);

/// A part of what a holder has in use; ends with its value.
#[derive(Debug)]
pub(crate) struct Share<K: Hash + Eq> {
    of: Arc<Shares<K>>,
    holder: K,
    amount: usize,
}

impl<K: Hash + Eq> Default for Shares<K> {
    fn default() -> Self {
        Shares(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone> Shares<K> {
    /// So much for a holder, unless it would then have more than `most`.
    pub(crate) fn take(self: &Arc<Self>, holder: K, amount: usize, most: usize) -> Option<Share<K>> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after = used.get(&holder).copied().unwrap_or(0).checked_add(amount).filter(|after| *after <= most)?;
        used.insert(holder.clone(), after);
        Some(Share { of: self.clone(), holder, amount })
    }
    /// How many holders have something in use.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl<K: Hash + Eq> Drop for Share<K> {
    fn drop(&mut self) {
        let mut used = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = used.get_mut(&self.holder) {
            *held = held.saturating_sub(self.amount);
            if *held == 0 {
                used.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_holder_has_its_share_and_no_more() {
        let shares = Arc::new(Shares::default());
        let (some, more) = (shares.take("a", 6, 10).unwrap(), shares.take("a", 4, 10).unwrap());
        assert!(shares.take("a", 1, 10).is_none() && shares.take("a", usize::MAX, usize::MAX).is_none());
        let other = shares.take("b", 10, 10).unwrap();
        drop(some);
        assert!(shares.take("a", 7, 10).is_none());
        let again = shares.take("a", 6, 10).unwrap();
        assert_eq!(shares.holders(), 2);
        drop((more, other, again));
        assert_eq!(shares.holders(), 0);
    }
}
