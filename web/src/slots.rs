//! Connections counted by address, so that no client alone can hold all of them.

use crate::auth::network;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Connections of one address (of one /64 in IPv6) at a time.
const MOST: usize = 256;
/// The same for this machine itself: a proxy on it brings the connections of all its clients.
const MOST_LOCAL: usize = 1024;

/// Open connections by address. An address without any has no entry.
#[derive(Default)]
pub(crate) struct Slots(Mutex<HashMap<[u8; 8], usize>>);

/// One connection; ends with its value.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    network: [u8; 8],
}

impl Slots {
    /// A slot for a connection from there, unless that address has too many.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let network = network(address);
        let most = if address.to_canonical().is_loopback() { MOST_LOCAL } else { MOST };
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(&network).is_some_and(|open| *open >= most) {
            return None;
        }
        *open.entry(network).or_default() += 1;
        Some(Slot { slots: self.clone(), network })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = open.get(&self.network).map_or(0, |open| open.saturating_sub(1));
        match left {
            0 => open.remove(&self.network),
            left => open.insert(self.network, left),
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let slots = Arc::new(Slots::default());
        let take = |text: &str| slots.take(text.parse().unwrap());
        let mut held: Vec<_> = (0..MOST).map(|_| take("192.0.2.7").unwrap()).collect();
        assert!(take("192.0.2.7").is_none() && take("::ffff:192.0.2.7").is_none());
        assert!(take("192.0.2.8").is_some(), "others have their own");
        held.pop();
        assert!(take("192.0.2.7").is_some(), "one has ended");
        held = (0..MOST).map(|n| take(&format!("2001:db8:0:1::{n:x}")).unwrap()).collect();
        assert!(take("2001:db8:0:1:ffff::1").is_none() && take("2001:db8:0:2::1").is_some());
        held.extend((0..MOST_LOCAL).map(|_| take("127.0.0.1").unwrap()));
        assert!(take("127.0.0.1").is_none());
        drop(held);
        assert!(slots.0.lock().unwrap().is_empty());
    }
}
