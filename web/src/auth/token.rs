//! Signed tokens: sessions (in a cookie or a `Bearer` header) and playback tokens (in a path).
//!
//! A token is `base64url(payload ‖ HMAC-SHA-256(key, payload))`. Payloads have fixed lengths and start with their kind;
//! each kind has its own key, derived from the data folder's secret and the root credentials, so that changing the root
//! secret ends every session and every playback URL. The keys never leave this module.

use crate::Root;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use media::UnixMillis;
use sha2::Sha256;
use store::Range;

const SESSION: u8 = 1;
const PLAYBACK: u8 = 2;
const PAYLOAD: usize = 33;
const TOKEN: usize = PAYLOAD + 32;

/// A session of someone who signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Random; by it a session is ended before its time.
    pub(crate) id: [u8; 16],
    pub(crate) issued_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
}

/// The right to play one stream in one range of producer time until it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Playback {
    /// The catalog's id, so that a new stream of the same name is another one.
    pub(crate) stream: u64,
    pub(crate) range: Range,
    pub(crate) expires_at: UnixMillis,
}

impl Playback {
    /// The end of the range of a token for the live edge.
    pub(crate) const OPEN: UnixMillis = UnixMillis(i64::MAX);

    /// Whether it is for the live edge.
    pub(crate) fn is_live(&self) -> bool {
        self.range.to == Self::OPEN
    }
}

/// Signs and reads tokens.
pub(crate) struct Signer {
    session: Hmac<Sha256>,
    playback: Hmac<Sha256>,
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

impl Signer {
    pub(crate) fn new(secret: &[u8; 32], root: &Root) -> Self {
        let derive = |label: &[u8]| {
            let mut mac = keyed(secret);
            for part in [label, root.access_key_id.as_bytes(), root.secret_access_key.as_bytes()] {
                mac.update(&(part.len() as u64).to_be_bytes());
                mac.update(part);
            }
            keyed(&mac.finalize().into_bytes())
        };
        Signer { session: derive(b"vidicon session token v1"), playback: derive(b"vidicon playback token v1") }
    }

    pub(crate) fn session(&self, session: &Session) -> String {
        let mut payload = [SESSION; PAYLOAD];
        payload[1..17].copy_from_slice(&session.id);
        payload[17..25].copy_from_slice(&session.issued_at.0.to_be_bytes());
        payload[25..33].copy_from_slice(&session.expires_at.0.to_be_bytes());
        sign(&self.session, &payload)
    }
    /// The session behind a token, if its signature holds and it has not expired.
    pub(crate) fn read_session(&self, token: &str, now: UnixMillis) -> Option<Session> {
        let payload = verify(&self.session, token, SESSION)?;
        let id = payload[1..17].try_into().expect("16 bytes");
        let session = Session { id, issued_at: millis(&payload, 17), expires_at: millis(&payload, 25) };
        (now < session.expires_at).then_some(session)
    }

    pub(crate) fn playback(&self, playback: &Playback) -> String {
        let mut payload = [PLAYBACK; PAYLOAD];
        payload[1..9].copy_from_slice(&playback.stream.to_be_bytes());
        payload[9..17].copy_from_slice(&playback.range.from.0.to_be_bytes());
        payload[17..25].copy_from_slice(&playback.range.to.0.to_be_bytes());
        payload[25..33].copy_from_slice(&playback.expires_at.0.to_be_bytes());
        sign(&self.playback, &payload)
    }
    /// The right behind a playback token, if its signature holds and it has not expired.
    pub(crate) fn read_playback(&self, token: &str, now: UnixMillis) -> Option<Playback> {
        let payload = verify(&self.playback, token, PLAYBACK)?;
        let playback = Playback {
            stream: millis(&payload, 1).0 as u64,
            range: Range { from: millis(&payload, 9), to: millis(&payload, 17) },
            expires_at: millis(&payload, 25),
        };
        (now < playback.expires_at).then_some(playback)
    }
}

fn millis(payload: &[u8; PAYLOAD], at: usize) -> UnixMillis {
    UnixMillis(i64::from_be_bytes(payload[at..at + 8].try_into().expect("8 bytes within the payload")))
}

fn sign(key: &Hmac<Sha256>, payload: &[u8; PAYLOAD]) -> String {
    let mut mac = key.clone();
    mac.update(payload);
    let mut token = payload.to_vec();
    token.extend_from_slice(&mac.finalize().into_bytes());
    URL_SAFE_NO_PAD.encode(token)
}

fn verify(key: &Hmac<Sha256>, token: &str, kind: u8) -> Option<[u8; PAYLOAD]> {
    if token.len() > 2 * TOKEN {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|b| b.len() == TOKEN)?;
    let (payload, tag) = bytes.split_at(PAYLOAD);
    let mut mac = key.clone();
    mac.update(payload);
    // Compares in constant time.
    mac.verify_slice(tag).ok()?;
    (payload[0] == kind).then(|| payload.try_into().expect("split at this length"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn root(secret: &str) -> Root {
        Root { access_key_id: "root".into(), secret_access_key: secret.into() }
    }
    fn playback() -> Playback {
        Playback { stream: 7, range: Range { from: UnixMillis(10), to: UnixMillis(20) }, expires_at: UnixMillis(100) }
    }

    #[test]
    fn tokens_come_back_until_they_expire() {
        let signer = Signer::new(&[1; 32], &root("secret"));
        let session = Session { id: [9; 16], issued_at: UnixMillis(1), expires_at: UnixMillis(50) };
        let token = signer.session(&session);
        assert_eq!(signer.read_session(&token, UnixMillis(49)), Some(session));
        assert_eq!(signer.read_session(&token, UnixMillis(50)), None);
        let token = signer.playback(&playback());
        assert_eq!(signer.read_playback(&token, UnixMillis(99)), Some(playback()));
        assert_eq!(signer.read_playback(&token, UnixMillis(100)), None);
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "fits a path segment");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let signer = Signer::new(&[1; 32], &root("secret"));
        let token = URL_SAFE_NO_PAD.decode(signer.playback(&playback())).unwrap();
        for bit in 0..token.len() * 8 {
            let mut bent = token.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(signer.read_playback(&URL_SAFE_NO_PAD.encode(bent), UnixMillis(0)), None, "bit {bit}");
        }
    }

    #[test]
    fn kinds_folders_and_root_secrets_do_not_mix() {
        let signer = Signer::new(&[1; 32], &root("secret"));
        let token = signer.playback(&playback());
        assert_eq!(signer.read_session(&token, UnixMillis(0)), None);
        assert_eq!(Signer::new(&[2; 32], &root("secret")).read_playback(&token, UnixMillis(0)), None);
        assert_eq!(Signer::new(&[1; 32], &root("changed")).read_playback(&token, UnixMillis(0)), None);
        for junk in ["", "a", "%%%%", &"A".repeat(87), &"A".repeat(10_000), "é"] {
            assert_eq!(signer.read_playback(junk, UnixMillis(0)), None);
            assert_eq!(signer.read_session(junk, UnixMillis(0)), None);
        }
    }
}
