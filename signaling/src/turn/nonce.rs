//! Nonces that nobody has to remember: when one was made, sealed for whom (RFC 8489 §9.2, RFC 8656 §5).
//!
//! `obMatJos2` and 24 bits of features (RFC 8489 §9.2.1; here that there are password algorithms), then the time in seconds since
//! the start and 9 bytes of an HMAC over time and address.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;
use std::net::IpAddr;
use subtle::ConstantTimeEq;

/// The cookie, and the feature "password algorithms" (bit 0) in Base64.
const COOKIE: &str = "obMatJos2gAAA";
/// A nonce is taken for so long, in seconds.
const HOLDS_S: u32 = 600;

/// Makes nonces and knows its own.
pub(crate) struct Nonces {
    key: hmac::Key,
}

impl Nonces {
    /// Under a key that only this process has: a restart makes all nonces stale.
    pub(crate) fn new(key: [u8; 32]) -> Nonces {
        Nonces { key: hmac::Key::new(hmac::HMAC_SHA256, &key) }
    }

    /// For a client at this address, at this second since the start.
    pub(crate) fn make(&self, now_s: u32, client: IpAddr) -> String {
        let mut sealed = [0; 12];
        sealed[..3].copy_from_slice(&now_s.to_be_bytes()[1..]);
        sealed[3..].copy_from_slice(&self.seal(now_s, client));
        format!("{COOKIE}{}", STANDARD.encode(sealed))
    }

    /// Whether it was made for this client and not long ago.
    pub(crate) fn is_fresh(&self, nonce: &[u8], now_s: u32, client: IpAddr) -> bool {
        let Some(sealed) = nonce.strip_prefix(COOKIE.as_bytes()).and_then(|rest| STANDARD.decode(rest).ok()) else {
            return false;
        };
        let Some((time, seal)) = sealed.split_first_chunk::<3>() else { return false };
        // The low 24 bits of the time: its age tells the rest.
        let age = now_s.wrapping_sub(u32::from_be_bytes([0, time[0], time[1], time[2]])) & 0x00ff_ffff;
        age < HOLDS_S && self.seal(now_s.wrapping_sub(age), client).ct_eq(seal).into()
    }

    fn seal(&self, made_s: u32, client: IpAddr) -> [u8; 9] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&made_s.to_be_bytes());
        match client {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        let tag = context.sign();
        std::array::from_fn(|i| tag.as_ref()[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_for_its_client_and_ten_minutes() {
        let nonces = Nonces::new([1; 32]);
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for made in [0, 5, 0x00ff_fff0, 0x0100_0000, u32::MAX - 700] {
            let nonce = nonces.make(made, a);
            assert!(nonces.is_fresh(nonce.as_bytes(), made, a) && nonces.is_fresh(nonce.as_bytes(), made + 599, a));
            assert!(!nonces.is_fresh(nonce.as_bytes(), made + 600, a) && !nonces.is_fresh(nonce.as_bytes(), made, b));
            assert!(!Nonces::new([2; 32]).is_fresh(nonce.as_bytes(), made, a));
            assert!(made == 0 || !nonces.is_fresh(nonce.as_bytes(), made - 1, a), "one of the future");
        }
        for foreign in [&b""[..], b"obMatJos2gAAA", b"obMatJos2gAAAAAAA", b"obMatJos2gAAA####", &[0xff; 40]] {
            assert!(!nonces.is_fresh(foreign, 5, a));
        }
    }

    #[test]
    fn says_that_there_are_password_algorithms() {
        let nonce = Nonces::new([1; 32]).make(0, IpAddr::from([192, 0, 2, 1]));
        let bits = STANDARD.decode(&nonce.as_bytes()[9..13]).expect("Base64");
        assert_eq!((&nonce[..9], &bits[..]), ("obMatJos2", &[0x80, 0, 0][..]));
    }
}
