//! Slows down the guessing of secrets: failed attempts are counted per address and per key id.
//!
//! Each count is a generic cell rate: a failure moves a bucket's time one interval on; a bucket that is a whole burst
//! ahead of the clock refuses further attempts unseen. Success costs nothing, and an address that has succeeded lately
//! is not held up by others guessing at the same key id.

use media::UnixMillis;
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

/// Entries kept per table; the least guilty go first.
const MOST: usize = 8192;
/// How long a success of an address counts.
const TRUST_MS: i64 = 24 * 3_600_000;

#[derive(Clone, Copy)]
struct Rate {
    burst: i64,
    interval_ms: i64,
}

const PER_ADDRESS: Rate = Rate { burst: 10, interval_ms: 6_000 };
const PER_KEY: Rate = Rate { burst: 60, interval_ms: 1_000 };

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Wrong,
    /// Not looked at; try again in so many seconds.
    Wait(u64),
}

#[derive(Default)]
struct Table(HashMap<u64, UnixMillis>);

impl Table {
    fn wait_s(&self, key: u64, rate: Rate, now: UnixMillis) -> Option<u64> {
        let ahead = self.0.get(&key)?.0 - now.0 - (rate.burst - 1) * rate.interval_ms;
        (ahead > 0).then(|| (ahead as u64).div_ceil(1000))
    }
    fn fail(&mut self, key: u64, rate: Rate, now: UnixMillis) {
        self.make_room(now);
        let at = self.0.entry(key).or_insert(now);
        *at = (*at).max(now).plus(rate.interval_ms);
    }
    fn make_room(&mut self, now: UnixMillis) {
        if self.0.len() < MOST {
            return;
        }
        self.0.retain(|_, at| *at > now);
        if self.0.len() > MOST / 2 {
            // The less guilty half at once, so that room is made seldom.
            let mut times: Vec<_> = self.0.values().copied().collect();
            let (_, middle, _) = times.select_nth_unstable(MOST / 2);
            let middle = *middle;
            self.0.retain(|_, at| *at > middle);
        }
    }
}

#[derive(Default)]
struct Tables {
    addresses: Table,
    keys: Table,
    /// Until when an address is trusted.
    trusted: Table,
}

/// Counts failed attempts.
#[derive(Default)]
pub(crate) struct Throttle {
    hasher: RandomState,
    tables: Mutex<Tables>,
}

impl Throttle {
    /// Looks at an attempt with `check`, unless there were too many failed ones.
    pub(crate) fn attempt(
        &self,
        now: UnixMillis,
        address: IpAddr,
        key_id: &str,
        check: impl FnOnce() -> bool,
    ) -> Verdict {
        let (address, key) = (self.hash(network(address)), self.hash(key_id));
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let trusted = tables.trusted.0.get(&address).is_some_and(|until| *until > now);
        let by_key = if trusted { None } else { tables.keys.wait_s(key, PER_KEY, now) };
        if let Some(seconds) = tables.addresses.wait_s(address, PER_ADDRESS, now).max(by_key) {
            return Verdict::Wait(seconds);
        }
        if check() {
            tables.trusted.make_room(now);
            tables.trusted.0.insert(address, now.plus(TRUST_MS));
            return Verdict::Right;
        }
        tables.addresses.fail(address, PER_ADDRESS, now);
        tables.keys.fail(key, PER_KEY, now);
        Verdict::Wrong
    }

    fn hash(&self, value: impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }
}

/// Whom an address stands for: itself, or its /64 in IPv6, out of which one host can take any address.
pub(crate) fn network(address: IpAddr) -> [u8; 8] {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [0, 0, 0, 0, a, b, c, d]
        }
        IpAddr::V6(v6) => v6.octets()[..8].try_into().expect("half of 16 bytes"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const GUESSER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn guess(throttle: &Throttle, at: i64, address: IpAddr) -> Verdict {
        throttle.attempt(UnixMillis(at), address, "root", || false)
    }

    #[test]
    fn an_address_is_stopped_after_ten_and_then_gets_one_every_six_seconds() {
        let throttle = Throttle::default();
        for _ in 0..10 {
            assert_eq!(guess(&throttle, 0, GUESSER), Verdict::Wrong);
        }
        assert_eq!(guess(&throttle, 0, GUESSER), Verdict::Wait(6));
        let right = throttle.attempt(UnixMillis(0), GUESSER, "root", || panic!("must not be looked at"));
        assert_eq!(right, Verdict::Wait(6));
        assert_eq!(guess(&throttle, 6_000, GUESSER), Verdict::Wrong);
        assert!(matches!(guess(&throttle, 6_000, GUESSER), Verdict::Wait(_)));
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert!(matches!(guess(&throttle, 6_000, mapped), Verdict::Wait(_)), "the same address in IPv6 clothes");
    }

    #[test]
    fn a_key_is_guarded_against_many_addresses_but_not_against_its_owner() {
        let throttle = Throttle::default();
        let owner = "203.0.113.9".parse().unwrap();
        assert_eq!(throttle.attempt(UnixMillis(0), owner, "root", || true), Verdict::Right);
        let from = |n: u32| IpAddr::V4(std::net::Ipv4Addr::from(0x0a00_0000 + n));
        let refused = (0..100).filter(|n| guess(&throttle, 0, from(*n)) != Verdict::Wrong).count();
        assert_eq!(refused, 40);
        assert_eq!(throttle.attempt(UnixMillis(0), owner, "root", || true), Verdict::Right);
        let other = throttle.attempt(UnixMillis(0), from(900), "someone-else", || false);
        assert_eq!(other, Verdict::Wrong, "another key id has its own count");
    }

    #[test]
    fn memory_stays_bounded_and_the_guilty_stay_remembered() {
        let throttle = Throttle::default();
        for _ in 0..10 {
            guess(&throttle, 0, GUESSER);
        }
        for n in 0..20_000u32 {
            let address = IpAddr::V6(std::net::Ipv6Addr::from(u128::from(n) << 64));
            throttle.attempt(UnixMillis(1), address, &n.to_string(), || false);
        }
        assert!(throttle.tables.lock().unwrap().addresses.0.len() <= MOST);
        assert!(matches!(guess(&throttle, 1, GUESSER), Verdict::Wait(_)));
    }
}
