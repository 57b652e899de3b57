//! Sealing: bytes that only this installation can read, and that nobody else can make. AES-256-GCM with random nonces.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;

/// A key for one purpose. `Debug` is left out: it would show nothing.
pub(super) struct Sealer {
    key: LessSafeKey,
    purpose: &'static [u8],
}

/// A key for one purpose out of the data folder's secret and what else it depends on.
pub(super) fn derive(secret: &[u8; 32], purpose: &[u8], more: &[&str]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).expect("HMAC takes keys of any length");
    for part in std::iter::once(purpose).chain(more.iter().map(|text| text.as_bytes())) {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

impl Sealer {
    /// A sealer whose texts no other purpose, secret or `more` can open.
    pub(super) fn new(secret: &[u8; 32], purpose: &'static [u8], more: &[&str]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &derive(secret, purpose, more)).expect("the key has 32 bytes");
        Sealer { key: LessSafeKey::new(key), purpose }
    }

    /// Seals bytes for whoever gives the same `bound_to` when opening. The text is base64url.
    pub(super) fn seal(&self, bound_to: &str, bytes: &[u8]) -> String {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).expect("the system has a random source");
        let mut sealed = bytes.to_vec();
        let aad = Aad::from(self.aad(bound_to));
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .expect("the bytes are far fewer than the cipher takes");
        sealed.splice(0..0, nonce);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// What was sealed, if it was by this key for this `bound_to`.
    pub(super) fn open(&self, bound_to: &str, text: &str) -> Option<Vec<u8>> {
        let mut sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, rest) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.key.open_in_place(nonce, Aad::from(self.aad(bound_to)), rest).ok()?;
        Some(opened.to_vec())
    }

    fn aad(&self, bound_to: &str) -> Vec<u8> {
        [self.purpose, b"\0", bound_to.as_bytes()].concat()
    }
}

/// So many characters of base 32, five random bits each: for ids.
pub(super) fn random_text(len: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = vec![0u8; len];
    getrandom::fill(&mut bytes).expect("the system has a random source");
    bytes.iter().map(|b| char::from(ALPHABET[usize::from(b & 31)])).collect()
}

/// A secret access key as AWS makes them: 40 characters of base 64.
pub(super) fn secret_of(bytes: &[u8; 30]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_same_key_purpose_and_binding_open() {
        let sealer = Sealer::new(&[1; 32], b"one", &["root"]);
        let text = sealer.seal("AKIA1", b"secret");
        assert_eq!(sealer.open("AKIA1", &text).as_deref(), Some(&b"secret"[..]));
        assert_ne!(sealer.seal("AKIA1", b"secret"), text, "never the same text twice");
        assert_eq!(sealer.open("AKIA2", &text), None);
        for other in [
            Sealer::new(&[2; 32], b"one", &["root"]),
            Sealer::new(&[1; 32], b"two", &["root"]),
            Sealer::new(&[1; 32], b"one", &["toor"]),
            Sealer::new(&[1; 32], b"one", &["roo", "t"]),
        ] {
            assert_eq!(other.open("AKIA1", &text), None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sealer.open("AKIA1", &URL_SAFE_NO_PAD.encode(bent)), None, "bit {bit}");
        }
        for junk in ["", "A", "%%", &"A".repeat(15), &"A".repeat(10_000)] {
            assert_eq!(sealer.open("AKIA1", junk), None);
        }
    }
}
