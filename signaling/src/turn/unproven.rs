//! What is answered to those who have not proven that they are where they say: an answer may go to somebody who never asked.
//!
//! An answer that is no longer than its question is always given. A longer one (a challenge has some 100 bytes, the shortest
//! question 20) is taken out of two accounts: one of the address it goes to (of IPv6, its /64) and one of all together. What an
//! account has not, is not answered; clients ask again. Whoever came back with a nonce, and so gets what is sent to him, fills the account
//! of his address. Accounts lie in a table that never grows.
//!
//! Questions fill the account of all with half of their bytes: in a flood from all addresses, which would empty a fixed one with a few
//! hundred packets a second, those who really ask still get their share, and all answers together stay behind what was asked.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Accounts. Two addresses that share one share its bytes.
const ACCOUNTS: usize = 4096;
/// Of a fresh account, and what a full one has: some ten challenges.
const ADDRESS_BYTES: u32 = 1024;
/// It is fresh again after so long.
const ADDRESS_EVERY: Duration = Duration::from_secs(10);
/// What one who has proven himself adds, and the most that he can have.
const PROVEN_BYTES: u32 = 512;
const MOST_PROVEN_BYTES: u32 = 64 << 10;
const CHALLENGE_BYTES: u32 = 100;
/// Of all together in a second, whatever is asked.
const TOTAL_BYTES: u32 = 16 << 10;
const TOTAL_EVERY: Duration = Duration::from_secs(1);
/// Questions can fill the account of all together up to this.
const MOST_TOTAL_BYTES: u32 = 256 << 10;

#[derive(Clone, Copy, Default)]
struct Account {
    left: u32,
    /// When it was fresh last.
    since: Option<Instant>,
}

impl Account {
    fn renew(&mut self, now: Instant, every: Duration, bytes: u32) {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= every) {
            *self = Account { left: self.left.max(bytes), since: Some(now) };
        }
    }
}

/// The accounts.
pub(crate) struct Unproven {
    accounts: Box<[Account]>,
    total: Account,
    hasher: RandomState,
}

impl Default for Unproven {
    fn default() -> Self {
        let accounts = vec![Account::default(); ACCOUNTS].into_boxed_slice();
        Unproven { accounts, total: Account::default(), hasher: RandomState::new() }
    }
}

impl Unproven {
    fn account(&mut self, ip: IpAddr) -> &mut Account {
        let prefix = match ip.to_canonical() {
            IpAddr::V4(ip) => u128::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip) >> 64 | 1 << 64,
        };
        let slot = self.hasher.hash_one(prefix) as usize % ACCOUNTS;
        &mut self.accounts[slot]
    }

    /// Whether a question of so many bytes from there may be answered with so many.
    pub(crate) fn may_answer(&mut self, ip: IpAddr, asked: usize, answer: usize, now: Instant) -> bool {
        let Ok(excess) = u32::try_from(answer.saturating_sub(asked)) else { return false };
        if excess == 0 {
            return true;
        }
        self.total.renew(now, TOTAL_EVERY, TOTAL_BYTES);
        let earned = u32::try_from(asked / 2).unwrap_or_default();
        let whole = u32::try_from(answer).unwrap_or(u32::MAX);
        self.total.left = self.total.left.saturating_add(earned).min(MOST_TOTAL_BYTES);
        let left = self.total.left;
        let account = self.account(ip);
        account.renew(now, ADDRESS_EVERY, ADDRESS_BYTES);
        if account.left < excess || left < whole {
            return false;
        }
        account.left -= excess;
        // All of it: half of what was asked is to pay for whole answers.
        self.total.left = left - whole;
        true
    }

    /// Somebody has shown that what is sent there reaches him.
    pub(crate) fn proven(&mut self, ip: IpAddr, now: Instant) {
        let account = self.account(ip);
        account.renew(now, ADDRESS_EVERY, ADDRESS_BYTES);
        account.left = (account.left + PROVEN_BYTES).min(MOST_PROVEN_BYTES);
        // It has more bytes than the challenge that it answers.
        self.total.left = (self.total.left + CHALLENGE_BYTES).min(MOST_TOTAL_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: usize = 100;
    const QUESTION: usize = 28;

    #[test]
    fn a_flood_from_one_address_gets_less_than_it_sends() {
        let (mut unproven, start) = (Unproven::default(), Instant::now());
        let victim = IpAddr::from([192, 0, 2, 1]);
        let answered = (0..100_000u32)
            .filter(|n| {
                unproven.may_answer(victim, QUESTION, CHALLENGE, start + Duration::from_micros(u64::from(*n) * 100))
            })
            .count();
        assert!((10..=30).contains(&answered), "{answered}");
        // What needs no more bytes is answered all the same.
        assert!(unproven.may_answer(victim, CHALLENGE, CHALLENGE, start));
    }

    #[test]
    fn a_flood_from_all_addresses_gets_less_than_it_sends() {
        let (mut unproven, start) = (Unproven::default(), Instant::now());
        for (question, answer) in [(20, 32), (20, 44), (QUESTION, CHALLENGE)] {
            let asked = 200_000u32;
            let answered = (0..asked).filter(|n| {
                let at = start + Duration::from_micros(u64::from(*n) * 50);
                unproven.may_answer(IpAddr::from(n.wrapping_mul(2_654_435_761).to_be_bytes()), question, answer, at)
            });
            assert!(answered.count() * answer < asked as usize * question, "{question} {answer}");
        }
    }

    #[test]
    fn who_really_asks_is_answered_in_a_flood_from_all_addresses() {
        let (mut unproven, start) = (Unproven::default(), Instant::now());
        // 20 000 questions a second of addresses that never asked; each seven tries of one client, as RFC 8489 §6.2.1 has them.
        let (mut n, mut answered) = (0u32, 0);
        for client in 0..50u32 {
            let tries = (0..7).any(|_| {
                (0..1000).for_each(|_| {
                    n += 1;
                    let at = start + Duration::from_micros(u64::from(n) * 50);
                    unproven.may_answer(
                        IpAddr::from(n.wrapping_mul(2_654_435_761).to_be_bytes()),
                        QUESTION,
                        CHALLENGE,
                        at,
                    );
                });
                let at = start + Duration::from_micros(u64::from(n) * 50 + 10 + u64::from(client % 40));
                unproven.may_answer(IpAddr::from(client.to_be_bytes()), QUESTION, CHALLENGE, at)
            });
            answered += u32::from(tries);
        }
        assert!(answered >= 12, "{answered} of 50");
    }

    #[test]
    fn who_comes_back_gets_as_many_as_he_needs() {
        let (mut unproven, now) = (Unproven::default(), Instant::now());
        let ip = IpAddr::from([192, 0, 2, 1]);
        for n in 0..200 {
            assert!(unproven.may_answer(ip, QUESTION, CHALLENGE, now), "{n}");
            unproven.proven(ip, now);
        }
    }

    #[test]
    fn one_network_of_ipv6_is_one() {
        let (mut unproven, now) = (Unproven::default(), Instant::now());
        let answered = (0..1000u128)
            .filter(|n| {
                unproven.may_answer(IpAddr::from((0x2a00_u128 << 112 | n).to_be_bytes()), QUESTION, CHALLENGE, now)
            })
            .count();
        assert!(answered <= 15, "{answered}");
    }
}
