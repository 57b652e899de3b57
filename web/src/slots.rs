//! Connections counted by address, so that no client alone can hold all of them.

use crate::{
    auth::network,
    shares::{Share, Shares},
};
use std::{net::IpAddr, sync::Arc};

/// Connections of one address (of one /64 in IPv6) at a time.
const MOST: usize = 256;
/// The same for this machine itself: a proxy on it brings the connections of all its clients.
const MOST_LOCAL: usize = 1024;

/// Open connections by address.
#[derive(Default)]
pub(crate) struct Slots(Arc<Shares<[u8; 8]>>);

/// One connection; ends with its value.
pub(crate) type Slot = Share<[u8; 8]>;

impl Slots {
    /// A slot for a connection from there, unless that address has too many.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Slot> {
        let most = if address.to_canonical().is_loopback() { MOST_LOCAL } else { MOST };
        self.0.take(network(address), 1, most)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let slots = Slots::default();
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
        assert_eq!(slots.0.holders(), 0);
    }
}
