//! `NextToken`s: where a listing goes on, sealed, so that what comes back is what was given out, for the same listing.
//!
//! A token is base64 of JSON and a MAC over it and the listing's name. It names no more than the answer it came with.

use super::Error;
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Serialize, de::DeserializeOwned};
use sha2::Sha256;

/// Bytes of the MAC that are kept.
const MAC: usize = 16;
/// The longest token that a model allows (archived media; the control plane's 1024 are never reached).
const LONGEST: usize = 4096;

/// Makes and reads tokens.
pub(crate) struct Pages {
    key: Hmac<Sha256>,
}

impl Pages {
    /// Keyed by the data folder's secret: tokens outlive a restart.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let keyed = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        let mut derived = keyed(secret);
        derived.update(b"vidicon paging token v1");
        Pages { key: keyed(&derived.finalize().into_bytes()) }
    }

    fn mac(&self, listing: &str, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        mac.update(&(listing.len() as u64).to_be_bytes());
        mac.update(listing.as_bytes());
        mac.update(payload);
        mac
    }

    /// A token for the next page of a listing. `listing` names the operation and all that its pages must agree in.
    pub(crate) fn seal(&self, listing: &str, place: &impl Serialize) -> String {
        let mut bytes = serde_json::to_vec(place).expect("places of listings are plain values");
        let mac = self.mac(listing, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&mac[..MAC]);
        STANDARD.encode(bytes)
    }

    /// The place that a token of the same listing was made of.
    ///
    /// # Errors
    /// `InvalidArgumentException` for anything that was not given out for this listing.
    pub(crate) fn open<T: DeserializeOwned>(&self, listing: &str, token: &str) -> Result<T, Error> {
        let wrong = || Error::invalid("NextToken: this token was not given out for this listing");
        let bytes = (token.len() <= LONGEST).then(|| STANDARD.decode(token).ok()).flatten().ok_or_else(wrong)?;
        let (payload, mac) = bytes.split_at_checked(bytes.len().wrapping_sub(MAC)).ok_or_else(wrong)?;
        self.mac(listing, payload).verify_truncated_left(mac).map_err(|_| wrong())?;
        serde_json::from_slice(payload).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_token_opens_for_its_listing_alone() {
        let pages = Pages::new(&[7; 32]);
        let token = pages.seal("ListStreams", &"gate");
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)), "the model's pattern");
        assert_eq!(pages.open::<String>("ListStreams", &token).unwrap(), "gate");
        assert!(pages.open::<String>("ListStreams\0a", &token).is_err());
        assert!(Pages::new(&[8; 32]).open::<String>("ListStreams", &token).is_err());
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(pages.open::<String>("ListStreams", &changed).is_err(), "{at}");
        }
        for wrong in ["", "AAAA", "=", "a b", &token[..token.len() - 4], &"A".repeat(5000)] {
            assert!(pages.open::<String>("ListStreams", wrong).is_err(), "{wrong}");
        }
        let long = pages.seal("x", &"a".repeat(256));
        assert!(long.len() <= 1024, "{} characters", long.len());
    }
}
