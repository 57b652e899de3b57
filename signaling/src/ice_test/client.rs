//! A client of STUN and TURN (RFC 8489, RFC 8656): requests out, answers in. No I/O.
//!
//! What belongs here: what a test of a server has to say and to understand. What does not: sending again, and giving up (`ice_test`).

use crate::stun::{Algorithm, Class, Integrity, Key, Message, Writer, attribute, method};
use std::net::SocketAddr;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// By which address the server sees this client.
    Binding,
    /// A relayed address.
    Allocate,
    /// Lets a peer's address through.
    Permit(SocketAddr),
    /// Binds a channel to a peer, which lets its address through as well.
    Bind(u16, SocketAddr),
    /// Gives the relayed address back.
    End,
}

impl Ask {
    /// What the request is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Ask::Binding => "Binding",
            Ask::Allocate => "Allocate",
            Ask::Permit(_) => "CreatePermission",
            Ask::Bind(..) => "ChannelBind",
            Ask::End => "Refresh",
        }
    }

    fn method(self) -> u16 {
        match self {
            Ask::Binding => method::BINDING,
            Ask::Allocate => method::ALLOCATE,
            Ask::Permit(_) => method::CREATE_PERMISSION,
            Ask::Bind(..) => method::CHANNEL_BIND,
            Ask::End => method::REFRESH,
        }
    }
}

/// What a server said to the last request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It did as it was asked.
    Done {
        /// The client's address, as the server sees it.
        mapped: Option<SocketAddr>,
        /// The address that peers send to.
        relayed: Option<SocketAddr>,
    },
    /// It wants the request signed (401), or signed anew (438): the next request is.
    Challenged,
    /// It does not.
    Refused {
        /// The error's code (RFC 8489 §14.8).
        code: u16,
        /// The server's words.
        reason: String,
    },
}

/// What requests are signed with, once the server has said how.
struct Challenge {
    realm: String,
    nonce: Vec<u8>,
    key: Key,
}

/// A client with credentials of the long-term mechanism.
pub struct Client {
    username: String,
    password: String,
    challenge: Option<Challenge>,
    transaction: [u8; 12],
}

impl Client {
    /// With these credentials.
    ///
    /// # Errors
    /// There is no randomness to be had.
    pub fn new(username: &str, password: &str) -> Result<Client, getrandom::Error> {
        let mut transaction = [0; 12];
        getrandom::fill(&mut transaction)?;
        Ok(Client { username: username.to_owned(), password: password.to_owned(), challenge: None, transaction })
    }

    /// A new request. Answers to those before are none any more.
    pub fn request(&mut self, ask: Ask) -> Vec<u8> {
        // Of twelve random bytes, the first four count.
        let (count, _) = self.transaction.split_at_mut(4);
        let next = count.iter().fold(0u32, |n, byte| n << 8 | u32::from(*byte)).wrapping_add(1);
        count.copy_from_slice(&next.to_be_bytes());
        let mut out = Vec::with_capacity(200);
        let mut writer = Writer::new(&mut out, Class::Request, ask.method(), self.transaction);
        writer = match ask {
            Ask::Binding => writer,
            Ask::Allocate => writer.attribute(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
            Ask::Permit(peer) => writer.xor(attribute::XOR_PEER_ADDRESS, peer),
            Ask::Bind(number, peer) => writer
                .attribute(attribute::CHANNEL_NUMBER, &[number.to_be_bytes(), [0, 0]].concat())
                .xor(attribute::XOR_PEER_ADDRESS, peer),
            Ask::End => writer.u32(attribute::LIFETIME, 0),
        };
        if let (Some(challenge), true) = (&self.challenge, ask != Ask::Binding) {
            writer
                .attribute(attribute::USERNAME, self.username.as_bytes())
                .attribute(attribute::REALM, challenge.realm.as_bytes())
                .attribute(attribute::NONCE, &challenge.nonce)
                .integrity(&challenge.key, Integrity::Sha1);
        }
        out
    }

    /// Takes a message; `None` for what is no answer to the last request, or is not signed as it should be.
    pub fn answer(&mut self, bytes: &[u8]) -> Option<Answer> {
        let message = Message::parse(bytes).filter(|message| message.transaction() == self.transaction)?;
        match message.class() {
            Class::Success => {
                let signed = |challenge: &Challenge| message.is_signed_by(&challenge.key);
                if message.method() != method::BINDING && !self.challenge.as_ref().is_some_and(signed) {
                    return None;
                }
                let address = |kind| message.addresses(kind).next().and_then(Result::ok);
                Some(Answer::Done {
                    mapped: address(attribute::XOR_MAPPED_ADDRESS),
                    relayed: address(attribute::XOR_RELAYED_ADDRESS),
                })
            }
            Class::Error => {
                let (head, reason) = message.get(attribute::ERROR_CODE)?.split_first_chunk::<4>()?;
                let code = u16::from(head[2] & 7) * 100 + u16::from(head[3]);
                let first = self.challenge.is_none();
                if (code == 401 && first) || code == 438 {
                    let realm = message.text(attribute::REALM)?.to_owned();
                    let nonce = message.get(attribute::NONCE)?.to_vec();
                    let key = Key::long_term(Algorithm::Md5, &self.username, &realm, &self.password);
                    self.challenge = Some(Challenge { realm, nonce, key });
                    return Some(Answer::Challenged);
                }
                Some(Answer::Refused { code, reason: String::from_utf8_lossy(reason).into_owned() })
            }
            Class::Request | Class::Indication => None,
        }
    }

    /// A packet for a peer (RFC 8656 §11.1).
    pub fn send(&self, peer: SocketAddr, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len() + 40);
        Writer::new(&mut out, Class::Indication, method::SEND, self.transaction)
            .xor(attribute::XOR_PEER_ADDRESS, peer)
            .attribute(attribute::DATA, data);
        out
    }

    /// A peer's packet that a server passed on (RFC 8656 §11.4); `None` for anything else.
    pub fn data(bytes: &[u8]) -> Option<(SocketAddr, &[u8])> {
        let message = Message::parse(bytes)?;
        let is_data = message.class() == Class::Indication && message.method() == method::DATA;
        let peer = message.addresses(attribute::XOR_PEER_ADDRESS).next()?.ok()?;
        message.get(attribute::DATA).filter(|_| is_data).map(|data| (peer, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_to(request: &[u8], class: Class, attributes: &[(u16, &[u8])], key: Option<&Key>) -> Vec<u8> {
        let request = Message::parse(request).expect("a request");
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, class, request.method(), request.transaction());
        for (kind, value) in attributes {
            writer = writer.attribute(*kind, value);
        }
        if let Some(key) = key {
            writer.integrity(key, Integrity::Sha1);
        }
        out
    }

    #[test]
    fn signs_once_it_is_told_how() {
        let mut client = Client::new("user", "pass").expect("randomness");
        let first = client.request(Ask::Allocate);
        assert!(Message::parse(&first).expect("a request").integrity().is_none());
        let challenge = [
            (attribute::ERROR_CODE, &b"\0\0\x04\x01Unauthorized"[..]),
            (attribute::REALM, b"realm"),
            (attribute::NONCE, b"nonce"),
        ];
        let again = answer_to(&first, Class::Error, &challenge, None);
        assert_eq!(client.answer(&again), Some(Answer::Challenged));
        let second = client.request(Ask::Allocate);
        assert_eq!(client.answer(&again), None, "an answer to the first");
        let key = Key::long_term(Algorithm::Md5, "user", "realm", "pass");
        assert!(Message::parse(&second).expect("a request").is_signed_by(&key));
        // A success counts if it is signed; a second 401 is the end.
        assert_eq!(client.answer(&answer_to(&second, Class::Success, &[], None)), None);
        let done = client.answer(&answer_to(&second, Class::Success, &[], Some(&key)));
        assert_eq!(done, Some(Answer::Done { mapped: None, relayed: None }));
        let refused = client.answer(&answer_to(&second, Class::Error, &challenge, None));
        assert_eq!(refused, Some(Answer::Refused { code: 401, reason: "Unauthorized".into() }));
    }

    #[test]
    fn whatever_comes_is_no_answer() {
        let mut client = Client::new("user", "pass").expect("randomness");
        let request = client.request(Ask::Binding);
        for bytes in [&b""[..], b"\0\x01", &request, &[0xff; 100]] {
            assert_eq!(client.answer(bytes), None);
            assert_eq!(Client::data(bytes), None);
        }
        let bare = answer_to(&request, Class::Error, &[(attribute::ERROR_CODE, b"\0")], None);
        assert_eq!(client.answer(&bare), None);
    }
}
