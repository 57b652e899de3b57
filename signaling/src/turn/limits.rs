//! How many allocations there may be: in all, of a channel, of a credential, of an address; and what those of a credential share.

use super::meter::Meter;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// The limits (`[turn]`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) total: usize,
    pub(crate) channel: usize,
    pub(crate) credential: usize,
    pub(crate) address: usize,
    /// Bits a second of all of a credential in each direction, in thousands; 0 is no limit.
    pub(crate) credential_kbps: u64,
}

/// Whose an allocation is.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) channel: String,
    pub(crate) username: String,
    pub(crate) address: IpAddr,
}

/// What allocations of one credential share.
#[derive(Default)]
struct Credential {
    allocations: usize,
    meters: Meters,
}

/// To peers, to clients.
pub(crate) type Meters = [Option<Arc<Meter>>; 2];

/// Counts them. Nothing is kept of who has none.
pub(crate) struct Limits {
    most: Most,
    total: usize,
    channels: HashMap<String, usize>,
    credentials: HashMap<String, Credential>,
    addresses: HashMap<IpAddr, usize>,
}

impl Limits {
    /// Nobody has any.
    pub(crate) fn new(most: Most) -> Limits {
        Limits { most, total: 0, channels: HashMap::new(), credentials: HashMap::new(), addresses: HashMap::new() }
    }

    /// Counts one more, and gives what it shares with others of its credential; else says which limit is reached.
    pub(crate) fn take(&mut self, holder: &Holder, now: Instant) -> Result<Meters, &'static str> {
        let Most { total, channel, credential, address, credential_kbps } = self.most;
        let count = |n: Option<&usize>| n.copied().unwrap_or(0);
        if self.total >= total {
            return Err("total");
        }
        if count(self.channels.get(&holder.channel)) >= channel {
            return Err("channel");
        }
        if self.credentials.get(&holder.username).is_some_and(|c| c.allocations >= credential) {
            return Err("credential");
        }
        if count(self.addresses.get(&holder.address)) >= address {
            return Err("address");
        }
        self.total += 1;
        *self.channels.entry(holder.channel.clone()).or_default() += 1;
        *self.addresses.entry(holder.address).or_default() += 1;
        let of_credential = self.credentials.entry(holder.username.clone()).or_insert_with(|| Credential {
            allocations: 0,
            meters: [(); 2].map(|()| Meter::new(credential_kbps, now).map(Arc::new)),
        });
        of_credential.allocations += 1;
        Ok(of_credential.meters.clone())
    }

    /// Counts one less.
    pub(crate) fn give_back(&mut self, holder: &Holder) {
        fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
            if let Some(n) = counts.get_mut(key) {
                *n = n.saturating_sub(1);
                if *n == 0 {
                    counts.remove(key);
                }
            }
        }
        self.total = self.total.saturating_sub(1);
        less(&mut self.channels, &holder.channel);
        if let Some(of_credential) = self.credentials.get_mut(&holder.username) {
            of_credential.allocations = of_credential.allocations.saturating_sub(1);
            if of_credential.allocations == 0 {
                self.credentials.remove(&holder.username);
            }
        }
        less(&mut self.addresses, &holder.address);
    }

    /// Allocations now.
    pub(crate) fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_shares_its_bits_while_it_has_an_allocation() {
        let most = Most { total: 9, channel: 9, credential: 9, address: 9, credential_kbps: 80 };
        let (mut limits, now) = (Limits::new(most), Instant::now());
        let holder = |username: &str| Holder {
            channel: "x".into(),
            username: username.into(),
            address: IpAddr::from([192, 0, 2, 1]),
        };
        let mut to_peers = |username: &str| {
            let [meter, _] = limits.take(&holder(username), now).expect("room");
            meter.expect("a limit")
        };
        let (first, second, other) = (to_peers("1"), to_peers("1"), to_peers("2"));
        assert!(first.takes(10_000, now) && !second.takes(1, now) && other.takes(10_000, now));
        // As long as it has one, it does not begin anew.
        limits.give_back(&holder("1"));
        assert!(!limits.take(&holder("1"), now).expect("room")[0].as_ref().expect("a limit").takes(1, now));
    }

    #[test]
    fn each_limit_is_one_of_its_own() {
        let mut limits = Limits::new(Most { total: 4, channel: 3, credential: 2, address: 2, credential_kbps: 0 });
        let now = Instant::now();
        let mut take = |holder: &Holder| limits.take(holder, now).map(|_| ());
        let holder = |channel: &str, username: &str, last: u8| Holder {
            channel: channel.into(),
            username: username.into(),
            address: IpAddr::from([192, 0, 2, last]),
        };
        let (a, b, c, d) = (holder("x", "1", 1), holder("x", "2", 2), holder("x", "3", 3), holder("y", "4", 2));
        assert_eq!([take(&a), take(&a), take(&a)], [Ok(()), Ok(()), Err("credential")]);
        assert_eq!(take(&holder("y", "5", 1)), Err("address"));
        assert_eq!([take(&b), take(&c)], [Ok(()), Err("channel")]);
        assert_eq!([take(&d), take(&holder("z", "6", 6))], [Ok(()), Err("total")]);
        [&a, &a, &b, &d].into_iter().for_each(|holder| limits.give_back(holder));
        assert_eq!(limits.total(), 0);
        assert!(limits.channels.is_empty() && limits.credentials.is_empty() && limits.addresses.is_empty());
    }
}
