//! ICE-lite (RFC 8445 §2.7): answers connectivity checks, sends none.
//!
//! What belongs here: judging a Binding request and writing its answer. Pure. What does not: which peer it is for.
//!
//! `rtc`'s own agent is not used, because in lite mode it keeps the first nominated pair for good: a viewer that moves
//! to another path, or a browser that prunes the first one, is cut off when its checks on the old pair stop.

use rtc::crypto::RTCCryptoProvider;
use rtc::stun::attributes::{ATTR_ICE_CONTROLLED, ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message};
use rtc::stun::xoraddr::XorMappedAddress;
use std::net::SocketAddr;
use std::sync::Arc;

/// ICE's alphabet (RFC 8839 §5.4): 64 characters, so that six random bits make one.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// User name fragment and password of one side.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// The fragment, public.
    pub(crate) ufrag: String,
    /// The password, never logged.
    pub(crate) pwd: String,
}

impl Credentials {
    /// Makes them of 32 random bytes: 8 characters (48 bits) and 24 characters (144 bits); RFC 8445 §5.3 asks for 24 and 128.
    pub(crate) fn from_random(random: [u8; 32]) -> Self {
        let text = |bytes: &[u8]| bytes.iter().map(|b| char::from(ALPHABET[usize::from(b & 63)])).collect();
        Credentials { ufrag: text(&random[..8]), pwd: text(&random[8..]) }
    }
}

/// An answered check.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The answer, to be sent back to where the check came from.
    pub(crate) response: Vec<u8>,
    /// Whether the viewer chose this path for everything that follows (USE-CANDIDATE).
    pub(crate) nominated: bool,
}

/// The lite agent of one peer.
pub(crate) struct Lite {
    local: Credentials,
    user: String,
    crypto: Arc<dyn RTCCryptoProvider>,
}

impl Lite {
    /// An agent that believes checks signed with our password and sent under both fragments.
    pub(crate) fn new(local: Credentials, remote_ufrag: &str, crypto: Arc<dyn RTCCryptoProvider>) -> Self {
        let user = format!("{}:{remote_ufrag}", local.ufrag);
        Lite { local, user, crypto }
    }

    /// Our fragment, by which checks find this peer.
    pub(crate) fn ufrag(&self) -> &str {
        &self.local.ufrag
    }

    /// Judges a Binding request. `None` if it is malformed, for someone else or not signed by who saw our password.
    pub(crate) fn check(&self, datagram: &[u8], from: SocketAddr) -> Option<Checked> {
        let mut request = Message { raw: datagram.to_vec(), ..Message::default() };
        request.decode().ok()?;
        let user = request.get(ATTR_USERNAME).ok()?;
        // An agent that thinks itself controlled has misread the answer: a lite agent is never controlling.
        if request.typ != BINDING_REQUEST || user != self.user.as_bytes() || request.contains(ATTR_ICE_CONTROLLED) {
            return None;
        }
        let crypto = self.crypto.crypto();
        MessageIntegrity::check(&mut request, self.local.pwd.as_bytes(), crypto).ok()?;

        let mut response = Message::new();
        let seen = XorMappedAddress { ip: from.ip().to_canonical(), port: from.port() };
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(self.local.pwd.clone(), crypto);
        let transaction_id = request.transaction_id;
        response
            .build(&[
                Box::new(transaction_id),
                Box::new(BINDING_SUCCESS),
                Box::new(seen),
                Box::new(integrity),
                Box::new(FINGERPRINT),
            ])
            .ok()?;
        Some(Checked { response: response.raw, nominated: request.contains(ATTR_USE_CANDIDATE) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc::stun::attributes::RawAttribute;
    use rtc::stun::message::TransactionId;
    use rtc::stun::textattrs::TextAttribute;

    fn crypto() -> Arc<dyn RTCCryptoProvider> {
        rtc::crypto::default_provider().expect("a provider is compiled in")
    }

    fn request(user: &str, pwd: &str, nominate: bool) -> Vec<u8> {
        let crypto = crypto();
        let mut message = Message::new();
        let nominated = RawAttribute { typ: ATTR_USE_CANDIDATE, length: 0, value: Vec::new() };
        let mut parts: Vec<Box<dyn rtc::stun::message::Setter>> = vec![
            Box::new(TransactionId([9; 12])),
            Box::new(BINDING_REQUEST),
            Box::new(TextAttribute::new(ATTR_USERNAME, user.to_owned())),
        ];
        if nominate {
            parts.push(Box::new(nominated));
        }
        message.build(&parts).expect("builds");
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), crypto.crypto());
        message.build_more(&integrity);
        message.raw
    }

    trait More {
        fn build_more(&mut self, setter: &dyn rtc::stun::message::Setter);
    }
    impl More for Message {
        fn build_more(&mut self, setter: &dyn rtc::stun::message::Setter) {
            setter.add_to(self).expect("adds");
        }
    }

    #[test]
    fn believes_only_who_knows_the_password() {
        let local = Credentials::from_random([5; 32]);
        let lite = Lite::new(local.clone(), "viewer", crypto());
        let from = "192.0.2.7:4242".parse().expect("an address");
        let user = format!("{}:viewer", local.ufrag);

        let checked = lite.check(&request(&user, &local.pwd, true), from).expect("is believed");
        assert!(checked.nominated);
        let mut response = Message { raw: checked.response, ..Message::default() };
        response.decode().expect("decodes");
        assert_eq!((response.typ, response.transaction_id), (BINDING_SUCCESS, TransactionId([9; 12])));
        let mut seen = XorMappedAddress { ip: from.ip(), port: 0 };
        rtc::stun::message::Getter::get_from(&mut seen, &response).expect("an address");
        assert_eq!(SocketAddr::new(seen.ip, seen.port), from);
        MessageIntegrity::check(&mut response, local.pwd.as_bytes(), crypto().crypto()).expect("is signed");

        assert!(!lite.check(&request(&user, &local.pwd, false), from).expect("is believed").nominated);
        assert!(lite.check(&request(&user, "another password", true), from).is_none());
        assert!(lite.check(&request(&format!("{}:other", local.ufrag), &local.pwd, true), from).is_none());
        let whole = request(&user, &local.pwd, true);
        for end in 0..whole.len() {
            assert!(lite.check(&whole[..end], from).is_none(), "cut at {end}");
        }
        for at in 20..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 0x55;
            assert!(lite.check(&bent, from).is_none(), "bent at {at}");
        }
    }

    #[test]
    fn credentials_are_long_enough_and_in_the_alphabet() {
        let made = Credentials::from_random(std::array::from_fn(|i| i as u8 * 8));
        assert_eq!((made.ufrag.len(), made.pwd.len()), (8, 24));
        assert!(made.pwd.bytes().all(|b| ALPHABET.contains(&b)));
    }
}
