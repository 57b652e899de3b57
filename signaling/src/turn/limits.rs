//! How many allocations there may be: in all, of a channel, of a credential, of an address.

use std::collections::HashMap;
use std::net::IpAddr;

/// The limits (`[turn]`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) total: usize,
    pub(crate) channel: usize,
    pub(crate) credential: usize,
    pub(crate) address: usize,
}

/// Whose an allocation is.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) channel: String,
    pub(crate) username: String,
    pub(crate) address: IpAddr,
}

/// Counts them. Nothing is kept of who has none.
pub(crate) struct Limits {
    most: Most,
    total: usize,
    channels: HashMap<String, usize>,
    credentials: HashMap<String, usize>,
    addresses: HashMap<IpAddr, usize>,
}

impl Limits {
    /// Nobody has any.
    pub(crate) fn new(most: Most) -> Limits {
        Limits { most, total: 0, channels: HashMap::new(), credentials: HashMap::new(), addresses: HashMap::new() }
    }

    /// Counts one more; else says which limit is reached.
    pub(crate) fn take(&mut self, holder: &Holder) -> Result<(), &'static str> {
        let Most { total, channel, credential, address } = self.most;
        let count = |n: Option<&usize>| n.copied().unwrap_or(0);
        if self.total >= total {
            return Err("total");
        }
        if count(self.channels.get(&holder.channel)) >= channel {
            return Err("channel");
        }
        if count(self.credentials.get(&holder.username)) >= credential {
            return Err("credential");
        }
        if count(self.addresses.get(&holder.address)) >= address {
            return Err("address");
        }
        self.total += 1;
        *self.channels.entry(holder.channel.clone()).or_default() += 1;
        *self.credentials.entry(holder.username.clone()).or_default() += 1;
        *self.addresses.entry(holder.address).or_default() += 1;
        Ok(())
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
        less(&mut self.credentials, &holder.username);
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
    fn each_limit_is_one_of_its_own() {
        let mut limits = Limits::new(Most { total: 4, channel: 3, credential: 2, address: 2 });
        let holder = |channel: &str, username: &str, last: u8| Holder {
            channel: channel.into(),
            username: username.into(),
            address: IpAddr::from([192, 0, 2, last]),
        };
        let (a, b, c, d) = (holder("x", "1", 1), holder("x", "2", 2), holder("x", "3", 3), holder("y", "4", 2));
        assert_eq!([limits.take(&a), limits.take(&a), limits.take(&a)], [Ok(()), Ok(()), Err("credential")]);
        assert_eq!(limits.take(&holder("y", "5", 1)), Err("address"));
        assert_eq!([limits.take(&b), limits.take(&c)], [Ok(()), Err("channel")]);
        assert_eq!([limits.take(&d), limits.take(&holder("z", "6", 6))], [Ok(()), Err("total")]);
        [&a, &a, &b, &d].into_iter().for_each(|holder| limits.give_back(holder));
        assert_eq!(limits.total(), 0);
        assert!(limits.channels.is_empty() && limits.credentials.is_empty() && limits.addresses.is_empty());
    }
}
